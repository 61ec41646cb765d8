"""How much common random numbers help: the variance of an estimated difference, with and without them.

A small change of the example company is simulated twice: with the same random numbers as the plan, and with
other ones. Printed for each change: the variance of the mean difference of bookings with independent streams,
divided by that with common ones: so many times the futures would be needed to know the difference as well.

Two kinds of independence: new random numbers under the same rows of the posterior (the narrower one, and
the one that counts here), and other rows as well, as two separate programs would have it.

    python benchmarks/variance_reduction.py --draws 2000
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import numpy as np

from quotacast.engine.drivers import Change, Drivers, Hire
from quotacast.engine.metrics import metric, series
from quotacast.engine.quota import Scope
from quotacast.engine.simulate import simulate
from quotacast.engine.steps import Steps
from quotacast.engine.worlds import write_example
from quotacast.models.funnel import Funnel, fit, prepare
from quotacast.models.history.history import History
from quotacast.models.history.read import read_history
from quotacast.models.periods import Calendar, Period

#: Small changes: a plan is discussed in steps of this size.
CHANGES: Mapping[str, Drivers] = {
    "close rate +2 %": Drivers(changes=(Change("close_rate", "company", times=1.02),)),
    "deal value +2 %": Drivers(changes=(Change("deal_value", "company", times=1.02),)),
    "creations +2 %": Drivers(changes=(Change("opportunities_created", "company", times=1.02),)),
    "cycle -2 %": Drivers(changes=(Change("cycle_days", "company", times=0.98),)),
    "one rep's creations +10 %": Drivers(changes=(Change("opportunities_created", "rep:r05", times=1.1),)),
    "one hire in October": Drivers(hires=(Hire("south+1", "south", date(2027, 10, 1)),)),
}


def bookings(
    funnel: Funnel, history: History, drivers: Drivers, period: Period, draws: int, seed: int
) -> np.ndarray:
    """Bookings of the company in a period, shape (draws,)."""
    steps = Steps.covering((period,))
    paths = simulate(
        funnel, history, drivers, steps, period.last, draws=draws, seed=seed, measures=("won_cents",)
    )
    return series(paths, metric("bookings"), Scope("company"), period).total


def reduction(
    funnel: Funnel, history: History, drivers: Drivers, period: Period, draws: int, seed: int = 1
) -> tuple[float, float, float]:
    """Mean difference, and its variance with independent streams over that with common ones.

    Returns
    -------
    difference, ratio, ratio_rows : float
        The second ratio is against other rows of the posterior as well.
    """
    base = bookings(funnel, history, Drivers(), period, draws, seed)
    common = bookings(funnel, history, drivers, period, draws, seed)
    other = bookings(funnel, history, drivers, period, draws, seed + 1000)
    rows = np.roll(other, draws // 2 + 1)  # draws take rows in turn: shifted, they meet other ones
    paired = (common - base).var(ddof=1)
    return (
        float((common - base).mean()),
        float((other - base).var(ddof=1) / paired),
        float((rows - base).var(ddof=1) / paired),
    )


def main() -> None:
    """Fit the example once, and print a line for each change."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=2000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        write_example(Path(work) / "demo")
        history = read_history(Path(work) / "demo" / "crm", as_of=date(2026, 12, 31))
    period = Calendar().parse("2027")
    funnel = fit(prepare(history, Calendar()), method="laplace")
    print(f"{asked.draws:,} futures of the example company, bookings of 2027")
    print(f"{'change':<28}{'difference':>12}{'independent / common':>22}{'rows too':>12}")
    for name, drivers in CHANGES.items():
        diff, ratio, rows = reduction(funnel, history, drivers, period, asked.draws)
        print(f"{name:<28}{diff:>12,.0f}{ratio:>20,.0f} x{rows:>10,.0f} x")


if __name__ == "__main__":
    main()
