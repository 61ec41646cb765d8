"""What a terminal shows of `import`, `performers`, `pipeline` and `quotas --cut`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from quotacast.engine.answer import Answer, Field
from quotacast.engine.reports.table import as_table
from quotacast.engine.reports.units import show
from quotacast.scenarios.lines import WIDTH, name, packed

#: Headings of the comparison, by metric.
_HEADS: Mapping[str, str] = {
    "bookings": "bookings_a month",
    "opportunities_created": "created_a month",
    "close_rate": "close_rate",
    "cycle_days": "days_to win",
    "deal_value": "deal_value",
    "margin": "margin",
}
#: So many quarters fit beside each other.
_QUARTERS = 6
#: Stages named on the line below the pipeline.
_STAGES = 6


def picked(answer: Answer, columns: Sequence[str], rows: pd.DataFrame | None = None) -> Answer:
    """The answer with some of its columns."""
    fields = {f.name: f for f in answer.fields}
    frame = answer.rows if rows is None else rows
    return replace(answer, rows=frame[list(columns)], fields=tuple(fields[c] for c in columns))


# -- import -------------------------------------------------------------------------------------------------


def import_lines(result: Any, out: Path) -> Iterator[str]:
    """`import`: which heading became which column, how many rows came through, and what follows."""
    used = result.matches[result.matches["column"] != ""]
    yield "Matched headings"
    for (file, table), rows in used.groupby(["file", "table"], sort=False):
        yield f"  {file} → {table}"
        yield from packed([f"{r.heading} → {r.column}" for r in rows.itertuples()], indent=4, width=78)
    unused = len(result.matches) - len(used)
    if unused:
        yield f"  {unused} headings have no use here"
    yield "\nRows           read   written  rejected"
    for row in result.counts.itertuples():
        yield f"{row.table:<14}{row.read:>6,}{row.written:>9,}{row.rejected:>10,}"
    for note in result.notes:
        yield f"Note: {note}"
    if len(result.rejected):
        yield f"Rejected rows and reasons: {out / 'rejected.csv'}"
    yield f"Next     {result.next_command}"


# -- performers ---------------------------------------------------------------------------------------------


def performers_text(answer: Answer, metrics: Sequence[str], width: int = WIDTH) -> str:
    """One row per rep; with chosen metrics the rows themselves, by quarter the quarters side by side."""
    if answer.name == "evenness":
        return as_table(answer, width=width)
    if answer.name == "lift":
        return as_table(_lifted(answer), width=width)
    if answer.summary["by_quarter"]:
        return as_table(_quarters(answer, metrics), width=width)
    if metrics:
        spare = ("scope", "period", "p_top", "reliability")
        columns = [f.name for f in answer.fields if f.name not in spare]
        return as_table(picked(answer, columns, _ranked_first(answer.rows)), width=width)
    parts = [as_table(_compared(answer), width=width)]
    if answer.summary["steadiness"]:
        parts.append(as_table(_steady(answer), width=width))
    return "\n\n".join(parts)


def _lifted(answer: Answer) -> Answer:
    rows = answer.rows
    columns = [f.name for f in answer.fields if f.name not in ("period", "p50")]
    return picked(answer, columns, rows[(rows["scope"] == "company") | (rows["metric"] == "bookings")])


def _ranked_first(rows: pd.DataFrame) -> pd.DataFrame:
    order = {m: k for k, m in enumerate(dict.fromkeys(rows["metric"]))}
    keyed = rows.assign(_metric=rows["metric"].map(order), _rank=rows["rank"].astype(float))
    return keyed.sort_values(["_metric", "_rank"], kind="stable").drop(columns=["_metric", "_rank"])


def _compared(answer: Answer) -> Answer:
    rows = answer.rows[answer.rows["metric"].isin(_HEADS)]
    wide = rows.pivot(index="scope_id", columns="metric", values="mean")
    first = rows[rows["metric"] == "bookings"].set_index("scope_id")
    table = pd.DataFrame({"rep": first.index, "rank": first["rank"].to_numpy()})
    table["likely_place"] = [
        _places(low, high) for low, high in zip(first["rank_low"], first["rank_high"], strict=True)
    ]
    fields = [Field("rep", "text", ""), Field("rank", "count", ""), Field("likely_place", "text", "")]
    for metric, head in _HEADS.items():
        if metric in wide:
            table[head] = wide[metric].reindex(first.index).to_numpy()
            fields.append(Field(head, answer.summary["metric_units"][metric], ""))
    table = table.sort_values("rank", kind="stable")
    return replace(answer, rows=table, fields=tuple(fields))


def _places(low: Any, high: Any) -> str:
    return "" if pd.isna(low) else f"{int(low)}" if low == high else f"{int(low)}–{int(high)}"


def _steady(answer: Answer) -> Answer:
    fields = (
        Field("rep", "text", ""),
        Field("weeks", "count", ""),
        Field("not_logged", "count", ""),
        Field("activities_a week", "count", ""),
        Field("unevenness", "ratio", ""),
        Field("by_chance up to", "ratio", ""),
        Field("prospecting", "ratio", ""),
        Field("closing", "ratio", ""),
    )
    shown = set(answer.rows["scope_id"])
    rows = [
        (
            s["rep"],
            s["weeks"],
            s["unobserved"],
            s["per_week"],
            s["unevenness"],
            s["floor"],
            s["prospecting"],
            None if s["prospecting"] is None else 1.0 - s["prospecting"],
        )
        for s in answer.summary["steadiness"]
        if s["rep"] in shown
    ]
    table = pd.DataFrame(rows, columns=[f.name for f in fields])
    words = (
        "Unevenness: how much weekly activity swings around its mean beyond chance; not logged: weeks in "
        "which deals moved and nothing was logged, which do not count. Prospecting is activity without an "
        "opportunity or before its creation, closing the rest."
    )
    return replace(answer, rows=table, fields=fields, words=words, provenance={})


def _quarters(answer: Answer, metrics: Sequence[str]) -> Answer:
    metric = metrics[0] if metrics else "bookings"
    rows = answer.rows[answer.rows["metric"] == metric]
    value = "actual" if rows["mean"].isna().all() else "mean"
    wide = rows.pivot(index="scope_id", columns="period", values=value)
    periods = list(wide.columns)[-_QUARTERS:]
    table = wide[periods].sort_values(periods[-1], ascending=metric == "cycle_days").reset_index(names="rep")
    unit = answer.summary["metric_units"][metric]
    fields = (Field("rep", "text", ""), *(Field(p, unit, "") for p in periods))
    what = (
        f"{metric} of every rep in each quarter, at equal conditions"
        if value == "mean"
        else f"{metric}, actual"
    )
    older = len(wide.columns) - len(periods)
    more = f" {older} earlier quarters: --format json or csv." if older else ""
    return replace(answer, rows=table, fields=fields, words=f"Shown: {what}.{more} {answer.words}")


# -- quotas --cut -------------------------------------------------------------------------------------------


def cut_view(answer: Answer, scopes: Sequence[str]) -> Answer:
    """`quotas --cut`: the scopes asked for, or company and the mean of all reps."""
    rows = answer.rows if scopes else _mean_rep(answer.rows)
    columns = ["scope", "scope_id", "metric", "period", "cut", "pieces", "target", "missed", "missed_at_par"]
    shown = picked(answer, columns, rows)
    skill = Field("skill", "ratio", "")
    rest = (
        ""
        if scopes
        else " rep:mean is the mean of all reps; teams and reps: --scope, --format json or --out."
    )
    return replace(
        shown,
        rows=shown.rows.assign(skill=rows["reliability"].to_numpy()),
        fields=(*shown.fields, skill),
        words=answer.words + rest,
    )


def _mean_rep(rows: pd.DataFrame) -> pd.DataFrame:
    reps = rows[rows["scope"] == "rep"]
    keys = ["set", "metric", "period", "cut"]
    mean = reps.groupby(keys, sort=False).mean(numeric_only=True).reset_index()
    mean["scope"], mean["scope_id"] = "rep", "mean"
    company = rows[rows["scope"] == "company"]
    parts = [part for part in (company, mean) if len(part)]
    return pd.concat([p[rows.columns] for p in parts], ignore_index=True) if parts else rows


# -- pipeline -----------------------------------------------------------------------------------------------


def pipeline_text(answer: Answer, scopes: Sequence[str], width: int = WIDTH) -> str:
    """`pipeline`: the company by age, or the scopes asked for; then the stages as they are today."""
    rows = answer.rows if scopes else answer.rows[answer.rows["scope"] == "company"]
    spare = {"opens", "aim", "create_by"} | ({"p_attain", "needed_money", "missing"} if scopes else set())
    if rows["target"].isna().all():
        spare |= {"target", "p_attain", "needed", "needed_money", "missing", "create"}
    columns = [f.name for f in answer.fields if f.name not in spare]
    left = (
        "" if scopes or len(rows) == len(answer.rows) else " Teams and reps: --scope, --format json or --out."
    )
    table = as_table(replace(picked(answer, columns, rows), words=answer.words + left), width=width)
    return "\n".join([table, *_stages(answer, width)])


def _stages(answer: Answer, width: int) -> Iterator[str]:
    stages = answer.summary["stages"]
    if not stages or [s["stage"] for s in stages] == ["(no stage)"]:
        return
    said = [f"{name(s['stage'])} {s['deals']:,} ({show(s['money'], 'money')})" for s in stages[:_STAGES]]
    more = len(stages) - _STAGES
    yield ""
    yield from packed([*said, *([f"{more} more stages"] if more > 0 else [])], label="Stages", width=width)
    coming = answer.summary["coming_stages"]
    for period in dict.fromkeys(row["period"] for row in coming):
        said = [f"{name(r['stage'])} {r['deals']:,.0f}" for r in coming if r["period"] == period]
        yield from packed([f"as of {period}: {said[0]}", *said[1:]], label="", width=width)
