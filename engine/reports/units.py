"""What a value of each unit looks like to people, and what it is in plain data."""

from __future__ import annotations

import datetime as dt
import math
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.answer import Answer, Field
from quotacast.engine.reports import words
from quotacast.errors import QuotacastError


@dataclass(frozen=True)
class Unit:
    """How numbers of one unit are shown: in words, and as a workbook's number format."""

    show: Callable[[float | None], str]
    sheet: str
    numeric: bool = True


UNITS: Mapping[str, Unit] = {
    "text": Unit(words.number, "General", numeric=False),
    "date": Unit(words.number, "yyyy-mm-dd", numeric=False),
    "count": Unit(words.number, "#,##0.##"),
    "money": Unit(words.money, "#,##0"),
    "probability": Unit(words.percent, "0%"),
    "ratio": Unit(words.ratio, "0.0%"),
    "days": Unit(words.number, "#,##0.0"),
    "score": Unit(words.score, "#,##0.0000"),
}
_OTHER = UNITS["score"]
_JOINERS = "\u200c\u200d"  # invisible, but several scripts cannot be spelt without them


def unit(name: str) -> Unit:
    """The unit of that name; a name nobody declared is shown like a score."""
    return UNITS.get(name, _OTHER)


def column_units(answer: Answer, field: Field) -> list[str]:
    """Unit of every row's value in that column.

    A column in unit ``metric`` takes the unit of its row's metric from ``answer.summary["metric_units"]``;
    the metric is read from the column ``metric`` or, where there is none, from ``answer.summary["metric"]``.
    """
    count = len(answer.rows)
    if field.unit != "metric":
        return [field.unit] * count
    known: Mapping[str, str] = answer.summary.get("metric_units") or {}
    if "metric" in answer.rows.columns:
        return [known.get(str(m), "score") for m in answer.rows["metric"]]
    return [known.get(str(answer.summary.get("metric")), "score")] * count


def missing(value: Any) -> bool:
    """Whether the value is None, NaN, NaT or pandas' NA."""
    if value is None or value is pd.NaT or value is pd.NA:
        return True
    return isinstance(value, (float, np.floating)) and math.isnan(value)


def clean(text: str) -> str:
    """Text safe for one line of a terminal: control and direction characters become a replacement mark."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in _JOINERS or unicodedata.category(c)[0] != "C" else "\ufffd" for c in text)


def wide(text: str) -> int:
    """Columns that the text takes on a terminal: East Asian wide characters take two, accents none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def cut(text: str, width: int) -> str:
    """The text, cut with an ellipsis where it takes more than ``width`` columns."""
    if wide(text) <= width:
        return text
    kept = ""
    for char in text:
        if wide(kept + char) >= width:
            break
        kept += char
    return kept.rstrip() + "…"


def show(value: Any, name: str) -> str:
    """A value in words: numbers by their unit, dates as ISO days, lists with commas, missing a dash."""
    value = plain(value)
    if value is None or value == "" or value == []:
        return words.MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return unit(name).show(value)
    if isinstance(value, list):
        return ", ".join(show(v, name) for v in value)
    if isinstance(value, dict):
        return ", ".join(f"{clean(k)} {show(v, name)}" for k, v in value.items())
    return clean(value)


def plain(value: Any) -> Any:
    """The value as JSON knows it: str, bool, int, finite float, None, list or dict.

    NaN and infinities become None, days and midnights ISO days, other times ISO times; sets are sorted.

    Raises
    ------
    QuotacastError
        If a value of another type arrives.
    """
    if type(value) is float:  # by far the most frequent
        return value if math.isfinite(value) else None
    for kinds, turn in _PLAIN:
        if isinstance(value, kinds):
            return turn(value)
    if missing(value):
        return None
    raise QuotacastError(f"an answer carries {value!r} of type {type(value).__name__}, wanted plain data")


def _plain_float(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def _plain_time(value: Any) -> str | None:
    if value is pd.NaT:
        return None
    return str(value.date().isoformat()) if value.time() == dt.time() else str(value.isoformat())


_PLAIN: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (
        str,
        lambda v: v if v.isascii() else v.encode("utf-8", "replace").decode("utf-8"),
    ),  # lone surrogates cannot be written
    ((bool, np.bool_), bool),
    ((int, np.integer), int),
    ((float, np.floating, Decimal), _plain_float),
    (dt.datetime, _plain_time),
    (dt.date, lambda v: v.isoformat()),
    (np.datetime64, lambda v: _plain_time(pd.Timestamp(v))),
    (Mapping, lambda v: {str(k): plain(x) for k, x in v.items()}),
    ((list, tuple, np.ndarray), lambda v: [plain(x) for x in v]),
    ((set, frozenset), lambda v: sorted((plain(x) for x in v), key=str)),
)
