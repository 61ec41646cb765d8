"""`revenue --since`: what is kept at approval, and the bridge from there to today's forecast."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quotacast.errors import DataError, PlanError
from quotacast.scenarios import run
from quotacast.scenarios.deciding.approve import approve_answer
from quotacast.scenarios.deciding.bridging import FILE, bridge_text, since_answer
from quotacast.scenarios.money.revenue import revenue_answer
from quotacast.scenarios.plan import load_plan

SIGNED = {"by": "the board", "on": date(2027, 1, 15)}
ASKED: dict[str, Any] = {
    "by": None,
    "metric": (),
    "quantiles": (10.0, 50.0, 90.0),
    "since": "last",
    "out": None,
    "paths": None,
}
PARTS = ["volume", "win_rate", "price", "timing", "payment", "contracted"]


@pytest.fixture(autouse=True, scope="module")
def few() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "FIT_DRAWS", 100)
        yield


@pytest.fixture(scope="module")
def signed_off(few: None, decided: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the plan, with terms, and its version of record."""
    folder = tmp_path_factory.mktemp("bridge") / "demo"
    shutil.copytree(decided.parent, folder)
    plan = folder / "plan.toml"
    plan.write_text(plan.read_text() + '\n[terms]\nbill = "quarterly"\nterm_months = 12\n', encoding="utf-8")
    approve_answer(ready(plan), {"as": "FY27 v1", **SIGNED})
    return plan


@pytest.fixture
def company(signed_off: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    shutil.copytree(signed_off.parent, tmp_path / "demo")
    return tmp_path / "demo" / "plan.toml"


def ready(plan: Path) -> run.Run:
    return run.Run(load_plan(plan), force=True)


def test_nothing_changed_is_exactly_nothing(company: Path) -> None:
    found, _ = revenue_answer(ready(company), ASKED)
    assert found.name == "bridge"
    assert found.summary["earlier"] == "FY27 v1"
    assert set(found.rows["metric"]) == {"bookings", "receipts"}
    assert (found.rows[PARTS] == 0).all(axis=None)
    assert (found.rows["before"] == found.rows["after"]).all()
    assert (found.rows["after"] > 0).any()


def test_a_higher_price_is_price(company: Path) -> None:
    text = company.read_text()
    company.write_text(text + '\n[[change]]\nwhat = "deal_value"\ntimes = 1.25\n', encoding="utf-8")
    found, _ = since_answer(ready(company), "FY27 v1")
    booked = found.rows[found.rows["metric"] == "bookings"]
    difference = booked["after"] - booked["before"]
    np.testing.assert_allclose(booked["after"], 1.25 * booked["before"], rtol=0.02)  # the largest are capped
    np.testing.assert_allclose(booked["price"], difference, rtol=1e-9)
    received = found.rows[found.rows["metric"] == "receipts"]
    assert received["price"].sum() > 0
    np.testing.assert_allclose(received["before"] + received[PARTS].sum(axis=1), received["after"])
    assert received["contracted"].abs().max() == 0  # what is signed is as it was
    text = bridge_text(found, {}, 80)
    assert "Expected receipts" in text
    assert max(map(len, text.splitlines())) <= 80


def test_what_is_missing_or_changed_is_named(company: Path, decided: Path) -> None:
    with pytest.raises(PlanError, match="no such version is approved, did you mean FY27 v1"):
        since_answer(ready(company), "FY27 v2")
    with pytest.raises(PlanError, match="nothing is approved yet"):
        since_answer(ready(decided), "last")
    kept = company.parent / "approved" / "fy27-v1" / FILE
    kept.write_text(kept.read_text().replace("2027-01", "2027-02"), encoding="utf-8")
    with pytest.raises(DataError, match=FILE):
        since_answer(ready(company), "last")
