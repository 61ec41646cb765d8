"""From an approved forecast to this one: `revenue --since NAME`, and what `approve` keeps for it."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from quotacast.engine.answer import Answer
from quotacast.engine.answers.bridge import CASH, DRIVERS, bridge, expected_totals
from quotacast.engine.answers.cash import LINE_NAMES
from quotacast.engine.paths import Paths
from quotacast.engine.reports.words import money
from quotacast.errors import PlanError
from quotacast.scenarios.choose import hint
from quotacast.scenarios.deciding import approved
from quotacast.scenarios.lines import WIDTH, packed
from quotacast.scenarios.lines import name as shortened
from quotacast.scenarios.money.cash import cash_answer
from quotacast.scenarios.money.revenue import revenue_answer
from quotacast.scenarios.run import Run

#: File of an approved version that holds the means from which a bridge starts.
FILE = "expected.csv"
#: Name that stands for the latest approved version.
LAST = "last"
#: Parts of a forecast that are not signed yet.
_HOPED = ("open", "new", "renewal")


def totals(run: Run, paths: Paths) -> pd.DataFrame:
    """Expected closings and bookings by month; where the plan has terms or cash, the company's receipts too.

    Months that have begun have no receipts: only what is left of them is simulated.
    """
    scopes = [scope for scope in paths.scopes() if scope.kind != "rep"]
    found = expected_totals(paths, scopes, run.periods("month"))
    if run.plan.terms is None and run.plan.cash is None:
        return found
    return found.merge(_money(run), on=["scope", "scope_id", "period"], how="left")


def _money(run: Run) -> pd.DataFrame:
    asked = {"by": "month", "metric": ("billings",), "quantiles": (50.0,), "out": None, "paths": None}
    billed, _ = revenue_answer(run, asked)
    paid, _ = cash_answer(run, asked)
    months = {p.label: p.first for p in run.periods("month")}
    rows = paid.rows[(paid.rows["kind"] == "month") & paid.rows["period"].isin(months)]
    rows = rows[[months[p] == first for p, first in zip(rows["period"], rows["first"], strict=True)]]
    flows = rows.pivot(index="period", columns="line", values="mean")
    bills = billed.rows[billed.rows["component"].isin(_HOPED)].groupby("period")["mean"].sum()
    table = pd.DataFrame(
        {
            "billings": bills.reindex(flows.index),
            "receipts": flows[[LINE_NAMES[part] for part in _HOPED]].sum(axis=1),
            "contracted": flows[[LINE_NAMES[part] for part in ("invoices", "signed")]].sum(axis=1),
        }
    )
    return table.rename_axis("period").reset_index().assign(scope="company", scope_id="")


def stored(table: pd.DataFrame) -> bytes:
    """The means as they are kept with an approved version, exact to the last digit."""
    return table.to_csv(index=False, lineterminator="\n").encode()


def since_answer(run: Run, name: str) -> tuple[Answer, Sequence[str]]:
    """The difference between an approved forecast and this one, by what moved it.

    Raises
    ------
    PlanError
        Where nothing was approved, not under this name, or by a version of ours that kept no means.
    DataError
        Where the approved version was changed after it was signed off.
    """
    versions = approved.versions(run.plan.home)
    known = [version.name for version in versions]
    if not versions:
        raise PlanError(f"--since {name}: nothing is approved yet; `quotacast approve` keeps a forecast")
    if name != LAST and name not in known:
        raise PlanError(f"--since {name}: no such version is approved{hint(name, known)}")
    version = versions[-1] if name == LAST else versions[known.index(name)]
    file = version.folder / FILE
    if not file.is_file():
        raise PlanError(f"--since {name}: {version.name} keeps no expected totals; approve the plan anew")
    before = pd.read_csv(
        io.BytesIO(file.read_bytes()),
        dtype={"scope": str, "scope_id": str, "period": str},
        keep_default_na=False,
        na_values={column: [""] for column in CASH},
        float_precision="round_trip",  # what did not change differs by exactly nothing
    )
    months = run.periods("month")
    found = bridge(before, totals(run, run.paths(months)), run.provenance(), version.name)
    return found, run.plan_notes


def bridge_text(answer: Answer, options: Mapping[str, Any], width: int) -> str:
    """The company over all months, then month by month."""
    return "\n".join(_lines(answer, width))


def _lines(answer: Answer, width: int = WIDTH) -> Iterator[str]:
    earlier = shortened(answer.summary["earlier"], 30)
    for whole in answer.summary["by_period"]:
        yield f"Expected {whole['metric']}, all months in both forecasts"
        yield f"  {'in ' + earlier:<40}{money(whole['before']):>12}"
        for driver in DRIVERS:
            part = whole[driver.replace(" ", "_")]
            if part:
                yield f"  {driver:<40}{('+' if part > 0 else '−') + money(abs(part)):>12}"
        yield f"  {'now':<40}{money(whole['after']):>12}"
        yield ""
    rows = answer.rows[(answer.rows["scope"] == "company") & (answer.rows["metric"] == "bookings")]
    if len(rows):
        yield f"{'Bookings':<10}{'before':>9}" + "".join(f"{d:>10}" for d in DRIVERS[:4]) + f"{'now':>9}"
    for row in rows.to_dict("records"):
        parts = "".join(f"{money(row[d.replace(' ', '_')]):>10}" for d in DRIVERS[:4])
        yield f"{row['period']:<10}{money(row['before']):>9}{parts}{money(row['after']):>9}"
    yield ""
    yield from packed([answer.words], indent=0, width=width)
