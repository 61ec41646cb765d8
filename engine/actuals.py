"""What is done: history counted in the measures of paths, by the same definitions."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quotacast.engine.drivers import ACTIVITY
from quotacast.engine.paths import MEASURES
from quotacast.engine.steps import Steps
from quotacast.models.history.history import History
from quotacast.models.history.schema import NONE
from quotacast.models.margins import booked_margins
from quotacast.models.people import creators
from quotacast.models.timegrid import day_number

Seats = tuple[tuple[str, str], ...]
Ints = NDArray[np.int64]


def actual_measures(
    history: History, steps: Steps, more: pd.DataFrame | None = None
) -> tuple[Seats, dict[str, Ints]]:
    """Measures per (rep, team) and step up to the history's as-of date.

    A rep counts for the team held on the day of the event; an opportunity is created by its first owner
    and closed by its last. All activities count, whatever they hang on. What nobody did counts for
    ``(none)``.

    Parameters
    ----------
    more : pandas.DataFrame, optional
        Further events, columns rep, day, measure, value.

    Returns
    -------
    seats : tuple of (rep, team)
    measures : dict of ndarray, shape (seats, steps)
    """
    parts = [*_deals(history), *_leads(history), _activities(history)]
    events = pd.concat([*parts, *([] if more is None or more.empty else [more])], ignore_index=True)
    events["step"] = steps.of_days(events["day"].to_numpy(dtype=np.int64))
    events = events[events["step"] >= 0]
    rep = events["rep"].fillna(NONE).to_numpy(dtype=object)
    team = history.team_on(rep, events["day"].to_numpy(dtype=np.int64).astype("datetime64[D]"))
    both = list(zip(rep, team, strict=True))
    seats = tuple(sorted(set(both)))
    place = {seat: i for i, seat in enumerate(seats)}
    row = np.array([place[seat] for seat in both], dtype=np.int64)
    column, value = (events[name].to_numpy(dtype=np.int64) for name in ("step", "value"))
    measure = events["measure"].to_numpy(dtype=object)
    names = dict.fromkeys([*MEASURES, *sorted(set(measure) - set(MEASURES))])
    out = {name: np.zeros((len(seats), len(steps)), dtype=np.int64) for name in names}
    for name in names:
        chosen = measure == name
        np.add.at(out[name], (row[chosen], column[chosen]), value[chosen])
    return seats, out


def _deals(history: History) -> list[pd.DataFrame]:
    deals = history.opportunities
    created, closed = day_number(deals["created_on"]), day_number(deals["closed_on"])
    won, lost = (deals["status"].to_numpy(dtype=object) == state for state in ("won", "lost"))
    cents = _cents(deals["amount"].to_numpy(dtype=float))
    rep = deals["rep_id"].to_numpy(dtype=object)
    one = np.ones(len(deals), dtype=np.int64)
    return [
        _events("created", creators(history), created, one),
        _events("won", rep, closed, one, won),
        _events("lost", rep, closed, one, lost),
        _events("won_days", rep, closed, closed - created, won),
        _events("won_cents", rep, closed, cents, won),
        _events("margin_cents", rep, closed, _cents(booked_margins(history)), won),
    ]


def _leads(history: History) -> list[pd.DataFrame]:
    leads = history.leads
    created, closed = day_number(leads["created_on"]), day_number(leads["closed_on"])
    rep, one = leads["rep_id"].to_numpy(dtype=object), np.ones(len(leads), dtype=np.int64)
    status = leads["status"].to_numpy(dtype=object)
    converted, disqualified = (status == state for state in ("converted", "disqualified"))
    return [
        _events("leads_created", rep, created, one),
        _events("leads_converted", rep, closed, one, converted),
        _events("leads_disqualified", rep, closed, one, disqualified),
        _events("lead_days", rep, closed, closed - created, converted),
    ]


def _activities(history: History) -> pd.DataFrame:
    rows = history.activities
    count = rows["count"].fillna(1.0).to_numpy(dtype=float)
    found = _events("", rows["rep_id"].to_numpy(dtype=object), day_number(rows["done_on"]), np.rint(count))
    return found.assign(measure=ACTIVITY + rows["kind"].astype(str).to_numpy(dtype=object))


def _cents(money: NDArray[np.float64]) -> Ints:
    return np.rint(np.nan_to_num(money) * 100).astype(np.int64)


def _events(
    measure: str,
    rep: NDArray[np.object_],
    day: Ints,
    value: NDArray[np.generic],
    keep: NDArray[np.bool_] | None = None,
) -> pd.DataFrame:
    rows = np.ones(rep.size, dtype=bool) if keep is None else keep
    values = value[rows].astype(np.int64)
    return pd.DataFrame({"rep": rep[rows], "day": day[rows], "measure": measure, "value": values})
