"""Closed-form means of open deals that stand in stages: the forward equations of the chain.

What is followed is the chance v[s, e] that a deal is open in stage s, which it entered on day e. Within a
small part of a day of weight w, of those in a state with hazards h = h_win + h_loss + h_move ::

    v (1 - exp(-h w)) h_win / h     are won
    v (1 - exp(-h w)) h_move / h    move on, by the shares of the stages that follow, to v[., today]

which is exact but for moves that are followed by something else within the same part of the day
(:data:`PARTS` of them; the error is of the order of hazard / PARTS).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from quotacast.engine.stage_tables import ARRAYS
from quotacast.models.terms import Floats

Ints = NDArray[np.int64]
#: Parts of a day.
PARTS = 8


def staged_fates(
    table: dict[str, Any], d: int, r: int, deal: int, bands: Ints, win: Floats, loss: Floats
) -> tuple[Floats, Floats]:
    """Probabilities of a win and of a loss on every day, each of shape (days,).

    Parameters
    ----------
    deal : int
        Row of the open deal.
    bands : ndarray, shape (days,)
        Band of the deal's age on every day.
    win, loss : ndarray, shape (days,)
        Hazards per weighted day before what the stage does.
    """
    p, days, chain = table["parameter"][d], bands.size, dict(zip(ARRAYS, table["stage_arrays"], strict=True))
    piece = table["piece_of_day"]
    stretch, times = table["cycle_times"][r, piece], table["share_times"][r, piece]
    passed = np.concatenate([[0.0], np.cumsum(1.0 / stretch)])
    shares = np.diff(chain["stage_next"][p], axis=1, prepend=0.0)
    since = np.append(passed[:-1], -table["deal_in_stage"][deal])  # of the first stay: before today
    v = np.zeros((shares.shape[0], days + 1))
    v[table["deal_stage"][deal], days] = 1.0
    won, lost = np.zeros(days), np.zeros(days)
    for day in range(days):
        inside = np.maximum(passed[day] - since, 0.0)
        band = np.searchsorted(chain["stage_edges"], inside + 1e-9, side="right") - 1
        factor = [
            chain[f"stage_{way}"][p][:, band] * chain[f"{way}_age"][p, bands[day]]
            for way in ("win", "loss", "move")
        ]
        h_win, h_loss = win[day] * factor[0] / stretch[day], loss[day] * factor[1] / stretch[day]
        both = h_win + h_loss
        h_win = np.minimum(h_win * times[day], both)
        h_move = factor[2] * table["time_move"][d, piece[day]] / stretch[day]
        total = both + h_move
        for _ in range(PARTS):
            left = v * -np.expm1(-total * table["weights"][day] / PARTS) / total
            v = v - left * total
            won[day] += (left * h_win).sum()
            lost[day] += (left * (both - h_win)).sum()
            v[:, day] += (left * h_move).sum(axis=1) @ shares
    return won, lost
