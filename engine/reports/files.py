"""An answer as a file: JSON, CSV, Parquet, a workbook or a page, by the file's ending."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from quotacast.engine.answer import Answer
from quotacast.engine.reports.units import column_units, missing, plain, show, unit
from quotacast.errors import QuotacastError

Writer = Callable[[Answer], bytes]

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
_SHEET_ROWS = 1_048_576  # the format's limit, the heading included
_SHEET_TEXT = 32_767
EPOCH = dt.datetime(2000, 1, 1)  # a workbook carries its birthday; a clock would change its bytes


def records(answer: Answer) -> list[dict[str, Any]]:
    """The rows as plain data, keys in the order of the fields."""
    names = [f.name for f in answer.fields]
    cells = [[plain(v) for v in answer.rows[name]] for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*cells, strict=True)]


def as_json(answer: Answer) -> str:
    """The answer as a JSON document, one row per line.

    ``{"schema": "quotacast/<name>/1", "rows": [...], "summary": {...}, "provenance": {...}}``; rows keep the
    order of their fields, the keys of the rest are sorted; NaN and infinities are null.

    Raises
    ------
    QuotacastError
        If the answer carries a value that is not plain data.
    """
    rows = ",\n".join(_dump(row) for row in records(answer))
    parts = {
        "schema": _dump(f"quotacast/{answer.name}/1"),
        "rows": f"[\n{rows}\n]" if rows else "[]",
        "summary": _dump(plain(answer.summary), sort=True),
        "provenance": _dump(plain(answer.provenance), sort=True),
    }
    return "{\n" + ",\n".join(f'"{key}": {text}' for key, text in parts.items()) + "\n}\n"


def _dump(value: Any, *, sort: bool = False) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=sort)


def as_csv(answer: Answer) -> str:
    """The rows as CSV: ISO dates, empty where missing, line ends ``\\n``.

    A text that a spreadsheet would read as a formula is prefixed with an apostrophe; numbers never are.
    """
    lines = [[harmless(f.name) for f in answer.fields]]
    lines += [[_csv_cell(v) for v in row.values()] for row in records(answer)]
    return "".join(",".join(map(_quoted, line)) + "\n" for line in lines)


def _csv_cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (int, float)):
        return str(value)
    return harmless(value if isinstance(value, str) else show(value, "text"))


def _quoted(text: str) -> str:
    """The cell in quotes where it needs them (the csv module leaves a lone CR bare, which splits the row)."""
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') else text


def harmless(text: str) -> str:
    """The text, with an apostrophe before it where a spreadsheet would read it as a formula."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def as_parquet(answer: Answer) -> bytes:
    """The rows as Parquet; summary, provenance and the meaning of the fields in the metadata ``quotacast``.

    Lists within a cell become text, as in CSV.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    frame = answer.rows.reset_index(drop=True)
    for name in frame.columns:
        if any(isinstance(v, (list, tuple, set, dict)) for v in frame[name]):
            frame[name] = [show(v, "text") for v in frame[name]]
    table = pa.Table.from_pandas(frame, preserve_index=False)
    about = {
        "schema": f"quotacast/{answer.name}/1",
        "words": plain(answer.words),
        "summary": plain(answer.summary),
        "provenance": plain(answer.provenance),
        "fields": [{"name": f.name, "unit": f.unit, "meaning": f.meaning} for f in answer.fields],
    }
    meta = {**(table.schema.metadata or {}), b"quotacast": _dump(about, sort=True).encode()}
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(meta), sink)
    return sink.getvalue()


def as_workbook(answer: Answer) -> bytes:
    """The answer as XLSX: one sheet with the table, one (``about``) with what it means and whence it comes.

    Text is always text: no formulas, no links. The creation date is a constant, so the bytes repeat.

    Raises
    ------
    QuotacastError
        If there are more rows than a sheet holds.
    """
    import xlsxwriter

    if len(answer.rows) >= _SHEET_ROWS:
        raise QuotacastError(
            f"answer {answer.name!r} has {len(answer.rows):,} rows, a sheet holds {_SHEET_ROWS - 1:,}: "
            "write .csv or .parquet"
        )
    out = io.BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(out, options) as book:
        book.set_properties({"created": EPOCH, "title": show(answer.name, "text")})
        _table_sheet(book, answer)
        _about_sheet(book, answer)
    return out.getvalue()


def _table_sheet(book: Any, answer: Answer) -> None:
    sheet = book.add_worksheet(re.sub(r"[\[\]:*?/\\']", " ", answer.name).strip()[:31] or "answer")
    formats = _Formats(book)
    for at, field in enumerate(answer.fields):
        units = column_units(answer, field)
        right = field.unit == "metric" or unit(field.unit).numeric
        sheet.write_string(0, at, field.name, formats.head(right))
        longest = len(field.name)
        for row, (value, name) in enumerate(zip(answer.rows[field.name], units, strict=True), start=1):
            _cell(sheet, row, at, value, name, formats)
            longest = max(longest, len(f"{value:,.0f}" if isinstance(value, float) else str(value)))
        sheet.set_column(at, at, min(max(longest + 2, 8), 60))
    sheet.freeze_panes(1, 0)
    if len(answer.rows):
        sheet.autofilter(0, 0, len(answer.rows), len(answer.fields) - 1)
    sheet.set_landscape()
    sheet.fit_to_pages(1, 0)
    sheet.repeat_rows(0)


def _cell(sheet: Any, row: int, at: int, value: Any, name: str, formats: _Formats) -> None:
    if isinstance(value, dt.date) and not missing(value) and value.year >= 1900:
        sheet.write_datetime(row, at, pd.Timestamp(value).to_pydatetime(), formats.of("date"))
        return
    value = plain(value)
    if value is None:
        return
    if isinstance(value, bool):
        sheet.write_boolean(row, at, value)
    elif isinstance(value, (int, float)):
        sheet.write_number(row, at, value, formats.of(name, value))
    else:
        text = value if isinstance(value, str) else show(value, "text")
        mark = " … (cut)"
        whole = text if len(text) <= _SHEET_TEXT else text[: _SHEET_TEXT - len(mark)] + mark
        sheet.write_string(row, at, whole)


class _Formats:
    """The formats of one workbook, each made once."""

    def __init__(self, book: Any) -> None:
        self._book = book
        self._made: dict[str, Any] = {}

    def of(self, name: str, value: float | None = None) -> Any:
        """Number format of a unit; counts that are means show a decimal."""
        code = unit(name).sheet
        if name == "count":
            code = "#,##0" if value is None or value == round(value) else "#,##0.0"
        return self._format({"num_format": code})

    def head(self, right: bool) -> Any:
        return self._format({"bold": True, "bottom": 1, "align": "right" if right else "left"})

    def _format(self, what: Mapping[str, Any]) -> Any:
        key = repr(sorted(what.items()))
        if key not in self._made:
            self._made[key] = self._book.add_format(dict(what))
        return self._made[key]


def flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested plain data as (dotted key, text) pairs, in the order given."""
    pairs: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            pairs += flatten(value, f"{prefix}{key}.")
        else:
            # full precision: numbers of a provenance are seeds and counts, not amounts to glance at
            listed = value if isinstance(value, (list, tuple)) else [value]
            pairs.append((f"{prefix}{key}", ", ".join(_exact(v) for v in listed) or "–"))
    return pairs


def _exact(value: Any) -> str:
    value = plain(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return show(value, "text")


def _about_sheet(book: Any, answer: Answer) -> None:
    sheet = book.add_worksheet("about" if answer.name != "about" else "about this")
    bold = book.add_format({"bold": True})
    wrap = book.add_format({"text_wrap": True, "valign": "top"})
    lines: list[tuple[str, str, str]] = [
        ("answer", answer.name, ""),
        ("words", answer.words, ""),
        ("", "", ""),
    ]
    lines += [("column", "meaning", "unit")]
    lines += [(f.name, f.meaning, f.unit) for f in answer.fields]
    lines += [("", "", ""), ("summary", "", "")]
    lines += [(key, text, "") for key, text in flatten(answer.summary)]
    lines += [("", "", ""), ("provenance", "", "")]
    lines += [(key, text, "") for key, text in flatten(answer.provenance)]
    titles = {"column", "summary", "provenance"}
    for row, line in enumerate(lines):
        for at, text in enumerate(line):
            heading = line[0] in titles and line[1] in {"", "meaning"}
            whole = str(plain(text))[:_SHEET_TEXT]
            sheet.write_string(row, at, whole, bold if heading or at == 0 else wrap)
    sheet.set_column(0, 0, 28)
    sheet.set_column(1, 1, 90)
    sheet.set_column(2, 2, 14)


def as_html(answer: Answer) -> str:
    """The answer alone on a page (:func:`quotacast.engine.reports.page.page`)."""
    from quotacast.engine.reports.page import Section, page

    title = answer.name.replace("_", " ").capitalize()
    return page(title, [Section(answer, title, answer.chart, None)], answer.provenance)


def _finance(answer: Answer) -> bytes:
    from quotacast.engine.reports.finance_book import as_finance_book

    return as_finance_book(answer)


#: Answers that have a workbook of their own, where the others that it tells of are beside them.
WORKBOOKS: dict[str, Writer] = {"cash": _finance}


def _workbook(answer: Answer) -> bytes:
    return WORKBOOKS.get(answer.name, as_workbook)(answer) if answer.beside else as_workbook(answer)


WRITERS: dict[str, Writer] = {
    ".csv": lambda answer: as_csv(answer).encode(),
    ".html": lambda answer: as_html(answer).encode(),
    ".json": lambda answer: as_json(answer).encode(),
    ".parquet": as_parquet,
    ".xlsx": _workbook,
}


def write(answer: Answer, path: Path) -> None:
    """Write the answer in the format of the path's ending: the whole file or nothing.

    Raises
    ------
    QuotacastError
        If the ending is unknown or the file cannot be written there.
    """
    path = Path(path)
    writer = WRITERS.get(path.suffix.lower())
    if writer is None:
        raise QuotacastError(
            f"{path.name}: the ending {path.suffix or '(none)'!r} arrived, wanted one of {', '.join(WRITERS)}"
        )
    save(writer(answer), path)


def save(content: str | bytes, path: Path) -> None:
    """Write a file atomically: a temporary file beside it, fsync, rename.

    Raises
    ------
    QuotacastError
        If the folder is absent or may not be written.
    """
    data = content.encode() if isinstance(content, str) else content
    passing = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with passing.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        passing.replace(path)
    except OSError as error:
        raise QuotacastError(
            f"{path}: cannot be written ({error.strerror}): create the folder or choose another"
        ) from error
    finally:
        passing.unlink(missing_ok=True)  # gone already after the rename
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the rename last, where the system lets a folder be opened."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    with contextlib.suppress(OSError):  # some network file systems refuse it
        os.fsync(handle)
    os.close(handle)
