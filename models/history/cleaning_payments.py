"""Rules about payments: which invoice they belong to, and when they have paid it in full.

The table is optional. Where it has payments of an invoice, they and its ``paid_on`` must tell one story: an
invoice without ``paid_on`` is paid on the day on which its payments reach its amount, and one whose payments
go on after its ``paid_on`` was then paid in part only. What is dated later than the as-of date is set aside
by the cut (:mod:`quotacast.models.history.snapshot`).
"""

from __future__ import annotations

import pandas as pd

from quotacast.models.history import money
from quotacast.models.history.ledger import ROW, Cleaning

#: An invoice counts as paid where its payments fall short of it by no more than this share: fees of banks.
SHORT = 0.005


def convert(work: Cleaning) -> None:
    """Amounts at the rate of exchange of their invoice: its own day of issue, so that shares stay shares."""
    frame = work["payments"]
    if frame.empty:
        return
    of = work["invoices"].drop_duplicates("invoice_id").set_index("invoice_id")
    code = frame["invoice_id"].map(of["currency"]).astype(object)
    issued = pd.to_datetime(frame["invoice_id"].map(of["issued_on"]))
    factor = money.factors(code, issued, work["rates"], work.currency)
    work.put("payments", "amount", frame["amount"] * pd.Series(factor, index=frame.index).fillna(1.0))


def links(work: Cleaning) -> None:
    """Payments of invoices that are not there."""
    frame = work["payments"]
    orphan = (~frame["invoice_id"].isin(set(work["invoices"]["invoice_id"]))).to_numpy()
    meaning = "Their invoice is not in the invoices (or was rejected)."
    work.reject("unknown invoice", "payments", orphan, "unknown invoice_id", meaning)


def days(work: Cleaning) -> None:
    """Payments before the invoice, and those of no or of negative amounts."""
    frame = work["payments"]
    issued = pd.to_datetime(frame["invoice_id"].map(work["invoices"].set_index("invoice_id")["issued_on"]))
    meaning = "Paid before issue, as deposits are; kept, and taken as paid on the day of issue."
    work.report("paid before issued", "payments", (frame["paid_on"] < issued).to_numpy(), "kept", meaning)
    meaning = "Refunds and payments that were called back; kept, they raise what is owed."
    work.report("payments below zero", "payments", (frame["amount"] < 0).to_numpy(), "kept", meaning)


def settled(work: Cleaning) -> None:
    """Let ``paid_on`` follow the payments."""
    bills, pays = work["invoices"], work["payments"]
    if pays.empty:
        return
    ordered = pays.sort_values(["invoice_id", "paid_on", ROW], kind="stable")
    so_far = ordered.groupby("invoice_id")["amount"].cumsum()
    amount = ordered["invoice_id"].map(bills.set_index("invoice_id")["amount"])
    reached = ordered[((amount > 0) & (so_far >= amount * (1.0 - SHORT))).to_numpy()]
    paid = pd.to_datetime(bills["invoice_id"].map(reached.groupby("invoice_id")["paid_on"].min()))
    last = pd.to_datetime(bills["invoice_id"].map(pays.groupby("invoice_id")["paid_on"].max()))
    on = bills["paid_on"]
    full = (on.isna() & paid.notna()).to_numpy()
    meaning = (
        f"Payments that add up to the invoice (or all but {SHORT:.1%} of it): paid on the last one's day."
    )
    work.report("paid by its payments", "invoices", full, "changed", meaning)
    early = ((on < last) & (paid.isna() | (on < paid)) & (bills["amount"] > 0)).to_numpy()
    meaning = (
        "Payments go on after paid_on: it is the day on which they reach the amount, and the invoice is "
        "open where they do not."
    )
    work.report("paid_on before the last payment", "invoices", early, "changed", meaning)
    if full.any() or early.any():
        work.put("invoices", "paid_on", on.where(~(full | early), paid))
