"""Candidate sets of quotas side by side: one row for each quota, two columns for each set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from quotacast.engine.answer import Answer, Field
from quotacast.engine.reports.table import as_table
from quotacast.engine.reports.units import show
from quotacast.engine.reports.words import ratio
from quotacast.scenarios.lines import name, packed
from quotacast.scenarios.views import companywide

_KEYS = ["scope", "scope_id", "metric", "period"]
#: Sets side by side in one table; more follow in further tables.
ABREAST = 3


def are_candidates(answer: Answer) -> bool:
    """Whether some quota stands in several sets."""
    return bool(answer.rows.duplicated(_KEYS).any())


def candidates_text(answer: Answer, scopes: Sequence[str], width: int) -> str:
    """Sets side by side for company and teams (or the scopes asked for), and how many reps reach theirs."""
    shown = companywide(answer, scopes)
    sets = [str(name) for name in answer.rows["set"].unique()]
    tables = [
        as_table(replace(side_by_side(shown, sets[at : at + ABREAST]), words=""), width=width)
        for at in range(0, len(sets), ABREAST)
    ]
    return "\n\n".join([*tables, "\n".join(_reps(answer, width)), "\n".join(_words(shown, width))]).rstrip()


def side_by_side(answer: Answer, sets: Sequence[str]) -> Answer:
    """One row for each scope, metric and period; a target and odds for each set, empty where it has none."""
    rows = answer.rows[answer.rows["set"].isin(sets)]
    table = rows[_KEYS].drop_duplicates().reset_index(drop=True)
    fields = [f for f in answer.fields if f.name in _KEYS]
    for one in sets:
        columns = {"target": f"{one} target", "p_attain": f"{one} odds"}
        mine = rows.loc[rows["set"] == one, [*_KEYS, *columns]].rename(columns=columns)
        table = table.merge(mine, on=_KEYS, how="left")
        fields += [
            Field(columns["target"], "metric", "quota"),
            Field(columns["p_attain"], "probability", "odds"),
        ]
    order = sorted(fields, key=lambda f: ["scope", "scope_id"].index(f.name) if f.name in _KEYS[:2] else 2)
    return replace(answer, rows=table[[f.name for f in order]], fields=tuple(order))


def _reps(answer: Answer, width: int) -> list[str]:
    """Share of reps who reach their quota, a line for each metric and period that has several sets."""
    shares = pd.DataFrame(answer.summary["shares"])
    lines: list[str] = []
    order = list(answer.rows["set"].unique())
    if shares.empty:
        return lines
    for (metric, period), group in shares.groupby(["metric", "period"], sort=False):
        if len(group) > 1:
            rows = sorted(group.to_dict("records"), key=lambda row: order.index(row["set"]))
            said = [f"{name(row['set'])} {_share(row)}" for row in rows]
            said[0] = f"{metric} {period}: {said[0]}"
            lines += packed(said, label="  ", indent=2, width=width)
    head = "Reps at or above quota, mean share (10 to 90 % of futures)"
    return [head, *lines] if lines else []


def _share(row: Mapping[Any, Any]) -> str:
    low, high = (ratio(row[end] / row["reps"]) for end in ("p10", "p90"))
    return f"{ratio(row['mean'] / row['reps'])} ({low} to {high} of {show(row['reps'], 'count')})"


def _words(answer: Answer, width: int) -> list[str]:
    return list(packed([answer.words], indent=0, width=width))
