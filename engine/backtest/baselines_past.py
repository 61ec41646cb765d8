"""What every baseline starts from: the events before the origin, by day and scope.

Months are counted from the origin, back and ahead: with an origin at a month's end they are calendar
months, else spans such as 16 March to 15 April, so that no recent day is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from quotacast.engine.backtest.targets import Target
from quotacast.engine.quota import Scope
from quotacast.models.history.history import History
from quotacast.models.history.truncation import entry_date
from quotacast.models.periods import Calendar
from quotacast.models.timegrid import day_number

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: The stream of events behind each metric.
STREAM = {"bookings": "won", "deals_won": "won", "opportunities_created": "created"}
#: Months of history that tell the present level, as far as there are so many.
RECENT = 12
#: Fewer events than this are little history.
FEW = 5
#: Won deals from which an own distribution of amounts is taken, rather than the company's.
OWN_AMOUNTS = 20


@dataclass(frozen=True)
class Events:
    """Events of one stream in order of their days, all arrays of shape (n,)."""

    day: Ints
    amount: Floats
    rep: NDArray[np.object_]
    team: NDArray[np.object_]

    def of(self, scope: Scope) -> Events:
        """The events that count for a scope."""
        if scope.kind == "company":
            return self
        keep = (self.rep if scope.kind == "rep" else self.team) == scope.id
        return Events(self.day[keep], self.amount[keep], self.rep[keep], self.team[keep])

    def between(self, first: int, last: int) -> slice:
        """Rows of the days from first to last, both included."""
        return slice(*np.searchsorted(self.day, [first, last + 1]))


@dataclass(frozen=True)
class Past:
    """A history as baselines see it.

    Attributes
    ----------
    history : History
    calendar : Calendar
    origin : int
        Day number of the as-of date.
    start : dict of str to int
        First day on which each stream is complete.
    streams : dict of str to Events
    """

    history: History
    calendar: Calendar
    origin: int
    start: dict[str, int]
    streams: dict[str, Events]
    _scoped: dict[tuple[str, Scope], Events] = field(default_factory=dict, repr=False)
    _edges: dict[int, Ints] = field(default_factory=dict, repr=False)
    _pools: dict[Scope, Floats] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, history: History, calendar: Calendar) -> Past:
        """Collect the events of a history; it must be the snapshot of its as-of date."""
        deals = history.opportunities
        origin = int(day_number(history.as_of_date))
        won = (deals["status"] == "won").to_numpy()
        everything = np.ones(len(deals), dtype=bool)
        streams = {
            "won": _events(history, "closed_on", won, origin),
            "created": _events(history, "created_on", everything, origin),
        }
        entry = entry_date(history)
        floor = origin if entry is None else min(origin, int(day_number(entry)))
        first = {name: int(e.day[0]) if e.day.size else origin for name, e in streams.items()}
        if entry is not None:
            first = {name: max(day, floor) for name, day in first.items()}
        return cls(history, calendar, origin, first, streams)

    @cached_property
    def employment(self) -> dict[str, tuple[int, int]]:
        """First and last day (day numbers) at work of every rep; the first deal where no hiring is known."""
        created = self.streams["created"]
        reps, at = np.unique(created.rep.astype(str), return_index=True)
        spans = {str(rep): (int(created.day[i]), self.origin) for rep, i in zip(reps, at, strict=True)}
        table = self.history.reps
        days = (
            table["hired_on"].groupby(table["rep_id"]).min(),
            table["left_on"].groupby(table["rep_id"]).max(),
        )
        hired, left = (column.dropna() for column in days)
        for rep, day in hired.items():
            spans[str(rep)] = (int(day_number(day)), self.origin)
        for rep, day in left.items():
            stop = min(int(day_number(day)) - 1, self.origin)
            spans[str(rep)] = (spans.get(str(rep), (stop, stop))[0], stop)
        return spans

    def events(self, stream: str, scope: Scope) -> Events:
        """Events of a stream that count for a scope."""
        key = (stream, scope)
        if key not in self._scoped:
            self._scoped[key] = self.streams[stream].of(scope)
        return self._scoped[key]

    def done(self, target: Target) -> float:
        """What has happened by the origin of a total that has begun."""
        stop = min(int(day_number(target.last)), self.origin)
        first = int(day_number(target.first))
        if target.component != "total" or first > stop:
            return 0.0
        events = self.events(STREAM[target.metric], target.scope)
        rows = events.between(first, stop)
        return (
            float(events.amount[rows].sum()) if target.metric == "bookings" else float(rows.stop - rows.start)
        )

    def ahead(self, target: Target) -> tuple[int, int]:
        """First and last day of a target that are still to come, as days after the origin (1, 2, …)."""
        first, last = int(day_number(target.first)), int(day_number(target.last))
        return max(first - self.origin, 1), last - self.origin

    def edges(self, months: int) -> Ints:
        """Last days of the months from the origin on: 0, 1, …, ``months`` (or back, if negative)."""
        if months not in self._edges:
            steps = range(months + 1) if months >= 0 else range(months, 1)
            days = [_month_step(self.history.as_of_date, k) for k in steps]
            self._edges[months] = np.array(days, dtype=np.int64)
        return self._edges[months]

    def months_back(self, stream: str, most: int) -> Ints:
        """Last days of up to ``most`` complete months before the origin, shape (months + 1,).

        Where not even one month is complete, the days that there are.
        """
        edges = self.edges(-most)
        inside = edges[edges >= self.start[stream] - 1]
        return (
            inside if inside.size > 1 else np.array([min(self.start[stream], self.origin) - 1, self.origin])
        )

    def counts(self, stream: str, scope: Scope, edges: Ints) -> Floats:
        """Events in the months between edges, shape (months,)."""
        day = self.events(stream, scope).day
        return np.diff(np.searchsorted(day, edges, side="right")).astype(float)

    def sums(self, metric: str, scope: Scope, edges: Ints) -> Floats:
        """A metric in the months between edges, shape (months,)."""
        stream = STREAM[metric]
        if metric != "bookings":
            return self.counts(stream, scope, edges)
        events = self.events(stream, scope)
        running = np.concatenate([[0.0], np.cumsum(events.amount)])
        return np.diff(running[np.searchsorted(events.day, edges, side="right")])

    def pool(self, scope: Scope) -> Floats:
        """Amounts of the deals that the scope won of late, or the company where they are few."""
        if scope not in self._pools:
            first = int(self.edges(-RECENT)[0]) + 1
            asked = [self.events("won", x) for x in (scope, Scope("company"))]
            recent = [e.amount[e.between(first, self.origin)] for e in asked]
            enough = [amounts for amounts in recent if amounts.size >= OWN_AMOUNTS]
            self._pools[scope] = enough[0] if enough else self.streams["won"].amount
        return self._pools[scope]


def _events(history: History, column: str, keep: NDArray[np.bool_], origin: int) -> Events:
    deals = history.opportunities
    day = day_number(deals[column])
    rows = np.flatnonzero(keep & (day <= origin) & deals[column].notna().to_numpy())
    rows = rows[np.argsort(day[rows], kind="stable")]
    rep = deals["rep_id"].to_numpy(dtype=object)[rows]
    team = history.team_on(rep, day[rows].astype("datetime64[D]"))
    return Events(day[rows], np.nan_to_num(deals["amount"].to_numpy(dtype=float)[rows]), rep, team)


def _month_step(day: date, months: int) -> int:
    """Day number of the same day some months on; a month's end stays a month's end."""
    month = np.datetime64(day, "M") + months
    length = int(day_number(month + 1) - day_number(month))
    at_end = int(day_number(day)) + 1 == int(day_number(np.datetime64(day, "M") + 1))
    return int(day_number(month)) + (length if at_end else min(day.day, length)) - 1


def overlaps(edges: Ints, first: int, last: int) -> Ints:
    """Days that a span shares with each month between edges, shape (months,)."""
    shared: Ints = np.clip(np.minimum(edges[1:], last) - np.maximum(edges[:-1] + 1, first) + 1, 0, None)
    return shared


def months_needed(past: Past, targets: Sequence[Target]) -> int:
    """Months from the origin to the last day of any target, at least 1."""
    last = max((past.ahead(t)[1] for t in targets), default=1)
    months = max(1, last // 31)
    while past.edges(months)[-1] - past.origin < last:
        months += 1
    return months
