"""Invoices with hostile values: each rule says what it found, and nothing is lost in silence."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quotacast.models.history.check import check_rows
from quotacast.models.history.history import Finding, History
from quotacast.models.history.read import read_history
from quotacast.models.history.rejected import write_rejected
from quotacast.models.invoices import payment_data
from quotacast.models.periods import Calendar

DEALS = [
    {
        "opportunity_id": f"o{i:02d}",
        "created_on": str(np.datetime64("2024-01-03") + 7 * i),
        "status": ("won", "lost")[i % 2],
        "closed_on": str(np.datetime64("2024-01-10") + 8 * i),
        "amount": 900 + 37 * i,
        "rep_id": "ann",
        "customer_id": f"c{i % 5}",
        "currency": "USD" if i == 4 else "EUR",
    }
    for i in range(24)
]
RATES = [
    {"currency": "USD", "valid_from": "2024-01-01", "rate": 0.9},
    {"currency": "USD", "valid_from": "2024-04-01", "rate": 0.95},
]


def bill(**values: Any) -> dict[str, Any]:
    return {
        "invoice_id": "bad", "issued_on": "2024-03-04", "due_on": "2024-04-03", "amount": 1200,
        "customer_id": "c1", "opportunity_id": "o02", "currency": "EUR", "paid_on": "2024-04-20", **values,
    }  # fmt: skip


FINE = [bill(invoice_id=f"i{k}", customer_id="c2", amount=100 + 7 * k) for k in range(3)]


def read(folder: Path, *bills: dict[str, Any], as_of: date | None = None) -> History:
    for name, rows in {"opportunities": DEALS, "invoices": [*FINE, *bills], "rates": RATES}.items():
        pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)
    return read_history(folder, as_of=as_of, currency="EUR")


def found(data: History, rule: str) -> Finding:
    (hit,) = [f for f in data.findings if (f.rule, f.table) == (rule, "invoices")]
    return hit


def row(data: History, name: str = "bad") -> dict[str, Any]:
    (one,) = data.invoices[data.invoices["invoice_id"] == name].to_dict("records")
    return {str(k): v for k, v in one.items()}


def test_good_invoices_are_left_alone(tmp_path: Path) -> None:
    data = read(tmp_path)
    assert [f.rule for f in data.findings if f.table == "invoices"] == []
    assert len(data.invoices) == 3


KEPT: list[tuple[str, str, dict[str, Any]]] = [
    ("paid before issued", "kept", {"paid_on": "2024-03-01"}),
    ("due before issued", "changed", {"due_on": "2024-02-01"}),
    ("due long after issued", "kept", {"due_on": "2042-04-03"}),
    ("credit notes", "kept", {"amount": -1200}),
    ("invoices over zero", "kept", {"amount": 0}),
    ("unknown opportunity", "kept", {"opportunity_id": "o99"}),
    ("another customer than the deal's", "kept", {"customer_id": "c4"}),
    ("customer of the deal", "changed", {"customer_id": ""}),
    ("paid_on not knowable then", "changed", {"paid_on": "2025-03-01"}),
    ("after the as-of date", "set aside", {"issued_on": "2025-02-01", "due_on": "2025-03-01", "paid_on": ""}),
]


@pytest.mark.parametrize(("rule", "action", "values"), KEPT, ids=[k[0] for k in KEPT])
def test_odd_invoices_are_told(tmp_path: Path, rule: str, action: str, values: dict[str, Any]) -> None:
    odd = bill(**{"customer_id": "c2", **values})
    data = read(tmp_path, odd)
    finding = found(data, rule)
    assert (finding.count, finding.examples, finding.action) == (1, ("bad",), action)
    assert data.rejected.empty
    assert rule in set(check_rows(data)["rule"])
    assert len(data.invoices) == 4 - (action == "set aside")


REJECTED: list[tuple[str, dict[str, Any], str]] = [
    ("missing value", {"invoice_id": ""}, "invoice_id missing"),
    ("missing value", {"issued_on": ""}, "issued_on missing"),
    ("missing value", {"due_on": ""}, "due_on missing"),
    ("missing value", {"amount": ""}, "amount missing"),
    ("unknown currency", {"currency": "XTS"}, "no rate from XTS to EUR on 2024-03-04"),
    ("unknown currency", {"currency": "=1+1"}, "unknown currency =1+1"),
    ("unknown currency", {"currency": "USD", "issued_on": "2023-12-30"}, "no rate from USD to EUR on 2023"),
    ("duplicate ids", {"invoice_id": "i1", "amount": 3}, "same id as row"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "values", "reason"), REJECTED, ids=[r[2] for r in REJECTED])
def test_invoices_that_cannot_be_right_are_rejected(
    tmp_path: Path, rule: str, values: dict[str, Any], reason: str
) -> None:
    data = read(tmp_path, bill(**{"customer_id": "c2", **values}))
    assert found(data, rule).action == "rejected"
    (gone,) = data.rejected.to_dict("records")
    assert gone["table"] == "invoices"
    assert gone["reason"].startswith(reason)
    assert len(data.invoices) == 3
    path = write_rejected(data, tmp_path / "rejected.csv")
    assert reason[:14] in path.read_text(encoding="utf-8")


def test_a_due_day_before_the_issue_becomes_the_day_of_issue(tmp_path: Path) -> None:
    one = row(read(tmp_path, bill(due_on="2024-02-01")))
    assert one["due_on"] == one["issued_on"] == pd.Timestamp("2024-03-04")


def test_a_payment_after_the_as_of_date_leaves_the_invoice_open(tmp_path: Path) -> None:
    data = read(tmp_path, bill(paid_on="2024-06-20"), as_of=date(2024, 5, 31))
    assert pd.isna(row(data)["paid_on"])
    assert payment_data(data, Calendar()).open.ids == ("bad",)


def test_money_is_converted_at_the_rate_of_the_day_of_issue_and_the_original_kept(tmp_path: Path) -> None:
    later = bill(
        invoice_id="later", issued_on="2024-04-01", currency="usd", customer_id="c2", amount=-1000, paid_on=""
    )
    data = read(tmp_path, bill(currency="USD", customer_id="c2", amount=1000, paid_on=""), later)
    assert row(data)["amount"] == pytest.approx(900.0)
    assert row(data, "later")["amount"] == pytest.approx(-950.0)
    assert found(data, "converted currency").count == 2
    opened = payment_data(data, Calendar()).open
    assert list(opened.currency) == ["USD", "USD"]
    assert list(opened.exported) == [1000.0, -1000.0]
    np.testing.assert_allclose(opened.amount, [900.0, -950.0])


def test_an_invoice_without_currency_takes_that_of_its_deal(tmp_path: Path) -> None:
    """Otherwise dollars would be taken for euros."""
    data = read(tmp_path, bill(currency="", opportunity_id="o04", customer_id="c4", amount=1000))
    assert row(data)["currency"] == "USD"
    assert row(data)["amount"] == pytest.approx(900.0)
    assert found(data, "currency of the deal").count == 1
