"""How often reps leave: one hazard for all of them, learned from their spells.

With ``n`` leavings in ``T`` days at work, all reps together, the daily hazard h has the posterior ::

    n ~ Poisson(h * T),     h ~ Gamma(PRIOR_LEAVES, PRIOR_DAYS)
    h | n, T ~ Gamma(PRIOR_LEAVES + n, PRIOR_DAYS + T)

so that the probability to be still there after t days, h integrated out, is the Lomax survival function
``(rate / (rate + t)) ** shape``. A rep who is still there contributes days and no leaving (right-censored);
one who came before the data began contributes from then on (left-truncated).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quotacast.models.history.schema import NONE
from quotacast.models.people import Employment

Floats = NDArray[np.float64]

YEAR = 365.25
#: Annual turnover of sales reps that the field reports: 20 % at least and 34 % with those who are asked to go
#: (trade surveys quoted by Schmitz, Friess, Alavi & Habel, Journal of Marketing 2020), so about 30 %.
PRIOR_TURNOVER = 0.30
#: Weight of that belief in leavings: its sd is .7 of its mean, 6 to 57 % a year with probability .9.
PRIOR_LEAVES = 2.0
#: The days at work that belong to it.
PRIOR_DAYS = PRIOR_LEAVES * YEAR / -math.log1p(-PRIOR_TURNOVER)


@dataclass(frozen=True)
class Turnover:
    """Leavings and days at work of all reps, and what follows for the hazard.

    Attributes
    ----------
    leaves : int
        Reps who left while the data ran, those taken as gone among them.
    rep_days : float
        Days at work, all reps together.
    """

    leaves: int
    rep_days: float

    @property
    def shape(self) -> float:
        """Shape of the posterior of the daily hazard."""
        return PRIOR_LEAVES + self.leaves

    @property
    def rate(self) -> float:
        """Rate of the posterior of the daily hazard, in days."""
        return PRIOR_DAYS + self.rep_days

    def hazard(self, u: Floats) -> Floats:
        """Quantiles of the daily hazard at the probabilities ``u``, in their shape."""
        from scipy.special import gammaincinv

        return np.asarray(gammaincinv(self.shape, u) / self.rate)

    def staying(self, days: Floats) -> Floats:
        """Probability that a rep is still there after so many days, the hazard integrated out."""
        return np.asarray((self.rate / (self.rate + np.asarray(days, dtype=float))) ** self.shape)

    def annual(self, probability: float) -> float:
        """Quantile of the share of reps who leave within a year."""
        return float(-np.expm1(-self.hazard(np.array([probability]))[0] * YEAR))


def turnover(people: Employment, first: int, last: int) -> Turnover:
    """Count leavings and days at work from day ``first`` to ``last`` (inclusive day numbers).

    Leavers count with the days until they left: a hazard learned from those who are still there would be
    zero. Deals without a rep have nobody who could leave.
    """
    someone = np.array([rep != NONE for rep in people.reps], dtype=bool)
    days = np.clip(np.minimum(people.stop, last) - np.maximum(people.start, first) + 1, 0, None)
    left = (people.stop < last) & (days > 0)
    return Turnover(int((left & someone).sum()), float(days[someone].sum()))
