"""Finance's workbook: recalculated by another program, against the JSON of the same run to the cent."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from python_calamine import CalamineWorkbook

from quotacast.cli import main
from quotacast.engine.answers.representative import nearest
from quotacast.engine.reports.live_sheet import place
from quotacast.engine.reports.words import money
from quotacast.scenarios import run as running

FAST = ("--method", "laplace", "--force", "--draws", "300", "--quiet")
OPENING = 250_000.25
HOSTILE = '=HYPERLINK("http://x")'
MONEY = f"""
[terms]
bill = "quarterly"
term_months = 12
recognise = "straight_line"
due_days = 30
renewal = 0.5
[cash]
opening = {OPENING}
floor = 40_000
vat = "25%"
[[cash.out]]
name = '{HOSTILE}'
amount = 21_000.55
on = 2027-01-25
every = "month"
kind = "payroll"
[[cash.out]]
name = "rent"
amount = 3_300.40
on = 2026-11-04
every = "week"
until = 2027-06-30
vat = "25%"
[[cash.out]]
name = "loan"
amount = 9_000
on = 2026-08-31
every = "quarter"
kind = "debt"
[[cash.out]]
name = "stand at a fair"
amount = 7_100
on = 2027-05-01
[[cash.variable]]
name = "+licences"
share = "12%"
of = "billings"
[[cash.variable]]
name = "factoring"
share = "2%"
of = "receipts"
after_days = 10
[[cash.variable]]
name = "income tax"
share = "1.5%"
of = "bookings"
kind = "tax"
"""
SOFFICE = shutil.which("soffice")
#: Recalculate whatever is stored: the default believes the values in the file.
ALWAYS = """<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry">
<item oor:path="/org.openoffice.Office.Calc/Formula/Load">
<prop oor:name="OOXMLRecalcMode" oor:op="fuse"><value>0</value></prop></item></oor:items>
"""
Sheets = dict[str, list[list[Any]]]


@pytest.fixture(scope="module", autouse=True)
def few_posterior_draws() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "FIT_DRAWS", 200)
        yield


@pytest.fixture(scope="module")
def plan(decided: Path) -> Path:
    """The plan of five reps, with an account; its fit is stored."""
    base = decided.read_text().partition("[costs]")[0]
    path = decided.with_name("money.toml")
    hire = '[[hire]]\nteam = "north"\non = 2027-03-15\n'
    path.write_text(
        base + hire + '[costs]\nrep_month = 3_000\nhire = 4_500\ncommission.rate = "4%"\n' + MONEY
    )
    return path


def ask(plan: Path, command: str, *more: str) -> str:
    result = CliRunner().invoke(main, [command, str(plan), *more, *FAST], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def book(plan: Path) -> Path:
    place = plan.with_name("forecast.xlsx")
    ask(plan, "cash", "--out", str(place))
    return place


@pytest.fixture(scope="module")
def told(plan: Path) -> dict[str, Any]:
    return {name: json.loads(ask(plan, name, "--format", "json")) for name in ("cash", "revenue")}


def sheets(path: Path) -> Sheets:
    found = CalamineWorkbook.from_path(str(path))
    return {name: found.get_sheet_by_name(name).to_python() for name in found.sheet_names}


def figures(rows: list[list[Any]]) -> dict[str, list[Any]]:
    """The first line of every name on the summary."""
    out: dict[str, list[Any]] = {}
    for row in rows:
        out.setdefault(str(row[0]), row[1:])
    return out


def recalculated(path: Path, folder: Path) -> Path:
    if SOFFICE is None:
        pytest.skip("soffice (LibreOffice Calc) is not installed: nothing here can recalculate a workbook")
    profile = folder / "profile"
    (profile / "user").mkdir(parents=True, exist_ok=True)
    (profile / "user" / "registrymodifications.xcu").write_text(ALWAYS)
    call = [SOFFICE, f"-env:UserInstallation={profile.as_uri()}", "--headless", "--convert-to", "xlsx"]
    subprocess.run([*call, "--outdir", str(folder), str(path)], check=True, capture_output=True, timeout=300)
    return folder / path.name


def agree(found: Sheets, told: dict[str, Any], opening: float = OPENING) -> None:
    """The mean column of the summary against the sums of the JSON's rows, to the cent."""
    said = figures(found["summary"])
    cash = pd.DataFrame(told["cash"]["rows"]).query("kind == 'month'")
    chain = pd.DataFrame(told["revenue"]["rows"]).query("component == 'total'")
    for metric in ("bookings", "billings", "revenue"):
        assert said[metric.capitalize()][0] == pytest.approx(
            chain.query("metric == @metric")["mean"].sum(), abs=0.005
        )
    for metric in ("backlog", "deferred", "unbilled"):
        last = chain.query("metric == @metric")["mean"].iloc[-1]
        assert said[f"{metric.capitalize()} at the end"][0] == pytest.approx(last, abs=0.005)
    received = cash[cash["line"].str.startswith("receipts")]["mean"].sum()
    assert said["Receipts"][0] == pytest.approx(received, abs=0.005)
    paid = cash[cash["line"].isin(["payroll", "commission", "supplier", "vat", "tax", "debt"])]["mean"].sum()
    assert said["Payments"][0] == pytest.approx(paid, abs=0.005)
    assert said["Opening"][0] == pytest.approx(opening, abs=0.005)
    assert received > 0 > paid
    for kind, sheet in (("week", "13-week cash"), ("month", "monthly cash")):
        lines = figures(found[sheet])
        rows = pd.DataFrame(told["cash"]["rows"])
        closing = rows[(rows["kind"] == kind) & (rows["line"] == "closing")]["mean"]
        shown = [x for x in lines["Closing"] if isinstance(x, float)][: len(closing)]
        np.testing.assert_allclose(shown, closing + opening - OPENING, atol=0.005)
    checks = {name: row for name, row in said.items() if name.startswith("Check")}
    assert len(checks) == 2
    assert all(abs(float(x)) < 0.005 for row in checks.values() for x in row)


def test_the_stored_values_are_those_of_the_json(book: Path, told: dict[str, Any]) -> None:
    found = sheets(book)
    assert list(found) == [
        "assumptions", "summary", "13-week cash", "monthly cash", "monthly chain", "13-week drivers",
        "monthly drivers", "payment dates", "quantiles", "data quality", "provenance",
    ]  # fmt: skip
    agree(found, told)


def test_recalculated_there_is_no_error_and_totals_are_the_json(
    book: Path, told: dict[str, Any], tmp_path: Path
) -> None:
    before, found = sheets(book), sheets(recalculated(book, tmp_path))
    texts = [c for rows in found.values() for row in rows for c in row if isinstance(c, str)]
    assert not [c for c in texts if re.match(r"#(REF|NAME|VALUE|DIV|N/A|NUM|NULL)|Err:", c)]
    agree(found, told)
    for name, rows in before.items():  # the value that stands beside every formula
        for row, line in enumerate(rows):
            for at, value in enumerate(line):
                if isinstance(value, float):
                    assert found[name][row][at] == pytest.approx(value, abs=0.005), (name, row, at)


def changed(book: Path, place: Path, values: dict[str, Any]) -> Path:
    """A copy of the workbook in which somebody typed other numbers, days or texts over named inputs."""
    with zipfile.ZipFile(book) as old, zipfile.ZipFile(place, "w") as new:
        names = old.read("xl/workbook.xml").decode()
        for file in old.namelist():
            text = old.read(file).decode() if file.endswith(".xml") else old.read(file)
            if file == "xl/worksheets/sheet1.xml":
                for name, value in values.items():
                    row = re.search(rf'name="{name}">assumptions!\$B\$(\d+)<', names)
                    assert row, name
                    typed = f"<v>{value}</v>"
                    if isinstance(value, date):
                        typed = f"<v>{(value - date(1899, 12, 30)).days}</v>"
                    cell = rf'<c r="B{row[1]}"( s="\d+")?(?: t="s")?(?:/>|><v>[^<]*</v></c>)'
                    kind = ""
                    if isinstance(value, str):
                        kind, typed = ' t="inlineStr"', f"<is><t>{value}</t></is>"
                    assert len(re.findall(cell, text)) == 1, name
                    text = re.sub(cell, rf'<c r="B{row[1]}"\g<1>{kind}>{typed}</c>', text)
            new.writestr(file, text)
    return place


def cash_lines(found: Sheets, sheet: str, block: int = 0) -> pd.DataFrame:
    """One block of a cash sheet: its lines by period."""
    rows = found[sheet]
    top = next(k for k, row in enumerate(rows) if row[-1] == "Total")
    periods = [str(x) for x in rows[top][1:-1]]
    starts = [k for k, row in enumerate(rows) if row[0] == "Opening"]
    size = next(k for k, row in enumerate(rows[starts[0] :]) if row[0] == "Closing") + 1
    part = rows[starts[block] : starts[block] + size]
    values = {str(row[0]).strip(): row[1 : len(periods) + 1] for row in part}
    return pd.DataFrame(values, index=periods).T


#: Lines of cash by what the sheets call them.
CALLED = {
    "Opening": "opening", "Open invoices (contracted)": "receipts_open_invoices",
    "Signed (contracted)": "receipts_signed", "Open deals (speculative)": "receipts_open_deals",
    "New business (speculative)": "receipts_new_business", "Renewals (speculative)": "receipts_renewals",
    "Payroll": "payroll", "Commission": "commission", "Suppliers": "supplier", "VAT": "vat", "Tax": "tax",
    "Debt": "debt", "Net": "net", "Closing": "closing",
}  # fmt: skip


def same_cash(found: Sheets, rows: list[dict[str, Any]], tolerance: float = 0.005) -> None:
    """The means of both cash sheets against the rows of a run."""
    for kind, sheet in (("week", "13-week cash"), ("month", "monthly cash")):
        mean = pd.DataFrame(rows).query("kind == @kind").pivot(index="line", columns="period", values="mean")
        mine = cash_lines(found, sheet).rename(index=CALLED)
        for line in CALLED.values():
            shown = mine.loc[line].astype(float)
            np.testing.assert_allclose(
                shown, mean.loc[line, shown.index], atol=tolerance, err_msg=f"{kind} {line}"
            )


#: What is typed over inputs, and the plan's lines that say the same.
TYPED = (
    ("cash_opening", 300_000, f"opening = {OPENING}", "opening = 300_000"),
    ("cash_floor", 55_000, "floor = 40_000", "floor = 55_000"),
    ("cash_out_1_amount", 22_222.22, "amount = 21_000.55", "amount = 22_222.22"),
    ("cash_out_1_kind", "supplier", 'kind = "payroll"', 'kind = "supplier"'),
    ("cash_out_2_on", date(2026, 12, 23), "on = 2026-11-04", "on = 2026-12-23"),
    ("cash_out_2_until", date(2027, 8, 11), "until = 2027-06-30", "until = 2027-08-11"),
    ("cash_out_2_vat", 0.1, 'until = 2027-08-11\nvat = "25%"', 'until = 2027-08-11\nvat = "10%"'),
    ("cash_out_3_every", "month", 'every = "quarter"', 'every = "month"'),
    ("cash_out_4_amount", 8_000, "amount = 7_100", "amount = 8_000"),
    ("cash_variable_1_share", 0.17, 'share = "12%"', 'share = "17%"'),
    ("cash_variable_2_share", 0.03, 'share = "2%"', 'share = "3%"'),
    ("cash_variable_3_share", 0.011, 'share = "1.5%"', 'share = "1.1%"'),
    ("costs_rep_month", 3_456.78, "rep_month = 3_000", "rep_month = 3_456.78"),
    ("costs_hire", 5_000, "hire = 4_500", "hire = 5_000"),
    ("costs_commission_rate", 0.055, 'commission.rate = "4%"', 'commission.rate = "5.5%"'),
)


def test_the_lines_of_cash_are_those_of_the_json(book: Path, told: dict[str, Any]) -> None:
    same_cash(sheets(book), told["cash"]["rows"])


def test_changed_inputs_give_what_a_new_run_of_the_changed_plan_gives(
    book: Path, plan: Path, tmp_path: Path
) -> None:
    text = plan.read_text()
    for _, _, old, new in TYPED:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    other = plan.with_name("typed.toml")
    other.write_text(text)
    rows = json.loads(ask(other, "cash", "--format", "json"))["rows"]
    typed = changed(book, tmp_path / "typed.xlsx", {name: value for name, value, _, _ in TYPED})
    found = sheets(recalculated(typed, tmp_path / "out"))
    same_cash(found, rows)
    said = figures(found["summary"])
    assert said["Headroom of it over the floor"][0] == pytest.approx(
        said["Lowest month end"][0] - 55_000, abs=0.005
    )
    assert "INPUTS CHANGED" in str(found["summary"]) + str(found["quantiles"])
    assert found["assumptions"][1][1] == len(TYPED)


def test_another_rate_of_vat_moves_receipts_and_settlements(
    book: Path, told: dict[str, Any], tmp_path: Path
) -> None:
    """In proportion; payment habits are held, so a new run differs a little by the bands of amount."""
    typed = changed(book, tmp_path / "vat.xlsx", {"cash_vat": 0.2})
    before, after = sheets(book), sheets(recalculated(typed, tmp_path / "out"))
    for block in range(4):
        old, new = (cash_lines(x, "monthly cash", block).astype(float) for x in (before, after))
        for line in ("Signed (contracted)", "New business (speculative)"):
            np.testing.assert_allclose(new.loc[line], old.loc[line] * 1.2 / 1.25, atol=0.005)
        late = old.columns[-6:]  # tax of invoices that were sent by the as-of date is settled before
        back = old.loc["VAT", late] + old.loc["Receipts", late] * 0
        assert (new.loc["VAT", late] >= back - 0.005).all()
        np.testing.assert_allclose(new.loc["Opening"].iloc[0], OPENING)
    texts = [c for rows in after.values() for row in rows for c in row if isinstance(c, str)]
    assert not [c for c in texts if re.match(r"#(REF|NAME|VALUE|DIV|N/A|NUM|NULL)|Err:", c)]


def test_another_head_costs_a_month(book: Path, tmp_path: Path) -> None:
    rows = {str(row[2]): row for row in sheets(book)["assumptions"] if str(row[0]).startswith("heads.")}
    assert len(rows) == 12
    heads = float(rows["heads_2027_05"][1])
    assert float(rows["heads_2027_02"][1]) == pytest.approx(5.0)
    assert heads == pytest.approx(6.0)  # five, and one hired in March
    typed = changed(book, tmp_path / "heads.xlsx", {"heads_2027_05": heads + 1.5})
    before, after = sheets(book), sheets(recalculated(typed, tmp_path / "out"))
    for block in range(4):
        old, new = (
            cash_lines(x, "monthly cash", block).loc["Payroll"].astype(float) for x in (before, after)
        )
        gap = (new - old).round(2)
        assert gap["2027-05"] == -4_500.0
        assert (gap.drop("2027-05") == 0).all()


def test_an_unchanged_workbook_says_so(book: Path) -> None:
    found = sheets(book)
    assert found["assumptions"][1][1] == 0
    for name in ("summary", "13-week cash", "monthly cash", "quantiles"):
        assert "Inputs are those of the run." in str(found[name]), name


def test_the_three_futures_add_up_and_lie_in_order(book: Path) -> None:
    said = figures(sheets(book)["summary"])
    for name in ("Bookings", "Closing at the end"):
        low, half, high = said[name][1:4]
        assert low < half < high
    for opening, net, closing in zip(said["Opening"], said["Net"], said["Closing at the end"], strict=True):
        assert opening + net == pytest.approx(closing, abs=0.005)


def test_text_is_never_a_formula_and_inputs_are_blue_and_named(book: Path) -> None:
    with zipfile.ZipFile(book) as file:
        text = {name: file.read(name).decode() for name in file.namelist()}
    assert "&quot;http://x&quot;" in text["xl/sharedStrings.xml"] or HOSTILE in text["xl/sharedStrings.xml"]
    formulas = [f for name in text if "/sheet" in name for f in re.findall(r"<f>([^<]*)", text[name])]
    assert len(formulas) > 300
    assert not [f for f in formulas if "HYPERLINK" in f or "licences" in f]
    assert "cash_opening" in formulas
    assert '<definedName name="cash_opening">assumptions!$B$' in text["xl/workbook.xml"]
    assert "FF0000FF" in text["xl/styles.xml"]
    assert "FF00803C" in text["xl/styles.xml"]


def test_the_same_run_gives_the_same_bytes(book: Path, plan: Path) -> None:
    again = plan.with_name("again.xlsx")
    ask(plan, "cash", "--out", str(again))
    assert again.read_bytes() == book.read_bytes()


def test_the_nearest_draw_is_nearest() -> None:
    values = np.array([5.0, -3.0, 11.0, 8.0, 2.5])
    order = sorted(range(5), key=lambda i: values[i])
    assert [nearest(values, p) for p in (0, 50, 100)] == [order[0], order[2], order[4]]
    assert nearest(np.array([4.0, 0.0, 0.0, 9.0]), 10) == 1  # of equals the first


def test_places_are_counted_as_spreadsheets_do() -> None:
    assert [place(c) for c in ((0, 0), (4, 25), (2, 26), (9, 701), (0, 702))] == [
        "A1", "Z5", "AA3", "ZZ10", "AAA1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("ending", "call", "keys"),
    [
        ("parquet", ("cash",), ["kind", "period", "line"]),
        ("csv", ("cash",), ["kind", "period", "line"]),
        ("parquet", ("revenue", "--by", "quarter"), ["metric", "period", "component"]),
        (
            "parquet",
            ("forecast", "--metric", "bookings", "--by", "quarter"),
            ["scope_id", "metric", "period", "component"],
        ),
    ],
)
def test_the_draws_have_the_means_and_quantiles_of_the_answer(
    plan: Path, tmp_path: Path, ending: str, call: tuple[str, ...], keys: list[str]
) -> None:
    place = tmp_path / f"draws.{ending}"
    rows = pd.DataFrame(json.loads(ask(plan, *call, "--paths", str(place), "--format", "json"))["rows"])
    draws = pd.read_parquet(place) if ending == "parquet" else pd.read_csv(place, keep_default_na=False)
    assert list(draws.columns) == ["draw", "scope", *dict.fromkeys(["scope_id", *keys]), "value"]
    found = draws.groupby(keys)["value"]
    assert (found.size() == 300).all()
    wanted = rows.set_index(keys)
    both = wanted.index.intersection(found.mean().index)
    assert len(both) > 20
    np.testing.assert_allclose(found.mean()[both], wanted.loc[both, "mean"], atol=0.005, rtol=1e-9)
    np.testing.assert_allclose(found.quantile(0.9)[both], wanted.loc[both, "p90"], atol=0.005, rtol=1e-9)


def test_a_file_for_draws_is_checked_before_anything_long(plan: Path, tmp_path: Path) -> None:
    for command in ("cash", "revenue", "forecast"):
        result = CliRunner().invoke(main, [command, str(plan), "--paths", str(tmp_path / "x.xlsx"), *FAST])
        assert result.exit_code == 2
        assert "--paths" in result.stderr
        assert ".csv, .parquet" in result.stderr


def test_the_page_for_finance_has_every_part_and_the_figures_of_the_answers(
    plan: Path, told: dict[str, Any], tmp_path: Path
) -> None:
    place = tmp_path / "lender.html"
    ask(plan, "report", "--for", "finance", "--out", str(place))
    page = place.read_text()
    heads = re.findall(r"<h2>(.*?)</h2>", page)
    assert heads == [
        "The forecast", "The floor", "The downside case", "Assumptions and terms",
        "Contracted and speculative", "Track record", "Where the figures come from",
    ]  # fmt: skip
    assert "Planning simplification: Revenue is recognised by day over the term" in page
    rows = re.findall(r"<tr>(.*?)</tr>", page, re.S)
    cells = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in rows]
    total = next(row for row in cells if row and row[0] == "sum")
    chain = (
        pd.DataFrame(told["revenue"]["rows"]).query("component == 'total'").groupby("metric")["mean"].sum()
    )
    assert total[1:4] == [money(chain[name]) for name in ("bookings", "billings", "revenue")]
    december = next(row for row in cells if row and row[0] == "Dec 27")
    cash = pd.DataFrame(told["cash"]["rows"]).query("line == 'closing' and period == '2027-12'").iloc[0]
    assert december[6:9] == [money(cash[q]) for q in ("p10", "p50", "p90")]
    assert f"{told['cash']['summary']['p_below']:.0%}" in page
    downside = next(row for row in cells if row and row[0] == "Q4\u00a027" and len(row) == 8)
    mean = pd.DataFrame(told["cash"]["rows"]).query("kind == 'month'").set_index(["line", "period"])["mean"]
    months = [f"2027-{m}" for m in (10, 11, 12)]
    received = sum(mean[line, m] for line in mean.index.levels[0] if "receipts" in line for m in months)
    assert downside[2] == money(received)
    assert downside[6] == money(mean["closing", "2027-12"])
    debt = -sum(mean["debt", f"2027-{m:02d}"] for m in range(1, 13))
    assert f"Debt service to the horizon is {money(debt)}" in page
    assert "no record of receipts yet" in page.lower()
    assert money(told["cash"]["summary"]["credit_line"]) in page
    assert "HYPERLINK(&#34;" in page  # a hostile name is text
    assert "<script" not in page


def test_the_page_without_an_account_says_so(plan: Path, tmp_path: Path) -> None:
    bare = plan.with_name("bare.toml")
    bare.write_text(plan.read_text().partition("[terms]")[0])
    place = tmp_path / "lender.html"
    ask(bare, "report", "--for", "finance", "--out", str(place))
    page = place.read_text()
    assert "states no opening balance" in page
    assert "invoiced at close and due in 30 days" in page
    ask(bare, "cash", "--out", str(tmp_path / "bare.xlsx"))
    said = figures(sheets(tmp_path / "bare.xlsx")["summary"])
    assert said["Opening"][0] == pytest.approx(0.0, abs=0.005)
