"""From simulated wins to cash: everything that the compiled loops read, and running them over all futures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numba
import numpy as np
import pandas as pd

from quotacast.engine.finance.account import Account, Days, pay_days, planned_payments
from quotacast.engine.finance.commission import RepQuotas, Scale, scale
from quotacast.engine.finance.contracted import (
    Coming,
    Receivables,
    Signed,
    coming_invoices,
    months_ending,
    receivables,
    revaluation,
    signed_deals,
    tax_on_top,
)
from quotacast.engine.finance.entries import Wins
from quotacast.engine.finance.kernel import Billing, Signing
from quotacast.engine.finance.kernel_close import BASES, LINES, Paid, Spans, run_cash
from quotacast.engine.finance.kernel_pay import Paying, spells_of
from quotacast.engine.finance.schedule import DEFAULT_MONTHS, Ints, Schedules, Terms
from quotacast.engine.payments import Payments
from quotacast.engine.selling import Costs
from quotacast.engine.streams import keys
from quotacast.models.history.history import History
from quotacast.models.history.schema import NONE
from quotacast.models.parts import NO_PART
from quotacast.models.periods import Period
from quotacast.models.terms import Floats
from quotacast.models.timegrid import day_number

#: Trading days are all days: a year's volatility over its days.
YEAR = 365.0


@dataclass(frozen=True)
class Ledger:
    """Everything that decides what becomes of the wins.

    Attributes
    ----------
    history : History
    wins : Wins
        In daily steps from the day after the as-of date.
    reps : tuple of str
        Seats of the wins.
    days : Days
    terms : Terms
    account : Account
    payments : Payments
    costs : Costs or None
    payroll : ndarray of int64, shape (1 or futures, months)
        What reps earn in the months of :attr:`months`, without commission.
    quotas : mapping
        Of reps on bookings, for commission above quota.
    term_months, invoice_days : int or None
        As the plan states them.
    seed : int
    presumed : bool
        Whether the open invoices are those of the terms, of which nobody knows which are paid.
    """

    history: History
    wins: Wins
    reps: tuple[str, ...]
    days: Days
    terms: Terms
    account: Account
    payments: Payments
    costs: Costs | None
    payroll: Ints
    quotas: RepQuotas
    term_months: int | None
    invoice_days: int | None
    seed: int
    presumed: bool = False

    @property
    def today(self) -> int:
        """Day number of the as-of date."""
        return self.days.first - 1

    @cached_property
    def months(self) -> tuple[Period, ...]:
        """Months from the first whose commission or variable payment may still be due."""
        return self.days.months(months_back(self.account))

    @cached_property
    def signed(self) -> Signed:
        """Deals won up to the as-of date."""
        return signed_deals(self.history, self.terms, self.term_months, self.account.vat - self.tax_on_top)

    @cached_property
    def tax_on_top(self) -> float:
        """Value-added tax that the data's invoice amounts lack: the plan's rate, or 0 where they hold it."""
        return tax_on_top(self.history, self.account.vat)

    @cached_property
    def sent(self) -> tuple[Ints, Ints]:
        """Cents of the data's invoices with and without tax."""
        amount = 100.0 * self.history.invoices["amount"].to_numpy(dtype=float)
        gross = np.rint(amount * (1.0 + self.tax_on_top)).astype(np.int64)
        return gross, np.rint(gross / (1.0 + self.account.vat)).astype(np.int64)

    @cached_property
    def lags(self) -> Ints:
        """Days from close to the first invoice, each as likely."""
        if self.invoice_days is not None:
            return np.array([self.invoice_days], dtype=np.int64)
        return self.signed.lags if self.signed.lags.size else np.zeros(1, dtype=np.int64)

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
    def ending(self) -> tuple[Ints, Ints]:
        """Signed deals whose term ends, and when."""
        none = np.empty(0, dtype=np.int64)
        if self.terms.renewal <= 0:
            return none, none
        return months_ending(self.signed, self.terms, self.today, self.days.days)

    @cached_property
    def term_lengths(self) -> tuple[tuple[int, ...], Floats]:
        """Lengths of terms, and cumulative shares among new deals of the first of them."""
        if self.term_months is not None:
            own, share = np.array([self.term_months]), np.ones(1)
        else:
            deals = self.history.opportunities
            known = deals.loc[(deals["status"] == "won").to_numpy(), "term_months"].dropna()
            found = known.clip(1, 120).round().to_numpy(dtype=np.int64)
            own, count = np.unique(found if found.size else [DEFAULT_MONTHS], return_counts=True)
            share = np.cumsum(count) / count.sum()
        more = [int(m) for m in np.unique(self.signed.months[self.ending[0]]) if m not in own]
        return (*(int(m) for m in own), *more), share

    @cached_property
    def schedules(self) -> Schedules:
        """Terms as tables."""
        return Schedules.of(self.terms, self.term_lengths[0], self.days.first, self.days.days)

    @cached_property
    def signing(self) -> Signing:
        """Arrays of the signing clock."""
        which, day = self.ending
        place = {months: i for i, months in enumerate(self.schedules.months)}
        seat = {rep: i for i, rep in enumerate(self.reps)}
        return Signing(
            np.stack([keys(self.seed, f"deal {kind}", self.reps) for kind in ("open", "new")], axis=1),
            self.term_lengths[1],
            self.schedules.ends.astype(np.int64),
            float(self.terms.renewal),
            self.lags,
            day,
            self.signed.cents[which],
            self.signed.margin[which],
            np.array([place[int(m)] for m in self.signed.months[which]], dtype=np.int64),
            keys(self.seed, "renewal", [str(i) for i in self.signed.ids[which]]),
            np.array([seat.get(rep, -1) for rep in self.signed.rep[which]], dtype=np.int64),
        )

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
            keys(self.seed, "invoice to come", names),
        )

    @cached_property
    def paying(self) -> Paying:
        """Arrays of the payment clock."""
        pays, opened, own = self.payments, self.payments.open, self.open.rows
        number = np.arange(self.days.first, self.days.first + self.days.days)
        codes = [c if c and c != self.history.currency else "" for c in opened.currency[own]]
        foreign = sorted({c for c in codes if c})
        due = opened.due[own] - self.days.first
        day = np.arange(self.days.days)
        return Paying(
            vat=float(self.account.vat),
            vat_day=self.days.vat_day(number, self.account),
            works=self.days.works,
            due_days=int(self.terms.due_days),
            write_off_days=int(pays.write_off_days),
            **spells_of(
                pays,
                np.append(day, opened.issued[own] - self.days.first),
                np.append(day + self.terms.due_days, due),
            ),
            due=due,
            gross=self.open.cents,
            code=opened.code[own].astype(np.int64),
            band_of=opened.band[own].astype(np.int64),
            open_never=np.ascontiguousarray(pays.open_never[:, own]),
            open_odds=self._odds(own),
            parted=opened.part[own] > NO_PART,
            key=keys(self.seed, "open invoice", [opened.ids[i] for i in own]),
            currency=np.array([foreign.index(c) if c else -1 for c in codes], dtype=np.int64),
            fx_key=keys(self.seed, "exchange", foreign),
            fx_daily=float(self.account.volatility / np.sqrt(YEAR)) if foreign else 0.0,
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
        self._tax_of_the_past(out[LINES.index("vat")])
        return out

    def _tax_of_the_past(self, out: Ints) -> None:
        """Tax of invoices that are sent and not yet settled with the tax office."""
        cents, number = self.sent[0] - self.sent[1], day_number(self.history.invoices["issued_on"])
        if self.presumed:
            opened = self.payments.open
            gross = np.rint(100.0 * opened.amount).astype(np.int64)
            cents, number = gross - np.rint(gross / (1.0 + self.account.vat)).astype(np.int64), opened.issued
        recent = (number <= self.today) & (number > self.today - 400) & (cents != 0)
        day = self.days.vat_day(number[recent], self.account)
        inside = (day >= 0) & (day < out.size)
        np.subtract.at(out, day[inside], cents[recent][inside])

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

    def room(self, extra: bool = True) -> int:
        """Deals that a future may hold at most."""
        most = max(
            int(np.bincount(np.repeat(np.arange(begin.size - 1), np.diff(begin)), count).max(initial=0))
            for begin, _, count in (self.wins.block(b)[0] for b in range(self.wins.blocks))
        )
        again = self.days.days // (28 * min(self.schedules.months)) if self.terms.renewal > 0 else 0
        return (most + self.ending[0].size) * (1 + again) + 1


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
    room, done = ledger.room(), 0
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
