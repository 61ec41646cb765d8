"""How often a break at the end of the data is told, where there is none and where there is one.

Run ``python benchmarks/breaks.py`` from the repository; with ``--companies 1000 --out
benchmarks/results/breaks.md`` (a quarter of an hour) it makes the stored report. The companies are those of
``calibration_worlds``: five reps, two years of records, monthly shocks, seasons, drifts, a rep hired on the
way. The peer is the naive reading of the same weeks: Poisson counts at a constant level, with the same
adjustment for many tests.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import calibration_worlds as worlds
import numpy as np

from quotacast.models.history import breaks


def since(day: date, factor: float) -> worlds.Disturbance:
    """Creation and win hazard times a factor from a day on."""
    change = worlds._since(day, factor)
    return worlds.Disturbance(
        f"creation and win hazard x {factor:g} from {day:%d %b %Y}", level={"creation": change, "win": change}
    )


NO_BREAK: Mapping[str, worlds.Disturbance] = {
    name: worlds.DISTURBANCES[name] for name in (worlds.NONE, "quarter-end push", "leaver", "dead deals")
}
BREAKS: Mapping[str, worlds.Disturbance] = {
    "as the calibration suite": worlds.DISTURBANCES["structural break"],
    "milder and older": since(date(2025, 7, 15), 0.6),
    "four months": since(date(2025, 9, 1), 0.4),
    "two months, deep": since(date(2025, 11, 1), 0.3),
    "next to nothing": since(date(2025, 11, 1), 0.05),
}


def told(wrong: worlds.Disturbance, number: int) -> tuple[bool, bool]:
    """Whether a company is told of a break, and whether the naive reading would say so."""
    spec, _ = worlds.accepted(number)
    found = worlds.records(spec, wrong)
    spec = wrong.spec(spec) if wrong.spec else spec
    seen = worlds.history(spec, found, found.clock.last, worlds.LAST, wrong.forget_left)
    return bool(breaks.find_breaks(seen)), _naive(seen)


def _naive(seen: worlds.History) -> bool:
    """Poisson tails of the last weeks' creations, wins and losses at the mean of the year before."""
    from scipy.stats import poisson

    last = np.datetime64(seen.as_of_date, "D")
    deals, tails = seen.opportunities, []
    for stream in breaks.STREAMS:
        mine = deals if stream == "created" else deals[deals["status"] == stream]
        days = mine["created_on" if stream == "created" else "closed_on"].to_numpy("datetime64[D]")
        ago = ((last - days).astype(int)) // 7
        for k in breaks.ENDS:
            due = ((ago >= k) & (ago < k + breaks.LONGEST)).sum() * k / breaks.LONGEST
            count = int((ago < k).sum())
            tails += [poisson.cdf(count, due), poisson.sf(count - 1, due)]
    return bool(breaks.holm(np.array(tails)).min() <= breaks.LEVEL)


def table(companies: int) -> list[str]:
    """Rows of the report."""
    rows = ["| company | what is wrong | companies | told | se | naive |", "|---|---|---|---|---|---|"]
    for cases, share in ((NO_BREAK, 1.0), (BREAKS, 0.2)):
        for name, wrong in cases.items():
            n = companies if name == worlds.NONE else max(20, int(companies * min(share, 0.2)))
            both = np.array([told(wrong, number) for number in range(n)])
            p, naive = both.mean(axis=0)
            error = np.sqrt(p * (1 - p) / n)
            rows.append(f"| {name} | {wrong.meaning} | {n} | {p:.1%} | {error:.1%} | {naive:.0%} |")
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--companies", type=int, default=200)
    parser.add_argument("--out", type=Path, help="file for the report")
    chosen = parser.parse_args()
    level = f"{breaks.LEVEL:.0%}"
    ends = ", ".join(map(str, breaks.ENDS))
    head = [
        "# Breaks at the end of the data: how often they are told",
        "",
        f"`python benchmarks/breaks.py --companies {chosen.companies} --out benchmarks/results/breaks.md`",
        "",
        f"Family-wise level {level}, ends of {ends} weeks. A company's own shocks, seasons and drifts are as",
        "large as the milder breaks here: those cannot be told from them, and are not. `naive` is a Poisson",
        "test of the same weeks.",
        "",
    ]
    report = "\n".join([*head, *table(chosen.companies)]) + "\n"
    if chosen.out:
        chosen.out.write_text(report, encoding="utf-8")


if __name__ == "__main__":
    main()
