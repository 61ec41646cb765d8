"""What a terminal shows of `cash`: thirteen weeks across, then the months, the risk and what drives it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from quotacast.engine.answer import Answer
from quotacast.engine.reports.words import money, percent
from quotacast.scenarios.lines import packed

#: Lines of the weeks, with their names; those that are zero throughout are left out if they may be.
WEEK_LINES = (
    ("opening", "Opening", False),
    ("receipts_open_invoices", "Open invoices", False),
    ("receipts_signed", "Signed deals", False),
    ("receipts_open_deals", "Open deals", False),
    ("receipts_new_business", "New business", False),
    ("receipts_renewals", "Renewals", True),
    ("payroll", "Payroll", False),
    ("commission", "Commission", True),
    ("supplier", "Suppliers", True),
    ("vat", "VAT", True),
    ("tax", "Taxes", True),
    ("debt", "Debt", True),
    ("net", "Net", False),
    ("closing", "Closing, mean", False),
)
#: Lines of the months: names and what they sum.
CONTRACTED = ("receipts_open_invoices", "receipts_signed")
SPECULATIVE = ("receipts_open_deals", "receipts_new_business", "receipts_renewals")
PAYMENTS = ("payroll", "commission", "supplier", "vat", "tax", "debt")
_LABEL, _CELL = 16, 9


def cash_text(answer: Answer, options: Mapping[str, Any], width: int) -> str:
    """The whole answer for a terminal."""
    rows = answer.rows
    scale, unit = _scale(float(rows["mean"].abs().max()))
    currency = answer.summary["currency"] or "currency not named"
    lines = [f"Cash in {unit}{currency}: means, and quantiles of the closing balance"]
    for kind, made in (("week", _weeks), ("month", _months)):
        part = rows[rows["kind"] == kind]
        labels = list(dict.fromkeys(part["period"]))
        room = max((width - _LABEL) // _CELL, 1)
        blocks = -(-len(labels) // room)
        size = -(-len(labels) // blocks) if labels else 1
        for at in range(0, len(labels), size):
            chosen = labels[at : at + size]
            lines += ["", *_head(part, kind, chosen), *made(part, chosen, scale)]
    return "\n".join(
        [*lines, "", *_risk(answer.summary, width), *packed([answer.words], indent=0, width=width)]
    )


def _scale(most: float) -> tuple[float, str]:
    if most >= 1e8:
        return 1e6, "million "
    return (1e3, "thousand ") if most >= 1e5 else (1.0, "")


def _head(part: pd.DataFrame, kind: str, labels: Sequence[str]) -> Iterator[str]:
    last = part.drop_duplicates("period").set_index("period")["last"]
    short = [label.partition("-")[2] if kind == "week" else label for label in labels]
    yield _row("Week" if kind == "week" else "Month", short)
    if kind == "week":
        yield _row("  until", [f"{last[label].day} {last[label]:%b}" for label in labels])


def _row(name: str, cells: Sequence[str]) -> str:
    return f"{name:<{_LABEL}}" + "".join(f"{cell:>{_CELL}}" for cell in cells)


def _values(
    part: pd.DataFrame, names: Sequence[str], labels: Sequence[str], column: str = "mean"
) -> list[float]:
    chosen = part[part["line"].isin(names)]
    sums = chosen.groupby("period")[column].sum()
    return [float(sums[label]) for label in labels]


def _shown(values: Sequence[float], scale: float) -> list[str]:
    digits = 0 if scale < 1e6 else 2
    return [f"{value / scale + 0.0:,.{digits}f}".replace("-0", "0" if abs(value) < scale / 2 else "-0")
            for value in values]  # fmt: skip


def _weeks(part: pd.DataFrame, labels: Sequence[str], scale: float) -> Iterator[str]:
    used = part.groupby("line")["mean"].apply(lambda x: bool((x.abs() > 0).any()))
    for line, name, spare in WEEK_LINES:
        if not spare or used[line]:
            yield _row(name, _shown(_values(part, [line], labels), scale))
    yield from _closing(part, labels, scale)


def _months(part: pd.DataFrame, labels: Sequence[str], scale: float) -> Iterator[str]:
    for name, lines in (
        ("Contracted in", CONTRACTED),
        ("Speculative in", SPECULATIVE),
        ("Payments", PAYMENTS),
        ("Net", ("net",)),
        ("Closing, mean", ("closing",)),
    ):
        yield _row(name, _shown(_values(part, lines, labels), scale))
    yield from _closing(part, labels, scale)


def _closing(part: pd.DataFrame, labels: Sequence[str], scale: float) -> Iterator[str]:
    closing = part[part["line"] == "closing"].set_index("period")
    for column in [c for c in closing.columns if c[0] == "p" and c[1:].replace(".", "").isdigit()]:
        yield _row(
            f"  {column.upper()}", _shown([float(x) for x in closing[column].loc[list(labels)]], scale)
        )
    if closing["p_below"].notna().all():
        yield _row("Below floor", [percent(float(x)) for x in closing["p_below"].loc[list(labels)]])


def _risk(summary: Mapping[str, Any], width: int) -> Iterator[str]:
    if not summary["relative"]:
        yield from packed(_alerts(summary["alerts"]), label="Odds", width=width)
        weeks, whole = summary["credit_line_13_weeks"], summary["credit_line"]
        yield from packed(
            [f"13 weeks {money(weeks)}", f"to the horizon {money(whole)}"], label="Credit", width=width
        )
    for label, parts in summary["drivers"].items():
        said = [f"{name} {percent(share)}" for name, share in parts.items()]
        yield from packed([f"variance at the end of {label}", *said], label="Drivers", width=width)
    if summary.get("record"):
        yield from packed([summary["record"]["line"]], label="Record", width=width)


def _alerts(alerts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """When the odds of falling below the floor first exceed what; one sentence where they never do."""
    first = {a["odds"]: a["week"] or a["month"] for a in alerts}
    met = {odds: when for odds, when in first.items() if when}
    for odds, when in met.items():
        yield f"below the floor over {odds:.0%} first in {when}"
    if len(met) < len(first):
        yield f"below the floor never over {min(set(first) - set(met)):.0%}"
