"""What sets of levers lead to: simulated once each, on the same futures, under the same random numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np

from quotacast.engine.drivers import Drivers
from quotacast.engine.metrics import metric, series
from quotacast.engine.paired import Ints
from quotacast.engine.paths import Paths
from quotacast.engine.streams import key, uniforms
from quotacast.models.terms import Floats
from quotacast.scenarios.deciding.fewer import Fewer
from quotacast.scenarios.deciding.lever import Lever, first_day, teams_of
from quotacast.scenarios.inverse import Wish
from quotacast.scenarios.run import Run

#: Resamples of the bootstrap over futures.
RESAMPLES = 200
P50, ODDS = 0, 1


@dataclass(frozen=True)
class Game:
    """Figures of sets of levers, remembered.

    Attributes
    ----------
    run : Run
    wish : Wish
    levers : tuple of Lever
    fewer : Fewer
        All futures as things stand, and those on which levers are tried.
    weights : ndarray, shape (1 + resamples, n)
        How often every tried future counts: once, and in each resample.
    """

    run: Run
    wish: Wish
    levers: tuple[Lever, ...]
    fewer: Fewer
    weights: Floats
    kept: dict[Any, Floats] = field(default_factory=dict)

    def draws_of(self, shares: tuple[float, ...], first: date | None = None) -> Floats:
        """Draws of the metric with each lever a share of the way, from its first day or a later one on."""
        asked = (shares, first if any(shares) else None)
        if asked not in self.kept:
            paths = self.fewer.base
            if any(shares):
                drivers, wanted = self.drivers(shares, first), ((self.wish.period,), (self.wish.metric,))
                paths = self.fewer.changed(self.run, drivers, *wanted)
            self.kept[asked] = values(self.wish, paths)
        return self.kept[asked]

    def drivers(self, shares: Sequence[float], first: date | None = None) -> Drivers:
        """The plan's drivers with the levers moved."""
        drivers = self.run.factored_drivers
        for lever, share in zip(self.levers, shares, strict=True):
            begins = max(first_day(self.run, lever), first or date.min)
            drivers = lever.moved(drivers, share, begins, teams_of(self.run, lever))
        return drivers

    def figures(self, shares: tuple[float, ...]) -> Floats:
        """Median and odds on the tried futures, shape (2, 1 + resamples)."""
        found = self.draws_of(shares)
        reached = metric(self.wish.metric).attains(found, self.wish.target)
        total = self.weights.sum(axis=1)
        return np.stack([weighted_median(found, self.weights), self.weights @ reached / total])

    @property
    def now(self) -> Floats:
        """Median and odds as things stand, on all futures: what every other answer says, shape (2,)."""
        found = values(self.wish, self.fewer.whole)
        known = found[np.isfinite(found)]
        middle = float(np.quantile(known, 0.5)) if known.size else np.nan
        return np.array([middle, metric(self.wish.metric).attains(found, self.wish.target).mean()])

    def level(self, shares: tuple[float, ...]) -> Floats:
        """Median and odds, shape (2,): as things stand on all futures, plus the change on those tried."""
        change = self.figures(shares) - self.figures((0.0,) * len(self.levers))
        found = self.now + change[:, 0]
        return np.array([found[P50], min(max(float(found[ODDS]), 0.0), 1.0)])

    def error(self, shares: tuple[float, ...]) -> float:
        """Standard error of the odds of `level`: that of the change, by the resamples."""
        change = self.figures(shares)[ODDS, 1:] - self.figures((0.0,) * len(self.levers))[ODDS, 1:]
        return float(change.std(ddof=1)) if change.size > 1 else 0.0

    def shares(self, inside: frozenset[int]) -> tuple[float, ...]:
        """These levers all the way, the others not at all."""
        return tuple(1.0 if i in inside else 0.0 for i in range(len(self.levers)))

    def corner(self, inside: frozenset[int]) -> Floats:
        """`figures` where these levers go all the way."""
        return self.figures(self.shares(inside))

    def mean(self, shares: tuple[float, ...], first: date | None = None) -> float:
        """Mean of the metric where it is defined."""
        found = self.draws_of(shares, first)
        known = found[np.isfinite(found)]
        return float(known.mean()) if known.size else 0.0

    def verified(self, shares: tuple[float, ...]) -> float:
        """Odds of a set of levers with all futures of the plan."""
        if self.fewer.all:
            return float(self.level(shares)[ODDS])
        paths = self.run.variant(self.drivers(shares), (self.wish.period,), None, (self.wish.metric,))
        return float(metric(self.wish.metric).attains(values(self.wish, paths), self.wish.target).mean())

    def corners(self, most: int) -> Iterator[frozenset[int]]:
        """Sets of levers whose odds are known: all sets, or none and all where there are many levers."""
        levers = len(self.levers)
        if levers > most:
            yield from (frozenset(), frozenset(range(levers)))
            return
        for code in range(2**levers):
            yield frozenset(i for i in range(levers) if code >> i & 1)


def values(asked: Wish, paths: Paths) -> Floats:
    """Draws of the metric to be reached."""
    return series(paths, metric(asked.metric), asked.scope, asked.period).total


def weighted_median(found: Floats, weights: Floats) -> Floats:
    """Smallest value up to which at least half of the weight lies, shape (rows of weights,).

    Undefined values count as the largest.
    """
    order = np.argsort(found, kind="stable")
    upto = np.cumsum(weights[:, order], axis=1)
    at = (upto < 0.5 * upto[:, -1:]).sum(axis=1)
    return np.asarray(found[order][np.minimum(at, found.size - 1)])


def resample_weights(cluster: Ints, resamples: int, seed: int) -> Floats:
    """How often each future counts: once, and in resamples of whole clusters.

    Parameters
    ----------
    cluster : ndarray, shape (n,)
        Futures that share a row of the posterior, or are one future several times, are drawn together.

    Returns
    -------
    ndarray, shape (1 + resamples, n)
    """
    _, member = np.unique(cluster, return_inverse=True)
    groups = int(member.max()) + 1
    stream = np.array([key(seed, "lever resamples")], dtype=np.uint64)
    pick = (uniforms(stream, 0, resamples, groups)[:, 0] * groups).astype(np.int64)
    out = np.ones((1 + resamples, member.size))
    for b in range(resamples):
        out[1 + b] = np.bincount(pick[b], minlength=groups)[member]
    return out
