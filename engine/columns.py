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
    draw, value = np.empty(view.size, dtype=np.uint8), np.empty(view.size, dtype=view.dtype)
    n = _take(view, at, draw, value)
    return Part(dense.shape[0], at, draw[:n].copy(), _narrow(value[:n]))


def join(parts: list[Part], reps: int, steps: int, components: int) -> Columns:
    """Put the blocks of a measure together; all but the last must be of one size. Gives the parts up."""
    sizes = np.array([0, *(part.draw.size for part in parts)], dtype=np.int64)
    draws, block = sum(part.draws for part in parts), parts[0].draws
    at = np.stack([part.at for part in parts])
    draw, value = [part.draw for part in parts], [part.value for part in parts]
    parts.clear()
    return Columns(
        (draws, reps, steps, components), block, np.cumsum(sizes)[:-1], at, _joined(draw), _joined(value)
    )


def columns_of(dense: NDArray[Any], block: int = BLOCK) -> Columns:
    """Columns of a plain array, shape (draws, reps, steps[, components])."""
    shape = dense.shape if dense.ndim == 4 else (*dense.shape, 1)
    parts = [take(np.array(dense[first : first + block])) for first in range(0, shape[0], block)]
    return join(parts, *shape[1:])


def _narrow(values: NDArray[Any]) -> NDArray[Any]:
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    fits = (t for t in WIDTHS if np.iinfo(t).min <= low and high <= np.iinfo(t).max)
    return values.astype(next(fits))


def _joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    """Put parts end to end, giving each up as it is copied, so that no second copy of all is needed."""
    widest = max((part.dtype for part in parts), key=lambda t: t.itemsize)
    out = np.empty(sum(part.size for part in parts), dtype=widest)
    place = 0
    for k, part in enumerate(parts):
        out[place : place + part.size] = part
        place += part.size
        parts[k] = part[:0]
    return out
