"""Which unpaid invoices will never be paid: a mixture cure model, solved for its weights.

No column says that an invoice was written off, so it is inferred. An invoice is never paid with
probability pi, else by hazards h_b of its phase b times its customer's factor m_c (gamma with mean 1 and
shape ``SHAPE``). For an invoice that is unpaid after the exposures e_b (days in every phase) ::

    S = exp(-m_c sum_b h_b e_b)
    w = (1 - pi) S / (pi + (1 - pi) S)          the odds that it will be paid yet
    h_b = payments in b / sum w m_c e_b,   m_c = (payments + SHAPE) / (sum w h_b e_b + SHAPE)
    p(pi | data) ~ prior(pi) (1 - pi)^paid prod over unpaid (pi + (1 - pi) S),      pi its mean

from the start that what is unpaid ``DOUBTFUL`` days past due will never be paid: slow payers and no payers
explain each other's data, and without that start a hazard that fades to nothing would explain them all.
It is the EM algorithm (Dempster, Laird & Rubin 1977; Berkson & Gage 1952 for the model) with the factors
at their mode and pi integrated on a grid. The prior of pi is ``NEVER_PRIOR``, mean 0.5 %; young invoices (S
near 1) say nothing about it. What cannot be told is a payer slower than anybody seen from one who never
pays. The hazards found here are thrown away: the payment model (:mod:`quotacast.models.invoices`) takes the
weights w for its exposures, and the posterior of pi.
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
#: Beta prior of the share of invoices that are never paid, and cells of its grid.
NEVER_PRIOR, CELLS = (0.5, 99.5), 400
#: Days of observation that every payment counts for where none took any.
LEAST_DAYS = 0.5
#: Pseudo-payments at the overall hazard in every phase.
SMOOTH = 0.5


@dataclass(frozen=True)
class Never:
    """What is known of invoices that are never paid.

    Attributes
    ----------
    weight : ndarray, shape (n,)
        Odds that an invoice is of the kind that gets paid: 1 where it was paid.
    share : ndarray, shape (cells + 1,)
        Edges of the grid of the share that is never paid.
    mass : ndarray, shape (cells,)
        Posterior of that share.
    """

    weight: Floats
    share: Floats
    mass: Floats

    @property
    def mean(self) -> float:
        """Posterior mean of the share."""
        return float(self.mass @ (self.share[1:] + self.share[:-1]) / 2.0)

    def sample(self, size: int, rng: np.random.Generator) -> Floats:
        """Posterior draws of the share, shape (size,)."""
        cumulative = np.concatenate([[0.0], np.cumsum(self.mass)])
        return np.asarray(np.interp(rng.random(size) * cumulative[-1], cumulative, self.share))


def _posterior(alive: Floats, paid: int) -> tuple[Floats, Floats]:
    """Grid and posterior of the share, given the odds ``alive`` that a payer would not have paid yet."""
    from scipy.special import betainc

    edges = np.concatenate([[0.0], np.geomspace(1e-6, 1.0 - 1e-9, CELLS)])
    prior = np.diff(betainc(*NEVER_PRIOR, edges))
    middle = (edges[1:] + edges[:-1]) / 2.0
    told = paid * np.log1p(-middle)
    told += np.log(middle[:, None] + (1.0 - middle[:, None]) * alive).sum(axis=1)
    mass = prior * np.exp(told - told.max())
    return edges, mass / mass.sum()


def never_paid(start: Ints, due: Ints, stop: Ints, paid: NDArray[np.bool_], customer: Codes) -> Never:
    """Solve the mixture.

    Parameters
    ----------
    start, due, stop : ndarray of int64, shape (n,)
        Days of issue and due days; days of payment, or the last day under observation.
    paid : ndarray of bool
    customer : ndarray of int32
    """
    n = start.size
    if not paid.any():
        return Never(np.ones(n), *_posterior(np.ones(0), 0))
    seen = _days(start, due, stop, paid)
    phase = np.searchsorted(EDGES, stop - due, side="right") - 1
    events = np.bincount(phase[paid], minlength=len(EDGES)).astype(float)
    payments = np.bincount(customer[paid], minlength=int(customer.max()) + 1).astype(float)
    weight, factor = np.where(~paid & (stop - due > DOUBTFUL), 0.0, 1.0), np.ones(n)
    for _ in range(ROUNDS):
        at_risk = (weight * factor) @ seen
        # who pays on the day of the issue was under observation for no time at all
        usual = events.sum() / (at_risk.sum() or LEAST_DAYS * events.sum())
        hazard = (events + SMOOTH) / (at_risk + SMOOTH / usual)
        expected = np.bincount(customer, weight * (seen @ hazard), minlength=payments.size)
        factor = ((payments + SHAPE) / (expected + SHAPE))[customer]
        alive = np.exp(-factor * (seen @ hazard))
        found = Never(weight, *_posterior(alive[~paid], int(paid.sum())))
        pays = (1.0 - found.mean) * alive
        weight = np.where(paid, 1.0, pays / (found.mean + pays))
    return Never(weight, found.share, found.mass)


def _days(start: Ints, due: Ints, stop: Ints, paid: NDArray[np.bool_]) -> Floats:
    """Days under observation in every phase, half a day at the issue and at the payment; (n, phases)."""
    edges = np.asarray(EDGES)
    above = np.append(edges[1:], 1 << 40)
    end = np.where(paid, stop + 0.5, stop + 1.0)[:, None]
    low = np.maximum(start[:, None] + 0.5, due[:, None] + edges)
    days = np.minimum(end, due[:, None] + above) - low
    return np.asarray(np.maximum(days, 0.0))
