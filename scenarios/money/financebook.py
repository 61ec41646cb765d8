"""What stands beside `cash` in finance's workbook: the chain, three futures, assumptions, data quality."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from typing import Any

import pandas as pd
from pydantic import BaseModel

from quotacast.engine.answer import Answer, Field
from quotacast.engine.answers.quality import data_quality
from quotacast.engine.answers.representative import representative
from quotacast.engine.answers.revenue import revenue
from quotacast.engine.finance.ledger import CashPaths
from quotacast.engine.finance.revenue import revenue_paths
from quotacast.scenarios.money.ledger import ledger_of
from quotacast.scenarios.money.revenue import told_periods, whole_months
from quotacast.scenarios.run import Run

FIELDS = (
    Field("key", "text", "key in the plan; lists count from 1"),
    Field("name", "text", "name of the cell"),
    Field("value", "text", "what the plan says, or its default"),
    Field("meaning", "text", "what it means"),
)
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
    months, origin = told_periods(run, "month"), run.provenance()
    told = revenue(chain, months, ledger.terms.recognise, run.history.currency, origin, percents)
    beside = {
        "revenue": told,
        "paths": representative(paths, chain, [m.label for m in months], origin),
        "check": data_quality(run.history, origin),
        "assumptions": assumptions(run),
    }
    return replace(answer, beside=beside)


def assumptions(run: Run) -> Answer:
    """What the plan says about money, key by key, with defaults."""
    plan = run.plan
    known = {"as_of": run.history.as_of_date, "currency": run.history.currency}
    rows = [
        {"key": key, "value": known.get(key, getattr(plan, key)), "meaning": meaning}
        for key, meaning in SETTINGS.items()
    ]
    for name in TABLES:
        table = getattr(plan, name)
        rows += [] if table is None else list(_each(name, table))
    seen: set[str] = set()
    for row in rows:
        row["name"] = _cell_name(str(row["key"]), seen)
    frame = pd.DataFrame(rows, columns=[f.name for f in FIELDS], dtype=object)
    words = "Inputs of the plan. Receivables, payment delays and odds of winning are learned from the data."
    return Answer("assumptions", frame, FIELDS, words, {}, run.provenance())


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
    elif isinstance(value, (str, bool, int, float, date)):
        yield {"key": path, "value": value, "meaning": meaning}


def _cell_name(key: str, seen: set[str]) -> str:
    """A name that spreadsheets accept and that is there once."""
    safe = re.sub(r"[^A-Za-z0-9_]", "_", key)
    name = safe if "_" in safe else f"plan_{safe}"
    while name.lower() in seen:
        name += "_"
    seen.add(name.lower())
    return name
