"""What reps did of late, and whether it may drive creation.

For rep r, kind k and calendar week w, over the observed ones of the ``LAG_WEEKS`` whole weeks before w ::

    abar_k[r, w] = sum of activities / sum of weighted weeks at work
    x_k[r, w]    = log(1 + abar_k[r, w]) - mean of that over the rep's own weeks       (within a rep)
    b_k[r]       = that mean, less the mean over reps                                  (between reps)

Within a rep, more activity than usual and more new business than usual may hang together as cause and
effect; between reps everything else differs too, so the two have coefficients of their own.

Only activity that hangs on no deal (and no lead), or is dated before its beginning, may drive creation:
what is logged on a deal that exists is its output. A week at work in which the rep's deals moved and
nothing was logged is a gap in the log: not zero, but unobserved; x is 0 where too little was observed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quotacast.models.counts import Events, Weekly
from quotacast.models.history.history import History
from quotacast.models.people import Employment, creators
from quotacast.models.terms import Floats, Term
from quotacast.models.timegrid import Ints, TimeGrid, day_number

Bools = NDArray[np.bool_]

#: Whole weeks over which activity is felt.
LAG_WEEKS = 3
#: Weighted weeks at work within the lag below which recent activity says nothing.
LEAST_WORKED = 0.5
#: Share of activity that must be free of deals, or precede them, for activity to drive creation.
DRIVER_SHARE = 0.05
#: Activities without which a kind is neither modelled nor a driver.
FEWEST = 30
#: Kinds that may drive creation at the same time, the most frequent first.
MOST_DRIVERS = 8
#: The log has ended where nobody logged anything for so many days up to the as-of date.
ENDED = 14
#: The field's elasticity of sales by selling effort (Albers, Mantrala & Sridhar 2010: .34 on average).
ELASTICITY, ELASTICITY_SD, BETWEEN_SD = 0.3, 0.3, 0.3


@dataclass(frozen=True)
class Log:
    """The activities table as arrays, shape (rows,), of kinds frequent enough to be modelled.

    Attributes
    ----------
    kinds : tuple of str
        Sorted; ``kind`` holds their positions.
    rare : tuple of str
        Kinds with fewer than `FEWEST` activities, left out.
    rep : ndarray of int64
        Position in the employment, -1 where not at work on that day (or unknown).
    free : ndarray of bool
        Whether the row hangs on no deal or lead that already existed.
    """

    kinds: tuple[str, ...]
    rare: tuple[str, ...]
    kind: Ints
    rep: Ints
    day: Ints
    count: Floats
    free: Bools

    def totals(self, chosen: Bools) -> Floats:
        """Number of activities by kind among the chosen rows, shape (kinds,)."""
        found = np.bincount(self.kind[chosen], self.count[chosen], minlength=len(self.kinds))
        return np.asarray(found, dtype=float)

    def without_kinds(self) -> Log:
        """A log of which nothing is modelled."""
        none = np.zeros(0, dtype=np.int64)
        return Log((), self.rare, none, none, none, none.astype(float), none.astype(bool))

    def events(self, kind: str) -> Events:
        """All activities of a kind."""
        mine = self.kind == self.kinds.index(kind)
        return Events(self.rep[mine], self.day[mine], self.count[mine])


def read_log(history: History, people: Employment, grid: TimeGrid) -> Log:
    """Arrange the activities of a history, until the grid's last day."""
    rows = history.activities
    rows = rows.assign(_free=_free(history))[day_number(rows["done_on"]) <= grid.last]
    count = rows["count"].fillna(1.0).to_numpy(dtype=float)
    total = pd.Series(count).groupby(rows["kind"].to_numpy(dtype=object)).sum()
    kinds = tuple(sorted(str(k) for k in total.index[total >= FEWEST]))
    rare = tuple(sorted(str(k) for k in total.index[(total > 0) & (total < FEWEST)]))
    rows = rows.assign(_count=count)[rows["kind"].isin(kinds).to_numpy(dtype=bool)]
    index = people.index()
    rep = np.array([index.get(r, -1) for r in rows["rep_id"]], dtype=np.int64)
    day = day_number(rows["done_on"])
    at_work = (day >= began(people, grid)[rep]) & (day <= people.stop[rep])
    return Log(
        kinds,
        rare,
        np.array([kinds.index(k) for k in rows["kind"]], dtype=np.int64),
        np.where((rep >= 0) & at_work, rep, -1),
        day,
        rows["_count"].to_numpy(dtype=float),
        rows["_free"].to_numpy(dtype=bool),
    )


def began(people: Employment, grid: TimeGrid) -> Ints:
    """First day at work, also before the grid: who was there when the data begin had been hired before."""
    return np.where(people.start > grid.first, people.start, people.hired)


def _free(history: History) -> Bools:
    """Rows that hang on nothing, or are dated before what they hang on began."""
    rows = history.activities
    free = np.ones(len(rows), dtype=bool)
    for table, key in (("opportunities", "opportunity_id"), ("leads", "lead_id")):
        frame = history.tables[table]
        born = pd.to_datetime(rows[key].map(frame.drop_duplicates(key).set_index(key)["created_on"]))
        # a deal that is not on record existed for all we know; leads are judged where there are any
        tied = rows[key].notna() & (len(frame) > 0)
        free &= ~(tied & ~(rows["done_on"] < born)).to_numpy(dtype=bool)
    return free


def drivers(log: Log) -> tuple[tuple[str, ...], str]:
    """Kinds that may drive creation, and why none may where there are none."""
    if not log.kinds:
        return (), ""
    free, total = log.totals(log.free), log.totals(np.ones(log.free.size, dtype=bool))
    if free.sum() < DRIVER_SHARE * total.sum():
        tied, all_of = round(total.sum() - free.sum()), round(total.sum())
        every = f"all {tied:,}" if tied == all_of else f"{tied:,} of {all_of:,}"
        return (), (
            f"{every} activities hang on a deal or lead that already existed when they were logged: here "
            "activity follows deals and does not precede them, so how many activities a new deal takes "
            "cannot be learned from these data"
        )
    able = np.flatnonzero((free >= FEWEST) & (free >= DRIVER_SHARE * total))
    chosen = able[np.argsort(-free[able], kind="stable")][:MOST_DRIVERS]
    return tuple(log.kinds[k] for k in sorted(chosen)), ""


def slope_terms(kinds: tuple[str, ...]) -> tuple[Term, ...]:
    """The effects of activity on creation, within a rep and between reps.

    All activity together has about the field's elasticity, so K kinds share its mean; but any one of them
    may carry most of it, so the sd shrinks with the root of K only.
    """
    n = max(len(kinds), 1)
    within = f"around the field's elasticity of {ELASTICITY}, shared by {n} kinds; more never means less"
    between = "busier reps may sell more or less for many other reasons"
    mean, scale = (ELASTICITY / n,), ELASTICITY_SD / float(np.sqrt(n))
    names = [f"slope:{kind}" for kind in kinds]
    own = [Term(name, "slope", name, 1, scale, within, mean, lower=0.0) for name in names]
    names = [f"between:{kind}" for kind in kinds]
    return (*own, *(Term(name, "slope", name, 1, BETWEEN_SD, between) for name in names))


@dataclass(frozen=True)
class Observation:
    """What of the log counts, per rep and calendar week; the first ``LAG_WEEKS`` lie before the grid.

    Attributes
    ----------
    worked : ndarray, shape (reps, LAG_WEEKS + weeks)
        Weighted weeks at work while the log was kept and not in a gap.
    gap : ndarray of bool, same shape
    whole : ndarray of bool, same shape
        Weeks observed from their first to their last day, for counting all activity.
    silent : tuple of int
        Reps who never logged anything.
    first, last : int
        First and last day of the log.
    """

    worked: Floats
    gap: Bools
    whole: Bools
    silent: tuple[int, ...]
    first: int
    last: int


def observe(history: History, people: Employment, grid: TimeGrid, log: Log) -> Observation:
    """Find out where the log was kept."""
    monday, weeks = _weeks(grid)
    mine = log.rep >= 0
    first = int(log.day[mine].min(initial=grid.last))
    last = int(log.day[mine].max(initial=grid.first))
    last = grid.last if grid.last - last < ENDED else last
    days = np.arange(monday, grid.last + 1, dtype=np.int64)
    at_work = (days >= began(people, grid)[:, None]) & (days <= people.stop[:, None])
    kept = (days >= first) & (days <= last)
    worked = _by_week(at_work * kept * grid.weight(days) / 7.0, weeks)
    shape = (len(people.reps), weeks)
    logged = _cells(log.rep[mine], log.day[mine] - monday, log.count[mine], shape)
    moved = np.zeros(shape)
    for rep, day in _moves(history, people):
        moved += _cells(rep, day - monday, np.ones(day.size), shape)
    silent = np.bincount(log.rep[mine], minlength=shape[0]) == 0
    gap = (worked > 0) & (moved > 0) & (logged == 0) & ~silent[:, None]
    start_of = np.maximum(monday + 7 * np.arange(weeks), grid.first)
    end_of = np.minimum(monday + 7 * np.arange(weeks) + 6, grid.last)
    whole = ~gap & ~silent[:, None] & (start_of >= first) & (end_of <= last)
    who = tuple(np.flatnonzero(silent).tolist())
    return Observation(worked * ~gap * ~silent[:, None], gap, whole, who, first, last)


def _weeks(grid: TimeGrid) -> tuple[int, int]:
    """First day and number of the calendar weeks from ``LAG_WEEKS`` before the grid to its last day."""
    monday = grid.first - (grid.first + 3) % 7 - 7 * LAG_WEEKS
    return monday, (grid.last - monday) // 7 + 1


def _by_week(daily: Floats, weeks: int) -> Floats:
    padded = np.zeros((daily.shape[0], 7 * weeks))
    padded[:, : daily.shape[1]] = daily
    return np.asarray(padded.reshape(daily.shape[0], weeks, 7).sum(axis=2))


def _cells(rep: Ints, since: Ints, count: Floats, shape: tuple[int, int]) -> Floats:
    """Counts per rep and week of events that lie ``since`` days after the first of the weeks."""
    inside = (rep >= 0) & (since >= 0) & (since < 7 * shape[1])
    at = rep[inside] * shape[1] + since[inside] // 7
    found = np.bincount(at, count[inside], minlength=shape[0] * shape[1])
    return np.asarray(found.reshape(shape), dtype=float)


def _moves(history: History, people: Employment) -> list[tuple[Ints, Ints]]:
    """Rep and day of everything that says that a deal was worked on."""
    deals, stages, index = history.opportunities, history.stages, people.index()
    owner = deals.set_index("opportunity_id")["rep_id"]
    by = stages["rep_id"].where(stages["rep_id"].notna(), stages["opportunity_id"].map(owner))
    parts = [
        (creators(history), deals["created_on"]),
        (deals["rep_id"].to_numpy(dtype=object), deals["closed_on"]),
        (by.to_numpy(dtype=object), stages["entered_on"]),
    ]
    return [(np.array([index.get(r, -1) for r in reps], dtype=np.int64), day_number(day))
            for reps, day in parts]  # fmt: skip


@dataclass(frozen=True)
class Drive:
    """Recent activity of the kinds that may drive creation.

    Attributes
    ----------
    kinds : tuple of str
    x : ndarray, shape (reps, weeks of the grid, kinds)
    means, between : ndarray, shape (reps, kinds)
    recent : ndarray, shape (reps, LAG_WEEKS + 1, kinds)
        Free activities in the last weeks, the as-of date's week last, as far as it has come.
    recent_worked : ndarray, shape (reps, LAG_WEEKS + 1)
        Observed weighted weeks at work in them.
    observed : ndarray, shape (kinds, 2)
        The 1 % and the 99 % quantile of ``abar`` over reps and weeks.
    share : ndarray, shape (kinds,)
        Free activities of a kind among all of it.
    """

    kinds: tuple[str, ...]
    x: Floats
    means: Floats
    between: Floats
    recent: Floats
    recent_worked: Floats
    observed: Floats
    share: Floats

    def weekly(self) -> Weekly:
        """The covariates of a count model."""
        weeks = self.x.shape[1]
        found = {f"slope:{kind}": self.x[:, :, k] for k, kind in enumerate(self.kinds)}
        for k, kind in enumerate(self.kinds):
            found[f"between:{kind}"] = np.repeat(self.between[:, k, None], weeks, axis=1)
        return Weekly(found)


def drive(people: Employment, grid: TimeGrid, log: Log, seen: Observation, kinds: tuple[str, ...]) -> Drive:
    """Compute ``x`` and ``b`` of the module's text."""
    monday, weeks = _weeks(grid)
    shape = (len(people.reps), weeks)
    free = np.zeros((*shape, len(kinds)))
    for k, kind in enumerate(kinds):
        mine = (log.kind == log.kinds.index(kind)) & log.free
        free[:, :, k] = _cells(log.rep[mine], log.day[mine] - monday, log.count[mine], shape)
    free *= (seen.worked > 0)[:, :, None]
    level, defined = lagged(free, seen.worked)
    defined &= _by_week(_at_work(people, grid, monday), weeks) > 0
    level, defined = level[:, LAG_WEEKS:], defined[:, LAG_WEEKS:]
    n = defined.sum(axis=1)[:, None]
    own = (level * defined[:, :, None]).sum(axis=1) / np.maximum(n, 1)
    centre = own[n[:, 0] > 0].mean(axis=0) if n.any() else np.zeros(len(kinds))
    means = np.where(n > 0, own, centre)
    x = np.where(defined[:, :, None], level - means[:, None], 0.0)
    rates = np.expm1(level[defined])
    total = log.totals(np.ones(log.free.size, dtype=bool))
    at = [log.kinds.index(kind) for kind in kinds]
    return Drive(
        kinds,
        x,
        means,
        means - centre,
        free[:, -(LAG_WEEKS + 1) :],
        seen.worked[:, -(LAG_WEEKS + 1) :],
        np.quantile(rates, [0.01, 0.99], axis=0).T if rates.size else np.zeros((len(kinds), 2)),
        log.totals(log.free)[at] / np.maximum(total[at], 1.0),
    )


def _at_work(people: Employment, grid: TimeGrid, monday: int) -> Floats:
    days = np.arange(monday, grid.last + 1, dtype=np.int64)
    return ((days >= people.start[:, None]) & (days <= people.stop[:, None])).astype(float)


def lagged(count: Floats, worked: Floats) -> tuple[Floats, Bools]:
    """log(1 + abar) of the ``LAG_WEEKS`` weeks before every week, and where enough was observed.

    Parameters
    ----------
    count : ndarray, shape (..., weeks, kinds)
    worked : ndarray, shape (..., weeks)

    Returns
    -------
    level : ndarray, shape (..., weeks, kinds)
        0 where undefined.
    defined : ndarray of bool, shape (..., weeks)
    """
    done, time = np.zeros_like(count), np.zeros_like(worked)
    weeks = worked.shape[-1]
    for lag in range(1, LAG_WEEKS + 1):
        done[..., lag:, :] += count[..., : weeks - lag, :]
        time[..., lag:] += worked[..., : weeks - lag]
    defined = time >= LEAST_WORKED
    level = np.log1p(done / np.maximum(time, LEAST_WORKED)[..., None])
    return np.where(defined[..., None], level, 0.0), defined
