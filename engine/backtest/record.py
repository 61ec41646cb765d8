"""The track record: origins scored one by one, stored as they finish, summed up together."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.answer import Answer, Field
from quotacast.engine.backtest import scores
from quotacast.engine.backtest.bootstrap import block_bootstrap_se, block_bootstrap_skill_se
from quotacast.engine.backtest.origin_forecast import OURS, OriginRecord, Settings, forecast_origin
from quotacast.models import store
from quotacast.models.history.history import History

FIELDS = (
    Field("origin", "date", "evening on which the forecast was made"),
    Field("horizon", "text", "m1, m2, m3, rq (rest of the quarter), q1, y1 (next twelve months)"),
    Field("metric", "text", "what was forecast"),
    Field("component", "text", "open, new or total"),
    Field("scope", "text", "company, team or rep"),
    Field("scope_id", "text", "team or rep; empty for the company"),
    Field("model", "text", "quotacast or a baseline"),
    Field("actual", "metric", "what came true"),
    Field("mean", "metric", "mean of the forecast"),
    Field("p50", "metric", "median of the forecast"),
    Field("crps", "metric", "continuous ranked probability score; lower is better"),
    Field("covered_50", "probability", "whether the 50 % range held, by randomised PIT"),
    Field("covered_80", "probability", "whether the 80 % range held"),
    Field("covered_95", "probability", "whether the 95 % range held"),
    Field("pit", "probability", "randomised probability integral transform"),
)
#: Bands of odds in which verdicts are counted.
BANDS = ((0.0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1.0))


def run_backtest(
    history: History,
    all_origins: Sequence[date],
    settings: Settings,
    folder: Path,
    manifest: Mapping[str, Any],
    told: Callable[[float], None] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score every origin that is not in ``folder`` yet; what is finished stays finished.

    Returns
    -------
    rows, verdicts : DataFrame
        Of all origins.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / store.MANIFEST).exists():
        text = json.dumps(manifest, sort_keys=True, indent=1, default=str) + "\n"
        store.write_atomic(folder / store.MANIFEST, text.encode())
    records = []
    for k, origin in enumerate(all_origins):
        found = load_origin(folder, origin)
        if found is None:
            found = forecast_origin(history, origin, settings)
            _save_origin(folder, origin, found)
        records.append(found)
        if told:
            told((k + 1) / len(all_origins))
    return _together(records)


def _together(records: Sequence[OriginRecord]) -> tuple[pd.DataFrame, pd.DataFrame]:
    # early origins have no year before them and so no verdicts: empty frames would lose the dtypes
    verdicts = [r.verdicts for r in records if len(r.verdicts)] or [records[0].verdicts]
    return pd.concat([r.rows for r in records], ignore_index=True), pd.concat(verdicts, ignore_index=True)


def load_origin(folder: Path, origin: date) -> OriginRecord | None:
    """A finished origin, or None."""
    place = folder / origin.isoformat()
    if not place.is_dir():
        return None
    return OriginRecord(pd.read_parquet(place / "rows.parquet"), pd.read_parquet(place / "verdicts.parquet"))


def load_record(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """All finished origins of a stored backtest, or None where there is none."""
    if not folder.is_dir():
        return None
    days = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    found = [load_origin(folder, date.fromisoformat(day)) for day in days]
    records = [r for r in found if r is not None]
    if not records:
        return None
    return _together(records)


def _save_origin(folder: Path, origin: date, record: OriginRecord) -> None:
    with store.new_folder(folder / origin.isoformat()) as work:
        record.rows.to_parquet(work / "rows.parquet", index=False)
        record.verdicts.to_parquet(work / "verdicts.parquet", index=False)


def track_record(
    rows: pd.DataFrame, verdicts: pd.DataFrame, provenance: Mapping[str, Any], seed: int
) -> Answer:
    """The backtest as an answer: all rows, a summary per model, and the record of the verdicts."""
    models = summarise(rows, seed)
    reliability = reliability_table(verdicts)
    summary = {
        "models": models.to_dict("records"),
        "verdicts": reliability.to_dict("records"),
        "origins": int(rows["origin"].nunique()),
        "metric_units": {"bookings": "money", "deals_won": "count", "opportunities_created": "count"},
    }
    table = rows[[f.name for f in FIELDS]].copy()
    table["origin"] = [date.fromisoformat(day) for day in table["origin"]]
    return Answer("backtest", table, FIELDS, _words(models, reliability), summary, provenance, "table")


def summarise(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Mean CRPS, skill against the best baseline and coverage by metric, horizon, component and scope kind.

    Standard errors by block bootstrap over origins: a horizon of several months overlaps with its
    neighbours, so blocks are as long as the horizon.
    """
    keys = ["metric", "horizon", "component", "scope"]
    out = []
    for group, part in rows.groupby(keys, sort=True):
        wide = part.pivot_table(index=["origin", "scope_id"], columns="model", values="crps", sort=True)
        if OURS not in wide:
            continue
        ours = wide[OURS].to_numpy()
        others = {str(name): wide[name].to_numpy() for name in wide.columns if name != OURS}
        best = scores.best_baseline(ours, others)
        for model in wide.columns:
            mine = part[part["model"] == model]
            row: dict[str, Any] = dict(zip(keys, group, strict=True))
            row |= {"model": model, "n": len(mine), "crps": float(mine["crps"].mean())}
            row |= _coverage(mine, str(group[1]), seed)
            row["best_baseline"] = best
            row["skill"] = scores.skill(wide[model], wide[best]) if best else None
            row["skill_se"] = _skill_se(wide, str(model), best, str(group[1]), seed) if best else None
            out.append(row)
    return pd.DataFrame(out)


_BLOCK = {"m1": 1, "m2": 2, "m3": 3, "rq": 3, "q1": 3, "y1": 12}


def _coverage(mine: pd.DataFrame, horizon: str, seed: int) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for level in (50, 80, 95):
        by_origin = mine.groupby("origin", sort=True)[f"covered_{level}"].mean().to_numpy()
        found[f"coverage_{level}"] = float(mine[f"covered_{level}"].mean())
        se = block_bootstrap_se(by_origin, min(_BLOCK[horizon], by_origin.size), seed)
        found[f"coverage_{level}_se"] = float(se)
    return found


def _skill_se(wide: pd.DataFrame, model: str, best: str, horizon: str, seed: int) -> float:
    both = pd.DataFrame({"ours": wide[model], "theirs": wide[best]}).dropna()
    by_origin = both.groupby(level="origin", sort=True).sum()
    blocks = min(_BLOCK[horizon], len(by_origin))
    return float(block_bootstrap_skill_se(by_origin["ours"], by_origin["theirs"], blocks, seed))


def reliability_table(verdicts: pd.DataFrame) -> pd.DataFrame:
    """How often quotas called so and so likely were met, per scope kind, horizon and band of odds."""
    out = []
    for (scope, horizon), part in verdicts.groupby(["scope", "horizon"], sort=True):
        for low, high in BANDS:
            inside = part[(part["p_attain"] >= low) & ((part["p_attain"] < high) | (high == 1.0))]
            out.append(
                {
                    "scope": scope,
                    "horizon": horizon,
                    "from": low,
                    "to": high,
                    "quotas": len(inside),
                    "met": int(inside["met"].sum()),
                    "expected": float(inside["p_attain"].sum()),
                }
            )
    return pd.DataFrame(out, columns=["scope", "horizon", "from", "to", "quotas", "met", "expected"])


def _words(models: pd.DataFrame, reliability: pd.DataFrame) -> str:
    ours = models[
        (models["model"] == OURS) & (models["scope"] == "company") & (models["component"] == "total")
    ]
    better = int((ours["skill"] > 0).sum())
    likely = reliability[(reliability["from"] == 0.6) & (reliability["scope"] == "company")]
    n, met = int(likely["quotas"].sum()), int(likely["met"].sum())
    coverage = float(np.average(ours["coverage_80"], weights=ours["n"])) if len(ours) else float("nan")
    return (
        f"80 % ranges of the company held {coverage:.0%} of the time; better than the best "
        f"baseline in {better} of {len(ours)} comparisons. Company quotas called 60–80 % likely were met "
        f"{met} of {n} times."
    )


def skill_against(
    rows: pd.DataFrame, metric: str, baseline: str, horizon: str, seed: int
) -> tuple[float | None, float | None]:
    """Skill of the company's totals against one baseline, and its block-bootstrap standard error."""
    chosen = rows[
        (rows["metric"] == metric)
        & (rows["scope"] == "company")
        & (rows["component"] == "total")
        & (rows["horizon"] == horizon)
    ]
    wide = chosen.pivot_table(index=["origin", "scope_id"], columns="model", values="crps", sort=True)
    if OURS not in wide or baseline not in wide:
        return None, None
    return float(scores.skill(wide[OURS], wide[baseline])), _skill_se(wide, OURS, baseline, horizon, seed)
