"""Simulated futures, and the past in the same shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
from numpy.typing import NDArray

from quotacast.engine.quota import Scope
from quotacast.models.periods import Period
from quotacast.models.timegrid import day_number

Counts = NDArray[np.int64]

#: What a path counts, with its unit; every metric is a sum of these or a ratio of such sums.
MEASURES: Mapping[str, str] = {
    "created": "opportunities",
    "won": "deals",
    "lost": "deals",
    "won_days": "days",
    "won_cents": "cents",
}
COMPONENTS = ("open", "new")


@dataclass(frozen=True)
class Steps:
    """Consecutive spans of days from which all requested periods are put together.

    ``edges`` holds the first day number of every step and, last, the day after the end.
    """

    edges: NDArray[np.int64]

    @classmethod
    def covering(cls, periods: Iterable[Period], cuts: Iterable[int] = ()) -> Steps:
        """Coarsest steps of which every period is a union."""
        ends: set[int] = set(cuts)
        for period in periods:
            ends |= {int(day_number(period.first)), int(day_number(period.last)) + 1}
        return cls(np.array(sorted(ends), dtype=np.int64))

    def __len__(self) -> int:
        return int(self.edges.size - 1)

    def of_days(self, days: NDArray[np.int64]) -> NDArray[np.int64]:
        """Step of every day, -1 outside."""
        step = np.searchsorted(self.edges, days, side="right") - 1
        return np.where((step >= 0) & (step < len(self)), step, -1)

    def slice(self, period: Period) -> slice:
        """Steps that make up a period."""
        first = int(np.searchsorted(self.edges, int(day_number(period.first))))
        stop = int(np.searchsorted(self.edges, int(day_number(period.last)) + 1))
        return slice(first, stop)


@dataclass(frozen=True)
class Paths:
    """Draws of the future by rep and step, and what is done by rep, team and step.

    Attributes
    ----------
    as_of : date
    steps : Steps
    reps, teams : tuple of str
        Simulated reps and the team for which each will count.
    created : ndarray, shape (draws, reps, steps)
        Opportunities created after the as-of date.
    won, lost, won_days, won_cents : ndarray, shape (draws, reps, steps, components)
        Closings of deals that are open now (component 0) and of new ones (1).
    done_seats : tuple of (rep, team)
        Who did what is done: a rep counts for the team held on the day.
    done : mapping of str to ndarray, shape (seats, steps)
        Measures up to the as-of date.
    """

    as_of: date
    steps: Steps
    reps: tuple[str, ...]
    teams: tuple[str, ...]
    created: NDArray[np.int32]
    won: NDArray[np.int32]
    lost: NDArray[np.int32]
    won_days: NDArray[np.int32]
    won_cents: Counts
    done_seats: tuple[tuple[str, str], ...]
    done: Mapping[str, Counts]
    _sums: dict[tuple[str, Scope], Counts] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        shape = (self.draws, len(self.reps), len(self.steps))
        wrong = [
            f"{name} {array.shape}"
            for name, array in ((name, getattr(self, name)) for name in MEASURES)
            if array.shape[:3] != shape
        ]
        if wrong or len(self.teams) != len(self.reps):
            raise ValueError(f"paths: wanted {shape}, got {', '.join(wrong)}; {len(self.teams)} teams")

    @property
    def draws(self) -> int:
        """Number of simulated futures."""
        return int(self.created.shape[0])

    def scopes(self) -> tuple[Scope, ...]:
        """The company, its teams and its reps, past and future."""
        teams = sorted(set(self.teams) | {team for _, team in self.done_seats})
        reps = sorted(set(self.reps) | {rep for rep, _ in self.done_seats})
        return (Scope("company"), *(Scope("team", t) for t in teams), *(Scope("rep", r) for r in reps))

    def _members(self, scope: Scope, seats: Sequence[tuple[str, str]]) -> NDArray[np.int64]:
        if scope.kind == "company":
            return np.arange(len(seats))
        place = 0 if scope.kind == "rep" else 1
        return np.array([i for i, seat in enumerate(seats) if seat[place] == scope.id], dtype=np.int64)

    def simulated(self, measure: str, scope: Scope, period: Period) -> tuple[Counts, Counts]:
        """Open and new part of a measure, each of shape (draws,)."""
        part = self._of_scope(measure, scope)[:, self.steps.slice(period)]
        total = part.sum(axis=1, dtype=np.int64)
        if measure == "created":
            return np.zeros_like(total), total
        return total[:, 0], total[:, 1]

    def by_step(self, measure: str, scope: Scope) -> Counts:
        """Open and new part of a measure together, step by step; shape (draws, steps)."""
        found = self._of_scope(measure, scope)
        return found if found.ndim == 2 else found.sum(axis=2, dtype=np.int64)

    def _of_scope(self, measure: str, scope: Scope) -> NDArray[np.int64]:
        """A measure summed over the scope's reps, shape (draws, steps[, components]).

        Sums over several reps are kept: every period of the scope is cut from them.
        """
        key = (measure, scope)
        if key not in self._sums:
            array = getattr(self, measure)
            rows = self._members(scope, tuple(zip(self.reps, self.teams, strict=True)))
            if rows.size == 1:
                return np.asarray(array[:, rows[0]])
            whole = rows.size == array.shape[1]
            self._sums[key] = (array if whole else array[:, rows]).sum(axis=1, dtype=np.int64)
        return self._sums[key]

    def actual(self, measure: str, scope: Scope, period: Period) -> int:
        """Measure up to the as-of date."""
        rows = self._members(scope, self.done_seats)
        return int(self.done[measure][rows][:, self.steps.slice(period)].sum())
