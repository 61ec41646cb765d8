"""The Gaussian over effects given the hyperparameters, and how well the data like those.

Standard-normal coordinates ``z`` of all terms are solved at once. Given the hyperparameters, the levels
are ``x = m + T z`` with ``T`` the block diagonal of ``sd * basis``, the linear predictors ``eta = Z x``,
and the log posterior of ``z`` is concave ::

    f(z) = l(eta) - z'z / 2,     gradient T'Z' l' - z,     -Hessian  H = I + T' G T,   G = Z'WZ,  W = -l''

*Arrow.* Every cell lies in exactly one level of every term with levels, so the block of ``G`` that
belongs to a ``pooled`` term is diagonal. The largest such term (rep x quarter: hundreds of levels) is
eliminated by its Schur complement; only the rest is factorised densely.

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
from quotacast.models.laplace_design import Gram
from quotacast.models.laplace_problem import Problem, Scales, ar1_slope
from quotacast.models.terms import Floats, Term

MAX_NEWTON = 60
MAX_HALVINGS = 30


@dataclass(frozen=True)
class Point:
    """Value and derivatives of f at some coordinates ``z``; ``expected`` is every cell's mean, ``gram`` G."""

    z: Floats
    x: Floats
    expected: Floats
    value: float
    gradient: Floats
    score: Floats
    w: Floats
    w1: Floats
    gram: Gram | None = None


def evaluate(problem: Problem, scales: Scales, z: Floats) -> Point:
    """Log likelihood minus z'z/2 with what Newton and the corrections need."""
    x = problem.mean + scales.to_levels(z)
    if problem.declaration.family == "poisson":
        return _evaluate_poisson(problem, scales, z, x)
    if problem.declaration.family == "normal":
        expected = problem.design.predict(x)
        value, w, w1, g = _normal_moments(problem, scales.own, expected)
    else:
        expected = problem.design.means(x)
        value, w, w1, g = _count_moments(problem, scales.own, expected)
        value += float(problem.y_levels @ x) + problem.y_exposure
    score = problem.design.scatter(g)
    gradient = scales.to_coordinates(score) - z
    return Point(z, x, expected, value - float(z @ z) / 2.0, gradient, score, w, w1)


def _evaluate_poisson(problem: Problem, scales: Scales, z: Floats, x: Floats) -> Point:
    """Without a pass over the cells for the score: -l'' is the mean, so that the sums in G serve it too."""
    expected = problem.design.means(x)
    gram = problem.design.gram(expected)
    value = float(problem.y_levels @ x) + problem.y_exposure - float(gram[2].sum()) - float(z @ z) / 2.0
    score = problem.y_levels - problem.design.summed(gram, expected)
    return Point(z, x, expected, value, scales.to_coordinates(score) - z, score, expected, expected, gram)


def _normal_moments(problem: Problem, own: float, eta: Floats) -> tuple[float, Floats, Floats, Floats]:
    n, residual = problem.exposure, problem.y - eta
    squares = problem.squares + float(n @ residual**2)
    value = -float(n.sum()) * np.log(own) - squares / (2.0 * own**2)
    return value, n / own**2, np.zeros_like(eta), n * residual / own**2


def _count_moments(problem: Problem, own: float, mu: Floats) -> tuple[float, Floats, Floats, Floats]:
    w, w1, g = np.empty_like(mu), np.empty_like(mu), np.empty_like(mu)
    value = kernels.count_moments(mu, problem.y, own, w, w1, g)
    if own > 0:
        value += float(problem.above @ np.log1p(own * np.arange(problem.above.size)))
    return value, w, w1, g


class Factor:
    """H = I + T'GT factorised, the arrow's coordinates eliminated.

    Eliminated are levels rather than coordinates, so that T touches the dense block alone ::

        S = G_dd - V V',  V = s G_da corner^-1/2;   Schur complement  I + T'S T;   corner = 1 + s^2 G_aa
    """

    def __init__(self, problem: Problem, scales: Scales, point: Point) -> None:
        self.problem, self.scales = problem, scales
        gram = problem.design.gram(point.w) if point.gram is None else point.gram
        self.block, self.border, self.diagonal = gram
        s = scales.arrow_sd
        self.corner = 1.0 + s * s * self.diagonal
        scaled = self.border * (s / np.sqrt(self.corner))
        # Of a symmetric matrix the lower triangle in Fortran's order, which is the upper in C's, is used.
        schur = linalg.blas.dsyrk(-1.0, scaled.T, beta=1.0, c=self.block.T, trans=1, lower=1)
        self.lower, failed = linalg.lapack.dpotrf(
            scales.congruent(schur.T).T, lower=1, clean=1, overwrite_a=1
        )
        if failed:
            raise FitError(f"model {problem.declaration.name}: the curvature is not positive definite")

    @cached_property
    def log_det(self) -> float:
        """log det H."""
        return float(2.0 * np.log(np.diag(self.lower)).sum() + np.log(self.corner).sum())

    def solve(self, r: Floats) -> Floats:
        """H^-1 r."""
        p, share = self.problem.p_dense, r[self.problem.p_dense :] / self.corner
        r = r.copy()
        r[:p] -= self._across(share)
        r[:p] = linalg.lapack.dpotrs(self.lower, r[:p], lower=1)[0]
        r[p:] = share - self._along(r[:p]) / self.corner
        return r

    def colour(self, noise: Floats) -> Floats:
        """Columns of white noise, shape (dimension, draws), to covariance H^-1."""
        p = self.problem.p_dense
        out = np.empty_like(noise)
        out[:p] = linalg.lapack.dtrtrs(self.lower, noise[:p], lower=1, trans=1)[0]
        corner = self.corner[:, None]
        out[p:] = noise[p:] / np.sqrt(corner) - self._along(out[:p]) / corner
        return out

    def _across(self, r: Floats) -> Floats:
        """The block of H between dense and arrow coordinates times the arrow's."""
        return self.scales.adjoint((self.scales.arrow_sd * (self.border @ r))[:, None])[:, 0]

    def _along(self, z: Floats) -> Floats:
        """That block's transpose times dense coordinates, one or several columns."""
        levels = self.scales.apply(z.reshape(z.shape[0], -1))
        return self.scales.arrow_sd * (self.border.T @ levels).reshape(-1, *z.shape[1:])

    def truncate(self, noise: Floats, centre: Floats) -> Floats:
        """Bend white noise so that truncated slopes keep above their lower ends, in place.

        Parameters
        ----------
        noise : ndarray, shape (dimension, draws)
        centre : ndarray, shape (dimension,)
            Mean of the coordinates.

        Returns
        -------
        ndarray, shape (draws,)
            Log of the Gaussian's mass that was not cut off: sequential conditioning (the simulator of
            Geweke, Hajivassiliou & Keane; Keane 1994, doi:10.2307/2951478) from the last coordinate of the
            triangular factor, where slopes are, to the first. A draw's density is the Gaussian's over this.
        """
        kept = np.zeros(noise.shape[1])
        p, low = self.problem.p_dense, self.lower
        for at, bound in reversed(self.problem.bounds()):
            # the deviations of the coordinates behind, which are settled
            edge = np.full(noise.shape[1], low[at, at] * (bound - centre[at]))
            if at + 1 < p:
                rest = low[at + 1 :, at + 1 :]
                edge += low[at + 1 :, at] @ linalg.lapack.dtrtrs(rest, noise[at + 1 : p], lower=1, trans=1)[0]
            mass = special.log_ndtr(-edge)
            noise[at] = -special.ndtri_exp(mass + special.log_ndtr(-noise[at]))
            kept += mass
        return kept

    @cached_property
    def inverse(self) -> Floats:
        """H^-1 of the dense coordinates, in the triangle that C's order has above its diagonal."""
        return np.asarray(linalg.lapack.dpotri(self.lower, lower=1)[0].T)

    @cached_property
    def covariance(self) -> tuple[Floats, Floats, Floats]:
        """Covariance of levels: the dense block, the border (dense x arrow) and the arrow's diagonal.

        With U = s G_da / corner they are B = T H_dd^-1 T', -s B U and s^2 (1 / corner + diag(U'B U)).
        """
        s, block = self.scales.arrow_sd, self.scales.spread(self.inverse)
        border = block @ (self.border * (-s * s / self.corner))
        return block, border, s * s * self.corner_variances(border)

    def corner_variances(self, border: Floats) -> Floats:
        """Diagonal of H^-1 of the arrow's coordinates, from the covariance of levels' border."""
        return (1.0 - kernels.column_products(self.border, border)) / self.corner

    def times_gram(self, x: Floats) -> Floats:
        """G x for a vector of levels."""
        k = self.problem.dense
        return np.concatenate(
            [self.block @ x[:k] + self.border @ x[k:], self.border.T @ x[:k] + self.diagonal * x[k:]]
        )


@dataclass(frozen=True)
class Conditional:
    """The Gaussian over ``z`` at one ``zeta``; ``step`` is Newton's from the point, small as it is."""

    problem: Problem
    zeta: Floats
    scales: Scales
    point: Point
    factor: Factor
    step: Floats
    iterations: int

    @property
    def log_marginal(self) -> float:
        """L(zeta) up to a constant."""
        return self.point.value - self.factor.log_det / 2.0 - float(self.zeta @ self.zeta) / 2.0

    @cached_property
    def variances(self) -> Floats:
        """Variance of every cell's linear predictor."""
        return self.problem.design.variances(*self.factor.covariance)

    @cached_property
    def third(self) -> Floats:
        """-Z'(l''' v) by level."""
        return self.problem.design.scatter(self.point.w1 * self.variances)

    @cached_property
    def shift(self) -> Floats:
        """Skewness correction of the mean of ``z``."""
        if self.problem.declaration.family == "normal":
            return np.zeros(self.problem.dimension)
        return -0.5 * self.factor.solve(self.scales.to_coordinates(self.third))

    def gradient(self) -> Floats:
        """dL / dzeta, shape (d,)."""
        problem, scales = self.problem, self.scales
        out = np.zeros(len(problem.names))
        shift = scales.to_levels(self.shift)
        moved = self.factor.times_gram(shift)
        deviation = self.point.x - problem.mean
        corner = self.factor.corner_variances(self.factor.covariance[1])
        for term, levels, left in self._blocks(np.diag(self.factor.inverse), corner):
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
        inverse = np.triu(factor.inverse) + np.triu(factor.inverse, 1).T
        share = factor.border * (scales.arrow_sd**2 / factor.corner)
        turned = inverse[where] @ scales.adjoint(factor.block[:, levels] - share @ factor.border[levels].T)
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
            n, residual = problem.exposure, problem.y - point.expected
            squares = problem.squares + float(n @ residual**2)
            curvature = -2.0 / own * float(point.w @ self.variances)
            return -float(n.sum()) / own + squares / own**3 - curvature / 2.0
        g, w = np.empty_like(point.expected), np.empty_like(point.expected)
        total = kernels.dispersion_derivatives(point.expected, problem.y, own, g, w)
        j = np.arange(problem.above.size)
        total += float(problem.above @ (j / (1.0 + own * j))) - float(w @ self.variances) / 2.0
        total += float(shift @ problem.design.scatter(g))
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
    with np.errstate(all="ignore"):  # a trial step may overflow; it is then halved
        return _newton(problem, zeta, start, tolerance)


def _newton(problem: Problem, zeta: Floats, start: Floats, tolerance: float) -> Conditional:
    scales = problem.scales(zeta)
    point = evaluate(problem, scales, start)
    if not np.isfinite(point.value):
        point = evaluate(problem, scales, np.zeros(problem.dimension))
    for iteration in range(MAX_NEWTON):
        factor = Factor(problem, scales, point)
        step = factor.solve(point.gradient)
        decrement = float(point.gradient @ step)
        if not np.isfinite(decrement):
            break
        if decrement <= tolerance:
            return Conditional(problem, zeta, scales, point, factor, step, iteration + 1)
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
