"""The sheet of inputs: blue, named, each with the value of the run beside it, so that a change is seen.

What formulas cannot follow (odds, quantiles, all that was simulated) stays as it is when an input changes;
the sheet counts the changes, and every sheet says at its top whether its figures still belong to its inputs.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quotacast.engine.answer import Answer
from quotacast.engine.reports.live_sheet import COLOURS, Cell, LiveSheet, Styles, place
from quotacast.engine.reports.units import missing, show

#: Inputs of which formulas need the run's value too, under their name with this ending.
OF_RUN = ("cash_vat_every", "cash_vat_days")
RUN = "_of_run"
RERUN, LABEL, CHANGED = "needs a new run", "label", "changed"
_CHOICES = {
    "kind": ["payroll", "supplier", "tax", "debt"],
    "every": ["week", "month", "quarter", "year"],
}
_HEADS = ("Key in the plan", "Value", "Name", "When changed", "In the run", "Changed", "Meaning")
_PALE = "#FFF9E5"
FRESH = "Inputs are those of the run."
STALE = "INPUTS CHANGED: simulated values (grey) are stale; rerun quotacast cash with the new plan."


@dataclass(frozen=True)
class Inputs:
    """Inputs by the name of their cell.

    Attributes
    ----------
    values : mapping of str to value
    live : frozenset of str
        Names that formulas follow.
    """

    values: Mapping[str, Any]
    live: frozenset[str]

    def number(self, name: str, default: float = 0.0) -> float:
        """Value of an input that is a number."""
        value: Any = self.values.get(name)
        return float(value) if _is_number(value) else default

    def follows(self, name: str) -> bool:
        """Whether formulas follow this input."""
        return name in self.live and _is_number(self.values[name])


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def assumptions_sheet(book: Any, styles: Styles, answer: Answer) -> Inputs:
    """Write the inputs, and define their names."""
    sheet = LiveSheet(book, "assumptions", styles)
    sheet.text((0, 0), "Assumptions of the plan (inputs in blue)", bold=True, font_size=14)
    for at, head in enumerate(_HEADS):
        right = {"align": "right"} if head in ("Value", "In the run") else {}
        sheet.text((3, at), head, bold=True, bottom=1, **right)
    values: dict[str, Any] = {}
    live = set()
    for row, one in enumerate(answer.rows.itertuples(), start=4):
        name, value = str(one.name), None if missing(one.value) else one.value
        values[name] = value
        if one.effect not in (RERUN, LABEL):
            live.add(name)
        _line(book, sheet, row, one, value)
    last = 3 + len(answer.rows)
    book.define_name("inputs_changed", "=assumptions!$B$2")
    sheet.text((1, 0), "Inputs changed since the run")
    sheet.formula((1, 1), f'=COUNTIF($F$5:$F${last + 1},"{CHANGED}")', 0.0, "0", bold=True)
    status(sheet, (1, 2))
    sheet.text(
        (2, 0),
        "Change a blue cell marked 'recomputes here' and the cash sheets follow, for the mean and the three "
        "futures; the others need a new run.",
        italic=True,
    )
    for column, width in enumerate((30, 18, 30, 18, 16, 9, 90)):
        sheet.sheet.set_column(column, column, width)
    sheet.sheet.conditional_format(
        4, 5, last, 5, {"type": "text", "criteria": "containing", "value": CHANGED,
                        "format": styles.of(font_color="#C00000", bold=True)},
    )  # fmt: skip
    sheet.sheet.freeze_panes(4, 2)
    sheet.sheet.repeat_rows(3)
    return Inputs(values, frozenset(live))


def _line(book: Any, sheet: LiveSheet, row: int, one: Any, value: Any) -> None:
    name = str(one.name)
    sheet.text((row, 0), one.key)
    _input(sheet, (row, 1), value, "input")
    sheet.text((row, 2), name, indent=1)
    sheet.text((row, 3), one.effect)
    _input(sheet, (row, 4), value, "simulated")
    if one.effect != LABEL:
        cells = [place((row, column)) for column in (1, 4)]
        sheet.words((row, 5), f'=IF({cells[0]}={cells[1]},"","{CHANGED}")', "")
    sheet.text((row, 6), one.meaning)
    book.define_name(name, f"=assumptions!$B${row + 1}")
    if name in OF_RUN:
        book.define_name(f"{name}{RUN}", f"=assumptions!$E${row + 1}")
    for ending, choices in _CHOICES.items():
        if name.startswith("cash_") and name.endswith(f"_{ending}") and name not in OF_RUN:
            sheet.sheet.data_validation(row, 1, row, 1, {"validate": "list", "source": choices})


def _input(sheet: LiveSheet, at: Cell, value: Any, kind: str) -> None:
    style: dict[str, Any] = {"font_color": COLOURS[kind]}
    style |= {"bg_color": _PALE} if kind == "input" else {}
    if _is_number(value):
        form = "0.0##%" if _is_share(value) else "#,##0.####"
        form = "0" if isinstance(value, int) and abs(value) < 10_000 else form
        sheet.values[at] = float(value)
        sheet.sheet.write_number(*at, float(value), sheet.styles.of(num_format=form, **style))
    elif isinstance(value, dt.date):
        sheet.date(at, value, **style)
    elif value is None:
        sheet.sheet.write_blank(*at, None, sheet.styles.of(align="right", **style))
    else:
        sheet.text(at, show(value, "text"), align="right", **style)


def _is_share(value: float) -> bool:
    return isinstance(value, float) and 0 < abs(value) < 1


def status(sheet: LiveSheet, at: Cell) -> None:
    """One line that turns red where inputs are no longer those of the run."""
    sheet.words(at, f'=IF(inputs_changed=0,"{FRESH}","{STALE}")', FRESH, italic=True)
    red = sheet.styles.of(font_color="#C00000", bold=True)
    rule = {"type": "formula", "criteria": "=inputs_changed>0", "format": red}
    sheet.sheet.conditional_format(*at, *at, rule)
