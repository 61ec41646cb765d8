"""Sections about one rep; no other rep is named, and comparisons come after partial pooling only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.answer import Answer
from quotacast.engine.answers.curve import odds_curve
from quotacast.engine.answers.deals import oldest_win, open_deals
from quotacast.engine.answers.forecast import forecast
from quotacast.engine.answers.needed import needed
from quotacast.engine.answers.performers_spread import MARGIN
from quotacast.engine.answers.performers_summary import label_of
from quotacast.engine.book import Book, open_book
from quotacast.engine.openbook import factor_needed, fading
from quotacast.engine.quota import ACTIVITY, Quota
from quotacast.engine.reports.page import Section
from quotacast.engine.reports.units import show
from quotacast.engine.reports.words import money, number, percent, ratio
from quotacast.engine.skills import SKILLS
from quotacast.engine.steadiness import steadiness
from quotacast.models.people import creators
from quotacast.models.timegrid import day_number
from quotacast.scenarios.pages.case import Case, chance_words
from quotacast.scenarios.pages.sections import text_fields
from quotacast.scenarios.performers import performers_answer
from quotacast.scenarios.pipeline import aim_of
from quotacast.scenarios.screen import HEADLINE

#: Rows of the tables, so that a page stays a page.
MOST_QUOTAS, MOST_DEALS, MOST_KINDS = 12, 10, 7
#: Weeks of the past beside what is expected.
PAST_WEEKS = 13


def _table(answer: Answer, names: tuple[str, ...], rows: Sequence[tuple[str, ...]], texts: int = 1) -> Answer:
    """An answer with a table of texts in place of its own."""
    return replace(answer, rows=pd.DataFrame(rows, columns=list(names)), fields=text_fields(names, texts))


def quotas(case: Case) -> Section | None:
    """The rep's quotas with their odds, the headline metric first."""
    mine = [q for q in case.quotas if q.scope == case.scope]
    goal = case.goal(case.scope)
    chosen = goal.set if goal is not None else (mine[0].set if mine else None)
    mine = [q for q in mine if q.set == chosen]
    if not mine:
        return Section(None, "Quotas", lines=("No quota is stated.",))
    rows = case.odds.rows
    rows = rows[(rows["scope"] == "rep") & (rows["scope_id"] == case.scope.id) & (rows["set"] == chosen)]
    first = (rows["metric"] != HEADLINE).to_numpy()
    rows = rows.iloc[np.argsort(first, kind="stable")]
    known = case.odds.summary["metric_units"]
    table = [
        (
            f"{row['metric']}, {row['period']}".replace("_", " "),
            show(row["target"], known[row["metric"]]),
            show(row["p50"], known[row["metric"]]),
            _chance(row),
        )
        for row in rows.head(MOST_QUOTAS).to_dict("records")
    ]
    left = len(rows) - MOST_QUOTAS
    note = f"{left} more: quotacast quotas --scope {case.scope}." if left > 0 else None
    answer = _table(case.odds, ("quota on", "quota", "middle", "odds"), table)
    lines = (_likely(case, goal),)
    return Section(answer, "Quotas and their odds", None, note, lines, "shown")


def _chance(row: Any) -> str:
    if row["p_defined"] < 0.5:
        return "not meaningful"
    return "withheld" if pd.isna(row["p_attain"]) else chance_words(float(row["p_attain"]))


def _likely(case: Case, goal: Quota | None) -> str:
    """The likely range beside the quota, in a sentence."""
    if goal is None:
        return ""
    low, high = np.quantile(case.values(case.scope, goal).total, [0.1, 0.9])
    return (
        f"In 8 of 10 futures bookings in {goal.period} lie between {money(float(low))} and "
        f"{money(float(high))}."
    )


def weekly(case: Case) -> Section | None:
    """What the quota means per week: activity, opportunities and deals on the way to it."""
    goal = case.goal(case.scope)
    if goal is None or case.chance(goal) is None:
        return None
    kinds = [f"{ACTIVITY}{kind}" for kind in _kinds(case)]
    names = (*kinds, "opportunities_created", "deals_won", "bookings")
    period = case.run.plan.calendar.parse(goal.period)
    found = needed(case.paths, goal, names, period, case.run.provenance())
    heading = f"On the way to the quota for {goal.period}, per week"
    if found.rows.empty:
        return Section(None, heading, lines=(found.words,))
    past, known = _past_weeks(case), found.summary["metric_units"]
    table = [
        (
            label_of(row["metric"]),
            show(past.get(row["metric"]), known[row["metric"]]),
            show(row["weekly"], known[row["metric"]]),
            show(row["weekly_reaching"], known[row["metric"]]),
        )
        for row in found.rows.to_dict("records")
    ]
    columns = ("per week", f"last {PAST_WEEKS} weeks", "expected", "reaching it")
    note = (
        "Reaching it: mean of the futures that reach the quota. It goes along with it; causes are not told."
    )
    lines = (_more(case, goal, found),)
    return Section(_table(found, columns, table), heading, None, note, lines, "shown")


def _kinds(case: Case) -> list[str]:
    """Kinds of activity, those that drive new business first."""
    chain = case.run.funnel.prepared.chain
    return [*chain.drivers, *(k for k in chain.kinds if k not in chain.drivers)][:MOST_KINDS]


def _past_weeks(case: Case) -> dict[str, float]:
    """What the rep did per week in the last weeks."""
    history, rep = case.run.history, case.scope.id
    since = pd.Timestamp(history.as_of_date - timedelta(days=7 * PAST_WEEKS - 1))
    log, deals = history.activities, history.opportunities
    log = log[(log["rep_id"] == rep) & (log["done_on"] >= since)]
    found = {f"{ACTIVITY}{k}": v for k, v in log["count"].fillna(1.0).groupby(log["kind"]).sum().items()}
    for kind in case.run.funnel.prepared.chain.kinds:
        found.setdefault(f"{ACTIVITY}{kind}", 0.0)
    won = (deals["rep_id"] == rep) & (deals["status"] == "won") & (deals["closed_on"] >= since)
    found["opportunities_created"] = float(
        ((creators(history) == rep) & (deals["created_on"] >= since)).sum()
    )
    found["deals_won"] = float(won.sum())
    found["bookings"] = float(deals.loc[won, "amount"].sum())
    return {name: float(total) / PAST_WEEKS for name, total in found.items()}


def _more(case: Case, goal: Quota, found: Answer) -> str:
    """How many more opportunities the wished odds would take, all else as expected."""
    values, aim = case.values(case.scope, goal), aim_of(case.run, case.scope)
    if values.open is None or values.new is None:
        return ""
    factor = factor_needed(goal.target, values.certain + values.open, values.new, aim)
    made = found.rows.loc[found.rows["metric"] == "opportunities_created", "weekly"]
    if not np.isfinite(factor) or made.empty or float(made.iloc[0]) <= 0:
        return ""
    now = float(made.iloc[0])
    if factor <= 1.0:
        return f"The expected {number(now)} new opportunities a week are enough for odds of {percent(aim)}."
    return (
        f"For odds of {percent(aim)}, new business would have to bring {ratio(factor - 1.0)} more than "
        f"expected: {number(now * factor)} new opportunities a week, not {number(now)}, all else equal."
    )


def by_month(case: Case) -> Section | None:
    """The forecast by month, with the year before."""
    found = forecast(case.paths, (HEADLINE,), (case.scope,), case.months, case.run.provenance())
    targets = [
        {"period": q.period, "value": q.target}
        for q in case.quotas
        if q.scope == case.scope and q.metric == HEADLINE
    ]
    found = replace(found, summary={**found.summary, "actuals": case.past(case.scope), "targets": targets})
    return Section(found, "Bookings by month", "fan", lines=(), numbers="none")


def curve(case: Case) -> Section | None:
    """The odds of other quotas than today's."""
    goal = case.goal(case.scope)
    if goal is None or case.withheld:
        return None
    found = odds_curve(case.paths, [goal], case.run.plan.calendar, case.run.provenance())
    return Section(found, "Odds of other quotas", "curve", lines=(), numbers="none")


def evenness(case: Case) -> Section | None:
    """How evenly the rep works, week by week."""
    told = steadiness(case.run.history, case.run.funnel.prepared)
    mine = next((s for s in told if s.rep == case.scope.id), None)
    if mine is None or mine.unevenness is None or mine.floor is None:
        return None
    lines = [f"{number(mine.per_week)} activities a week, over {mine.weeks:,} weeks."]
    if mine.even:
        lines.append("From week to week they vary no more than chance does: even work.")
    else:
        lines.append(
            f"From week to week they swing by {ratio(mine.unevenness)} around that beyond chance (up to "
            f"{ratio(mine.floor)} would be nothing to speak of)."
        )
    if mine.prospecting is not None:
        lines.append(
            f"{percent(mine.prospecting)} is prospecting (no opportunity yet), the rest is on open deals."
        )
    if mine.unobserved:
        lines.append(f"{mine.unobserved} weeks in which deals moved but nothing was logged do not count.")
    return Section(None, "Evenness of activity", lines=tuple(lines))


def deals(case: Case) -> Section | None:
    """The open deals that matter most, by expected value."""
    run, prepared = case.run, case.run.funnel.prepared
    book = open_book(run.history, prepared.people, prepared.segment, prepared.quotes)
    at = prepared.people.index().get(case.scope.id)
    own = _only(book, book.rep == (-1 if at is None else at))
    if not len(own):
        return Section(None, "Open deals", lines=("No deal is open.",))
    span = (int(day_number(run.history.as_of_date)), int(day_number(run.plan.horizon_period.last)))
    fade = fading(run.funnel, span[1] - span[0])
    reps, oldest = prepared.people.reps, oldest_win(run.history)
    found = open_deals(own, fade, run.history, reps, span, oldest, run.provenance())
    columns = ("deal", "customer", "stage", "age in days", "amount", "odds of a win", "expected value")
    table = [
        (
            str(row["deal"]),
            str(row["customer"] or "–"),
            str(row["stage"] or "–"),
            number(row["age"]),
            money(row["amount"]),
            percent(row["p_win"]),
            money(row["expected"]),
        )
        for row in found.rows.head(MOST_DEALS).to_dict("records")
    ]
    shown = _table(found, columns, table, 3)
    stale = int((found.rows["older"] == "yes").sum())
    note = (
        "Odds: of a win within the forecast, on an average day of the quarter; by the deal's age, size, "
        "segment and owner, not by its stage."
    )
    old = f" Older than any deal ever won: {stale}." if stale else ""
    return Section(shown, "Open deals that matter most", None, note, (found.words + old,), "shown", True)


def _only(book: Book, kept: Any) -> Book:
    """Some of the open deals."""
    arrays = {f.name: getattr(book, f.name)[kept] for f in fields(book) if f.name != "ids"}
    return Book(tuple(i for i, keep in zip(book.ids, kept, strict=True) if keep), **arrays)


def compared(case: Case) -> Section | None:
    """The rep beside the average of comparable reps, after partial pooling and at equal segment mix."""
    found = performers_answer(case.run)
    ranked, unsure = found.summary["ranked"], found.summary["no_rep_effect"]
    heading = "Beside comparable reps"
    if case.scope.id not in ranked:
        return Section(None, heading, lines=("Too new to be compared.",))
    known = found.summary["metric_units"]
    table = []
    for name in (*SKILLS, MARGIN):
        rows = found.rows[found.rows["metric"] == name]
        mine = rows[rows["scope_id"] == case.scope.id]
        if name in unsure or mine.empty or pd.isna(mine["rank_low"].iloc[0]):
            continue
        row = mine.iloc[0]
        span = f"{show(row['p10'], known[name])} – {show(row['p90'], known[name])}"
        place = _places(int(row["rank_low"]), int(row["rank_high"]))
        average = show(float(rows["mean"].mean()), known[name])
        table.append((label_of(name), show(row["mean"], known[name]), span, average, place))
    if not table:
        return Section(None, heading, lines=("The data do not tell reps apart: a place would be chance.",))
    columns = ("at equal conditions", "you", "8 in 10 sure", "average", f"place of {len(ranked)}")
    note = (
        "Luck, territory and ramp are taken out as far as the data tell. Bookings and new opportunities are "
        "those of a month."
    )
    if unsure:
        note += f" Not compared, as the data tell no difference: {', '.join(label_of(m) for m in unsure)}."
    return Section(_table(found, columns, table), heading, None, note, (), "shown", True)


def _places(low: int, high: int) -> str:
    return f"{low}" if low == high else f"{low} to {high}"
