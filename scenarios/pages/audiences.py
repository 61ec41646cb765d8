"""Pages for those who asked: a new audience is a row here, and the sections that it names.

A section is a function of a `Case` that gives a `Section`, or None where there is nothing to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

from quotacast.engine.quota import Scope
from quotacast.engine.reports.page import Section, page, sheet
from quotacast.engine.reports.words import money, money_range, number, odds_words, percent
from quotacast.errors import PlanError
from quotacast.models.timegrid import day_number
from quotacast.scenarios.choose import hint, unknown_scope
from quotacast.scenarios.pages.case import Case, middle
from quotacast.scenarios.run import Run
from quotacast.scenarios.screen import COMPANY, HEADLINE

Teller = Callable[[Case], "Section | None"]


@dataclass(frozen=True)
class Audience:
    """Who a page is for.

    Attributes
    ----------
    title : str
        After the plan's name, at the top.
    sections : tuple of str
        ``module:function`` in `quotacast.scenarios`, in the order of reading.
    of : {"company", "rep"}
        Whether it is about the whole or about one rep, who is named after a colon.
    printed : bool
        Whether it is a sheet to be printed; else a page to be read.
    top : str
        ``module:function`` of a `Case` that gives the headline and the figures below it; those about the
        target without it.
    """

    title: str
    sections: tuple[str, ...]
    of: str = "company"
    printed: bool = True
    top: str = ""


AUDIENCES: Mapping[str, Audience] = {
    "leadership": Audience(
        "for leadership",
        (
            "sections:target",
            "sections_deciding:gap",
            "sections:must_hold",
            "sections:teams",
            "sections:reps",
            "sections:doubts",
            "sections:record",
        ),
    ),
    "ops": Audience(
        "for sales operations",
        (
            "sections:target",
            "sections_deciding:gap",
            "sections_ops:quotas",
            "sections_ops:curves",
            "sections:must_hold",
            "sections_ops:pipeline",
            "sections_ops:performers",
            "sections_ops:calls",
            "sections:doubts",
        ),
        printed=False,
    ),
    "finance": Audience(
        "for lenders and finance",
        (
            "sections_finance:forecast",
            "sections_finance:floor",
            "sections_finance:downside",
            "sections_finance:terms",
            "sections_finance:contracted",
            "sections_finance:record",
            "sections_finance:origin",
        ),
        top="sections_finance:top",
    ),
    "rep": Audience(
        "rep",
        (
            "sections_rep:quotas",
            "sections_rep:weekly",
            "sections_rep:curve",
            "sections_rep:by_month",
            "sections_rep:evenness",
            "sections_rep:deals",
            "sections_rep:compared",
        ),
        of="rep",
    ),
}
#: Sections of every page beside its own.
_CURVES = ("sections_ops:curve_of_company", "sections_ops:curves")
#: Those of the page of ``plan``: what is decided on is tried on fewer futures, so that it costs seconds.
MORE: tuple[str, ...] = (*_CURVES, "sections_deciding:gap_shortly", "sections_deciding:scenarios_shortly")
#: And of the page of ``report``: on as many as `compare` takes.
WHOLE: tuple[str, ...] = (*_CURVES, "sections_deciding:gap", "sections_deciding:scenarios")
#: What a sheet tells of where its numbers come from: nothing that names other reps.
ORIGIN = (
    "plan",
    "scenario",
    "plan_hash",
    "data_fingerprint",
    "as_of",
    "horizon",
    "currency",
    "seed",
    "draws",
)


def teller(name: str) -> Teller:
    """The section that a row names."""
    return cast("Teller", _function(name))


def _function(name: str) -> Callable[[Case], Any]:
    module, _, function = name.partition(":")
    return cast(
        "Callable[[Case], Any]", getattr(import_module(f"quotacast.scenarios.pages.{module}"), function)
    )


def told(case: Case, names: Sequence[str]) -> list[Section]:
    """Sections that have something to say."""
    return [found for found in (teller(name)(case) for name in names) if found is not None]


def asked(audience: str) -> tuple[Audience, Scope]:
    """Who a page is for, and about whom it is.

    Raises
    ------
    PlanError
        If there is no such audience.
    """
    kind, _, who = audience.partition(":")
    row = AUDIENCES.get(kind)
    if row is None or (row.of == "rep") != bool(who.strip()):
        known = [f"{name}:ID" if row.of == "rep" else name for name, row in AUDIENCES.items()]
        near = hint(kind, list(AUDIENCES)) if row is None else ""
        meant = near if near.startswith(", did") else ""
        raise PlanError(f"--for {audience}: wanted one of {', '.join(known)}{meant}")
    return row, Scope("rep", who.strip()) if who else COMPANY


def file_name(audience: str | None) -> str:
    """The file a page is written to unless told otherwise; nothing of a name can leave the folder."""
    if audience is None:
        return "report.html"
    safe = re.sub(r"[^A-Za-z0-9_-]+", "_", audience.replace(":", "-"))
    return f"report-{safe}.html"


def audience_page(run: Run, audience: str) -> str:
    """The page for an audience.

    Raises
    ------
    PlanError
        If there is no such audience, or the rep does not exist or has left.
    """
    row, scope = asked(audience)
    _check_rep(run, scope)
    case = Case(run, scope)
    plan = run.plan
    called = plan.name if plan.scenario is None else f"{plan.name}, {plan.scenario}"
    title = f"{called}, {row.title if scope == COMPANY else rep_name(run, scope.id)}"
    sections = told(case, row.sections)
    if not row.printed:
        return page(title, sections, run.provenance())
    origin = {key: run.provenance()[key] for key in (*ORIGIN, "method", "versions")}
    said, figures = _function(row.top)(case) if row.top else (headline(case), facts(case))
    return sheet(title, said, figures, sections, origin, small_print(run))


def _check_rep(run: Run, scope: Scope) -> None:
    """Refuse reps who do not exist or have left, before anything long begins."""
    if scope.kind != "rep":
        return
    if scope not in run.scopes:
        raise PlanError(f"--for {scope}: {unknown_scope(scope, run.scopes)}")
    people, today = run.people, int(day_number(run.history.as_of_date))
    hires = [hire.rep_id for hire in run.drivers.hires]
    at = people.index().get(scope.id)
    if scope.id not in hires and (at is None or people.stop[at] <= today):
        raise PlanError(f"--for {scope}: has left, so there is nothing to forecast")


def rep_name(run: Run, rep: str) -> str:
    """Id and name of a rep."""
    table = run.history.reps
    names = table.loc[table["rep_id"] == rep, "name"].dropna()
    return f"rep {rep}, {names.iloc[-1]}" if len(names) else f"rep {rep}"


def headline(case: Case) -> str:
    """A page in one sentence."""
    goal = case.goal(case.scope)
    if goal is None:
        _, half, _ = middle(case.values(case.scope, None).total)
        return f"About {money(half)} {HEADLINE} in {case.run.plan.horizon}; no target is stated"
    p = case.chance(goal)
    what = f"reach {money(goal.target)} {HEADLINE} in {goal.period}"
    if p is None:
        return f"Odds withheld: to {what}"
    said = odds_words(p)
    return f"{said[0].upper()}{said[1:]} to {what}"


def facts(case: Case) -> list[tuple[str, str]]:
    """Figures for the top of a sheet."""
    goal = case.goal(case.scope)
    values = case.values(case.scope, goal)
    spread = middle(values.total)
    said = [("Bottom-up: low – middle – high (P10 – P50 – P90)", money_range(spread))]
    if goal is not None:
        p = case.chance(goal)
        gap = goal.target - spread[1]
        said = [("Target", money(goal.target)), ("Odds", "withheld" if p is None else percent(p)), *said]
        said.append(("Middle against target", f"{money(abs(gap))} {'short' if gap > 0 else 'above'}"))
    if values.done:
        said.append(("Already done", money(values.done)))
    return said


def small_print(run: Run) -> str:
    """Where a sheet's numbers come from, in one line."""
    told = run.provenance()
    day = run.history.as_of_date
    return (
        f"Amounts in {told['currency']}. Known on {day.day} {day:%B %Y}; {number(told['draws'])} simulated "
        f"futures, seed {told['seed']}. Data {str(told['data_fingerprint'])[:12]}, plan "
        f"{str(told['plan_hash'])[:12]}, quotacast {told['versions']['quotacast']} ({told['method']}). "
        "Odds are shares of the simulated futures."
    )
