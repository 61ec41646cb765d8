"""From an earlier forecast to this one: what of the difference is volume, win rate, price, timing, payment.

Expected bookings of a period are a product of what can move ::

    bookings = closings in all periods x share of them in this one x won of closed x bookings per win
               volume                    timing                      win rate        price

and expected receipts a sum of what was signed already and of a product ::

    receipts = contracted
             + closings x won of closed x bookings per win x billed per booked x received per billed
               volume     win rate        price              timing              payment

with the first three over all periods, the last two of what is not signed yet. The difference of two products
is split by Shapley values: each factor's part is its mean marginal effect over all orders in which the
factors change (Shapley 1953; of products also known as complete decomposition, Sun 1998, Energy Economics
20, 85-100), so the parts add up to the difference and no order is preferred. Means are split, never
quantiles: only means add up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quotacast.engine.answer import Answer, Field
from quotacast.engine.paths import Paths
from quotacast.engine.quota import Scope
from quotacast.engine.reports.words import money
from quotacast.engine.shapley import shapley
from quotacast.models.periods import Period

Floats = NDArray[np.float64]

#: Expected totals that a bridge is made of.
TOTALS = ("won", "lost", "bookings")
#: Those of cash, which may be missing: billings and receipts of what is not signed yet, receipts of what is.
CASH = ("billings", "receipts", "contracted")
DRIVERS = ("volume", "win rate", "price", "timing", "payment", "contracted")
FIELDS = (
    Field("scope", "text", "company or team"),
    Field("scope_id", "text", "team; empty for the company"),
    Field("metric", "text", "bookings or receipts"),
    Field("period", "text", "period of both forecasts"),
    Field("before", "money", "mean of the earlier forecast"),
    *(Field(name.replace(" ", "_"), "money", f"part of the difference that is {name}") for name in DRIVERS),
    Field("after", "money", "mean of this forecast"),
)


def expected_totals(paths: Paths, scopes: Sequence[Scope], periods: Sequence[Period]) -> pd.DataFrame:
    """Mean totals of closings and bookings, history included: what a later bridge starts from.

    Returns
    -------
    DataFrame
        scope, scope_id, period, won, lost, bookings (currency units).
    """
    rows = []
    for scope in scopes:
        for period in periods:
            won, lost, cents = (_mean(paths, m, scope, period) for m in ("won", "lost", "won_cents"))
            rows.append(
                {
                    "scope": scope.kind,
                    "scope_id": scope.id,
                    "period": period.label,
                    "won": won,
                    "lost": lost,
                    "bookings": cents / 100,
                }
            )
    return pd.DataFrame(rows)


def _mean(paths: Paths, measure: str, scope: Scope, period: Period) -> float:
    opened, new = paths.simulated(measure, scope, period)
    return float(opened.mean() + new.mean()) + paths.actual(measure, scope, period)


def product_parts(before: Floats, after: Floats) -> Floats:
    """Parts of ``prod(after) - prod(before)`` by factor.

    Parameters
    ----------
    before, after : ndarray, shape (factors, n)
        Factors of n products; at most :data:`quotacast.engine.shapley.EXACT` of them.

    Returns
    -------
    ndarray, shape (factors, n)
        They add up to the difference over the first axis.
    """

    def product(moved: frozenset[int]) -> Floats:
        rows = [after[i] if i in moved else before[i] for i in range(before.shape[0])]
        return np.asarray(np.prod(rows, axis=0))

    return shapley(product, before.shape[0]).parts


def bridge(
    before: pd.DataFrame, after: pd.DataFrame, provenance: Mapping[str, Any], name: str = "approved"
) -> Answer:
    """Split the difference between two forecasts, scope by scope and period by period.

    Parameters
    ----------
    before, after : DataFrame
        scope, scope_id, period, won, lost, bookings (all means) and, where both have them, the columns
        :data:`CASH`. Periods that both have are compared.
    name : str
        What the earlier forecast is called.
    """
    keys = ["scope", "scope_id", "period"]
    both = after.merge(before, on=keys, suffixes=("", "_before"), sort=False)
    rows = [_booked(part) for _, part in both.groupby(keys[:2], sort=False)]
    if set(CASH) <= set(before.columns) & set(after.columns):
        paid = both.dropna(subset=[f"{name}{suffix}" for name in CASH for suffix in ("", "_before")])
        rows += [_received(part) for _, part in paid.groupby(keys[:2], sort=False)]
    columns = [f.name for f in FIELDS]
    table = pd.concat(rows, ignore_index=True)[columns] if rows else pd.DataFrame(columns=columns)
    left = sorted(set(after["period"]) - set(both["period"]))
    summary = {"earlier": name, "periods_left_out": left, "by_period": _whole(table)}
    return Answer("bridge", table, FIELDS, _words(table, name), summary, provenance, "waterfall")


def _booked(part: pd.DataFrame) -> pd.DataFrame:
    ends = [_bookings_factors(part, suffix) for suffix in ("_before", "")]
    return _table(part, "bookings", ends, ("volume", "timing", "win rate", "price"))


def _received(part: pd.DataFrame) -> pd.DataFrame:
    ends = [_receipts_factors(part, suffix) for suffix in ("_before", "")]
    table = _table(part, "receipts", ends, DRIVERS[:5])
    before, after = (part[name].to_numpy(dtype=float) for name in ("contracted_before", "contracted"))
    table["contracted"] = after - before
    table["before"] += before
    table["after"] += after
    return table


def _bookings_factors(part: pd.DataFrame, suffix: str) -> Floats:
    won, lost, booked = (part[f"{name}{suffix}"].to_numpy(dtype=float) for name in TOTALS)
    closed = won + lost
    whole = np.full(closed.size, closed.sum())
    return np.stack([whole, _over(closed, whole), _over(won, closed), _over(booked, won)])


def _receipts_factors(part: pd.DataFrame, suffix: str) -> Floats:
    names = (*TOTALS, "billings", "receipts")
    won, lost, booked, billed, received = (part[f"{name}{suffix}"].to_numpy(dtype=float) for name in names)
    billed = np.where(billed > 0, billed, received)  # paid without being billed in the period: all timing
    n, closed = won.size, won.sum() + lost.sum()
    rate, price = _over(won.sum(), closed), _over(booked.sum(), won.sum())
    shares = _over(billed, np.full(n, booked.sum())), _over(received, billed)
    return np.stack([np.full(n, closed), np.full(n, rate), np.full(n, price), *shares])


def _over(top: Any, bottom: Any) -> Any:
    """Ratio; 0 where there is nothing to divide by, as then there is nothing above either."""
    top, bottom = np.asarray(top, dtype=float), np.asarray(bottom, dtype=float)
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom != 0)


def _table(part: pd.DataFrame, metric: str, ends: Sequence[Floats], names: Sequence[str]) -> pd.DataFrame:
    parts = dict(zip(names, product_parts(*ends), strict=True))
    columns = {name.replace(" ", "_"): parts.get(name, np.zeros(len(part))) for name in DRIVERS}
    return pd.DataFrame(
        {
            "scope": part["scope"].to_numpy(),
            "scope_id": part["scope_id"].to_numpy(),
            "metric": metric,
            "period": part["period"].to_numpy(),
            "before": np.prod(ends[0], axis=0),
            **columns,
            "after": np.prod(ends[1], axis=0),
        }
    )


def _whole(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The company over all periods: parts of means add up over periods too."""
    company = table[table["scope"] == "company"]
    names = [f.name for f in FIELDS[4:]]
    return [
        {"metric": str(metric), **{name: float(part[name].sum()) for name in names}}
        for metric, part in company.groupby("metric", sort=False)
    ]


def _words(table: pd.DataFrame, name: str) -> str:
    whole = _whole(table)
    if not whole:
        return f"No period is in both this forecast and {name}."
    first = whole[0]
    change = first["after"] - first["before"]
    parts = {d: first[d.replace(" ", "_")] for d in DRIVERS if abs(first[d.replace(" ", "_")]) > 0}
    order = sorted(parts, key=lambda d: -abs(parts[d]))
    said = ", ".join(f"{d} {_signed(parts[d])}" for d in order)
    return (
        f"Expected {first['metric']}: {money(first['before'])} in {name}, now {money(first['after'])} "
        f"({_signed(change)}){': ' + said if said else ''}. Means are compared: they add up, quantiles don't."
    )


def _signed(value: float) -> str:
    return f"{'+' if value >= 0 else '−'}{money(abs(value))}"
