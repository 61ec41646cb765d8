"""Axes, and the columns that charts read: what pictures of two axes share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from quotacast.engine.answer import Answer
from quotacast.engine.reports import svg
from quotacast.engine.reports.table import scope_label
from quotacast.engine.reports.units import column_units, plain

SMALL = 600  # pixels under which the layout is that of a phone
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Frame:
    """The two axes of a picture."""

    x: svg.Scale
    y: svg.Scale

    def at(self, x: float, y: float) -> svg.Point:
        """Pixels of a point."""
        return self.x(x), self.y(y)


def shares(
    board: svg.Board, frame: Frame, size: float = 11, marks: Sequence[float] = SHARES, labels: bool = True
) -> None:
    """Grid lines of a vertical axis of shares, 0 % to 100 %."""
    for mark in marks:
        y = frame.y(mark)
        board.line([(frame.x.start, y), (frame.x.end, y)], svg.SOFT if mark == 0 else svg.GRID)
        if labels:
            board.text(frame.x.start - 6, y + 4, f"{mark:.0%}", size=size, anchor="end", fill=svg.SOFT)


def across(
    board: svg.Board,
    frame: Frame,
    said: Callable[[float], str],
    count: int = 5,
    size: float = 11,
    grid: bool = False,
) -> None:
    """Round numbers under a horizontal axis, at most as many as do not touch each other."""
    marks = [m for m in svg.ticks(frame.x.low, frame.x.high, count) if frame.x.low <= m <= frame.x.high]
    bottom, right = frame.y.start, -1e9
    for mark in marks:
        x, text = frame.x(mark), said(mark)
        half = svg.text_width(text, size) / 2
        if x - half < right + 4:
            continue
        right = x + half
        board.line([(x, bottom), (x, frame.y.end if grid else bottom + 4)], svg.GRID if grid else svg.SOFT)
        board.text(x, bottom + 5 + size, text, size=size, anchor="middle", fill=svg.SOFT)


def apart(levels: Sequence[float], least: float) -> list[float]:
    """Levels moved down just so far that no two, in their order, are nearer than ``least``."""
    moved: list[float] = []
    for level in levels:
        moved.append(max(level, moved[-1] + least) if moved else level)
    return moved


def column(answer: Answer, names: Sequence[str]) -> str | None:
    """The first of these columns that the answer has."""
    return next((n for n in names if n in answer.rows.columns), None)


def units_of(answer: Answer, name: str) -> list[str]:
    """Unit of every row's value in a column."""
    return column_units(answer, next(f for f in answer.fields if f.name == name))


def whose(row: pd.Series) -> str:
    """The scope of a row as it is written, empty where it has none."""
    if "scope" not in row.index:
        return ""
    return scope_label(str(row["scope"]), str(row.get("scope_id", ""))).strip(":")


def value(row: pd.Series, name: str | None) -> float | None:
    """A finite number of a row, or None."""
    found = None if name is None else plain(row[name])
    return None if found is None else float(found)
