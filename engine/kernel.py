"""The inner loop of the simulator: every deal of every draw, compiled by numba.

All arrays are described in :mod:`quotacast.engine.tables`, which builds them. Days are counted from
the first simulated day; a day index at or beyond the last day means "not within the horizon".
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
    can_be_won,
    draw_hazards,
    factors,
    largest_ratio,
    last_of,
    only_wins,
    places,
    room_for,
    room_for_hazards,
    without_sure_losses,
)
from quotacast.engine.kernel_spells import days_of, ends_of, no_sums
from quotacast.engine.kernel_stages import close_staged, staged_hazards
from quotacast.engine.streams import PER_DRAW, mix, unit

#: Entries of the guide to a row of cumulative shares; a power of 2, so exact.
GUIDE = 8192
#: Places of cumulative shares that are tried without asking whether the right one is found.
TRIED = 2
_U = np.uint64
# Places of a deal's own stream; 0 to 3 are those of all lives and of arrivals.
_VALUE, _RATIO, _ZERO, _MARGIN = _U(4), _U(5), _U(6), _U(7)


@numba.njit(cache=True, nogil=True)
def _share_guide(cumulative, guide):
    """First index whose cumulative share reaches each multiple of 1 / GUIDE, into ``guide`` (GUIDE + 1,)."""
    guide[:] = 0
    for i in range(cumulative.shape[0] - 1):
        guide[min(int(cumulative[i] * GUIDE) + 1, GUIDE)] += 1
    for g in range(GUIDE):
        guide[g + 1] += guide[g]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _draw_sizes(lives, n, draw, centre, time, quarter_of_day, residual, shares, guide):
    """Logarithms of the amounts of some deals, into ``size``.

    Parameters
    ----------
    centre : ndarray, shape (reps, segments)
    time : ndarray, shape (quarters,)
    shares : ndarray, shape (residuals + TRIED,)
    """
    rep, start, segment, stream, size = lives.rep, lives.start, lives.segment, lives.stream, lives.size
    last = _U(residual.shape[0] - 1)
    for k in range(n):
        u = unit(stream[k], draw + _VALUE)
        pick = _U(guide[_U(int(u * GUIDE))])
        for _ in range(TRIED):  # nearly always enough, and nothing to guess
            pick += _U(shares[pick] < u)
        while pick < last and shares[pick] < u:
            pick += _U(1)
        pick = min(pick, last)
        size[k] = centre[rep[k], segment[k]] + time[quarter_of_day[_U(start[k])]] + residual[pick]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _own_factors(lives, n, hazards, edges, band_win, band_loss):
    """Own factors of both hazards of new deals: the rep's and segment's by that of the amount's band."""
    rep, segment, size, own_win, own_loss = (
        lives.rep, lives.segment, lives.size, lives.own_win, lives.own_loss,
    )  # fmt: skip
    win, loss = hazards.own_win, hazards.own_loss
    for k in range(n):
        r, s, band = rep[k], segment[k], 0
        if not math.isnan(size[k]):
            band = 1
            for e in range(edges.shape[0]):
                band += size[k] > edges[e]
        own_win[k], own_loss[k] = win[r, s] * band_win[band], loss[r, s] * band_loss[band]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _add_open(
    lives, n, first, last, draw, order, at, rep_of, key, starts, segments, bands, amounts, rows, stage, seat,
    hazards, band_win, band_loss, choose, staged_odds, times,
):  # fmt: skip
    """Add the open deals of some reps behind ``n`` lives, those in a stage at the end of the room for all.

    Where ``choose``, those are left out that are lost whenever they end (see
    :func:`quotacast.engine.kernel_batch.without_sure_losses`); in a stage odds are ``staged_odds`` times as
    large.

    Returns
    -------
    tuple of int
        The place after the last without a stage, and that of the first in one.
    """
    stream, rep, start, segment, owner = lives.stream, lives.rep, lives.start, lives.segment, lives.owner
    row, own_win, own_loss, size, which = lives.row, lives.own_win, lives.own_loss, lives.size, lives.which
    win, loss, odds = hazards.own_win, hazards.own_loss, hazards.odds
    unstaged, staged = n, n + at[last] - at[first]
    for i in order[at[first] : at[last]]:
        r, s, band, in_stage = rep_of[i], segments[i], bands[i], stage.shape[0] > 0 and stage[i] >= 0
        if choose and not can_be_won(key[i], draw, odds[r, s] * (staged_odds if in_stage else 1.0), times):
            continue
        if in_stage:
            staged -= 1
            k = staged
        else:
            k = unstaged
            unstaged += 1
        stream[k], rep[k], start[k], segment[k], owner[k] = key[i], r, starts[i], s, seat[r]
        row[k], size[k], which[k] = rows[i], amounts[i], i
        own_win[k], own_loss[k] = win[r, s] * band_win[band], loss[r, s] * band_loss[band]
    return unstaged, staged


@numba.njit(cache=True, nogil=True, error_model="numpy")
def close_deals(
    guide,  # what all draws have in common, see :func:`quotacast.engine.kernel_spells.shared`
    bin_key,
    spells,
    pace,
    deal_row,
    new_row,
    deal_order,
    deal_at,
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
    """Simulate some draws of a block; see the module :mod:`quotacast.engine.tables` for every array."""
    reps, bins, days = created_base.shape[1], bin_label.shape[0], weights.shape[0]
    cells, values = age_edges.shape[0] * position.shape[0], residual.shape[0]
    segments, stretches = segment_win.shape[1], spells.stretch_piece.shape[0]
    rows, every_piece = new_row + days, np.arange(position.shape[0])
    piece_win, piece_loss = np.empty((reps, position.shape[0])), np.empty((reps, position.shape[0]))
    shares, share_at = np.full(values + TRIED, np.inf), np.empty(GUIDE + 1, dtype=np.uint32)
    staged_win, staged_loss, staged_move = np.empty(cells), np.empty(cells), np.empty(cells)
    of_draw, centre = room_for_hazards(cells, reps, stretches, segments), np.empty((reps, segments))
    mean, lot, number = np.zeros((reps, bins)), np.zeros((reps, bins)), np.zeros((reps, bins), dtype=np.int64)
    there, total = np.zeros(reps, dtype=np.bool_), np.zeros(reps, dtype=np.int64)
    lives, sums = room_for(LIVES), no_sums(spells, rows)
    coming = (joined > 0).any() or (gone < days).any()
    bootstraps, margins = margin_shares.shape[0], margin.shape[0] * (margin_cents.shape[0] > 0)
    keep_created, keep_won, keep_lost = created.shape[0] > 0, won.shape[0] > 0, lost.shape[0] > 0
    keep_days, keep_cents = won_days.shape[0] > 0, won_cents.shape[0] > 0
    money = keep_cents or margins > 0
    closings = keep_won or keep_lost or keep_days or money
    bins_at, bins_quarter = places(bin_edges), places(bin_quarter)
    steps, seats = places(step_of_day), places(seat)
    quarter_of_day, most_times = places(quarter[piece_of_day]), share_times.max() if changed else 1.0
    staged_odds = 1.0
    for d in range(parameter.shape[0]):
        p = parameter[d]
        draw = _U(first_draw + d) * PER_DRAW
        shares[:values] = residual_shares[p]  # read in order, once, into the cache
        _share_guide(shares[:values], share_at)
        draw_hazards(
            d, p, position, quarter, cycle_times, spells.stretch_piece, age_win, age_loss, time_win,
            time_loss, rep_win, rep_loss, base_win, base_loss, segment_win, segment_loss,
            largest_ratio(amount_win[p], amount_loss[p]), of_draw,
        )  # fmt: skip
        if staged:
            cell_win, cell_loss = of_draw.cell_win, of_draw.cell_loss
            staged_hazards(
                p, d, cell_win, cell_loss, time_move, stage_arrays, staged_win, staged_loss, staged_move
            )
            factors(d, rep_win, quarter, cycle_times, every_piece, piece_win)
            factors(d, rep_loss, quarter, cycle_times, every_piece, piece_loss)
            staged_odds = largest_ratio(staged_win, staged_loss) / largest_ratio(cell_win, cell_loss)
            staged_odds *= largest_ratio(stage_arrays[0][p].reshape(-1), stage_arrays[1][p].reshape(-1))
        for r in range(reps):
            held = deal_at[r + 1] - deal_at[r] + begun_at[d, r + 1] - begun_at[d, r]
            there[r] = asked[r] and (joined[d, r] < days or held > 0)
            for s in range(segments):
                centre[r, s] = value_segment[p, s] + value_rep[d, r]
        draw_numbers(
            d, p, draw, there, bin_key, at_work, bins_at, bins_quarter, bin_middle, tenure, tenure_edges,
            follows, ramp_days, joined, gone, created_base, created_time, created_rep, created_tenure, driven,
            created_drive, dispersion, numbers, mean, lot, number, total,
        )  # fmt: skip
        for r in range(reps):
            if there[r]:
                total[r] += deal_at[r + 1] - deal_at[r] + begun_at[d, r + 1] - begun_at[d, r]
        last = 0
        while last < reps:
            first = last
            last, held = last_of(first, total, there, pace, LIVES)
            if held == 0:
                continue
            if held + AHEAD > lives.stream.shape[0]:
                lives = room_for(2 * held)
            stream, rep, start, segment = lives.stream, lives.rep, lives.start, lives.segment
            owner, row, size, which, day = lives.owner, lives.row, lives.size, lives.which, lives.day
            h_win, both = lives.win, lives.both
            # New ones, and those that leads begin.
            new = arrivals(
                d, first, last, coming, draw, number, bin_key, at_work, bins_at, joined, gone, mix_row,
                segment_mix[p], move_given, move_at, move_first, move_last, move_low, move_high, lives,
            )  # fmt: skip
            for k in range(new):
                owner[k] = seats[rep[k]]
            for r in range(first, last):
                for i in range(begun_at[d, r], begun_at[d, r + 1]):
                    stream[new], rep[new], start[new] = begun_stream[i], r, begun_day[i]
                    segment[new], owner[new] = begun_segment[i], begun_owner[i]
                    new += 1
            if keep_created:
                for k in range(new):
                    created[d, owner[k], steps[start[k]]] += 1
            if not closings:
                continue
            for k in range(new):
                row[k], size[k] = new_row + start[k], math.nan
            if not keep_lost:
                new = without_sure_losses(lives, new, draw, of_draw.odds, most_times)
            if quoted:
                _draw_sizes(
                    lives, new, draw, centre, value_time[d], quarter_of_day, residual, shares, share_at
                )
            _own_factors(lives, new, of_draw, band_edges, amount_win[p], amount_loss[p])
            n, low = _add_open(
                lives, new, first, last, draw, deal_order, deal_at, deal_rep, deal_key, deal_start,
                deal_segment, deal_band, deal_amount, deal_row, deal_stage, seats, of_draw, amount_win[p],
                amount_loss[p], not keep_lost, staged_odds, most_times,
            )  # fmt: skip
            # When each ends, if it does.
            ends = ends_of(lives, n, draw, d, pace[first], spells, of_draw, sums)
            if changed:
                for q in range(ends):
                    times = share_times[rep[which[q]], spells.piece[lives.place[q]]]
                    h_win[q] = min(h_win[q] * times, both[q])
            if not keep_lost:  # of a leaver's deals, fewer are won below
                ends = only_wins(lives, ends, draw)
            days_of(lives, ends, spells, guide, cumulative)
            if staged:
                ends = close_staged(
                    lives, low, new + deal_at[last] - deal_at[first], ends, draw, p, deal_stage,
                    deal_in_stage, stage_arrays, staged_win, staged_loss, staged_move, piece_win, piece_loss,
                    pace[first] * rows, spells, cumulative, guide, changed, cycle_times, share_times,
                )  # fmt: skip
            # Which are won.
            wins = 0
            for q in range(ends):
                k = which[q]
                leaves = gone[d, rep[k]]
                if day[q] >= leaves and start[k] < leaves:
                    h_win[q] *= keep_odds
                    owner[k] = heir[d, rep[k], int(unit(mix(stream[k] ^ HEIR), draw) * heir.shape[2])]
                win = unit(stream[k], draw + CAUSE) * both[q] < h_win[q]
                if keep_lost:
                    lost[d, owner[k], steps[day[q]], int(k < new)] += 1 - win
                lives.won[wins] = q
                wins += win
            for x in range(wins):
                q = lives.won[x]
                k = which[q]
                r, s, own, log_amount = rep[k], segment[k], stream[k], size[k]
                to, step, component = owner[k], steps[day[q]], int(k < new)
                if keep_won:
                    won[d, to, step, component] += 1
                if keep_days:
                    won_days[d, to, step, component] += day[q] - start[k]
                if not money:
                    continue
                if zero_share[p] > 0.0 and unit(own, draw + _ZERO) < zero_share[p]:
                    continue
                if math.isnan(log_amount):
                    u = unit(own, draw + _VALUE)
                    pick = share_at[int(u * GUIDE)]
                    while pick < values - 1 and shares[pick] < u:
                        pick += 1
                    log_amount = centre[r, s] + value_time[d, quarter_of_day[day[q]]] + residual[pick]
                    if quoted:
                        log_amount += new_ratio[int(unit(own, draw + _RATIO) * new_ratio.shape[0])]
                elif component == 0:
                    log_amount += open_ratio[int(unit(own, draw + _RATIO) * open_ratio.shape[0])]
                else:
                    log_amount += new_ratio[int(unit(own, draw + _RATIO) * new_ratio.shape[0])]
                amount = math.exp(log_amount)
                if changed:
                    amount *= value_times[r, piece_of_day[day[q]]]
                cents = math.floor(min(amount, largest) * 100.0 + 0.5)
                if keep_cents:
                    won_cents[d, to, step, component] += cents
                if margins > 0:
                    u = unit(own, draw + _MARGIN)
                    pick = np.searchsorted(margin_shares[p % bootstraps, s], u)
                    part = margin[min(pick, margins - 1)] * margin_times[r, piece_of_day[day[q]]]
                    margin_cents[d, to, step, component] += math.floor(cents * min(part, 1.0) + 0.5)
