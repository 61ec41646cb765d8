"""Numbers of creations are the exact NegBinomial quantiles of their uniform numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from quotacast.engine.kernel import count
from quotacast.engine.kernel_activity import count_many

U = np.concatenate([[1e-9, 1e-4], np.linspace(0.0007, 0.9993, 301), [0.99991, 1 - 1e-7]])


@pytest.mark.parametrize("drawn", [count, count_many])
@pytest.mark.parametrize("mean", [0.013, 0.4, 1.83, 7.2, 46.0, 212.5, 499.0])
@pytest.mark.parametrize("phi", [0.6, 3.7, 41.0, 2.5e3])
def test_counts_are_the_quantiles(mean: float, phi: float, drawn: Any) -> None:
    wanted = stats.nbinom.ppf(U, phi, phi / (phi + mean))
    np.testing.assert_array_equal([drawn(u, mean, phi) for u in U], wanted)


@pytest.mark.parametrize("mean", [0.0, -1.0])
def test_nothing_comes_of_no_mean(mean: float) -> None:
    assert count(0.97, mean, 2.0) == 0


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
