"""Compiled loops over cells for :mod:`quotacast.models.laplace`.

Cells are looked up by the entries of a design's columns (:mod:`quotacast.models.laplace_columns`), numbered
through: first ``wide`` of them, then those of the one term that is eliminated, whose column is the last of
``codes``. Cells that differ in the first column alone (*inner*) make a run: ``starts``, shape (runs + 1,),
says where each begins, ``prefix``, shape (runs, columns - 1), what its cells share, so that this is looked up
once. Kernels over cells are one pass each; all release the interpreter's lock.

One kernel serves both count families. With ``a = 1 / phi`` and ``t = a mu`` the negative binomial is ::

    l   = y eta - (y + 1/a) log(1 + t) + sum_{j < y} log(1 + a j) - log y!
    l'  = (y - mu) / (1 + t)
    -l'' = (1 + a y) mu / (1 + t)^2             (> 0: log concave in eta)
    -l''' = (1 + a y) mu (1 - t) / (1 + t)^3

and Poisson at ``a = 0`` (Lawless 1987, doi:10.2307/3314912). Means ``mu`` are products of exponentiated
entries, so that cells cost multiplications only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

from quotacast.models.terms import Codes, Floats

Rows = NDArray[np.int64]
_F = TypeVar("_F", bound=Callable[..., Any])
_FAST = {"contract", "reassoc", "nsz"}


def compiled(function: _F) -> _F:
    """Compile a loop: no lock, sums in any order, divisions by zero as in arrays."""
    return cast(_F, numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)(function))


@compiled
def predict(entries: Floats, inner: Codes, starts: Rows, prefix: Codes) -> Floats:
    """Sum of every cell's entries."""
    out = np.empty(inner.size)
    for r in range(prefix.shape[0]):
        shared = 0.0
        for k in range(prefix.shape[1]):
            shared += entries[prefix[r, k]]
        for i in range(starts[r], starts[r + 1]):
            out[i] = shared + entries[inner[i]]
    return out


@compiled
def means(factor: Floats, inner: Codes, starts: Rows, prefix: Codes, exposure: Floats) -> Floats:
    """Product of exposure and every cell's entries."""
    mu = np.empty(inner.size)
    for r in range(prefix.shape[0]):
        shared = 1.0
        for k in range(prefix.shape[1]):
            shared *= factor[prefix[r, k]]
        for i in range(starts[r], starts[r + 1]):
            mu[i] = exposure[i] * shared * factor[inner[i]]
    return mu


@compiled
def count_moments(mu: Floats, y: Floats, a: float, w: Floats, w1: Floats, g: Floats) -> float:
    """Log likelihood without ``y eta`` and what mu does not change; fills -l'', its derivative and l'."""
    total = 0.0
    for i in range(mu.size):
        if a == 0.0:
            total -= mu[i]
            g[i] = y[i] - mu[i]
            w[i] = mu[i]
            w1[i] = mu[i]
        else:
            t = a * mu[i]
            u = 1.0 / (1.0 + t)
            total -= (y[i] + 1.0 / a) * np.log1p(t)
            g[i] = (y[i] - mu[i]) * u
            w[i] = (1.0 + a * y[i]) * mu[i] * u * u
            w1[i] = w[i] * (1.0 - t) * u
    return total


@compiled
def dispersion_derivatives(mu: Floats, y: Floats, a: float, g: Floats, w: Floats) -> float:
    """Derivatives by ``a`` of the log likelihood (returned), of l' and of -l'' (filled)."""
    total = 0.0
    for i in range(mu.size):
        m = mu[i]
        t = a * m
        u = 1.0 / (1.0 + t)
        if t < 1e-3:
            total += m * m * (0.5 - t * (2.0 / 3.0 - 0.75 * t)) - y[i] * m * u
        else:
            total += (np.log1p(t) - t * u) / (a * a) - y[i] * m * u
        g[i] = -(y[i] - m) * m * u * u
        w[i] = y[i] * m * u * u - 2.0 * (1.0 + a * y[i]) * m * m * u * u * u
    return total


@compiled
def scatter(inner: Codes, starts: Rows, prefix: Codes, value: Floats, entries: int) -> Floats:
    """Sum of a cells' value over every entry."""
    out = np.zeros(entries)
    for r in range(prefix.shape[0]):
        total = 0.0
        for i in range(starts[r], starts[r + 1]):
            out[inner[i]] += value[i]
            total += value[i]
        for k in range(prefix.shape[1]):
            out[prefix[r, k]] += total
    return out


@compiled
def scatter_rows(codes: Codes, rows: Floats, entries: int) -> Floats:
    """Sum of a cells' values, shape (n, k), over every entry, (entries, k)."""
    n, columns = codes.shape
    out = np.zeros((entries, rows.shape[1]))
    for i in range(n):
        for k in range(columns):
            for m in range(rows.shape[1]):
                out[codes[i, k], m] += rows[i, m]
    return out


@compiled
def predict_rows(entries: Floats, codes: Codes, rows: Floats) -> Floats:
    """Inner product of a cell's values, shape (n, k), with the sum of its entries, (entries, k)."""
    n, columns = codes.shape
    out = np.zeros(n)
    for i in range(n):
        for k in range(columns):
            for m in range(rows.shape[1]):
                out[i] += rows[i, m] * entries[codes[i, k], m]
    return out


@compiled
def gram(
    inner: Codes, starts: Rows, prefix: Codes, w: Floats, wide: int, arrow: int
) -> tuple[Floats, Floats, Floats]:
    """Sum of ``w`` over pairs of entries: a block's lower triangle, border (arrow x wide) and diagonal."""
    last = prefix.shape[1] - 1
    block = np.zeros((wide, wide))
    border = np.zeros((arrow, wide))
    diagonal = np.zeros(arrow)
    for r in range(prefix.shape[0]):
        q = prefix[r, last] - wide
        total = 0.0
        for i in range(starts[r], starts[r + 1]):
            border[q, inner[i]] += w[i]
            total += w[i]
        diagonal[q] += total
        for j in range(last):
            row = prefix[r, j]
            for i in range(starts[r], starts[r + 1]):
                block[row, inner[i]] += w[i]
            border[q, row] += total
            for k in range(j):
                block[row, prefix[r, k]] += total
    for q in range(arrow):
        for c in range(wide):
            block[c, c] += border[q, c]
    return block, border, diagonal


@compiled
def variances(
    inner: Codes, starts: Rows, prefix: Codes, block: Floats, border: Floats, diagonal: Floats
) -> Floats:
    """Variance of every cell's sum of entries from their covariance, laid out as in ``gram``."""
    last = prefix.shape[1] - 1
    wide = block.shape[0]
    out = np.empty(inner.size)
    for r in range(prefix.shape[0]):
        q = prefix[r, last] - wide
        crossed = 0.0
        shared = diagonal[q]
        for j in range(last):
            row = prefix[r, j]
            shared += block[row, row]
            crossed += border[q, row]
            for k in range(j):
                crossed += block[row, prefix[r, k]]
        shared += 2.0 * crossed
        for i in range(starts[r], starts[r + 1]):
            c = inner[i]
            crossed = border[q, c]
            for j in range(last):
                crossed += block[prefix[r, j], c]
            out[i] = shared + block[c, c] + 2.0 * crossed
    return out


#: Cells whose factors 1 + a mu are multiplied before a logarithm is taken, and the least ``a`` for which that
#: is exact enough: what an error of rounding in 1 + a mu costs is it over a.
AT_ONCE = 8
LEAST_A = 1e-4


@compiled
def count_likelihoods(
    factor: Floats, codes: Codes, exposure: Floats, y: Floats, order: Rows, a: float, extra: Floats
) -> Floats:
    """Negative-binomial log likelihood without ``y eta``, up to a constant, of many vectors at once.

    ``factor`` are the exponentiated entries, shape (entries, draws); ``extra`` holds further factors, shape
    (cells, draws) or none; ``order`` the cells by their ``y``: those of one ``y`` share logarithms.
    """
    n, columns = codes.shape
    draws = factor.shape[1]
    out, mu, product = np.zeros(draws), np.empty(draws), np.ones(draws)
    inside = 0
    for place in range(n):
        i = order[place]
        mu[:] = exposure[i]
        for k in range(columns):
            code = codes[i, k]
            for m in range(draws):
                mu[m] *= factor[code, m]
        if extra.shape[0] > 0:
            for m in range(draws):
                mu[m] *= extra[i, m]
        if a < LEAST_A:
            for m in range(draws):
                out[m] -= (y[i] + 1.0 / a) * np.log1p(a * mu[m])
        else:
            for m in range(draws):
                product[m] *= 1.0 + a * mu[m]
            inside += 1
            if inside == AT_ONCE or place + 1 == n or y[order[place + 1]] != y[i]:
                for m in range(draws):
                    out[m] -= (y[i] + 1.0 / a) * np.log(product[m])
                    product[m] = 1.0
                inside = 0
    return out


@compiled
def poisson_likelihoods(
    factor: Floats, inner: Codes, starts: Rows, prefix: Codes, exposure: Floats, extra: Floats
) -> Floats:
    """The same of a Poisson model: the sum of minus every cell's mean; cells of a run share factors."""
    draws = factor.shape[1]
    out, shared, total = np.zeros(draws), np.empty(draws), np.empty(draws)
    for r in range(prefix.shape[0]):
        shared[:] = factor[prefix[r, 0]]
        for k in range(1, prefix.shape[1]):
            code = prefix[r, k]
            for m in range(draws):
                shared[m] *= factor[code, m]
        total[:] = 0.0
        for i in range(starts[r], starts[r + 1]):
            code, e = inner[i], exposure[i]
            if extra.shape[0] > 0:
                for m in range(draws):
                    total[m] += e * factor[code, m] * extra[i, m]
            else:
                for m in range(draws):
                    total[m] += e * factor[code, m]
        for m in range(draws):
            out[m] -= shared[m] * total[m]
    return out


@compiled
def column_products(one: Floats, other: Floats) -> Floats:
    """Inner products of the columns of two matrices, shape (columns,)."""
    out = np.zeros(one.shape[1])
    for i in range(one.shape[0]):
        for q in range(one.shape[1]):
            out[q] += one[i, q] * other[i, q]
    return out


@compiled
def to_both_sides(centre: Floats, deviation: Floats) -> Floats:
    """A centre plus and minus deviations, shape (n, k), as one matrix (n, 2 k)."""
    n, k = deviation.shape
    out = np.empty((n, 2 * k))
    for i in range(n):
        for m in range(k):
            out[i, m] = centre[i] + deviation[i, m]
            out[i, k + m] = centre[i] - deviation[i, m]
    return out
