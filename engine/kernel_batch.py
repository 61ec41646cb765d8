"""The lives (deals or leads) of some reps in a draw, step by step: each step is one loop over all of them.

Loops that do one thing to many lives are faster than one loop that does everything to each: the processor
works on several lives at a time, and guesses wrong less often. Every step is a function of its own. To hand
arrays over takes as long as a dozen lives, for references to each are counted, so the batches are large, but
not larger than the cache. Places in other arrays are unsigned numbers, for of signed ones compiled code asks
each time whether they count from the end. Compiled by numba.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

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
Days = NDArray[np.int32]
Places = NDArray[np.uint32]


class Batch(NamedTuple):
    """Lives, one per place; and, in arrays of their own, the ends of those that end before the horizon.

    Attributes
    ----------
    rep, segment, owner : ndarray of uint32
        Rep, segment, and the seat to which it belongs.
    start : ndarray of int32
        Day of beginning.
    row : ndarray of uint32
        Row of its spells; while lives are being made, the bin that it comes from, and in ``owner`` its
        number there.
    which, place, day, won : ndarray of uint32
        Of each end: the life, its spell, and the day; the ends that are wins.
    own_win, own_loss, left : ndarray
        Its own factors of both hazards, and the cumulative hazard that it has to spend.
    size : ndarray
        Logarithm of its amount, NaN unknown.
    rest, win, both : ndarray
        Of each end: what was left at the beginning of its stretch, later the weighted day; hazard of a win
        and of both causes.
    stream : ndarray of uint64
    """

    rep: Places
    segment: Places
    owner: Places
    row: Places
    which: Places
    place: Places
    day: Places
    won: Places
    start: Days
    own_win: Floats
    own_loss: Floats
    left: Floats
    size: Floats
    rest: Floats
    win: Floats
    both: Floats
    stream: NDArray[np.uint64]


@numba.njit(cache=True, nogil=True)
def places(array):
    """Places in other arrays as unsigned numbers."""
    return array.astype(np.uint32)


@numba.njit(cache=True, nogil=True)
def room_for(n):
    """Arrays for so many lives."""
    i, f = np.empty((8, n + AHEAD), dtype=np.uint32), np.empty((7, n + AHEAD))
    start, stream = np.empty(n + AHEAD, dtype=np.int32), np.empty(n + AHEAD, dtype=np.uint64)
    return Batch(
        i[0], i[1], i[2], i[3], i[4], i[5], i[6], i[7], start,
        f[0], f[1], f[2], f[3], f[4], f[5], f[6], stream,
    )  # fmt: skip


class Hazards(NamedTuple):
    """Hazards of a draw: products of what belongs to cell, rep and stretch, rep and segment, and the life.

    Attributes
    ----------
    cell_win, cell_loss : ndarray, shape (bands x pieces,)
        By band of age and piece of the calendar.
    stretch_win, stretch_loss : ndarray, shape (reps, stretches)
        The reps' factors, see `kernel_spells.Spells`.
    own_win, own_loss : ndarray, shape (reps, segments)
    odds : ndarray, shape (reps, segments)
        Largest ratios of the hazards of a win and a loss that there are in the draw.
    """

    cell_win: Floats
    cell_loss: Floats
    stretch_win: Floats
    stretch_loss: Floats
    own_win: Floats
    own_loss: Floats
    odds: Floats


@numba.njit(cache=True, nogil=True)
def room_for_hazards(cells, reps, stretches, segments):
    """Arrays for the hazards of a draw."""
    cell, stretch = np.empty((2, cells)), np.empty((2, reps, stretches))
    own = np.empty((3, reps, segments))
    return Hazards(cell[0], cell[1], stretch[0], stretch[1], own[0], own[1], own[2])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def draw_hazards(
    d, p, position, quarter, cycle_times, stretch_piece, age_win, age_loss, time_win, time_loss, rep_win,
    rep_loss, base_win, base_loss, segment_win, segment_loss, most, hazards,
):  # fmt: skip
    """Fill in the :class:`Hazards` of draw ``d``; ``most`` is the largest ratio of the lives' own factors.

    Other arrays are those of :mod:`quotacast.engine.tables`.
    """
    _by_cell(p, d, position, age_win, time_win, hazards.cell_win)
    _by_cell(p, d, position, age_loss, time_loss, hazards.cell_loss)
    factors(d, rep_win, quarter, cycle_times, stretch_piece, hazards.stretch_win)
    factors(d, rep_loss, quarter, cycle_times, stretch_piece, hazards.stretch_loss)
    best = most * largest_ratio(hazards.cell_win, hazards.cell_loss)
    for r in range(base_win.shape[1]):
        of_rep = best * largest_ratio(hazards.stretch_win[r], hazards.stretch_loss[r])
        for s in range(segment_win.shape[1]):
            win, loss = base_win[d, r] * segment_win[p, s], base_loss[d, r] * segment_loss[p, s]
            hazards.own_win[r, s], hazards.own_loss[r, s] = win, loss
            hazards.odds[r, s] = of_rep * win / loss


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _by_cell(p, d, position, age, time, out):
    """Hazards of a cause by band of age and piece, into ``out`` (bands x pieces,)."""
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
def largest_ratio(above, below):
    """Largest ratio of two arrays, element by element."""
    found = 0.0
    for i in range(above.shape[0]):
        found = max(found, above[i] / below[i])
    return found


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
def can_be_won(own, draw, odds, times):
    """Whether the number that decides the cause is below the win's largest share of both hazards."""
    return unit(own, draw + CAUSE) * (odds + 1.0) <= odds * times * (1.0 + 1e-9)  # whatever is rounded


@numba.njit(cache=True, nogil=True, error_model="numpy")
def without_sure_losses(lives, n, draw, odds, times):
    """Move the lives that can be won to the front and return how many they are.

    A life that ends is won if the number that decides its cause is below the win's share of both hazards. No
    share exceeds that of the largest odds, so some lives are lost whenever they end. (What a leaver's deals
    keep of their odds is a share, and makes no loss a win.)

    Parameters
    ----------
    lives : Batch
        Read and written: rep, start, segment, owner, row and stream.
    odds : ndarray, shape (reps, segments)
        Largest ratios of the hazards of a win and a loss.
    times : float
        Largest changed rate, by which a share is multiplied.
    """
    rep, start, segment, owner, row, stream = (
        lives.rep, lives.start, lives.segment, lives.owner, lives.row, lives.stream,
    )  # fmt: skip
    kept = 0
    for k in range(n):
        r, s, own = rep[k], segment[k], stream[k]
        rep[kept], start[kept], segment[kept], owner[kept], row[kept] = r, start[k], s, owner[k], row[k]
        stream[kept] = own
        kept += can_be_won(own, draw, odds[r, s], times)
    return kept


@numba.njit(cache=True, nogil=True, error_model="numpy")
def only_wins(lives, ends, draw):
    """Move the ends that are wins to the front and return how many they are."""
    which, place, rest, win, both, stream = (
        lives.which, lives.place, lives.rest, lives.win, lives.both, lives.stream,
    )  # fmt: skip
    kept = 0
    for q in range(ends):
        k, h_win, h_both = which[q], win[q], both[q]
        which[kept], place[kept], rest[kept], win[kept], both[kept] = k, place[q], rest[q], h_win, h_both
        kept += unit(stream[k], draw + CAUSE) * h_both < h_win
    return kept
