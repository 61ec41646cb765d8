"""The open pipeline to come: how many deals of which age, and until when a creation still counts.

How many will be open on a day is read off the simulation (open now + created - closed, draw by draw). How
old they will be, the simulation does not keep, and the fitted hazards tell, at their posterior means and
for an average day of the quarter: of deals open now, of age a, the share
exp(-H(a + t) + H(a)) is still open after t days; of those created on day c the share exp(-H(T - c)) is open
on day T. The ages are scaled to the simulated totals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from quotacast.engine.book import Book
from quotacast.engine.skills import Ints, average_hazard, company_mix, kinds, levels, rep_effects, some_rows
from quotacast.models.funnel import Funnel
from quotacast.models.terms import Floats

#: First day of the bands of age in which the pipeline is shown.
AGES = (0, 31, 61, 91, 181)
AGE_LABELS = ("0–30", "31–60", "61–90", "91–180", "over 180")
#: Posterior draws over which hazards are averaged.
FEW_DRAWS = 200
#: A creation still counts while it has this part of the best day's odds of winning within the period.
USEFUL = 0.5


@dataclass(frozen=True)
class Fading:
    """How deals leave the pipeline, by rep, segment, amount band and band of age.

    Attributes
    ----------
    win, loss : ndarray, shape (reps, segments, bands, bands of age)
        Hazards per day.
    edges : ndarray, shape (bands of age,)
        First day of every band of age.
    new : ndarray, shape (reps, segments, bands)
        Shares of segments and bands among new deals.
    amount : ndarray, shape (reps, segments, bands)
        Mean booked amount of a win, currency units.
    days : int
        Ages of new deals that are asked for.
    """

    win: Floats
    loss: Floats
    edges: Ints
    new: Floats
    amount: Floats
    days: int

    @cached_property
    def _at_edges(self) -> Floats:
        """Cumulative hazard at the first day of every band of age, shape as ``win``."""
        within = (self.win + self.loss)[..., :-1] * np.diff(self.edges)
        return np.pad(np.cumsum(within, axis=-1), [(0, 0)] * 3 + [(1, 0)])

    def left(self, rep: Any, segment: Any, band: Any, age: Any) -> Floats:
        """Share of deals of a kind that is still open at an age; the arguments are broadcast."""
        k = np.searchsorted(self.edges, age, side="right") - 1
        where = (rep, segment, band, k)
        hazard = self.win[where] + self.loss[where]
        return np.asarray(np.exp(-(self._at_edges[where] + hazard * (age - self.edges[k]))))

    @cached_property
    def new_left(self) -> Floats:
        """Share of a rep's new deals that is still open by age, shape (reps, days + 1)."""
        return self._new[0]

    @cached_property
    def wins(self) -> Floats:
        """Share of a rep's new deals that is won on each day of age, shape (reps, days)."""
        return self._new[1]

    @cached_property
    def _new(self) -> tuple[Floats, Floats]:
        reps, segments, bands = self.new.shape
        segment, band, age = np.ogrid[:segments, :bands, : self.days + 1]
        k = np.searchsorted(self.edges, age[..., :-1], side="right") - 1
        left, wins = np.empty((reps, self.days + 1)), np.empty((reps, self.days))
        for r in range(reps):  # one rep at a time: ages by day would be large for many reps
            still = self.left(r, segment, band, age)
            win, loss = self.win[r, segment, band, k], self.loss[r, segment, band, k]
            ended = (still[..., :-1] - still[..., 1:]) * win / np.maximum(win + loss, 1e-300)
            left[r] = np.einsum("sb,sba->a", self.new[r], still)
            wins[r] = np.einsum("sb,sba->a", self.new[r], ended)
        return left, wins

    @cached_property
    def new_amount(self) -> Floats:
        """Mean amount of a rep's new deals, shape (reps,)."""
        return np.asarray((self.new * self.amount).sum(axis=(1, 2)))

    def for_reps(self, reps: int) -> Fading:
        """The same with rows for so many reps: hires fade like the average rep."""
        more = reps - self.new.shape[0]
        if more <= 0:
            return self

        def grown(array: Floats) -> Floats:
            return np.concatenate([array, np.repeat(array.mean(axis=0, keepdims=True), more, axis=0)])

        parts = (grown(a) for a in (self.win, self.loss, self.new, self.amount))
        win, loss, new, amount = parts
        return Fading(win, loss, self.edges, new, amount, self.days)


def fading(funnel: Funnel, days: int) -> Fading:
    """How deals leave the pipeline; of new deals until an age of so many days."""
    rows, prepared = some_rows(funnel, FEW_DRAWS), funnel.prepared
    win, loss = (_hazard(funnel, cause, rows) for cause in ("won", "lost"))
    new, amount = (np.zeros(win.shape[:3]) for _ in range(2))
    mix = company_mix(funnel, rows)
    offset = int(prepared.quotes.bands > 1)  # band 0 is for amounts that are not known
    seen = np.zeros(win.shape[1], dtype=int) + offset
    for kind in kinds(funnel, rows):
        s, b = kind.segment, seen[kind.segment]
        new[:, s, b] = (mix[:, [s]] * kind.share).mean(axis=0)
        amount[:, s, b] = kind.amount.mean(axis=0)
        seen[s] += 1
    if offset:
        amount[:, :, 0] = (new * amount).sum(axis=2) / np.maximum(new.sum(axis=2), 1e-12)
    return Fading(win, loss, np.asarray(prepared.hazards.age_edges, dtype=np.int64), new, amount, days)


def _hazard(funnel: Funnel, cause: str, rows: Ints) -> Floats:
    """Posterior mean hazards, shape (reps, segments, bands of amount, bands of age)."""
    segments, bands = len(funnel.prepared.segment.levels), max(funnel.prepared.quotes.bands, 1)
    parts = (
        average_hazard(funnel, cause, rows)[:, None, None, None, :],
        np.exp(rep_effects(funnel, cause, rows))[:, :, None, None, None],
        np.exp(levels(funnel, cause, "segment", rows, segments))[:, None, :, None, None],
        np.exp(levels(funnel, cause, "amount", rows, bands))[:, None, None, :, None],
    )
    total = np.zeros([max(p.shape[k] for p in parts) for k in range(1, 5)])
    for d in range(rows.size):
        total += parts[0][d] * parts[1][d] * parts[2][d] * parts[3][d]
    return np.asarray(total / rows.size)


def amounts(book: Book, fade: Fading) -> Floats:
    """Amount of every open deal: as quoted, else as expected of its kind; currency units, shape (deals,)."""
    own = fade.amount[book.rep, book.segment, book.band]
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(book.amount > 0, book.amount, own))


def open_by_age(book: Book, fade: Fading, today: int, day: int, reps: int) -> tuple[Floats, Floats]:
    """Deals open in the evening of ``today`` that still are before ``day``, and their amounts.

    Returns
    -------
    count, money : ndarray, shape (reps, bands of `AGES`)
    """
    age = today - book.start
    later = age + max(day - today - 1, 0)
    where = (book.rep, book.segment, book.band)
    kept = fade.left(*where, later) / np.maximum(fade.left(*where, age), 1e-12)
    band = np.searchsorted(AGES, day - 1 - book.start, side="right") - 1
    count, money = np.zeros((reps, len(AGES))), np.zeros((reps, len(AGES)))
    np.add.at(count, (book.rep, band), kept)
    np.add.at(money, (book.rep, band), kept * amounts(book, fade))
    return count, money


def new_by_age(fade: Fading, pace: Floats, today: int, day: int) -> Floats:
    """Deals created from tomorrow on that are open before ``day``, shape (reps, bands of `AGES`).

    Parameters
    ----------
    pace : ndarray, shape (reps, days)
        Expected creations on every day from tomorrow.
    """
    length = max(day - today - 1, 0)
    age = np.arange(length)[::-1]
    still = pace[:, :length] * fade.new_left[:, np.minimum(age, fade.new_left.shape[1] - 1)]
    band = np.searchsorted(AGES, age, side="right") - 1
    return np.stack([still[:, band == k].sum(axis=1) for k in range(len(AGES))], axis=1)


def odds_by_creation(wins: Floats, first: int, last: int) -> Floats:
    """Chance that a deal created on day 0, 1, … ``last`` is won on one of the days ``first`` to ``last``.

    Parameters
    ----------
    wins : ndarray, shape (days,)
        Chance of a win on every day of age.

    Returns
    -------
    ndarray, shape (last + 1,)
    """
    upto = np.concatenate([[0.0], np.cumsum(wins)])
    created = np.arange(last + 1)
    low, high = (np.clip(x, 0, wins.size) for x in (first - created, last + 1 - created))
    return np.asarray(upto[high] - upto[low])


def last_useful_day(odds: Floats) -> int:
    """The last day of creation with at least `USEFUL` of the best day's odds."""
    return int(np.flatnonzero(odds >= USEFUL * odds.max())[-1])


def creations_missing(factor: float, pace: Floats, odds: Floats, until: int) -> float:
    """How many more opportunities, created at the usual pace until day ``until``, make up for a factor.

    All creations times ``factor`` would bring (factor - 1) x sum of pace x odds more wins in the period;
    one created until that day brings, on average, (sum of pace x odds) / (sum of pace) until then.

    Parameters
    ----------
    pace, odds : ndarray, shape (days,)
    """
    early = slice(0, until + 1)
    each = float((pace[early] * odds[early]).sum()) / max(float(pace[early].sum()), 1e-12)
    return (factor - 1.0) * float((pace * odds).sum()) / max(each, 1e-12)


def factor_needed(target: float, fixed: Floats, scaled: Floats, aim: float) -> float:
    """The least factor s with P(fixed + s x scaled >= target) >= aim; infinite where none does.

    Every draw has its own least factor; the wanted one is their quantile.

    Parameters
    ----------
    fixed, scaled : ndarray, shape (draws,)
    """
    gap = np.maximum(target - fixed, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(gap == 0, 0.0, np.where(scaled > 0, gap / scaled, np.inf))
    return float(np.sort(each)[min(int(np.ceil(aim * each.size)), each.size) - 1])


def stages_now(book: Book, stage: Mapping[str, str], money: Floats) -> list[dict[str, object]]:
    """Open deals by the stage they stand in, by money: count and amount."""
    names = [stage.get(i) or "(no stage)" for i in book.ids]
    out: list[dict[str, object]] = []
    for name in sorted(set(names)):
        mine = np.array([n == name for n in names])
        out.append({"stage": name, "deals": int(mine.sum()), "money": float(money[mine].sum())})
    return sorted(out, key=lambda row: (-float(str(row["money"])), str(row["stage"])))


def members(scope_kind: str, scope_id: str, reps: Sequence[str], teams: Sequence[str]) -> Ints:
    """Positions of a scope's reps."""
    if scope_kind == "company":
        return np.arange(len(reps))
    names = reps if scope_kind == "rep" else teams
    return np.flatnonzero(np.asarray(names, dtype=object) == scope_id)
