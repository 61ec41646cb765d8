"""Plain bars: one value per row, with its range where the answer has one."""

from __future__ import annotations

from dataclasses import dataclass

from quotacast.engine.answer import Answer
from quotacast.engine.reports import svg
from quotacast.engine.reports.table import columns, split_constant
from quotacast.engine.reports.units import column_units, plain, show, unit

_VALUES = ("value", "p50", "mean", "p_attain", "count")
_MOST = 60  # bars; the table holds the rest


@dataclass(frozen=True)
class Bar:
    """One row as it is drawn."""

    label: str
    value: float
    shown: str
    low: float | None
    high: float | None


def pick(answer: Answer) -> tuple[str, list[Bar]]:
    """The name of the value, and a bar per row: the texts that vary are the label.

    The value is the first of the columns value, p50, mean, p_attain, count that there is, else the first
    number. Rows without a value are left to the table.
    """
    numeric = [f for f in answer.fields if f.unit == "metric" or unit(f.unit).numeric]
    if not numeric or answer.rows.empty:
        return "", []
    named = {f.name: f for f in numeric}
    field = named[next((n for n in _VALUES if n in named), numeric[0].name)]
    units = column_units(answer, field)
    texts = [c for c in split_constant(columns(answer), len(answer.rows))[0] if not c.numeric]
    ranged = {"p10", "p90"} <= named.keys() and field.name in {"p50", "mean", "value"}
    bars = []
    for at, value in enumerate(answer.rows[field.name]):
        if plain(value) is None:
            continue
        label = " · ".join(c.cells[at] for c in texts[:3]) or f"row {at + 1}"
        ends = [answer.rows[q].iloc[at] if ranged else None for q in ("p10", "p90")]
        low, high = map(plain, ends)
        bars.append(Bar(label, float(value), show(value, units[at]), low, high))
    return field.name.replace("_", " ") + (", with the range P10 – P90" if ranged else ""), bars


def draw(answer: Answer, width: float = 960) -> str | None:
    """The bars as SVG, from zero, negative ones to the left; the range P10–P90 as a thin line.

    Returns None where there is nothing to draw.
    """
    name, bars = pick(answer)
    if not bars:
        return None
    more, bars = len(bars) - _MOST, bars[:_MOST]
    small = width < 600
    left, right, step = (128.0, width - 62, 24.0) if small else (260.0, width - 90, 24.0)
    ends = [v for b in bars for v in (b.value, b.low, b.high) if v is not None]
    x = svg.Scale(min(0.0, *ends), max(0.0, *ends), left, right)
    board = svg.Board(width, 26 + step * len(bars) + (20 if more > 0 else 4), name)
    board.text(4, 14, name, size=12, bold=True)
    for at, bar in enumerate(bars):
        _row(board, x, bar, 24 + at * step, small)
    board.line([(x(0), 22), (x(0), 26 + step * len(bars))], svg.SOFT)
    if more > 0:
        board.text(4, board.height - 6, f"and {more:,} more in the table", size=11, fill=svg.SOFT)
    return board.svg()


def _row(board: svg.Board, x: svg.Scale, bar: Bar, y: float, small: bool) -> None:
    size = 11.5 if small else 12.5
    board.text(4, y + 13, svg.fit(bar.label, x.start - 12, size), size=size)
    start, end = sorted((x(0), x(bar.value)))
    board.rect(start, y + 3, max(end - start, 1.5), 14, svg.SKY if bar.value >= 0 else svg.ORANGE, bar.shown)
    if bar.low is not None and bar.high is not None:
        board.line([(x(bar.low), y + 10), (x(bar.high), y + 10)], svg.INK, 1.5)
    furthest = max(x(v) for v in (0.0, bar.value, bar.high) if v is not None)
    board.text(furthest + 5, y + 14, bar.shown, size=11.5)
