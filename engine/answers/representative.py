"""Three futures that stand for many: those nearest to the P10, P50 and P90 of the horizon.

Quantiles of months do not add up to those of the year, so that a workbook cannot sum them. One future does
add up, line by line and month by month; the three are chosen twice, by cash at the end and by bookings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.answer import Answer, Field
from quotacast.engine.answers.cash import LINE_NAMES
from quotacast.engine.finance.kernel import KINDS
from quotacast.engine.finance.kernel_close import FLOWS, LINES, MEASURES
from quotacast.engine.finance.ledger import CashPaths
from quotacast.engine.finance.revenue import RevenuePaths
from quotacast.models.terms import Floats

#: Percents of the futures that are chosen.
PERCENTS = (10, 50, 90)
FIELDS = (
    Field("chosen_by", "text", "cash (closing balance at the horizon) or bookings (sum to the horizon)"),
    Field("path", "text", "p10, p50 or p90: of which quantile the future is nearest"),
    Field("draw", "count", "number of the future"),
    Field("kind", "text", "week or month"),
    Field("period", "text", "week or month"),
    Field("metric", "text", "line of cash, or bookings, billings, revenue, ..."),
    Field("component", "text", "done, signed, open, new, renewal; empty for lines of cash"),
    Field("value", "money", "in this future; stocks at the end of the period"),
)


def nearest(values: Floats, percent: float) -> int:
    """The first of the draws that lie nearest to a quantile; values of shape (draws,)."""
    return int(np.abs(values - np.quantile(values, percent / 100)).argmin())


def representative(
    paths: CashPaths, chain: RevenuePaths, months: Sequence[str], provenance: Mapping[str, Any]
) -> Answer:
    """The chosen futures, line by line.

    Parameters
    ----------
    paths, chain
        Of the same futures.
    months : sequence of str
        Months of the chain that are told.
    """
    told = [i for i, month in enumerate(chain.months) if month.label in months]
    booked = chain.paths[:, MEASURES.index("bookings")][:, :, told].sum(axis=(1, 2)).astype(float)
    by = {"cash": paths.closing[:, -1].astype(float), "bookings": booked}
    rows: list[dict[str, Any]] = []
    for chosen_by, values in by.items():
        for percent in PERCENTS:
            draw = nearest(values, percent)
            head = {"chosen_by": chosen_by, "path": f"p{percent}", "draw": draw}
            rows += [head | row for row in (*_cash(paths, draw), *_chain(chain, draw, told))]
    words = "Futures nearest to the P10, P50 and P90 of the horizon; within one of them, all lines add up."
    return Answer(
        "paths", pd.DataFrame(rows, columns=[f.name for f in FIELDS]), FIELDS, words, {}, provenance
    )


def _cash(paths: CashPaths, draw: int) -> Iterator[dict[str, Any]]:
    for s, span in enumerate(paths.spans):
        head = {"kind": span.kind, "period": span.label, "component": ""}
        flows = paths.lines[draw, s]
        closing = int(paths.closing[draw, s])
        yield head | {"metric": "opening", "value": (closing - int(flows.sum())) / 100}
        for name, cents in zip(LINES, flows, strict=True):
            yield head | {"metric": LINE_NAMES.get(name, name), "value": int(cents) / 100}
        yield head | {"metric": "closing", "value": closing / 100}


def _chain(chain: RevenuePaths, draw: int, told: Sequence[int]) -> Iterator[dict[str, Any]]:
    for at, name in enumerate(MEASURES):
        if name == "gross_margin" and not chain.margins:
            continue
        for m in told:
            head = {"kind": "month", "period": chain.months[m].label, "metric": name}
            parts = {"done": int(chain.done[at, m]) if name in FLOWS else 0}
            parts["signed"] = int(chain.signed[at, m])
            parts |= {kind: int(chain.paths[draw, at, k, m]) for k, kind in enumerate(KINDS) if k > 0}
            for component, cents in parts.items():
                yield head | {"component": component, "value": cents / 100}
