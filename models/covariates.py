"""Axes of deals that are known at creation and that the data support."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quotacast.models.cells import Codes
from quotacast.models.history.history import History

#: Columns that may serve as segments, known at creation.
CANDIDATES = ("segment", "product", "type", "source")
#: A column serves if it is filled for this share of deals, and holds at least two levels.
FILLED = 0.8
#: Rarer levels are put together.
MOST_LEVELS = 12
OTHER = "(other)"
#: A column further down the list must explain so much more of the variance of log amounts.
CLEARLY = 0.05
BLANK = "(blank)"


@dataclass(frozen=True)
class Covariate:
    """One axis of deals.

    Attributes
    ----------
    column : str
        Column of the opportunities; empty where none serves.
    levels : tuple of str
    codes : ndarray, shape (opportunities,)
    """

    column: str
    levels: tuple[str, ...]
    codes: Codes

    def code(self, values: NDArray[np.object_]) -> Codes:
        """Codes of further values; unknown ones count as the last level."""
        index = {level: i for i, level in enumerate(self.levels)}
        rest = len(self.levels) - 1
        return np.array([index.get(str(v), rest) for v in values], dtype=np.int32)


def segment_covariate(history: History) -> Covariate:
    """The column of :data:`CANDIDATES` that separates deal values best, of those filled well enough.

    Value is what segments differ in most, and what a wrong axis distorts most. The first column wins ties;
    a later one must explain clearly more.
    """
    deals = history.opportunities
    able = [
        _coded(column, deals[column])
        for column in CANDIDATES
        if deals[column].notna().mean() >= FILLED and deals[column].nunique() >= 2
    ]
    if not able:
        return Covariate("", ("all",), np.zeros(len(deals), dtype=np.int32))
    won = ((deals["status"] == "won") & (deals["amount"] > 0)).to_numpy()
    log_amount = np.log(deals["amount"].to_numpy(dtype=float)[won])
    explained = [_explained(log_amount, one.codes[won]) for one in able]
    best = int(np.argmax(explained))
    return able[best] if explained[best] > explained[0] + CLEARLY else able[0]


def _coded(column: str, values: pd.Series[Any]) -> Covariate:
    text = values.fillna(BLANK).astype(str)
    counts = text.value_counts()
    ranked = sorted(counts.index, key=lambda level: (-int(counts[level]), str(level)))
    kept = sorted(ranked[:MOST_LEVELS])
    levels = tuple(kept) + ((OTHER,) if len(ranked) > MOST_LEVELS else ())
    bare = Covariate(column, levels, np.empty(0, dtype=np.int32))
    return Covariate(column, levels, bare.code(text.to_numpy(dtype=object)))


def _explained(values: NDArray[np.float64], codes: Codes) -> float:
    """Adjusted share of the variance between levels (epsilon squared, Kelley 1935)."""
    used = np.unique(codes).size
    if values.size <= used + 1 or values.var() == 0:
        return 0.0
    mean = np.bincount(codes, values) / np.maximum(np.bincount(codes), 1)
    within = float(((values - mean[codes]) ** 2).sum()) / (values.size - used)
    return 1.0 - within / float(values.var(ddof=1))
