"""Text, days, numbers and ids of unknown make: what is decided, and what is asked."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from quotacast.errors import DataError
from quotacast.models.history.importers.text import delimiter_of, read_table
from quotacast.models.history.importers.values import salesforce_ids, to_days, to_numbers


def column(*cells: str) -> pd.Series:
    return pd.Series(cells, dtype="object")


@pytest.mark.parametrize(
    ("encoding", "noted"), [("utf-8", False), ("utf-8-sig", False), ("utf-16", False), ("cp1252", True)]
)
def test_encodings_are_recognised_and_a_guess_is_noted(tmp_path: Path, encoding: str, noted: bool) -> None:
    path = tmp_path / "deals.csv"
    path.write_bytes("Id;Name\n007;Müller – Söhne\n".encode(encoding))
    table = read_table(path)
    assert table.frame.to_dict("list") == {"Id": ["007"], "Name": ["Müller – Söhne"]}
    assert bool(table.notes) is noted


def test_delimiter_is_counted_outside_quotes() -> None:
    assert delimiter_of('"a,b,c,d";e;f') == ";"
    assert delimiter_of("a\tb,c\td") == "\t"
    assert delimiter_of("alone") == ","


def test_rows_keep_their_number_in_the_file_and_misfits_are_told_from_the_footer(tmp_path: Path) -> None:
    path = tmp_path / "report.csv"
    path.write_text('A,B,C\n1,"two\nlines",3\n\n4,5\n6,7,8,,\n9,8,7,6\n3,2,1\n\nGrand total\nCopyright\n')
    table = read_table(path)
    assert list(table.frame.index) == [2, 6, 8]
    assert table.frame.loc[6].tolist() == ["6", "7", "8"]
    assert table.misfits == (
        (5, "has 2 cells, the heading has 3"),
        (7, "has 4 cells, the heading has 3"),
    )
    assert len(table.notes) == 1
    assert "2 footer rows" in table.notes[0]


@pytest.mark.parametrize("content", [b"", b"\n \n", b"<html><table></table></html>", b"a\x00b\x00"])
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.xls"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"odd\.xls"):
        read_table(path)


def test_a_workbook_is_read_whatever_its_name(tmp_path: Path) -> None:
    import xlsxwriter

    path = tmp_path / "deals.csv"
    with xlsxwriter.Workbook(str(path)) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["Id", "Amount"])
        sheet.write_row(1, 0, ["007", 12.5])
        sheet.write_row(2, 0, ["008", 40])
    assert read_table(path).frame.values.tolist() == [["007", "12.5"], ["008", "40"]]


@pytest.mark.parametrize(
    ("cells", "days"),
    [
        (("2024-03-05", "2024-03-31T23:59:00.000Z", ""), ["2024-03-05", "2024-03-31", ""]),
        (("3/4/2024", "1/31/2024 5:03 PM"), ["2024-03-04", "2024-01-31"]),
        (("3/4/2024", "31/1/2024"), ["2024-04-03", "2024-01-31"]),
        (("05.03.2024", "-", "None"), ["2024-03-05", "", ""]),
        (("5 Mar 2024", "17 December 2023"), ["2024-03-05", "2023-12-17"]),
        (("20240305",), ["2024-03-05"]),
    ],
)
def test_one_unambiguous_value_decides_the_format_of_days(cells: tuple[str, ...], days: list[str]) -> None:
    found, problems = to_days(column(*cells))
    assert found.tolist() == days
    assert set(problems) == {""}


@pytest.mark.parametrize("cells", [("3/4/2024", "5/6/2024"), ("13/4/2024", "4/13/2024", "5/6/2024")])
def test_days_that_may_be_read_in_two_ways_are_asked_about(cells: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match=r"DD/MM/YYYY|MM/DD/YYYY"):
        to_days(column(*cells))


def test_a_stated_format_settles_it_and_impossible_days_are_refused() -> None:
    days, problems = to_days(column("3/4/2024", "30/2/2024"), "DD/MM/YYYY")
    assert days.tolist() == ["2024-04-03", ""]
    assert problems.tolist() == ["", "'30/2/2024' is not a day written DD/MM/YYYY"]


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (("1,234.50", "-7", "$ 12", "(3)", "40%"), ["1234.50", "-7", "12", "-3", "40"]),
        (("1.234,50", "12,5", "1 000"), ["1234.50", "12.5", "1000"]),
        (("1'000.25", "€5.5", "EUR 6", ""), ["1000.25", "5.5", "6", ""]),
    ],
)
def test_the_decimal_mark_is_decided_per_column(cells: tuple[str, ...], numbers: list[str]) -> None:
    found, problems = to_numbers(column(*cells))
    assert found.tolist() == numbers
    assert set(problems) == {""}


def test_thousand_or_decimal_is_asked_about_and_text_is_refused() -> None:
    with pytest.raises(DataError, match="set decimal"):
        to_numbers(column("1.234", "5.678"))
    found, problems = to_numbers(column("1.234", "many"), ",")
    assert found.tolist() == ["1234", ""]
    assert "'many' is not a number" in problems[1]


def test_salesforce_ids_are_lengthened() -> None:
    # 0061G00000Ja7B6QAJ as a replica holds it; its first 15 characters are the id of a report.
    ids = salesforce_ids(column("0061G00000Ja7B6", "0061G00000Ja7B6QAJ", "W_Opportunity.1", ""))
    assert ids.tolist() == ["0061G00000Ja7B6QAJ", "0061G00000Ja7B6QAJ", "W_Opportunity.1", ""]
