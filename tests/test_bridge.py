"""From one forecast to the next: parts add up, and each is what only its driver's change would bring."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quotacast.engine.answers.bridge import CASH, DRIVERS, bridge, product_parts

PERIODS = ("2027-Q1", "2027-Q2", "2027-Q3")


def forecast(seed: int, cash: bool = True) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [(scope, name, p) for scope, name in (("company", ""), ("team", "north")) for p in PERIODS]
    table = pd.DataFrame(rows, columns=["scope", "scope_id", "period"])
    table["won"] = rng.uniform(20, 90, len(table))
    table["lost"] = rng.uniform(60, 200, len(table))
    table["bookings"] = table["won"] * rng.uniform(9e3, 3e4, len(table))
    if cash:
        table["billings"] = table["bookings"] * rng.uniform(0.5, 0.9, len(table))
        table["receipts"] = table["billings"] * rng.uniform(0.3, 0.9, len(table))
        table["contracted"] = rng.uniform(0, 5e5, len(table))
    return table


def columns(row: Any) -> list[float]:
    return [row[d.replace(" ", "_")] for d in DRIVERS]


def test_parts_are_means_over_all_orders() -> None:
    rng = np.random.default_rng(3)
    before, after = rng.uniform(0.4, 3, (4, 5)), rng.uniform(0.4, 3, (4, 5))
    wanted = np.zeros((4, 5))
    orders = list(permutations(range(4)))
    for order in orders:
        now = before.copy()
        for factor in order:
            base = now.prod(axis=0)
            now[factor] = after[factor]
            wanted[factor] += (now.prod(axis=0) - base) / len(orders)
    assert product_parts(before, after) == pytest.approx(wanted)
    assert product_parts(before, after).sum(axis=0) == pytest.approx(after.prod(axis=0) - before.prod(axis=0))


def test_both_ends_are_the_forecasts_and_parts_add_up() -> None:
    before, after = forecast(1), forecast(2)
    rows = bridge(before, after, {}).rows
    for metric, total in (("bookings", ["bookings"]), ("receipts", ["receipts", "contracted"])):
        mine = rows[rows["metric"] == metric]
        assert mine["before"].to_numpy() == pytest.approx(before[total].sum(axis=1).to_numpy())
        assert mine["after"].to_numpy() == pytest.approx(after[total].sum(axis=1).to_numpy())
    parts = rows[[d.replace(" ", "_") for d in DRIVERS]].sum(axis=1)
    assert (rows["before"] + parts).to_numpy() == pytest.approx(rows["after"].to_numpy())


def test_nothing_changed_is_exactly_nothing() -> None:
    rows = bridge(forecast(4), forecast(4), {}).rows
    assert (rows[[d.replace(" ", "_") for d in DRIVERS]] == 0).all(axis=None)


@pytest.mark.parametrize(
    ("driver", "change"),
    [
        ("volume", {"won": 1.3, "lost": 1.3, "bookings": 1.3, "billings": 1.3, "receipts": 1.3}),
        ("price", {"bookings": 0.8, "billings": 0.8, "receipts": 0.8}),
        ("timing", {"billings": 1.1, "receipts": 1.1}),
        ("payment", {"receipts": 0.7}),
        ("contracted", {"contracted": 1.5}),
    ],
)
def test_a_change_of_one_driver_is_all_its_own(driver: str, change: dict[str, float]) -> None:
    before = forecast(7)
    after = before.copy()
    for name, factor in change.items():
        after[name] *= factor
    rows = bridge(before, after, {}).rows
    metric = "bookings" if driver in ("volume", "price") else "receipts"
    for row in rows[rows["metric"] == metric].to_dict("records"):
        parts = dict(zip(DRIVERS, columns(row), strict=True))
        assert parts.pop(driver) == pytest.approx(row["after"] - row["before"])
        assert max(map(abs, parts.values())) == pytest.approx(0, abs=1e-6)


def test_deals_that_move_to_another_period_are_timing() -> None:
    before = forecast(9, cash=False).iloc[:3].reset_index(drop=True)
    rate = before[["won", "lost", "bookings"]].sum() / before[["won", "lost"]].sum().sum()
    closed = pd.Series([100.0, 150.0, 80.0])
    for name in rate.index:
        before[name] = closed * rate[name]
    after = before.copy()
    moved = pd.Series([70.0, 160.0, 100.0])
    for name in rate.index:
        after[name] = moved * rate[name]
    rows = bridge(before, after, {}).rows
    assert rows["timing"].to_numpy() == pytest.approx(((moved - closed) * rate["bookings"]).to_numpy())
    assert rows["timing"].sum() == pytest.approx(0, abs=1e-6)
    assert rows[["volume", "win_rate", "price"]].to_numpy() == pytest.approx(0, abs=1e-6)


def test_empty_periods_and_receipts_without_bills_still_add_up() -> None:
    before, after = forecast(11), forecast(12)
    before.loc[0, ["won", "bookings", "billings"]] = 0.0
    after.loc[1, ["won", "lost", "bookings", "billings", "receipts"]] = 0.0
    rows = bridge(before, after, {}).rows
    parts = rows[[d.replace(" ", "_") for d in DRIVERS]].sum(axis=1)
    assert np.isfinite(parts).all()
    assert (rows["before"] + parts).to_numpy() == pytest.approx(rows["after"].to_numpy())
    received = rows[rows["metric"] == "receipts"]["before"].to_numpy()
    assert received == pytest.approx((before["receipts"] + before["contracted"]).to_numpy())


def test_periods_of_one_forecast_only_are_named_and_words_tell_the_largest_part_first() -> None:
    before, after = forecast(1, cash=False), forecast(2, cash=False)
    found = bridge(before[before["period"] != "2027-Q3"], after, {}, "FY27 v3")
    assert found.summary["periods_left_out"] == ["2027-Q3"]
    assert set(found.rows["metric"]) == {"bookings"}
    assert "in FY27 v3, now" in found.words
    whole = found.summary["by_period"][0]
    largest = max(DRIVERS, key=lambda d: abs(whole[d.replace(" ", "_")]))
    assert found.words.partition("): ")[2].startswith(largest)
    assert set(CASH).isdisjoint(found.rows.columns) or "contracted" in found.rows
    nothing = bridge(before.iloc[:0], after, {}, "x")
    assert nothing.words == "No period is in both this forecast and x."
