"""The proof of calibration in small: ranks are uniform, and a wrong posterior is found out.

The whole proof is ``benchmarks/calibration.py``; its results are in ``benchmarks/results``.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from quotacast.models.laplace import fit_laplace
from quotacast.models.terms import Cells, Codes, Declaration, Floats, Posterior, Term

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SIMULATIONS = 40
EFFECTS = ("level", "rep", "age", "shock", "total")

Load = Callable[[str], ModuleType]


@pytest.fixture(scope="module")
def load() -> Iterator[Load]:
    """Import a script of the benchmarks by name."""
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module
    sys.path.remove(str(BENCHMARKS))


def tiny(rng: np.random.Generator) -> tuple[Declaration, Floats, dict[str, Codes]]:
    """Poisson counts of five reps over eight months and four ages: one term of every kind with a prior."""
    terms = (
        Term("level", "level", "", 1, 0.7, "test", (-0.4,)),
        Term("rep", "pooled", "rep", 5, 0.5, "test"),
        Term("age", "walk", "age", 4, 0.4, "test"),
        Term("shock", "shock", "month", 8, 0.3, "test"),
    )
    codes = {k: rng.integers(0, n, 60).astype(np.int32) for k, n in {"rep": 5, "age": 4, "month": 8}.items()}
    return Declaration("tiny", "poisson", terms), rng.gamma(2.0, 3.0, 60) + 0.3, codes


_FITTED: dict[int, Posterior] = {}


def quick(declaration: Declaration, cells: Cells, seed: int) -> Posterior:
    """The fit of a seed's data, made once: three tests rank the same data."""
    if seed not in _FITTED:
        _FITTED[seed] = fit_laplace(declaration, cells, draws=200, seed=seed)
    return _FITTED[seed]


def too_sure(declaration: Declaration, cells: Cells, seed: int) -> Posterior:
    """A posterior with half the right spread."""
    right = quick(declaration, cells, seed)
    halved = {name: x.mean(axis=0) + 0.5 * (x - x.mean(axis=0)) for name, x in right.effects.items()}
    return replace(right, effects=halved)


def too_low(declaration: Declaration, cells: Cells, seed: int) -> Posterior:
    """A posterior that is one standard deviation off."""
    right = quick(declaration, cells, seed)
    return replace(right, effects={n: x - x.std(axis=0) for n, x in right.effects.items()})


def worst(sbc: Any, fit: Any) -> tuple[float, float, float]:
    """Least p of the ECDF, mean spread and mean bias over the effects."""
    runs = [sbc.one(tiny, seed, fit)[0] for seed in range(SIMULATIONS)]
    found = [sbc.uniformity([run[name] for run in runs]) for name in EFFECTS]
    spread = float(np.mean([f["spread"] for f in found]))
    return min(f["ecdf_p"] for f in found), spread, float(np.mean([f["bias"] for f in found]))


def test_ranks_of_the_truth_are_uniform(load: Load) -> None:
    p, spread, bias = worst(load("calibration_sbc"), quick)
    assert p > 0.01 / len(EFFECTS)
    assert abs(spread - 1.0) < 0.12
    assert abs(bias) < 2.0


def test_a_posterior_that_is_too_sure_is_found_out(load: Load) -> None:
    p, spread, _ = worst(load("calibration_sbc"), too_sure)
    assert p < 0.01 / len(EFFECTS)
    assert spread > 1.2


def test_a_posterior_that_is_off_is_found_out(load: Load) -> None:
    p, _, bias = worst(load("calibration_sbc"), too_low)
    assert p < 0.01 / len(EFFECTS)
    assert bias > 3.0


def test_ranks_are_exactly_uniform_for_draws_from_the_prior(load: Load) -> None:
    """Without data the prior is the posterior: the ranks of the machinery itself."""
    sbc = load("calibration_sbc")

    def prior(declaration: Declaration, cells: Cells, seed: int) -> Posterior:
        rng = np.random.default_rng([seed, 7])
        drawn = [sbc.draw_truth(declaration, rng) for _ in range(sbc.RANKS)]
        effects = {t.name: np.stack([d.effects[t.name] for d in drawn]) for t in declaration.terms}
        hyper = {n: np.array([d.hyper[n] for d in drawn]) for n in declaration.hyperparameters()}
        return Posterior(effects, hyper, {})

    def design(rng: np.random.Generator) -> tuple[Declaration, Floats, dict[str, Codes]]:
        declared, exposure, codes = tiny(rng)
        return replace(declared, family="normal"), exposure, codes  # amounts are never selected

    runs = [sbc.one(design, seed, prior)[0] for seed in range(120)]
    found = [sbc.uniformity([run[name] for run in runs]) for name in runs[0]]
    assert min(min(f["chi2_p"], f["ecdf_p"]) for f in found) > 0.01 / (2 * len(found))


def test_selection_looks_at_the_data_only(load: Load) -> None:
    sbc = load("calibration_sbc")
    declared, exposure, codes = tiny(np.random.default_rng(3))
    few = Cells(np.eye(1, 60)[0] * (sbc.KEPT[0] - 1), exposure, codes)
    enough = Cells(np.eye(1, 60)[0] * sbc.KEPT[0], exposure, codes)
    many = Cells(np.eye(1, 60)[0] * (sbc.KEPT[1] + 1), exposure, codes)
    assert [sbc.kept(declared, c) for c in (few, enough, many, None)] == [False, True, False, False]


def test_holm_agrees_with_statsmodels(load: Load) -> None:
    from statsmodels.stats.multitest import multipletests

    p = [0.03, 0.0004, 0.2, 0.011, 0.9, 0.011]
    assert load("calibration_report").holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_clustered_error_counts_companies_not_forecasts(load: Load) -> None:
    clustered = load("calibration_report").clustered
    mean, se = clustered([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [1.0, 1.0]])
    assert mean == pytest.approx(5 / 8)
    # by hand: deviations of the clusters' sums from 2 x 5/8 are -1/4, 3/4, -5/4, 3/4
    assert se == pytest.approx(np.sqrt((1 + 9 + 25 + 9) / 16 * 4 / 3) / 8)
    doubled = clustered([[1.0, 0.0] * 5, [1.0] * 10, [0.0] * 10, [1.0] * 10])
    assert doubled == pytest.approx((mean, se))


def test_a_disturbance_after_the_records_leaves_them_alone(load: Load) -> None:
    worlds = load("calibration_worlds")
    spec, _ = worlds.accepted(0)
    calm = worlds.records(spec, worlds.DISTURBANCES["none"])
    shocked = worlds.records(spec, worlds.DISTURBANCES["market shock"])
    broken = worlds.records(spec, worlds.DISTURBANCES["structural break"])

    def counts(found: Any, low: int, high: int) -> int:
        return int(((found.deals.created > low) & (found.deals.created <= high)).sum())

    last, end = calm.clock.last, calm.clock.end
    past = calm.deals.created <= last
    assert np.array_equal(calm.deals.created[past], shocked.deals.created[shocked.deals.created <= last])
    assert counts(shocked, last + 31, last + 181) < counts(calm, last + 31, last + 181)
    assert counts(broken, -1, last - 61) == counts(calm, -1, last - 61)
    assert counts(broken, last - 61, end) < counts(calm, last - 61, end)


def test_a_year_is_scored_as_one_forecast(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    worlds = load("calibration_worlds")
    monkeypatch.setattr(worlds, "FIT_DRAWS", 60)
    monkeypatch.setattr(worlds, "DRAWS", 200)
    job = worlds.one("none", 3)
    assert len(job["company bookings"]["pit"]) == 4
    for cell, year in job["year"].items():
        quarters = job[cell]
        scopes = len(year["actual"])
        assert scopes == (1 if cell.startswith("company") else 5)
        for what in ("actual", "mean"):
            sums = np.reshape(quarters[what], (4, scopes)).sum(axis=0)
            np.testing.assert_allclose(year[what], sums, atol=0.3)
        assert len(year["pit"]) == scopes
    assert load("calibration_report").years({3: job}) == {3: job["year"]}


def test_what_is_off_is_simulated_again_with_other_numbers(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibration, sbc = load("calibration"), load("calibration_sbc")
    jobs = {
        f"value {k}": {"ranks": {"rep_sd": 3, "level": 7 * k}, "models": calibration.MODEL_VERSION}
        for k in range(25)
    }
    jobs["value 99"] = {"ranks": {"rep_sd": 3}, "models": -1}
    saved: dict[str, Any] = {}
    seeds = []

    def job(name: str, seed: int) -> dict[str, Any]:
        seeds.append(seed)
        return {"ranks": {"rep_sd": 8 * len(seeds), "level": 1}, "khat": 0.0}

    monkeypatch.setattr(calibration, "load", lambda name: jobs)
    monkeypatch.setattr(calibration, "save", saved.__setitem__)
    monkeypatch.setattr(calibration.calibration_sbc, "job", job)
    calibration.run_again(20)
    assert seeds == [sbc.seed_of("value", k) for k in range(25, 45)]
    (name, again), = saved["calibration_again"].items()  # fmt: skip
    assert name == "value rep_sd"  # level's ranks are even enough
    assert again["simulations"] == 20
    assert again == {**again, **sbc.uniformity([8 * k for k in range(1, 21)])}
    report, found = load("calibration_report"), saved["calibration_again"]
    assert report.again(jobs, found) == found
    assert report.again({"value 0": {"models": -2}}, found) == {}


def test_stored_results_keep_the_promise() -> None:
    """What the report says is in the repository and holds: 80 +- 3 % on at least 800 company-quarters."""
    stored = json.loads((BENCHMARKS / "results" / "calibration.json").read_text(encoding="utf-8"))
    rows = {(r["scope"], r["metric"]): r for r in stored["coverage"]}
    assert rows[("company", "bookings")]["forecasts"] >= 800
    for (scope, metric), row in rows.items():
        assert abs(row["covered_80"] - 0.8) <= 0.03, f"{scope} {metric}"
    for row in stored["coverage_of_year"]:
        assert abs(row["covered_80"] - 0.8) <= 3 * row["se_80"], f"{row['scope']} {row['metric']}"
    assert min(r["simulations"] for r in stored["sbc"]) >= 180
    assert sum(r["quarters"] for r in stored["misspecified"] if r["disturbance"] != "none") / 4 >= 200


@pytest.mark.parametrize("name", ["won_in_stage", "moved"])
def test_models_of_stages_are_simulated_and_ranked(load: Load, name: str) -> None:
    """Small version of the study: a few simulations of every kind of quantity, and their k-hat."""
    sbc = load("calibration_sbc")
    small = sbc.stage_design(name, 2, 3)
    for seed in range(3):
        ranks, khat = sbc.one(small, seed, lambda d, c, s: fit_laplace(d, c, draws=200, seed=s))
        assert {"level", "stage", "stage_age", "age", "stage_age_sd", "total", "next"} <= set(ranks)
        assert all(0 <= r <= sbc.RANKS for r in ranks.values())
        assert ("shock" in ranks) == (name == "moved")
        assert khat < 0.7


def test_ranks_of_payments_are_uniform_in_small(load: Load) -> None:
    """Twelve simulations, all quantities pooled; two hundred of each are in the results."""
    sbc = load("calibration_sbc")

    def short(declaration: Declaration, cells: Cells, seed: int) -> Posterior:
        return fit_laplace(declaration, cells, draws=sbc.RANKS + 1, seed=seed)

    runs = [sbc.one(sbc.DESIGNS["paid"], sbc.seed_of("paid", number), short)[0] for number in range(12)]
    found = sbc.uniformity([rank for run in runs for rank in run.values()])
    assert len(runs[0]) == 20
    assert abs(found["spread"] - 1.0) < 0.15
    # ranks of one simulation are correlated: 240 are taken as worth a fourth of as many
    assert abs(found["bias"]) < 2 * 3.0
