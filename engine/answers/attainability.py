"""Are these quotas attainable?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.answer import Answer, Field
from quotacast.engine.answers.quantiles import DEFAULT_QUANTILES, quantile_fields, quantiles
from quotacast.engine.metrics import METRICS, Floats, Series, metric, series, units
from quotacast.engine.paths import Paths
from quotacast.engine.quota import SCOPE_KINDS, Quota
from quotacast.models.periods import Calendar

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
    cache: dict[tuple[str, str, str], Series] = {}
    quotas = in_order(quotas, calendar)
    told: dict[tuple[str, str, str], tuple[dict[str, Any], Floats]] = {}
    rows = [_row(paths, quota, calendar, percents, cache, told) for quota in quotas]
    fields = (*FIELDS, *quantile_fields(percents), *TAIL)
    table = pd.DataFrame(rows, columns=[f.name for f in fields])
    summary = {
        "quotas": len(rows),
        "metric_units": units(dict.fromkeys(q.metric for q in quotas)),
        "teams": dict(zip(paths.reps, paths.teams, strict=True)),
        "shares": _shares(paths, quotas, calendar, cache),
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


def _values(
    paths: Paths, quota: Quota, calendar: Calendar, cache: dict[tuple[str, str, str], Series]
) -> Series:
    if quota.key not in cache:
        cache[quota.key] = series(paths, metric(quota.metric), quota.scope, calendar.parse(quota.period))
    return cache[quota.key]


def _row(
    paths: Paths,
    quota: Quota,
    calendar: Calendar,
    percents: Sequence[float],
    cache: dict[tuple[str, str, str], Series],
    told: dict[tuple[str, str, str], tuple[dict[str, Any], Floats]],
) -> dict[str, Any]:
    which, found = metric(quota.metric), _values(paths, quota, calendar, cache)
    if quota.key not in told:
        told[quota.key] = _told(found.total, percents)
    what, defined = told[quota.key]
    meaningful = what["p_defined"] >= DEFINED
    p_attain = float(which.attains(found.total, quota.target).mean()) if meaningful else None
    attained = which.attainment(defined, quota.target)
    return {
        "scope": quota.scope.kind,
        "scope_id": quota.scope.id,
        "set": quota.set,
        "metric": quota.metric,
        "level": which.level,
        "period": quota.period,
        "target": quota.target,
        "actual": found.done,
        "p_attain": p_attain,
        **what,
        "attainment_p50": _middle(attained),
    }


def _told(total: Floats, percents: Sequence[float]) -> tuple[dict[str, Any], Floats]:
    """What does not depend on the target, once for all sets; and the draws that are defined, sorted."""
    defined = total[np.isfinite(total)]
    what = {
        "p_defined": defined.size / total.size,
        "mean": float(defined.mean()) if defined.size else None,
        **quantiles(defined, percents),
    }
    return what, np.sort(defined)


def _middle(values: Floats) -> float | None:
    """Median of values that are in order, rising or falling."""
    half = values.size // 2
    if not values.size:
        return None
    return float(values[half] if values.size % 2 else (values[half - 1] + values[half]) / 2)


def _shares(
    paths: Paths, quotas: Sequence[Quota], calendar: Calendar, cache: dict[tuple[str, str, str], Series]
) -> list[dict[str, Any]]:
    """How many reps reach their quota at the same time, per set, metric and period."""
    groups: dict[tuple[str, str, str], list[Quota]] = {}
    for quota in quotas:
        if quota.scope.kind == "rep":
            groups.setdefault((quota.set, quota.metric, quota.period), []).append(quota)
    out = []
    for (set_name, name, period), members in sorted(groups.items()):
        hits = np.zeros(paths.draws, dtype=np.int64)
        for quota in members:
            hits += metric(name).attains(_values(paths, quota, calendar, cache).total, quota.target)
        low, middle, high = (int(x) for x in np.quantile(hits, [0.1, 0.5, 0.9], method="inverted_cdf"))
        out.append(
            {
                "set": set_name,
                "metric": name,
                "period": period,
                "reps": len(members),
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
