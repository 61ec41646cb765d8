"""What must be said about plans that change how much activity there is."""

from __future__ import annotations

import numpy as np

from quotacast.engine.drivers import ACTIVITY, Change, Drivers
from quotacast.engine.quota import Scope
from quotacast.models.chain import Chain
from quotacast.models.people import Employment


def association_notes(drivers: Drivers, chain: Chain, people: Employment) -> tuple[str, ...]:
    """Which answers rest on an association, and which go beyond what was ever observed."""
    notes = []
    for change in drivers.changes:
        if not change.is_activity:
            continue
        if kind_of(change) not in chain.drivers:
            why = chain.refused or "it hangs on deals, or there is too little of it"
            notes.append(f"{change.what}: changes activity alone, for it may not drive new business: {why}.")
            continue
        if not change.causal:
            means = "goes" if drivers.activity_drives else "does not go"
            notes.append(
                f"{change.what}: an association. In this answer new business {means} along with it, as it "
                "did within reps in the past; nothing proves that the one causes the other (causal = true in "
                "the plan says so)."
            )
        notes += _outside(change, chain, people)
    return tuple(notes)


def kind_of(change: Change) -> str:
    """Kind of activity that is changed."""
    return change.what.removeprefix(ACTIVITY)


def _outside(change: Change, chain: Chain, people: Employment) -> list[str]:
    """A rep's usual week under the change, against all rep-weeks that were ever observed."""
    if change.times is None:
        return []
    k, scope = chain.drivers.index(kind_of(change)), Scope.parse(change.scope)
    names = {"company": people.reps, "team": people.team, "rep": people.reps}[scope.kind]
    mine = np.array([scope.kind == "company" or name == scope.id for name in names], dtype=bool)
    if not mine.any():
        return []
    low, high = chain.observed[k]
    usual = float(np.median(np.expm1(chain.means[mine, k]))) * change.times
    if low <= usual <= high:
        return []
    return [
        f"{change.what}: outside what was ever observed: {usual:,.1f} a week for a typical rep, where 98 of "
        f"100 weeks lay between {low:,.1f} and {high:,.1f}."
    ]
