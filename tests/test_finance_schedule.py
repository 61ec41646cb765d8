"""Terms, working days, what is signed already, and the plan's tables about money."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quotacast.engine.finance.account import Account, Days, Out, pay_days, planned_payments
from quotacast.engine.finance.contracted import (
    coming_invoices,
    receivables,
    revaluation,
    signed_deals,
    tax_on_top,
)
from quotacast.engine.finance.schedule import (
    Schedules,
    Terms,
    add_months,
    earned_before,
    rounded,
    working_day_before,
    working_days,
)
from quotacast.errors import PlanError
from quotacast.models.history.history import History
from quotacast.models.invoices import payment_data
from quotacast.models.periods import Calendar
from quotacast.models.timegrid import as_date, day_number
from quotacast.scenarios.plan import load_plan

Make = Callable[..., History]
AS_OF = date(2026, 6, 30)
TODAY = int(day_number(AS_OF))


def num(*days: str) -> np.ndarray:
    return np.array([int(day_number(date.fromisoformat(d))) for d in days], dtype=np.int64)


def test_months_later_as_pandas_counts_them() -> None:
    rng = np.random.default_rng(3)
    days = rng.integers(15_000, 25_000, 400)
    for months in (-14, -1, 1, 7, 12, 36):
        found = add_months(days, months)
        wanted = pd.to_datetime(days, unit="D") + pd.DateOffset(months=months)
        assert found.tolist() == day_number(wanted.to_numpy()).tolist()
    assert [str(as_date(d)) for d in add_months(num("2027-01-31", "2024-01-31"), 1)] == [
        "2027-02-28",
        "2024-02-29",
    ]


def test_schedules_worked_out_by_hand() -> None:
    """10,000.01 over 10 months, in advance by quarter: 3, 3, 3 and 1 tenths, rounded cumulatively."""
    terms, close = Terms("quarterly", recognise="straight_line"), num("2026-11-30")
    assert [str(as_date(d)) for d in terms.invoiced(close, 10)[0]] == [
        "2026-11-30", "2027-02-28", "2027-05-30", "2027-08-30",
    ]  # fmt: skip
    upto = rounded(np.array([1_000_001]), terms.parts(10), terms.parts(10)[-1])
    assert np.diff(upto).tolist() == [300_000, 300_001, 300_000, 100_000]
    begin, end = terms.earned(close, 10)
    assert (str(as_date(begin[0])), str(as_date(end[0]))) == ("2026-11-30", "2027-09-30")
    # 304 days; until the end of the year 32 of them: 1,000,001 x 32 / 304 = 105,263.26 cents
    assert earned_before(np.array([1_000_001]), begin, end, num("2027-01-01")).tolist() == [105_263]
    steps = Terms("milestones", ((0.6, 90), (0.4, 5)), "delivery", start_lag=14, duration=60)
    assert (steps.invoiced(close, 12)[0] - close).tolist() == [5, 90]
    assert np.diff(rounded(np.array([333]), steps.parts(12), steps.parts(12)[-1])).tolist() == [133, 200]
    assert [int(x[0] - close[0]) for x in steps.earned(close, 12)] == [14, 74]


@pytest.mark.parametrize("bill", ["at_close", "monthly", "quarterly", "yearly"])
def test_parts_and_revenue_add_up_to_the_cent(bill: str) -> None:
    rng, terms = np.random.default_rng(5), Terms(bill, recognise="straight_line")
    for months in (1, 5, 12, 31):
        cents = rng.integers(1, 10**11, 50)
        parts = terms.parts(months)
        assert (parts[0], parts.size - 1) == (0, terms.invoiced(np.array([20_000]), months).shape[1])
        sums = rounded(cents[:, None], parts[None, :], parts[-1])
        np.testing.assert_array_equal(sums[:, -1], cents)
        assert (np.diff(sums, axis=1) >= 0).all()
        begin, end = terms.earned(np.full(50, 20_000), months)
        np.testing.assert_array_equal(earned_before(cents, begin, end, end), cents)
        assert (earned_before(cents, begin, end, begin) == 0).all()


def test_tables_hold_every_length_of_term() -> None:
    terms, first = Terms("yearly", recognise="straight_line"), TODAY + 1
    tables = Schedules.of(terms, (12, 30), first, 400)
    assert (tables.months, tables.parts.tolist()) == ((12, 30), [1, 3])
    close = np.arange(first, first + 400)
    np.testing.assert_array_equal(tables.invoiced[1] + first, terms.invoiced(close, 30))
    np.testing.assert_array_equal(tables.ends[0] + first, add_months(close, 12))


def test_working_days_as_numpy_counts_them() -> None:
    free = num("2026-12-24", "2026-12-25", "2026-12-31", "2027-01-01", "2027-01-06")
    first = int(num("2026-12-10")[0])
    days = np.arange(first, first + 45).astype("datetime64[D]")
    holidays = free.astype("datetime64[D]")
    forward = np.busday_offset(days, 0, roll="forward", holidays=holidays).astype(int) - first
    backward = np.busday_offset(days, 0, roll="backward", holidays=holidays).astype(int) - first
    np.testing.assert_array_equal(working_days(first, 45, free), forward)
    np.testing.assert_array_equal(working_day_before(first, 45, free), backward)


def test_days_of_tax_pay_and_the_plans_payments() -> None:
    days = Days(Calendar(holidays="SE"), TODAY + 1, 184)
    account = Account(vat=0.25, vat_every="quarter", vat_days=40)
    # of the third quarter: 30 Sep + 40 days = 9 Nov 2026, a Monday; of the second: 9 Aug, a Sunday
    found = days.vat_day(num("2026-09-30", "2026-07-01", "2026-06-30"), account) + TODAY + 1
    assert [str(as_date(d)) for d in found] == ["2026-11-09", "2026-11-09", "2026-08-10"]
    months = days.calendar.periods("month", date(2026, 7, 1), date(2026, 12, 31))
    paid = pay_days(months, 25, days) + TODAY + 1
    assert [str(as_date(d)) for d in paid] == [
        "2026-07-24", "2026-08-25", "2026-09-25", "2026-10-23", "2026-11-25", "2026-12-23",
    ]  # fmt: skip
    outs = (
        Out("rent", 1250.0, date(2026, 5, 31), "month", date(2026, 9, 1), "supplier", 0.25),
        Out("loan", 99.5, date(2026, 8, 1), None, None, "debt"),
    )
    plan = planned_payments(Account(vat=0.25, vat_days=26, outs=outs), days, ("supplier", "vat", "debt"))
    leaves = {str(as_date(int(d) + TODAY + 1)): int(plan[0, d]) for d in np.flatnonzero(plan[0])}
    assert leaves == {"2026-07-31": -125_000, "2026-08-31": -125_000}  # 30 Jun has passed
    back = {str(as_date(int(d) + TODAY + 1)): int(plan[1, d]) for d in np.flatnonzero(plan[1])}
    # input tax of May (paid 1 Jun) and of June, July, August: 26 days after each month, if at work
    assert back == {"2026-07-27": 50_000, "2026-08-26": 25_000, "2026-09-28": 25_000}
    assert {str(as_date(int(d) + TODAY + 1)): int(plan[2, d]) for d in np.flatnonzero(plan[2])} == {
        "2026-08-03": -9_950
    }


def deal(name: str, closed: str, amount: float, months: float | None = None) -> dict[str, Any]:
    closing = date.fromisoformat(closed)
    return {
        "opportunity_id": name, "created_on": closing - timedelta(days=30), "closed_on": closing,
        "status": "won", "amount": amount, "customer_id": f"c{name}", "term_months": months,
    }  # fmt: skip


def bill(
    name: str, of: str | None, issued: str, amount: float, paid: str | None = None, **more: Any
) -> dict[str, Any]:
    on = date.fromisoformat(issued)
    return {
        "invoice_id": name, "opportunity_id": of, "issued_on": on, "due_on": on + timedelta(days=30),
        "amount": amount, "paid_on": None if paid is None else date.fromisoformat(paid), **more,
    }  # fmt: skip


def test_signed_deals_get_the_invoices_they_lack(make_history: Make) -> None:
    deals = [
        deal("a", "2026-01-15", 1200.0, 12),
        deal("b", "2026-03-31", 600.0, 6),
        deal("c", "2026-06-28", 500.0, 12),
        deal("d", "2026-06-10", 900.0, 9),
    ]
    sent = [
        bill("1", "a", "2026-01-20", 300 * 1.25),
        bill("2", "a", "2026-04-19", 300 * 1.25),
        bill("3", "b", "2026-04-02", 300 * 1.25),
        bill("4", "d", "2026-06-12", 300 * 1.25),
    ]
    history, terms = make_history({"opportunities": deals, "invoices": sent}, AS_OF), Terms("quarterly")
    signed = signed_deals(history, terms, None, 0.25)
    assert (signed.by_invoice, signed.invoiced.tolist()) == (True, [60_000, 30_000, 0, 30_000])
    assert sorted(signed.lags.tolist()) == [2, 5]  # d is too young to be learned from
    coming = coming_invoices(signed, terms, np.array([2, 5, 8]), TODAY, 184)
    found = {
        (str(signed.ids[d]), str(as_date(int(t) + TODAY + 1))): int(c)
        for t, c, d in zip(coming.day, coming.cents, coming.deal, strict=True)
    }
    assert found == {
        ("a", "2026-07-15"): 30_000,
        ("a", "2026-10-15"): 30_000,
        ("b", "2026-07-01"): 30_000,  # its second part was due on 30 Jun: at once
        ("c", "2026-07-04"): 12_500,  # two days old: waits of 5 and 8 are possible, 6.5 on average, 6
        ("c", "2026-10-04"): 12_500,
        ("d", "2026-09-10"): 30_000,
        ("d", "2026-12-10"): 30_000,
    }
    assert sum(found.values()) == 60_000 + 30_000 + 25_000 + 60_000


def test_without_links_the_terms_say_what_was_invoiced(make_history: Make) -> None:
    deals = [deal("a", "2026-01-31", 1200.0, 12), deal("b", "2024-01-15", 1200.0, 12)]
    terms = Terms("monthly")
    signed = signed_deals(make_history({"opportunities": deals}, AS_OF), terms, None, 0.0)
    assert (signed.by_invoice, signed.invoiced.tolist()) == (False, [60_000, 120_000])
    coming = coming_invoices(signed, terms, np.array([7]), TODAY, 100)
    assert [str(as_date(int(t) + TODAY + 1)) for t in coming.day] == [
        "2026-07-31",
        "2026-08-31",
        "2026-09-30",
    ]
    assert coming.cents.tolist() == [10_000] * 3


def test_what_was_never_invoiced_is_left_out_and_told(make_history: Make) -> None:
    deals = [deal(f"x{i}", "2026-02-01", 100.0 + i) for i in range(4)] + [deal("old", "2025-03-01", 777.0)]
    sent = [bill(f"i{i}", f"x{i}", "2026-02-03", 100.0 + i) for i in range(4)]
    signed = signed_deals(make_history({"opportunities": deals, "invoices": sent}, AS_OF), Terms(), None, 0.0)
    coming = coming_invoices(signed, Terms(), signed.lags, TODAY, 100)
    assert [str(signed.ids[i]) for i in coming.forgotten] == ["old"]
    assert coming.day.size == 0


def test_credit_notes_are_netted_with_the_oldest_of_their_customer(make_history: Make) -> None:
    rows = [
        bill("1", None, "2026-05-01", 100.0, customer_id="k"),
        bill("2", None, "2026-06-01", 250.0, customer_id="k"),
        bill("3", None, "2026-06-01", 80.0, customer_id="m"),
        bill("4", None, "2026-06-10", -130.5, customer_id="k"),
        bill("5", None, "2026-06-11", -90.0, customer_id="m"),
    ]
    history = make_history({"opportunities": [deal("a", "2026-01-15", 5.0)], "invoices": rows}, AS_OF)
    opened = payment_data(history, Calendar()).open
    found = receivables(opened, revaluation(opened, history))
    assert [opened.ids[i] for i in found.rows] == ["2"]
    assert (found.cents.tolist(), found.netted) == ([25_000 - 3_050], 10_000 + 3_050 + 8_000)
    assert (found.refund_day.tolist(), found.refund_cents.tolist()) == (num("2026-07-11").tolist(), [1_000])


def test_open_invoices_are_worth_what_todays_rate_says(make_history: Make) -> None:
    rows = [
        bill("1", None, "2026-05-01", 90.0, currency="USD"),
        bill("2", None, "2026-06-20", 88.0, currency="USD"),
        bill("3", None, "2026-05-01", 70.0, currency="EUR"),
    ]
    rates = [
        {"currency": "USD", "valid_from": date(2026, 1, 1), "rate": 0.9},
        {"currency": "USD", "valid_from": date(2026, 6, 15), "rate": 0.81},
    ]
    tables = {"opportunities": [deal("a", "2026-01-15", 5.0)], "invoices": rows, "rates": rates}
    history = make_history(tables, AS_OF)
    opened = payment_data(history, Calendar()).open
    np.testing.assert_allclose(revaluation(opened, history), [0.9, 1.0, 1.0])


def test_whether_invoices_hold_tax_is_read_off_their_deals(make_history: Make) -> None:
    deals = [deal(f"x{i}", "2026-02-01", 100.0 + i) for i in range(5)]
    for factor, wanted in ((1.0, 0.25), (1.25, 0.0), (1.22, 0.0), (1.03, 0.25)):
        sent = [bill(f"i{i}", f"x{i}", "2026-02-03", factor * (100.0 + i)) for i in range(5)]
        history = make_history({"opportunities": deals, "invoices": sent}, AS_OF)
        assert tax_on_top(history, 0.25) == wanted
    assert tax_on_top(history, 0.0) == 0.0


PLAN = 'horizon = "2027"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[terms]\nbill = "milestones"\n[[terms.milestone]]\nshare = 0.3\nafter_days = 0\n'
            '[[terms.milestone]]\nshare = "60%"\nafter_days = 30\n',
            "terms.milestone: the shares add up to 0.9, wanted 1 (100%)",
        ),
        ('[terms]\nbill = "milestones"\n', 'terms: bill = "milestones" came without any [[terms.milestone]]'),
        (
            "[terms]\n[[terms.milestone]]\nshare = 1.0\nafter_days = 3\n",
            "terms: [[terms.milestone]] came with bill",
        ),
        (
            "[terms]\nterm_months = 0\n",
            "terms.term_months: 0 came, wanted a whole number of months from 1 to 120",
        ),
        ('[cash]\nvat_every = "week"\n', "cash.vat_every: 'week' came"),
        (
            '[cash]\n[[cash.variable]]\nname = "x"\nshare = 0.1\nof = "profit"\n',
            "cash.variable[1].of: 'profit' came",
        ),
        ("[fx]\nvolatility = 3.0\n", "fx.volatility: 3.0 came, wanted a number from 0 to 2"),
    ],
)
def test_tables_about_money_are_refused_with_their_key(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN + text, encoding="utf-8")
    with pytest.raises(PlanError) as caught:
        load_plan(tmp_path / "plan.toml")
    assert said in str(caught.value)


def test_thirds_written_with_few_digits_are_a_whole(tmp_path: Path) -> None:
    parts = "".join(f"[[terms.milestone]]\nshare = 0.3333\nafter_days = {30 * i}\n" for i in range(3))
    (tmp_path / "plan.toml").write_text(PLAN + f'[terms]\nbill = "milestones"\n{parts}', encoding="utf-8")
    terms = load_plan(tmp_path / "plan.toml").terms
    assert terms is not None
    assert len(terms.milestone) == 3
