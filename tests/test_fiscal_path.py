"""Fiscal years of any start and 4-4-5 weeks from the plan to the answers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quotacast.engine.answers.attainability import attainability
from quotacast.engine.answers.forecast import forecast
from quotacast.engine.quota import Scope
from quotacast.engine.worlds import World, write_world
from quotacast.models.funnel import Funnel, Prepared, assemble, prepare
from quotacast.models.history.history import History
from quotacast.models.holidays import holiday_days
from quotacast.models.periods import POSITIONS, Calendar
from quotacast.models.terms import Posterior
from quotacast.models.timegrid import as_date, day_number
from quotacast.scenarios.plan import load_plan
from quotacast.scenarios.run import Run

AS_OF = date(2026, 8, 12)
#: Settings, first days of the year's months and the day after it, written down by hand.
YEARS: dict[str, tuple[str, str, str, list[date]]] = {
    # the Monday nearest to 1 January 2026 is 29 December; weeks 4, 4, 5 four times; ISO year of 53 weeks
    "445": ("year_starts = 1\nweeks = '4-4-5'", "2026", "P", [
        date(2025, 12, 29), date(2026, 1, 26), date(2026, 2, 23), date(2026, 3, 30), date(2026, 4, 27),
        date(2026, 5, 25), date(2026, 6, 29), date(2026, 7, 27), date(2026, 8, 24), date(2026, 9, 28),
        date(2026, 10, 26), date(2026, 11, 23), date(2027, 1, 4)]),
    # the Monday nearest to 1 July 2026 is 29 June; named by its start; weeks 5, 4, 4
    "544": ("year_starts = 7\nyear_named_by = 'start'\nweeks = '5-4-4'", "2026", "P", [
        date(2026, 6, 29), date(2026, 8, 3), date(2026, 8, 31), date(2026, 9, 28), date(2026, 11, 2),
        date(2026, 11, 30), date(2026, 12, 28), date(2027, 2, 1), date(2027, 3, 1), date(2027, 3, 29),
        date(2027, 5, 3), date(2027, 5, 31), date(2027, 6, 28)]),
    # the Monday nearest to 1 February 2026 is 2 February; named by its end; weeks 4, 5, 4
    "454": ("year_starts = 2\nweeks = '4-5-4'", "2027", "P", [
        date(2026, 2, 2), date(2026, 3, 2), date(2026, 4, 6), date(2026, 5, 4), date(2026, 6, 1),
        date(2026, 7, 6), date(2026, 8, 3), date(2026, 8, 31), date(2026, 10, 5), date(2026, 11, 2),
        date(2026, 11, 30), date(2027, 1, 4), date(2027, 2, 1)]),
    "april": ("year_starts = 4", "2027", "", [
        *(date(2026, m, 1) for m in range(4, 13)), *(date(2027, m, 1) for m in range(1, 5))]),
}  # fmt: skip


@pytest.fixture(scope="module")
def world(small_world: Callable[..., World]) -> World:
    return small_world(17, 4, first_day=date(2024, 9, 2), last_day=AS_OF)


def written(known: Prepared) -> Funnel:
    """Generic effects, written down rather than fitted."""
    rng, posteriors = np.random.default_rng(3), {}
    levels = {"created": -1.5, "won": -4.6, "lost": -4.1, "value": 8.7}
    for name, (declaration, _) in known.declared().items():
        effects = {t.name: rng.normal(0.0, 0.2, (2, t.size)) + t.prior_mean for t in declaration.terms}
        effects["level"] = np.full((2, 1), levels.get(name, 0.2))
        hyper = {h: np.full(2, 0.3) for h in declaration.hyperparameters()}
        posteriors[name] = Posterior(effects, hyper, {"method": "written"})
    return assemble(known, posteriors, 3)


def run_of(folder: Path, world: World, which: str) -> tuple[Run, list[str], list[date]]:
    settings, year, kind, starts = YEARS[which]
    write_world(world, folder, plan=False)
    labels = [f"{year}-P{m:02d}" if kind else f"{day:%Y-%m}" for m, day in enumerate(starts[:-1], 1)]
    quotas = "".join(
        f'[[quota]]\nscope = "company"\nmetric = "{metric}"\nperiod = "{period}"\ntarget = {target}\n'
        for metric, period, target in (
            ("deals_won", labels[-2], 9), ("bookings", f"{year}-Q4", 100_000), ("bookings", year, 900_000)
        )
    )  # fmt: skip
    path = folder / "fiscal.toml"
    text = (
        f'as_of = {AS_OF}\nhorizon = "{year}"\ndraws = 200\n[data]\nfolder = "crm"\n[calendar]\n{settings}\n'
    )
    path.write_text(text + quotas, encoding="utf-8")
    run = Run(load_plan(path))
    return run, labels, starts


@pytest.mark.parametrize("which", YEARS)
def test_months_quarters_and_quotas_of_the_fiscal_year(tmp_path: Path, world: World, which: str) -> None:
    run, labels, starts = run_of(tmp_path, world, which)
    run.__dict__["funnel"] = written(run._prepared)
    months, (year,) = run.periods("month"), run.periods("year")
    running = [k for k, end in enumerate(starts[1:]) if end > AS_OF + timedelta(days=1)]
    assert [p.label for p in months] == [labels[k] for k in running]
    assert [(p.first, p.last) for p in months] == [
        (starts[k], starts[k + 1] - timedelta(days=1)) for k in running
    ]
    quarters = [run.plan.calendar.parse(f"{year.label}-Q{q}") for q in range(1, 5)]
    assert [p.first for p in quarters] == starts[:-1:3]
    quotas, _ = run.quotas()
    stated = [q for q in quotas if q.origin.startswith("quota[")]
    assert {q.period for q in stated} == {labels[-2], f"{year.label}-Q4", year.label}
    every = [run.plan.calendar.containing(day, "month") for day in starts[:-1]]
    paths = run.paths([*every, *quarters, *(run.plan.calendar.parse(q.period) for q in stated)])
    check_sums(paths, run, every, quarters, year)
    odds = attainability(paths, stated, run.plan.calendar, {}).rows
    assert set(odds["period"]) == {q.period for q in stated}
    assert odds["p_attain"].between(0, 1).all()


def check_sums(paths: Any, run: Run, months: list[Any], quarters: list[Any], year: Any) -> None:
    """Months make quarters make the year in every draw, and what is done is what the table says."""
    whole = Scope("company")
    for measure in ("created", "won", "won_cents"):
        parts = [[sum(paths.simulated(measure, whole, p)) for p in of] for of in (months, quarters, [year])]
        assert np.array_equal(sum(parts[0]), parts[2][0])
        assert np.array_equal(np.array(parts[0]).reshape(4, 3, -1).sum(axis=1), np.array(parts[1]))
        assert np.sum(parts[2]) > 0
    deals = run.history.opportunities
    for period in (*months, *quarters, year):
        inside = deals["closed_on"].between(pd.Timestamp(period.first), pd.Timestamp(period.last))
        amount = deals.loc[inside & (deals["status"] == "won"), "amount"].sum()
        assert paths.actual("won_cents", whole, period) == round(100 * amount)
    table = forecast(paths, ["bookings"], [whole], [*months, year], {}).rows
    means = table[table["component"] == "total"].set_index("period")["mean"]
    assert means.drop(year.label).sum() == pytest.approx(means[year.label])


def fiscal_position(day: date) -> int:
    """Position in the quarter of a 4-4-5 year from January, by ISO weeks: an independent definition."""
    iso = day.isocalendar()
    quarter = min((iso.week - 1) // 13, 3)
    week = iso.week - 1 - 13 * quarter
    last = date.fromisocalendar(iso.year, 13 * (quarter + 1), 7) if quarter < 3 else (
        date.fromisocalendar(iso.year + 1, 1, 1) - timedelta(days=1)
    )  # fmt: skip
    return 3 if (last - day).days < 10 else 0 if week < 4 else 1 if week < 8 else 2


def test_the_push_at_the_quarters_end_follows_the_weeks(world_history: Any, world: World) -> None:
    """Events by position equal a count by ISO weeks; season and shocks stay with calendar months."""
    history: History = world_history(world)
    known = prepare(history, Calendar(weeks="4-4-5"))
    deals = history.opportunities
    for cause, cells in zip(("won", "lost"), known.hazards.cells, strict=True):
        days = deals.loc[deals["status"] == cause, "closed_on"].dt.date
        wanted = np.bincount([fiscal_position(day) for day in days], minlength=len(POSITIONS))
        found = np.bincount(cells.codes["position"], cells.response, minlength=len(POSITIONS))
        assert found.tolist() == wanted.tolist()
        months = {(day.year - 1970) * 12 + day.month - 1 for day in days}
        seen = known.hazards.months[np.unique(cells.codes["month"][cells.response > 0])]
        assert set(seen.tolist()) == months
    counts = known.counts
    middle = {(m % 12) for m in counts.months}
    assert set(np.unique(counts.cells.codes["season"]).tolist()) <= middle
    labels = [known.grid.calendar.quarter_label(int(q)) for q in counts.quarters]
    assert (labels[0], labels[-1]) == ("2024-Q3", "2026-Q3")


def test_a_learned_push_is_simulated_in_the_last_days_of_the_fiscal_quarter(
    tmp_path: Path, world: World
) -> None:
    """Closings five times as likely in the last ten days: they jump there, by ISO weeks.

    With one hazard h per weighted day for all, the deals that were open close in two adjoining windows of A
    and B weighted days in the proportion 1 - exp(-hA) to exp(-hA) (1 - exp(-5hB)).
    """
    run, _, _ = run_of(tmp_path, world, "445")
    funnel = written(run._prepared)
    for cause in ("won", "lost"):
        effects = funnel.posteriors[cause].effects
        for name, value in effects.items():
            if name != "level":
                value[:] = 0.0
        effects["position"][:] = np.log([1.0, 1.0, 1.0, 5.0])
        for name in ("shock", "trend", "rep_quarter", "rep"):
            if f"{name}_sd" in funnel.posteriors[cause].hyper:
                funnel.posteriors[cause].hyper[f"{name}_sd"][:] = 0.0
    funnel.posteriors["created"].effects["level"][:] = -30.0
    run.__dict__["funnel"] = funnel
    days = run.plan.calendar.periods("day", AS_OF + timedelta(days=1), run.plan.horizon_period.last)
    paths = run.paths(days)
    # just before and in the last ten days of the third quarter, which ends on 27 September 2026
    before = [day for day in days if date(2026, 9, 4) <= day.first <= date(2026, 9, 17)]
    during = [day for day in days if date(2026, 9, 18) <= day.first <= date(2026, 9, 22)]
    assert {fiscal_position(day.first) for day in before} == {2}
    assert {fiscal_position(day.first) for day in during} == {3}
    closed, weight = (
        [sum(of(day) for day in part) for part in (before, during)]
        for of in (
            lambda day: sum(np.sum(paths.simulated(m, Scope("company"), day)) for m in ("won", "lost")),
            lambda day: run._prepared.grid.weights[day.first.weekday()],
        )
    )
    h = np.exp(-4.6) + np.exp(-4.1)
    left = np.exp(-h * weight[0])
    share = left * -np.expm1(-5 * h * weight[1]) / (1 - left * np.exp(-5 * h * weight[1]))
    n = sum(closed)
    assert n > 3000
    assert abs(closed[1] / n - share) < 4.0 * np.sqrt(share * (1 - share) / n)


def test_holidays_are_learned_fitted_and_simulated_alike(tmp_path: Path, world: World) -> None:
    """A company shut on holidays: their days count little in the exposure, and little happens on them."""
    run_of(tmp_path, world, "april")
    text = (tmp_path / "fiscal.toml").read_text(encoding="utf-8")
    (tmp_path / "shut.toml").write_text(text.replace("[calendar]", '[calendar]\nholidays = "SE"'))
    deals = pd.read_csv(tmp_path / "crm" / "opportunities.csv", dtype=str)
    first, last = int(day_number(date(2024, 9, 2))), int(day_number(AS_OF))
    free = {str(np.datetime64(int(d), "D")) for d in holiday_days("SE", first, last)}
    shut = deals["created_on"].isin(free) | deals["closed_on"].isin(free)
    assert shut.sum() > 10
    deals[~shut].to_csv(tmp_path / "crm" / "opportunities.csv", index=False)
    shut_run = Run(load_plan(tmp_path / "shut.toml"))
    assert shut_run.fit_key != Run(load_plan(tmp_path / "fiscal.toml")).fit_key
    grid = shut_run._prepared.grid
    assert 0 < grid.holiday_share < 0.1
    assert any(note.startswith(f"Public holidays of SE: on {len(free)} of them") for note in shut_run.notes)
    plain = prepare(shut_run.history, Calendar(year_starts=4))
    gap = plain.counts.cells.exposure.sum() / plain.grid.cumulative[-1]  # rep-weeks, less by the holidays
    assert shut_run._prepared.counts.cells.exposure.sum() / grid.cumulative[-1] == pytest.approx(
        gap, rel=0.01
    )
    assert grid.cumulative[-1] < plain.grid.cumulative[-1] - 10
    shut_run.__dict__["funnel"] = written(shut_run._prepared)
    days = shut_run.plan.calendar.periods("day", AS_OF + timedelta(days=1), date(2027, 3, 31))
    paths = shut_run.paths(days)
    ahead = {as_date(int(d)) for d in holiday_days("SE", last + 1, last + 231)}
    made = {
        day.first: sum(paths.simulated("created", Scope("company"), day)).sum()
        for day in days
        if day.first.weekday() < 5
    }
    on, off = ([n for d, n in made.items() if (d in ahead) is flag] for flag in (True, False))
    assert len(on) >= 4  # Christmas Day, New Year's Day, Epiphany, Good Friday
    assert 0 < np.mean(on) < 0.2 * np.mean(off)
