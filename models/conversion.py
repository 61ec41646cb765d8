"""Whether and when: competing hazards of the ways in which an episode ends.

Likelihood. For every cause j (won, lost; converted, disqualified) the hazard per weighted day is constant
in a cell of age band x calendar piece x rep x segment x amount band, and ::

    events[j, cell] ~ Poisson(exposure[cell] * h[j, cell])
    log h[j] = level + age band + position in the quarter + age band x position + rep + segment
               + amount band + month's shock + quarter's level (trend) + rep x quarter

which is the exact likelihood of continuous-time competing risks with piecewise constant hazards; the
causes factorise and are fitted separately. A row that is still open contributes its exposure until
the evening of the as-of date and no event (right-censored); where the data hold only what survived
until some day, exposure starts at that day (left-truncated). Units: weighted days (see
:mod:`quotacast.models.timegrid`), age in calendar days since the beginning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quotacast.models.cells import (
    CELL_LIMIT,
    Codes,
    Episodes,
    HazardCells,
    age_bands,
    coarsen,
    hazard_cells,
)
from quotacast.models.history.history import History
from quotacast.models.periods import POSITIONS
from quotacast.models.terms import Cells, Declaration, Term
from quotacast.models.timegrid import Ints, TimeGrid, day_number


@dataclass(frozen=True)
class Link:
    """One step of the chain from lead to deal, as a row of :data:`LINKS`.

    Attributes
    ----------
    table : str
        Canonical table with one row per episode.
    start, stop : str
        Columns of the days on which an episode begins and ends.
    state : str
        Column that says how it ended; empty where there is one way, and what has a last day has ended.
    causes : tuple of str
        Values of ``state`` that end an episode: the names of the models of its hazards.
    arrivals : str
        Name of the model that counts new rows; empty where they are not modelled.
    into : str
        Link that an episode begins when it ends by the first cause; empty where it begins none.
    driven : bool
        Whether activity may drive the arrivals.
    due : str
        Column of the day around which an episode ends; such a link has no reps and is prepared by
        :mod:`quotacast.models.invoices`. Empty for all others.
    """

    table: str
    start: str
    stop: str
    state: str
    causes: tuple[str, ...]
    arrivals: str = ""
    into: str = ""
    driven: bool = False
    due: str = ""


LINKS: dict[str, Link] = {
    "opportunity": Link(
        "opportunities", "created_on", "closed_on", "status", ("won", "lost"), "created", driven=True
    ),
    "lead": Link(
        "leads",
        "created_on",
        "closed_on",
        "status",
        ("converted", "disqualified"),
        "leads",
        "opportunity",
        driven=True,
    ),
    "invoice": Link("invoices", "issued_on", "paid_on", "", ("paid",), due="due_on"),
}


@dataclass(frozen=True)
class HazardData:
    """Declared hazards, one per cause, with their cells.

    Attributes
    ----------
    declarations, cells : tuple
        One per cause, in the order of the link's causes; exposures and codes are shared.
    age_edges : tuple of int
        First day of age of every band.
    months, quarters : ndarray
        Running months and quarters behind the codes of shock and trend.
    last_event_age : int
        Oldest age at which anything closed; what lies beyond is extrapolation.
    """

    declarations: tuple[Declaration, ...]
    cells: tuple[Cells, ...]
    age_edges: tuple[int, ...]
    months: Ints
    quarters: Ints
    last_event_age: int


def episodes(history: History, link: Link, codes: Mapping[str, Codes], entry: int | None) -> Episodes:
    """Episodes of a link as they stood on the history's as-of date.

    Parameters
    ----------
    codes : mapping of str to ndarray
        Axes per row of the link's table.
    entry : int, optional
        Day number at which the data begin to be complete (left truncation).
    """
    table = history.tables[link.table]
    start, as_of = day_number(table[link.start]), int(day_number(history.as_of_date))
    outcome = _outcomes(table, link)
    stop = np.where(outcome > 0, day_number(table[link.stop]), as_of)
    found = Episodes(start, start, stop, outcome, dict(codes))
    return found if entry is None else found.observed_from(entry)


def _outcomes(table: pd.DataFrame, link: Link) -> NDArray[np.int8]:
    """By which cause each row ended, counted from 1; 0 while it goes on."""
    if not link.state:
        return table[link.stop].notna().to_numpy().astype(np.int8)
    state = table[link.state].to_numpy(dtype=object)
    numbers = list(range(1, len(link.causes) + 1))
    return np.select([state == cause for cause in link.causes], numbers, 0).astype(np.int8)


def hazard_data(
    found: Episodes, grid: TimeGrid, causes: tuple[str, ...], sizes: Mapping[str, int]
) -> HazardData:
    """Cells and declarations of the competing hazards.

    Parameters
    ----------
    sizes : mapping
        Number of levels of the episodes' own axes.
    """
    edges = age_bands(found, grid)
    ladder = _ladder(edges, tuple(found.codes))

    def build(rung: int) -> HazardCells:
        bands, axes = ladder[rung]
        kept = {name: code for name, code in found.codes.items() if name in axes}
        return hazard_cells(replace(found, codes=kept), grid, bands, len(causes))

    cells, rung = coarsen(build, len(ladder), CELL_LIMIT)
    edges = ladder[rung][0]
    codes, months, quarters = _calendar_codes(cells, grid)
    rep_size = sizes.get("rep", 1)
    codes["rep_quarter"] = codes.get("rep", np.zeros(len(cells), np.int32)) * quarters.size + codes["quarter"]
    codes["age_position"] = codes["age"] * len(POSITIONS) + codes["position"]
    codes = {name: np.asarray(code, dtype=np.int32) for name, code in codes.items()}
    shape = {
        **{name: size for name, size in sizes.items() if name in cells.codes},
        "month": months.size,
        "quarter": quarters.size,
        "rep_quarter": rep_size * quarters.size if rep_size > 1 else 1,
    }
    declared = tuple(hazard_declaration(cause, edges, shape) for cause in causes)
    return HazardData(
        declared,
        tuple(Cells(events, cells.exposure, codes) for events in cells.events),
        edges,
        months,
        quarters,
        int((found.stop - found.start)[found.outcome > 0].max(initial=0)),
    )


def hazard_declaration(cause: str, age_edges: tuple[int, ...], sizes: Mapping[str, int]) -> Declaration:
    """Declare the hazard of one cause."""
    bands = len(age_edges)
    terms = [
        Term("level", "level", "", 1, 2.0, "a hazard per day between 1 in 5,000 and 1 in 2", (-4.5,)),
        Term(
            "age",
            "walk",
            "age",
            bands,
            1.0,
            "hazards rise and fall with age, neighbouring bands alike; flat beyond the last band",
            widths=age_widths(age_edges),
        ),
        Term("position", "contrast", "position", len(POSITIONS), 0.4, "the push at the quarter's end"),
        Term(
            "age_position",
            "contrast",
            "age_position",
            bands * len(POSITIONS),
            0.2,
            "the push moves deals of some ages more than others",
        ),
        Term("rep", "pooled", "rep", sizes.get("rep", 1), 0.3, "reps close faster or more often"),
        Term("segment", "contrast", "segment", sizes.get("segment", 1), 0.5, "segments differ clearly"),
        Term(
            "amount", "contrast", "amount", sizes.get("amount", 1), 0.3, "large deals take longer, win less"
        ),
        Term("shock", "shock", "month", sizes["month"], 0.15, "what moves all deals in the same month"),
        Term("trend", "walk", "quarter", sizes["quarter"], 0.07, "the level drifts slowly"),
        Term(
            "rep_quarter",
            "pooled",
            "rep_quarter",
            sizes["rep_quarter"],
            0.15,
            "a rep's good and bad quarters: without them a rep's year looks too certain",
        ),
    ]
    return Declaration(cause, "poisson", tuple(t for t in terms if t.size > 1 or t.kind == "level"))


def age_widths(age_edges: tuple[int, ...]) -> tuple[float, ...] | None:
    """Distances between neighbouring age bands on a log scale of age, mean 1."""
    if len(age_edges) < 2:
        return None
    edges = np.asarray(age_edges, dtype=float)
    middle = np.append((edges[:-1] + edges[1:]) / 2, edges[-1] * 1.3 + 1.0)
    steps = np.diff(np.log1p(middle / 7.0))
    return tuple(float(x) for x in steps / steps.mean())


def _ladder(edges: tuple[int, ...], axes: tuple[str, ...]) -> list[tuple[tuple[int, ...], tuple[str, ...]]]:
    """Coarser and coarser (age bands, axes): all effects first keep their place, bands go before axes."""
    half = tuple(e for i, e in enumerate(edges) if i == 0 or i % 2 == 1)
    quarter = tuple(e for i, e in enumerate(half) if i == 0 or i % 2 == 1)
    slim = tuple(a for a in axes if a != "amount")
    return [(edges, axes), (half, axes), (quarter, axes), (half, slim), (quarter, slim), (quarter, ("rep",))]


def _calendar_codes(cells: HazardCells, grid: TimeGrid) -> tuple[dict[str, NDArray[np.int32]], Ints, Ints]:
    piece = cells.codes["piece"]
    months = np.arange(grid.month.min(), grid.month.max() + 1, dtype=np.int64)
    quarters = np.arange(grid.quarter.min(), grid.quarter.max() + 1, dtype=np.int64)
    codes: dict[str, NDArray[np.int32]] = {k: v for k, v in cells.codes.items() if k != "piece"}
    codes["month"] = (grid.month[piece] - months[0]).astype(np.int32)
    codes["quarter"] = (grid.quarter[piece] - quarters[0]).astype(np.int32)
    codes["position"] = grid.position[piece].astype(np.int32)
    return codes, months, quarters
