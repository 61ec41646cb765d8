"""Cushions, odds that belong together, fairness and splits: against searches, closed forms, plain loops."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from quotacast.engine.answers.cushion import Cushion, cushion_facts
from quotacast.engine.answers.fairness import fairness_facts, groups_of_comparable, parts_of_spread
from quotacast.engine.answers.quotasheet import Wished
from quotacast.engine.answers.reconcile import Demand, as_quotas, levels_words, reconcile
from quotacast.engine.answers.together import Pay, together
from quotacast.engine.assign import (
    Layers,
    Pin,
    Pinned,
    Seats,
    listed,
    pots,
    seats,
    split_by,
    split_evenly_in_odds,
)
from quotacast.engine.columns import columns_of
from quotacast.engine.metrics import metric
from quotacast.engine.paths import Paths, Steps
from quotacast.engine.places import FACTORS
from quotacast.engine.quota import Quota, Scope
from quotacast.engine.reports.frontier import draw
from quotacast.engine.reports.words import money
from quotacast.engine.sharing import Grain, equal_odds
from quotacast.models.history.schema import NONE
from quotacast.models.periods import Calendar

CALENDAR = Calendar()
YEAR = CALENDAR.parse("2027")
BOOKINGS = metric("bookings")
REPS, TEAMS = ("r1", "r2", "r3", "r4", NONE), ("north", "north", "south", "south", NONE)
DRAWS = 1500


@pytest.fixture(scope="module")
def paths() -> Paths:
    """Four reps and deals without one, with a shock common to all, in whole cents."""
    rng = np.random.default_rng(12)
    size = np.array([40.0, 25.0, 70.0, 33.0, 6.0])
    shock = np.exp(0.15 * rng.standard_normal((DRAWS, 1)))
    won = np.rint(1e6 * size * shock * rng.gamma(3.0, 1 / 3, (DRAWS, 5))).astype(np.int64)
    dense = np.zeros((DRAWS, 5, 1, 2), dtype=np.int64)
    dense[:, :, 0, 1] = won
    steps = Steps.covering([YEAR])
    pairs = tuple(zip(REPS, TEAMS, strict=True))
    past = {"won_cents": np.zeros((5, 1), dtype=np.int64)}
    return Paths(
        CALENDAR.parse("2026").last, steps, REPS, TEAMS, {"won_cents": columns_of(dense)}, pairs, past
    )


@pytest.fixture(scope="module")
def who(paths: Paths) -> Seats:
    return seats(paths, BOOKINGS, YEAR)


def everything(paths: Paths) -> Any:
    return paths.array("won_cents")[:, :, 0].sum(axis=(1, 2)) / 100


def cushion(paths: Paths, who: Seats, target: float, x: float = 0.7, y: float = 0.5) -> Cushion:
    return Cushion(who, everything(paths), target, lambda total: equal_odds(who.ordered, total), x, y)


# -- the cushion --------------------------------------------------------------------------------------------


def test_deals_without_a_rep_have_no_seat(who: Seats) -> None:
    assert who.reps == ("r1", "r2", "r3", "r4")
    assert who.team_names == ("north", "south")


@pytest.mark.parametrize("target", [1_100_000.0, 1_250_000.0, 1_400_000.0])
def test_room_and_smallest_cushion_against_a_grid(paths: Paths, who: Seats, target: float) -> None:
    """Every cushion on a grid of 0.1 %, with quotas from a plain loop over futures."""
    ask = cushion(paths, who, target)
    grid = np.arange(0.0, 1.5, 0.001)
    total, nobody = everything(paths), everything(paths) - who.values.sum(axis=0)
    medians, reps, teams = [], [], []
    for c in grid:
        quotas = equal_odds(who.ordered, target * (1 + c))
        medians.append(np.median([(v >= q).mean() for v, q in zip(who.values, quotas, strict=True)]))
        covered = nobody + sum(np.minimum(v, q) for v, q in zip(who.values, quotas, strict=True))
        reps.append((covered >= target).mean())
        north = np.minimum(who.values[:2].sum(axis=0), quotas[:2].sum())
        south = np.minimum(who.values[2:].sum(axis=0), quotas[2:].sum())
        teams.append((nobody + north + south >= target).mean())
    enough = np.flatnonzero(np.array(medians) >= 0.5)
    room = ask.room()
    if enough.size:
        assert room == pytest.approx(grid[enough.max()], abs=0.0011)
    else:
        assert room is None
    for layer, found in (("rep", np.array(reps)), ("team", np.array(teams))):
        safe = np.flatnonzero(found >= 0.7)
        smallest = ask.smallest(layer)
        if safe.size:
            assert smallest == pytest.approx(grid[safe.min()], abs=0.0011)
        else:
            assert smallest is None or smallest > grid[-1]
    assert ask.p_company == (total >= target).mean()
    facts = cushion_facts(ask)
    assert facts["feasible"] == bool(ask.p_company >= 0.7 and enough.size)
    if None not in facts["covering"].values():
        assert 0 <= facts["covering"]["team"] <= facts["covering"]["rep"]


def test_an_easy_target_is_feasible_and_a_hard_one_says_what_may_be_promised(
    paths: Paths, who: Seats
) -> None:
    easy, hard = (cushion_facts(cushion(paths, who, t)) for t in (1_000_000.0, 2_500_000.0))
    assert easy["feasible"]
    assert easy["words"].startswith("Feasible: the smallest cushion is 0%")
    assert not hard["feasible"]
    assert hard["words"].startswith("Infeasible: the odds of")
    total = np.sort(everything(paths))
    assert (total >= hard["company_safe"]).mean() >= 0.7 > (total >= hard["company_safe"] + 0.01).mean()


def test_reps_who_move_together_need_no_cushion() -> None:
    """Of comonotone reps all or none attain: the room is Q_C(y) / T - 1, and nothing is left uncovered."""
    rng = np.random.default_rng(5)
    z = rng.gamma(9.0, 1 / 9, 3000)
    values = np.array([[3.0], [5.0], [9.0]]) * z
    who = Seats(("a", "b", "c"), ("n", "n", "s"), values, np.sort(values, axis=1))
    target = 14.0
    ask = Cushion(who, values.sum(axis=0), target, lambda t: equal_odds(who.ordered, t), 0.6, 0.5)
    quantile = np.sort(values.sum(axis=0))[3000 - 1500]
    assert ask.room() == pytest.approx(quantile / target - 1, abs=1e-4)
    assert ask.smallest("rep") == ask.smallest("team") == 0.0


def test_the_frontier_moves_as_it_must_and_is_drawn(paths: Paths, who: Seats) -> None:
    answer = reconcile(paths, who, demand(who, 1_150_000.0), {})
    rows = answer.summary["cushion"]["frontier"]
    assert [r["rep_odds_median"] for r in rows] == sorted((r["rep_odds_median"] for r in rows), reverse=True)
    assert [r["p_covered_reps"] for r in rows] == sorted(r["p_covered_reps"] for r in rows)
    assert len({r["p_company"] for r in rows}) == 1
    assert all(r["p_covered_reps"] <= r["p_covered_teams"] <= r["p_company"] for r in rows)
    for width in (960, 350):
        assert (draw(answer, width) or "").startswith("<svg")


# -- a target and its split ---------------------------------------------------------------------------------


def demand(who: Seats, target: float, split: Any = None, pins: Any = None, **more: Any) -> Demand:
    way, odds, kept = split or split_evenly_in_odds(who), Wished(0.7, 0.6, 0.55), pins or Pinned()
    return Demand(BOOKINGS, YEAR, target, way, "equal-odds", kept, odds, Grain(100, 1), **more)


def test_gap_and_levels_against_plain_quantiles(paths: Paths, who: Seats) -> None:
    facts = reconcile(paths, who, demand(who, 1_800_000.0), {}).summary
    total = np.sort(everything(paths))
    assert facts["p_target"] == (total >= 1_800_000.0).mean()
    assert facts["gap_p50"] == pytest.approx(1_800_000.0 - np.median(total))
    assert facts["at_wished"] == pytest.approx(total[DRAWS - 1050])
    reps = sum(np.sort(v)[DRAWS - 825] for v in who.values)
    assert facts["levels"][2]["sum"] == pytest.approx(reps)
    assert not facts["attainable"]
    assert facts["verdict"].startswith("No split makes it attainable: the company reaches it with")
    assert f"add up to {money(reps)}: under any split some rep has less" in facts["verdict"]


def test_an_attainable_target_is_called_so(paths: Paths, who: Seats) -> None:
    facts = reconcile(paths, who, demand(who, 1_000_000.0), {}).summary
    assert facts["attainable"]
    assert facts["common_odds"] >= 0.55


def test_split_adds_up_with_layers_and_pins(paths: Paths, who: Seats) -> None:
    pins = Pinned.of([Pin("aim.pin[1]", Scope("team", "south"), 900_000.0)])
    ask = demand(who, 1_700_000.0, split_by(np.array([1.0, 3.0, 1.0, 1.0])), pins, layers=Layers(0.05, 0.1))
    rows = reconcile(paths, who, ask, {}).rows.set_index(["scope", "scope_id"])["target"]
    assert rows["company", ""] == 1_700_000.0
    assert rows["team", "south"] == 900_000.0
    assert rows["team", "north"] == pytest.approx(1_700_000 * 1.05 - 900_000)
    assert rows["rep", "r3"] == rows["rep", "r4"] == pytest.approx(495_000.0)
    assert rows["rep", "r2"] == pytest.approx(3 * rows["rep", "r1"], abs=0.02)
    assert rows["rep"].sum() == pytest.approx(1_700_000 * 1.05 * 1.1, abs=0.011)


# -- odds that belong together ------------------------------------------------------------------------------


def quotas(targets: Any, company: float | None, name: str = "a") -> list[Quota]:
    found = [Quota(Scope("rep", r), "bookings", "2027", t, name) for r, t in zip(REPS, targets, strict=False)]
    more = [] if company is None else [Quota(Scope("company"), "bookings", "2027", company, name)]
    return [*more, *found]


def test_a_set_against_plain_loops(paths: Paths) -> None:
    targets, company = np.array([420e3, 230e3, 650e3, 300e3]), 1_500_000.0
    pay = Pay(0.06, 1.5, 90_000.0)
    answer = together(paths, quotas(targets, company), CALENDAR, {}, pay, 0.7)
    facts = answer.summary["sets"][0]
    values = paths.array("won_cents")[:, :4, 0].sum(axis=2) / 100
    total = everything(paths)
    share = np.array([sum(v >= t for v, t in zip(draw, targets, strict=True)) / 4 for draw in values])
    assert facts["share_mean"] == pytest.approx(share.mean())
    assert facts["share_counts"] == [int((share == k / 4).sum()) for k in range(5)]
    normal = share >= 0.6
    assert facts["p_company_if_norm"] == pytest.approx((total[normal] >= company).mean())
    assert facts["p_company_if_not"] == pytest.approx((total[~normal] >= company).mean())
    mixed = normal.mean() * facts["p_company_if_norm"] + (1 - normal.mean()) * facts["p_company_if_not"]
    assert facts["p_company"] == pytest.approx(mixed)
    assert facts["average_attainment"] == pytest.approx(np.mean(values / targets))
    assert facts["realisation"] == pytest.approx(values.sum(axis=1).mean() / targets.sum())
    assert facts["cushion"] == pytest.approx(targets.sum() / company - 1)
    assert (total >= targets.sum() / (1 + facts["cushion_needed"])).mean() == pytest.approx(
        0.7, abs=1 / DRAWS
    )
    paid = [
        sum(0.06 * v if v <= t else 0.06 * t + 0.09 * (v - t) for v, t in zip(draw, targets, strict=True))
        for draw in values
    ]
    assert facts["payout"] == pytest.approx(np.mean(paid))
    assert facts["quota_to_ote_most"] == pytest.approx(650 / 90)
    row = answer.rows.set_index("scope_id").loc["r3"]
    assert row["shortfall"] == pytest.approx(np.mean([max(650e3 - v, 0) for v in values[:, 2]]))
    assert facts["fairness"]["equal_odds"] == pytest.approx(
        (values >= answer.rows["fair_target"].dropna().to_numpy()).mean(), abs=1 / DRAWS
    )


def test_independent_reps_attain_as_a_binomial() -> None:
    rng = np.random.default_rng(21)
    won = np.rint(1e7 * rng.uniform(0, 1, (6000, 5))).astype(np.int64)
    dense = np.zeros((6000, 5, 1, 2), dtype=np.int64)
    dense[:, :, 0, 0] = won
    steps, pairs = Steps.covering([YEAR]), tuple((f"r{k}", "t") for k in range(5))
    past = {"won_cents": np.zeros((5, 1), dtype=np.int64)}
    five = Paths(
        CALENDAR.parse("2026").last, steps, tuple(r for r, _ in pairs), ("t",) * 5,
        {"won_cents": columns_of(dense)}, pairs, past,
    )  # fmt: skip
    target = 62_000.0  # reached with 0.38: uniform up to 100,000
    some = [Quota(Scope("rep", r), "bookings", "2027", target) for r, _ in pairs]
    facts = together(five, some, CALENDAR, {}, Pay(0.1, 2.0)).summary["sets"][0]
    assert np.array(facts["share_counts"]) / 6000 == pytest.approx(binom.pmf(range(6), 5, 0.38), abs=0.02)
    assert facts["p_share_norm"] == pytest.approx(binom.sf(2, 5, 0.38), abs=0.02)
    above = 100_000 * 0.38**2 / 2  # E[(X - t)+] of the uniform
    assert facts["payout"] == pytest.approx(5 * 0.1 * (50_000 + above), rel=0.02)
    assert facts["company_target"] == pytest.approx(5 * target)
    assert not facts["company_stated"]


def test_a_set_without_a_company_target_takes_the_plans(paths: Paths) -> None:
    two = [*quotas([4e5, 2e5, 6e5, 3e5], 1_450_000.0, "base"), *quotas([3e5, 2e5, 5e5, 2e5], None, "easy")]
    sets = together(paths, two, CALENDAR, {}).summary["sets"]
    assert {s["set"]: s["company_target"] for s in sets} == {"base": 1_450_000.0, "easy": 1_450_000.0}


# -- fairness -----------------------------------------------------------------------------------------------


def spread(sizes: dict[str, Any], targets: Any) -> dict[str, float]:
    """Parts of the spread of reps who differ by the given factors only, on one common course."""
    rng = np.random.default_rng(31)
    reps = [f"r{k}" for k in range(6)]
    factors = {name: np.asarray(sizes.get(name, np.ones(6))) for name in FACTORS}
    whole = np.prod(list(factors.values()), axis=0)
    values = whole[:, None] * rng.gamma(4.0, 0.25, 4000)
    places = {}
    for size in range(4):
        for chosen in combinations(FACTORS, size):
            scale = np.prod([factors[f] if f in chosen else np.ones(6) for f in FACTORS], axis=0)
            places[frozenset(chosen)] = dict(zip(reps, scale, strict=True))
    facts = fairness_facts(
        reps, values, np.asarray(targets, dtype=float), dict.fromkeys(reps, "ramped"), places
    )
    parts: dict[str, float] = facts["parts"]
    return parts


SIZES = np.array([0.6, 0.8, 1.0, 1.1, 1.3, 1.6])


@pytest.mark.parametrize("factor", FACTORS)
def test_the_spread_under_even_quotas_is_the_factor_that_differs(factor: str) -> None:
    parts = spread({factor: SIZES}, np.ones(6))
    assert sum(parts.values()) == pytest.approx(1.0)
    assert parts[factor] == pytest.approx(1.0, abs=0.03)


def test_quotas_alone_and_quotas_that_even_out() -> None:
    assert spread({}, SIZES)["quota"] == pytest.approx(1.0, abs=0.03)
    assert spread({"territory": SIZES}, SIZES) == {}  # equal odds: nothing to be shared
    half = spread({"skill": SIZES}, np.sqrt(SIZES))
    assert half["quota"] < -0.3
    assert half["skill"] > 1.3
    both = spread({"skill": SIZES, "territory": SIZES[[3, 0, 5, 1, 4, 2]]}, np.ones(6))
    assert both["skill"] > 0.2
    assert both["territory"] > 0.2
    assert both["ramp"] == pytest.approx(0.0, abs=1e-9)


def test_even_odds_have_no_parts_and_groups_are_told_apart() -> None:
    flat = {frozenset(c): np.full(4, 0.5) for n in range(4) for c in combinations(FACTORS, n)}
    assert parts_of_spread(flat) == {}
    odds = np.array([0.2, 0.9, 0.5, 0.4])
    rows = groups_of_comparable(["a", "b", "c", "d"], odds, {"a": "ramped", "b": "ramping", "c": "ramped"})
    assert [(r["group"], r["reps"], r["least_rep"], r["most_rep"]) for r in rows] == [
        ("ramped", 2, "a", "c"), ("others", 1, "d", "d"), ("ramping", 1, "b", "b"),
    ]  # fmt: skip


def test_reconciled_rows_can_be_judged_as_quotas(paths: Paths, who: Seats) -> None:
    answer = reconcile(paths, who, demand(who, 1_500_000.0), {})
    facts = together(paths, as_quotas(answer), CALENDAR, {}).summary["sets"][0]
    assert facts["company_target"] == 1_500_000.0
    assert facts["cushion"] == pytest.approx(0.0, abs=1e-12)
    assert facts["rep_odds_most"] - facts["rep_odds_least"] <= 1.5 / DRAWS


@pytest.mark.parametrize(
    ("over", "said"), [(0.125, "5 reps 80.0k at 60% each (+12%)"), (None, "5 reps 80.0k at 60% each")]
)
def test_what_a_level_can_promise_is_held_against_a_company_that_can_promise_something(
    over: float | None, said: str
) -> None:
    company = {"level": "company", "units": 1, "odds": 0.7, "sum": 71_000.0, "over_company": 0.0}
    reps = {"level": "rep", "units": 5, "odds": 0.6, "sum": 80_000.0, "over_company": over}
    assert levels_words([company, reps]) == ["company 71.0k at 70%", said]


def test_where_nobody_is_at_work_pins_contradict_nothing() -> None:
    """The answer itself then says that no rep reaches anything."""
    company = Pinned.of([Pin("quota[1]", Scope("company"), 300_000.0)])
    assert pots(listed([]), company, 300_000.0) == []
    assert [pot.total for pot in pots(listed([("r1", "north")]), company, 300_000.0)] == [300_000.0]
