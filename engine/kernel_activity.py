"""Activities of a block of draws, and what recent activity does to creation; compiled by numba.

Counts are drawn by bin (week, or month where the models are monthly) like new opportunities; an activity's
day is drawn only where its bin is cut by a step, a week, or the coming or going of who does it, by a number
of its own: so neither the steps nor the wish for a measure changes anything.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

import math

import numba
import numpy as np

from quotacast.engine.kernel_batch import places
from quotacast.engine.kernel_counts import counts
from quotacast.engine.streams import PER_DRAW, mix, unit
from quotacast.models.activities import LAG_WEEKS, LEAST_WORKED

_U = np.uint64
_DAY = _U(2)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def activities(
    first_draw,
    parameter,
    asked,  # (reps,)
    bin_key,  # (reps, bins)
    at_work,  # (reps, days + 1)
    bin_edges,
    bin_quarter,
    created_base,  # (draws, reps)
    created_time,  # (draws, bins)
    created_rep,  # (draws, reps, quarters)
    dispersion,  # (posterior,)
    numbers,  # table of counts
    step_of_day,
    week_of_day,
    seat,
    joined,  # (draws, reps)
    gone,
    by_step,  # (draws, seats, steps), empty where not wanted
    by_week,  # (draws, reps, weeks), empty where not wanted
):
    """Add the numbers of one kind of activity to ``by_step`` and ``by_week``."""
    steps, weeks, bins = by_step.shape[0] > 0, by_week.shape[0] > 0, bin_quarter.shape[0]
    mean, lot, number = np.zeros(bins), np.zeros(bins), np.zeros(bins, dtype=np.int64)
    begin, end = places(step_of_day[bin_edges[:-1]]), step_of_day[bin_edges[1:] - 1]
    begin_week, end_week = places(week_of_day[bin_edges[:-1]]), week_of_day[bin_edges[1:] - 1]
    edges, quarter, seats = places(bin_edges), places(bin_quarter), places(seat)
    for d in np.argsort(dispersion[parameter]):  # draws that need the same part of the table, together
        draw = _U(first_draw + d) * PER_DRAW
        phi = dispersion[parameter[d]]
        for r in range(at_work.shape[0]):
            if not asked[r]:
                continue
            here, until, base = joined[d, r], gone[d, r], created_base[d, r]
            for b in range(bins):
                lot[b] = unit(bin_key[r, b], draw)
            for b in range(bins):
                low, high = edges[b], edges[b + 1]
                some = (at_work[r, high] - at_work[r, low]) * base
                some *= created_time[d, b] * created_rep[d, r, quarter[b]]
                mean[b] = some if high > here and low < until else 0.0
            counts(lot, mean, phi, numbers, number)
            for b in range(bins):
                n = number[b]
                if n == 0:
                    continue
                low, high = edges[b], edges[b + 1]
                there = here <= low and until >= high
                one_step = there and (not steps or begin[b] == end[b])
                one_week = there and (not weeks or begin_week[b] == end_week[b])
                if steps and one_step:
                    by_step[d, seats[r], begin[b]] += n
                if weeks and one_week:
                    by_week[d, r, begin_week[b]] += n
                if one_step and one_week:
                    continue
                worked, stream = at_work[r, low], bin_key[r, b]
                exposure = at_work[r, high] - worked
                for k in range(n):
                    target = worked + unit(mix(stream ^ mix(_U(k + 1))), draw + _DAY) * exposure
                    start = low
                    for day in range(low + 1, high):
                        start += at_work[r, _U(day)] < target
                    if start < here or start >= until:
                        continue  # thinned: nobody was there
                    if steps and not one_step:
                        by_step[d, seats[r], step_of_day[start]] += 1
                    if weeks and not one_week:
                        by_week[d, r, week_of_day[start]] += 1


@numba.njit(cache=True, nogil=True, error_model="numpy")
def add_recent(
    asked, by_week, share, lead, recent, past_worked, at_work, week_edges, joined, gone, mean, slopes, out
):
    """Add slope x recent activity to the log of the factor on creation.

    Parameters
    ----------
    asked : ndarray of bool, shape (reps,)
        Whose factors are wanted.
    by_week : ndarray, shape (draws, reps, weeks)
        Simulated activities of one kind.
    share : float
        Share of them that may drive creation.
    lead : int
        Place of the first simulated week on the time line that begins with ``recent``.
    recent, past_worked : ndarray, shape (reps, LAG_WEEKS + 1)
        The same in the last weeks of the history, and weighted weeks at work in them.
    at_work : ndarray, shape (reps, days + 1)
        Cumulative weighted days at work from the first simulated day.
    week_edges : ndarray of int64, shape (weeks + 1,)
    joined, gone : ndarray of int64, shape (draws, reps)
    mean : ndarray, shape (draws, reps)
        What counts as usual for a rep.
    slopes : ndarray, shape (models, draws)
    out : ndarray, shape (models, draws, reps, weeks)
    """
    draws, reps, weeks = by_week.shape
    past = recent.shape[1]
    worked, done = np.empty(lead + weeks), np.empty(lead + weeks)
    x, usual = np.empty(weeks), np.empty(weeks)
    for d in range(draws):
        for r in range(reps):
            if not asked[r] or joined[d, r] >= week_edges[weeks]:
                continue
            worked[:], done[:] = 0.0, 0.0
            worked[:past], done[:past] = past_worked[r], recent[r]
            for w in range(weeks):
                low, high = max(week_edges[w], joined[d, r]), min(week_edges[w + 1], gone[d, r])
                if low < high:
                    worked[lead + w] += (at_work[r, high] - at_work[r, low]) / 7.0
                done[lead + w] += share * by_week[d, r, w]
            for w in range(weeks):
                time = total = 0.0
                for lag in range(LAG_WEEKS):
                    time += worked[lead + w - LAG_WEEKS + lag]
                    total += done[lead + w - LAG_WEEKS + lag]
                known = time >= LEAST_WORKED
                x[w], usual[w] = (time + total) / time if known else 1.0, mean[d, r] if known else 0.0
            for w in range(weeks):  # logarithms by themselves: they do not wait for each other
                x[w] = math.log(x[w]) - usual[w]
            for m in range(slopes.shape[0]):
                slope = slopes[m, d]
                for w in range(weeks):
                    out[m, d, r, w] += slope * x[w]
