"""The odds of quotas: those asked for, on one simulation, in the light of the track record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from quotacast.engine.answer import Answer
from quotacast.engine.answers.attainability import attainability
from quotacast.engine.answers.together import together
from quotacast.errors import PlanError
from quotacast.scenarios.choose import select_metrics, select_quotas, select_scopes
from quotacast.scenarios.cut import cut_quotas, cuttable
from quotacast.scenarios.noeffect import with_odds
from quotacast.scenarios.planfile.quotafile import read_quotas
from quotacast.scenarios.run import Run
from quotacast.scenarios.setting.comparable import comparable, pay_of
from quotacast.scenarios.setting.pins import wished
from quotacast.scenarios.trackrecord import judged, stored_record, trusted


def quota_verdicts(
    run: Run,
    file: Path | None,
    scope: Sequence[str],
    metric: Sequence[str],
    kind: str | None,
    percents: Sequence[float],
    cut: bool,
    fair: bool = False,
) -> tuple[Answer, tuple[str, ...]]:
    """Odds of the quotas of a file of candidates, or of the plan and the data, and what must be said.

    Parameters
    ----------
    file : Path, optional
    scope, metric, kind
        Those asked for; all where empty.
    percents : sequence of float
        Quantiles to be shown.
    cut : bool
        Cut the longest quotas into finer periods instead.
    fair : bool
        Judge whole sets instead: odds that belong together, cushion, pay and fairness.

    Raises
    ------
    PlanError
        Where there is no quota to judge, or something asked for does not exist.
    """
    candidates = read_quotas(file, calendar=run.plan.calendar) if file else ()
    names = select_metrics(metric, run.able) if metric else ()
    chosen, notes = run.quotas(candidates)
    select_scopes(run.scopes, scope)
    chosen = select_quotas(chosen, scope, names, kind, run.plan.calendar)
    if not chosen:
        raise PlanError(
            "no quotas to judge: state [[quota]] in the plan, a quotas table in the data, or "
            f"--quotas FILE. {' '.join(notes)}"
        )
    if cut:
        chosen, left_out = cuttable(run, chosen)
        return cut_quotas(run, chosen, left_out), (*notes, *left_out)
    periods = [run.plan.calendar.parse(q.period) for q in chosen]
    paths = run.paths(periods, tuple({q.metric: None for q in chosen}))
    if fair:
        notes = (*notes, *trusted(run, tuple({q.metric: None for q in chosen})))
        odds = (pay_of(run.plan), wished(run.plan, {}).company, comparable(run, chosen))
        return together(paths, chosen, run.plan.calendar, run.provenance(), *odds), notes
    found = attainability(paths, chosen, run.plan.calendar, run.provenance(), percents)
    return with_odds(judged(found, stored_record(run), run.force), run, chosen), notes
