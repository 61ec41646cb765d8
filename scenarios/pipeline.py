"""`quotacast pipeline`: from a run to expected and needed open deals."""

from __future__ import annotations

from collections.abc import Sequence

from quotacast.engine.answer import Answer
from quotacast.engine.answers.pipeline import Goal, Outlook, pipeline
from quotacast.engine.book import open_book
from quotacast.engine.metrics import METRICS, metric, series
from quotacast.engine.openbook import fading
from quotacast.engine.openbook_stages import stage_flow
from quotacast.engine.paths import Paths
from quotacast.engine.quota import Quota, Scope
from quotacast.errors import PlanError
from quotacast.models.periods import KINDS, Period
from quotacast.scenarios.choose import select_metrics, select_scopes
from quotacast.scenarios.run import Run

#: Wished odds where the plan states none.
DEFAULT_AIM = {"company": 0.7, "team": 0.6, "rep": 0.6}

Goals = dict[tuple[Scope, str, str], Goal]


def pipeline_answer(
    run: Run, wanted: Sequence[str], metrics: Sequence[str], kind: str | None
) -> tuple[Answer, tuple[str, ...]]:
    """Expected and needed pipeline, and what must be said about the targets.

    Parameters
    ----------
    wanted, metrics, kind
        Scopes, metrics (bookings where empty) and kind of period (quarter) asked for.
    """
    names = check_metrics(metrics)
    select_metrics(names, run.able)
    select_scopes(run.scopes, wanted)
    periods = run.periods(kind or "quarter")
    quotas, _ = run.quotas()
    stated = {q.period: run.plan.calendar.parse(q.period) for q in quotas if q.metric in names}
    paths = run.paths([*periods, *stated.values()], [*names, "opportunities_created", "close_rate"])
    scopes = select_scopes(paths.scopes(), wanted)
    prepared, ids = run.funnel.prepared, run.history.opportunities
    days = (run.plan.horizon_period.last - run.history.as_of_date).days
    book = open_book(run.history, prepared.people, prepared.segment, prepared.quotes, prepared.stages)
    stage = dict(zip(ids["opportunity_id"], ids["stage"], strict=True))
    outlook = Outlook(paths, book, fading(run.funnel, days), stage, stage_flow(run.funnel))
    goals, notes = goals_of(run, paths, quotas, names, scopes, periods)
    return pipeline(outlook, names, scopes, periods, goals, run.provenance()), notes


def check_metrics(metrics: Sequence[str]) -> tuple[str, ...]:
    """Metrics that come from wins, or bookings.

    Raises
    ------
    PlanError
        Naming every one that an open pipeline does not feed.
    """
    able = [m.name for m in METRICS.values() if m.level == "output" and not m.is_ratio]
    problems = [
        f"--metric {name}: an open pipeline does not feed it; wanted one of {', '.join(able)}"
        for name in metrics
        if name not in able
    ]
    if problems:
        raise PlanError(problems)
    return tuple(dict.fromkeys(metrics)) or ("bookings",)


def goals_of(
    run: Run,
    paths: Paths,
    quotas: Sequence[Quota],
    names: Sequence[str],
    scopes: Sequence[Scope],
    periods: Sequence[Period],
) -> tuple[Goals, tuple[str, ...]]:
    """Targets of scopes and periods: stated ones, else their part of a longer period's.

    The first set that states a quota counts. A part is what the scope is expected to reach in the period
    over what it is expected to reach in the longer one, history included.
    """
    stated: dict[tuple[Scope, str], list[Quota]] = {}
    for quota in quotas:
        if quota.metric in names:
            stated.setdefault((quota.scope, quota.metric), []).append(quota)
    goals: Goals = {}
    cut: set[str] = set()
    for scope in scopes:
        for name in names:
            for period in periods:
                found = _target(run, paths, stated.get((scope, name), []), scope, name, period)
                if found is not None:
                    goals[scope, name, period.label] = Goal(found[0], aim_of(run, scope))
                    cut |= {found[1]} - {period.label}
    notes = []
    if cut:
        notes.append(f"Targets of shorter periods are parts of those of {', '.join(sorted(cut))}, by season.")
    if goals and all(getattr(run.plan.aim, s) is None for s in DEFAULT_AIM):
        notes.append("The plan states no [aim]: 70% for the company, 60% for teams and reps.")
    return goals, tuple(notes)


def aim_of(run: Run, scope: Scope) -> float:
    """Wished odds of a scope's targets."""
    stated: float | None = getattr(run.plan.aim, scope.kind)
    return DEFAULT_AIM[scope.kind] if stated is None else stated


def _target(
    run: Run, paths: Paths, quotas: Sequence[Quota], scope: Scope, name: str, period: Period
) -> tuple[float, str] | None:
    """Target, and the period in which it is stated."""
    for quota in quotas:
        if quota.period == period.label:
            return quota.target, quota.period
    for quota in sorted(quotas, key=lambda q: KINDS.index(run.plan.calendar.parse(q.period).kind)):
        wider = run.plan.calendar.parse(quota.period)
        if wider.first <= period.first and period.last <= wider.last:
            part, whole = (_expected(paths, name, scope, p) for p in (period, wider))
            return (quota.target * part / whole, quota.period) if part > 0 else None
    return None


def _expected(paths: Paths, name: str, scope: Scope, period: Period) -> float:
    return float(series(paths, metric(name), scope, period).total.mean())
