"""Files to cells: which file holds which table, and its cells with their rows as a person sees them.

Nothing is interpreted here but the file's own format. What a cell means is decided in `parse`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from quotacast.errors import DataError
from quotacast.models.history import schema
from quotacast.models.history.history import Finding

#: Endings that are looked for, in the order in which they are named in messages.
ENDINGS = (".csv", ".parquet", ".xlsx", ".xls")

_DELIMITERS = (",", ";", "\t", "|")


@dataclass
class Raw:
    """The cells of one file.

    ``cells`` holds str, native numbers and days, or None; ``rows`` the row of each in the file (the
    heading is row 1); ``broken`` the (row, reason) of lines that do not fit the heading.
    """

    table: str
    file: str
    cells: pd.DataFrame
    rows: np.ndarray
    broken: list[tuple[int, str]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def note(self, rule: str, meaning: str, count: int = 1, action: str = "note") -> None:
        """Add a finding about the file itself."""
        self.findings.append(Finding(rule, self.table, count, (self.file,), action, meaning))


def locate(folder: Path) -> tuple[dict[str, Path], list[Finding]]:
    """Return the file of each canonical table found in a folder, and notes about files left alone.

    Raises
    ------
    DataError
        Where the folder or its opportunities are missing, or one table comes in two files.
    """
    if not folder.exists():
        raise DataError(f"{folder}: no such folder; give the folder that holds opportunities.csv")
    if not folder.is_dir():
        raise DataError(
            f"{folder}: a file arrived where a data folder was wanted; bring an export into one with "
            "`quotacast import`"
        )
    files = [p for p in sorted(folder.iterdir()) if p.is_file() and p.suffix.lower() in ENDINGS]
    by_table: dict[str, list[Path]] = {}
    for path in files:
        by_table.setdefault(path.stem.lower(), []).append(path)
    problems = [
        f"{folder}: {' and '.join(p.name for p in by_table[t])} both hold table {t}; keep one of them"
        for t in schema.TABLES
        if len(by_table.get(t, ())) > 1
    ]
    if "opportunities" not in by_table:
        problems.append(_no_opportunities(folder, files))
    if problems:
        raise DataError(problems)
    found = {t: by_table[t][0] for t in schema.TABLES if t in by_table}
    return found, _left_alone(by_table)


def _no_opportunities(folder: Path, files: Sequence[Path]) -> str:
    there = ", ".join(p.name for p in files) or "no CSV, Parquet or Excel file"
    near = get_close_matches("opportunities", [p.stem.lower() for p in files], n=1, cutoff=0.7)
    hint = f"; did you mean to name {near[0]!r} opportunities?" if near else ""
    return (
        f"{folder}: opportunities.csv (or .parquet, .xlsx) is missing; there is {there}{hint}. "
        "A CRM export becomes such a folder with `quotacast import`"
    )


def _left_alone(by_table: dict[str, list[Path]]) -> list[Finding]:
    notes = []
    for stem, paths in sorted(by_table.items()):
        if stem in schema.TABLES or stem == "rejected":
            continue
        near = get_close_matches(stem, schema.TABLES, n=1, cutoff=0.75)
        hint = f" Rename it if it is meant to be {near[0]}." if near else ""
        files = tuple(p.name for p in paths)
        notes.append(
            Finding(
                "unknown file",
                stem,
                len(files),
                files,
                "note",
                f"No table is called {stem!r}: not read.{hint}",
            )
        )
    return notes


def read_cells(path: Path, table: str) -> Raw:
    """Read one file, whatever its ending says, by its first bytes.

    Raises
    ------
    DataError
        Where the file is empty, unreadable, or an HTML page.
    """
    with path.open("rb") as handle:
        head = handle.read(4096)
    kind = _sniff(head)
    raw = Raw(table, path.name, pd.DataFrame(), np.zeros(0, dtype="int64"))
    try:
        _READERS[kind](path, raw)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # whatever a reader of a foreign format throws is a fault of the file
        raise DataError(
            f"{path.name}: could not be read as {_FORMATS[kind]} ({type(error).__name__}: {error}); "
            "open it and save it again as CSV (UTF-8)"
        ) from error
    named = path.suffix.lower()
    if kind in ("excel", "parquet") and (kind == "excel") != (named in (".xlsx", ".xls")):
        raw.note("file format", f"{path.name} is {_FORMATS[kind]} despite its name; read as such.")
    if kind == "csv" and named != ".csv":
        raw.note("file format", f"{path.name} is text despite its name; read as CSV.")
    _check_heading(raw)
    return raw


_FORMATS = {"csv": "CSV", "excel": "an Excel workbook", "parquet": "Parquet", "html": "an HTML page"}


def _sniff(head: bytes) -> str:
    if head.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        return "excel"
    if head.startswith(b"PAR1"):
        return "parquet"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return (
        "html"
        if text.startswith((b"<html", b"<!doctype", b"<table", b"<?xml", b"<meta", b"<style"))
        else "csv"
    )


def _read_html(path: Path, raw: Raw) -> None:
    raise DataError(
        f"{path.name}: this is an HTML or XML page with a table in it, as some CRMs export under an Excel "
        "name; open it in a spreadsheet and save it as .xlsx or CSV"
    )


def decode(data: bytes) -> tuple[str, str]:
    """Decode text: a byte-order mark decides, then strict UTF-8, then NUL bytes, else Windows-1252.

    Returns
    -------
    text, encoding : str
    """
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            return data.decode(encoding), encoding
    if b"\x00" in data[:4096]:
        encoding = "utf-16-le" if data[1:2] == b"\x00" else "utf-16-be"
        return data.decode(encoding), encoding
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        # Five bytes have no meaning in Windows-1252; they must not stop the reading of the rest.
        return data.decode("cp1252", errors="replace"), "cp1252"


def _read_csv(path: Path, raw: Raw) -> None:
    text, encoding = decode(path.read_bytes())
    if encoding not in ("utf-8", "utf-8-sig"):
        raw.note("encoding", f"{path.name} is not UTF-8; read as {encoding}. Look at names with accents.")
    first = text.split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=lambda d: _known_names(first, d, raw.table))
    if delimiter != ",":
        raw.note("delimiter", f"{path.name} is separated by {delimiter!r}, not by commas; read as such.")
    lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    _fill(raw, lines)


def _known_names(line: str, delimiter: str, table: str) -> int:
    known = set(schema.names(table))
    return sum(cell.strip().strip('"') in known for cell in line.strip("\r\n").split(delimiter))


def _fill(raw: Raw, lines: Sequence[Sequence[Any]]) -> None:
    """Lines of cells to a frame; lines that do not fit the heading go to ``broken``."""
    if not lines or not any(_filled(c) for c in lines[0]):
        raise DataError(f"{raw.file}: empty where a heading in row 1 was wanted; export it again")
    heading = [str(c).strip() if c is not None else "" for c in lines[0]]
    while heading and not heading[-1]:
        heading.pop()
    width, kept, rows, blank = len(heading), [], [], 0
    for row, line in enumerate(lines[1:], start=2):
        if len(line) != width:
            extra = sum(_filled(c) for c in line[width:])
            if not any(_filled(c) for c in line):
                blank += 1
                continue
            if len(line) < width or extra:
                raw.broken.append((row, f"{len(line)} cells where the heading has {width}"))
                continue
            line = line[:width]
        kept.append(line)
        rows.append(row)
    columns = list(zip(*kept, strict=True)) if kept else [()] * width
    frame = pd.DataFrame({i: pd.Series(list(c), dtype=object) for i, c in enumerate(columns)})
    empty = ~_any_filled(frame)
    blank += int(empty.sum())
    raw.cells = frame[~empty].reset_index(drop=True)
    raw.cells.columns = pd.Index(heading, dtype=object)
    raw.rows = np.asarray(rows, dtype="int64")[~empty.to_numpy()]
    if blank:
        raw.note("blank rows", f"{blank} blank rows were skipped.", blank, "changed")


def _filled(cell: Any) -> bool:
    return cell is not None and str(cell).strip() != ""


def _any_filled(frame: pd.DataFrame) -> pd.Series:
    filled = pd.Series(False, index=frame.index)
    for name in frame.columns:
        if filled.all():
            break
        column = frame[name]
        filled |= column.notna() & (column.astype(str).str.strip() != "")
    return filled


def _read_excel(path: Path, raw: Raw) -> None:
    from python_calamine import CalamineWorkbook

    book = CalamineWorkbook.from_path(str(path))
    names = list(book.sheet_names)
    sheet = next((n for n in names if n.strip().lower() == raw.table), names[0])
    if len(names) > 1:
        raw.note("sheets", f"{path.name} has {len(names)} sheets; {sheet!r} was read.")
    lines = book.get_sheet_by_name(sheet).to_python(skip_empty_area=False)
    _fill(raw, [[None if c == "" else c for c in line] for line in lines])


def _read_parquet(path: Path, raw: Raw) -> None:
    import pyarrow.parquet as pq

    frame = pq.read_table(path).to_pandas(integer_object_nulls=True, timestamp_as_object=False)
    raw.cells = frame.reset_index(drop=True)
    raw.cells.columns = pd.Index([str(c).strip() for c in frame.columns], dtype=object)
    raw.rows = np.arange(2, len(frame) + 2)


_READERS = {"csv": _read_csv, "excel": _read_excel, "parquet": _read_parquet, "html": _read_html}


def _check_heading(raw: Raw) -> None:
    heading = list(raw.cells.columns)
    twice = sorted({h for h in heading if h and heading.count(h) > 1})
    if twice:
        raise DataError(f"{raw.file}: row 1 names {', '.join(twice)} twice; rename or remove one of each")
    unnamed = [i for i, h in enumerate(heading) if not h]
    if unnamed:
        raw.cells = raw.cells.drop(columns=[""])
        raw.note("unnamed columns", f"{len(unnamed)} columns without a heading were left out.", len(unnamed))


def missing_columns(raw: Raw, wanted: Iterable[str]) -> list[str]:
    """Return one sentence per required column that a file lacks, with the nearest heading it has."""
    there = [str(c) for c in raw.cells.columns]
    problems = []
    for name in wanted:
        if name in there:
            continue
        folded = {h.casefold().replace(" ", "_").replace("-", "_"): h for h in there}
        near = get_close_matches(name, list(folded), n=1, cutoff=0.6)
        hint = f"; rename {folded[near[0]]!r} if that is it" if near else ""
        problems.append(f"{raw.file}: column {name!r} is missing; row 1 has {', '.join(there)}{hint}")
    return problems
