"""Terms: the prior covariances that the bases give, and what a declaration refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from quotacast.models.terms import Cells, Declaration, Posterior, Term

KINDS: Any = ("level", "pooled", "contrast", "walk", "shock", "slope")


def term(kind: Any, size: int, **more: Any) -> Term:
    return Term("t", kind, "a", size, 0.4, "for a test", **more)


def covariance(kind: str, size: int, rho: float = 0.0, **more: Any) -> Any:
    basis = term(kind, size, **more).basis(rho)
    return basis @ basis.T


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_basis_leads_from_its_coordinates_to_its_levels(kind: Any, size: int) -> None:
    if kind == "slope" and size > 1:
        pytest.skip("a slope has one level")
    one = term(kind, size)
    assert one.basis(0.3).shape == (one.size, one.dimension)
    assert one.has_sd == (kind not in ("level", "slope"))
    assert one.has_rho == (kind == "shock")


def test_a_known_sd_is_no_hyperparameter() -> None:
    free, known = term("contrast", 5), term("contrast", 5, known=True)
    assert free.has_sd
    assert not known.has_sd
    np.testing.assert_array_equal(free.basis(), known.basis())
    declared = Declaration("made_up", "poisson", (known,))
    assert declared.hyperparameters() == ()
    with pytest.raises(ValueError, match="the sd of a pooled is not a thing to be known"):
        term("pooled", 5, known=True)


def test_pooled_levels_are_independent() -> None:
    np.testing.assert_array_equal(covariance("pooled", 4), np.eye(4))


@pytest.mark.parametrize("size", [2, 3, 12])
def test_contrasts_are_exchangeable_with_unit_variance_and_sum_to_zero(size: int) -> None:
    """Exchangeable, variance 1, sum 0: every covariance is -1 / (size - 1)."""
    want = np.full((size, size), -1.0 / (size - 1))
    np.fill_diagonal(want, 1.0)
    np.testing.assert_allclose(covariance("contrast", size), want, atol=1e-12)


@pytest.mark.parametrize("rho", [0.0, 0.35, 0.9])
def test_a_shock_is_stationary(rho: float) -> None:
    lag = np.abs(np.subtract.outer(np.arange(6), np.arange(6)))
    np.testing.assert_allclose(covariance("shock", 6, rho), rho**lag, atol=1e-12)


@pytest.mark.parametrize("reference", ["mean", "first", "last"])
def test_a_walks_steps_have_the_variance_of_their_widths(reference: Any) -> None:
    widths = (0.5, 2.0, 1.2)
    basis = term("walk", 4, widths=widths, reference=reference).basis()
    steps = np.diff(basis, axis=0)
    np.testing.assert_allclose(steps @ steps.T, np.diag(widths), atol=1e-12)
    anchor = {"mean": basis.mean(axis=0), "first": basis[0], "last": basis[-1]}[reference]
    np.testing.assert_allclose(anchor, 0.0, atol=1e-12)


def test_a_term_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="3 prior means for 2 levels"):
        term("pooled", 2, mean=(1.0, 2.0, 3.0))
    with pytest.raises(ValueError, match="1 widths for 3 levels"):
        term("walk", 3, widths=(1.0,))
    with pytest.raises(ValueError, match="must be positive"):
        term("pooled", 0)


def test_a_declaration_names_its_hyperparameters_in_order() -> None:
    terms = (term("level", 1), Term("s", "shock", "m", 5, 0.1, "x"), Term("r", "pooled", "r", 3, 0.1, "x"))
    assert Declaration("d", "negbinomial", terms).hyperparameters() == (
        "s_sd",
        "r_sd",
        "s_rho",
        "overdispersion",
    )
    assert Declaration("d", "normal", terms).hyperparameters()[-1] == "sigma"
    with pytest.raises(ValueError, match="not unique"):
        Declaration("d", "poisson", (terms[0], terms[0]))


def test_cells_refuse_wrong_shapes_and_empty_exposure() -> None:
    ones = np.ones(3)
    with pytest.raises(ValueError, match="rep"):
        Cells(ones, ones, {"rep": np.zeros(2, dtype=np.int32)})
    with pytest.raises(ValueError, match="positive"):
        Cells(ones, np.array([1.0, 0.0, 2.0]), {})


def test_the_linear_predictor_adds_every_terms_level() -> None:
    declaration = Declaration(
        "d", "poisson", (Term("level", "level", "", 1, 1.0, "x"), Term("r", "pooled", "rep", 3, 1.0, "x"))
    )
    cells = Cells(np.ones(4), np.full(4, 9.0), {"rep": np.array([2, 0, 2, 1], dtype=np.int32)})
    posterior = Posterior(
        {"level": np.array([[1.0], [2.0]]), "r": np.array([[0.1, 0.2, 0.3], [4, 5, 6]])}, {}, {}
    )
    np.testing.assert_allclose(
        posterior.linear_predictor(declaration, cells), [[1.3, 1.1, 1.3, 1.2], [8.0, 6.0, 8.0, 7.0]]
    )
