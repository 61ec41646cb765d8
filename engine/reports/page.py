"""One self-contained page of several answers: opens offline, prints, runs no script.

:func:`page` is for reading at a desk: everything, one below the other. :func:`sheet` is for print: an A4 page
or two, in two columns, with the numbers that were chosen for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from quotacast.engine.answer import Answer
from quotacast.engine.reports.charts import pictures
from quotacast.engine.reports.files import flatten
from quotacast.engine.reports.table import columns, split_constant
from quotacast.engine.reports.units import clean, column_units, missing, show
from quotacast.engine.reports.words import money_range, odds_words, percent

DIAGNOSTICS = "diagnostics."  # begins the lines about the models' fit, which are folded
PAGE_ROWS = 400  # rows of one table on the page; files hold them all


@dataclass(frozen=True)
class Section:
    """A part of the page: an answer under a heading, with a picture and a remark where wanted.

    Attributes
    ----------
    answer : Answer or None
        None where the lines say it all.
    heading : str
    chart : str, optional
        A name of ``charts.CHARTS``.
    note : str, optional
        Small, below the picture.
    lines : tuple of str, optional
        Paragraphs in place of the answer's words; empty ones are left out.
    numbers : {"folded", "shown", "none"}
        Whether the answer's table is there, and whether it can be folded.
    wide : bool
        On a sheet, across both columns.
    """

    answer: Answer | None
    heading: str
    chart: str | None = None
    note: str | None = None
    lines: tuple[str, ...] | None = None
    numbers: Literal["folded", "shown", "none"] = "folded"
    wide: bool = False


def _answers(sections: Sequence[Section]) -> list[Answer]:
    return [s.answer for s in sections if s.answer is not None]


def _company(answer: Answer) -> tuple[pd.Series[Any], dict[str, str]] | None:
    """The first company row that has odds, and the units of its cells."""
    if not {"scope", "p_attain", "target"} <= set(answer.rows.columns):
        return None
    for at, (_, row) in enumerate(answer.rows.iterrows()):
        defined = row.get("p_defined", 1.0)
        if (
            row["scope"] == "company"
            and not missing(row["p_attain"])
            and (missing(defined) or defined >= 0.5)
        ):
            return row, {f.name: column_units(answer, f)[at] for f in answer.fields}
    return None


def headline(sections: Sequence[Section]) -> str | None:
    """The page in one sentence: ``About 1 in 4 to reach 12.0M bookings in 2027``.

    The first answer with ``summary["headline"]``, else the first with odds for the company; None where
    there is neither.
    """
    said = [a.summary["headline"] for a in _answers(sections) if a.summary.get("headline")]
    if said:
        return str(said[0])
    for found in filter(None, map(_company, _answers(sections))):
        row, units = found
        odds = odds_words(float(row["p_attain"]))
        about = [str(row[c]).replace("_", " ") for c in ("metric",) if c in row.index]
        about += [f"in {row['period']}"] if "period" in row.index else []
        return " ".join(
            [odds[0].upper() + odds[1:], "to reach", show(row["target"], units["target"]), *about]
        )
    return None


def facts(sections: Sequence[Section]) -> list[tuple[str, str]]:
    """A few (label, value) for the top of the page, from the first answer with odds for the company."""
    found = next(filter(None, map(_company, _answers(sections))), None)
    if found is None:
        return []
    row, units = found
    said = [("Odds", percent(float(row["p_attain"]))), ("Target", show(row["target"], units["target"]))]
    if {"p10", "p50", "p90"} <= set(row.index):
        quantiles = [row[q] for q in ("p10", "p50", "p90")]
        money = units["p50"] == "money"
        text = money_range(quantiles) if money else " – ".join(show(q, units["p50"]) for q in quantiles)
        said.append(("Likely range (P10 – P50 – P90)", text))
    if not missing(row.get("actual")):
        said.append(("Already done", show(row["actual"], units["actual"])))
    return said


def _table(answer: Answer, whole: bool = False) -> dict[str, Any]:
    """What the template needs of an answer's table; ``whole`` keeps columns that are the same throughout."""
    rows = len(answer.rows)
    varying, phrases = (columns(answer), []) if whole else split_constant(columns(answer), rows)
    shown = min(rows, PAGE_ROWS)
    meanings = {f.name: clean(f.meaning) for f in answer.fields}
    return {
        "caption": " · ".join(phrases),
        "heads": [(c.title, c.numeric, meanings.get(c.name, "")) for c in varying],
        "rows": [[(c.cells[i], c.numeric) for c in varying] for i in range(shown)],
        "count": rows,
        "left": rows - shown,
    }


def _section(section: Section) -> dict[str, Any]:
    answer = section.answer
    lines = section.lines
    if lines is None:
        lines = () if answer is None else (answer.words,)
    return {
        "heading": clean(section.heading),
        "lines": [clean(line) for line in lines if line],
        "note": clean(section.note) if section.note else None,
        "pictures": None if answer is None else pictures(answer, section.chart),
        # a table that is not folded has no caption, which could say what a constant column says
        "table": None
        if answer is None or section.numbers == "none"
        else _table(answer, section.numbers == "shown"),
        "folded": section.numbers == "folded",
        "wide": section.wide,
    }


def page(title: str, sections: Sequence[Section], provenance: Mapping[str, Any]) -> str:
    """The sections as one HTML page.

    No script, no outside resource, and a content policy that forbids both; all texts are escaped; no clock.

    Parameters
    ----------
    title : str
        Name of the page.
    sections : sequence of Section
        In the order of reading.
    provenance : mapping
        Shown at the foot, nested keys with dots.

    Returns
    -------
    str
        The whole document.

    Raises
    ------
    QuotacastError
        If a section names a chart that does not exist.
    """
    said = headline(sections)
    origin = flatten(provenance)
    return _rendered(
        "page.html",
        title=clean(title),
        headline=clean(said) if said else None,
        facts=facts(sections),
        sections=[_section(s) for s in sections],
        provenance=[pair for pair in origin if not pair[0].startswith(DIAGNOSTICS)],
        diagnostics=[pair for pair in origin if pair[0].startswith(DIAGNOSTICS)],
    )


def sheet(
    title: str,
    headline: str,
    facts: Sequence[tuple[str, str]],
    sections: Sequence[Section],
    provenance: Mapping[str, Any],
    small_print: str,
) -> str:
    """The sections as a sheet to be printed on A4, in two columns; otherwise as :func:`page`.

    Parameters
    ----------
    title, headline : str
    facts : sequence of (label, value)
        Figures for the top.
    sections : sequence of Section
        They flow down the first column, then the second; wide ones across both.
    provenance : mapping
        Folded at the foot, and not printed.
    small_print : str
        Printed at the foot.
    """
    return _rendered(
        "sheet.html",
        title=clean(title),
        headline=clean(headline),
        facts=[(clean(label), clean(value)) for label, value in facts],
        sections=[_section(s) for s in sections],
        provenance=flatten(provenance),
        small_print=clean(small_print),
    )


def _rendered(template: str, **told: Any) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    env = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters["svg"] = Markup  # drawings come from svg.Board, which has escaped every text in them
    return env.get_template(template).render(**told)
