"""Quotas from futures: closed forms of quantiles, equal odds, exact sums, pins."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm, poisson

from quotacast.engine.answers.attainability import attainability
from quotacast.engine.answers.quotasheet import Ask, Wished, own_target, quota_sheet
from quotacast.engine.assign import Layers, Pin, Pinned, assign, pots, seats, split_by, split_evenly_in_odds
from quotacast.engine.columns import columns_of
from quotacast.engine.metrics import metric, series
from quotacast.engine.paths import Paths, Steps
from quotacast.engine.quota import Quota, Scope
from quotacast.engine.sharing import Grain, best, equal_odds, grain, in_order, largest_remainder
from quotacast.errors import PlanError
from quotacast.models.periods import Calendar

CALENDAR = Calendar()
YEAR = CALENDAR.parse("2027")
QUARTERS = CALENDAR.within(YEAR, "quarter")
REPS, TEAMS = ("r1", "r2", "r3", "r4", "r5"), ("north", "north", "south", "south", "south")
BOOKINGS = metric("bookings")
CENTS = Grain(100, 1)


def company(
    cents: Any, periods: Any = QUARTERS, as_of: date = date(2026, 12, 31), done: Any = None, **more: Any
) -> Paths:
    """Hand-made futures: won cents of shape (draws, reps, steps)."""
    steps = Steps.covering([YEAR, *periods])
    dense = np.zeros((*cents.shape, 2), dtype=np.int64)
    dense[..., 1] = cents
    past = np.zeros((len(REPS), len(steps)), dtype=np.int64) if done is None else done
    columns = {"won_cents": columns_of(dense), **more}
    return Paths(
        as_of, steps, REPS, TEAMS, columns, tuple(zip(REPS, TEAMS, strict=True)), {"won_cents": past}
    )


@pytest.fixture(scope="module")
def paths() -> Paths:
    """Five reps of different size and skew, in quarters with a season, and a shock common to all."""
    rng = np.random.default_rng(4)
    size = np.array([30.0, 55.0, 21.0, 80.0, 44.0])[:, None] * np.array([0.8, 1.1, 0.7, 1.5])
    shock = np.exp(0.2 * rng.standard_normal((2000, 1, 1)))
    return company(np.rint(1e6 * size * shock * rng.gamma(2.0, 0.5, (2000, 5, 4))).astype(np.int64))


def ask(keep: str | None = None, pins: Any = None, rounding: float | None = None, **more: Any) -> Ask:
    scopes = (
        Scope("company"),
        Scope("team", "north"),
        Scope("team", "south"),
        *(Scope("rep", r) for r in REPS),
    )
    given: dict[str, Any] = {"metrics": ("bookings",), "scopes": scopes, "pieces": QUARTERS, **more}
    return Ask(
        whole=YEAR, wished=Wished(0.7, 0.6, 0.55), rounding=rounding, pins=pins or {}, keep=keep, **given
    )


def cents(rows: Any, scope: str, period: str) -> int:
    """Sum of the targets of a level in whole cents."""
    chosen = rows[(rows["scope"] == scope) & (rows["period"] == period)]
    return sum(round(x * 100) for x in chosen["target"])


# -- the highest target with wished odds --------------------------------------------------------------------


@pytest.mark.parametrize("odds", [0.2, 0.5, 0.6, 0.93])
def test_quantiles_of_a_normal_and_a_poisson(odds: float) -> None:
    """Draws on an even grid of probabilities: Normal quantile, and the largest k with P(X >= k) >= odds."""
    grid = (np.arange(8000) + 0.5) / 8000
    rng = np.random.default_rng(1)
    normal = rng.permutation(norm.ppf(grid, 100.0, 15.0))
    assert best(in_order(normal, "up"), odds) == pytest.approx(norm.ppf(1 - odds, 100.0, 15.0), abs=0.02)
    assert -best(in_order(normal, "down"), odds) == pytest.approx(norm.ppf(odds, 100.0, 15.0), abs=0.02)
    counts = rng.permutation(poisson.ppf(grid, 7.3))
    k = np.arange(40)
    expected = k[poisson.sf(k - 1, 7.3) >= odds].max()
    assert best(in_order(counts, "up"), odds) == expected


def test_undefined_futures_count_as_missed() -> None:
    values = np.array([np.nan] * 30 + list(range(1, 71)), dtype=float)
    days = metric("cycle_days")
    target, _ = own_target(values, days, 0.5, grain(days, None))
    assert target == 50.0  # 50 of all 100 futures, not half of the defined ones
    assert own_target(values, days, 0.75, grain(days, None))[1] == "undefined in 30% of the futures"
    assert "no more than 0" in own_target(np.array([0.0] * 6 + [9.0] * 4), BOOKINGS, 0.5, CENTS)[1]


def test_rounding_keeps_the_wished_odds() -> None:
    assert grain(BOOKINGS, 1000.0).easier(123_999.0, "up") == 123_000.0
    assert grain(metric("cycle_days"), 1000.0).easier(41.234, "down") == 41.3
    assert grain(metric("deals_won"), 1000.0).easier(12.0, "up") == 12.0


# -- equal odds ---------------------------------------------------------------------------------------------


def test_equal_odds_of_normals() -> None:
    """For Normals the targets are m_i + z s_i with z = (total - sum m) / sum s."""
    grid = norm.ppf((np.arange(6000) + 0.5) / 6000)
    mean, sd = np.array([100.0, 60.0, 250.0]), np.array([9.0, 20.0, 31.0])
    rng = np.random.default_rng(2)
    ordered = np.sort(mean[:, None] + sd[:, None] * np.stack([rng.permutation(grid) for _ in mean]), axis=1)
    for total in (370.0, 410.0, 455.0):
        z = (total - mean.sum()) / sd.sum()
        assert equal_odds(ordered, total) == pytest.approx(mean + z * sd, abs=0.02)


def test_equal_odds_against_a_search_over_all_odds(paths: Paths) -> None:
    who = seats(paths, BOOKINGS, YEAR)
    draws = who.ordered.shape[1]
    for total in (0.6, 0.9, 1.2):
        wanted = total * who.values.mean(axis=1).sum()
        found = equal_odds(who.ordered, wanted)
        assert found.sum() == pytest.approx(wanted, rel=1e-12)
        hits = (who.values >= found[:, None]).sum(axis=1)
        assert hits.max() - hits.min() <= 1
        sums = [sum(np.sort(v)[draws - k] for v in who.values) for k in range(1, draws + 1)]
        k = next(k for k in range(1, draws + 1) if sums[k - 1] <= wanted)
        assert set(hits) <= {k - 1, k}


def test_no_other_split_gives_the_least_likely_rep_more(paths: Paths) -> None:
    who = seats(paths, BOOKINGS, YEAR)
    total = 0.95 * who.values.mean(axis=1).sum()
    top = (who.values >= equal_odds(who.ordered, total)[:, None]).mean(axis=1).max()
    rng = np.random.default_rng(8)
    for _ in range(300):
        weights = who.values.mean(axis=1) * np.exp(0.2 * rng.standard_normal(5))
        other = total * weights / weights.sum()
        assert (who.values >= other[:, None]).mean(axis=1).min() <= top


def test_a_total_beyond_every_future_still_adds_up(paths: Paths) -> None:
    who = seats(paths, BOOKINGS, YEAR)
    beyond = 3.0 * who.values.max(axis=1).sum()
    assert equal_odds(who.ordered, beyond).sum() == pytest.approx(beyond)
    assert (who.values >= equal_odds(who.ordered, beyond)[:, None]).sum() == 0


# -- exact sums ---------------------------------------------------------------------------------------------


def test_largest_remainder_on_the_textbook_election() -> None:
    """Ten seats for 47,000 to 3,100 votes by the Hare quota (largest remainders, the usual example)."""
    votes = np.array([47_000.0, 16_000.0, 15_900.0, 12_000.0, 6_000.0, 3_100.0])
    assert largest_remainder(votes, 10).tolist() == [5, 2, 1, 1, 1, 0]
    rng = np.random.default_rng(6)
    for total in (7, 1_000_003, 98_765_432_101):
        assert largest_remainder(rng.gamma(0.3, 1.0, 37), total).sum() == total


@pytest.mark.parametrize("keep", ["rep", "team", "company"])
@pytest.mark.parametrize("rounding", [None, 1000.0])
def test_quotas_add_up_in_whole_cents(paths: Paths, keep: str, rounding: float | None) -> None:
    pins = {("bookings", "2027"): Pinned.of([Pin("aim.pin[1]", Scope("rep", "r4"), 777_777.77)])}
    rows = quota_sheet(paths, ask(keep, pins, rounding), {}).rows
    for period in ("2027", *(q.label for q in QUARTERS)):
        assert cents(rows, "company", period) == cents(rows, "team", period) == cents(rows, "rep", period)
    for scope, group in rows.groupby(["scope", "scope_id"]):
        by = {p: round(t * 100) for p, t in zip(group["period"], group["target"], strict=True)}
        assert by["2027"] == sum(by[q.label] for q in QUARTERS), scope
    kept = rows[(rows["scope_id"] == "r4") & (rows["period"] == "2027")].iloc[0]
    assert (kept["target"], kept["basis"]) == (777_777.77, "kept: aim.pin[1]")
    own = rows[(rows["scope"] == keep) & (rows["period"] == "2027") & ~rows["basis"].str.startswith("kept")]
    wished = {"rep": 0.55, "team": 0.6, "company": 0.7}[keep]
    step = 0.03 if rounding else 0.001
    assert own["p_attain"].to_numpy() == pytest.approx(wished, abs=step)
    assert (own["p_attain"] >= wished - (1e-9 if rounding is None else step)).all()


def test_the_others_share_what_a_pin_leaves_at_equal_odds(paths: Paths) -> None:
    free = quota_sheet(paths, ask("company"), {}).rows.set_index(["scope_id", "period"])
    pins = {("bookings", "2027"): Pinned.of([Pin("p", Scope("rep", "r2"), 200_000.0)])}
    pinned = quota_sheet(paths, ask("company", pins), {}).rows.set_index(["scope_id", "period"])
    assert pinned.loc[("", "2027"), "target"] == free.loc[("", "2027"), "target"]
    odds = [pinned.loc[(r, "2027"), "p_attain"] for r in REPS if r != "r2"]
    assert max(odds) - min(odds) <= 1.5 / 2000
    assert all(pinned.loc[(r, "2027"), "target"] > free.loc[(r, "2027"), "target"] for r in REPS if r != "r2")


def test_pieces_follow_the_simulated_season(paths: Paths) -> None:
    rows = quota_sheet(paths, ask("rep"), {}).rows
    mine = rows[rows["scope_id"] == "r2"].set_index("period")["target"]
    mean = [series(paths, BOOKINGS, Scope("rep", "r2"), q).total.mean() for q in QUARTERS]
    assert [mine[q.label] / mine["2027"] for q in QUARTERS] == pytest.approx(
        np.array(mean) / sum(mean), rel=1e-6
    )


def test_in_a_year_that_has_begun_the_rest_adds_up_to_what_is_left() -> None:
    rng = np.random.default_rng(9)
    won = np.rint(1e6 * rng.gamma(4.0, 9.0, (600, 5, 4))).astype(np.int64)
    won[:, :, 0] = 0
    done = np.zeros((5, 4), dtype=np.int64)
    done[:, 0] = [11_111_11, 2_000_000_00, 33_333_33, 4_444_44, 0]
    rows = quota_sheet(company(won, as_of=date(2027, 3, 31), done=done), ask("rep"), {}).rows
    assert "2027-Q1" not in set(rows["period"])
    for rep, past in zip(REPS, done[:, 0], strict=True):
        by = rows[rows["scope_id"] == rep].set_index("period")["target"]
        assert sum(round(by.get(q.label, 0.0) * 100) for q in QUARTERS) == max(
            round(by["2027"] * 100) - past, 0
        )


# -- quotas that stand for themselves, as `quotas` judges them ----------------------------------------------


def test_promised_odds_are_those_that_quotas_gives(paths: Paths) -> None:
    for keep in (None, "rep", "company"):
        rows = quota_sheet(paths, ask(keep), {}).rows
        quotas = [
            Quota(Scope(r["scope"], r["scope_id"]), r["metric"], r["period"], r["target"])
            for r in rows.to_dict("records")
        ]
        judged = attainability(paths, quotas, CALENDAR, {}).rows
        key = ["scope", "scope_id", "period"]
        both = rows.merge(judged, on=key, suffixes=("", "_judged"))
        assert len(both) == len(rows) > 20
        assert (both["p_attain"] == both["p_attain_judged"]).all()
        if keep is None:
            wished = both["scope"].map({"company": 0.7, "team": 0.6, "rep": 0.55})
            assert ((both["p_attain"] - wished).between(0, 1 / 2000 + 1e-9)).all()


def test_ratios_have_quotas_but_no_sums() -> None:
    rng = np.random.default_rng(3)
    won, days = rng.poisson(4.0, (500, 5, 4)), rng.poisson(160.0, (500, 5, 4))
    more = {
        name: columns_of(np.stack([np.zeros_like(x), x], axis=3))
        for name, x in (("won", won), ("won_days", days))
    }
    both = company(np.zeros((500, 5, 4), dtype=np.int64), **more)
    rows = quota_sheet(both, ask("rep", metrics=("cycle_days",), pieces=(YEAR,)), {}).rows
    assert len(rows) == 8
    ratio = days[:, 0].sum(axis=1) / won[:, 0].sum(axis=1)
    target = float(rows.loc[rows["scope_id"] == "r1", "target"].iloc[0])
    assert (ratio <= target).mean() >= 0.55 > (ratio <= target - 0.1).mean()


# -- pins ---------------------------------------------------------------------------------------------------


def pinned(**targets: float) -> Pinned:
    scopes = {name: Scope("rep" if name[0] == "r" else "team", name) for name in targets}
    return Pinned.of([Pin(f"aim.pin[{k}]", scopes[n], x) for k, (n, x) in enumerate(targets.items(), 1)])


@pytest.mark.parametrize(
    ("pins", "total", "said"),
    [
        (pinned(r1=5e5, r2=7e5, north=9e5), 3e6, r"pin\[1\], aim.pin\[2\].*1,200,000.*pin\[3\]: team:north"),
        (pinned(r1=5e5, r2=3e5, north=9e5), 3e6, r"all of its reps are pinned"),
        (pinned(north=2e6, south=2e6), 3e6, r"add up to 4,000,000, which leaves -1,000,000"),
        (pinned(r1=2e6, r3=2e6), 3e6, r"add up to 4,000,000, and the company has 3,000,000"),
        (pinned(r1=2e6, r3=1e6), 3e6, r"nothing is left for the others"),
    ],
)  # fmt: skip
def test_contradictions_are_named_with_their_places(
    paths: Paths, pins: Pinned, total: float, said: str
) -> None:
    with pytest.raises(PlanError, match=said):
        pots(seats(paths, BOOKINGS, YEAR), pins, total)


def test_two_contradictions_are_told_together(paths: Paths) -> None:
    with pytest.raises(PlanError) as caught:
        pots(seats(paths, BOOKINGS, YEAR), pinned(r1=5e5, r2=7e5, north=9e5, r3=9e6), 3e6)
    assert len(caught.value.problems) == 2


def test_layers_multiply_and_pins_are_kept(paths: Paths) -> None:
    who, pins = seats(paths, BOOKINGS, YEAR), pinned(north=900_000.0, r3=100_000.0)
    split = split_by(np.array([1.0, 2.0, 3.0, 4.0, 6.0]))
    out = assign(who, split, pins, 2_000_000.0, CENTS, Layers(0.1, 0.2)) / 100
    assert out[:2] == pytest.approx([360_000.0, 720_000.0])  # 900,000 x 1.2, one to two
    rest = (2_000_000 * 1.1 - 900_000) * 1.2 - 100_000
    assert out[2:] == pytest.approx([100_000.0, rest * 0.4, rest * 0.6])
    even = assign(who, split_evenly_in_odds(who), Pinned(), 2_000_000.0, CENTS)
    assert even.sum() == 200_000_000
