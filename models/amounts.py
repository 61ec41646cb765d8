"""How much: the value of a deal.

Likelihood, for amounts above zero ::

    log amount = level + segment + rep + quarter's level (trend) + residual

The location terms are fitted as a Normal model; the residuals are then *not* taken to be Normal but
resampled by the Bayesian bootstrap (Rubin 1981, doi:10.1214/aos/1176345338): every posterior draw
holds its own Dirichlet weights over the observed residuals, so skewness and tail are the company's
own. (A fitted lognormal overstated the mean of one real-shaped book by 44 %.) No simulated amount
exceeds ``PLAUSIBLE_TIMES`` the largest ever seen. Wins of amount zero are a point mass whose share has
a Beta posterior (Jeffreys prior).

Which amounts are modelled depends on what is known, and is said in ``basis``:

* ``created``: amounts are known at creation for at least ``KNOWN_SHARE`` of lost and open deals. Every
  deal gets a quote at its creation, the quote's band enters the hazards, and a win books quote x
  (final / quoted), the ratios taken from the company's own wins.
* ``won``: otherwise. Amounts are modelled among wins only, and a win draws its amount at the close; an
  open deal that carries a quote books quote x ratio.

A lost or open deal contributes to the value only through its quote (``created``), never as a zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quotacast.models.history.history import History
from quotacast.models.terms import Cells, Codes, Declaration, Floats, Posterior, Term
from quotacast.models.timegrid import Ints, TimeGrid, day_number

Basis = Literal["created", "won"]

#: Share of lost and open deals whose amount must be known at creation for it to enter the hazards.
KNOWN_SHARE = 0.8
#: Largest number of bands of the quoted amount.
AMOUNT_BANDS = 4
#: A simulated amount never exceeds this multiple of the largest amount ever seen.
PLAUSIBLE_TIMES = 2.0
#: Residuals kept for the bootstrap; more are thinned at even ranks, which keeps the tail.
RESIDUALS = 4096
#: Days after the creation within which an amount counts as known at creation.
QUOTED_WITHIN = 7
#: Days between the snapshots of open deals from which final / quoted is learned.
SNAPSHOT_DAYS = 30


@dataclass(frozen=True)
class Quotes:
    """What was quoted and what was finally booked.

    Attributes
    ----------
    at_creation : ndarray, shape (opportunities,)
        Amount at creation in currency units; NaN where unknown.
    basis : {"created", "won"}
    band_edges : ndarray
        Upper ends of all amount bands but the last (``created`` only; empty otherwise).
    new_ratio, open_ratio : ndarray
        log(final / quoted) of wins: since creation, and as open deals stood at monthly snapshots.
    """

    at_creation: Floats
    basis: Basis
    band_edges: Floats
    new_ratio: Floats
    open_ratio: Floats

    def band(self, amount: Floats) -> Codes:
        """Band of quoted amounts: 0 unknown or zero, then 1.. by size."""
        known = np.isfinite(amount) & (amount > 0)
        code = 1 + np.searchsorted(self.band_edges, np.where(known, amount, 0.0), side="right")
        return np.where(known, code, 0).astype(np.int32)

    @property
    def bands(self) -> int:
        """Number of bands, the unknown one included; 1 where amount does not enter the hazards."""
        return self.band_edges.size + 2 if self.basis == "created" else 1


def read_quotes(history: History) -> Quotes:
    """Work out what the history knows about amounts before the close."""
    deals = history.opportunities
    final = deals["amount"].to_numpy(dtype=float)
    status = deals["status"].to_numpy(dtype=object)
    trail = _amount_trail(history)
    opening = trail[trail["day"] <= day_number(deals["created_on"])[trail["row"]] + QUOTED_WITHIN]
    first = opening.groupby("row")["amount"].first().reindex(range(len(deals))).to_numpy(dtype=float)
    at_creation = np.where(np.isfinite(first), first, np.where(status == "won", np.nan, final))
    unfinished = status != "won"
    known = np.isfinite(at_creation) & (at_creation > 0)
    won_known = known[~unfinished].mean() if (~unfinished).any() else 0.0
    covers = bool(unfinished.any()) and min(known[unfinished].mean(), won_known) >= KNOWN_SHARE
    basis: Basis = "created" if covers else "won"
    edges = np.empty(0)
    if basis == "created":
        ranks = np.linspace(0, 1, AMOUNT_BANDS + 1)[1:-1]
        edges = np.unique(np.quantile(at_creation[known], ranks))
    won = (status == "won") & known & (final > 0)
    new_ratio = np.log(final[won] / at_creation[won])
    return Quotes(at_creation, basis, edges, _thin(new_ratio), _thin(_snapshot_ratios(history, trail)))


def _amount_trail(history: History) -> pd.DataFrame:
    """Amounts as they stood, by opportunity row and day, oldest first; before the closing day only."""
    stages = history.stages
    position = pd.Series(np.arange(len(history.opportunities)), index=history.opportunities["opportunity_id"])
    trail = pd.DataFrame(
        {
            "row": stages["opportunity_id"].map(position),
            "day": day_number(stages["entered_on"]),
            "amount": stages["amount"].astype(float),
        }
    ).dropna()
    trail["row"] = trail["row"].astype(int)
    deals = history.opportunities
    closed = np.where(deals["closed_on"].notna(), day_number(deals["closed_on"]), np.iinfo(np.int64).max)
    created = day_number(deals["created_on"])
    # what is written on the day of the close is the outcome; a deal that closes at once keeps its quote
    before = (trail["day"] < closed[trail["row"]]) | (closed == created)[trail["row"]]
    kept: pd.DataFrame = trail[before]
    return kept.sort_values(["row", "day"], kind="stable")


def _snapshot_ratios(history: History, trail: pd.DataFrame) -> Floats:
    """log(final / quoted) of deals open at a snapshot and won later: the population of open deals."""
    deals = history.opportunities
    start, stop = day_number(deals["created_on"]), day_number(deals["closed_on"])
    final = deals["amount"].to_numpy(dtype=float)
    won = (deals["status"].to_numpy(dtype=object) == "won") & (final > 0)
    if trail.empty or not won.any():
        return np.empty(0)
    found: list[Floats] = []
    amounts = trail[trail["amount"] > 0]
    for day in range(int(start.min()), int(stop[won].max()) + 1, SNAPSHOT_DAYS):
        stood = amounts[amounts["day"] <= day].groupby("row")["amount"].last()
        row = stood.index.to_numpy()
        live = won[row] & (stop[row] > day)
        found.append(np.log(final[row[live]] / stood.to_numpy()[live]))
    return np.concatenate(found)


def _thin(values: Floats) -> Floats:
    """Sorted values, at even ranks where there are more than ``RESIDUALS``; 0 where there are none."""
    if values.size == 0:
        return np.zeros(1)
    ordered = np.sort(values)
    if ordered.size <= RESIDUALS:
        return ordered
    edges = np.linspace(0, ordered.size, RESIDUALS + 1).astype(int)
    groups = np.exp(ordered)
    means = np.add.reduceat(groups, edges[:-1]) / np.diff(edges)
    return np.asarray(np.log(means))


@dataclass(frozen=True)
class ValueData:
    """The declared value model, its cells, and the rows behind them.

    Attributes
    ----------
    declaration, cells
        The Normal model of log amounts.
    log_amount : ndarray, shape (rows,)
    row_codes : mapping of str to ndarray
        Axes of every row.
    quarters : ndarray
        Running quarters behind the trend.
    zeros, total : int
        Wins of amount zero, and all wins with an amount.
    plausible_max : float
        Largest amount that is simulated, currency units.
    """

    declaration: Declaration
    cells: Cells
    log_amount: Floats
    row_codes: dict[str, Codes]
    quarters: Ints
    zeros: int
    total: int
    plausible_max: float


def value_data(
    history: History, quotes: Quotes, codes: dict[str, Codes], sizes: dict[str, int], grid: TimeGrid
) -> ValueData:
    """Cells of log amounts by segment, rep and quarter."""
    deals = history.opportunities
    won = deals["status"].to_numpy(dtype=object) == "won"
    final = deals["amount"].to_numpy(dtype=float)
    if quotes.basis == "created":
        amount, day = quotes.at_creation, day_number(deals["created_on"])
        eligible = np.ones(len(deals), dtype=bool)
    else:
        amount, day, eligible = final, day_number(deals["closed_on"]), won
    keep = eligible & np.isfinite(amount) & (amount > 0) & (day >= grid.first) & (day <= grid.last)
    quarter = grid.calendar.quarter_index(day[keep].astype("datetime64[D]"))
    quarters = np.arange(grid.quarter.min(), grid.quarter.max() + 1, dtype=np.int64)
    row_codes = {name: code[keep] for name, code in codes.items()}
    row_codes["quarter"] = (quarter - quarters[0]).astype(np.int32)
    log_amount = np.log(amount[keep])
    largest = np.nanmax(np.where(won | eligible, np.fmax(final, amount), np.nan))
    return ValueData(
        value_declaration(sizes | {"quarter": quarters.size}),
        normal_cells(log_amount, row_codes),
        log_amount,
        row_codes,
        quarters,
        int((won & (final == 0)).sum()),
        int((won & np.isfinite(final)).sum()),
        float(PLAUSIBLE_TIMES * largest),
    )


def value_declaration(sizes: dict[str, int]) -> Declaration:
    """Declare the location of log amounts."""
    terms = [
        Term("level", "level", "", 1, 4.0, "amounts between 1 and 10 million currency units", (8.5,)),
        Term("segment", "contrast", "segment", sizes.get("segment", 1), 1.0, "segments differ by factors"),
        Term("rep", "pooled", "rep", sizes.get("rep", 1), 0.3, "reps sell larger or smaller deals"),
        Term("trend", "walk", "quarter", sizes["quarter"], 0.1, "prices and mix drift slowly"),
    ]
    return Declaration("value", "normal", tuple(t for t in terms if t.size > 1 or t.kind == "level"))


def normal_cells(values: Floats, codes: dict[str, Codes]) -> Cells:
    """Sufficient statistics of a Normal model by the axes of ``codes``."""
    names = list(codes)
    sizes = [int(codes[name].max(initial=0)) + 1 for name in names]
    key = np.ravel_multi_index([codes[name] for name in names], sizes)
    occupied, cell = np.unique(key, return_inverse=True)
    n = np.bincount(cell).astype(float)
    mean = np.bincount(cell, values) / n
    squares = np.bincount(cell, (values - mean[cell]) ** 2).astype(float)
    decoded = np.unravel_index(occupied, sizes)
    axes = {name: code.astype(np.int32) for name, code in zip(names, decoded, strict=True)}
    return Cells(mean, n, axes, squares)


@dataclass(frozen=True)
class Residuals:
    """The bootstrap of what the location does not explain.

    Attributes
    ----------
    values : ndarray, shape (m,)
        Sorted residuals of log amounts.
    cumulative : ndarray of float32, shape (draws, m)
        Cumulative Dirichlet weights, one row per posterior draw; the last entry is 1.
    zero_share : ndarray, shape (draws,)
        Probability that a win books nothing.
    """

    values: Floats
    cumulative: NDArray[np.float32]
    zero_share: Floats


def _smearing(log_amount: Floats, location: Floats, residual: Floats) -> float:
    """Log factor that makes the modelled mean of all amounts the observed one.

    Where groups differ in shape and not only in location (a rep who sells other products), locations of logs
    times the mean of exp(residual), Duan's smearing (1983, doi:10.1080/01621459.1983.10478017), miss the mean
    of the whole; money must add up there first.
    """
    modelled = np.exp(location).mean() * np.exp(residual).mean()
    return float(np.log(np.exp(log_amount).mean() / modelled))


def _worthless(draws: int) -> Residuals:
    """No amount above 0 was ever seen, so there is nothing to draw from: every win books nothing."""
    return Residuals(np.zeros(1), np.ones((draws, 1), dtype=np.float32), np.ones(draws))


def bootstrap_residuals(data: ValueData, posterior: Posterior, seed: int) -> Residuals:
    """Draw the Bayesian bootstrap that goes with a posterior of the location.

    Where no amount is above 0, every win books nothing.
    """
    if not data.log_amount.size:
        return _worthless(posterior.draws)
    rng = np.random.default_rng(seed)
    location = np.zeros(data.log_amount.size)
    for term in data.declaration.terms:
        mean = posterior.effects[term.name].mean(axis=0)
        location += mean[0] if term.kind == "level" else mean[data.row_codes[term.axis]]
    residual = data.log_amount - location
    values = _thin(residual + _smearing(data.log_amount, location, residual))
    gaps = rng.standard_exponential((posterior.draws, values.size), dtype=np.float32)
    cumulative = np.cumsum(gaps, axis=1, dtype=np.float64)
    cumulative /= cumulative[:, -1:]
    zero = rng.beta(data.zeros + 0.5, data.total - data.zeros + 0.5, posterior.draws)
    share = zero if data.zeros else np.zeros(posterior.draws)
    return Residuals(values, cumulative.astype(np.float32), share)
