"""Is there enough in the pipeline? Expected against needed open deals, by age, period by period.

Of the period under way the wins come from deals that are open now, so its need is told by a factor on them;
of later periods by a factor on what is yet to be created. It is the least s with ::

    P(done + s x open + new >= target) >= aim        (first period)
    P(done + open + s x new >= target) >= aim        (later periods)

over the same simulated futures as every other answer. Scaling a component keeps its relative spread, where
more deals would narrow it a little: the need errs upward. What is missing of later periods is also told
as a number of opportunities, created at the usual pace until the last day on which a new one still has half
of the best day's chance of a win within the period (see :mod:`quotacast.engine.openbook`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.answer import Answer, Field
from quotacast.engine.book import Book
from quotacast.engine.metrics import metric, series, units
from quotacast.engine.openbook import (
    AGE_LABELS,
    Fading,
    amounts,
    creations_missing,
    factor_needed,
    last_useful_day,
    members,
    new_by_age,
    odds_by_creation,
    open_by_age,
    stages_now,
)
from quotacast.engine.openbook_stages import NO_STAGE, Flow, new_by_stage, old_by_stage
from quotacast.engine.paths import Paths
from quotacast.engine.quota import Scope
from quotacast.engine.reports.words import money as money_words
from quotacast.engine.reports.words import number
from quotacast.models.periods import Period
from quotacast.models.terms import Floats
from quotacast.models.timegrid import as_date, day_number

ALL = "all"
FIELDS = (
    Field("scope", "text", "company, team or rep"),
    Field("scope_id", "text", "team or rep; empty for the company"),
    Field("metric", "text", "what the target is on"),
    Field("period", "text", "period that the pipeline has to feed"),
    Field("target", "metric", "the target; missing where none is stated"),
    Field("p_attain", "probability", "share of futures that reach it"),
    Field("aim", "probability", "the plan's wished odds"),
    Field("opens", "date", "the pipeline is as of the morning of this day"),
    Field("age", "text", "days since creation of the open deals, or all"),
    Field("expected", "count", "open deals on that day, mean over the futures"),
    Field("needed", "count", "open deals at which the target is reached with the wished odds"),
    Field("expected_money", "money", "their amounts, unweighted"),
    Field("needed_money", "money", "amounts needed"),
    Field("missing", "count", "open deals that are missing"),
    Field("create", "count", "opportunities to be created beyond those expected (rows of all ages)"),
    Field("create_by", "date", "until then, at the usual pace"),
)


@dataclass(frozen=True)
class Goal:
    """A target for a scope and a period, and the odds wished for."""

    target: float
    aim: float


@dataclass(frozen=True)
class Outlook:
    """Everything that the answer reads.

    Attributes
    ----------
    paths : Paths
        Cut at the edges of every period.
    book : Book
    fade : Fading
    stage : mapping of str to str
        Stage in which open deals stand, by id.
    flow : Flow, optional
        The chain of stages; without it coming stages are not told.
    """

    paths: Paths
    book: Book
    fade: Fading
    stage: Mapping[str, str]
    flow: Flow | None = None

    @property
    def today(self) -> int:
        """Day number of the as-of date."""
        return int(day_number(self.paths.as_of))

    @cached_property
    def faded(self) -> Fading:
        """Fading of every simulated rep, hires included."""
        return self.fade.for_reps(len(self.paths.reps))

    @cached_property
    def pace(self) -> Floats:
        """Expected creations of every simulated day, even within a step; shape (reps, days)."""
        edges = self.paths.steps.edges
        per_step = self.paths.array("created").mean(axis=0)
        daily = np.repeat(per_step / np.diff(edges), np.diff(edges), axis=1)
        return np.asarray(daily[:, self.today + 1 - int(edges[0]) :])


def pipeline(
    outlook: Outlook,
    metrics: Sequence[str],
    scopes: Sequence[Scope],
    periods: Sequence[Period],
    goals: Mapping[tuple[Scope, str, str], Goal],
    provenance: Mapping[str, Any],
) -> Answer:
    """Expected and needed open pipeline.

    Parameters
    ----------
    metrics : sequence of str
        Sums of wins: bookings, deals won.
    periods : sequence of Period
        Coming ones, the first may be under way.
    goals : mapping of (scope, metric, label of a period) to Goal
        Where there is none, only the expected pipeline is told.
    """
    rows: list[dict[str, Any]] = []
    for name in metrics:
        for scope in scopes:
            for period in periods:
                goal = goals.get((scope, name, period.label))
                rows += _rows(outlook, name, scope, period, goal, period is periods[0])
    table = pd.DataFrame(rows, columns=[f.name for f in FIELDS])
    summary = {
        "metric_units": units(metrics),
        "stages": stages_now(outlook.book, outlook.stage, amounts(outlook.book, outlook.fade)),
        "coming_stages": coming_stages(outlook, periods),
        "first": periods[0].label,
    }
    return Answer("pipeline", table, FIELDS, pipeline_words(table), summary, provenance, "table")


def _rows(
    outlook: Outlook, name: str, scope: Scope, period: Period, goal: Goal | None, first: bool
) -> list[dict[str, Any]]:
    begins = max(period.first, outlook.paths.as_of + timedelta(days=1))
    old, new = expected_open(outlook, scope, int(day_number(begins)))
    head: dict[str, Any] = {
        "scope": scope.kind,
        "scope_id": scope.id,
        "metric": name,
        "period": period.label,
        "opens": begins,
    }
    needed, extra = None, {}
    if goal is not None:
        head |= {"target": goal.target, "aim": goal.aim}
        head["p_attain"] = float((_series(outlook, name, scope, period).total >= goal.target).mean())
        needed = _needed(outlook, name, scope, period, goal, first, (old, new))
        extra = _creations(outlook, name, scope, period, goal)
    whole = {ALL: slice(None), **{label: slice(k, k + 1) for k, label in enumerate(AGE_LABELS)}}
    return [
        head | {"age": label, **_sizes(old + new, needed, ages)} | (extra if label == ALL else {})
        for label, ages in whole.items()
    ]


def _sizes(expected: Floats, needed: Floats | None, ages: slice) -> dict[str, Any]:
    """Counts and money of some bands of age; arrays have shape (2, bands): count and money."""
    count, money = (float(x) for x in expected[:, ages].sum(axis=1))
    out: dict[str, Any] = {"expected": count, "expected_money": money}
    if needed is not None and np.isfinite(needed).all():
        wanted, worth = (float(x) for x in needed[:, ages].sum(axis=1))
        out |= {"needed": wanted, "needed_money": worth, "missing": max(wanted - count, 0.0)}
    return out


def _series(outlook: Outlook, name: str, scope: Scope, period: Period) -> Any:
    return series(outlook.paths, metric(name), scope, period)


def expected_open(outlook: Outlook, scope: Scope, day: int) -> tuple[Floats, Floats]:
    """Deals open on the morning of a day: those open today, and those created since.

    Returns
    -------
    old, new : ndarray, shape (2, bands of age)
        Count and money.
    """
    paths, today = outlook.paths, outlook.today
    who = members(scope.kind, scope.id, paths.reps, paths.teams)
    count, money = open_by_age(outlook.book, outlook.fade, today, day, len(paths.reps))
    fresh = new_by_age(outlook.faded, outlook.pace, today, day)
    old = np.stack([count[who].sum(axis=0), money[who].sum(axis=0)])
    new = np.stack([fresh[who].sum(axis=0), (fresh * outlook.faded.new_amount[:, None])[who].sum(axis=0)])
    if day > today + 1:
        span = Period("until then", "day", as_date(today + 1), as_date(day - 1))
        won, lost = (np.stack(paths.simulated(m, scope, span)) for m in ("won", "lost"))
        closed = (won + lost).mean(axis=1)
        created = float(paths.simulated("created", scope, span)[1].mean())
        book = float(np.isin(outlook.book.rep, who).sum())
        old, new = _scaled(old, book - closed[0]), _scaled(new, created - closed[1])
    return old, new


def coming_stages(outlook: Outlook, periods: Sequence[Period]) -> list[dict[str, Any]]:
    """Deals of the company that will be open in every stage on the morning of each period."""
    flow, today = outlook.flow, outlook.today
    if flow is None or outlook.book.stage is None:
        return []
    begins = [max(period.first, outlook.paths.as_of + timedelta(days=1)) for period in periods]
    ahead = [int(day_number(day)) - today - 1 for day in begins]
    old = old_by_stage(flow, outlook.book, outlook.fade, today, ahead)
    new = new_by_stage(flow, outlook.faded, outlook.pace, ahead)
    out: list[dict[str, Any]] = []
    for k, (period, day) in enumerate(zip(periods, begins, strict=True)):
        totals = [parts[0].sum() for parts in expected_open(outlook, Scope("company"), int(day_number(day)))]
        sizes = totals[0] * old[k] / max(old[k].sum(), 1e-12)
        sizes[:-1] += totals[1] * new[k] / max(new[k].sum(), 1e-12)
        names = (*flow.names, *([NO_STAGE] if sizes[-1] > 0 else []))
        out += [
            {"period": period.label, "opens": day, "stage": name, "deals": float(n)}
            for name, n in zip(names, sizes, strict=False)
        ]
    return out


def _scaled(sizes: Floats, total: float) -> Floats:
    """Count and money scaled so that the counts sum to the total."""
    whole = float(sizes[0].sum())
    return sizes * (max(total, 0.0) / whole) if whole > 0 else sizes


def _needed(
    outlook: Outlook,
    name: str,
    scope: Scope,
    period: Period,
    goal: Goal,
    first: bool,
    parts: tuple[Floats, Floats],
) -> Floats:
    """Needed count and money by age, shape (2, bands); infinite where no factor is enough."""
    found, (old, new) = _series(outlook, name, scope, period), parts
    if first:
        factor = factor_needed(goal.target, found.certain + found.new, found.open, goal.aim)
        return old * factor + new if math.isfinite(factor) else np.full_like(old, np.inf)
    factor = factor_needed(goal.target, found.certain + found.open, found.new, goal.aim)
    return old + new * factor if math.isfinite(factor) else np.full_like(old, np.inf)


def _creations(outlook: Outlook, name: str, scope: Scope, period: Period, goal: Goal) -> dict[str, Any]:
    """Opportunities that are missing and by when; nothing where no number of them is enough."""
    found = _series(outlook, name, scope, period)
    factor = factor_needed(goal.target, found.certain + found.open, found.new, goal.aim)
    if not math.isfinite(factor):
        return {}
    paths, tomorrow = outlook.paths, outlook.today + 1
    who = members(scope.kind, scope.id, paths.reps, paths.teams)
    first, last = (int(day_number(d)) - tomorrow for d in (period.first, period.last))
    pace = outlook.pace[who][:, : last + 1]
    weight = pace.sum(axis=1) / max(float(pace.sum()), 1e-12)
    odds = odds_by_creation(weight @ outlook.faded.wins[who], max(first, 0), last)
    until = last_useful_day(odds)
    number_missing = creations_missing(factor, pace.sum(axis=0), odds, until)
    return {"create": max(number_missing, 0.0), "create_by": as_date(tomorrow + until)}


def pipeline_words(table: pd.DataFrame) -> str:
    """What the rows of the widest scope say, in plain words."""
    whole = table[table["age"] == ALL]
    if whole.empty:
        return "No period to look at."
    scope = (whole["scope"].iloc[0], whole["scope_id"].iloc[0], whole["metric"].iloc[0])
    mine = whole[(whole[["scope", "scope_id", "metric"]] == scope).all(axis=1)]
    if mine["target"].isna().all():
        return (
            "No target is stated, so what is expected is all that can be told: state [[quota]] in the plan."
        )
    said = [_sentence(row, at == 0) for at, (_, row) in enumerate(mine.iterrows())]
    if (mine["create"] > 0).sum() > 1:
        said.append("Numbers of different periods overlap: do not add them up.")
    return " ".join(said)


def _sentence(row: Any, first: bool) -> str:
    if pd.isna(row["target"]):
        return f"{row['period']}: no target."
    if row["p_attain"] >= row["aim"]:
        return f"{row['period']}: enough."
    wished = f"{row['aim'] * 100:g}%"
    if first and not pd.isna(row["missing"]):
        more = money_words(row["needed_money"] - row["expected_money"])
        other = "" if pd.isna(row["create"]) else f", or {_created(row)}"
        return (
            f"{row['period']}: {number(round(row['missing']))} open deals ({more}) of today's ages are "
            f"missing for odds of {wished}{other}."
        )
    if first or pd.isna(row["create"]):
        return f"{row['period']}: no multiple of the pipeline gives odds of {wished}."
    return f"Too few early-stage opportunities for {row['period']}: {_created(row)} for odds of {wished}."


def _created(row: Any) -> str:
    return f"{number(math.ceil(row['create']))} more to be created by {row['create_by']}"
