"""Who pays invoices: classes of payers, customers not yet known, and what is open at the as-of date."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quotacast.models.cells import Codes
from quotacast.models.chain_notes import FEWEST
from quotacast.models.parts import Partly
from quotacast.models.terms import Floats
from quotacast.models.timegrid import Ints, day_number

#: Customers with a level of their own; the others share ``BUCKETS`` levels.
MOST_CUSTOMERS, BUCKETS = 1_000, 50
#: Classes that are rarer than this among invoices are put together.
RARE = 0.02
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
        What is owed still, planning currency, at the rate of the day of issue; credit notes are negative.
    exported : ndarray
        The same in ``currency``.
    currency : ndarray of object
        As invoiced; None where not known.
    part : ndarray of int64
        Day number of the first part that was paid; ``NO_PART`` where there was none.
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
    exported: Floats
    currency: NDArray[np.object_]
    part: Ints

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


def kinds_of(values: pd.Series) -> NDArray[np.object_]:
    """Class of every invoice, rare ones and blanks together under an empty name."""
    filled = values.fillna("").astype(str).to_numpy(dtype=object)
    names, count = np.unique(filled, return_counts=True)
    rare = set(names[count < max(RARE * filled.size, FEWEST)])
    return np.array(["" if x in rare else x for x in filled], dtype=object)


def customer_levels(ids: pd.Series, owed: NDArray[np.bool_]) -> tuple[int, Codes]:
    """Levels of customers: the most frequent one each, the others and blanks in buckets."""
    names = ids.fillna("").astype(str).to_numpy(dtype=object)
    seen, count = np.unique(names[owed & (names != "")].astype(str), return_counts=True)
    order = np.lexsort([seen, -count])[:MOST_CUSTOMERS]
    own = {str(name): k for k, name in enumerate(sorted(seen[order]))}
    rest = [n for n in names if n not in own]
    buckets = min(BUCKETS, len(rest))
    code = [own[n] if n in own else len(own) + zlib.crc32(n.encode()) % max(buckets, 1) for n in names]
    return max(len(own) + buckets, 1), np.asarray(code, dtype=np.int32)


def classes_of(
    rows: pd.DataFrame,
    kinds: NDArray[np.object_],
    codes: dict[str, Codes],
    recent: NDArray[np.bool_],
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
    return np.asarray(np.sort(kind)[(at * kind.size).astype(int)])


def open_invoices(
    rows: pd.DataFrame,
    kinds: NDArray[np.object_],
    codes: dict[str, Codes],
    classes: Classes,
    paid: NDArray[np.bool_],
    start: Ints,
    due: Ints,
    partly: Partly,
) -> OpenInvoices:
    """Collect the unpaid invoices with their classes; see :class:`OpenInvoices`."""
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
        left["amount"].to_numpy(dtype=float) * partly.left[going],
        left.get("amount_exported", left["amount"]).to_numpy(dtype=float) * partly.left[going],
        left["currency"].to_numpy(dtype=object),
        partly.day[going],
    )
