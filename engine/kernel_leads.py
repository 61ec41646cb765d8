"""Leads of some draws, new and open, until they convert, are disqualified or the horizon ends; by numba.

A lead spends its cumulative hazard like a deal (see :mod:`quotacast.engine.kernel_spells`). Every conversion
begins so many opportunities on its day: with the odds that a converted lead carries one, times the changed
rate of creation. They go on in the deals' loop. A leaver's leads go to the heirs, like deals (see
:mod:`quotacast.engine.departures`).
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

import math

import numba
import numpy as np

from quotacast.engine.kernel_arrivals import arrivals, draw_numbers
from quotacast.engine.kernel_batch import (
    AHEAD,
    CAUSE,
    HEIR,
    LIVES,
    draw_hazards,
    last_of,
    only_wins,
    places,
    room_for,
    room_for_hazards,
    without_sure_losses,
)
from quotacast.engine.kernel_spells import days_of, ends_of, no_sums
from quotacast.engine.streams import GOLDEN, PER_DRAW, mix, unit

_U = np.uint64
# Place of a lead's own stream; 0 to 3 are those of all lives and of arrivals. The opportunities that it
# begins have streams of their own.
_YIELD = _U(4)
_BEGUN = _U(0xD6E8FEB86659FD93)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def convert_leads(
    guide,  # what all draws have in common, see :func:`quotacast.engine.kernel_spells.shared`
    bin_key,
    spells,
    pace,
    deal_row,
    new_row,
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
    reps, bins, days = created_base.shape[1], bin_quarter.shape[0], step_of_day.shape[0]
    cells, segments = age_win.shape[1] * position.shape[0], segment_win.shape[1]
    keep_created, keep_converted = leads_created.shape[0] > 0, leads_converted.shape[0] > 0
    keep_disqualified, keep_days = leads_disqualified.shape[0] > 0, lead_days.shape[0] > 0
    of_draw = room_for_hazards(cells, reps, spells.stretch_piece.shape[0], segments)
    mean, lot, number = np.zeros((reps, bins)), np.zeros((reps, bins)), np.zeros((reps, bins), dtype=np.int64)
    there, total = np.zeros(reps, dtype=np.bool_), np.zeros(reps, dtype=np.int64)
    after = np.zeros(reps, dtype=np.int64)
    lives, sums = room_for(LIVES), no_sums(spells, new_row + days)
    bins_at, bins_quarter = places(bin_edges), places(bin_quarter)
    steps, seats = places(step_of_day), places(seat)
    coming = (joined > 0).any() or (gone < days).any()
    at = np.zeros((parameter.shape[0], reps + 1), dtype=np.int64)
    size, room = 0, 1024
    begun_day, begun_segment = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.int64)
    begun_stream, begun_owner = np.empty(room, dtype=np.uint64), np.empty(room, dtype=np.int64)
    for d in range(parameter.shape[0]):
        p = parameter[d]
        draw = _U(first_draw + d) * PER_DRAW
        draw_hazards(
            d, p, position, quarter, cycle_times, spells.stretch_piece, age_win, age_loss, time_win,
            time_loss, rep_win, rep_loss, base_win, base_loss, segment_win, segment_loss, 1.0, of_draw,
        )  # fmt: skip
        for r in range(reps):
            there[r] = asked[r] and (joined[d, r] < days or deal_at[r + 1] > deal_at[r])
        draw_numbers(
            d, p, draw, there, bin_key, at_work, bins_at, bins_quarter, bin_middle, tenure, tenure_edges,
            follows, ramp_days, joined, gone, created_base, created_time, created_rep, created_tenure, driven,
            created_drive, dispersion, numbers, mean, lot, number, total,
        )  # fmt: skip
        for r in range(reps):
            if there[r]:
                total[r] += deal_at[r + 1] - deal_at[r]
        last = 0
        at[d, 0] = size
        while last < reps:
            first = last
            last, held = last_of(first, total, there, pace, LIVES)
            if held == 0:
                at[d, first + 1 : last + 1] = size
                continue
            if held + AHEAD > lives.stream.shape[0]:
                lives = room_for(2 * held)
            stream, rep, start, segment = lives.stream, lives.rep, lives.start, lives.segment
            owner, row, which, place, day = lives.owner, lives.row, lives.which, lives.place, lives.day
            n = arrivals(
                d, first, last, coming, draw, number, bin_key, at_work, bins_at, joined, gone, mix_row,
                segment_mix[p], move_given, move_at, move_first, move_last, move_low, move_high, lives,
            )  # fmt: skip
            if keep_created:
                for k in range(n):
                    leads_created[d, seats[rep[k]], steps[start[k]]] += 1
            for k in range(n):
                row[k] = new_row + start[k]
            for i in deal_order[deal_at[first] : deal_at[last]]:
                stream[n], rep[n], start[n] = deal_key[i], deal_rep[i], deal_start[i]
                segment[n], row[n] = deal_segment[i], deal_row[i]
                n += 1
            if not keep_disqualified:
                n = without_sure_losses(lives, n, draw, of_draw.odds, 1.0)
            for k in range(n):
                lives.own_win[k] = of_draw.own_win[rep[k], segment[k]]
                lives.own_loss[k] = of_draw.own_loss[rep[k], segment[k]]
            # When each ends, if it does, and which convert.
            ends = ends_of(lives, n, draw, d, pace[first], spells, of_draw, sums)
            if not keep_disqualified:
                ends = only_wins(lives, ends, draw)
            days_of(lives, ends, spells, guide, cumulative)
            wins = 0
            for q in range(ends):
                k = which[q]
                r = rep[k]
                owner[k] = seats[r]
                if day[q] >= gone[d, r]:
                    owner[k] = heir[d, r, int(unit(mix(stream[k] ^ HEIR), draw) * heir.shape[2])]
                win = unit(stream[k], draw + CAUSE) * lives.both[q] < lives.win[q]
                if keep_disqualified:
                    leads_disqualified[d, owner[k], steps[day[q]]] += 1 - win
                lives.won[wins] = q
                wins += win
            # What the conversions begin, rep by rep.
            after[first:last] = 0
            for x in range(wins):
                k, on = which[lives.won[x]], day[lives.won[x]]
                if keep_converted:
                    leads_converted[d, owner[k], steps[on]] += 1
                if keep_days:
                    lead_days[d, owner[k], steps[on]] += on - start[k]
                wanted = begins[p] * begins_times[rep[k], on]
                copies = math.floor(wanted)
                copies += unit(stream[k], draw + _YIELD) < wanted - copies
                place[x] = copies
                after[rep[k]] += copies
            for r in range(first, last):
                at[d, r + 1] = at[d, r] + after[r]
                after[r] = at[d, r]
            size = at[d, last]
            if size > room:
                room = 2 * size
                begun_day, begun_segment = _longer(begun_day, room), _longer(begun_segment, room)
                begun_stream, begun_owner = _longer(begun_stream, room), _longer(begun_owner, room)
            for x in range(wins):
                k, on = which[lives.won[x]], day[lives.won[x]]
                for copy in range(place[x]):
                    to = after[rep[k]]
                    begun_day[to], begun_segment[to], begun_owner[to] = on, segment[k], owner[k]
                    begun_stream[to] = mix(mix(stream[k] ^ _BEGUN) + _U(copy) * GOLDEN)
                    after[rep[k]] += 1
    return at, begun_day[:size], begun_segment[:size], begun_stream[:size], begun_owner[:size]


@numba.njit(cache=True, nogil=True)
def _longer(array, size):
    out = np.empty(size, dtype=array.dtype)
    out[: array.shape[0]] = array
    return out
