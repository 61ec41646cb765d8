"""Funnel + Book + Drivers -> Paths."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from queue import SimpleQueue
from typing import Any

import numba
import numpy as np

from quotacast.engine import kernel, kernel_leads, kernel_spells
from quotacast.engine.able import able
from quotacast.engine.actuals import actual_measures
from quotacast.engine.book import open_book
from quotacast.engine.columns import BLOCK as COLUMNS_BLOCK
from quotacast.engine.columns import Columns, Growing, Part, take
from quotacast.engine.drivers import ACTIVITY, Drivers
from quotacast.engine.paths import MEASURES, Paths, Steps, components
from quotacast.engine.reuse import Before, Brought, Reuse, Upstream
from quotacast.engine.selling import Costs, past_costs, payroll
from quotacast.engine.tables import Tables
from quotacast.models.funnel import Funnel
from quotacast.models.history.history import History
from quotacast.models.margins import read_margins

#: Draws for which tables are made at a time: bounds their memory.
BLOCK = 1000
#: Cells (draw, rep, step) of a measure that are held as plain arrays at a time.
PLAIN_CELLS = 1_500_000
#: Measures of leads, and what needs more than 32 bits.
LEAD_MEASURES = ("leads_created", "leads_converted", "leads_disqualified", "lead_days")
WIDE = ("won_cents", "margin_cents")


def simulate(
    funnel: Funnel,
    history: History,
    drivers: Drivers,
    steps: Steps,
    horizon: date,
    *,
    draws: int,
    seed: int,
    costs: Costs | None = None,
    measures: Collection[str] | None = None,
    told: Callable[[float], None] | None = None,
    reuse: Reuse | None = None,
) -> Paths:
    """Simulate every activity, lead and deal from the as-of date to the horizon.

    Parameters
    ----------
    funnel : Funnel
    history : History
        The history that the funnel was fitted to: gives the open deals and what is done.
    drivers : Drivers
    steps : Steps
        Spans into which the paths are counted; must reach from the day after the as-of date to the horizon.
    horizon : date
        Last simulated day.
    draws, seed : int
    costs : Costs, optional
        What selling costs; without them there is no profit.
    measures : collection of str, optional
        What is kept (see `metrics.measures_of`); all without it. In daily steps it saves time and memory,
        and it changes no number.
    told : callable, optional
        Called with the share that is done.
    reuse : Reuse, optional
        Simulations of this funnel and history, from which what is the same is taken. It changes no number.
    """
    prepared = funnel.prepared
    book = open_book(history, prepared.people, prepared.segment, prepared.quotes, prepared.stages)
    seats, done = actual_measures(history, steps, past_costs(costs, history, prepared.people, steps))
    margins = read_margins(history, prepared.segment)
    tables = Tables(funnel, book, drivers, horizon, steps, seed, margins)
    wanted = [m for m in measures_of(tables) if measures is None or m in measures]
    columns = _columns(tables, draws, wanted or ["created"], told, reuse)
    return Paths(
        as_of=history.as_of_date,
        steps=steps,
        reps=tables.crew.reps[: tables.crew.seats],
        teams=tables.crew.teams[: tables.crew.seats],
        columns=columns,
        done_seats=seats,
        done=done,
        able=able(history, prepared.chain, costs),
        payrolls={}
        if costs is None
        else {"cost_cents": payroll(costs, tables.departures, drivers, steps, draws)},
        shares={
            "revenue_cents": ("won_cents", 1.0),
            **({} if costs is None else {"commission_cents": ("won_cents", costs.commission)}),
        },
    )


def _columns(
    tables: Tables,
    draws: int,
    measures: Collection[str],
    told: Callable[[float], None] | None,
    reuse: Reuse | None,
) -> dict[str, Columns]:
    """Simulate what was not simulated before, in this run or in an earlier one."""
    if reuse is None:
        return run_columns(tables, draws, measures, told)
    before, upstream = reuse.find(tables, draws, measures), None
    if before is not None and before.everything(len(tables.crew.reps)):
        return before.columns
    columns = None if reuse.draws is None else reuse.draws.load(tables, draws, measures)
    if columns is None:
        if before is None:
            upstream = Upstream() if reuse.upstream else None
            columns = run_columns(tables, draws, measures, told, upstream=upstream)
        else:
            columns = _rest(tables, draws, measures, told, before)
        if reuse.draws is not None:
            reuse.draws.save(tables, draws, columns)
    reuse.keep(tables, draws, columns, upstream)
    return columns


def _rest(
    tables: Tables,
    draws: int,
    measures: Collection[str],
    told: Callable[[float], None] | None,
    before: Before,
) -> dict[str, Columns]:
    """Simulate what differs from before."""
    if before.upstream is not None:
        measures = [m for m in measures if m in MEASURES and m not in LEAD_MEASURES]
        if not measures:
            return before.columns
    if before.same.any():
        tables.only(~before.same)
    return before.filled(run_columns(tables, draws, measures, told, before.block, brought=before.upstream))


def measures_of(tables: Tables) -> tuple[str, ...]:
    """What the tables let be simulated."""
    without: set[str] = set() if tables.leads.there else set(LEAD_MEASURES)
    without |= set() if tables.margins is not None else {"margin_cents"}
    kinds = tables.funnel.prepared.chain.kinds
    return (*(f"{ACTIVITY}{kind}" for kind in kinds), *(m for m in MEASURES if m not in without))


def run_columns(
    tables: Tables,
    draws: int,
    measures: Collection[str],
    told: Callable[[float], None] | None = None,
    block_size: int | None = None,
    upstream: Upstream | None = None,
    brought: Upstream | None = None,
) -> dict[str, Columns]:
    """Simulate draws and keep some measures, in memory that grows with what happens, not with the steps.

    What comes before the deals is kept in ``upstream``, or is there already in ``brought``.
    """
    reps, steps = tables.crew.seats, len(tables.steps)
    size = block_size or _even(draws, int(np.clip(PLAIN_CELLS // (reps * steps), 1, COLUMNS_BLOCK)))
    shared, done = _shared(tables, measures), 0
    plain: SimpleQueue[dict[str, Any]] = SimpleQueue()

    def block(first: int) -> dict[str, Part]:
        mine = plain.get()
        try:
            now = {name: array[: draws - first] for name, array in mine.items()}
            _run(tables, shared, first, now, upstream, brought)
            return {name: take(now[name]) for name in measures}
        finally:  # or other threads wait for ever
            plain.put(mine)

    blocks = -(-draws // size)
    kept = {name: Growing(blocks, reps, steps, components(name)) for name in measures}
    with ThreadPoolExecutor(numba.get_num_threads()) as pool:
        for _ in range(numba.get_num_threads()):
            plain.put(empty_results(tables, min(size, draws), measures))
        for found in pool.map(block, range(0, draws, size)):
            for name, part in found.items():
                kept[name].add(part)
            done += next(iter(found.values())).draws
            if told:
                told(done / draws)
    return {name: growing.columns() for name, growing in kept.items()}


def _even(draws: int, most: int) -> int:
    """Draws of a block, at most so many, with which every thread gets equally much to do."""
    threads: int = numba.get_num_threads()
    blocks = -(-draws // (most * threads)) * threads
    return -(-draws // blocks)


def run_blocks(tables: Tables, draws: int, block: int = BLOCK) -> dict[str, Any]:
    """Run the inner loops into plain arrays, shape (draws, seats, steps[, components])."""
    measures = measures_of(tables)
    results, shared = empty_results(tables, draws, measures), _shared(tables, measures)

    def part(first: int) -> None:
        mine = {name: array[first : first + block] for name, array in results.items()}
        _run(tables, shared, first, mine)

    with ThreadPoolExecutor(numba.get_num_threads()) as pool:
        list(pool.map(part, range(0, draws, block)))
    return results


def empty_results(tables: Tables, draws: int, measures: Collection[str]) -> dict[str, Any]:
    """Zeroed arrays of the measures wanted, shape (draws, seats, steps[, components])."""
    return {name: _zeros(name, draws, tables.crew.seats, len(tables.steps)) for name in measures}


def _zeros(name: str, draws: int, seats: int, steps: int) -> Any:
    shape = (draws, seats, steps) + ((components(name),) if components(name) > 1 else ())
    return np.zeros(shape, dtype=np.int64 if name in WIDE else np.int32)


def _counts(results: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Arrays of some measures, empty for those that nobody asks for."""
    return {name: results[name] if name in results else _zeros(name, 0, 0, 0) for name in names}


def _shared(tables: Tables, measures: Collection[str]) -> dict[str, dict[str, Any]]:
    """What is made once for the parts of the chain that the measures need."""
    wanted = {m for m in measures if not m.startswith(ACTIVITY)}
    found = {}
    if tables.leads.there and wanted:
        found["leads"] = kernel_spells.shared(tables.leads.fixed)
    if wanted - set(LEAD_MEASURES):
        found["deals"] = kernel_spells.shared(tables.fixed)
    return found


def _run(
    tables: Tables,
    shared: Mapping[str, dict[str, Any]],
    first: int,
    results: dict[str, Any],
    upstream: Upstream | None = None,
    brought: Upstream | None = None,
) -> None:
    """Simulate the next draws into their arrays: activities, leads, deals.

    A block is one thread's work. Plain threads share the blocks, because the compiled loops release the
    GIL, and compile far faster than parallel ones.
    """
    draws = len(next(iter(results.values())))
    counted = {name: array for name, array in results.items() if name.startswith(ACTIVITY)}
    if not shared:
        tables.count_activities(first, draws, counted)
        return
    known = None if brought is None else brought[first]
    block = tables.block(first, draws, counted, None if known is None else known.recent)
    leads, recent = block.pop("leads"), block.pop("recent")
    begun = _nothing_begun(draws, tables.territory.rows) if known is None else known.begun
    if leads is not None and "leads" in shared:
        given = {k: v for k, v in tables.leads.fixed.items() if k not in _ONLY_SHARED}
        counts = _counts(results, LEAD_MEASURES)
        begun = kernel_leads.convert_leads(**shared["leads"], **given, **leads, **counts)
    if upstream is not None:
        upstream.keep(first, Brought.of(recent, begun))
    if "deals" in shared:
        counts = _counts(results, [m for m in MEASURES if m not in LEAD_MEASURES])
        given = dict(zip(_BEGUN, begun, strict=True))
        kernel.close_deals(**shared["deals"], **tables.fixed, **block, **given, **counts)


#: Arrays of leads that only :func:`kernel_spells.shared` and the closed form read.
_ONLY_SHARED = (
    "weights", "edges", "piece_of_day", "bin_label", "rep_key", "age_edges", "share_times",
    "amount_win", "amount_loss", "deal_band",
)  # fmt: skip

#: Arrays of opportunities that leads begin.
_BEGUN = ("begun_at", "begun_day", "begun_segment", "begun_stream", "begun_owner")


def _nothing_begun(draws: int, reps: int) -> tuple[Any, ...]:
    none = np.zeros(0, dtype=np.int64)
    return np.zeros((draws, reps + 1), dtype=np.int64), none, none, np.zeros(0, dtype=np.uint64), none
