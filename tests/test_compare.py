"""Scenarios on the same futures, versions of record, levers: on one small fitted company."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quotacast.engine.drivers import Change, Drivers
from quotacast.engine.metrics import metric, series
from quotacast.engine.quota import Scope
from quotacast.engine.worlds import WorldSpec, draw_truth, make_world, write_world
from quotacast.errors import DataError, PlanError
from quotacast.scenarios import levers, run
from quotacast.scenarios.approve import approve_answer, approve_text
from quotacast.scenarios.approved import approved_names, load_approved, slug, versions
from quotacast.scenarios.candidates import candidates_text, side_by_side
from quotacast.scenarios.compare import compare_answer
from quotacast.scenarios.compare_view import compare_text
from quotacast.scenarios.deciding import compare_asked
from quotacast.scenarios.lever import levers_of
from quotacast.scenarios.levers import levers_answer
from quotacast.scenarios.leverwords import levers_text
from quotacast.scenarios.plan import load_plan
from quotacast.scenarios.run import Run
from quotacast.scenarios.verdicts import quota_verdicts

MORE = """
[costs]
rep_month = 3_000
hire = 7_000
commission.rate = "4%"

[[quota]]
scope = "company"
metric = "bookings"
period = "2027"
target = {target}
[[quota]]
scope = "team:north"
metric = "deals_won"
period = "2027"
target = {deals}

[[lever]]
what = "hire"
scope = "team:south"
from = 0
to = 2
[[lever]]
what = "close_rate"
from = 1.0
to = 1.3
cost = 90_000
[[lever]]
what = "deal_value"
from = 1.0
to = 1.2
cost = 60_000

[scenario.same]
name = "the same by another name"
[scenario.same_too]
[[scenario.same_too.change]]
what = "close_rate"
times = 1.0
from = 2027-03-09
[scenario.price]
[[scenario.price.change]]
what = "deal_value"
times = 1.1
[[scenario.price.quota]]
scope = "company"
metric = "bookings"
period = "2027"
target = 900_000_000
[scenario.people]
[[scenario.people.hire]]
team = "south"
on = 2027-03-01
[scenario.other]
seed = 7
draws = 300
calendar.year_starts = 4
[scenario.wrong]
[[scenario.wrong.leave]]
rep = "r55"
on = 2027-03-01
[[scenario.wrong.change]]
what = "margin"
times = 1.1
[[scenario.wrong.move]]
segment = "smbx"
from = "rep:r01"
to = "team:south"
on = 2027-03-01
"""


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "FIT_DRAWS", 200)
        patch.setattr(levers, "LEVER_DRAWS", 200)
        patch.setattr(levers, "RESAMPLES", 50)
        patch.setattr(levers, "STARTS", 3)
        yield


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan with scenarios, for five reps in two teams."""
    folder = tmp_path_factory.mktemp("company") / "demo"
    truth = draw_truth(np.random.default_rng(5), 5, 2)
    teams = (("north", 3), ("south", 2))
    first, last = date(2025, 7, 1), date(2026, 12, 31)
    write_world(make_world(WorldSpec(5, teams, first, last, 5, truth, activity_effects=False)), folder)
    (folder / "crm" / "quotas.csv").unlink(missing_ok=True)
    for name in ("activities", "leads"):
        (folder / "crm" / f"{name}.csv").unlink(missing_ok=True)
    path = folder / "plan.toml"
    path.write_text('horizon = "2027"\nas_of = 2026-12-31\ndraws = 400\n[data]\nfolder = "crm"\n')
    ready = Run(load_plan(path), force=True)
    paths = ready.paths([ready.plan.horizon_period], ("bookings", "deals_won"))
    asked = (("bookings", Scope("company")), ("deals_won", Scope("team", "north")))
    middle = [
        np.quantile(series(paths, metric(n), s, ready.plan.horizon_period).total, 0.6) for n, s in asked
    ]
    path.write_text(path.read_text() + MORE.format(target=float(middle[0]), deals=float(max(middle[1], 1.0))))
    return path


@pytest.fixture
def ready(file: Path) -> Run:
    return Run(load_plan(file), force=True)


@pytest.fixture(scope="module")
def compared(file: Path) -> Any:
    return compare_answer(
        Run(load_plan(file), force=True), {"names": ("base", "same", "same_too", "price", "people")}
    )


def rows(answer: Any, **wanted: Any) -> Any:
    table = answer.rows
    for key, value in wanted.items():
        table = table[table[key] == value]
    return table


def test_what_changes_nothing_differs_by_exactly_nothing(compared: Any) -> None:
    table = compared[0].rows
    same = table[table["scenario"].isin(["same", "same_too"])]
    assert len(same) > 30
    for column in ("diff", "diff_se", "p10", "p50", "p90"):
        assert (same[column].dropna() == 0.0).all()
    quotas = same[same["set"] != ""]
    assert len(quotas) == 4
    assert (quotas[["p_diff", "p_diff_se"]] == 0.0).all().all()
    assert 0.2 < quotas["p_attain"].iloc[0] < 0.6


def test_a_price_is_paid_by_every_deal(compared: Any, ready: Run) -> None:
    """A tenth more in every future, a closed form without any error; but no deal above the largest plausible."""
    won = rows(compared[0], scenario="price", metric="deals_won", set="")
    assert (won["diff"] == 0.0).all()
    bookings = rows(compared[0], scenario="price", metric="bookings", set="")
    assert len(bookings) == 8  # company, two teams, five reps
    tenth = bookings["diff"] / (0.1 * bookings["mean_against"])
    assert np.isclose(tenth, 1.0, atol=1e-6).sum() >= 4  # reps and a team without such a deal
    assert tenth.between(0.95, 1.0 + 1e-6).all()
    quota = rows(compared[0], scenario="price", metric="bookings", set="base").iloc[0]
    assert (quota["target"], quota["p_attain"]) == (900_000_000, 0.0)
    assert quota["p_diff"] == pytest.approx(-quota["p_against"])
    assert quota["target_against"] < 900_000_000


def test_a_hire_adds_to_the_team_and_to_nobody_else(compared: Any) -> None:
    bookings = rows(compared[0], scenario="people", metric="bookings", set="").set_index(
        ["scope", "scope_id"]
    )
    company, south, hire = (
        bookings.loc[key] for key in (("company", ""), ("team", "south"), ("rep", "south+1"))
    )
    assert hire["mean_against"] == 0.0
    assert company["diff"] == pytest.approx(hire["mean"])
    assert south["diff"] == pytest.approx(hire["mean"])
    assert bookings.loc[("rep", "r01")]["diff"] == 0.0
    assert company["p10"] <= company["p50"] <= company["p90"]


def test_the_net_figure_is_income_less_costs(compared: Any) -> None:
    parts = compared[0].summary["net"]["parts"]["people"]
    months = 10 * 3000  # March to December
    assert (parts["rep_months"], parts["hires"]) == (pytest.approx(months, abs=0.1), 7000)
    income = compared[0].summary["net"]["income"]
    gain = rows(compared[0], scenario="people", metric="bookings", set="", scope="company")["diff"].iloc[0]
    assert parts["commission"] == pytest.approx(0.04 * gain)
    net = rows(compared[0], scenario="people", metric="net").iloc[0]
    assert net["diff"] == pytest.approx(parts[income] - months - 7000 - 0.04 * gain)
    lever = compared[0].summary["net"]["changes"]["price"]
    assert lever == [
        {
            "change": "deal_value company",
            "cost": pytest.approx(30_000),
            "from": "lever[3].cost, in proportion",
        }
    ]


def test_the_screen_is_narrow_and_tells_all_sides(compared: Any) -> None:
    text = compare_text(compared[0], {}, 80)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "people against base" in text
    assert "reps' months -30.0k · hires -7,000" in text


def test_everything_wrong_is_told_at_once(ready: Run) -> None:
    with pytest.raises(PlanError) as caught:
        compare_answer(ready, {"names": ("base", "other", "wrong", "peeple")})
    places = [problem.partition(": ")[0] for problem in caught.value.problems]
    assert (
        places
        == [
            "peeple",
            "scenario.other.seed",
            "scenario.other.draws",
            "scenario.other.calendar",
            "scenario.wrong.leave[1].rep",
            "scenario.wrong.move[1].segment",
        ]
        or "wrong: change[1].what" in places
    )
    assert "did you mean people?" in caught.value.problems[0]
    assert "scenario.wrong.leave[1].rep" in places


def test_one_side_is_no_comparison_and_options_must_fit(ready: Run) -> None:
    with pytest.raises(PlanError, match="only base was named: wanted two or more"):
        compare_answer(ready, {"names": ("base",)})
    options = {
        "names": (),
        "levers": False,
        "target": 3.0,
        "probability": None,
        "metric": (),
        "scope": (),
        "by": None,
    }
    with pytest.raises(PlanError, match="--target: goes with --levers only"):
        compare_asked(ready, options)


def test_common_random_numbers_cut_the_variance(ready: Run) -> None:
    """A small change: at least 50 times less variance than with independent streams."""
    small = Drivers(changes=(Change("close_rate", "company", times=1.03),))
    other = replace(ready, plan=replace(ready.plan, seed=991))
    vars(other)["funnel"] = ready.funnel
    vars(other).update({key: vars(ready)[key] for key in ("history", "_prepared")})
    period = ready.plan.horizon_period

    def won(one: Run, drivers: Drivers) -> Any:
        return series(
            one.variant(drivers, [period], 400, ("deals_won",)), metric("deals_won"), Scope("company"), period
        ).total

    base = won(ready, Drivers())
    common, independent = won(ready, small) - base, won(other, small) - base
    assert independent.var() > 50 * common.var() > 0
    assert abs(independent.mean() - common.mean()) < 4 * independent.std() / np.sqrt(400)


# -- candidates -----------------------------------------------------------------------------------------


def test_candidate_sets_stand_side_by_side(ready: Run, tmp_path: Path) -> None:
    lines = ["set,scope,metric,period,target"]
    for name, times in (("low", 1.0), ("high", 3.0)):
        lines += [f"{name},company,bookings,2027,{times * 500_000}"]
        lines += [f"{name},rep:r0{k},bookings,2027,{times * 90_000 * k}" for k in (1, 2, 3)]
    (tmp_path / "sets.csv").write_text("\n".join(lines))
    found, _ = quota_verdicts(ready, tmp_path / "sets.csv", (), (), None, (10.0, 50.0, 90.0), False)
    table = side_by_side(found, ["low", "high"]).rows
    assert len(table) == 4
    assert list(table.columns)[-4:] == ["low target", "low odds", "high target", "high odds"]
    assert (table["high odds"] <= table["low odds"]).all()
    want = {(r["scope_id"], r["set"]): r["p_attain"] for r in found.rows.to_dict("records")}
    assert [want[s, "high"] for s in table["scope_id"]] == table["high odds"].tolist()
    text = candidates_text(found, (), 80)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert text.index("low ") < text.index("high ")
    assert "of 3)" in text


# -- versions of record ---------------------------------------------------------------------------------

SIGNED = {"by": "the board", "on": date(2027, 1, 15)}


@pytest.fixture
def company(file: Path, tmp_path: Path) -> Path:
    """A copy of the plan, to be approved."""
    import shutil

    shutil.copytree(file.parent, tmp_path / "demo")
    return tmp_path / "demo" / "plan.toml"


def test_a_version_is_frozen_and_read_again(company: Path) -> None:
    first, _ = approve_answer(Run(load_plan(company), force=True), {"as": "FY27 v1", **SIGNED})
    assert first.rows.empty
    version = load_approved(company.parent, "FY27 v1")
    assert version.manifest["provenance"]["seed"] == 1
    assert len(version.quotas) == 2
    assert {str(q.scope) for q in version.quotas} == {"company", "team:north"}
    edited = (
        company.read_text()
        .replace("rep_month = 3_000", "rep_month = 4_000")
        .replace("target = ", "target = 1", 1)
    )
    company.write_text(edited)
    second, _ = approve_answer(Run(load_plan(company), force=True), {"as": "FY27 v2", **SIGNED})
    kinds = second.rows.set_index("key")
    old = next(q.target for q in version.quotas if q.metric == "bookings")
    assert kinds.loc["costs.rep_month", ["old", "new"]].tolist() == ["3000", "4000"]
    quota = kinds.loc["company bookings 2027 (base)"]
    changed = quota[quota["kind"] == "quota"].iloc[0]
    assert float(changed["old"].replace(",", "")) == pytest.approx(old)
    assert float(changed["new"].replace(",", "")) > 5 * old
    assert set(quota["kind"]) == {"quota", "odds"}
    assert second.summary["previous"] == {"name": "FY27 v1", "hash": version.manifest["hash"]}
    assert [one.name for one in versions(company.parent)] == ["FY27 v1", "FY27 v2"]
    assert all(len(line) <= 80 for line in approve_text(second, {}, 80).splitlines())
    side, _ = compare_answer(Run(load_plan(company), force=True), {"names": ("base", "FY27 v1")})
    row = rows(side, metric="bookings", set="base").iloc[0]
    assert (row["target"], row["diff"]) == (pytest.approx(old), 0.0)
    assert row["p_attain"] == version.odds["base", "company", "bookings", "2027"]["p_attain"]
    with pytest.raises(PlanError, match="FY27 v1 is approved already and is not replaced"):
        approve_answer(Run(load_plan(company), force=True), {"as": "fy27 V1", **SIGNED})


def test_the_same_approval_has_the_same_bytes(company: Path) -> None:
    approve_answer(Run(load_plan(company), force=True), {"as": "one", **SIGNED})
    folder = company.parent / "approved" / "one"
    before = {f.name: f.read_bytes() for f in folder.iterdir()}
    folder.rename(company.parent / "kept")
    approve_answer(Run(load_plan(company), force=True), {"as": "one", **SIGNED})
    assert before == {f.name: f.read_bytes() for f in folder.iterdir()}


def test_tampering_is_named(company: Path) -> None:
    approve_answer(Run(load_plan(company), force=True), {"as": "v", **SIGNED})
    folder = company.parent / "approved" / "v"
    quotas = json.loads((folder / "quotas.json").read_text())
    quotas[0]["target"] *= 0.9
    (folder / "quotas.json").write_text(json.dumps(quotas))
    (folder / "forecast.csv").unlink()
    (folder / "more.txt").write_text("x")
    with pytest.raises(DataError) as caught:
        load_approved(company.parent, "v")
    text = "\n".join(caught.value.problems)
    assert "quotas.json: was changed" in text
    assert "forecast.csv: is missing" in text
    assert "more.txt: was added" in text
    with pytest.raises(DataError, match="was changed"):
        approve_answer(Run(load_plan(company), force=True), {"as": "w", **SIGNED})
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "by": "somebody else"}))
    with pytest.raises(DataError, match="manifest.json: was changed"):
        load_approved(company.parent, "v")
    assert approved_names(company.parent) == ("v",)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("FY27 v3", "fy27-v3"),
        ("../../etc/passwd", "etc-passwd"),
        ("Ångström / 5", "angstrom-5"),
        ("=cmd|' /C calc'!A0", "cmd-c-calc-a0"),
        ("x" * 300, "x" * 60),
    ],
)
def test_folders_are_harmless(name: str, wanted: str) -> None:
    assert slug(name) == wanted


@pytest.mark.parametrize("name", ["計画", "...", "NUL", "—"])
def test_names_without_plain_letters_get_folders_of_their_own(name: str) -> None:
    assert slug(name).startswith("version-")
    assert slug(name) != slug(name + "!" + name)


def test_who_and_when_must_be_said(ready: Run) -> None:
    with pytest.raises(PlanError) as caught:
        approve_answer(ready, {"as": "bell\x07", "by": " ", "on": None})
    assert [p[:5].rstrip(":") for p in caught.value.problems] == ["--as", "--by", "--on"]
    with pytest.raises(PlanError, match="the plan has a side of this name"):
        approve_answer(ready, {"as": "people", **SIGNED})


# -- levers ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lifted(file: Path) -> Any:
    given = Run(load_plan(file), force=True)
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


def test_a_target_out_of_reach_is_said(ready: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levers, "STARTS", 1)
    found, _ = levers_answer(ready, {"probability": 0.6, "target": 9e9})
    assert not found.summary["met_by_levers"]
    assert "cannot be met with these levers" in found.words
    assert found.summary["rest"] > 8e9


def test_default_levers_are_labelled_and_have_no_cheapest_set(file: Path, tmp_path: Path) -> None:
    text = file.read_text()
    cut = text[: text.index("[[lever]]")] + text[text.index("[scenario.same]") :]
    plan = tmp_path / "plan.toml"
    plan.write_text(cut.replace('folder = "crm"', f'folder = "{file.parent / "crm"}"'))
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


def test_levers_that_cannot_be_moved_are_named(file: Path) -> None:
    from quotacast.scenarios.lever import levers_of as look

    plan = load_plan(file).edited(
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
        look(given)
    places = [problem.partition(": ")[0] for problem in caught.value.problems]
    assert places == ["lever[4].scope", "lever[4].to", "lever[5].what", "lever[6].on"]
