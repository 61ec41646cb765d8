"""What selling costs: reps by the month, hires, commission.

Every cost belongs to a rep, and so to a team and the company: a rep's month is spread over its days at work
(a full month costs exactly ``rep_month``), a hire costs on the first day, commission is a share of what is
booked. Amounts are whole cents, rounded cumulatively. Deals without a rep cost nothing. Where reps leave by
chance, a seat costs nothing while it is empty, and whoever follows is a hire; absence is paid for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from quotacast.engine.departures import Departures, Ints
from quotacast.engine.drivers import Drivers
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
    renewals : float
        Share of terms signed anew: no part of bookings and so none of profit, but of the cash that leaves.
    """

    rep_month: float = 0.0
    hire: float = 0.0
    commission: float = 0.0
    accelerator: float = 1.0
    renewals: float = 0.0


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


@dataclass(frozen=True)
class Payroll:
    """Fixed costs to come: known but for when people come and go.

    Attributes
    ----------
    cents : ndarray of int64, shape (rows, days + 1)
        Cumulative costs of every person who is there all the time.
    hiring : ndarray of int64, shape (rows,)
        Paid when the person joins.
    seat : ndarray of int64, shape (rows,)
    joined, gone : ndarray of int64, shape (draws, rows)
        As in :class:`quotacast.engine.departures.Departures`; one row where it is the same in every draw.
    edges : ndarray of int64, shape (steps + 1,)
        First day of every step and the day after the last, counted from the first simulated day.
    """

    cents: Ints
    hiring: Ints
    seat: Ints
    joined: Ints
    gone: Ints
    edges: Ints

    def sums(self, seats: Ints, steps: slice) -> Ints:
        """Costs of some seats in consecutive steps, shape (draws,); one number where all are the same."""
        rows = np.flatnonzero(np.isin(self.seat, seats))
        first, stop, _ = steps.indices(self.edges.size - 1)
        low, high = self.edges[first], self.edges[max(stop, first)]
        joined, gone = self.joined[:, rows], self.gone[:, rows]
        begin, end = np.maximum(joined, low), np.minimum(gone, high)
        paid = self.cents[rows, np.maximum(end, begin)] - self.cents[rows, begin]
        return np.asarray((paid + self.hiring[rows] * ((joined >= low) & (joined < high))).sum(axis=1))

    def taken(self, draws: Ints) -> Payroll:
        """Of the draws of these numbers."""
        if len(self.joined) == 1:
            return self
        return replace(self, joined=self.joined[draws], gone=self.gone[draws])


def payroll(costs: Costs, departures: Departures, drivers: Drivers, steps: Steps, draws: int) -> Payroll:
    """Costs from the first simulated day on."""
    people, days = departures.crew, departures.first + np.arange(departures.days)
    hired = {hire.rep_id: int(day_number(hire.on)) for hire in drivers.hires}
    cents = _cents(costs, people.reps, people.start, people.stop, hired, days)
    follows = people.seat != np.arange(people.seat.size)
    joined, gone = departures.stays(0, draws if people.leaving.any() else 1)
    return Payroll(
        np.concatenate([np.zeros((len(people.reps), 1), dtype=np.int64), np.cumsum(cents, axis=1)], axis=1),
        np.rint(100.0 * costs.hire * follows).astype(np.int64),
        people.seat,
        joined,
        gone,
        np.clip(steps.edges - departures.first, 0, departures.days),
    )


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
