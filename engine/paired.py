"""Differences between two simulations under the same random numbers.

In every draw the same things happen to both, so a difference is the change's alone, and its Monte Carlo
error is that of the differences, draw by draw, not of the two means. Draws that share a row of the
posterior, and futures that stand for the forecast several times, are not independent: errors are those of a
mean of clusters ::

    se = sqrt(G / (G - 1) * sum over clusters g of (sum of (x_i - mean) in g) ** 2) / n

(linearised ratio mean of G clusters; Cochran 1977, Sampling Techniques, section 9.3, without a
finite-population factor). With every draw in a cluster of its own this is the usual s / sqrt(n).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quotacast.models.terms import Floats

Ints = NDArray[np.int64]


def clusters(draws: int, posterior_draws: int, futures: Ints | None = None) -> Ints:
    """Which draws belong together, shape (draws,).

    Parameters
    ----------
    draws : int
    posterior_draws : int
        Rows of the posterior, which draws take in turn.
    futures : ndarray of int64, optional
        Numbers of the simulated futures that the draws are.
    """
    number = np.arange(draws) if futures is None else futures
    return np.asarray(number % posterior_draws, dtype=np.int64)


def mean_error(values: Floats, cluster: Ints) -> tuple[float | None, float | None]:
    """Mean of the defined values and its Monte Carlo standard error; None where nothing is defined."""
    known = np.isfinite(values)
    n = int(known.sum())
    if not n:
        return None, None
    mean = float(values[known].mean())
    gaps = np.bincount(cluster[known], weights=values[known] - mean)
    groups = np.unique(cluster[known]).size
    if groups < 2:
        return mean, None
    return mean, float(np.sqrt(groups / (groups - 1) * (gaps**2).sum()) / n)


def difference(value: Floats, base: Floats) -> Floats:
    """value - base, draw by draw; undefined where either is."""
    if value.shape != base.shape:
        raise ValueError(f"{value.shape} against {base.shape}: paired draws are needed")
    with np.errstate(invalid="ignore"):
        return np.asarray(value - base)


def odds_difference(
    reached: NDArray[np.bool_], base: NDArray[np.bool_], cluster: Ints
) -> tuple[float, float]:
    """Difference of two probabilities on paired draws, and its Monte Carlo standard error."""
    mean, error = mean_error(reached.astype(float) - base.astype(float), cluster)
    return float(mean or 0.0), float(error or 0.0)
