"""The way of an open deal through its stages, compiled by numba; called by :mod:`quotacast.engine.kernel`.

In every spell of constant hazards three risks compete: win, loss and moving on. An exponential number is
spent along the way; where it is used up, a move or a closing happens, at a point of the day; after a move the
deal goes on from that point in its new stage, at age 0 in it, with a new number from a stream of its own.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

import math

import numba
import numpy as np

from quotacast.engine.kernel_spells import FINE
from quotacast.engine.streams import mix, unit

_U = np.uint64
#: Makes the streams of a deal's stages out of its own.
_STAGES = _U(0xD6E8FEB86659FD93)
# Places of the stream of a stay in a stage.
_LEAVE, _MOVE, _NEXT = _U(0), _U(1), _U(2)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def staged_hazards(p, d, cell_win, cell_loss, time_move, arrays, win, loss, move):
    """Hazards of a draw of deals in a stage, but for the stage's, rep's and deal's factors, by cell.

    Parameters
    ----------
    cell_win, cell_loss : ndarray, shape (bands x pieces,)
        Hazards by age alone.
    time_move : ndarray, shape (draws, pieces)
    arrays : tuple
        In the order of `stage_tables.ARRAYS`.
    win, loss, move : ndarray, shape (bands x pieces,)
        Written.
    """
    win_age, loss_age, move_age = arrays[3], arrays[4], arrays[5]
    pieces = time_move.shape[1]
    for band in range(win_age.shape[1]):
        for piece in range(pieces):
            c = band * pieces + piece
            win[c] = cell_win[c] * win_age[p, band]
            loss[c] = cell_loss[c] * loss_age[p, band]
            move[c] = move_age[p, band] * time_move[d, piece]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def close_staged(
    lives,  # :class:`quotacast.engine.kernel_batch.Batch`; ``which`` holds the open deals
    low,  # those in a stage, from the first to the one after the last
    high,
    ends,  # how many ends are known already
    draw,
    p,  # row of the posterior
    stages,  # of all open deals
    days_in_stage,
    arrays,  # in the order of stage_tables.ARRAYS
    cell_win,  # (bands x pieces,) see :func:`staged_hazards`
    cell_loss,
    cell_move,
    piece_win,  # (reps, pieces) the reps' factors, changed cycles included
    piece_loss,
    offset,  # first row of the reps' pace
    spells,
    cumulative,
    guide,
    changed,
    cycle_times,  # (reps, pieces)
    share_times,
):
    """Add when deals in a stage end within the horizon, and the hazards then; return how many ends there are.

    A loop over deals, not one call for each: a call that takes arrays counts references to all of them.
    """
    stage_win, stage_loss, stage_move, stage_next, edges = (
        arrays[0], arrays[1], arrays[2], arrays[6], arrays[7],
    )  # fmt: skip
    stream, rep, row, own_win, own_loss = lives.stream, lives.rep, lives.row, lives.own_win, lives.own_loss
    which, day, win, both = lives.which, lives.day, lives.win, lives.both
    at_spell, end, cell, piece = spells.at, spells.end, spells.cell, spells.piece
    row_of, bands, last_stage, last_stretch = (
        _U(p),
        edges.shape[0],
        stage_win.shape[1] - 1,
        at_spell.shape[1] - 1,
    )
    for k in range(low, high):
        i, r, own = which[k], rep[k], mix(stream[k] ^ _STAGES)
        stage, in_stage, number, mine = stages[i], days_in_stage[i], 0, own
        left = -math.log(unit(mine, draw + _LEAVE))
        band = 0
        while band + 1 < bands and edges[band + 1] <= in_stage + 1e-9:
            band += 1
        at, now, closed = 0, cumulative[0], False  # at risk from the first simulated day
        stretch, faster, times, turn = 1.0, 1.0, 1.0, -1
        for j in range(at_spell[offset + row[k], 0], at_spell[offset + row[k], last_stretch]):
            c, of_piece, until = cell[_U(j)], _U(piece[_U(j)]), end[_U(j)]
            if changed:
                stretch, times, turn = cycle_times[r, of_piece], share_times[r, of_piece], -1
                faster = 1.0 / stretch
            a_win = own_win[k] * cell_win[c] * piece_win[r, of_piece]
            a_loss = own_loss[k] * cell_loss[c] * piece_loss[r, of_piece]
            a_move = cell_move[c] * faster
            while at < until:
                if turn <= at:  # the day on which the next band of the age in the stage begins
                    turn = until + 1_000_000
                    if band + 1 < bands:
                        turn = at + max(math.ceil((edges[_U(band + 1)] - in_stage) * stretch - 1e-9), 1)
                stop = min(until, turn)
                s, b, reached = _U(stage), _U(band), cumulative[_U(stop)]
                h_win = a_win * stage_win[row_of, s, b]
                h_both = h_win + a_loss * stage_loss[row_of, s, b]
                h_all = h_both + a_move * stage_move[row_of, s, b]
                passed = (reached - now) * h_all
                if left > passed:
                    left -= passed
                    in_stage += (stop - at) * faster
                    at, now = stop, reached
                    while band + 1 < bands and edges[_U(band + 1)] <= in_stage + 1e-9:
                        band += 1
                    continue
                now += left / h_all
                today, last = max(guide[_U(int(now * FINE))], at), stop - 1
                while today < last and cumulative[_U(today + 1)] < now:
                    today += 1
                if unit(mine, draw + _MOVE) * h_all >= h_all - h_both:
                    which[ends], day[ends] = k, today
                    win[ends], both[ends] = min(h_win * times, h_both), h_both
                    ends, closed = ends + 1, True
                    break
                u, following = unit(mine, draw + _NEXT), 0
                while following < last_stage and stage_next[row_of, s, _U(following)] < u:
                    following += 1
                at, stage, in_stage, band, turn = today, following, 0.0, 0, -1
                number += 1
                mine = mix(own + _U(number))
                left = -math.log(unit(mine, draw + _LEAVE))
            if closed:
                break
    return ends
