from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotacast.errors import PlanError
from quotacast.models.periods import KINDS, POSITIONS, Calendar, month_index, week_index, week_start

DAY = timedelta(days=1)
calendars = st.builds(
    Calendar,
    year_starts=st.integers(1, 12),
    year_named_by=st.sampled_from(["end", "start"]),
    weeks=st.sampled_from([None, "4-4-5", "4-5-4", "5-4-4"]),
)
some_days = st.dates(date(1955, 1, 1), date(2150, 12, 31))
NESTING = {None: ("day", "month", "quarter"), "4-4-5": ("day", "week", "month", "quarter")}


@given(calendars, some_days, st.sampled_from(KINDS))
def test_a_day_lies_in_its_period_and_the_label_leads_back(calendar, day, kind):
    period = calendar.containing(day, kind)
    assert period.first <= day <= period.last
    assert period.kind == kind
    assert calendar.parse(period.label) == period


@given(calendars, st.integers(1960, 2140))
def test_periods_tile_the_year(calendar, year):
    whole = calendar.parse(str(year))
    assert calendar.parse(str(year + 1)).first == whole.last + DAY
    for kind in NESTING["4-4-5" if calendar.weeks else None]:
        parts = calendar.within(whole, kind)
        assert parts[0].first == whole.first
        assert parts[-1].last == whole.last
        assert all(b.first == a.last + DAY for a, b in pairwise(parts))
        assert len({part.label for part in parts}) == len(parts)
    assert len(calendar.within(whole, "month")) == 12
    assert len(calendar.within(whole, "quarter")) == 4


@given(calendars, some_days, st.integers(0, 800))
def test_periods_of_a_span_are_those_that_overlap_it(calendar, first, length):
    last = first + length * DAY
    for kind in ("week", "month", "quarter", "year"):
        parts = calendar.periods(kind, first, last)
        assert parts[0] == calendar.containing(first, kind)
        assert parts[-1] == calendar.containing(last, kind)
        assert all(b.first == a.last + DAY for a, b in pairwise(parts))


@given(calendars, some_days)
def test_arrays_agree_with_periods(calendar, day):
    days = np.arange(day, day + 40 * DAY, dtype="datetime64[D]")
    index, position = calendar.quarter_index(days), calendar.position(days)
    assert position.dtype == np.int8
    for at, one in enumerate(days.astype(object)):
        quarter = calendar.containing(one, "quarter")
        assert calendar.quarter_label(int(index[at])) == quarter.label
        months = calendar.within(quarter, "month")
        late = (quarter.last - one).days < 10
        assert position[at] == (3 if late else months.index(calendar.containing(one, "month")))
        assert week_start(week_index(days[at])) == np.datetime64(one - one.weekday() * DAY)
        assert month_index(days[at]) == (one.year - 1970) * 12 + one.month - 1


@given(calendars, st.integers(1960, 2140))
def test_a_week_based_year_has_whole_weeks(calendar, year):
    if calendar.weeks is None:
        return
    whole = calendar.parse(str(year))
    assert whole.first.weekday() == 0
    assert whole.days in (52 * 7, 53 * 7)
    quarters = calendar.within(whole, "quarter")
    assert [q.days // 7 for q in quarters] == [13, 13, 13, whole.days // 7 - 39]
    pattern = [int(weeks) for weeks in calendar.weeks.split("-")]
    assert [m.days // 7 for m in calendar.within(quarters[1], "month")] == pattern


@given(st.sampled_from(["4-4-5", "5-4-4"]), some_days)
def test_a_week_based_year_from_january_is_the_iso_year(weeks, day):
    assert Calendar(weeks=weeks).containing(day, "year").label == f"{day.isocalendar().year:04d}"


@pytest.mark.parametrize(
    ("settings", "label", "first", "last"),
    [
        ({}, "2027", date(2027, 1, 1), date(2027, 12, 31)),
        ({"year_starts": 4}, "2027", date(2026, 4, 1), date(2027, 3, 31)),
        ({"year_starts": 4, "year_named_by": "start"}, "2027", date(2027, 4, 1), date(2028, 3, 31)),
        ({"year_starts": 2}, "2027-Q4", date(2026, 11, 1), date(2027, 1, 31)),
        ({"year_starts": 7}, "2027-02", date(2027, 2, 1), date(2027, 2, 28)),
        ({}, "2027-W05", date(2027, 2, 1), date(2027, 2, 7)),
        ({}, "2026-W53", date(2026, 12, 28), date(2027, 1, 3)),
        ({}, "2028-02-29", date(2028, 2, 29), date(2028, 2, 29)),
        # 1 Feb 2027 is a Monday; the Monday nearest to 1 Feb 2026 (a Sunday) is 2 Feb
        ({"year_starts": 2, "weeks": "4-5-4"}, "2027", date(2026, 2, 2), date(2027, 1, 31)),
        ({"year_starts": 2, "weeks": "4-5-4"}, "2027-P02", date(2026, 3, 2), date(2026, 4, 5)),
        # ISO year 2026 has 53 weeks, the last month gets the odd one
        ({"weeks": "4-4-5"}, "2026-P12", date(2026, 11, 23), date(2027, 1, 3)),
    ],
)
def test_known_periods(settings, label, first, last):
    period = Calendar(**settings).parse(label)
    assert (period.first, period.last) == (first, last)


@pytest.mark.parametrize(
    ("label", "wanted"),
    [
        ("FY27", "2027-Q1"),
        ("2027-Q5", "Q1 to Q4"),
        ("2027-13", "01 to 12"),
        ("2027-W53", "W01 to W52"),
        ("2027-02-29", "no such day"),
        ("2027-P03", "week-based"),
        ("0000", "1900"),
        ("2027-3", "2027-03"),
        ("２０２７", "2027"),
    ],
)
def test_labels_that_name_no_period(label, wanted):
    with pytest.raises(PlanError, match=wanted):
        Calendar().parse(label)


def test_every_impossible_setting_is_named():
    with pytest.raises(PlanError) as caught:
        Calendar(year_starts=13, year_named_by="middle", weeks="4-4-4", holidays="Sweden")
    assert len(caught.value.problems) == 4


def test_month_grid():
    grid = Calendar().months(date(2026, 11, 30), date(2027, 2, 1))
    assert [str(month) for month in grid] == ["2026-11", "2026-12", "2027-01", "2027-02"]
    assert grid.astype(np.int64)[0] == month_index(np.datetime64("2026-11-07"))


def test_positions_of_a_known_quarter():
    days = np.array(["2027-01-31", "2027-02-01", "2027-03-21", "2027-03-22", "2027-03-31"], dtype="M8[ns]")
    names = [POSITIONS[at] for at in Calendar().position(days)]
    assert names == ["first month", "second month", "third month", "last 10 days", "last 10 days"]
    assert Calendar(year_starts=2).position(days).tolist() == [3, 0, 1, 1, 1]


def test_missing_days_are_refused():
    with pytest.raises(ValueError, match="NaT"):
        Calendar().position(np.array(["2027-01-31", "NaT"], dtype="M8[D]"))


def test_empty_arrays_keep_their_shape():
    empty = np.array([], dtype="M8[D]")
    for calendar in (Calendar(), Calendar(weeks="4-4-5")):
        assert calendar.position(empty).shape == calendar.quarter_index(empty).shape == (0,)
