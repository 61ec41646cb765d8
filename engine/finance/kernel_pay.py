"""The payment clock: when invoices are paid, and what becomes of those that are not.

What :func:`quotacast.engine.payments.payment_day` works out for one invoice is looked up here: an invoice's
spells of constant hazard depend on its days of issue and due, not on the draw, so they are written down
once. The days that come out are the same. A payment that is a part leaves a rest, which is paid later in the
same way, or written off. Two loops hold the same search for the day, on purpose: a compiled helper that takes
so many arrays costs more than the search (see :mod:`quotacast.engine.kernel`); what parts leave is rare.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numba
import numpy as np

from quotacast.engine.kernel_spells import FINE, day_guide
from quotacast.engine.payments import Payments
from quotacast.engine.streams import GOLDEN, mix, unit

_U = np.uint64
# Make streams of their own out of an invoice's.
_CLASS, _NEVER, _STILL = _U(0xE7037ED1A0B428DB), _U(0x8EBC6AF09C88C6E3), _U(0x589965CC75374CC3)
_PART, _SHARE = _U(0x1D8E4E27C47D124F), _U(0xEB44ACCAB455D165)
_REST, _BAD = _U(0x9E6C63D0876A9A47), _U(0xC2B2AE3D27D4EB4F)
#: Entries of the guide to the classes.
GUIDE = 1024


class Paying(NamedTuple):
    """How invoices are paid; see :class:`quotacast.engine.payments.Payments`.

    Spells are those of invoices issued on each day to come, and after them of the open ones, of which those
    that were issued and are due on the same days share a path.
    """

    vat: Any
    vat_day: Any  # (days,) on which the tax of invoices issued on a day is paid
    works: Any  # (days,) next working day
    due_days: Any
    write_off_days: Any
    factor: Any  # (posterior, classes)
    class_share: Any
    class_at: Any  # (GUIDE,) first class whose share reaches each multiple of 1 / GUIDE
    band_edges: Any
    band: Any
    never: Any
    hazard: Any  # (posterior, cells)
    cumulative: Any
    guide: Any
    part_odds: Any  # (posterior, classes); no rows where invoices are paid at once
    part_share: Any  # each as likely
    rest_pace: Any  # (posterior,)
    rest_days: Any  # from the part to the rest, -1: by the hazard
    place: Any  # (paths + 1,) where the spells of each begin
    spell: Any  # (4, spells) first day, day after the last, cell, month
    span: Any  # (2, spells) weighted days before and in it
    # open invoices
    path: Any  # (n,)
    due: Any
    gross: Any
    code: Any
    band_of: Any
    open_never: Any  # (posterior, n)
    open_odds: Any  # (posterior, n) that it is unpaid still; no rows where the data say so
    parted: Any  # (n,) it is what a part left
    key: Any
    currency: Any  # (n,) -1: the planning currency
    fx_key: Any  # (currencies,)
    fx_daily: Any  # standard deviation of a day's log rate


def spells_of(payments: Payments, issued: Any, due: Any) -> dict[str, Any]:
    """Arrays of :class:`Paying` about hazards, for invoices of these days (counted from day 0)."""
    fixed = payments.fixed()
    hazard = fixed.pop("hazard")
    place, spell, span = _spells(issued, due, payments.write_off_days, **fixed)
    share = payments.classes.share
    return {
        "factor": payments.factor,
        "class_share": share,
        "class_at": np.searchsorted(share, np.arange(GUIDE) / GUIDE).astype(np.int64),
        "band_edges": payments.band_edges,
        "band": payments.band,
        "never": payments.never,
        "hazard": hazard.reshape(hazard.shape[0], -1),
        "cumulative": payments.cumulative,
        "part_odds": payments.parts.odds,
        "part_share": payments.parts.share,
        "rest_pace": payments.parts.pace,
        "rest_days": int(payments.parts.rest_days),
        "guide": day_guide(payments.cumulative),
        "place": place,
        "spell": spell,
        "span": span,
    }


@numba.njit(cache=True, nogil=True)
def _spells(issued, due, write_off_days, cumulative, month_of_day, month_end, phase_edges, terms_edges):
    """Spells of every invoice until it is written off or the days end."""
    days, phases = month_of_day.shape[0], phase_edges.shape[0]
    most = issued.shape[0] * (phases + month_of_day[-1] + 1)
    spell, span = np.empty((4, most), dtype=np.int64), np.empty((2, most))
    place, n = np.zeros(issued.shape[0] + 1, dtype=np.int64), 0
    for i in range(issued.shape[0]):
        end, day = min(days, due[i] + write_off_days), max(issued[i], 0)
        phase = 0
        terms = max(np.searchsorted(terms_edges, due[i] - issued[i], side="right") - 1, 0)
        while day < end:
            while phase + 1 < phases and phase_edges[phase + 1] <= day - due[i]:
                phase += 1
            stop = min(end, month_end[day])
            if phase + 1 < phases:
                stop = min(stop, due[i] + phase_edges[phase + 1])
            at = cumulative[day]
            if day == issued[i]:  # issued in the middle of its first day, on average
                at += 0.5 * (cumulative[day + 1] - at)
            spell[0, n], spell[1, n] = day, stop
            spell[2, n], spell[3, n] = terms * phases + phase, month_of_day[day]
            span[0, n], span[1, n] = at, cumulative[stop] - at
            n += 1
            day = stop
        place[i + 1] = n
    return place, spell[:, :n].copy(), span[:, :n].copy()


@numba.njit(cache=True, nogil=True)
def left_by_part(paying, p, code, key, draw, gross):
    """Cents that a first payment leaves: none unless it is a part."""
    if unit(mix(key ^ _PART), draw) >= paying.part_odds[p, code]:
        return 0
    share = paying.part_share[int(unit(mix(key ^ _SHARE), draw) * paying.part_share.shape[0])]
    part = math.floor(gross * share + 0.5)
    return gross - part if 0 < part < gross else 0


@numba.njit(cache=True, nogil=True)
def rest_day(paying, p, months, key, draw, pace, path, part_day, end):
    """Day on which is paid what a part of ``part_day`` left; -1 where it is not before ``end``.

    ``pace`` is the factor on the hazard, ``path`` the place of the invoice's spells.
    """
    if unit(mix(key ^ _BAD), draw) < paying.never[p]:
        return -1
    if paying.rest_days >= 0:
        return part_day + paying.rest_days if part_day + paying.rest_days < end else -1
    left = -math.log(unit(mix(key ^ _REST), draw)) / pace
    for j in range(paying.place[path], paying.place[path + 1]):
        begin, stop = max(paying.spell[0, j], part_day + 1), paying.spell[1, j]
        if begin >= stop:
            continue
        rate = paying.hazard[p, paying.spell[2, j]] * months[paying.spell[3, j]]
        at = paying.cumulative[begin]
        passed = (paying.cumulative[stop] - at) * rate
        if left <= passed:
            target = at + left / rate
            day = begin
            while day < stop - 1 and paying.cumulative[day + 1] < target:
                day += 1
            return day
        left -= passed
    return -1


@numba.njit(cache=True, nogil=True)
def at_rate(cents, currency, day, rates):
    """Cents at a day's rate of exchange; those of the planning currency stay."""
    return cents if currency < 0 else math.floor(cents * rates[currency, day] + 0.5)


@numba.njit(cache=True, nogil=True)
def pay(n, invoices, owners, keys, paying, p, months, draw, rates, receipts, tax, written, owed):
    """Pay invoices: add to ``receipts`` (kinds, days), ``tax`` and ``written`` (days,), ``owed`` (1,).

    ``tax`` is the value-added tax of invoices on the day on which it is paid to the tax office, ``owed`` what
    customers owe when the days end; return what rates brought. ``rates`` (currencies, days) are factors on
    the as-of date's rates of exchange. One long loop, as in :mod:`quotacast.engine.kernel` and for the same
    reason.
    """
    days, gained, draw = receipts.shape[1], 0, _U(draw)
    hazard, factor, bands, never = paying.hazard[p], paying.factor[p], paying.band[p], paying.never[p]
    place, spell, span, guide = paying.place, paying.spell, paying.span, paying.guide
    cumulative, works, vat_day, vat = paying.cumulative, paying.works, paying.vat_day, paying.vat
    share, class_at, edges = paying.class_share, paying.class_at, paying.band_edges
    until = paying.due_days + paying.write_off_days
    in_parts = paying.part_odds.shape[0] > 0
    for i in range(n):
        issued, cents, code = invoices[0, i], invoices[1, i], invoices[3, i]
        more = math.floor(cents * vat + 0.5)
        gross = cents + more
        if vat_day[issued] < days:
            tax[vat_day[issued]] += more
        if code < 0:
            u = unit(mix(owners[i] ^ _CLASS), draw)
            code = class_at[int(u * GUIDE)]
            while code < share.shape[0] - 1 and share[code] < u:
                code += 1
        band = 0
        while band < edges.shape[0] and gross * 0.01 >= edges[band]:
            band += 1
        day = -1
        if unit(mix(keys[i] ^ _NEVER), draw) >= never:
            left = -math.log(unit(keys[i], draw)) / (factor[code] * bands[band])
            for j in range(place[issued], place[issued + 1]):
                rate = hazard[spell[2, j]] * months[spell[3, j]]
                passed = span[1, j] * rate
                if left <= passed:
                    target = span[0, j] + left / rate
                    day, last = max(guide[int(target * FINE)], spell[0, j]), spell[1, j] - 1
                    while day < last and cumulative[day + 1] < target:
                        day += 1
                    break
                left -= passed
        if in_parts and day >= 0:
            rest = left_by_part(paying, p, code, keys[i], draw, gross)
            if rest > 0:
                if works[day] < days:
                    got = at_rate(gross - rest, invoices[4, i], works[day], rates)
                    gained += got - (gross - rest)
                    receipts[invoices[2, i] + 1, works[day]] += got
                else:
                    owed[0] += gross - rest
                pace = factor[code] * bands[band] * paying.rest_pace[p]
                end = min(days, issued + until)
                day, gross = rest_day(paying, p, months, keys[i], draw, pace, issued, day, end), rest
        if day < 0:
            if issued + until < days:
                written[issued + until] += gross
            else:
                owed[0] += gross
        elif works[day] < days:
            got = at_rate(gross, invoices[4, i], works[day], rates)
            gained += got - gross
            receipts[invoices[2, i] + 1, works[day]] += got
        else:
            owed[0] += gross
    return gained


@numba.njit(cache=True, nogil=True)
def _until(place, spell, span, hazard, months):
    """Sums of hazard times exposure until the end of each spell of some paths, infinite behind the last.

    Shape (paths, most spells of a path).
    """
    paths = place.shape[0] - 1
    most = 0
    for i in range(paths):
        most = max(most, place[i + 1] - place[i])
    out = np.full((paths, most), np.inf)
    for i in range(paths):
        total = 0.0
        for j in range(place[i], place[i + 1]):
            total += span[1, j] * (hazard[spell[2, j]] * months[spell[3, j]])
            out[i, j - place[i]] = total
    return out


@numba.njit(cache=True, nogil=True)
def pay_open(paying, p, months, draw, rates, receipts, written, owed):
    """Pay the invoices that are open at the as-of date, from their present age.

    Returns what rates brought, and what customers owed at the as-of date. ``rates`` (currencies, days) are
    factors on the as-of date's rates of exchange.
    """
    days, gained, draw = receipts.shape[1], 0, _U(draw)
    hazard, factor, bands, never = paying.hazard[p], paying.factor[p], paying.band[p], paying.open_never[p]
    place, spell, span, guide = paying.place, paying.spell, paying.span, paying.guide
    cumulative, works, key = paying.cumulative, paying.works, paying.key
    grosses, codes, band_of, currency = paying.gross, paying.code, paying.band_of, paying.currency
    known, opening, path = paying.open_odds.shape[0] == 0, 0, paying.path
    in_parts, n = paying.part_odds.shape[0] > 0, grosses.shape[0]
    until = _until(place[days:], spell, span, hazard, months)
    left, at = np.empty(n), np.empty(n, dtype=np.int64)
    for i in range(n):  # step by step, see :mod:`quotacast.engine.kernel_batch`
        left[i] = unit(key[i], draw)
    for i in range(n):
        left[i] = -math.log(left[i]) / (factor[codes[i]] * bands[band_of[i]])
        if paying.parted[i]:
            left[i] /= paying.rest_pace[p]
    for i in range(n):
        on, spend, j = path[i] - days, left[i], 0
        for s in range(until.shape[1]):
            j += until[on, s] < spend
        at[i] = j
    for i in range(n):
        if not known and unit(mix(key[i] ^ _STILL), draw) >= paying.open_odds[p, i]:
            continue  # paid before the as-of date
        gross, day = grosses[i], -1
        opening += gross
        end = paying.due[i] + paying.write_off_days
        pace = factor[codes[i]] * bands[band_of[i]]
        if paying.parted[i]:
            pace *= paying.rest_pace[p]
        j = place[path[i]] + at[i]
        if j < place[path[i] + 1] and unit(mix(key[i] ^ _NEVER), draw) >= never[i]:
            rest = left[i] - (until[path[i] - days, at[i] - 1] if at[i] > 0 else 0.0)
            target = span[0, j] + rest / (hazard[spell[2, j]] * months[spell[3, j]])
            day, last = max(guide[int(target * FINE)], spell[0, j]), spell[1, j] - 1
            while day < last and cumulative[day + 1] < target:
                day += 1
        if in_parts and day >= 0 and not paying.parted[i]:
            due_still = left_by_part(paying, p, codes[i], key[i], draw, gross)
            if due_still > 0:
                if works[day] < days:
                    got = at_rate(gross - due_still, currency[i], works[day], rates)
                    gained += got - (gross - due_still)
                    receipts[0, works[day]] += got
                else:
                    owed[0] += gross - due_still
                pace *= paying.rest_pace[p]
                stop = min(days, end)
                day, gross = rest_day(paying, p, months, key[i], draw, pace, path[i], day, stop), due_still
        if day < 0:
            end = max(end, 0)
            if end < days:
                written[end] += gross
            else:
                owed[0] += gross
        elif works[day] < days:
            got = at_rate(gross, currency[i], works[day], rates)
            gained += got - gross
            receipts[0, works[day]] += got
        else:
            owed[0] += gross
    return gained, opening


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
