"""Spells of constant hazard: the part of a deal's or a lead's life that does not differ between draws.

Arrays are described in :mod:`quotacast.engine.tables`. Days are counted from the first simulated day.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def _path(start, entry, cumulative, weights, edges, piece_of_day, age_days, cycle_times, n, spell, span):
    """Write the spells of constant hazard of a deal, from ``entry`` to the horizon; return the next place.

    ``spell`` (4, n) takes the first day, the day after the last, the cell (age band, piece) and the piece;
    ``span`` (2, n) the weighted days before the spell and in it.
    """
    bands, days = age_days.shape[0], weights.shape[0]
    at, age, piece = entry, float(entry - start), piece_of_day[entry]
    band = np.searchsorted(age_days, entry - start, side="right") - 1
    while at < days:
        end, stretch = edges[piece + 1], cycle_times[piece]
        if band + 1 < bands:
            end = min(end, at + max(math.ceil((age_days[band + 1] - age) * stretch), 1))
        spell[0, n], spell[1, n], spell[3, n] = at, end, piece
        spell[2, n] = band * (edges.shape[0] - 1) + piece
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
def paths(rep, start, cumulative, weights, edges, piece_of_day, age_edges, cycle_times):
    """Spells of constant hazard of every deal: they depend on rep and day of creation, not on the draw.

    Returns
    -------
    place : ndarray of int64, shape (deals + 1,)
        Where the spells of each deal begin.
    spell : ndarray of int32, shape (4, spells)
    span : ndarray, shape (2, spells)
    """
    age_days = age_edges.astype(np.int64)
    most = start.shape[0] * (edges.shape[0] + age_days.shape[0])
    spell, span = np.empty((4, most), dtype=np.int32), np.empty((2, most))
    place = np.zeros(start.shape[0] + 1, dtype=np.int64)
    for i in range(start.shape[0]):
        place[i + 1] = _path(
            start[i],
            max(start[i], 0),
            cumulative,
            weights,
            edges,
            piece_of_day,
            age_days,
            cycle_times[rep[i]],
            place[i],
            spell,
            span,
        )
    return place, spell[:, : place[-1]].copy(), span[:, : place[-1]].copy()


def rows_by_rep(rep: Any, reps: int) -> tuple[Any, Any]:
    """Rows in the order of reps, and where those of each rep begin, shape (reps + 1,)."""
    return np.argsort(rep, kind="stable"), np.searchsorted(np.sort(rep), np.arange(reps + 1))
