"""Future activities and what they do to creation.

Activities are simulated like new opportunities (see :mod:`quotacast.engine.kernel`). Where activity may
drive creation, a simulated week's factor on the means of new leads and new opportunities is ::

    exp(sum_k slope_k x_k + between_k b_k),     x_k = log(1 + abar_k) - the rep's mean

with abar_k the activity per weighted week at work in the three weeks before, of the history and simulated;
see :mod:`quotacast.models.activities`. A hire's mean is what the model of activity expects of the hire, as
far from the other reps' means as its expectation is from theirs. Simulated activity drives creation by the
mean share of a kind that hung on no deal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from quotacast.engine.drivers import ACTIVITY, Change, Drivers
from quotacast.engine.effects import Bins, Effects, Ints
from quotacast.engine.factors import at_work, factor, summed
from quotacast.engine.kernel_counts import dispersions
from quotacast.engine.steps import Steps
from quotacast.models.activities import LAG_WEEKS
from quotacast.models.counts import bin_index
from quotacast.models.terms import Floats

#: Models whose means recent activity may change.
DRIVEN = ("created", "leads")
_NONE = np.zeros((0, 0, 0), dtype=np.int32)


@dataclass(frozen=True)
class Recent:
    """What recent activity does to the means of a block of draws.

    Attributes
    ----------
    between : mapping of str to ndarray, shape (draws, reps)
        Factor of reps by model, empty where activity drives nothing.
    within : mapping of str to ndarray, shape (draws, reps, bins)
        Factor by rep and bin.
    """

    between: dict[str, Floats]
    within: dict[str, Floats]

    def driven(self, model: str, base: Floats) -> dict[str, Any]:
        """Arrays of a count model for the inner loop; ``base`` its factors of reps."""
        if model not in self.within:
            return {"created_base": base, "driven": False, "created_drive": np.ones((1, 1, 1))}
        return {
            "created_base": base * self.between[model],
            "driven": True,
            "created_drive": self.within[model],
        }


class Activity:
    """Simulates the activities of a funnel.

    Parameters
    ----------
    effects : Effects
    drivers : Drivers
    bins : Bins
    steps : Steps
    """

    def __init__(self, effects: Effects, drivers: Drivers, bins: Bins, steps: Steps) -> None:
        self.effects, self.drivers, self.bins = effects, drivers, bins
        self.chain = effects.funnel.prepared.chain
        self.step_of_day = steps.of_days(effects.grid.days)
        week = bin_index(effects.grid.days, "week")
        self.week_of_day = week - week[0]
        self.asked = np.ones(len(effects.crew.reps), dtype=bool)
        self.weeks = int(self.week_of_day[-1]) + 1
        self.models = tuple(
            m for m in DRIVEN if self.chain.drivers and m in effects.funnel.posteriors
        )  # fmt: skip

    def block(
        self,
        row: Ints,
        first: int,
        stays: Mapping[str, Ints],
        counted: dict[str, Any] | None,
        drive: bool = True,
    ) -> Recent:
        """Simulate a block of draws, add what is done to ``counted`` and return what it drives.

        Parameters
        ----------
        row : ndarray of int64, shape (draws,)
            Posterior draws.
        first : int
            First draw.
        stays : mapping of str to ndarray, shape (draws, reps)
            When everybody has ``joined`` and is ``gone``.
        drive : bool
            Whether what it drives is wanted.
        """
        driving = self._driving if drive else ()
        into = counted or {}
        wanted = [k for k in self.chain.kinds if k in driving or f"{ACTIVITY}{k}" in into]
        reps = len(self.effects.crew.reps)
        log = np.zeros((len(self.models), row.size, reps, self.weeks))
        between = np.zeros((len(self.models), row.size, reps))
        for kind in wanted:
            weeks = np.zeros((row.size, reps, self.weeks), dtype=np.int32) if kind in driving else _NONE
            base = self._simulate(kind, row, first, stays, into.get(f"{ACTIVITY}{kind}", _NONE), weeks)
            if kind in driving:
                self._add(kind, weeks, row, stays, log, between, base)
        within = {model: np.exp(self._by_bin(log[m])) for m, model in enumerate(self.models)}
        return Recent({model: np.exp(between[m]) for m, model in enumerate(self.models)}, within)

    @property
    def _driving(self) -> tuple[str, ...]:
        return self.chain.drivers if self.models else ()

    def _simulate(
        self, kind: str, row: Ints, first: int, stays: Mapping[str, Ints], by_step: Any, by_week: Any
    ) -> Floats:
        """Count a kind of activity; return the reps' factors."""
        counts = self.chain.activities[kind]
        rates = self.effects.arrivals(counts, self.bins, row, first)
        posterior = self.effects.funnel.posteriors[counts.declaration.name]
        rates |= dispersions(posterior.hyper["overdispersion"])
        rates |= {"first_draw": first, "parameter": row, "joined": stays["joined"], "gone": stays["gone"]}
        done, driving = self.rates(kind)
        if by_week is not _NONE and not np.array_equal(done, driving):
            self._count(kind, driving, rates, _NONE, by_week)
            by_week = _NONE
        self._count(kind, done, rates, by_step, by_week)
        return np.asarray(rates["created_base"])

    def rates(self, kind: str) -> tuple[Floats, Floats]:
        """Cumulative weighted days at work, changed rates of a kind included: what is done, what drives.

        Both of shape (reps, days + 1); they differ where a change is not to drive creation.
        """
        return self._worked(kind, self.drivers.changes), self._worked(kind, self.drivers.driving())

    def _count(self, kind: str, at_work: Any, rates: dict[str, Any], by_step: Any, by_week: Any) -> None:
        from quotacast.engine.kernel_activity import activities
        from quotacast.engine.kernel_arrivals import bin_keys

        activities(
            at_work=at_work,
            bin_key=bin_keys(self.effects.rep_keys(f"activity {kind}"), self.bins.label),
            asked=self.asked,
            bin_edges=self.bins.edges,
            bin_quarter=self.bins.quarter,
            step_of_day=self.step_of_day,
            week_of_day=self.week_of_day,
            seat=self.effects.crew.seat,
            by_step=by_step,
            by_week=by_week,
            **rates,
        )

    def _worked(self, kind: str, changes: tuple[Change, ...]) -> Floats:
        """Cumulative weighted days at work, changed rates of the kind included; (reps, days + 1)."""
        rate = factor(changes, f"{ACTIVITY}{kind}", self.effects.crew, self.effects.grid.days)
        return summed(self._at_work * rate)

    @cached_property
    def _at_work(self) -> Floats:
        return at_work(self.effects.crew, self.drivers.absences, self.effects.grid)

    # -- what it drives ---------------------------------------------------------------------------

    @cached_property
    def _timeline(self) -> tuple[int, Floats, Floats]:
        """Place of the first simulated week, recent activities of all reps, and weeks at work in them."""
        chain, reps = self.chain, len(self.effects.crew.reps)
        past = LAG_WEEKS + 1
        grid = self.effects.grid
        edge = bin_index(np.array([grid.first - 1, grid.first]), "week")
        lead = past - 1 if edge[0] == edge[1] else past
        recent = np.zeros((reps, past, len(chain.drivers)))
        recent[: chain.recent.shape[0]] = chain.recent
        worked = np.zeros((reps, past))
        worked[: chain.recent_worked.shape[0]] = chain.recent_worked
        return lead, recent, worked

    def _usual(self, kind: str, base: Floats) -> Floats:
        """What is usual for every rep, log(1 + activities per week), shape (draws, reps)."""
        k, known = self.chain.drivers.index(kind), self.effects.crew.known
        own = self.chain.means[:, k]
        expected = np.log1p(7.0 * self.chain.unlinked_share[k] * base)
        hires = own.mean() + expected[:, known:] - expected[:, :known].mean(axis=1, keepdims=True)
        return np.concatenate([np.broadcast_to(own, (base.shape[0], known)), hires], axis=1)

    def _slopes(self, name: str, kind: str, row: Ints) -> Floats:
        """Draws of a slope in every driven model, shape (models, draws)."""
        found = (self.effects.funnel.posteriors[model].effects for model in self.models)
        return np.stack([effects[f"{name}:{kind}"][row, 0] for effects in found])

    def _add(
        self,
        kind: str,
        weeks: Any,
        row: Ints,
        stays: Mapping[str, Ints],
        log: Floats,
        between: Floats,
        base: Floats,
    ) -> None:
        from quotacast.engine.kernel_activity import add_recent

        lead, recent, worked = self._timeline
        k = self.chain.drivers.index(kind)
        usual = np.ascontiguousarray(self._usual(kind, base))
        add_recent(
            self.asked,
            weeks,
            float(self.chain.unlinked_share[k]),
            lead,
            np.ascontiguousarray(recent[:, :, k]),
            worked,
            summed(self._at_work),
            np.searchsorted(self.week_of_day, np.arange(self.weeks + 1)),
            stays["joined"],
            stays["gone"],
            usual,
            self._slopes("slope", kind, row),
            log,
        )
        centre = (self.chain.means[:, k] - self.chain.between[:, k]).mean()
        between += self._slopes("between", kind, row)[:, :, None] * (usual - centre)

    def _by_bin(self, log: Floats) -> Floats:
        """From weeks to bins, shape (draws, reps, bins): weeks themselves, or months' weighted means."""
        edges = self.bins.edges
        if edges.size - 1 == self.weeks:
            return log
        out = np.zeros((*log.shape[:2], edges.size - 1))
        for b in range(edges.size - 1):
            inside = slice(int(edges[b]), int(edges[b + 1]))
            share = np.zeros((log.shape[1], self.weeks))
            np.add.at(share.T, self.week_of_day[inside], self._at_work[:, inside].T)
            total = share.sum(axis=1, keepdims=True)
            out[:, :, b] = (log * (share / np.maximum(total, 1e-12))).sum(axis=2)
        return out
