"""The mapping file: how files that no importer knows become canonical tables.

::

    currency = "USD"                      # written to the plan
    date_format = "YYYY-MM-DD"            # for all columns; a table may have its own
    decimal = "."                         # likewise

    [opportunities]                       # one section per canonical table
    file = "sales_pipeline.csv"
    [opportunities.columns]               # our column = heading of the file; other names are kept as they are
    opportunity_id = "opportunity_id"
    status = "deal_stage"
    [opportunities.values.status]         # value in the file = ours
    Won = "won"
    "*" = "open"                          # any other value that is not empty; "" is the empty cell
    [opportunities.only_when]             # a column is left empty unless a column of ours has one of the
    values amount = { status = ["won"] }
    [opportunities.constants]             # our column = the same text in every row
    type = "new"
    [[opportunities.join]]                # columns of a second file, looked up after values were translated
    file = "products.csv"
    on = { product = "product" }          # our column = heading of the second file
    columns = { list_price = "sales_price" }

A table without a section is not made, except reps: they are found in the other tables, with a ``team`` and
``rep_name`` where opportunities were given such columns.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from quotacast.errors import DataError
from quotacast.models.history.importers.draft import CANONICAL, REQUIRED, STATUSES
from quotacast.models.history.importers.values import DATE_FORMATS


@dataclass(frozen=True)
class Join:
    """Columns of a second file, looked up by one column."""

    file: str
    ours: str
    theirs: str
    columns: Mapping[str, str]


@dataclass(frozen=True)
class TableMap:
    """How one file becomes one canonical table."""

    file: str
    columns: Mapping[str, str]
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    only_when: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    joins: tuple[Join, ...] = ()
    date_formats: Mapping[str, str | None] = field(default_factory=dict)
    decimal: str | None = None


@dataclass(frozen=True)
class FileMapping:
    """A mapping file, checked."""

    path: Path
    tables: Mapping[str, TableMap]
    currency: str | None = None


def read_mapping(path: Path) -> FileMapping:
    """Read and check a mapping file.

    Raises
    ------
    DataError
        Every unknown key, wrong type and impossible value, each with its path in the file.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); name an existing mapping") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path.name}: is not TOML ({error}); mend that line") from error
    checker = _Checker(path.name)
    mapping = checker.mapping(path, content)
    if checker.problems:
        raise DataError(checker.problems)
    return mapping


class _Checker:
    """Walks through the content of a mapping and collects what is wrong with it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.problems: list[str] = []

    def wrong(self, key: str, came: object, wanted: str) -> None:
        self.problems.append(f"{self.name}, {key}: {came!r} came, {wanted} was wanted")

    def known(self, key: str, content: Mapping[str, Any], names: Sequence[str]) -> None:
        for name in content:
            if name not in names:
                near = get_close_matches(name, names, 1)
                hint = f"; did you mean {near[0]}?" if near else f"; wanted {', '.join(names)}"
                self.problems.append(f"{self.name}, {key}{name}: is unknown{hint}")

    def text(self, key: str, content: Mapping[str, Any], name: str, needed: bool = False) -> str | None:
        value = content.get(name)
        if value is None and not needed:
            return None
        if not isinstance(value, str) or not value:
            self.wrong(f"{key}{name}", value, "a text")
            return ""
        return value

    def texts(self, key: str, content: Mapping[str, Any], name: str) -> dict[str, str]:
        value = content.get(name, {})
        if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
            self.wrong(f"{key}{name}", value, "a table of texts")
            return {}
        return value

    def choice(self, key: str, content: Mapping[str, Any], name: str, among: Sequence[str]) -> str | None:
        value = self.text(key, content, name)
        if value and value not in among:
            self.wrong(f"{key}{name}", value, f"one of {', '.join(among)}")
        return value

    def mapping(self, path: Path, content: Mapping[str, Any]) -> FileMapping:
        self.known("", content, ("currency", "date_format", "decimal", *CANONICAL))
        currency = self.text("", content, "currency")
        formats = {"": self.choice("", content, "date_format", list(DATE_FORMATS))}
        decimal = self.choice("", content, "decimal", (".", ","))
        tables = {}
        for name in CANONICAL:
            if isinstance(content.get(name), dict):
                tables[name] = self.table(name, content[name], formats, decimal)
            elif name in content:
                self.wrong(name, content[name], "a section")
        if "opportunities" not in tables:
            self.problems.append(
                f"{self.name}: no section [opportunities]; it is the one table that is needed"
            )
        return FileMapping(path, tables, currency)

    def table(
        self, name: str, content: Mapping[str, Any], formats: Mapping[str, str | None], decimal: str | None
    ) -> TableMap:
        key = f"{name}."
        keys = ("file", "columns", "values", "only_when", "constants", "join", "date_format", "decimal")
        self.known(key, content, keys)
        columns, constants = self.texts(key, content, "columns"), self.texts(key, content, "constants")
        joins = self.joins(key, content.get("join", []))
        given = {*columns, *constants, *(c for join in joins for c in join.columns)}
        wanted = [*REQUIRED[name], *(("status",) if name in STATUSES else ())]
        missing = [c for c in wanted if c not in given]
        ready = {*columns, *constants}
        for number, join in enumerate(joins):
            self.known(
                f"{key}join[{number}].on.", {join.ours: join.theirs} if join.ours else {}, sorted(ready)
            )
            ready |= set(join.columns)
        if missing:
            self.problems.append(
                f"{self.name}, {key}columns: no line for {', '.join(missing)}; add the heading"
            )
        return TableMap(
            file=self.text(key, content, "file", needed=True) or "",
            columns=columns,
            values=self.values(key, content, given),
            only_when=self.only_when(key, content, given),
            constants=constants,
            joins=joins,
            date_formats={**formats, **self.formats(key, content)},
            decimal=self.choice(key, content, "decimal", (".", ",")) or decimal,
        )

    def formats(self, key: str, content: Mapping[str, Any]) -> dict[str, str | None]:
        """One format for the table, or one per column."""
        value = content.get("date_format")
        if isinstance(value, dict):
            return {c: self.choice(f"{key}date_format.", value, c, list(DATE_FORMATS)) for c in value}
        name = self.choice(key, content, "date_format", list(DATE_FORMATS))
        return {"": name} if name else {}

    def values(self, key: str, content: Mapping[str, Any], given: set[str]) -> dict[str, Mapping[str, str]]:
        section = content.get("values", {})
        if not isinstance(section, dict):
            self.wrong(f"{key}values", section, "a section per column")
            return {}
        self.known(f"{key}values.", section, sorted(given))
        return {column: self.texts(f"{key}values.", section, column) for column in section}

    def only_when(
        self, key: str, content: Mapping[str, Any], given: set[str]
    ) -> dict[str, Mapping[str, Sequence[str]]]:
        section = content.get("only_when", {})
        wanted = 'a column with { our_column = ["value"] }'
        if not isinstance(section, dict):
            self.wrong(f"{key}only_when", section, wanted)
            return {}
        self.known(f"{key}only_when.", section, sorted(given))
        for column, rule in section.items():
            shaped = isinstance(rule, dict) and all(isinstance(v, list) and v for v in rule.values())
            if not shaped or not all(isinstance(v, str) for values in rule.values() for v in values):
                self.wrong(f"{key}only_when.{column}", rule, wanted)
            else:
                self.known(f"{key}only_when.{column}.", rule, sorted(given))
        return section

    def joins(self, key: str, content: object) -> tuple[Join, ...]:
        if not isinstance(content, list) or not all(isinstance(join, dict) for join in content):
            self.wrong(f"{key}join", content, f"sections [[{key}join]]")
            return ()
        return tuple(self.join(f"{key}join[{number}].", join) for number, join in enumerate(content))

    def join(self, key: str, content: Mapping[str, Any]) -> Join:
        self.known(key, content, ("file", "on", "columns"))
        on, columns = self.texts(key, content, "on"), self.texts(key, content, "columns")
        if len(on) != 1:
            self.wrong(f"{key}on", content.get("on"), 'one pair like { product = "product" }')
        if not columns:
            self.wrong(f"{key}columns", content.get("columns"), 'pairs like { list_price = "sales_price" }')
        ours, theirs = next(iter(on.items()), ("", ""))
        return Join(self.text(key, content, "file", needed=True) or "", ours, theirs, columns)
