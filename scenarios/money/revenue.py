"""`quotacast revenue`: from a run to bookings, billings and recognised revenue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from difflib import get_close_matches
from typing import Any

from quotacast.engine.answer import Answer
from quotacast.engine.answers.revenue import revenue
from quotacast.engine.finance.kernel_close import MEASURES
from quotacast.engine.finance.revenue import revenue_paths
from quotacast.engine.reports.words import money
from quotacast.errors import PlanError
from quotacast.models.periods import Period
from quotacast.scenarios.drawsfile import check_paths, revenue_draws, written
from quotacast.scenarios.lines import packed
from quotacast.scenarios.money.cash import ledger_notes
from quotacast.scenarios.money.ledger import ledger_of
from quotacast.scenarios.money.terms import check_money
from quotacast.scenarios.run import Run

#: Kinds of period that are told.
KINDS = ("month", "quarter", "year")
#: Columns of the first table, in the order in which they leave where there is no room.
_HEADS = {
    "bookings": "Bookings", "billings": "Billings", "revenue": "Revenue", "gross_margin": "Margin",
    "backlog": "Backlog", "deferred": "Deferred", "unbilled": "Unbilled",
}  # fmt: skip
_PARTS = ("done", "signed", "open", "new", "renewal")


def revenue_answer(run: Run, options: Mapping[str, Any]) -> tuple[Answer, Sequence[str]]:
    """Bookings to revenue by month, quarter or year, and what must be said beside it.

    Raises
    ------
    PlanError
        With every metric and kind of period that is not told.
    """
    kind, metrics = options["by"] or "month", tuple(dict.fromkeys(options["metric"]))
    problems = [
        f"--metric {m}: wanted one of {', '.join(MEASURES)}{_near(m)}" for m in metrics if m not in MEASURES
    ]
    if kind not in KINDS:
        problems.append(f"--by {kind}: wanted one of {', '.join(KINDS)}")
    if problems:
        raise PlanError(problems)
    check_paths(options)
    check_money(run.plan)
    if options.get("since"):
        from quotacast.scenarios.deciding.bridging import since_answer

        return since_answer(run, options["since"])
    if "gross_margin" in metrics and (reason := run.able.reason("gross_margin")):
        raise PlanError(f"--metric gross_margin: cannot be answered: {reason}")
    ledger = ledger_of(run)
    paths = revenue_paths(ledger, whole_months(run, kind), told=lambda share: run.told("revenue", share))
    answer = revenue(
        paths,
        run.periods(kind),
        ledger.terms.recognise,
        run.history.currency,
        run.provenance(),
        options["quantiles"],
        metrics,
    )
    saved = written(revenue_draws(paths, run.periods(kind), metrics), options)
    return answer, (*saved, *ledger_notes(run, ledger, paid=False), *run.plan_notes)


def _near(metric: str) -> str:
    near = get_close_matches(metric, MEASURES, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def whole_months(run: Run, kind: str) -> tuple[Period, ...]:
    """Months of the period under way and of all that follow."""
    tomorrow = run.history.as_of_date + timedelta(days=1)
    first = run.plan.calendar.containing(tomorrow, kind).first
    return run.plan.calendar.periods("month", first, run.plan.horizon_period.last)


def revenue_text(answer: Answer, options: Mapping[str, Any], width: int) -> str:
    """Means by period; of revenue its quantiles and where it comes from; or the bridge."""
    if answer.name == "bridge":
        from quotacast.scenarios.deciding.bridging import bridge_text

        return bridge_text(answer, options, width)
    return "\n".join(_lines(answer, width))


def _lines(answer: Answer, width: int) -> Iterator[str]:
    rows, currency = answer.rows, answer.summary["currency"] or "currency not named"
    total = rows[rows["component"] == "total"].pivot(index="period", columns="metric", values="mean")
    periods, names = list(dict.fromkeys(rows["period"])), [m for m in _HEADS if m in total]
    names = names[: (width - 10) // 10]
    yield f"Means in {currency}; backlog and deferred revenue at the end of the period"
    yield f"{'Period':<10}" + "".join(f"{_HEADS[m]:>10}" for m in names)
    for period in periods:
        yield f"{period:<10}" + "".join(f"{money(float(total[m][period])):>10}" for m in names)
    main = "revenue" if "revenue" in set(rows["metric"]) else str(rows["metric"].iloc[0])
    yield ""
    yield from _main(rows[rows["metric"] == main], _HEADS[main], periods)
    yield ""
    yield from packed([answer.words], indent=0, width=width)


def _main(rows: Any, title: str, periods: Sequence[str]) -> Iterator[str]:
    percents = [c for c in rows.columns if c[0] == "p" and c[1:].replace(".", "").isdigit()][:3]
    parts = [p for p in _PARTS if (rows.loc[rows["component"] == p, "mean"] != 0).any()]
    heads = [*(p.upper() for p in percents), *(p.capitalize() for p in parts)]
    yield f"{title:<10}" + "".join(f"{h:>{9}}" for h in heads)
    for period in periods:
        one = rows[rows["period"] == period].set_index("component")
        cells = [float(one.at["total", p]) for p in percents]
        cells += [float(one.at[p, "mean"]) if p in one.index else 0.0 for p in parts]
        yield f"{period:<10}" + "".join(f"{money(c):>9}" for c in cells)
