"""Every command on a small company: what it prints, writes and keeps."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

import quotacast
from quotacast.cli import main
from quotacast.engine.reports.words import money
from quotacast.engine.worlds import WorldSpec, draw_truth, make_world, write_world
from quotacast.scenarios import edits, run

FAST = ("--method", "laplace", "--force", "--draws", "300", "--quiet")
ANSWERS = ("plan", "forecast", "quotas", "report", "fit")
QUOTA_KEYS = ["scope", "scope_id", "set", "metric", "level", "period", "target", "actual"]
QUOTA_KEYS += ["p_attain", "p_defined", "mean", "p10", "p50", "p90", "attainment_p50"]
FORECAST_KEYS = ["scope", "scope_id", "metric", "period", "component", "mean", "p10", "p50", "p90"]


@pytest.fixture(scope="module", autouse=True)
def few_posterior_draws() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "FIT_DRAWS", 200)
        yield


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of five reps in two teams, a year and a half long."""
    folder = tmp_path_factory.mktemp("company") / "demo"
    truth = draw_truth(np.random.default_rng(5), 5, 2)
    teams = (("north", 3), ("south", 2))
    first, last = date(2025, 7, 1), date(2026, 12, 31)
    write_world(make_world(WorldSpec(5, teams, first, last, 5, truth, activity_effects=False)), folder)
    return folder


def ask(command: str, source: Path, *more: str, code: int = 0) -> Result:
    """Invoke a command that answers; the exit code must be as told."""
    result = CliRunner().invoke(main, [command, str(source), *more, *FAST])
    assert result.exit_code == code, result.output
    return result


def rows(command: str, source: Path, *more: str) -> list[dict[str, Any]]:
    """Rows of an answer's JSON."""
    return list(json.loads(ask(command, source, *more, "--format", "json").stdout)["rows"])


@pytest.fixture(scope="module")
def plan(company: Path) -> Path:
    """The company's plan, with its fit stored."""
    ask("plan", company / "plan.toml")
    return company / "plan.toml"


@pytest.fixture
def no_fitting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any fit is a failure: the stored one must do."""

    def refuse(*args: object, **more: object) -> None:
        raise AssertionError("a fit was made")

    monkeypatch.setattr(run, "fit", refuse)


# -- the main job --------------------------------------------------------------------------------------------


def test_plan_prints_a_screen_and_writes_the_page(plan: Path, no_fitting: None) -> None:
    said = ask("plan", plan).stdout.splitlines()
    target = tomllib.loads(plan.read_text(encoding="utf-8"))["quota"][0]["target"]
    assert said[0] == "FY2027 base · as of 31 Dec 2026 · 5 reps · 300 futures"
    assert said[1].startswith(f"Company bookings   target {money(target)}   ")
    labels = [line.split()[0] for line in said[3:] if not line.startswith(" ")]
    wanted = ["Teams", "Reps", "Record", "Next", "Page"]  # and Doubt, where deals are older than any ever won
    assert [w for w in labels if w not in ("Note", "Doubt")] == wanted
    assert (
        max(len(line) for line in said if not line.startswith(("Next", "Page"))) <= 80
    )  # paths are as long as they are
    assert f"Note     quota[1]: company bookings 2027 is {target:,}, in place of " in "\n".join(said)
    page = (plan.parent / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    for part in ("FY2027 base", "Bookings by month", "Odds of the quotas", "The data behind it", "<svg"):
        assert part in page
    for outside in ("<script", "http://", "https://", "src="):
        assert outside not in page.replace("http://www.w3.org/2000/svg", "")


def test_a_second_call_reuses_the_fit(plan: Path, no_fitting: None) -> None:
    assert "still holds" in ask("fit", plan).stdout
    assert ask("quotas", plan).stdout


def test_other_data_are_fitted_anew(plan: Path, no_fitting: None) -> None:
    result = CliRunner().invoke(main, ["fit", str(plan), *FAST, "--seed", "99"])
    assert result.exit_code == 1
    assert str(result.exception) == "a fit was made"


@pytest.mark.parametrize("command", ["plan", "report"])
def test_repeated_pages_are_the_same_bytes(plan: Path, tmp_path: Path, command: str) -> None:
    places = [plan.parent / "report.html"] * 2
    extra: tuple[str, ...] = ()
    if command == "report":
        places = [tmp_path / "board.html"] * 2
        extra = ("--out", str(places[0]))
    pages = []
    for place in places:
        ask(command, plan, *extra)
        pages.append(place.read_bytes())
    assert pages[0] == pages[1]
    assert len(pages[0]) > 10_000


@pytest.mark.parametrize("command", ["quotas", "forecast"])
@pytest.mark.parametrize("form", ["json", "csv", "table"])
def test_repeated_answers_are_the_same_bytes(plan: Path, command: str, form: str) -> None:
    first, second = (ask(command, plan, "--format", form).stdout for _ in range(2))
    assert first == second


def test_the_seed_matters(plan: Path) -> None:
    assert rows("quotas", plan) != rows("quotas", plan, "--seed", "2")


# -- the contract of JSON ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "keys"), [("quotas", QUOTA_KEYS), ("forecast", FORECAST_KEYS)])
def test_json_keys(plan: Path, command: str, keys: list[str]) -> None:
    whole = json.loads(ask(command, plan, "--format", "json").stdout)
    assert list(whole) == ["schema", "rows", "summary", "provenance"]
    assert whole["schema"] == f"quotacast/{command}/1"
    assert {tuple(row) for row in whole["rows"]} == {tuple(keys)}
    assert whole["provenance"]["as_of"] == "2026-12-31"
    assert whole["provenance"]["draws"] == 300
    assert "NaN" not in json.dumps(whole)


@pytest.mark.parametrize("command", ["quotas", "forecast"])
def test_csv_holds_what_json_holds(plan: Path, command: str) -> None:
    table = list(csv.DictReader(io.StringIO(ask(command, plan, "--format", "csv").stdout)))
    told = rows(command, plan)
    assert len(table) == len(told) > 20
    assert [float(r["mean"]) for r in table if r["mean"]] == [
        pytest.approx(r["mean"]) for r in told if r["mean"] is not None
    ]


SUMS = ("opportunities_created", "deals_won", "bookings", "revenue")


def test_means_add_up_over_scopes(plan: Path) -> None:
    total: dict[tuple[str, str, str], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for row in rows("forecast", plan, "--by", "quarter"):
        if row["metric"] in SUMS:
            total[row["metric"], row["period"], row["component"]][row["scope"]] += row["mean"]
    assert len(total) == 4 * (3 + 4 + 4 + 4)
    for key, by_scope in total.items():
        whole = by_scope["company"]
        assert by_scope["team"] == pytest.approx(whole, rel=1e-9, abs=1e-6), key
        assert by_scope["rep"] == pytest.approx(whole, rel=1e-9, abs=1e-6), key
    assert total["bookings", "2027-Q1", "open"]["company"] > 0


def test_means_add_up_over_components_and_periods(plan: Path) -> None:
    parts: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for row in rows("forecast", plan, "--scope", "company", "--metric", "bookings", "--by", "month"):
        parts[row["metric"], row["period"]][row["component"]] = row["mean"]
    assert len(parts) == 12
    for values in parts.values():
        assert values["done"] + values["open"] + values["new"] == pytest.approx(values["total"])
    (year,) = (
        r["mean"]
        for r in rows("forecast", plan, "--scope", "company", "--metric", "bookings", "--by", "year")
        if r["component"] == "total"
    )
    assert sum(values["total"] for values in parts.values()) == pytest.approx(year)


def test_odds_agree_with_the_forecast(plan: Path) -> None:
    (odds,) = (
        r
        for r in rows("quotas", plan, "--scope", "company", "--metric", "bookings", "--by", "year")
        if r["set"] == "base"
    )
    (total,) = (
        r
        for r in rows("forecast", plan, "--scope", "company", "--metric", "bookings", "--by", "year")
        if r["component"] == "total"
    )
    assert {k: odds[k] for k in ("mean", "p10", "p50", "p90")} == {
        k: total[k] for k in ("mean", "p10", "p50", "p90")
    }
    assert odds["attainment_p50"] == pytest.approx(odds["p50"] / odds["target"])


# -- what to show --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "count", "first"),
    [
        ("day", 365, "2027-01-01"),
        ("week", 52, "2026-W53"),
        ("month", 12, "2027-01"),
        ("quarter", 4, "2027-Q1"),
        ("year", 1, "2027"),
    ],
)
def test_by(plan: Path, kind: str, count: int, first: str) -> None:
    found = rows("forecast", plan, "--metric", "bookings", "--scope", "company", "--by", kind)
    periods = list(dict.fromkeys(r["period"] for r in found))
    assert (len(periods), periods[0]) == (count, first)


def test_quotas_by(plan: Path) -> None:
    found = rows("quotas", plan, "--by", "quarter")
    assert {r["period"] for r in found} == {"2027-Q1", "2027-Q2", "2027-Q3", "2027-Q4"}


def test_quotas_stand_by_metric_period_and_scope(plan: Path) -> None:
    found = rows("quotas", plan, "--metric", "bookings", "--metric", "deals_won")
    order = [(r["metric"], r["period"]) for r in found]
    assert [k for k, _ in _runs(order)] == list(dict.fromkeys(order))
    year = [r["scope"] for r in found if (r["metric"], r["period"]) == ("bookings", "2027")]
    assert [k for k, _ in _runs(year)] == ["company", "team", "rep"]


def _runs(values: list[Any]) -> list[tuple[Any, int]]:
    out: list[tuple[Any, int]] = []
    for value in values:
        if out and out[-1][0] == value:
            out[-1] = (value, out[-1][1] + 1)
        else:
            out.append((value, 1))
    return out


def test_scopes(plan: Path) -> None:
    found = rows("forecast", plan, "--scope", "team:north", "--scope", "rep", "--by", "year")
    assert {(r["scope"], r["scope_id"]) for r in found} == {
        ("team", "north"),
        *(("rep", f"r0{k}") for k in range(1, 6)),
    }


def test_quantiles(plan: Path) -> None:
    found = rows("quotas", plan, "--scope", "company", "--quantiles", "95,5,50")
    assert [k for k in found[0] if k[0] == "p" and k[1:].isdigit()] == ["p5", "p50", "p95"]
    assert all(r["p5"] <= r["p50"] <= r["p95"] for r in found if r["p50"] is not None)


def test_a_scenario(plan: Path, no_fitting: None) -> None:
    pick = ("--metric", "opportunities_created", "--by", "year")
    base, hired = (
        {(r["scope_id"], r["component"]): r["mean"] for r in rows("forecast", plan, *pick, *more)}
        for more in ((), ("--scenario", "hire_four"))
    )
    assert {f"south+{k}" for k in range(1, 5)} <= {scope for scope, _ in hired}
    assert hired["", "total"] > base["", "total"]
    assert hired["r01", "total"] == base["r01", "total"]  # common random numbers
    said = ask("plan", plan, "--scenario", "hire_four").stdout
    assert said.startswith("FY2027 base, hire_four · as of 31 Dec 2026 · 9 reps")
    assert (plan.parent / "report-hire_four.html").is_file()


def test_an_earlier_evening(plan: Path) -> None:
    pick = ("--metric", "bookings", "--scope", "company", "--by", "quarter", "--as-of", "2026-11-15")
    found = {(r["period"], r["component"]): r["mean"] for r in rows("forecast", plan, *pick)}
    deals = pd.read_csv(plan.parent / "crm" / "opportunities.csv", parse_dates=["closed_on"])
    won = deals[(deals["status"] == "won") & deals["closed_on"].between("2026-10-01", "2026-11-15")]
    assert found["2026-Q4", "done"] == pytest.approx(won["amount"].sum()) != 0
    assert found["2026-Q4", "new"] > 0
    assert ("2027-Q1", "total") in found


def test_a_bare_data_folder(company: Path, no_fitting: None, plan: Path) -> None:
    result = CliRunner().invoke(main, ["check", str(company / "crm"), "--format", "json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["summary"]["status"]["won"] > 100


def test_a_single_export_is_a_source(plan: Path, tmp_path: Path) -> None:
    deals = pd.read_csv(plan.parent / "crm" / "opportunities.csv", dtype=str)
    names = {
        "opportunity_id": "Deal ID",
        "created_on": "Create Date",
        "closed_on": "Close Date",
        "amount": "Amount",
        "status": "Deal Stage",
        "rep_id": "Deal Owner",
    }
    file = tmp_path / "deals.csv"
    deals[list(names)].rename(columns=names).to_csv(file, index=False)
    said = ask("plan", file).stdout
    assert said.startswith("deals · as of 31 Dec 2026 · 5 reps")
    assert "no target stated" in said
    assert "No quotas are stated" in said
    assert "Next     quotacast forecast" in said
    assert "About " in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_solo_seller_gets_an_answer_without_comparison(plan: Path, tmp_path: Path) -> None:
    deals = pd.read_csv(plan.parent / "crm" / "opportunities.csv", dtype=str).assign(rep_id="r01")
    folder = tmp_path / "solo"
    folder.mkdir()
    deals.drop(columns="lead_id").to_csv(folder / "opportunities.csv", index=False)
    quota = "scope,metric,period,target\nrep:r01,bookings,2027,900000\n"
    (folder / "quotas.csv").write_text(quota, encoding="utf-8")
    said = ask("plan", folder).stdout
    assert "· 1 rep ·" in said
    assert "one rep, so no comparison between reps" in said
    assert len(rows("quotas", folder)) == 1


def test_candidate_quotas(plan: Path, tmp_path: Path) -> None:
    file = tmp_path / "candidates.csv"
    lines = (
        "scope,metric,period,target,set",
        "rep:r01,bookings,2027,1,low",
        "rep:r01,bookings,2027,1e9,high",
    )
    file.write_text("\n".join(lines), encoding="utf-8")
    found = {r["set"]: r["p_attain"] for r in rows("quotas", plan, "--quotas", str(file))}
    assert found == {"low": 1.0, "high": 0.0}


def test_notebooks_get_the_same_numbers(plan: Path, no_fitting: None) -> None:
    stated = edits.settings(quotacast.load_plan(plan), draws=300)
    history = quotacast.read(stated.data_folder)
    funnel = quotacast.fit(history, stated, "laplace", force=True)
    paths = quotacast.simulate(funnel, history, stated)
    told = pd.DataFrame(rows("quotas", plan))
    odds = quotacast.quotas(paths, stated, history)
    assert list(odds.columns) == QUOTA_KEYS
    assert odds["p_attain"].to_list() == pytest.approx(told["p_attain"].to_list(), nan_ok=True)
    outlook = quotacast.forecast(paths, stated, history, ["bookings"])
    assert outlook["mean"].to_list() == pytest.approx(
        [r["mean"] for r in rows("forecast", plan, "--metric", "bookings")]
    )


# -- where to ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["json", "csv", "parquet", "xlsx", "html"])
def test_out(plan: Path, tmp_path: Path, ending: str) -> None:
    place = tmp_path / f"odds.{ending}"
    said = ask("quotas", plan, "--metric", "bookings", "--out", str(place)).stdout
    told = rows("quotas", plan, "--metric", "bookings")
    assert said.startswith(f"{len(told):,} rows written to ")
    readers = {
        "json": lambda p: json.loads(p.read_text())["rows"],
        "csv": pd.read_csv,
        "parquet": pd.read_parquet,
        "xlsx": lambda p: pd.read_excel(p, engine="calamine"),
    }
    if ending in readers:
        assert len(readers[ending](place)) >= len(told)
    else:
        assert "bookings" in place.read_text(encoding="utf-8")
    assert sorted(p.name for p in tmp_path.iterdir()) == [place.name]


def test_a_terminal_shows_company_and_teams_and_says_so(plan: Path) -> None:
    said = ask("quotas", plan, "--metric", "bookings").stdout
    assert "rep:r01" not in said
    assert "of reps are not shown" in " ".join(said.split())
    assert "rep:r01" in ask("quotas", plan, "--scope", "rep").stdout
    assert max(len(line) for line in said.splitlines()) <= 80


def test_fit_tells_its_diagnostics(plan: Path) -> None:
    said = ask("fit", plan).stdout.splitlines()
    assert [line.split()[0] for line in said[2:]][:1] == ["created"]
    assert any("k-hat" in line for line in said)
    assert (
        max(len(line) for line in said if not line.startswith(("Next", "Page"))) <= 80
    )  # paths are as long as they are


@pytest.mark.parametrize("command", ANSWERS)
def test_nothing_on_stderr_where_nobody_looks(plan: Path, tmp_path: Path, command: str) -> None:
    more = ("--out", str(tmp_path / "page.html")) if command == "report" else ()
    result = CliRunner().invoke(main, [command, str(plan), *more, *[x for x in FAST if x != "--quiet"]])
    assert result.exit_code == 0
    assert [line for line in result.stderr.splitlines() if not line.startswith("Note: ")] == []


def test_as_a_program(plan: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "quotacast", "check", str(plan), "--format", "json"],
        capture_output=True,
        check=False,
        encoding="utf-8",
        env={"PYTHONIOENCODING": "utf-8", "PATH": ""},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["schema"] == "quotacast/check/1"
