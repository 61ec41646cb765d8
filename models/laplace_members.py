"""Compiled sums between the entries of a design's columns and the levels that they stand for.

Computed are M x, M'v, M'KM and MCM' with M the matrix of members (see `models.laplace_columns`). In
all of them ``members`` (entries, k) holds an entry's levels before the arrow's, -1 beyond the last, and the
arrow's entries come last, each with a level of its own besides.
"""

from __future__ import annotations

import numpy as np

from quotacast.models.laplace_kernels import compiled
from quotacast.models.terms import Codes, Floats


@compiled
def fold(members: Codes, wide: int, dense: int, x: Floats) -> Floats:
    """Sum of levels, shape (levels, draws), over the members of every entry, (entries, draws)."""
    entries, draws = members.shape[0], x.shape[1]
    out = np.zeros((entries, draws))
    for e in range(entries):
        if e >= wide:
            for m in range(draws):
                out[e, m] = x[dense + e - wide, m]
        for k in range(members.shape[1]):
            level = members[e, k]
            if level < 0:
                break
            for m in range(draws):
                out[e, m] += x[level, m]
    return out


@compiled
def unfold(members: Codes, wide: int, dense: int, value: Floats) -> Floats:
    """Add every entry's value to its members."""
    entries = members.shape[0]
    out = np.zeros(dense + entries - wide)
    for e in range(entries):
        if e >= wide:
            out[dense + e - wide] = value[e]
        for k in range(members.shape[1]):
            level = members[e, k]
            if level < 0:
                break
            out[level] += value[e]
    return out


@compiled
def unfold_rows(members: Codes, wide: int, dense: int, rows: Floats) -> Floats:
    """Add every entry's values, shape (entries, k), to its members, (levels, k)."""
    out = np.zeros((dense + members.shape[0] - wide, rows.shape[1]))
    for m in range(rows.shape[1]):
        out[:, m] = unfold(members, wide, dense, rows[:, m])
    return out


@compiled
def unfold_gram(
    members: Codes, dense: int, block: Floats, border: Floats, diagonal: Floats
) -> tuple[Floats, Floats, Floats]:
    """From pairs of entries, laid out as in ``laplace_kernels.gram``, to pairs of levels.

    Returns
    -------
    block : ndarray, shape (dense, dense)
    border : ndarray, shape (dense, arrow)
    diagonal : ndarray, shape (arrow,)
    """
    wide, arrow, most = block.shape[0], border.shape[0], members.shape[1]
    across = np.empty((wide, arrow))
    for q in range(arrow):
        for b in range(wide):
            across[b, q] = border[q, b]
    one, other = np.zeros((dense, wide)), np.zeros((dense, wide))  # levels by entries
    whole, edge = np.zeros((dense, dense)), np.zeros((dense, arrow))
    mixed = np.zeros((dense, dense))
    for a in range(wide):
        for k in range(most):
            level = members[a, k]
            if level < 0:
                break
            for b in range(a + 1):
                one[level, b] += block[a, b]
            for b in range(a + 1, wide):
                one[level, b] += block[b, a]
            for q in range(arrow):
                edge[level, q] += across[a, q]
    for q in range(arrow):
        for k in range(most):
            level = members[wide + q, k]
            if level < 0:
                break
            edge[level, q] += diagonal[q]
            for b in range(wide):
                other[level, b] += border[q, b]
            for j in range(most):
                if members[wide + q, j] < 0:
                    break
                whole[level, members[wide + q, j]] += diagonal[q]
    for b in range(wide):
        for k in range(most):
            level = members[b, k]
            if level < 0:
                break
            for i in range(dense):
                whole[level, i] += one[i, b] + other[i, b]
                mixed[level, i] += other[i, b]
    for i in range(dense):
        for j in range(dense):
            whole[i, j] += mixed[j, i]
    return whole, edge, diagonal


@compiled
def fold_covariance(
    members: Codes, block: Floats, border: Floats, diagonal: Floats
) -> tuple[Floats, Floats, Floats]:
    """From the covariance of levels to that of entries, laid out as in ``laplace_kernels.gram``."""
    dense, arrow, most = block.shape[0], border.shape[1], members.shape[1]
    wide = members.shape[0] - arrow
    half = np.zeros((dense, wide))
    lower, edge, own = np.zeros((wide, wide)), np.zeros((wide, arrow)), diagonal.copy()
    across = np.empty((arrow, wide))
    for i in range(dense):
        for b in range(wide):
            for k in range(most):
                level = members[b, k]
                if level < 0:
                    break
                half[i, b] += block[i, level]
    for a in range(wide):
        for k in range(most):
            level = members[a, k]
            if level < 0:
                break
            for b in range(a + 1):
                lower[a, b] += half[level, b]
            for q in range(arrow):
                edge[a, q] += border[level, q]
    for q in range(arrow):
        for b in range(wide):
            across[q, b] = edge[b, q]
        for k in range(most):
            level = members[wide + q, k]
            if level < 0:
                break
            own[q] += 2.0 * border[level, q]
            for b in range(wide):
                across[q, b] += half[level, b]
            for j in range(most):
                if members[wide + q, j] < 0:
                    break
                own[q] += block[level, members[wide + q, j]]
    return lower, across, own
