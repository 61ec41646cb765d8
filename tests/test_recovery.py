"""Recovery in small: true parameters of drawn companies lie in their intervals, and a wrong one is found out.

The whole proof is ``benchmarks/recovery.py``; its results are in ``benchmarks/results``.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
MODELS = ("leads", "created", "converted")


@pytest.fixture(scope="module")
def recovery() -> Iterator[ModuleType]:
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module("recovery")
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def jobs(recovery: ModuleType) -> dict[str, Any]:
    return {str(number): recovery.one(number, MODELS, 400) for number in range(3)}


def test_most_true_parameters_lie_in_their_intervals(recovery: ModuleType, jobs: dict[str, Any]) -> None:
    whole = recovery.pooled(jobs)["all"]
    assert whole["parameters"] > 400
    # Parameters of one fit are correlated: taken as worth a fifth of as many independent ones.
    error = np.sqrt(0.9 * 0.1 / (whole["parameters"] / 5))
    assert abs(whole["held"] - 0.9) < 3.5 * error
    assert abs(whole["mean"] - 0.5) < 0.08


def test_a_wrong_truth_is_found_out(
    recovery: ModuleType, jobs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slopes taken for half a unit more than they are lie outside, above nearly all draws."""
    honest = recovery._counted

    def shifted(*args: Any) -> Iterator[Any]:
        for what, true, drawn in honest(*args):
            yield what, true + 0.5 * (what == "slope"), drawn

    monkeypatch.setattr(recovery, "_counted", shifted)
    wrong = recovery.pooled({"0": recovery.one(0, ("leads",), 400)})
    right = recovery.pooled({"0": jobs["0"]})
    assert wrong["leads: slope"]["held"] < 0.35 < right["leads: slope"]["held"]
    assert wrong["leads: slope"]["mean"] > 0.9
    assert wrong["leads: rep"] == right["leads: rep"]


def test_every_kind_of_true_parameter_is_compared(recovery: ModuleType) -> None:
    found = recovery.one(1, draws=100)
    models = {key.split("/")[0] for key in found["pit"]}
    assert {"created", "won", "lost", "value", "leads", "converted", "disqualified"} <= models
    assert {"activity:chat", "activity:lead_contact", "activity:meeting_planned"} <= models
    for name in ("slope", "between", "rep", "shock", "overdispersion"):
        assert f"leads/{name}" in found["pit"]
    assert len(found["pit"]["leads/slope"]) == 6
    assert all(0.0 <= p <= 1.0 for values in found["pit"].values() for p in values)
    assert set(found["khat"]) > models


def test_shares_below_count_ties_half(recovery: ModuleType) -> None:
    drawn = np.array([[0.0, 5.0], [1.0, 5.0], [2.0, 7.0], [3.0, 7.0]])
    np.testing.assert_allclose(recovery.shares_below(np.array([2.0, 6.0]), drawn), [0.625, 0.5])


def test_coverage_is_a_ratio_of_sums_with_an_error_between_companies(recovery: ModuleType) -> None:
    jobs = {"0": {"pit": {"a/x": [0.5, 0.01, 0.2]}, "khat": {}}, "1": {"pit": {"a/x": [0.97]}, "khat": {}}}
    row = recovery.pooled(jobs)["all"]
    assert row["held"] == 0.5
    # residuals of the companies: 2 - 1.5 and 0 - .5
    assert row["error"] == pytest.approx(np.sqrt((0.5**2 + 0.5**2) * 2) / 4)


def test_bands_of_age_that_straddle_two_of_the_truth_are_left_out(recovery: ModuleType) -> None:
    from quotacast.engine.worlds import example_spec
    from quotacast.engine.worlds_truth import AGE_BANDS

    true = example_spec().truth.win
    found = recovery.level_by_age(true, -1.0, AGE_BANDS, (0, 3, 8, 31, 91))
    assert found == pytest.approx({0: -1.0 + true.age[0], 1: -1.0 + true.age[0]})
