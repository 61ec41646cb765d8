"""Changed rates as factors by rep and day."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from quotacast.engine.drivers import Change, Drivers
from quotacast.engine.effects import Crew, Ints
from quotacast.engine.quota import Scope
from quotacast.models.terms import Floats
from quotacast.models.timegrid import day_number


def factor(changes: Iterable[Change], what: str, people: Crew, days: Ints) -> Floats:
    """Product of the factors of all changes of ``what``, shape (reps, days).

    Parameters
    ----------
    days : ndarray of int64
        Day numbers; first days of pieces serve where pieces are cut at the changes' days.
    """
    out = np.ones((len(people.reps), days.size))
    for change in changes:
        if change.what == what and change.times is not None:
            rows = np.array([_touches(change, r, t) for r, t in zip(people.reps, people.teams, strict=True)])
            span = np.ones(days.size, dtype=bool)
            if change.first is not None:
                span &= days >= int(day_number(change.first))
            if change.last is not None:
                span &= days <= int(day_number(change.last))
            out[np.ix_(rows, span)] *= change.times
    return out


def cuts(drivers: Drivers) -> set[int]:
    """Day numbers on which some rate changes."""
    days = {int(day_number(c.first)) for c in drivers.changes if c.first is not None}
    return days | {int(day_number(c.last)) + 1 for c in drivers.changes if c.last is not None}


def _touches(change: Change, rep: str, team: str) -> bool:
    scope = Scope.parse(change.scope)
    return scope.kind == "company" or scope.id == (rep if scope.kind == "rep" else team)
