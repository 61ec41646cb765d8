"""Left truncation: data that begin with the survivors of an earlier time.

Some exports hold deals that were created before recording began, but only those that were still open
then. Deals that had closed by then are missing, and so are the early closings. Counted as if they were
all, the survivors make cycles look long and early creations rare.
"""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd

from quotacast.models.history.history import History

#: Closings that must have been expected, where there were none, before a truncation is diagnosed: the
#: chance of none when 8 are expected is exp(-8), 1 in 3,000.
EXPECTED = 8.0
#: Lower ends of the age bands, in days, of crude hazards by age.
AGES = np.array([0, 1, 2, 4, 8, 15, 30, 60, 90, 120, 180, 270, 365, 540, 730, 1095, 100_000], dtype=float)


def entry_date(history: History) -> date | None:
    """Return the day from which the opportunities are complete, or None where they always were.

    See Also
    --------
    expected_before : the closings that were to be expected before that day
    """
    return first_complete_day(history.opportunities)


def first_complete_day(opportunities: pd.DataFrame) -> date | None:
    """Return the first closing day where closings were due before it and none came, else None."""
    first = opportunities["closed_on"].min()
    if pd.isna(first) or expected_before(opportunities) <= EXPECTED:
        return None
    day: date = first.date()
    return day


def expected_before(opportunities: pd.DataFrame) -> float:
    """Return the closings that the crude hazard by age predicts before the first closing.

    The hazard of an age band is closings ÷ deal-days after the first closing. With H its integral up to
    the age that a deal had at the first closing, that deal was to close before with chance 1 − exp(−H):
    a sum that a few deals and a noisy hazard cannot drive above their number. A deal's exposure is
    closed − created + ½ day.
    """
    first = opportunities["closed_on"].min()
    if pd.isna(first):
        return 0.0
    closed = opportunities["closed_on"].notna().to_numpy()
    last = max(opportunities["closed_on"].max(), opportunities["created_on"].max())
    born = opportunities["created_on"]
    end = ((opportunities["closed_on"].fillna(last) - born).dt.days + 0.5).to_numpy("float64")
    at_first = (first - born).dt.days.to_numpy("float64")
    begin = np.clip(at_first, 0, None)
    after = deal_days(np.minimum(begin, end), end)
    events = np.histogram(np.minimum(end[closed], AGES[-1] - 1), AGES)[0]
    hazard = np.divide(events, after, out=np.zeros(len(after)), where=after > 0)
    integral = np.concatenate([[0.0], np.cumsum(hazard * np.diff(AGES))])
    return float(-np.expm1(-np.interp(begin, AGES, integral)).sum())


def deal_days(begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Deal-days between two ages, by age band."""
    low, high = AGES[:-1], AGES[1:]
    inside = np.minimum(end[:, None], high) - np.maximum(begin[:, None], low)
    return np.asarray(np.clip(inside, 0, None).sum(axis=0))
