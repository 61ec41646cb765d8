"""What makes cash uncertain: the share of its variance that each clock is answerable for.

Cash is a function of three independent sources of chance, S (which deals are signed, when and for how much),
I (waits until the invoice, terms signed anew) and P (when invoices are paid, how customers pay, rates of
exchange). The share of a clock is the total effect ::

    T = E[Var(cash | the other two)] / Var(cash) = E[(cash - cash')^2] / (2 Var(cash))

with cash' of a future that differs by that clock alone (Jansen 1999, doi:10.1016/S0010-4655(98)00154-4): what
would vanish on average if that clock were known as well as the others. Where clocks act together the shares
add up to more than one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from quotacast.engine.finance.ledger import CashPaths, Ledger, cash_paths
from quotacast.models.terms import Floats

CLOCKS = ("signing", "invoicing", "payment")
#: Futures that are compared.
FUTURES = 2000


def shares(ledger: Ledger, base: CashPaths) -> Mapping[str, Floats]:
    """Share of each clock in the variance of the balance at the end of every span, shape (spans,)."""
    n = min(FUTURES, base.draws)
    own = base.closing[:n].astype(float)
    variance = own.var(axis=0)
    half = np.roll(np.arange(n), n // 2)
    out = {}
    for clock in CLOCKS:
        turned = tuple(c for c in CLOCKS if c != clock) if clock == "signing" else (clock,)
        other = cash_paths(ledger, base.spans, futures=n, turned=turned).closing.astype(float)
        # with both others turned, a future differs from the one they came from by its signing alone
        against = own[half] if clock == "signing" else own
        with np.errstate(divide="ignore", invalid="ignore"):
            out[clock] = np.where(variance > 0, ((other - against) ** 2).mean(axis=0) / (2 * variance), 0.0)
    return out
