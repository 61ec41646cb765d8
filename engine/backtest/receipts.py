"""Rolling origins for receipts: what open and coming invoices bring in, week by week.

At an origin the invoices issued by then are known, and payments made by then. Of later invoices *the billing
is taken as known* (day of issue, due day, amount, customer and class, but of course not the payment), since
forecasts of billings come from elsewhere and would blur what is tested here: when customers pay. Scored are
weekly receipts of the weeks 1 to ``WEEKS`` after the origin, of the invoices open at the origin alone
(``open``), and of all (``total``).

Every forecast is a function from a :class:`Case` to draws; the model's is in ``receipts_forecast``, what is
commonly done in ``receipts_baselines``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quotacast.engine.backtest.bootstrap import block_bootstrap_se, block_bootstrap_skill_se
from quotacast.engine.backtest.scores import covered, crps, randomised_pit, skill
from quotacast.engine.streams import keys, uniforms
from quotacast.errors import DataError
from quotacast.models.history.history import History
from quotacast.models.terms import Floats
from quotacast.models.timegrid import Ints, as_date, day_number

WEEKS = 13
#: Days of invoices before the first origin, and between origins.
WARM_UP, STEP = 270, 14
COMPONENTS = ("open", "total")
LEVELS = (0.5, 0.8, 0.95)
UNPAID = 1 << 30


@dataclass(frozen=True)
class Bills:
    """All invoices with an amount above zero, in the order of ids; arrays of shape (n,).

    Attributes
    ----------
    ids : tuple of str
    issued, due, paid : ndarray of int64
        Day numbers; ``UNPAID`` where no payment is known.
    amount : ndarray
    customer, kind : ndarray of object
    """

    ids: tuple[str, ...]
    issued: Ints
    due: Ints
    paid: Ints
    amount: Floats
    customer: NDArray[np.object_]
    kind: NDArray[np.object_]


@dataclass(frozen=True)
class Case:
    """One origin: everything a forecast may use, and which invoices it is about.

    Attributes
    ----------
    history : History
        As of the origin.
    bills : Bills
        All invoices; a forecast must not look at ``paid`` later than ``day``.
    day : int
        Day number of the origin.
    open, coming : ndarray of int64
        Rows of the invoices open at the origin, and of those issued in the ``WEEKS`` after it.
    """

    history: History
    bills: Bills
    day: int
    open: Ints
    coming: Ints


#: From a case to draws of weekly receipts by component, each of shape (WEEKS, draws); NaN where silent.
Forecast = Callable[[Case], Mapping[str, Floats]]


def read_bills(history: History) -> Bills:
    """The invoices of a history, credit notes left out.

    Raises
    ------
    DataError
        If payments are known one by one: what is scored are invoices paid at once.
    """
    if len(history.payments):
        raise DataError(
            f"payments: {len(history.payments):,} rows arrived; receipts are scored invoice by invoice: "
            "leave the table payments out"
        )
    rows = history.invoices.sort_values("invoice_id", kind="stable")
    rows = rows[rows["amount"] > 0]
    issued = day_number(rows["issued_on"])
    paid = np.where(rows["paid_on"].notna(), day_number(rows["paid_on"]), UNPAID)
    return Bills(
        tuple(str(i) for i in rows["invoice_id"]),
        issued,
        np.maximum(day_number(rows["due_on"]), issued),
        np.maximum(paid, issued),
        rows["amount"].to_numpy(dtype=float),
        rows["customer_id"].to_numpy(dtype=object),
        rows["class"].to_numpy(dtype=object),
    )


def origins(history: History, step: int = STEP, warm_up: int = WARM_UP) -> list[date]:
    """Origins whose weeks all lie within the data, the last one as late as possible.

    Raises
    ------
    DataError
        If the invoices do not reach far enough.
    """
    bills = read_bills(history)
    last = int(day_number(history.as_of_date)) - 7 * WEEKS
    first = int(bills.issued.min()) + warm_up if bills.issued.size else last + 1
    days = np.arange(last, first - 1, -step)[::-1]
    if not days.size:
        raise DataError(
            f"invoices: {len(bills.ids)} invoices to {history.as_of_date}; a test of receipts needs "
            f"{warm_up + 7 * WEEKS} days from the first one"
        )
    return [as_date(int(d)) for d in days]


def case_at(history: History, bills: Bills, origin: date) -> Case:
    """What is known at an origin."""
    day = int(day_number(origin))
    known = bills.issued <= day
    late = (bills.issued > day) & (bills.issued <= day + 7 * WEEKS)
    going = np.flatnonzero(known & (bills.paid > day))
    return Case(history.as_of(origin), bills, day, going, np.flatnonzero(late))


def actual_receipts(bills: Bills, rows: Ints, day: int) -> Floats:
    """Receipts of some invoices in the weeks after a day, shape (WEEKS,)."""
    week = (bills.paid[rows] - day - 1) // 7
    inside = (week >= 0) & (week < WEEKS)
    return np.bincount(week[inside], bills.amount[rows][inside], minlength=WEEKS).astype(float)


def backtest_receipts(
    history: History,
    forecasts: Mapping[str, Forecast],
    days: Sequence[date],
    seed: int,
    told: Callable[[date], None] = lambda origin: None,
) -> pd.DataFrame:
    """Score every forecast at every origin.

    Returns
    -------
    pandas.DataFrame
        One row per origin, week (1 to ``WEEKS``), component and model: actual, mean, p10, p90, crps, pit and
        covered_50, covered_80, covered_95.
    """
    bills = read_bills(history)
    rows = []
    for origin in days:
        told(origin)
        case = case_at(history, bills, origin)
        everything = np.concatenate([case.open, case.coming])
        actual = {
            "open": actual_receipts(bills, case.open, case.day),
            "total": actual_receipts(bills, everything, case.day),
        }
        for name, forecast in forecasts.items():
            found = forecast(case)
            rows += [_scored(origin, c, name, found.get(c), actual[c], seed) for c in COMPONENTS]
    return pd.concat(rows, ignore_index=True)


def _scored(
    origin: date, component: str, model: str, draws: Floats | None, actual: Floats, seed: int
) -> pd.DataFrame:
    draws = np.full((WEEKS, 1), np.nan) if draws is None else draws
    u = uniforms(keys(seed, "pit receipts", [f"{origin} {component}"]), 0, 1, WEEKS)[0, 0]
    pit = randomised_pit(draws, actual, u)
    low, high = np.quantile(draws, [0.1, 0.9], axis=1)
    frame = pd.DataFrame(
        {"origin": origin, "week": np.arange(1, WEEKS + 1), "component": component, "model": model}
    )
    frame = frame.assign(actual=actual, mean=draws.mean(axis=1), p10=low, p90=high)
    frame = frame.assign(crps=crps(draws, actual), pit=pit)
    return frame.assign(**{f"covered_{round(100 * q)}": covered(pit, q) for q in LEVELS})


def receipts_summary(rows: pd.DataFrame, seed: int, model: str = "quotacast") -> pd.DataFrame:
    """Mean CRPS, skill of the model against each other, and coverage, with block standard errors.

    Blocks are as long as the forecasts of neighbouring origins overlap.

    Returns
    -------
    pandas.DataFrame
        One row per component and model: origins, crps, skill (1 - the model's CRPS over this one's) with
        skill_se, and covered_50, covered_80, covered_95 with covered_80_se.
    """
    days = sorted(rows["origin"].unique())
    step = (days[1] - days[0]) / timedelta(days=1) if len(days) > 1 else 7 * WEEKS
    blocks = max(1, int(np.ceil(7 * WEEKS / step)))
    out = []
    for part in COMPONENTS:
        wide = {
            name: one.pivot(index="origin", columns="week")
            for name, one in rows[rows["component"] == part].groupby("model", sort=False)
        }
        ours = wide[model]["crps"].to_numpy()
        for name, one in wide.items():
            theirs = one["crps"].to_numpy()
            held = one["covered_80"].to_numpy()
            out.append(
                {
                    "component": part,
                    "model": name,
                    "origins": len(days),
                    "crps": float(np.nanmean(theirs)) if np.isfinite(theirs).any() else np.nan,
                    "skill": skill(ours.ravel(), theirs.ravel()) if name != model else np.nan,
                    "skill_se": block_bootstrap_skill_se(ours, theirs, blocks, seed),
                    **{f"covered_{round(100 * q)}": _mean(one, f"covered_{round(100 * q)}") for q in LEVELS},
                    "covered_80_se": block_bootstrap_se(held, blocks, seed),
                }
            )
    return pd.DataFrame(out)


def _mean(wide: pd.DataFrame, name: str) -> float:
    values = wide[name].to_numpy()
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
