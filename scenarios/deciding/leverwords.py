"""Levers in words, and what a terminal shows of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from quotacast.engine.answer import Answer
from quotacast.engine.reports.units import cut, show
from quotacast.engine.reports.words import money, percent
from quotacast.scenarios.deciding.compare_view import points, signed
from quotacast.scenarios.lines import packed

_NAME = 18
#: Standard errors between the 10 % and the 90 % quantile of a Normal distribution.
_WIDTH = 2.563


def lever_words(table: pd.DataFrame, summary: Mapping[str, Any]) -> str:
    """What the split and the search say, in plain words."""
    unit = summary["metric_units"][table["metric"].iloc[0]]
    what = f"{table['metric'].iloc[0]} of {show(summary['target'], unit)} in {table['period'].iloc[0]}"
    text = (
        f"{what[0].upper()}{what[1:]}: odds {percent(summary['odds_now'])} as things stand, wished "
        f"{percent(summary['wished'])}."
    )
    kind = "The default levers (a tenth each, without costs)" if summary["default_levers"] else "The levers"
    text += f" {kind} lift the median by {show(summary['levers'], unit)} together, to odds of "
    text += f"{percent(summary['odds_all'])}."
    text += f" {tried(summary)} {_closed(summary)}"
    if (table["label"] == "association").any():
        text += " Parts of activity are associations: if it causes no new business, they are nil."
    return text


def tried(summary: Mapping[str, Any]) -> str:
    """On how many futures levers are tried, and how exact that is."""
    every = f"all {summary['of_draws']:,} futures"
    error = f"(standard error of all together {100 * summary['odds_change_se']:.1f} points)"
    if summary["draws"] >= summary["of_draws"]:
        return f"Everything is tried on {every} {error}."
    return (
        f"As things stand is told by {every}; what levers change, by the same {summary['draws']:,} of them "
        f"{error}."
    )


def _closed(summary: Mapping[str, Any]) -> str:
    found = summary["cheapest"]
    if summary["met_already"]:
        return "Nothing needs to be moved."
    if not summary["met_by_levers"]:
        return f"It cannot be met with these levers: the best odds are {percent(summary['odds_best'])}."
    if not found.get("searched", True):
        return "The cheapest set, and until when each lever works: quotacast compare --levers."
    if not found["found"]:
        return f"No cheapest set: {found['why']}."
    moves = ", ".join(f"{name} {value:g}" for name, value in found["moves"].items())
    return (
        f"Cheapest set: {moves or 'nothing'}, for {money(found['cost'])}, odds "
        f"{percent(found['odds'])} ({found['guarantee']})."
    )


def levers_text(answer: Answer, options: Mapping[str, Any], width: int = 80) -> str:
    """The gap, lever by lever, and the cheapest set."""
    return "\n".join(_lines(answer, width))


def _lines(answer: Answer, width: int) -> Iterator[str]:
    summary, rows = answer.summary, answer.rows.to_dict("records")
    unit = summary["metric_units"][rows[0]["metric"]]
    head = [
        f"{rows[0]['metric']} {rows[0]['period']}",
        f"target {show(summary['target'], unit)}",
        f"median now {show(summary['p50_now'], unit)}",
        f"gap {signed(summary['gap'], unit)}",
        f"odds {percent(summary['odds_now'])}",
    ]
    yield from packed(head, indent=0, width=width)
    yield ""
    yield f"{'':<{_NAME}}{'':>9}{'part of the gap':>18}{'in 8 of 10':>17}{'  odds, points'}"
    yield _columns("lever", "reach", "part", "± error", "futures", "part", "alone", "cost")
    for row in rows:
        yield _lever_line(row, unit)
    lifted = points(summary["odds_all"] - summary["odds_now"])
    error = show(summary["p50_change_se"], unit)
    yield _columns("all together", "", signed(summary["levers"], unit), error, "", lifted)
    if summary["rest"] > 0:
        yield _columns("still short", "", signed(summary["rest"], unit))
    yield ""
    yield from _below(answer, width)


def _below(answer: Answer, width: int) -> Iterator[str]:
    """Until when levers work, the error of a sampled split, and the words."""
    summary = answer.summary
    days = [
        f"{cut(row['lever'], _NAME)} {show(row['last_useful_day'], 'date')}"
        for row in answer.rows.to_dict("records")
    ]
    yield from packed(days, label="Until    ", width=width)
    ranges = [
        "± error: standard error of the part, from the number of futures",
        "in 8 of 10 futures: range of the part itself, with all that is uncertain about it",
    ]
    yield from packed(ranges, label="Ranges   ", width=width)
    if summary["orders"]:
        error = money(summary["part_error"])
        said = f"parts from {summary['orders']} sampled orders, standard error up to {error}"
        yield from packed([said], label="Error    ", width=width)
    yield ""
    yield from packed([answer.words], indent=0, width=width)


def _columns(lever: str, *cells: str) -> str:
    widths = (9, 9, 9, 17, 6, 6, 6)
    text = "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=False))
    return f"{cut(lever, _NAME):<{_NAME}}{text}".rstrip()


def _lever_line(row: Mapping[Any, Any], unit: str) -> str:
    reach = f"{row['from']:g} to {row['to']:g}"
    ends = " to ".join(signed(row[f"part_{end}"], unit) for end in ("p10", "p90"))
    error = show((row["p50_part_high"] - row["p50_part_low"]) / _WIDTH, unit)
    odds = (points(row["odds_part"]), points(row["odds_alone"]))
    cost = money(row["cost"], digits=2) if row["cost"] == row["cost"] else money(None)
    return _columns(row["lever"], reach, signed(row["p50_part"], unit), error, ends, *odds, cost)
