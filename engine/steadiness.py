"""How evenly reps work, and on what: weekly counts against chance, prospecting against closing.

For the activities y[w] of a rep in the n whole weeks w at work, with mean m and variance s^2 (n - 1 in the
denominator), unevenness is the coefficient of variation beyond a Poisson count of the same mean ::

    u = sqrt(max(0, s^2 - m)) / m

the moment estimate of a NegBinomial's 1 / sqrt(phi) (Anscombe 1950, doi:10.1093/biomet/37.3-4.358). Someone
perfectly even still shows some: (n - 1) s^2 / m is chi-squared with n - 1 degrees of freedom (Fisher's
dispersion test), whose 90 % point gives the noise floor of u. Below the floor nothing speaks against
evenness. A week in which deals moved and nothing was logged is unobserved, not zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from quotacast.models.funnel import Prepared
from quotacast.models.history.history import History
from quotacast.models.people import creators
from quotacast.models.terms import Floats
from quotacast.models.timegrid import Ints, day_number

#: Share of perfectly even reps who stay below the noise floor.
FLOOR = 0.9
#: Fewer weeks tell nothing about evenness.
LEAST_WEEKS = 8


@dataclass(frozen=True)
class Steadiness:
    """Evenness and direction of one rep's activity.

    Attributes
    ----------
    rep : str
    weeks, unobserved : int
        Whole weeks at work that count, and those that do not as only deals moved.
    per_week : float
        Mean number of activities of all kinds.
    unevenness, floor : float or None
        Coefficient of variation beyond Poisson, and its noise floor; None with too few weeks.
    prospecting : float or None
        Share of activities without an opportunity, or dated before its creation; None without any.
    """

    rep: str
    weeks: int
    unobserved: int
    per_week: float
    unevenness: float | None
    floor: float | None
    prospecting: float | None

    @property
    def even(self) -> bool | None:
        """Whether no more than chance shows."""
        if self.unevenness is None or self.floor is None:
            return None
        return self.unevenness <= self.floor


def unevenness(counts: Floats) -> tuple[float, float]:
    """Coefficient of variation beyond Poisson, and its noise floor.

    Parameters
    ----------
    counts : ndarray, shape (weeks,)
        At least two, with a positive mean.
    """
    from scipy.stats import chi2

    mean, free = float(counts.mean()), counts.size - 1
    beyond = max(0.0, float(counts.var(ddof=1)) - mean)
    by_chance = max(0.0, float(chi2.ppf(FLOOR, free)) / free - 1.0) / mean
    return float(np.sqrt(beyond) / mean), float(np.sqrt(by_chance))


def steadiness(history: History, prepared: Prepared) -> tuple[Steadiness, ...]:
    """Steadiness of every rep with activities, by rep; empty where the data hold no activities."""
    table = history.activities
    if table.empty:
        return ()
    done = day_number(table["done_on"])
    number = table["count"].fillna(1.0).to_numpy(dtype=float)
    rep = table["rep_id"].to_numpy(dtype=object)
    ahead = is_prospecting(history)
    weeks = _whole_weeks(prepared, int(done.min()))
    moves = _moves(history)
    out = []
    for at, name in enumerate(prepared.people.reps):
        mine = rep == name
        if mine.any():
            own = weeks[(weeks >= prepared.people.start[at]) & (weeks + 6 <= prepared.people.stop[at])]
            logged = _weekly(own, done[mine], number[mine])
            moved = _weekly(own, moves[name], np.ones(moves[name].size)) if name in moves else 0 * logged
            seen = (logged > 0) | (moved == 0)
            total = float(number[mine].sum())
            share = float(number[mine & ahead].sum()) / total if total > 0 else None
            out.append(_of_rep(name, logged[seen], int((~seen).sum()), share))
    return tuple(out)


def _of_rep(name: str, counts: Floats, unobserved: int, prospecting: float | None) -> Steadiness:
    mean = float(counts.mean()) if counts.size else 0.0
    known = counts.size >= LEAST_WEEKS and mean > 0
    u, floor = unevenness(counts) if known else (None, None)
    return Steadiness(name, int(counts.size), unobserved, mean, u, floor, prospecting)


def is_prospecting(history: History) -> np.ndarray:
    """Whether each activity hangs on no opportunity, or comes before its creation; shape (activities,)."""
    table, deals = history.activities, history.opportunities
    born = table["opportunity_id"].map(deals.set_index("opportunity_id")["created_on"])
    return np.asarray((born.isna() | (table["done_on"] < born)).to_numpy(dtype=bool))


def _whole_weeks(prepared: Prepared, first_logged: int) -> Ints:
    """Mondays of the weeks that lie wholly within the history, from the first logged activity on."""
    first = max(prepared.grid.first, first_logged)
    monday = first + (-(first + 3)) % 7
    return np.arange(monday, prepared.grid.last - 5, 7, dtype=np.int64)


def _weekly(mondays: Ints, day: Ints, number: Floats) -> Floats:
    if not mondays.size:
        return np.zeros(0)
    week = (day - mondays[0]) // 7
    inside = (week >= 0) & (week < mondays.size)
    return np.bincount(week[inside], number[inside], minlength=mondays.size).astype(float)


def _moves(history: History) -> dict[str, Ints]:
    """Days on which something happened to a rep's deals: creations, closings, changes of stage."""
    deals, stages = history.opportunities, history.stages
    owner = stages["opportunity_id"].map(deals.set_index("opportunity_id")["rep_id"])
    held = stages["rep_id"].where(stages["rep_id"].notna(), owner)
    parts = (
        (creators(history), deals["created_on"]),
        (deals["rep_id"].to_numpy(dtype=object), deals["closed_on"]),
        (held.to_numpy(dtype=object), stages["entered_on"]),
    )
    moved = pd.concat([pd.DataFrame({"rep": rep, "day": day.to_numpy()}) for rep, day in parts]).dropna()
    return {str(rep): day_number(group["day"]) for rep, group in moved.groupby("rep")}
