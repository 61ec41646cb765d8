"""Terms of deals: on which days a deal is invoiced, in which parts, and when its revenue is earned.

A deal's amount is what it brings over its whole term, without value-added tax. Parts are shares of it, and
every sum is rounded cumulatively ::

    cents invoiced up to part k = floor(amount x share[k] / whole + 1/2),      share[last] = whole

so the parts add up to the amount to the cent, and so does the revenue, earned by day ::

    cents earned before day t = floor(amount x (t - begin) / (end - begin) + 1/2)    for begin <= t <= end

Spreading revenue evenly over the term (or over the days of delivery) is a planning simplification of
ASC 606 and IFRS 15, not bookkeeping.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

#: Months between invoices that are sent in advance.
EVERY = {"monthly": 1, "quarterly": 3, "yearly": 12}
#: Milestones are parts of so many.
MILLION = 1_000_000
#: Months that a deal runs where neither plan nor data say so.
DEFAULT_MONTHS = 12


@dataclass(frozen=True)
class Terms:
    """How deals become invoices and revenue.

    Attributes
    ----------
    bill : str
        ``at_close``, ``monthly``, ``quarterly``, ``yearly`` (in advance) or ``milestones``.
    milestones : tuple of (share, days after close)
    recognise : str
        ``at_close``, ``straight_line`` (by day over the term) or ``delivery`` (by day, ``duration`` days
        from ``start_lag`` days after close).
    due_days : int
    renewal : float
        Odds that a deal is signed anew, with the same amount and term, on the day its term ends.
    """

    bill: str = "at_close"
    milestones: tuple[tuple[float, int], ...] = ()
    recognise: str = "at_close"
    due_days: int = 30
    renewal: float = 0.0
    start_lag: int = 0
    duration: int = 30

    def parts(self, months: int) -> Ints:
        """Cumulative shares of a deal's amount that are invoiced, shape (parts + 1,), from 0 to the whole."""
        if self.bill == "milestones":
            shares = np.rint(np.cumsum([share for share, _ in self._in_order()]) * MILLION).astype(np.int64)
            return np.concatenate([[0], shares[:-1], [MILLION]])
        step = EVERY.get(self.bill, months)
        return np.append(np.arange(0, months, step, dtype=np.int64), months)

    def invoiced(self, close: Ints, months: int) -> Ints:
        """Days of a deal's invoices, shape (deals, parts), without the time it takes to write them."""
        if self.bill == "milestones":
            return close[:, None] + np.array([day for _, day in self._in_order()], dtype=np.int64)
        step = EVERY.get(self.bill, months)
        return np.stack([add_months(close, m) for m in range(0, months, step)], axis=1)

    def earned(self, close: Ints, months: int) -> tuple[Ints, Ints]:
        """First day on which revenue is earned, and the day after the last; equal: all on the first day."""
        if self.recognise == "straight_line":
            return close, add_months(close, months)
        if self.recognise == "delivery":
            begin = close + self.start_lag
            return begin, begin + self.duration
        return close, close

    def _in_order(self) -> list[tuple[float, int]]:
        return sorted(self.milestones, key=lambda part: part[1])


def add_months(days: Ints, months: int) -> Ints:
    """The same day of the month so many months later, the last one of a month that is too short.

    Parameters
    ----------
    days : ndarray of int64
        Day numbers since 1970-01-01.
    """
    day = np.asarray(days, dtype=np.int64).astype("datetime64[D]")
    month = day.astype("datetime64[M]")
    of_month = (day - month.astype("datetime64[D]")).astype(np.int64)
    later = month + months
    first = later.astype("datetime64[D]").astype(np.int64)
    length = (later + 1).astype("datetime64[D]").astype(np.int64) - first
    return np.asarray(first + np.minimum(of_month, length - 1))


def rounded(cents: Ints, share: Ints, whole: Ints | int) -> Ints:
    """Cents of a share, rounded half up as the compiled loops do."""
    return np.asarray((2 * cents * share + whole) // (2 * whole), dtype=np.int64)


def earned_before(cents: Ints, begin: Ints, end: Ints, day: Ints | int) -> Ints:
    """Cents earned before a day (see the module); arguments are broadcast."""
    span = np.maximum(end - begin, 1)
    gone = np.where(end > begin, np.clip(day - begin, 0, span), (day > begin) * span)
    return rounded(cents, gone, span)


@dataclass(frozen=True)
class Schedules:
    """Terms as tables over the days on which a deal may be signed, days counted from the first simulated one.

    ``T`` lengths of a term, ``D`` days, at most ``K`` parts.

    Attributes
    ----------
    months : tuple of int
        Length of each term.
    parts : ndarray of int64, shape (T,)
        Number of invoices.
    invoiced : ndarray of int32, shape (T, D, K)
    share : ndarray of int64, shape (T, K + 1)
        Cumulative, up to the whole.
    ends : ndarray of int32, shape (T, D)
        Day on which the term ends, where a renewal begins.
    begin, end : ndarray of int32, shape (T, D)
        Days over which revenue is earned.
    """

    months: tuple[int, ...]
    parts: Ints
    invoiced: NDArray[np.int32]
    share: Ints
    ends: NDArray[np.int32]
    begin: NDArray[np.int32]
    end: NDArray[np.int32]

    @classmethod
    def of(cls, terms: Terms, months: tuple[int, ...], first: int, days: int) -> Schedules:
        """Tables for deals signed on ``days`` days from day number ``first``."""
        close = np.arange(first, first + days, dtype=np.int64)
        shares = [terms.parts(m) for m in months]
        most = max(share.size for share in shares)
        share = np.stack([np.pad(s, (0, most - s.size), mode="edge") for s in shares])
        found = [terms.invoiced(close, m) - first for m in months]
        wide = [np.pad(f, ((0, 0), (0, most - 1 - f.shape[1])), mode="edge") for f in found]
        earned = [terms.earned(close, m) for m in months]
        small = np.int32
        return cls(
            months,
            np.array([s.size - 1 for s in shares], dtype=np.int64),
            np.stack(wide).astype(small),
            share,
            np.stack([add_months(close, m) - first for m in months]).astype(small),
            np.stack([begin - first for begin, _ in earned]).astype(small),
            np.stack([end - first for _, end in earned]).astype(small),
        )


def working_days(first: int, days: int, free: Ints) -> Ints:
    """Next working day on or after each of so many days, counted from the first; shape (days,).

    Parameters
    ----------
    free : ndarray of int64
        Day numbers of public holidays.
    """
    beyond = 15  # no run of days off is longer
    number = np.arange(first, first + days + beyond)
    works = ((number + 3) % 7 < 5) & ~np.isin(number, free)
    place = np.where(works, np.arange(number.size), number.size)
    return np.asarray(np.minimum.accumulate(place[::-1])[::-1][:days], dtype=np.int64)


def working_day_before(first: int, days: int, free: Ints) -> Ints:
    """Last working day on or before each day, counted from the first (negative before it); shape (days,)."""
    beyond = 15
    number = np.arange(first - beyond, first + days)
    works = ((number + 3) % 7 < 5) & ~np.isin(number, free)
    place = np.where(works, np.arange(number.size), -1)
    return np.asarray(np.maximum.accumulate(place)[beyond:] - beyond, dtype=np.int64)
