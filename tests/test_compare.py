"""Scenarios on the same futures, versions of record, levers: on one small fitted company."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quotacast.engine.drivers import Change, Drivers
from quotacast.engine.metrics import metric, series
from quotacast.engine.quota import Scope
from quotacast.engine.reports.files import write
from quotacast.errors import DataError, PlanError
from quotacast.scenarios import run
from quotacast.scenarios.deciding.approve import approve_answer, approve_text
from quotacast.scenarios.deciding.approved import approved_names, load_approved, slug, versions
from quotacast.scenarios.deciding.compare import compare_answer
from quotacast.scenarios.deciding.compare_view import compare_text
from quotacast.scenarios.deciding.questions import compare_asked
from quotacast.scenarios.plan import load_plan
from quotacast.scenarios.run import Run
from quotacast.scenarios.setting.candidates import candidates_text, side_by_side
from quotacast.scenarios.verdicts import quota_verdicts


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "FIT_DRAWS", 200)
        yield


@pytest.fixture
def ready(decided: Path) -> Run:
    return Run(load_plan(decided), force=True)


@pytest.fixture(scope="module")
def compared(decided: Path) -> Any:
    return compare_answer(
        Run(load_plan(decided), force=True), {"names": ("base", "same", "same_too", "price", "people")}
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
    """A tenth more in every future, a closed form without error; but no deal above the largest plausible."""
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


@pytest.mark.parametrize("ending", [".json", ".csv", ".xlsx", ".html", ".parquet"])
def test_a_comparison_can_be_written(compared: Any, ending: str, tmp_path: Path) -> None:
    write(compared[0], tmp_path / f"compared{ending}")
    assert (tmp_path / f"compared{ending}").stat().st_size > 1000


def test_quarters_add_up_to_the_year(ready: Run, compared: Any) -> None:
    """Of a sum, means of differences add up over periods and over teams."""
    options = {
        "names": ("base", "people"),
        "by": "quarter",
        "metric": ("bookings",),
        "scope": ("company", "team"),
    }
    found, _ = compare_answer(ready, options)
    table = rows(found, metric="bookings", set="")
    assert table["period"].nunique() == 4
    year = rows(compared[0], scenario="people", metric="bookings", set="", scope="company")["diff"].iloc[0]
    assert table[table["scope"] == "company"]["diff"].sum() == pytest.approx(year)
    assert table[table["scope"] == "team"]["diff"].sum() == pytest.approx(year)
    assert (
        rows(found, metric="net")["diff"].iloc[0]
        == rows(compared[0], scenario="people", metric="net")["diff"].iloc[0]
    )
    assert found.rows[found.rows["scope"] == "rep"].empty


def test_everything_wrong_is_told_at_once(ready: Run) -> None:
    with pytest.raises(PlanError) as caught:
        compare_answer(ready, {"names": ("base", "other", "wrong", "peeple")})
    places = [problem.partition(": ")[0] for problem in caught.value.problems]
    assert places == [
        "peeple",
        "scenario.other.seed",
        "scenario.other.draws",
        "scenario.other.calendar",
        "scenario.wrong.leave[1].rep",
        "scenario.wrong.move[1].segment",
    ]
    assert "did you mean people?" in caught.value.problems[0]


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
def company(decided: Path, tmp_path: Path) -> Path:
    """A copy of the plan, to be approved."""
    import shutil

    shutil.copytree(decided.parent, tmp_path / "demo")
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
    then = version.odds["base", "company", "bookings", "2027"]["p_attain"]
    assert row["p_attain"] == then
    shown = compare_text(side, {}, 80)
    assert "Approved 2027-01-15 by the board" in shown
    assert f"odds then {then:.0%}" in shown
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
    with pytest.raises(DataError, match=r"manifest\.json: was changed"):
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
