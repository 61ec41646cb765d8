"""Axes of deals that are known at creation and that the data support."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quotacast.models.cells import Codes
from quotacast.models.history.history import History

#: Columns that may serve as segments, best first.
CANDIDATES = ("segment", "product", "type", "source")
#: A column serves if it is filled for this share of deals, and holds at least two levels.
FILLED = 0.8
#: Rarer levels are put together.
MOST_LEVELS = 12
OTHER = "(other)"
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
    """First column of :data:`CANDIDATES` that is filled well enough and has levels to tell apart."""
    deals = history.opportunities
    for column in CANDIDATES:
        values = deals[column]
        if values.notna().mean() >= FILLED and values.nunique() >= 2:
            text = values.fillna(BLANK).astype(str)
            counts = text.value_counts()
            ranked = sorted(counts.index, key=lambda level: (-int(counts[level]), str(level)))
            kept = sorted(ranked[:MOST_LEVELS])
            levels = tuple(kept) + ((OTHER,) if len(ranked) > MOST_LEVELS else ())
            bare = Covariate(column, levels, np.empty(0, dtype=np.int32))
            return Covariate(column, levels, bare.code(text.to_numpy(dtype=object)))
    return Covariate("", ("all",), np.zeros(len(deals), dtype=np.int32))
