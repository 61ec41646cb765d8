"""Bad input: exit 2, every problem with its place, value and repair, and nothing changed."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from quotacast.cli import main
from quotacast.engine.worlds import WorldSpec, draw_truth, make_world, write_world
from quotacast.scenarios import run

Change = Callable[[Path], Any]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a plan, in which nothing is wrong."""
    folder = tmp_path_factory.mktemp("clean") / "demo"
    truth = draw_truth(np.random.default_rng(5), 5, 2)
    teams = (("north", 3), ("south", 2))
    first, last = date(2025, 7, 1), date(2026, 12, 31)
    write_world(make_world(WorldSpec(5, teams, first, last, 5, truth, activity_effects=False)), folder)
    return folder


@pytest.fixture
def demo(clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to spoil; whoever comes as far as fitting has not been refused in time."""

    def refuse(*args: object, **more: object) -> None:
        raise AssertionError("a fit was made")

    monkeypatch.setattr(run, "fit", refuse)
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(clean, tmp_path / "demo").relative_to(tmp_path))


def content(folder: Path) -> dict[str, str]:
    """Hash of every file below a folder, the run folder left out."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and ".quotacast" not in file.parts
    }


def refused(demo: Path, args: str, *wanted: str) -> str:
    """Invoke; it must be refused as bad input with these parts in the message."""
    before = content(demo.absolute().parent)
    result = CliRunner().invoke(main, args.format(demo=demo).split())
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    said = " ".join(result.stderr.split())
    for part in wanted:
        assert part in said
    assert content(demo.absolute().parent) == before
    return said


def deals(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Change:
    """A change of the opportunities, as text."""

    def do(demo: Path) -> None:
        file = demo / "crm" / "opportunities.csv"
        change(pd.read_csv(file, dtype=str, keep_default_na=False)).to_csv(file, index=False)

    return do


def cell(row: int, column: str, value: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Set one cell; rows count as in a spreadsheet, the heading being row 1."""

    def do(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[row - 2, column] = value
        return table

    return do


def plan(*changes: tuple[str, str]) -> Change:
    """Replace texts of the plan file."""

    def do(demo: Path) -> None:
        text = (demo / "plan.toml").read_text(encoding="utf-8")
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (demo / "plan.toml").write_text(text, encoding="utf-8")

    return do


def nothing(demo: Path) -> None:
    """The data are as they should be: the command line is not."""


def rewritten(name: str, text: str) -> Change:
    """Write a file."""
    return lambda demo: (demo / name).write_text(text, encoding="utf-8")


def quota_row(line: str) -> Change:
    """One more row of the quotas table."""

    def do(demo: Path) -> None:
        with (demo / "crm" / "quotas.csv").open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    return do


ODD_DAYS = pd.Series(["11/07/2026", "23/07/2026"])
PLAN = "plan {demo}/plan.toml"
TARGET = 'scope = "company"\nmetric'
DATA: dict[str, tuple[Change, str, tuple[str, ...]]] = {
    "missing folder": (
        lambda d: shutil.rmtree(d / "crm"),
        PLAN,
        ("demo/crm: no such folder", "opportunities.csv"),
    ),
    "missing file": (
        lambda d: (d / "crm" / "opportunities.csv").unlink(),
        PLAN,
        ("demo/crm: opportunities.csv", "is missing", "there is activities.csv", "quotacast import"),
    ),
    "missing columns": (
        deals(lambda t: t.drop(columns=["created_on", "status"])),
        "check {demo}/crm",
        ("opportunities.csv: column 'created_on' is missing", "column 'status' is missing", "row 1 has"),
    ),
    "empty table": (
        deals(lambda t: t.iloc[:0]),
        PLAN,
        ("opportunities.csv: no rows under the heading", "export"),
    ),
    "empty file": (rewritten("crm/opportunities.csv", ""), PLAN, ("opportunities.csv: empty", "export it")),
    "no won deals": (
        deals(lambda t: t[t["status"] != "won"]),
        PLAN,
        ("opportunities.csv: no won deals among", "export won deals"),
    ),
    "no closed deals": (
        deals(lambda t: t[t["status"] == "open"]),
        PLAN,
        ("opportunities.csv", "no closed deals", "export closed deals"),
    ),
    "all deals open": (
        deals(lambda t: t.assign(status="open", closed_on="")),
        PLAN,
        ("opportunities.csv: all", "are open", "export closed deals"),
    ),
    "two formats of dates": (
        deals(lambda t: t.assign(created_on=[*ODD_DAYS, *t["created_on"].iloc[2:]])),
        PLAN,
        ("opportunities.csv: column 'created_on'", "2 ('11/07/2026')", "two formats", "YYYY-MM-DD"),
    ),
    "text in amounts": (
        deals(cell(4, "amount", "about 5k")),
        PLAN,
        ("opportunities.csv: column 'amount'", "4 ('about 5k')", "write plain digits"),
    ),
    "several at once": (
        deals(lambda t: cell(4, "amount", "about 5k")(cell(7, "closed_on", "soon")(t))),
        PLAN,
        ("column 'amount'", "4 ('about 5k')", "column 'closed_on'", "7 ('soon')"),
    ),
    "no quotas at all": (
        lambda d: (d / "crm" / "quotas.csv").unlink(),
        "quotas {demo}/crm",
        ("no quotas to judge", "[[quota]]", "--quotas FILE"),
    ),
}
PLANS: dict[str, tuple[Change, str, tuple[str, ...]]] = {
    "unknown keys": (
        plan(("draws =", "draw ="), ("seed =", "sed =")),
        PLAN,
        ("draw: unknown key, did you mean draws?", "sed: unknown key, did you mean seed?"),
    ),
    "wrong type": (plan(("draws = 4000", 'draws = "many"')), PLAN, ("draws", "many")),
    "unknown period": (
        plan(('period = "2027"', 'period = "2027-Q7"')),
        PLAN,
        ("quota[1].period", "'2027-Q7'", "Q1 to Q4"),
    ),
    "unknown horizon": (
        plan(('horizon = "2027"', 'horizon = "FY27"')),
        PLAN,
        ("horizon: period 'FY27'", "wanted 2027"),
    ),
    "horizon in the past": (
        plan(('horizon = "2027"', 'horizon = "2026"'), ('period = "2027"', 'period = "2026"')),
        PLAN,
        ("horizon: 2026 ends on 2026-12-31", "in the past", "take a later one"),
    ),
    "rep of a quota in the plan": (
        plan((TARGET, 'scope = "rep:r99"\nmetric')),
        "quotas {demo}/plan.toml",
        ("quota[1].scope", "'r99'", "r01"),
    ),
    "team of a quota in the plan": (
        plan((TARGET, 'scope = "team:nrth"\nmetric')),
        PLAN,
        ("quota[1].scope", "'nrth'", "did you mean north?"),
    ),
    "rep of a quota in the data": (
        quota_row("rep:r99,bookings,2027,5000,"),
        PLAN,
        ("quotas table: a quota for rep:r99 (bookings 2027, target 5,000)", "there are r01"),
    ),
    "no TOML": (rewritten("plan.toml", "name = \n"), PLAN, ("plan.toml: not TOML", "line 1")),
    "as-of date after the data": (
        plan(("as_of = 2026-12-31", "as_of = 2027-06-30")),
        PLAN,
        ("as_of: 2027-06-30 is 181 days after the last record of the data", "take an earlier day"),
    ),
    "as-of date before the data": (
        plan(("as_of = 2026-12-31", "as_of = 2020-06-30")),
        PLAN,
        ("2020-06-30", "choose a later as-of date"),
    ),
}
CANDIDATES = "scope,metric,period,target\nrep:r99,bookings,2027,5\nteam:nrth,bookings,2027,5\n"
LINES: dict[str, tuple[Change, str, tuple[str, ...]]] = {
    "no source": (nothing, "plan {demo}/nope.toml", ("demo/nope.toml: there is no such file", "give a plan")),
    "no plan here": (nothing, "plan", ("plan.toml: there is no such file", "name a SOURCE")),
    "candidates": (
        rewritten("c.csv", CANDIDATES),
        "quotas {demo}/plan.toml --quotas {demo}/c.csv",
        ("c.csv row 2: a quota for rep:r99 (", "c.csv row 3: a quota for team:nrth (", "did you mean north?"),
    ),
    "no file of candidates": (
        nothing,
        "quotas {demo}/plan.toml --quotas {demo}/c.csv",
        ("c.csv: no such file", "give a CSV"),
    ),
    "as-of date after the data": (
        nothing,
        "check {demo}/crm --as-of 2030-01-01",
        ("as_of: 2030-01-01", "take an earlier day"),
    ),
    "no day": (nothing, f"{PLAN} --as-of yesterday", ("--as-of", "'yesterday'", "such as 2026-12-31")),
    "scopes": (
        nothing,
        "forecast {demo}/plan.toml --scope team:nrth --scope reps --scope rep:r1",
        (
            "--scope team:nrth: there is no team 'nrth', did you mean north?",
            "--scope reps",
            "--scope rep:r1:",
        ),
    ),
    "scope of quotas": (
        nothing,
        "quotas {demo}/plan.toml --scope team:souths",
        ("--scope team:souths", "did you mean south?"),
    ),
    "metrics": (
        nothing,
        "quotas {demo}/plan.toml --metric booking --metric close_rat",
        ("--metric booking", "did you mean bookings?", "--metric close_rat:"),
    ),
    "metrics that the data do not hold": (
        nothing,
        "forecast {demo}/plan.toml --metric activity:fax --metric bookings",
        ("--metric activity:fax: cannot be answered", "table activities", "there are call, chat"),
    ),
    "kind of period": (
        nothing,
        "forecast {demo}/plan.toml --by months",
        ("--by months", "did you mean month?"),
    ),
    "scenario": (nothing, f"{PLAN} --scenario hire_for", ("'hire_for'", "did you mean hire_four?")),
    "scenario without a plan": (
        nothing,
        "plan {demo}/crm --scenario hire_four",
        ("'hire_four'", "no plan file"),
    ),
    "ending": (
        nothing,
        "forecast {demo}/plan.toml --out odds.docx",
        ("--out odds.docx", "'.docx'", ".xlsx", ".csv"),
    ),
    "folder of the file": (
        nothing,
        "forecast {demo}/plan.toml --out no/odds.csv",
        ("--out no/odds.csv", "there is no folder no", "create it"),
    ),
    "ending of the page": (nothing, "report {demo}/plan.toml --out b.pdf", ("--out b.pdf", ".html")),
    "quantiles": (nothing, "quotas {demo}/plan.toml --quantiles 10,x", ("'10,x'", "5,25,50,75,95")),
    "draws": (nothing, f"{PLAN} --draws 3", ("--draws", "3", "100")),
    "command": (nothing, "qoutas {demo}/plan.toml", ("'qoutas'", "Did you mean 'quotas'?")),
    "folder of the example": (nothing, "example {demo}", ("demo: exists", "name another one")),
    "importer": (
        nothing,
        "import {demo}/crm --from salesforc --out new",
        ("'salesforc'", "salesforce"),
    ),
}


@pytest.mark.parametrize("case", DATA)
def test_data(demo: Path, case: str) -> None:
    spoil, args, wanted = DATA[case]
    spoil(demo)
    refused(demo, args, *wanted)


@pytest.mark.parametrize("case", PLANS)
def test_plan_file(demo: Path, case: str) -> None:
    spoil, args, wanted = PLANS[case]
    spoil(demo)
    refused(demo, args, *wanted)


@pytest.mark.parametrize("case", LINES)
def test_command_line(demo: Path, case: str) -> None:
    spoil, args, wanted = LINES[case]
    spoil(demo)
    refused(demo, args, *wanted)


def test_what_is_right_is_not_refused(demo: Path) -> None:
    result = CliRunner().invoke(main, ["quotas", str(demo / "plan.toml")])
    assert isinstance(result.exception, AssertionError)
    assert str(result.exception) == "a fit was made"
    assert result.exit_code == 1


def test_rejected_rows_are_listed_beside_the_plan(demo: Path) -> None:
    deals(cell(4, "opportunity_id", ""))(demo)
    before = content(demo)
    result = CliRunner().invoke(main, ["check", str(demo / "plan.toml")])
    assert result.exit_code == 0
    assert "1  missing value (opportunities), rejected" in result.stdout
    assert "rejected.csv" in result.stderr
    assert (demo / ".quotacast" / "rejected.csv").is_file()
    assert content(demo) == before
