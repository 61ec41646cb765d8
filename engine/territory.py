"""Territories: a segment's new business that goes from one rep or team to another.

A deal or lead is created by a *territory* and worked by a *person*; as a rule they are the same rep. Where a
move hands a share of a segment from giver a to taker b, a row is added whose creation is a's (level,
quarters, segments and random numbers) and whose work is b's (days at work, ramp, recent activity, odds,
values, seat). It keeps exactly those creations that a's own row drops: those of the segment, within the
move's days, whose lot u, uniform by creation, lies in the move's part of (0, 1). So in every draw the same
business comes in, only for somebody else: as much of it as the takers are at work. What was created before
stays with its owner, unless the move hands it over too (:mod:`quotacast.engine.handover`); of several takers
each gets an equal part.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from quotacast.engine.book import Book
from quotacast.engine.departures import Crew
from quotacast.engine.drivers import Drivers, Move
from quotacast.engine.handover import Hands, Window, handed
from quotacast.engine.quota import Scope
from quotacast.errors import PlanError
from quotacast.models.history.schema import NONE
from quotacast.models.people import FAR
from quotacast.models.terms import Floats
from quotacast.models.timegrid import day_number

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Territory:
    """Who creates and who works, by row; and which creations a row drops or keeps.

    Attributes
    ----------
    creates, works : ndarray of int64, shape (rows,)
        Rows of the crew: whose territory it is, and who works it. The crew's own rows come first.
    given : ndarray of bool, shape (rows,)
        Rows that keep only what a window covers; others drop it.
    at : ndarray of int64, shape (rows * segments + 1,)
        Where the windows of a row and segment begin.
    first, last : ndarray of int64, shape (windows,)
        Days, counted from the first simulated day, inclusive.
    low, high : ndarray, shape (windows,)
        Lots that the window covers.
    hands : Hands
        Open deals that change hands; their rows come last and create nothing.
    """

    creates: Ints
    works: Ints
    given: NDArray[np.bool_]
    at: Ints
    first: Ints
    last: Ints
    low: Floats
    high: Floats
    hands: Hands

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.creates.size

    @property
    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """What the inner loops need of it."""
        return {
            "move_given": self.given,
            "move_at": self.at,
            "move_first": self.first,
            "move_last": self.last,
            "move_low": self.low,
            "move_high": self.high,
        }

    def kept(self, segments: int, days: int) -> Floats:
        """Share of creations that a row keeps, shape (rows, segments, days): the mean of the rule."""
        share = np.zeros((self.rows * segments, days))
        for cell in range(self.at.size - 1):
            for w in range(self.at[cell], self.at[cell + 1]):
                share[cell, max(self.first[w], 0) : self.last[w] + 1] += self.high[w] - self.low[w]
        cells = share.reshape(self.rows, segments, days)
        return np.asarray(np.where(self.given[:, None, None], cells, 1.0 - cells))


def check_moves(moves: Sequence[Move], segments: Sequence[str]) -> None:
    """Refuse moves of segments that the data do not know.

    Raises
    ------
    PlanError
        With every one of them.
    """
    problems = []
    for k, move in enumerate(moves, 1):
        if move.segment not in segments:
            near = get_close_matches(move.segment, segments, n=1)
            there = ", ".join(segments) if len(segments) > 1 else "none: the data tell no segments apart"
            meant = f", did you mean {near[0]}?" if near else f"; there are {there}"
            problems.append(f"move[{k}].segment: no segment {move.segment!r} in the data{meant}")
    if problems:
        raise PlanError(problems)


def territory(
    crew: Crew, drivers: Drivers, book: Book, segments: Sequence[str], first: int, days: int, seed: int
) -> Territory:
    """Rows of the simulation under the plan's moves.

    Parameters
    ----------
    book : Book
        What is open, and may change hands.
    first, days : int
        First simulated day (day number) and number of days.
    seed : int
        Of the lots of open deals.

    Raises
    ------
    PlanError
        Where more than all of a segment moves, or nobody is there to give or to take it.
    """
    check_moves(drivers.moves, segments)
    windows = _windows(crew, drivers.moves, segments, first, days)
    people = np.arange(len(crew.reps))
    flows = dict.fromkeys(
        (w.giver, int(b)) for w in windows for b in people[crew.seat == w.taker] if w.taker != w.giver
    )
    hands = handed(windows, book, people.size + len(flows), days, seed)
    creates = np.concatenate([people, np.array([a for a, _ in flows], dtype=np.int64), hands.giver])
    works = np.concatenate([people, np.array([b for _, b in flows], dtype=np.int64), hands.giver])
    given = np.arange(creates.size) >= people.size
    cells: list[list[Window]] = []
    for row in range(creates.size):
        giver, taker = crew.seat[creates[row]], crew.seat[works[row]]
        mine = [
            w
            for w in windows
            if w.giver == giver and w.taker != giver and (not given[row] or w.taker == taker)
        ]  # none where an open deal changes hands: giver and taker are the same there
        cells += [[w for w in mine if w.segment == s] for s in range(len(segments))]
    flat = [w for cell in cells for w in cell]
    return Territory(
        creates,
        works,
        given,
        np.cumsum([0, *(len(cell) for cell in cells)], dtype=np.int64),
        np.array([w.first for w in flat], dtype=np.int64),
        np.array([w.last for w in flat], dtype=np.int64),
        np.array([w.low for w in flat], dtype=float),
        np.array([w.high for w in flat], dtype=float),
        hands,
    )


def _windows(
    crew: Crew, moves: Sequence[Move], segments: Sequence[str], first: int, days: int
) -> list[Window]:
    found: list[Window] = []
    for k, move in enumerate(moves, 1):
        begin = int(day_number(move.first)) - first
        end = days - 1 if move.last is None else int(day_number(move.last)) - first
        givers = _seats(crew, move.giver, first, int(FAR))
        takers = _seats(crew, move.taker, first + max(begin, 0), first + max(begin, 0))
        problems = [f"move[{k}].from: nobody of {move.giver} is there"] if not givers else []
        problems += [f"move[{k}].to: nobody of {move.taker} is there on {move.first}"] if not takers else []
        if problems:
            raise PlanError(problems)
        for giver in givers:
            found += _shares(found, (giver, takers), segments.index(move.segment), (begin, end), move, k)
    return found


def _shares(
    before: Iterable[Window],
    who: tuple[int, list[int]],
    segment: int,
    days: tuple[int, int],
    move: Move,
    number: int,
) -> list[Window]:
    """Windows of one giver: equal parts of what is left of the lots of the segment in these days."""
    giver, takers = who
    (begin, end), part = days, move.share / len(takers)
    over = [
        w for w in before if (w.giver, w.segment) == (giver, segment) and w.first <= end and w.last >= begin
    ]
    low = max((w.high for w in over), default=0.0)
    if low + move.share > 1.0 + 1e-9:
        raise PlanError(
            f"move[{number}].share: more than all of {move.segment} moves away from {move.giver} at a time"
        )
    edges = low + part * np.arange(len(takers) + 1)
    edges[edges > 1.0 - 1e-9] = 1.0
    return [
        Window(giver, taker, segment, begin, end, float(edges[j]), float(edges[j + 1]), move.open_deals)
        for j, taker in enumerate(takers)
    ]


def _seats(crew: Crew, scope: str, day: int, begun_by: int) -> list[int]:
    """Seats of a rep or a team whose first holder has begun by one day and not left before another."""
    where = Scope.parse(scope)
    return [
        s
        for s in range(crew.seats)
        if (crew.reps[s] if where.kind == "rep" else crew.teams[s]) == where.id
        and crew.stop[s] >= day
        and crew.start[s] <= begun_by
        and (crew.reps[s] != NONE or where.kind == "rep")
    ]
