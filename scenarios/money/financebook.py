"""What stands beside `cash` in finance's workbook: the chain, three futures, assumptions, data quality."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import pandas as pd
from pydantic import BaseModel

from quotacast.engine.answer import Answer, Field
from quotacast.engine.answers.cash_drivers import cash_drivers, heads
from quotacast.engine.answers.quality import data_quality
from quotacast.engine.answers.representative import representative
from quotacast.engine.answers.revenue import revenue
from quotacast.engine.finance.ledger import CashPaths
from quotacast.engine.finance.revenue import revenue_paths
from quotacast.scenarios.money.ledger import ledger_of
from quotacast.scenarios.money.revenue import whole_months
from quotacast.scenarios.run import Run

FIELDS = (
    Field("key", "text", "key in the plan; lists count from 1"),
    Field("name", "text", "name of the cell"),
    Field("value", "text", "what the plan says, or its default"),
    Field("effect", "text", "recomputes, or needs a new run, when it is changed; or a label"),
    Field("meaning", "text", "what it means"),
)
#: Effects of a changed input in the workbook.
LIVE, RERUN, LABEL = "recomputes here", "needs a new run", "label"
#: Keys of inputs that formulas follow: cash is proportional to them, or they are days of planned payments.
FOLLOWED = (
    r"cash\.(opening|floor)",
    r"cash\.out\.\d+\.(amount|on|every|until|kind|vat)",
    r"cash\.variable\.\d+\.(share|kind)",
    r"heads\..*",
)
#: Keys that formulas follow unless they are 0 in the run: nothing was simulated then that they are times.
PROPORTIONAL = r"cash\.vat|costs\.rep_month|costs\.hire|costs\.commission\.rate"
LABELS = r"currency|cash\.(out|variable)\.\d+\.name"
#: Inputs that have a cell although the plan leaves them open.
OPEN = r"cash\.out\.\d+\.(every|until)"
#: Settings of the plan that are no tables.
SETTINGS = {
    "as_of": "What was known on this evening counts.",
    "horizon": "The simulation runs to the end of this period.",
    "currency": "Planning currency.",
    "draws": "Simulated futures.",
    "seed": "The same data, plan and seed give the same numbers.",
}
TABLES = ("cash", "terms", "costs", "fx", "capacity", "aim", "people")


def with_book(answer: Answer, run: Run, paths: CashPaths, percents: Any) -> Answer:
    """Cash with all that its workbook tells beside it.

    Parameters
    ----------
    paths : CashPaths
        From which the answer was made.
    """
    ledger = ledger_of(run)
    chain = revenue_paths(ledger, whole_months(run, "month"), told=lambda share: run.told("revenue", share))
    months, origin = run.periods("month"), run.provenance()
    told = revenue(chain, months, ledger.terms.recognise, run.history.currency, origin, percents)
    futures = representative(paths, chain, [m.label for m in months], origin)
    by_cash = futures.rows[futures.rows["chosen_by"] == "cash"].drop_duplicates("path")
    draws = {str(p): int(d) for p, d in zip(by_cash["path"], by_cash["draw"], strict=True)}
    drivers = cash_drivers(ledger, paths, chain, draws, origin)
    beside = {
        "revenue": told,
        "paths": futures,
        "check": data_quality(run.history, origin),
        "assumptions": assumptions(run, heads(drivers)),
        "drivers": drivers,
    }
    return replace(answer, beside=beside)


def assumptions(run: Run, paid_for: Sequence[tuple[str, float]] = ()) -> Answer:
    """What the plan says about money, key by key, with defaults, and what a change of it does.

    Parameters
    ----------
    paid_for : sequence of (str, float)
        Reps by month.
    """
    plan = run.plan
    known = {"as_of": run.history.as_of_date, "currency": run.history.currency}
    rows = [
        {"key": key, "value": known.get(key, getattr(plan, key)), "meaning": meaning}
        for key, meaning in SETTINGS.items()
    ]
    for name in TABLES:
        table = getattr(plan, name)
        rows += [] if table is None else list(_each(name, table))
    meaning = "Reps paid for this month, on average; it moves pay, not what they sell."
    rows += [{"key": f"heads.{month}", "value": count, "meaning": meaning} for month, count in paid_for]
    seen: set[str] = set()
    # what is paid on renewals is in the line as well, and not times the rate
    mixed = {"costs.commission.rate"} if _on_renewals(run) else set()
    for row in rows:
        row["name"] = _cell_name(str(row["key"]), seen)
        row["effect"] = RERUN if row["key"] in mixed else _effect(str(row["key"]), row["value"])
    frame = pd.DataFrame(rows, columns=[f.name for f in FIELDS], dtype=object)
    words = "Inputs of the plan. Receivables, payment delays and odds of winning are learned from the data."
    return Answer("assumptions", frame, FIELDS, words, {}, run.provenance())


def _on_renewals(run: Run) -> bool:
    """Whether commission is paid on terms that are signed anew."""
    commission = None if run.plan.costs is None else run.plan.costs.commission
    return commission is not None and commission.renewals > 0.0


def _effect(key: str, value: Any) -> str:
    """What a change of an input does in the workbook."""
    if re.fullmatch(LABELS, key):
        return LABEL
    if key == "cash.opening" and value is None:
        return RERUN
    live = any(re.fullmatch(one, key) for one in FOLLOWED) or (re.fullmatch(PROPORTIONAL, key) and value)
    return LIVE if live else RERUN


def _each(path: str, value: Any, meaning: str = "") -> Iterator[dict[str, Any]]:
    """Every scalar of a table with its path."""
    if isinstance(value, BaseModel):
        for name, info in type(value).model_fields.items():
            key = f"{path}.{info.alias or name}"
            yield from _each(key, getattr(value, name), info.description or "")
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _each(f"{path}.{name}", inner, meaning)
    elif isinstance(value, (list, tuple)):
        for number, inner in enumerate(value, 1):
            yield from _each(f"{path}.{number}", inner, meaning)
    elif isinstance(value, (str, bool, int, float, date)) or re.fullmatch(OPEN, path):
        yield {"key": path, "value": value, "meaning": meaning}


def _cell_name(key: str, seen: set[str]) -> str:
    """A name that spreadsheets accept and that is there once."""
    safe = re.sub(r"[^A-Za-z0-9_]", "_", key)
    name = safe if "_" in safe else f"plan_{safe}"
    while name.lower() in seen:
        name += "_"
    seen.add(name.lower())
    return name
