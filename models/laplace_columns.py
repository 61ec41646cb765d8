"""Terms of a design merged into few columns: what a pass over the cells costs is its columns.

Many terms know nothing of a cell that another term does not: the month tells quarter and season, the rep x
quarter tells the rep. Such a *nested* term needs no look-up of its own: the column of its *host* stands for
both. Terms that are left and small share a column of their combinations. Every *entry* of a column has
*members*, the levels that it stands for, and ::

    (Z x)_i = sum over columns of u[entry],         u = M x,  the sum of x over an entry's members
    Z'v     = M' (v summed by entry)
    Z'WZ    = M' (W summed by pairs of entries) M
    z_i'Cz_i = sum over pairs of the cell's entries of M C M'

exactly, whatever is merged; only the order of summation differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from quotacast.models import laplace_kernels as kernels
from quotacast.models import laplace_members as inside
from quotacast.models.terms import Codes, Floats

Places = NDArray[np.int64]
_T = TypeVar("_T")

#: Combinations that a shared column may have. Pairs of entries are added to their members once a pass, which
#: must stay small beside once a cell.
COMBINATIONS = 32


@dataclass(frozen=True)
class Columns:
    """Columns of a design.

    Attributes
    ----------
    codes : ndarray of int32, shape (n, columns)
        Entry of every cell, numbered through; the last column's are the levels of the eliminated term
        (*arrow*), in their order. Cells side by side that differ in the first column alone make a run, so
        they are best sorted by the others.
    members : ndarray of int32, shape (entries, k)
        Levels before the arrow's that an entry stands for; -1 beyond the last.
    wide : int
        Number of entries before the arrow's.
    dense, arrow : int
        Number of levels before the arrow's, and the arrow's.
    """

    codes: Codes
    members: Codes
    wide: int
    dense: int
    arrow: int

    @cached_property
    def runs(self) -> tuple[Codes, Places, Codes]:
        """First column; where each run begins and the last one ends; what a run's cells share."""
        shared = self.codes[:, 1:]
        new = np.flatnonzero((shared[1:] != shared[:-1]).any(axis=1)) + 1
        # without a cell there is no run
        starts = np.concatenate([[0], new, [shared.shape[0]]]).astype(np.int64)[: shared.shape[0] + 1]
        return np.ascontiguousarray(self.codes[:, 0]), starts, np.ascontiguousarray(shared[starts[:-1]])

    def fold(self, x: Floats) -> Floats:
        """M x for levels (first axis): what every entry adds to a predictor."""
        folded = inside.fold(self.members, self.wide, self.dense, x.reshape(x.shape[0], -1))
        return folded.reshape(-1, *x.shape[1:])

    def scatter(self, value: Floats) -> Floats:
        """Z' value, shape (dense + arrow,)."""
        summed = kernels.scatter(*self.runs, value, self.members.shape[0])
        return inside.unfold(self.members, self.wide, self.dense, summed)

    def scatter_rows(self, rows: Floats) -> Floats:
        """Z' rows, shape (dense + arrow, k), for several values a cell, (n, k)."""
        summed = kernels.scatter_rows(self.codes, rows, self.members.shape[0])
        return inside.unfold_rows(self.members, self.wide, self.dense, summed)

    def gram(self, w: Floats) -> tuple[Floats, Floats, Floats]:
        """Z'WZ as its dense block, the border (dense x arrow) and the arrow's diagonal."""
        parts = kernels.gram(*self.runs, w, self.wide, self.arrow)
        return inside.unfold_gram(self.members, self.dense, *parts)

    def variances(self, block: Floats, border: Floats, diagonal: Floats) -> Floats:
        """Diagonal of Z C Z' for a covariance ``C`` laid out as in :meth:`gram`, shape (n,)."""
        return kernels.variances(*self.runs, *inside.fold_covariance(self.members, block, border, diagonal))


def merged(terms: Sequence[Codes], sizes: Sequence[int], arrow: Codes, dense: int, arrows: int) -> Columns:
    """Merge terms into columns.

    Parameters
    ----------
    terms : sequence of ndarray of int32, shape (n,)
        Levels of every term but the arrow, each counted from 0.
    sizes : sequence of int
        Their numbers of levels; levels are numbered through in this order.
    arrow : ndarray of int32, shape (n,)
    dense, arrows : int
        Number of levels before the arrow's, covariates' included, and the arrow's.
    """
    hosts = _hosts(terms, sizes, arrow, arrows)
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    groups = _groups([k for k, host in enumerate(hosts) if host == k], sizes) or [[]]
    columns = [
        _combined([terms[k] for k in group], [sizes[k] for k in group], arrow.size) for group in groups
    ]
    inner = _longest_runs([*columns, (arrow.astype(np.int64), arrows)])
    groups, columns = _first(groups, inner), _first(columns, inner)
    columns.append((arrow.astype(np.int64), arrows))
    codes, tables, first = [], [], 0
    for group, (code, count) in zip([*groups, [len(terms)]], columns, strict=True):
        held = [terms[k] + starts[k] for k, host in enumerate(hosts) if host in group]
        tables.append(_members(code, count, held))
        codes.append(code + first)
        first += count
    wide = first - arrows
    return Columns(np.column_stack(codes).astype(np.int32), _stacked(tables), wide, dense, arrows)


def _longest_runs(columns: Sequence[tuple[Places, int]]) -> int:
    """The column, of all but the last, without which cells have the fewest distinct codes."""
    found = []
    for k in range(len(columns) - 1):
        code = np.zeros(columns[0][0].size, dtype=np.int64)
        for other, count in [*columns[:k], *columns[k + 1 :]]:
            code = np.unique(code * count + other, return_inverse=True)[1].astype(np.int64)
        found.append(int(code.max(initial=0)))
    return int(np.argmin(found))


def _first(items: list[_T], at: int) -> list[_T]:
    return [items[at], *items[:at], *items[at + 1 :]]


def _nested(inner: Codes, outer: Codes, size: int) -> bool:
    """Whether the outer level always tells the inner one."""
    told = np.full(size, -1, dtype=np.int64)
    told[outer] = inner
    return bool((told[outer] == inner).all())


def _hosts(terms: Sequence[Codes], sizes: Sequence[int], arrow: Codes, arrows: int) -> list[int]:
    """Term in which each is nested: itself where in none, ``len(terms)`` for the arrow."""
    count = len(terms)
    nested = [[_nested(a, b, n) for b, n in zip(terms, sizes, strict=True)] for a in terms]
    in_arrow = [_nested(a, arrow, arrows) for a in terms]
    # of two that tell each other, the first is kept
    own = [
        not in_arrow[k]
        and not any(nested[k][j] and (j < k or not nested[j][k]) for j in range(count) if j != k)
        for k in range(count)
    ]
    found = []
    for k in range(count):
        kept = [j for j in range(count) if own[j] and nested[k][j]]
        found.append(k if own[k] else min(kept, key=lambda j: sizes[j], default=count))
    return found


def _groups(terms: list[int], sizes: Sequence[int]) -> list[list[int]]:
    """Terms that share a column: the smallest together while their combinations are few."""
    groups: list[list[int]] = []
    room = 0
    for k in sorted(terms, key=lambda k: sizes[k]):
        if groups and sizes[k] <= room:
            groups[-1].append(k)
            room //= sizes[k]
        else:
            groups.append([k])
            room = COMBINATIONS // sizes[k]
    return groups


def _combined(terms: list[Codes], sizes: list[int], cells: int) -> tuple[Places, int]:
    """Code of a combination, and the number of combinations; of no terms, one."""
    code, count = np.zeros(cells, dtype=np.int64), 1
    for term, size in zip(terms, sizes, strict=True):
        code, count = code * size + term, count * size
    return code, count


def _members(code: Places, count: int, inside: Sequence[Places]) -> Codes:
    table = np.full((count, len(inside)), -1, dtype=np.int32)
    for j, level in enumerate(inside):
        table[code, j] = level
    return table


def _stacked(tables: list[Codes]) -> Codes:
    width = max(1, *(table.shape[1] for table in tables))
    return np.concatenate([np.pad(t, ((0, 0), (0, width - t.shape[1])), constant_values=-1) for t in tables])
