"""The one shape in which every question is answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from quotacast.errors import QuotacastError


@dataclass(frozen=True)
class Field:
    """A column of an answer.

    ``unit`` is one of ``text``, ``count``, ``money``, ``probability``, ``ratio``, ``days``, ``date``,
    ``metric`` (the unit of the row's metric) or ``score``; ``meaning`` is one plain sentence.
    """

    name: str
    unit: str
    meaning: str


@dataclass(frozen=True)
class Answer:
    """A table, a paragraph in plain words, and where the numbers come from.

    Attributes
    ----------
    name : str
        The answer's name in ``"schema": "quotacast/<name>/1"``.
    rows : pandas.DataFrame
        Complete and tidy; its columns are those of ``fields`` in the same order, dates as ``date``.
    fields : tuple of Field
        Name, unit and meaning of every column.
    words : str
        One paragraph that says what the table says.
    summary : mapping
        Plain values (JSON-ready) about the whole answer.
    provenance : mapping
        Data fingerprint, as-of date, currency, seed, draws, versions, model diagnostics.
    chart : str
        The natural picture: a name of ``engine.reports.charts.CHARTS``, such as ``fan``, or ``table``.
    beside : mapping of str to Answer
        Other answers of the same run, for a workbook of several sheets; in no other form of the answer.
    """

    name: str
    rows: pd.DataFrame
    fields: tuple[Field, ...]
    words: str
    summary: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    chart: str = "table"
    beside: Mapping[str, Answer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [f.name for f in self.fields]
        if list(self.rows.columns) != names:
            raise QuotacastError(
                f"answer {self.name!r}: columns {list(self.rows.columns)} arrived, its fields say {names}"
            )
