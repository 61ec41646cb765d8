"""Reading a data folder: formats, types, and errors that name file, row, value and repair."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quotacast.errors import DataError
from quotacast.models.history import schema
from quotacast.models.history.history import History, fingerprint
from quotacast.models.history.parse import parse
from quotacast.models.history.read import read_history

NAMES = ["opportunity_id", "created_on", "status", "closed_on", "amount", "rep_id"]
DEALS: list[list[Any]] = [
    ["007", "2024-01-15", "won", "2024-03-02", "1200.50", "ann"],
    ["12", "2024-02-10", "lost", "2024-02-28", "", "bob"],
    ["0012", "2024-02-11", "open", "", "640", "ann"],
    ["x-1", "2024-03-05", "won", "2024-03-05", "75.25", "bob"],
]


def put(
    folder: Path, rows: list[list[Any]] | None = None, names: list[str] | None = None, **extra: str
) -> Path:
    """Write opportunities.csv, and further files given as text under their table's name."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [",".join(names or NAMES), *(",".join(map(str, r)) for r in (DEALS if rows is None else rows))]
    (folder / "opportunities.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for table, text in extra.items():
        (folder / f"{table}.csv").write_text(text, encoding="utf-8")
    return folder


def problems(folder: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read_history(folder, **options)
    return "\n".join(caught.value.problems)


def changed(column: str, row: int, value: str) -> list[list[Any]]:
    rows = [list(r) for r in DEALS]
    rows[row - 2][NAMES.index(column)] = value
    return rows


def rules(history: History) -> set[tuple[str, str]]:
    return {(f.rule, f.table) for f in history.findings}


def test_a_plain_folder(tmp_path: Path) -> None:
    history = read_history(put(tmp_path))
    deals = history.opportunities
    assert list(deals.columns) == list(schema.names("opportunities"))
    assert list(deals["opportunity_id"]) == ["007", "12", "0012", "x-1"]
    assert deals["closed_on"].tolist()[0] == pd.Timestamp("2024-03-02")
    assert deals["amount"].tolist()[0] == 1200.5
    assert history.as_of_date == date(2024, 3, 5)
    assert history.currency == ""
    assert history.rejected.empty
    assert set(history.tables) == set(schema.TABLES)
    assert history.findings == ()


def typed(folder: Path, ending: str) -> Path:
    """The same deals with native types, as Parquet or as a workbook."""
    frame = pd.DataFrame(DEALS, columns=NAMES).replace("", None)
    frame["amount"] = frame["amount"].astype(float)
    for name in ("created_on", "closed_on"):
        frame[name] = pd.to_datetime(frame[name])
    if ending == "parquet":
        frame.to_parquet(folder / "opportunities.parquet")
    else:
        frame.to_excel(folder / "opportunities.xlsx", index=False, engine="xlsxwriter")
    return folder


@pytest.mark.parametrize("ending", ["parquet", "xlsx"])
def test_formats_agree(tmp_path: Path, ending: str) -> None:
    (tmp_path / "typed").mkdir()
    plain, other = read_history(put(tmp_path / "csv")), read_history(typed(tmp_path / "typed", ending))
    assert plain.fingerprint == other.fingerprint
    pd.testing.assert_frame_equal(plain.opportunities, other.opportunities)


def test_the_fingerprint_ignores_row_order_and_nothing_else(tmp_path: Path) -> None:
    first = read_history(put(tmp_path / "a")).fingerprint
    assert read_history(put(tmp_path / "b", DEALS[::-1])).fingerprint == first
    prints = {first}
    changes = [
        ("opportunity_id", "008"),
        ("created_on", "2024-01-16"),
        ("status", "lost"),
        ("amount", "1200.51"),
    ]
    for i, (column, value) in enumerate([*changes, ("rep_id", "cy")]):
        prints.add(read_history(put(tmp_path / str(i), changed(column, 2, value))).fingerprint)
    assert len(prints) == 6


def test_ids_that_a_workbook_made_numbers_are_text(tmp_path: Path) -> None:
    frame = pd.DataFrame(DEALS, columns=NAMES).replace("", None)
    frame["opportunity_id"] = [7, 12, 15, 18]
    frame["amount"] = frame["amount"].astype(float)
    frame.to_excel(tmp_path / "opportunities.xlsx", index=False, engine="xlsxwriter")
    assert list(read_history(tmp_path).opportunities["opportunity_id"]) == ["7", "12", "15", "18"]


def test_the_fingerprint_of_tables_in_another_order(tmp_path: Path) -> None:
    history = read_history(put(tmp_path))
    turned = {t: f.iloc[::-1].reset_index(drop=True) for t, f in history.tables.items()}
    assert fingerprint(turned) == history.fingerprint


@pytest.mark.parametrize(("name", "rule"), [("opportunities.csv", "file format"), ("opportunities.xlsx", "")])
def test_a_workbook_under_another_name(tmp_path: Path, name: str, rule: str) -> None:
    typed(tmp_path, "xlsx")
    (tmp_path / "opportunities.xlsx").rename(tmp_path / name)
    assert (("file format", "opportunities") in rules(read_history(tmp_path))) == bool(rule)


def test_an_html_table_under_an_excel_name(tmp_path: Path) -> None:
    (tmp_path / "opportunities.xls").write_text("<html><table><tr><td>1</td></tr></table></html>")
    assert "opportunities.xls: this is an HTML or XML page" in problems(tmp_path)


@pytest.mark.parametrize(
    ("encoding", "noted"), [("utf-8", False), ("utf-8-sig", False), ("cp1252", True), ("utf-16", True)]
)
def test_encodings(tmp_path: Path, encoding: str, noted: bool) -> None:
    text = (
        put(tmp_path, changed("rep_id", 2, "Zoë")).joinpath("opportunities.csv").read_text(encoding="utf-8")
    )
    (tmp_path / "opportunities.csv").write_text(text, encoding=encoding)
    history = read_history(tmp_path)
    assert history.opportunities["rep_id"][0] == "Zoë"
    assert (("encoding", "opportunities") in rules(history)) == noted


def test_semicolons_and_decimal_commas(tmp_path: Path) -> None:
    text = "opportunity_id;created_on;status;closed_on;amount\n"
    text += "a;2024-01-01;won;2024-02-01;1.234,50\nb;2024-01-02;lost;2024-02-01;12,5\n"
    (tmp_path / "opportunities.csv").write_text(text)
    history = read_history(tmp_path)
    assert list(history.opportunities["amount"]) == [1234.5, 12.5]
    assert {("delimiter", "opportunities"), ("number format", "opportunities")} <= rules(history)


MONEY = next(c for c in schema.columns("opportunities") if c.name == "amount")


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1234.5", "7"], [1234.5, 7.0]),
        (["1,234.50", "12"], [1234.5, 12.0]),
        (["1,234", "0.5"], [1234.0, 0.5]),
        (["1.234.567", "12"], [1234567.0, 12.0]),
        (["12,5", "1.234"], [12.5, 1234.0]),
        (["0,125", "3"], [0.125, 3.0]),
        (["1 234,5", "12"], [1234.5, 12.0]),
        (["1'234.5", "-12"], [1234.5, -12.0]),
        (["1e3", None], [1000.0, np.nan]),
        ([1.234, "5"], [1.234, 5.0]),
    ],
)
def test_numbers_that_the_column_decides(cells: list[Any], values: list[float]) -> None:
    parsed = parse(pd.Series(cells, dtype=object), MONEY, np.array([2, 3]), "f.csv")
    assert parsed.problems == []
    np.testing.assert_array_equal(parsed.values.to_numpy(), values)


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["1,234", "5"], "row 2 ('1,234'): could be thousands or decimals"),
        (["1.234", "22.500"], "rows 2 ('1.234'), 3 ('22.500'): could be thousands or decimals"),
        (["1234.5", "12,5"], "row 3 ('12,5'): decimal commas, but decimal points in row 2 ('1234.5')"),
        (["12", "about 5"], "row 3 ('about 5'): text where a number was wanted"),
        (["12", "1_000"], "row 3 ('1_000'): text"),
        (["12", "inf"], "row 3 ('inf'): text"),
        (["12", "1e999"], "row 3 ('1e999'): wanted a number"),
        (["12", True], "row 3 ('True'): wanted a number"),
    ],
)
def test_numbers_that_would_be_guesses(cells: list[Any], words: str) -> None:
    parsed = parse(pd.Series(cells, dtype=object), MONEY, np.array([2, 3]), "f.csv")
    assert len(parsed.problems) == 1
    assert words in parsed.problems[0]


def test_times_are_cut_to_their_day(tmp_path: Path) -> None:
    rows = changed("created_on", 2, "2024-01-15T22:10:05Z")
    rows[1][1] = "2024-02-10 00:00:00"
    history = read_history(put(tmp_path, rows))
    assert list(history.opportunities["created_on"].dt.strftime("%m-%d")) == [
        "01-15",
        "02-10",
        "02-11",
        "03-05",
    ]
    (found,) = [f for f in history.findings if f.rule == "times of day"]
    assert (found.count, found.examples) == (1, ("007",))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("05/03/2024", "row 3 ('05/03/2024'): dates in two formats in one column (row 2 has '2024-01-15')"),
        ("2024-02-30", "row 3 ('2024-02-30'): no such day"),
        ("2024-2-3", "two formats"),
        ("45000", "two formats"),
    ],
)
def test_days_are_never_guessed(tmp_path: Path, value: str, words: str) -> None:
    assert words in problems(put(tmp_path, changed("created_on", 3, value)))


def test_rows_are_counted_as_a_person_sees_them(tmp_path: Path) -> None:
    rows = [*DEALS[:2], [], ["q", "2024-02-10", "open", "", "much", '"a\nb"'], *DEALS[2:]]
    rows = [*rows, ["z", "2024-02-10", "open", "", "lots", "bob"]]
    assert "rows 5 ('much'), 8 ('lots')" in problems(put(tmp_path, rows))


def test_lines_that_do_not_fit_are_rejected(tmp_path: Path) -> None:
    rows = [*DEALS, ["Total", "4"], ["y", "2024-01-01", "open", "", "", "ann", "surplus"]]
    history = read_history(put(tmp_path, rows))
    assert history.rejected.to_dict("list") == {
        "table": ["opportunities"] * 2,
        "row": [6, 7],
        "id": ["row 6", "row 7"],
        "reason": ["2 cells where the heading has 6", "7 cells where the heading has 6"],
    }


def test_placeholders_are_missing_and_reported(tmp_path: Path) -> None:
    rows = changed("rep_id", 2, "Select")
    rows[2][5] = " n/a "
    history = read_history(put(tmp_path, rows))
    assert list(history.opportunities["rep_id"]) == ["(none)", "bob", "(none)", "bob"]
    (found,) = [f for f in history.findings if f.rule == "placeholder text"]
    assert (found.count, found.examples) == (2, ("007", "0012"))
    assert "Select, n/a" in found.meaning


def test_unknown_columns_stay_behind(tmp_path: Path) -> None:
    rows = [[*r, f"note{i}"] for i, r in enumerate(DEALS)]
    history = read_history(put(tmp_path / "a", rows, [*NAMES, "Mood"]))
    assert list(history.opportunities.columns)[-1] == "Mood"
    assert ("unknown columns", "opportunities") in rules(history)
    assert history.fingerprint == read_history(put(tmp_path / "b")).fingerprint


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    rows = changed("status", 2, "Won")
    rows[1][4] = "two"
    put(tmp_path, rows, leads="lead_id,created\nl1,2024-01-01\n", quotas="scope,metric\ncompany,bookings\n")
    text = problems(tmp_path)
    assert "column 'status', row 2 ('Won'): wanted one of open, won, lost (write 'Won' as 'won')" in text
    assert "column 'amount', row 3 ('two')" in text
    assert "leads.csv: column 'created_on' is missing; row 1 has lead_id, created; rename 'created'" in text
    assert "quotas.csv: column 'target' is missing" in text


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "no rows under the heading"),
        ([r for r in DEALS if r[2] == "open"], "all 1 deals are open (0012, ...): no closed deals"),
        ([r for r in DEALS if r[2] != "won"], "no won deals among 2"),
        ([["a", "2024-01-02", "won", "2024-02-01", "", "x"]], "1 × won without amount"),
    ],
)
def test_data_that_can_teach_nothing(tmp_path: Path, rows: list[list[Any]], words: str) -> None:
    assert words in problems(put(tmp_path, rows))


def test_folders_that_are_none(tmp_path: Path) -> None:
    assert "no such folder" in problems(tmp_path / "nowhere")
    put(tmp_path)
    assert "a file arrived" in problems(tmp_path / "opportunities.csv")
    (tmp_path / "opportunities.csv").rename(tmp_path / "opportunity.csv")
    text = problems(tmp_path)
    assert "there is opportunity.csv" in text
    assert "did you mean to name 'opportunity' opportunities?" in text
    put(tmp_path)
    typed(tmp_path, "xlsx")
    assert "opportunities.csv and opportunities.xlsx both hold table opportunities" in problems(tmp_path)
    shutil.copy(tmp_path / "opportunities.csv", tmp_path / "stages.csv")
    (tmp_path / "opportunities.csv").write_bytes(b"")
    (tmp_path / "opportunities.xlsx").unlink()
    assert "opportunities.csv: empty" in problems(tmp_path)


def test_an_as_of_before_the_first_win(tmp_path: Path) -> None:
    assert "as of 2024-02-12 no deal had been won" in problems(put(tmp_path), as_of=date(2024, 2, 12))


def test_a_later_as_of_is_taken_at_its_word(tmp_path: Path) -> None:
    assert read_history(put(tmp_path), as_of=date(2024, 12, 31)).as_of_date == date(2024, 12, 31)


def test_wide_quotas_are_read_too(tmp_path: Path) -> None:
    wide = "scope,metric,set,2024-Q1,2024-03\ncompany,bookings,base,1000,\nrep:ann,bookings,,250,90\n"
    tall = "scope,metric,period,target,set\nrep:ann,bookings,2024-03,90,\n"
    tall += "company,bookings,2024-Q1,1000,base\nrep:ann,bookings,2024-Q1,250,\n"
    a, b = read_history(put(tmp_path / "a", quotas=wide)), read_history(put(tmp_path / "b", quotas=tall))
    pd.testing.assert_frame_equal(a.quotas, b.quotas)
    assert a.quotas[["period", "target"]].to_numpy().tolist() == [
        ["2024-Q1", 1000.0],
        ["2024-03", 90.0],
        ["2024-Q1", 250.0],
    ]
    text = problems(put(tmp_path / "c", quotas=wide.replace("90", "many")))
    assert "quotas.csv: column 'target', row 3 ('many')" in text


def test_months_that_a_workbook_made_days_are_months(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"scope": ["company"], "metric": ["bookings"], "period": [pd.Timestamp("2024-03-01")]}
    )
    frame.assign(target=5.0).to_excel(put(tmp_path) / "quotas.xlsx", index=False, engine="xlsxwriter")
    assert list(read_history(tmp_path).quotas["period"]) == ["2024-03"]


def test_a_rep_counts_for_the_team_of_the_day(tmp_path: Path) -> None:
    reps = "rep_id,team,from\nann,north,2024-01-01\nann,south,2024-06-01\nbob,west,\ncy,,\n"
    reps += "eve,east,2024-04-01\neve,west,2024-05-01\n"
    history = read_history(put(tmp_path, reps=reps))
    who = np.array(["ann", "ann", "ann", "bob", "cy", "dee", "ann", "eve"], dtype=object)
    days = [
        "2023-05-05",
        "2024-05-31",
        "2024-06-01",
        "1999-01-01",
        "2024-01-01",
        "2024-01-01",
        "2031-01-01",
        "2024-03-01",
    ]
    teams = history.team_on(who, np.array(days, dtype="datetime64[D]"))
    assert list(teams) == ["north", "north", "south", "west", "(none)", "(none)", "south", "east"]
    assert len(history.team_on(who[:0], np.zeros(0, dtype="datetime64[D]"))) == 0


def test_rows_after_the_last_deal_are_set_aside(tmp_path: Path) -> None:
    acts = "kind,done_on,rep_id\ncall,2024-03-05,ann\ncall,2024-03-06,ann\n"
    history = read_history(put(tmp_path, activities=acts))
    assert len(history.activities) == 1
    assert history.activities["count"].tolist() == [1.0]
    assert ("after the as-of date", "activities") in rules(history)
