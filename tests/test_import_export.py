"""Single exports of deals, recognised by their headings."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from quotacast.errors import DataError
from quotacast.models.history.importers import import_export
from quotacast.models.history.importers.draft import ImportResult
from quotacast.models.history.read import read_history

HUBSPOT = (
    "Record ID,Deal Name,Deal Stage,Pipeline,Amount,Amount in company currency,Currency,Close Date,"
    'Create Date,Deal owner,Deal Type,Merged Deal IDs,"Date entered ""Demo (Sales)""",'
    '"Date entered ""Closed Won (Sales)"""\n'
    "101,Alpha,Closed Won (Sales),Sales,1200.5,1100.25,USD,2024-03-31 10:00,2024-01-15 09:00,Ann Lee,"
    "New Business,104,2024-01-16 09:00,2024-03-21 10:00\n"
    "102,Beta,Demo,Sales,500,460,USD,2024-06-30 10:00,2024-02-15 09:00,Bo Chan,,,2024-02-16 09:00,\n"
    "103,Gamma,Closed Lost,Sales,,,USD,2024-04-02 10:00,2024-02-15 09:00,Bo Chan,Renewal,,,\n"
    "104,Alpha,Closed Won,Sales,1,1,USD,2024-03-31 10:00,2024-01-15 09:00,Ann Lee,,,2024-01-16 09:00,\n"
)
SALESFORCE_REPORT = (
    "Opportunity Owner,Account Name,Opportunity Name,Stage,Fiscal Period,Amount,Close Date,Created Date,Age\n"
    'Ann Lee,Acme,Big,Closed Won,Q1-2024,"10,500.00",3/14/2024,1/31/2024,33\n'
    "Ann Lee,Acme,Big,Negotiation,Q3-2024,500.00,9/14/2024,2/3/2024,33\n"
    "Bo Chan,Zeta,Renée,Closed Lost,Q2-2024,,5/14/2024,2/3/2024,33\n\nSales Report\nCopyright (c) someone\n"
)
PIPEDRIVE = (
    "Deal - ID;Deal - Title;Deal - Value;Deal - Currency of Value;Deal - Stage;Deal - Status;Deal - Owner;"
    "Deal - Deal created;Deal - Won time;Deal - Lost time;Deal - Expected close date\n"
    "1;A;1.234,50;EUR;Offer;Won;Ann;2024-01-02 10:00:00;2024-02-03 11:00:00;;2024-02-28\n"
    "2;B;99;EUR;Offer;Lost;Ann;2024-01-02 10:00:00;;2024-03-03 11:00:00;2024-02-28\n"
    "3;C;12,5;EUR;Lead in;Open;Bo;2024-01-09 10:00:00;;;2024-05-28\n"
    "4;D;12,5;EUR;Lead in;Deleted;Bo;2024-01-09 10:00:00;;;2024-05-28\n"
)
SALESFLARE = (
    "id,name,owner.name,account.name,stage.name,value,currency.iso,creation_date,close_date,lost_reason\n"
    "7,A,Ann,Acme,Won,12.5,EUR,2024-01-02 10:00:00,2024-02-03 10:00:00,\n"
    "8,B,Bo,Zeta,Proposal,30,EUR,2024-01-05 10:00:00,2024-09-03 10:00:00,\n"
)

#: Text -> per deal (status, closed_on, amount, expected_close_on).
EXPORTS = {
    "hubspot": (
        HUBSPOT,
        {
            "101": ("won", "2024-03-21", "1100.25", ""),
            "102": ("open", "", "460", "2024-06-30"),
            "103": ("lost", "2024-04-02", "", ""),
        },
    ),
    "salesforce": (
        SALESFORCE_REPORT,
        {
            "Big · 2024-01-31": ("won", "2024-03-14", "10500.00", ""),
            "Big · 2024-02-03": ("open", "", "500.00", "2024-09-14"),
            "Renée": ("lost", "2024-05-14", "", ""),
        },
    ),
    "pipedrive": (
        PIPEDRIVE,
        {
            "1": ("won", "2024-02-03", "1234.50", ""),
            "2": ("lost", "2024-03-03", "99", ""),
            "3": ("open", "", "12.5", "2024-05-28"),
        },
    ),
    "salesflare": (
        SALESFLARE,
        {"7": ("won", "2024-02-03", "12.5", ""), "8": ("open", "", "30", "2024-09-03")},
    ),
}


def imported(tmp_path: Path, text: str) -> ImportResult:
    path = tmp_path / "deals.csv"
    path.write_text(text, encoding="utf-8")
    return import_export(path, tmp_path / "data")


def written(result: ImportResult, table: str) -> pd.DataFrame:
    return pd.read_csv(result.out / f"{table}.csv", dtype=str, keep_default_na=False)


@pytest.mark.parametrize("name", sorted(EXPORTS))
def test_an_export_becomes_a_data_folder(tmp_path: Path, name: str) -> None:
    text, expected = EXPORTS[name]
    result = imported(tmp_path, text)
    deals = written(result, "opportunities").set_index("opportunity_id")
    shown = deals[["status", "closed_on", "amount", "expected_close_on"]]
    assert {str(deal): tuple(row) for deal, row in shown.T.items()} == expected
    counts = result.counts
    assert (counts["read"] == counts["written"] + counts["rejected"]).all()
    assert len(read_history(result.out).opportunities) == len(expected)
    reps = written(result, "reps")
    assert reps["rep_id"].tolist() == reps["name"].tolist() == sorted(set(deals["rep_id"]))
    assert set(reps["team"]) == {""}


def test_merged_and_deleted_deals_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    merged = imported(tmp_path / "a", HUBSPOT).rejected
    assert merged[["table", "id", "reason"]].values.tolist() == [
        ["opportunities", "104", "was merged into another deal"],
        ["stages", "104", "its deal is not among those imported"],
    ]
    assert imported(tmp_path, PIPEDRIVE).rejected["reason"].tolist() == ["deleted in the CRM"]


def test_hubspot_stage_entries_become_stages(tmp_path: Path) -> None:
    result = imported(tmp_path, HUBSPOT)
    assert written(result, "stages").values.tolist() == [
        ["101", "Demo", "2024-01-16"],
        ["102", "Demo", "2024-02-16"],
        ["101", "Closed Won", "2024-03-21"],
    ]
    deals = written(result, "opportunities")
    assert "currency" not in deals
    assert set(deals["deal_currency"]) == {"USD"}


def test_an_export_without_what_is_needed_names_the_headings(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        imported(tmp_path, "Opportunity Name,Amount\nBig,5\n")
    assert len(caught.value.problems) == 3
    assert "Created Date" in str(caught.value)


def test_an_undecidable_day_asks_for_the_setting(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="date_format"):
        imported(tmp_path, "ID,Stage,Amount,Close Date,Created Date\n1,Won,5,3/4/2024,1/2/2024\n")


def test_when_nothing_is_left_the_reasons_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 rejected: no created_on"):
        imported(tmp_path, "ID,Stage,Amount,Close Date,Created Date\n1,Won,5,2024-02-03,\n")
