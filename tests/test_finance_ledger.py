"""Cash against a slow ledger in plain Python, to the cent, and against closed forms."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from quotacast.engine.finance.account import Account, Out, Variable
from quotacast.engine.finance.contracted import presumed_invoices, signed_deals
from quotacast.engine.finance.entries import Wins
from quotacast.engine.finance.kernel_close import LINES
from quotacast.engine.finance.ledger import CashPaths, Ledger, cash_paths
from quotacast.engine.finance.risk import shares
from quotacast.engine.finance.schedule import Terms
from quotacast.engine.parts import Assumed
from quotacast.engine.payments import payments_of
from quotacast.engine.selling import Costs
from quotacast.models.invoices import payment_data
from quotacast.models.parts import NO_PART
from quotacast.models.periods import Calendar
from quotacast.models.timegrid import day_number

sys.path.insert(0, str(Path(__file__).parent))
import ledger_oracle as slow_ledger
from ledger_world import AS_OF, DAYS, DRAWS, FIRST, HORIZON, MORE, PLANS, REPS, Make, make_ledger, spans

sys.path.remove(str(Path(__file__).parent))


@pytest.fixture(scope="module")
def oracle() -> ModuleType:
    return slow_ledger


@pytest.fixture(scope="module", params=list(PLANS))
def case(request: pytest.FixtureRequest, make_history: Make) -> tuple[Ledger, dict[str, np.ndarray]]:
    terms, account, months = PLANS[request.param]
    seed, more = list(PLANS).index(request.param), dict(MORE.get(request.param, {}))
    return make_ledger(make_history, terms, account, months, seed, **more)


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
