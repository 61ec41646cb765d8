"""Hours and people for delivery, against loops over single wins and shares worked out by hand."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from quotacast.engine.able import Able
from quotacast.engine.answers.capacity import MONTH, capacity
from quotacast.engine.columns import columns_of
from quotacast.engine.delivery import Delivery, loads, parts, past_ratios, ratios_of
from quotacast.engine.paths import Paths
from quotacast.engine.steps import Steps
from quotacast.errors import PlanError
from quotacast.models.periods import Calendar
from quotacast.models.timegrid import day_number

CALENDAR = Calendar()
AS_OF = date(2026, 3, 20)
MONTHS = CALENDAR.periods("month", date(2026, 3, 1), date(2026, 6, 30))
DAYS = CALENDAR.periods("day", AS_OF + timedelta(1), date(2026, 6, 30))
DRAWS = 37


def day(text: str) -> int:
    return int(np.datetime64(text, "D").astype(np.int64))


@pytest.fixture(scope="module")
def history(make_history: Any) -> Any:
    won = [
        {"opportunity_id": "a", "rep_id": "r1", "closed_on": "2026-03-01", "amount": 900.0,
         "delivery_hours": 40.0},
        {"opportunity_id": "b", "rep_id": "r2", "closed_on": "2026-03-18", "amount": 500.0},
        {"opportunity_id": "c", "rep_id": "r1", "closed_on": "2025-11-02", "amount": 700.0,
         "delivery_hours": 14.0},
    ]  # fmt: skip
    rows = [{**row, "created_on": "2025-10-01", "status": "won"} for row in won]
    reps = [{"rep_id": "r1", "team": "north"}, {"rep_id": "r2", "team": "south"}]
    return make_history({"opportunities": rows, "reps": reps}, AS_OF)


@pytest.fixture(scope="module")
def paths() -> Paths:
    rng = np.random.default_rng(4)
    shape = (DRAWS, 3, len(DAYS), 2)
    won = rng.poisson(0.06, shape)
    cents = won * rng.integers(20_000, 300_000, shape)
    steps = Steps.covering(DAYS)
    columns = {"won": columns_of(won), "won_cents": columns_of(cents)}
    return Paths(AS_OF, steps, ("r1", "r2", "r3"), ("north", "south", "north"), columns, (), {}, Able())


def edges() -> Any:
    return np.array([day("2026-03-21"), *(day(f"2026-0{m}-01") for m in (4, 5, 6, 7))])


def test_a_delivery_is_cut_at_the_ends_of_months() -> None:
    found = parts(np.array([day("2026-03-10")]), Delivery(1.0, start_lag=5, duration=40), edges())
    assert found[0] == pytest.approx([11 / 40, 23 / 40, 0, 0])  # 15 March + 40 days ends on 23 April
    at_once = parts(np.array([day("2026-04-30")]), Delivery(1.0, start_lag=1, duration=0), edges())
    assert at_once[0].tolist() == [0, 0, 1, 0]


def test_hours_add_up_win_by_win(paths: Paths, history: Any) -> None:
    delivery = Delivery(120.0, hours_per_amount=0.013, start_lag=9, duration=25)
    found = loads(paths, history, delivery, edges(), seed=3)
    cents = paths.array("won_cents")
    for at, seat in enumerate((("r1", "north"), ("r2", "south"), ("r3", "north"))):
        wanted = np.zeros((DRAWS, 4))
        for d, s in zip(*np.nonzero(cents[:, at, :, 1]), strict=True):
            begin = int(paths.steps.edges[s]) + 9
            for work in range(begin, begin + 25):
                span = int(np.searchsorted(edges(), work, side="right")) - 1
                if 0 <= span < 4:
                    wanted[d, span] += cents[d, at, s, 1] / 100 * 0.013 / 25
        assert found[seat].new == pytest.approx(wanted)


def test_signed_deals_keep_their_own_hours(paths: Paths, history: Any) -> None:
    found = loads(paths, history, Delivery(120.0, hours_per_amount=0.02, duration=60), edges(), seed=3)
    # a: 1 March to 29 April, 40 h; b: 18 March to 16 May, 500 x .02 = 10 h; c is delivered
    assert found["r1", "north"].confirmed == pytest.approx([40 * 11 / 60, 40 * 29 / 60, 0, 0])
    assert found["r2", "south"].confirmed == pytest.approx([10 * 11 / 60, 10 * 30 / 60, 10 * 16 / 60, 0])


def test_hours_per_deal_count_deals(paths: Paths, history: Any) -> None:
    delivery = Delivery(120.0, hours_per_deal=17.0, duration=1)
    found = loads(paths, history, delivery, edges(), seed=3)
    won, step = paths.array("won"), paths.steps.of_days(edges()[:-1])
    june = won[:, 0, step[3] :, 0].sum(axis=1) * 17.0
    assert found["r1", "north"].open[:, 3] == pytest.approx(june)


def test_past_ratios_are_drawn_deal_by_deal(paths: Paths, make_history: Any) -> None:
    rng = np.random.default_rng(8)
    amount, ratio = rng.uniform(100, 900, 30), rng.choice([0.01, 0.02, 0.06], 30)
    rows = [
        {"opportunity_id": f"o{i}", "rep_id": "r1", "status": "won", "created_on": "2024-01-05",
         "closed_on": "2024-05-05", "amount": a, "delivery_hours": a * x}
        for i, (a, x) in enumerate(zip(amount, ratio, strict=True))
    ]  # fmt: skip
    past = make_history({"opportunities": rows}, AS_OF)
    assert np.sort(past_ratios(past)) == pytest.approx(np.sort(ratio))
    delivery = Delivery(120.0, duration=1)
    found = loads(paths, past, delivery, np.array([day("2026-03-21"), day("2026-07-01")]), seed=3)
    cents = paths.array("won_cents")
    hours = sum(load.open.sum() + load.new.sum() for load in found.values())
    spread = hours / (cents.sum() / 100)
    assert spread == pytest.approx(ratio.mean(), rel=0.12)
    single = (paths.array("won") > 0).sum(axis=(1, 2, 3)) == 1
    each = sum(load.open[:, 0] + load.new[:, 0] for load in found.values())
    money = cents.sum(axis=(1, 2, 3)) / 100
    for d in np.flatnonzero(single):
        assert np.isclose(each[d] / money[d], ratio).any()
    again = loads(paths, past, delivery, np.array([day("2026-03-21"), day("2026-07-01")]), seed=3)
    assert all((again[seat].open == found[seat].open).all() for seat in found)


def test_every_deal_has_a_ratio_of_its_own(make_history: Any) -> None:
    ratio = np.array([0.01, 0.02, 0.06])
    rows = [
        {"opportunity_id": f"o{i}", "rep_id": "r1", "status": "won", "created_on": "2024-01-05",
         "closed_on": "2024-05-05", "amount": 100.0, "delivery_hours": 100.0 * x}
        for i, x in enumerate(np.tile(ratio, 10))
    ]  # fmt: skip
    won = np.full((5, 1, 4, 2), 2_000)
    steps = Steps.covering(DAYS[:4])
    columns = {"won": columns_of(won), "won_cents": columns_of(won * 100)}
    paths = Paths(AS_OF, steps, ("r1",), ("north",), columns, (), {}, Able())
    past = make_history({"opportunities": rows}, AS_OF)
    found = loads(paths, past, Delivery(120.0, duration=1), steps.edges, seed=3)["r1", "north"]
    hours = np.stack([found.open, found.new]) / 2_000
    assert hours == pytest.approx(ratio.mean(), rel=0.06)
    assert np.unique(hours).size == hours.size  # each draw, day and component draws anew


def test_rows_add_up_and_odds_are_shares_of_futures(paths: Paths, history: Any) -> None:
    delivery = Delivery(30.0, hours_per_amount=0.013, start_lag=3, duration=30, people=3.0)
    answer = capacity(paths, history, delivery, MONTHS, 3, {})
    rows = answer.rows
    company = rows[rows["scope"] == "company"].reset_index(drop=True)
    teams = rows[rows["scope"] == "team"].groupby("period", sort=False)[["confirmed", "open", "new"]].sum()
    assert company[["confirmed", "open", "new"]].to_numpy() == pytest.approx(teams.to_numpy())
    total = sum(load.total for load in loads(paths, history, delivery, edges(), 3).values())
    rest = 11 / MONTH  # of March, from the 21st
    assert company["hours_p80"][0] == pytest.approx(np.quantile(total[:, 0], 0.8))
    assert company["people_p50"][0] == pytest.approx(np.quantile(total[:, 0], 0.5) / (30.0 * rest))
    april = 30 / MONTH * 30.0
    assert company["p_short"][1] == pytest.approx((total[:, 1] > 3.0 * april).mean())
    assert company["p_idle"][1] == pytest.approx((total[:, 1] <= 2.0 * april).mean())
    assert 0 < company["p_idle"][1] < 1
    assert 0 < company["p_short"][1] < 1
    assert "There are 3" in answer.words
    assert rows[rows["scope"] == "team"]["p_short"].isna().all()


def test_without_any_hours_it_is_refused(history: Any) -> None:
    with pytest.raises(PlanError, match="2 wins have delivery_hours, wanted 20"):
        ratios_of(history, Delivery(120.0))
    assert ratios_of(history, Delivery(120.0, hours_per_amount=0.5)).tolist() == [0.5]
    assert day_number(np.array([np.datetime64("1970-01-02")]))[0] == 1
