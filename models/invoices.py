"""When invoices are paid: the link invoice -> paid, whose clock is the due day.

Likelihood. The hazard of payment per weighted day is constant in a cell of phase x terms x month x customer
x class x amount band, and ::

    events[cell] ~ Poisson(exposure[cell] * h[cell])
    log h = level + phase + terms + phase x terms + customer + class + amount band
            + rest + month's shock + quarter's level (trend)

exact for continuous time, like :mod:`quotacast.models.conversion`. The *phase* is the band of days after the
due day (negative before it): before, on the due day, 1-3 days late, ... over 90. *Terms* is the band of days
from issue to due day. *Customer* is exchangeable: customers pay at very different speeds, one with few
invoices is drawn to the others, and a new one is a draw from the population. An unpaid invoice contributes
its exposure until the as-of date and no payment (right-censored). Days are weighted by the weekdays and
holidays on which payments arrive.

*Never paid.* No column says that an invoice was written off: :mod:`quotacast.models.never` finds the odds
that each unpaid one will be paid yet, and exposure counts with them, so that the hazards are those of
invoices that do get paid (a mixture cure model). The prior of the share that is never paid has a
mean of 0.5 %. Unpaid invoices are watched until ``WRITE_OFF_DAYS`` past due.

*Parts.* Where the table ``payments`` tells of them, an invoice is waited for until its first payment, and
what a part leaves is waited for from the next day on, as a row of its own (*rest*, with a level where there
are enough of them); :mod:`quotacast.models.parts` learns how often and how large. Not modelled are reasons of
a delay, and a customer that stops paying all its invoices at once.

Credit notes (amounts at or below zero) are not waited for and give no exposure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quotacast.models.cells import Codes, Episodes, HazardCells, age_bands, coarsen, hazard_cells
from quotacast.models.chain_notes import FEWEST
from quotacast.models.conversion import LINKS, Link
from quotacast.models.history.history import History
from quotacast.models.never import Never, never_paid
from quotacast.models.parts import Claims, Habits, Partly, claims, habits, partly_paid
from quotacast.models.payers import (
    BUCKETS,
    MOST_CUSTOMERS,
    RECENT,
    Classes,
    OpenInvoices,
    classes_of,
    customer_levels,
    kinds_of,
    open_invoices,
)
from quotacast.models.periods import Calendar
from quotacast.models.terms import Cells, Declaration, Floats, Term
from quotacast.models.timegrid import Ints, TimeGrid, day_number, learned_grid

#: An invoice that is unpaid so many days after its due day counts as never paid.
WRITE_OFF_DAYS = 180
#: Exposure that counts for less than this share is left out.
LEAST = 0.001
#: Stands for "before everything" among the edges of phases.
FAR = -(1 << 30)
#: Candidate bands of days after the due day.
PHASE_EDGES = (FAR, -60, -45, -30, -25, -20, -16, -12, -8, -5, -2, 0, 1, 4, 8, 15, 22, 31, 46, 61, 91)
#: Candidate bands of days from issue to due day.
TERMS_EDGES = (0, 11, 22, 38, 53, 76)
#: Beyond this many occupied cells axes are dropped; more than elsewhere, since customers are many.
CELL_LIMIT = 80_000
#: Days before the as-of date from which invoices are learned: older ones tell little of today, and a mistyped
#: year must not stretch the calendar. They stay open if they are unpaid.
LONGEST = 6 * 365
#: Bands of amounts.
BANDS = 3


Marks = NDArray[np.bool_]


@dataclass(frozen=True)
class PaymentData:
    """Everything about payments that the invoices tell before a fit.

    Attributes
    ----------
    declaration, cells : optional
        None where there are fewer than ``FEWEST`` invoices or none was paid.
    grid : TimeGrid
        From the first issue to the as-of date, weighted by the days on which payments arrive.
    phase_edges, terms_edges : tuple of int
    band_edges : ndarray
        Amounts at which the second and later bands begin.
    customers : int
        Levels of the term ``customer``.
    months, quarters : ndarray of int64
        Running months and quarters behind the codes of shock and trend.
    classes : Classes
    open : OpenInvoices
    never : Never
        The share that is never paid.
    habits : Habits
        How often and how large payments in part are.
    notes : tuple of str
    """

    declaration: Declaration | None
    cells: Cells | None
    grid: TimeGrid
    phase_edges: tuple[int, ...]
    terms_edges: tuple[int, ...]
    band_edges: Floats
    customers: int
    months: Ints
    quarters: Ints
    classes: Classes
    open: OpenInvoices
    never: Never
    habits: Habits
    notes: tuple[str, ...]

    def declared(self) -> dict[str, tuple[Declaration, Cells]]:
        """The model by its name; empty where there is none."""
        if self.declaration is None or self.cells is None:
            return {}
        return {self.declaration.name: (self.declaration, self.cells)}


@dataclass(frozen=True)
class _Bills:
    """The invoices of a history in the order of ids; arrays of shape (n,).

    ``stop`` is the day of payment or the as-of date, ``owed`` marks amounts above zero not older than
    ``LONGEST``, ``old`` those of them whose write-off would have come by now; ``partly`` tells of parts.
    """

    rows: pd.DataFrame
    start: Ints
    due: Ints
    stop: Ints
    paid: Marks
    owed: Marks
    old: Marks
    as_of: int
    partly: Partly

    @property
    def end(self) -> Ints:
        """Last day under observation: of payment, or the as-of date or the write-off if that was earlier."""
        last = np.minimum(self.stop, self.due + WRITE_OFF_DAYS)
        return np.asarray(np.maximum(np.where(self.paid, self.stop, last), self.start))

    @cached_property
    def claims(self) -> Claims:
        """What is waited for; of invoices above zero."""
        found = claims(self.partly, self.start, self.end, self.paid)
        return found.where(self.owed[found.row])

    def never(self, customer: Codes) -> Never:
        """Which of the claims will never be paid."""
        c = self.claims
        return never_paid(c.entry - c.rest, self.due[c.row], c.stop, c.paid, customer[c.row])

    @property
    def amount(self) -> Floats:
        """Planning currency."""
        return np.asarray(self.rows["amount"].to_numpy(dtype=float))

    def episodes(self, codes: dict[str, Codes], weight: Floats) -> Episodes:
        """Claims from their first day; paid before the issue counts as paid on that day."""
        c = self.claims
        own = {axis: code[c.row] for axis, code in codes.items()}
        if c.rest.sum() >= FEWEST:
            own["rest"] = c.rest.astype(np.int32)
        start, due = self.start[c.row], self.due[c.row]
        found = Episodes(start, c.entry, c.stop, c.paid.astype(np.int8), own, due, weight)
        return found.where(weight > LEAST)


def _read(history: History, link: Link) -> _Bills:
    rows = history.tables[link.table].sort_values("invoice_id", kind="stable").reset_index(drop=True)
    as_of = int(day_number(history.as_of_date))
    start = day_number(rows[link.start])
    due = np.maximum(day_number(rows[link.due]), start)
    paid = rows[link.stop].notna().to_numpy()
    stop = np.where(paid, day_number(rows[link.stop]), as_of)
    owed = (rows["amount"].to_numpy(dtype=float) > 0) & (start > as_of - LONGEST)
    old = owed & (due + WRITE_OFF_DAYS <= as_of)
    partly = partly_paid(rows, history.payments, start, np.where(paid, stop, as_of + 1))
    return _Bills(rows, start, due, stop, paid, owed, old, as_of, partly)


def payment_data(history: History, calendar: Calendar, link: Link | None = None) -> PaymentData:
    """Turn the invoices of a history into a declared model.

    Parameters
    ----------
    link : Link, optional
        By default the row ``invoice`` of :data:`LINKS`.
    """
    link = LINKS["invoice"] if link is None else link
    bills = _read(history, link)
    first = int(bills.start[bills.owed].min()) if bills.owed.any() else bills.as_of
    grid = learned_grid(calendar, first, bills.as_of, bills.claims.stop[bills.claims.paid])
    kinds = kinds_of(bills.rows["class"])
    levels, customer = customer_levels(bills.rows["customer_id"], bills.owed)
    edges = _band_edges(bills.amount[bills.owed])
    terms = bills.due - bills.start
    terms_edges = _terms_edges(terms[bills.owed])
    codes = {
        "customer": customer,
        "class": np.searchsorted(np.unique(kinds), kinds).astype(np.int32),
        "amount": np.searchsorted(edges, bills.amount, side="right").astype(np.int32),
        "terms": (np.searchsorted(terms_edges, terms, side="right") - 1).astype(np.int32),
    }
    sizes = {"customer": levels, "class": max(int(np.unique(kinds).size), 1), "amount": edges.size + 1}
    sizes["terms"] = len(terms_edges)
    classes = classes_of(bills.rows, kinds, codes, bills.owed & (bills.start > bills.as_of - RECENT))
    never = bills.never(customer)
    found = bills.episodes(codes, never.weight)
    sizes |= {"rest": 2} if "rest" in found.codes else {}
    declaration, cells, phases, months, quarters = _model(found, grid, sizes, link.causes[0])
    opened = open_invoices(
        bills.rows, kinds, codes, classes, bills.paid, bills.start, bills.due, bills.partly
    )
    learned = habits(bills.partly, bills.paid, bills.stop, bills.owed, customer)
    return PaymentData(
        declaration,
        cells,
        grid,
        phases,
        terms_edges,
        edges,
        levels,
        months,
        quarters,
        classes,
        opened,
        never,
        learned,
        (*_notes(bills, declaration is not None), *_in_parts(learned), *_left_out(bills, sizes, cells)),
    )


def _model(
    found: Episodes, grid: TimeGrid, sizes: dict[str, int], name: str
) -> tuple[Declaration | None, Cells | None, tuple[int, ...], Ints, Ints]:
    none = np.empty(0, dtype=np.int64)
    if len(found) < FEWEST or not (found.outcome > 0).any():
        return None, None, (FAR,), none, none
    edges = age_bands(found, grid, PHASE_EDGES)
    axes = tuple(sizes)
    half = tuple(e for i, e in enumerate(edges) if i % 2 == 0)
    slim = tuple(a for a in axes if a != "amount")
    ladder = [(edges, axes), (edges, slim), (half, slim), (half, ("customer", "terms", *axes[4:]))]

    def build(rung: int) -> HazardCells:
        bands, kept = ladder[rung]
        codes = {axis: found.codes[axis] for axis in kept}
        return hazard_cells(replace(found, codes=codes), grid, bands, 1)

    cells, rung = coarsen(build, len(ladder), CELL_LIMIT)
    edges = ladder[rung][0]
    months = np.arange(grid.month.min(), grid.month.max() + 1, dtype=np.int64)
    quarters = np.arange(grid.quarter.min(), grid.quarter.max() + 1, dtype=np.int64)
    piece = cells.codes["piece"]
    codes = {axis: code for axis, code in cells.codes.items() if axis not in ("piece", "age")}
    codes["phase"] = cells.codes["age"]
    codes["month"] = (grid.month[piece] - months[0]).astype(np.int32)
    codes["quarter"] = (grid.quarter[piece] - quarters[0]).astype(np.int32)
    if "terms" in codes:
        codes["phase_terms"] = (codes["phase"] * sizes["terms"] + codes["terms"]).astype(np.int32)
    shape = {axis: size for axis, size in sizes.items() if axis in codes}
    declared = payment_declaration(name, edges, {**shape, "month": months.size, "quarter": quarters.size})
    return declared, Cells(cells.events[0], cells.exposure, codes), edges, months, quarters


def payment_declaration(name: str, phase_edges: tuple[int, ...], sizes: dict[str, int]) -> Declaration:
    """Declare the hazard of payment."""
    phases, terms = len(phase_edges), sizes.get("terms", 1)
    parts = [
        Term("level", "level", "", 1, 1.5, "a hazard per day between 1 in 400 and 1", (-3.0,)),
        Term("phase", "walk", "phase", phases, 1.0, "hardly before, most about the due day, then fading;"
             " neighbouring bands alike, flat beyond the last", widths=phase_widths(phase_edges)),
        Term("terms", "contrast", "terms", terms, 0.5, "who may pay later pays less per day"),
        Term("phase_terms", "contrast", "phase_terms", phases * terms if terms > 1 else 1, 0.3,
             "short terms are exceeded sooner"),
        Term("customer", "pooled", "customer", sizes.get("customer", 1), 1.0, "customers have habits"),
        Term("class", "contrast", "class", sizes.get("class", 1), 0.5, "classes of payers differ clearly"),
        Term("amount", "contrast", "amount", sizes.get("amount", 1), 0.3, "large invoices wait longer"),
        Term("rest", "contrast", "rest", sizes.get("rest", 1), 0.5, "what a part leaves has its own pace"),
        Term("shock", "shock", "month", sizes["month"], 0.15, "what moves all customers in a month"),
        Term("trend", "walk", "quarter", sizes["quarter"], 0.07, "payment habits drift slowly"),
    ]  # fmt: skip
    return Declaration(name, "poisson", tuple(t for t in parts if t.size > 1 or t.kind == "level"))


def phase_widths(edges: tuple[int, ...]) -> tuple[float, ...] | None:
    """Distances between neighbouring phases: days on a log scale to both sides of the due day, mean 1."""
    if len(edges) < 2:
        return None
    inner = np.asarray(edges[1:], dtype=float)
    middle = np.concatenate([[inner[0] - 7.0], (inner[:-1] + inner[1:]) / 2, [inner[-1] * 1.3 + 1.0]])
    middle = np.maximum.accumulate(middle)
    steps = np.maximum(np.diff(np.sign(middle) * np.log1p(np.abs(middle) / 7.0)), 0.05)
    return tuple(float(x) for x in steps / steps.mean())


def _band_edges(amount: Floats) -> Floats:
    """Amounts that cut the invoices into bands of equal numbers; none where amounts hardly differ."""
    if amount.size < FEWEST:
        return np.empty(0)
    return np.unique(np.quantile(amount, np.arange(1, BANDS) / BANDS))


def _terms_edges(terms: Ints) -> tuple[int, ...]:
    """Bands of terms that hold at least ``FEWEST`` invoices each."""
    kept = [TERMS_EDGES[0]]
    for edge in TERMS_EDGES[1:]:
        below = ((terms >= kept[-1]) & (terms < edge)).sum()
        if below >= FEWEST and (terms >= edge).sum() >= FEWEST:
            kept.append(edge)
    return tuple(kept)


def _left_out(bills: _Bills, sizes: dict[str, int], cells: Cells | None) -> tuple[str, ...]:
    """What the model makes no use of, or tells less finely, in words."""
    notes = []
    late = (bills.amount > 0) & (bills.start <= bills.as_of - LONGEST)
    if late.any():
        notes.append(f"{late.sum():,} invoices issued more than six years ago teach nothing about payment.")
    if cells is None:
        return tuple(notes)
    customers = bills.rows["customer_id"][bills.owed].nunique()
    if customers > MOST_CUSTOMERS:
        notes.append(
            f"{customers:,} customers have invoices: the {MOST_CUSTOMERS:,} with the most have payment "
            f"habits of their own, the others share {BUCKETS}."
        )
    if dropped := [axis for axis in sizes if axis not in cells.codes]:
        notes.append(f"Invoices are so many that {' and '.join(dropped)} say nothing about payment.")
    return tuple(notes)


def _in_parts(learned: Habits) -> tuple[str, ...]:
    if not learned.known:
        return ()
    return (
        f"Payments: {learned.parts.sum():,.0f} of {learned.payments.sum():,.0f} first payments were parts of "
        f"their invoice; a new customer's odds are {learned.mean:.0%}.",
    )


#: Said where there are parts of payments, and no invoice that has been paid.
NONE_PAID = "none is paid in full yet"


def _notes(bills: _Bills, modelled: bool) -> tuple[str, ...]:
    paid, unpaid, told = bills.paid & bills.owed, (bills.old & ~bills.paid).sum(), bills.old.sum()
    if not len(bills.rows):
        return ()
    if not modelled:
        return (f"{len(bills.rows)} invoices, {paid.sum()} paid: too few to learn when customers pay.",)
    waited = (bills.stop - bills.start)[paid]
    half = f"half of the paid ones within {np.median(waited):.0f} days of issue" if paid.any() else NONE_PAID
    bad = (
        f"{unpaid:,} of {told:,} that are {WRITE_OFF_DAYS} days past due are unpaid"
        if told
        else f"none is {WRITE_OFF_DAYS} days past due yet, so that bad debt is a stated prior (0.5 %)"
    )
    return (f"Invoices: {half}; {bad}.",)
