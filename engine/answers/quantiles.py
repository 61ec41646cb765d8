"""Quantiles of draws as columns of an answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from quotacast.engine.answer import Field

#: Percent.
DEFAULT_QUANTILES = (10.0, 50.0, 90.0)


def label(percent: float) -> str:
    """Column of a quantile: ``p10``, ``p2.5``."""
    return f"p{percent:g}"


def quantile_fields(percents: Sequence[float]) -> tuple[Field, ...]:
    """Fields of the wanted quantiles."""
    return tuple(Field(label(q), "metric", f"{q:g} % of the futures are at or below") for q in percents)


def in_rising_order(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sorted values; quick where most are the smallest one, as on days on which little happens."""
    if not values.size:
        return values.copy()
    smallest = values.min()
    above = values[values > smallest]
    if above.size > values.size // 2:
        return np.sort(values)
    out = np.full(values.size, smallest)
    above.sort()
    out[values.size - above.size :] = above
    return out


def quantiles_in_order(ordered: NDArray[np.float64], percents: Sequence[float]) -> dict[str, float | None]:
    """`quantiles` of values that rise: the same numbers, without looking for their places again."""
    if not ordered.size:
        return {label(q): None for q in percents}
    out: dict[str, float | None] = {}
    for q in percents:
        place = (ordered.size - 1) * (q / 100.0)
        low = min(int(place), ordered.size - 1)
        a, b, part = float(ordered[low]), float(ordered[min(low + 1, ordered.size - 1)]), place - low
        out[label(q)] = a + (b - a) * part if part < 0.5 else b - (b - a) * (1.0 - part)  # as NumPy does
    return out


def quantiles(values: NDArray[np.float64], percents: Sequence[float]) -> dict[str, float | None]:
    """Quantiles by column name; None where there is nothing to take them of."""
    if not values.size:
        return {label(q): None for q in percents}
    found = np.quantile(values, np.asarray(percents) / 100.0)
    return {label(q): float(x) for q, x in zip(percents, found, strict=True)}
