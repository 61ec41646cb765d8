"""A quota sheet from wished odds: for every scope, metric and period, on the same simulated futures.

Either every quota stands for itself (the highest target with its wished odds), or the quotas add up: one
level keeps its odds (``keep``), those below share its quotas at equal odds, those above are sums, and a
period is cut by the simulated season into parts that add up to it. Ratios have quotas, but no sums.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.answer import Answer, Field
from quotacast.engine.answers.attainability import DEFINED
from quotacast.engine.assign import Pin, Pinned, Seats, assign, keep_odds, seats, split_evenly_in_odds
from quotacast.engine.metrics import Metric, metric, series, units
from quotacast.engine.paths import Paths
from quotacast.engine.quota import Scope
from quotacast.engine.reports.words import money, number, percent
from quotacast.engine.sharing import Floats, Grain, Ints, best, grain, in_order, largest_remainder
from quotacast.models.history.schema import NONE
from quotacast.models.periods import Period

FIELDS = (
    Field("scope", "text", "company, team or rep"),
    Field("scope_id", "text", "team or rep; empty for the company"),
    Field("set", "text", "name of this set of quotas"),
    Field("metric", "text", "what the quota is on"),
    Field("period", "text", "period of the quota"),
    Field("target", "metric", "the quota"),
    Field("p_attain", "probability", "share of futures that reach it"),
    Field("p50", "metric", "half of the futures are at or below"),
    Field("basis", "text", "where the quota comes from"),
    Field("definition", "text", "what is counted"),
)


COMPANY = Scope("company")
#: Why somebody who has left has no quota.
NOTHING = "nothing in any future"


@dataclass(frozen=True)
class Wished:
    """Wished odds by level."""

    company: float
    team: float
    rep: float

    def of(self, kind: str) -> float:
        """Those of a level of scope."""
        return float(getattr(self, kind))


@dataclass(frozen=True)
class Ask:
    """What a quota sheet is wanted for.

    Attributes
    ----------
    metrics : tuple of str
    scopes : tuple of Scope
        Whose quotas are shown; sums are made over all.
    whole : Period
        The period that is cut.
    pieces : tuple of Period
        Parts of it, in order; those that have ended are history.
    wished : Wished
    rounding : float or None
        Of money.
    pins : mapping of (metric, period) to Pinned
    keep : {"rep", "team", "company"} or None
        Level that keeps its odds while the others add up; None for quotas that stand for themselves.
    set : str
    """

    metrics: tuple[str, ...]
    scopes: tuple[Scope, ...]
    whole: Period
    pieces: tuple[Period, ...]
    wished: Wished
    rounding: float | None = None
    pins: Mapping[tuple[str, str], Pinned] = field(default_factory=dict)
    keep: str | None = None
    set: str = "suggested"

    def pinned(self, name: str, period: Period) -> Pinned:
        """Pins of a metric and period."""
        return self.pins.get((name, period.label), Pinned())


@dataclass(frozen=True)
class Line:
    """One quota in the making."""

    metric: str
    period: Period
    scope: Scope
    target: float
    basis: str


def quota_sheet(paths: Paths, ask: Ask, provenance: Mapping[str, Any]) -> Answer:
    """Quotas with wished odds.

    Parameters
    ----------
    paths : Paths
        Must be cut at the edges of every period.

    Raises
    ------
    PlanError
        With every contradiction between pins and sums.
    """
    lines: list[Line] = []
    left: list[dict[str, str]] = []
    for name in ask.metrics:
        which = metric(name)
        made = _added(paths, which, ask) if ask.keep and not which.is_ratio else _alone(paths, which, ask)
        for line, why in made:
            if why:
                left.append(
                    {"scope": str(line.scope), "metric": name, "period": line.period.label, "why": why}
                )
            elif line.scope in ask.scopes:
                lines.append(line)
    rows = pd.DataFrame([_row(paths, line, ask.set) for line in lines], columns=[f.name for f in FIELDS])
    summary = {
        "metric_units": units(ask.metrics),
        "teams": dict(zip(paths.reps, paths.teams, strict=True)),
        "wished": vars(ask.wished),
        "keep": ask.keep,
        "left": left,
        "pieces_add_up": bool(ask.keep),
    }
    return Answer("quota-sheet", rows, FIELDS, _words(rows, ask), summary, provenance, "odds")


def _row(paths: Paths, line: Line, named: str) -> dict[str, Any]:
    which = metric(line.metric)
    values = series(paths, which, line.scope, line.period).total
    known = values[np.isfinite(values)]
    return {
        "scope": line.scope.kind,
        "scope_id": line.scope.id,
        "set": named,
        "metric": line.metric,
        "period": line.period.label,
        "target": line.target,
        "p_attain": float(which.attains(values, line.target).mean()),
        "p50": float(np.median(known)) if known.size else None,
        "basis": line.basis,
        "definition": which.definition,
    }


# -- quotas that stand for themselves -----------------------------------------------------------------------


def _alone(paths: Paths, which: Metric, ask: Ask) -> Iterator[tuple[Line, str]]:
    """The highest target with the wished odds for every scope and period, or why there is none."""
    grains = grain(which, ask.rounding)
    for period in (ask.whole, *(p for p in ask.pieces if p != ask.whole and p.last > paths.as_of)):
        pinned = ask.pinned(which.name, period)
        for scope in ask.scopes:
            if scope.id == NONE:
                continue
            odds = ask.wished.of(scope.kind)
            pin = pinned.by_scope.get(scope)
            if pin is not None:
                yield Line(which.name, period, scope, pin.target, f"kept: {pin.place}"), ""
                continue
            target, why = own_target(series(paths, which, scope, period).total, which, odds, grains)
            yield Line(which.name, period, scope, target, f"odds of {percent(odds)}"), why


def own_target(values: Floats, which: Metric, odds: float, grains: Grain) -> tuple[float, str]:
    """The highest target with at least these odds, rounded to the easier side; or why there is none.

    Where lower is better it is the lowest target: the right tail of, say, days.
    """
    if np.isfinite(values).mean() < max(DEFINED, odds):
        return 0.0, f"undefined in {percent(1 - float(np.isfinite(values).mean()))} of the futures"
    if not np.nan_to_num(values).any():
        return 0.0, NOTHING
    found = float(best(in_order(values, which.good), odds)) * (1.0 if which.good == "up" else -1.0)
    target = grains.easier(found, which.good)
    if target <= 0:
        return 0.0, f"{percent(odds)} of the futures reach no more than {number(max(found, 0.0))}"
    return target, ""


# -- quotas that add up -------------------------------------------------------------------------------------


def _added(paths: Paths, which: Metric, ask: Ask) -> Iterator[tuple[Line, str]]:
    """Quotas of which reps' add up to teams', teams' to the company's, and pieces to the whole."""
    who, grains = seats(paths, which, ask.whole), grain(which, ask.rounding)
    pinned = ask.pinned(which.name, ask.whole)
    parts = _shared(paths, which, ask, who, grains)
    basis = _bases(ask, pinned, who)
    yield from _summed(which.name, ask.whole, who, parts, grains, basis)
    ahead = [p for p in ask.pieces if p != ask.whole]
    if ahead:
        said = dict.fromkeys(basis, f"part of {ask.whole.label} by the simulated season")
        cut = np.array([_cut(paths, which, ask, rep, int(n), ahead, grains)
                        for rep, n in zip(who.reps, parts, strict=True)])  # fmt: skip
        for k, piece in enumerate(ahead):
            if piece.last > paths.as_of:
                yield from _summed(which.name, piece, who, cut[:, k], grains, said)


def _shared(paths: Paths, which: Metric, ask: Ask, who: Seats, grains: Grain) -> Ints:
    """Targets of the reps for the whole period, in whole parts."""
    pinned, keep = ask.pinned(which.name, ask.whole), ask.keep
    total = pinned.target(Scope("company"))
    if total is not None:
        keep = "company"
    elif keep == "company":
        total, _ = own_target(_total(paths, which, ask.whole), which, ask.wished.company, grains)
    if keep == "team":
        pinned = _with_teams(paths, which, ask, who, grains)
    alone = keep_odds(who, ask.wished.rep) if keep == "rep" else None
    return assign(who, split_evenly_in_odds(who), pinned, total, grains, alone=alone)


def _total(paths: Paths, which: Metric, period: Period, scope: Scope = COMPANY) -> Floats:
    return series(paths, which, scope, period).total


def _with_teams(paths: Paths, which: Metric, ask: Ask, who: Seats, grains: Grain) -> Pinned:
    """The pins, and for every other team its highest target with the wished odds."""
    pinned, more = ask.pinned(which.name, ask.whole), []
    for team in who.team_names:
        scope = Scope("team", team)
        if scope not in pinned.by_scope:
            target, _ = own_target(_total(paths, which, ask.whole, scope), which, ask.wished.team, grains)
            more.append(Pin("--sum team", scope, target))
    return Pinned.of([*pinned.pins, *more])


def _bases(ask: Ask, pinned: Pinned, who: Seats) -> dict[Scope, str]:
    """Where every quota of the whole period comes from."""
    company, wished = pinned.by_scope.get(Scope("company")), ask.wished
    own = "company" if company else ask.keep
    found = {Scope("company"): f"odds of {percent(wished.company)}" if own == "company" else "sum of teams"}
    for team in who.team_names:
        found[Scope("team", team)] = f"odds of {percent(wished.team)}" if own == "team" else "sum of reps"
    for rep in who.reps:
        found[Scope("rep", rep)] = f"odds of {percent(wished.rep)}" if own == "rep" else "equal odds"
    kept = {scope: f"kept: {pin.place}" for scope, pin in pinned.by_scope.items()}
    return {**found, **kept}


def _summed(
    name: str, period: Period, who: Seats, parts: Ints, grains: Grain, basis: Mapping[Scope, str]
) -> Iterator[tuple[Line, str]]:
    """The company's, the teams' and the reps' lines; sums are made in whole parts."""
    totals = [(Scope("company"), parts)]
    totals += [(Scope("team", team), parts[who.of_team(team)]) for team in who.team_names]
    totals += [(Scope("rep", rep), parts[i : i + 1]) for i, rep in enumerate(who.reps)]
    for scope, some in totals:
        target = int(some.sum()) / grains.scale
        why = "" if target > 0 else "nothing is left for it"
        yield Line(name, period, scope, target, basis[scope]), why


def _cut(
    paths: Paths, which: Metric, ask: Ask, rep: str, whole: int, pieces: Sequence[Period], grains: Grain
) -> Ints:
    """A rep's target cut into pieces in proportion to what is expected in each, kept pieces first.

    Pieces that have ended count with what was reached: the others share the rest.
    """
    scope, out = Scope("rep", rep), np.zeros(len(pieces), dtype=np.int64)
    expected, fixed = np.zeros(len(pieces)), np.zeros(len(pieces), dtype=bool)
    for k, piece in enumerate(pieces):
        found, pin = series(paths, which, scope, piece), ask.pinned(which.name, piece).target(scope)
        expected[k] = max(float(found.total.mean()), 0.0)
        if piece.last <= paths.as_of or pin is not None:
            fixed[k], out[k] = True, grains.whole(found.done or 0.0 if pin is None else pin)
    left = whole - int(out.sum())
    if left > 0 and not fixed.all():
        shares = expected[~fixed]
        out[~fixed] = (
            grains.shared(shares, left) if shares.sum() > 0 else largest_remainder(np.ones(shares.size), left)
        )
    return out


def _words(rows: pd.DataFrame, ask: Ask) -> str:
    said = [_sentence(rows, name, ask) for name in ask.metrics]
    if any(said) and not ask.keep:
        said.append("Each quota stands for itself; --sum makes them add up.")
    return " ".join(s for s in said if s) or "No quota could be suggested."


def _sentence(rows: pd.DataFrame, name: str, ask: Ask) -> str:
    """What the sheet says about a metric: of the reps together, the teams together and the company."""
    which = metric(name)
    mine = rows[(rows["metric"] == name) & (rows["period"] == ask.whole.label)]
    if mine.empty or which.is_ratio:
        return f"{name} is a ratio: its quotas do not add up." if which.is_ratio and ask.keep else ""
    show = money if which.unit == "money" else number
    sums = {str(kind): group for kind, group in mine.groupby("scope", sort=False)}
    if ask.keep:
        top = mine.iloc[0]
        about = f"{ask.keep} quotas keep their odds as far as nothing is pinned, the others follow"
        return f"{name}: reps add up to teams, teams to {show(top['target'])} ({about})."
    parts = [
        f"{'company' if kind == 'company' else f'{len(group)} {kind}s together'} "
        f"{show(float(group['target'].sum()))}"
        for kind, group in sums.items()
    ]
    return f"{name} in {ask.whole.label}: {', '.join(parts)}."
