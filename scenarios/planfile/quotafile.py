"""Quotas kept in a file: long (one row per quota) or wide (headings are periods)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quotacast.engine.quota import DEFAULT_SET, Quota, Scope, check_metric, check_target
from quotacast.errors import DataError, PlanError
from quotacast.models.periods import Calendar
from quotacast.scenarios.planfile.values import share_of, shown

if TYPE_CHECKING:
    import pandas as pd

_LONG = ("scope", "metric", "period", "target")
_KNOWN = (*_LONG, "scope_id", "set")

#: Place in a file, scope, metric, period, target, set: the cells of one quota as they came.
Cells = tuple[str, Any, Any, Any, Any, Any]


def read_quotas(
    path: Path, *, calendar: Calendar | None = None, default_set: str = DEFAULT_SET
) -> tuple[Quota, ...]:
    """Read a CSV, XLSX or Parquet file of quotas.

    A long file has the columns scope, metric, period, target; a wide one scope, metric and one column
    per period, where an empty cell or 0 means no quota. Both may have a column ``set``, and the scope may
    stand in two columns, scope and scope_id, as answers write it.

    Raises
    ------
    PlanError
        With every problem, each naming file and row (the heading is row 1).
    """
    from quotacast.models.history.files import read_cells

    if not path.is_file():
        raise PlanError(f"{path}: no such file; give a CSV, XLSX or Parquet file of quotas")
    try:
        raw = read_cells(path, "quotas")
    except DataError as error:
        raise PlanError(error.problems) from None
    broken = [f"{path.name} row {row}: {reason}" for row, reason in raw.broken]
    places = [f"{path.name} row {row}" for row in raw.rows]
    return _quotas(raw.cells, places, path.name, calendar or Calendar(), default_set, broken)


def table_quotas(
    table: pd.DataFrame, *, calendar: Calendar | None = None, default_set: str = DEFAULT_SET
) -> tuple[Quota, ...]:
    """The quotas of the data folder (``History.quotas``), long or wide; errors as `read_quotas`."""
    places = [f"quotas table, quota {at}" for at in range(1, len(table) + 1)]
    return _quotas(table, places, "quotas table", calendar or Calendar(), default_set, [])


def _quotas(
    cells: pd.DataFrame,
    places: Sequence[str],
    file: str,
    calendar: Calendar,
    default_set: str,
    problems: list[str],
) -> tuple[Quota, ...]:
    headings = [str(name) for name in cells.columns]
    wide = not {"period", "target"} & set(headings)
    periods = {name: _as_label(name) for name in headings if name not in _KNOWN}
    problems += _heading_problems(headings, periods, file, calendar, wide)
    if problems:
        raise PlanError(problems)
    cells = whole_scopes(cells)
    rows = _wide(cells, places, periods) if wide else _long(cells, places)
    return _checked(rows, calendar, default_set)


def _heading_problems(
    headings: Sequence[str], periods: dict[str, str], file: str, calendar: Calendar, wide: bool
) -> list[str]:
    wanted = _LONG[:2] if wide else _LONG
    missing = [name for name in wanted if name not in headings]
    problems = [f"{file}: column {name!r} is missing; row 1 has {', '.join(headings)}" for name in missing]
    if not wide:
        return problems  # other columns of a long file are comments
    if not periods:
        problems.append(
            f"{file}: columns period and target, or headings that are periods, were wanted in row 1"
        )
    labels = []
    for name, label in periods.items():
        try:
            labels.append(calendar.parse(label).label)
        except PlanError as error:
            near = get_close_matches(name, _KNOWN, n=1)
            hint = f" (or did you mean the column {near[0]}?)" if near else ""
            problems.append(f"{file}: heading {name!r}: {error}{hint}")
    return problems + _dates_for_months(file, labels)


def _dates_for_months(file: str, labels: Sequence[str]) -> list[str]:
    """Spreadsheets turn the heading 2027-03 into the date 2027-03-01, which would read as one day."""
    days = [label for label in labels if len(label) == 10]
    if not days or any(not label.endswith("-01") for label in days):
        return []
    return [
        f"{file}: all headings that are days are firsts of months ({', '.join(days[:3])}), as spreadsheets "
        f"make of months: write {days[0][:7]} as text, or single days in a column period"
    ]


def _as_label(heading: str) -> str:
    """A heading as a label: spreadsheets keep the year 2027 as the number 2027.0, and days with a time."""
    text = heading.strip()
    return text.removesuffix(".0").removesuffix(" 00:00:00")


def whole_scopes(cells: pd.DataFrame) -> pd.DataFrame:
    """Scopes in one column: ``rep`` and ``r07`` as ``rep:r07``; whole ones stay as they are."""
    if "scope_id" not in cells:
        return cells
    pairs = zip(cells["scope"], cells["scope_id"], strict=True)
    whole = [
        scope if _empty(scope) or _empty(name) or ":" in str(scope) else f"{scope}:{_as_label(str(name))}"
        for scope, name in pairs
    ]
    return cells.assign(scope=whole)


def _long(cells: pd.DataFrame, places: Sequence[str]) -> Iterator[Cells]:
    sets = cells["set"] if "set" in cells else [None] * len(cells)
    columns = (cells[name] for name in _LONG)
    yield from zip(places, *columns, sets, strict=True)


def _wide(cells: pd.DataFrame, places: Sequence[str], periods: dict[str, str]) -> Iterator[Cells]:
    sets = cells["set"] if "set" in cells else [None] * len(cells)
    for at, (place, scope, metric, named) in enumerate(
        zip(places, cells["scope"], cells["metric"], sets, strict=True)
    ):
        for name, label in periods.items():
            target = cells[name].iloc[at]
            if not _empty(target) and not _nothing(target):
                yield f"{place}, {label}", scope, metric, label, target, named


def _checked(rows: Iterable[Cells], calendar: Calendar, default_set: str) -> tuple[Quota, ...]:
    quotas: dict[tuple[str, tuple[str, str, str]], Quota] = {}
    problems: list[str] = []
    for place, scope, metric, period, target, named in rows:
        try:
            name = default_set if _empty(named) else str(named).strip()
            quota = _quota(place, scope, metric, period, target, name, calendar)
        except PlanError as error:
            problems += error.problems
            continue
        first = quotas.setdefault((quota.set, quota.key), quota)
        if first is not quota:
            problems.append(
                f"{place}: the same scope, metric, period and set as {first.origin}; keep one of them"
            )
    if problems:
        raise PlanError(problems)
    return tuple(quotas.values())


def _quota(
    place: str, scope: Any, metric: Any, period: Any, target: Any, named: str, calendar: Calendar
) -> Quota:
    problems: list[str] = []

    def attempt(make: Any, *args: Any) -> Any:
        try:
            return make(*args)
        except PlanError as error:
            problems.extend(f"{place}: {problem}" for problem in error.problems)
            return None

    read_scope = attempt(_filled, "scope", scope, Scope.parse)
    read_metric = attempt(_filled, "metric", metric, check_metric)
    read_period = attempt(_filled, "period", period, lambda text: calendar.parse(text).label)
    value = attempt(_number, target, read_metric)
    if value is not None:
        attempt(check_target, read_metric or "", value)
    if problems:
        raise PlanError(problems)
    return Quota(read_scope, read_metric, read_period, value, named, place)


def _filled(name: str, cell: Any, make: Any) -> Any:
    if _empty(cell):
        raise PlanError(f"{name} is empty")
    if isinstance(cell, date):
        raise PlanError(
            f"{name}: a date cell ({cell:%Y-%m-%d}) came, which may mean a day or a month: "
            f"write {cell:%Y-%m} or {cell:%Y-%m-%d} as text"
        )
    return make(_as_label(str(cell)))


def _number(cell: Any, metric: str | None) -> float:
    if _empty(cell):
        raise PlanError("target is empty, wanted a number greater than 0")
    try:
        value = float(share_of(metric, cell))
    except (TypeError, ValueError):
        raise PlanError(
            f"target {shown(cell)} came, wanted a plain number such as 1200000 (of a share also 40%)"
        ) from None
    return value


def _nothing(cell: Any) -> bool:
    """A 0, as exports list those without a quota."""
    try:
        return float(cell) == 0.0
    except (TypeError, ValueError):
        return False


def _empty(cell: Any) -> bool:
    """None, NaN, NaT or blank text."""
    return cell is None or cell != cell or str(cell).strip() in ("", "<NA>")
