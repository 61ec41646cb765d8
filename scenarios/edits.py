"""Plan -> Plan: the same plan with one thing changed.

An edit is a small scenario laid over the plan, so it obeys the same rules and is checked the same way;
under a scenario it belongs to that scenario.

Every function raises `PlanError` where the edited plan is impossible.
"""

from __future__ import annotations

from datetime import date
from typing import Any

from quotacast.scenarios.plan import Plan


def hire(plan: Plan, team: str, count: int, on: date) -> Plan:
    """``count`` more reps join a team."""
    return plan.edited({"hire": [{"team": team, "count": count, "on": on}]})


def leave(plan: Plan, rep: str, on: date) -> Plan:
    """A rep leaves; ``on`` is the first day without the rep."""
    return plan.edited({"leave": [{"rep": rep, "on": on}]})


def absence(
    plan: Plan, rep: str, *, first: date | None = None, last: date | None = None, share: float = 1.0
) -> Plan:
    """A rep is away for a time, or works part-time: ``share`` of the working time is missing."""
    return plan.edited({"absence": [_given({"rep": rep, "from": first, "until": last, "share": share})]})


def change(
    plan: Plan,
    what: str,
    *,
    scope: str = "company",
    times: float | None = None,
    to: float | None = None,
    first: date | None = None,
    last: date | None = None,
) -> Plan:
    """A rate changes for a scope and a time, by a factor or to a value."""
    keys = {"what": what, "scope": scope, "times": times, "to": to, "from": first, "until": last}
    return plan.edited({"change": [_given(keys)]})


def quota(plan: Plan, scope: str, metric: str, period: str, target: float) -> Plan:
    """A quota is set, in place of the one with its scope, metric and period."""
    return plan.edited({"quota": [{"scope": scope, "metric": metric, "period": period, "target": target}]})


def settings(
    plan: Plan,
    *,
    as_of: date | None = None,
    horizon: str | None = None,
    draws: int | None = None,
    seed: int | None = None,
) -> Plan:
    """Settings of the run are replaced; None leaves one as it is."""
    keys = _given({"as_of": as_of, "horizon": horizon, "draws": draws, "seed": seed})
    return plan.edited(keys) if keys else plan


def _given(keys: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in keys.items() if value is not None}
