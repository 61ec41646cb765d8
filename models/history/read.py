"""A data folder, read into a History: files, cells, types, rules, snapshot, in that order."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from quotacast.errors import DataError
from quotacast.models.history import schema, snapshot, suspicions
from quotacast.models.history.cleaning import clean, data_end
from quotacast.models.history.files import Raw, locate, missing_columns, read_cells
from quotacast.models.history.history import Finding, History, empty_column, missing
from quotacast.models.history.ledger import ROW, Cleaning
from quotacast.models.history.parse import parse


def read_history(folder: Path, *, as_of: date | None = None, currency: str | None = None) -> History:
    """Read a folder of canonical tables (CSV, Parquet or XLSX).

    Parameters
    ----------
    folder : pathlib.Path
        Only ``opportunities`` is needed.
    as_of : datetime.date, optional
        The evening whose knowledge may be used; by default the latest creation or closing of a deal.
    currency : str, optional
        Planning currency; by default the commonest in the data.

    Returns
    -------
    History
        Findings tell what every rule did; ``rejected`` holds the rows that were taken out.

    Raises
    ------
    DataError
        With every problem found: each names file, column and row (the heading is row 1), what
        arrived and the repair.
    """
    paths, notes = locate(Path(folder))
    problems: list[str] = []
    work = Cleaning({}, as_of, currency.strip().upper() if currency else None)
    work.findings += notes
    for table in schema.TABLES:
        if table not in paths:
            work.tables[table] = missing(table).assign(**{ROW: np.zeros(0, dtype="int64")})
            continue
        try:
            problems += _read_table(work, paths[table], table)
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    return from_tables(work, paths["opportunities"].name)


def from_tables(work: Cleaning, file: str) -> History:
    """Clean typed tables and make them a History as of the asked day."""
    clean(work)
    end = data_end(work)
    _check_closings(work, file, end)
    if end is None:  # cannot be: a deal that closed has days
        raise DataError(f"{file}: no day at all")
    last = max(end, work.asked_as_of or end)
    suspicions.look(work, last)
    _sort(work)
    tables, set_aside = snapshot.trim(
        {t: f.drop(columns=ROW) for t, f in work.tables.items()}, pd.Timestamp(last)
    )
    history = History(
        tables=tables,
        as_of_date=last,
        currency=work.currency,
        findings=(*work.findings, *set_aside),
        rejected=work.rejected,
        closing_stages=snapshot.learn_closing_stages(tables["opportunities"], tables["stages"]),
    )
    if work.asked_as_of is None or work.asked_as_of >= last:
        return history
    return _early(history, work.asked_as_of, file)


def _early(history: History, day: date, file: str) -> History:
    then = history.as_of(day)
    if not (then.opportunities["status"] == "won").any():
        first = history.opportunities["closed_on"].min().date()
        raise DataError(
            f"{file}: as of {day} no deal had been won (the first closing is on {first}); "
            "choose a later as-of date"
        )
    return then


def _check_closings(work: Cleaning, file: str, end: date | None) -> None:
    status = work["opportunities"]["status"].value_counts()
    if status.get("won", 0) and end is not None:
        return
    rejected = work.rejected
    gone = rejected[rejected["table"] == "opportunities"]["reason"].str.replace(r"[\d-]+", "…", regex=True)
    why = ", ".join(f"{n:,} × {r}" for r, n in gone.value_counts().head(3).items())
    tail = f" ({len(gone):,} rows were rejected: {why})" if len(gone) else ""
    if not len(status):
        raise DataError(f"{file}: no usable row{tail}; correct them and read again")
    if set(status.index) == {"open"}:
        shown = ", ".join(work["opportunities"]["opportunity_id"][:3])
        raise DataError(
            f"{file}: all {status['open']:,} deals are open ({shown}, ...): no closed deals, so nothing can "
            f"be learned about winning{tail}; export closed deals too, with status won or lost and closed_on"
        )
    raise DataError(
        f"{file}: no won deals among {int(status.sum()):,}{tail}; export won deals too, with status won, "
        "closed_on and amount"
    )


def _sort(work: Cleaning) -> None:
    """Put rows into an order that does not depend on the file's."""
    stages = work["stages"]
    if len(stages):
        # Rows of one day have no order of their own: stages usually entered earlier come first.
        born = work["opportunities"].set_index("opportunity_id")["created_on"]
        age = stages["entered_on"] - stages["opportunity_id"].map(born)
        rank = age.dt.days.groupby(stages["stage"]).mean()
        work.put("stages", "_rank", stages["stage"].map(rank))
    for table in schema.TABLES:
        by = [c for c in (schema.BORN.get(table), *schema.KEYS[table]) if c]
        if table == "stages" and len(stages):
            by = ["opportunity_id", "entered_on", "_rank"]
        frame = work[table]
        if frame.duplicated(by).any():
            by += [n for n in schema.names(table) if n not in by]
        order = frame.sort_values(list(dict.fromkeys(by)), kind="stable", na_position="first")
        work.tables[table] = order.reset_index(drop=True).drop(columns="_rank", errors="ignore")


def _read_table(work: Cleaning, path: Path, table: str) -> list[str]:
    """Read, type and add one table; return its problems."""
    raw = read_cells(path, table)
    work.findings += raw.findings
    work.reject_lines(table, raw.broken)
    if table == "quotas":
        raw = _tall(raw)
        _months_of_a_workbook(raw)
    problems = missing_columns(raw, schema.required(table))
    if raw.cells.empty and table == "opportunities":
        problems.append(f"{raw.file}: no rows under the heading; export the deals again")
    typed: dict[str, pd.Series] = {}
    notes = []
    for column in schema.columns(table):
        if column.name not in raw.cells.columns:
            typed[column.name] = empty_column(column.kind, len(raw.cells))
            continue
        parsed = parse(raw.cells[column.name], column, raw.rows, raw.file)
        problems += parsed.problems
        notes += parsed.notes
        typed[column.name] = parsed.values
    unknown = [c for c in raw.cells.columns if c not in typed]
    others = {c: raw.cells[c] for c in unknown}
    work.tables[table] = pd.DataFrame({**typed, **others, ROW: raw.rows})
    if not problems:
        for rule, mask, action, meaning in notes:
            work.report(rule, table, mask, action, meaning)
    _note_unknown(work, table, unknown, raw)
    return problems


def _note_unknown(work: Cleaning, table: str, unknown: list[str], raw: Raw) -> None:
    if unknown:
        meaning = "Columns that the schema does not know; kept behind the others and not used."
        work.findings.append(
            Finding("unknown columns", table, len(unknown), tuple(unknown[:8]), "kept", meaning)
        )
    if raw.cells.empty and not raw.broken:
        meaning = f"{raw.file} has a heading and no rows."
        work.findings.append(Finding("empty table", table, 0, (raw.file,), "note", meaning))


_PERIOD = re.compile(r"\d{4}(?:-(?:Q[1-4]|P\d{2}|W\d{2}|\d{2}(?:-\d{2})?))?")


def _tall(raw: Raw) -> Raw:
    """A wide table of quotas, whose headings are periods, to one row per quota."""
    headings = [str(c) for c in raw.cells.columns]
    first = re.compile(r"(\d{4}-\d{2})-01[T ]00:00:00")
    renamed = {h: m.group(1) for h in headings if (m := first.fullmatch(h))}
    cells = raw.cells.rename(columns=renamed)
    wide = [c for c in cells.columns if _PERIOD.fullmatch(str(c))]
    if not wide or "period" in headings or "target" in headings:
        return raw
    keep = [c for c in cells.columns if c not in wide]
    tall = cells.assign(**{ROW: raw.rows}).melt(
        id_vars=[*keep, ROW], value_vars=wide, var_name="period", value_name="target"
    )
    filled = tall["target"].map(lambda v: v is not None and str(v).strip() not in ("", "nan")).to_numpy(bool)
    out = Raw(
        raw.table,
        raw.file,
        tall[filled].drop(columns=ROW).reset_index(drop=True),
        tall[ROW].to_numpy()[filled],
    )
    out.broken, out.findings = raw.broken, raw.findings
    return out


def _months_of_a_workbook(raw: Raw) -> None:
    """Spreadsheets turn the text 2026-03 into the first of March; first days of months are months."""
    if "period" not in raw.cells.columns:
        return
    native = raw.cells["period"].map(lambda v: hasattr(v, "strftime"))
    if native.any() and raw.cells["period"][native].map(lambda v: v.day == 1).all():
        raw.cells["period"] = raw.cells["period"].map(
            lambda v: v.strftime("%Y-%m") if hasattr(v, "strftime") else v
        )
