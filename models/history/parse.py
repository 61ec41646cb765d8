"""Cells to typed columns: text, days and numbers, without ever guessing.

A column is judged as a whole: a decimal comma, a thousands separator or a day format is accepted only
where every value of the column agrees with it and no other reading is possible.
"""

from __future__ import annotations

import datetime as dt
import decimal
import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd

from quotacast.models.history.schema import Column

#: Texts that CRMs and spreadsheets write where there is nothing.
PLACEHOLDERS = frozenset(
    {"select", "-select-", "--select--", "- select -", "--none--", "-none-", "none", "-", "--", "---", "n/a",
     "#n/a", "null", "nan", "nat", "(blank)", "(empty)", "undefined", "–", "—", "?"}
)  # fmt: skip

_ISO = re.compile(
    r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)? ?(?:Z|UTC|[+-]\d{2}:?\d{2})?)?", re.ASCII
)
_MIDNIGHT = re.compile(r"(?:[T ]00:00(?::00(?:[.,]0+)?)? ?(?:Z|UTC)?)?")
_SHOWN = 5
_FIRST_YEAR, _LAST_YEAR = 1900, 2200


@dataclass
class Parsed:
    """One typed column: its values, what is wrong with it, and what was noted.

    ``problems`` are sentences for a DataError; ``notes`` are (rule, mask, action, meaning).
    """

    values: pd.Series
    problems: list[str] = field(default_factory=list)
    notes: list[tuple[str, np.ndarray, str, str]] = field(default_factory=list)


def parse(cells: pd.Series, column: Column, rows: np.ndarray, file: str) -> Parsed:
    """Type the cells of one column.

    Parameters
    ----------
    cells : pandas.Series
        Strings, native numbers and days, or missing; shape (n,).
    column : Column
    rows : numpy.ndarray of int, shape (n,)
        Row of each cell in the file, for messages.
    file : str
    """
    where = _Where(file, column.name, rows)
    native = _native(cells, column.kind)
    if native is not None:
        return native
    text, blank = _stripped(cells)
    typed = _TYPES[column.kind](text, column, where)
    if blank.any():
        found = sorted({str(v).strip() for v in cells[blank].unique()})[:_SHOWN]
        typed.notes.append(
            ("placeholder text", blank, "changed", f"{column.name}: {', '.join(found)} read as missing.")
        )
    return typed


@dataclass(frozen=True)
class _Where:
    file: str
    column: str
    rows: np.ndarray

    def at(self, mask: np.ndarray, values: pd.Series) -> str:
        """Name the first rows of a mask: ``rows 3 ('x'), 7 ('y') and 12 more``."""
        hits = np.flatnonzero(mask)
        shown = ", ".join(f"{self.rows[i]} ({str(values.iloc[i])[:40]!r})" for i in hits[:_SHOWN])
        more = f" and {len(hits) - _SHOWN:,} more" if len(hits) > _SHOWN else ""
        return f"{self.file}: column {self.column!r}, {'rows' if len(hits) > 1 else 'row'} {shown}{more}"


def _native(cells: pd.Series, kind: str) -> Parsed | None:
    """Columns that a typed file already holds as numbers or days need no reading."""
    if kind in ("money", "number") and pd.api.types.is_numeric_dtype(cells) and cells.dtype != bool:
        values = pd.Series(cells.to_numpy("float64", na_value=np.nan))
        return Parsed(values) if np.isfinite(values.dropna()).all() else None
    if kind == "day" and isinstance(cells.dtype, pd.DatetimeTZDtype):
        cells = cells.dt.tz_localize(None)
    if kind == "day" and pd.api.types.is_datetime64_dtype(cells):
        return _in_range(cells.dt.as_unit("s"), "")
    return None


def _stripped(cells: pd.Series) -> tuple[pd.Series, np.ndarray]:
    """Texts without surrounding space, missing as None, and which were placeholders."""
    values = cells.astype(object).to_numpy(object)
    if set(map(type, values)) <= {str}:
        text = np.array([v.strip() for v in values], dtype=object)
    else:
        text = np.array([_cell(v) for v in values], dtype=object)
    # Judged once per distinct value: columns repeat themselves.
    codes, unique = pd.factorize(text)
    words = [u.casefold() if isinstance(u, str) else "." for u in unique]
    odd = np.append([w in PLACEHOLDERS for w in words], False).astype(bool)[codes]
    empty = np.append([w == "" for w in words], True).astype(bool)[codes]
    text[odd | empty] = None
    return pd.Series(text, dtype=object), odd


def _cell(value: Any) -> Any:
    if value is None or value is pd.NaT or (isinstance(value, float) and np.isnan(value)):
        return None
    return value.strip() if isinstance(value, str) else value


def as_text(value: Any) -> Any:
    """Write a native cell as text: ids that a spreadsheet made numbers lose their ``.0``."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (float, np.floating)):
        return (
            str(int(value)) if float(value).is_integer() and abs(float(value)) < 1e18 else repr(float(value))
        )
    if isinstance(value, (dt.datetime, pd.Timestamp)):
        return value.date().isoformat() if value.time() == dt.time() else value.isoformat()
    return str(value)


def _text(text: pd.Series, column: Column, where: _Where) -> Parsed:
    return Parsed(text if _all_text(text) else text.map(as_text, na_action="ignore").astype(object))


def _all_text(text: pd.Series) -> bool:
    return set(map(type, text.to_numpy(object))) <= {str, type(None)}


def _choice(text: pd.Series, column: Column, where: _Where) -> Parsed:
    wrong = (text.notna() & ~text.isin(column.choices)).to_numpy()
    parsed = Parsed(text)
    if wrong.any():
        value = str(text[wrong].iloc[0])
        near = get_close_matches(value.casefold(), column.choices, n=1)
        hint = f" (write {value!r} as {near[0]!r})" if near else ""
        parsed.problems.append(
            f"{where.at(wrong, text)}: wanted one of {', '.join(column.choices)}{hint}; "
            "`quotacast import` translates a CRM's own words"
        )
    return parsed


def _day(text: pd.Series, column: Column, where: _Where) -> Parsed:
    """ISO days, ISO times cut to their day, and native days of a workbook."""
    codes, unique = pd.factorize(text.to_numpy(object))
    stamp, form = _distinct_days(unique)
    # Missing cells have code -1 and take the last entry.
    forms = np.append(form, "missing")[codes]
    parsed = Parsed(text)
    wrong, impossible = forms == "wrong", forms == "impossible"
    if wrong.any():
        parsed.problems.append(_wrong_days(wrong, ~wrong & (forms != "missing"), text, where))
    if impossible.any():
        parsed.problems.append(f"{where.at(impossible, text)}: no such day in the calendar; correct it")
    if parsed.problems:
        return parsed
    result = _in_range(pd.Series(np.append(stamp, np.datetime64("NaT", "s"))[codes]), column.name)
    if (forms == "time").any():
        meaning = f"{column.name}: times were cut to their day."
        result.notes.append(("times of day", forms == "time", "changed", meaning))
    return result


def _distinct_days(unique: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the day of each distinct cell (NaT where none) and its form.

    Forms are ``day`` (midnight included), ``time``, ``wrong`` and ``impossible``.
    """
    stamp = np.full(len(unique), np.datetime64("NaT", "s"))
    form = np.full(len(unique), "wrong", dtype=object)
    for i, value in enumerate(unique):
        if isinstance(value, (dt.date, pd.Timestamp)):
            day, form[i] = dt.date(value.year, value.month, value.day), "day"
        elif isinstance(value, str) and _ISO.fullmatch(value):
            try:
                day = dt.date.fromisoformat(value[:10])
            except ValueError:
                form[i] = "impossible"
                continue
            form[i] = "day" if _MIDNIGHT.fullmatch(value[10:]) else "time"
        else:
            continue
        # Seconds, so that years like 9999 survive until they are judged.
        stamp[i] = np.datetime64(day, "s")
    return stamp, form


def _wrong_days(wrong: np.ndarray, good: np.ndarray, text: pd.Series, where: _Where) -> str:
    repair = "write every day as YYYY-MM-DD, for instance 2026-03-05; nothing is guessed"
    if any(isinstance(v, (int, float)) for v in text[wrong]):
        repair = "format the column as a date in the spreadsheet, or write YYYY-MM-DD"
    if good.any():
        i = int(np.flatnonzero(good)[0])
        return (
            f"{where.at(wrong, text)}: dates in two formats in one column (row {where.rows[i]} has "
            f"{str(text.iloc[i])[:40]!r}); {repair}"
        )
    return f"{where.at(wrong, text)}: not an ISO day; {repair}"


def _in_range(days: pd.Series, name: str) -> Parsed:
    """Midnights within years that a sale can have; others are missing, and that is reported."""
    stamp = days.to_numpy().astype("datetime64[D]")
    year = stamp.astype("datetime64[Y]").astype("int64") + 1970
    odd = ~np.isnat(stamp) & ((year < _FIRST_YEAR) | (year > _LAST_YEAR))
    stamp = np.where(odd, np.datetime64("NaT", "D"), stamp)
    parsed = Parsed(pd.Series(stamp.astype("datetime64[ns]")))
    if odd.any():
        meaning = f"{name}: years outside {_FIRST_YEAR}–{_LAST_YEAR} cannot be meant; read as missing."
        parsed.notes.append(("impossible year", odd, "changed", meaning))
    return parsed


_REAL = (int, float, np.number, decimal.Decimal)
_SPACES = r"[\s\u00a0\u202f'’]"
_PLAIN = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_POINT = r"[+-]?(?:[0-9]+|[1-9][0-9]{0,2}(?:,[0-9]{3})+)(?:\.[0-9]*)?"
#: A group of thousands never begins with 0: 0.125 has a decimal point.
_COMMA = r"[+-]?(?:[0-9]+|[1-9][0-9]{0,2}(?:\.[0-9]{3})+)(?:,[0-9]*)?"


def _number(text: pd.Series, column: Column, where: _Where) -> Parsed:
    """Plain numbers; separators only where the whole column decides what they mean."""
    is_text = np.array([isinstance(v, str) for v in text], dtype=bool)
    real = np.array([isinstance(v, _REAL) and not isinstance(v, bool) for v in text], dtype=bool)
    values = np.full(len(text), np.nan)
    values[real] = [float(v) for v in text[real]]
    parsed = Parsed(pd.Series(values))
    if is_text.any():
        _decide(parsed, text, is_text, column, where)
    if parsed.problems:
        return parsed
    bad = text.notna().to_numpy() & ~np.isfinite(parsed.values.to_numpy())
    if bad.any():
        parsed.problems.append(f"{where.at(bad, text)}: wanted a number; correct it or leave it empty")
    return parsed


def _decide(parsed: Parsed, text: pd.Series, is_text: np.ndarray, column: Column, where: _Where) -> None:
    """Fill ``parsed`` with the one reading that fits every text of the column, or say why there is none."""
    words = text[is_text].str.replace(_SPACES, "", regex=True)
    plain = _matches(words, _PLAIN)
    comma_in = words.str.contains(",", regex=False).to_numpy()
    point_in = words.str.contains(".", regex=False).to_numpy()
    point = plain if plain.all() else plain | _matches(words, _POINT)
    comma = _matches(words, _COMMA)
    alien, both = ~(point | comma), bool(point.all() and comma.all())
    # With no comma anywhere a point is the decimal point of the contract, unless every one of them
    # could just as well separate thousands and the column is money.
    doubtful = comma_in | (point_in if column.kind == "money" else False)
    if alien.any():
        problem = f"{_spot(alien, is_text, text, where)}: text where a number was wanted"
    elif both and doubtful.any():
        problem = (
            f"{_spot(doubtful, is_text, text, where)}: could be thousands or decimals, and no other value "
            "of the column decides"
        )
    elif not point.all() and not comma.all():
        other = _spot(~comma, is_text, text, where).split(", ", 1)[-1]
        problem = f"{_spot(~point, is_text, text, where)}: decimal commas, but decimal points in {other}"
    else:
        _convert(parsed, words, is_text, bool(point.all()), comma_in | (point_in & ~plain), column)
        return
    parsed.problems.append(f"{problem}; write plain digits such as 1234.50")


def _matches(words: pd.Series, pattern: str) -> np.ndarray:
    return words.str.fullmatch(pattern).to_numpy(bool)


def _spot(mask: np.ndarray, is_text: np.ndarray, text: pd.Series, where: _Where) -> str:
    full = np.zeros(len(text), dtype=bool)
    full[is_text] = mask
    return where.at(full, text)


def _convert(
    parsed: Parsed, words: pd.Series, is_text: np.ndarray, point: bool, marked: np.ndarray, column: Column
) -> None:
    if point:
        plain = words.str.replace(",", "", regex=False)
    else:
        plain = words.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
    values = parsed.values.to_numpy().copy()
    values[is_text] = plain.to_numpy(dtype="float64")
    parsed.values = pd.Series(values)
    if marked.any():
        style = "1,234.50" if point else "1.234,50"
        full = np.zeros(len(values), dtype=bool)
        full[is_text] = marked
        meaning = f"{column.name}: read as written like {style}."
        parsed.notes.append(("number format", full, "changed", meaning))


_TYPES = {"id": _text, "text": _text, "choice": _choice, "day": _day, "money": _number, "number": _number}
