"""The cheapest set on a grid: against an exhaustive search."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from quotacast.engine.answers.cheapest import MARGIN, cheapest, corner_odds, grid

LEVELS = [(0.0, 0.25, 0.5, 0.75, 1.0)] * 3 + [(0.0, 1 / 3, 2 / 3, 1.0)]


def truth(seed: int):  # type: ignore[no-untyped-def]
    """Odds that rise in every lever, with interactions and curvature, rounded as by 400 futures."""
    rng = np.random.default_rng(seed)
    own, both, bend = rng.gamma(2.0, 0.25, 4), rng.gamma(1.0, 0.1, (4, 4)), rng.uniform(0.8, 1.3, 4)

    def odds(point: tuple[float, ...]) -> float:
        x = np.asarray(point) ** bend
        return float(np.round(400 * norm.cdf(-1.0 + own @ x + x @ both @ x)) / 400)

    return odds, rng.gamma(3.0, 40.0, 4)


@pytest.mark.parametrize("seed", range(12))
def test_the_search_finds_what_an_exhaustive_one_finds(seed: int) -> None:
    odds, prices = truth(seed)
    points = grid(LEVELS)
    costs = points @ prices
    every = np.array([odds(tuple(p)) for p in points])
    surrogate = corner_odds(points, lambda inside: odds(tuple(float(i in inside) for i in range(4))), 1 / 800)
    wished = 0.6
    found = cheapest(points, costs, surrogate, odds, wished, 200)
    feasible = every >= wished
    assert found.complete
    assert found.points == 500
    assert found.simulated < 120
    if not feasible.any():
        assert found.point is None
        return
    assert found.cost == pytest.approx(costs[feasible].min())
    assert found.odds is not None
    assert found.odds >= wished


def test_what_no_set_reaches_is_said_after_few_simulations() -> None:
    odds, prices = truth(3)
    points = grid(LEVELS)
    surrogate = corner_odds(points, lambda inside: odds(tuple(float(i in inside) for i in range(4))), 1 / 800)
    found = cheapest(points, points @ prices, surrogate, odds, 0.9999, 50)
    assert (found.point, found.complete) == (None, True)


def test_a_search_that_is_cut_short_proves_nothing() -> None:
    odds, prices = truth(5)
    points = grid(LEVELS)
    flat = np.full(len(points), 0.6)  # a surrogate that rules nothing out
    found = cheapest(points, points @ prices, flat, odds, 0.6, 3)
    assert not found.complete
    assert found.simulated == 3
    assert found.margin >= MARGIN


def test_a_surrogate_that_errs_is_found_out() -> None:
    """Too low by a tenth everywhere: the margin grows with what is seen, and points are looked at again."""
    odds, prices = truth(7)
    points = grid(LEVELS)
    every = np.array([odds(tuple(p)) for p in points])
    low = np.clip(every - 0.1, 0.0, 1.0)
    found = cheapest(points, points @ prices, low, odds, 0.6, 500)
    assert found.margin == pytest.approx(0.1, abs=1e-9)
    assert found.cost == pytest.approx((points @ prices)[every >= 0.6].min())


def test_corners_are_met_exactly() -> None:
    corners = {frozenset(): 0.2, frozenset({0}): 0.5, frozenset({1}): 0.35, frozenset({0, 1}): 0.8}
    points = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, 0.0]])
    found = corner_odds(points, corners.__getitem__, 0.001)
    np.testing.assert_allclose(found[:4], [0.2, 0.5, 0.35, 0.8])
    assert found[4] == pytest.approx(norm.cdf((norm.ppf(0.2) + norm.ppf(0.5)) / 2))
