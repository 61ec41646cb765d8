"""When invoices are paid: the link invoice -> paid, whose clock is the due day.

Likelihood. The hazard of payment per weighted day is constant in a cell of phase x terms x month x customer
x class x amount band, and ::

    events[cell] ~ Poisson(exposure[cell] * h[cell])
    log h = level + phase + terms + phase x terms + customer + class + amount band
            + month's shock + quarter's level (trend)

exact for continuous time, like :mod:`quotacast.models.conversion`. The *phase* is the band of days after the
due day (negative before it): before, on the due day, 1-3 days late, ... over 90. *Terms* is the band of days
from issue to due day. *Customer* is exchangeable: customers pay at very different speeds, one with few
invoices is drawn to the others, and a new one is a draw from the population. An unpaid invoice contributes
its exposure until the as-of date and no payment (right-censored). Days are weighted by the weekdays and
holidays on which payments arrive.

*Never paid.* No column says that an invoice was written off. Of the invoices that are ``WRITE_OFF_DAYS``
past due the unpaid ones count as never paid, and ::

    share never paid ~ Beta(a + unpaid, b + all - unpaid),    (a, b) = NEVER_PRIOR: mean 0.5 %

over the invoices that are old enough to tell; before there are any it is the prior. The hazards are those of
invoices that do get paid (a mixture cure model, Berkson & Gage 1952): invoices known to be never paid give no
exposure, unpaid ones none beyond ``DOUBTFUL`` days past due. Of what is unpaid for less, a few will never be
paid and still count as exposure: that lowers late hazards by about their share among the unpaid. What cannot
be told apart in the data, and is not modelled: part payments (there is one paid_on per invoice: give parts as
rows of their own), reasons of a delay, and a customer that stops paying all its invoices at once.

Credit notes (amounts at or below zero) are not waited for and give no exposure.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quotacast.models.cells import Codes, Episodes, HazardCells, age_bands, coarsen, hazard_cells
from quotacast.models.chain_notes import FEWEST
from quotacast.models.conversion import LINKS, Link
from quotacast.models.history.history import History
from quotacast.models.periods import Calendar
from quotacast.models.terms import Cells, Declaration, Floats, Term
from quotacast.models.timegrid import Ints, TimeGrid, day_number, learned_grid

#: An invoice that is unpaid so many days after its due day counts as never paid.
WRITE_OFF_DAYS = 180
#: Unpaid for so many days past due, an invoice says nothing about when payers pay.
DOUBTFUL = 90
#: Beta prior of the share of invoices that are never paid.
NEVER_PRIOR = (0.5, 99.5)
#: Stands for "before everything" among the edges of phases.
FAR = -(1 << 30)
#: Candidate bands of days after the due day.
PHASE_EDGES = (FAR, -60, -45, -30, -25, -20, -16, -12, -8, -5, -2, 0, 1, 4, 8, 15, 22, 31, 46, 61, 91)
#: Candidate bands of days from issue to due day.
TERMS_EDGES = (0, 11, 22, 38, 53, 76)
#: Beyond this many occupied cells axes are dropped; more than elsewhere, since customers are many.
CELL_LIMIT = 80_000
#: Customers with a level of their own; the others share ``BUCKETS`` levels.
MOST_CUSTOMERS, BUCKETS = 1_000, 50
#: Classes that are rarer than this among invoices are put together.
RARE = 0.02
#: Bands of amounts.
BANDS = 3
#: Customers not yet known are so many classes, each with an effect of its own in every draw.
NEW_CUSTOMERS = 16
#: Days before the as-of date whose invoices tell who will be invoiced.
RECENT = 365


@dataclass(frozen=True)
class OpenInvoices:
    """Invoices that are unpaid on the as-of date, in the order of ids; arrays of shape (n,).

    Attributes
    ----------
    ids : tuple of str
    customer, opportunity : ndarray of object
        Their ids, None where not known.
    code, band, terms : ndarray of int32
        Class (of :class:`Classes`), amount band and band of terms.
    issued, due : ndarray of int64
        Day numbers.
    amount : ndarray
        Planning currency; credit notes are negative.
    currency : ndarray of object
        As invoiced; None where not known.
    """

    ids: tuple[str, ...]
    customer: NDArray[np.object_]
    opportunity: NDArray[np.object_]
    code: Codes
    band: Codes
    terms: Codes
    issued: Ints
    due: Ints
    amount: Floats
    currency: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Classes:
    """Who pays: combinations of customer and class of invoice that occur, and customers not yet known.

    Attributes
    ----------
    names : tuple of str
    customer : ndarray of int32, shape (classes,)
        Level of the term ``customer``; -1 for those not yet known.
    kind : ndarray of int32, shape (classes,)
        Level of the term ``class``.
    share : ndarray, shape (classes,)
        Cumulative shares among the invoices of the last year.
    """

    names: tuple[str, ...]
    customer: Codes
    kind: Codes
    share: Floats

    def code(self, customer: Sequence[str | None], kind: Sequence[str | None]) -> Codes:
        """Class of invoices; those of unknown customers are spread over the customers not yet known."""
        index = {name: k for k, name in enumerate(self.names)}
        first = len(self.names) - NEW_CUSTOMERS
        by_customer: dict[str, int] = {}
        for k, name in enumerate(self.names[:first]):
            by_customer.setdefault(name.split(" / ")[0], k)
        out = np.empty(len(customer), dtype=np.int32)
        for i, (who, how) in enumerate(zip(customer, kind, strict=True)):
            found = index.get(class_name(who, how), by_customer.get(str(who), -1))
            out[i] = found if found >= 0 else first + zlib.crc32(str(who).encode()) % NEW_CUSTOMERS
        return out


def class_name(customer: str | None, kind: str | None) -> str:
    """Name of a class of invoices."""
    return f"{customer} / {kind}" if kind else str(customer)


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
    never : tuple of (int, int)
        Never paid, and all invoices that are old enough to tell.
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
    never: tuple[int, int]
    notes: tuple[str, ...]

    def declared(self) -> dict[str, tuple[Declaration, Cells]]:
        """The model by its name; empty where there is none."""
        if self.declaration is None or self.cells is None:
            return {}
        return {self.declaration.name: (self.declaration, self.cells)}


def payment_data(history: History, calendar: Calendar, link: Link | None = None) -> PaymentData:
    """Turn the invoices of a history into a declared model."""
    link = LINKS["invoice"] if link is None else link
    rows = history.tables[link.table].sort_values("invoice_id", kind="stable").reset_index(drop=True)
    as_of = int(day_number(history.as_of_date))
    start, due = day_number(rows[link.start]), day_number(rows[link.due])
    due = np.maximum(due, start)
    paid = rows[link.stop].notna().to_numpy()
    days = np.where(paid, day_number(rows[link.stop]), as_of)
    owed = rows["amount"].to_numpy(dtype=float) > 0
    first = int(start.min()) if len(rows) else as_of
    grid = learned_grid(calendar, first, as_of, days[paid & owed])
    amount = rows["amount"].to_numpy(dtype=float)
    edges = _band_edges(amount[owed])
    terms_edges = _terms_edges((due - start)[owed])
    kinds = _kinds(rows["class"])
    levels, customer = _customers(rows["customer_id"], owed)
    codes = {
        "customer": customer,
        "class": np.searchsorted(np.unique(kinds), kinds).astype(np.int32),
        "amount": np.searchsorted(edges, amount, side="right").astype(np.int32),
        "terms": (np.searchsorted(terms_edges, due - start, side="right") - 1).astype(np.int32),
    }
    sizes = {"customer": levels, "class": int(np.unique(kinds).size), "amount": edges.size + 1}
    sizes["terms"] = len(terms_edges)
    classes = _classes(rows, kinds, codes, owed & (start > as_of - RECENT), as_of)
    old = owed & (due + WRITE_OFF_DAYS <= as_of)
    found = _episodes(start, due, days, paid, codes, as_of).where(owed & ~(old & ~paid))
    declaration, cells, phases, months, quarters = _model(found, grid, sizes, link.causes[0])
    return PaymentData(
        declaration, cells, grid, phases, terms_edges, edges, levels, months, quarters, classes,
        _open(rows, kinds, codes, classes, paid, start, due), (int((old & ~paid).sum()), int(old.sum())),
        _notes(rows, declaration, paid & owed, days, start, (int((old & ~paid).sum()), int(old.sum()))),
    )  # fmt: skip


def _episodes(
    start: Ints, due: Ints, days: Ints, paid: NDArray[np.bool_], codes: dict[str, Codes], as_of: int
) -> Episodes:
    """Invoices from their issue; paid before the issue counts as paid on that day."""
    stop = np.where(paid, np.maximum(days, start), np.minimum(as_of, due + DOUBTFUL))
    return Episodes(start, start, np.maximum(stop, start), paid.astype(np.int8), codes, due)


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
    ladder = [(edges, axes), (edges, slim), (half, slim), (half, ("customer", "terms"))]

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


def _kinds(values: pd.Series) -> NDArray[np.object_]:
    """Class of every invoice, rare ones and blanks together under an empty name."""
    filled = values.fillna("").astype(str).to_numpy(dtype=object)
    names, count = np.unique(filled, return_counts=True)
    rare = set(names[count < max(RARE * filled.size, FEWEST)])
    return np.array(["" if x in rare else x for x in filled], dtype=object)


def _customers(ids: pd.Series, owed: NDArray[np.bool_]) -> tuple[int, Codes]:
    """Levels of customers: the most frequent one each, the others and blanks in buckets."""
    names = ids.fillna("").astype(str).to_numpy(dtype=object)
    seen, count = np.unique(names[owed & (names != "")].astype(str), return_counts=True)
    order = np.lexsort([seen, -count])[:MOST_CUSTOMERS]
    own = {str(name): k for k, name in enumerate(sorted(seen[order]))}
    rest = [n for n in names if n not in own]
    buckets = min(BUCKETS, len(rest))
    code = [own[n] if n in own else len(own) + zlib.crc32(n.encode()) % max(buckets, 1) for n in names]
    return max(len(own) + buckets, 1), np.asarray(code, dtype=np.int32)


def _classes(
    rows: pd.DataFrame,
    kinds: NDArray[np.object_],
    codes: dict[str, Codes],
    recent: NDArray[np.bool_],
    as_of: int,
) -> Classes:
    """Classes of invoices with their shares in the last year, first invoices counted as new customers."""
    who = rows["customer_id"].to_numpy(dtype=object)
    named = pd.notna(who)
    names = np.array([class_name(w, k) for w, k in zip(who, kinds, strict=True)], dtype=object)
    table = pd.DataFrame({"name": names, "customer": codes["customer"], "kind": codes["class"]})[named]
    table = table.drop_duplicates("name").sort_values("name", kind="stable")
    started = day_number(rows["issued_on"])
    first = pd.Series(started).groupby(pd.Series(who)).transform("min").to_numpy() if len(rows) else started
    fresh = recent & (~named | (started == first))
    known = pd.Series(names[recent & ~fresh]).value_counts().reindex(table["name"]).fillna(0.0)
    new = _spread_kinds(codes["class"][recent] if recent.any() else codes["class"])
    count = np.concatenate([known.to_numpy(dtype=float), np.full(NEW_CUSTOMERS, fresh.sum() / NEW_CUSTOMERS)])
    if count.sum() == 0:
        count[-NEW_CUSTOMERS:] = 1.0
    return Classes(
        (*(str(n) for n in table["name"]), *(f"new~{k + 1}" for k in range(NEW_CUSTOMERS))),
        np.concatenate([table["customer"], np.full(NEW_CUSTOMERS, -1)]).astype(np.int32),
        np.concatenate([table["kind"], new]).astype(np.int32),
        np.cumsum(count) / count.sum(),
    )


def _spread_kinds(kind: Codes) -> Codes:
    """Classes of invoices for the customers not yet known, in their shares."""
    if not kind.size:
        return np.zeros(NEW_CUSTOMERS, dtype=np.int32)
    at = (np.arange(NEW_CUSTOMERS) + 0.5) / NEW_CUSTOMERS
    return np.sort(kind)[(at * kind.size).astype(int)]


def _open(
    rows: pd.DataFrame,
    kinds: NDArray[np.object_],
    codes: dict[str, Codes],
    classes: Classes,
    paid: NDArray[np.bool_],
    start: Ints,
    due: Ints,
) -> OpenInvoices:
    going = np.flatnonzero(~paid)
    left = rows.iloc[going]
    who = [None if pd.isna(c) else str(c) for c in left["customer_id"]]
    # an invoice without a customer stands for one of its own
    stand_in = [c if c is not None else f"invoice {i}" for c, i in zip(who, left["invoice_id"], strict=True)]
    return OpenInvoices(
        tuple(str(i) for i in left["invoice_id"]),
        np.array(who, dtype=object),
        left["opportunity_id"].to_numpy(dtype=object),
        classes.code(stand_in, list(kinds[going])),
        codes["amount"][going],
        codes["terms"][going],
        start[going],
        due[going],
        left["amount"].to_numpy(dtype=float),
        left["currency"].to_numpy(dtype=object),
    )


def _notes(
    rows: pd.DataFrame,
    declaration: Declaration | None,
    paid: NDArray[np.bool_],
    days: Ints,
    start: Ints,
    never: tuple[int, int],
) -> tuple[str, ...]:
    if not len(rows):
        return ()
    if declaration is None:
        return (f"Only {len(rows)} invoices, {paid.sum()} paid: too few to learn when customers pay.",)
    wait = np.median((days - start)[paid])
    told = (
        f"{never[0]:,} of {never[1]:,} that are {WRITE_OFF_DAYS} days past due were never paid"
        if never[1]
        else f"none is {WRITE_OFF_DAYS} days past due yet, so that bad debt is a stated prior (0.5 %)"
    )
    return (f"Invoices: half of the paid ones within {wait:.0f} days of issue; {told}.",)
