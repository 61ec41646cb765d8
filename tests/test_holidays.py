"""Public holidays: known dates, unknown countries, and what they do to day weights, fit and simulation."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest

from quotacast.errors import PlanError
from quotacast.models.holidays import PRIOR_EVENTS, PRIOR_SHARE, country_problem, day_rates, holiday_days
from quotacast.models.periods import Calendar
from quotacast.models.timegrid import TimeGrid, as_date, day_number, learned_grid, weekday_weights

FIRST, LAST = int(day_number(date(2024, 1, 1))), int(day_number(date(2025, 12, 31)))
WEEK = np.array([6.0, 7.0, 5.0, 6.5, 4.0, 0.3, 0.2])


def easter(year: int) -> date:
    """Western Easter by Meeus (Astronomical Algorithms 1991, chapter 8): independent of the library."""
    a, b, c = year % 19, year // 100, year % 100
    d, e, f = b // 4, b % 4, (b + 8) // 25
    g = (b - f + 1) // 3
    h = (19 * a + b - d - g + 15) % 30
    i, k = c // 4, c % 4
    m = (32 + 2 * e + 2 * i - h - k) % 7
    n = (a + 11 * h + 22 * m) // 451
    month, day = divmod(h + m - 7 * n + 114, 31)
    return date(year, month, day + 1)


def days_of(code: str, year: int) -> set[date]:
    first, last = int(day_number(date(year, 1, 1))), int(day_number(date(year, 12, 31)))
    return {as_date(int(d)) for d in holiday_days(code, first, last)}


@pytest.mark.parametrize("year", [2019, 2024, 2027, 2031])
def test_swedish_holidays_are_those_of_the_law_without_ordinary_sundays(year: int) -> None:
    """Lag (1989:253) om allmänna helgdagar: fixed days, and those that follow Easter and midsummer."""
    sunday = easter(year)
    fixed = {date(year, m, d) for m, d in ((1, 1), (1, 6), (5, 1), (6, 6), (12, 25), (12, 26))}
    moving = {sunday + timedelta(days=k) for k in (-2, 0, 1, 39, 49)}
    midsummer = next(date(year, 6, d) for d in range(20, 27) if date(year, 6, d).weekday() == 5)
    saints = next(d for k in range(7) if (d := date(year, 10, 31) + timedelta(days=k)).weekday() == 5)
    law = fixed | moving | {midsummer, saints}
    eves = {midsummer - timedelta(days=1), date(year, 12, 24), date(year, 12, 31)}
    found = days_of("SE", year)
    # newer versions of the library also know the eves that count as free
    assert law <= found <= law | eves


def test_parts_of_a_country_have_holidays_of_their_own() -> None:
    corpus_christi = easter(2027) + timedelta(days=60)
    assert corpus_christi in days_of("DE-BY", 2027)
    assert corpus_christi not in days_of("DE-BE", 2027)
    assert date(2027, 10, 3) in days_of("DE-BE", 2027)
    assert date(2027, 11, 25) in days_of("US", 2027)  # the fourth Thursday of November


def test_the_span_is_inclusive_and_sorted_across_years() -> None:
    days = holiday_days("SE", int(day_number(date(2026, 12, 25))), int(day_number(date(2027, 1, 6))))
    known = [date(2026, 12, 25), date(2026, 12, 26), date(2027, 1, 1), date(2027, 1, 6)]
    eve = int(day_number(date(2026, 12, 31)))
    assert [as_date(int(d)) for d in days if d != eve] == known
    assert np.all(np.diff(days) > 0)
    assert holiday_days(None, FIRST, LAST).size == 0


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("SW", "near it: S"),
        ("DE-BX", "near it: DE-B"),
        ("SE-Q", "wanted SE alone"),
        ("GB-EN", "near it: GB-ENG"),
    ],
)
def test_an_unknown_country_is_refused_with_close_matches(code: str, told: str) -> None:
    assert told in country_problem(code)
    with pytest.raises(PlanError, match=r"calendar\.holidays: ") as caught:
        Calendar(holidays=code)
    assert told in str(caught.value)
    assert not country_problem("DE-BY")
    assert "there are AF, " in country_problem("??")


def events(rng: np.random.Generator, share: float, scale: float = 1.0) -> np.ndarray:
    """Days of Poisson events with the weekly pattern WEEK, holidays at a share of it."""
    days = np.arange(FIRST, LAST + 1)
    rate = scale * WEEK[(days + 3) % 7] * np.where(np.isin(days, holiday_days("SE", FIRST, LAST)), share, 1.0)
    return np.repeat(days, rng.poisson(rate))


@pytest.mark.parametrize("share", [0.05, 0.3, 0.9])
def test_share_and_weekdays_are_recovered(share: float) -> None:
    rng = np.random.default_rng(7)
    grid = learned_grid(Calendar(holidays="SE"), FIRST, LAST, events(rng, share, 20.0))
    assert grid.holiday_share == pytest.approx(share, abs=0.03)
    assert np.asarray(grid.weights) == pytest.approx(7 * WEEK / WEEK.sum(), abs=0.04)


def test_few_events_stay_near_the_prior_and_above_zero() -> None:
    free = holiday_days("SE", FIRST, LAST)
    days = np.array([d for d in range(FIRST, LAST) if (d + 3) % 7 < 5 and d not in free])[::29]
    share = day_rates(days, FIRST, LAST, free)[1]
    assert 0 < share < PRIOR_SHARE
    on = np.repeat(free[(free + 3) % 7 < 5], 3)  # busier than any working day
    assert day_rates(np.concatenate([days, on]), FIRST, LAST, free)[1] > 1
    none = day_rates(np.empty(0, dtype=np.int64), FIRST, LAST, free)
    expected = (0.5 / np.bincount((np.arange(FIRST, LAST + 1) + 3) % 7))[(free + 3) % 7].sum()
    assert none[1] == pytest.approx(PRIOR_EVENTS * PRIOR_SHARE / (expected + PRIOR_EVENTS))


def test_without_a_country_nothing_changes() -> None:
    seen = events(np.random.default_rng(3), 0.2)
    grid = learned_grid(Calendar(), FIRST, LAST, seen)
    counts = np.bincount((seen + 3) % 7, minlength=7) + 0.5
    assert np.asarray(grid.weights) == pytest.approx(7 * counts / counts.sum(), rel=1e-14)
    assert np.array_equal(weekday_weights(seen), np.asarray(grid.weights))
    assert grid.holiday_share == 1.0
    assert grid.day_weights.min() > 0


def test_the_grid_weighs_holidays_everywhere_alike() -> None:
    grid = TimeGrid(Calendar(holidays="SE"), FIRST, LAST, tuple(WEEK), holiday_share=0.25)
    new_year, friday = date(2025, 1, 1), easter(2025) - timedelta(days=2)
    for day in (new_year, friday):
        at = int(day_number(day))
        full = WEEK[day.weekday()]
        assert grid.day_weights[at - FIRST] == pytest.approx(0.25 * full)
        assert grid.weight(np.array([at]))[0] == pytest.approx(0.25 * full)
        assert grid.weighted(np.array([at]), np.array([at + 1]))[0] == pytest.approx(0.25 * full)
    plain = TimeGrid(Calendar(), FIRST, LAST, tuple(WEEK))
    lost = 0.75 * WEEK[(grid.holidays + 3) % 7].sum()
    assert grid.cumulative[-1] == pytest.approx(plain.cumulative[-1] - lost)
    with pytest.raises(ValueError, match="must be positive"):
        TimeGrid(Calendar(), FIRST, LAST, tuple(WEEK), holiday_share=0.0)
