"""The fan: what has been, what may come, and the target, period by period."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.answer import Answer
from quotacast.engine.reports import svg
from quotacast.engine.reports.table import scope_label
from quotacast.engine.reports.units import plain, show

Point = svg.Point

_KINDS = (
    ("month", re.compile(r"\d{4}-(\d{2}|P\d{2})")),
    ("quarter", re.compile(r"\d{4}-Q\d")),
    ("week", re.compile(r"\d{4}-W\d{2}")),
    ("day", re.compile(r"\d{4}-\d{2}-\d{2}")),
    ("year", re.compile(r"\d{4}")),
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_PARTS = (("done", svg.PAST), ("signed", svg.GREEN), ("open", svg.BLUE), ("new", svg.SKY))
_QUANTILES = ("p10", "p25", "p50", "p75", "p90")
_INNER = "#9cc9e6"  # P25–P75, between the pale band and the line


@dataclass(frozen=True)
class Fan:
    """What the picture shows: one scope, one metric, periods of one kind in order."""

    label: str
    unit: str
    periods: tuple[str, ...]
    rows: pd.DataFrame  # totals, indexed by period
    parts: Mapping[str, Mapping[str, float]]  # component -> period -> mean
    actuals: Mapping[str, float]
    targets: Mapping[str, float]

    @property
    def slots(self) -> tuple[str, ...]:
        """All periods on the axis, history first."""
        return tuple(sorted({*self.periods, *self.actuals}))


def kind(label: str) -> str:
    """Kind of a period by the form of its label; ``other`` where no form fits."""
    return next((name for name, form in _KINDS if form.fullmatch(label)), "other")


def short(label: str) -> str:
    """A period as an axis shows it: ``Mar 27``, ``Q1 27``."""
    year, _, rest = label.partition("-")
    if kind(label) == "month" and rest.isdigit() and 1 <= int(rest) <= 12:
        return f"{_MONTHS[int(rest) - 1]} {year[2:]}"
    return f"{rest} {year[2:]}" if kind(label) in {"month", "quarter", "week"} else label


def pick(answer: Answer) -> Fan | None:
    """The rows to draw: the company's (else the first scope's), the first metric's, by month where possible.

    History and targets come from ``summary["actuals"]`` and ``summary["targets"]``: lists of
    ``{period, value}``, optionally with ``scope``, ``scope_id`` and ``metric``. None where no row is fit.
    """
    frame = answer.rows
    if not {"period", "p10", "p50", "p90"} <= set(frame.columns):
        return None
    frame = frame.assign(period=frame["period"].astype(str))
    for column, wish in (("scope", "company"), ("scope_id", None), ("metric", None)):
        frame = _only(frame, column, wish)
    total = _only(frame, "component", "total")
    # an array, since an empty list would choose columns
    total = total[np.array([_drawable(row) for _, row in total.iterrows()], dtype=bool)]
    total = total[total["period"].map(kind) == _main_kind(total["period"])]
    if total.empty:
        return None
    first = total.iloc[0]
    own = {c: str(first[c]) for c in ("scope", "scope_id", "metric") if c in total.columns}
    units = answer.summary.get("metric_units") or {}
    labels = [scope_label(own.get("scope", ""), own.get("scope_id", "")).strip(":"), own.get("metric", "")]
    rows = total.drop_duplicates("period").set_index("period").sort_index()
    chosen = kind(str(first["period"]))
    return Fan(
        label=" · ".join(x for x in labels if x),
        unit=str(units.get(own.get("metric", ""), _declared(answer))),
        periods=tuple(map(str, rows.index)),
        rows=rows,
        parts=_parts(frame, set(rows.index)),
        actuals=_series(answer.summary.get("actuals"), own, chosen),
        targets=_series(answer.summary.get("targets"), own, chosen),
    )


def _drawable(row: pd.Series[Any]) -> bool:
    return all(plain(row[q]) is not None for q in _QUANTILES if q in row.index)


def _declared(answer: Answer) -> str:
    unit = next(f.unit for f in answer.fields if f.name == "p50")
    return "score" if unit == "metric" else unit


def _only(frame: pd.DataFrame, column: str, wish: str | None) -> pd.DataFrame:
    """Rows with the wished value of the column, or else with its first one."""
    if column not in frame.columns or frame.empty:
        return frame
    values = frame[column].astype(str)
    chosen = wish if wish is not None and (values == wish).any() else values.iloc[0]
    return frame[values == chosen]


def _main_kind(labels: pd.Series[Any]) -> str:
    kinds = [kind(str(label)) for label in labels]
    return "month" if "month" in kinds else max(sorted(set(kinds)), key=kinds.count, default="other")


def _parts(frame: pd.DataFrame, periods: set[Any]) -> dict[str, dict[str, float]]:
    if not {"component", "mean"} <= set(frame.columns):
        return {}
    inside = frame[frame["period"].isin(periods)].dropna(subset=["mean"])
    parts = {}
    for name, _ in _PARTS:
        own = inside[inside["component"] == name]
        if (own["mean"] != 0).any():
            parts[name] = dict(zip(own["period"], own["mean"].astype(float), strict=True))
    return parts


def _series(entries: Any, own: Mapping[str, str], chosen: str) -> dict[str, float]:
    """Period -> value of the entries that belong to the scope and metric (or say nothing of them)."""
    if isinstance(entries, Mapping):
        entries = [{"period": p, "value": v} for p, v in entries.items()]
    found: dict[str, float] = {}
    for entry in entries or ():
        fits = all(str(entry[key]) == value for key, value in own.items() if key in entry)
        value = entry.get("value", entry.get("target"))
        if fits and kind(str(entry["period"])) == chosen and plain(value) is not None:
            found[str(entry["period"])] = float(value)
    return found


def draw(answer: Answer, width: float = 960) -> str | None:
    """The fan as SVG, with the make-up of the expected value below where the answer has its components.

    Parameters
    ----------
    answer : Answer
        Rows with ``period, p10, p50, p90`` and optionally ``scope, scope_id, metric,
        component, mean, p25, p75``.
    width : float
        Pixels; under 600 the layout is that of a phone.

    Returns
    -------
    str or None
        None where there is nothing to draw.
    """
    fan = pick(answer)
    if fan is None:
        return None
    small = width < 600
    tall, low = (230, 120) if small else (300, 130)
    board = svg.Board(width, 0, f"{fan.label}: history and the range of the forecast by period")
    board.text(4, 14, svg.fit(fan.label, width - 8, 13), size=13, bold=True)
    top = board.legend(_legend(fan), 4, 34, 11 if small else 12)
    left, right = (44, width - 8) if small else (60, width - 92)
    slots = fan.slots
    x = svg.Scale(0, len(slots), left, right)
    bottom = top + tall
    y = _axis(board, fan, _values(fan), x, (bottom, top + 6))
    _history(board, fan, x, y)
    _future(board, fan, x, y)
    _target(board, fan, x, y)
    if not small:
        _ends(board, fan, right + 8, y)
    _labels(board, slots, x, bottom + 16)
    board.height = bottom + 26
    if fan.parts:
        board.height = _composition(board, fan, x, bottom + 44, low)
    return board.svg()


def _legend(fan: Fan) -> list[tuple[str, str]]:
    items = [(svg.PAST, "actual")] if fan.actuals else []
    items += [("--" + svg.BLUE, "middle (P50)")]
    if {"p25", "p75"} <= set(fan.rows.columns):
        items += [(_INNER, "1 in 2 futures (P25–P75)")]
    items += [(svg.PALE, "8 in 10 futures (P10–P90)")]
    return items + ([("--" + svg.VERMILLION, "target")] if fan.targets else [])


def _values(fan: Fan) -> list[float]:
    return [*fan.rows["p10"], *fan.rows["p90"], *fan.actuals.values(), *fan.targets.values()]


def _axis(
    board: svg.Board,
    fan: Fan,
    values: Sequence[float],
    x: svg.Scale,
    span: tuple[float, float],
    count: int = 5,
) -> svg.Scale:
    """Grid lines with their amounts; the axis always holds zero."""
    marks = svg.ticks(min(0.0, *values), max(0.0, *values), count)
    y = svg.Scale(marks[0], marks[-1], *span)
    for mark in marks:
        board.line([(x.start, y(mark)), (x.end, y(mark))], svg.SOFT if mark == 0 else svg.GRID)
        board.text(x.start - 6, y(mark) + 4, show(mark, fan.unit), size=11, anchor="end", fill=svg.SOFT)
    return y


def _history(board: svg.Board, fan: Fan, x: svg.Scale, y: svg.Scale) -> None:
    for at, period in enumerate(fan.slots):
        value = fan.actuals.get(period)
        if value is None:
            continue
        high, low = min(y(value), y(0)), max(y(value), y(0))
        tip = f"{period}: {show(value, fan.unit)}"
        board.rect(x(at + 0.15), high, x(0.7) - x(0), low - high, svg.PAST, tip)


def _line(fan: Fan, column: str, x: svg.Scale, y: svg.Scale) -> list[Point]:
    """A quantile through the middles of its periods, level to the outer edges of the first and the last."""
    first, last = fan.slots.index(fan.periods[0]), fan.slots.index(fan.periods[-1])
    values = {p: float(v) for p, v in fan.rows[column].items()}
    points = [(x(at + 0.5), y(values[p])) for at, p in enumerate(fan.slots) if p in values]
    return [(x(first + 0.05), points[0][1]), *points, (x(last + 0.95), points[-1][1])]


def _future(board: svg.Board, fan: Fan, x: svg.Scale, y: svg.Scale) -> None:
    board.area(_line(fan, "p90", x, y), _line(fan, "p10", x, y), svg.PALE)
    if {"p25", "p75"} <= set(fan.rows.columns):
        board.area(_line(fan, "p75", x, y), _line(fan, "p25", x, y), _INNER)
    middle = _line(fan, "p50", x, y)
    board.line(middle, svg.BLUE, 2.2)
    for (px, py), (period, row) in zip(middle[1:-1], fan.rows.iterrows(), strict=True):
        said = " – ".join(show(row[q], fan.unit) for q in ("p10", "p50", "p90"))
        board.dot(px, py, svg.BLUE, f"{period}: {said}")


def _target(board: svg.Board, fan: Fan, x: svg.Scale, y: svg.Scale) -> None:
    points: list[Point] = []
    for at, period in enumerate(fan.slots):
        if period in fan.targets:
            level = y(fan.targets[period])
            points += [(x(at), level), (x(at + 1), level)]
        elif points:
            board.line(points, svg.VERMILLION, 2, "6 4")
            points = []
    if points:
        board.line(points, svg.VERMILLION, 2, "6 4")


def _ends(board: svg.Board, fan: Fan, x: float, y: svg.Scale) -> None:
    """The last period's quantiles and target beside the lines, pushed apart so that none covers another."""
    last = fan.rows.iloc[-1]
    names = [(q.upper(), float(last[q]), svg.SOFT) for q in ("p90", "p50", "p10")]
    if fan.periods[-1] in fan.targets:
        names.append(("target", fan.targets[fan.periods[-1]], svg.VERMILLION))
    level = -1e9
    for name, value, colour in sorted(names, key=lambda item: -item[1]):
        level = max(y(value) + 4, level + 14)
        board.text(x, level, f"{name} {show(value, fan.unit)}", size=11, fill=colour)


def _labels(board: svg.Board, slots: Sequence[str], x: svg.Scale, y: float) -> None:
    """As many period names as fit, counted from the first."""
    every = max(1, -(-48 * len(slots) // max(1, int(x.end - x.start))))
    every = next((e for e in (1, 2, 3, 4, 6, 12) if e >= every), every)
    for at, label in enumerate(slots):
        if at % every == 0:
            board.text(x(at + 0.5), y, short(label), size=11, anchor="middle", fill=svg.SOFT)


def _composition(board: svg.Board, fan: Fan, x: svg.Scale, top: float, tall: float) -> float:
    """Stacked bars of the expected value by what is done, open and new; returns the y below them."""
    colours = dict(_PARTS)
    board.text(4, top, "Where the expected value comes from", size=12, bold=True)
    items = [(colours[name], _PART_WORDS[name]) for name in fan.parts]
    top = board.legend(items, 4, top + 20, 11)
    sums = [sum(part.get(p, 0.0) for part in fan.parts.values()) for p in fan.periods]
    y = _axis(board, fan, sums, x, (top + tall, top + 6), 3)
    for at, period in enumerate(fan.slots):
        level = 0.0
        for name, part in fan.parts.items():
            value = part.get(period, 0.0)
            tip = f"{period} {name}: {show(value, fan.unit)}"
            if value > 0:
                board.rect(
                    x(at + 0.15),
                    y(level + value),
                    x(0.7) - x(0),
                    y(level) - y(level + value),
                    colours[name],
                    tip,
                )
                level += value
    _labels(board, fan.slots, x, top + tall + 16)
    return top + tall + 26


_PART_WORDS = {
    "done": "already done",
    "signed": "signed, yet to be earned",
    "open": "deals open today",
    "new": "deals still to be created",
}
