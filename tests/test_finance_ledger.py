"""The four clocks against a slow ledger in plain Python, to the cent, and against closed forms."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quotacast.engine.columns import columns_of
from quotacast.engine.finance import recognised
from quotacast.engine.finance.account import Account, Days, Out, Variable
from quotacast.engine.finance.contracted import presumed_invoices, signed_deals
from quotacast.engine.finance.entries import Wins
from quotacast.engine.finance.kernel import KINDS
from quotacast.engine.finance.kernel_close import LINES, MEASURES
from quotacast.engine.finance.ledger import CashPaths, Ledger, cash_paths, months_back
from quotacast.engine.finance.recognised import earned_columns, past_with_revenue
from quotacast.engine.finance.revenue import RevenuePaths, revenue_paths
from quotacast.engine.finance.risk import shares
from quotacast.engine.finance.schedule import Terms
from quotacast.engine.parts import Assumed
from quotacast.engine.payments import payments_of
from quotacast.engine.selling import Costs
from quotacast.engine.steps import Steps
from quotacast.models.history.history import History
from quotacast.models.invoices import payment_data
from quotacast.models.parts import NO_PART
from quotacast.models.periods import Calendar, Period
from quotacast.models.timegrid import day_number

AS_OF, HORIZON = date(2026, 11, 18), date(2027, 6, 30)
FIRST = int(day_number(AS_OF)) + 1
DAYS = int(day_number(HORIZON)) - FIRST + 1
REPS = ("(none)", "r1", "r2")
DRAWS = 12
Make = Callable[..., History]


@pytest.fixture(scope="module")
def oracle() -> Iterator[ModuleType]:
    sys.path.insert(0, str(Path(__file__).parent))
    yield importlib.import_module("ledger_oracle")
    sys.path.remove(str(Path(__file__).parent))


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


@pytest.fixture(scope="module", params=list(PLANS))
def case(request: pytest.FixtureRequest, make_history: Make) -> tuple[Ledger, dict[str, np.ndarray]]:
    terms, account, months = PLANS[request.param]
    seed, more = list(PLANS).index(request.param), dict(MORE.get(request.param, {}))
    return make_ledger(make_history, terms, account, months, seed, **more)


def make_ledger(
    make: Make, terms: Terms, account: Account, months: int | None, seed: int, draws: int = DRAWS, **more: Any
) -> tuple[Ledger, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    calendar = Calendar(holidays="SE")
    given = tables(rng, more.pop("linked", True))
    given = abroad(given) if more.pop("foreign", False) else given
    history = make(in_parts(rng, given) if more.pop("parts", False) else given, AS_OF)
    dense = futures(rng, draws)
    days = Days(calendar, FIRST, DAYS)
    stated = more.pop("part_payment", None)
    data = payment_data(history, calendar)
    payments = payments_of(data, None, HORIZON, seed, write_off_days=75, part_payment=stated)
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


def test_every_future_equals_a_slow_ledger_to_the_cent(
    case: tuple[Ledger, dict[str, np.ndarray]], oracle: ModuleType
) -> None:
    ledger, dense = case
    paths, slow = cash_paths(ledger, spans()), oracle.SlowLedger(ledger, dense)
    for d in range(0, DRAWS, 2):
        books = slow.future(d)
        flows = oracle.as_arrays(books, slow.start, DAYS, LINES) + ledger.paid.fixed
        flows[LINES.index("payroll"), [t for t in ledger.paid.payday if 0 <= t < DAYS]] -= 1_234_567
        balance = ledger.paid.opening + np.cumsum(flows.sum(axis=0))
        for s, span in enumerate(spans()):
            inside = slice(slow.number(span.first), slow.number(span.last) + 1)
            assert paths.lines[d, s].tolist() == flows[:, inside].sum(axis=1).tolist()
            assert paths.closing[d, s] == balance[inside][-1]
            assert paths.low[d, s] == balance[inside].min()
        assert paths.least[d] == balance.min()
        assert paths.check[d, 2:5].tolist() == [books.written, books.owed, books.gained]
        assert np.count_nonzero(flows[: len(LINES) - 6]) > 20


def test_receivables_add_up_in_every_future(case: tuple[Ledger, dict[str, np.ndarray]]) -> None:
    ledger, _ = case
    invoiced, received, written, owed, gained, opening = cash_paths(ledger, spans()).check.T
    assert (opening == ledger.open.cents.sum()).all()
    np.testing.assert_array_equal(opening + invoiced + gained, received + written + owed)
    assert (np.unique(owed).size, np.unique(received).size) == (DRAWS, DRAWS)


def test_turning_one_clock_leaves_the_others(make_history: Make) -> None:
    ledger, _ = make_ledger(make_history, *PLANS["monthly"], seed=3)
    base = cash_paths(ledger, spans())
    again = cash_paths(ledger, spans())
    np.testing.assert_array_equal(base.lines, again.lines)
    paid = cash_paths(ledger, spans(), turned=("payment",))
    np.testing.assert_array_equal(base.check[:, 0], paid.check[:, 0])  # the same invoices
    assert (base.check[:, 1] != paid.check[:, 1]).all()
    first = cash_paths(ledger, spans(), futures=5)
    np.testing.assert_array_equal(first.lines, base.lines[:5])


def test_a_future_taken_twice_is_one_future_of_signing(make_history: Make) -> None:
    ledger, _ = make_ledger(make_history, *PLANS["at close"], seed=4, invoice_days=2)
    chosen = np.array([3, 3, 0, 11, 5, 5, 5])
    taken = replace(ledger, wins=Wins({n: c.taken(chosen) for n, c in ledger.wins.columns.items()}))
    of = cash_paths(taken, spans()).check[:, 0]
    whole = cash_paths(ledger, spans()).check[:, 0]
    np.testing.assert_array_equal(of, whole[chosen])


def test_parts_are_paid_and_come_to_the_whole(make_history: Make) -> None:
    """With odds 1 every first payment is a part, on the day of the whole one; the rest comes days later."""
    how: dict[str, Any] = {"seed": 3, "invoice_days": 0}
    ledger, _ = make_ledger(make_history, *PLANS["at close"], part_payment=Assumed(1.0, 0.4, 9), **how)
    whole, _ = make_ledger(make_history, *PLANS["at close"], **how)
    days = tuple(Calendar().periods("day", AS_OF + timedelta(days=1), HORIZON))
    lines = [LINES.index(line) for line in ("open", "new")]
    parts, once = (cash_paths(x, days).lines[:, :, lines].sum(axis=2) for x in (ledger, whole))
    assert (np.count_nonzero(parts, axis=1) > np.count_nonzero(once, axis=1)).all()
    for d in range(DRAWS):  # nine days, less the free days that put the first receipt off
        t = int(np.flatnonzero(once[d])[0])
        np.testing.assert_allclose(parts[d, t : t + 5], 0.4 * once[d, t : t + 5], atol=3)
    received, all_at_once = (cash_paths(x, spans()).check[:, 1] for x in (ledger, whole))
    assert (received <= all_at_once).all()  # the last rests are yet to come, or never will
    assert (received < all_at_once).mean() > 0.8


def test_open_invoices_count_with_what_is_owed_still(make_history: Make) -> None:
    ledger, _ = make_ledger(make_history, *PLANS["in parts"], seed=5, parts=True)
    bills, pays = ledger.history.invoices, ledger.history.payments
    unpaid = bills[bills["paid_on"].isna() & (bills["amount"] > 0)].set_index("invoice_id")
    so_far = pays.groupby("invoice_id")["amount"].sum().reindex(unpaid.index).fillna(0.0)
    assert (so_far > 0).sum() >= 3
    opened = ledger.payments.open
    for i, name in enumerate(opened.ids):
        if name in unpaid.index:
            assert opened.amount[i] == pytest.approx(unpaid["amount"][name] - so_far[name], abs=0.005)
            assert (opened.part[i] > NO_PART) == (so_far[name] > 0)
    known = ledger.paid.known[2]
    months = {m.label: i for i, m in enumerate(ledger.months)}
    for label, amount in pays.groupby(pays["paid_on"].dt.strftime("%Y-%m"))["amount"].sum().items():
        if label in months:
            assert known[months[label]] == pytest.approx(100 * amount, abs=30)


def _receipts(paths: CashPaths, line: str) -> np.ndarray:
    months = [s for s, span in enumerate(paths.spans) if span.kind == "month"]
    return np.asarray(paths.lines[:, months, LINES.index(line)])


def test_open_invoices_come_in_as_their_odds_say(make_history: Make) -> None:
    """Mean receipts of a month = amount x P(paid in it), by the hazards alone: no shocks, one customer."""
    draws = 6000
    ledger, _ = make_ledger(make_history, Terms(), Account(), None, 5, draws=2)
    pays = ledger.payments
    flat = {name: np.zeros_like(x) for name, x in pays.shock.items()}
    own = 0.6 + 0.0 * pays.factor
    pays = replace(
        pays, shock=flat, factor=own, never=pays.never * 0 + 0.1, open_never=pays.open_never * 0 + 0.1
    )
    wins = Wins({n: c.taken(np.zeros(draws, dtype=np.int64)) for n, c in ledger.wins.columns.items()})
    paths = cash_paths(replace(ledger, payments=pays, wins=wins), spans())
    by_day = np.zeros(DAYS + 20)
    for i, cents in zip(ledger.open.rows, ledger.open.cents, strict=True):
        due = int(pays.open.due[i]) - FIRST
        hazard = np.zeros((pays.draws, DAYS))
        for t in range(min(DAYS, due + 75)):
            phase = np.searchsorted(pays.phase_edges, t - due, side="right") - 1
            hazard[:, t] = 0.6 * pays.hazard[:, 0, phase] * (pays.cumulative[t + 1] - pays.cumulative[t])
        left = np.exp(-np.cumsum(hazard, axis=1))
        by_day[:DAYS] += 0.9 * cents * (np.append(1.0, left.mean(axis=0))[:-1] - left.mean(axis=0))
    wanted = np.zeros(DAYS)
    for t, works in enumerate(ledger.days.works):
        if works < DAYS:
            wanted[works] += by_day[t]
    months = [p for p in spans() if p.kind == "month"]
    expected = [
        wanted[int(day_number(p.first)) - FIRST : int(day_number(p.last)) - FIRST + 1].sum() for p in months
    ]
    expected[0] -= ledger.open.refund_cents.sum()
    found = _receipts(paths, "invoices")
    error = found.std(axis=0) / np.sqrt(draws)
    assert ledger.open.cents.sum() > 1e6
    np.testing.assert_array_less(np.abs(found.mean(axis=0) - expected)[:4], 4 * error[:4] + 1)


def test_exchange_moves_only_foreign_invoices_and_not_their_mean(make_history: Make) -> None:
    draws = 4000
    ledger, _ = make_ledger(make_history, Terms(), Account(), None, 5, draws=2)
    wins = Wins({n: c.taken(np.zeros(draws, dtype=np.int64)) for n, c in ledger.wins.columns.items()})
    ledger = replace(ledger, wins=wins)
    still = cash_paths(ledger, spans())
    bold = replace(ledger, account=Account(volatility=0.4))
    moved = cash_paths(bold, spans())
    gained = moved.check[:, 4]
    assert not still.check[:, 4].any()
    assert abs(gained.mean()) < 4 * gained.std() / np.sqrt(draws)
    foreign = int(ledger.open.cents[bold.paying.currency >= 0].sum())
    assert 0.02 * foreign < gained.std() < 0.4 * foreign
    np.testing.assert_array_equal(moved.lines[..., 1:], still.lines[..., 1:])


def test_exchange_moves_deals_to_come_by_the_mix_of_their_reps(make_history: Make) -> None:
    """Receipts in lines of deals move, not on the mean; their foreign share is that of the rep's deals."""
    draws = 4000
    ledger, _ = make_ledger(make_history, Terms(), Account(), None, 5, draws=2, foreign=True)
    wins = Wins({n: c.taken(np.zeros(draws, dtype=np.int64)) for n, c in ledger.wins.columns.items()})
    ledger = replace(ledger, wins=wins)
    still = cash_paths(ledger, spans())
    bold = replace(ledger, account=Account(volatility=0.4))
    moved = cash_paths(bold, spans())
    assert bold.currencies == ("GBP", "USD")
    np.testing.assert_array_equal(moved.check[:, [0, 2, 3, 5]], still.check[:, [0, 2, 3, 5]])
    months = [s for s, span in enumerate(still.spans) if span.kind == "month"]
    change = (moved.lines - still.lines)[:, months].sum(axis=1)
    for line in ("signed", "open", "new"):
        gained = change[:, LINES.index(line)]
        assert gained.std() > 0
        assert abs(gained.mean()) < 4 * gained.std() / np.sqrt(draws)
    assert not change[:, len(LINES) - 6 :].any()
    mix = bold.signing.mix
    deals = ledger.history.opportunities.query("status == 'won'")
    deals = deals[day_number(deals["closed_on"]) > FIRST - 1 - 730]
    worth = deals.pivot_table(index="rep_id", columns="currency", values="amount", aggfunc="sum").fillna(0.0)
    whole, more = worth.sum(), 5 * deals["amount"].mean()
    for r, rep in enumerate(REPS[1:], 1):
        own = worth.loc[rep]
        shares = (own + more * whole / whole.sum()) / (own.sum() + more)
        assert mix[r, 1].tolist() == pytest.approx(np.cumsum(shares[["GBP", "USD"]]).tolist())
        going = ledger.history.opportunities.query("status == 'open' and rep_id == @rep")
        part = going.loc[going["currency"] == "USD", "amount"].sum() / going["amount"].sum()
        assert mix[r, 0, 1] - mix[r, 0, 0] == pytest.approx(part, abs=1e-9)
    assert mix[1, 1, 1] - mix[1, 1, 0] > 0.4 > mix[2, 1, 1] - mix[2, 1, 0]


def test_payments_of_the_plan(make_history: Make) -> None:
    """Commission above quota, shares of sales, input tax: worked out by hand from the dense futures."""
    outs = (Out("rent", 1000.0, date(2026, 1, 31), "month", None, "supplier", 0.25),)
    variable = (Variable("licences", 0.1, "bookings", 20, "tax"),)
    account = Account(opening=50.0, vat=0.25, vat_days=26, outs=outs, variable=variable, payday=25)
    costs = Costs(commission=0.05, accelerator=2.0)
    ledger, dense = make_ledger(
        make_history,
        Terms(),
        account,
        None,
        6,
        costs=costs,
        quotas={("r1", "2026"): 1.0, ("r2", "2027"): 3000.0},
    )
    paths = cash_paths(ledger, spans())
    days = [AS_OF + timedelta(days=1 + t) for t in range(DAYS)]
    deals = ledger.history.opportunities
    sold = {(rep, m): 0 for rep in REPS for m in range(-1, 8)}
    index = {(2026, 10): -1, (2026, 11): 0, (2026, 12): 1, **{(2027, k): k + 1 for k in range(1, 7)}}
    for rep, closed, amount in zip(deals["rep_id"], deals["closed_on"], deals["amount"], strict=True):
        if (closed.year, closed.month) in index:
            sold[rep, index[closed.year, closed.month]] += round(amount * 100)
    for r, rep in enumerate(REPS):
        for t, day in enumerate(days):
            sold[rep, index[day.year, day.month]] += int(dense["won_cents"][7, r, t].sum())
    pay = {0: -1, 1: 0, 2: 1, 3: 2, 4: 3, 5: 4, 6: 5, 7: 6}  # of the month before, by month
    months = [s for s, p in enumerate(paths.spans) if p.kind == "month"]
    for at, s in enumerate(months):
        before, due = pay[at], 0.0
        for rep in REPS[1:]:
            above = 0
            if rep == "r1" and before < 2:  # far above a quota of 1 since long
                above = sold[rep, before]
            if rep == "r2" and before >= 2:
                so_far = sum(sold[rep, m] for m in range(2, before + 1))
                above = max(so_far - 300_000, 0) - max(so_far - sold[rep, before] - 300_000, 0)
            due += round(0.05 * (sold[rep, before] + above))
        assert paths.lines[7, s, LINES.index("commission")] == pytest.approx(-due, abs=2)
        booked = sum(sold[rep, before] for rep in REPS)
        assert paths.lines[7, s, LINES.index("tax")] == pytest.approx(-0.1 * booked, abs=2)
    rent = paths.lines[0, months, LINES.index("supplier")]
    # 31 Dec is free in Sweden, 31 Jan and 28 Feb 2027 are Sundays: those rents leave in the next month
    assert (rent // -100_000).tolist() == [1, 0, 1, 1, 2, 1, 1, 1]


def test_commission_on_renewals(make_history: Make, oracle: ModuleType) -> None:
    """Summed by hand over the slow ledger's renewals; nobody earns on deals without a rep."""
    plan = PLANS["monthly"]
    paying = Costs(commission=0.05, renewals=0.02)
    ledger, dense = make_ledger(make_history, *plan, seed=13, costs=paying)
    deals = ledger.history.opportunities
    deals.loc[deals.index[::4], "rep_id"] = "gone"
    deals.loc[deals.index[1::4], "rep_id"] = "(none)"
    base = cash_paths(replace(ledger, costs=Costs(commission=0.05)), spans())
    paths, slow = cash_paths(ledger, spans()), oracle.SlowLedger(ledger, dense)
    months = [s for s, p in enumerate(paths.spans) if p.kind == "month"]
    found = (paths.lines - base.lines)[:, months]
    line = LINES.index("commission")
    for d in (1, 7):
        earned = {p.label: 0.0 for p in Calendar().periods("month", AS_OF, HORIZON)}
        for deal in slow.deals(d):
            if deal.kind == "renewal" and deal.rep != "(none)":
                earned[f"{deal.day:%Y-%m}"] += 0.02 * deal.cents
        paid = [0.0, *earned.values()][: len(months)]  # with the next month's pay
        np.testing.assert_allclose(found[d, :, line], [-round(x) for x in paid], atol=1)
        assert sum(x > 0 for x in paid) >= 4
        assert {deal.rep for deal in slow.deals(d) if deal.kind == "renewal"} >= {"gone", "(none)", "r1"}
    assert not np.delete(found, line, axis=2).any()


def test_shares_of_the_clocks(make_history: Make) -> None:
    """They add up; what payment explains is the variance between futures that differ by payment alone."""
    ledger, _ = make_ledger(make_history, Terms(), Account(), None, 8, draws=400)
    base = cash_paths(ledger, spans())
    found = shares(ledger, base)
    for share in found.values():
        assert ((share >= 0) & (share <= 1)).all()
    np.testing.assert_allclose(sum(found.values())[1:], 1.0, atol=1e-12)
    assert all(share[-1] > 0 for share in found.values())
    same = Wins({n: c.taken(np.zeros(400, dtype=np.int64)) for n, c in ledger.wins.columns.items()})
    alone = replace(ledger, wins=same, term_months=12, invoice_days=3)
    known = cash_paths(alone, spans())
    np.testing.assert_allclose(shares(alone, known)["payment"][2:], 1.0, atol=0.25)
    within = known.closing[:, -1].var() / base.closing[:, -1].var()  # given one signing, not the average one
    assert found["payment"][-1] == pytest.approx(within, rel=0.9)


def months_of() -> tuple[Period, ...]:
    return Calendar().periods("month", date(2026, 10, 1), HORIZON)


def _of(paths: RevenuePaths, name: str) -> np.ndarray:
    """A measure with everything after the as-of date, shape (futures, months)."""
    at = MEASURES.index(name)
    return np.asarray(paths.signed[at] + paths.paths[:, at].sum(axis=1))


def test_billings_are_revenue_and_the_change_of_contract_balances(
    case: tuple[Ledger, dict[str, np.ndarray]],
) -> None:
    paths = revenue_paths(case[0], months_of())
    _, deferred, unbilled = (int(x) for x in paths.opening)
    balance = _of(paths, "deferred") - _of(paths, "unbilled")
    balance[:, 0] = deferred - unbilled  # October has passed: its end is not among the futures
    change = np.diff(balance, axis=1, prepend=deferred - unbilled)
    np.testing.assert_array_equal(_of(paths, "billings"), _of(paths, "revenue") + change)
    backlog = _of(paths, "backlog")
    backlog[:, 0] = int(paths.opening[0])
    moved = np.diff(backlog, axis=1, prepend=int(paths.opening[0]))
    np.testing.assert_array_equal(_of(paths, "bookings") - _of(paths, "revenue"), moved)
    assert (_of(paths, "revenue")[:, 1:] != 0).mean() > 0.9


def test_revenue_of_a_future_equals_a_slow_ledger(
    case: tuple[Ledger, dict[str, np.ndarray]], oracle: ModuleType
) -> None:
    ledger, dense = case
    paths, slow, months = revenue_paths(ledger, months_of()), oracle.SlowLedger(ledger, dense), months_of()
    for d in (0, DRAWS - 1):
        wanted = np.zeros((len(MEASURES), len(KINDS), len(months)), dtype=np.int64)
        for deal in slow.deals(d):
            k = KINDS.index(deal.kind)
            for m, month in enumerate(months):
                after = month.last + timedelta(days=1)
                if month.first <= deal.day <= month.last:
                    wanted[0, k, m] += deal.cents
                if after <= deal.day:
                    continue
                sent = [cents for _, day, cents in slow.instalments(deal) if day < after]
                now = [cents for _, day, cents in slow.instalments(deal) if month.first <= day < after]
                earned, was = (slow.earned(deal, day, deal.cents) for day in (after, month.first))
                margin, had = (slow.earned(deal, day, deal.margin) for day in (after, month.first))
                wanted[1:, k, m] += [
                    sum(now), earned - was, margin - had, deal.cents - earned,
                    max(sum(sent) - earned, 0), max(earned - sum(sent), 0),
                ]  # fmt: skip
        np.testing.assert_array_equal(paths.paths[d], wanted)


def test_revenue_by_rep_is_that_of_the_ledger(
    case: tuple[Ledger, dict[str, np.ndarray]], oracle: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In any order and small pieces: the company against `revenue`, a rep against the slow ledger."""
    ledger, dense = case
    monkeypatch.setattr(recognised, "PLAIN_CELLS", 120)
    chosen = np.array([3, 3, 0, 11, 5, 5, 5, 8, 2])
    taken = replace(ledger, wins=Wins({n: c.taken(chosen) for n, c in ledger.wins.columns.items()}))
    steps = Steps.covering(months_of(), cuts=(FIRST,))
    at = MEASURES.index("revenue")
    for made in (ledger, taken):
        found, told = earned_columns(made, steps), revenue_paths(made, months_of())
        for m, month in enumerate(months_of()):
            opened, new = found.sums(np.arange(len(REPS)), steps.slice(month))
            np.testing.assert_array_equal(opened, told.paths[:, at, KINDS.index("open"), m])
            later = told.paths[:, at, KINDS.index("new"), m] + told.paths[:, at, KINDS.index("renewal"), m]
            np.testing.assert_array_equal(new, later)
    slow, found = oracle.SlowLedger(ledger, dense), earned_columns(ledger, steps)
    for d in (0, 7):
        for r, rep in enumerate(REPS):
            deals = [deal for deal in slow.deals(d) if deal.rep == rep]
            for month in months_of()[2:]:
                after = month.last + timedelta(days=1)
                earned = sum(
                    slow.earned(x, after, x.cents) - slow.earned(x, max(month.first, x.day), x.cents)
                    for x in deals
                    if x.day < after
                )
                assert sum(x[d] for x in found.sums(np.array([r]), steps.slice(month))) == earned


def test_certain_revenue_by_rep_and_team_of_the_day(case: tuple[Ledger, dict[str, np.ndarray]]) -> None:
    """Done and signed against `revenue`; revenue goes to the team held on the day on which it is earned."""
    ledger, _ = case
    told, months = revenue_paths(ledger, months_of()), months_of()
    moved = pd.DataFrame({"rep_id": ["r1", "r1", "r2"], "team": ["north", "south", "south"]})
    moved["from"] = pd.to_datetime([None, "2026-10-17", None]).astype("datetime64[ns]")
    reps = moved.reindex(columns=ledger.history.reps.columns)
    history = replace(ledger.history, tables={**ledger.history.tables, "reps": reps})
    nothing = pd.DataFrame({"rep": [], "day": [], "measure": [], "value": []})
    given = (ledger.signed, ledger.terms, nothing)
    seats, done = past_with_revenue(history, Steps.covering(months, cuts=(FIRST,)), *given)
    steps = Steps.covering(months, cuts=(FIRST,))
    for m, month in enumerate(months):
        inside = steps.slice(month)
        assert done["revenue_cents"][:, inside].sum() == told.done[2, m]
        assert done["signed_cents"][:, inside].sum() == told.signed[MEASURES.index("revenue"), m]
    split = Period("17 Oct", "day", date(2026, 10, 17), date(2026, 10, 31))
    _, fine = past_with_revenue(history, Steps.covering([*months, split], cuts=(FIRST,)), *given)
    october = steps.slice(months[0])
    after = Steps.covering([*months, split], cuts=(FIRST,)).slice(split)
    south = seats.index(("r1", "south"))
    assert done["revenue_cents"][south, october].sum() == fine["revenue_cents"][south, after].sum()
    if ledger.terms.recognise != "at_close":
        assert ("r1", "north") in seats
        assert done["revenue_cents"][south, october].sum() > 0


def test_the_past_is_told_as_it_was(make_history: Make) -> None:
    """Actual bookings, billings and revenue of October and of November so far, deal by deal."""
    ledger, _ = make_ledger(
        make_history, Terms("yearly", recognise="straight_line"), Account(vat=0.25), 12, 9
    )
    paths, deals = revenue_paths(ledger, months_of()), ledger.history.opportunities
    for m, (first, last) in enumerate(((date(2026, 10, 1), date(2026, 10, 31)), (date(2026, 11, 1), AS_OF))):
        inside = deals["closed_on"].dt.date.between(first, last)
        assert paths.done[0, m] == round(100 * deals.loc[inside, "amount"]).astype(int).sum()
        bills = ledger.history.invoices
        issued = bills[bills["issued_on"].dt.date.between(first, last)]
        assert paths.done[1, m] == pytest.approx(80 * issued["amount"].sum(), abs=len(issued))
        total = 0.0
        for closed, months, amount in zip(
            deals["closed_on"], deals["term_months"], deals["amount"], strict=True
        ):
            ends = closed + pd.DateOffset(months=int(months) if months == months else 12)
            low, high = max(pd.Timestamp(first), closed), min(pd.Timestamp(last) + pd.Timedelta(days=1), ends)
            total += max((high - low).days, 0) / (ends - closed).days * amount * 100
        assert paths.done[2, m] == pytest.approx(total, abs=len(deals))
        assert total > 1e5


def test_without_invoices_the_past_was_billed_as_the_terms_say(make_history: Make) -> None:
    ledger, _ = make_ledger(make_history, Terms("monthly"), Account(), 12, 10)
    bare = {**ledger.history.tables, "invoices": ledger.history.invoices.iloc[:0]}
    ledger = replace(ledger, history=replace(ledger.history, tables=bare))
    paths, deals = revenue_paths(ledger, months_of()), ledger.history.opportunities
    total = 0
    for closed, months, amount in zip(deals["closed_on"], deals["term_months"], deals["amount"], strict=True):
        term = int(months) if months == months else 12
        cents = round(100 * amount)
        upto = [(2 * cents * m + term) // (2 * term) for m in range(term + 1)]
        for m in range(term):
            sent = closed + pd.DateOffset(months=m)
            total += (upto[m + 1] - upto[m]) * ((sent.year, sent.month) == (2026, 10))
    assert paths.done[1, 0] == total > 0


def test_invoices_of_which_nobody_knows_whether_they_are_paid(make_history: Make) -> None:
    """Each is unpaid with P(unpaid at its age): with a hazard h a day, never + (1 - never) exp(-h age)."""
    draws, terms = 4000, Terms("monthly", due_days=20)
    ledger, _ = make_ledger(make_history, terms, Account(vat=0.2), 12, 11, draws=2)
    data = payment_data(ledger.history, Calendar())
    deals = signed_deals(ledger.history, terms, 12, 0.0)
    opened = presumed_invoices(deals, terms, 0.2, FIRST - 1, FIRST - 95, data.classes)
    assert min(opened.issued) >= FIRST - 95 > FIRST - 1 - 98
    assert max(opened.issued) <= FIRST - 1
    shown = deals.cents[deals.months == 7][0]
    mine = [
        a
        for a, o in zip(opened.amount, opened.opportunity, strict=True)
        if o == deals.ids[deals.months == 7][0]
    ]
    assert all(a == pytest.approx(1.2 * shown / 700, abs=0.02) for a in mine)
    pays = payments_of(replace(data, open=opened), None, HORIZON, 11, write_off_days=75)
    wins = Wins({n: c.taken(np.zeros(draws, dtype=np.int64)) for n, c in ledger.wins.columns.items()})
    ledger = replace(ledger, payments=pays, wins=wins, presumed=True)
    found = cash_paths(ledger, spans()).check
    odds = np.zeros(len(opened))
    for i in range(len(opened)):
        hazard = np.zeros(pays.draws)
        for t in range(int(opened.issued[i]), FIRST):
            phase = np.searchsorted(pays.phase_edges, t - opened.due[i], side="right") - 1
            hazard += (0.5 if t == opened.issued[i] else 1.0) * pays.hazard[:, 0, phase]
        alive = np.exp(-hazard * pays.factor[:, opened.code[i]])
        odds[i] = (pays.never + (1 - pays.never) * alive).mean()
    wanted = 100 * (odds * opened.amount).sum()
    error = found[:, 5].std() / np.sqrt(draws)
    assert abs(found[:, 5].mean() - wanted) < 4 * error + 0.002 * wanted
    np.testing.assert_array_equal(
        found[:, 5] + found[:, 0] + found[:, 4], found[:, 1] + found[:, 2] + found[:, 3]
    )


def test_tax_and_sales_of_the_past_are_settled(make_history: Make, oracle: ModuleType) -> None:
    """Tax of invoices sent before the as-of date leaves on its day; months begun count what is known."""
    account = Account(vat=0.25, vat_days=42, variable=(Variable("x", 0.2, "receipts", 45),))
    ledger, _ = make_ledger(make_history, Terms(), account, 12, 12)
    slow, bills = oracle.SlowLedger(ledger, {}), ledger.history.invoices
    wanted = np.zeros(DAYS, dtype=np.int64)
    for issued, amount in zip(bills["issued_on"], bills["amount"], strict=True):
        day = slow.number(slow.vat_day(issued.date()))
        if day >= 0:
            gross = round(100 * amount)
            wanted[day] -= gross - round(gross / 1.25)
    assert wanted.min() < -1000
    np.testing.assert_array_equal(ledger.paid.fixed[LINES.index("vat")], wanted)
    index = {m.label: i for i, m in enumerate(ledger.months)}
    for base, column, share in ((1, "issued_on", 0.8), (2, "paid_on", 1.0)):
        known = bills.dropna(subset=[column])
        month = known[column].dt.strftime("%Y-%m")
        for label, amount in known.groupby(month)["amount"].sum().items():
            if label in index:
                assert ledger.paid.known[base, index[label]] == pytest.approx(100 * share * amount, abs=30)
    assert list(index)[:3] == ["2026-08", "2026-09", "2026-10"]
