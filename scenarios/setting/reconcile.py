"""`quotacast reconcile`: a company target against what is to be expected, and its split to teams and reps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from quotacast.engine.answer import Answer
from quotacast.engine.answers.fairness import fairness_words
from quotacast.engine.answers.quotasheet import Wished
from quotacast.engine.answers.reconcile import Demand, as_quotas, reconcile
from quotacast.engine.answers.together import set_words, together
from quotacast.engine.assign import Layers, Pinned, listed, pots, seats
from quotacast.engine.metrics import Metric, metric
from quotacast.engine.quota import Scope, check_target
from quotacast.engine.sharing import grain
from quotacast.errors import PlanError
from quotacast.models.periods import Period
from quotacast.scenarios.choose import select_metrics
from quotacast.scenarios.run import Run
from quotacast.scenarios.setting.comparable import comparable, pay_of
from quotacast.scenarios.setting.pins import Attempts, pins_of, share_option, wished
from quotacast.scenarios.setting.splits import WAYS, Shares, Way, file_split, named_split, read_shares
from quotacast.scenarios.setting.suggest import period_of
from quotacast.scenarios.trackrecord import trusted

Options = Mapping[str, Any]

COMPANY = Scope("company")


@dataclass(frozen=True)
class Wish:
    """What was asked for, checked."""

    metric: Metric
    period: Period
    target: float
    split: str | Shares
    named: str
    pinned: Pinned
    wished: Wished
    layers: Layers


def reconciled(run: Run, options: Options) -> tuple[Answer, Sequence[str]]:
    """Target, gap, split, cushion and the odds that belong together."""
    wish, notes = asked(run, options)
    notes += trusted(run, [wish.metric.name])
    paths = run.paths([wish.period], (wish.metric.name,))
    who = seats(paths, wish.metric, wish.period)
    if not who.reps:
        raise PlanError(f"no rep reaches any {wish.metric.name} in {wish.period.label}: nothing to be split")
    way = _way(run, wish, who)
    demand = Demand(
        wish.metric,
        wish.period,
        wish.target,
        way.split,
        wish.named,
        wish.pinned,
        wish.wished,
        grain(wish.metric, run.plan.aim.rounding),
        wish.layers,
    )
    found = reconcile(paths, who, demand, run.provenance())
    quotas = as_quotas(found)
    odds = (pay_of(run.plan), wish.wished.company, comparable(run, quotas))
    facts = together(paths, quotas, run.plan.calendar, {}, *odds).summary["sets"][0]
    words = f"{found.words} {found.summary['cushion']['words']} {set_words(facts, False)}"
    words = f"{words} {fairness_words(facts['fairness'])}"
    summary = {**found.summary, "set": facts}
    return replace(found, words=words, summary=summary), (*notes, *way.notes, *run.plan_notes)


def _way(run: Run, wish: Wish, who: Any) -> Way:
    if isinstance(wish.split, Shares):
        return file_split(wish.split, who, wish.named)
    return WAYS[wish.split](run, who, wish.metric, wish.period)


def asked(run: Run, options: Options) -> tuple[Wish, list[str]]:
    """What is wanted, checked before anything that takes long.

    Raises
    ------
    PlanError
        With everything that is wrong with the options, the split's file and the plan's pins.
    """
    attempt = Attempts()
    attempt(lambda: run.notes)  # the plan must fit the data
    name = options["metric"] or "bookings"
    which = attempt(_summed, run, name)
    period = attempt(period_of, run, options["period"])
    odds = attempt(wished, run.plan, options)
    layers = attempt(_layers, options["cushion"])
    split = attempt(_split, run, options["split"])
    pinned, target = Pinned(), 0.0
    aside: list[str] = []
    pins: tuple[dict[tuple[str, str], Pinned], list[str]] | None
    pins = attempt(pins_of, run, [name], [period.label] if period else [])
    if options["target"] is not None and which:
        attempt(_above_zero, "--target", name, options["target"])
    if which and period:
        pinned, aside = (pins[0].get((name, period.label), pinned), pins[1]) if pins else (pinned, [])
        target = attempt(_target, run, name, period, options["target"], pinned)
    who = listed(run.roster)
    if target and layers:
        attempt(pots, who, pinned, target, layers)
    if isinstance(split, Shares):
        attempt(file_split, split, who, Path(options["split"]).name)
    attempt.done()
    named = options["split"] if isinstance(split, str) else Path(options["split"]).name
    return Wish(which, period, target, split, named, pinned, odds, layers), aside


def _summed(run: Run, name: str) -> Metric:
    """A metric that adds up over reps."""
    select_metrics([name], run.able)
    if metric(name).is_ratio:
        raise PlanError(f"--metric {name}: a ratio does not add up, so no target on it can be split")
    return metric(name)


def _split(run: Run, text: str) -> str | Shares:
    found = named_split(text)
    return found if isinstance(found, str) else read_shares(found, run.scopes)


def _layers(text: str | None) -> Layers:
    """``5%`` for teams, or ``5%,10%`` for teams and for reps on top of theirs."""
    parts = (text or "0").split(",")
    values = [share_option("cushion", part, 0.0) for part in parts]
    if len(values) > 2 or any(not 0 <= x <= 4 for x in values):
        raise PlanError(f"--cushion {text}: wanted shares from 0 to 400% for teams and for reps: 5%,10%")
    return Layers(*values)


def _target(run: Run, name: str, period: Period, target: float | None, pinned: Pinned) -> float:
    """The company's target: given, kept by a pin, or the plan's quota; the first two must agree."""
    quotas = [q for q in run.quotas()[0] if (q.scope, q.metric) == (COMPANY, name)]
    stated = [q for q in quotas if run.plan.calendar.parse(q.period) == period]
    given = [] if target is None else [("--target", target)]
    pin = pinned.by_scope.get(COMPANY)
    given += [] if pin is None else [(pin.place, pin.target)]
    if not given:
        given = [(q.origin or "the plan's quota", q.target) for q in stated[:1]]
    if not given:
        raise PlanError(f"--target: no quota on {name} of the company in {period.label} is stated: give one")
    if len({value for _, value in given}) > 1:
        said = " and ".join(f"{place} {value:,.10g}" for place, value in given)
        raise PlanError(f"{said} contradict each other: keep one of them")
    return _above_zero(given[0][0], name, given[0][1])


def _above_zero(place: str, name: str, target: float) -> float:
    """A target that a metric can have."""
    try:
        return check_target(name, target)
    except PlanError as error:
        raise PlanError([f"{place}: {problem}" for problem in error.problems]) from None
