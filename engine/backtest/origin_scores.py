"""Scores of one origin's forecasts: every target, all reps together, and candidate quotas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quotacast.engine.backtest import scores
from quotacast.engine.backtest.origins import outcomes
from quotacast.engine.backtest.targets import Target
from quotacast.engine.quota import Scope
from quotacast.engine.streams import keys, uniforms
from quotacast.models.history.history import History

Floats = NDArray[np.float64]
Wanted = Sequence[tuple[str, Target]]

#: Levels of the central intervals whose coverage is recorded.
LEVELS = (50, 80, 95)
#: Candidate quotas as multiples of last year's figure.
CANDIDATES = (0.8, 0.9, 1.0, 1.1, 1.2, 1.3)
#: Baselines whose odds of the candidate quotas are scored too.
JUDGED = ("runrate",)
#: Futures that enter an energy score: it takes all pairs of them.
JOINT_DRAWS = 400


def score(
    origin: date,
    wanted: Wanted,
    actual: Floats,
    draws: Mapping[str, Floats],
    seed: int,
) -> pd.DataFrame:
    """Score every target for every model that speaks of it; one row each, with the contract's columns."""
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


def joint(origin: date, wanted: Wanted, actual: Floats, draws: Mapping[str, Floats]) -> pd.DataFrame:
    """Energy score over all reps per horizon and metric, of the models that speak for every rep."""
    groups: dict[tuple[str, str], list[int]] = {}
    for k, (horizon, target) in enumerate(wanted):
        if target.scope.kind == "rep" and target.component == "total":
            groups.setdefault((horizon, target.metric), []).append(k)
    found = []
    for (horizon, name), rows in groups.items():
        for model, values in draws.items():
            thin = values[rows][:, :: max(1, values.shape[1] // JOINT_DRAWS)]
            if np.isfinite(thin).all():
                score = scores.energy_score(thin.T, actual[rows])
                found.append((origin.isoformat(), horizon, name, model, len(rows), score))
    return pd.DataFrame(found, columns=["origin", "horizon", "metric", "model", "reps", "energy"])


def last_year(snapshot: History, plain: Sequence[Target]) -> Floats:
    """The same days a year earlier of every total; NaN where they are not wholly in the data."""
    at = [k for k, t in enumerate(plain) if t.component == "total" and _known(t, snapshot)]
    found = np.full(len(plain), np.nan)
    found[at] = outcomes(snapshot, snapshot, [_year_before(plain[k]) for k in at])
    return np.where(found > 0, found, np.nan)


def chances(draws: Floats, last_year: Floats) -> Floats:
    """Odds of the candidate quotas, shape (targets, candidates)."""
    return np.stack([(draws >= quotas(last_year, c)[:, None]).mean(axis=1) for c in CANDIDATES], axis=1)


def quotas(last_year: Floats, factor: float) -> Floats:
    """Candidate quotas; 1.1 x 50 deals are 55 and not a hair more."""
    return np.round(factor * last_year, 6)


def verdicts(
    origin: date,
    wanted: Wanted,
    actual: Floats,
    final: Floats,
    last_year: Floats,
    others: Mapping[str, Floats],
) -> pd.DataFrame:
    """Odds of candidate quotas at multiples of the same days a year earlier, and whether they were met.

    Parameters
    ----------
    others : mapping of str to ndarray, shape (targets, candidates)
        Odds that baselines give.
    """
    at = np.flatnonzero(np.isfinite(last_year))
    chance = chances(final, last_year)
    base = {
        "origin": origin.isoformat(),
        "horizon": [wanted[k][0] for k in at.tolist()],
        "metric": [wanted[k][1].metric for k in at.tolist()],
        "scope": [wanted[k][1].scope.kind for k in at.tolist()],
        "scope_id": [wanted[k][1].scope.id for k in at.tolist()],
    }
    frames = []
    for c, factor in enumerate(CANDIDATES):
        quota = quotas(last_year[at], factor)
        met = actual[at] >= quota
        scored = {"p_attain": chance[at, c], "met": met, "brier": scores.brier(chance[at, c], met)}
        rivals = {f"brier_{name}": scores.brier(odds[at, c], met) for name, odds in others.items()}
        tail = {"twcrps": scores.threshold_crps(final[at], actual[at], quota)}
        frames.append(pd.DataFrame({**base, "factor": factor, "target": quota, **scored, **rivals, **tail}))
    return pd.concat(frames, ignore_index=True)


def _year_before(target: Target) -> Target:
    return Target(target.metric, target.scope, _back(target.first), _back(target.last), target.component)


def _back(day: date) -> date:
    """The same day a year earlier; a month's end stays one."""
    after = day + timedelta(days=1)
    if after.day == 1:
        return after.replace(year=after.year - 1) - timedelta(days=1)
    return day.replace(year=day.year - 1, day=min(day.day, 28) if day.month == 2 else day.day)


def _known(target: Target, snapshot: History) -> bool:
    """Whether the year before is wholly in the data."""
    began = snapshot.opportunities["created_on"].min().date()
    return _back(target.first) > began and target.scope != Scope("rep", "(none)")
