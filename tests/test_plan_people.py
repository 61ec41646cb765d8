"""Absences, leavers and holidays in the plan file."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from quotacast.engine.drivers import Absence, Drivers, People
from quotacast.errors import PlanError
from quotacast.models.periods import Calendar
from quotacast.models.turnover import Turnover
from quotacast.scenarios import edits
from quotacast.scenarios.against import leaving_note
from quotacast.scenarios.plan import Plan, load_plan

EXAMPLE = Path(__file__).resolve().parents[1] / "scenarios" / "examples" / "plan.toml"


def plan_of(folder: Path, text: str) -> Plan:
    (folder / "plan.toml").write_text('horizon = "2027"\nas_of = 2026-12-31\n' + text, encoding="utf-8")
    return load_plan(folder / "plan.toml")


def test_absences_and_leavers_of_the_example() -> None:
    drivers = load_plan(EXAMPLE).drivers()
    assert drivers.absences == (
        Absence("r05", date(2027, 3, 1), date(2027, 8, 31), 1.0),
        Absence("r09", date(2027, 2, 1), None, 0.4),
    )
    assert drivers.people == People(leavers=True, backfill_days=90, keep_odds=0.85)


def test_without_them_everyone_stays(tmp_path: Path) -> None:
    assert plan_of(tmp_path, "").drivers() == Drivers()
    assert Drivers().people == People(leavers=False, backfill_days=90, keep_odds=0.85)
    some = plan_of(tmp_path, '[people]\nleavers = true\nkeep_odds = "70%"\nbackfill_days = 45\n')
    assert some.drivers().people == People(True, 45, 0.7)


def test_what_is_impossible_is_refused_at_its_key(tmp_path: Path) -> None:
    text = """
[calendar]
holidays = "SW"
[people]
leavers = "yes"
backfill_days = -1
keep_odds = 1.2
leaver = true
[[absence]]
rep = "r1"
share = 0
[[absence]]
rep = "r1"
[[absence]]
rep = "r1"
from = 2027-05-01
until = 2027-04-01
[[absence]]
from = 2027-05-01
share = 0.5
"""
    with pytest.raises(PlanError) as caught:
        plan_of(tmp_path, text)
    wanted = (
        ("calendar.holidays", "'SW' came, wanted a country with known holidays; near it: S"),
        ("people.leavers", "'yes' came, wanted true or false"),
        ("people.backfill_days", "-1 came, wanted a whole number of days"),
        ("people.keep_odds", "1.2 came"),
        ("people.leaver", "did you mean leavers?"),
        ("absence[1].share", "0 came, wanted a number above 0 and at most 1"),
        ("absence[2]", "no until came for a whole absence"),
        ("absence[3]", "from 2027-05-01 is after until 2027-04-01"),
        ("absence[4].rep", "missing, wanted text"),
    )
    problems = caught.value.problems
    for place, said in wanted:
        assert any(p.startswith(f"{place}: ") and said in p for p in problems), (place, said, problems)
    assert len(problems) == len(wanted), problems


def test_a_part_of_a_country_is_a_calendar(tmp_path: Path) -> None:
    assert plan_of(tmp_path, '[calendar]\nholidays = "DE-BY"\n').calendar == Calendar(holidays="DE-BY")


def test_an_absent_rep_must_be_there(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, '[[absence]]\nrep = "r7"\nshare = 0.5\n')
    with pytest.raises(PlanError, match=r"absence\[1\]\.rep: no rep 'r7' in the data.*did you mean r07\?"):
        plan.check_against({"r07": "north", "r12": "south"})
    hired = plan_of(tmp_path, '[[absence]]\nrep = "north+1"\nshare = 0.5\n[[hire]]\nteam = "north"\n'
                    "on = 2027-02-01\n")  # fmt: skip
    assert hired.check_against({"r07": "north"}) == ()


def test_a_scenario_may_add_absences_and_leavers(tmp_path: Path) -> None:
    text = """
[[absence]]
rep = "r07"
share = 0.5
[scenario.storm.people]
leavers = true
[[scenario.storm.absence]]
rep = "r12"
from = 2027-05-01
until = 2027-06-30
"""
    base = plan_of(tmp_path, text)
    storm = base.with_scenario("storm").drivers()
    assert [a.rep_id for a in base.drivers().absences] == ["r07"]
    assert [a.rep_id for a in storm.absences] == ["r07", "r12"]
    assert (base.drivers().people.leavers, storm.people.leavers) == (False, True)
    edited = edits.absence(base, "r12", last=date(2027, 3, 31), share=0.25)
    assert edited.drivers().absences[1] == Absence("r12", None, date(2027, 3, 31), 0.25)


def test_what_leaving_means_is_said(tmp_path: Path) -> None:
    stay, go = (plan_of(tmp_path, f"[people]\nleavers = {flag}\n").people for flag in ("false", "true"))
    past = Turnover(4, 20 * 365.25)
    (off,) = leaving_note(stay, past)
    assert "in the data 4 left in 20 rep-years" in off
    assert "[people] leavers = true" in off
    (on,) = leaving_note(go, past)
    assert "4 left in 20 rep-years" in on
    assert "after 90 days" in on
    assert "keep 85 % of their odds" in on
    assert leaving_note(stay, Turnover(0, 9999.0)) == ()
