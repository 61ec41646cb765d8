"""What an importer fills in: canonical tables as text, what was rejected and why, and how headings were
matched.

Counting is built in: :meth:`Draft.put` splits the rows of one source table into written and rejected ones, so
``read = written + rejected`` holds for every table by construction.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from quotacast.errors import DataError
from quotacast.models.history import schema
from quotacast.models.history.importers.text import Table
from quotacast.models.history.importers.values import blank_placeholders, to_days, to_numbers

#: Canonical table -> its columns in the order they are written.
CANONICAL: Mapping[str, tuple[str, ...]] = {table: schema.names(table) for table in schema.TABLES}
#: What a row must say to be of use; ``closed_on`` is asked of what is not open besides, and a won deal
#: without an amount is left to cleaning, which knows the rule and reports it.
REQUIRED: Mapping[str, tuple[str, ...]] = {
    table: tuple(c.name for c in schema.columns(table) if c.required == "always" and c.name != "status")
    for table in schema.TABLES
}
STATUSES: Mapping[str, tuple[str, ...]] = {
    c.table: c.choices for c in schema.COLUMNS if c.kind == "choice" and c.name == "status"
}
DAYS = frozenset(c.name for c in schema.COLUMNS if c.kind == "day")
NUMBERS = frozenset(c.name for c in schema.COLUMNS if c.kind in ("money", "number"))
#: What stands for every value without an entry of its own, in a mapping's values.
ANY = "*"
MATCH_COLUMNS = ("file", "heading", "table", "column", "how")
REJECT_COLUMNS = ("table", "file", "row", "id", "reason", "values")
COUNT_COLUMNS = ("table", "read", "written", "rejected")


@dataclass(frozen=True)
class ImportResult:
    """What an import did.

    Attributes
    ----------
    out : pathlib.Path
        The folder that now holds the canonical tables.
    matches : pandas.DataFrame
        ``file, heading, table, column, how``: every heading of every file read, ``column`` empty where
        unused.
    counts : pandas.DataFrame
        ``table, read, written, rejected`` per canonical table; read = written + rejected.
    rejected : pandas.DataFrame
        ``table, file, row, id, reason, values``: each rejected row, its used cells as JSON.
    notes : tuple of str
        What was decided, assumed or seen; one sentence each.
    next_command : str
        What to type next.
    """

    out: Path
    matches: pd.DataFrame
    counts: pd.DataFrame
    rejected: pd.DataFrame
    notes: tuple[str, ...]
    next_command: str


@dataclass
class Draft:
    """The result while it is being made."""

    tables: dict[str, list[pd.DataFrame]] = field(default_factory=dict)
    rejects: list[pd.DataFrame] = field(default_factory=list)
    matches: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    read: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def note(self, count: int, sentence: str) -> None:
        """Add ``sentence`` with its number of cases where there are any."""
        if count:
            self.notes.append(f"{count:,} {sentence}")

    def put(self, table: str, source: Sourced) -> pd.DataFrame:
        """Add the rows of one source table and return those that were written.

        A row is rejected for the reasons its source collected and for what :data:`REQUIRED` and
        :data:`STATUSES` ask of it. Nothing is written for a column that the source does not have.
        """
        reasons = source.reasons.str.cat(_missing(table, source.frame, source.reasons))
        bad = reasons != ""
        self.read[table] = self.read.get(table, 0) + len(source.frame) + len(source.misfits)
        self._reject(table, source, reasons[bad])
        for row, reason in source.misfits:
            self.rejects.append(_reject_rows(table, source.file, [(row, "", reason, "")]))
        written = source.frame[~bad]
        self.tables.setdefault(table, []).append(written)
        return written

    def _reject(self, table: str, source: Sourced, reasons: pd.Series) -> None:
        if reasons.empty:
            return
        ids = source.frame.loc[reasons.index, source.id_column] if source.id_column in source.frame else ""
        raw = source.raw.loc[reasons.index].to_dict("records")
        frame = pd.DataFrame({"row": reasons.index, "id": ids, "reason": reasons.str.removesuffix("; ")})
        frame["values"] = [json.dumps({k: v for k, v in row.items() if v}, ensure_ascii=False) for row in raw]
        self.rejects.append(frame.assign(table=table, file=source.file)[list(REJECT_COLUMNS)])

    def frame(self, table: str) -> pd.DataFrame:
        """Return what is to be written for a table: canonical columns in order, then the others."""
        parts = self.tables.get(table, [])
        whole = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
        ordered = [name for name in CANONICAL[table] if name in whole or name in REQUIRED[table]]
        extras = [name for name in whole if name not in ordered]
        return whole.reindex(columns=[*ordered, *extras]).fillna("")

    def rejected(self) -> pd.DataFrame:
        """Return all rejected rows."""
        if not self.rejects:
            return pd.DataFrame(columns=list(REJECT_COLUMNS))
        return pd.concat(self.rejects, ignore_index=True)

    def counts(self) -> pd.DataFrame:
        """Return ``table, read, written, rejected`` in canonical order."""
        rejected = self.rejected()["table"].value_counts()
        rows = [
            (name, self.read[name], len(self.frame(name)), int(rejected.get(name, 0)))
            for name in CANONICAL
            if name in self.read
        ]
        return pd.DataFrame(rows, columns=list(COUNT_COLUMNS))

    def stop_on_problems(self) -> None:
        """Raise everything that was found wrong with the files or settings as a whole."""
        if self.problems:
            raise DataError(self.problems)


@dataclass
class Sourced:
    """Rows of one file under canonical names, on their way into a table.

    ``frame`` holds canonical text, ``raw`` the cells as they came, ``reasons`` a ``"; "``-ended list of
    reasons per row (empty: fine). All share the file's row numbers as index.
    """

    file: str
    frame: pd.DataFrame
    raw: pd.DataFrame
    reasons: pd.Series
    misfits: tuple[tuple[int, str], ...] = ()
    id_column: str = ""

    def reject(self, rows: pd.Series, reason: str | Callable[[pd.Series], str]) -> None:
        """Reject the rows where ``rows`` is true; ``reason`` is a sentence, or makes one per row."""
        hit = rows.reindex(self.reasons.index, fill_value=False).astype(bool)
        if hit.any():
            text = reason if isinstance(reason, str) else self.frame[hit].apply(reason, axis=1)
            self.reasons.loc[hit] = self.reasons[hit] + text + "; "

    def has(self, column: str) -> bool:
        """Return whether the column is there and holds anything."""
        return column in self.frame and bool((self.frame[column] != "").any())

    def column(self, name: str) -> pd.Series:
        """Return a column, all empty where the file has none."""
        if name in self.frame:
            return self.frame[name]
        return pd.Series("", index=self.frame.index, dtype="object")


def converted(
    draft: Draft,
    table: Table,
    columns: Mapping[str, str],
    *,
    cells: pd.DataFrame | None = None,
    values: Mapping[str, Mapping[str, str]] | None = None,
    date_formats: Mapping[str, str | None] | None = None,
    decimal: str | None = None,
    days: Iterable[str] = DAYS,
    numbers: Iterable[str] = NUMBERS,
) -> Sourced:
    """Rename, translate and read the cells of a file.

    Parameters
    ----------
    columns : mapping
        Our column -> heading of the file.
    cells : DataFrame, optional
        The cells under our names, where they are not simply those of the file.
    values : mapping, optional
        Our column -> (value in the file -> our value).
    date_formats : mapping, optional
        Our column -> its date format; ``""`` holds the default of all.

    Columns that cannot be decided become problems of the draft, all of them at once.
    """
    raw = table.frame[list(dict.fromkeys(columns.values()))]
    frame = cells
    if frame is None:
        frame = pd.DataFrame({ours: table.frame[theirs] for ours, theirs in columns.items()}, index=raw.index)
    for ours, lookup in (values or {}).items():
        if ours in frame:
            frame[ours] = frame[ours].map(translator(lookup))
    reasons = pd.Series("", index=frame.index, dtype="object")
    formats = date_formats or {}
    for ours in map(str, frame.columns):
        try:
            if ours in days:
                frame[ours], trouble = to_days(frame[ours], formats.get(ours) or formats.get(""))
            elif ours in numbers:
                frame[ours], trouble = to_numbers(frame[ours], decimal)
            else:
                if ours.endswith("_id"):
                    frame[ours] = blank_placeholders(frame[ours])
                continue
        except DataError as error:
            draft.problems.extend(
                f"{table.name}, column {columns.get(ours, ours)!r}: {p}" for p in error.problems
            )
            continue
        reasons = reasons.str.cat(trouble.where(trouble == "", f"{ours} " + trouble + "; "))
    draft.notes.extend(note for note in table.notes if note not in draft.notes)
    return Sourced(table.name, frame, raw, reasons, table.misfits)


def translator(values: Mapping[str, str]) -> Callable[[str], str]:
    """Return what turns a cell into ours: its own entry, else that of ``*`` where it holds anything."""

    def translated(cell: str) -> str:
        return values.get(cell, values.get(ANY, cell) if cell else cell)

    return translated


def derived(file: str, frame: pd.DataFrame, id_column: str = "") -> Sourced:
    """Wrap rows that were made from others (reps found in deals), so that they are counted like the rest."""
    return Sourced(file, frame, frame, pd.Series("", index=frame.index, dtype="object"), (), id_column)


def _missing(table: str, frame: pd.DataFrame, already: pd.Series) -> pd.Series:
    """Reasons for required cells that are empty, unless the cell was refused with a reason of its own."""
    found = pd.Series("", index=frame.index, dtype="object")
    wanted = {name: pd.Series(True, index=frame.index) for name in REQUIRED[table]}
    if table in STATUSES:
        status = frame.get("status", found)
        bad = ~status.isin(STATUSES[table])
        text = status.map(lambda value: f"status {value!r} is none of {', '.join(STATUSES[table])}; ")
        found = found.str.cat(text.where(bad, ""))
        wanted["closed_on"] = ~bad & (status != "open")
    for name, asked in wanted.items():
        empty = asked & ((frame[name] == "") if name in frame else True)
        empty &= ~already.str.contains(rf"(?:^|; ){name} ", regex=True)
        found = found.str.cat(pd.Series(f"no {name}; ", index=frame.index).where(empty, ""))
    return found


def _reject_rows(table: str, file: str, rows: Sequence[tuple[int, str, str, str]]) -> pd.DataFrame:
    return pd.DataFrame([(table, file, *row) for row in rows], columns=list(REJECT_COLUMNS))
