"""The design of a declared model: one-hot codes of many terms, and a small dense block of covariates.

A row of the design ``Z`` holds a one in exactly one level of every term with levels, and the values of
the covariates in the columns of the slopes. Levels are numbered through: terms with levels, then slopes,
then the eliminated term (*arrow*). The compiled loops know levels only (:class:`Columns`); what slopes add to
their results is a few passes more, one per slope, and nothing where there is none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quotacast.models import laplace_kernels as kernels
from quotacast.models.laplace_columns import Columns
from quotacast.models.terms import Floats

#: Z'WZ as its dense block, the border (dense x arrow) and the arrow's diagonal.
Gram = tuple[Floats, Floats, Floats]


@dataclass(frozen=True)
class Design:
    """``Z`` of a model.

    Attributes
    ----------
    columns : Columns
        Levels of the terms with levels.
    covariates : ndarray, shape (n, slopes)
        Their slopes are the last of the levels before the arrow's.
    exposure : ndarray, shape (n,)
        Factor of every cell's mean; of a Normal model it is left aside.
    """

    columns: Columns
    covariates: Floats
    exposure: Floats

    @property
    def slopes(self) -> slice:
        """Levels that are slopes."""
        return slice(self.columns.dense - self.covariates.shape[1], self.columns.dense)

    def predict(self, x: Floats) -> Floats:
        """Z x for a vector of levels, shape (n,)."""
        eta = kernels.predict(self.columns.fold(x), *self.columns.runs)
        return eta + self.covariates @ x[self.slopes] if self.covariates.shape[1] else eta

    def means(self, x: Floats) -> Floats:
        """Exposure times exp(Z x) for a vector of levels, shape (n,)."""
        mu = kernels.means(np.exp(self.columns.fold(x)), *self.columns.runs, self.exposure)
        return mu * np.exp(self.covariates @ x[self.slopes]) if self.covariates.shape[1] else mu

    def scatter(self, value: Floats) -> Floats:
        """Z' value, shape (levels,)."""
        out = self.columns.scatter(value)
        out[self.slopes] = self.covariates.T @ value
        return out

    def summed(self, gram: Gram, w: Floats) -> Floats:
        """Z' w, shape (levels,), of which most stands in ``gram`` of the same ``w``."""
        block, _, diagonal = gram
        out = np.concatenate([block.diagonal(), diagonal])
        if self.covariates.shape[1]:
            out[self.slopes] = self.covariates.T @ w
        return out

    def gram(self, w: Floats) -> Gram:
        """Z'WZ as its dense block, the border (dense x arrow) and the arrow's diagonal."""
        dense, slopes = self.columns.dense, self.slopes
        block, border, diagonal = self.columns.gram(w)
        if self.covariates.shape[1]:
            weighted = self.covariates * w[:, None]
            crossed = self.columns.scatter_rows(weighted)
            block[slopes], block[:, slopes] = crossed[:dense].T, crossed[:dense]
            block[slopes, slopes] = weighted.T @ self.covariates
            border[slopes] = crossed[dense:].T
        return block, border, diagonal

    def variances(self, block: Floats, border: Floats, diagonal: Floats) -> Floats:
        """Diagonal of Z C Z' for a covariance ``C`` laid out as in :meth:`gram`, shape (n,)."""
        out = self.columns.variances(block, border, diagonal)
        if self.covariates.shape[1]:
            # slopes with levels count twice, with each other once
            with_levels = np.concatenate([block[:, self.slopes], border[self.slopes].T])
            out += 2.0 * kernels.predict_rows(
                self.columns.fold(with_levels), self.columns.codes, self.covariates
            )
            out += np.sum(self.covariates @ block[self.slopes, self.slopes] * self.covariates, axis=1)
        return out

    def factors(self, x: Floats) -> Floats:
        """Factor by which slopes change every cell's rate, shape (n, draws); (0, 0) without slopes."""
        if not self.covariates.shape[1]:
            return np.empty((0, 0))
        return np.exp(self.covariates @ x[self.slopes])
