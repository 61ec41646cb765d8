"""The luck of the best of six, skill against a baseline that was chosen elsewhere, and a company in small.

The whole proof is ``benchmarks/fair_skill.py``; its results are in ``benchmarks/results``.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def fair() -> Iterator[ModuleType]:
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module("fair_skill")
    sys.path.remove(str(BENCHMARKS))


def test_the_luck_of_equals_is_that_of_fresh_records(fair: ModuleType) -> None:
    """Independent: draw many records of six truly equal forecasters and see how far the best is ahead."""
    rng = np.random.default_rng(3)
    fresh = rng.gamma(2.0, 1.0, (3000, 40, 6)).mean(axis=1)
    expected = float((1.0 - fresh.min(axis=1) / fresh.mean(axis=1)).mean())
    records = rng.gamma(2.0, 1.0, (60, 40, 6)) * np.array([1.0, 2.0, 0.5, 3.0, 1.5, 0.8])  # scaled out again
    assert np.mean([fair.luck(r, 1) for r in records]) == pytest.approx(expected, rel=0.08)
    assert expected > 0.1


def test_luck_is_none_where_the_rivals_are_one_and_more_where_origins_overlap(fair: ModuleType) -> None:
    rng = np.random.default_rng(4)
    column = rng.gamma(2.0, 1.0, (24, 1))
    assert fair.luck(np.repeat(column, 6, axis=1), 1) == pytest.approx(0.0)
    overlapping = np.repeat(rng.gamma(2.0, 1.0, (10, 6)), 3, axis=0)
    assert fair.luck(overlapping, 3) > 1.3 * fair.luck(overlapping, 1)


def test_the_rival_is_chosen_where_its_periods_do_not_overlap(fair: ModuleType) -> None:
    rivals = np.full((9, 2), [1.0, 1.5])
    rivals[3:6, 1] = 0.1  # the second was good in the middle quarter alone
    # those near the middle do not see it, those further off are led astray
    assert list(fair.elsewhere(rivals, 3)) == [1.5, 1.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.5, 1.5]
    assert list(fair.elsewhere(rivals, 1)) == [1.5, 1.5, 1.5, 1.0, 1.0, 1.0, 1.5, 1.5, 1.5]


def test_a_reading_names_the_best_after_the_fact(fair: ModuleType) -> None:
    rng = np.random.default_rng(6)
    table: dict[str, list[Any]] = {n: list(rng.gamma(9.0, 0.2, 12) + k) for k, n in enumerate(fair.BASELINES)}
    table["ets"] = [None, *table["ets"][1:]]  # who is silent once does not compete
    table["structural"] = list(0.7 * np.array(table["pipeline"]))
    read = fair.reading(table, "structural", "m2")
    assert read["after"] == pytest.approx(0.3)
    assert read["elsewhere"] >= read["after"] - 1e-12
    assert read["winrate"] == pytest.approx(1.0 - sum(table["structural"]) / sum(table["winrate"]))
    assert read["origins"] == 12


def test_an_origin_of_a_company_is_scored_for_every_model(fair: ModuleType) -> None:
    spec, history = fair.company(2)
    assert fair.company(2)[0] == spec
    assert spec.n_reps == 8
    found = fair.at_origin(history, date(2025, 8, 31))
    assert set(found) == {(h, m) for h in fair.OVERLAP for m in fair.METRICS}
    for row in found.values():
        assert set(row) == {"structural", *fair.BASELINES}
        assert all(value is not None and value > 0 for value in row.values())


def test_stored_records_are_read_by_horizon(fair: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no stored backtest"):
        next(fair.stored(tmp_path))
    for k, origin in enumerate(("2025-01-31", "2025-02-28")):
        place = tmp_path / ".quotacast" / "backtests" / "one" / origin
        place.mkdir(parents=True)
        base = {"origin": origin, "horizon": "m3", "metric": "bookings", "component": "total"}
        rows = [{**base, "scope": s, "model": m, "crps": 2.5 * k + len(s + m)}
                for s in ("company", "rep") for m in ("quotacast", "runrate")]  # fmt: skip
        pd.DataFrame(rows).to_parquet(place / "rows.parquet")
    assert list(fair.stored(tmp_path)) == [
        ("m3", "bookings", {"quotacast": [16.0, 18.5], "runrate": [14.0, 16.5]})
    ]


def test_sums_that_somebody_balanced_are_seen_to_be_too_even(fair: ModuleType) -> None:
    rng = np.random.default_rng(8)
    counts = np.array([31, 22, 40, 27, 35])
    shares, spreads = [], []
    for _ in range(30):
        amounts = rng.gamma(0.8, 900.0, counts.sum())
        parts = np.split(amounts, np.cumsum(counts)[:-1])
        found = fair.evenness(counts, np.array([p.sum() for p in parts]), amounts)
        shares.append(found["as_even"])
        spreads.append(found["independent"])
    # ranks of what it draws itself are uniform: mean 1/2, .29 / sqrt(30) = .053 of error
    assert np.mean(shares) == pytest.approx(0.5, abs=0.16)
    # the counts differ, and of n amounts the sum has sd / mean = cv / sqrt(n), .8**-.5 / sqrt(31)
    assert np.mean(spreads) == pytest.approx(np.hypot(counts.std(ddof=1) / 31.0, (0.8 * 31) ** -0.5), rel=0.1)
    balanced = fair.evenness(counts, np.array([900.0, 930.0, 910.0, 905.0, 915.0]), amounts)
    assert balanced["seen"] == pytest.approx(0.0126, abs=0.0005)
    assert balanced["as_even"] < 0.002


@pytest.mark.parametrize(("as_of", "whole"), [("2025-09-30", 3), ("2025-09-29", 2)])
def test_quarters_are_whole_and_begin_after_the_first_origin(
    fair: ModuleType, tmp_path: Path, as_of: str, whole: int
) -> None:
    # a win before the first origin's next quarter, one after the last whole one, and an empty quarter between
    wins = {"2024-12-30": 9.0, "2025-01-02": 30.0, "2025-03-31": 10.0, "2025-07-01": 20.0, as_of: 5.0}
    rows = [
        {"opportunity_id": f"d{k}", "created_on": "2024-12-01", "status": "won", "closed_on": day,
         "amount": amount, "rep_id": "r1"}
        for k, (day, amount) in enumerate(wins.items())
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "opportunities.csv", index=False)
    found = fair.quarters(tmp_path, date(2024, 11, 30))
    sums = np.array([40.0, 0.0, 25.0])[:whole]
    assert found["quarters"] == whole
    assert found["seen"] == pytest.approx(sums.std(ddof=1) / sums.mean())


def test_the_report_says_how_many_companies_reach_a_skill(fair: ModuleType) -> None:
    rival = np.random.default_rng(2).gamma(4.0, 1.0, 18)

    def company(skill: float) -> dict[str, Any]:
        table = {fair.RIGHT: ((1.0 - skill) * rival).tolist(), "runrate": rival.tolist()}
        return {f"{horizon} {metric}": table for horizon in fair.OVERLAP for metric in fair.METRICS}

    jobs = {str(k): company(skill) for k, skill in enumerate((-0.3, 0.05, 0.15, 0.25))} | {
        "9": {"failed": "x"}
    }
    rows = [line for line in fair.report(jobs, {}).splitlines() if line.startswith("| bookings | m1")]
    assert len(rows) == 1
    assert rows[0].split(" | ")[3] == "50% / 25%"
    said = (
        "every horizon of bookings the right model is better by 10% or more in 2 and by 20% or more in 1 of 4"
    )
    assert said in fair.report(jobs, {})
