"""Counts of many draws by rep and step, without the zeros.

In fine steps nearly every cell of (draw, rep, step) is empty: 10,000 draws of 20 reps on 365 days hold some
fifty million deals' events in 73 million cells for each measure and component. So blocks of draws are
simulated into plain arrays, and what is not zero is kept cell by cell: for each cell the draws in which
something happened, counted from the block's first, and how much, in the narrowest whole numbers that hold
the measure. Nothing is rounded or capped.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

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
