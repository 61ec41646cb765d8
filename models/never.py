"""Which unpaid invoices will never be paid: a mixture cure model, solved for its weights.

No column says that an invoice was written off, so it is inferred. An invoice is never paid with
probability pi, else by hazards h_b of its phase b times its customer's factor m_c (gamma with mean 1 and
shape ``SHAPE``). For an invoice that is unpaid after the exposures e_b (days in every phase) ::

    S = exp(-m_c sum_b h_b e_b)
    w = (1 - pi) S / (pi + (1 - pi) S)          the odds that it will be paid yet
    h_b = payments in b / sum w m_c e_b,   m_c = (payments + SHAPE) / (sum w h_b e_b + SHAPE)
    pi = sum over unpaid (1 - w) / n

from the start that what is unpaid ``DOUBTFUL`` days past due will never be paid: slow payers and no payers
explain each other's data, and without that start a hazard that fades to nothing would explain them all.
It is the EM algorithm (Dempster, Laird & Rubin 1977; Berkson & Gage 1952 for the model; the factors
enter at their mode). What it cannot tell is a payer slower than anybody seen from one who never pays; young
invoices say nothing, and w stays near 1 - pi. The hazards found here are thrown away: the payment model
(:mod:`quotacast.models.invoices`) takes the weights for its exposures, and pi's posterior as that of ::

    Beta(a + pi N, b + (1 - pi) N),      N = sum of (1 - S at the as-of date) over all invoices

each invoice being worth as much of an observation as of its payment should have been seen by now.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quotacast.models.cells import Codes
from quotacast.models.terms import Floats
from quotacast.models.timegrid import Ints

#: Phases (days after the due day) in which hazards are told apart here.
EDGES = (-(1 << 30), -30, -16, -8, -2, 0, 1, 8, 31, 61, 91)
#: Shape of the customers' factors.
SHAPE = 1.0
ROUNDS = 40
#: Unpaid for so many days past due, an invoice is taken for never paid to begin with.
DOUBTFUL = 60
#: Pseudo-payments at the overall hazard in every phase.
SMOOTH = 0.5


@dataclass(frozen=True)
class Never:
    """What is known of invoices that are never paid.

    Attributes
    ----------
    weight : ndarray, shape (n,)
        Odds that an invoice is of the kind that gets paid: 1 where it was paid.
    unpaid, told : float
        Never paid, and all, in invoices worth of observation.
    """

    weight: Floats
    unpaid: float
    told: float


def never_paid(
    start: Ints, due: Ints, stop: Ints, paid: NDArray[np.bool_], customer: Codes, as_of: int
) -> Never:
    """Solve the mixture.

    Parameters
    ----------
    start, due, stop : ndarray of int64, shape (n,)
        Days of issue and due days; days of payment, or the last day under observation.
    paid : ndarray of bool
    customer : ndarray of int32
    as_of : int
        Last day under observation of those that were paid.
    """
    n = start.size
    if not paid.any():
        return Never(np.ones(n), 0.0, 0.0)
    seen, whole = _days(start, due, stop, paid), _days(start, due, np.maximum(stop, as_of), paid & False)
    phase = np.searchsorted(EDGES, stop - due, side="right") - 1
    events = np.bincount(phase[paid], minlength=len(EDGES)).astype(float)
    by_customer = np.bincount(customer[paid], minlength=int(customer.max()) + 1).astype(float)
    late = ~paid & (stop - due > DOUBTFUL)
    weight, factor = np.where(late, 0.0, 1.0), np.ones(n)
    share = max(float(late.mean()), 1e-9)
    for _ in range(ROUNDS):
        at_risk = (weight * factor) @ seen
        usual = events.sum() / at_risk.sum()
        hazard = (events + SMOOTH) / (at_risk + SMOOTH / usual)
        expected = np.bincount(customer, weight * (seen @ hazard), minlength=by_customer.size)
        factor = ((by_customer + SHAPE) / (expected + SHAPE))[customer]
        alive = np.exp(-factor * (seen @ hazard))
        pays = (1.0 - share) * alive
        weight = np.where(paid, 1.0, pays / (share + pays))
        share = max(float((1.0 - weight).sum()) / n, 1e-9)
    told = float((1.0 - np.exp(-factor * (whole @ hazard))).sum())
    return Never(weight, share * told, told)


def _days(start: Ints, due: Ints, stop: Ints, paid: NDArray[np.bool_]) -> Floats:
    """Days under observation in every phase, half a day at the issue and at the payment; (n, phases)."""
    edges = np.asarray(EDGES)
    above = np.append(edges[1:], 1 << 40)
    end = np.where(paid, stop + 0.5, stop + 1.0)[:, None]
    low = np.maximum(start[:, None] + 0.5, due[:, None] + edges)
    days = np.minimum(end, due[:, None] + above) - low
    return np.asarray(np.maximum(days, 0.0))
