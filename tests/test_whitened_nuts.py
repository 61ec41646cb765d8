"""The density that benchmarks sample by NUTS: its gradient, PyMC's value of it, and what is drawn from it.

``benchmarks/laplace_vs_nuts_forecast.py`` is the proof that uses it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from quotacast.models.laplace import fit_laplace
from quotacast.models.terms import Cells, Declaration, Posterior, Term

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
N, REPS, MONTHS = 240, 14, 9
LEVEL = Term("level", "level", "", 1, 0.7, "test", (-0.4,))
TEAM = Term("team", "pooled", "team", 3, 0.4, "test")
REP = Term("rep", "pooled", "rep", REPS, 0.6, "test")
AGE = Term("age", "walk", "age", 5, 0.5, "test", widths=(1.0, 2.0, 2.5, 4.0))
SEASON = Term("season", "contrast", "season", 4, 0.3, "test")
SHOCK = Term("shock", "shock", "month", MONTHS, 0.3, "test")
TREND = Term("trend", "walk", "quarter", 3, 0.2, "test", known=True)
SLOPE = Term("slope", "slope", "calls", 1, 0.4, "test")
RISING = Term("rising", "slope", "visits", 1, 0.5, "test", (0.2,), lower=0.0)
MODELS = {
    "poisson": (LEVEL, TEAM, REP, AGE, SHOCK, TREND),
    "negbinomial": (LEVEL, TEAM, REP, SEASON, SLOPE, RISING),
    "normal": (LEVEL, REP, SEASON, AGE),
}


@pytest.fixture(scope="module")
def nuts() -> Iterator[ModuleType]:
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module("whitened_nuts")
    sys.path.remove(str(BENCHMARKS))


@cache
def model(family: str) -> tuple[Declaration, Cells, Posterior]:
    """A model with terms of many kinds, data with reps that differ, and its fast fit."""
    rng = np.random.default_rng(5)
    sizes = {"age": 5, "season": 4, "month": MONTHS}
    codes: dict[str, Any] = {name: rng.integers(0, n, N) for name, n in sizes.items()}
    codes["rep"], codes["quarter"] = rng.permutation(np.arange(N) % REPS), codes["month"] // 3
    codes["team"] = codes["rep"] % 3
    codes = {name: code.astype(np.int32) for name, code in codes.items()}
    covariates = {"calls": rng.standard_normal(N), "visits": rng.gamma(2.0, 0.4, N)}
    effect = np.linspace(-0.8, 0.7, REPS)[codes["rep"]] + 0.15 * codes["age"]
    exposure = rng.gamma(3.0, 4.0, N) + 0.5
    declaration = Declaration("test", family, MODELS[family])  # type: ignore[arg-type]
    if family == "normal":
        n = rng.integers(1, 5, N).astype(float)
        cells = Cells(effect + rng.normal(0.0, 0.6 / np.sqrt(n)), n, codes, rng.gamma(n, 0.3), covariates)
    else:
        events = rng.poisson(exposure * np.exp(effect - 0.5) * rng.gamma(4.0, 0.25, N)).astype(float)
        cells = Cells(events, exposure, codes, None, covariates)
    return declaration, cells, fit_laplace(declaration, cells, draws=600, seed=3)


def test_positive_numbers_come_back(nuts: ModuleType) -> None:
    u = np.array([-7.0, -2.3, -0.4, 0.0, 0.9, 6.5])
    np.testing.assert_allclose(nuts.inverse_positive(nuts.positive(u)), u, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("family", MODELS)
def test_draws_come_back_from_their_coordinates(nuts: ModuleType, family: str) -> None:
    declaration, cells, near = model(family)
    density = nuts.Density(declaration, cells, near)
    effects, hyper = density.expand(density.coordinates(near))
    for name, levels in near.effects.items():
        np.testing.assert_allclose(effects[name], levels, atol=1e-9, err_msg=name)
    for name, values in near.hyper.items():
        np.testing.assert_allclose(hyper[name], values, rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("family", MODELS)
def test_the_gradient_is_that_of_the_value(
    nuts: ModuleType, family: str, check_gradient: Callable[..., None]
) -> None:
    declaration, cells, near = model(family)
    density = nuts.Density(declaration, cells, near)
    at = density.coordinates(near)[7]
    check_gradient(lambda q: density(q)[0], at, density(at)[1])


@pytest.mark.parametrize("dense", [700, 30])
def test_the_whitened_gradient_is_that_of_the_value(
    nuts: ModuleType, monkeypatch: pytest.MonkeyPatch, dense: int, check_gradient: Callable[..., None]
) -> None:
    monkeypatch.setattr(nuts, "DENSE", dense)  # 30: reps and more keep their own scale only
    declaration, cells, near = model("poisson")
    density = nuts.Density(declaration, cells, near)
    white = nuts.Whitening.of(density, near)
    assert (white.dense.size < density.size) is (dense < density.size)
    at = np.random.default_rng(2).standard_normal(density.size)
    gradient = white.back(density(white.out(at))[1])
    check_gradient(lambda w: density(white.out(w))[0], at, gradient)


def test_reps_are_sampled_together_with_what_they_belong_to(nuts: ModuleType) -> None:
    declaration, cells, near = model("poisson")
    reps = next(b for b in nuts.Density(declaration, cells, near).blocks if b.term is REP)
    assert reps.parents.shape == (REPS, 2)  # the overall level and their teams


@pytest.mark.parametrize("family", MODELS)
def test_the_density_is_that_of_pymc(nuts: ModuleType, family: str) -> None:
    declaration, cells, near = model(family)
    assert nuts.agreement(declaration, cells, near, points=8) < 1e-7


def test_another_prior_is_seen(nuts: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nuts, "OVERDISPERSION_SCALE", 0.4)
    declaration, cells, near = model("negbinomial")
    assert nuts.agreement(declaration, cells, near, points=8) > 1e-3


@pytest.mark.parametrize("family", ["poisson", "normal"])
def test_what_is_drawn_has_the_moments_of_the_fast_fit(nuts: ModuleType, family: str) -> None:
    declaration, cells, near = model(family)
    trace = nuts.sample(declaration, cells, near, draws=400, tune=300, seed=2)
    for name, levels in (near.effects | near.hyper).items():
        drawn = trace[name].reshape(1600, -1)
        sd, mean = drawn.std(axis=0), drawn.mean(axis=0)
        moving = sd > 1e-9
        ours = levels.reshape(near.draws, -1)[:, moving]
        # 600 draws against some 800 effective ones: .055 sd of a mean, .06 of an 80 % range. Not the sd: the
        # tails of scale parameters are heavy, and single draws far out decide theirs
        assert (np.abs(ours.mean(axis=0) - mean[moving]) < 0.25 * sd[moving]).all(), name
        widths = [np.subtract(*np.quantile(x, [0.9, 0.1], axis=0)) for x in (ours, drawn[:, moving])]
        np.testing.assert_allclose(widths[0], widths[1], rtol=0.25, err_msg=name)
