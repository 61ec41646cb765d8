"""How a target is split among reps: a table of ways, each from a run to what the split goes by.

`equal-odds` gives all reps the same odds; the others share in proportion to weights: what reps are expected
to reach (`capability`), what they reached in the same period a year before (`prior-year`), their days at
work (`even`), or the shares of a file. Reps of whom a year before is not known weigh as much as they are
expected to reach, on the scale of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from quotacast.engine.assign import Seats, Split, split_by, split_evenly_in_odds
from quotacast.engine.departures import crew
from quotacast.engine.metrics import Metric
from quotacast.engine.quota import Scope
from quotacast.engine.sharing import Floats, Ints, equal_odds
from quotacast.engine.steps import Steps
from quotacast.errors import DataError, PlanError
from quotacast.models.periods import Period
from quotacast.models.timegrid import day_number
from quotacast.scenarios.money.recognised import past
from quotacast.scenarios.run import Run


@dataclass(frozen=True)
class Way:
    """A split and what must be said about it."""

    split: Split
    notes: tuple[str, ...] = ()


Make = Callable[[Run, Seats, Metric, Period], Way]


def _equal(run: Run, who: Seats, which: Metric, period: Period) -> Way:
    return Way(split_evenly_in_odds(who))


def _capability(run: Run, who: Seats, which: Metric, period: Period) -> Way:
    return Way(split_by(np.maximum(who.values.mean(axis=1), 0.0)))


def _even(run: Run, who: Seats, which: Metric, period: Period) -> Way:
    """In proportion to days at work within the period: the same for all who are there throughout."""
    people = crew(run.funnel, run.factored_drivers)
    first, last = (int(day_number(day)) for day in (period.first, period.last))
    days = np.clip(np.minimum(people.stop, last) - np.maximum(people.start, first) + 1, 0, None)
    known = dict(zip(people.reps, days.astype(float), strict=True))
    return Way(split_by(np.array([known.get(rep, 0.0) for rep in who.reps])))


def _prior_year(run: Run, who: Seats, which: Metric, period: Period) -> Way:
    before = year_before(period)
    if before.last > run.history.as_of_date:
        raise PlanError(
            f"--split prior-year: {before.first} to {before.last} has not ended by {run.history.as_of_date}"
        )
    past, expected = reached(run, who, which, before), np.maximum(who.values.mean(axis=1), 0.0)
    known = past > 0
    if not known.any():
        raise PlanError(
            f"--split prior-year: no {which.name} of any rep from {before.first} to {before.last}"
        )
    scale = past[known].sum() / max(float(expected[known].sum()), 1e-12)
    weights = np.where(known, past, expected * scale)
    new = [rep for rep, k in zip(who.reps, known, strict=True) if not k]
    said = f"{', '.join(new)}: nothing a year before; split as they are expected to reach."
    return Way(split_by(weights), (said,) if new else ())


WAYS: Mapping[str, Make] = {
    "equal-odds": _equal,
    "capability": _capability,
    "prior-year": _prior_year,
    "even": _even,
}


def year_before(period: Period) -> Period:
    """The same days a year earlier."""
    return Period(f"year before {period.label}", period.kind, _earlier(period.first), _earlier(period.last))


def _earlier(day: date) -> date:
    try:
        return day.replace(year=day.year - 1)
    except ValueError:
        return day.replace(year=day.year - 1, day=28)


def reached(run: Run, who: Seats, which: Metric, period: Period) -> Floats:
    """What reps reached of a metric in a past period, shape (reps,)."""
    seats, done = past(run.plan, run.history, run.people, None, Steps.covering([period]))
    at, out = {rep: i for i, rep in enumerate(who.reps)}, np.zeros(len(who.reps))
    for sign, names in ((1.0, which.top), (-1.0, which.less)):
        for name in names:
            for (rep, _), value in zip(seats, done.get(name, np.zeros((len(seats), 1))), strict=True):
                if rep in at:
                    out[at[rep]] += sign * float(value.sum())
    return np.asarray(out * which.scale)


# -- shares of a file ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shares:
    """Shares of teams, of reps, or of both; reps of a team without shares of their own have equal odds."""

    teams: Mapping[str, float]
    reps: Mapping[str, float]


def named_split(text: str) -> str | Path:
    """A way of :data:`WAYS`, or a file.

    Raises
    ------
    PlanError
        Where it is neither.
    """
    if text in WAYS:
        return text
    if Path(text).is_file():
        return Path(text)
    near = get_close_matches(text, WAYS, n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    raise PlanError(f"--split {text}: wanted one of {', '.join(WAYS)}, or a file of shares{meant}")


def read_shares(path: Path, scopes: tuple[Scope, ...]) -> Shares:
    """Read a CSV, XLSX or Parquet file with the columns scope (and scope_id) and share.

    Shares may be percents or weights of any size: they are taken in proportion.

    Raises
    ------
    PlanError
        With every problem, each naming file and row.
    """
    from quotacast.models.history.files import read_cells
    from quotacast.scenarios.planfile.quotafile import whole_scopes

    try:
        raw = read_cells(path, "quotas")  # only how a cell is read depends on the table
    except DataError as error:
        raise PlanError(error.problems) from None
    lost = [name for name in ("scope", "share") if name not in raw.cells]
    if lost:
        there = ", ".join(map(str, raw.cells.columns))
        raise PlanError([f"{path.name}: column {name!r} is missing; row 1 has {there}" for name in lost])
    cells, found = whole_scopes(raw.cells), {}
    problems = [f"{path.name} row {row}: {why}" for row, why in raw.broken]
    for row, scope, share in zip(raw.rows, cells["scope"], cells["share"], strict=True):
        try:
            named, value = _share(str(scope), share, scopes)
        except PlanError as error:
            problems += [f"{path.name} row {row}: {problem}" for problem in error.problems]
            continue
        if named in found:
            problems.append(f"{path.name} row {row}: {named} came twice; keep one of them")
        found[named] = value
    if problems:
        raise PlanError(problems)
    teams, reps = ({s.id: x for s, x in found.items() if s.kind == kind} for kind in ("team", "rep"))
    return Shares(teams, reps)


def _share(text: str, share: Any, scopes: tuple[Scope, ...]) -> tuple[Scope, float]:
    from quotacast.scenarios.choose import unknown_scope
    from quotacast.scenarios.planfile.values import probability

    problems = []
    scope, value = Scope("company"), -1.0
    try:
        scope = Scope.parse(text)
        if scope.kind == "company":
            problems.append("company came, wanted shares of teams or reps")
        elif scope not in scopes:
            problems.append(unknown_scope(scope, scopes))
    except PlanError as error:
        problems += error.problems
    with suppress(TypeError, ValueError):
        value = float(probability(share))
    if not value >= 0 or value == float("inf"):
        problems.append(f"share {share!r} came, wanted a number of 0 or more, or 40%")
    if problems:
        raise PlanError(problems)
    return scope, value


def file_split(shares: Shares, who: Seats, name: str) -> Way:
    """Split by the shares of a file: first among its teams, then among reps.

    Raises
    ------
    PlanError
        Where a team or rep who takes part has no share while others have.
    """
    problems = list(_without(shares, who, name))
    if problems:
        raise PlanError(problems)

    def split(members: Ints, total: float) -> Floats:
        out = np.zeros(members.size)
        for inside, part in _by_team(shares, who, members, total):
            if not inside.size:
                continue
            some = members[inside]
            given = np.array([shares.reps.get(who.reps[i], 0.0) for i in some])
            weighed = given.sum() > 0
            out[inside] = given * (part / given.sum()) if weighed else equal_odds(who.ordered[some], part)
        return out

    return Way(split)


def _by_team(shares: Shares, who: Seats, members: Ints, total: float) -> Iterator[tuple[Ints, float]]:
    if not shares.teams:
        yield np.arange(members.size), total
        return
    teams = sorted({who.teams[i] for i in members})
    whole = sum(shares.teams.get(team, 0.0) for team in teams)
    for team in teams:
        inside = np.array([k for k, i in enumerate(members) if who.teams[i] == team], dtype=np.int64)
        share = shares.teams.get(team, 0.0) / whole if whole > 0 else 1.0 / len(teams)
        yield inside, total * share


def _without(shares: Shares, who: Seats, name: str) -> Iterator[str]:
    if shares.teams:
        lost = [team for team in who.team_names if team not in shares.teams]
        yield from (f"{name}: team:{team} has no share; give it one, or 0" for team in lost)
    for team in who.team_names:
        inside = [who.reps[i] for i in who.of_team(team)]
        some = [rep for rep in inside if rep in shares.reps]
        if some or (shares.reps and not shares.teams):
            yield from (
                f"{name}: rep:{rep} has no share, others of team:{team} have; give it one, or 0"
                if some
                else f"{name}: rep:{rep} has no share, and neither has team:{team}"
                for rep in inside
                if rep not in shares.reps
            )
    if not shares.teams and not shares.reps:
        yield f"{name}: no share came, wanted rows with scope and share"
