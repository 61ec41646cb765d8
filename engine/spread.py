"""How much of the spread of reps' actual results is luck, territory, time and rep.

The result y of a rep is the bookings, per working month, from deals created in the history. Given a
posterior draw, the models say what was to be expected::

    E = (expected creations / working months) x sum over segments and ages of
        share of the rep's deals x expected bookings of a deal of that segment by that age

once with and once without three things: *time* (ramp, the months worked in, the age of the deals),
*territory* (segments of the deals and the team) and *rep* (persistent effects on creation, winning, losing
and value). Off means: as for the whole company. Shapley values over the eight combinations (Shapley
1953; Shorrocks 2013, doi:10.1007/s10888-011-9214-z) turn E into a sum of parts f_k, and ::

    share_k = Cov(y, f_k) / Var(y),        luck = Cov(y, y - sum of f_k) / Var(y)

over reps weighted by their months, so that the shares sum to 1 in every draw. For y = theta + noise
with theta ~ Normal(0, t^2) and noise of variance v, the posterior mean of the rep's share is
t^2 / (t^2 + v): shrinkage is undone, not counted as luck. A draw's share may be negative. Luck holds
everything that does not stay with a rep: good and bad quarters, counts, closings, deal sizes.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from quotacast.engine.shapley import shapley as split
from quotacast.engine.skills import (
    Ints,
    age_bounds,
    busyness,
    company_mix,
    counted,
    kinds,
    leads_to_deals,
    levels,
    months_at_work,
)
from quotacast.models.funnel import Funnel
from quotacast.models.history.history import History
from quotacast.models.terms import Floats
from quotacast.models.timegrid import day_number

FACTORS = ("time", "territory", "rep")
PARTS = ("luck", *FACTORS)
#: Reps with fewer working months have results per month that say nothing.
LEAST_MONTHS = 3.0

Switch = frozenset[str]


def spread_of_results(funnel: Funnel, history: History, rows: Ints) -> dict[str, Floats]:
    """Shares of `PARTS` in the variance of reps' results, each of shape (rows,); they sum to 1.

    Empty where fewer than three reps have worked for `LEAST_MONTHS`, or all results are the same.
    """
    months = months_at_work(funnel)
    used = months >= LEAST_MONTHS
    results = cohort_bookings(funnel, history)[used] / np.maximum(months[used], 1e-9)
    if used.sum() < 3 or np.ptp(results) == 0:
        return {}
    expected = expected_results(funnel, history, rows)
    parts = shapley({on: values[:, used] for on, values in expected.items()})
    return covariance_shares(results, parts, months[used])


def covariance_shares(results: Floats, parts: dict[str, Floats], weights: Floats) -> dict[str, Floats]:
    """Shares of the parts and of luck, the rest, in the variance of the results.

    Parameters
    ----------
    results : ndarray, shape (reps,)
    parts : mapping of str to ndarray, shape (draws, reps)
    weights : ndarray, shape (reps,)
    """
    share = weights / weights.sum()
    centred = results - share @ results
    variance = float(share @ centred**2)
    told = {name: (values @ (share * centred)) / variance for name, values in parts.items()}
    return {"luck": np.asarray(1.0 - sum(told.values())), **told}


def shapley(values: dict[Switch, Floats], factors: tuple[str, ...] = FACTORS) -> dict[str, Floats]:
    """Shapley values of factors: they sum to the value with all on less the value with all off."""
    found = split(lambda on: values[frozenset(factors[i] for i in on)], len(factors))
    return dict(zip(factors, found.parts, strict=True))


def cohort_bookings(funnel: Funnel, history: History) -> Floats:
    """Bookings by the as-of date of the deals created in the history's span, by present owner; (reps,)."""
    deals, index = history.opportunities, funnel.prepared.people.index()
    inside = day_number(deals["created_on"]) >= funnel.prepared.grid.first
    won = inside & (deals["status"] == "won").to_numpy()
    rep = np.array([index[r] for r in deals["rep_id"]], dtype=np.int64)
    amount = np.nan_to_num(deals["amount"].to_numpy(dtype=float))
    return np.bincount(rep[won], amount[won], minlength=len(index)).astype(float)


def expected_results(funnel: Funnel, history: History, rows: Ints) -> dict[Switch, Floats]:
    """Expected bookings per working month for every combination of factors, shape (rows, reps)."""
    worked = months_at_work(funnel)
    mixes, ages = _deals(funnel, history, rows)
    worth = {equal: _worth_by_age(funnel, rows, equal) for equal in (True, False)}
    created = _creations(funnel, rows)
    out = {}
    for size in range(len(FACTORS) + 1):
        for chosen in combinations(FACTORS, size):
            on = frozenset(chosen)
            rate = created["territory" in on, "rep" in on] / np.maximum(worked, 1e-9)
            if "time" not in on:  # the company's mean instead of the rep's own months
                plain = created[False, False]
                rate = rate / np.maximum(plain / np.maximum(worked, 1e-9), 1e-12)
                rate = rate * (plain.sum(axis=1) / worked.sum())[:, None]
            mix, age = mixes["territory" in on], ages["time" in on]
            value = worth["rep" not in on]
            out[on] = rate * sum(mix[:, :, s] * (value[s] * age).sum(axis=2) for s in range(len(value)))
    return out


def _creations(funnel: Funnel, rows: Ints) -> dict[tuple[bool, bool], Floats]:
    """Expected creations over the history by (territory, rep) on or off, shape (rows, reps)."""
    out = _arrivals(funnel, "created", rows)
    if funnel.prepared.chain.leads is None:
        return out
    became = {on: leads_to_deals(funnel, rows, equal=not on) for on in (True, False)}
    leads = _arrivals(funnel, "leads", rows)
    return {key: value + leads[key] * became[key[1]] for key, value in out.items()}


def _arrivals(funnel: Funnel, model: str, rows: Ints) -> dict[tuple[bool, bool], Floats]:
    """The same of one model of how many."""
    counts, reps = counted(funnel, model), len(funnel.prepared.people.reps)
    codes, axes = counts.cells.codes, {t.name: t for t in counts.declaration.terms}
    eta = np.repeat(levels(funnel, model, "level", rows, 1), len(counts.cells), axis=1)
    for name in ("tenure", "season", "shock", "trend"):
        if name in axes:
            eta += funnel.posteriors[model].effects[name][rows][:, codes[axes[name].axis]]
    base = np.exp(eta) * counts.cells.exposure
    team = np.exp(levels(funnel, model, "team", rows, len(counts.teams)))
    weighted = base * team[:, codes["team"]]
    neutral = weighted.sum(axis=1, keepdims=True) / base.sum(axis=1, keepdims=True)
    order = np.zeros((len(counts.cells), reps))
    order[np.arange(len(counts.cells)), codes["rep"]] = 1.0
    own = np.exp(levels(funnel, model, "rep", rows, reps) + busyness(funnel, model, rows))
    plain, placed = base @ order * neutral, weighted @ order
    return {
        (False, False): plain,
        (True, False): placed,
        (False, True): plain * own,
        (True, True): placed * own,
    }


def _worth_by_age(funnel: Funnel, rows: Ints, equal: bool) -> list[Floats]:
    """Expected bookings of a deal by the ends of the bands of age, per segment.

    Shape (rows, reps or 1, bands + 1).
    """
    out: list[Floats] = [np.zeros(1)] * len(funnel.prepared.segment.levels)
    for kind in kinds(funnel, rows, equal=equal):
        money = np.pad(np.cumsum(kind.won, axis=2), ((0, 0), (0, 0), (1, 0)))
        out[kind.segment] = out[kind.segment] + (kind.share * kind.amount)[:, :, None] * money
    return out


def _deals(funnel: Funnel, history: History, rows: Ints) -> tuple[dict[bool, Floats], dict[bool, Floats]]:
    """Mix of segments (rows, reps, segments) and of ages (reps, bands + 1), own or the company's."""
    prepared, bounds = funnel.prepared, age_bounds(funnel)
    rep, inside = _owners(funnel, history)
    index = prepared.people.index()
    created = day_number(history.opportunities["created_on"])
    age = np.clip(prepared.grid.last + 0.5 - created[inside], 0, bounds[-1])
    company = company_mix(funnel, rows)[:, None, :]
    own = own_mix(funnel, history, rows)
    # between two bounds a deal's odds grow about linearly with its age
    low = np.clip(np.searchsorted(bounds, age, side="right") - 1, 0, bounds.size - 2)
    part = (age - bounds[low]) / (bounds[low + 1] - bounds[low])
    whole = np.bincount(low, 1.0 - part, bounds.size) + np.bincount(low + 1, part, bounds.size)
    whole = whole / whole.sum()
    ages = np.zeros((len(index), bounds.size))
    np.add.at(ages, (rep, low), 1.0 - part)
    np.add.at(ages, (rep, low + 1), part)
    total = ages.sum(axis=1, keepdims=True)
    ages = np.where(total > 0, ages / np.maximum(total, 1e-9), whole)
    return (
        {True: np.broadcast_to(own, (rows.size, *own.shape)), False: company},
        {True: ages, False: whole[None, :]},
    )


def _owners(funnel: Funnel, history: History) -> tuple[Ints, NDArray[np.bool_]]:
    """Positions of the owners of deals created in the history's span, and which deals those are."""
    inside = day_number(history.opportunities["created_on"]) >= funnel.prepared.grid.first
    index = funnel.prepared.people.index()
    rep = np.array([index[r] for r in history.opportunities["rep_id"]], dtype=np.int64)
    return rep[inside], np.asarray(inside)


def own_mix(funnel: Funnel, history: History, rows: Ints) -> Floats:
    """Shares of the segments among every rep's deals, the company's for who has none; (reps, segments)."""
    prepared = funnel.prepared
    rep, inside = _owners(funnel, history)
    segment = prepared.segment.codes[inside].astype(np.int64)
    rest = company_mix(funnel, rows).mean(axis=0)
    return _shares(rep, segment, len(prepared.people.reps), len(prepared.segment.levels), rest)


def _shares(rep: Ints, code: Ints, reps: int, size: int, rest: Floats) -> Floats:
    """Shares of the codes among each rep's deals; ``rest`` where a rep has none."""
    count = np.bincount(rep * size + code, minlength=reps * size).reshape(reps, size).astype(float)
    total = count.sum(axis=1, keepdims=True)
    return np.asarray(np.where(total > 0, count / np.maximum(total, 1), rest))
