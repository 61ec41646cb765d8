"""A declaration and its cells arranged for the nested Laplace approximation.

Hyperparameters are handled in coordinates ``zeta`` that are standard normal a priori: an sd is
``HalfNormal(scale).ppf(Phi(zeta))``, a correlation ``Beta(4, 2).ppf(Phi(zeta))``. A posterior in these
coordinates is close to Gaussian both when the data speak (likelihood) and when they are silent (prior).

Levels and standard-normal coordinates of all terms are numbered through: terms with levels, then slopes, and
the largest ``pooled`` term (the *arrow*, see :mod:`quotacast.models.laplace_conditional`) last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy import special

from quotacast.errors import FitError
from quotacast.models.laplace_bases import Bases, Places, adjoint, apply, bases, congruent, spread
from quotacast.models.laplace_columns import merged
from quotacast.models.laplace_design import Design
from quotacast.models.terms import (
    OVERDISPERSION_SCALE,
    RESIDUAL_SCALE,
    RHO_PRIOR,
    Cells,
    Declaration,
    Floats,
    Term,
)

#: A pooled term of fewer levels is not worth eliminating.
ARROW_SIZE = 32
#: Beyond this, in prior standard deviations, a hyperparameter does not move any more.
FARTHEST = 12.0
#: Log of the beta function: what the prior density of a correlation is divided by.
LOG_BETA = float(special.betaln(*RHO_PRIOR))


def half_normal(zeta: Floats | float, scale: Floats | float) -> tuple[Floats, Floats]:
    """HalfNormal(scale) quantile at Phi(zeta) and its derivative by zeta, one or several."""
    zeta = np.minimum(np.maximum(np.asarray(zeta, dtype=float), -FARTHEST), FARTHEST)
    # to either side in the form that loses no digits there
    low, high = np.minimum(zeta, 0.0), np.maximum(zeta, 0.0)
    below = np.sqrt(2.0) * special.erfinv(special.ndtr(low))
    t = np.where(zeta < 0, below, -special.ndtri(special.ndtr(-high) / 2.0))
    return scale * t, scale * np.exp((t * t - zeta * zeta) / 2.0) / 2.0


def correlation(zeta: float) -> tuple[float, float]:
    """Beta(RHO_PRIOR) quantile at Phi(zeta) and its derivative by zeta."""
    a, b = RHO_PRIOR
    zeta = min(max(float(zeta), -FARTHEST), FARTHEST)
    rho = min(max(float(special.betaincinv(a, b, special.ndtr(zeta))), 1e-6), 1.0 - 1e-6)
    log_density = (a - 1) * math.log(rho) + (b - 1) * math.log1p(-rho) - LOG_BETA
    return rho, math.exp(-zeta * zeta / 2.0 - log_density) / math.sqrt(2.0 * math.pi)


def ar1_slope(size: int, rho: float) -> Floats:
    """Derivative by rho of the basis of a shock."""
    lag = np.maximum(np.subtract.outer(np.arange(size), np.arange(size)), 0)
    lower = np.tril(np.ones((size, size)))
    innovation = np.sqrt(1.0 - rho * rho)
    power = np.power(rho, lag) * lower
    slope = lag * np.power(rho, np.maximum(lag - 1, 0)) * lower
    slope[:, 1:] = slope[:, 1:] * innovation - power[:, 1:] * (rho / innovation)
    return np.asarray(slope)


@dataclass(frozen=True)
class Scales:
    """Hyperparameters on their natural scale, with derivatives by ``zeta``.

    Attributes
    ----------
    values, slopes : ndarray, shape (d,)
        In the order of :meth:`Declaration.hyperparameters`.
    bases : Bases
        Of the dense terms.
    sd, rho : ndarray, shape (dense terms,)
        T of the dense terms is the block diagonal of ``sd * basis``; ``rho`` is that of shocks, else 0.
    arrow_sd : float
    own : float
        ``1 / phi`` of a count (0 for Poisson), sigma of a Normal model.
    """

    values: Floats
    slopes: Floats
    bases: Bases
    sd: Floats
    rho: Floats
    arrow_sd: float
    own: float

    def to_levels(self, z: Floats) -> Floats:
        """T z, the arrow's behind those of the dense terms; the first axis of ``z`` are coordinates."""
        dense, p = self.bases.levels, self.bases.steps.size
        out = np.empty((dense + z.shape[0] - p, *z.shape[1:]))
        apply(*self._given(), z.reshape(z.shape[0], -1), out.reshape(out.shape[0], -1))
        np.multiply(self.arrow_sd, z[p:], out=out[dense:])
        return out

    def to_coordinates(self, x: Floats) -> Floats:
        """T' x, the adjoint of :meth:`to_levels`; the first axis of ``x`` are levels."""
        dense, p = self.bases.levels, self.bases.steps.size
        out = np.empty((p + x.shape[0] - dense, *x.shape[1:]))
        adjoint(*self._given(), x.reshape(x.shape[0], -1), out.reshape(out.shape[0], -1))
        np.multiply(self.arrow_sd, x[dense:], out=out[p:])
        return out

    def apply(self, z: Floats) -> Floats:
        """T z of the dense terms alone, for columns of coordinates."""
        out = np.empty((self.bases.levels, z.shape[1]))
        apply(*self._given(), np.ascontiguousarray(z), out)
        return out

    def adjoint(self, x: Floats) -> Floats:
        """T' x of the dense terms alone, for columns of levels."""
        out = np.empty((self.bases.steps.size, x.shape[1]))
        adjoint(*self._given(), np.ascontiguousarray(x), out)
        return out

    def congruent(self, upper: Floats) -> Floats:
        """I + T'ST of the dense terms for a symmetric S between levels, given on and above its diagonal."""
        return congruent(*self._given(), upper)

    def spread(self, upper: Floats) -> Floats:
        """T C T' of the dense terms for a symmetric C between coordinates, given as in :meth:`congruent`."""
        return spread(*self._given(), upper, self.bases.levels)

    def _given(self) -> tuple[Places, Floats, Floats, Floats]:
        return self.bases.places, self.bases.steps, self.sd, self.rho


class Problem:
    """A declaration and its cells, arranged for :func:`solve`."""

    def __init__(self, declaration: Declaration, cells: Cells) -> None:
        self.declaration = declaration
        large = [t for t in declaration.terms if t.kind == "pooled" and t.size >= ARROW_SIZE]
        pooled = large if len(declaration.terms) > 1 else []
        self.arrow: Term | None = max(pooled, key=lambda t: t.size, default=None)
        rest = [t for t in declaration.terms if t is not self.arrow]
        self.terms = tuple(sorted(rest, key=lambda t: t.kind == "slope"))
        self.levels = _slices([t.size for t in self.terms])
        self.coordinates = _slices([t.dimension for t in self.terms])
        self.dense = self.levels[-1].stop if self.terms else 0
        self.p_dense = self.coordinates[-1].stop if self.terms else 0
        # Without a term to eliminate, one level with sd 0 takes its place.
        self.n_arrow = self.arrow.size if self.arrow else 1
        self.mean = np.concatenate(
            [t.prior_mean for t in self.terms] + [self.arrow.prior_mean if self.arrow else np.zeros(1)]
        )
        self.names = declaration.hyperparameters()
        self.index = {name: i for i, name in enumerate(self.names)}
        self.bases = bases(self.terms)
        self._number()
        self._arrange(cells)

    def _arrange(self, cells: Cells) -> None:
        stepped = [t for t in self.terms if t.kind != "slope"]
        slopes = [t for t in self.terms if t.kind == "slope"]
        last = cells.term_codes(self.arrow) if self.arrow else np.zeros(len(cells), dtype=np.int32)
        codes = [cells.term_codes(t) for t in stepped]
        columns = merged(codes, [t.size for t in stepped], last, self.dense, self.n_arrow)
        order = self.order = np.lexsort(columns.codes.T)  # of the cells in everything that follows
        self.y = np.ascontiguousarray(cells.response[order], dtype=float)
        self.exposure = np.ascontiguousarray(cells.exposure[order], dtype=float)
        covariates = [cells.covariates[t.axis][order] for t in slopes]
        self.design = Design(
            replace(columns, codes=np.ascontiguousarray(columns.codes[order])),
            np.column_stack(covariates).astype(float) if slopes else np.empty((len(cells), 0)),
            self.exposure,
        )
        self.squares = float(cells.squares.sum()) if cells.squares is not None else 0.0
        self.y_levels = self.design.scatter(self.y)
        # of a negative binomial, cells of one response share logarithms
        shares = self.declaration.family == "negbinomial"
        self.by_response = np.argsort(self.y, kind="stable") if shares else np.arange(len(cells))
        self.y_exposure = float(self.y @ np.log(self.exposure))
        if self.declaration.family == "negbinomial":
            if np.any(self.y != np.round(self.y)):
                raise FitError(f"model {self.declaration.name}: counts must be whole numbers")
            # above[j] = number of cells with y > j: sum_i sum_{j < y_i} h(j) = sum_j above[j] h(j)
            self.above = len(cells) - np.cumsum(np.bincount(self.y.astype(np.int64)))[:-1].astype(float)

    @property
    def size(self) -> int:
        """Number of levels of all terms."""
        return self.dense + self.n_arrow

    @property
    def dimension(self) -> int:
        """Number of standard-normal coordinates of all terms."""
        return self.p_dense + self.n_arrow

    def scales(self, zeta: Floats) -> Scales:
        """Hyperparameters at ``zeta``."""
        values, slopes = np.empty(zeta.size), np.empty(zeta.size)
        values[self._half], slopes[self._half] = half_normal(zeta[self._half], self._half_scales)
        for j in self._rho_at[self._rho_at >= 0]:
            values[j], slopes[j] = correlation(zeta[j])
        sd = np.where(self._sd_at >= 0, values[self._sd_at], self._known_sd) if zeta.size else self._known_sd
        rho = np.where(self._rho_at >= 0, values[self._rho_at], 0.0) if zeta.size else np.zeros(sd.size)
        family = self.declaration.family
        own = 0.0 if family == "poisson" else float(values[-1])
        # As in the exact method: the variance beyond Poisson never vanishes entirely.
        own = own**2 + 1e-9 if family == "negbinomial" else own
        arrow_sd = float(values[self.index[f"{self.arrow.name}_sd"]]) if self.arrow else 0.0
        return Scales(values, slopes, self.bases, sd, rho, arrow_sd, own)

    def _number(self) -> None:
        """Where among the hyperparameters each term's are, and the scales of the half-normal ones."""
        terms, family = self.declaration.terms, self.declaration.family
        half = {f"{t.name}_sd": t.scale for t in terms if t.has_sd}
        if family != "poisson":
            half[self.names[-1]] = OVERDISPERSION_SCALE if family == "negbinomial" else RESIDUAL_SCALE
        self._half = np.array([self.index[name] for name in half], dtype=np.int64)
        self._half_scales = np.array(list(half.values()), dtype=float)
        # -1 where a term has none
        self._sd_at = np.array([self.index.get(f"{t.name}_sd", -1) for t in self.terms], dtype=np.int64)
        self._rho_at = np.array([self.index.get(f"{t.name}_rho", -1) for t in self.terms], dtype=np.int64)
        self._known_sd = np.array([t.scale for t in self.terms], dtype=float)

    def bounds(self) -> tuple[tuple[int, float], ...]:
        """Coordinates of truncated slopes and their lower ends, in ascending order."""
        return tuple(
            (c.start, (t.lower - float(t.prior_mean[0])) / t.scale)
            for t, c in zip(self.terms, self.coordinates, strict=True)
            if t.lower is not None
        )

    def by_term(self, x: Floats) -> dict[str, Floats]:
        """Levels (first axis) by the names of their terms."""
        parts = {t.name: x[s] for t, s in zip(self.terms, self.levels, strict=True)}
        if self.arrow:
            parts[self.arrow.name] = x[self.dense :]
        return {t.name: parts[t.name] for t in self.declaration.terms}


def _slices(sizes: list[int]) -> list[slice]:
    ends = np.cumsum([0, *sizes]).tolist()
    return [slice(a, b) for a, b in pairwise(ends)]
