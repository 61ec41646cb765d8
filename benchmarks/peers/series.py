"""Monthly sums carried on: Prophet, and AutoETS and AutoARIMA of statsforecast."""

from __future__ import annotations

import numpy as np
import pandas as pd
from problem import Floats, Problem

#: Months below which the libraries cannot choose a model.
FEWEST = 5


def prophet(problem: Problem, metric: str) -> Floats | None:
    """Prophet with its defaults; one uncertainty sample per draw, cut at 0."""
    from prophet import Prophet

    y = problem.monthly(metric)
    if y.size < FEWEST:
        return None
    last = problem.last_month()
    months = (last - np.arange(y.size - 1, -1, -1)).astype("datetime64[ns]")
    np.random.seed(problem.seed)  # noqa: NPY002  Prophet draws from the global generator
    model = Prophet(uncertainty_samples=problem.draws)
    model.fit(pd.DataFrame({"ds": months, "y": y}), seed=problem.seed)
    ahead = (last + 1 + np.arange(problem.months)).astype("datetime64[ns]")
    drawn = model.predictive_samples(pd.DataFrame({"ds": ahead}))["yhat"]
    return np.maximum(drawn.T, 0.0)


def auto_ets(problem: Problem, metric: str) -> Floats | None:
    """statsforecast's AutoETS, season of 12, simulated paths, cut at 0."""
    from statsforecast.models import AutoETS

    return _simulated(AutoETS(season_length=12), problem, metric)


def auto_arima(problem: Problem, metric: str) -> Floats | None:
    """statsforecast's AutoARIMA, season of 12, simulated paths, cut at 0."""
    from statsforecast.models import AutoARIMA

    return _simulated(AutoARIMA(season_length=12), problem, metric)


def _simulated(model: object, problem: Problem, metric: str) -> Floats | None:
    y = problem.monthly(metric)
    if y.size < FEWEST:
        return None
    paths = model.simulate(problem.months, problem.draws, y=y.astype(float), seed=problem.seed)  # type: ignore[attr-defined]
    return np.maximum(np.asarray(paths), 0.0)
