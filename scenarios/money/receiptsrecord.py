"""The track record of receipts: made by ``backtest --metric receipts``, shown beside cash."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.answer import Answer
from quotacast.engine.backtest.bootstrap import block_bootstrap_skill_se
from quotacast.engine.backtest.scores import best_baseline, skill
from quotacast.engine.backtest.summary import FIELDS, summarise
from quotacast.engine.backtest.whole_receipts import (
    COMPONENTS,
    HORIZONS,
    METRIC,
    OURS,
    MoneySettings,
    money_origins,
    score_origin,
    seen,
)
from quotacast.engine.paths import Paths
from quotacast.engine.reports.words import money
from quotacast.errors import DataError
from quotacast.models import store
from quotacast.models.funnel import MODEL_VERSION
from quotacast.models.history.history import History
from quotacast.models.invoices import WRITE_OFF_DAYS
from quotacast.models.timegrid import Ints
from quotacast.scenarios.leaned import lean
from quotacast.scenarios.lines import packed
from quotacast.scenarios.money.terms import account_of, check_money, terms_of
from quotacast.scenarios.run import RECORD_DRAWS, Run
from quotacast.scenarios.trackrecord import provenance

#: Version of what is recorded.
RECEIPTS_VERSION = 1
MONTHS = ("m1", "m2", "m3")
#: Origins that a month's forecasts of one origin overlap.
BLOCK = 3
ROWS = "rows.parquet"
ASK = "quotacast backtest --metric receipts"


def settings_of(run: Run) -> MoneySettings:
    """What all origins share: the plan's terms are taken to have held."""
    stated, terms = run.plan.terms, terms_of(run.plan)
    beyond = WRITE_OFF_DAYS
    if stated is not None and stated.write_off_days is not None:
        beyond = max(stated.write_off_days - terms.due_days, 1)
    return MoneySettings(
        run.plan.calendar,
        run.method,
        RECORD_DRAWS,
        run.plan.seed,
        terms,
        account_of(run.plan).vat,
        None if stated is None else stated.term_months,
        None if stated is None else stated.invoice_days,
        beyond,
    )


def receipts_folder(run: Run) -> Path:
    """Where the record of exactly this data, these terms and this version is kept."""
    told = {
        "data": run.history.fingerprint,
        "as_of": run.history.as_of_date.isoformat(),
        "settings": seen(settings_of(run)),
        "models": MODEL_VERSION,
        "record": RECEIPTS_VERSION,
        "versions": provenance(run)["versions"]["quotacast"],
    }
    return run.run_folder / "receipts" / store.fingerprint(told)[:16]


def receipts_backtest(run: Run, count: int | None) -> Answer:
    """Run, or go on with, the backtest of receipts and sum it up.

    Raises
    ------
    DataError
        Where there are no invoices, or too few months of them.
    """
    check_money(run.plan)
    days = money_origins(run.history, count)
    folder, settings, frames = receipts_folder(run), settings_of(run), []
    folder.mkdir(parents=True, exist_ok=True)
    for k, origin in enumerate(days):
        leaning = _taught(run, origin)
        found = _stored(folder, origin)
        if found is None or found["leaning"].iloc[0] != leaning:
            found = score_origin(run.history, origin, settings, lambda *given: _leaned(run, *given))
            found = found.assign(leaning=leaning)
            with store.new_folder(folder / origin.isoformat()) as work:
                found.to_parquet(work / ROWS, index=False)
        frames.append(found)
        run.told("backtesting receipts", (k + 1) / len(days))
    asked = {"origins": [day.isoformat() for day in days], **provenance(run)}
    text = json.dumps(asked, sort_keys=True, indent=1, default=str) + "\n"
    store.write_atomic(folder / store.MANIFEST, text.encode())
    return _summed(run, frames, len(days))


def stored_receipts(run: Run) -> Answer | None:
    """The stored record of receipts, or None."""
    folder = receipts_folder(run)
    try:
        told = json.loads((folder / store.MANIFEST).read_text(encoding="utf-8"))
        days = [date.fromisoformat(day) for day in told["origins"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    frames = [found for day in days if (found := _stored(folder, day)) is not None]
    return _summed(run, frames, len(days)) if frames else None


def _stored(folder: Path, origin: date) -> pd.DataFrame | None:
    try:
        found = pd.read_parquet(folder / origin.isoformat() / ROWS)
    except (OSError, ValueError):
        return None
    return found if "leaning" in found and len(found) else None


def _taught(run: Run, origin: date) -> str:
    """What the record of sales had to teach on an evening; empty where it is not there."""
    if run.record is None:
        return ""
    known = run.record.evidence
    ended = sorted(set(known.loc[known["ends"] <= origin.isoformat(), "origin"]))
    return store.fingerprint({"record": run.record_key, "origins": ended})[:16] if ended else ""


def _leaned(run: Run, snapshot: History, last: date, paths: Paths) -> Ints | None:
    """The futures that ``cash`` would have used then."""
    found = lean(run.record, snapshot, run.plan.calendar, last, run.plan.seed, lambda periods: paths)
    return found.futures


def _summed(run: Run, frames: list[pd.DataFrame], asked: int) -> Answer:
    rows = pd.concat(frames, ignore_index=True)
    models = summarise(rows, run.plan.seed)
    linked = bool(run.history.invoices["opportunity_id"].notna().any())
    summary = {
        "models": models.to_dict("records"),
        "origins": int(rows["origin"].nunique()),
        "asked": asked,
        "metric_units": {METRIC: "money"},
        "receipts": receipts_standing(rows, run.plan.seed),
        "linked": linked,
    }
    table = rows[[f.name for f in FIELDS]].copy()
    table["origin"] = [date.fromisoformat(day) for day in table["origin"]]
    return Answer("backtest", table, FIELDS, _words(summary), summary, provenance(run), "table")


def receipts_standing(rows: pd.DataFrame, seed: int) -> dict[str, Any]:
    """Receipts of the next three months: ranges that held, and skill against the hardest simple method."""
    chosen = rows[(rows["component"] == "total") & rows["horizon"].isin(MONTHS)]
    ours = chosen[chosen["model"] == OURS]
    wide = chosen.pivot_table(index=["origin", "horizon"], columns="model", values="crps", sort=True)
    others = {str(name): wide[name].to_numpy() for name in wide if name != OURS}
    found: dict[str, Any] = {
        "origins": int(rows["origin"].nunique()),
        "held_80": int(ours["covered_80"].sum()),
        "of": len(ours),
        "against": {},
        "hardest": best_baseline(wide[OURS].to_numpy(), others),
    }
    for name in others:
        both = wide[[OURS, name]].dropna()
        sums = both.groupby("origin").sum()
        block = min(BLOCK, len(sums))
        error = block_bootstrap_skill_se(sums[OURS], sums[name], block, seed) if len(sums) else np.nan
        found["against"][name] = {
            "skill": _plain(skill(both[OURS], both[name])), "skill_se": _plain(error)
        }  # fmt: skip
    return found


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


#: Simple methods, in words.
CALLED = {
    "dso": "DSO × billings",
    "delay": "average delay",
    "runrate": "run-rate of receipts",
}


def receipts_record(run: Run) -> dict[str, Any]:
    """What the record says of receipts: one line, and by horizon; or how to get one."""
    record = stored_receipts(run)
    if record is None:
        try:
            money_origins(run.history, 1)
        except DataError as error:
            return {"line": f"receipts cannot be tested: {error.problems[0]}", "horizons": []}
        return {"line": f"no record of receipts yet: {ASK}", "horizons": []}
    told = record.summary
    ours = [m for m in told["models"] if m["model"] == OURS and m["component"] == "total"]
    rows = [
        {
            "horizon": m["horizon"], "n": m["n"], "coverage_80": m["coverage_80"],
            "skill": _known(m["skill"]), "skill_se": _known(m["skill_se"]),
            "against": CALLED.get(m["best_baseline"] or "", ""),
        }
        for m in sorted(ours, key=lambda m: HORIZONS.index(m["horizon"]))
    ]  # fmt: skip
    line = standing_words(told["receipts"], told["origins"], told["asked"])
    return {"line": line, **told["receipts"], "horizons": rows}


def _known(value: float | None) -> float | None:
    return None if value is None else _plain(value)


def standing_words(found: Mapping[str, Any], origins: int, asked: int) -> str:
    """One line about receipts of the next three months."""
    text = f"receipts of the next 3 months: 80% ranges held {found['held_80']} of {found['of']}"
    hardest = found["hardest"]
    told = found["against"].get(hardest) if hardest else None
    if told and told["skill"] is not None:
        share = told["skill"]
        error = "" if told["skill_se"] is None else f" (± {100 * told['skill_se']:.0f})"
        better = f"{abs(share):.0%} {'smaller' if share >= 0 else 'larger'}"
        text += f"; errors {better}{error} than {CALLED.get(hardest, hardest)}, the best simple method"
    return text if origins == asked else f"{text}; {origins} of {asked} months done"


def _words(summary: Mapping[str, Any]) -> str:
    linked = (
        "Every payment of an invoice counts, credit notes too."
        if summary["linked"]
        else "Invoices are not linked to deals: every payment of an invoice counts, also of what was never a "
        "deal, while the forecast invoices deals by the plan's terms."
    )
    line = standing_words(summary["receipts"], summary["origins"], summary["asked"])
    return f"{line[0].upper()}{line[1:]}. {linked} The plan's terms are taken to have held at every origin."


def receipts_lines(record: Answer, width: int = 80) -> Iterator[str]:
    """The record of receipts for a terminal."""
    yield from packed([record.words], indent=0, width=width)
    yield ""
    yield f"{'company':<24}{'CRPS':>8}{'skill':>7}{'± se':>7}  {'80% held':<12}best simple method"
    order = [*reversed(COMPONENTS)]
    models = sorted(record.summary["models"], key=lambda m: order.index(m["component"]))
    for m in models:
        if m["model"] == OURS:
            name = f"{m['component']} {m['horizon']} (n={m['n']})"
            held = f"{m['coverage_80']:.0%} ± {_share(m['coverage_80_se'])}"
            best = CALLED.get(m["best_baseline"] or "", m["best_baseline"] or "–")
            values = f"{money(m['crps']):>8}{_share(m['skill']):>7}{_share(m['skill_se']):>7}"
            yield f"{name:<24}{values}  {held:<12}{best}"


def _share(x: float | None) -> str:
    return "–" if x is None or x != x else f"{x:.0%}"
