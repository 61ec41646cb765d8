"""Lines for a terminal: packed, never too wide, never cut inside a word."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotacast.engine.answer import Answer
from quotacast.engine.answers.quality import data_quality
from quotacast.engine.reports.units import wide
from quotacast.models.history.history import Finding, History
from quotacast.models.periods import Calendar
from quotacast.scenarios.lines import packed
from quotacast.scenarios.screen import main_period
from quotacast.scenarios.views import check_lines

WORDS = st.lists(st.text("abcdeö東 ", min_size=1, max_size=30).filter(str.strip), min_size=1, max_size=12)


def test_pieces_stand_side_by_side_until_there_is_no_room() -> None:
    found = list(packed(["north 48%", "west 39%", "south 12%"], label="Teams", gap="   ", width=32))
    assert found == ["Teams    north 48%   west 39%", "         south 12%"]


def test_a_piece_too_wide_for_a_line_is_wrapped_between_words() -> None:
    found = list(packed(["one two three four"], label="Note", indent=6, gap=" ", width=16))
    assert found == ["Note  one two", "      three four"]


@given(WORDS, st.integers(30, 90))
def test_no_line_is_too_wide_and_no_word_is_lost(pieces: list[str], width: int) -> None:
    found = list(packed(pieces, label="Reps", gap="  ", width=width))
    assert max(wide(line) for line in found) <= width
    words = "".join("".join(pieces).split())
    kept = "".join(
        "".join(line[9:] if i else line.removeprefix("Reps") for i, line in enumerate(found)).split()
    )
    if "…" not in kept:  # a single word wider than a line
        assert kept == words


@pytest.mark.parametrize(
    ("labels", "period"),
    [
        (["2027-Q1", "2027", "2027-01"], "2027"),
        (["2027-02", "2027-01", "2027-Q2", "2027-Q1"], "2027-Q1"),
        (["2027-06", "2027-07"], "2027-06"),
    ],
)
def test_a_plan_is_judged_by_the_longest_and_first_period(labels: list[str], period: str) -> None:
    assert main_period(labels, Calendar(), "2027") == period


@pytest.fixture
def checked(make_history: Callable[[Mapping[str, Any], date], History]) -> Answer:
    """Three findings, two of which say the same of the same rows; one hostile id."""
    rows = [
        {"opportunity_id": "o1", "created_on": "2026-01-05", "status": "won", "closed_on": "2026-02-03"},
        {"opportunity_id": "o2", "created_on": "2026-01-09", "status": "open", "closed_on": None},
    ]
    made = make_history({"opportunities": rows}, date(2026, 3, 4))
    say = "The export holds the last state, which was not known on that day."
    ids = ("o7", "o8\x1b[31m", "o9", "o10")
    findings = (
        Finding("status not knowable", "leads", 1234, ids, "changed", say),
        Finding("closed_on not knowable", "leads", 1234, ids, "changed", say),
        Finding("duplicate ids", "opportunities", 3, ("o1",), "rejected", "The first row is kept."),
    )
    history = History(made.tables, made.as_of_date, made.currency, findings, made.rejected)
    return data_quality(history, {})


@pytest.mark.parametrize("width", [60, 80, 120])
def test_check_is_a_summary_then_findings_then_what_can_be_answered(checked: Answer, width: int) -> None:
    lines = list(check_lines(checked, width))
    assert max(len(line) for line in lines) <= width
    assert lines[0].startswith("2 opportunities from 2026-01-05")
    text = "\n".join(lines)
    places = [
        text.index(part)
        for part in (
            "      3  duplicate ids (opportunities), rejected",
            "  1,234  status not knowable, closed_on not knowable",
            "The data tell" if "The data tell" in text else "They do not tell",
            "Without these tables cannot be answered",
        )
    ]
    assert places == sorted(places)


def test_check_merges_what_says_the_same_and_shows_three_harmless_examples(checked: Answer) -> None:
    text = "\n".join(check_lines(checked))
    assert text.count("The export holds") == 1
    assert "\x1b" not in text
    assert "o9, …" in text
    assert "o10" not in text
    assert len(checked.rows) == 3  # json and csv stay complete
