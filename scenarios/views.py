"""What a terminal shows of an answer: less than files hold, and said so."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from quotacast.engine.answer import Answer
from quotacast.engine.reports.units import clean
from quotacast.scenarios.lines import WIDTH, name, packed

#: Columns of `quotas` that a terminal can do without; those of them that tell something stay.
_SPARE: Mapping[str, Callable[[pd.Series[Any]], bool]] = {
    "level": lambda column: False,
    "mean": lambda column: False,
    "actual": lambda column: bool((column.fillna(0) != 0).any()),
    "p_defined": lambda column: bool((column < 0.995).any()),
}
_EXAMPLES = 3


def companywide(answer: Answer, scopes: Sequence[str]) -> Answer:
    """Company and teams, unless scopes were asked for or reps are all there is."""
    if scopes:
        return answer
    rows = answer.rows[answer.rows["scope"] != "rep"]
    left = len(answer.rows) - len(rows)
    if rows.empty or not left:
        return answer
    words = f"{answer.words} {left:,} rows of reps are not shown: --scope rep, --format json or --out."
    return replace(answer, rows=rows, words=words)


def quota_view(answer: Answer, scopes: Sequence[str]) -> Answer:
    """`quotas` for a terminal: company and teams, and only columns that tell something."""
    shown = companywide(answer, scopes)
    spare = {c for c, tells in _SPARE.items() if c in shown.rows and not tells(shown.rows[c])}
    return replace(
        shown,
        rows=shown.rows.drop(columns=list(spare)),
        fields=tuple(f for f in shown.fields if f.name not in spare),
    )


def forecast_view(answer: Answer, scopes: Sequence[str], metrics: Sequence[str]) -> Answer:
    """`forecast` for a terminal: without a chosen metric, bookings (of the company, unless scopes were)."""
    shown = companywide(answer, scopes)
    if metrics:
        return shown
    rows = answer.rows[answer.rows["metric"] == "bookings"]
    if scopes:
        words = f"{answer.words} Shown: bookings; choose with --metric."
        return replace(answer, rows=rows, words=words)
    words = f"{answer.words} Shown: bookings of the company; choose with --metric and --scope."
    return replace(answer, rows=rows[rows["scope"] == "company"], words=words)


def check_lines(answer: Answer, width: int = WIDTH) -> Iterator[str]:
    """`check` for a terminal: a line that sums it up, the findings, what can be answered and what cannot."""
    yield from packed([answer.words], indent=0, width=width)
    for found in _alike(answer.rows):
        yield ""
        yield from _finding(found, width)
    supports: Mapping[str, str] = answer.summary["supports"]
    able = {what: said for what, said in supports.items() if said.startswith("yes")}
    unable = {what: _rest(said) for what, said in supports.items() if what not in able}
    lacks = {t: s.split(": cannot answer ", 1)[-1] for t, s in answer.summary["missing"].items()}
    yield from _listed("The data tell", {what: _rest(said) for what, said in able.items()}, width)
    yield from _listed("They do not tell", {w: s for w, s in unable.items() if w not in lacks}, width)
    yield from _listed("Without these tables cannot be answered", lacks, width)


def _rest(said: str) -> str:
    """What follows yes or no."""
    return said.partition(" ")[2] or said


def _alike(rows: pd.DataFrame) -> Iterator[dict[str, str]]:
    """Findings; those that say the same of the same rows are one."""
    same = ["table", "count", "examples", "action", "meaning"]
    for _, group in rows.groupby(same, sort=False):
        first = group.iloc[0]
        yield {**{key: str(first[key]) for key in same}, "rule": ", ".join(group["rule"])}


def _finding(found: Mapping[str, str], width: int) -> Iterator[str]:
    head = f"{clean(found['rule'])} ({found['table']}), {found['action']}"
    yield from packed([head], label=f"{int(found['count']):>7,}  ", width=width)
    yield from packed([clean(found["meaning"])], width=width)
    examples = [name(part, 40) for part in found["examples"].split(", ") if part]
    if examples:
        more = ["…"] if len(examples) > _EXAMPLES else []
        shown = [f"{part}," for part in examples[:_EXAMPLES]]
        shown[-1] = shown[-1] if more else shown[-1].removesuffix(",")
        yield from packed([*shown, *more], gap=" ", width=width)


def _listed(heading: str, said: Mapping[str, str], width: int) -> Iterator[str]:
    if not said:
        return
    yield ""
    yield heading
    room = max(len(what) for what in said) + 4
    for what, text in said.items():
        for at, line in enumerate(textwrap.wrap(clean(text), width - room)):
            yield f"  {what if at == 0 else '':<{room - 2}}{line}"
