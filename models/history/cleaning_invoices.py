"""Rules about invoices: what is filled in from their deals, and dates and amounts that are odd.

Duplicate ids, missing values, links to deals that are not there and currencies without a rate are treated
like those of every other table (:mod:`quotacast.models.history.cleaning`); payments later than the as-of date
are emptied by the cut (:mod:`quotacast.models.history.snapshot`), so that the invoice is open.
"""

from __future__ import annotations

import pandas as pd

from quotacast.models.history.ledger import Cleaning

#: Days from issue to due day beyond which terms are odd.
_LONG = 730


def from_deals(work: Cleaning) -> None:
    """Fill in the customer and the currency that an invoice does not name from the deal that it bills."""
    deals = work["opportunities"].drop_duplicates("opportunity_id").set_index("opportunity_id")
    for column, rule in (("customer_id", "customer of the deal"), ("currency", "currency of the deal")):
        frame = work["invoices"]
        named = frame["opportunity_id"].map(deals[column]).astype(object)
        empty = (frame[column].isna() & named.notna()).to_numpy()
        meaning = f"Invoices without {column}: that of the deal that they bill was taken."
        if work.report(rule, "invoices", empty, "changed", meaning):
            work.put("invoices", column, frame[column].where(~empty, named))


def dates(work: Cleaning) -> None:
    """Dates in an impossible or unlikely order."""
    frame = work["invoices"]
    early = (frame["paid_on"] < frame["issued_on"]).to_numpy()
    meaning = "Paid before issue, as deposits are; kept, and taken as paid on the day of issue."
    work.report("paid before issued", "invoices", early, "kept", meaning)
    early = (frame["due_on"] < frame["issued_on"]).to_numpy()
    meaning = "Nobody owes before the invoice is issued: read as due on the day of issue."
    if work.report("due before issued", "invoices", early, "changed", meaning):
        work.put("invoices", "due_on", frame["due_on"].where(~early, frame["issued_on"]))
    terms = (frame["due_on"] - frame["issued_on"]).dt.days
    late = (terms > _LONG).to_numpy()
    meaning = f"Due more than {_LONG} days after issue; kept. Mistyped?"
    work.report("due long after issued", "invoices", late, "kept", meaning)


def amounts(work: Cleaning) -> None:
    """Credit notes and invoices over nothing."""
    amount = work["invoices"]["amount"]
    meaning = "Credit notes: they lower what is owed; nobody waits for their payment."
    work.report("credit notes", "invoices", (amount < 0).to_numpy(), "kept", meaning)
    meaning = "Invoices over nothing; kept, they bring no money."
    work.report("invoices over zero", "invoices", (amount == 0).to_numpy(), "kept", meaning)


def customers_differ(work: Cleaning) -> None:
    """Invoices that name another customer than the deal that they bill."""
    deals = work["opportunities"].drop_duplicates("opportunity_id").set_index("opportunity_id")
    frame = work["invoices"]
    of_deal: pd.Series = frame["opportunity_id"].map(deals["customer_id"])
    other = (frame["customer_id"].notna() & of_deal.notna() & (frame["customer_id"] != of_deal)).to_numpy()
    meaning = "The invoice names another customer than its deal; kept: who is invoiced pays."
    work.report("another customer than the deal's", "invoices", other, "kept", meaning)
