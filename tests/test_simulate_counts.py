"""Numbers of what comes new: NegBinomial quantiles of uniform numbers, added up and from tables."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from quotacast.engine.kernel_counts import LARGEST, SMALLEST, count, counts, dispersions

U = np.concatenate([[1e-9, 1e-4], np.linspace(0.0007, 0.9993, 301), [0.99991, 1 - 1e-7]])


@pytest.mark.parametrize("mean", [0.013, 0.4, 1.83, 7.2, 46.0, 212.5, 499.0])
@pytest.mark.parametrize("phi", [0.6, 3.7, 41.0, 2.5e3])
def test_counts_are_the_quantiles(mean: float, phi: float) -> None:
    wanted = stats.nbinom.ppf(U, phi, phi / (phi + mean))
    np.testing.assert_array_equal([count(u, mean, phi) for u in U], wanted)


@pytest.mark.parametrize("mean", [0.0, -1.0])
def test_nothing_comes_of_no_mean(mean: float) -> None:
    assert count(0.97, mean, 2.0) == 0
    assert from_table(np.array([0.97]), np.array([mean]), 0.7, np.array([0.6, 0.8]))[0] == 0


def test_nearly_poisson() -> None:
    phi = 1.0 / 1e-9  # no overdispersion, as the tables write it
    np.testing.assert_array_equal([count(u, 5.3, phi) for u in U], stats.poisson.ppf(U, 5.3))


@pytest.mark.parametrize("phi", [60.0, 900.0])
def test_large_means_keep_mean_and_spread(phi: float) -> None:
    mean, grid = 812.0, (np.arange(4000) + 0.5) / 4000
    found = np.array([count(u, mean, phi) for u in grid])
    sd = np.sqrt(mean + mean**2 / phi)
    assert found.mean() == pytest.approx(mean, abs=0.01 * sd)
    assert found.std() == pytest.approx(sd, rel=0.01)
    assert (np.diff(found) >= 0).all()


def from_table(u: np.ndarray, mean: np.ndarray, sd: float, overdispersion: np.ndarray) -> np.ndarray:
    """Counts from the table of a posterior with these overdispersions, at one of them."""
    table, out = dispersions(overdispersion)["numbers"], np.empty(u.size, dtype=np.int64)
    counts(u, mean, 1.0 / (sd**2 + 1e-9), table, out)
    return out


@pytest.mark.parametrize("mean", [0.07, 0.413, 3.9, 17.3, 96.7])
@pytest.mark.parametrize(("sd", "around"), [(0.0, 0.0), (0.21, 0.1), (0.37, 0.15), (0.92, 0.3)])
def test_the_table_has_the_same_distribution(mean: float, sd: float, around: float) -> None:
    posterior = sd + around * np.array([-1.0, -0.4, 0.3, 1.1])
    u = (np.arange(200_000) + 0.5) / 200_000
    found = from_table(u, np.full(u.size, mean), sd, posterior)
    spread = sd**2 + 1e-9
    assert (np.diff(found) >= 0).all()
    assert found.mean() == pytest.approx(mean, rel=2e-4)
    # the mixture's variance exceeds the wanted one by at most mean^2 / 16,384
    variance = mean + spread * mean**2
    assert found.var() == pytest.approx(variance, rel=2e-3, abs=mean**2 / 16_384)
    values = np.arange(found.max() + 1)
    below = np.searchsorted(found, values, side="right") / u.size
    phi = 1.0 / spread
    np.testing.assert_allclose(below, stats.nbinom.cdf(values, phi, phi / (phi + mean)), atol=1.5e-3)


def test_on_a_place_of_the_table_counts_are_exact() -> None:
    posterior = np.array([0.3, 0.5])
    wanted = stats.nbinom.ppf(U, 1.0 / 0.09, (1.0 / 0.09) / (1.0 / 0.09 + 6.5))
    np.testing.assert_array_equal(from_table(U, np.full(U.size, 6.5), 0.3, posterior), wanted)


def test_beyond_the_table_counts_are_added_up() -> None:
    outside = np.array([SMALLEST / 3.1, SMALLEST * 0.9999, LARGEST, *LARGEST * np.linspace(1.003, 1.9, 30)])
    mean, u = np.repeat(outside, 4), np.tile([0.013, 0.37, 0.62, 0.991], outside.size)
    phi = 1.0 / (0.44**2 + 1e-9)
    found = from_table(u, mean, 0.44, np.array([0.4, 0.5]))
    np.testing.assert_array_equal(found, [count(a, m, phi) for a, m in zip(u, mean, strict=True)])


def test_more_is_expected_more_comes() -> None:
    """Common random numbers: with the same lots a larger mean never brings less."""
    mean = np.linspace(0.05, 140.0, 40_001)
    for u in (0.02, 0.48, 0.97):
        found = from_table(np.full(mean.size, u), mean, 0.31, np.array([0.25, 0.4]))
        # beyond the table's ends counts are exact, within it interpolated: apart by at most one there
        inside = (mean >= SMALLEST) & (mean < LARGEST)
        assert (np.diff(found[inside]) >= 0).all()
        assert np.diff(found).min() >= -1
