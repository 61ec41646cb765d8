"""Recognised revenue as a measure of paths: by rep and step, of the same futures as `quotacast revenue`.

Where the plan's terms spread revenue over time, a deal's revenue is earned day by day after it is signed, by
the rep who signed it: of deals to come in every future (the clocks of
:mod:`quotacast.engine.finance.kernel`), and of deals signed by the as-of date for certain, in
``revenue_cents`` up to that day and in ``signed_cents`` after it. A term that is signed anew is new business
of the rep of the first one. A rep counts for the team held on the day on which the revenue is earned.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numba
import numpy as np
import pandas as pd

from quotacast.engine.actuals import Seats, actual_measures
from quotacast.engine.columns import BLOCK, Columns, Growing, Part, take
from quotacast.engine.finance.contracted import Signed
from quotacast.engine.finance.contracts import Contracts
from quotacast.engine.finance.kernel_earn import run_earned
from quotacast.engine.finance.schedule import Ints, Terms, earned_before
from quotacast.engine.paths import COMPONENTS, Paths
from quotacast.engine.simulate import PLAIN_CELLS
from quotacast.engine.steps import Steps
from quotacast.models.history.history import History
from quotacast.models.timegrid import day_number

MEASURE, SIGNED = "revenue_cents", "signed_cents"


def with_revenue(paths: Paths, contracts: Contracts, past: tuple[Seats, dict[str, Ints]]) -> Paths:
    """Paths whose revenue is recognised by the contracts' terms.

    Parameters
    ----------
    paths : Paths
        Of as many futures as the contracts' wins, in the same order.
    past : tuple
        What is done, from :func:`past_with_revenue` in the steps of the paths.
    """
    if paths.draws != contracts.wins.draws:
        raise ValueError(f"{paths.draws} futures of the paths, {contracts.wins.draws} of the wins")
    shares = {name: of for name, of in paths.shares.items() if name != MEASURE}
    columns = {**paths.columns, MEASURE: earned_columns(contracts, paths.steps)}
    return replace(paths, columns=columns, shares=shares, done_seats=past[0], done=past[1])


def earned_columns(contracts: Contracts, steps: Steps) -> Columns:
    """Revenue to come of deals to come, shape (futures, reps, steps, components)."""
    wins, first = contracts.wins, contracts.days.first
    edges = np.maximum(steps.edges[1:] - first, 0)
    step_of_day = np.searchsorted(edges, np.arange(contracts.days.days), side="right")
    begin, end = (x.astype(np.int64) for x in (contracts.schedules.begin, contracts.schedules.end))
    signing, room, own = contracts.signing, contracts.room, np.arange(wins.draws)
    if (signing.due_rep < 0).any():
        raise ValueError("a signed deal whose term ends has a rep without a seat")
    where = [wins.futures(b) for b in range(wins.blocks)]
    order = np.concatenate([which for which, _ in where])
    block = np.repeat(np.arange(wins.blocks), [which.size for which, _ in where])
    place = np.concatenate([at for _, at in where])
    shape = (len(contracts.reps), len(steps), len(COMPONENTS))
    size = int(np.clip(PLAIN_CELLS // (shape[0] * shape[1]), 1, min(BLOCK, order.size)))

    def piece(low: int) -> Part:
        now = slice(low, min(low + size, order.size))
        out = np.zeros((now.stop - low, *shape), dtype=np.int64)
        for number in np.unique(block[now]):
            mine = low + np.flatnonzero(block[now] == number)
            begins, cells, values = zip(*wins.block(int(number)), strict=True)
            run_earned(
                begins, cells, values, place[mine], order[mine], contracts.days.days, signing, begin, end,
                edges, step_of_day, own, room, out[mine[0] - low : mine[-1] + 1 - low],
            )  # fmt: skip
        return take(out)

    firsts = range(0, order.size, size)
    growing = Growing(len(firsts), *shape)
    with ThreadPoolExecutor(numba.get_num_threads()) as pool:
        for part in pool.map(piece, firsts):
            growing.add(part)
    return growing.columns().taken(np.argsort(order, kind="stable"))


def past_with_revenue(
    history: History, steps: Steps, deals: Signed, terms: Terms, more: pd.DataFrame
) -> tuple[Seats, dict[str, Ints]]:
    """What is done, with revenue by the terms; and what signed deals will earn after the as-of date.

    Parameters
    ----------
    deals : Signed
        Won up to the as-of date.
    more : pandas.DataFrame
        Further events, as :func:`quotacast.engine.actuals.actual_measures` takes them.
    """
    tomorrow = int(day_number(history.as_of_date)) + 1
    moved = history.reps["from"].dropna()
    cuts = np.unique(np.concatenate([steps.edges, [tomorrow], day_number(moved)]))
    cuts = cuts[(cuts >= steps.edges[0]) & (cuts <= steps.edges[-1])]
    reps, who = np.unique(deals.rep.astype(str), return_inverse=True)
    until = np.zeros((cuts.size, reps.size))
    spans = _spans(deals, terms)
    for i, cut in enumerate(cuts):
        until[i] = np.bincount(who, earned_before(deals.cents, *spans, cut), minlength=reps.size)
    earned = np.rint(np.diff(until, axis=0)).astype(np.int64)
    at, rep = np.nonzero(earned)
    day = cuts[at]
    found: dict[str, Any] = {"rep": reps[rep].astype(object), "day": day, "value": earned[at, rep]}
    found["measure"] = np.where(day < tomorrow, MEASURE, SIGNED).astype(object)
    seats, done = actual_measures(history, steps, pd.concat([more, pd.DataFrame(found)], ignore_index=True))
    return seats, {MEASURE: np.zeros_like(done["won"]), SIGNED: np.zeros_like(done["won"]), **done}


def _spans(deals: Signed, terms: Terms) -> tuple[Ints, Ints]:
    """First day on which each deal earns, and the day after the last."""
    begin, end = np.zeros_like(deals.close), np.zeros_like(deals.close)
    for months, which in deals.by_term():
        begin[which], end[which] = terms.earned(deals.close[which], months)
    return begin, end
