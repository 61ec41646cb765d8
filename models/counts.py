"""How many: opportunities created per rep and week.

Likelihood. For rep r in bin b (a week; a month where weeks would be too many cells) ::

    y[r, b] ~ NegBinomial(mean mu[r, b], dispersion phi)
    log mu[r, b] = log exposure[r, b] + level + team + rep + tenure band (the ramp)
                   + month of the year (season) + month's shock + quarter's level (trend) + rep x quarter

``exposure`` is the number of weighted days (see :mod:`quotacast.models.timegrid`) on which the rep was
at work in the bin; rates are opportunities per rep and weighted day. A bin in which the rep was at
work and created nothing counts with y = 0; a bin in which the rep was not employed does not count;
a bin that the as-of date cuts counts with its days until then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from quotacast.models.cells import CELL_LIMIT
from quotacast.models.history.history import History
from quotacast.models.people import TENURE_EDGES, TENURE_SHARES, Employment, creators, tenure_band
from quotacast.models.periods import month_index, week_index
from quotacast.models.terms import Cells, Declaration, Term
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


def creation_data(history: History, people: Employment, grid: TimeGrid) -> CountData:
    """Opportunities created per rep and bin, from the grid's first to its last day."""
    weeks = (grid.last - grid.first) // 7 + 1
    kind: Bin = "week" if weeks * len(people.reps) <= CELL_LIMIT else "month"
    bins = bin_index(grid.days, kind)
    base, n_bins = bins[0], int(bins[-1] - bins[0] + 1)
    rep, day = _created(history, people, grid)
    y = _table(rep, bin_index(day, kind) - base, np.ones(rep.size), len(people.reps), n_bins)
    exposure = _exposure(people, grid, bins - base, n_bins)
    r, b = np.nonzero(exposure > 0)
    mid = _middle(grid.days, bins - base, n_bins)[b]
    teams = tuple(sorted(set(people.team)))
    months, month_code = _running(month_index(mid.astype("datetime64[D]")), grid.month)
    quarters, quarter_code = _running(grid.calendar.quarter_index(mid.astype("datetime64[D]")), grid.quarter)
    team = history.team_on(np.asarray(people.reps, dtype=object)[r], mid.astype("datetime64[D]"))
    teams = tuple(sorted(set(teams) | {str(t) for t in team}))
    codes = {
        "rep": r,
        "team": np.searchsorted(np.asarray(teams, dtype=object), team),
        "tenure": tenure_band(mid - people.hired[r]),
        "season": month_index(mid.astype("datetime64[D]")) % 12,
        "month": month_code,
        "quarter": quarter_code,
        "rep_quarter": r * quarters.size + quarter_code,
    }
    cells = Cells(y[r, b], exposure[r, b], {k: np.asarray(v, dtype=np.int32) for k, v in codes.items()})
    sizes = {"rep": len(people.reps), "team": len(teams), "month": months.size, "quarter": quarters.size}
    return CountData(creation_declaration(sizes), cells, kind, months, quarters, teams)


def creation_declaration(sizes: dict[str, int]) -> Declaration:
    """Declare the creation model for so many reps, teams, months and quarters."""
    ramp = tuple(float(x) for x in np.log(TENURE_SHARES))
    n_tenure = len(TENURE_EDGES)
    terms = [
        Term("level", "level", "", 1, 3.0, "opportunities per rep and weighted day: .002 to 50", (-2.0,)),
        Term("team", "pooled", "team", sizes["team"], 0.3, "teams differ by tens of percent"),
        Term("rep", "pooled", "rep", sizes["rep"], 0.5, "reps differ by a factor of two or three at most"),
        Term(
            "tenure",
            "walk",
            "tenure",
            n_tenure,
            0.2,
            "the ramp: around a median of five months, free to differ",
            mean=ramp,
            reference="last",
        ),
        Term("season", "contrast", "season", 12, 0.15, "months of the year differ by some 15 %"),
        Term("shock", "shock", "month", sizes["month"], 0.15, "what moves all reps in the same month"),
        Term("trend", "walk", "quarter", sizes["quarter"], 0.07, "the level drifts slowly"),
        Term(
            "rep_quarter",
            "pooled",
            "rep_quarter",
            sizes["rep"] * sizes["quarter"],
            0.15,
            "a rep's good and bad quarters: without them a rep's year looks too certain",
        ),
    ]
    return Declaration("created", "negbinomial", tuple(t for t in terms if t.size > 1 or t.kind == "level"))


def _created(history: History, people: Employment, grid: TimeGrid) -> tuple[Ints, Ints]:
    day = day_number(history.opportunities["created_on"])
    index = people.index()
    rep = np.array([index.get(r, -1) for r in creators(history)], dtype=np.int64)
    keep = (day >= grid.first) & (day <= grid.last) & (rep >= 0)
    return rep[keep], day[keep]


def _table(
    row: Ints, column: Ints, weight: NDArray[np.float64], rows: int, columns: int
) -> NDArray[np.float64]:
    flat = np.bincount(row * columns + column, weights=weight, minlength=rows * columns)
    return flat.reshape(rows, columns).astype(float)


def _exposure(people: Employment, grid: TimeGrid, bins: Ints, n_bins: int) -> NDArray[np.float64]:
    """Weighted days at work per rep and bin, shape (reps, bins)."""
    at_work = (grid.days >= people.start[:, None]) & (grid.days <= people.stop[:, None])
    rep, day = np.nonzero(at_work)
    return _table(rep, bins[day], grid.day_weights[day], len(people.reps), n_bins)


def _middle(days: Ints, bins: Ints, n_bins: int) -> Ints:
    first = np.searchsorted(bins, np.arange(n_bins), side="left")
    last = np.searchsorted(bins, np.arange(n_bins), side="right") - 1
    return np.asarray((days[first] + days[last]) // 2)


def _running(index: Ints, of_grid: Ints) -> tuple[Ints, Ints]:
    """All running numbers the grid spans, and the codes of ``index`` among them."""
    values = np.arange(of_grid.min(), of_grid.max() + 1, dtype=np.int64)
    return values, np.asarray(index - values[0], dtype=np.int64)
