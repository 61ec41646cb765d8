"""Simulation-based calibration of the declared models, fitted by the fast method.

Talts, Betancourt, Simpson, Vehtari & Gelman (2018, arXiv:1804.06788): draw hyperparameters and effects from
the declared priors, data from the declared family, fit, and note the rank of every true value among the
posterior draws. If prior, family and posterior belong together, every rank is equally likely.

The declared levels are wide (a hazard between 1 in 5,000 and 1 in 2), so that many prior draws give no data
or absurdly many. A simulation is kept by its *data* alone (``KEPT``: the number of events): selecting on the
data, unlike on the truth, leaves p(truth | data) and so the uniformity of ranks as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy import stats

from quotacast.models.activities import slope_terms
from quotacast.models.amounts import value_declaration
from quotacast.models.conversion import hazard_declaration
from quotacast.models.counts import activity_declaration, creation_declaration
from quotacast.models.invoices import FAR, payment_declaration
from quotacast.models.laplace import fit_laplace
from quotacast.models.stages import moved_declaration, odds_declaration
from quotacast.models.terms import (
    OVERDISPERSION_SCALE,
    RESIDUAL_SCALE,
    RHO_PRIOR,
    Cells,
    Codes,
    Declaration,
    Floats,
    Posterior,
    Term,
)

#: Events for which a simulated data set of counts is kept.
KEPT = (30, 5_000)
#: Draws of the fit, of which the first ``RANKS`` (in the fit's random order) are compared with the truth.
DRAWS, RANKS = 800, 199
#: Bins of the histograms: 200 ranks in bins of 10.
BINS = 20
#: Number of the stream of truths and data.
STREAM = 41
AGES = (0, 8, 15, 31, 91, 181)
REPS, TEAMS, MONTHS, QUARTERS = 5, 2, 12, 4
PHASES, CUSTOMERS = (FAR, -20, -8, -2, 0, 1, 8, 31), 8

#: A declaration, exposures and codes; where it has slopes, their covariates come fourth.
Design = Callable[[np.random.Generator], tuple[Any, ...]]
Fit = Callable[[Declaration, Cells, int], Posterior]


@dataclass(frozen=True)
class Truth:
    """One draw from the prior of a declaration."""

    effects: Mapping[str, Floats]
    hyper: Mapping[str, float]


def draw_truth(declaration: Declaration, rng: np.random.Generator) -> Truth:
    """Draw hyperparameters, then effects, from the declared priors."""
    hyper = {f"{t.name}_sd": abs(float(rng.normal(0.0, t.scale))) for t in declaration.terms if t.has_sd}
    hyper |= {f"{t.name}_rho": float(rng.beta(*RHO_PRIOR)) for t in declaration.terms if t.has_rho}
    if declaration.family == "negbinomial":
        hyper["overdispersion"] = abs(float(rng.normal(0.0, OVERDISPERSION_SCALE)))
    if declaration.family == "normal":
        hyper["sigma"] = abs(float(rng.normal(0.0, RESIDUAL_SCALE)))
    effects = {}
    for term in declaration.terms:
        sd = hyper[f"{term.name}_sd"] if term.has_sd else term.scale
        basis = term.basis(hyper.get(f"{term.name}_rho", 0.0))
        effects[term.name] = term.prior_mean + sd * (basis @ _coordinates(term, rng))
    return Truth(effects, hyper)


def _coordinates(term: Term, rng: np.random.Generator) -> Floats:
    """Standard normal, for a truncated slope above its lower end."""
    if term.lower is None:
        return rng.standard_normal(term.dimension)
    low = (term.lower - float(term.prior_mean[0])) / term.scale
    return np.asarray(stats.truncnorm.rvs(low, np.inf, size=1, random_state=rng))


def predictor(
    declaration: Declaration,
    codes: Mapping[str, Codes],
    effects: Mapping[str, Floats],
    covariates: Mapping[str, Floats],
) -> Floats:
    """Linear predictor of every cell, without exposure; effects of shape (size,) or (draws, size)."""
    eta = np.asarray(0.0)
    for term in declaration.terms:
        levels = effects[term.name]
        if term.kind == "slope":
            eta = eta + levels * covariates[term.axis]
        else:
            eta = eta + (levels[..., :1] if term.kind == "level" else levels[..., codes[term.axis]])
    return np.asarray(eta)


def draw_cells(
    declaration: Declaration,
    exposure: Floats,
    codes: dict[str, Codes],
    truth: Truth,
    rng: np.random.Generator,
    covariates: Mapping[str, Floats] = MappingProxyType({}),
) -> Cells | None:
    """Data from the family; None where the means are beyond what can be drawn."""
    eta = predictor(declaration, codes, truth.effects, covariates)
    if declaration.family == "normal":
        sigma = truth.hyper["sigma"]
        mean = rng.normal(eta, sigma / np.sqrt(exposure))
        squares = np.where(exposure > 1, rng.chisquare(np.maximum(exposure - 1.0, 1.0)), 0.0)
        return Cells(mean, exposure, codes, sigma**2 * squares)
    mu = exposure * np.exp(np.minimum(eta, 50.0))
    if mu.max() > 1e12:
        return None
    if declaration.family == "negbinomial":
        phi = 1.0 / truth.hyper["overdispersion"] ** 2
        mu = mu * rng.gamma(phi, 1.0 / phi, mu.size)
    return Cells(rng.poisson(mu).astype(float), exposure, codes, covariates=covariates)


def kept(declaration: Declaration, cells: Cells | None) -> bool:
    """Whether a data set is analysed; depends on the data only."""
    if cells is None:
        return False
    return declaration.family == "normal" or KEPT[0] <= float(cells.response.sum()) <= KEPT[1]


def creation_design(rng: np.random.Generator) -> tuple[Declaration, Floats, dict[str, Codes]]:
    """Five reps in two teams over 52 weeks, two of them hired within the year."""
    rep, week = np.divmod(np.arange(REPS * 52), 52)
    month, quarter = week * MONTHS // 52, week * QUARTERS // 52
    hired = np.array([-60, -60, -60, 0, -15])[rep]
    tenure = np.searchsorted([30, 91, 182, 274, 365], 7 * (week - hired), side="right")
    codes = {"rep": rep, "team": np.array([0, 0, 0, 1, 1])[rep], "tenure": tenure, "season": month}
    codes |= {"month": month, "quarter": quarter, "rep_quarter": rep * QUARTERS + quarter}
    sizes = {"rep": REPS, "team": TEAMS, "month": MONTHS, "quarter": QUARTERS}
    return creation_declaration(sizes), rng.uniform(5.0, 7.0, rep.size), _int32(codes)


def leads_design(rng: np.random.Generator) -> tuple[Any, ...]:
    """The same weeks with the recent activity of two kinds."""
    _, exposure, codes = creation_design(rng)
    slopes = slope_terms(("call", "meeting"))
    sizes = {"rep": REPS, "team": TEAMS, "month": MONTHS, "quarter": QUARTERS}
    usual = rng.normal(0.0, 0.4, (2, REPS))
    covariates = {
        "slope:call": rng.normal(0.0, 0.4, exposure.size),
        "slope:meeting": rng.normal(0.0, 0.6, exposure.size),
        "between:call": (usual[0] - usual[0].mean())[codes["rep"]],
        "between:meeting": (usual[1] - usual[1].mean())[codes["rep"]],
    }
    return creation_declaration(sizes, slopes, "leads"), exposure, codes, covariates


def activity_design(rng: np.random.Generator) -> tuple[Any, ...]:
    """The same weeks; an activity has no ramp."""
    _, exposure, codes = creation_design(rng)
    sizes = {"rep": REPS, "team": TEAMS, "month": MONTHS, "quarter": QUARTERS}
    return activity_declaration("activity", sizes), exposure, codes


def hazard_design(cause: str, cells: int = 600) -> Design:
    """Random cells of age x month x position x rep x segment x amount."""

    def design(rng: np.random.Generator) -> tuple[Declaration, Floats, dict[str, Codes]]:
        sizes = {"rep": REPS, "segment": 3, "amount": 3, "month": MONTHS, "quarter": QUARTERS}
        codes = {k: rng.integers(0, n, cells) for k, n in sizes.items()}
        codes["quarter"] = codes["month"] * QUARTERS // MONTHS
        codes["age"] = rng.integers(0, len(AGES), cells)
        codes["position"] = np.where(codes["month"] % 3 < 2, codes["month"] % 3, rng.integers(2, 4, cells))
        codes["age_position"] = codes["age"] * 4 + codes["position"]
        codes["rep_quarter"] = codes["rep"] * QUARTERS + codes["quarter"]
        declared = hazard_declaration(cause, AGES, {**sizes, "rep_quarter": REPS * QUARTERS})
        return declared, rng.gamma(1.5, 30.0, cells) + 0.5, _int32(codes)

    return design


def payment_design(rng: np.random.Generator) -> tuple[Declaration, Floats, dict[str, Codes]]:
    """Random cells of phase x terms x month x customer x class x amount."""
    sizes = {"customer": CUSTOMERS, "class": 2, "amount": 3, "terms": 2, "month": MONTHS, "quarter": QUARTERS}
    codes = {k: rng.integers(0, n, 600) for k, n in sizes.items()}
    codes["quarter"] = codes["month"] * QUARTERS // MONTHS
    codes["phase"] = rng.integers(0, len(PHASES), 600)
    codes["phase_terms"] = codes["phase"] * 2 + codes["terms"]
    return payment_declaration("paid", PHASES, sizes), rng.gamma(1.5, 4.0, 600) + 0.5, _int32(codes)


def value_design(rng: np.random.Generator) -> tuple[Declaration, Floats, dict[str, Codes]]:
    """One to six deals in every cell of segment x rep x quarter."""
    segment, rep, quarter = (a.ravel() for a in np.indices((3, REPS, QUARTERS)))
    declared = value_declaration({"segment": 3, "rep": REPS, "quarter": QUARTERS})
    codes = {"segment": segment, "rep": rep, "quarter": quarter}
    return declared, rng.integers(1, 7, segment.size).astype(float), _int32(codes)


def stage_design(name: str, stages: int = 4, bands: int = 6) -> Design:
    """Every cell of stage x age in it x age of the deal that can be, and for moves every month."""

    def design(rng: np.random.Generator) -> tuple[Declaration, Floats, dict[str, Codes]]:
        months = MONTHS if name == "moved" else 1
        stage, inside, age, month = (a.ravel() for a in np.indices((stages, bands, len(AGES), months)))
        some = (inside <= age) & (rng.random(age.size) < 0.8)  # not in a stage for longer than there
        codes = {"stage": stage, "stage_age": stage * bands + inside, "age": age, "month": month}
        codes = {axis: code[some] for axis, code in codes.items()}
        if months == 1:
            del codes["month"]
            declared = odds_declaration(name, (stages, bands), AGES)
            return declared, rng.gamma(1.0, 4.0, int(some.sum())) + 0.01, _int32(codes)
        declared = moved_declaration((stages, bands), AGES, months)
        return declared, rng.gamma(1.0, 40.0, int(some.sum())) + 0.5, _int32(codes)

    return design


def _int32(codes: Mapping[str, np.ndarray]) -> dict[str, Codes]:
    return {name: np.asarray(code, dtype=np.int32) for name, code in codes.items()}


DESIGNS: Mapping[str, Design] = {
    "created": creation_design,
    "won": hazard_design("won"),
    "lost": hazard_design("lost"),
    "value": value_design,
    "leads": leads_design,
    "activity": activity_design,
    "paid": payment_design,
    "won_in_stage": stage_design("won_in_stage"),
    "moved": stage_design("moved"),
}
#: Designs that there were from the beginning: their seeds interleave. Later ones count by themselves.
FIRST_DESIGNS = 4


def seed_of(name: str, number: int) -> int:
    """Seed of a simulation; that of a stored one never changes when a design is added."""
    place = list(DESIGNS).index(name)
    return FIRST_DESIGNS * number + place if place < FIRST_DESIGNS else 1_000_000 * place + number


def laplace(declaration: Declaration, cells: Cells, seed: int) -> Posterior:
    """The method under test."""
    return fit_laplace(declaration, cells, draws=DRAWS, seed=seed)


def one(design: Design, seed: int, fit: Fit = laplace) -> tuple[dict[str, int], float]:
    """Rank of every quantity of one simulation, and the fit's Pareto k-hat."""
    rng = np.random.default_rng([seed, STREAM])  # apart from the streams of the fit, which gets the same seed
    while True:
        declaration, exposure, codes, *more = design(rng)
        truth = draw_truth(declaration, rng)
        cells = draw_cells(declaration, exposure, codes, truth, rng, *more)
        if kept(declaration, cells):
            break
    assert cells is not None
    posterior = fit(declaration, cells, seed)
    true, drawn = quantities(declaration, cells, truth, posterior, rng)
    ranks = {}
    for name, value in true.items():
        x = drawn[name][:RANKS]
        ties = int((x == value).sum())
        ranks[name] = int((x < value).sum()) + int(rng.integers(0, ties + 1))
    return ranks, float(posterior.diagnostics.get("khat", 0.0))


def job(name: str, seed: int) -> dict[str, Any]:
    """One simulation of a declared model, as it is stored."""
    ranks, khat = one(DESIGNS[name], seed)
    return {"ranks": ranks, "khat": round(khat, 3)}


def quantities(
    declaration: Declaration, cells: Cells, truth: Truth, posterior: Posterior, rng: np.random.Generator
) -> tuple[dict[str, float], dict[str, Floats]]:
    """What is ranked: the level, a random level per term, every hyperparameter, and two functionals.

    ``total`` is the log of the expected total over the cells (the mean for amounts); ``next`` is the log rate
    of the first rep (customer) in the month after the data, with next month's shock, next quarter's trend and
    next quarter's effect of the rep drawn, as a forecast draws them.
    """
    true: dict[str, float] = {}
    drawn: dict[str, Floats] = {}
    for term in declaration.terms:
        moving = np.flatnonzero(np.abs(term.basis(0.5)).sum(axis=1) > 0)
        k = int(rng.choice(moving))
        true[term.name] = float(truth.effects[term.name][k])
        drawn[term.name] = posterior.effects[term.name][:, k]
    for name in declaration.hyperparameters():
        true[name], drawn[name] = truth.hyper[name], posterior.hyper[name]
    one_truth = {name: levels[None] for name, levels in truth.effects.items()}
    hyper = {name: np.array([value]) for name, value in truth.hyper.items()}
    true["total"] = float(_total(declaration, cells, one_truth)[0])
    drawn["total"] = _total(declaration, cells, posterior.effects)
    true["next"] = float(_next(declaration, one_truth, hyper, rng)[0])
    drawn["next"] = _next(declaration, posterior.effects, posterior.hyper, rng)
    return true, drawn


def _total(declaration: Declaration, cells: Cells, effects: Mapping[str, Floats]) -> Floats:
    eta = predictor(declaration, cells.codes, effects, cells.covariates)
    if declaration.family == "normal":
        return np.asarray(eta @ cells.exposure / cells.exposure.sum())
    return np.asarray(np.log(np.exp(np.minimum(eta, 50.0)) @ cells.exposure))


def _next(
    declaration: Declaration,
    effects: Mapping[str, Floats],
    hyper: Mapping[str, Floats],
    rng: np.random.Generator,
) -> Floats:
    names = {t.name for t in declaration.terms}
    n = effects["level"].shape[0]
    who = next((name for name in ("customer", "rep") if name in names), None)
    out = effects["level"][:, 0] + (0.0 if who is None else effects[who][:, 0])
    if "shock" in names:
        rho, sd = hyper["shock_rho"], hyper["shock_sd"]
        out = out + rho * effects["shock"][:, -1] + sd * np.sqrt(1 - rho**2) * rng.standard_normal(n)
    if "trend" in names:
        out = out + effects["trend"][:, -1] + hyper["trend_sd"] * rng.standard_normal(n)
    if "rep_quarter" in names:
        out = out + hyper["rep_quarter_sd"] * rng.standard_normal(n)
    return np.asarray(out)


def uniformity(ranks: Sequence[int], seed: int = 1) -> dict[str, float]:
    """Chi-square over the bins, Kolmogorov-Smirnov of the randomised ranks, and the shape of the ranks.

    ``bias`` is the mean of the normalised rank less a half in units of its standard error (positive: the
    truth lies high among the draws, the posterior is too low); ``spread`` is the ranks' sd over that of a
    uniform (above 1: the posterior is too narrow, below 1: too wide).
    """
    r = np.asarray(ranks)
    counts = np.histogram(r, bins=BINS, range=(0, RANKS + 1))[0]
    u = (r + np.random.default_rng(seed).random(r.size)) / (RANKS + 1)
    sd = np.sqrt(1.0 / 12.0)
    return {
        "chi2_p": float(stats.chisquare(counts).pvalue),
        "ecdf_p": float(stats.kstest(u, "uniform").pvalue),
        "bias": float((u.mean() - 0.5) / (sd / np.sqrt(r.size))),
        "spread": float(np.sqrt(np.mean((u - 0.5) ** 2)) / sd),
    }
