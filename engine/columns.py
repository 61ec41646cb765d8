"""Counts of many draws by rep and step, without the zeros.

In fine steps nearly every cell of (draw, rep, step) is empty: 10,000 draws of 20 reps on 365 days hold some
fifty million deals' events in 73 million cells for each measure and component. So blocks of draws are
simulated into plain arrays, and what is not zero is kept cell by cell: for each cell the draws in which
something happened, counted from the block's first, and how much, in the narrowest whole numbers that hold
the measure. Nothing is rounded or capped.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

from dataclasses import dataclass
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
                for d in range(draws):
                    x = dense[d, r, s, c]
                    if x != 0:
                        draw[n], value[n] = d, x
                        dense[d, r, s, c] = 0
                        n += 1
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
    shape : tuple of int
        Draws, reps, steps, components.
    block : int
        Draws per block.
    begin : ndarray of int64, shape (blocks,)
        Where a block's entries begin in ``draw`` and ``value``.
    at : ndarray of int32, shape (blocks, cells + 1)
        Where a cell's entries begin, counted from the block's; cells by rep, component and step.
    draw : ndarray of uint8, shape (entries,)
        Draw of an entry, counted from the block's first.
    value : ndarray of whole numbers, shape (entries,)
    """

    shape: tuple[int, int, int, int]
    block: int
    begin: Counts
    at: NDArray[np.int32]
    draw: NDArray[np.uint8]
    value: NDArray[Any]

    def sums(self, reps: Counts, steps: slice) -> tuple[Counts, ...]:
        """Sums over reps and consecutive steps, one array of shape (draws,) per component."""
        draws, _, n_steps, components = self.shape
        first, stop, _ = steps.indices(n_steps)
        out = tuple(np.zeros(draws, dtype=np.int64) for _ in range(components))
        for c, total in enumerate(out):
            low = (np.asarray(reps, dtype=np.int64) * components + c) * n_steps + first
            high = low + max(stop - first, 0)
            _gather(self.begin, self.at, self.draw, self.value, self.block, low, high, total)
        return out

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


class Recorder:
    """Collects one measure block by block.

    Parameters
    ----------
    reps, steps, components : int
    block : int
        Draws of every block but the last, at most :data:`BLOCK`.
    """

    def __init__(self, reps: int, steps: int, components: int, block: int) -> None:
        if not 0 < block <= BLOCK:
            raise ValueError(f"blocks of {block} draws: their numbers must fit into one byte")
        self.cells, self.block = (reps, steps, components), block
        self._at: list[NDArray[np.int32]] = []
        self._draw: list[NDArray[np.uint8]] = []
        self._value: list[NDArray[Any]] = []
        self.draws = 0

    def take(self, dense: NDArray[Any]) -> None:
        """Take the next draws over, and set them to zero.

        Parameters
        ----------
        dense : ndarray of whole numbers, shape (draws, reps, steps[, components])
            Contiguous, so that it is emptied in place.
        """
        reps, steps, components = self.cells
        view = dense.reshape(dense.shape[0], reps, steps, components)
        at = np.zeros(reps * steps * components + 1, dtype=np.int32)
        draw, value = np.empty(view.size, dtype=np.uint8), np.empty(view.size, dtype=view.dtype)
        n = _take(view, at, draw, value)
        self._at.append(at)
        self._draw.append(draw[:n].copy())
        self._value.append(_narrow(value[:n]))
        self.draws += dense.shape[0]

    def columns(self) -> Columns:
        """Everything taken so far."""
        reps, steps, components = self.cells
        sizes = np.array([0, *(draw.size for draw in self._draw)], dtype=np.int64)
        return Columns(
            (self.draws, reps, steps, components),
            self.block,
            np.cumsum(sizes)[:-1],
            np.stack(self._at) if self._at else np.zeros((0, 1), dtype=np.int32),
            _joined(self._draw, np.uint8),
            _joined(self._value, np.uint8),
        )


def columns_of(dense: NDArray[Any], block: int = BLOCK) -> Columns:
    """Columns of a plain array, shape (draws, reps, steps[, components])."""
    shape = dense.shape if dense.ndim == 4 else (*dense.shape, 1)
    recorder = Recorder(shape[1], shape[2], shape[3], block)
    for first in range(0, shape[0], block):
        recorder.take(np.array(dense[first : first + block]))
    return recorder.columns()


def _narrow(values: NDArray[Any]) -> NDArray[Any]:
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    fits = (t for t in WIDTHS if np.iinfo(t).min <= low and high <= np.iinfo(t).max)
    return values.astype(next(fits))


def _joined(parts: list[NDArray[Any]], empty: Any) -> NDArray[Any]:
    """Put parts end to end, giving each up as it is copied, so that no second copy of all is needed."""
    widest = max((part.dtype for part in parts), key=lambda t: t.itemsize, default=np.dtype(empty))
    out = np.empty(sum(part.size for part in parts), dtype=widest)
    place = 0
    for k, part in enumerate(parts):
        out[place : place + part.size] = part
        place += part.size
        parts[k] = part[:0]
    return out
