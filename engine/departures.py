"""Who leaves when, who follows, and who takes over the open deals: by draw.

A rep's *seat* is what the plan and the answers call the rep. Rows of the simulation are the people who sit
there one after another: the rep, then backfills with no tenure and an ability of their own. In a draw ::

    h ~ posterior of the leaving hazard, one number for all reps
    days that a person stays = floor(-log(u) / h),   u uniform by person      (geometric, hazard h a day)
    a backfill begins `backfill_days` after the leaving; the last in a row of backfills stays

Deals that are open when their owner leaves go to colleagues of the team who are there that day, each deal to
one of ``HEIRS`` that are drawn by leaver and draw; where nobody is, the seat keeps them. From then on a
deal keeps ``keep_odds`` of its win hazard and the rest is added to its loss hazard, so that the day on which
it closes stays the same: handing over turns wins into losses and nothing else. Other factors on a deal's
hazards and value stay those of its first owner. Closings count for the seat that owns the deal on the day.
Leads that are open then are handed over likewise, but lose no odds; what they begin is the heir's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quotacast.engine.drivers import Drivers, People
from quotacast.engine.streams import key, keys, uniforms
from quotacast.errors import PlanError
from quotacast.models.funnel import Funnel
from quotacast.models.history.schema import NONE
from quotacast.models.people import FAR
from quotacast.models.timegrid import day_number
from quotacast.models.turnover import Turnover

Ints = NDArray[np.int64]

#: Colleagues among whom a leaver's deals are spread.
HEIRS = 4


@dataclass(frozen=True)
class Crew:
    """People of the future by row: reps of the history, the plan's hires, then backfills.

    Attributes
    ----------
    reps, teams : tuple of str
        A backfill is named after its seat, ``r07~1``; the name only tells the streams apart.
    start, stop, hired : ndarray of int64
        First and last day at work, and the day from which tenure counts (day numbers). Those of backfills
        differ by draw and are found in :class:`Departures`.
    known : int
        How many are known from the history; hires follow.
    seat : ndarray of int64
        Row of the first holder of the seat.
    leaving : ndarray of bool
        Who may leave by chance.
    """

    reps: tuple[str, ...]
    teams: tuple[str, ...]
    start: Ints
    stop: Ints
    hired: Ints
    known: int
    seat: Ints
    leaving: NDArray[np.bool_]

    @property
    def seats(self) -> int:
        """Number of seats; they are the first rows."""
        return int(self.seat.max(initial=-1)) + 1

    @property
    def names(self) -> tuple[str, ...]:
        """Id of every row's seat, by which plan and answers call it."""
        return tuple(self.reps[s] for s in self.seat)


def crew(funnel: Funnel, drivers: Drivers) -> Crew:
    """Put history's reps, leavers and hires together."""
    people = funnel.prepared.people
    reps = people.reps + tuple(h.rep_id for h in drivers.hires)
    index = {rep: i for i, rep in enumerate(reps)}
    starts = np.array([int(day_number(h.on)) for h in drivers.hires], dtype=np.int64)
    stop = np.concatenate([people.stop, np.full(starts.size, FAR)])
    for leave in drivers.leaves:
        if leave.rep_id not in index:
            raise PlanError(f"leave: there is no rep {leave.rep_id}; there are {', '.join(reps)}")
        stop[index[leave.rep_id]] = min(stop[index[leave.rep_id]], int(day_number(leave.on)) - 1)
    return Crew(
        reps,
        people.team + tuple(h.team for h in drivers.hires),
        np.concatenate([people.start, starts]),
        stop,
        np.concatenate([people.hired, starts]),
        len(people.reps),
        np.arange(len(reps), dtype=np.int64),
        np.zeros(len(reps), dtype=bool),
    )


def with_backfills(crew: Crew, people: People, first: int, last: int) -> Crew:
    """Add rows for those who may follow a leaver between the days ``first`` and ``last``.

    One backfill a seat for every year, begun or whole: the last one stays, which misses those who
    leave a second time within a year of the seat's first leaving.
    """
    if not people.leavers:
        return crew
    known_end = crew.stop < FAR
    nobody = np.array([rep == NONE for rep in crew.reps])
    candidate = np.flatnonzero(~known_end & ~nobody)
    generations = 1 + (last - first) // 366
    seat = np.tile(candidate, generations)
    number = np.repeat(np.arange(1, generations + 1), candidate.size)
    leaving = np.zeros(len(crew.reps) + seat.size, dtype=bool)
    leaving[candidate] = True
    leaving[len(crew.reps) :] = number < generations
    return Crew(
        crew.reps + tuple(f"{crew.reps[s]}~{n}" for s, n in zip(seat, number, strict=True)),
        crew.teams + tuple(crew.teams[s] for s in seat),
        np.concatenate([crew.start, np.full(seat.size, first, dtype=np.int64)]),
        np.concatenate([crew.stop, np.full(seat.size, FAR)]),
        np.concatenate([crew.hired, np.full(seat.size, first, dtype=np.int64)]),
        crew.known,
        np.concatenate([crew.seat, seat]),
        leaving,
    )


class Departures:
    """Comings and goings, drawn for a block of draws.

    Parameters
    ----------
    crew : Crew
    people : People
    turnover : Turnover
    first, days : int
        First simulated day (day number) and number of days.
    seed : int
    """

    def __init__(
        self, crew: Crew, people: People, turnover: Turnover, first: int, days: int, seed: int
    ) -> None:
        self.crew, self.people, self.turnover, self.seed = crew, people, turnover, seed
        self.first, self.days = first, days
        self.start = np.clip(crew.start - first, 0, days)
        # who left before the first day has handed over already, or never will
        ahead = (crew.stop >= first) & (crew.stop < first + days)
        self.stop = np.where(ahead, crew.stop + 1 - first, days)
        self.past = crew.stop < first
        self._stay = keys(seed, "staying", crew.reps)
        self._hazard = np.array([key(seed, "leaving hazard")], dtype=np.uint64)

    def block(self, first: int, draws: int) -> dict[str, Any]:
        """Tables of draws ``first`` to ``first + draws - 1``.

        Returns
        -------
        dict
            ``joined`` and ``gone`` of shape (draws, rows): first day of a row and the day from which it is
            away, counted from the first simulated day; the number of days means "not within the horizon".
            ``heir`` of shape (draws, rows, heirs): seats to which a leaver's deals go.
        """
        joined, gone = self.stays(first, draws)
        return {"joined": joined, "gone": gone, "heir": self._heirs(joined, gone, first)}

    def stays(self, first: int, draws: int) -> tuple[Ints, Ints]:
        """First day of every row and the day from which it is away, shape (draws, rows); see `block`."""
        crew, rows = self.crew, len(self.crew.reps)
        joined = np.broadcast_to(self.start, (draws, rows)).copy()
        gone = np.broadcast_to(self.stop, (draws, rows)).copy()
        latest = np.arange(crew.seats)  # row that holds each seat last, so far
        wait = self._waits(first, draws) if crew.leaving.any() else np.zeros((draws, rows))
        for r in range(rows):
            if r >= crew.seats:
                before = gone[:, latest[crew.seat[r]]]
                joined[:, r] = np.where(
                    before < self.days, np.minimum(before + self.people.backfill_days, self.days), self.days
                )
                latest[crew.seat[r]] = r
            if crew.leaving[r]:
                gone[:, r] = np.minimum(joined[:, r] + wait[:, r], self.days)
        return joined, gone

    def _waits(self, first: int, draws: int) -> NDArray[np.float64]:
        """Whole days that every person stays, shape (draws, rows), cut at the horizon."""
        hazard = self.turnover.hazard(uniforms(self._hazard, first, draws)[:, :, 0])
        stay = -np.log(uniforms(self._stay, first, draws)[:, :, 0]) / hazard
        return np.asarray(np.floor(np.minimum(stay, self.days)))

    def _heirs(self, joined: Ints, gone: Ints, first: int) -> NDArray[np.int32]:
        crew = self.crew
        leavers = np.flatnonzero((gone < self.days).any(axis=0))
        shape = (gone.shape[0], gone.shape[1], HEIRS if leavers.size else 1)
        heir = np.empty(shape, dtype=np.int32)
        heir[:] = crew.seat[None, :, None]
        for r in leavers.tolist():
            mates = self._mates(r)
            if mates.size:
                there = self._there(mates, joined, gone, gone[:, r])
                chosen = self._chosen(r, mates, there, first)
                heir[:, r] = np.where(there.any(axis=1, keepdims=True), chosen, heir[:, r])
        return heir

    def _mates(self, r: int) -> Ints:
        """Seats of the team of row ``r`` but its own, shape (n,)."""
        crew = self.crew
        return np.array(
            [
                s
                for s in range(crew.seats)
                if s != crew.seat[r] and crew.teams[s] == crew.teams[r] and crew.reps[s] != NONE
            ],
            dtype=np.int64,
        )

    def _there(self, mates: Ints, joined: Ints, gone: Ints, day: Ints) -> NDArray[np.bool_]:
        """Whether somebody is at work in a seat on a day of each draw, shape (draws, n)."""
        at_work = (joined <= day[:, None]) & (gone > day[:, None]) & ~self.past
        there = np.zeros((day.size, self.crew.seats), dtype=bool)
        for r, s in enumerate(self.crew.seat):
            there[:, s] |= at_work[:, r]
        return np.asarray(there[:, mates])

    def _chosen(self, r: int, mates: Ints, there: NDArray[np.bool_], first: int) -> Ints:
        """Colleague with the highest number among those present: one more changes nobody else's.

        Returns an array of shape (draws, HEIRS).
        """
        names = [self.crew.reps[m] for m in mates]
        lot = uniforms(keys(self.seed, f"heir of {self.crew.reps[r]}", names), first, there.shape[0], HEIRS)
        return np.asarray(mates[np.where(there[:, :, None], lot, -1.0).argmax(axis=1)])
