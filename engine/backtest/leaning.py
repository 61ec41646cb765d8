"""Leaning on simple forecasts where they have proved better, as one weight per simulated future.

The final forecast of a company total is meant to be the linear pool ::

    F = w_0 F_model + w_1 F_runrate + w_2 F_month_of_quarter,        w on the simplex

whose weights are learned per metric and kind of horizon (months, quarters, years) from earlier forecasts
whose target period had ended by the origin, and from nothing else. The CRPS of a pool is quadratic in its
weights (Gneiting & Raftery 2007, doi:10.1198/016214506000001437) ::

    CRPS(w) = sum_i w_i E|X_i - y| - 1/2 sum_ij w_i w_j E|X_i - X_j|

so five kinds of numbers per past forecast tell it for every w. Weights are averaged over a grid, by a prior
times exp(-RATE * CRPS(w) / C) of each past forecast, C the mean CRPS of the model alone (a mean, since ratios
of single scores reward luck): a Gibbs posterior (Bissiri, Holmes & Walker 2016, doi:10.1111/rssb.12158).
Half of the prior says that the model needs no help, the rest is Dirichlet(SHRINK). Forecasts over long
horizons overlap, so each counts for one part in as many as overlap. Without any ended forecast the model
stands alone.

No number is corrected beside the draws. The simulated futures are raked instead (iterative proportional
fitting, Deming & Stephan 1940, doi:10.1214/aoms/1177731829): every future gets one weight so that the
weighted totals have the pool's probabilities between quantiles of the model's own forecast, for all metrics
and horizons together, and no weights are closer to equal ones in the sense of Kullback and Leibler. Drawing
futures by these weights leaves each of them whole: scopes, components, deals and cents add up as before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quotacast.engine.streams import key, uniforms
from quotacast.errors import QuotacastError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: The model, then the baselines on which it may lean.
POOL = ("structural", "runrate", "month_of_quarter")
#: Kind of every horizon, and how many neighbouring monthly origins it overlaps with.
KINDS: Mapping[str, tuple[str, float]] = {
    "m1": ("month", 1.0),
    "m2": ("month", 1.0),
    "m3": ("month", 1.0),
    "rq": ("quarter", 1.5),
    "q1": ("quarter", 3.0),
    "y1": ("year", 12.0),
}
#: Dirichlet prior of the weights where it does: mean .82 for the model on the grid.
SHRINK = (6.0, 1.0, 1.0)
#: Prior probability that the model needs no help.
ALONE = 0.5
#: Weight of one past forecast: a pool 10 % better in one forecast is exp(.2) times as credible.
RATE = 2.0
#: Step of the grid of weights, and the most that baselines may have together.
STEP, MOST = 0.1, 0.8
#: Probabilities whose quantiles of the model's forecast bound the cells that are raked.
CUTS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.975, 0.99)
#: Rounds of raking, the error of a cell's probability at which it ends, and the largest weight of a future
#: in equal weights.
ROUNDS, CLOSE, CAP = 60, 2e-3, 20.0

_PAIRS = [(i, j) for i in range(len(POOL)) for j in range(i, len(POOL))]
EVIDENCE = (
    "origin",
    "horizon",
    "metric",
    "ends",
    *(f"error_{name}" for name in POOL),
    *(f"spread_{POOL[i]}_{POOL[j]}" for i, j in _PAIRS),
)


@dataclass(frozen=True)
class Forecast:
    """Forecasts of one company total by every member of the pool.

    Attributes
    ----------
    horizon, metric : str
    ends : date
        Last day of the target period.
    draws : tuple of ndarray
        In the order of :data:`POOL`; the first has one value per simulated future.
    """

    horizon: str
    metric: str
    ends: date
    draws: tuple[Floats, ...]

    @property
    def kind(self) -> tuple[str, str]:
        """Metric and kind of horizon: forecasts that share their weights."""
        return self.metric, KINDS[self.horizon][0]


def evidence(origin: date, forecasts: Sequence[Forecast], actual: Floats) -> pd.DataFrame:
    """What forecasts will tell about the weights once they have ended: rows with :data:`EVIDENCE`."""
    rows = []
    for forecast, y in zip(forecasts, actual, strict=True):
        errors = [float(np.abs(x - y).mean()) for x in forecast.draws]
        spreads = [distance(forecast.draws[i], forecast.draws[j]) for i, j in _PAIRS]
        head = (origin.isoformat(), forecast.horizon, forecast.metric, forecast.ends.isoformat())
        rows.append((*head, *errors, *spreads))
    return pd.DataFrame(rows, columns=list(EVIDENCE))


def distance(x: Floats, z: Floats) -> float:
    """Mean absolute difference E|X - Z| of two samples, in n log n."""
    if x is z:
        return _gini(x)
    n, m = x.size, z.size
    both = _gini(np.concatenate([x, z])) * (n + m) ** 2
    return float((both - _gini(x) * n**2 - _gini(z) * m**2) / (2.0 * n * m))


def _gini(x: Floats) -> float:
    ordered = np.sort(x)
    n = x.size
    return float(2.0 * ((2.0 * np.arange(1, n + 1) - n - 1.0) @ ordered) / n**2)


def grid() -> Floats:
    """All weights that are considered, shape (weights, members)."""
    part = np.arange(0.0, MOST + STEP / 2, STEP)
    rest = np.stack([g.ravel() for g in np.meshgrid(*[part] * (len(POOL) - 1), indexing="ij")], axis=1)
    rest = rest[rest.sum(axis=1) <= MOST + 1e-9]
    return np.column_stack([1.0 - rest.sum(axis=1), rest])


def learn(past: pd.DataFrame, by: date) -> dict[tuple[str, str], Floats]:
    """Weights of the pool per metric and kind of horizon, from forecasts that had ended by a day.

    Returns
    -------
    dict of (metric, kind) to ndarray, shape (members,)
        Only where at least one forecast had ended.
    """
    ended = past[past["ends"] <= by.isoformat()] if len(past) else past
    if not len(ended):
        return {}
    kind = ended["horizon"].map(lambda h: KINDS[h][0])
    return {(str(m), str(k)): _weights(part) for (m, k), part in ended.groupby(["metric", kind], sort=True)}


def _weights(ended: pd.DataFrame) -> Floats:
    candidates = grid()
    log_p = np.log(np.maximum(candidates, STEP / 10)) @ (np.asarray(SHRINK) - 1.0)
    helped = candidates[:, 0] < 1.0
    log_p[helped] -= np.log(np.exp(log_p[helped]).sum())
    log_p[~helped] = np.log(ALONE / (1.0 - ALONE))
    score = pool_crps(ended, candidates)
    counts = 1.0 / ended["horizon"].map(lambda h: KINDS[h][1]).to_numpy(dtype=float)
    alone = max(float(pool_crps(ended, np.eye(len(POOL))[:1]).mean()), 1e-12)
    log_p -= RATE * (counts[:, None] * score / alone).sum(axis=0)
    p = np.exp(log_p - log_p.max())
    return np.asarray(p @ candidates / p.sum())


def pool_crps(rows: pd.DataFrame, weights: Floats) -> Floats:
    """CRPS of pools, shape (rows, weights)."""
    error = rows[[f"error_{n}" for n in POOL]].to_numpy(dtype=float)
    out = error @ weights.T
    for i, j in _PAIRS:
        spread = rows[f"spread_{POOL[i]}_{POOL[j]}"].to_numpy(dtype=float)
        factor = 0.5 if i == j else 1.0
        out -= factor * np.outer(spread, weights[:, i] * weights[:, j])
    return np.asarray(out)


def draw_weights(forecasts: Iterable[Forecast], leaning: Mapping[tuple[str, str], Floats]) -> Floats | None:
    """One weight per simulated future, sum 1; None where nothing is leaned on.

    Parameters
    ----------
    forecasts : iterable of Forecast
        From the origin; all first members are totals of the same futures.
    leaning : mapping
        From :func:`learn`.
    """
    margins = [_margin(f.draws, leaning[f.kind]) for f in forecasts if f.kind in leaning]
    return rake(margins) if margins else None


def _margin(draws: Sequence[Floats], weights: Floats) -> tuple[Ints, Floats]:
    """Cell of every future, and the probability that the pool gives to each cell."""
    edges = np.unique(np.quantile(draws[0], CUTS))
    cells = [np.searchsorted(edges, x, side="left") for x in draws]
    shares = np.stack([np.bincount(c, minlength=edges.size + 1) / c.size for c in cells])
    return cells[0].astype(np.int64), weights @ shares


def rake(margins: Sequence[tuple[Ints, Floats]]) -> Floats:
    """Weights of futures that give every margin its probabilities, as far as they agree.

    Parameters
    ----------
    margins : sequence of (cell of every future, probability of every cell)

    Returns
    -------
    ndarray, shape (futures,)
        Sum 1; no future counts for more than :data:`CAP` times its share.
    """
    n = margins[0][0].size
    w = np.full(n, 1.0 / n)
    for _ in range(ROUNDS):
        worst = 0.0
        for cell, wanted in margins:
            has = np.bincount(cell, w, minlength=wanted.size)
            worst = max(worst, float(np.abs(has - wanted).max()))
            w = w * np.divide(wanted, has, out=np.ones_like(wanted), where=has > 0)[cell]
        if worst < CLOSE:
            break
    return _capped(w / w.sum(), CAP / n)


def _capped(w: Floats, most: float) -> Floats:
    """Weights of sum 1 of which none is above ``most``; what is cut off goes to the others in proportion."""
    over = np.zeros(w.size, dtype=bool)
    while (w > most * (1.0 + 1e-12)).any():
        over |= w > most
        w = np.where(over, most, w * (1.0 - over.sum() * most) / w[~over].sum())
    return w


def chosen(weights: Floats, u: float) -> Ints:
    """Futures drawn by weight, as many as there are: systematic, in their own order.

    Parameters
    ----------
    weights : ndarray, shape (futures,)
    u : float
        One uniform number.
    """
    if not np.isfinite(weights).all():
        raise QuotacastError("leaning: a weight is missing or infinite; the pooled forecasts hold gaps")
    edges = np.cumsum(weights)
    at = (np.arange(weights.size) + u) / weights.size
    found = np.searchsorted(edges / edges[-1], at, side="right")
    return np.minimum(found, weights.size - 1).astype(np.int64)


def lot(seed: int, origin: date) -> float:
    """The uniform number with which futures are drawn."""
    return float(uniforms(np.array([key(seed, "leaning", origin.isoformat())]), 0, 1)[0, 0, 0])


def told(learned: Mapping[tuple[str, str], Floats]) -> list[dict[str, str | float]]:
    """Weights as plain rows: metric, kind of horizon, and one number per member of the pool."""
    return [
        {"metric": metric, "horizon": kind, **{n: float(w) for n, w in zip(POOL, weights, strict=True)}}
        for (metric, kind), weights in sorted(learned.items())
    ]


def effective(weights: Floats) -> float:
    """Effective number of futures, 1 / sum of squared weights (Kish)."""
    return float(1.0 / np.sum(weights**2))
