from datetime import date

import pandas as pd
import pytest

from quotacast.engine.quota import Scope
from quotacast.errors import PlanError
from quotacast.models.periods import Calendar
from quotacast.scenarios.plan import load_plan
from quotacast.scenarios.planfile.quotafile import read_quotas, table_quotas

LONG = """scope,metric,period,target,set
company,bookings,2027,12000000,
team:north,close_rate,2027-Q1,25%,b
rep:r07,activity:call,2027-W05,60.5,b
"""
WIDE = """scope,metric,2027-Q1,2027-04
company,bookings,100,200
rep:r07,deals_won,,3
"""


def brief(quotas):
    return [(str(q.scope), q.metric, q.period, q.target, q.set) for q in quotas]


def frame(text):
    lines = [line.split(",") for line in text.strip().split("\n")]
    return pd.DataFrame(lines[1:], columns=lines[0])


def written(tmp_path, text, ending):
    path = tmp_path / f"quotas.{ending}"
    if ending == "csv":
        path.write_text(text)
    elif ending == "xlsx":
        frame(text).to_excel(path, index=False)
    else:
        frame(text).to_parquet(path)
    return path


@pytest.mark.parametrize("ending", ["csv", "xlsx", "parquet"])
def test_long_and_wide_files(tmp_path, ending):
    long = read_quotas(written(tmp_path, LONG, ending))
    assert brief(long) == [
        ("company", "bookings", "2027", 12e6, "base"),
        ("team:north", "close_rate", "2027-Q1", 0.25, "b"),
        ("rep:r07", "activity:call", "2027-W05", 60.5, "b"),
    ]
    assert long[2].origin == f"quotas.{ending} row 4"
    assert brief(read_quotas(written(tmp_path, WIDE, ending))) == [
        ("company", "bookings", "2027-Q1", 100, "base"),
        ("company", "bookings", "2027-04", 200, "base"),
        ("rep:r07", "deals_won", "2027-04", 3, "base"),
    ]


@pytest.mark.parametrize("ending", ["csv", "xlsx", "parquet"])
@pytest.mark.parametrize("nothing", ["0", "0.00", ""])
def test_a_zero_in_a_wide_file_is_no_quota(tmp_path, ending, nothing):
    text = f"scope,metric,2027-Q1,2027-Q2\nrep:r01,deals_won,{nothing},4\nrep:r02,deals_won,7,{nothing}\n"
    found = brief(read_quotas(written(tmp_path, text, ending)))
    assert [(scope, period, target) for scope, _, period, target, _ in found] == [
        ("rep:r01", "2027-Q2", 4),
        ("rep:r02", "2027-Q1", 7),
    ]


def test_numbers_and_years_of_a_workbook(tmp_path):
    path = tmp_path / "quotas.xlsx"
    pd.DataFrame({"scope": ["company"], "metric": ["bookings"], 2027: [5.5]}).to_excel(path, index=False)
    assert brief(read_quotas(path)) == [("company", "bookings", "2027", 5.5, "base")]
    cells = {"scope": ["company"], "metric": ["bookings"], "period": [2027], "target": [5.5]}
    pd.DataFrame(cells).to_excel(path, index=False)
    assert brief(read_quotas(path, default_set="s")) == [("company", "bookings", "2027", 5.5, "s")]


def test_all_wrong_rows_are_named(tmp_path):
    text = (
        "scope,metric,period,target\ncompny,bookings,2027,1\ncompany,booking,FY27,\n"
        "company,bookings,2027,-4\ncompany,close_rate,2027,40\ncompany,bookings,2027,1 000\n"
        "company,bookings,2027,4%\n"
        "company,deals_won,2027,1\ncompany,deals_won,2027,2\nteam:a,bookings,2027\n"
    )
    with pytest.raises(PlanError) as caught:
        read_quotas(written(tmp_path, text.rsplit("\n", 2)[0] + "\n", "csv"))
    expected = [
        "row 2: scope 'compny' came, wanted company, team:<name> or rep:<id> (did you mean company?)",
        "row 3: metric 'booking' came",
        "row 3: period 'FY27'",
        "row 3: target is empty",
        "row 4: target -4 came",
        "row 5: target 40 came for close_rate",
        "row 6: target '1 000' came, wanted a plain number",
        "row 7: target '4%' came, wanted a plain number",
        "row 9: the same scope, metric, period and set as quotas.csv row 8",
    ]
    assert len(caught.value.problems) == len(expected)
    for problem, text in zip(caught.value.problems, expected, strict=True):
        assert problem.startswith(f"quotas.csv {text}")
    with pytest.raises(PlanError, match="row 2: 3 cells where the heading has 4"):
        read_quotas(written(tmp_path, "scope,metric,period,target\na,b,c\n", "csv"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("scope,metric\ncompany,bookings\n", "headings that are periods"),
        ("scope,metric,Q1\ncompany,bookings,3\n", "heading 'Q1': period 'Q1' is none"),
        ("scope,metrik,2027\ncompany,bookings,3\n", "column 'metric' is missing"),
        ("scope,metric,2027-01-01,2027-02-01\ncompany,bookings,3,4\n", "write 2027-01 as text"),
        ("scope,metric,period\ncompany,bookings,2027\n", "column 'target' is missing"),
        ("", "empty"),
    ],
)
def test_wrong_headings(tmp_path, text, problem):
    with pytest.raises(PlanError, match=problem):
        read_quotas(written(tmp_path, text, "csv"))


def test_a_date_cell_is_not_guessed_at():
    table = pd.DataFrame(
        {"scope": ["company"], "metric": ["bookings"], "period": [date(2027, 3, 1)], "target": [5]}
    )
    with pytest.raises(PlanError, match="write 2027-03 or 2027-03-01 as text"):
        table_quotas(table)


def test_periods_follow_the_calendar(tmp_path):
    path = written(tmp_path, "scope,metric,2027-P03\ncompany,bookings,3\n", "csv")
    assert read_quotas(path, calendar=Calendar(weeks="4-4-5"))[0].period == "2027-P03"
    with pytest.raises(PlanError, match="week-based"):
        read_quotas(path)


PLAN = """
horizon = "2027"
as_of = 2026-12-31
[quotas]
file = "quotas.csv"
[[quota]]
scope = "company"
metric = "bookings"
period = "2027"
target = 13e6
"""


def plan_of(tmp_path, rows, more=""):
    (tmp_path / "quotas.csv").write_text(rows)
    (tmp_path / "plan.toml").write_text(PLAN + more)
    return load_plan(tmp_path / "plan.toml")


def test_a_quota_overrides_the_file_and_it_is_said(tmp_path):
    plan = plan_of(tmp_path, LONG + "company,bookings,2028,7,\n")
    assert brief(plan.quotas)[:1] == [("company", "bookings", "2027", 13e6, "base")]
    assert ("company", "bookings", "2027", 13e6, "b") in brief(plan.quotas)
    assert plan.notes == (
        "quota[1]: company bookings 2027 is 13,000,000, overriding 12,000,000 of quotas.csv row 2",
        "1 quotas of the file end after the horizon 2027 and cannot be answered (quotas.csv row 5: 2028)",
    )


def test_quotas_twice_and_beyond_the_horizon(tmp_path):
    again = PLAN[PLAN.index("[[quota]]") :]
    more = again + again.replace('"2027"', '"2028-Q1"')
    with pytest.raises(PlanError) as caught:
        plan_of(tmp_path, LONG, more)
    problems = caught.value.problems
    assert any(p.startswith("quota[2]: the same scope") for p in problems)
    assert (
        "quota[3].period: 2028-Q1 ends after the horizon 2027 (2027-12-31): lengthen the horizon" in problems
    )


def test_problems_of_the_file_come_with_its_key(tmp_path):
    with pytest.raises(PlanError, match=r"quotas.file: quotas.csv row 2: scope 'x' came"):
        plan_of(tmp_path, "scope,metric,period,target\nx,bookings,2027,1\n")


REPS = {"r07": "north", "r12": "south"}


def checked(tmp_path, text, **kwargs):
    (tmp_path / "plan.toml").write_text('horizon = "2027"\nas_of = 2026-12-31\n' + text)
    return load_plan(tmp_path / "plan.toml").check_against(REPS, **kwargs)


def test_everything_named_must_be_there(tmp_path):
    text = """
[[quota]]
scope = "team:nort"
metric = "activity:calls"
period = "2027"
target = 3
[[leave]]
rep = "r7"
on = 2027-03-01
[[change]]
what = "activity:visit"
scope = "rep:zz"
times = 2
[[lever]]
what = "hire"
scope = "team:west"
from = 0
to = 2
"""
    with pytest.raises(PlanError) as caught:
        checked(tmp_path, text, kinds=["call"], as_of=date(2027, 12, 31))
    assert caught.value.problems == (
        "quota[1].scope: no team 'nort' in the data or among the hires, did you mean north?",
        "leave[1].rep: no rep 'r7' in the data or among the hires, did you mean r07?",
        "change[1].scope: no rep 'zz' in the data or among the hires; there are r07, r12",
        "lever[1].scope: no team 'west' in the data or among the hires; there are north, south",
        "quota[1].metric: no activity of kind 'calls' in the data, did you mean activity:call?",
        "change[1].what: no activity of kind 'visit' in the data; there are call",
        "horizon: 2027 ends on 2027-12-31, in the past of the as-of date 2027-12-31: take a later one",
    )


def test_hires_may_be_named_and_found_a_team(tmp_path):
    text = """
[[hire]]
team = "nroth"
on = 2026-12-31
[[leave]]
rep = "nroth+1"
on = 2027-06-01
[[change]]
what = "deal_value"
scope = "team:nroth"
times = 2
"""
    assert checked(tmp_path, text) == (
        "hire[1].team: nroth is a new team; if north was meant, correct it",
        "hire[1].on: 2026-12-31 is not after the as-of date 2026-12-31; take the hire out of the plan "
        "if the rep is in the data by now",
    )


def test_a_horizon_far_away_is_a_slip(tmp_path):
    with pytest.raises(PlanError, match="horizon: 2027 ends more than 10 years after"):
        checked(tmp_path, "", as_of=date(2010, 1, 1))


def test_scopes():
    for text in ("company", "team:north", "rep:r:07", "rep:(none)"):
        assert str(Scope.parse(text)) == text
    for text in ("", "company:x", "team:", "rep", "team: "):
        with pytest.raises(PlanError, match="wanted company"):
            Scope.parse(text)
