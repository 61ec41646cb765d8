"""Leavers, their backfills and the deals they leave behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from scipy import stats

from quotacast.engine.book import open_book
from quotacast.engine.departures import HEIRS, Crew, Departures, with_backfills
from quotacast.engine.drivers import Absence, Drivers, Hire, Leave, People
from quotacast.engine.expected import expected_measures
from quotacast.engine.paths import Steps
from quotacast.engine.selling import Costs, payroll
from quotacast.engine.simulate import run_blocks
from quotacast.engine.tables import Tables
from quotacast.errors import PlanError
from quotacast.models.funnel import Funnel, assemble, prepare
from quotacast.models.history.history import History
from quotacast.models.people import FAR, TENURED, Employment
from quotacast.models.periods import Calendar
from quotacast.models.terms import Posterior
from quotacast.models.timegrid import day_number
from quotacast.models.turnover import PRIOR_DAYS, PRIOR_LEAVES, PRIOR_TURNOVER, Turnover, turnover

AS_OF, HORIZON = date(2025, 12, 31), date(2026, 12, 31)
FIRST, LAST = int(day_number(AS_OF)) + 1, int(day_number(HORIZON))
#: A hazard at which a good part of the reps leave within the year.
MANY = Turnover(40, 40 * 400.0)
LEAVERS = People(leavers=True, backfill_days=30, keep_odds=0.6)
LEVELS = {"created": -2.0, "won": -4.6, "lost": -4.1, "value": 8.7}
LEVELS |= {"leads": -1.6, "converted": -3.6, "disqualified": -3.4}


@pytest.fixture(scope="module")
def history(small_world: Callable[..., Any], world_history: Callable[..., History]) -> History:
    return world_history(small_world(11, 6, leads=True))


@pytest.fixture(scope="module")
def funnel(history: History) -> Funnel:
    """Generic effects, written down rather than fitted; nothing is uncertain beyond the data."""
    known, rng, posteriors = prepare(history, Calendar()), np.random.default_rng(8), {}
    for name, (declaration, _) in known.declared().items():
        effects = {t.name: rng.normal(0.0, 0.2, (2, t.size)) + t.prior_mean for t in declaration.terms}
        effects["level"] = np.full((2, 1), LEVELS.get(name, 0.2))
        hyper = {h: np.full(2, 0.3 if "_" not in h else 0.0) for h in declaration.hyperparameters()}
        posteriors[name] = Posterior(effects, hyper, {"method": "written"})
    return assemble(known, posteriors, 3)


@pytest.fixture(scope="module")
def tables(funnel: Funnel, history: History) -> Callable[..., Tables]:
    def build(drivers: Drivers, past: Turnover | None = MANY, daily: bool = False) -> Tables:
        known = funnel.prepared
        book = open_book(history, known.people, known.segment, known.quotes)
        steps = Steps.covering(Calendar().periods("day" if daily else "month", date(2026, 1, 1), HORIZON))
        given = Tables(funnel, book, drivers, HORIZON, steps, 20)
        if past is not None:
            given.departures.turnover = past
        return given

    return build


# -- the hazard -------------------------------------------------------------------------------------------


def spells(*of: tuple[str, int, int]) -> Employment:
    names, start, stop = zip(*of, strict=True)
    n = len(of)
    return Employment(
        names, ("a",) * n, np.array(start), np.array(stop), np.full(n, -TENURED), (), ()
    )  # fmt: skip


def test_leavings_and_days_are_counted_from_spells() -> None:
    people = spells(
        ("stays", 0, FAR),  # 1000 days, censored
        ("left", 100, 399),  # 300 days, and left
        ("later", 500, 1_200),  # known to leave, but after the last day: 500 days, censored
        ("never there", 0, -1),
        ("(none)", 0, FAR),  # nobody
    )
    found = turnover(people, 0, 999)
    assert (found.leaves, found.rep_days) == (1, 1800.0)
    assert (found.shape, found.rate) == (PRIOR_LEAVES + 1, PRIOR_DAYS + 1800.0)


def test_the_prior_is_the_fields_turnover_and_wide() -> None:
    prior = Turnover(0, 0.0)
    mean = PRIOR_LEAVES / PRIOR_DAYS * 365.25
    assert mean == pytest.approx(-np.log(1 - PRIOR_TURNOVER))
    assert prior.annual(0.05) < 0.08
    assert prior.annual(0.95) > 0.5
    assert Turnover(60, 60 * 730.0).annual(0.5) == pytest.approx(1 - np.exp(-0.5), abs=0.02)


def test_the_hazard_is_recovered_with_leavers_in_the_data_only() -> None:
    """200 reps for three years at 40 % a year, each follower as a rep of its own."""
    rng, hazard, last = np.random.default_rng(4), -np.log(0.6) / 365.25, 3 * 365
    rows = []
    for k in range(200):
        at = 0
        while at <= last:
            stay = int(rng.geometric(-np.expm1(-hazard)))
            rows.append((f"{k}.{at}", at, FAR if at + stay - 1 >= last else at + stay - 1))
            at += stay
    found = turnover(spells(*rows), 0, last)
    low, high = found.annual(0.005), found.annual(0.995)
    assert low < 0.4 < high
    assert high - low < 0.12
    survivors = turnover(spells(*(r for r in rows if r[2] == FAR)), 0, last)
    assert survivors.leaves == 0  # who is left tells nothing of who has gone
    assert survivors.annual(0.995) < 0.05


def test_ranks_of_the_hazard_are_uniform_in_small_companies() -> None:
    """Simulation-based calibration: hazards from the prior, eight seats for two years, 1,500 companies."""
    rng, last, ranks = np.random.default_rng(9), 730, []
    for hazard in rng.gamma(PRIOR_LEAVES, 1 / PRIOR_DAYS, 1500):
        rows = []
        for k in range(8):
            at = int(rng.integers(0, 400))
            while at <= last:
                stay = int(rng.geometric(-np.expm1(-hazard)))
                rows.append((f"{k}.{at}", at, FAR if at + stay - 1 >= last else at + stay - 1))
                at += stay + int(rng.integers(0, 90))
        found = turnover(spells(*rows), 0, last)
        ranks.append(float(stats.gamma.cdf(hazard, found.shape, scale=1 / found.rate)))
    assert stats.kstest(ranks, "uniform").pvalue > 0.01
    inside = np.mean((np.array(ranks) > 0.05) & (np.array(ranks) < 0.95))
    assert abs(inside - 0.9) < 3 * np.sqrt(0.09 / 1500)


# -- who is there -----------------------------------------------------------------------------------------


def test_head_count_without_backfill_is_the_closed_form(tables: Callable[..., Tables]) -> None:
    """P(there on day t) = (rate / (rate + t + 1)) ** shape, the hazard integrated out (Lomax)."""
    given = tables(Drivers(people=replace(LEAVERS, backfill_days=3650)))
    table, draws = given.departures.block(0, 20_000), 20_000
    seats = given.crew.seats
    at_work = [r for r in range(seats) if given.crew.stop[r] >= FAR]
    gone = table["gone"][:, at_work]
    for day in (0, 50, 200, 364):
        wanted = float(MANY.staying(np.array(day + 1)))
        seen = (gone > day).mean(axis=1)  # share of the reps, by draw: they share the hazard
        assert abs(seen.mean() - wanted) < 4.0 * seen.std() / np.sqrt(draws), day
    assert (table["joined"][:, seats:] == LAST - FIRST + 1).all()  # nobody follows in time


def test_head_count_with_backfill_is_the_renewal_equation(tables: Callable[..., Tables]) -> None:
    """Empty on day t: the rep left on one of the last 30 days, as followers stay: S(t - 29) - S(t + 1)."""
    given = tables(Drivers(people=LEAVERS))
    table, seats = given.departures.block(0, 20_000), given.crew.seats
    followers = range(seats, len(given.crew.reps))
    for day in (10, 120, 364):
        seen = np.stack(
            [(table["gone"][:, given.crew.seat[r]] > day) | (table["joined"][:, r] <= day) for r in followers]
        ).mean(axis=0)
        gap = MANY.staying(np.array(max(day - 29, 0))) - MANY.staying(np.array(day + 1))
        assert abs(seen.mean() - (1.0 - gap)) < 4.0 * seen.std() / np.sqrt(20_000), day


def test_who_leaves_does_not_depend_on_blocks_or_on_other_reps(tables: Callable[..., Tables]) -> None:
    given = tables(Drivers(people=LEAVERS))
    whole, part = given.departures.block(0, 40), given.departures.block(25, 15)
    for name in whole:
        assert np.array_equal(whole[name][25:], part[name]), name
    more = tables(Drivers(hires=(Hire("a+1", "a", date(2026, 2, 2)),), people=LEAVERS))
    seats = given.crew.seats
    wider = more.departures.block(0, 40)
    assert np.array_equal(wider["gone"][:, :seats], whole["gone"][:, :seats])
    moved = wider["heir"][:, :seats] != whole["heir"][:, :seats]
    assert (wider["heir"][:, :seats][moved] == seats).all()  # only to the new colleague
    assert moved.any()


def test_a_seat_has_one_holder_at_a_time_over_years() -> None:
    """Three years: three followers a seat, each after the delay, the last stays."""
    n, days = 5, 3 * 365
    base = Crew(
        tuple("abcde"), ("t",) * n, np.zeros(n, int), np.full(n, FAR), np.zeros(n, int), n, np.arange(n),
        np.zeros(n, dtype=bool),
    )  # fmt: skip
    crew = with_backfills(base, LEAVERS, 1000, 1000 + days - 1)
    assert len(crew.reps) == n + 3 * n
    assert crew.reps[n:][:: n + 1] == ("a~1", "b~2", "c~3")
    table = Departures(crew, LEAVERS, Turnover(40, 40 * 200.0), 1000, days, 6).block(0, 300)
    joined, gone = table["joined"], table["gone"]
    for earlier in range(3 * n):
        left = gone[:, earlier]
        again = np.where(left < days, np.minimum(left + LEAVERS.backfill_days, days), days)
        assert np.array_equal(joined[:, earlier + n], again)
        assert (gone[:, earlier] >= joined[:, earlier]).all()
    assert (gone[:, -n:] == days).all()
    assert (joined[:, -n:] < days).any()
    for d, r in np.argwhere(gone < days).tolist():
        seats = set(table["heir"][d, r].tolist())
        assert seats <= set(range(n))
        for s in seats - {r % n}:
            rows = range(s, len(crew.reps), n)
            assert any(joined[d, k] <= gone[d, r] < gone[d, k] for k in rows)  # somebody is there


def test_planned_leavers_do_not_leave_by_chance_and_have_no_backfill(tables: Callable[..., Tables]) -> None:
    given = tables(Drivers(leaves=(Leave("r01", date(2026, 7, 1)),), people=LEAVERS))
    r = given.crew.reps.index("r01")
    assert (given.departures.block(0, 50)["gone"][:, r] == 181).all()
    assert r not in given.crew.seat[given.crew.seats :]


# -- what becomes of creations and deals ------------------------------------------------------------------


def test_everything_with_leavers_has_its_closed_form_mean(tables: Callable[..., Tables]) -> None:
    """Creations only while somebody is there, ramps of followers, handed-over deals: all cells."""
    given = tables(Drivers(hires=(Hire("b+1", "b", date(2026, 3, 2)),), people=LEAVERS))
    given.activity.models = ()  # or else every draw has activities, and so means, of its own
    few = given.departures.block(4, 2)
    assert ((few["gone"] < 366).sum(axis=1) > 0).all()
    given.departures.block = lambda first, draws: {  # type: ignore[method-assign]
        name: np.ascontiguousarray(table[np.arange(first, first + draws) % 2]) for name, table in few.items()
    }
    drawn, mean, repeats = run_blocks(given, 3000), expected_measures(given, 0, 2), 1500
    scores = []
    for name, wanted in mean.items():
        gap = drawn[name] - np.tile(wanted, (repeats,) + (1,) * (wanted.ndim - 1))
        error = np.maximum(gap.std(axis=0) / np.sqrt(gap.shape[0]), 1e-12)
        many = mean["won" if name == "won_days" else name].sum(axis=0) * repeats > 300
        scores.append((gap.mean(axis=0) / error)[many])
    z = np.concatenate(scores)
    assert z.size > 150
    assert np.abs(z).max() < 4.2
    assert 0.8 < z.std() < 1.2


def closed(result: dict[str, Any]) -> Any:
    return result["won"] + result["lost"]


@pytest.mark.parametrize("people", [LEAVERS, People(keep_odds=0.3), People(keep_odds=0.0)])
def test_every_deal_is_conserved_in_every_draw(tables: Callable[..., Tables], people: People) -> None:
    """Handing over moves no closing day, loses no deal and turns wins into losses only."""
    plan = Drivers(leaves=(Leave("r02", date(2026, 2, 16)), Leave("r05", date(2026, 5, 4))), people=people)
    kept = replace(plan, people=replace(people, keep_odds=1.0))
    one, other = run_blocks(tables(plan, daily=True), 150), run_blocks(tables(kept, daily=True), 150)
    assert np.array_equal(one["created"], other["created"])
    assert np.array_equal(closed(one), closed(other))
    assert (one["won"] <= other["won"]).all()
    assert one["won"].sum() < other["won"].sum()
    book = tables(plan).fixed["deal_rep"].size
    total = closed(one).sum(axis=(1, 2))
    assert (total[:, 0] <= book).all()
    assert (total[:, 1] <= one["created"].sum(axis=(1, 2))).all()


def test_a_planned_leaving_moves_the_closings_to_the_team(tables: Callable[..., Tables]) -> None:
    on = date(2026, 3, 2)
    plan = Drivers(leaves=(Leave("r01", on),), people=People(keep_odds=1.0))
    base, gone = run_blocks(tables(Drivers(), daily=True), 300), run_blocks(tables(plan, daily=True), 300)
    crew, at = tables(plan).crew, (on - date(2026, 1, 1)).days
    r = crew.reps.index("r01")
    mates = [s for s, team in enumerate(crew.teams) if team == crew.teams[r] and s != r]
    others = [s for s, team in enumerate(crew.teams) if team != crew.teams[r]]
    for name in base:
        assert np.array_equal(base[name][:, :, :at], gone[name][:, :, :at]), name
        assert np.array_equal(base[name][:, others], gone[name][:, others]), name
    assert gone["created"][:, r, at:].sum() == 0
    assert closed(gone)[:, r, at:].sum() == 0
    # open deals: the team has the same closings, wins and cents in every draw, only with others
    team = [r, *mates]
    for name in ("won", "lost", "won_cents"):
        before, after = base[name][..., 0][:, team], gone[name][..., 0][:, team]
        assert np.array_equal(before.sum(axis=1), after.sum(axis=1)), name
        assert (after[:, 1:] >= before[:, 1:]).all()
    spread = (closed(gone) - closed(base))[:, mates, at:].sum(axis=(0, 2, 3))
    assert (spread > 0.2 * spread.sum() / len(mates)).all()  # not all with one of them


def test_without_colleagues_the_seat_keeps_the_deals(tables: Callable[..., Tables]) -> None:
    on = date(2026, 3, 2)
    team = [r for r, t in zip(("r01", "r02", "r03", "r04", "r05", "r06"), "aaabbb", strict=True) if t == "a"]
    plan = Drivers(leaves=tuple(Leave(r, on) for r in team), people=People(keep_odds=1.0))
    given = tables(plan)
    heir = given.departures.block(0, 5)["heir"]
    assert heir.shape[2] == HEIRS
    for rep in team:
        r = given.crew.reps.index(rep)
        assert (heir[:, r] == r).all()


def test_the_year_loses_what_the_vacancies_cost(tables: Callable[..., Tables]) -> None:
    base = run_blocks(tables(Drivers()), 400)["created"].sum()
    with_backfill = run_blocks(tables(Drivers(people=LEAVERS)), 400)["created"].sum()
    without = run_blocks(tables(Drivers(people=replace(LEAVERS, backfill_days=3650))), 400)["created"].sum()
    assert without < with_backfill < base
    there = float(np.mean(MANY.staying(np.arange(365) + 1.0)))
    assert without / base == pytest.approx(there, abs=0.05)  # reps and seasons differ a little


def test_before_anyone_leaves_nothing_changes(tables: Callable[..., Tables]) -> None:
    """Common random numbers: a draw differs only from the day of its first leaving on."""
    base, some = (run_blocks(tables(d, daily=True), 60) for d in (Drivers(), Drivers(people=LEAVERS)))
    first = tables(Drivers(people=LEAVERS)).departures.block(0, 60)["gone"].min(axis=1)
    assert (first < 365).any()
    for d, day in enumerate(first):
        for name in base:
            assert np.array_equal(base[name][d, :, :day], some[name][d, :, :day])


def test_activities_and_leads_follow_the_people(tables: Callable[..., Tables]) -> None:
    """Nobody calls, and no lead comes, while a seat is empty; a follower calls as somebody new."""
    given = tables(Drivers(people=LEAVERS), daily=True)
    drawn, stays = run_blocks(given, 60), given.departures.block(0, 60)
    monthly = run_blocks(tables(Drivers(people=LEAVERS)), 60)  # steps change nothing
    day, seats = np.arange(365), given.crew.seats
    there = np.zeros((60, seats, 365), dtype=bool)
    for r, seat in enumerate(given.crew.seat):
        there[:, seat] |= (day >= stays["joined"][:, r, None]) & (day < stays["gone"][:, r, None])
    assert (~there).mean() > 0.02
    base = run_blocks(tables(Drivers(), daily=True), 60)
    first = stays["gone"][:, :seats]
    for name in ("activity:call", "leads_created"):
        assert drawn[name][~there].sum() == 0, name
        before = day < first[:, :, None]
        assert np.array_equal(np.where(before, drawn[name], 0), np.where(before, base[name], 0)), name
        after = there & (day >= first[:, :, None] + LEAVERS.backfill_days)
        assert drawn[name][after].sum() > 100, name
        assert not np.array_equal(drawn[name][after], base[name][after]), name
        assert np.array_equal(drawn[name].sum(axis=2), monthly[name].sum(axis=2)), name


def test_a_leavers_leads_and_what_they_begin_go_to_the_heirs(tables: Callable[..., Tables]) -> None:
    """In a company whose opportunities all come from leads."""

    def run(*leaves: Leave, keep_odds: float = 0.2) -> dict[str, Any]:
        given = tables(Drivers(leaves=leaves, people=People(keep_odds=keep_odds)), daily=True)
        given.activity.models = ()
        given.fixed["at_work"][:] = 0.0
        given.fixed |= {name: rows[:0] for name, rows in given.fixed.items() if name.startswith("deal_")}
        return run_blocks(given, 200)

    on, crew = date(2026, 3, 2), tables(Drivers()).crew
    base, gone, at = run(), run(Leave("r01", on)), (on - date(2026, 1, 1)).days
    r = crew.reps.index("r01")
    mates = [s for s, team in enumerate(crew.teams) if team == crew.teams[r] and s != r]
    for name in ("leads_created", "leads_converted", "lead_days", "created", "won", "lost"):
        assert gone[name][:, r, at:].sum() == 0, name
        assert np.array_equal(gone[name][:, r, :at], base[name][:, r, :at]), name
    for name in ("leads_converted", "leads_disqualified", "lead_days", "created"):
        more = gone[name][:, mates] - base[name][:, mates]
        assert (more >= 0).all(), name
        assert (more.sum(axis=(0, 2)) > 0).all(), name
    # what an heir's lead begins was never in other hands, so it keeps its odds
    early = Leave("r01", date(2026, 1, 2))
    some, none = run(early), run(early, keep_odds=0.0)
    never = some["created"][:, r].sum(axis=1) == 0
    assert never.sum() > 100
    assert np.array_equal(some["won"][never], none["won"][never])
    assert (some["created"][never][:, mates] > base["created"][never][:, mates]).any()


def test_costs_follow_who_is_there(tables: Callable[..., Tables]) -> None:
    """Day by day: a month costs 3,100 while somebody is there, and whoever follows a leaver 517 more."""
    given = tables(Drivers(people=LEAVERS))
    paid = payroll(Costs(3100.0, 517.0), given.departures, given.drivers, given.steps, 50)
    stays, crew = given.departures.block(0, 50), given.crew
    days = np.arange(FIRST, LAST + 1).astype("datetime64[D]")
    month = days.astype("datetime64[M]").astype(int)
    daily = 3100.0 / np.bincount(month - month[0])[month - month[0]]
    at, first, stop = np.arange(365), 59, 151  # March to May
    for seat in (0, 3):
        wanted = np.zeros(50)
        for r in np.flatnonzero(crew.seat == seat):
            joined, gone = (stays[name][:, r, None] for name in ("joined", "gone"))
            inside = (at >= first) & (at < stop)
            wanted += (daily * ((at >= joined) & (at < gone) & inside)).sum(axis=1)
            wanted += 517.0 * (r >= crew.seats) * ((joined >= first) & (joined < stop))[:, 0]
        found = paid.sums(np.array([seat]), slice(2, 5))
        np.testing.assert_allclose(found / 100, wanted, atol=0.03)
        assert found.std() > 0
    some = np.array([7, 7, 31])
    everybody = np.arange(crew.seats)
    whole = paid.sums(everybody, slice(0, 12))
    assert np.array_equal(paid.taken(some).sums(everybody, slice(0, 12)), whole[some])
    assert np.array_equal(sum(paid.sums(np.array([s]), slice(0, 12)) for s in everybody), whole)


# -- absence ----------------------------------------------------------------------------------------------


def means(given: Tables) -> dict[str, Any]:
    """Mean arrivals by seat and day: of leads, and of opportunities that no lead begins."""
    given.activity.models = ()
    with_leads = expected_measures(given, 0, 2)["leads_created"]
    given.leads.counts = None
    alone = expected_measures(given, 0, 2)["created"]
    return {"created": alone.mean(axis=0), "leads_created": with_leads.mean(axis=0)}


def test_absence_scales_the_days_it_covers(tables: Callable[..., Tables]) -> None:
    first, last = date(2026, 3, 1), date(2026, 4, 30)
    half = Absence("r02", date(2026, 6, 1), None, 0.4)
    plan = Drivers(absences=(Absence("r01", first, last), half, replace(half, first=date(2026, 9, 1))))
    base, away = (means(tables(d, daily=True)) for d in (Drivers(), plan))
    day = np.array([date(2026, 1, 1) + timedelta(days=k) for k in range(365)])
    r1, r2 = (tables(plan).crew.reps.index(rep) for rep in ("r01", "r02"))
    share = np.ones_like(base["created"])
    share[r1, (day >= first) & (day <= last)] = 0.0
    share[r2, day >= date(2026, 6, 1)] *= 0.6
    share[r2, day >= date(2026, 9, 1)] *= 0.6
    for name in ("created", "leads_created"):
        np.testing.assert_allclose(away[name], base[name] * share, rtol=1e-10, atol=1e-12)
    given = tables(plan, daily=True)
    given.activity.models = ()
    drawn = run_blocks(given, 200)
    for name in ("leads_created", "activity:call"):
        counts = drawn[name].sum(axis=0)
        assert counts[r1][share[r1] == 0].sum() == 0
        assert counts[r1][share[r1] == 1].sum() > 0
    assert drawn["leads_created"][:, r2].sum() == pytest.approx(
        200 * away["leads_created"][r2].sum(), rel=0.1
    )


def test_an_absence_of_nobody_is_refused(tables: Callable[..., Tables]) -> None:
    with pytest.raises(PlanError, match="absence: there is no rep nobody; there are"):
        tables(Drivers(absences=(Absence("nobody"),)))
