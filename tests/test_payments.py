"""Payments: known hazards are recovered, and the loop that pays an invoice agrees with closed forms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quotacast.engine import payments as payments_module
from quotacast.engine.payments import Payments, payment_day, payments_of
from quotacast.models import invoices as model
from quotacast.models.cells import Episodes, hazard_cells
from quotacast.models.history.history import History
from quotacast.models.invoices import (
    FAR,
    PHASE_EDGES,
    PaymentData,
    payment_data,
    payment_declaration,
    phase_widths,
)
from quotacast.models.laplace import fit_laplace
from quotacast.models.payers import NEW_CUSTOMERS
from quotacast.models.periods import Calendar
from quotacast.models.terms import Posterior
from quotacast.models.timegrid import TimeGrid, as_date, day_number

Make = Callable[..., History]

AS_OF = date(2025, 12, 31)
LAST = int(day_number(AS_OF))
DEAL = {
    "opportunity_id": "o1",
    "created_on": "2024-01-02",
    "closed_on": "2024-02-01",
    "status": "won",
    "amount": 1.0,
}
EDGES = (FAR, -12, -2, 0, 1, 8, 31)
#: The truth: log hazards by phase, customers' spread, class and never-paid share.
PHASE = (-5.2, -4.0, -2.6, -1.2, -1.6, -2.2, -2.8)
SPREAD, ELECTRONIC, LARGE, NEVER = 0.7, 0.6, -0.5, 0.03


@dataclass(frozen=True)
class Truth:
    """Invoices with known hazards."""

    rows: pd.DataFrame
    customer: np.ndarray


def invoices(seed: int, n: int = 1500, customers: int = 30) -> Truth:
    """Draw invoices whose payment times come day by day from the known hazards, independent of our loop."""
    rng = np.random.default_rng(seed)
    effect = rng.normal(0.0, SPREAD, customers)
    who = rng.integers(0, customers, n)
    issued = LAST - rng.integers(1, 730, n)
    terms = rng.choice([14, 30], n)
    electronic, large = rng.random(n) < 0.4, rng.random(n) < 0.3
    own = effect[who] + ELECTRONIC * electronic + LARGE * large
    left = rng.exponential(size=n)
    left[rng.random(n) < NEVER] = np.inf
    paid = np.full(n, -1)
    for age in range(1500):
        band = np.searchsorted(EDGES, age - terms, side="right") - 1
        passed = np.exp(np.asarray(PHASE)[band] + own) * (0.5 if age == 0 else 1.0)
        paid = np.where((paid < 0) & (left <= passed), issued + age, paid)
        left = left - passed
    known = (paid >= 0) & (paid <= LAST)
    rows = pd.DataFrame(
        {
            "invoice_id": [f"i{k:05d}" for k in range(n)],
            "issued_on": [as_date(d) for d in issued],
            "due_on": [as_date(d) for d in issued + terms],
            "amount": np.where(large, rng.uniform(5000, 9000, n), rng.uniform(100, 900, n)),
            "customer_id": [f"c{w:02d}" for w in who],
            "class": np.where(electronic, "electronic", "paper"),
            "paid_on": [as_date(d) if k else None for d, k in zip(paid, known, strict=True)],
        }
    )
    return Truth(rows, effect)


def history_of(make_history: Make, rows: pd.DataFrame, day: date = AS_OF) -> History:
    return make_history({"opportunities": [DEAL], "invoices": rows}, day)


@pytest.fixture(scope="module")
def truth() -> Truth:
    return invoices(3)


@pytest.fixture(scope="module")
def data(truth: Truth, make_history: Make) -> PaymentData:
    return payment_data(history_of(make_history, truth.rows), Calendar())


@pytest.fixture(scope="module")
def posterior(data: PaymentData) -> Posterior:
    return fit_laplace(*data.declared()["paid"], draws=800, seed=2)


@pytest.fixture(scope="module")
def payments(data: PaymentData, posterior: Posterior) -> Payments:
    return payments_of(data, posterior, date(2026, 12, 31), 4)


def held(true: np.ndarray, draws: np.ndarray) -> float:
    """Share of true values inside their central 90 % intervals."""
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    return float(((true >= low) & (true <= high)).mean())


def test_every_paid_invoice_is_an_event_and_those_never_paid_are_set_apart(
    truth: Truth, data: PaymentData
) -> None:
    rows = truth.rows
    _, cells = data.declared()["paid"]
    assert cells.response.sum() == rows["paid_on"].notna().sum()
    assert data.never.mean == pytest.approx(NEVER, abs=0.012)
    assert len(data.open) == rows["paid_on"].isna().sum()


def test_exposure_is_the_days_under_observation(make_history: Make, truth: Truth) -> None:
    """Unweighted days by hand against the cells, of invoices that are all paid or too young to doubt."""
    rows = truth.rows[truth.rows["paid_on"].notna() | (day_number(truth.rows["due_on"]) > LAST)]
    data = payment_data(history_of(make_history, rows), Calendar())
    issued = day_number(rows["issued_on"])
    paid = rows["paid_on"].notna().to_numpy()
    stop = np.where(paid, day_number(rows["paid_on"]), LAST)
    # half a day off at the issue and at the payment; what is open is seen until the evening
    days = np.where(paid & (stop == issued), 0.25, stop - issued + np.where(paid, 0.0, 0.5))
    _, cells = data.declared()["paid"]
    assert cells.exposure.sum() == pytest.approx(days.sum(), rel=0.01)


def test_known_hazards_are_recovered(truth: Truth, data: PaymentData, posterior: Posterior) -> None:
    assert float(posterior.diagnostics["khat"]) < 0.7
    customers = posterior.effects["customer"]
    # a customer's level is identified up to the overall one
    relative = customers - customers.mean(axis=1, keepdims=True)
    assert held(truth.customer - truth.customer.mean(), relative[:, : truth.customer.size]) > 0.75
    gap = posterior.effects["class"][:, 0] - posterior.effects["class"][:, 1]
    low, high = np.quantile(gap, [0.025, 0.975])
    assert low < ELECTRONIC < high
    assert 0.5 < posterior.hyper["customer_sd"].mean() < 0.95


def test_the_share_paid_by_age_is_that_of_the_known_hazards(payments: Payments) -> None:
    """A new customer's curve for terms of 30 days: the model's against a day-by-day product."""
    assert payments.basis == "invoices"
    rng = np.random.default_rng(8)
    effect = np.random.default_rng(9).normal(0.0, SPREAD, 4000)
    age = np.arange(61)
    band = np.searchsorted(EDGES, age - 30, side="right") - 1
    base = np.exp(np.asarray(PHASE)[band]) * np.where(age == 0, 0.5, 1.0)
    # classes and amounts as they occur
    own = effect + ELECTRONIC * (rng.random(4000) < 0.4) + LARGE * (rng.random(4000) < 0.3)
    want = 1.0 - np.exp(-np.exp(own)[:, None] * np.cumsum(base)).mean(axis=0)
    days = paid_days(payments, 10, 40, 6000)
    for at in (10, 28, 35, 50):
        assert (days[days >= 0] <= 10 + at).sum() / days.size == pytest.approx(want[at], abs=0.06)


def paid_days(payments: Payments, issued: int, due: int, draws: int, write_off: int = 180) -> np.ndarray:
    """Payments of an invoice of new customers in every draw."""
    block, fixed = payments.block(0, draws), payments.fixed()
    rng = np.random.default_rng(5)
    first = len(payments.classes.names) - NEW_CUSTOMERS
    out = np.empty(draws, dtype=np.int64)
    for d in range(draws):
        p = block["parameter"][d]
        times = (
            float(payments.factor[p, first + d % NEW_CUSTOMERS])
            * payments.band[p, d % payments.band.shape[1]]
        )
        out[d] = payment_day(rng.random(), p, block["month"][d], times, issued, due, write_off, **fixed)
    return out


def flat(payments: Payments, hazard: float) -> Payments:
    """The same days with one constant hazard per day and no weights."""
    days = payments.month_of_day.size
    return replace(
        payments,
        cumulative=np.arange(days + 1.0),
        phase_edges=np.array([FAR, -5, 3]),
        terms_edges=np.array([0]),
        hazard=np.full((1, 1, 3), hazard),
    )


def test_a_constant_hazard_gives_an_exponential_wait(payments: Payments) -> None:
    one = flat(payments, 0.05)
    months = np.ones(int(one.month_of_day[-1]) + 1)
    u = (np.arange(4000) + 0.5) / 4000
    for issued, until in ((20, 0.5), (-9, 0.0)):  # half a day at the issue; open ones go on from day 0
        days = np.array([payment_day(x, 0, months, 2.0, issued, issued + 30, 999, **one.fixed()) for x in u])
        start = max(issued, 0)
        for later in (1, 7, 40):
            want = 1.0 - np.exp(-0.1 * (later - until))
            assert ((days >= 0) & (days < start + later)).mean() == pytest.approx(want, abs=1e-3)


def test_a_month_with_a_shock_and_a_phase_change_the_hazard_from_their_day_on(payments: Payments) -> None:
    """Cumulative hazard piece by piece: January 31 days at .02, then February three times as fast."""
    one = flat(payments, 0.02)
    hazard = one.hazard.copy()
    hazard[0, 0] = (0.01, 0.02, 0.04)
    one = replace(one, hazard=hazard)
    months = np.ones(int(one.month_of_day[-1]) + 1)
    months[1] = 3.0
    issued, due, until = 4, 24, 35
    day = np.arange(issued, until)
    phase = np.array([0.01, 0.02, 0.04])[np.searchsorted([-5, 3], day - due, side="right")]
    passed = phase * np.where(day < 31, 1.0, 3.0) * np.where(day == issued, 0.5, 1.0)
    u = (np.arange(4000) + 0.5) / 4000
    days = np.array([payment_day(x, 0, months, 1.0, issued, due, 999, **one.fixed()) for x in u])
    assert ((days >= 0) & (days < until)).mean() == pytest.approx(1 - np.exp(-passed.sum()), abs=1e-3)


def test_nothing_is_paid_after_the_write_off_or_the_horizon(payments: Payments) -> None:
    one = flat(payments, 1e-4)
    months = np.ones(int(one.month_of_day[-1]) + 1)
    u = (np.arange(500) + 0.5) / 500
    days = np.array([payment_day(x, 0, months, 1.0, 10, 40, 20, **one.fixed()) for x in u])
    assert days.max() < 60
    assert (days < 0).mean() > 0.9
    assert payment_day(0.5, 0, months, 1e9, -300, -250, 180, **one.fixed()) == -1


def test_odds_of_never_follow_bayes(payments: Payments, data: PaymentData) -> None:
    """An invoice's odds of never grow with its age, from the share of new invoices on."""
    age = LAST - data.open.due
    mean = payments.open_never.mean(axis=0)
    assert mean.min() >= payments.never.mean() - 1e-6
    assert np.median(mean[age > 150]) > 0.95
    assert mean[age < -10].max() < 0.2
    assert payments.never.mean() == pytest.approx(data.never.mean, rel=0.05)


def test_shocks_and_the_trend_go_on_from_the_last_month(data: PaymentData, posterior: Posterior) -> None:
    pay = payments_of(data, posterior, date(2026, 12, 31), 4)
    months = pay.block(0, posterior.draws)["month"]
    assert months.shape == (posterior.draws, 12)
    state = posterior.effects["shock"][:, -1] + posterior.effects["trend"][:, -1]
    near, far = (np.corrcoef(np.log(months[:, m]), state)[0, 1] for m in (0, 11))
    assert near > 0.5 > far
    np.testing.assert_array_equal(pay.block(100, 50)["month"], months[100:150])
    whole = pay.block(0, 2 * posterior.draws)["month"]
    assert not np.allclose(whole[posterior.draws :], months)


def test_without_invoices_payments_are_assumed_and_say_so(make_history: Make, data: PaymentData) -> None:
    none = payment_data(history_of(make_history, pd.DataFrame()), Calendar())
    assert none.declared() == {}
    pay = payments_of(none, None, date(2026, 12, 31), 1)
    assert pay.basis == "assumption"
    assert any("assumed" in note for note in pay.notes)
    late = paid_days(pay, 20, 50, 4000) - 50
    paid = late[late > -51]
    # what ASSUMED_NOTE says
    assert np.quantile(paid, 0.5) == pytest.approx(3, abs=1)
    assert np.quantile(paid, 0.9) == pytest.approx(25, abs=3)
    assert (len(pay.open), pay.open_never.shape) == (0, (pay.draws, 0))


def test_few_invoices_are_open_but_teach_nothing(truth: Truth, make_history: Make) -> None:
    few = payment_data(history_of(make_history, truth.rows.iloc[:12]), Calendar())
    assert few.declared() == {}
    assert "12 invoices" in few.notes[0]
    pay = payments_of(few, None, date(2026, 6, 30), 1)
    assert pay.open_never.shape[1] == len(few.open) == truth.rows.iloc[:12]["paid_on"].isna().sum()


def test_what_the_model_makes_no_use_of_is_said(
    truth: Truth, make_history: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = payment_data(history_of(make_history, truth.rows), Calendar())
    assert len(plain.notes) == 1
    old = truth.rows.copy()
    old.loc[old.index[:3], ["issued_on", "due_on", "paid_on"]] = ["2016-03-01", "2016-03-31", "2016-04-02"]
    monkeypatch.setattr(model, "MOST_CUSTOMERS", 2)
    monkeypatch.setattr(model, "CELL_LIMIT", 1)
    said = " ".join(payment_data(history_of(make_history, old), Calendar()).notes)
    assert "3 invoices issued more than six years ago teach nothing" in said
    assert "the 2 with the most have payment habits of their own, the others share 50" in said
    assert "amount say nothing about payment" in said


def test_credit_notes_are_open_and_teach_nothing(truth: Truth, make_history: Make) -> None:
    note = truth.rows.iloc[[0]].assign(invoice_id="k1", amount=-250.0, paid_on=None)
    with_note = payment_data(history_of(make_history, pd.concat([truth.rows, note])), Calendar())
    without = payment_data(history_of(make_history, truth.rows), Calendar())
    np.testing.assert_array_equal(
        with_note.declared()["paid"][1].exposure, without.declared()["paid"][1].exposure
    )
    np.testing.assert_array_equal(with_note.never.mass, without.never.mass)
    assert with_note.open.amount.min() == -250.0
    assert "k1" in with_note.open.ids


def test_the_order_of_rows_does_not_matter(truth: Truth, make_history: Make, data: PaymentData) -> None:
    mixed = truth.rows.iloc[np.random.default_rng(1).permutation(len(truth.rows))]
    other = payment_data(history_of(make_history, mixed), Calendar())
    np.testing.assert_array_equal(other.declared()["paid"][1].response, data.declared()["paid"][1].response)
    assert other.open.ids == data.open.ids
    assert other.classes.names == data.classes.names


def test_a_later_payment_is_unknown_at_an_earlier_day(truth: Truth, make_history: Make) -> None:
    """Blanking later payments and cutting later invoices is all that an as-of cut does."""
    day = date(2025, 3, 31)
    now = int(day_number(day))
    rows = truth.rows[day_number(truth.rows["issued_on"]) <= now]
    paid = rows["paid_on"].where(rows["paid_on"].map(lambda d: d is not None and d <= day), None)
    by_hand = payment_data(history_of(make_history, rows.assign(paid_on=paid), day), Calendar())
    cut = payment_data(history_of(make_history, truth.rows).as_of(day), Calendar())
    for a, b in zip(
        by_hand.declared()["paid"][1].codes.items(), cut.declared()["paid"][1].codes.items(), strict=True
    ):
        assert a[0] == b[0]
        np.testing.assert_array_equal(a[1], b[1])
    np.testing.assert_array_equal(by_hand.declared()["paid"][1].exposure, cut.declared()["paid"][1].exposure)
    assert by_hand.open.ids == cut.open.ids
    assert cut.open.due.size < len(rows)


def test_classes_know_customers_and_spread_the_unknown(data: PaymentData) -> None:
    classes = data.classes
    first = len(classes.names) - NEW_CUSTOMERS
    codes = classes.code(
        ["c07", "c07", "c07", "nobody", "somebody"], ["paper", "electronic", None, None, "paper"]
    )
    assert [classes.names[c] for c in codes[:2]] == ["c07 / paper", "c07 / electronic"]
    assert classes.names[codes[2]].startswith("c07 / ")
    assert codes[3:].min() >= first
    np.testing.assert_array_equal(
        codes,
        classes.code(
            ["c07", "c07", "c07", "nobody", "somebody"], ["paper", "electronic", None, None, "paper"]
        ),
    )
    assert classes.share[-1] == pytest.approx(1.0)
    assert np.all(np.diff(classes.share) >= 0)


def test_new_customers_are_draws_from_the_population(payments: Payments, posterior: Posterior) -> None:
    first = len(payments.classes.names) - NEW_CUSTOMERS
    kind = payments.classes.kind[first:]
    log = np.log(payments.factor[:, first:]) - posterior.effects["class"][:, kind]
    assert log.std() == pytest.approx(np.sqrt((posterior.hyper["customer_sd"] ** 2).mean()), rel=0.05)
    assert abs(log.mean()) < 0.05
    assert abs(np.corrcoef(log[:, 0], log[:, 1])[0, 1]) < 0.12


def test_the_declaration_has_no_term_without_levels() -> None:
    alone = payment_declaration("paid", (FAR, 0), {"month": 1, "quarter": 1})
    assert {t.name for t in alone.terms} == {"level", "phase"}
    widths: Any = phase_widths(PHASE_EDGES)
    assert len(widths) == len(PHASE_EDGES) - 1
    assert min(widths) > 0
    assert np.mean(widths) == pytest.approx(1.0)


def test_a_weight_scales_exposure_and_no_event() -> None:
    rng = np.random.default_rng(4)
    n = 50
    start = LAST - rng.integers(30, 200, n)
    ended = rng.random(n) < 0.5
    stop = np.where(ended, start + rng.integers(0, 30, n), LAST)
    weight = np.where(ended, 1.0, rng.uniform(0.1, 0.9, n))
    codes = {"row": np.arange(n, dtype=np.int32)}
    every = Episodes(start, start, stop, ended.astype(np.int8), codes, start + 20)
    grid = TimeGrid(Calendar(), LAST - 200, LAST, (1.0,) * 7)
    whole, part = (hazard_cells(e, grid, EDGES, 1) for e in (every, replace(every, weight=weight)))
    np.testing.assert_array_equal(part.events, whole.events)
    by_row = [np.bincount(c.codes["row"], c.exposure, minlength=n) for c in (part, whole)]
    np.testing.assert_allclose(by_row[0], weight * by_row[1])
    kept = replace(every, weight=weight).where(~ended)
    np.testing.assert_array_equal(kept.weight, weight[~ended])


def test_terms_are_told_apart(truth: Truth, data: PaymentData) -> None:
    terms = day_number(truth.rows["due_on"]) - day_number(truth.rows["issued_on"])
    paid = truth.rows["paid_on"].notna().to_numpy()
    _, cells = data.declared()["paid"]
    assert data.terms_edges == (0, 22)
    events = np.bincount(cells.codes["terms"], cells.response)
    assert list(events) == [(paid & (terms == t)).sum() for t in (14, 30)]
    late = np.asarray(data.phase_edges)[cells.codes["phase"]] >= 1
    overdue = day_number(truth.rows["paid_on"]) > day_number(truth.rows["due_on"])
    assert cells.response[late].sum() == (paid & overdue).sum()


def test_a_mistyped_century_does_not_stretch_the_calendar(
    truth: Truth, make_history: Make, data: PaymentData, posterior: Posterior
) -> None:
    odd = truth.rows.iloc[[0]].assign(
        invoice_id="zz", issued_on=date(1925, 5, 4), due_on=date(1925, 6, 3), paid_on=None
    )
    found = payment_data(history_of(make_history, pd.concat([truth.rows, odd])), Calendar())
    assert found.months.size == data.months.size
    np.testing.assert_array_equal(found.declared()["paid"][1].exposure, data.declared()["paid"][1].exposure)
    assert found.open.ids[-1] == "zz"
    pay = payments_of(found, posterior, date(2026, 6, 30), 1)
    assert pay.open_never[:, -1].min() > 0.99


def test_odds_of_never_follow_bayes_for_wholes_and_what_parts_left() -> None:
    rng = np.random.default_rng(8)
    never, pace = rng.uniform(0.01, 0.3, 5), rng.uniform(0.3, 3.0, 5)
    past, path = rng.gamma(2.0, 0.5, (5, 4)), np.array([0, 3, 3, 1, 2, 0])
    factor, code = rng.lognormal(0.0, 0.4, (5, 2)), np.array([0, 1, 0, 0, 1, 1])
    by_band, band = rng.lognormal(0.0, 0.3, (5, 3)), np.array([2, 0, 1, 1, 0, 2])
    parted = np.array([False, True, False, True, True, False])
    found = payments_module._never_given_open(never, past, path, factor, code, by_band, band, pace, parted)
    hazard = past[:, path] * factor[:, code] * by_band[:, band] * np.where(parted, pace[:, None], 1.0)
    unpaid = np.exp(-hazard)  # of those who pay in the end
    odds = never[:, None] / (1.0 - never)[:, None] / unpaid
    np.testing.assert_allclose(found, odds / (1.0 + odds), rtol=1e-6)
