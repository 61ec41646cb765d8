"""The odds curve: how likely each target is, with today's quota and the range of the forecast on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from quotacast.engine.answer import Answer
from quotacast.engine.reports import svg
from quotacast.engine.reports.frame import SMALL, Frame, across, shares, units_of, value, whose
from quotacast.engine.reports.units import missing, show
from quotacast.engine.reports.words import percent

QUOTA = "quota"
_MOST = 60  # panels; the table holds the rest


@dataclass(frozen=True)
class Curve:
    """One curve.

    Attributes
    ----------
    label : str
        Scope, metric and period.
    unit : str
    points : tuple of (target, probability)
        By target.
    marks : tuple of (name, target, probability)
        ``quota`` and quantiles (``P50``) on the curve.
    """

    label: str
    unit: str
    points: tuple[tuple[float, float], ...]
    marks: tuple[tuple[str, float, float], ...]

    @property
    def falls(self) -> bool:
        """Whether higher targets are less likely: they are, unless lower is better."""
        return self.points[0][1] >= self.points[-1][1]


def pick(answer: Answer) -> list[Curve]:
    """A curve per scope, metric and period, in the order of the rows."""
    if not {"target", "probability"} <= set(answer.rows.columns):
        return []
    units = units_of(answer, "target")
    found: dict[tuple[str, ...], tuple[str, list[tuple[str, float, float]]]] = {}
    for at, (_, row) in enumerate(answer.rows.iterrows()):
        target, odds = value(row, "target"), value(row, "probability")
        if target is None or odds is None:
            continue
        names = [str(row[c]) for c in ("metric", "period") if c in row.index]
        mark = "" if "mark" not in row.index or missing(row["mark"]) else str(row["mark"])
        found.setdefault((whose(row), *names), (units[at], []))[1].append((mark, target, odds))
    return [
        Curve(
            " · ".join(part for part in key if part),
            unit,
            tuple(sorted((t, p) for mark, t, p in rows if not mark)),
            tuple(row for row in rows if row[0]),
        )
        for key, (unit, rows) in found.items()
        if any(not mark for mark, _, _ in rows)
    ]


def draw(answer: Answer, width: float = 960) -> str | None:
    """The curve as SVG: targets across, the probability of reaching them upwards; many as small panels.

    Parameters
    ----------
    answer : Answer
        Rows with ``target`` and ``probability`` (share of the futures that reach the target), and optionally
        ``scope, scope_id, metric, period`` (a curve each) and ``mark``: empty for a point of the curve,
        ``quota`` for the quota as it is, else the name of a point, such as ``P50``.
    width : float
        Pixels; under 600 the layout is that of a phone.

    Returns
    -------
    str or None
        None where there is nothing to draw.
    """
    curves = pick(answer)
    if not curves:
        return None
    if len(curves) == 1:
        return _one(curves[0], width)
    return _many(curves, width)


def _frame(curve: Curve, box: tuple[float, float, float, float]) -> Frame:
    """Axes that hold the curve and its marks; the box is left, top, right, bottom."""
    left, top, right, bottom = box
    targets = [t for t, _ in curve.points] + [t for _, t, _ in curve.marks]
    room = 0.02 * (max(targets) - min(targets)) or 1.0
    low = max(min(targets) - room, 0.0) if min(targets) >= 0 else min(targets) - room
    return Frame(svg.Scale(low, max(targets) + room, left, right), svg.Scale(0.0, 1.0, bottom, top))


def _one(curve: Curve, width: float) -> str:
    small = width < SMALL
    board = svg.Board(width, 0, f"Odds of every target: {curve.label}")
    board.text(4, 14, svg.fit(curve.label, width - 8, 13), size=13, bold=True)
    top, tall = 46.0, 200.0 if small else 260.0
    frame = _frame(curve, (44, top, width - (12 if small else 92), top + tall))
    shares(board, frame)
    across(board, frame, lambda m: show(m, curve.unit), 4 if small else 8)
    _line(board, frame, curve, 2.4)
    _marks(board, frame, curve, 11 if small else 12)
    board.text((frame.x.start + frame.x.end) / 2, top + tall + 34, "target", anchor="middle", fill=svg.SOFT)
    board.text(4, top - 12, "chance to reach it", size=11, fill=svg.SOFT)
    board.height = top + tall + 40
    return board.svg()


def _line(board: svg.Board, frame: Frame, curve: Curve, thick: float) -> None:
    board.line([frame.at(t, p) for t, p in curve.points], svg.BLUE, thick)


def _marks(board: svg.Board, frame: Frame, curve: Curve, size: float) -> None:
    """The quota with lines to both axes, and the other points; names it would cover give way."""
    marks = sorted(curve.marks, key=lambda m: (m[0] != QUOTA, -m[2]))
    for _, target, odds in [m for m in marks if m[0] == QUOTA]:
        _quota_lines(board, frame, target, odds)
    taken: list[float] = []
    for name, target, odds in marks:
        quota = name == QUOTA
        called = "target" if quota and curve.label.startswith("company") else name
        said = f"{called} {show(target, curve.unit)}"
        tip = f"{said}: {percent(odds)}"
        x, y = frame.at(target, odds)
        board.dot(x, y, svg.VERMILLION if quota else svg.BLUE, tip)
        if any(abs(y - other) < size + 5 for other in taken):
            continue
        taken.append(y)
        text = tip if quota else said
        left, anchor, up = _place(board, curve, x, text, size)
        board.text(left, y - 4 - up, text, size=size, anchor=anchor, bold=quota)


def _place(board: svg.Board, curve: Curve, x: float, text: str, size: float) -> tuple[float, str, float]:
    """Where a text stands: on the empty side of the curve, else above the line at the picture's edge."""
    takes = svg.text_width(text, size) + 10
    if curve.falls:
        return (x + 8, "start", 0.0) if x + takes < board.width else (board.width - 4, "end", 2 * size)
    return (x - 8, "end", 0.0) if x - takes > 0 else (x + 8, "start", -2 * size)


def _quota_lines(board: svg.Board, frame: Frame, target: float, odds: float) -> None:
    x, y = frame.at(target, odds)
    board.line([(x, frame.y.start), (x, y)], svg.VERMILLION, 1.5, "6 4")
    board.line([(frame.x.start, y), (x, y)], svg.VERMILLION, 1, "2 3")


def _many(curves: Sequence[Curve], width: float) -> str:
    """Small panels with their quota, each with an axis of its own."""
    across_count, high = (2, 128.0) if width < SMALL else (4, 150.0)
    wide = width / across_count
    shown = curves[:_MOST]
    common = _common(shown)
    title = " · ".join(["Odds of every target", *common])
    board = svg.Board(width, 0, title)
    board.text(4, 14, svg.fit(title, width - 8, 13), size=13, bold=True)
    items = [("--" + svg.BLUE, "chance to reach a target"), ("--" + svg.VERMILLION, "the quota")]
    top = board.legend(items, 4, 34, 11)
    for at, curve in enumerate(shown):
        _panel(
            board, curve, common, ((at % across_count) * wide, top + (at // across_count) * high), wide, high
        )
    board.height = top + -(-len(shown) // across_count) * high + (18 if len(curves) > _MOST else 0)
    if len(curves) > _MOST:
        left = f"and {len(curves) - _MOST:,} more in the table"
        board.text(4, board.height - 4, left, size=11, fill=svg.SOFT)
    return board.svg()


def _common(curves: Sequence[Curve]) -> list[str]:
    """Parts of the labels that all curves share."""
    parts = [c.label.split(" · ") for c in curves]
    return [p for p in parts[0] if all(p in other for other in parts)]


def _panel(
    board: svg.Board,
    curve: Curve,
    common: Sequence[str],
    corner: tuple[float, float],
    wide: float,
    high: float,
) -> None:
    left, top = corner
    frame = _frame(curve, (left + 40, top + 24, left + wide - 14, top + high - 30))
    quota = next((m for m in curve.marks if m[0] == QUOTA), None)
    label = " · ".join(p for p in curve.label.split(" · ") if p not in common)
    odds = "" if quota is None else percent(quota[2])
    board.text(left + 4, top + 14, svg.fit(label, wide - 56, 11.5), size=11.5, bold=True)
    board.text(left + wide - 14, top + 14, odds, size=11.5, anchor="end", bold=True)
    shares(board, frame, 9.5, (0.0, 0.5, 1.0))
    across(board, frame, lambda m: show(m, curve.unit), 3, 9.5)
    _line(board, frame, curve, 1.8)
    if quota is not None:
        _quota_lines(board, frame, quota[1], quota[2])
        tip = f"{label}: {percent(quota[2])} for {show(quota[1], curve.unit)}"
        board.dot(*frame.at(quota[1], quota[2]), svg.VERMILLION, tip)
