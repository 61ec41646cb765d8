"""The waterfall: from what is likely now to the target, lever by lever."""

from __future__ import annotations

from dataclasses import dataclass

from quotacast.engine.answer import Answer
from quotacast.engine.reports import svg
from quotacast.engine.reports.frame import SMALL, Frame, across, column, units_of, value
from quotacast.engine.reports.units import plain, show

_EFFECT, _LOW, _HIGH = ("effect", "p50_part"), ("low", "part_p10"), ("high", "part_p90")
_STEP = 26.0


@dataclass(frozen=True)
class Step:
    """One lever: where it starts, what it adds, and the range of what it adds."""

    label: str
    start: float
    effect: float
    low: float | None
    high: float | None

    @property
    def end(self) -> float:
        """Where the next lever starts."""
        return self.start + self.effect


@dataclass(frozen=True)
class Fall:
    """Everything in the picture.

    Attributes
    ----------
    start : float
        What is likely now (P50).
    target : float or None
    unit : str
    steps : tuple of Step
    """

    start: float
    target: float | None
    unit: str
    steps: tuple[Step, ...]

    @property
    def end(self) -> float:
        """What is likely with all levers."""
        return self.steps[-1].end


def pick(answer: Answer) -> Fall | None:
    """The levers in the order of the rows, each from where the one before ended; None without any."""
    effect_of, low, high = (column(answer, names) for names in (_EFFECT, _LOW, _HIGH))
    if effect_of is None or "lever" not in answer.rows.columns or answer.rows.empty:
        return None
    units = units_of(answer, effect_of)
    level = start = float(plain(answer.summary.get("start", answer.summary.get("p50_now"))) or 0.0)
    steps = []
    for _, row in answer.rows.iterrows():
        effect = value(row, effect_of)
        if effect is None:
            continue
        steps.append(Step(str(row["lever"]), level, effect, value(row, low), value(row, high)))
        level += effect
    target = plain(answer.summary.get("target"))
    return Fall(start, None if target is None else float(target), units[0], tuple(steps)) if steps else None


def draw(answer: Answer, width: float = 960) -> str | None:
    """The waterfall as SVG, a row per lever, with the range of each effect as a thin line.

    Totals are lines and not bars, as the axis need not begin at zero.

    Parameters
    ----------
    answer : Answer
        Rows with ``lever`` and ``effect`` (its part of the way from now; the parts add up to the whole), and
        optionally ``low, high`` (its range in 80 % of the futures); `levers` calls them ``p50_part``,
        ``part_p10`` and ``part_p90``. ``summary["start"]`` (or ``p50_now``) is the middle as things
        stand, ``summary["target"]`` what is to be reached.
    width : float
        Pixels; under 600 the layout is that of a phone.

    Returns
    -------
    str or None
        None where there is nothing to draw.
    """
    fall = pick(answer)
    if fall is None:
        return None
    small = width < SMALL
    left, right = (116.0, width - 60) if small else (240.0, width - 120)
    title = "From what is likely now to the target, by lever"
    board = svg.Board(width, 0, title)
    board.text(4, 14, title, size=13, bold=True)
    items = [(svg.SKY, "adds"), (svg.ORANGE, "takes away"), ("--" + svg.INK, "its part in 8 of 10 futures")]
    top = board.legend(items, 4, 34, 11) + 6
    bottom = top + _STEP * (len(fall.steps) + 2)
    frame = Frame(_scale(fall, left, right), svg.Scale(0.0, 1.0, bottom, top))
    across(board, frame, lambda m: show(m, fall.unit), 3 if small else 6, grid=True)
    _target(board, frame, fall, top, bottom)
    _total(board, frame, fall, top, ("now (P50)", fall.start), small)
    for at, step in enumerate(fall.steps):
        _step(board, frame, fall, step, top + _STEP * (at + 1), small)
    last = top + _STEP * (len(fall.steps) + 1)
    _total(board, frame, fall, last, ("with all levers", fall.end), small)
    board.height = bottom + 40
    return board.svg()


def _scale(fall: Fall, left: float, right: float) -> svg.Scale:
    held = [fall.start, fall.end, *(s.end for s in fall.steps)]
    held += [s.start + e for s in fall.steps for e in (s.low, s.high) if e is not None]
    held += [] if fall.target is None else [fall.target]
    room = 0.04 * (max(held) - min(held)) or 1.0
    return svg.Scale(min(held) - room, max(held) + room, left, right)


def _size(small: bool) -> float:
    return 11.5 if small else 12.5


def _total(
    board: svg.Board, frame: Frame, fall: Fall, y: float, named: tuple[str, float], small: bool
) -> None:
    name, level = named
    x = frame.x(level)
    board.text(4, y + 17, svg.fit(name, frame.x.start - 12, _size(small)), size=_size(small), bold=True)
    board.line([(x, y + 3), (x, y + 23)], svg.INK, 3)
    said = show(level, fall.unit)
    wide = svg.text_width(said, 12) + 4
    over = x + 8 + wide > board.width
    board.rect(x - 6 - wide if over else x + 6, y + 6, wide, 15, svg.PAPER)  # over the target's line
    board.text(x + (-8 if over else 8), y + 17, said, anchor="end" if over else "start", bold=True)


def _step(board: svg.Board, frame: Frame, fall: Fall, step: Step, y: float, small: bool) -> None:
    board.text(4, y + 17, svg.fit(step.label, frame.x.start - 12, _size(small)), size=_size(small))
    start, end = sorted((frame.x(step.start), frame.x(step.end)))
    said = ("+" if step.effect > 0 else "") + show(step.effect, fall.unit)
    tip = f"{step.label}: {said}"
    board.line([(frame.x(step.start), y - 3), (frame.x(step.start), y + 6)], svg.SOFT)
    board.rect(start, y + 6, max(end - start, 1.5), 14, svg.SKY if step.effect >= 0 else svg.ORANGE, tip)
    right = end
    if step.low is not None and step.high is not None:
        low, high = frame.x(step.start + step.low), frame.x(step.start + step.high)
        board.line([(low, y + 13), (high, y + 13)], svg.INK, 1.5)
        right = max(right, low, high)
    over = right + 6 + svg.text_width(said, 11.5) > board.width
    at = min(start, right) - 6 if over else right + 6
    board.text(at, y + 17, said, size=11.5, anchor="end" if over else "start")


def _target(board: svg.Board, frame: Frame, fall: Fall, top: float, bottom: float) -> None:
    """The target as a dashed line; its amount stands below the axis' own."""
    if fall.target is None:
        return
    x = frame.x(fall.target)
    board.line([(x, top), (x, bottom)], svg.VERMILLION, 2, "6 4")
    said = f"target {show(fall.target, fall.unit)}"
    half = svg.text_width(said, 12) / 2 + 4
    board.text(min(max(x, half), board.width - half), bottom + 34, said, anchor="middle", bold=True)
