"""Recognised revenue as a metric of any answer: by the plan's terms, on the futures of the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from quotacast.engine.actuals import Seats, actual_measures
from quotacast.engine.finance.contracted import Signed, signed_deals, tax_on_top
from quotacast.engine.finance.recognised import MEASURE, past_with_revenue, with_revenue
from quotacast.engine.finance.schedule import Ints
from quotacast.engine.paths import Paths
from quotacast.engine.selling import Costs, past_costs
from quotacast.engine.steps import Steps
from quotacast.models.history.history import History
from quotacast.models.people import Employment
from quotacast.models.periods import Period
from quotacast.scenarios.money.terms import NO_DELIVERY, account_of, contracts_of, days_of, terms_of
from quotacast.scenarios.plan import Plan

METRIC = "revenue"
#: Metrics that recognised revenue is made of.
OF = ("bookings", "deals_won")


def spread(plan: Plan) -> bool:
    """Whether revenue is recognised over time; otherwise it equals bookings."""
    return plan.terms is not None and plan.terms.recognise != "at_close"


def lacks(plan: Plan) -> str:
    """Why revenue cannot be answered; empty where it can."""
    return NO_DELIVERY if terms_of(plan).recognise == "delivery" and plan.capacity is None else ""


def recognised(
    plan: Plan, history: History, people: Employment, costs: Costs | None, paths: Paths, wins: Paths
) -> Paths:
    """Paths with revenue by the plan's terms.

    Parameters
    ----------
    wins : Paths
        The same futures in daily steps, with :data:`OF`.
    """
    contracts = contracts_of(plan, history, wins)
    return with_revenue(paths, contracts, past(plan, history, people, costs, paths.steps, contracts.signed))


def past(
    plan: Plan,
    history: History,
    people: Employment,
    costs: Costs | None,
    steps: Steps,
    deals: Signed | None = None,
) -> tuple[Seats, dict[str, Ints]]:
    """What is done by rep, team and step, revenue as the plan's terms have it."""
    more = past_costs(costs, history, people, steps)
    if spread(plan):
        return past_with_revenue(history, steps, deals or _signed(plan, history), terms_of(plan), more)
    seats, done = actual_measures(history, steps, more)
    return seats, {**done, MEASURE: done["won_cents"]}


def _signed(plan: Plan, history: History) -> Signed:
    stated, vat = plan.terms, account_of(plan).vat
    months = None if stated is None else stated.term_months
    return signed_deals(history, terms_of(plan), months, vat - tax_on_top(history, vat))


def wanted(plan: Plan, metrics: Sequence[str] | None) -> bool:
    """Whether an answer about metrics (all of them without names) needs recognised revenue."""
    return spread(plan) and not lacks(plan) and (metrics is None or METRIC in metrics)


def earned(
    plan: Plan,
    history: History,
    people: Employment,
    costs: Costs | None,
    paths: Paths,
    metrics: Sequence[str] | None,
    wins: Callable[[tuple[Period, ...]], Paths],
) -> Paths:
    """Paths as they are, or with recognised revenue where it is :func:`wanted`.

    Parameters
    ----------
    wins : callable
        Gives the same futures in the periods that it is told.
    """
    if not wanted(plan, metrics):
        return paths
    days = days_of(plan, history).periods
    return recognised(plan, history, people, costs, paths, wins(days))
