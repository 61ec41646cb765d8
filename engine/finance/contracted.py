"""What is signed already: the invoices its deals have yet to get, what they have yet to earn, who owes what.

Where the data link most recent wins to their invoices, what a deal was invoiced so far is read off them;
otherwise the invoices that its terms put up to the as-of date count as sent. What should have been invoiced
by now goes out on the first day to come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from quotacast.engine.finance.schedule import (
    DEFAULT_MONTHS,
    MILLION,
    Ints,
    Terms,
    add_months,
    earned_before,
    rounded,
)
from quotacast.models.history.history import History
from quotacast.models.margins import booked_margins
from quotacast.models.parts import NO_PART
from quotacast.models.payers import Classes, OpenInvoices
from quotacast.models.terms import Floats
from quotacast.models.timegrid import day_number

#: Invoices are read off the data where so large a part of the last year's wins has one.
LINKED = 0.5
#: A deal whose invoices were all due for longer than this and never came is left out, and said so.
FORGOTTEN_DAYS = 180
#: Waits from close to invoice are learned from deals closed at least so many days ago, and not longer ones.
LAG_DAYS = 90


@dataclass(frozen=True)
class Signed:
    """Won deals up to the as-of date, arrays of shape (deals,); days are day numbers.

    Attributes
    ----------
    ids, customer, rep, currency : ndarray of object
    close, months : ndarray of int64
        Day of the close, and months that the deal runs.
    cents, margin : ndarray of int64
        Amount and gross margin (0 where not known).
    invoiced : ndarray of int64
        Cents without tax invoiced so far.
    by_invoice : bool
        Whether that was read off invoices.
    lags : ndarray of int64
        Days from close to the first invoice, as often as they came; empty where none are known.
    """

    ids: np.ndarray
    customer: np.ndarray
    rep: np.ndarray
    currency: np.ndarray
    close: Ints
    months: Ints
    cents: Ints
    margin: Ints
    invoiced: Ints
    by_invoice: bool
    lags: Ints

    def by_term(self) -> list[tuple[int, Ints]]:
        """Each length of a term with the deals that have it."""
        return [(int(m), np.flatnonzero(self.months == m)) for m in np.unique(self.months)]


def tax_on_top(history: History, vat: float) -> float:
    """Part of the tax that the amounts of the invoices lack: ``vat`` where they are without tax, else 0.

    Read off deals and their invoices, whichever fits better; with tax where nothing links them.
    """
    rows, deals = history.invoices, history.opportunities
    sums = rows[(rows["amount"] > 0).to_numpy()].groupby("opportunity_id")["amount"].sum()
    booked = deals[(deals["amount"] > 0).to_numpy()].set_index("opportunity_id")["amount"]
    ratio = (sums / booked).dropna()
    if not len(ratio) or vat <= 0:
        return 0.0
    typical = float(np.log(ratio.median()))
    return vat if abs(typical) < abs(typical - np.log1p(vat)) else 0.0


def signed_deals(history: History, terms: Terms, term_months: int | None, tax_within: float) -> Signed:
    """Collect the won deals of a history.

    Parameters
    ----------
    term_months : int or None
        Term of deals whose own is not known.
    tax_within : float
        Invoices of the data hold this much tax on top of the amounts of their deals.
    """
    table = history.opportunities
    won = np.flatnonzero((table["status"] == "won").to_numpy() & table["closed_on"].notna().to_numpy())
    won = won[np.argsort(table["opportunity_id"].to_numpy(dtype=object)[won].astype(str), kind="stable")]
    deals = table.iloc[won]
    months = deals["term_months"].fillna(term_months or DEFAULT_MONTHS).clip(1, 120).round()
    margin = np.nan_to_num(booked_margins(history)[won])
    found = Signed(
        deals["opportunity_id"].to_numpy(dtype=object),
        deals["customer_id"].to_numpy(dtype=object),
        deals["rep_id"].to_numpy(dtype=object),
        deals["currency"].to_numpy(dtype=object),
        day_number(deals["closed_on"]),
        months.to_numpy(dtype=np.int64),
        _cents(deals["amount"].fillna(0.0).to_numpy(dtype=float)),
        _cents(margin),
        np.zeros(len(deals), dtype=np.int64),
        False,
        np.empty(0, dtype=np.int64),
    )
    return _invoiced(found, history, terms, tax_within)


def _invoiced(deals: Signed, history: History, terms: Terms, tax_within: float) -> Signed:
    """With what was invoiced so far."""
    today = int(day_number(history.as_of_date))
    rows = history.invoices
    rows = rows[rows["opportunity_id"].notna().to_numpy() & (rows["amount"] > 0).to_numpy()]
    linked = rows.groupby("opportunity_id").agg(amount=("amount", "sum"), issued=("issued_on", "min"))
    linked = linked.reindex(deals.ids)
    has = linked["amount"].notna().to_numpy()
    recent = (deals.close > today - 365) & (deals.close <= today - LAG_DAYS // 3)
    if not recent.any() or has[recent].mean() < LINKED:
        return replace(deals, invoiced=due_so_far(deals, terms, today))
    sent = _cents(linked["amount"].fillna(0.0).to_numpy(dtype=float) / (1.0 + tax_within))
    sent = np.where(sent >= deals.cents - 1, deals.cents, sent)  # tax was rounded; no more than was booked
    first = np.zeros(deals.close.size, dtype=np.int64)
    for months, which in deals.by_term():
        first[which] = terms.invoiced(deals.close[which], months)[:, 0]
    wait = day_number(linked["issued"].fillna(history.as_of_date)) - first
    known = has & (deals.close <= today - LAG_DAYS) & (wait >= 0) & (wait <= LAG_DAYS)
    return replace(deals, invoiced=sent, by_invoice=True, lags=np.sort(wait[known]))


def due_so_far(deals: Signed, terms: Terms, today: int) -> Ints:
    """Cents that the terms put up to a day."""
    out = np.zeros(deals.close.size, dtype=np.int64)
    for months, which in deals.by_term():
        parts = terms.parts(months)
        passed = (terms.invoiced(deals.close[which], months) <= today).sum(axis=1)
        out[which] = rounded(deals.cents[which], parts[passed], parts[-1])
    return out


@dataclass(frozen=True)
class Coming:
    """Invoices that signed deals have yet to get: day (counted from the first to come), cents, deal."""

    day: Ints
    cents: Ints
    deal: Ints
    forgotten: Ints


def coming_invoices(deals: Signed, terms: Terms, lags: Ints, today: int, days: int) -> Coming:
    """Invoices to come of signed deals within ``days`` days.

    A deal that was never invoiced waits on for the mean of the waits that are still possible.
    """
    day, cents, deal, forgotten = [], [], [], []
    for months, which in deals.by_term():
        planned, share = terms.invoiced(deals.close[which], months), terms.parts(months)
        upto = rounded(deals.cents[which][:, None], share[None, :], share[-1])
        sent = deals.invoiced[which][:, None]
        left = np.maximum(upto[:, 1:], sent) - np.maximum(upto[:, :-1], sent)
        never = (sent == 0).ravel() if deals.by_invoice else np.zeros(which.size, dtype=bool)
        wait = np.where(never, _waits(today - planned[:, 0], lags), 0)
        when = np.maximum(planned + wait[:, None] - (today + 1), 0)
        lost = (planned[:, -1] < today - FORGOTTEN_DAYS) & (left.sum(axis=1) > 0)
        row, part = np.nonzero((left > 0) & (when < days) & ~lost[:, None])
        day.append(when[row, part])
        cents.append(left[row, part])
        deal.append(which[row])
        forgotten.append(which[lost])
    return Coming(*(np.concatenate([np.empty(0, dtype=np.int64), *x]) for x in (day, cents, deal, forgotten)))


def _waits(age: Ints, lags: Ints) -> Ints:
    """Mean wait of those longer than the present age, rounded; the age and a day where there are none."""
    ordered = np.sort(lags)
    above = np.searchsorted(ordered, age, side="right")
    sums = np.append(np.cumsum(ordered[::-1])[::-1], 0)
    left = ordered.size - above
    mean = np.where(left > 0, sums[np.minimum(above, ordered.size)] / np.maximum(left, 1), age + 1)
    return np.asarray(np.rint(mean), dtype=np.int64)


def months_ending(deals: Signed, terms: Terms, today: int, days: int) -> tuple[Ints, Ints]:
    """Deals whose term ends within the days to come, and the day (counted from the first to come)."""
    ends = np.zeros(deals.close.size, dtype=np.int64)
    for months, which in deals.by_term():
        ends[which] = add_months(deals.close[which], months) - (today + 1)
    which = np.flatnonzero((ends >= 0) & (ends < days) & (deals.cents > 0))
    return which, ends[which]


def earned_until(deals: Signed, terms: Terms, edges: Sequence[int] | Ints) -> tuple[Ints, Ints]:
    """Cents and margin that each deal has earned before each day, shape (edges, deals)."""
    cents = np.zeros((len(edges), deals.close.size), dtype=np.int64)
    margin = np.zeros_like(cents)
    edge = np.asarray(edges, dtype=np.int64)[:, None]
    for months, which in deals.by_term():
        begin, end = terms.earned(deals.close[which], months)
        cents[:, which] = earned_before(deals.cents[which], begin, end, edge)
        margin[:, which] = earned_before(deals.margin[which], begin, end, edge)
    return cents, margin


def presumed_invoices(
    deals: Signed, terms: Terms, vat: float, today: int, since: int, classes: Classes
) -> OpenInvoices:
    """Invoices that the terms put in the last days, where no table tells which of them are paid.

    Parameters
    ----------
    since : int
        First day number of their issue.
    classes : Classes
        Who pays.
    """
    which, day, cents = [], [], []
    for months, own in deals.by_term():
        planned, share = terms.invoiced(deals.close[own], months), terms.parts(months)
        parts = np.diff(rounded(deals.cents[own][:, None], share[None, :], share[-1]), axis=1)
        row, part = np.nonzero((planned >= since) & (planned <= today) & (parts > 0))
        which.append(own[row])
        day.append(planned[row, part])
        cents.append(parts[row, part])
    none = np.empty(0, dtype=np.int64)
    deal, issued, net = (np.concatenate([none, *x]) for x in (which, day, cents))
    gross = (net + rounded(net, np.rint(vat * MILLION).astype(np.int64), MILLION)) / 100.0
    names = [f"{deals.ids[d]} {i}" for d, i in zip(deal, issued, strict=True)]
    zero = np.zeros(deal.size, dtype=np.int32)
    code = classes.code([str(c) for c in deals.customer[deal]], [None] * deal.size)
    return OpenInvoices(
        tuple(names), deals.customer[deal], deals.ids[deal], code, zero, zero, issued,
        issued + terms.due_days, gross, gross, np.full(deal.size, None, dtype=object),
        np.full(deal.size, NO_PART),
    )  # fmt: skip


@dataclass(frozen=True)
class Receivables:
    """Open invoices after credit notes are netted; arrays of shape (n,).

    Attributes
    ----------
    rows : ndarray of int64
        Places in :class:`OpenInvoices`.
    cents : ndarray of int64
        What is owed, at the as-of date's rates of exchange.
    refund_day, refund_cents : ndarray of int64
        What is owed to customers: credit notes with nothing left to net, by day number.
    netted : int
        Cents of credit notes that were netted.
    """

    rows: Ints
    cents: Ints
    refund_day: Ints
    refund_cents: Ints
    netted: int


def receivables(opened: OpenInvoices, revalued: Floats) -> Receivables:
    """Net credit notes against the open invoices of the same customer, the oldest due first.

    Parameters
    ----------
    revalued : ndarray, shape (n,)
        Factors from the rates of the issue to those of the as-of date.
    """
    cents = _cents(opened.amount * revalued)
    before = int(cents[cents > 0].sum())
    days, refunds = [], []
    owed: dict[object, list[int]] = {}
    for i in np.argsort(opened.due, kind="stable"):
        if cents[i] > 0:
            owed.setdefault(opened.customer[i], []).append(int(i))
    for i in np.flatnonzero(cents < 0):
        left = -int(cents[i])
        for k in owed.get(opened.customer[i], []) if opened.customer[i] is not None else []:
            taken = min(left, int(cents[k]))
            cents[k] -= taken
            left -= taken
        if left:
            days.append(int(opened.due[i]))
            refunds.append(left)
    rows = np.flatnonzero(cents > 0)
    return Receivables(
        rows,
        cents[rows],
        np.array(days, dtype=np.int64),
        np.array(refunds, dtype=np.int64),
        before - int(cents[rows].sum()),
    )


def revaluation(opened: OpenInvoices, history: History) -> Floats:
    """Factors from the rate of exchange on the day of issue to the one on the as-of date, shape (n,)."""
    import pandas as pd

    from quotacast.models.history.money import factors

    codes = pd.Series(opened.currency, dtype=object)
    then = pd.Series(opened.issued.astype("datetime64[D]").astype("datetime64[ns]"))
    now = pd.Series(np.full(len(opened), np.datetime64(history.as_of_date, "ns")))
    ratio = factors(codes, now, history.rates, history.currency) / factors(
        codes, then, history.rates, history.currency
    )
    return np.where(np.isfinite(ratio), ratio, 1.0)


def _cents(money: Floats) -> Ints:
    return np.asarray(np.rint(money * 100.0), dtype=np.int64)
