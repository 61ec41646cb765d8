"""One origin of a backtest: what was known, what was forecast, what came true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quotacast.engine.backtest import scores
from quotacast.engine.backtest.baselines import BASELINES, all_baselines
from quotacast.engine.backtest.origins import outcomes, scopes, spans, targets
from quotacast.engine.backtest.targets import Target
from quotacast.engine.drivers import Drivers
from quotacast.engine.metrics import METRICS, metric, series
from quotacast.engine.paths import Paths, Steps
from quotacast.engine.quota import Scope
from quotacast.engine.simulate import simulate
from quotacast.engine.streams import keys, uniforms
from quotacast.models.funnel import Funnel, Method, fit, prepare
from quotacast.models.history.history import History
from quotacast.models.periods import Calendar, Period
from quotacast.models.timegrid import day_number

Floats = NDArray[np.float64]

OURS = "quotacast"
#: Levels of the central intervals whose coverage is recorded.
LEVELS = (50, 80, 95)
#: Candidate quotas as multiples of last year's figure.
CANDIDATES = (0.8, 0.9, 1.0, 1.1, 1.2, 1.3)
#: Posterior draws of the fit at an origin.
FIT_DRAWS = 1000


@dataclass(frozen=True)
class Settings:
    """What all origins of a backtest share."""

    calendar: Calendar
    method: Method
    draws: int
    seed: int


@dataclass(frozen=True)
class OriginRecord:
    """Scores of one origin.

    Attributes
    ----------
    rows : pandas.DataFrame
        One row per target and model, with the columns of the contract.
    verdicts : pandas.DataFrame
        One row per candidate quota: the odds given and whether it was met.
    """

    rows: pd.DataFrame
    verdicts: pd.DataFrame


def forecast_origin(history: History, origin: date, settings: Settings) -> OriginRecord:
    """Forecast from an origin with what was known then, and score it with what is known now."""
    from threadpoolctl import threadpool_limits

    snapshot = history.as_of(origin, strict=True)
    periods = spans(origin, settings.calendar, history.as_of_date)
    funnel = _fit(snapshot, settings)
    paths = _paths(funnel, snapshot, tuple(periods.values()), settings)
    wanted = targets(scopes(snapshot), periods)
    plain = [target for _, target in wanted]
    actual = outcomes(history, snapshot, plain)
    draws = {OURS: np.stack([target_draws(paths, target) for target in plain])}
    rngs = {
        name: np.random.default_rng([settings.seed, origin.toordinal(), k])
        for k, name in enumerate(BASELINES)
    }
    with threadpool_limits(1, user_api="blas"):  # small matrices: sharing them out costs more than it saves
        draws |= all_baselines(snapshot, settings.calendar, plain, draws=settings.draws, rngs=rngs)
    rows = _score(origin, wanted, actual, draws, settings.seed)
    return OriginRecord(rows, _verdicts(origin, wanted, actual, draws[OURS], snapshot))


def _fit(snapshot: History, settings: Settings) -> Funnel:
    return fit(
        prepare(snapshot, settings.calendar),
        method=settings.method,
        draws=FIT_DRAWS,
        seed=settings.seed,
        fall_back=False,
    )


def _paths(funnel: Funnel, snapshot: History, periods: Sequence[Period], settings: Settings) -> Paths:
    first = int(day_number(snapshot.as_of_date)) + 1
    steps = Steps.covering(periods, cuts=(first,))
    return simulate(
        funnel,
        snapshot,
        Drivers(),
        steps,
        max(p.last for p in periods),
        draws=settings.draws,
        seed=settings.seed,
    )


def target_draws(paths: Paths, target: Target) -> Floats:
    """Draws of a target on simulated paths, shape (draws,)."""
    period = Period("span", "month", target.first, target.last)
    found = series(paths, metric(target.metric), target.scope, period)
    part = {"total": found.total, "open": found.open, "new": found.new}[target.component]
    return np.asarray(part, dtype=float)


def _score(
    origin: date,
    wanted: Sequence[tuple[str, Target]],
    actual: Floats,
    draws: Mapping[str, Floats],
    seed: int,
) -> pd.DataFrame:
    frames = []
    names = [f"{h} {t.metric} {t.component} {t.scope}" for h, t in wanted]
    u = uniforms(keys(seed, f"pit {origin}", names), 0, 1)[0, :, 0]
    base = pd.DataFrame(
        {
            "origin": origin.isoformat(),
            "horizon": [h for h, _ in wanted],
            "metric": [t.metric for _, t in wanted],
            "component": [t.component for _, t in wanted],
            "scope": [t.scope.kind for _, t in wanted],
            "scope_id": [t.scope.id for _, t in wanted],
        }
    )
    for name, values in draws.items():
        speaks = np.flatnonzero(np.isfinite(values).all(axis=1))
        part = base.iloc[speaks].copy()
        x, y = values[speaks], actual[speaks]
        pit = scores.randomised_pit(x, y, u[speaks])
        part["model"] = name
        part["actual"] = y
        part["mean"] = x.mean(axis=1)
        part["p50"] = np.median(x, axis=1)
        part["crps"] = scores.crps(x, y)
        for level in LEVELS:
            part[f"covered_{level}"] = scores.covered(pit, level / 100).astype(float)
        part["pit"] = pit
        frames.append(part)
    return pd.concat(frames, ignore_index=True)


def _verdicts(
    origin: date,
    wanted: Sequence[tuple[str, Target]],
    actual: Floats,
    draws: Floats,
    snapshot: History,
) -> pd.DataFrame:
    """Odds of candidate quotas at multiples of the same days a year earlier, and whether they were met."""
    rows = []
    chosen = [
        (k, horizon, target)
        for k, (horizon, target) in enumerate(wanted)
        if target.component == "total" and target.metric in METRICS
    ]
    last_year = outcomes(snapshot, snapshot, [_year_before(target) for _, _, target in chosen])
    for (k, horizon, target), before in zip(chosen, last_year, strict=True):
        if before <= 0 or not _known(target, snapshot):
            continue
        for factor in CANDIDATES:
            quota = factor * before
            rows.append(
                {
                    "origin": origin.isoformat(),
                    "horizon": horizon,
                    "metric": target.metric,
                    "scope": target.scope.kind,
                    "scope_id": target.scope.id,
                    "factor": factor,
                    "target": quota,
                    "p_attain": float((draws[k] >= quota).mean()),
                    "met": bool(actual[k] >= quota),
                }
            )
    columns = ["origin", "horizon", "metric", "scope", "scope_id", "factor", "target", "p_attain", "met"]
    return pd.DataFrame(rows, columns=columns)


def _year_before(target: Target) -> Target:
    return Target(target.metric, target.scope, _back(target.first), _back(target.last), target.component)


def _back(day: date) -> date:
    return day.replace(year=day.year - 1, day=min(day.day, 28) if day.month == 2 else day.day)


def _known(target: Target, snapshot: History) -> bool:
    """Whether the year before is wholly in the data."""
    began = snapshot.opportunities["created_on"].min().date()
    return _back(target.first) > began and target.scope != Scope("rep", "(none)")
