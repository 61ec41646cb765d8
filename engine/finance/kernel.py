"""The compiled loops of the first two clocks: deals are signed and invoiced, draw by draw.

Days are counted from the first simulated one; money is whole cents. Each clock has a draw number of its own
for its random numbers, so that one clock can be turned while the others stand still.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

from quotacast.engine.streams import GOLDEN, mix, unit

#: Who signed: already signed at the as-of date; open then; not yet created then; a term signed anew.
KINDS = ("signed", "open", "new", "renewal")
SIGNED, OPEN, NEW, RENEWAL = 0, 1, 2, 3
_U = np.uint64
# Make streams of their own out of a deal's.
_TERM, _LAG, _RENEW = _U(0x9FB21C651E98DF25), _U(0xD6E8FEB86659FD93), _U(0xA0761D6478BD642F)
_CURRENCY = _U(0x2545F4914F6CDD1D)


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
    due_rep: Any  # place of its rep, -1 where that rep is there no longer
    due_currency: Any  # -1: the planning currency
    mix: Any  # (reps, components, currencies) cumulative shares; no currencies where rates do not move


class Billing(NamedTuple):
    """When deals are invoiced, and the invoices that signed deals have yet to get."""

    parts: Any  # (terms,)
    invoiced: Any  # (terms, days, parts)
    share: Any  # (terms, parts + 1)
    day: Any  # (n,) of signed deals
    cents: Any
    code: Any  # class of its customer, -1 where not known
    currency: Any  # -1: the planning currency
    key: Any


@numba.njit(cache=True, nogil=True)
def sign_deals(begins, cells, values, place, days, signing, sign_draw, bill_draw, deals, streams):
    """Write the deals of a draw into ``deals`` (8, room); return how many.

    Their rows are day, cents, margin, kind, term, lag, rep and currency.

    ``begins``, ``cells``, ``values`` are triples (count, cents, margin) of :meth:`Wins.block`. Deals that
    are won on one day by one rep share their amount evenly. A deal is signed anew at the end of its term by
    chance, and so are those of which ``signing`` tells when their term ends. One long loop, as in
    :mod:`quotacast.engine.kernel` and for the same reason.
    """
    key, ends, term_share, lags = signing.key, signing.ends, signing.term_share, signing.lag
    due_day, due_cents, due_margin = signing.due_day, signing.due_cents, signing.due_margin
    due_term, due_key, renewal = signing.due_term, signing.due_key, signing.renewal
    cell_of, count_of, terms = cells[0], values[0], term_share.shape[0]
    mix_of, currencies = signing.mix, signing.mix.shape[2]
    money_at, money_of, margin_at, margin_of = cells[1], values[1], cells[2], values[2]
    n, first, wins = 0, begins[0][place], begins[0][place + 1] - begins[0][place]
    second, second_end = begins[1][place], begins[1][place + 1]
    third, third_end = begins[2][place], begins[2][place + 1]
    sign_draw, bill_draw = _U(sign_draw), _U(bill_draw)
    for i in range(wins + due_day.shape[0]):
        cell, count, cents, margin, row, stream = 0, 1, 0, 0, 0, _U(0)
        if i < wins:
            cell, count = cell_of[first + i], count_of[first + i]
            while second < second_end and money_at[second] < cell:
                second += 1
            while third < third_end and margin_at[third] < cell:
                third += 1
            if second == second_end or money_at[second] != cell:
                continue  # won for nothing
            cents = money_of[second]
            if third < third_end and margin_at[third] == cell:
                margin = margin_of[third]
            row = cell // days
            stream = mix(key[row // 2, row % 2] + _U(cell % days + 1) * GOLDEN)
        for k in range(count):
            if i < wins:
                own = mix(stream ^ mix(_U(k + 1)))
                day, kind = cell % days, OPEN + row % 2
                amount = (k + 1) * cents // count - k * cents // count
                earns = (k + 1) * margin // count - k * margin // count
                u = unit(mix(own ^ _TERM), sign_draw)
                term = 0
                while term < terms - 1 and term_share[term] < u:
                    term += 1
                lag = lags[int(unit(mix(own ^ _LAG), bill_draw) * lags.shape[0])]
                money = -1
                if currencies > 0:
                    u = unit(mix(own ^ _CURRENCY), sign_draw)
                    for c in range(currencies - 1, -1, -1):
                        if u < mix_of[row // 2, row % 2, c]:
                            money = c
            else:
                j = i - wins
                own, day, kind, lag = due_key[j], due_day[j], RENEWAL, 0
                amount, earns, term = due_cents[j], due_margin[j], due_term[j]
                row, money = 2 * signing.due_rep[j], signing.due_currency[j]
            again = 0
            while day < days:
                if kind == RENEWAL:
                    again += 1
                    if unit(mix(own ^ mix(_RENEW + _U(again))), bill_draw) >= renewal:
                        break
                deals[0, n], deals[1, n], deals[2, n] = day, amount, earns
                deals[3, n], deals[4, n], deals[5, n] = kind, term, lag
                deals[6, n], deals[7, n] = row // 2, money
                streams[n] = mix(own ^ mix(_U(again)))
                n += 1
                if renewal <= 0.0:
                    break
                day, kind, lag = ends[term, day], RENEWAL, 0
    return n


@numba.njit(cache=True, nogil=True)
def bill(n_deals, deals, streams, billing, invoices, owners, keys, first):
    """Write the invoices of deals into ``invoices`` (5, room); return how many.

    Their rows are day, cents, kind, class and currency. ``first[i]`` is where those of deal i begin, of
    signed deals they come after all others.
    """
    n, days = 0, billing.invoiced.shape[1]
    for i in range(n_deals):
        first[i] = n
        day, cents, term = deals[0, i], deals[1, i], deals[4, i]
        before, parts = 0, billing.parts[term]
        whole = billing.share[term, parts]
        for k in range(parts):
            issued = billing.invoiced[term, day, k] + deals[5, i]
            if issued >= days:
                break
            total = (2 * cents * billing.share[term, k + 1] + whole) // (2 * whole)
            part = total - before
            before = total
            if part == 0:
                continue
            invoices[0, n], invoices[1, n], invoices[2, n], invoices[3, n] = issued, part, deals[3, i], -1
            invoices[4, n] = deals[7, i]
            owners[n], keys[n] = streams[i], mix(streams[i] + _U(k + 1) * GOLDEN)
            n += 1
    first[n_deals] = n
    for i in range(billing.day.shape[0]):
        invoices[0, n], invoices[1, n], invoices[2, n] = billing.day[i], billing.cents[i], SIGNED
        invoices[3, n], invoices[4, n] = billing.code[i], billing.currency[i]
        owners[n] = keys[n] = billing.key[i]
        n += 1
    return n
