"""Spells of constant hazard, and where in them deals and leads spend their cumulative hazards; by numba.

A life that began on a day passes through the same spells in every draw: bands of age crossed with pieces of
the calendar. In each the hazards of both causes are a number of the draw times a factor of its own, which
stays the same for a stretch of spells (a quarter, as far as cycles last as long in it). So sums of hazard
times exposure along a life are made once per draw and day of beginning, and shared by all that begin that
day: each life then looks up the stretch, and in it the spell, in which what it has to spend is used up ::

    win sum_(spells before) h_win w + loss sum_(spells before) h_loss w < left

Both are counted, not searched: a loop that ends at a different place each time costs more than one that
compares with all places. Days are counted from the first simulated day; arrays of lives are those of
:mod:`quotacast.engine.kernel_batch`, all others are described in :mod:`quotacast.engine.tables`.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from quotacast.engine.kernel_arrivals import bin_keys
from quotacast.engine.kernel_batch import WAIT
from quotacast.engine.streams import unit
from quotacast.models.terms import Floats

Ints = NDArray[np.int64]
_U = np.uint64
#: Places per weighted day of the guide from a cumulative value to its day; a power of 2, so exact.
FINE = 32


class Spells(NamedTuple):
    """Lives by pace (reps whose cycles last equally long have one) and day of beginning (its row).

    Attributes
    ----------
    at : ndarray of int64, shape (paces x rows, stretches + 1)
        Where the spells of each stretch begin.
    begin, end, piece : ndarray of int32, shape (spells,)
        First day, day after the last, and piece of the calendar.
    cell : ndarray of uint32, shape (spells,)
        Band of age and piece: band x pieces + piece.
    before, risk : ndarray, shape (spells,)
        Weighted days before the spell, and in it.
    stretch_piece : ndarray of int64, shape (stretches,)
        A piece of every stretch.
    width : int
        Most spells of a stretch.
    """

    at: Ints
    begin: NDArray[np.int32]
    end: NDArray[np.int32]
    piece: NDArray[np.int32]
    cell: NDArray[np.uint32]
    before: Floats
    risk: Floats
    stretch_piece: Ints
    width: int


class Sums(NamedTuple):
    """Sums of hazard times exposure of a draw, but for the factors of a life; filled as they are asked for.

    Attributes
    ----------
    known : ndarray of int64, shape (rows,)
        Draw and pace of which the row holds the sums.
    until : ndarray, shape (rows, stretches, 2, width)
        Of wins and losses, until the end of each spell of the stretch; infinite behind the last.
    whole : ndarray, shape (rows, stretches, 2)
        Of the whole stretch.
    """

    known: Ints
    until: Floats
    whole: Floats


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
def _life(start, cumulative, weights, edges, piece_of_day, age_days, cycle_times, n, days, places, span):
    """Write the spells of a life until the horizon; return the next place."""
    bands, horizon, entry = age_days.shape[0], weights.shape[0], max(start, 0)
    at, age, piece = entry, float(entry - start), piece_of_day[entry]
    band = np.searchsorted(age_days, entry - start, side="right") - 1
    while at < horizon:
        end, stretch = edges[piece + 1], cycle_times[piece]
        if band + 1 < bands:
            end = min(end, at + max(math.ceil((age_days[band + 1] - age) * stretch - 1e-9), 1))
        days[0, n], days[1, n] = at, end
        places[0, n], places[1, n] = piece, band * (edges.shape[0] - 1) + piece
        base = cumulative[at] + (
            0.5 * weights[at] if start == at else 0.0
        )  # created in the middle of the day
        span[0, n], span[1, n] = base, cumulative[end] - base
        n += 1
        age += (end - at) / stretch
        at = end
        piece += at >= edges[piece + 1]
        while band + 1 < bands and age_days[band + 1] <= age + 1e-9:
            band += 1
    return n


@numba.njit(cache=True, nogil=True)
def _lives(starts, cumulative, weights, edges, piece_of_day, age_days, cycle_times):
    """Spells of every pace and day of beginning, and where those of each begin."""
    paces, rows = cycle_times.shape[0], starts.shape[0]
    most = paces * rows * (edges.shape[0] + age_days.shape[0])
    days, places = np.empty((2, most), dtype=np.int32), np.empty((2, most), dtype=np.int32)
    span, first = np.empty((2, most)), np.zeros(paces * rows + 1, dtype=np.int64)
    for i in range(paces * rows):
        first[i + 1] = _life(
            starts[i % rows], cumulative, weights, edges, piece_of_day, age_days, cycle_times[i // rows],
            first[i], days, places, span,
        )  # fmt: skip
    return first, days[:, : first[-1]], places[:, : first[-1]], span[:, : first[-1]]


def _spells(arrays: dict[str, Any], starts: Ints, cycle_times: Floats) -> Spells:
    """Spells of lives that begin on these days.

    Parameters
    ----------
    arrays : dict
    starts : ndarray of int64, shape (rows,)
    cycle_times : ndarray, shape (paces, pieces)
    """
    grid = [arrays[name] for name in ("cumulative", "weights", "edges", "piece_of_day")]
    age_days, quarter = arrays["age_edges"].astype(np.int64), np.asarray(arrays["quarter"])
    first, days, places, span = _lives(starts, *grid, age_days, cycle_times)
    differs = (np.diff(cycle_times, axis=1) != 0).any(axis=0) | (np.diff(quarter) != 0)
    stretch = np.concatenate([[0], np.cumsum(differs)])
    stretches = int(stretch[-1]) + 1
    key = np.repeat(np.arange(first.size - 1), np.diff(first)) * stretches + stretch[places[0]]
    rows = np.arange(first.size - 1)[:, None] * stretches
    at = np.searchsorted(key, rows + np.arange(stretches + 1))
    return Spells(
        at=at,
        begin=days[0].copy(),
        end=days[1].copy(),
        piece=places[0].copy(),
        cell=places[1].astype(np.uint32),
        before=span[0].copy(),
        risk=span[1].copy(),
        stretch_piece=np.searchsorted(stretch, np.arange(stretches)),
        width=int(np.diff(at, axis=1).max()),
    )


def shared(arrays: dict[str, Any]) -> dict[str, Any]:
    """What all draws have in common and is quickly made, for deals or leads.

    Returns
    -------
    dict
        ``guide`` (see :func:`day_guide`), ``bin_key`` (reps, bins), ``spells``, ``pace`` (reps,); by open
        life ``deal_row``, and ``new_row``, that of what begins on the first day; ``deal_order``, open lives
        by rep, and ``deal_at`` (reps + 1,), where those of each rep begin.
    """
    rep, reps = arrays["deal_rep"], arrays["rep_key"].size
    before, deal_row = np.unique(arrays["deal_start"], return_inverse=True)
    paces, pace = np.unique(arrays["cycle_times"], axis=0, return_inverse=True)
    starts = np.concatenate([before, np.arange(arrays["weights"].size)])
    return {
        "guide": day_guide(arrays["cumulative"]),
        "bin_key": bin_keys(arrays["rep_key"], arrays["bin_label"]),
        "spells": _spells(arrays, starts, paces),
        "pace": pace.reshape(-1),
        "deal_row": deal_row.reshape(-1),
        "new_row": before.size,
        "deal_order": np.argsort(rep, kind="stable"),
        "deal_at": np.searchsorted(np.sort(rep), np.arange(reps + 1)),
    }


@numba.njit(cache=True, nogil=True)
def no_sums(spells, rows):
    """Sums of which none are known yet."""
    stretches = spells.stretch_piece.shape[0]
    until = np.full((rows, stretches, 2, spells.width), np.inf)
    return Sums(np.full(rows, -1, dtype=np.int64), until, np.zeros((rows, stretches, 2)))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def ends_of(lives, n, draw, d, pace, spells, hazards, sums):
    """Find which of ``n`` lives of one pace end before the horizon, and where; return how many.

    Parameters
    ----------
    lives : Batch
        ``stream``, ``rep``, ``row``, ``own_win`` and ``own_loss`` are read; of the ends ``which``, ``place``,
        ``rest`` (the weighted day), ``win`` and ``both`` are written, ``left`` is written over.
    draw : uint64
        Its place in streams; ``d`` is its number in the block.
    hazards : Hazards
        Those of the draw.
    """
    rows = sums.known.shape[0]
    _add_up(lives.row, n, d * (spells.at.shape[0] // rows) + pace, pace * rows, spells, hazards, sums)
    ends = _stretches(lives, n, draw, hazards, sums.whole)
    _within(lives, ends, _U(pace * rows), spells, hazards, sums.until)
    return ends


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _add_up(row, n, known, offset, spells, hazards, sums):
    """Make the sums of the rows of some lives that are not those of ``known`` (a draw and pace) yet."""
    cell_win, cell_loss, until, whole = hazards.cell_win, hazards.cell_loss, sums.until, sums.whole
    at, cell, risk, made = spells.at, spells.cell, spells.risk, sums.known
    stretches, width = until.shape[1], until.shape[3]
    several = at.shape[0] > made.shape[0]  # paces, so that the row may hold another's
    for k in range(n):
        i = row[k]
        if made[i] == known:
            continue
        made[i] = known
        for t in range(stretches):
            low, high, win, loss = at[offset + i, t], at[offset + i, t + 1], 0.0, 0.0
            for j in range(low, high):
                c, w = cell[j], risk[j]
                win += w * cell_win[c]
                loss += w * cell_loss[c]
                until[i, t, 0, j - low], until[i, t, 1, j - low] = win, loss
            if several:
                for j in range(high - low, width):
                    until[i, t, 0, j] = until[i, t, 1, j] = np.inf
            whole[i, t, 0], whole[i, t, 1] = win, loss


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _stretches(lives, n, draw, hazards, whole):
    """Find the stretches in which lives spend what they have to, into ``place``; return for how many."""
    rep, row, own_win, own_loss, left = lives.rep, lives.row, lives.own_win, lives.own_loss, lives.left
    stretch_win, stretch_loss, stream = hazards.stretch_win, hazards.stretch_loss, lives.stream
    which, place, rest = lives.which, lives.place, lives.rest
    found, stretches = 0, stretch_win.shape[1]
    for k in range(n):
        left[k] = -math.log(unit(stream[k], draw + WAIT))  # standard exponential
    for k in range(n):
        r, i, win, loss, spend = rep[k], row[k], own_win[k], own_loss[k], left[k]
        passed, before, t = 0.0, 0.0, 0
        for q in range(stretches):
            passed += win * stretch_win[r, q] * whole[i, q, 0]
            passed += loss * stretch_loss[r, q] * whole[i, q, 1]
            goes_on = passed < spend
            t += goes_on
            before = passed if goes_on else before
        which[found], place[found], rest[found] = k, t, spend - before
        found += t < stretches
    return found


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _within(lives, ends, offset, spells, hazards, until):
    """Find spells, hazards then and weighted days of ends, of which ``place`` holds the stretch."""
    rep, row, own_win, own_loss = lives.rep, lives.row, lives.own_win, lives.own_loss
    which, place, rest, win, both = lives.which, lives.place, lives.rest, lives.win, lives.both
    at, cell, before = spells.at, spells.cell, spells.before
    stretch_win, stretch_loss = hazards.stretch_win, hazards.stretch_loss
    cell_win, cell_loss, width = hazards.cell_win, hazards.cell_loss, until.shape[3]
    for q in range(ends):
        k, t = which[q], place[q]
        r, i, left = rep[k], row[k], rest[q]
        f_win, f_loss = own_win[k] * stretch_win[r, t], own_loss[k] * stretch_loss[r, t]
        j = 0
        for s in range(width):
            j += f_win * until[i, t, 0, s] + f_loss * until[i, t, 1, s] < left
        low, high = at[offset + _U(i), t], at[offset + _U(i), _U(t) + _U(1)]
        j = min(j, high - low - 1)  # rounding may lead past the last
        last = _U(max(j - 1, 0))
        passed = f_win * until[i, t, 0, last] + f_loss * until[i, t, 1, last]
        left -= passed if j > 0 else 0.0
        spell = _U(low + j)
        h_win = f_win * cell_win[cell[spell]]
        h_both = h_win + f_loss * cell_loss[cell[spell]]
        place[q], win[q], both[q] = spell, h_win, h_both
        rest[q] = before[spell] + left / h_both


@numba.njit(cache=True, nogil=True, error_model="numpy")
def days_of(lives, ends, spells, guide, cumulative):
    """Find the days of ends from spells and weighted days, into ``day``."""
    place, rest, day, begin, end = lives.place, lives.rest, lives.day, spells.begin, spells.end
    for q in range(ends):
        target, last = rest[q], end[place[q]] - 1
        at = max(guide[_U(int(target * FINE))], begin[place[q]])
        while at < last and cumulative[_U(at + 1)] < target:
            at += 1
        day[q] = at
