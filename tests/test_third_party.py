"""Other people's files from import to odds: what is odd in them must not break an answer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from quotacast.cli import main

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
EXAMPLES = ROOT / "scenarios" / "examples"


def answered(*words: str | Path) -> str:
    """What a command prints; it must succeed."""
    found = CliRunner().invoke(main, [str(word) for word in words])
    assert found.exit_code == 0, found.output
    return found.output


@pytest.mark.skipif(not DATA.exists(), reason="third-party data are not beside the project")
def test_a_plan_of_their_data(tmp_path: Path) -> None:
    """Maven; that of Olist falls back to NUTS, which takes half a minute."""
    answered(
        "import", DATA / "maven_crm", "--from", EXAMPLES / "maven_mapping.toml", "--out", tmp_path / "data"
    )
    assert "USD" in (tmp_path / "data" / "plan.toml").read_text(encoding="utf-8")
    screen = answered("plan", tmp_path / "data" / "plan.toml")
    assert "Company bookings" in screen
    assert "Doubt" in screen  # they end in a break


@pytest.mark.skipif(not DATA.exists(), reason="third-party data are not beside the project")
def test_a_record_of_wins_that_have_no_amount(tmp_path: Path) -> None:
    """At the first of these month ends no win of Olist's has an amount, and none was lost."""
    mapping = EXAMPLES / "olist_mapping.toml"
    answered("import", DATA / "olist_funnel", "--from", mapping, "--out", tmp_path / "data")
    table = answered("backtest", tmp_path / "data", "--origins", "3")
    assert re.search(r"deals_won m1 \(n=3\)", table)
