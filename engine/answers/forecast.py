"""What is to be expected, period by period: done, open, new, and all together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.answer import Answer, Field
from quotacast.engine.answers.quantiles import DEFAULT_QUANTILES, quantile_fields, quantiles
from quotacast.engine.metrics import Floats, Series, metric, series, units
from quotacast.engine.paths import BY_COMPONENT, Paths
from quotacast.engine.quota import Scope
from quotacast.models.periods import Period

FIELDS = (
    Field("scope", "text", "company, team or rep"),
    Field("scope_id", "text", "team or rep; empty for the company"),
    Field("metric", "text", "what is forecast"),
    Field("period", "text", "period of the forecast"),
    Field(
        "component",
        "text",
        "done (history), signed (of revenue: what signed deals will earn), open (deals open now), new (yet "
        "to be created, and terms signed anew) or total",
    ),
    Field("mean", "metric", "mean over the simulated futures"),
)


def forecast(
    paths: Paths,
    metrics: Sequence[str],
    scopes: Sequence[Scope],
    periods: Sequence[Period],
    provenance: Mapping[str, Any],
    percents: Sequence[float] = DEFAULT_QUANTILES,
) -> Answer:
    """Forecast metrics by scope and period.

    Quantiles of components and periods do not add up; means do. Ratios have totals only.
    """
    rows: list[dict[str, Any]] = []
    for name in metrics:
        for scope in scopes:
            for period in periods:
                found = series(paths, metric(name), scope, period)
                rows += [
                    {
                        "scope": scope.kind,
                        "scope_id": scope.id,
                        "metric": name,
                        "period": period.label,
                        "component": component,
                        "mean": float(values.mean()) if values.size else None,
                        **quantiles(values, percents),
                    }
                    for component, values in _components(name, found)
                ]
    fields = (*FIELDS, *quantile_fields(percents))
    table = pd.DataFrame(rows, columns=[f.name for f in fields])
    summary = {"metric_units": units(metrics)}
    return Answer("forecast", table, fields, _words(table, percents), summary, provenance, "fan")


def _components(name: str, found: Series) -> list[tuple[str, Floats]]:
    total = found.total[np.isfinite(found.total)]
    if found.open is None or found.new is None:
        return [("total", total)]
    parts = [("done", np.array([found.done or 0.0])), ("open", found.open), ("new", found.new)]
    if found.signed is not None:
        parts.insert(1, ("signed", np.array([found.signed])))
    if not set(metric(name).top) & set(BY_COMPONENT):
        parts = [p for p in parts if p[0] != "open"]
    return [*parts, ("total", total)]


def _words(table: pd.DataFrame, percents: Sequence[float]) -> str:
    if table.empty:
        return "Nothing to forecast."
    low, high = min(percents), max(percents)
    return (
        f"In {high - low:g} of 100 simulated futures the total lies between p{low:g} and p{high:g}. "
        "Means add up over periods, scopes and components; quantiles do not."
    )
