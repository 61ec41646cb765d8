"""What the simulator is told about the future: people and changed rates, but never quotas."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

#: What a :class:`Change` may act on, besides ``activity:<kind>``.
CHANGEABLE = ("opportunities_created", "close_rate", "cycle_days", "deal_value", "margin", "ramp")
#: The time that new reps need until they create as much as others.
RAMP = "ramp"
#: How the name of a change of activity begins.
ACTIVITY = "activity:"

#: Days until a leaver's seat is filled again: an assumption; the plan knows better.
BACKFILL_DAYS = 90
#: Customers of reps who left bought 13.2 to 17.6 % less in a year (Shi, Sridhar, Grewal & Lilien 2017,
#: Journal of Marketing 81(2), 25-44); taken over for the odds of deals that are open.
KEEP_ODDS = 0.85


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
    """A rep whose last day is the day before ``on``; open deals go to colleagues, see :class:`People`."""

    rep_id: str
    on: date


@dataclass(frozen=True)
class Absence:
    """A rep who works less for a time, or from some day on.

    Creations fall by the share of working time that is missing, 1 for all of it; overlapping absences
    multiply what remains. Open deals go on as they are: colleagues look after them. ``first`` and
    ``last`` are inclusive; ``None`` means without bound.
    """

    rep_id: str
    first: date | None = None
    last: date | None = None
    share: float = 1.0


@dataclass(frozen=True)
class People:
    """What happens when reps leave.

    Attributes
    ----------
    leavers : bool
        Whether reps leave by chance, at the hazard learned from the data (:mod:`quotacast.models.turnover`).
    backfill_days : int
        Days from such a leaving until a successor without tenure begins. Planned leavings have none.
    keep_odds : float
        Share of its win hazard that an open deal keeps when it changes hands.
    """

    leavers: bool = False
    backfill_days: int = BACKFILL_DAYS
    keep_odds: float = KEEP_ODDS


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
class Move:
    """New business of a segment that goes from a rep or team to another.

    See :mod:`quotacast.engine.territory`. ``first`` and ``last`` are inclusive; ``None`` means without bound.
    ``share`` is the part of the segment. With ``open_deals`` the same part of what is open goes along on the
    first day, see :mod:`quotacast.engine.handover`.
    """

    segment: str
    giver: str
    taker: str
    first: date
    last: date | None = None
    share: float = 1.0
    open_deals: bool = False


@dataclass(frozen=True)
class Shift:
    """A part of a scope's creations that comes in another span of days (first, last) than by its season.

    The simulator does not know it: it becomes two changes of ``opportunities_created`` with the same mean.
    """

    scope: str
    share: float
    giver: tuple[date, date]
    taker: tuple[date, date]


@dataclass(frozen=True)
class Drivers:
    """Everything about the future that is decided rather than simulated.

    Attributes
    ----------
    hires, leaves, changes, absences, moves, shifts
    activity_drives : bool
        Whether changes of activity that are not causal change creation as well, as past activity and
        creation went together. Where False they change activity alone: the other end of what may happen.
    """

    hires: tuple[Hire, ...] = ()
    leaves: tuple[Leave, ...] = ()
    changes: tuple[Change, ...] = ()
    absences: tuple[Absence, ...] = ()
    moves: tuple[Move, ...] = ()
    shifts: tuple[Shift, ...] = ()
    people: People = field(default_factory=People)
    activity_drives: bool = True

    def driving(self) -> tuple[Change, ...]:
        """Changes that act on creation through activity."""
        return tuple(c for c in self.changes if c.is_activity and (c.causal or self.activity_drives))

    def associations(self) -> tuple[Change, ...]:
        """Changes of activity of which the plan does not say that they are causal."""
        return tuple(c for c in self.changes if c.is_activity and not c.causal)
