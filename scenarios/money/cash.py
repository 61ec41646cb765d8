"""`quotacast cash`: from a run to the account's weeks and months."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from quotacast.engine.answer import Answer
from quotacast.engine.answers.cash import cash
from quotacast.engine.finance.ledger import CashPaths, Ledger, cash_paths
from quotacast.engine.finance.risk import shares
from quotacast.models.periods import Period
from quotacast.scenarios.drawsfile import cash_draws, check_paths, written
from quotacast.scenarios.money.ledger import ledger_of
from quotacast.scenarios.money.receiptsrecord import receipts_record
from quotacast.scenarios.money.terms import check_money
from quotacast.scenarios.run import Run

#: Weeks of the short view.
WEEKS = 13


def cash_answer(run: Run, options: Mapping[str, Any]) -> tuple[Answer, Sequence[str]]:
    """Cash by week and month, and what must be said beside it.

    Raises
    ------
    PlanError
        Where the plan's tables about money do not fit together.
    """
    check_paths(options)
    answer, paths, notes = cash_found(run, options["quantiles"])
    if Path(options["out"] or "").suffix.lower() == ".xlsx":
        from quotacast.scenarios.money.financebook import with_book

        answer = with_book(answer, run, paths, options["quantiles"])
    return answer, (*written(cash_draws(paths), options), *notes)


def cash_found(run: Run, percents: Sequence[float]) -> tuple[Answer, CashPaths, tuple[str, ...]]:
    """Cash, the futures that it is told from, and what must be said beside it."""
    check_money(run.plan)
    ledger = ledger_of(run, margins=False)
    spans = cash_spans(run)
    paths = cash_paths(ledger, spans, told=lambda share: run.told("cash", share))
    stated = run.plan.cash
    floor = None if stated is None or stated.opening is None else stated.floor
    facts = {
        "payments": ledger.payments.basis,
        "open_invoices": float(ledger.open.cents.sum()) / 100,
        "record": receipts_record(run),
    }
    answer = cash(
        paths,
        floor,
        shares(ledger, paths),
        run.history.currency,
        run.provenance(),
        percents,
        facts,
    )
    return answer, paths, (*ledger_notes(run, ledger), *run.plan_notes)


def cash_spans(run: Run) -> tuple[Period, ...]:
    """The weeks to come, at most thirteen, and the months to the horizon, cut to the simulated days."""
    tomorrow, last = run.history.as_of_date + timedelta(days=1), run.plan.horizon_period.last
    weeks = run.plan.calendar.periods("week", tomorrow, last)[:WEEKS]
    months = run.plan.calendar.periods("month", tomorrow, last)
    return tuple(replace(p, first=max(p.first, tomorrow), last=min(p.last, last)) for p in (*weeks, *months))


def ledger_notes(run: Run, ledger: Ledger, paid: bool = True) -> tuple[str, ...]:
    """What the ledger assumes; with ``paid`` also what concerns payments."""
    plan, signed = run.plan, ledger.signed
    notes = list(ledger.payments.notes) if paid else []
    if paid and (plan.cash is None or plan.cash.opening is None):
        notes.append(
            "The plan has no cash.opening: cash is relative to the as-of date, and no floor is judged."
        )
    if plan.terms is None:
        notes.append("The plan has no [terms]: deals are invoiced at close and due in 30 days.")
    if paid and ledger.payments.parts.basis == "plan" and not run.history.payments.empty:
        notes.append(
            "Payments in part: terms.part_payment counts, in place of what the data's payments tell."
        )
    if ledger.tax_on_top:
        notes.append(
            f"The data's invoices equal their deals without tax: {ledger.tax_on_top:.0%} VAT is put on top."
        )
    if run.history.invoices.empty:
        notes.append(
            "No invoices are known: those that the terms put up to the as-of date count as sent, and for "
            "cash each of them is unpaid still with the odds of its age."
        )
    elif not signed.by_invoice:
        notes.append(
            "Invoices are not linked to deals: what the terms put up to the as-of date counts as sent."
        )
    if ledger.coming.forgotten.size:
        worth = (signed.cents - signed.invoiced)[ledger.coming.forgotten].sum() / 100
        notes.append(
            f"{ledger.coming.forgotten.size} won deals should have been invoiced half a year ago and "
            f"were not in full ({worth:,.0f} {run.history.currency}): they are left out."
        )
    return (*notes, *_assumed(run, ledger, paid))


def _assumed(run: Run, ledger: Ledger, paid: bool) -> list[str]:
    notes = []
    if paid and ledger.costs is not None and ledger.costs.accelerator != 1.0 and not ledger.quotas:
        notes.append("No rep has a quota on bookings: the commission's accelerator never applies.")
    if paid and ledger.costs is not None and ledger.costs.renewals > 0 and ledger.terms.renewal <= 0:
        notes.append("costs.commission.renewals never applies: without terms.renewal no term is signed anew.")
    types = run.history.opportunities["type"]
    if ledger.terms.renewal > 0 and (types == "renewal").any():
        notes.append(
            "The data hold deals of the type renewal, which new business repeats, and terms.renewal signs "
            "terms anew as well: leave one out, or renewals count twice."
        )
    return notes
