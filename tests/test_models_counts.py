"""How many opportunities: exposure by rep and week, and recovery of a simulated company."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from quotacast.models.counts import CountData, creation_data, creation_declaration
from quotacast.models.laplace import fit_laplace
from quotacast.models.people import employment, tenure_band
from quotacast.models.periods import Calendar
from quotacast.models.terms import Declaration
from quotacast.models.timegrid import TimeGrid, day_number, weekday_weights

FIRST, LAST = date(2024, 1, 1), date(2024, 6, 26)  # Monday to Wednesday: the last week is cut
WEIGHTS = (1.4, 1.3, 1.3, 1.3, 1.2, 0.3, 0.2)
Make = Callable[..., Any]


def deals(rep: str, *days: str) -> list[dict[str, Any]]:
    return [
        {"opportunity_id": f"{rep}{k}", "created_on": day, "status": "open", "rep_id": rep}
        for k, day in enumerate(days)
    ]


def counted(history: Any, first: date = FIRST, last: date = LAST) -> CountData:
    a, b = int(day_number(first)), int(day_number(last))
    return creation_data(history, employment(history, a, b), TimeGrid(Calendar(), a, b, WEIGHTS))


@pytest.fixture(scope="module")
def three(make_history: Make) -> CountData:
    """One rep all the time, one hired on Thursday 15 February, one gone from Saturday 4 May."""
    reps = [
        {"rep_id": "a", "team": "n", "hired_on": "2020-01-01"},
        {"rep_id": "b", "team": "n", "hired_on": "2024-02-15"},
        {"rep_id": "c", "team": "s", "hired_on": "2020-01-01", "left_on": "2024-05-04"},
    ]
    rows = deals("a", "2024-01-02", "2024-01-03", "2024-01-09", "2024-06-25")
    rows += deals("b", "2024-03-04") + deals("c", "2024-04-05", "2024-05-03")
    return counted(make_history({"opportunities": rows, "reps": reps}, LAST))


def by_rep(data: CountData, rep: int, values: Any) -> list[float]:
    return [float(v) for v in values[data.cells.codes["rep"] == rep]]


def test_weeks_without_creation_count_and_weeks_before_hiring_do_not(three: CountData) -> None:
    assert three.bin == "week"
    assert by_rep(three, 0, three.cells.response) == [2.0, 1.0] + [0.0] * 23 + [1.0]
    weeks_since = (LAST - date(2024, 2, 12)).days // 7 + 1
    assert len(by_rep(three, 1, three.cells.response)) == weeks_since == 20
    assert sum(by_rep(three, 1, three.cells.response)) == 1
    assert len(by_rep(three, 2, three.cells.response)) == 18
    assert by_rep(three, 2, three.cells.response)[-1] == 1  # on the last day at work


def test_exposure_is_the_weighted_days_at_work(three: CountData) -> None:
    whole = sum(WEIGHTS)
    # The as-of date is a Wednesday: the last week counts with its days until then.
    assert by_rep(three, 0, three.cells.exposure) == pytest.approx([whole] * 25 + [sum(WEIGHTS[:3])])
    thursday_on, until_friday = sum(WEIGHTS[3:]), sum(WEIGHTS[:5])
    assert by_rep(three, 1, three.cells.exposure)[0] == pytest.approx(thursday_on)
    assert by_rep(three, 2, three.cells.exposure)[-1] == pytest.approx(until_friday)


def test_codes_of_a_week_are_those_of_its_middle(three: CountData) -> None:
    codes = three.cells.codes
    wednesdays = [date(2024, 1, 4) + timedelta(days=7 * k) for k in range(25)]
    mine = codes["rep"] == 0
    assert codes["season"][mine][:25].tolist() == [day.month - 1 for day in wednesdays]
    assert codes["month"][mine].tolist()[:25] == [day.month - 1 for day in wednesdays]
    assert set(codes["quarter"][mine]) == {0, 1}
    hired = codes["rep"] == 1
    middle = np.array(
        [(date(2024, 2, 15) + timedelta(days=7 * k) - date(2024, 2, 15)).days for k in range(19)]
    )
    assert codes["tenure"][hired][:19].tolist() == tenure_band(middle).tolist()
    assert codes["tenure"][mine].tolist() == [5] * 26
    assert [three.teams[k] for k in codes["team"][[0, -1]]] == ["n", "s"]
    assert codes["rep_quarter"][mine].tolist() == codes["quarter"][mine].tolist()


def test_a_rep_counts_for_the_team_of_the_week(make_history: Make) -> None:
    reps = [
        {"rep_id": "a", "team": "n", "hired_on": "2020-01-01", "from": "2020-01-01"},
        {"rep_id": "a", "team": "s", "hired_on": "2020-01-01", "from": "2024-04-01"},
    ]
    rows = deals("a", "2024-01-02", "2024-06-03")
    data = counted(make_history({"opportunities": rows, "reps": reps}, LAST))
    assert data.teams == ("n", "s")
    assert data.cells.codes["team"].tolist() == [0] * 13 + [1] * 13


def test_many_reps_are_counted_by_month_with_the_same_totals(
    make_history: Make, monkeypatch: pytest.MonkeyPatch, three: CountData
) -> None:
    reps = [{"rep_id": "a", "team": "n", "hired_on": "2020-01-01"}]
    history = make_history(
        {"opportunities": deals("a", "2024-01-02", "2024-01-31", "2024-06-25"), "reps": reps}, LAST
    )
    weekly = counted(history)
    monkeypatch.setattr("quotacast.models.counts.CELL_LIMIT", 20)
    monthly = counted(history)
    assert monthly.bin == "month"
    assert monthly.cells.response.tolist() == [2, 0, 0, 0, 0, 1]
    assert monthly.cells.exposure.sum() == pytest.approx(weekly.cells.exposure.sum())
    assert monthly.cells.codes["season"].tolist() == [0, 1, 2, 3, 4, 5]


def test_ramp_prior_is_the_published_one_and_full_at_the_last_band() -> None:
    declaration = creation_declaration({"rep": 3, "team": 1, "month": 6, "quarter": 2})
    ramp = declaration.term("tenure")
    assert np.exp(ramp.prior_mean).tolist() == pytest.approx([0.25, 0.45, 0.7, 0.9, 0.97, 1.0])
    assert ramp.basis()[-1].tolist() == [0.0] * 5
    assert "team" not in [t.name for t in declaration.terms], "one team has nothing to be compared with"


# ---- recovery


REPS, START, END = 8, date(2023, 1, 2), date(2025, 12, 31)
HIRED = tuple((k, date(2023, 2, 1) + timedelta(days=120 * k)) for k in range(4))
SEASON = (0.25, 0.0, -0.1, 0.2, 0.05, -0.15, -0.3, -0.25, 0.3, 0.1, 0.05, -0.15)
RAMP = (-1.1, -0.5, -0.25, -0.1, 0.0, 0.0)
ABILITY = (0.5, -0.4, 0.1, 0.0, -0.6, 0.3, 0.2, -0.1)


def _steady(truth: Any) -> Any:
    """Five a week with known effects, and nothing that comes by the month or the quarter."""
    creation = replace(
        truth.creation, level=float(np.log(5.0)), rep=ABILITY, team=(0.1, -0.1), season=SEASON, tenure=RAMP,
        shock_sd=0.0, rep_quarter_sd=0.0, dispersion=8.0,
    )  # fmt: skip
    return replace(truth, creation=creation)


def test_level_reps_ramp_and_season_are_recovered(
    small_world: Callable[..., Any], world_history: Callable[..., Any]
) -> None:
    world = small_world(5, REPS, START, END, change=_steady, hired=HIRED)
    history = world_history(world)
    first, last = int(day_number(START)), int(day_number(END))
    weights = weekday_weights(day_number(history.opportunities["created_on"]))
    grid = TimeGrid(Calendar(), first, last, tuple(float(w) for w in weights))
    data = creation_data(history, employment(history, first, last), grid)
    assert data.cells.response.sum() == len(history.opportunities)
    kept = tuple(t for t in data.declaration.terms if t.name not in ("shock", "trend", "rep_quarter"))
    declaration = Declaration("created", data.declaration.family, kept)  # the other effects are not there
    fit = fit_laplace(declaration, data.cells, draws=800, seed=1)

    team = np.array([0] * 4 + [1] * 4)
    by_rep = fit.effects["level"] + fit.effects["team"][:, team] + fit.effects["rep"]
    # A world's rate is per working week, seven weighted days; its season does not sum to zero.
    truth = np.log(5.0 / 7.0) + np.array([0.1, -0.1])[team] + np.array(ABILITY) + np.mean(SEASON)
    _covers(by_rep, truth, 0.15)
    _covers(fit.effects["tenure"], np.array(RAMP), 0.25)
    _covers(fit.effects["season"], np.array(SEASON) - np.mean(SEASON), 0.15)
    assert fit.hyper["overdispersion"].mean() == pytest.approx(8.0**-0.5, abs=0.06)


def _covers(draws: Any, truth: Any, widest: float) -> None:
    """All truths within 3.5 posterior sds, and the sds small enough to mean something."""
    sd = np.maximum(draws.std(axis=0), 1e-9)
    assert sd.max() < widest
    moving = sd > 1e-8
    assert (np.abs(draws.mean(axis=0) - truth)[moving] < 3.5 * sd[moving]).all()
