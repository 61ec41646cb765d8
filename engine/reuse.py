"""What is the same in another simulation is not simulated again.

Every random number belongs to somebody by name (see :mod:`quotacast.engine.streams`), so a rep for whom
nothing differs has the same futures, number by number, whatever is decided about others, as long as nobody
leaves: only a leaver's deals and leads go to others. A scenario that hires four people costs four people's
simulation. Where anything differs that is everybody's, such as the calendar's pieces, all is simulated.

And where nothing differs before the deals, as in a scenario of other odds of winning, what activities and
leads bring to the deals can be kept, block by block, as long as it fits into memory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quotacast.engine.activity import Recent
from quotacast.engine.columns import Columns, spliced
from quotacast.engine.kept_draws import KeptDraws
from quotacast.engine.tables import Tables

#: Arrays by row (rep) of deals and of leads; all others must not differ.
_BY_ROW = (
    "rep_key", "at_work", "tenure", "ramp_days", "seat", "follows", "mix_row", "share_times", "cycle_times",
    "value_times", "margin_times", "begins_times", "asked",
)  # fmt: skip
#: Follow from others, or from the posterior alone, or tell of moves, of which there are none.
_DERIVED = ("changed", "numbers", "stage_arrays", "move_at", "move_given")
#: How many simulations are kept: in other periods, of other measures or of fewer futures.
KEPT = 2
#: What changes deals alone.
_OF_DEALS = ("close_rate", "cycle_days", "deal_value", "margin")
#: Bytes up to which what comes before the deals is kept.
LIMIT = 300_000_000


@dataclass(frozen=True)
class Brought:
    """What activities and leads bring to the deals of a block.

    Attributes
    ----------
    recent : Recent
        What recent activity does to the creation of opportunities.
    at : ndarray of int32, shape (draws, rows + 1)
        Where the opportunities of a draw and row begin that leads begin.
    day, segment, owner : ndarray of int16, shape (begun,)
    stream : ndarray of uint64, shape (begun,)
    """

    recent: Recent
    at: NDArray[np.int32]
    day: NDArray[np.int16]
    segment: NDArray[np.int16]
    stream: NDArray[np.uint64]
    owner: NDArray[np.int16]

    @classmethod
    def of(cls, recent: Recent, begun: tuple[Any, ...]) -> Brought:
        """From the arrays of the inner loop, in its order."""
        at, day, segment, stream, owner = begun
        created = {
            name: {k: v for k, v in kind.items() if k == "created"} for name, kind in vars(recent).items()
        }
        day, segment, owner = (x.astype(np.int16) for x in (day, segment, owner))
        return cls(Recent(**created), at.astype(np.int32), day, segment, stream, owner)

    @property
    def begun(self) -> tuple[Any, ...]:
        """The arrays of the inner loop, in its order."""
        at, day, segment, owner = (x.astype(np.int64) for x in (self.at, self.day, self.segment, self.owner))
        return at, day, segment, self.stream, owner

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        arrays = (self.at, self.day, self.segment, self.stream, self.owner)
        drive = (x for kind in vars(self.recent).values() for x in kind.values())
        return sum(int(x.nbytes) for x in (*arrays, *drive))


class Upstream:
    """What is brought to the deals by first draw of a block; nothing at all where it gets too large."""

    def __init__(self) -> None:
        self._blocks: dict[int, Brought] = {}
        self._bytes = 0

    def keep(self, first: int, brought: Brought) -> None:
        """Keep a block."""
        self._bytes += brought.nbytes
        if self._bytes > LIMIT:
            self._blocks.clear()
        else:
            self._blocks[first] = brought

    def __getitem__(self, first: int) -> Brought:
        return self._blocks[first]

    @property
    def whole(self) -> bool:
        """Whether every block was kept."""
        return bool(self._blocks) and self._bytes <= LIMIT


class Reuse:
    """Simulations of one funnel from which others take what is the same.

    Attributes
    ----------
    upstream : bool
        Whether what comes before the deals is kept as well: worth its memory where scenarios follow.
    draws : KeptDraws, optional
        Those of earlier commands.
    """

    def __init__(self, upstream: bool = False, draws: KeptDraws | None = None) -> None:
        self.upstream, self.draws = upstream, draws
        self._kept: dict[Any, tuple[Tables, dict[str, Columns], Upstream | None]] = {}

    def find(self, tables: Tables, draws: int, measures: Collection[str]) -> Before | None:
        """What can be taken for these tables; None where nothing can."""
        found = self._kept.get(_key(tables, draws, measures))
        if found is None:
            return None
        before, columns, upstream = found
        same = unchanged(tables, before)
        if upstream is None or not upstream.whole or not _same_before_deals(tables, before):
            upstream = None
        return Before(same, columns, upstream) if same.any() or upstream else None

    def keep(
        self, tables: Tables, draws: int, columns: dict[str, Columns], upstream: Upstream | None
    ) -> None:
        """Remember a simulation, unless one of its kind is known."""
        key = _key(tables, draws, columns)
        if key not in self._kept:
            while len(self._kept) >= KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = (tables, columns, upstream)


class Before:
    """An earlier simulation and the rows of new tables that are the same in it.

    Parameters
    ----------
    same : ndarray of bool, shape (rows,)
    columns : dict of str to Columns
        What was simulated, whose first rows are the new tables'.
    upstream : Upstream, optional
        What comes before the deals, where it is the same.
    """

    def __init__(
        self, same: NDArray[np.bool_], columns: dict[str, Columns], upstream: Upstream | None
    ) -> None:
        self.same, self.columns, self.upstream = same, columns, upstream

    @property
    def block(self) -> int:
        """Draws per block."""
        return next(iter(self.columns.values())).block

    def everything(self, rows: int) -> bool:
        """Whether nothing is left to simulate of so many rows."""
        return bool(self.same.all()) and next(iter(self.columns.values())).stored[1] == rows

    def filled(self, columns: dict[str, Columns]) -> dict[str, Columns]:
        """Columns in which what is the same comes from before, measures that are missing among it."""
        return {
            name: spliced(old, columns[name], self.same) if self.same.any() else columns[name]
            for name, old in self.columns.items()
            if name in columns
        } | {name: old for name, old in self.columns.items() if name not in columns}


def _key(tables: Tables, draws: int, measures: Collection[str]) -> Any:
    days = tables.grid.first, tables.grid.last, tables.steps.edges.tobytes()
    return id(tables.funnel), tables.seed, draws, days, frozenset(measures)


def unchanged(tables: Tables, before: Tables) -> NDArray[np.bool_]:
    """Rows of ``tables`` that have the same futures in ``before``, shape (rows,)."""
    rows = len(tables.crew.reps)
    common = min(rows, len(before.crew.reps))
    same = np.zeros(rows, dtype=bool)
    if not (_settled(tables) and _settled(before)) or tables.crew.known != before.crew.known:
        return same
    same[:common] = True
    mine, other = list(zip(*_people(tables), strict=True)), list(zip(*_people(before), strict=True))
    same[:common] = [mine[r] == other[r] for r in range(common)]
    for name, now, then in _arrays(tables, before):
        if name in _BY_ROW:
            same[:common] &= _rows_equal(now[:common], then[:common])
        elif not _equal(now, then):
            return np.zeros(rows, dtype=bool)
    for kind in tables.activity.chain.kinds:
        for now, then in zip(tables.activity.rates(kind), before.activity.rates(kind), strict=True):
            same[:common] &= _rows_equal(now[:common], then[:common])
    return same


def _same_before_deals(tables: Tables, before: Tables) -> bool:
    """Whether activities and leads are the same, and so is what is decided but for changes of deals."""
    mine, other = (
        replace(t.drivers, changes=tuple(c for c in t.drivers.changes if c.what not in _OF_DEALS))
        for t in (tables, before)
    )
    return mine == other and tables.grid.cuts == before.grid.cuts


def _settled(tables: Tables) -> bool:
    """Whether nobody's deals can become somebody else's."""
    stays = tables.departures
    nobody_leaves = not tables.crew.leaving.any() and bool((stays.stop >= stays.days).all())
    return nobody_leaves and not tables.territory.given.any()


def _people(tables: Tables) -> tuple[Any, ...]:
    crew, stays = tables.crew, tables.departures
    return crew.reps, crew.teams, stays.start.tolist(), stays.stop.tolist(), crew.hired.tolist()


def _arrays(tables: Tables, before: Tables) -> Iterator[tuple[str, Any, Any]]:
    """Arrays of both by name; those of one alone are None in the other."""
    for now, then in ((tables.fixed, before.fixed), (tables.leads.fixed, before.leads.fixed)):
        for name in {*now, *then} - {*_DERIVED}:
            yield name, now.get(name), then.get(name)


def _equal(now: Any, then: Any) -> bool:
    if isinstance(now, np.ndarray) and isinstance(then, np.ndarray):
        floats = now.dtype.kind == "f"
        return now is then or np.array_equal(now, then, equal_nan=floats)
    return bool(now == then)


def _rows_equal(now: Any, then: Any) -> NDArray[np.bool_]:
    """Whether rows are the same, shape (rows,)."""
    if now.shape[1:] != then.shape[1:]:
        return np.zeros(now.shape[0], dtype=bool)
    return np.asarray((now == then).reshape(now.shape[0], -1).all(axis=1))
