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

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from quotacast.engine.drivers import ACTIVITY, Change, Drivers
from quotacast.engine.effects import Bins, Effects, Ints
from quotacast.engine.factors import factor
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
        self.weeks = int(self.week_of_day[-1]) + 1
        self.models = tuple(
            m for m in DRIVEN if self.chain.drivers and m in effects.funnel.posteriors
        )  # fmt: skip

    def block(self, row: Ints, first: int, counted: dict[str, Any] | None) -> Recent:
        """Simulate a block of draws, add what is done to ``counted`` and return what it drives."""
        wanted = [k for k in self.chain.kinds if k in self._driving or f"{ACTIVITY}{k}" in (counted or {})]
        rates = {k: self._rates(k, row, first) for k in wanted}
        log = np.zeros((len(self.models), row.size, len(self.effects.crew.reps), self.weeks))
        parts = np.array_split(np.arange(row.size), numba.get_num_threads())
        with ThreadPoolExecutor(len(parts)) as pool:
            jobs = [
                pool.submit(self._part, int(p[0]), int(p[-1]) + 1, row, first, rates, counted or {}, log)
                for p in parts
                if p.size
            ]
            for job in jobs:
                job.result()
        return self._recent(row, rates, log)

    @property
    def _driving(self) -> tuple[str, ...]:
        return self.chain.drivers if self.models else ()

    def _rates(self, kind: str, row: Ints, first: int) -> dict[str, Any]:
        counts = self.chain.activities[kind]
        found = self.effects.arrivals(counts, self.bins, row, first)
        posterior = self.effects.funnel.posteriors[counts.declaration.name]
        return {
            **found,
            "dispersion": 1.0 / (posterior.hyper["overdispersion"] ** 2 + 1e-9),
            "bin_key": self._bin_keys(kind),
        }

    def _bin_keys(self, kind: str) -> NDArray[np.uint64]:
        from quotacast.engine.kernel import bin_keys

        return np.asarray(bin_keys(self.effects.rep_keys(f"activity {kind}"), self.bins.label))

    def _part(
        self,
        low: int,
        high: int,
        row: Ints,
        first: int,
        rates: dict[str, dict[str, Any]],
        counted: dict[str, Any],
        log: Floats,
    ) -> None:
        """Some draws of a block."""
        for kind, given in rates.items():
            by_draw = {k: given[k][low:high] for k in ("created_base", "created_time", "created_rep")}
            steps = counted.get(f"{ACTIVITY}{kind}", _NONE)[low:high]
            done, driving = self._worked(kind, self.drivers.changes), None
            if kind in self._driving:
                driving = self._worked(kind, self.drivers.driving())
            twice = driving is not None and not np.array_equal(done, driving)
            shape = (high - low, len(self.effects.crew.reps), self.weeks)
            weeks = _NONE if driving is None else np.zeros(shape, dtype=np.int32)
            rest = {
                "first_draw": first + low, "parameter": row[low:high], "bin_key": given["bin_key"],
                "dispersion": given["dispersion"], **by_draw,
            }  # fmt: skip
            if twice:
                self._count(done, rest, steps, _NONE)
                steps = _NONE
            self._count(driving if twice else done, rest, steps, weeks)
            if driving is not None:
                self._add(kind, weeks, row[low:high], log[:, low:high], by_draw["created_base"])

    def _count(self, at_work: Any, rest: dict[str, Any], by_step: Any, by_week: Any) -> None:
        from quotacast.engine.kernel_activity import activities

        activities(
            at_work=at_work,
            bin_edges=self.bins.edges,
            bin_quarter=self.bins.quarter,
            step_of_day=self.step_of_day,
            week_of_day=self.week_of_day,
            by_step=by_step,
            by_week=by_week,
            **rest,
        )

    def _worked(self, kind: str, changes: tuple[Change, ...]) -> Floats:
        """Cumulative weighted days at work, changed rates of the kind included; (reps, days + 1)."""
        rate = factor(changes, f"{ACTIVITY}{kind}", self.effects.crew, self.effects.grid.days)
        summed = np.cumsum(self._at_work * rate, axis=1)
        return np.concatenate([np.zeros((summed.shape[0], 1)), summed], axis=1)

    @cached_property
    def _at_work(self) -> Floats:
        grid, people = self.effects.grid, self.effects.crew
        here = (grid.days >= people.start[:, None]) & (grid.days <= people.stop[:, None])
        return np.asarray(here * grid.day_weights)

    # -- what it drives ---------------------------------------------------------------------------

    @cached_property
    def _timeline(self) -> tuple[int, Floats, Floats]:
        """Place of the first simulated week, recent activities of all reps, and weeks at work."""
        chain, reps = self.chain, len(self.effects.crew.reps)
        past = LAG_WEEKS + 1
        grid = self.effects.grid
        edge = bin_index(np.array([grid.first - 1, grid.first]), "week")
        lead = past - 1 if edge[0] == edge[1] else past
        recent = np.zeros((reps, past, len(chain.drivers)))
        recent[: chain.recent.shape[0]] = chain.recent
        worked = np.zeros((reps, lead + self.weeks))
        worked[: chain.recent_worked.shape[0], :past] = chain.recent_worked
        days = np.zeros((self.weeks, grid.days.size))
        days[self.week_of_day, np.arange(grid.days.size)] = 1.0
        worked[:, lead:] += self._at_work @ days.T / 7.0
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

    def _add(self, kind: str, weeks: Any, row: Ints, log: Floats, base: Floats) -> None:
        from quotacast.engine.kernel_activity import add_recent

        lead, recent, worked = self._timeline
        k = self.chain.drivers.index(kind)
        usual = np.ascontiguousarray(self._usual(kind, base))
        share = float(self.chain.unlinked_share[k])
        mine = np.ascontiguousarray(recent[:, :, k])
        add_recent(weeks, share, lead, mine, worked, usual, self._slopes("slope", kind, row), log)

    def _recent(self, row: Ints, rates: dict[str, dict[str, Any]], log: Floats) -> Recent:
        between = {model: np.zeros((row.size, len(self.effects.crew.reps))) for model in self.models}
        for kind in self._driving:
            k = self.chain.drivers.index(kind)
            usual = self._usual(kind, rates[kind]["created_base"])
            apart = usual - (self.chain.means[:, k] - self.chain.between[:, k]).mean()
            for model, slope in zip(self.models, self._slopes("between", kind, row), strict=True):
                between[model] += slope[:, None] * apart
        within = {model: np.exp(self._by_bin(log[m])) for m, model in enumerate(self.models)}
        return Recent({model: np.exp(x) for model, x in between.items()}, within)

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
