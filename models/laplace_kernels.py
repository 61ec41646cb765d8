"""Compiled loops over cells for :mod:`quotacast.models.laplace`.

Levels of all terms are numbered through: first those of the terms that are solved densely (``dense`` of
them), then those of the one term that is eliminated (``arrow``), which is the last column of ``codes``.
Every kernel is one pass over the cells; all release the interpreter's lock.

One kernel serves both count families. With ``a = 1 / phi`` and ``t = a mu`` the negative binomial is ::

    l   = y eta - (y + 1/a) log(1 + t) + sum_{j < y} log(1 + a j) - log y!
    l'  = (y - mu) / (1 + t)
    -l'' = (1 + a y) mu / (1 + t)^2             (> 0: log concave in eta)
    -l''' = (1 + a y) mu (1 - t) / (1 + t)^3

and Poisson at ``a = 0`` (Lawless 1987, doi:10.2307/3314912).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np

from quotacast.models.terms import Codes, Floats

_F = TypeVar("_F", bound=Callable[..., Any])
_FAST = {"contract", "reassoc", "nsz"}


def _compiled(function: _F) -> _F:
    return cast(_F, numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=_FAST)(function))


@_compiled
def predict(x: Floats, codes: Codes, offset: Floats) -> Floats:
    """Linear predictor of every cell."""
    n, terms = codes.shape
    eta = np.empty(n)
    for i in range(n):
        total = offset[i]
        for k in range(terms):
            total += x[codes[i, k]]
        eta[i] = total
    return eta


@_compiled
def count_moments(eta: Floats, y: Floats, a: float, w: Floats, w1: Floats, g: Floats) -> float:
    """Log likelihood without its part in ``y`` and ``a`` alone; fills -l'', its derivative and l'."""
    total = 0.0
    for i in range(eta.size):
        mu = np.exp(eta[i])
        if a == 0.0:
            total += y[i] * eta[i] - mu
            g[i] = y[i] - mu
            w[i] = mu
            w1[i] = mu
        else:
            t = a * mu
            u = 1.0 / (1.0 + t)
            total += y[i] * eta[i] - (y[i] + 1.0 / a) * np.log1p(t)
            g[i] = (y[i] - mu) * u
            w[i] = (1.0 + a * y[i]) * mu * u * u
            w1[i] = w[i] * (1.0 - t) * u
    return total


@_compiled
def dispersion_derivatives(eta: Floats, y: Floats, a: float, g: Floats, w: Floats) -> float:
    """Derivatives by ``a`` of the log likelihood (returned), of l' and of -l'' (filled)."""
    total = 0.0
    for i in range(eta.size):
        mu = np.exp(eta[i])
        t = a * mu
        u = 1.0 / (1.0 + t)
        if t < 1e-3:
            total += mu * mu * (0.5 - t * (2.0 / 3.0 - 0.75 * t)) - y[i] * mu * u
        else:
            total += (np.log1p(t) - t * u) / (a * a) - y[i] * mu * u
        g[i] = -(y[i] - mu) * mu * u * u
        w[i] = y[i] * mu * u * u - 2.0 * (1.0 + a * y[i]) * mu * mu * u * u * u
    return total


@_compiled
def scatter(codes: Codes, value: Floats, levels: int) -> Floats:
    """Sum of a cells' value over every level: Z' value."""
    n, terms = codes.shape
    out = np.zeros(levels)
    for i in range(n):
        for k in range(terms):
            out[codes[i, k]] += value[i]
    return out


@_compiled
def gram(codes: Codes, w: Floats, dense: int, arrow: int) -> tuple[Floats, Floats, Floats]:
    """Z'WZ as its dense block, the border (arrow x dense) and the arrow's diagonal."""
    n, terms = codes.shape
    last = terms - 1
    block = np.zeros((dense, dense))
    border = np.zeros((arrow, dense))
    diagonal = np.zeros(arrow)
    for i in range(n):
        q = codes[i, last] - dense
        diagonal[q] += w[i]
        for j in range(last):
            row = codes[i, j]
            border[q, row] += w[i]
            for k in range(j + 1):
                block[row, codes[i, k]] += w[i]
    for j in range(dense):
        for k in range(j):
            block[k, j] = block[j, k]
    return block, border, diagonal


@_compiled
def variances(codes: Codes, block: Floats, border: Floats, diagonal: Floats) -> Floats:
    """Variance of every linear predictor from the covariance of the levels, laid out as in ``gram``."""
    n, terms = codes.shape
    last = terms - 1
    dense = block.shape[0]
    out = np.empty(n)
    for i in range(n):
        q = codes[i, last] - dense
        crossed = 0.0
        total = diagonal[q]
        for j in range(last):
            row = codes[i, j]
            total += block[row, row]
            crossed += border[q, row]
            for k in range(j):
                crossed += block[row, codes[i, k]]
        out[i] = total + 2.0 * crossed
    return out


@_compiled
def count_likelihoods(
    x: Floats, codes: Codes, exposure: Floats, scores: Floats, y: Floats, a: float, extra: Floats
) -> Floats:
    """Log likelihood, up to a constant, of many vectors of levels at once.

    ``x`` has shape (levels, draws), ``scores`` is Z'y. Rates are products of exponentiated levels, so
    that cells cost multiplications only; ``extra`` holds further factors, shape (cells, draws) or none.
    """
    n, terms = codes.shape
    draws = x.shape[1]
    out = np.zeros(draws)
    for level in range(x.shape[0]):
        for m in range(draws):
            out[m] += scores[level] * x[level, m]
    factor = np.exp(x)
    mu = np.empty(draws)
    for i in range(n):
        mu[:] = exposure[i]
        for k in range(terms):
            code = codes[i, k]
            for m in range(draws):
                mu[m] *= factor[code, m]
        if extra.shape[0] > 0:
            for m in range(draws):
                mu[m] *= extra[i, m]
        if a == 0.0:
            for m in range(draws):
                out[m] -= mu[m]
        else:
            for m in range(draws):
                out[m] -= (y[i] + 1.0 / a) * np.log1p(a * mu[m])
    return out
