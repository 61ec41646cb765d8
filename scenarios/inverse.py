"""The inverse funnel: how much of an activity reaches a target with a wished probability.

The search scales one kind of activity, from the day after the as-of date on, by one factor for everybody in a
scope, and simulates all futures with the same random numbers each time, so that the odds rise with the factor
and nothing else. It looks no further than activity was ever kept up (the 99 % quantile of a rep's quarters);
what is not reached there is not reachable as far as the data tell. What activity does is an association in
the data; unless the plan's lever says ``causal``, the odds if it caused nothing stand beside.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.answer import Answer, Field
from quotacast.engine.departures import crew
from quotacast.engine.drivers import Change, Drivers
from quotacast.engine.metrics import metric, series
from quotacast.engine.paths import Paths
from quotacast.engine.quota import ACTIVITY, Scope
from quotacast.errors import PlanError
from quotacast.models.periods import Period
from quotacast.models.timegrid import day_number
from quotacast.scenarios.choose import select_metrics, select_scopes
from quotacast.scenarios.deciding.lastday import last_useful_day
from quotacast.scenarios.run import Run
from quotacast.scenarios.setting.pins import WISHED

#: Odds that lie so near the wished ones are taken, and how exactly the log of the factor is found at most.
NEAR, EXACTLY = 0.003, 0.005
#: Days from which a raise is tried, and on how many futures (differences between paired ones need fewer).
STARTS, START_DRAWS = 6, 400
#: A day counts as a working day where at least so much of an average day's business falls on it.
WORKING = 0.5
#: Working days of a quarter from which its rate counts.
LEAST_DAYS = 40
#: Figures shown on the way from activity to the target, as far as they can be answered.
ON_THE_WAY = (
    "leads_created",
    "opportunities_created",
    "close_rate",
    "cycle_days",
    "deal_value",
    "deals_won",
    "bookings",
)

FIELDS = (
    Field("scope", "text", "company, team or rep"),
    Field("scope_id", "text", "team or rep; empty for the company"),
    Field("metric", "text", "the activity"),
    Field("period", "text", "over which the target counts"),
    Field("per_day", "ratio", "expected per rep and working day as things stand"),
    Field("needed", "ratio", "needed per rep and working day"),
    Field("times", "ratio", "needed ÷ expected"),
    Field("most", "ratio", "the most that a rep kept up for a quarter (99 % quantile), per working day"),
)


@dataclass(frozen=True)
class Wish:
    """A target to be reached by more activity.

    Attributes
    ----------
    metric : str
    scope : Scope
    period : Period
    target : float
    probability : float
    by : str
        ``activity:<kind>``.
    """

    metric: str
    scope: Scope
    period: Period
    target: float
    probability: float
    by: str


def wish(
    run: Run,
    metric: str,
    target: float | None,
    probability: float | None,
    by: str,
    scope: str,
    period: str | None,
) -> Wish:
    """The wish behind a command's options, the plan's own quota, aim and horizon where they are left out.

    Raises
    ------
    PlanError
        Naming everything that is missing or impossible.
    """
    where = select_scopes(run.scopes, [scope])[0]
    when = run.plan.calendar.parse(period or run.plan.horizon)
    select_metrics([metric], run.able)
    if target is None:
        mine = [q for q in run.quotas()[0] if (q.scope, q.metric) == (where, metric)]
        known = [q.target for q in mine if run.plan.calendar.parse(q.period) == when]
        if not known:
            raise PlanError(f"--target: no quota for {metric} of {where} in {when.label} is stated: give one")
        target = known[0]
    stated = getattr(run.plan.aim, where.kind)
    usual = WISHED[where.kind] if stated is None else stated
    wished = usual if probability is None else probability
    problems = []
    if not 0 < wished < 1:
        problems.append(f"--probability {wished}: wanted a number between 0 and 1, such as 0.7")
    if target <= 0:
        problems.append(f"--target {target:g}: wanted a number above 0")
    if when.last <= run.history.as_of_date:
        problems.append(f"--period {when.label}: ended by {run.history.as_of_date}; take a later one")
    if when.last > run.plan.horizon_period.last:
        problems.append(f"--period {when.label}: ends after the plan's horizon {run.plan.horizon}")
    if problems:
        raise PlanError(problems)
    return Wish(metric, where, when, target, wished, by)


@dataclass(frozen=True)
class _Search:
    run: Run
    wish: Wish
    causal: bool

    def drivers(self, times: float, first: date | None = None, drives: bool = True) -> Drivers:
        """The plan's drivers with the activity scaled from a day on."""
        change = Change(self.wish.by, str(self.wish.scope), times=times, first=first, causal=self.causal)
        base = self.run.factored_drivers
        if times == 1.0:
            return replace(base, activity_drives=drives)
        return replace(base, changes=(*base.changes, change), activity_drives=drives)

    def paths(self, times: float) -> Paths:
        """All futures with so many times the activity, with the figures on the way."""
        way = [name for name in ON_THE_WAY if not self.run.able.reason(name)]
        wanted = dict.fromkeys((self.wish.metric, self.wish.by, *way))
        return self.run.variant(self.drivers(times), (self.wish.period,), None, tuple(wanted))

    def few_paths(self, times: float, first: date | None = None) -> Paths:
        """Few futures with so many times the activity from a day on."""
        drivers = self.drivers(times, first)
        return self.run.variant(drivers, (self.wish.period,), START_DRAWS, (self.wish.metric, self.wish.by))

    def values(self, paths: Paths) -> np.ndarray:
        """Draws of the metric to be reached."""
        return series(paths, metric(self.wish.metric), self.wish.scope, self.wish.period).total

    def odds(self, paths: Paths) -> float:
        """Probability of the target."""
        return float(metric(self.wish.metric).attains(self.values(paths), self.wish.target).mean())


def inverse_funnel(run: Run, wish: Wish) -> Answer:
    """The activity that reaches a target with a wished probability.

    Raises
    ------
    PlanError
        If the data do not tell what this activity does, or the period is over.
    """
    kind = _check(run, wish)
    lever = [one for one in run.plan.levers if one.what == wish.by]
    search = _Search(run, wish, any(one.causal for one in lever))
    now = search.paths(1.0)
    per_day, most = _per_day(run, wish, now), _most(run, kind)
    if str(wish.scope) not in per_day:
        raise PlanError(
            f"--scope {wish.scope}: nobody there works between {run.history.as_of_date} and "
            f"{wish.period.last}, so no activity can be raised; name a scope with reps who stay"
        )
    limit = max(most / max(per_day[str(wish.scope)], 1e-9), 1.0)
    times, then, reached = _least(search, limit, now)
    # activity that causes nothing leaves everything but itself as it is, draw by draw
    unmoved = None if search.causal else search.odds(now)
    rows = pd.DataFrame(
        [
            (s.kind, s.id, wish.by, wish.period.label, per_day[str(s)], times * per_day[str(s)], times, most)
            for s in _members(now, wish.scope)
            if str(s) in per_day
        ],
        columns=[f.name for f in FIELDS],
    )
    summary: dict[str, Any] = {
        "target": wish.target,
        "target_metric": wish.metric,
        "probability": wish.probability,
        "p_now": search.odds(now),
        "p_then": search.odds(then),
        "p_if_not_causal": unmoved,
        "label": "causal, says the plan" if search.causal else "association",
        "reached": reached,
        "within_observed": reached,
        "on_the_way": _on_the_way(search, now, then),
        **_last_day(search, max(times, 1.2)),
    }
    return Answer("suggest", rows, FIELDS, _words(wish, rows, summary), summary, run.provenance())


def _check(run: Run, wish: Wish) -> str:
    if not wish.by.startswith(ACTIVITY):
        raise PlanError(f"--by {wish.by}: wanted activity:<kind>, such as activity:call")
    kind, chain = wish.by.removeprefix(ACTIVITY), run.funnel.prepared.chain
    if kind not in chain.kinds:
        there = ", ".join(f"{ACTIVITY}{k}" for k in chain.kinds) or f"none: {run.able.reason(wish.by)}"
        raise PlanError(f"--by {wish.by}: there is no such activity in the data; there are {there}")
    if kind not in chain.drivers:
        why = chain.refused or f"too little {kind} precedes the deals"
        raise PlanError(f"--by {wish.by}: the data do not tell what it does for new business: {why}")
    return kind


def _least(search: _Search, limit: float, now: Paths) -> tuple[float, Paths, bool]:
    """Smallest factor that gives the wished odds, its futures, and whether any up to the limit does.

    By Brent's method between 1 and the limit, on the probit of the odds: against the log of the factor it is
    nearly a line, and few steps are needed. Every step counts all futures, as the answer does. Odds that miss
    the wished ones by no more than one future, or :data:`NEAR`, count as reached.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtri

    wished, draws = search.wish.probability, search.values(now).size
    enough = wished - max(NEAR, 1.0 / draws)

    def short(odds: float) -> float:
        if abs(odds - wished) <= wished - enough:
            return 0.0
        return float(ndtri(wished) - ndtri(np.clip(odds, 0.5 / draws, 1.0 - 0.5 / draws)))

    odds_now = search.odds(now)
    if odds_now >= enough or limit <= 1.0:
        return 1.0, now, odds_now >= enough
    top = float(np.log(limit))
    at, best = top, search.paths(limit)
    known = {0.0: short(odds_now), top: short(search.odds(best))}
    if known[top] > 0:
        return limit, best, False

    def miss(log_times: float) -> float:
        nonlocal at, best
        if log_times not in known:
            found = search.paths(float(np.exp(log_times)))
            odds = search.odds(found)
            known[log_times] = short(odds)
            if odds >= enough and log_times < at:
                at, best = log_times, found
        return known[log_times]

    brentq(miss, 0.0, top, xtol=EXACTLY)
    return limit if at == top else float(np.exp(at)), best, True


def _members(paths: Paths, scope: Scope) -> list[Scope]:
    """The scope and what lies in it."""
    if scope.kind == "rep":
        return [scope]
    seats = dict(zip(paths.reps, paths.teams, strict=True))
    inside = {r for r, team in seats.items() if scope.kind == "company" or team == scope.id}
    kept = {"rep": inside, "team": {seats[r] for r in inside} if scope.kind == "company" else set()}
    return [scope, *(s for s in paths.scopes() if s != scope and s.id in kept.get(s.kind, set()))]


def _per_day(run: Run, wish: Wish, paths: Paths) -> dict[str, float]:
    """Expected activity per rep and working day from tomorrow to the period's end, by scope."""
    first = max(wish.period.first, run.history.as_of_date + timedelta(days=1))
    ahead = Period("ahead", "day", first, wish.period.last)
    people = crew(run.funnel, run.factored_drivers)
    span = (int(day_number(ahead.first)), int(day_number(ahead.last)))
    grid = replace(run.funnel.prepared.grid, first=span[0], last=span[1])
    days = grid.days[grid.day_weights >= WORKING]
    worked = ((days >= people.start[:, None]) & (days <= people.stop[:, None])).sum(axis=1)
    rep_days = dict(zip(people.reps, worked, strict=True))
    found = {}
    for scope in [Scope("company"), *_members(paths, wish.scope)]:
        inside = [s.id for s in _members(paths, scope) if s.kind == "rep"]
        opened, new = paths.simulated(wish.by, scope, wish.period)
        total = sum(rep_days.get(r, 0) for r in inside)
        if total:
            found[str(scope)] = float((opened + new).mean()) / total
    return found


def _most(run: Run, kind: str) -> float:
    """The most of an activity that was kept up for a quarter: 99 % quantile over reps, per working day."""
    people, grid = run.funnel.prepared.people, run.funnel.prepared.grid
    working = grid.days[grid.day_weights >= WORKING]
    quarter = grid.calendar.quarter_index(working.astype("datetime64[D]"))
    here = (working >= people.start[:, None]) & (working <= people.stop[:, None])
    rep, at = np.nonzero(here)
    worked = pd.Series(1.0, index=pd.MultiIndex.from_arrays([rep, quarter[at]])).groupby(level=[0, 1]).sum()
    log = run.history.activities
    log = log[(log["kind"] == kind) & log["rep_id"].isin(people.reps)]
    code = log["rep_id"].map(people.index()).to_numpy()
    when = grid.calendar.quarter_index(day_number(log["done_on"]).astype("datetime64[D]"))
    count = log["count"].fillna(1.0).groupby([code, when]).sum()
    kept = worked[worked >= LEAST_DAYS]
    rate = (count.reindex(kept.index).fillna(0.0) / kept).to_numpy()
    return float(np.quantile(rate, 0.99)) if rate.size else 0.0


def _on_the_way(search: _Search, now: Paths, then: Paths) -> list[dict[str, Any]]:
    """Means of the figures between activity and target, as things stand and as needed."""
    found = []
    for name in (search.wish.by, *ON_THE_WAY):
        try:
            which = metric(name)
            ours, needed = (
                series(p, which, search.wish.scope, search.wish.period).total for p in (now, then)
            )
        except (PlanError, KeyError, AttributeError):
            continue
        found.append(
            {
                "metric": name,
                "unit": which.unit,
                "now": float(np.nanmean(ours)),
                "then": float(np.nanmean(needed)),
            }
        )
    return found


def _last_day(search: _Search, times: float) -> dict[str, Any]:
    """Until when a raise of activity still moves the period: effects by the day on which it starts."""
    tomorrow = search.run.history.as_of_date + timedelta(days=1)
    first = max(search.wish.period.first, tomorrow)

    def mean(paths: Paths) -> float:
        return float(np.nanmean(search.values(paths)))

    base = mean(search.few_paths(1.0))

    def effect(day: date) -> float:
        return mean(search.few_paths(times, None if day == tomorrow else day)) - base

    return last_useful_day(effect, first, search.wish.period.last, STARTS)


def _words(wish: Wish, rows: pd.DataFrame, summary: dict[str, Any]) -> str:
    what = wish.by.removeprefix(ACTIVITY)
    head = rows.iloc[0]
    goal = f"{wish.metric} of {wish.target:,.10g} in {wish.period.label}"
    if summary["reached"] and head["times"] <= 1.0:
        text = f"{goal} is reached with {summary['p_now']:.0%} as things stand: no more {what}s are needed."
    elif summary["reached"]:
        text = (
            f"{goal} is reached with {summary['p_then']:.0%} at {head['needed']:.1f} {what}s per rep and "
            f"working day, {head['times'] - 1:+.0%} on the {head['per_day']:.1f} that are expected (odds now "
            f"{summary['p_now']:.0%})."
        )
    elif head["times"] <= 1.0:
        text = (
            f"{goal} is not reachable within the observed range: {head['per_day']:.1f} {what}s per rep and "
            f"working day are expected, and no more than {head['most']:.1f} were ever kept up for a quarter; "
            f"the odds are {summary['p_now']:.0%}, wanted {wish.probability:.0%}."
        )
    else:
        text = (
            f"{goal} is not reachable within the observed range: at {head['needed']:.1f} {what}s per rep and "
            f"working day, the most that was ever kept up for a quarter, the odds are "
            f"{summary['p_then']:.0%}, wanted {wish.probability:.0%}."
        )
    if summary["p_if_not_causal"] is not None:
        text += (
            f" That is an association in the data: if more {what}s cause nothing, the odds stay "
            f"{summary['p_if_not_causal']:.0%}."
        )
    if summary["last_useful_day"]:
        text += f" After {summary['last_useful_day']} a raise brings less than a tenth of that in the period."
    return text
