"""Counts of many draws by rep and step, without the zeros.

In fine steps nearly every cell of (draw, rep, step) is empty: 10,000 draws of 20 reps on 365 days hold some
fifty million deals' events in 73 million cells for each measure and component. So blocks of draws are
simulated into plain arrays, and what is not zero is kept cell by cell: for each cell the draws in which
something happened, counted from the block's first, and how much, in the narrowest whole numbers that hold
the measure. Nothing is rounded or capped.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]

#: Draws of a block: their numbers within it take one byte.
BLOCK = 256
#: Whole numbers in which values are kept, narrow to wide.
WIDTHS = (np.uint8, np.int16, np.int32, np.int64)


@numba.njit(cache=True, nogil=True)
def _take(dense, at, draw, value):
    """Move what is not zero from ``dense`` (draws, reps, steps, components) to lists, and leave zeros."""
    draws, reps, steps, components = dense.shape
    n = cell = 0
    for r in range(reps):
        for c in range(components):
            for s in range(steps):
                for d in range(draws):  # without a branch: the processor could only guess which are zero
                    x = dense[d, r, s, c]
                    draw[n], value[n] = d, x
                    dense[d, r, s, c] = 0
                    n += x != 0
                cell += 1
                at[cell] = n
    return n


@numba.njit(cache=True, nogil=True)
def _gather(begin, at, draw, value, block, low, high, out):
    """Add up ranges of cells into ``out`` (draws,)."""
    for b in range(begin.shape[0]):
        first = b * block
        for j in range(low.shape[0]):
            for i in range(begin[b] + at[b, low[j]], begin[b] + at[b, high[j]]):
                out[first + draw[i]] += value[i]


@dataclass(frozen=True)
class Columns:
    """One measure of all draws.

    Attributes
    ----------
    stored : tuple of int
        Draws, reps, steps, components, as simulated.
    block : int
        Draws per block.
    begin : ndarray of int64, shape (blocks,)
        Where a block's entries begin in ``draw`` and ``value``.
    at : ndarray of int32, shape (blocks, cells + 1)
        Where a cell's entries begin, counted from the block's; cells by rep, component and step.
    draw : ndarray of uint8, shape (entries,)
        Draw of an entry, counted from the block's first.
    value : ndarray of whole numbers, shape (entries,)
    chosen : ndarray of int64, optional
        Numbers of the stored draws that make up the measure, in this order; all of them without it.
    """

    stored: tuple[int, int, int, int]
    block: int
    begin: Counts
    at: NDArray[np.int32]
    draw: NDArray[np.uint8]
    value: NDArray[Any]
    chosen: Counts | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Draws, reps, steps, components."""
        return (self.stored[0] if self.chosen is None else self.chosen.size, *self.stored[1:])

    def taken(self, draws: Counts) -> Columns:
        """The draws of these numbers, with repeats; what is stored is shared, not copied."""
        return replace(self, chosen=draws if self.chosen is None else self.chosen[draws])

    def sums(self, reps: Counts, steps: slice) -> tuple[Counts, ...]:
        """Sums over reps and consecutive steps, one array of shape (draws,) per component."""
        draws, _, n_steps, components = self.stored
        first, stop, _ = steps.indices(n_steps)
        out = tuple(np.zeros(draws, dtype=np.int64) for _ in range(components))
        for c, total in enumerate(out):
            low = (np.asarray(reps, dtype=np.int64) * components + c) * n_steps + first
            high = low + max(stop - first, 0)
            _gather(self.begin, self.at, self.draw, self.value, self.block, low, high, total)
        return out if self.chosen is None else tuple(total[self.chosen] for total in out)

    def dense(self) -> Counts:
        """All of it as a plain array, shape (draws, reps, steps, components)."""
        _, reps, steps, components = self.shape
        out = np.zeros(self.shape, dtype=np.int64)
        for r in range(reps):
            for s in range(steps):
                found = self.sums(np.array([r]), slice(s, s + 1))
                for c in range(components):
                    out[:, r, s, c] = found[c]
        return out

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return sum(int(array.nbytes) for array in (self.begin, self.at, self.draw, self.value))


@dataclass(frozen=True)
class Part:
    """What one block holds of one measure; see :class:`Columns`."""

    draws: int
    at: NDArray[np.int32]
    draw: NDArray[np.uint8]
    value: NDArray[Any]


def take(dense: NDArray[Any]) -> Part:
    """Take a block over, and set it to zero.

    Parameters
    ----------
    dense : ndarray of whole numbers, shape (draws, reps, steps[, components])
        Contiguous, so that it is emptied in place; at most :data:`BLOCK` draws.
    """
    if not 0 < dense.shape[0] <= BLOCK:
        raise ValueError(f"blocks of {dense.shape[0]} draws: their numbers must fit into one byte")
    view = dense.reshape(*dense.shape[:3], -1)
    at = np.zeros(view[0].size + 1, dtype=np.int32)
    draw, value = np.empty(view.size + 1, dtype=np.uint8), np.empty(view.size + 1, dtype=view.dtype)
    n = _take(view, at, draw, value)
    return Part(dense.shape[0], at, draw[:n].copy(), _narrow(value[:n]))


class Growing:
    """Columns of a measure to which blocks are added in their order; all but the last must be of one size.

    Room for all blocks is asked for with the first, by its size: what is not written yet takes no memory.

    Parameters
    ----------
    blocks, reps, steps, components : int
    """

    def __init__(self, blocks: int, reps: int, steps: int, components: int) -> None:
        self._shape = (reps, steps, components)
        self._at = np.empty((blocks, reps * steps * components + 1), dtype=np.int32)
        self._begin = np.zeros(blocks + 1, dtype=np.int64)
        self._draw: NDArray[np.uint8] = np.empty(0, dtype=np.uint8)
        self._value: NDArray[Any] = np.empty(0, dtype=WIDTHS[0])
        self._draws = self._block = self._added = 0

    def add(self, part: Part) -> None:
        """Add a block."""
        k = self._added
        begin, end = int(self._begin[k]), int(self._begin[k]) + part.draw.size
        room = end if k else int(1.1 * end * self._begin.size)
        self._draw = _with_room(self._draw, begin, room, part.draw.dtype)
        self._value = _with_room(self._value, begin, room, part.value.dtype)
        self._at[k], self._draw[begin:end], self._value[begin:end] = part.at, part.draw, part.value
        self._begin[k + 1], self._added = end, k + 1
        self._draws += part.draws
        self._block = self._block or part.draws

    def columns(self) -> Columns:
        """All that were added."""
        end = self._begin[self._added]
        return Columns(
            (self._draws, *self._shape),
            self._block,
            self._begin[: self._added],
            self._at[: self._added],
            self._draw[:end],
            self._value[:end],
        )


def join(parts: Sequence[Part], reps: int, steps: int, components: int) -> Columns:
    """Put the blocks of a measure together; see :class:`Growing`."""
    growing = Growing(len(parts), reps, steps, components)
    for part in parts:
        growing.add(part)
    return growing.columns()


def spliced(before: Columns, now: Columns, same: NDArray[np.bool_]) -> Columns:
    """Columns whose reps are those of ``before`` where they are the ``same``, and of ``now`` elsewhere.

    Parameters
    ----------
    before, now : Columns
        Of the same draws, block, steps and components, none of them chosen from others.
    same : ndarray of bool, shape (reps of now,)
        Reps that ``before`` has at the same place.
    """
    draws, reps, steps, components = now.stored
    cells = steps * components
    if before.stored[0] != draws or before.block != now.block or before.stored[2:] != now.stored[2:]:
        raise ValueError(f"{before.stored} in blocks of {before.block} against {now.stored} in {now.block}")
    sizes = np.zeros((now.at.shape[0], reps * cells), dtype=np.int64)
    pieces: list[tuple[Columns, int, int]] = []
    source = [before if same[r] else now for r in range(reps)]
    for r, of in enumerate(source):
        low, high = r * cells, (r + 1) * cells
        sizes[:, low:high] = np.diff(of.at[:, low : high + 1], axis=1)
    for b in range(now.at.shape[0]):
        for r, of in enumerate(source):
            first = of.begin[b] + of.at[b, r * cells]
            pieces.append((of, int(first), int(of.begin[b] + of.at[b, (r + 1) * cells])))
    at = np.zeros((sizes.shape[0], sizes.shape[1] + 1), dtype=np.int32)
    np.cumsum(sizes, axis=1, out=at[:, 1:])
    begin = np.concatenate([[0], np.cumsum(at[:, -1].astype(np.int64))[:-1]])
    draw = np.concatenate([of.draw[low:high] for of, low, high in pieces])
    value = np.concatenate([of.value[low:high] for of, low, high in pieces])
    return Columns(now.stored, now.block, begin, at, draw, value)


def columns_of(dense: NDArray[Any], block: int = BLOCK) -> Columns:
    """Columns of a plain array, shape (draws, reps, steps[, components])."""
    shape = dense.shape if dense.ndim == 4 else (*dense.shape, 1)
    parts = [take(np.array(dense[first : first + block])) for first in range(0, shape[0], block)]
    return join(parts, *shape[1:])


def _narrow(values: NDArray[Any]) -> NDArray[Any]:
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    fits = (t for t in WIDTHS if np.iinfo(t).min <= low and high <= np.iinfo(t).max)
    return values.astype(next(fits))


def _with_room(array: NDArray[Any], used: int, room: int, dtype: Any) -> NDArray[Any]:
    """An array with so much room and numbers at least so wide, in which what is used is kept."""
    dtype = max(array.dtype, dtype, key=lambda t: t.itemsize)
    if room <= array.size and dtype == array.dtype:
        return array
    out = np.empty(array.size if room <= array.size else max(room, array.size * 5 // 4), dtype=dtype)
    out[:used] = array[:used]
    return out
