"""A plan against the history it is used with: everything it names must be there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import date
from difflib import get_close_matches
from typing import TYPE_CHECKING

from quotacast.engine.quota import ACTIVITY, Quota, Scope
from quotacast.errors import PlanError
from quotacast.models.turnover import YEAR, Turnover
from quotacast.scenarios.planfile.overlay import Loc, key_path
from quotacast.scenarios.planfile.validate import locator

if TYPE_CHECKING:
    from quotacast.scenarios.plan import Plan
    from quotacast.scenarios.planfile.schema import PeopleTable

#: Longest horizon, in years after the as-of date, before it is taken for a slip of the pen.
LONGEST_YEARS = 10


def check(
    plan: Plan,
    reps: Mapping[str, str],
    kinds: Collection[str] | None,
    as_of: date | None,
    teams: Collection[str],
    segments: Collection[str] | None = None,
) -> tuple[str, ...]:
    """Do the work of `Plan.check_against`."""
    hires = plan.drivers(reps).hires
    known = {
        "rep": [*reps, *(hire.rep_id for hire in hires)],
        "team": sorted({*reps.values(), *teams, *(hire.team for hire in hires)}),
    }
    problems = [
        problem
        for place, scope in _scopes(plan)
        if (problem := _unknown(place, scope.kind, scope.id, known.get(scope.kind)))
    ]
    problems += _unknown_kinds(plan, kinds)
    problems += _unknown_segments(plan, segments)
    problems += _horizon(plan, as_of)
    if problems:
        raise PlanError(dict.fromkeys(problems))
    return (*_new_teams(plan, {*reps.values(), *teams}), *_past_hires(plan, as_of))


def leaving_note(people: PeopleTable, past: Turnover) -> tuple[str, ...]:
    """What must be said about reps who may leave; nothing where none ever did and none may.

    Off unless the plan asks for it: a track record is kept of forecasts in which everyone stays, and
    reps tables often lack those who have gone; but then it is said what that leaves out.
    """
    seen = f"{past.leaves} left in {past.rep_days / YEAR:,.0f} rep-years"
    low, mid, high = (f"{100 * past.annual(p):.0f}" for p in (0.1, 0.5, 0.9))
    if people.leavers:
        return (
            f"Reps leave by chance: {seen}, with the field's 30 % a year as prior about {mid} % a year "
            f"({low} to {high} %). A seat is filled after {people.backfill_days} days; open deals that "
            f"change hands keep {100 * people.keep_odds:.0f} % of their odds.",
        )
    if not past.leaves:
        return ()
    return (
        f"Nobody leaves in this forecast but by [[leave]]; in the data {seen}, about {mid} % a year. "
        "To count on it: [people] leavers = true.",
    )


def _path(plan: Plan, loc: Loc) -> str:
    return key_path(locator(plan.document, plan.scenario)(loc))


def _scopes(plan: Plan) -> Iterator[tuple[str, Scope]]:
    """Every scope that the plan names, and where."""
    for quota in plan.quotas:
        yield _in_quota(quota, "scope"), quota.scope
    for at, leave in enumerate(plan.leaves):
        yield _path(plan, ("leave", at, "rep")), Scope("rep", leave.rep)
    for at, absence in enumerate(plan.absences):
        yield _path(plan, ("absence", at, "rep")), Scope("rep", absence.rep)
    for at, change in enumerate(plan.changes):
        yield _path(plan, ("change", at, "scope")), Scope.parse(change.scope)
    for at, move in enumerate(plan.moves):
        yield _path(plan, ("move", at, "from")), Scope.parse(move.giver)
        yield _path(plan, ("move", at, "to")), Scope.parse(move.taker)
    for at, shift in enumerate(plan.shifts):
        yield _path(plan, ("shift", at, "scope")), Scope.parse(shift.scope)
    for at, lever in enumerate(plan.levers):
        yield _path(plan, ("lever", at, "scope")), Scope.parse(lever.scope)
    for at, pin in enumerate(plan.aim.pin):
        yield _path(plan, ("aim", "pin", at, "scope")), Scope.parse(pin.scope)


def _metrics(plan: Plan) -> Iterator[tuple[str, str]]:
    """Every metric and rate that the plan names, and where."""
    for quota in plan.quotas:
        yield _in_quota(quota, "metric"), quota.metric
    for at, change in enumerate(plan.changes):
        yield _path(plan, ("change", at, "what")), change.what
    for at, lever in enumerate(plan.levers):
        yield _path(plan, ("lever", at, "what")), lever.what
    for at, pin in enumerate(plan.aim.pin):
        yield _path(plan, ("aim", "pin", at, "metric")), pin.metric


def _in_quota(quota: Quota, key: str) -> str:
    """Place of a quota's key: a key path, or the row of a file."""
    return f"{quota.origin}.{key}" if quota.origin.endswith("]") else quota.origin


def _unknown(place: str, kind: str, name: str, known: Collection[str] | None) -> str:
    if known is None or name in known:
        return ""
    near = get_close_matches(name, known, n=1)
    hint = f", did you mean {near[0]}?" if near else f"; there are {_some(known)}"
    return f"{place}: no {kind} {name!r} in the data or among the hires{hint}"


def _unknown_kinds(plan: Plan, kinds: Collection[str] | None) -> list[str]:
    if kinds is None:
        return []
    problems = []
    for place, metric in _metrics(plan):
        kind = metric.removeprefix(ACTIVITY)
        if kind == metric or kind in kinds:
            continue
        near = get_close_matches(kind, kinds, n=1)
        hint = f", did you mean activity:{near[0]}?" if near else f"; there are {_some(sorted(kinds))}"
        problems.append(f"{place}: no activity of kind {kind!r} in the data{hint}")
    return problems


def _unknown_segments(plan: Plan, segments: Collection[str] | None) -> list[str]:
    if segments is None:
        return []
    problems = []
    for at, move in enumerate(plan.moves):
        if move.segment not in segments or len(segments) < 2:
            near = get_close_matches(move.segment, segments, n=1)
            there = _some(sorted(segments)) if len(segments) > 1 else "none: the data tell none apart"
            hint = (
                f", did you mean {near[0]}?" if near and near[0] != move.segment else f"; there are {there}"
            )
            place = _path(plan, ("move", at, "segment"))
            problems.append(f"{place}: no segment {move.segment!r} in the data{hint}")
    return problems


def _some(names: Collection[str], most: int = 8) -> str:
    listed = list(names)
    text = ", ".join(listed[:most]) or "none"
    return text if len(listed) <= most else f"{text} and {len(listed) - most} more"


def _horizon(plan: Plan, as_of: date | None) -> list[str]:
    if as_of is None:
        return []
    place, last = _path(plan, ("horizon",)), plan.horizon_period.last
    if last <= as_of:
        return [
            f"{place}: {plan.horizon} ends on {last}, in the past of the as-of date {as_of}: take a later one"
        ]
    if last.year - as_of.year > LONGEST_YEARS:
        return [
            f"{place}: {plan.horizon} ends more than {LONGEST_YEARS} years after the as-of date {as_of}: "
            "take an earlier one"
        ]
    return []


def _new_teams(plan: Plan, teams: Collection[str]) -> list[str]:
    notes = []
    for at, hire in enumerate(plan.hires):
        if hire.team in teams:
            continue
        near = get_close_matches(hire.team, teams, n=1)
        hint = f"; if {near[0]} was meant, correct it" if near else ""
        notes.append(f"{_path(plan, ('hire', at, 'team'))}: {hire.team} is a new team{hint}")
    return notes


def _past_hires(plan: Plan, as_of: date | None) -> list[str]:
    return [
        f"{_path(plan, ('hire', at, 'on'))}: {hire.on} is not after the as-of date {as_of}; take the "
        "hire out of the plan if the rep is in the data by now"
        for at, hire in enumerate(plan.hires)
        if as_of is not None and hire.on <= as_of
    ]
