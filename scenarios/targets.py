"""Changes ``to`` a value, turned into factors on what would be without them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta

import numpy as np

from quotacast.engine.able import Able
from quotacast.engine.drivers import ACTIVITY, CHANGEABLE, RAMP, Change, Drivers, Shift
from quotacast.engine.metrics import MARGIN, metric, series
from quotacast.engine.paths import Paths
from quotacast.engine.quota import Scope
from quotacast.errors import PlanError
from quotacast.models.periods import Period

#: Draws of the simulation that says what would be without a change.
BASE_DRAWS = 1000
#: ``opportunities_created`` and activities are changed to so many per month of this length.
MONTH_DAYS = 365.25 / 12

Simulated = Callable[[Drivers, tuple[Period, ...]], Paths]


def check_changes(drivers: Drivers, able: Able) -> None:
    """Refuse changes that the data do not allow.

    Raises
    ------
    PlanError
        Naming every one of them, and what is missing.
    """
    problems = []
    for k, change in enumerate(drivers.changes, 1):
        known = change.what in CHANGEABLE or change.is_activity
        needs = {"margin": "gross_margin", RAMP: "opportunities_created"}.get(change.what, change.what)
        reason = able.reason(needs) if known else f"there are {', '.join(CHANGEABLE)}, {ACTIVITY}<kind>"
        if reason:
            problems.append(f"change[{k}].what: {change.what} cannot be simulated: {reason}")
    if problems:
        raise PlanError(problems)


def as_factors(drivers: Drivers, first: date, last: date, simulated: Simulated) -> Drivers:
    """Replace every ``to`` by ``times``, the value wanted / the value without any ``to``.

    And every shift by two changes of creation.

    The value without the change is the ratio of the means of simulated sums, in the change's scope and
    within its days; for ``opportunities_created`` and activities it is a number per month, for ``margin``
    gross margin / bookings. A changed cycle shortens and lengthens the time to every close, of which those
    beyond the horizon are not seen: there the factor is an approximation.

    Parameters
    ----------
    first, last : date
        First and last simulated day.
    simulated : callable
        From drivers and periods to paths.
    """
    wanted = [c for c in drivers.changes if c.to is not None]
    if not wanted and not drivers.shifts:
        return drivers
    spans = {c: _span(f"change of {c.what} to {c.to:g}", (c.first, c.last), first, last) for c in wanted}
    ends = [_ends(k, shift, first, last) for k, shift in enumerate(drivers.shifts, 1)]
    plain = tuple(c for c in drivers.changes if c.to is None)
    paths = simulated(
        replace(drivers, changes=plain, shifts=()),
        (*spans.values(), *(span for pair in ends for span in pair)),
    )
    made = tuple(_factor(c, spans[c], paths) if c.to is not None else c for c in drivers.changes)
    moved = (
        c for shift, pair in zip(drivers.shifts, ends, strict=True) for c in _shifted(shift, pair, paths)
    )
    return replace(drivers, changes=(*made, *moved), shifts=())


def _span(what: str, days: tuple[date | None, date | None], first: date, last: date) -> Period:
    begin, end = max(days[0] or first, first), min(days[1] or last, last)
    if end < begin:
        raise PlanError(f"{what}: its days lie outside {first} to {last}")
    return Period("change", "day", begin, end)


def _ends(number: int, shift: Shift, first: date, last: date) -> tuple[Period, Period]:
    """Simulated days of the two periods of a shift."""
    giver, taker = (
        _span(f"shift[{number}].{key}", days, first, last)
        for key, days in (("from", shift.giver), ("to", shift.taker))
    )
    if giver.first <= taker.last and taker.first <= giver.last:
        raise PlanError(f"shift[{number}]: its periods share days; wanted two that do not")
    return giver, taker


def _shifted(shift: Shift, ends: tuple[Period, Period], paths: Paths) -> tuple[Change, Change]:
    """Two changes of creation that take from one period as many as they add to the other, in the mean."""
    which, scope = metric("opportunities_created"), Scope.parse(shift.scope)
    away, there = (float(np.add(*paths.simulated("created", scope, span)).mean()) for span in ends)
    if not there > 0:
        raise PlanError(
            f"shift: without it there are no creations of {shift.scope} in the period that gets more"
        )
    times = (1.0 - shift.share, 1.0 + shift.share * away / there)
    giver, taker = (
        Change(which.name, shift.scope, times=x, first=span.first, last=span.last)
        for x, span in zip(times, ends, strict=True)
    )
    return giver, taker


def _factor(change: Change, span: Period, paths: Paths) -> Change:
    which = MARGIN if change.what == MARGIN.name else metric(change.what)
    scope = Scope.parse(change.scope)
    found = series(paths, which, scope, span).total
    known = found[np.isfinite(found)]
    base = float(known.mean()) if known.size else 0.0
    if not which.is_ratio:
        base *= MONTH_DAYS / ((span.last - span.first + timedelta(days=1)).days)
    if base <= 0 or change.to is None:
        raise PlanError(
            f"change of {change.what} to {change.to}: without it there is none for {change.scope} from "
            f"{span.first} to {span.last}, so no factor leads there"
        )
    return replace(change, to=None, times=change.to / base)
