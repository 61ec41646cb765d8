"""The spans of days into which futures are counted."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from quotacast.models.periods import Period
from quotacast.models.timegrid import day_number


@dataclass(frozen=True)
class Steps:
    """Consecutive spans of days from which all requested periods are put together.

    ``edges`` holds the first day number of every step and, last, the day after the end.
    """

    edges: NDArray[np.int64]

    @classmethod
    def covering(cls, periods: Iterable[Period], cuts: Iterable[int] = ()) -> Steps:
        """Coarsest steps of which every period is a union."""
        ends: set[int] = set(cuts)
        for period in periods:
            ends |= {int(day_number(period.first)), int(day_number(period.last)) + 1}
        return cls(np.array(sorted(ends), dtype=np.int64))

    def __len__(self) -> int:
        return int(self.edges.size - 1)

    def of_days(self, days: NDArray[np.int64]) -> NDArray[np.int64]:
        """Step of every day, -1 outside."""
        step = np.searchsorted(self.edges, days, side="right") - 1
        return np.where((step >= 0) & (step < len(self)), step, -1)

    def slice(self, period: Period) -> slice:
        """Steps that make up a period."""
        first, stop = int(day_number(period.first)), int(day_number(period.last)) + 1
        return slice(bisect_left(self._edges, first), bisect_left(self._edges, stop))

    @cached_property
    def _edges(self) -> list[int]:
        """Edges as plain numbers: asked for thousands of times, one at a time."""
        found: list[int] = self.edges.tolist()
        return found
