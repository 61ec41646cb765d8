"""What is done: history counted in the measures of paths, by the same definitions."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quotacast.engine.paths import MEASURES, Steps
from quotacast.models.history.history import History
from quotacast.models.people import creators
from quotacast.models.timegrid import day_number

Seats = tuple[tuple[str, str], ...]


def actual_measures(history: History, steps: Steps) -> tuple[Seats, dict[str, NDArray[np.int64]]]:
    """Measures per (rep, team) and step up to the history's as-of date.

    A rep counts for the team held on the day of the event; an opportunity is created by its first owner
    and closed by its last.

    Returns
    -------
    seats : tuple of (rep, team)
    measures : dict of ndarray, shape (seats, steps)
    """
    deals = history.opportunities
    status = deals["status"].to_numpy(dtype=object)
    created, closed = day_number(deals["created_on"]), day_number(deals["closed_on"])
    won, lost = status == "won", status == "lost"
    amount = np.nan_to_num(deals["amount"].to_numpy(dtype=float))
    cents = np.rint(amount * 100).astype(np.int64)
    rep = deals["rep_id"].to_numpy(dtype=object)
    everything = np.ones(len(deals), dtype=bool)
    parts = [
        _events(
            history, creators(history), created, everything, "created", np.ones(len(deals), dtype=np.int64)
        ),
        _events(history, rep, closed, won, "won", np.ones(len(deals), dtype=np.int64)),
        _events(history, rep, closed, lost, "lost", np.ones(len(deals), dtype=np.int64)),
        _events(history, rep, closed, won, "won_days", closed - created),
        _events(history, rep, closed, won, "won_cents", cents),
    ]
    events = pd.concat(parts, ignore_index=True)
    events["step"] = steps.of_days(events["day"].to_numpy(dtype=np.int64))
    events = events[events["step"] >= 0]
    seats = tuple(sorted(set(zip(events["rep"], events["team"], strict=True))))
    place = {seat: i for i, seat in enumerate(seats)}
    row = np.array([place[s] for s in zip(events["rep"], events["team"], strict=True)], dtype=np.int64)
    out = {name: np.zeros((len(seats), len(steps)), dtype=np.int64) for name in MEASURES}
    for name in MEASURES:
        chosen = (events["measure"] == name).to_numpy()
        columns = events["step"].to_numpy(dtype=np.int64)[chosen]
        np.add.at(out[name], (row[chosen], columns), events["value"].to_numpy(dtype=np.int64)[chosen])
    return seats, out


def _events(
    history: History,
    rep: NDArray[np.object_],
    day: NDArray[np.int64],
    keep: NDArray[np.bool_],
    measure: str,
    value: NDArray[np.int64],
) -> pd.DataFrame:
    team = history.team_on(rep[keep], day[keep].astype("datetime64[D]"))
    return pd.DataFrame(
        {"rep": rep[keep], "team": team, "day": day[keep], "measure": measure, "value": value[keep]}
    )
