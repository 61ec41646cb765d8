"""What selling costs: reps by the month, hires, commission.

Every cost belongs to a rep, and so to a team and the company: a rep's month is spread over its days at work
(a full month costs exactly ``rep_month``), a hire costs on the first day, commission is a share of what is
booked. Amounts are whole cents, rounded cumulatively. Deals without a rep cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from quotacast.engine.drivers import Drivers
from quotacast.engine.effects import Crew, Ints
from quotacast.engine.steps import Steps
from quotacast.models.history.history import History
from quotacast.models.history.schema import NONE
from quotacast.models.people import Employment
from quotacast.models.terms import Floats
from quotacast.models.timegrid import day_number


@dataclass(frozen=True)
class Costs:
    """Selling costs of a plan.

    Attributes
    ----------
    rep_month : float
        Of a rep per month at work, currency units.
    hire : float
        Once per hire.
    commission : float
        Share of bookings.
    accelerator : float
        Factor on the commission above quota; any other than 1 is not followed, and profit is refused.
    """

    rep_month: float = 0.0
    hire: float = 0.0
    commission: float = 0.0
    accelerator: float = 1.0


def past_costs(costs: Costs | None, history: History, people: Employment, steps: Steps) -> pd.DataFrame:
    """Costs up to the as-of date as events of ``cost_cents``: columns rep, day, measure, value."""
    last = int(day_number(history.as_of_date))
    days = np.arange(int(steps.edges[0]), last + 1, dtype=np.int64)
    if costs is None or not days.size:
        return pd.DataFrame({"rep": [], "day": [], "measure": [], "value": []})
    joined = history.reps.dropna(subset=["hired_on"]).groupby("rep_id")["hired_on"].min()
    hired = {str(rep): int(day_number(day)) for rep, day in joined.items()}
    cents = _cents(costs, people.reps, people.start, people.stop, hired, days)
    rep, at = np.nonzero(cents)
    who, when = np.asarray(people.reps, dtype=object)[rep], days[at]
    return pd.DataFrame({"rep": who, "day": when, "measure": "cost_cents", "value": cents[rep, at]})


def coming_costs(costs: Costs | None, people: Crew, drivers: Drivers, steps: Steps, first: int) -> Ints:
    """Costs from day ``first`` on by rep and step, whole cents, shape (reps, steps)."""
    out = np.zeros((len(people.reps), len(steps)), dtype=np.int64)
    days = np.arange(first, int(steps.edges[-1]), dtype=np.int64)
    if costs is None or not days.size:
        return out
    hired = {hire.rep_id: int(day_number(hire.on)) for hire in drivers.hires}
    cents = _cents(costs, people.reps, people.start, people.stop, hired, days)
    np.add.at(out.T, steps.of_days(days), cents.T)
    return out


def _cents(
    costs: Costs, reps: Iterable[str], start: Ints, stop: Ints, hired: dict[str, int], days: Ints
) -> Ints:
    """Fixed costs by rep and day, shape (reps, days)."""
    names = tuple(reps)
    at_work = (days >= start[:, None]) & (days <= stop[:, None])
    daily = at_work * (100.0 * costs.rep_month / _month_length(days))
    for i, rep in enumerate(names):
        if rep in hired:
            daily[i] += 100.0 * costs.hire * (days == hired[rep])
        if rep == NONE:
            daily[i] = 0.0
    whole = np.rint(np.cumsum(daily, axis=1)).astype(np.int64)
    return np.asarray(np.diff(whole, axis=1, prepend=0), dtype=np.int64)


def _month_length(days: Ints) -> Floats:
    month = days.astype("datetime64[D]").astype("datetime64[M]")
    ends = (month + 1).astype("datetime64[D]") - month.astype("datetime64[D]")
    return np.asarray(ends.astype(float))
