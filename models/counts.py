"""How many: opportunities, leads and activities per rep and week.

Likelihood. For rep r in bin b (a week; a month where weeks would be too many cells) ::

    y[r, b] ~ NegBinomial(mean mu[r, b], dispersion phi)
    log mu[r, b] = log exposure[r, b] + level + team + rep + tenure band (the ramp)
                   + month of the year (season) + month's shock + quarter's level (trend) + rep x quarter
                   + sum_k slope_k x_k[r, b] + sum_k between_k b_k[r]

``exposure`` is the number of weighted days (see :mod:`quotacast.models.timegrid`) on which the rep was
at work in the bin; rates are events per rep and weighted day. A bin in which the rep was at
work and created nothing counts with y = 0; a bin in which the rep was not employed does not count;
a bin that the as-of date cuts counts with its days until then. Activities have no ramp and no slopes; what
drives leads and opportunities, ``x`` and ``b``, comes from :mod:`quotacast.models.activities`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from quotacast.models.cells import CELL_LIMIT
from quotacast.models.history.history import History
from quotacast.models.people import TENURE_EDGES, TENURE_SHARES, Employment, creators, tenure_band
from quotacast.models.periods import month_index, week_index
from quotacast.models.terms import Cells, Declaration, Floats, Term
from quotacast.models.timegrid import Ints, TimeGrid, day_number

Bin = Literal["week", "month"]


@dataclass(frozen=True)
class CountData:
    """A declared count model with its cells.

    Attributes
    ----------
    declaration : Declaration
    cells : Cells
    bin : {"week", "month"}
        Over which time the overdispersion is shared.
    months, quarters : ndarray
        Running months and quarters behind the codes of the shock and the trend.
    teams : tuple of str
    """

    declaration: Declaration
    cells: Cells
    bin: Bin
    months: Ints
    quarters: Ints
    teams: tuple[str, ...]


def bin_index(days: Ints, kind: Bin) -> Ints:
    """Running week or month of day numbers."""
    dates = days.astype("datetime64[D]")
    return np.asarray(week_index(dates) if kind == "week" else month_index(dates), dtype=np.int64)


@dataclass(frozen=True)
class Events:
    """What is counted: the rep (its position in the employment), the day and how many; shapes (events,)."""

    rep: Ints
    day: Ints
    count: Floats

    def within(self, grid: TimeGrid) -> Events:
        """Only what a known rep did on the grid's days."""
        keep = (self.day >= grid.first) & (self.day <= grid.last) & (self.rep >= 0)
        return Events(self.rep[keep], self.day[keep], self.count[keep])


@dataclass(frozen=True)
class Weekly:
    """Values per rep and calendar week, from the week of a grid's first day on.

    Attributes
    ----------
    covariates : mapping of str to ndarray, shape (reps, weeks)
    observed : ndarray of bool, shape (reps, weeks), optional
        Weeks that count; all of them where there is none.
    """

    covariates: Mapping[str, Floats] = field(default_factory=dict)
    observed: NDArray[np.bool_] | None = None


Declare = Callable[[Mapping[str, int]], Declaration]


def creation_data(history: History, people: Employment, grid: TimeGrid) -> CountData:
    """Opportunities created per rep and bin, from the grid's first to its last day."""
    return count_data(history, people, grid, created(history, people), creation_declaration)


def created(history: History, people: Employment) -> Events:
    """Every opportunity as an event of the rep who created it."""
    index = people.index()
    rep = np.array([index.get(r, -1) for r in creators(history)], dtype=np.int64)
    return Events(rep, day_number(history.opportunities["created_on"]), np.ones(rep.size))


def count_data(
    history: History,
    people: Employment,
    grid: TimeGrid,
    events: Events,
    declare: Declare,
    weekly: Weekly = Weekly(),
) -> CountData:
    """Events per rep and bin with the model that ``declare`` makes of the numbers of levels."""
    weeks = (grid.last - grid.first) // 7 + 1
    kind: Bin = "week" if weeks * len(people.reps) <= CELL_LIMIT else "month"
    bins = bin_index(grid.days, kind)
    base, n_bins = bins[0], int(bins[-1] - bins[0] + 1)
    worked = days_at_work(people, grid)
    week = bin_index(grid.days, "week")
    if weekly.observed is not None:
        seen = weekly.observed[:, week - week[0]]
        worked = worked * seen
        events = _seen(events.within(grid), grid, seen)
    events = events.within(grid)
    shape = (len(people.reps), n_bins)
    y = _table(events.rep, bin_index(events.day, kind) - base, events.count, *shape)
    rows, days = np.nonzero(worked)
    exposure = _table(rows, (bins - base)[days], worked[rows, days], *shape)
    r, b = np.nonzero(exposure > 0)
    codes, sizes, teams = _codes(history, people, grid, r, _middle(grid.days, bins - base, n_bins)[b])
    covariates = {}
    for name, values in weekly.covariates.items():
        daily = worked[rows, days] * values[rows, (week - week[0])[days]]
        covariates[name] = (_table(rows, (bins - base)[days], daily, *shape) / np.maximum(exposure, 1e-12))[
            r, b
        ]
    cells = Cells(y[r, b], exposure[r, b], codes, covariates=covariates)
    months, quarters = _span(grid.month), _span(grid.quarter)
    return CountData(declare(sizes), cells, kind, months, quarters, teams)


def _seen(events: Events, grid: TimeGrid, seen: NDArray[np.bool_]) -> Events:
    keep = seen[events.rep, events.day - grid.first]
    return Events(events.rep[keep], events.day[keep], events.count[keep])


def _codes(
    history: History, people: Employment, grid: TimeGrid, rep: Ints, mid: Ints
) -> tuple[dict[str, NDArray[np.int32]], dict[str, int], tuple[str, ...]]:
    """Levels of every cell, numbers of levels, and the teams; ``mid`` is the day in a cell's middle."""
    dates = mid.astype("datetime64[D]")
    months, quarters = _span(grid.month), _span(grid.quarter)
    quarter = np.asarray(grid.calendar.quarter_index(dates), dtype=np.int64) - quarters[0]
    team = history.team_on(np.asarray(people.reps, dtype=object)[rep], dates)
    teams = tuple(sorted(set(people.team) | {str(t) for t in team}))
    month = np.asarray(month_index(dates), dtype=np.int64)
    codes = {
        "rep": rep,
        "team": np.searchsorted(np.asarray(teams, dtype=object), team),
        "tenure": tenure_band(mid - people.hired[rep]),
        "season": month % 12,
        "month": month - months[0],
        "quarter": quarter,
        "rep_quarter": rep * quarters.size + quarter,
    }
    sizes = {"rep": len(people.reps), "team": len(teams), "month": months.size, "quarter": quarters.size}
    return {k: np.asarray(v, dtype=np.int32) for k, v in codes.items()}, sizes, teams


def creation_declaration(
    sizes: Mapping[str, int], slopes: tuple[Term, ...] = (), name: str = "created"
) -> Declaration:
    """Declare the model of leads or of opportunities for so many reps, teams, months and quarters."""
    ramp = tuple(float(x) for x in np.log(TENURE_SHARES))
    level = Term("level", "level", "", 1, 3.0, "new ones per rep and weighted day: .002 to 50", (-2.0,))
    tenure = Term(
        "tenure",
        "walk",
        "tenure",
        len(TENURE_EDGES),
        0.2,
        "the ramp: around a median of five months, free to differ",
        mean=ramp,
        reference="last",
    )
    quarters = "a rep's good and bad quarters: without them a rep's year looks too certain"
    terms = (
        level,
        Term("team", "pooled", "team", sizes["team"], 0.3, "teams differ by tens of percent"),
        Term("rep", "pooled", "rep", sizes["rep"], 0.5, "reps differ by a factor of two or three at most"),
        tenure,
        *_calendar_terms(sizes),
        Term("rep_quarter", "pooled", "rep_quarter", sizes["rep"] * sizes["quarter"], 0.15, quarters),
        *slopes,
    )
    return Declaration(name, "negbinomial", _kept(terms))


def activity_declaration(name: str, sizes: Mapping[str, int]) -> Declaration:
    """Declare the model of one kind of activity."""
    level = Term("level", "level", "", 1, 3.0, "activities per rep and weighted day: .003 to 400", (0.0,))
    quarters = "habits of work change from quarter to quarter more than markets do"
    terms = (
        level,
        Term("team", "pooled", "team", sizes["team"], 0.3, "teams differ by tens of percent"),
        Term("rep", "pooled", "rep", sizes["rep"], 0.5, "reps differ by a factor of two or three at most"),
        *_calendar_terms(sizes),
        Term("rep_quarter", "pooled", "rep_quarter", sizes["rep"] * sizes["quarter"], 0.3, quarters),
    )
    return Declaration(name, "negbinomial", _kept(terms))


def _calendar_terms(sizes: Mapping[str, int]) -> tuple[Term, ...]:
    return (
        Term("season", "contrast", "season", 12, 0.15, "months of the year differ by some 15 %"),
        Term("shock", "shock", "month", sizes["month"], 0.15, "what moves all reps in the same month"),
        Term("trend", "walk", "quarter", sizes["quarter"], 0.07, "the level drifts slowly"),
    )


def _kept(terms: tuple[Term, ...]) -> tuple[Term, ...]:
    """Terms that have something to tell apart."""
    return tuple(t for t in terms if t.size > 1 or t.kind in ("level", "slope"))


def _table(
    row: Ints, column: Ints, weight: NDArray[np.float64], rows: int, columns: int
) -> NDArray[np.float64]:
    flat = np.bincount(row * columns + column, weights=weight, minlength=rows * columns)
    return flat.reshape(rows, columns).astype(float)


def days_at_work(people: Employment, grid: TimeGrid) -> Floats:
    """Weighted days at work, shape (reps, days)."""
    at_work = (grid.days >= people.start[:, None]) & (grid.days <= people.stop[:, None])
    return np.asarray(at_work * grid.day_weights)


def _middle(days: Ints, bins: Ints, n_bins: int) -> Ints:
    first = np.searchsorted(bins, np.arange(n_bins), side="left")
    last = np.searchsorted(bins, np.arange(n_bins), side="right") - 1
    return np.asarray((days[first] + days[last]) // 2)


def _span(of_grid: Ints) -> Ints:
    """All running numbers the grid spans."""
    return np.arange(of_grid.min(), of_grid.max() + 1, dtype=np.int64)
