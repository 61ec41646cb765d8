"""Scores against closed forms and brute force; calibration and coverage where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from quotacast.engine.backtest import scores
from quotacast.engine.backtest.bootstrap import block_bootstrap_se, block_bootstrap_skill_se, block_indices
from quotacast.engine.backtest.scores import (
    best_baseline,
    brier,
    covered,
    crps,
    energy_score,
    randomised_pit,
    skill,
    threshold_crps,
)
from quotacast.errors import QuotacastError

Floats = NDArray[np.float64]

#: Midpoints of 20,000 equal shares: quantiles there stand for a whole distribution.
SHARES = (np.arange(20_000) + 0.5) / 20_000
ACTUALS = np.array([-0.7, 0.4, 3.3, 8.9])


def by_pairs(draws: Floats, actual: float) -> float:
    """CRPS of an ensemble by its definition, every draw with every draw."""
    return float(np.abs(draws - actual).mean() - 0.5 * np.abs(draws[:, None] - draws[None, :]).mean())


def ensemble(shape: tuple[int, ...], seed: int = 5) -> Floats:
    rng = np.random.default_rng(seed)
    return np.round(rng.gamma(1.3, 2.0, shape), 1)  # skewed, and with ties


# ---- CRPS


def test_crps_of_a_normal_has_its_closed_form() -> None:
    """Gneiting & Raftery 2007, equation 21."""
    mean, sd = 2.1, 1.7
    z = (ACTUALS - mean) / sd
    exact = sd * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))
    draws = np.tile(stats.norm.ppf(SHARES, mean, sd), (ACTUALS.size, 1))
    np.testing.assert_allclose(crps(draws, ACTUALS), exact, rtol=2e-4)


def test_crps_of_an_exponential_has_its_closed_form() -> None:
    """y − 2/λ (1 − exp(−λy)) + 1/(2λ) for y ≥ 0, by integration of (F − 1{y ≤ z})²."""
    rate, y = 0.6, ACTUALS[1:]
    exact = y - 2 / rate * (1 - np.exp(-rate * y)) + 1 / (2 * rate)
    draws = np.tile(stats.expon.ppf(SHARES, scale=1 / rate), (y.size, 1))
    np.testing.assert_allclose(crps(draws, y), exact, rtol=1e-3)


def test_crps_is_that_of_the_pairs_of_draws_in_any_order_and_shape() -> None:
    draws, actual = ensemble((2, 3, 41)), ensemble((2, 3), 6)
    found = crps(draws, actual)
    assert found.shape == (2, 3)
    for at in np.ndindex(2, 3):
        assert found[at] == pytest.approx(by_pairs(draws[at], actual[at]), rel=1e-12)


def test_crps_does_not_depend_on_how_rows_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    draws, actual = ensemble((7, 30)), ensemble((7,), 8)
    whole = crps(draws, actual)
    monkeypatch.setattr(scores, "_ROOM", 61)
    np.testing.assert_array_equal(crps(draws, actual), whole)


def test_crps_of_no_row_is_empty_and_of_wrong_shapes_an_error() -> None:
    assert crps(np.empty((0, 9)), np.empty(0)).shape == (0,)
    with pytest.raises(QuotacastError, match=r"\(3, 9\) and actual \(4,\)"):
        crps(np.zeros((3, 9)), np.zeros(4))


# ---- threshold


@pytest.mark.parametrize("threshold", [0.3, 2.2, 6.0])
def test_threshold_crps_of_an_exponential_has_its_closed_form(threshold: float) -> None:
    """∫ from t of (F − 1{y ≤ z})² dz: exp(−2λt)/(2λ), plus (y−t) − 2/λ (exp(−λt) − exp(−λy)) if y > t."""
    rate, y = 0.6, ACTUALS
    above = np.maximum(y, threshold)
    exact = np.exp(-2 * rate * threshold) / (2 * rate) + (above - threshold)
    exact -= 2 / rate * (np.exp(-rate * threshold) - np.exp(-rate * above))
    draws = np.tile(stats.expon.ppf(SHARES, scale=1 / rate), (y.size, 1))
    np.testing.assert_allclose(threshold_crps(draws, y, threshold), exact, rtol=4e-3)


def test_threshold_below_everything_is_the_crps_and_parts_add_up() -> None:
    draws, actual = ensemble((4, 50)), ensemble((4,), 9)
    np.testing.assert_allclose(threshold_crps(draws, actual, -1.0), crps(draws, actual))
    t = np.array([1.0, 2.5, 0.4, 3.1])
    below = crps(np.minimum(draws, t[:, None]), np.minimum(actual, t))
    np.testing.assert_allclose(threshold_crps(draws, actual, t) + below, crps(draws, actual))


# ---- Brier


def test_brier_is_the_squared_difference() -> None:
    found = brier([0.7, 0.7, 0.2, np.nan, 0.5], [1, 0, 1, 1, np.nan])
    np.testing.assert_allclose(found, [0.09, 0.49, 0.64, np.nan, np.nan])


@pytest.mark.parametrize(("p", "outcome"), [([1.2], [1]), ([-0.1], [0]), ([0.4], [0.4])])
def test_brier_refuses_what_is_no_probability_or_outcome(p: list[float], outcome: list[float]) -> None:
    with pytest.raises(QuotacastError, match="brier"):
        brier(p, outcome)


# ---- energy score


def energy_by_pairs(draws: Floats, actual: Floats) -> float:
    apart = np.linalg.norm(draws[:, None, :] - draws[None, :, :], axis=-1)
    return float(np.linalg.norm(draws - actual, axis=-1).mean() - 0.5 * apart.mean())


def test_energy_score_is_that_of_all_pairs_however_they_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    from scoringrules import es_ensemble

    draws, actual = ensemble((37, 5)), ensemble((5,), 3)
    exact = energy_by_pairs(draws, actual)
    assert energy_score(draws, actual) == pytest.approx(exact, rel=1e-12)
    assert float(es_ensemble(actual, draws, backend="numpy")) == pytest.approx(exact, rel=1e-12)
    monkeypatch.setattr(scores, "_ROOM", 150)
    assert energy_score(draws, actual) == pytest.approx(exact, rel=1e-12)


def test_energy_score_of_one_rep_is_the_crps() -> None:
    draws = ensemble((60, 1))
    assert energy_score(draws, [2.3]) == pytest.approx(float(crps(draws[:, 0], 2.3)), rel=1e-12)


def test_energy_score_refuses_draws_on_the_wrong_axis() -> None:
    with pytest.raises(QuotacastError, match=r"wanted \(m, reps\)"):
        energy_score(np.zeros((5, 37)), np.zeros(37 - 1))


# ---- PIT and coverage


def test_pit_of_one_of_the_draws_is_exactly_uniform() -> None:
    """Each of m + 1 values is the actual once: the intervals of u from 0 to 1 must tile 0 to 1 evenly."""
    values = np.array([1.0, 1.0, 2.0, 3.0, 3.0, 3.0, 7.0])
    m = values.size
    low, high = np.empty(m), np.empty(m)
    for i in range(m):
        rest = np.delete(values, i)
        low[i], high[i] = randomised_pit(rest, values[i], 0.0), randomised_pit(rest, values[i], 1.0)
    grid = np.linspace(0, 1, 29)
    share = np.clip((grid[:, None] - low) / (high - low), 0, 1).mean(axis=1)
    np.testing.assert_allclose(share, grid, atol=1e-12)


def test_coverage_by_pit_is_nominal_on_counts_where_closed_intervals_cover_too_often() -> None:
    rng = np.random.default_rng(2)
    draws, actual = rng.poisson(1.4, (4000, 199)), rng.poisson(1.4, 4000)
    pit = randomised_pit(draws, actual, rng.random(4000))
    for level in (0.5, 0.8, 0.95):
        assert covered(pit, level).mean() == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 4000))
    low, high = np.quantile(draws, [0.25, 0.75], axis=1)
    assert ((low <= actual) & (actual <= high)).mean() > 0.65


def test_covered_takes_the_middle() -> None:
    np.testing.assert_array_equal(
        covered([0.09, 0.11, 0.5, 0.89, 0.91, np.nan], 0.8), [0, 1, 1, 1, 0, np.nan]
    )
    with pytest.raises(QuotacastError, match="80"):
        covered([0.5], 80)


def test_what_is_missing_has_no_score() -> None:
    draws, actual = ensemble((3, 20)), np.array([1.0, np.nan, 2.0])
    draws[2, 4] = np.nan
    for found in (
        crps(draws, actual),
        threshold_crps(draws, actual, 0.9),
        randomised_pit(draws, actual, np.full(3, 0.3)),
    ):
        np.testing.assert_array_equal(np.isnan(found), [False, True, True])
    assert np.isnan(energy_score(draws.T, np.array([1.0, 2.0, 2.0])))


# ---- skill


def test_skill_is_one_minus_the_ratio_over_what_both_forecast() -> None:
    assert skill([1.0, 2.0, np.nan, 9.0], [2.0, 6.0, 5.0, np.nan]) == pytest.approx(1 - 3 / 8)
    assert skill([4.0, 2.0], [1.0, 2.0]) == pytest.approx(-1.0)
    assert np.isnan(skill([1.0], [0.0]))
    assert np.isnan(skill([1.0, np.nan], [np.nan, 2.0]))


def test_the_best_baseline_is_the_hardest_to_beat_among_those_that_speak() -> None:
    ours = np.array([1.0, 2.0, 3.0, 10.0])
    rivals = {
        "dull": ours * 1.5,
        "good": ours * 1.1,
        "easy_half": np.array([1.3, 2.6, np.nan, np.nan]),
        "lucky_once": np.array([0.1, np.nan, np.nan, np.nan]),
        "silent": np.full(4, np.nan),
    }
    assert best_baseline(ours, rivals) == "good"
    assert best_baseline(ours, {"silent": rivals["silent"]}) is None


# ---- standard errors


def test_blocks_are_neighbours_and_wrap_around() -> None:
    index = block_indices(10, 4, 50, 3)
    assert index.shape == (50, 10)
    inside = np.arange(10) % 4 != 3
    np.testing.assert_array_equal(((np.diff(index, axis=1) % 10) == 1)[:, inside[:-1]], True)
    assert len(np.unique(index)) == 10


def test_standard_error_of_independent_origins_is_the_textbook_one() -> None:
    values = ensemble((60,), 4)
    found = block_bootstrap_se(values, 1, 7, replicates=20_000)
    assert found == pytest.approx(values.std(ddof=1) / np.sqrt(60), rel=0.03)


def test_standard_error_of_overlapping_origins_is_that_of_their_mean() -> None:
    """Moving sums of 3 steps: the mean of n of them has sd 3 / sqrt(n), where √3 / sqrt(n) looks right."""
    rng = np.random.default_rng(8)
    n, found = 48, []  # four blocks: the correction for so few is 15 %
    for seed in range(200):
        noise = rng.normal(size=n + 2)
        values = noise[2:] + noise[1:-1] + noise[:-2]
        found.append(block_bootstrap_se(values, 12, seed, replicates=200))
    assert np.sqrt(np.mean(np.square(found))) == pytest.approx(3 / np.sqrt(n), rel=0.1)


def test_origins_come_with_all_their_values_and_missing_ones_count_for_nothing() -> None:
    column = ensemble((40,), 1)
    twice = np.column_stack([column, column])
    assert block_bootstrap_se(twice, 2, 5) == pytest.approx(block_bootstrap_se(column, 2, 5))
    holes = np.column_stack([column, np.full(40, np.nan)])
    assert block_bootstrap_se(holes, 2, 5) == pytest.approx(block_bootstrap_se(column, 2, 5))
    gap = np.insert(column, 7, np.nan)
    assert block_bootstrap_se(gap, 2, 5) == pytest.approx(block_bootstrap_se(column, 2, 5))


def test_too_few_blocks_have_no_standard_error() -> None:
    assert np.isnan(block_bootstrap_se(ensemble((23,)), 12, 1))
    assert block_bootstrap_se(ensemble((24,)), 12, 1) > 0
    with pytest.raises(QuotacastError, match="0 origins"):
        block_bootstrap_se(ensemble((24,)), 0, 1)


def test_standard_error_of_skill_follows_the_delta_method() -> None:
    rng = np.random.default_rng(12)
    theirs = rng.gamma(20, 0.1, 200)
    ours = 0.8 * theirs + rng.normal(0, 0.2, 200)
    ratio = ours.sum() / theirs.sum()
    exact = np.std(ours - ratio * theirs, ddof=1) / theirs.mean() / np.sqrt(200)
    found = block_bootstrap_skill_se(ours, theirs, 1, 3, replicates=8000)
    assert found == pytest.approx(exact, rel=0.05)
    assert found < 0.8 * np.hypot(ours.std() / ours.mean(), theirs.std() / theirs.mean()) / np.sqrt(200)
