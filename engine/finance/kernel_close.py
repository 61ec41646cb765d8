"""The compiled loops that close the books of a draw: cash day by day, revenue month by month."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numba
import numpy as np

from quotacast.engine.finance.kernel import KINDS, RENEWAL, bill, sign_deals
from quotacast.engine.finance.kernel_pay import exchange_rates, pay, pay_open

#: Lines of cash: receipts by where they come from, then payments (below zero).
RECEIPTS = ("invoices", *KINDS)
PAYMENTS = ("payroll", "commission", "supplier", "vat", "tax", "debt")
LINES = (*RECEIPTS, *PAYMENTS)
_FROM = len(RECEIPTS)
_COMMISSION, _VAT = LINES.index("commission"), LINES.index("vat")
#: What a variable payment is a part of.
BASES = ("bookings", "billings", "receipts")
#: What revenue is told of: flows of a month, and stocks at its end.
FLOWS = ("bookings", "billings", "revenue", "gross_margin")
STOCKS = ("backlog", "deferred", "unbilled")
MEASURES = (*FLOWS, *STOCKS)


class Paid(NamedTuple):
    """Payments of the plan; months from the first whose commission or variable payment is still due."""

    opening: Any
    fixed: Any  # (lines, days) what is the same in every future, signed
    month_of_day: Any  # (days,) month
    payroll: Any  # (1 or futures, months) cents
    payday: Any  # (months,) day of the payroll, -1: paid already
    commission_day: Any  # (months,)
    rate: Any  # (reps,) commission
    accelerator: Any
    renewals: Any  # (reps + 1,) commission on terms signed anew, last that of reps who are there no longer
    quota: Any  # (reps, months) cents of the quota that a month belongs to, 0 without one
    resets: Any  # (months,) 1 where a quota begins
    booked: Any  # (reps, months) cents booked up to the as-of date
    before: Any  # (reps,) cents booked before the first month towards the quota of then
    part: Any  # (variable,) share
    of: Any  # (variable,) place in BASES
    line: Any  # (variable,) place in LINES
    day: Any  # (variable, months)
    known: Any  # (bases, months) cents up to the as-of date


class Spans(NamedTuple):
    """Weeks and months into which cash is put together, and where it stands at their ends."""

    first: Any  # (spans,) first day
    last: Any


@numba.njit(cache=True, nogil=True)
def book(begins, cells, values, place, days, month_of_day, booked):
    """Add what a draw's deals are worth to ``booked`` (reps, months)."""
    for i in range(begins[1][place], begins[1][place + 1]):
        cell = cells[1][i]
        booked[cell // days // 2, month_of_day[cell % days]] += values[1][i]


@numba.njit(cache=True, nogil=True)
def earned_by(cents, begin, end, day):
    """Cents earned before a day, as :func:`quotacast.engine.finance.schedule.earned_before`."""
    if day <= begin:
        return 0
    if day >= end:
        return cents
    return (2 * cents * (day - begin) + end - begin) // (2 * (end - begin))


@numba.njit(cache=True, nogil=True)
def commissions(booked, paid, flows):
    """Commission by rep: the rate, and its multiple on what goes beyond the quota of the period."""
    days = flows.shape[1]
    for r in range(booked.shape[0]):
        total = paid.before[r]
        for m in range(booked.shape[1]):
            if paid.resets[m]:
                total = 0
            quota, amount = paid.quota[r, m], booked[r, m]
            above = 0
            if quota > 0:
                above = max(total + amount - quota, 0) - max(total - quota, 0)
            total += amount
            earned = paid.rate[r] * (amount + (paid.accelerator - 1.0) * above)
            day = paid.commission_day[m]
            if 0 <= day < days:
                flows[_COMMISSION, day] -= math.floor(earned + 0.5)


@numba.njit(cache=True, nogil=True)
def renewal_commission(n_deals, deals, paid, flows, earned):
    """Commission on terms signed anew, a plain share of a month's; ``earned`` (months,) is room."""
    days = flows.shape[1]
    earned[:] = 0.0
    for i in range(n_deals):
        if deals[3, i] == RENEWAL:
            earned[paid.month_of_day[deals[0, i]]] += paid.renewals[deals[6, i]] * deals[1, i]
    for m in range(earned.shape[0]):
        day = paid.commission_day[m]
        if 0 <= day < days:
            flows[_COMMISSION, day] -= math.floor(earned[m] + 0.5)


@numba.njit(cache=True, nogil=True)
def variable_payments(n, invoices, booked, paid, flows, totals):
    """Payments that are a part of a month's bookings, billings or receipts."""
    days = flows.shape[1]
    totals[:] = paid.known
    for m in range(booked.shape[1]):
        for r in range(booked.shape[0]):
            totals[0, m] += booked[r, m] - paid.booked[r, m]
    for i in range(n):
        totals[1, paid.month_of_day[invoices[0, i]]] += invoices[1, i]
    for line in range(_FROM):
        for t in range(days):
            totals[2, paid.month_of_day[t]] += flows[line, t]
    for v in range(paid.part.shape[0]):
        for m in range(totals.shape[1]):
            day = paid.day[v, m]
            if 0 <= day < days:
                flows[paid.line[v], day] -= math.floor(paid.part[v] * totals[paid.of[v], m] + 0.5)


@numba.njit(cache=True, nogil=True)
def run_cash(
    begins, cells, values, place, future, days, signing, billing, paying, paid, spans, bill_no, pay_no,
    parameter, months, room, out_lines, out_close, out_low, out_least, out_check,
):  # fmt: skip
    """Cash of the futures of a block.

    Writes per future: ``out_lines`` (spans, lines), ``out_close`` and ``out_low`` (spans,) the balance at
    the end and its lowest evening, ``out_least`` the lowest evening of all, and ``out_check`` (6,): invoiced
    with tax, received, written off, owed at the end, gained by rates of exchange, owed at the as-of date.
    """
    lines = len(LINES)
    deals, streams = np.empty((8, room), dtype=np.int64), np.empty(room, dtype=np.uint64)
    most = room * billing.invoiced.shape[2] + billing.day.shape[0]
    invoices = np.empty((5, most), dtype=np.int64)
    owners, keys = np.empty(most, dtype=np.uint64), np.empty(most, dtype=np.uint64)
    first = np.empty(room + 1, dtype=np.int64)
    flows = np.empty((lines, days), dtype=np.int64)
    tax, written = np.empty(days, dtype=np.int64), np.empty(days, dtype=np.int64)
    owed = np.zeros(1, dtype=np.int64)
    booked, totals = np.empty_like(paid.booked), np.empty_like(paid.known)
    earned = np.empty(paid.payday.shape[0])
    rates = np.ones((paying.fx_key.shape[0], days))
    for j in range(place.shape[0]):
        d = future[j]
        flows[:] = paid.fixed
        tax[:] = 0
        written[:] = 0
        owed[0] = 0
        n_deals = sign_deals(begins, cells, values, place[j], days, signing, d, bill_no[d], deals, streams)
        n = bill(n_deals, deals, streams, billing, invoices, owners, keys, first)
        if paying.fx_daily > 0.0:
            exchange_rates(paying.fx_key, paying.fx_daily, pay_no[d], rates)
        receipts = flows[:_FROM]
        p, month, no = parameter[d], months[d], pay_no[d]
        moved = pay(n, invoices, owners, keys, paying, p, month, no, rates, receipts, tax, written, owed)
        gained, opening = pay_open(paying, p, month, no, rates, receipts, written, owed)
        booked[:] = paid.booked
        book(begins, cells, values, place[j], days, paid.month_of_day, booked)
        if paid.rate.any():
            commissions(booked, paid, flows)
        if paid.renewals.any():
            renewal_commission(n_deals, deals, paid, flows, earned)
        if paid.part.shape[0] > 0:
            variable_payments(n, invoices, booked, paid, flows, totals)
        for t in range(days):
            flows[_VAT, t] -= tax[t]
        mine = paid.payroll[d if paid.payroll.shape[0] > 1 else 0]
        for m in range(mine.shape[0]):
            if 0 <= paid.payday[m] < days:
                flows[_FROM, paid.payday[m]] -= mine[m]
        close(flows, paid.opening, spans, out_lines[d], out_close[d], out_low[d], out_least[d])
        check = out_check[d]
        for i in range(n):
            check[0] += invoices[1, i] + math.floor(invoices[1, i] * paying.vat + 0.5)
        for line in range(_FROM):
            for t in range(days):
                check[1] += receipts[line, t] - paid.fixed[line, t]
        check[2] = written.sum()
        check[3], check[4], check[5] = owed[0], gained + moved, opening


@numba.njit(cache=True, nogil=True)
def close(flows, opening, spans, lines, closing, low, least):
    """Put flows (lines, days) together by span, and follow the balance from evening to evening."""
    days = flows.shape[1]
    balance = np.empty(days, dtype=np.int64)
    now = opening
    least[0] = 1 << 62
    balance[:] = 0
    for line in range(flows.shape[0]):
        for t in range(days):
            balance[t] += flows[line, t]
    for t in range(days):
        now += balance[t]
        balance[t] = now
        least[0] = min(least[0], now)
    for s in range(spans.first.shape[0]):
        low[s] = 1 << 62
        for t in range(spans.first[s], spans.last[s] + 1):
            low[s] = min(low[s], balance[t])
        for line in range(flows.shape[0]):
            for t in range(spans.first[s], spans.last[s] + 1):
                lines[s, line] += flows[line, t]
        closing[s] = balance[spans.last[s]]


@numba.njit(cache=True, nogil=True)
def run_revenue(
    begins, cells, values, place, future, days, signing, billing, begin, end, edges, month_of_day, bill_no,
    room, out,
):  # fmt: skip
    """Bookings, billings and revenue of a block into ``out`` (futures, measures, kinds, months).

    ``edges`` (months,) is the day after each month; ``begin`` and ``end`` (terms, days) those of earning. The
    deals that are signed already are not among them: they are the same in every future.
    """
    deals, streams = np.empty((8, room), dtype=np.int64), np.empty(room, dtype=np.uint64)
    most = room * billing.invoiced.shape[2] + billing.day.shape[0]
    invoices = np.empty((5, most), dtype=np.int64)
    owners, keys = np.empty(most, dtype=np.uint64), np.empty(most, dtype=np.uint64)
    first = np.empty(room + 1, dtype=np.int64)
    for j in range(place.shape[0]):
        d = future[j]
        n_deals = sign_deals(begins, cells, values, place[j], days, signing, d, bill_no[d], deals, streams)
        bill(n_deals, deals, streams, billing, invoices, owners, keys, first)
        for i in range(n_deals):
            earn(deals[:, i], first[i], first[i + 1], invoices, begin, end, edges, month_of_day, out[d])


@numba.njit(cache=True, nogil=True)
def earn(deal, low, high, invoices, begin, end, edges, month_of_day, out):
    """Follow one deal from month to month until it is earned and invoiced in full."""
    day, cents, margin, kind, term = deal[0], deal[1], deal[2], deal[3], deal[4]
    since, until = begin[term, day], end[term, day]
    out[0, kind, month_of_day[day]] += cents
    billed = earned = margins = 0
    at = low
    for m in range(month_of_day[day], edges.shape[0]):
        before, sold, gained = billed, earned, margins
        while at < high and invoices[0, at] < edges[m]:
            billed += invoices[1, at]
            at += 1
        earned = earned_by(cents, since, until, edges[m])
        margins = earned_by(margin, since, until, edges[m])
        out[1, kind, m] += billed - before
        out[2, kind, m] += earned - sold
        out[3, kind, m] += margins - gained
        out[4, kind, m] += cents - earned
        out[5, kind, m] += max(billed - earned, 0)
        out[6, kind, m] += max(earned - billed, 0)
        if billed == cents and earned == cents:
            break
