"""chainladder: the over-dispersed Poisson bootstrap on wins (or bookings) by month of creation and age.

Cohorts to come have the run rate's creations, the mean ultimate per creation of the last twelve cohorts and
the resampled development pattern. Process variance is a gamma of the bootstrap's scale, as the library's
own. No tail beyond the oldest age seen.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from problem import Floats, Problem

#: Cohorts below which a triangle has no residuals to resample; cohorts that tell the present level.
FEWEST, RECENT = 6, 12


def odp_bootstrap(problem: Problem, metric: str) -> Floats | None:
    """Draw the future diagonals of the triangle and the cohorts to come."""
    import chainladder as cl

    if metric == "opportunities_created":
        return None
    grid, created = _grid(problem, metric)
    if len(created) < FEWEST:
        return None
    boot = cl.BootstrapODPSample(n_sims=problem.draws, random_state=problem.seed)
    sims = boot.fit_transform(_triangle(cl, problem, grid))
    fitted = cl.Chainladder().fit(sims)
    ultimate = fitted.ultimate_.values[:, 0, :, 0]
    grown = np.nan_to_num(fitted.cdf_.values[:, 0, 0, :], nan=1.0)
    # the share of the ultimate reached by each age; the last age is the ultimate
    reached = np.concatenate([1.0 / np.maximum(grown, 1.0), np.ones((grown.shape[0], 1))], axis=1)
    reached = np.maximum.accumulate(reached[:, : len(created)], axis=1)
    step = np.diff(reached, axis=1, prepend=0.0)
    expected = _old(ultimate, step, problem.months) + _new(problem, ultimate, step, created)
    scale = float(np.ravel(boot.scale_)[0])
    drawn = problem.rng.gamma(np.maximum(expected, 1e-9) / scale, scale)
    return np.rint(drawn) if metric == "deals_won" else drawn


def _grid(problem: Problem, metric: str) -> tuple[Floats, Floats]:
    """Increments by cohort and age in months (nothing below the diagonal), and the cohorts' creations."""
    table = problem.past.history.opportunities
    last = problem.last_month().astype(int)
    born = table["created_on"].to_numpy("datetime64[M]").astype(int)
    first = int(born[born >= _month(problem.past.start["created"])].min())
    n = last - first + 1
    kept = born >= first
    created = np.bincount(born[kept] - first, minlength=n).astype(float)
    won = kept & (table["status"] == "won").to_numpy()
    age = table["closed_on"].to_numpy("datetime64[M]")[won].astype(int) - born[won]
    weight = table["amount"].to_numpy(dtype=float)[won] if metric == "bookings" else np.ones(won.sum())
    grid = np.zeros((n, n))
    np.add.at(grid, (born[won] - first, age), weight)
    return grid, created


def _month(day: int) -> int:
    return int(np.datetime64(int(day), "D").astype("datetime64[M]").astype(int))


def _triangle(cl: object, problem: Problem, grid: Floats) -> object:
    n = grid.shape[0]
    cohort, age = np.nonzero(np.arange(n)[:, None] + np.arange(n) < n)
    months = problem.last_month() - (n - 1)
    frame = pd.DataFrame(
        {
            "cohort": (months + cohort).astype("datetime64[ns]"),
            "month": (months + cohort + age).astype("datetime64[ns]"),
            "value": grid[cohort, age],
        }
    )
    made = cl.Triangle(frame, origin="cohort", development="month", columns="value", cumulative=False)  # type: ignore[attr-defined]
    return made.incr_to_cum()


def _old(ultimate: Floats, step: Floats, months: int) -> Floats:
    """Expected increments of the cohorts there are in the months to come, shape (draws, months)."""
    n = step.shape[1]
    out = np.zeros((step.shape[0], months))
    for ahead in range(months):
        cohort = np.arange(ahead + 1, n)  # older ones have no age left
        out[:, ahead] = (ultimate[:, cohort] * step[:, n + ahead - cohort]).sum(axis=1)
    return out


def _new(problem: Problem, ultimate: Floats, step: Floats, created: Floats) -> Floats:
    """Expected increments of cohorts to come, shape (draws, months)."""
    recent = slice(max(0, len(created) - RECENT), len(created))
    rate = ultimate[:, recent].sum(axis=1) / created[recent].sum()
    out = np.zeros((step.shape[0], problem.months))
    for cohort in range(problem.months):
        for month in range(cohort, min(problem.months, cohort + step.shape[1])):
            out[:, month] += problem.creations[:, cohort] * rate * step[:, month - cohort]
    return out
