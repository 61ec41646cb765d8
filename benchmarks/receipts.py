"""Receipts of the receivables data over rolling origins, by the payment model and by what is commonly done.

Run from the project's root; the file is read from ``../shared/data/receivables`` by the mapping of the
examples, and ``results/receipts.md`` is written::

    python benchmarks/receipts.py

Week by week, 1 to 13 weeks after each origin, receipts of the invoices open at the origin and of all, the
billing after the origin taken as known (see ``engine/backtest/receipts.py``).
"""

from __future__ import annotations

import argparse
import os
import tempfile
from datetime import date
from pathlib import Path

if __name__ == "__main__":  # tests import this file, and their threads are counted already
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(_name, "1")

import pandas as pd
from calibration_store import RESULTS

from quotacast.engine.backtest.receipts import STEP, WEEKS, backtest_receipts, origins, receipts_summary
from quotacast.engine.backtest.receipts_baselines import baselines
from quotacast.engine.backtest.receipts_forecast import model_forecast
from quotacast.models.history.history import History
from quotacast.models.history.importers import import_source
from quotacast.models.history.read import read_history
from quotacast.models.periods import Calendar

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT.parent / "shared" / "data" / "receivables" / "WA_Fn-UseC_-Accounts-Receivable.csv"
MAPPING = ROOT / "scenarios" / "examples" / "receivables_mapping.toml"
#: The last payment in the file.
LAST = date(2014, 1, 9)


def receivables(source: Path = FILE) -> History:
    """The receivables data as a history."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "data"
        import_source([source], kind=MAPPING, out=out)
        return read_history(out, as_of=LAST)


def report(summary: pd.DataFrame, rows: pd.DataFrame) -> str:
    """The result as Markdown."""
    days = sorted(rows["origin"].unique())
    head = [
        "# Receipts by week",
        "",
        "`python benchmarks/receipts.py`",
        "",
        f"{len(days)} origins, {days[0]} to {days[-1]}, every {STEP} days; receipts of weeks 1 to {WEEKS}",
        "after each, billing after the origin taken as known. Skill is 1 - CRPS of Quotacast / CRPS of the",
        "row; ± is one block standard error (blocks as long as forecasts overlap).",
        "",
        "| invoices | forecast | CRPS | skill of Quotacast | 50 % held | 80 % held | 95 % held |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in summary.to_dict("records"):
        if pd.isna(row["crps"]):
            continue
        gain = "" if pd.isna(row["skill"]) else f"{row['skill']:.3f} ± {row['skill_se']:.3f}"
        head.append(
            f"| {row['component']} | {row['model']} | {row['crps']:.1f} | {gain} | {row['covered_50']:.3f} "
            f"| {row['covered_80']:.3f} ± {row['covered_80_se']:.3f} | {row['covered_95']:.3f} |"
        )
    return "\n".join(head) + "\n"


def by_week(rows: pd.DataFrame) -> str:
    """Share of 80 % ranges that held, and mean CRPS, of Quotacast by week ahead."""
    ours = rows[rows["model"] == "quotacast"]
    held = ours.pivot_table(index="week", columns="component", values=["covered_80", "crps"])
    lines = [
        "",
        "Quotacast by week ahead",
        "",
        "| week | open: held, CRPS | total: held, CRPS |",
        "|---|---|---|",
    ]
    for week, row in held.iterrows():
        cells = [f"{row[('covered_80', c)]:.2f}, {row[('crps', c)]:.1f}" for c in ("open", "total")]
        lines.append(f"| {week} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run, print and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--step", type=int, default=STEP, help="days between origins")
    parser.add_argument("--source", type=Path, default=FILE, help="the file of receivables")
    options = parser.parse_args()
    history = receivables(options.source)
    forecasts = {"quotacast": model_forecast(Calendar(), options.seed), **baselines(options.seed)}
    days = origins(history, options.step)
    rows = backtest_receipts(
        history, forecasts, days, options.seed, lambda origin: print(origin, flush=True)
    )  # fmt: skip
    text = report(receipts_summary(rows, options.seed), rows) + by_week(rows)
    print(text)
    if options.step == STEP:
        (RESULTS / "receipts.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
