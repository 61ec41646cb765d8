"""As-of snapshots: nothing that was not knowable then may show, whatever column it hides in."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quotacast.errors import DataError
from quotacast.models.history import schema
from quotacast.models.history.history import History
from quotacast.models.history.read import read_history

CUT = date(2024, 6, 30)
BEFORE, AFTER = "2024-05-14", "2024-08-20"
#: Values that occur nowhere else, by kind: wherever they show up, they leaked.
MARK = {"id": "LEAK", "text": "LEAK", "day": "2024-12-24", "money": 987654.25, "number": 87.25}
OPEN = {"opportunities": "open", "leads": "open"}


def _row(table: str, key: str, born: str, closed: str | None) -> dict[str, object]:
    """A complete row of a table with harmless values in every column."""
    plain = {"id": "x1", "text": "plain", "day": "2024-05-20", "money": 120.5, "number": 12.0}
    row: dict[str, object] = {c.name: plain[c.kind] for c in schema.columns(table) if c.kind != "choice"}
    row |= {"type": "new"} if table == "opportunities" else {}
    row |= {"status": {"opportunities": "won", "leads": "converted"}[table]} if table in OPEN else {}
    row |= {schema.KEYS[table][0]: key, schema.BORN.get(table, "set"): born}
    closing = {"opportunities": "closed_on", "leads": "closed_on", "invoices": "paid_on", "reps": "left_on"}
    if table in closing:
        row[closing[table]] = closed
    if table in ("activities", "leads", "invoices", "stages"):
        row["opportunity_id"] = "o1"
    if table == "quotas":
        row |= {"scope": "company"}
    return row


def _base() -> dict[str, list[dict[str, object]]]:
    tables = {t: [_row(t, "x1", BEFORE, None)] for t in schema.TABLES if t not in OPEN}
    tables["stages"] = []
    tables["opportunities"] = [
        _row("opportunities", "o1", "2024-03-05", "2024-04-11"),
        _row("opportunities", "o2", "2024-10-01", "2025-02-03"),
    ]
    tables["leads"] = [_row("leads", "x1", "2024-02-02", "2024-04-11")]
    return tables


def _folder(path: Path, tables: dict[str, list[dict[str, object]]]) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for table, rows in tables.items():
        pd.DataFrame(rows, columns=list(schema.names(table))).to_csv(path / f"{table}.csv", index=False)
    return path


def _leaks(history: History, mark: object) -> list[str]:
    return [
        f"{table}.{column}"
        for table in schema.TABLES
        for column in schema.names(table)
        if history.tables[table][column].astype(str).eq(str(mark)).any()
    ]


def _plant(column: schema.Column) -> tuple[dict[str, list[dict[str, object]]], object]:
    """Put a mark where the schema says it cannot have been known at the cut."""
    tables = _base()
    key = "LEAK" if column.name == schema.KEYS[column.table][0] else "planted"
    # Known at creation: the row is born after the cut. Else: it is born before and closes after.
    born = AFTER if column.known == "creation" else BEFORE
    row = _row(column.table, key, born, AFTER)
    mark: object = row[column.name] if column.kind == "choice" else MARK[column.kind]
    if column.kind == "choice":
        mark = {"type": "renewal", "converted": "disqualified", "won": "lost"}.get(str(mark), "renewal")
    if (column.table, column.name) in LINKS:
        tables["opportunities"].append(_row("opportunities", "LEAK", AFTER, AFTER))
        tables["leads"].append(_row("leads", "LEAK", AFTER, AFTER))
        mark = "LEAK"
    elif column.name == "opportunity_id" and column.table in ("stages", "invoices"):
        tables["opportunities"].append(_row("opportunities", "LEAK", AFTER, AFTER))
    elif column.name == "invoice_id" and column.table == "payments":
        tables["invoices"].append(_row("invoices", "LEAK", AFTER, None))
    if column.name == schema.BORN.get(column.table) or column.name in ("closed_on", "paid_on", "left_on"):
        mark = "2024-12-24"
    row[column.name] = mark
    if column.name == "currency" and column.table != "rates":
        tables["rates"].append(_row("rates", str(mark), AFTER, None))
    if column.name == "created_on":
        row["closed_on"] = "2024-12-25"
    if column.name == "issued_on":
        row["paid_on"] = "2024-12-25"
    if column.name == "hired_on":
        row["left_on"] = "2025-01-01"
    tables[column.table].append(row)
    return tables, mark


LINKS = {("activities", "opportunity_id"), ("activities", "lead_id"), ("leads", "opportunity_id")}
DATED = [c for c in schema.COLUMNS if c.table in schema.BORN]


@pytest.mark.parametrize("column", DATED, ids=lambda c: f"{c.table}.{c.name}")
def test_a_leak_planted_in_any_column_is_caught(column: schema.Column, tmp_path: Path) -> None:
    tables, mark = _plant(column)
    history = read_history(_folder(tmp_path, tables))
    assert _leaks(history, mark), "the mark must be in the data, or the test proves nothing"
    assert _leaks(history.as_of(CUT), mark) == []
    assert _leaks(history.as_of(CUT, strict=True), mark) == []


@pytest.mark.parametrize("column", DATED, ids=lambda c: f"{c.table}.{c.name}")
def test_what_was_known_is_kept(column: schema.Column, tmp_path: Path) -> None:
    """The cut must not win the test above by emptying everything."""
    tables = _base()
    row = _row(column.table, "planted", "2024-03-12", "2024-05-14")
    tables[column.table].append(row)
    history = read_history(_folder(tmp_path, tables))
    now, then = (h.tables[column.table] for h in (history, history.as_of(CUT)))
    key = schema.KEYS[column.table][0]
    pick = [frame.loc[frame[key].isin(["planted", "o1"]), column.name].tolist() for frame in (now, then)]
    assert pick[0] == pick[1]


def test_what_was_blanked_is_listed(tmp_path: Path) -> None:
    tables = _base()
    tables["opportunities"].append(_row("opportunities", "late", BEFORE, AFTER))
    tables["leads"].append(_row("leads", "late", BEFORE, AFTER))
    then = read_history(_folder(tmp_path, tables)).as_of(CUT)
    unknown = {f"{c.table}.{c.name}" for c in schema.COLUMNS if c.known != "creation" and c.table in OPEN}
    assert unknown <= set(then.blanked)
    late = then.opportunities.set_index("opportunity_id").loc["late"]
    assert late["status"] == "open"
    assert pd.isna(late["amount"])
    assert {f.rule for f in then.findings} >= {"amount not knowable then", "after the as-of date"}


STAGES = ["opportunity_id", "stage", "entered_on", "amount", "expected_close_on", "rep_id"]


@pytest.fixture
def reopened(tmp_path: Path) -> History:
    """d1 is won, reopened, handed over and won again; others close once and teach what the labels mean."""
    deals = [("d1", "2024-01-10", "won", "2024-09-01", 900.0, "bo")]
    stages: list[tuple[object, ...]] = [
        ("d1", "Talks", "2024-01-10", 500.0, "2024-04-01", "al"),
        ("d1", "Signed", "2024-03-01", 650.0, "2024-03-01", "al"),
        ("d1", "Talks", "2024-05-01", 700.0, "2024-07-15", "al"),
        ("d1", "Talks", "2024-06-01", 800.0, "2024-08-01", "bo"),
        ("d1", "Signed", "2024-09-01", 900.0, "2024-09-01", "bo"),
    ]
    for i in range(12):
        won = i % 3 > 0
        end = f"2024-{2 + i % 7:02d}-{3 + i:02d}"
        deals.append((f"e{i}", "2024-01-20", "won" if won else "lost", end, 100.0 + i, "al"))
        stages.append((f"e{i}", "Talks", "2024-01-20", 90.0 + i, None, "al"))
        stages.append((f"e{i}", "Signed" if won else "Gone", end, 100.0 + i, None, "al"))
    names = ["opportunity_id", "created_on", "status", "closed_on", "amount", "rep_id"]
    pd.DataFrame(deals, columns=names).to_csv(tmp_path / "opportunities.csv", index=False)
    pd.DataFrame(stages, columns=STAGES).to_csv(tmp_path / "stages.csv", index=False)
    return read_history(tmp_path)


@pytest.mark.parametrize(
    ("day", "status", "closed_on", "amount", "rep"),
    [
        (date(2024, 2, 1), "open", None, 500.0, "al"),
        (date(2024, 3, 1), "won", "2024-03-01", 650.0, "al"),
        (date(2024, 4, 30), "won", "2024-03-01", 650.0, "al"),
        (date(2024, 5, 1), "open", None, 700.0, "al"),
        (date(2024, 6, 10), "open", None, 800.0, "bo"),
        (date(2024, 9, 1), "won", "2024-09-01", 900.0, "bo"),
    ],
)
def test_a_reopened_deal_stands_as_it_stood(
    reopened: History, day: date, status: str, closed_on: str | None, amount: float, rep: str
) -> None:
    assert reopened.closing_stages == {"Gone": "lost", "Signed": "won"}
    then = reopened.as_of(day).opportunities.set_index("opportunity_id").loc["d1"]
    assert (then["status"], then["amount"], then["rep_id"]) == (status, amount, rep)
    assert then["closed_on"] is pd.NaT if closed_on is None else then["closed_on"] == pd.Timestamp(closed_on)


@pytest.mark.parametrize(
    ("day", "status"), [(date(2024, 3, 5), "won"), (date(2024, 5, 20), "open"), (date(2024, 8, 31), "won")]
)
def test_a_closing_day_that_was_never_moved_does_not_hide_the_reopening(
    reopened: History, day: date, status: str
) -> None:
    """Some CRMs leave the first closing day where it is when a deal is reopened and closed again."""
    deals, stages = reopened.opportunities.copy(), reopened.stages.copy()
    deals.loc[deals["opportunity_id"] == "d1", "closed_on"] = pd.Timestamp("2024-03-01")
    again = (stages["opportunity_id"] == "d1") & (stages["entered_on"] == pd.Timestamp("2024-09-01"))
    stages.loc[again, "entered_on"] = pd.Timestamp("2024-07-20")
    kept = replace(reopened, tables={**reopened.tables, "opportunities": deals, "stages": stages})
    then = kept.as_of(day).opportunities.set_index("opportunity_id").loc["d1"]
    assert (then["status"], pd.isna(then["closed_on"])) == (status, status == "open")


def test_expected_closings_stand_as_they_stood(reopened: History) -> None:
    assert "expected_close_on" in schema.HISTORIES
    then = reopened.as_of(date(2024, 5, 20)).opportunities.set_index("opportunity_id")
    assert then.loc["d1", "expected_close_on"] == pd.Timestamp("2024-07-15")


def test_the_future_cannot_be_asked_for(reopened: History) -> None:
    with pytest.raises(DataError, match="the history ends on 2024-09-01"):
        reopened.as_of(date(2024, 9, 2))


def test_read_applies_an_earlier_as_of(reopened: History, tmp_path: Path) -> None:
    early = read_history(tmp_path, as_of=date(2024, 5, 20))
    assert early.as_of_date == date(2024, 5, 20)
    assert early.fingerprint == reopened.as_of(date(2024, 5, 20)).fingerprint != reopened.fingerprint


def test_open_amounts_use_the_rate_of_the_day(tmp_path: Path) -> None:
    deals = [
        ("a", "2024-01-10", "won", "2024-02-01", 100.0, "EUR"),
        ("b", "2024-01-11", "won", "2024-09-01", 100.0, "EUR"),
        ("c", "2024-01-12", "open", None, 100.0, "USD"),
    ]
    names = ["opportunity_id", "created_on", "status", "closed_on", "amount", "currency"]
    pd.DataFrame(deals, columns=names).to_csv(tmp_path / "opportunities.csv", index=False)
    rates = [("USD", "2024-01-01", 0.8), ("USD", "2024-08-01", 0.5)]
    pd.DataFrame(rates, columns=["currency", "valid_from", "rate"]).to_csv(
        tmp_path / "rates.csv", index=False
    )
    history = read_history(tmp_path)
    now, then = (h.opportunities.set_index("opportunity_id")["amount"] for h in (history, history.as_of(CUT)))
    assert now["c"] == pytest.approx(50.0)
    assert then["c"] == pytest.approx(80.0)


deal = st.tuples(
    st.integers(0, 300), st.one_of(st.none(), st.integers(0, 200)), st.booleans(), st.integers(1, 999)
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deals=st.lists(deal, min_size=4, max_size=25), later=st.integers(60, 260), cut=st.integers(40, 250))
def test_cuts_compose_and_the_future_does_not_reach_back(
    tmp_path: Path, deals: list[tuple[int, int | None, bool, int]], later: int, cut: int
) -> None:
    zero = np.datetime64("2024-01-01")
    rows = [("o_won", 0, 3, True, 5), ("o_end", 299, 100, True, 7)]
    rows += [(f"o{i}", *d) for i, d in enumerate(deals)]  # type: ignore[misc]
    frame = pd.DataFrame(
        {
            "opportunity_id": [r[0] for r in rows],
            "created_on": [str(zero + r[1]) for r in rows],
            "status": ["open" if r[2] is None else "won" if r[3] else "lost" for r in rows],
            "closed_on": [None if r[2] is None else str(zero + r[1] + r[2]) for r in rows],
            "amount": [float(r[4]) for r in rows],
        }
    )
    frame.to_csv(tmp_path / "opportunities.csv", index=False)
    history = read_history(tmp_path)
    day, mid = (zero + cut).astype(object), (zero + max(cut, later)).astype(object)
    once = history.as_of(day, strict=True)
    assert history.as_of(mid).as_of(day, strict=True).fingerprint == once.fingerprint
    # Undo every closing after the cut and change every open amount: no strict snapshot may notice.
    late = pd.to_datetime(frame["closed_on"]) > pd.Timestamp(day)
    other = frame.assign(
        status=frame["status"].mask(late, "open"),
        closed_on=frame["closed_on"].mask(late),
        amount=frame["amount"] + 1000.0 * (late | (frame["status"] == "open")),
    )
    other.loc[1] = frame.loc[1]
    other.to_csv(tmp_path / "opportunities.csv", index=False)
    changed = read_history(tmp_path)
    changed = replace(changed, as_of_date=history.as_of_date)
    assert changed.as_of(day, strict=True).fingerprint == once.fingerprint
