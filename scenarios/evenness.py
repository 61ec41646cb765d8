"""What the same total of activity, spread evenly, does to the worst month.

The even future has the reps' fitted activity without what swings from week to week (a Poisson count in place
of the NegBinomial) and from quarter to quarter (no rep x quarter effect; the level makes up for its mean), so
the expected total stays. Season and what moves all reps at once stay too. Activity acts on creation through
the fitted slopes: an association, unless activity is what causes it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from quotacast.engine.answer import Answer, Field
from quotacast.engine.drivers import ACTIVITY
from quotacast.engine.metrics import metric, series
from quotacast.engine.paths import Paths
from quotacast.engine.quota import Scope
from quotacast.engine.reports.words import percent
from quotacast.errors import PlanError
from quotacast.models.funnel import Funnel
from quotacast.models.terms import Posterior
from quotacast.scenarios.lift import steadier
from quotacast.scenarios.run import Run

WHAT = "evenness"
#: A month is good enough with this part of what is expected of it.
ENOUGH = 0.8
METRIC = "opportunities_created"
FIELDS = (
    Field("scope", "text", "company, team or rep"),
    Field("scope_id", "text", "team or rep; empty for the company"),
    Field("p_now", "probability", f"odds that every month brings {ENOUGH:.0%} of what is expected of it"),
    Field("p_even", "probability", "the same with activity spread evenly"),
    Field("worst_now", "ratio", "the worst month over what is expected of it, median"),
    Field("worst_even", "ratio", "the same with activity spread evenly"),
)


def even_funnel(funnel: Funnel) -> Funnel:
    """The funnel with reps whose activity does not swing, of the same expected total."""

    def even(found: Posterior) -> Posterior:
        effects = {name: value for name, value in found.effects.items() if name != "rep_quarter"}
        sd = np.asarray(found.hyper.get("rep_quarter_sd", np.zeros(found.draws)))
        effects["level"] = effects["level"] + (sd**2 / 2)[:, None]
        return replace(found, effects=effects, hyper={**found.hyper, "overdispersion": np.zeros(found.draws)})

    posteriors = {n: even(p) if n.startswith(ACTIVITY) else p for n, p in funnel.posteriors.items()}
    return replace(funnel, posteriors=posteriors)


def evenness_answer(run: Run) -> Answer:
    """Odds of the worst month as reps work, and with the same activity spread evenly.

    Raises
    ------
    PlanError
        Where the data let no activity drive creation.
    """
    chain = run.funnel.prepared.chain
    if not chain.drivers:
        raise PlanError(
            f"--lift {WHAT}: {chain.refused or 'the data hold no activities that drive creation'}"
        )
    months, now = run.periods("month"), futures(run, even=False)
    scopes = now.scopes()
    targets: dict[Scope, Any] = {
        scope: ENOUGH * np.array([series(now, metric(METRIC), scope, m).total.mean() for m in months])
        for scope in scopes
    }
    known = [s for s in scopes if targets[s].min() > 0]
    table = steadier(lambda even: futures(run, even=True) if even else now, METRIC, known, months, targets)
    table[["worst_now", "worst_even"]] *= ENOUGH
    whole = table.iloc[0]
    words = (
        f"Odds that the worst month still brings {ENOUGH:.0%} of the opportunities expected of it: "
        f"{percent(whole['p_now'])} for the company, {percent(whole['p_even'])} with the same activity "
        "spread evenly. This is an association: it holds as far as activity is what brings opportunities."
    )
    summary = {"metric_units": {}, "metric": METRIC, "months": [m.label for m in months]}
    return Answer(WHAT, table[[f.name for f in FIELDS]], FIELDS, words, summary, run.provenance(), "table")


def futures(run: Run, *, even: bool) -> Paths:
    """Simulated months, of reps as they work or of even ones."""
    other = replace(run)
    vars(other).update({k: vars(run)[k] for k in ("history", "_prepared", "notes") if k in vars(run)})
    vars(other)["funnel"] = even_funnel(run.funnel) if even else run.funnel
    kinds = [f"{ACTIVITY}{k}" for k in run.funnel.prepared.chain.drivers]
    return other.paths(run.periods("month"), (METRIC, *kinds))
