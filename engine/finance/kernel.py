"""The compiled loops of the four clocks: deals are signed, invoiced, earned and paid, draw by draw.

Days are counted from the first simulated one; money is whole cents. Each clock has a draw number of its own
for its random numbers, so that one clock can be turned while the others stand still.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numba
import numpy as np

from quotacast.engine.payments import payment_day
from quotacast.engine.streams import GOLDEN, mix, unit

#: Who signed: already signed at the as-of date; open then; not yet created then; a term signed anew.
KINDS = ("signed", "open", "new", "renewal")
SIGNED, OPEN, NEW, RENEWAL = 0, 1, 2, 3
_U = np.uint64
# Make streams of their own out of a deal's.
_TERM, _LAG, _RENEW = _U(0x9FB21C651E98DF25), _U(0xD6E8FEB86659FD93), _U(0xA0761D6478BD642F)
_CLASS, _NEVER = _U(0xE7037ED1A0B428DB), _U(0x8EBC6AF09C88C6E3)


class Signing(NamedTuple):
    """What decides on which terms deals are signed, and signed anew."""

    key: Any  # (reps, components) streams
    term_share: Any  # (terms,) cumulative shares of the terms among new deals
    ends: Any  # (terms, days) day on which a term ends
    renewal: Any  # odds
    lag: Any  # days from close to the first invoice, each as likely as the others
    # signed deals whose term ends within the horizon
    due_day: Any  # (n,) day on which it ends
    due_cents: Any
    due_margin: Any
    due_term: Any
    due_key: Any


class Billing(NamedTuple):
    """When deals are invoiced, and the invoices that signed deals have yet to get."""

    parts: Any  # (terms,)
    invoiced: Any  # (terms, days, parts)
    share: Any  # (terms, parts + 1)
    day: Any  # (n,) of signed deals
    cents: Any
    code: Any  # class of its customer, -1 where not known
    key: Any


class Paying(NamedTuple):
    """How invoices are paid; see :class:`quotacast.engine.payments.Payments`."""

    vat: Any
    vat_day: Any  # (days,) on which the tax of invoices issued on a day is paid
    works: Any  # (days,) next working day
    due_days: Any
    write_off_days: Any
    factor: Any
    class_share: Any
    band_edges: Any
    band: Any
    never: Any
    cumulative: Any
    month_of_day: Any
    month_end: Any
    phase_edges: Any
    age_edges: Any
    hazard: Any
    # open invoices
    issued: Any
    due: Any
    gross: Any
    code: Any
    band_of: Any
    open_never: Any  # (posterior, n)
    key: Any
    currency: Any  # (n,) -1: the planning currency
    fx_key: Any  # (currencies,)
    fx_daily: Any  # standard deviation of a day's log rate


@numba.njit(cache=True, nogil=True)
def sign_deals(begins, cells, values, place, days, signing, sign_draw, bill_draw, deals, streams):
    """Write the deals of a draw into ``deals`` (6, room): day, cents, margin, kind, term, lag; return how many.

    ``begins``, ``cells``, ``values`` are triples (count, cents, margin) of :meth:`Wins.block`. Deals that
    are won on one day by one rep share their amount evenly.
    """
    n = 0
    second, third = begins[1][place], begins[2][place]
    for i in range(begins[0][place], begins[0][place + 1]):
        cell, count = cells[0][i], values[0][i]
        while second < begins[1][place + 1] and cells[1][second] < cell:
            second += 1
        while third < begins[2][place + 1] and cells[2][third] < cell:
            third += 1
        cents = values[1][second] if second < begins[1][place + 1] and cells[1][second] == cell else 0
        margin = values[2][third] if third < begins[2][place + 1] and cells[2][third] == cell else 0
        if cents == 0:
            continue
        day, row = cell % days, cell // days
        stream = mix(signing.key[row // 2, row % 2] + _U(day + 1) * GOLDEN)
        for k in range(count):
            own = mix(stream ^ mix(_U(k + 1)))
            part = (k + 1) * cents // count - k * cents // count
            earns = (k + 1) * margin // count - k * margin // count
            n = _sign(
                own, day, part, earns, 1 + row % 2, -1, signing, sign_draw, bill_draw, deals, streams, n
            )
    for i in range(signing.due_day.shape[0]):
        n = _sign(
            signing.due_key[i], signing.due_day[i], signing.due_cents[i], signing.due_margin[i], RENEWAL,
            signing.due_term[i], signing, sign_draw, bill_draw, deals, streams, n,
        )  # fmt: skip
    return n


@numba.njit(cache=True, nogil=True)
def _sign(own, day, cents, margin, kind, term, signing, sign_draw, bill_draw, deals, streams, n):
    """Write one deal and what it is renewed as; a renewal counts only if it comes about."""
    days = signing.ends.shape[1]
    lag = 0
    if term < 0:
        u = unit(mix(own ^ _TERM), _U(sign_draw))
        term = min(np.searchsorted(signing.term_share, u), signing.term_share.shape[0] - 1)
        lag = signing.lag[int(unit(mix(own ^ _LAG), _U(bill_draw)) * signing.lag.shape[0])]
    again = 0
    while day < days:
        if kind == RENEWAL:
            again += 1
            if unit(mix(own ^ mix(_RENEW + _U(again))), _U(bill_draw)) >= signing.renewal:
                break
        deals[0, n], deals[1, n], deals[2, n], deals[3, n] = day, cents, margin, kind
        deals[4, n], deals[5, n] = term, lag
        streams[n] = mix(own ^ mix(_U(again)))
        n += 1
        if signing.renewal <= 0.0:
            break
        day, kind, lag = signing.ends[term, day], RENEWAL, 0
    return n


@numba.njit(cache=True, nogil=True)
def bill(n_deals, deals, streams, billing, invoices, owners, keys, first):
    """Write the invoices of deals into ``invoices`` (4, room): day, cents, kind, class; return how many.

    ``first[i]`` is where those of deal i begin, of signed deals they come after all others.
    """
    n, days = 0, billing.invoiced.shape[1]
    for i in range(n_deals):
        first[i] = n
        day, cents, term = deals[0, i], deals[1, i], deals[4, i]
        before = 0
        for k in range(billing.parts[term]):
            issued = billing.invoiced[term, day, k] + deals[5, i]
            if issued >= days:
                break
            total = math.floor(cents * billing.share[term, k + 1] + 0.5)
            part = total - before
            before = total
            if part == 0:
                continue
            invoices[0, n], invoices[1, n], invoices[2, n], invoices[3, n] = issued, part, deals[3, i], -1
            owners[n], keys[n] = streams[i], mix(streams[i] + _U(k + 1) * GOLDEN)
            n += 1
    first[n_deals] = n
    for i in range(billing.day.shape[0]):
        invoices[0, n], invoices[1, n], invoices[2, n] = billing.day[i], billing.cents[i], SIGNED
        invoices[3, n] = billing.code[i]
        owners[n] = keys[n] = billing.key[i]
        n += 1
    return n


@numba.njit(cache=True, nogil=True)
def pay(n, invoices, owners, keys, paying, p, months, draw, receipts, tax, written, owed):
    """Pay invoices: add to ``receipts`` (kinds, days), ``tax`` and ``written`` (days,), ``owed`` (1,).

    ``tax`` is the value-added tax of invoices on the day on which it is paid to the tax office, ``owed``
    what customers owe when the days end.
    """
    days = receipts.shape[1]
    for i in range(n):
        issued, cents, code = invoices[0, i], invoices[1, i], invoices[3, i]
        vat = math.floor(cents * paying.vat + 0.5)
        gross = cents + vat
        if paying.vat_day[issued] < days:
            tax[paying.vat_day[issued]] += vat
        if code < 0:
            u = unit(mix(owners[i] ^ _CLASS), _U(draw))
            code = min(np.searchsorted(paying.class_share, u), paying.class_share.shape[0] - 1)
        band = np.searchsorted(paying.band_edges, gross * 0.01, side="right")
        due = issued + paying.due_days
        day = -1
        if unit(mix(keys[i] ^ _NEVER), _U(draw)) >= paying.never[p]:
            day = payment_day(
                unit(keys[i], _U(draw)), p, months, paying.factor[p, code] * paying.band[p, band], issued,
                due, paying.write_off_days, paying.cumulative, paying.month_of_day, paying.month_end,
                paying.phase_edges, paying.age_edges, paying.hazard,
            )  # fmt: skip
        if day < 0:
            _write_off(due + paying.write_off_days, gross, written, owed)
        elif paying.works[day] < days:
            receipts[invoices[2, i] + 1, paying.works[day]] += gross
        else:
            owed[0] += gross


@numba.njit(cache=True, nogil=True)
def pay_open(paying, p, months, draw, rates, receipts, written, owed):
    """Pay the invoices that are open at the as-of date, from their present age; return what rates brought.

    ``rates`` (currencies, days) are factors on the as-of date's rates of exchange.
    """
    days, gained = receipts.shape[1], 0
    for i in range(paying.gross.shape[0]):
        gross, day = paying.gross[i], -1
        if unit(mix(paying.key[i] ^ _NEVER), _U(draw)) >= paying.open_never[p, i]:
            day = payment_day(
                unit(paying.key[i], _U(draw)), p, months,
                paying.factor[p, paying.code[i]] * paying.band[p, paying.band_of[i]], paying.issued[i],
                paying.due[i], paying.write_off_days, paying.cumulative, paying.month_of_day,
                paying.month_end, paying.phase_edges, paying.age_edges, paying.hazard,
            )  # fmt: skip
        if day < 0:
            _write_off(max(paying.due[i] + paying.write_off_days, 0), gross, written, owed)
        elif paying.works[day] < days:
            day = paying.works[day]
            got = gross
            if paying.currency[i] >= 0:
                got = math.floor(gross * rates[paying.currency[i], day] + 0.5)
                gained += got - gross
            receipts[0, day] += got
        else:
            owed[0] += gross
    return gained


@numba.njit(cache=True, nogil=True)
def _write_off(day, gross, written, owed):
    if day < written.shape[0]:
        written[day] += gross
    else:
        owed[0] += gross


@numba.njit(cache=True, nogil=True)
def exchange_rates(fx_key, daily, draw, rates):
    """Paths of factors on today's rates into ``rates`` (currencies, days): a martingale, log-normal.

    One normal number a day by the method of Box and Muller (1958, doi:10.1214/aoms/1177706645).
    """
    for c in range(rates.shape[0]):
        level = 0.0
        for t in range(rates.shape[1]):
            stream = mix(fx_key[c] + _U(t + 1) * GOLDEN)
            radius = math.sqrt(-2.0 * math.log(unit(stream, _U(draw))))
            z = radius * math.cos(2.0 * math.pi * unit(mix(stream), _U(draw)))
            level += daily * z - 0.5 * daily * daily
            rates[c, t] = math.exp(level)
