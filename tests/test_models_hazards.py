"""Hazards of winning and losing against lifelines, closed forms and continuous time.

What a row contributes: one that ended adds its exposure and an event of its cause; one still open adds
its exposure until the evening of the as-of date and no event; one that was there before the data begin
adds nothing before that day.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
import pytest

from quotacast.models.cells import Episodes, hazard_cells
from quotacast.models.conversion import LINKS, age_widths, episodes, hazard_data, hazard_declaration
from quotacast.models.periods import Calendar
from quotacast.models.timegrid import TimeGrid, day_number

FIRST = 20_000
SPAN = 1_500
EDGES = (0, 8, 31, 91)
#: Hazards per day by band of age: (won, lost).
HAZARDS = np.array([[0.004, 0.012, 0.006, 0.002], [0.015, 0.006, 0.005, 0.004]])


def plain_grid(weights: tuple[float, ...] = (1.0,) * 7) -> TimeGrid:
    return TimeGrid(Calendar(), FIRST, FIRST + SPAN, weights)


class Companies:
    """Deals in continuous time: age bands begin in the middle of the day, as whole days count them.

    ``born``, ``begun`` and ``ended`` are moments in days; ``cause`` is 0 where censored.
    """

    def __init__(self, seed: int, n: int, edges: tuple[int, ...] = EDGES, hazards: Any = HAZARDS) -> None:
        rng = np.random.default_rng(seed)
        self.born = FIRST - 120 + rng.random(n) * (SPAN + 120)
        age = self._ages(rng.standard_exponential(n), edges, np.asarray(hazards))
        band = np.searchsorted(np.asarray(edges)[1:], age, side="right")
        won = rng.random(n) < (hazards[0] / hazards.sum(axis=0))[band]
        self.cause = np.where(won, 1, 2)
        self.ended = self.born + age
        dropped = self.born + rng.exponential(200.0, n)  # some leave observation early, for no reason
        end = np.minimum(dropped, FIRST + SPAN + 1.0)
        self.cause = np.where(self.ended < end, self.cause, 0)
        self.ended = np.minimum(self.ended, end)
        self.begun = np.maximum(self.born, FIRST)
        seen = self.ended > self.begun
        for name in ("born", "begun", "ended", "cause"):
            setattr(self, name, getattr(self, name)[seen])

    @staticmethod
    def _ages(target: Any, edges: tuple[int, ...], hazards: Any) -> Any:
        """Invert the cumulative hazard."""
        total = hazards.sum(axis=0)
        knots = np.concatenate([[0.0], np.cumsum(total[:-1] * np.diff(edges))])
        band = np.searchsorted(knots, target, side="right") - 1
        return np.asarray(edges)[band] + (target - knots[band]) / total[band]

    def as_days(self) -> Episodes:
        """What a CRM keeps of it: the days. (A dropped row is open until the evening before.)"""
        start, stop = np.floor(self.born).astype(np.int64), np.floor(self.ended).astype(np.int64)
        stop = np.where(self.cause == 0, stop - 1, stop)
        entry = np.maximum(start, FIRST)
        keep = stop >= entry
        found = Episodes(start, entry, stop, self.cause.astype(np.int8))
        return found.where(keep)


def rates(found: Episodes, edges: tuple[int, ...]) -> tuple[Any, Any, Any]:
    cells = hazard_cells(found, plain_grid(), edges)
    exposure = np.bincount(cells.codes["age"], cells.exposure, len(edges))
    events = np.stack([np.bincount(cells.codes["age"], row, len(edges)) for row in cells.events])
    return events / exposure, events, exposure


@pytest.mark.parametrize("cause", [1, 2])
def test_events_over_exposure_is_lifelines_piecewise_exponential(cause: int) -> None:
    """With weights of 1 day a of age is the time from a - 1/2 to a + 1/2; a same-day closing lasts 1/4."""
    from lifelines import PiecewiseExponentialFitter

    found = Companies(1, 900).as_days()
    assert (found.entry > found.start).sum() > 20
    assert (found.outcome == 0).sum() > 100
    days = (found.stop - found.start).astype(float)
    ended = np.where(days == 0, 0.25, days)
    length = np.where(found.outcome > 0, ended, days + 0.5)
    entry = np.where(found.entry > found.start, found.entry - found.start - 0.5, 0.0)
    fitter = PiecewiseExponentialFitter([e - 0.5 for e in EDGES[1:]])
    fitter.fit(length, found.outcome == cause, entry=entry)
    hazard, _, _ = rates(found, EDGES)
    np.testing.assert_allclose(hazard[cause - 1], 1.0 / fitter.params_.to_numpy(), rtol=2e-3)


def incidence(hazard: Any, edges: tuple[int, ...], ages: Any) -> Any:
    """Closed form of both cumulative incidences under piecewise constant hazards, shape (2, ages)."""
    out = np.zeros((2, len(ages)))
    bounds = np.append(np.asarray(edges, dtype=float), np.inf)
    for i, age in enumerate(ages):
        alive = 1.0
        for k in range(len(edges)):
            width = max(0.0, min(age, bounds[k + 1]) - bounds[k])
            total = hazard[:, k].sum()
            out[:, i] += alive * hazard[:, k] / total * -np.expm1(-total * width)
            alive *= np.exp(-total * width)
    return out


def test_incidence_agrees_with_aalen_johansen_under_censoring_and_truncation() -> None:
    from lifelines import AalenJohansenFitter

    world = Companies(2, 6_000)
    hazard, _, _ = rates(world.as_days(), EDGES)
    ages = [10.0, 30.0, 60.0, 120.0, 250.0]
    ours = incidence(hazard, EDGES, ages)
    for cause in (1, 2):
        fitter = AalenJohansenFitter(calculate_variance=False)
        fitter.fit(world.ended - world.born, world.cause, cause, entry=world.begun - world.born)
        curve = fitter.cumulative_density_.iloc[:, 0]
        theirs = [float(curve[curve.index <= age].iloc[-1]) for age in ages]
        # sd of a share from about 5,000 deals: under .007; the two share the data, so they differ by less.
        np.testing.assert_allclose(ours[cause - 1], theirs, atol=0.012)
        np.testing.assert_allclose(ours[cause - 1], incidence(HAZARDS, EDGES, ages)[cause - 1], atol=0.022)


def test_survivors_read_as_if_always_watched_look_immortal() -> None:
    """Why entry counts: without it the ages before the data begin are exposure without any event."""
    found = Companies(3, 6_000).as_days()
    naive = Episodes(found.start, found.start, found.stop, found.outcome)
    wide = TimeGrid(Calendar(), FIRST - 130, FIRST + SPAN, (1.0,) * 7)
    cells = hazard_cells(naive, wide, EDGES)
    exposure = np.bincount(cells.codes["age"], cells.exposure)
    right = rates(found, EDGES)[2]
    assert (exposure[:3] > right[:3] * 1.01).all()
    assert exposure[3] == pytest.approx(right[3], rel=0.01)  # nobody was older than 120 days at the start


@pytest.mark.parametrize("hazard", [0.03, 0.08, 0.3])
def test_half_days_recover_a_hazard_of_continuous_time(hazard: float) -> None:
    world = Companies(4, 40_000, (0,), np.array([[hazard * 0.3], [hazard * 0.7]]))
    found = world.as_days()
    _, events, exposure = rates(found, (0,))
    n, days = float(events.sum()), float(exposure.sum())
    error = hazard / np.sqrt(n)
    assert abs(n / days - hazard) < 3.0 * error
    full = (found.stop - found.entry + 1).sum()  # the days of creation and closing counted in full
    last = full - 0.5 * (found.entry == found.start).sum()  # only the day of closing counted in full
    assert n / last < hazard - 3.0 * error
    assert n / full < n / last


def test_an_open_deal_adds_exposure_until_the_evening_and_no_event(make_history: Callable[..., Any]) -> None:
    day = date(2024, 3, 20)
    rows = [
        {"opportunity_id": "1", "created_on": "2024-03-01", "status": "won", "closed_on": "2024-03-15"},
        {"opportunity_id": "2", "created_on": "2024-03-04", "status": "lost", "closed_on": "2024-03-05"},
        {"opportunity_id": "3", "created_on": "2024-03-11", "status": "open"},
        {"opportunity_id": "4", "created_on": "2024-03-20", "status": "open"},
    ]
    history = make_history({"opportunities": rows}, day)
    found = episodes(history, LINKS["opportunity"], {}, None)
    assert found.outcome.tolist() == [1, 2, 0, 0]
    assert (found.stop - found.start).tolist() == [14, 1, 9, 0]
    last = int(day_number(day))
    cells = hazard_cells(found, TimeGrid(Calendar(), last - 30, last, (1.0,) * 7), (0,))
    assert float(cells.exposure.sum()) == 14 + 1 + 9.5 + 0.5
    assert cells.events.sum(axis=1).tolist() == [1, 1]


def test_entry_day_truncates_a_history(make_history: Callable[..., Any]) -> None:
    rows = [
        {"opportunity_id": "1", "created_on": "2024-01-01", "status": "won", "closed_on": "2024-02-09"},
        {"opportunity_id": "2", "created_on": "2024-01-01", "status": "lost", "closed_on": "2024-02-20"},
    ]
    history = make_history({"opportunities": rows}, date(2024, 3, 1))
    entry = int(day_number(date(2024, 2, 10)))
    found = episodes(history, LINKS["opportunity"], {"rep": np.array([4, 7], dtype=np.int32)}, entry)
    assert found.codes["rep"].tolist() == [7]
    assert int(found.stop[0] - found.entry[0]) == 10


def test_codes_of_the_calendar_follow_the_grid() -> None:
    found = Companies(5, 800).as_days()
    grid = plain_grid((1.4, 1.3, 1.2, 1.2, 1.1, 0.5, 0.3))
    data = hazard_data(found, grid, ("won", "lost"), {})
    won, lost = data.cells
    assert won.exposure is lost.exposure
    assert won.response.sum() == (found.outcome == 1).sum()
    assert lost.response.sum() == (found.outcome == 2).sum()
    events = Episodes(found.stop, found.stop, found.stop, found.outcome)
    day = events.stop[events.outcome == 1].astype("datetime64[D]")
    month = day.astype("datetime64[M]").astype(int) - data.months[0]
    np.testing.assert_array_equal(
        np.bincount(won.codes["month"], won.response, data.months.size),
        np.bincount(month, minlength=data.months.size),
    )
    position = grid.calendar.position(day)
    np.testing.assert_array_equal(
        np.bincount(won.codes["position"], won.response, 4), np.bincount(position, minlength=4)
    )
    assert data.last_event_age == int((found.stop - found.start)[found.outcome > 0].max())


def test_a_hazard_declares_only_what_has_levels_to_tell_apart() -> None:
    one = hazard_declaration("won", (0,), {"month": 5, "quarter": 2, "rep": 1, "rep_quarter": 1})
    assert [t.name for t in one.terms] == ["level", "position", "age_position", "shock", "trend"]
    full = hazard_declaration(
        "won", EDGES, {"month": 5, "quarter": 2, "rep": 3, "rep_quarter": 6, "segment": 2, "amount": 4}
    )
    assert len(full.terms) == 10
    assert all(t.reason for t in full.terms)


def test_steps_between_age_bands_are_even_on_a_log_scale_with_mean_one() -> None:
    widths = age_widths((0, 8, 31, 91, 366))
    assert widths is not None
    assert np.mean(widths) == pytest.approx(1.0)
    # By hand for two steps: middles 4, 19.5, 31 * 1.3 + 1 = 41.3, on log(1 + age / 7).
    first, second = np.diff(np.log1p(np.array([4.0, 19.5, 41.3]) / 7.0))
    assert age_widths((0, 8, 31)) == pytest.approx(
        (2 * first / (first + second), 2 * second / (first + second))
    )
    assert age_widths((0,)) is None
