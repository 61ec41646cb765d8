"""Sds and correlations drawn once more, given the levels: a sweep of Gibbs' sampler over weighted draws.

The fast method knows hyperparameters at some hundreds of points only, so the far tail of an sd hangs on a few
of them. Given a term's levels, its sd and correlation depend on nothing else, the data included ::

    p(sd, rho | levels) ~ HalfNormal(sd; scale) Beta(rho; 4, 2) Normal(levels; mean, sd^2 R(rho))

and a step that leaves this distribution as it is leaves the posterior as it is, whatever the draws' number
(resample-move; Gilks & Berzuini 2001, doi:10.1111/1467-9868.00280). With ``S`` the sum of squares of the n
steps that a term's levels are made of, not divided by the sd ::

    sd:   S / chi2(n - 1) is what the levels say of sd^2 where every sd is as likely; the prior decides
          whether it is taken
    rho:  a random walk on the logit's scale

each taken with the probability of Metropolis and Hastings. A term of fewer than two steps says too little of
its sd, which stays as it was weighted; so do sigma and overdispersion, which depend on the data.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import special

from quotacast.models.terms import RHO_PRIOR, Declaration, Floats, Term

#: Times that the sd and the correlation of a shock are drawn in turn; an sd alone takes once.
TURNS = 4
#: Standard deviation of a step of the correlation's logit.
STRIDE = 1.0


def redraw(
    declaration: Declaration,
    effects: Mapping[str, Floats],
    hyper: Mapping[str, Floats],
    rng: np.random.Generator,
) -> dict[str, Floats]:
    """Draw the sds and correlations of a posterior's draws anew, given their levels.

    Parameters
    ----------
    declaration : Declaration
    effects : mapping of str to ndarray, shape (draws, size)
        Levels of every term.
    hyper : mapping of str to ndarray, shape (draws,)
        Hyperparameters; those of the family itself stay what they are.
    rng : numpy.random.Generator

    Returns
    -------
    dict of str to ndarray, shape (draws,)
    """
    found = dict(hyper)
    for term in declaration.terms:
        if not term.has_sd or term.dimension < 2:
            continue
        levels = effects[term.name] - term.prior_mean
        sd, rho = found[f"{term.name}_sd"], found.get(f"{term.name}_rho")
        if rho is None:
            found[f"{term.name}_sd"] = _sd(term, sd, _squares(term, levels), rng)
            continue
        for _ in range(TURNS):
            sd = _sd(term, sd, _shock_squares(levels, rho), rng)
            rho = _rho(levels, sd, rho, rng)
        found[f"{term.name}_sd"], found[f"{term.name}_rho"] = sd, rho
    return found


def _sd(term: Term, sd: Floats, squares: Floats, rng: np.random.Generator) -> Floats:
    """One step of the sds, given the squares of the levels' steps, shape (draws,)."""
    variance = squares / rng.chisquare(term.dimension - 1, sd.size)
    log_ratio = (sd**2 - variance) / (2.0 * term.scale**2)
    # levels that are all equal would give an sd of nothing: it stays what it is
    taken = (np.log(rng.random(sd.size)) < log_ratio) & (variance > 0)
    return np.where(taken, np.sqrt(variance), sd)


def _rho(levels: Floats, sd: Floats, rho: Floats, rng: np.random.Generator) -> Floats:
    """One step of a shock's correlations."""
    proposed = special.expit(special.logit(rho) + STRIDE * rng.standard_normal(rho.size))
    proposed = np.clip(proposed, 1e-6, 1.0 - 1e-6)
    log_ratio = _log_density(proposed, levels, sd) - _log_density(rho, levels, sd)
    return np.where(np.log(rng.random(rho.size)) < log_ratio, proposed, rho)


def _log_density(rho: Floats, levels: Floats, sd: Floats) -> Floats:
    """Log density of the correlation's logit, given a shock's levels and its sd, up to a constant."""
    a, b = RHO_PRIOR
    prior = a * np.log(rho) + b * np.log1p(-rho)  # one power more of each than Beta's: the logit's Jacobian
    root = (levels.shape[1] - 1) / 2.0 * np.log1p(-rho * rho)
    return np.asarray(prior - root - _shock_squares(levels, rho) / (2.0 * sd**2))


def _shock_squares(levels: Floats, rho: Floats) -> Floats:
    """Sum of squares of a stationary AR(1)'s first level and its innovations, shape (draws,)."""
    innovations = levels[:, 1:] - rho[:, None] * levels[:, :-1]
    return np.asarray(levels[:, 0] ** 2 + np.sum(innovations**2, axis=1) / (1.0 - rho**2))


def _squares(term: Term, levels: Floats) -> Floats:
    """Sum of squares of what the basis made the levels of, shape (draws,)."""
    steps = levels if term.kind == "pooled" else levels @ np.linalg.pinv(term.basis()).T
    return np.asarray(np.sum(steps**2, axis=1))
