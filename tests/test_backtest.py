"""The backtest: origins, what came true, the stored record, and what the record does to odds."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quotacast.engine.answer import Answer
from quotacast.engine.answers.attainability import FIELDS
from quotacast.engine.backtest import origin_forecast, origin_scores
from quotacast.engine.backtest import record as records
from quotacast.engine.backtest.baselines import all_baselines
from quotacast.engine.backtest.leaning import EVIDENCE, evidence
from quotacast.engine.backtest.origin_forecast import OURS, Settings, draft_origin, finish_origin
from quotacast.engine.backtest.origin_scores import verdicts
from quotacast.engine.backtest.origins import month_ends, origins, spans
from quotacast.engine.backtest.record import Record, load_record, run_backtest
from quotacast.engine.backtest.summary import fits, summarise, track_record
from quotacast.engine.backtest.targets import Target
from quotacast.engine.quota import Scope
from quotacast.engine.worlds import write_world
from quotacast.errors import DataError
from quotacast.models.funnel import KHAT_LIMIT, fit, prepare
from quotacast.models.periods import Calendar
from quotacast.scenarios import run as run_module
from quotacast.scenarios import trackrecord
from quotacast.scenarios.plan import load_plan
from quotacast.scenarios.run import Run
from quotacast.scenarios.trackrecord import judged, record_lines, reliability_answer, standing

FIRST, LAST = date(2024, 1, 1), date(2025, 9, 30)
CALENDAR = Calendar()
COVERED = ("covered_50", "covered_80", "covered_95")


@pytest.fixture(scope="module")
def history(small_world, world_history):  # type: ignore[no-untyped-def]
    return world_history(small_world(11, 4, FIRST, LAST))


@pytest.fixture(scope="module")
def two(history) -> tuple[date, ...]:  # type: ignore[no-untyped-def]
    return (date(2025, 3, 31), date(2025, 5, 31))


@pytest.fixture(scope="module")
def record(history, two, tmp_path_factory):  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("record") / "r"
    settings = Settings(CALENDAR, "laplace", 300, 3)
    return run_backtest(history, two, settings, folder, {"key": "k"}, processes=2), folder


def test_origins_are_month_ends_with_history_before_and_a_month_after(history) -> None:  # type: ignore[no-untyped-def]
    found = origins(history)
    assert found[-1] == date(2025, 8, 31)
    assert origins(history, 3) == found[-3:]
    assert all((d.replace(day=28) + pd.Timedelta(days=4)).month != d.month for d in found)
    assert month_ends(date(2024, 2, 28), date(2024, 4, 29)) == [date(2024, 2, 29), date(2024, 3, 31)]


def test_too_short_a_history_says_how_many_months_are_missing(history) -> None:  # type: ignore[no-untyped-def]
    begin = history.opportunities["closed_on"].min().date()
    short = history.as_of(date(2024, begin.month + 3, 15))
    with pytest.raises(DataError, match=r"3 whole months of closings.*needs 7: 4 more months"):
        origins(short)


def test_horizons_of_an_origin_inside_and_at_the_end_of_a_quarter() -> None:
    inside = spans(date(2025, 4, 30), CALENDAR, date(2026, 12, 31))
    assert (inside["rq"].first, inside["rq"].last) == (date(2025, 5, 1), date(2025, 6, 30))
    assert (inside["q1"].first, inside["q1"].last) == (date(2025, 7, 1), date(2025, 9, 30))
    assert (inside["m3"].first, inside["m3"].last) == (date(2025, 7, 1), date(2025, 7, 31))
    assert (inside["y1"].first, inside["y1"].last) == (date(2025, 5, 1), date(2026, 4, 30))
    mid = spans(date(2025, 4, 17), CALENDAR, date(2026, 12, 31))
    assert (mid["rq"].first, mid["rq"].last) == (date(2025, 4, 18), date(2025, 6, 30))
    assert (mid["m1"].first, mid["m1"].last) == (date(2025, 5, 1), date(2025, 5, 31))
    assert (mid["y1"].first, mid["y1"].last) == (date(2025, 5, 1), date(2026, 4, 30))
    assert all(period.first > date(2025, 4, 17) for period in mid.values())
    at_end = spans(date(2025, 6, 30), CALENDAR, date(2025, 9, 30))
    assert set(at_end) == {"m1", "m2", "m3", "q1"}
    assert at_end["q1"].first == date(2025, 7, 1)


def test_the_contract_of_the_rows_and_sums_of_means(record) -> None:  # type: ignore[no-untyped-def]
    rows, verdicts = record[0].rows, record[0].verdicts
    wanted = "origin horizon metric component scope scope_id model actual mean p50 crps covered_50 covered_80"
    assert list(rows.columns)[:13] == wanted.split()
    ours = rows[(rows["model"] == OURS) & (rows["metric"] == "bookings") & (rows["horizon"] == "q1")]
    by = ours.pivot_table(index="origin", columns=["component", "scope"], values="mean", aggfunc="sum")
    np.testing.assert_allclose(by["total", "company"], by["total", "rep"])
    np.testing.assert_allclose(by["total", "company"], by["open", "company"] + by["new", "company"])
    assert {"runrate", "pipeline", "month_of_quarter", "ets"} <= set(rows["model"])
    assert verdicts["met"].dtype == bool
    assert verdicts["p_attain"].between(0, 1).all()
    low, high = (verdicts.loc[verdicts["factor"] == f, "p_attain"].mean() for f in (1.3, 0.8))
    assert low < high


def test_a_finished_origin_is_not_done_again(record, history, two, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    before, folder = record
    monkeypatch.setattr(records, "draft_origin", lambda *a: pytest.fail("done again"))
    again = run_backtest(history, two, Settings(CALENDAR, "laplace", 300, 3), folder, {})
    pd.testing.assert_frame_equal(again.rows, before.rows)
    pd.testing.assert_frame_equal(again.verdicts, before.verdicts)
    pd.testing.assert_frame_equal(again.evidence, before.evidence)


def test_an_origin_that_learned_from_other_origins_is_done_again(
    record, history, two, monkeypatch, tmp_path
) -> None:  # type: ignore[no-untyped-def]
    """With an origin put before them, the stored ones would have had more to learn from."""
    drafted: list[date] = []
    monkeypatch.setattr(records, "draft_origin", lambda h, origin, s: drafted.append(origin))
    monkeypatch.setattr(records, "finish_origin", lambda *a: pytest.fail("far enough"))
    earlier, folder = (date(2025, 2, 28), *two), tmp_path / "r"
    shutil.copytree(record[1], folder)
    with pytest.raises(pytest.fail.Exception, match="far enough"):
        run_backtest(history, earlier, Settings(CALENDAR, "laplace", 300, 3), folder, {})
    assert drafted == [earlier[0]]


def test_a_stopped_backtest_leaves_what_was_finished(record, history, two, monkeypatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    finished = records.load_origin(record[1], two[0])
    calls: list[date] = []

    def stops(history: Any, origin: date, settings: Settings) -> Any:
        calls.append(origin)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(records, "draft_origin", stops)
    monkeypatch.setattr(records, "finish_origin", lambda *a: finished)
    folder = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        run_backtest(history, two, Settings(CALENDAR, "laplace", 300, 3), folder, {})
    found = load_record(folder)
    assert found is not None
    assert set(found.rows["origin"]) == {two[0].isoformat()}
    assert found.asked == 2


def test_a_damaged_or_strange_record_is_no_record(record, two, tmp_path) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "r"
    shutil.copytree(record[1], folder)
    (folder / "notes").mkdir()
    assert load_record(folder) is not None
    (folder / two[1].isoformat() / "rows.parquet").write_bytes(b"PAR1 cut")
    left = load_record(folder)
    assert left is not None
    assert set(left.rows["origin"]) == {two[0].isoformat()}
    (folder / "manifest.json").write_text("{}")
    assert load_record(folder) is None


def test_a_resumed_backtest_and_more_processes_give_the_same_record(record, history, two, tmp_path) -> None:  # type: ignore[no-untyped-def]
    settings, folder = Settings(CALENDAR, "laplace", 300, 3), tmp_path / "again"
    run_backtest(history, two[:1], settings, folder, {})
    again = run_backtest(history, two, settings, folder, {})
    for name in ("rows", "verdicts", "joint", "evidence", "fit"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(record[0], name))


def test_evidence_belongs_to_the_rows_and_knows_only_what_was_known_then(record, history, two) -> None:  # type: ignore[no-untyped-def]
    """Error less half the spread is the CRPS of the model's own row, where nothing was reopened since."""
    rows = record[0].rows
    found = record[0].evidence.set_index(["origin", "horizon", "metric"])
    own = rows[
        (rows["model"] == "structural") & (rows["scope"] == "company") & (rows["component"] == "total")
    ]
    own = own.set_index(["origin", "horizon", "metric"])["crps"]
    mine = found["error_structural"] - found["spread_structural_structural"] / 2
    np.testing.assert_allclose(mine, own.reindex(mine.index), rtol=1e-9)


def test_an_origin_leans_only_on_forecasts_that_had_ended(history, two) -> None:  # type: ignore[no-untyped-def]
    settings = Settings(CALENDAR, "laplace", 300, 3)
    draft = draft_origin(history, two[0], settings)
    teaching = evidence(date(2024, 12, 31), draft.pool, np.array([f.draws[1].mean() for f in draft.pool]))
    late = teaching.assign(ends="2025-04-01")
    early = teaching.assign(ends="2025-03-31")
    alone, leant = (finish_origin(draft, past, settings).rows for past in (late, early))
    final = alone[alone["model"] == OURS].reset_index(drop=True)
    before = alone[alone["model"] == "structural"].reset_index(drop=True)
    pd.testing.assert_series_equal(final["crps"], before["crps"])
    assert (leant[leant["model"] == OURS]["mean"].to_numpy() != before["mean"].to_numpy()).any()


def test_todays_forecast_leans_as_the_record_teaches_however_far_the_plan_looks(
    small_world, tmp_path, monkeypatch
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(run_module, "FIT_DRAWS", 200)
    monkeypatch.setattr(run_module, "RECORD_DRAWS", 200)
    monkeypatch.setattr(trackrecord, "RECORD_DRAWS", 200)
    write_world(small_world(11, 4, FIRST, LAST), tmp_path / "w")
    (tmp_path / "w" / "crm" / "activities.csv").unlink()
    plan = replace(load_plan(tmp_path / "w" / "plan.toml"), draws=200, horizon="2027")
    run = Run(plan, "laplace", force=True)
    assert run.leaning.futures is None
    trackrecord.backtest(run, 3)
    again = Run(plan, "laplace", force=True)
    year = plan.calendar.parse("2027")
    paths = again.paths([year])
    assert again.leaning.facts["origins"] == 3
    taken = again.leaning.futures
    assert taken is not None
    before = run.paths([year])  # made without a record
    for scope in (Scope("company"), Scope("team", "a")):
        plain, leant = (np.add(*p.simulated("won_cents", scope, year)) for p in (before, paths))
        np.testing.assert_array_equal(leant, plain[taken])


def test_scores_of_a_candidate_quota_by_hand() -> None:
    origin, target = date(2025, 3, 31), Target("deals_won", Scope("company"), FIRST, LAST)
    draws = np.array([[44.0, 55.0, 61.0, 50.0]])
    frame = verdicts(
        origin, [("m1", target)], np.array([55.0]), draws, np.array([50.0]), {"runrate": np.full((1, 6), 0.3)}
    )
    row = frame[frame["factor"] == 1.1].iloc[0]
    assert row["target"] == 55.0  # and not a hair more
    assert row["p_attain"] == 0.5
    assert row["met"]
    assert row["brier"] == pytest.approx(0.25)
    assert row["brier_runrate"] == pytest.approx(0.49)
    cut = np.maximum(draws[0], 55.0)
    pairs = np.abs(np.subtract.outer(cut, cut)).mean() / 2
    assert row["twcrps"] == pytest.approx(np.abs(cut - 55.0).mean() - pairs)


@pytest.mark.parametrize(
    ("day", "before"),
    [("2025-02-28", "2024-02-29"), ("2024-02-29", "2023-02-28"), ("2025-04-30", "2024-04-30"),
     ("2025-03-17", "2024-03-17"), ("2024-02-28", "2023-02-28")],
)  # fmt: skip
def test_a_year_back_a_months_end_stays_one(day: str, before: str) -> None:
    assert origin_scores._back(date.fromisoformat(day)) == date.fromisoformat(before)


def test_nothing_after_the_origin_reaches_the_forecast(history, two, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Amounts, ends and creations after the origin are changed: no draw of any model moves, the scores do."""
    origin, settings = two[0], Settings(CALENDAR, "laplace", 200, 3)
    deals, stages = history.opportunities.copy(), history.tables["stages"].copy()
    later = (deals["closed_on"] > pd.Timestamp(origin)).to_numpy()
    deals.loc[later, "amount"] = deals.loc[later, "amount"] * 7
    deals.loc[later, "status"] = np.where(deals.loc[later, "status"] == "won", "lost", "won")
    deals.loc[later, "amount"] = deals.loc[later, "amount"].fillna(123.0)
    unborn = (deals["created_on"] > pd.Timestamp(origin)).to_numpy() & (np.arange(len(deals)) % 3 > 0)
    gone = set(deals.loc[unborn, "opportunity_id"])
    stages = stages[~stages["opportunity_id"].isin(gone)]
    stages.loc[stages["entered_on"] > pd.Timestamp(origin), "amount"] *= 5
    tables = {**history.tables, "opportunities": deals[~unborn], "stages": stages}
    assert unborn.sum() > 10
    assert later.sum() > 10
    changed = type(history)(
        {name: table.reset_index(drop=True) for name, table in tables.items()},
        history.as_of_date, "EUR", (), history.rejected,
    )  # fmt: skip
    said: list[Any] = []
    monkeypatch.setattr(
        origin_forecast, "all_baselines", lambda *a, **k: said.append(all_baselines(*a, **k)) or said[-1]
    )
    before, after = (draft_origin(h, origin, settings) for h in (history, changed))
    assert before.wanted == after.wanted
    assert (before.actual != after.actual).any()
    np.testing.assert_array_equal(before.draws, after.draws)
    np.testing.assert_array_equal(before.last_year, after.last_year)
    assert set(said[0]) == set(said[1])
    for name in said[0]:
        np.testing.assert_array_equal(said[0][name], said[1][name])


def test_the_record_in_words_and_lines(record) -> None:  # type: ignore[no-untyped-def]
    answer = track_record(record[0], {"seed": 1}, 1)
    lines = list(record_lines(answer))
    assert all(len(line) <= 80 for line in lines)
    assert any("deals_won q1" in line for line in lines)
    table = reliability_answer(answer)
    assert table.rows["quotas"].sum() == len(record[0].verdicts)
    assert table.rows["met"].sum() == record[0].verdicts["met"].sum()


def _record(
    ours: float,
    theirs: float,
    noise: float,
    horizon: str = "q1",
    n: int = 20,
    rival: str = "runrate",
    asked: int = 0,
) -> Answer:
    """A made-up record: the CRPS of the company's bookings, ours against a baseline's."""
    rng = np.random.default_rng(4)
    rows = [
        {
            "origin": date(2024, 1, 28).replace(month=1 + k % 12, year=2024 + k // 12).isoformat(),
            "horizon": horizon, "metric": "bookings", "component": "total", "scope": "company",
            "scope_id": "", "model": model, "actual": 10.0, "mean": 9.0, "p50": 9.5,
            "crps": mean + noise * rng.normal(), "covered_50": 1.0, "covered_80": 1.0, "covered_95": 1.0,
            "pit": 0.4,
        }
        for k in range(n)
        for model, mean in ((OURS, ours), (rival, theirs))
    ]  # fmt: skip
    verdicts = pd.DataFrame(
        {"origin": ["2024-01-28"], "horizon": ["q1"], "metric": ["bookings"], "scope": ["company"],
         "scope_id": [""], "factor": [1.0], "target": [9.0], "p_attain": [0.7], "met": [True],
         "brier": [0.09], "brier_runrate": [0.16], "twcrps": [0.4]}
    )  # fmt: skip
    joint = pd.DataFrame(
        {"origin": ["2024-01-28"] * 2, "horizon": ["q1"] * 2, "metric": ["bookings"] * 2,
         "model": [OURS, "runrate"], "reps": [3, 3], "energy": [4.0, 5.0]}
    )  # fmt: skip
    fit = pd.DataFrame(
        {"origin": ["2024-01-28"], "khat": [0.2], "nuts": [""], "futures": [900.0], "earlier": [""]}
    )
    none = pd.DataFrame(columns=list(EVIDENCE))
    found = Record(pd.DataFrame(rows), verdicts, joint, none, fit, asked or n)
    return track_record(found, {"seed": 1}, 1)


@pytest.mark.parametrize(
    ("ours", "n", "noise", "verdict"),
    [
        (3.2, 20, 0.1, "good"),
        (3.8, 4, 0.1, "withheld"),
        (3.8, 4, 1.5, "doubtful"),
        (3.8, 2, 0.1, "doubtful"),
        (3.8, 20, 0.2, "withheld"),
        (3.8, 20, 3.0, "doubtful"),
    ],
)
def test_a_baseline_that_was_clearly_better_withholds_the_odds(
    ours: float, n: int, noise: float, verdict: str
) -> None:
    """By 27 % here: by two standard errors, or at each of the origins of a short record, three at least."""
    found = standing(_record(ours, 3.0, noise, "m1", n, "month_of_quarter"))
    assert (found.verdict == "withheld") == (verdict == "withheld"), found.line
    assert ("errors 1." in found.line) == (verdict == "withheld")


def test_a_record_that_was_stopped_withholds_nothing() -> None:
    found = standing(_record(3.8, 3.0, 0.1, "m1", 4, "month_of_quarter", asked=24))
    assert found.verdict == "doubtful"
    assert "24 were asked for" in found.line


def test_scores_of_quotas_and_of_all_reps_together(record) -> None:  # type: ignore[no-untyped-def]
    answer = track_record(record[0], {"seed": 1}, 1)
    quotas = pd.DataFrame(answer.summary["quotas"])
    asked = record[0].verdicts
    assert quotas["n"].sum() == len(asked)
    mine = asked[(asked["metric"] == "deals_won") & (asked["horizon"] == "m1") & (asked["scope"] == "rep")]
    row = quotas[(quotas["metric"] == "deals_won") & (quotas["horizon"] == "m1") & (quotas["scope"] == "rep")]
    assert row["brier"].item() == pytest.approx(((mine["p_attain"] - mine["met"]) ** 2).mean())
    joint = pd.DataFrame(answer.summary["joint"])
    assert {OURS, "structural", "runrate"} <= set(joint["model"])
    assert (joint["energy"] > 0).all()
    assert answer.summary["fits"]["khat_largest"] == record[0].fit["khat"].max() <= KHAT_LIMIT
    assert answer.summary["fits"]["fitted_by_nuts"] == {}


def test_a_model_that_the_fast_method_fails_at_an_origin_is_fitted_by_nuts_and_named(
    record, history, two, monkeypatch
) -> None:  # type: ignore[no-untyped-def]
    settings = Settings(CALENDAR, "laplace", 100, 3)
    whole = fit(prepare(history.as_of(two[0], strict=True), CALENDAR), draws=100, seed=3)
    posterior = whole.posteriors["value"]
    other = replace(posterior, diagnostics={**posterior.diagnostics, "method": "nuts"})
    asked: list[Any] = []

    def fitted(*_: Any, fall_back: bool = True, **__: Any) -> Any:
        asked.append(fall_back)
        return replace(whole, posteriors={**whole.posteriors, "value": other})

    monkeypatch.setattr(origin_forecast, "fit", fitted)
    draft = draft_origin(history, two[0], settings)
    assert (asked, draft.nuts) == ([True], ("value",))
    found = finish_origin(draft, record[0].evidence.iloc[:0], settings).fit
    assert found["nuts"].tolist() == ["value"]
    assert fits(found)["fitted_by_nuts"] == {two[0].isoformat(): ["value"]}


def test_the_error_of_coverage_counts_every_rep_of_an_origin() -> None:
    """Ten reps at one origin, two at the other: by hand, all samples of two origins with replacement."""
    held = {"2024-01-31": [1.0] * 9 + [0.0], "2024-02-29": [0.0, 1.0]}
    rows = pd.DataFrame(
        [
            {"origin": o, "horizon": "m1", "metric": "deals_won", "component": "total", "scope": "rep",
             "scope_id": f"r{k}", "model": OURS, "crps": 1.0, **dict.fromkeys(COVERED, c)}
            for o, values in held.items() for k, c in enumerate(values)
        ]
    )  # fmt: skip
    found = summarise(rows, 5).iloc[0]
    assert found["coverage_80"] == pytest.approx(10 / 12)
    samples = np.array([9 / 10, 10 / 12, 10 / 12, 1 / 2])
    assert found["coverage_80_se"] == pytest.approx(samples.std() * np.sqrt(2.0), rel=0.06)


@pytest.mark.parametrize(
    ("ours", "theirs", "noise", "verdict"),
    [(2.0, 3.0, 0.1, "good"), (3.5, 3.0, 0.8, "doubtful"), (3.7, 3.0, 0.4, "withheld")],
)
def test_odds_are_judged_by_skill_against_run_rate(
    ours: float, theirs: float, noise: float, verdict: str
) -> None:
    found = standing(_record(ours, theirs, noise))
    assert found.verdict == verdict, found.line


def test_odds_are_withheld_with_the_reason_unless_forced() -> None:
    fields = FIELDS
    rows = pd.DataFrame(
        [["company", "", "base", "bookings", "output", "2026", 9.0, 1.0, 0.7, 1.0, 9.1]],
        columns=[f.name for f in fields],
    )
    odds = Answer("quotas", rows, fields, "One quota.", {}, {})
    bad = _record(4.0, 3.0, 0.05)
    held = judged(odds, bad)
    assert held.rows["p_attain"].isna().all()
    assert "withheld" in held.words
    assert "worse than run-rate" in held.summary["withheld"]["bookings"]
    assert judged(odds, bad, force=True).rows["p_attain"].tolist() == [0.7]
    assert judged(odds, None) is odds
