"""Monte Carlo errors of paired differences: against a bootstrap and the textbook's formula."""

from __future__ import annotations

import numpy as np
import pytest

from quotacast.engine.paired import clusters, difference, mean_error, odds_difference

RNG = np.random.default_rng(12)


def test_every_draw_for_itself_is_the_usual_error() -> None:
    x = RNG.gamma(2.0, 3.0, 341)
    mean, error = mean_error(x, clusters(341, 1000))
    assert mean == pytest.approx(x.mean())
    assert error == pytest.approx(x.std(ddof=1) / np.sqrt(341))


def test_paired_error_is_that_of_a_bootstrap_over_clusters() -> None:
    """Futures with repeats, and two futures that share a row of the posterior, belong together."""
    futures = np.sort(RNG.integers(0, 300, 500))
    rows = RNG.normal(0.0, 2.0, 150)
    base = RNG.gamma(2.0, 3.0, 300)[futures]
    value = base + 1.3 + rows[futures % 150] + RNG.normal(0.0, 0.5, 300)[futures]
    cluster = clusters(500, 150, futures)
    gap = difference(value, base)
    mean, error = mean_error(gap, cluster)
    groups = [np.flatnonzero(cluster == g) for g in np.unique(cluster)]
    again = []
    for _ in range(3000):
        chosen = np.concatenate([groups[g] for g in RNG.integers(0, len(groups), len(groups))])
        again.append(gap[chosen].mean())
    assert mean == pytest.approx(gap.mean())
    assert error == pytest.approx(np.std(again), rel=0.06)
    naive = gap.std(ddof=1) / np.sqrt(500)
    assert error > 1.4 * naive


def test_pairs_of_which_one_is_undefined_do_not_count() -> None:
    value, base = np.array([1.0, np.nan, 5.0, 2.5]), np.array([0.5, 1.0, np.nan, 1.0])
    mean, error = mean_error(difference(value, base), clusters(4, 10))
    assert mean == pytest.approx(1.0)
    assert error == pytest.approx(np.std([0.5, 1.5], ddof=1) / np.sqrt(2))
    assert mean_error(np.full(3, np.nan), clusters(3, 10)) == (None, None)


def test_difference_of_odds_counts_only_what_differs() -> None:
    base = RNG.random(2000) < 0.4
    reached = base | (RNG.random(2000) < 0.05)
    diff, error = odds_difference(reached, base, clusters(2000, 4000))
    changed = (reached != base).mean()
    assert diff == pytest.approx(changed)
    assert error == pytest.approx(np.sqrt(changed * (1 - changed) / 1999))
    assert odds_difference(base, base, clusters(2000, 4000)) == (0.0, 0.0)


def test_unequal_draws_are_no_pairs() -> None:
    with pytest.raises(ValueError, match="paired draws are needed"):
        difference(np.zeros(3), np.zeros(4))
