"""What comes new in a draw, deals or leads alike: when, in which segment, with which stream of its own.

Numbers come per rep and bin (week or month), the days within a bin by the rep's weighted days at work. What
falls on a day on which nobody was there, or into a territory that somebody else works, is left out: thinned.
All of a rep's are made at once, because loops over bins with a few things in each spend their time on
guessing wrong how many there are.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

import numba
import numpy as np

from quotacast.engine.kernel_counts import counts
from quotacast.engine.streams import mix, unit

_U = np.uint64
# Places of a new one's own stream.
_DAY, _SEGMENT = _U(2), _U(3)
#: Makes the stream of the lot that decides whose territory a creation is.
MOVE = _U(0xE7037ED1A0B428DB)
#: Places that are written for every bin, whether it has as many or not.
AHEAD = 4


@numba.njit(cache=True, nogil=True)
def band_since(days, edges):
    """Band of tenure of somebody who began so many days ago."""
    return np.searchsorted(edges, max(days, 0), side="right") - 1


@numba.njit(cache=True, nogil=True, error_model="numpy")
def numbers_per_bin(
    d, r, p, draw, bin_key, at_work, bin_edges, bin_quarter, bin_middle, tenure, tenure_edges, follows,
    ramp_days, joined, gone, created_base, created_time, created_rep, created_tenure, driven, created_drive,
    dispersion, numbers, mean, lot, number,
):  # fmt: skip
    """Draw how many come for rep ``r`` in every bin of draw ``d`` into ``number`` (bins,); return their sum.

    Arrays are those of :mod:`quotacast.engine.tables`; ``mean`` and ``lot`` (bins,) are written over.
    """
    mean[:] = 0.0
    for b in range(number.shape[0]):
        low, high = bin_edges[b], bin_edges[b + 1]
        exposure = at_work[r, high] - at_work[r, low]
        if exposure <= 0.0 or high <= joined[d, r] or low >= gone[d, r]:
            continue
        ramp = tenure[r, b]
        if follows[r]:
            ramp = band_since(ramp_days[r, bin_middle[b]] - ramp_days[r, joined[d, r]], tenure_edges)
        mean[b] = exposure * created_base[d, r] * created_time[d, b] * created_rep[d, r, bin_quarter[b]]
        mean[b] *= created_tenure[p, ramp]
        if driven:
            mean[b] *= created_drive[d, r, b]
        lot[b] = unit(bin_key[r, b], draw)
    counts(lot, mean, dispersion[p], numbers, number)
    return number.sum()


@numba.njit(cache=True, nogil=True)
def room_for(n):
    """Arrays for the places, days, segments and streams of so many new ones."""
    size = n + AHEAD
    whole = np.empty((4, size), dtype=np.int64)
    return whole, np.empty(size, dtype=np.uint64)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def arrivals(
    d, r, draw, number, bin_key, at_work, bin_edges, joined, gone, segment_mix, move_given, move_at,
    move_first, move_last, move_low, move_high, start, segment, stream, bin_of, nth,
):  # fmt: skip
    """Write day, segment and stream of what comes new for rep ``r`` in draw ``d``; return how many.

    Parameters
    ----------
    number : ndarray of int64, shape (bins,)
        How many in every bin, before thinning.
    segment_mix : ndarray, shape (segments,)
        Cumulative shares of the rep's segments.
    start, segment, bin_of, nth : ndarray of int64, shape (room,)
    stream : ndarray of uint64, shape (room,)
        Written from the beginning; ``room`` exceeds the sum of ``number`` by what :func:`room_for` adds.
    """
    n, segments = 0, segment_mix.shape[0]
    for b in range(number.shape[0]):
        for k in range(AHEAD):
            bin_of[n + k], nth[n + k] = b, k
        for k in range(AHEAD, number[b]):
            bin_of[n + k], nth[n + k] = b, k
        n += number[b]
    kept, here, until = 0, joined[d, r], gone[d, r]
    for i in range(n):
        b = bin_of[i]
        low, high = bin_edges[b], bin_edges[b + 1]
        own = mix(bin_key[r, b] ^ mix(_U(nth[i] + 1)))
        worked = at_work[r, low]
        target = worked + unit(own, draw + _DAY) * (at_work[r, high] - worked)
        day = low
        for later in range(low + 1, high):
            day += at_work[r, later] < target
        u = unit(own, draw + _SEGMENT)
        s = 0
        for j in range(segments - 1):
            s += segment_mix[j] < u
        start[kept], segment[kept], stream[kept] = day, s, own
        kept += here <= day < until
    if move_first.shape[0] == 0:
        return kept
    n, kept = kept, 0
    for i in range(n):
        day, s, own = start[i], segment[i], stream[i]
        u, covered = unit(mix(own ^ MOVE), draw), False
        for w in range(move_at[r * segments + s], move_at[r * segments + s + 1]):
            if move_first[w] <= day <= move_last[w]:
                covered |= move_low[w] <= u < move_high[w]
        start[kept], segment[kept], stream[kept] = day, s, own
        kept += covered == move_given[r]  # or it is somebody else's territory
    return kept
