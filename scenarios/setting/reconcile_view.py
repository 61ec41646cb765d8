"""What a terminal shows of `reconcile` and of `quotas --fair`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from quotacast.engine.answer import Answer, Field
from quotacast.engine.answers.fairness import fairness_words
from quotacast.engine.answers.reconcile import levels_words
from quotacast.engine.metrics import metric
from quotacast.engine.reports.table import as_table
from quotacast.engine.reports.words import money, money_range, number, odds_words, percent
from quotacast.scenarios.answer_views import picked
from quotacast.scenarios.lines import packed

Options = Mapping[str, Any]
Facts = Mapping[str, Any]

_LABEL = 12


def reconciled_text(answer: Answer, options: Options, width: int) -> str:
    """Target and gap, what each level can promise, the verdict, the split, and the cushion's frontier."""
    columns = ["scope", "scope_id", "target", "p_attain", "p50", "gap_p50", "at_wished", "basis"]
    table = as_table(replace(picked(answer, columns), words="", summary=_units(answer)), width=width)
    return "\n".join(
        [
            *_head(answer, width),
            "",
            table,
            "",
            *_frontier(answer, width),
            "",
            *_set(answer.summary["set"], width),
        ]
    )


def _units(answer: Answer) -> Facts:
    return {**answer.summary, "metric": answer.rows["metric"].iloc[0]}


def _show(answer: Answer) -> Any:
    return money if metric(str(answer.rows["metric"].iloc[0])).unit == "money" else number


def _head(answer: Answer, width: int) -> Iterator[str]:
    facts, show, row = answer.summary, _show(answer), answer.rows.iloc[0]
    odds = f"{odds_words(facts['p_target'])} ({percent(facts['p_target'])})"
    yield f"Company {row['metric']} {row['period']}   target {show(facts['target'])}   {odds}"
    low = [facts[q] for q in ("p10", "p50", "p90")]
    span = money_range(low) if show is money else " – ".join(show(x) for x in low)
    gaps = [
        span,
        f"{_apart(facts['gap_p50'], show)} the middle",
        f"{_apart(facts['gap_wished'], show)} what holds with {percent(facts['wished']['company'])}",
    ]
    yield from packed(gaps, label="  ", indent=2, gap=" · ", width=width)
    yield from packed(levels_words(facts["levels"], show), label="Bottom-up", indent=_LABEL, width=width)
    yield from packed([facts["verdict"]], label="Verdict", indent=_LABEL, width=width)


def _apart(gap: float, show: Any) -> str:
    return f"{show(abs(gap))} {'above' if gap >= 0 else 'below'}"


def _frontier(answer: Answer, width: int) -> Iterator[str]:
    """The cushion in words, then what every cushion means."""
    facts = answer.summary["cushion"]
    yield from packed([facts["words"]], label="Cushion", indent=_LABEL, width=width)
    yield ""
    unit = "money" if _show(answer) is money else "count"
    fields = (
        Field("cushion", "ratio", ""),
        Field("sum_of_quotas", unit, ""),
        Field("median_rep", "probability", ""),
        Field("share_attaining", "probability", ""),
        Field("company_reaches it", "probability", ""),
        Field("teams_cover", "probability", ""),
        Field("reps_cover", "probability", ""),
    )
    keys = ("cushion", "sum_of_reps", "rep_odds_median", "share_attaining", "p_company",
            "p_covered_teams", "p_covered_reps")  # fmt: skip
    rows = [tuple(row[key] for key in keys) for row in facts["frontier"]]
    table = pd.DataFrame(rows, columns=[f.name for f in fields])
    words = (
        "Cushion: what reps' quotas add up to over the target. Teams and reps cover: odds that the target is "
        "reached counting each of them up to quota only."
    )
    yield as_table(replace(answer, rows=table, fields=fields, words=words, provenance={}), width=width)


def _set(facts: Facts, width: int) -> Iterator[str]:
    """The odds that belong together, what they pay, and how fair they are."""
    said = [
        f"{percent(facts['share_mean'])} of {facts['reps']} reps reach quota on average",
        f"{percent(facts['share_p10'])}–{percent(facts['share_p90'])} in 8 of 10 futures",
        "60–65% are commonly advised",
    ]
    yield from packed(said, label="Attaining", indent=_LABEL, width=width)
    if facts["p_company_if_norm"] is not None and facts["p_company_if_not"] is not None:
        text = (
            f"{percent(facts['p_company_if_norm'])} where at least 60% of reps reach quota (which has "
            f"{percent(facts['p_share_norm'])}), else {percent(facts['p_company_if_not'])}"
        )
        yield from packed([text], label="Company", indent=_LABEL, width=width)
    show = money if metric(facts["metric"]).unit == "money" else number
    middle = (
        f"average attainment of a rep {facts['average_attainment']:.0%}",
        f"realisation (all reps ÷ all quotas) {facts['realisation']:.0%}",
        f"cost of a miss {show(facts['shortfall_company'])} (company, mean)",
    )
    yield from packed(middle, label="Expected", indent=_LABEL, width=width)
    if pay := _pay(facts):
        yield from packed(pay, label="Pay", indent=_LABEL, width=width)
    yield from packed([fairness_words(facts["fairness"])], label="Fairness", indent=_LABEL, width=width)


def _pay(facts: Facts) -> list[str]:
    said = []
    if facts.get("payout") is not None:
        span = money_range([facts["payout_p10"], facts["payout_p50"], facts["payout_p90"]])
        said.append(f"commission {span}, at quota {money(facts['payout_at_quota'])}")
    if facts.get("quota_to_ote_median") is not None:
        low, middle, high = (facts[f"quota_to_ote_{k}"] for k in ("least", "median", "most"))
        said.append(f"quota ÷ on-target earnings {middle:.1f} ({low:.1f} to {high:.1f})")
    return said


# -- quotas --fair ------------------------------------------------------------------------------------------


def fair_text(answer: Answer, options: Options, width: int) -> str:
    """Every set as a whole, then its reps with the quotas of equal odds beside the stated ones."""
    parts: list[str] = []
    for facts in answer.summary["sets"]:
        head = f"{facts['set']} · {facts['metric']} · {facts['period']}"
        lines = [head, *_cushion_line(facts, width), *_set(facts, width)]
        if len(answer.summary["sets"]) == 1:
            lines += ["", _reps(answer, facts, width)]
        parts.append("\n".join(lines))
    if len(answer.summary["sets"]) > 1:
        parts.append("Reps beside the quotas of equal odds: with one set and period, or json and csv.")
    return "\n\n".join(parts) or "No set of quotas on a sum has reps in it."


def _cushion_line(facts: Facts, width: int) -> Iterator[str]:
    show = money if metric(facts["metric"]).unit == "money" else number
    target = "target" if facts["company_stated"] else "sum of reps, no target stated"
    said = [
        f"company {show(facts['company_target'])} ({target}) {percent(facts['p_company'])}",
        f"{facts['reps']} reps {show(facts['sum_of_reps'])} ({facts['cushion']:+.0%})",
    ]
    if facts["cushion_needed"] is not None:
        least = facts["cushion_needed"]
        needs = f"need a cushion of at least {least:.0%}" if least >= 0.005 else "need no cushion"
        safe = f"with {percent(facts['company_odds'])} the company may promise {show(facts['company_safe'])}"
        said.append(f"{safe}: these quotas {needs}")
    yield from packed(said, label="Together", indent=_LABEL, width=width)


def _reps(answer: Answer, facts: Facts, width: int) -> str:
    rows = answer.rows
    for key in ("set", "metric", "period"):
        rows = rows[rows[key] == facts[key]]
    columns: Sequence[str] = ["scope", "scope_id", "target", "p_attain", "fair_target", "attainment_mean",
                              "shortfall", "payout", "quota_to_ote"]  # fmt: skip
    columns = [c for c in columns if rows[c].notna().any()]
    return as_table(replace(picked(answer, columns, rows), words="", summary=_units(answer)), width=width)
