"""Salesforce object files: the vendor's demo org to the last row, and a small org with every trap."""

from __future__ import annotations

import csv
import datetime
import json
import tomllib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from quotacast.errors import DataError
from quotacast.models.history.importers import import_source
from quotacast.models.history.importers.draft import ImportResult
from quotacast.models.history.read import read_history

DEMO = Path(__file__).resolve().parents[2] / "shared" / "data" / "salesforce_demo"

ORG = {
    "Opportunity": (
        "Id,OwnerId,AccountId,StageName,IsClosed,IsWon,Amount,CloseDate,CreatedDate,Type,LeadSource,CurrencyIsoCode,"
        "IsDeleted\n"
        "006000000000001AAA,0051G000005MumpQAC,A1,Signed,true,true,1200.50,2024-03-31,2024-01-15T09:00:00.000Z,"
        "New Business,Web,EUR,false\n"
        "006000000000002AAA,0051G000005MumpQAC,A2,Gone,true,false,,2024-04-02,2024-02-01T09:00:00.000Z,"
        "Renewal,Web,EUR,false\n"
        "006000000000003AAA,005000000000009AAA,A3,Talking,false,false,700,2024-09-30,2024-03-03T09:00:00.000Z,"
        "Odd,,EUR,false\n"
        "006000000000004AAA,005000000000009AAA,A3,Talking,false,false,5,2024-09-30,2024-03-03T09:00:00.000Z,,,EUR,true\n"
        "006000000000005AAA,005000000000009AAA,A3,Talking,false,false,5,2024-09-30,,,,EUR,false\n"
        "006000000000001AAA,0051G000005MumpQAC,A1,Signed,true,true,1200.50,2024-03-31,2024-01-15T09:00:00.000Z,"
        ",,EUR,false\n"
        "006000000000006AAA,0051G000005MumpQAC,A1,Signed,true,true,many,2024-03-31,2024-01-15T09:00:00.000Z,"
        ",,EUR,false\n"
    ),
    "OpportunityHistory": (
        "Id,OpportunityId,StageName,Amount,CloseDate,CreatedDate\n"
        "h3,006000000000001,Signed,1200.50,2024-03-31,2024-03-20T18:00:00.000Z\n"
        "h1,006000000000001,Talking,900,2024-05-31,2024-01-15T09:00:00.000Z\n"
        "h2,006000000000001,Gone,900,2024-05-31,2024-02-20T09:00:00.000Z\n"
        "h4,006000000000001,Talking,900,2024-05-31,2024-03-20T09:00:00.000Z\n"
        "h5,006000000000001,Signed,1200.75,2024-03-31,2024-03-25T09:00:00.000Z\n"
        "h6,006000000000077AAA,Talking,900,2024-05-31,2024-01-15T09:00:00.000Z\n"
    ),
    "Task": (
        "Id,OwnerId,WhatId,WhoId,ActivityDate,Status,TaskSubtype,Type,CallType\n"
        "t1,0051G000005MumpQAC,006000000000001,,2024-01-20,Completed,Call,,\n"
        "t2,0051G000005MumpQAC,001000000000001,L2,2024-01-21,Completed,Task,Email,Outbound\n"
        "t3,0051G000005MumpQAC,,,2024-01-22,Completed,,,Outbound\n"
        "t4,0051G000005MumpQAC,,,2024-01-23,Completed,Task,Other,Outbound\n"
        "t5,0051G000005MumpQAC,,,2024-01-24,Not Started,Call,,\n"
        "t6,0051G000005MumpQAC,,,,Completed,Call,,\n"
    ),
    "Event": "Id,OwnerId,WhatId,ActivityDate\ne1,0051G000005MumpQAC,006000000000003AAA,2024-03-09\n",
    "Lead": (
        "Id,OwnerId,CreatedDate,Status,IsConverted,ConvertedDate,ConvertedOpportunityId,LastModifiedDate\n"
        "L1,0051G000005MumpQAC,2024-01-02,Qualified,true,2024-01-15,006000000000001,2024-06-01\n"
        "L2,0051G000005MumpQAC,2024-01-03,Unqualified,false,,,2024-02-07\n"
        "L3,0051G000005MumpQAC,2024-01-04,Unqualified,false,,,\n"
        "L4,0051G000005MumpQAC,2024-01-05,Working,false,,,2024-02-09\n"
        "L5,0051G000005MumpQAC,2024-01-06,Qualified,true,,,2024-02-09\n"
    ),
    "User": (
        "Id,Name,UserRole.Name,IsActive,ManagerId\n"
        "0051G000005Mump,Ann Lee,West,true,m\n"
        "0051G000005Mumz,Jo Idle,West,true,m\n"
        "005000000000008AAA,Bo Chan,West,false,m\n"
    ),
    "ForecastingQuota": (
        "Id,QuotaOwnerId,QuotaAmount,StartDate\n"
        "q1,0051G000005MumpQAC,1000,2024-01-01\n"
        "q2,0051G000005MumpQAC,1100,2024-02-01\n"
        "q3,0051G000005MumpQAC,1200,2024-02-01\n"
        "q4,005000000000008AAA,many,2024-02-01\n"
    ),
}


def small_org(folder: Path, change: Callable[[dict[str, str]], None] = lambda files: None) -> Path:
    folder.mkdir()
    files = dict(ORG)
    change(files)
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def result(tmp_path: Path) -> ImportResult:
    return import_source([small_org(tmp_path / "org")], kind="salesforce", out=tmp_path / "data")


def written(result: ImportResult, table: str) -> pd.DataFrame:
    return pd.read_csv(result.out / f"{table}.csv", dtype=str, keep_default_na=False)


def counted(result: ImportResult) -> dict[str, tuple[int, int, int]]:
    return {table: (read, kept, lost) for table, read, kept, lost in result.counts.itertuples(index=False)}


def reasons(result: ImportResult, table: str) -> dict[str, str]:
    rows = result.rejected[result.rejected["table"] == table]
    return {f"{row.row} {row.id}": row.reason for row in rows.itertuples()}


def noted(result: ImportResult, words: str) -> str:
    return next(note for note in result.notes if words in note)


# ------------------------------------------------------------------------------------------ the demo org


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> ImportResult:
    if not DEMO.is_dir():
        pytest.skip("the Salesforce demo files are not beside the project")
    return import_source([DEMO], kind="salesforce", out=tmp_path_factory.mktemp("demo") / "data")


def raw(name: str) -> list[dict[str, str]]:
    with (DEMO / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_row_of_the_demo_is_in_or_rejected(demo: ImportResult) -> None:
    found = counted(demo)
    assert found["opportunities"] == (5197, 5197, 0)
    assert found["stages"] == (17502, 17502, 0)
    assert found["quotas"] == (408, 408, 0)
    done = sum(row["Status"] == "Completed" for row in raw("Task"))
    assert found["activities"] == (7814 + 7823, done + 7823, 7814 - done)
    assert found["leads"] == (1307, 1307, 0)
    assert found["reps"] == (20, 17, 3)
    for table, (read, kept, lost) in found.items():
        assert read == kept + lost
        assert len(written(demo, table)) == kept
    assert len(pd.read_csv(demo.out / "rejected.csv", dtype=str)) == len(demo.rejected)


def test_the_demo_means_the_same_after_the_import(demo: ImportResult) -> None:
    deals, original = written(demo, "opportunities").set_index("opportunity_id"), raw("Opportunity")
    assert Counter(deals["status"]) == {"lost": 3769, "won": 1166, "open": 262}
    won = {row["External_Id__c"]: int(row["Amount"]) for row in original if row["StageName"] == "Closed Won"}
    ours = deals[deals["status"] == "won"]["amount"].astype(int)
    assert ours.to_dict() == won
    assert noted(demo, "amount 0").startswith("27 ")
    closed = {row["External_Id__c"]: row["CloseDate"] for row in original if "Closed" in row["StageName"]}
    assert deals[deals["status"] != "open"]["closed_on"].to_dict() == closed
    assert (deals.loc[deals["status"] != "open", "expected_close_on"] == "").all()
    quotas = written(demo, "quotas")
    assert quotas["target"].astype(int).sum() == sum(int(row["QuotaAmount__c"]) for row in raw("Quota"))
    assert quotas["period"].str.fullmatch(r"201[67]-\d\d").all()


def test_teams_of_the_demo_are_the_shared_roles(demo: ImportResult) -> None:
    assert Counter(written(demo, "reps")["team"]) == {"East Sales": 6, "West Sales": 6, "Central Sales": 5}
    assert "mend `team`" in noted(demo, "taken as teams")


def test_the_demo_is_read_back_as_history(demo: ImportResult) -> None:
    history = read_history(demo.out)
    assert len(history.opportunities) == 5197
    assert len(history.quotas) == 408
    assert history.as_of_date == datetime.date(2017, 6, 1)


# ------------------------------------------------------------------------------------------- a small org


def test_status_comes_from_the_flags_whatever_the_label(result: ImportResult) -> None:
    deals = written(result, "opportunities").set_index("opportunity_id")
    assert deals["status"].to_dict() == {
        "006000000000001AAA": "won",
        "006000000000002AAA": "lost",
        "006000000000003AAA": "open",
    }
    assert deals["type"].tolist() == ["new", "renewal", ""]
    assert deals["lead_id"].tolist() == ["L1", "", ""]
    assert deals["amount"].tolist() == ["1200.50", "", "700"]


def test_the_history_says_when_a_deal_closed_and_disagreement_is_counted(result: ImportResult) -> None:
    deals = written(result, "opportunities").set_index("opportunity_id")
    assert deals.loc["006000000000001AAA", "closed_on"] == "2024-03-20"
    assert deals.loc["006000000000002AAA", "closed_on"] == "2024-04-02"
    assert deals["expected_close_on"].tolist() == ["", "", "2024-09-30"]
    assert noted(result, "another day than CloseDate").startswith("1 ")
    assert noted(result, "no such end in their history").startswith("1 ")
    assert noted(result, "reopened").startswith("1 ")


def test_stages_are_in_the_order_of_their_time_of_day(result: ImportResult) -> None:
    stages = written(result, "stages")
    assert set(stages["opportunity_id"]) == {"006000000000001AAA"}
    assert stages["stage"].tolist() == ["Talking", "Gone", "Talking", "Signed", "Signed"]
    assert stages["entered_on"].tolist()[2:4] == ["2024-03-20", "2024-03-20"]


def test_rejected_rows_carry_row_id_reason_and_values(result: ImportResult) -> None:
    assert reasons(result, "opportunities") == {
        "5 006000000000004AAA": "deleted in Salesforce",
        "6 006000000000005AAA": "no created_on",
        "7 006000000000001AAA": "opportunity_id came before",
        "8 006000000000006AAA": "amount 'many' is not a number (decimal mark '.')",
    }
    assert reasons(result, "stages") == {
        "7 006000000000077AAA": "opportunity 006000000000077AAA is not among those imported"
    }
    values = json.loads(result.rejected.set_index("row").query("table == 'stages'").loc[7, "values"])
    assert values["CreatedDate"] == "2024-01-15T09:00:00.000Z"


def test_only_completed_tasks_count_and_their_kind_is_what_they_say(result: ImportResult) -> None:
    activities = written(result, "activities").set_index("activity_id")
    kinds = {"t1": "call", "t2": "email", "t3": "call", "t4": "task", "e1": "meeting"}
    assert activities["kind"].to_dict() == kinds
    assert activities["opportunity_id"].tolist() == ["006000000000001AAA", "", "", "", "006000000000003AAA"]
    assert activities["lead_id"].tolist() == ["", "L2", "", "", ""]
    assert reasons(result, "activities") == {
        "6 t5": "task not done: its status is 'Not Started'",
        "7 t6": "no done_on",
    }


def test_leads_end_only_on_a_known_day(result: ImportResult) -> None:
    leads = written(result, "leads").set_index("lead_id")
    assert leads["status"].to_dict() == {"L1": "converted", "L2": "disqualified", "L3": "open", "L4": "open"}
    assert leads["closed_on"].tolist() == ["2024-01-15", "2024-02-07", "", ""]
    assert leads.loc["L1", "opportunity_id"] == "006000000000001AAA"
    assert reasons(result, "leads") == {"6 L5": "no closed_on"}


def test_reps_are_owners_and_a_lone_role_is_no_team(result: ImportResult) -> None:
    reps = written(result, "reps").set_index("rep_id")
    assert reps["name"].to_dict() == {
        "0051G000005MumpQAC": "Ann Lee",
        "005000000000008AAA": "Bo Chan",
        "005000000000009AAA": "",
    }
    assert reps["team"].tolist() == ["West", "West", ""]
    assert list(reasons(result, "reps").values()) == ["owns no opportunity, lead, activity or quota: no rep"]
    assert noted(result, "inactive").startswith("1 ")


def test_quotas_are_monthly_targets_of_reps(result: ImportResult) -> None:
    assert written(result, "quotas").values.tolist() == [
        ["rep:0051G000005MumpQAC", "bookings", "2024-01", "1000"],
        ["rep:0051G000005MumpQAC", "bookings", "2024-02", "1100"],
    ]
    assert sorted(reasons(result, "quotas").values()) == [
        "a second quota of this rep and period",
        "target 'many' is not a number (decimal mark '.')",
    ]


def test_quotas_a_quarter_apart_are_quarterly(tmp_path: Path) -> None:
    def quarterly(files: dict[str, str]) -> None:
        files["ForecastingQuota"] = "QuotaOwnerId,QuotaAmount,StartDate\nr,10,2024-01-01\nr,20,2024-07-01\n"

    found = import_source([small_org(tmp_path / "org", quarterly)], kind="salesforce", out=tmp_path / "data")
    assert written(found, "quotas")["period"].tolist() == ["2024-Q1", "2024-Q3"]


def test_product_is_the_family_of_the_dearest_line(tmp_path: Path) -> None:
    def lines(files: dict[str, str]) -> None:
        files["OpportunityLineItem"] = (
            "OpportunityId,TotalPrice,PricebookEntryId\n006000000000001,10,e1\n006000000000001,90,e2\n"
        )
        files["PricebookEntry"] = "Id,Product2Id\ne1,p1\ne2,p2\n"
        files["Product2"] = "Id,Name,Family\np1,One,Small\np2,Two,Large\n"

    found = import_source([small_org(tmp_path / "org", lines)], kind="salesforce", out=tmp_path / "data")
    assert written(found, "opportunities")["product"].tolist() == ["Large", "", ""]


def test_every_heading_is_in_the_matches(result: ImportResult) -> None:
    shown = result.matches[result.matches["file"] == "OpportunityHistory.csv"].set_index("heading")
    assert shown["column"].to_dict() == {
        "Id": "",
        "OpportunityId": "opportunity_id",
        "StageName": "stage",
        "Amount": "amount",
        "CloseDate": "expected_close_on",
        "CreatedDate": "entered_on",
    }
    assert shown.loc["Id", "how"] == "not used"
    assert set(result.matches["table"]) == {
        "opportunities",
        "stages",
        "leads",
        "activities",
        "reps",
        "quotas",
    }


def test_the_plan_is_valid_and_looks_ahead(result: ImportResult) -> None:
    plan = tomllib.loads((result.out / "plan.toml").read_text(encoding="utf-8"))
    assert plan == {"name": "Plan 2024", "horizon": "2024", "currency": "EUR", "data": {"folder": "."}}
    assert result.next_command.startswith("quotacast check ")


def test_without_stages_that_close_every_deal_is_open_and_it_is_said(tmp_path: Path) -> None:
    def unlabelled(files: dict[str, str]) -> None:
        files.clear()
        files["Opportunity"] = "Id,StageName,CloseDate,CreatedDate,Amount\na,Signed,2024-02-03,2024-01-02,5\n"

    found = import_source([small_org(tmp_path / "org", unlabelled)], kind="salesforce", out=tmp_path / "data")
    assert "every deal is open" in noted(found, "no stage reads as won or lost")


# ------------------------------------------------------------------------------------ the folder and errors


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    def spoil(files: dict[str, str]) -> None:
        files["Opportunity"] = "Id,StageName,CreatedDate,Amount\na,b,3/4/2024,5\n"
        files["Task"] = "Id,Status\nt1,Completed\n"

    with pytest.raises(DataError) as caught:
        import_source([small_org(tmp_path / "org", spoil)], kind="salesforce", out=tmp_path / "data")
    text = str(caught.value)
    for part in ("no column for close_on", "'CreatedDate'", "Task.csv: no column for done_on"):
        assert part in text
    assert not (tmp_path / "data").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["org"]


def test_a_missing_opportunity_file_is_named(tmp_path: Path) -> None:
    def without(files: dict[str, str]) -> None:
        del files["Opportunity"]

    with pytest.raises(DataError, match=r"no Opportunity file among Event\.csv, ForecastingQuota\.csv"):
        import_source([small_org(tmp_path / "org", without)], kind="salesforce", out=tmp_path / "data")


def test_an_earlier_import_is_replaced_only_when_told(tmp_path: Path, result: ImportResult) -> None:
    source = [tmp_path / "org"]
    (result.out / "reps.csv").write_text("rep_id,team\nr,edited\n", encoding="utf-8")
    with pytest.raises(DataError, match="--overwrite"):
        import_source(source, kind="salesforce", out=result.out)
    assert "edited" in (result.out / "reps.csv").read_text(encoding="utf-8")
    again = import_source(source, kind="salesforce", out=result.out, overwrite=True)
    assert "Ann Lee" in written(again, "reps")["name"].tolist()
    (result.out / "own.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match=r"own\.txt"):
        import_source(source, kind="salesforce", out=result.out, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "org"]


def test_the_same_files_give_the_same_bytes(tmp_path: Path, result: ImportResult) -> None:
    again = import_source([tmp_path / "org"], kind="salesforce", out=tmp_path / "again")
    for path in result.out.iterdir():
        assert path.read_bytes() == (again.out / path.name).read_bytes()


@pytest.mark.parametrize("kind", ["nosuch", "mapping.json"])
def test_an_unknown_importer_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(DataError, match="salesforce"):
        import_source([small_org(tmp_path / "org")], kind=kind, out=tmp_path / "data")


def test_a_row_of_the_wrong_width_is_read_and_rejected(tmp_path: Path) -> None:
    def widen(files: dict[str, str]) -> None:
        head, first, rest = files["OpportunityHistory"].split("\n", 2)
        files["OpportunityHistory"] = f"{head}\n{first},extra\n{rest}"

    found = import_source([small_org(tmp_path / "org", widen)], kind="salesforce", out=tmp_path / "data")
    assert counted(found)["stages"] == (6, 4, 2)
    assert "has 7 cells, the heading has 6" in reasons(found, "stages").values()
