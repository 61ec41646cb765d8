"""What made-up reps do every day, and how much of it there was of late."""

from __future__ import annotations

import numpy as np

from quotacast.engine.worlds_clock import LAG_WEEKS, Bools, Clock, Floats, Ints, People, Stream, ar1
from quotacast.engine.worlds_truth import KINDS, WorldSpec


def activities(spec: WorldSpec, clock: Clock, people: People, stream: Stream) -> Ints:
    """Draw the activities that hang on no opportunity, shape (days, reps, kinds)."""
    true = spec.truth.activity
    shape = (spec.n_reps, len(KINDS))
    wander = ar1(stream("wander"), clock.weeks, true.wander_sd, true.wander_rho, shape)
    frailty = stream("activity_week").gamma(true.dispersion, 1.0 / true.dispersion, (clock.weeks, *shape))
    quarters = int(clock.quarter[-1]) + 1
    habit = true.rep_quarter_sd * stream("activity_quarter").standard_normal((quarters, *shape))
    weekly = frailty * np.exp(np.asarray(true.level) + np.asarray(true.rep).T + wander)
    middle = np.minimum(7 * np.arange(clock.weeks) + 3, clock.days.size - 1)
    weekly = weekly * np.exp(habit)[clock.quarter[middle]]
    mean = (clock.share[:, None] * people.employed)[:, :, None] * weekly[clock.week]
    return np.asarray(stream("activity").poisson(mean), dtype=np.int64)


def activity_deviation(clock: Clock, people: People, activity: Ints) -> Floats:
    """Each rep's activity of late, against the rep's usual, shape (weeks, reps, kinds).

    ``log(1 + abar)``, abar the mean weekly count over the three weeks before, less its mean over the
    rep's weeks until the last day; 0 where the rep has hardly worked in those weeks.
    """
    x, defined, mean, _ = _recent(clock, people, activity)
    return np.asarray(np.where(defined[:, :, None], x - mean, 0.0))


def usual_activity(clock: Clock, people: People, activity: Ints) -> Floats:
    """Each rep's mean of ``log(1 + abar)``, less the mean over reps, shape (reps, kinds)."""
    _, _, mean, weeks = _recent(clock, people, activity)
    there = weeks > 0
    return np.where(there[:, None], mean - mean[there].mean(axis=0), 0.0)


def _recent(clock: Clock, people: People, activity: Ints) -> tuple[Floats, Bools, Floats, Ints]:
    """``log(1 + abar)``, where it is defined, and its mean over how many weeks of every rep."""
    weeks = clock.weeks
    starts = np.arange(0, clock.days.size, 7)
    count = np.add.reduceat(activity, starts, axis=0).astype(float)
    worked = np.add.reduceat(clock.share[:, None] * people.employed, starts, axis=0)
    lagged, exposed = np.zeros_like(count), np.zeros_like(worked)
    for lag in range(1, LAG_WEEKS + 1):
        lagged[lag:] += count[: weeks - lag]
        exposed[lag:] += worked[: weeks - lag]
    defined = (exposed >= 0.5) & (worked > 0.0)
    x = np.log1p(lagged / np.maximum(exposed, 0.5)[:, :, None])
    week = np.arange(weeks)
    seen = (defined & (week >= clock.first // 7)[:, None] & (week <= clock.last // 7)[:, None])[:, :, None]
    mean = (x * seen).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    return x, defined, mean, seen.sum(axis=(0, 2))
