"""The gap to the company's target, lever by lever, and the cheapest way to close it.

Every set of levers is simulated with the same random numbers and read on the same futures. The gap to the
target is split by Shapley values (:mod:`quotacast.engine.shapley`), so the parts sum to what all levers do
together. As things stand, median and odds are those of all futures, as everywhere else; what levers change is
taken, paired, from some of them (:mod:`quotacast.scenarios.deciding.fewer`). Two intervals must not be
confused:

* ``..._low`` to ``..._high``, simulation error: how well the tried futures tell the effect on the median or
  the odds (a bootstrap over them, in clusters that share a row of the posterior);
* ``part_p10`` to ``part_p90``, range of outcomes: the lever's part in each future, with everything that is
  uncertain about its effect, since every future has parameters, people and luck of its own. Each future's
  parts are the Shapley values of that future.

The cheapest set is searched on a grid (:mod:`quotacast.engine.answers.cheapest`) and simulated once more with
all of the plan's futures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.answer import Answer, Field
from quotacast.engine.metrics import metric, units
from quotacast.engine.paths import Paths
from quotacast.engine.quota import Scope
from quotacast.engine.shapley import EXACT, Parts, shapley
from quotacast.models.terms import Floats
from quotacast.scenarios.deciding.fewer import CREATED, Fewer, affordable
from quotacast.scenarios.deciding.game import ODDS, P50, RESAMPLES, Game, resample_weights
from quotacast.scenarios.deciding.lastday import last_useful_day
from quotacast.scenarios.deciding.lever import first_day, levers_of
from quotacast.scenarios.deciding.leverset import cheapest_set
from quotacast.scenarios.deciding.leverwords import lever_words
from quotacast.scenarios.inverse import Wish, wish
from quotacast.scenarios.run import Run

#: Deals that are simulated for one set of levers, and the least number of futures; first days tried.
LEVER_DEALS, LEVER_DRAWS, STARTS = 2.5e6, 600, 4
#: Percent of the resamples (or futures) between which an interval lies.
INTERVAL = (10.0, 90.0)
#: Odds that are wished where neither the command nor the plan says.
WISHED = 0.5

_EFFECTS = (("p50", "metric", "the median"), ("odds", "ratio", "the odds of the target"))


def _effect_fields() -> Iterator[Field]:
    low, high = (f"simulation error: {q:g} % of the resamples of futures are below" for q in INTERVAL)
    for name, unit, what in _EFFECTS:
        yield Field(f"{name}_alone", unit, f"what the lever alone does to {what}")
        yield Field(f"{name}_alone_low", unit, low)
        yield Field(f"{name}_alone_high", unit, high)
        yield Field(f"{name}_part", unit, f"its Shapley part of what all levers do to {what}")
        yield Field(f"{name}_part_low", unit, low)
        yield Field(f"{name}_part_high", unit, high)
    yield Field("part_p10", "metric", "range of outcomes: its part is below in 10 % of the futures")
    yield Field("part_p50", "metric", "its part is below in half of the futures")
    yield Field("part_p90", "metric", "its part is below in 90 % of the futures")


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
class Shortly:
    """A split for a page: without last days and without a search.

    Attributes
    ----------
    whole : Paths
        All futures as things stand, with everything that is asked for.
    deals : float
        That may be simulated for all sets of levers together.
    least : int
        Futures of a set, at least.
    """

    whole: Paths
    deals: float
    least: int


def levers_answer(
    run: Run, options: Mapping[str, Any], shortly: Shortly | None = None
) -> tuple[Answer, tuple[str, ...]]:
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
    fewer = _fewer(run, asked, len(levers), shortly)
    game = Game(run, asked, levers, fewer, resample_weights(fewer.cluster, RESAMPLES, run.plan.seed))
    split = shapley(game.corner, len(levers), seed=run.plan.seed)
    each = shapley(lambda inside: game.draws_of(game.shares(inside)), len(levers), seed=run.plan.seed)
    rows = [_row(game, i, split, each.parts[i], shortly is None) for i in range(len(levers))]
    table = pd.DataFrame(rows, columns=[f.name for f in FIELDS])
    summary = _summary(game, split, default)
    summary["cheapest"] = {"found": False, "searched": False} if shortly else cheapest_set(game)
    words = lever_words(table, summary)
    return Answer("levers", table, FIELDS, words, summary, run.provenance(), "table"), run.plan_notes


def _fewer(run: Run, asked: Wish, levers: int, shortly: Shortly | None) -> Fewer:
    """All futures as things stand, and on how many of them levers are tried."""
    if shortly is None:
        whole = run.variant(run.factored_drivers, (asked.period,), None, (asked.metric, CREATED))
        return Fewer(run, whole, affordable(run, whole, LEVER_DEALS, LEVER_DRAWS))
    each = shortly.deals / max(2**levers - 1, 1)
    return Fewer(run, shortly.whole, affordable(run, shortly.whole, each, shortly.least))


def _wish(run: Run, options: Mapping[str, Any]) -> Wish:
    names, scopes = options.get("metric") or ("bookings",), options.get("scope") or ("company",)
    name, scope = (x if isinstance(x, str) else x[0] for x in (names, scopes))
    probability = options.get("probability")
    if probability is None:
        aimed = getattr(run.plan.aim, Scope.parse(scope).kind)
        probability = WISHED if aimed is None else aimed
    return wish(run, name, options.get("target"), probability, "", scope, options.get("period"))


def _row(game: Game, i: int, split: Parts, each: Floats, until: bool) -> dict[str, Any]:
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
    known = each[np.isfinite(each)]
    if known.size:
        row |= dict(
            zip(("part_p10", "part_p50", "part_p90"), np.percentile(known, (10, 50, 90)), strict=True)
        )
    return row | {"last_useful_day": _last_day(game, i) if until else None}


def _last_day(game: Game, i: int) -> date | None:
    """Last day on which a lever alone, all the way, still has a tenth of its effect."""
    shares = game.shares(frozenset({i}))
    base = game.mean(game.shares(frozenset()))
    first = max(game.wish.period.first, first_day(game.run, game.levers[i]))

    def effect(day: date) -> float:
        return _sign(game) * (game.mean(shares, None if day == first else day) - base)

    found = last_useful_day(effect, first, game.wish.period.last, STARTS)["last_useful_day"]
    return None if found is None else date.fromisoformat(found)


def _sign(game: Game) -> float:
    return 1.0 if metric(game.wish.metric).good == "up" else -1.0


def _summary(game: Game, split: Parts, default: bool) -> dict[str, Any]:
    now, then = (game.level(game.shares(s)) for s in (frozenset(), frozenset(range(len(game.levers)))))
    gap, whole = game.wish.target - float(now[P50]), float(split.whole[P50, 0])
    best = max(float(game.level(game.shares(s))[ODDS]) for s in game.corners(EXACT))
    groups = (
        pd.Series(split.parts[:, P50, 0]).groupby([lever.group for lever in game.levers], sort=False).sum()
    )
    errors = split.whole[:, 1:].std(axis=1, ddof=1)
    return {
        "metric_units": units([game.wish.metric]),
        "target": game.wish.target,
        "wished": game.wish.probability,
        "default_levers": default,
        "p50_now": float(now[P50]),
        "p50_all": float(then[P50]),
        "p50_change_se": float(errors[P50]),
        "odds_now": float(now[ODDS]),
        "odds_all": float(then[ODDS]),
        "odds_change_se": float(errors[ODDS]),
        "gap": gap,
        "levers": whole,
        "rest": gap - whole,
        "groups": {str(name): float(part) for name, part in groups.items()},
        "odds_best": best,
        "met_already": bool(now[ODDS] >= game.wish.probability),
        "met_by_levers": bool(best >= game.wish.probability),
        "draws": game.fewer.draws,
        "of_draws": game.run.plan.draws,
        "orders": split.orders,
        "part_error": float(np.max(split.error[:, P50, 0])),
    }
