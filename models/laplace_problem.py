"""A declaration and its cells arranged for the nested Laplace approximation.

Hyperparameters are handled in coordinates ``zeta`` that are standard normal a priori: an sd is
``HalfNormal(scale).ppf(Phi(zeta))``, a correlation ``Beta(4, 2).ppf(Phi(zeta))``. A posterior in these
coordinates is close to Gaussian both when the data speak (likelihood) and when they are silent (prior).

Levels and standard-normal coordinates of all terms are numbered through: terms with levels, then slopes, and
the largest ``pooled`` term (the *arrow*, see :mod:`quotacast.models.laplace_conditional`) last.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import special

from quotacast.errors import FitError
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


def half_normal(zeta: float, scale: float) -> tuple[float, float]:
    """HalfNormal(scale) quantile at Phi(zeta) and its derivative by zeta."""
    zeta = float(np.clip(zeta, -FARTHEST, FARTHEST))
    if zeta < 0:
        t = float(np.sqrt(2.0) * special.erfinv(special.ndtr(zeta)))
    else:
        t = float(-special.ndtri(special.ndtr(-zeta) / 2.0))
    return scale * t, scale * float(np.exp((t * t - zeta * zeta) / 2.0)) / 2.0


def correlation(zeta: float) -> tuple[float, float]:
    """Beta(RHO_PRIOR) quantile at Phi(zeta) and its derivative by zeta."""
    a, b = RHO_PRIOR
    zeta = float(np.clip(zeta, -FARTHEST, FARTHEST))
    rho = float(np.clip(special.betaincinv(a, b, special.ndtr(zeta)), 1e-6, 1.0 - 1e-6))
    log_density = (a - 1) * np.log(rho) + (b - 1) * np.log1p(-rho) - special.betaln(a, b)
    return rho, float(np.exp(-zeta * zeta / 2.0 - log_density) / np.sqrt(2.0 * np.pi))


def ar1_slope(size: int, rho: float) -> Floats:
    """Derivative by rho of the basis of a shock."""
    lag = np.maximum(np.subtract.outer(np.arange(size), np.arange(size)), 0)
    lower = np.tril(np.ones((size, size)))
    innovation = np.sqrt(1.0 - rho * rho)
    power = np.power(rho, lag) * lower
    slope = lag * np.power(rho, np.maximum(lag - 1, 0)) * lower
    slope[:, 1:] = slope[:, 1:] * innovation - power[:, 1:] * (rho / innovation)
    return np.asarray(slope)


Block = tuple[slice, slice, float, "Floats | None"]


@dataclass(frozen=True)
class Scales:
    """Hyperparameters on their natural scale, with derivatives by ``zeta``.

    Attributes
    ----------
    values, slopes : ndarray, shape (d,)
        In the order of :meth:`Declaration.hyperparameters`.
    blocks : tuple of (slice, slice, float, ndarray or None)
        T of the dense terms: levels, coordinates, sd, basis (None for the identity).
    arrow_sd : float
    own : float
        ``1 / phi`` of a count (0 for Poisson), sigma of a Normal model.
    """

    values: Floats
    slopes: Floats
    blocks: tuple[Block, ...]
    arrow_sd: float
    own: float

    def apply(self, z: Floats) -> Floats:
        """T z of the dense terms; the first axis of ``z`` are coordinates."""
        out = np.empty((self.blocks[-1][0].stop if self.blocks else 0, *z.shape[1:]))
        for levels, coordinates, sd, basis in self.blocks:
            out[levels] = sd * (z[coordinates] if basis is None else basis @ z[coordinates])
        return out

    def adjoint(self, x: Floats) -> Floats:
        """T' x of the dense terms; the first axis of ``x`` are levels."""
        out = np.empty((self.blocks[-1][1].stop if self.blocks else 0, *x.shape[1:]))
        for levels, coordinates, sd, basis in self.blocks:
            out[coordinates] = sd * (x[levels] if basis is None else basis.T @ x[levels])
        return out


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
        self._bases = [t.basis() if t.kind in ("walk", "contrast") else None for t in self.terms]
        self._arrange(cells)

    def _arrange(self, cells: Cells) -> None:
        stepped = [t for t in self.terms if t.kind != "slope"]
        slopes = [t for t in self.terms if t.kind == "slope"]
        last = cells.term_codes(self.arrow) if self.arrow else np.zeros(len(cells), dtype=np.int32)
        order = np.argsort(last, kind="stable")
        self.y = np.ascontiguousarray(cells.response[order], dtype=float)
        self.exposure = np.ascontiguousarray(cells.exposure[order], dtype=float)
        codes = [cells.term_codes(t)[order] for t in stepped]
        covariates = [cells.covariates[t.axis][order] for t in slopes]
        self.design = Design(
            merged(codes, [t.size for t in stepped], last[order], self.dense, self.n_arrow),
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
        family = self.declaration.family
        pairs = [half_normal(zeta[self.index[f"{t.name}_sd"]], t.scale) for t in self._with_sd()]
        pairs += [correlation(zeta[self.index[f"{t.name}_rho"]]) for t in self.declaration.terms if t.has_rho]
        if family != "poisson":
            own_scale = OVERDISPERSION_SCALE if family == "negbinomial" else RESIDUAL_SCALE
            pairs.append(half_normal(zeta[-1], own_scale))
        table = np.asarray(pairs, dtype=float).reshape(-1, 2)
        values = table[:, 0]
        blocks = []
        for k, term in enumerate(self.terms):
            sd = float(values[self.index[f"{term.name}_sd"]]) if term.has_sd else term.scale
            blocks.append((self.levels[k], self.coordinates[k], sd, self._basis(k, values)))
        own = 0.0 if family == "poisson" else float(values[-1])
        # As in the exact method: the variance beyond Poisson never vanishes entirely.
        own = own**2 + 1e-9 if family == "negbinomial" else own
        arrow_sd = float(values[self.index[f"{self.arrow.name}_sd"]]) if self.arrow else 0.0
        return Scales(values, table[:, 1], tuple(blocks), arrow_sd, own)

    def _with_sd(self) -> list[Term]:
        return [t for t in self.declaration.terms if t.has_sd]

    def _basis(self, k: int, values: Floats) -> Floats | None:
        term = self.terms[k]
        return term.basis(values[self.index[f"{term.name}_rho"]]) if term.has_rho else self._bases[k]

    def bounds(self) -> tuple[tuple[int, float], ...]:
        """Coordinates of truncated slopes and their lower ends, in ascending order."""
        return tuple(
            (c.start, (t.lower - float(t.prior_mean[0])) / t.scale)
            for t, c in zip(self.terms, self.coordinates, strict=True)
            if t.lower is not None
        )

    def to_levels(self, z: Floats, scales: Scales) -> Floats:
        """T z for vectors or columns of coordinates, without the prior means."""
        p = self.p_dense
        return np.concatenate([scales.apply(z[:p]), scales.arrow_sd * z[p:]])

    def to_coordinates(self, x: Floats, scales: Scales) -> Floats:
        """T' x, the adjoint of :meth:`to_levels`."""
        k = self.dense
        return np.concatenate([scales.adjoint(x[:k]), scales.arrow_sd * x[k:]])

    def by_term(self, x: Floats) -> dict[str, Floats]:
        """Levels (first axis) by the names of their terms."""
        parts = {t.name: x[s] for t, s in zip(self.terms, self.levels, strict=True)}
        if self.arrow:
            parts[self.arrow.name] = x[self.dense :]
        return {t.name: parts[t.name] for t in self.declaration.terms}


def _slices(sizes: list[int]) -> list[slice]:
    ends = np.cumsum([0, *sizes]).tolist()
    return [slice(a, b) for a, b in pairwise(ends)]
