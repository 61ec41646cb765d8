"""When invoices are paid: the hazard of payment by phase around the due day, customer, class and amount."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from quotacast.models.cells import Codes
from quotacast.models.history.history import History
from quotacast.models.terms import Floats
from quotacast.models.timegrid import Ints, day_number

#: An invoice that is unpaid so many days after its due day counts as never paid.
WRITE_OFF_DAYS = 180


@dataclass(frozen=True)
class OpenInvoices:
    """Invoices that are unpaid on the as-of date, in the order of ids; arrays of shape (n,).

    Attributes
    ----------
    ids : tuple of str
    customer, opportunity : ndarray of object
        Their ids, None where not known.
    code, band : ndarray of int32
        Class (of ``Payments.classes``) and amount band.
    issued, due : ndarray of int64
        Day numbers.
    amount : ndarray
        Planning currency; credit notes are negative.
    currency : ndarray of object
        As invoiced; None where not known.
    """

    ids: tuple[str, ...]
    customer: np.ndarray
    opportunity: np.ndarray
    code: Codes
    band: Codes
    issued: Ints
    due: Ints
    amount: Floats
    currency: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def with_codes(self, code: Codes, band: Codes) -> OpenInvoices:
        """The same invoices with other codes."""
        return replace(self, code=code, band=band)


def open_invoices(history: History) -> OpenInvoices:
    """Collect what is unpaid on the history's as-of date; codes are zero until a model gives them."""
    rows = history.invoices
    rows = rows[rows["paid_on"].isna()].sort_values("invoice_id", kind="stable")
    none = np.zeros(len(rows), dtype=np.int32)
    return OpenInvoices(
        tuple(str(i) for i in rows["invoice_id"]),
        rows["customer_id"].to_numpy(dtype=object),
        rows["opportunity_id"].to_numpy(dtype=object),
        none,
        none,
        day_number(rows["issued_on"]),
        day_number(rows["due_on"]),
        rows["amount"].to_numpy(dtype=float),
        rows["currency"].to_numpy(dtype=object),
    )
