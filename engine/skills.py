"""What a rep is worth at equal conditions: the persistent part of the fitted models, without luck.

Everything is read off posterior draws of effects; nothing is simulated, so an interval here says how well
a rep is known and not how the next year will fall. Equal conditions are: the company's mix of segments, the
average team, a full ramp, an average month of the year and position in the quarter, no shock. With a
quarter, its trend and the rep's own good or bad quarter come on top.

A new deal of segment s and amount band b has competing hazards h_w, h_l that are constant in bands of
age (a weighted day is a day on average), so that within a band of length L that is reached with
probability S ::

    P(win in it)           = S h_w / h (1 - exp(-h L)),        h = h_w + h_l
    E[age at win; win]     = S h_w [ a (1 - exp(-h L)) / h + (1 - exp(-h L) (1 + h L)) / h^2 ]

(Kalbfleisch & Prentice 2002, doi:10.1002/9781118032985, chapter 8, with piecewise constant hazards). Ages end
with the oldest at which anything ever closed: beyond lies extrapolation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quotacast.engine.drivers import ACTIVITY
from quotacast.models.conversion import HazardData
from quotacast.models.counts import CountData
from quotacast.models.funnel import Funnel
from quotacast.models.periods import END_DAYS
from quotacast.models.terms import Floats
from quotacast.models.timegrid import TimeGrid

Ints = NDArray[np.int64]

#: Weighted days of a working month.
MONTH = 365.25 / 12
#: Posterior draws from which skills are told.
MOST_DRAWS = 1000
#: Days of a quarter in each of ``periods.POSITIONS``.
POSITION_DAYS = (MONTH, MONTH, MONTH - END_DAYS, float(END_DAYS))
SKILLS = ("bookings", "opportunities_created", "close_rate", "cycle_days", "deal_value")


def some_rows(funnel: Funnel, most: int = MOST_DRAWS) -> Ints:
    """Posterior draws to work with: the first ``most`` of them."""
    return np.arange(min(funnel.draws, most), dtype=np.int64)


@dataclass(frozen=True)
class Kind:
    """Deals of one segment and amount band, for every draw and rep.

    Attributes
    ----------
    segment : int
    share : ndarray, shape (draws, reps)
        Share of this band among new deals of the segment.
    amount : ndarray, shape (draws, reps)
        Mean booked amount of a win, currency units.
    won, lost : ndarray, shape (draws, reps, bands of age)
        Probability of ending so within each band.
    won_days : ndarray, shape (draws, reps, bands of age)
        Mean age at the win times the probability of it.
    """

    segment: int
    share: Floats
    amount: Floats
    won: Floats
    lost: Floats
    won_days: Floats


def age_bounds(funnel: Funnel) -> Floats:
    """Ends of the bands of age, from 0 to the day after the oldest close, shape (bands + 1,)."""
    return _bounds(funnel.prepared.hazards)


def _bounds(hazards: HazardData) -> Floats:
    end = float(hazards.last_event_age + 1)
    return np.array([*(e for e in hazards.age_edges if e < end), end], dtype=float)


def fates(win: Floats, loss: Floats, bounds: Floats) -> tuple[Floats, Floats, Floats]:
    """Probabilities of a win and a loss by band of age, and the mean age at the win times its probability.

    Parameters
    ----------
    win, loss : ndarray, shape (..., bands)
        Hazards per day.
    bounds : ndarray, shape (bands + 1,)
        Ends of the bands, days.

    Returns
    -------
    won, lost, won_days : ndarray, shape (..., bands)
    """
    both, length = np.maximum(win + loss, 1e-300), np.diff(bounds)
    through = both * length
    reached = np.exp(-(np.cumsum(through, axis=-1) - through))
    ended = -np.expm1(-through)
    later = (ended - through * np.exp(-through)) / both
    return (
        reached * ended * win / both,
        reached * ended * loss / both,
        reached * win / both * (bounds[:-1] * ended + later),
    )


def counted(funnel: Funnel, model: str) -> CountData:
    """The data of a model of how many: ``created``, ``leads`` or ``activity:<kind>``."""
    prepared = funnel.prepared
    if model == "created":
        return prepared.counts
    found = prepared.chain.leads if model == "leads" else prepared.chain.activities[model.partition(":")[2]]
    if found is None:
        raise ValueError(f"no model of {model}")
    return found


def ended(funnel: Funnel, cause: str) -> HazardData:
    """The data of a model of whether and when, by its cause."""
    links = funnel.prepared.chain.links.values()
    found = [one.hazards for one in links if cause in one.link.causes]
    return found[0] if found else funnel.prepared.hazards


def levels(funnel: Funnel, model: str, name: str, rows: Ints, size: int) -> Floats:
    """Draws of a term's levels, zeros where the model has no such term; shape (rows, size)."""
    found = funnel.posteriors[model].effects.get(name)
    return np.zeros((rows.size, size)) if found is None else np.asarray(found[rows])


def rep_effects(funnel: Funnel, model: str, rows: Ints, quarter: int | None = None) -> Floats:
    """Effects of reps, with those of a running fiscal quarter and its trend where one is given.

    Returns
    -------
    ndarray, shape (rows, reps)
    """
    reps = len(funnel.prepared.people.reps)
    out = levels(funnel, model, "rep", rows, reps)
    if quarter is None:
        return out
    quarters = _quarters(funnel, model)
    if not quarters[0] <= quarter <= quarters[-1]:
        return out
    at = quarter - int(quarters[0])
    out = out + levels(funnel, model, "trend", rows, quarters.size)[:, [at]]
    own = levels(funnel, model, "rep_quarter", rows, reps * quarters.size)
    return np.asarray(out + own.reshape(rows.size, reps, quarters.size)[:, :, at])


def _quarters(funnel: Funnel, model: str) -> Ints:
    if model == "value":
        return funnel.prepared.value.quarters
    if model in ("created", "leads") or model.startswith(ACTIVITY):
        return counted(funnel, model).quarters
    return ended(funnel, model).quarters


def average_hazard(funnel: Funnel, cause: str, rows: Ints) -> Floats:
    """Hazard by age of an average deal on an average day of the quarter, shape (rows, bands of age)."""
    bands = len(ended(funnel, cause).age_edges)
    places = len(POSITION_DAYS)
    both = levels(funnel, cause, "age_position", rows, bands * places).reshape(rows.size, bands, places)
    eta = both + levels(funnel, cause, "position", rows, places)[:, None, :]
    weight = np.asarray(POSITION_DAYS) / sum(POSITION_DAYS)
    base = levels(funnel, cause, "level", rows, 1) + levels(funnel, cause, "age", rows, bands)
    return np.asarray(np.exp(base) * (np.exp(eta) @ weight))


def kinds(funnel: Funnel, rows: Ints, *, equal: bool = False, quarter: int | None = None) -> Iterator[Kind]:
    """Fates and amounts of new deals, by segment and amount band.

    Parameters
    ----------
    equal : bool
        Leave the reps' effects out: one column, for an average rep.
    quarter : int, optional
        Running fiscal quarter whose conditions hold; without it those of the whole history.
    """
    bounds, prepared = age_bounds(funnel), funnel.prepared
    segments, bands = len(prepared.segment.levels), max(prepared.quotes.bands, 1)
    effect, own, base = {}, {}, {}
    for cause in ("won", "lost"):
        effect[cause] = _reps_of(funnel, cause, rows, equal, quarter)[:, :, None]
        base[cause] = average_hazard(funnel, cause, rows)[:, None, : bounds.size - 1]
        segment = levels(funnel, cause, "segment", rows, segments)
        own[cause] = segment[:, :, None] + levels(funnel, cause, "amount", rows, bands)[:, None, :]
    worth = _reps_of(funnel, "value", rows, equal, quarter)
    for s in range(segments):
        for band, share, amount in _amounts(funnel, rows, s, worth):
            win, loss = (
                base[cause] * np.exp(effect[cause] + own[cause][:, s, band][:, None, None])
                for cause in ("won", "lost")
            )
            yield Kind(s, share, amount, *fates(win, loss, bounds))


def _reps_of(funnel: Funnel, model: str, rows: Ints, equal: bool, quarter: int | None) -> Floats:
    return np.zeros((rows.size, 1)) if equal else rep_effects(funnel, model, rows, quarter)


def _amounts(funnel: Funnel, rows: Ints, segment: int, worth: Floats) -> Iterator[tuple[int, Floats, Floats]]:
    """Bands of the quoted amount with their shares among new deals and mean booked amounts."""
    prepared, residuals = funnel.prepared, funnel.residuals
    effect = levels(funnel, "value", "segment", rows, len(prepared.segment.levels))[:, [segment]]
    centre = levels(funnel, "value", "level", rows, 1) + effect + worth
    times = 1.0 - residuals.zero_share[rows][:, None]
    share = np.diff(residuals.cumulative[rows].astype(float), axis=1, prepend=0.0)
    weighted = share * np.exp(residuals.values)
    if prepared.quotes.basis != "created":
        yield 0, np.ones_like(centre), times * np.exp(centre) * weighted.sum(axis=1)[:, None]
        return
    times = times * float(np.exp(prepared.quotes.new_ratio).mean())
    inner = np.log(np.maximum(prepared.quotes.band_edges, 1e-9))
    edges = np.concatenate([[-np.inf], inner, [np.inf]])
    below, money = (np.pad(np.cumsum(part, axis=1), ((0, 0), (1, 0))) for part in (share, weighted))
    row = np.arange(rows.size)[:, None]
    for band in range(edges.size - 1):
        low, high = (np.searchsorted(residuals.values, edges[band + k] - centre) for k in (0, 1))
        part = below[row, high] - below[row, low]
        mean = (money[row, high] - money[row, low]) / np.maximum(part, 1e-12)
        yield band + 1, part, times * np.exp(centre) * mean


def company_mix(funnel: Funnel, rows: Ints) -> Floats:
    """Shares of the segments among the company's new deals, shape (rows, segments)."""
    return np.diff(funnel.mix[rows, -1].astype(float), axis=1, prepend=0.0)


def arrivals(funnel: Funnel, model: str, rows: Ints, quarter: int | None = None) -> Floats:
    """Opportunities, leads or activities per working month at equal conditions, shape (rows, reps).

    With a rep's own usual activity, where that goes along with creation between reps.
    """
    season = np.exp(levels(funnel, model, "season", rows, 12)).mean(axis=1)
    team = np.exp(levels(funnel, model, "team", rows, len(counted(funnel, model).teams))).mean(axis=1)
    level = np.exp(levels(funnel, model, "level", rows, 1))
    reps = rep_effects(funnel, model, rows, quarter) + busyness(funnel, model, rows)
    return np.asarray(MONTH * level * (season * team)[:, None] * np.exp(reps))


def busyness(funnel: Funnel, model: str, rows: Ints) -> Floats:
    """What goes along with a rep's usual activity, log scale; shape (rows, reps)."""
    chain = funnel.prepared.chain
    out = np.zeros((rows.size, len(funnel.prepared.people.reps)))
    for k, kind in enumerate(chain.drivers):
        out += levels(funnel, model, f"between:{kind}", rows, 1) * chain.between[:, k]
    return out


def conversion(funnel: Funnel, rows: Ints, *, equal: bool = False, quarter: int | None = None) -> Floats:
    """Share of leads that convert, of those that end, at the company's mix; shape (rows, reps or 1)."""
    won, lost = (np.zeros((rows.size, 1 if equal else len(funnel.prepared.people.reps))) for _ in range(2))
    for share, converted, disqualified in _lead_fates(funnel, rows, equal, quarter):
        won += share * converted
        lost += share * disqualified
    return np.asarray(won / (won + lost))


def _lead_fates(
    funnel: Funnel, rows: Ints, equal: bool, quarter: int | None
) -> Iterator[tuple[float, Floats, Floats]]:
    """By segment: its share among leads, and the odds that one converts or is disqualified."""
    data, deals = ended(funnel, "converted"), funnel.prepared.chain.lead_deals
    segments = len(funnel.prepared.segment.levels)
    count = np.zeros(segments) if deals is None else np.bincount(deals.codes["segment"], minlength=segments)
    bounds = _bounds(data)
    for s, share in enumerate(count / max(count.sum(), 1)):
        hazard = [
            average_hazard(funnel, cause, rows)[:, None, : bounds.size - 1]
            * np.exp(_reps_of(funnel, cause, rows, equal, quarter))[:, :, None]
            * np.exp(levels(funnel, cause, "segment", rows, segments)[:, s])[:, None, None]
            for cause in ("converted", "disqualified")
        ]
        won, lost, _ = fates(hazard[0], hazard[1], bounds)
        yield float(share), won.sum(axis=2), lost.sum(axis=2)


def leads_to_deals(funnel: Funnel, rows: Ints, *, equal: bool = False, quarter: int | None = None) -> Floats:
    """Opportunities that a lead becomes on average, shape (rows, reps or 1)."""
    parts = [share * won for share, won, _ in _lead_fates(funnel, rows, equal, quarter)]
    return np.asarray(np.sum(parts, axis=0) * funnel.lead_yield[rows][:, None])


def creations(funnel: Funnel, rows: Ints, quarter: int | None = None) -> Floats:
    """Opportunities per working month at equal conditions, with and without a lead; shape (rows, reps)."""
    direct = arrivals(funnel, "created", rows, quarter)
    if funnel.prepared.chain.leads is None:
        return direct
    return direct + arrivals(funnel, "leads", rows, quarter) * leads_to_deals(funnel, rows, quarter=quarter)


def skills(funnel: Funnel, rows: Ints, quarter: int | None = None) -> dict[str, Floats]:
    """What every rep is worth at equal conditions.

    Returns
    -------
    dict of ndarray, shape (rows, reps)
        The metrics of `SKILLS`, ``deals_won``, and those of leads and activities that are modelled. Sums
        are per working month.
    """
    mix = company_mix(funnel, rows)
    won, closed, days, money = (np.zeros((rows.size, len(funnel.prepared.people.reps))) for _ in range(4))
    for kind in kinds(funnel, rows, quarter=quarter):
        weight = mix[:, [kind.segment]] * kind.share
        wins = weight * kind.won.sum(axis=2)
        won += wins
        closed += wins + weight * kind.lost.sum(axis=2)
        days += weight * kind.won_days.sum(axis=2)
        money += wins * kind.amount
    created = creations(funnel, rows, quarter)
    out = {
        "bookings": created * money,
        "opportunities_created": created,
        "close_rate": won / closed,
        "cycle_days": days / won,
        "deal_value": money / won,
        "deals_won": created * won,
    }
    if funnel.prepared.chain.leads is not None:
        out["leads_created"] = arrivals(funnel, "leads", rows, quarter)
        out["lead_close_rate"] = conversion(funnel, rows, quarter=quarter)
    for act in funnel.prepared.chain.kinds:
        out[ACTIVITY + act] = arrivals(funnel, ACTIVITY + act, rows, quarter)
    return out


def months_at_work(funnel: Funnel, quarter: int | None = None) -> Floats:
    """Working months behind every rep's history, or within a running fiscal quarter; shape (reps,)."""
    grid, people = funnel.prepared.grid, funnel.prepared.people
    days = grid.days
    if quarter is not None:
        days = days[np.asarray(grid.quarter)[grid.piece(days)] == quarter]
    at_work = (days >= people.start[:, None]) & (days <= people.stop[:, None])
    return np.asarray((at_work @ grid.weight(days)) / MONTH)


def fitted_quarters(grid: TimeGrid) -> list[int]:
    """Running fiscal quarters of the history, in order."""
    return [int(q) for q in np.unique(grid.quarter)]
