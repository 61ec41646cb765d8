"""Who gets how much: a total shared among reps, with quotas that are kept, and sums that hold.

Reps are the leaves; a team's quota is the sum of its reps', the company's the sum of the teams' (less what a
layer assigns on top, see :class:`Layers`). A pinned team is a pot of its own: what its pinned reps leave is
shared among the others of the team. The free reps of all other teams share what the company's total leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from quotacast.engine.metrics import Metric, series
from quotacast.engine.paths import Paths
from quotacast.engine.quota import Scope
from quotacast.engine.sharing import Floats, Grain, Ints, best, equal_odds, in_order, in_proportion
from quotacast.errors import PlanError
from quotacast.models.history.schema import NONE
from quotacast.models.periods import Period

#: From positions of reps and a total to their targets.
Split = Callable[[Ints, float], Floats]


@dataclass(frozen=True)
class Seats:
    """Reps who may have a quota on a metric in a period: those who may reach anything.

    Attributes
    ----------
    reps, teams : tuple of str
    values : ndarray, shape (reps, draws)
        What each reaches in every future.
    ordered : ndarray, shape (reps, draws)
        The same, each rep's futures from worst to best.
    """

    reps: tuple[str, ...]
    teams: tuple[str, ...]
    values: Floats
    ordered: Floats

    def of_team(self, team: str) -> Ints:
        """Positions of a team's reps."""
        return np.array([i for i, name in enumerate(self.teams) if name == team], dtype=np.int64)

    @property
    def team_names(self) -> tuple[str, ...]:
        """Teams in order."""
        return tuple(sorted(set(self.teams)))


def seats(paths: Paths, which: Metric, period: Period) -> Seats:
    """Reps who reach anything in any future; deals without a rep are nobody's quota."""
    kept: list[tuple[str, str, Floats]] = []
    for rep, team in zip(paths.reps, paths.teams, strict=True):
        values = series(paths, which, Scope("rep", rep), period).total
        if rep != NONE and (np.nan_to_num(values) > 0).any():
            kept.append((rep, team, values))
    values = np.array([v for _, _, v in kept]).reshape(len(kept), paths.draws)
    return Seats(
        tuple(r for r, _, _ in kept), tuple(t for _, t, _ in kept), values, in_order(values, which.good)
    )


def listed(pairs: Sequence[tuple[str, str]]) -> Seats:
    """Reps and teams without any futures: enough to check pins before anything is simulated."""
    empty = np.zeros((len(pairs), 0))
    return Seats(tuple(r for r, _ in pairs), tuple(t for _, t in pairs), empty, empty)


def split_evenly_in_odds(who: Seats) -> Split:
    """Equal odds, see :mod:`quotacast.engine.sharing`."""
    return lambda members, total: equal_odds(who.ordered[members], total)


def split_by(weights: Floats) -> Split:
    """In proportion to weights, shape (reps,)."""
    return lambda members, total: in_proportion(weights[members], total)


def keep_odds(who: Seats, odds: float) -> Floats:
    """Every rep's highest target with at least these odds, shape (reps,); 0 where there is none above."""
    return np.maximum(best(who.ordered, odds), 0.0)


@dataclass(frozen=True)
class Pin:
    """A quota that is kept: where it is written, whose it is and how much."""

    place: str
    scope: Scope
    target: float


@dataclass(frozen=True)
class Layers:
    """What managers assign on top: teams over the company's target, and reps over their team's."""

    teams: float = 0.0
    reps: float = 0.0


NO_LAYERS = Layers()


@dataclass(frozen=True)
class Pot:
    """A total and those who share it."""

    members: Ints
    total: float
    said: str


@dataclass(frozen=True)
class Pinned:
    """Pins of one metric and period, by whom they are for."""

    pins: tuple[Pin, ...] = ()
    by_scope: Mapping[Scope, Pin] = field(default_factory=dict)

    @classmethod
    def of(cls, pins: Sequence[Pin]) -> Pinned:
        """Put pins in order."""
        return cls(tuple(pins), {pin.scope: pin for pin in pins})

    def target(self, scope: Scope) -> float | None:
        """What is pinned for a scope."""
        pin = self.by_scope.get(scope)
        return None if pin is None else pin.target

    def reps(self, who: Seats, members: Ints) -> tuple[Ints, float]:
        """Members without a pin, and the sum of the others' pins."""
        kept = [self.target(Scope("rep", who.reps[i])) for i in members]
        free = np.array([i for i, x in zip(members, kept, strict=True) if x is None], dtype=np.int64)
        return free, float(sum(x for x in kept if x is not None))


def pots(who: Seats, pinned: Pinned, total: float | None, layers: Layers = NO_LAYERS) -> list[Pot]:
    """Totals to be shared, pinned teams first; without a company total only those of pinned teams.

    Where nobody is at work there is nobody to share with, and no pot.

    Raises
    ------
    PlanError
        With every contradiction between pins and totals.
    """
    found = list(_team_pots(who, pinned, layers))
    if total is not None and who.reps:
        found.append(_rest_pot(who, pinned, total, layers))
    problems = [problem for pot in found if (problem := _problem(who, pinned, pot))]
    if problems:
        raise PlanError(problems)
    return found


def _team_pots(who: Seats, pinned: Pinned, layers: Layers) -> Iterator[Pot]:
    for team in who.team_names:
        stated = pinned.target(Scope("team", team))
        if stated is not None:
            place = pinned.by_scope[Scope("team", team)].place
            yield Pot(who.of_team(team), stated * (1 + layers.reps), f"{place}: team:{team}")


def _rest_pot(who: Seats, pinned: Pinned, total: float, layers: Layers) -> Pot:
    apart = {t: x for t in who.team_names if (x := pinned.target(Scope("team", t))) is not None}
    left = (total * (1 + layers.teams) - sum(apart.values())) * (1 + layers.reps)
    members = np.array([i for i, t in enumerate(who.teams) if t not in apart], dtype=np.int64)
    stated = pinned.by_scope.get(Scope("company"))
    if not members.size or left < 0:
        given = " and ".join(pinned.by_scope[Scope("team", t)].place for t in apart)
        said = f"{given}: pinned teams add up to {sum(apart.values()):,.10g}"
        return Pot(members, left, said)
    return Pot(members, left, f"{stated.place}: company" if stated else "the company")


def _problem(who: Seats, pinned: Pinned, pot: Pot) -> str:
    """What is wrong with a pot: less than nothing to share, or something and nobody to take it."""
    free, kept = pinned.reps(who, pot.members)
    left = pot.total - kept
    scopes = [Scope("rep", who.reps[i]) for i in pot.members]
    places = ", ".join(pinned.by_scope[s].place for s in scopes if s in pinned.by_scope)
    if not pot.members.size or pot.total < 0:
        return (
            ""
            if abs(pot.total) < 0.005
            else f"{pot.said}, which leaves {pot.total:,.10g} of the target: "
            "pins and target contradict each other"
        )
    if left < -0.005 or (left < 0.005 and free.size and kept):
        return (
            f"{places}: pins of reps add up to {kept:,.10g}, and {pot.said} has {pot.total:,.10g} to share: "
            f"{'nothing is left for the others' if abs(left) < 0.005 else 'lower them'}"
        )
    if left > 0.005 and not free.size:
        return (
            f"{places}: pins of reps add up to {kept:,.10g}, and {pot.said} has {pot.total:,.10g} to share: "
            "all of its reps are pinned, so nobody can take the rest"
        )
    return ""


def unrounded(who: Seats, split: Split, pinned: Pinned, total: float, layers: Layers = NO_LAYERS) -> Floats:
    """Targets of all reps as they come, shape (reps,); for what looks at many totals."""
    out = np.zeros(len(who.reps))
    for i, rep in enumerate(who.reps):
        out[i] = pinned.target(Scope("rep", rep)) or 0.0
    for pot in pots(who, pinned, total, layers):
        free, kept = pinned.reps(who, pot.members)
        if free.size:
            out[free] = split(free, pot.total - kept)
    return out


def assign(
    who: Seats,
    split: Split,
    pinned: Pinned,
    total: float | None,
    grain: Grain,
    layers: Layers = NO_LAYERS,
    alone: Floats | None = None,
) -> Ints:
    """Targets of all reps in whole parts.

    Parameters
    ----------
    total : float or None
        The company's target; None where free reps keep their own targets (``alone``) and sums follow.
    alone : ndarray, shape (reps,), optional
        Own targets; pinned teams share their pot by ``split`` all the same.

    Returns
    -------
    ndarray of int64, shape (reps,)
    """
    out = np.zeros(len(who.reps), dtype=np.int64)
    if alone is not None:
        out[:] = [grain.whole(grain.easier(float(x), "up")) for x in alone]
    for i, rep in enumerate(who.reps):
        stated = pinned.target(Scope("rep", rep))
        out[i] = out[i] if stated is None else grain.whole(stated)
    for pot in pots(who, pinned, total, layers):
        free, _ = pinned.reps(who, pot.members)
        taken = np.setdiff1d(pot.members, free)
        left = grain.whole(pot.total) - int(out[taken].sum())
        if free.size:
            out[free] = grain.shared(split(free, left / grain.scale), left)
    return out
