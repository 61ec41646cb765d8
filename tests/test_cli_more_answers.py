"""`performers`, `pipeline` and `quotas --cut` on a small company: keys, screens and refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from quotacast.cli import main
from quotacast.engine.quota import Scope
from quotacast.engine.worlds import WorldSpec, draw_truth, make_world, write_world
from quotacast.scenarios import run
from quotacast.scenarios.evenness import even_funnel, futures
from quotacast.scenarios.plan import load_plan

FAST = ("--method", "laplace", "--force", "--draws", "300", "--quiet")
SCOPED = ["scope", "scope_id"]
PERFORMERS = [
    *SCOPED, "metric", "period", "actual", "mean", "p10", "p50", "p90",
    "rank", "rank_low", "rank_high", "p_top", "reliability",
]  # fmt: skip
KEYS = {
    ("quotas", "--cut"): [
        *SCOPED, "set", "metric", "period", "cut", "pieces", "target",
        "missed", "p_missed", "missed_at_par", "p_missed_at_par", "reliability",
    ],
    ("pipeline",): [
        *SCOPED, "metric", "period", "target", "p_attain", "aim", "opens", "age",
        "expected", "needed", "expected_money", "needed_money", "missing", "create", "create_by",
    ],
    ("capacity", "--by", "quarter"): [
        *SCOPED, "period", "confirmed", "open", "new", "hours_p50", "hours_p80", "people_signed",
        "people_p50", "people_p80", "people", "p_short", "p_idle",
    ],
    ("cash",): [
        *SCOPED, "kind", "period", "first", "last", "line", "certainty", "mean", "p_below",
        "p10", "p50", "p90",
    ],
    ("revenue", "--by", "quarter"): [
        *SCOPED, "metric", "period", "component", "actual", "mean", "p10", "p50", "p90",
    ],
    ("performers",): PERFORMERS,
    ("performers", "--by", "quarter"): PERFORMERS,
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def few_posterior_draws() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "FIT_DRAWS", 200)
        yield


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plan of six reps in two teams, a year and a half long; its fit is stored."""
    folder = tmp_path_factory.mktemp("company") / "demo"
    truth = draw_truth(np.random.default_rng(6), 6, 2)
    days = (date(2025, 7, 1), date(2026, 12, 31))
    teams = (("north", 3), ("south", 3))
    write_world(make_world(WorldSpec(6, teams, *days, 6, truth, activity_effects=False)), folder)
    (folder / "crm" / "leads.csv").unlink()
    log = pd.read_csv(folder / "crm" / "activities.csv", dtype=str)
    log[log["kind"] == "call"].to_csv(folder / "crm" / "activities.csv", index=False)
    stated = (folder / "plan.toml").read_text(encoding="utf-8")
    (folder / "plan.toml").write_text(stated.replace("# people = 46", "people = 5"), encoding="utf-8")
    ask(folder / "plan.toml", "fit")
    return folder / "plan.toml"


def ask(plan: Path, command: str, *more: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, [command, str(plan), *more, *FAST])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.output


def whole(plan: Path, *call: str) -> dict[str, Any]:
    return dict(json.loads(ask(plan, *call, "--format", "json")))


@pytest.mark.parametrize("call", list(KEYS), ids=" ".join)
def test_json_keys(plan: Path, call: tuple[str, ...]) -> None:
    found = whole(plan, *call)
    name = "quotas-cut" if "--cut" in call else call[0]
    assert found["schema"] == f"quotacast/{name}/1"
    assert {tuple(row) for row in found["rows"]} == {tuple(KEYS[call])}
    assert "NaN" not in json.dumps(found)
    assert found["provenance"]["as_of"] == "2026-12-31"


@pytest.mark.parametrize(
    "call",
    [
        *KEYS,
        ("performers", "--metric", "close_rate", "--metric", "deal_value"),
        ("performers", "--lift", "opportunities_created"),
        ("pipeline", "--scope", "team", "--by", "month"),
        ("quotas", "--cut", "--scope", "rep"),
    ],
    ids=" ".join,
)
def test_screens_are_80_columns_wide(plan: Path, call: tuple[str, ...]) -> None:
    text = ask(plan, *call)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert len(text.splitlines()) > 10
    assert "no room for" not in text


@pytest.mark.parametrize("call", [("performers",), ("pipeline", "--by", "year")], ids=" ".join)
def test_repeated_answers_are_the_same_bytes(plan: Path, call: tuple[str, ...]) -> None:
    assert ask(plan, *call, "--format", "json") == ask(plan, *call, "--format", "json")


def test_the_cut_agrees_with_the_odds(plan: Path) -> None:
    """A year is missed as often as its odds say, but for the 300 futures that both take."""
    odds = {r["scope_id"]: r for r in whole(plan, "quotas", "--by", "year", "--metric", "bookings")["rows"]}
    cut = [r for r in whole(plan, "quotas", "--cut", "--metric", "bookings")["rows"] if r["cut"] == "year"]
    assert len(cut) == 9
    for row in cut:
        if row["set"] == odds[row["scope_id"]]["set"]:
            assert row["missed"] == pytest.approx(1.0 - odds[row["scope_id"]]["p_attain"])


def test_ranks_are_among_all_reps_whatever_is_shown(plan: Path) -> None:
    every = {r["scope_id"]: r for r in whole(plan, "performers", "--metric", "bookings")["rows"]}
    north = whole(plan, "performers", "--metric", "bookings", "--scope", "team:north")["rows"]
    assert [r["scope_id"] for r in north] == ["r01", "r02", "r03"]
    assert north == [every[r] for r in ("r01", "r02", "r03")]
    assert sorted(r["rank"] for r in every.values()) == [1, 2, 3, 4, 5, 6]


def test_a_lift_is_priced_and_called_an_association(plan: Path) -> None:
    found = whole(plan, "performers", "--lift", "opportunities_created")
    company = {r["metric"]: r for r in found["rows"] if r["scope"] == "company"}
    assert company["opportunities_created"]["gain"] > 0
    lifted = {r["scope_id"] for r in found["rows"] if r["scope"] == "rep"}
    top = set(whole(plan, "performers")["summary"]["top"]["reps"])
    assert lifted
    assert not lifted & top
    parts = [
        r["gain"] for r in found["rows"] if r["scope"] == "rep" and r["metric"] == "opportunities_created"
    ]
    assert sum(parts) == pytest.approx(company["opportunities_created"]["gain"])
    assert "association" in ask(plan, "performers", "--lift", "opportunities_created")


def test_even_activity_has_the_same_total_and_no_swings(plan: Path) -> None:
    """Of a Poisson count, variance is mean; the NegBinomial of reps as they work has more."""
    made = run.Run(replace(load_plan(plan), draws=2000), "laplace", True)
    now, even = (futures(made, even=flag) for flag in (False, True))
    rep, month = Scope("rep", "r01"), made.plan.calendar.parse("2027-02")
    counts = [paths.simulated("activity:call", rep, month)[1].astype(float) for paths in (now, even)]
    year = made.plan.calendar.parse("2027")
    total = [paths.simulated("activity:call", Scope("company"), year)[1].mean() for paths in (now, even)]
    assert total[1] == pytest.approx(total[0], rel=0.03)
    calls = made.funnel.posteriors["activity:call"]
    wide = even_funnel(made.funnel).posteriors["activity:call"]
    assert wide.hyper["overdispersion"].max() == 0
    assert calls.hyper["overdispersion"].min() > 0
    assert counts[1].var() < 0.8 * counts[0].var()


def test_the_worst_month_is_told(plan: Path) -> None:
    found = whole(plan, "performers", "--lift", "evenness")
    assert found["schema"] == "quotacast/evenness/1"
    assert [r["scope"] for r in found["rows"]] == ["company"] + ["team"] * 2 + ["rep"] * 6
    assert all(0 <= r["p_now"] <= 1 and 0 <= r["p_even"] <= 1 for r in found["rows"])
    assert all(r["worst_now"] < 1 for r in found["rows"])  # the worst month is below its mean
    assert max(len(line) for line in ask(plan, "performers", "--lift", "evenness").splitlines()) <= 80


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (("performers", "--by", "month"), "--by month: reps are compared over the whole history"),
        (("performers", "--metric", "close_rat"), "did you mean close_rate?"),
        (("performers", "--scope", "rep:nobody"), "there is no rep 'nobody'"),
        (("performers", "--lift", "weather"), "--lift weather: reps are not compared by it"),
        (("pipeline", "--metric", "close_rate"), "an open pipeline does not feed it"),
        (("pipeline", "--by", "fortnight"), "--by fortnight"),
        (("quotas", "--cut", "--metric", "close_rate"), "--cut: no quota on a sum"),
        (("revenue", "--by", "week"), "--by week: wanted one of month, quarter, year"),
        (("revenue", "--metric", "billing"), "--metric billing: wanted one of bookings, billings"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_answered_is_refused(plan: Path, call: tuple[str, ...], said: str) -> None:
    assert said in ask(plan, *call, code=2)


def test_capacity_on_the_screen_and_refused(plan: Path, tmp_path: Path) -> None:
    text = ask(plan, "capacity", "--by", "quarter")
    assert "There are 5" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "team:north" in ask(plan, "capacity", "--by", "quarter", "--scope", "team:north")
    assert "people are planned by week" in ask(plan, "capacity", "--by", "day", code=2)
    bare = tmp_path / "bare.toml"
    stated = (
        plan.read_text().split("\n[capacity]")[0].replace('folder = "crm"', f'folder = "{plan.parent}/crm"')
    )
    bare.write_text(stated)
    assert "the plan has no [capacity]" in ask(bare, "capacity", code=2)


def edited(plan: Path, place: Path, *changes: tuple[str, str]) -> Path:
    """A copy of the plan elsewhere, on the same data and with the same fit."""
    text = plan.read_text(encoding="utf-8")
    for old, new in (('folder = "crm"', f'folder = "{plan.parent}/crm"'), *changes):
        assert old in text
        text = text.replace(old, new)
    (place / "plan.toml").write_text(text, encoding="utf-8")
    (place / ".quotacast").symlink_to(plan.parent / ".quotacast")
    return place / "plan.toml"


def test_cash_adds_up_line_by_line_and_week_by_week(plan: Path) -> None:
    found = whole(plan, "cash")
    summary, spans = found["summary"], {}
    for row in found["rows"]:
        spans.setdefault((row["kind"], row["period"]), {})[row["line"]] = row
    assert [kind for kind, _ in spans] == ["week"] * 13 + ["month"] * 12
    opening = {"week": summary["opening"], "month": summary["opening"]}
    for (kind, _), lines in spans.items():
        own = {name: row["mean"] for name, row in lines.items()}
        flows = sum(x for name, x in own.items() if name not in ("opening", "net", "closing"))
        assert own["opening"] == pytest.approx(opening[kind], abs=0.02)
        assert own["net"] == pytest.approx(flows, abs=0.02)
        assert own["closing"] == pytest.approx(own["opening"] + own["net"], abs=0.02)
        opening[kind] = own["closing"]
        assert 0 <= lines["closing"]["p_below"] <= 1
        assert (own["receipts_open_deals"] >= 0, lines["receipts_signed"]["certainty"]) == (
            True,
            "contracted",
        )
    assert own["receipts_new_business"] > 0 > own["payroll"]
    assert summary["currency"] == "EUR"
    assert set(summary["drivers"]["2027-12"]) == {"signing", "invoicing", "payment"}
    first = next((p for (k, p), x in spans.items() if k == "month" and x["closing"]["p_below"] > 0.25), None)
    assert [a["month"] for a in summary["alerts"]][-1] == first
    assert summary["credit_line"] >= summary["credit_line_13_weeks"] >= 0


def test_cash_without_an_opening_balance_is_relative(plan: Path, tmp_path: Path) -> None:
    stated = next(line for line in plan.read_text().splitlines() if line.startswith("opening ="))
    bare = edited(plan, tmp_path, (stated + "\n", ""))
    found, text = whole(bare, "cash"), ask(bare, "cash")
    assert (found["summary"]["relative"], found["summary"]["credit_line"]) == (True, None)
    assert {row["p_below"] for row in found["rows"]} == {None}
    assert found["rows"][0]["mean"] == 0.0  # the first week's opening
    assert "no opening balance" in " ".join(text.split())
    assert "below" not in text.lower()


SPREAD = '[terms]\nrecognise = "straight_line"\nterm_months = 6\nrenewal = 0.4\n'


def test_revenue_that_is_spread_is_a_metric_of_the_same_futures(plan: Path, tmp_path: Path) -> None:
    """The forecast of the metric against `revenue`, part by part; reps and teams add up to the company."""
    spread = edited(plan, tmp_path, ("[terms]\n", SPREAD))
    assert "planning simplification" in " ".join(ask(spread, "revenue").split())
    ledger = {
        (r["period"], r["component"]): r
        for r in whole(spread, "revenue", "--by", "quarter")["rows"]
        if r["metric"] == "revenue"
    }
    asked = ("--metric", "revenue", "--metric", "bookings", "--by", "quarter")
    rows = whole(spread, "forecast", *asked)["rows"]
    own = [r for r in rows if r["metric"] == "revenue"]
    seen = set()
    for row in (r for r in own if r["scope"] == "company"):
        period, part = row["period"], row["component"]
        told = ledger[period, part]["mean"] if (period, part) in ledger else 0.0
        if part == "new":  # terms signed anew are new business
            told += ledger[period, "renewal"]["mean"]
        assert row["mean"] == pytest.approx(told, abs=0.02), (period, part)
        if part == "total":
            assert [row[q] for q in ("p10", "p50", "p90")] == pytest.approx(
                [ledger[period, part][q] for q in ("p10", "p50", "p90")], abs=0.02
            )
        seen.add(part)
        for level in ("team", "rep"):
            below = [
                r["mean"] for r in own if (r["scope"], r["period"], r["component"]) == (level, period, part)
            ]
            assert sum(below) == pytest.approx(row["mean"], abs=0.05)
    assert seen == {"done", "signed", "open", "new", "total"}
    booked = {r["period"]: r["mean"] for r in rows if (r["metric"], r["component"]) == ("bookings", "total")}
    assert len(booked) == 4
    assert any(abs(ledger[p, "total"]["mean"] / booked[p] - 1) > 0.05 for p in booked)


def test_quotas_on_revenue_that_is_spread(plan: Path, tmp_path: Path) -> None:
    spread = edited(plan, tmp_path, ("[terms]\n", SPREAD))
    asked = ("--metric", "revenue", "--by", "year")
    total = whole(spread, "forecast", *asked, "--scope", "company")["rows"][-1]
    target = total["p50"]
    stated = f'\n[[quota]]\nscope = "company"\nmetric = "revenue"\nperiod = "2027"\ntarget = {target}\n'
    spread.write_text(spread.read_text(encoding="utf-8") + stated, encoding="utf-8")
    (odds,) = whole(spread, "quotas", *asked)["rows"]
    assert odds["p_attain"] == pytest.approx(0.5, abs=0.01)
    assert odds["actual"] == 0.0  # what is signed is not history
    signed = [r for r in whole(spread, "forecast", *asked)["rows"] if r["component"] == "signed"]
    assert signed[0]["mean"] > 0
    sheet = whole(spread, "suggest", "--metric", "revenue", "--company", "0.5")["rows"]
    (whole_company,) = [r for r in sheet if r["scope"] == "company" and r["period"] == "2027"]
    assert whole_company["target"] == pytest.approx(target, rel=0.01)
    gap = ask(spread, "reconcile", "--metric", "revenue", "--split", "prior-year")
    assert "rep:r0" in gap
    assert "Cut bookings" in ask(spread, "quotas", "--cut", "--metric", "revenue", code=2)


def test_parts_and_commission_on_renewals_reach_the_account(plan: Path, tmp_path: Path) -> None:
    """Each moves its own lines, by keys of the plan."""

    def lines(folder: str, before: str = "", after: str = "") -> dict[str, float]:
        (tmp_path / folder).mkdir()
        stated = f"{before}[terms]\nterm_months = 6\nrenewal = 0.5\n{after}"
        found = whole(edited(plan, tmp_path / folder, ("[terms]\n", stated)), "cash")["rows"]
        sums: dict[str, float] = {}
        for row in (r for r in found if r["kind"] == "month" and r["line"] not in ("opening", "closing")):
            sums[row["line"]] = sums.get(row["line"], 0.0) + row["mean"]
        return sums

    base = lines("base")
    parts = lines("parts", after="part_payment = { odds = 0.9, share = 0.3, rest_days = 120 }\n")
    receipts = {name for name in base if name.startswith("receipts")}
    assert all(parts[name] < base[name] - 1 for name in receipts - {"receipts_signed"})
    assert {name for name in base if parts[name] != base[name]} <= receipts | {"net"}
    paid = lines("paid", before="[costs.commission]\nrate = 0\nrenewals = 0.03\n\n")
    assert {name for name in base if paid[name] != base[name]} == {"commission", "net"}
    # with the pay of the next month: of all but the last month's, and with VAT the receipts of most of it
    share = -paid["commission"] / (base["receipts_renewals"] / 1.25)
    assert 0.03 < share < 0.05


def test_revenue_of_a_delivery_that_nothing_tells_of_is_refused(plan: Path, tmp_path: Path) -> None:
    text = plan.read_text(encoding="utf-8")
    table = text[text.index("[capacity]") :].split("\n[", 1)[0]
    spread = edited(plan, tmp_path, ("[terms]\n", '[terms]\nrecognise = "delivery"\n'), (table, ""))
    assert "without a table [capacity]" in ask(spread, "forecast", "--metric", "revenue", code=2)
    assert "bookings" in ask(spread, "forecast")


def test_revenue_at_close_is_bookings(plan: Path) -> None:
    rows = whole(plan, "revenue", "--by", "year")["rows"]
    total = {r["metric"]: r["mean"] for r in rows if r["component"] == "total"}
    assert total["revenue"] == pytest.approx(total["bookings"])
    booked = whole(plan, "forecast", "--metric", "bookings", "--by", "year", "--scope", "company")["rows"]
    assert total["bookings"] == pytest.approx(booked[-1]["mean"])
