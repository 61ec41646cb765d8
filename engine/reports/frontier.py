"""The frontier: what a cushion between reps' quotas and the company's target buys, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass

from quotacast.engine.answer import Answer
from quotacast.engine.reports import svg
from quotacast.engine.reports.frame import SMALL, Frame, across, apart, shares
from quotacast.engine.reports.words import percent

# Column names, what they are called, colour and dashes: apart in grey as well.
_LINES = (
    ("p_company", "company reaches its target", svg.BLUE, ""),
    ("rep_odds_median", "the median rep's odds", svg.VERMILLION, "8 4"),
    ("share_attaining", "share of reps at quota", svg.GREEN, "2 3"),
    ("p_covered_teams", "company, teams up to quota only", svg.SKY, "10 3 2 3"),
    ("p_covered_reps", "company, reps up to quota only", svg.ORANGE, "5 2"),
)
_WISHES = (("company_odds", svg.BLUE), ("rep_odds", svg.VERMILLION))


@dataclass(frozen=True)
class Line:
    """One line: (cushion, share) by cushion."""

    name: str
    colour: str
    dash: str
    points: tuple[tuple[float, float], ...]


def pick(answer: Answer) -> list[Line]:
    """The lines that the answer has, by cushion."""
    rows = (answer.summary.get("cushion") or {}).get("frontier") or []
    lines = []
    for name, said, colour, dash in _LINES:
        points = tuple(sorted((row["cushion"], row[name]) for row in rows if row.get(name) is not None))
        if len(points) > 1:
            lines.append(Line(said, colour, dash, points))
    return lines


def draw(answer: Answer, width: float = 960) -> str | None:
    """The frontier as SVG: the cushion across, shares upwards, a line each.

    Parameters
    ----------
    answer : Answer
        With ``summary["cushion"]`` as of :func:`quotacast.engine.answers.cushion.cushion_facts`:
        ``frontier`` (rows with ``cushion`` and any of the lines), ``company_odds`` and ``rep_odds`` (wished)
        and ``room``, the largest cushion that leaves the median rep the wished odds.
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
    facts = answer.summary["cushion"]
    for key, colour in _WISHES:
        _level(board, frame, facts.get(key), colour)
    _chosen(board, frame, facts.get("room"))
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
