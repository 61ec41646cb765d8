"""Files of any make through a mapping: the shipped example on its data, and what a mapping may get wrong."""

from __future__ import annotations

import datetime
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from quotacast.errors import DataError
from quotacast.models.history.importers import import_source
from quotacast.models.history.importers.draft import ImportResult, translator
from quotacast.models.history.importers.mapping_file import read_mapping
from quotacast.models.history.read import read_history

ROOT = Path(__file__).resolve().parents[1]
MAVEN = ROOT.parent / "shared" / "data" / "maven_crm"
MAVEN_MAPPING = ROOT / "scenarios" / "examples" / "maven_mapping.toml"
OLIST = ROOT.parent / "shared" / "data" / "olist_funnel"
OLIST_MAPPING = ROOT / "scenarios" / "examples" / "olist_mapping.toml"

MAPPING = """
currency = "SEK"
decimal = ","
[opportunities]
file = "deals.csv"
date_format = { created_on = "DD/MM/YYYY" }
[opportunities.columns]
opportunity_id = "No"
created_on = "Start"
status = "Result"
stage = "Result"
closed_on = "End"
amount = "Value"
quoted = "Value"
rep_id = "Who"
product = "Item"
[opportunities.values.status]
Yes = "won"
No = "lost"
"" = "open"
[opportunities.values.product]
AB = "A B"
[opportunities.only_when]
amount = { status = ["won"] }
[opportunities.constants]
type = "new"
[[opportunities.join]]
file = "items.csv"
on = { product = "Item" }
columns = { segment = "Group" }
[[opportunities.join]]
file = "people.csv"
on = { rep_id = "Name" }
columns = { team = "Region" }
"""
DEALS = (
    "No;Start;End;Result;Value;Who;Item\n"
    "1;3/4/2024;2024-05-01;Yes;1.000,5;Ann;AB\n"
    "2;4/4/2024;2024-06-01;No;20;Bo;A B\n"
    "3;5/4/2024;;;30,25;Cy;X\n"
    "4;;2024-06-01;Yes;7;Ann;AB\n"
    "5;31/4/2024;2024-06-01;Maybe;7;Ann;AB\n"
)


def import_small(tmp_path: Path, mapping: str = MAPPING) -> ImportResult:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "deals.csv").write_text(DEALS, encoding="utf-8")
    (folder / "items.csv").write_text("Item,Group\nA B,g1\nA B,g2\nC,g3\n", encoding="utf-8")
    (folder / "people.csv").write_text("Name,Region\nAnn,north\nBo,south\n", encoding="utf-8")
    path = tmp_path / "own.toml"
    path.write_text(mapping, encoding="utf-8")
    return import_source([folder], kind=path, out=tmp_path / "data")


def written(result: ImportResult, table: str) -> pd.DataFrame:
    return pd.read_csv(result.out / f"{table}.csv", dtype=str, keep_default_na=False)


@pytest.fixture(scope="module")
def maven(tmp_path_factory: pytest.TempPathFactory) -> ImportResult:
    if not MAVEN.is_dir():
        pytest.skip("the Maven CRM files are not beside the project")
    return import_source([MAVEN], kind=MAVEN_MAPPING, out=tmp_path_factory.mktemp("maven") / "data")


def test_every_maven_deal_is_in_or_rejected_for_its_missing_day(maven: ImportResult) -> None:
    assert maven.counts.values.tolist() == [["opportunities", 8800, 8300, 500], ["reps", 35, 35, 0]]
    assert set(maven.rejected["reason"]) == {"no created_on"}
    assert len(pd.read_csv(maven.out / "rejected.csv")) == 500


def test_maven_deals_mean_the_same_after_the_import(maven: ImportResult) -> None:
    deals = written(maven, "opportunities").set_index("opportunity_id")
    raw = pd.read_csv(MAVEN / "sales_pipeline.csv", dtype=str, keep_default_na=False).set_index(
        "opportunity_id"
    )
    assert deals["status"].value_counts().to_dict() == {"won": 4238, "lost": 2473, "open": 1589}
    won = raw[raw["deal_stage"] == "Won"]
    assert deals.loc[won.index, "amount"].astype(int).sum() == won["close_value"].astype(int).sum()
    assert set(deals.loc[raw.index[raw["deal_stage"] == "Lost"], "amount"]) == {""}
    assert "GTXPro" not in set(deals["product"])
    prices = pd.read_csv(MAVEN / "products.csv", dtype=str).set_index("product")["sales_price"]
    assert deals["list_price"].tolist() == deals["product"].map(prices).tolist()
    assert "technolgy" not in set(deals["segment"])
    assert written(maven, "reps")["team"].value_counts().to_dict() == {"East": 12, "West": 12, "Central": 11}


def test_maven_is_read_back_as_history_and_planned_for_the_next_year(maven: ImportResult) -> None:
    history = read_history(maven.out)
    assert len(history.opportunities) == 8300
    assert history.as_of_date == datetime.date(2017, 12, 31)
    plan = tomllib.loads((maven.out / "plan.toml").read_text(encoding="utf-8"))
    assert (plan["horizon"], plan["currency"]) == ("2018", "USD")


@pytest.fixture(scope="module")
def olist(tmp_path_factory: pytest.TempPathFactory) -> ImportResult:
    if not OLIST.is_dir():
        pytest.skip("the Olist files are not beside the project")
    return import_source([OLIST], kind=OLIST_MAPPING, out=tmp_path_factory.mktemp("olist") / "data")


def test_every_olist_lead_is_an_opportunity_and_its_wins_are_the_closed_deals(olist: ImportResult) -> None:
    deals = written(olist, "opportunities").set_index("opportunity_id")
    leads = pd.read_csv(OLIST / "olist_marketing_qualified_leads_dataset.csv", dtype=str).set_index("mql_id")
    wins = pd.read_csv(OLIST / "olist_closed_deals_dataset.csv", dtype=str).set_index("mql_id")
    assert deals["created_on"].to_dict() == leads["first_contact_date"].to_dict()
    assert deals["status"].value_counts().to_dict() == {"open": 8000 - len(wins), "won": len(wins)}
    won = deals[deals["status"] == "won"]
    assert won["closed_on"].to_dict() == wins["won_date"].str[:10].to_dict()
    assert won["amount"].astype(float).sum() == wins["declared_monthly_revenue"].astype(float).sum()
    assert set(deals["closed_on"][deals["status"] == "open"]) == {""}


def test_who_won_an_olist_lead_is_no_predictor(olist: ImportResult) -> None:
    history = read_history(olist.out)
    assert set(history.opportunities["rep_id"]) == {"(none)"}
    assert history.rejected["reason"].tolist() == ["closed_on 2018-03-06 is before created_on 2018-03-08"]


def test_a_star_stands_for_every_other_value_that_is_not_empty(tmp_path: Path) -> None:
    entries = '"" = "open"\nNo = "lost"\n"*" = "won"\n'
    before, after = MAPPING.split("[opportunities.values.status]\n")
    later = after[after.index("[opportunities.values.product]") :]
    result = import_small(tmp_path, f"{before}[opportunities.values.status]\n{entries}{later}")
    deals = written(result, "opportunities").set_index("opportunity_id")
    assert deals["status"].to_dict() == {"1": "won", "2": "lost", "3": "open"}
    assert "status" not in result.rejected.set_index("id").loc["5", "reason"]


def test_a_star_leaves_empty_cells_empty() -> None:
    translate = translator({"a": "x", "*": "y"})
    assert [translate(cell) for cell in ("a", "b", "*", "")] == ["x", "y", "y", ""]
    assert translator({"a": "x"})("b") == "b"


def test_a_mapping_translates_joins_empties_and_rejects(tmp_path: Path) -> None:
    result = import_small(tmp_path)
    deals = written(result, "opportunities").set_index("opportunity_id")
    assert deals["created_on"].tolist() == ["2024-04-03", "2024-04-04", "2024-04-05"]
    assert deals["status"].tolist() == ["won", "lost", "open"]
    assert deals["stage"].tolist() == ["Yes", "No", ""]
    assert deals["amount"].tolist() == ["1000.5", "", ""]
    assert deals["quoted"].tolist() == ["1.000,5", "20", "30,25"]
    assert deals["segment"].tolist() == ["g1", "g1", ""]
    assert deals["type"].tolist() == ["new", "new", "new"]
    reasons = result.rejected.set_index("id")["reason"]
    assert reasons["4"] == "no created_on"
    assert reasons["5"].startswith(
        "created_on '31/4/2024' is not a day written DD/MM/YYYY; status 'Maybe' is none"
    )
    notes = "\n".join(result.notes)
    for part in (
        "1 rows of items.csv repeat",
        "that items.csv does not hold (first: 'X')",
        "no line for 'Maybe'",
    ):
        assert part in notes
    both = result.matches.set_index(["file", "heading"])["column"]
    assert both["deals.csv", "Result"] == "status, stage"


def test_reps_without_a_section_are_found_with_their_team(tmp_path: Path) -> None:
    reps = written(import_small(tmp_path), "reps")
    assert reps[["rep_id", "team"]].values.tolist() == [["Ann", "north"], ["Bo", "south"], ["Cy", ""]]


def test_reps_missing_from_their_file_are_added(tmp_path: Path) -> None:
    section = '[reps]\nfile = "people.csv"\n[reps.columns]\nrep_id = "Name"\nteam = "Region"\n'
    result = import_small(tmp_path, MAPPING + section)
    assert written(result, "reps")["rep_id"].tolist() == ["Ann", "Bo", "Cy"]
    assert result.counts.set_index("table").loc["reps"].tolist() == [3, 3, 0]


def test_everything_wrong_with_a_mapping_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(
        'curency = "SEK"\ndecimal = "x"\n'
        "[opportunities]\nfile = 3\n"
        '[opportunities.columns]\nopportunity_id = "No"\ncreated_on = "Start"\n'
        '[opportunities.values.statu]\nYes = "won"\n'
        "[opportunities.only_when]\ncreated_on = 1\n"
        '[[opportunities.join]]\nfile = "a.csv"\non = { x = "y" }\n',
        encoding="utf-8",
    )
    with pytest.raises(DataError) as caught:
        read_mapping(path)
    text = "\n".join(caught.value.problems)
    for part in (
        "bad.toml, curency: is unknown; did you mean currency?",
        "bad.toml, decimal: 'x' came, one of ., , was wanted",
        "bad.toml, opportunities.file: 3 came, a text was wanted",
        "no line for status",
        "opportunities.values.statu: is unknown",
        "opportunities.only_when.created_on: 1 came",
        "opportunities.join[0].columns: None came",
        "opportunities.join[0].on.x: is unknown",
    ):
        assert part in text


def test_files_and_headings_that_are_not_there_are_told_at_once(tmp_path: Path) -> None:
    wrong = (
        MAPPING.replace('"items.csv"', '"goods.csv"').replace('"Who"', '"Whom"').replace('"Region"', '"Area"')
    )
    with pytest.raises(DataError) as caught:
        import_small(tmp_path, wrong)
    text = "\n".join(caught.value.problems)
    for part in ("'Whom' (for rep_id)", "'goods.csv' is not among", "'Area' (for team)"):
        assert part in text


@pytest.mark.parametrize("text", ["not toml", "name = "])
def test_a_broken_mapping_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"broken\.toml: is not TOML"):
        read_mapping(path)
