"""The lives (deals or leads) of some reps in a draw, step by step: each step is one loop over all of them.

Loops that do one thing to many lives are faster than one loop that does everything to each: the processor
works on several lives at a time, and guesses wrong less often. Every step is a function of its own. To hand
arrays over takes as long as a dozen lives, for references to each are counted, so the batches are large, but
not larger than the cache. Compiled by numba.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from quotacast.engine.streams import unit
from quotacast.models.terms import Floats

_U = np.uint64
#: Places of a life's own stream: how long it waits, what ends it. Others are named where they are used.
WAIT, CAUSE = _U(0), _U(1)
#: Makes the stream that chooses an heir out of a life's own.
HEIR = _U(0xA0761D6478BD642F)
#: Lives of a batch.
LIVES = 1536
#: Room beyond what is asked for: places that are written for every bin, whether it has as many or not.
AHEAD = 2
Ints = NDArray[np.int64]


class Batch(NamedTuple):
    """Lives, one per place; and, behind them, of those that end before the horizon.

    Attributes
    ----------
    stream : ndarray of uint64
    rep, start, segment, owner : ndarray of int64
        Rep, day of beginning, segment, and the seat to which it belongs.
    row : ndarray of int64
        Row of its spells; while lives are being made, the bin that it comes from, and in ``owner`` its
        number there.
    own_win, own_loss, left : ndarray
        Its own factors of both hazards, and the cumulative hazard that it has to spend.
    size : ndarray
        Logarithm of its amount, NaN unknown.
    which, place, day, won : ndarray of int64
        Of each end: the life, its spell, and the day; the ends that are wins.
    rest, win, both : ndarray
        Of each end: what was left at the beginning of its stretch, later the weighted day; hazard of a win
        and of both causes.
    """

    stream: NDArray[np.uint64]
    rep: Ints
    start: Ints
    segment: Ints
    owner: Ints
    row: Ints
    own_win: Floats
    own_loss: Floats
    left: Floats
    size: Floats
    which: Ints
    place: Ints
    day: Ints
    won: Ints
    rest: Floats
    win: Floats
    both: Floats


@numba.njit(cache=True, nogil=True)
def room_for(n):
    """Arrays for so many lives."""
    room = n + AHEAD
    return Batch(
        np.empty(room, dtype=np.uint64),
        np.empty(room, dtype=np.int64),
        np.empty(room, dtype=np.int64),
        np.empty(room, dtype=np.int64),
        np.empty(room, dtype=np.int64),
        np.empty(room, dtype=np.int64),
        np.empty(room),
        np.empty(room),
        np.empty(room),
        np.empty(room),
        np.empty(room, dtype=np.int64),
        np.empty(room, dtype=np.int64),
        np.empty(room, dtype=np.int64),
        np.empty(room, dtype=np.int64),
        np.empty(room),
        np.empty(room),
        np.empty(room),
    )


@numba.njit(cache=True, nogil=True, error_model="numpy")
def hazards(p, d, position, age, time, out):
    """Hazards of a cause in a draw, but for a rep's and a life's factors, into ``out`` (bands x pieces,)."""
    pieces = position.shape[0]
    for band in range(age.shape[1]):
        for piece in range(pieces):
            out[band * pieces + piece] = age[p, band, position[piece]] * time[d, piece]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def factors(d, rep, quarter, cycle_times, pieces, out):
    """Reps' factors of a hazard in some pieces, or in the stretches that these begin, into ``out``.

    Parameters
    ----------
    rep : ndarray, shape (draws, reps, quarters)
    pieces : ndarray of int64, shape (pieces or stretches,)
    out : ndarray, shape (reps, pieces or stretches)
    """
    for r in range(out.shape[0]):
        for t in range(out.shape[1]):
            out[r, t] = rep[d, r, quarter[pieces[t]]] / cycle_times[r, pieces[t]]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def rep_segment(d, p, base, segment, out):
    """Factors of a hazard by rep and segment, into ``out`` (reps, segments)."""
    for r in range(out.shape[0]):
        for s in range(out.shape[1]):
            out[r, s] = base[d, r] * segment[p, s]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def largest_odds(best, win, loss, stretch_win, stretch_loss, out):
    """Largest ratios of the hazards of a win and a loss by rep and segment, into ``out`` (reps, segments).

    Parameters
    ----------
    best : float
        Largest ratio of what is the same for all reps.
    win, loss : ndarray, shape (reps, segments)
    stretch_win, stretch_loss : ndarray, shape (reps, stretches)
    """
    for r in range(out.shape[0]):
        most = 0.0
        for t in range(stretch_win.shape[1]):
            most = max(most, stretch_win[r, t] / stretch_loss[r, t])
        for s in range(out.shape[1]):
            out[r, s] = best * most * win[r, s] / loss[r, s]


@numba.njit(cache=True, nogil=True)
def last_of(first, lives, there, pace, most):
    """The rep after the last of a batch that begins with rep ``first``, and its lives.

    A batch has reps of one pace who are all ``there``, or one who is not; of these it has no lives.
    """
    if not there[first]:
        return first + 1, 0
    last, held = first, 0
    while last < lives.shape[0] and there[last] and pace[last] == pace[first]:
        if held > 0 and held + lives[last] > most:
            break
        held += lives[last]
        last += 1
    return last, held


@numba.njit(cache=True, nogil=True, error_model="numpy")
def largest_ratio(above, below):
    """Largest ratio of two arrays, element by element."""
    found = 0.0
    for i in range(above.shape[0]):
        found = max(found, above[i] / below[i])
    return found


@numba.njit(cache=True, nogil=True, error_model="numpy")
def draw_waits(stream, n, draw, left):
    """Cumulative hazards to spend, standard exponential, into ``left`` (lives,)."""
    for k in range(n):
        left[k] = unit(stream[k], draw + WAIT)
    for k in range(n):
        left[k] = -math.log(left[k])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def can_be_won(own, draw, odds, times):
    """Whether the number that decides the cause is below the win's largest share of both hazards."""
    return unit(own, draw + CAUSE) * (odds + 1.0) <= odds * times * (1.0 + 1e-9)  # whatever is rounded


@numba.njit(cache=True, nogil=True, error_model="numpy")
def without_sure_losses(rep, start, segment, stream, owner, n, draw, odds, times):
    """Move the lives that can be won to the front and return how many they are.

    A life that ends is won if the number that decides its cause is below the win's share of both hazards. No
    share exceeds that of the largest odds, so some lives are lost whenever they end.

    Parameters
    ----------
    odds : ndarray, shape (reps, segments)
        Largest ratios of the hazards of a win and a loss.
    times : float
        Largest changed rate, by which a share is multiplied.
    """
    kept = 0
    for k in range(n):
        r, s, own = rep[k], segment[k], stream[k]
        rep[kept], start[kept], segment[kept], stream[kept], owner[kept] = r, start[k], s, own, owner[k]
        kept += can_be_won(own, draw, odds[r, s], times)
    return kept


@numba.njit(cache=True, nogil=True, error_model="numpy")
def only_wins(ends, which, place, rest, win, both, stream, draw):
    """Move the ends that are wins to the front and return how many they are; arrays are those of a batch."""
    kept = 0
    for q in range(ends):
        k, h_win, h_both = which[q], win[q], both[q]
        which[kept], place[kept], rest[kept], win[kept], both[kept] = k, place[q], rest[q], h_win, h_both
        kept += unit(stream[k], draw + CAUSE) * h_both < h_win
    return kept
