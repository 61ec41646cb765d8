"""The cheapest point of a grid whose odds are high enough, with few simulations.

Odds at a grid point take a simulation; a surrogate says roughly what they are. Points are taken by rising
cost; one is simulated if the surrogate, give or take the margin, allows it to be feasible, and if no
simulated point that goes at least as far in everything was infeasible. The first feasible one ends the
search, and then every cheaper point was either simulated, or lies below an infeasible one, or falls short by
the surrogate by more than the margin. The margin is the largest error of the surrogate that was seen; where
it grows, points passed over are looked at again. So the point found is the cheapest of the grid if odds
never fall as levers go further, and if nowhere cheaper the surrogate errs by more than the margin. Both are
stated with the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from quotacast.models.terms import Floats

#: Error of the surrogate that is reckoned with before any was seen.
MARGIN = 0.02


@dataclass(frozen=True)
class Cheapest:
    """Result of the search.

    Attributes
    ----------
    point : tuple of float, or None
        How far each lever goes; None where no point was found.
    cost, odds : float or None
        Of that point.
    points : int
        Points of the grid.
    simulated : int
        How many were simulated.
    margin : float
        Largest error of the surrogate that was seen or reckoned with.
    complete : bool
        False where the simulations ran out before the search ended: then nothing is proven.
    """

    point: tuple[float, ...] | None
    cost: float | None
    odds: float | None
    points: int
    simulated: int
    margin: float
    complete: bool


def grid(levels: Sequence[Sequence[float]]) -> Floats:
    """All combinations of levels, shape (points, levers)."""
    return np.array(list(product(*levels)), dtype=float)


def corner_odds(points: Floats, corners: Callable[[frozenset[int]], float], least: float) -> Floats:
    """Surrogate from the odds at the corners of the cube: multilinear in probits, so it rises where they do.

    Parameters
    ----------
    points : ndarray, shape (points, levers)
        From 0 to 1.
    corners : callable
        Odds where a set of levers goes all the way and the others stay.
    least : float
        Odds are kept this far from 0 and 1.
    """
    from scipy.special import ndtr, ndtri

    total = np.zeros(len(points))
    levers = points.shape[1]
    for inside in product((False, True), repeat=levers):
        weight = np.where(inside, points, 1.0 - points).prod(axis=1)
        odds = corners(frozenset(i for i in range(levers) if inside[i]))
        total += weight * ndtri(np.clip(odds, least, 1.0 - least))
    return np.asarray(ndtr(total))


def cheapest(
    points: Floats,
    costs: Floats,
    surrogate: Floats,
    odds: Callable[[tuple[float, ...]], float],
    wished: float,
    most: int,
    margin: float = MARGIN,
) -> Cheapest:
    """Search a grid.

    Parameters
    ----------
    points : ndarray, shape (points, levers)
    costs, surrogate : ndarray, shape (points,)
    odds : callable
        Simulated odds of a point.
    wished : float
    most : int
        So many points may be simulated.
    margin : float
        Error of the surrogate that is reckoned with before any was seen.
    """
    open_, simulated, best = np.ones(len(points), dtype=bool), 0, None
    found = float("nan")
    while True:
        worth = open_ & (surrogate >= wished - margin)
        if best is not None:
            worth &= costs < costs[best]
        candidates = np.flatnonzero(worth)
        if not candidates.size or simulated >= most:
            break
        at = candidates[np.lexsort((-surrogate[candidates], costs[candidates]))[0]]
        value = odds(tuple(points[at].tolist()))
        simulated, open_[at] = simulated + 1, False
        margin = max(margin, abs(value - float(surrogate[at])))
        if value >= wished:
            best, found = at, value
        else:
            open_ &= ~_below(points, points[at])
    complete = not candidates.size
    if best is None:
        return Cheapest(None, None, None, len(points), simulated, margin, complete)
    point = tuple(points[best].tolist())
    return Cheapest(point, float(costs[best]), found, len(points), simulated, margin, complete)


def _below(points: Floats, point: Floats) -> NDArray[np.bool_]:
    """Points that go nowhere further than this one."""
    return np.asarray((points <= point + 1e-12).all(axis=1))
