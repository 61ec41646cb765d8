"""Proper scores, calibration and coverage of forecasts that are given as draws.

Everywhere ``draws`` has shape ``(..., m)``, the draws on the last axis, and ``actual`` the shape
``(...)`` in front; only :func:`energy_score` takes ``(m, reps)``. A forecast with a missing draw, or
without an actual, has a missing score: NaN in, NaN out. Scores are in the unit of the actual, and less
is better.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quotacast.errors import QuotacastError

Floats = NDArray[np.float64]

#: Numbers that a score may hold at once per array of intermediate results (32 MB).
_ROOM = 4_000_000
#: A baseline is a rival if it speaks for at least this share of what the model forecasts.
SPEAKS = 0.5


def crps(draws: ArrayLike, actual: ArrayLike) -> Floats:
    """Continuous ranked probability score of the empirical distribution of the draws.

    ∫ (F(z) − 1{y ≤ z})² dz = E|X − y| − ½ E|X − X′|; Gneiting & Raftery (2007),
    doi:10.1198/016214506000001437. Computed by the quantile decomposition: memory and time grow with m,
    not with m², as they do in the library's energy form.

    Parameters
    ----------
    draws : array_like, shape (..., m)
    actual : array_like, shape (...)

    Returns
    -------
    ndarray, shape (...)

    Raises
    ------
    QuotacastError
        If the shapes do not belong together.
    """
    from scoringrules import crps_ensemble

    x, y = _aligned(draws, actual)
    m = x.shape[-1]
    rows, flat = x.reshape(-1, m), y.reshape(-1)
    out = np.full(flat.shape, np.nan)
    step = max(1, _ROOM // m)
    for i in range(0, flat.size, step):
        part = slice(i, i + step)
        # The backend is named so that a score does not depend on what else is installed. Sorting here is
        # several times faster than the library's ranking.
        ascending = np.sort(rows[part], axis=-1)
        out[part] = crps_ensemble(
            flat[part], ascending, estimator="qd", backend="numpy", sorted_ensemble=True
        )
    return out.reshape(y.shape)


def threshold_crps(draws: ArrayLike, actual: ArrayLike, threshold: ArrayLike) -> Floats:
    """Threshold-weighted CRPS: only what happens at or above the threshold counts.

    ∫ 1{z ≥ t} (F(z) − 1{y ≤ z})² dz, the CRPS of v(X) at v(y) with the chaining function
    v(z) = max(z, t); Gneiting & Ranjan (2011), doi:10.1198/jbes.2010.08110, and Allen, Ginsbourger &
    Ziegel (2023), doi:10.1137/22M1532184. With a quota as threshold it asks how well the forecast knows
    whether, and by how much, the quota is exceeded.

    Parameters
    ----------
    draws : array_like, shape (..., m)
    actual, threshold : array_like, shape (...)

    Returns
    -------
    ndarray, shape (...)
    """
    x, y = _aligned(draws, actual)
    t = np.broadcast_to(np.asarray(threshold, dtype=float), y.shape)
    return crps(np.maximum(x, t[..., None]), np.maximum(y, t))


def brier(p: ArrayLike, outcome: ArrayLike) -> Floats:
    """Brier score (p − o)² of a probability; Brier (1950).

    Parameters
    ----------
    p : array_like of float
        Forecast probability of the event, 0 to 1.
    outcome : array_like, same shape
        1 where the event came true, else 0.

    Returns
    -------
    ndarray, same shape
    """
    chance, came = np.broadcast_arrays(np.asarray(p, dtype=float), np.asarray(outcome, dtype=float))
    if np.any((chance < 0) | (chance > 1)):
        raise QuotacastError("brier: a probability outside 0 to 1 came")
    if np.any(~np.isnan(came) & (came != 0) & (came != 1)):
        raise QuotacastError("brier: an outcome other than 0 or 1 came")
    from scoringrules import brier_score

    out = np.full(chance.shape, np.nan)
    known = ~np.isnan(chance) & ~np.isnan(came)
    out[known] = brier_score(came[known], chance[known], backend="numpy")
    return out


def energy_score(draws: ArrayLike, actual: ArrayLike) -> float:
    """Energy score of a joint forecast for many reps.

    E‖X − y‖ − ½ E‖X − X′‖ with the Euclidean norm over reps; Gneiting & Raftery (2007), section 4.3,
    doi:10.1198/016214506000001437. For one rep it is the CRPS. Pairs are taken in blocks, so that memory
    stays bounded; the library's NumPy form needs m² · reps numbers at once and its compiled one took
    eight times as long.

    Parameters
    ----------
    draws : array_like, shape (m, reps)
    actual : array_like, shape (reps,)

    Returns
    -------
    float
        NaN where a draw or an actual is missing.
    """
    from scipy.spatial.distance import cdist

    x, y = np.asarray(draws, dtype=float), np.asarray(actual, dtype=float)
    if x.ndim != 2 or y.shape != x.shape[1:] or x.shape[0] == 0:
        raise QuotacastError(
            f"energy_score: draws {x.shape} and actual {y.shape} came, wanted (m, reps) and (reps,)"
        )
    m = x.shape[0]
    step = max(1, _ROOM // m)
    pairs = sum(float(cdist(x[i : i + step], x).sum()) for i in range(0, m, step))
    return float(np.linalg.norm(x - y, axis=1).mean() - 0.5 * pairs / m**2)


def randomised_pit(draws: ArrayLike, actual: ArrayLike, u: ArrayLike) -> Floats:
    """Randomised probability integral transform, uniform where the forecast is right.

    (#{x < y} + u (#{x = y} + 1)) / (m + 1): F(y−) + u (F(y) − F(y−)) of Czado, Gneiting & Held (2009),
    doi:10.1111/j.1541-0420.2009.01191.x, with the actual counted among the draws. So it is exactly
    uniform for every m, ties or not, if draws and actual are exchangeable.

    Parameters
    ----------
    draws : array_like, shape (..., m)
    actual : array_like, shape (...)
    u : array_like, shape (...)
        Uniform numbers from 0 to 1, from the caller's named stream.

    Returns
    -------
    ndarray, shape (...)
    """
    x, y = _aligned(draws, actual)
    below = np.count_nonzero(x < y[..., None], axis=-1)
    ties = np.count_nonzero(x == y[..., None], axis=-1)
    pit = (below + np.asarray(u, dtype=float) * (ties + 1)) / (x.shape[-1] + 1)
    missing = np.isnan(y) | np.isnan(x).any(axis=-1)
    return np.asarray(np.where(missing, np.nan, pit), dtype=float)


def covered(pit: ArrayLike, level: float) -> Floats:
    """Whether the central interval of a level held, by randomised PIT.

    A closed interval between two quantiles of a count holds more often than its level says, for the
    mass that sits on its ends; the randomised PIT counts the ends in part.

    Parameters
    ----------
    pit : array_like
    level : float
        Nominal coverage, such as 0.8.

    Returns
    -------
    ndarray
        1.0 where it held, 0.0 where not, NaN without a PIT: its mean is the coverage.
    """
    if not 0 < level < 1:
        raise QuotacastError(f"covered: level {level!r} came, wanted a number between 0 and 1")
    at = np.asarray(pit, dtype=float)
    held = np.abs(at - 0.5) <= level / 2
    return np.where(np.isnan(at), np.nan, held.astype(float))


def skill(score: ArrayLike, baseline: ArrayLike) -> float:
    """Skill 1 − mean score ÷ mean score of a baseline, over the forecasts that both made.

    Parameters
    ----------
    score, baseline : array_like, shape (n,)
        Scores of the same n forecasts, NaN where one did not speak.

    Returns
    -------
    float
        1 is perfect, 0 no better than the baseline, negative worse; NaN where there is nothing to
        compare or the baseline made no error at all.
    """
    ours, theirs = np.asarray(score, dtype=float), np.asarray(baseline, dtype=float)
    if ours.shape != theirs.shape:
        raise QuotacastError(f"skill: scores {ours.shape} and {theirs.shape} came, wanted the same shape")
    both = ~np.isnan(ours) & ~np.isnan(theirs)
    if not both.any() or theirs[both].sum() == 0:
        return float("nan")
    return float(1.0 - ours[both].sum() / theirs[both].sum())


def best_baseline(score: ArrayLike, baselines: Mapping[str, ArrayLike]) -> str | None:
    """Name of the baseline that is hardest to beat: the one against which skill is least.

    Baselines that speak for less than :data:`SPEAKS` of the model's forecasts do not compete. Choosing
    after the fact favours the baseline, so skill against it is on the cautious side.
    """
    ours = ~np.isnan(np.asarray(score, dtype=float))
    found: dict[str, float] = {}
    for name, theirs in baselines.items():
        both = ours & ~np.isnan(np.asarray(theirs, dtype=float))
        value = skill(score, theirs)
        if both.sum() >= SPEAKS * ours.sum() and not np.isnan(value):
            found[name] = value
    return min(found, key=lambda name: (found[name], name)) if found else None


def _aligned(draws: ArrayLike, actual: ArrayLike) -> tuple[Floats, Floats]:
    x, y = np.asarray(draws, dtype=float), np.asarray(actual, dtype=float)
    if x.ndim == 0 or x.shape[:-1] != y.shape or x.shape[-1] == 0:
        raise QuotacastError(f"draws {x.shape} and actual {y.shape} came, wanted shapes (..., m) and (...)")
    return x, y
