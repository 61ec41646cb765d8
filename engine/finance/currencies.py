"""In which currency deals are signed: what is signed is known, what is to come is drawn from the mix.

Futures tell who signs which deal on which day and for how much in the planning currency, not in which
currency. It is drawn, for deals of rep r that are open now and for new ones, by shares of money ::

    open: share[r, c] = open amounts of r in c / open amounts of r new:  share[r, c] = (won by r in c + PRIOR
    mean wins x company's share of c) / (won by r + PRIOR mean wins)

of the wins of the last ``RECENT`` days. A rep's mix stands for the segments that the rep sells to. Money is
told at the rates of the as-of date until it is received: what rates have done by then is gained or lost with
it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from quotacast.models.history.history import History
from quotacast.models.terms import Floats
from quotacast.models.timegrid import Ints, day_number

#: Mean wins that the company's mix weighs as much as, among a rep's own.
PRIOR = 5.0
#: Days of wins that tell the mix.
RECENT = 730


def foreign_currencies(history: History) -> tuple[str, ...]:
    """Currencies of deals that are open or won, other than the planning currency."""
    deals = history.opportunities
    kept = (deals["status"] != "lost").to_numpy()
    codes = {str(code) for code in deals.loc[kept, "currency"].dropna()}
    return tuple(sorted(codes - {history.currency})) if history.currency else ()


def places(codes: Iterable[object], currencies: Sequence[str]) -> Ints:
    """Place of each code among the currencies; -1 for the planning currency."""
    index = {code: i for i, code in enumerate(currencies)}
    return np.array([index.get(str(code), -1) for code in codes], dtype=np.int64)


def currency_mix(history: History, reps: Sequence[str], currencies: Sequence[str]) -> Floats:
    """Cumulative shares of currencies by rep and component (open, new), shape (reps, 2, currencies).

    What they leave to 1 is the planning currency's.
    """
    deals, today = history.opportunities, int(day_number(history.as_of_date))
    status = deals["status"].to_numpy(dtype=object)
    recent = day_number(deals["closed_on"]) > today - RECENT
    out = np.zeros((len(reps), 2, len(currencies)))
    at = {rep: i for i, rep in enumerate(reps)}
    won = (status == "won") & recent
    for component, rows in ((1, won), (0, status == "open")):
        amount = deals.loc[rows, "amount"].to_numpy(dtype=float)
        mean = float(np.nanmean(amount)) if np.isfinite(amount).any() else 1.0
        amount = np.clip(np.where(np.isfinite(amount), amount, mean), 0.0, None)
        who = np.array([at.get(rep, len(reps)) for rep in deals.loc[rows, "rep_id"]], dtype=np.int64)
        table = np.zeros((len(reps) + 1, len(currencies) + 1))
        np.add.at(table, (who, places(deals.loc[rows, "currency"], currencies)), amount)
        whole = table.sum(axis=0) / max(table.sum(), 1e-12)
        weight = PRIOR * max(mean, 1e-9) if component else 1e-9
        share = (table + weight * whole) / (table.sum(axis=1, keepdims=True) + weight)
        out[:, component] = np.cumsum(share[:-1, :-1], axis=1)
    return out
