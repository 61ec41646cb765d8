"""Where in its life a deal ends, found by counting, against days walked one by one; and what is left out."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quotacast.engine import kernel_batch as batch
from quotacast.engine import kernel_spells as spells
from quotacast.engine.drivers import Change, Drivers, Leave
from quotacast.engine.simulate import simulate
from quotacast.engine.streams import unit

sys.path.insert(0, str(Path(__file__).parent))
from chain_company import HORIZON, funnel, history, months

sys.path.remove(str(Path(__file__).parent))

EDGES = np.array([0, 9, 17, 30, 41, 60])
PIECES, BANDS = EDGES.size - 1, 4
AGES = np.array([0.0, 2.0, 7.0, 20.0])
QUARTER = np.array([0, 0, 1, 1, 1])
#: How much longer cycles last by rep and piece: two reps as usual, one slower after a while.
CYCLES = np.array([[1.0] * PIECES, [1.0, 1.0, 3.0, 3.0, 1.0], [1.0] * PIECES])
STARTS = np.array([-33, -33, -4, -1])  # of open deals, two of them on the same day


def weights() -> np.ndarray:
    """Weighted days: weekends count little."""
    return np.where(np.arange(EDGES[-1]) % 7 < 5, 1.3, 0.25)


def arrays() -> dict[str, Any]:
    """What a kernel knows of time and people."""
    days = np.arange(EDGES[-1])
    return {
        "cumulative": np.concatenate([[0.0], np.cumsum(weights())]),
        "weights": weights(),
        "edges": EDGES,
        "piece_of_day": np.searchsorted(EDGES, days, side="right") - 1,
        "quarter": QUARTER,
        "age_edges": AGES,
        "cycle_times": CYCLES,
        "deal_rep": np.array([2, 0, 1, 0]),
        "deal_start": STARTS,
        "rep_key": np.arange(3, dtype=np.uint64),
        "bin_label": np.arange(2),
    }


def walked(
    start: int, rep: int, own: tuple[float, float], cells: np.ndarray, of_rep: np.ndarray, left: float
) -> int:
    """Day of the end by adding up day after day; -1 beyond the horizon.

    ``cells`` (2, bands, pieces) are hazards per weighted day, ``of_rep`` (2, reps, quarters) factors.
    """
    given, age = arrays(), float(max(-start, 0))
    for day in range(max(start, 0), EDGES[-1]):
        piece = given["piece_of_day"][day]
        band = int((age + 1e-9 >= AGES).sum()) - 1
        hazard = sum(
            own[c] * cells[c, band, piece] * of_rep[c, rep, QUARTER[piece]] / CYCLES[rep, piece]
            for c in range(2)
        )
        exposure = given["weights"][day] * (0.5 if day == start else 1.0)  # created in the middle of the day
        if left <= hazard * exposure:
            return day
        left -= hazard * exposure
        age += 1.0 / CYCLES[rep, piece]
    return -1


def test_ends_are_those_of_days_walked_one_by_one() -> None:
    rng = np.random.default_rng(5)
    given, n, draw = spells.shared(arrays()), 4000, np.uint64(40)
    known, cumulative = given["spells"], arrays()["cumulative"]
    of_rep = rng.lognormal(0.0, 0.4, (2, 3, 2))
    hazards = batch.room_for_hazards(BANDS * PIECES, 3, known.stretch_piece.size, 1)
    # hazards fall with age, so that a slow life's sums soon exceed all that a fast one's come to
    cells = rng.lognormal(-3.6, 0.7, (2, BANDS, PIECES)) * np.array([6.0, 4.0, 0.5, 0.05])[:, None]
    hazards.cell_win[:], hazards.cell_loss[:] = cells.reshape(2, -1)
    stretch = of_rep[:, :, QUARTER[known.stretch_piece]] / CYCLES[:, known.stretch_piece]
    hazards.stretch_win[:], hazards.stretch_loss[:] = stretch
    assert given["new_row"] == 3  # the two that began on one day share a row
    lives, sums, ended = batch.room_for(n), spells.no_sums(known, 3 + EDGES[-1]), 0
    for turn, rep in enumerate((0, 1, 2, 1)):  # rows of one pace are overwritten by another's, and back
        opened = rng.random(n) < 0.3
        of = rng.choice(np.flatnonzero(arrays()["deal_rep"] == rep), n)
        start = np.where(opened, STARTS[of], rng.integers(0, EDGES[-1], n))
        own = rng.lognormal(0.0, 0.5, (2, n))
        lives.row[:n] = np.where(opened, given["deal_row"][of], given["new_row"] + start)
        lives.rep[:n], lives.own_win[:n], lives.own_loss[:n] = rep, *own
        lives.stream[:n] = rng.integers(0, 2**63, n, dtype=np.uint64)
        found = spells.ends_of(lives, n, draw, turn, given["pace"][rep], known, hazards, sums)
        spells.days_of(lives, found, known, given["guide"], cumulative)
        left = [-np.log(unit(stream, draw + batch.WAIT)) for stream in lives.stream[:n]]
        wanted = [walked(start[k], rep, (own[0, k], own[1, k]), cells, of_rep, left[k]) for k in range(n)]
        k, day = lives.which[:found], lives.day[:found]
        got = np.full(n, -1)
        got[k] = day
        np.testing.assert_array_equal(got, wanted)
        piece = arrays()["piece_of_day"][day]
        band = known.cell[lives.place[:found]] // PIECES
        place = np.searchsorted(known.stretch_piece, piece, side="right") - 1
        hazard = own[:, k] * cells[:, band, piece] * stretch[:, rep, place]
        np.testing.assert_allclose(lives.win[:found], hazard[0], rtol=1e-12)
        np.testing.assert_allclose(lives.both[:found], hazard.sum(axis=0), rtol=1e-12)
        ended += found
    assert 0.3 * 4 * n < ended < 0.95 * 4 * n


def test_lives_that_are_left_out_are_lost_whatever_happens() -> None:
    rng = np.random.default_rng(2)
    n = 3000
    lives = batch.room_for(n)
    lives.stream[:n] = rng.integers(0, 2**63, n, dtype=np.uint64)
    lives.rep[:n], lives.segment[:n] = rng.integers(0, 3, n), rng.integers(0, 2, n)
    lives.start[:n], lives.owner[:n], lives.row[:n] = np.arange(n), np.arange(n) + 7, np.arange(n) + 9
    rep, segment, stream = lives.rep[:n].copy(), lives.segment[:n].copy(), lives.stream[:n].copy()
    odds = rng.lognormal(-1.0, 0.6, (3, 2))
    draw, times = np.uint64(48), 1.2
    kept = batch.without_sure_losses(lives, n, draw, odds, times)
    u = np.array([unit(own, draw + batch.CAUSE) for own in stream])
    largest = odds[rep, segment]
    could = u < np.minimum(times * largest / (1.0 + largest), 1.0)
    np.testing.assert_array_equal(lives.start[:kept], np.flatnonzero(could))
    np.testing.assert_array_equal(lives.owner[:kept], np.flatnonzero(could) + 7)
    np.testing.assert_array_equal(lives.row[:kept], np.flatnonzero(could) + 9)
    np.testing.assert_array_equal(lives.stream[:kept], stream[could])
    assert 0.1 * n < kept < 0.6 * n


@pytest.mark.parametrize(
    "drivers",
    [
        Drivers(),
        Drivers(changes=(Change("close_rate", "company", 1.7), Change("deal_value", "team:a", 1.2))),
        Drivers(changes=(Change("cycle_days", "team:a", 1.4), Change("close_rate", "team:b", 0.6))),
    ],
    ids=["plain", "win odds", "cycles by team"],
)  # fmt: skip
def test_what_is_asked_for_changes_no_number(drivers: Drivers) -> None:
    leaver = sorted(history().reps["rep_id"])[1]
    for some in (drivers, Drivers(changes=drivers.changes, leaves=(Leave(leaver, date(2025, 12, 10)),))):
        given = (funnel(draws=3), history(), some, months(), HORIZON)
        whole = simulate(*given, draws=300, seed=6)
        # each alone: what counts losses must keep them, whoever adds it
        for wanted in (*((name,) for name in whole.columns), ("won", "won_days"), ("created", "won_cents")):
            part = simulate(*given, draws=300, seed=6, measures=wanted)
            for name in wanted:
                np.testing.assert_array_equal(part.array(name), whole.array(name), err_msg=name)
                assert part.array(name).sum() > 0
