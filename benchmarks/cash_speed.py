"""Cash of two years: seconds and peak memory of all that follows the fit.

Run ``python benchmarks/cash_speed.py`` from the project's root, the package being installed.
The example company (20 reps) is fitted once; invoices are added until 3,000 are open. Then 24 months are
simulated day by day in 10,000 futures, every deal is invoiced and paid, every open invoice is paid from its
present age, and the answer of `cash` is made: thirteen weeks, 24 months, odds, credit line and drivers. The
target is 3 seconds and 1.5 GB on two cores.

The answer is made twice: with everything to be simulated, and again as the next command makes it, which finds
the draws of the first one on disk: whoever changes what the plan says of money waits only so long. What the
clocks take is told apart.

The comparison is the slow ledger of the tests (plain Python, deal by deal) on a few of the same futures.
"""

from __future__ import annotations

import argparse
import re
import resource
import shutil
import sys
import time
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from quotacast.engine.finance.ledger import cash_paths
from quotacast.engine.worlds import write_example
from quotacast.scenarios.money.cash import cash_answer, cash_spans
from quotacast.scenarios.money.ledger import ledger_of
from quotacast.scenarios.plan import load_plan
from quotacast.scenarios.run import Run

MONEY = """
[costs]
rep_month = 9_000
commission = {{ rate = "5%", accelerator = 1.5 }}
[terms]
bill = "{bill}"
recognise = "straight_line"
[cash]
opening = 1_500_000
floor = 400_000
vat = "25%"
"""


def company(folder: Path, open_invoices: int, draws: int, bill: str) -> Path:
    """The example with a plan about money and so many open invoices; the plan's path."""
    if not (folder / "crm").exists():
        write_example(folder)
    text = (folder / "plan.toml").read_text(encoding="utf-8")
    text = text.replace('horizon = "2027"', 'horizon = "2028"').replace("draws = 4000", f"draws = {draws}")
    place = folder / "crm" / "invoices.csv"
    rows = pd.read_csv(place, dtype=str)
    missing = open_invoices - int(rows["paid_on"].isna().sum())
    if missing > 0:
        rng = np.random.default_rng(1)
        extra = rows.iloc[rng.integers(0, len(rows), missing)].copy()
        last = pd.Timestamp(rows["issued_on"].max())
        issued = [last - timedelta(days=int(d)) for d in rng.integers(0, 60, missing)]
        extra["invoice_id"] = [f"x{i:05d}" for i in range(missing)]
        extra["issued_on"] = [f"{d:%Y-%m-%d}" for d in issued]
        extra["due_on"] = [f"{d + timedelta(days=30):%Y-%m-%d}" for d in issued]
        extra["paid_on"] = extra["opportunity_id"] = None
        pd.concat([rows, extra]).to_csv(place, index=False)
    for heading in ("terms", "cash", "lever"):  # the example's own tables about money give way
        text = re.sub(rf"(?ms)^\[+{heading}[^\n]*\]\n.*?(?=^\[(?!\[?(?:cash|lever))|^#|\Z)", "", text)
    plan = folder / f"money-{bill}.toml"
    plan.write_text(text + MONEY.format(bill=bill), encoding="utf-8")
    return plan


def memory() -> float:
    """Peak memory of this process, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Fit if need be, compile, then run it again and say how long everything took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="keep company and fit here")
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--open", type=int, default=3000)
    parser.add_argument("--bill", default="at_close", help="at_close, monthly, quarterly or yearly")
    given = parser.parse_args()
    with TemporaryDirectory() as spare:
        folder = given.folder or Path(spare)
        folder.mkdir(parents=True, exist_ok=True)
        measure(company(folder, given.open, given.draws, given.bill))


def measure(place: Path) -> None:
    """Time the whole answer and its parts."""
    run = Run(load_plan(place))
    options = {"quantiles": (10.0, 50.0, 90.0), "out": None, "paths": None}
    run.funnel  # noqa: B018  fitted or read
    small = Run(load_plan(place).edited({"draws": 100}))
    cash_answer(small, options)  # compiles
    before = memory()
    shutil.rmtree(run.simulated.draws.folder, ignore_errors=True)
    for name in ("first", "again"):
        now = Run(load_plan(place))
        now.funnel  # noqa: B018  read
        start, work = time.perf_counter(), time.process_time()
        answer, _ = cash_answer(now, options)
        took, used = time.perf_counter() - start, time.process_time() - work
        print(f"{name}       {took:6.2f} s   {used:6.2f} s of work on {used / took:.1f} cores")
    print(f"{run.plan.draws:,} futures, {answer.summary['open_invoices']:,.0f} in open invoices")
    print(f"memory      {memory():6.0f} MB at most, {before:.0f} MB before")
    parts(run)


def parts(run: Run) -> None:
    """Time the clocks, and the slow ledger on one future."""
    ledger = ledger_of(run, margins=False)
    print(f"{len(ledger.open.rows):,} open invoices")
    start = time.process_time()
    paths = cash_paths(ledger, cash_spans(run))
    took = time.process_time() - start
    print(f"clocks      {took:6.2f} s of work, {1e6 * took / paths.draws:.0f} microseconds a future")
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from ledger_oracle import SlowLedger

    dense = {name: columns.taken(np.arange(1)).dense() for name, columns in ledger.wins.columns.items()}
    slow, start = SlowLedger(ledger, dense), time.process_time()
    slow.future(0)
    mine = time.process_time() - start
    print(
        f"slow ledger {mine:6.2f} s of work for one future: {mine / (took / paths.draws):,.0f} times as long"
    )


if __name__ == "__main__":
    main()
