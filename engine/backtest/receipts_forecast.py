"""Receipts by the payment model at one origin: every invoice is paid once per draw."""

from __future__ import annotations

from collections.abc import Callable

import numba
import numpy as np

from quotacast.engine.backtest.receipts import WEEKS, Case
from quotacast.engine.payments import Payments, payment_day, payments_of
from quotacast.engine.streams import keys, unit
from quotacast.models.invoices import payment_data
from quotacast.models.laplace import fit_laplace
from quotacast.models.periods import Calendar
from quotacast.models.terms import Floats
from quotacast.models.timegrid import as_date

_U = np.uint64
DRAWS = 1000


def model_forecast(calendar: Calendar, seed: int, draws: int = DRAWS) -> Callable[[Case], dict[str, Floats]]:
    """Fit the payment model as of the origin and pay every invoice in every draw."""

    def forecast(case: Case) -> dict[str, Floats]:
        data = payment_data(case.history, calendar)
        declared = data.declared().get("paid")
        posterior = fit_laplace(*declared, draws=draws, seed=seed) if declared else None
        payments = payments_of(data, posterior, as_date(case.day + 7 * WEEKS), seed)
        going, coming = receipts(payments, case, draws, seed)
        return {"open": going, "total": going + coming}

    return forecast


def receipts(payments: Payments, case: Case, draws: int, seed: int) -> tuple[Floats, Floats]:
    """Weekly receipts of open and of coming invoices, each of shape (WEEKS, draws)."""
    bills, block = case.bills, payments.block(0, draws)
    parts = []
    at = {name: k for k, name in enumerate(payments.open.ids)}
    for rows in (case.open, case.coming):
        ids = [bills.ids[r] for r in rows]
        who = [
            c if isinstance(c, str) else f"invoice {i}"
            for c, i in zip(bills.customer[rows], ids, strict=True)
        ]
        kind = [k if isinstance(k, str) else None for k in bills.kind[rows]]
        code = payments.classes.code(who, kind)
        band = np.searchsorted(payments.band_edges, bills.amount[rows], side="right")
        if rows is case.open:
            never = payments.open_never[:, [at[i] for i in ids]].astype(float)
        else:
            never = np.repeat(payments.never[:, None], rows.size, axis=1)
        multiplier = payments.factor[:, code].astype(float) * payments.band[:, band]
        parts.append(
            _paid_by_week(
                keys(seed, "payment", ids), block["parameter"], block["month"], multiplier, never,
                bills.issued[rows] - payments.first, bills.due[rows] - payments.first, bills.amount[rows],
                payments.write_off_days, WEEKS, **payments.fixed(),
            )
        )  # fmt: skip
    return parts[0], parts[1]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _paid_by_week(  # type: ignore[no-untyped-def]
    stream, parameter, month, multiplier, never, issued, due, amount, write_off_days, weeks,
    cumulative, month_of_day, month_end, phase_edges, terms_edges, hazard,
):  # fmt: skip
    """Receipts by week and draw."""
    draws, n = parameter.shape[0], issued.shape[0]
    out = np.zeros((weeks, draws))
    for d in range(draws):
        p = parameter[d]
        for i in range(n):
            if unit(stream[i], _U(2 * d)) < never[p, i]:
                continue
            day = payment_day(
                unit(stream[i], _U(2 * d + 1)), p, month[d], multiplier[p, i], issued[i], due[i],
                write_off_days, cumulative, month_of_day, month_end, phase_edges, terms_edges, hazard,
            )  # fmt: skip
            if day >= 0:
                out[day // 7, d] += amount[i]
    return out
