"""The odds curve: how likely every target is, not only today's.

With N futures the odds of a target are the share that reaches it, so the highest target with odds of at least
p is an order statistic: the ceil(p N)-th best value. A future in which a ratio is undefined reaches nothing.
Quota and quantiles stand on the same curve, with the odds that `attainability` gives them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.answer import Answer, Field
from quotacast.engine.answers.attainability import DEFINED, in_order
from quotacast.engine.answers.quantiles import DEFAULT_QUANTILES, label, quantiles_in_order
from quotacast.engine.metrics import Floats, Metric, metric, series, units
from quotacast.engine.paths import Paths
from quotacast.engine.quota import Quota
from quotacast.engine.reports.words import percent
from quotacast.models.periods import Calendar

#: Odds at which the curve is told: every percent.
GRID = tuple(k / 100 for k in range(1, 100))
QUOTA = "quota"
FIELDS = (
    Field("scope", "text", "company, team or rep"),
    Field("scope_id", "text", "team or rep; empty for the company"),
    Field("metric", "text", "what the target is on"),
    Field("period", "text", "period of the target"),
    Field("mark", "text", "quota, a quantile of the forecast (P50), or empty: a point of the curve"),
    Field("target", "metric", "the target"),
    Field("probability", "probability", "share of the futures that reach it"),
)


def odds_curve(
    paths: Paths,
    quotas: Sequence[Quota],
    calendar: Calendar,
    provenance: Mapping[str, Any],
    grid: Sequence[float] = GRID,
) -> Answer:
    """The odds of every target, around each of the quotas.

    Parameters
    ----------
    paths : Paths
        Must reach to the end of every quota's period.
    quotas : sequence of Quota
        One curve per scope, metric and period; a quota of another set on the same is another mark. Those
        whose metric is undefined in most futures have no curve.
    grid : sequence of float
        Odds at which the curve is told, in (0, 1).
    """
    rows: list[dict[str, Any]] = []
    seen: set[tuple[str, str, str]] = set()
    known: dict[tuple[str, str, str], Floats] = {}
    for quota in in_order(quotas, calendar):
        which = metric(quota.metric)
        if quota.key not in known:
            known[quota.key] = series(paths, which, quota.scope, calendar.parse(quota.period)).total
        values = known[quota.key]
        if np.isfinite(values).mean() < DEFINED:
            continue
        if quota.key not in seen:
            rows += [_head(quota) | point for point in _points(values, which, grid)]
            seen.add(quota.key)
        odds = float(which.attains(values, quota.target).mean())
        rows.append(_head(quota) | {"mark": QUOTA, "target": quota.target, "probability": odds})
    table = pd.DataFrame(rows, columns=[f.name for f in FIELDS])
    summary = {"metric_units": units(dict.fromkeys(q.metric for q in quotas)), "curves": len(seen)}
    return Answer("curve", table, FIELDS, _words(table), summary, provenance, "curve")


def _head(quota: Quota) -> dict[str, Any]:
    return {
        "scope": quota.scope.kind,
        "scope_id": quota.scope.id,
        "metric": quota.metric,
        "period": quota.period,
        "mark": "",
    }


def _points(values: Floats, which: Metric, grid: Sequence[float]) -> list[dict[str, Any]]:
    """The curve on the grid of odds, and the quantiles that forecasts give."""
    ordered = np.sort(values[np.isfinite(values)])
    pairs = [(odds, target_at(ordered, values.size, odds, which)) for odds in grid]
    rows: list[dict[str, Any]] = [
        {"target": target, "probability": odds} for odds, target in pairs if target is not None
    ]
    middle = quantiles_in_order(ordered, DEFAULT_QUANTILES)
    for q in DEFAULT_QUANTILES:
        at = float(middle[label(q)] or 0.0)
        odds = float(which.attains(values, at).mean())
        rows.append({"mark": label(q).upper(), "target": at, "probability": odds})
    return rows


def target_at(ordered: Floats, draws: int, odds: float, which: Metric) -> float | None:
    """The hardest target with at least these odds; None where even the easiest is too rare.

    Parameters
    ----------
    ordered : ndarray
        Defined values, rising.
    draws : int
        All futures, those without a value included.
    """
    place = max(1, math.ceil(odds * draws - 1e-9))
    if place > ordered.size:
        return None
    return float(ordered[-place] if which.good == "up" else ordered[place - 1])


def _words(table: pd.DataFrame) -> str:
    """The widest scope's quota in words."""
    marked = table[table["mark"] == QUOTA]
    if marked.empty:
        return "No quota could be given odds."
    first = marked.iloc[0]
    who = "the company" if first["scope"] == "company" else f"{first['scope']} {first['scope_id']}"
    return (
        f"Each point is a target and its odds. Today's quota of {who} is reached in "
        f"{percent(first['probability'])} of the futures; P10, P50 and P90 are the quantiles of the forecast."
    )
