"""The gap lever by lever, and the cheapest way to close it: on one small fitted company."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quotacast.engine.metrics import metric, series
from quotacast.engine.quota import Scope
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
        patch.setattr(levers, "LEVER_DEALS", 1.0)
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


def _game(given: Run, draws: int = 200, resamples: int = 1) -> Game:
    wish = levers._wish(given, {"probability": 0.6})
    whole = given.paths([given.plan.horizon_period], ("bookings", "opportunities_created"))
    fewer = Fewer(given, whole, draws)
    weights = resample_weights(fewer.cluster, resamples, 1)
    return Game(given, wish, levers_of(given)[0], fewer, weights)


def test_parts_sum_to_the_whole_and_are_those_of_all_orders(lifted: Any) -> None:
    given, found = lifted
    table, summary = found.rows, found.summary
    assert table["p50_part"].sum() == pytest.approx(summary["levers"], rel=1e-12)
    assert table["odds_part"].sum() == pytest.approx(summary["odds_all"] - summary["odds_now"], rel=1e-9)
    assert summary["gap"] == pytest.approx(summary["levers"] + summary["rest"], rel=1e-12)
    game = _game(given)
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
    tried = np.quantile(game.draws_of((0.0, 0.0, 0.0)), 0.5, method="inverted_cdf")
    assert price["p50_alone"] == pytest.approx(0.2 * tried, rel=5e-3)


def test_as_things_stand_is_told_by_all_futures(lifted: Any) -> None:
    """Odds and median are those of every other answer; all together is that plus the paired change."""
    given, found = lifted
    whole, summary = given.plan.horizon_period, found.summary
    paths = given.paths([whole], ("bookings",))
    values = series(paths, metric("bookings"), Scope("company"), whole).total
    assert (summary["draws"], summary["of_draws"]) == (200, 400)
    assert summary["p50_now"] == np.quantile(values, 0.5)
    assert summary["odds_now"] == (values >= summary["target"]).mean()
    game = _game(given)
    first = game.draws_of((0.0, 0.0, 0.0))
    np.testing.assert_array_equal(first, values[:200])
    change = (game.draws_of((1.0,) * 3) >= summary["target"]).mean() - (first >= summary["target"]).mean()
    assert summary["odds_all"] == pytest.approx(min(summary["odds_now"] + change, 1.0))
    exact = game.verified((0.0, 1.0, 0.0))
    assert abs(game.level((0.0, 1.0, 0.0))[1] - exact) < 4 * np.sqrt(0.25 / 200)
    everything = _game(given, draws=400)
    assert everything.verified((0.0, 1.0, 0.0)) == pytest.approx(exact)
    assert "by the same 200 of them" in found.words


def test_the_range_of_outcomes_is_not_the_simulation_error(lifted: Any) -> None:
    """A price raises every future's bookings by a fifth: its part spreads as bookings do."""
    given, found = lifted
    price = found.rows.iloc[2]
    game = _game(given)
    parts = {i: np.zeros(200) for i in range(3)}
    for order in permutations(range(3)):
        for k, i in enumerate(order):
            after, before = (game.draws_of(game.shares(frozenset(order[: k + n]))) for n in (1, 0))
            parts[i] += (after - before) / 6
    for i in range(3):
        row = found.rows.iloc[i]
        wanted = np.percentile(parts[i], (10, 50, 90))
        np.testing.assert_allclose(row[["part_p10", "part_p50", "part_p90"]].astype(float), wanted)
    spread = price["part_p90"] - price["part_p10"]
    assert spread > 3 * (price["p50_part_high"] - price["p50_part_low"])
    np.testing.assert_allclose(sum(parts.values()), game.draws_of((1.0,) * 3) - game.draws_of((0.0,) * 3))


def test_futures_of_one_posterior_row_are_resampled_together() -> None:
    cluster = np.array([4, 7, 4, 9, 7, 4])
    weights = resample_weights(cluster, 50, 3)
    assert (weights[0] == 1).all()
    for group in (4, 7, 9):
        own = weights[:, cluster == group]
        assert (own == own[:, :1]).all()
    assert len({tuple(row) for row in weights}) > 5
    np.testing.assert_array_equal(weights[1:][:, [0, 1, 3]].sum(axis=1), 3)


def test_the_cheapest_set_is_that_of_an_exhaustive_search(lifted: Any) -> None:
    """All combinations, simulated with all of the plan's futures."""
    given, found = lifted
    every, _ = levers_of(given)
    game = _game(given)
    feasible = {}
    for point in product(*(lever.levels() for lever in every)):
        cost = sum(share * lever.cost for share, lever in zip(point, every, strict=True))
        if cost <= found.summary["cheapest"]["cost"] and game.verified(point) >= 0.6:
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
