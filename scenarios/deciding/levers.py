"""The gap to the company's target, lever by lever, and the cheapest way to close it.

Every set of levers is simulated with the same random numbers and read on the same futures. The gap to the
target is split by Shapley values (:mod:`quotacast.engine.shapley`), so the parts sum to what all
levers do together; intervals are those of a bootstrap over futures, the same resamples for every set. The
cheapest set is searched on a grid (:mod:`quotacast.engine.answers.cheapest`) and simulated once more with
all of the plan's futures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.answer import Answer, Field
from quotacast.engine.answers.cheapest import Cheapest, cheapest, corner_odds, grid
from quotacast.engine.metrics import metric, series, units
from quotacast.engine.paths import Paths
from quotacast.engine.quota import Scope
from quotacast.engine.shapley import EXACT, Parts, shapley
from quotacast.engine.streams import key, uniforms
from quotacast.models.terms import Floats
from quotacast.scenarios.deciding.lastday import last_useful_day
from quotacast.scenarios.deciding.lever import Lever, first_day, levers_of, teams_of
from quotacast.scenarios.deciding.leverwords import lever_words
from quotacast.scenarios.inverse import Wish, wish
from quotacast.scenarios.run import Run

#: Futures of one set of levers, resamples of the bootstrap, first days tried, and simulations of the search.
LEVER_DRAWS, RESAMPLES, STARTS, MOST = 600, 200, 4, 40
#: Percent of the resamples between which an interval lies.
INTERVAL = (10.0, 90.0)
#: Odds that are wished where neither the command nor the plan says.
WISHED = 0.5
P50, ODDS = 0, 1

_EFFECTS = (("p50", "metric", "the median"), ("odds", "ratio", "the odds of the target"))


def _effect_fields() -> Iterator[Field]:
    for name, unit, what in _EFFECTS:
        yield Field(f"{name}_alone", unit, f"what the lever alone does to {what}")
        yield Field(f"{name}_alone_low", unit, "10 % of the resamples of futures are below")
        yield Field(f"{name}_alone_high", unit, "90 % of the resamples of futures are below")
        yield Field(f"{name}_part", unit, f"its Shapley part of what all levers do to {what}")
        yield Field(f"{name}_part_low", unit, "10 % of the resamples of futures are below")
        yield Field(f"{name}_part_high", unit, "90 % of the resamples of futures are below")


FIELDS = (
    Field("scope", "text", "whose target it is"),
    Field("scope_id", "text", "team or rep; empty for the company"),
    Field("metric", "text", "what is to be reached"),
    Field("period", "text", "over which it counts"),
    Field("lever", "text", "what is moved, and where"),
    Field("group", "text", "hiring, ramp, activity, creation, close rate, cycle, price or margin"),
    Field("from", "score", "where it stands: a factor, or a number of hires"),
    Field("to", "score", "how far it may go"),
    Field("cost", "money", "of going all the way; missing where none is stated"),
    Field("label", "text", "association: activity that the plan does not call causal; else effect"),
    *_effect_fields(),
    Field("last_useful_day", "date", "after it less than a tenth of the lever's effect is left"),
)


@dataclass(frozen=True)
class Game:
    """What sets of levers lead to: remembered simulations under the same random numbers.

    Attributes
    ----------
    run : Run
    wish : Wish
    levers : tuple of Lever
    draws : int
    weights : ndarray, shape (1 + resamples, draws)
        How often every future counts: first as the track record teaches, then in each resample of those.
    """

    run: Run
    wish: Wish
    levers: tuple[Lever, ...]
    draws: int
    weights: Floats
    kept: dict[Any, Floats] = field(default_factory=dict)

    def draws_of(self, shares: tuple[float, ...], first: date | None = None) -> Floats:
        """Draws of the metric with each lever a share of the way, from its first day or a later one on."""
        asked = (shares, first if any(shares) else None)
        if asked not in self.kept:
            drivers = self.drivers(shares, first)
            paths = self.run.variant(drivers, (self.wish.period,), self.draws, (self.wish.metric,))
            self.kept[asked] = _values(self.wish, paths)
        return self.kept[asked]

    def drivers(self, shares: Sequence[float], first: date | None = None) -> Any:
        """The plan's drivers with the levers moved."""
        drivers = self.run.factored_drivers
        for lever, share in zip(self.levers, shares, strict=True):
            begins = max(first_day(self.run, lever), first or date.min)
            drivers = lever.moved(drivers, share, begins, teams_of(self.run, lever))
        return drivers

    def figures(self, shares: tuple[float, ...]) -> Floats:
        """Median and odds, shape (2, 1 + resamples)."""
        values = self.draws_of(shares)
        reached = metric(self.wish.metric).attains(values, self.wish.target)
        total = self.weights.sum(axis=1)
        return np.stack([weighted_median(values, self.weights), self.weights @ reached / total])

    def corner(self, inside: frozenset[int]) -> Floats:
        """`figures` where these levers go all the way."""
        return self.figures(tuple(1.0 if i in inside else 0.0 for i in range(len(self.levers))))

    def mean(self, shares: tuple[float, ...], first: date | None = None) -> float:
        """Mean of the metric where it is defined."""
        values, weight = self.draws_of(shares, first), self.weights[0]
        known = np.isfinite(values)
        return float(np.average(values[known], weights=weight[known])) if known.any() else 0.0


def weighted_median(values: Floats, weights: Floats) -> Floats:
    """Smallest value up to which at least half of the weight lies, shape (rows of weights,).

    Undefined values count as the largest.
    """
    order = np.argsort(values, kind="stable")
    upto = np.cumsum(weights[:, order], axis=1)
    at = (upto < 0.5 * upto[:, -1:]).sum(axis=1)
    return np.asarray(values[order][np.minimum(at, values.size - 1)])


def resample_weights(futures: Any, draws: int, resamples: int, seed: int) -> Floats:
    """How often each of the first ``draws`` futures counts: as leaned on, and in resamples of those.

    Returns
    -------
    ndarray, shape (1 + resamples, draws)
    """
    counts = np.ones(draws) if futures is None else np.bincount(futures[futures < draws], minlength=draws)
    there = np.flatnonzero(counts)
    stream = np.array([key(seed, "lever resamples")], dtype=np.uint64)
    pick = (uniforms(stream, 0, resamples, there.size)[:, 0] * there.size).astype(np.int64)
    out = np.zeros((1 + resamples, draws))
    out[0] = counts
    for b in range(resamples):
        out[1 + b, there] = np.bincount(pick[b], minlength=there.size) * counts[there]
    return out


def levers_answer(run: Run, options: Mapping[str, Any]) -> tuple[Answer, tuple[str, ...]]:
    """Split the gap to a target by lever, and search the cheapest set that reaches it with the wished odds.

    ``options`` may hold ``metric`` (bookings), ``scope`` (company), ``target`` (the plan's quota), ``period``
    (the horizon) and ``probability`` (the plan's aim, else one half).

    Raises
    ------
    PlanError
        With everything that is wrong with the levers or what was asked for.
    """
    asked = _wish(run, options)
    levers, default = levers_of(run)
    run.funnel  # noqa: B018  fitted first, so that the bars come in order
    draws = min(run.plan.draws, LEVER_DRAWS)
    weights = resample_weights(run.leaning.futures, draws, RESAMPLES, run.plan.seed)
    game = Game(run, asked, levers, draws, weights)
    split = shapley(game.corner, len(levers), seed=run.plan.seed)
    rows = [_row(game, i, split) for i in range(len(levers))]
    table = pd.DataFrame(rows, columns=[f.name for f in FIELDS])
    summary = _summary(game, split, default)
    words = lever_words(table, summary)
    return Answer("levers", table, FIELDS, words, summary, run.provenance(), "table"), run.plan_notes


def _wish(run: Run, options: Mapping[str, Any]) -> Wish:
    names, scopes = options.get("metric") or ("bookings",), options.get("scope") or ("company",)
    name, scope = (x if isinstance(x, str) else x[0] for x in (names, scopes))
    probability = options.get("probability")
    if probability is None:
        aimed = getattr(run.plan.aim, Scope.parse(scope).kind)
        probability = WISHED if aimed is None else aimed
    return wish(run, name, options.get("target"), probability, "", scope, options.get("period"))


def _row(game: Game, i: int, split: Parts) -> dict[str, Any]:
    lever, asked = game.levers[i], game.wish
    alone = game.corner(frozenset({i})) - game.corner(frozenset())
    row: dict[str, Any] = {
        "scope": asked.scope.kind,
        "scope_id": asked.scope.id,
        "metric": asked.metric,
        "period": asked.period.label,
        "lever": lever.name,
        "group": lever.group,
        "from": lever.low,
        "to": lever.high,
        "cost": lever.cost or None,
        "label": "association" if lever.is_association else "effect",
    }
    for which, (name, _, _) in enumerate(_EFFECTS):
        for kind, found in (("alone", alone[which]), ("part", split.parts[i, which])):
            low, high = np.percentile(found[1:], INTERVAL)
            row |= {f"{name}_{kind}": float(found[0]), f"{name}_{kind}_low": low, f"{name}_{kind}_high": high}
    return row | {"last_useful_day": _last_day(game, i)}


def _last_day(game: Game, i: int) -> date | None:
    """Last day on which a lever alone, all the way, still has a tenth of its effect."""
    shares = tuple(1.0 if k == i else 0.0 for k in range(len(game.levers)))
    base = game.mean((0.0,) * len(game.levers))
    first = max(game.wish.period.first, first_day(game.run, game.levers[i]))

    def effect(day: date) -> float:
        return _sign(game) * (game.mean(shares, None if day == first else day) - base)

    found = last_useful_day(effect, first, game.wish.period.last, STARTS)["last_useful_day"]
    return None if found is None else date.fromisoformat(found)


def _sign(game: Game) -> float:
    return 1.0 if metric(game.wish.metric).good == "up" else -1.0


def _summary(game: Game, split: Parts, default: bool) -> dict[str, Any]:
    now, then = game.corner(frozenset()), game.corner(frozenset(range(len(game.levers))))
    gap, whole = game.wish.target - float(now[P50, 0]), float(split.whole[P50, 0])
    best = max(float(game.corner(s)[ODDS, 0]) for s in _corners(game))
    groups = (
        pd.Series(split.parts[:, P50, 0]).groupby([lever.group for lever in game.levers], sort=False).sum()
    )
    return {
        "metric_units": units([game.wish.metric]),
        "target": game.wish.target,
        "wished": game.wish.probability,
        "default_levers": default,
        "p50_now": float(now[P50, 0]),
        "p50_all": float(then[P50, 0]),
        "odds_now": float(now[ODDS, 0]),
        "odds_all": float(then[ODDS, 0]),
        "gap": gap,
        "levers": whole,
        "rest": gap - whole,
        "groups": {str(name): float(part) for name, part in groups.items()},
        "odds_best": best,
        "met_already": bool(now[ODDS, 0] >= game.wish.probability),
        "met_by_levers": bool(best >= game.wish.probability),
        "draws": game.draws,
        "orders": split.orders,
        "part_error": float(np.max(split.error[:, P50, 0])),
        "cheapest": _search(game),
    }


def _corners(game: Game) -> list[frozenset[int]]:
    """Sets of levers whose odds are known: all of them, or none and all where there are many levers."""
    levers = len(game.levers)
    if levers > EXACT:
        return [frozenset(), frozenset(range(levers))]
    return [frozenset(i for i in range(levers) if code >> i & 1) for code in range(2**levers)]


def _search(game: Game) -> dict[str, Any]:
    """The cheapest set on the grid, and what is guaranteed of it."""
    if not any(lever.cost for lever in game.levers):
        return {"found": False, "why": "no lever states a cost, so no set is the cheapest"}
    points = grid([lever.levels() for lever in game.levers])
    costs = points @ np.array([lever.cost for lever in game.levers])

    def odds(point: tuple[float, ...]) -> float:
        roughly = float(game.figures(point)[ODDS, 0])
        return roughly if roughly < game.wish.probability else _verified(game, point)

    found = cheapest(points, costs, _surrogate(game, points), odds, game.wish.probability, MOST)
    return {**_told(game, found), "found": found.point is not None}


def _surrogate(game: Game, points: Floats) -> Floats:
    """Odds on the grid as far as they are known without simulating it."""
    least = 0.5 / game.draws
    if len(game.levers) <= EXACT:
        return corner_odds(points, lambda inside: float(game.corner(inside)[ODDS, 0]), least)
    from scipy.special import ndtr, ndtri

    one = [float(game.corner(frozenset({i}))[ODDS, 0]) for i in range(len(game.levers))]
    none, every = (float(game.corner(s)[ODDS, 0]) for s in _corners(game))
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
            "ones (2% at least)"
        )
    if found.point is None:
        cut = "none found before the search was cut short"
        return {"why": "cannot be met with these levers" if found.complete else cut, "guarantee": guarantee}
    moves = {
        lever.name: lever.at(share) for lever, share in zip(game.levers, found.point, strict=True) if share
    }
    return {"moves": moves, "cost": found.cost, "odds": found.odds, "guarantee": guarantee}


def _verified(game: Game, point: tuple[float, ...]) -> float:
    """Odds of a set of levers with all futures of the plan."""
    paths = game.run.variant(game.drivers(point), (game.wish.period,), None, (game.wish.metric,))
    values = _values(game.wish, paths)
    return float(metric(game.wish.metric).attains(values, game.wish.target).mean())


def _values(asked: Wish, paths: Paths) -> Floats:
    """Draws of the metric to be reached."""
    return series(paths, metric(asked.metric), asked.scope, asked.period).total
