"""The main job: all answers of a plan, the screen that sums them up, and the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from quotacast.engine.answer import Answer
from quotacast.engine.answers.attainability import quota_words
from quotacast.engine.answers.forecast import forecast
from quotacast.engine.answers.quality import data_quality
from quotacast.engine.metrics import answerable
from quotacast.engine.reports.page import Section, page
from quotacast.engine.reports.words import money
from quotacast.models.periods import Calendar
from quotacast.scenarios.pages.audiences import MORE, told
from quotacast.scenarios.pages.case import Case
from quotacast.scenarios.run import Run
from quotacast.scenarios.screen import COMPANY, HEADLINE, main_period, main_quotas, screen
from quotacast.scenarios.trackrecord import reliability_answer


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


def overview(run: Run, more: Sequence[str] = MORE) -> Overview:
    """Answer the plan's questions on one set of simulated futures.

    Parameters
    ----------
    more : sequence of str
        Sections that the page has beside its own, see :mod:`quotacast.scenarios.pages.audiences`.
    """
    case = Case(run)
    paths, odds, horizon = case.paths, case.odds, run.plan.horizon_period
    scopes = [s for s in paths.scopes() if s.kind != "rep"]
    spans = [*case.months, horizon]
    outlook = forecast(paths, answerable(paths.able), scopes, spans, run.provenance())
    quality = data_quality(run.history, run.provenance())
    lines = tuple(screen(run, paths, odds, *case.stated, case.record))
    return Overview(odds, outlook, quality, lines, _page(case, outlook, quality, more))


def _page(case: Case, outlook: Answer, quality: Answer, more: Sequence[str]) -> str:
    run, odds, record = case.run, case.odds, case.record
    plan = run.plan
    labels = {p.label for p in case.months}
    monthly = _only(outlook, lambda t: (t["metric"] == HEADLINE) & t["period"].isin(labels))
    main = _main_rows(odds, plan.calendar, plan.horizon)
    monthly = replace(monthly, summary={**monthly.summary, "actuals": case.past(COMPANY), "targets": []})
    if not (main.rows["scope"] == "company").any():
        monthly = _without_target(monthly, outlook, plan.horizon)
    sections = [Section(monthly, f"{HEADLINE.capitalize()} by month", "fan")]
    if len(main.rows):
        sections.append(Section(_reworded(main), _heading(main.rows, odds.rows), "odds"))
    sections += told(case, more)
    sections += _other_quotas(odds, main)
    whole = _only(outlook, lambda t: t["period"] == plan.horizon_period.label)
    sections.append(Section(whole, f"All metrics in {plan.horizon_period.label}", None))
    if record is not None:
        sections.append(Section(reliability_answer(record), "Track record of the odds", "reliability"))
    lacks = "; ".join(quality.summary["missing"].values())
    sections.append(
        Section(
            quality, "The data behind it", None, note=f"{lacks[0].upper()}{lacks[1:]}." if lacks else None
        )
    )
    title = plan.name if plan.scenario is None else f"{plan.name}, {plan.scenario}"
    return page(title, sections, run.provenance())


def _main_rows(odds: Answer, calendar: Calendar, horizon: str) -> Answer:
    """The quotas of the picture: those by which the plan is judged, and the company's on top."""
    main = main_quotas(odds, calendar, horizon)
    company = odds.rows[(odds.rows["scope"] == "company") & (odds.rows["metric"] == HEADLINE)]
    if len(company):
        labels = [*main["period"].head(1)] or [*company["period"].unique()]
        company = company[company["period"] == main_period(labels, calendar, horizon)].head(1)
    chosen = {*company.index, *main.index[main["scope"] != "company"]}
    return _only(odds, lambda t: t.index.isin(chosen))


def _heading(main: pd.DataFrame, rows: pd.DataFrame) -> str:
    """What the picture's quotas are, with the set where there are several."""
    people = main[main["scope"] != "company"]
    several = rows["set"].nunique() > 1 and len(people)
    named = f", set {people['set'].iloc[0]}" if several else ""
    return f"Odds of the quotas on {HEADLINE} in {main['period'].iloc[0]}{named}"


def _other_quotas(odds: Answer, main: Answer) -> list[Section]:
    """The quotas that are not in the picture, of the same set where there are several."""
    rest, note = _only(odds, lambda t: ~t.index.isin(main.rows.index)), None
    sets = odds.rows["set"].unique()
    if len(sets) > 1 and len(main.rows):
        kept = main.rows["set"].iloc[-1]
        rest = _only(rest, lambda t: t["set"] == kept)
        others = ", ".join(str(s) for s in sets if s != kept)
        note = f"Set {kept}. The other sets ({others}) are in the files that quotas --out writes."
    heading = "All other quotas" if len(main.rows) else "The quotas"
    return [Section(_reworded(rest), heading, None, note)] if len(rest.rows) else []


def _reworded(odds: Answer) -> Answer:
    """Odds with the words of the rows that are left."""
    return replace(odds, words=quota_words(odds.rows))


def _without_target(monthly: Answer, outlook: Answer, horizon: str) -> Answer:
    """The page begins with what is to be expected where the company has no target."""
    rows = outlook.rows
    picked = (rows["scope"] == "company") & (rows["metric"] == HEADLINE) & (rows["component"] == "total")
    row = rows[picked & (rows["period"] == horizon)].iloc[0]
    headline = f"About {money(row['p50'])} {HEADLINE} in {horizon}"
    words = (
        f"No target is stated for the company. In 8 of 10 futures its {HEADLINE} in {horizon} lie between "
        f"{money(row['p10'])} and {money(row['p90'])}. {monthly.words}"
    )
    return replace(monthly, words=words, summary={**monthly.summary, "headline": headline})


def _only(answer: Answer, keep: Callable[[pd.DataFrame], Any]) -> Answer:
    return replace(answer, rows=answer.rows[keep(answer.rows)])
