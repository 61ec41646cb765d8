"""Simulated futures, and the past in the same shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
from numpy.typing import NDArray

from quotacast.engine.columns import Columns
from quotacast.engine.quota import Scope
from quotacast.models.periods import Period
from quotacast.models.timegrid import day_number

Counts = NDArray[np.int64]

#: What a path counts besides activities, with its unit; every metric is a sum of these or a ratio of such sums.
MEASURES: Mapping[str, str] = {
    "leads_created": "leads",
    "leads_converted": "leads",
    "leads_disqualified": "leads",
    "lead_days": "days",
    "created": "opportunities",
    "won": "deals",
    "lost": "deals",
    "won_days": "days",
    "won_cents": "cents",
    "margin_cents": "cents",
}
#: Measures of deals by whether they are open now or new; the others have one component.
BY_COMPONENT = ("won", "lost", "won_days", "won_cents", "margin_cents")
#: Activities of a kind are a measure each.
ACTIVITY = "activity:"
COMPONENTS = ("open", "new")


def components(measure: str) -> int:
    """Number of components of a measure."""
    return len(COMPONENTS) if measure in BY_COMPONENT else 1


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
    columns : mapping of str to Columns
        What happens after the as-of date, by measure; closings of deals that are open now are component
        0 and of new ones 1, other measures have one component.
    done_seats : tuple of (rep, team)
        Who did what is done: a rep counts for the team held on the day.
    done : mapping of str to ndarray, shape (seats, steps)
        Measures up to the as-of date.
    refused : mapping of str to str
        Metrics that cannot be answered, and why.
    """

    as_of: date
    steps: Steps
    reps: tuple[str, ...]
    teams: tuple[str, ...]
    columns: Mapping[str, Columns]
    done_seats: tuple[tuple[str, str], ...]
    done: Mapping[str, Counts]
    refused: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = (self.draws, len(self.reps), len(self.steps))
        wrong = [f"{name} {c.shape}" for name, c in self.columns.items() if c.shape[:3] != shape]
        if wrong or len(self.teams) != len(self.reps):
            raise ValueError(f"paths: wanted {shape}, got {', '.join(wrong)}; {len(self.teams)} teams")

    @property
    def draws(self) -> int:
        """Number of simulated futures."""
        return next(iter(self.columns.values())).shape[0]

    def scopes(self) -> tuple[Scope, ...]:
        """The company, its teams and its reps, past and future."""
        teams = sorted(set(self.teams) | {team for _, team in self.done_seats})
        reps = sorted(set(self.reps) | {rep for rep, _ in self.done_seats})
        return (Scope("company"), *(Scope("team", t) for t in teams), *(Scope("rep", r) for r in reps))

    def array(self, measure: str) -> Counts:
        """A measure as a plain array, shape (draws, reps, steps[, components]): large in fine steps."""
        found = self.columns[measure].dense()
        return found if measure in BY_COMPONENT else found[..., 0]

    def members(self, scope: Scope) -> NDArray[np.int64]:
        """Positions of a scope's simulated reps."""
        return _members(scope, tuple(zip(self.reps, self.teams, strict=True)))

    def simulated(self, measure: str, scope: Scope, period: Period) -> tuple[Counts, Counts]:
        """Open and new part of a measure, each of shape (draws,).

        Raises
        ------
        KeyError
            If the measure was not simulated.
        """
        found = self.columns[measure].sums(self.members(scope), self.steps.slice(period))
        return found if len(found) == len(COMPONENTS) else (np.zeros_like(found[0]), found[0])  # type: ignore[return-value]

    def actual(self, measure: str, scope: Scope, period: Period) -> int:
        """Measure up to the as-of date."""
        rows = _members(scope, self.done_seats)
        return int(self.done[measure][rows, self.steps.slice(period)].sum())


def _members(scope: Scope, seats: Sequence[tuple[str, str]]) -> NDArray[np.int64]:
    if scope.kind == "company":
        return np.arange(len(seats))
    place = 0 if scope.kind == "rep" else 1
    return np.array([i for i, seat in enumerate(seats) if seat[place] == scope.id], dtype=np.int64)
