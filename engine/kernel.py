"""The inner loop of the simulator: every deal of every draw, compiled by numba.

All arrays are described in :mod:`quotacast.engine.tables`, which builds them. Days are counted from
the first simulated day; a day index at or beyond the last day means "not within the horizon".
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from quotacast.engine.kernel_arrivals import AHEAD, arrivals, numbers_per_bin, room_for
from quotacast.engine.kernel_spells import paths, rows_by_rep
from quotacast.engine.kernel_stages import walk
from quotacast.engine.streams import GOLDEN, PER_DRAW, mix, unit

#: Places per weighted day of the guides from a cumulative value to its index; a power of 2, so exact.
FINE = 4
#: Entries of the guide to a row of cumulative shares; a power of 2, so exact.
GUIDE = 8192
_U = np.uint64
# Places of a deal's own stream.
_WAIT, _CAUSE = _U(0), _U(1)  # 2 and 3 are those of arrivals
_VALUE, _RATIO, _ZERO, _MARGIN = _U(4), _U(5), _U(6), _U(7)
#: Makes the stream that chooses an heir out of a deal's or a lead's own.
HEIR = _U(0xA0761D6478BD642F)


@numba.njit(cache=True, nogil=True)
def day_guide(cumulative):
    """First index whose upper cumulative value reaches each multiple of 1 / FINE: where to start looking."""
    last = cumulative.shape[0] - 2
    guide = np.empty(int(cumulative[last + 1] * FINE) + 2, dtype=np.int32)
    day = 0
    for g in range(guide.shape[0]):
        while day < last and cumulative[day + 1] < g / FINE:
            day += 1
        guide[g] = day
    return guide


@numba.njit(cache=True, nogil=True)
def _share_guide(cumulative, guide):
    """First index whose cumulative share reaches each multiple of 1 / GUIDE, into ``guide`` (GUIDE + 1,)."""
    guide[:] = 0
    for i in range(cumulative.shape[0] - 1):
        guide[min(int(cumulative[i] * GUIDE) + 1, GUIDE)] += 1
    for g in range(GUIDE):
        guide[g + 1] += guide[g]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def draw_rates(p, d, position, age, time, out):
    """Hazards of a cause in a draw, but for the rep's and a deal's factors, into ``out`` (bands, pieces)."""
    for band in range(out.shape[0]):
        for piece in range(out.shape[1]):
            out[band, piece] = age[p, band, position[piece]] * time[d, piece]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def rates(d, r, quarter, rep, of_draw, cycle_times, out):
    """The same for a rep whose cycle lasts so many times as long, into ``out`` (bands x pieces,)."""
    bands, pieces = of_draw.shape
    for band in range(bands):
        for piece in range(pieces):
            out[band * pieces + piece] = (
                of_draw[band, piece] * rep[d, r, quarter[piece]] / cycle_times[r, piece]
            )


@numba.njit(cache=True, nogil=True, error_model="numpy")
def close_deals(
    guide,
    bin_key,  # (reps, bins)
    place,  # where a deal's spells are: of open deals, then of new ones by rep and day of creation
    spell,
    span,
    deal_order,  # open deals by rep
    deal_at,  # (reps + 1,) where those of each rep begin
    first_draw,
    parameter,  # (draws,) row of the posterior
    # time
    cumulative,
    weights,
    edges,
    piece_of_day,
    position,
    quarter,
    step_of_day,
    # creation
    rep_key,
    at_work,  # (reps, days + 1) cumulative weighted days at work, changed rates included
    bin_edges,
    bin_label,
    bin_quarter,
    bin_middle,
    tenure,  # (reps, bins)
    tenure_edges,
    # people: rows are those who hold a seat one after another
    asked,  # (reps,) whether anybody asks for them
    seat,  # (reps,) under which results are counted
    follows,  # (reps,) who began within the horizon on a seat that somebody left
    ramp_days,  # (reps, days + 1) days of ramp gone through until each day
    move_given,  # moved territories, see :mod:`quotacast.engine.territory`
    move_at,
    move_first,
    move_last,
    move_low,
    move_high,
    joined,  # (draws, reps) first day
    gone,  # (draws, reps) day from which the rep is away
    heir,  # (draws, reps, heirs) seats to which a leaver's deals go
    keep_odds,  # share of its win hazard that a deal keeps then
    created_base,  # (draws, reps)
    created_time,  # (draws, bins)
    created_rep,  # (draws, reps, quarters)
    created_tenure,  # (posterior, bands)
    driven,  # 1: recent activity changes the mean
    created_drive,  # (draws, reps, bins)
    dispersion,  # (posterior,)
    numbers,  # table of counts
    mix_row,  # (reps,)
    segment_mix,  # (posterior, rows, segments)
    # hazards
    age_edges,
    base_win,  # (draws, reps)
    base_loss,
    segment_win,  # (posterior, segments)
    segment_loss,
    amount_win,  # (posterior, bands)
    amount_loss,
    age_win,  # (posterior, bands, positions)
    age_loss,
    time_win,  # (draws, pieces)
    time_loss,
    rep_win,  # (draws, reps, quarters)
    rep_loss,
    # value
    quoted,  # 1: amounts are drawn at creation and enter the hazards
    band_edges,  # log amounts
    value_segment,  # (posterior, segments)
    value_rep,  # (draws, reps)
    value_time,  # (draws, quarters)
    residual,
    residual_shares,  # (posterior, residuals)
    zero_share,
    new_ratio,
    open_ratio,
    largest,
    # open deals
    deal_key,
    deal_rep,
    deal_start,
    deal_segment,
    deal_band,
    deal_amount,  # log of the quote, NaN unknown
    # stages of open deals, see the modules stage_tables and kernel_stages
    staged,  # 1: some deal has one
    deal_stage,  # -1: by age alone
    deal_in_stage,  # days
    stage_arrays,
    time_move,  # (draws, pieces)
    # opportunities that leads begin; those begun after the leaving are the heirs' from the start
    begun_at,  # (draws, reps + 1) where those of a draw and rep begin
    begun_day,
    begun_segment,
    begun_stream,
    begun_owner,  # seat to which it belongs
    # changed rates by rep and piece
    changed,
    share_times,
    cycle_times,
    value_times,
    # margin of wins
    margin,  # shares of the amount
    margin_shares,  # (bootstraps, segments, margins), none where margins are unknown
    margin_times,  # (reps, pieces)
    # results; empty where nobody asks for them
    created,  # (draws, reps, steps)
    won,  # (draws, reps, steps, components)
    lost,
    won_days,
    won_cents,
    margin_cents,
):
    """Simulate some draws of a block; see the module :mod:`quotacast.engine.tables` for every array.

    One long function on purpose: a compiled helper that takes arrays costs more than what it does, for every
    array is handed over as seven words and its references are counted, atomically, for each of the deals.
    """
    reps, deals, bins = created_base.shape[1], deal_rep.shape[0], bin_label.shape[0]
    bands, pieces, values = age_edges.shape[0], position.shape[0], residual.shape[0]
    shares, share_at = np.empty_like(residual_shares[0]), np.empty(GUIDE + 1, dtype=np.int32)
    draw_win, draw_loss = np.empty((bands, pieces)), np.empty((bands, pieces))
    rate_win, rate_loss = np.empty(bands * pieces), np.empty(bands * pieces)
    mean, lot, number = np.zeros(bins), np.zeros(bins), np.zeros(bins, dtype=np.int64)
    new, new_stream = room_for(256)
    begin, end, cell, piece = spell[0], spell[1], spell[2], spell[3]
    before, risk = span[0], span[1]
    days = weights.shape[0]
    rows = 1 if place.shape[0] > deals + days + 1 else 0  # spells by rep, where cycles are changed
    bootstraps, margins = margin_shares.shape[0], margin.shape[0] * (margin_cents.shape[0] > 0)
    keep_created, keep_won, keep_lost = created.shape[0] > 0, won.shape[0] > 0, lost.shape[0] > 0
    keep_days, keep_cents = won_days.shape[0] > 0, won_cents.shape[0] > 0
    money = keep_cents or margins > 0
    closings = keep_won or keep_lost or keep_days or money
    for d in range(parameter.shape[0]):
        p = parameter[d]
        draw = _U(first_draw + d) * PER_DRAW
        shares[:] = residual_shares[p]  # read in order, once, into the cache
        _share_guide(shares, share_at)
        draw_rates(p, d, position, age_win, time_win, draw_win)
        draw_rates(p, d, position, age_loss, time_loss, draw_loss)
        for r in range(reps):
            nobody = deal_at[r + 1] == deal_at[r] and begun_at[d, r + 1] == begun_at[d, r]
            if not asked[r] or (joined[d, r] >= days and nobody):
                continue
            rates(d, r, quarter, rep_win, draw_win, cycle_times, rate_win)
            rates(d, r, quarter, rep_loss, draw_loss, cycle_times, rate_loss)
            rep_wins, rep_losses, rep_value, shares_of = (
                base_win[d, r],
                base_loss[d, r],
                value_rep[d, r],
                mix_row[r],
            )
            expected = numbers_per_bin(
                d, r, p, draw, bin_key, at_work, bin_edges, bin_quarter, bin_middle, tenure, tenure_edges,
                follows, ramp_days, joined, gone, created_base, created_time, created_rep, created_tenure,
                driven, created_drive, dispersion, numbers, mean, lot, number,
            )  # fmt: skip
            if expected + AHEAD > new_stream.shape[0]:
                new, new_stream = room_for(2 * expected)
            for group in range(3):  # new ones, open ones, and those that leads begin
                is_open, is_begun = group == 1, group == 2
                if is_open:
                    n = deal_at[r + 1] - deal_at[r] if closings else 0
                elif is_begun:
                    n = begun_at[d, r + 1] - begun_at[d, r]
                else:
                    n = arrivals(
                        d, r, draw, number, bin_key, at_work, bin_edges, joined, gone,
                        segment_mix[p, shares_of], move_given, move_at, move_first, move_last, move_low,
                        move_high, new[0], new[1], new_stream, new[2], new[3],
                    )  # fmt: skip
                for k in range(n):
                    if is_open:
                        i, owner = deal_order[deal_at[r] + k], seat[r]
                        stream = deal_key[i]
                        start = deal_start[i]
                        s, band, log_amount = deal_segment[i], deal_band[i], deal_amount[i]
                    else:
                        owner = seat[r]
                        if is_begun:
                            i = begun_at[d, r] + k
                            stream, start, s = begun_stream[i], begun_day[i], begun_segment[i]
                            owner = begun_owner[i]
                        else:
                            stream, start, s = new_stream[k], new[0, k], new[1, k]
                        if keep_created:
                            created[d, owner, step_of_day[start]] += 1
                        if not closings:
                            continue
                        band, log_amount = 0, math.nan
                        if quoted:
                            u = unit(stream, draw + _VALUE)
                            pick = share_at[int(u * GUIDE)]
                            while pick < values - 1 and shares[pick] < u:
                                pick += 1
                            centre = (
                                value_segment[p, s] + rep_value + value_time[d, quarter[piece_of_day[start]]]
                            )
                            log_amount = centre + residual[pick]
                            band = 1
                            for e in range(band_edges.shape[0]):
                                band += log_amount > band_edges[e]
                    row = deals + rows * r * days + start
                    if is_open:
                        row = i
                    # Spend the deal's cumulative hazard spell by spell.
                    own_win = rep_wins * segment_win[p, s] * amount_win[p, band]
                    own_loss = rep_losses * segment_loss[p, s] * amount_loss[p, band]
                    left = -math.log(unit(stream, draw + _WAIT))
                    day, win = -1, False
                    first, beyond = place[row], place[row + 1]
                    if staged and is_open and deal_stage[i] >= 0:
                        day, h_win, both = walk(
                            stream, draw, p, deal_stage[i], deal_in_stage[i], stage_arrays, own_win,
                            own_loss, rate_win, rate_loss, time_move[d], end[first:beyond],
                            cell[first:beyond], piece[first:beyond], cumulative, guide, FINE,
                            changed, cycle_times[r], share_times[r],
                        )  # fmt: skip
                        if day >= gone[d, r] and start < gone[d, r]:
                            h_win *= keep_odds
                            owner = heir[d, r, int(unit(mix(stream ^ HEIR), draw) * heir.shape[2])]
                        win = unit(stream, draw + _CAUSE) * both < h_win
                        beyond = first
                    for j in range(first, beyond):
                        h_win = own_win * rate_win[cell[j]]
                        both = h_win + own_loss * rate_loss[cell[j]]
                        passed = risk[j] * both
                        if left <= passed:
                            target = before[j] + left / both
                            day, last = max(guide[int(target * FINE)], begin[j]), end[j] - 1
                            while day < last and cumulative[day + 1] < target:
                                day += 1
                            if changed:
                                h_win = min(h_win * share_times[r, piece[j]], both)
                            if day >= gone[d, r] and start < gone[d, r]:
                                h_win *= keep_odds
                                owner = heir[d, r, int(unit(mix(stream ^ HEIR), draw) * heir.shape[2])]
                            win = unit(stream, draw + _CAUSE) * both < h_win
                            break
                        left -= passed
                    if day < 0:
                        continue
                    step = step_of_day[day]
                    component = 0 if is_open else 1
                    if not win:
                        if keep_lost:
                            lost[d, owner, step, component] += 1
                        continue
                    if keep_won:
                        won[d, owner, step, component] += 1
                    if keep_days:
                        won_days[d, owner, step, component] += day - start
                    if not money:
                        continue
                    if zero_share[p] > 0.0 and unit(stream, draw + _ZERO) < zero_share[p]:
                        continue
                    if math.isnan(log_amount):
                        u = unit(stream, draw + _VALUE)
                        pick = share_at[int(u * GUIDE)]
                        while pick < values - 1 and shares[pick] < u:
                            pick += 1
                        centre = value_segment[p, s] + rep_value + value_time[d, quarter[piece_of_day[day]]]
                        log_amount = centre + residual[pick]
                        if quoted:
                            pick = int(unit(stream, draw + _RATIO) * new_ratio.shape[0])
                            log_amount += new_ratio[pick]
                    elif is_open:
                        log_amount += open_ratio[int(unit(stream, draw + _RATIO) * open_ratio.shape[0])]
                    else:
                        log_amount += new_ratio[int(unit(stream, draw + _RATIO) * new_ratio.shape[0])]
                    amount = math.exp(log_amount)
                    if changed:
                        amount *= value_times[r, piece_of_day[day]]
                    cents = math.floor(min(amount, largest) * 100.0 + 0.5)
                    if keep_cents:
                        won_cents[d, owner, step, component] += cents
                    if margins > 0:
                        u = unit(stream, draw + _MARGIN)
                        some = margin_shares[p % bootstraps, s]
                        pick = np.searchsorted(some, u)
                        part = min(margin[min(pick, margins - 1)] * margin_times[r, piece_of_day[day]], 1.0)
                        margin_cents[d, owner, step, component] += math.floor(cents * part + 0.5)


def shared(arrays: dict[str, Any]) -> dict[str, Any]:
    """What all draws have in common and is quickly made."""
    names = ("cumulative", "weights", "edges", "piece_of_day", "age_edges", "cycle_times")
    grid = [arrays[name] for name in names]
    days, by_rep = arrays["weights"].size, (arrays["cycle_times"] != 1.0).any()
    reps = arrays["rep_key"].size if by_rep else 1
    rep = np.concatenate([arrays["deal_rep"], np.repeat(np.arange(reps), days)])
    start = np.concatenate([arrays["deal_start"], np.tile(np.arange(days), reps)])
    place, spell, span = paths(rep, start, *grid)
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


@numba.njit(cache=True, nogil=True)
def bin_keys(rep_key, bin_label):
    """Streams of the numbers created, shape (reps, bins)."""
    out = np.empty((rep_key.shape[0], bin_label.shape[0]), dtype=np.uint64)
    for r in range(rep_key.shape[0]):
        for b in range(bin_label.shape[0]):
            out[r, b] = mix(rep_key[r] + _U(bin_label[b]) * GOLDEN)
    return out
