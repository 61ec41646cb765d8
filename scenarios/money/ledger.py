"""From a run to the ledger: the plan's tables about money as the engine takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np

from quotacast.engine.finance.account import Account, Days, Out, Variable
from quotacast.engine.finance.contracted import presumed_invoices, signed_deals
from quotacast.engine.finance.entries import MEASURES, Wins
from quotacast.engine.finance.ledger import Ledger, months_back
from quotacast.engine.finance.schedule import Ints, Terms
from quotacast.engine.paths import Paths
from quotacast.engine.payments import Payments, payments_of
from quotacast.engine.quota import Quota
from quotacast.engine.selling import past_costs
from quotacast.engine.steps import Steps
from quotacast.errors import PlanError
from quotacast.models.invoices import WRITE_OFF_DAYS, payment_data
from quotacast.models.payers import Classes, OpenInvoices
from quotacast.models.periods import Period
from quotacast.models.timegrid import day_number
from quotacast.scenarios.plan import Plan
from quotacast.scenarios.run import Run

#: Metrics whose paths the clocks read; the last only where margins are known.
METRICS = ("bookings", "deals_won", "gross_margin")


def check_money(plan: Plan) -> None:
    """Refuse tables about money that do not fit together.

    Raises
    ------
    PlanError
    """
    if plan.terms is not None and plan.terms.recognise == "delivery" and plan.capacity is None:
        raise PlanError(
            'terms.recognise: "delivery" came without a table [capacity]: give its start_lag and duration'
        )


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


def ledger_of(run: Run, margins: bool = True) -> Ledger:
    """Simulate day by day, and put together what the clocks read.

    Parameters
    ----------
    margins : bool
        Whether gross margins are simulated, where they are known: cash does not need them.
    """
    check_money(run.plan)
    able = [name for name in METRICS if margins or name != "gross_margin"]
    able = [name for name in able if not run.able.reason(name)]
    first = int(day_number(run.history.as_of_date)) + 1
    days = Days(run.plan.calendar, first, int(day_number(run.plan.horizon_period.last)) - first + 1)
    paths = run.paths(_daily(run), able)
    account, terms = account_of(run.plan), run.plan.terms
    return Ledger(
        history=run.history,
        wins=Wins(
            {name: paths.columns[name] for name in MEASURES if name in paths.columns},
            len(paths.steps) - days.days,
        ),
        reps=paths.reps,
        days=days,
        terms=terms_of(run.plan),
        account=account,
        payments=_payments(run),
        costs=run.costs,
        payroll=_payroll(run, paths, days.months(months_back(account))),
        quotas=rep_quotas(run),
        term_months=None if terms is None else terms.term_months,
        invoice_days=None if terms is None else terms.invoice_days,
        seed=run.plan.seed,
        presumed=run.history.invoices.empty,
    )


def _payments(run: Run) -> Payments:
    """How invoices are paid: learned from the data, or assumed."""
    terms, beyond = run.plan.terms, WRITE_OFF_DAYS
    if terms is not None and terms.write_off_days is not None:
        beyond = max(terms.write_off_days - terms.due_days, 1)
    learned = run.funnel.posteriors.get("paid")
    last = run.plan.horizon_period.last
    known = run.funnel.prepared.payments or payment_data(run.history, run.plan.calendar)
    if run.history.invoices.empty:
        known = replace(known, open=_presumed(run, known.classes, beyond))
    return payments_of(known, learned, last, run.plan.seed, write_off_days=beyond)


def _presumed(run: Run, classes: Classes, write_off_days: int) -> OpenInvoices:
    """Invoices that the plan's terms put and that may still be unpaid."""
    terms, vat, stated = terms_of(run.plan), account_of(run.plan).vat, run.plan.terms
    deals = signed_deals(run.history, terms, None if stated is None else stated.term_months, 0.0)
    today = int(day_number(run.history.as_of_date))
    since = today - terms.due_days - write_off_days + 1
    return presumed_invoices(deals, terms, vat, today, since, classes)


def _daily(run: Run) -> tuple[Period, ...]:
    tomorrow = run.history.as_of_date + timedelta(days=1)
    return run.plan.calendar.periods("day", tomorrow, run.plan.horizon_period.last)


def _payroll(run: Run, paths: Paths, months: tuple[Period, ...]) -> Ints:
    """Cents that reps earn by month, up to the as-of date included; shape (1 or futures, months)."""
    pay: Any = paths.payrolls.get("cost_cents")
    if pay is None:
        return np.zeros((1, len(months)), dtype=np.int64)
    seats = np.arange(len(paths.reps))
    edges = np.array([int(day_number(months[0].first)), paths.steps.edges[0]], dtype=np.int64)
    people, costs = run.funnel.prepared.people, run.costs
    past = past_costs(costs, run.history, people, Steps(edges)) if edges[1] > edges[0] else None
    out = []
    for month in months:
        low, high = (int(day_number(d)) for d in (month.first, month.last))
        known = 0
        if past is not None and len(past):
            inside = (past["day"] >= low) & (past["day"] <= high)
            known = int(past.loc[inside, "value"].sum())
        out.append(known + np.atleast_1d(pay.sums(seats, _days_within(paths.steps, low, high))))
    return np.stack(np.broadcast_arrays(*out), axis=1).astype(np.int64)


def _days_within(steps: Steps, low: int, high: int) -> slice:
    """Steps that begin within a span of days."""
    edges = steps.edges[:-1]
    return slice(int(np.searchsorted(edges, low)), int(np.searchsorted(edges, high, side="right")))


def rep_quotas(run: Run, stated: Sequence[Quota] = ()) -> dict[tuple[str, str], float]:
    """Quotas of reps on bookings: the first set that states one counts.

    Parameters
    ----------
    stated : sequence of Quota, optional
        In place of the plan's and the data's.
    """
    chosen = stated or (*run.plan.quotas, *run._table_quotas)
    found: dict[tuple[str, str], float] = {}
    for quota in chosen:
        if quota.metric == "bookings" and quota.scope.kind == "rep":
            found.setdefault((quota.scope.id, quota.period), quota.target)
    return found
