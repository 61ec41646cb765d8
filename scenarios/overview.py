"""The main job: all answers of a plan, the screen that sums them up, and the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.answer import Answer
from quotacast.engine.answers.attainability import attainability
from quotacast.engine.answers.forecast import forecast
from quotacast.engine.answers.quality import data_quality
from quotacast.engine.book import open_book
from quotacast.engine.metrics import METRICS, metric, series
from quotacast.engine.paths import Paths
from quotacast.engine.quota import Quota, Scope
from quotacast.engine.reports.page import Section, page
from quotacast.engine.reports.words import money, money_range, number, odds_words, percent
from quotacast.models.periods import Period
from quotacast.models.timegrid import day_number
from quotacast.scenarios.run import Run

COMPANY = Scope("company")
#: The metric in which a plan is summed up.
HEADLINE = "bookings"
WIDTH = 80


@dataclass(frozen=True)
class Overview:
    """Everything that ``plan`` answers.

    Attributes
    ----------
    quotas, forecast, quality : Answer
        Odds of all quotas; forecast of the headline metrics by month; findings in the data.
    screen : tuple of str
        Lines of at most 80 columns.
    page : str
        The report as one HTML page.
    """

    quotas: Answer
    forecast: Answer
    quality: Answer
    screen: tuple[str, ...]
    page: str


def overview(run: Run) -> Overview:
    """Answer the plan's questions on one set of simulated futures."""
    quotas, skipped = run.quotas()
    horizon = run.plan.horizon_period
    months = run.periods("month")
    wanted = [*months, horizon, *(run.plan.calendar.parse(q.period) for q in quotas)]
    paths = run.paths(wanted)
    provenance = run.provenance()
    odds = attainability(paths, quotas, run.plan.calendar, provenance)
    scopes = [s for s in paths.scopes() if s.kind != "rep"]
    outlook = forecast(paths, list(METRICS), scopes, [*months, horizon], provenance)
    quality = data_quality(run.history, provenance)
    screen = tuple(_screen(run, paths, odds, quotas, skipped))
    return Overview(odds, outlook, quality, screen, _page(run, paths, odds, outlook, quality, months))


def _screen(
    run: Run, paths: Paths, odds: Answer, quotas: Sequence[Quota], skipped: Sequence[str]
) -> Iterator[str]:
    plan, day = run.plan, run.history.as_of_date
    people = run.funnel.prepared.people
    today = int(day_number(day))
    active = int((people.stop > today).sum()) + len(run.drivers.hires)
    name = plan.name if plan.scenario is None else f"{plan.name}, {plan.scenario}"
    yield f"{name} · as of {day.day} {day:%b %Y} · {active} reps · {plan.draws:,} futures"
    yield from _company(run, paths, quotas)
    main = _main_set(quotas, odds)
    yield from _teams(paths, odds, main, run)
    yield from _reps(odds, main)
    yield _line("Record", "no track record yet")
    yield from _doubt(run)
    for note in (*skipped[:2],):
        yield _line("Note", note)


def _line(label: str, text: str) -> str:
    return f"{label:<9}{text}"[:WIDTH]


def _company(run: Run, paths: Paths, quotas: Sequence[Quota]) -> Iterator[str]:
    horizon = run.plan.horizon_period
    found = series(paths, metric(HEADLINE), COMPANY, horizon)
    targets = [q for q in quotas if q.scope == COMPANY and q.metric == HEADLINE and q.period == horizon.label]
    if targets:
        target = targets[0].target
        p = float((found.total >= target).mean())
        yield f"Company {HEADLINE}   target {_money(target)}   {odds_words(p)} ({percent(p)})"
    else:
        yield f"Company {HEADLINE} in {horizon.label}   no target stated"
    low, middle, high = np.quantile(found.total, [0.1, 0.5, 0.9])
    opened, new = (0.0 if part is None else float(part.mean()) for part in (found.open, found.new))
    parts = [f"open deals {_money(opened)}", f"still to be created {_money(new)}"]
    if found.done:
        parts.insert(0, f"done {_money(found.done)}")
    yield f"  {money_range([low, middle, high], digits=3)}   {' · '.join(parts)}"


def _money(value: float) -> str:
    return money(float(value), digits=3)


def _main_set(quotas: Sequence[Quota], odds: Answer) -> pd.DataFrame:
    """The rows on the headline metric, over the longest period, of the first set that has reps."""
    rows = odds.rows[odds.rows["metric"] == HEADLINE]
    for kind in ("rep", "team"):
        found = rows[rows["scope"] == kind]
        if len(found):
            first = found.iloc[0]["set"]
            longest = min(found[found["set"] == first]["period"], key=len)
            chosen: pd.DataFrame = rows[(rows["set"] == first) & (rows["period"] == longest)]
            return chosen
    return rows.iloc[:0]


def _teams(paths: Paths, odds: Answer, main: pd.DataFrame, run: Run) -> Iterator[str]:
    teams = main[main["scope"] == "team"].dropna(subset=["p_attain"]).sort_values("p_attain", ascending=False)
    if teams.empty:
        return
    text = "   ".join(
        f"{name} {percent(p)}" for name, p in zip(teams["scope_id"], teams["p_attain"], strict=True)
    )
    gaps = (teams["target"] - teams["p50"]).to_numpy(dtype=float)
    if gaps.max() > 0:
        worst = teams.iloc[int(gaps.argmax())]
        text += f"   ← largest gap {worst['scope_id']} {_money(gaps.max())}"
    yield _line("Teams", text)


def _reps(odds: Answer, main: pd.DataFrame) -> Iterator[str]:
    reps = main[main["scope"] == "rep"].dropna(subset=["p_attain"]).sort_values(["p_attain", "scope_id"])
    if reps.empty:
        return
    first = reps.iloc[0]
    share = next(
        s
        for s in odds.summary["shares"]
        if (s["set"], s["metric"], s["period"]) == (first["set"], HEADLINE, first["period"])
    )
    if len(reps) == 1:
        yield _line(
            "Rep", f"{first['scope_id']} {percent(float(first['p_attain']))}   one rep: no comparison"
        )
        return
    pairs = zip(reps["scope_id"].head(2), reps["p_attain"].head(2), strict=True)
    lowest = ", ".join(f"{name} {percent(p)}" for name, p in pairs)
    yield _line("Reps", f"{share['p10']}–{share['p90']} of {share['reps']} reach quota   lowest: {lowest}")


def _doubt(run: Run) -> Iterator[str]:
    prepared = run.funnel.prepared
    book = open_book(run.history, prepared.people, prepared.segment, prepared.quotes)
    deals = prepared.deals
    won = deals.outcome == 1
    oldest = int((deals.stop - deals.start)[won].max()) if won.any() else 0
    ages = int(day_number(run.history.as_of_date)) - book.start
    stale = ages > oldest
    if stale.any():
        worth = float(np.nansum(book.amount[stale]))
        worth_text = f" ({_money(worth)})" if worth > 0 else ""
        yield _line("Doubt", f"{number(int(stale.sum()))} open deals older than any ever won{worth_text}")


def _page(
    run: Run, paths: Paths, odds: Answer, outlook: Answer, quality: Answer, months: Sequence[Period]
) -> str:
    sections = []
    fan = _only(outlook, lambda t: t["metric"] == HEADLINE)
    units = outlook.summary["metric_units"]
    labels = {p.label for p in months}
    monthly = _with(
        _only(fan, lambda t: t["period"].isin(labels)),
        actuals=_past(run, paths),
        targets=[],
        metric_units=units,
    )
    sections.append(Section(monthly, f"{HEADLINE.capitalize()} by month", "fan"))
    if len(odds.rows):
        main = _main_rows(odds)
        sections.append(Section(main, "Odds of the quotas", "odds"))
        rest = _only(odds, lambda t: ~t.index.isin(main.rows.index))
        if len(rest.rows):
            sections.append(Section(rest, "All other quotas", None))
    year = run.plan.horizon_period.label
    sections.append(Section(_only(outlook, lambda t: t["period"] == year), f"All metrics in {year}", None))
    sections.append(Section(quality, "The data behind it", None))
    title = run.plan.name if run.plan.scenario is None else f"{run.plan.name}, {run.plan.scenario}"
    return page(title, sections, run.provenance())


def _main_rows(odds: Answer) -> Answer:
    main = _main_set((), odds)
    company = odds.rows[(odds.rows["scope"] == "company") & (odds.rows["metric"] == HEADLINE)]
    longest = min(main["period"], default=None, key=len) or min(company["period"], default="", key=len)
    chosen = pd.concat([company[company["period"] == longest].head(1), main[main["scope"] != "company"]])
    return _only(odds, lambda t: t.index.isin(chosen.index))


def _only(answer: Answer, keep: Any) -> Answer:
    rows = answer.rows[keep(answer.rows)]
    return Answer(
        answer.name, rows, answer.fields, answer.words, answer.summary, answer.provenance, answer.chart
    )


def _with(answer: Answer, **summary: Any) -> Answer:
    return Answer(
        answer.name,
        answer.rows,
        answer.fields,
        answer.words,
        {**answer.summary, **summary},
        answer.provenance,
        answer.chart,
    )


def _past(run: Run, paths: Paths) -> list[dict[str, Any]]:
    """Bookings of the company in the twelve months before the forecast, for the picture."""
    deals = run.history.opportunities
    won = deals[deals["status"] == "won"]
    calendar, day = run.plan.calendar, run.history.as_of_date
    months = [p for p in calendar.periods("month", day.replace(year=day.year - 1), day) if p.last <= day][
        -12:
    ]
    out = []
    for month in months:
        inside = (won["closed_on"] >= pd.Timestamp(month.first)) & (
            won["closed_on"] <= pd.Timestamp(month.last)
        )
        out.append({"period": month.label, "value": float(won.loc[inside, "amount"].sum())})
    return out
