"""The functions for notebooks: pandas in and out.

::

    import quotacast as qc

    plan = qc.load_plan("demo/plan.toml")
    history = qc.read("demo/crm")
    funnel = qc.fit(history, plan)
    paths = qc.simulate(funnel, history, plan)
    qc.quotas(paths, plan, history)      # DataFrame of odds
    qc.forecast(paths, plan, history)    # DataFrame of done, open, new and total
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from quotacast.engine.answers.attainability import attainability
from quotacast.engine.answers.forecast import forecast as forecast_answer
from quotacast.engine.metrics import answerable
from quotacast.engine.paths import Paths
from quotacast.models.funnel import Funnel, Method
from quotacast.models.history.history import History
from quotacast.scenarios.plan import Plan
from quotacast.scenarios.plan import load_plan as _load_plan
from quotacast.scenarios.run import DEFAULT_METHOD, Run
from quotacast.scenarios.run import read as _read


def read(folder: str | Path) -> History:
    """Read a data folder; ``history.opportunities`` and so on are DataFrames."""
    return _read(Path(folder))


def load_plan(path: str | Path, scenario: str | None = None) -> Plan:
    """Read a plan file."""
    return _load_plan(Path(path), scenario=scenario)


def fit(history: History, plan: Plan, method: Method = DEFAULT_METHOD, *, force: bool = False) -> Funnel:
    """Fit the models of a history, or reuse the stored fit.

    ``force`` goes on with a fit whose diagnostics fail; otherwise that raises `FitError`.
    Posterior draws as ArviZ InferenceData: ``models.inference.to_inference_data(funnel.posteriors)``.
    """
    return _with(Run(plan, method, force), history).funnel


def simulate(funnel: Funnel, history: History, plan: Plan, by: str = "month") -> Paths:
    """Simulate the plan's horizon, to be cut into periods of a kind and the periods of its quotas."""
    run = _with(Run(plan), history, funnel)
    quotas, _ = run.quotas()
    return run.paths([*run.periods(by), *(plan.calendar.parse(q.period) for q in quotas)])


def quotas(paths: Paths, plan: Plan, history: History) -> pd.DataFrame:
    """Odds of the plan's quotas on simulated paths, one row per quota."""
    chosen, _ = _with(Run(plan), history).quotas()
    return attainability(paths, chosen, plan.calendar, {}).rows


def forecast(
    paths: Paths, plan: Plan, history: History, metrics: Sequence[str] = (), by: str = "month"
) -> pd.DataFrame:
    """Forecast of metrics (all that can be answered without a choice), one row per scope, metric, period
    and component.
    """
    metrics = metrics or answerable(paths.able)
    periods = _with(Run(plan), history).periods(by)
    return forecast_answer(paths, metrics, paths.scopes(), periods, {}).rows


def _with(run: Run, history: History, funnel: Funnel | None = None) -> Run:
    """Put what is already there in the place of what a run would make."""
    vars(run)["history"] = history.as_of(run.plan.as_of) if run.plan.as_of else history
    if funnel is not None:
        vars(run)["funnel"] = funnel
    return run
