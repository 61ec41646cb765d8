"""Changes of activity: association and cause, both answers, and what was never observed."""

from __future__ import annotations

import dataclasses
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quotacast.engine.answers.attainability import attainability
from quotacast.engine.associations import association_notes
from quotacast.engine.drivers import Change, Drivers
from quotacast.engine.metrics import metric, series
from quotacast.engine.quota import Quota, Scope
from quotacast.engine.worlds import draw_truth, write_world
from quotacast.errors import PlanError
from quotacast.models.chain import Chain
from quotacast.models.funnel import prepare
from quotacast.models.people import Employment
from quotacast.models.periods import Calendar
from quotacast.scenarios.noeffect import with_odds, with_outlook
from quotacast.scenarios.plan import load_plan
from quotacast.scenarios.run import Run

PLAN = """
horizon = "2026"
draws = 300
[data]
folder = "crm"
[[change]]
what = "activity:call"
scope = "team:a"
times = 1.4
from = 2026-02-01
causal = {causal}
"""


@pytest.fixture(scope="module")
def world(small_world: Any) -> Any:
    truth = draw_truth(np.random.default_rng(11), 4, 2, leads=True)
    return small_world(11, 4, date(2024, 6, 1), date(2025, 12, 31), change=lambda _: truth)


@pytest.fixture(scope="module")
def known(world: Any, world_history: Any) -> tuple[Chain, Employment]:
    found = prepare(world_history(world), Calendar())
    return found.chain, found.people


def notes(known: tuple[Chain, Employment], *changes: Change, **more: Any) -> tuple[str, ...]:
    return association_notes(Drivers(changes=changes, **more), *known)


def test_an_association_is_called_one(known: tuple[Chain, Employment]) -> None:
    plain = Change("activity:call", "company", times=1.05)
    (said,) = notes(known, plain)
    assert "activity:call: an association" in said
    assert "new business goes along" in said
    (other,) = notes(known, plain, activity_drives=False)
    assert "does not go" in other
    assert notes(known, dataclasses.replace(plain, causal=True)) == ()
    assert notes(known, Change("close_rate", "company", times=1.2)) == ()


@pytest.mark.parametrize("scope", ["company", "team:b", "rep:r02"])
def test_what_was_never_observed_is_said(known: tuple[Chain, Employment], scope: str) -> None:
    (said,) = notes(known, Change("activity:email", scope, times=7.0, causal=True))
    assert "outside what was ever observed" in said
    chain, people = known
    k = chain.drivers.index("email")
    kind, _, name = scope.partition(":")
    rows = {"company": range(4), "team": [i for i in range(4) if people.team[i] == name], "rep": [1]}[kind]
    usual = 7 * np.median([np.expm1(chain.means[i, k]) for i in rows])
    assert f"{usual:,.1f} a week" in said
    assert usual > chain.observed[k, 1]
    assert "outside" in notes(known, Change("activity:email", scope, times=0.01, causal=True))[0]


def test_what_drives_nothing_changes_activity_alone(known: tuple[Chain, Employment]) -> None:
    chain, people = known
    drive = dataclasses.replace(chain.drive, kinds=("call",))
    bare = dataclasses.replace(chain, drive=drive, refused="all 12 activities hang on a deal")
    (said,) = notes((bare, people), Change("activity:chat", "company", times=1.2))
    assert "alone" in said
    assert "all 12 activities hang on a deal" in said


@pytest.mark.parametrize("causal", ["false", "true"])
def test_both_answers(world: Any, tmp_path: Path, causal: str) -> None:
    write_world(world, tmp_path, plan=False)
    (tmp_path / "plan.toml").write_text(PLAN.format(causal=causal))
    run = Run(load_plan(tmp_path / "plan.toml"), force=True)
    other, year = run.without_effect(), run.plan.horizon_period
    calls, leads = (
        [series(one.paths([year]), metric(name), Scope("team", "a"), year).total for one in (run, other)]
        for name in ("activity:call", "leads_created")
    )
    assert np.array_equal(*calls)
    if causal == "true":
        assert np.array_equal(*leads)
        assert not any("association" in note for note in run.notes)
    else:
        assert leads[0].mean() > leads[1].mean()
        assert (leads[0] >= leads[1]).all()  # the same random numbers: more of the mean is more in every draw
        assert any("an association" in note for note in run.notes)
    quota = Quota(Scope("team", "a"), "leads_created", "2026", float(np.median(leads[1])))
    plain = attainability(run.paths([year]), [quota], run.plan.calendar, {})
    told = with_odds(plain, run, [quota])
    if causal == "true":
        assert told is plain
    else:
        (row,) = told.summary["without_effect"]
        assert row["p_attain"] == (leads[1] >= quota.target).mean() < told.rows["p_attain"].iloc[0]
        outlook = with_outlook(plain, run, ("leads_created",), (year,))
        company = series(other.paths([year]), metric("leads_created"), Scope("company"), year).total
        assert outlook.summary["without_effect"][0]["mean"] == pytest.approx(company.mean())


def test_only_activity_may_be_causal(tmp_path: Path) -> None:
    text = PLAN.replace("activity:call", "close_rate").format(causal="true")
    (tmp_path / "plan.toml").write_text(text)
    with pytest.raises(PlanError, match="causal came for close_rate"):
        load_plan(tmp_path / "plan.toml")
