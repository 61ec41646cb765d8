"""Sections for sales operations: every quota's odds, the curves behind them, pipeline, people, record."""

from __future__ import annotations

from dataclasses import replace

from quotacast.engine.answers.attainability import quota_words
from quotacast.engine.answers.curve import odds_curve
from quotacast.engine.answers.pipeline import ALL
from quotacast.engine.reports.page import Section
from quotacast.errors import PlanError
from quotacast.scenarios.pages.case import Case
from quotacast.scenarios.performers import performers_answer
from quotacast.scenarios.pipeline import pipeline_answer
from quotacast.scenarios.screen import COMPANY, HEADLINE
from quotacast.scenarios.trackrecord import reliability_answer


def quotas(case: Case) -> Section | None:
    """Odds of the company, its teams and its reps."""
    goal = case.goal(COMPANY)
    rows = case.odds.rows
    kept = rows.index.isin(case.main.index[case.main["scope"] != "company"])
    if goal is not None:
        company = (rows["scope"] == "company") & (rows["set"] == goal.set) & (rows["metric"] == goal.metric)
        kept |= (company & (rows["period"] == goal.period)).to_numpy()
    chosen = rows[kept]
    if chosen.empty:
        return None
    answer = replace(case.odds, rows=chosen, words=quota_words(chosen))
    return Section(answer, f"Odds of the quotas on {HEADLINE}", "odds")


def curve_of_company(case: Case) -> Section | None:
    """The odds of other targets than the company's own."""
    goal = case.goal(COMPANY)
    if goal is None or case.withheld:
        return None
    found = odds_curve(case.paths, [goal], case.run.plan.calendar, case.run.provenance())
    return Section(found, "Odds of other targets", "curve")


def curves(case: Case) -> Section | None:
    """The odds of other quotas for every team and rep."""
    if case.withheld:
        return None
    scopes = [s for s in case.paths.scopes() if s != COMPANY]
    goals = [goal for goal in map(case.goal, scopes) if goal is not None]
    if not goals:
        return None
    found = odds_curve(case.paths, goals, case.run.plan.calendar, case.run.provenance())
    words = "Each point of a curve is a quota and its odds; today's quota is marked."
    return Section(found, "Odds of other quotas of teams and reps", "curve", lines=(words,), numbers="none")


def pipeline(case: Case) -> Section | None:
    """The open pipeline that is expected against the one needed, by quarter."""
    try:
        found, notes = pipeline_answer(case.run, (), (), None)
    except PlanError as error:  # such as a horizon without a whole quarter to come
        return Section(None, "Pipeline", lines=tuple(error.problems))
    rows = found.rows[(found.rows["scope"] == "company") & (found.rows["age"] == ALL)]
    return Section(replace(found, rows=rows), "Pipeline", None, " ".join(notes) or None)


def performers(case: Case) -> Section | None:
    """Reps at equal conditions."""
    found = performers_answer(case.run)
    rows = found.rows[(found.rows["metric"] == HEADLINE)].sort_values(["rank", "scope_id"])
    return Section(replace(found, rows=rows), "Reps at equal conditions") if len(rows) else None


def calls(case: Case) -> Section | None:
    """How often quotas that were called so and so likely were met."""
    if case.record is None:
        return None
    return Section(reliability_answer(case.record), "Track record of the odds", "reliability")
