"""Splitting what several changes do together into parts that sum to the whole.

Shapley values (Shapley 1953, "A value for n-person games"; for attributions to model inputs Owen & Prieur
2017, doi:10.1137/16M1097717). Player i's part is its mean contribution over all orders in which the players
may join ::

    part_i = sum over S without i of |S|! (n - |S| - 1)! / n! x (v(S + i) - v(S))

They are the only split that sums to v(all) - v(none), gives equal contributors equal parts, gives nothing to
who changes nothing, and is linear in v. With up to ``EXACT`` players all 2^n sets are asked for; with more,
orders are sampled, in pairs with their reverses, and every order's contributions telescope, so the sum stays
exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from math import factorial

import numpy as np
from numpy.typing import NDArray

from quotacast.engine.streams import key, uniforms
from quotacast.models.terms import Floats

#: So many players are split exactly.
EXACT = 6
#: Value of a set of players; an array is split element by element.
Value = Callable[[frozenset[int]], Floats]


@dataclass(frozen=True)
class Parts:
    """Parts of a whole.

    Attributes
    ----------
    parts : ndarray, shape (n, ...)
        They sum to ``whole`` over the first axis.
    whole : ndarray, shape (...)
        v(all) - v(none).
    error : ndarray, shape (n, ...)
        Standard error from the sampling of orders; zeros where the split is exact.
    orders : int
        Orders that were sampled; 0 where the split is exact.
    """

    parts: Floats
    whole: Floats
    error: Floats
    orders: int


def shapley(value: Value, n: int, *, pairs: int = 12, seed: int = 0) -> Parts:
    """Split v(all) - v(none) among ``n`` players.

    Parameters
    ----------
    value : callable
        From a set of players 0 … n - 1 to a value, shape (...); should remember what it was asked.
    pairs : int
        With more than :data:`EXACT` players, so many orders and their reverses are sampled.
    """
    whole = np.asarray(value(frozenset(range(n))) - value(frozenset()), dtype=float)
    if n <= EXACT:
        parts = _exact(value, n)
        return Parts(parts, whole, np.zeros_like(parts), 0)
    each = np.stack([_antithetic(value, order) for order in _orders(n, pairs, seed)])
    error = (
        each.std(axis=0, ddof=1) / np.sqrt(len(each)) if len(each) > 1 else np.full(each.shape[1:], np.nan)
    )
    return Parts(each.mean(axis=0), whole, np.asarray(error), 2 * len(each))


def _exact(value: Value, n: int) -> Floats:
    none = np.asarray(value(frozenset()), dtype=float)
    parts = np.zeros((n, *none.shape))
    for size in range(n):
        weight = factorial(size) * factorial(n - size - 1) / factorial(n)
        for i in range(n):
            others = [j for j in range(n) if j != i]
            for chosen in combinations(others, size):
                before = frozenset(chosen)
                parts[i] += weight * (value(before | {i}) - value(before))
    return parts


def _orders(n: int, pairs: int, seed: int) -> list[NDArray[np.int64]]:
    lots = uniforms(np.array([key(seed, "order of levers")], dtype=np.uint64), 0, pairs, n)[:, 0]
    return [np.argsort(lot) for lot in lots]


def _antithetic(value: Value, order: NDArray[np.int64]) -> Floats:
    """Mean contributions in an order and its reverse: their errors partly cancel."""
    return np.asarray((_contributions(value, order) + _contributions(value, order[::-1])) / 2.0)


def _contributions(value: Value, order: NDArray[np.int64]) -> Floats:
    before, inside = np.asarray(value(frozenset()), dtype=float), frozenset[int]()
    parts = np.zeros((order.size, *before.shape))
    for i in order.tolist():
        inside = inside | {i}
        after = np.asarray(value(inside), dtype=float)
        parts[i], before = after - before, after
    return parts
