"""What leaves the account and when: the plan's payments, payroll, commission and value-added tax, day by day.

Payments move to the next working day, pay to the last working day before. Amounts are whole cents.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np

from quotacast.engine.finance.schedule import Ints, add_months, working_day_before, working_days
from quotacast.models.holidays import holiday_days
from quotacast.models.periods import Calendar, Period
from quotacast.models.timegrid import as_date, day_number

_DAYS = {"week": 7}
_MONTHS = {"month": 1, "quarter": 3, "year": 12}


@dataclass(frozen=True)
class Out:
    """A payment of the plan, once or again and again; ``vat`` is the rate in it that is deducted."""

    name: str
    amount: float
    on: date
    every: str | None = None
    until: date | None = None
    kind: str = "supplier"
    vat: float = 0.0

    def days(self, last: int) -> Ints:
        """Day numbers until the last one, also those that are past."""
        begin = int(day_number(self.on))
        stop = last if self.until is None else min(last, int(day_number(self.until)))
        if self.every is None:
            return np.array([begin] if begin <= last else [], dtype=np.int64)
        if self.every in _DAYS:
            return np.arange(begin, stop + 1, _DAYS[self.every], dtype=np.int64)
        count = max((stop - begin) // 28 // _MONTHS[self.every] + 2, 1)
        found = [int(add_months(np.array([begin]), k * _MONTHS[self.every])[0]) for k in range(count)]
        return np.array([day for day in found if day <= stop], dtype=np.int64)


@dataclass(frozen=True)
class Variable:
    """A payment that is a part of a month's ``bookings``, ``billings`` or ``receipts``."""

    name: str
    share: float
    of: str = "billings"
    after_days: int = 30
    kind: str = "supplier"


@dataclass(frozen=True)
class Account:
    """The plan's account.

    Attributes
    ----------
    opening : float or None
        Cash on the evening of the as-of date; without it cash is relative to that evening.
    floor : float
    vat, vat_every, vat_days
        Rate on top of invoices; the calendar period (``month``, ``quarter``) for which tax is settled, and
        days from its end to the payment.
    outs, variable
    payday : int
        Day of the month on which reps are paid.
    volatility : float
        Of the log rates of exchange, a year.
    """

    opening: float | None = None
    floor: float = 0.0
    vat: float = 0.0
    vat_every: str = "month"
    vat_days: int = 30
    outs: tuple[Out, ...] = ()
    variable: tuple[Variable, ...] = ()
    payday: int = 25
    volatility: float = 0.0


@dataclass(frozen=True)
class Days:
    """The simulated days with their working days; day 0 is the day after the as-of date.

    Attributes
    ----------
    calendar : Calendar
    first : int
        Day number of day 0.
    days : int
    """

    calendar: Calendar
    first: int
    days: int

    @cached_property
    def _free(self) -> Ints:
        return holiday_days(self.calendar.holidays, self.first - 400, self.first + self.days + 400)

    @cached_property
    def works(self) -> Ints:
        """Next working day on or after each day, shape (days,)."""
        return working_days(self.first, self.days, self._free)

    def next_working(self, numbers: Ints) -> Ints:
        """Next working day of day numbers, counted from day 0; those before day 0 stay there (negative)."""
        ask = np.asarray(numbers, dtype=np.int64)
        if not ask.size:
            return ask
        low = int(ask.min())
        return working_days(low, int(ask.max()) - low + 1, self._far(low, int(ask.max())))[ask - low] + (
            low - self.first
        )

    def working_before(self, numbers: Ints) -> Ints:
        """Last working day on or before day numbers, counted from day 0."""
        ask = np.asarray(numbers, dtype=np.int64)
        low, high = int(ask.min()), int(ask.max())
        return working_day_before(low, high - low + 1, self._far(low, high))[ask - low] + (low - self.first)

    def _far(self, low: int, high: int) -> Ints:
        return holiday_days(self.calendar.holidays, low - 20, high + 20)

    def vat_day(self, numbers: Ints, account: Account) -> Ints:
        """Day on which the tax of what was invoiced on day numbers is paid, counted from day 0."""
        month = np.asarray(numbers, dtype=np.int64).astype("datetime64[D]").astype("datetime64[M]")
        step = _MONTHS[account.vat_every]
        after = (month.astype(np.int64) // step + 1) * step
        ends = after.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) - 1
        return self.next_working(ends + account.vat_days)

    @property
    def periods(self) -> tuple[Period, ...]:
        """The days as periods."""
        return self.calendar.periods("day", as_date(self.first), as_date(self.first + self.days - 1))

    def months(self, back: int) -> tuple[Period, ...]:
        """Months from ``back`` whole ones before the one of day 0 to the last."""
        first = as_date(int(add_months(np.array([self.first]), -back)[0]))
        return self.calendar.periods("month", first, as_date(self.first + self.days - 1))


def deducted(out: Out, cents: int) -> int:
    """Cents of value-added tax within a payment."""
    return round(cents * out.vat / (1.0 + out.vat))


def planned_payments(account: Account, days: Days, lines: Sequence[str]) -> Ints:
    """Payments of the plan that are the same in every future, shape (lines, days); below zero.

    Input tax comes back with the settlement of the period in which it was paid.
    """
    out = np.zeros((len(lines), days.days), dtype=np.int64)
    for what, day, cents in _each(account, days):
        _put(out, lines.index(what), day, cents)
    return out


def _each(account: Account, days: Days) -> Iterator[tuple[str, int, int]]:
    """Line, day counted from day 0 and signed cents of every planned payment."""
    for one in account.outs:
        numbers = one.days(days.first + days.days - 1)
        cents = round(one.amount * 100.0)
        for day in days.next_working(numbers):
            yield one.kind, int(day), -cents
        if one.vat > 0:
            for day in days.vat_day(days.next_working(numbers) + days.first, account):
                yield "vat", int(day), deducted(one, cents)


def _put(out: Ints, line: int, day: int, cents: int) -> None:
    if 0 <= day < out.shape[1]:
        out[line, day] += cents


def pay_days(months: Sequence[Period], payday: int, days: Days) -> Ints:
    """Working day on which a month is paid, counted from day 0, at the latest the month's last; (months,)."""
    firsts = np.array([int(day_number(m.first)) for m in months], dtype=np.int64)
    lasts = np.array([int(day_number(m.last)) for m in months], dtype=np.int64)
    return days.working_before(np.minimum(firsts + payday - 1, lasts))
