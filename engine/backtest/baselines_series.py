"""Baselines from time-series analysis: exponential smoothing (ETS) and ARIMA on monthly sums.

They speak for the company and its teams; a rep's months are mostly zeros, for which neither is made.
Months are logged, log(1 + x), where all are positive, and the paths are transformed back draw by draw,
so no correction of the mean is needed; what then strays too far from the past (:data:`STRAY`) is fitted
again without logarithm.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from quotacast.engine.backtest.baselines_past import STREAM, Floats, Past, months_needed, overlaps
from quotacast.engine.backtest.baselines_rates import run_rate
from quotacast.engine.backtest.targets import Target
from quotacast.engine.quota import Scope

#: Months that a series must have; the library's start values need as many.
FEWEST = 10
#: Months that are used at most.
MOST = 60
#: Months from which on a season of twelve is tried.
SEASONAL = 24
#: Mean of the paths over mean of the last year: above it, or below its inverse, logs are given up.
STRAY = 3.0

#: Components of the exponential smoothings that are tried: error and level always, and these.
SMOOTHINGS: tuple[dict[str, Any], ...] = (
    {},
    {"trend": "add", "damped_trend": True},
    {"seasonal": "add", "seasonal_periods": 12},
)
#: Orders (p, d, q) of the ARIMA models that are tried: a level, one that is returned to, one that drifts.
ORDERS = ((0, 0, 0), (1, 0, 0), (0, 1, 1))

Simulate = Callable[[Floats, int, int, np.random.Generator], Floats]


def ets(
    past: Past, targets: Sequence[Target], draws: int, rng: np.random.Generator, notes: Counter[str]
) -> Floats:
    """Simulate exponential smoothing, its components chosen by AICc."""
    return _forecast("ets", _simulate_ets, past, targets, draws, rng, notes)


def arima(
    past: Past, targets: Sequence[Target], draws: int, rng: np.random.Generator, notes: Counter[str]
) -> Floats:
    """Simulate the best of a few small ARIMA models."""
    return _forecast("arima", _simulate_arima, past, targets, draws, rng, notes)


def _forecast(
    name: str,
    simulate: Simulate,
    past: Past,
    targets: Sequence[Target],
    draws: int,
    rng: np.random.Generator,
    notes: Counter[str],
) -> Floats:
    out = np.full((len(targets), draws), np.nan)
    ends = past.edges(months_needed(past, targets)) - past.origin
    series: dict[tuple[str, Scope], list[int]] = {}
    for i, target in enumerate(targets):
        if target.component == "total" and target.scope.kind != "rep":
            series.setdefault((target.metric, target.scope), []).append(i)
    for (metric, scope), rows in series.items():
        edges = past.months_back(STREAM[metric], MOST)
        paths = _paths(name, simulate, past.sums(metric, scope, edges), ends.size - 1, draws, rng, notes)
        if paths is None:
            out[rows] = run_rate(past, [targets[i] for i in rows], draws, rng, notes)
            continue
        for i in rows:
            # A part of a month is that share of it.
            out[i] = paths @ (overlaps(ends, *past.ahead(targets[i])) / np.diff(ends))
    return out


def _paths(
    name: str,
    simulate: Simulate,
    sums: Floats,
    months: int,
    draws: int,
    rng: np.random.Generator,
    notes: Counter[str],
) -> Floats | None:
    """Simulate monthly sums, shape (draws, months), or return None if it cannot be done."""
    if sums.size < FEWEST or np.ptp(sums) == 0:
        notes[f"{name}: too few or equal months, run rate taken"] += 1
        return None
    recent = float(sums[-12:].mean())
    try:
        with _quiet():
            if sums.min() > 0:
                paths = np.expm1(simulate(np.log1p(sums), months, draws, rng))
                if np.isfinite(paths).all() and 1 / STRAY <= np.maximum(paths, 0).mean() / recent <= STRAY:
                    return np.maximum(paths, 0.0)
                notes[f"{name}: log gone astray, fitted without"] += 1
            paths = simulate(sums, months, draws, rng)
    except (ValueError, ArithmeticError, np.linalg.LinAlgError) as problem:
        notes[f"{name}: {type(problem).__name__}, run rate taken"] += 1
        return None
    if not np.isfinite(paths).all():
        notes[f"{name}: not finite, run rate taken"] += 1
        return None
    return np.maximum(paths, 0.0)


@contextmanager
def _quiet() -> Iterator[None]:
    """Ignore what short series make statsmodels say, and what logs of wild paths make NumPy say."""
    from statsmodels.tools.sm_exceptions import ConvergenceWarning, ModelWarning

    with warnings.catch_warnings():
        for kind in (ConvergenceWarning, ModelWarning):
            warnings.simplefilter("ignore", kind)
        for words in ("Non-stationary starting", "Non-invertible starting", "Too few observations"):
            warnings.filterwarnings("ignore", message=words, category=UserWarning)
        warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"(statsmodels|scipy|numpy)\b")
        with np.errstate(all="ignore"):
            yield


def _simulate_ets(sums: Floats, months: int, draws: int, rng: np.random.Generator) -> Floats:
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    scale = float(sums.std())
    tried = SMOOTHINGS if sums.size >= SEASONAL else SMOOTHINGS[:2]
    fits = [ETSModel(sums / scale, error="add", **parts).fit(disp=False) for parts in tried]
    best = min(fits, key=lambda fit: float(np.nan_to_num(fit.aicc, nan=np.inf)))
    shocks = rng.normal(0.0, np.sqrt(best.scale), (months, draws))
    paths = best.simulate(months, anchor="end", repetitions=draws, random_errors=shocks)
    return np.asarray(paths, dtype=float).reshape(months, draws).T * scale


def _simulate_arima(sums: Floats, months: int, draws: int, rng: np.random.Generator) -> Floats:
    from statsmodels.tsa.arima.model import ARIMA

    scale = float(sums.std())
    orders = [ARIMA(sums / scale, order=o, trend="n" if o[1] else "c") for o in ORDERS]
    best = min((model.fit(cov_type="none") for model in orders), key=_one_step_aicc)
    mean = np.asarray(best.get_forecast(months).predicted_mean, dtype=float)
    # The forecast error is a moving average of shocks; the library's own simulation takes ten times as long.
    psi = np.asarray(best.impulse_responses(months), dtype=float).ravel()[:months]
    shocks = rng.normal(0.0, np.sqrt(best.params[-1]), (draws, months))
    lag = np.subtract.outer(np.arange(months), np.arange(months))
    paths = mean + shocks @ np.where(lag >= 0, psi[np.abs(lag)], 0.0).T
    return np.asarray(paths * scale)


def _one_step_aicc(fit: Any) -> float:
    """AICc by the one-step errors after the first month: models with d = 0 and d = 1 on the same data.

    The library's own AICc leaves out the first month where d = 1, so it does not compare across d.
    """
    error = np.asarray(fit.resid, dtype=float)[1:]
    n, k = error.size, len(fit.params)
    value = n * np.log(np.mean(error**2)) + 2 * k + 2 * k * (k + 1) / max(n - k - 1, 1)
    return float(value) if np.isfinite(value) else np.inf
