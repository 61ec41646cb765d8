"""Until when a change still moves a period: its effect by the day on which it begins."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import numpy as np

#: Share of the whole effect at which a change is no longer worth it.
WORTH = 0.1


def last_useful_day(
    effect: Callable[[date], float], first: date, last: date, starts: int, worth: float = WORTH
) -> dict[str, Any]:
    """Scan the days on which a change may begin.

    Parameters
    ----------
    effect : callable
        From the first day of the change to what it does to the period.
    first, last : date
        First day that can be chosen, and the period's last.
    starts : int
        So many days are tried, evenly spread; between them the share is interpolated. An effect that grows
        with a later beginning, which only noise does, counts as unchanged.

    Returns
    -------
    dict
        ``last_useful_day``, the last on which more than ``worth`` of the effect is left, None where there
        is no effect at all; ``effect_by_start``, rows of ``from`` and ``share``. Plain values.
    """
    length = (last - first).days
    days = [first + timedelta(days=round(length * k / starts)) for k in range(starts)]
    found = np.array([effect(day) for day in days], dtype=float)
    if not found[0] > 0:
        return {"last_useful_day": None, "effect_by_start": []}
    share = np.append(np.minimum.accumulate(np.clip(found / found[0], 0.0, 1.0)), 0.0)
    edges = [*((day - first).days for day in days), length]
    after = int(np.interp(-worth, -share, edges))
    return {
        "last_useful_day": (first + timedelta(days=after)).isoformat(),
        "effect_by_start": [
            {"from": day.isoformat(), "share": round(float(x), 3)}
            for day, x in zip(days, share, strict=False)
        ],
    }
