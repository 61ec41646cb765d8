"""What the board asks: bookings, billings, recognised revenue, gross margin, backlog and deferred revenue.

Revenue is recognised by the plan's terms, which is a planning simplification, not bookkeeping. What is done,
signed, open, new and renewed adds up to the total; means add up over periods, quantiles do not. Stocks
(backlog, deferred, unbilled) are those at the end of the period.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.answer import Answer, Field
from quotacast.engine.answers.quantiles import DEFAULT_QUANTILES, quantile_fields, quantiles
from quotacast.engine.finance.kernel import KINDS
from quotacast.engine.finance.kernel_close import FLOWS, MEASURES, STOCKS
from quotacast.engine.finance.revenue import RevenuePaths
from quotacast.models.periods import Period
from quotacast.models.terms import Floats

FIELDS = (
    Field("scope", "text", "company"),
    Field("scope_id", "text", "empty: told for the company"),
    Field(
        "metric", "text", "bookings, billings, revenue, gross_margin; at the end: backlog, deferred, unbilled"
    ),
    Field("period", "text", "period of the forecast"),
    Field("component", "text", "done (history), signed, open, new, renewal, or total"),
    Field("actual", "money", "of flows: what came about up to the as-of date"),
    Field("mean", "money", "mean over the simulated futures"),
)
#: How revenue is recognised, in words.
RECOGNISED = {
    "at_close": "Revenue is recognised at close.",
    "straight_line": "Revenue is recognised by day over the term, a planning simplification, no bookkeeping.",
    "delivery": "Revenue is recognised by day over the delivery, a planning simplification, no bookkeeping.",
}


def revenue(
    paths: RevenuePaths,
    periods: Sequence[Period],
    recognise: str,
    currency: str,
    provenance: Mapping[str, Any],
    percents: Sequence[float] = DEFAULT_QUANTILES,
    metrics: Sequence[str] = (),
) -> Answer:
    """Forecast of bookings to revenue.

    Parameters
    ----------
    periods : sequence of Period
        Unions of the months of ``paths``.
    metrics : sequence of str
        Of :data:`MEASURES`; all without it.
    """
    names = [m for m in metrics or MEASURES if m != "gross_margin" or paths.margins]
    rows = [row for name in names for period in periods for row in _rows(paths, name, period, percents)]
    fields = (*FIELDS, *quantile_fields(percents))
    table = pd.DataFrame(rows, columns=[f.name for f in fields])
    summary = {
        "currency": currency,
        "recognise": recognise,
        "margins": paths.margins,
        "opening": {name: int(x) / 100 for name, x in zip(STOCKS, paths.opening, strict=True)},
    }
    words = f"{RECOGNISED[recognise]} Means add up over periods and components; quantiles do not."
    return Answer("revenue", table, fields, words, summary, provenance, "fan")


def _rows(paths: RevenuePaths, name: str, period: Period, percents: Sequence[float]) -> list[dict[str, Any]]:
    inside = [i for i, m in enumerate(paths.months) if period.first <= m.first and m.last <= period.last]
    at = MEASURES.index(name)
    months = inside if name in FLOWS else inside[-1:]
    own = paths.paths[:, at][:, :, months].sum(axis=2) / 100
    parts: list[tuple[str, Floats]] = []
    actual = None
    if name in FLOWS:
        actual = float(paths.done[at, months].sum()) / 100
        parts.append(("done", np.array([actual])))
    parts.append(("signed", np.array([float(paths.signed[at, months].sum()) / 100])))
    parts += [(kind, own[:, k]) for k, kind in enumerate(KINDS) if k > 0]
    parts.append(("total", np.asarray(sum(value for _, value in parts))))
    return [
        {
            "scope": "company",
            "scope_id": "",
            "metric": name,
            "period": period.label,
            "component": component,
            "actual": actual,
            "mean": float(value.mean()),
            **quantiles(value, percents),
        }
        for component, value in parts
        if name != "bookings" or component != "signed"
    ]
