"""Simulated wins, draw by draw: what :class:`quotacast.engine.columns.Columns` keep cell by cell.

A cell is a rep, a component (deals open now, new ones) and a day. Its entry of a draw tells how many deals
were won and for how much; several are taken to be of equal size.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numba
import numpy as np

from quotacast.engine.columns import Columns
from quotacast.engine.finance.schedule import Ints

#: Measures of a win; the last may be missing.
MEASURES = ("won", "won_cents", "margin_cents")


@numba.njit(cache=True, nogil=True)
def _in_draws(at, draw, value, draws, steps, lead):
    """Entries of a block by draw, within it by cell: begin (draws + 1,), cell and value (entries,)."""
    begin = np.zeros(draws + 1, dtype=np.int64)
    for i in range(at[-1]):
        begin[draw[i] + 1] += 1
    for d in range(draws):
        begin[d + 1] += begin[d]
    place = begin[:-1].copy()
    cells, values = np.empty(at[-1], dtype=np.int64), np.empty(at[-1], dtype=np.int64)
    for step in range(at.shape[0] - 1):
        cell = step // steps * (steps - lead) + step % steps - lead
        for i in range(at[step], at[step + 1]):
            n = place[draw[i]]
            cells[n], values[n] = cell, value[i]
            place[draw[i]] = n + 1
    return begin, cells, values


@dataclass(frozen=True)
class Wins:
    """Wins of every draw in daily steps.

    Attributes
    ----------
    columns : mapping of str to Columns
        Counts, cents and, where margins are known, cents of gross margin.
    lead : int
        Steps before the first simulated day: nothing happens in them.
    """

    columns: Mapping[str, Columns]
    lead: int = 0

    def __post_init__(self) -> None:
        shapes = {name: (c.stored, c.block) for name, c in self.columns.items()}
        if len(set(shapes.values())) != 1 or not {"won", "won_cents"} <= set(shapes):
            raise ValueError(f"wins: wanted won and won_cents of one shape, got {shapes}")

    @property
    def draws(self) -> int:
        """Number of futures."""
        return self.columns["won"].shape[0]

    @property
    def reps(self) -> int:
        """Number of seats."""
        return self.columns["won"].stored[1]

    @property
    def days(self) -> int:
        """Number of simulated days."""
        return self.columns["won"].stored[2] - self.lead

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return int(self.columns["won"].begin.size)

    def block(self, number: int) -> list[tuple[Ints, Ints, Ints]]:
        """Entries of a block by draw, one triple (begin, cell, value) per measure; empty where missing."""
        return [self._measure(self.columns.get(name), number) for name in MEASURES]

    def _measure(self, columns: Columns | None, number: int) -> tuple[Ints, Ints, Ints]:
        _, size = self._span(number)
        if columns is None:
            none = np.zeros(0, dtype=np.int64)
            return np.zeros(size + 1, dtype=np.int64), none, none
        low = columns.begin[number]
        high = low + columns.at[number, -1]
        found: tuple[Ints, Ints, Ints] = _in_draws(
            columns.at[number],
            columns.draw[low:high],
            columns.value[low:high],
            size,
            columns.stored[2],
            self.lead,
        )
        return found

    def _span(self, number: int) -> tuple[int, int]:
        """First stored draw of a block, and how many it has."""
        won = self.columns["won"]
        first = number * won.block
        return first, min(won.block, won.stored[0] - first)

    def futures(self, number: int) -> tuple[Ints, Ints]:
        """Futures whose wins are in a block: their numbers, and their places in the block."""
        won = self.columns["won"]
        first, size = self._span(number)
        chosen = np.arange(won.stored[0]) if won.chosen is None else won.chosen
        which = np.flatnonzero((chosen >= first) & (chosen < first + size))
        return which, chosen[which] - first
