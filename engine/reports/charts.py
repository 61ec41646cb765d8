"""The pictures an answer can ask for, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from quotacast.engine.answer import Answer
from quotacast.engine.reports import (
    bars,
    cash,
    curve,
    difference,
    fan,
    frontier,
    odds,
    reliability,
    waterfall,
)
from quotacast.errors import QuotacastError

Chart = Callable[[Answer, float], str | None]

CHARTS: Mapping[str, Chart] = {
    "fan": fan.draw,
    "odds": odds.draw,
    "bars": bars.draw,
    "reliability": reliability.draw,
    "curve": curve.draw,
    "waterfall": waterfall.draw,
    "difference": difference.draw,
    "frontier": frontier.draw,
    "cash": cash.draw,
    "table": lambda answer, width: None,
}
WIDE, NARROW = 960, 350  # a desk and a phone: a picture that only shrinks cannot be read


def pictures(answer: Answer, chart: str | None) -> tuple[str, str] | None:
    """The chart as (wide, narrow) SVG, or None where there is none to draw.

    Raises
    ------
    QuotacastError
        If no chart has that name.
    """
    if chart is None:
        return None
    if chart not in CHARTS:
        raise QuotacastError(f"chart {chart!r} arrived, wanted one of {', '.join(CHARTS)}")
    wide, narrow = CHARTS[chart](answer, WIDE), CHARTS[chart](answer, NARROW)
    return None if wide is None or narrow is None else (wide, narrow)
