"""Fixtures that several test files share: histories built in memory, without files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quotacast.engine.metrics import metric, series
from quotacast.engine.quota import Scope
from quotacast.engine.worlds import World, WorldSpec, draw_truth, make_world, write_world
from quotacast.models.history import schema
from quotacast.models.history.history import REJECTED, History, missing
from quotacast.scenarios import run
from quotacast.scenarios.plan import load_plan


def _canonical(table: str, rows: Any) -> pd.DataFrame:
    """Rows (a frame, or a list of dicts) with every canonical column, of its canonical type."""
    given = pd.DataFrame(rows)
    frame = missing(table, len(given))
    for column in schema.columns(table):
        if column.name not in given:
            continue
        values = given[column.name].reset_index(drop=True)
        if column.kind == "day":
            frame[column.name] = pd.to_datetime(values).astype("datetime64[ns]")
        elif column.kind in ("money", "number"):
            frame[column.name] = values.astype(float)
        else:
            frame[column.name] = values.astype(object).where(values.notna(), None)
    return frame


def _history(tables: Mapping[str, Any], as_of: date) -> History:
    """A clean history of the given tables; the others are empty. Deals without a rep go to (none)."""
    full = {name: _canonical(name, tables.get(name, [])) for name in schema.TABLES}
    deals = full["opportunities"]
    deals["rep_id"] = deals["rep_id"].where(deals["rep_id"].notna(), schema.NONE)
    return History(full, as_of, "EUR", (), pd.DataFrame(columns=list(REJECTED)))


@pytest.fixture(scope="session")
def make_history() -> Callable[[Mapping[str, Any], date], History]:
    """``make_history({"opportunities": rows, ...}, as_of)``: a History from rows, nothing else filled in."""
    return _history


@pytest.fixture(scope="session")
def world_history() -> Callable[[World], History]:
    """``world_history(world)``: what a made-up company's export tells on the evening of its last day.

    Without leads it has no log of activities either, whose six models would triple the time of every fit.
    """

    def build(world: World) -> History:
        left = {} if world.truth.leads else {"activities": []}
        return _history({**world.tables, **left}, world.spec.last_day)

    return build


@pytest.fixture(scope="session")
def small_world() -> Callable[..., World]:
    """``small_world(seed, n_reps, ...)``: a company drawn from the priors, whose activity drives nothing."""

    def build(
        seed: int,
        n_reps: int = 6,
        first_day: date = date(2024, 1, 1),
        last_day: date = date(2025, 12, 31),
        change: Callable[[Any], Any] = lambda truth: truth,
        leads: bool = False,
        **more: Any,
    ) -> World:
        teams = (("a", n_reps - n_reps // 2), ("b", n_reps // 2))
        truth = change(draw_truth(np.random.default_rng(seed), n_reps, len(teams), leads=leads))
        spec = WorldSpec(n_reps, teams, first_day, last_day, seed, truth, activity_effects=False, **more)
        return make_world(spec)

    return build


#: Posterior draws of the plan below: who uses it patches `run.FIT_DRAWS` to it, and finds the fit stored.
FEW = 200
DECIDED = """
[costs]
rep_month = 3_000
hire = 7_000
commission.rate = "4%"

[[quota]]
scope = "company"
metric = "bookings"
period = "2027"
target = {target}
[[quota]]
scope = "team:north"
metric = "deals_won"
period = "2027"
target = {deals}

[[lever]]
what = "hire"
scope = "team:south"
from = 0
to = 2
[[lever]]
what = "close_rate"
from = 1.0
to = 1.3
cost = 90_000
[[lever]]
what = "deal_value"
from = 1.0
to = 1.2
cost = 60_000

[scenario.same]
name = "the same by another name"
[scenario.same_too]
[[scenario.same_too.change]]
what = "close_rate"
times = 1.0
from = 2027-03-09
[scenario.price]
[[scenario.price.change]]
what = "deal_value"
times = 1.1
[[scenario.price.quota]]
scope = "company"
metric = "bookings"
period = "2027"
target = 900_000_000
[scenario.people]
[[scenario.people.hire]]
team = "south"
on = 2027-03-01
[scenario.other]
seed = 7
draws = 300
calendar.year_starts = 4
[scenario.wrong]
[[scenario.wrong.leave]]
rep = "r55"
on = 2027-03-01
[[scenario.wrong.change]]
what = "margin"
times = 1.1
[[scenario.wrong.move]]
segment = "smbx"
from = "rep:r01"
to = "team:south"
on = 2027-03-01
"""


@pytest.fixture(scope="session")
def decided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan with scenarios, for five reps in two teams."""
    folder = tmp_path_factory.mktemp("company") / "demo"
    truth = draw_truth(np.random.default_rng(5), 5, 2)
    teams = (("north", 3), ("south", 2))
    first, last = date(2025, 7, 1), date(2026, 12, 31)
    write_world(make_world(WorldSpec(5, teams, first, last, 5, truth, activity_effects=False)), folder)
    (folder / "crm" / "quotas.csv").unlink(missing_ok=True)
    for name in ("activities", "leads"):
        (folder / "crm" / f"{name}.csv").unlink(missing_ok=True)
    path = folder / "plan.toml"
    path.write_text('horizon = "2027"\nas_of = 2026-12-31\ndraws = 400\n[data]\nfolder = "crm"\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "FIT_DRAWS", FEW)
        ready = run.Run(load_plan(path), force=True)
        paths = ready.paths([ready.plan.horizon_period], ("bookings", "deals_won"))
    asked = (("bookings", Scope("company")), ("deals_won", Scope("team", "north")))
    middle = [
        np.quantile(series(paths, metric(n), s, ready.plan.horizon_period).total, 0.6) for n, s in asked
    ]
    path.write_text(
        path.read_text() + DECIDED.format(target=float(middle[0]), deals=float(max(middle[1], 1.0)))
    )
    return path


def _check_gradient(value: Callable[[Any], float], at: Any, gradient: Any) -> None:
    """Central differences of a function of many coordinates against its gradient there."""
    for k, step in enumerate(1e-5 * np.eye(at.size)):
        slope = (value(at + step) - value(at - step)) / 2e-5
        assert gradient[k] == pytest.approx(slope, rel=1e-4, abs=1e-4), k


@pytest.fixture(scope="session")
def check_gradient() -> Callable[..., None]:
    """``check_gradient(value, at, gradient)``: fails at the first coordinate whose slope is another."""
    return _check_gradient
