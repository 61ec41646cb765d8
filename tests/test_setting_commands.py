"""`suggest`, `reconcile` and `quotas --fair` from the plan file to files and back, and what they refuse."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from quotacast.cli import main
from quotacast.engine.departures import crew
from quotacast.engine.metrics import metric
from quotacast.engine.paths import Paths
from quotacast.engine.places import expected_places
from quotacast.engine.quota import Scope
from quotacast.engine.skills import some_rows
from quotacast.engine.worlds import WorldSpec, draw_truth, make_world, write_world
from quotacast.errors import PlanError
from quotacast.models.people import TENURE_EDGES
from quotacast.scenarios import run as running
from quotacast.scenarios import trackrecord
from quotacast.scenarios.plan import load_plan
from quotacast.scenarios.planfile.quotafile import read_quotas
from quotacast.scenarios.run import Run
from quotacast.scenarios.trackrecord import Standing

AIM = """
[aim]
company = 0.65
team = 0.6
rep = "55%"
rounding = 100
"""
MONEY = """
[costs]
rep_month = 8_000
ote = 120_000
[costs.commission]
rate = "6%"
accelerator = 1.5
"""


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "FIT_DRAWS", 200)
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five reps in two teams with a plan that states a company target and hires one more."""
    folder = tmp_path_factory.mktemp("setting") / "demo"
    truth = draw_truth(np.random.default_rng(17), 5, 2)
    spec = WorldSpec(5, (("north", 3), ("south", 2)), date(2025, 1, 1), date(2026, 12, 31), 6, truth)
    write_world(make_world(spec), folder)
    for name in ("activities", "leads", "quotas"):
        (folder / "crm" / f"{name}.csv").unlink(missing_ok=True)
    return folder


def plan(home: Path, name: str, *parts: str, target: float = 1_500_000) -> Path:
    text = f"""
as_of = 2026-12-31
horizon = "2027"
draws = 400
[data]
folder = "crm"
[[quota]]
scope = "company"
metric = "bookings"
period = "2027"
target = {target}
[[hire]]
team = "south"
on = 2027-04-01
"""
    path = home / f"{name}.toml"
    path.write_text("\n".join([text, *parts]))
    return path


def asked(*words: Any, code: int = 0) -> Any:
    result = CliRunner().invoke(main, [str(w) for w in [*words, "--quiet", "--force", "--method", "laplace"]])
    assert result.exit_code == code, result.output
    return result


def rows(*words: Any) -> pd.DataFrame:
    return pd.DataFrame(json.loads(asked(*words, "--format", "json").stdout)["rows"])


# -- a sheet that comes back ------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
def test_a_suggested_sheet_is_read_again_with_the_odds_it_promised(home: Path, ending: str) -> None:
    path, out = plan(home, "sheet", AIM), home / f"sheet.{ending}"
    asked("suggest", path, "--sum", "rep", "--by", "quarter", "--out", out)
    again = rows("quotas", path, "--quotas", out)
    sheet = pd.read_csv(out) if ending == "csv" else pd.read_excel(out, engine="calamine")
    sheet["scope_id"] = sheet["scope_id"].fillna("")
    key = ["scope", "scope_id", "metric", "period"]
    both = sheet.merge(again, on=key, suffixes=("", "_again"))
    assert len(both) == len(sheet) > 30
    assert (both["target"] == both["target_again"]).all()
    assert both["p_attain"].to_numpy() == pytest.approx(both["p_attain_again"].to_numpy(), abs=1e-12)
    assert set(sheet["set"]) == {"suggested"}
    by = read_quotas(out)
    assert {str(q.scope) for q in by} >= {"company", "team:north", "rep:south+1"}
    assert "rep:south+1 in" not in str(by)


def test_a_sheet_serves_as_the_plans_quota_file(home: Path) -> None:
    out = home / "kept.csv"
    asked("suggest", plan(home, "first", AIM), "--out", out, "--set", "v1", "--metric", "deals_won")
    second = home / "second.toml"
    second.write_text(plan(home, "first", AIM).read_text() + '\n[quotas]\nfile = "kept.csv"\n')
    found = rows("quotas", second, "--metric", "deals_won")
    assert set(found["set"]) == {"v1"}
    reps = found[found["scope"] == "rep"]
    assert (reps["p_attain"] >= 0.55).all()


def test_wishes_of_the_options_come_before_the_plans(home: Path) -> None:
    path = plan(home, "wishes", AIM)
    usual, easy = (rows("suggest", path, *more) for more in ((), ("--rep", "80%", "--company", "0.4")))
    for frame, wished in ((usual, (0.65, 0.6, 0.55)), (easy, (0.4, 0.6, 0.8))):
        for level, odds in zip(("company", "team", "rep"), wished, strict=True):
            found = frame.loc[frame["scope"] == level, "p_attain"]
            assert found.between(odds, odds + 0.02).all(), (level, found)
    assert (usual["target"] % 100 == 0).all()


def test_every_metric_of_a_plan_has_a_sheet(home: Path) -> None:
    names = ("opportunities_created", "close_rate", "cycle_days", "deal_value", "deals_won", "bookings")
    words = [w for name in names for w in ("--metric", name)]
    found = rows("suggest", plan(home, "many", AIM), *words, "--scope", "company", "--scope", "team")
    assert set(found["metric"]) == set(names)
    assert (found["p_attain"] >= 0.6).all()
    text = asked("suggest", plan(home, "many"), *words, "--by", "month").stdout
    assert max(len(line) for line in text.splitlines()) <= 80


# -- top-down -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["equal-odds", "capability", "prior-year", "even"])
def test_every_split_adds_up_to_the_target(home: Path, way: str) -> None:
    found = rows("reconcile", plan(home, "split", AIM), "--target", "1234567.89", "--split", way)
    cents = found.assign(cents=(found["target"] * 100).round().astype(int)).groupby("scope")["cents"].sum()
    assert cents["company"] == cents["team"] == cents["rep"] == 123_456_789
    reps = found[found["scope"] == "rep"].set_index("scope_id")
    if way == "equal-odds":
        assert reps["p_attain"].max() - reps["p_attain"].min() <= 2 / 400
    if way == "even":
        whole = reps.loc[[r for r in reps.index if "+" not in r], "target"]
        assert whole.max() - whole.min() <= 100.01 + 67.89  # one step of rounding, and what is less than one
        assert reps.loc["south+1", "target"] / whole.mean() == pytest.approx(275 / 365, abs=0.01)


def test_prior_year_follows_last_years_bookings(home: Path) -> None:
    found = rows("reconcile", plan(home, "prior"), "--split", "prior-year")
    deals = pd.read_csv(home / "crm" / "opportunities.csv", parse_dates=["closed_on"])
    won = deals[(deals["status"] == "won") & (deals["closed_on"].dt.year == 2026)]
    past = won.groupby("rep_id")["amount"].sum()
    reps = found[found["scope"] == "rep"].set_index("scope_id")["target"]
    known = [r for r in reps.index if r in past.index]
    assert len(known) == 5
    shares = reps[known] / reps[known].sum()
    assert shares.to_numpy() == pytest.approx((past[known] / past[known].sum()).to_numpy(), rel=1e-4)


def test_a_file_of_shares_for_teams_and_reps(home: Path) -> None:
    file = home / "shares.csv"
    file.write_text("scope,scope_id,share\nteam,north,60%\nteam,south,40%\nrep,r01,2\nrep,r02,1\nrep,r03,1\n")
    found = rows("reconcile", plan(home, "file"), "--split", file).set_index(["scope", "scope_id"])["target"]
    assert found["team", "north"] == pytest.approx(900_000.0, abs=0.01)
    assert found["rep", "r01"] == pytest.approx(450_000.0, abs=0.01)
    assert found["rep"].sum() == pytest.approx(1_500_000.0, abs=0.001)


def test_the_screen_of_reconcile_says_it_in_plain_words(home: Path) -> None:
    path = plan(home, "screen", AIM, MONEY, '[[aim.pin]]\nscope = "rep:r02"\ntarget = 120_000')
    text = asked("reconcile", path, "--cushion", "5%,10%").stdout
    assert max(len(line) for line in text.splitlines()) <= 80
    for word in ("target 1.50M", "Bottom-up", "Verdict", "Cushion", "Attaining", "Pay ", "Fairness"):
        assert word in text
    answer = json.loads(asked("reconcile", path, "--cushion", "5%,10%", "--format", "json").stdout)
    assert answer["schema"] == "quotacast/reconcile/1"
    assert answer["summary"]["set"]["sum_of_reps"] == pytest.approx(1_500_000 * 1.05 * 1.1, abs=0.01)
    page = home / "gap.html"
    asked("reconcile", path, "--out", page)
    assert "Cushion against odds" in page.read_text()


def test_fair_judges_sets_side_by_side(home: Path) -> None:
    path, file = plan(home, "fair", AIM, MONEY), home / "sets.csv"
    lines = ["set,scope,metric,period,target"]
    for name, times in (("easy", 0.5), ("hard", 2.0)):
        lines += [f"{name},rep:r0{k},bookings,2027,{times * (90_000 + 25_000 * k)}" for k in range(1, 6)]
    file.write_text("\n".join(lines))
    answer = json.loads(asked("quotas", path, "--fair", "--quotas", file, "--format", "json").stdout)
    easy, hard = answer["summary"]["sets"]
    assert (easy["set"], hard["set"]) == ("easy", "hard")
    assert easy["share_mean"] > hard["share_mean"]
    assert easy["payout"] > hard["payout"]  # more is above quota, where the accelerator pays
    assert hard["quota_to_ote_median"] == pytest.approx(2.0 * 165_000 / 120_000)
    text = asked("quotas", path, "--fair", "--quotas", file).stdout
    assert max(len(line) for line in text.splitlines()) <= 80


# -- places -------------------------------------------------------------------------------------------------


def test_expected_places_go_along_with_the_simulated_means(home: Path) -> None:
    """New deals of the simulation, which knows nothing of `places`, within what 400 futures tell."""
    ready = Run(load_plan(plan(home, "places")), "laplace", force=True)
    horizon = ready.plan.horizon_period
    paths: Paths = ready.paths([horizon], ("opportunities_created",))
    people = crew(ready.funnel, ready.factored_drivers)
    found = expected_places(
        ready.funnel, ready.history, people, horizon, some_rows(ready.funnel), "opportunities_created"
    )
    which = metric("opportunities_created").measures[0]
    made = {r: sum(p.mean() for p in paths.simulated(which, Scope("rep", r), horizon)) for r in people.reps}
    whole = found[frozenset({"ramp", "territory", "skill"})]
    known = people.reps[
        : people.known
    ]  # a hire's ability is drawn; of that, `places` only takes what is typical
    ours, theirs = (np.array([x[r] for r in known if r in paths.reps]) for x in (whole, made))
    assert ours / ours.sum() == pytest.approx(theirs / theirs.sum(), rel=0.1)
    plain = found[frozenset({"skill"})]
    assert plain["south+1"] == pytest.approx(
        found[frozenset()]["south+1"]
    )  # nothing is known of a hire's skill
    effect = np.exp(ready.funnel.posteriors["created"].effects["tenure"]).mean(axis=0)
    tenure = np.arange(275)  # from 1 April to the end of the year, and nothing before
    ramp = effect[np.searchsorted(TENURE_EDGES, tenure, side="right") - 1].sum() / 365
    others = [effect[-1]] * (len(people.reps) - 1)  # all five have been there for two years
    share = whole["south+1"] / found[frozenset({"territory", "skill"})]["south+1"]
    assert share == pytest.approx(ramp / np.mean([ramp, *others]), rel=0.03)


# -- what is refused ----------------------------------------------------------------------------------------


def problems(*words: Any) -> list[str]:
    result = asked(*words, code=2)
    return [line for line in io.StringIO(result.output).read().splitlines() if line.startswith("error: ")]


def test_everything_that_is_wrong_is_told_at_once_before_any_fit(home: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(running, "fit", lambda *a, **k: pytest.fail("fitted"))
    file = home / "wrong.csv"
    file.write_text("scope,share\nteam:nort,0.5\nteam:south,-1\n")
    pins = """
[[aim.pin]]
scope = "rep:r01"
target = 900_000
[[aim.pin]]
scope = "rep:r01"
target = 800_000
[[aim.pin]]
scope = "rep:r02"
target = 900_000
"""
    path = plan(home, "wrong", pins)
    found = problems("reconcile", path, "--split", file, "--target", "-5", "--rep", "1.2", "--seed", 99)
    assert any("wrong.csv row 2" in p and "did you mean north?" in p for p in found)
    assert any("wrong.csv row 3" in p and "-1" in p for p in found)
    assert any(p.startswith("error: aim.pin[2]") and "aim.pin[1]" in p for p in found)
    assert any("--target" in p and "greater than 0" in p for p in found)
    assert any("--rep 1.2" in p for p in found)


@pytest.mark.parametrize(
    ("pins", "said"),
    [
        ([("rep:r01", 900_000), ("rep:r02", 800_000)], "pins of reps add up to 1,700,000"),
        ([("team:north", 1e6), ("team:south", 9e5)], "and aim.pin[2]: pinned teams add up to 1,900,000"),
        ([("rep:r01", 3e5), ("team:north", 2e5)], "pin[1]: pins of reps add up to 300,000, and aim.pin[2]"),
        ([("company", 1_400_000)], "--target 1,500,000 and aim.pin[1] 1,400,000 contradict"),
        ([("team:nort", 5)], r"aim.pin[1].scope: no team 'nort'"),
    ],
)  # fmt: skip
def test_pins_that_cannot_be_kept_are_refused_with_their_places(
    home: Path, pins: list[tuple[str, float]], said: str
) -> None:
    tables = "".join(f'[[aim.pin]]\nscope = "{scope}"\ntarget = {target}\n' for scope, target in pins)
    more = ("--target", "1500000") if "--target" in said else ()
    found = problems("reconcile", plan(home, "pins", tables), *more)
    assert any(said in p for p in found), found


def test_a_pin_of_somebody_who_has_left_is_refused(home: Path, monkeypatch: Any) -> None:
    left = Run.roster.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(Run, "roster", property(lambda run: tuple(p for p in left(run) if p[0] != "r05")))
    path = plan(home, "left", '[[aim.pin]]\nscope = "rep:r05"\ntarget = 5_000\n')
    assert problems("suggest", path) == [
        "error: aim.pin[1].scope: nobody of rep:r05 is at work after 2026-12-31"
    ]


def test_odds_that_the_record_withholds_carry_no_quotas(monkeypatch: Any) -> None:
    bad = Standing("errors 2.0 times those of prior year: odds withheld", "withheld")
    monkeypatch.setattr(trackrecord, "stored_record", lambda run: object())
    monkeypatch.setattr(trackrecord, "standing", lambda record, metric: bad)
    with pytest.raises(PlanError, match=r"odds on bookings are withheld: errors 2.0 times"):
        trackrecord.trusted(SimpleNamespace(force=False), ["bookings", "activity:call"])  # type: ignore[arg-type]
    said = trackrecord.trusted(SimpleNamespace(force=True), ["bookings"])  # type: ignore[arg-type]
    assert said == [f"bookings: {bad.line}"]


def test_a_pin_of_zero_and_a_target_of_zero_name_their_keys(home: Path) -> None:
    tables = '[[aim.pin]]\nscope = "rep:r01"\ntarget = 0\n'
    found = problems("suggest", plan(home, "zero", tables, target=-3))
    assert any("aim.pin[1].target" in p for p in found)
    assert any("quota[1].target" in p for p in found)


def test_options_that_do_not_go_together(home: Path) -> None:
    path = plan(home, "options", '[[aim.pin]]\nscope = "team:north"\nperiod = "2027-Q2"\ntarget = 9_000')
    found = problems("suggest", path, "--sum", "rep", "--by", "quarter", "--target", "5", "--rounding", "-1")
    assert len(found) == 3
    assert any("aim.pin[1]" in p and "can be kept for a rep only" in p for p in found)
    assert any("weeks do not add up" in p for p in problems("suggest", path, "--sum", "rep", "--by", "week"))
    assert any("wanted the level" in p for p in problems("suggest", path, "--sum", "reps"))
    assert any("did you mean capability?" in p for p in problems("reconcile", path, "--split", "capabilty"))
    assert any("a ratio does not add up" in p for p in problems("reconcile", path, "--metric", "close_rate"))
    assert any("no quota on deals_won" in p for p in problems("reconcile", path, "--metric", "deals_won"))


def test_where_no_quota_has_the_wished_odds_the_reason_and_a_way_out_are_said(home: Path) -> None:
    odds = ("--company", "0.99", "--team", "0.99", "--rep", "0.99")
    found = problems("suggest", plan(home, "none", ""), "--period", "2027-01-01", *odds)
    assert len(found) == 1
    assert "bookings of company in 2027-01-01 (99% of the futures reach no more than 0)" in found[0]
    assert "Wish lower odds" in found[0]
