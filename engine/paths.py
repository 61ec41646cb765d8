"""Simulated futures, and the past in the same shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np
from numpy.typing import NDArray

from quotacast.engine.able import Able
from quotacast.engine.columns import Columns
from quotacast.engine.quota import Scope
from quotacast.engine.selling import Payroll
from quotacast.engine.steps import Steps as Steps
from quotacast.models.periods import Period

Counts = NDArray[np.int64]
Draws = NDArray[np.int64] | NDArray[np.float64]

#: What a path counts besides activities, with its unit; metrics are sums of these, or ratios of such sums.
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
BY_COMPONENT = ("won", "lost", "won_days", "won_cents", "margin_cents", "revenue_cents")
COMPONENTS = ("open", "new")


def components(measure: str) -> int:
    """Number of components of a measure."""
    return len(COMPONENTS) if measure in BY_COMPONENT else 1


@dataclass(frozen=True)
class Paths:
    """Draws of the future by rep and step, and what is done by rep, team and step.

    Attributes
    ----------
    as_of : date
    steps : Steps
    reps, teams : tuple of str
        Seats and the team for which each will count.
    columns : mapping of str to Columns
        What happens after the as-of date, by measure; closings of deals that are open now are component
        0 and of new ones 1, other measures have one component.
    done_seats : tuple of (rep, team)
        Who did what is done: a rep counts for the team held on the day.
    done : mapping of str to ndarray, shape (seats, steps)
        Measures up to the as-of date.
    able : Able
        Which metrics can be answered.
    payrolls : mapping of str to Payroll
        Measures after the as-of date that depend on nothing but who is there.
    shares : mapping of str to (str, float)
        Measures that are a share of another one.
    """

    as_of: date
    steps: Steps
    reps: tuple[str, ...]
    teams: tuple[str, ...]
    columns: Mapping[str, Columns]
    done_seats: tuple[tuple[str, str], ...]
    done: Mapping[str, Counts]
    able: Able = field(default_factory=Able)
    payrolls: Mapping[str, Payroll] = field(default_factory=dict)
    shares: Mapping[str, tuple[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = (self.draws, len(self.reps), len(self.steps))
        wrong = [f"{name} {c.shape}" for name, c in self.columns.items() if c.shape[:3] != shape]
        if wrong or len(self.teams) != len(self.reps):
            raise ValueError(f"paths: wanted {shape}, got {', '.join(wrong)}; {len(self.teams)} teams")

    @property
    def draws(self) -> int:
        """Number of simulated futures."""
        return next(iter(self.columns.values())).shape[0]

    def taken(self, draws: Counts) -> Paths:
        """The futures of these numbers, each with everything that happens in it; repeats are allowed."""
        return replace(
            self,
            columns={name: measure.taken(draws) for name, measure in self.columns.items()},
            payrolls={name: costs.taken(draws) for name, costs in self.payrolls.items()},
        )

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

    def has(self, measure: str) -> bool:
        """Whether a measure is there, simulated or known."""
        of = self.shares.get(measure, (measure, 1.0))[0]
        return of in self.columns or of in self.payrolls

    def simulated(self, measure: str, scope: Scope, period: Period) -> tuple[Draws, Draws]:
        """Open and new part of a measure, each of shape (draws,).

        Raises
        ------
        KeyError
            If the measure was not simulated.
        """
        if measure in self.shares:
            of, share = self.shares[measure]
            opened, new = self.simulated(of, scope, period)
            return np.asarray(share * opened), np.asarray(share * new)
        rows, steps = self.members(scope), self.steps.slice(period)
        if measure in self.payrolls:
            total = np.broadcast_to(self.payrolls[measure].sums(rows, steps), (self.draws,))
            return np.zeros_like(total), total
        found = self.columns[measure].sums(rows, steps)
        return (found[0], found[1]) if len(found) > 1 else (np.zeros_like(found[0]), found[0])

    def actual(self, measure: str, scope: Scope, period: Period) -> float:
        """Measure up to the as-of date."""
        if measure in self.shares:
            of, share = self.shares[measure]
            return share * self.actual(of, scope, period)
        rows = _members(scope, self.done_seats)
        return int(self.done[measure][rows, self.steps.slice(period)].sum()) if measure in self.done else 0


def _members(scope: Scope, seats: Sequence[tuple[str, str]]) -> NDArray[np.int64]:
    if scope.kind == "company":
        return np.arange(len(seats))
    place = 0 if scope.kind == "rep" else 1
    return np.array([i for i, seat in enumerate(seats) if seat[place] == scope.id], dtype=np.int64)
