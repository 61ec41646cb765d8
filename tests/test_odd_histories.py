"""Companies with something missing, all at once or worth nothing: an answer or a reason, never a crash."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

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


ODD: tuple[Callable[[Tables], None], ...] = (
    worth_nothing, leads_at_once, log_of_a_day, log_of_other_years, everybody_left, no_quota_for_some,
)  # fmt: skip


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
        found = CliRunner().invoke(main, [command, str(plan), "--draws", "300", "--force", "--quiet"])
        assert found.exit_code in (0, 2), (command, found.exc_info)
        assert " nan" not in found.output.lower(), (command, found.output)
        if command == "plan":
            assert found.exit_code == 0, found.output
            assert "Company bookings" in found.output
        elif found.exit_code == 2:
            assert "error: " in found.output
            assert "add up to" not in found.output
