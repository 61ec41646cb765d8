"""The fast method: nested Laplace with an importance check.

1. Mode of the hyperparameters by BFGS on Laplace's marginal ``L(zeta)`` with its analytic gradient, the
   curvature there by central differences of that gradient (:mod:`quotacast.models.laplace_conditional`).
2. Hyperparameters: scrambled Sobol points mapped to a multivariate t around the mode, every principal
   axis stretched separately to its two sides (in the manner of Rue, Martino & Chopin 2009, section 6.5).
3. Effects: at every point an antithetic sample of the Gaussian at the mode, its mean corrected for
   skewness (Tierney & Kadane 1986), truncated where a slope's prior is.
4. Every pair of hyperparameters and effects is weighted by its exact posterior density over the density
   it was drawn from ::

       log w = l(eta) - z'z/2 - zeta'zeta/2 - log q(zeta) - log N(z; z* + delta, H^-1)

   so that what Laplace leaves out (skewness, tails, hyperparameters near zero) is put back. The largest
   weights are smoothed by a generalised Pareto fit (PSIS; Vehtari, Simpson, Gelman, Yao & Gabry 2024,
   arXiv:1507.02646), whose shape k-hat says how far the result can be trusted: under .7 it can.
5. Draws: systematic resampling by weight, in a seeded random order; then every draw's sds and correlations of
   terms of two steps or more once again, given its levels (:mod:`quotacast.models.laplace_gibbs`), which
   costs next to nothing and evens out what so few points leave rough.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize, special, stats

from quotacast.errors import FitError
from quotacast.models import laplace_kernels as kernels
from quotacast.models.laplace_conditional import Conditional, solve
from quotacast.models.laplace_gibbs import redraw
from quotacast.models.laplace_problem import Problem
from quotacast.models.terms import Cells, Declaration, Floats, Posterior

#: Points of hyperparameters, and again with the next number where k-hat is above its limit.
POINTS = (256, 512, 1024)
#: Fits of so many draws or more take twice the points: with 256 the far tail of an sd that may be near zero
#: is rough, which a track record, made of many fits, evens out and a single plan does not.
MANY_DRAWS = 2000
KHAT_LIMIT = 0.7
#: Candidates per requested draw.
CANDIDATES = 4
#: Degrees of freedom of the proposal for the hyperparameters in every try: a heavier tail bounds the weights
#: of points far out, at some loss of efficiency.
PROPOSAL_DF = (15.0, 5.0, 3.0)
#: How far out, in standard deviations, the proposal's width is measured, and its limits. The wider counts:
#: a proposal that is too narrow on one side costs far more than one that is too wide.
REACHES = (1.5, 3.0, 5.0)
KNOTS = np.array([*(-r for r in reversed(REACHES)), 0.0, *REACHES])
STRETCH = (0.5, 2.5)
#: Least curvature of the proposal; the prior alone has 1.
LEAST_CURVATURE = 0.4
#: Step of the finite differences in prior standard deviations.
STEP = 0.1
#: Newton decrement at which a sampled point's Gaussian is good enough: the weights correct the rest.
LOOSE = 0.3


def fit_laplace(declaration: Declaration, cells: Cells, *, draws: int = 1000, seed: int = 1) -> Posterior:
    """Approximate the posterior of a declared model.

    Parameters
    ----------
    declaration, cells
        The model and its sufficient statistics.
    draws : int
    seed : int

    Returns
    -------
    Posterior
        ``diagnostics`` holds ``method``, ``khat`` (do not trust the fit above .7), ``hyper_points``,
        ``importance_ess`` (effective number of candidates), ``newton_iterations`` and ``converged``.

    Raises
    ------
    FitError
        If no mode is found.
    """
    with _one_blas_thread():
        return _fit(declaration, cells, draws, seed)


class _OneBlasThread:
    """BLAS kept to one thread while any fit runs.

    The matrices are too small to share out: on two busy cores a fit with BLAS' own threads took fifty times
    as long. Fits that overlap share the limit; the last one out restores what was there. Only the thread that
    set a limit may lift it, so a thread of its own does both.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if self._running == 0:
                self._set()
            self._running += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1
                if self._running == 0:
                    self._lift()

    def _set(self) -> None:
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped,unused-ignore]

        self._owner = ThreadPoolExecutor(1)
        self._limit = self._owner.submit(threadpool_limits, limits=1, user_api="blas").result()

    def _lift(self) -> None:
        self._owner.submit(self._limit.__exit__, None, None, None).result()
        self._owner.shutdown()


_one_blas_thread = _OneBlasThread()


def _fit(declaration: Declaration, cells: Cells, draws: int, seed: int) -> Posterior:
    problem = Problem(declaration, cells)
    mode = find_mode(problem)
    proposal, guess = split_t(problem, mode)
    finer = 2 if draws >= MANY_DRAWS else 1
    for number, (points, df) in enumerate(zip(POINTS, PROPOSAL_DF, strict=True)):
        # its own points for every try: the same ones would bring back the one whose weight was too large
        sample = propose(problem, guess, replace(proposal, df=df), finer * points, draws, (seed, number))
        weights, khat = smoothed_weights(sample.log_weights.ravel())
        if khat <= KHAT_LIMIT:
            break
    rng = np.random.default_rng([seed, 2])
    chosen = rng.permutation(systematic(weights, draws, float(rng.random())))
    point, column = np.divmod(chosen, sample.log_weights.shape[1])
    levels = problem.by_term(np.ascontiguousarray(sample.x[point, :, column].T))
    effects = {name: np.ascontiguousarray(of_term.T) for name, of_term in levels.items()}
    hyper = {name: sample.hyper[point, j] for j, name in enumerate(problem.names)}
    return Posterior(
        effects,
        redraw(declaration, effects, hyper, np.random.default_rng([seed, 3])),
        {
            "method": "laplace",
            "khat": round(khat, 4),
            "hyper_points": int(sample.hyper.shape[0]),
            "importance_ess": round(float(1.0 / np.sum(weights**2)), 1),
            "newton_iterations": mode.iterations + sample.iterations,
            "converged": mode.converged,
        },
    )


@dataclass(frozen=True)
class Mode:
    """The mode of L, its curvature and how the effects' mode moves with ``zeta``."""

    zeta: Floats
    value: float
    z: Floats
    curvature: Floats
    slope: Floats
    iterations: int
    converged: bool


def find_mode(problem: Problem) -> Mode:
    """Maximise the Laplace marginal over the hyperparameters."""
    d = len(problem.names)
    z, iterations = np.zeros(problem.dimension), 0

    def negative(zeta: Floats) -> tuple[float, Floats]:
        nonlocal z, iterations
        try:
            found = solve(problem, zeta, z, 1e-5)
        except FitError:  # a step far too long, to an sd of 0 or beyond: the line search takes a shorter one
            return np.inf, np.zeros(d)
        z, iterations = found.point.z, iterations + found.iterations
        return -found.log_marginal, -found.gradient()

    zeta, converged = np.zeros(d), True
    if d:
        result = optimize.minimize(negative, zeta, jac=True, method="BFGS", options={"gtol": 1e-2})
        zeta, converged = result.x, bool(np.max(np.abs(result.jac)) < 0.2)
        if not np.all(np.isfinite(zeta)):
            raise FitError(
                f"model {problem.declaration.name}: hyperparameters have no mode; fit it with nuts"
            )
    centre = solve(problem, zeta, z)
    curvature, slope = np.zeros((d, d)), np.zeros((problem.dimension, d))
    for j, e in enumerate(np.eye(d) * STEP):
        up, down = (solve(problem, zeta + s * e, centre.point.z, 1e-5) for s in (1.0, -1.0))
        curvature[j] = (down.gradient() - up.gradient()) / (2.0 * STEP)
        slope[:, j] = (up.point.z - down.point.z) / (2.0 * STEP)
        iterations += up.iterations + down.iterations
    curvature = (curvature + curvature.T) / 2.0
    return Mode(zeta, centre.log_marginal, centre.point.z, curvature, slope, iterations, converged)


@dataclass(frozen=True)
class SplitT:
    """A t distribution with its own scale to each side of every principal axis.

    Attributes
    ----------
    centre : ndarray, shape (d,)
    axes : ndarray, shape (d, d)
        One axis per column.
    below, above : ndarray, shape (d,)
        Scales to the negative and the positive side.
    df : float
    """

    centre: Floats
    axes: Floats
    below: Floats
    above: Floats
    df: float

    def points(self, n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """``n`` scrambled Sobol points, shape (n, d), and their log densities up to a constant."""
        d = self.centre.size
        if d == 0:
            return np.zeros((1, 0)), np.zeros(1)
        u = stats.qmc.Sobol(d + 1, seed=rng).random(n)
        u = np.clip(u, 1e-9, 1.0 - 1e-9)
        spread = np.sqrt(self.df / stats.chi2.ppf(u[:, -1], self.df))
        # A side is taken in proportion to its scale: then the density has no jump in the middle.
        share = self.below / (self.below + self.above)
        low = u[:, :-1] < share
        half = np.where(low, u[:, :-1] / share / 2.0, 1.0 - (1.0 - u[:, :-1]) / (1.0 - share) / 2.0)
        t = special.ndtri(half) * spread[:, None]
        log_density = -(self.df + d) / 2.0 * np.log1p(np.sum(t * t, axis=1) / self.df)
        return self.centre + (t * np.where(low, self.below, self.above)) @ self.axes.T, log_density


@dataclass(frozen=True)
class Guess:
    """Where the effects' mode will be found: near what moves along each axis alone add up to.

    Attributes
    ----------
    mode : Mode
    inverse : ndarray, shape (d, d)
        From a move of ``zeta`` to its parts along the axes.
    moves : ndarray, shape (d, knots, dimension)
        How the effects' mode moves as an axis goes to each of :data:`KNOTS`; linear in between and beyond.
    """

    mode: Mode
    inverse: Floats
    moves: Floats

    def at(self, zeta: Floats) -> Floats:
        """Where to start looking at ``zeta``, shape (dimension,)."""
        along = self.inverse @ (zeta - self.mode.zeta)
        below = np.clip(np.searchsorted(KNOTS, along) - 1, 0, KNOTS.size - 2)
        share = (along - KNOTS[below]) / (KNOTS[below + 1] - KNOTS[below])
        axis = np.arange(along.size)
        moved = (1.0 - share) @ self.moves[axis, below] + share @ self.moves[axis, below + 1]
        return np.asarray(self.mode.z + moved)


def split_t(problem: Problem, mode: Mode) -> tuple[SplitT, Guess]:
    """Fit the proposal: how far to each side of each axis does L fall as a t would?"""
    values, axes = linalg.eigh(mode.curvature)
    # The symmetric root keeps the axes close to the hyperparameters themselves, along which the posterior
    # is skew: flat where an sd goes to zero, steep where it grows.
    scale = np.sqrt(np.maximum(values, LEAST_CURVATURE))
    root = (axes / scale) @ axes.T
    widths = np.empty((KNOTS.size, values.size))
    moves = np.zeros((values.size, KNOTS.size, problem.dimension))
    for k, j in product(np.flatnonzero(KNOTS), range(values.size)):
        move = KNOTS[k] * root[:, j]
        found = solve(problem, mode.zeta + move, mode.z + mode.slope @ move, LOOSE)
        fall = max(mode.value - found.log_marginal, 1e-3)
        widths[k, j] = np.clip(abs(KNOTS[k]) / np.sqrt(2.0 * fall), *STRETCH)
        moves[j, k] = found.point.z + found.step - mode.z
    below, above = widths[KNOTS < 0].max(axis=0), widths[KNOTS > 0].max(axis=0)
    return SplitT(mode.zeta, root, below, above, PROPOSAL_DF[0]), Guess(mode, (axes * scale) @ axes.T, moves)


@dataclass(frozen=True)
class Sample:
    """Weighted candidates.

    Attributes
    ----------
    hyper : ndarray, shape (points, d)
    x : ndarray, shape (points, levels, candidates per point)
    log_weights : ndarray, shape (points, candidates per point)
    iterations : int
    """

    hyper: Floats
    x: Floats
    log_weights: Floats
    iterations: int


def propose(
    problem: Problem, guess: Guess, proposal: SplitT, points: int, draws: int, seed: tuple[int, int]
) -> Sample:
    """Draw hyperparameters and effects and weigh them by their exact posterior density.

    Parameters
    ----------
    points, draws : int
        Points of the hyperparameters, and draws that are wanted in the end.
    seed : tuple of int
        That of the fit, and the number of the try.
    """
    zetas, log_q = proposal.points(points, np.random.default_rng([seed[0], 0, seed[1]]))
    points = zetas.shape[0]
    half = max(2, -(-CANDIDATES * draws // (2 * points)))
    rng = np.random.default_rng([seed[0], 1, seed[1]])
    hyper = np.empty((points, len(problem.names)))
    x = np.empty((points, problem.size, 2 * half))
    log_weights = np.empty((points, 2 * half))
    iterations = 0
    for i, zeta in enumerate(zetas):
        try:
            found = solve(problem, zeta, guess.at(zeta), LOOSE)
        except FitError:  # so far out that the curvature overflows: no posterior mass there
            hyper[i], x[i], log_weights[i] = 0.0, 0.0, -np.inf
            continue
        hyper[i] = found.scales.values
        x[i], log_weights[i] = candidates(found, rng.standard_normal((problem.dimension, half)))
        log_weights[i] -= log_q[i]
        iterations += found.iterations
    if np.isnan(log_weights).any() or not np.isfinite(log_weights.max()):
        raise FitError(
            f"model {problem.declaration.name}: importance weights are not finite; fit it with nuts"
        )
    return Sample(hyper, x, log_weights, iterations)


def candidates(found: Conditional, noise: Floats) -> tuple[Floats, Floats]:
    """Antithetic draws of the levels given ``zeta`` and their log weights before ``q(zeta)``."""
    problem, scales = found.problem, found.scales
    centre = found.point.z + found.step + found.shift
    if problem.bounds():
        noise = np.concatenate([noise, -noise], axis=1)
        kept = found.factor.truncate(noise, centre)
        z = centre[:, None] + found.factor.colour(noise)
        squares = kernels.column_products(noise, noise)
    else:
        kept, deviation = np.zeros(2 * noise.shape[1]), found.factor.colour(noise)
        z = kernels.to_both_sides(centre, deviation)
        squares = np.tile(kernels.column_products(noise, noise), 2)
    x = scales.to_levels(z)
    x += problem.mean[:, None]
    if problem.declaration.family == "normal":
        return x, found.log_marginal + kept
    own = scales.own
    log_weights = kept + problem.y_levels @ x + problem.y_exposure + _likelihoods(problem, own, x)
    if own > 0:
        log_weights += float(problem.above @ np.log1p(own * np.arange(problem.above.size)))
    log_weights -= float(found.zeta @ found.zeta) / 2.0
    log_weights += (squares - kernels.column_products(z, z) - found.factor.log_det) / 2.0
    return x, log_weights


def _likelihoods(problem: Problem, own: float, x: Floats) -> Floats:
    """What depends on the cells' means in the log likelihood of a count, shape (draws,)."""
    design = problem.design
    factor, extra = np.exp(design.columns.fold(x)), design.factors(x)
    if own == 0:
        return kernels.poisson_likelihoods(factor, *design.columns.runs, problem.exposure, extra)
    return kernels.count_likelihoods(
        factor, design.columns.codes, problem.exposure, problem.y, problem.by_response, own, extra
    )


def smoothed_weights(log_weights: Floats) -> tuple[Floats, float]:
    """Normalised Pareto-smoothed importance weights and k-hat (Vehtari et al. 2024)."""
    n = log_weights.size
    w = np.exp(log_weights - log_weights.max())
    tail = int(min(n // 5, np.ceil(3.0 * np.sqrt(n))))
    ascending = np.argsort(w, kind="stable")
    order, cutoff = ascending[n - tail :], float(w[ascending[n - tail - 1]])
    if tail < 5 or float(w[order[tail // 4]]) - cutoff <= 1e-12:
        return w / w.sum(), 0.0  # nothing to smooth: the proposal is the posterior
    k, sigma = pareto_fit(w[order] - cutoff)
    p = (np.arange(tail) + 0.5) / tail
    quantile = -np.log1p(-p) if abs(k) < 1e-9 else np.expm1(-k * np.log1p(-p)) / k
    w[order] = np.minimum(cutoff + sigma * quantile, 1.0)
    return w / w.sum(), k


def pareto_fit(excess: Floats) -> tuple[float, float]:
    """Shape and scale of a generalised Pareto distribution.

    Zhang & Stephens (2009, doi:10.1198/tech.2009.08017); ``excess`` is sorted. The shape carries the weak
    prior of Vehtari et al. (2024), worth ten points at .5.
    """
    n = excess.size
    m = 30 + int(np.sqrt(n))
    quartile = excess[n // 4]
    b = 1.0 / excess[-1] + (1.0 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))) / (3.0 * quartile)
    k = np.mean(np.log1p(-b[:, None] * excess), axis=1)
    profile = n * (np.log(-b / k) - k - 1.0)
    weight = special.softmax(profile)
    best = float(weight @ b)
    shape = float(np.mean(np.log1p(-best * excess)))
    sigma = -shape / best
    return float((n * shape + 5.0) / (n + 10.0)), float(sigma)


def systematic(weights: Floats, draws: int, offset: float) -> NDArray[np.int64]:
    """Indices of ``draws`` systematic draws by weight."""
    edges = np.cumsum(weights)
    at = (np.arange(draws) + offset) / draws
    return np.minimum(np.searchsorted(edges / edges[-1], at, side="right"), weights.size - 1).astype(np.int64)
