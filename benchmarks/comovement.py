"""Deals closed in waves: what it is worth that the shocks of wins and losses may move together.

Companies as in :mod:`calibration_worlds`, but the monthly shocks of winning and losing have a stationary sd
of .25 and steps that are correlated by a known number: .8, 0, or -.5. They are five times as busy,
since a correlation cannot be told from few deals. Each company is fitted once and forecast for four quarters
twice on the same random numbers, with the correlation that was learned and with none. Run from the project's
root::

    python benchmarks/comovement.py --worlds 40

``--resume`` keeps stored worlds; results lie in ``benchmarks/results/comovement.{json,md}``.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from datetime import date
from typing import Any

if __name__ == "__main__":  # tests import this file, and their threads are counted already
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(_name, "1")

import calibration_worlds as worlds
import numpy as np
from calibration_store import RESULTS, load, save, write

from quotacast.engine.backtest import scores
from quotacast.engine.backtest.origin_forecast import target_draws
from quotacast.engine.backtest.origins import outcomes
from quotacast.engine.backtest.targets import Target
from quotacast.engine.drivers import Drivers
from quotacast.engine.paths import Steps
from quotacast.engine.quota import Scope
from quotacast.engine.simulate import simulate
from quotacast.engine.worlds import WorldSpec
from quotacast.errors import FitError
from quotacast.models.funnel import Funnel, fit, prepare
from quotacast.models.periods import Calendar

SHOCK = 0.25
BUSY = 5.0
CORRELATIONS = (0.8, 0.0, -0.5)
METRICS = ("bookings", "deals_won")
NAME = "comovement"


def company(number: int, r: float) -> WorldSpec:
    """The first company of a number whose records are of a workable size."""
    attempt = 0
    while True:
        spec = waves(worlds.specification(number, attempt), r)
        found = worlds.records(spec, worlds.DISTURBANCES[worlds.NONE])
        created = int((found.deals.created <= found.clock.last).sum())
        wins = int(((found.deals.closed <= found.clock.last) & (found.deals.cause == 1)).sum())
        if worlds.DEALS[0] <= created / BUSY <= worlds.DEALS[1] and wins / BUSY >= worlds.WINS:
            return spec
        attempt += 1


def waves(spec: WorldSpec, r: float) -> WorldSpec:
    """The company, busier, with shocks of winning and losing that move together."""
    truth = spec.truth
    creation = dataclasses.replace(truth.creation, level=truth.creation.level + float(np.log(BUSY)))
    rates = {name: dataclasses.replace(getattr(truth, name), shock_sd=SHOCK) for name in ("win", "loss")}
    return dataclasses.replace(
        spec, truth=dataclasses.replace(truth, comovement=r, creation=creation, **rates)
    )


def apart(funnel: Funnel) -> Funnel:
    """The same fit with shocks that do not move together."""
    found = dataclasses.replace(funnel)
    vars(found)["comovements"] = {}
    return found


def one(number: int, r: float) -> dict[str, Any]:
    """What was learned of the correlation, and scores of both forecasts of the company."""
    spec = company(number, r)
    found = worlds.records(spec, worlds.DISTURBANCES[worlds.NONE])
    clock = found.clock
    seen = worlds.history(spec, found, clock.last, worlds.LAST, False)
    later = worlds.history(spec, found, clock.end, date(2026, 12, 31), False)
    calendar = Calendar()
    periods = [calendar.parse(label) for label in worlds.QUARTERS]
    funnel = fit(prepare(seen, calendar), draws=worlds.FIT_DRAWS, seed=number + 1, fall_back=False)
    learned = funnel.comovements["lost"][1]
    result: dict[str, Any] = {
        "mean": round(learned.mean, 3),
        "rank": round(float(learned.probability[learned.grid < r].sum()), 3),
    }
    for name, fitted in (("learned", funnel), ("apart", apart(funnel))):
        paths = simulate(
            fitted,
            seen,
            Drivers(),
            Steps.covering(periods),
            periods[-1].last,
            draws=worlds.DRAWS,
            seed=number + 1,
        )
        u = np.random.default_rng([number, 79])
        for metric in METRICS:
            wanted = [Target(metric, Scope("company"), p.first, p.last) for p in periods]
            actual = outcomes(later, seen, wanted)
            draws = np.stack([target_draws(paths, target) for target in wanted])
            result[f"{name} {metric}"] = {
                "pit": [
                    round(float(p), 4) for p in scores.randomised_pit(draws, actual, u.random(actual.size))
                ],
                "crps": [round(float(c), 2) for c in scores.crps(draws, actual)],
                "sd": [round(float(s), 2) for s in draws.std(axis=1)],
            }
    return result


def report(jobs: dict[str, Any]) -> str:
    """What was learned, coverage and CRPS by true correlation; standard errors clustered by company."""
    lines = [
        "# Shocks of wins and losses that move together",
        "",
        "    python benchmarks/comovement.py --worlds 40",
        "",
        f"Two years of records, {BUSY:.0f} times as many deals as in calibration.md, monthly shocks of sd",
        f"{SHOCK}, four quarters forecast per company. `learned` is the mean posterior mean, `in 80 %`",
        "how often the true correlation lay in the central 80 % range; CRPS and sd are mean ratios,",
        "the learned correlation against none.",
        "",
        "| true | companies | learned | in 80 % | metric | held, learned | held, none | CRPS | sd |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in CORRELATIONS:
        good = [job for key, job in jobs.items() if key.startswith(f"{r} ") and "failed" not in job]
        if len(good) < 2:
            continue
        inside = np.mean([0.1 < job["rank"] < 0.9 for job in good])
        head = f"| {r} | {len(good)} | {np.mean([job['mean'] for job in good]):.2f} | {inside:.0%} |"
        for metric in METRICS:
            held = [_held(good, f"{name} {metric}") for name in ("learned", "apart")]
            ratio = [_ratio(good, metric, what) for what in ("crps", "sd")]
            lines.append(f"{head} {metric} | {held[0]} | {held[1]} | {ratio[0]:.3f} | {ratio[1]:.3f} |")
    return "\n".join(lines) + "\n"


def _held(good: list[dict[str, Any]], name: str) -> str:
    held = [float(np.mean(scores.covered(np.asarray(job[name]["pit"]), 0.8))) for job in good]
    return f"{np.mean(held):.1%} ± {np.std(held, ddof=1) / np.sqrt(len(held)):.1%}"


def _ratio(good: list[dict[str, Any]], metric: str, what: str) -> float:
    """Mean over companies of what the learned correlation makes of each one's value."""
    both = [[np.mean(job[f"{name} {metric}"][what]) for name in ("learned", "apart")] for job in good]
    return float(np.mean([learned / none for learned, none in both]))


def main() -> None:
    """Run what is missing, then write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=0, help="companies per correlation")
    parser.add_argument("--resume", action="store_true")
    chosen = parser.parse_args()
    jobs = load(NAME) if chosen.resume else {}
    for number in range(chosen.worlds):
        for r in CORRELATIONS:
            if f"{r} {number}" not in jobs:
                try:
                    jobs[f"{r} {number}"] = one(number, r)
                except FitError as error:
                    jobs[f"{r} {number}"] = {"failed": str(error)[:160]}
                save(NAME, jobs)
        print(f"{number + 1}/{chosen.worlds}", flush=True)
    write(RESULTS / f"{NAME}.md", report(jobs))
    print(report(jobs))


if __name__ == "__main__":
    main()
