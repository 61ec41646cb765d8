"""What a forecast of a backtest is about: a metric, for whom, over which days, and which part of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from quotacast.engine.quota import Scope
from quotacast.errors import PlanError

#: Metrics that backtests score; each is a sum over events.
METRICS = ("bookings", "deals_won", "opportunities_created")
#: Parts of a total; ``done`` is no forecast and so never a target.
COMPONENTS = ("open", "new", "total")


@dataclass(frozen=True)
class Target:
    """A number to be forecast.

    Attributes
    ----------
    metric : str
        One of :data:`METRICS`; bookings in currency units.
    scope : Scope
    first, last : datetime.date
        Both days count. Days up to the origin are history: their actual is part of a ``total``.
    component : str
        One of :data:`COMPONENTS`.

    Raises
    ------
    PlanError
        Naming everything that is impossible.
    """

    metric: str
    scope: Scope
    first: date
    last: date
    component: str = "total"

    def __post_init__(self) -> None:
        problems = []
        if self.metric not in METRICS:
            problems.append(f"target metric {self.metric!r} came, wanted one of {', '.join(METRICS)}")
        if self.component not in COMPONENTS:
            problems.append(
                f"target component {self.component!r} came, wanted one of {', '.join(COMPONENTS)}"
            )
        if self.last < self.first:
            problems.append(
                f"target from {self.first} to {self.last}: wanted a last day not before the first"
            )
        if problems:
            raise PlanError(problems)
