"""What is common to a month, sampled as one sum (``benchmarks/monthly_sums.py``) and taken apart again."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from quotacast.models.laplace import fit_laplace
from quotacast.models.terms import Cells, Declaration, Posterior, Term

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
MONTHS, REPS = 12, 11
LEVEL = Term("level", "level", "", 1, 0.7, "test", (0.4,))
REP = Term("rep", "pooled", "rep", REPS, 0.6, "test")
SEASON = Term("season", "contrast", "season", 6, 0.3, "test")
SHOCK = Term("shock", "shock", "month", MONTHS, 0.4, "test")
TREND = Term("trend", "walk", "quarter", 4, 0.2, "test", (0.1, 0.0, -0.2, 0.3))
SLOPE = Term("slope", "slope", "calls", 1, 0.4, "test")
DECLARATION = Declaration("test", "negbinomial", (LEVEL, REP, SEASON, SHOCK, TREND, SLOPE))
COMMON = (LEVEL, SEASON, SHOCK, TREND)


@pytest.fixture(scope="module")
def modules() -> Iterator[Any]:
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module("whitened_nuts"), importlib.import_module("monthly_sums")
    sys.path.remove(str(BENCHMARKS))


@cache
def model() -> tuple[Cells, Posterior]:
    """Many events in every month, so that the data tell the sums, and the fast fit."""
    rng = np.random.default_rng(8)
    month, rep = (code.ravel() for code in np.meshgrid(np.arange(MONTHS), np.arange(REPS)))
    codes = {"month": month, "rep": rep, "season": month % 6, "quarter": month // 3}
    calls = rng.standard_normal(month.size)
    effect = np.linspace(-0.6, 0.5, REPS)[rep] + 0.3 * np.cos(1.7 * month) + 0.05 * month + 0.1 * calls
    exposure = rng.gamma(9.0, 5.0, month.size)
    events = rng.poisson(exposure * np.exp(effect) * rng.gamma(20.0, 0.05, month.size)).astype(float)
    named = {name: code.astype(np.int32) for name, code in codes.items()}
    cells = Cells(events, exposure, named, None, {"calls": calls})
    return cells, fit_laplace(DECLARATION, cells, draws=600, seed=3)


def stacked(hyper: dict[str, float]) -> Any:
    """From standard Normal coordinates to the parts' levels, and from levels to months."""
    parts = [
        (hyper[f"{t.name}_sd"] if t.has_sd else t.scale) * t.basis(hyper.get(f"{t.name}_rho", 0.0))
        for t in COMMON
    ]
    rows, columns = (sum(p.shape[k] for p in parts) for k in (0, 1))
    factor, (i, j) = np.zeros((rows, columns)), (0, 0)
    for part in parts:
        factor[i : i + part.shape[0], j : j + part.shape[1]] = part
        i, j = i + part.shape[0], j + part.shape[1]
    month = np.arange(MONTHS)
    spread = np.hstack([np.ones((MONTHS, 1)), np.eye(6)[month % 6], np.eye(MONTHS), np.eye(4)[month // 3]])
    return factor, spread, np.concatenate([t.prior_mean for t in COMMON])


def one(near: Posterior, row: int) -> dict[str, float]:
    """Hyperparameters of one draw."""
    return {name: float(values[row]) for name, values in near.hyper.items()}


def test_terms_that_are_functions_of_the_month_are_parts(modules: Any) -> None:
    _, monthly = modules
    cells, near = model()
    sums = monthly.MonthlySums.of(DECLARATION, cells, near)
    assert sums.parts == COMMON
    assert [t.name for t in sums.joined(DECLARATION).terms] == ["rep", "slope", "monthly sum"]
    # a season that one cell of a month disagrees with is no function of the month
    season = cells.codes["season"].copy()
    season[5] = (season[5] + 1) % 6
    odd = replace(cells, codes={**cells.codes, "season": season})
    assert monthly.MonthlySums.of(DECLARATION, odd, near).parts == (LEVEL, SHOCK, TREND)


def test_sums_are_left_where_the_data_do_not_tell_them(modules: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, monthly = modules
    cells, near = model()
    given = monthly.MonthlySums.of(DECLARATION, cells, near).add(near.effects)
    apart = np.median((given - given.mean(axis=1)[:, None]).var(axis=0))
    share = apart / np.mean(near.hyper["shock_sd"] ** 2)
    monkeypatch.setattr(monthly, "TOLD", 0.99 * share)
    assert monthly.MonthlySums.of(DECLARATION, cells, near) is None
    # nor where there is no shock, or no cell in the last month
    monkeypatch.undo()
    still = Declaration("test", "negbinomial", (LEVEL, REP, SEASON))
    assert monthly.MonthlySums.of(still, cells, near) is None
    kept = cells.codes["month"] < MONTHS - 1
    codes = {name: code[kept] for name, code in cells.codes.items()}
    fewer = Cells(cells.response[kept], cells.exposure[kept], codes)
    assert monthly.MonthlySums.of(DECLARATION, fewer, near) is None


def test_the_prior_of_sums_is_that_of_their_parts(modules: Any) -> None:
    _, monthly = modules
    cells, near = model()
    sums = monthly.MonthlySums.of(DECLARATION, cells, near)
    apart = []
    for row in (3, 8, 11):
        factor, spread, mean = stacked(one(near, row))
        at = sums.add(near.effects)[row]
        joint = stats.multivariate_normal(spread @ mean, spread @ factor @ (spread @ factor).T)
        value, in_sums, in_hyper = sums.log_prior(at, one(near, row))
        apart.append(value - joint.logpdf(at))
        for k, step in enumerate(1e-6 * np.eye(MONTHS)):
            slope = (joint.logpdf(at + step) - joint.logpdf(at - step)) / 2e-6
            assert in_sums[k] == pytest.approx(slope, rel=1e-5, abs=1e-5)
        assert set(in_hyper) == {"season_sd", "shock_sd", "shock_rho", "trend_sd"}
        for name, gradient in in_hyper.items():
            hyper = one(near, row)
            up, down = ({**hyper, name: hyper[name] * (1.0 + h)} for h in (1e-6, -1e-6))
            slope = (sums.log_prior(at, up)[0] - sums.log_prior(at, down)[0]) / (2e-6 * hyper[name])
            assert gradient == pytest.approx(slope, rel=1e-4, abs=1e-4), name
    assert np.ptp(apart) < 1e-9


def test_parts_given_their_sums(modules: Any) -> None:
    _, monthly = modules
    cells, near = model()
    sums, rng, draws = monthly.MonthlySums.of(DECLARATION, cells, near), np.random.default_rng(4), 40_000
    hyper = one(near, 5)
    factor, spread, mean = stacked(hyper)
    # sums of the prior, taken apart, are draws of the prior
    prior = mean + rng.standard_normal((draws, factor.shape[1])) @ factor.T
    parts = sums.split(prior @ spread.T, {n: np.full(draws, v) for n, v in hyper.items()}, rng)
    levels = np.hstack([parts[t.name] for t in COMMON])
    np.testing.assert_allclose(levels @ spread.T, prior @ spread.T, atol=1e-8)
    cov = factor @ factor.T
    error = np.sqrt((np.outer(np.diag(cov), np.diag(cov)) + cov**2) / draws)
    assert (np.abs(np.cov(levels.T) - cov) < 4.5 * error + 1e-12).all()
    assert (np.abs(levels.mean(axis=0) - mean) < 4.5 * np.sqrt(np.diag(cov) / draws) + 1e-9).all()
    # and they are not the draws they came from
    assert np.corrcoef(levels[:, 1], prior[:, 1])[0, 1] < 0.95


def test_the_gradient_is_that_of_the_value(modules: Any, check_gradient: Callable[..., None]) -> None:
    nuts, monthly = modules
    cells, near = model()
    sums = monthly.MonthlySums.of(DECLARATION, cells, near)
    density = nuts.Density(DECLARATION, cells, near, sums)
    at = density.coordinates(near)[7]
    check_gradient(lambda q: density(q)[0], at, density(at)[1])


def test_the_density_is_the_other_one_less_that_of_the_parts_given_their_sums(modules: Any) -> None:
    nuts, monthly = modules
    cells, near = model()
    sums = monthly.MonthlySums.of(DECLARATION, cells, near)
    whole, summed = (nuts.Density(DECLARATION, cells, near, s) for s in (None, sums))
    apart, rows = [], range(12)
    for row in rows:
        hyper = one(near, row)
        factor, spread, mean = stacked(hyper)
        z = np.linalg.lstsq(
            factor, np.hstack([near.effects[t.name][row] for t in COMMON]) - mean, rcond=None
        )[0]
        steps = spread @ factor
        pull = np.linalg.solve(steps @ steps.T, steps)
        given = stats.multivariate_normal(
            steps.T @ pull @ z, np.eye(z.size) - steps.T @ pull, allow_singular=True
        )
        # from the steps, each centred by its share, to standard Normal ones
        jacobian = sum(
            float(b.centred.sum()) * np.log(hyper[f"{b.term.name}_sd"])
            for b in whole.blocks
            if b.term in COMMON and b.term.has_sd
        )
        value = whole(whole.coordinates(near)[row])[0] + jacobian - given.logpdf(z)
        other = summed(summed.coordinates(near)[row])[0]
        # the sums themselves are densities in months, z is in standard units: log |K| / 2 lies between
        between = 0.5 * np.linalg.slogdet(steps @ steps.T)[1]
        reps = [next(b for b in d.blocks if b.term is REP) for d in (whole, summed)]
        own = [float(b.centred.sum()) * np.log(hyper["rep_sd"]) for b in reps]
        apart.append(value + own[0] - other - own[1] - between)
    assert np.ptp(apart) < 1e-6


def test_the_sampled_density_agrees_on_a_model_itself(modules: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    nuts, monthly = modules
    cells, near = model()
    assert nuts.chosen_density(DECLARATION, cells, near).sums is not None
    assert nuts.agreement_of_sums(DECLARATION, cells, near) < 1e-7
    # sums that are not those of the parts are seen, and where no sums are sampled there is nothing to see
    with monkeypatch.context() as patch:
        patch.setattr(monthly.MonthlySums, "add", lambda self, effects: 1.01 * sum_of(self, effects))
        assert nuts.agreement_of_sums(DECLARATION, cells, near) > 1e-3
    monkeypatch.setattr(nuts, "FEW", 5)
    assert nuts.chosen_density(DECLARATION, cells, near).sums is None
    assert nuts.agreement_of_sums(DECLARATION, cells, near) == 0.0


def sum_of(sums: Any, effects: Any) -> Any:
    return np.sum([effects[t.name] @ a.T for t, a in zip(sums.parts, sums.spread, strict=True)], axis=0)


def test_both_ways_draw_the_same(modules: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    nuts, monthly = modules
    cells, near = model()
    summed = nuts.sample(DECLARATION, cells, near, draws=500, tune=300, seed=2)
    monkeypatch.setattr(monthly, "TOLD", 0.0)
    whole = nuts.sample(DECLARATION, cells, near, draws=500, tune=300, seed=2)
    for name in (*near.effects, *near.hyper):
        ours, theirs = (t[name].reshape(2000, -1) for t in (summed, whole))
        sd = theirs.std(axis=0)
        moving = sd > 1e-9
        assert (np.abs(ours.mean(axis=0) - theirs.mean(axis=0))[moving] < 0.2 * sd[moving]).all(), name
        widths = [np.subtract(*np.quantile(x[:, moving], [0.9, 0.1], axis=0)) for x in (ours, theirs)]
        np.testing.assert_allclose(widths[0], widths[1], rtol=0.2, err_msg=name)
