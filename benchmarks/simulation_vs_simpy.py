"""The compiled simulator against the same process in simpy.

Run ``python -m quotacast.benchmarks.simulation_vs_simpy`` from an environment with the project and
simpy installed (``pip install quotacast[bench]``), or ``python benchmarks/simulation_vs_simpy.py`` from
the project's root. The example company (20 reps, 12 months ahead, 600 open deals and the new ones) is
fitted by nested Laplace; then

* quotacast draws ``--draws`` futures, once compiled;
* simpy draws a few of them: one process per rep that creates leads and one that creates opportunities, week
  by week, one process per lead and deal that waits out its piecewise constant hazards and, of a converted
  lead, begins an opportunity; with the same tables and its own random numbers. What activities do to
  creation is part of the tables; they are not drawn again.

Printed are both times per draw, their ratio, the means of leads converted, wins and losses with the
standard error of the paired difference (both use the same parameters and common shocks per draw), and the
peak memory. The time of quotacast is that of every measure, all kinds of activity included.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Generator
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import simpy

from quotacast.engine.book import Book, open_book
from quotacast.engine.drivers import Drivers
from quotacast.engine.simulate import measures_of, run_columns
from quotacast.engine.steps import Steps
from quotacast.engine.tables import Tables
from quotacast.engine.worlds import write_example
from quotacast.models.funnel import fit, prepare
from quotacast.models.history.read import read_history
from quotacast.models.periods import Calendar

OPEN_DEALS = 600
WON, LOST = 0, 1
COUNTED = ("leads_converted", "won", "lost")


def example_tables(seed: int, posterior_draws: int) -> Tables:
    """Tables of the example company for the year ahead, with a book of :data:`OPEN_DEALS` open deals."""
    with TemporaryDirectory() as scratch:
        write_example(Path(scratch) / "example")
        history = read_history(Path(scratch) / "example" / "crm")
    calendar = Calendar()
    prepared = prepare(history, calendar)
    funnel = fit(prepared, method="laplace", draws=posterior_draws, seed=seed)
    book = resized(open_book(history, prepared.people, prepared.segment, prepared.quotes), OPEN_DEALS)
    year = calendar.parse(str(history.as_of_date.year + 1))
    steps = Steps.covering(calendar.within(year, "month"))
    return Tables(funnel, book, Drivers(), year.last, steps, seed)


def resized(book: Book, size: int) -> Book:
    """Trim a book, or fill it with copies under new ids."""
    rows = np.arange(size) % len(book)
    ids = tuple(f"{book.ids[row]}-{i // len(book)}" for i, row in enumerate(rows))
    return Book(ids, **{f.name: getattr(book, f.name)[rows] for f in fields(book)[1:]})


class Company:
    """One future of the company as simpy processes; counts converted leads, wins and losses.

    Time is in days from the first simulated day; what a day weighs is in the tables.
    """

    def __init__(
        self, deals: dict[str, Any], leads: dict[str, Any], d: int, rng: np.random.Generator
    ) -> None:
        self.deals, self.leads, self.d, self.rng = deals, leads, d, rng
        self.p = int(deals["parameter"][d])
        self.env = simpy.Environment()
        self.counted = dict.fromkeys(COUNTED, 0)
        self.days = int(deals["weights"].size)
        for table in (deals, leads):
            for i in range(table["deal_rep"].size):
                self.env.process(self.open_row(table, i))
            for r in range(table["created_base"].shape[1]):
                self.env.process(self.rep(table, r))

    def run(self) -> list[int]:
        """Simulate until the horizon and return what was counted."""
        self.env.run(until=self.days)
        return list(self.counted.values())

    def open_row(self, t: dict[str, Any], i: int) -> Generator[Any, Any, None]:
        kind = t["deal_rep"][i], t["deal_segment"][i], t["deal_band"][i]
        yield from self.life(t, *kind, t["deal_start"][i], 0)

    def rep(self, t: dict[str, Any], r: int) -> Generator[Any, Any, None]:
        """Create leads, or opportunities, bin by bin."""
        rng, d, p = self.rng, self.d, self.p
        for b, low in enumerate(t["bin_edges"][:-1]):
            yield self.env.timeout(low - self.env.now)
            work = np.diff(t["at_work"][r, low : t["bin_edges"][b + 1] + 1])
            if work.sum() <= 0:
                continue
            rate = (
                t["created_base"][d, r]
                * t["created_time"][d, b]
                * t["created_rep"][d, r, t["bin_quarter"][b]]
                * (t["created_drive"][d, r, b] if t["driven"] else 1.0)
            )
            mean = work.sum() * rate * t["created_tenure"][p, t["tenure"][r, b]]
            phi = t["dispersion"][p]
            for day in rng.choice(work.size, rng.poisson(rng.gamma(phi, mean / phi)), p=work / work.sum()):
                segment = int(np.searchsorted(t["segment_mix"][p, t["mix_row"][r]], rng.random()))
                self.env.process(self.new(t, r, segment, low + day))

    def new(self, t: dict[str, Any], r: int, segment: int, start: int) -> Generator[Any, Any, None]:
        yield self.env.timeout(start - self.env.now)
        band = self.quote_band(r, segment, start) if t is self.deals and t["quoted"] else 0
        yield from self.life(t, r, segment, band, start, start)

    def quote_band(self, r: int, segment: int, start: int) -> int:
        t = self.deals
        quarter = t["quarter"][t["piece_of_day"][start]]
        centre = (
            t["value_segment"][self.p, segment] + t["value_rep"][self.d, r] + t["value_time"][self.d, quarter]
        )
        residual = t["residual"][np.searchsorted(t["residual_shares"][self.p], self.rng.random())]
        return 1 + int((centre + residual > t["band_edges"]).sum())

    def life(
        self, t: dict[str, Any], r: int, segment: int, band: int, start: int, entry: int
    ) -> Generator[Any, Any, None]:
        """Wait until an exponential amount of hazard is used up, stretch by stretch of constant hazard."""
        left, at = self.rng.exponential(), entry
        while at < self.days:
            piece, age = (
                t["piece_of_day"][at],
                int(np.searchsorted(t["age_edges"], at - start, side="right")) - 1,
            )
            end = t["edges"][piece + 1]
            if age + 1 < t["age_edges"].size:
                end = min(end, start + int(t["age_edges"][age + 1]))
            win, loss = (self.hazard(t, cause, r, segment, band, age, piece) for cause in ("win", "loss"))
            begin = t["cumulative"][at] + 0.5 * t["weights"][at] * (at == start)
            if left <= (t["cumulative"][end] - begin) * (win + loss):
                day = int(np.searchsorted(t["cumulative"], begin + left / (win + loss))) - 1
                yield self.env.timeout(day - self.env.now)
                self.end(t, r, segment, day, WON if self.rng.random() * (win + loss) < win else LOST)
                return
            left -= (t["cumulative"][end] - begin) * (win + loss)
            yield self.env.timeout(end - self.env.now)
            at = end

    def end(self, t: dict[str, Any], r: int, segment: int, day: int, cause: int) -> None:
        """Count what ended; a converted lead begins opportunities."""
        if t is self.deals:
            self.counted[("won", "lost")[cause]] += 1
        elif cause == WON:
            self.counted["leads_converted"] += 1
            wanted = t["begins"][self.p] * t["begins_times"][r, day]
            for _ in range(int(wanted) + (self.rng.random() < wanted % 1.0)):
                self.env.process(self.new(self.deals, r, segment, day))

    def hazard(
        self, t: dict[str, Any], cause: str, r: int, segment: int, band: int, age: int, piece: int
    ) -> float:
        d, p = self.d, self.p
        own = t[f"base_{cause}"][d, r] * t[f"segment_{cause}"][p, segment] * t[f"amount_{cause}"][p, band]
        now = t[f"time_{cause}"][d, piece] * t[f"rep_{cause}"][d, r, t["quarter"][piece]]
        return float(own * now * t[f"age_{cause}"][p, age, t["position"][piece]])


def by_simpy(tables: Tables, draws: int, seed: int) -> tuple[Any, float]:
    """What was counted in the first draws, shape (draws, 3), and the seconds they took."""
    block = tables.block(0, draws)
    leads = {**tables.leads.fixed, **block.pop("leads")}
    deals = {**tables.fixed, **block}
    rng = np.random.default_rng(seed)
    begin = time.perf_counter()
    found = np.array([Company(deals, leads, d, rng).run() for d in range(draws)])
    return found, time.perf_counter() - begin


def by_quotacast(tables: Tables, draws: int, repeats: int) -> tuple[Any, float]:
    """What was counted in all draws, shape (draws, 3), and the best time of some repeats."""
    wanted = measures_of(tables)
    run_columns(tables, 2, wanted)  # compile
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        drawn = run_columns(tables, draws, wanted)
        seconds.append(time.perf_counter() - begin)
    found = [sum(drawn[name].sums(np.arange(len(tables.crew.reps)), slice(None))) for name in COUNTED]
    return np.stack(found, axis=1), min(seconds)


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--simpy-draws", type=int, default=10)
    parser.add_argument("--posterior-draws", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    tables = example_tables(args.seed, args.posterior_draws)
    ours, fast = by_quotacast(tables, args.draws, args.repeats)
    theirs, slow = by_simpy(tables, args.simpy_draws, args.seed)
    print(f"{len(tables.crew.reps)} reps, {OPEN_DEALS} open deals, {len(tables.steps)} months")
    print(f"quotacast  {args.draws} draws in {fast:.2f} s: {1e3 * fast / args.draws:.3f} ms per draw")
    print(f"simpy      {args.simpy_draws} draws in {slow:.2f} s: {1e3 * slow / args.simpy_draws:.1f} ms each")
    print(f"ratio      {slow / args.simpy_draws / (fast / args.draws):.0f} times faster")
    gap = ours[: args.simpy_draws] - theirs
    for j, name in enumerate(COUNTED):
        error = gap[:, j].std(ddof=1) / np.sqrt(args.simpy_draws)
        print(
            f"{name:<16} quotacast {ours[: args.simpy_draws, j].mean():.1f}, simpy {theirs[:, j].mean():.1f} "
            f"(same draws); difference {gap[:, j].mean():+.1f}, standard error {error:.1f}; "
            f"all draws {ours[:, j].mean():.1f}"
        )
    print(f"memory     {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB at most")
    if (np.abs(gap.mean(axis=0)) > 4 * gap.std(axis=0, ddof=1) / np.sqrt(args.simpy_draws)).any():
        raise SystemExit("the means differ by more than 4 standard errors")


if __name__ == "__main__":
    main()
