"""NUTS in coordinates in which the posterior is nearly standard Normal, for benchmarks that need many draws.

The density is that of :func:`quotacast.models.inference.build_model`, to which :func:`agreement` compares it;
only the coordinates differ, so what is sampled is the same posterior, whatever they are made from:

* a step of a term is ``sd**(1 - c) * v``, centred by the share ``c`` in [0, 1] that the data determine
  (Papaspiliopoulos, Roberts & Skoeld 2007, doi:10.1214/088342307000000014);
* a centred pooled term whose levels each belong to one level of smaller terms is sampled as the sum with them
  (hierarchical centring), since that sum is what the data tell;
* an sd is ``s * (u Phi(u) + phi(u))``: linear in ``u`` far from zero, with a Gaussian tail towards it;
* what is common to a month is sampled as one sum where the data tell it well (``monthly_sums.py``), and its
  parts are drawn given the sum;
* all of these coordinates are ``m + L w`` with mean and covariance of an approximation, of which a bad one
  costs time and changes nothing else.

Value and gradient are those of ``nuts_density.py``.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from monthly_sums import MonthlySums
from nuts_density import BASIS, FAMILIES, KINDS, PLAIN, TRUNCATED, log_density
from scipy import special

from quotacast.models.inference import TARGET_ACCEPT, build_model, groups, is_centred, run
from quotacast.models.terms import (
    OVERDISPERSION_SCALE,
    RESIDUAL_SCALE,
    Cells,
    Declaration,
    Floats,
    Posterior,
    Term,
)

#: Steps are centred less where the 5 % quantile of their sd is below the second of these shares of its median
#: and not at all below the first: a centred step has nowhere to go where its sd is near zero.
NEAR_ZERO, FAR = 0.15, 0.35
#: Share of a level's exposure in one level of the other term for it to belong there.
BELONGS = 0.5
#: More coordinates than these have their own scale, but no correlations.
DENSE = 1200
#: With more coordinates than these monthly sums are left alone: the overall level is in them, and hundreds of
#: customers are better sampled around it (an effective sample size of 143 in place of 40 from 500 draws).
FEW = 700
#: What is added to the variances of the coordinates before they are factorised.
RIDGE = 1e-9
#: Overdispersion from which the density can be compared with another program's to many digits.
LEAST_SPREAD = 0.01


def positive(u: Floats) -> Floats:
    """Map from the real line to positive numbers, ``u Phi(u) + phi(u)``."""
    return np.asarray(u * special.ndtr(u) + np.exp(-0.5 * u * u) / math.sqrt(2.0 * math.pi))


def inverse_positive(x: Floats) -> Floats:
    """The ``u`` of which :func:`positive` is ``x``, by Newton steps on the log scale."""
    low = -np.sqrt(np.maximum(-2.0 * np.log(np.maximum(x, 1e-300)), 0.0))
    u = np.where(x > 1.0, x, low)
    for _ in range(60):
        value = positive(u)
        u = u - np.clip((np.log(value) - np.log(x)) * value / special.ndtr(u), -1.0, 1.0)
    return u


def width(term: Term) -> int:
    """Number of coordinates of a term."""
    return 1 if term.kind in ("level", "slope") else term.dimension


def steps(term: Term, posterior: Posterior) -> Floats:
    """The coordinates behind a term's levels, times its sd; shape (draws, width)."""
    levels = posterior.effects[term.name] - term.prior_mean
    if term.kind == "shock":
        rho = posterior.hyper[f"{term.name}_rho"][:, None]
        innovations = (levels[:, 1:] - rho * levels[:, :-1]) / np.sqrt(1.0 - rho**2)
        return np.concatenate([levels[:, :1], innovations], axis=1)
    return levels @ np.linalg.pinv(term.basis()).T if term.kind in ("walk", "contrast") else levels


@dataclass(frozen=True)
class Block:
    """Where one term lies.

    Attributes
    ----------
    term : Term
    at : slice
        Its coordinates.
    levels : slice
        Its levels.
    centred : ndarray, shape (width,)
        Share by which every step is centred.
    parents : ndarray, shape (width, parents)
        Levels that are added to the step to make the coordinate.
    """

    term: Term
    at: slice
    levels: slice
    centred: Floats
    parents: np.ndarray


class Density:
    """Log posterior of a declared model and its gradient in free coordinates ``q = (v, u)``.

    Parameters
    ----------
    declaration, cells
    near : Posterior
        An approximation that chooses the coordinates.
    sums : MonthlySums, optional
        Sampled in place of their parts.
    """

    def __init__(
        self, declaration: Declaration, cells: Cells, near: Posterior, sums: MonthlySums | None = None
    ) -> None:
        self.hyper, self.sums = declaration.hyperparameters(), sums
        sds = {f"{t.name}_sd": t.scale for t in declaration.terms}
        if sums is not None:
            declaration, near = sums.joined(declaration), self._summed(near)
        self.declaration, self.cells = declaration, cells
        self.blocks: list[Block] = []
        first: dict[str, int] = {}
        at = levels = 0
        for term in sorted(declaration.terms, key=lambda t: (t.kind == "pooled", t.size)):
            first[term.name] = levels
            centred = self._centred(term, near)
            parents = self._parents(term, centred, first)
            if parents.shape[1]:
                centred = np.ones(width(term))
            where = slice(at, at + width(term)), slice(levels, levels + term.size)
            self.blocks.append(Block(term, *where, centred, parents))
            at, levels = where[0].stop, where[1].stop
        self.steps, self.levels, self.size = at, levels, at + len(self.hyper)
        self.scale = np.array([1.0 if h.endswith("_rho") else _rms(near.hyper[h]) for h in self.hyper])
        own = {"overdispersion": OVERDISPERSION_SCALE, "sigma": RESIDUAL_SCALE}
        self.prior = np.array([(own | sds).get(h, 1.0) for h in self.hyper])
        self.rho = np.array([h.endswith("_rho") for h in self.hyper], dtype=bool)
        self._pack_terms()
        self._pack_cells(first)

    def _summed(self, near: Posterior) -> Posterior:
        """Draws with the monthly sums among the terms."""
        if self.sums is None:
            return near
        effects = {**near.effects, self.sums.term.name: self.sums.add(near.effects)}
        return Posterior(effects, near.hyper, near.diagnostics)

    def _centred(self, term: Term, near: Posterior) -> Floats:
        if not term.has_sd:
            return np.zeros(width(term))
        sd = near.hyper[f"{term.name}_sd"][:, None]
        z, log_sd = steps(term, near) / sd, np.log(sd) - np.log(sd).mean()
        z = z - z.mean(axis=0)
        rest = (z - log_sd * (z * log_sd).mean(axis=0) / (log_sd**2).mean()).var(axis=0)
        low, middle = np.quantile(sd, [0.05, 0.5])
        unsure = (FAR - low / middle) / (FAR - NEAR_ZERO)
        return np.asarray(1.0 - np.clip(np.maximum(rest, unsure), 0.0, 1.0))

    def _parents(self, term: Term, centred: Floats, first: dict[str, int]) -> np.ndarray:
        """Levels of smaller terms to which the levels of a well determined pooled term belong."""
        found = []
        if term.kind == "pooled" and term.size > 1 and np.median(centred) > 0.7:
            mine, weight = self.cells.term_codes(term), self.cells.exposure
            for block in self.blocks:
                other = block.term
                if other.kind not in ("level", "pooled", "contrast"):
                    continue
                shared = np.zeros((term.size, other.size))
                np.add.at(shared, (mine, self.cells.term_codes(other)), weight)
                total, most = shared.sum(axis=1), shared.max(axis=1)
                if (most >= BELONGS * total).all():
                    found.append(first[other.name] + shared.argmax(axis=1))
        return np.stack(found, axis=1) if found else np.zeros((width(term), 0), dtype=np.int64)

    def coordinates(self, posterior: Posterior) -> Floats:
        """Free coordinates of draws, shape (draws, size)."""
        posterior = self._summed(posterior)
        q = np.zeros((posterior.draws, self.size))
        levels = np.zeros((posterior.draws, self.levels))
        for block in self.blocks:
            levels[:, block.levels] = posterior.effects[block.term.name]
        for block in self.blocks:
            term, moved = block.term, steps(block.term, posterior)
            if term.lower is not None:
                q[:, block.at] = np.log(np.maximum(moved + term.prior_mean - term.lower, 1e-12))
                continue
            sd = posterior.hyper[f"{term.name}_sd"][:, None] if term.has_sd else term.scale
            q[:, block.at] = moved / sd ** (1.0 - block.centred) + levels[:, block.parents].sum(axis=-1)
        for k, name in enumerate(self.hyper):
            x = posterior.hyper[name]
            q[:, self.steps + k] = special.logit(x) if self.rho[k] else inverse_positive(x / self.scale[k])
        return q

    def _hyper(self, u: Floats) -> Floats:
        return np.where(self.rho, special.expit(u), self.scale * positive(u))

    def _sd(self, term: Term, hyper: Floats) -> Any:
        return hyper[..., self.hyper.index(f"{term.name}_sd")] if term.has_sd else term.scale

    def expand(self, q: Floats, seed: int = 0) -> tuple[dict[str, Floats], dict[str, Floats]]:
        """Effects and hyperparameters of coordinates of shape (n, size); parts of sums are drawn."""
        hyper = self._hyper(q[:, self.steps :])
        levels = np.zeros((q.shape[0], self.levels))
        for block in self.blocks:
            term, v = block.term, q[:, block.at]
            if term.lower is not None:
                levels[:, block.levels] = term.lower + np.exp(v)
                continue
            sd = np.reshape(self._sd(term, hyper), (-1, 1))
            moved = (v - levels[:, block.parents].sum(axis=-1)) * sd ** (1.0 - block.centred)
            if term.kind == "shock":
                rho = hyper[:, self.hyper.index(f"{term.name}_rho"), None]
                for k in range(1, term.size):
                    moved[:, [k]] = rho * moved[:, [k - 1]] + np.sqrt(1.0 - rho**2) * moved[:, [k]]
            elif term.kind in ("walk", "contrast"):
                moved = moved @ term.basis().T
            levels[:, block.levels] = term.prior_mean + moved
        effects = {b.term.name: levels[:, b.levels] for b in self.blocks}
        named = {name: hyper[:, k] for k, name in enumerate(self.hyper)}
        if self.sums is not None:
            effects |= self.sums.split(effects.pop(self.sums.term.name), named, np.random.default_rng(seed))
        return effects, named

    def __call__(self, q: Floats) -> tuple[float, Floats]:
        """Log density up to a constant, and gradient, shape (size,)."""
        gradient = np.zeros(self.size)
        value = log_density(q, gradient, self.rows, self.arrays, self.hypers, self.data)
        return (value, gradient) if self.sums is None else self._with_sums(q, value, gradient)

    def _with_sums(self, q: Floats, value: float, gradient: Floats) -> tuple[float, Floats]:
        """Add the prior of the monthly sums, in place of the standard Normal that the kernels gave them."""
        assert self.sums is not None
        block = next(b for b in self.blocks if b.term.name == self.sums.term.name)
        t, u = q[block.at], q[self.steps :]
        hyper = dict(zip(self.hyper, self._hyper(u), strict=True))
        more, in_sums, in_hyper = self.sums.log_prior(t, hyper)
        gradient[block.at] += in_sums + t
        for name, g in in_hyper.items():
            k = self.hyper.index(name)
            x = hyper[name]
            slope = x * (1.0 - x) if self.rho[k] else self.scale[k] * special.ndtr(u[k])
            gradient[self.steps + k] += g * slope
        return value + more + 0.5 * float(t @ t), gradient

    def _pack_terms(self) -> None:
        """The terms as the plain arrays that the kernels read."""
        rows, bases, offset = [], [np.zeros(0)], 0
        for block in self.blocks:
            term, kind = block.term, KINDS.get(block.term.kind, PLAIN)
            if term.lower is not None:
                kind = TRUNCATED
            sd = self.hyper.index(f"{term.name}_sd") if term.has_sd else -1
            rho = self.hyper.index(f"{term.name}_rho") if term.has_rho else -1
            sizes = (block.at.start, width(term), block.levels.start, term.size)
            rows.append((kind, *sizes, sd, rho, block.parents.shape[1], offset))
            if kind == BASIS:
                bases.append(term.basis().ravel())
                offset += bases[-1].size
        parents = np.full((self.steps, max(b.parents.shape[1] for b in self.blocks)), -1)
        for block in self.blocks:
            parents[block.at, : block.parents.shape[1]] = block.parents
        lower = np.array([0.0 if b.term.lower is None else b.term.lower for b in self.blocks])
        self.rows = np.array(rows, dtype=np.int64)
        self.arrays = (
            np.array([b.term.scale for b in self.blocks]),
            lower,
            np.concatenate([b.term.prior_mean for b in self.blocks]),
            np.concatenate([b.centred for b in self.blocks]),
            parents.astype(np.int64),
            np.concatenate(bases),
        )
        self.hypers = (self.scale, self.prior, self.rho)

    def _pack_cells(self, first: Mapping[str, int]) -> None:
        """The cells as the plain arrays that the kernels read; ``first`` is every term's first level."""
        cells, terms = self.cells, self.declaration.terms
        joined = groups(self.declaration, cells)
        tables = [[first[name] + code for name, code in group.codes.items()] for group in joined]
        # the overall level rides along with the first group
        for term in (t for t in terms if t.kind == "level"):
            tables[0].append(np.full(joined[0].size, first[term.name]))
        rows_of = np.concatenate([np.stack(table, axis=1).ravel() for table in tables])
        lengths = np.concatenate([np.full(g.size, len(t)) for g, t in zip(joined, tables, strict=True)])
        starts = np.cumsum([0] + [group.size for group in joined[:-1]])
        codes = np.stack([g.cell + start for g, start in zip(joined, starts, strict=True)], axis=1)
        slopes = [t for t in terms if t.kind == "slope"]
        covariates = np.zeros((len(cells), len(slopes)))
        for k, term in enumerate(slopes):
            covariates[:, k] = cells.covariates[term.axis]
        seen, times = np.unique(cells.response, return_counts=True)
        self.data = (
            FAMILIES.index(self.declaration.family),
            cells.response,
            cells.exposure,
            np.zeros(len(cells)) if cells.squares is None else cells.squares,
            codes.astype(np.uint32),
            rows_of.astype(np.int64),
            np.concatenate([[0], np.cumsum(lengths)]),
            covariates,
            np.array([first[t.name] for t in slopes], dtype=np.int64),
            seen,
            times.astype(float),
        )


def _rms(x: Floats) -> float:
    return float(np.sqrt(np.mean(x**2)))


@dataclass(frozen=True)
class Whitening:
    """``q = mean + L w``, ``L`` lower triangular for the ``dense`` coordinates, else diagonal."""

    mean: Floats
    dense: np.ndarray
    factor: Floats
    scale: Floats

    @staticmethod
    def of(density: Density, near: Posterior) -> Whitening:
        """Mean and covariance of an approximation; of many coordinates, those of large terms stay alone."""
        q = density.coordinates(near)
        dense = np.ones(density.size, dtype=bool)
        if density.size > DENSE:
            for block in density.blocks:
                dense[block.at] = block.term.size <= DENSE // 3
        picked = np.flatnonzero(dense)
        cov = np.cov(q[:, picked].T) + RIDGE * np.eye(picked.size)
        return Whitening(q.mean(axis=0), picked, np.linalg.cholesky(cov), q.std(axis=0) + math.sqrt(RIDGE))

    def out(self, w: Floats) -> Floats:
        """Coordinates of ``w``, shape (..., size)."""
        if self.dense.size == self.mean.size:
            return w @ self.factor.T + self.mean
        q = w * self.scale
        q[..., self.dense] = w[..., self.dense] @ self.factor.T
        return q + self.mean

    def back(self, gradient: Floats) -> Floats:
        """Gradient in ``w``, shape (size,)."""
        if self.dense.size == self.mean.size:
            return gradient @ self.factor
        g = gradient * self.scale
        g[self.dense] = gradient[self.dense] @ self.factor
        return g


def chosen_density(declaration: Declaration, cells: Cells, near: Posterior) -> Density:
    """The density that is sampled: of monthly sums where the data tell them, if little else is."""
    whole = Density(declaration, cells, near)
    sums = MonthlySums.of(declaration, cells, near) if whole.size <= FEW else None
    return whole if sums is None else Density(declaration, cells, near, sums)


def sample(
    declaration: Declaration,
    cells: Cells,
    near: Posterior,
    *,
    draws: int,
    tune: int = 600,
    chains: int = 4,
    seed: int = 1,
    cores: int = 2,
    target_accept: float = TARGET_ACCEPT,
) -> dict[str, Floats]:
    """Raw draws as of :func:`quotacast.models.inference.sample`."""
    import nutpie

    density = chosen_density(declaration, cells, near)
    white = Whitening.of(density, near)

    def logp(w: Floats) -> tuple[float, Floats]:
        value, gradient = density(white.out(w))
        return value, white.back(gradient)

    model = nutpie.compiled_pyfunc.from_pyfunc(
        density.size,
        lambda: logp,
        lambda *_: lambda w: {"w": np.array(w)},
        [np.dtype(float)],
        [(density.size,)],
        ["w"],
    )
    result = run(
        model, draws=draws, tune=tune, chains=chains, cores=cores, seed=seed, target_accept=target_accept
    )
    w = np.asarray(result.posterior["w"].values, dtype=float)
    trace = {"diverging": np.asarray(result.sample_stats["diverging"].values, dtype=float)}
    effects, hyper = density.expand(white.out(w.reshape(-1, density.size)), seed)
    for name, values in {**effects, **hyper}.items():
        trace[name] = values.reshape(chains, draws, *values.shape[1:])
    return trace


def agreement(declaration: Declaration, cells: Cells, near: Posterior, points: int = 20) -> float:
    """Largest difference from PyMC's log density, less their constant, over some draws.

    It is that of all terms; :func:`agreement_of_sums` goes on from there.

    PyMC's is taken in its own constrained variables; what is added is the Jacobian of these in the
    coordinates here: the two are independent programs for the same posterior.
    """
    density = Density(declaration, cells, near)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = build_model(declaration, cells)
        theirs = model.compile_logp(jacobian=False, mode="FAST_COMPILE")
    q = density.coordinates(near)
    # PyMC's gamma functions lose digits as the size of a count's distribution grows: at 1e6 a sum over
    # 2,000 cells is 2e-6 off, at 1e4 1e-8
    spread = near.hyper.get("overdispersion", np.ones(near.draws))
    apart = []
    for row in np.flatnonzero(spread >= LEAST_SPREAD)[:points]:
        at = q[row]
        effects = {t.name: near.effects[t.name][row] for t in declaration.terms}
        hyper = {name: float(near.hyper[name][row]) for name in density.hyper}
        u = at[density.steps :]
        below = special.log_ndtr(u) + np.log(density.scale)
        jacobian = float(np.sum(np.where(density.rho, np.log(special.expit(u) * special.expit(-u)), below)))
        values: dict[str, Any] = dict(hyper)
        one = Posterior(
            {k: v[None] for k, v in effects.items()}, {k: np.array([v]) for k, v in hyper.items()}, {}
        )
        for block in density.blocks:
            term, moved = block.term, steps(block.term, one)[0]
            if term.kind in ("level", "slope"):
                values[f"{term.name}_free"] = effects[term.name]
                jacobian += float(at[block.at][0]) if term.lower is not None else math.log(term.scale)
                continue
            sd = hyper[f"{term.name}_sd"] if term.has_sd else term.scale
            # PyMC samples the steps of some terms, of the others the steps over their sd
            whole = is_centred(term, declaration, cells)
            values[f"{term.name}_free"] = moved if whole else moved / sd
            if term.has_sd:
                jacobian += math.log(sd) * float(np.sum((1.0 - block.centred) - (0.0 if whole else 1.0)))
        named = {v.name: _free(v.name, values, declaration) for v in model.value_vars}
        apart.append(density(at)[0] - float(theirs(named)) - jacobian)
    return float(np.ptp(apart))


def agreement_of_sums(declaration: Declaration, cells: Cells, near: Posterior, points: int = 20) -> float:
    """Largest difference of the sampled density from that of all terms, less their constant, over some draws.

    Per standard coordinates ``z`` of the terms the two differ by ``log p(z | hyper) - log p(sums | hyper)``,
    over the parts of the sums. 0 where no sums are sampled.
    """
    summed, whole = chosen_density(declaration, cells, near), Density(declaration, cells, near)
    if summed.sums is None:
        return 0.0
    levels, coordinates = summed.sums.add(near.effects), [d.coordinates(near) for d in (whole, summed)]
    apart = []
    for row in range(min(points, near.draws)):
        hyper = {name: float(values[row]) for name, values in near.hyper.items()}
        whole_here, summed_here = (
            d(q[row])[0]
            + sum(b.centred.sum() * math.log(hyper[f"{b.term.name}_sd"]) for b in d.blocks if b.term.has_sd)
            for d, q in zip((whole, summed), coordinates, strict=True)
        )
        parts = 0.0
        for term in summed.sums.parts:
            sd = hyper[f"{term.name}_sd"] if term.has_sd else term.scale
            basis = sd * term.basis(hyper.get(f"{term.name}_rho", 0.0))
            moved = near.effects[term.name][row] - term.prior_mean
            z = np.linalg.lstsq(basis, moved, rcond=None)[0]
            parts -= 0.5 * float(z @ z)
        apart.append(whole_here - summed_here - parts + summed.sums.log_prior(levels[row], hyper)[0])
    return float(np.ptp(apart))


def _free(name: str, values: Mapping[str, Any], declaration: Declaration) -> Any:
    """The value of PyMC's variable of that name, on its own scale (sampled variables carry a suffix)."""
    if name in values:
        return values[name]
    base, transform = name.removesuffix("__").rsplit("_", 1)
    value = np.asarray(values[base])
    if transform == "log":
        return np.log(value)
    if transform == "logodds":
        return special.logit(value)
    return np.log(value - declaration.term(base.removesuffix("_free")).lower)
