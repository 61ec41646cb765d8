"""Deal values: location, Bayesian bootstrap, zeros, the plausible maximum, and what was quoted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from quotacast.models.amounts import (
    AMOUNT_BANDS,
    PLAUSIBLE_TIMES,
    RESIDUALS,
    Quotes,
    ValueData,
    bootstrap_residuals,
    read_quotes,
    value_data,
)
from quotacast.models.laplace import fit_laplace
from quotacast.models.periods import Calendar
from quotacast.models.terms import Posterior
from quotacast.models.timegrid import TimeGrid, day_number

FIRST, LAST = date(2024, 1, 1), date(2024, 12, 31)
GRID = TimeGrid(
    Calendar(), int(day_number(FIRST)), int(day_number(LAST)), (1.4, 1.3, 1.3, 1.3, 1.2, 0.3, 0.2)
)
Make = Callable[..., Any]


def deal(number: int, created: str, status: str, closed: str | None, amount: float | None) -> dict[str, Any]:
    return {
        "opportunity_id": str(number), "created_on": created, "status": status, "closed_on": closed,
        "amount": amount,
    }  # fmt: skip


def stage(number: int, day: str, amount: float | None) -> dict[str, Any]:
    return {"opportunity_id": str(number), "stage": "x", "entered_on": day, "amount": amount}


def many(n: int, seed: int = 1, zeros: int = 0) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Deals of three segments and four reps, two in five won; log amounts with skewed noise."""
    rng = np.random.default_rng(seed)
    segment, rep = rng.integers(0, 3, n), rng.integers(0, 4, n)
    effect = np.array([-0.8, 0.1, 0.7])[segment] + np.array([-0.25, 0.1, 0.3, -0.15])[rep]
    amount = np.exp(9.0 + effect + 0.4 * (rng.gamma(2.0, 1.0, n) - 2.0))
    created = [FIRST + timedelta(days=int(d)) for d in rng.integers(0, 300, n)]
    status = np.where(rng.random(n) < 0.4, "won", "lost")
    amount[np.flatnonzero(status == "won")[:zeros]] = 0.0
    rows = [
        deal(i, str(created[i]), status[i], str(created[i] + timedelta(days=30)), float(amount[i]))
        for i in range(n)
    ]
    return rows, {"segment": segment.astype(np.int32), "rep": rep.astype(np.int32)}


SIZES = {"segment": 3, "rep": 4}


def quoted(rows: list[dict[str, Any]], times: float = 1.25) -> list[dict[str, Any]]:
    """A first stage on the day of creation at ``times`` the final amount."""
    return [stage(int(r["opportunity_id"]), r["created_on"], times * r["amount"]) for r in rows]


def plain_posterior(data: ValueData, draws: int) -> Posterior:
    """Every effect zero but the level, in every draw."""
    zero = {t.name: np.zeros((draws, t.size)) for t in data.declaration.terms}
    return Posterior(zero, {}, {})


# ---- which amounts are modelled


@pytest.mark.parametrize(("known", "basis"), [(79, "won"), (81, "created")])
def test_basis_by_the_share_of_deals_whose_amount_is_known_at_creation(
    make_history: Make, known: int, basis: str
) -> None:
    rows, _ = many(200)
    for state in ("won", "lost"):
        same = [row for row in rows if row["status"] == state]
        for row in same[round(len(same) * known / 100) :]:
            row["unknown"] = True
    stages = quoted([row for row in rows if not row.get("unknown")])
    rows = [{**row, "amount": None if row["status"] == "lost" else row["amount"]} for row in rows]
    quotes = read_quotes(make_history({"opportunities": rows, "stages": stages}, LAST))
    assert quotes.basis == basis
    assert quotes.bands == (AMOUNT_BANDS + 1 if basis == "created" else 1)


def test_without_stages_the_amounts_of_wins_say_nothing_of_their_quotes(make_history: Make) -> None:
    """Otherwise the amount would enter the hazards as it stood after the win: a leak."""
    rows, _ = many(100)
    quotes = read_quotes(make_history({"opportunities": rows}, LAST))
    assert quotes.basis == "won"
    won = np.array([row["status"] == "won" for row in rows])
    assert np.isnan(quotes.at_creation[won]).all()


def test_lost_deals_of_amount_zero_do_not_enter_the_hazards(make_history: Make) -> None:
    rows, _ = many(100)
    stages = quoted([row for row in rows if row["status"] == "won"])
    rows = [{**row, "amount": row["amount"] if row["status"] == "won" else 0.0} for row in rows]
    quotes = read_quotes(make_history({"opportunities": rows, "stages": stages}, LAST))
    assert quotes.basis == "won"


def test_bands_hold_about_as_many_deals_each_and_unknown_ones_apart(make_history: Make) -> None:
    rows, _ = many(400)
    quotes = read_quotes(make_history({"opportunities": rows, "stages": quoted(rows)}, LAST))
    band = quotes.band(quotes.at_creation)
    assert np.bincount(band, minlength=5).tolist() == [0, 100, 100, 100, 100]
    assert quotes.band(np.array([np.nan, 0.0, 1.0, 1e12])).tolist() == [0, 0, 1, AMOUNT_BANDS]


# ---- final over quoted


def test_log_ratios_by_hand(make_history: Make) -> None:
    """Snapshots fall every 30 days from the first creation: days 1, 31, 61, ... of the year."""
    rows = [
        deal(
            1, "2024-01-01", "won", "2024-03-15", 900.0
        ),  # stood at 1000, 1200 from 20 Jan: snapshots 1000, 1200, 1200
        deal(2, "2024-01-10", "won", "2024-02-05", 500.0),  # stood at 400: snapshot of 31 Jan
        deal(3, "2024-02-01", "won", "2024-02-20", 300.0),  # opened and closed between two snapshots
        deal(4, "2024-01-02", "lost", "2024-06-01", 700.0),
        deal(5, "2024-01-02", "won", "2024-06-30", 800.0),  # never quoted
        deal(6, "2024-01-02", "won", "2024-06-30", 0.0),  # a win of zero has no logarithm
    ]
    stages = [
        stage(1, "2024-01-01", 1000.0), stage(1, "2024-01-20", 1200.0), stage(1, "2024-02-10", None),
        stage(2, "2024-01-10", 400.0), stage(3, "2024-02-01", 300.0), stage(4, "2024-01-02", 650.0),
        stage(5, "2024-01-02", None), stage(6, "2024-01-02", 100.0),
    ]  # fmt: skip
    quotes = read_quotes(make_history({"opportunities": rows, "stages": stages}, LAST))
    np.testing.assert_allclose(quotes.new_ratio, np.log(sorted([900 / 1000, 500 / 400, 300 / 300])))
    np.testing.assert_allclose(
        quotes.open_ratio, np.log(sorted([900 / 1000, 900 / 1200, 900 / 1200, 500 / 400])), atol=1e-12
    )
    np.testing.assert_array_equal(quotes.at_creation, [1000.0, 400.0, 300.0, 650.0, np.nan, 100.0])


def test_without_quotes_the_ratio_is_one(make_history: Make) -> None:
    rows, _ = many(30)
    quotes = read_quotes(make_history({"opportunities": rows}, LAST))
    assert quotes.new_ratio.tolist() == quotes.open_ratio.tolist() == [0.0]


def test_an_amount_first_written_at_the_close_is_no_quote(make_history: Make) -> None:
    rows = [
        deal(1, "2024-01-01", "won", "2024-03-15", 900.0),
        deal(2, "2024-01-01", "won", "2024-03-15", 400.0),
    ]
    stages = [stage(1, "2024-01-01", None), stage(1, "2024-03-15", 900.0), stage(2, "2024-01-01", 500.0)]
    quotes = read_quotes(make_history({"opportunities": rows, "stages": stages}, LAST))
    np.testing.assert_array_equal(quotes.at_creation, [np.nan, 500.0])


# ---- location


def test_cells_are_sufficient_for_the_location(make_history: Make) -> None:
    rows, codes = many(300)
    history = make_history({"opportunities": rows}, LAST)
    data = value_data(history, read_quotes(history), codes, SIZES, GRID)
    won = np.array([row["status"] == "won" for row in rows])
    logs = np.log([row["amount"] for row in rows])[won]
    np.testing.assert_allclose(np.sort(data.log_amount), np.sort(logs))
    cells = data.cells
    assert cells.squares is not None
    assert cells.exposure.sum() == won.sum()
    assert cells.exposure @ cells.response == pytest.approx(logs.sum())
    # Any location m: the squares about it are within + between, by the shift rule.
    about = cells.squares + cells.exposure * (cells.response - 8.3) ** 2
    assert about.sum() == pytest.approx(np.sum((logs - 8.3) ** 2))


def test_a_lost_deal_contributes_no_value_unless_it_was_quoted(make_history: Make) -> None:
    rows, codes = many(300)
    for stages, want in (([], sum(r["status"] == "won" for r in rows)), (quoted(rows), 300)):
        history = make_history({"opportunities": rows, "stages": stages}, LAST)
        data = value_data(history, read_quotes(history), codes, SIZES, GRID)
        assert data.log_amount.size == want
    np.testing.assert_allclose(np.sort(data.log_amount), np.sort(np.log([1.25 * r["amount"] for r in rows])))


def test_location_is_recovered_and_bootstrapped_means_are_the_data(make_history: Make) -> None:
    rows, codes = many(3000)
    history = make_history({"opportunities": rows}, LAST)
    data = value_data(history, read_quotes(history), codes, SIZES, GRID)
    posterior = fit_laplace(data.declaration, data.cells, draws=600, seed=2)
    n = float(data.total)  # about 1,200 wins, residual sd .4 sqrt(2) = .57
    mean, sd = ((posterior.effects["segment"].mean(0)), posterior.effects["segment"].std(0))
    truth = np.array([-0.8, 0.1, 0.7])
    assert (np.abs(mean - truth) < 4 * sd).all()
    assert sd.max() < 0.05
    rep = posterior.effects["rep"]
    gap = (rep[:, 2] - rep[:, 0]).mean()
    assert abs(gap - 0.55) < 4 * 0.57 * np.sqrt(2 / (n / 4))
    # The mean amount of the model is that of the company, although no lognormal would give it.
    residuals = bootstrap_residuals(data, posterior, 3)
    location = data.log_amount - _sorted_residuals(data, posterior)
    expected = np.exp(location).mean() * np.mean(np.exp(residuals.values))
    assert expected == pytest.approx(np.exp(data.log_amount).mean(), rel=0.03)


def _sorted_residuals(data: ValueData, posterior: Posterior) -> Any:
    location = np.zeros(data.log_amount.size)
    for term in data.declaration.terms:
        code = np.zeros(location.size, int) if term.kind == "level" else data.row_codes[term.axis]
        location += posterior.effects[term.name].mean(axis=0)[code]
    return data.log_amount - location


# ---- residuals


def test_bayesian_bootstrap_has_the_moments_of_the_dirichlet(make_history: Make) -> None:
    """Dirichlet(1, ..., 1) over m values: mean of sum(w x) is mean(x), its variance var(x) / (m + 1)."""
    rows, codes = many(60)
    history = make_history({"opportunities": rows}, LAST)
    data = value_data(history, read_quotes(history), codes, SIZES, GRID)
    draws = 40_000
    residuals = bootstrap_residuals(data, plain_posterior(data, draws), 5)
    x, m = residuals.values, residuals.values.size
    np.testing.assert_allclose(x, np.sort(data.log_amount))
    weights = np.diff(residuals.cumulative.astype(float), axis=1, prepend=0.0)
    assert weights.min() >= 0
    np.testing.assert_array_equal(residuals.cumulative[:, -1], 1.0)
    means = weights @ x
    variance = x.var() / (m + 1)
    assert means.mean() == pytest.approx(x.mean(), abs=4 * np.sqrt(variance / draws))
    assert means.var() == pytest.approx(variance, rel=4 * np.sqrt(2 / draws))
    # Single weights: mean 1/m, variance (m - 1) / (m^2 (m + 1)).
    np.testing.assert_allclose(weights.mean(axis=0), 1 / m, rtol=0.03)
    assert weights.var(axis=0).mean() == pytest.approx((m - 1) / (m * m * (m + 1)), rel=0.03)


def test_same_seed_same_bootstrap(make_history: Make) -> None:
    rows, codes = many(40, zeros=3)
    history = make_history({"opportunities": rows}, LAST)
    data = value_data(history, read_quotes(history), codes, SIZES, GRID)
    a, b, c = (bootstrap_residuals(data, plain_posterior(data, 50), seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a.cumulative, b.cumulative)
    np.testing.assert_array_equal(a.zero_share, b.zero_share)
    assert (a.cumulative[:, 0] != c.cumulative[:, 0]).any()


def test_thinned_residuals_keep_the_mean_amount_and_the_tail(make_history: Make) -> None:
    rows, codes = many(100)
    history = make_history({"opportunities": rows}, LAST)
    data = value_data(history, read_quotes(history), codes, SIZES, GRID)
    values = 0.9 * np.random.default_rng(1).standard_normal(5 * RESIDUALS + 123)
    big = replace(
        data, log_amount=values, row_codes={k: np.zeros(values.size, np.int32) for k in data.row_codes}
    )
    residuals = bootstrap_residuals(big, plain_posterior(big, 2), 1)
    assert residuals.values.size == RESIDUALS
    assert (np.diff(residuals.values) >= 0).all()
    # Groups differ in size by one in five at most, evenly over the ranks.
    assert np.exp(residuals.values).mean() == pytest.approx(np.exp(values).mean(), rel=0.002)
    assert residuals.values[-1] == pytest.approx(values.max(), abs=0.3)


# ---- zeros and the plausible maximum


def test_zero_wins_are_a_share_with_a_jeffreys_beta(make_history: Make) -> None:
    rows, codes = many(200, zeros=9)
    history = make_history({"opportunities": rows}, LAST)
    data = value_data(history, read_quotes(history), codes, SIZES, GRID)
    wins = sum(row["status"] == "won" for row in rows)
    assert (data.zeros, data.total) == (9, wins)
    assert data.log_amount.size == wins - 9
    draws = 40_000
    share = bootstrap_residuals(data, plain_posterior(data, draws), 4).zero_share
    a, b = 9.5, wins - 9 + 0.5
    variance = a * b / ((a + b) ** 2 * (a + b + 1))
    assert share.mean() == pytest.approx(a / (a + b), abs=4 * np.sqrt(variance / draws))
    assert share.var() == pytest.approx(variance, rel=0.05)


def test_without_zero_wins_no_win_is_zero(make_history: Make) -> None:
    rows, codes = many(50)
    history = make_history({"opportunities": rows}, LAST)
    data = value_data(history, read_quotes(history), codes, SIZES, GRID)
    assert not bootstrap_residuals(data, plain_posterior(data, 10), 4).zero_share.any()


def test_where_no_win_has_an_amount_every_win_books_nothing(make_history: Make) -> None:
    rows, codes = many(60, zeros=60)
    history = make_history({"opportunities": rows}, LAST)
    data = value_data(history, read_quotes(history), codes, SIZES, GRID)
    assert data.log_amount.size == 0
    residuals = bootstrap_residuals(data, plain_posterior(data, 30), 4)
    assert (residuals.zero_share == 1.0).all()
    assert residuals.cumulative.shape == (30, residuals.values.size) == (30, 1)


@pytest.mark.parametrize(("with_quotes", "largest"), [(False, "won"), (True, "any")])
def test_the_plausible_maximum_is_twice_the_largest_seen(
    make_history: Make, with_quotes: bool, largest: str
) -> None:
    rows, codes = many(80)
    stages = quoted(rows) if with_quotes else []
    history = make_history({"opportunities": rows, "stages": stages}, LAST)
    quotes = read_quotes(history)
    data = value_data(history, quotes, codes, SIZES, GRID)
    if largest == "won":
        want = max(row["amount"] for row in rows if row["status"] == "won")
    else:
        want = 1.25 * max(row["amount"] for row in rows)
    assert data.plausible_max == pytest.approx(PLAUSIBLE_TIMES * want)


def test_wins_closed_before_the_grid_do_not_count(make_history: Make) -> None:
    rows = [
        deal(1, "2023-06-01", "won", "2023-12-31", 70.0),
        deal(2, "2023-06-01", "won", "2024-01-01", 80.0),
        deal(3, "2024-06-01", "won", "2024-12-31", 90.0),
    ]
    history = make_history({"opportunities": rows}, LAST)
    codes = {"segment": np.zeros(3, np.int32), "rep": np.array([0, 1, 2], np.int32)}
    data = value_data(history, read_quotes(history), codes, SIZES, GRID)
    np.testing.assert_allclose(data.log_amount, np.log([80.0, 90.0]))
    assert data.row_codes["rep"].tolist() == [1, 2]
    assert data.row_codes["quarter"].tolist() == [0, 3]


def test_quotes_say_when_amounts_do_not_enter() -> None:
    quotes = Quotes(np.array([1.0, np.nan]), "won", np.empty(0), np.zeros(1), np.zeros(1))
    assert quotes.bands == 1
