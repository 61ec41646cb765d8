"""What becomes of made-up deals and leads: who owns them, and how and when they end."""

from __future__ import annotations

import numpy as np

from quotacast.engine.worlds_clock import NEVER, Bools, Clock, Floats, Ints, People
from quotacast.engine.worlds_truth import Cause


def heirs(people: People, rep: Ints, created: Ints, u: Floats) -> tuple[Ints, Ints]:
    """Who takes a leaver's deals and leads over: a colleague of the team who stays, else anyone who stays."""
    heir, handed = rep.copy(), people.left[rep]
    for gone in np.flatnonzero(people.left < people.employed.shape[0]):
        day = max(int(people.left[gone]), 0)
        stays = people.employed[day] & (people.left == NEVER)
        mates = np.flatnonzero(stays & (people.team[day] == people.team[day, gone]))
        pool = mates if mates.size else np.flatnonzero(stays)
        mine = rep == gone
        if pool.size:
            heir[mine] = pool[(u[mine] * pool.size).astype(np.int64)]
    return heir, np.where(heir == rep, NEVER, handed)


def fates(
    clock: Clock,
    causes: tuple[Cause, Cause],
    log_rates: tuple[Floats, Floats],
    bands: tuple[int, ...],
    row: tuple[Ints, Ints, Ints, Ints, Ints, Bools],
    u: Floats,
) -> tuple[Ints, Ints]:
    """End every deal or lead by competing hazards, age by age; return the day and the cause (1 or 2).

    It ends on the day on which its cumulative hazard passes an Exponential(1) draw; its cause
    is drawn by that day's hazards. The day of creation counts half.
    """
    created, rep, heir, handed, segment, dead = row
    one, two = (daily_hazard(clock, r, c) for r, c in zip(log_rates, causes, strict=True))
    by_segment = [np.exp(np.asarray(c.segment))[segment] for c in causes]
    threshold = -np.log1p(-u[:, 0])
    total = np.zeros(created.size)
    closed, cause = np.full(created.size, NEVER), np.zeros(created.size, dtype=np.int64)
    alive = np.flatnonzero(~dead)
    for age in range(clock.days.size):
        alive = alive[created[alive] + age < clock.days.size]
        if not alive.size:
            break
        day = created[alive] + age
        owner = np.where(day >= handed[alive], heir[alive], rep[alive])
        band = int(np.searchsorted(bands, age))
        half = 0.5 if age == 0 else 1.0
        h_one = half * np.exp(causes[0].age[band]) * one[day, owner] * by_segment[0][alive]
        h_two = half * np.exp(causes[1].age[band]) * two[day, owner] * by_segment[1][alive]
        total[alive] += h_one + h_two
        done = total[alive] >= threshold[alive]
        hit = alive[done]
        closed[hit] = day[done]
        cause[hit] = np.where(u[hit, 1] * (h_one + h_two)[done] < h_one[done], 1, 2)
        alive = alive[~done]
    return closed, cause


def daily_hazard(clock: Clock, log_rate: Floats, true: Cause) -> Floats:
    """Hazard of every day and rep but for age and segment, shape (days, reps)."""
    position = np.asarray(true.position)[clock.position]
    return np.asarray(7.0 * clock.share[:, None] * np.exp(log_rate + position[:, None]))
