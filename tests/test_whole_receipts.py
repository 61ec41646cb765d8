"""Whole receipts over rolling origins: nothing later is looked at, simple methods by hand, the command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from quotacast.cli import main
from quotacast.engine.backtest import whole_receipts
from quotacast.engine.backtest.receipts import UNPAID, Bills
from quotacast.engine.backtest.receipts_simple import (
    delay,
    dso,
    known_on,
    received,
    runrate,
    simple_forecasts,
)
from quotacast.engine.backtest.whole_receipts import actual_receipts, money_origins, score_origin
from quotacast.models.history.history import History
from quotacast.models.periods import Period
from quotacast.scenarios.money import receiptsrecord
from quotacast.scenarios.money.receiptsrecord import receipts_standing, settings_of, standing_words
from quotacast.scenarios.plan import load_plan
from quotacast.scenarios.run import Run

ORIGIN = date(2026, 8, 31)


def bills(**arrays: list[float]) -> Bills:
    n = len(arrays["issued"])
    return Bills(
        tuple(f"i{k}" for k in range(n)),
        np.array(arrays["issued"], dtype=np.int64),
        np.array(arrays["issued"], dtype=np.int64) + 30,
        np.array(arrays["paid"], dtype=np.int64),
        np.array(arrays["amount"], dtype=float),
        np.array([None] * n, dtype=object),
        np.array([None] * n, dtype=object),
    )


def test_dso_keeps_receivables_in_proportion_to_billings_that_go_on() -> None:
    """Billings of 10 a day, 200 owed: in any days ahead 10 a day comes in."""
    issued = list(range(-300, 1))
    some = bills(issued=issued, paid=[d + 20 if d + 20 <= 0 else UNPAID for d in issued], amount=[10.0] * 301)
    np.testing.assert_allclose(dso(some, 0, [(0, 31), (31, 59), (0, 91)])["total"], [310.0, 280.0, 910.0])


def test_dso_follows_billings_that_were_not_even() -> None:
    """900 billed 80 days ago and nothing since; 450 owed, ratio 1/2, rate 10 a day."""
    some = bills(issued=[-80, -80], paid=[-60, UNPAID], amount=[450.0, 450.0])
    # in 10 days: 900 still in the window and 100 new: 500 owed; in 20: 200 new and nothing old: 100 owed
    np.testing.assert_allclose(dso(some, 0, [(0, 9), (9, 20)])["total"], [450 + 90 - 495, 495 + 110 - 100])


def test_average_delay_tells_open_invoices_from_those_to_come() -> None:
    some = bills(
        issued=[-50, -40, -30, -10], paid=[-30, -10, UNPAID, UNPAID], amount=[100.0, 300.0, 45.0, 99.0]
    )
    # (100 x 20 + 300 x 30) / 400 = 27.5 days: days -2.5 (late: day 1) and 17.5; 544 / 90 a day from 28.5 on
    found = delay(some, 0, [(0, 10), (10, 31), (31, 61)])
    np.testing.assert_allclose(found["open"], [45.0, 99.0, 0.0])
    rate = 544 / 90
    np.testing.assert_allclose(found["new"], [0.0, 3 * rate, 30 * rate])
    np.testing.assert_allclose(found["total"], found["open"] + found["new"])


def test_receipts_go_on_as_in_the_last_91_days() -> None:
    some = bills(issued=[-200, -100, -50], paid=[-91, -90, 0], amount=[5.0, 182.0, 91.0])
    np.testing.assert_allclose(runrate(some, 0, [(0, 30), (30, 61)])["total"], [90.0, 93.0])


def test_errors_come_from_days_that_had_passed() -> None:
    rng = np.random.default_rng(3)
    issued = np.sort(rng.integers(-400, 60, 500))
    every = bills(
        issued=list(issued), paid=list(issued + rng.integers(5, 60, 500)), amount=list(rng.uniform(1, 9, 500))
    )
    spans = [(0, 31), (31, 61), (0, 91)]
    found = simple_forecasts(every, 0, spans, 1, 200)
    other = replace(every, paid=np.where(every.paid > 0, every.paid + 17, every.paid))
    again = simple_forecasts(other, 0, spans, 1, 200)
    for name, parts in found.items():
        for part, draws in parts.items():
            assert draws.shape == (3, 200)
            np.testing.assert_array_equal(draws, again[name][part], err_msg=name)
    point = runrate(known_on(every, 0), 0, spans)["total"][0]
    errors = [
        received(every, d, spans)["total"][0] - runrate(known_on(every, d), d, spans)["total"][0]
        for d in range(-35, -320, -7)
    ]
    assert set(np.round(found["runrate"]["total"][0], 6)) <= set(np.round(np.maximum(point + errors, 0), 6))


@pytest.fixture(scope="module", autouse=True)
def few_posterior_draws() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole_receipts, "FIT_DRAWS", 200)
        patch.setattr(receiptsrecord, "RECORD_DRAWS", 300)
        yield


@pytest.fixture(scope="module")
def plan(decided: Path) -> Path:
    base = decided.read_text().partition("[costs]")[0]
    path = decided.with_name("receipts.toml")
    path.write_text(base + '[terms]\ndue_days = 30\n[cash]\nopening = 50_000\nvat = "25%"\n')
    return path


@pytest.fixture(scope="module")
def run(plan: Path) -> Run:
    return Run(load_plan(plan), force=True)


def nobody(snapshot: History, last: date, paths: Any) -> None:
    """No leaning."""


def test_what_came_true_is_every_payment_by_hand(run: Run) -> None:
    rows = run.history.invoices
    month = Period("m1", "month", date(2026, 10, 1), date(2026, 10, 31))
    expected = {"open": 0.0, "new": 0.0}
    for row in rows.itertuples():
        if pd.notna(row.paid_on) and month.first <= row.paid_on.date() <= month.last:
            expected["open" if row.issued_on.date() <= ORIGIN else "new"] += row.amount
    found = actual_receipts(run.history, ORIGIN, [month])
    assert found["open"][0] == pytest.approx(expected["open"])
    assert found["new"][0] == pytest.approx(expected["new"])
    assert found["total"][0] == pytest.approx(sum(expected.values()))
    assert min(expected.values()) > 0


@pytest.fixture(scope="module")
def scored(run: Run) -> pd.DataFrame:
    return score_origin(run.history, ORIGIN, settings_of(run), nobody)


def test_nothing_after_the_origin_is_looked_at(run: Run, scored: pd.DataFrame) -> None:
    """Later payments are moved, later invoices and deals are gone: the actuals change, no forecast does."""
    tables, cut = dict(run.history.tables), pd.Timestamp(ORIGIN)
    invoices = tables["invoices"]
    late = (invoices["paid_on"] > cut).to_numpy()
    invoices = invoices.assign(
        paid_on=invoices["paid_on"].where(~late, invoices["paid_on"] + timedelta(days=9))
    )
    tables["invoices"] = invoices[(invoices["issued_on"] <= cut).to_numpy()].reset_index(drop=True)
    deals = tables["opportunities"]
    tables["opportunities"] = deals[(deals["created_on"] <= cut).to_numpy()].reset_index(drop=True)
    kept = set(tables["opportunities"]["opportunity_id"])
    stages = tables["stages"]
    tables["stages"] = stages[stages["opportunity_id"].isin(kept).to_numpy()].reset_index(drop=True)
    other = score_origin(replace(run.history, tables=tables), ORIGIN, settings_of(run), nobody)
    keys = ["horizon", "component", "model"]
    both = scored.merge(other, on=keys, suffixes=("", "_other"))
    assert len(both) == len(scored) == len(other)
    np.testing.assert_allclose(both["mean"], both["mean_other"])
    np.testing.assert_allclose(both["p50"], both["p50_other"])
    assert (both["actual"] != both["actual_other"]).any()


def test_parts_add_up_and_every_model_speaks_where_it_may(scored: pd.DataFrame) -> None:
    ours = scored[scored["model"] == "quotacast"].pivot(index="horizon", columns="component", values="mean")
    assert sorted(ours.index) == ["m1", "m2", "m3", "w13"]
    np.testing.assert_allclose(ours["open"] + ours["new"], ours["total"])
    assert ours.loc["w13", "total"] > ours.loc["m1", "total"] > 0
    speak = scored.groupby("model")["component"].agg(lambda x: sorted(set(x)))
    assert speak.to_dict() == {
        "quotacast": ["new", "open", "total"], "delay": ["new", "open", "total"], "dso": ["total"],
        "runrate": ["total"],
    }  # fmt: skip
    actual = scored.groupby(["horizon", "component"])["actual"].nunique()
    assert (actual == 1).all()


def ask(plan: Path, *args: str) -> Any:
    call = [args[0], str(plan), *args[1:], "--method", "laplace", "--force", "--quiet"]
    return CliRunner().invoke(main, call, catch_exceptions=False)


def test_the_command_scores_stores_and_goes_on(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ask(plan, "cash", "--draws", "100")
    assert "no record of receipts yet: quotacast" in " ".join(before.stdout.split())
    first = ask(plan, "backtest", "--metric", "receipts", "--origins", "2", "--format", "json")
    assert first.exit_code == 0, first.output
    told = json.loads(first.stdout)
    assert told["schema"] == "quotacast/backtest/1"
    assert {row["metric"] for row in told["rows"]} == {"receipts"}
    assert told["summary"]["origins"] == told["summary"]["asked"] == 2
    standing = told["summary"]["receipts"]
    totals = [r for r in told["rows"] if r["component"] == "total" and r["model"] == "quotacast"]
    months = [r for r in totals if r["horizon"] in ("m1", "m2", "m3")]
    assert standing["of"] == len(months) == 3  # the last origin has one whole month after it
    assert standing["held_80"] == sum(r["covered_80"] for r in months)

    done: list[date] = []
    real = receiptsrecord.score_origin

    def watched(history: History, origin: date, *rest: Any) -> pd.DataFrame:
        done.append(origin)
        return real(history, origin, *rest)

    monkeypatch.setattr(receiptsrecord, "score_origin", watched)
    again = ask(plan, "backtest", "--metric", "receipts", "--origins", "3", "--format", "json")
    assert len(done) == 1  # the two that are finished are kept
    assert [r for r in json.loads(again.stdout)["rows"] if r["origin"] > str(done[0])] == told["rows"]
    shown = ask(plan, "backtest", "--metric", "receipts", "--origins", "3").stdout
    assert "total m1 (n=3)" in shown
    said = " ".join(ask(plan, "cash", "--draws", "100").stdout.split())
    assert "receipts of the next 3 months: 80% ranges held" in said
    assert len(done) == 1


def test_a_metric_that_is_not_scored_is_refused(plan: Path) -> None:
    result = ask(plan, "backtest", "--metric", "cash")
    assert result.exit_code == 2
    assert "wanted sales" in result.stderr


def test_without_invoices_the_command_says_what_is_missing(plan: Path) -> None:
    folder = plan.parent
    bare = folder / "bare_crm"
    bare.mkdir()
    for name in ("opportunities", "stages", "reps"):
        (bare / f"{name}.csv").write_bytes((folder / "crm" / f"{name}.csv").read_bytes())
    other = plan.with_name("noinvoices.toml")
    other.write_text(plan.read_text().replace('folder = "crm"', 'folder = "bare_crm"'))
    result = ask(other, "backtest", "--metric", "receipts")
    assert result.exit_code == 2
    assert "invoices: there are none" in result.stderr


def test_origins_begin_where_simple_methods_have_a_past(run: Run) -> None:
    days = money_origins(run.history)
    first = run.history.invoices["issued_on"].min().date()
    assert days[0] >= first + timedelta(days=whole_receipts.WARM_UP)
    assert days[-1] == date(2026, 11, 30)


def row(origin: str, horizon: str, model: str, crps: float, held: float) -> dict[str, Any]:
    return {
        "origin": origin, "horizon": horizon, "component": "total", "model": model, "crps": crps,
        "covered_80": held,
    }  # fmt: skip


def test_the_standing_is_of_the_hardest_simple_method() -> None:
    rows = []
    for k, origin in enumerate(("2026-01-31", "2026-02-28", "2026-03-31")):
        rows += [
            row(origin, "m1", "quotacast", 6.0 + k, float(k != 1)),
            row(origin, "w13", "quotacast", 99.0, 0),
        ]
        rows += [row(origin, "m1", "dso", 10.0, 1), row(origin, "m1", "delay", 8.0, 0)]
    found = receipts_standing(pd.DataFrame(rows), 1)
    assert (found["held_80"], found["of"], found["hardest"]) == (2, 3, "delay")
    assert found["against"]["delay"]["skill"] == pytest.approx(1 - 21 / 24)
    assert found["against"]["dso"]["skill"] == pytest.approx(1 - 21 / 30)
    said = standing_words(found, 3, 3)
    assert said.startswith("receipts of the next 3 months: 80% ranges held 2 of 3; errors 12% smaller")
    assert "average delay" in said
    assert "3 of 5 months done" in standing_words(found, 3, 5)
