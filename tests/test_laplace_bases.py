"""Bases applied as recursions against their matrices, which `Term.basis` writes out."""

from __future__ import annotations

import numpy as np
import pytest

from quotacast.models.laplace_bases import Bases, adjoint, apply, bases, congruent, spread
from quotacast.models.terms import Floats, Term

RHO = 0.6
TERMS = (
    Term("level", "level", "", 1, 2.0, "test"),
    Term("age", "walk", "age", 5, 0.5, "test", widths=(1.0, 2.5, 0.3, 4.0)),
    Term("rep", "pooled", "rep", 4, 0.4, "test"),
    Term("segment", "contrast", "segment", 6, 0.7, "test"),
    Term("tenure", "walk", "tenure", 4, 0.5, "test", widths=(2.0, 1.0, 3.0), reference="first"),
    Term("shock", "shock", "month", 7, 0.2, "test"),
    Term("trend", "walk", "quarter", 3, 0.1, "test", reference="last"),
    Term("only", "contrast", "only", 1, 0.3, "test"),
    Term("slope", "slope", "calls", 1, 0.3, "test"),
)
SD = np.array([2.0, 0.7, 0.4, 1.3, 0.6, 0.25, 0.9, 0.5, 0.3])


def written_out() -> Floats:
    """T as a matrix."""
    rows, columns = sum(t.size for t in TERMS), sum(t.dimension for t in TERMS)
    out, row, column = np.zeros((rows, columns)), 0, 0
    for term, sd in zip(TERMS, SD, strict=True):
        out[row : row + term.size, column : column + term.dimension] = sd * term.basis(RHO)
        row, column = row + term.size, column + term.dimension
    return out


@pytest.fixture(scope="module")
def given() -> tuple[tuple[object, ...], Bases, Floats]:
    found = bases(TERMS)
    return (found.places, found.steps, SD, np.full(len(TERMS), RHO)), found, written_out()


def test_levels_and_the_adjoint(given: tuple[tuple[object, ...], Bases, Floats]) -> None:
    spec, found, t = given
    rng = np.random.default_rng(3)
    z, x = rng.normal(0.3, 1.0, (t.shape[1], 3)), rng.normal(-0.2, 1.0, (t.shape[0], 3))
    levels, coordinates = np.full((t.shape[0], 3), np.nan), np.full((t.shape[1], 3), np.nan)
    apply(*spec, z, levels)
    adjoint(*spec, x, coordinates)
    assert found.levels == t.shape[0]
    np.testing.assert_allclose(levels, t @ z, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(coordinates, t.T @ x, rtol=1e-12, atol=1e-14)


def test_the_reference_of_a_walk_is_zero_to_the_last_digit(
    given: tuple[tuple[object, ...], Bases, Floats],
) -> None:
    spec, _, t = given
    levels = np.empty((t.shape[0], 4))
    apply(*spec, np.random.default_rng(4).normal(0.1, 1.0, (t.shape[1], 4)), levels)
    ends = np.cumsum([term.size for term in TERMS])
    assert (levels[ends[3]] == 0).all()  # the first of tenure
    assert (levels[ends[6] - 1] == 0).all()  # the last of trend
    assert (levels[ends[7] - 1] == 0).all()  # a contrast of one


def test_symmetric_matrices_from_one_triangle(given: tuple[tuple[object, ...], Bases, Floats]) -> None:
    spec, _, t = given
    rng = np.random.default_rng(5)
    between, inverse = (root @ root.T for root in (rng.normal(0.1, 1.0, (n, n)) for n in t.shape))
    found = congruent(*spec, np.triu(between))
    np.testing.assert_allclose(found, np.eye(t.shape[1]) + t.T @ between @ t, rtol=1e-11, atol=1e-12)
    found = spread(*spec, np.triu(inverse), t.shape[0])
    np.testing.assert_allclose(found, t @ inverse @ t.T, rtol=1e-11, atol=1e-12)
