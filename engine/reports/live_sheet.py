"""A sheet of a workbook whose formulas carry the value that they have: numbers, sums and links.

Blue is an input, black a formula, green a link to another sheet, grey what was simulated. Text is always
written as text, so that no name from a CRM becomes a formula.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from quotacast.engine.reports.units import clean, plain

MONEY = "#,##0;-#,##0;–"
EXACT = "#,##0.00"
ODDS = "0.0%"
COLOURS = {"input": "#0000FF", "formula": "#000000", "link": "#00803C", "simulated": "#595959"}
_DAY = "yyyy-mm-dd"
_EPOCH = dt.date(1899, 12, 30)  # day 0 of spreadsheets
_TEXT = 32_767  # what a cell holds
Cell = tuple[int, int]


class Styles:
    """The formats of one workbook, each made once."""

    def __init__(self, book: Any) -> None:
        self._book = book
        self._made: dict[str, Any] = {}

    def of(self, **what: Any) -> Any:
        """The format with these properties."""
        key = repr(sorted(what.items()))
        if key not in self._made:
            self._made[key] = self._book.add_format(what)
        return self._made[key]


class LiveSheet:
    """A sheet and the numbers that stand in it, so that formulas can be given their value.

    Parameters
    ----------
    book : xlsxwriter.Workbook
    name : str
    styles : Styles
    """

    def __init__(self, book: Any, name: str, styles: Styles) -> None:
        self.sheet = book.add_worksheet(name)
        self.name = name
        self.styles = styles
        self.values: dict[Cell, float] = {}
        self.sheet.set_landscape()
        self.sheet.set_paper(9)
        self.sheet.fit_to_pages(1, 0)
        self.sheet.set_footer("&L&A&R&P / &N")

    def text(self, at: Cell, text: Any, **style: Any) -> None:
        """Text, whatever it begins with."""
        whole = clean(str(plain(text))) if text is not None else ""
        self.sheet.write_string(*at, whole[:_TEXT], self.styles.of(**style))

    def number(self, at: Cell, value: float, form: str = MONEY, kind: str = "simulated") -> None:
        """A number that is not computed here."""
        self.values[at] = float(value)
        self.sheet.write_number(*at, float(value), self.styles.of(num_format=form, font_color=COLOURS[kind]))

    def formula(self, at: Cell, text: str, value: float, form: str = MONEY, **style: Any) -> None:
        """A formula with the value that it has; it is a link where it names another sheet."""
        kind = "link" if "!" in text or text[1:].replace("_", "").isalpha() else "formula"
        value = value + 0.0  # no negative zero
        self.values[at] = value
        look = self.styles.of(num_format=form, font_color=COLOURS[kind], **style)
        self.sheet.write_formula(*at, text, look, value)

    def words(self, at: Cell, text: str, value: str, **style: Any) -> None:
        """A formula whose value is text."""
        self.sheet.write_formula(*at, text, self.styles.of(**style), clean(value)[:_TEXT])

    def date(self, at: Cell, value: dt.date, **style: Any) -> None:
        """A day."""
        look = self.styles.of(num_format=_DAY, **style)
        self.sheet.write_datetime(*at, dt.datetime.combine(value, dt.time()), look)

    def day(self, at: Cell, text: str, value: dt.date | None) -> None:
        """A formula whose value is a day, or empty text."""
        number = "" if value is None else (value - _EPOCH).days
        self.sheet.write_formula(*at, text, self.styles.of(num_format=_DAY), number)

    def sum(self, at: Cell, cells: Sequence[Cell], form: str = MONEY, **style: Any) -> None:
        """The sum of cells that follow one another, in one row or column."""
        first, last = cells[0], cells[-1]
        value = sum(self.values.get(cell, 0.0) for cell in cells)
        self.formula(at, f"=SUM({place(first)}:{place(last)})", value, form, **style)

    def plus(self, at: Cell, cells: Sequence[Cell], form: str = MONEY, **style: Any) -> None:
        """The sum of single cells."""
        value = sum(self.values[cell] for cell in cells)
        self.formula(at, "=" + "+".join(place(cell) for cell in cells), value, form, **style)

    def same(self, at: Cell, cell: Cell, form: str = MONEY, **style: Any) -> None:
        """The value of another cell of this sheet."""
        self.formula(at, f"={place(cell)}", self.values[cell], form, **style)

    def away(self, cells: Sequence[Cell]) -> tuple[str, float]:
        """What another sheet writes for the sum of these cells, without ``=``, and its value."""
        value = sum(self.values.get(cell, 0.0) for cell in cells)
        first, last = (place(cells[0]), place(cells[-1]))
        where = f"'{self.name}'!"
        return (f"{where}{first}" if len(cells) == 1 else f"SUM({where}{first}:{last})"), value


def place(cell: Cell) -> str:
    """``(2, 27)`` as ``AB3``."""
    row, column = cell
    return f"{letters(column)}{row + 1}"


def letters(column: int, fixed: bool = False) -> str:
    """``27`` as ``AB``; with a dollar sign where it is not to move along."""
    out, column = "", column + 1
    while column:
        column, rest = divmod(column - 1, 26)
        out = chr(65 + rest) + out
    return f"${out}" if fixed else out
