"""The time grid: days, their weights, and the calendar pieces in which rates are constant.

Days are counted from 1970-01-01. A day's weight says how much of a week's business falls on it: the
smoothed share of its weekday, scaled to a mean of 1 over the week, times the share that a holiday keeps
where it is one; always positive, so that one weighted day is an average day without holidays. Creations
and closings share the weights, in fitting (exposure is counted in weighted days) and in simulation (days
are drawn by them).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quotacast.models.holidays import day_rates, holiday_days
from quotacast.models.periods import Calendar, month_index

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_EPOCH = date(1970, 1, 1).toordinal()


def day_number(days: Any) -> Ints:
    """Days since 1970-01-01 of dates, datetime64 arrays or Series; missing becomes the minimum int."""
    if type(days) is date:  # by far the most frequent
        return np.asarray(days.toordinal() - _EPOCH, dtype=np.int64)
    if isinstance(days, date):
        return np.asarray(np.datetime64(days, "D").astype(np.int64))
    return np.asarray(days, dtype="datetime64[D]").astype(np.int64)


def as_date(day: int) -> date:
    """Calendar date of a day number."""
    return date.fromordinal(int(day) + _EPOCH)


def weekday_weights(days: Ints) -> Floats:
    """Weights of Monday to Sunday, mean 1, from the days on which things happened.

    Parameters
    ----------
    days : ndarray of int64
        Day numbers of creations and closings, pooled.

    Returns
    -------
    ndarray, shape (7,)
    """
    return day_rates(days, 0, 6, np.empty(0, dtype=np.int64))[0]


def learned_grid(calendar: Calendar, first: int, last: int, seen: Ints) -> TimeGrid:
    """Grid of the days ``first`` to ``last`` with the day weights that events on the days ``seen`` tell."""
    free = holiday_days(calendar.holidays, first, last)
    inside = seen if free.size == 0 else seen[(seen >= first) & (seen <= last)]
    weights, share = day_rates(inside, first, last, free)
    return TimeGrid(calendar, first, last, tuple(float(w) for w in weights), holiday_share=share)


def holiday_note(grid: TimeGrid) -> tuple[str, ...]:
    """What was learned of holidays, in words; nothing where the calendar has none."""
    if not grid.holidays.size:
        return ()
    return (
        f"Public holidays of {grid.calendar.holidays}: on {grid.holidays.size} of them business was "
        f"{100 * grid.holiday_share:.0f} % of an ordinary day's.",
    )


@dataclass(frozen=True)
class TimeGrid:
    """Days ``first`` to ``last`` (inclusive day numbers), cut into pieces.

    Within a piece the calendar month, the fiscal quarter and the position in the quarter are constant,
    so a hazard that depends on them and on age bands is constant too.

    Attributes
    ----------
    calendar : Calendar
    first, last : int
        Inclusive day numbers.
    weights : tuple of 7 floats
        Weight of Monday to Sunday.
    cuts : tuple of int
        Further day numbers at which a piece must start (a changed rate, say).
    holiday_share : float
        Share of its weekday's weight that a holiday of the calendar keeps, greater than 0.
    """

    calendar: Calendar
    first: int
    last: int
    weights: tuple[float, ...]
    cuts: tuple[int, ...] = ()
    holiday_share: float = 1.0

    @cached_property
    def days(self) -> Ints:
        """Every day number, shape (n,)."""
        return np.arange(self.first, self.last + 1, dtype=np.int64)

    @cached_property
    def day_weights(self) -> Floats:
        """Weight of every day, shape (n,)."""
        return np.asarray(self.weights)[(self.days + 3) % 7] * self._holiday

    @cached_property
    def holidays(self) -> Ints:
        """Day numbers of the calendar's holidays within the grid, sorted."""
        return holiday_days(self.calendar.holidays, self.first, self.last)

    @cached_property
    def _holiday(self) -> Floats:
        return np.where(np.isin(self.days, self.holidays), self.holiday_share, 1.0)

    @cached_property
    def cumulative(self) -> Floats:
        """Weighted days before each day, shape (n + 1,): from a to b (exclusive) is ``c[b] - c[a]``."""
        return np.concatenate([[0.0], np.cumsum(self.day_weights)])

    @cached_property
    def _daily(self) -> tuple[Ints, Ints, Ints]:
        dates = self.days.astype("datetime64[D]")
        month = np.asarray(month_index(dates), dtype=np.int64)
        quarter = np.asarray(self.calendar.quarter_index(dates), dtype=np.int64)
        return month, quarter, np.asarray(self.calendar.position(dates), dtype=np.int64)

    @cached_property
    def edges(self) -> Ints:
        """First day of every piece and, last, the day after the grid; shape (pieces + 1,)."""
        changed = np.zeros(self.days.size, dtype=bool)
        changed[0] = True
        for values in self._daily:
            changed[1:] |= values[1:] != values[:-1]
        inside = [c - self.first for c in self.cuts if self.first <= c <= self.last]
        changed[inside] = True
        return np.append(self.days[changed], self.last + 1)

    def _of_pieces(self, values: Ints) -> Ints:
        return np.asarray(values[self.edges[:-1] - self.first])

    @cached_property
    def month(self) -> Ints:
        """Running calendar month of every piece (months since 1970-01)."""
        return self._of_pieces(self._daily[0])

    @cached_property
    def quarter(self) -> Ints:
        """Running fiscal quarter of every piece."""
        return self._of_pieces(self._daily[1])

    @cached_property
    def position(self) -> Ints:
        """Position in the fiscal quarter of every piece (see ``periods.POSITIONS``)."""
        return self._of_pieces(self._daily[2])

    def piece(self, days: Ints) -> Ints:
        """Piece that holds each day, shape as ``days``."""
        return np.asarray(np.searchsorted(self.edges, days, side="right") - 1)

    def weighted(self, start: Ints, stop: Ints) -> Floats:
        """Weighted days from ``start`` to ``stop`` (exclusive)."""
        return np.asarray(self.cumulative[stop - self.first] - self.cumulative[start - self.first])

    def weight(self, days: Ints) -> Floats:
        """Weight of the given days, all of the grid."""
        return np.asarray(self.day_weights[days - self.first])

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError(f"time grid: last day {self.last} before first day {self.first}")
        if self.holiday_share <= 0:
            raise ValueError(f"time grid: holiday share {self.holiday_share} must be positive")
