"""Sections about the company: what the target means, what must be true for it, and what is in doubt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from quotacast.engine.answer import Answer, Field
from quotacast.engine.answers.curve import odds_curve, target_at
from quotacast.engine.answers.needed import needed
from quotacast.engine.backtest.origin_forecast import OURS
from quotacast.engine.metrics import METRICS, metric
from quotacast.engine.openbook import factor_needed
from quotacast.engine.reports.page import Section
from quotacast.engine.reports.units import show
from quotacast.engine.reports.words import money, money_range, number, percent, ratio
from quotacast.scenarios.pages.case import Case, apart, chance_words, middle
from quotacast.scenarios.pages.doubts import largest_doubts
from quotacast.scenarios.pipeline import aim_of
from quotacast.scenarios.screen import COMPANY, HEADLINE

#: Figures between activity and bookings, and what they are called.
ON_THE_WAY = {
    "opportunities_created": "new opportunities",
    "close_rate": "close rate",
    "cycle_days": "days to win",
    "deal_value": "mean deal",
    "deals_won": "deals won",
}
#: With more teams than this only those with the highest and the lowest odds are listed.
MOST_TEAMS = 6
#: What is commonly advised: 60 to 65 % of reps at or above quota (Alexander Group).
NORM = "60–65%"


def target(case: Case) -> Section | None:
    """The target with its odds, the bottom-up range, and the target that has the wished odds."""
    goal = case.goal(COMPANY)
    values = case.values(COMPANY, goal)
    low, half, high = middle(values.total)
    span = f"8 in 10 futures bring {money_range([low, high])}"
    lines: tuple[str, ...]
    if goal is None:
        lines = (f"No target is stated for the company. {span}; the middle is {money(half)}.", _parts(case))
        return Section(None, "What is to be expected", lines=lines)
    p = case.chance(goal)
    lines = (
        f"The target for {goal.period} is {money(goal.target, case.currency)}: {chance_words(p)}."
        if p is not None
        else f"The target for {goal.period} is {money(goal.target, case.currency)}. {_held(case)}",
        f"Bottom-up, {span}; the middle is {money(half)}, {apart(half, goal.target)} the target.",
        _parts(case),
        "" if p is None else _wished(case, goal.target, values.total),
    )
    if p is None:
        return Section(None, "The target and its odds", lines=lines)
    calendar, origin = case.run.plan.calendar, case.run.provenance()
    curve = odds_curve(case.paths, [goal], calendar, origin)
    return Section(curve, "The target and its odds", "curve", lines=lines, numbers="none")


def _held(case: Case) -> str:
    return f"Its odds are withheld: {case.withheld}."


def _parts(case: Case) -> str:
    """Of what the expected value is made."""
    values = case.values(COMPANY, case.goal(COMPANY))
    opened, new = (0.0 if part is None else float(part.mean()) for part in (values.open, values.new))
    done = f"{money(values.done)} is done, " if values.done else ""
    total = float(values.total.mean())
    return (
        f"Of {money(total)} expected on average, {done}{money(opened)} comes from deals that are open "
        f"today and {money(new)} from deals that nobody has created yet."
    )


def _wished(case: Case, target: float, total: np.ndarray) -> str:
    """The target that has the wished odds."""
    aim = aim_of(case.run, COMPANY)
    at = target_at(np.sort(total), total.size, aim, metric(HEADLINE))
    if at is None:
        return ""
    return f"For odds of {percent(aim)} the target would be {money(at)}, {apart(at, target)} today's."


def must_hold(case: Case) -> Section | None:
    """What the futures that reach the target have in common."""
    goal = case.goal(COMPANY)
    if goal is None or case.chance(goal) is None:
        return None
    period = case.run.plan.calendar.parse(goal.period)
    found = needed(case.paths, goal, tuple(ON_THE_WAY), period, case.run.provenance())
    heading = "What would have to be true"
    if found.rows.empty:
        return Section(None, heading, lines=(_factor(case), found.words))
    beside = (
        f"The {number(found.summary['reaching'])} futures that reach the target, beside all "
        f"{number(case.paths.draws)}:"
    )
    note = "This goes along with reaching the target; what causes it, the comparison cannot tell."
    return Section(_plainly(found), heading, None, note, (_factor(case), beside), "shown")


def _factor(case: Case) -> str:
    """By how much deals that are still to be created would have to bring more, for the wished odds."""
    goal = case.goal(COMPANY)
    values = case.values(COMPANY, goal)
    if goal is None or values.open is None or values.new is None:
        return ""
    aim = aim_of(case.run, COMPANY)
    fixed = values.certain + values.open
    factor = factor_needed(goal.target, fixed, values.new, aim)
    if not np.isfinite(factor) or factor <= 1.0:
        return ""
    return (
        f"For odds of {percent(aim)}, all that is still to be created would have to bring "
        f"{ratio(factor - 1.0)} more than expected."
    )


def _plainly(found: Answer) -> Answer:
    """The comparison with the names that people use."""
    known = found.summary["metric_units"]
    rows = [
        (
            ON_THE_WAY.get(row["metric"], row["metric"]),
            show(row["expected"], known[row["metric"]]),
            show(row["reaching"], known[row["metric"]]),
            "–" if pd.isna(row["change"]) else f"{row['change']:+.0%}",
        )
        for row in found.rows.to_dict("records")
    ]
    names = ("on average", "all futures", "reaching it", "difference")
    return replace(found, rows=pd.DataFrame(rows, columns=list(names)), fields=text_fields(names))


def text_fields(names: tuple[str, ...], texts: int = 1) -> tuple[Field, ...]:
    """Fields of a table whose cells are in words already: the first are texts, the others stand right."""
    return tuple(Field(name, "text" if at < texts else "score", "") for at, name in enumerate(names))


def teams(case: Case) -> Section | None:
    """Teams with their odds, the best first."""
    rows = case.main[case.main["scope"] == "team"]
    if rows.empty:
        return None
    rows = rows.sort_values(["p_attain", "scope_id"], ascending=[False, True])
    left = len(rows) - MOST_TEAMS
    if left > 0:
        rows = pd.concat([rows.head(MOST_TEAMS // 2), rows.tail(MOST_TEAMS // 2)])
    table = [
        (
            str(row["scope_id"]),
            money(row["target"]),
            money(row["p50"]),
            "withheld" if pd.isna(row["p_attain"]) else chance_words(float(row["p_attain"])),
        )
        for row in rows.to_dict("records")
    ]
    names = ("team", "quota", "middle", "odds")
    answer = replace(case.odds, rows=pd.DataFrame(table, columns=list(names)), fields=text_fields(names))
    note = f"{left} more teams lie between these." if left > 0 else None
    return Section(answer, f"Teams, {rows['period'].iloc[0]}", None, note, (), "shown")


def reps(case: Case) -> Section | None:
    """How many reps reach their quota at the same time, what that share means, and the cushion."""
    mine = case.main[case.main["scope"] == "rep"]
    if mine.empty or case.withheld:
        return None
    key = (mine["set"].iloc[0], HEADLINE, mine["period"].iloc[0])
    share = next(s for s in case.odds.summary["shares"] if (s["set"], s["metric"], s["period"]) == key)
    low, high, count = share["p10"], share["p90"], share["reps"]
    span = f"{low} to {high}" if low != high else f"{low}"
    likely = int((mine["p_attain"] >= 0.5).sum())
    lines = [
        f"{span} of {count} reps reach their quota in the same future (8 in 10 futures), on average "
        f"{number(share['mean'])}: a share of {percent(share['mean'] / count)}. Commonly advised: {NORM}.",
        f"For {likely} of them it is as likely as not or better.",
    ]
    goal = case.goal(COMPANY)
    if goal is not None and goal.period == key[2] and goal.target > 0:
        total = float(mine["target"].sum())
        lines.append(
            f"The reps' quotas add up to {money(total)}, {ratio(abs(total / goal.target - 1))} "
            f"{'above' if total >= goal.target else 'below'} the company's target (the cushion)."
        )
    note = "Share of reps attaining: reps at or above their own quota ÷ reps with a quota."
    return Section(None, "Reps", None, note, tuple(lines))


def doubts(case: Case) -> Section | None:
    """The three largest doubts, by how much of the expected bookings hangs on each."""
    lines = largest_doubts(case)
    return Section(None, "The largest doubts", lines=tuple(f"{k}. {x}" for k, x in enumerate(lines, 1)))


def record(case: Case) -> Section | None:
    """The track record in one sentence."""
    return Section(None, "Track record", lines=(record_sentence(case),))


def record_sentence(case: Case) -> str:
    """How forecasts made in the past turned out."""
    found = case.record
    if found is None:
        return (
            "There is none yet: these odds were not tested against the company's past (quotacast backtest)."
        )
    months = found.summary["origins"]
    ours = [
        m
        for m in found.summary["models"]
        if (m["scope"], m["component"], m["metric"], m["model"]) == ("company", "total", HEADLINE, OURS)
    ]
    held = sum(m["coverage_80"] * m["n"] for m in ours) / max(sum(m["n"] for m in ours), 1)
    calls = [
        v
        for v in found.summary["verdicts"]
        if v["scope"] == "company" and round(v["from"], 2) == 0.6 and round(v["to"], 2) == 0.8
    ]
    met, of = (sum(v[key] for v in calls) for key in ("met", "quotas"))
    text = (
        f"At {months} month ends of the past, told only what was known then, the ranges meant to hold 80% "
        f"held {held:.0%}"
    )
    return f"{text}, and targets called 60–80% likely were met {met} of {of} times." if of else f"{text}."


def known_metrics(case: Case, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the metrics that the data can answer."""
    return tuple(n for n in names if (n in METRICS or ":" in n) and not case.paths.able.reason(n))
