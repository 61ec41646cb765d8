"""The design of a declared model: one-hot codes of many terms, and a small dense block of covariates.

A row of the design ``Z`` holds a one in exactly one level of every term with levels, and the values of
the covariates in the columns of the slopes. Levels are numbered through: terms with levels, then slopes,
then the eliminated term (*arrow*). The compiled loops know codes only; what slopes add to their results
is a few passes more, one per slope, and nothing where there is none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quotacast.models import laplace_kernels as kernels
from quotacast.models.terms import Codes, Floats


@dataclass(frozen=True)
class Design:
    """``Z`` with what every cell's predictor is offset by.

    Attributes
    ----------
    codes : ndarray of int32, shape (n, terms)
        Levels of the terms with levels, the arrow's last.
    covariates : ndarray, shape (n, slopes)
    offset : ndarray, shape (n,)
    dense, arrow : int
        Number of levels before the arrow's (slopes included, as their last), and the arrow's.
    """

    codes: Codes
    covariates: Floats
    offset: Floats
    dense: int
    arrow: int

    @property
    def size(self) -> int:
        """Number of all levels."""
        return self.dense + self.arrow

    @property
    def slopes(self) -> slice:
        """Levels that are slopes."""
        return slice(self.dense - self.covariates.shape[1], self.dense)

    def predict(self, x: Floats) -> Floats:
        """Offset + Z x for a vector of levels, shape (n,)."""
        offset = self.offset
        if self.covariates.shape[1]:
            offset = offset + self.covariates @ x[self.slopes]
        return kernels.predict(x, self.codes, offset)

    def scatter(self, value: Floats) -> Floats:
        """Z' value, shape (size,)."""
        out = kernels.scatter(self.codes, value, self.size)
        out[self.slopes] = self.covariates.T @ value
        return out

    def gram(self, w: Floats) -> tuple[Floats, Floats, Floats]:
        """Z'WZ as its dense block, the border (arrow x dense) and the arrow's diagonal."""
        block, border, diagonal = kernels.gram(self.codes, w, self.dense, self.arrow)
        for k in range(self.covariates.shape[1]):
            column = self.scatter(w * self.covariates[:, k])
            at = self.slopes.start + k
            block[at], block[:, at] = column[: self.dense], column[: self.dense]
            border[:, at] = column[self.dense :]
        return block, border, diagonal

    def variances(self, block: Floats, border: Floats, diagonal: Floats) -> Floats:
        """Diagonal of Z C Z' for a covariance ``C`` laid out as in :meth:`gram`, shape (n,)."""
        out = kernels.variances(self.codes, block, border, diagonal)
        zero = np.zeros(self.codes.shape[0])
        for k in range(self.covariates.shape[1]):
            at = self.slopes.start + k
            column = np.concatenate([block[:, at], border[:, at]])
            crossed = kernels.predict(column, self.codes, zero)
            own = self.covariates @ block[self.slopes, at]
            out += self.covariates[:, k] * (2.0 * crossed + own)
        return out

    def factors(self, x: Floats) -> Floats:
        """Factor by which slopes change every cell's rate, shape (n, draws); (0, 0) without slopes."""
        if not self.covariates.shape[1]:
            return np.empty((0, 0))
        return np.exp(self.covariates @ x[self.slopes])
