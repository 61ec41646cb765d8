"""The log posterior of a declared model and its gradient, written out and compiled by numba.

``whitened_nuts.py`` makes the arrays, ``agreement`` there compares the value with PyMC's. The likelihoods are
those of :class:`quotacast.models.terms.Declaration`, up to what depends on the data alone.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from quotacast.models.terms import RHO_PRIOR, Floats

#: Kinds of blocks: steps are the levels, a basis makes them, an AR(1) does, one slope above a bound.
PLAIN, BASIS, SHOCK, TRUNCATED = range(4)
KINDS = {"walk": BASIS, "contrast": BASIS, "shock": SHOCK}
FAMILIES = ("poisson", "negbinomial", "normal")


def log_density(q: Floats, gradient: Floats, blocks: Any, arrays: Any, hypers: Any, data: Any) -> float:
    """Log density at coordinates ``q``; fills in the gradient.

    Exponentials and logarithms are numpy's, several at a time; everything between them is compiled.
    """
    family, y, exposure, squares, codes, rows_of, first, covariates, slopes, seen, times = data
    inside, value, hyper, slope, levels, steps, away = _forward(q, gradient, blocks, arrays, hypers)
    if not inside:
        return -math.inf
    eta = _predictor(levels, codes, rows_of, first)
    if slopes.size:
        eta += covariates @ levels[slopes]
    own, g_own = (hyper[-1] if family else 1.0), 0.0
    if family == 0:
        mu = exposure * np.exp(eta)
        value += y @ eta - mu.sum()
        d = y - mu
    elif family == 1:
        phi = 1.0 / (own * own + 1e-9)
        mu = exposure * np.exp(eta)
        more = np.log1p(mu / phi)
        d = y - (y + phi) * (mu / (phi + mu))
        value += y @ eta - math.log(phi) * y.sum() - (y + phi) @ more
        gammas, digammas = _gammas(phi, seen, times)
        value += gammas
        g_own = -2.0 * own * phi * phi * (digammas - d.sum() / phi - more.sum())
    else:
        apart = y - eta
        total, n = float(np.sum(squares + exposure * apart * apart)), exposure.sum()
        value -= n * math.log(own) + total / (2.0 * own * own)
        g_own = total / own**3 - n / own
        d = exposure * apart / (own * own)
    g_levels = _adjoint(d, codes, rows_of, first, levels.size)
    if slopes.size:
        g_levels[slopes] += d @ covariates
    value += _backward(q, gradient, blocks, arrays, hyper, slope, levels, steps, away, g_levels, g_own)
    return float(value)


@njit(cache=True, nogil=True)
def _forward(q, gradient, blocks, arrays, hypers):  # type: ignore[no-untyped-def]
    """Hyperparameters and their priors, steps and levels; the rows of ``blocks``: ``Density._pack_terms``."""
    scales, lower, mean, centred, parents, bases = arrays
    h_scale, h_prior, is_rho = hypers
    n_steps, n_levels = centred.size, mean.size
    hyper, slope = np.empty(h_scale.size), np.empty(h_scale.size)
    value = 0.0
    levels, steps, away = np.empty(n_levels), np.empty(n_steps), np.ones(n_steps)
    for k in range(h_scale.size):
        u = q[n_steps + k]
        if is_rho[k]:
            r = 1.0 / (1.0 + math.exp(-u))
            hyper[k], slope[k] = r, r * (1.0 - r)
            if r <= 0.0 or r >= 1.0:
                return False, value, hyper, slope, levels, steps, away
            value += RHO_PRIOR[0] * math.log(r) + RHO_PRIOR[1] * math.log(1.0 - r)
            gradient[n_steps + k] = RHO_PRIOR[0] * (1.0 - r) - RHO_PRIOR[1] * r
        else:
            below = 0.5 * math.erfc(-u / math.sqrt(2.0))
            here = math.exp(-0.5 * u * u) / math.sqrt(2.0 * math.pi)
            x = h_scale[k] * (u * below + here)
            if not x > 0.0:
                return False, value, hyper, slope, levels, steps, away
            hyper[k], slope[k] = x, h_scale[k] * below
            value += math.log(below) - 0.5 * (x / h_prior[k]) ** 2
            gradient[n_steps + k] = here / below - x / h_prior[k] ** 2 * slope[k]
    for b in range(blocks.shape[0]):
        kind, at, n, level, size, sd_at, rho_at, n_parents, offset = blocks[b]
        if kind == TRUNCATED:
            levels[level] = lower[b] + math.exp(q[at])
            continue
        sd = hyper[sd_at] if sd_at >= 0 else scales[b]
        for i in range(at, at + n):
            if centred[i] < 1.0:
                same = i > at and centred[i] == centred[i - 1]
                away[i] = away[i - 1] if same else sd ** (1.0 - centred[i])
            v = q[i]
            for k in range(n_parents):
                v -= levels[parents[i, k]]
            steps[i] = v * away[i]
        if kind == BASIS:
            for j in range(size):
                total = mean[level + j]
                for i in range(n):
                    total += bases[offset + j * n + i] * steps[at + i]
                levels[level + j] = total
        elif kind == SHOCK:
            rho, before = hyper[rho_at], 0.0
            fresh = math.sqrt(1.0 - rho * rho)
            for j in range(size):
                before = steps[at] if j == 0 else rho * before + fresh * steps[at + j]
                levels[level + j] = mean[level + j] + before
        else:
            for j in range(size):
                levels[level + j] = mean[level + j] + steps[at + j]
    return True, value, hyper, slope, levels, steps, away


@njit(cache=True, nogil=True)
def _predictor(levels, codes, rows_of, first):  # type: ignore[no-untyped-def]
    """Predictor per cell, over sums of levels per combination."""
    table = np.zeros(first.size - 1)
    for k in range(table.size):
        for j in range(first[k], first[k + 1]):
            table[k] += levels[rows_of[j]]
    eta = np.empty(codes.shape[0])
    for i in range(eta.size):
        total = 0.0
        for k in range(codes.shape[1]):
            total += table[codes[i, k]]
        eta[i] = total
    return eta


@njit(cache=True, nogil=True)
def _adjoint(d, codes, rows_of, first, n_levels):  # type: ignore[no-untyped-def]
    """Gradient in the levels from that in the predictor."""
    g_table, g_levels = np.zeros(first.size - 1), np.zeros(n_levels)
    for i in range(d.size):
        for k in range(codes.shape[1]):
            g_table[codes[i, k]] += d[i]
    for k in range(g_table.size):
        for j in range(first[k], first[k + 1]):
            g_levels[rows_of[j]] += g_table[k]
    return g_levels


@njit(cache=True, nogil=True)
def _gammas(phi, seen, times):  # type: ignore[no-untyped-def]
    """Sum of log Gamma(y + phi) - log Gamma(phi) over the cells, and its derivative in phi."""
    value, slope = 0.0, 0.0
    for k in range(seen.size):
        value += times[k] * (math.lgamma(seen[k] + phi) - math.lgamma(phi))
        slope += times[k] * (_digamma(seen[k] + phi) - _digamma(phi))
    return value, slope


@njit(cache=True, nogil=True)
def _backward(  # type: ignore[no-untyped-def]
    q, gradient, blocks, arrays, hyper, slope, levels, steps, away, g_levels, g_own
):
    """Log priors of the terms; fills in the gradient from that in the levels."""
    scales, _, mean, centred, parents, bases = arrays
    g_hyper, value = np.zeros(hyper.size), 0.0
    if hyper.size:
        g_hyper[-1] = g_own
    for b in range(blocks.shape[0] - 1, -1, -1):
        kind, at, n, level, size, sd_at, rho_at, n_parents, offset = blocks[b]
        if kind == TRUNCATED:
            z = (levels[level] - mean[level]) / scales[b]
            gradient[at] = (g_levels[level] - z / scales[b]) * math.exp(q[at]) + 1.0
            value += q[at] - 0.5 * z * z
            continue
        sd, g_sd = hyper[sd_at] if sd_at >= 0 else scales[b], 0.0
        log_sd = math.log(sd) if sd_at >= 0 else 0.0
        rho, back = hyper[rho_at] if rho_at >= 0 else 0.0, 0.0
        fresh = math.sqrt(1.0 - rho * rho)
        for j in range(n - 1, -1, -1):
            i = at + j
            if kind == BASIS:
                g = 0.0
                for k in range(size):
                    g += bases[offset + k * n + j] * g_levels[level + k]
            elif kind == SHOCK:
                back = g_levels[level + j] + rho * back
                g = back
                if j:
                    g *= fresh
                    g_hyper[rho_at] += back * (
                        levels[level + j - 1] - mean[level + j - 1] - rho / fresh * steps[i]
                    )
            else:
                g = g_levels[level + j]
            z = steps[i] / sd
            g -= z / sd
            gradient[i] = g * away[i]
            for k in range(n_parents):
                g_levels[parents[i, k]] -= g
            value -= 0.5 * z * z + log_sd * centred[i]
            # of log sd: through the step, and the density of the coordinate itself
            g_sd += (1.0 - centred[i]) * g * steps[i] + z * z - centred[i]
        if sd_at >= 0:
            g_hyper[sd_at] += g_sd / sd
    for k in range(hyper.size):
        gradient[centred.size + k] += g_hyper[k] * slope[k]
    return value


@njit(cache=True, nogil=True)
def _digamma(x):  # type: ignore[no-untyped-def]
    """Derivative of log Gamma: recurrence to 8 or more, then the asymptotic series (DLMF 5.11.2)."""
    out = 0.0
    while x < 8.0:
        out -= 1.0 / x
        x += 1.0
    r = 1.0 / (x * x)
    series = r * (1 / 12 - r * (1 / 120 - r * (1 / 252 - r * (1 / 240 - r * (1 / 132 - r * 691 / 32760)))))
    return out + math.log(x) - 0.5 / x - series
