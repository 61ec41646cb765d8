"""Coming stages of the open pipeline: closed forms of small chains, and the simulator."""

from __future__ import annotations

import numpy as np
import pytest

from quotacast.engine.book import Book
from quotacast.engine.openbook import Fading
from quotacast.engine.openbook_stages import Flow, new_by_stage, old_by_stage

WIN, LOSS, MOVE = 0.004, 0.011, 0.03
AHEAD = (0, 1, 25, 60)


def flow(ages: int = 3, inside: int = 2) -> Flow:
    """Two stages with constant hazards; from the second there is no way back."""
    shape = (ages, inside, 2)
    move = np.zeros(shape)
    move[:, :, 0] = MOVE
    return Flow(
        ("first", "second"),
        np.ones(shape),
        np.ones(shape),
        move,
        np.zeros(ages, dtype=np.int64),
        np.array([[0.0, 1.0], [0.0, 0.0]]),
        np.array([1.0, 0.0]),
    )


def fade() -> Fading:
    shape = (2, 1, 1)
    hazards = (np.full((*shape, 1), h) for h in (WIN, LOSS))
    return Fading(*hazards, np.array([0]), np.ones(shape), np.full(shape, 9.0), 200)


def book(stage: list[int]) -> Book:
    n = len(stage)
    codes, start = np.zeros(n, dtype=np.int32), 990 - 7 * np.arange(n)
    return Book(
        tuple("abcdef"[:n]), codes, codes, codes, start, np.full(n, 5.0),
        np.array(stage, dtype=np.int32), start + 3,
    )  # fmt: skip


def test_open_deals_move_and_close() -> None:
    """First: n e^-(h + m) t. Both together: n e^-h t, but for closings on the day of a move."""
    got = old_by_stage(flow(), book([0, 0, 0, 1, -1]), fade(), 1000, AHEAD)
    t = np.asarray(AHEAD, dtype=float)
    h = WIN + LOSS
    assert got[:, 0] == pytest.approx(3 * np.exp(-(h + MOVE) * t))
    assert got[:, 2] == pytest.approx(np.exp(-h * t))
    together = 4 * np.exp(-h * t)
    assert got[:, :2].sum(axis=1) == pytest.approx(together, rel=0.01)


def test_new_deals_begin_in_the_first_stage() -> None:
    pace = np.array([np.full(90, 0.4), np.full(90, 1.1)])
    got = new_by_stage(flow(), fade(), pace, AHEAD)
    k, r = WIN + LOSS + MOVE, 1.5
    for row, days in zip(got, AHEAD, strict=True):
        ages = np.arange(days)  # created so many evenings before, at midday
        assert row[0] == pytest.approx(r * np.exp(-k * (ages + 0.5)).sum())
        assert row.sum() == pytest.approx(r * np.exp(-(WIN + LOSS) * (ages + 0.5)).sum(), rel=0.02)


def test_hazards_change_with_the_days_in_a_stage() -> None:
    """Nobody moves before the 30th day in a stage, all do soon afterwards."""
    one = flow(61, 31)
    one.move[:, :30, 0], one.move[:, 30, 0] = 0.0, 3.0
    got = old_by_stage(one, book([0]), fade(), 1000, (20, 40))  # entered on day 993: 30 days are over on 1023
    assert got[0, 1] == 0.0
    assert got[1, 0] < 1e-6
    assert got[1, 1] == pytest.approx(np.exp(-(WIN + LOSS) * 40), rel=0.02)
