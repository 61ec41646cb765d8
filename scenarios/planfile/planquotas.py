"""The quotas of a plan: its ``[[quota]]`` tables over the rows of its quota file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from quotacast.engine.quota import DEFAULT_SET, Quota, Scope
from quotacast.errors import PlanError
from quotacast.models.periods import Calendar
from quotacast.scenarios.planfile.overlay import key_path
from quotacast.scenarios.planfile.quotafile import read_quotas

if TYPE_CHECKING:
    from quotacast.scenarios.planfile.schema import PlanTable
    from quotacast.scenarios.planfile.validate import Locate

Gathered = dict[tuple[str, tuple[str, str, str]], Quota]


def gather(
    table: PlanTable, calendar: Calendar, home: Path, locate: Locate
) -> tuple[tuple[Quota, ...], tuple[str, ...]]:
    """All quotas of a plan, and what must be said about them.

    A ``[[quota]]`` without ``set`` holds in every set of the file.

    Raises
    ------
    PlanError
        Where the file has problems, a quota is written twice or ends after the horizon.
    """
    problems: list[str] = []
    rows: tuple[Quota, ...] = ()
    if table.quotas is not None:
        try:
            rows = read_quotas(home / table.quotas.file, calendar=calendar)
        except PlanError as error:
            where = key_path(locate(("quotas", "file")))
            problems += [f"{where}: {problem}" for problem in error.problems]
    gathered: Gathered = {(row.set, row.key): row for row in rows}
    written = _written(table, gathered, locate)
    problems += _twice(written) + _too_late(written, table.horizon, calendar)
    if problems:
        raise PlanError(problems)
    notes = [*_overridden(written, gathered), *_beyond(rows, table.horizon, calendar)]
    gathered.update({(quota.set, quota.key): quota for quota in written})
    return tuple(gathered.values()), tuple(notes)


def _written(table: PlanTable, gathered: Gathered, locate: Locate) -> list[Quota]:
    sets = tuple(dict.fromkeys(name for name, _ in gathered)) or (DEFAULT_SET,)
    return [
        Quota(
            Scope.parse(quota.scope),
            quota.metric,
            quota.period,
            float(quota.target),
            name,
            key_path(locate(("quota", at))),
        )
        for at, quota in enumerate(table.quota)
        for name in ((quota.set,) if quota.set else sets)
    ]


def _twice(written: list[Quota]) -> list[str]:
    first: dict[tuple[str, tuple[str, str, str]], Quota] = {}
    problems = []
    for quota in written:
        other = first.setdefault((quota.set, quota.key), quota)
        if other is not quota:
            problems.append(
                f"{quota.origin}: the same scope, metric, period and set as {other.origin}; keep one of them"
            )
    return problems


def _too_late(written: list[Quota], horizon: str, calendar: Calendar) -> list[str]:
    end = calendar.parse(horizon).last
    return [
        f"{origin}.period: {period} ends after the horizon {horizon} ({end}): lengthen the horizon"
        for origin, period in dict.fromkeys((quota.origin, quota.period) for quota in written)
        if calendar.parse(period).last > end
    ]


def _overridden(written: list[Quota], gathered: Gathered) -> list[str]:
    notes = []
    for quota in written:
        row = gathered.get((quota.set, quota.key))
        if row is not None and row.target != quota.target:
            notes.append(
                f"{quota.origin}: {' '.join(quota.key)} is {quota.target:,.10g}, "
                f"overriding {row.target:,.10g} of {row.origin}"
            )
    return notes


def _beyond(rows: tuple[Quota, ...], horizon: str, calendar: Calendar) -> list[str]:
    end = calendar.parse(horizon).last
    late = [row for row in rows if calendar.parse(row.period).last > end]
    if not late:
        return []
    return [
        f"{len(late)} quotas of the file end after the horizon {horizon} and cannot be answered "
        f"({late[0].origin}: {late[0].period})"
    ]
