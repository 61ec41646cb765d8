"""Every cleaning rule: what it finds, what it does, and that it leaves the rest alone."""

from __future__ import annotations

import csv
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quotacast.models.history import schema
from quotacast.models.history.check import check_rows, check_summary
from quotacast.models.history.history import Finding, History
from quotacast.models.history.read import read_history
from quotacast.models.history.rejected import harmless, write_rejected
from quotacast.models.history.spelling import key
from quotacast.models.history.truncation import entry_date, expected_before

GOOD: dict[str, list[dict[str, Any]]] = {
    "opportunities": [
        {
            "opportunity_id": f"o{i:02d}",
            "created_on": str(np.datetime64("2024-01-03") + 7 * i),
            "status": ("won", "lost", "won", "open")[i % 4],
            "closed_on": "" if i % 4 == 3 else str(np.datetime64("2024-01-10") + 8 * i),
            "amount": 900 + 37 * i,
            "rep_id": ("ann", "bob")[i % 2],
        }
        for i in range(24)
    ],
    "reps": [{"rep_id": "ann", "team": "north"}, {"rep_id": "bob", "team": "south"}],
}


def history(folder: Path, *more: dict[str, Any], **tables: list[dict[str, Any]]) -> History:
    """Read good tables with further opportunities, and further tables."""
    folder.mkdir(parents=True, exist_ok=True)
    data = {**GOOD, **tables, "opportunities": [*GOOD["opportunities"], *more]}
    for table, rows in data.items():
        pd.DataFrame(rows).to_csv(folder / f"{table}.csv", index=False)
    return read_history(folder)


def deal(**values: Any) -> dict[str, Any]:
    return {
        "opportunity_id": "bad", "created_on": "2024-02-01", "status": "won", "closed_on": "2024-03-01",
        "amount": 1000, "rep_id": "ann", **values,
    }  # fmt: skip


def found(data: History, rule: str, table: str = "opportunities") -> Finding:
    hits = [f for f in data.findings if (f.rule, f.table) == (rule, table)]
    assert len(hits) == 1, [f.rule for f in data.findings]
    return hits[0]


def test_good_data_are_left_alone(tmp_path: Path) -> None:
    data = history(tmp_path)
    assert len(data.opportunities) == 24
    assert data.rejected.empty
    assert {f.rule for f in data.findings} == {"stale open deals"}


REJECTS = [
    ("missing value", deal(opportunity_id=""), "opportunity_id missing"),
    ("missing value", deal(created_on=""), "created_on missing"),
    ("closed without a closing day", deal(closed_on=""), "won without closed_on"),
    (
        "closed before created",
        deal(closed_on="2024-01-31"),
        "closed_on 2024-01-31 is before created_on 2024-02-01",
    ),
    ("won without amount", deal(amount=""), "won without amount"),
    ("negative amount", deal(amount=-5), "won with a negative amount"),
    ("unknown currency", deal(currency="XTS"), "no rate from XTS to EUR on 2024-03-01"),
    ("unknown currency", deal(currency="dollars"), "unknown currency DOLLARS"),
    ("closed in the future", deal(closed_on="2124-03-01"), "closed_on 2124-03-01 is far after 2024-07-04"),
    (
        "created in the future",
        deal(created_on="2124-03-01", closed_on="", status="open"),
        "created_on 2124-03-01",
    ),
]


@pytest.mark.parametrize(("rule", "row", "reason"), REJECTS, ids=[r[2] for r in REJECTS])
def test_rows_that_cannot_be_right_are_rejected(
    tmp_path: Path, rule: str, row: dict[str, Any], reason: str
) -> None:
    euros = [{**r, "opportunity_id": f"e{i}", "currency": "EUR"} for i, r in enumerate(GOOD["opportunities"])]
    data = history(tmp_path, *euros, row)
    finding = found(data, rule)
    name = row["opportunity_id"] or "row 50"
    assert (finding.action, finding.count, finding.examples) == ("rejected", 1, (name,))
    (gone,) = data.rejected.to_dict("records")
    assert {k: gone[k] for k in ("table", "row", "id")} == {"table": "opportunities", "row": 50, "id": name}
    assert gone["reason"].startswith(reason)
    assert len(data.opportunities) == 48


def test_of_duplicates_the_furthest_state_is_kept(tmp_path: Path) -> None:
    still_open = deal(opportunity_id="twin", status="open", closed_on="")
    won = deal(opportunity_id="twin", rep_id="bob")
    for name, rows in {"a": (still_open, won, won), "b": (won, still_open, won)}.items():
        data = history(tmp_path / name, *rows)
        assert data.opportunities.set_index("opportunity_id").loc["twin", "status"] == "won"
        assert found(data, "duplicate ids").count == 2
        assert sorted(r[:13] for r in data.rejected["reason"]) == ["exact copy of", "same id as ro"]


def test_zero_amounts_are_kept_and_reported(tmp_path: Path) -> None:
    data = history(tmp_path, deal(opportunity_id="gift", amount=0))
    assert found(data, "won with amount zero").examples == ("gift",)
    assert "gift" in set(data.opportunities["opportunity_id"])


def test_open_deals_have_no_closing_day(tmp_path: Path) -> None:
    data = history(tmp_path, deal(status="open"))
    assert found(data, "open with a closing day").action == "changed"
    assert pd.isna(data.opportunities.set_index("opportunity_id").loc["bad", "closed_on"])


def test_outliers_are_reported_with_their_weight(tmp_path: Path) -> None:
    finding = found(history(tmp_path, *many(30), deal(amount=50_000_000)), "amount outliers")
    assert finding.examples == ("bad",)
    assert "100% of all bookings" in finding.meaning


def many(n: int, **values: Any) -> list[dict[str, Any]]:
    return [deal(opportunity_id=f"m{i}", amount=1000 + i, **values) for i in range(n)]


def test_piles_are_reported(tmp_path: Path) -> None:
    data = history(tmp_path, *many(40))
    assert found(data, "bulk-created days").count == 40
    assert "2024-02-01 (40)" in found(data, "bulk-created days").meaning
    assert found(data, "bulk-closed days").count == 40


def test_stale_deals_are_older_than_any_win(tmp_path: Path) -> None:
    data = history(tmp_path, deal(opportunity_id="slow", created_on="2023-12-01", closed_on="2024-06-01"))
    wins = data.opportunities[data.opportunities["status"] == "won"]
    longest = (wins["closed_on"] - wins["created_on"]).max()
    assert longest == pd.Timedelta(days=183)
    zombie = deal(opportunity_id="zombie", created_on="2024-01-02", status="open", closed_on="")
    limit = deal(opportunity_id="limit", created_on="2024-01-03", status="open", closed_on="")
    assert data.as_of_date == date(2024, 7, 4)
    data = history(
        tmp_path, deal(opportunity_id="slow", created_on="2023-12-01", closed_on="2024-06-01"), zombie, limit
    )
    assert found(data, "stale open deals").examples == ("zombie",)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("GTX Pro", "GTXPro", True),
        ("O'Brien, Ann", "obrien ann", True),
        ("Zoe\u0308", "ZOË", True),
        ("r-07", "R 07", True),
        ("r-1-12", "r-11-2", False),
        ("0055g000001abcD", "0055g000001abcd", False),
        ("ann", "anna", False),
    ],
)
def test_what_counts_as_one_spelling(a: str, b: str, same: bool) -> None:
    assert (key(a) == key(b)) == same


def test_spellings_follow_the_reps_table(tmp_path: Path) -> None:
    rows = [
        deal(opportunity_id=f"s{i}", rep_id=r)
        for i, r in enumerate(["Ann", "ANN ", "Bob Stone", "cy", "Cy", "Cy"])
    ]
    reps = [
        {"rep_id": "ann", "name": "Ann Lee"},
        {"rep_id": "bob", "name": "Bob Stone"},
        {"rep_id": "idle", "name": ""},
    ]
    data = history(
        tmp_path,
        *rows,
        reps=reps,
        quotas=[{"scope": "rep:Ann", "metric": "m", "period": "2024", "target": 1}],
    )
    owner = data.opportunities.set_index("opportunity_id")["rep_id"]
    assert [owner[f"s{i}"] for i in range(6)] == ["ann", "ann", "bob", "Cy", "Cy", "Cy"]
    assert found(data, "one rep under two spellings").count == 4
    assert list(data.quotas["scope"]) == ["rep:ann"]
    assert found(data, "reps without deals", "reps").examples == ("idle",)
    assert "Cy" in found(data, "rep not in reps").meaning


def test_who_is_listed_with_no_quota_has_none(tmp_path: Path) -> None:
    """Exports list everybody; those with 0 must not stop the others' quotas from being judged."""
    quota = {"metric": "deals_won", "period": "2025"}
    targets = {"rep:ann": 12, "rep:bob": 0, "company": -3}
    rows = [{"scope": scope, "target": target, **quota} for scope, target in targets.items()]
    data = history(tmp_path, quotas=rows)
    assert list(data.quotas["scope"]) == ["rep:ann"]
    finding = found(data, "quota of nothing", "quotas")
    assert (finding.count, finding.action) == (2, "rejected")
    assert set(data.rejected["row"]) == {3, 4}


def test_ids_in_the_reps_table_are_never_merged(tmp_path: Path) -> None:
    reps = [{"rep_id": "ann"}, {"rep_id": "Ann"}, {"rep_id": "bob"}]
    data = history(tmp_path, deal(rep_id="Ann"), reps=reps)
    assert set(data.opportunities["rep_id"]) == {"ann", "Ann", "bob"}


def test_deals_without_a_rep_belong_to_none(tmp_path: Path) -> None:
    data = history(tmp_path, deal(rep_id=""))
    assert found(data, "missing rep").examples == ("bad",)
    assert (data.opportunities["rep_id"] == "(none)").sum() == 1


def test_work_of_days_on_which_its_rep_was_not_there_is_reported(tmp_path: Path) -> None:
    reps = [
        {"rep_id": "ann", "team": "north", "hired_on": "2024-02-01", "left_on": ""},
        {"rep_id": "bob", "team": "south", "hired_on": "", "left_on": "2024-05-01"},
    ]
    days = [("a1", "ann", "2024-01-31"), ("a2", "ann", "2024-02-01"), ("a3", "bob", "2024-01-02"),
            ("a4", "bob", "2024-04-30"), ("a5", "bob", "2024-05-01"), ("a6", "", "2024-03-01")]  # fmt: skip
    acts = [{"activity_id": i, "kind": "call", "done_on": day, "rep_id": rep} for i, rep, day in days]
    leads = [
        {"lead_id": "l1", "created_on": "2024-05-06", "status": "open", "closed_on": "", "rep_id": "bob"}
    ]
    data = history(tmp_path, reps=reps, activities=acts, leads=leads)
    assert found(data, "before hiring", "activities").examples == ("a1",)
    assert found(data, "after leaving", "activities").examples == ("a5",)
    assert found(data, "after leaving", "leads").examples == ("l1",)
    assert found(data, "missing rep", "activities").examples == ("a6",)
    assert len(data.activities) == 6
    assert not [f for f in data.findings if f.rule == "before hiring" and f.table == "leads"]


def test_amounts_are_converted_at_the_rate_of_their_day(tmp_path: Path) -> None:
    rates = [
        {"currency": "usd", "valid_from": "2024-02-15", "rate": 0.5},
        {"currency": "USD", "valid_from": "2024-03-01", "rate": 0.8},
        {"currency": "USD", "valid_from": "2024-03-02", "rate": 0.9},
    ]
    euros = [{**r, "opportunity_id": f"e{i}", "currency": "EUR"} for i, r in enumerate(GOOD["opportunities"])]
    early = deal(opportunity_id="early", currency="USD", closed_on="2024-02-14")
    data = history(tmp_path, *euros, deal(currency="usd"), early, rates=rates)
    assert data.currency == "EUR"
    assert data.opportunities.set_index("opportunity_id").loc[
        "bad", ["amount", "amount_exported"]
    ].tolist() == [800, 1000]
    assert list(data.rejected["reason"]) == ["no rate from USD to EUR on 2024-02-14"]
    assert found(data, "converted currency").count == 1


def test_links_to_nowhere(tmp_path: Path) -> None:
    data = history(
        tmp_path,
        stages=[{"opportunity_id": "ghost", "stage": "s", "entered_on": "2024-02-01"}],
        activities=[{"kind": "call", "done_on": "2024-02-01", "opportunity_id": "ghost", "rep_id": "ann"}],
    )
    assert list(data.rejected["reason"]) == ["unknown opportunity_id"]
    assert found(data, "unknown opportunity", "activities").action == "kept"
    assert list(data.activities["opportunity_id"]) == ["ghost"]


def test_every_rejected_row_is_counted(tmp_path: Path) -> None:
    data = history(tmp_path, *[row for _, row, _ in REJECTS[:6]], deal(), deal())
    counted = sum(f.count for f in data.findings if f.action == "rejected")
    assert counted == len(data.rejected) == len(GOOD["opportunities"]) + 8 - len(data.opportunities)


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"), ("+49 30", "'+49 30"), ("-x", "'-x"), ("@sum", "'@sum"), ("\tx", "'\tx"),
        ("\rx", "'\rx"), ("-12.5", "-12.5"), ("+7", "+7"), ("-1e3", "-1e3"), (17, "17"), (-17, "-17"),
        ("plain", "plain"), (None, ""),
    ],
)  # fmt: skip
def test_rejected_cells_run_nothing(cell: object, written: str) -> None:
    assert harmless(cell) == written


def test_rejected_rows_are_written_whole(tmp_path: Path) -> None:
    data = history(tmp_path / "data", deal(opportunity_id="=cmd()", amount=""))
    path = write_rejected(data, tmp_path / "rejected.csv")
    with path.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.reader(handle))
    assert rows == [
        ["table", "row", "id", "reason"],
        ["opportunities", "26", "'=cmd()", "won without amount"],
    ]
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["rejected.csv"]
    with pytest.raises(FileNotFoundError):
        write_rejected(data, tmp_path / "nowhere" / "rejected.csv")


def test_survivors_of_an_earlier_time_are_recognised(tmp_path: Path) -> None:
    """The same company, once complete and once with nothing that closed before the first of April."""
    rng = np.random.default_rng(11)
    born = np.datetime64("2023-11-01") + rng.integers(0, 400, 900)
    closed = born + rng.geometric(0.02, 900)
    whole = [
        deal(opportunity_id=f"w{i}", created_on=str(b), closed_on=str(c), status=("won", "lost")[i % 2])
        for i, (b, c) in enumerate(zip(born, closed, strict=True))
    ]
    survivors = [r for r in whole if r["closed_on"] >= "2024-04-01"]
    for name, rows in {"whole": whole, "survivors": survivors}.items():
        pd.DataFrame(rows).to_csv((tmp_path / name).with_suffix(".tmp"), index=False)
        (tmp_path / name).mkdir()
        (tmp_path / name).with_suffix(".tmp").rename(tmp_path / name / "opportunities.csv")
    assert entry_date(read_history(tmp_path / "whole")) is None
    cut = read_history(tmp_path / "survivors")
    assert entry_date(cut) == date(2024, 4, 1)
    assert "survivors of that time" in found(cut, "left truncation").meaning


def test_expected_closings_by_hand() -> None:
    frame = pd.DataFrame({"closed_on": pd.to_datetime(["2024-01-02", "2024-01-02", "2024-01-02", None])})
    # All deals are one day old at the first closing; what follows says nothing about ages below one.
    frame["created_on"] = pd.to_datetime(["2024-01-01"] * 4)
    assert expected_before(frame) == 0.0
    # The third closes at age 0 after half a deal-day: hazard 1 ÷ ½ below age one, and three deals lived
    # through that age before the first closing.
    frame["created_on"] = pd.to_datetime(["2024-01-01", "2024-01-01", "2024-01-02", "2024-01-01"])
    assert expected_before(frame) == pytest.approx(3 * (1 - np.exp(-2.0)))


def test_check_rows_and_summary(tmp_path: Path) -> None:
    acts = [{"kind": "call", "done_on": "2024-03-05", "opportunity_id": "o00", "rep_id": "ann"}]
    data = history(tmp_path, deal(amount=""), deal(opportunity_id="gift", amount=0), activities=acts)
    rows = check_rows(data)
    assert list(rows.columns) == ["rule", "table", "count", "examples", "action", "meaning"]
    assert rows["action"].tolist()[0] == "rejected"
    assert len(rows) == len(data.findings)
    summary = check_summary(data)
    assert summary["rows"]["opportunities"] == 25
    assert summary["status"] == {"won": 13, "lost": 6, "open": 6}
    assert summary["rejected"] == {"opportunities": 1}
    assert summary["supports"]["activities"].startswith(
        "yes, 1 kinds, 100% hang on an opportunity: an output"
    )
    assert set(summary["missing"]) == {"stages", "leads", "invoices", "quotas", "rates"}
    assert summary["last_creation"] == "2024-06-12"


SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.mark.skipif(not (SHARED / "maven_crm").is_dir(), reason="third-party data are not on this machine")
def test_maven_begins_with_survivors_and_the_salesforce_demo_does_not(tmp_path: Path) -> None:
    maven = pd.read_csv(SHARED / "maven_crm" / "sales_pipeline.csv", dtype=str)
    status = maven["deal_stage"].map({"Won": "won", "Lost": "lost"}).fillna("open")
    names = {
        "engage_date": "created_on",
        "close_date": "closed_on",
        "close_value": "amount",
        "sales_agent": "rep_id",
    }
    maven.rename(columns=names).assign(status=status).to_csv(tmp_path / "opportunities.csv", index=False)
    data = read_history(tmp_path)
    assert entry_date(data) == date(2017, 3, 1)
    assert data.as_of_date == date(2017, 12, 31)
    demo = pd.read_csv(SHARED / "salesforce_demo" / "Opportunity.csv", dtype=str)
    status = demo["StageName"].map({"Closed Won": "won", "Closed Lost": "lost"}).fillna("open")
    frame = pd.DataFrame(
        {"opportunity_id": demo["External_Id__c"], "status": status, "amount": demo["Amount"]}
    )
    frame["created_on"] = demo["DateTimeCreated__c"]
    frame["closed_on"] = demo["CloseDate"].where(status != "open")
    frame.to_csv(tmp_path / "opportunities.csv", index=False)
    data = read_history(tmp_path)
    assert entry_date(data) is None
    assert found(data, "won with amount zero").count == 27


def test_the_schema_documents_every_column() -> None:
    for table in schema.TABLES:
        text = schema.markdown(table)
        assert all(f"| {name} |" in text for name in schema.names(table))
        shape = schema.json_schema(table)
        assert list(shape["properties"]) == list(schema.names(table))
        assert set(schema.KEYS[table]) <= set(schema.names(table))
        assert schema.BORN.get(table, schema.names(table)[0]) in schema.names(table)
    assert {c.known for c in schema.COLUMNS} == {"creation", "closing", "events"}
    assert schema.required("opportunities") == (
        "opportunity_id",
        "created_on",
        "status",
        "closed_on",
        "amount",
    )
