"""Structural breaks: an end of the data that does not look like the year before it.

Every stream (opportunities created, won, lost) is counted in weeks that end on the as-of date. What the
year before predicts for a week is its level times what there was to do: reps at work (with their ramp)
for creations, and for closings the open deals by their age, at the hazards of that year. The last k
weeks, for a few k, are then compared with their prediction by a negative binomial tail::

    y_k ~ NegBinomial(mean m_k, variance m_k + (m_k tau_k)^2)
    tau_k^2 = sigma^2 (f(k) + f(n)) + 1 / y_n

n weeks of reference held y_n events. sigma is the sd of a week's log rate, learned from blocks of four
weeks of the reference and shrunk to what companies usually show; f(k) is the variance of the mean of k
weeks of an AR(1) of variance one, since good and bad months come in runs. So shocks, seasons and drifts,
which the models allow for, are no breaks. All tails together are Holm-adjusted (Holm 1979, Scand. J.
Statist. 6), both sides, at a family-wise level of ``LEVEL``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from quotacast.models.history.history import Finding, History
from quotacast.models.history.truncation import AGES, deal_days, entry_date
from quotacast.models.people import TENURE_SHARES, Employment, creators, employment, tenure_band
from quotacast.models.timegrid import Ints, as_date, day_number

Floats = NDArray[np.float64]

#: Chance that a company without a break is told of one; measured in tests and in benchmarks.
LEVEL = 0.01
#: Lengths of the end that are looked at, and of the reference before it, in weeks.
ENDS = (4, 9, 17, 26)
LONGEST, SHORTEST = 52, 26
#: Monthly sd of the log rate in a usual company, and the blocks of four weeks that this is worth.
USUAL, WORTH = 0.25, 6.0
#: Correlation of neighbouring months.
RUNS = 0.7
#: Opportunities of the company's mean rep that a rep's own rate is shrunk by.
PSEUDO = 2.0
STREAMS = ("created", "won", "lost")
#: Stream -> its noun, what happens, and what it is measured against.
_WORDS = {
    "created": ("Creations", "opportunities are created", "before"),
    "won": ("Wins", "deals are won", "open deals of their age led to before"),
    "lost": ("Losses", "deals are lost", "open deals of their age led to before"),
}


@dataclass(frozen=True)
class Break:
    """An end of the data that the time before does not explain.

    Attributes
    ----------
    stream : str
        One of :data:`STREAMS`.
    stops : bool
        Whether nothing at all came since.
    since : datetime.date
        First day of the week in which the change most likely began; where all stops, the last day with
        an event.
    seen : int
        Events since then.
    due : float
        Events that the time before predicts.
    p : float
        Holm-adjusted tail probability.
    """

    stream: str
    stops: bool
    since: date
    seen: int
    due: float
    p: float

    @property
    def ratio(self) -> float:
        """Seen ÷ due."""
        return self.seen / self.due


def sentence(found: Break) -> str:
    """What is to be said about a break: when, how much, and what follows for the forecast."""
    noun, happens, measure = _WORDS[found.stream]
    if found.stops:
        return (
            f"{noun} stop after {found.since:%d %b %Y}: at the level before, about {found.due:,.0f} were due "
            "since. Does the export end early? If not, the forecast may be far off."
        )
    change = abs(found.ratio - 1)
    much = f"{found.ratio:.1f} times as many" if found.ratio >= 2 else f"about {change:.0%} more"
    few = f"about {change:.0%} fewer"
    said = few if found.ratio < 1 else much
    doubt = "the forecast follows slowly and may be off."
    return f"Since {found.since:%b %Y} {said} {happens} than {measure}: {doubt}"


def break_findings(history: History) -> tuple[Finding, ...]:
    """The breaks at the end of a history as `check` lists findings; the count is that of events since."""
    return tuple(
        Finding("structural break", "opportunities", found.seen, (), "note", sentence(found))
        for found in find_breaks(history)
    )


@dataclass(frozen=True)
class Weeks:
    """One stream by week, oldest first; both arrays of shape (weeks,).

    Attributes
    ----------
    observed : ndarray
    offered : ndarray
        What there was to do: expected events at the rates of the reference, up to a constant.
    """

    observed: Floats
    offered: Floats


def find_breaks(history: History) -> tuple[Break, ...]:
    """Return the breaks at the end of a history, one per stream at most."""
    data = _Data.of(history)
    if data is None:
        return ()
    tested = []
    for stream in STREAMS:
        for k in ENDS:
            weeks = weekly(data, stream, k)
            if weeks is not None:
                tested.append((stream, weeks, tails(weeks, k)))
    raw = np.array([tail for *_, both in tested for tail in both])
    found: dict[str, Break] = {}
    for (stream, weeks, _), (few, many) in zip(tested, holm(raw).reshape(-1, 2), strict=True):
        p = float(min(few, many))
        if p <= LEVEL and (stream not in found or p < found[stream].p):
            found[stream] = _described(data, stream, weeks, p, fewer=bool(few < many))
    return tuple(found.values())


@dataclass(frozen=True)
class _Data:
    """What all streams of a history share; days are day numbers, arrays of shape (deals,) or (reps,)."""

    first: int
    last: int
    born: Ints
    closed: Ints
    status: NDArray[np.object_]
    maker: Ints
    people: Employment

    @classmethod
    def of(cls, history: History) -> _Data | None:
        """Collect it, or None where the history is too short for any reference."""
        deals = history.opportunities
        last = int(day_number(history.as_of_date))
        entry = entry_date(history)
        first = int(day_number(deals["created_on"]).min()) if entry is None else int(day_number(entry))
        if last - first + 1 < 7 * (SHORTEST + min(ENDS)):
            return None
        people = employment(history, first, last)
        index = people.index()
        maker = np.array([index[rep] for rep in creators(history)], dtype=np.int64)
        status = deals["status"].to_numpy(dtype=object)
        closed = np.where(deals["closed_on"].notna(), day_number(deals["closed_on"]), last + 1)
        return cls(first, last, day_number(deals["created_on"]), closed, status, maker, people)

    def days(self, stream: str) -> Ints:
        """Days of a stream's events."""
        return self.born if stream == "created" else self.closed[self.status == stream]


def holm(p: Floats) -> Floats:
    """Holm's step-down adjusted p-values, shape (n,)."""
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * (p.size - np.arange(p.size)))
    out = np.empty(p.size)
    out[order] = np.minimum(steps, 1.0)
    return out


def weekly(data: _Data, stream: str, k: int) -> Weeks | None:
    """A stream in the last k weeks and the reference before them, or None where there is too little."""
    n = min((data.last - data.first + 1) // 7, LONGEST + k)
    if n - k < SHORTEST:
        return None
    starts = data.last + 1 - 7 * np.arange(n, -1, -1, dtype=np.int64)
    offer = _creations if stream == "created" else _closings
    offered = offer(data, stream, starts, starts[n - k])
    observed = np.histogram(data.days(stream), starts)[0].astype(float)
    enough = observed[: n - k].sum() > 0 and offered[: n - k].sum() > 0
    return Weeks(observed, offered) if enough else None


def _creations(data: _Data, stream: str, starts: Ints, edge: int) -> Floats:
    """Reps at work in each week, by their ramps and their own rates before the edge."""
    people, middle = data.people, starts[:-1] + 3
    at_work = (people.start[:, None] <= middle) & (middle <= people.stop[:, None])
    effort = at_work * np.asarray(TENURE_SHARES)[tenure_band(middle - people.hired[:, None])]
    inside = (data.born >= starts[0]) & (data.born < edge)
    own = np.bincount(data.maker[inside], minlength=len(people.reps))
    there = effort[:, middle < edge].sum(axis=1)
    mean = max(own.sum() / max(there.sum(), 1.0), 1e-9)
    return np.asarray(((own + PSEUDO) / (there + PSEUDO / mean)) @ effort)


def _closings(data: _Data, stream: str, starts: Ints, edge: int) -> Floats:
    """What the open deals of each week would have closed, by their ages, at the hazards before the edge."""
    open_then = data.closed >= starts[0]
    born, closed, status = data.born[open_then], data.closed[open_then], data.status[open_then]
    ends = closed + 0.5
    counted = (status == stream) & (closed < edge)
    age = (closed - born)[counted].astype(float)
    events = np.histogram(np.minimum(age, AGES[-1] - 1), AGES)[0]
    begin = np.clip(starts[0] - born, 0, None).astype(float)
    there = deal_days(begin, np.maximum(np.minimum(ends, edge) - born, begin))
    hazard = np.divide(events, there, out=np.zeros(len(there)), where=there > 0)
    integral = np.concatenate([[0.0], np.cumsum(hazard * np.diff(AGES))])
    offered = np.empty(starts.size)
    for j, start in enumerate(starts):  # week by week: memory stays at one array of deals
        offered[j] = np.interp(np.clip(np.minimum(start, ends) - born, 0, None), AGES, integral).sum()
    return np.diff(offered)


def tails(weeks: Weeks, k: int) -> tuple[float, float]:
    """Tail probabilities of so few, and of so many, events in the last k weeks."""
    from scipy.stats import nbinom

    y, x = weeks.observed, weeks.offered
    n = y.size - k
    scale = y[:n].sum() / x[:n].sum()
    mean = scale * x[n:].sum()
    if mean <= 0:
        return 1.0, 1.0
    spread = _variance(y[:n], scale * x[:n]) * (_runs(k) + _runs(n)) + 1.0 / y[:n].sum()
    found = nbinom(1.0 / spread, 1.0 / (1.0 + spread * mean))
    seen = y[n:].sum()
    return float(found.cdf(seen)), float(found.sf(seen - 1))


def _variance(y: Floats, expected: Floats) -> float:
    """Variance of a week's log rate: that of blocks of four weeks beyond Poisson, shrunk to the usual."""
    blocks = y.size // 4
    cut = y.size - 4 * blocks
    got, due = (a[cut:].reshape(blocks, 4).sum(axis=1) for a in (y, expected))
    known = due > 0
    excess = ((got[known] - due[known]) ** 2 - due[known]) / due[known] ** 2
    # blocks of little expectation say little: weights as for a variance of about the usual
    weight = 1.0 / (1.0 + 1.0 / (due[known] * USUAL**2)) ** 2
    shrunk = (WORTH * USUAL**2 + (weight * excess).sum()) / (WORTH + weight.sum())
    return float(max(shrunk, USUAL**2 / 4) / _runs(4))


def _runs(k: int) -> float:
    """Variance of the mean of k weeks of an AR(1) of variance one whose months correlate by ``RUNS``."""
    rho = RUNS ** (1 / 4)
    lag = np.arange(1, k)
    return float((k + 2 * ((k - lag) * rho**lag).sum()) / k**2)


def _described(data: _Data, stream: str, weeks: Weeks, p: float, fewer: bool) -> Break:
    """Say when the change most likely began: where two levels explain the weeks best."""
    y, x = weeks.observed, weeks.offered
    days = data.days(stream)
    latest = int(days[days <= data.last].max())
    silent = (data.last - latest) // 7
    stops = fewer and silent >= min(ENDS)
    began = max(y.size - silent, 1) if stops else _change(y, x)
    since = latest if stops else data.last + 1 - 7 * (y.size - began)
    due = float(x[began:].sum() * y[:began].sum() / x[:began].sum())
    return Break(stream, stops, as_date(since), int(y[began:].sum()), due, p)


def _change(y: Floats, x: Floats) -> int:
    """First week of the second of two Poisson levels, by maximum likelihood, within the longest end."""
    best, at = -np.inf, y.size - min(ENDS)
    for j in range(max(SHORTEST, y.size - max(ENDS)), y.size - min(ENDS) + 1):
        fit = _likelihood(y[:j], x[:j]) + _likelihood(y[j:], x[j:])
        if fit > best:
            best, at = fit, j
    return at


def _likelihood(y: Floats, x: Floats) -> float:
    """Poisson log likelihood at its best level, up to what does not depend on the cut."""
    total = y.sum()
    return float(total * np.log(total / x.sum())) if total > 0 and x.sum() > 0 else 0.0
