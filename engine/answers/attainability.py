"""Are these quotas attainable?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quotacast.engine.answer import Answer, Field
from quotacast.engine.answers.quantiles import (
    DEFAULT_QUANTILES,
    in_rising_order,
    quantile_fields,
    quantiles_in_order,
)
from quotacast.engine.metrics import METRICS, Floats, Metric, Series, metric, series, units
from quotacast.engine.paths import Paths
from quotacast.engine.quota import SCOPE_KINDS, Quota
from quotacast.models.periods import Calendar, Period

#: Below this share of draws in which a ratio is defined, odds are not meaningful.
DEFINED = 0.5

FIELDS = (
    Field("scope", "text", "company, team or rep"),
    Field("scope_id", "text", "team or rep; empty for the company"),
    Field("set", "text", "candidate set of quotas"),
    Field("metric", "text", "what the quota is on"),
    Field("level", "text", "input, lead-to-deal or output"),
    Field("period", "text", "period of the quota"),
    Field("target", "metric", "the quota"),
    Field("actual", "metric", "reached up to the as-of date; missing where a ratio has no denominator yet"),
    Field("p_attain", "probability", "share of futures that reach the quota; missing where not meaningful"),
    Field("p_defined", "probability", "share of futures in which the metric is defined"),
    Field("mean", "metric", "mean over the futures in which it is defined"),
)
TAIL = (
    Field("attainment_p50", "ratio", "median attainment: actual / quota (quota / actual if lower is better)"),
)


def attainability(
    paths: Paths,
    quotas: Sequence[Quota],
    calendar: Calendar,
    provenance: Mapping[str, Any],
    percents: Sequence[float] = DEFAULT_QUANTILES,
) -> Answer:
    """Odds of every quota on the same simulated futures.

    Parameters
    ----------
    paths : Paths
        Must reach to the end of every quota's period.
    quotas : sequence of Quota
    percents : sequence of float
        Quantiles of the metric to report, percent.
    """
    quotas, rows, shares, key, found = in_order(quotas, calendar), [], _Shares(paths.draws), None, None
    period_of = {label: calendar.parse(label) for label in dict.fromkeys(q.period for q in quotas)}
    for quota in quotas:
        if found is None or quota.key != key:  # quotas of several sets on the same thing follow each other
            key, found = quota.key, _found(paths, quota, period_of[quota.period], percents)
        rows.append(_row(quota, found))
        shares.add(quota, found.values.total)
    fields = (*FIELDS, *quantile_fields(percents), *TAIL)
    table = pd.DataFrame(rows, columns=[f.name for f in fields])
    summary = {
        "quotas": len(rows),
        "metric_units": units(dict.fromkeys(q.metric for q in quotas)),
        "teams": dict(zip(paths.reps, paths.teams, strict=True)),
        "shares": shares.rows(),
    }
    return Answer("quotas", table, fields, quota_words(table), summary, provenance, "odds")


def in_order(quotas: Sequence[Quota], calendar: Calendar) -> list[Quota]:
    """Quotas by metric, period (a year before its quarters), scope and set (as they came)."""
    metrics = {name: at for at, name in enumerate(METRICS)}
    sets = {name: at for at, name in enumerate(dict.fromkeys(q.set for q in quotas))}
    periods = {label: calendar.parse(label) for label in dict.fromkeys(q.period for q in quotas)}
    return sorted(
        quotas,
        key=lambda q: (
            metrics.get(q.metric, len(metrics)),
            periods[q.period].first,
            -periods[q.period].last.toordinal(),
            SCOPE_KINDS.index(q.scope.kind),
            q.scope.id,
            sets[q.set],
        ),
    )


@dataclass(frozen=True)
class _Found:
    """What does not depend on the target: values, their columns, and those that are defined, in order."""

    values: Series
    columns: dict[str, Any]
    defined: Floats


def _found(paths: Paths, quota: Quota, period: Period, percents: Sequence[float]) -> _Found:
    values = series(paths, metric(quota.metric), quota.scope, period)
    known = values.total[np.isfinite(values.total)] if values.open is None else values.total
    defined = in_rising_order(known)
    columns = {
        "p_defined": defined.size / values.total.size,
        "mean": float(known.mean()) if known.size else None,
        **quantiles_in_order(defined, percents),
    }
    return _Found(values, columns, defined)


def _row(quota: Quota, found: _Found) -> dict[str, Any]:
    which = metric(quota.metric)
    meaningful = found.columns["p_defined"] >= DEFINED
    p_attain = _reached(which, found.defined, quota.target) / found.values.total.size
    return {
        "scope": quota.scope.kind,
        "scope_id": quota.scope.id,
        "set": quota.set,
        "metric": quota.metric,
        "level": which.level,
        "period": quota.period,
        "target": quota.target,
        "actual": found.values.done,
        "p_attain": p_attain if meaningful else None,
        **found.columns,
        "attainment_p50": _middle(which, found.defined, quota.target),
    }


def _reached(which: Metric, ordered: Floats, target: float) -> int:
    """How many of the values, which rise, reach a target: sorted once, searched for every target."""
    if which.good == "up":
        return int(ordered.size - np.searchsorted(ordered, target, side="left"))
    return int(np.searchsorted(ordered, target, side="right"))


def _middle(which: Metric, ordered: Floats, target: float) -> float | None:
    """Median attainment of values that rise: it rises or falls with them."""
    half = ordered.size // 2
    if not ordered.size:
        return None
    around = which.attainment(ordered[half - 1 + ordered.size % 2 : half + 1], target)
    return float(around[0] if around.size == 1 else (around[0] + around[1]) / 2)


class _Shares:
    """How many reps reach their quota at the same time, per set, metric and period."""

    def __init__(self, draws: int) -> None:
        self.draws = draws
        self._hits: dict[tuple[str, str, str], tuple[int, NDArray[np.int32]]] = {}

    def add(self, quota: Quota, values: Floats) -> None:
        """Count another quota, if it is a rep's."""
        if quota.scope.kind != "rep":
            return
        key = (quota.set, quota.metric, quota.period)
        reps, hits = self._hits.get(key) or (0, np.zeros(self.draws, dtype=np.int32))
        hits += metric(quota.metric).attains(values, quota.target)
        self._hits[key] = (reps + 1, hits)

    def rows(self) -> list[dict[str, Any]]:
        """One row per set, metric and period."""
        out = []
        for (set_name, name, period), (reps, hits) in sorted(self._hits.items(), key=lambda item: item[0]):
            low, middle, high = (int(x) for x in np.quantile(hits, [0.1, 0.5, 0.9], method="inverted_cdf"))
            out.append(
                {
                    "set": set_name,
                    "metric": name,
                    "period": period,
                    "reps": reps,
                    "mean": float(hits.mean()),
                    "p10": low,
                    "p50": middle,
                    "p90": high,
                }
            )
        return out


def quota_words(table: pd.DataFrame) -> str:
    """What the rows of odds say, in plain words."""
    known = table.dropna(subset=["p_attain"])
    if known.empty:
        return "No quota could be given odds."
    likely = int((known["p_attain"] >= 0.5).sum())
    text = f"{likely:,} of {len(known):,} quotas are reached in at least half of the simulated futures."
    vague = len(table) - len(known)
    return text + (
        f" {vague:,} are not meaningful: their metric is undefined in most futures." if vague else ""
    )
