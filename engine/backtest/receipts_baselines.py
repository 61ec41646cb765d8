"""What is commonly done to forecast receipts, with intervals that give it a fair chance.

=========  ==========================================================================================
dso        days sales outstanding: receivables stay in proportion to the billings of the last 90 days;
           receipts are what is left: opening receivables + billings - closing receivables
delay      every invoice is paid the average number of days after its issue (by amount, of what was
           paid in the last 180 days); what should have been paid already is paid next week
countback  the same with the days of billings that the receivables amount to, counted back
ageing     roll rates: of every bucket (current, 1-30, 31-60, 61-90, > 90 days past due) the share that
           is paid in a week; each invoice is paid by its bucket's share, drawn as one past week had it
=========  ==========================================================================================

The first three give one number; their draws are that number plus the errors which the same method made at
every weekly origin so far whose week had passed by then (so they are corrected for their bias). ``dso``
says nothing about the open invoices alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from quotacast.engine.backtest.receipts import WEEKS, Bills, Case, Forecast, actual_receipts
from quotacast.models.terms import Floats
from quotacast.models.timegrid import Ints

#: Days of billings behind DSO, days of payments behind the average delay.
DSO_DAYS, DELAY_DAYS = 90, 180
#: Weeks of roll rates; errors are taken from so many weekly origins before this one.
ROLL_WEEKS, ERROR_WEEKS = 26, 52
#: Days of invoices before the first origin whose error counts.
WARM_UP = 90
#: First day past due of every ageing bucket; before it lies "current".
BUCKETS = (1, 31, 61, 91)
DRAWS = 1000

#: From invoices, a day and the rows in question to receipts by week.
Point = Callable[[Bills, int, Ints], Floats]


def dso_receipts(bills: Bills, day: int, rows: Ints) -> Floats:
    """Opening receivables + billings - closing receivables, for all invoices."""
    known = bills.issued <= day
    opening = bills.amount[known & (bills.paid > day)].sum()
    ratio = opening / max(_billed(bills, day - DSO_DAYS, day), 1e-9)
    ends = [day + 7 * w for w in range(WEEKS + 1)]
    owed = np.array([ratio * _billed(bills, end - DSO_DAYS, end) for end in ends])
    owed[0] = opening
    billed = np.array([_billed(bills, end - 7, end) for end in ends[1:]])
    return np.asarray(np.maximum(owed[:-1] + billed - owed[1:], 0.0))


def _billed(bills: Bills, after: int, until: int) -> float:
    return float(bills.amount[(bills.issued > after) & (bills.issued <= until)].sum())


def delay_receipts(bills: Bills, day: int, rows: Ints) -> Floats:
    """Every invoice is paid after the average delay."""
    past = (bills.paid <= day) & (bills.paid > day - DELAY_DAYS)
    wait = np.average((bills.paid - bills.issued)[past], weights=bills.amount[past]) if past.any() else 30.0
    return _after(bills, day, rows, float(wait))


def countback_receipts(bills: Bills, day: int, rows: Ints) -> Floats:
    """Every invoice is paid after the days of billings that the receivables amount to."""
    known = bills.issued <= day
    owed = bills.amount[known & (bills.paid > day)].sum()
    by_day = np.bincount(day - bills.issued[known], bills.amount[known])
    return _after(bills, day, rows, float(np.searchsorted(np.cumsum(by_day), owed) + 1))


def _after(bills: Bills, day: int, rows: Ints, wait: float) -> Floats:
    week = np.maximum(np.ceil(bills.issued[rows] + wait - day - 1).astype(int), 0) // 7
    inside = week < WEEKS
    return np.bincount(week[inside], bills.amount[rows][inside], minlength=WEEKS).astype(float)


def with_errors(
    point: Point, seed: int, draws: int = DRAWS, parts: tuple[str, ...] = ("open", "total")
) -> Forecast:
    """Draws of a method that gives one number: that number plus its errors so far."""

    def forecast(case: Case) -> dict[str, Floats]:
        rng = np.random.default_rng([seed, case.day])
        bills, first = case.bills, int(case.bills.issued.min()) + WARM_UP
        past = [d for d in case.day - 7 * np.arange(1, ERROR_WEEKS + 1) if d >= first]
        out = {}
        for part in parts:
            ours = _rows(bills, case.day, part)
            now = point(bills, case.day, ours)
            errors = [
                actual_receipts(bills, _rows(bills, d, part), d) - point(bills, d, _rows(bills, d, part))
                for d in map(int, past)
            ]
            out[part] = np.stack([now[w] + _sample(errors, w, draws, rng) for w in range(WEEKS)])
        return {name: np.maximum(values, 0.0) for name, values in out.items()}

    return forecast


def _sample(errors: list[Floats], week: int, draws: int, rng: np.random.Generator) -> Floats:
    """Errors of a week ahead from origins for which that week had passed; none: no spread."""
    known = np.array([e[week] for e in errors[week:]])
    return np.asarray(rng.choice(known, draws)) if known.size else np.zeros(draws)


def _rows(bills: Bills, day: int, part: str) -> Ints:
    going = (bills.issued <= day) & (bills.paid > day)
    coming = (bills.issued > day) & (bills.issued <= day + 7 * WEEKS)
    return np.flatnonzero(going if part == "open" else going | coming)


def ageing(seed: int, draws: int = DRAWS) -> Forecast:
    """Roll rates by ageing bucket: see the module's table."""

    def forecast(case: Case) -> dict[str, Floats]:
        rng = np.random.default_rng([seed, case.day])
        rates = _weekly_rates(case.bills, case.day)
        rows = np.concatenate([case.open, case.coming])
        paid = _roll(case.bills, case.day, rows, rates, draws, rng)
        going = np.arange(rows.size) < case.open.size
        amount = case.bills.amount[rows]
        parts = {"open": amount * going, "total": amount}
        return {name: np.stack([week @ worth for week in paid]) for name, worth in parts.items()}

    return forecast


def _bucket(bills: Bills, rows: Ints, start: int) -> Ints:
    """0 issued in the week from ``start``, 1 current, 2 1-30 days past due, ... at the week's start."""
    bucket = 1 + np.searchsorted(BUCKETS, start - bills.due[rows], side="right")
    return np.where(bills.issued[rows] > start, 0, bucket).astype(np.int64)


def _weekly_rates(bills: Bills, day: int) -> Floats:
    """Share of every bucket's amount that was paid in each past week, shape (weeks, buckets).

    A bucket that was empty in a week takes its share over all weeks; one that always was, its neighbour's.
    """
    size = len(BUCKETS) + 2
    paid, owed = np.zeros((ROLL_WEEKS, size)), np.zeros((ROLL_WEEKS, size))
    for k in range(ROLL_WEEKS):
        start = day - 7 * (k + 1)
        rows = np.flatnonzero((bills.issued <= start + 7) & (bills.paid > start))
        bucket = _bucket(bills, rows, start)
        owed[k] = np.bincount(bucket, bills.amount[rows], minlength=size)
        hit = bills.paid[rows] <= start + 7
        paid[k] = np.bincount(bucket[hit], bills.amount[rows][hit], minlength=size)
    total = owed.sum(axis=0)
    overall = np.divide(paid.sum(axis=0), total, out=np.full(size, np.nan), where=total > 0)
    for b in range(size):
        overall[b] = overall[b - 1] if np.isnan(overall[b]) else overall[b]
    return np.where(owed > 0, paid / np.maximum(owed, 1e-9), overall)


def _roll(
    bills: Bills, day: int, rows: Ints, rates: Floats, draws: int, rng: np.random.Generator
) -> list[Floats]:
    """Whether each invoice is paid in each week, arrays of shape (draws, rows)."""
    left = np.ones((draws, rows.size), dtype=bool)
    out = []
    for w in range(WEEKS):
        start = day + 7 * w
        there = bills.issued[rows] <= start + 7
        bucket = _bucket(bills, rows, start)
        rate = rates[rng.integers(0, rates.shape[0], draws)][:, bucket]
        paid = left & there & (rng.random(left.shape) < rate)
        left &= ~paid
        out.append(paid.astype(float))
    return out


def baselines(seed: int, draws: int = DRAWS) -> dict[str, Forecast]:
    """Every baseline by name."""
    return {
        "dso": with_errors(dso_receipts, seed, draws, ("total",)),
        "delay": with_errors(delay_receipts, seed, draws),
        "countback": with_errors(countback_receipts, seed, draws),
        "ageing": ageing(seed, draws),
    }
