"""Finance's workbook: assumptions, summary, thirteen weeks, months, quantiles, data quality, provenance.

Formulas add only what adds up: means over the futures, and three futures chosen near the P10, P50 and P90.
Quantiles are values. It is the answer ``cash`` with ``revenue``, ``paths``, ``check`` and ``assumptions``
beside it; without a clock, so that its bytes repeat.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from quotacast.engine.answer import Answer
from quotacast.engine.reports.book_drivers import dates_sheet, drivers_sheet
from quotacast.engine.reports.book_inputs import Inputs, assumptions_sheet, status
from quotacast.engine.reports.book_parts import (
    CASH_SHEETS,
    Block,
    cash_sheet,
    cash_titles,
    chain_sheet,
    listing,
    quantile_sheet,
)
from quotacast.engine.reports.live_sheet import EXACT, MONEY, ODDS, LiveSheet, Styles, place
from quotacast.engine.reports.units import plain

#: Horizons of the record of receipts.
HORIZONS = {"m1": "Next month", "m2": "Second month", "m3": "Third month", "w13": "Next 13 weeks"}
_HEADS = ("Mean", "Future near P10", "Future near P50", "Future near P90")


def as_finance_book(answer: Answer) -> bytes:
    """The workbook's bytes."""
    import xlsxwriter

    from quotacast.engine.reports.files import EPOCH, flatten

    out = io.BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(out, options) as book:
        book.set_properties({"created": EPOCH, "title": "Finance forecast"})
        book.set_calc_mode("auto")
        styles = Styles(book)
        inputs = assumptions_sheet(book, styles, answer.beside["assumptions"])
        summary = LiveSheet(book, "summary", styles)  # the sheets stand in the order in which they are made
        made = {kind: LiveSheet(book, name, styles) for kind, name in CASH_SHEETS.items()}
        chain_of = LiveSheet(book, "monthly chain", styles)
        blocks = {}
        for kind, sheet in made.items():
            titles = cash_titles(answer, kind)
            drivers = drivers_sheet(book, styles, answer.beside["drivers"], kind, inputs, titles)
            blocks[kind] = cash_sheet(sheet, answer, kind, inputs, drivers)
        weeks, months = blocks["week"], blocks["month"]
        dates_sheet(book, styles, answer.beside["drivers"].beside["dates"])
        chain = chain_sheet(chain_of, answer, months)
        quantile_sheet(book, styles, answer)
        listing(book, styles, "data quality", answer.beside["check"])
        _provenance(LiveSheet(book, "provenance", styles), flatten(answer.provenance))
        _Summary(summary, answer, inputs).write(weeks, months, chain)
        summary.sheet.activate()
    return out.getvalue()


def _provenance(sheet: LiveSheet, lines: Sequence[tuple[str, str]]) -> None:
    for row, (key, text) in enumerate(lines):
        sheet.text((row, 0), key, bold=True)
        sheet.text((row, 1), text)
    sheet.sheet.set_column(0, 0, 40)
    sheet.sheet.set_column(1, 1, 80)


class _Summary:
    """The sheet that formulas fill from the others."""

    def __init__(self, sheet: LiveSheet, answer: Answer, inputs: Inputs) -> None:
        self.sheet, self.answer, self.inputs, self.row = sheet, answer, inputs, 0

    def write(self, weeks: Sequence[Block], months: Sequence[Block], chain: Sequence[Block]) -> None:
        """All of it, top to bottom."""
        told, currency = self.answer.summary, self.answer.summary["currency"]
        self.line("Summary", bold=True, font_size=14)
        self.line(f"Amounts in {currency or 'a currency that is not named'}. {self.answer.words}")
        self.line(
            "Blue: inputs. Black: formulas. Green: links to other sheets. Grey: simulated. Formulas add only "
            "means and three single futures; quantiles do not add."
        )
        self.line(
            "Cash follows the inputs that are marked so on the sheet assumptions; what is grey was simulated "
            "and needs a new run: quotacast cash."
        )
        status(self.sheet, (self.row, 0))
        self.row += 1
        self.heads("Bookings to revenue, to the horizon; futures chosen by bookings")
        self.flows(chain, ("bookings", "billings", "revenue", "gross_margin"), "total")
        self.flows(chain, ("receipts",), "total")
        self.stocks(chain, ("backlog", "deferred", "unbilled"))
        self.clocks(chain)
        self.heads("Cash, to the horizon; futures chosen by the closing balance")
        self.opening(months)
        for line in ("receipts", "payments", "net"):
            self.flows(months, (line,), None)
        self.stocks(months, ("closing",))
        self.balance(months)
        self.floor(months)
        if weeks and weeks[0].columns:
            self.heads("Cash, the weeks of the short view; the same futures")
            for line in ("receipts", "payments", "net"):
                self.flows(weeks, (line,), None)
            self.stocks(weeks, ("closing",))
        self.risk(told)
        self.record(told.get("record") or {})
        self.sheet.sheet.set_column(0, 0, 62)
        self.sheet.sheet.set_column(1, 4, 18)

    def line(self, text: str, **style: Any) -> None:
        self.sheet.text((self.row, 0), text, **style)
        self.row += 1

    def heads(self, title: str) -> None:
        self.row += 1
        self.sheet.text((self.row, 0), title, bold=True, bottom=1)
        for at, head in enumerate(_HEADS, 1):
            self.sheet.text((self.row, at), head, bold=True, bottom=1, align="right")
        self.row += 1

    def flows(self, blocks: Sequence[Block], names: Sequence[str], part: str | None) -> None:
        """Sums over the periods."""
        for name in names:
            if all(name in block.rows for block in blocks):
                self.sheet.text((self.row, 0), name.replace("_", " ").capitalize())
                for at, block in enumerate(blocks, 1):
                    text, value = block.sheet.away(block.cells(name))
                    self.sheet.formula((self.row, at), f"={text}", value, EXACT)
                self.row += 1

    def stocks(self, blocks: Sequence[Block], names: Sequence[str]) -> None:
        """Values at the end."""
        for name in names:
            self.sheet.text((self.row, 0), f"{name.capitalize()} at the end")
            for at, block in enumerate(blocks, 1):
                text, value = block.sheet.away(block.cells(name)[-1:])
                self.sheet.formula((self.row, at), f"={text}", value, EXACT)
            self.row += 1

    def opening(self, blocks: Sequence[Block]) -> None:
        self.sheet.text((self.row, 0), "Opening")
        for at, block in enumerate(blocks, 1):
            text, value = block.sheet.away(block.cells("opening")[:1])
            self.sheet.formula((self.row, at), f"={text}", value, EXACT)
        self.row += 1

    def balance(self, blocks: Sequence[Block]) -> None:
        """Opening + receipts + payments - closing is nil."""
        # + 0: a rounded rest of -1e-10 would be shown as a negative zero
        self.sheet.text((self.row, 0), "Check: opening + net − closing = 0", italic=True)
        top = self.row  # opening, receipts, payments, net, closing
        for at in range(1, len(blocks) + 1):
            cells = [(top - 5, at), (top - 2, at), (top - 1, at)]
            letters = [place(cell) for cell in cells]
            value = self.sheet.values[cells[0]] + self.sheet.values[cells[1]] - self.sheet.values[cells[2]]
            text = f"=ROUND({letters[0]}+{letters[1]}-{letters[2]},2)+0"
            self.sheet.formula((self.row, at), text, round(value, 2), EXACT)
        self.row += 1

    def floor(self, blocks: Sequence[Block]) -> None:
        """Month ends against the floor."""
        if not self.inputs.follows("cash_opening"):
            return
        limit = self.inputs.number("cash_floor")
        for text in ("Lowest month end", "Headroom of it over the floor", "Month ends below the floor"):
            self.sheet.text((self.row, 0), text)
            for at, block in enumerate(blocks, 1):
                cells = block.cells("closing")
                where = f"'{block.sheet.name}'!{place(cells[0])}:{place(cells[-1])}"
                closing = [block.sheet.values[cell] for cell in cells]
                formula, value, form = {
                    "L": (f"=MIN({where})", min(closing), EXACT),
                    "H": (f"=MIN({where})-cash_floor", min(closing) - limit, EXACT),
                    "M": (f'=COUNTIF({where},"<"&cash_floor)', sum(x < limit for x in closing), "0"),
                }[text[0]]
                self.sheet.formula((self.row, at), formula, value, form)
            self.row += 1

    def clocks(self, blocks: Sequence[Block]) -> None:
        """Billings after the as-of date = revenue + change in (deferred - unbilled)."""
        opening = self.answer.beside["revenue"].summary["opening"]
        before = float(opening["deferred"]) - float(opening["unbilled"])
        self.sheet.text((self.row, 0), "Check: billings − revenue − Δ(deferred − unbilled) = 0", italic=True)
        for at, block in enumerate(blocks, 1):
            parts = [("+", "billings", slice(None)), ("-", "billings done", slice(None))]
            parts += [("-", "revenue", slice(None)), ("+", "revenue done", slice(None))]
            parts += [("-", "deferred", slice(-1, None)), ("+", "unbilled", slice(-1, None))]
            text, value = f"{before!r}", before
            for sign, name, which in parts:
                said, number = block.sheet.away(block.cells(name)[which])
                text, value = f"{text}{sign}{said}", value + (number if sign == "+" else -number)
            self.sheet.formula((self.row, at), f"=ROUND({text},2)+0", round(value, 2), EXACT)
        self.row += 1

    def risk(self, told: Any) -> None:
        """Figures of all futures: values, since no formula here could find them."""
        self.row += 1
        self.line(
            "Risk, over all futures (simulated values: rerun quotacast cash after changing inputs)",
            bold=True,
            bottom=1,
        )
        status(self.sheet, (self.row, 0))
        self.row += 1
        if told["relative"]:
            self.line("The plan has no opening balance: cash is told as a change, and no floor is judged.")
            return
        self.figure("Odds of falling below the floor, to the horizon", told["p_below"], ODDS)
        self.figure(f"Credit line for {told['safety']:.0%} safety, 13 weeks", told["credit_line_13_weeks"])
        self.figure(f"Credit line for {told['safety']:.0%} safety, to the horizon", told["credit_line"])
        for alert in told["alerts"]:
            self.sheet.text((self.row, 0), f"Odds first above {alert['odds']:.0%} (week, month)")
            for at, key in enumerate(("week", "month"), 1):
                self.sheet.text((self.row, at), alert[key] or "never", align="right")
            self.row += 1
        for label, parts in told["drivers"].items():
            for name, share in parts.items():
                self.figure(f"Share of the variance at the end of {label}: {name}", share, ODDS)

    def record(self, told: Any) -> None:
        """How receipts forecast in the past turned out: values."""
        if not told:
            return
        self.row += 1
        line = str(told["line"])
        self.sheet.text((self.row, 0), "Track record of receipts", bold=True, bottom=1)
        if told["horizons"]:
            for at, head in enumerate(("Origins", "80 % ranges held", "Errors smaller by", "± one s.e."), 1):
                self.sheet.text((self.row, at), head, bold=True, bottom=1, align="right")
        self.row += 1
        self.line(f"{line[0].upper()}{line[1:]}.")
        for one in told["horizons"]:
            self.sheet.text((self.row, 0), f"{HORIZONS[one['horizon']]}, against {one['against']}")
            self.sheet.number((self.row, 1), one["n"], "0")
            for at, key in enumerate(("coverage_80", "skill", "skill_se"), 2):
                if plain(one[key]) is not None:
                    self.sheet.number((self.row, at), one[key], "0%")
            self.row += 1

    def figure(self, text: str, value: Any, form: str = MONEY) -> None:
        self.sheet.text((self.row, 0), text)
        if plain(value) is not None:
            self.sheet.number((self.row, 1), float(value), form)
        self.row += 1
