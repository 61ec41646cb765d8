"""What a terminal shows of a comparison: one block for every scenario."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from quotacast.engine.answer import Answer
from quotacast.engine.reports.table import scope_label
from quotacast.engine.reports.units import cut, show
from quotacast.engine.reports.words import MISSING
from quotacast.scenarios.deciding.net import NET
from quotacast.scenarios.lines import name, packed

#: Columns of the name, and of the numbers after it.
_NAME, _NUMBER = 30, 9
_PART_NAMES = {
    "gross_margin": "margin",
    "bookings": "bookings",
    "rep_months": "reps' months",
    "hires": "hires",
    "commission": "commission",
    "changes": "cost of changes",
}


def compare_text(answer: Answer, options: Mapping[str, Any], width: int = 80) -> str:
    """Company and teams (or what was asked for), the quotas of the company, and what each scenario costs."""
    return "\n".join(_lines(answer, options, width))


def _lines(answer: Answer, options: Mapping[str, Any], width: int) -> Iterator[str]:
    rows, asked = answer.rows, bool(options.get("scope"))
    shown = rows if asked else rows[rows["scope"] != "rep"]
    quotas = shown[shown["set"] != ""]
    if not asked:
        quotas = quotas[quotas["scope"] == "company"]
    metrics = shown.loc[(shown["set"] == "") & (shown["metric"] != NET), "metric"].unique()
    quotas = quotas[quotas["metric"].isin(options.get("metric") or metrics)]
    shown = shown[(shown["set"] == "") & (shown["metric"] != NET)]
    if not options.get("metric"):
        shown = telling(shown)
    for scenario in answer.summary["scenarios"]:
        yield from _block(answer, scenario, shown[shown["scenario"] == scenario], width)
        yield from _quota_lines(answer, quotas[quotas["scenario"] == scenario])
        yield from _net_lines(answer, scenario, width)
        yield ""
    yield from packed([answer.words], indent=0, width=width)
    left = len(rows) - len(shown) - len(quotas) - len(answer.summary["scenarios"])
    if left:
        yield from packed(
            [f"{left:,} more rows: --scope rep, --metric, --format json or --out."], indent=0, width=width
        )


def telling(rows: pd.DataFrame) -> pd.DataFrame:
    """Without a choice: of teams and reps bookings only, and no revenue where it is the same as bookings."""
    keys = ["scope", "scope_id", "scenario", "period"]
    wide = rows.pivot_table(index=keys, columns="metric", values="mean", sort=False)
    same = {"revenue", "bookings"} <= set(wide.columns) and wide["revenue"].equals(wide["bookings"])
    kept = rows[rows["metric"] != "revenue"] if same else rows
    return kept[(kept["scope"] == "company") | (kept["metric"] == "bookings")]


def _block(answer: Answer, scenario: str, rows: pd.DataFrame, width: int) -> Iterator[str]:
    facts, against = answer.provenance, answer.summary["against"]
    head = [f"{name(scenario)} against {name(against)}", f"the same {answer.summary['draws']:,} futures"]
    yield from packed([*head, str(facts.get("currency") or "")], indent=0, width=width)
    inner = [f.name for f in answer.fields if f.name[0] == "p" and f.name[1:2].isdigit()]
    low, high = inner[0], inner[-1]
    ends = f"{low} to {high} of it"
    yield _columns("", [_head(against, "before"), _head(scenario, "then"), "change"], ends)
    yield from _metric_lines(answer, rows, (low, high), width)


def _metric_lines(answer: Answer, rows: pd.DataFrame, ends: tuple[str, str], width: int) -> Iterator[str]:
    several = rows["period"].nunique() > 1
    for (kind, own), group in rows.groupby(["scope", "scope_id"], sort=False):
        yield cut(name(scope_label(str(kind), str(own)), width), width)
        for row in group.to_dict("records"):
            label = f"  {row['metric']}" + (f" {row['period']}" if several else "")
            unit = answer.summary["metric_units"].get(row["metric"], "score")
            numbers = [show(row["mean_against"], unit), show(row["mean"], unit), signed(row["diff"], unit)]
            yield _columns(label, numbers, " to ".join(signed(row[end], unit) for end in ends))


def _head(side: str, otherwise: str) -> str:
    """A side's name over its column, where it has room."""
    return side if side == name(side, _NUMBER - 1) else otherwise


def _columns(label: str, numbers: Sequence[str], last: str) -> str:
    text = f"{cut(label, _NAME):<{_NAME}}" + "".join(f"{number:>{_NUMBER}}" for number in numbers)
    return f"{text}  {cut(last, 21):>21}".rstrip()


def signed(value: Any, unit: str) -> str:
    """A difference with its sign; 0 where there is none."""
    if value is None or value != value:
        return MISSING
    if value == 0:
        return "0"
    text = show(abs(value), unit)
    return f"{'+' if value > 0 else '-'}{text}"


def points(value: float) -> str:
    """A difference of odds in percentage points: ``+5``, ``-0.4``."""
    shown = 100 * value
    if shown == 0:
        return "0"
    return f"{shown:+.0f}" if abs(shown) >= 1 else f"{shown:+.1f}"


def _quota_lines(answer: Answer, rows: pd.DataFrame) -> Iterator[str]:
    if rows.empty:
        return
    yield _columns("odds of quotas", ["target", "odds", "then"], "change, points")
    scopes = rows["scope"].nunique() + rows["scope_id"].nunique() > 2
    periods = rows["period"].nunique() > 1
    for row in rows.to_dict("records"):
        scope = f"{scope_label(row['scope'], row['scope_id'])} " if scopes else ""
        unit = answer.summary["metric_units"].get(row["metric"], "score")
        more = f" {row['period']}" if periods else ""
        more += "" if row["set"] == "base" else f" ({name(row['set'], 14)})"
        label = f"  {cut(scope + row['metric'], _NAME - 2 - len(more))}{more}"
        numbers = [
            show(row["target"], unit),
            *(show(row[p], "probability") for p in ("p_against", "p_attain")),
        ]
        last = f"{points(row['p_diff'])} ± {100 * row['p_diff_se']:.1f}"
        if row["target"] != row["target_against"]:
            last = f"{last}, was {show(row['target_against'], unit)}"
        yield _columns(label, numbers, last)


def has_costs(answer: Answer, scenario: str) -> bool:
    """Whether anything is taken off: with no cost at all a net figure would pass for a gain."""
    parts = answer.summary["net"]["parts"][scenario]
    return any(parts.get(key) for key in set(_PART_NAMES) - {answer.summary["net"]["income"]})


def net_words(answer: Answer, scenario: str) -> list[str]:
    """The net figure in a sentence; none without costs."""
    if not has_costs(answer, scenario):
        return []
    parts, income = answer.summary["net"]["parts"][scenario], answer.summary["net"]["income"]
    row = answer.rows[(answer.rows["metric"] == NET) & (answer.rows["scenario"] == scenario)].iloc[0]
    said = [
        f"{_PART_NAMES[key]} {signed(value if key == income else -value, 'money')}"
        for key, value in parts.items()
        if key in _PART_NAMES and value
    ]
    net = f"{scenario}: {', '.join(said)}, net {signed(row['diff'], 'money')} (above 0 in "
    return [net + f"{show(parts['p_positive'], 'probability')} of futures)."]


def _net_lines(answer: Answer, scenario: str, width: int) -> Iterator[str]:
    parts = answer.summary["net"]["parts"][scenario]
    rows = answer.rows[(answer.rows["metric"] == NET) & (answer.rows["scenario"] == scenario)]
    row = rows.to_dict("records")[0]
    said = [
        f"{_PART_NAMES[key]} {signed(value if key == answer.summary['net']['income'] else -value, 'money')}"
        for key, value in parts.items()
        if key in _PART_NAMES and value
    ]
    net = f"net {signed(row['diff'], 'money')}"
    if row["diff"]:
        net += f" (above 0 in {show(parts['p_positive'], 'probability')} of futures)"
    if not answer.summary["net"]["stated"]:
        said.append("the plan states no [costs]")
    said.append(net if has_costs(answer, scenario) else "so there is no net figure")
    if parts.get("commission") and "accelerator" in answer.summary["net"]["commission"]:
        said.append(f"commission: {answer.summary['net']['commission']}")
    yield from packed(said, label="Net      ", width=width)
    if unmoved := _if_nothing(answer, scenario):
        yield from packed([unmoved], label="Doubt    ", width=width)
    if version := answer.summary["approved"].get(scenario):
        yield from packed(_signed(answer, version), label="Approved ", width=width)
    if answer.summary["net"]["income"] != "gross_margin":
        yield from packed(["no margin is known: bookings stand in for it"], label="", width=width)


def _if_nothing(answer: Answer, scenario: str) -> str:
    """What becomes of the bookings if more activity causes none."""
    rows = [
        r for r in answer.summary["without_effect"] if r["scenario"] == scenario and r["metric"] == "bookings"
    ]
    if not rows:
        return ""
    diff = signed(rows[0]["diff"], "money")
    return f"association: if activity causes no new business, bookings change by {diff}"


def _signed(answer: Answer, version: Mapping[str, Any]) -> Iterator[str]:
    """Who approved a version, when, and the company's odds as they were then."""
    yield f"{version['on']} by {name(version['by'])}"
    facts = answer.provenance
    if any(version[key] != facts.get(key) for key in ("as_of", "data_fingerprint")):
        yield f"on what was known on {version['as_of']}; above it is on today's data and futures"
    for row in version["odds"]:
        if (row["set"], row["metric"], row["period"]) == ("base", "bookings", facts.get("horizon")):
            yield f"{row['metric']} {row['period']}: odds then {show(row['p_attain'], 'probability')}"
