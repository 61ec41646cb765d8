"""Expected and needed open deals: closed forms, totals of the simulation, and a simulation of the need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest

from quotacast.engine.answers.pipeline import Goal, Outlook, expected_open, pipeline
from quotacast.engine.book import Book, open_book
from quotacast.engine.drivers import Change, Drivers
from quotacast.engine.metrics import metric, series
from quotacast.engine.openbook import (
    AGES,
    Fading,
    creations_missing,
    factor_needed,
    fading,
    last_useful_day,
    new_by_age,
    odds_by_creation,
    open_by_age,
)
from quotacast.engine.quota import Scope
from quotacast.engine.worlds import WorldSpec, draw_truth, make_world, write_world
from quotacast.scenarios import run as runs
from quotacast.scenarios.pipeline import pipeline_answer
from quotacast.scenarios.run import Run
from quotacast.scenarios.sources import find_plan

COMPANY = Scope("company")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Six reps over two years, with a fit of few posterior draws."""
    folder = tmp_path_factory.mktemp("company") / "demo"
    truth = draw_truth(np.random.default_rng(3), 6, 2)
    teams, days = (("north", 3), ("south", 3)), (date(2025, 1, 1), date(2026, 12, 31))
    write_world(make_world(WorldSpec(6, teams, *days, 3, truth, activity_effects=False)), folder)
    for table in ("activities", "leads"):  # the deals alone are asked here
        (folder / "crm" / f"{table}.csv").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "FIT_DRAWS", 300)
        plan = replace(find_plan(folder / "plan.toml"), draws=3000)
        yield Run(plan, "laplace", True)


@pytest.fixture(scope="module")
def outlook(run: Run) -> Outlook:
    """What the answer reads, by quarter."""
    prepared = run.funnel.prepared
    book = open_book(run.history, prepared.people, prepared.segment, prepared.quotes)
    return Outlook(run.paths(run.periods("quarter")), book, fading(run.funnel, 365), {})


def steady(hazard_win: float, hazard_loss: float, reps: int = 2, days: int = 400) -> Fading:
    """Constant hazards: deals leave exponentially."""
    shape = (reps, 1, 1)
    return Fading(
        np.full((*shape, 2), hazard_win),
        np.full((*shape, 2), hazard_loss),
        np.array([0, 30]),
        np.ones(shape),
        np.full(shape, 100.0),
        days,
    )


# -- closed forms -------------------------------------------------------------------------------------------


def test_exponential_fading() -> None:
    win, loss = 0.004, 0.011
    fade = steady(win, loss)
    age = np.arange(401)
    assert fade.new_left[1] == pytest.approx(np.exp(-0.015 * age))
    gone = np.exp(-0.015 * age[:-1]) * -np.expm1(-0.015)
    assert fade.wins[0] == pytest.approx(gone * win / 0.015)
    grown = fade.for_reps(5)
    assert grown.wins.shape == (5, 400)
    assert grown.wins[4] == pytest.approx(fade.wins[0])


def test_open_deals_fade_and_age() -> None:
    fade = steady(0.004, 0.011)
    codes = np.zeros(3, dtype=np.int32)
    start = np.array([990, 930, 700])
    book = Book(("a", "b", "c"), np.array([0, 1, 1]), codes, codes, start, np.array([50.0, np.nan, 10.0]))
    count, money = open_by_age(book, fade, 1000, 1041, 2)  # 40 days later: ages 50, 110, 340
    assert AGES == (0, 31, 61, 91, 181)
    kept = np.exp(-0.015 * 40)
    assert count == pytest.approx(np.array([[0, kept, 0, 0, 0], [0, 0, 0, kept, kept]]))
    assert money == pytest.approx(count * np.array([[50.0] * 5, [0, 0, 0, 100.0, 10.0]]))
    today, _ = open_by_age(book, fade, 1000, 1001, 2)
    assert today == pytest.approx(np.array([[1, 0, 0, 0, 0], [0, 0, 1, 0, 1]]))


def test_new_deals_fade_and_age() -> None:
    fade, pace = steady(0.004, 0.011), np.array([np.full(200, 0.3), np.full(200, 2.0)])
    found = new_by_age(fade, pace, 1000, 1001 + 70)  # created 70 to 1 days before
    age = np.arange(70)
    for k, (low, high) in enumerate(((0, 31), (31, 61), (61, 91))):
        inside = (age >= low) & (age < high)
        assert found[1, k] == pytest.approx(2.0 * np.exp(-0.015 * age[inside]).sum())
    assert found[:, 3:].sum() == 0
    assert new_by_age(fade, pace, 1000, 1001).sum() == 0


def test_odds_and_the_last_useful_day_of_exponential_deals() -> None:
    """With hazard h and win share w, created on day c before the period: w (e^-h(a-c) - e^-h(b+1-c))."""
    h, share, first, last = 0.05, 0.3, 60, 89
    wins = share * np.exp(-h * np.arange(400)) * -np.expm1(-h)
    odds = odds_by_creation(wins, first, last)
    created = np.arange(last + 1)
    from_day = np.maximum(first - created, 0)
    assert odds == pytest.approx(share * (np.exp(-h * from_day) - np.exp(-h * (last + 1 - created))))
    assert int(odds.argmax()) == first  # best: on the first day of the period, all of it ahead
    until = last_useful_day(odds)
    # 1 - e^-h n >= half of 1 - e^-30h, n days left
    n = np.log(1 / (1 - 0.5 * (1 - np.exp(-h * 30)))) / h
    assert until == last + 1 - int(np.ceil(n))


def test_missing_creations_replace_the_factor() -> None:
    pace, odds = np.array([2.0, 2.0, 4.0, 4.0]), np.array([0.4, 0.3, 0.2, 0.05])
    found = creations_missing(1.5, pace, odds, 2)
    each = (2 * 0.4 + 2 * 0.3 + 4 * 0.2) / 8
    assert found * each == pytest.approx(0.5 * (2 * 0.4 + 2 * 0.3 + 4 * 0.2 + 4 * 0.05))


@pytest.mark.parametrize("aim", [0.35, 0.7, 0.95])
def test_the_least_factor_against_trying_many(aim: float) -> None:
    rng = np.random.default_rng(7)
    fixed, scaled = rng.gamma(4, 20, 500), rng.gamma(3, 30, 500) * (rng.random(500) < 0.97)
    found = factor_needed(200.0, fixed, scaled, aim)
    odds = lambda s: (fixed + s * scaled >= 200.0).mean()  # noqa: E731
    assert odds(found * (1 + 1e-9)) >= aim
    assert odds(found * (1 - 1e-6)) < aim
    grid = np.linspace(0, 20, 8001)
    assert found == pytest.approx(grid[np.argmax([odds(s) >= aim for s in grid])], abs=0.0026)


def test_no_factor_helps_where_there_is_nothing_to_scale() -> None:
    fixed, scaled = np.full(10, 5.0), np.array([0.0] * 4 + [1.0] * 6)
    assert factor_needed(8.0, fixed, scaled, 0.6) == 3.0
    assert factor_needed(8.0, fixed, scaled, 0.7) == np.inf
    assert factor_needed(4.0, fixed, scaled, 0.7) == 0.0


# -- the simulation -----------------------------------------------------------------------------------------


def test_expected_deals_are_those_of_the_simulation(outlook: Outlook) -> None:
    paths, spans = outlook.paths, outlook.paths.steps.edges
    for scope in (COMPANY, Scope("team", "south"), Scope("rep", "r02")):
        who = [
            k for k, (r, t) in enumerate(zip(paths.reps, paths.teams, strict=True)) if scope.id in (r, t, "")
        ]
        book = np.isin(outlook.book.rep, who).sum()
        for k in (1, 3):
            old, new = expected_open(outlook, scope, int(spans[k]))
            gone = (paths.array("won") + paths.array("lost"))[:, who, :k]
            closed = gone.sum(axis=(1, 2)).mean(axis=0)
            assert old[0].sum() == pytest.approx(book - closed[0])
            assert new[0].sum() == pytest.approx(
                paths.array("created")[:, who, :k].sum(axis=(1, 2)).mean() - closed[1]
            )


def test_closed_forms_are_near_the_simulation(outlook: Outlook) -> None:
    """Before they are scaled: what the hazards say of the open book is what the simulation does to it."""
    day = int(outlook.paths.steps.edges[1])
    count, _ = open_by_age(outlook.book, outlook.fade, outlook.today, day, 6)
    old, new = expected_open(outlook, COMPANY, day)
    assert count.sum() == pytest.approx(old[0].sum(), rel=0.08)
    assert new_by_age(outlook.fade, outlook.pace, outlook.today, day).sum() == pytest.approx(
        new[0].sum(), rel=0.08
    )


def test_so_many_more_creations_reach_the_target_with_the_aim(run: Run, outlook: Outlook) -> None:
    """The oracle is another simulation, in which all creations are multiplied."""
    period = run.plan.calendar.parse("2027-Q3")
    found = series(outlook.paths, metric("bookings"), COMPANY, period)
    target = float(np.quantile(found.total, 0.6))  # odds of 40 %
    factor = factor_needed(target, (found.done or 0.0) + found.open, found.new, 0.7)
    assert 1.05 < factor < 2.0
    more = replace(run)
    vars(more).update({k: vars(run)[k] for k in ("history", "funnel") if k in vars(run)})
    vars(more)["drivers"] = Drivers(changes=(Change("opportunities_created", "company", times=factor),))
    again = series(more.paths([period]), metric("bookings"), COMPANY, period)
    assert (again.total >= target).mean() == pytest.approx(0.7, abs=0.05)


def test_the_rows_of_the_answer(run: Run, outlook: Outlook) -> None:
    periods = run.periods("quarter")
    goals = {(COMPANY, "bookings", p.label): Goal(9e5, 0.7) for p in periods}
    found = pipeline(outlook, ["bookings"], [COMPANY], periods, goals, {})
    rows = found.rows
    assert list(dict.fromkeys(rows["period"])) == [p.label for p in periods]
    for column in ("expected", "needed", "expected_money", "needed_money"):
        parts = rows[rows["age"] != "all"].groupby("period")[column].sum()
        whole = rows[rows["age"] == "all"].set_index("period")[column]
        assert parts.to_numpy() == pytest.approx(whole.to_numpy()), column
    first = rows[rows["period"] == "2027-Q1"]
    assert first["expected"].iloc[0] == pytest.approx(len(outlook.book))
    quarter = series(outlook.paths, metric("bookings"), COMPANY, periods[0])
    factor = factor_needed(9e5, np.asarray(quarter.new), np.asarray(quarter.open), 0.7)
    assert abs(factor - 1) > 0.05
    ratio = (first["needed"] / first["expected"]).dropna()
    assert ratio.to_numpy() == pytest.approx(np.full(len(ratio), factor))
    assert (rows["missing"].dropna() >= 0).all()
    assert rows.loc[rows["age"] != "all", "create"].isna().all()


def test_without_targets_only_the_expected_is_told(run: Run, outlook: Outlook) -> None:
    found = pipeline(outlook, ["deals_won"], [COMPANY], run.periods("quarter"), {}, {})
    assert found.rows[["target", "needed", "missing", "create"]].isna().all(axis=None)
    assert (found.rows["expected"] > 0).any()
    assert found.words.startswith("No target is stated")


def test_targets_of_parts_are_cut_from_the_year(run: Run) -> None:
    found, notes = pipeline_answer(run, ["company"], [], "month")
    rows = found.rows[found.rows["age"] == "all"]
    mine = [q for q in run.quotas()[0] if q.scope == COMPANY and q.metric == "bookings"]
    stated = {q.period: q.target for q in reversed(mine)}  # the first set counts
    quarters = {f"2027-Q{q}": stated[f"2027-Q{q}"] for q in (1, 2, 3, 4)}
    by_month = rows["target"].to_numpy(dtype=float).reshape(4, 3).sum(axis=1)
    assert by_month == pytest.approx(list(quarters.values()))  # from the nearest period that states one
    paths = run.paths([*run.periods("month"), *run.periods("quarter")])
    mean = {
        p.label: series(paths, metric("bookings"), COMPANY, p).total.mean()
        for p in (*run.periods("month"), *run.periods("quarter"))
    }
    wanted = stated["2027-Q2"] * mean["2027-05"] / mean["2027-Q2"]
    assert float(rows["target"].iloc[4]) == pytest.approx(wanted)
    assert wanted != pytest.approx(stated["2027-Q2"] / 3, rel=0.01)
    assert "2027-Q1" in " ".join(notes)


def test_the_words(run: Run, outlook: Outlook) -> None:
    periods = run.periods("quarter")
    total: Any = series(outlook.paths, metric("bookings"), COMPANY, periods[2]).total
    labels = {periods[1].label: 1.0, periods[2].label: float(np.quantile(total, 0.7))}
    goals = {(COMPANY, "bookings", label): Goal(target, 0.7) for label, target in labels.items()}
    words = pipeline(outlook, ["bookings"], [COMPANY], periods, goals, {}).words
    assert "2027-Q1: no target." in words
    assert "2027-Q2: enough." in words
    assert "Too few early-stage opportunities for 2027-Q3:" in words
    assert "more to be created by 2027-" in words
