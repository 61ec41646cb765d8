"""Merged columns against a design matrix that is written out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quotacast.models import laplace_kernels as kernels
from quotacast.models.laplace import KNOTS, find_mode, split_t
from quotacast.models.laplace_columns import COMBINATIONS, Columns, merged
from quotacast.models.laplace_conditional import solve
from quotacast.models.laplace_design import Design
from quotacast.models.laplace_problem import Problem
from quotacast.models.terms import Cells, Codes, Declaration, Floats, Term

#: level, segment, position and age x position, age, month, quarter, rep; the arrow is rep x quarter.
SIZES = (1, 3, 4, 20, 5, 12, 4, 5)
ARROW, SLOPES, CELLS = 20, 2, 700


def codes(seed: int = 5) -> tuple[list[Codes], Codes]:
    rng = np.random.default_rng(seed)
    month, age, position, rep = (rng.integers(0, n, CELLS) for n in (12, 5, 4, 5))
    segment, quarter = rng.integers(0, 3, CELLS), month // 3
    both = age * 4 + position
    terms = [np.zeros(CELLS), segment, position, both, age, month, quarter, rep]
    return [term.astype(np.int32) for term in terms], (rep * 4 + quarter).astype(np.int32)


def written_out(terms: list[Codes], arrow: Codes, covariates: Floats) -> Floats:
    """Z with a column per level: terms, slopes, arrow."""
    parts = [np.eye(size)[term] for term, size in zip(terms, SIZES, strict=True)]
    return np.column_stack([*parts, covariates, np.eye(ARROW)[arrow]])


@pytest.fixture(scope="module")
def given() -> tuple[Design, Floats]:
    terms, arrow = codes()
    rng = np.random.default_rng(6)
    covariates = rng.normal(0.3, 0.5, (CELLS, SLOPES))
    columns = merged(terms, SIZES, arrow, sum(SIZES) + SLOPES, ARROW)
    return Design(columns, covariates, rng.gamma(2.0, 1.0, CELLS)), written_out(terms, arrow, covariates)


def laid_out(block: Floats, border: Floats, diagonal: Floats) -> Floats:
    return np.block([[block, border], [border.T, np.diag(diagonal)]])


def test_nested_terms_need_no_columns_and_small_ones_share_one(given: tuple[Design, Floats]) -> None:
    columns = given[0].columns
    # age x position (with age and position), month (with quarter), segment, the arrow (with rep)
    assert columns.codes.shape == (CELLS, 4)
    assert columns.wide == 3 + 12 + 20
    assert columns.members.shape[0] == columns.wide + ARROW


def test_small_terms_share_a_column() -> None:
    rng = np.random.default_rng(8)
    terms = [rng.integers(0, n, 400).astype(np.int32) for n in (3, 5, 4, COMBINATIONS)]
    found = merged(terms, (3, 5, 4, COMBINATIONS), np.zeros(400, dtype=np.int32), 12 + COMBINATIONS, 1)
    assert found.codes.shape[1] == 4  # 3 x 4, 5, the large one, the arrow
    assert found.wide == 12 + 5 + COMBINATIONS


def test_cells_that_differ_in_the_first_column_make_a_run(given: tuple[Design, Floats]) -> None:
    columns = given[0].columns
    assert set(columns.codes[:, 0]) == set(range(20))  # without age x position the fewest codes are left
    codes = np.ascontiguousarray(columns.codes[np.lexsort(columns.codes.T)])
    inner, starts, prefix = replace(columns, codes=codes).runs
    assert len(prefix) == len(np.unique(columns.codes[:, 1:], axis=0)) < CELLS
    run = np.repeat(np.arange(len(prefix)), np.diff(starts))
    np.testing.assert_array_equal(np.column_stack([inner, prefix[run]]), codes)


def test_a_design_whose_terms_all_lie_in_the_arrow() -> None:
    rng = np.random.default_rng(13)
    arrow = rng.integers(0, 6, 50).astype(np.int32)
    terms = [np.zeros(50, dtype=np.int32), arrow // 2]
    columns = merged(terms, (1, 3), arrow, 4, 6)
    z = np.column_stack([np.ones(50), np.eye(3)[arrow // 2], np.eye(6)[arrow]])
    w = rng.gamma(2.0, 1.0, 50)
    np.testing.assert_allclose(columns.scatter(w), z.T @ w, rtol=1e-12)
    np.testing.assert_allclose(laid_out(*columns.gram(w)), z.T @ (w[:, None] * z), rtol=1e-12, atol=1e-12)


def test_sums_of_weights_stand_in_their_pairs(given: tuple[Design, Floats]) -> None:
    design, z = given
    w = np.random.default_rng(14).gamma(2.0, 1.0, CELLS)
    np.testing.assert_allclose(design.summed(design.gram(w), w), z.T @ w, rtol=1e-11)


def test_sums_by_level(given: tuple[Design, Floats]) -> None:
    design, z = given
    rng = np.random.default_rng(7)
    x, value = rng.normal(0.2, 0.4, z.shape[1]), rng.normal(0.5, 1.0, CELLS)
    np.testing.assert_allclose(design.predict(x), z @ x, rtol=1e-12)
    np.testing.assert_allclose(design.means(x), design.exposure * np.exp(z @ x), rtol=1e-12)
    np.testing.assert_allclose(design.scatter(value), z.T @ value, rtol=1e-11, atol=1e-12)


def test_pairs_of_levels(given: tuple[Design, Floats]) -> None:
    design, z = given
    rng = np.random.default_rng(9)
    w = rng.gamma(2.0, 1.0, CELLS)
    np.testing.assert_allclose(laid_out(*design.gram(w)), z.T @ (w[:, None] * z), rtol=1e-10, atol=1e-10)
    dense = design.columns.dense
    root = rng.normal(0.0, 1.0, (dense, dense))
    block, border = root @ root.T, rng.normal(0.1, 0.3, (dense, ARROW))
    diagonal = rng.gamma(3.0, 1.0, ARROW)
    wanted = np.einsum("ij,jk,ik->i", z, laid_out(block, border, diagonal), z)
    np.testing.assert_allclose(design.variances(block, border, diagonal), wanted, rtol=1e-10)


@pytest.mark.parametrize("a", [0.0, 1e-6, 0.3])
def test_likelihoods_of_many_vectors(given: tuple[Design, Floats], a: float) -> None:
    design, z = given
    rng = np.random.default_rng(10)
    x, y = rng.normal(0.1, 0.3, (z.shape[1], 6)), rng.poisson(2.0, CELLS).astype(float)
    columns: Columns = design.columns
    factor, extra = np.exp(columns.fold(x)), design.factors(x)
    if a == 0.0:
        found = kernels.poisson_likelihoods(factor, *columns.runs, design.exposure, extra)
    else:
        found = kernels.count_likelihoods(factor, columns.codes, design.exposure, y, np.argsort(y), a, extra)
    mu = design.exposure[:, None] * np.exp(z @ x)
    each = -mu if a == 0.0 else -(y[:, None] + 1.0 / a) * np.log1p(a * mu)
    np.testing.assert_allclose(found, each.sum(axis=0), rtol=1e-12)


def test_the_guess_is_exact_along_every_axis() -> None:
    terms, arrow = codes(11)
    rng = np.random.default_rng(12)
    y = rng.poisson(3.0 * np.exp(0.3 * np.sin(terms[5]) + 0.4 * rng.normal(size=ARROW)[arrow])).astype(float)
    declared = Declaration(
        "test",
        "poisson",
        (
            Term("level", "level", "", 1, 2.0, "test"),
            Term("month", "walk", "month", 12, 0.5, "test"),
            Term("rep", "pooled", "rep", 5, 0.4, "test"),
        ),
    )
    problem = Problem(declared, Cells(y, np.full(CELLS, 2.0), {"month": terms[5], "rep": terms[7]}))
    mode = find_mode(problem)
    proposal, guess = split_t(problem, mode)
    np.testing.assert_allclose(guess.at(mode.zeta), mode.z, atol=1e-12)
    for j in range(mode.zeta.size):
        at = mode.zeta + KNOTS[-2] * proposal.axes[:, j]
        np.testing.assert_allclose(guess.at(at), solve(problem, at, mode.z).point.z, atol=0.1)
    further = mode.zeta + 0.7 * proposal.axes.sum(axis=1)
    exact = solve(problem, further, mode.z, 1e-10).point.z
    assert np.abs(guess.at(further) - exact).max() < 0.5 * np.abs(mode.z - exact).max()
