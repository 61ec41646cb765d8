"""How invoices are paid, as arrays that a compiled loop reads, and the function that pays one invoice.

An invoice is paid by a hazard per weighted day (:mod:`quotacast.models.invoices`) ::

    h(day) = hazard[p, age band, phase band] * month[d, month] * factor[p, class] * band[p, amount band]

with p the posterior draw, d the simulated one, the phase counted from the due day, days weighted by weekday
and holiday; or it is never paid: with probability ``never[p]`` for a new invoice, more for one that has been
open for long (Bayes: never / (never + (1 - never) S(age))). What is not paid ``write_off_days`` after the
due day is written off then. An invoice is paid once and in full: the data hold one paid_on per invoice.

Where no invoices are known, :func:`assumed` states how they are paid; ``basis`` says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from quotacast.engine.streams import keys, normals
from quotacast.models.invoices import WRITE_OFF_DAYS, OpenInvoices
from quotacast.models.terms import Floats
from quotacast.models.timegrid import Ints, TimeGrid

#: Stands for "before everything" among the edges of phases.
FAR = -(1 << 30)
#: Customers not yet known are one of so many classes, each with an effect of its own in every draw.
NEW_CUSTOMERS = 16
#: The assumption where there are no invoices. First day of every phase (days after the due day) and the
#: hazard of payment per weighted day in it: two in three pay by a week after the due day.
ASSUMED_EDGES = (FAR, -7, 0, 1, 8, 31, 61, 91)
ASSUMED_HAZARD = (0.004, 0.03, 0.2, 0.12, 0.08, 0.05, 0.04, 0.03)
#: Spread of the assumption, on the log scale: of the level, of customers, of months.
ASSUMED_LEVEL, ASSUMED_CUSTOMER, ASSUMED_MONTH = 0.25, 0.5, 0.1
#: Beta prior of the share of invoices that are never paid: mean 0.5 %.
NEVER_PRIOR = (0.5, 99.5)


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
    phase_edges, age_edges : ndarray of int64
        First day after the due day (after the issue) of every band.
    hazard : ndarray, shape (P, ages, phases)
        Per weighted day, for a customer and an amount of the middle.
    classes : tuple of str
        Names of the classes of invoices: ``customer`` or ``customer / class``; the last
        ``NEW_CUSTOMERS`` are customers not yet known.
    factor : ndarray of float32, shape (P, classes)
    class_share : ndarray, shape (classes,)
        Cumulative shares of the classes among future invoices.
    band_edges : ndarray, shape (bands - 1,)
        Amounts (currency units) at which amount bands begin.
    band : ndarray, shape (P, bands)
    never : ndarray, shape (P,)
    write_off_days : int
    open : OpenInvoices
        What is unpaid at the as-of date; its ``code`` indexes ``classes``.
    open_never : ndarray of float32, shape (P, open invoices)
        Odds that an open invoice will never be paid, given that it has not been paid so far.
    shock : mapping
        What the months' shocks are continued from.
    notes : tuple of str
    """

    basis: str
    first: int
    cumulative: Floats
    month_of_day: Ints
    month_end: Ints
    phase_edges: Ints
    age_edges: Ints
    hazard: Floats
    classes: tuple[str, ...]
    factor: NDArray[np.float32]
    class_share: Floats
    band_edges: Floats
    band: Floats
    never: Floats
    write_off_days: int
    open: OpenInvoices
    open_never: NDArray[np.float32]
    shock: Mapping[str, Floats]
    seed: int
    notes: tuple[str, ...] = ()

    @property
    def draws(self) -> int:
        """Posterior draws."""
        return int(self.hazard.shape[0])

    def fixed(self) -> dict[str, Any]:
        """Arguments of :func:`payment_day` that all draws share, by name."""
        names = ("cumulative", "month_of_day", "month_end", "phase_edges", "age_edges", "hazard")
        return {name: getattr(self, name) for name in names}

    def block(self, first: int, draws: int) -> dict[str, Any]:
        """What differs between draws: ``parameter`` (draws,) and ``month`` (draws, months)."""
        row = np.arange(first, first + draws) % self.draws
        return {"parameter": row, "month": self._months(row, first)}

    def _months(self, row: Ints, first: int) -> Floats:
        """Multipliers of the hazard by month: the last known shock, carried on as an AR(1)."""
        size = int(self.month_of_day[-1]) + 1
        stream = keys(self.seed, "payment month", ["shock"])
        noise = normals(stream, first, row.size, size)[:, 0, :]
        rho, sd = self.shock["rho"][row], self.shock["sd"][row]
        out = np.empty((row.size, size))
        state = self.shock["last"][row]
        innovation = sd * np.sqrt(1.0 - rho**2)
        for m in range(size):
            # the month of the as-of date goes on where the data end within it
            if m > 0 or not self.shock["begun"][0]:
                state = rho * state + innovation * noise[:, m]
            out[:, m] = state
        return np.exp(out)


def assumed(
    grid: TimeGrid, open_invoices: OpenInvoices, draws: int, seed: int, write_off_days: int = WRITE_OFF_DAYS
) -> Payments:
    """Payments where nothing is known: paid about the due day, with the spread that is usual.

    Parameters
    ----------
    grid : TimeGrid
        The simulated days, from the day after the as-of date; its weights are used.
    open_invoices : OpenInvoices
        Unpaid invoices at the as-of date, empty where there are none.
    draws : int
        Draws of the uncertain levels.
    """
    level = normals(keys(seed, "payment level", ["assumed"]), 0, draws)  # (draws, 1, 1)
    streams = keys(seed, "payment customer", [f"new~{k + 1}" for k in range(NEW_CUSTOMERS)])
    factor = np.exp(ASSUMED_CUSTOMER * normals(streams, 0, draws)[:, :, 0]).astype(np.float32)
    hazard = np.asarray(ASSUMED_HAZARD) * np.exp(ASSUMED_LEVEL * level)
    rng = np.random.default_rng(seed)
    never = rng.beta(*NEVER_PRIOR, draws)
    phase_edges, age_edges = np.asarray(ASSUMED_EDGES, dtype=np.int64), np.zeros(1, dtype=np.int64)
    classes = tuple(f"new~{k + 1}" for k in range(NEW_CUSTOMERS))
    code = (np.arange(len(open_invoices)) % NEW_CUSTOMERS).astype(np.int32)
    opened = open_invoices.with_codes(code, np.zeros(code.size, dtype=np.int32))
    past = _past_hazard(opened, hazard, phase_edges, age_edges, grid) * factor[:, code]
    return Payments(
        basis="assumption",
        first=grid.first,
        cumulative=grid.cumulative,
        **_months_of(grid),
        phase_edges=phase_edges,
        age_edges=age_edges,
        hazard=hazard,
        classes=classes,
        factor=factor,
        class_share=np.linspace(1.0 / NEW_CUSTOMERS, 1.0, NEW_CUSTOMERS),
        band_edges=np.empty(0),
        band=np.ones((draws, 1)),
        never=never,
        write_off_days=write_off_days,
        open=opened,
        open_never=never_given_open(never, past),
        shock={
            "rho": np.full(draws, 0.67),
            "sd": np.full(draws, ASSUMED_MONTH),
            "last": np.zeros(draws),
            "begun": np.zeros(1),
        },
        seed=seed,
        notes=(
            "No invoices to learn from: payments are assumed (about the due day, one in two hundred never); "
            "give the table invoices to learn them.",
        ),
    )


def never_given_open(never: Floats, past: Floats) -> NDArray[np.float32]:
    """Bayes: odds of never, given that the invoice was not paid while ``past`` hazard went by.

    Parameters
    ----------
    never : ndarray, shape (P,)
    past : ndarray, shape (P, n)
        Cumulative hazard so far of those that do pay.
    """
    pays = (1.0 - never)[:, None] * np.exp(-past)
    return np.asarray(never[:, None] / (never[:, None] + pays), dtype=np.float32)


def _months_of(grid: TimeGrid) -> dict[str, Ints]:
    month = grid.month[grid.piece(grid.days)]
    end = np.searchsorted(month, month, side="right").astype(np.int64)
    return {"month_of_day": (month - month[0]).astype(np.int64), "month_end": end}


def _past_hazard(
    opened: OpenInvoices, hazard: Floats, phase_edges: Ints, age_edges: Ints, grid: TimeGrid
) -> Floats:
    """Cumulative hazard of open invoices from their issue to the as-of date, months' shocks left out.

    Days before the grid count one weighted day each.

    Returns
    -------
    ndarray, shape (P, n)
    """
    shape = (age_edges.size, phase_edges.size)
    days = np.zeros((len(opened), *shape))
    for i in range(len(opened)):
        day = np.arange(opened.issued[i], grid.first)
        weight = np.ones(day.size)
        weight[:1] = 0.5
        age = np.searchsorted(age_edges, day - opened.issued[i], side="right") - 1
        phase = np.searchsorted(phase_edges, day - opened.due[i], side="right") - 1
        np.add.at(days[i], (age, phase), weight)
    return np.asarray(hazard.reshape(hazard.shape[0], -1) @ days.reshape(len(opened), -1).T)


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
    age_edges,
    hazard,
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
    cumulative, month_of_day, month_end, phase_edges, age_edges, hazard
        As in :class:`Payments` (see :meth:`Payments.fixed`).

    Returns
    -------
    int
        Day (counted from day 0) of the payment; -1 where it is not paid before the days end or before it is
        written off on day ``due + write_off_days``: whichever comes first. Draw "never" beforehand.
    """
    days = month_of_day.shape[0]
    end = min(days, due + write_off_days)
    day = max(issued, 0)
    if day >= end:
        return -1
    left = -math.log(u) / multiplier
    at = cumulative[day]
    if issued >= 0:  # an invoice is issued in the middle of its first day, on average
        at += 0.5 * (cumulative[day + 1] - at)
    age, ages = 0, age_edges.shape[0]
    while age + 1 < ages and age_edges[age + 1] <= day - issued:
        age += 1
    phase, phases = 0, phase_edges.shape[0]
    while phase + 1 < phases and phase_edges[phase + 1] <= day - due:
        phase += 1
    while day < end:
        stop = min(end, month_end[day])
        if age + 1 < ages:
            stop = min(stop, issued + age_edges[age + 1])
        if phase + 1 < phases:
            stop = min(stop, due + phase_edges[phase + 1])
        rate = hazard[p, age, phase] * months[month_of_day[day]]
        passed = (cumulative[stop] - at) * rate
        if left <= passed:
            target = at + left / rate
            while day < stop - 1 and cumulative[day + 1] < target:
                day += 1
            return day
        left -= passed
        day = stop
        at = cumulative[day]
        while age + 1 < ages and age_edges[age + 1] <= day - issued:
            age += 1
        while phase + 1 < phases and phase_edges[phase + 1] <= day - due:
            phase += 1
    return -1
