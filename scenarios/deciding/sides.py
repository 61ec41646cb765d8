"""The sides of a comparison: the plan, its scenarios and approved versions, all on the same futures.

One fit and one choice of futures serve every side. What decides them (as-of date, seed, draws, data,
calendar, horizon) may therefore not differ: a scenario that changes one of these keys is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from quotacast.engine.quota import Quota
from quotacast.errors import PlanError
from quotacast.scenarios.deciding.approved import Approved, approved_names, load_approved
from quotacast.scenarios.run import Run

#: Name of the plan without any scenario.
BASE = "base"
#: Keys that every side shares.
SHARED = ("as_of", "seed", "draws", "horizon", "currency", "data", "calendar")
#: What is made once for all sides.
_MADE_ONCE = ("history", "_prepared", "fit_key", "record_key", "record", "funnel", "leaning", "_table_quotas")


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes
    ----------
    name : str
    run : Run
    quotas : tuple of Quota
        Those that can be judged.
    approved : Approved, optional
        The version of record that it is.
    """

    name: str
    run: Run
    quotas: tuple[Quota, ...]
    approved: Approved | None = None


def sides(run: Run, names: Sequence[str]) -> tuple[tuple[Side, ...], tuple[str, ...]]:
    """The sides of these names, the first of which the others are compared with; and what must be said.

    Without names, the plan against all its scenarios. Nothing is fitted or simulated here.

    Raises
    ------
    PlanError
        With everything that is wrong with any of them.
    """
    wanted = tuple(dict.fromkeys(names)) or (BASE, *run.plan.scenarios)
    problems = _unknown(run, wanted)
    found: list[Side] = []
    notes: dict[str, None] = {}
    for name in wanted:
        if name not in _known(run):
            continue
        try:
            side, said = _side(run, name)
        except PlanError as error:
            problems += error.problems
            continue
        found.append(side)
        notes.update(dict.fromkeys(said))
    if problems:
        raise PlanError(dict.fromkeys(problems))
    return tuple(found), tuple(notes)


def on_side(run: Run, name: str) -> Run:
    """The run of one side alone.

    Raises
    ------
    PlanError
        With everything that is wrong with it.
    """
    problems = _unknown(run, (name, name))
    if problems:
        raise PlanError(problems)
    return _side(run, name)[0].run


def fitted(found: Sequence[Side]) -> None:
    """Fit once, and choose the futures once, for all sides."""
    first = found[0].run
    first.simulated.upstream = True
    made = {"funnel": first.funnel, "leaning": first.leaning, "simulated": first.simulated}
    for side in found:
        vars(side.run).update(made)


def _known(run: Run) -> tuple[str, ...]:
    """Names that a side may have."""
    return (BASE, *run.plan.scenarios, *approved_names(run.plan.home))


def _unknown(run: Run, wanted: Sequence[str]) -> list[str]:
    """What is wrong with the names alone."""
    plan, known = run.plan, _known(run)
    problems = []
    if plan.scenario is not None:
        problems.append(
            f"--scenario {plan.scenario}: name it after the plan instead, such as base {plan.scenario}"
        )
    clash = sorted(n for n in wanted if known.count(n) > 1)
    problems += [f"{n}: a scenario and {_other(n)} have this name; rename the scenario" for n in clash]
    for name in wanted:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            problems.append(
                f"{name}: no such scenario or approved version; there are {', '.join(known)}{meant}"
            )
    if not problems and len(wanted) < 2:
        have = "the plan has no [scenario.NAME]" if not plan.scenarios else f"only {wanted[0]} was named"
        problems.append(f"{have}: wanted two or more to compare, of {', '.join(known)}")
    return problems


def _other(name: str) -> str:
    return "the plan itself" if name == BASE else "an approved version"


def _side(run: Run, name: str) -> tuple[Side, tuple[str, ...]]:
    approved = load_approved(run.plan.home, name) if name in approved_names(run.plan.home) else None
    plan = run.plan.with_scenario(None)
    if approved is not None:
        plan = approved.plan(plan, SHARED)
    elif name != BASE:
        _refuse_shared(plan.document, name)
        plan = plan.with_scenario(name)
    other = replace(run, plan=plan)
    vars(other).update({key: vars(run)[key] for key in _MADE_ONCE if key in vars(run)})
    quotas, said = _judged(other, name, approved)
    vars(run).update({key: vars(other)[key] for key in _MADE_ONCE if key in vars(other)})
    return Side(name, other, quotas, approved), tuple(said)


def _judged(run: Run, name: str, approved: Approved | None) -> tuple[tuple[Quota, ...], tuple[str, ...]]:
    """Quotas of a side and what must be said of them, after all that it decides was checked."""
    problems: dict[str, None] = {}
    try:
        run.drivers  # noqa: B018  refuses what the data cannot follow
    except PlanError as error:
        problems.update(dict.fromkeys(_placed(problem, name) for problem in error.problems))
    try:
        found = run.quotas(approved.quotas if approved else ())
    except PlanError as error:
        problems.update(dict.fromkeys(_placed(problem, name) for problem in error.problems))
    if problems:
        raise PlanError(problems)
    return found


def _placed(problem: str, name: str) -> str:
    """A problem with the side that it belongs to, where its place does not say so."""
    return problem if name == BASE or f"scenario.{name}" in problem else f"{name}: {problem}"


def _refuse_shared(document: Mapping[str, Any], name: str) -> None:
    """Refuse a scenario that would have other futures.

    Raises
    ------
    PlanError
        With every such key.
    """
    from quotacast.scenarios.planfile.overlay import key_path

    overlay = document["scenario"][name]
    changed = [key for key in SHARED if key in overlay and overlay[key] != document.get(key)]
    if changed:
        raise PlanError(
            f"{key_path(('scenario', name, key))}: compared scenarios share it, or their futures could not "
            "be paired; change it in the plan, or answer this scenario alone with --scenario"
            for key in changed
        )
