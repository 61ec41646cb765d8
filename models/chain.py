"""The chain before the deal: activities, leads, and what else :data:`LINKS` says.

Every link whose table holds enough rows gets a model of its arrivals (how many) and one of each of its
endings (whether and when); every kind of activity gets a model of how many. A missing table shortens the
chain and leaves a note on what can no longer be answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from quotacast.models import activities
from quotacast.models.activities import Drive, Log, Observation
from quotacast.models.cells import Codes, Episodes
from quotacast.models.chain_notes import (
    DEAL,
    FEWEST,
    LATE,
    gap_weeks,
    link_notes,
    log_notes,
    missing_notes,
    why_no_link,
    why_no_log,
)
from quotacast.models.conversion import LINKS, HazardData, Link, episodes, hazard_data
from quotacast.models.counts import (
    CountData,
    Events,
    Weekly,
    activity_declaration,
    bin_index,
    count_data,
    created,
    creation_declaration,
)
from quotacast.models.covariates import BLANK, FILLED, Covariate
from quotacast.models.history.history import History
from quotacast.models.history.schema import KEYS, NONE
from quotacast.models.people import Employment
from quotacast.models.terms import Cells, Declaration, Floats
from quotacast.models.timegrid import Ints, TimeGrid, day_number

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class OpenRows:
    """Rows of a link that go on at the as-of date, in the order of ids; arrays of shape (rows,)."""

    ids: tuple[str, ...]
    rep: Codes
    segment: Codes
    start: Ints

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class LinkData:
    """A link with its models.

    Attributes
    ----------
    link : Link
    counts : CountData, optional
        How many rows arrive; None where that is not modelled.
    hazards : HazardData
        How they end.
    episodes : Episodes
        Every row under observation, with codes ``rep`` and ``segment``.
    open_rows : OpenRows
    yielded : tuple of (int, int)
        Endings by the first cause with a row in the next link's table, and all of them.
    """

    link: Link
    counts: CountData | None
    hazards: HazardData
    episodes: Episodes
    open_rows: OpenRows
    yielded: tuple[int, int]


@dataclass(frozen=True)
class Chain:
    """What comes before the deal; fields are empty where tables are missing.

    Attributes
    ----------
    links : mapping of str to LinkData
        Every link but the deal.
    kinds : tuple of str
        Modelled kinds of activity, sorted.
    activities : mapping of str to CountData
        By kind.
    drive : Drive
        Recent activity of the kinds that may drive creation.
    refused : str
        Why activity may not drive creation; empty where it may.
    gaps : mapping of str to int
        Weeks per rep in which deals moved and nothing was logged; only reps with some.
    notes : tuple of str
        What the missing tables make impossible, refusals and gaps.
    left_out : mapping of str to str
        Tables with enough rows that are not modelled, and why.
    """

    links: Mapping[str, LinkData]
    kinds: tuple[str, ...]
    activities: Mapping[str, CountData]
    drive: Drive
    refused: str = ""
    gaps: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def leads(self) -> CountData | None:
        """How many leads arrive."""
        return self.links["lead"].counts if "lead" in self.links else None

    @property
    def lead_hazards(self) -> HazardData | None:
        """How leads end: converted, disqualified."""
        return self.links["lead"].hazards if "lead" in self.links else None

    @property
    def lead_deals(self) -> Episodes | None:
        """Every lead under observation, with codes ``rep`` and ``segment``."""
        return self.links["lead"].episodes if "lead" in self.links else None

    @property
    def open_leads(self) -> OpenRows:
        """Leads that are open at the as-of date."""
        none = np.empty(0, dtype=np.int32)
        return (
            self.links["lead"].open_rows
            if "lead" in self.links
            else OpenRows((), none, none, none.astype(int))
        )

    @property
    def lead_yield(self) -> tuple[int, int]:
        """Converted leads that carry an opportunity, and converted leads."""
        return self.links["lead"].yielded if "lead" in self.links else (0, 0)

    @property
    def drivers(self) -> tuple[str, ...]:
        """Kinds of activity that may drive creation."""
        return self.drive.kinds

    @property
    def means(self) -> Floats:
        """Every rep's mean of log(1 + abar), shape (reps, drivers)."""
        return self.drive.means

    @property
    def between(self) -> Floats:
        """That mean less the mean over reps, shape (reps, drivers)."""
        return self.drive.between

    @property
    def recent(self) -> Floats:
        """Free activities of the last weeks, shape (reps, LAG_WEEKS + 1, drivers)."""
        return self.drive.recent

    @property
    def recent_worked(self) -> Floats:
        """Observed weighted weeks at work in them, shape (reps, LAG_WEEKS + 1)."""
        return self.drive.recent_worked

    @property
    def unlinked_share(self) -> Floats:
        """Free activities among all of a kind, shape (drivers,)."""
        return self.drive.share

    @property
    def observed(self) -> Floats:
        """The 1 % and 99 % quantile of weekly activity, shape (drivers, 2)."""
        return self.drive.observed

    def declared(self) -> dict[str, tuple[Declaration, Cells]]:
        """Every model of the chain before the deal, by name."""
        found = {}
        for one in self.links.values():
            if one.counts is not None:
                found[one.counts.declaration.name] = (one.counts.declaration, one.counts.cells)
            for declaration, cells in zip(one.hazards.declarations, one.hazards.cells, strict=True):
                found[declaration.name] = (declaration, cells)
        for counts in self.activities.values():
            found[counts.declaration.name] = (counts.declaration, counts.cells)
        return found


def prepare_chain(
    history: History, people: Employment, grid: TimeGrid, segment: Covariate
) -> tuple[CountData, Chain]:
    """The model of opportunities that come by themselves, and the chain before them."""
    log = activities.read_log(history, people, grid)
    seen = activities.observe(history, people, grid, log)
    left_out = {}
    if log.kinds and not seen.whole[:, activities.LAG_WEEKS :].any():
        left_out["activities"] = why_no_log(log)
        log = log.without_kinds()
        seen = activities.observe(history, people, grid, log)
    kinds, refused = activities.drivers(log)
    driven = activities.drive(people, grid, log, seen, kinds)
    shown = {
        name: link
        for name, link in LINKS.items()
        if name != DEAL and not link.due and len(history.tables[link.table]) >= FEWEST
    }
    for name, link in list(shown.items()):
        if link.arrivals and _brief(history, people, grid, link):
            left_out[link.table] = why_no_link(history, link, grid)
            del shown[name]
    parent = {name: _children(history, link) for name, link in shown.items() if link.into == DEAL}
    links = {n: _link_data(history, people, grid, segment, link, driven) for n, link in shown.items()}
    direct = _direct(history, people, grid, driven, parent, links)
    gaps = gap_weeks(people, seen)
    notes = (
        *missing_notes(history),
        *link_notes(history, {name: one.yielded for name, one in links.items()}),
        *log_notes(log, seen, people, refused, gaps),
        *(f"The table {table} is left out: {why}." for table, why in left_out.items()),
    )
    counted = {kind: _activity(history, people, grid, log, seen, kind) for kind in log.kinds}
    return direct, Chain(links, log.kinds, counted, driven, refused, gaps, notes, left_out)


def _activity(
    history: History, people: Employment, grid: TimeGrid, log: Log, seen: Observation, kind: str
) -> CountData:
    whole = Weekly(observed=seen.whole[:, activities.LAG_WEEKS :])
    declare = partial(activity_declaration, f"activity:{kind}")
    return count_data(history, people, grid, log.events(kind), declare, whole)


def _children(history: History, link: Link) -> Bools:
    """Opportunities that came from a row of the link's table which is on record."""
    deals, rows = history.opportunities, history.tables[link.table]
    key = KEYS[link.table][0]
    named = rows.loc[rows[link.state] == link.causes[0], "opportunity_id"].dropna()
    found = deals["opportunity_id"].isin(set(named)) | deals[key].isin(set(rows[key]))
    return found.to_numpy(dtype=bool)


def _link_data(
    history: History, people: Employment, grid: TimeGrid, segment: Covariate, link: Link, driven: Drive
) -> LinkData:
    rows = history.tables[link.table]
    index = people.index()
    codes, sizes = {}, {}
    rep = np.zeros(len(rows), dtype=np.int32)
    if "rep_id" in rows and set(rows["rep_id"].fillna(NONE)) <= set(index):
        rep = np.array([index[r] for r in rows["rep_id"].fillna(NONE)], dtype=np.int32)
        codes["rep"], sizes["rep"] = rep, len(people.reps)
    place = np.zeros(len(rows), dtype=np.int32)
    if segment.column and segment.column in rows and rows[segment.column].notna().mean() >= FILLED:
        place = segment.code(rows[segment.column].fillna(BLANK).to_numpy(dtype=object))
        codes["segment"], sizes["segment"] = place, len(segment.levels)
    found = episodes(history, link, codes, grid.first)
    hazards = hazard_data(found, grid, link.causes, sizes)
    every = episodes(history, link, {"rep": rep, "segment": place}, grid.first)
    going = np.flatnonzero(episodes(history, link, {}, None).outcome == 0)
    ids = rows.iloc[going, 0].astype(str).to_numpy(dtype=object)
    going, ids = going[np.argsort(ids, kind="stable")], np.sort(ids)
    start = day_number(rows[link.start])
    counts = None
    if link.arrivals:
        events = Events(rep.astype(np.int64), start, np.ones(rep.size))
        weekly = driven.weekly() if link.driven else Weekly()
        weekly = Weekly(weekly.covariates, _kept_weeks(people, grid, start))
        declare = partial(
            creation_declaration, slopes=activities.slope_terms(driven.kinds if link.driven else ()),
            name=link.arrivals,
        )  # fmt: skip
        counts = count_data(history, people, grid, events, declare, weekly)
    open_rows = OpenRows(tuple(ids), rep[going], place[going], start[going])
    return LinkData(link, counts, hazards, every, open_rows, _yielded(history, link))


def _brief(history: History, people: Employment, grid: TimeGrid, link: Link) -> bool:
    """Whether a link's table was kept for no whole week, so that nobody can tell how many begin in one."""
    kept = _kept_weeks(people, grid, day_number(history.tables[link.table][link.start]))
    return kept is not None and not kept.any()


def _kept_weeks(people: Employment, grid: TimeGrid, start: Ints) -> Bools | None:
    """Weeks in which a table was kept; None where that is all of them."""
    first, last = int(start.min()), int(start.max())
    first = first if first - grid.first > LATE else grid.first
    last = last if grid.last - last > LATE else grid.last
    if (first, last) == (grid.first, grid.last):
        return None
    week = bin_index(grid.days, "week")
    weeks = np.arange(week[0], week[-1] + 1)
    ends = bin_index(np.array([first + 6, last - 6]), "week")
    kept = (weeks >= ends[0]) & (weeks <= ends[1])
    return np.repeat(kept[None, :], len(people.reps), axis=0)


def _yielded(history: History, link: Link) -> tuple[int, int]:
    rows = history.tables[link.table]
    if not link.into:
        return 0, 0
    ended = (rows[link.state] == link.causes[0]).to_numpy()
    key = KEYS[link.table][0]
    deals = history.opportunities
    named = rows["opportunity_id"].isin(set(deals["opportunity_id"])) | rows[key].isin(
        set(deals[key].dropna())
    )
    return int((ended & named.to_numpy()).sum()), int(ended.sum())


def _direct(
    history: History,
    people: Employment,
    grid: TimeGrid,
    driven: Drive,
    parent: Mapping[str, Bools],
    links: Mapping[str, LinkData],
) -> CountData:
    """Opportunities that come from no other link: all of them where there is none before."""
    events = created(history, people)
    observed: Bools | None = None
    for name, mine in parent.items():
        events = Events(np.where(mine, -1, events.rep), events.day, events.count)
        observed = _settled_weeks(people, grid, links[name], history)
    declare = partial(creation_declaration, slopes=activities.slope_terms(driven.kinds))
    return count_data(history, people, grid, events, declare, Weekly(driven.weekly().covariates, observed))


def _settled_weeks(people: Employment, grid: TimeGrid, one: LinkData, history: History) -> Bools | None:
    """Weeks in which a deal that came from a lead can be told from one that did not.

    Where the leads begin later than the deals, that is from when nine in ten of the conversions of that day
    would have come.
    """
    start = day_number(history.tables[one.link.table][one.link.start])
    kept = _kept_weeks(people, grid, np.array([start.min(), grid.last]))
    if kept is None:
        return None
    ended = one.episodes.outcome == 1
    age = (one.episodes.stop - one.episodes.start)[ended]
    wait = int(np.ceil(np.quantile(age, 0.9) / 7.0)) if age.size else 0
    out = np.zeros_like(kept)
    out[:, wait:] = kept[:, : kept.shape[1] - wait]
    return out if out.any() else None
