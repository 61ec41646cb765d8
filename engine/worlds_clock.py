"""The days of a made-up company, its people, and its streams of random numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quotacast.engine.worlds_truth import LEAD_BANDS, WorldSpec

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Stream = Callable[[str], np.random.Generator]

#: Weeks over which activity is felt; so many are recorded before the first opportunity can be created.
LAG_WEEKS = 3
#: Weeks before the first day of a company with leads: those that came then still convert.
LEAD_IN_WEEKS = 16
#: Days simulated beyond everything that is shown.
CURTAIN = LEAD_BANDS[-1] + 1
#: Deals that are never closed within the simulated days.
NEVER = np.int64(10**6)
#: One random stream each; append only, since a stream is known by its position.
_PURPOSES = (
    "activity", "activity_week", "wander", "creation", "creation_week", "creation_shock", "creation_quarter",
    "win_shock", "win_quarter", "loss_shock", "loss_quarter", "deal", "deal_normal", "lead", "dry_lead",
    "dry_lead_fate", "lead_touch", "stage", "stage_normal", "invoice", "invoice_normal", "quota",
    "activity_quarter", "lead_week", "lead_shock", "lead_quarter", "lead_fate", "convert_shock",
    "convert_quarter", "disqualify_shock", "disqualify_quarter", "stage_move",
)  # fmt: skip


def streams(seed: int) -> Stream:
    """Return the function that opens the random stream of a purpose."""

    def stream(purpose: str) -> np.random.Generator:
        number = _PURPOSES.index(purpose)
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, number])))

    return stream


@dataclass(frozen=True)
class Clock:
    """The simulated days (axis 0 of all daily arrays) and what the calendar says of them.

    Activities are on record from ``shown`` on, the rest from ``first`` on.
    """

    days: NDArray[np.datetime64]
    shown: int
    first: int
    last: int
    end: int
    week: Ints
    month: Ints
    month_of_year: Ints
    quarter: Ints
    position: Ints
    share: Floats

    @property
    def weeks(self) -> int:
        """Number of weeks."""
        return int(self.week[-1]) + 1


@dataclass(frozen=True)
class People:
    """Who worked where, shapes (days, reps); ``left`` is the first day gone (`NEVER` if none)."""

    employed: Bools
    team: Ints
    tenure: Ints
    hired: Ints
    left: Ints


def make_clock(spec: WorldSpec) -> Clock:
    """Lay out the days: whole weeks before the first day, and a curtain after the last."""
    first = np.datetime64(spec.first_day, "D")
    before = LAG_WEEKS if spec.truth.leads is None else LEAD_IN_WEEKS
    start = first - (first.astype(np.int64) + 3) % 7 - 7 * before
    last = int((np.datetime64(spec.last_day, "D") - start).astype(np.int64))
    end = last + spec.horizon_days
    days = start + np.arange(end + CURTAIN + 1)
    months = days.astype("datetime64[M]")
    number = months.astype(np.int64)
    next_quarter = (3 * (number // 3 + 1)).astype("datetime64[M]").astype("datetime64[D]")
    left = (next_quarter - days).astype(np.int64) - 1
    return Clock(
        days=days,
        shown=7 * (before - LAG_WEEKS),
        first=int((first - start).astype(np.int64)),
        last=last,
        end=end,
        week=np.arange(days.size) // 7,
        month=number - number[0],
        month_of_year=number % 12,
        quarter=number // 3 - number[0] // 3,
        position=np.where(left < 10, 3, number % 3),
        share=np.asarray(spec.truth.weekday)[np.arange(days.size) % 7],
    )


def make_people(spec: WorldSpec, clock: Clock) -> People:
    """Spread hires, leavers and moves over the days."""
    start = clock.days[0].astype("datetime64[D]")

    def at(day: Any) -> int:
        return int((np.datetime64(day, "D") - start).astype(np.int64))

    # those without a date were hired two to five years ago
    hired = clock.first - 730 - 53 * (np.arange(spec.n_reps) * 7 % 20)
    left = np.full(spec.n_reps, NEVER)
    team = np.repeat(np.arange(len(spec.teams)), [size for _, size in spec.teams])
    teams = np.tile(team, (clock.days.size, 1))
    for rep, day in spec.hired:
        hired[rep] = at(day)
    for rep, day in spec.left:
        left[rep] = at(day)
    for rep, name, day in spec.moved:
        teams[max(at(day), 0) :, rep] = spec.team_names.index(name)
    tenure = np.arange(clock.days.size)[:, None] - hired
    employed = (tenure >= 0) & (np.arange(clock.days.size)[:, None] < left)
    return People(employed, teams, tenure, hired, left)


def ar1(rng: np.random.Generator, n: int, sd: float, rho: float, shape: tuple[int, ...] = ()) -> Floats:
    """Draw a stationary AR(1) with standard deviation ``sd``, shape ``(n, *shape)``."""
    return persistent(rng.standard_normal((n, *shape)), sd, rho)


def persistent(steps: Floats, sd: float, rho: float) -> Floats:
    """Stationary AR(1) with standard deviation ``sd`` from its standardised steps, along the first axis."""
    x = sd * steps
    for t in range(1, x.shape[0]):
        x[t] = rho * x[t - 1] + np.sqrt(1.0 - rho**2) * x[t]
    return np.asarray(x)
