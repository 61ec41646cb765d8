"""What simple commands ask of a run, and what a terminal shows of the answer.

Pairs of functions named by rows of :data:`quotacast.scenarios.commands.COMMANDS`; what takes more than a few
lines has a file of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from quotacast.engine.answer import Answer
from quotacast.engine.answers.forecast import forecast
from quotacast.engine.backtest.record import PROCESSES
from quotacast.engine.reports.table import as_table
from quotacast.errors import PlanError
from quotacast.scenarios.answer_views import cut_view, performers_text, pipeline_text
from quotacast.scenarios.choose import check_by, select_metrics, select_scopes
from quotacast.scenarios.drawsfile import check_paths, metric_draws, written
from quotacast.scenarios.noeffect import with_outlook
from quotacast.scenarios.performers import lifted, performers_answer
from quotacast.scenarios.pipeline import pipeline_answer
from quotacast.scenarios.run import Run
from quotacast.scenarios.setting.candidates import are_candidates, candidates_text
from quotacast.scenarios.setting.reconcile_view import fair_text
from quotacast.scenarios.trackrecord import backtest, record_lines
from quotacast.scenarios.verdicts import quota_verdicts
from quotacast.scenarios.views import forecast_view, quota_view

Options = Mapping[str, Any]
Found = tuple[Answer, Sequence[str]]


def forecast_answer(run: Run, options: Options) -> Found:
    """Metrics by period and component."""
    scope, metric = options["scope"], options["metric"]
    kind = check_by(options["by"])
    check_paths(options)
    select_metrics(metric)
    select_scopes(run.scopes, scope)  # a typing error is told before the fit
    names = select_metrics(metric, run.able)
    periods = run.periods(kind)
    paths = run.paths(periods, names)
    scopes = select_scopes(paths.scopes(), scope)
    found = forecast(paths, names, scopes, periods, run.provenance(), options["quantiles"])
    saved = written(metric_draws(paths, names, scopes, periods), options)
    return with_outlook(found, run, names, periods), (*saved, *run.plan_notes)


def forecast_text(answer: Answer, options: Options, width: int) -> str:
    """Company and teams, bookings unless another metric was asked for."""
    return as_table(forecast_view(answer, options["scope"], options["metric"]), width=width)


def quotas_answer(run: Run, options: Options) -> Found:
    """Odds of quotas."""
    kind = check_by(options["by"])
    select_metrics(options["metric"])
    asked = (options["quotas"], options["scope"], options["metric"], kind)
    found, notes = quota_verdicts(run, *asked, options["quantiles"], options["cut"], options["fair"])
    return found, (*notes, *run.plan_notes)


def quotas_text(answer: Answer, options: Options, width: int) -> str:
    """Company and teams; or the cuts, whole sets, or candidate sets side by side."""
    if options["fair"]:
        return fair_text(answer, options, width)
    if options["quotas"] is not None and not options["cut"] and are_candidates(answer):
        return candidates_text(answer, options["scope"], width)
    view = cut_view if options["cut"] else quota_view
    return as_table(view(answer, options["scope"]), width=width)


def pipeline_asked(run: Run, options: Options) -> Found:
    """Expected and needed open deals."""
    found, notes = pipeline_answer(run, options["scope"], options["metric"], check_by(options["by"]))
    return found, (*notes, *run.plan_notes)


def pipeline_shown(answer: Answer, options: Options, width: int) -> str:
    """The company by age, or the scopes asked for."""
    return pipeline_text(answer, options["scope"], width)


def performers_asked(run: Run, options: Options) -> Found:
    """Reps at equal conditions, or what a lift brings."""
    asked = (options["scope"], options["metric"], options["by"], options["quantiles"])
    found = performers_answer(run, *asked)
    return lifted(run, options["lift"]) if options["lift"] else found, run.plan_notes


def performers_shown(answer: Answer, options: Options, width: int) -> str:
    """The ranking."""
    return performers_text(answer, options["metric"], width)


def backtest_asked(run: Run, options: Options) -> Found:
    """The track record."""
    if options["origins"] < 1:
        raise PlanError(f"--origins {options['origins']}: wanted a whole number of 1 or more")
    asked = options["metric"]
    if asked not in ("sales", "receipts"):
        raise PlanError(f"--metric {asked}: wanted sales (bookings, deals, creations) or receipts")
    if asked == "receipts":
        from quotacast.scenarios.money.receiptsrecord import receipts_backtest

        return receipts_backtest(run, options["origins"]), ()
    return backtest(run, options["origins"], PROCESSES), ()


def backtest_shown(answer: Answer, options: Options, width: int) -> str:
    """Company totals by horizon."""
    if options["metric"] == "receipts":
        from quotacast.scenarios.money.receiptsrecord import receipts_lines

        return "\n".join(receipts_lines(answer, width))
    return "\n".join(record_lines(answer))
