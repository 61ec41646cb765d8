"""`quotacast performers`: from a run to the comparison of reps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from quotacast.engine.answer import Answer
from quotacast.engine.answers.performers import performers
from quotacast.engine.answers.quantiles import DEFAULT_QUANTILES
from quotacast.engine.quota import Scope
from quotacast.errors import PlanError
from quotacast.scenarios.choose import check_by, hint, select_scopes
from quotacast.scenarios.evenness import WHAT, evenness_answer
from quotacast.scenarios.lift import lift_answer
from quotacast.scenarios.run import Run


def lifted(run: Run, what: str) -> Answer:
    """Price a change of how reps work: the top quarter's rate of something for all, or an even pace."""
    if what == WHAT:
        return evenness_answer(run)
    return lift_answer(run, performers_answer(run), what)


def performers_answer(
    run: Run,
    scopes: Sequence[str] = (),
    metrics: Sequence[str] = (),
    kind: str | None = None,
    percents: Sequence[float] = DEFAULT_QUANTILES,
) -> Answer:
    """Compare the reps of the scopes asked for, among all reps.

    Raises
    ------
    PlanError
        Where scopes or metrics do not exist, or the kind of period is not the quarter.
    """
    if check_by(kind) not in (None, "quarter"):
        raise PlanError(f"--by {kind}: reps are compared over the whole history, or --by quarter")
    wanted = select_scopes(run.scopes, scopes)
    found = performers(
        run.funnel, run.history, run.provenance(), by_quarter=kind == "quarter", percents=percents
    )
    known = list(found.summary["metric_units"])
    problems = [
        f"--metric {m}: reps are not compared by it{hint(m, known)}" for m in metrics if m not in known
    ]
    if problems:
        raise PlanError(problems)
    people = run.funnel.prepared.people
    kept = {
        rep
        for rep, team in zip(people.reps, people.team, strict=True)
        if not {Scope("company"), Scope("team", team), Scope("rep", rep)}.isdisjoint(wanted)
    }
    rows = found.rows[found.rows["scope_id"].isin(kept)]
    if metrics:
        rows = rows[rows["metric"].isin(metrics)]
    return replace(found, rows=rows.reset_index(drop=True))
