"""Rolling origins for receipts: nothing later is looked at, and the usual methods by hand."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quotacast.engine.backtest.receipts import (
    UNPAID,
    WEEKS,
    Bills,
    actual_receipts,
    backtest_receipts,
    case_at,
    origins,
    read_bills,
    receipts_summary,
)
from quotacast.engine.backtest.receipts_baselines import (
    _weekly_rates,
    baselines,
    countback_receipts,
    delay_receipts,
    dso_receipts,
)
from quotacast.engine.backtest.receipts_forecast import model_forecast
from quotacast.errors import DataError
from quotacast.models.history.history import History
from quotacast.models.periods import Calendar
from quotacast.models.timegrid import as_date, day_number

Make = Callable[..., History]
ROOT = Path(__file__).resolve().parents[1]
RECEIVABLES = ROOT.parent / "shared" / "data" / "receivables"
END = date(2025, 12, 31)
LAST = int(day_number(END))
DEAL = {
    "opportunity_id": "o1",
    "created_on": "2024-01-02",
    "closed_on": "2024-02-01",
    "status": "won",
    "amount": 1,
}


@pytest.fixture(scope="module")
def book(make_history: Make) -> History:
    """600 invoices in 600 days; eight customers pay between 15 and 50 days after issue, give or take six."""
    rng = np.random.default_rng(6)
    who = rng.integers(0, 8, 600)
    issued = np.sort(LAST - rng.integers(20, 620, 600))
    paid = issued + np.maximum(np.round(15 + 5 * who + rng.normal(0, 6, 600)), 0).astype(int)
    rows = pd.DataFrame(
        {
            "invoice_id": [f"i{k:04d}" for k in range(600)],
            "issued_on": [as_date(d) for d in issued],
            "due_on": [as_date(d + 30) for d in issued],
            "amount": rng.uniform(50, 500, 600).round(2),
            "customer_id": [f"c{w}" for w in who],
            "paid_on": [as_date(d) if d <= LAST else None for d in paid],
        }
    )
    return make_history({"opportunities": [DEAL], "invoices": rows}, END)


def bills(**arrays: list[float]) -> Bills:
    n = len(arrays["issued"])
    return Bills(
        tuple(f"i{k}" for k in range(n)),
        np.array(arrays["issued"], dtype=np.int64),
        np.array(arrays["due"], dtype=np.int64),
        np.array(arrays["paid"], dtype=np.int64),
        np.array(arrays["amount"], dtype=float),
        np.array([None] * n, dtype=object),
        np.array([None] * n, dtype=object),
    )


def test_receipts_fall_into_weeks_after_the_origin() -> None:
    some = bills(
        issued=[90] * 6, due=[120] * 6, paid=[100, 101, 107, 108, 191, UNPAID], amount=[1, 2, 4, 8, 16, 32]
    )
    week = actual_receipts(some, np.arange(6), 100)
    assert list(week[:2]) == [6.0, 8.0]
    assert week[12] == 16.0
    assert week.sum() == 30.0


def test_origins_end_where_the_last_week_is_known(book: History) -> None:
    days = origins(book, 28)
    assert days[-1] == END - timedelta(days=7 * WEEKS)
    assert {(b - a).days for a, b in pairwise(days)} == {28}
    with pytest.raises(DataError, match="600 invoices"):
        origins(book, 28, warm_up=900)


def test_no_forecast_looks_at_later_payments(book: History) -> None:
    """Payments after the origin are moved: every forecast stays as it is, the actuals do not."""
    origin = origins(book, 28)[3]
    every = read_bills(book)
    case = case_at(book, every, origin)
    rng = np.random.default_rng(2)
    later = every.paid > case.day
    moved = replace(every, paid=np.where(later, case.day + rng.integers(1, 200, later.size), every.paid))
    other = case_at(book, moved, origin)
    assert not np.array_equal(
        actual_receipts(every, case.open, case.day), actual_receipts(moved, case.open, case.day)
    )
    for name, forecast in {"quotacast": model_forecast(Calendar(), 1, 150), **baselines(1, 150)}.items():
        first, second = forecast(case), forecast(other)
        for part, draws in first.items():
            np.testing.assert_array_equal(draws, second[part], err_msg=name)
            assert draws.shape == (WEEKS, 150)
            assert draws.min() >= 0


def test_dso_keeps_receivables_in_proportion_to_billings() -> None:
    """Steady billings of 10 a day: opening receivables 200, DSO 20 days, receipts 70 a week."""
    issued = list(range(-200, 100))
    paid = [d + 20 if d + 20 <= 0 else UNPAID for d in issued]
    some = bills(issued=issued, due=issued, paid=paid, amount=[10.0] * 300)
    # issued from day -19 to 0 and not paid by day 0
    np.testing.assert_allclose(dso_receipts(some, 0, np.arange(300)), 70.0)


def test_average_delay_and_countback_by_hand() -> None:
    some = bills(
        issued=[-50, -40, -30, -8, -3, 5],
        due=[-20, -10, 0, 22, 27, 35],
        paid=[-30, -10, UNPAID, UNPAID, UNPAID, UNPAID],
        amount=[100.0, 300.0, 7.0, 11.0, 13.0, 17.0],
    )
    rows = np.arange(2, 6)
    # (100 x 20 + 300 x 30) / 400 = 27.5 days: days -2.5 (late: week 1), 19.5, 24.5 and 32.5
    week = delay_receipts(some, 0, rows)
    assert list(week[:5]) == [7.0, 0.0, 11.0, 13.0, 17.0]
    # receivables of 31 are billed back to day -30, that is 31 days: days 1, 23, 28 and 36
    assert list(countback_receipts(some, 0, rows)[:6]) == [7.0, 0.0, 0.0, 24.0, 0.0, 17.0]


def test_roll_rates_by_hand() -> None:
    """In the last week 30 of 40 current are paid, 5 of 20 that are late, 2 of 8 issued in the week."""
    some = bills(
        issued=[-20, -20, -50, -50, -3, -3],
        due=[10, 10, -20, -20, 27, 27],
        paid=[-4, UNPAID, -1, UNPAID, 0, UNPAID],
        amount=[30, 10, 5, 15, 2, 6],
    )
    last = _weekly_rates(some, 0)[0]
    np.testing.assert_allclose(last[:3], [0.25, 0.75, 0.25])


@pytest.fixture(scope="module")
def rows(book: History) -> pd.DataFrame:
    forecasts = {"quotacast": model_forecast(Calendar(), 1, 300), **baselines(1, 300)}
    return backtest_receipts(book, forecasts, origins(book, 60)[-4:], 1)


def test_knowing_the_customers_pays(rows: pd.DataFrame) -> None:
    table = receipts_summary(rows, 1).set_index(["component", "model"])
    assert np.isnan(table.loc[("open", "dso"), "crps"])
    for name in ("delay", "countback", "ageing"):
        assert table.loc[("open", name), "skill"] > 0.05
    assert table.loc[("total", "dso"), "skill"] > 0
    ours = table.loc[("total", "quotacast")]
    assert 0.6 < ours["covered_80"] < 0.97
    assert ours["crps"] == pytest.approx(
        rows[(rows["model"] == "quotacast") & (rows["component"] == "total")]["crps"].mean()
    )


def test_a_forecast_that_is_too_sure_is_found_out(book: History) -> None:
    """Draws drawn together to a quarter of their spread hold far less often."""
    forecast = baselines(1, 300)["ageing"]

    def sure(case: object) -> dict[str, np.ndarray]:
        found = forecast(case)  # type: ignore[arg-type]
        return {
            n: x.mean(axis=1, keepdims=True) + 0.25 * (x - x.mean(axis=1, keepdims=True))
            for n, x in found.items()
        }

    days = origins(book, 30)[-6:]
    both = receipts_summary(backtest_receipts(book, {"quotacast": sure, "ageing": forecast}, days, 1), 1)
    total = both[both["component"] == "total"].set_index("model")["covered_80"]
    assert total["quotacast"] < 0.5 < total["ageing"]


@pytest.mark.skipif(not RECEIVABLES.is_dir(), reason="the third-party data are not here")
def test_the_receivables_data_are_read_by_their_mapping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import receipts

    history = receipts.receivables()
    assert len(history.invoices) == 2466
    assert history.rejected.empty
    assert (history.invoices["due_on"] - history.invoices["issued_on"]).dt.days.unique().tolist() == [30]
    assert set(history.invoices["class"]) == {"Paper", "Electronic"}
    assert not {"Disputed", "DaysToSettle", "DaysLate", "SettledDate"} & set(history.invoices.columns)
    assert history.invoices["paid_on"].notna().all()
    sys.modules.pop("receipts", None)
