"""Histories as counts and exposures in cells: the sufficient statistics of the models.

A hazard that is constant in a cell needs only the cell's events and its exposure, so a fit costs the
same for five thousand deals as for a hundred thousand. Cells are the occupied combinations of the
axes a model states; where there would be more than ``CELL_LIMIT``, axes are coarsened by the ladder
given, one rung at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quotacast.models.timegrid import Floats, Ints, TimeGrid

Codes = NDArray[np.int32]

#: Beyond this many occupied cells the axes are coarsened.
CELL_LIMIT = 30_000
#: Candidate age bands, days since creation: fine near creation, wide later.
AGE_EDGES = (0, 1, 3, 8, 15, 31, 46, 61, 91, 121, 181, 271, 366, 546, 731, 1096)
#: A band of ages needs this many expected closings at its neighbour's hazard to stand alone.
BAND_CLOSINGS = 8.0


@dataclass(frozen=True)
class Episodes:
    """Things that begin and then end in one of several ways, or are still open.

    A lead that converts or is disqualified, an opportunity won or lost, an invoice paid or written
    off. All arrays have shape (n,).

    Attributes
    ----------
    start : ndarray of int64
        Day number of the beginning: age is counted from here.
    entry : ndarray of int64
        First day under observation: the beginning, or later where the data are left-truncated.
    stop : ndarray of int64
        Day of the ending; the as-of day for what is still open (right-censored that evening).
    outcome : ndarray of int8
        0 still open, 1 and 2 the causes of ending.
    codes : mapping of str to ndarray of int32
        Axes that stay the same for the whole episode (rep, segment, amount band).
    origin : ndarray of int64, optional
        Day from which age is counted where that is not the beginning: an invoice's due day. Ages before it
        are negative.
    weight : ndarray, optional
        Share of an episode's exposure that counts.
    """

    start: Ints
    entry: Ints
    stop: Ints
    outcome: NDArray[np.int8]
    codes: Mapping[str, Codes] = field(default_factory=dict)
    origin: Ints | None = None
    weight: Floats | None = None

    def __len__(self) -> int:
        return int(self.start.size)

    @property
    def age_from(self) -> Ints:
        """Day from which age is counted."""
        return self.start if self.origin is None else self.origin

    def where(self, keep: NDArray[np.bool_]) -> Episodes:
        """Return the episodes marked in ``keep``."""
        return Episodes(
            self.start[keep],
            self.entry[keep],
            self.stop[keep],
            self.outcome[keep],
            {name: code[keep] for name, code in self.codes.items()},
            None if self.origin is None else self.origin[keep],
            None if self.weight is None else self.weight[keep],
        )

    def observed_from(self, day: int) -> Episodes:
        """Left-truncate at ``day``: what ended before is unseen, the rest enters then at the earliest."""
        entered = replace(self, entry=np.maximum(self.entry, day))
        return entered.where(entered.stop >= entered.entry)


@dataclass(frozen=True)
class HazardCells:
    """Exposure and events by cause in the occupied cells.

    Attributes
    ----------
    exposure : ndarray, shape (n,)
        Weighted days at risk.
    events : ndarray, shape (causes, n)
        Endings by cause.
    codes : mapping of str to ndarray, shape (n,)
        ``age``, ``piece`` and the episodes' own axes.
    """

    exposure: Floats
    events: Floats
    codes: Mapping[str, Codes]

    def __len__(self) -> int:
        return int(self.exposure.size)


def exposure_corrections(episodes: Episodes, grid: TimeGrid) -> tuple[Floats, Floats]:
    """Weighted days to take off the first and the last day of every episode.

    Things begin and end during a day, on average at its middle, and hazards are continuous: the day of
    the beginning counts half, the day of the ending half, and where both are the same day, the mean
    time between two ordered points of it would be a third; a quarter keeps the sum of the parts. What
    is still open counts its last day in full. (Counting the day of the ending in full, as often done,
    biases every hazard down by half a day's worth.)

    Returns
    -------
    first, last : ndarray, shape (n,)
    """
    begun = episodes.entry == episodes.start
    ended = episodes.outcome > 0
    first = np.where(begun, 0.5, 0.0) * grid.weight(episodes.entry)
    same = begun & (episodes.entry == episodes.stop)
    last = np.where(ended, np.where(same, 0.25, 0.5), 0.0) * grid.weight(episodes.stop)
    return first, last


def hazard_cells(
    episodes: Episodes, grid: TimeGrid, age_edges: Sequence[int], causes: int = 2
) -> HazardCells:
    """Cut episodes into cells of age band x calendar piece x their own axes.

    Parameters
    ----------
    episodes : Episodes
    grid : TimeGrid
        Must span every entry and stop.
    age_edges : sequence of int
        First day of age of every band, the first at or before the least age; the last band is open.
    causes : int
        Number of ways to end.
    """
    edges = np.asarray(age_edges, dtype=np.int64)
    row, piece = _spread(grid.piece(episodes.entry), grid.piece(episodes.stop))
    lo = np.maximum(episodes.entry[row], grid.edges[piece])
    hi = np.minimum(episodes.stop[row] + 1, grid.edges[piece + 1])
    first_band = np.searchsorted(edges, lo - episodes.age_from[row], side="right") - 1
    last_band = np.searchsorted(edges, hi - 1 - episodes.age_from[row], side="right") - 1
    part, band = _spread(first_band, last_band)
    row, piece, lo, hi = row[part], piece[part], lo[part], hi[part]
    open_end = np.append(edges[1:], np.iinfo(np.int64).max // 2)
    lo = np.maximum(lo, episodes.age_from[row] + edges[band])
    hi = np.minimum(hi, episodes.age_from[row] + open_end[band])
    exposure = grid.weighted(lo, hi)
    off_first, off_last = exposure_corrections(episodes, grid)
    is_first, is_last = lo == episodes.entry[row], hi == episodes.stop[row] + 1
    exposure -= is_first * off_first[row] + is_last * off_last[row]
    if episodes.weight is not None:
        exposure *= episodes.weight[row]
    outcome = np.where(is_last, episodes.outcome[row], 0)
    axes: dict[str, NDArray[np.signedinteger[Any]]] = {"age": band, "piece": piece}
    axes |= {name: code[row] for name, code in episodes.codes.items()}
    return _collect(axes, exposure, outcome, causes)


def _spread(first: Ints, last: Ints) -> tuple[Ints, Ints]:
    """Row and value of every integer from ``first[row]`` to ``last[row]``."""
    lengths = last - first + 1
    row = np.repeat(np.arange(first.size), lengths)
    offset = np.arange(row.size) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return row, first[row] + offset


def _collect(
    axes: Mapping[str, NDArray[np.signedinteger[Any]]], exposure: Floats, outcome: Ints, causes: int
) -> HazardCells:
    """Add up rows with the same codes."""
    names = list(axes)
    sizes = [int(axes[name].max(initial=0)) + 1 for name in names]
    key = np.ravel_multi_index([axes[name].astype(np.int64) for name in names], sizes)
    occupied, cell = np.unique(key, return_inverse=True)
    n = occupied.size
    events = np.stack([np.bincount(cell, weights=outcome == j + 1, minlength=n) for j in range(causes)])
    decoded = np.unravel_index(occupied, sizes)
    codes = {name: code.astype(np.int32) for name, code in zip(names, decoded, strict=True)}
    total = np.bincount(cell, weights=exposure, minlength=n).astype(float)
    return HazardCells(total, events.astype(float), codes)


def age_bands(episodes: Episodes, grid: TimeGrid, edges: Sequence[int] = AGE_EDGES) -> tuple[int, ...]:
    """Age bands that the data can tell apart.

    A candidate band is kept where its exposure, at the hazard of the ages up to it, would hold at
    least ``BAND_CLOSINGS`` endings: so a long stretch of old deals on which nothing happens becomes a
    band of its own with a low hazard, instead of diluting the band before it.
    """
    bare = replace(episodes, codes={})
    cells = hazard_cells(bare, grid, edges)
    size = len(edges)
    exposure = np.bincount(cells.codes["age"], cells.exposure, minlength=size)
    events = np.bincount(cells.codes["age"], cells.events.sum(axis=0), minlength=size)
    kept, held, seen = [int(edges[0])], 0.0, 0.0
    for k in range(size - 1):
        held += exposure[k]
        seen += events[k]
        rest_exposure, rest_events = exposure[k + 1 :].sum(), events[k + 1 :].sum()
        hazard = (seen + 0.5) / max(held, 1e-9)
        enough = max(seen, held * hazard) >= BAND_CLOSINGS
        if enough and max(rest_events, rest_exposure * hazard) >= BAND_CLOSINGS:
            kept.append(int(edges[k + 1]))
            held = seen = 0.0
    return tuple(kept)


def coarsen(
    build: Callable[[int], HazardCells], rungs: int, limit: int = CELL_LIMIT
) -> tuple[HazardCells, int]:
    """Go down a ladder of coarser axes until there are at most ``limit`` occupied cells.

    Parameters
    ----------
    build : callable
        From a rung (0 is the finest) to cells.
    rungs : int
        Number of rungs; the last is taken whatever its size.

    Returns
    -------
    cells, rung
    """
    for rung in range(rungs):
        cells = build(rung)
        if len(cells) <= limit:
            break
    return cells, rung
