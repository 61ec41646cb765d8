"""What commission depends on: bookings by rep and month, and the quotas that they count towards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from quotacast.engine.finance.schedule import Ints
from quotacast.models.history.history import History
from quotacast.models.history.schema import NONE
from quotacast.models.periods import KINDS, Calendar, Period
from quotacast.models.terms import Floats
from quotacast.models.timegrid import day_number

#: Quotas of a rep on bookings, by rep and label of the period; targets in currency units.
RepQuotas = Mapping[tuple[str, str], float]


@dataclass(frozen=True)
class Scale:
    """Bookings by rep and month as commission sees them; money in cents.

    Attributes
    ----------
    quota : ndarray of int64, shape (reps, months)
        Quota of the period that a month belongs to; 0 without one.
    resets : ndarray of int64, shape (months,)
        1 where such a period begins.
    booked : ndarray of int64, shape (reps, months)
        Up to the as-of date.
    before : ndarray of int64, shape (reps,)
        In the period of the first month before that month.
    others : ndarray of int64, shape (months,)
        Bookings of reps who are there no longer.
    kind : str
        Kind of period whose quotas count; empty where there are none.
    """

    quota: Ints
    resets: Ints
    booked: Ints
    before: Ints
    others: Ints
    kind: str


def counted_kind(calendar: Calendar, quotas: RepQuotas) -> str:
    """Kind of period whose quotas commission counts towards: the longest; empty where there are none."""
    kinds = {calendar.parse(label).kind for _, label in quotas}
    return next((k for k in reversed(KINDS) if k in kinds and k not in ("day", "week")), "")


def earned(booked: Floats, done: float, quota: float | None, rate: float, accelerator: float) -> Floats:
    """Commission on what is booked from now to the end of a quota's period, shape (draws,).

    rate x (b + (accelerator - 1) x [max(d + b - quota, 0) - max(d - quota, 0)]), with b booked and d done
    before: the part above quota counts from where the period stands already. Plain rate x b without a quota.
    """
    if not quota:
        return np.asarray(rate * booked)
    above = np.maximum(done + booked - quota, 0.0) - max(done - quota, 0.0)
    return np.asarray(rate * (booked + (accelerator - 1.0) * above))


def scale(
    history: History, calendar: Calendar, reps: Sequence[str], months: Sequence[Period], quotas: RepQuotas
) -> Scale:
    """Bookings and quotas of reps; of quotas for several kinds of period the longest counts."""
    kind = counted_kind(calendar, quotas)
    period = [calendar.containing(m.first, kind) if kind else m for m in months]
    quota = np.zeros((len(reps), len(months)), dtype=np.int64)
    for r, rep in enumerate(reps):
        for m, of in enumerate(period):
            quota[r, m] = round(100 * quotas.get((rep, of.label), 0.0))
    resets = np.array([m == 0 or p != period[m - 1] for m, p in enumerate(period)], dtype=np.int64)
    resets[0] = 0
    sold = _bookings(history)
    booked, others = by_month(sold, reps, months)
    before, _ = _total(sold, reps, period[0].first, months[0].first)
    return Scale(quota, resets, booked, before, others, kind)


def _bookings(history: History) -> pd.DataFrame:
    deals = history.opportunities
    won = deals[(deals["status"] == "won").to_numpy()]
    cents = np.rint(won["amount"].fillna(0.0).to_numpy(dtype=float) * 100.0).astype(np.int64)
    return pd.DataFrame(
        {"rep": won["rep_id"].to_numpy(dtype=object), "day": day_number(won["closed_on"]), "cents": cents}
    )


def by_month(sold: pd.DataFrame, reps: Sequence[str], months: Sequence[Period]) -> tuple[Ints, Ints]:
    """Cents by rep and month, shape (reps, months), and those of everybody else, shape (months,)."""
    found = [
        _total(sold, reps, m.first, n.first if n else date.max)
        for m, n in zip(months, [*months[1:], None], strict=True)
    ]
    return np.stack([own for own, _ in found], axis=1), np.array([rest for _, rest in found])


def _total(sold: pd.DataFrame, reps: Sequence[str], first: date, stop: date) -> tuple[Ints, int]:
    """Cents of each rep from a day until before another, and of all others but deals without a rep."""
    days = sold["day"].to_numpy()
    span = sold[(days >= int(day_number(first))) & (days < int(day_number(stop)))]
    sums = span.groupby("rep")["cents"].sum()
    own = sums.reindex(list(reps)).fillna(0).to_numpy(dtype=np.int64)
    rest = int(sums.drop(labels=[r for r in (*reps, NONE) if r in sums.index]).sum())
    return own, rest
