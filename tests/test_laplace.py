"""Nested Laplace against closed forms, quadrature, dense linear algebra and finite differences."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from scipy import integrate, stats

from quotacast.errors import FitError
from quotacast.models import laplace, laplace_problem
from quotacast.models.laplace import fit_laplace, pareto_fit, smoothed_weights, systematic
from quotacast.models.laplace_conditional import solve
from quotacast.models.laplace_problem import Problem, half_normal
from quotacast.models.terms import Cells, Codes, Declaration, Family, Floats, Term

FAMILIES: tuple[Family, ...] = ("poisson", "negbinomial", "normal")
SIZES = {"age": 5, "position": 4, "month": 7, "rep": 6, "rep_quarter": 40}


def declaration(family: Family = "poisson") -> Declaration:
    """One term of every kind; the largest pooled one is large enough to be eliminated."""
    level = Term("level", "level", "", 1, 2.0, "test", (-0.5,))
    age = Term("age", "walk", "age", 5, 0.5, "test", (0.1, 0.2, 0.0, -0.1, 0.0), (1.0, 0.5, 2.0, 1.0), "last")
    rest = (
        Term("position", "contrast", "position", 4, 0.4, "test"),
        Term("shock", "shock", "month", 7, 0.3, "test"),
        Term("rep_quarter", "pooled", "rep_quarter", 40, 0.3, "test"),
        Term("push", "slope", "push", 1, 0.3, "test", (0.3,), lower=0.0),
        Term("rep", "pooled", "rep", 6, 0.5, "test"),
        Term("drift", "slope", "drift", 1, 0.4, "test"),
        Term("idle", "slope", "idle", 1, 0.2, "test", (0.1,), lower=0.0),
    )
    return Declaration("test", family, (level, age, *rest))


def cells(family: Family = "poisson", n: int = 240, seed: int = 5) -> tuple[Cells, dict[str, Floats]]:
    """Cells simulated from known effects, and those effects."""
    rng = np.random.default_rng(seed)
    codes: dict[str, Codes] = {k: rng.integers(0, s, n).astype(np.int32) for k, s in SIZES.items()}
    effects = {}
    shift, slope = {"push": 0.0, "drift": 0.2, "idle": 0.0}, {"push": 0.5, "drift": -0.4, "idle": 0.0}
    covariates = {name: rng.normal(mean, 0.7, n) for name, mean in shift.items()}
    eta = -0.3 + sum(slope[name] * x for name, x in covariates.items())
    effects = {name: np.array([value]) for name, value in slope.items()}
    for term in declaration().terms[1:]:
        if term.kind == "slope":
            continue
        effects[term.name] = term.prior_mean + 0.3 * (term.basis(0.6) @ rng.standard_normal(term.dimension))
        eta += effects[term.name][codes[term.axis]]
    exposure = rng.gamma(2.0, 2.0, n) + 0.2
    if family == "normal":
        count = rng.integers(1, 6, n).astype(float)
        mean = eta + 0.7 * rng.standard_normal(n) / np.sqrt(count)
        squares = 0.49 * np.where(count > 1, rng.chisquare(np.maximum(count - 1, 1)), 0.0)
        return Cells(mean, count, codes, squares, covariates), effects
    gamma = rng.gamma(4.0, 0.25, n) if family == "negbinomial" else 1.0
    counts = rng.poisson(exposure * np.exp(eta) * gamma).astype(float)
    return Cells(counts, exposure, codes, covariates=covariates), effects


def some_zeta(problem: Problem, seed: int = 3) -> Floats:
    return np.random.default_rng(seed).normal(0.0, 0.8, len(problem.names))


def design(declared: Declaration, data: Cells, problem: Problem, zeta: Floats) -> tuple[Floats, Floats]:
    """Prior mean and covariance of the linear predictor (without exposure), built from the terms alone."""
    values = dict(zip(problem.names, problem.scales(zeta).values, strict=True))
    mean, cov = np.zeros(len(data)), np.zeros((len(data), len(data)))
    for term in declared.terms:
        sd = values[f"{term.name}_sd"] if term.has_sd else term.scale
        basis = sd * term.basis(values.get(f"{term.name}_rho", 0.0))
        code = data.term_codes(term)
        x = data.covariates[term.axis] if term.kind == "slope" else np.ones(len(data))
        mean += x * term.prior_mean[code]
        cov += np.outer(x, x) * (basis @ basis.T)[np.ix_(code, code)]
    return mean, cov


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", [3, 4])
def test_gradient_is_the_derivative_of_the_log_marginal(family: Family, seed: int) -> None:
    problem = Problem(declaration(family), cells(family)[0])
    zeta, start, h = some_zeta(problem, seed), np.zeros(problem.dimension), 1e-4

    def value(at: Floats) -> float:
        return solve(problem, at, start, 1e-12).log_marginal

    numeric = [(value(zeta + h * e) - value(zeta - h * e)) / (2 * h) for e in np.eye(zeta.size)]
    np.testing.assert_allclose(solve(problem, zeta, start, 1e-12).gradient(), numeric, rtol=1e-5, atol=1e-5)


def test_normal_family_is_the_closed_form() -> None:
    declared, (data, _) = declaration("normal"), cells("normal")
    problem = Problem(declared, data)
    start = np.zeros(problem.dimension)

    def oracle(zeta: Floats) -> tuple[float, Floats, Floats]:
        sigma = problem.scales(zeta).values[-1]
        mean, cov = design(declared, data, problem, zeta)
        noise = np.diag(sigma**2 / data.exposure)
        gain = np.linalg.solve(cov + noise, cov).T
        assert data.squares is not None
        within = -(data.exposure - 1).sum() * np.log(sigma) - data.squares.sum() / (2 * sigma**2)
        evidence = stats.multivariate_normal(mean, cov + noise).logpdf(data.response) + within
        posterior = mean + gain @ (data.response - mean)
        return evidence + stats.norm.logpdf(zeta).sum(), posterior, np.diag(cov - gain @ cov)

    a, b = some_zeta(problem, 3), some_zeta(problem, 4)
    found, other = solve(problem, a, start), solve(problem, b, start)
    np.testing.assert_allclose(found.point.expected, oracle(a)[1][problem.order], rtol=1e-7)
    np.testing.assert_allclose(found.variances, oracle(a)[2][problem.order], rtol=1e-7)
    # Both leave out constants, which do not depend on the hyperparameters.
    difference = found.log_marginal - other.log_marginal
    assert difference == pytest.approx(oracle(a)[0] - oracle(b)[0], rel=1e-8)


@pytest.mark.parametrize("family", FAMILIES)
def test_eliminating_a_term_changes_nothing(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    declared, (data, _) = declaration(family), cells(family)
    arrow = Problem(declared, data)
    assert arrow.arrow is not None
    monkeypatch.setattr(laplace_problem, "ARROW_SIZE", 1_000)
    dense = Problem(declared, data)
    assert dense.arrow is None
    zeta = some_zeta(arrow)
    a, b = (solve(p, zeta, np.zeros(p.dimension), 1e-12) for p in (arrow, dense))
    assert a.log_marginal == pytest.approx(b.log_marginal, rel=1e-10)
    np.testing.assert_allclose(a.gradient(), b.gradient(), rtol=1e-7, atol=1e-8)
    levels = [p.by_term(c.scales.to_levels(c.shift)) for p, c in ((arrow, a), (dense, b))]
    for name in levels[0]:
        np.testing.assert_allclose(levels[0][name], levels[1][name], rtol=1e-6, atol=1e-9)


def test_colour_has_the_inverse_curvature_as_covariance() -> None:
    problem = Problem(declaration(), cells()[0])
    factor = solve(problem, some_zeta(problem), np.zeros(problem.dimension)).factor
    root = factor.colour(np.eye(problem.dimension))
    inverse = np.column_stack([factor.solve(e) for e in np.eye(problem.dimension)])
    np.testing.assert_allclose(root @ root.T, inverse, atol=1e-10)


@pytest.mark.parametrize(("events", "exposure"), [(3.0, 12.0), (0.0, 4.0), (40.0, 9.0)])
def test_one_poisson_level_is_the_integral(events: float, exposure: float) -> None:
    declared = Declaration("one", "poisson", (Term("level", "level", "", 1, 1.5, "test", (-1.0,)),))
    data = Cells(np.array([events, 1.0]), np.array([exposure, 0.7]))
    posterior = fit_laplace(declared, data, draws=20_000)

    def density(x: float) -> float:
        like = (events + 1.0) * x - (exposure + 0.7) * np.exp(x)
        return float(np.exp(like - 0.5 * ((x + 1.0) / 1.5) ** 2))

    total, first, second = (
        integrate.quad(lambda x, k=k: x**k * density(x), -9.0, 5.0, epsabs=0.0, limit=200, points=[0.0, 1.0])[
            0
        ]
        for k in range(3)
    )
    mean, sd = first / total, np.sqrt(second / total - (first / total) ** 2)
    level = posterior.effects["level"][:, 0]
    assert abs(level.mean() - mean) < 0.03 * sd
    assert level.std() == pytest.approx(sd, rel=0.03)
    assert posterior.diagnostics["khat"] < 0.7  # type: ignore[operator]


def test_one_sd_is_the_integral() -> None:
    """Three pooled Normal levels, known closed-form marginal in (sd, sigma): two-dimensional quadrature."""
    terms = (Term("level", "level", "", 1, 1.0, "test"), Term("rep", "pooled", "rep", 4, 0.5, "test"))
    declared = Declaration("two", "normal", terms)
    rep = np.arange(4, dtype=np.int32)
    y, n, ss = np.array([0.9, -0.4, 0.3, 1.6]), np.array([4.0, 6.0, 3.0, 5.0]), np.array([2.0, 4.1, 1.5, 2.2])
    posterior = fit_laplace(declared, Cells(y, n, {"rep": rep}, ss), draws=20_000)
    sds, sigmas = np.linspace(0.002, 2.2, 160), np.linspace(0.3, 2.0, 160)
    log_p = np.empty((160, 160))
    for i, sd in enumerate(sds):
        for j, sigma in enumerate(sigmas):
            cov = np.ones((4, 4)) + np.diag(sd**2 + sigma**2 / n)
            within = -(n - 1).sum() * np.log(sigma) - ss.sum() / (2 * sigma**2)
            log_p[i, j] = within - np.linalg.slogdet(cov)[1] / 2 - y @ np.linalg.solve(cov, y) / 2
            log_p[i, j] -= sd**2 / (2 * 0.25) + sigma**2 / 8.0
    weight = np.exp(log_p - log_p.max())
    for name, grid, axis in (("rep_sd", sds, 1), ("sigma", sigmas, 0)):
        p = weight.sum(axis=axis) / weight.sum()
        mean = p @ grid
        sd = np.sqrt(p @ grid**2 - mean**2)
        assert abs(posterior.hyper[name].mean() - mean) < 0.05 * sd
        assert posterior.hyper[name].std() == pytest.approx(sd, rel=0.06)


@pytest.mark.parametrize("family", FAMILIES)
def test_known_effects_are_recovered(family: Family) -> None:
    declared, (data, truth) = declaration(family), cells(family, n=3_000, seed=11)
    posterior = fit_laplace(declared, data, draws=400)
    assert posterior.diagnostics["khat"] < 0.7  # type: ignore[operator]
    assert posterior.diagnostics["converged"] is True
    for name in ("rep", "age", "rep_quarter"):
        centred = truth[name] - truth[name].mean()
        draws = posterior.effects[name] - posterior.effects[name].mean(axis=1, keepdims=True)
        moving = draws.std(axis=0) > 1e-9
        z = (draws.mean(axis=0) - centred)[moving] / draws.std(axis=0)[moving]
        assert np.sqrt(np.mean(z**2)) < 2.0
        assert np.corrcoef(draws.mean(axis=0), centred)[0, 1] > 0.8
    if family == "negbinomial":
        assert posterior.hyper["overdispersion"].mean() == pytest.approx(0.5, abs=0.1)
    if family == "normal":
        assert posterior.hyper["sigma"].mean() == pytest.approx(0.7, abs=0.03)


def test_silent_data_leave_the_prior() -> None:
    """Hardly any exposure: every level and sd keeps its prior; levels without cells are no trouble."""
    declared, (data, _) = declaration(), cells()
    few = {name: np.zeros_like(code) for name, code in data.codes.items()}
    silent = Cells(np.zeros(len(data)), np.full(len(data), 1e-9), few, covariates=data.covariates)
    posterior = fit_laplace(declared, silent, draws=4_000)
    for term in declared.terms:
        if term.has_sd:
            sd = posterior.hyper[f"{term.name}_sd"]
            assert sd.mean() == pytest.approx(term.scale * np.sqrt(2 / np.pi), rel=0.08)
    assert posterior.hyper["shock_rho"].mean() == pytest.approx(2 / 3, abs=0.03)
    assert posterior.effects["level"].std() == pytest.approx(2.0, rel=0.06)
    assert posterior.effects["rep_quarter"].std() == pytest.approx(0.3, rel=0.08)
    for name, mean, sd in (("push", 0.3, 0.3), ("idle", 0.1, 0.2)):
        prior = stats.truncnorm(-mean / sd, np.inf, mean, sd)
        draws = posterior.effects[name][:, 0]
        assert draws.min() >= 0.0
        assert draws.mean() == pytest.approx(prior.mean(), rel=0.04)
        assert draws.std() == pytest.approx(prior.std(), rel=0.05)
    assert posterior.effects["drift"].std() == pytest.approx(0.4, rel=0.06)


def test_levels_without_cells_get_the_width_of_their_sd() -> None:
    declared, (data, _) = declaration(), cells(n=800)
    keep = data.codes["rep_quarter"] < 30
    codes = {name: code[keep] for name, code in data.codes.items()}
    x = {name: value[keep] for name, value in data.covariates.items()}
    part = Cells(data.response[keep], data.exposure[keep], codes, covariates=x)
    posterior = fit_laplace(declared, part, draws=4_000)
    unseen = posterior.effects["rep_quarter"][:, 30:]
    assert np.abs(unseen.mean(axis=0)).max() < 0.03
    assert unseen.std() == pytest.approx(np.sqrt(np.mean(posterior.hyper["rep_quarter_sd"] ** 2)), rel=0.05)


def test_same_seed_same_draws_and_another_seed_other_draws() -> None:
    declared, (data, _) = declaration("negbinomial"), cells("negbinomial")
    a, b, c = (fit_laplace(declared, data, draws=50, seed=s) for s in (1, 1, 2))
    for name in a.effects:
        assert np.array_equal(a.effects[name], b.effects[name])
    assert not np.array_equal(a.effects["rep"], c.effects["rep"])
    assert a.effects["rep_quarter"].shape == (50, 40)
    assert set(a.hyper) == set(declared.hyperparameters())


def test_order_of_cells_does_not_matter() -> None:
    declared, (data, _) = declaration(), cells()
    p = np.random.default_rng(0).permutation(len(data))
    codes, x = ({k: v[p] for k, v in part.items()} for part in (data.codes, data.covariates))
    mixed = Cells(data.response[p], data.exposure[p], codes, covariates=x)
    a, b = (fit_laplace(declared, d, draws=100) for d in (data, mixed))
    np.testing.assert_allclose(a.effects["rep"].mean(axis=0), b.effects["rep"].mean(axis=0), atol=0.05)
    assert float(a.diagnostics["importance_ess"]) == pytest.approx(b.diagnostics["importance_ess"], rel=0.02)


def test_fractional_counts_are_refused_for_overdispersion() -> None:
    data, _ = cells("negbinomial")
    with pytest.raises(FitError, match="whole numbers"):
        fit_laplace(declaration("negbinomial"), replace(data, response=data.response + 0.5))


@pytest.mark.parametrize("zeta", [-6.0, -1.3, -1e-3, 1e-3, 0.4, 2.7, 6.0])
def test_half_normal_quantile(zeta: float) -> None:
    value, slope = half_normal(zeta, 0.7)
    assert value == pytest.approx(stats.halfnorm(scale=0.7).isf(stats.norm.sf(zeta)), rel=1e-5)
    h = 1e-5
    assert slope == pytest.approx(
        (half_normal(zeta + h, 0.7)[0] - half_normal(zeta - h, 0.7)[0]) / (2 * h), rel=1e-5
    )


@pytest.mark.parametrize("shape", [-0.3, 0.2, 0.6, 1.0])
def test_pareto_shape_is_found(shape: float) -> None:
    sample = np.sort(stats.genpareto(shape, scale=2.0).rvs(4_000, random_state=8))
    k, sigma = pareto_fit(sample)
    assert k == pytest.approx(shape, abs=0.08)
    assert sigma == pytest.approx(2.0, rel=0.1)


def test_heavy_weights_are_smoothed_and_light_ones_kept() -> None:
    rng = np.random.default_rng(4)
    weights, khat = smoothed_weights(1.2 * rng.standard_exponential(4_000))
    assert khat > 0.7
    assert weights.sum() == pytest.approx(1.0)
    light = rng.uniform(0.0, 0.1, 4_000)
    weights, khat = smoothed_weights(light)
    assert khat < 0.3
    np.testing.assert_allclose(weights, np.exp(light) / np.exp(light).sum(), rtol=0.02)


def test_systematic_draws_are_in_proportion() -> None:
    weights = np.array([0.1, 0.0, 0.55, 0.35])
    counts = np.bincount(systematic(weights, 1_000, 0.3), minlength=4)
    np.testing.assert_allclose(counts, [100, 0, 550, 350], atol=1)


def test_a_second_round_follows_a_poor_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laplace, "KHAT_LIMIT", -10.0)
    monkeypatch.setattr(laplace, "POINTS", (32, 64, 64))
    posterior = fit_laplace(declaration(), cells()[0], draws=20)
    assert posterior.diagnostics["hyper_points"] == 64


@pytest.mark.parametrize(("draws", "points"), [(1000, 256), (1999, 256), (2000, 512)])
def test_fits_of_many_draws_take_twice_the_points(draws: int, points: int) -> None:
    posterior = fit_laplace(declaration(), cells()[0], draws=draws)
    assert posterior.diagnostics["hyper_points"] == points


def test_every_try_has_points_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Floats] = []
    points = laplace.SplitT.points

    def watched(proposal: laplace.SplitT, n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        found = points(replace(proposal, df=7.0), n, rng)
        seen.append(found[0])
        return found

    monkeypatch.setattr(laplace.SplitT, "points", watched)
    monkeypatch.setattr(laplace, "KHAT_LIMIT", -10.0)
    monkeypatch.setattr(laplace, "POINTS", (64, 64, 64))
    declared, (data, _) = declaration(), cells()
    fit_laplace(declared, data, draws=20, seed=3)
    first, second, third = seen
    assert not np.isclose(first[:50], second[:50]).any()
    assert not np.isclose(second[:50], third[:50]).any()
    seen.clear()
    fit_laplace(declared, data, draws=20, seed=3)
    np.testing.assert_array_equal(first, seen[0])


def test_fits_in_two_threads_equal_fits_in_one() -> None:
    """Also a claim about BLAS: with threads of its own it would add in another order."""
    models = [(declaration(f), cells(f)[0]) for f in ("negbinomial", "poisson")]
    alone = [fit_laplace(d, c, draws=60) for d, c in models]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda m: fit_laplace(*m, draws=60), models))
    for a, b in zip(alone, together, strict=True):
        assert all(np.array_equal(a.effects[name], b.effects[name]) for name in a.effects)


def test_the_limit_on_blas_threads_is_lifted_again() -> None:
    from threadpoolctl import threadpool_info  # type: ignore[import-untyped,unused-ignore]

    def counts() -> list[int]:
        return [lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"]

    before = counts()
    with laplace._one_blas_thread(), laplace._one_blas_thread():
        assert set(counts()) == {1}
    assert counts() == before


def test_without_a_cell_the_posterior_is_the_prior() -> None:
    """Nobody's deals have an amount: nothing is learned, and nothing breaks."""
    none = Cells(np.zeros(0), np.zeros(0), {"rep": np.zeros(0, np.int32)}, np.zeros(0))
    terms = (Term("level", "level", "", 1, 4.0, "test", (8.5,)), Term("rep", "pooled", "rep", 6, 0.3, "test"))
    drawn = fit_laplace(Declaration("test", "normal", terms), none, draws=4000, seed=3)
    level, sd = drawn.effects["level"][:, 0], drawn.hyper["rep_sd"]
    assert level.mean() == pytest.approx(8.5, abs=0.25)
    assert level.std() == pytest.approx(4.0, rel=0.06)
    np.testing.assert_allclose(
        np.quantile(sd, [0.2, 0.5, 0.9]), 0.3 * stats.halfnorm.ppf([0.2, 0.5, 0.9]), rtol=0.1
    )
    assert drawn.effects["rep"].std() == pytest.approx(0.3, rel=0.08)
