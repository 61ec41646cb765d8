"""What a common shock does to intervals: the model with it, and without it, on companies that have one.

Companies as in :mod:`calibration_worlds`, but whose creation, win and loss rates each share a monthly shock
with a stationary sd of .15 among all reps. Each company is fitted twice, with the models as declared and with
the term ``shock`` left out, and forecast for four quarters. Run from the project's root::

    python benchmarks/common_shock.py --worlds 250

``--resume`` keeps stored worlds; results lie in ``benchmarks/results/common_shock.{json,md}``.
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
from quotacast.engine.backtest.targets import METRICS, Target
from quotacast.engine.drivers import Drivers
from quotacast.engine.paths import Steps
from quotacast.engine.quota import Scope
from quotacast.engine.simulate import simulate
from quotacast.engine.worlds import WorldSpec
from quotacast.errors import FitError
from quotacast.models.funnel import Prepared, fit, prepare
from quotacast.models.periods import Calendar
from quotacast.models.terms import Declaration

SHOCK = 0.15
NAME = "common_shock"
MODELS = ("with", "without")


def company(number: int) -> WorldSpec:
    """The first company of a number whose records are of a workable size."""
    attempt = 0
    while True:
        spec = shocked(worlds.specification(number, attempt))
        found = worlds.records(spec, worlds.DISTURBANCES[worlds.NONE])
        created = int((found.deals.created <= found.clock.last).sum())
        wins = int(((found.deals.closed <= found.clock.last) & (found.deals.cause == 1)).sum())
        if worlds.DEALS[0] <= created <= worlds.DEALS[1] and wins >= worlds.WINS:
            return spec
        attempt += 1


def shocked(spec: WorldSpec) -> WorldSpec:
    """The company with the common shock in every rate."""
    truth = spec.truth
    rates = {n: dataclasses.replace(getattr(truth, n), shock_sd=SHOCK) for n in ("creation", "win", "loss")}
    return dataclasses.replace(spec, truth=dataclasses.replace(truth, **rates))


def without_shock(prepared: Prepared) -> Prepared:
    """The same models less their term ``shock``."""
    counts = dataclasses.replace(prepared.counts, declaration=_less(prepared.counts.declaration))
    hazards = dataclasses.replace(
        prepared.hazards, declarations=tuple(_less(d) for d in prepared.hazards.declarations)
    )
    return dataclasses.replace(prepared, counts=counts, hazards=hazards)


def _less(declaration: Declaration) -> Declaration:
    return dataclasses.replace(declaration, terms=tuple(t for t in declaration.terms if t.name != "shock"))


def one(number: int) -> dict[str, Any]:
    """PIT and width of the forecasts of one company by both models."""
    spec = company(number)
    found = worlds.records(spec, worlds.DISTURBANCES[worlds.NONE])
    clock = found.clock
    seen = worlds.history(spec, found, clock.last, worlds.LAST, False)
    later = worlds.history(spec, found, clock.end, date(2026, 12, 31), False)
    calendar = Calendar()
    periods = [calendar.parse(label) for label in worlds.QUARTERS]
    scopes = {"company": [Scope("company")], "rep": [Scope("rep", r) for r in spec.rep_ids]}
    prepared = prepare(seen, calendar)
    result: dict[str, Any] = {}
    for name, declared in zip(MODELS, (prepared, without_shock(prepared)), strict=True):
        funnel = fit(declared, draws=worlds.FIT_DRAWS, seed=number + 1, fall_back=False)
        paths = simulate(
            funnel,
            seen,
            Drivers(),
            Steps.covering(periods),
            periods[-1].last,
            draws=worlds.DRAWS,
            seed=number + 1,
        )
        u = np.random.default_rng([number, 78])
        for kind, members in scopes.items():
            for metric in METRICS:
                wanted = [Target(metric, scope, p.first, p.last) for p in periods for scope in members]
                actual = outcomes(later, seen, wanted)
                draws = np.stack([target_draws(paths, target) for target in wanted])
                pit = scores.randomised_pit(draws, actual, u.random(actual.size))
                result[f"{name} {kind} {metric}"] = [round(float(p), 4) for p in pit]
    return result


def report(jobs: dict[str, Any]) -> str:
    """Coverage with and without the shock, standard errors clustered by company."""
    good = [job for job in jobs.values() if "failed" not in job]
    lines = [
        "# A common shock of .15, in the model and left out",
        "",
        "    python benchmarks/common_shock.py --worlds 250",
        "",
        f"{len(good)} companies, four quarters each; {len(jobs) - len(good)} fits gave up. Coverage of the",
        "80 % range by randomised PIT, standard errors clustered by company.",
        "",
        "| scope | metric | with the shock | without |",
        "|---|---|---|---|",
    ]
    for kind in ("company", "rep"):
        for metric in METRICS:
            cells = []
            for name in MODELS:
                held = [
                    float(np.mean(scores.covered(np.asarray(job[f"{name} {kind} {metric}"]), 0.8)))
                    for job in good
                ]
                se = float(np.std(held, ddof=1) / np.sqrt(len(held))) if len(held) > 1 else float("nan")
                cells.append(f"{np.mean(held):.1%} ± {se:.1%}")
            lines.append(f"| {kind} | {metric} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what is missing, then write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    chosen = parser.parse_args()
    jobs = load(NAME) if chosen.resume else {}
    for number in range(chosen.worlds):
        if str(number) not in jobs:
            try:
                jobs[str(number)] = one(number)
            except FitError as error:
                jobs[str(number)] = {"failed": str(error)[:160]}
            save(NAME, jobs)
        print(f"{number + 1}/{chosen.worlds}", flush=True)
    write(RESULTS / f"{NAME}.md", report(jobs))
    print(report(jobs))


if __name__ == "__main__":
    main()
