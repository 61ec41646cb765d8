"""Record-level companies with known truth: the example, the tests and the calibration suite.

A `WorldSpec` says who works where and when, its `Truth` every parameter; `make_world` draws the
records and gives them the shape of a CRM export; `write_world` writes them as a data folder with a
plan. The same specification gives the same bytes.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.worlds_draw import PRIORS, draw_truth, example_spec
from quotacast.engine.worlds_quotas import deal_value, expected_year, outcome, quota_table, weekly_creations
from quotacast.engine.worlds_records import Records, simulate
from quotacast.engine.worlds_tables import opportunities, tables
from quotacast.engine.worlds_truth import Truth, WorldSpec
from quotacast.errors import DataError

__all__ = [
    "PRIORS",
    "Records",
    "Truth",
    "World",
    "WorldSpec",
    "deal_value",
    "draw_truth",
    "example_spec",
    "expected_year",
    "make_world",
    "outcome",
    "simulate",
    "weekly_creations",
    "write_example",
    "write_world",
]

CURRENCY = "EUR"


@dataclass(frozen=True)
class World:
    """A company's records and the truth behind them.

    Attributes
    ----------
    spec : WorldSpec
    tables : dict of str to DataFrame
        The canonical tables as exported on the evening of ``spec.last_day``.
    records : Records
        The same as arrays, with realised intensities and shocks, and what comes after.
    """

    spec: WorldSpec
    tables: dict[str, pd.DataFrame]
    records: Records

    @property
    def truth(self) -> Truth:
        """The true parameters."""
        return self.spec.truth

    @cached_property
    def full_opportunities(self) -> pd.DataFrame:
        """All opportunities as known ``horizon_days`` after the last day."""
        return opportunities(self.spec, self.records, self.records.clock.end, CURRENCY)

    @cached_property
    def future(self) -> pd.DataFrame:
        """The opportunities of `full_opportunities` that are created or closed after the last day."""
        full, last = self.full_opportunities, pd.Timestamp(self.spec.last_day)
        return full[(full["created_on"] > last) | (full["closed_on"] > last)].reset_index(drop=True)


def make_world(spec: WorldSpec) -> World:
    """Draw a company.

    Parameters
    ----------
    spec : WorldSpec

    Returns
    -------
    World
        Deterministic in ``spec``. A longer ``horizon_days`` changes nothing of the activities, leads,
        creations and closings until the last day; only the stages of deals then open may differ.
    """
    records = simulate(spec)
    exported = tables(spec, records, records.clock.last, CURRENCY)
    return World(spec, {**exported, "quotas": quota_table(spec, records)}, records)


def write_world(world: World, folder: Path, *, plan: bool = True) -> None:
    """Write ``crm/*.csv``, ``truth.json`` and ``plan.toml`` into a new folder, all or nothing.

    Parameters
    ----------
    world : World
    folder : Path
        Must not exist, or be empty.
    plan : bool
        Whether to write ``plan.toml``.

    Raises
    ------
    DataError
        Where the folder is not empty, or is a file.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(
            f"{folder}: exists and is not an empty folder; "
            "wanted a folder that is new or empty: name another one, or remove this one"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, text in _files(world, plan).items():
            _write(draft / name, text)
        if folder.exists():
            folder.rmdir()
        draft.chmod(0o755)  # mkdtemp is for its maker alone
        draft.replace(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def write_example(folder: Path) -> None:
    """Write the example company into a new folder; see `write_world`."""
    write_world(make_world(example_spec()), folder)


def _files(world: World, plan: bool) -> dict[str, str]:
    files = {f"crm/{name}.csv": _csv(table) for name, table in world.tables.items()}
    files["truth.json"] = json.dumps(truth_json(world), sort_keys=True, indent=1, default=_plain) + "\n"
    if plan:
        files["plan.toml"] = plan_text(world)
    return files


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())


def _csv(table: pd.DataFrame) -> str:
    """Write whole numbers without a point, money with its cents, days as ISO."""
    columns = {str(name): _text(table[name]) for name in table.columns}
    return pd.DataFrame(columns).to_csv(index=False, lineterminator="\n")


def _text(column: pd.Series[Any]) -> list[Any]:
    if pd.api.types.is_datetime64_any_dtype(column):
        return list(column.dt.strftime("%Y-%m-%d"))
    if pd.api.types.is_float_dtype(column):
        return ["" if np.isnan(x) else f"{x:.2f}".removesuffix(".00") for x in column]
    return list(column)


def truth_json(world: World) -> dict[str, Any]:
    """Return the specification with every true parameter and the realised shocks by month."""
    clock = world.records.clock
    inside = slice(int(clock.month[clock.first]), int(clock.month[clock.last]) + 1)
    months = np.unique(clock.days.astype("datetime64[M]"))[inside]
    shocks = {n: [round(float(x), 9) for x in s[inside]] for n, s in world.records.shocks.items()}
    return {
        "spec": dataclasses.asdict(world.spec),
        "realised": {"months": [str(m) for m in months], "shocks": shocks},
    }


def _plain(value: object) -> str:
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"cannot write {value!r}")


def company_target(world: World) -> int:
    """Return next year's company bookings: between fair and too hard, in steps of 100,000."""
    quotas = world.tables["quotas"]
    year = str(world.spec.last_day.year + 1)
    row = quotas[
        (quotas["scope"] == "company")
        & (quotas["metric"] == "bookings")
        & (quotas["period"] == year)
        & (quotas["set"] == "fair")
    ]
    return round(1.05 * float(row["target"].iloc[0]) / 100_000) * 100_000


def _hundreds(amount: float) -> int:
    """An amount that somebody might have written."""
    return round(amount / 1000) * 1000 or 1000


def plan_text(world: World) -> str:
    """Return a plan for the year after the records."""
    year, spec = world.spec.last_day.year + 1, world.spec
    month = company_target(world) / 12
    return f"""\
# The plan for next year. Lines that begin with "#" are remarks.
name = "FY{year} base"
as_of = {spec.last_day.isoformat()}          # what was known on this evening counts, nothing later
horizon = "{year}"            # the period to look ahead to
currency = "{CURRENCY}"
draws = 4000                # how many futures are simulated
seed = 1                    # the same seed gives the same futures

[data]
folder = "crm"              # next to this file; its quotas table holds the quotas of reps and teams

# What the board asks of the whole company; it replaces the company's line in the quotas table.
[[quota]]
scope = "company"
metric = "bookings"
period = "{year}"
target = {company_target(world):_}

# How likely it should be that a quota is reached.
[aim]
company = 0.7
team = 0.6
rep = 0.6

# How deals become money (`quotacast cash` and `quotacast revenue`).
[terms]
bill = "at_close"           # or monthly, quarterly, yearly, milestones
due_days = 30

[cash]
opening = {_hundreds(0.4 * month):_}         # on the evening of as_of
floor = {_hundreds(0.3 * month):_}           # what the account must not fall short of
vat = "25%"
vat_days = 26               # from the end of a month to the payment of its tax

[[cash.out]]
name = "salaries and rent"
amount = {_hundreds(0.48 * month):_}
on = {year}-01-25
every = "month"
kind = "payroll"

[[cash.variable]]           # what delivery costs
name = "suppliers"
share = "40%"
of = "billings"
after_days = 30             # from the end of the month

# What it takes to deliver what is sold (`quotacast capacity`).
[capacity]
person_month = 130          # hours that one person delivers in a month
start_lag = 14              # days from close to the start of delivery
duration = 60
# people = 46               # say how many there are, and the odds of being short are told

# What may be moved to reach the target, and what going all the way costs (`quotacast compare --levers`).
[[lever]]
what = "hire"
scope = "team:{spec.team_names[-1]}"
from = 0
to = 4
on = {year}-02-01
cost = 480_000

[[lever]]
what = "close_rate"         # better qualification
from = 1.0
to = 1.1
cost = 300_000

# What if four people joined the {spec.team_names[-1]} team in February?
[scenario.hire_four]
[[scenario.hire_four.hire]]
team = "{spec.team_names[-1]}"
count = 4
on = {year}-02-01
"""
