"""Open deals that change hands with their territory.

A deal that is open when its segment moves goes along as a leaver's deal does
(:mod:`quotacast.engine.departures`): what closes from the move's first day on counts for the taker, at
``keep_odds`` of the odds of a win; what else makes its hazards and its value stays that of its first owner.
So the deals of a giver, a taker and a day are put on a row of their own, which works like the giver, creates
nothing, and "leaves" on that day with the taker as only heir. Where the giver leaves before, the deals are
among that leaver's; whoever has taken them keeps them when the move ends.

Of a part of a segment the deals go whose lot, uniform by deal and the same in every future, lies in the
move's part of (0, 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quotacast.engine.book import Book
from quotacast.engine.streams import keys, uniforms
from quotacast.models.terms import Floats

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Window:
    """A part of a giver's segment that one taker gets (seats), or that the giver drops.

    Attributes
    ----------
    giver, taker : int
        Seats.
    segment : int
    first, last : int
        Days, counted from the first simulated day, inclusive.
    low, high : float
        Lots of creations, and of open deals, that it covers.
    open_deals : bool
        Whether open deals go along.
    """

    giver: int
    taker: int
    segment: int
    first: int
    last: int
    low: float
    high: float
    open_deals: bool = False


@dataclass(frozen=True)
class Hands:
    """Open deals that change hands.

    Attributes
    ----------
    deal_row : ndarray of int64, shape (open deals,)
        Row of every open deal.
    giver, taker, day : ndarray of int64, shape (n,)
        Of the rows from ``first_row`` on: seats, and days counted from the first simulated day.
    first_row : int
    """

    deal_row: Ints
    giver: Ints
    taker: Ints
    day: Ints
    first_row: int

    def leaving(self, by_row: dict[str, Any]) -> dict[str, Any]:
        """Arrays of comings and goings by row, with those of these rows: they leave on their day."""
        rows = slice(self.first_row, self.first_row + self.giver.size)
        joined, gone, heir = (by_row[name].copy() for name in ("joined", "gone", "heir"))
        joined[:, rows] = _NEVER
        before = gone[:, rows] < self.day
        heir[:, rows] = np.where(before[:, :, None], heir[:, rows], self.taker[None, :, None])
        gone[:, rows] = np.minimum(gone[:, rows], self.day)
        return {**by_row, "joined": joined, "gone": gone, "heir": heir}


#: A day beyond every horizon.
_NEVER = 2**30


def handed(windows: Sequence[Window], book: Book, first_row: int, days: int, seed: int) -> Hands:
    """Which deals change hands, when, and to whom: by the first move that covers the deal's lot.

    Parameters
    ----------
    first_row : int
        Row of the first of them.
    days : int
        Simulated days: what comes later moves nothing.
    """
    moving = [w for w in windows if w.open_deals and w.taker != w.giver and w.first < days]
    row = book.rep.astype(np.int64)
    if not moving or not len(book):
        none = np.empty(0, dtype=np.int64)
        return Hands(row, none, none, none, first_row)
    lot = _lots(book, seed)
    flows: dict[tuple[int, int, int], int] = {}
    for w in sorted(moving, key=lambda one: -one.first):  # the earliest last, so that it counts
        mine = (book.rep == w.giver) & (book.segment == w.segment) & (lot >= w.low) & (lot < w.high)
        flow = (w.giver, w.taker, max(w.first, 0))
        row[mine] = flows.setdefault(flow, first_row + len(flows)) if mine.any() else row[mine]
    giver, taker, day = np.array(list(flows), dtype=np.int64).reshape(-1, 3).T
    return Hands(row, giver, taker, day, first_row)


def _lots(book: Book, seed: int) -> Floats:
    """Uniform by deal, shape (deals,)."""
    return np.asarray(uniforms(keys(seed, "open deals that move", book.ids), 0, 1)[0, :, 0])
