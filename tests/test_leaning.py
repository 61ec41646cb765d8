"""Leaning on baselines: the pool's score, what may be learned when, and raking of whole futures."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest

from quotacast.engine.backtest import leaning, scores
from quotacast.engine.backtest.leaning import Forecast, chosen, draw_weights, effective, evidence, learn, rake
from quotacast.engine.columns import columns_of
from quotacast.engine.paths import MEASURES, Paths, Steps
from quotacast.engine.quota import Scope
from quotacast.models.periods import Calendar
from quotacast.models.timegrid import day_number

RNG = np.random.default_rng(5)
ORIGIN = date(2025, 3, 31)


def _forecast(
    *centres: float, spread: float = 3.0, horizon: str = "m1", ends: date = date(2025, 4, 30)
) -> Forecast:
    draws = tuple(RNG.normal(c, spread, 700) for c in centres)
    return Forecast(horizon, "deals_won", ends, draws)


def _past(forecasts: list[Forecast], actual: list[float], origin: date = ORIGIN) -> pd.DataFrame:
    return evidence(origin, forecasts, np.asarray(actual))


def test_mean_distance_of_samples_is_that_of_all_pairs() -> None:
    x, z = RNG.gamma(2.0, 3.0, 83), RNG.normal(4.0, 2.0, 61)
    assert leaning.distance(x, z) == pytest.approx(np.abs(np.subtract.outer(x, z)).mean())
    assert leaning.distance(x, x) == pytest.approx(np.abs(np.subtract.outer(x, x)).mean())


@pytest.mark.parametrize("weights", [(0.5, 0.3, 0.2), (1.0, 0.0, 0.0), (0.25, 0.0, 0.75)])
def test_the_pools_crps_is_that_of_the_pooled_sample(weights: tuple[float, float, float]) -> None:
    """Independent: repeat each member's draws by its weight and score the one big sample."""
    forecast = _forecast(20.0, 26.0, 15.0)
    y = 22.7
    pooled = np.concatenate(
        [np.repeat(x, round(20 * w)) for x, w in zip(forecast.draws, weights, strict=True)]
    )
    found = leaning.pool_crps(_past([forecast], [y]), np.asarray([weights]))[0, 0]
    assert found == pytest.approx(scores.crps(pooled[None], np.array([y]))[0], rel=1e-9)


def test_nothing_is_learned_before_a_target_period_has_ended() -> None:
    past = _past([_forecast(20.0, 30.0, 30.0)], [30.0])
    assert learn(past, date(2025, 4, 29)) == {}
    assert set(learn(past, date(2025, 4, 30))) == {("deals_won", "month")}
    assert learn(pd.DataFrame(columns=list(leaning.EVIDENCE)), date(2026, 1, 1)) == {}


def test_weights_go_where_the_better_forecast_was_and_are_shrunk_to_the_model() -> None:
    worse = [_past([_forecast(20.0, 30.0, 24.0)], [30.0 + k / 7]) for k in range(12)]
    better = [_past([_forecast(30.0, 20.0, 24.0)], [30.0 + k / 7]) for k in range(12)]
    weak, strong = (learn(pd.concat(p), date(2025, 5, 1))["deals_won", "month"] for p in (worse, better))
    assert weak.sum() == pytest.approx(1.0)
    assert weak[1] > 0.5 > weak[0]
    assert strong[0] > 0.9
    once = learn(worse[0], date(2025, 5, 1))["deals_won", "month"]
    assert weak[0] < once[0] < 0.91
    assert once[0] == pytest.approx(0.86, abs=0.08)  # the prior's mean is (1 + .82) / 2


def test_a_long_horizon_counts_for_less() -> None:
    month = learn(_past([_forecast(20.0, 30.0, 24.0)], [30.0]), date(2025, 5, 1))["deals_won", "month"]
    long = _forecast(20.0, 30.0, 24.0, horizon="y1")
    year = learn(_past([long], [30.0]), date(2025, 5, 1))["deals_won", "year"]
    assert year[0] > month[0]


def test_raked_futures_have_the_probabilities_of_the_pool() -> None:
    forecast = _forecast(20.0, 24.0, 17.0)
    weights = draw_weights([forecast], {("deals_won", "month"): np.array([0.5, 0.3, 0.2])})
    assert weights is not None
    assert weights.sum() == pytest.approx(1.0)
    cut = float(np.quantile(forecast.draws[0], 0.8))
    pool = sum(w * float((x <= cut).mean()) for w, x in zip((0.5, 0.3, 0.2), forecast.draws, strict=True))
    assert float(weights[forecast.draws[0] <= cut].sum()) == pytest.approx(pool, abs=0.01)
    assert abs(pool - 0.8) > 0.05
    assert 100 < effective(weights) < 700


def test_no_leaning_leaves_every_future_alone() -> None:
    forecast = _forecast(20.0, 24.0, 17.0)
    assert draw_weights([forecast], {}) is None
    alone = draw_weights([forecast], {("deals_won", "month"): np.array([1.0, 0.0, 0.0])})
    np.testing.assert_allclose(alone, 1 / 700)
    np.testing.assert_array_equal(chosen(alone, 0.37), np.arange(700))


def test_margins_that_contradict_each_other_end_in_a_compromise() -> None:
    cell = (np.arange(600) >= 450).astype(np.int64)
    w = rake([(cell, np.array([0.5, 0.5])), (cell, np.array([0.9, 0.1]))])
    assert w.sum() == pytest.approx(1.0)
    assert 0.1 - 1e-9 <= w[cell == 1].sum() <= 0.5


def test_no_future_counts_for_more_than_the_cap() -> None:
    """Twenty of two thousand are to have half of it all: 50 times their share, which is capped at 20."""
    cell = (np.arange(2000) < 20).astype(np.int64)
    w = rake([(cell, np.array([0.5, 0.5]))])
    assert w.sum() == pytest.approx(1.0)
    assert w.max() == pytest.approx(leaning.CAP / 2000)
    assert w[cell == 1].sum() == pytest.approx(20 * leaning.CAP / 2000)


def test_one_lucky_forecast_does_not_decide() -> None:
    """The loss is the mean CRPS: an origin at which the model happened to be exact is one of thirteen."""
    hit = _past(
        [Forecast("m1", "deals_won", date(2025, 4, 30), (np.zeros(700), *_forecast(2.0, 2.0).draws))], [0.0]
    )
    rest = [_past([_forecast(20.0, 30.0, 24.0)], [30.0 + k / 7]) for k in range(12)]
    found = learn(pd.concat([hit, *rest]), date(2025, 5, 1))["deals_won", "month"]
    assert found[1] > 0.5


def test_futures_are_drawn_by_weight() -> None:
    weights = RNG.dirichlet(np.full(500, 0.7))
    found = np.bincount(chosen(weights, 0.61), minlength=500)
    assert np.all(np.abs(found - 500 * weights) < 1.0 + 1e-9)
    assert np.all(np.diff(chosen(weights, 0.61)) >= 0)


def _paths() -> Paths:
    """Made-up futures of three reps in two steps."""
    shape = (20, 3, 2)
    happens = {n: RNG.integers(0, 9, (*shape, 2)).astype(np.int32) for n in ("won", "lost", "won_days")}
    happens["won_cents"] = RNG.integers(0, 10**7, (*shape, 2))
    happens["created"] = RNG.integers(0, 9, shape).astype(np.int32)
    days = (date(2026, 1, 1), date(2026, 2, 1), date(2026, 4, 1))
    return Paths(
        as_of=date(2025, 12, 31),
        steps=Steps(np.array([day_number(day) for day in days])),
        reps=("r1", "r2", "r3"),
        teams=("a", "a", "b"),
        columns={name: columns_of(counts, block=7) for name, counts in happens.items()},
        done_seats=(("r1", "a"),),
        done={name: np.zeros((1, 2), dtype=np.int64) for name in MEASURES},
    )


def test_taken_futures_stay_whole() -> None:
    """Company = sum of reps and total = open + new in every future, as before."""
    paths, period = _paths(), Calendar().parse("2026-Q1")
    some = np.array([3, 3, 0, 17, 17, 17, 5])
    again = paths.taken(some)
    for measure in ("won", "won_cents", "created"):
        company = np.add(*paths.simulated(measure, Scope("company"), period))
        taken = np.add(*again.simulated(measure, Scope("company"), period))
        np.testing.assert_array_equal(taken, company[some])
        reps = [np.add(*again.simulated(measure, Scope("rep", r), period)) for r in again.reps]
        np.testing.assert_array_equal(taken, np.sum(reps, axis=0))
        assert company.std() > 0
        np.testing.assert_array_equal(again.array(measure), paths.array(measure)[some])
    twice = again.taken(np.array([6, 0, 0]))
    assert twice.draws == 3
    np.testing.assert_array_equal(twice.array("won"), paths.array("won")[[5, 3, 3]])
