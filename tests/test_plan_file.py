from datetime import date
from pathlib import Path

import pytest

import quotacast
from quotacast.engine.drivers import Change, Hire, Leave
from quotacast.engine.quota import Quota, Scope
from quotacast.errors import PlanError
from quotacast.models.periods import Calendar
from quotacast.scenarios.plan import default_plan, load_plan, plan_reference

EXAMPLE = Path(quotacast.__file__).parent / "scenarios" / "examples" / "plan.toml"


def plan_of(tmp_path, text, **kwargs):
    path = tmp_path / "plan.toml"
    path.write_text(text, encoding="utf-8")
    return load_plan(path, **kwargs)


def problems_of(tmp_path, text, **kwargs):
    with pytest.raises(PlanError) as caught:
        plan_of(tmp_path, text, **kwargs)
    return caught.value.problems


def test_the_example_is_read():
    plan = load_plan(EXAMPLE)
    assert (plan.name, plan.as_of, plan.horizon, plan.draws) == (
        "FY2027 base",
        date(2026, 12, 31),
        "2027",
        4000,
    )
    assert plan.data_folder == EXAMPLE.parent / "crm"
    assert plan.scenarios == ("hire_four", "stretch")
    assert plan.quotas[0] == Quota(Scope("company"), "bookings", "2027", 12e6, "base", "quota[1]")
    assert plan.quotas[1].target == 0.25
    assert (plan.aim.rep, plan.cash.vat, plan.costs.commission.rate) == (0.6, 0.25, 0.05)
    assert plan.calendar == Calendar(holidays="SE")


def test_the_example_shows_every_key():
    text = EXAMPLE.read_text(encoding="utf-8")
    keys = [line.split("`")[1] for line in plan_reference().splitlines() if line.startswith("| `")]
    assert len(keys) > 60
    assert [
        key for key in keys if f"{key} =" not in text and f"{key}]" not in text and f"{key}." not in text
    ] == []


def test_drivers_of_the_example():
    drivers = load_plan(EXAMPLE).drivers(["r07", "north+1"])
    day = date(2027, 2, 1)
    assert drivers.hires == (Hire("north+2", "north", day), Hire("north+3", "north", day))
    assert drivers.leaves == (Leave("r12", date(2027, 4, 1)),)
    assert drivers.changes == (
        Change("activity:call", "team:north", times=1.2, first=date(2027, 1, 1)),
        Change("close_rate", "company", to=0.3, first=date(2027, 7, 1), last=date(2027, 9, 30)),
    )


def test_only_the_horizon_is_needed(tmp_path):
    plan = plan_of(tmp_path, 'horizon = "2027-Q2"')
    assert (plan.name, plan.as_of, plan.seed, plan.draws) == ("plan", None, 1, 4000)
    assert plan.data_folder == tmp_path.resolve()
    assert plan.quotas == plan.hires == plan.notes == ()
    assert plan.costs is None


WRONG = """
as_of = "2026-12-31"
horizont = "2027"
horizon = "FY27"
draws = 99
seed = -1
currency = "euro"
[calendar]
year_starts = 0
[aim]
rep = "170%"
team = 1.5
[[quota]]
scope = "company"
metric = "bookings"
period = "2027"
target = 5
[[quota]]
scope = "tem:north"
metric = "booking"
period = "2027"
target = "lots"
[[quota]]
scope = "company"
metric = "close_rate"
period = "2027"
target = 40
[[quota]]
scope = "company"
metric = "bookings"
period = "2027"
target = 0
[[hire]]
team = "north"
count = 0
on = 2027-02-01T10:00:00
[[leave]]
rep = 12
on = 2027-02-01
[[change]]
what = "close_rat"
times = 1.2
[[change]]
what = "close_rate"
times = 1.2
to = 0.4
[[change]]
what = "margin"
times = true
[[change]]
what = "deal_value"
to = 5
from = 2027-05-01
until = 2027-04-01
[[costs]]
hire = 1
[terms]
bill = "weekly"
[cash]
out = 3
"""

EXPECTED = [
    ("as_of", "'2026-12-31' came, wanted a date without quotes, such as 2027-02-01"),
    ("horizont", "unknown key, did you mean horizon?"),
    ("draws", "99 came, wanted a whole number from 100 to 200000"),
    ("seed", "-1 came, wanted a whole number of 0 or more"),
    ("currency", "'euro' came, wanted three capital letters"),
    ("calendar.year_starts", "0 came, wanted a month from 1 to 12"),
    ("aim.rep", "'170%' came, wanted a number from 0 to 1"),
    ("aim.team", "1.5 came"),
    ("quota[2].scope", "'tem:north' came, wanted company, team:<name> or rep:<id> (did you mean team?)"),
    ("quota[2].metric", "did you mean bookings?"),
    ("quota[2].target", "'lots' came, wanted a number"),
    ("quota[3].target", "40 came for close_rate, wanted a share"),
    ("quota[4].target", "0 came, wanted a number greater than 0"),
    ("hire[1].count", "0 came, wanted a whole number from 1 to 1000"),
    ("hire[1].on", "2027-02-01 10:00:00 came, wanted a date"),
    ("leave[1].rep", "12 came, wanted text"),
    ("change[1].what", "did you mean close_rate?"),
    ("change[2]", "both `times` and `to` came"),
    ("change[3].times", "true came, wanted a factor"),
    ("change[4]", "from 2027-05-01 is after until 2027-04-01"),
    ("costs", "a list of 1 came, wanted a table [costs]"),
    ("terms.bill", "'weekly' came, wanted \"at_close\""),
    ("cash.out", "3 came, wanted tables [[cash.out]]"),
]


def test_all_problems_come_at_once(tmp_path):
    problems = problems_of(tmp_path, WRONG)
    for place, text in EXPECTED:
        assert any(p.startswith(f"{place}: ") and text in p for p in problems), (place, text, problems)
    assert len(problems) == len(EXPECTED), problems


QUOTA = '[[quota]]\nscope = "company"\nmetric = "bookings"\nperiod = "2027"\ntarget = '


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "horizon: missing, wanted a period in quotes"),
        ('horizon = "FY27"', "horizon: period 'FY27' is none that is known"),
        ("horizon = 2027", "horizon: 2027 came, wanted a period in quotes"),
        ('horizon = "2027-P03"', "needs a week-based year"),
        ('horizon = "2027"\nname = "a\\u001bb"', "name: 'a\\x1bb' came, wanted text without control"),
        ('horizon = "2027"\ndraws = 200001', "draws: 200001 came"),
        ('horizon = "2027"\n[costs]\nrep_month = inf', "costs.rep_month: inf came"),
        ('horizon = "2027"\nscenario = 3', "scenario: 3 came, wanted tables such as [scenario.hire_four]"),
        ('horizon = "2027"\n[scenario]\na = 3', "scenario.a: 3 came, wanted"),
        ('horizon = "2027"\n[quota]\nscope = "company"', "quota: a table came, wanted tables [[quota]]"),
        ('horizon = "2027"\n' + QUOTA + '"40%"', "quota[1].target: '40%' came, wanted a number"),
        ('horizon = "2027"\nhire = [3]', "hire[1]: 3 came, wanted a table [[hire]]"),
        ('horizon = "2027"\n[[change]]\nwhat = "deal_value"\nto = "4%"', "change[1].to: '4%' came"),
        ('horizon = "2027"\n[quotas]\nfile = "no.csv"', "no such file"),
        ('horizon = "2027"\n\nname = ', "plan.toml: not TOML: Invalid value (at line 3"),
        ('horizon = "2027"\n[data', "line 2"),
        ('horizon = "2027"\nx = ' + "[" * 5000, "too deeply"),
    ],
)
def test_single_problems(tmp_path, text, problem):
    problems = problems_of(tmp_path, text)
    assert len(problems) == 1
    assert problem in problems[0]


def test_a_file_that_is_not_utf8_names_its_line(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_bytes(b'horizon = "2027"\nname = "\xe5"')
    with pytest.raises(PlanError, match="line 2: not UTF-8"):
        load_plan(path)
    with pytest.raises(PlanError, match="could not be read"):
        load_plan(tmp_path / "none.toml")


def test_a_mark_at_the_start_of_the_file_does_no_harm(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_bytes(b'\xef\xbb\xbfhorizon = "2027"\r\n')
    assert load_plan(path).horizon == "2027"


@pytest.mark.parametrize(
    ("as_of", "horizon", "words"),
    [
        (date(2026, 10, 31), "2026", "61 days left"),
        (date(2026, 11, 1), "2027", "only 60 days of 2026"),
    ],
)
def test_default_plan(tmp_path, as_of, horizon, words):
    plan = default_plan(tmp_path, as_of)
    assert (plan.horizon, plan.as_of, plan.data_folder) == (horizon, as_of, tmp_path.resolve())
    assert words in plan.notes[0]
    assert plan.path is None
    assert plan.home == tmp_path


def test_default_plan_of_one_file_and_another_calendar(tmp_path):
    file = tmp_path / "deals.csv"
    file.write_text("x")
    plan = default_plan(file, date(2026, 12, 1), Calendar(year_starts=4))
    assert (plan.horizon, plan.name, plan.home) == ("2027", "deals", tmp_path)
    assert plan.horizon_period.last == date(2027, 3, 31)
    assert plan.data_folder == file.resolve()


def test_the_hash_is_that_of_the_content(tmp_path):
    first = plan_of(tmp_path, 'horizon = "2027"\nseed = 2')
    same = plan_of(tmp_path, '# words\nseed = 2\nhorizon = "2027"')
    other = plan_of(tmp_path, 'horizon = "2027"\nseed = 3')
    assert first.text_hash == same.text_hash != other.text_hash


def test_the_reference_names_the_nested_tables():
    text = plan_reference()
    assert "### `[[cash.out]]`" in text
    assert "| `from` | a date without quotes" in text
    assert "None" not in text
