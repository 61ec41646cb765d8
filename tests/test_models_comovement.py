"""How wins and losses move together: closed forms, and correlations that were put into data."""

from __future__ import annotations

import dataclasses
from datetime import date

import numpy as np
import pytest
from scipy import stats

from quotacast.engine.worlds import draw_truth
from quotacast.engine.worlds_truth import Truth
from quotacast.errors import PlanError
from quotacast.models.comovement import GRID, Comovement, comovement, innovations, log_evidence
from quotacast.models.funnel import prepare
from quotacast.models.laplace import fit_laplace
from quotacast.models.periods import Calendar
from quotacast.models.terms import Floats, Posterior, Term


def gaussian_fit(map_: Floats, y: Floats, noise: float) -> tuple[Floats, Floats]:
    """Posterior of u ~ N(0, I) seen as y = map_ u + noise."""
    cov = np.linalg.inv(np.eye(map_.shape[1]) + map_.T @ map_ / noise**2)
    return cov @ map_.T @ y / noise**2, cov


def test_the_evidence_of_two_fits_is_that_of_the_joint_model() -> None:
    """Two linear Gaussian models: what both see together is Normal, whatever the correlation."""
    rng, n = np.random.default_rng(3), 5
    maps = [rng.normal(size=(n + k, n)) for k in (0, 2)]
    noises, seen = (0.7, 1.4), [rng.normal(size=n + k) * 1.5 for k in (0, 2)]
    fits = [gaussian_fit(m, y, s) for m, y, s in zip(maps, seen, noises, strict=True)]
    correlations = np.array([-0.8, -0.25, 0.0, 0.4, 0.9])

    def joint(r: float) -> float:
        cov = np.block([[np.eye(n), r * np.eye(n)], [r * np.eye(n), np.eye(n)]])
        both = np.block([[maps[0], np.zeros((n, n))], [np.zeros((n + 2, n)), maps[1]]])
        noise = np.diag(np.repeat(np.square(noises), (n, n + 2)))
        return float(stats.multivariate_normal.logpdf(np.concatenate(seen), cov=both @ cov @ both.T + noise))

    found = log_evidence(correlations, *fits[0], *fits[1])
    np.testing.assert_allclose(found, [joint(r) - joint(0.0) for r in correlations], atol=1e-9)


def test_steps_known_for_certain_have_the_likelihood_of_a_plain_correlation() -> None:
    rng, zero = np.random.default_rng(4), np.zeros((6, 6))
    a, b = rng.normal(size=(2, 6))
    found = log_evidence(np.array([-0.5, 0.3, 0.6]), a, zero, b, zero)
    pairs = np.column_stack([a, b])
    wanted = [
        stats.multivariate_normal.logpdf(pairs, cov=[[1.0, r], [r, 1.0]]).sum()
        - stats.norm.logpdf(pairs).sum()
        for r in (-0.5, 0.3, 0.6)
    ]
    np.testing.assert_allclose(found, wanted, atol=1e-10)


def test_innovations_are_what_the_shock_was_made_of() -> None:
    z, rho = np.random.default_rng(5).normal(size=(3, 7)), np.array([0.3, 0.62, 0.9])
    made = np.stack(
        [Term("shock", "shock", "month", 7, 0.2, "x").basis(r) @ u for r, u in zip(rho, z, strict=True)]
    )
    np.testing.assert_allclose(innovations(made, rho), z, atol=1e-12)


def fitted(u: Floats, noise: float, rng: np.random.Generator, draws: int = 1000) -> Posterior:
    """Draws of a fit that sees shocks and trend through noise; sds and correlations are as true."""
    steps, quarters = u.size, u.size // 4
    y = u + noise * rng.normal(size=steps)
    shrunk, left = 1.0 / (1.0 + noise**2), noise / np.sqrt(1.0 + noise**2)
    found = shrunk * y + left * rng.normal(size=(draws, steps))
    sd, rho = rng.uniform(0.1, 0.3, draws), rng.uniform(0.3, 0.8, draws)
    months = steps - quarters
    shock = found[:, :months].copy()
    for t in range(1, months):
        shock[:, t] = rho * shock[:, t - 1] + np.sqrt(1.0 - rho**2) * shock[:, t]
    shock *= sd[:, None]
    walk = Term("t", "walk", "q", quarters + 1, 0.1, "x").basis()
    trend = 0.5 * sd[:, None] * (found[:, months:] @ walk.T)
    hyper = {"shock_sd": sd, "shock_rho": rho, "trend_sd": 0.5 * sd}
    return Posterior({"shock": shock, "trend": trend}, hyper, {})


@pytest.mark.parametrize("true", [-0.6, 0.0, 0.75])
def test_a_correlation_is_recovered_through_noise_that_attenuates_it(true: float) -> None:
    """As much noise as signal halves the correlation of what each fit sees; 120 steps tell the true one."""
    rng, steps = np.random.default_rng(6), 120
    first = rng.normal(size=steps)
    second = true * first + np.sqrt(1.0 - true**2) * rng.normal(size=steps)
    one, two = (fitted(u, 1.0, rng) for u in (first, second))
    found = comovement(one, two)
    sd = float(np.sqrt(found.probability @ (found.grid - found.mean) ** 2))
    assert found.mean == pytest.approx(true, abs=2.5 * sd)
    assert sd < 0.2
    assert comovement(two, one).mean == pytest.approx(found.mean, abs=1e-9)


def test_ranks_of_true_correlations_are_uniform() -> None:
    """Simulation-based calibration: correlations from the prior, two dozen months seen through noise."""
    rng, ranks = np.random.default_rng(7), []
    for _ in range(100):
        true = 2.0 * rng.beta(2.0, 2.0) - 1.0
        u = rng.normal(size=(2, 24))
        u[1] = true * u[0] + np.sqrt(1.0 - true**2) * u[1]
        found = comovement(*(fitted(x, 0.8, rng, 400) for x in u))
        ranks.append(float(found.probability[found.grid < true].sum()))
    assert stats.kstest(ranks, "uniform").pvalue > 0.01
    assert np.mean(np.abs(np.asarray(ranks) - 0.5) < 0.4) == pytest.approx(0.8, abs=0.1)


def test_unknown_sds_are_integrated_out_as_in_the_joint_model() -> None:
    """Shocks of unknown sd (HalfNormal .15) seen through noise: the joint model on a grid of both sds."""
    rng, n, seen = np.random.default_rng(9), 24, []
    sds, noise = np.linspace(0.005, 0.6, 60), (0.12, 0.06)
    log_prior = -(sds**2) / 2 / 0.15**2

    def alone(y: Floats, tau: float) -> Posterior:
        log_p = log_prior - n / 2 * np.log(sds**2 + tau**2) - (y @ y) / 2 / (sds**2 + tau**2)
        p = np.exp(log_p - log_p.max())
        sd = sds[rng.choice(sds.size, 1000, p=p / p.sum())][:, None]
        left = tau / np.sqrt(sd**2 + tau**2)
        u = sd * y / (sd**2 + tau**2) + left * rng.normal(size=(1000, n))
        return Posterior({"shock": sd * u}, {"shock_sd": sd[:, 0], "shock_rho": np.zeros(1000)}, {})

    def jointly(y: Floats) -> float:
        a, b = sds[:, None, None] ** 2 + noise[0] ** 2, sds[None, :, None] ** 2 + noise[1] ** 2
        c = sds[:, None, None] * sds[None, :, None] * GRID
        det = a * b - c**2
        squares = (b * (y[0] @ y[0]) + a * (y[1] @ y[1]) - 2 * c * (y[0] @ y[1])) / det
        log_p = log_prior[:, None, None] + log_prior[None, :, None] - n / 2 * np.log(det) - squares / 2
        p = np.exp(log_p - log_p.max()).sum(axis=(0, 1)) * (1 - GRID**2)
        return float(GRID @ p / p.sum())

    for true in np.linspace(-0.9, 0.9, 15):
        u = rng.normal(size=(2, n))
        u[1] = true * u[0] + np.sqrt(1.0 - true**2) * u[1]
        y = np.array([[0.2], [0.15]]) * u + np.array(noise)[:, None] * rng.normal(size=(2, n))
        found = comovement(*(alone(side, tau) for side, tau in zip(y, noise, strict=True)))
        seen.append((found.mean, jointly(y)))
    fast, exact = np.array(seen).T
    assert np.abs(exact).max() > 0.5
    assert np.abs(fast - exact).mean() < 0.03
    np.testing.assert_allclose(fast, exact, atol=0.1)


def test_without_shocks_or_with_few_draws_the_prior_stands() -> None:
    rng = np.random.default_rng(8)
    u = rng.normal(size=12)
    few, still = fitted(u, 0.1, rng, 20), Posterior({"level": rng.normal(size=(99, 1))}, {}, {})
    for found in (comovement(few, few), comovement(still, still)):
        assert found.mean == pytest.approx(0.0, abs=1e-12)
        at = np.array([0.1, 0.5, 0.9])
        np.testing.assert_allclose(found.quantile(at), 2.0 * stats.beta(2, 2).ppf(at) - 1.0, atol=0.01)


def test_quantiles_invert_the_posterior() -> None:
    probability = np.exp(-((GRID - 0.4) ** 2) / 0.02)
    found = Comovement(GRID, probability / probability.sum())
    p = (np.arange(4000) + 0.5) / 4000
    assert found.quantile(p).mean() == pytest.approx(0.4, abs=1e-3)
    assert found.quantile(p).std() == pytest.approx(0.1, abs=2e-3)
    assert np.all(np.abs(found.quantile(np.array([1e-12, 1.0 - 1e-12]))) < 1.0)


def test_a_company_that_closes_in_waves_is_recognised(small_world, world_history) -> None:  # type: ignore[no-untyped-def]
    """Record by record: three years, shocks of .35 whose steps correlate by .9."""

    def change(truth: Truth) -> Truth:
        win, loss = (dataclasses.replace(c, shock_sd=0.35, shock_rho=0.5) for c in (truth.win, truth.loss))
        return dataclasses.replace(truth, win=win, loss=loss, comovement=0.9)

    world = small_world(12, 6, date(2023, 1, 1), date(2025, 12, 31), change)
    shocks = [world.records.shocks[name] for name in ("win", "loss")]
    assert np.corrcoef(*[x[1:] - 0.5 * x[:-1] for x in shocks])[0, 1] == pytest.approx(0.9, abs=0.1)
    assert shocks[1].std() == pytest.approx(0.35, rel=0.4)
    hazards = prepare(world_history(world), Calendar()).hazards
    fits = [fit_laplace(d, c, draws=400) for d, c in zip(hazards.declarations, hazards.cells, strict=True)]
    found = comovement(*fits)
    assert found.mean > 0.6
    assert found.quantile(np.array([0.05]))[0] > 0.2


def test_a_worlds_correlation_is_one() -> None:
    with pytest.raises(PlanError, match=r"comovement 1.5: a correlation from -1 to 1"):
        dataclasses.replace(draw_truth(np.random.default_rng(1), 2), comovement=1.5)
