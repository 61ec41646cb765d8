"""The plan's tables about money as the engine takes them: terms of deals, the account, signed contracts."""

from __future__ import annotations

from quotacast.engine.finance.account import Account, Days, Out, Variable
from quotacast.engine.finance.contracts import Contracts
from quotacast.engine.finance.entries import MEASURES, Wins
from quotacast.engine.finance.schedule import Terms
from quotacast.engine.paths import Paths
from quotacast.errors import PlanError
from quotacast.models.history.history import History
from quotacast.models.timegrid import day_number
from quotacast.scenarios.plan import Plan

#: What is missing where revenue is recognised by a delivery that nothing tells of.
NO_DELIVERY = 'terms.recognise: "delivery" came without a table [capacity]: give its start_lag and duration'


def check_money(plan: Plan) -> None:
    """Refuse tables about money that do not fit together.

    Raises
    ------
    PlanError
    """
    if plan.terms is not None and plan.terms.recognise == "delivery" and plan.capacity is None:
        raise PlanError(NO_DELIVERY)


def terms_of(plan: Plan) -> Terms:
    """Terms of deals; at close, due in thirty days, where the plan states none."""
    stated = plan.terms
    if stated is None:
        return Terms()
    delivery = plan.capacity
    return Terms(
        stated.bill,
        tuple((part.share, part.after_days) for part in stated.milestone),
        stated.recognise,
        stated.due_days,
        stated.renewal or 0.0,
        0 if delivery is None else delivery.start_lag,
        0 if delivery is None else delivery.duration,
    )


def account_of(plan: Plan) -> Account:
    """The plan's account."""
    stated = plan.cash
    payday = 25 if plan.costs is None else plan.costs.payday
    volatility = 0.0 if plan.fx is None else plan.fx.volatility
    if stated is None:
        return Account(payday=payday, volatility=volatility)
    return Account(
        stated.opening,
        stated.floor,
        stated.vat,
        stated.vat_every,
        stated.vat_days,
        tuple(Out(o.name, o.amount, o.on, o.every, o.until, o.kind, o.vat) for o in stated.out),
        tuple(Variable(v.name, v.share, v.of, v.after_days, v.kind) for v in stated.variable),
        payday,
        volatility,
    )


def days_of(plan: Plan, history: History) -> Days:
    """The simulated days."""
    first = int(day_number(history.as_of_date)) + 1
    return Days(plan.calendar, first, int(day_number(plan.horizon_period.last)) - first + 1)


def wins_of(paths: Paths, days: Days) -> Wins:
    """Wins of paths in daily steps."""
    found = {name: paths.columns[name] for name in MEASURES if name in paths.columns}
    return Wins(found, len(paths.steps) - days.days)


def contracts_of(plan: Plan, history: History, paths: Paths) -> Contracts:
    """What is signed and on which terms, of paths in daily steps."""
    stated, days = plan.terms, days_of(plan, history)
    return Contracts(
        history=history,
        wins=wins_of(paths, days),
        reps=paths.reps,
        days=days,
        terms=terms_of(plan),
        account=account_of(plan),
        term_months=None if stated is None else stated.term_months,
        invoice_days=None if stated is None else stated.invoice_days,
        seed=plan.seed,
    )
