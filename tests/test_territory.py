"""Segments that move, ramps that get shorter and seasons that shift: against closed forms."""

from __future__ import annotations

from datetime import date
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from quotacast.engine.book import open_book
from quotacast.engine.drivers import RAMP, Change, Drivers, Hire, Leave, Move, People, Shift
from quotacast.engine.expected import expected_measures
from quotacast.engine.paths import Paths, Steps
from quotacast.engine.simulate import LEAD_MEASURES, run_blocks, simulate
from quotacast.engine.tables import Tables
from quotacast.engine.worlds import WorldSpec, draw_truth, make_world, write_world
from quotacast.errors import PlanError
from quotacast.models.funnel import Funnel, Prepared, assemble, prepare
from quotacast.models.history.history import History
from quotacast.models.history.read import read_history
from quotacast.models.people import TENURE_EDGES, tenure_band
from quotacast.models.periods import Calendar, Period
from quotacast.models.terms import Posterior
from quotacast.models.timegrid import day_number
from quotacast.scenarios.targets import as_factors

CALENDAR = Calendar()
LAST, FIRST, HORIZON = date(2025, 11, 19), date(2025, 11, 20), date(2026, 2, 28)
LEVELS = {"created": -0.6, "won": -3.6, "lost": -3.2, "value": 8.7, "leads": -0.2, "converted": -3.0}
LEVELS |= {"disqualified": -3.2, "activity:call": 1.1}


@cache
def history(leads: bool) -> History:
    """Five reps in two teams, all long there but one."""
    truth = draw_truth(np.random.default_rng(5), 5, 2, leads=leads)
    spec = WorldSpec(
        5, (("a", 3), ("b", 2)), date(2025, 1, 8), LAST, 4, truth, hired=((3, date(2025, 8, 11)),)
    )
    with TemporaryDirectory() as scratch:
        write_world(make_world(spec), Path(scratch) / "world", plan=False)
        crm = Path(scratch) / "world" / "crm"
        if not leads:
            (crm / "leads.csv").unlink(missing_ok=True)
            (crm / "activities.csv").unlink()
        return read_history(crm, as_of=LAST)


@cache
def prepared(leads: bool) -> Prepared:
    return prepare(history(leads), CALENDAR)


@cache
def funnel(leads: bool = False) -> Funnel:
    """Generic effects, written down rather than fitted; nothing varies beyond the data."""
    rng, posteriors = np.random.default_rng(8), {}
    for name, (declaration, _) in prepared(leads).declared().items():
        effects = {
            t.name: np.maximum(rng.normal(0.0, 0.25, (2, t.size)) + t.prior_mean, t.lower or -9.0)
            for t in declaration.terms
        }
        effects["level"] = np.full((2, 1), LEVELS.get(name, 0.2)) + rng.normal(0.0, 0.1, (2, 1))
        far = ("shock_sd", "trend_sd", "rep_quarter_sd", "rep_sd", "team_sd")
        hyper = {h: np.full(2, 0.0 if h in far else 0.37) for h in declaration.hyperparameters()}
        posteriors[name] = Posterior(effects, hyper, {"method": "written"})
    return assemble(prepared(leads), posteriors, 3)


def segments() -> tuple[str, ...]:
    return tuple(prepared(False).segment.levels)


def months() -> Steps:
    return Steps.covering(CALENDAR.periods("month", FIRST, HORIZON))


def tables(drivers: Drivers, leads: bool = False) -> Tables:
    known = prepared(leads)
    book = open_book(history(leads), known.people, known.segment, known.quotes)
    given = Tables(funnel(leads), book, drivers, HORIZON, months(), 20)
    given.activity.models = ()  # or else every draw has activities, and so means, of its own
    return given


def moves(*parts: Move, **more: Any) -> Drivers:
    return Drivers(moves=parts, **more)


def generic() -> Drivers:
    one, two, *_ = segments()
    return moves(
        Move(one, "rep:r01", "rep:r05", date(2025, 12, 9), open_deals=True),
        Move(two, "team:a", "team:b", date(2025, 12, 20), date(2026, 2, 3), 0.6, open_deals=True),
        Move(two, "rep:r02", "rep:b+1", date(2025, 12, 20), share=0.3),
        hires=(Hire("b+1", "b", date(2025, 12, 9)),),
        leaves=(Leave("r01", date(2026, 1, 14)), Leave("r05", date(2026, 2, 11))),
        changes=(
            Change("opportunities_created", "rep:r05", times=1.4, first=date(2025, 12, 30)),
            Change("close_rate", "team:b", times=1.3, last=date(2026, 1, 20)),
            Change(RAMP, "team:b", times=0.4, first=date(2025, 12, 15)),
        ),
    )  # fmt: skip


@pytest.mark.parametrize("leads", [False, True])
def test_simulated_means_are_the_closed_form(leads: bool) -> None:
    given = tables(generic(), leads)
    few = given.departures.block(0, 2)  # who takes over repeats with the posterior draws: known means
    given.departures.block = lambda first, draws: {  # type: ignore[method-assign]
        name: np.ascontiguousarray(table[np.arange(first, first + draws) % 2]) for name, table in few.items()
    }
    drawn, mean, found = run_blocks(given, 4000), expected_measures(given, 0, 2), []
    for name, wanted in mean.items():
        gap = drawn[name] - np.tile(wanted, (2000,) + (1,) * (wanted.ndim - 1))
        events = mean[{"won_days": "won", "lead_days": "leads_converted"}.get(name, name)].sum(axis=0) * 2000
        z = gap.mean(axis=0) / np.maximum(gap.std(axis=0) / np.sqrt(4000), 1e-12)
        found.append(z[events > 300])
    z = np.concatenate(found)
    assert z.size > 80
    assert np.abs(z).max() < 4.0
    assert 0.8 < z.std() < 1.2


@pytest.mark.parametrize("leads", [False, True])
def test_in_every_future_the_same_comes_in_only_for_somebody_else(leads: bool) -> None:
    """Both are there all the time: what the giver loses is what the taker wins, and nobody else notices."""
    on = date(2025, 12, 9)
    base, moved = (
        run_blocks(tables(d, leads), 300)
        for d in (Drivers(), moves(Move(segments()[0], "rep:r01", "rep:r05", on)))
    )
    names = LEAD_MEASURES[:1] if leads else ("created",)  # how many leads convert is up to who has them
    for name in names:
        gap = moved[name] - base[name]
        assert not gap[:, 1:4].any()
        np.testing.assert_array_equal(gap[:, 0], -gap[:, 4])
        assert not gap[:, :, 0].any()  # November, before the move
        assert gap[:, 4].sum() > 100
        assert (gap[:, 4] >= 0).all()
    for name in ("won", "lost", "won_cents"):
        np.testing.assert_array_equal(moved[name][:, 1:4], base[name][:, 1:4])
        assert moved[name][:, 4].sum() > base[name][:, 4].sum()


def test_a_taker_sells_at_his_own_odds() -> None:
    """All of a segment goes to r05: his closed-form wins of it are those of his own hazards."""
    on, segment = FIRST, segments()[0]
    given = tables(moves(Move(segment, "rep:r01", "rep:r05", on)))
    row = given.territory.rows - 1
    assert (given.territory.creates[row], given.territory.works[row]) == (0, 4)
    block = given.block(0, 2)
    for name in ("base_win", "base_loss", "value_rep", "joined"):
        np.testing.assert_array_equal(block[name][:, row], block[name][:, 4])
    np.testing.assert_array_equal(block["created_base"][:, row], block["created_base"][:, 0])
    assert given.fixed["seat"][row] == 4


# -- open deals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("on", "keep"), [(FIRST, 1.0), (FIRST, 0.7), (date(2025, 12, 20), 0.7)])
def test_open_deals_go_along_and_lose_only_odds(on: date, keep: float) -> None:
    """In every future the same deals close on the same days, for somebody else; with all odds, as wins."""
    segment, people = segments()[0], People(keep_odds=keep)
    base, stay, go = (
        run_blocks(tables(moves(*given, people=people)), 300)
        for given in (
            (),
            (Move(segment, "rep:r01", "rep:r05", on),),
            (Move(segment, "rep:r01", "rep:r05", on, open_deals=True),),
        )
    )
    month = int(months().of_days(np.array([int(day_number(on))]))[0])
    for name in ("won", "lost", "won_cents"):
        new = (..., 1)  # new business moves as without open deals
        np.testing.assert_array_equal(stay[name][new], go[name][new])
        np.testing.assert_array_equal(base[name][:, 1:4, :, 0], go[name][:, 1:4, :, 0])
    closed, before = ((x["won"] + x["lost"])[..., 0] for x in (go, base))
    np.testing.assert_array_equal(closed.sum(axis=1), before.sum(axis=1))
    np.testing.assert_array_equal(closed[:, :, :month], before[:, :, :month])
    book = tables(Drivers()).book
    known = prepared(False).people.reps
    own = (book.rep == known.index("r01")) & (book.segment == 0)
    assert 0 < own.sum() < (book.rep == known.index("r01")).sum()
    gained = (closed - before)[:, known.index("r05")].sum()
    assert gained == -(closed - before)[:, known.index("r01")].sum() > 0
    won, was = (x["won"][..., 0].sum(axis=(1, 2)) for x in (go, base))
    if keep == 1.0:
        np.testing.assert_array_equal(won, was)
        cents = (x["won_cents"][..., 0].sum(axis=1) for x in (go, base))
        np.testing.assert_array_equal(*cents)
    else:
        assert (won <= was).all()
        assert won.sum() < was.sum()


def test_everything_open_goes_on_the_first_day() -> None:
    """All segments on the first simulated day: nothing that is open closes for the giver any more."""
    drivers = moves(*(Move(s, "rep:r01", "team:b", FIRST, open_deals=True) for s in segments()))
    found, reps = run_blocks(tables(drivers), 200), prepared(False).people.reps
    mine = (found["won"] + found["lost"])[:, reps.index("r01"), :, 0]
    assert (mine == 0).all()
    base = run_blocks(tables(Drivers()), 200)
    assert (base["won"] + base["lost"])[:, reps.index("r01"), :, 0].sum() > 0
    for taker in ("r04", "r05"):  # the team in parts
        more = (found["won"] + found["lost"] - base["won"] - base["lost"])[:, reps.index(taker), :, 0]
        assert more.sum() > 0


def test_a_part_of_the_open_deals_is_the_same_in_every_future() -> None:
    """Deals go by a lot of their own: two thirds and the rest make all of them, none twice."""
    segment = segments()[0]
    parts = (
        Move(segment, "rep:r01", "rep:r05", FIRST, share=0.6, open_deals=True),
        Move(segment, "rep:r01", "rep:r04", FIRST, share=0.4, open_deals=True),
    )
    hands = tables(moves(*parts)).territory.hands
    reps, book = prepared(False).people.reps, tables(Drivers()).book
    own = (book.rep == reps.index("r01")) & (book.segment == 0)
    assert (hands.deal_row[own] >= hands.first_row).all()
    np.testing.assert_array_equal(hands.deal_row[~own], book.rep[~own])
    one, two = (int((hands.deal_row == hands.first_row + k).sum()) for k in range(2))
    assert min(one, two) > 0
    alone = tables(moves(parts[0])).territory.hands
    assert int((alone.deal_row >= alone.first_row).sum()) in (one, two)


def test_a_team_shares_in_equal_parts() -> None:
    drivers = moves(*(Move(s, "rep:r05", "team:a", FIRST) for s in segments()))
    base, moved = (
        expected_measures(tables(d), 0, 2)["created"].sum(axis=(0, 2)) for d in (Drivers(), drivers)
    )
    gain = moved - base
    assert moved[4] == pytest.approx(0.0, abs=1e-9)
    assert gain[:3] == pytest.approx(np.full(3, base[4] / 3), rel=1e-9)
    assert gain[3] == pytest.approx(0.0)


def test_who_takes_before_a_leaver_goes_keeps_the_territory() -> None:
    gone = date(2026, 1, 14)
    leave = (Leave("r01", gone),)
    drivers = moves(*(Move(s, "rep:r01", "rep:r02", gone) for s in segments()), leaves=leave)
    base, moved = (
        expected_measures(tables(d), 0, 2)["created"].sum(axis=(0, 1)) for d in (Drivers(), drivers)
    )
    np.testing.assert_allclose(moved, base, rtol=1e-9)


def test_moves_outlive_leavers_by_chance() -> None:
    """Rows of those who follow on a seat take part: nothing is created twice, or lost meanwhile."""
    people = People(leavers=True, backfill_days=20)
    segment = segments()[0]
    base, moved = (
        run_blocks(tables(d), 400)["created"].sum(axis=(1, 2))
        for d in (Drivers(people=people), moves(Move(segment, "rep:r01", "rep:r02", FIRST), people=people))
    )
    assert abs(moved.mean() / base.mean() - 1.0) < 0.02


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([("smb", "rep:r01", "rep:r02", 1.0), ("smb", "rep:r01", "rep:r03", 0.2)], "more than all of smb"),
        ([("smbx", "rep:r01", "rep:r02", 1.0)], "no segment 'smbx' in the data, did you mean smb?"),
        ([("smb", "rep:r01", "team:nowhere", 1.0)], r"move\[1\].to: nobody of team:nowhere is there"),
    ],
)
def test_impossible_moves_are_named(parts: list[Any], said: str) -> None:
    with pytest.raises(PlanError, match=said):
        tables(moves(*(Move(s, a, b, FIRST, share=x) for s, a, b, x in parts)))


# -- ramps --------------------------------------------------------------------------------------------


def test_a_ramp_is_gone_through_faster() -> None:
    on, times = date(2025, 12, 1), 0.35
    drivers = Drivers(hires=(Hire("b+1", "b", on),), changes=(Change(RAMP, "company", times=times),))
    given = tables(drivers)
    middle = given.fixed["bin_middle"] + given.grid.first
    since = np.maximum(middle - int(day_number(on)), 0)
    np.testing.assert_array_equal(given.fixed["tenure"][5], tenure_band(since / times))
    plain = tables(Drivers(hires=drivers.hires))
    np.testing.assert_array_equal(plain.fixed["tenure"][5], tenure_band(since))
    assert (plain.fixed["tenure"][5] != given.fixed["tenure"][5]).any()
    joined = int(given.crew.hired[3])  # on the way when the change begins: faster from then on only
    assert joined < given.grid.first < joined + TENURE_EDGES[-1]
    already = given.grid.first - joined
    np.testing.assert_array_equal(
        given.fixed["tenure"][3], tenure_band(already + given.fixed["bin_middle"] / times)
    )


# -- seasons ------------------------------------------------------------------------------------------


def test_a_shifted_season_keeps_its_total() -> None:
    """Closed-form means: January creates 30 % less, and December as much more, as far as 800 futures tell."""
    january, december = (CALENDAR.parse(label) for label in ("2026-01", "2025-12"))
    shift = Shift("team:a", 0.3, (january.first, january.last), (december.first, december.last))

    def simulated(drivers: Drivers, periods: tuple[Period, ...]) -> Paths:
        steps = Steps.covering((*periods, *CALENDAR.periods("month", FIRST, HORIZON)))
        return simulate(funnel(), history(False), drivers, steps, HORIZON, draws=800, seed=3)

    made = as_factors(Drivers(shifts=(shift,)), FIRST, HORIZON, simulated)
    assert made.shifts == ()
    base, moved = (expected_measures(tables(d), 0, 2)["created"].mean(axis=0) for d in (Drivers(), made))
    team = [k for k, t in enumerate(prepared(False).people.team) if t == "a"]
    np.testing.assert_allclose(moved[team, 2], 0.7 * base[team, 2], rtol=1e-9)
    assert moved[team].sum() == pytest.approx(base[team].sum(), rel=0.01)
    assert moved[team, 1].sum() > 1.2 * base[team, 1].sum()
    others = [k for k in range(5) if k not in team]
    np.testing.assert_allclose(moved[others], base[others], rtol=1e-12)


@pytest.mark.parametrize(
    ("giver", "taker", "said"),
    [("2025-10", "2026-01", "shift.1..from: its days lie outside"), ("2026-01", "2026-Q1", "share days")],
)
def test_impossible_shifts_are_named(giver: str, taker: str, said: str) -> None:
    spans = [CALENDAR.parse(label) for label in (giver, taker)]
    shift = Shift("company", 0.2, *((span.first, span.last) for span in spans))
    with pytest.raises(PlanError, match=said):
        as_factors(Drivers(shifts=(shift,)), FIRST, HORIZON, lambda d, p: pytest.fail("simulated"))
