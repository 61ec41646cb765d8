"""Standard errors of averages over origins, whose forecasts overlap and so are not independent.

Circular block bootstrap of Politis & Romano (1992): blocks of neighbouring origins, the last one
followed by the first, are drawn with replacement. An origin comes with all its forecasts (scopes,
metrics), so what these share is kept too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quotacast.errors import QuotacastError

Floats = NDArray[np.float64]

REPLICATES = 1000
#: With fewer blocks than this a standard error would be a guess.
FEWEST_BLOCKS = 2


def block_bootstrap_se(
    values_by_origin: ArrayLike, blocks: int, seed: int, *, replicates: int = REPLICATES
) -> float:
    """Standard error of the mean of values that belong to origins.

    Parameters
    ----------
    values_by_origin : array_like, shape (origins,) or (origins, ...)
        Origins in order of time; NaN where there is no value.
    blocks : int
        Length of a block in origins: how many following origins a forecast overlaps, itself included
        (a year ahead from monthly origins: 12).
    seed : int
    replicates : int

    Returns
    -------
    float
        NaN where the origins make fewer than two blocks.
    """
    total, count = _sums(values_by_origin)
    return _ratio_se(total, count, count > 0, blocks, seed, replicates)


def block_bootstrap_skill_se(
    score_by_origin: ArrayLike,
    baseline_by_origin: ArrayLike,
    blocks: int,
    seed: int,
    *,
    replicates: int = REPLICATES,
) -> float:
    """Standard error of the skill 1 − Σ score ÷ Σ baseline, over the forecasts that both made.

    Parameters and result as in :func:`block_bootstrap_se`; both arrays have the same shape.
    """
    ours, theirs = np.asarray(score_by_origin, dtype=float), np.asarray(baseline_by_origin, dtype=float)
    if ours.shape != theirs.shape:
        raise QuotacastError(f"skill: scores {ours.shape} and {theirs.shape} came, wanted the same shape")
    both = ~np.isnan(ours) & ~np.isnan(theirs)
    above, count = _sums(np.where(both, ours, np.nan))
    below, _ = _sums(np.where(both, theirs, np.nan))
    return _ratio_se(above, below, count > 0, blocks, seed, replicates)


def block_indices(origins: int, blocks: int, replicates: int, seed: int) -> NDArray[np.int64]:
    """Origins of every bootstrap sample, shape (replicates, origins): blocks that wrap around."""
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, origins, (replicates, -(-origins // blocks)))
    index = (starts[..., None] + np.arange(blocks)) % origins
    return index.reshape(replicates, -1)[:, :origins]


def _sums(values_by_origin: ArrayLike) -> tuple[Floats, Floats]:
    """Sum and number of the values of each origin."""
    values = np.asarray(values_by_origin, dtype=float)
    if values.ndim == 0:
        raise QuotacastError("bootstrap: a single number came, wanted shape (origins, ...)")
    flat = values.reshape(values.shape[0], -1)
    return np.nansum(flat, axis=1), (~np.isnan(flat)).sum(axis=1).astype(float)


def _ratio_se(
    above: Floats, below: Floats, speaks: NDArray[np.bool_], blocks: int, seed: int, replicates: int
) -> float:
    if blocks < 1:
        raise QuotacastError(f"bootstrap: blocks of {blocks} origins came, wanted at least 1")
    n = int(speaks.sum())
    if n < FEWEST_BLOCKS * blocks or n < FEWEST_BLOCKS:
        return float("nan")
    index = np.flatnonzero(speaks)[block_indices(n, blocks, replicates, seed)]
    top, bottom = above[index].sum(axis=1), below[index].sum(axis=1)
    ratios = np.divide(top, bottom, out=np.full(replicates, np.nan), where=bottom != 0)
    # n/blocks block means stand for independent ones: their spread around their own mean is too small
    # by this factor, as with the variance of any small sample.
    independent = n / blocks
    return float(ratios.std() * np.sqrt(independent / (independent - 1.0)))
