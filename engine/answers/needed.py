"""What would have to be true: the futures that reach a quota, beside all of them.

For every figure X on the way from activity to the quota, the mean of X over all futures and over those that
reach the quota: E[X] and E[X | quota reached], from the same draws. The difference says what goes along with
success in this model; it proves no cause. With fewer than `LEAST` futures that reach the quota the second
mean would be noise, and nothing is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.answer import Answer, Field
from quotacast.engine.metrics import metric, series, units
from quotacast.engine.paths import Paths
from quotacast.engine.quota import Quota, Scope
from quotacast.errors import PlanError
from quotacast.models.periods import Period

#: Fewer futures that reach the quota tell nothing about what they have in common.
LEAST = 50
FIELDS = (
    Field("scope", "text", "company, team or rep"),
    Field("scope_id", "text", "team or rep; empty for the company"),
    Field("metric", "text", "figure on the way to the quota"),
    Field("period", "text", "period of the quota"),
    Field("expected", "metric", "mean over all futures, history of the period included"),
    Field("reaching", "metric", "mean over the futures that reach the quota"),
    Field("change", "ratio", "reaching / expected - 1"),
    Field("weekly", "metric", "expected per week from tomorrow on; missing for ratios"),
    Field("weekly_reaching", "metric", "the same over the futures that reach the quota"),
    Field("p_higher", "probability", "share of the reaching futures with more of it than the middle of all"),
)


@dataclass(frozen=True)
class _Seen:
    """A figure over all draws, and what of it is still to come."""

    total: Any
    ahead: Any | None


def needed(
    paths: Paths,
    quota: Quota,
    metrics: Sequence[str],
    period: Period,
    provenance: Mapping[str, Any],
) -> Answer:
    """Compare the futures that reach a quota with all futures.

    Parameters
    ----------
    paths : Paths
    quota : Quota
    metrics : sequence of str
        Figures to compare; those that the futures do not hold are left out.
    period : Period
        Of the quota.
    """
    values = series(paths, metric(quota.metric), quota.scope, period).total
    reached = metric(quota.metric).attains(values, quota.target)
    count = int(reached.sum())
    weeks = _weeks_ahead(paths, period)
    rows = []
    if count >= LEAST:
        for name in metrics:
            found = _figure(paths, name, quota.scope, period)
            if found is not None:
                rows.append(_row(quota, name, found, reached, weeks))
    table = pd.DataFrame(rows, columns=[f.name for f in FIELDS])
    summary = {
        "metric_units": units([quota.metric, *metrics]),
        "target": quota.target,
        "target_metric": quota.metric,
        "p_attain": float(reached.mean()),
        "reaching": count,
        "weeks": weeks,
    }
    return Answer("needed", table, FIELDS, _words(summary), summary, provenance, "table")


def _weeks_ahead(paths: Paths, period: Period) -> float:
    first = max(period.first, paths.as_of + timedelta(days=1))
    return max((period.last - first).days + 1, 1) / 7.0


def _figure(paths: Paths, name: str, scope: Scope, period: Period) -> _Seen | None:
    """The figure on all paths; None where the data do not hold it."""
    try:
        found = series(paths, metric(name), scope, period)
    except (PlanError, KeyError):
        return None
    if not np.isfinite(found.total).any():
        return None
    parts = (found.open, found.new)
    ahead = None if parts[0] is None or parts[1] is None else parts[0] + parts[1]
    return _Seen(found.total, ahead)


def _row(quota: Quota, name: str, found: _Seen, reached: Any, weeks: float) -> dict[str, Any]:
    known = np.isfinite(found.total)
    every, those = found.total[known], found.total[known & reached]
    if not those.size:
        those = np.array([np.nan])
    expected, reaching = float(every.mean()), float(those.mean())
    row: dict[str, Any] = {
        "scope": quota.scope.kind,
        "scope_id": quota.scope.id,
        "metric": name,
        "period": quota.period,
        "expected": expected,
        "reaching": reaching,
        "change": reaching / expected - 1.0 if expected else None,
        "p_higher": float((those > np.median(every)).mean()),
    }
    if found.ahead is not None:
        row["weekly"] = float(found.ahead.mean()) / weeks
        row["weekly_reaching"] = float(found.ahead[reached].mean()) / weeks
    return row


def _words(summary: Mapping[str, Any]) -> str:
    if summary["reaching"] < LEAST:
        few = summary["reaching"]
        return f"The quota is reached in {few} futures: too few to say what they have in common."
    return (
        f"Means over the {summary['reaching']:,} futures that reach the quota, beside all futures. What goes "
        "along with reaching it need not be what causes it."
    )
