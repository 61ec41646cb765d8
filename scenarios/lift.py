"""What it would bring if the others came up to the top quarter, and if reps worked more evenly.

Both compare two simulations under the same random streams, so the difference is the change's alone. What
reps do differently goes along with what they sell; whether it makes them sell more, the data cannot tell.
A lift is therefore an association, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.able import Able
from quotacast.engine.answer import Answer, Field
from quotacast.engine.answers.quantiles import DEFAULT_QUANTILES, quantile_fields, quantiles
from quotacast.engine.drivers import ACTIVITY, Change, Drivers
from quotacast.engine.metrics import METRICS, metric, series, units
from quotacast.engine.paths import Paths
from quotacast.engine.quota import Scope
from quotacast.engine.reports.words import money
from quotacast.errors import PlanError
from quotacast.models.periods import Period
from quotacast.models.terms import Floats
from quotacast.scenarios.run import Run
from quotacast.scenarios.targets import check_changes

#: What is compared of the two simulations.
SHOWN = ("opportunities_created", "deals_won", "bookings")
FIELDS = (
    Field("scope", "text", "company or rep"),
    Field("scope_id", "text", "the rep; empty for the company"),
    Field("metric", "text", "what is compared"),
    Field("period", "text", "the plan's horizon"),
    Field("times", "ratio", "factor on what is lifted; missing for the company"),
    Field("mean", "metric", "mean without the lift"),
    Field("lifted", "metric", "mean with it"),
    Field("gain", "metric", "mean of the difference"),
)


def lift_changes(rates: Mapping[str, float], top: Sequence[str], what: str) -> tuple[Change, ...]:
    """Bring every other rep to the mean rate of the top ones; who is better already stays.

    Parameters
    ----------
    rates : mapping of rep to float
        Per working month.
    top : sequence of str
    what : str
        What is changed, as in ``[[change]]``.
    """
    goal = float(np.mean([rates[rep] for rep in top]))
    down = what in METRICS and METRICS[what].good == "down"
    worse = {
        rep: rate
        for rep, rate in rates.items()
        if rep not in top and rate > 0 and (rate > goal if down else rate < goal)
    }
    return tuple(Change(what, f"rep:{rep}", times=goal / rate) for rep, rate in worse.items())


def lift_answer(run: Run, compared: Answer, what: str) -> Answer:
    """Price the lift of one rate to the top quarter's level, over the plan's horizon.

    Parameters
    ----------
    compared : Answer
        The answer of `performers` over the whole history.
    what : str
        A metric of that answer that a plan may change: ``opportunities_created``, ``activity:call``, …

    Raises
    ------
    PlanError
        Where reps are not compared by it, there is no top quarter, or it cannot be simulated.
    """
    mine = compared.rows[compared.rows["metric"] == what]
    _refuse(compared, what, run.able, known=not mine.empty)
    chain = run.funnel.prepared.chain
    refuse_undriven(what, chain.drivers, chain.refused)
    values = mine["mean"].astype(float).fillna(mine["actual"].astype(float))
    rates = dict(zip(mine["scope_id"], values, strict=True))
    changes = lift_changes(rates, compared.summary["top"]["reps"], what)
    lifted = replace(run.drivers, changes=(*run.drivers.changes, *changes))

    def simulated(drivers: Drivers) -> Paths:
        other = replace(run)
        vars(other).update({k: vars(run)[k] for k in ("history", "funnel", "_prepared") if k in vars(run)})
        vars(other)["drivers"] = drivers
        return other.paths([run.plan.horizon_period], SHOWN)

    pair = (simulated(run.drivers), simulated(lifted))
    return lift_table(pair, changes, run.plan.horizon_period, what, run.provenance())


def refuse_undriven(what: str, drivers: Sequence[str], refused: str) -> None:
    """Refuse to price a kind of activity that drives nothing in these data.

    Raises
    ------
    PlanError
        With the reason.
    """
    if what.startswith(ACTIVITY) and what.removeprefix(ACTIVITY) not in drivers:
        raise PlanError(f"--lift {what}: {refused or 'it does not drive creation in these data'}")


def _refuse(compared: Answer, what: str, able: Able, known: bool) -> None:
    why = ""
    if not known:
        why = "reps are not compared by it"
    elif what in compared.summary["no_rep_effect"]:
        why = "the data hold no rep effect in it, so there is nothing to come up to"
    elif not compared.summary["top"]:
        why = "the data tell no top quarter of reps"
    if why:
        raise PlanError(f"--lift {what}: {why}")
    try:
        check_changes(Drivers(changes=(Change(what, "company", times=1.0),)), able)
    except PlanError as error:
        raise PlanError(f"--lift {what}: {error.problems[0].partition(': ')[2]}") from None


def lift_table(
    pair: tuple[Paths, Paths],
    changes: Sequence[Change],
    period: Period,
    what: str,
    provenance: Mapping[str, Any],
) -> Answer:
    """Differences between two simulations under the same random streams."""
    times = {Scope.parse(c.scope): c.times for c in changes}
    rows = []
    for name in SHOWN:
        for scope in (Scope("company"), *times):
            base, lifted = (series(paths, metric(name), scope, period).total for paths in pair)
            gain = lifted - base
            rows.append(
                {
                    "scope": scope.kind,
                    "scope_id": scope.id,
                    "metric": name,
                    "period": period.label,
                    "times": times.get(scope),
                    "mean": float(base.mean()),
                    "lifted": float(lifted.mean()),
                    "gain": float(gain.mean()),
                    **quantiles(gain, DEFAULT_QUANTILES),
                }
            )
    fields = (*FIELDS, *quantile_fields(DEFAULT_QUANTILES))
    table = pd.DataFrame(rows, columns=[f.name for f in fields])
    whole = table[(table["scope"] == "company") & (table["metric"] == "bookings")].iloc[0]
    words = (
        f"{len(changes)} reps brought to the top quarter's {what}: {money(whole['gain'])} more bookings in "
        f"{period.label} ({money(whole['p10'])} to {money(whole['p90'])}). This is an association: it holds "
        "as far as it is this that makes the top reps sell more. p10 to p90 are of the gain."
    )
    summary = {"metric_units": units(SHOWN), "what": what, "causal": False}
    if what.startswith(ACTIVITY):
        words += " If activity is not what makes the difference, the gain is nil."
    return Answer("lift", table, fields, words, summary, provenance, "table")


def worst_month(paths: Paths, name: str, scope: Scope, months: Sequence[Period], targets: Floats) -> Floats:
    """Attainment of the worst month in every draw, shape (draws,).

    Parameters
    ----------
    months : sequence of Period
    targets : ndarray, shape (months,)
    """
    which = metric(name)
    each = [series(paths, which, scope, month).total / t for month, t in zip(months, targets, strict=True)]
    return np.asarray(np.min(np.stack(each, axis=1), axis=1))


def steadier(
    simulated: Callable[[bool], Paths],
    name: str,
    scopes: Sequence[Scope],
    months: Sequence[Period],
    targets: Mapping[Scope, Floats],
) -> pd.DataFrame:
    """What the same total of activity, spread evenly, does to the worst month.

    Parameters
    ----------
    simulated : callable
        Runs a simulation: False as reps work, True with the same expected total of activity and no swings.
    targets : mapping of Scope to ndarray, shape (months,)

    Returns
    -------
    DataFrame
        scope, scope_id, p_now and p_even (odds that even the worst month reaches its target), worst_now
        and worst_even (median attainment of the worst month).
    """
    now, even = simulated(False), simulated(True)
    rows = []
    for scope in scopes:
        a, b = (worst_month(paths, name, scope, months, targets[scope]) for paths in (now, even))
        rows.append(
            {
                "scope": scope.kind,
                "scope_id": scope.id,
                "p_now": float((a >= 1).mean()),
                "p_even": float((b >= 1).mean()),
                "worst_now": float(np.median(a)),
                "worst_even": float(np.median(b)),
            }
        )
    return pd.DataFrame(rows)
