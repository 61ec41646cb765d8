"""What the record of a backtest says: scores and coverage per model, and the record of the verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.answer import Answer, Field
from quotacast.engine.backtest import scores
from quotacast.engine.backtest.bootstrap import block_bootstrap_se, block_bootstrap_skill_se
from quotacast.engine.backtest.leaning import learn, told
from quotacast.engine.backtest.origin_forecast import OURS, STRUCTURAL
from quotacast.engine.backtest.record import Record

FIELDS = (
    Field("origin", "date", "evening on which the forecast was made"),
    Field(
        "horizon", "text", "m1, m2, m3, rq (rest of the quarter), q1, y1 (next twelve months); w13 (13 weeks)"
    ),
    Field("metric", "text", "what was forecast"),
    Field("component", "text", "open, new or total"),
    Field("scope", "text", "company, team or rep"),
    Field("scope_id", "text", "team or rep; empty for the company"),
    Field("model", "text", "quotacast (final), structural (before leaning on baselines) or a baseline"),
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


def track_record(record: Record, provenance: Mapping[str, Any], seed: int) -> Answer:
    """The backtest as an answer: all rows, a summary per model, and the record of the verdicts."""
    models = summarise(record.rows, seed)
    reliability = reliability_table(record.verdicts)
    summary = {
        "models": models.to_dict("records"),
        "verdicts": reliability.to_dict("records"),
        "quotas": quota_scores(record.verdicts, seed).to_dict("records"),
        "joint": joint_scores(record.joint, seed).to_dict("records"),
        "fits": fits(record.fit),
        "leaning": _leaning(record),
        "origins": int(record.rows["origin"].nunique()),
        "asked": record.asked,
        "metric_units": {"bookings": "money", "deals_won": "count", "opportunities_created": "count"},
    }
    table = record.rows[[f.name for f in FIELDS]].copy()
    table["origin"] = [date.fromisoformat(day) for day in table["origin"]]
    return Answer("backtest", table, FIELDS, _words(models, reliability), summary, provenance, "table")


def fits(fit: pd.DataFrame) -> dict[str, Any]:
    """How the fits at the origins went: the largest k-hat, and the models that NUTS had to fit."""
    return {
        "fitted_by_nuts": {o: n.split(",") for o, n in zip(fit["origin"], fit["nuts"], strict=True) if n},
        "khat_largest": float(fit["khat"].max()),
        "fewest_effective_futures": float(fit["futures"].min()),
    }


def _leaning(record: Record) -> list[dict[str, Any]]:
    """Weights that a forecast made today would give to the model and to the baselines."""
    last = record.evidence["ends"].max() if len(record.evidence) else None
    return told(learn(record.evidence, date.fromisoformat(last)) if last else {})


def quota_scores(verdicts: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Brier score of the candidate quotas' odds, its skill against run-rate's, and threshold CRPS."""
    out = []
    for group, part in verdicts.groupby(["metric", "horizon", "scope"], sort=True):
        sums = part.groupby("origin", sort=True)[["brier", "brier_runrate"]].sum()
        blocks = min(_BLOCK[str(group[1])], len(sums))
        out.append(
            {
                **dict(zip(("metric", "horizon", "scope"), group, strict=True)),
                "n": len(part),
                "brier": float(part["brier"].mean()),
                "brier_runrate": float(part["brier_runrate"].mean()),
                "skill": scores.skill(part["brier"], part["brier_runrate"]),
                "skill_se": float(
                    block_bootstrap_skill_se(sums["brier"], sums["brier_runrate"], blocks, seed)
                ),
                "twcrps": float(part["twcrps"].mean()),
            }
        )
    return pd.DataFrame(out)


def joint_scores(joint: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Mean energy score over reps per model, and skill against the best baseline, by metric and horizon."""
    out = []
    for group, part in joint.groupby(["metric", "horizon"], sort=True):
        wide = part.pivot_table(index="origin", columns="model", values="energy", sort=True)
        if OURS not in wide:
            continue
        best = _best(wide)
        blocks = min(_BLOCK[str(group[1])], len(wide))
        for model in wide.columns:
            row = dict(zip(("metric", "horizon"), group, strict=True))
            row |= {"model": model, "n": int(wide[model].notna().sum()), "energy": float(wide[model].mean())}
            row["best_baseline"] = best
            if best:
                both = wide[[model, best]].dropna().to_numpy()
                row["skill"] = scores.skill(wide[model], wide[best])
                row["skill_se"] = float(block_bootstrap_skill_se(both[:, 0], both[:, 1], blocks, seed))
            out.append(row)
    return pd.DataFrame(out)


def _best(wide: pd.DataFrame) -> str | None:
    """The baseline that is hardest to beat."""
    others = {str(n): wide[n].to_numpy() for n in wide.columns if n not in (OURS, STRUCTURAL)}
    return scores.best_baseline(wide[OURS].to_numpy(), others)


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
        best = _best(wide)
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


_BLOCK = {"m1": 1, "m2": 2, "m3": 3, "rq": 3, "q1": 3, "w13": 3, "y1": 12}


def _coverage(mine: pd.DataFrame, horizon: str, seed: int) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    # origins with more reps count for more, in the coverage and in its error
    origin, codes = np.unique(mine["origin"].to_numpy(), return_inverse=True)
    place = mine.groupby("origin").cumcount().to_numpy()
    for level in (50, 80, 95):
        values = mine[f"covered_{level}"].to_numpy(dtype=float)
        by_origin = np.full((origin.size, place.max() + 1), np.nan)
        by_origin[codes, place] = values
        found[f"coverage_{level}"] = float(np.nanmean(values))
        se = block_bootstrap_se(by_origin, min(_BLOCK[horizon], origin.size), seed)
        found[f"coverage_{level}_se"] = float(se)
    return found


def _skill_se(wide: pd.DataFrame, model: str, best: str, horizon: str, seed: int) -> float:
    ours, theirs = (wide[name].to_numpy(dtype=float) for name in (model, best))
    both = np.isfinite(ours) & np.isfinite(theirs)
    if not both.any():
        return float("nan")
    origins = wide.index.get_level_values("origin").to_numpy()[both]
    count, codes = np.unique(origins, return_inverse=True)
    score, baseline = (np.bincount(codes, weights=values[both]) for values in (ours, theirs))
    return float(block_bootstrap_skill_se(score, baseline, min(_BLOCK[horizon], count.size), seed))


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
