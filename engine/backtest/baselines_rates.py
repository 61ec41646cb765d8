"""Baselines that look at past months only: run rate, and the same month of earlier quarters.

Both draw future rates from past months and then events from the rates. The spread of monthly rates
beyond what counting alone gives (Poisson) is resampled, the level is as uncertain as the months leave
it, deals are counted as Poisson numbers and paid with resampled amounts: so every level, from a rep
with three deals to the company, gets whole numbers with intervals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from quotacast.engine.backtest.baselines_past import (
    FEW,
    RECENT,
    STREAM,
    Floats,
    Ints,
    Past,
    months_needed,
    overlaps,
)
from quotacast.engine.backtest.targets import Target
from quotacast.engine.quota import Scope
from quotacast.models.periods import Period
from quotacast.models.timegrid import as_date, day_number

#: Months that are resampled together, so that a good and a bad time last as long as they did.
BLOCK = 3
#: Quarters whose months are taken as examples of the same month.
QUARTERS = 8
#: Months that tell the level to which earlier quarters are scaled.
LEVEL = 3
#: Deals per draw from which their sum is drawn from a gamma distribution of its mean and variance.
MANY = 50.0

COMPANY = Scope("company")
Rates = Callable[[str, Scope], Floats]


def run_rate(
    past: Past, targets: Sequence[Target], draws: int, rng: np.random.Generator, notes: Counter[str]
) -> Floats:
    """Draw from the last twelve months, resampled in blocks; see the module."""
    ends = past.edges(months_needed(past, targets)) - past.origin
    return emit(past, targets, ends, run_rates(past, ends.size - 1, draws, rng), draws, rng)


def month_of_quarter(
    past: Past, targets: Sequence[Target], draws: int, rng: np.random.Generator, notes: Counter[str]
) -> Floats:
    """Draw every month from months at its place in earlier quarters, scaled to the recent level."""
    last = past.origin + max((past.ahead(t)[1] for t in targets), default=1)
    future = past.calendar.periods("month", as_date(past.origin + 1), as_date(max(last, past.origin + 1)))
    ends = np.array([0, *(day_number(m.last) - past.origin for m in future)], dtype=np.int64)
    fallback = run_rates(past, len(future), draws, rng)
    rates = _quarter_rates(past, future, draws, rng, fallback, notes)
    return emit(past, targets, ends, rates, draws, rng)


def emit(
    past: Past,
    targets: Sequence[Target],
    ends: Ints,
    rates: Rates,
    draws: int,
    rng: np.random.Generator,
) -> Floats:
    """Draw events from rates, and amounts where they are asked for.

    Parameters
    ----------
    ends : ndarray, shape (months + 1,)
        0 and the last days of the future months, as days after the origin.
    rates : callable
        Stream and scope to events per day, shape (draws, months).

    Returns
    -------
    ndarray, shape (targets, draws)
        NaN for the parts open and new, of which these methods know nothing.
    """
    out = np.full((len(targets), draws), np.nan)
    for i, target in enumerate(targets):
        if target.component != "total":
            continue
        expected = rates(STREAM[target.metric], target.scope) @ overlaps(ends, *past.ahead(target))
        out[i] = events(past, target, expected, rng)
    return out


def events(past: Past, target: Target, expected: Floats, rng: np.random.Generator) -> Floats:
    """Draws of a metric whose events are expected in these numbers, shape (draws,)."""
    number = rng.poisson(expected)
    if target.metric != "bookings":
        return np.asarray(number, dtype=float)
    return amounts(number, past.pool(target.scope), rng)


def amounts(number: NDArray[np.int64], pool: Floats, rng: np.random.Generator) -> Floats:
    """Sums of so many resampled amounts, shape of ``number``; the mean amount is uncertain itself."""
    mean, spread = (float(pool.mean()), float(pool.std())) if pool.size else (0.0, 0.0)
    if mean <= 0 or spread == 0:
        return np.asarray(number * mean, dtype=float)
    shape = (mean / spread) ** 2
    if number.mean() > MANY:
        total = rng.gamma(np.maximum(number, 1e-9) * shape, mean / shape) * (number > 0)
    else:
        picked = pool[rng.integers(0, pool.size, int(number.sum()))]
        running = np.concatenate([[0.0], np.cumsum(picked)])
        last = np.cumsum(number)
        total = running[last] - running[last - number]
    return np.asarray(total * rng.gamma(pool.size * shape, 1.0 / (pool.size * shape), number.shape))


def run_rates(past: Past, months: int, draws: int, rng: np.random.Generator) -> Rates:
    """Events per day in future months by run rate: stream and scope to shape (draws, months)."""
    known: dict[tuple[str, Scope], Floats] = {}

    def rates(stream: str, scope: Scope) -> Floats:
        key = (stream, scope)
        if key not in known:
            edges = _own_months(past, stream, scope)
            count = past.counts(stream, scope, edges)
            if scope != COMPANY and (count.sum() < FEW or count.size < LEVEL):
                known[key] = rates(stream, COMPANY) * _share(past, stream, scope, draws, rng)[:, None]
            else:
                known[key] = _resampled(count, np.diff(edges), months, draws, rng) * _present(past, scope)
        return known[key]

    return rates


def _own_months(past: Past, stream: str, scope: Scope) -> Ints:
    """Recent months in which the scope was there from the first day to the last."""
    edges = past.months_back(stream, RECENT)
    if scope.kind != "rep":
        return edges
    hired, _ = past.employment.get(scope.id, (past.origin, past.origin))
    inside = edges[edges >= hired - 1]
    return inside if inside.size > 1 else edges[-2:]


def _present(past: Past, scope: Scope) -> float:
    """0 for a rep who has left, else 1."""
    stop = past.employment.get(scope.id, (0, past.origin))[1]
    return float(scope.kind != "rep" or stop >= past.origin)


def _resampled(count: Floats, days: Ints, months: int, draws: int, rng: np.random.Generator) -> Floats:
    level, relative = _level(count, days, draws, rng)
    block = BLOCK if count.size >= 2 * BLOCK and months > 1 else 1
    start = rng.integers(0, count.size, (draws, -(-months // block), 1))
    index = ((start + np.arange(block)) % count.size).reshape(draws, -1)[:, :months]
    return np.asarray(level[:, None] * relative[index])


def _level(count: Floats, days: Ints, draws: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Uncertain mean rate, shape (draws,), and relative rates of the months, shape (months,), mean 1.

    Of the variance of monthly rates, mean ÷ days is counting noise, which is drawn again later; only the
    rest is real, so deviations are shrunk to it.
    """
    rate = count / days
    mean = float(count.sum() / days.sum())
    if mean == 0:
        return np.zeros(draws), np.ones(count.size)
    noise = mean / float(days.mean())
    variance = float(rate.var(ddof=1)) if count.size > 1 else noise
    kept = np.sqrt(max(variance - noise, 0.0) / variance) if variance > 0 else 0.0
    shape = mean**2 * count.size / max(variance, noise)
    return np.asarray(rng.gamma(shape, mean / shape, draws)), 1.0 + (rate / mean - 1.0) * kept


def _share(past: Past, stream: str, scope: Scope, draws: int, rng: np.random.Generator) -> Floats:
    """Share of the company's rate for a scope with little history, shape (draws,).

    Gamma with mean (n + 1) ÷ (e + 1 ÷ r): n own events in e days at work, and one event for one event's
    worth of days at the rate r of an average rep.
    """
    edges = past.months_back(stream, RECENT)
    first, last = int(edges[0]) + 1, past.origin
    company = float(past.counts(stream, COMPANY, edges).sum())
    spans = {rep: _days(span, first, last) for rep, span in past.employment.items()}
    if company == 0 or _present(past, scope) == 0:
        return np.zeros(draws)
    average = company / max(sum(spans.values()), last - first + 1)
    own = float(past.counts(stream, scope, edges).sum())
    worked = spans.get(scope.id, 0) if scope.kind == "rep" else last - first + 1
    rate = rng.gamma(own + 1.0, 1.0 / (worked + 1.0 / average), draws)
    return np.asarray(rate / (company / (last - first + 1)))


def _days(span: tuple[int, int], first: int, last: int) -> int:
    return max(min(span[1], last) - max(span[0], first) + 1, 0)


def _quarter_rates(
    past: Past,
    future: Sequence[Period],
    draws: int,
    rng: np.random.Generator,
    fallback: Rates,
    notes: Counter[str],
) -> Rates:
    places = [_place(past, month) for month in future]
    quarters = np.unique([quarter for quarter, _ in places], return_inverse=True)[1]
    pick = rng.random((draws, int(quarters.max()) + 1))
    examples = {s: _examples(past, s) for s in past.streams}
    today = {s: _level_noise(past, s, draws, rng) for s in past.streams}
    known: dict[tuple[str, Scope], Floats] = {}

    def rates(stream: str, scope: Scope) -> Floats:
        key = (stream, scope)
        if key in known:
            return known[key]
        at = examples[stream]
        own = sum(float(past.counts(stream, scope, e).sum()) for e, _, _ in at.values())
        if scope != COMPANY and own < FEW * len(at):
            known[key] = rates(stream, COMPANY) * _share(past, stream, scope, draws, rng)[:, None]
            return known[key]
        levels = {place: _scaled(past, stream, scope, *months, draws, rng) for place, months in at.items()}
        out = np.empty((draws, len(future)))
        for j, (_, place) in enumerate(places):
            if place not in levels:
                notes["month_of_quarter: no such month yet, run rate taken"] += 1
                out[:, j] = fallback(stream, scope)[:, j]
                continue
            level, relative = levels[place]
            out[:, j] = level * relative[(pick[:, quarters[j]] * relative.size).astype(np.int64)]
        known[key] = out * today[stream][:, None] * _present(past, scope)
        return known[key]

    return rates


def _level_noise(past: Past, stream: str, draws: int, rng: np.random.Generator) -> Floats:
    """Factor, mean 1, by which the recent level of the company is uncertain, shape (draws,)."""
    number = float(past.counts(stream, COMPANY, past.months_back(stream, LEVEL)).sum()) + 1.0
    return np.asarray(rng.gamma(number, 1.0 / number, draws))


def _place(past: Past, month: Period) -> tuple[int, int]:
    """First day of the quarter in which a month lies, and its place there (0, 1, 2)."""
    quarter = past.calendar.containing(month.first, "quarter")
    return int(day_number(quarter.first)), len(past.calendar.periods("month", quarter.first, month.first)) - 1


def _examples(past: Past, stream: str) -> dict[int, tuple[Ints, Ints, Floats]]:
    """Complete past months by place in the quarter.

    Returns
    -------
    dict of int to (edges, rows, scale)
        Rows of ``edges`` are (day before the first, last); scale is recent company level ÷ level then.
    """
    start, origin = past.start[stream], past.origin
    begin = max(start, origin - 93 * (QUARTERS + 1))
    months = past.calendar.periods("month", as_date(begin), as_date(origin))
    whole = [m for m in months if day_number(m.first) >= begin and day_number(m.last) <= origin]
    recent = past.months_back(stream, LEVEL)
    now = _smoothed(past, stream, int(recent[0]), origin)
    found: dict[int, list[tuple[int, int, float]]] = {}
    for month in whole:
        first, place = _place(past, month)
        quarter = past.calendar.containing(month.first, "quarter")
        then = _smoothed(past, stream, max(first, start) - 1, min(int(day_number(quarter.last)), origin))
        row = (int(day_number(month.first)) - 1, int(day_number(month.last)), now / then)
        found.setdefault(place, []).append(row)
    return {place: _table(rows[-QUARTERS:]) for place, rows in sorted(found.items())}


def _table(rows: Sequence[tuple[int, int, float]]) -> tuple[Ints, Ints, Floats]:
    ends = np.array([row[:2] for row in rows], dtype=np.int64)
    return ends.ravel(), ends[:, 1] - ends[:, 0], np.array([row[2] for row in rows])


def _smoothed(past: Past, stream: str, before: int, last: int) -> float:
    """Company events per day after ``before`` until ``last``, one added so that it is never zero."""
    events = past.streams[stream].between(before + 1, last)
    return float(events.stop - events.start + 1.0) / (last - before)


def _scaled(
    past: Past,
    stream: str,
    scope: Scope,
    edges: Ints,
    days: Ints,
    scale: Floats,
    draws: int,
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    # Pairs (before, last) do not join: every second difference is one of the months.
    count = past.counts(stream, scope, edges)[::2]
    return _level(count * scale, days, draws, rng)
