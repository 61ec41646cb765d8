"""Who was at work when: employment spells of reps, and their tenure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quotacast.models.history.history import History
from quotacast.models.history.schema import NONE
from quotacast.models.terms import Floats
from quotacast.models.timegrid import Ints, day_number

#: Lower ends of the tenure bands, in days: 0-1, 1-3, 3-6, 6-9, 9-12 months, then fully ramped.
TENURE_EDGES = (0, 30, 91, 182, 274, 365)
#: Share of a ramped rep's creations by tenure band: the prior mean of the ramp, a median of about five
#: months to full productivity (Bridge Group 2024).
TENURE_SHARES = (0.25, 0.45, 0.7, 0.9, 0.97, 1.0)
#: Tenure of reps who were there before the data began: beyond the last band.
TENURED = 10_000
#: A rep without a hiring date counts as newly hired where the first deal comes this long after the
#: data begin.
NEW_AFTER = 91
#: A rep without a leaving date counts as gone after a silence that would come about this rarely.
SILENCE = 1e-3

FAR = np.int64(10**6)


@dataclass(frozen=True)
class Employment:
    """Employment of every rep, all arrays of shape (reps,).

    Attributes
    ----------
    reps : tuple of str
        Sorted ids.
    team : tuple of str
        Team at the as-of date.
    start, stop : ndarray of int64
        First and last day at work (day numbers); ``FAR`` where no end is known.
    hired : ndarray of int64
        Day from which tenure counts; far in the past where the rep was there before the data.
    gone_silent : tuple of str
        Reps taken as gone because they fell silent, to be said aloud.
    after_leaving : tuple of str
        Reps with opportunities created after their last day; that day was moved to the last of them.
    """

    reps: tuple[str, ...]
    team: tuple[str, ...]
    start: Ints
    stop: Ints
    hired: Ints
    gone_silent: tuple[str, ...]
    after_leaving: tuple[str, ...] = ()

    def index(self) -> dict[str, int]:
        """Position of every rep."""
        return {rep: i for i, rep in enumerate(self.reps)}


def tenure_band(tenure: Ints | Floats) -> NDArray[np.int32]:
    """Band of a tenure in days."""
    edges = np.asarray(TENURE_EDGES)
    return np.asarray(np.searchsorted(edges, np.maximum(tenure, 0), side="right") - 1, dtype=np.int32)


def creators(history: History) -> NDArray[np.object_]:
    """Rep who created each opportunity: its first owner on record, else the present one.

    A leaver's deals are handed over; without this their creation would be credited to the heirs.
    """
    owned = history.stages.dropna(subset=["rep_id"])
    first = owned.groupby("opportunity_id", sort=False)["rep_id"].first()
    now = history.opportunities["rep_id"]
    began = history.opportunities["opportunity_id"].map(first)
    return np.asarray(began.where(began.notna(), now).to_numpy(dtype=object))


def _leads_only(history: History, created: pd.DataFrame) -> pd.DataFrame:
    """Weeks in which leads came in to those who never had a deal, as signs that they were at work."""
    leads = history.leads
    rep = leads["rep_id"].fillna(NONE).to_numpy(dtype=object)
    found = pd.DataFrame({"rep": rep, "day": day_number(leads["created_on"])})
    found = found[~found["rep"].isin(set(created["rep"]) | set(history.opportunities["rep_id"]))]
    return found.assign(week=found["day"] // 7).drop_duplicates(["rep", "week"])[["rep", "day"]]


def employment(history: History, first: int, last: int) -> Employment:
    """Employment spells as far as the history tells, for days ``first`` to ``last``.

    A rep without a hiring date was there from the beginning, or, where the first opportunity comes late,
    starts one mean gap before it (to start with it would make that event certain). Without a leaving date
    the rep is at work unless the silence has a predictive probability below ``SILENCE``. Silence is counted
    in opportunities of the whole company, so that a lull common to all sends nobody away: with n of N in
    the rep's time and C since, under a flat prior on the share, (N / (N + C)) ** (n - 1).
    """
    created = pd.DataFrame(
        {
            "rep": creators(history),
            "day": day_number(history.opportunities["created_on"]),
        }
    )
    work = pd.concat([created, _leads_only(history, created)], ignore_index=True)
    deals = work[work["day"] >= first].groupby("rep")["day"].agg(["min", "max", "count"])
    spells = history.reps.groupby("rep_id").agg(hired=("hired_on", "min"), left=("left_on", "max"))
    owners = set(history.opportunities["rep_id"])
    reps = tuple(sorted(set(work["rep"]) | owners | set(spells.index)))
    table = deals.reindex(reps).join(spells.reindex(reps))
    hired, left = day_number(table["hired"]), day_number(table["left"])
    known_hire, known_left = table["hired"].notna().to_numpy(), table["left"].notna().to_numpy()
    earliest = table["min"].fillna(last + 1).to_numpy(dtype=np.int64)
    latest = table["max"].fillna(first).to_numpy(dtype=np.int64)
    count = table["count"].fillna(0).to_numpy(dtype=float)

    span = np.maximum(latest - earliest + 1, 1)
    gap = np.minimum(span / np.maximum(count - 1, 1), NEW_AFTER).astype(np.int64)
    newcomer = earliest - first > NEW_AFTER
    began = np.where(newcomer, earliest - gap, first)
    origin = np.where(known_hire, hired, np.where(newcomer, began, first - TENURED))
    start = np.clip(np.where(known_hire, np.minimum(hired, earliest), began), first, None)
    days = np.sort(created["day"].to_numpy(dtype=np.int64))
    upto = np.searchsorted(days, latest, side="right")
    during = np.maximum(upto - np.searchsorted(days, earliest), 1)
    since = np.searchsorted(days, last, side="right") - upto
    chance = (during / (during + np.maximum(since, 0))) ** np.maximum(count - 1, 0)
    silent = ~known_left & (count > 0) & (chance < SILENCE)
    absent = ~known_left & ~known_hire & (count == 0)
    late = known_left & (count > 0) & (latest > left - 1)
    gone = np.where(known_left, np.where(late, latest, left - 1), FAR)
    stop = np.where(silent, latest, np.where(absent, start - 1, gone))
    today = np.full(len(reps), np.datetime64(int(last), "D"))
    team = history.team_on(np.asarray(reps, dtype=object), today) if reps else np.empty(0, dtype=object)
    return Employment(
        reps,
        tuple(str(t) for t in team),
        start.astype(np.int64),
        stop.astype(np.int64),
        origin.astype(np.int64),
        tuple(rep for rep, found in zip(reps, silent, strict=True) if found),
        tuple(rep for rep, found in zip(reps, late, strict=True) if found),
    )
