"""Wished odds and kept quotas of a plan's ``[aim]``, as the answers that set quotas take them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from quotacast.engine.answers.quotasheet import Wished
from quotacast.engine.assign import Pin, Pinned
from quotacast.engine.metrics import metric
from quotacast.engine.quota import Scope
from quotacast.errors import PlanError
from quotacast.scenarios.plan import Plan
from quotacast.scenarios.planfile.overlay import key_path
from quotacast.scenarios.planfile.validate import locator
from quotacast.scenarios.planfile.values import probability
from quotacast.scenarios.run import Run

#: Wished odds where neither options nor the plan state any: the company's, a team's, a rep's.
WISHED = {"company": 0.7, "team": 0.6, "rep": 0.6}

Key = tuple[str, str]


class Attempts:
    """Checks made one after another, so that all that is wrong is told at once."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def __call__(self, make: Callable[..., Any], *args: Any) -> Any:
        """What ``make`` gives, or None where it finds problems."""
        try:
            return make(*args)
        except PlanError as error:
            self.problems.extend(error.problems)
            return None

    def done(self) -> None:
        """Raise a `PlanError` with everything that was found, each problem once."""
        if self.problems:
            raise PlanError(dict.fromkeys(self.problems))


def wished(plan: Plan, options: Mapping[str, Any]) -> Wished:
    """Wished odds: the options', else the plan's, else the defaults.

    Raises
    ------
    PlanError
        With every option that is no probability.
    """
    found, problems = {}, []
    for level, usual in WISHED.items():
        stated = getattr(plan.aim, level)
        try:
            value = options.get(level)
            value = (usual if stated is None else stated) if value is None else float(probability(value))
            found[level] = value
        except (TypeError, ValueError):
            value = -1.0
        if not 0 < value < 1:
            came = options.get(level) if options.get(level) is not None else f"{stated:g} of aim.{level}"
            problems.append(f"--{level} {came}: wanted odds between 0 and 1, such as 0.6 or 60%")
    if problems:
        raise PlanError(problems)
    return Wished(**found)


def share_option(name: str, text: str | None, default: float) -> float:
    """A share given as 0.1 or 10%."""
    if text is None:
        return default
    try:
        return float(probability(text.strip()))
    except ValueError:
        raise PlanError(f"--{name} {text}: wanted a share such as 0.1 or 10%") from None


def pins_of(run: Run, metrics: Iterable[str], periods: Iterable[str]) -> tuple[dict[Key, Pinned], list[str]]:
    """Pins by metric and period, and what must be said about those of which nothing was asked.

    Raises
    ------
    PlanError
        With every pin that contradicts another, is for nobody, or on a metric that cannot be answered.
    """
    locate, horizon = locator(run.plan.document, run.plan.scenario), run.plan.horizon_period.label
    found: dict[Key, list[Pin]] = {}
    wanted = {(m, p) for m in metrics for p in periods}
    problems, aside = [], []
    for at, one in enumerate(run.plan.aim.pin):
        place = key_path(locate(("aim", "pin", at)))
        key = (one.metric, one.period or horizon)
        pin = Pin(place, Scope.parse(one.scope), float(one.target))
        problems += _problems(run, pin, key, found.get(key, []))
        found.setdefault(key, []).append(pin)
        if key not in wanted:
            aside.append(f"{place}: nothing was asked about {key[0]} in {key[1]}; this quota plays no part.")
    if problems:
        raise PlanError(problems)
    return {key: Pinned.of(pins) for key, pins in found.items() if key in wanted}, aside


def _problems(run: Run, pin: Pin, key: Key, before: Iterable[Pin]) -> list[str]:
    """What is wrong with a pin by itself or beside those that stand before it."""
    name, label = key
    problems = [
        f"{pin.place}: {pin.scope} {name} {label} is kept at {pin.target:,.10g}, and {other.place} keeps it "
        f"at {other.target:,.10g}: keep one of them"
        for other in before
        if other.scope == pin.scope
    ]
    there = {scope for rep, team in run.roster for scope in (Scope("rep", rep), Scope("team", team))}
    if pin.scope in run.scopes and pin.scope not in there and pin.scope.kind != "company":
        problems.append(f"{pin.place}.scope: nobody of {pin.scope} is at work after {run.history.as_of_date}")
    if metric(name).unit == "count" and pin.target != round(pin.target):
        problems.append(f"{pin.place}.target: {pin.target:g} came for {name}, wanted a whole number")
    if reason := run.able.reason(name):
        problems.append(f"{pin.place}.metric: {name} cannot be answered: {reason}")
    if run.plan.calendar.parse(label).last > run.plan.horizon_period.last:
        problems.append(f"{pin.place}.period: {label} ends after the horizon {run.plan.horizon}")
    return problems
