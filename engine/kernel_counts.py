"""Numbers of new things per bin: NegBinomial counts by inversion, from tables.

A count with mean m and dispersion phi has variance m + a m^2, a = 1 / phi, and the distribution function ::

    F(n; m, a) = sum_{k <= n} Gamma(k + phi) / (Gamma(phi) k!) (phi / (phi + m))^phi (m / (phi + m))^k

Adding it up for every count that is drawn takes most of a simulation's time where counts are many. So it is
added up once, on a grid: of a, evenly between the smallest and the largest of the posterior's, and of m, 64
values per octave (a number's exponent and the first six bits of its mantissa name the place, and no
logarithm is taken). Between the places F is interpolated linearly in both. That is the distribution function
of a mixture of four NegBinomials next to each other: the mean is m exactly, and the variance is above
m + a m^2 by at most m^2 / 16,384. Means beyond the grid are drawn without it.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from quotacast.models.terms import Floats

#: Added to squared coefficients of variation, so that none is 0: a dispersion is finite.
LEAST_SPREAD = 1e-9
#: -log of the smallest probability of zero with which counts are added up from zero; beyond, the recursion
#: underflows and, means being that large without much overdispersion, a rounded Normal serves.
EXACT_COUNT = 700.0
#: Bits of the mantissa that name a place on the grid of means, and what lies below them.
_BITS = 6
_U = np.uint64
_BELOW = _U(52 - _BITS)
_REST = _U((1 << (52 - _BITS)) - 1)
_SCALE = 2.0 ** (_BITS - 52)
#: Intervals of the grid of a.
_SPREADS = 16
#: Entries of the guide from a probability to the smallest count that it can belong to.
_GUIDE = 64
#: Rows of the table end where so little is left.
_TAIL = 1e-12
#: Smallest mean on the grid, below which adding up is quick, and largest: the table stays small.
SMALLEST, LARGEST = 1.0 / 16.0, 128.0


class CountTable(NamedTuple):
    """Distribution functions on a grid.

    Attributes
    ----------
    lowest : uint64
        First place on the grid of means.
    first : ndarray of uint64, shape (places + 2,)
        Where a place's counts begin in ``cdf``; a row is as long as the next place needs.
    cdf : ndarray, shape (spreads, counts + 1)
    guide : ndarray of uint16, shape (spreads, places, _GUIDE)
        Smallest count that the probabilities from g / _GUIDE belong to, at this spread or the next.
    spread, step : float
        Smallest a, and distance of the grid's.
    """

    lowest: np.uint64
    first: NDArray[np.uint64]
    cdf: Floats
    guide: NDArray[np.uint16]
    spread: float
    step: float


def dispersions(overdispersion: Floats) -> dict[str, Any]:
    """Arrays of the inner loops for a posterior.

    Parameters
    ----------
    overdispersion : ndarray, shape (posterior draws,)
        Square roots of a: coefficients of variation of the rates behind the counts.

    Returns
    -------
    dict
        ``dispersion`` (posterior draws,), 1 / a, and ``numbers``, a :class:`CountTable` for all of them.
    """
    spread = overdispersion**2 + LEAST_SPREAD
    return {"dispersion": 1.0 / spread, "numbers": count_table(float(spread.min()), float(spread.max()))}


@lru_cache(maxsize=32)
def count_table(least: float, most: float) -> CountTable:
    """Table for spreads a between two values."""
    places = np.arange(_place(SMALLEST), _place(LARGEST) + 1, dtype=np.uint64)
    step = max((most - least) / _SPREADS, 1e-6)
    first, cdf, guide = _fill((places << _BELOW).view(np.float64), least + step * np.arange(_SPREADS + 1))
    return CountTable(places[0], first, cdf, guide, least, step)


def _place(mean: float) -> int:
    return int(np.float64(mean).view(np.uint64) >> _BELOW)


@numba.njit(cache=True, nogil=True)
def _fill(means, spreads):
    places = means.shape[0] - 1
    first = np.zeros(places + 2, dtype=np.int64)
    for i in range(places + 1):
        first[i + 1] = first[i] + _length(means[min(i + 1, places)], spreads[-1])
    cdf = np.ones((spreads.shape[0], first[-1] + 1))  # the count beyond the last is read, not used
    guide = np.zeros((spreads.shape[0], places, _GUIDE), dtype=np.uint16)
    for a in range(spreads.shape[0]):
        phi = 1.0 / spreads[a]
        for i in range(places + 1):
            ratio = means[i] / (phi + means[i])
            p = math.exp(-phi * math.log1p(means[i] / phi))
            total = 0.0
            for n in range(first[i + 1] - first[i]):
                total += p
                cdf[a, first[i] + n] = min(total, 1.0)
                p *= (n + phi) / (n + 1.0) * ratio
            if i < places:
                n = 0
                for g in range(_GUIDE):
                    while cdf[a, first[i] + n] < g / _GUIDE:
                        n += 1
                    guide[a, i, g] = n
    for a in range(spreads.shape[0] - 1):
        guide[a] = np.minimum(guide[a], guide[a + 1])
    return first.astype(np.uint64), cdf, guide  # unsigned: places that do not count from the end


@numba.njit(cache=True, nogil=True)
def _length(mean, spread):
    """Counts until so little is left, by the recursion itself."""
    phi = 1.0 / spread
    ratio, p = mean / (phi + mean), math.exp(-phi * math.log1p(mean / phi))
    n = 0
    while n < mean or p > _TAIL * (1.0 - (n + phi) / (n + 1.0) * ratio):
        p *= (n + phi) / (n + 1.0) * ratio
        n += 1
    return n + 1


@numba.njit(cache=True, nogil=True)
def count(u, mean, phi):
    """NegBinomial number by inversion of ``u``, added up from zero."""
    if mean <= 0.0:
        return 0
    if phi * math.log1p(mean / phi) > EXACT_COUNT:
        sd = math.sqrt(mean + mean * mean / phi)
        z = 0.0
        for _ in range(12):  # Newton on the Normal distribution function
            cdf = 0.5 * math.erfc(-z / math.sqrt(2.0))
            z -= (cdf - u) / max(math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi), 1e-3)
        return max(math.floor(mean + sd * z + 0.5), 0)
    ratio = mean / (phi + mean)
    p = math.exp(-phi * math.log1p(mean / phi))
    total, n = p, 0
    while u > total and n < 1_000_000:
        p *= (n + phi) / (n + 1.0) * ratio
        n += 1
        total += p
        if p < 1e-18 and n > mean:
            break
    return n


@numba.njit(inline="always")
def _share(cdf, a, toward, here, beyond, along):
    """Distribution function between two spreads and between the places ``here`` and ``beyond``."""
    low = cdf[a, here] + toward * (cdf[a + _U(1), here] - cdf[a, here])
    high = cdf[a, beyond] + toward * (cdf[a + _U(1), beyond] - cdf[a, beyond])
    return low + along * (high - low)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def counts(u, mean, phi, table, out):
    """NegBinomial numbers by inversion of ``u`` (bins,) with these means and one dispersion, into ``out``."""
    lowest, first, cdf, guide, least, step = table
    places = _U(first.shape[0] - 2)
    toward = (1.0 / phi - least) / step
    spread = min(max(int(toward), 0), _SPREADS - 1)
    toward -= spread
    a = _U(spread)
    bits = mean.view(np.uint64)
    for b in range(mean.shape[0]):
        i = (bits[b] >> _BELOW) - lowest  # means below the grid wrap around to places far beyond it
        if i >= places or not mean[b] > 0.0:
            out[b] = count(u[b], mean[b], phi)
            continue
        along = np.float64(np.int64(bits[b] & _REST)) * _SCALE
        here, beyond = first[i], first[i + _U(1)]
        n, last, goes_on = _U(guide[a, i, _U(int(u[b] * _GUIDE))]), beyond - here - _U(1), True
        while goes_on:  # two at a time: where a loop ends is guessed, and wrong guesses take the time
            m = n + _U(1)
            more = (n < last) & (u[b] > _share(cdf, a, toward, here + n, beyond + n, along))
            goes_on = more & (m < last) & (u[b] > _share(cdf, a, toward, here + m, beyond + m, along))
            n += _U(more) + _U(goes_on)
        out[b] = n
