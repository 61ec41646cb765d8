"""The Gaussian over effects given the hyperparameters, and how well the data like those.

Standard-normal coordinates ``z`` of all terms are solved at once. Given the hyperparameters, the levels
are ``x = m + T z`` with ``T`` the block diagonal of ``sd * basis``, the linear predictors ``eta = Z x``,
and the log posterior of ``z`` is concave ::

    f(z) = l(eta) - z'z / 2,     gradient T'Z' l' - z,     -Hessian  H = I + T' G T,   G = Z'WZ,  W = -l''

*Arrow.* Every cell lies in exactly one level of every term, so the block of ``G`` that belongs to a
``pooled`` term is diagonal. The largest such term (rep x quarter: hundreds of levels) is eliminated by
its Schur complement; only the rest is factorised densely.

*Marginal.* Up to a constant, Laplace's log posterior of the hyperparameters (Tierney & Kadane 1986,
doi:10.1080/01621459.1986.10478240; Rue, Martino & Chopin 2009, doi:10.1111/j.1467-9868.2008.00700.x) ::

    L(zeta) = f(z*) - log det(H) / 2 - zeta'zeta / 2

in coordinates ``zeta`` in which every hyperparameter is standard normal a priori: an sd is
``scale * HalfNormal.ppf(Phi(zeta))`` and so on. That posterior is close to Gaussian both when the data
speak (likelihood) and when they are silent (prior).

*Skewness.* The first-order correction of the mean of ``z`` (the third-derivative term of Tierney & Kadane)::

    delta = H^-1 T'Z' (l''' * v) / 2,      v_i = var(eta_i) = z_i' T H^-1 T' z_i

*Gradient.* With s = Z'l', c = -Z'(l''' v), d = T delta, every hyperparameter that moves the levels by x.
(and T by T.) gets ::

    dL = s'x. - tr(T. H^-1 T'G) - c'x./2 + delta'(T.'s - T'G x.)

where the last term carries the dependence of log det H on the mode: one adjoint solve, shared with delta.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import linalg, special

from quotacast.errors import FitError
from quotacast.models import laplace_kernels as kernels
from quotacast.models.terms import (
    OVERDISPERSION_SCALE,
    RESIDUAL_SCALE,
    RHO_PRIOR,
    Cells,
    Codes,
    Declaration,
    Floats,
    Term,
)

#: A pooled term of fewer levels is not worth eliminating.
ARROW_SIZE = 32
MAX_NEWTON = 60
MAX_HALVINGS = 30


def half_normal(zeta: float, scale: float) -> tuple[float, float]:
    """HalfNormal(scale) quantile at Phi(zeta) and its derivative by zeta."""
    if zeta < 0:
        t = float(np.sqrt(2.0) * special.erfinv(special.ndtr(zeta)))
    else:
        t = float(-special.ndtri(special.ndtr(-zeta) / 2.0))
    return scale * t, scale * float(np.exp((t * t - zeta * zeta) / 2.0)) / 2.0


def correlation(zeta: float) -> tuple[float, float]:
    """Beta(RHO_PRIOR) quantile at Phi(zeta) and its derivative by zeta."""
    a, b = RHO_PRIOR
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


@dataclass(frozen=True)
class Scales:
    """Hyperparameters on their natural scale, with derivatives by ``zeta``.

    Attributes
    ----------
    values, slopes : ndarray, shape (d,)
        In the order of :meth:`Declaration.hyperparameters`.
    transform : ndarray, shape (dense levels, dense coordinates)
        T of the dense terms.
    arrow_sd : float
    own : float
        ``1 / phi`` of a count (0 for Poisson), sigma of a Normal model.
    """

    values: Floats
    slopes: Floats
    transform: Floats
    arrow_sd: float
    own: float


class Problem:
    """A declaration and its cells, arranged for :func:`solve`."""

    def __init__(self, declaration: Declaration, cells: Cells) -> None:
        self.declaration = declaration
        pooled = [t for t in declaration.terms if t.kind == "pooled" and t.size >= ARROW_SIZE]
        self.arrow: Term | None = max(pooled, key=lambda t: t.size, default=None)
        self.terms = tuple(t for t in declaration.terms if t is not self.arrow)
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
        self._bases = [None if t.has_rho else t.basis() for t in self.terms]
        self._arrange(cells)

    def _arrange(self, cells: Cells) -> None:
        columns = [cells.term_codes(t) + s.start for t, s in zip(self.terms, self.levels, strict=True)]
        last = cells.term_codes(self.arrow) if self.arrow else np.zeros(len(cells), dtype=np.int32)
        order = np.argsort(last, kind="stable")
        stacked = np.column_stack([*columns, last + self.dense])[order]
        self.codes: Codes = np.ascontiguousarray(stacked, dtype=np.int32)
        self.y = np.ascontiguousarray(cells.response[order], dtype=float)
        self.exposure = np.ascontiguousarray(cells.exposure[order], dtype=float)
        normal = self.declaration.family == "normal"
        self.offset = np.zeros(len(cells)) if normal else np.log(self.exposure)
        self.squares = float(cells.squares.sum()) if cells.squares is not None else 0.0
        self.y_levels = kernels.scatter(self.codes, self.y, self.size)
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
        transform = np.zeros((self.dense, self.p_dense))
        for k, term in enumerate(self.terms):
            sd = values[self.index[f"{term.name}_sd"]] if term.has_sd else term.scale
            transform[self.levels[k], self.coordinates[k]] = sd * self._basis(k, values)
        own = 0.0 if family == "poisson" else float(values[-1])
        # As in the exact method: the variance beyond Poisson never vanishes entirely.
        own = own**2 + 1e-9 if family == "negbinomial" else own
        arrow_sd = float(values[self.index[f"{self.arrow.name}_sd"]]) if self.arrow else 0.0
        return Scales(values, table[:, 1], transform, arrow_sd, own)

    def _with_sd(self) -> list[Term]:
        return [t for t in self.declaration.terms if t.has_sd]

    def _basis(self, k: int, values: Floats) -> Floats:
        basis = self._bases[k]
        return (
            self.terms[k].basis(values[self.index[f"{self.terms[k].name}_rho"]]) if basis is None else basis
        )

    def to_levels(self, z: Floats, scales: Scales) -> Floats:
        """T z for vectors or columns of coordinates, without the prior means."""
        p = self.p_dense
        return np.concatenate([scales.transform @ z[:p], scales.arrow_sd * z[p:]])

    def to_coordinates(self, x: Floats, scales: Scales) -> Floats:
        """T' x, the adjoint of :meth:`to_levels`."""
        k = self.dense
        return np.concatenate([scales.transform.T @ x[:k], scales.arrow_sd * x[k:]])

    def by_term(self, x: Floats) -> dict[str, Floats]:
        """Levels (first axis) by the names of their terms."""
        parts = {t.name: x[s] for t, s in zip(self.terms, self.levels, strict=True)}
        if self.arrow:
            parts[self.arrow.name] = x[self.dense :]
        return {t.name: parts[t.name] for t in self.declaration.terms}


def _slices(sizes: list[int]) -> list[slice]:
    ends = np.cumsum([0, *sizes]).tolist()
    return [slice(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True)]


@dataclass(frozen=True)
class Point:
    """Value and derivatives of f at some coordinates ``z``."""

    z: Floats
    x: Floats
    eta: Floats
    value: float
    gradient: Floats
    score: Floats
    w: Floats
    w1: Floats


def evaluate(problem: Problem, scales: Scales, z: Floats) -> Point:
    """Log likelihood minus z'z/2 with what Newton and the corrections need."""
    x = problem.mean + problem.to_levels(z, scales)
    eta = kernels.predict(x, problem.codes, problem.offset)
    value, w, w1, g = _moments(problem, scales.own, eta)
    score = kernels.scatter(problem.codes, g, problem.size)
    gradient = problem.to_coordinates(score, scales) - z
    return Point(z, x, eta, value - float(z @ z) / 2.0, gradient, score, w, w1)


def _moments(problem: Problem, own: float, eta: Floats) -> tuple[float, Floats, Floats, Floats]:
    y = problem.y
    if problem.declaration.family == "normal":
        n, residual = problem.exposure, y - eta
        squares = problem.squares + float(n @ residual**2)
        value = -float(n.sum()) * np.log(own) - squares / (2.0 * own**2)
        return value, n / own**2, np.zeros_like(eta), n * residual / own**2
    w, w1, g = np.empty_like(eta), np.empty_like(eta), np.empty_like(eta)
    value = kernels.count_moments(eta, y, own, w, w1, g)
    if own > 0:
        value += float(problem.above @ np.log1p(own * np.arange(problem.above.size)))
    return value, w, w1, g


class Factor:
    """H = I + T'GT factorised, the arrow's coordinates eliminated."""

    def __init__(self, problem: Problem, scales: Scales, w: Floats) -> None:
        self.problem, self.scales = problem, scales
        self.block, self.border, self.diagonal = kernels.gram(
            problem.codes, w, problem.dense, problem.n_arrow
        )
        t, s = scales.transform, scales.arrow_sd
        self.corner = 1.0 + s * s * self.diagonal
        self.edge = s * (self.border @ t).T
        scaled = self.edge / np.sqrt(self.corner)
        schur = t.T @ (self.block @ t) - scaled @ scaled.T
        schur[np.diag_indices_from(schur)] += 1.0
        self.lower, failed = linalg.lapack.dpotrf(schur, lower=1, clean=1)
        if failed:
            raise FitError(f"model {problem.declaration.name}: the curvature is not positive definite")

    @cached_property
    def log_det(self) -> float:
        """log det H."""
        return float(2.0 * np.log(np.diag(self.lower)).sum() + np.log(self.corner).sum())

    def solve(self, r: Floats) -> Floats:
        """H^-1 r."""
        p = self.problem.p_dense
        dense = linalg.lapack.dpotrs(self.lower, r[:p] - self.edge @ (r[p:] / self.corner), lower=1)[0]
        return np.concatenate([dense, (r[p:] - self.edge.T @ dense) / self.corner])

    def colour(self, noise: Floats) -> Floats:
        """Columns of white noise, shape (dimension, draws), to covariance H^-1."""
        p = self.problem.p_dense
        dense = linalg.lapack.dtrtrs(self.lower, noise[:p], lower=1, trans=1)[0]
        corner = self.corner[:, None]
        return np.concatenate([dense, noise[p:] / np.sqrt(corner) - (self.edge.T @ dense) / corner])

    @cached_property
    def covariance(self) -> tuple[Floats, Floats, Floats]:
        """H^-1 as its dense block, the border (arrow x dense) and the arrow's diagonal."""
        inverse = linalg.lapack.dpotri(self.lower, lower=1)[0]
        block = np.tril(inverse) + np.tril(inverse, -1).T
        share = self.edge.T / self.corner[:, None]
        border = -share @ block
        return block, border, 1.0 / self.corner - np.einsum("ij,ij->i", border, share)

    def times_gram(self, x: Floats) -> Floats:
        """G x for a vector of levels."""
        k = self.problem.dense
        return np.concatenate(
            [self.block @ x[:k] + self.border.T @ x[k:], self.border @ x[:k] + self.diagonal * x[k:]]
        )

    def predictor_variances(self) -> Floats:
        """Variance of every cell's linear predictor."""
        block, border, diagonal = self.covariance
        t, s = self.scales.transform, self.scales.arrow_sd
        return kernels.variances(self.problem.codes, t @ block @ t.T, s * (border @ t.T), s * s * diagonal)


@dataclass(frozen=True)
class Conditional:
    """The Gaussian over ``z`` at one ``zeta``."""

    problem: Problem
    zeta: Floats
    scales: Scales
    point: Point
    factor: Factor
    iterations: int

    @property
    def log_marginal(self) -> float:
        """L(zeta) up to a constant."""
        return self.point.value - self.factor.log_det / 2.0 - float(self.zeta @ self.zeta) / 2.0

    @cached_property
    def variances(self) -> Floats:
        """Variance of every cell's linear predictor."""
        return self.factor.predictor_variances()

    @cached_property
    def third(self) -> Floats:
        """-Z'(l''' v) by level."""
        return kernels.scatter(self.problem.codes, self.point.w1 * self.variances, self.problem.size)

    @cached_property
    def shift(self) -> Floats:
        """Skewness correction of the mean of ``z``."""
        if self.problem.declaration.family == "normal":
            return np.zeros(self.problem.dimension)
        return -0.5 * self.factor.solve(self.problem.to_coordinates(self.third, self.scales))

    def gradient(self) -> Floats:
        """dL / dzeta, shape (d,)."""
        problem, scales = self.problem, self.scales
        out = np.zeros(len(problem.names))
        shift = problem.to_levels(self.shift, scales)
        moved = self.factor.times_gram(shift)
        deviation = self.point.x - problem.mean
        block, _, corner = self.factor.covariance
        for term, levels, left in self._blocks(np.diag(block), corner):
            slope = self.point.score[levels] - self.third[levels] / 2.0 - moved[levels]
            per_log_sd = slope @ deviation[levels] + shift[levels] @ self.point.score[levels] - left
            j = problem.index[f"{term.name}_sd"]
            out[j] = per_log_sd * scales.slopes[j] / scales.values[j]
        for k, term in enumerate(problem.terms):
            if term.has_rho:
                j = problem.index[f"{term.name}_rho"]
                out[j] = self._rho_gradient(k, scales.values[j], moved) * scales.slopes[j]
        if problem.declaration.family != "poisson":
            out[-1] = self._own_gradient(shift) * scales.slopes[-1]
        return out - self.zeta

    def _blocks(self, dense: Floats, corner: Floats) -> list[tuple[Term, slice, float]]:
        """(term, levels, dimension - trace of H^-1) of every term with an sd."""
        problem = self.problem
        rows = [
            (t, s, float(np.sum(1.0 - dense[c])))
            for t, s, c in zip(problem.terms, problem.levels, problem.coordinates, strict=True)
            if t.has_sd
        ]
        if problem.arrow:
            rows.append((problem.arrow, slice(problem.dense, problem.size), float(np.sum(1.0 - corner))))
        return rows

    def _rho_gradient(self, k: int, rho: float, moved: Floats) -> float:
        problem, scales, factor = self.problem, self.scales, self.factor
        term, levels, where = problem.terms[k], problem.levels[k], problem.coordinates[k]
        slope = scales.values[problem.index[f"{term.name}_sd"]] * ar1_slope(term.size, rho)
        block, border, _ = factor.covariance
        turned = block[where] @ (scales.transform.T @ factor.block[:, levels])
        turned += scales.arrow_sd * (border[:, where].T @ factor.border[:, levels])
        x_dot = slope @ self.point.z[where]
        score = self.point.score[levels]
        return float(
            (score - self.third[levels] / 2.0 - moved[levels]) @ x_dot
            + score @ (slope @ self.shift[where])
            - np.sum(slope * turned.T)
        )

    def _own_gradient(self, shift: Floats) -> float:
        """By the overdispersion or by sigma; ``shift`` in levels."""
        problem, own, point = self.problem, self.scales.own, self.point
        if problem.declaration.family == "normal":
            n, residual = problem.exposure, problem.y - point.eta
            squares = problem.squares + float(n @ residual**2)
            curvature = -2.0 / own * float(point.w @ self.variances)
            return -float(n.sum()) / own + squares / own**3 - curvature / 2.0
        g, w = np.empty_like(point.eta), np.empty_like(point.eta)
        total = kernels.dispersion_derivatives(point.eta, problem.y, own, g, w)
        j = np.arange(problem.above.size)
        total += float(problem.above @ (j / (1.0 + own * j))) - float(w @ self.variances) / 2.0
        total += float(shift @ kernels.scatter(problem.codes, g, problem.size))
        return 2.0 * float(self.scales.values[-1]) * total


def solve(problem: Problem, zeta: Floats, start: Floats, tolerance: float = 1e-7) -> Conditional:
    """Newton's method for the mode of ``z``.

    Parameters
    ----------
    problem : Problem
    zeta : ndarray, shape (d,)
    start : ndarray, shape (dimension,)
    tolerance : float
        Largest Newton decrement (about twice the distance to the maximum of f, in its units).

    Raises
    ------
    FitError
        If Newton does not converge or meets values that are not finite.
    """
    scales = problem.scales(zeta)
    point = evaluate(problem, scales, start)
    if not np.isfinite(point.value):
        point = evaluate(problem, scales, np.zeros(problem.dimension))
    for iteration in range(MAX_NEWTON):
        factor = Factor(problem, scales, point.w)
        step = factor.solve(point.gradient)
        decrement = float(point.gradient @ step)
        if not np.isfinite(decrement):
            break
        if decrement <= tolerance:
            return Conditional(problem, zeta, scales, point, factor, iteration + 1)
        point = _advance(problem, scales, point, step, decrement)
    raise FitError(
        f"model {problem.declaration.name}: Newton's method found no mode of the effects at hyperparameters"
        f" {dict(zip(problem.names, scales.values.round(6).tolist(), strict=True))}; fit it with nuts"
    )


def _advance(problem: Problem, scales: Scales, point: Point, step: Floats, decrement: float) -> Point:
    """The longest of the steps 1, 1/2, 1/4, ... that improves f enough."""
    length = 1.0
    slack = 1e-12 * (1.0 + abs(point.value))
    for _ in range(MAX_HALVINGS):
        new = evaluate(problem, scales, point.z + length * step)
        if new.value >= point.value + 1e-4 * length * decrement - slack:
            return new
        length /= 2.0
    raise FitError(f"model {problem.declaration.name}: no step along Newton's direction improves the fit")
