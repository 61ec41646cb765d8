"""Splitting a whole into parts: against all orders by brute force."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from quotacast.engine.shapley import EXACT, shapley


def game(n: int, seed: int):  # type: ignore[no-untyped-def]
    """A set function with a different random pair of numbers for every set."""
    rng, kept = np.random.default_rng(seed), {}

    def value(players: frozenset[int]) -> np.ndarray:
        if players not in kept:
            kept[players] = rng.gamma(2.0, 1.0 + len(players), 2)
        return np.asarray(kept[players])

    return value, kept


def by_all_orders(value, n: int) -> np.ndarray:  # type: ignore[no-untyped-def]
    total = np.zeros((n, 2))
    orders = list(permutations(range(n)))
    for order in orders:
        inside: frozenset[int] = frozenset()
        for i in order:
            total[i] += value(inside | {i}) - value(inside)
            inside = inside | {i}
    return total / len(orders)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_parts_are_mean_contributions_over_all_orders(n: int) -> None:
    value, kept = game(n, n)
    found = shapley(value, n)
    np.testing.assert_allclose(found.parts, by_all_orders(value, n), rtol=1e-12)
    np.testing.assert_allclose(found.parts.sum(axis=0), found.whole, rtol=1e-12)
    assert len(kept) == 2**n
    assert found.orders == 0
    assert not found.error.any()


def test_interaction_is_shared_and_who_changes_nothing_gets_nothing() -> None:
    """v = 3a + 5b + 4ab, player c counts for nothing: 3 + 2, 5 + 2, 0."""

    def value(players: frozenset[int]) -> np.ndarray:
        a, b = 0 in players, 1 in players
        return np.asarray(3.0 * a + 5.0 * b + 4.0 * (a and b))

    np.testing.assert_allclose(shapley(value, 3).parts, [5.0, 7.0, 0.0])


def test_many_players_are_sampled_with_an_exact_sum_and_a_stated_error() -> None:
    n = EXACT + 2
    weights = np.random.default_rng(3).gamma(2.0, 1.0, n)

    def value(players: frozenset[int]) -> np.ndarray:
        return np.asarray(sum(weights[i] for i in players) ** 1.7)

    found = shapley(value, n, pairs=40, seed=5)
    assert found.orders == 80
    assert found.parts.sum() == pytest.approx(float(found.whole), rel=1e-12)
    exact = _exact_of_sum(weights, 1.7)
    assert np.abs((found.parts - exact) / found.error).max() < 4.0
    assert (found.error > 0).all()
    assert found.error.max() < 0.1 * exact.max()


def _exact_of_sum(weights: np.ndarray, power: float) -> np.ndarray:
    """Shapley values of (sum of weights) ** power, from all subsets of bits."""
    from math import factorial

    n = weights.size
    sums = np.array([sum(weights[i] for i in range(n) if code >> i & 1) for code in range(2**n)]) ** power
    out = np.zeros(n)
    for code in range(2**n):
        size = bin(code).count("1")
        for i in range(n):
            if not code >> i & 1:
                out[i] += (
                    factorial(size)
                    * factorial(n - size - 1)
                    / factorial(n)
                    * (sums[code | 1 << i] - sums[code])
                )
    return out
