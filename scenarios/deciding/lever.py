"""What may be moved to close a gap: the plan's ``[[lever]]`` rows, or labelled defaults."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import date, timedelta
from math import ceil

import numpy as np

from quotacast.engine.drivers import ACTIVITY, RAMP, Change, Drivers, Hire
from quotacast.engine.quota import Scope
from quotacast.errors import PlanError
from quotacast.models.history.schema import NONE
from quotacast.models.people import FAR
from quotacast.scenarios.run import Run
from quotacast.scenarios.targets import check_changes

HIRE = "hire"
#: What a lever is called in the split of the gap.
GROUPS = {
    HIRE: "hiring",
    RAMP: "ramp",
    "opportunities_created": "creation",
    "close_rate": "close rate",
    "cycle_days": "cycle",
    "deal_value": "price",
    "margin": "margin",
}
#: How far levers go where the plan states none.
DEFAULT_REACH = 0.1
#: Steps between standing still and all the way on the grid of the search.
STEPS = 4
MOST_LEVERS = 10


@dataclass(frozen=True)
class Lever:
    """One lever.

    Attributes
    ----------
    name : str
        ``activity:call``, with its scope where that is not the company.
    whats : tuple of str
        ``hire``, or rates that change together by one factor.
    scope : str
    low, high : float
        Where it stands and how far it may go: factors, or numbers of hires.
    cost : float
        Of going all the way.
    causal : bool
    on : date or None
        First day on which it can be moved.
    place : str
        Where it is stated: ``lever[2]``, or ``default``.
    """

    name: str
    whats: tuple[str, ...]
    scope: str
    low: float
    high: float
    cost: float
    causal: bool
    on: date | None
    place: str

    @property
    def group(self) -> str:
        """Kind of lever: hiring, ramp, activity, …"""
        return GROUPS.get(self.whats[0], "activity")

    @property
    def is_association(self) -> bool:
        """Whether it moves activity that the plan does not call causal."""
        return self.whats[0].startswith(ACTIVITY) and not self.causal

    def at(self, share: float) -> float:
        """Its value when it goes a share of the way; hires come whole."""
        value = self.low + share * (self.high - self.low)
        return float(round(value)) if self.whats == (HIRE,) else value

    def levels(self) -> tuple[float, ...]:
        """Shares of the way that the search tries."""
        if self.whats != (HIRE,):
            return tuple(k / STEPS for k in range(STEPS + 1))
        values = np.unique(
            np.rint(np.linspace(self.low, self.high, min(2 * STEPS, int(abs(self.high - self.low))) + 1))
        )
        shares = (values - self.low) / (self.high - self.low)
        return tuple(sorted(float(x) for x in shares))

    def moved(self, drivers: Drivers, share: float, first: date | None, teams: tuple[str, ...]) -> Drivers:
        """Drivers with the lever a share of the way, from a day on.

        Parameters
        ----------
        teams : tuple of str
            Teams that hires join in turn.
        """
        if share == 0.0:
            return drivers
        if self.whats == (HIRE,):
            return self._hired(drivers, round(self.at(share) - self.low), first, teams)
        times = self.at(share) / self.low
        made = tuple(
            Change(
                what, self.scope, times=times, first=first, causal=self.causal and what.startswith(ACTIVITY)
            )
            for what in self.whats
        )
        return replace(drivers, changes=(*drivers.changes, *made))

    def _hired(self, drivers: Drivers, count: int, first: date | None, teams: tuple[str, ...]) -> Drivers:
        if first is None:
            raise ValueError("hires need a first day")
        hires = list(drivers.hires)
        for k in range(count):
            team = teams[k % len(teams)]
            number = 1 + sum(hire.team == team for hire in hires)
            hires.append(Hire(f"{team}+{number}", team, first))
        return replace(drivers, hires=tuple(hires))


def levers_of(run: Run) -> tuple[tuple[Lever, ...], bool]:
    """The plan's levers, or defaults where it states none; and whether they are defaults.

    Raises
    ------
    PlanError
        With everything that is wrong with them.
    """
    if not run.plan.levers:
        return _defaults(run), True
    found, problems = [], []
    for at, row in enumerate(run.plan.levers, 1):
        lever = Lever(
            row.what if row.scope == "company" else f"{row.what} {row.scope}",
            (row.what,), row.scope, row.low, row.high, row.cost, row.causal, row.on, f"lever[{at}]",
        )  # fmt: skip
        problems += _problems(run, lever)
        found.append(lever)
    if len(found) > MOST_LEVERS:
        problems.append(f"lever: {len(found)} levers came, wanted at most {MOST_LEVERS}: join some")
    if problems:
        raise PlanError(problems)
    return tuple(replace(lever, cost=_cost(run, lever)) for lever in found), False


def _problems(run: Run, lever: Lever) -> list[str]:
    """What the data or the plan do not allow of a lever."""
    problems = []
    what, place = lever.whats[0], lever.place
    if what == HIRE:
        if lever.scope.startswith("rep:"):
            problems.append(f"{place}.scope: {lever.scope} came for hires, wanted company or team:<name>")
        if lever.high < lever.low or lever.high != int(lever.high) or lever.low != int(lever.low):
            problems.append(
                f"{place}.to: {lever.high:g} came for hires, wanted a whole number above {lever.low:g}"
            )
    elif what.startswith(ACTIVITY) and what.removeprefix(ACTIVITY) not in run._prepared.chain.drivers:
        why = run.able.reason(what) or run._prepared.chain.refused or "too little of it precedes the deals"
        problems.append(f"{place}.what: the data do not tell what {what} does for new business: {why}")
    else:
        try:
            check_changes(Drivers(changes=(Change(what, lever.scope, times=lever.high),)), run.able)
        except PlanError as error:
            problems += [f"{place}.what: {p.partition(': ')[2]}" for p in error.problems]
    if lever.on is not None and lever.on > run.plan.horizon_period.last:
        problems.append(f"{place}.on: {lever.on} is after the horizon ends; take an earlier day")
    return problems


def _defaults(run: Run) -> tuple[Lever, ...]:
    """A tenth more (or less) of everything, without costs."""
    more, less = 1.0 + DEFAULT_REACH, 1.0 - DEFAULT_REACH
    heads = int((run._people.stop >= FAR).sum())
    kinds = tuple(f"{ACTIVITY}{kind}" for kind in run._prepared.chain.drivers)
    names = (
        (HIRE, (HIRE,), 0.0, float(max(1, ceil(DEFAULT_REACH * heads)))),
        (RAMP, (RAMP,), 1.0, less),
        ("activity", kinds, 1.0, more) if kinds else ("creation", ("opportunities_created",), 1.0, more),
        ("close_rate", ("close_rate",), 1.0, more),
        ("cycle_days", ("cycle_days",), 1.0, less),
        ("deal_value", ("deal_value",), 1.0, more),
    )
    return tuple(
        Lever(n, whats, "company", low, high, 0.0, False, None, "default") for n, whats, low, high in names
    )


def _cost(run: Run, lever: Lever) -> float:
    """What going all the way costs: as the lever says, of hires else by the plan's ``[costs]``."""
    if lever.cost or lever.whats != (HIRE,) or run.costs is None:
        return lever.cost
    months = (run.plan.horizon_period.last - first_day(run, lever)).days / (365.25 / 12)
    return (lever.high - lever.low) * (run.costs.hire + run.costs.rep_month * months)


def first_day(run: Run, lever: Lever) -> date:
    """First day on which a lever can be moved."""
    tomorrow = run.history.as_of_date + timedelta(days=1)
    return tomorrow if lever.on is None else max(lever.on, tomorrow)


def teams_of(run: Run, lever: Lever) -> tuple[str, ...]:
    """Teams that a lever's hires join in turn: the one named, or all, the larger first."""
    scope = Scope.parse(lever.scope)
    if scope.kind == "team":
        return (scope.id,)
    people = run._people
    here = zip(people.reps, people.team, people.stop, strict=True)
    size = Counter(team for rep, team, stop in here if rep != NONE and stop >= FAR and team)
    return tuple(sorted(size, key=lambda team: (-size[team], team))) or (NONE,)
