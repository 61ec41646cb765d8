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

from quotacast.engine.streams import mix, unit

_U = np.uint64
#: Makes the streams of a deal's stages out of its own.
_STAGES = _U(0xD6E8FEB86659FD93)
# Places of the stream of a stay in a stage.
_LEAVE, _MOVE, _NEXT = _U(0), _U(1), _U(2)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def walk(
    stream,
    draw,
    p,  # row of the posterior
    stage,
    in_stage,  # days spent in it
    arrays,  # in the order of stage_tables.ARRAYS
    win,  # the deal's own factors
    loss,
    rate_win,  # (bands x pieces,), changed cycles included
    rate_loss,
    move_time,  # (pieces,)
    end,  # the spells of the deal from the first simulated day on: day after the last, cell, piece
    cell,
    piece,
    cumulative,
    guide,
    fine,
    changed,
    cycle_times,  # (pieces,)
    share_times,
):
    """Day of closing, hazard of a win then and of both causes; the day is -1 beyond the horizon."""
    stage_win, stage_loss, stage_move, win_age, loss_age, move_age, stage_next, edges = arrays
    pieces, bands, stages = move_time.shape[0], edges.shape[0], stage_win.shape[1]
    number = 0
    mine = mix(stream ^ _STAGES)
    left = -math.log(unit(mine, draw + _LEAVE))
    band = np.searchsorted(edges, in_stage + 1e-9, side="right") - 1
    at, now = 0, cumulative[0]  # open deals are at risk from the first simulated day
    for j in range(end.shape[0]):
        age, stretch, times = cell[j] // pieces, 1.0, 1.0
        if changed:
            stretch, times = cycle_times[piece[j]], share_times[piece[j]]
        while at < end[j]:
            stop = end[j]
            if band + 1 < bands:
                stop = min(stop, at + max(math.ceil((edges[band + 1] - in_stage) * stretch - 1e-9), 1))
            h_win = win * rate_win[cell[j]] * stage_win[p, stage, band] * win_age[p, age]
            h_loss = loss * rate_loss[cell[j]] * stage_loss[p, stage, band] * loss_age[p, age]
            both = h_win + h_loss
            h_win = min(h_win * times, both)
            h_move = stage_move[p, stage, band] * move_age[p, age] * move_time[piece[j]] / stretch
            passed = (cumulative[stop] - now) * (both + h_move)
            if left > passed:
                left -= passed
                in_stage += (stop - at) / stretch
                at, now = stop, cumulative[stop]
                while band + 1 < bands and edges[band + 1] <= in_stage + 1e-9:
                    band += 1
                continue
            now += left / (both + h_move)
            day, last = max(guide[int(now * fine)], at), stop - 1
            while day < last and cumulative[day + 1] < now:
                day += 1
            if unit(mine, draw + _MOVE) * (both + h_move) >= h_move:
                return day, h_win, both
            u, following = unit(mine, draw + _NEXT), 0
            while following < stages - 1 and stage_next[p, stage, following] < u:
                following += 1
            at, stage, in_stage, band = day, following, 0.0, 0
            number += 1
            mine = mix(mix(stream ^ _STAGES) + _U(number))
            left = -math.log(unit(mine, draw + _LEAVE))
    return -1, 0.0, 1.0
