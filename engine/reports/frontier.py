"""The frontier: what a cushion does to the odds of the median rep, and what of the company it covers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from quotacast.engine.answer import Answer
from quotacast.engine.reports import svg
from quotacast.engine.reports.words import percent

#: What is drawn: key of a row, name, colour.
LINES = (
    ("rep_odds_median", "odds of the median rep", svg.ORANGE),
    ("p_company", "odds of the company's target", svg.BLUE),
    ("p_covered_teams", "the same, teams counting up to quota only", svg.SKY),
    ("p_covered_reps", "the same, reps counting up to quota only", svg.GREEN),
)


def draw(answer: Answer, width: float = 960) -> str | None:
    """The lines of :data:`LINES` over the cushion, and the wished odds as dashes.

    Parameters
    ----------
    answer : Answer
        With ``summary["cushion"]``: ``frontier`` (rows with ``cushion`` and the keys of the lines),
        ``company_odds`` and ``rep_odds``.

    Returns
    -------
    str or None
        None where there is nothing to draw.
    """
    facts: Mapping[str, Any] = answer.summary.get("cushion") or {}
    rows: Sequence[Mapping[str, float]] = facts.get("frontier") or []
    if len(rows) < 2:
        return None
    board = svg.Board(width, 380 if width >= 600 else 420, "Cushion and odds")
    board.text(4, 14, "Cushion (rep quotas over the target) and odds", size=13, bold=True)
    top = board.legend([(f"--{colour}", name) for _, name, colour in LINES], 4, 34, 11) + 8
    x = svg.Scale(rows[0]["cushion"], rows[-1]["cushion"], 46, width - 24)
    y = svg.Scale(0.0, 1.0, board.height - 36, top)
    _grid(board, x, y, rows)
    for key, name in (("company_odds", "wished, company"), ("rep_odds", "wished, median rep")):
        wished = float(facts[key])
        board.line([(x.start, y(wished)), (x.end, y(wished))], svg.SOFT, 1.0, "5 4")
        board.text(x.end, y(wished) - 4, f"{name} {percent(wished)}", size=11, anchor="end", fill=svg.SOFT)
    for key, name, colour in LINES:
        board.line([(x(row["cushion"]), y(row[key])) for row in rows], colour, 2.0)
        for row in rows:
            tip = f"cushion {row['cushion']:.0%}: {name} {percent(row[key])}"
            board.dot(x(row["cushion"]), y(row[key]), colour, tip)
    return board.svg()


def _grid(board: svg.Board, x: svg.Scale, y: svg.Scale, rows: Sequence[Mapping[str, float]]) -> None:
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        board.line([(x.start, y(share)), (x.end, y(share))], svg.SOFT if share == 0 else svg.GRID)
        board.text(x.start - 6, y(share) + 4, f"{share:.0%}", size=11, anchor="end", fill=svg.SOFT)
    for row in rows:
        at = x(row["cushion"])
        board.text(at, board.height - 16, f"{row['cushion']:.0%}", size=11, anchor="middle", fill=svg.SOFT)
