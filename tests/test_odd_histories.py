"""Companies with something missing, all at once or worth nothing: an answer or a reason, never a crash."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from quotacast.cli import main
from quotacast.engine.worlds import World, WorldSpec, draw_truth, make_world, write_world
from quotacast.scenarios import run as running

Tables = dict[str, pd.DataFrame]
PLAN = """
as_of = 2025-12-31
horizon = "2026-Q1"
[data]
folder = "crm"
[[quota]]
scope = "company"
metric = "bookings"
period = "2026-Q1"
target = 90_000
[cash]
opening = 10_000
"""
CAPACITY = """
[capacity]
person_month = 130
hours_per_amount = 0.01
"""


@pytest.fixture(scope="module")
def crm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Four reps, one year, with leads, a log of activities, stages and invoices; fits are short."""
    truth = draw_truth(np.random.default_rng(3), 4, 1, leads=True)
    truth = replace(truth, creation=replace(truth.creation, level=truth.creation.level - 0.8))
    spec = WorldSpec(4, (("a", 4),), date(2025, 1, 1), date(2025, 12, 31), 5, truth)
    world: World = make_world(spec)
    folder = tmp_path_factory.mktemp("odd")
    write_world(world, folder, plan=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "FIT_DRAWS", 200)
        yield folder / "crm"


def worth_nothing(t: Tables) -> None:
    t["opportunities"]["amount"] = "0"
    t["opportunities"]["cost"] = "25"


def leads_at_once(t: Tables) -> None:
    leads = t["leads"]
    leads["created_on"] = "2025-06-10"
    leads.loc[leads["closed_on"] != "", "closed_on"] = "2025-07-01"


def log_of_a_day(t: Tables) -> None:
    t["activities"]["done_on"] = "2025-12-01"


def log_of_other_years(t: Tables) -> None:
    t["activities"]["done_on"] = "2019" + t["activities"]["done_on"].str[4:]


def everybody_left(t: Tables) -> None:
    t["reps"]["left_on"] = "2025-12-20"


def no_quota_for_some(t: Tables) -> None:
    rows = [
        {"scope": f"rep:r0{k}", "metric": "deals_won", "period": "2026-Q1", "target": k} for k in range(4)
    ]
    t["quotas"] = pd.DataFrame(rows)


def paid_in_parts(t: Tables) -> None:
    bills = t["invoices"]
    t["payments"] = pd.DataFrame(
        {
            "invoice_id": bills["invoice_id"],
            "paid_on": bills["issued_on"],
            "amount": bills["amount"].astype(float) / 2,
        }
    )
    bills["paid_on"] = ""


ODD: tuple[Callable[[Tables], None], ...] = (
    worth_nothing, leads_at_once, log_of_a_day, log_of_other_years, everybody_left,
    paid_in_parts, no_quota_for_some,
)  # fmt: skip


def answered(plan: Path, command: str, *more: str) -> Result:
    """What a command says; an answer or a reason, never a crash."""
    call = [command, str(plan), *more, "--draws", "300", "--force", "--quiet"]
    found = CliRunner().invoke(main, call)
    assert found.exit_code in (0, 2), (command, found.exc_info)
    assert " nan" not in found.output.lower(), (command, found.output)
    return found


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("make", ODD, ids=lambda make: make.__name__)
def test_an_odd_company_gets_an_answer(crm: Path, tmp_path: Path, make: Callable[[Tables], None]) -> None:
    tables = {p.stem: pd.read_csv(p, dtype=str, keep_default_na=False) for p in crm.glob("*.csv")}
    tables.pop("quotas", None)
    make(tables)
    (tmp_path / "crm").mkdir()
    for name, table in tables.items():
        table.to_csv(tmp_path / "crm" / f"{name}.csv", index=False)
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN, encoding="utf-8")
    for command in ("plan", "reconcile", "suggest", "cash"):
        found = answered(plan, command)
        if command == "plan":
            assert found.exit_code == 0, found.output
            assert "Company bookings" in found.output
            assert ("Quotas of the data that are rejected: 1" in found.output) == (make is no_quota_for_some)
        elif found.exit_code == 2:
            assert "error: " in found.output
            assert "add up to" not in found.output


@pytest.fixture(scope="module")
def shortest(crm: Path) -> Path:
    """A plan for one day: no month, quarter or week ends in it."""
    text = PLAN.replace('"2026-Q1"', '"2026-01-05"').replace("90_000", "900") + CAPACITY
    plan = crm.parent / "day.toml"
    plan.write_text(text, encoding="utf-8")
    (crm / "quotas.csv").unlink(missing_ok=True)
    return plan


@pytest.mark.parametrize(
    "call",
    [
        ("plan",), ("quotas",), ("forecast", "--by", "month"), ("pipeline",), ("revenue",), ("capacity",),
        ("cash",), ("report", "--for", "ops"), ("report", "--for", "finance"), ("report", "--for", "rep:r01"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_horizon_of_a_day(shortest: Path, call: tuple[str, ...]) -> None:
    more = ("--out", str(shortest.parent / "page.html")) if call[0] == "report" else ()
    found = answered(shortest, *call, *more)
    assert found.exit_code == 0, found.output


def test_the_inverse_funnel_of_a_plan_without_aims(crm: Path, tmp_path: Path) -> None:
    """The usual odds are wished: 70 % for the company, 60 % for a rep."""
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN.replace('"crm"', f'"{crm.as_posix()}"'), encoding="utf-8")
    for scope, wished in (("company", 0.7), ("rep:r01", 0.6)):
        call = ("suggest", "--by", "activity:call", "--target", "10000", "--scope", scope, "--format", "json")
        found = answered(plan, *call)
        assert found.exit_code == 0, found.output
        assert json.loads(found.output)["summary"]["probability"] == wished


def test_quotas_of_a_small_company_are_above_nothing_and_rates_are_shares() -> None:
    """Four reps who sell little: rounded, some quotas are 0, and too hard a close rate is above 1."""
    truth = draw_truth(np.random.default_rng(3), 4, 1)
    truth = replace(truth, creation=replace(truth.creation, level=truth.creation.level - 2.2))
    spec = WorldSpec(4, (("a", 4),), date(2025, 1, 1), date(2025, 12, 31), 5, truth)
    quotas = make_world(spec).tables["quotas"]
    assert (quotas["target"] > 0).all()
    assert quotas.loc[quotas["metric"] == "close_rate", "target"].max() <= 1.0
    # some are left out: four reps, team and company, eight metrics, five periods, three sets
    assert quotas["set"].notna().sum() < 6 * 8 * 5 * len(quotas["set"].dropna().unique())
