"""The exact reference: a declared model compiled to PyMC and sampled by NUTS through nutpie.

This is the only file that imports pymc, arviz or nutpie, and it does so inside the functions that
need them. PyTensor compiles through numba, so no C compiler is needed.

Terms whose codes vary together are added up first, over their few distinct combinations, so that the
long vector over cells is gathered three or four times instead of once per term.

Effects are sampled non-centred (``sd * basis @ z``), since with sds that may be close to zero the centred
form diverges; only terms with many levels that the data determine well are centred (``w ~ Normal(0, sd)``),
where the non-centred form mixes slowly (Betancourt & Girolami 2013, arXiv:1312.0906).
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quotacast.errors import FitError
from quotacast.models.terms import (
    OVERDISPERSION_SCALE,
    RESIDUAL_SCALE,
    RHO_PRIOR,
    Cells,
    Declaration,
    Floats,
    Posterior,
    Term,
)

#: A term is sampled centred with at least so many levels and, per level, so many prior variances' worth of
#: information.
CENTRED_LEVELS, CENTRED_INFORMATION = 8, 20.0
#: Chains of a fit.
CHAINS = 4
#: Lengths of the chains, as multiples, that are tried until the diagnostics pass.
ROUNDS = (1, 3)
#: Small steps: the posterior of an sd near zero has a narrow neck.
TARGET_ACCEPT = 0.95
#: What a fit must satisfy to be used without being told so: largest R-hat, smallest bulk ESS, largest
#: share of divergent transitions.
LIMITS = {"rhat": 1.05, "ess": 100.0, "divergences": 0.005}


def fit_nuts(
    declaration: Declaration,
    cells: Cells,
    *,
    draws: int = 500,
    tune: int = 800,
    chains: int = CHAINS,
    seed: int = 1,
    cores: int = 2,
) -> Posterior:
    """Sample a declared model.

    Parameters
    ----------
    declaration, cells
        The model and its sufficient statistics.
    draws, tune, chains : int
        Kept and warm-up draws per chain, number of chains.
    seed : int
    cores : int
        Chains sampled at the same time.

    Returns
    -------
    Posterior
        ``draws * chains`` draws in a seeded random order, so that any first part is exchangeable; where
        the diagnostics failed at first, thinned from longer chains.

    Raises
    ------
    FitError
        If sampling fails.
    """
    cells = cells if len(cells) else _nothing_seen(declaration)
    for more in ROUNDS:
        trace = sample(
            declaration, cells, draws=draws * more, tune=tune, chains=chains, seed=seed, cores=cores
        )
        diagnostics = diagnose(trace, declaration)
        if diagnostics["passed"]:
            break
    order = np.random.default_rng(seed).permutation(draws * chains)
    flat = {name: value[:, ::more].reshape(-1, *value.shape[2:])[order] for name, value in trace.items()}
    effects = {t.name: flat[t.name] for t in declaration.terms}
    hyper = {name: flat[name] for name in declaration.hyperparameters()}
    return Posterior(effects, hyper, diagnostics)


def _nothing_seen(declaration: Declaration) -> Cells:
    """One cell that weighs nothing, in place of none: arrays without an entry cannot be compiled."""
    axes = {t.axis for t in declaration.terms if t.kind not in ("level", "slope")}
    slopes = {t.axis for t in declaration.terms if t.kind == "slope"}
    zero = np.zeros(1)
    return Cells(
        zero,
        np.full(1, 1e-12),
        {axis: np.zeros(1, np.int32) for axis in sorted(axes)},
        zero if declaration.family == "normal" else None,
        dict.fromkeys(sorted(slopes), zero),
    )


def sample(
    declaration: Declaration, cells: Cells, *, draws: int, tune: int, chains: int, seed: int, cores: int
) -> dict[str, Floats]:
    """Raw draws by name with axes (chain, draw, ...), and ``diverging`` (chain, draw)."""
    with warnings.catch_warnings():
        # pytensor splits a kernel that would take too many arguments; the result is the same
        warnings.filterwarnings("ignore", message="Loop fusion failed")
        compiled = _compiled(_safe(declaration), cells)
    try:
        result = run(compiled, draws=draws, tune=tune, chains=chains, cores=cores, seed=seed)
    except RuntimeError as error:
        raise FitError(f"model {declaration.name}: NUTS stopped: {error}") from error
    wanted = [t.name for t in declaration.terms] + list(declaration.hyperparameters())
    trace = {name: np.asarray(result.posterior[_quoted(name)].values, dtype=float) for name in wanted}
    trace["diverging"] = np.asarray(result.sample_stats["diverging"].values, dtype=float)
    return trace


def run(
    model: Any,
    *,
    draws: int,
    tune: int,
    chains: int,
    cores: int,
    seed: int,
    target_accept: float = TARGET_ACCEPT,
) -> Any:
    """Sample a model that nutpie has compiled; what it returns, without the warm-up."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped,unused-ignore]

    # sums that BLAS shares out among threads round as the threads do, and chains amplify it
    with threadpool_limits(1, user_api="blas"):
        return _nutpie().sample(
            model,
            draws=draws,
            tune=tune,
            chains=chains,
            cores=cores,
            seed=seed,
            progress_bar=False,
            save_warmup=False,
            target_accept=target_accept,
        )


def _quoted(name: str) -> str:
    """An identifier for a name; kinds of activity come from the data and may hold anything."""
    return re.sub(r"[^A-Za-z0-9_]", lambda found: f"_x{ord(found[0]):x}_", name)


def _safe(declaration: Declaration) -> Declaration:
    return replace(declaration, terms=tuple(replace(t, name=_quoted(t.name)) for t in declaration.terms))


def diagnose(trace: Mapping[str, Floats], declaration: Declaration) -> dict[str, float | int | str | bool]:
    """Largest R-hat and smallest bulk ESS of what a forecast uses, and divergences (Vehtari et al. 2021)."""
    arviz = _arviz()
    names = [t.name for t in declaration.terms] + list(declaration.forecast_hyperparameters())
    moving = {n: trace[n] for n in names if np.ptp(trace[n]) > 0}
    data = arviz.convert_to_dataset({n: _only_moving(v) for n, v in moving.items()})
    rhat = max(float(v.max()) for v in arviz.rhat(data).data_vars.values())
    ess = min(float(v.min()) for v in arviz.ess(data).data_vars.values())
    diverging = int(trace["diverging"].sum())
    passed = (
        rhat <= LIMITS["rhat"]
        and ess >= LIMITS["ess"]
        and (diverging <= LIMITS["divergences"] * trace["diverging"].size)
    )
    return {
        "method": "nuts",
        "rhat": round(rhat, 4),
        "ess": round(ess),
        "divergences": diverging,
        "passed": bool(passed),
    }


def _only_moving(values: Floats) -> Floats:
    """Drop levels that are constant by construction (a walk's reference)."""
    if values.ndim == 2:
        return values
    return values[..., np.ptp(values, axis=(0, 1)) > 0]


def to_inference_data(posteriors: Mapping[str, Posterior]) -> Any:
    """One ArviZ InferenceData per model, one chain each, for notebooks."""
    arviz = _arviz()
    return {
        name: arviz.from_dict({k: v[None] for k, v in {**p.effects, **p.hyper}.items()})
        for name, p in posteriors.items()
    }


def _nutpie() -> Any:
    os.environ.setdefault("PYTENSOR_FLAGS", "cxx=")
    _arviz()
    import nutpie

    return nutpie


def _arviz() -> Any:
    with warnings.catch_warnings():
        # arviz < 1 announces its next major version at every first import
        warnings.filterwarnings("ignore", message=r"\nArviZ is undergoing", category=FutureWarning)
        import arviz
    return arviz


_COMPILED: dict[tuple[Any, ...], Any] = {}


def _compiled(declaration: Declaration, cells: Cells) -> Any:
    """Compile once per shape: models that differ only in data share the machine code."""
    data = _model_data(declaration, cells)
    key = (
        declaration.family,
        tuple(
            (t.name, t.kind, t.size, t.scale, t.mean, t.lower, is_centred(t, declaration, cells))
            for t in declaration.terms
        ),
        tuple((name, np.shape(value)) for name, value in data.items()),
    )
    if key not in _COMPILED:
        model = build_model(declaration, cells)
        _COMPILED[key] = _nutpie().compile_pymc_model(model, backend="numba")
        return _COMPILED[key]
    return _COMPILED[key].with_data(**data)


#: Terms are added up together as long as they have at most this many distinct combinations.
COMBINATIONS = 600


@dataclass(frozen=True)
class Group:
    """Terms that are added up before they are gathered.

    ``codes[term]`` are the levels in every combination, ``cell`` the combination of every cell.
    """

    codes: Mapping[str, NDArray[np.int64]]
    cell: NDArray[np.int64]

    def joined(self, other: Group) -> Group:
        """Combinations of both groups that occur."""
        width = int(other.cell.max()) + 1
        occupied, cell = np.unique(self.cell * width + other.cell, return_inverse=True)
        mine, theirs = np.divmod(occupied, width)
        codes = {name: code[mine] for name, code in self.codes.items()}
        codes |= {name: code[theirs] for name, code in other.codes.items()}
        return Group(codes, cell)

    @property
    def size(self) -> int:
        """Number of combinations."""
        return int(self.cell.max()) + 1


def groups(declaration: Declaration, cells: Cells) -> list[Group]:
    """Join terms greedily, smallest first, while their combinations stay few."""
    single = []
    for term in declaration.terms:
        if term.kind not in ("level", "slope"):
            occupied, cell = np.unique(cells.term_codes(term), return_inverse=True)
            single.append(Group({term.name: occupied.astype(np.int64)}, cell.astype(np.int64)))
    joined: list[Group] = []
    for group in sorted(single, key=lambda g: (g.size, sorted(g.codes))):
        tries = [(k, other.joined(group)) for k, other in enumerate(joined)]
        fitting = [(both.size, k, both) for k, both in tries if both.size <= COMBINATIONS]
        if fitting:
            _, k, both = min(fitting, key=lambda item: item[:2])
            joined[k] = both
        else:
            joined.append(group)
    return joined


def is_centred(term: Term, declaration: Declaration, cells: Cells) -> bool:
    """Whether the data determine the term's many levels well."""
    if term.kind != "pooled" or term.size < CENTRED_LEVELS:
        return False
    information = cells.response.sum()
    if declaration.family == "normal" and cells.squares is not None:
        information = cells.exposure.sum() / max(float(cells.squares.sum() / cells.exposure.sum()), 1e-6)
    return bool(information / term.size * term.scale**2 > CENTRED_INFORMATION)


def _model_data(declaration: Declaration, cells: Cells) -> dict[str, Any]:
    data: dict[str, Any] = {"response": cells.response, "exposure": cells.exposure}
    if cells.squares is not None:
        data["squares"] = cells.squares
    for k, group in enumerate(groups(declaration, cells)):
        data[f"group{k}_cell"] = group.cell
        data |= {f"group{k}_{name}": code for name, code in group.codes.items()}
    for term in declaration.terms:
        if term.kind in ("walk", "contrast"):
            data[f"{term.name}_basis"] = term.basis()
        if term.kind == "slope":
            data[f"{term.name}_covariate"] = cells.covariates[term.axis]
    return data


def build_model(declaration: Declaration, cells: Cells) -> Any:
    """PyMC model of a declaration; every term's levels are a Deterministic under the term's name."""
    os.environ.setdefault("PYTENSOR_FLAGS", "cxx=")
    import pymc as pm

    with pm.Model() as model:
        shared = {name: pm.Data(name, value) for name, value in _model_data(declaration, cells).items()}
        levels = {
            t.name: pm.Deterministic(t.name, _levels(t, shared, is_centred(t, declaration, cells)))
            for t in declaration.terms
        }
        eta = sum(levels[t.name][0] for t in declaration.terms if t.kind == "level")
        for k, group in enumerate(groups(declaration, cells)):
            total = sum(levels[name][shared[f"group{k}_{name}"]] for name in group.codes)
            eta = eta + total[shared[f"group{k}_cell"]]
        for term in declaration.terms:
            if term.kind == "slope":
                eta = eta + levels[term.name][0] * shared[f"{term.name}_covariate"]
        _LIKELIHOODS[declaration.family](shared, eta)
    return model


def _levels(term: Term, shared: Mapping[str, Any], centred: bool) -> Any:
    import pymc as pm
    import pytensor.tensor as pt

    mean = term.prior_mean
    if term.kind == "level" or (term.kind == "slope" and term.lower is None):
        return pm.Normal(f"{term.name}_free", mean, term.scale, shape=1)
    if term.kind == "slope":
        return pm.TruncatedNormal(f"{term.name}_free", mean, term.scale, lower=term.lower, shape=1)
    sd = pm.HalfNormal(f"{term.name}_sd", term.scale) if term.has_sd else term.scale
    basis = shared.get(f"{term.name}_basis")
    if term.kind == "shock":
        basis = _ar1(pm.Beta(f"{term.name}_rho", *RHO_PRIOR), term.size)
    free = f"{term.name}_free"
    if centred:
        steps = pm.Normal(free, 0.0, sd, shape=term.dimension)
    else:
        steps = sd * pm.Normal(free, 0.0, 1.0, shape=term.dimension)
    return mean + (steps if basis is None else pt.dot(basis, steps))


def _ar1(rho: Any, size: int) -> Any:
    """The basis of ``terms.Term`` for a shock, as a function of its correlation."""
    import pytensor.tensor as pt

    lag = np.subtract.outer(np.arange(size), np.arange(size))
    lower = pt.where(lag >= 0, rho ** np.maximum(lag, 0), 0.0)
    innovation = pt.where(np.arange(size)[None, :] > 0, pt.sqrt(1.0 - rho**2), 1.0)
    return lower * innovation


def _poisson(shared: Mapping[str, Any], eta: Any) -> None:
    import pymc as pm
    import pytensor.tensor as pt

    pm.Potential("likelihood", pt.sum(shared["response"] * eta - shared["exposure"] * pt.exp(eta)))


def _negbinomial(shared: Mapping[str, Any], eta: Any) -> None:
    import pymc as pm
    import pytensor.tensor as pt

    spread = pm.HalfNormal("overdispersion", OVERDISPERSION_SCALE)
    phi = 1.0 / (spread**2 + 1e-9)
    y, mu = shared["response"], shared["exposure"] * pt.exp(eta)
    # log Gamma(y + phi) - log Gamma(phi) + phi log phi - (y + phi) log(phi + mu) + y log mu
    total = pt.gammaln(y + phi) - pt.gammaln(phi) - phi * pt.log1p(mu / phi) + y * (eta - pt.log(phi + mu))
    pm.Potential("likelihood", pt.sum(total))


def _normal(shared: Mapping[str, Any], eta: Any) -> None:
    import pymc as pm
    import pytensor.tensor as pt

    sigma = pm.HalfNormal("sigma", RESIDUAL_SCALE)
    n = shared["exposure"]
    squares = shared["squares"] + n * (shared["response"] - eta) ** 2
    pm.Potential("likelihood", pt.sum(-n * pt.log(sigma) - squares / (2.0 * sigma**2)))


_LIKELIHOODS: dict[str, Callable[[Mapping[str, Any], Any], None]] = {
    "poisson": _poisson,
    "negbinomial": _negbinomial,
    "normal": _normal,
}
