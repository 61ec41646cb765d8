"""Cash: the closing balance week by week with its floor, and the odds of falling below it."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from quotacast.engine.answer import Answer
from quotacast.engine.reports import svg
from quotacast.engine.reports.fan import short
from quotacast.engine.reports.frame import SMALL, Frame, column, units_of, value
from quotacast.engine.reports.units import plain, show
from quotacast.engine.reports.words import percent

_QUANTILES = ("p10", "p50", "p90")
_BELOW = ("p_below", "p_below_floor")
_CLOSING = ("closing", "balance")


@dataclass(frozen=True)
class Week:
    """One period: its closing balance and the odds that it lies below the floor."""

    label: str
    low: float
    middle: float
    high: float
    below: float | None


@dataclass(frozen=True)
class Cash:
    """Everything in the picture."""

    unit: str
    floor: float | None
    weeks: tuple[Week, ...]


def pick(answer: Answer) -> Cash | None:
    """The closing balance by period; None where no row has its quantiles."""
    frame = _closing(answer.rows)
    if not {"period", *_QUANTILES} <= set(frame.columns) or frame.empty:
        return None
    below = column(answer, _BELOW)
    weeks = []
    for _, row in frame.iterrows():
        low, middle, high = (value(row, q) for q in _QUANTILES)
        if low is not None and middle is not None and high is not None:
            weeks.append(Week(str(row["period"]), low, middle, high, value(row, below)))
    floor = plain(answer.summary.get("floor"))
    unit = units_of(answer, "p50")[0]
    unit = "money" if unit == "score" else unit
    return Cash(unit, None if floor is None else float(floor), tuple(weeks)) if weeks else None


def _closing(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the closing balance by week, where the answer has other lines and months as well."""
    for name in ("line", "component", "metric"):
        if name in rows.columns and rows[name].astype(str).isin(_CLOSING).any():
            rows = rows[rows[name].astype(str).isin(_CLOSING)]
            break
    weekly = "kind" in rows.columns and (rows["kind"] == "week").any()
    return rows[rows["kind"] == "week"] if weekly else rows


def draw(answer: Answer, width: float = 960) -> str | None:
    """The balance as SVG: a fan with the floor as a line, and below it the odds of lying under the floor.

    Parameters
    ----------
    answer : Answer
        Rows with ``period`` (in order), ``p10, p50, p90`` of the closing balance, and optionally ``p_below``
        (odds of lying below the floor), ``line``, of which ``closing`` is taken, and ``kind`` (``week``).
        ``summary["floor"]`` is the floor.
    width : float
        Pixels; under 600 the layout is that of a phone.

    Returns
    -------
    str or None
        None where there is nothing to draw.
    """
    cash = pick(answer)
    if cash is None:
        return None
    small = width < SMALL
    board = svg.Board(width, 0, "Closing balance by period, and the odds of falling below the floor")
    board.text(4, 14, "Closing balance", size=13, bold=True)
    items = [("--" + svg.BLUE, "middle (P50)"), (svg.PALE, "8 in 10 futures (P10–P90)")]
    items += [] if cash.floor is None else [("--" + svg.VERMILLION, f"floor {show(cash.floor, cash.unit)}")]
    top = board.legend(items, 4, 34, 11) + 4
    tall = 190.0 if small else 240.0
    frame = _balance(board, cash, (50 if small else 64, top, width - 10, top + tall))
    _labels(board, frame, cash, top + tall + 16)
    board.height = top + tall + 26
    if any(week.below is not None for week in cash.weeks):
        _below(board, frame.x, cash, top + tall + 46)
    return board.svg()


def _balance(board: svg.Board, cash: Cash, box: tuple[float, float, float, float]) -> Frame:
    left, top, right, bottom = box
    held = [0.0, *(v for w in cash.weeks for v in (w.low, w.high)), *([cash.floor] if cash.floor else [])]
    marks = svg.ticks(min(held), max(held))
    frame = Frame(svg.Scale(0, len(cash.weeks), left, right), svg.Scale(marks[0], marks[-1], bottom, top))
    for mark in marks:
        y = frame.y(mark)
        board.line([(left, y), (right, y)], svg.SOFT if mark == 0 else svg.GRID)
        board.text(left - 6, y + 4, show(mark, cash.unit), size=11, anchor="end", fill=svg.SOFT)
    upper, lower, middle = (
        [frame.at(at + 0.5, getattr(week, key)) for at, week in enumerate(cash.weeks)]
        for key in ("high", "low", "middle")
    )
    board.area(upper, lower, svg.PALE)
    board.line(middle, svg.BLUE, 2.2)
    for (x, y), week in zip(middle, cash.weeks, strict=True):
        said = " – ".join(show(v, cash.unit) for v in (week.low, week.middle, week.high))
        board.dot(x, y, svg.BLUE, f"{week.label}: {said}")
    if cash.floor is not None:
        y = frame.y(cash.floor)
        board.line([(left, y), (right, y)], svg.VERMILLION, 2, "6 4")
    return frame


def _labels(board: svg.Board, frame: Frame, cash: Cash, y: float) -> None:
    """As many names of periods as fit, counted from the first."""
    every = max(1, -(-52 * len(cash.weeks) // max(1, int(frame.x.end - frame.x.start))))
    for at, week in enumerate(cash.weeks):
        if at % every == 0:
            board.text(frame.x(at + 0.5), y, short(week.label), size=11, anchor="middle", fill=svg.SOFT)


def _below(board: svg.Board, x: svg.Scale, cash: Cash, top: float) -> None:
    """Bars of the odds of lying below the floor."""
    tall = 70.0
    board.text(4, top, "Odds of falling below the floor", size=12, bold=True)
    most = max(0.1, *(w.below or 0.0 for w in cash.weeks))
    marks = svg.ticks(0.0, most, 2)
    y = svg.Scale(0.0, marks[-1], top + 12 + tall, top + 12)
    for mark in marks:
        board.line([(x.start, y(mark)), (x.end, y(mark))], svg.SOFT if mark == 0 else svg.GRID)
        board.text(x.start - 6, y(mark) + 4, f"{mark:.0%}", size=11, anchor="end", fill=svg.SOFT)
    for at, week in enumerate(cash.weeks):
        if week.below:
            high = y(0) - y(week.below)
            tip = f"{week.label}: {percent(week.below)}"
            board.rect(x(at + 0.2), y(week.below), x(0.6) - x(0), high, svg.VERMILLION, tip)
    board.height = top + 12 + tall + 10
