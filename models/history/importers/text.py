"""Reading a table of text from a file of unknown make, without guessing in silence.

What is decided, and how:

* encoding: a byte-order mark, else strict UTF-8, else Windows-1252 with a note;
* delimiter: the one of ``, ; tab |`` that the heading line holds most often outside quotes;
* width: the heading's. A shorter or longer row is kept apart with its row number; the run of such rows at
  the end of a file is the footer that report exports append, and becomes a note.

Cells stay text (stripped of surrounding blanks), so that an id like ``007`` survives.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from quotacast.errors import DataError

#: First bytes of a file -> what it is.
MAGIC = (
    (b"PK\x03\x04", "workbook"),
    (b"\xd0\xcf\x11\xe0", "workbook"),
    (b"PAR1", "parquet"),
)
BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
DELIMITERS = (",", ";", "\t", "|")
_LONGEST_CELL = 10_000_000


@dataclass(frozen=True)
class Table:
    """One file as text.

    Attributes
    ----------
    path : pathlib.Path
    frame : pandas.DataFrame
        Text cells, ``""`` where empty; the index is the row in the file (the heading is row 1 of a plain
        file).
    misfits : tuple of (int, str)
        Rows whose number of cells is not the heading's, with the reason; they are not in ``frame``.
    notes : tuple of str
        What was decided about the file.
    """

    path: Path
    frame: pd.DataFrame
    misfits: tuple[tuple[int, str], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The file's name, as reports show it."""
        return self.path.name


def read_table(path: Path) -> Table:
    """Read a CSV, Parquet or Excel file as text.

    Raises
    ------
    DataError
        If the file is missing, empty, an HTML page, or has no heading.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give an existing file") from error
    for magic, kind in MAGIC:
        if raw.startswith(magic):
            rows = list(_workbook_rows(raw, path) if kind == "workbook" else _parquet_rows(path))
            return _table(path, rows, ())
    if raw.lstrip()[:1] == b"<":
        raise DataError(f"{path.name}: is a web page, not a table; export it again as CSV")
    text, notes = _decode(raw, path)
    return _table(path, _csv_rows(text, path), notes)


def _decode(raw: bytes, path: Path) -> tuple[str, tuple[str, ...]]:
    for mark, codec in BYTE_ORDER_MARKS:
        if raw.startswith(mark):
            try:
                return raw.decode(codec), ()
            except UnicodeDecodeError as error:
                raise DataError(f"{path.name}: starts as {codec} but is not; export it as UTF-8") from error
    if b"\x00" in raw:
        raise DataError(
            f"{path.name}: holds NUL bytes (UTF-16 without a mark, or no text); export it as UTF-8"
        )
    try:
        return raw.decode("utf-8"), ()
    except UnicodeDecodeError:
        text = raw.decode("cp1252", errors="replace")
        return text, (f"{path.name}: not UTF-8, read as Windows-1252",)


def delimiter_of(heading: str) -> str:
    """Return the delimiter that a heading line uses most outside quotes (a comma where there is none)."""
    bare = re.sub(r'"[^"]*"', "", heading)
    return max(DELIMITERS, key=lambda mark: (bare.count(mark), -DELIMITERS.index(mark)))


def _csv_rows(text: str, path: Path) -> list[tuple[int, list[str]]]:
    skipped = re.match(r"(?:[ \t]*\r?\n|sep=.\r?\n)*", text)
    start = skipped.end() if skipped else 0
    first_line = text.count("\n", 0, start)
    heading = re.split(r"\r\n|\r|\n", text[start:], maxsplit=1)[0]
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(io.StringIO(text[start:], newline=""), delimiter=delimiter_of(heading))
    rows, line = [], first_line + 1
    try:
        for cells in reader:
            rows.append((line, cells))
            line = first_line + reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path.name}: row {line} is not CSV ({error}); export the file again") from error
    return rows


def _workbook_rows(raw: bytes, path: Path) -> Iterator[tuple[int, list[str]]]:
    from python_calamine import CalamineError, CalamineWorkbook

    try:
        sheet = CalamineWorkbook.from_filelike(io.BytesIO(raw)).get_sheet_by_index(0)
    except (CalamineError, IndexError) as error:
        raise DataError(
            f"{path.name}: is not a readable workbook ({error}); save it as .xlsx or CSV"
        ) from error
    for number, cells in enumerate(sheet.to_python(skip_empty_area=False), start=1):
        yield number, [_cell_text(cell) for cell in cells]


def _parquet_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    frame = pd.read_parquet(path)
    yield 1, [str(name) for name in frame.columns]
    for number, cells in enumerate(frame.itertuples(index=False), start=2):
        yield number, ["" if pd.isna(cell) else _cell_text(cell) for cell in cells]


def _cell_text(cell: object) -> str:
    """Text of a typed cell: whole numbers without ``.0``, days in ISO form."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)


def _table(path: Path, rows: Sequence[tuple[int, list[str]]], notes: tuple[str, ...]) -> Table:
    filled = [(number, [cell.strip() for cell in cells]) for number, cells in rows]
    filled = [(number, cells) for number, cells in filled if any(cells)]
    if not filled:
        raise DataError(f"{path.name}: is empty; a heading line and rows were wanted")
    headings = _unique(filled[0][1])
    fitting, misfits = [], []
    for number, cells in filled[1:]:
        cells = _trimmed(cells, len(headings))
        if len(cells) == len(headings):
            fitting.append((number, cells))
        else:
            misfits.append((number, cells))
    last = fitting[-1][0] if fitting else 0
    footer = [cells for number, cells in misfits if number > last and len(cells) < len(headings)]
    if footer:
        example = " ".join(footer[0])[:60]
        notes = (*notes, f"{path.name}: {len(footer)} footer rows left out, the first reads {example!r}")
    wrong = [(number, cells) for number, cells in misfits if number <= last or len(cells) > len(headings)]
    frame = pd.DataFrame(
        [cells for _, cells in fitting],
        columns=headings,
        index=pd.Index([number for number, _ in fitting], name="row", dtype="int64"),
        dtype="object",
    )
    reasons = tuple((n, f"has {len(cells)} cells, the heading has {len(headings)}") for n, cells in wrong)
    return Table(path, frame, reasons, notes)


def _trimmed(cells: list[str], width: int) -> list[str]:
    """Cut empty cells beyond the heading's width: a trailing delimiter is no extra cell."""
    return cells[:width] if len(cells) > width and not any(cells[width:]) else cells


def _unique(headings: Sequence[str]) -> list[str]:
    seen: Counter[str] = Counter()
    names = []
    for number, heading in enumerate(headings, start=1):
        name = heading or f"(column {number})"
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return names
