"""What came true of a backtest's targets, against filters that are written out."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest

from quotacast.engine.backtest import origin_forecast
from quotacast.engine.backtest.origin_forecast import _deals_only
from quotacast.engine.backtest.origins import outcomes, scopes, spans, targets
from quotacast.engine.backtest.targets import Target
from quotacast.engine.quota import Scope
from quotacast.models.history.history import missing
from quotacast.models.periods import Calendar

FIRST, LAST = date(2024, 1, 1), date(2025, 9, 30)
CALENDAR = Calendar()


@pytest.fixture(scope="module")
def history(small_world, world_history):  # type: ignore[no-untyped-def]
    return world_history(small_world(11, 4, FIRST, LAST))


def test_outcomes_are_what_a_plain_count_gives(history) -> None:  # type: ignore[no-untyped-def]
    origin = date(2025, 3, 31)
    snapshot = history.as_of(origin, strict=True)
    deals = history.opportunities
    won = deals[(deals["status"] == "won") & deals["closed_on"].between("2025-04-01", "2025-06-30")]
    span = (date(2025, 4, 1), date(2025, 6, 30))
    parts = [Target("bookings", Scope("company"), *span, part) for part in ("total", "open", "new")]
    total, opened, new = outcomes(history, snapshot, parts)
    assert total == pytest.approx(won["amount"].sum())
    assert opened == pytest.approx(won.loc[won["created_on"] <= "2025-03-31", "amount"].sum())
    assert opened + new == pytest.approx(total)
    assert 0 < opened < total
    rep = won["rep_id"].iloc[0]
    assert outcomes(history, snapshot, [Target("deals_won", Scope("rep", rep), *span)]) == [
        (won["rep_id"] == rep).sum()
    ]


def test_outcomes_of_every_target_are_what_filters_give(history) -> None:  # type: ignore[no-untyped-def]
    origin = date(2025, 3, 31)
    snapshot = history.as_of(origin, strict=True)
    wanted = [t for _, t in targets(scopes(snapshot), spans(origin, CALENDAR, LAST))]
    deals, days = history.opportunities, history.opportunities["created_on"]
    then = deals["opportunity_id"].map(snapshot.opportunities.set_index("opportunity_id")["status"])
    part = np.where(then.isna(), "new", np.where(then == "open", "open", "reopened"))
    found, seen = outcomes(history, snapshot, wanted), set()
    for target, outcome in zip(wanted, found, strict=True):
        if target.metric != "opportunities_created":
            days = deals["closed_on"].where(deals["status"] == "won")
            keep = days.between(str(target.first), str(target.last)).to_numpy()
            if target.component != "total":
                keep &= part == target.component
            if target.scope.kind == "rep":
                keep &= (deals["rep_id"] == target.scope.id).to_numpy()
            if target.scope.kind == "team":
                mine = history.reps.loc[history.reps["team"] == target.scope.id, "rep_id"]
                keep &= deals["rep_id"].isin(set(mine)).to_numpy()
            amount = deals.loc[keep, "amount"].sum() if target.metric == "bookings" else keep.sum()
            assert outcome == pytest.approx(amount, abs=0.005), target
            seen.add((target.metric, target.component, target.scope.kind, outcome > 0))
    assert len(seen) >= 2 * 3 * 3  # metrics, parts and scopes, with events


def test_what_was_known_at_the_ends_needs_deals_alone(history) -> None:  # type: ignore[no-untyped-def]
    """Also of a rep hired later, of whom nothing but a call was on record by then."""
    origin = date(2025, 3, 31)
    deals, reps = history.opportunities.copy(), history.reps.copy()
    early, heir = sorted(reps["rep_id"])[:2]
    stages = history.stages.copy()
    for table in (deals, stages):
        table.loc[table["rep_id"] == early, "rep_id"] = heir
    reps.loc[reps["rep_id"] == early, "hired_on"] = pd.Timestamp("2025-08-15")
    call = {"kind": "call", "done_on": pd.Timestamp("2024-02-01"), "rep_id": early, "count": 1.0}
    log = missing("activities", 1).assign(**call)
    tables = {"opportunities": deals, "stages": stages, "reps": reps, "activities": log}
    changed = replace(history, tables={**history.tables, **tables})
    snapshot = changed.as_of(origin, strict=True)
    wanted = [t for _, t in targets(scopes(history), spans(origin, CALENDAR, LAST))]
    found = origin_forecast._as_known(changed, snapshot, wanted)
    plain = [outcomes(changed.as_of(t.last, strict=True), snapshot, [t])[0] for t in wanted]
    np.testing.assert_array_equal(found, plain)
    few, all_of = (h.as_of(wanted[0].last, strict=True) for h in (_deals_only(changed), changed))
    assert early in set(few.reps["rep_id"])
    pd.testing.assert_frame_equal(few.reps, all_of.reps)
    pd.testing.assert_frame_equal(few.opportunities, all_of.opportunities)
