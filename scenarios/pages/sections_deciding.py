"""Sections about what may be decided: levers and scenarios, each simulated beside the plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd

from quotacast.engine.answer import Answer
from quotacast.engine.quota import Quota
from quotacast.engine.reports.page import Section
from quotacast.engine.reports.words import money, percent
from quotacast.scenarios.deciding.compare import compare_answer
from quotacast.scenarios.deciding.compare_view import has_costs, net_words, points, telling
from quotacast.scenarios.deciding.fewer import Fewer, affordable
from quotacast.scenarios.deciding.levers import Shortly, levers_answer
from quotacast.scenarios.deciding.net import NET
from quotacast.scenarios.pages.case import Case
from quotacast.scenarios.screen import COMPANY

#: Deals that a section of the page of ``plan`` may simulate, and the least number of futures of a simulation.
SHORT_DEALS, SHORT_DRAWS = 2e6, 300
#: With more levers than this, sets of them take too many simulations for the page of ``plan``.
SHORT_LEVERS = 4
#: Columns that only rows of quotas have.
_OF_QUOTAS = ("set", "target_against", "target", "p_against", "p_attain", "p_diff", "p_diff_se")
_GAP, _SCENARIOS = "What closes the gap", "Scenarios against the plan"


def gap(case: Case) -> Section | None:
    """What closes the gap, lever by lever, where the plan states levers and the odds are not withheld."""
    return _gap(case, None) if _has_gap(case) else None


def gap_shortly(case: Case) -> Section | None:
    """The same on fewer futures, without last days and the cheapest set."""
    if not _has_gap(case):
        return None
    levers = len(case.run.plan.levers)
    if levers > SHORT_LEVERS:
        said = (
            f"The plan states {levers} levers, whose sets take {2**levers:,} simulations: quotacast compare "
            "--levers splits the gap among them, and quotacast report draws it."
        )
        return Section(None, _GAP, lines=(said,))
    return _gap(case, Shortly(case.paths, SHORT_DEALS, SHORT_DRAWS))


def _has_gap(case: Case) -> bool:
    return case.goal(COMPANY) is not None and not case.withheld and bool(case.run.plan.levers)


def _gap(case: Case, shortly: Shortly | None) -> Section | None:
    goal = case.goal(COMPANY)
    if goal is None:
        return None
    found, _ = levers_answer(case.run, {"target": goal.target, "period": goal.period}, shortly)
    return Section(found, _GAP, "waterfall", numbers="none")


def scenarios(case: Case) -> Section | None:
    """The plan's scenarios against the plan, on the same futures."""
    return _scenarios(case, None) if _has_scenarios(case) else None


def scenarios_shortly(case: Case) -> Section | None:
    """The same on fewer futures."""
    if not _has_scenarios(case):
        return None
    each = SHORT_DEALS / len(case.run.plan.scenarios)
    return _scenarios(case, Fewer(case.run, case.paths, affordable(case.run, case.paths, each, SHORT_DRAWS)))


def _has_scenarios(case: Case) -> bool:
    return bool(case.run.plan.scenarios) and case.run.plan.scenario is None


def _scenarios(case: Case, fewer: Fewer | None) -> Section:
    asked: dict[str, Any] = {"names": (), "scope": ("company", "team"), "quantiles": (10, 50, 90)}
    found, _ = compare_answer(case.run, asked, fewer)
    goal = case.goal(COMPANY)
    lines = [found.words]
    for name in found.summary["scenarios"]:
        rows = found.rows[found.rows["scenario"] == name]
        lines += _odds(case, name, rows, goal)
        lines += net_words(found, name)
    kept = tuple(f for f in found.fields if f.name not in _OF_QUOTAS)
    rows = _telling(found)[[f.name for f in kept]]
    return Section(replace(found, rows=rows, fields=kept), _SCENARIOS, "difference", lines=tuple(lines))


def _odds(case: Case, name: str, rows: pd.DataFrame, goal: Quota | None) -> list[str]:
    """What becomes of the odds of the company's target."""
    if goal is None or case.withheld:
        return []
    mine = rows[(rows["scope"] == "company") & (rows["metric"] == goal.metric)]
    mine = mine[(mine["set"] == goal.set) & (mine["period"] == goal.period)]
    return [
        f"{name}: odds of {money(row['target'])} {goal.metric} {percent(row['p_against'])}, then "
        f"{percent(row['p_attain'])} ({points(row['p_diff'])} ± {100 * row['p_diff_se']:.1f} points, "
        "standard error)."
        for row in mine.to_dict("records")
    ]


def _telling(found: Answer) -> pd.DataFrame:
    """Rows of the picture: of teams bookings only, and no net figure without any costs."""
    rows = telling(found.rows[found.rows["set"] == ""])
    return rows[(rows["metric"] != NET) | rows["scenario"].map(lambda name: has_costs(found, str(name)))]
