"""Open deals on their way through stages: the simulator against closed forms, and what must not change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest

from quotacast.engine.book import Book, open_book
from quotacast.engine.drivers import Change, Drivers
from quotacast.engine.expected import expected_measures
from quotacast.engine.paths import Steps
from quotacast.engine.simulate import run_blocks
from quotacast.engine.tables import Tables
from quotacast.engine.worlds import World
from quotacast.engine.worlds_stages import with_stages
from quotacast.models.funnel import Funnel, Prepared, assemble, prepare
from quotacast.models.history.history import History
from quotacast.models.periods import Calendar
from quotacast.models.terms import Posterior
from quotacast.models.timegrid import day_number

HORIZON = date(2026, 1, 31)
LEVELS = {"created": -1.5, "won": -4.6, "lost": -4.2, "value": 8.7, "moved": -2.9}
#: Nothing beyond the data, so that every draw's hazards are known from its posterior draw.
BEYOND = ("shock_sd", "trend_sd", "rep_quarter_sd", "rep_sd", "team_sd")
CHANGES = Drivers(
    changes=(
        Change("cycle_days", "company", times=0.6, first=date(2025, 12, 17)),
        Change("cycle_days", "rep:r02", times=1.7),
        Change("close_rate", "team:b", times=1.4, last=date(2026, 1, 9)),
    )
)


@pytest.fixture(scope="module")
def history(small_world: Callable[..., World], world_history: Callable[[World], History]) -> History:
    """Four reps; the truth passes deals through stages, some of them back."""
    world = small_world(
        11, 4, date(2024, 6, 3), date(2025, 11, 19), lambda t: with_stages(t, np.random.default_rng(2))
    )
    return world_history(world)


@pytest.fixture(scope="module")
def prepared(history: History) -> Prepared:
    found = prepare(history, Calendar())
    assert found.stages is not None
    assert len(found.stages.names) == 4
    return found


@pytest.fixture(scope="module")
def funnel(prepared: Prepared) -> Funnel:
    """Generic effects, written down rather than fitted."""
    rng, posteriors = np.random.default_rng(8), {}
    for name, (declaration, _) in prepared.declared().items():
        effects = {t.name: rng.normal(0.0, 0.35, (2, t.size)) + t.prior_mean for t in declaration.terms}
        effects["level"] = np.full((2, 1), LEVELS.get(name, 0.2)) + rng.normal(0.0, 0.1, (2, 1))
        hyper = {h: np.full(2, 0.0 if h in BEYOND else 0.37) for h in declaration.hyperparameters()}
        posteriors[name] = Posterior(effects, hyper, {"method": "written"})
    return assemble(prepared, posteriors, 3)


def tables(
    funnel: Funnel, history: History, drivers: Drivers = CHANGES, staged: bool = True, days: int = 14
) -> Tables:
    known = funnel.prepared
    book = open_book(history, known.people, known.segment, known.quotes, known.stages if staged else None)
    first, last = int(day_number(history.as_of_date)) + 1, int(day_number(HORIZON))
    edges = np.append(np.arange(first, last + 1, days), last + 1)
    return Tables(funnel, book, drivers, HORIZON, Steps(edges), 20)


def scores(drawn: dict[str, Any], mean: dict[str, Any], repeats: int) -> np.ndarray[Any, Any]:
    """Differences of simulated from closed-form means of open deals, in standard errors."""
    found = []
    for name in ("won", "lost", "won_days"):
        wanted = np.tile(mean[name][..., 0], (repeats, 1, 1))
        gap = drawn[name][..., 0] - wanted
        error = gap.std(axis=0) / np.sqrt(gap.shape[0])
        seen = mean["won" if name == "won_days" else name][..., 0].sum(axis=0) * repeats > 300
        found.append((gap.mean(axis=0) / np.maximum(error, 1e-12))[seen])
    return np.concatenate(found)


@pytest.mark.parametrize("drivers", [Drivers(), CHANGES], ids=["base", "changed"])
def test_simulated_means_follow_the_forward_equations(
    funnel: Funnel, history: History, drivers: Drivers
) -> None:
    given = tables(funnel, history, drivers)
    assert (given.fixed["deal_stage"] >= 0).sum() > 50
    z = scores(run_blocks(given, 6000), expected_measures(given, 0, 2), 3000)
    assert z.size > 40
    assert np.abs(z).max() < 4.0
    assert 0.75 < z.std() < 1.25


def test_stages_matter_to_the_means(funnel: Funnel, history: History) -> None:
    with_them = expected_measures(tables(funnel, history), 0, 2)["won"][..., 0]
    without = expected_measures(tables(funnel, history, staged=False), 0, 2)["won"][..., 0]
    assert np.abs(with_them.sum(axis=(1, 2)) / without.sum(axis=(1, 2)) - 1).max() > 0.05


def test_new_deals_do_not_depend_on_the_stages_of_open_ones(funnel: Funnel, history: History) -> None:
    one, other = (run_blocks(tables(funnel, history, staged=s), 40) for s in (True, False))
    for name in ("won", "lost", "won_days", "won_cents"):
        assert np.array_equal(one[name][..., 1], other[name][..., 1])
    assert np.array_equal(one["created"], other["created"])
    assert not np.array_equal(one["won"][..., 0], other["won"][..., 0])


def test_a_deal_without_a_stage_goes_as_if_there_were_none(funnel: Funnel, history: History) -> None:
    known = funnel.prepared
    book = open_book(history, known.people, known.segment, known.quotes, known.stages)
    assert book.stage is not None
    some = np.where(np.arange(len(book)) % 2 == 0, -1, book.stage).astype(np.int32)
    only = [k for k in range(len(book)) if k % 2 == 0]

    def won(one: Book) -> Any:
        given = tables(funnel, history)
        steps = given.steps
        return run_blocks(Tables(funnel, one, CHANGES, HORIZON, steps, 20), 60)["lost"][..., 0]

    def taken(one: Book, rows: list[int]) -> Book:
        names = ("rep", "segment", "band", "start", "amount", "stage", "entered")
        return Book(tuple(one.ids[k] for k in rows), **{n: getattr(one, n)[rows] for n in names})

    rest = [k for k in range(len(book)) if k % 2 == 1]
    mixed = won(replace(book, stage=some))
    apart = won(taken(replace(book, stage=np.full(len(book), -1, dtype=np.int32)), only))
    assert np.array_equal(mixed, apart + won(taken(book, rest)))


def test_draws_do_not_depend_on_how_they_are_cut(funnel: Funnel, history: History) -> None:
    given = tables(funnel, history)
    whole, parts = run_blocks(given, 50), run_blocks(given, 50, block=7)
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)
