"""Sds and correlations redrawn given the levels: the prior and the conditional density stay what they are."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from quotacast.models.laplace import fit_laplace
from quotacast.models.laplace_gibbs import redraw
from quotacast.models.terms import RHO_PRIOR, Cells, Declaration, Floats, Term

LEVEL = Term("level", "level", "", 1, 2.0, "test", (-0.5,))
TERMS = (
    Term("age", "walk", "age", 5, 0.5, "test", (0.1, 0.2, 0.0, -0.1, 0.0), (1.0, 0.5, 2.0, 1.0), "last"),
    Term("trend", "walk", "quarter", 4, 0.3, "test", None, (0.7, 1.3, 2.0), "mean"),
    Term("position", "contrast", "position", 4, 0.4, "test"),
    Term("rep", "pooled", "rep", 6, 0.7, "test", (0.1, -0.2, 0.3, 0.0, 0.5, -0.4)),
    Term("shock", "shock", "month", 7, 0.3, "test"),
    Term("market", "shock", "quarter", 2, 0.6, "test"),
)
KNOWN = Term("phase", "contrast", "phase", 3, 0.4, "test", known=True)
DECLARATION = Declaration("test", "negbinomial", (LEVEL, *TERMS, KNOWN))
DRAWS = 40_000


def standard_steps(term: Term, levels: Floats, hyper: dict[str, Floats]) -> Floats:
    """The standard normal steps of which the levels are made, by solving for them, shape (draws, n)."""
    sd = hyper[f"{term.name}_sd"][:, None]
    if term.kind != "shock":
        return np.linalg.lstsq(term.basis(), (levels - term.prior_mean).T, rcond=None)[0].T / sd
    bases = np.stack([term.basis(rho) for rho in hyper[f"{term.name}_rho"]])
    return np.linalg.solve(bases, (levels - term.prior_mean)[..., None])[..., 0] / sd


@pytest.fixture(scope="module")
def prior() -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Levels and hyperparameters drawn from the prior."""
    rng = np.random.default_rng(11)
    hyper = {"overdispersion": stats.halfnorm(scale=0.5).rvs(DRAWS, random_state=rng)}
    effects = {"level": -0.5 + 2.0 * rng.standard_normal((DRAWS, 1))}
    effects["phase"] = 0.4 * rng.standard_normal((DRAWS, 2)) @ KNOWN.basis().T
    for term in TERMS:
        sd = hyper[f"{term.name}_sd"] = stats.halfnorm(scale=term.scale).rvs(DRAWS, random_state=rng)
        z = rng.standard_normal((DRAWS, term.dimension))
        if term.kind == "shock":
            rho = hyper[f"{term.name}_rho"] = rng.beta(*RHO_PRIOR, DRAWS)
            made = np.einsum("nij,nj->ni", np.stack([term.basis(r) for r in rho]), z)
        else:
            made = z @ term.basis().T
        effects[term.name] = term.prior_mean + sd[:, None] * made
    return effects, hyper


def test_draws_of_the_prior_stay_draws_of_the_prior(
    prior: tuple[dict[str, Floats], dict[str, Floats]],
) -> None:
    effects, hyper = prior
    found = redraw(DECLARATION, effects, hyper, np.random.default_rng(12))
    assert found.keys() == hyper.keys()
    np.testing.assert_array_equal(found["overdispersion"], hyper["overdispersion"])
    for term in TERMS:
        sd = found[f"{term.name}_sd"]
        assert stats.kstest(sd, stats.halfnorm(scale=term.scale).cdf).pvalue > 1e-3
        # jointly with the levels too: what they are made of is standard normal and knows nothing of the sd
        z = standard_steps(term, effects[term.name], found)
        assert stats.kstest(np.sum(z**2, axis=1), stats.chi2(term.dimension).cdf).pvalue > 1e-3
        assert abs(stats.spearmanr(np.sum(z**2, axis=1), sd).statistic) < 0.02
        assert np.mean(sd != hyper[f"{term.name}_sd"]) > 0.3
        if term.kind == "shock":
            rho = found[f"{term.name}_rho"]
            assert stats.kstest(rho, stats.beta(*RHO_PRIOR).cdf).pvalue > 1e-3
            assert abs(stats.spearmanr(z[:, 0] * z[:, 1], rho).statistic) < 0.02
            assert abs(stats.spearmanr(np.sum(z**2, axis=1), rho).statistic) < 0.02
            assert np.mean(rho != hyper[f"{term.name}_rho"]) > 0.5


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.name)
def test_from_anywhere_it_comes_to_the_conditional_density(term: Term) -> None:
    """Against a grid of sds and correlations: the prior times the Normal density of these levels."""
    rng = np.random.default_rng(13)
    declared = Declaration("test", "poisson", (LEVEL, term))
    levels = term.prior_mean + 0.2 * term.basis(0.5) @ rng.standard_normal(term.dimension)
    copies = 4000
    effects = {term.name: np.tile(levels, (copies, 1))}
    hyper = {f"{term.name}_sd": np.full(copies, 0.02)}
    if term.kind == "shock":
        hyper[f"{term.name}_rho"] = np.full(copies, 0.03)
    for _ in range(25):
        hyper = redraw(declared, effects, hyper, rng)
    sds = np.linspace(0.002, 5.0 * term.scale, 1200)
    rhos = np.linspace(0.001, 0.999, 300) if term.kind == "shock" else np.zeros(1)
    log_density = np.empty((sds.size, rhos.size))
    for j, rho in enumerate(rhos):
        basis = term.basis(rho)
        z = np.linalg.lstsq(basis, levels - term.prior_mean, rcond=None)[0]
        volume = np.linalg.slogdet(basis.T @ basis)[1] / 2.0
        log_density[:, j] = -z @ z / (2.0 * sds**2) - term.dimension * np.log(sds) - volume
        log_density[:, j] += stats.halfnorm(scale=term.scale).logpdf(sds)
        log_density[:, j] += stats.beta(*RHO_PRIOR).logpdf(rho) if term.kind == "shock" else 0.0
    weight = np.exp(log_density - log_density.max())
    weight /= weight.sum()
    for name, grid, mass in (("sd", sds, weight.sum(axis=1)), ("rho", rhos, weight.sum(axis=0))):
        if grid.size == 1:
            continue
        # at an end of a cell of the grid its mass has been passed
        middle = np.append((grid[1:] + grid[:-1]) / 2.0, grid[-1])
        below = np.interp(hyper[f"{term.name}_{name}"], middle, np.cumsum(mass))
        assert stats.kstest(below, "uniform").pvalue > 1e-3


def test_levels_that_are_all_equal_keep_their_sd() -> None:
    term = TERMS[3]
    hyper = {"rep_sd": np.array([0.3, 0.1])}
    effects = {"rep": np.tile(term.prior_mean, (2, 1)), "level": np.ones((2, 1))}
    found = redraw(Declaration("test", "poisson", (LEVEL, term)), effects, hyper, np.random.default_rng(1))
    np.testing.assert_array_equal(found["rep_sd"], hyper["rep_sd"])


def test_one_level_says_nothing_of_an_sd_and_is_left_alone() -> None:
    term = Term("rep", "pooled", "rep", 1, 0.7, "test")
    hyper = {"rep_sd": np.array([0.3, 0.1])}
    effects = {"rep": np.array([[0.4], [-0.2]]), "level": np.ones((2, 1))}
    found = redraw(Declaration("test", "poisson", (LEVEL, term)), effects, hyper, np.random.default_rng(1))
    np.testing.assert_array_equal(found["rep_sd"], hyper["rep_sd"])


def test_a_fit_has_more_sds_than_points() -> None:
    rng = np.random.default_rng(3)
    codes = {t.axis: rng.integers(0, t.size, 300).astype(np.int32) for t in TERMS if t.axis != "quarter"}
    declared = Declaration("test", "poisson", (LEVEL, *(t for t in TERMS if t.axis in codes)))
    data = Cells(rng.poisson(3.0, 300).astype(float), rng.gamma(4.0, 1.0, 300), codes)
    fitted = fit_laplace(declared, data, draws=1500, seed=2)
    again = fit_laplace(declared, data, draws=1500, seed=2)
    for name in ("rep_sd", "shock_sd", "shock_rho", "age_sd"):
        assert np.unique(fitted.hyper[name]).size > 2 * int(fitted.diagnostics["hyper_points"])
        np.testing.assert_array_equal(fitted.hyper[name], again.hyper[name])
