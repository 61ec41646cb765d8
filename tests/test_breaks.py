"""Breaks at the end of a history: the tails, the change point, what is said, and false alarms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from quotacast.engine.worlds import World
from quotacast.models.funnel import prepare
from quotacast.models.history import breaks
from quotacast.models.history.breaks import Break, Weeks, find_breaks, holm, sentence, tails
from quotacast.models.history.check import check_rows
from quotacast.models.history.history import History
from quotacast.models.history.importers import import_source
from quotacast.models.history.read import read_history
from quotacast.models.periods import Calendar
from quotacast.scenarios.run import Run
from quotacast.scenarios.screen import _doubt

ROOT = Path(__file__).resolve().parents[1]
OLIST = ROOT.parent / "shared" / "data" / "olist_funnel"
MAPPING = ROOT / "scenarios" / "examples" / "olist_mapping.toml"


@pytest.fixture(scope="module")
def company(small_world: Callable[..., World], world_history: Callable[[World], History]) -> History:
    return world_history(small_world(5))


def without_creations(history: History, after: date, keep_every: int = 0) -> History:
    """The history with only every so-manieth opportunity (0: none) of those created after a day."""
    deals = history.opportunities
    late = (deals["created_on"] > pd.Timestamp(after)).to_numpy()
    nth = np.cumsum(late) % keep_every == 0 if keep_every else np.zeros(len(deals), dtype=bool)
    kept = deals[~late | nth].reset_index(drop=True)
    stages = history.stages[history.stages["opportunity_id"].isin(set(kept["opportunity_id"]))]
    tables = {**history.tables, "opportunities": kept, "stages": stages.reset_index(drop=True)}
    return replace(history, tables=tables)


# ---- the pieces, against other computations


def test_holm_is_that_of_statsmodels() -> None:
    from statsmodels.stats.multitest import multipletests

    p = np.random.default_rng(3).beta(0.4, 3.0, 25)
    p[7] = p[3]
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], rtol=1e-12)


@pytest.mark.parametrize("k", [1, 4, 9, 52])
def test_the_mean_of_a_run_varies_as_its_covariance_matrix_says(k: int) -> None:
    lag = np.abs(np.subtract.outer(np.arange(k), np.arange(k)))
    expected = (breaks.RUNS ** (lag / 4)).mean()
    assert breaks._runs(k) == pytest.approx(expected, rel=1e-12)


def test_tails_are_those_of_a_gamma_mixture_of_poissons() -> None:
    rng = np.random.default_rng(8)
    y = np.append(rng.poisson(7.0, 40), rng.poisson(4.0, 9)).astype(float)
    x = np.append(np.full(40, 2.0), np.full(9, 1.7))
    n, k = 40, 9
    spread = breaks._variance(y[:n], y[:n].mean() * np.ones(n)) * (breaks._runs(k) + breaks._runs(n))
    spread += 1 / y[:n].sum()
    mean = y[:n].mean() / 2.0 * 1.7 * k
    draws = rng.poisson(mean * rng.gamma(1 / spread, spread, 400_000))
    low, high = tails(Weeks(y, x), k)
    seen = y[n:].sum()
    assert low == pytest.approx((draws <= seen).mean(), abs=0.003)
    assert high == pytest.approx((draws >= seen).mean(), abs=0.003)


def test_blocks_of_four_weeks_tell_the_variance_of_the_log_rate() -> None:
    rng = np.random.default_rng(11)
    sd, found = 0.4, []
    for _ in range(300):
        level = np.repeat(np.exp(rng.normal(0.0, sd, 13)), 4)
        found.append(breaks._variance(rng.poisson(60 * level).astype(float), np.full(52, 60 * level.mean())))
    blocks = np.mean(found) * breaks._runs(4)
    # shrunk to the usual one: between it and the variance of the rate, exp(sd^2) - 1
    assert breaks.USUAL**2 + 0.03 < blocks < np.expm1(sd**2)


def test_closings_offered_at_the_references_hazards_are_the_references_closings(company: History) -> None:
    data = breaks._Data.of(company)
    assert data is not None
    for stream in ("won", "lost"):
        weeks = breaks.weekly(data, stream, 9)
        assert weeks is not None
        n = weeks.observed.size - 9
        assert weeks.offered[:n].sum() == pytest.approx(weeks.observed[:n].sum(), rel=1e-6)
        assert weeks.observed[:n].sum() > 20


def test_a_change_of_level_is_dated_to_its_week() -> None:
    rng = np.random.default_rng(2)
    y = np.append(rng.poisson(20.0, 55), rng.poisson(5.0, 12)).astype(float)
    assert breaks._change(y, np.full(67, 3.0)) == 55


# ---- whole histories


def test_companies_without_a_break_are_not_told_of_one(
    small_world: Callable[..., World], world_history: Callable[[World], History]
) -> None:
    # at 1 in 200 (benchmarks/results/breaks.md) two or more of 30 come in 1 of 100 runs; seeds are fixed
    told = [bool(find_breaks(world_history(small_world(seed)))) for seed in range(100, 130)]
    assert sum(told) <= 1


def test_an_end_of_creations_is_dated_to_the_last_of_them(company: History) -> None:
    history = without_creations(company, date(2025, 8, 20))
    latest = history.opportunities["created_on"].max().date()
    (found,) = [b for b in find_breaks(history) if b.stream == "created"]
    assert (found.stops, found.since, found.seen) == (True, latest, 0)
    gone = len(company.opportunities) - len(history.opportunities)
    assert 0.4 < found.due / gone < 2.5
    assert found.p <= breaks.LEVEL
    rows = check_rows(history)
    said = rows["meaning"][rows["rule"] == "structural break"]
    assert any(text.startswith(f"Creations stop after {latest:%d %b %Y}: ") for text in said)


def test_a_collapse_is_dated_and_measured(company: History) -> None:
    history = without_creations(company, date(2025, 9, 30), keep_every=8)
    (found,) = [b for b in find_breaks(history) if b.stream == "created"]
    assert not found.stops
    assert abs(found.since - date(2025, 10, 1)) <= timedelta(days=14)
    assert 0.05 < found.ratio < 0.3


def test_wins_are_measured_against_open_deals_of_their_age(company: History) -> None:
    """Without new deals there are soon fewer wins, and that is no break of winning."""
    history = without_creations(company, date(2025, 8, 20))
    assert {b.stream for b in find_breaks(history)} == {"created"}


def test_a_short_history_is_not_judged(make_history: Callable[..., History]) -> None:
    days = pd.date_range("2025-01-02", periods=60, freq="3D")
    rows = [
        {"opportunity_id": str(i), "created_on": d, "status": "won", "closed_on": d, "amount": 10.0 + i}
        for i, d in enumerate(days)
    ]
    assert find_breaks(make_history({"opportunities": rows}, date(2025, 7, 1))) == ()


def test_the_funnel_notes_a_break(company: History) -> None:
    history = without_creations(company, date(2025, 8, 20))
    prepared = prepare(history, Calendar())
    assert prepared.doubts == tuple(sentence(b) for b in find_breaks(history))
    assert set(prepared.doubts) <= set(prepared.notes)
    assert prepare(company, Calendar()).doubts == ()


def test_a_plan_doubts_what_follows_a_break(company: History) -> None:
    history = without_creations(company, date(2025, 8, 20))
    prepared = prepare(history, Calendar())
    run = SimpleNamespace(history=history, funnel=SimpleNamespace(prepared=prepared))
    lines = list(_doubt(cast(Run, run)))
    assert any(line.startswith("Doubt    Creations stop after ") for line in lines)
    assert max(map(len, lines)) <= 80
    assert " ".join(prepared.doubts[0].split()) in " ".join(" ".join(lines).split())


def test_wins_without_any_amount_are_a_doubt(company: History) -> None:
    deals = company.opportunities
    amount = deals["amount"].mask(deals["status"] == "won", 0.0).mask(deals["status"] != "won")
    stages = company.stages.assign(amount=np.nan)
    tables = {**company.tables, "opportunities": deals.assign(amount=amount), "stages": stages}
    prepared = prepare(replace(company, tables=tables), Calendar())
    assert prepared.doubts == ("No won deal has an amount above 0: bookings are forecast to be 0.",)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Break("created", True, date(2026, 5, 31), 0, 5450.1, 0.0), "Creations stop after 31 May 2026: "),
        (Break("created", False, date(2026, 11, 2), 60, 100.0, 0.0), "Since Nov 2026 about 40% fewer opp"),
        (
            Break("won", False, date(2026, 11, 2), 125, 100.0, 0.0),
            "Since Nov 2026 about 25% more deals are won",
        ),
        (
            Break("lost", False, date(2026, 11, 2), 252, 100.0, 0.0),
            "Since Nov 2026 2.5 times as many deals are",
        ),
    ],
)
def test_a_break_is_said_in_plain_words(found: Any, words: str) -> None:
    assert sentence(found).startswith(words)
    assert "may be" in sentence(found)


def test_both_ends_of_olist_are_named(tmp_path: Path) -> None:
    if not OLIST.is_dir():
        pytest.skip("the Olist files are not beside the project")
    out = import_source([OLIST], kind=MAPPING, out=tmp_path / "data").out
    rows = check_rows(read_history(out)).set_index("rule")["meaning"]
    assert "none closed before" in rows["left truncation"]
    assert "2017-12-05" in rows["left truncation"]
    assert rows["structural break"].startswith("Creations stop after 31 May 2018: ")
