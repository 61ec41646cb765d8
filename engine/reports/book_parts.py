"""The sheets of finance's workbook: cash by week and month, the monthly chain, quantiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from quotacast.engine.answer import Answer
from quotacast.engine.reports.book_drivers import Drivers
from quotacast.engine.reports.book_inputs import Inputs, status
from quotacast.engine.reports.live_sheet import ODDS, Cell, LiveSheet, Styles, place
from quotacast.engine.reports.units import plain, show

RECEIPTS = (
    "receipts_open_invoices", "receipts_signed", "receipts_open_deals", "receipts_new_business",
    "receipts_renewals",
)  # fmt: skip
PAYMENTS = ("payroll", "commission", "supplier", "vat", "tax", "debt")
FLOWS = ("bookings", "billings", "revenue", "gross_margin")
STOCKS = ("backlog", "deferred", "unbilled")
PARTS = ("done", "signed", "open", "new", "renewal")
#: Blocks of a cash sheet on its first printed page.
PAGE = 2
PATHS = ("p10", "p50", "p90")
CASH_SHEETS = {"week": "13-week cash", "month": "monthly cash"}


@dataclass(frozen=True)
class Block:
    """Rows of one sheet that belong to the mean or to one future: where each line stands."""

    sheet: LiveSheet
    rows: Mapping[str, int]
    columns: tuple[int, ...]

    def cells(self, name: str) -> list[Cell]:
        """Cells of a line, period by period."""
        return [(self.rows[name], column) for column in self.columns]


def cash_titles(answer: Answer, kind: str) -> dict[str, str]:
    """What the mean and each of the three futures are called."""
    paths = answer.beside["paths"].rows
    mine = paths[(paths["chosen_by"] == "cash") & (paths["kind"] == kind)]
    titles = {"mean": "Mean of all futures"}
    for path in PATHS:
        one = mine[mine["path"] == path]
        number = f" (number {int(one['draw'].iloc[0])})" if len(one) else ""
        titles[path] = f"Future near the {path.upper()} of closing cash{number}"
    return titles


def cash_sheet(sheet: LiveSheet, answer: Answer, kind: str, inputs: Inputs, drivers: Drivers) -> list[Block]:
    """Cash by week or month: the mean and three futures, with formulas; then quantiles as values."""
    rows = answer.rows[answer.rows["kind"] == kind]
    periods = _order(rows)
    sheet.text((0, 0), f"Cash by {kind}", bold=True, font_size=14)
    sheet.text((1, 0), "Contracted (open invoices, signed deals) and speculative (the rest) stay apart.")
    status(sheet, (2, 0))
    _heads(sheet, 3, periods)
    paths = answer.beside["paths"].rows
    mine = paths[(paths["chosen_by"] == "cash") & (paths["kind"] == kind)]
    tables = {"mean": _table(rows, ["line"], "mean")}
    for path in PATHS:
        tables[path] = _table(mine[mine["path"] == path], ["metric"], "value")
    blocks: list[Block] = []
    row = 4
    for path, title in cash_titles(answer, kind).items():
        if len(blocks) == PAGE:
            sheet.sheet.set_h_pagebreaks([row])
        write = _CashBlock(sheet, path, tables[path], periods, inputs, drivers)
        blocks.append(write.write(row, title))
        row += len(write.names) + 2
    _closing(sheet, row, rows[rows["line"] == "closing"], periods)
    return blocks


def _order(rows: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(rows["period"]))


def _table(rows: pd.DataFrame, keys: Sequence[str], column: str) -> dict[tuple[str, ...], float]:
    """Values by period and keys."""
    names = [rows["period"], *(rows[key] for key in keys), rows[column]]
    return {tuple(map(str, row[:-1])): float(row[-1]) for row in zip(*names, strict=True)}


def _heads(sheet: LiveSheet, row: int, periods: Sequence[str]) -> None:
    for at, label in enumerate([*periods, "Total"], 1):
        sheet.text((row, at), label, bold=True, bottom=1, align="right")
    sheet.sheet.set_column(0, 0, 40)
    sheet.sheet.set_column(1, len(periods) + 1, 13)
    sheet.sheet.freeze_panes(row + 1, 1)
    sheet.sheet.repeat_rows(row)


class _CashBlock:
    """The mean or one future: opening, receipts, payments, closing, and headroom where there is a floor."""

    def __init__(
        self,
        sheet: LiveSheet,
        path: str,
        values: Mapping[tuple[str, ...], float],
        periods: Sequence[str],
        inputs: Inputs,
        drivers: Drivers,
    ) -> None:
        self.sheet, self.path, self.values, self.periods = sheet, path, values, periods
        self.inputs, self.drivers = inputs, drivers
        headroom = ("headroom",) if inputs.follows("cash_opening") else ()
        self.names = (
            "opening", *RECEIPTS, "receipts", *PAYMENTS, "payments", "net", "closing", *headroom,
        )  # fmt: skip

    def write(self, row: int, title: str) -> Block:
        """The block from a row on."""
        sheet = self.sheet
        sheet.text((row, 0), title, bold=True)
        at = {name: row + 1 + n for n, name in enumerate(self.names)}
        for name, line in at.items():
            strong = {"bold": True, "top": 1} if name in ("receipts", "payments", "net", "closing") else {}
            sheet.text((line, 0), _called(name), **strong)
        for p, period in enumerate(self.periods):
            self._opening(at, p, period)
            for name in (*RECEIPTS, *PAYMENTS):
                self._flow(at, name, p, period)
            self._sums(at, p + 1)
        columns = tuple(range(1, len(self.periods) + 1))
        block = Block(sheet, at, columns)
        if columns:
            for name in set(self.names) - {"opening", "closing", "headroom"}:
                sheet.sum((at[name], columns[-1] + 1), block.cells(name), italic=True)
        return block

    def _opening(self, at: Mapping[str, int], p: int, period: str) -> None:
        cell = (at["opening"], p + 1)
        if p:
            self.sheet.same(cell, (at["closing"], p))
        elif self.inputs.follows("cash_opening"):
            self.sheet.formula(cell, "=cash_opening", self.values[(period, "opening")])
        else:
            self.sheet.number(cell, self.values[(period, "opening")])

    def _flow(self, at: Mapping[str, int], name: str, p: int, period: str) -> None:
        cell, value = (at[name], p + 1), self.values[(period, name)]
        row = self.drivers.receipts.get((self.path, name))
        if row is not None:
            there = self.drivers.sheet.away([(row, p + 2)])[0]
            self.sheet.formula(cell, f"={there}*(1+cash_vat)", value)
        elif name in PAYMENTS and (made := self.drivers.line(self.path, name, p)):
            self.sheet.formula(cell, *made)
        else:
            self.sheet.number(cell, value)

    def _sums(self, at: Mapping[str, int], column: int) -> None:
        look: dict[str, Any] = {"bold": True, "top": 1}
        for name, parts in (("receipts", RECEIPTS), ("payments", PAYMENTS)):
            self.sheet.sum((at[name], column), [(at[p], column) for p in parts], **look)
        for name, two in (("net", ("receipts", "payments")), ("closing", ("opening", "net"))):
            self.sheet.plus((at[name], column), [(at[p], column) for p in two], **look)
        if "headroom" in at:
            closing = (at["closing"], column)
            value = self.sheet.values[closing] - self.inputs.number("cash_floor")
            self.sheet.formula((at["headroom"], column), f"={place(closing)}-cash_floor", value)


def _called(name: str) -> str:
    contracted = " (contracted)" if name in RECEIPTS[:2] else " (speculative)" if name in RECEIPTS else ""
    said = name.removeprefix("receipts_").replace("_", " ")
    said = {"vat": "VAT", "supplier": "suppliers", "headroom": "   Headroom over the floor"}.get(said, said)
    if name == "headroom":
        return said
    indent = "   " if name in (*RECEIPTS, *PAYMENTS) else ""
    return f"{indent}{said[0].upper()}{said[1:]}{contracted}"


def _closing(sheet: LiveSheet, row: int, rows: pd.DataFrame, periods: Sequence[str]) -> None:
    """Quantiles of the closing balance, and odds of falling below the floor: values."""
    sheet.text(
        (row, 0),
        "Closing balance: quantiles of all futures (simulated values; they neither add nor follow inputs)",
        bold=True,
    )
    shown = [c for c in rows.columns if _percent(c)]
    odds = ["p_below"] if rows["p_below"].notna().any() else []
    for line, name in enumerate([*shown, *odds], row + 1):
        sheet.text(
            (line, 0), "   Odds of falling below the floor" if name == "p_below" else f"   {name.upper()}"
        )
        known = dict(zip(rows["period"], rows[name], strict=True))
        for column, period in enumerate(periods, 1):
            sheet.number((line, column), float(known[period]), *([ODDS] if name == "p_below" else []))


def _percent(column: str) -> bool:
    return column[0] == "p" and column[1:].replace(".", "").isdigit()


def chain_sheet(sheet: LiveSheet, answer: Answer, months: Sequence[Block]) -> list[Block]:
    """Bookings to receipts by month: the mean and three futures, part by part."""
    rows = answer.beside["revenue"].rows
    periods = _order(rows)
    sheet.text((0, 0), "From bookings to billings, revenue and receipts", bold=True, font_size=14)
    sheet.text((1, 0), answer.beside["revenue"].words)
    status(sheet, (2, 0))
    _heads(sheet, 3, periods)
    paths = answer.beside["paths"].rows
    mine = paths[(paths["chosen_by"] == "bookings") & (paths["kind"] == "month")]
    tables: list[tuple[str, dict[tuple[str, ...], float], dict[Any, float]]]
    tables = [("Mean of all futures", _table(rows, ["metric", "component"], "mean"), {})]
    for path in PATHS:
        one = mine[mine["path"] == path]
        title = f"Future near the {path.upper()} of bookings (number {int(one['draw'].iloc[0])})"
        got = one[one["metric"].isin(RECEIPTS)].groupby("period")["value"].sum()
        tables.append((title, _table(one, ["metric", "component"], "value"), got.to_dict()))
    blocks, row = [], 4
    known = _order(answer.rows[answer.rows["kind"] == "month"])
    for title, values, received in tables:
        sheet.text((row, 0), title, bold=True)
        block, row = _chain_block(sheet, row + 1, values, periods)
        _receipts(block, months[0] if not received else None, received, periods, known)
        blocks.append(block)
    return blocks


def _chain_block(
    sheet: LiveSheet, row: int, values: Mapping[tuple[str, ...], float], periods: Sequence[str]
) -> tuple[Block, int]:
    columns, at = tuple(range(1, len(periods) + 1)), {}
    for name in (*FLOWS, *STOCKS):
        parts = [p for p in PARTS if (periods[0], name, p) in values]
        if not parts:
            continue
        for part in parts:
            at[f"{name} {part}"] = row
            sheet.text((row, 0), f"   {name.replace('_', ' ').capitalize()}: {part}")
            for column, period in zip(columns, periods, strict=True):
                sheet.number((row, column), values[(period, name, part)])
            row += 1
        at[name] = row
        end = " at the end" if name in STOCKS else ""
        sheet.text((row, 0), f"{name.replace('_', ' ').capitalize()}{end}", bold=True, top=1)
        for column in columns:
            sheet.sum((row, column), [(row - n, column) for n in range(len(parts), 0, -1)], bold=True, top=1)
        row += 1
    at["receipts"] = row
    block = Block(sheet, at, columns)
    for name in at:
        if name.split(" ")[0] in FLOWS:
            sheet.sum((at[name], columns[-1] + 1), block.cells(name), italic=True)
    return block, row + 2


def _receipts(
    block: Block,
    months: Block | None,
    received: Mapping[Any, float],
    periods: Sequence[str],
    known: Sequence[str],
) -> None:
    """Receipts with VAT: of the mean a link to the cash by month, of a future its own."""
    sheet, row = block.sheet, block.rows["receipts"]
    sheet.text((row, 0), "Receipts with VAT, after the as-of date", bold=True, top=1)
    for column, period in zip(block.columns, periods, strict=True):
        if months is None:
            sheet.number((row, column), float(received.get(period, 0.0)))
        elif period in known:
            text, value = months.sheet.away([(months.rows["receipts"], 1 + list(known).index(period))])
            sheet.formula((row, column), f"={text}", value, bold=True, top=1)
    sheet.sum((row, block.columns[-1] + 1), block.cells("receipts"), italic=True)


def quantile_sheet(book: Any, styles: Styles, answer: Answer) -> None:
    """Every quantile of every line, as a value."""
    sheet = LiveSheet(book, "quantiles", styles)
    title = "Quantiles of all futures: simulated values. They neither add nor follow inputs."
    sheet.text((0, 0), title, bold=True, font_size=14)
    status(sheet, (1, 0))
    chain = answer.beside["revenue"].rows
    shown = [c for c in chain.columns if _percent(c)]
    for at, head in enumerate(("Answer", "Period", "Line", "Part", "Mean", *(c.upper() for c in shown))):
        sheet.text((2, at), head, bold=True, bottom=1)
    lines = [("cash", r, r["line"], r["certainty"]) for r in answer.rows.to_dict("records")]
    lines += [("chain", r, r["metric"], r["component"]) for r in chain.to_dict("records")]
    for row, (source, one, name, part) in enumerate(lines, 3):
        for at, text in enumerate((source, one["period"], name, part)):
            sheet.text((row, at), text)
        for at, column in enumerate(("mean", *shown), 4):
            if plain(one[column]) is not None:
                sheet.number((row, at), float(one[column]))
    sheet.sheet.set_column(0, 1, 11)
    sheet.sheet.set_column(2, 2, 26)
    sheet.sheet.set_column(3, 4 + len(shown), 14)
    sheet.sheet.freeze_panes(3, 0)


def listing(book: Any, styles: Styles, name: str, answer: Answer) -> None:
    """An answer's words and rows, all of it values."""
    sheet = LiveSheet(book, name, styles)
    sheet.text((0, 0), answer.words)
    for at, field in enumerate(answer.fields):
        sheet.text((2, at), field.name, bold=True, bottom=1)
        sheet.sheet.set_column(at, at, 14 if field.unit == "count" else 30)
        for row, value in enumerate(answer.rows[field.name], 3):
            if isinstance(plain(value), (int, float)):
                sheet.number((row, at), float(value), "#,##0.##")
            else:
                sheet.text((row, at), show(value, "text"))
    sheet.sheet.freeze_panes(3, 0)
