"""The fitted whole: the named models of one organisation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quotacast.errors import DataError, FitError
from quotacast.models.amounts import (
    Quotes,
    Residuals,
    ValueData,
    bootstrap_residuals,
    read_quotes,
    value_data,
)
from quotacast.models.cells import Codes, Episodes
from quotacast.models.chain import Chain, prepare_chain
from quotacast.models.checks import predictive_check
from quotacast.models.comovement import Comovement, comovement
from quotacast.models.conversion import LINKS, HazardData, episodes, hazard_data
from quotacast.models.counts import CountData
from quotacast.models.covariates import Covariate, segment_covariate
from quotacast.models.history.breaks import find_breaks, sentence
from quotacast.models.history.history import History
from quotacast.models.history.truncation import entry_date
from quotacast.models.invoices import PaymentData, payment_data
from quotacast.models.people import Employment, employment
from quotacast.models.periods import Calendar
from quotacast.models.stages import StageData, stage_data
from quotacast.models.terms import Cells, Declaration, Floats, Posterior
from quotacast.models.timegrid import Ints, TimeGrid, day_number, holiday_note, learned_grid

Method = Literal["nuts", "laplace"]
Declared = Mapping[str, tuple[Declaration, Cells]]
Told = Callable[[str, float], None]

#: Pareto k-hat above which an importance-weighted fit is not trusted (Vehtari et al. 2024).
KHAT_LIMIT = 0.7
#: Pseudo-deals of the company's mix behind every rep's own mix of segments.
MIX_WEIGHT = 20.0
#: The models that every funnel has; the chain before the deal adds its own (`Prepared.models`).
MODELS = ("created", "won", "lost", "value")
#: Changes with every change to the models that makes an older fit useless.
MODEL_VERSION = 7
#: Days of history without which nothing can be fitted.
SHORTEST = 28


@dataclass(frozen=True)
class Prepared:
    """A history turned into declared models with their cells; cheap and deterministic.

    Attributes
    ----------
    segment : Covariate
        The axis of segments that the data support.
    deals : Episodes
        Every opportunity as of the as-of date, with codes ``rep``, ``segment``, ``amount``.
    notes : tuple of str
        What must be said about the data: truncation, reps who fell silent, bases chosen, what the chain
        lacks, doubts.
    chain : Chain
        What comes before the deal: activities and leads, as far as the data hold them.
    doubts : tuple of str
        Those of the notes that make the forecast doubtful: an end unlike the time before it, no amounts.
    payments : PaymentData, optional
        How invoices are paid; without a model where they are too few, None without that link.
    stages : StageData, optional
        The chain of stages that open deals pass; None where they go by age alone.
    """

    fingerprint: str
    as_of: date
    currency: str
    grid: TimeGrid
    people: Employment
    segment: Covariate
    quotes: Quotes
    deals: Episodes
    counts: CountData
    hazards: HazardData
    value: ValueData
    notes: tuple[str, ...]
    chain: Chain
    doubts: tuple[str, ...] = ()
    payments: PaymentData | None = None
    stages: StageData | None = None

    @property
    def models(self) -> tuple[str, ...]:
        """Names of every model, in a fixed order."""
        return tuple(self.declared())

    def declared(self) -> Declared:
        """Every model by name with its cells."""
        won, lost = zip(self.hazards.declarations, self.hazards.cells, strict=True)
        return {
            "created": (self.counts.declaration, self.counts.cells),
            "won": won,
            "lost": lost,
            "value": (self.value.declaration, self.value.cells),
            **self.chain.declared(),
            **(self.payments.declared() if self.payments is not None else {}),
            **({} if self.stages is None else self.stages.declared()),
        }


@dataclass(frozen=True)
class Funnel:
    """Fitted models of how opportunities come, close and are worth.

    Attributes
    ----------
    prepared : Prepared
    posteriors : mapping of str to Posterior
        By model name; all have the same number of draws.
    residuals : Residuals
        Bootstrap of log amounts.
    mix : ndarray of float32, shape (draws, reps + 1, segments)
        Cumulative shares of segments among new deals per rep; the last row is the company's.
    lead_yield : ndarray, shape (draws,)
        Probability that a converted lead begins an opportunity.
    checks : mapping
        Posterior-predictive checks by model.
    """

    prepared: Prepared
    posteriors: Mapping[str, Posterior]
    residuals: Residuals
    mix: Floats
    lead_yield: Floats
    checks: Mapping[str, Mapping[str, float | bool]]

    @property
    def draws(self) -> int:
        """Posterior draws."""
        return self.posteriors["won"].draws

    @cached_property
    def fingerprint(self) -> str:
        """Of everything that was drawn: two funnels that share it simulate the same, given the same data."""
        digest = hashlib.blake2b(digest_size=16)
        drawn: dict[str, NDArray[Any]] = {"mix": self.mix, "yield": self.lead_yield}
        drawn |= {f"residuals {name}": values for name, values in vars(self.residuals).items()}
        for name, found in self.posteriors.items():
            drawn |= {f"{name} {k}": values for k, values in {**found.effects, **found.hyper}.items()}
        for name, values in sorted(drawn.items()):
            digest.update(f"{name} {values.dtype} {values.shape}".encode())
            digest.update(values.tobytes())
        return digest.hexdigest()

    @cached_property
    def comovements(self) -> Mapping[str, tuple[str, Comovement]]:
        """By the second way in which something ends: the first, and how their shocks move together."""
        pairs = [link.causes[:2] for link in LINKS.values() if len(link.causes) > 1]
        return {
            second: (first, comovement(self.posteriors[first], self.posteriors[second]))
            for first, second in pairs
            if first in self.posteriors and second in self.posteriors
        }

    def diagnostics(self) -> dict[str, dict[str, float | int | str | bool]]:
        """Diagnostics and predictive checks by model, JSON-ready."""
        return {
            name: {**self.posteriors[name].diagnostics, **{f"check_{k}": v for k, v in check.items()}}
            for name, check in self.checks.items()
        }

    def problems(self) -> tuple[str, ...]:
        """Why the fit should not be trusted; empty where all is well."""
        return tuple(_problems(self.diagnostics()))


def _problems(diagnostics: Mapping[str, Mapping[str, float | int | str | bool]]) -> list[str]:
    found = []
    for name, values in diagnostics.items():
        said = ", ".join(
            f"{k} {v}" for k, v in values.items() if k not in ("passed", "check_passed", "method")
        )
        if not values.get("passed", True):
            found.append(f"model {name}: the sampler has not converged ({said})")
        if not values.get("check_passed", True):
            found.append(f"model {name}: it would not have produced the totals that were seen ({said})")
    return found


def prepare(history: History, calendar: Calendar) -> Prepared:
    """Turn a history into declared models.

    Raises
    ------
    DataError
        If the history is too short or too empty for a fit.
    """
    deals = history.opportunities
    created, closed = day_number(deals["created_on"]), day_number(deals["closed_on"])
    as_of = int(day_number(history.as_of_date))
    _refuse_empty(history, created, as_of)
    entry = entry_date(history)
    first = int(created.min()) if entry is None else int(day_number(entry))
    seen = np.concatenate([created[created >= first], closed[deals["closed_on"].notna().to_numpy()]])
    grid = learned_grid(calendar, first, as_of, seen)
    people = employment(history, first, as_of)
    segment = segment_covariate(history)
    quotes = read_quotes(history)
    codes = _codes(history, people, segment, quotes)
    found = episodes(history, LINKS["opportunity"], codes, first)
    sizes = {"rep": len(people.reps), "segment": len(segment.levels), "amount": quotes.bands}
    direct, chain = prepare_chain(history, people, grid, segment)
    doubts = _doubts(history, quotes)
    bills = LINKS.get("invoice")
    payments = payment_data(history, calendar, bills) if bills is not None and bills.due else None
    paying = payments.notes if payments is not None else ()
    row_codes: dict[str, Codes] = {"segment": codes["segment"], "rep": codes["rep"]}
    hazards = hazard_data(found, grid, LINKS["opportunity"].causes, sizes)
    stages, said = stage_data(history, codes, grid, hazards)
    return Prepared(
        history.fingerprint,
        history.as_of_date,
        history.currency,
        grid,
        people,
        segment,
        quotes,
        found,
        direct,
        hazards,
        value_data(history, quotes, row_codes, sizes, grid),
        (
            *_notes(history, entry, people, quotes, segment),
            *holiday_note(grid),
            *chain.notes,
            *said,
            *paying,
            *doubts,
        ),
        chain,
        doubts,
        payments,
        stages,
    )


def _refuse_empty(history: History, created: Ints, as_of: int) -> None:
    deals = history.opportunities
    problems = []
    if not (deals["status"] == "won").any():
        problems.append(
            f"opportunities: no won opportunity by {history.as_of_date}; at least one is needed to learn "
            "how deals are won: check the column status"
        )
    if not len(created):
        problems.append("opportunities: the table is empty; give at least a few weeks of deals")
    elif as_of - int(created.min()) < SHORTEST:
        problems.append(
            f"opportunities: history from {deals['created_on'].min():%Y-%m-%d} to {history.as_of_date} is "
            f"shorter than {SHORTEST} days: give a longer history"
        )
    if problems:
        raise DataError(problems)


def _codes(history: History, people: Employment, segment: Covariate, quotes: Quotes) -> dict[str, Codes]:
    """Axes of every opportunity, in the order of the table."""
    index = people.index()
    rep = np.array([index[r] for r in history.opportunities["rep_id"]], dtype=np.int32)
    codes = {"rep": rep, "segment": segment.codes, "amount": quotes.band(quotes.at_creation)}
    return codes if quotes.bands > 1 else {k: v for k, v in codes.items() if k != "amount"}


def _notes(
    history: History, entry: date | None, people: Employment, quotes: Quotes, segment: Covariate
) -> tuple[str, ...]:
    notes = []
    if entry is not None:
        notes.append(
            f"The data hold only deals still open on {entry:%d %b %Y}: rates are learned from then on."
        )
    if people.gone_silent:
        notes.append(
            f"Taken as gone, having fallen silent: {', '.join(people.gone_silent)} (left_on decides)."
        )
    if people.after_leaving:
        notes.append(f"Opportunities created after the rep's last day: {', '.join(people.after_leaving)}.")
    if len(people.reps) == 1:
        notes.append("One rep: there is no comparison between reps.")
    if not (history.opportunities["status"] == "lost").any():
        notes.append(
            "No lost deals are recorded: the close rate cannot be told, wins are modelled by age alone."
        )
    notes.append(
        "Deal values: quotes known at creation enter the odds."
        if quotes.basis == "created"
        else "Deal values are learned from wins: amounts at creation are not known well enough."
    )
    if segment.column:
        notes.append(f"Segments come from the column {segment.column}: {', '.join(segment.levels)}.")
    return tuple(notes)


def _doubts(history: History, quotes: Quotes) -> tuple[str, ...]:
    """Why the forecast may be off, whatever the models make of the data."""
    said = [sentence(found) for found in find_breaks(history)]
    amount = history.opportunities["amount"][history.opportunities["status"] == "won"]
    if quotes.basis == "won" and not (amount > 0).any():
        said.append("No won deal has an amount above 0: bookings are forecast to be 0.")
    return tuple(said)


def fit(
    prepared: Prepared,
    *,
    method: Method = "laplace",
    draws: int = 2000,
    seed: int = 1,
    fall_back: bool = True,
    told: Told | None = None,
    threads: int = 2,
    check: bool = True,
) -> Funnel:
    """Fit every model of a prepared history.

    Parameters
    ----------
    method : {"nuts", "laplace"}
        NUTS is the exact reference; see README for when to choose which.
    draws : int
        Posterior draws in all.
    fall_back : bool
        Fit a model by NUTS where the importance check of the Laplace approximation fails.
    told : callable, optional
        Called with a model's name and the share of the work that is done.
    threads : int
        Models fitted by Laplace at the same time. Where other processes keep the cores busy one is best:
        threads wait for each other's interpreter lock.
    check : bool
        Whether posterior-predictive checks are made; without them `Funnel.checks` is empty.
    """
    declared = prepared.declared()
    found = dict(_FITTERS[method](declared, draws, seed, told or _nobody, threads))
    sure: dict[str, Posterior] = {}
    for name, result in found.items():
        failed = isinstance(result, FitError) or float(result.diagnostics.get("khat", 0.0)) > KHAT_LIMIT
        if fall_back and failed:
            sure[name] = _nuts_one(declared, name, draws, seed)
        elif isinstance(result, FitError):
            raise result
        else:
            sure[name] = result
    return assemble(prepared, {name: sure[name] for name in declared}, seed, check)


def _nobody(name: str, share: float) -> None:
    """Tell nobody."""


def _nuts_one(declared: Declared, name: str, draws: int, seed: int) -> Posterior:
    from quotacast.models.inference import CHAINS, fit_nuts

    declaration, cells = declared[name]
    return fit_nuts(declaration, cells, draws=draws // CHAINS, seed=seed + list(declared).index(name))


def _nuts(
    declared: Declared, draws: int, seed: int, told: Told, threads: int
) -> Iterator[tuple[str, Posterior | FitError]]:
    for k, name in enumerate(declared):
        told(name, k / len(declared))
        yield name, _nuts_one(declared, name, draws, seed)
    told("all", 1.0)


def _laplace(
    declared: Declared, draws: int, seed: int, told: Told, threads: int
) -> Iterator[tuple[str, Posterior | FitError]]:
    from quotacast.models.laplace import fit_laplace

    # the longest models go first, and BLAS keeps to one thread
    with ThreadPoolExecutor(threads) as pool:
        waiting = {
            name: pool.submit(
                fit_laplace, *declared[name], draws=draws, seed=seed + list(declared).index(name)
            )
            for name in sorted(declared, key=lambda name: -len(declared[name][1]))
        }
        for k, (name, future) in enumerate(waiting.items()):
            told(name, k / len(waiting))
            error = future.exception()
            yield name, error if isinstance(error, FitError) else future.result()
    told("all", 1.0)


Fitter = Callable[[Declared, int, int, Told, int], Iterator[tuple[str, Posterior | FitError]]]
_FITTERS: Mapping[Method, Fitter] = {
    "nuts": _nuts,
    "laplace": _laplace,
}


def assemble(
    prepared: Prepared,
    posteriors: Mapping[str, Posterior],
    seed: int,
    check: bool = True,
    checks: Mapping[str, Mapping[str, float | bool]] | None = None,
) -> Funnel:
    """Put fitted models together; deterministic given the posteriors, so that a stored fit can be reused.

    Parameters
    ----------
    check : bool
        Whether to make posterior-predictive checks.
    checks : mapping, optional
        Those that were made when the models were fitted.
    """
    if checks is None:
        declared = prepared.declared() if check else {}
        checks = {name: predictive_check(*declared[name], posteriors[name], seed) for name in declared}
    return Funnel(
        prepared,
        posteriors,
        bootstrap_residuals(prepared.value, posteriors["value"], seed),
        _segment_mix(prepared, posteriors["won"].draws, seed),
        _lead_yield(prepared, posteriors["won"].draws, seed),
        dict(checks),
    )


def _segment_mix(prepared: Prepared, draws: int, seed: int) -> Floats:
    reps, levels = len(prepared.people.reps), len(prepared.segment.levels)
    codes = prepared.deals.codes["rep"], prepared.deals.codes["segment"]
    return cumulative_mix(*codes, (reps, levels), draws, seed + 1)


def cumulative_mix(rep: Codes, segment: Codes, sizes: tuple[int, int], draws: int, seed: int) -> Floats:
    """Cumulative Dirichlet draws of every rep's mix of segments around the company's.

    Parameters
    ----------
    rep, segment : ndarray, shape (rows,)
    sizes : tuple of int
        Numbers of reps and of segments.

    Returns
    -------
    ndarray, shape (draws, reps + 1, segments)
        The last row is the company's.
    """
    rng = np.random.default_rng(seed)
    count = np.bincount(rep * sizes[1] + segment, minlength=sizes[0] * sizes[1]).reshape(sizes).astype(float)
    company = count.sum(axis=0) + 0.5
    alpha = np.vstack([count + MIX_WEIGHT * company / company.sum(), company])
    gamma = rng.standard_gamma(alpha, size=(draws, *alpha.shape))
    cumulative = np.cumsum(gamma, axis=2)
    return np.asarray(cumulative / cumulative[:, :, -1:])


def _lead_yield(prepared: Prepared, draws: int, seed: int) -> Floats:
    """Beta draws, around 1 before any lead was seen."""
    some, all_of = prepared.chain.lead_yield
    return np.random.default_rng(seed + 2).beta(some + 1.0, all_of - some + 0.05, draws)


def require_trust(funnel: Funnel, force: bool = False) -> None:
    """Refuse a fit whose diagnostics fail, unless forced.

    Raises
    ------
    FitError
        With every failed diagnostic and what to do.
    """
    problems = funnel.problems()
    if problems and not force:
        raise FitError(
            [*problems, "fit again with more draws or another seed, or use --force to go on regardless"]
        )
