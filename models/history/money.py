"""Amounts in the planning currency, by dated rates."""

from __future__ import annotations

import numpy as np
import pandas as pd


def planning_currency(codes: pd.Series) -> str:
    """Return the commonest currency (of equals the first by alphabet), or ``""`` where none is named."""
    counts = codes.dropna().value_counts()
    return min(counts[counts == counts.max()].index) if len(counts) else ""


def factors(codes: pd.Series, days: pd.Series, rates: pd.DataFrame, currency: str) -> np.ndarray:
    """Return the planning currency per unit of each row's currency on its day.

    Parameters
    ----------
    codes : pandas.Series of str or None, shape (n,)
        A missing currency is the planning currency.
    days : pandas.Series of datetime64, shape (n,)
    rates : pandas.DataFrame
        Canonical rates; a rate holds from ``valid_from`` until the next one of its currency.
    currency : str

    Returns
    -------
    numpy.ndarray of float, shape (n,)
        NaN where no rate is known for that currency on that day.
    """
    out = np.ones(len(codes))
    foreign = (
        (codes.notna() & (codes != currency)).to_numpy() if currency else np.zeros(len(codes), dtype=bool)
    )
    if not foreign.any():
        return out
    ask = pd.DataFrame(
        {"currency": codes[foreign].to_numpy(object), "day": days[foreign].to_numpy("datetime64[ns]"),
         "at": np.flatnonzero(foreign)}
    )  # fmt: skip
    out[foreign] = np.nan
    ask = ask.dropna(subset=["day"]).sort_values("day", kind="stable")
    dated = rates[["currency", "valid_from", "rate"]].dropna().sort_values("valid_from", kind="stable")
    dated = dated.astype({"currency": object, "rate": float})
    if len(ask) and len(dated):
        found = pd.merge_asof(ask, dated, left_on="day", right_on="valid_from", by="currency")
        out[found["at"].to_numpy()] = found["rate"].to_numpy("float64")
    return out
