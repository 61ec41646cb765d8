"""Proof of calibration: are the stated odds the true ones?

Three studies, all with the fast method of fitting (nested Laplace), whose results are kept in
``benchmarks/results/calibration*`` and come from this one command, run from the project's root::

    python benchmarks/calibration.py --sbc 200 --worlds 200 --misspecified 12

1. Simulation-based calibration of the declared models (:mod:`calibration_sbc`).
2. Coverage on companies drawn from the models' own world (:mod:`calibration_worlds`).
3. The same companies with one thing wrong at a time, and what it costs.

``--resume`` keeps the stored jobs of this version of the models and adds the missing ones; every job is a
function of its number alone, so a resumed run equals an uninterrupted one. ``--report`` only writes the
report again.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

if __name__ == "__main__":  # tests import this file, and their threads are counted already
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(_name, "1")

import calibration_report
import calibration_sbc
import calibration_worlds
from calibration_store import load, save

from quotacast.errors import FitError
from quotacast.models.funnel import MODEL_VERSION


def run_sbc(count: int, resume: bool) -> None:
    """Add simulations until every model has ``count``, model by model in turn."""
    jobs = stored("calibration_sbc") if resume else {}
    models = list(calibration_sbc.DESIGNS)
    for number in range(count):
        for name in models:
            key = f"{name} {number}"
            if key not in jobs:
                seed = calibration_sbc.seed_of(name, number)
                jobs[key] = attempt(lambda n=name, s=seed: calibration_sbc.job(n, s))
        save("calibration_sbc", jobs)
        print(f"sbc {number + 1}/{count}", flush=True)


def run_again(count: int) -> None:
    """Simulate what is called off again, with numbers that were not used."""
    jobs = stored("calibration_sbc")
    off = [(r["model"], r["quantity"]) for r in calibration_report.sbc_table(jobs) if r["off"]]
    found = {}
    for name in dict.fromkeys(model for model, _ in off):
        first = max(calibration_report.of(jobs, name)) + 1
        fresh = {
            f"{name} {number}": attempt(
                lambda n=name, k=number: calibration_sbc.job(n, calibration_sbc.seed_of(n, k))
            )
            for number in range(first, first + count)
        }
        ranks, _ = calibration_report.ranks_by(fresh)
        for key in off:
            if key[0] == name:
                told = {"simulations": len(ranks[key]), "models": MODEL_VERSION}
                found[" ".join(key)] = {**told, **calibration_sbc.uniformity(ranks[key])}
    save("calibration_again", found)


def attempt(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A job's result; a fit that gives up is a result too (whether it does depends on the data alone)."""
    try:
        found = work()
    except FitError as error:
        found = {"failed": str(error)[:160]}
    return {**found, "models": MODEL_VERSION}


def stored(name: str) -> dict[str, Any]:
    """Stored jobs of this version of the models."""
    return {key: job for key, job in load(name).items() if job.get("models") == MODEL_VERSION}


def run_worlds(counts: dict[str, int], resume: bool) -> None:
    """Add worlds until every disturbance has its count, world by world in turn."""
    jobs = stored("calibration_worlds") if resume else {}
    for number in range(max(counts.values(), default=0)):
        for name, count in counts.items():
            key = f"{name} {number}"
            if number < count and key not in jobs:
                jobs[key] = attempt(lambda n=name, k=number: calibration_worlds.one(n, k))
                save("calibration_worlds", jobs)
        print(f"worlds {number + 1}/{max(counts.values())}", flush=True)


def main() -> None:
    """Run what is missing, then write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sbc", type=int, default=0, help="simulations per model")
    parser.add_argument("--worlds", type=int, default=0, help="well-specified companies, four quarters each")
    parser.add_argument("--misspecified", type=int, default=0, help="companies per disturbance")
    parser.add_argument("--again", type=int, default=0, help="further simulations of what is called off")
    parser.add_argument("--resume", action="store_true", help="keep what is stored, add what is missing")
    parser.add_argument("--report", action="store_true", help="only write the report from what is stored")
    options = parser.parse_args()
    if not options.report:
        if options.sbc:
            run_sbc(options.sbc, options.resume)
        names = [n for n in calibration_worlds.DISTURBANCES if n != calibration_worlds.NONE]
        counts = {calibration_worlds.NONE: options.worlds} | dict.fromkeys(names, options.misspecified)
        if options.worlds or options.misspecified:
            run_worlds(counts, options.resume)
        if options.again:
            run_again(options.again)
    calibration_report.write_report()


if __name__ == "__main__":
    main()
