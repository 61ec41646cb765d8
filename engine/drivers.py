"""What the simulator is told about the future: people and changed rates, but never quotas."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

#: What a :class:`Change` may act on, besides ``activity:<kind>``.
CHANGEABLE = ("opportunities_created", "close_rate", "cycle_days", "deal_value", "margin")
#: How the name of a change of activity begins.
ACTIVITY = "activity:"


@dataclass(frozen=True)
class Hire:
    """One new rep.

    ``rep_id`` is the team's name with a running number (``north+1``); the rep starts on ``on`` with
    no tenure and an ability drawn from the population of reps.
    """

    rep_id: str
    team: str
    on: date


@dataclass(frozen=True)
class Leave:
    """A rep whose last day is the day before ``on``; open deals stay with their scope."""

    rep_id: str
    on: date


@dataclass(frozen=True)
class Change:
    """A rate that is changed for a scope (``company``, ``team:x``, ``rep:y``) and a time.

    Exactly one of ``times`` (a factor) and ``to`` (a value in the metric's unit) is set. ``first``
    and ``last`` are inclusive; ``None`` means without bound. ``causal`` says that a change of activity is
    taken to cause new business; otherwise what goes along with it is an association.
    """

    what: str
    scope: str
    times: float | None = None
    to: float | None = None
    first: date | None = None
    last: date | None = None
    causal: bool = False

    @property
    def is_activity(self) -> bool:
        """Whether it changes how many activities of a kind are done."""
        return self.what.startswith(ACTIVITY)


@dataclass(frozen=True)
class Drivers:
    """Everything about the future that is decided rather than simulated.

    Attributes
    ----------
    hires, leaves, changes
    activity_drives : bool
        Whether changes of activity that are not causal change creation as well, as past activity and
        creation went together. Where False they change activity alone: the other end of what may happen.
    """

    hires: tuple[Hire, ...] = ()
    leaves: tuple[Leave, ...] = ()
    changes: tuple[Change, ...] = ()
    activity_drives: bool = True

    def driving(self) -> tuple[Change, ...]:
        """Changes that act on creation through activity."""
        return tuple(c for c in self.changes if c.is_activity and (c.causal or self.activity_drives))

    def associations(self) -> tuple[Change, ...]:
        """Changes of activity of which the plan does not say that they are causal."""
        return tuple(c for c in self.changes if c.is_activity and not c.causal)
