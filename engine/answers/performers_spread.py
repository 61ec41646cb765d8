"""Whether reps differ at all in a measure: how far, how surely, and whether it lasts.

The spread of a measure is the standard deviation between reps of log skill, in each posterior draw: a draw of
the true spread, since effects are partially pooled and luck is not part of them. Reps are told apart where ::

    the 5 % quantile of the spread is at least PRACTICALLY   (its 90 % interval holds more than nothing)
    the ranking's reliability is at least RELIABLE           (see the module performers)

A spread of 5 % means that the middle two thirds of reps lie within 5 % of the average: less is practically
nothing. Margins are compared in points instead, since one may be below zero; there, one point is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quotacast.engine.skills import levels
from quotacast.models.funnel import Funnel
from quotacast.models.terms import Floats

RELIABLE = 0.5
#: Spread that is practically nothing: a share, and points of the margin.
PRACTICALLY, POINT = 0.05, 0.01
MARGIN = "margin"
#: With fewer reps or quarters in each half, halves are not compared.
LEAST_REPS, LEAST_QUARTERS = 5, 2


@dataclass(frozen=True)
class Apart:
    """How far reps differ in a measure.

    Attributes
    ----------
    p5, p50, p95 : float
        Posterior quantiles of the spread: a share, of margins in points.
    reliability : float
        Share of the true differences that the ranking knows.
    told : bool
        Whether that is enough for a ranking.
    """

    p5: float
    p50: float
    p95: float
    reliability: float
    told: bool

    @property
    def plain(self) -> dict[str, Any]:
        """As plain values."""
        return {**vars(self)}


def apart(name: str, values: Floats) -> Apart:
    """Judge a measure.

    Parameters
    ----------
    name : str
    values : ndarray, shape (draws, reps)
        Skills; positive but for margins.
    """
    if values.shape[1] < 2:
        return Apart(0.0, 0.0, 0.0, 0.0, False)
    scale = values if name == MARGIN else np.log(values)
    spread = scale.std(axis=1)
    p5, p50, p95 = (float(q) for q in np.quantile(spread, [0.05, 0.5, 0.95]))
    known = reliability(scale)
    least = POINT if name == MARGIN else PRACTICALLY
    return Apart(p5, p50, p95, known, known >= RELIABLE and p5 >= least)


def reliability(scale: Floats) -> float:
    """Share of the variance between reps that their posterior means hold.

    Parameters
    ----------
    scale : ndarray, shape (draws, reps)
        Logs of skills; 0 is returned where there are fewer than two reps.
    """
    if scale.shape[1] < 2:
        return 0.0
    centred = scale - scale.mean(axis=1, keepdims=True)
    whole = float(centred.var(axis=1).mean())
    return float(centred.mean(axis=0).var() / whole) if whole > 0 else 0.0


def team_spread(funnel: Funnel, rows: Any) -> dict[str, float]:
    """Posterior quantiles of the spread of creation between teams, logs; empty with fewer than two teams."""
    teams = len(set(funnel.prepared.people.team))
    found = funnel.posteriors["created"].effects.get("team")
    if found is None or teams < 2:
        return {}
    spread = levels(funnel, "created", "team", rows, found.shape[1]).std(axis=1)
    return {f"p{q}": float(np.quantile(spread, q / 100)) for q in (5, 50, 95)}


def halves(actual: Sequence[Mapping[str, Floats]], names: Sequence[str]) -> dict[str, float]:
    """Correlation between reps' raw results in the first and in the second half of the history.

    A check that needs no model: noise has none, what stays with a rep has much.

    Parameters
    ----------
    actual : sequence of mapping of str to ndarray, shape (reps,)
        Results by quarter, in order; NaN where undefined.
    names : sequence of str
        Metrics.
    """
    middle = len(actual) // 2
    out: dict[str, float] = {}
    if middle < LEAST_QUARTERS:
        return out
    for name in names:
        parts = [q[name] for q in actual if name in q]
        if len(parts) != len(actual):
            continue
        first, second = _means(parts[:middle]), _means(parts[-middle:])
        both = np.isfinite(first) & np.isfinite(second)
        if both.sum() >= LEAST_REPS and min(first[both].std(), second[both].std()) > 0:
            out[name] = float(np.corrcoef(first[both], second[both])[0, 1])
    return out


def _means(quarters: Sequence[Floats]) -> Floats:
    """Means over the quarters that are defined, shape (reps,)."""
    values = np.stack(quarters)
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(known.any(axis=0), total / known.sum(axis=0), np.nan))
