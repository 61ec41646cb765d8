"""Baselines that look at the open deals: stage-weighted pipeline, and win rate × pipeline.

Every open deal wins with a historical chance, at its quoted amount, some time later; what will be
created and won within the horizon comes on top, from the run rate of creations and the historical time
from creation to win. A chance is drawn from its Beta posterior once per draw for all deals of a group,
then every deal on its own: there are no common shocks, as in the tools that practitioners use.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quotacast.engine.backtest.baselines_past import RECENT, Floats, Ints, Past, months_needed
from quotacast.engine.backtest.baselines_rates import Rates, amounts, run_rates
from quotacast.engine.backtest.targets import Target
from quotacast.engine.quota import Scope
from quotacast.models.timegrid import day_number

#: First days of the age bands that stand in for stages where there is no stage history.
AGES = (0, 30, 60, 90, 180, 365)
#: Closed deals that a stage must have seen for a win rate of its own.
ENOUGH = 5
#: Deals created at least so many, or the time from creation to win is not measured at that age.
COHORT = 20
#: Deals whose fate is drawn at once, for the sake of memory.
CHUNK = 1000


@dataclass(frozen=True)
class Group:
    """Deals that stood alike: how many closed how, and the days from there to the win, sorted."""

    won: int
    lost: int
    days: Floats


@dataclass(frozen=True)
class Pipeline:
    """Open deals in the order of reps; arrays of shape (deals,).

    Attributes
    ----------
    rep, team : ndarray of str
    amount : ndarray
        As quoted; the mean of won deals where no amount is known.
    group : ndarray of int
        Into ``groups``.
    elapsed : ndarray
        Days since the deal joined its group.
    groups : tuple of Group
    spread : float
        0 where the days to the win come from the groups, else the cycle over which wins are spread
        evenly, whatever a deal's age.
    """

    rep: NDArray[np.object_]
    team: NDArray[np.object_]
    amount: Floats
    group: Ints
    elapsed: Floats
    groups: tuple[Group, ...]
    spread: float = 0.0

    @cached_property
    def scopes(self) -> dict[Scope, NDArray[np.bool_]]:
        """Members of every scope that owns an open deal."""
        found = {Scope("company"): np.ones(self.rep.size, dtype=bool)}
        for kind, owner in (("team", self.team), ("rep", self.rep)):
            found |= {Scope(kind, str(x)): owner == x for x in dict.fromkeys(owner)}
        return found

    def in_time(self, first: int, last: int) -> Floats:
        """Chance that a deal which will be won is won between two days after the origin, (deals,).

        The share of its group's won deals, among those that took longer than the deal has been there
        already. Nothing is left for deals older than any that was won: they are taken as dead.
        """
        if self.spread > 0:
            span = min(float(last), self.spread) - min(float(first - 1), self.spread)
            return np.full(self.group.size, span / self.spread)
        out = np.zeros(self.group.size)
        for g, group in enumerate(self.groups):
            mine = self.group == g
            # A win on the day of the origin is history: only later days are ahead.
            at = [np.searchsorted(group.days, self.elapsed[mine] + d, "right") for d in (0, first - 1, last)]
            out[mine] = (at[2] - at[1]) / np.maximum(group.days.size - at[0], 1)
        return out

    def wins(self, first: int, last: int, draws: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Draw wins and their amounts by rep, each of shape (draws, reps in order of appearance)."""
        posterior = np.array([[g.won + 0.5, g.lost + 0.5] for g in self.groups])
        chance = rng.beta(posterior[:, 0], posterior[:, 1], (draws, len(self.groups)))
        timely = self.in_time(first, last)
        code = np.unique(self._rank, return_inverse=True)[1]
        number = np.zeros((draws, int(code.max(initial=-1)) + 1))
        money = np.zeros_like(number)
        live = np.flatnonzero(timely > 0)
        for i in range(0, live.size, CHUNK):
            rows = live[i : i + CHUNK]
            won = rng.random((draws, rows.size)) < chance[:, self.group[rows]] * timely[rows]
            start = np.flatnonzero(np.diff(code[rows], prepend=-1))
            number[:, code[rows][start]] += np.add.reduceat(won, start, axis=1, dtype=float)
            money[:, code[rows][start]] += np.add.reduceat(won * self.amount[rows], start, axis=1)
        return number, money

    @cached_property
    def _rank(self) -> Ints:
        """Position of each deal's rep in the order of reps."""
        return np.cumsum(np.r_[0, self.rep[1:] != self.rep[:-1]]).astype(np.int64)[: self.rep.size]

    def members(self, scope: Scope) -> Ints:
        """Columns of :meth:`wins` that belong to a scope."""
        mine = self.scopes.get(scope, np.zeros(self.rep.size, dtype=bool))
        return np.unique(self._rank[mine])


def stage_weighted(
    past: Past, targets: Sequence[Target], draws: int, rng: np.random.Generator, notes: Counter[str]
) -> Floats:
    """Draw open deals by the win rate of their stage (or age) and new ones by run rate."""
    book = _book(past)
    staged = _by_stage(past, book)
    if staged is None:
        notes["pipeline: no stage history, deals weighted by age"] += 1
    pipeline = _by_age(past, book) if staged is None else staged
    months = months_needed(past, targets)
    return _draw(past, targets, pipeline, _won_by_age(past, months), draws, rng)


def win_rate(
    past: Past, targets: Sequence[Target], draws: int, rng: np.random.Generator, notes: Counter[str]
) -> Floats:
    """Draw open deals by one win rate, spread over the mean cycle, and new ones by run rate."""
    book = _book(past)
    closed = past.history.opportunities
    day = day_number(closed["closed_on"])
    recent = (day > past.edges(-RECENT)[0]) & (day <= past.origin)
    status = closed["status"].to_numpy(dtype=object)
    won, lost = int((recent & (status == "won")).sum()), int((recent & (status == "lost")).sum())
    age = (day - day_number(closed["created_on"]))[recent & (status == "won")]
    cycle = max(float(age.mean()), 1.0) if age.size else 90.0
    groups = (Group(won, lost, np.zeros(0)),)
    pipeline = replace(book, groups=groups, group=np.zeros(book.rep.size, dtype=np.int64), spread=cycle)
    # A deal created today is won after a cycle on average: evenly over twice that time.
    grid = np.arange(past.edges(months_needed(past, targets))[-1] - past.origin + 1)
    rate = (won + 0.5) / (won + lost + 1.0)
    return _draw(past, targets, pipeline, rate * np.minimum(grid / (2 * cycle), 1.0), draws, rng)


def _draw(
    past: Past,
    targets: Sequence[Target],
    pipeline: Pipeline,
    won_by_age: Floats,
    draws: int,
    rng: np.random.Generator,
) -> Floats:
    out = np.full((len(targets), draws), np.nan)
    months = months_needed(past, targets)
    rates = run_rates(past, months, draws, rng)
    ends = past.edges(months) - past.origin
    wins: dict[tuple[int, int], tuple[Floats, Floats]] = {}
    parts: dict[tuple[str, Scope, int, int], dict[str, Floats]] = {}
    for i, target in enumerate(targets):
        span = past.ahead(target)
        if target.metric == "opportunities_created":
            continue
        if span not in wins:
            wins[span] = pipeline.wins(*span, draws, rng)
        key = (target.metric, target.scope, *span)
        if key not in parts:
            weight = _weights(won_by_age, ends, *span)
            new = rng.poisson(rates("created", target.scope) @ weight)
            money = target.metric == "bookings"
            fresh = amounts(new, past.pool(target.scope), rng) if money else new.astype(float)
            held = wins[span][1 if money else 0][:, pipeline.members(target.scope)].sum(axis=1)
            parts[key] = {"open": held, "new": fresh, "total": held + fresh}
        out[i] = parts[key][target.component]
    return out


def _weights(won_by_age: Floats, ends: Ints, first: int, last: int) -> Floats:
    """Wins between two days after the origin per creation a day in each month, shape (months,)."""
    day = np.arange(1, int(ends[-1]) + 1)
    upto = [np.where(d >= day, won_by_age[np.clip(d - day, 0, None)], 0.0) for d in (first - 1, last)]
    running = np.concatenate([[0.0], np.cumsum(upto[1] - upto[0])])
    return np.diff(running[ends])


def _won_by_age(past: Past, months: int) -> Floats:
    """Share of deals that are won by each age 0, 1, … in days, of all that were created so long ago."""
    deals = past.history.opportunities
    born = day_number(deals["created_on"])
    age = np.where((deals["status"] == "won").to_numpy(), day_number(deals["closed_on"]) - born, 1 << 40)
    keep = (born >= past.start["created"]) & (born <= past.origin)
    born, age = born[keep], age[keep]
    grid = np.arange(0, past.edges(months)[-1] - past.origin + 7, 7)
    share, last = np.zeros(grid.size), 0.0
    for i, x in enumerate(grid):
        old = born <= past.origin - x
        if old.sum() >= COHORT:
            last = max(last, float((age[old] <= x).mean()))
        share[i] = last
    return np.interp(np.arange(grid[-1] + 1), grid, share)


def _book(past: Past) -> Pipeline:
    """Open deals without a group."""
    deals = past.history.opportunities
    deals = deals[(deals["status"] == "open").to_numpy()]
    deals = deals.sort_values(["rep_id", "opportunity_id"], kind="stable")
    rep = deals["rep_id"].to_numpy(dtype=object)
    team = past.history.team_on(rep, np.full(rep.size, np.int64(past.origin)).astype("datetime64[D]"))
    pool = past.pool(Scope("company"))
    quoted = deals["amount"].to_numpy(dtype=float)
    amount = np.where(np.isnan(quoted), float(pool.mean()) if pool.size else 0.0, quoted)
    age = (past.origin - day_number(deals["created_on"])).astype(float)
    return Pipeline(rep, team, amount, np.zeros(rep.size, dtype=np.int64), age, ())


def _by_age(past: Past, book: Pipeline) -> Pipeline:
    """Group by age; a band's examples are the deals that were still open when they reached it."""
    deals = past.history.opportunities
    closed = deals[deals["status"].isin(["won", "lost"]).to_numpy()]
    won = (closed["status"] == "won").to_numpy()
    age = (day_number(closed["closed_on"]) - day_number(closed["created_on"])).astype(float)
    group = np.searchsorted(AGES, book.elapsed, side="right") - 1
    groups = tuple(_group(won[age >= edge], age[age >= edge] - edge) for edge in AGES)
    return replace(book, group=group, elapsed=book.elapsed - np.asarray(AGES)[group], groups=groups)


def _by_stage(past: Past, book: Pipeline) -> Pipeline | None:
    """Group by the stage in which a deal is, or None without a history of stages."""
    stages = past.history.stages.dropna(subset=["stage"])
    deals = past.history.opportunities
    entered = stages.merge(
        deals[["opportunity_id", "status", "closed_on", "rep_id"]],
        on="opportunity_id",
        suffixes=("_then", ""),
    )
    is_open = (entered["status"] == "open").to_numpy()
    now = entered[is_open].drop_duplicates("opportunity_id", keep="last").set_index("opportunity_id")
    closed = entered[~is_open].drop_duplicates(["opportunity_id", "stage"])
    if now.empty or closed.empty:
        return None
    opened = deals[(deals["status"] == "open").to_numpy()].sort_values(
        ["rep_id", "opportunity_id"], kind="stable"
    )
    standing = now.reindex(opened["opportunity_id"])
    groups, names = _stage_groups(closed)
    label = standing["stage"]
    group = np.array([names.get(str(x), 0) if pd.notna(x) else 0 for x in label], dtype=np.int64)
    since = (past.origin - day_number(standing["entered_on"])).astype(float)
    return replace(book, group=group, elapsed=np.where(group > 0, since, book.elapsed), groups=groups)


def _stage_groups(closed: pd.DataFrame) -> tuple[tuple[Group, ...], dict[str, int]]:
    """Groups of the stages that enough deals passed through; group 0 is every deal, from its first stage."""
    won = (closed["status"] == "won").to_numpy()
    days = (day_number(closed["closed_on"]) - day_number(closed["entered_on"])).astype(float)
    first = ~closed.duplicated("opportunity_id").to_numpy()
    label = closed["stage"].to_numpy(dtype=object).astype(str)
    groups, names = [_group(won[first], days[first])], {}
    for name in np.unique(label):
        mine = label == name
        if mine.sum() >= ENOUGH:
            names[str(name)] = len(groups)
            groups.append(_group(won[mine], days[mine]))
    return tuple(groups), names


def _group(won: NDArray[np.bool_], days: Floats) -> Group:
    return Group(int(won.sum()), int((~won).sum()), np.sort(days[won]))


__all__ = ["Group", "Pipeline", "Rates", "stage_weighted", "win_rate"]
