"""Fit, plan and start-up: seconds, memory, and how the fit grows with the data.

Run ``python benchmarks/speed.py [--nuts]`` from the repository. Single seconds on a shared machine say
little, ratios against a peer in the same run more.

* NUTS against Laplace on the example's funnel (opportunities, wins, losses, values), neither the first fit of
  its kind in the process; and Laplace on all its models.
* Seconds per thousand occupied cells with 5,000 and with 100,000 opportunities, all effects in the model.
* ``quotacast plan`` with a stored fit, from process start to written report, and its peak memory.
* ``quotacast --help``.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from quotacast.engine.worlds import example_spec, make_world, write_example, write_world
from quotacast.models.funnel import Prepared, fit, prepare
from quotacast.models.history.history import History, missing
from quotacast.models.history.read import read_history
from quotacast.models.periods import Calendar
from quotacast.scenarios.run import FIT_DRAWS

QUOTACAST = [sys.executable, "-m", "quotacast"]


def timed(work: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def large(folder: Path, times: float) -> Prepared:
    """The example company with so many times the opportunities, same reps and years."""
    import math

    spec = example_spec()
    creation = spec.truth.creation
    grown = dataclasses.replace(creation, level=creation.level + math.log(times))
    spec = dataclasses.replace(spec, truth=dataclasses.replace(spec.truth, creation=grown))
    write_world(make_world(spec), folder)
    return prepare(read_history(folder / "crm"), Calendar())


def cells(prepared: Prepared) -> int:
    """Occupied cells of all models."""
    return sum(len(c) for _, c in prepared.declared().values())


def deals_alone(history: History) -> History:
    """A company's opportunities and reps and nothing else."""
    kept = ("opportunities", "reps")
    return dataclasses.replace(
        history, tables={name: t if name in kept else missing(name) for name, t in history.tables.items()}
    )


def fits(name: str, prepared: Prepared, nuts: bool) -> None:
    """Compare the two methods on the same declarations, with as many draws as a plan takes."""
    fit(prepared, method="laplace", draws=400)
    laplace = statistics.median(timed(lambda: fit(prepared, draws=FIT_DRAWS)) for _ in range(3))
    print(f"laplace fit, warm, {name:<18} {laplace:7.1f} s   {', '.join(prepared.declared())}", flush=True)
    if nuts:
        first = timed(lambda: fit(prepared, method="nuts", draws=FIT_DRAWS))
        again = timed(lambda: fit(prepared, method="nuts", draws=FIT_DRAWS))
        print(f"nuts fit, with compilation            {first:7.1f} s")
        print(f"nuts fit, warm                        {again:7.1f} s   {again / laplace:.1f} times laplace")


def growth(base: Prepared, grown: Prepared) -> None:
    """Fit time against the number of opportunities, with the same effects."""
    small = statistics.median(timed(lambda: fit(base, method="laplace")) for _ in range(3))
    big = statistics.median(timed(lambda: fit(grown, method="laplace")) for _ in range(3))
    for name, prepared, seconds in (("small", base, small), ("large", grown, big)):
        n = len(prepared.deals)
        effects = sum(t.size for d, _ in prepared.declared().values() for t in d.terms)
        print(
            f"{name}: {n:>7,} deals {cells(prepared):>7,} cells {effects:>5,} effects {seconds:6.1f} s "
            f"{1000 * seconds / cells(prepared):6.3f} s per 1,000 cells"
        )
    print(f"100,000 against 5,000 opportunities   {big / small:7.2f} times")


def processes(demo: Path) -> None:
    """Whole processes: help, and the main job with a stored fit."""
    plan = [*QUOTACAST, "plan", str(demo / "plan.toml"), "--quiet"]
    subprocess.run(plan, check=True, capture_output=True)
    seconds = statistics.median(
        timed(lambda: subprocess.run(plan, check=True, capture_output=True)) for _ in range(5)
    )
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2
    print(f"plan with a stored fit                {seconds:7.1f} s   peak memory {peak:.2f} GB")
    shown = [*QUOTACAST, "--help"]
    start = statistics.median(
        timed(lambda: subprocess.run(shown, check=True, capture_output=True)) for _ in range(9)
    )
    bare = statistics.median(
        timed(lambda: subprocess.run([sys.executable, "-c", "import click"], check=True)) for _ in range(9)
    )
    print(f"--help                                {start:7.2f} s   python and click alone {bare:.2f} s")


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nuts", action="store_true", help="also sample by NUTS (minutes)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        demo = Path(work) / "demo"
        write_example(demo)
        processes(demo)
        history = read_history(demo / "crm")
        base = prepare(history, Calendar())
        fits("funnel", prepare(deals_alone(history), Calendar()), chosen.nuts)
        fits("all models", base, False)
        growth(base, large(Path(work) / "large", 20.0))


if __name__ == "__main__":
    main()
