"""What comes new in a draw, deals or leads alike: when, in which segment, with which stream of its own.

Numbers come per rep and bin (week or month), the days within a bin by the rep's weighted days at work. What
falls on a day on which nobody was there, or into a territory that somebody else works, is left out: thinned.
Those of several reps are made at once, because loops over bins with a few things in each spend their time on
guessing wrong how many there are.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

import numba
import numpy as np

from quotacast.engine.kernel_batch import AHEAD
from quotacast.engine.kernel_counts import counts
from quotacast.engine.streams import GOLDEN, mix, unit

_U = np.uint64
# Places of a new one's own stream.
_DAY, _SEGMENT = _U(2), _U(3)
#: Makes the stream of the lot that decides whose territory a creation is.
MOVE = _U(0xE7037ED1A0B428DB)


@numba.njit(cache=True, nogil=True)
def band_since(days, edges):
    """Band of tenure of somebody who began so many days ago."""
    return np.searchsorted(edges, max(days, 0), side="right") - 1


@numba.njit(cache=True, nogil=True)
def bin_keys(rep_key, bin_label):
    """Streams of the numbers created, shape (reps, bins)."""
    out = np.empty((rep_key.shape[0], bin_label.shape[0]), dtype=np.uint64)
    for r in range(rep_key.shape[0]):
        for b in range(bin_label.shape[0]):
            out[r, b] = mix(rep_key[r] + _U(bin_label[b]) * GOLDEN)
    return out


@numba.njit(cache=True, nogil=True, error_model="numpy")
def draw_numbers(
    d, p, draw, there, bin_key, at_work, bin_edges, bin_quarter, bin_middle, tenure, tenure_edges, follows,
    ramp_days, joined, gone, created_base, created_time, created_rep, created_tenure, driven, created_drive,
    dispersion, numbers, mean, lot, number, total,
):  # fmt: skip
    """Draw how many come for every rep in every bin of draw ``d``, and their sums.

    Arrays are those of :mod:`quotacast.engine.tables`; ``mean`` and ``lot`` (reps, bins) are written over,
    ``number`` (reps, bins) and ``total`` (reps,) written. Nothing comes for reps who are not ``there``.
    """
    reps, bins = number.shape
    for r in range(reps):
        here, until, base, after = joined[d, r], gone[d, r], created_base[d, r], follows[r]
        begun = min(here, ramp_days.shape[1] - 1)
        for b in range(bins):
            lot[r, b] = unit(bin_key[r, b], draw)
        for b in range(bins):
            low, high = bin_edges[b], bin_edges[b + 1]
            ramp = tenure[r, b]
            if after:
                ramp = band_since(ramp_days[r, bin_middle[b]] - ramp_days[r, begun], tenure_edges)
            some = (at_work[r, high] - at_work[r, low]) * base * created_time[d, b]
            some *= created_rep[d, r, bin_quarter[b]]
            some *= created_tenure[p, ramp]
            mean[r, b] = some if there[r] and high > here and low < until else 0.0
        if driven:
            for b in range(bins):
                mean[r, b] *= created_drive[d, r, b]
    counts(lot.reshape(-1), mean.reshape(-1), dispersion[p], numbers, number.reshape(-1))
    for r in range(reps):
        total[r] = 0
        for b in range(bins):
            total[r] += number[r, b]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def arrivals(
    d, first, last, coming, draw, number, bin_key, at_work, bin_edges, joined, gone, mix_row, segment_mix,
    move_given, move_at, move_first, move_last, move_low, move_high, lives,
):  # fmt: skip
    """Write rep, day, segment and stream of what comes new for some reps in draw ``d``; return how many.

    Parameters
    ----------
    first, last : int
        The first rep, and the one after the last.
    coming : bool
        Whether anybody comes or goes within the horizon.
    bin_edges : ndarray of uint32, shape (bins + 1,)
    number : ndarray of int64, shape (reps, bins)
        How many in every bin, before thinning.
    segment_mix : ndarray, shape (rows, segments)
        Cumulative shares of segments, by ``mix_row`` of the rep.
    lives : Batch
        With room for the sum of ``number``; ``rep``, ``start``, ``segment`` and ``stream`` are written,
        ``row``, ``owner`` and ``left`` written over.
    """
    rep, start, segment, stream = lives.rep, lives.start, lives.segment, lives.stream
    bin_of, nth, lot = lives.row, lives.owner, lives.left
    n, segments = 0, segment_mix.shape[1]
    for r in range(first, last):
        for b in range(number.shape[1]):
            for k in range(AHEAD):
                rep[n + k], bin_of[n + k], nth[n + k] = r, b, k + 1
            for k in range(AHEAD, number[r, b]):
                rep[n + k], bin_of[n + k], nth[n + k] = r, b, k + 1
            n += number[r, b]
    for i in range(n):
        stream[i] = mix(bin_key[rep[i], bin_of[i]] ^ mix(_U(nth[i])))
    for i in range(n):
        lot[i] = unit(stream[i], draw + _DAY)
    for i in range(n):
        r, b = rep[i], bin_of[i]
        low, high = bin_edges[b], bin_edges[b + 1]
        worked = at_work[r, low]
        target = worked + lot[i] * (at_work[r, high] - worked)
        day = low
        for later in range(low + 1, high):
            day += at_work[r, _U(later)] < target
        start[i] = day
    for i in range(n):
        lot[i] = unit(stream[i], draw + _SEGMENT)
    for i in range(n):
        row, s = mix_row[rep[i]], 0
        for j in range(segments - 1):
            s += segment_mix[row, j] < lot[i]
        segment[i] = s
    if coming:
        every, n = n, 0
        for i in range(every):
            r, day = rep[i], start[i]
            rep[n], start[n], segment[n], stream[n] = r, day, segment[i], stream[i]
            n += joined[d, r] <= day < gone[d, r]
    if move_first.shape[0] == 0:
        return n
    every, n = n, 0
    for i in range(every):
        r, day, s, own = rep[i], start[i], segment[i], stream[i]
        u, covered = unit(mix(own ^ MOVE), draw), False
        for w in range(move_at[r * segments + s], move_at[r * segments + s + 1]):
            if move_first[w] <= day <= move_last[w]:
                covered |= move_low[w] <= u < move_high[w]
        rep[n], start[n], segment[n], stream[n] = r, day, s, own
        n += covered == move_given[r]  # or it is somebody else's territory
    return n
