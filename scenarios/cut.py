"""`quotas --cut`: from a run to the answer about the same quota in finer and finer periods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from quotacast.engine.answer import Answer
from quotacast.engine.answers.consistency import consistency, cuts
from quotacast.engine.metrics import metric
from quotacast.engine.quota import Quota
from quotacast.engine.skills import skills
from quotacast.errors import PlanError
from quotacast.models.periods import KINDS, Period
from quotacast.models.terms import Floats
from quotacast.models.timegrid import day_number
from quotacast.scenarios.money.recognised import METRIC, spread
from quotacast.scenarios.run import Run

#: Futures behind the cut: variances and shares of misses need fewer than odds, and days need room.
CUT_DRAWS = 1000


def cut_quotas(run: Run, quotas: Sequence[Quota], notes: Sequence[str] = ()) -> Answer:
    """Cut quotas, those of the longest kind of period among them, of one set.

    Raises
    ------
    PlanError
        Where there is no quota on a sum.
    """
    chosen = longest(run, quotas)
    if not chosen:
        raise PlanError(
            "--cut: no quota on a sum (bookings, deals_won, …) to cut: state one in the plan, choose it "
            f"with --metric, or give --quotas FILE. {' '.join(notes)}".rstrip()
        )
    few = replace(run.plan, draws=min(run.plan.draws, CUT_DRAWS))
    smaller = _same_fit(run, Run(few, run.method, run.force, run.told))
    periods = {q.period: run.plan.calendar.parse(q.period) for q in chosen}
    pieces = [
        piece
        for period in periods.values()
        for cut in cuts(period, run.plan.calendar, run.history.as_of_date)
        for piece in cut.pieces
    ]
    paths = smaller.paths([*periods.values(), *pieces], tuple({q.metric: None for q in chosen}))
    known = skill_of_reps(smaller, list(periods.values()), paths.draws)
    return consistency(paths, chosen, run.plan.calendar, known, smaller.provenance())


def cuttable(run: Run, quotas: Sequence[Quota]) -> tuple[tuple[Quota, ...], tuple[str, ...]]:
    """Quotas that can be cut, and what is said of the others."""
    kept = tuple(q for q in quotas if q.metric != METRIC or not spread(run.plan))
    if len(kept) == len(quotas):
        return kept, ()
    return kept, (
        "Quotas on revenue are not cut: recognised over time it rests on deals of earlier periods, of which "
        "skill in this one says nothing. Cut bookings.",
    )


def _same_fit(run: Run, smaller: Run) -> Run:
    """What is read and fitted already serves the smaller run as well."""
    vars(smaller).update({name: vars(run)[name] for name in ("history", "funnel") if name in vars(run)})
    return smaller


def longest(run: Run, quotas: Sequence[Quota]) -> tuple[Quota, ...]:
    """Quotas on sums for the longest kind of period among them, of the first set that each stands in."""
    sums = [q for q in quotas if not metric(q.metric).is_ratio]
    if not sums:
        return ()
    rank = {q.period: KINDS.index(run.plan.calendar.parse(q.period).kind) for q in sums}
    most = max(rank.values())
    first: dict[tuple[str, str, str], Quota] = {}
    for quota in sums:
        if rank[quota.period] == most:
            first.setdefault(quota.key, quota)
    return tuple(first.values())


def skill_of_reps(run: Run, periods: Sequence[Period], draws: int) -> dict[str, dict[str, Floats]]:
    """What every rep who is at work in all periods is worth, in the draws of the paths, by metric."""
    people, funnel = run.funnel.prepared.people, run.funnel
    rows = np.arange(draws) % funnel.draws
    last = max(int(day_number(p.last)) for p in periods)
    leaving = {leave.rep_id for leave in run.drivers.leaves}
    found = skills(funnel, rows)
    found["revenue"] = found["bookings"]
    return {
        name: {
            rep: found[name][:, r]
            for r, rep in enumerate(people.reps)
            if people.stop[r] >= last and rep not in leaving
        }
        for name in found
        if not metric(name).is_ratio
    }
