"""How much two ways to end move together: the correlation of their common shocks.

In many companies deals are *closed* in waves, whatever the outcome: when everybody tidies up, wins and losses
rise in the same months. The hazards of both causes have a monthly shock and a quarterly trend of their own,
whose standardised steps u (the innovations of the AR(1), the steps of the walk) are a priori N(0, 1). Here
the steps of the same month or quarter get a correlation r ::

    (u_first[t], u_second[t]) ~ Normal(0, [[1, r], [r, 1]]),      p(r) proportional to 1 - r^2

The prior is that of Lewandowski, Kurowicka & Joe (2009, doi:10.1016/j.jmva.2009.04.008) with eta = 2: neither
waves nor wins at the price of losses are presumed, and +-1 is excluded.

The two hazards are fitted apart, that is with r = 0, and their likelihoods factorise. So the posterior of r
follows from the two fits alone ::

    p(r | data)  proportional to  p(r) E[ prod_t  N(u[t]; 0, R) / N(u[t]; 0, I) ]

with R the matrix above and the expectation over the two independent posteriors. A correlation of posterior
means would fall short of r, since each fit shrinks its shocks towards zero where the data say little; this
expectation does not, for it divides the prior of the fits out again. Weights of pairs of draws would tell it
in a few months' time but degenerate over years, so both posteriors of u are taken as Gaussian with the mean m
and the covariance C of their draws, which gives it in closed form ::

    log E = -T/2 log(1 - r^2) - 1/2 log|I + C A| - 1/2 m' A (I + C A)^-1 m,    A = (R^-1 - I_2) x I_T

What is left out: the fitted shocks of past months stay as each fit has them, they do not learn from one
another; and r is one number for months and quarters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from quotacast.models.terms import Floats, Posterior

#: Correlations that are considered.
GRID = np.linspace(-0.975, 0.975, 79)
#: Exponent of the prior (1 - r^2)^(ETA - 1).
ETA = 2.0
#: Draws below which a covariance of steps cannot be told: then the prior stands.
FEWEST_DRAWS = 50


@dataclass(frozen=True)
class Comovement:
    """Posterior of the correlation of two causes' shocks.

    Attributes
    ----------
    grid : ndarray, shape (points,)
        Correlations, ascending and evenly spaced.
    probability : ndarray, shape (points,)
        Sum 1.
    """

    grid: Floats
    probability: Floats

    @property
    def mean(self) -> float:
        """Posterior mean."""
        return float(self.grid @ self.probability)

    def quantile(self, p: Floats) -> Floats:
        """Correlations at probabilities, evenly spread within each point's cell; same shape as ``p``."""
        half = (self.grid[1] - self.grid[0]) / 2.0
        edges = np.append(self.grid - half, self.grid[-1] + half)
        below = np.append(0.0, np.cumsum(self.probability))
        return np.asarray(np.interp(p, below / below[-1], edges))


def comovement(first: Posterior, second: Posterior) -> Comovement:
    """Learn the correlation of two causes that were fitted apart.

    Parameters
    ----------
    first, second : Posterior
        Of hazards over the same months and quarters.
    """
    prior = (ETA - 1.0) * np.log1p(-(GRID**2))
    one, two = _steps(first), _steps(second)
    shared = [name for name in one if name in two and one[name].shape[1] == two[name].shape[1]]
    if shared and min(first.draws, second.draws) >= FEWEST_DRAWS:
        from threadpoolctl import threadpool_limits

        sides = [np.concatenate([side[name] for name in shared], axis=1) for side in (one, two)]
        with threadpool_limits(1, user_api="blas"):  # small matrices: sharing them out costs more
            prior = prior + log_evidence(GRID, *_moments(sides[0]), *_moments(sides[1]))
    probability = np.exp(prior - prior.max())
    return Comovement(GRID, probability / probability.sum())


def _steps(posterior: Posterior) -> Mapping[str, Floats]:
    """Standardised steps by term, shape (draws, steps); without terms that do not move."""
    effects, hyper, found = posterior.effects, posterior.hyper, {}
    if "shock" in effects and np.all(hyper["shock_sd"] > 0):
        found["shock"] = innovations(effects["shock"] / hyper["shock_sd"][:, None], hyper["shock_rho"])
    if "trend" in effects and np.all(hyper["trend_sd"] > 0):
        found["trend"] = np.diff(effects["trend"], axis=1) / hyper["trend_sd"][:, None]
    return found


def innovations(shock: Floats, rho: Floats) -> Floats:
    """Standardised innovations of stationary AR(1) series of unit sd.

    Parameters
    ----------
    shock : ndarray, shape (draws, months)
    rho : ndarray, shape (draws,)

    Returns
    -------
    ndarray, shape (draws, months)
        The first month's is the series itself.
    """
    out = shock.copy()
    out[:, 1:] -= rho[:, None] * shock[:, :-1]
    out[:, 1:] /= np.sqrt(1.0 - rho[:, None] ** 2)
    return np.asarray(out)


def _moments(steps: Floats) -> tuple[Floats, Floats]:
    """Mean and covariance of draws; no direction varies more than the prior, but by sampling noise."""
    values, axes = np.linalg.eigh(np.cov(steps, rowvar=False).reshape(steps.shape[1], -1))
    return steps.mean(axis=0), np.asarray((axes * np.clip(values, 0.0, 1.0)) @ axes.T)


def log_evidence(
    correlations: Floats, mean_one: Floats, cov_one: Floats, mean_two: Floats, cov_two: Floats
) -> Floats:
    """Log of the likelihood of correlations relative to that of none.

    Parameters
    ----------
    correlations : ndarray, shape (points,)
        Between -1 and 1, exclusive.
    mean_one, mean_two : ndarray, shape (steps,)
        Posterior means of the standardised steps, each fitted with prior N(0, 1).
    cov_one, cov_two : ndarray, shape (steps, steps)
        Their posterior covariances; no eigenvalue above 1.

    Returns
    -------
    ndarray, shape (points,)
    """
    (values_one, axes_one), (values_two, axes_two) = np.linalg.eigh(cov_one), np.linalg.eigh(cov_two)
    turn = axes_one.T @ axes_two
    one, two = axes_one.T @ mean_one, axes_two.T @ mean_two
    out = np.empty(correlations.size)
    for k, r in enumerate(correlations):
        own, other = r * r / (1.0 - r * r), -r / (1.0 - r * r)  # R^-1 = [[1 + own, other], [other, 1 + own]]
        out[k] = _log_mean(own, other, (values_one, one), (values_two, two), turn)
    return np.asarray(out - mean_one.size / 2.0 * np.log1p(-np.square(correlations)))


def _log_mean(
    own: float, other: float, first: tuple[Floats, Floats], second: tuple[Floats, Floats], turn: Floats
) -> float:
    """Log E exp(-1/2 u' A u) of u ~ N(m, C), both causes in the principal axes of their own C.

    First with the diagonal blocks of A, which leave a Normal with variances v and means c; then, one cause
    given the other, with what joins them: ``W = I - other^2 v_two^1/2 turn' v_one turn v_two^1/2``.
    """
    v, c, out = [], [], 0.0
    for values, mean in (first, second):
        shrink = 1.0 / (1.0 + own * values)
        out += float(np.sum(np.log(shrink)) - own * np.sum(mean**2 * shrink)) / 2.0
        v.append(values * shrink)
        c.append(mean * shrink)
    joined = turn * np.sqrt(v[1])
    w = np.eye(v[1].size) - other**2 * (joined.T * v[0]) @ joined
    # E over the first given the second is exp(-other c_one' t + other^2 t' v_one t / 2) with t = turn u_two
    pull = np.sqrt(v[1]) * (turn.T @ (other**2 * v[0] * (turn @ c[1]) - other * c[0]))
    t = turn @ c[1]
    out += float(-other * c[0] @ t + other**2 * (v[0] * t) @ t / 2.0)
    factor = np.linalg.cholesky(w)
    out -= float(np.sum(np.log(np.diag(factor))))
    return out + float(np.sum(np.linalg.solve(factor, pull) ** 2)) / 2.0
