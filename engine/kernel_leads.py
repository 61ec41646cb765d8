"""Leads of some draws, new and open, until they convert, are disqualified or the horizon ends; by numba.

A lead spends its cumulative hazard like a deal (see :mod:`quotacast.engine.kernel`, whose spells of constant
hazard it shares). Every conversion begins so many opportunities on its day: with the odds that a converted
lead carries one, times the changed rate of creation. They go on in the deals' loop. A leaver's leads go to
the heirs, like deals (see :mod:`quotacast.engine.departures`).
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from quotacast.engine.kernel import (
    FINE,
    HEIR,
    bin_keys,
    day_guide,
    draw_rates,
    rates,
)
from quotacast.engine.kernel_arrivals import AHEAD, arrivals, numbers_per_bin, room_for
from quotacast.engine.kernel_spells import paths, rows_by_rep
from quotacast.engine.streams import GOLDEN, PER_DRAW, mix, unit

_U = np.uint64
# Places of a lead's own stream; the opportunities that it begins have streams of their own.
_WAIT, _CAUSE, _YIELD = _U(0), _U(1), _U(4)  # 2 and 3 are those of arrivals
_BEGUN = _U(0xD6E8FEB86659FD93)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def convert_leads(
    guide,
    bin_key,  # (reps, bins)
    place,  # spells of open leads, then of new ones by day
    spell,
    span,
    deal_order,
    deal_at,
    first_draw,
    parameter,
    cumulative,
    position,
    quarter,
    step_of_day,
    at_work,
    bin_edges,
    bin_quarter,
    bin_middle,
    tenure,
    tenure_edges,
    asked,
    seat,
    follows,
    ramp_days,
    move_given,
    move_at,
    move_first,
    move_last,
    move_low,
    move_high,
    joined,
    gone,
    heir,
    created_base,
    created_time,
    created_rep,
    created_tenure,
    driven,
    created_drive,
    dispersion,
    numbers,
    mix_row,
    segment_mix,
    base_win,
    base_loss,
    segment_win,
    segment_loss,
    age_win,
    age_loss,
    time_win,
    time_loss,
    rep_win,
    rep_loss,
    deal_key,
    deal_rep,
    deal_start,
    deal_segment,
    cycle_times,  # (reps, pieces)
    begins,  # (posterior,) odds that a conversion begins an opportunity
    begins_times,  # (reps, days) changed rate of creation
    leads_created,  # (draws, reps, steps); empty where nobody asks for them, as the next ones
    leads_converted,
    leads_disqualified,
    lead_days,
):
    """Count the leads of some draws and return the opportunities that they begin.

    Returns
    -------
    at : ndarray of int64, shape (draws, reps + 1)
        Where those of a draw and rep begin.
    day, segment : ndarray of int64, shape (begun,)
    stream : ndarray of uint64, shape (begun,)
    owner : ndarray of int64, shape (begun,)
        Seat to which the opportunity belongs.
    """
    reps, bins = created_base.shape[1], bin_quarter.shape[0]
    pieces, bands, leads_open = position.shape[0], age_win.shape[1], deal_rep.shape[0]
    days = step_of_day.shape[0]
    keep_created, keep_converted = leads_created.shape[0] > 0, leads_converted.shape[0] > 0
    keep_disqualified, keep_days = leads_disqualified.shape[0] > 0, lead_days.shape[0] > 0
    draw_win, draw_loss = np.empty((bands, pieces)), np.empty((bands, pieces))
    rate_win, rate_loss = np.empty(bands * pieces), np.empty(bands * pieces)
    mean, lot, number = np.zeros(bins), np.zeros(bins), np.zeros(bins, dtype=np.int64)
    new, new_stream = room_for(256)
    begin, end, cell = spell[0], spell[1], spell[2]
    before, risk = span[0], span[1]
    at = np.zeros((parameter.shape[0], reps + 1), dtype=np.int64)
    size, room = 0, 1024
    begun_day, begun_segment = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.int64)
    begun_stream, begun_owner = np.empty(room, dtype=np.uint64), np.empty(room, dtype=np.int64)
    for d in range(parameter.shape[0]):
        p = parameter[d]
        draw = _U(first_draw + d) * PER_DRAW
        at[d, 0] = size
        draw_rates(p, d, position, age_win, time_win, draw_win)
        draw_rates(p, d, position, age_loss, time_loss, draw_loss)
        for r in range(reps):
            if not asked[r] or (joined[d, r] >= days and deal_at[r + 1] == deal_at[r]):
                at[d, r + 1] = size
                continue
            rates(d, r, quarter, rep_win, draw_win, cycle_times, rate_win)
            rates(d, r, quarter, rep_loss, draw_loss, cycle_times, rate_loss)
            expected = numbers_per_bin(
                d, r, p, draw, bin_key, at_work, bin_edges, bin_quarter, bin_middle, tenure, tenure_edges,
                follows, ramp_days, joined, gone, created_base, created_time, created_rep, created_tenure,
                driven, created_drive, dispersion, numbers, mean, lot, number,
            )  # fmt: skip
            if expected + AHEAD > new_stream.shape[0]:
                new, new_stream = room_for(2 * expected)
            for is_open in (False, True):
                if is_open:
                    n = deal_at[r + 1] - deal_at[r]
                else:
                    n = arrivals(
                        d, r, draw, number, bin_key, at_work, bin_edges, joined, gone,
                        segment_mix[p, mix_row[r]], move_given, move_at, move_first, move_last, move_low,
                        move_high, new[0], new[1], new_stream, new[2], new[3],
                    )  # fmt: skip
                for k in range(n):
                    if is_open:
                        i = deal_order[deal_at[r] + k]
                        stream, start, s, row = deal_key[i], deal_start[i], deal_segment[i], i
                    else:
                        stream, start, s = new_stream[k], new[0, k], new[1, k]
                        if keep_created:
                            leads_created[d, seat[r], step_of_day[start]] += 1
                        row = leads_open + start
                    own_win = base_win[d, r] * segment_win[p, s]
                    own_loss = base_loss[d, r] * segment_loss[p, s]
                    left = -math.log(unit(stream, draw + _WAIT))
                    day, win = -1, False
                    for j in range(place[row], place[row + 1]):
                        h_win = own_win * rate_win[cell[j]]
                        both = h_win + own_loss * rate_loss[cell[j]]
                        passed = risk[j] * both
                        if left <= passed:
                            target = before[j] + left / both
                            day, last = max(guide[int(target * FINE)], begin[j]), end[j] - 1
                            while day < last and cumulative[day + 1] < target:
                                day += 1
                            win = unit(stream, draw + _CAUSE) * both < h_win
                            break
                        left -= passed
                    if day < 0:
                        continue
                    step, owner = step_of_day[day], seat[r]
                    if day >= gone[d, r]:
                        owner = heir[d, r, int(unit(mix(stream ^ HEIR), draw) * heir.shape[2])]
                    if not win:
                        if keep_disqualified:
                            leads_disqualified[d, owner, step] += 1
                        continue
                    if keep_converted:
                        leads_converted[d, owner, step] += 1
                    if keep_days:
                        lead_days[d, owner, step] += day - start
                    wanted = begins[p] * begins_times[r, day]
                    copies = math.floor(wanted)
                    copies += unit(stream, draw + _YIELD) < wanted - copies
                    for copy in range(copies):
                        if size == room:
                            room *= 2
                            begun_day = _longer(begun_day, room)
                            begun_segment = _longer(begun_segment, room)
                            begun_stream = _longer(begun_stream, room)
                            begun_owner = _longer(begun_owner, room)
                        begun_day[size], begun_segment[size], begun_owner[size] = day, s, owner
                        begun_stream[size] = mix(mix(stream ^ _BEGUN) + _U(copy) * GOLDEN)
                        size += 1
            at[d, r + 1] = size
    return at, begun_day[:size], begun_segment[:size], begun_stream[:size], begun_owner[:size]


@numba.njit(cache=True, nogil=True)
def _longer(array, size):
    out = np.empty(size, dtype=array.dtype)
    out[: array.shape[0]] = array
    return out


def shared(arrays: dict[str, Any]) -> dict[str, Any]:
    """What all draws have in common and is quickly made."""
    names = ("cumulative", "weights", "edges", "piece_of_day", "age_edges", "cycle_times")
    days = arrays["weights"].size
    rep = np.concatenate([arrays["deal_rep"], np.zeros(days, dtype=np.int64)])
    start = np.concatenate([arrays["deal_start"], np.arange(days)])
    place, spell, span = paths(rep, start, *(arrays[name] for name in names))
    order, at = rows_by_rep(arrays["deal_rep"], arrays["rep_key"].size)
    return {
        "guide": day_guide(arrays["cumulative"]),
        "bin_key": bin_keys(arrays["rep_key"], arrays["bin_label"]),
        "place": place,
        "spell": spell,
        "span": span,
        "deal_order": order,
        "deal_at": at,
    }
