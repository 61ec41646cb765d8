"""A small company whose ledger the tests of finance look into: deals, invoices, payments, futures, plans."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np

from quotacast.engine.columns import columns_of
from quotacast.engine.finance.account import Account, Days
from quotacast.engine.finance.entries import Wins
from quotacast.engine.finance.ledger import Ledger, months_back
from quotacast.engine.finance.schedule import Terms
from quotacast.engine.parts import Assumed
from quotacast.engine.payments import payments_of
from quotacast.models.history.history import History
from quotacast.models.invoices import payment_data
from quotacast.models.periods import Calendar, Period
from quotacast.models.timegrid import day_number

AS_OF, HORIZON = date(2026, 11, 18), date(2027, 6, 30)
FIRST = int(day_number(AS_OF)) + 1
DAYS = int(day_number(HORIZON)) - FIRST + 1
REPS = ("(none)", "r1", "r2")
DRAWS = 12
Make = Callable[..., History]


def tables(rng: np.random.Generator, linked: bool = True) -> dict[str, Any]:
    """Won deals of two years and their invoices, some open, some in dollars, with credit notes."""
    deals, bills = [], []
    for i in range(60):
        closed = AS_OF - timedelta(days=int(700 * rng.random() ** 2))
        amount = round(float(rng.lognormal(8, 1)), 2)
        deals.append(
            {
                "opportunity_id": f"o{i:02d}",
                "created_on": closed - timedelta(days=int(rng.integers(5, 90))),
                "closed_on": closed, "status": "won", "amount": amount, "customer_id": f"c{i % 9}",
                "rep_id": str(rng.choice(REPS[1:])), "cost": round(0.4 * amount, 2), "currency": "EUR",
                "term_months": [12, 7, None][i % 3],
            }
        )  # fmt: skip
        issued = closed + timedelta(days=int(rng.integers(0, 12)))
        if issued > AS_OF or not linked:
            continue
        paid = issued + timedelta(days=int(rng.gamma(4, 12)))
        bills.append(
            {
                "invoice_id": f"i{i:02d}", "issued_on": issued, "due_on": issued + timedelta(days=30),
                "amount": round(amount * 1.25, 2), "customer_id": f"c{i % 9}", "opportunity_id": f"o{i:02d}",
                "currency": "USD" if i % 4 == 0 else "EUR", "paid_on": paid if paid <= AS_OF else None,
            }
        )  # fmt: skip
    bills += [
        {
            "invoice_id": f"k{i}", "issued_on": AS_OF - timedelta(days=20 * i + 3), "due_on": AS_OF,
            "amount": -(1234.56 + 3000 * i), "customer_id": f"c{i}", "currency": "EUR",
        }
        for i in range(3)
    ]  # fmt: skip
    rates = [
        {"currency": "USD", "valid_from": date(2024, 1, 1), "rate": 0.95},
        {"currency": "USD", "valid_from": date(2026, 11, 1), "rate": 0.88},
    ]
    return {"opportunities": deals, "invoices": bills, "rates": rates}


def in_parts(rng: np.random.Generator, given: dict[str, Any]) -> dict[str, Any]:
    """The same with payments: most paid invoices at once, some in two parts, open ones in part."""
    pays = []
    for bill in given["invoices"]:
        issued, paid, amount = bill["issued_on"], bill.get("paid_on"), bill["amount"]
        split = rng.random() < 0.5 and amount > 0
        until = paid or AS_OF
        part = issued + timedelta(days=int((until - issued).days * rng.uniform(0.2, 0.9)))
        share = round(float(rng.uniform(0.2, 0.8)) * amount, 2) if split and part < until else 0.0
        if share:
            pays.append({"invoice_id": bill["invoice_id"], "paid_on": part, "amount": share})
        if paid:
            left = round(amount - share, 2)
            pays.append({"invoice_id": bill["invoice_id"], "paid_on": paid, "amount": left})
    return {**given, "payments": pays}


def abroad(given: dict[str, Any]) -> dict[str, Any]:
    """The same with deals in three currencies, some of them open; r1 sells most of the dollars."""
    deals = [
        {**deal, "currency": ("USD" if deal["rep_id"] == "r1" else "GBP") if i % 3 else "EUR"}
        for i, deal in enumerate(given["opportunities"])
    ]
    going = [
        {**deal, "opportunity_id": f"x{i}", "status": "open", "closed_on": None, "amount": 900.0 + 31 * i}
        for i, deal in enumerate(deals[:9])
    ]
    return {**given, "opportunities": [*deals, *going]}


def futures(rng: np.random.Generator, draws: int = DRAWS) -> dict[str, np.ndarray]:
    """Wins of made-up futures, shape (draws, reps, days, components)."""
    shape = (draws, len(REPS), DAYS, 2)
    won = rng.poisson(0.03, shape)
    cents = won * rng.integers(1, 2_000_000, shape)
    cents[rng.random(shape) < 0.1] = 0
    return {
        "won": won,
        "won_cents": cents,
        "margin_cents": (cents * rng.uniform(-0.2, 0.9, shape)).astype(int),
    }


PLANS: dict[str, tuple[Terms, Account, int | None]] = {
    "at close": (Terms(due_days=14), Account(vat=0.25, vat_days=42), None),
    "monthly": (
        Terms("monthly", recognise="straight_line", renewal=0.7),
        Account(vat=0.19, vat_every="quarter", vat_days=10),
        5,
    ),
    "quarterly": (Terms("quarterly", recognise="straight_line", due_days=45), Account(), 7),
    "yearly": (Terms("yearly", recognise="straight_line", renewal=0.4), Account(volatility=0.3), None),
    "milestones": (
        Terms("milestones", ((0.3, 0), (0.25, 60), (0.45, 25)), "delivery", start_lag=9, duration=41),
        Account(vat=0.077, volatility=0.1),
        12,
    ),
    "in parts": (Terms("monthly", due_days=10, renewal=0.5), Account(vat=0.21, volatility=0.2), 6),
    "in planned parts": (Terms("quarterly"), Account(vat=0.08), 9),
}
#: What the ledger of a plan is made of besides.
MORE: dict[str, dict[str, Any]] = {
    "yearly": {"foreign": True},
    "in parts": {"parts": True, "foreign": True},
    "in planned parts": {"part_payment": Assumed(0.6, 0.35, 11)},
}


def make_ledger(
    make: Make, terms: Terms, account: Account, months: int | None, seed: int, draws: int = DRAWS, **more: Any
) -> tuple[Ledger, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    calendar = Calendar(holidays="SE")
    given = tables(rng, more.pop("linked", True))
    given = abroad(given) if more.pop("foreign", False) else given
    parted = more.pop("parts", False)
    history = make(in_parts(rng, given) if parted else given, AS_OF)
    dense = futures(rng, draws)
    days = Days(calendar, FIRST, DAYS)
    stated = more.pop("part_payment", None)
    data = payment_data(history, calendar)
    payments = payments_of(data, None, HORIZON, seed, write_off_days=75, part_payment=stated)
    if parted:  # too few rests to learn their pace from, and at 1 it would not be seen
        pace = rng.uniform(0.4, 2.5, payments.parts.pace.size)
        payments = replace(payments, parts=replace(payments.parts, pace=pace))
    ledger = Ledger(
        history=history,
        wins=Wins({name: columns_of(x, block=5) for name, x in dense.items()}),
        reps=REPS,
        days=days,
        terms=terms,
        account=account,
        payments=payments,
        costs=more.pop("costs", None),
        payroll=np.full((1, len(days.months(months_back(account)))), 1_234_567),
        quotas=more.pop("quotas", {}),
        term_months=months,
        invoice_days=more.pop("invoice_days", None),
        seed=seed,
    )
    return ledger, dense


def spans() -> list[Period]:
    first = AS_OF + timedelta(days=1)
    found = [*Calendar().periods("week", first, HORIZON)[:13], *Calendar().periods("month", first, HORIZON)]
    return [replace(p, first=max(p.first, first), last=min(p.last, HORIZON)) for p in found]


def months_of() -> tuple[Period, ...]:
    return Calendar().periods("month", date(2026, 10, 1), HORIZON)
