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
from quotacast.models.terms import Floats

Ints = NDArray[np.int64]
#: Places per weighted day of the guide from a cumulative value to its day; a power of 2, so exact.
FINE = 32
#: Steps from the guide's day that are made without asking whether they are needed.
_AHEAD = 2


class Spells(NamedTuple):
    """Lives by pace (reps whose cycles last equally long have one) and day of beginning (its row).

    Attributes
    ----------
    at : ndarray of int64, shape (paces x rows, stretches + 1)
        Where the spells of each stretch begin.
    begin, end, piece : ndarray of int32, shape (spells,)
        First day, day after the last, and piece of the calendar.
    cell : ndarray of int32, shape (spells,)
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
    cell: NDArray[np.int32]
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
            end = min(end, at + max(math.ceil((age_days[band + 1] - age) * stretch), 1))
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
        cell=places[1].copy(),
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
def add_up(row, n, known, offset, spells, cell_win, cell_loss, sums):
    """Make the sums of the rows of some lives that are not those of ``known`` yet.

    Parameters
    ----------
    row : ndarray of int64, shape (lives,)
    n : int
        How many lives.
    known : int
        A number of the draw and pace.
    offset : int
        First row of the pace.
    cell_win, cell_loss : ndarray, shape (bands x pieces,)
        Hazards of the draw.
    """
    stretches, width = sums.until.shape[1], sums.until.shape[3]
    several = spells.at.shape[0] > sums.known.shape[0]  # paces, so that the row may hold another's
    for k in range(n):
        i = row[k]
        if sums.known[i] == known:
            continue
        sums.known[i] = known
        for t in range(stretches):
            low, win, loss = spells.at[offset + i, t], 0.0, 0.0
            for j in range(low, spells.at[offset + i, t + 1]):
                c, w = spells.cell[j], spells.risk[j]
                win += w * cell_win[c]
                loss += w * cell_loss[c]
                sums.until[i, t, 0, j - low], sums.until[i, t, 1, j - low] = win, loss
            if several:
                for j in range(spells.at[offset + i, t + 1] - low, width):
                    sums.until[i, t, 0, j] = sums.until[i, t, 1, j] = np.inf
            sums.whole[i, t, 0], sums.whole[i, t, 1] = win, loss


@numba.njit(cache=True, nogil=True, error_model="numpy")
def stretch_of(rep, row, win, loss, left, n, stretch_win, stretch_loss, whole, which, stretch, rest):
    """Find the stretches in which lives spend what they have left; return for how many there is one.

    Parameters
    ----------
    win, loss : ndarray, shape (lives,)
        A life's own factors.
    left : ndarray, shape (lives,)
        Cumulative hazard to spend.
    stretch_win, stretch_loss : ndarray, shape (reps, stretches)
        The reps' factors.
    which, stretch : ndarray of int64, rest : ndarray, shape (lives,)
        Written: the lives that end before the horizon, the stretch, and what is left at its beginning.
    """
    found, stretches = 0, stretch_win.shape[1]
    for k in range(n):
        r, i, own_win, own_loss, spend = rep[k], row[k], win[k], loss[k], left[k]
        passed, before, t = 0.0, 0.0, 0
        for q in range(stretches):
            passed += own_win * stretch_win[r, q] * whole[i, q, 0]
            passed += own_loss * stretch_loss[r, q] * whole[i, q, 1]
            goes_on = passed < spend
            t += goes_on
            before = passed if goes_on else before
        which[found], stretch[found], rest[found] = k, t, spend - before
        found += t < stretches
    return found


@numba.njit(cache=True, nogil=True, error_model="numpy")
def spell_of(
    found, which, place, rest, rep, row, own_win, own_loss, stretch_win, stretch_loss, offset, spells,
    cell_win, cell_loss, until, win, both,
):  # fmt: skip
    """Find the spells in which lives end, the hazards then, and the weighted day; see :func:`stretch_of`.

    Parameters
    ----------
    place : ndarray of int64, rest : ndarray, shape (lives,)
        The stretch, and what is left at its beginning; the spell and the weighted day of the end are written
        over them.
    win, both : ndarray, shape (lives,)
        Written: the hazards of a win and of both causes.
    """
    width = until.shape[3]
    for q in range(found):
        k, t = which[q], place[q]
        r, i, left = rep[k], row[k], rest[q]
        f_win, f_loss = own_win[k] * stretch_win[r, t], own_loss[k] * stretch_loss[r, t]
        j = 0
        for s in range(width):
            j += f_win * until[i, t, 0, s] + f_loss * until[i, t, 1, s] < left
        low = spells.at[offset + i, t]
        j = min(j, spells.at[offset + i, t + 1] - low - 1)  # rounding may lead past the last
        passed = f_win * until[i, t, 0, max(j - 1, 0)] + f_loss * until[i, t, 1, max(j - 1, 0)]
        left -= passed if j > 0 else 0.0
        j += low
        h_win = f_win * cell_win[spells.cell[j]]
        h_both = h_win + f_loss * cell_loss[spells.cell[j]]
        place[q], win[q], both[q] = j, h_win, h_both
        rest[q] = spells.before[j] + left / h_both


@numba.njit(cache=True, nogil=True, error_model="numpy")
def day_of(found, spell, weighted, begin, end, guide, cumulative, day):
    """Find the days of weighted days within spells, into ``day`` (lives,)."""
    for q in range(found):
        target, last = weighted[q], np.int64(end[spell[q]]) - 1
        at = max(np.int64(guide[int(target * FINE)]), np.int64(begin[spell[q]]))
        for _ in range(_AHEAD):
            at += (at < last) & (cumulative[at + 1] < target)
        while at < last and cumulative[at + 1] < target:
            at += 1
        day[q] = at
