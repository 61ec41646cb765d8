"""Invoices that are paid in parts: how often, how large the first part is, and what is left of open ones.

Every invoice that gets paid has a first payment; its day comes from the hazard of payment
(:mod:`quotacast.models.invoices`). That payment is a part of the invoice with odds q, and then a share s of
it ::

    parts of customer c ~ Binomial(first payments of c, q_c),     q_c ~ Beta(m k, (1 - m) k)
    p(m, k | data) ~ Beta(m; PRIOR) 1/k prod over c BetaBinomial(parts_c | first payments_c, m k, (1 - m) k)

with m, k integrated over a grid: customers with few payments are drawn to the others, a new one is a draw of
the population. First payments are counted, not settled invoices: those in parts take longer, and counting
what is settled would miss them. Shares s are the ones seen, next to a uniform prior that weighs as much as
``SHARE_PRIOR`` of them. What is left is owed from the day after the first part on, under the same hazard
times a pace of its own where there are enough such rests to learn it; it is paid at once (further parts are
put off to the last one), and it may never be paid, with the odds of an invoice.

Only payments from the first one in the table on are counted: earlier ones have one ``paid_on`` per invoice.
What is not told apart: reasons of a part (a dispute, an instalment plan), and customers whose rests go bad.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quotacast.models.cells import Codes
from quotacast.models.terms import Floats
from quotacast.models.timegrid import Ints, day_number

Marks = NDArray[np.bool_]

#: Stands for the day of a part where there was none.
NO_PART = -(1 << 30)
#: Beta prior of the mean odds that a first payment is a part.
PRIOR = (0.5, 4.5)
#: Grid of the mean odds and of the number of payments that a customer's habit outweighs.
MEANS = np.linspace(0.0025, 0.9975, 200)
WEIGHTS = np.geomspace(1.0, 300.0, 25)
#: Seen shares of first parts that the prior weighs as much as.
SHARE_PRIOR = 2.0
#: Quantiles at which shares are kept.
SHARES = 512


@dataclass(frozen=True)
class Partly:
    """What payments tell of invoices, arrays of shape (n,).

    Attributes
    ----------
    day : ndarray of int64
        Day number of the first part; ``NO_PART`` where there is none.
    share : ndarray
        Its share of the invoice; NaN where there is none.
    left : ndarray
        Share of the invoice that the parts so far leave.
    since : int or None
        Day number of the first payment of the table; None without the table.
    """

    day: Ints
    share: Floats
    left: Floats
    since: int | None

    @property
    def any(self) -> Marks:
        """Invoices that were paid in part."""
        return np.asarray(self.day > NO_PART)


def partly_paid(rows: pd.DataFrame, payments: pd.DataFrame, start: Ints, stop: Ints) -> Partly:
    """Find first parts: payments before the last day that leave something.

    Parameters
    ----------
    rows : pandas.DataFrame
        Invoices.
    payments : pandas.DataFrame
        The table, cut to the as-of date.
    start : ndarray of int64, shape (n,)
        Days of issue: nothing counts as paid before.
    stop : ndarray of int64, shape (n,)
        Days on which they were paid in full; a later day where they were not.
    """
    n = len(rows)
    none = Partly(np.full(n, NO_PART), np.full(n, np.nan), np.ones(n), None)
    at = pd.Index(rows["invoice_id"]).get_indexer(pd.Index(payments["invoice_id"]))
    amount = rows["amount"].to_numpy(dtype=float)[at]
    kept = (at >= 0) & (amount > 0)
    if not kept.any():
        return none
    table = pd.DataFrame({"row": at, "day": np.maximum(day_number(payments["paid_on"]), start[at])})
    table["share"] = payments["amount"].to_numpy(dtype=float) / np.where(kept, amount, 1.0)
    by_day = table[kept].groupby(["row", "day"], sort=True)["share"].sum().reset_index()
    by_day["so_far"] = by_day.groupby("row")["share"].cumsum()
    early = by_day[by_day["day"].to_numpy() < stop[by_day["row"].to_numpy()]]
    first = early[(early["so_far"] > 0) & (early["so_far"] < 1)].drop_duplicates("row")
    last = early.drop_duplicates("row", keep="last")
    row = first["row"].to_numpy()
    none.day[row], none.share[row] = first["day"].to_numpy(), first["so_far"].to_numpy()
    none.left[last["row"].to_numpy()] = np.clip(1.0 - last["so_far"].to_numpy(), 0.0, None)
    return Partly(none.day, none.share, none.left, int(day_number(payments["paid_on"]).min()))


@dataclass(frozen=True)
class Habits:
    """Which first payments are parts, and how large parts are.

    Attributes
    ----------
    payments, parts : ndarray, shape (customers,)
        First payments, and those of them that are parts.
    mass : ndarray, shape (means, weights)
        Posterior of the population's mean odds and of how alike customers are.
    share : ndarray, shape (SHARES,)
        Quantiles of the first part's share; empty where no payments are known one by one.
    """

    payments: Floats
    parts: Floats
    mass: Floats
    share: Floats

    @property
    def known(self) -> bool:
        """Whether the data tell of parts at all."""
        return bool(self.share.size)

    @property
    def mean(self) -> float:
        """Posterior mean of the population's odds."""
        return float(self.mass.sum(axis=1) @ MEANS) if self.known else 0.0

    def odds(self, names: Sequence[str], customer: Codes, draws: int, seed: int) -> NDArray[np.float32]:
        """Posterior draws of the odds of classes of payers, shape (draws, classes).

        Parameters
        ----------
        names : sequence of str
            Their random numbers hang on these, so that one more class changes no other.
        customer : ndarray of int32, shape (classes,)
            -1 for customers not yet known.
        """
        cell = np.searchsorted(np.cumsum(self.mass), np.random.default_rng(seed).random(draws) * (1 - 1e-12))
        mean, weight = MEANS[cell // WEIGHTS.size], WEIGHTS[cell % WEIGHTS.size]
        out = np.empty((draws, len(names)), dtype=np.float32)
        for k, (name, who) in enumerate(zip(names, customer, strict=True)):
            parts, whole = (self.parts[who], self.payments[who]) if who >= 0 else (0.0, 0.0)
            own = name.split(" / ")[0]  # one habit for all classes of a customer
            rng = np.random.default_rng([seed, zlib.crc32(own.encode())])
            out[:, k] = rng.beta(parts + mean * weight, whole - parts + (1.0 - mean) * weight)
        return out


def habits(partly: Partly, paid: Marks, stop: Ints, owed: Marks, who: Codes) -> Habits:
    """Learn habits from first payments.

    Parameters
    ----------
    partly : Partly
    paid, stop, owed : ndarray, shape (n,)
        Which invoices are paid in full and on which day, and which count.
    who : ndarray of int32, shape (n,)
        Customers.
    """
    customers = int(who.max(initial=0)) + 1
    if partly.since is None:
        return Habits(np.zeros(customers), np.zeros(customers), np.ones((1, 1)), np.empty(0))
    first = np.where(partly.any, partly.day, stop)
    counted = owed & (partly.any | paid) & (first >= partly.since)
    payments = np.bincount(who[counted], minlength=customers).astype(float)
    parts = np.bincount(who[counted & partly.any], minlength=customers).astype(float)
    seen = np.sort(partly.share[counted & partly.any])
    return Habits(payments, parts, _posterior(parts, payments), _shares(seen))


def _posterior(parts: Floats, payments: Floats) -> Floats:
    """Posterior over the grid (see the module), shape (means, weights)."""
    from scipy.special import betaln

    seen = payments > 0
    pairs, count = np.unique(np.stack([parts[seen], payments[seen]]), axis=1, return_counts=True)
    a = MEANS[:, None] * WEIGHTS
    b = (1.0 - MEANS)[:, None] * WEIGHTS
    log = (PRIOR[0] - 1.0) * np.log(MEANS)[:, None] + (PRIOR[1] - 1.0) * np.log1p(-MEANS)[:, None]
    log = log + np.zeros_like(a)  # weights are evenly spaced on the log scale: 1/k
    for (k, n), times in zip(pairs.T, count, strict=True):
        log += times * (betaln(a + k, b + n - k) - betaln(a, b))
    mass = np.exp(log - log.max())
    return np.asarray(mass / mass.sum())


def _shares(seen: Floats) -> Floats:
    """Quantiles of the mixture of the shares seen and a uniform one."""
    grid = np.linspace(0.0, 1.0, 2001)
    prior = SHARE_PRIOR / (seen.size + SHARE_PRIOR)
    below = np.searchsorted(seen, grid, side="right") / max(seen.size, 1)
    distribution = prior * grid + (1.0 - prior) * below
    at = (np.arange(SHARES) + 0.5) / SHARES
    place = np.minimum(np.searchsorted(distribution, at), grid.size - 1)
    return np.asarray(np.clip(grid[place], 0.001, 0.999))


@dataclass(frozen=True)
class Claims:
    """What is waited for: every invoice until its first payment, and what is left of those paid in part.

    Arrays of shape (claims,), invoices first.

    Attributes
    ----------
    row : ndarray of int64
        Place of the invoice.
    entry : ndarray of int64
        First day.
    stop : ndarray of int64
        Day of the payment, or the last day under observation.
    paid, rest : ndarray of bool
        Whether it was paid; whether it is what a part left.
    """

    row: Ints
    entry: Ints
    stop: Ints
    paid: Marks
    rest: Marks

    def where(self, keep: Marks) -> Claims:
        """The claims marked in ``keep``."""
        return Claims(self.row[keep], self.entry[keep], self.stop[keep], self.paid[keep], self.rest[keep])


def claims(partly: Partly, start: Ints, end: Ints, paid: Marks) -> Claims:
    """Cut invoices at their first parts.

    Parameters
    ----------
    start, end, paid : ndarray, shape (n,)
        First and last day under observation of whole invoices, and whether they were paid on the last.
    """
    cut = partly.any
    rest = np.flatnonzero(cut & (partly.day < end))
    everything = np.arange(start.size)
    return Claims(
        np.append(everything, rest),
        np.append(start, partly.day[rest] + 1),
        np.append(np.where(cut, partly.day, end), end[rest]),
        np.append(paid | cut, paid[rest]),
        np.append(np.zeros(start.size, dtype=bool), np.ones(rest.size, dtype=bool)),
    )
