"""Rules that only look: what is odd about a history without being wrong."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd

from quotacast.models.history.history import Finding
from quotacast.models.history.ledger import Cleaning
from quotacast.models.history.schema import NONE
from quotacast.models.history.truncation import expected_before, first_complete_day

#: Distance from the median of log amounts, in robust standard deviations, beyond which a win is odd.
_FAR = 5.0
#: A day is a pile where it holds this many times the usual number of rows, and at least `_PILE`.
_TIMES, _PILE = 8, 20


def look(work: Cleaning, last: date) -> None:
    """Report outliers, stale open deals, piles, reps without deals or rows, and a left truncation.

    Parameters
    ----------
    work : Cleaning
    last : datetime.date
        Day at which open deals are as old as they get.
    """
    _outliers(work)
    _stale(work, pd.Timestamp(last))
    _piles(work, "created_on", "bulk-created days", "An import rather than work: no cycle starts there.")
    _piles(
        work,
        "closed_on",
        "bulk-closed days",
        "A clean-up rather than decisions: the day is not the real one.",
    )
    _people(work)
    _outside(work)
    _truncation(work)


def _outliers(work: Cleaning) -> None:
    frame = work["opportunities"]
    amount = frame["amount"].where((frame["status"] == "won") & (frame["amount"] > 0))
    log = np.log(amount.to_numpy("float64"))
    if np.isfinite(log).sum() < 20:
        return
    middle = np.nanmedian(log)
    # The floor keeps list-priced goods, whose amounts hardly vary, from being all outliers.
    spread = max(1.4826 * float(np.nanmedian(np.abs(log - middle))), 0.25)
    far = np.nan_to_num(np.abs(log - middle)) > _FAR * spread
    share = amount[far].sum() / amount.sum()
    meaning = (
        f"Won amounts more than {_FAR:.0f} robust standard deviations (of logs) from the median of "
        f"{np.exp(middle):,.0f}; they are {share:.0%} of all bookings. Mistyped, or another business?"
    )
    work.report("amount outliers", "opportunities", far, "kept", meaning)


def _stale(work: Cleaning, last: pd.Timestamp) -> None:
    frame = work["opportunities"]
    won = frame["status"] == "won"
    longest = (frame["closed_on"] - frame["created_on"])[won].max()
    stale = ((frame["status"] == "open") & (last - frame["created_on"] > longest)).to_numpy()
    amounts = frame["amount"][stale].dropna()
    worth = f"worth {amounts.sum():,.0f}" if len(amounts) else "without amounts"
    meaning = (
        f"Open deals older than any deal ever won ({longest.days} days), {worth}: "
        "probably dead, and nobody closed them."
    )
    work.report("stale open deals", "opportunities", stale, "kept", meaning)


def _piles(work: Cleaning, column: str, rule: str, meaning: str) -> None:
    frame = work["opportunities"]
    counts = frame[column].dropna().value_counts()
    if len(counts) < 10:
        return
    piles = counts[counts > max(_PILE, _TIMES * float(counts.median()))].sort_index()
    rows = frame[column].isin(piles.index).to_numpy()
    days = ", ".join(f"{d:%Y-%m-%d} ({n:,})" for d, n in piles[:3].items())
    work.report(
        rule, "opportunities", rows, "kept", f"{len(piles)} days hold far more than usual: {days}. {meaning}"
    )


def _people(work: Cleaning) -> None:
    reps = work["reps"]
    if reps.empty:
        return
    deals = work["opportunities"]["rep_id"]
    idle = (~reps["rep_id"].isin(set(deals)) & ~reps["rep_id"].duplicated()).to_numpy()
    meaning = "Reps of the table reps who own no deal: newcomers, managers, or another spelling?"
    work.report("reps without deals", "reps", idle, "kept", meaning)
    for table in ("opportunities", "leads", "activities"):
        owner = work[table]["rep_id"]
        strange = ((owner != NONE) & ~owner.isin(set(reps["rep_id"]))).to_numpy()
        names = ", ".join(sorted(set(owner[strange]))[:5])
        meaning = f"Not in the table reps, so without a team: {names}."
        work.report("rep not in reps", table, strange, "kept", meaning)


def _outside(work: Cleaning) -> None:
    """Rows of days on which their rep was not at work."""
    spells = work["reps"].groupby("rep_id").agg(hired=("hired_on", "min"), left=("left_on", "max"))
    if spells.empty:
        return
    for table, column in (("leads", "created_on"), ("activities", "done_on")):
        day, owner = work[table][column], work[table]["rep_id"]
        for rule, early, what in (
            ("before hiring", day < pd.to_datetime(owner.map(spells["hired"])), "before the first"),
            ("after leaving", day >= pd.to_datetime(owner.map(spells["left"])), "after the last"),
        ):
            meaning = f"Dated {what} day at work of their rep (table reps): left out of how many they were."
            work.report(rule, table, early.to_numpy(dtype=bool), "kept", meaning)


def _truncation(work: Cleaning) -> None:
    frame = work["opportunities"]
    entry = first_complete_day(frame)
    if entry is None:
        return
    early = (frame["created_on"] < pd.Timestamp(entry)).to_numpy()
    meaning = (
        f"Deals were created before {entry}, but none closed before, although at the later pace about "
        f"{expected_before(frame):.0f} should have: the data begin with the survivors of that time, or "
        f"closings were not recorded yet. Rates are learned from {entry} on."
    )
    ids = tuple(frame["opportunity_id"][early][:5])
    work.findings.append(Finding("left truncation", "opportunities", int(early.sum()), ids, "kept", meaning))
