"""How fast and how large planning is: simulating many reps, pricing many sets of quotas, one more scenario.

Run ``python benchmarks/planning_speed.py`` from the project's root; ``--part`` runs one part in this process.
Wall time depends on who else uses the machine, so processor seconds stand beside it; loops run on two cores.

* ``reps``: the example company as it would be with 200 reps and 3,000 open deals, 12 months, 10,000 draws:
  opportunities alone, and the whole chain with activities and leads. The peer is SimPy on the same tables, a
  few draws of it.
* ``memory``: 1,000 reps, 12 months, bookings and their parts; peak memory of a process of its own.
* ``sets``: 1,000 sets of quotas on the year's bookings of every rep, team and the company (20 reps), against
  testing each target on all futures by NumPy.
* ``scenario``: one more scenario on the fitted example, the plan itself simulated already: simulation and
  odds of bookings with four more hires, of whom alone there is something new to simulate, and with other odds
  of winning, which are new to everybody.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from quotacast.engine.answers.attainability import attainability
from quotacast.engine.book import open_book
from quotacast.engine.drivers import Change, Drivers, Hire
from quotacast.engine.metrics import measures_of, metric, series
from quotacast.engine.quota import Quota, Scope
from quotacast.engine.reuse import Reuse
from quotacast.engine.simulate import measures_of as simulated_measures
from quotacast.engine.simulate import run_columns, simulate
from quotacast.engine.steps import Steps
from quotacast.engine.tables import Tables
from quotacast.engine.worlds import write_example
from quotacast.models.funnel import fit, prepare
from quotacast.models.history.read import read_history
from quotacast.models.periods import Calendar

OPEN_DEALS = 3000
#: Share of the example's pace at which deals come: 200 reps then begin about 8,500 a year.
PACE = 0.5
DEALS = ("created", "won", "lost", "won_cents")
SETS = 1000


def measured(work: Callable[[], Any]) -> tuple[Any, str]:
    """What a call returns, and its seconds in words."""
    wall, used = time.perf_counter(), time.process_time()
    found = work()
    return found, f"{time.perf_counter() - wall:.2f} s (processor {time.process_time() - used:.2f} s)"


def fitted(chain: bool) -> tuple[Any, Any]:
    """History and funnel of the example, with or without what comes before the opportunity."""
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "example"
        write_example(folder)
        if not chain:
            for name in ("activities", "leads"):
                (folder / "crm" / f"{name}.csv").unlink()
        history = read_history(folder / "crm")
    return history, fit(prepare(history, Calendar()), draws=1000, seed=1, fall_back=False)


def hires(history: Any, funnel: Any, count: int) -> Drivers:
    """So many more reps from the first simulated day, spread over the teams."""
    people, first = funnel.prepared.people, history.as_of_date + timedelta(days=1)
    teams = sorted({team for team in people.team if not team.startswith("(")})
    new = [(teams[k % len(teams)], k // len(teams) + 1) for k in range(count)]
    return Drivers(hires=tuple(Hire(f"{team}+{n}", team, first) for team, n in new))


def tables(history: Any, funnel: Any, reps: int) -> Tables:
    """Tables of a company grown to so many reps and :data:`OPEN_DEALS` open deals, for the year ahead."""
    from simulation_vs_simpy import resized

    known = funnel.prepared
    year = Calendar().parse(str(history.as_of_date.year + 1))
    steps = Steps.covering(Calendar().within(year, "month"))
    book = resized(open_book(history, known.people, known.segment, known.quotes), OPEN_DEALS)
    drivers = hires(history, funnel, reps - len(known.people.reps))
    slower = Change("opportunities_created", "company", times=PACE)
    drivers = replace(drivers, changes=(slower,))
    return Tables(funnel, book, drivers, year.last, steps, 1)


def reps(draws: int, peer_draws: int) -> None:
    """Simulate 200 reps."""
    for chain in (False, True):
        made = tables(*fitted(chain), 200)
        wanted = simulated_measures(made) if chain else DEALS
        run_columns(made, 8, wanted)  # compile
        begin = time.perf_counter()
        drawn, said = measured(lambda made=made, wanted=wanted: run_columns(made, draws, wanted))
        seconds = time.perf_counter() - begin
        new = sum(drawn["created"].sums(np.arange(made.crew.seats), slice(None))).mean()
        name = "activities, leads and deals" if chain else "opportunities alone"
        print(f"{name}: {draws:,} draws x {made.crew.seats} reps x 12 months, {new:,.0f} new deals: {said}")
        if not chain and peer_draws:
            print(f"  simpy: {_peer(made, peer_draws) / (seconds / draws):,.0f} times as long per draw")


def _peer(made: Tables, draws: int) -> float:
    """Seconds of SimPy per draw of the opportunities."""
    from simulation_vs_simpy import Company

    deals, rng = {**made.fixed, **made.block(0, draws)}, np.random.default_rng(1)
    nothing = {**deals, "deal_rep": np.zeros(0, dtype=np.int64), "created_base": 0.0 * deals["created_base"]}
    begin = time.perf_counter()
    for d in range(draws):
        Company(deals, nothing, d, rng).run()
    return (time.perf_counter() - begin) / draws


def memory(draws: int) -> None:
    """Simulate 1,000 reps and print the peak memory."""
    made = tables(*fitted(False), 1000)
    run_columns(made, 8, DEALS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    drawn, said = measured(lambda: run_columns(made, draws, DEALS))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    kept = sum(c.nbytes for c in drawn.values()) / 1024**3
    print(
        f"{draws:,} draws x {made.crew.seats:,} reps x 12 months: {said}; kept {kept:.2f} GB, "
        f"peak {peak:.2f} GB (before {before:.2f})"
    )


def sets(draws: int) -> None:
    """Price many sets of quotas on the same futures."""
    history, funnel = fitted(False)
    year = Calendar().parse(str(history.as_of_date.year + 1))
    steps = Steps.covering([year])
    paths = simulate(
        funnel, history, Drivers(), steps, year.last, draws=draws, seed=1, measures=measures_of(["bookings"])
    )
    scopes = [s for s in paths.scopes() if s.kind != "rep" or s.id in paths.reps]
    middle = {s: np.median(series(paths, metric("bookings"), s, year).total) for s in scopes}
    quotas = [
        Quota(scope, "bookings", year.label, float(middle[scope] * (0.7 + 0.6 * k / SETS) + 1.0), f"set {k}")
        for k in range(SETS)
        for scope in scopes
    ]
    found, said = measured(lambda: attainability(paths, quotas, Calendar(), {}))
    print(f"{SETS:,} sets of {len(scopes)} quotas on {draws:,} futures: {said}")
    values = {s: series(paths, metric("bookings"), s, year).total for s in scopes}
    plain, other = measured(lambda: [float((values[q.scope] >= q.target).mean()) for q in quotas])
    odds = {(q.scope.kind, q.scope.id, q.set): p for q, p in zip(quotas, plain, strict=True)}
    rows = found.rows
    same = all(
        odds[key] == p
        for key, p in zip(
            zip(rows["scope"], rows["scope_id"], rows["set"], strict=True), rows["p_attain"], strict=True
        )
    )
    print(f"  odds alone, by comparing every target with every future: {other}; the same odds: {same}")


def scenario(draws: int) -> None:
    """One more scenario on a fitted company."""
    for chain in (False, True):
        history, funnel = fitted(chain)
        year = Calendar().parse(str(history.as_of_date.year + 1))
        steps = Steps.covering([year])

        reuse = Reuse(upstream=True)

        def odds(
            drivers: Drivers,
            history: Any = history,
            funnel: Any = funnel,
            year: Any = year,
            steps: Any = steps,
            reuse: Any = reuse,
        ) -> float:
            paths = simulate(
                funnel,
                history,
                drivers,
                steps,
                year.last,
                draws=draws,
                seed=1,
                measures=measures_of(["bookings"]),
                reuse=reuse,
            )
            quota = Quota(Scope("company"), "bookings", year.label, 1.1e7)
            return float(attainability(paths, [quota], Calendar(), {}).rows["p_attain"].iloc[0])

        base = odds(Drivers())
        name = "whole chain" if chain else "opportunities alone"
        wins = Drivers(changes=(Change("close_rate", "company", times=1.05),))
        for what, drivers in (("four hires", hires(history, funnel, 4)), ("win odds", wins)):
            then, said = measured(lambda drivers=drivers, odds=odds: odds(drivers))
            print(f"{what}, {name}, {draws:,} futures: {said}; odds {base:.3f} -> {then:.3f}")


def main() -> None:
    """Run every part in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--scenario-draws", type=int, default=4000)
    parser.add_argument("--simpy-draws", type=int, default=2, help="0 leaves the peer out")
    parser.add_argument("--part", choices=("reps", "memory", "sets", "scenario"))
    args = parser.parse_args()
    parts: dict[str, Callable[[], None]] = {
        "reps": lambda: reps(args.draws, args.simpy_draws),
        "memory": lambda: memory(args.draws),
        "sets": lambda: sets(args.draws),
        "scenario": lambda: scenario(args.scenario_draws),
    }
    if args.part:
        parts[args.part]()
        return
    for part in parts:
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--part", part], check=True)


if __name__ == "__main__":
    main()
