"""The book: opportunities that are open at the as-of date."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quotacast.models.amounts import Quotes
from quotacast.models.covariates import Covariate
from quotacast.models.history.history import History
from quotacast.models.people import Employment
from quotacast.models.stages import StageData
from quotacast.models.timegrid import day_number


@dataclass(frozen=True)
class Book:
    """Open deals, all arrays of shape (deals,).

    Attributes
    ----------
    ids : tuple of str
    rep, segment, band : ndarray of int
        Codes of the owner, the segment and the band of the amount at creation.
    start : ndarray of int64
        Day number of the creation.
    amount : ndarray
        Amount as quoted now, currency units; NaN or 0 where unknown.
    stage : ndarray of int32, optional
        Code of the stage in which it stands, -1 where it goes by age alone; None where all do.
    entered : ndarray of int64, optional
        Day number on which it entered that stage.
    """

    ids: tuple[str, ...]
    rep: NDArray[np.int32]
    segment: NDArray[np.int32]
    band: NDArray[np.int32]
    start: NDArray[np.int64]
    amount: NDArray[np.float64]
    stage: NDArray[np.int32] | None = None
    entered: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.ids)


def open_book(
    history: History,
    people: Employment,
    segment: Covariate,
    quotes: Quotes,
    stages: StageData | None = None,
) -> Book:
    """Collect what is open on the history's as-of date, in the order of ids.

    Parameters
    ----------
    stages : StageData, optional
        The chain of stages; without it deals go by age alone.
    """
    deals = history.opportunities
    rows = np.flatnonzero(deals["status"].to_numpy(dtype=object) == "open")
    ids = deals["opportunity_id"].to_numpy(dtype=object)[rows]
    rows = rows[np.argsort(ids.astype(str), kind="stable")]
    index = people.index()
    chosen = deals.iloc[rows]
    band = quotes.band(quotes.at_creation)[rows] if quotes.bands > 1 else np.zeros(rows.size, dtype=np.int32)
    names = tuple(str(x) for x in chosen["opportunity_id"])
    start = day_number(chosen["created_on"])
    standing = {} if stages is None else stages.standing
    at = [standing.get(name, (-1, int(day))) for name, day in zip(names, start, strict=True)]
    return Book(
        names,
        np.array([index[r] for r in chosen["rep_id"]], dtype=np.int32),
        segment.codes[rows],
        band,
        start,
        chosen["amount"].to_numpy(dtype=float),
        np.array([stage for stage, _ in at], dtype=np.int32),
        np.array([day for _, day in at], dtype=np.int64),
    )
