"""Conversion curves times run-rate creations times amounts: convoys and lifelines.

All three learn how many opportunities are won by which age and know nothing of losses: a lost deal is one
that has not converted yet, as in the documentation of convoys. Wins of month m are Poisson with ::

    sum over unconverted deals of (F(s + b_m) - F(s + a_m)) / (1 - F(s)),  s the age at the origin
    + run-rate creations of every future month x the share of F that falls into month m
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from problem import Floats, Problem

Curve = Callable[[Floats], Floats]


def convoys(problem: Problem, metric: str) -> Floats | None:
    """convoys' generalised gamma regression without covariates, at its mode."""
    from convoys.regression import GeneralizedGamma

    at_origin, at_win, won = problem.deals()
    model = GeneralizedGamma(mcmc=False)
    model.fit(np.ones((won.size, 1)), won, np.maximum(np.where(won, at_win, at_origin), 0.5))
    return _by_curve(problem, metric, lambda age: np.asarray(model.predict([1.0], np.maximum(age, 1e-6))))


def lifelines_km(problem: Problem, metric: str) -> Floats | None:
    """lifelines' Kaplan-Meier curve."""
    from lifelines import KaplanMeierFitter

    at_origin, at_win, won = problem.deals()
    fitted = KaplanMeierFitter().fit(np.maximum(np.where(won, at_win, at_origin), 0.5), won)
    table = fitted.cumulative_density_.iloc[:, 0]
    ages, share = table.index.to_numpy(dtype=float), table.to_numpy()
    return _by_curve(problem, metric, lambda age: np.interp(age, ages, share))


def lifelines_cure(problem: Problem, metric: str) -> Floats | None:
    """lifelines' Weibull curve of the part that converts at all (mixture cure model)."""
    from lifelines import MixtureCureFitter, WeibullFitter

    at_origin, at_win, won = problem.deals()
    fitted = MixtureCureFitter(base_fitter=WeibullFitter())
    fitted.fit(np.maximum(np.where(won, at_win, at_origin), 0.5), won)

    def curve(age: Floats) -> Floats:
        flat = np.maximum(np.ravel(age), 1e-6)
        return np.reshape(1.0 - fitted.survival_function_at_times(flat).to_numpy(), np.shape(age))

    return _by_curve(problem, metric, curve)


def _by_curve(problem: Problem, metric: str, curve: Curve) -> Floats | None:
    if metric == "opportunities_created":
        return None
    at_origin, _, won = problem.deals()
    age = at_origin[~won]
    known = curve(age[:, None] + problem.ends)
    left = np.maximum(1.0 - known[:, :1], 1e-9)
    old = (np.diff(known, axis=1) / left).sum(axis=0)
    wins = problem.rng.poisson(old + problem.creations @ _shares(problem, curve)).astype(float)
    return wins if metric == "deals_won" else problem.worth(wins)


def _shares(problem: Problem, curve: Curve) -> Floats:
    """Share of the deals created in each future month that is won in each, shape (months, months)."""
    days = np.arange(1, problem.ends[-1] + 1, dtype=float)
    month = np.searchsorted(problem.ends, days, side="left") - 1
    by_day = np.diff(curve(np.maximum(problem.ends - days[:, None] + 0.5, 0.0)), axis=1)
    return np.stack([by_day[month == j].mean(axis=0) for j in range(problem.months)])
