"""One origin of a backtest: what was known, what was forecast, what came true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quotacast.engine.backtest.baselines import all_baselines, baseline_rngs
from quotacast.engine.backtest.leaning import (
    POOL,
    Forecast,
    chosen,
    draw_weights,
    effective,
    evidence,
    learn,
    lot,
)
from quotacast.engine.backtest.origin_scores import JUDGED, chances, joint, last_year, score, verdicts
from quotacast.engine.backtest.origins import outcomes, scopes, spans, targets
from quotacast.engine.backtest.targets import METRICS, Target
from quotacast.engine.drivers import Drivers
from quotacast.engine.metrics import measures_of, metric, series
from quotacast.engine.paths import Paths, Steps
from quotacast.engine.simulate import simulate
from quotacast.models.funnel import Funnel, Method, fit, prepare
from quotacast.models.history.history import History
from quotacast.models.history.schema import BORN
from quotacast.models.periods import Calendar, Period
from quotacast.models.timegrid import day_number

Floats = NDArray[np.float64]

OURS = "quotacast"
#: The same before it leaned on baselines.
STRUCTURAL = "structural"
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
class Draft:
    """What an origin forecast before it leaned on anything: a pure function of the history and the settings.

    Attributes
    ----------
    origin : date
    wanted : list of (horizon, Target)
    actual : ndarray, shape (targets,)
    draws : ndarray, shape (targets, futures)
        The model's own forecasts.
    last_year : ndarray, shape (targets,)
        The same days a year before; NaN where they are not wholly in the data or no quota is tested.
    baselines : DataFrame
        Scored rows of the baselines.
    joint : DataFrame
        Their energy scores over reps.
    chances : dict of str to ndarray, shape (targets, candidates)
        Odds that a baseline gives to the candidate quotas.
    pool : tuple of Forecast
        Company totals by every member of the pool.
    pool_actual : ndarray, shape (pool,)
        What came true of them as it was known on the evening on which each period ended: what is learned
        may not know of deals that were reopened later.
    khat : float
        Largest Pareto k-hat of the fits.
    nuts : tuple of str
        Models that the fast method could not fit, and NUTS did.
    """

    origin: date
    wanted: list[tuple[str, Target]]
    actual: Floats
    draws: Floats
    last_year: Floats
    baselines: pd.DataFrame
    joint: pd.DataFrame
    chances: Mapping[str, Floats]
    pool: tuple[Forecast, ...]
    pool_actual: Floats
    khat: float
    nuts: tuple[str, ...]


@dataclass(frozen=True)
class OriginRecord:
    """Scores of one origin.

    Attributes
    ----------
    rows : pandas.DataFrame
        One row per target and model, with the columns of the contract; model ``structural`` is the forecast
        before it leaned on baselines, ``quotacast`` the final one.
    verdicts : pandas.DataFrame
        One row per candidate quota: the odds given, whether it was met, and how the odds score.
    joint : pandas.DataFrame
        Energy scores of the joint forecast for all reps.
    evidence : pandas.DataFrame
        What later origins may learn from this one; see `leaning`.
    fit : pandas.DataFrame
        One row: origin, khat, models fitted by NUTS although the fast method was asked for, effective number
        of futures, the earlier origins that were there to learn from.
    """

    rows: pd.DataFrame
    verdicts: pd.DataFrame
    joint: pd.DataFrame
    evidence: pd.DataFrame
    fit: pd.DataFrame


def draft_origin(history: History, origin: date, settings: Settings, threads: int = 2) -> Draft:
    """Forecast from an origin with what was known then; ``threads`` as in `funnel.fit`."""
    from threadpoolctl import threadpool_limits

    snapshot = history.as_of(origin, strict=True)
    periods = spans(origin, settings.calendar, history.as_of_date)
    funnel = _fit(snapshot, settings, threads)
    paths = _paths(funnel, snapshot, tuple(periods.values()), settings)
    wanted = targets(scopes(snapshot), periods)
    plain = [target for _, target in wanted]
    actual = outcomes(history, snapshot, plain)
    own = np.stack([target_draws(paths, target) for target in plain])
    with threadpool_limits(1, user_api="blas"):  # small matrices: sharing them out costs more than it saves
        others = all_baselines(
            snapshot,
            settings.calendar,
            plain,
            draws=settings.draws,
            rngs=baseline_rngs(settings.seed, origin),
        )
    before = last_year(snapshot, plain)
    at = tuple(k for k, t in enumerate(plain) if t.scope.kind == "company" and t.component == "total")
    return Draft(
        origin,
        wanted,
        actual,
        own,
        before,
        score(origin, wanted, actual, others, settings.seed),
        joint(origin, wanted, actual, others),
        {name: chances(others[name], before) for name in JUDGED},
        tuple(_member(wanted[k], own[k], [others[name][k] for name in POOL[1:]]) for k in at),
        _as_known(history, snapshot, [plain[k] for k in at]),
        max(float(p.diagnostics.get("khat", 0.0)) for p in funnel.posteriors.values()),
        _fallen_back(funnel, settings),
    )


def _fallen_back(funnel: Funnel, settings: Settings) -> tuple[str, ...]:
    methods = {name: str(p.diagnostics["method"]) for name, p in funnel.posteriors.items()}
    return tuple(name for name, method in methods.items() if method != settings.method)


def _as_known(history: History, snapshot: History, wanted: Sequence[Target]) -> Floats:
    """Outcomes as known at the end of each target's period, shape (targets,)."""
    found = np.empty(len(wanted))
    history = _deals_only(history)
    for end in dict.fromkeys(target.last for target in wanted):
        at = [k for k, target in enumerate(wanted) if target.last == end]
        known = history.as_of(end, strict=True)
        found[at] = outcomes(known, snapshot, [wanted[k] for k in at])
    return found


def _deals_only(history: History) -> History:
    """What outcomes read of a history: deals, and of the other tables who was busy from when on."""
    tables = dict(history.tables)
    for name in ("activities", "leads"):
        by_day = tables[name].sort_values(BORN[name], kind="stable", na_position="first")
        tables[name] = by_day.drop_duplicates("rep_id").reset_index(drop=True)
    tables["invoices"] = tables["invoices"].iloc[:0]
    return replace(history, tables=tables)


def _member(wanted: tuple[str, Target], own: Floats, others: Sequence[Floats]) -> Forecast:
    horizon, target = wanted
    return Forecast(horizon, target.metric, target.last, (own, *others))


def finish_origin(draft: Draft, past: pd.DataFrame, settings: Settings) -> OriginRecord:
    """Lean on what earlier origins teach, and score the final forecast.

    Parameters
    ----------
    past : DataFrame
        Evidence of the earlier origins, with the columns of ``leaning.EVIDENCE``.
    """
    weights = draw_weights(draft.pool, learn(past, draft.origin))
    final, futures = draft.draws, float(draft.draws.shape[1])
    if weights is not None:
        final = draft.draws[:, chosen(weights, lot(settings.seed, draft.origin))]
        futures = effective(weights)
    ours = {OURS: final, STRUCTURAL: draft.draws}
    origin, wanted, actual = draft.origin, draft.wanted, draft.actual
    rows = [score(origin, wanted, actual, ours, settings.seed), draft.baselines]
    together = [joint(origin, wanted, actual, ours), draft.joint]
    fit = {
        "origin": origin.isoformat(),
        "khat": draft.khat,
        "nuts": ",".join(draft.nuts),
        "futures": futures,
        "earlier": ",".join(sorted(set(past["origin"]))) if len(past) else "",
    }
    return OriginRecord(
        pd.concat(rows, ignore_index=True),
        verdicts(origin, wanted, actual, final, draft.last_year, draft.chances),
        pd.concat(together, ignore_index=True),
        evidence(origin, draft.pool, draft.pool_actual),
        pd.DataFrame([fit]),
    )


def _fit(snapshot: History, settings: Settings, threads: int) -> Funnel:
    return fit(
        replace(prepare(snapshot, settings.calendar), payments=None),  # sales are scored, not receipts
        method=settings.method,
        draws=FIT_DRAWS,
        seed=settings.seed,
        threads=threads,
        check=False,  # an origin is judged by its scores
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
        measures=measures_of(METRICS),
    )


def target_draws(paths: Paths, target: Target) -> Floats:
    """Draws of a target on simulated paths, shape (draws,)."""
    period = Period("span", "month", target.first, target.last)
    found = series(paths, metric(target.metric), target.scope, period)
    part = {"total": found.total, "open": found.open, "new": found.new}[target.component]
    return np.asarray(part, dtype=float)
