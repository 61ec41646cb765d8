"""The other answer: what a plan's changes of activity lead to if activity causes no new business."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from quotacast.engine.answer import Answer
from quotacast.engine.answers.attainability import attainability
from quotacast.engine.answers.forecast import forecast
from quotacast.engine.quota import Quota, Scope
from quotacast.models.periods import Period
from quotacast.scenarios.run import Run

#: Columns of the other answer's rows.
ODDS = ("scope", "scope_id", "set", "metric", "period", "target", "p_attain", "p10", "p50", "p90")
OUTLOOK = ("metric", "period", "mean", "p10", "p50", "p90")
SAID = "Should activity cause no new business, summary.without_effect holds instead."


def has_another(run: Run) -> bool:
    """Whether the plan changes activity without saying that it is causal."""
    return run.activity_drives and bool(run.drivers.associations())


def odds_without_effect(run: Run, quotas: Sequence[Quota]) -> list[dict[str, Any]]:
    """Odds of quotas if activity causes nothing, one row each."""
    periods = [run.plan.calendar.parse(q.period) for q in quotas]
    paths = run.without_effect().paths(periods, tuple({q.metric: None for q in quotas}))
    rows = attainability(paths, quotas, run.plan.calendar, {}).rows
    return _plain(rows[list(ODDS)])


def _plain(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON knows them: what is undefined is None."""
    known = rows.astype(object).where(rows.notna(), None)
    return [{str(k): v for k, v in row.items()} for row in known.to_dict("records")]


def with_odds(answer: Answer, run: Run, quotas: Sequence[Quota]) -> Answer:
    """Odds with the other answer beside them, where there is one."""
    if not has_another(run):
        return answer
    summary = {**answer.summary, "without_effect": odds_without_effect(run, quotas)}
    return replace(answer, summary=summary, words=f"{answer.words} {SAID}")


def with_outlook(answer: Answer, run: Run, metrics: Sequence[str], periods: Iterable[Period]) -> Answer:
    """A forecast with the company's totals of the other answer beside it, where there is one."""
    if not has_another(run):
        return answer
    spans = tuple(periods)
    paths = run.without_effect().paths(spans, metrics)
    rows = forecast(paths, metrics, [Scope("company")], spans, {}).rows
    told = _plain(rows[rows["component"] == "total"][list(OUTLOOK)])
    summary = {**answer.summary, "without_effect": told}
    return replace(answer, summary=summary, words=f"{answer.words} {SAID}")
