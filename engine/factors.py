"""Changed rates, and time at work, by person and day."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from quotacast.engine.departures import Crew, Ints
from quotacast.engine.drivers import RAMP, Absence, Change, Drivers
from quotacast.engine.quota import Scope
from quotacast.errors import PlanError
from quotacast.models.terms import Floats
from quotacast.models.timegrid import TimeGrid, day_number


def factor(changes: Iterable[Change], what: str, people: Crew, days: Ints) -> Floats:
    """Product of the factors of all changes of ``what``, shape (rows, days).

    Whoever follows on a seat goes by the seat's name.

    Parameters
    ----------
    days : ndarray of int64
        Day numbers; first days of pieces serve where pieces are cut at the changes' days.
    """
    out = np.ones((len(people.reps), days.size))
    for change in changes:
        if change.what == what and change.times is not None:
            rows = np.array([_touches(change, r, t) for r, t in zip(people.names, people.teams, strict=True)])
            out[np.ix_(rows, _span(days, change))] *= change.times
    return out


def at_work(people: Crew, absences: Iterable[Absence], grid: TimeGrid) -> Floats:
    """Weighted days that everybody is there, shape (rows, days); comings and goings by chance left out.

    Whoever follows an absent rep is not absent.

    Raises
    ------
    PlanError
        If somebody is absent who does not exist.
    """
    here = (grid.days >= people.start[:, None]) & (grid.days <= people.stop[:, None])
    out = here * grid.day_weights
    index = {rep: i for i, rep in enumerate(people.reps)}
    for absence in absences:
        if absence.rep_id not in index:
            there = ", ".join(people.reps[: people.seats])
            raise PlanError(f"absence: there is no rep {absence.rep_id}; there are {there}")
        out[index[absence.rep_id], _span(grid.days, absence)] *= 1.0 - absence.share
    return np.asarray(out)


def ramp_days(drivers: Drivers, people: Crew, grid: TimeGrid) -> Floats:
    """Days of ramp that everybody has gone through since the first simulated day, shape (rows, days + 1).

    A ramp changed by a factor is gone through 1 / factor times as fast.
    """
    return summed(1.0 / factor(drivers.changes, RAMP, people, grid.days))


def summed(by_day: Floats) -> Floats:
    """Cumulative sums that begin with zero, shape (rows, days + 1)."""
    return np.concatenate([np.zeros((by_day.shape[0], 1)), np.cumsum(by_day, axis=1)], axis=1)


def cuts(drivers: Drivers) -> set[int]:
    """Day numbers on which some rate changes."""
    days = {int(day_number(c.first)) for c in drivers.changes if c.first is not None}
    return days | {int(day_number(c.last)) + 1 for c in drivers.changes if c.last is not None}


def _span(days: Ints, of: Change | Absence) -> NDArray[np.bool_]:
    span = np.ones(days.size, dtype=bool)
    if of.first is not None:
        span &= days >= int(day_number(of.first))
    if of.last is not None:
        span &= days <= int(day_number(of.last))
    return span


def _touches(change: Change, rep: str, team: str) -> bool:
    scope = Scope.parse(change.scope)
    return scope.kind == "company" or scope.id == (rep if scope.kind == "rep" else team)
