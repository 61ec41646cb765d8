"""The difference: what each scenario changes against the base, with its interval, metric by metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quotacast.engine.answer import Answer
from quotacast.engine.reports import svg
from quotacast.engine.reports.frame import SMALL, Frame, across, column, units_of, value, whose
from quotacast.engine.reports.units import missing, show

if TYPE_CHECKING:
    import pandas as pd

_POINT, _LOW, _HIGH = ("diff", "difference"), ("low", "p10"), ("high", "p90")
_STEP, _MOST = 24.0, 60


@dataclass(frozen=True)
class Gap:
    """One row: the difference and its 80 % interval."""

    label: str
    value: float
    low: float | None
    high: float | None

    @property
    def clear(self) -> bool:
        """Whether the interval leaves zero out (a point without one: whether it is not zero)."""
        low, high = (self.value if end is None else end for end in (self.low, self.high))
        return low > 0 or high < 0


@dataclass(frozen=True)
class Panel:
    """All rows of one metric, which share an axis."""

    name: str
    unit: str
    gaps: tuple[Gap, ...]


def pick(answer: Answer) -> list[Panel]:
    """A panel per metric, its rows named by scenario, scope and period where these vary."""
    point, low, high = (column(answer, names) for names in (_POINT, _LOW, _HIGH))
    if point is None or answer.rows.empty:
        return []
    units, vary, plain_rows = units_of(answer, point), _varying(answer), _without_quotas(answer)
    found: dict[tuple[str, str], list[Gap]] = {}
    for at, (_, row) in enumerate(answer.rows.iterrows()):
        middle = value(row, point)
        if middle is None or not plain_rows[at]:
            continue
        metric = str(row["metric"]).replace("_", " ") if "metric" in row.index else point
        parts = [whose(row) if c == "scope" else str(row[c]) for c in vary if not missing(row[c])]
        label = " · ".join(p for p in parts if p) or _alone(row, at)
        found.setdefault((metric, units[at]), []).append(
            Gap(label, middle, value(row, low), value(row, high))
        )
    return [Panel(name, unit, tuple(gaps[:_MOST])) for (name, unit), gaps in found.items()]


def _alone(row: pd.Series[Any], at: int) -> str:
    """What a row is called where nothing tells it from others."""
    return whose(row) if "scope" in row.index else f"row {at + 1}"


def _title(answer: Answer) -> str:
    rows = answer.rows
    if "scenario" in rows.columns and rows["scenario"].nunique() == 1:
        return f"Difference of {rows['scenario'].iloc[0]} against {answer.summary.get('against', 'the base')}"
    return "Difference against the base"


def _without_quotas(answer: Answer) -> list[bool]:
    """Which rows are drawn: where some have no set, those; what differs by quota is not the metric."""
    if "set" not in answer.rows.columns:
        return [True] * len(answer.rows)
    empty = [missing(s) or not str(s) for s in answer.rows["set"]]
    return empty if any(empty) else [True] * len(empty)


def _varying(answer: Answer) -> list[str]:
    """Columns that tell rows apart; a scenario alone stands in the title."""
    rows = answer.rows
    kept = ["scenario"] if "scenario" in rows.columns and rows["scenario"].nunique() > 1 else []
    if "scope" in rows.columns and len({whose(row) for _, row in rows.iterrows()}) > 1:
        kept.append("scope")
    return kept + [c for c in ("period", "set") if c in rows.columns and rows[c].astype(str).nunique() > 1]


def draw(answer: Answer, width: float = 960) -> str | None:
    """The differences as SVG: a dot with its interval per row, zero as a line, an axis per metric.

    Parameters
    ----------
    answer : Answer
        Rows with ``diff`` (or ``difference``) against the base, in unit ``metric`` or their own, and
        optionally ``low, high`` (or ``p10, p90``), ``scenario, metric, scope, scope_id, period, set``.
    width : float
        Pixels; under 600 the layout is that of a phone.

    Returns
    -------
    str or None
        None where there is nothing to draw.
    """
    panels = pick(answer)
    if not panels:
        return None
    small = width < SMALL
    title = _title(answer)
    board = svg.Board(width, 0, title)
    board.text(4, 14, svg.fit(title, width - 8, 13), size=13, bold=True)
    items = [(svg.BLUE, "clear (8 in 10 on one side of zero)"), (svg.PAST, "may be nothing")]
    top = board.legend(items, 4, 34, 11)
    for panel in panels:
        top = _panel(board, panel, top, small)
    board.height = top
    return board.svg()


def _panel(board: svg.Board, panel: Panel, top: float, small: bool) -> float:
    """Draw one metric; returns the y below it."""
    left, right = (112.0, board.width - 74) if small else (260.0, board.width - 180)
    bottom = top + 20 + _STEP * len(panel.gaps)
    frame = Frame(_scale(panel.gaps, left, right), svg.Scale(0.0, 1.0, bottom, top + 20))
    board.text(4, top + 14, svg.fit(panel.name, board.width - 8, 12), size=12, bold=True)
    across(board, frame, lambda m: show(m, panel.unit), 3 if small else 6, 10.5, grid=True)
    board.line([(frame.x(0), top + 20), (frame.x(0), bottom)], svg.INK, 1.5)
    for at, gap in enumerate(panel.gaps):
        _gap(board, frame, panel.unit, gap, top + 20 + _STEP * at, small)
    return bottom + 30


def _scale(gaps: Sequence[Gap], left: float, right: float) -> svg.Scale:
    held = [0.0, *(v for g in gaps for v in (g.value, g.low, g.high) if v is not None)]
    room = 0.04 * (max(held) - min(held)) or 1.0
    return svg.Scale(min(held) - room, max(held) + room, left, right)


def _gap(board: svg.Board, frame: Frame, unit: str, gap: Gap, y: float, small: bool) -> None:
    size = 11.5 if small else 12.5
    board.text(4, y + 16, svg.fit(gap.label, frame.x.start - 12, size), size=size)
    colour = svg.BLUE if gap.clear else svg.PAST
    said = _signed(gap.value, unit)
    span = ""
    if gap.low is not None and gap.high is not None:
        board.line([(frame.x(gap.low), y + 12), (frame.x(gap.high), y + 12)], colour, 3)
        span = f" ({_signed(gap.low, unit)} to {_signed(gap.high, unit)})"
    board.dot(frame.x(gap.value), y + 12, svg.INK, f"{gap.label}: {said}{span}")
    if small:
        board.text(board.width - 4, y + 16, said, size=size, anchor="end", bold=gap.clear)
        return
    board.text(frame.x.end + 12, y + 16, said, size=size, bold=gap.clear)
    room = board.width - frame.x.end - 80
    board.text(
        board.width - 4, y + 16, svg.fit(span.strip(" ()"), room, 11), size=11, anchor="end", fill=svg.SOFT
    )


def _signed(amount: float, unit: str) -> str:
    return ("+" if amount > 0 else "") + show(amount, unit)
