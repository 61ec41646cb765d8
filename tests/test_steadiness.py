"""Evenness of activity against its noise floor; prospecting against closing; lifts and worst months."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from quotacast.engine.columns import BLOCK, join, take
from quotacast.engine.drivers import Change
from quotacast.engine.paths import Paths, Steps
from quotacast.engine.quota import Scope
from quotacast.engine.steadiness import FLOOR, is_prospecting, steadiness, unevenness
from quotacast.errors import PlanError
from quotacast.models.funnel import prepare
from quotacast.models.periods import Calendar
from quotacast.scenarios.lift import lift_changes, lift_table, refuse_undriven, steadier, worst_month

FIRST, LAST = date(2026, 1, 5), date(2026, 6, 28)  # a Monday and a Sunday: 25 weeks


@pytest.mark.parametrize("mean", [3.0, 40.0])
def test_even_workers_stay_below_the_floor_as_often_as_it_says(mean: float) -> None:
    rng = np.random.default_rng(1)
    found = [unevenness(rng.poisson(mean, 52).astype(float)) for _ in range(4000)]
    below = np.mean([u <= floor for u, floor in found])
    assert below == pytest.approx(FLOOR, abs=0.02)


@pytest.mark.parametrize("cv", [0.3, 0.8])
def test_unevenness_is_the_variation_beyond_poisson(cv: float) -> None:
    rng = np.random.default_rng(2)
    rate = 20.0 * rng.gamma(1 / cv**2, cv**2, 200_000)
    found, _ = unevenness(rng.poisson(rate).astype(float))
    assert found == pytest.approx(cv, rel=0.02)


def rows_of(weekly: dict[str, list[int]]) -> list[dict[str, Any]]:
    """Activities on Wednesdays, so many a week."""
    return [
        {"kind": "call", "done_on": FIRST + timedelta(days=7 * w + 2), "rep_id": rep, "count": n}
        for rep, counts in weekly.items()
        for w, n in enumerate(counts)
        if n
    ]


def deals(rep: str, every: int = 7) -> list[dict[str, Any]]:
    return [
        {
            "opportunity_id": f"{rep}{k}", "created_on": FIRST + timedelta(days=k), "rep_id": rep,
            "status": ("won", "lost")[k % 2], "closed_on": FIRST + timedelta(days=k + 3), "amount": 900.0 + k,
        }
        for k in range(0, 168, every)
    ]  # fmt: skip


def test_weeks_of_deals_without_a_log_are_unobserved(make_history: Callable[..., Any]) -> None:
    """Rep a logs every week, with two silent weeks in which deals moved; b is silent, and nothing moved.

    Logging begins on the first Wednesday, so the first of the 25 weeks is not whole.
    """
    weekly = {"a": [5, 7] * 12 + [6], "b": [4] * 25}
    weekly["a"][8] = weekly["a"][9] = 0
    weekly["b"][3] = 0
    history = make_history(
        {"opportunities": [*deals("a"), *deals("b", 60)], "activities": rows_of(weekly)}, LAST
    )
    found = {s.rep: s for s in steadiness(history, prepare(history, Calendar()))}
    assert (found["a"].weeks, found["a"].unobserved) == (22, 2)
    kept = [n for n in weekly["a"][1:] if n]
    assert found["a"].per_week == pytest.approx(np.mean(kept))
    assert found["a"].even is True
    assert (found["b"].weeks, found["b"].unobserved) == (24, 0)
    assert found["b"].per_week == pytest.approx(23 * 4 / 24)


def test_no_activities_no_steadiness(make_history: Callable[..., Any]) -> None:
    history = make_history({"opportunities": deals("a")}, LAST)
    assert steadiness(history, prepare(history, Calendar())) == ()


def test_prospecting_is_unlinked_or_earlier(make_history: Callable[..., Any]) -> None:
    born = FIRST + timedelta(days=14)
    acts = [
        {
            "kind": "call",
            "done_on": born - timedelta(days=1),
            "rep_id": "a",
            "opportunity_id": "a14",
            "count": 2,
        },
        {"kind": "call", "done_on": born, "rep_id": "a", "opportunity_id": "a14", "count": 5},
        {"kind": "email", "done_on": born, "rep_id": "a", "opportunity_id": None, "count": 4},
        {"kind": "email", "done_on": born, "rep_id": "a", "opportunity_id": "gone", "count": 3},
    ]
    history = make_history({"opportunities": deals("a"), "activities": acts}, LAST)
    assert is_prospecting(history).tolist() == [True, False, True, True]
    (found,) = steadiness(history, prepare(history, Calendar()))
    assert found.prospecting == pytest.approx(9 / 14)
    assert found.even is None or found.weeks >= 8


# -- lifts and worst months ---------------------------------------------------------------------------------


def test_others_come_up_to_the_top() -> None:
    rates = {"a": 10.0, "b": 14.0, "c": 6.0, "d": 13.0, "e": 0.0}
    assert lift_changes(rates, ["a", "b"], "activity:call") == (Change("activity:call", "rep:c", times=2.0),)
    slow = lift_changes({"a": 40.0, "b": 80.0, "c": 30.0}, ["a"], "cycle_days")
    assert slow == (Change("cycle_days", "rep:b", times=0.5),)


def test_activity_that_drives_nothing_has_no_price() -> None:
    refuse_undriven("activity:call", ("call", "email"), "")
    refuse_undriven("opportunities_created", (), "activity follows deals")
    with pytest.raises(PlanError, match="--lift activity:call: activity follows deals"):
        refuse_undriven("activity:call", (), "activity follows deals")


def paths_of(created: np.ndarray) -> tuple[Paths, list[Any]]:
    months = [Calendar().parse(f"2027-{m:02d}") for m in range(1, created.shape[2] + 1)]
    steps = Steps.covering(months)
    reps = tuple(f"r{k}" for k in range(created.shape[1]))
    counts = created.astype(np.int64)[..., None]
    nothing, money = np.zeros_like(counts), counts * 50_000
    deals = {"won": nothing, "won_cents": money}
    arrays = {"created": counts} | {m: np.concatenate([nothing, new], axis=3) for m, new in deals.items()}
    columns = {
        m: join(
            [take(np.ascontiguousarray(a[i : i + BLOCK])) for i in range(0, len(a), BLOCK)],
            len(reps), len(steps), a.shape[3],
        )
        for m, a in arrays.items()
    }  # fmt: skip
    done = {m: np.zeros((len(reps), len(steps)), dtype=np.int64) for m in arrays}
    seats = tuple((rep, "north") for rep in reps)
    return Paths(date(2026, 12, 31), steps, reps, ("north",) * len(reps), columns, seats, done), months


def test_the_worst_month() -> None:
    created = np.array([[[4, 9, 6]], [[8, 2, 9]]])
    paths, months = paths_of(created)
    found = worst_month(paths, "opportunities_created", Scope("rep", "r0"), months, np.array([5.0, 4.0, 6.0]))
    assert found == pytest.approx([4 / 5, 2 / 4])


def test_an_even_year_has_the_better_worst_month() -> None:
    """Oracle: P(all 12 months >= 15) is a power of a Poisson probability, mixed over swings or not."""
    from scipy.stats import nbinom, poisson

    rng, draws, mean, phi = np.random.default_rng(4), 20_000, 20.0, 4.0
    swing = rng.poisson(mean * rng.gamma(phi, 1 / phi, (draws, 1, 12)))
    even = rng.poisson(mean, (draws, 1, 12))
    months = paths_of(even)[1]
    scope = Scope("company")
    found = steadier(
        lambda spread: paths_of(even if spread else swing)[0],
        "opportunities_created",
        [scope],
        months,
        {scope: np.full(12, 15.0)},
    ).iloc[0]
    assert found["p_even"] == pytest.approx(poisson.sf(14, mean) ** 12, abs=0.01)
    assert found["p_now"] == pytest.approx(nbinom.sf(14, phi, phi / (phi + mean)) ** 12, abs=0.01)
    assert found["worst_even"] > found["worst_now"]


def test_the_gain_is_the_difference_of_the_same_futures() -> None:
    base, months = paths_of(np.array([[[4, 9]], [[8, 2]]]))
    more, _ = paths_of(np.array([[[6, 9]], [[9, 5]]]))
    period = months[0]
    found = lift_table(
        (base, more), (Change("activity:call", "rep:r0", times=1.3),), period, "activity:call", {}
    )
    rows = found.rows.set_index(["metric", "scope"])
    assert rows.loc[("opportunities_created", "company"), "gain"] == pytest.approx(1.5)
    assert rows.loc[("bookings", "rep"), ["mean", "lifted", "gain"]].to_list() == pytest.approx(
        [3000, 3750, 750]
    )
    assert rows.loc[("bookings", "rep"), "times"] == 1.3
    assert "association" in found.words
