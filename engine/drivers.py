"""What the simulator is told about the future: people and changed rates, but never quotas."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

#: What a :class:`Change` may act on, besides ``activity:<kind>``.
CHANGEABLE = ("opportunities_created", "close_rate", "cycle_days", "deal_value", "margin")


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
    and ``last`` are inclusive; ``None`` means without bound.
    """

    what: str
    scope: str
    times: float | None = None
    to: float | None = None
    first: date | None = None
    last: date | None = None


@dataclass(frozen=True)
class Drivers:
    """Everything about the future that is decided rather than simulated."""

    hires: tuple[Hire, ...] = ()
    leaves: tuple[Leave, ...] = ()
    changes: tuple[Change, ...] = ()
