"""Slopes: both methods against each other, quadrature and a generalised linear model."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy import stats

from quotacast.models.inference import fit_nuts
from quotacast.models.laplace import fit_laplace
from quotacast.models.terms import Cells, Declaration, Posterior, Term

os.environ.setdefault("PYTENSOR_FLAGS", "cxx=")

LEVEL = Term("level", "level", "", 1, 1.5, "for a test", (-0.5,))
PUSH = Term("push", "slope", "push", 1, 0.3, "for a test", (0.3,), lower=0.0)
IDLE = Term("idle", "slope", "idle", 1, 0.3, "for a test", (0.3,), lower=0.0)
SMALL = Declaration("small", "poisson", (LEVEL, PUSH, IDLE))


@cache
def cells(n: int = 60, push: float = 0.12, idle: float = -0.3, phi: float = np.inf) -> Cells:
    """Counts with a positive and a negative effect of two things that go together; a negative is impossible."""
    rng = np.random.default_rng(8)
    x = rng.multivariate_normal([0.1, -0.1], [[0.5, 0.38], [0.38, 0.4]], n)
    exposure = rng.gamma(3.0, 0.6, n)
    mu = exposure * np.exp(-0.2 + x @ [push, idle])
    gamma = rng.gamma(phi, 1.0 / phi, n) if np.isfinite(phi) else 1.0
    covariates = {"push": x[:, 0], "idle": x[:, 1]}
    return Cells(rng.poisson(mu * gamma).astype(float), exposure, covariates=covariates)


@cache
def quadrature() -> dict[str, tuple[float, float]]:
    """Mean and sd of every effect over a grid of (level, push, idle)."""
    data = cells()
    grids = {"level": np.linspace(-1.5, 1.0, 90), "push": np.linspace(0.0, 1.6, 100),
             "idle": np.linspace(0.0, 1.2, 100)}  # fmt: skip
    a, b, c = np.meshgrid(*grids.values(), indexing="ij")
    log_p = stats.norm.logpdf(a, -0.5, 1.5) + stats.norm.logpdf(b, 0.3, 0.3) + stats.norm.logpdf(c, 0.3, 0.3)
    for y, e, x, z in zip(data.response, data.exposure, *data.covariates.values(), strict=True):
        eta = a + b * x + c * z
        log_p = log_p + y * eta - e * np.exp(eta)
    p = np.exp(log_p - log_p.max())
    # the trapezoid rule: the posterior of `idle` is largest at the edge of its grid
    p[:, :, 0] /= 2.0
    p[:, 0, :] /= 2.0
    p /= p.sum()
    moments = {}
    for axis, (name, grid) in enumerate(grids.items()):
        one = p.sum(axis=tuple(k for k in range(3) if k != axis))
        mean = float(one @ grid)
        moments[name] = (mean, float(np.sqrt(one @ grid**2 - mean**2)))
    return moments


@cache
def fitted(method: str) -> Posterior:
    if method == "nuts":
        return fit_nuts(SMALL, cells(), draws=2000, tune=700, chains=2, seed=4)
    return fit_laplace(SMALL, cells(), draws=8000, seed=4)


@pytest.mark.parametrize("method", ["nuts", "laplace"])
def test_truncated_slopes_have_the_posterior_of_quadrature(method: str) -> None:
    posterior = fitted(method)
    for name, (mean, sd) in quadrature().items():
        draws = posterior.effects[name][:, 0]
        assert draws.mean() == pytest.approx(mean, abs=0.08 * sd), name
        assert draws.std() == pytest.approx(sd, rel=0.08), name
        assert name == "level" or draws.min() >= 0.0


def test_a_slope_that_the_data_push_below_its_bound_is_no_trouble() -> None:
    """The mode of the untruncated Gaussian lies below 0, where no draw may be."""
    posterior = fitted("laplace")
    free = Declaration("free", "poisson", (LEVEL, *(_free(t) for t in (PUSH, IDLE))))
    assert fit_laplace(free, cells(), draws=500).effects["idle"].mean() < 0.0
    assert float(posterior.diagnostics["khat"]) < 0.5
    assert float(posterior.diagnostics["importance_ess"]) > 0.5 * 32_000


def _free(term: Term) -> Term:
    return Term(term.name, "slope", term.axis, 1, term.scale, term.reason, term.mean)


def test_many_cells_give_the_estimates_of_a_negative_binomial_glm() -> None:
    import statsmodels.api as sm

    data = cells(6000, 0.35, 0.15, phi=4.0)
    vague = tuple(Term(n, "slope", n, 1, 3.0, "for a test", lower=0.0) for n in ("push", "idle"))
    declared = Declaration("glm", "negbinomial", (LEVEL, *vague))
    posterior = fit_laplace(declared, data, draws=4000)
    design = sm.add_constant(np.column_stack(list(data.covariates.values())))
    family = sm.families.NegativeBinomial(alpha=float((posterior.hyper["overdispersion"] ** 2).mean()))
    glm = sm.GLM(data.response, design, family=family, offset=np.log(data.exposure)).fit()
    for k, name in enumerate(("level", "push", "idle")):
        draws = posterior.effects[name][:, 0]
        assert draws.mean() == pytest.approx(glm.params[k], abs=0.1 * glm.bse[k])
        assert draws.std() == pytest.approx(glm.bse[k], rel=0.06)
    assert (posterior.hyper["overdispersion"] ** -2.0).mean() == pytest.approx(4.0, rel=0.15)


def test_the_linear_predictor_multiplies_the_covariate() -> None:
    one = Cells(np.ones(3), np.ones(3), covariates={"push": np.array([0.5, -1.0, 2.0])})
    posterior = Posterior({"level": np.array([[1.0], [2.0]]), "push": np.array([[0.2], [0.4]])}, {}, {})
    found = posterior.linear_predictor(Declaration("d", "poisson", (LEVEL, PUSH)), one)
    np.testing.assert_allclose(found, [[1.1, 0.8, 1.4], [2.2, 1.6, 2.8]])


def test_a_slope_refuses_what_does_not_fit() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"kind": "slope", "size": 2}, "names its covariate"),
        ({"kind": "slope", "axis": ""}, "names its covariate"),
        ({"kind": "pooled", "size": 3, "lower": 0.0}, "only a slope"),
    ]
    for change, message in wrong:
        given: dict[str, Any] = {"kind": "slope", "axis": "a", "size": 1} | change
        with pytest.raises(ValueError, match=message):
            Term("t", given["kind"], given["axis"], given["size"], 0.3, "x", lower=given.get("lower"))
    with pytest.raises(ValueError, match="push"):
        Cells(np.ones(3), np.ones(3), covariates={"push": np.ones(2)})
