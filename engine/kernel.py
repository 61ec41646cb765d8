"""The inner loop of the simulator: every deal of every draw, compiled by numba.

All arrays are described in :mod:`quotacast.engine.tables`, which builds them. Days are counted from
the first simulated day; a day index at or beyond the last day means "not within the horizon".
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

import math

import numba
import numpy as np

from quotacast.engine.streams import GOLDEN, PER_DRAW, mix, unit

#: Largest mean for which counts are drawn by exact inversion; beyond, a rounded Normal serves.
EXACT_COUNT = 500.0
_U = np.uint64
# Places of a deal's own stream.
_WAIT, _CAUSE, _DAY, _SEGMENT, _VALUE, _RATIO, _ZERO = _U(0), _U(1), _U(2), _U(3), _U(4), _U(5), _U(6)


@numba.njit(cache=True, nogil=True)
def count(u, mean, phi):
    """NegBinomial number with this mean and dispersion, by inversion of ``u``."""
    if mean <= 0.0:
        return 0
    if mean > EXACT_COUNT:
        sd = math.sqrt(mean + mean * mean / phi)
        z = 0.0
        for _ in range(12):  # Newton on the Normal distribution function
            cdf = 0.5 * math.erfc(-z / math.sqrt(2.0))
            z -= (cdf - u) / max(math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi), 1e-3)
        return max(math.floor(mean + sd * z + 0.5), 0)
    ratio = mean / (phi + mean)
    p = math.exp(-phi * math.log1p(mean / phi))
    total, n = p, 0
    while u > total and n < 100_000:
        p *= (n + phi) / (n + 1.0) * ratio
        n += 1
        total += p
        if p < 1e-18 and n > mean:
            break
    return n


@numba.njit(cache=True, nogil=True)
def _find(cumulative, target, low, high):
    """Smallest index in [low, high) whose upper cumulative value reaches the target."""
    high -= 1
    while low < high:
        middle = (low + high) // 2
        if cumulative[middle + 1] < target:
            low = middle + 1
        else:
            high = middle
    return low


@numba.njit(cache=True, nogil=True)
def _pick(cumulative, u):
    """Index drawn from cumulative shares."""
    low, high = 0, cumulative.shape[0] - 1
    while low < high:
        middle = (low + high) // 2
        if cumulative[middle] < u:
            low = middle + 1
        else:
            high = middle
    return low


@numba.njit(cache=True, nogil=True)
def close(
    wait,
    cause_u,
    start,
    entry,
    win,
    loss,
    cumulative,
    weights,
    edges,
    piece_of_day,
    position,
    quarter,
    age_edges,
    age_win,
    age_loss,
    time_win,
    time_loss,
    rep_win,
    rep_loss,
    share_times,
    cycle_times,
    changed,
):
    """Follow one deal from ``entry`` until it closes or the horizon ends.

    Parameters
    ----------
    wait, cause_u : float
        Uniform numbers of the total cumulative hazard (inverted) and of the cause.
    start, entry : int
        Day of creation (negative for deals that are open at the start) and first day at risk.
    win, loss : float
        Constant factors of the deal's hazards.

    Returns
    -------
    day, won : int
        Day of the close (-1: still open at the horizon) and 1 for a win, 0 for a loss.
    """
    days = weights.shape[0]
    left = -math.log(wait)
    at = entry
    base = cumulative[at]
    if start == entry:
        base += 0.5 * weights[at]  # created in the middle of its day
    age = float(entry - start)
    piece = piece_of_day[at]
    band = age_edges.shape[0] - 1
    while age_edges[band] > age:
        band -= 1
    while True:
        end = edges[piece + 1]
        stretch = cycle_times[piece] if changed else 1.0
        if band + 1 < age_edges.shape[0]:
            turn = at + max(math.ceil((age_edges[band + 1] - age) * stretch), 1)
            if turn < end:
                end = turn
        q, pos = quarter[piece], position[piece]
        h_win = win * age_win[band, pos] * time_win[piece] * rep_win[q]
        h_loss = loss * age_loss[band, pos] * time_loss[piece] * rep_loss[q]
        if changed:
            whole = (h_win + h_loss) / stretch
            h_win = min(h_win / stretch * share_times[piece], whole)
            h_loss = whole - h_win
        both = h_win + h_loss
        passed = (cumulative[end] - base) * both
        if left <= passed:
            day = _find(cumulative, base + left / both, at, end)
            return day, 1 if cause_u * both < h_win else 0
        left -= passed
        age += (end - at) / stretch
        at = end
        if at >= days:
            return -1, 0
        base = cumulative[at]
        if at >= edges[piece + 1]:
            piece += 1
        while band + 1 < age_edges.shape[0] and age_edges[band + 1] <= age + 1e-9:
            band += 1


@numba.njit(cache=True, nogil=True, parallel=True)
def run(
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
    tenure,  # (reps, bins)
    created_base,  # (draws, reps)
    created_time,  # (draws, bins)
    created_rep,  # (draws, reps, quarters)
    created_tenure,  # (posterior, bands)
    dispersion,  # (posterior,)
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
    # changed rates by rep and piece
    changed,
    share_times,
    cycle_times,
    value_times,
    # results
    created,  # (draws, reps, steps)
    won,  # (draws, reps, steps, components)
    lost,
    won_days,
    won_cents,
):
    """Simulate a block of draws; see the module :mod:`quotacast.engine.tables` for every array."""
    draws, reps = created_base.shape
    for d in numba.prange(draws):
        p = parameter[d]
        draw = _U(first_draw + d) * PER_DRAW
        for i in range(deal_rep.shape[0] + reps):
            is_open = i < deal_rep.shape[0]
            r = deal_rep[i] if is_open else i - deal_rep.shape[0]
            bins = 1 if is_open else bin_label.shape[0]
            for b in range(bins):
                n = 1
                if not is_open:
                    exposure = at_work[r, bin_edges[b + 1]] - at_work[r, bin_edges[b]]
                    if exposure <= 0.0:
                        continue
                    mean = (
                        exposure
                        * created_base[d, r]
                        * created_time[d, b]
                        * created_rep[d, r, bin_quarter[b]]
                        * created_tenure[p, tenure[r, b]]
                    )
                    bin_key = mix(rep_key[r] + _U(bin_label[b]) * GOLDEN)
                    n = count(unit(bin_key, draw), mean, dispersion[p])
                for k in range(n):
                    if is_open:
                        stream = deal_key[i]
                        start, entry = deal_start[i], 0
                        s, band, log_amount = deal_segment[i], deal_band[i], deal_amount[i]
                    else:
                        stream = mix(bin_key ^ mix(_U(k + 1)))
                        low, high = bin_edges[b], bin_edges[b + 1]
                        target = at_work[r, low] + unit(stream, draw + _DAY) * exposure
                        start = _find(at_work[r], target, low, high)
                        entry = start
                        created[d, r, step_of_day[start]] += 1
                        s = _pick(segment_mix[p, mix_row[r]], unit(stream, draw + _SEGMENT))
                        band, log_amount = 0, math.nan
                        if quoted:
                            log_amount = (
                                value_segment[p, s]
                                + value_rep[d, r]
                                + value_time[d, quarter[piece_of_day[start]]]
                                + residual[_pick(residual_shares[p], unit(stream, draw + _VALUE))]
                            )
                            band = 1
                            for e in range(band_edges.shape[0]):
                                band += log_amount > band_edges[e]
                    day, win = close(
                        unit(stream, draw + _WAIT),
                        unit(stream, draw + _CAUSE),
                        start,
                        entry,
                        base_win[d, r] * segment_win[p, s] * amount_win[p, band],
                        base_loss[d, r] * segment_loss[p, s] * amount_loss[p, band],
                        cumulative,
                        weights,
                        edges,
                        piece_of_day,
                        position,
                        quarter,
                        age_edges,
                        age_win[p],
                        age_loss[p],
                        time_win[d],
                        time_loss[d],
                        rep_win[d, r],
                        rep_loss[d, r],
                        share_times[r],
                        cycle_times[r],
                        changed,
                    )
                    if day < 0:
                        continue
                    step = step_of_day[day]
                    component = 0 if is_open else 1
                    if win == 0:
                        lost[d, r, step, component] += 1
                        continue
                    won[d, r, step, component] += 1
                    won_days[d, r, step, component] += day - start
                    if unit(stream, draw + _ZERO) < zero_share[p]:
                        continue
                    if math.isnan(log_amount):
                        log_amount = (
                            value_segment[p, s]
                            + value_rep[d, r]
                            + value_time[d, quarter[piece_of_day[day]]]
                            + residual[_pick(residual_shares[p], unit(stream, draw + _VALUE))]
                        )
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
                    won_cents[d, r, step, component] += math.floor(min(amount, largest) * 100.0 + 0.5)
