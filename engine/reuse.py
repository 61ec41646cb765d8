"""What is the same in another simulation is not simulated again.

Every random number belongs to somebody by name (see :mod:`quotacast.engine.streams`), so a rep for whom
nothing differs has the same futures, number by number, whatever is decided about others, as long as nobody
leaves: only a leaver's deals and leads go to others. A scenario that hires four people costs four people's
simulation. Where anything differs that is everybody's, such as the calendar's pieces, all is simulated.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quotacast.engine.columns import Columns, spliced
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


class Reuse:
    """Simulations of one funnel from which others take what is the same."""

    def __init__(self) -> None:
        self._kept: dict[Any, tuple[Tables, dict[str, Columns]]] = {}

    def find(self, tables: Tables, draws: int, measures: Collection[str]) -> Before | None:
        """What can be taken for these tables; None where nothing can."""
        found = self._kept.get(_key(tables, draws, measures))
        if found is None:
            return None
        same = unchanged(tables, found[0])
        return Before(same, found[1]) if same.any() else None

    def keep(self, tables: Tables, draws: int, columns: dict[str, Columns]) -> None:
        """Remember a simulation, unless one of its kind is known."""
        key = _key(tables, draws, columns)
        if key not in self._kept:
            while len(self._kept) >= KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = (tables, columns)


class Before:
    """An earlier simulation and the rows of new tables that are the same in it.

    Parameters
    ----------
    same : ndarray of bool, shape (rows,)
    columns : dict of str to Columns
        What was simulated, whose first rows are the new tables'.
    """

    def __init__(self, same: NDArray[np.bool_], columns: dict[str, Columns]) -> None:
        self.same, self.columns = same, columns

    @property
    def block(self) -> int:
        """Draws per block."""
        return next(iter(self.columns.values())).block

    def everything(self, rows: int) -> bool:
        """Whether nothing is left to simulate of so many rows."""
        return bool(self.same.all()) and next(iter(self.columns.values())).stored[1] == rows

    def filled(self, columns: dict[str, Columns]) -> dict[str, Columns]:
        """Columns in which what is the same comes from before."""
        return {name: spliced(self.columns[name], found, self.same) for name, found in columns.items()}


def _key(tables: Tables, draws: int, measures: Collection[str]) -> Any:
    return id(tables.funnel), tables.seed, draws, tables.steps.edges.tobytes(), frozenset(measures)


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
