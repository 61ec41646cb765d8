"""What a model is made of.

Every model of Quotacast is declared once, as data: a family, an exposure and a list of terms, each
with its prior and the reason for it. Two methods of inference read the same declaration
(:mod:`quotacast.models.inference` by NUTS, :mod:`quotacast.models.laplace` by nested Laplace).

The linear predictor of cell ``i`` is ::

    eta_i = offset_i + sum_k effect_k[code_ik] + sum_s slope_s x_is

with ``offset_i`` the log exposure of a count (0 for a Normal model), and each term's effect, a
vector over the levels of its axis, Gaussian given its hyperparameters ::

    effect = mean + sd * basis(rho) @ z,        z ~ Normal(0, I)

which covers all kinds:

========  ==========================================  ==================================================
kind      basis                                       meaning
========  ==========================================  ==================================================
level     1 (sd is fixed)                             the overall level, Normal(mean, scale)
pooled    I                                           exchangeable levels, partially pooled
contrast  orthonormal, sums to zero                   pooled levels of a closed set (positions, segments)
walk      sqrt(width)-scaled cumulative sums, less    first-order random walk over ordered levels;
          their reference                             neighbours are alike, wide gaps less so
shock     lower triangle of a stationary AR(1)        a common disturbance that fades; sd is stationary
slope     1 (sd is fixed)                             the effect of a covariate, Normal(mean, scale),
                                                      truncated below at ``lower`` where that is given
========  ==========================================  ==================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.int32]

Kind = Literal["level", "pooled", "contrast", "walk", "shock", "slope"]
Family = Literal["poisson", "negbinomial", "normal"]
Reference = Literal["mean", "first", "last"]

#: Prior of a shock's month-to-month correlation: mean 2/3, rarely below .2.
RHO_PRIOR = (4.0, 2.0)
#: NegBinomial: 1/sqrt(dispersion), the coefficient of variation beyond Poisson, is HalfNormal(this).
OVERDISPERSION_SCALE = 0.5
#: Normal family: the residual sd is HalfNormal(this), on the log scale of amounts.
RESIDUAL_SCALE = 2.0


@dataclass(frozen=True)
class Term:
    """One additive part of a linear predictor.

    Parameters
    ----------
    name : str
        The term's name, unique in its model; posterior draws are stored under it.
    kind : {"level", "pooled", "contrast", "walk", "shock", "slope"}
        See the module's table.
    axis : str
        The axis of the cells whose codes index the levels; empty for a level; the name of the covariate
        for a slope.
    size : int
        Number of levels.
    scale : float
        The sd is HalfNormal(scale); for a level, a slope or a term of known sd, the sd itself.
    reason : str
        Why the term is there and why its prior is what it is.
    mean : tuple of float, optional
        Prior mean of every level (one number for a level term).
    widths : tuple of float, optional
        For a walk: the ``size - 1`` distances between neighbouring levels.
    reference : {"mean", "first", "last"}
        For a walk: what is zero, so that level and walk do not compete.
    lower : float, optional
        For a slope: the prior is truncated here, so that no draw lies below.
    known : bool
        Whether ``scale`` is the sd itself. For few levels with much data each: they could not tell an sd, and
        its posterior would be as wide as its prior and hard to weigh.
    """

    name: str
    kind: Kind
    axis: str
    size: int
    scale: float
    reason: str
    mean: tuple[float, ...] | None = None
    widths: tuple[float, ...] | None = None
    reference: Reference = "mean"
    lower: float | None = None
    known: bool = False

    def __post_init__(self) -> None:
        if self.size < 1 or self.scale <= 0:
            raise ValueError(f"term {self.name}: size {self.size} and scale {self.scale} must be positive")
        if self.mean is not None and len(self.mean) != self.size:
            raise ValueError(f"term {self.name}: {len(self.mean)} prior means for {self.size} levels")
        if self.widths is not None and len(self.widths) != self.size - 1:
            raise ValueError(f"term {self.name}: {len(self.widths)} widths for {self.size} levels")
        if self.kind == "slope" and (self.size != 1 or not self.axis):
            raise ValueError(f"term {self.name}: a slope has one level and names its covariate")
        if self.lower is not None and self.kind != "slope":
            raise ValueError(f"term {self.name}: only a slope is truncated, not a {self.kind}")
        if self.known and self.kind not in ("contrast", "walk"):
            raise ValueError(f"term {self.name}: the sd of a {self.kind} is not a thing to be known")

    @property
    def has_sd(self) -> bool:
        """Whether the sd is a hyperparameter."""
        return self.kind not in ("level", "slope") and not self.known

    @property
    def has_rho(self) -> bool:
        """Whether there is a correlation to learn."""
        return self.kind == "shock"

    @property
    def extends(self) -> bool:
        """Whether a forecast draws further levels from the sd: new reps, coming months and quarters."""
        return self.kind in ("pooled", "shock") or self.axis == "quarter"

    @property
    def dimension(self) -> int:
        """Number of standard-normal coordinates behind the levels."""
        return max(self.size - 1, 1) if self.kind in ("walk", "contrast") else self.size

    @property
    def prior_mean(self) -> Floats:
        """Prior mean of the levels, shape ``(size,)``."""
        return np.zeros(self.size) if self.mean is None else np.asarray(self.mean, dtype=float)

    def basis(self, rho: float = 0.0) -> Floats:
        """Matrix from standard-normal coordinates to levels of unit sd, shape ``(size, dimension)``."""
        if self.kind == "walk":
            return _walk_basis(self.size, self.widths, self.reference)
        if self.kind == "shock":
            return _ar1_basis(self.size, rho)
        if self.kind == "contrast":
            return _contrast_basis(self.size)
        return np.eye(self.size)


def _contrast_basis(size: int) -> Floats:
    """Helmert contrasts scaled so that every level has unit variance.

    Iid levels of a closed set and the overall level share a direction that the data cannot tell
    apart; without it every sampler moves faster, and the level absorbs it.
    """
    if size == 1:
        return np.zeros((1, 1))
    basis = np.zeros((size, size - 1))
    for k in range(1, size):
        basis[:k, k - 1], basis[k, k - 1] = 1.0, -float(k)
        basis[:, k - 1] /= np.sqrt(k * (k + 1.0))
    return np.asarray(basis * np.sqrt(size / (size - 1.0)))


def _walk_basis(size: int, widths: tuple[float, ...] | None, reference: Reference) -> Floats:
    if size == 1:
        return np.zeros((1, 1))
    steps = np.sqrt(np.ones(size - 1) if widths is None else np.asarray(widths, dtype=float))
    basis = np.vstack([np.zeros(size - 1), np.tril(np.ones((size - 1, size - 1))) * steps])
    anchor = {"mean": basis.mean(axis=0), "first": basis[0], "last": basis[-1]}[reference]
    return np.asarray(basis - anchor)


def _ar1_basis(size: int, rho: float) -> Floats:
    """Cholesky factor of the stationary AR(1) correlation, entry rho**(i-j) times the innovation's sd."""
    lag = np.subtract.outer(np.arange(size), np.arange(size))
    factor = np.where(lag >= 0, np.power(rho, np.maximum(lag, 0)), 0.0)
    factor[:, 1:] *= np.sqrt(1.0 - rho * rho)
    return np.asarray(factor)


@dataclass(frozen=True)
class Declaration:
    """A model: a family and its terms.

    The families and what one cell contributes to the log likelihood, up to a constant:

    * ``poisson``: ``y * eta - exp(eta)``; for a hazard, ``y`` events in an exposure of weighted days,
      exact for a hazard that is constant within the cell; a censored row adds exposure and no event.
    * ``negbinomial``: mean ``exp(eta)``, variance ``mu + mu**2 / phi``.
    * ``normal``: ``n`` observations with mean ``ybar`` and squared deviations ``ss`` in the cell:
      ``-n log(sigma) - (ss + n (ybar - eta)**2) / (2 sigma**2)``.
    """

    name: str
    family: Family
    terms: tuple[Term, ...]

    def __post_init__(self) -> None:
        names = [t.name for t in self.terms]
        if len(set(names)) != len(names):
            raise ValueError(f"model {self.name}: term names {names} are not unique")

    def term(self, name: str) -> Term:
        """Return the term of that name."""
        return next(t for t in self.terms if t.name == name)

    def forecast_hyperparameters(self) -> tuple[str, ...]:
        """Hyperparameters that a forecast uses; the others only shaped the levels of closed sets."""
        closed = {f"{t.name}_sd" for t in self.terms if not t.extends}
        return tuple(name for name in self.hyperparameters() if name not in closed)

    def hyperparameters(self) -> tuple[str, ...]:
        """Names of the hyperparameters in a fixed order: sds, correlations, then the family's own."""
        own = {"poisson": (), "negbinomial": ("overdispersion",), "normal": ("sigma",)}[self.family]
        sds = tuple(f"{t.name}_sd" for t in self.terms if t.has_sd)
        return sds + tuple(f"{t.name}_rho" for t in self.terms if t.has_rho) + own


@dataclass(frozen=True)
class Cells:
    """Sufficient statistics of one model.

    Attributes
    ----------
    response : ndarray, shape (n,)
        Events of a count; the mean of the observations for a Normal model.
    exposure : ndarray, shape (n,)
        Exposure of a count (> 0); the number of observations for a Normal model.
    codes : mapping of str to ndarray, shape (n,)
        For every axis the cell's level.
    squares : ndarray, shape (n,), optional
        Sum of squared deviations from the cell's mean (Normal only).
    covariates : mapping of str to ndarray, shape (n,)
        Values that slopes multiply.
    """

    response: Floats
    exposure: Floats
    codes: Mapping[str, Codes] = field(default_factory=dict)
    squares: Floats | None = None
    covariates: Mapping[str, Floats] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = self.response.shape[0]
        parts: dict[str, NDArray[Any]] = {"exposure": self.exposure, **self.codes, **self.covariates}
        if self.squares is not None:
            parts["squares"] = self.squares
        wrong = {name: part.shape for name, part in parts.items() if part.shape != (n,)}
        if wrong:
            raise ValueError(f"cells: {n} responses, but {wrong}")
        if n and float(self.exposure.min()) <= 0:
            raise ValueError("cells: every exposure must be positive")

    def __len__(self) -> int:
        return int(self.response.shape[0])

    def term_codes(self, term: Term) -> Codes:
        """Level of ``term`` in every cell, shape (n,)."""
        if term.kind in ("level", "slope"):
            return np.zeros(len(self), dtype=np.int32)
        return self.codes[term.axis]

    def contribution(self, term: Term, levels: Floats) -> Floats:
        """What a term with these levels, shape (..., size), adds to every cell's predictor, (..., n)."""
        if term.kind == "slope":
            return np.asarray(levels * self.covariates[term.axis])
        return np.asarray(levels[..., self.term_codes(term)])


@dataclass(frozen=True)
class Posterior:
    """Draws from the posterior of one declared model, all arrays with the draw axis first.

    Attributes
    ----------
    effects : mapping of str to ndarray, shape (draws, size)
        The levels of every term, on the scale of the linear predictor.
    hyper : mapping of str to ndarray, shape (draws,)
        Hyperparameters by the names of :meth:`Declaration.hyperparameters`.
    diagnostics : mapping
        Plain values: method, and R-hat, ESS, divergences (nuts) or Pareto k-hat (laplace).
    """

    effects: Mapping[str, Floats]
    hyper: Mapping[str, Floats]
    diagnostics: Mapping[str, float | int | str | bool]

    @property
    def draws(self) -> int:
        """Number of draws."""
        first: Floats = next(iter(self.effects.values()))
        return int(first.shape[0])

    def linear_predictor(self, declaration: Declaration, cells: Cells) -> Floats:
        """Linear predictor without the exposure, shape (draws, n)."""
        eta = np.zeros((self.draws, len(cells)))
        for term in declaration.terms:
            eta += cells.contribution(term, self.effects[term.name])
        return eta
