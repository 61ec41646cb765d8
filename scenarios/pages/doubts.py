"""What is in doubt about a forecast, the largest first.

A doubt weighs as much as the share of the expected bookings that hangs on it: all of it for a model whose
record is poor or a history that breaks, the share of deals not created yet, and so on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quotacast.engine.answers.deals import oldest_win
from quotacast.engine.book import open_book
from quotacast.engine.metrics import metric, series
from quotacast.engine.reports.words import money, number, percent
from quotacast.models.timegrid import day_number
from quotacast.models.turnover import turnover
from quotacast.scenarios.noeffect import has_another
from quotacast.scenarios.pages.case import Case
from quotacast.scenarios.screen import COMPANY, HEADLINE
from quotacast.scenarios.trackrecord import standing

MOST = 3
#: Lighter doubts are not worth a line.
LEAST = 0.005


@dataclass(frozen=True)
class Doubt:
    """A doubt and the share of the expected bookings that hangs on it, 0 to 1."""

    weight: float
    text: str


def largest_doubts(case: Case) -> list[str]:
    """The heaviest doubts in words; of equal ones the first found."""
    found = sorted(_all(case), key=lambda doubt: -doubt.weight)
    said = [doubt.text for doubt in found if doubt.weight >= LEAST][:MOST]
    return said or ["None that the data tell."]


def _all(case: Case) -> list[Doubt]:
    return [
        *_untested(case),
        *(Doubt(1.0, text) for text in case.run.funnel.prepared.doubts),
        *_not_created(case),
        *_stale(case),
        *_association(case),
        *_leavers(case),
    ]


def _untested(case: Case) -> list[Doubt]:
    """The track record, where it is missing or poor."""
    if case.record is None:
        return [Doubt(1.0, "These odds have never been tested against the company's own past.")]
    found = standing(case.record)
    if found.verdict not in ("doubtful", "withheld"):
        return []
    return [Doubt(1.0, f"The record is not better than simple rules: {found.line}.")]


def _not_created(case: Case) -> list[Doubt]:
    """Deals that do not exist yet."""
    values = case.values(COMPANY, case.goal(COMPANY))
    total = float(values.total.mean())
    if values.new is None or total <= 0:
        return []
    new = float(values.new.mean())
    text = f"{percent(new / total)} of the bookings expected ({money(new)}) rests on deals not created yet."
    return [Doubt(new / total, text)]


def _stale(case: Case) -> list[Doubt]:
    """Open deals that are older than any that was ever won."""
    prepared, history = case.run.funnel.prepared, case.run.history
    book = open_book(history, prepared.people, prepared.segment, prepared.quotes)
    stale = int(day_number(history.as_of_date)) - book.start > oldest_win(history)
    total = float(case.values(COMPANY, case.goal(COMPANY)).total.mean())
    if not stale.any() or total <= 0:
        return []
    worth = float(np.nansum(book.amount[stale]))
    text = (
        f"{number(int(stale.sum()))} open deals ({money(worth)}) are older than any deal ever won; they "
        "may be dead."
    )
    return [Doubt(min(worth / total, 1.0), text)]


def _association(case: Case) -> list[Doubt]:
    """What the plan expects of more activity, if that is only an association."""
    if not has_another(case.run):
        return []
    goal, run = case.goal(COMPANY), case.run
    period = run.plan.horizon_period if goal is None else run.plan.calendar.parse(goal.period)
    without = run.without_effect().paths([period], (HEADLINE,))
    other = float(series(without, metric(HEADLINE), COMPANY, period).total.mean())
    mean = float(case.values(COMPANY, goal).total.mean())
    text = (
        f"{money(mean - other)} of the bookings expected comes from more activity, as far as activity causes "
        "business and does not only go along with it."
    )
    return [Doubt(abs(mean - other) / mean if mean > 0 else 0.0, text)]


def _leavers(case: Case) -> list[Doubt]:
    """Nobody leaves in the forecast, though some have in the past; a leaver misses half of the time."""
    run, prepared = case.run, case.run.funnel.prepared
    past = turnover(prepared.people, prepared.grid.first, prepared.grid.last)
    if run.plan.people.leavers or not past.leaves:
        return []
    rate = past.annual(0.5)
    text = (
        "The forecast lets nobody leave unless the plan says so; in the past about "
        f"{percent(rate)} a year did."
    )
    return [Doubt(rate / 2.0, text)]
