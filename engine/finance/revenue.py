"""Bookings, billings and revenue of every future, month by month, with what is signed and what is not.

Per deal and month's end, with cents without value-added tax ::

    backlog  = signed - earned          deferred - unbilled = invoiced - earned

deferred being the part above zero and unbilled the part below, so that in every future
billings = revenue + change in (deferred - unbilled).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np

from quotacast.engine.finance.contracted import due_so_far, earned_until
from quotacast.engine.finance.kernel import KINDS
from quotacast.engine.finance.kernel_close import FLOWS, MEASURES, run_revenue
from quotacast.engine.finance.ledger import Ledger
from quotacast.engine.finance.schedule import Ints
from quotacast.models.periods import Period
from quotacast.models.timegrid import day_number


@dataclass(frozen=True)
class RevenuePaths:
    """Revenue of every future in cents.

    Attributes
    ----------
    months : tuple of Period
        Whole months; the first may lie in the past.
    done : ndarray of int64, shape (flows, months)
        Up to the as-of date.
    signed : ndarray of int64, shape (measures, months)
        What deals signed by then bring after it, and their stocks: the same in every future.
    opening : ndarray of int64, shape (3,)
        Stocks of signed deals on the as-of date.
    paths : ndarray of int64, shape (futures, measures, kinds, months)
        What is signed after it; the kind ``signed`` is empty.
    margins : bool
        Whether margins are known.
    """

    months: tuple[Period, ...]
    done: Ints
    signed: Ints
    opening: Ints
    paths: Ints
    margins: bool


def revenue_paths(
    ledger: Ledger, months: Sequence[Period], told: Callable[[float], None] | None = None
) -> RevenuePaths:
    """Run the clocks of signing, invoicing and earning over all futures.

    Parameters
    ----------
    months : sequence of Period
        One after another to the last simulated day; the first must not begin after the first simulated one.
    """
    n, done = ledger.wins.draws, 0
    edges = np.array([int(day_number(m.last)) + 1 for m in months], dtype=np.int64) - ledger.days.first
    month_of_day = np.searchsorted(edges, np.arange(ledger.days.days), side="right")
    paths = np.zeros((n, len(MEASURES), len(KINDS), len(months)), dtype=np.int64)
    signing, billing, room, own = ledger.signing, ledger.billing, ledger.room, np.arange(n)
    begin, end = ledger.schedules.begin.astype(np.int64), ledger.schedules.end.astype(np.int64)

    def block(number: int) -> int:
        which, place = ledger.wins.futures(number)
        if which.size:
            begins, cells, values = zip(*ledger.wins.block(number), strict=True)
            run_revenue(
                begins, cells, values, place, which, ledger.days.days, signing, billing, begin, end, edges,
                month_of_day, own, room, paths,
            )  # fmt: skip
        return int(which.size)

    with ThreadPoolExecutor(numba.get_num_threads()) as pool:
        for count in pool.map(block, range(ledger.wins.blocks)):
            done += count
            if told:
                told(done / n)
    signed, opening = _signed(ledger, edges)
    margins = "margin_cents" in ledger.wins.columns
    return RevenuePaths(tuple(months), _done(ledger, months[0], edges), signed, opening, paths, margins)


def _signed(ledger: Ledger, edges: Ints) -> tuple[Ints, Ints]:
    """Flows after the as-of date and stocks at the ends of months, and the stocks on it; of signed deals."""
    deals, coming, ends = ledger.signed, ledger.coming, np.append(0, np.maximum(edges, 0))
    earned, margin = earned_until(deals, ledger.terms, ends + ledger.days.first)
    invoiced = np.tile(deals.invoiced, (ends.size, 1))
    for m, edge in enumerate(ends):
        np.add.at(invoiced[m], coming.deal[coming.day < edge], coming.cents[coming.day < edge])
    out = np.zeros((len(MEASURES), edges.size), dtype=np.int64)
    for name, per_deal in (("billings", invoiced), ("revenue", earned), ("gross_margin", margin)):
        out[MEASURES.index(name)] = np.diff(per_deal.sum(axis=1))
    stocks = np.stack(
        [
            (deals.cents - earned).sum(axis=1),
            np.maximum(invoiced - earned, 0).sum(axis=1),
            np.maximum(earned - invoiced, 0).sum(axis=1),
        ]
    )
    out[len(FLOWS) :] = np.where(edges > 0, stocks[:, 1:], 0)
    return out, stocks[:, 0]


def _done(ledger: Ledger, month: Period, edges: Ints) -> Ints:
    """Bookings, billings, revenue and margin up to the as-of date by month, shape (flows, months)."""
    deals, first = ledger.signed, ledger.days.first
    begins = int(day_number(month.first)) - first
    starts = np.append(begins, np.minimum(edges, 0))
    earned, margin = earned_until(deals, ledger.terms, starts + first)
    out = np.zeros((len(FLOWS), edges.size), dtype=np.int64)
    out[FLOWS.index("bookings")] = _by_month(deals.close - first, deals.cents, begins, edges)
    rows = ledger.history.invoices
    issued, cents = day_number(rows["issued_on"]) - first, ledger.sent[1]
    if len(rows):
        out[FLOWS.index("billings")] = _by_month(issued, cents, begins, edges)
    else:  # no invoices are known: those that the terms put
        sums = [int(due_so_far(deals, ledger.terms, int(day) + first - 1).sum()) for day in starts]
        out[FLOWS.index("billings")] = np.diff(sums)
    out[FLOWS.index("revenue")] = np.diff(earned.sum(axis=1))
    out[FLOWS.index("gross_margin")] = np.diff(margin.sum(axis=1))
    return out


def _by_month(day: Ints, cents: Ints, begins: int, edges: Ints) -> Ints:
    """Cents by month from the first one's begin up to day 0."""
    out = np.zeros(edges.size, dtype=np.int64)
    past = (day < 0) & (day >= begins)
    np.add.at(out, np.searchsorted(edges, day[past], side="right"), cents[past])
    return out
