"""The cheapest set of levers that reaches the target with the wished odds, within the plan's bounds."""

from __future__ import annotations

from typing import Any

import numpy as np

from quotacast.engine.answers.cheapest import MARGIN, Cheapest, cheapest, corner_odds, grid
from quotacast.engine.shapley import EXACT
from quotacast.models.terms import Floats
from quotacast.scenarios.deciding.game import ODDS, Game

#: Simulations of the search, and standard errors by which a set must fall short on the tried futures to be
#: passed over without simulating all.
MOST, CLEARLY = 40, 2.0


def cheapest_set(game: Game) -> dict[str, Any]:
    """The cheapest set on the grid, and what is guaranteed of it; its odds are those of all futures."""
    if not any(lever.cost for lever in game.levers):
        return {"found": False, "why": "no lever states a cost, so no set is the cheapest"}
    points = grid([lever.levels() for lever in game.levers])
    costs = points @ np.array([lever.cost for lever in game.levers])

    def odds(point: tuple[float, ...]) -> float:
        roughly = float(game.level(point)[ODDS])
        surely_short = roughly + CLEARLY * game.error(point) < game.wish.probability
        return roughly if surely_short else game.verified(point)

    margin = max(MARGIN, CLEARLY * game.error((1.0,) * len(game.levers)))
    found = cheapest(points, costs, _surrogate(game, points), odds, game.wish.probability, MOST, margin)
    return {**_told(game, found), "found": found.point is not None}


def _surrogate(game: Game, points: Floats) -> Floats:
    """Odds on the grid as far as they are known without simulating it."""
    least = 0.5 / game.fewer.draws

    def at(inside: frozenset[int]) -> float:
        return float(game.level(game.shares(inside))[ODDS])

    if len(game.levers) <= EXACT:
        return corner_odds(points, at, least)
    from scipy.special import ndtr, ndtri

    one = [at(frozenset({i})) for i in range(len(game.levers))]
    none, every = (at(s) for s in game.corners(EXACT))
    low, high = (ndtri(np.clip(x, least, 1 - least)) for x in (none, every))
    steps = ndtri(np.clip(one, least, 1 - least)) - low
    return np.asarray(ndtr(low + points @ (steps * (high - low) / (steps.sum() or 1.0))))


def _told(game: Game, found: Cheapest) -> dict[str, Any]:
    guarantee = (
        f"the best of {found.simulated} of {found.points:,} combinations simulated; the search ended early"
    )
    if found.complete:
        guarantee = (
            f"the cheapest of {found.points:,} combinations, if odds never fall as levers go further and the "
            f"interpolation errs by less than {found.margin:.1%}, the most in {found.simulated} simulated "
            "ones or twice its standard error"
        )
    if found.point is None:
        cut = "none found before the search was cut short"
        return {"why": "cannot be met with these levers" if found.complete else cut, "guarantee": guarantee}
    moves = {
        lever.name: lever.at(share) for lever, share in zip(game.levers, found.point, strict=True) if share
    }
    return {"moves": moves, "cost": found.cost, "odds": found.odds, "guarantee": guarantee}
