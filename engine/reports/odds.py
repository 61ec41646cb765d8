"""The odds: how likely each quota is to be met, the company first, then teams with their reps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from quotacast.engine.answer import Answer
from quotacast.engine.reports import svg
from quotacast.engine.reports.units import column_units, missing, show
from quotacast.engine.reports.words import NOT_MEANINGFUL, percent

# From which odds up a bar has which colour: dark, light and warm stay apart without colour vision.
BANDS = ((0.6, svg.BLUE, "60% and more"), (0.3, svg.SKY, "30% to 60%"), (0.0, svg.ORANGE, "under 30%"))
_ORDER = {"company": 0, "team": 1, "rep": 2}


@dataclass(frozen=True)
class Bar:
    """One quota as it is drawn."""

    scope: str
    key: str
    label: str
    odds: float | None
    target: str
    middle: str
    attainment: str


def pick(answer: Answer) -> tuple[str, list[Bar]]:
    """What is drawn (metric, period, set) and its bars in order.

    Of several metrics, periods and sets those of the first company row are taken, else of the first row.
    Reps stand under their team where the rows have a column ``team`` or ``summary["teams"]`` maps rep to
    team; ``summary["names"]`` maps ids to names. Within a team the best odds come first.
    """
    frame = answer.rows
    if not {"scope", "scope_id", "p_attain"} <= set(frame.columns) or frame.empty:
        return "", []
    units = {f.name: column_units(answer, f) for f in answer.fields}
    company = frame["scope"].astype(str) == "company"
    at = int(company.to_numpy().argmax())  # the first row where there is no company
    keys = [c for c in ("metric", "period", "set") if c in frame.columns]
    same = [all(str(row[k]) == str(frame.iloc[at][k]) for k in keys) for _, row in frame.iterrows()]
    bars = [
        (_bar(row, answer, {n: u[i] for n, u in units.items()}), _team(row, answer.summary))
        for i, (_, row) in enumerate(frame.iterrows())
        if same[i]
    ]
    title = " · ".join(str(frame.iloc[at][k]) for k in keys if not missing(frame.iloc[at][k]))
    return title, _grouped(bars)


def _team(row: pd.Series[Any], summary: Mapping[str, Any]) -> str:
    if "team" in row.index and not missing(row["team"]):
        return str(row["team"])
    return str((summary.get("teams") or {}).get(_bare(row), ""))


def _bare(row: pd.Series[Any]) -> str:
    return str(row["scope_id"]).removeprefix(f"{row['scope']}:")


def _bar(row: pd.Series[Any], answer: Answer, units: Mapping[str, str]) -> Bar:
    key = _bare(row)
    name = str((answer.summary.get("names") or {}).get(key, ""))
    label = "Company" if row["scope"] == "company" else f"{key} {name}".strip()
    odds = row["p_attain"]
    defined = row.get("p_defined", 1.0)
    meaningful = not missing(odds) and (missing(defined) or defined >= 0.5)
    cells = [show(row[c], units[c]) if c in units else "–" for c in ("target", "p50", "attainment_p50")]
    return Bar(str(row["scope"]), key, label, float(odds) if meaningful else None, *cells)


def _grouped(bars: list[tuple[Bar, str]]) -> list[Bar]:
    """Company, then every team with its reps, then reps of no listed team."""
    teams = [bar.key for bar, _ in bars if bar.scope == "team"]

    def place(item: tuple[Bar, str]) -> tuple[Any, ...]:
        bar, team = item
        own = bar.key if bar.scope == "team" else team
        group = -1 if bar.scope == "company" else teams.index(own) if own in teams else len(teams)
        odds = -1.0 if bar.odds is None else bar.odds
        return group, _ORDER.get(bar.scope, 3), -odds, bar.key

    return [bar for bar, _ in sorted(bars, key=place)]


def draw(answer: Answer, width: float = 960) -> str | None:
    """The odds as SVG: one horizontal bar per quota, with its target and the middle of the futures.

    Parameters
    ----------
    answer : Answer
        Rows with ``scope, scope_id, p_attain`` and optionally ``metric, period, set, target, p50, p_defined,
        attainment_p50, team``.
    width : float
        Pixels; under 600 target and middle stand below the name.

    Returns
    -------
    str or None
        None where there is nothing to draw.
    """
    title, bars = pick(answer)
    if not bars:
        return None
    small = width < 600
    board = svg.Board(width, 0, f"Odds of meeting the quota: {title}")
    board.text(4, 14, svg.fit(title, width - 8, 13), size=13, bold=True)
    top = board.legend([(colour, name) for _, colour, name in BANDS], 4, 34, 11 if small else 12)
    layout = _Layout(138, width - 42, 36) if small else _Layout(236, width - 290, 23)
    _frame(board, layout, top, bars, small)
    y = top + 20
    for bar in bars:
        y += 6 if bar.scope in {"company", "team"} else 0  # air before a group
        (_row_small if small else _row_wide)(board, layout, bar, y)
        y += layout.step
    board.height = y + 6
    return board.svg()


@dataclass(frozen=True)
class _Layout:
    left: float
    right: float
    step: float

    @property
    def x(self) -> svg.Scale:
        return svg.Scale(0.0, 1.0, self.left, self.right)


def _frame(board: svg.Board, layout: _Layout, top: float, bars: list[Bar], small: bool) -> None:
    """Grid lines at the quarters and the headings."""
    groups = sum(bar.scope in {"company", "team"} for bar in bars)
    bottom = top + 20 + len(bars) * layout.step + 6 * groups
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = layout.x(share)
        board.line([(x, top + 14), (x, bottom)], svg.SOFT if share == 0 else svg.GRID)
        board.text(x, top + 8, f"{share:.0%}", size=11, anchor="middle", fill=svg.SOFT)
    if not small:
        for right, name in ((170, "target"), (90, "middle (P50)"), (4, "of target")):
            board.text(board.width - right, top + 8, name, size=11, anchor="end", fill=svg.SOFT)


def _colour(odds: float) -> str:
    return next(colour for least, colour, _ in BANDS if round(odds, 2) >= least)  # as it is written


def _mark(board: svg.Board, layout: _Layout, bar: Bar, y: float, thick: float) -> None:
    """The bar with its percentage, or the word that there is none."""
    if bar.odds is None:
        board.text(layout.left + 6, y + thick - 2, NOT_MEANINGFUL, size=11, fill=svg.SOFT)
        return
    length = layout.x(bar.odds) - layout.left
    tip = f"{bar.label}: {percent(bar.odds)}, target {bar.target}, middle {bar.middle}"
    board.rect(layout.left, y, max(length, 1.5), thick, _colour(bar.odds), tip)
    board.text(layout.left + length + 5, y + thick - 2, percent(bar.odds), size=12, bold=bar.scope != "rep")


def _row_wide(board: svg.Board, layout: _Layout, bar: Bar, y: float) -> None:
    indent = 20 if bar.scope == "rep" else 4
    group = bar.scope != "rep"
    board.text(indent, y + 13, svg.fit(bar.label, layout.left - indent - 10, 13), size=13, bold=group)
    _mark(board, layout, bar, y + 2, 14)
    for right, text in ((170, bar.target), (90, bar.middle), (4, bar.attainment)):
        board.text(board.width - right, y + 13, text, size=12, anchor="end", bold=group)


def _row_small(board: svg.Board, layout: _Layout, bar: Bar, y: float) -> None:
    indent = 10 if bar.scope == "rep" else 2
    room = layout.left - indent - 8
    board.text(indent, y + 12, svg.fit(bar.label, room, 12), size=12, bold=bar.scope != "rep")
    below = svg.fit(f"{bar.middle} of {bar.target}", room, 10.5)
    board.text(indent, y + 26, below, size=10.5, fill=svg.SOFT)
    _mark(board, layout, bar, y + 5, 15)
