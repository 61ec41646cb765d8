"""From a specification to records: what every rep did on every day, as arrays.

Order of causes: activities, then the intensity of creation (which they raise), then opportunities,
the leads behind them, and at last their fates by competing hazards, day by day. Every purpose has a
random stream of its own and every stream is consumed in the order of time, so a longer horizon
changes none of the activities, leads, creations and closings before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quotacast.engine.worlds_truth import (
    AGE_BANDS,
    KINDS,
    LEAD_BANDS,
    SEGMENTS,
    TENURE_BANDS,
    Cause,
    Rate,
    WorldSpec,
)

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Stream = Callable[[str], np.random.Generator]

#: Weeks of activity recorded before the first opportunity can be created.
LEAD_IN_WEEKS = 3
#: Days simulated beyond everything that is shown, so that leads can convert behind the curtain.
CURTAIN = LEAD_BANDS[-1] + 1
#: Deals that are never closed within the simulated days.
NEVER = np.int64(10**6)
#: Longest time that a lead waits for its disqualification.
LEAD_LIFE = 365

#: One random stream each; append only, since a stream is known by its position.
_PURPOSES = (
    "activity", "activity_week", "wander", "creation", "creation_week", "creation_shock", "creation_quarter",
    "win_shock", "win_quarter", "loss_shock", "loss_quarter", "deal", "deal_normal", "lead", "dry_lead",
    "dry_lead_fate", "lead_touch", "stage", "stage_normal", "invoice", "invoice_normal", "quota",
)  # fmt: skip


def streams(seed: int) -> Stream:
    """Return the function that opens the random stream of a purpose."""

    def stream(purpose: str) -> np.random.Generator:
        number = _PURPOSES.index(purpose)
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, number])))

    return stream


@dataclass(frozen=True)
class Clock:
    """The simulated days (axis 0 of all daily arrays) and what the calendar says of them."""

    days: NDArray[np.datetime64]
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


@dataclass(frozen=True)
class Deals:
    """Opportunities in the order of creation; days are numbers on the clock.

    ``cause`` is 1 for won, 2 for lost and 0 where ``closed`` is `NEVER`; ``lead_day`` is -1 without
    a lead; ``heir`` owns the deal from ``handed`` on.
    """

    created: Ints
    rep: Ints
    heir: Ints
    handed: Ints
    segment: Ints
    dead: Bools
    closed: Ints
    cause: Ints
    lead_day: Ints
    amount: Floats
    quote: Floats
    known: Bools
    cost: Floats
    uniform: Floats


@dataclass(frozen=True)
class DryLeads:
    """Leads that never become an opportunity; ``closed`` is `NEVER` for those left open."""

    created: Ints
    rep: Ints
    segment: Ints
    closed: Ints
    uniform: Floats


@dataclass(frozen=True)
class Records:
    """Everything that happened, on the clock's days.

    Attributes
    ----------
    activity : ndarray, shape (days, reps, kinds)
        Counts that hang on no opportunity.
    intensity : ndarray, shape (days, reps)
        Mean number of opportunities created, given activities and shocks.
    shocks : dict
        Realised monthly shocks by model.
    """

    clock: Clock
    people: People
    activity: Ints
    intensity: Floats
    deals: Deals
    dry_leads: DryLeads
    shocks: dict[str, Floats]


def simulate(spec: WorldSpec) -> Records:
    """Draw a company's records."""
    stream = streams(spec.seed)
    clock = make_clock(spec)
    people = make_people(spec, clock)
    activity = _activities(spec, clock, people, stream)
    rate, shocks = _log_rates(spec, clock, stream)
    intensity = _creation_intensity(spec, clock, people, rate["creation"], activity)
    counts = _creations(spec, clock, intensity, stream)
    deals = _deals(spec, clock, people, rate, counts, intensity, stream)
    dry = _dry_leads(spec, clock, people, intensity, stream)
    return Records(clock, people, activity, intensity, deals, dry, shocks)


def make_clock(spec: WorldSpec) -> Clock:
    """Lay out the days: three whole weeks before the first day, and a curtain after the last."""
    first = np.datetime64(spec.first_day, "D")
    start = first - (first.astype(np.int64) + 3) % 7 - 7 * LEAD_IN_WEEKS
    last = int((np.datetime64(spec.last_day, "D") - start).astype(np.int64))
    end = last + spec.horizon_days
    days = start + np.arange(end + CURTAIN + 1)
    months = days.astype("datetime64[M]")
    number = months.astype(np.int64)
    next_quarter = (3 * (number // 3 + 1)).astype("datetime64[M]").astype("datetime64[D]")
    left = (next_quarter - days).astype(np.int64) - 1
    return Clock(
        days=days,
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
    x = sd * rng.standard_normal((n, *shape))
    for t in range(1, n):
        x[t] = rho * x[t - 1] + np.sqrt(1.0 - rho**2) * x[t]
    return np.asarray(x)


def _activities(spec: WorldSpec, clock: Clock, people: People, stream: Stream) -> Ints:
    true = spec.truth.activity
    shape = (spec.n_reps, len(KINDS))
    wander = ar1(stream("wander"), clock.weeks, true.wander_sd, true.wander_rho, shape)
    frailty = stream("activity_week").gamma(true.dispersion, 1.0 / true.dispersion, (clock.weeks, *shape))
    weekly = frailty * np.exp(np.asarray(true.level) + np.asarray(true.rep).T + wander)
    mean = (clock.share[:, None] * people.employed)[:, :, None] * weekly[clock.week]
    return np.asarray(stream("activity").poisson(mean), dtype=np.int64)


def _log_rates(spec: WorldSpec, clock: Clock, stream: Stream) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """What creation, win and loss have in common, shape (days, reps), and the monthly shocks."""
    months, quarters = int(clock.month[-1]) + 1, int(clock.quarter[-1]) + 1
    rates: dict[str, Floats] = {}
    shocks: dict[str, Floats] = {}
    models: dict[str, Rate] = {n: getattr(spec.truth, n) for n in ("creation", "win", "loss")}
    for name, true in models.items():
        shocks[name] = ar1(stream(f"{name}_shock"), months, true.shock_sd, true.shock_rho)
        own = true.rep_quarter_sd * stream(f"{name}_quarter").standard_normal((quarters, spec.n_reps))
        common = true.level + shocks[name][clock.month] + _market(spec, clock, name)
        rates[name] = common[:, None] + np.asarray(true.rep) + own[clock.quarter]
    return rates, shocks


def _market(spec: WorldSpec, clock: Clock, model: str) -> Floats:
    shock = spec.truth.market_shock
    if shock is None:
        return np.zeros(clock.days.size)
    since = clock.days.astype("datetime64[M]") - np.datetime64(shock.first, "M")
    inside = (since.astype(np.int64) >= 0) & (since.astype(np.int64) < shock.months)
    return np.where(inside, float(getattr(shock, model)), 0.0)


def activity_deviation(clock: Clock, people: People, activity: Ints) -> Floats:
    """Each rep's activity of late, against the rep's usual, shape (weeks, reps, kinds).

    ``log(1 + abar)``, abar the mean weekly count over the three weeks before, less its mean over the
    rep's weeks until the last day; 0 where the rep has hardly worked in those weeks.
    """
    weeks = clock.weeks
    starts = np.arange(0, clock.days.size, 7)
    count = np.add.reduceat(activity, starts, axis=0).astype(float)
    worked = np.add.reduceat(clock.share[:, None] * people.employed, starts, axis=0)
    lagged, exposed = np.zeros_like(count), np.zeros_like(worked)
    for lag in range(1, LEAD_IN_WEEKS + 1):
        lagged[lag:] += count[: weeks - lag]
        exposed[lag:] += worked[: weeks - lag]
    defined = (exposed >= 0.5) & (worked > 0.0)
    x = np.log1p(lagged / np.maximum(exposed, 0.5)[:, :, None])
    week = np.arange(weeks)
    seen = (defined & (week >= LEAD_IN_WEEKS)[:, None] & (week <= clock.last // 7)[:, None])[:, :, None]
    mean = (x * seen).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    return np.asarray(np.where(defined[:, :, None], x - mean, 0.0))


def _creation_intensity(
    spec: WorldSpec, clock: Clock, people: People, log_rate: Floats, activity: Ints
) -> Floats:
    true = spec.truth.creation
    band = np.searchsorted(TENURE_BANDS, people.tenure, side="right")
    eta = log_rate + np.asarray(true.team)[people.team] + np.asarray(true.tenure)[band]
    eta += np.asarray(true.season)[clock.month_of_year][:, None]
    if spec.activity_effects:
        beta = np.asarray(spec.truth.activity.beta)
        eta += (activity_deviation(clock, people, activity) @ beta)[clock.week]
    return np.asarray(clock.share[:, None] * people.employed * np.exp(eta))


def _creations(spec: WorldSpec, clock: Clock, intensity: Floats, stream: Stream) -> Ints:
    """Counts per day and rep: Poisson given a Gamma factor of the week, so NegBinomial by week."""
    phi = spec.truth.creation.dispersion
    frailty = stream("creation_week").gamma(phi, 1.0 / phi, (clock.weeks, spec.n_reps))
    counts = np.asarray(stream("creation").poisson(frailty[clock.week] * intensity), dtype=np.int64)
    counts[: clock.first] = 0
    return counts


def _deals(
    spec: WorldSpec,
    clock: Clock,
    people: People,
    rate: dict[str, Floats],
    counts: Ints,
    intensity: Floats,
    stream: Stream,
) -> Deals:
    day, rep = np.nonzero(counts)
    repeat = counts[day, rep]
    created, rep = np.repeat(day, repeat), np.repeat(rep, repeat)
    u = stream("deal").random((created.size, 12))
    z = stream("deal_normal").standard_normal((created.size, 3))
    segment = _choose(np.asarray(spec.truth.mix)[people.team[created, rep]], u[:, 0])
    heir, handed = _heirs(people, rep, created, u[:, 1])
    dead = u[:, 2] < spec.truth.dead_share
    closed, cause = _fates(spec, clock, rate, (created, rep, heir, handed, segment, dead), u[:, 3:5])
    amount, quote, cost = _money(spec, segment, rep, z, u[:, 5])
    lead_day = _lead_days(spec, clock, intensity, created, rep, stream("lead"))
    known = u[:, 6] < spec.truth.value.known_share
    fate = (dead, closed, cause, lead_day)
    return Deals(created, rep, heir, handed, segment, *fate, amount, quote, known, cost, u[:, 7:])


def _choose(shares: Floats, u: Floats) -> Ints:
    """Pick a column by cumulative shares, row by row."""
    edges = np.cumsum(shares, axis=1)[:, :-1]
    return np.asarray((u[:, None] >= edges).sum(axis=1))


def _heirs(people: People, rep: Ints, created: Ints, u: Floats) -> tuple[Ints, Ints]:
    """Who takes a leaver's deals over: a colleague of the team who stays, else anyone who stays."""
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


def _fates(
    spec: WorldSpec,
    clock: Clock,
    rate: dict[str, Floats],
    deal: tuple[Ints, Ints, Ints, Ints, Ints, Bools],
    u: Floats,
) -> tuple[Ints, Ints]:
    """Close every deal by competing hazards, age by age; return the day and the cause (1 won, 2 lost).

    A deal closes on the day on which its cumulative hazard passes an Exponential(1) draw; its cause
    is drawn by that day's hazards. The day of creation counts half.
    """
    created, rep, heir, handed, segment, dead = deal
    win, loss = (_daily_hazard(clock, rate[n], getattr(spec.truth, n)) for n in ("win", "loss"))
    by_segment = [np.exp(np.asarray(c.segment))[segment] for c in (spec.truth.win, spec.truth.loss)]
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
        band = int(np.searchsorted(AGE_BANDS, age))
        half = 0.5 if age == 0 else 1.0
        h_win = half * np.exp(spec.truth.win.age[band]) * win[day, owner] * by_segment[0][alive]
        h_loss = half * np.exp(spec.truth.loss.age[band]) * loss[day, owner] * by_segment[1][alive]
        total[alive] += h_win + h_loss
        done = total[alive] >= threshold[alive]
        hit = alive[done]
        closed[hit] = day[done]
        cause[hit] = np.where(u[hit, 1] * (h_win + h_loss)[done] < h_win[done], 1, 2)
        alive = alive[~done]
    return closed, cause


def _daily_hazard(clock: Clock, log_rate: Floats, true: Cause) -> Floats:
    position = np.asarray(true.position)[clock.position]
    return np.asarray(7.0 * clock.share[:, None] * np.exp(log_rate + position[:, None]))


def _money(spec: WorldSpec, segment: Ints, rep: Ints, z: Floats, u: Floats) -> tuple[Floats, Floats, Floats]:
    """Final amount, quoted amount and cost, in currency units, rounded to tens (cost to cents)."""
    true = spec.truth.value
    log_amount = true.level + np.asarray(true.segment)[segment] + np.asarray(true.rep)[rep]
    amount = np.maximum(np.round(np.exp(log_amount + true.residual_sd * z[:, 0]), -1), 10.0)
    ratio = np.where(u < true.quote_share, true.quote_level + true.quote_sd * z[:, 1], 0.0)
    quote = np.maximum(np.round(amount * np.exp(-ratio), -1), 10.0)
    margin = np.clip(true.margin + true.margin_sd * z[:, 2], 0.05, 0.95)
    return amount, quote, np.round(amount * (1.0 - margin), 2)


def lead_densities(spec: WorldSpec) -> tuple[Floats, Floats]:
    """Probability of conversion and of disqualification by age in days, shape ``(LEAD_LIFE + 1,)``."""
    band = np.minimum(np.searchsorted(LEAD_BANDS, np.arange(LEAD_LIFE + 1)), len(LEAD_BANDS) - 1)
    inside = np.arange(LEAD_LIFE + 1) <= LEAD_BANDS[-1]
    convert = np.asarray(spec.truth.leads.convert)[band] * inside
    disqualify = np.asarray(spec.truth.leads.disqualify)[band]
    total = convert + disqualify
    total[0] *= 0.5  # a lead comes in at midday, so to say
    before = np.concatenate([[0.0], np.cumsum(total)[:-1]])
    closing = np.exp(-before) * -np.expm1(-total)
    share = convert / (convert + disqualify)
    return closing * share, closing * (1.0 - share)


def _lead_days(
    spec: WorldSpec, clock: Clock, intensity: Floats, created: Ints, rep: Ints, rng: np.random.Generator
) -> Ints:
    """Look back from an opportunity to the day its lead came in, or -1.

    The lead's day is drawn in proportion to the rep's intensity on that day times the density of a
    conversion after that many days: the reverse of leads that arrive and convert. Leads from before
    the first day are not on record.
    """
    u = rng.random((created.size, 2))
    density, _ = lead_densities(spec)
    back = np.arange(LEAD_BANDS[-1] + 1)
    day = created[:, None] - back
    weight = np.where(day >= 0, intensity[np.maximum(day, 0), rep[:, None]], 0.0) * density[: back.size]
    edges = np.cumsum(weight, axis=1)
    chosen = created - (edges < u[:, 1:] * edges[:, -1:]).sum(axis=1)
    from_lead = (u[:, 0] < spec.truth.leads.share) & (chosen >= clock.first)
    return np.where(from_lead, chosen, -1)


def _dry_leads(spec: WorldSpec, clock: Clock, people: People, intensity: Floats, stream: Stream) -> DryLeads:
    convert, disqualify = lead_densities(spec)
    odds = (1.0 - convert.sum()) / convert.sum()
    mean = intensity * spec.truth.leads.share * odds
    mean[: clock.first] = 0.0
    counts = stream("dry_lead").poisson(mean)
    day, rep = np.nonzero(counts)
    repeat = counts[day, rep]
    created, rep = np.repeat(day, repeat), np.repeat(rep, repeat)
    u = stream("dry_lead_fate").random((created.size, 3))
    segment = _choose(np.asarray(spec.truth.mix)[people.team[created, rep]], u[:, 0])
    edges = np.cumsum(disqualify) / (1.0 - convert.sum())
    age = np.searchsorted(edges, u[:, 1])
    closed = np.where(age <= LEAD_LIFE, created + age, NEVER)
    return DryLeads(created, rep, segment, closed, u[:, 2])


def segment_names(codes: Ints) -> NDArray[np.object_]:
    """Names of segment numbers."""
    return np.asarray(SEGMENTS, dtype=object)[codes]
