"""Sections for finance and for lenders: money by month, its floor, the downside, and how far to trust it.

All lie across the sheet: printing browsers fill only the first column where columns go on to a second page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from quotacast.engine.answer import Answer
from quotacast.engine.answers.cash import LINE_NAMES
from quotacast.engine.backtest.origin_forecast import OURS
from quotacast.engine.reports.fan import short
from quotacast.engine.reports.page import Section
from quotacast.engine.reports.words import money, money_range, percent, ratio
from quotacast.scenarios.money.cash_view import CONTRACTED, PAYMENTS, SPECULATIVE
from quotacast.scenarios.pages.case import Case
from quotacast.scenarios.pages.sections import record_sentence, text_fields
from quotacast.scenarios.screen import HEADLINE

#: Horizons of the record, in words.
HORIZONS = {
    "m1": "next month",
    "m2": "second month",
    "m3": "third month",
    "rq": "rest of the quarter",
    "q1": "next quarter",
    "w13": "next 13 weeks",
    "y1": "next year",
}
#: What the shares of the variance are about.
CLOCKS = {
    "signing": "which deals are signed, when and for how much",
    "invoicing": "when they are invoiced and renewed",
    "payment": "when customers pay",
}
#: How deals are invoiced, in words.
BILLED = {"at_close": "at close", "milestones": "by milestones"}


def top(case: Case) -> tuple[str, list[tuple[str, str]]]:
    """Headline and figures of the sheet."""
    told, currency = case.cash.summary, case.currency
    rows = _cash(case, "closing")
    last = rows.iloc[-1]
    spread = money_range([last["p10"], last["p50"], last["p90"]])
    said = [(f"Cash at the end of {short(last['period'])}: low – middle – high", spread)]
    if told["relative"]:
        return f"Cash as a change since {case.run.history.as_of_date:%d %B %Y}: no opening is stated", said
    today = case.run.history.as_of_date
    said = [(f"Cash on {today.day} {today:%b %Y}", money(told["opening"])), *said]
    said.insert(1, ("Floor", money(told["floor"])))
    said.append(("Credit line for 95% safety", money(told["credit_line"])))
    odds = percent(told["p_below"])
    return f"Cash falls below the floor of {money(told['floor'], currency)} in {odds} of futures", said


def _cash(case: Case, *lines: str, kind: str = "month") -> pd.DataFrame:
    rows = case.cash.rows
    return rows[(rows["kind"] == kind) & rows["line"].isin(lines)]


def _by_period(rows: pd.DataFrame) -> dict[str, float]:
    return {str(k): float(v) for k, v in rows.groupby("period", sort=False)["mean"].sum().items()}


def _chain(case: Case, metric: str, *components: str) -> dict[str, float]:
    rows = case.cash.beside["revenue"].rows
    return _by_period(rows[(rows["metric"] == metric) & rows["component"].isin(components)])


def _worded(case: Case, names: Sequence[str], rows: Sequence[Sequence[str]]) -> Answer:
    """A table whose cells are in words already."""
    frame = pd.DataFrame([tuple(row) for row in rows], columns=list(names))
    return replace(case.cash, rows=frame, fields=text_fields(tuple(names)))


def forecast(case: Case) -> Section:
    """Bookings to cash by month: means, and the range of the balance."""
    closing = _cash(case, "closing")
    received = _by_period(_cash(case, *LINE_NAMES.values()))
    paid = _by_period(_cash(case, "net"))
    chain = {name: _chain(case, name, "total") for name in ("bookings", "billings", "revenue")}
    rows = [
        (
            short(row["period"]),
            *(money(chain[name].get(row["period"])) for name in chain),
            money(received[row["period"]]),
            money(received[row["period"]] - paid[row["period"]]),
            money(row["p10"]), money(row["p50"]), money(row["p90"]),
            "–" if pd.isna(row["p_below"]) else percent(row["p_below"]),
        )
        for row in closing.to_dict("records")
    ]  # fmt: skip
    sums = [sum(values.values()) for values in chain.values()]
    sums += [sum(received.values()), sum(received.values()) - sum(paid.values())]
    rows.append(("sum", *map(money, sums), "", "", "", ""))
    names = (
        "month", *chain, "receipts", "payments", "cash low", "middle", "high", "below floor",
    )  # fmt: skip
    note = (
        "Means, but for cash at the month's end: 1 in 10 futures end below low, 1 in 10 above high. "
        "Receipts hold VAT, bookings to revenue do not. Below floor: on some evening of the month."
    )
    lines = (f"What the simulated futures bring on average, in {case.currency}.",)
    return Section(_worded(case, names, rows), "The forecast", None, note, lines, "shown", wide=True)


def floor(case: Case) -> Section:
    """When the floor is in danger, and the credit line that keeps the company above it."""
    told = case.cash.summary
    heading, months = "The floor", replace(case.cash, rows=_cash(case, "closing"))
    if told["relative"]:
        none = ("The plan states no opening balance, so that no floor can be judged.",)
        return Section(months, heading, "cash", lines=none, numbers="none", wide=True)
    weeks = _cash(case, "closing", kind="week")
    worst = weeks.iloc[int(weeks["p_below"].to_numpy().argmax())] if len(weeks) else None
    months_odds = months.rows["p_below"].to_numpy(dtype=float)
    most = int(months_odds.argmax())
    lines = [
        f"{percent(told['p_below'])} of futures fall below it on some evening to "
        f"{short(months.rows['period'].iloc[-1])}; of a single month the odds are highest in "
        f"{short(months.rows['period'].iloc[most])}, {percent(months_odds[most])}. "
        f"By week or month they are {_firsts(told['alerts'])}."
    ]
    if worst is not None:
        lines.append(
            f"In the weeks to {worst_day(weeks)} the odds of falling below it are at most "
            f"{percent(worst['p_below'])}."
        )
    need, weeks_need = told["credit_line"], told["credit_line_13_weeks"]
    lines.append(
        f"A credit line of {money(need)} keeps the balance above the floor to the horizon in "
        f"{told['safety']:.0%} of futures; for the weeks alone it is {money(weeks_need)}."
        if need
        else f"No credit line is needed to stay above the floor in {told['safety']:.0%} of futures."
    )
    return Section(months, heading, "cash", lines=tuple(lines), numbers="none", wide=True)


def worst_day(weeks: pd.DataFrame) -> str:
    """The last day of the short view."""
    day = weeks["last"].iloc[-1]
    return f"{day.day} {day:%B %Y}"


def _firsts(alerts: Sequence[Mapping[str, Any]]) -> str:
    """When the odds of falling below first exceed each level."""
    when = [(a["odds"], f"week {a['week']}" if a["week"] else short(a["month"]) if a["month"] else "")
            for a in alerts]  # fmt: skip
    said = [f"above {odds:.0%} first in {at}" for odds, at in when if at]
    never = [odds for odds, at in when if not at]
    return ", ".join([*said, *([f"never above {min(never):.0%}"] if never else [])])


def downside(case: Case) -> Section:
    """One future in ten is worse: what it brings by quarter, and what drives it."""
    paths = case.cash.beside["paths"].rows
    one = paths[(paths["chosen_by"] == "cash") & (paths["path"] == "p10") & (paths["kind"] == "month")]
    bookings, base = _sum(one, "bookings"), sum(_chain(case, "bookings", "total").values())
    received = sum(_sum(one, line) for line in (*CONTRACTED, *SPECULATIVE))
    expected = sum(_by_period(_cash(case, *CONTRACTED, *SPECULATIVE)).values())
    closing = one[one["metric"] == "closing"]
    least = closing.iloc[int(closing["value"].to_numpy().argmin())]
    lines = [
        f"One future in ten ends with less cash than this one: bookings {money(bookings)} "
        f"({_against(bookings, base)}), receipts {money(received)} ({_against(received, expected)}), lowest "
        f"month end {money(least['value'])} in {short(least['period'])}, at the end "
        f"{money(closing['value'].iloc[-1])}.",
    ]
    for label, parts in case.cash.summary["drivers"].items():
        said = ", ".join(f"{percent(share)} {CLOCKS[name]}" for name, share in parts.items())
        weeks = _cash(case, "closing", kind="week")
        when = f"on {worst_day(weeks)}" if "-W" in label else f"at the end of {short(label)}"
        lines.append(f"Why cash {when} is uncertain: {said}.")
    note = (
        f"Future {int(one['draw'].iloc[0])} of the simulation, a single one so that its lines add up; mean "
        "is of all futures, least over floor of month ends, shares are of the variance."
    )
    table = _downside_table(case, one)
    return Section(table, "The downside case", None, note, tuple(lines), "shown", wide=True)


def _downside_table(case: Case, one: pd.DataFrame) -> Answer:
    """Receipts, payments and closing cash by quarter: of the downside, and on average."""
    receipts = set(LINE_NAMES.values())
    worse = {
        "in": one[one["metric"].isin(receipts)].groupby("period", sort=False)["value"].sum(),
        "out": one[one["metric"].isin(PAYMENTS)].groupby("period", sort=False)["value"].sum(),
        "end": one[one["metric"] == "closing"].set_index("period")["value"],
    }
    mean = {"in": _by_period(_cash(case, *receipts)), "out": _by_period(_cash(case, *PAYMENTS))}
    end, limit = _by_period(_cash(case, "closing")), case.cash.summary["floor"]
    rows = []
    for quarter, months in _quarters(case, list(end)).items():
        cells = [sum(float(x[m]) for m in months) for x in (worse["in"], mean["in"])]
        cells += [-sum(float(x[m]) for m in months) for x in (worse["out"], mean["out"])]
        closing = float(worse["end"][months[-1]])
        cells += [closing, end[months[-1]]]
        over = () if limit is None else (money(min(float(worse["end"][m]) for m in months) - limit),)
        rows.append((short(quarter).replace(" ", "\u00a0"), *map(money, cells), *over))
    names = ["quarter", "receipts", "mean", "payments", "mean ", "cash at end", "mean  "]
    names += [] if limit is None else ["least over floor"]
    return _worded(case, names, rows)


def _sum(rows: pd.DataFrame, metric: str) -> float:
    return float(rows.loc[rows["metric"] == metric, "value"].sum())


def _against(value: float, base: float) -> str:
    return "–" if not base else f"{value / base - 1:+.0%} against the mean".replace("-", "−")


def contracted(case: Case) -> Section:
    """What is signed, and what is hoped for; never in one line."""
    signed, hoped = (_by_period(_cash(case, *lines)) for lines in (CONTRACTED, SPECULATIVE))
    earned = _chain(case, "revenue", "done", "signed")
    later = _chain(case, "revenue", "open", "new", "renewal")
    rows = [
        (
            short(quarter).replace(" ", "\u00a0"),
            *(money(sum(values.get(m, 0.0) for m in months)) for values in (signed, hoped, earned, later)),
        )
        for quarter, months in _quarters(case, list(signed)).items()
    ]
    total = sum(signed.values()) + sum(hoped.values())
    share = sum(signed.values()) / total if total else 0.0
    lines = (
        f"{ratio(share)} of the receipts to the horizon come from invoices and deals that are signed today; "
        "the rest is from deals that are open, new or renewed.",
    )
    note = "Signed is contracted, not signed is speculative: open deals, new business and renewals."
    names = ("quarter", "receipts signed", "receipts not signed", "revenue signed", "revenue not signed")
    return Section(
        _worded(case, names, rows), "Contracted and speculative", None, note, lines, "shown", wide=True
    )


def _quarters(case: Case, months: Sequence[str]) -> dict[str, list[str]]:
    calendar = case.run.plan.calendar
    out: dict[str, list[str]] = {}
    for month in months:
        quarter = calendar.containing(calendar.parse(month).last, "quarter").label
        out.setdefault(quarter, []).append(month)
    return out


def record(case: Case) -> Section:
    """How past forecasts turned out, the losses included."""
    found, receipts = case.record, case.cash.summary["record"]
    said = _receipts_lines(receipts)
    if found is None:
        none = record_sentence(case).replace("There is none", "Of bookings there is none", 1)
        return Section(None, "Track record", lines=(none, *said), wide=True)
    ours = [
        m
        for m in found.summary["models"]
        if (m["scope"], m["component"], m["metric"], m["model"]) == ("company", "total", HEADLINE, OURS)
    ]
    rows = [
        (
            HORIZONS.get(m["horizon"], m["horizon"]),
            str(m["n"]),
            percent(m["coverage_80"]),
            _skill(m["skill"]),
            str(m["best_baseline"] or "–").replace("_", " "),
        )
        for m in sorted(ours, key=lambda m: list(HORIZONS).index(m["horizon"]))
    ]
    lost = [m for m in ours if m["skill"] is not None and m["skill"] < 0]
    lines = (
        record_sentence(case),
        f"Against the best simple method for each horizon, chosen afterwards, it lost in {len(lost)} of "
        f"{len(ours)} comparisons.",
        f"Odds on bookings are withheld ({case.withheld}): what stands here rests on the same futures."
        if case.withheld
        else "",
        *said,
    )
    note = "Errors: mean CRPS against the simple method's, chosen afterwards; losses are shown."
    names = ("bookings of", "origins", "80% held", "errors", "best simple method")
    return Section(_worded(case, names, rows), "Track record", None, note, lines, "shown", wide=True)


def _receipts_lines(told: Mapping[str, Any]) -> list[str]:
    """How receipts forecast in the past turned out."""
    line = str(told["line"])
    lines = [f"{line[0].upper()}{line[1:]}."]
    parts = [
        f"{HORIZONS[one['horizon']]} {round(one['coverage_80'] * one['n'])} of {one['n']}, errors "
        f"{_skill(one['skill'])} than {one['against'] or 'any'}"
        for one in told["horizons"]
    ]
    return [*lines, f"By horizon, 80% ranges held: {'; '.join(parts)}."] if parts else lines


def _skill(skill: float | None) -> str:
    if skill is None or skill != skill:
        return "–"
    return "the same" if abs(skill) < 0.005 else f"{abs(skill):.0%} {'less' if skill >= 0 else 'more'}"


def terms(case: Case) -> Section:
    """What is assumed, in plain words."""
    plan, told = case.run.plan, case.cash.beside["revenue"].words
    stated = plan.terms
    lines = ["The plan states no terms: deals are invoiced at close and due in 30 days."]
    if stated is not None:
        renewed = f" Terms are renewed with odds of {percent(stated.renewal)}." if stated.renewal else ""
        billed = BILLED.get(stated.bill, f"{stated.bill}, in advance")
        lines = [f"Deals are invoiced {billed}, due in {stated.due_days} days.{renewed}"]
    lines.append(f"Planning simplification: {told.split('.')[0].replace(', a planning simplification', '')}.")
    if plan.cash is not None:
        often = [f"{o.name} {money(o.amount)}{f' a {o.every}' if o.every else ''}" for o in plan.cash.out]
        often += [f"{v.name} {percent(v.share)} of {v.of}" for v in plan.cash.variable]
        lines.append(f"VAT {percent(plan.cash.vat)}. Payments: {'; '.join(often) or 'none stated'}.")
    if plan.costs is not None:
        lines.append(f"Reps cost {money(plan.costs.rep_month)} a month each, and commission.")
    lines.append(_debt(case))
    lines.append(f"Payment behaviour is {_payments(case)}; {_open(case)} of invoices are open.")
    return Section(None, "Assumptions and terms", lines=tuple(lines), wide=True)


def _debt(case: Case) -> str:
    """Debt service of the plan, and how far cash before it goes."""
    debt = -sum(_by_period(_cash(case, "debt")).values())
    if debt <= 0:
        return "The plan states no debt service."
    before = sum(_by_period(_cash(case, "net")).values()) + debt
    return (
        f"Debt service to the horizon is {money(debt)}; net cash flow before it is {money(before)} on "
        f"average, {before / debt:.1f} times as much."
    )


def _payments(case: Case) -> str:
    basis = str(case.cash.summary.get("payments", ""))
    return "learned from the invoices" if basis == "invoices" else "assumed, not learned"


def _open(case: Case) -> str:
    return money(case.cash.summary.get("open_invoices"), case.currency)


def origin(case: Case) -> Section:
    """From which data the figures come, and what was wrong with them."""
    quality = case.cash.beside["check"]
    words = f"{quality.words} What the checks found ({len(quality.rows)}): quotacast check."
    again = "The same data, plan and seed give the same figures: quotacast cash PLAN --out forecast.xlsx."
    return Section(None, "Where the figures come from", lines=(words, again), wide=True)
