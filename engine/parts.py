"""Payments in part, as arrays that the compiled loops read; what they mean says `quotacast.models.parts`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quotacast.models.invoices import PaymentData
from quotacast.models.terms import Floats, Posterior


@dataclass(frozen=True)
class Assumed:
    """Payments in part as a plan states them.

    ``odds`` of a first payment to be a part, its ``share`` of the invoice, and days until the rest is paid
    (None: by the same hazard as an invoice).
    """

    odds: float
    share: float
    rest_days: int | None = None


@dataclass(frozen=True)
class Parts:
    """How invoices are paid in parts.

    ``P`` posterior draws.

    Attributes
    ----------
    basis : str
        ``none``, ``payments`` (learned) or ``plan``.
    odds : ndarray of float32, shape (P, classes)
        That a first payment is a part; no rows where there are no parts.
    share : ndarray
        Of the invoice, each as likely.
    pace : ndarray, shape (P,)
        Factor on the hazard of what is left.
    rest_days : int
        Days from the part to the rest; -1 where the hazard decides.
    """

    basis: str
    odds: NDArray[np.float32]
    share: Floats
    pace: Floats
    rest_days: int = -1


def parts_of(
    data: PaymentData, posterior: Posterior | None, draws: int, seed: int, assumed: Assumed | None
) -> Parts:
    """Parts as the plan states them, else as learned, else none.

    Parameters
    ----------
    draws : int
        Posterior draws.
    """
    classes, one = data.classes, np.ones(draws)
    pace = one
    if posterior is not None and "rest" in posterior.effects:
        rest = posterior.effects["rest"]
        pace = np.exp(rest[:, 1] - rest[:, 0])
    if assumed is not None:
        odds = np.full((draws, len(classes.names)), assumed.odds, dtype=np.float32)
        days = -1 if assumed.rest_days is None else assumed.rest_days
        return Parts("plan", odds, np.array([assumed.share]), pace, days)
    if not data.habits.known:
        return Parts("none", np.empty((0, len(classes.names)), dtype=np.float32), np.ones(1), pace)
    odds = data.habits.odds(classes.names, classes.customer, draws, seed)
    return Parts("payments", odds, data.habits.share, pace)
