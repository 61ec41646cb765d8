"""The compiled loop that earns revenue rep by rep: for quotas and forecasts of recognised revenue."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

import numba
import numpy as np

from quotacast.engine.finance.kernel import OPEN, sign_deals
from quotacast.engine.finance.kernel_close import earned_by


@numba.njit(cache=True, nogil=True)
def run_earned(
    begins, cells, values, place, future, days, signing, begin, end, edges, step_of_day, bill_no, room, out
):
    """Revenue of some futures of a block into ``out`` (futures, reps, steps, 2).

    The last axis tells revenue of deals that are open at the as-of date from that of deals created later and
    of terms signed anew. ``edges`` (steps,) is the day after each step; ``begin`` and ``end`` (terms, days)
    those of earning. What was signed before the as-of date is the same in every future and not among it.
    """
    deals, streams = np.empty((8, room), dtype=np.int64), np.empty(room, dtype=np.uint64)
    for j in range(place.shape[0]):
        d = future[j]
        n = sign_deals(begins, cells, values, place[j], days, signing, d, bill_no[d], deals, streams)
        for i in range(n):
            day, cents, term, rep = deals[0, i], deals[1, i], deals[4, i], deals[6, i]
            part = 0 if deals[3, i] == OPEN else 1
            since, until = begin[term, day], end[term, day]
            before = 0
            for m in range(step_of_day[day], edges.shape[0]):
                earned = earned_by(cents, since, until, edges[m])
                out[j, rep, m, part] += earned - before
                before = earned
                if earned == cents:
                    break
