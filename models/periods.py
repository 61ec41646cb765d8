"""Fiscal calendar and time grid: what ``2027``, ``2027-Q1``, ``2027-03`` or ``2027-W05`` mean.

==============  =======  ==========================================================================
label           kind     meaning
==============  =======  ==========================================================================
``2027``        year     fiscal year
``2027-Q1``     quarter  fiscal quarter
``2027-P03``    month    third month of a week-based fiscal year (only there)
``2027-03``     month    calendar month
``2027-W05``    week     ISO week, Monday to Sunday
``2027-03-05``  day      calendar day
==============  =======  ==========================================================================

A fiscal year starts on the first day of the month ``year_starts`` and is named by the calendar year it
ends in (``year_named_by="end"``) or starts in (``"start"``).

A week-based year (``weeks="4-4-5"``, ``"4-5-4"`` or ``"5-4-4"``, the weeks of the three months of every
quarter) starts on the Monday *nearest* to that first day, so it ends on the Sunday nearest to the end of
its last month; starting in January it is the ISO year. It has 52 weeks, or 53, and then the last month
(``P12``, and with it the fourth quarter) is one week longer. It consists of whole ISO weeks, so weeks,
months, quarters and years nest; otherwise a week may lie across the edge of a month, quarter or year.
"""

from __future__ import annotations

import calendar as gregorian
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from quotacast.errors import PlanError
from quotacast.models.holidays import country_problem

#: The kinds of period, fine to coarse.
KINDS = ("day", "week", "month", "quarter", "year")
#: Names of the positions in a fiscal quarter, in the order of the numbers of :meth:`Calendar.position`.
POSITIONS = ("first month", "second month", "third month", "last 10 days")
#: How many days at the end of a quarter count as its end.
END_DAYS = 10
#: Weeks of the three months of a quarter, by the name of the pattern.
WEEK_PATTERNS = {"4-4-5": (4, 4, 5), "4-5-4": (4, 5, 4), "5-4-4": (5, 4, 4)}
YEAR_NAMES = ("end", "start")
#: First and last year that a label may name.
YEARS = (1900, 2199)

Days = npt.NDArray[np.datetime64]
Ints = npt.NDArray[np.int64]

_ONE_DAY = timedelta(days=1)
_WANTED = "2027, 2027-Q1, 2027-03, 2027-W05 or 2027-03-05 (2027-P03 in a week-based year)"


@dataclass(frozen=True, order=True)
class Period:
    """A named span of days; ``first`` and ``last`` are both part of it.

    ``kind`` is one of :data:`KINDS`.
    """

    label: str
    kind: str
    first: date
    last: date

    @property
    def days(self) -> int:
        """Number of days."""
        return (self.last - self.first).days + 1


def as_days(days: Any) -> Days:
    """Days as ``datetime64[D]``, whatever the unit they come in.

    Raises
    ------
    ValueError
        If one is missing (NaT): a missing day has no place in a grid.
    """
    out: Days = np.asarray(days, dtype="datetime64[D]")
    if np.isnat(out).any():
        raise ValueError("a missing day (NaT) has no month, week or quarter: drop it first")
    return out


def month_index(days: Any) -> Ints:
    """Calendar months since 1970-01, shape of ``days``."""
    out: Ints = as_days(days).astype("datetime64[M]").astype(np.int64)
    return out


def week_index(days: Any) -> Ints:
    """ISO weeks (from Monday) since the one of 1970-01-01, which is 0; shape of ``days``."""
    out: Ints = (as_days(days).astype(np.int64) + 3) // 7  # 1970-01-01 was a Thursday
    return out


def week_start(index: Any) -> Days:
    """Monday of the weeks numbered as in :func:`week_index`, ``datetime64[D]``."""
    out: Days = (np.asarray(index, dtype=np.int64) * 7 - 3).astype("datetime64[D]")
    return out


def _day_before(days: Days) -> Days:
    out: Days = (days.astype("datetime64[D]").astype(np.int64) - 1).astype("datetime64[D]")
    return out


@dataclass(frozen=True)
class Calendar:
    """An organisation's calendar; the module's text says what the labels mean.

    Parameters
    ----------
    year_starts : int
        Month (1 to 12) in which the fiscal year starts.
    year_named_by : str
        ``"end"`` or ``"start"``: the calendar year that names the fiscal year.
    weeks : str, optional
        ``"4-4-5"``, ``"4-5-4"`` or ``"5-4-4"`` for a week-based year.
    holidays : str, optional
        Country (``"SE"``), or country and part (``"DE-BY"``), whose public holidays apply.

    Raises
    ------
    PlanError
        Naming every setting that is impossible.
    """

    year_starts: int = 1
    year_named_by: str = "end"
    weeks: str | None = None
    holidays: str | None = None

    month_index = staticmethod(month_index)
    week_index = staticmethod(week_index)

    def __post_init__(self) -> None:
        problems = []
        if isinstance(self.year_starts, bool) or self.year_starts not in range(1, 13):
            problems.append(f"calendar.year_starts: {self.year_starts!r} came, wanted a month from 1 to 12")
        if self.year_named_by not in YEAR_NAMES:
            problems.append(f'calendar.year_named_by: {self.year_named_by!r} came, wanted "end" or "start"')
        if self.weeks is not None and self.weeks not in WEEK_PATTERNS:
            wanted = ", ".join(f'"{name}"' for name in WEEK_PATTERNS)
            problems.append(f"calendar.weeks: {self.weeks!r} came, wanted one of {wanted}, or leave it out")
        if self.holidays is not None and not re.fullmatch(r"[A-Z]{2}(-[A-Z0-9]{1,3})?", str(self.holidays)):
            problems.append(
                f'calendar.holidays: {self.holidays!r} came, wanted a country such as "SE" or "DE-BY"'
            )
        elif self.holidays is not None and (problem := country_problem(self.holidays)):
            problems.append(f"calendar.holidays: {problem}")
        if problems:
            raise PlanError(problems)

    # ---- labels -> periods

    def parse(self, label: str) -> Period:
        """The period that a label names.

        Raises
        ------
        PlanError
            If it names none.
        """
        text = str(label).strip()
        for pattern, make in _FORMS:
            found = re.fullmatch(pattern, text)
            if found:
                numbers = [int(part) for part in found.groups()]
                if not YEARS[0] <= numbers[0] <= YEARS[1]:
                    raise PlanError(f"period {text!r}: wanted a year from {YEARS[0]} to {YEARS[1]}")
                return make(self, text, *numbers)
        raise PlanError(f"period {text!r} is none that is known: wanted {_WANTED}")

    # ---- days -> periods

    def containing(self, day: date, kind: str) -> Period:
        """The period of a kind in which a day lies.

        In a week-based year the kind ``month`` means its own months (``2027-P03``).
        """
        if kind not in KINDS:
            raise PlanError(f"kind of period {kind!r} came, wanted one of {', '.join(KINDS)}")
        if kind == "day":
            return Period(day.isoformat(), kind, day, day)
        if kind == "week":
            year, week, _ = day.isocalendar()
            return self._week(f"{year:04d}-W{week:02d}", year, week)
        if kind == "month" and self.weeks is None:
            return self._calendar_month(f"{day:%Y-%m}", day.year, day.month)
        years, months, _ = self._fiscal(np.array([day], dtype="datetime64[D]"))
        year, month = int(years[0]), int(months[0])
        if kind == "year":
            return self._year(f"{year:04d}", year)
        if kind == "quarter":
            return self._quarter(f"{year:04d}-Q{month // 3 + 1}", year, month // 3 + 1)
        return self._week_month(f"{year:04d}-P{month + 1:02d}", year, month + 1)

    def periods(self, kind: str, first: date, last: date) -> tuple[Period, ...]:
        """All periods of a kind that overlap the days ``first`` to ``last``, in order and uncut."""
        return tuple(self._walk(kind, first, last))

    def within(self, period: Period, kind: str) -> tuple[Period, ...]:
        """All periods of a kind that overlap ``period``, uncut (see the module about weeks)."""
        return self.periods(kind, period.first, period.last)

    def _walk(self, kind: str, first: date, last: date) -> Iterator[Period]:
        day = first
        while day <= last:
            period = self.containing(day, kind)
            yield period
            day = period.last + _ONE_DAY

    # ---- arrays of days

    def months(self, first: date, last: date) -> npt.NDArray[np.datetime64]:
        """Grid of the calendar months from the one of ``first`` to the one of ``last``.

        ``datetime64[M]``; as integers they are :func:`month_index`, as text their labels.
        """
        ends = np.array([first, last], dtype="datetime64[M]")
        return np.arange(ends[0], ends[1] + np.timedelta64(1, "M"))

    def quarter_index(self, days: Any) -> Ints:
        """Running number of the fiscal quarter, shape of ``days``: ``4 · (year − 1970) + quarter − 1``."""
        years, months, _ = self._fiscal(as_days(days))
        return 4 * (years - 1970) + months // 3

    def quarter_label(self, index: int) -> str:
        """Label of the quarter numbered as in :meth:`quarter_index`."""
        return f"{index // 4 + 1970:04d}-Q{index % 4 + 1}"

    def position(self, days: Any) -> npt.NDArray[np.int8]:
        """Position in the fiscal quarter, a number into :data:`POSITIONS`; shape of ``days``.

        The last :data:`END_DAYS` days of the quarter are cut out of its third month.
        """
        on = as_days(days)
        _, months, ends = self._fiscal(on)
        left = (ends - on).astype(np.int64)
        out: npt.NDArray[np.int8] = np.where(left < END_DAYS, 3, months % 3).astype(np.int8)
        return out

    # ---- the fiscal year itself

    def year_start(self, year: int) -> date:
        """First day of the fiscal year of that name."""
        anchor = date(year - self._named_ahead, self.year_starts, 1)
        if self.weeks is None:
            return anchor
        forward = -anchor.weekday() % 7  # days to the next Monday; more than 3 away, the one before is nearer
        return anchor + timedelta(days=forward if forward <= 3 else forward - 7)

    @property
    def _named_ahead(self) -> int:
        """By how much a year's name is ahead of the calendar year of its start."""
        return int(self.year_named_by == "end" and self.year_starts > 1)

    def _fiscal(self, days: Days) -> tuple[Ints, Ints, Days]:
        """Fiscal year, month in it (0 to 11) and last day of the quarter, each in the shape of ``days``."""
        return self._fiscal_months(days) if self.weeks is None else self._fiscal_weeks(days)

    def _fiscal_months(self, days: Days) -> tuple[Ints, Ints, Days]:
        shifted = month_index(days) - (self.year_starts - 1)
        next_quarter = shifted // 3 * 3 + 3 + (self.year_starts - 1)
        ends = _day_before(next_quarter.astype("datetime64[M]"))
        return shifted // 12 + 1970 + self._named_ahead, shifted % 12, ends

    def _fiscal_weeks(self, days: Days) -> tuple[Ints, Ints, Days]:
        if days.size == 0:
            empty = np.zeros(days.shape, dtype=np.int64)
            return empty, empty, days
        low, high = (
            int(day.astype("datetime64[Y]").astype(np.int64)) + 1970 for day in (days.min(), days.max())
        )
        names: Ints = np.arange(low - 1, high + 4, dtype=np.int64)
        starts = np.array([self.year_start(int(name)) for name in names], dtype="datetime64[D]")
        at = np.searchsorted(starts, days, side="right") - 1
        week = (days - starts[at]).astype(np.int64) // 7
        month: Ints = np.minimum(np.searchsorted(self._month_starts(), week, side="right") - 1, 11)
        next_quarter = np.where(month < 9, starts[at] + (month // 3 + 1) * 91, starts[at + 1])
        ends = _day_before(next_quarter)
        return names[at], month, ends

    def _month_starts(self) -> Ints:
        """Weeks before each of the twelve months of a week-based year, shape (12,)."""
        lengths = WEEK_PATTERNS[self.weeks or "4-4-5"] * 4
        return np.cumsum((0, *lengths[:-1]))

    # ---- one maker for every form of label

    def _year(self, label: str, year: int) -> Period:
        return Period(label, "year", self.year_start(year), self.year_start(year + 1) - _ONE_DAY)

    def _quarter(self, label: str, year: int, quarter: int) -> Period:
        if not 1 <= quarter <= 4:
            raise PlanError(f"period {label!r}: wanted a quarter from Q1 to Q4")
        first = self._month_start(year, 3 * quarter - 2)
        return Period(label, "quarter", first, self._month_start(year, 3 * quarter + 1) - _ONE_DAY)

    def _month_start(self, year: int, month: int) -> date:
        """First day of a month (1 to 13) of a fiscal year."""
        start = self.year_start(year)
        if month == 13:
            return self.year_start(year + 1)
        if self.weeks is not None:
            return start + timedelta(weeks=int(self._month_starts()[month - 1]))
        ahead = start.month - 1 + month - 1
        return date(start.year + ahead // 12, ahead % 12 + 1, 1)

    def _week_month(self, label: str, year: int, month: int) -> Period:
        if self.weeks is None:
            raise PlanError(
                f'period {label!r} needs a week-based year (calendar.weeks = "4-4-5"): '
                f"wanted a calendar month such as {year:04d}-03"
            )
        if not 1 <= month <= 12:
            raise PlanError(f"period {label!r}: wanted a month from P01 to P12")
        first = self._month_start(year, month)
        return Period(label, "month", first, self._month_start(year, month + 1) - _ONE_DAY)

    def _calendar_month(self, label: str, year: int, month: int) -> Period:
        if not 1 <= month <= 12:
            raise PlanError(f"period {label!r}: wanted a month from 01 to 12")
        return Period(
            label, "month", date(year, month, 1), date(year, month, gregorian.monthrange(year, month)[1])
        )

    def _week(self, label: str, year: int, week: int) -> Period:
        try:
            first = date.fromisocalendar(year, week, 1)
        except ValueError:
            weeks = date(year, 12, 28).isocalendar().week
            raise PlanError(f"period {label!r}: wanted a week from W01 to W{weeks} of {year}") from None
        return Period(label, "week", first, first + 6 * _ONE_DAY)

    def _day(self, label: str, year: int, month: int, day: int) -> Period:
        try:
            on = date(year, month, day)
        except ValueError:
            raise PlanError(f"period {label!r}: there is no such day") from None
        return Period(label, "day", on, on)


_FORMS: tuple[tuple[str, Callable[..., Period]], ...] = (
    (r"([0-9]{4})", Calendar._year),
    (r"([0-9]{4})-Q([0-9])", Calendar._quarter),
    (r"([0-9]{4})-P([0-9]{2})", Calendar._week_month),
    (r"([0-9]{4})-W([0-9]{2})", Calendar._week),
    (r"([0-9]{4})-([0-9]{2})", Calendar._calendar_month),
    (r"([0-9]{4})-([0-9]{2})-([0-9]{2})", Calendar._day),
)
