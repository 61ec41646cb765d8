"""What a plan knows about reps that makes them comparable: role, ramp, presence, place."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from quotacast.engine.answers.together import Comparable, Pay
from quotacast.engine.departures import Crew, crew
from quotacast.engine.places import WORTHS, expected_places
from quotacast.engine.quota import Quota
from quotacast.engine.skills import some_rows
from quotacast.models.people import TENURE_EDGES
from quotacast.models.periods import Period
from quotacast.models.timegrid import day_number
from quotacast.scenarios.plan import Plan
from quotacast.scenarios.run import Run

#: Posterior draws from which places are told.
PLACE_DRAWS = 400


def pay_of(plan: Plan) -> Pay:
    """Variable pay and on-target earnings as the plan states them."""
    costs = plan.costs
    if costs is None:
        return Pay()
    variable = costs.commission
    return Pay(
        None if variable is None else variable.rate,
        1.0 if variable is None else variable.accelerator,
        costs.ote,
    )


def comparable(run: Run, quotas: Iterable[Quota]) -> Comparable:
    """Groups of comparable reps, and what is to be expected of them by ramp, territory and skill."""
    people = crew(run.funnel, run.factored_drivers)
    periods = {q.period: run.plan.calendar.parse(q.period) for q in quotas}
    rows = some_rows(run.funnel, PLACE_DRAWS)
    pairs = dict.fromkeys((q.metric, q.period) for q in quotas if q.metric in WORTHS)
    places = {
        (name, label): expected_places(run.funnel, run.history, people, periods[label], rows, name)
        for name, label in pairs
    }
    return Comparable({label: _groups(run, people, period) for label, period in periods.items()}, places)


def _groups(run: Run, people: Crew, period: Period) -> dict[str, str]:
    """``account executive, ramped`` and the like, by rep."""
    table = run.history.reps.dropna(subset=["role"])
    roles = dict(zip(table["rep_id"].astype(str), table["role"].astype(str), strict=True))
    first, last = (int(day_number(day)) for day in (period.first, period.last))
    part = (people.start > first) | (people.stop < last)
    ramping = first - people.hired < TENURE_EDGES[-1]
    state = np.where(part, "there for a part", np.where(ramping, "ramping", "ramped"))
    return {
        rep: f"{roles[rep]}, {now}" if rep in roles else str(now)
        for rep, now in zip(people.reps, state, strict=True)
    }
