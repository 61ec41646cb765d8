"""From a run to the ledger: the plan's tables about money as the engine takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from quotacast.engine.finance.contracted import presumed_invoices, signed_deals
from quotacast.engine.finance.ledger import Ledger, months_back
from quotacast.engine.finance.schedule import Ints
from quotacast.engine.parts import Assumed
from quotacast.engine.paths import Paths
from quotacast.engine.payments import Payments, payments_of
from quotacast.engine.quota import Quota
from quotacast.engine.selling import past_costs
from quotacast.engine.steps import Steps
from quotacast.models.invoices import WRITE_OFF_DAYS, payment_data
from quotacast.models.payers import Classes, OpenInvoices
from quotacast.models.periods import Period
from quotacast.models.timegrid import day_number
from quotacast.scenarios.money.terms import account_of, check_money, contracts_of, days_of, terms_of
from quotacast.scenarios.run import Run

#: Metrics whose paths the clocks read; the last only where margins are known.
METRICS = ("bookings", "deals_won", "gross_margin")


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
    paths = run.paths(days_of(run.plan, run.history).periods, able)
    signed = contracts_of(run.plan, run.history, paths)
    months = signed.days.months(months_back(signed.account))
    return Ledger(
        **vars(signed),
        payments=_payments(run),
        costs=run.costs,
        payroll=_payroll(run, paths, months),
        joiners=_joiners(run, paths, months),
        quotas=rep_quotas(run),
        presumed=run.history.invoices.empty,
    )


def _payments(run: Run) -> Payments:
    """How invoices are paid: learned from the data, or assumed."""
    terms, beyond = run.plan.terms, WRITE_OFF_DAYS
    if terms is not None and terms.write_off_days is not None:
        beyond = max(terms.write_off_days - terms.due_days, 1)
    learned, part = run.funnel.posteriors.get("paid"), None
    if terms is not None and terms.part_payment is not None:
        part = Assumed(terms.part_payment.odds, terms.part_payment.share, terms.part_payment.rest_days)
    last = run.plan.horizon_period.last
    known = run.funnel.prepared.payments or payment_data(run.history, run.plan.calendar)
    if run.history.invoices.empty:
        known = replace(known, open=_presumed(run, known.classes, beyond))
    seed = run.plan.seed
    return payments_of(known, learned, last, seed, write_off_days=beyond, part_payment=part)


def _presumed(run: Run, classes: Classes, write_off_days: int) -> OpenInvoices:
    """Invoices that the plan's terms put and that may still be unpaid."""
    terms, vat, stated = terms_of(run.plan), account_of(run.plan).vat, run.plan.terms
    deals = signed_deals(run.history, terms, None if stated is None else stated.term_months, 0.0)
    today = int(day_number(run.history.as_of_date))
    since = today - terms.due_days - write_off_days + 1
    return presumed_invoices(deals, terms, vat, today, since, classes)


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


def _joiners(run: Run, paths: Paths, months: tuple[Period, ...]) -> Ints:
    """Reps who join in each month, by the data, the plan or after a leaver; shape (1 or futures, months)."""
    first, last = (np.array([int(day_number(d)) for d in ends]) for ends in zip(
        *((m.first, m.last) for m in months), strict=True
    ))  # fmt: skip
    table = run.history.reps.dropna(subset=["hired_on"]).groupby("rep_id")["hired_on"].min()
    known = [int(day_number(day)) for rep, day in table.items() if str(rep) in run.people.reps]
    known += [int(day_number(hire.on)) for hire in run.drivers.hires]
    day = np.array(known, dtype=np.int64)[:, None]
    out = ((day >= first) & (day <= last)).sum(axis=0, dtype=np.int64)[None]
    pay: Any = paths.payrolls.get("cost_cents")
    if pay is None:
        return np.asarray(out)
    joined = pay.joined[:, pay.seat != np.arange(pay.seat.size)] + run_first(run)
    after = ((joined[:, :, None] >= first) & (joined[:, :, None] <= last)).sum(axis=1)
    return np.asarray(out + after, dtype=np.int64)


def run_first(run: Run) -> int:
    """Day number of the first simulated day."""
    return int(day_number(run.history.as_of_date)) + 1


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
