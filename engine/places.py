"""What is to be expected of a rep in a period, with and without ramp, territory and skill.

Of the fitted models' factors, averaged over posterior draws ::

    expected = arrivals (team, rep) x ramp x sum over segments of mix x worth of a deal (rep)

*ramp* is the mean of the ramp's factor over the days of the period at work (0 on others), *territory* the
team's effect and the rep's own mix of segments, *skill* the rep's persistent effects on creation, winning,
losing and value. Off means: as for a typical rep, the average team or the company's mix. Only ratios of such
expectations are used, to move a rep's simulated futures from one place to another without simulating again;
seasons, shocks and open deals stay what they are.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from quotacast.engine.departures import Crew
from quotacast.engine.skills import (
    MONTH,
    Ints,
    busyness,
    company_mix,
    counted,
    kinds,
    leads_to_deals,
    levels,
    rep_effects,
)
from quotacast.engine.spread import Switch, own_mix
from quotacast.models.funnel import Funnel
from quotacast.models.history.history import History
from quotacast.models.people import TENURE_EDGES, tenure_band
from quotacast.models.periods import Period
from quotacast.models.terms import Floats
from quotacast.models.timegrid import day_number

FACTORS = ("ramp", "territory", "skill")
#: Metrics that can be moved so: what a new deal is worth in each.
WORTHS = {"bookings": "amount", "deals_won": "win", "opportunities_created": "one"}


def expected_places(
    funnel: Funnel, history: History, people: Crew, period: Period, rows: Ints, name: str
) -> dict[Switch, dict[str, float]]:
    """Expected value of a metric of `WORTHS` per working month, by factors that are on and by rep.

    Parameters
    ----------
    people : Crew
        Reps of the history, then hires, of whom nothing but team and first day is known.
    rows : ndarray
        Posterior draws.
    """
    ramp = _ramp(funnel, people, period, rows)
    mixes = {True: _own(funnel, history, people, rows), False: company_mix(funnel, rows)[:, None, :]}
    worth = {on: _worth(funnel, people, rows, not on, WORTHS[name]) for on in (True, False)}
    out: dict[Switch, dict[str, float]] = {}
    for size in range(len(FACTORS) + 1):
        for chosen in combinations(FACTORS, size):
            on = frozenset(chosen)
            rate = _rate(funnel, people, rows, "territory" in on, "skill" in on)
            course = ramp if "ramp" in on else ramp.mean(axis=1, keepdims=True)
            mix = mixes["territory" in on]
            value = sum(mix[:, :, s] * w for s, w in enumerate(worth["skill" in on]))
            mean = np.broadcast_to((rate * course * value).mean(axis=0), (len(people.reps),))
            out[on] = dict(zip(people.reps, (float(x) for x in mean), strict=True))
    return out


def _ramp(funnel: Funnel, people: Crew, period: Period, rows: Ints) -> Floats:
    """Mean factor of the ramp over the days of the period, 0 on days not at work; shape (rows, reps)."""
    effect = np.exp(levels(funnel, "created", "tenure", rows, len(TENURE_EDGES)))
    days = np.arange(int(day_number(period.first)), int(day_number(period.last)) + 1)
    here = (days >= people.start[:, None]) & (days <= people.stop[:, None])
    band = tenure_band(days - people.hired[:, None])
    share = np.stack([(here & (band == b)).mean(axis=1) for b in range(len(TENURE_EDGES))])
    return np.asarray(effect @ share)


def _padded(values: Floats, people: Crew) -> Floats:
    """Effects with zeros for those who are not in the history, along the last axis."""
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, len(people.reps) - values.shape[-1])])


def _rate(funnel: Funnel, people: Crew, rows: Ints, territory: bool, skill: bool) -> Floats:
    """Creations per working month with or without the team's and the rep's effects, shape (rows, reps)."""
    direct = _arrivals(funnel, "created", people, rows, territory, skill)
    if funnel.prepared.chain.leads is None:
        return direct
    became = leads_to_deals(funnel, rows, equal=not skill)
    if skill:
        rest = leads_to_deals(funnel, rows, equal=True)
        more = len(people.reps) - became.shape[1]
        became = np.concatenate([became, np.repeat(rest, more, axis=1)], axis=1)
    return direct + _arrivals(funnel, "leads", people, rows, territory, skill) * became


def _arrivals(funnel: Funnel, model: str, people: Crew, rows: Ints, territory: bool, skill: bool) -> Floats:
    names = list(counted(funnel, model).teams)
    effect = np.exp(levels(funnel, model, "team", rows, len(names)))
    mean = effect.mean(axis=1, keepdims=True)
    team = np.repeat(mean, len(people.reps), axis=1)
    if territory:
        at = [names.index(t) if t in names else -1 for t in people.teams]
        known = np.array(at)
        team[:, known >= 0] = effect[:, known[known >= 0]]
    own = _padded(rep_effects(funnel, model, rows) + busyness(funnel, model, rows), people) if skill else 0.0
    season = np.exp(levels(funnel, model, "season", rows, 12)).mean(axis=1, keepdims=True)
    return np.asarray(MONTH * np.exp(levels(funnel, model, "level", rows, 1)) * season * team * np.exp(own))


def _own(funnel: Funnel, history: History, people: Crew, rows: Ints) -> Floats:
    """Mix of segments of every rep, the company's for hires; shape (1, reps, segments)."""
    own, company = own_mix(funnel, history, rows), company_mix(funnel, rows).mean(axis=0)
    more = len(people.reps) - len(own)
    return np.concatenate([own, np.repeat(company[None, :], more, axis=0)])[None, :, :]


def _worth(funnel: Funnel, people: Crew, rows: Ints, equal: bool, what: str) -> list[Floats]:
    """Expected worth of a new deal by segment, each of shape (rows, reps or 1)."""
    out: list[Floats] = [np.zeros((rows.size, 1))] * len(funnel.prepared.segment.levels)
    for kind in kinds(funnel, rows, equal=equal):
        won = np.ones_like(kind.share) if what == "one" else kind.won.sum(axis=2)
        out[kind.segment] = out[kind.segment] + kind.share * won * (kind.amount if what == "amount" else 1.0)
    if equal:
        return out
    plain = _worth(funnel, people, rows, True, what)
    more = len(people.reps) - len(funnel.prepared.people.reps)
    full = (np.broadcast_to(o, (rows.size, len(funnel.prepared.people.reps))) for o in out)
    return [np.concatenate([o, np.repeat(p, more, axis=1)], axis=1) for o, p in zip(full, plain, strict=True)]
