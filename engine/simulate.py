"""Funnel + Book + Drivers -> Paths."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np

from quotacast.engine import kernel
from quotacast.engine.actuals import actual_measures
from quotacast.engine.book import open_book
from quotacast.engine.drivers import Drivers
from quotacast.engine.paths import COMPONENTS, Paths, Steps
from quotacast.engine.tables import Tables
from quotacast.models.funnel import Funnel
from quotacast.models.history.history import History

#: Draws per block: bounds the memory of the per-draw tables.
BLOCK = 1000


def simulate(
    funnel: Funnel,
    history: History,
    drivers: Drivers,
    steps: Steps,
    horizon: date,
    *,
    draws: int,
    seed: int,
    block: int = BLOCK,
    told: Callable[[float], None] | None = None,
) -> Paths:
    """Simulate every deal from the as-of date to the horizon.

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
    block : int
        Draws computed at a time; changes nothing but memory.
    told : callable, optional
        Called with the share that is done.
    """
    prepared = funnel.prepared
    book = open_book(history, prepared.people, prepared.segment, prepared.quotes)
    seats, done = actual_measures(history, steps)
    tables = Tables(funnel, book, drivers, horizon, steps, seed)
    results = run_blocks(tables, draws, block, told)
    return Paths(
        as_of=history.as_of_date,
        steps=steps,
        reps=tables.crew.reps[: tables.crew.seats],
        teams=tables.crew.teams[: tables.crew.seats],
        done_seats=seats,
        done=done,
        **results,
    )


def run_blocks(
    tables: Tables, draws: int, block: int = BLOCK, told: Callable[[float], None] | None = None
) -> dict[str, Any]:
    """Run the inner loop over blocks of draws; a draw's result does not depend on its block."""
    results = empty_results(draws, tables.crew.seats, len(tables.steps))
    for first in range(0, draws, block):
        size = min(block, draws - first)
        part = {name: array[first : first + size] for name, array in results.items()}
        kernel.run(**tables.fixed, **tables.block(first, size), **part)
        if told:
            told((first + size) / draws)
    return results


def empty_results(draws: int, reps: int, steps: int) -> dict[str, Any]:
    """Zeroed arrays of a simulation's results."""
    shape = (draws, reps, steps, len(COMPONENTS))
    return {
        "created": np.zeros(shape[:3], dtype=np.int32),
        "won": np.zeros(shape, dtype=np.int32),
        "lost": np.zeros(shape, dtype=np.int32),
        "won_days": np.zeros(shape, dtype=np.int32),
        "won_cents": np.zeros(shape, dtype=np.int64),
    }
