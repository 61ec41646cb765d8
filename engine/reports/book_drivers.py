"""The sheets behind the lines of cash: days of the planned payments, and quantities times inputs.

Each item of a line is a formula of an input's name and of a quantity: a count of days (live), or a simulated
amount (grey). Cash adds an item to the line that stands beside it, so that a changed kind moves it too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from quotacast.engine.answer import Answer
from quotacast.engine.reports.book_inputs import Inputs, status
from quotacast.engine.reports.live_sheet import LiveSheet, Styles, letters, place

_SHEETS = {"week": "13-week drivers", "month": "monthly drivers"}
DATES = "payment dates"
#: Most cells of most items are nothing.
_FORM = "#,##0.00;-#,##0.00;–"
#: First column of the periods, and the rows with their first and last day.
_FROM, _FIRST, _LAST = 2, 4, 5


def dates_sheet(book: Any, styles: Styles, answer: Answer) -> None:
    """Days of every planned payment as formulas of its input: due, paid, and tax settled."""
    sheet = LiveSheet(book, DATES, styles)
    sheet.text((0, 0), "Days of the planned payments", bold=True, font_size=14)
    sheet.text((1, 0), "Paid on the next working day; value-added tax in it comes back with its settlement.")
    sheet.sheet.set_column(0, 0, 22)
    sheet.text((0, 4), "Last simulated day", align="right")
    sheet.date((0, 5), answer.summary["last"])
    book.define_name("plan_last_day", f"='{DATES}'!$F$1")
    free = answer.summary["holidays"]
    sheet.text((2, 0), "Holidays", bold=True, bottom=1)
    for row, day in enumerate(free, 3):
        sheet.date((row, 0), day)
    if free:
        book.define_name("plan_holidays", f"='{DATES}'!$A$4:$A${3 + len(free)}")
    else:
        sheet.text((3, 0), "none in the plan")
    told = answer.summary
    over = ",plan_holidays" if free else ""
    for out, (called, every) in enumerate(zip(told["names"], told["every"], strict=True), 1):
        rows: Any = answer.rows[answer.rows["out"] == out].to_dict("records")
        _dates(sheet, out, called, every, rows, over, told["back"])
    sheet.sheet.freeze_panes(5, 1)


def _dates(
    sheet: LiveSheet,
    out: int,
    name: str,
    every: str,
    rows: Sequence[Mapping[str, Any]],
    over: str,
    back: Mapping[str, int],
) -> None:
    """Three columns of one payment; above them, the months between two and the number of the first."""
    left, key = _column(out), f"cash_out_{out}"
    sheet.text((2, left), name, bold=True)
    step, start = place((3, left + 1)), place((3, left + 2))
    sheet.text((3, left), "step, first", italic=True)
    months = {"month": 1, "quarter": 3, "year": 12}.get(every, 0)
    sheet.formula(
        (3, left + 1),
        f'=IF({key}_every="month",1,IF({key}_every="quarter",3,IF({key}_every="year",12,0)))', months, "0",
    )  # fmt: skip
    ago = f"(YEAR(as_of)-YEAR({key}_on))*12+MONTH(as_of)-MONTH({key}_on)"
    sheet.formula(
        (3, left + 2),
        f'=IF({key}_every="week",MAX(0,INT((as_of-{key}_on)/7)-{back["weeks"]}),'
        f"IF({step}=0,0,MAX(0,INT(({ago}-{back['months']})/{step}))))",
        rows[0]["number"], "0",
    )  # fmt: skip
    for at, head in enumerate(("Due", "Paid", "Tax settled")):
        sheet.text((4, left + at), head, bold=True, bottom=1, align="right")
    for j, one in enumerate(rows):
        row = 5 + j
        due, paid = place((row, left)), place((row, left + 1))
        number = f"({start}+{j})"
        repeated = f'IF({key}_every="week",{key}_on+7*{number},EDATE({key}_on,{step}*{number}))'
        none = f'AND({step}=0,{key}_every<>"week")'
        later = f"{repeated}>plan_last_day"
        beyond = later if j == 0 else f"OR({none},{later})"
        sheet.day((row, left), f'=IF({beyond},"",{repeated})', one["due"])
        ended = f'IF({key}_until="",FALSE,{due}>{key}_until)'
        sheet.day(
            (row, left + 1), f'=IF({due}="","",IF({ended},"",WORKDAY({due}-1,1{over})))', one["paid"]
        )  # fmt: skip
        end = f'EOMONTH({paid},IF(cash_vat_every_of_run="quarter",2-MOD(MONTH({paid})-1,3),0))'
        settled = f"WORKDAY({end}+cash_vat_days_of_run-1,1{over})"
        sheet.day((row, left + 2), f'=IF({paid}="","",{settled})', one["settled"])
    sheet.sheet.set_column(left, left + 2, 13)
    sheet.sheet.set_column(left + 3, left + 3, 3)


def _column(out: int) -> int:
    return 1 + 4 * (out - 1)


@dataclass
class Drivers:
    """Where the items of a kind of period stand.

    Attributes
    ----------
    items : mapping of str to list of (row, line, values)
        By path; those of ``all`` belong to every path.
    receipts : mapping of (path, line) to row
    """

    sheet: LiveSheet
    items: dict[str, list[tuple[int, str, list[float]]]] = field(default_factory=dict)
    receipts: dict[tuple[str, str], int] = field(default_factory=dict)

    def line(self, path: str, line: str, period: int) -> tuple[str, float] | None:
        """Formula and value of a line in a period; None where it has no items."""
        parts, value = [], 0.0
        for which in ("all", path):
            rows = self.items.get(which, [])
            if rows:
                low, high, column = rows[0][0] + 1, rows[-1][0] + 1, letters(_FROM + period)
                where = f"'{self.sheet.name}'!"
                parts.append(
                    f'SUMIF({where}$B${low}:$B${high},"{line}",{where}{column}${low}:{column}${high})'
                )
                value += sum(values[period] for _, own, values in rows if own == line)
        return ("=" + "+".join(parts), value) if parts else None


class _Writer:
    """Writes the sheet from top to bottom."""

    def __init__(
        self, sheet: LiveSheet, table: pd.DataFrame, periods: Sequence[str], inputs: Inputs, days: int
    ) -> None:
        self.sheet, self.inputs, self.days, self.row = sheet, inputs, days, _LAST + 2
        self.table, self.periods = table, periods
        self.found = Drivers(sheet)

    def cells(self, path: str, item: str, line: str, column: str, month: str | None = None) -> list[float]:
        """Values of an item, period by period; 0 where it has none."""
        one = self.table[(self.table["path"] == path) & (self.table["item"] == item)]
        one = one[one["line"] == line]
        if month is not None:
            one = one[one["month"] == month]
        known = one.groupby("period")[column].sum()
        return [float(known.get(period, 0.0)) for period in self.periods]

    def heading(self, text: str) -> None:
        self.sheet.text((self.row, 0), text, bold=True)
        self.row += 1

    def base(self, text: str, values: Sequence[float], form: str = _FORM) -> int:
        """A row of simulated quantities; gives its number."""
        self.sheet.text((self.row, 0), text)
        for at, value in enumerate(values, _FROM):
            self.sheet.number((self.row, at), value, form)
        self.row += 1
        return self.row - 1

    def item(
        self,
        path: str,
        text: str,
        line: str,
        values: Sequence[float],
        said: Callable[[str, int], str | None],
        kind: str = "",
    ) -> None:
        """A row of formulas: ``said`` gives one from a column's letters and the period's place."""
        self.sheet.text((self.row, 0), f"   {text}")
        if kind in self.inputs.values:
            self.sheet.words((self.row, 1), f"={kind}", line)
        else:
            self.sheet.text((self.row, 1), line)
        for p, value in enumerate(values):
            formula = said(letters(_FROM + p), p)
            if formula is None:
                self.sheet.number((self.row, _FROM + p), value, _FORM)
            else:
                self.sheet.formula((self.row, _FROM + p), formula, value, _FORM)
        last = [(self.row, _FROM + p) for p in range(len(values))]
        if last:
            self.sheet.sum((self.row, _FROM + len(values)), last, _FORM, italic=True)
        self.found.items.setdefault(path, []).append((self.row, line, list(values)))
        self.row += 1


def drivers_sheet(
    book: Any, styles: Styles, answer: Answer, kind: str, inputs: Inputs, titles: Mapping[str, str]
) -> Drivers:
    """Items of the lines of cash by week or month, of the mean and of each future."""
    sheet = LiveSheet(book, _SHEETS[kind], styles)
    spans = [span for span in answer.summary["spans"] if span["kind"] == kind]
    sheet.text((0, 0), f"What the lines of cash are made of, by {kind}", bold=True, font_size=14)
    sheet.text((1, 0), "An item is an input (named, on assumptions) times a quantity: a count, or simulated.")
    status(sheet, (2, 0))
    _top(sheet, spans)
    table = answer.rows[answer.rows["kind"] == kind]
    days = answer.beside["dates"].summary["count"]
    write = _Writer(sheet, table, [span["period"] for span in spans], inputs, days)
    write.heading("Payments of the plan, the same in every future")
    _planned(write)
    for path, title in titles.items():
        write.row += 1
        write.heading(title)
        _block(write, path, answer.summary)
    return write.found


def _top(sheet: LiveSheet, spans: Sequence[Mapping[str, Any]]) -> None:
    sheet.text((3, 1), "Line of cash", bold=True, bottom=1)
    for at, span in enumerate(spans, _FROM):
        sheet.text((3, at), span["period"], bold=True, bottom=1, align="right")
        sheet.date((_FIRST, at), span["first"])
        sheet.date((_LAST, at), span["last"])
    sheet.text((3, _FROM + len(spans)), "Total", bold=True, bottom=1, align="right")
    sheet.text((_FIRST, 0), "First day")
    sheet.text((_LAST, 0), "Last day")
    sheet.sheet.set_column(0, 0, 52)
    sheet.sheet.set_column(1, 1, 12)
    sheet.sheet.set_column(_FROM, _FROM + len(spans), 14)
    sheet.sheet.freeze_panes(_LAST + 1, _FROM)
    sheet.sheet.repeat_rows(3, _LAST)


def _planned(write: _Writer) -> None:
    outs = [name for name in dict.fromkeys(write.table["item"]) if name.startswith("out.")]
    for name in outs:
        k = int(name.split(".")[1])
        line = str(write.table.loc[write.table["item"] == name, "line"].iloc[0])
        key, called = f"cash_out_{k}", str(write.inputs.values.get(f"cash_out_{k}_name", name))
        for which, own, text, each in (
            (name, line, called, f"-{key}_amount"),
            (f"out_vat.{k}", "vat", f"Deducted VAT in {called}",
             f"ROUND({key}_amount*{key}_vat/(1+{key}_vat),2)"),
        ):  # fmt: skip
            column = _column(k) + (1 if own == line and which == name else 2)
            days = f"'{DATES}'!{letters(column, True)}$6:{letters(column, True)}${5 + write.days}"

            def said(at: str, p: int, each: str = each, days: str = days) -> str:
                first, last = f"{at}${_FIRST + 1}", f"{at}${_LAST + 1}"
                return f'={each}*COUNTIFS({days},">="&{first},{days},"<="&{last})'

            values = write.cells("all", which, own, "paid")
            write.item("all", text, own, values, said, f"{key}_kind" if which == name else "")


def _block(write: _Writer, path: str, told: Mapping[str, Any]) -> None:
    for line in [f"receipts_{name}" for name in ("open_invoices", "signed", "open_deals", "new_business",
                                                 "renewals")]:  # fmt: skip
        if _there(write, path, "receipts", line) and write.inputs.follows("cash_vat"):
            called = line.removeprefix("receipts_").replace("_", " ")
            row = write.base(
                f"Receipts without VAT: {called} (simulated)", write.cells(path, "receipts", line, "base")
            )
            write.found.receipts[(path, line)] = row
    _reps(write, path)
    for item, line, text, name in (
        ("commission", "commission", "Bookings that earn commission", "costs_commission_rate"),
        ("vat", "vat", "Billings whose VAT is due", "cash_vat"),
        ("past_vat", "vat", "Invoices sent, with VAT, whose tax is due", "cash_vat"),
    ):
        if _there(write, path, item, line) and write.inputs.follows(name):
            row = write.base(f"{text} (simulated)", write.cells(path, item, line, "base")) + 1
            rate = f"{name}/(1+{name})" if item == "past_vat" else name
            values = write.cells(path, item, line, "paid")
            said = "VAT in invoices sent" if item == "past_vat" else "VAT" if item == "vat" else "Commission"
            write.item(path, said, line, values, _times(rate, row))
        elif _there(write, path, item, line):
            values = write.cells(path, item, line, "paid")
            write.item(path, f"{text} (simulated)", line, values, lambda at, p: None)
    _variables(write, path)
    rest = write.table[(write.table["path"] == path) & (write.table["item"] == "rest")]
    for line in dict.fromkeys(rest["line"]):
        values = write.cells(path, "rest", line, "paid")
        write.item(path, "Rest and rounding (simulated)", line, values, lambda at, p: None)


def _times(rate: str, row: int) -> Callable[[str, int], str]:
    """A rate times a row, as a payment."""
    return lambda at, p: f"=-{rate}*{at}{row}"


def _there(write: _Writer, path: str, item: str, line: str) -> bool:
    table = write.table
    return bool(((table["path"] == path) & (table["item"] == item) & (table["line"] == line)).any())


def _reps(write: _Writer, path: str) -> None:
    """Pay per head times heads, which are an input; a single future's heads may differ from the mean."""
    rows = write.table[(write.table["path"] == path) & (write.table["item"] == "reps")]
    if rows.empty:
        return
    months = {p: list(one["month"]) for p, one in rows.groupby("period", sort=False)}
    names = {m: f"heads_{m.replace('-', '_')}" for own in months.values() for m in own}
    mean = sum((write.inputs.number(n) for n in names.values()), 0.0)
    base = write.cells(path, "reps", "payroll", "base")
    gap = [
        b - sum(write.inputs.number(names[m]) for m in months.get(p, []))
        for b, p in zip(base, write.periods, strict=True)
    ]
    apart = 0
    if mean and max(map(abs, gap)) > 1e-9:
        apart = write.base("Reps paid for, against the mean (simulated)", gap, "0.00") + 1

    def pay(at: str, p: int) -> str:
        heads = [names[m] for m in months.get(write.periods[p], [])] + ([f"{at}{apart}"] if apart else [])
        return f"=-costs_rep_month*({'+'.join(heads) or '0'})"

    paid = write.cells(path, "reps", "payroll", "paid")
    write.item(path, "Reps: cost a month × heads", "payroll", paid, pay)
    joined = write.cells(path, "hires", "payroll", "base")
    values = write.cells(path, "hires", "payroll", "paid")
    if any(joined):
        row = write.base("Reps who join (simulated)", joined, "0.00") + 1
        live = "costs_hire" in write.inputs.live
        write.item(
            path, "Hires: cost × reps who join", "payroll", values,
            lambda at, p: f"=-costs_hire*{at}{row}" if live else None,
        )  # fmt: skip


def _variables(write: _Writer, path: str) -> None:
    names = [name for name in dict.fromkeys(write.table["item"]) if name.startswith("variable.")]
    for name in names:
        key = f"cash_{name.replace('.', '_')}"
        called, of = (str(write.inputs.values.get(f"{key}_{x}", "")) for x in ("name", "of"))
        line = str(write.table.loc[write.table["item"] == name, "line"].iloc[0])
        base, fixed = (write.cells(path, name, line, x) for x in ("base", "fixed"))
        taxed = of == "receipts" and write.inputs.follows("cash_vat")
        row = write.base(f"{of.capitalize()} of which {called} are a share (simulated)", base) + 1
        more = ""
        if taxed:
            still = write.base("   the same: what VAT leaves as it is (simulated)", fixed) + 1
            more = str(still)

        def said(at: str, p: int, row: int = row, more: str = more, key: str = key) -> str:
            whole = f"({at}{row}*(1+cash_vat)+{at}{more})" if more else f"{at}{row}"
            return f"=-{key}_share*{whole}"

        write.item(path, called, line, write.cells(path, name, line, "paid"), said, f"{key}_kind")
