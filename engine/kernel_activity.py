"""Activities of a block of draws, and what recent activity does to creation; compiled by numba.

Counts are drawn by bin (week, or month where the models are monthly) like new opportunities; an activity's
day is drawn only where its bin is cut by a step or a week, by a number of its own: so neither the steps nor
the wish for a measure changes anything.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

import math

import numba
import numpy as np

from quotacast.engine.kernel import EXACT_COUNT, count
from quotacast.engine.streams import PER_DRAW, mix, unit
from quotacast.models.activities import LAG_WEEKS, LEAST_WORKED

_U = np.uint64
_DAY = _U(2)
#: 1 / n for the numbers that are reached without dividing.
_INVERSE = 1.0 / np.arange(1.0, 1025.0)


@numba.njit(cache=True, nogil=True)
def count_many(u, mean, phi):
    """NegBinomial number by inversion of ``u``, as `kernel.count`, but fast where numbers are large."""
    if mean <= 0.0:
        return 0
    spread = phi * math.log1p(mean / phi)
    if spread > EXACT_COUNT:
        return count(u, mean, phi)
    ratio = mean / (phi + mean)
    p = math.exp(-spread)
    total, n, grown = p, 0, phi * ratio
    while u > total:
        if n == _INVERSE.shape[0]:
            return count(u, mean, phi)
        p *= grown * _INVERSE[n]
        grown += ratio
        n += 1
        total += p
        if p < 1e-18 and n > mean:
            break
    return n


@numba.njit(cache=True, nogil=True, error_model="numpy")
def activities(
    first_draw,
    parameter,
    bin_key,  # (reps, bins)
    at_work,  # (reps, days + 1)
    bin_edges,
    bin_quarter,
    created_base,  # (draws, reps)
    created_time,  # (draws, bins)
    created_rep,  # (draws, reps, quarters)
    dispersion,  # (posterior,)
    step_of_day,
    week_of_day,
    by_step,  # (draws, reps, steps), empty where not wanted
    by_week,  # (draws, reps, weeks), empty where not wanted
):
    """Add the numbers of one kind of activity to ``by_step`` and ``by_week``."""
    steps, weeks = by_step.shape[0] > 0, by_week.shape[0] > 0
    for d in range(parameter.shape[0]):
        draw = _U(first_draw + d) * PER_DRAW
        phi = dispersion[parameter[d]]
        for r in range(at_work.shape[0]):
            for b in range(bin_quarter.shape[0]):
                low, high = bin_edges[b], bin_edges[b + 1]
                worked = at_work[r, low]
                exposure = at_work[r, high] - worked
                if exposure <= 0.0:
                    continue
                mean = exposure * created_base[d, r] * created_time[d, b] * created_rep[d, r, bin_quarter[b]]
                stream = bin_key[r, b]
                n = count_many(unit(stream, draw), mean, phi)
                one_step = not steps or step_of_day[low] == step_of_day[high - 1]
                one_week = not weeks or week_of_day[low] == week_of_day[high - 1]
                if steps and one_step:
                    by_step[d, r, step_of_day[low]] += n
                if weeks and one_week:
                    by_week[d, r, week_of_day[low]] += n
                if one_step and one_week:
                    continue
                for k in range(n):
                    target = worked + unit(mix(stream ^ mix(_U(k + 1))), draw + _DAY) * exposure
                    start = low
                    for day in range(low + 1, high):
                        start += at_work[r, day] < target
                    if not one_step:
                        by_step[d, r, step_of_day[start]] += 1
                    if not one_week:
                        by_week[d, r, week_of_day[start]] += 1


@numba.njit(cache=True, nogil=True, error_model="numpy")
def add_recent(by_week, share, lead, recent, worked, mean, slopes, out):
    """Add slope x recent activity to the log of the factor on creation.

    Parameters
    ----------
    by_week : ndarray, shape (draws, reps, weeks)
        Simulated activities of one kind.
    share : float
        Share of them that may drive creation.
    lead : int
        Place of the first simulated week on the time line of ``recent`` and ``worked``.
    recent : ndarray, shape (reps, LAG_WEEKS + 1)
        The same in the last weeks of the history.
    worked : ndarray, shape (reps, lead + weeks)
        Weighted weeks at work on the time line.
    mean : ndarray, shape (draws, reps)
        What counts as usual for a rep.
    slopes : ndarray, shape (models, draws)
    out : ndarray, shape (models, draws, reps, weeks)
    """
    draws, reps, weeks = by_week.shape
    past = recent.shape[1]
    for d in range(draws):
        for r in range(reps):
            for w in range(weeks):
                done = time = 0.0
                for at in range(lead + w - LAG_WEEKS, lead + w):
                    time += worked[r, at]
                    if at < past:
                        done += recent[r, at]
                    if at >= lead:
                        done += share * by_week[d, r, at - lead]
                if time >= LEAST_WORKED:
                    x = math.log1p(done / time) - mean[d, r]
                    for m in range(slopes.shape[0]):
                        out[m, d, r, w] += slopes[m, d] * x
