"""From a specification to records: what every rep did on every day, as arrays.

Order of causes: activities, then the intensities of leads and of opportunities without a lead (which they
raise), then leads and their fates, then opportunities, those from converted leads among them, and at last
their fates by competing hazards, day by day. Every purpose has a random stream of its own and every stream
is consumed in the order of time, so a longer horizon changes none of the activities, leads, creations and
closings before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quotacast.engine.worlds_activity import activities, activity_deviation, usual_activity
from quotacast.engine.worlds_clock import (
    Bools,
    Clock,
    Floats,
    Ints,
    People,
    Stream,
    make_clock,
    make_people,
    persistent,
    streams,
)
from quotacast.engine.worlds_fates import fates, heirs
from quotacast.engine.worlds_stages import MOST_MOVES, Stays, staged_fates
from quotacast.engine.worlds_truth import (
    AGE_BANDS,
    LEAD_BANDS,
    SEGMENTS,
    TENURE_BANDS,
    Creation,
    Rate,
    WorldSpec,
)

#: Whose monthly shocks move with another's, as far as the truth's comovement says.
_FOLLOWS = {"loss": "win", "disqualify": "convert"}


@dataclass(frozen=True)
class Deals:
    """Opportunities in the order of creation; days are numbers on the clock.

    ``cause`` is 1 for won, 2 for lost and 0 where ``closed`` is `NEVER`; ``lead`` is the number of the
    lead it came from, -1 without one; ``heir`` owns the deal from ``handed`` on; ``stays`` are its stages
    where the truth has a chain of them.
    """

    created: Ints
    rep: Ints
    heir: Ints
    handed: Ints
    segment: Ints
    dead: Bools
    closed: Ints
    cause: Ints
    lead: Ints
    amount: Floats
    quote: Floats
    known: Bools
    cost: Floats
    uniform: Floats
    stays: Stays | None = None


@dataclass(frozen=True)
class LeadRows:
    """Leads in the order of arrival; ``cause`` is 1 for converted, 2 for disqualified, else as in `Deals`."""

    created: Ints
    rep: Ints
    heir: Ints
    handed: Ints
    segment: Ints
    closed: Ints
    cause: Ints
    uniform: Floats


@dataclass(frozen=True)
class Records:
    """Everything that happened, on the clock's days.

    Attributes
    ----------
    activity : ndarray, shape (days, reps, kinds)
        Counts that hang on no opportunity.
    intensity : ndarray, shape (days, reps)
        Mean number of opportunities that are created without a lead, given activities and shocks.
    lead_intensity : ndarray, shape (days, reps)
        The same of leads; zero where there are none.
    shocks : dict
        Realised monthly shocks by model.
    """

    clock: Clock
    people: People
    activity: Ints
    intensity: Floats
    lead_intensity: Floats
    deals: Deals
    leads: LeadRows
    shocks: dict[str, Floats]


def simulate(spec: WorldSpec) -> Records:
    """Draw a company's records."""
    stream = streams(spec.seed)
    clock = make_clock(spec)
    people = make_people(spec, clock)
    activity = activities(spec, clock, people, stream)
    rate, shocks = _log_rates(spec, clock, stream)
    leads, lead_intensity = _leads(spec, clock, people, rate, activity, stream)
    true = spec.truth.activity
    drive = _drive(spec, clock, people, activity, true.beta, true.between)
    intensity = _intensity(clock, people, spec.truth.creation, rate["creation"] + drive)
    counts = _counts(clock, intensity, spec.truth.creation.dispersion, stream, "creation")
    counts[: clock.first] = 0
    deals = _deals(spec, clock, people, rate, counts, leads, stream)
    return Records(clock, people, activity, intensity, lead_intensity, deals, leads, shocks)


def _log_rates(spec: WorldSpec, clock: Clock, stream: Stream) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """What all rates have in common, shape (days, reps), and the monthly shocks, by model."""
    months, quarters = int(clock.month[-1]) + 1, int(clock.quarter[-1]) + 1
    rates: dict[str, Floats] = {}
    shocks: dict[str, Floats] = {}
    models: dict[str, Rate] = {n: getattr(spec.truth, n) for n in ("creation", "win", "loss")}
    if spec.truth.leads is not None:
        true_leads = spec.truth.leads
        models["lead"] = true_leads.arrival
        models |= {"convert": true_leads.convert, "disqualify": true_leads.disqualify}
    steps = {name: stream(f"{name}_shock").standard_normal(months) for name in models}
    for name, leader in _FOLLOWS.items():
        if name in steps:
            r = spec.truth.comovement
            steps[name] = r * steps[leader] + np.sqrt(1.0 - r**2) * steps[name]
    for name, true in models.items():
        shocks[name] = persistent(steps[name], true.shock_sd, true.shock_rho)
        own = true.rep_quarter_sd * stream(f"{name}_quarter").standard_normal((quarters, spec.n_reps))
        common = true.level + shocks[name][clock.month] + _market(spec, clock, name)
        rates[name] = common[:, None] + np.asarray(true.rep) + own[clock.quarter]
    return rates, shocks


def _market(spec: WorldSpec, clock: Clock, model: str) -> Floats:
    shock = spec.truth.market_shock
    part = {"lead": "creation"}.get(model, model)
    if shock is None or not hasattr(shock, part):
        return np.zeros(clock.days.size)
    since = clock.days.astype("datetime64[M]") - np.datetime64(shock.first, "M")
    inside = (since.astype(np.int64) >= 0) & (since.astype(np.int64) < shock.months)
    return np.where(inside, float(getattr(shock, part)), 0.0)


def _drive(
    spec: WorldSpec,
    clock: Clock,
    people: People,
    activity: Ints,
    beta: tuple[float, ...],
    between: tuple[float, ...],
) -> Floats:
    """What activity adds to a log rate, shape (days, reps)."""
    if not spec.activity_effects:
        return np.zeros((clock.days.size, spec.n_reps))
    own = activity_deviation(clock, people, activity) @ np.asarray(beta)
    usual = usual_activity(clock, people, activity) @ np.asarray(between)
    return np.asarray((own + usual)[clock.week])


def _intensity(clock: Clock, people: People, true: Creation, log_rate: Floats) -> Floats:
    band = np.searchsorted(TENURE_BANDS, people.tenure, side="right")
    eta = log_rate + np.asarray(true.team)[people.team] + np.asarray(true.tenure)[band]
    eta = eta + np.asarray(true.season)[clock.month_of_year][:, None]
    return np.asarray(clock.share[:, None] * people.employed * np.exp(eta))


def _counts(clock: Clock, intensity: Floats, phi: float, stream: Stream, name: str) -> Ints:
    """Counts per day and rep: Poisson given a Gamma factor of the week, so NegBinomial by week."""
    frailty = stream(f"{name}_week").gamma(phi, 1.0 / phi, (clock.weeks, intensity.shape[1]))
    return np.asarray(stream(name).poisson(frailty[clock.week] * intensity), dtype=np.int64)


def _leads(
    spec: WorldSpec, clock: Clock, people: People, rate: dict[str, Floats], activity: Ints, stream: Stream
) -> tuple[LeadRows, Floats]:
    """Leads from the first day of the clock on, with what becomes of them, and their intensity."""
    true = spec.truth.leads
    if true is None:
        none = np.empty(0, dtype=np.int64)
        return LeadRows(*(none,) * 7, np.empty((0, 1))), np.zeros((clock.days.size, spec.n_reps))
    drive = _drive(spec, clock, people, activity, true.beta, true.between)
    intensity = _intensity(clock, people, true.arrival, rate["lead"] + drive)
    counts = _counts(clock, intensity, true.arrival.dispersion, stream, "lead")
    created, rep = _rows(counts)
    u = stream("lead_fate").random((created.size, 5))
    segment = _choose(np.asarray(spec.truth.mix)[people.team[created, rep]], u[:, 0])
    heir, handed = heirs(people, rep, created, u[:, 1])
    row = (created, rep, heir, handed, segment, np.zeros(created.size, dtype=bool))
    rates = rate["convert"], rate["disqualify"]
    closed, cause = fates(clock, (true.convert, true.disqualify), rates, LEAD_BANDS, row, u[:, 2:4])
    return LeadRows(created, rep, heir, handed, segment, closed, cause, u[:, 4:]), intensity


def _rows(counts: Ints) -> tuple[Ints, Ints]:
    """Day and rep of every single one that is counted, in the order of days."""
    day, rep = np.nonzero(counts)
    repeat = counts[day, rep]
    return np.repeat(day, repeat), np.repeat(rep, repeat)


def _deals(
    spec: WorldSpec,
    clock: Clock,
    people: People,
    rate: dict[str, Floats],
    counts: Ints,
    leads: LeadRows,
    stream: Stream,
) -> Deals:
    created, rep = _rows(counts)
    lead = np.flatnonzero((leads.cause == 1) & (leads.closed >= clock.first))
    day = leads.closed[lead]
    owner = np.where(day >= leads.handed[lead], leads.heir[lead], leads.rep[lead])
    # by day, those without a lead first: a longer horizon only adds at the end
    order = np.argsort(np.concatenate([created, day]), kind="stable")
    lead = np.concatenate([np.full(created.size, -1), lead])[order]
    created, rep = np.concatenate([created, day])[order], np.concatenate([rep, owner])[order]
    u = stream("deal").random((created.size, 12))
    z = stream("deal_normal").standard_normal((created.size, 3))
    segment = _choose(np.asarray(spec.truth.mix)[people.team[created, rep]], u[:, 0])
    of_lead = lead >= 0
    segment[of_lead] = leads.segment[lead[of_lead]]
    u[of_lead, 8] = leads.uniform[lead[of_lead], 0]  # the source is the lead's
    heir, handed = heirs(people, rep, created, u[:, 1])
    dead = u[:, 2] < spec.truth.dead_share
    row, rates = (created, rep, heir, handed, segment, dead), (rate["win"], rate["loss"])
    causes, chain, stays = (spec.truth.win, spec.truth.loss), spec.truth.stages, None
    if chain is None:
        closed, cause = fates(clock, causes, rates, AGE_BANDS, row, u[:, 3:5])
    else:
        moves = stream("stage_move").random((created.size, MOST_MOVES, 2))
        closed, cause, stays = staged_fates(clock, causes, rates, AGE_BANDS, row, u[:, 3:5], chain, moves)
    amount, quote, cost = _money(spec, segment, rep, z, u[:, 5])
    known = u[:, 6] < spec.truth.value.known_share
    return Deals(*row, closed, cause, lead, amount, quote, known, cost, u[:, 7:], stays)


def _choose(shares: Floats, u: Floats) -> Ints:
    """Pick a column by cumulative shares, row by row."""
    edges = np.cumsum(shares, axis=1)[:, :-1]
    return np.asarray((u[:, None] >= edges).sum(axis=1))


def _money(spec: WorldSpec, segment: Ints, rep: Ints, z: Floats, u: Floats) -> tuple[Floats, Floats, Floats]:
    """Final amount, quoted amount and cost, in currency units, rounded to tens (cost to cents)."""
    true = spec.truth.value
    log_amount = true.level + np.asarray(true.segment)[segment] + np.asarray(true.rep)[rep]
    amount = np.maximum(np.round(np.exp(log_amount + true.residual_sd * z[:, 0]), -1), 10.0)
    ratio = np.where(u < true.quote_share, true.quote_level + true.quote_sd * z[:, 1], 0.0)
    quote = np.maximum(np.round(amount * np.exp(-ratio), -1), 10.0)
    margin = np.clip(true.margin + true.margin_sd * z[:, 2], 0.05, 0.95)
    return amount, quote, np.round(amount * (1.0 - margin), 2)


def segment_names(codes: Ints) -> NDArray[np.object_]:
    """Names of segment numbers."""
    return np.asarray(SEGMENTS, dtype=object)[codes]
