from datetime import date

import pytest

from quotacast.errors import PlanError
from quotacast.scenarios import edits
from quotacast.scenarios.plan import load_plan
from quotacast.scenarios.planfile.overlay import key_path, lay_over, written_at

BASE = """
horizon = "2027"
as_of = 2026-12-31
draws = 500
[costs]
rep_month = 9000
hire = 100
[[hire]]
team = "north"
on = 2027-02-01
[[quota]]
scope = "company"
metric = "bookings"
period = "2027"
target = 12e6
[[quota]]
scope = "team:north"
metric = "bookings"
period = "2027"
target = 5e6
[scenario.more]
draws = 900
[scenario.more.costs]
hire = 200
[[scenario.more.hire]]
team = "north"
count = 2
on = 2027-03-01
[[scenario.more.quota]]
scope = "company"
metric = "bookings"
period = "2027"
target = 14e6
[scenario.other]
"""


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(BASE)
    return load_plan(path)


def test_a_scenario_is_laid_over_the_base(plan):
    more = plan.with_scenario("more")
    assert (plan.draws, more.draws) == (500, 900)
    assert (more.costs.rep_month, more.costs.hire) == (9000, 200)
    assert [hire.rep_id for hire in more.drivers().hires] == ["north+1", "north+2", "north+3"]
    assert [(str(q.scope), q.target, q.origin) for q in more.quotas] == [
        ("team:north", 5e6, "quota[2]"),
        ("company", 14e6, "scenario.more.quota[1]"),
    ]
    assert more.scenario == "more"
    assert more.text_hash != plan.text_hash
    assert load_plan(plan.path, scenario="more") == more


def test_scenarios_do_not_pile_up(plan):
    assert plan.with_scenario("more").with_scenario("other").draws == 500
    assert plan.with_scenario("more").with_scenario(None) == plan


def test_a_missing_scenario_is_named(plan):
    with pytest.raises(PlanError, match="it has more, other; did you mean more\\?"):
        plan.with_scenario("mor")


def test_problems_of_all_scenarios_come_at_their_places(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(
        BASE
        + """
[[scenario.other.hire]]
team = "north"
on = "2027"
[[scenario.other.quota]]
scope = "company"
metric = "bookings"
period = "2027"
target = -1
[scenario.third]
hires = 3
draws = 5
scenario = "more"
costs.hir = 4
"""
    )
    with pytest.raises(PlanError) as caught:
        load_plan(path)
    starts = sorted(problem.split(": ")[0] for problem in caught.value.problems)
    assert starts == [
        "scenario.other.hire[1].on",
        "scenario.other.quota[1].target",
        "scenario.third.costs.hir",
        "scenario.third.draws",
        "scenario.third.hires",
        "scenario.third.scenario",
    ]


def test_a_problem_of_the_base_is_told_once(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(BASE.replace("target = 5e6", "target = -5e6"))
    with pytest.raises(PlanError) as caught:
        load_plan(path)
    assert caught.value.problems == ("quota[2].target: -5e+06 came, wanted a number greater than 0",)


def test_lay_over_changes_neither_side():
    base = {"a": {"b": 1, "c": [1]}, "d": 2}
    over = {"a": {"b": 3, "c": [4]}, "e": {"f": 5}}
    assert lay_over(base, over) == {"a": {"b": 3, "c": [1, 4]}, "d": 2, "e": {"f": 5}}
    assert base == {"a": {"b": 1, "c": [1]}, "d": 2}
    assert written_at(base, over, ("a", "c", 1)) == (True, ("a", "c", 0))
    assert written_at(base, over, ("a", "c", 0)) == (False, ("a", "c", 0))
    assert written_at(base, over, ("d",)) == (False, ("d",))
    assert written_at(base, over, ("e", "f")) == (True, ("e", "f"))
    assert key_path(("scenario", "x y", "hire", 0, "on")) == "scenario.'x y'.hire[1].on"


def test_edits(plan):
    day = date(2027, 5, 1)
    edited = edits.leave(edits.hire(plan, "south", 2, day), "r01", day)
    edited = edits.change(edited, "close_rate", scope="team:south", times=1.1, first=day)
    edited = edits.quota(edits.settings(edited, seed=7, draws=600), "company", "bookings", "2027", 3e6)
    drivers = edited.drivers()
    assert [hire.rep_id for hire in drivers.hires] == ["north+1", "south+1", "south+2"]
    assert drivers.leaves[0].rep_id == "r01"
    assert (drivers.changes[0].times, drivers.changes[0].first) == (1.1, day)
    assert (edited.seed, edited.draws) == (7, 600)
    assert [q.target for q in edited.quotas] == [5e6, 3e6]
    assert len(plan.drivers().hires) == 1
    assert edits.settings(plan) is plan


def test_an_edit_of_a_scenario_wins_over_it(plan):
    more = edits.settings(plan.with_scenario("more"), draws=1000)
    assert (more.draws, more.with_scenario(None).draws) == (1000, 500)
    assert more.with_scenario(None).with_scenario("more").draws == 1000


def test_an_impossible_edit_is_refused(plan):
    with pytest.raises(PlanError, match=r"hire\[2\].count: 0 came"):
        edits.hire(plan, "south", 0, date(2027, 5, 1))
    with pytest.raises(PlanError, match=r"draws: 5 came"):
        edits.settings(plan, draws=5)
