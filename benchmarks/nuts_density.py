"""The log posterior of a declared model and its gradient, written out and compiled by numba.

``whitened_nuts.py`` makes the arrays, ``agreement`` there compares the value with PyMC's. The likelihoods are
those of :class:`quotacast.models.terms.Declaration`, up to what depends on the data alone.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from quotacast.models.terms import RHO_PRIOR

#: Kinds of blocks: steps are the levels, a basis makes them, an AR(1) does, one slope above a bound.
PLAIN, BASIS, SHOCK, TRUNCATED = range(4)
KINDS = {"walk": BASIS, "contrast": BASIS, "shock": SHOCK}
FAMILIES = ("poisson", "negbinomial", "normal")


@njit(cache=True, nogil=True)
def log_density(q, gradient, blocks, packed, hypers, data):  # type: ignore[no-untyped-def]
    """Log density; fills in the gradient. What the rows of ``blocks`` hold: see ``Density._pack``."""
    scales, lower, mean, centred, parents, bases = packed
    h_scale, h_prior, is_rho = hypers
    n_steps, n_levels = centred.size, mean.size
    hyper, slope = np.empty(h_scale.size), np.empty(h_scale.size)
    g_hyper, value = np.zeros(h_scale.size), 0.0
    for k in range(h_scale.size):
        u = q[n_steps + k]
        if is_rho[k]:
            r = 1.0 / (1.0 + math.exp(-u))
            hyper[k], slope[k] = r, r * (1.0 - r)
            if r <= 0.0 or r >= 1.0:
                return -np.inf
            value += RHO_PRIOR[0] * math.log(r) + RHO_PRIOR[1] * math.log(1.0 - r)
            gradient[n_steps + k] = RHO_PRIOR[0] * (1.0 - r) - RHO_PRIOR[1] * r
        else:
            below, at = (
                0.5 * math.erfc(-u / math.sqrt(2.0)),
                math.exp(-0.5 * u * u) / math.sqrt(2.0 * math.pi),
            )
            x = h_scale[k] * (u * below + at)
            if not x > 0.0:
                return -np.inf
            hyper[k], slope[k] = x, h_scale[k] * below
            value += math.log(below) - 0.5 * (x / h_prior[k]) ** 2
            gradient[n_steps + k] = at / below - x / h_prior[k] ** 2 * slope[k]
    levels, steps, away = np.empty(n_levels), np.empty(n_steps), np.ones(n_steps)
    for b in range(blocks.shape[0]):
        kind, at, n, level, size, sd_at, rho_at, n_parents, offset = blocks[b]
        if kind == TRUNCATED:
            levels[level] = lower[b] + math.exp(q[at])
            continue
        sd = hyper[sd_at] if sd_at >= 0 else scales[b]
        for i in range(at, at + n):
            if centred[i] < 1.0:
                away[i] = sd ** (1.0 - centred[i])
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
    g_levels = np.zeros(n_levels)
    own_at = hyper.size - 1
    more, g_own = _likelihood(levels, hyper[own_at] if own_at >= 0 else 1.0, g_levels, data)
    value += more
    if data[0] != 0:
        g_hyper[own_at] += g_own
    for b in range(blocks.shape[0] - 1, -1, -1):
        kind, at, n, level, size, sd_at, rho_at, n_parents, offset = blocks[b]
        if kind == TRUNCATED:
            z = (levels[level] - mean[level]) / scales[b]
            gradient[at] = (g_levels[level] - z / scales[b]) * math.exp(q[at]) + 1.0
            value += q[at] - 0.5 * z * z
            continue
        sd, g_sd, log_sd = hyper[sd_at] if sd_at >= 0 else scales[b], 0.0, 0.0
        if sd_at >= 0:
            log_sd = math.log(sd)
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
    for k in range(h_scale.size):
        gradient[n_steps + k] += g_hyper[k] * slope[k]
    return value


@njit(cache=True, nogil=True)
def _likelihood(levels, own, g_levels, data):  # type: ignore[no-untyped-def]
    """Log likelihood and its derivative in the family's own hyperparameter; fills in that in the levels."""
    family, y, exposure, squares, codes, rows_of, first, covariates, slopes, seen, times = data
    table = np.zeros(first.size - 1)
    for k in range(table.size):
        for j in range(first[k], first[k + 1]):
            table[k] += levels[rows_of[j]]
    g_table, value, g_own = np.zeros(table.size), 0.0, 0.0
    phi = 1.0 / (own * own + 1e-9)
    log_phi = math.log(phi)
    for i in range(y.size):
        eta = 0.0
        for k in range(codes.shape[1]):
            eta += table[codes[i, k]]
        for k in range(slopes.size):
            eta += covariates[i, k] * levels[slopes[k]]
        if family == 0:
            mu = exposure[i] * math.exp(eta)
            d = y[i] - mu
            value += y[i] * eta - mu
        elif family == 1:
            mu = exposure[i] * math.exp(eta)
            more = math.log1p(mu / phi)
            d = y[i] - (y[i] + phi) * mu / (phi + mu)
            value += y[i] * (eta - log_phi) - (y[i] + phi) * more
            g_own -= d / phi + more
        else:
            apart = y[i] - eta
            total = squares[i] + exposure[i] * apart * apart
            d = exposure[i] * apart / (own * own)
            value -= exposure[i] * math.log(own) + total / (2.0 * own * own)
            g_own += total / own**3 - exposure[i] / own
        for k in range(codes.shape[1]):
            g_table[codes[i, k]] += d
        for k in range(slopes.size):
            g_levels[slopes[k]] += covariates[i, k] * d
    if family == 1:
        for k in range(seen.size):
            value += times[k] * (math.lgamma(seen[k] + phi) - math.lgamma(phi))
            g_own += times[k] * (_digamma(seen[k] + phi) - _digamma(phi))
        g_own *= -2.0 * own * phi * phi
    for k in range(table.size):
        for j in range(first[k], first[k + 1]):
            g_levels[rows_of[j]] += g_table[k]
    return value, g_own


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
