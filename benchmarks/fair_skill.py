"""What skill the right model shows, and how much of the best of six baselines is luck.

A record says how skilful a forecast is against the best of six baselines, chosen on the very origins that are
judged. Three numbers are needed to read that, for months and quarters:

* **The right model's skill.** Companies are drawn from the models' own assumptions (as in
  :mod:`calibration_worlds`, with eight reps) and backtested over their last 18 month ends. The CRPS is
  proper, so on average over such companies nothing made from the same data beats the posterior predictive
  distribution (Gneiting & Raftery 2007), but for what the fast fit loses, and for levels that are drawn
  more narrowly than a model may know. What it shows here is a ceiling, not a shortfall.
* **The luck of the best.** Scores of the baselines are scaled to equal means and resampled in blocks of
  origins: by how much the best of equals then beats their average. The skill against the baseline that was
  best on the *other* origins, those whose target periods do not overlap, is free of it.

Run from the project's root, the records of stored backtests beside the companies if wanted::

    python benchmarks/fair_skill.py --worlds 12 --record Salesforce=data --record example=demo

``--resume`` keeps stored companies; results lie in ``benchmarks/results/fair_skill.{json,md}``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # tests import this file, and their threads are counted already
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(_name, "1")

import calibration_worlds as worlds
import numpy as np
import pandas as pd
from calibration_store import RESULTS, load, save, write

from quotacast.engine.backtest import scores
from quotacast.engine.backtest.baselines import BASELINES, all_baselines, baseline_rngs
from quotacast.engine.backtest.bootstrap import block_indices
from quotacast.engine.backtest.origin_forecast import target_draws
from quotacast.engine.backtest.origins import origins, outcomes, spans, targets
from quotacast.engine.backtest.targets import METRICS as SCORED
from quotacast.engine.drivers import Drivers
from quotacast.engine.metrics import measures_of
from quotacast.engine.paths import Steps
from quotacast.engine.quota import Scope
from quotacast.engine.simulate import simulate
from quotacast.engine.worlds import WorldSpec
from quotacast.engine.worlds_draw import draw_truth
from quotacast.errors import FitError
from quotacast.models.funnel import fit, prepare
from quotacast.models.history.history import History
from quotacast.models.history.read import read_history
from quotacast.models.periods import Calendar
from quotacast.models.timegrid import day_number

NAME = "fair_skill"
#: Skills of which the report says in how many companies the right model reaches them.
REACHED = (0.1, 0.2)
#: Horizons with the number of monthly origins whose periods overlap.
OVERLAP: Mapping[str, int] = {"m1": 1, "m2": 1, "m3": 1, "q1": 3}
METRICS = ("bookings", "deals_won")
RIGHT = "structural"
TEAMS = (("north", 4), ("south", 4))
REPS, ORIGINS = 8, 18
FIT_DRAWS, DRAWS = 1000, 2000
REPLICATES, SEED = 4000, 1

Floats = np.ndarray
Ints = np.ndarray


def company(number: int) -> tuple[WorldSpec, History]:
    """The first company of a number whose records are of a workable size, and its history."""
    size, attempt = REPS / 5, 0
    while True:
        rng = np.random.default_rng([9000 + number, attempt])
        truth = draw_truth(rng, REPS, len(TEAMS))
        seed = int(rng.integers(2**31))
        spec = WorldSpec(
            REPS, TEAMS, worlds.FIRST, worlds.LAST, seed, truth, horizon_days=1, activity_effects=False
        )
        found = worlds.records(spec, worlds.DISTURBANCES[worlds.NONE])
        created = int((found.deals.created <= found.clock.last).sum())
        wins = int(((found.deals.closed <= found.clock.last) & (found.deals.cause == 1)).sum())
        if worlds.DEALS[0] <= created / size <= worlds.DEALS[1] and wins / size >= worlds.WINS:
            return spec, worlds.history(spec, found, found.clock.last, worlds.LAST, False)
        attempt += 1


def one(number: int, count: int = ORIGINS) -> dict[str, Any]:
    """Backtest a company.

    Returns
    -------
    dict
        By "horizon metric" and model: the CRPS of every origin, None where a model does not speak.
    """
    _, history = company(number)
    out: dict[str, Any] = {}
    for origin in origins(history, count):
        for (horizon, metric), row in at_origin(history, origin).items():
            place = out.setdefault(f"{horizon} {metric}", {})
            for model, crps in row.items():
                place.setdefault(model, []).append(crps)
    return out


def at_origin(history: History, origin: date) -> dict[tuple[str, str], dict[str, float | None]]:
    """CRPS of the company's totals, by horizon and metric and by model; made as the backtest makes them."""
    calendar = Calendar()
    snapshot = history.as_of(origin, strict=True)
    periods = spans(origin, calendar, history.as_of_date)
    wanted = targets([Scope("company")], periods)
    plain = [t for _, t in wanted]
    actual = outcomes(history, snapshot, plain)
    funnel = fit(prepare(snapshot, calendar), draws=FIT_DRAWS, seed=SEED, threads=1)
    steps = Steps.covering(tuple(periods.values()), cuts=(int(day_number(origin)) + 1,))
    end = max(p.last for p in periods.values())
    measures = measures_of(SCORED)
    paths = simulate(funnel, snapshot, Drivers(), steps, end, draws=DRAWS, seed=SEED, measures=measures)
    draws = {RIGHT: np.stack([target_draws(paths, t) for t in plain])}
    draws |= all_baselines(snapshot, calendar, plain, draws=DRAWS, rngs=baseline_rngs(SEED, origin))
    crps = {name: scores.crps(x, actual) for name, x in draws.items()}
    return {
        (h, t.metric): {name: _short(c[k]) for name, c in crps.items()}
        for k, (h, t) in enumerate(wanted)
        if h in OVERLAP and t.metric in METRICS and t.component == "total"
    }


def _short(value: float) -> float | None:
    return float(f"{value:.5g}") if np.isfinite(value) else None


def luck(rivals: Floats, blocks: int) -> float:
    """By how much the best of equally good forecasters beats their average, by chance.

    Parameters
    ----------
    rivals : ndarray, shape (origins, rivals)
        Scores, less is better; they are scaled to equal means, their dependence is kept.
    blocks : int
        Neighbouring origins that are resampled together.

    Returns
    -------
    float
        Expected 1 - best mean score / average mean score.
    """
    equal = rivals / rivals.mean(axis=0)
    means = equal[block_indices(len(equal), blocks, REPLICATES, SEED)].mean(axis=1)
    return float((1.0 - means.min(axis=1) / means.mean(axis=1)).mean())


def elsewhere(rivals: Floats, blocks: int) -> Floats:
    """Scores of the rival that was best on the origins that do not overlap, shape (origins,)."""
    at = np.arange(len(rivals))
    others = np.abs(at[:, None] - at) >= blocks
    best = (others @ rivals / np.maximum(others.sum(axis=1), 1)[:, None]).argmin(axis=1)
    return np.asarray(rivals[at, best])


def reading(table: Mapping[str, list[float | None]], ours: str, horizon: str) -> dict[str, float]:
    """How a model fares against the baselines: shares, not percent.

    Parameters
    ----------
    table : mapping of str to list, length origins
        CRPS by model, of the same origins.
    """
    blocks = OVERLAP[horizon]
    columns = {n: np.array(table[n], dtype=float) for n in (ours, *BASELINES) if n in table}
    whole = np.stack([x for n, x in columns.items() if n != ours], axis=1)
    rivals, mine = whole[:, np.isfinite(whole).all(axis=0)], columns[ours]
    found = {
        "after": scores.skill(mine, rivals[:, rivals.mean(axis=0).argmin()]),
        "elsewhere": scores.skill(mine, elsewhere(rivals, blocks)),
        "luck": luck(rivals, blocks),
        "origins": float(len(mine)),
    }
    return found | {n: scores.skill(mine, x) for n, x in columns.items() if n != ours}


def _newest(place: Path) -> list[Path]:
    """Folders of the origins of the newest stored backtest, oldest origin first."""
    folders = [f for f in (place / ".quotacast" / "backtests").glob("*") if any(f.glob("*/rows.parquet"))]
    if not folders:
        raise SystemExit(f"{place}: no stored backtest; run `quotacast backtest {place}` first")
    newest = max(folders, key=lambda f: (f.stat().st_mtime, f.name))
    return [p.parent for p in sorted(newest.glob("*/rows.parquet"))]


def stored(place: Path) -> Iterator[tuple[str, str, dict[str, list[float | None]]]]:
    """Horizon, metric and CRPS by model of company totals, from the newest stored backtest of a folder."""
    rows = pd.concat([pd.read_parquet(folder / "rows.parquet") for folder in _newest(place)])
    rows = rows[(rows["scope"] == "company") & (rows["component"] == "total")]
    for metric in METRICS:
        for horizon in OVERLAP:
            part = rows[(rows["metric"] == metric) & (rows["horizon"] == horizon)]
            wide = part.pivot_table(index="origin", columns="model", values="crps").sort_index()
            if len(wide) > OVERLAP[horizon]:
                yield horizon, metric, {str(n): [float(x) for x in wide[n]] for n in wide}


def evenness(counts: Ints, sums: Floats, amounts: Floats) -> dict[str, float]:
    """How much sums over periods vary, and how much independent deals would make them.

    Parameters
    ----------
    counts, sums : ndarray, shape (periods,)
        Deals won and their sum.
    amounts : ndarray, shape (deals,)
        The amounts of all of them, from which as many as were won are drawn for every period.

    Returns
    -------
    dict
        Coefficients of variation: ``seen``, and ``independent``, the median of the draws; ``as_even``: the
        share of the draws that vary no more than what was seen.
    """
    drawn = np.random.default_rng(SEED).choice(amounts, (REPLICATES, amounts.size))
    period = np.repeat(np.arange(counts.size), counts)
    fresh = np.stack([np.bincount(period, row, counts.size) for row in drawn])
    spread = fresh.std(axis=1, ddof=1) / fresh.mean(axis=1)
    seen = float(sums.std(ddof=1) / sums.mean())
    return {
        "seen": seen,
        "independent": float(np.median(spread)),
        "as_even": float(np.mean(spread <= seen)),
    }


def quarters(place: Path, first: date) -> dict[str, float]:
    """:func:`evenness` of the whole quarters of a company's data that begin after a day."""
    history = read_history(place)
    deals = history.opportunities
    won = deals[(deals["status"] == "won") & deals["amount"].notna()]
    index = Calendar().quarter_index(won["closed_on"].to_numpy(dtype="datetime64[D]"))
    days = np.array(
        [first, history.as_of_date, history.as_of_date + timedelta(days=1)], dtype="datetime64[D]"
    )
    begun, running, tomorrow = Calendar().quarter_index(days)
    last = running if tomorrow > running else running - 1
    amount, at = won["amount"].to_numpy(dtype=float), index - begun - 1
    whole = (at >= 0) & (index <= last)
    number = max(int(last - begun), 0)
    counts, sums = (np.bincount(at[whole], w, number) for w in (None, amount[whole]))
    return {"quarters": float(number)} | evenness(counts, sums, amount[whole])


def report(jobs: Mapping[str, Any], records: Mapping[str, Path]) -> str:
    """The results as Markdown."""
    done = [job for job in jobs.values() if "failed" not in job]
    named = "".join(f" --record {name}={name.lower()}" for name in records)
    lines = [
        "# What skill the right model shows, and the luck of the best of six",
        "",
        f"    python benchmarks/fair_skill.py --worlds {len(jobs)}{named}",
        "",
        f"{len(done)} companies drawn from the models' own assumptions, {ORIGINS} month ends each; "
        f"{len(jobs) - len(done)} fits gave up.",
        "Skill of the model that is right, company totals, CRPS: mean over companies ± its standard error,",
        "in brackets the middle 80 % of companies. On average nothing made from the same data scores better.",
        "",
        "| metric | horizon | best of six after the fact | companies with "
        f"{' / '.join(f'{x:.0%}' for x in REACHED)} or more of it | best on other origins | run-rate "
        "| luck of the best of six equals |",
        "|---|---|---|---|---|---|---|",
    ]
    for metric in METRICS:
        for horizon in OVERLAP:
            read = [reading(job[f"{horizon} {metric}"], RIGHT, horizon) for job in done]
            cells = [_spread([r[key] for r in read]) for key in ("after", "elsewhere", "runrate")]
            cells.insert(1, " / ".join(f"{np.mean([r['after'] >= x for r in read]):.0%}" for x in REACHED))
            chance = float(np.mean([r["luck"] for r in read]))
            lines.append(f"| {metric} | {horizon} | {' | '.join(cells)} | {chance:.0%} |")
    lines += ["", *(_everywhere(done, metric) for metric in METRICS)]
    if records:
        lines += [
            "",
            "Stored records, the final forecast and the one before it leaned on anything:",
            "",
            "| record | metric | horizon | origins | after the fact | before leaning | best on other origins "
            "| run-rate | luck | companies with less |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
    remarks = []
    for name, place in records.items():
        for horizon, metric, table in stored(place):
            final, plain = (reading(table, ours, horizon) for ours in ("quotacast", RIGHT))
            right = [reading(job[f"{horizon} {metric}"], RIGHT, horizon)["after"] for job in done]
            below = np.mean(np.asarray(right) < plain["after"]) if right else float("nan")
            lines.append(
                f"| {name} | {metric} | {horizon} | {final['origins']:.0f} | {final['after']:+.0%} "
                f"| {plain['after']:+.0%} | {final['elsewhere']:+.0%} | {final['runrate']:+.0%} "
                f"| {final['luck']:.0%} | {below:.0%} |"
            )
        even = quarters(place, date.fromisoformat(_newest(place)[0].name))
        remarks.append(
            f"{name}: bookings of the {even['quarters']:.0f} whole quarters after the first origin vary by "
            f"{even['seen']:.0%} (sd over mean); as many deals, each worth what any of them was worth, by "
            f"{even['independent']:.0%} in the median. As even as the record: {even['as_even']:.1%} of draws."
        )
    if remarks:
        lines += ["", *remarks]
    return "\n".join(lines) + "\n"


def _everywhere(done: Sequence[Any], metric: str) -> str:
    """In how many companies the right model reaches a skill at every horizon."""
    least = [min(reading(job[f"{h} {metric}"], RIGHT, h)["after"] for h in OVERLAP) for job in done]
    said = [f"{x:.0%} or more in {np.sum(np.asarray(least) >= x)}" for x in REACHED]
    return (
        f"At every horizon of {metric} the right model is better by {' and by '.join(said)} of {len(done)}."
    )


def _spread(values: list[float]) -> str:
    x = np.asarray(values)
    low, high = np.quantile(x, [0.1, 0.9])
    error = x.std(ddof=1) / np.sqrt(x.size) if x.size > 1 else float("nan")
    return f"{x.mean():+.0%} ± {error:.0%} ({low:+.0%} to {high:+.0%})"


def main() -> None:
    """Run what is missing, then write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--worlds", type=int, default=12)
    parser.add_argument("--record", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    records = {name: Path(folder) for name, _, folder in (r.partition("=") for r in options.record)}
    jobs = load(NAME) if options.resume else {}
    for number in range(options.worlds):
        if str(number) in jobs:
            continue
        try:
            jobs[str(number)] = one(number)
        except FitError as error:
            jobs[str(number)] = {"failed": str(error)[:160]}
        save(NAME, jobs)
        print(f"companies {number + 1}/{options.worlds}", flush=True)
    write(RESULTS / f"{NAME}.md", report(jobs, records))


if __name__ == "__main__":
    main()
