"""What makes cash uncertain: how its variance divides among the clocks, one after the other.

Cash is a function of three independent sources of chance, S (which deals are signed, when and for how much),
I (waits until the invoice, terms signed anew) and P (when invoices are paid, how customers pay, rates of
exchange).
By the law of total variance, taken along the chain, ::

    Var(cash) = Var(E[cash | S]) + E[Var(E[cash | S, I] | S)] + E[Var(cash | S, I)]

the shares of signing, invoicing and payment, which add up to one. The conditional variances are half the mean
square of the difference between futures that have the clocks before the bar in common (Jansen 1999,
doi:10.1016/S0010-4655(98)00154-4): ``E[Var(cash | S, I)] = E[(cash - cash')^2] / 2`` where cash' is paid by
another future's random numbers.
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
    paid = _left(ledger, base, own, ("payment",))
    both = np.maximum(_left(ledger, base, own, ("invoicing", "payment")), paid)
    return {"signing": np.maximum(1.0 - both, 0.0), "invoicing": both - paid, "payment": paid}


def _left(ledger: Ledger, base: CashPaths, own: Floats, turned: tuple[str, ...]) -> Floats:
    """Share of the variance that is left when only the clocks that are not turned are known, at most 1."""
    other = cash_paths(ledger, base.spans, futures=len(own), turned=turned).closing.astype(float)
    variance = own.var(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = ((other - own) ** 2).mean(axis=0) / (2.0 * variance)
    return np.where(variance > 0, np.minimum(share, 1.0), 0.0)
