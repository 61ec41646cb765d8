"""All that is common to a month as one sum: what NUTS samples where its parts can hardly be told apart.

The overall level, season, shock and trend of a model reach the data only through their sum ``t`` per month.
Given the hyperparameters they are Normal a priori, and so is the sum::

    t = m + sum_k A_k x_k ~ Normal(m, K),   K = sum_k sd_k**2 A_k B_k B_k' A_k'

with the basis ``B_k`` of a term and ``A_k`` from its levels to months. A sampler that moves ``t`` and the
hyperparameters has the posterior with everything else integrated out. The terms come back by a draw from
their Normal given ``t``, by Matheron's rule: a draw ``(x*, t*)`` of the prior, and then ``x = x* + Cov(x, t)
K^-1 (t - t*)`` (Hoffman & Ribak 1991, doi:10.1086/185846).

In a company with one year of data season and shock are two names of twelve numbers, of which only the sums
are known, and these to a few percent: a sampler of both has to follow a valley that bends with their sds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from quotacast.models.terms import Cells, Declaration, Floats, Posterior, Term

NAME = "monthly sum"
#: The sums are sampled where the variance of the median month's, less the mean of all months, is at most this
#: share of the shock's: the data tell them then, not the prior.
TOLD = 0.5


class SumTerm(Term):
    """A term for the sums in a sampler's coordinates; its prior is that of :class:`MonthlySums`."""

    @property
    def has_sd(self) -> bool:
        """Its variance depends on the sds of its parts."""
        return False


@dataclass(frozen=True)
class MonthlySums:
    """Terms of a declaration that are functions of the month, and how they add up.

    Attributes
    ----------
    parts : tuple of Term
        The terms, the shock among them.
    spread : tuple of ndarray, shape (months, levels)
        ``A_k``, from a part's levels to months.
    """

    parts: tuple[Term, ...]
    spread: tuple[Floats, ...]

    @staticmethod
    def of(declaration: Declaration, cells: Cells, near: Posterior) -> MonthlySums | None:
        """The monthly sums of a model, or none where there is no shock or the data do not tell them well.

        A term takes part if all cells of a month have the same level of it.
        """
        shock = next((t for t in declaration.terms if t.kind == "shock"), None)
        if shock is None:
            return None
        month = cells.term_codes(shock)
        if np.unique(month).size < shock.size:
            return None
        parts, spread = [], []
        for term in declaration.terms:
            if term.kind == "slope":
                continue
            code = np.zeros(len(cells), dtype=np.int64) if term.kind == "level" else cells.term_codes(term)
            least, most = np.full(shock.size, term.size), np.zeros(shock.size, dtype=np.int64)
            np.minimum.at(least, month, code)
            np.maximum.at(most, month, code)
            if (least == most).all():
                parts.append(term)
                spread.append(np.eye(term.size)[most])
        sums = MonthlySums(tuple(parts), tuple(spread))
        given = sums.add(near.effects)
        apart = np.median((given - given.mean(axis=1, keepdims=True)).var(axis=0))
        return sums if apart <= TOLD * np.mean(near.hyper[f"{shock.name}_sd"] ** 2) else None

    @property
    def term(self) -> Term:
        """The sums as one term."""
        shock = next(t for t in self.parts if t.kind == "shock")
        return SumTerm(NAME, "pooled", shock.axis, shock.size, 1.0, "what is common to a month")

    def add(self, effects: Any) -> Floats:
        """Sums of draws of the parts' levels, shape (draws, months)."""
        return np.sum([effects[t.name] @ a.T for t, a in zip(self.parts, self.spread, strict=True)], axis=0)

    def joined(self, declaration: Declaration) -> Declaration:
        """The declaration with the sums in place of their parts, for the likelihood."""
        others = tuple(t for t in declaration.terms if t not in self.parts)
        return Declaration(declaration.name, declaration.family, (*others, self.term))

    @cached_property
    def _mean(self) -> Floats:
        """Prior mean of the sums, shape (months,)."""
        return np.sum([a @ t.prior_mean for t, a in zip(self.parts, self.spread, strict=True)], axis=0)

    @cached_property
    def _known(self) -> Floats:
        """Covariance of the parts whose sd is known, shape (months, months)."""
        zero = np.zeros((self.spread[0].shape[0],) * 2)
        return sum((t.scale**2 * u for t, u in self._units if not t.has_sd), zero)

    @cached_property
    def _units(self) -> list[tuple[Term, Floats]]:
        """Covariance of every part of the sums at an sd of 1; of a shock how far months lie apart."""
        found = []
        for term, a in zip(self.parts, self.spread, strict=True):
            if term.has_rho:
                found.append((term, np.abs(np.subtract.outer(np.arange(term.size), np.arange(term.size)))))
            else:
                found.append((term, (a @ term.basis()) @ (a @ term.basis()).T))
        return found

    def log_prior(self, sums: Floats, hyper: dict[str, float]) -> tuple[float, Floats, dict[str, float]]:
        """Log density of the sums given hyperparameters, and its gradients.

        Parameters
        ----------
        sums : ndarray, shape (months,)
        hyper : mapping of str to float
            The parts' sds and correlations.

        Returns
        -------
        value : float
            Up to a constant.
        in_sums : ndarray, shape (months,)
        in_hyper : dict of str to float
        """
        cov = self._known.copy()
        derivative: dict[str, Floats] = {}
        for term, unit in self._units:
            if not term.has_sd:
                continue
            sd, within = hyper[f"{term.name}_sd"], unit
            if term.has_rho:
                # a shock's months are those of the sums
                rho = hyper[f"{term.name}_rho"]
                within = rho**unit
                derivative[f"{term.name}_rho"] = sd * sd * (unit * rho ** np.maximum(unit - 1, 0))
            cov += sd * sd * within
            derivative[f"{term.name}_sd"] = 2.0 * sd * within
        try:
            factor = np.linalg.cholesky(cov)
        except np.linalg.LinAlgError:
            return -np.inf, np.zeros(sums.size), dict.fromkeys(derivative, 0.0)
        inverse = np.linalg.inv(cov)
        pull = inverse @ (sums - self._mean)
        value = -float(np.log(np.diag(factor)).sum()) - 0.5 * float((sums - self._mean) @ pull)
        outer = np.outer(pull, pull) - inverse
        return value, -pull, {name: 0.5 * float((outer * d).sum()) for name, d in derivative.items()}

    def split(self, sums: Floats, hyper: dict[str, Floats], rng: np.random.Generator) -> dict[str, Floats]:
        """Draw the parts' levels given their sums.

        Parameters
        ----------
        sums : ndarray, shape (draws, months)
        hyper : mapping of str to ndarray, shape (draws,)
        rng : Generator

        Returns
        -------
        dict of str to ndarray, shape (draws, levels)
        """
        draws, months = sums.shape
        cov, apart = np.zeros((draws, months, months)), sums.copy()
        levels, toward = {}, {}
        for term, a in zip(self.parts, self.spread, strict=True):
            sd = hyper[f"{term.name}_sd"] if term.has_sd else np.full(draws, term.scale)
            if term.has_rho:
                factor = np.stack([term.basis(r) for r in hyper[f"{term.name}_rho"]])
            else:
                factor = np.broadcast_to(term.basis(), (draws, *term.basis().shape))
            factor = sd[:, None, None] * factor
            levels[term.name] = term.prior_mean + np.einsum(
                "dlz,dz->dl", factor, rng.standard_normal((draws, factor.shape[2]))
            )
            apart -= levels[term.name] @ a.T
            toward[term.name] = factor @ np.swapaxes(a @ factor, 1, 2)
            cov += (a @ factor) @ np.swapaxes(a @ factor, 1, 2)
        # at a correlation that rounds to 1 there is nothing to divide by: a trace of independent error
        trace = 1e-12 * np.trace(cov, axis1=1, axis2=2)[:, None, None] * np.eye(months)
        pull = np.linalg.solve(cov + trace, apart[:, :, None])
        return {name: value + (toward[name] @ pull)[:, :, 0] for name, value in levels.items()}
