"""Reliability: how often quotas that were called so and so likely were met, beside how often they should be.

One panel per kind of scope, horizons together. Across: the odds that were called, in bands; upwards: the
share that was met, with Wilson's 95 % interval. Where calls are right, the dots lie on the line from corner
to corner, up to chance. Candidates of one origin rise and fall together, so chance is larger than the
intervals, which take every quota for a separate throw.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from quotacast.engine.answer import Answer
from quotacast.engine.reports import svg

_BAND = re.compile(r"(\d+)\s*%\s*[–-]\s*(\d+)\s*%")
_ORDER = {"company": 0, "team": 1, "rep": 2}
_NAMES = {"company": "Company", "team": "Teams", "rep": "Reps"}
_Z = 1.959964  # 95 %
_LEGEND = (
    (svg.BLUE, "share met, 95% interval"),
    (svg.VERMILLION, "the odds called lie outside it"),
    (f"--{svg.PAST}", "where calls are right"),
    (svg.PALE, "band of odds called"),
)
_CAVEAT = ("Quotas of one month end are met or missed together:", "chance is larger than the intervals show.")


@dataclass(frozen=True)
class Call:
    """All quotas of one kind of scope that were called within a band of odds.

    Attributes
    ----------
    low, high : float
        The band, 0 to 1.
    quotas, met : int
    expected : float
        Sum of their odds.
    """

    low: float
    high: float
    quotas: int
    met: int
    expected: float

    @property
    def called(self) -> float:
        """Mean odds called."""
        return self.expected / self.quotas

    @property
    def share(self) -> float:
        """Share that was met."""
        return self.met / self.quotas

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the chance behind the share (Wilson 1927, doi:10.1080/01621459.1927.10502953)."""
        n, p, z2 = self.quotas, self.share, _Z**2
        middle = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = _Z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
        return max(0.0, middle - half), min(1.0, middle + half)

    @property
    def holds(self) -> bool:
        """Whether the interval holds the odds that were called."""
        low, high = self.interval
        return low <= self.called <= high


def pick(answer: Answer) -> dict[str, list[Call]]:
    """Calls by kind of scope, the company first, in order of their bands; horizons are added up.

    Rows need ``scope``, ``called`` (``60% – 80%``), ``quotas``, ``met`` and ``expected``; those without a
    band or without quotas are left out.
    """
    wanted = ["scope", "called", "quotas", "met", "expected"]
    if not set(wanted) <= set(answer.rows.columns):
        return {}
    sums: dict[tuple[str, float, float], tuple[int, int, float]] = {}
    for scope, called, quotas, met, expected in answer.rows[wanted].itertuples(index=False, name=None):
        band = _BAND.search(str(called))
        if band is None or not quotas > 0:
            continue
        key = (str(scope), int(band[1]) / 100, int(band[2]) / 100)
        n, hit, due = sums.get(key, (0, 0, 0.0))
        sums[key] = (n + int(quotas), hit + int(met), due + float(expected))
    found: dict[str, list[Call]] = {}
    for scope, low, high in sorted(sums, key=lambda k: (_ORDER.get(k[0], 9), *k)):
        found.setdefault(scope, []).append(Call(low, high, *sums[scope, low, high]))
    return found


def draw(answer: Answer, width: float = 960) -> str | None:
    """The panels as SVG, side by side where there is room, else below each other; None without calls."""
    panels = pick(answer)
    if not panels:
        return None
    across = 3 if width >= 600 else 1
    wide, high = width / across, 330.0
    board = svg.Board(width, 0, "Share of quotas met against the odds called")
    top = board.legend(_LEGEND, 4, 14, 12 if across > 1 else 11) + 8
    for at, (scope, calls) in enumerate(panels.items()):
        _panel(board, (at % across) * wide, top + (at // across) * high, wide, scope, calls)
    end = top + -(-len(panels) // across) * high
    lines = _CAVEAT if across == 1 else (" ".join(_CAVEAT),)
    for at, line in enumerate(lines):
        board.text(4, end + 8 + 14 * at, line, size=10.5, fill=svg.SOFT)
    board.height = end + 14 * len(lines)
    return board.svg()


def _panel(board: svg.Board, left: float, top: float, width: float, scope: str, calls: list[Call]) -> None:
    x = svg.Scale(0.0, 1.0, left + 40, left + width - 16)
    y = svg.Scale(0.0, 1.0, top + 254, top + 26)
    board.text(left + 4, top + 14, _NAMES.get(scope, scope), size=13, bold=True)
    for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        board.line([(x(0), y(share)), (x(1), y(share))], svg.GRID)
        board.text(x(0) - 6, y(share) + 4, f"{share:.0%}", size=10.5, anchor="end", fill=svg.SOFT)
        board.text(x(share), y(0) + 15, f"{share:.0%}", size=10.5, anchor="middle", fill=svg.SOFT)
    for call in calls:
        low, high = x(call.low), x(call.high)
        board.rect(low, y(call.high), high - low, y(call.low) - y(call.high), svg.PALE)
    board.line([(x(0), y(0)), (x(1), y(1))], svg.PAST, 1.5, "5 4")
    for call in calls:
        _call(board, x, y, call)
    board.text(
        x(0.5), y(0) + 64, "odds called; below, how many were met", size=10.5, anchor="middle", fill=svg.SOFT
    )


def _call(board: svg.Board, x: svg.Scale, y: svg.Scale, call: Call) -> None:
    colour = svg.BLUE if call.holds else svg.VERMILLION
    at, (low, high) = x(call.called), call.interval
    board.line([(at, y(low)), (at, y(high))], colour, 2)
    tip = (
        f"called {call.low:.0%} to {call.high:.0%} likely: met {call.met:,} of {call.quotas:,} "
        f"({call.share:.0%}); {call.called:.0%} were expected"
    )
    board.dot(at, y(call.share), colour, tip)
    middle = x((call.low + call.high) / 2)
    board.text(middle, y(0) + 32, f"{call.met:,}", size=10.5, anchor="middle", bold=True)
    board.text(middle, y(0) + 45, f"of {call.quotas:,}", size=10.5, anchor="middle", fill=svg.SOFT)
