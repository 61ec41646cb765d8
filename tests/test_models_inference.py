"""NUTS and the fast method against quadrature; the compiled likelihoods against scipy.

Two models are compiled in this file, and reused: everything else is evaluated without a sampler.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

from quotacast.errors import FitError
from quotacast.models import inference
from quotacast.models.inference import LIMITS, build_model, diagnose, fit_nuts, sample, to_inference_data
from quotacast.models.laplace import fit_laplace
from quotacast.models.terms import Cells, Declaration, Posterior, Term

os.environ.setdefault("PYTENSOR_FLAGS", "cxx=")

LEVEL = Term("level", "level", "", 1, 1.5, "for a test", (-1.0,))
REP = Term("rep", "pooled", "rep", 4, 0.5, "for a test")
COUNTS = Declaration("tiny", "poisson", (LEVEL, REP))
AMOUNTS = Declaration("tiny", "normal", (Term("level", "level", "", 1, 4.0, "for a test", (8.5,)),))
DRAWS = {"draws": 1000, "tune": 500, "chains": 2}
#: Events and exposure of three reps; the fourth was never seen.
EVENTS, EXPOSURE = np.array([9.0, 31.0, 2.0]), np.array([20.0, 25.0, 16.0])


def counts(events: Any = EVENTS, exposure: Any = EXPOSURE) -> Cells:
    return Cells(np.asarray(events), np.asarray(exposure), {"rep": np.array([0, 1, 2], dtype=np.int32)})


@cache
def nuts() -> Posterior:
    return fit_nuts(COUNTS, counts(), seed=3, **DRAWS)


@cache
def laplace() -> Posterior:
    return fit_laplace(COUNTS, counts(), draws=4000, seed=3)


@cache
def quadrature() -> Mapping[str, float]:
    """Moments of the Poisson model over a grid of (level, sd), its reps integrated by Gauss-Hermite."""
    level, sd = np.linspace(-6.0, 4.0, 401), np.linspace(0.005, 3.0, 300)
    node, weight = special.roots_hermitenorm(60)
    weight = weight / weight.sum()
    effect = sd[None, :, None] * node
    log_p = stats.norm.logpdf(level, -1.0, 1.5)[:, None] + stats.halfnorm.logpdf(sd, scale=0.5)[None, :]
    first = []
    for y, e in zip(EVENTS, EXPOSURE, strict=False):
        eta = level[:, None, None] + effect
        like = np.exp(stats.poisson.logpmf(y, e * np.exp(np.minimum(eta, 20.0))))
        total = (like * weight).sum(axis=2)
        first.append([(like * weight * effect**k).sum(axis=2) / np.maximum(total, 1e-300) for k in (1, 2)])
        log_p = log_p + np.log(np.maximum(total, 1e-300))
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    out = {"level": (p * level[:, None]).sum(), "level2": (p * level[:, None] ** 2).sum()}
    out |= {"sd": (p * sd).sum(), "sd2": (p * sd**2).sum()}
    for k, (one, two) in enumerate(first):
        out |= {f"rep{k}": (p * one).sum(), f"rep{k}2": (p * two).sum()}
    return {name: float(value) for name, value in out.items()}


@pytest.mark.parametrize("method", ["nuts", "laplace"])
def test_poisson_posterior_is_that_of_quadrature(method: str) -> None:
    fit = {"nuts": nuts, "laplace": laplace}[method]()
    want = quadrature()
    found = {"level": fit.effects["level"][:, 0], "sd": fit.hyper["rep_sd"]}
    found |= {f"rep{k}": fit.effects["rep"][:, k] for k in range(3)}
    for name, draws in found.items():
        sd = np.sqrt(want[f"{name}2"] - want[name] ** 2)
        # Two thousand draws worth 500 or more: .045 sd of a mean, .03 of an sd.
        assert draws.mean() == pytest.approx(want[name], abs=0.15 * sd), name
        assert draws.std() == pytest.approx(sd, rel=0.12), name


def test_both_methods_agree() -> None:
    a, b = nuts(), laplace()
    for name in ("level", "rep"):
        sd = a.effects[name].std(axis=0)
        assert (np.abs(a.effects[name].mean(axis=0) - b.effects[name].mean(axis=0)) < 0.2 * sd).all()
        np.testing.assert_allclose(b.effects[name].std(axis=0), sd, rtol=0.15)


@pytest.mark.parametrize("method", ["nuts", "laplace"])
def test_a_rep_who_was_never_seen_stays_at_the_population(method: str) -> None:
    fit = {"nuts": nuts, "laplace": laplace}[method]()
    unseen = fit.effects["rep"][:, 3]
    spread = np.sqrt(quadrature()["sd2"])
    assert abs(unseen.mean()) < 0.1 * spread + 0.02
    assert unseen.std() == pytest.approx(spread, rel=0.15)
    assert abs(np.corrcoef(unseen, fit.effects["level"][:, 0])[0, 1]) < 0.12


def test_without_data_the_posterior_is_the_prior() -> None:
    nothing = counts(np.zeros(3), np.full(3, 1e-12))
    fit = fit_nuts(COUNTS, nothing, seed=4, **DRAWS)  # same shape as above: nothing is compiled again
    level, sd = fit.effects["level"][:, 0], fit.hyper["rep_sd"]
    assert stats.kstest(level[::4], stats.norm(-1.0, 1.5).cdf).pvalue > 1e-4
    assert stats.kstest(sd[::4], stats.halfnorm(scale=0.5).cdf).pvalue > 1e-4


def test_normal_posterior_is_conjugate_given_sigma() -> None:
    """Level N(8.5, 4), sigma HalfNormal(2): given sigma the level is Normal; sigma by quadrature."""
    groups = [np.array([8.1, 9.4, 7.7, 8.8]), np.array([10.2, 9.9]), np.array([7.0])]
    n, mean = np.array([len(g) for g in groups], dtype=float), np.array([g.mean() for g in groups])
    squares = np.array([((g - g.mean()) ** 2).sum() for g in groups])
    fit = fit_nuts(AMOUNTS, Cells(mean, n, {}, squares), seed=5, **DRAWS)
    y = np.concatenate(groups)
    sigma = np.linspace(0.05, 8.0, 4000)
    precision = y.size / sigma**2 + 1 / 16.0
    centre = (y.sum() / sigma**2 + 8.5 / 16.0) / precision
    covariances = [s * s * np.eye(y.size) + 16.0 for s in sigma]
    log_p = np.array([stats.multivariate_normal.logpdf(y, np.full(y.size, 8.5), c) for c in covariances])
    p = special.softmax(log_p + stats.halfnorm.logpdf(sigma, scale=2.0))
    level = float(p @ centre)
    level_sd = float(np.sqrt(p @ (1 / precision + centre**2) - level**2))
    sigma_mean = float(p @ sigma)
    sigma_sd = float(np.sqrt(p @ sigma**2 - sigma_mean**2))
    assert fit.effects["level"].mean() == pytest.approx(level, abs=0.15 * level_sd)
    assert fit.effects["level"].std() == pytest.approx(level_sd, rel=0.12)
    assert fit.hyper["sigma"].mean() == pytest.approx(sigma_mean, abs=0.15 * sigma_sd)
    assert fit.hyper["sigma"].std() == pytest.approx(sigma_sd, rel=0.15)


def test_same_seed_same_draws_and_other_seed_others() -> None:
    few = {"draws": 20, "tune": 60, "chains": 2, "cores": 2}
    a, b, c = (sample(COUNTS, counts(), seed=seed, **few) for seed in (1, 1, 2))
    for name, values in a.items():
        np.testing.assert_array_equal(values, b[name])
    assert (a["level"] != c["level"]).any()
    assert a["rep"].shape == (2, 20, 4)
    x, y = (fit_laplace(COUNTS, counts(), draws=50, seed=seed) for seed in (1, 1))
    np.testing.assert_array_equal(x.effects["rep"], y.effects["rep"])


def test_blas_keeps_to_one_thread_while_chains_run(monkeypatch: pytest.MonkeyPatch) -> None:
    # sums are rounded as threads share them out: the same fit gave other draws after other fits
    from threadpoolctl import threadpool_info, threadpool_limits

    def threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    class Sampler:
        def __init__(self) -> None:
            self.seen: set[int] = set()

        def sample(self, *_: Any, **__: Any) -> Any:
            self.seen = threads()
            raise RuntimeError("stopped")

    sampler = Sampler()
    monkeypatch.setattr(inference, "_nutpie", lambda: sampler)
    monkeypatch.setattr(inference, "_compiled", lambda declaration, cells: None)
    with threadpool_limits(2, user_api="blas"):
        before = threads()
        with pytest.raises(FitError, match="stopped"):
            sample(COUNTS, counts(), draws=10, tune=10, chains=2, seed=1, cores=2)
        assert threads() == before
    assert sampler.seen == {1}


def test_diagnostics_of_a_good_fit() -> None:
    said = nuts().diagnostics
    assert said["method"] == "nuts"
    assert said["passed"] is True
    assert 0.99 < float(said["rhat"]) < LIMITS["rhat"]
    assert LIMITS["ess"] < float(said["ess"]) <= 8000
    fast = laplace().diagnostics
    assert np.isfinite(float(fast["khat"]))
    assert float(fast["importance_ess"]) > 400
    assert fast["converged"] is True
    assert nuts().draws == 2000
    assert laplace().draws == 4000


def _trace(seed: int = 1) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    walk = rng.standard_normal((4, 250, 3))
    walk[:, :, 2] = 0.0  # a walk's reference is constant by construction
    level, sd = rng.standard_normal((4, 250, 1)), rng.gamma(2.0, size=(4, 250))
    return {"level": level, "age": walk, "age_sd": sd, "diverging": np.zeros((4, 250))}


AGED = Declaration(
    "aged", "poisson", (LEVEL, Term("age", "walk", "age", 3, 0.5, "for a test", reference="last"))
)


def test_diagnose_accepts_independent_draws() -> None:
    said = diagnose(_trace(), AGED)
    assert said["passed"] is True
    assert said["divergences"] == 0
    assert float(said["ess"]) > 500


@pytest.mark.parametrize("ill", ["apart", "sticky", "diverging"])
def test_diagnose_refuses_chains_that_disagree_stick_or_diverge(
    ill: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each limit on its own: the two others are set so wide that they cannot be what refuses."""
    trace = _trace()
    if ill == "apart":
        trace["age"][0, :, 1] += 1.5
    elif ill == "sticky":
        trace["level"] = np.repeat(trace["level"][:, :10], 25, axis=1)
    else:
        trace["diverging"][1, :6] = 1
    limit = {"apart": "rhat", "sticky": "ess", "diverging": "divergences"}[ill]
    for name, wide in {"rhat": 99.0, "ess": 0.0, "divergences": 1.0}.items():
        if name != limit:
            monkeypatch.setitem(LIMITS, name, wide)
    assert diagnose(trace, AGED)["passed"] is False
    monkeypatch.setitem(LIMITS, limit, {"rhat": 99.0, "ess": 0.0, "divergences": 1.0}[limit])
    assert diagnose(trace, AGED)["passed"] is True


# ---- the compiled likelihoods, without sampling


def potentials(declaration: Declaration, cells: Cells, points: list[dict[str, Any]]) -> list[float]:
    """Log likelihood of the compiled model at points of its free, untransformed variables."""
    from pytensor.compile.function import function

    model = build_model(declaration, cells)
    free = {variable.name: variable for variable in model.free_RVs}
    names = sorted(free)
    inputs = {name: free[name].type(f"{name}_at") for name in names}
    run = function(
        [inputs[name] for name in names],
        [model["likelihood"]],
        givens={free[name]: inputs[name] for name in names},
        mode="FAST_COMPILE",
        on_unused_input="ignore",
    )
    return [float(run(*(np.asarray(point[name], dtype=float) for name in names))[0]) for point in points]


AXES = {
    "rep": np.array([0, 1, 2, 0, 3, 1], dtype=np.int32),
    "month": np.array([0, 1, 2, 3, 4, 4], dtype=np.int32),
}
SHOCK = Term("shock", "shock", "month", 5, 0.2, "for a test")
WALK = Term("walk", "walk", "month", 5, 0.2, "for a test", widths=(1.0, 0.5, 2.0, 0.7), reference="last")
CONTRAST = Term("contrast", "contrast", "rep", 4, 0.3, "for a test", mean=(0.1, 0.2, -0.1, 0.0))
TERMS = (LEVEL, REP, SHOCK, WALK, CONTRAST)


def points(family: str) -> list[dict[str, Any]]:
    rng = np.random.default_rng(6)
    own = {"poisson": {}, "negbinomial": {"overdispersion": (0.8, 0.3)}, "normal": {"sigma": (0.7, 1.9)}}[
        family
    ]
    found = []
    for k in range(2):
        point: dict[str, Any] = {name: values[k] for name, values in own.items()}
        for term in TERMS:
            point[f"{term.name}_free"] = rng.normal(0.0, 0.7, term.dimension)
            if term.has_sd:
                point[f"{term.name}_sd"] = rng.uniform(0.2, 0.9)
        point["shock_rho"] = rng.uniform(0.2, 0.9)
        found.append(point)
    return found


def predictor(point: dict[str, Any]) -> Any:
    """The module's formula: mean + sd * basis(rho) @ z, level by level."""
    eta = np.zeros(6)
    for term in TERMS:
        z = point[f"{term.name}_free"]
        if term.kind == "level":
            eta += z[0]
        else:
            effect = term.prior_mean + point[f"{term.name}_sd"] * term.basis(point["shock_rho"]) @ z
            eta += effect[AXES[term.axis]]
    return eta


Y, E = np.array([0.0, 3.0, 1.0, 7.0, 2.0, 0.0]), np.array([1.0, 2.5, 0.4, 6.0, 3.0, 2.0])


def scipys(family: str, point: dict[str, Any]) -> float:
    eta = predictor(point)
    if family == "poisson":
        return float(stats.poisson.logpmf(Y, E * np.exp(eta)).sum())
    if family == "negbinomial":
        phi = point["overdispersion"] ** -2.0
        return float(stats.nbinom.logpmf(Y, phi, phi / (phi + E * np.exp(eta))).sum())
    rows = np.concatenate([stats.norm.logpdf(r, m, point["sigma"]) for r, m in zip(ROWS, eta, strict=False)])
    return float(rows.sum())


ROWS = [np.random.default_rng(7 + k).normal(0.0, 1.3, size) for k, size in enumerate((1, 3, 2, 5, 4, 1))]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("family", ["poisson", "negbinomial", "normal"])
def test_compiled_likelihoods_differ_between_points_as_scipys_do(family: Any) -> None:
    declaration = Declaration("all kinds", family, TERMS)
    if family == "normal":
        squares = np.array([((r - r.mean()) ** 2).sum() for r in ROWS])
        size = np.array([float(r.size) for r in ROWS])
        cells = Cells(np.array([r.mean() for r in ROWS]), size, AXES, squares)
    else:
        cells = Cells(Y, E, AXES)
    at = points(family)
    a, b = potentials(declaration, cells, at)
    want = scipys(family, at[0]) - scipys(family, at[1])
    assert abs(want) > 0.3
    # 1/sqrt(phi) is kept off zero by adding 1e-9 to its square: no more than that is forgiven.
    assert a - b == pytest.approx(want, rel=1e-6)


def test_well_determined_terms_are_centred_with_the_same_likelihood() -> None:
    """Nine reps with hundreds of events each: the free variable is the effect itself."""
    rep = Term("rep", "pooled", "rep", 9, 0.5, "for a test")
    declaration = Declaration("centred", "poisson", (LEVEL, rep))
    y, e = np.arange(300.0, 390.0, 10.0), np.linspace(100.0, 500.0, 9)
    cells = Cells(y, e, {"rep": np.arange(9, dtype=np.int32)[::-1].copy()})
    rng = np.random.default_rng(8)
    at: list[dict[str, Any]] = [
        {"level_free": rng.normal(size=1), "rep_free": rng.normal(0, 0.3, 9), "rep_sd": sd}
        for sd in (0.2, 0.7)
    ]
    want = [stats.poisson.logpmf(y, e * np.exp(p["level_free"][0] + p["rep_free"][::-1])).sum() for p in at]
    a, b = potentials(declaration, cells, at)
    assert a - b == pytest.approx(want[0] - want[1], rel=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_inference_data_on_request() -> None:
    found = to_inference_data({"tiny": laplace()})["tiny"]
    assert dict(found.posterior.sizes)["draw"] == 4000
    np.testing.assert_array_equal(found.posterior["rep"].values[0], laplace().effects["rep"])


def test_without_a_cell_nuts_samples_the_prior() -> None:
    """Nobody's deals have an amount, or a log of no week: the same models, nothing to learn from."""
    none = np.zeros(0)
    fit = fit_nuts(COUNTS, Cells(none, none, {"rep": np.zeros(0, np.int32)}), seed=4, **DRAWS)
    assert stats.kstest(fit.effects["level"][::4, 0], stats.norm(-1.0, 1.5).cdf).pvalue > 1e-4
    assert stats.kstest(fit.hyper["rep_sd"][::4], stats.halfnorm(scale=0.5).cdf).pvalue > 1e-4
    fit = fit_nuts(AMOUNTS, Cells(none, none, {}, none), seed=4, **DRAWS)
    assert stats.kstest(fit.effects["level"][::4, 0], stats.norm(8.5, 4.0).cdf).pvalue > 1e-4
    assert stats.kstest(fit.hyper["sigma"][::4], stats.halfnorm(scale=2.0).cdf).pvalue > 1e-4
