"""From simulated wins to cash: everything that the compiled loops read, and running them over all futures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property

import numba
import numpy as np
import pandas as pd

from quotacast.engine.finance.account import Account, pay_days, planned_payments
from quotacast.engine.finance.commission import RepQuotas, Scale, scale
from quotacast.engine.finance.contracted import (
    Coming,
    Receivables,
    coming_invoices,
    receivables,
    revaluation,
)
from quotacast.engine.finance.contracts import Contracts
from quotacast.engine.finance.currencies import foreign_currencies, places
from quotacast.engine.finance.kernel import Billing
from quotacast.engine.finance.kernel_close import BASES, LINES, Paid, Spans, run_cash
from quotacast.engine.finance.kernel_pay import Paying, spells_of
from quotacast.engine.finance.schedule import Ints
from quotacast.engine.payments import Payments
from quotacast.engine.selling import Costs
from quotacast.engine.streams import keys
from quotacast.models.history.schema import NONE
from quotacast.models.parts import NO_PART
from quotacast.models.periods import Period
from quotacast.models.terms import Floats
from quotacast.models.timegrid import day_number

#: Trading days are all days: a year's volatility over its days.
YEAR = 365.0


@dataclass(frozen=True)
class Ledger(Contracts):
    """Everything that decides what becomes of the wins.

    Attributes
    ----------
    payments : Payments
    costs : Costs or None
    payroll : ndarray of int64, shape (1 or futures, months)
        What reps earn in the months of :attr:`months`, without commission.
    quotas : mapping
        Of reps on bookings, for commission above quota.
    presumed : bool
        Whether the open invoices are those of the terms, of which nobody knows which are paid.
    joiners : ndarray of int64, shape (1 or futures, 1 or months)
        Reps whose hiring is paid with those months.
    """

    payments: Payments
    costs: Costs | None
    payroll: Ints
    quotas: RepQuotas
    presumed: bool = False
    joiners: Ints = field(default_factory=lambda: np.zeros((1, 1), dtype=np.int64))

    @cached_property
    def currencies(self) -> tuple[str, ...]:
        """Those of deals and of open invoices."""
        if self.account.volatility <= 0:
            return ()
        codes = {str(c) for c in self.payments.open.currency[self.open.rows] if c}
        return tuple(sorted({*foreign_currencies(self.history), *codes} - {self.history.currency}))

    @cached_property
    def months(self) -> tuple[Period, ...]:
        """Months from the first whose commission or variable payment may still be due."""
        return self.days.months(months_back(self.account))

    @cached_property
    def sent(self) -> tuple[Ints, Ints]:
        """Cents of the data's invoices with and without tax."""
        amount = 100.0 * self.history.invoices["amount"].to_numpy(dtype=float)
        gross = np.rint(amount * (1.0 + self.tax_on_top)).astype(np.int64)
        return gross, np.rint(gross / (1.0 + self.account.vat)).astype(np.int64)

    @cached_property
    def coming(self) -> Coming:
        """Invoices that signed deals have yet to get."""
        return coming_invoices(self.signed, self.terms, self.lags, self.today, self.days.days)

    @cached_property
    def open(self) -> Receivables:
        """Open invoices, net of credit notes, at today's rates."""
        opened = self.payments.open
        top = 0.0 if self.presumed else self.tax_on_top
        return receivables(opened, revaluation(opened, self.history) * (1.0 + top))

    @cached_property
    def billing(self) -> Billing:
        """Arrays of the invoicing clock."""
        coming, customers = self.coming, self.signed.customer[self.coming.deal]
        codes = self.payments.classes.code(list(customers), [None] * coming.deal.size)
        names = [f"{self.signed.ids[d]} {n}" for n, d in enumerate(coming.deal)]
        return Billing(
            self.schedules.parts,
            self.schedules.invoiced.astype(np.int64),
            self.schedules.share,
            coming.day,
            coming.cents,
            codes.astype(np.int64),
            places(self.signed.currency[coming.deal], self.currencies),
            keys(self.seed, "invoice to come", names),
        )

    @cached_property
    def paying(self) -> Paying:
        """Arrays of the payment clock."""
        pays, opened, own = self.payments, self.payments.open, self.open.rows
        number = np.arange(self.days.first, self.days.first + self.days.days)
        due, day = opened.due[own] - self.days.first, np.arange(self.days.days)
        terms = np.stack([opened.issued[own] - self.days.first, due])
        paths, path = np.unique(terms, axis=1, return_inverse=True)
        return Paying(
            vat=float(self.account.vat),
            vat_day=self.days.vat_day(number, self.account),
            works=self.days.works,
            due_days=int(self.terms.due_days),
            write_off_days=int(pays.write_off_days),
            **spells_of(pays, np.append(day, paths[0]), np.append(day + self.terms.due_days, paths[1])),
            path=day.size + path.reshape(-1),
            due=due,
            gross=self.open.cents,
            code=opened.code[own].astype(np.int64),
            band_of=opened.band[own].astype(np.int64),
            open_never=np.ascontiguousarray(pays.open_never[:, own]),
            open_odds=self._odds(own),
            parted=opened.part[own] > NO_PART,
            key=keys(self.seed, "open invoice", [opened.ids[i] for i in own]),
            currency=places(opened.currency[own], self.currencies),
            fx_key=keys(self.seed, "exchange", self.currencies),
            fx_daily=float(self.account.volatility / np.sqrt(YEAR)) if self.currencies else 0.0,
        )

    def _odds(self, own: Ints) -> Floats:
        """Odds of presumed invoices to be unpaid: by Bayes never / P(never | unpaid), see `Payments`."""
        if not self.presumed:
            return np.empty((0, own.size))
        never = self.payments.never[:, None]
        return np.minimum(never / np.maximum(self.payments.open_never[:, own], 1e-12), 1.0)

    @cached_property
    def scale(self) -> Scale:
        """What commission counts."""
        return scale(self.history, self.days.calendar, self.reps, self.months, self.quotas)

    @cached_property
    def paid(self) -> Paid:
        """Arrays of payments."""
        account, months, counted = self.account, self.months, self.scale
        payday = pay_days(months, account.payday, self.days)
        ends = np.array([int(day_number(m.last)) for m in months], dtype=np.int64)
        after = [self.days.next_working(ends + one.after_days) for one in account.variable]
        firsts = np.array([int(day_number(m.first)) for m in months[1:]], dtype=np.int64)
        number = np.arange(self.days.first, self.days.first + self.days.days)
        costs = self.costs or Costs()
        rate, more, again = costs.commission, costs.accelerator, costs.renewals
        nobody = np.asarray(self.reps, dtype=object) == NONE
        return Paid(
            round(100 * (account.opening or 0.0)),
            self._fixed(np.append(payday[1:], self.days.days), rate),
            np.searchsorted(firsts, number, side="right"),
            self.payroll,
            payday,
            np.append(payday[1:], self.days.days),
            np.where(nobody, 0.0, rate),
            float(more),
            np.append(np.where(nobody, 0.0, again), again),
            counted.quota,
            counted.resets,
            counted.booked,
            counted.before,
            np.array([one.share for one in account.variable]),
            np.array([BASES.index(one.of) for one in account.variable], dtype=np.int64),
            np.array([LINES.index(one.kind) for one in account.variable], dtype=np.int64),
            np.stack(after) if after else np.empty((0, len(months)), dtype=np.int64),
            self._known(firsts),
        )

    def _fixed(self, commission_day: Ints, rate: float) -> Ints:
        """What is the same in every future, shape (lines, days)."""
        out = planned_payments(self.account, self.days, LINES)
        for m, day in enumerate(commission_day):
            if 0 <= day < self.days.days:
                out[LINES.index("commission"), day] -= round(rate * self.scale.others[m])
        late = np.maximum(self.open.refund_day, self.days.first)
        for day, cents in zip(self.days.next_working(late), self.open.refund_cents, strict=True):
            if day < self.days.days:
                out[LINES.index("invoices"), day] -= cents
        out[LINES.index("vat")] += self.past_tax
        return out

    @cached_property
    def past_tax(self) -> Ints:
        """Tax of invoices sent and not yet settled with the tax office, shape (days,); below zero."""
        out = np.zeros(self.days.days, dtype=np.int64)
        cents, number = self.sent[0] - self.sent[1], day_number(self.history.invoices["issued_on"])
        if self.presumed:
            opened = self.payments.open
            gross = np.rint(100.0 * opened.amount).astype(np.int64)
            cents, number = gross - np.rint(gross / (1.0 + self.account.vat)).astype(np.int64), opened.issued
        recent = (number <= self.today) & (number > self.today - 400) & (cents != 0)
        day = self.days.vat_day(number[recent], self.account)
        inside = (day >= 0) & (day < out.size)
        np.subtract.at(out, day[inside], cents[recent][inside])
        return out

    def _known(self, firsts: Ints) -> Ints:
        """Bookings, billings and receipts up to the as-of date by month, shape (bases, months)."""
        rows, deals, net = self.history.invoices, self.signed, self.sent[1]
        out = np.zeros((len(BASES), firsts.size + 1), dtype=np.int64)
        start = int(day_number(self.months[0].first))
        for base, (number, cents) in enumerate(
            (
                (deals.close, deals.cents),
                (day_number(rows["issued_on"]), net),
                self._received,
            )
        ):
            inside = (number >= start) & (number <= self.today)
            np.add.at(out[base], np.searchsorted(firsts, number[inside], side="right"), cents[inside])
        return out

    @property
    def _received(self) -> tuple[Ints, Ints]:
        """Day numbers and cents of receipts so far: the parts, and on the last day what they left."""
        rows, gross = self.history.invoices, self.sent[0]
        paid, pays = day_number(rows["paid_on"]), self.history.payments
        at = pd.Index(rows["invoice_id"]).get_indexer(pd.Index(pays["invoice_id"]))
        day = day_number(pays["paid_on"])
        part = (at >= 0) & (rows["paid_on"].isna().to_numpy()[at] | (day < paid[at]))
        cents = np.rint(100.0 * pays["amount"].to_numpy(dtype=float) * (1.0 + self.tax_on_top))
        cents = np.where(part, cents, 0.0).astype(np.int64)
        left = gross.copy()
        np.subtract.at(left, at[part], cents[part])
        return np.append(paid, day), np.append(left, cents)


def months_back(account: Account) -> int:
    """Whole months before the first simulated day whose payments may still be due."""
    return max((one.after_days for one in account.variable), default=0) // 28 + 2


@dataclass(frozen=True)
class CashPaths:
    """Cash of every future.

    Attributes
    ----------
    spans : tuple of Period
        Weeks and months, cut to the simulated days.
    lines : ndarray of int64, shape (futures, spans, lines)
        Cents by line of :data:`LINES`; payments are below zero.
    closing, low : ndarray of int64, shape (futures, spans)
        Balance on the last evening, and on the lowest.
    least : ndarray of int64, shape (futures,)
        The lowest evening of all.
    check : ndarray of int64, shape (futures, 6)
        Invoiced with tax, received from customers, written off, owed at the end, gained by rates of exchange,
        owed at the as-of date.
    opening : int
        Cents.
    """

    spans: tuple[Period, ...]
    lines: Ints
    closing: Ints
    low: Ints
    least: Ints
    check: Ints
    opening: int

    @property
    def draws(self) -> int:
        """Number of futures."""
        return int(self.least.size)


def cash_paths(
    ledger: Ledger,
    spans: Sequence[Period],
    *,
    futures: int | None = None,
    turned: tuple[str, ...] = (),
    told: Callable[[float], None] | None = None,
) -> CashPaths:
    """Run the four clocks over all futures.

    Parameters
    ----------
    spans : sequence of Period
        Weeks and months, cut where the simulation begins.
    futures : int, optional
        Only the first so many.
    turned : tuple of {"invoicing", "payment"}
        Clocks that show another future's random numbers, half of them further on.
    """
    n = min(futures or ledger.wins.draws, ledger.wins.draws)
    own = np.arange(n, dtype=np.int64)
    other = np.roll(own, n // 2)
    pay_no = other if "payment" in turned else own
    bill_no = other if "invoicing" in turned else own
    drawn = ledger.payments.block(0, n)
    parameter, months = drawn["parameter"][pay_no], np.ascontiguousarray(drawn["month"][pay_no])
    span = Spans(
        np.array([int(day_number(p.first)) - ledger.days.first for p in spans], dtype=np.int64),
        np.array([int(day_number(p.last)) - ledger.days.first for p in spans], dtype=np.int64),
    )
    signing, billing, paying, paid = ledger.signing, ledger.billing, ledger.paying, ledger.paid
    room, done = ledger.room, 0
    lines = np.zeros((n, len(spans), len(LINES)), dtype=np.int64)
    closing = np.zeros((n, len(spans)), dtype=np.int64)
    low, least, check = (
        np.zeros_like(closing),
        np.zeros((n, 1), dtype=np.int64),
        np.zeros((n, 6), dtype=np.int64),
    )

    def block(number: int) -> int:
        which, place = ledger.wins.futures(number)
        which, place = which[which < n], place[which < n]
        if not which.size:
            return 0
        begins, cells, values = zip(*ledger.wins.block(number), strict=True)
        run_cash(
            begins, cells, values, place, which, ledger.days.days, signing, billing, paying, paid, span,
            bill_no, pay_no, parameter, months, room, lines, closing, low, least, check,
        )  # fmt: skip
        return int(which.size)

    with ThreadPoolExecutor(numba.get_num_threads()) as pool:
        for count in pool.map(block, range(ledger.wins.blocks)):
            done += count
            if told:
                told(done / n)
    return CashPaths(tuple(spans), lines, closing, low, least[:, 0], check, paid.opening)
