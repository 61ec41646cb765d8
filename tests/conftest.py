"""Fixtures that several test files share: histories built in memory, without files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quotacast.engine.worlds import World, WorldSpec, draw_truth, make_world
from quotacast.models.history import schema
from quotacast.models.history.history import REJECTED, History, missing


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
