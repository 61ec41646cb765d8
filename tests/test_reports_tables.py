"""Answers as words, terminal tables and files."""

from __future__ import annotations

import datetime as dt
import io
import json
import math
import os
import re
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotacast.engine.answer import Answer, Field
from quotacast.engine.reports import files, words
from quotacast.engine.reports.table import as_table
from quotacast.engine.reports.units import plain, show, wide
from quotacast.errors import QuotacastError

PROVENANCE = {
    "fingerprint": "ab12",
    "as_of": dt.date(2026, 12, 31),
    "currency": "EUR",
    "seed": 7,
    "draws": 4000,
}
HOSTILE = ("=1+1", "+49 30", "-x", "@sum", "\tx", "\rx", "\nx")


def answer(**columns: tuple[str, list[Any]]) -> Answer:
    """An answer from column=(unit, values)."""
    frame = pd.DataFrame({name: pd.Series(values) for name, (_, values) in columns.items()})
    fields = tuple(Field(name, unit, f"What {name} means.") for name, (unit, _) in columns.items())
    return Answer("trial", frame, fields, "One paragraph.", {"metric_units": UNITS}, PROVENANCE)


UNITS = {"bookings": "money", "deals_won": "count", "close_rate": "ratio"}


def quotas() -> Answer:
    return answer(
        scope=("text", ["company", "team", "rep"]),
        scope_id=("text", ["company", "north", "r07"]),
        metric=("text", ["bookings", "deals_won", "close_rate"]),
        period=("text", ["2027"] * 3),
        target=("metric", [12_000_000.0, 1_240.0, 0.25]),
        p_attain=("probability", [0.27, 0.996, math.nan]),
        due=("date", [dt.date(2027, 3, 5), None, dt.date(2027, 12, 31)]),
        n=("count", [3, 41, 1200]),
    )


# ---- words


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (12_345_678, "12.3M"),
        (945_400, "945k"),
        (12_340, "12.3k"),
        (9_120, "9,120"),
        (9_999.6, "10.0k"),
        (999_600, "1.00M"),
        (-2_140_000, "-2.14M"),
        (3.2e9, "3.20B"),
        (0.4, "0.40"),
        (-0.0, "0"),
        (0, "0"),
        (math.nan, "–"),
        (math.inf, "–"),
        (None, "–"),
    ],
)
def test_money(x: float | None, said: str) -> None:
    assert words.money(x) == said


def test_money_with_a_currency_and_fewer_digits() -> None:
    assert words.money(12_345_678, "EUR") == "EUR 12.3M"
    assert words.money(2_140_000, digits=2) == "2.1M"


@given(st.floats(-1e12, 1e12))
def test_money_is_true_to_half_a_percent(x: float) -> None:
    said = words.money(x)
    value = float(said.rstrip("kMB").replace(",", "")) * {"k": 1e3, "M": 1e6, "B": 1e9}.get(said[-1], 1)
    assert abs(value - x) <= max(abs(x) * 0.00501, 0.5)


def test_a_range_of_money_has_one_unit() -> None:
    assert words.money_range([10.1e6, 11.24e6, 12.6e6]) == "10.1 – 11.2 – 12.6M"
    assert words.money_range([945_000, 1_040_000]) == "0.94 – 1.04M"  # 0.945 is stored a little below
    assert words.money_range([812, 9_100], "EUR") == "EUR 812 – 9,100"
    assert words.money_range([None, math.nan]) == "–"


@pytest.mark.parametrize(
    ("p", "said"),
    [
        (0, "<1%"),
        (0.004, "<1%"),
        (0.0051, "1%"),
        (0.27, "27%"),
        (0.994, "99%"),
        (0.996, ">99%"),
        (1, ">99%"),
        (None, "–"),
    ],
)
def test_percent(p: float | None, said: str) -> None:
    assert words.percent(p) == said


def test_number_and_ratio() -> None:
    assert [words.number(x) for x in (4000, 3.44, 123.4, 0.355, None)] == ["4,000", "3.4", "123", "0.35", "–"]
    assert [words.ratio(x) for x in (1.024, 0.073, 0.5, 0)] == ["102%", "7.3%", "50%", "0%"]


@pytest.mark.parametrize(
    ("p", "said"),
    [
        (0.0, "almost impossible"),
        (0.02, "less than 1 in 20"),
        (0.05, "about 1 in 20"),
        (0.11, "about 1 in 10"),
        (0.19, "about 1 in 5"),
        (0.27, "about 1 in 4"),
        (0.34, "about 1 in 3"),
        (0.5, "about 1 in 2"),
        (0.66, "about 2 in 3"),
        (0.76, "about 3 in 4"),
        (0.9, "about 9 in 10"),
        (0.98, "more than 19 in 20"),
        (1.0, "almost certain"),
        (math.nan, "not meaningful"),
    ],
)
def test_odds_words(p: float, said: str) -> None:
    assert words.odds_words(p) == said


@given(st.floats(0.035, 0.965))
def test_odds_words_are_near_and_mirror(p: float) -> None:
    top, bottom = words.odds_words(p).removeprefix("about ").split(" in ")
    assert abs(Fraction(int(top), int(bottom)) - Fraction(p)) <= Fraction(5001, 100_000)


def test_odds_words_mirror() -> None:
    for thousandth in range(36, 500, 7):
        top, bottom = words.odds_words(thousandth / 1000).removeprefix("about ").split(" in ")
        other = words.odds_words(1 - thousandth / 1000)
        assert other == f"about {int(bottom) - int(top)} in {bottom}"


def test_odds_words_refuse_what_is_no_probability() -> None:
    with pytest.raises(QuotacastError, match=r"1\.4"):
        words.odds_words(1.4)


# ---- terminal table


def test_the_table_joins_scopes_and_takes_units_from_the_metric() -> None:
    table = as_table(quotas())
    lines = table.splitlines()
    assert lines[0] == "2027 · EUR"
    company, team, rep = (line for line in lines if line.startswith(("company", "team:north", "rep:r07")))
    assert "12.0M" in company
    assert "27%" in company
    assert "1,240" in team
    assert ">99%" in team
    assert "25%" in rep
    assert "–" in rep
    assert table.endswith("\n\nOne paragraph.")


@pytest.mark.parametrize("width", [40, 60, 80])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    many = {f"number_{i}": ("money", [1.5e6 + i, 2.5e7]) for i in range(12)}
    shown = as_table(answer(name=("text", ["a long name " * 9, "張偉" * 30]), **many), width=width)
    assert max(wide(line) for line in shown.splitlines()) <= width
    assert "no room for" in shown


def test_long_texts_go_on_below_instead_of_being_cut() -> None:
    meaning = "The closing date lies before the creation date and so the cycle has no length."
    table = as_table(
        answer(rule=("text", ["x", "y"]), meaning=("text", [meaning, "short"]), n=("count", [1, 2])), width=50
    )
    assert set(meaning.split()) <= set(table.split())


def test_numbers_end_in_one_column() -> None:
    table = as_table(answer(name=("text", ["a", "b"]), amount=("money", [12_300_000, 945])), width=40)
    ends = {len(line) for line in table.splitlines() if line.startswith(("a ", "b "))}
    assert len(ends) == 1


def test_rows_left_out_are_said() -> None:
    table = as_table(answer(name=("text", list("abcde")), n=("count", [3, 1, 4, 1, 5])), max_rows=2)
    assert "3 more rows" in table
    assert "\nc" not in table


def test_one_row_keeps_its_numbers_and_no_rows_say_so() -> None:
    assert "12.0M" in as_table(answer(scope=("text", ["company"]), target=("money", [12e6])))
    assert "(no rows)" in as_table(answer(scope=("text", []), target=("money", [])))


def test_terminal_controls_in_names_are_disarmed() -> None:
    table = as_table(answer(name=("text", ["\x1b[31mred", "a\u202eb"]), n=("count", [1, 2])))
    assert "\x1b" not in table
    assert "\u202e" not in table


# ---- plain data and JSON


def test_plain_values() -> None:
    given = [
        np.int64(3),
        np.float64("nan"),
        -math.inf,
        pd.NaT,
        pd.NA,
        None,
        np.bool_(True),
        pd.Timestamp("2027-03-05"),
    ]
    assert [plain(v) for v in given] == [3, None, None, None, None, None, True, "2027-03-05"]
    assert plain({1: (np.float32(0.5), {"b", "a"})}) == {"1": [0.5, ["a", "b"]]}
    assert plain(np.datetime64("2027-03-05")) == "2027-03-05"
    with pytest.raises(QuotacastError, match="object"):
        plain(object())


def test_json_is_the_contract() -> None:
    text = files.as_json(quotas())
    document = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert list(document) == ["schema", "rows", "summary", "provenance"]
    assert document["schema"] == "quotacast/trial/1"
    assert list(document["rows"][0]) == [f.name for f in quotas().fields]
    assert document["rows"][0]["due"] == "2027-03-05"
    assert document["rows"][2]["p_attain"] is None
    assert document["rows"][1]["due"] is None
    assert isinstance(document["rows"][0]["n"], int)
    assert document["provenance"]["as_of"] == "2026-12-31"
    assert text == files.as_json(quotas())


def test_json_keeps_letters_and_survives_broken_ones() -> None:
    text = files.as_json(answer(name=("text", ["Åsa \u5f35", "a\ud800b", '"</script>'])))
    assert "Åsa \u5f35" in text
    assert [r["name"] for r in json.loads(text.encode())["rows"]] == ["Åsa \u5f35", "a?b", '"</script>']


# ---- CSV


def test_csv_disarms_texts_and_never_numbers() -> None:
    table = files.as_csv(answer(name=("text", [*HOSTILE, "plain"]), gap=("money", [-12.5] * 8)))
    back = pd.read_csv(io.StringIO(table), dtype=str, keep_default_na=False)
    assert list(back["name"])[:5] == [f"'{x}" for x in HOSTILE[:5]]
    assert all(name.startswith("'") for name in back["name"][:-1])
    assert set(back["gap"]) == {"-12.5"}
    assert back["name"].iloc[-1] == "plain"


def test_csv_dates_blanks_and_line_ends() -> None:
    table = files.as_csv(quotas())
    assert table.splitlines()[3] == "rep,r07,close_rate,2027,0.25,,2027-12-31,1200"
    assert "\r" not in table


# ---- files


@pytest.mark.parametrize("ending", sorted(files.WRITERS))
def test_files_repeat_byte_for_byte_and_leave_nothing_behind(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out{ending}"
    files.write(quotas(), path)
    first = path.read_bytes()
    files.write(quotas(), path)
    assert path.read_bytes() == first
    assert first
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_unknown_endings_list_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(QuotacastError, match=r"\.csv, \.html, \.json, \.parquet, \.xlsx"):
        files.write(quotas(), tmp_path / "out.docx")


def test_a_missing_folder_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(QuotacastError, match="create the folder"):
        files.write(quotas(), tmp_path / "absent" / "out.csv")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old", encoding="utf-8")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(QuotacastError, match="No space"):
        files.write(quotas(), path)
    assert path.read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]


def test_the_workbook_holds_text_numbers_and_dates(tmp_path: Path) -> None:
    from python_calamine import CalamineWorkbook

    made = answer(
        name=("text", [*HOSTILE, "https://example.org"]),
        gap=("money", [-12.5, math.nan, math.inf, *range(5)]),
        due=("date", [dt.date(2027, 3, 5)] * 8),
    )
    path = tmp_path / "out.xlsx"
    files.write(made, path)
    book = CalamineWorkbook.from_path(str(path))
    assert book.sheet_names == ["trial", "about"]
    rows = book.get_sheet_by_name("trial").to_python()
    assert rows[0] == ["name", "gap", "due"]
    assert rows[1] == ["=1+1", -12.5, dt.date(2027, 3, 5)]
    assert rows[2][1] == ""
    assert rows[8][0] == "https://example.org"
    about = [cell for row in book.get_sheet_by_name("about").to_python() for cell in row]
    assert {"One paragraph.", "What gap means.", "fingerprint", "ab12"} <= set(about)
    with zipfile.ZipFile(path) as parts:
        sheet = parts.read("xl/worksheets/sheet1.xml").decode()
        core = parts.read("docProps/core.xml").decode()
        stamps = {part.date_time for part in parts.infolist()}
    assert set(re.findall(r"\d{4}-\d\d-\d\dT[\d:]+Z", core)) == {"2000-01-01T00:00:00Z"}  # no clock
    assert stamps == {(1980, 1, 1, 0, 0, 0)}
    assert "<f>" not in sheet
    assert "hyperlink" not in sheet


def test_parquet_keeps_types_and_provenance(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    path = tmp_path / "out.parquet"
    files.write(quotas(), path)
    table = pq.read_table(path)
    assert table.column_names == [f.name for f in quotas().fields]
    assert str(table.schema.field("due").type) == "date32[day]"
    about = json.loads(table.schema.metadata[b"quotacast"])
    assert about["provenance"]["seed"] == 7


def test_lists_in_cells_are_written_everywhere(tmp_path: Path) -> None:
    made = answer(rule=("text", ["a", "b"]), examples=("text", [("o-1", "o-2"), ()]))
    for ending in files.WRITERS:
        files.write(made, tmp_path / f"out{ending}")
    assert "o-1, o-2" in (tmp_path / "out.csv").read_text(encoding="utf-8")
    assert show(("o-1", "o-2"), "text") == "o-1, o-2"
