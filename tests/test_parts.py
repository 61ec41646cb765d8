"""Payments in part: what is learned of them, against histories whose truth is known."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import betabinom

from quotacast.engine.parts import Assumed
from quotacast.engine.payments import payment_day, payments_of
from quotacast.models.history import schema
from quotacast.models.history.history import Finding, History, fingerprint
from quotacast.models.history.read import read_history
from quotacast.models.invoices import payment_data
from quotacast.models.laplace import fit_laplace
from quotacast.models.parts import MEANS, NO_PART, PRIOR, WEIGHTS, habits, partly_paid
from quotacast.models.periods import Calendar
from quotacast.models.timegrid import as_date, day_number

Make = Callable[..., History]
AS_OF = date(2025, 12, 31)
LAST = int(day_number(AS_OF))
DEAL = {
    "opportunity_id": "o1", "created_on": "2024-01-02", "closed_on": "2024-02-01", "status": "won",
    "amount": 1.0, "rep_id": "ann",
}  # fmt: skip
#: The truth: a hazard a day of first payments, the rest's, odds of a part by kind of customer, shares.
FIRST, REST, ODDS = 0.04, 0.09, (0.1, 0.6)


def world(seed: int, n: int = 1600, customers: int = 40) -> dict[str, Any]:
    """Invoices with constant hazards; every second customer pays in parts more often than not."""
    rng = np.random.default_rng(seed)
    bills, pays = [], []
    for i in range(n):
        who = int(rng.integers(customers))
        issued = LAST - int(rng.integers(1, 700))
        first = issued + int(rng.exponential(1 / FIRST))
        part = rng.random() < ODDS[who % 2]
        amount, share = round(float(rng.lognormal(7, 1)), 2), float(rng.beta(8, 12))
        paid = first + 1 + int(rng.exponential(1 / REST)) if part else first
        name = f"i{i:04d}"
        bills.append(
            {
                "invoice_id": name, "issued_on": as_date(issued), "due_on": as_date(issued + 30),
                "amount": amount, "customer_id": f"c{who:02d}",
                "paid_on": as_date(paid) if paid <= LAST else None,
            }
        )  # fmt: skip
        parts = [(first, round(share * amount, 2))] if part else []
        parts.append((paid, round(amount - sum(x for _, x in parts), 2)))
        pays += [{"invoice_id": name, "paid_on": as_date(d), "amount": x} for d, x in parts if d <= LAST]
    return {"opportunities": [DEAL], "invoices": bills, "payments": pays}


def test_odds_of_parts_are_recovered_by_customer(make_history: Make) -> None:
    data = payment_data(make_history(world(1), AS_OF), Calendar())
    assert data.habits.payments.sum() > 1400
    pays = payments_of(data, None, date(2026, 6, 30), 3)
    known = [k for k, name in enumerate(pays.classes.names) if name.startswith("c")]
    mean = pays.parts.odds[:, known].mean(axis=0)
    true = np.array([ODDS[int(pays.classes.names[k][1:]) % 2] for k in known])
    low, high = np.quantile(pays.parts.odds[:, known], [0.05, 0.95], axis=0)
    assert 0.75 <= ((low <= true) & (true <= high)).mean() <= 1.0
    assert np.abs(mean - true).mean() < 0.07
    fresh = [k for k, name in enumerate(pays.classes.names) if name.startswith("new~")]
    assert pays.parts.odds[:, fresh].mean() == pytest.approx(0.35, abs=0.06)
    assert pays.parts.odds[:, fresh].std() > 0.15  # a new customer may be of either kind
    assert pays.parts.share.mean() == pytest.approx(0.4, abs=0.02)
    assert np.quantile(pays.parts.share, 0.9) == pytest.approx(0.54, abs=0.05)


def test_the_rest_has_a_pace_of_its_own(make_history: Make) -> None:
    data = payment_data(make_history(world(2), AS_OF), Calendar())
    posterior = fit_laplace(*data.declared()["paid"], draws=400, seed=2)
    pays = payments_of(data, posterior, date(2026, 6, 30), 3)
    low, high = np.quantile(pays.parts.pace, [0.02, 0.98])
    assert low < REST / FIRST < high
    assert high - low < 1.2
    # a hazard without parts and one with all invoices in the middle of the two would both fail here
    usual = np.exp((np.log(pays.hazard) + np.log(pays.factor.mean())).mean())
    assert usual == pytest.approx(FIRST, rel=0.25)


def test_what_is_left_is_under_observation_from_the_next_day(make_history: Make) -> None:
    """Exposure by hand: whole invoices to the first payment, rests from the day after it."""
    given = world(3, n=400)
    for bill in given["invoices"]:  # none is never paid
        bill["due_on"] = as_date(LAST + 30)
    data = payment_data(make_history(given, AS_OF), Calendar())
    first: dict[str, date] = {}
    for pay in given["payments"]:
        first.setdefault(pay["invoice_id"], pay["paid_on"])
    days = 0.0
    for bill in given["invoices"]:
        issued, paid, one = bill["issued_on"], bill["paid_on"], first.get(bill["invoice_id"])
        if one is None:
            days += (AS_OF - issued).days + 0.5
            continue
        days += (one - issued).days if one > issued else 0.25
        if one != paid:
            days += (paid - one).days - 0.5 if paid else (AS_OF - one).days
    _, cells = data.declared()["paid"]
    assert cells.exposure.sum() == pytest.approx(days, rel=0.01)
    assert cells.response.sum() == len(given["payments"])


def test_the_posterior_of_habits_is_the_beta_binomial(make_history: Make) -> None:
    """Against scipy's probabilities at single points of the grid."""
    history = make_history(world(4, n=90, customers=5), AS_OF)
    rows = history.invoices.sort_values("invoice_id")
    start = day_number(rows["issued_on"])
    paid = rows["paid_on"].notna().to_numpy()
    stop = np.where(paid, day_number(rows["paid_on"]), LAST)
    partly = partly_paid(rows, history.payments, start, np.where(paid, stop, LAST + 1))
    who = rows["customer_id"].str[1:].astype(np.int32).to_numpy()
    found = habits(partly, paid, stop, np.ones(len(rows), dtype=bool), who)
    cells = [(20, 3), (60, 12), (100, 20), (150, 24)]
    log = []
    for i, j in cells:
        mean, weight = MEANS[i], WEIGHTS[j]
        own = betabinom.logpmf(found.parts, found.payments, mean * weight, (1 - mean) * weight).sum()
        log.append(own + (PRIOR[0] - 1) * np.log(mean) + (PRIOR[1] - 1) * np.log1p(-mean))
    mass = np.log([found.mass[c] for c in cells])
    np.testing.assert_allclose(np.diff(mass), np.diff(log), atol=1e-9)
    assert found.mass.sum() == pytest.approx(1.0)


def test_without_payments_nothing_changes(make_history: Make) -> None:
    bare = {name: rows for name, rows in world(5, n=300).items() if name != "payments"}
    data = payment_data(make_history(bare, AS_OF), Calendar())
    pays = payments_of(data, None, date(2026, 6, 30), 3)
    assert pays.parts.basis == "none"
    assert pays.parts.odds.shape[0] == 0
    assert (data.open.part == NO_PART).all()
    assert not any("parts" in note for note in pays.notes)


def test_a_plan_may_state_parts(make_history: Make) -> None:
    data = payment_data(make_history(world(6, n=300), AS_OF), Calendar())
    pays = payments_of(data, None, date(2026, 6, 30), 3, part_payment=Assumed(0.25, 0.3, 14))
    assert (pays.parts.basis, pays.parts.rest_days) == ("plan", 14)
    assert (pays.parts.odds == np.float32(0.25)).all()
    assert pays.parts.share.tolist() == [0.3]


def test_the_day_of_a_rest_is_later_and_by_the_hazard_of_that_day(make_history: Make) -> None:
    """Mean survival of rests, by the cumulative hazard from the day after the part."""
    data = payment_data(make_history(world(7, n=200), AS_OF), Calendar())
    pays = payments_of(data, None, date(2026, 12, 31), 3)
    months, part, due = np.ones(20), 6, 20
    u = (np.arange(4000) + 0.5) / 4000
    days = np.array(
        [payment_day(x, 0, months, 0.3, 2, due, 180, **pays.fixed(), part=part) for x in u]
    )  # fmt: skip
    assert days[days >= 0].min() == part + 1
    for t in (9, 22, 45):
        hazard = 0.0
        for s in range(part + 1, t + 1):
            phase = np.searchsorted(pays.phase_edges, s - due, side="right") - 1
            hazard += 0.3 * pays.hazard[0, 0, phase] * (pays.cumulative[s + 1] - pays.cumulative[s])
        assert ((days < 0) | (days > t)).mean() == pytest.approx(np.exp(-hazard), abs=0.002)


# The table as it is read


def bill(**values: Any) -> dict[str, Any]:
    return {
        "invoice_id": "a", "issued_on": "2024-03-04", "due_on": "2024-04-03", "amount": 1200.0,
        "currency": "EUR", "paid_on": "", **values,
    }  # fmt: skip


def pay(day: str, amount: float, invoice: str = "a") -> dict[str, Any]:
    return {"invoice_id": invoice, "paid_on": day, "amount": amount}


def read(folder: Path, bills: list[dict[str, Any]], pays: list[dict[str, Any]]) -> History:
    deals = [{**DEAL, "opportunity_id": f"o{i}", "closed_on": "2024-12-30"} for i in range(3)]
    deals[0]["amount"], deals[1]["amount"] = 70.5, 31.0
    rates = [
        {"currency": "USD", "valid_from": d, "rate": r} for d, r in (("2024-01-01", 0.9), ("2024-04-01", 0.8))
    ]
    for name, rows in {"opportunities": deals, "invoices": bills, "payments": pays, "rates": rates}.items():
        pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)
    return read_history(folder, currency="EUR")


def found(data: History, rule: str) -> Finding:
    (hit,) = [f for f in data.findings if f.rule == rule]
    return hit


def test_an_invoice_is_paid_when_its_payments_reach_it(tmp_path: Path) -> None:
    bills = [bill(), bill(invoice_id="b"), bill(invoice_id="c", paid_on="2024-05-06")]
    pays = [pay("2024-04-02", 300.0), pay("2024-05-20", 897.0), pay("2024-04-11", 500.0, "b")]
    data = read(tmp_path, bills, pays)
    paid = data.invoices.set_index("invoice_id")["paid_on"]
    assert paid["a"] == pd.Timestamp("2024-05-20")  # three short of 1,200 are fees
    assert pd.isna(paid["b"])
    assert paid["c"] == pd.Timestamp("2024-05-06")
    assert found(data, "paid by its payments").count == 1


def test_paid_on_is_the_last_payment_not_the_first(tmp_path: Path) -> None:
    bills = [bill(paid_on="2024-04-02"), bill(invoice_id="b", paid_on="2024-04-02")]
    pays = [pay("2024-04-02", 300.0), pay("2024-05-20", 900.0)]
    pays += [pay("2024-04-02", 300.0, "b"), pay("2024-05-20", 500.0, "b")]
    data = read(tmp_path, bills, pays)
    paid = data.invoices.set_index("invoice_id")["paid_on"]
    assert paid["a"] == pd.Timestamp("2024-05-20")
    assert pd.isna(paid["b"])
    assert found(data, "paid_on before the last payment").count == 2
    early = data.as_of(date(2024, 5, 1))
    assert early.payments["amount"].tolist() == [300.0, 300.0]
    assert early.invoices["paid_on"].isna().all()


def test_payments_follow_their_invoice_in_currency_and_fate(tmp_path: Path) -> None:
    """Converted at the rate of the invoice's day, so that a share of it stays that share."""
    bills = [bill(currency="USD"), bill(invoice_id="b", amount=640.0)]
    pays = [pay("2024-04-20", 300.0), pay("2024-04-21", 160.0, "b"), pay("2024-04-22", 9.0, "zz")]
    pays.append(pay("2024-05-03", -60.0, "b"))
    data = read(tmp_path, bills, pays)
    assert data.payments["amount"].tolist() == [270.0, 160.0, -60.0]
    assert found(data, "unknown invoice").action == "rejected"
    assert found(data, "payments below zero").count == 1
    opened = payment_data(data, Calendar()).open
    assert opened.amount.tolist() == pytest.approx([1080.0 - 270.0, 640.0 - 100.0])
    assert opened.exported.tolist() == pytest.approx([900.0, 540.0])


def test_a_table_of_payments_without_rows_is_no_other_data(
    make_history: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fingerprints of data without payments are those from before there was such a table."""
    history = make_history(world(8, n=30), AS_OF)
    less = {**history.tables, "payments": history.payments.iloc[:0]}
    assert fingerprint(less) != history.fingerprint
    without = fingerprint(less)
    monkeypatch.setattr(schema, "TABLES", tuple(t for t in schema.TABLES if t != "payments"))
    assert fingerprint(less) == without
