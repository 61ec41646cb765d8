"""The frontier: what a cushion between reps' quotas and the company's target buys, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from quotacast.engine.answer import Answer
from quotacast.engine.reports import svg
from quotacast.engine.reports.frame import SMALL, Frame, across, apart, shares, value
from quotacast.engine.reports.units import plain
from quotacast.engine.reports.words import percent

# Column names, what they are called, colour and dashes: apart in grey as well.
_LINES = (
    (("p_company",), "company reaches its target", svg.BLUE, ""),
    (("p_rep", "rep_odds_median"), "a typical rep's odds", svg.VERMILLION, "8 4"),
    (("share_attaining",), "share of reps at quota", svg.GREEN, "2 3"),
    (("p_covered_teams",), "company, teams up to quota only", svg.SKY, "10 3 2 3"),
    (("p_covered_reps",), "company, reps up to quota only", svg.ORANGE, "5 2"),
)
_WISHES = (
    (("wished_company", "company_odds"), svg.BLUE),
    (("wished_rep", "rep_odds"), svg.VERMILLION),
)


@dataclass(frozen=True)
class Line:
    """One line: (cushion, share) by cushion."""

    name: str
    colour: str
    dash: str
    points: tuple[tuple[float, float], ...]


def pick(answer: Answer) -> list[Line]:
    """The lines that the answer has, by cushion."""
    rows = _rows(answer)
    if "cushion" not in rows.columns:
        return []
    lines = []
    for names, said, colour, dash in _LINES:
        chosen = next((n for n in names if n in rows.columns), None)
        pairs = [(value(row, "cushion"), value(row, chosen)) for _, row in rows.iterrows()]
        points = tuple(sorted((x, y) for x, y in pairs if x is not None and y is not None))
        if points:
            lines.append(Line(said, colour, dash, points))
    return lines


def _facts(answer: Answer) -> Mapping[str, Any]:
    """What is wished and chosen: in the summary, or under its key ``cushion``."""
    inner = answer.summary.get("cushion")
    return inner if isinstance(inner, Mapping) else answer.summary


def _rows(answer: Answer) -> pd.DataFrame:
    """The rows, or those that the summary holds where the rows are about something else."""
    told = _facts(answer).get("frontier")
    return answer.rows if told is None else pd.DataFrame(list(told))


def draw(answer: Answer, width: float = 960) -> str | None:
    """The frontier as SVG: the cushion across, shares upwards, a line each.

    Parameters
    ----------
    answer : Answer
        Rows with ``cushion`` (sum of rep quotas ÷ company target − 1), ``p_company`` (odds of the company's
        target), ``p_rep`` or ``rep_odds_median`` (the median rep's odds) and ``share_attaining`` (mean share
        of reps at quota), any of the three. `reconcile` holds them as a list under
        ``summary["cushion"]["frontier"]``. ``summary["cushion"]`` as a number marks the chosen one;
        ``wished_company`` and ``wished_rep`` (``company_odds``, ``rep_odds``) are what is asked for.
    width : float
        Pixels; under 600 the layout is that of a phone.

    Returns
    -------
    str or None
        None where there is nothing to draw.
    """
    lines = pick(answer)
    if not lines:
        return None
    small = width < SMALL
    board = svg.Board(width, 0, "Cushion against odds")
    board.text(4, 14, "Cushion against odds", size=13, bold=True)
    top = board.legend([(f"--{line.colour}", line.name) for line in lines], 4, 34, 11) + 4
    tall = 200.0 if small else 260.0
    cushions = [x for line in lines for x, _ in line.points]
    frame = Frame(
        svg.Scale(min(cushions), max(cushions), 44, width - (52 if small else 190)),
        svg.Scale(0.0, 1.0, top + tall, top),
    )
    shares(board, frame)
    across(board, frame, lambda m: f"{m:.0%}", 4 if small else 8)
    facts = _facts(answer)
    for keys, colour in _WISHES:
        _level(board, frame, next((plain(facts[k]) for k in keys if k in facts), None), colour)
    _chosen(board, frame, plain(facts.get("cushion")))
    for line in lines:
        board.line([frame.at(x, y) for x, y in line.points], line.colour, 2.4, line.dash)
        for x, y in line.points:
            board.dot(*frame.at(x, y), line.colour, f"cushion {x:.0%}, {line.name}: {percent(y)}")
    _ends(board, frame, lines, small)
    said = "cushion: sum of rep quotas over the company's target"
    board.text(4, top + tall + 34, said, size=11, fill=svg.SOFT)
    board.height = top + tall + 40
    return board.svg()


def _level(board: svg.Board, frame: Frame, wished: float | None, colour: str) -> None:
    if wished is not None:
        board.line([(frame.x.start, frame.y(wished)), (frame.x.end, frame.y(wished))], colour, 1, "1 4")


def _chosen(board: svg.Board, frame: Frame, cushion: float | None) -> None:
    if cushion is None or not frame.x.low <= cushion <= frame.x.high:
        return
    x = frame.x(cushion)
    board.line([(x, frame.y.start), (x, frame.y.end)], svg.INK, 1.5, "6 4")
    board.text(x + 4, frame.y.end + 10, f"{cushion:.0%}", size=11, bold=True)


def _ends(board: svg.Board, frame: Frame, lines: list[Line], small: bool) -> None:
    """What each line ends at, beside it."""
    ended = sorted(lines, key=lambda line: -line.points[-1][1])
    levels = apart([frame.y(line.points[-1][1]) + 4 for line in ended], 14)
    for line, level in zip(ended, levels, strict=True):
        share = percent(line.points[-1][1])
        said = share if small else f"{share} {line.name}"
        board.text(frame.x.end + 8, level, said, size=11, fill=line.colour, bold=small)
