"""How much: the gross margin of a deal, as a share of its amount.

Known margins of past wins (amount less ``cost``, else ``margin_pct``) are resampled by the Bayesian bootstrap
(Rubin 1981, doi:10.1214/aos/1176345338). A past win's weight is Dirichlet x its amount, so that margins add
up in money even where large deals are sold at other margins than small ones. Each segment draws from its own
wins and, with the weight of ``POOLED`` of them, from the whole company's; reps are not told apart.

Margins are resampled as they are, not on the logit scale: sales at a loss have no logit, and nothing is
extrapolated. A change of the margin multiplies it, at most to the whole amount.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quotacast.models.covariates import Covariate
from quotacast.models.history.history import History
from quotacast.models.terms import Floats
from quotacast.models.timegrid import Ints

#: Share of wins whose margin must be known.
KNOWN = 0.8
#: Wins of the whole company that stand behind every segment.
POOLED = 20.0
#: Margins kept for the bootstrap; of more, one in so many by rank.
MOST = 1024
#: Bootstrap draws; the simulation goes round.
DRAWS = 500


@dataclass(frozen=True)
class Margins:
    """Known margins of past wins.

    Attributes
    ----------
    share : ndarray, shape (n,)
        Gross margin / amount, rising.
    amount : ndarray, shape (n,)
    segment : ndarray of int, shape (n,)
    segments : int
    """

    share: Floats
    amount: Floats
    segment: Ints
    segments: int

    def bootstrap(self, seed: int, draws: int = DRAWS) -> NDArray[np.float32]:
        """Cumulative weights of the margins, shape (draws, segments, n)."""
        rng = np.random.default_rng(seed + 4)
        own = self.segment == np.arange(self.segments)[:, None]
        pooled = POOLED / max(self.share.size, 1)
        weight = rng.standard_gamma(own[None] + pooled, (draws, *own.shape)) * self.amount
        total = np.cumsum(weight, axis=2)
        return np.asarray(total / total[:, :, -1:], dtype=np.float32)


def known_margins(history: History) -> Floats:
    """Gross margin of every opportunity in currency units, shape (opportunities,); NaN where unknown."""
    deals = history.opportunities
    amount, cost, percent = (deals[c].to_numpy(dtype=float) for c in ("amount", "cost", "margin_pct"))
    found = np.where(np.isfinite(cost), amount - cost, amount * percent / 100.0)
    return np.where(amount == 0, np.where(np.isfinite(cost), -cost, 0.0), found)


def margins_known(history: History) -> float:
    """Share of wins whose margin is known, of those with an amount; 0 without any.

    A win of nothing has a margin of nothing, which tells nothing about others.
    """
    deals = history.opportunities
    telling = ((deals["status"] == "won") & (deals["amount"] > 0)).to_numpy()
    return float(np.isfinite(known_margins(history)[telling]).mean()) if telling.any() else 0.0


def booked_margins(history: History) -> Floats:
    """Gross margin of every win, shape (opportunities,); at the mean share of the others where unknown."""
    deals, found = history.opportunities, known_margins(history)
    amount = deals["amount"].to_numpy(dtype=float)
    known = (deals["status"] == "won").to_numpy() & np.isfinite(found)
    sold = amount[known].sum()
    share = found[known].sum() / sold if sold > 0 else 0.0
    return np.where(np.isfinite(found), found, share * np.nan_to_num(amount))


def read_margins(history: History, segment: Covariate) -> Margins | None:
    """Margins to draw from; None where they are known for too few wins."""
    deals, found = history.opportunities, known_margins(history)
    amount = deals["amount"].to_numpy(dtype=float)
    rows = np.flatnonzero((deals["status"] == "won").to_numpy() & np.isfinite(found) & (amount > 0))
    if margins_known(history) < KNOWN:
        return None
    share = found[rows] / amount[rows]
    rows = rows[np.argsort(share, kind="stable")]
    rows = rows[:: max(-(-rows.size // MOST), 1)]
    return Margins(
        found[rows] / amount[rows],
        amount[rows],
        segment.codes[rows].astype(np.int64),
        len(segment.levels),
    )
