"""Made-up companies whose deals pass through stages, and close by the stage in which they stand.

The chain is that of :mod:`quotacast.models.stages`: a stage multiplies the daily hazards of winning and
losing of a deal's age and owner, and has a hazard of moving on. Events fall anywhere within a day: several
may happen on the same one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from quotacast.engine.worlds_clock import NEVER, Bools, Clock, Floats, Ints
from quotacast.engine.worlds_fates import daily_hazard
from quotacast.engine.worlds_truth import Cause, StageChain, Truth

#: A deal makes at most so many moves.
MOST_MOVES = 24
#: First day in a stage of every band of a drawn chain, and what its typical stages do.
BANDS = (0, 8, 31)
_WIN = (-1.2, -0.4, 0.1, 0.6)
_LOSS = (0.1, 0.0, 0.0, -0.3)
_MOVE = (-2.9, -3.1, -3.2, -5.5)
_AGED = (-0.2, 0.2, 0.0)
_NEXT = ((0.0, 0.8, 0.15, 0.05), (0.05, 0.0, 0.8, 0.15), (0.02, 0.13, 0.0, 0.85), (0.1, 0.3, 0.6, 0.0))
#: Standard deviations of a drawn chain around the typical one: stages, and ages within them.
_STAGE_SD, _AGED_SD = 0.4, 0.25

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Stays:
    """Entries into stages, by deal and in the order of time; arrays of shape (stays,)."""

    deal: Numbers
    stage: Numbers
    entered: Numbers


def with_stages(truth: Truth, rng: np.random.Generator) -> Truth:
    """The same company with a chain of stages drawn around a typical one."""

    def drawn(centre: tuple[float, ...]) -> tuple[tuple[float, ...], ...]:
        level = np.asarray(centre) + _STAGE_SD * rng.standard_normal(len(centre))
        own = level[:, None] + np.asarray(_AGED) + _AGED_SD * rng.standard_normal((level.size, len(BANDS)))
        return tuple(tuple(round(float(x), 9) for x in row) for row in own)

    return replace(truth, stages=StageChain(BANDS, drawn(_WIN), drawn(_LOSS), drawn(_MOVE), _NEXT))


def staged_fates(
    clock: Clock,
    causes: tuple[Cause, Cause],
    log_rates: tuple[Floats, Floats],
    bands: tuple[int, ...],
    row: tuple[Ints, Ints, Ints, Ints, Ints, Bools],
    u: Floats,
    chain: StageChain,
    moves: Floats,
) -> tuple[Ints, Ints, Stays]:
    """End every deal by the hazards of its age and stage; return day, cause (1 or 2) and stays.

    Parameters
    ----------
    u : ndarray, shape (deals, 2)
        Uniform numbers for the closing.
    moves : ndarray, shape (deals, MOST_MOVES, 2)
        Uniform numbers for when every move comes and where it leads.
    """
    created, rep, heir, handed, segment, dead = row
    daily = [daily_hazard(clock, r, c) for r, c in zip(log_rates, causes, strict=True)]
    by_segment = [np.exp(np.asarray(c.segment))[segment] for c in causes]
    odds = [np.exp(np.asarray(chain.win)), np.exp(np.asarray(chain.loss))]
    hazard, weight = np.exp(np.asarray(chain.move)), 7.0 * clock.share
    to_close, to_move = -np.log1p(-u[:, 0]), -np.log1p(-moves[:, :, 0])
    following = np.cumsum(np.asarray(chain.next), axis=1)
    closed, cause = np.full(created.size, NEVER), np.zeros(created.size, dtype=np.int64)
    stage, entered, moved = np.zeros(created.size, dtype=np.int64), created.copy(), created * 0
    wait, stays = to_move[:, 0].copy(), [(np.arange(created.size), stage.copy(), created.copy())]
    alive = np.arange(created.size)
    for age in range(clock.days.size):
        alive = alive[(created[alive] + age < clock.days.size) & (closed[alive] == NEVER)]
        if not alive.size:
            break
        part = np.full(alive.size, 0.5 if age == 0 else 1.0)
        here = alive
        while here.size:
            day = created[here] + age
            owner = np.where(day >= handed[here], heir[here], rep[here])
            at = stage[here], np.searchsorted(chain.bands, day - entered[here], side="right") - 1
            h = [
                ~dead[here]
                * np.exp(c.age[int(np.searchsorted(bands, age))])
                * d[day, owner]
                * s[here]
                * o[at]
                for c, d, s, o in zip(causes, daily, by_segment, odds, strict=True)
            ]
            both, h_move = h[0] + h[1], hazard[at] * weight[day]
            until = np.stack([to_close[here] / np.maximum(both, 1e-300), wait[here] / h_move, part])
            what, spent = until.argmin(axis=0), until.min(axis=0)
            to_close[here] -= spent * both
            wait[here] -= spent * h_move
            ends, goes = what == 0, what == 1
            closed[here[ends]] = day[ends]
            cause[here[ends]] = np.where((u[here, 1] * both < h[0])[ends], 1, 2)
            on = here[goes]
            pick = (moves[on, moved[on], 1][:, None] >= following[stage[on]][:, :-1]).sum(axis=1)
            stage[on], entered[on] = pick, day[goes]
            moved[on] += 1
            wait[on] = np.where(
                moved[on] < MOST_MOVES, to_move[on, np.minimum(moved[on], MOST_MOVES - 1)], np.inf
            )
            stays.append((on, pick, day[goes]))
            here, part = on, (part - spent)[goes]
    deal, at_stage, since = (np.concatenate(parts) for parts in zip(*stays, strict=True))
    order = np.argsort(deal, kind="stable")
    return closed, cause, Stays(deal[order], at_stage[order], since[order])
