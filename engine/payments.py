"""How invoices are paid, as arrays that a compiled loop reads, and the function that pays one invoice.

An invoice is paid by a hazard per weighted day (:mod:`quotacast.models.invoices`) ::

    h(day) = hazard[p, terms band, phase band] * month[d, month] * factor[p, class] * band[p, amount band]

with p the posterior draw, d the simulated one, the phase counted from the due day, days weighted by weekday
and holiday; or it is never paid: with probability ``never[p]`` for a new invoice, more for one that has been
open for long (Bayes: never / (never + (1 - never) S(age))). What is not paid ``write_off_days`` after the due
day is written off then. An invoice is paid in full unless :class:`quotacast.engine.parts.Parts` says that a
payment is a part: then the rest is paid on a later day, by the same hazard times a pace, or never.

Where too few invoices are known, payments are *assumed*: ``basis`` and ``notes`` say so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from quotacast.engine.parts import Assumed, Parts, parts_of
from quotacast.engine.streams import keys, normals
from quotacast.models.invoices import FAR, WRITE_OFF_DAYS, PaymentData
from quotacast.models.parts import NO_PART
from quotacast.models.payers import NEW_CUSTOMERS, Classes, OpenInvoices
from quotacast.models.terms import Floats, Posterior
from quotacast.models.timegrid import Ints, TimeGrid, day_number

#: The assumption where there are too few invoices: first day of every phase (days after the due day) and the
#: hazard of payment per weighted day in it. Half are paid by three days after the due day, nine in ten by
#: 25 days after it.
ASSUMED_EDGES = (FAR, -7, 0, 1, 8, 31, 61, 91)
ASSUMED_HAZARD = (0.004, 0.03, 0.2, 0.12, 0.08, 0.05, 0.04, 0.03)
#: Spread of the assumption, on the log scale: of the level, of customers, of months.
ASSUMED_LEVEL, ASSUMED_CUSTOMER, ASSUMED_MONTH, ASSUMED_RHO = 0.25, 0.5, 0.1, 0.67
#: Posterior draws of an assumption.
ASSUMED_DRAWS = 2000


@dataclass(frozen=True)
class Payments:
    """Everything that decides when an invoice is paid.

    ``P`` posterior draws (a simulated draw d uses ``parameter[d]``), days counted from ``first``.

    Attributes
    ----------
    basis : str
        ``invoices`` (learned) or ``assumption``.
    first : int
        Day number (since 1970-01-01) of day 0, the day after the as-of date.
    cumulative : ndarray, shape (days + 1,)
        Weighted days before every day.
    month_of_day, month_end : ndarray of int64, shape (days,)
        Index of the month of every day, and the first day of the next month (at most ``days``).
    phase_edges, terms_edges : ndarray of int64
        First day after the due day of every phase; least days from issue to due day of every band of terms.
    hazard : ndarray, shape (P, terms, phases)
        Per weighted day, for a customer and an amount of the middle.
    classes : Classes
        Who pays: ``names``, cumulative ``share`` among future invoices, ``code(customers, kinds)``. The last
        ``NEW_CUSTOMERS`` are customers not yet known.
    factor : ndarray of float32, shape (P, classes)
    band_edges : ndarray, shape (bands - 1,)
        Amounts (currency units) at which amount bands begin.
    band : ndarray, shape (P, bands)
    never : ndarray, shape (P,)
    parts : Parts
    write_off_days : int
    open : OpenInvoices
        What is unpaid at the as-of date; its ``code`` indexes ``classes``.
    open_never : ndarray of float32, shape (P, open invoices)
        Odds that an open invoice will never be paid, given that it has not been paid so far.
    shock : mapping of str to ndarray, shape (P,)
        ``last`` shock and trend of the data, their ``sd`` and ``rho``, from which the months go on.
    month_steps : tuple of (int, int)
        For every month from the as-of date on: months since the last known one, and whether a quarter begins.
    seed : int
    notes : tuple of str
    """

    basis: str
    first: int
    cumulative: Floats
    month_of_day: Ints
    month_end: Ints
    phase_edges: Ints
    terms_edges: Ints
    hazard: Floats
    classes: Classes
    factor: NDArray[np.float32]
    band_edges: Floats
    band: Floats
    never: Floats
    parts: Parts
    write_off_days: int
    open: OpenInvoices
    open_never: NDArray[np.float32]
    shock: Mapping[str, Floats]
    month_steps: tuple[tuple[bool, bool], ...]
    seed: int
    notes: tuple[str, ...] = ()

    @property
    def draws(self) -> int:
        """Posterior draws."""
        return int(self.hazard.shape[0])

    def fixed(self) -> dict[str, Any]:
        """Arguments of :func:`payment_day` that all draws share, by name."""
        names = ("cumulative", "month_of_day", "month_end", "phase_edges", "terms_edges", "hazard")
        return {name: getattr(self, name) for name in names}

    def block(self, first: int, draws: int) -> dict[str, Any]:
        """What differs between draws: ``parameter`` (draws,) and ``month`` (draws, months)."""
        row = np.arange(first, first + draws) % self.draws
        return {"parameter": row, "month": self._months(row, first)}

    def _months(self, row: Ints, first: int) -> Floats:
        """Multipliers of the hazard by month: the last shock goes on as an AR(1), the trend as a walk."""
        size = len(self.month_steps)
        noise = normals(keys(self.seed, "payment month", ["shock", "trend"]), first, row.size, size)
        rho, sd, step = (self.shock[name][row] for name in ("rho", "sd", "trend_sd"))
        state, trend = self.shock["last"][row], self.shock["trend"][row]
        out = np.empty((row.size, size))
        for m, (moves, quarter) in enumerate(self.month_steps):
            if moves:
                state = rho * state + sd * np.sqrt(1.0 - rho**2) * noise[:, 0, m]
            if quarter:
                trend = trend + step * noise[:, 1, m]
            out[:, m] = state + trend
        return np.exp(out)


def payments_of(
    data: PaymentData,
    posterior: Posterior | None,
    horizon: date,
    seed: int,
    *,
    write_off_days: int = WRITE_OFF_DAYS,
    part_payment: Assumed | None = None,
) -> Payments:
    """How invoices are paid from the day after the as-of date to the horizon.

    Parameters
    ----------
    data : PaymentData
        ``funnel.prepared.payments``, or of :func:`quotacast.models.invoices.payment_data`.
    posterior : Posterior, optional
        ``funnel.posteriors.get("paid")``; without it payments are assumed.
    horizon : date
        Last simulated day.
    seed : int
    write_off_days : int
        Days past due after which an invoice is written off.
    part_payment : Assumed, optional
        In place of what payments tell.
    """
    grid = _future(data.grid, int(day_number(horizon)))
    found = _assumed(data, seed) if posterior is None else _learned(data, posterior, grid, seed)
    learned, rng = posterior is not None, np.random.default_rng(seed)
    never = data.never.sample(found["factor"].shape[0], rng)
    opened = data.open
    parts = parts_of(data, posterior, never.size, seed, part_payment)
    parted = opened.part > NO_PART  # what a part left counts from the day after it
    entry = np.where(parted, opened.part + 1, opened.issued)
    days, path = np.unique(np.stack([entry, opened.issued, opened.due]), axis=1, return_inverse=True)
    open_never = _never_given_open(
        never,
        _past_hazard(days[0], days[1], days[2], found, grid.first),
        path.reshape(-1),
        found["factor"],
        opened.code,
        found["band"],
        opened.band,
        parts.pace,
        parted,
    )
    month = grid.month[grid.piece(grid.days)]
    return Payments(
        basis="invoices" if learned else "assumption",
        first=grid.first,
        cumulative=grid.cumulative,
        month_of_day=(month - month[0]).astype(np.int64),
        month_end=np.searchsorted(month, month, side="right").astype(np.int64),
        classes=data.classes,
        band_edges=data.band_edges,
        never=never,
        parts=parts,
        write_off_days=write_off_days,
        open=opened,
        open_never=open_never,
        month_steps=_month_steps(grid, data.grid),
        seed=seed,
        notes=data.notes if learned else (*data.notes, ASSUMED_NOTE),
        **found,
    )


#: What must be said of an assumption.
ASSUMED_NOTE = (
    "Too few invoices to learn from: payments are assumed (half by three days after the due day, nine in ten "
    "by 25 days after it, one in two hundred never); give the table invoices with paid_on to learn them."
)


def _future(past: TimeGrid, last: int) -> TimeGrid:
    first = past.last + 1
    return TimeGrid(
        past.calendar, first, max(last, first), past.weights, holiday_share=past.holiday_share
    )  # fmt: skip


def _month_steps(grid: TimeGrid, past: TimeGrid) -> tuple[tuple[bool, bool], ...]:
    month, at = np.unique(grid.month, return_index=True)
    quarter = grid.quarter[at]
    before_month = np.append(past.month[-1], month[:-1])
    before_quarter = np.append(past.quarter[-1], quarter[:-1])
    pairs = zip(month != before_month, quarter != before_quarter, strict=True)
    return tuple((bool(m), bool(q)) for m, q in pairs)


def _assumed(data: PaymentData, seed: int) -> dict[str, Any]:
    """Paid about the due day with the spread that is usual; nothing is known of any customer."""
    level = normals(keys(seed, "payment level", ["assumed"]), 0, ASSUMED_DRAWS)  # (draws, 1, 1)
    streams = keys(seed, "payment customer", data.classes.names)
    zero = np.zeros(ASSUMED_DRAWS)
    return {
        "phase_edges": np.asarray(ASSUMED_EDGES, dtype=np.int64),
        "terms_edges": np.zeros(1, dtype=np.int64),
        "hazard": np.asarray(ASSUMED_HAZARD) * np.exp(ASSUMED_LEVEL * level),
        "factor": np.exp(ASSUMED_CUSTOMER * normals(streams, 0, ASSUMED_DRAWS)[:, :, 0]).astype(np.float32),
        "band": np.ones((ASSUMED_DRAWS, data.band_edges.size + 1)),
        "shock": {
            "rho": zero + ASSUMED_RHO,
            "sd": zero + ASSUMED_MONTH,
            "last": zero,
            "trend": zero,
            "trend_sd": zero,
        },
    }


def _learned(data: PaymentData, posterior: Posterior, grid: TimeGrid, seed: int) -> dict[str, Any]:
    """The posterior of the model as multipliers; customers not yet known are drawn from the population."""
    effects, hyper, n = posterior.effects, posterior.hyper, posterior.draws
    terms, phases = len(data.terms_edges), len(data.phase_edges)
    log = effects["level"][:, :, None] + _effect(effects, "phase", phases)[:, None, :]
    log = log + _effect(effects, "terms", terms)[:, :, None]
    log = log + _effect(effects, "rest", 2)[:, :1, None]
    log = log + _effect(effects, "phase_terms", phases * terms).reshape(n, phases, terms).swapaxes(1, 2)
    zero = np.zeros(n)
    return {
        "phase_edges": np.asarray(data.phase_edges, dtype=np.int64),
        "terms_edges": np.asarray(data.terms_edges, dtype=np.int64),
        "hazard": np.exp(log),
        "factor": _class_factor(data, posterior, seed),
        "band": np.exp(_effect(effects, "amount", data.band_edges.size + 1)),
        "shock": {
            "rho": hyper.get("shock_rho", zero),
            "sd": hyper.get("shock_sd", zero),
            "last": effects["shock"][:, -1] if "shock" in effects else zero,
            "trend": effects["trend"][:, -1] if "trend" in effects else zero,
            "trend_sd": hyper.get("trend_sd", zero),
        },
    }


def _effect(effects: Mapping[str, Floats], name: str, size: int) -> Floats:
    """Levels of a term, zero where the model has none; shape (draws, size)."""
    return effects[name] if name in effects else np.zeros((effects["level"].shape[0], size))


def _class_factor(data: PaymentData, posterior: Posterior, seed: int) -> NDArray[np.float32]:
    effects, classes, n = posterior.effects, data.classes, posterior.draws
    known = len(classes.names) - NEW_CUSTOMERS
    kinds = int(classes.kind.max(initial=0)) + 1
    streams = keys(seed, "payment customer", classes.names[known:])
    sd = posterior.hyper.get("customer_sd", np.zeros(n))
    log = np.empty((n, len(classes.names)))
    log[:, :known] = _effect(effects, "customer", data.customers)[:, classes.customer[:known]]
    log[:, known:] = sd[:, None] * normals(streams, 0, n)[:, :, 0]
    log += _effect(effects, "class", kinds)[:, classes.kind]
    return np.exp(log).astype(np.float32)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _never_given_open(never, past, path, factor, code, by_band, band, pace, parted):  # type: ignore[no-untyped-def]
    """Bayes: odds of never, given that an invoice was not paid while hazard went by, shape (P, n).

    Parameters
    ----------
    never, pace : ndarray, shape (P,)
        Odds of never, and the factor on the hazard of what a part left.
    past : ndarray, shape (P, paths)
        Cumulative hazard so far of those that do pay, for a factor of 1; ``path`` (n,) is an invoice's.
    factor : ndarray, shape (P, classes)
        By ``code`` (n,); ``by_band`` (P, bands) by ``band`` (n,).
    parted : ndarray of bool, shape (n,)
    """
    out = np.empty((never.size, path.size), dtype=np.float32)
    for p in range(never.size):
        for i in range(path.size):
            hazard = past[p, path[i]] * (factor[p, code[i]] * by_band[p, band[i]])
            if parted[i]:
                hazard *= pace[p]
            out[p, i] = never[p] / (never[p] + (1.0 - never[p]) * math.exp(-hazard))
    return out


def _past_hazard(entry: Ints, issued: Ints, due: Ints, parts: Mapping[str, Any], first: int) -> Floats:
    """Cumulative hazard of open invoices until day ``first``, for a factor of 1 and without months' shocks.

    Days count one weighted day each, from the day of ``entry`` on.

    Returns
    -------
    ndarray, shape (P, n)
    """
    edges, hazard = parts["phase_edges"], parts["hazard"]
    below = np.append(edges[1:], np.iinfo(np.int64).max // 4)
    low = np.maximum(entry[:, None], due[:, None] + edges)
    high = np.minimum(first, due[:, None] + below)
    days = np.maximum(high - low, 0.0)
    days -= 0.5 * ((low == issued[:, None]) & (days > 0))  # issued in the middle of the day
    terms = np.searchsorted(parts["terms_edges"], due - issued, side="right") - 1
    out = np.empty((hazard.shape[0], entry.size))
    for t in range(hazard.shape[1]):
        mine = terms == t
        out[:, mine] = hazard[:, t, :] @ days[mine].T
    return out


@numba.njit(cache=True, nogil=True, error_model="numpy")
def payment_day(  # type: ignore[no-untyped-def]
    u,
    p,
    months,
    multiplier,
    issued,
    due,
    write_off_days,
    cumulative,
    month_of_day,
    month_end,
    phase_edges,
    terms_edges,
    hazard,
    part=NO_PART,
):
    """Day on which one invoice is paid, by inversion of its cumulative hazard.

    Parameters
    ----------
    u : float
        Uniform number of the invoice's own stream.
    p : int
        Posterior draw.
    months : ndarray, shape (months,)
        Row ``month[d]`` of :meth:`Payments.block`.
    multiplier : float
        ``factor[p, class] * band[p, amount band]``.
    issued, due : int
        Days after day 0; negative for open invoices, which go on from day 0.
    write_off_days : int
    cumulative, month_of_day, month_end, phase_edges, terms_edges, hazard
        As in :class:`Payments` (see :meth:`Payments.fixed`).
    part : int
        Day on which a part was paid: the rest comes later.

    Returns
    -------
    int
        Day (counted from day 0) of the payment; -1 where it is not paid before the days end or before it is
        written off on day ``due + write_off_days``: whichever comes first. Draw "never" beforehand.
    """
    days = month_of_day.shape[0]
    end = min(days, due + write_off_days)
    day = max(issued, 0, part + 1)
    if day >= end:
        return -1
    left = -math.log(u) / multiplier
    at = cumulative[day]
    if day == issued:  # an invoice is issued in the middle of its first day, on average
        at += 0.5 * (cumulative[day + 1] - at)
    band = 0
    while band + 1 < terms_edges.shape[0] and terms_edges[band + 1] <= due - issued:
        band += 1
    phase, phases = 0, phase_edges.shape[0]
    while phase + 1 < phases and phase_edges[phase + 1] <= day - due:
        phase += 1
    while day < end:
        stop = min(end, month_end[day])
        if phase + 1 < phases:
            stop = min(stop, due + phase_edges[phase + 1])
        rate = hazard[p, band, phase] * months[month_of_day[day]]
        passed = (cumulative[stop] - at) * rate
        if left <= passed:
            target = at + left / rate
            while day < stop - 1 and cumulative[day + 1] < target:
                day += 1
            return day
        left -= passed
        day = stop
        at = cumulative[day]
        while phase + 1 < phases and phase_edges[phase + 1] <= day - due:
            phase += 1
    return -1
