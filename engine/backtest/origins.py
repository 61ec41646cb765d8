"""Rolling origins: from when a forecast is made, over which days it is judged, and what came true.

An origin is the last day of a month; the forecast made that evening may use only what was known then
(:meth:`History.as_of` with ``strict``). Horizons begin the day after the origin and count only once the
data reach their end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quotacast.engine.backtest.targets import Target
from quotacast.engine.quota import Scope
from quotacast.errors import DataError
from quotacast.models.history.history import History
from quotacast.models.people import creators
from quotacast.models.periods import Calendar, Period
from quotacast.models.timegrid import day_number

HORIZONS: Mapping[str, str] = {
    "m1": "next month",
    "m2": "the month after",
    "m3": "the third month",
    "rq": "rest of the quarter",
    "q1": "next whole quarter",
    "y1": "next twelve months",
}
#: Months with closings before an origin below which nothing is forecast.
SHORTEST_MONTHS = 6
DAY = timedelta(days=1)


def month_ends(first: date, last: date) -> list[date]:
    """Last days of the calendar months that end from ``first`` to ``last``."""
    months = np.arange(np.datetime64(first, "M"), np.datetime64(last, "M") + 1)
    ends = [(m + 1).astype("datetime64[D]").astype(date) - DAY for m in months]
    return [d for d in ends if first <= d <= last]


def origins(history: History, count: int | None = None) -> tuple[date, ...]:
    """Month ends that have ``SHORTEST_MONTHS`` of closings before them and a whole month after.

    Parameters
    ----------
    count : int, optional
        Only the latest so many.

    Raises
    ------
    DataError
        If there is none, with the number of months that are missing.
    """
    closed = history.opportunities["closed_on"].min()
    begins = closed.date()
    months = month_ends(begins, history.as_of_date)
    found = [d for k, d in enumerate(months) if k + 1 >= SHORTEST_MONTHS and d < months[-1]]
    if not found:
        lacking = SHORTEST_MONTHS + 1 - len(months)
        raise DataError(
            f"opportunities: {len(months)} whole months of closings, {begins} to {history.as_of_date}; a "
            f"backtest needs {SHORTEST_MONTHS + 1}: {lacking} more month{'s' if lacking > 1 else ''}"
        )
    return tuple(found[-count:] if count else found)


def spans(origin: date, calendar: Calendar, until: date) -> dict[str, Period]:
    """Horizons of an origin that end by ``until``, as periods labelled by the horizon.

    All begin after the origin, also where that lies inside a month (today's forecast, never a backtest's).
    """
    quarter = calendar.containing(origin + DAY, "quarter")
    whole = quarter if quarter.first == origin + DAY else calendar.containing(quarter.last + DAY, "quarter")
    # months that begin after the origin: of one that has begun, only the rest is still to be forecast
    found = {f"m{k}": _months(origin, k - 1, 1) for k in (1, 2, 3)}
    found["y1"] = _months(origin, 0, 12)
    found["q1"] = (whole.first, whole.last)
    if quarter.first <= origin:
        found["rq"] = (origin + DAY, quarter.last)
    kept = {name: span for name, span in found.items() if span[1] <= until}
    return {name: Period(name, "month", *kept[name]) for name in HORIZONS if name in kept}


def _months(origin: date, skip: int, length: int) -> tuple[date, date]:
    month = np.datetime64(origin, "M") + 1
    first = (month + skip).astype("datetime64[D]").astype(date)
    last = (month + skip + length).astype("datetime64[D]").astype(date) - DAY
    return first, last


def scopes(snapshot: History) -> tuple[Scope, ...]:
    """Company, teams and reps as known at the origin."""
    reps = sorted(set(snapshot.opportunities["rep_id"]))
    days = np.full(len(reps), np.datetime64(snapshot.as_of_date, "D"))
    teams = sorted({str(t) for t in snapshot.team_on(np.asarray(reps, dtype=object), days)})
    return (Scope("company"), *(Scope("team", t) for t in teams), *(Scope("rep", r) for r in reps))


def targets(all_scopes: Sequence[Scope], periods: Mapping[str, Period]) -> list[tuple[str, Target]]:
    """Everything that is forecast at an origin, with its horizon."""
    made = []
    for horizon, period in periods.items():
        for scope in all_scopes:
            for metric in ("bookings", "deals_won"):
                made += [
                    (horizon, Target(metric, scope, period.first, period.last, part))
                    for part in ("open", "new", "total")
                ]
            made.append((horizon, Target("opportunities_created", scope, period.first, period.last, "total")))
    return made


def outcomes(history: History, snapshot: History, wanted: Sequence[Target]) -> NDArray[np.float64]:
    """What came true, by the definitions of the metrics; shape (targets,).

    A win is ``open`` if its deal was open at the origin and ``new`` if it was created later; a deal that
    was closed at the origin and reopened afterwards is in the total alone.
    """
    events = {name: column.to_numpy() for name, column in _events(history, snapshot).items()}
    amount = np.nan_to_num(events["amount"])
    chosen: dict[tuple[object, ...], NDArray[np.int64]] = {}

    def rows(*key: object) -> NDArray[np.int64]:
        """Events of a kind and of days, then of a part of them, then of a scope: each looked up once."""
        if key not in chosen:
            if len(key) == 3:
                kind, low, high = key
                inside = (events["kind"] == kind) & (events["day"] >= low) & (events["day"] <= high)
                chosen[key] = np.flatnonzero(inside)
            else:
                among, (axis, value) = rows(*key[:-2]), key[-2:]
                chosen[key] = among[events[str(axis)][among] == value]
        return chosen[key]

    out = np.zeros(len(wanted))
    for k, target in enumerate(wanted):
        kind = "created" if target.metric == "opportunities_created" else "won"
        key: tuple[object, ...] = (kind, int(day_number(target.first)), int(day_number(target.last)))
        if target.component != "total":
            key += ("part", target.component)
        if target.scope.kind != "company":
            key += (target.scope.kind, target.scope.id)
        out[k] = amount[rows(*key)].sum() if target.metric == "bookings" else rows(*key).size
    return out


def _events(history: History, snapshot: History) -> pd.DataFrame:
    deals = history.opportunities
    then = snapshot.opportunities.set_index("opportunity_id")["status"]
    status = deals["opportunity_id"].map(then)
    part = np.select([status.isna(), status == "open"], ["new", "open"], "reopened")
    created, closed = day_number(deals["created_on"]), day_number(deals["closed_on"])
    won = (deals["status"] == "won").to_numpy()
    owner, maker = deals["rep_id"].to_numpy(dtype=object), creators(history)
    amount = np.round(deals["amount"].to_numpy(dtype=float), 2)

    def frame(
        kind: str, rep: NDArray[np.object_], day: NDArray[np.int64], keep: NDArray[np.bool_]
    ) -> pd.DataFrame:
        team = history.team_on(rep[keep], day[keep].astype("datetime64[D]"))
        columns = {
            "rep": rep[keep],
            "team": team,
            "day": day[keep],
            "part": part[keep],
            "amount": amount[keep],
        }
        return pd.DataFrame({"kind": kind, **columns})

    everything = np.ones(len(deals), dtype=bool)
    return pd.concat([frame("created", maker, created, everything), frame("won", owner, closed, won)])
