"""When how much money is on the account: the thirteen weeks to come, and the months to the horizon.

The direct method: receipts by where they come from (what is signed and what is hoped for never in one line),
payments by kind, and the balance. Lines are means over the futures, and add up; quantiles do not. The balance
may fall lower within a week than at its end: the odds of falling below the floor count every evening.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.answer import Answer, Field
from quotacast.engine.answers.quantiles import DEFAULT_QUANTILES, quantile_fields, quantiles
from quotacast.engine.finance.kernel_close import LINES, PAYMENTS
from quotacast.engine.finance.ledger import CashPaths
from quotacast.engine.reports.words import money
from quotacast.models.periods import Period
from quotacast.models.terms import Floats

#: Names of the lines of receipts in rows; those of payments are what they are.
LINE_NAMES = {
    "invoices": "receipts_open_invoices",
    "signed": "receipts_signed",
    "open": "receipts_open_deals",
    "new": "receipts_new_business",
    "renewal": "receipts_renewals",
}
FIELDS = (
    Field("scope", "text", "company"),
    Field("scope_id", "text", "empty: the account is the company's"),
    Field("kind", "text", "week or month"),
    Field("period", "text", "week or month; what is left of it where it has begun"),
    Field("first", "date", "first day of it that is simulated"),
    Field("last", "date", "last day"),
    Field("line", "text", "opening, receipts_*, payroll, commission, supplier, vat, tax, debt, net, closing"),
    Field(
        "certainty", "text", "contracted (signed), speculative (not yet signed), planned (payments) or mixed"
    ),
    Field("mean", "money", "mean over the simulated futures; payments are below zero"),
    Field("p_below", "probability", "of closing: share of futures below the floor on some evening of it"),
)
#: Odds whose first exceeding is told.
ALERTS = (0.05, 0.10, 0.25)
#: Wished safety of the credit line.
SAFETY = 0.95
#: How certain a line is; see the field.
CERTAINTY = {
    **dict.fromkeys(("invoices", "signed"), "contracted"),
    **dict.fromkeys(("open", "new", "renewal"), "speculative"),
    **dict.fromkeys(PAYMENTS, "planned"),
    **dict.fromkeys(("commission", "vat"), "mixed"),
}


def cash(
    paths: CashPaths,
    floor: float | None,
    drivers: Mapping[str, Floats],
    currency: str,
    provenance: Mapping[str, Any],
    percents: Sequence[float] = DEFAULT_QUANTILES,
    facts: Mapping[str, Any] | None = None,
) -> Answer:
    """Cash by week and month.

    Parameters
    ----------
    floor : float or None
        In currency units; None where the opening balance is not known, and cash is relative.
    drivers : mapping of str to ndarray, shape (spans,)
        Shares of the clocks in the variance; see :mod:`quotacast.engine.finance.risk`.
    facts : mapping, optional
        More for the summary.
    """
    rows: list[dict[str, Any]] = []
    for s, span in enumerate(paths.spans):
        head: dict[str, Any] = {"scope": "company", "scope_id": "", "kind": span.kind}
        head |= {"period": span.label, "first": span.first, "last": span.last}
        rows += [head | row for row in _lines(paths, s, floor, percents)]
    fields = (*FIELDS, *quantile_fields(percents))
    table = pd.DataFrame(rows, columns=[f.name for f in fields])
    summary = {
        "currency": currency,
        "relative": floor is None,
        "opening": paths.opening / 100,
        "floor": floor,
        **_risk(paths, floor),
        "drivers": _drivers(paths, drivers),
        **(facts or {}),
    }
    return Answer("cash", table, fields, _words(summary), summary, provenance, "table")


def _lines(paths: CashPaths, s: int, floor: float | None, percents: Sequence[float]) -> list[dict[str, Any]]:
    flows, closing = paths.lines[:, s] / 100, paths.closing[:, s] / 100
    net = flows.sum(axis=1)
    below = None if floor is None else float((paths.low[:, s] < round(100 * floor)).mean())
    values = [("opening", "mixed", closing - net)]
    values += [(LINE_NAMES.get(name, name), CERTAINTY[name], flows[:, i]) for i, name in enumerate(LINES)]
    values += [("net", "mixed", net), ("closing", "mixed", closing)]
    return [
        {
            "line": line,
            "certainty": certainty,
            "mean": float(value.mean()),
            "p_below": below if line == "closing" else None,
            **quantiles(value, percents),
        }
        for line, certainty, value in values
    ]


def _risk(paths: CashPaths, floor: float | None) -> dict[str, Any]:
    """First weeks and months with odds above the alerts, and the credit line that is needed."""
    if floor is None:
        return {"p_below": None, "credit_line": None, "credit_line_13_weeks": None, "alerts": []}
    limit = round(100 * floor)
    odds = (paths.low < limit).mean(axis=0)
    weeks = [s for s, span in enumerate(paths.spans) if span.kind == "week"]
    out: dict[str, Any] = {"p_below": float((paths.least < limit).mean())}
    out["credit_line"] = _needed(paths.least, limit)
    out["credit_line_13_weeks"] = _needed(paths.low[:, weeks].min(axis=1), limit) if weeks else None
    out["safety"] = SAFETY
    out["alerts"] = [
        {"odds": odds_of, "week": _first(paths.spans, odds, odds_of, "week"),
         "month": _first(paths.spans, odds, odds_of, "month")}
        for odds_of in ALERTS
    ]  # fmt: skip
    return out


def _needed(least: np.ndarray, limit: int) -> float:
    """Credit with which the lowest balance stays above the floor in :data:`SAFETY` of the futures."""
    return max(limit - float(np.quantile(least, 1 - SAFETY, method="lower")), 0.0) / 100


def _first(spans: Sequence[Period], odds: Floats, above: float, kind: str) -> str | None:
    return next((p.label for p, o in zip(spans, odds, strict=True) if p.kind == kind and o > above), None)


def _drivers(paths: CashPaths, drivers: Mapping[str, Floats]) -> dict[str, dict[str, float]]:
    """Shares at the end of the last week and of the last month."""
    out = {}
    for kind in ("week", "month"):
        last = max((s for s, span in enumerate(paths.spans) if span.kind == kind), default=None)
        if last is not None and drivers:
            out[paths.spans[last].label] = {name: float(share[last]) for name, share in drivers.items()}
    return out


def _words(summary: Mapping[str, Any]) -> str:
    said = ["Means over the simulated futures; quantiles do not add up."]
    currency = summary["currency"]
    if summary["relative"]:
        said.insert(0, "The plan has no opening balance: cash is told as the change since the as-of date.")
        return " ".join(said)
    floor, line = money(summary["floor"], currency), summary["credit_line"]
    if line > 0:
        need = f"a credit line of {money(line, currency)} keeps it above in {SAFETY:.0%} of futures"
    else:
        need = f"no credit line is needed to stay above in {SAFETY:.0%} of futures"
    said.insert(0, f"Cash falls below the floor of {floor} in {summary['p_below']:.1%} of futures; {need}.")
    return " ".join(said)
