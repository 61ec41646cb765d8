"""What `plan` prints: the whole plan on one screen of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.answer import Answer
from quotacast.engine.book import open_book
from quotacast.engine.metrics import metric, series
from quotacast.engine.paths import Paths
from quotacast.engine.quota import Quota, Scope
from quotacast.engine.reports.words import money, money_range, number, odds_words, percent
from quotacast.models.periods import KINDS, Calendar
from quotacast.models.timegrid import day_number
from quotacast.scenarios.lines import WIDTH, name, packed
from quotacast.scenarios.noeffect import has_another
from quotacast.scenarios.run import Run
from quotacast.scenarios.trackrecord import minutes, standing

COMPANY = Scope("company")
#: The metric in which a plan is summed up.
HEADLINE = "bookings"
#: With more teams than this only the highest and the lowest are printed.
MOST_TEAMS = 6
_GAP = "   "


def screen(
    run: Run,
    paths: Paths,
    odds: Answer,
    quotas: Sequence[Quota],
    skipped: Sequence[str],
    record: Answer | None = None,
) -> Iterator[str]:
    """Lines that sum a plan up.

    Parameters
    ----------
    run : Run
    paths : Paths
    odds : Answer
        Odds of the quotas.
    quotas : sequence of Quota
        Those that are judged.
    skipped : sequence of str
        What must be said about those that are not.
    record : Answer, optional
        The stored backtest.
    """
    yield _title(run)
    withheld = HEADLINE in odds.summary.get("withheld", {})
    yield from _company(run, paths, quotas, withheld)
    if has_another(run):
        yield from _without_effect(run, quotas, withheld)
    main = main_quotas(odds, run.plan.calendar, run.plan.horizon)
    yield from _teams(main, run.plan.horizon)
    yield from _reps(run, odds, main)
    yield from packed([standing(record, lasts=minutes(run)).line], label="Record")
    yield from _doubt(run)
    notes = [*skipped, *run.plan_notes]
    if not quotas:
        notes.append("No quotas are stated: add [[quota]] to the plan, or a table quotas to the data.")
    for note in notes:
        yield from packed([name(note, 400)], label="Note")


def main_quotas(odds: Answer, calendar: Calendar, horizon: str) -> pd.DataFrame:
    """The rows by which a plan is judged: of one set, on the headline metric, for one period.

    The set is the first that has reps, else teams; the period is the horizon, else the longest and
    first of those that there are.
    """
    rows = odds.rows[odds.rows["metric"] == HEADLINE]
    for kind in ("rep", "team"):
        found = rows[rows["scope"] == kind]
        if len(found):
            first = found["set"].iloc[0]
            labels = found["period"][found["set"] == first].unique()
            period = main_period(labels, calendar, horizon)
            chosen: pd.DataFrame = rows[(rows["set"] == first) & (rows["period"] == period)]
            return chosen
    return rows.iloc[:0]


def main_period(labels: Sequence[str], calendar: Calendar, horizon: str) -> str:
    """The horizon where it is among the periods, else the longest, and of those the first."""
    if horizon in labels:
        return horizon
    spans = [calendar.parse(label) for label in labels]
    return min(spans, key=lambda p: (-KINDS.index(p.kind), p.first)).label


def _title(run: Run) -> str:
    plan, day = run.plan, run.history.as_of_date
    today = int(day_number(day))
    active = int((run.funnel.prepared.people.stop > today).sum()) + len(run.drivers.hires)
    reps = f"{active:,} rep{'' if active == 1 else 's'}"
    rest = f" · as of {day.day} {day:%b %Y} · {reps} · {plan.draws:,} futures"
    called = plan.name if plan.scenario is None else f"{plan.name}, {plan.scenario}"
    return name(called, WIDTH - len(rest)) + rest


def _without_effect(run: Run, quotas: Sequence[Quota], withheld: bool) -> Iterator[str]:
    """The company's line again, if the plan's changes of activity cause no new business."""
    horizon = run.plan.horizon_period
    total = series(
        run.without_effect().paths([horizon], (HEADLINE,)), metric(HEADLINE), COMPANY, horizon
    ).total
    targets = [q for q in quotas if q.scope == COMPANY and q.metric == HEADLINE and q.period == horizon.label]
    said = money_range([*np.quantile(total, [0.1, 0.5, 0.9])], digits=3)
    if targets and not withheld:
        said = f"{odds_words(float((total >= targets[0].target).mean()))} · {said}"
    yield from packed(["if activity causes no new business:", said], indent=2, gap=" ")


def _company(run: Run, paths: Paths, quotas: Sequence[Quota], withheld: bool) -> Iterator[str]:
    horizon = run.plan.horizon_period
    found = series(paths, metric(HEADLINE), COMPANY, horizon)
    targets = [q for q in quotas if q.scope == COMPANY and q.metric == HEADLINE and q.period == horizon.label]
    if targets:
        target = targets[0].target
        p = float((found.total >= target).mean())
        said = "odds withheld" if withheld else f"{odds_words(p)} ({percent(p)})"
        yield f"Company {HEADLINE}   target {_money(target)}   {said}"
    else:
        yield f"Company {HEADLINE} in {horizon.label}   no target stated"
    low, middle, high = np.quantile(found.total, [0.1, 0.5, 0.9])
    opened, new = (0.0 if part is None else float(part.mean()) for part in (found.open, found.new))
    parts = [f"open deals {_money(opened)}", f"still to be created {_money(new)}"]
    if found.done:
        parts.insert(0, f"done {_money(found.done)}")
    span = money_range([low, middle, high], digits=3)
    yield from packed(parts, label=f"  {span}{_GAP}", indent=len(span) + 5)


def _money(value: float) -> str:
    return money(float(value), digits=3)


def _when(main: pd.DataFrame, horizon: str) -> str:
    """The period of the quotas where it is not the whole horizon."""
    period = str(main["period"].iloc[0])
    return "" if period == horizon else f" in {period}"


def _teams(main: pd.DataFrame, horizon: str) -> Iterator[str]:
    teams = main[main["scope"] == "team"].dropna(subset=["p_attain"])
    teams = teams.sort_values(["p_attain", "scope_id"], ascending=[False, True])
    if teams.empty:
        return
    said = [f"{name(t)} {percent(p)}" for t, p in zip(teams["scope_id"], teams["p_attain"], strict=True)]
    if len(said) > MOST_TEAMS:
        said = [*said[:3], f"… {len(said) - MOST_TEAMS} more …", *said[-3:]]
    said[0] += _when(main, horizon)
    gaps = (teams["target"] - teams["p50"]).to_numpy(dtype=float)
    if gaps.max() > 0:
        worst = teams["scope_id"].iloc[int(gaps.argmax())]
        said.append(f"← largest gap {name(worst)} {_money(gaps.max())}")
    yield from packed(said, label="Teams", gap=_GAP)


def _reps(run: Run, odds: Answer, main: pd.DataFrame) -> Iterator[str]:
    reps = main[main["scope"] == "rep"].dropna(subset=["p_attain"]).sort_values(["p_attain", "scope_id"])
    people = run.funnel.prepared.people.reps
    pairs = zip(reps["scope_id"], reps["p_attain"], strict=True)
    said = [f"{name(rep)} {percent(p)}" for rep, p in pairs]
    if len(people) + len(run.drivers.hires) == 1:
        alone = [f"{said[0]}{_when(main, run.plan.horizon)}"] if said else [name(people[0])]
        yield from packed([*alone, "one rep, so no comparison between reps"], label="Rep", gap=_GAP)
    elif said:
        share = _share(odds, reps)
        reach = f"{_range(share['p10'], share['p90'])} of {share['reps']:,} reach quota"
        lowest = f"lowest: {', '.join(said[:2])}"
        yield from packed([reach + _when(main, run.plan.horizon), lowest], label="Reps", gap=_GAP)


def _share(odds: Answer, reps: pd.DataFrame) -> dict[str, Any]:
    key = (reps["set"].iloc[0], HEADLINE, reps["period"].iloc[0])
    shares: Sequence[dict[str, Any]] = odds.summary["shares"]
    return next(s for s in shares if (s["set"], s["metric"], s["period"]) == key)


def _range(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def _doubt(run: Run) -> Iterator[str]:
    prepared = run.funnel.prepared
    book = open_book(run.history, prepared.people, prepared.segment, prepared.quotes, prepared.stages)
    deals = prepared.deals
    won = deals.outcome == 1
    oldest = int((deals.stop - deals.start)[won].max()) if won.any() else 0
    stale = int(day_number(run.history.as_of_date)) - book.start > oldest
    if stale.any():
        worth = float(np.nansum(book.amount[stale]))
        value = f" ({_money(worth)})" if worth > 0 else ""
        said = f"{number(int(stale.sum()))} open deals older than any ever won{value}"
        yield from packed([said], label="Doubt")
    for doubt in prepared.doubts:
        yield from packed([doubt], label="Doubt")
