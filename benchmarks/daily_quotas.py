"""Daily quotas of every rep for a year: seconds and peak memory, with answers checked against another way.

Run ``python -m quotacast.benchmarks.daily_quotas``, or ``python benchmarks/daily_quotas.py`` from the
project's root. The example company (20 reps) is fitted by nested Laplace; then, for one metric at a time,
every rep gets a quota on each of 250 working days, all 5,000 of them are given their odds on ``--draws``
simulated futures, and it is printed how long that took: all that follows the fit. Each metric runs in a
process of its own, whose peak memory is shown with what the process held before the simulation.

The comparison is the same simulation with plain arrays (draws, reps, steps) for every measure, on as many
draws as fit into 2 GB; it also checks the odds.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from quotacast.engine.answers.attainability import attainability
from quotacast.engine.book import open_book
from quotacast.engine.drivers import Drivers
from quotacast.engine.metrics import measures_of, metric
from quotacast.engine.quota import Quota, Scope
from quotacast.engine.simulate import run_blocks, simulate
from quotacast.engine.steps import Steps
from quotacast.engine.tables import Tables
from quotacast.engine.worlds import write_example
from quotacast.models import store
from quotacast.models.funnel import assemble, fit, prepare
from quotacast.models.history.read import read_history
from quotacast.models.periods import Calendar, Period

METRICS = ("activity:call", "opportunities_created", "bookings")
DAYS = 250
#: Targets by metric: what a rep reaches on some days.
TARGETS = {"activity:call": 8.0, "opportunities_created": 1.0, "bookings": 15_000.0}


def memory() -> float:
    """Peak memory of this process, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def prepared_company(folder: Path, seed: int) -> tuple[Any, Any]:
    """History and funnel of the example company; fitted once and kept in ``folder``."""
    if not (folder / "crm").exists():
        write_example(folder)
    history = read_history(folder / "crm")
    ready = prepare(history, Calendar())
    stored = store.load_fit(folder / "fit", ready.models, "daily")
    if stored is None:
        stored = fit(ready, draws=1000, seed=seed, fall_back=False).posteriors
        store.save_fit(folder / "fit", stored, {"key": "daily"})
    return history, assemble(ready, stored, seed)


def daily(history: Any, name: str) -> tuple[list[Period], list[Quota]]:
    """Working days of the year after the history, and a quota for every rep on each."""
    calendar = Calendar()
    year = calendar.parse(str(history.as_of_date.year + 1))
    days = [p for p in calendar.within(year, "day") if p.first.weekday() < 5][:DAYS]
    reps = [Scope("rep", rep) for rep in sorted(history.reps["rep_id"].unique())]
    return days, [Quota(scope, name, day.label, TARGETS[name]) for day in days for scope in reps]


def run(folder: Path, name: str, draws: int, seed: int) -> None:
    """Give the odds of one metric's daily quotas, and print what that took."""
    history, funnel = prepared_company(folder, seed)
    days, quotas = daily(history, name)
    steps = Steps.covering(days, cuts=(int(funnel.prepared.grid.last) + 1,))
    args = (funnel, history, Drivers(), steps, days[-1].last)
    simulate(*args, draws=8, seed=seed, measures=measures_of([name]))  # compile
    before = memory()
    begin, spent = time.perf_counter(), time.process_time()
    paths = simulate(*args, draws=draws, seed=seed, measures=measures_of([name]))
    middle, used = time.perf_counter(), time.process_time()
    found = attainability(paths, quotas, Calendar(), {})
    end = time.perf_counter()
    print(
        f"{name:<22} {len(quotas):,} quotas x {draws:,} draws: {end - begin:.2f} s "
        f"(simulated {middle - begin:.2f}, answered {end - middle:.2f}; processor time "
        f"{used - spent:.2f} and {time.process_time() - used:.2f}), "
        f"peak {memory():,.0f} MB (before {before:,.0f})"
    )
    plain(history, funnel, steps, days, name, seed, found.rows)


def plain(
    history: Any, funnel: Any, steps: Steps, days: list[Period], name: str, seed: int, rows: Any
) -> None:
    """The same by plain arrays, on fewer draws."""
    known = funnel.prepared
    book = open_book(history, known.people, known.segment, known.quotes)
    tables = Tables(funnel, book, Drivers(), days[-1].last, steps, seed)
    draws = int(2e9 / (60 * len(tables.crew.reps) * len(steps)))
    begin = time.perf_counter()
    drawn = run_blocks(tables, draws, 500)
    seconds = time.perf_counter() - begin
    values = sum(drawn[m] for m in metric(name).top) * metric(name).scale
    values = values.sum(axis=3) if values.ndim == 4 else values
    odds = {
        (rep, day.label): (values[:, r, steps.slice(day)].sum(axis=1) >= TARGETS[name]).mean()
        for r, rep in enumerate(tables.crew.reps)
        for day in days
    }
    wanted = np.array([odds[key] for key in zip(rows["scope_id"], rows["period"], strict=True)])
    gap = (rows["p_attain"].to_numpy(dtype=float) - wanted).mean()
    print(
        f"{'':<22} plain arrays: {draws:,} draws in {seconds:.2f} s take 2 GB, 10,000 would take "
        f"{2 * 10_000 / draws:.0f} GB; mean odds differ by {gap:+.4f}"
    )


def main() -> None:
    """Run every metric in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--metric", help="one metric, in this process")
    parser.add_argument("--folder", type=Path, help="where the company and its fit are kept")
    args = parser.parse_args()
    if args.metric:
        run(args.folder, args.metric, args.draws, args.seed)
        return
    with TemporaryDirectory() as scratch:
        folder = args.folder or Path(scratch) / "example"
        prepared_company(folder, args.seed)
        for name in METRICS:
            own = ["--metric", name, "--folder", str(folder), "--draws", str(args.draws)]
            subprocess.run([sys.executable, __file__, *own, "--seed", str(args.seed)], check=True)


if __name__ == "__main__":
    main()
