"""The gap lever by lever, and the cheapest way to close it: on one small fitted company."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quotacast.engine.reports.files import write
from quotacast.errors import PlanError
from quotacast.scenarios import run
from quotacast.scenarios.deciding import levers
from quotacast.scenarios.deciding.fewer import Fewer
from quotacast.scenarios.deciding.game import Game, resample_weights
from quotacast.scenarios.deciding.lever import levers_of
from quotacast.scenarios.deciding.levers import levers_answer
from quotacast.scenarios.deciding.leverwords import levers_text
from quotacast.scenarios.plan import load_plan
from quotacast.scenarios.run import Run


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "FIT_DRAWS", 200)
        patch.setattr(levers, "LEVER_DRAWS", 200)
        patch.setattr(levers, "RESAMPLES", 50)
        patch.setattr(levers, "STARTS", 3)
        yield


@pytest.fixture
def ready(decided: Path) -> Run:
    return Run(load_plan(decided), force=True)


@pytest.fixture(scope="module")
def lifted(decided: Path) -> Any:
    given = Run(load_plan(decided), force=True)
    return given, levers_answer(given, {"probability": 0.6})[0]


def test_parts_sum_to_the_whole_and_are_those_of_all_orders(lifted: Any) -> None:
    given, found = lifted
    table, summary = found.rows, found.summary
    assert table["p50_part"].sum() == pytest.approx(summary["levers"], rel=1e-12)
    assert table["odds_part"].sum() == pytest.approx(summary["odds_all"] - summary["odds_now"], rel=1e-9)
    assert summary["gap"] == pytest.approx(summary["levers"] + summary["rest"], rel=1e-12)
    every, _ = levers_of(given)
    wish = levers._wish(given, {"probability": 0.6})
    weights = levers.resample_weights(None, 200, 1, 1)
    game = levers.Game(given, wish, every, 200, weights)
    total = np.zeros(3)
    for order in permutations(range(3)):
        for k, i in enumerate(order):
            ends = (game.corner(frozenset(order[: k + n]))[0, 0] for n in (1, 0))
            total[i] += next(ends) - next(ends)
    np.testing.assert_allclose(table["p50_part"], total / 6, rtol=1e-9)
    assert table["group"].tolist() == ["hiring", "close rate", "price"]
    for name in ("p50", "odds"):
        for kind in ("alone", "part"):
            low, high = (table[f"{name}_{kind}_{end}"] for end in ("low", "high"))
            assert (low <= high).all()
    price = table.iloc[2]
    assert price["p50_alone"] == pytest.approx(0.2 * summary["p50_now"], rel=5e-3)
    assert summary["p50_now"] == np.quantile(game.draws_of((0.0, 0.0, 0.0)), 0.5, method="inverted_cdf")


def test_the_cheapest_set_is_that_of_an_exhaustive_search(lifted: Any) -> None:
    """All combinations, simulated with all of the plan's futures."""
    given, found = lifted
    every, _ = levers_of(given)
    wish = levers._wish(given, {"probability": 0.6})
    game = levers.Game(given, wish, every, 200, levers.resample_weights(None, 200, 0, 1))
    feasible = {}
    for point in product(*(lever.levels() for lever in every)):
        cost = sum(share * lever.cost for share, lever in zip(point, every, strict=True))
        if cost <= found.summary["cheapest"]["cost"] and levers._verified(game, point) >= 0.6:
            feasible[point] = cost
    best = min(feasible, key=lambda point: feasible[point])
    assert found.summary["cheapest"]["cost"] == pytest.approx(feasible[best])
    assert found.summary["cheapest"]["odds"] >= 0.6
    assert "the cheapest of 75 combinations, if odds never fall" in found.summary["cheapest"]["guarantee"]


def test_levers_work_until_some_day(lifted: Any) -> None:
    table = lifted[1].rows
    days = dict(zip(table["group"], table["last_useful_day"], strict=True))
    assert all(date(2027, 1, 1) < day <= date(2027, 12, 31) for day in days.values())
    assert (
        days["hiring"] < days["price"]
    )  # a price is paid on the last day; a hire must ramp, and deals take time


def test_levers_on_a_screen(lifted: Any) -> None:
    text = levers_text(lifted[1], {}, 80)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "Cheapest set: " in text


@pytest.mark.parametrize("ending", [".json", ".csv", ".xlsx", ".html", ".parquet"])
def test_levers_can_be_written(lifted: Any, ending: str, tmp_path: Path) -> None:
    write(lifted[1], tmp_path / f"levers{ending}")
    assert (tmp_path / f"levers{ending}").stat().st_size > 1000


def test_a_target_out_of_reach_is_said(ready: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levers, "STARTS", 1)
    found, _ = levers_answer(ready, {"probability": 0.6, "target": 9e9})
    assert not found.summary["met_by_levers"]
    assert "cannot be met with these levers" in found.words
    assert found.summary["rest"] > 8e9


def test_default_levers_are_labelled_and_have_no_cheapest_set(decided: Path, tmp_path: Path) -> None:
    text = decided.read_text()
    cut = text[: text.index("[[lever]]")] + text[text.index("[scenario.same]") :]
    plan = tmp_path / "plan.toml"
    plan.write_text(cut.replace('folder = "crm"', f'folder = "{decided.parent / "crm"}"'))
    made, default = levers_of(Run(load_plan(plan), force=True))
    assert default
    assert [lever.name for lever in made] == [
        "hire",
        "ramp",
        "creation",
        "close_rate",
        "cycle_days",
        "deal_value",
    ]
    assert [lever.high for lever in made] == [1.0, 0.9, 1.1, 1.1, 0.9, 1.1]
    assert {lever.place for lever in made} == {"default"}


def test_levers_that_cannot_be_moved_are_named(decided: Path) -> None:
    plan = load_plan(decided).edited(
        {
            "lever": [
                {"what": "hire", "scope": "rep:r01", "from": 0, "to": 1.5},
                {"what": "activity:call", "from": 1.0, "to": 1.2},
                {"what": "ramp", "from": 1.0, "to": 0.7, "on": date(2028, 1, 1)},
            ]
        }
    )
    given = Run(plan, force=True)
    with pytest.raises(PlanError) as caught:
        levers_of(given)
    places = [problem.partition(": ")[0] for problem in caught.value.problems]
    assert places == ["lever[4].scope", "lever[4].to", "lever[5].what", "lever[6].on"]
