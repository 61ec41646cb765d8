"""Where a plan and its data come from: a plan file, a data folder or an export file."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import date
from pathlib import Path

from quotacast.errors import PlanError
from quotacast.models import store
from quotacast.models.history.history import History
from quotacast.scenarios.plan import Plan, default_plan, load_plan

#: An as-of date so many days after the last record is taken for a slip: silence would count as no sales.
LONGEST_SILENCE = 92


def find_plan(source: Path | None, *, scenario: str | None = None, as_of: date | None = None) -> Plan:
    """The plan behind a SOURCE: a plan file, a data folder, one export file, or ``./plan.toml``.

    Raises
    ------
    PlanError
        If there is nothing there, or the plan says something impossible.
    """
    path = Path("plan.toml") if source is None else source
    if not path.exists():
        hint = (
            "give a plan file, a data folder or an export file"
            if source
            else "go to its folder or name a SOURCE"
        )
        raise PlanError(f"{path}: there is no such file or folder; {hint}")
    if path.is_file() and path.suffix.lower() == ".toml":
        return load_plan(path, scenario=scenario)
    if scenario is not None:
        raise PlanError(
            f"scenario {scenario!r} was asked for, but {path} is no plan file: scenarios stand in one"
        )
    folder = _import_once(path) if path.is_file() else path
    made = default_plan(folder, read(folder, as_of=as_of).as_of_date)
    home = path.absolute().parent if path.is_file() else made.home
    return replace(made, name=path.stem or path.absolute().name, home=home)


def _import_once(file: Path) -> Path:
    """Folder of canonical tables made from an export file; kept in the run folder beside the file."""
    from quotacast.models.history.importers import import_export

    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    folder = file.parent / store.RUN_FOLDER / "imports" / digest
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        import_export(file, folder)
    return folder


def read(folder: Path, *, as_of: date | None = None, currency: str | None = None) -> History:
    """Read a data folder.

    Raises
    ------
    DataError
        With everything that is wrong in the files.
    PlanError
        If the as-of date is long after the last record.
    """
    from quotacast.models.history.read import read_history

    found = read_history(folder, as_of=as_of, currency=currency)
    if as_of is not None:
        _refuse_silence(found, as_of)
    return found


def _refuse_silence(history: History, as_of: date) -> None:
    """The days between the last record and the as-of date count as days on which nothing happened."""
    columns = (
        (history.opportunities, ("created_on", "closed_on")),
        (history.leads, ("created_on", "closed_on")),
        (history.stages, ("entered_on",)),
        (history.activities, ("done_on",)),
    )
    days = [table[name].max() for table, names in columns for name in names]
    last = max(day for day in days if day == day).date()
    if (as_of - last).days > LONGEST_SILENCE:
        raise PlanError(
            f"as_of: {as_of} is {(as_of - last).days:,} days after the last record of the data ({last}), and "
            "they would count as days without sales: take an earlier day, or export the data anew"
        )
