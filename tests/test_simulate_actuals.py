"""What is done, against an independent count by pandas."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quotacast.engine.actuals import actual_measures
from quotacast.engine.paths import MEASURES, Steps
from quotacast.models.history.history import History
from quotacast.models.history.read import read_history
from quotacast.models.periods import Calendar

AS_OF = date(2026, 5, 20)
SPELLS = (("r1", "north", "2025-02-03"), ("r1", "south", "2026-04-07"), ("r2", "south", "2025-03-01"))


@pytest.fixture
def history(tmp_path: Path) -> History:
    rng, n = np.random.default_rng(6), 240
    created = pd.Timestamp("2026-01-05") + pd.to_timedelta(rng.integers(0, 120, n), "D")
    closed = created + pd.to_timedelta(rng.integers(0, 60, n), "D")
    status = rng.choice(["won", "lost", "open"], n, p=[0.4, 0.4, 0.2])
    status = np.where(closed > pd.Timestamp(AS_OF), "open", status)
    deals = pd.DataFrame(
        {
            "opportunity_id": [f"d{i:03d}" for i in range(n)],
            "rep_id": rng.choice(["r1", "r2", ""], n, p=[0.5, 0.4, 0.1]),
            "created_on": created.strftime("%Y-%m-%d"),
            "status": status,
            "closed_on": np.where(status == "open", "", closed.strftime("%Y-%m-%d")),
            "amount": np.round(rng.lognormal(8, 0.7, n), 2),
        }
    )
    known = np.where(rng.random(n) < 0.9, (deals["amount"] * rng.uniform(0.2, 1.1, n)).round(2), np.nan)
    deals["cost"] = np.where(deals["status"] == "won", known, np.nan)
    deals.to_csv(tmp_path / "opportunities.csv", index=False)
    came = pd.Timestamp("2026-01-05") + pd.to_timedelta(rng.integers(0, 120, n), "D")
    went = came + pd.to_timedelta(rng.integers(0, 30, n), "D")
    state = rng.choice(["converted", "disqualified", "open"], n, p=[0.3, 0.5, 0.2])
    state = np.where(went > pd.Timestamp(AS_OF), "open", state)
    leads = pd.DataFrame(
        {
            "lead_id": [f"l{i:03d}" for i in range(n)],
            "rep_id": rng.choice(["r1", "r2", ""], n, p=[0.5, 0.4, 0.1]),
            "created_on": came.strftime("%Y-%m-%d"),
            "status": state,
            "closed_on": np.where(state == "open", "", went.strftime("%Y-%m-%d")),
        }
    )
    leads.to_csv(tmp_path / "leads.csv", index=False)
    done = pd.Timestamp("2026-01-05") + pd.to_timedelta(rng.integers(0, 130, 400), "D")
    acts = pd.DataFrame(
        {
            "kind": rng.choice(["call", "demo"], 400),
            "done_on": done.strftime("%Y-%m-%d"),
            "rep_id": rng.choice(["r1", "r2", ""], 400, p=[0.5, 0.4, 0.1]),
            "count": np.where(rng.random(400) < 0.5, "", rng.integers(1, 9, 400).astype(str)),
            "opportunity_id": np.where(rng.random(400) < 0.3, "d001", ""),
        }
    )
    acts.to_csv(tmp_path / "activities.csv", index=False)
    reps = pd.DataFrame(SPELLS, columns=["rep_id", "team", "from"]).assign(hired_on="2025-01-07")
    reps.to_csv(tmp_path / "reps.csv", index=False)
    return read_history(tmp_path, as_of=AS_OF)


def by_pandas(history: History, steps: Steps) -> pd.DataFrame:
    """One row per event with its measure, and the team looked up spell by spell."""
    deals = history.opportunities
    won, lost = deals[deals["status"] == "won"], deals[deals["status"] == "lost"]
    parts = [
        deals.assign(measure="created", day=deals["created_on"], value=1),
        lost.assign(measure="lost", day=lost["closed_on"], value=1),
        won.assign(measure="won", day=won["closed_on"], value=1),
        won.assign(
            measure="won_days", day=won["closed_on"], value=(won["closed_on"] - won["created_on"]).dt.days
        ),
        won.assign(
            measure="won_cents", day=won["closed_on"], value=(won["amount"] * 100).round().astype(int)
        ),
    ]
    share = 1 - won["cost"].sum() / won.loc[won["cost"].notna(), "amount"].sum()
    margin = (won["amount"] - won["cost"]).fillna(won["amount"] * share)
    parts.append(won.assign(measure="margin_cents", day=won["closed_on"], value=(margin * 100).round()))
    leads, acts = history.leads, history.activities
    for state in ("converted", "disqualified"):
        ended = leads[leads["status"] == state]
        parts.append(ended.assign(measure=f"leads_{state}", day=ended["closed_on"], value=1))
    ended = leads[leads["status"] == "converted"]
    days = (ended["closed_on"] - ended["created_on"]).dt.days
    parts.append(ended.assign(measure="lead_days", day=ended["closed_on"], value=days))
    parts.append(leads.assign(measure="leads_created", day=leads["created_on"], value=1))
    parts.append(
        acts.assign(measure="activity:" + acts["kind"], day=acts["done_on"], value=acts["count"].fillna(1))
    )
    events = pd.concat(parts)[["rep_id", "measure", "day", "value"]]
    events["rep_id"] = events["rep_id"].fillna("(none)")
    events["team"] = "(none)"
    for rep, team, begin in SPELLS:
        events.loc[(events["rep_id"] == rep) & (events["day"] >= begin), "team"] = team
    edges = steps.edges.astype("datetime64[D]").astype("datetime64[ns]")
    events["step"] = pd.cut(events["day"], list(edges), right=False, labels=False)
    return (
        events.dropna(subset="step").groupby(["measure", "rep_id", "team", "step"])["value"].sum().to_frame()
    )


def test_actuals_are_what_pandas_counts(history: History) -> None:
    steps = Steps.covering(Calendar().periods("month", date(2026, 2, 1), date(2026, 6, 30)))
    seats, found = actual_measures(history, steps)
    wanted = by_pandas(history, steps)["value"]
    assert ("r1", "north") in seats
    assert ("r1", "south") in seats
    assert ("(none)", "(none)") in seats
    assert set(found) == {*MEASURES, "activity:call", "activity:demo"}
    for name in found:
        assert found[name].dtype == np.int64
        table = {
            (*seat, float(k)): int(v)
            for seat, row in zip(seats, found[name], strict=True)
            for k, v in enumerate(row)
            if v
        }
        same = {(rep, team, float(k)): int(v) for (rep, team, k), v in wanted[name].items() if v}
        assert table == same
        assert len(table) > 5


def test_a_move_counts_from_its_day(history: History) -> None:
    day = pd.Timestamp("2026-04-07")
    steps = Steps(
        np.array([day.to_datetime64().astype("datetime64[D]").astype(int) + k for k in (-30, 0, 20)])
    )
    seats, found = actual_measures(history, steps)
    row = {seat: found["created"][i] for i, seat in enumerate(seats)}
    assert row["r1", "north"][1] == 0
    assert row["r1", "north"][0] > 0
    assert row["r1", "south"][0] == 0
    assert row["r1", "south"][1] > 0
