"""Who was at work when, and how long they had been there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from quotacast.models.people import FAR, TENURE_EDGES, TENURE_SHARES, TENURED, employment, tenure_band
from quotacast.models.timegrid import as_date, day_number

FIRST, LAST = date(2024, 1, 1), date(2025, 12, 31)


def deals(rep: str | None, *days: str) -> list[dict[str, Any]]:
    return [
        {"opportunity_id": f"{rep}{day}", "created_on": day, "status": "open", "rep_id": rep} for day in days
    ]


def every(rep: str, step: int, first: date, last: date) -> list[dict[str, Any]]:
    n = (last - first).days // step + 1
    return deals(rep, *((first + timedelta(days=step * k)).isoformat() for k in range(n)))


def people_of(
    make_history: Callable[..., Any], rows: list[Any], reps: list[Any]
) -> dict[str, dict[str, Any]]:
    history = make_history({"opportunities": rows, "reps": reps}, LAST)
    found = employment(history, int(day_number(FIRST)), int(day_number(LAST)))
    assert list(found.reps) == sorted(found.reps)
    return {
        rep: {
            "team": found.team[i],
            "start": as_date(int(found.start[i])),
            "stop": None if found.stop[i] == FAR else as_date(int(found.stop[i])),
            "hired": as_date(int(found.hired[i])),
            "silent": rep in found.gone_silent,
        }
        for i, rep in enumerate(found.reps)
    }


def test_dates_of_the_reps_table_are_believed(make_history: Callable[..., Any]) -> None:
    reps = [
        {"rep_id": "old", "team": "n", "hired_on": "2019-05-01"},
        {"rep_id": "new", "team": "s", "hired_on": "2024-06-03"},
        {"rep_id": "gone", "team": "s", "hired_on": "2020-01-01", "left_on": "2025-03-01"},
    ]
    rows = [row for rep in ("old", "gone") for row in every(rep, 30, FIRST, date(2025, 2, 1))]
    rows += every("new", 30, date(2024, 8, 1), LAST) + every("old", 30, date(2025, 3, 1), LAST)
    found = people_of(make_history, rows, reps)
    assert found["old"] == {
        "team": "n", "start": FIRST, "stop": None, "hired": date(2019, 5, 1), "silent": False,
    }  # fmt: skip
    # At work from the day of hiring, although the first deal came two months later.
    assert found["new"]["start"] == found["new"]["hired"] == date(2024, 6, 3)
    assert found["gone"]["stop"] == date(2025, 2, 28)  # left_on is the first day no longer there


def test_a_deal_before_the_hiring_date_moves_the_start_not_the_tenure(
    make_history: Callable[..., Any],
) -> None:
    reps = [{"rep_id": "a", "hired_on": "2024-06-03"}]
    found = people_of(make_history, every("a", 20, date(2024, 5, 6), LAST), reps)["a"]
    assert found["start"] == date(2024, 5, 6)
    assert found["hired"] == date(2024, 6, 3)


def test_without_hiring_date_the_first_deal_tells(make_history: Callable[..., Any]) -> None:
    rows = every("early", 30, date(2024, 2, 1), LAST) + every("late", 30, date(2024, 9, 2), LAST)
    found = people_of(make_history, rows, [])
    assert found["early"]["hired"] == FIRST - timedelta(days=TENURED)
    # one mean gap before the first deal: to start with it would make that event certain
    assert found["late"]["hired"] == found["late"]["start"] == date(2024, 9, 2) - timedelta(days=30)
    assert found["early"]["team"] == "(none)"


def test_long_silence_is_leaving_and_is_said(make_history: Callable[..., Any]) -> None:
    """A deal a week until September 2025, while colleagues went on: 17 creations were due since."""
    rows = every("quiet", 7, FIRST, date(2025, 9, 1)) + every("slow", 60, FIRST, date(2025, 9, 1))
    lull = people_of(make_history, rows, [])
    assert not lull["quiet"]["silent"]  # everybody fell silent: that is the data's end, not a leaving
    rows += every("busy", 6, FIRST, LAST)
    found = people_of(make_history, rows, [])
    assert found["quiet"]["silent"]
    assert found["quiet"]["stop"] == date(2025, 9, 1)
    assert not found["slow"]["silent"], "two deals in four months of silence are nothing unusual"
    assert found["slow"]["stop"] is None
    told = people_of(make_history, rows, [{"rep_id": "quiet", "left_on": "2025-12-01"}])
    assert not told["quiet"]["silent"], "a leaving date that is known is not guessed"
    assert told["quiet"]["stop"] == date(2025, 11, 30)


def test_reps_without_deals(make_history: Callable[..., Any]) -> None:
    reps = [
        {"rep_id": "hired", "hired_on": "2025-11-03"},
        {"rep_id": "nothing known"},
        {"rep_id": "before", "hired_on": "2020-01-01", "left_on": "2021-01-01"},
    ]
    found = people_of(make_history, every("seller", 9, FIRST, LAST), reps)
    assert (found["hired"]["start"], found["hired"]["stop"]) == (date(2025, 11, 3), None)
    for rep in ("nothing known", "before"):
        assert found[rep]["stop"] < found[rep]["start"], rep


def test_deals_without_a_rep_belong_to_one_called_none(make_history: Callable[..., Any]) -> None:
    found = people_of(make_history, deals(None, "2024-05-01", "2025-10-01"), [])
    assert list(found) == ["(none)"]


def test_a_leavers_creations_stay_the_leavers(make_history: Callable[..., Any]) -> None:
    """Deals that were handed over count for the rep who owned them first."""
    rows = every("heir", 30, FIRST, LAST)
    stages = [
        {
            "opportunity_id": row["opportunity_id"],
            "stage": "a",
            "entered_on": row["created_on"],
            "rep_id": "leaver",
        }
        for row in rows[:5]
    ]
    history = make_history({"opportunities": rows, "stages": stages}, LAST)
    found = employment(history, int(day_number(FIRST)), int(day_number(LAST)))
    assert found.reps == ("heir", "leaver")
    # one mean gap (30 days) before the heir's own first deal, not at the leaver's
    assert as_date(int(found.start[0])) == date.fromisoformat(rows[5]["created_on"]) - timedelta(days=30)
    assert as_date(int(found.start[1])) == FIRST


def test_the_team_is_the_one_held_at_the_end(make_history: Callable[..., Any]) -> None:
    reps = [
        {"rep_id": "a", "team": "north", "hired_on": "2020-01-01", "from": "2020-01-01"},
        {"rep_id": "a", "team": "south", "hired_on": "2020-01-01", "from": "2025-10-01"},
    ]
    assert people_of(make_history, every("a", 30, FIRST, LAST), reps)["a"]["team"] == "south"


@pytest.mark.parametrize("rep", ["two on one day", "one deal", "hired long ago"])
def test_a_new_rep_with_few_deals_has_not_gone_silent(make_history: Callable[..., Any], rep: str) -> None:
    """One or two deals say little of a rate: the rep is still taken to be at work."""
    made = {
        "two on one day": ["2025-11-20", "2025-11-20"],
        "one deal": ["2025-11-20"],
        "hired long ago": ["2024-01-03"],  # one deal in two years: rare, not gone after eight more days
    }[rep]
    reps = [{"rep_id": rep, "hired_on": "2020-01-01"}] if rep == "hired long ago" else []
    rows = every("seller", 9, FIRST, LAST)
    rows += [{**row, "opportunity_id": f"new{k}"} for k, row in enumerate(deals(rep, *made))]
    assert not people_of(make_history, rows, reps)[rep]["silent"]


def test_tenure_bands() -> None:
    days = np.array([-5, 0, 29, 30, 90, 91, 181, 182, 273, 274, 364, 365, TENURED])
    assert tenure_band(days).tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert len(TENURE_EDGES) == len(TENURE_SHARES)
    # Half of a ramped rep's pace is passed between the second and third band: three to six months.
    assert TENURE_SHARES[1] < 0.5 < TENURE_SHARES[2]
