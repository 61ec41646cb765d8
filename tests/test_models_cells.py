"""Cells against a loop over days: exposure and events by age band, calendar piece and axis."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotacast.models.cells import (
    AGE_EDGES,
    Episodes,
    HazardCells,
    age_bands,
    coarsen,
    exposure_corrections,
    hazard_cells,
)
from quotacast.models.conversion import hazard_data
from quotacast.models.periods import Calendar
from quotacast.models.timegrid import TimeGrid, weekday_weights

FIRST = 19_723  # Monday, 2024-01-01
LAST = FIRST + 500
WEIGHTS = (1.3, 1.5, 1.1, 1.4, 1.2, 0.3, 0.2)
EDGES = (0, 1, 3, 8, 15, 31, 61, 181)


def grid(first: int = FIRST, last: int = LAST, weights: tuple[float, ...] = WEIGHTS) -> TimeGrid:
    return TimeGrid(Calendar(), first, last, weights)


def random_episodes(seed: int, n: int = 300) -> Episodes:
    """Left-truncated, same-day, open and ordinary rows."""
    rng = np.random.default_rng(seed)
    start = rng.integers(FIRST - 90, LAST + 1, n)
    length = np.where(rng.random(n) < 0.2, 0, rng.geometric(0.02, n))
    stop = np.minimum(start + length, LAST)
    outcome = np.where(start + length > LAST, 0, rng.integers(1, 3, n)).astype(np.int8)
    outcome[(stop == LAST) & (rng.random(n) < 0.5)] = 0
    codes = {"rep": rng.integers(0, 4, n).astype(np.int32), "amount": rng.integers(0, 3, n).astype(np.int32)}
    return Episodes(start, start.copy(), stop, outcome, codes).observed_from(FIRST)


def by_days(
    episodes: Episodes, on: TimeGrid, edges: tuple[int, ...]
) -> dict[tuple[int, ...], tuple[float, int, int]]:
    """What hazard_cells should say, one episode and one day at a time."""
    calendar = [(int(m), int(q), int(p)) for m, q, p in zip(on.month, on.quarter, on.position, strict=True)]
    assert len(set(calendar)) == len(calendar)
    totals: dict[tuple[int, ...], list[float]] = defaultdict(lambda: [0.0, 0, 0])
    for i in range(len(episodes)):
        start, entry, stop = int(episodes.start[i]), int(episodes.entry[i]), int(episodes.stop[i])
        ended = int(episodes.outcome[i])
        for day in range(entry, stop + 1):
            part = 1.0
            if day == start and ended and day == stop:
                part = 0.25  # a quarter of a day between two moments of the same day
            elif day == start or (ended and day == stop):
                part = 0.5
            date = np.array([day]).astype("datetime64[D]")
            piece = calendar.index(
                (
                    int(date.astype("datetime64[M]").astype(int)[0]),
                    int(on.calendar.quarter_index(date)[0]),
                    int(on.calendar.position(date)[0]),
                )
            )
            band = max(k for k, edge in enumerate(edges) if edge <= day - start)
            key = (band, piece, int(episodes.codes["rep"][i]), int(episodes.codes["amount"][i]))
            # 1970-01-01 was a Thursday, the fourth day of the week.
            totals[key][0] += part * on.weights[(day + 3) % 7]
            if day == stop and ended:
                totals[key][ended] += 1
    return {key: (e, int(w), int(x)) for key, (e, w, x) in totals.items()}


def as_dict(cells: HazardCells) -> dict[tuple[int, ...], tuple[float, int, int]]:
    keys = zip(*(cells.codes[name].tolist() for name in ("age", "piece", "rep", "amount")), strict=True)
    return {
        key: (float(cells.exposure[i]), int(cells.events[0, i]), int(cells.events[1, i]))
        for i, key in enumerate(keys)
    }


@pytest.mark.parametrize("seed", [1, 2])
def test_cells_equal_a_loop_over_days(seed: int) -> None:
    episodes = random_episodes(seed)
    for kind in (episodes.outcome == 0, episodes.stop == episodes.start, episodes.entry > episodes.start):
        assert kind.sum() > 5, "the example must hold open, same-day and truncated rows"
    want = by_days(episodes, grid(), EDGES)
    got = as_dict(hazard_cells(episodes, grid(), EDGES))
    assert got.keys() == want.keys()
    for key, (exposure, wins, losses) in want.items():
        assert got[key][1:] == (wins, losses), key
        assert got[key][0] == pytest.approx(exposure, abs=1e-9), key


def test_every_occupied_cell_can_be_fitted() -> None:
    cells = hazard_cells(random_episodes(3), grid(), EDGES)
    assert cells.exposure.min() > 0  # a Poisson count needs it


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 60), edges=st.sets(st.integers(1, 400), max_size=6))
def test_coarser_bands_conserve_exposure_and_events(seed: int, rows: int, edges: set[int]) -> None:
    episodes = random_episodes(seed, rows)
    if not len(episodes):
        return
    fine = hazard_cells(episodes, grid(), tuple(range(0, 400, 3)))
    coarse = hazard_cells(episodes, grid(), (0, *sorted(edges)))
    assert coarse.exposure.sum() == pytest.approx(fine.exposure.sum(), rel=1e-12)
    counted = [(episodes.outcome == cause).sum() for cause in (1, 2)]
    assert coarse.events.sum(axis=1).tolist() == fine.events.sum(axis=1).tolist() == counted


def test_fewer_axes_conserve_exposure_and_events_by_rep() -> None:
    episodes = random_episodes(4)
    slim = replace(episodes, codes={"rep": episodes.codes["rep"]})
    fine, coarse = (hazard_cells(e, grid(), EDGES) for e in (episodes, slim))
    assert len(coarse) < len(fine)
    for values in ("exposure", "events"):
        sums = [
            [np.atleast_2d(getattr(c, values))[:, c.codes["rep"] == rep].sum(axis=1) for rep in range(4)]
            for c in (fine, coarse)
        ]
        np.testing.assert_allclose(sums[0], sums[1], rtol=1e-12)


@pytest.mark.parametrize("weeks", [-30, 1, 52])
def test_whole_weeks_of_shift_change_no_exposure(weeks: int) -> None:
    episodes, days = random_episodes(5), 7 * weeks
    moved = Episodes(
        episodes.start + days, episodes.entry + days, episodes.stop + days, episodes.outcome, episodes.codes
    )
    # Pieces follow the calendar and move; by age band and rep all stays.
    here = hazard_cells(episodes, grid(), EDGES)
    there = hazard_cells(moved, grid(FIRST + days, LAST + days), EDGES)
    for values in ("exposure", "events"):
        sums = []
        for cells in (here, there):
            at = cells.codes["age"].astype(int) * 4 + cells.codes["rep"]
            sums.append([np.bincount(at, row, 32) for row in np.atleast_2d(getattr(cells, values))])
        np.testing.assert_allclose(sums[0], sums[1], rtol=1e-10, atol=1e-9)


def test_three_days_of_shift_do_change_it() -> None:
    episodes = random_episodes(5)
    moved = Episodes(
        episodes.start + 3, episodes.entry + 3, episodes.stop + 3, episodes.outcome, episodes.codes
    )
    here = hazard_cells(episodes, grid(), EDGES).exposure.sum()
    there = hazard_cells(moved, grid(FIRST + 3, LAST + 3), EDGES).exposure.sum()
    assert abs(here - there) > 1.0


def test_left_truncation_drops_what_ended_before_and_keeps_ages() -> None:
    start = np.array([FIRST - 50, FIRST - 50, FIRST - 9, FIRST + 4])
    stop = np.array([FIRST - 1, FIRST, FIRST + 30, FIRST + 6])
    episodes = Episodes(start, start, stop, np.array([1, 1, 2, 0], dtype=np.int8)).observed_from(FIRST)
    assert episodes.start.tolist() == [FIRST - 50, FIRST - 9, FIRST + 4]
    assert episodes.entry.tolist() == [FIRST, FIRST, FIRST + 4]
    first, last = exposure_corrections(episodes, grid())
    # A day on which observation merely begins counts in full: nothing was created during it.
    assert first.tolist() == [0.0, 0.0, 0.5 * WEIGHTS[4]]
    assert last.tolist() == [0.5 * WEIGHTS[0], 0.5 * WEIGHTS[2], 0.0]


def test_age_bands_keep_the_first_and_the_open_last_band() -> None:
    for seed in range(6):
        episodes = random_episodes(seed, 30 * 3**seed // 3)
        edges = age_bands(episodes, grid())
        assert edges[0] == 0
        assert set(edges) <= set(AGE_EDGES)
        assert list(edges) == sorted(set(edges))
        cells = hazard_cells(episodes, grid(), edges)
        assert cells.codes["age"].max() <= len(edges) - 1
        assert cells.exposure.sum() == pytest.approx(hazard_cells(episodes, grid(), (0,)).exposure.sum())


def test_age_bands_get_finer_with_the_data_and_hold_enough_closings() -> None:
    few, many = (age_bands(random_episodes(7, n), grid()) for n in (12, 3000))
    assert len(few) <= 2 < len(many)
    cells = hazard_cells(replace(random_episodes(7, 3000), codes={}), grid(), many)
    by_band = np.bincount(cells.codes["age"], cells.events.sum(axis=0))
    assert by_band[:-1].min() >= 7.5


def test_old_deals_on_which_nothing_happens_become_a_band_of_their_own() -> None:
    """400 deals close within 60 days; 200 were forgotten and are still open after 300 to 500."""
    rng = np.random.default_rng(8)
    start = np.concatenate([rng.integers(FIRST, LAST - 100, 400), rng.integers(FIRST, FIRST + 200, 200)])
    stop = np.concatenate([start[:400] + rng.integers(1, 60, 400), np.full(200, LAST)])
    outcome = np.where(np.arange(600) < 400, 1, 0).astype(np.int8)
    edges = age_bands(Episodes(start, start, stop, outcome), grid())
    assert edges[-1] in (61, 91)


def test_the_ladder_stops_at_the_first_rung_that_is_small_enough() -> None:
    sizes = (900, 400, 90, 12)

    def build(rung: int) -> HazardCells:
        n = sizes[rung]
        return HazardCells(np.ones(n), np.zeros((2, n)), {})

    assert [coarsen(build, 4, limit)[1] for limit in (1000, 900, 399, 50, 3)] == [0, 0, 2, 3, 3]


def test_coarsened_hazard_data_conserve_exposure_and_events(monkeypatch: pytest.MonkeyPatch) -> None:
    episodes, sizes = random_episodes(9, 1500), {"rep": 4, "amount": 3}
    fine = hazard_data(episodes, grid(), ("won", "lost"), sizes)
    monkeypatch.setattr("quotacast.models.conversion.CELL_LIMIT", len(fine.cells[0]) // 3)
    coarse = hazard_data(episodes, grid(), ("won", "lost"), sizes)
    assert len(coarse.cells[0]) < len(fine.cells[0]) // 2
    for a, b in zip(fine.cells, coarse.cells, strict=True):
        assert b.exposure.sum() == pytest.approx(a.exposure.sum(), rel=1e-12)
        assert b.response.sum() == a.response.sum()
    assert set(coarse.age_edges) < set(fine.age_edges)
    for declaration, cells in zip(coarse.declarations, coarse.cells, strict=True):
        for term in declaration.terms:
            assert cells.term_codes(term).max() < term.size


def test_weekday_weights_average_one_and_stay_positive() -> None:
    monday = FIRST
    days = np.repeat(monday + np.arange(5), [10, 30, 20, 25, 15])
    weights = weekday_weights(days)
    assert weights.mean() == pytest.approx(1.0)
    assert (weights > 0).all()
    assert weights[1] / weights[0] == pytest.approx(30.5 / 10.5)


def test_weighted_days_are_sums_of_daily_weights() -> None:
    on = grid()
    start, stop = np.array([FIRST, FIRST + 5, FIRST + 9]), np.array([FIRST, FIRST + 6, FIRST + 30])
    want = [sum(WEIGHTS[(day + 3) % 7] for day in range(a, b)) for a, b in zip(start, stop, strict=True)]
    np.testing.assert_allclose(on.weighted(start, stop), want, rtol=1e-12)


def test_pieces_are_constant_in_month_quarter_and_position_and_begin_at_cuts() -> None:
    on = TimeGrid(Calendar(year_starts=2), FIRST, LAST, WEIGHTS, cuts=(FIRST + 17,))
    assert FIRST + 17 in on.edges
    days = on.days.astype("datetime64[D]")
    piece = on.piece(on.days)
    np.testing.assert_array_equal(on.quarter[piece], on.calendar.quarter_index(days))
    np.testing.assert_array_equal(on.position[piece], on.calendar.position(days))
    np.testing.assert_array_equal(on.month[piece], days.astype("datetime64[M]").astype(int))
