"""Reps are ranked where the data tell them apart, in the true order, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import spearmanr

from quotacast.engine.answers.performers import actual_results, performers, ranks
from quotacast.engine.answers.performers_spread import PRACTICALLY, RELIABLE, apart, halves, reliability
from quotacast.engine.answers.performers_summary import spread_summary
from quotacast.engine.skills import SKILLS, arrivals, creations, fates, months_at_work, skills, some_rows
from quotacast.engine.spread import covariance_shares, expected_results, shapley, spread_of_results
from quotacast.engine.worlds_truth import AGE_BANDS
from quotacast.models.funnel import Funnel, fit, prepare
from quotacast.models.history.history import History
from quotacast.models.history.importers import import_source
from quotacast.models.history.read import read_history
from quotacast.models.periods import Calendar

ROOT = Path(__file__).resolve().parents[1]
MAVEN = ROOT.parent / "shared" / "data" / "maven_crm"
REPS = 8
#: Effects of the reps that differ: in another order for every part, so that no part gives the whole order.
CREATED = (0.7, -0.6, 0.2, -0.2, 0.5, -0.5, 0.0, -0.1)
WON = (-0.1, 0.3, 0.4, -0.4, 0.1, 0.2, -0.3, -0.2)
WORTH = (0.0, 0.1, 0.3, -0.3, -0.1, 0.2, -0.2, 0.0)

Fitted = tuple[Any, History, Funnel]


def _busy(truth: Any, rep: Callable[[tuple[float, ...]], tuple[float, ...]]) -> Any:
    """Many deals and no bad quarters, with the given effects of reps."""
    calm: dict[str, Any] = {"shock_sd": 0.0, "rep_quarter_sd": 0.0}
    creation = replace(truth.creation, **calm, rep=rep(CREATED), level=truth.creation.level + 0.7)
    return replace(
        truth,
        creation=replace(creation, team=(0.0, 0.0)),
        win=replace(truth.win, **calm, rep=rep(WON)),
        loss=replace(truth.loss, **calm, rep=rep((0.0,) * REPS)),
        value=replace(truth.value, rep=rep(WORTH), residual_sd=0.5),
    )


def _fitted(small_world: Any, make_history: Any, rep: Callable[[Any], Any], leads: bool = False) -> Fitted:
    world = small_world(11, REPS, change=lambda truth: _busy(truth, rep), leads=leads)
    tables = {name: rows for name, rows in world.tables.items() if name != "activities"}
    history = make_history(tables, world.spec.last_day)
    return world, history, fit(prepare(history, Calendar()), draws=400)


@pytest.fixture(scope="module")
def unlike(small_world: Any, make_history: Any) -> Fitted:
    """A company whose reps differ."""
    return _fitted(small_world, make_history, lambda effects: effects)


@pytest.fixture(scope="module")
def led(small_world: Any, make_history: Any) -> Fitted:
    """The same company, most of whose opportunities come from leads."""
    return _fitted(small_world, make_history, lambda effects: effects, leads=True)


@pytest.fixture(scope="module")
def alike(small_world: Any, make_history: Any) -> Fitted:
    """The same company with reps who do not."""
    return _fitted(small_world, make_history, lambda effects: (0.0,) * REPS)


def _true_skills(world: Any) -> dict[str, np.ndarray]:
    """The same from the truth, day by day of age instead of in closed form."""
    truth, days = world.truth, np.arange(731)
    band = np.searchsorted(np.asarray(AGE_BANDS) + 1, days, side="right")
    weights = np.array([30.44, 30.44, 20.44, 10.0]) / 91.3
    mix = np.average(truth.mix[:2], axis=0, weights=[4, 4])
    out = {name: np.zeros(REPS) for name in ("won", "lost", "days", "money")}
    for s, share in enumerate(mix):
        amount = np.exp(truth.value.level + truth.value.segment[s] + np.array(truth.value.rep))
        win, loss = (
            np.exp(c.level + np.array(c.age)[band][:, None] + c.segment[s] + np.array(c.rep)[None, :])
            * (np.exp(np.array(c.position)) @ weights)
            for c in (truth.win, truth.loss)
        )
        left = np.exp(-np.cumsum(win + loss, axis=0))
        gone = np.vstack([np.ones((1, REPS)), left[:-1]]) - left
        won = gone * win / (win + loss)
        out["won"] += share * won.sum(axis=0)
        out["lost"] += share * (gone - won).sum(axis=0)
        out["days"] += share * (won * (days[:, None] + 0.5)).sum(axis=0)
        out["money"] += share * won.sum(axis=0) * amount * np.exp(truth.value.residual_sd**2 / 2)
    created = np.exp(truth.creation.level + np.array(truth.creation.rep))
    return {
        "bookings": created * out["money"],
        "opportunities_created": created,
        "close_rate": out["won"] / (out["won"] + out["lost"]),
        "cycle_days": out["days"] / out["won"],
        "deal_value": out["money"] / out["won"],
    }


# -- what a rep is worth ------------------------------------------------------------------------------------


def test_fates_are_the_integrals_of_competing_hazards() -> None:
    bounds = np.array([0.0, 3.0, 15.0, 61.0])
    win, loss = np.array([0.02, 0.011, 0.007]), np.array([0.05, 0.002, 0.03])

    def left(age: float) -> float:
        spent = np.clip(age - bounds[:-1], 0, np.diff(bounds))
        return float(np.exp(-((win + loss) * spent).sum()))

    won, lost, days = fates(win, loss, bounds)
    for k, (low, high) in enumerate(pairwise(bounds)):
        at = lambda a, k=k: left(a) * win[k]  # noqa: E731
        assert won[k] == pytest.approx(quad(at, low, high)[0], rel=1e-8)
        assert lost[k] == pytest.approx(quad(lambda a, k=k: left(a) * loss[k], low, high)[0], rel=1e-8)
        assert days[k] == pytest.approx(quad(lambda a, at=at: a * at(a), low, high)[0], rel=1e-8)
    assert won.sum() + lost.sum() + left(61.0) == pytest.approx(1.0)


def test_skills_hold_the_truth(unlike: Fitted) -> None:
    world, _, funnel = unlike
    found, true = skills(funnel, some_rows(funnel)), _true_skills(world)
    held = []
    for name in SKILLS:
        relative = found[name] / found[name].mean(axis=1, keepdims=True)
        low, high = np.quantile(relative, [0.05, 0.95], axis=0)
        wanted = true[name] / true[name].mean()
        held += list((wanted >= low) & (wanted <= high))
    assert np.mean(held) > 0.75  # 90 % in the long run; the five metrics share their effects
    for name in ("opportunities_created", "close_rate", "bookings"):
        assert spearmanr(found[name].mean(axis=0), true[name]).statistic > 0.85, name


def test_levels_of_skills_hold_the_truth(unlike: Fitted) -> None:
    world, _, funnel = unlike
    found, true = skills(funnel, some_rows(funnel)), _true_skills(world)
    for name in ("close_rate", "cycle_days", "deal_value"):
        assert found[name].mean() == pytest.approx(true[name].mean(), rel=0.12), name
    season = np.exp(world.truth.creation.season).mean()
    per_month = true["opportunities_created"].mean() * season * 365.25 / 12 / 7  # worlds count by week
    assert found["opportunities_created"].mean() == pytest.approx(per_month, rel=0.12)


def test_a_quarter_moves_with_its_own_effects(unlike: Fitted) -> None:
    _, _, funnel = unlike
    rows, counts = some_rows(funnel), funnel.prepared.counts
    quarter = int(counts.quarters[2])
    plain, moved = (arrivals(funnel, "created", rows, when) for when in (None, quarter))
    effects = funnel.posteriors["created"].effects
    own = effects["rep_quarter"].reshape(-1, REPS, counts.quarters.size)[rows, :, 2]
    factor = np.exp(own + effects["trend"][rows][:, [2]])
    assert moved / plain == pytest.approx(factor)


def test_creations_come_with_and_without_a_lead(led: Fitted) -> None:
    """Per working month they add up to what was created; leads convert as they did."""
    _, history, funnel = led
    rows = some_rows(funnel)
    found = skills(funnel, rows)
    made = creations(funnel, rows).mean(axis=0)
    alone = arrivals(funnel, "created", rows).mean(axis=0)
    deals, leads = history.opportunities, history.leads
    share = deals["lead_id"].isin(set(leads["lead_id"])).mean()
    assert 1 - alone.sum() / made.sum() == pytest.approx(share, abs=0.06)
    count = len(deals) / months_at_work(funnel).sum()
    assert made.mean() == pytest.approx(count, rel=0.12)
    ended = leads[leads["status"] != "open"]
    rate = (ended["status"] == "converted").mean()
    assert found["lead_close_rate"].mean() == pytest.approx(rate, abs=0.04)


# -- ranks --------------------------------------------------------------------------------------------------


def test_reliability_of_known_effects() -> None:
    """Posterior of Normal effects: reliability is t^2 / (t^2 + v)."""
    rng = np.random.default_rng(4)
    t, v, n = 0.4, 0.09, 4000
    seen = rng.normal(0, t, n) + rng.normal(0, np.sqrt(v), n)
    part = t**2 / (t**2 + v)
    draws = part * seen + np.sqrt(part * v) * rng.standard_normal((200, n))
    assert reliability(draws) == pytest.approx(part, abs=0.02)
    assert reliability(np.ones((5, 1))) == 0.0


def test_ranks_are_places() -> None:
    values = np.array([[3.0, 9.0, 4.0], [2.0, 1.0, 5.0]])
    assert ranks(values).tolist() == [[3, 1, 2], [2, 3, 1]]
    assert ranks(values, down=True).tolist() == [[1, 3, 2], [2, 1, 3]]


def test_reps_who_differ_are_ranked_in_their_true_order(unlike: Fitted) -> None:
    world, history, funnel = unlike
    found = performers(funnel, history, {})
    true = _true_skills(world)
    rows = found.rows[found.rows["metric"] == "bookings"].set_index("scope_id")
    order = ranks(true["bookings"][None, :])[0]
    placed = rows["rank"].astype(int).to_numpy()
    assert spearmanr(order, placed).statistic > 0.9
    inside = (rows["rank_low"].to_numpy() <= order) & (order <= rows["rank_high"].to_numpy())
    assert inside.sum() >= REPS - 2
    assert set(found.summary["top"]["reps"]) == set(rows.index[placed <= 2])
    assert rows["p_top"].sum() == pytest.approx(2.0)  # two of eight are the top quarter of every draw


def test_reps_who_do_not_differ_are_not_ranked(alike: Fitted) -> None:
    _, history, funnel = alike
    found = performers(funnel, history, {})
    assert max(found.summary["reliability"].values()) < RELIABLE
    rows = found.rows[found.rows["metric"].isin(SKILLS)]
    assert rows["rank"].isna().all()
    assert rows["mean"].notna().all()
    assert found.summary["top"] == {}
    assert found.words.startswith("The data hold no rep effect")


def test_actual_results_are_counted_from_the_table(unlike: Fitted) -> None:
    _, history, funnel = unlike
    deals, months = history.opportunities, months_at_work(funnel)
    found = actual_results(funnel, history)
    won = deals[deals["status"] == "won"]
    for r, rep in enumerate(funnel.prepared.people.reps):
        mine = won[won["rep_id"] == rep]
        assert found["bookings"][r] == pytest.approx(mine["amount"].sum() / months[r])
        assert found["deal_value"][r] == pytest.approx(mine["amount"].mean())
        assert found["cycle_days"][r] == pytest.approx(
            (mine["closed_on"] - mine["created_on"]).dt.days.mean()
        )
    assert months == pytest.approx(np.full(REPS, 24.0), rel=0.01)


def test_quarters_are_parts_of_the_whole(unlike: Fitted) -> None:
    _, history, funnel = unlike
    rows = performers(funnel, history, {}, by_quarter=True).rows
    assert list(dict.fromkeys(rows["period"])) == [f"{y}-Q{q}" for y in (2024, 2025) for q in (1, 2, 3, 4)]
    made = rows[rows["metric"] == "opportunities_created"].groupby("scope_id")["actual"].mean()
    whole = actual_results(funnel, history)["opportunities_created"]
    assert made.to_numpy() == pytest.approx(whole, rel=0.02)


# -- the spread ---------------------------------------------------------------------------------------------


def test_shares_of_known_effects() -> None:
    """For y = theta + noise the posterior's share is the true one, and the parts sum to 1 in every draw."""
    rng = np.random.default_rng(9)
    t, v, n = 3.0, 4.0, 5000
    y = rng.normal(0, t, n) + rng.normal(0, np.sqrt(v), n)
    part = t**2 / (t**2 + v)
    theta = part * y + np.sqrt(part * v) * rng.standard_normal((100, n))
    split = {"rep": 0.75 * theta, "territory": 0.25 * theta}
    found = covariance_shares(y + 50.0, split, rng.uniform(1, 3, n))
    assert found["luck"].mean() == pytest.approx(1 - part, abs=0.03)
    assert found["rep"].mean() == pytest.approx(0.75 * part, abs=0.03)
    assert sum(found.values()) == pytest.approx(np.ones(100))


def test_shapley_values_of_a_product() -> None:
    """For f g h with neutral values 1: the mean over the six orders of what each factor adds."""
    factors = {"time": np.array([2.0, 0.5]), "territory": np.array([3.0, 1.2]), "rep": np.array([0.7, 5.0])}
    values = {}
    for mask in range(8):
        on = frozenset(n for k, n in enumerate(factors) if mask >> k & 1)
        values[on] = np.prod([factors[n] if n in on else np.ones(2) for n in factors], axis=0)
    f, g, h = factors.values()
    found = shapley(values)
    assert found["time"] == pytest.approx((f - 1) * (2 + 2 * g * h + g + h) / 6)
    assert found["rep"] == pytest.approx((h - 1) * (2 + 2 * f * g + f + g) / 6)


def test_the_rep_s_part_of_the_spread(unlike: Fitted, alike: Fitted) -> None:
    part = {}
    for name, (_, history, funnel) in (("unlike", unlike), ("alike", alike)):
        shares = spread_of_results(funnel, history, some_rows(funnel))
        assert sum(shares.values()) == pytest.approx(np.ones(funnel.draws))
        part[name] = {k: float(v.mean()) for k, v in shares.items()}
    assert part["unlike"]["rep"] > 0.7
    assert part["alike"]["rep"] < 0.25
    assert part["alike"]["luck"] > part["unlike"]["luck"]


def test_expected_results_meet_the_actual_ones(unlike: Fitted) -> None:
    _, history, funnel = unlike
    expected = expected_results(funnel, history, some_rows(funnel))
    whole = expected[frozenset(("time", "territory", "rep"))].mean(axis=0)
    deals = history.opportunities
    won = deals[deals["status"] == "won"].groupby("rep_id")["amount"].sum() / months_at_work(funnel)
    assert whole.sum() == pytest.approx(won.sum(), rel=0.1)
    assert whole == pytest.approx(won.to_numpy(), rel=0.35)
    plain = expected[frozenset()]
    assert np.ptp(plain, axis=1) == pytest.approx(0.0, abs=1e-6 * plain.mean())


def test_luck_of_a_shorter_window() -> None:
    """Variance parts 6 + 2 over 24 months are 6 + 16 over 3 of them."""
    shares = {
        "luck": np.array([0.25]),
        "time": np.zeros(1),
        "territory": np.zeros(1),
        "rep": np.array([0.75]),
    }
    found = spread_summary(shares, np.array([24.0, 24.0]))
    assert found["luck_in_a_quarter"] == pytest.approx(16 / 22)


# -- whether reps differ at all -----------------------------------------------------------------------------


def test_a_spread_of_nothing_is_not_ranked_however_well_it_is_known() -> None:
    rng = np.random.default_rng(3)
    order = np.linspace(-1.0, 1.0, 9)

    def drawn(spread: float, noise: float) -> np.ndarray:
        log = spread * order / order.std() + rng.normal(0.0, noise, (4000, 9))
        return np.asarray(np.exp(8.0 + log))

    sure, tiny, vague = (
        apart("deal_value", drawn(*case)) for case in ((0.2, 0.05), (0.02, 0.004), (0.07, 0.2))
    )
    assert (sure.told, tiny.told, vague.told) == (True, False, False)
    assert tiny.reliability > 0.9
    assert tiny.p95 < PRACTICALLY
    assert vague.reliability < RELIABLE
    assert sure.p50 == pytest.approx(np.hypot(0.2, 0.05 * np.sqrt(8 / 9)), rel=0.03)
    assert sure.p5 < sure.p50 < sure.p95
    points = 0.4 + 0.03 * order / order.std() + rng.normal(0.0, 0.005, (4000, 9))
    assert apart("margin", points).told
    assert apart("margin", points).p50 == pytest.approx(0.03, rel=0.05)


def test_both_cases_are_told_with_their_evidence(unlike: Fitted, alike: Fitted) -> None:
    """Where volumes differ it is said how far, and that it lasts; where they do not, nothing is ranked."""
    differ, same = (performers(funnel, history, {}) for _, history, funnel in (unlike, alike))
    made = differ.summary["between_reps"]["opportunities_created"]
    true = np.std(CREATED)
    assert made["told"]
    assert made["p5"] < true < made["p95"]
    assert made["p5"] > PRACTICALLY
    assert differ.summary["halves"]["opportunities_created"] > 0.8
    assert "Reps are told apart by" in differ.words or "Reps are told apart" in differ.words
    assert "correlate (" in differ.words
    assert not any(one["told"] for one in same.summary["between_reps"].values())
    assert set(same.summary["no_rep_effect"]) == set(same.summary["between_reps"])
    assert same.summary["halves"]["opportunities_created"] < differ.summary["halves"]["opportunities_created"]
    assert "would rank noise (bookings (" in same.words


def test_halves_tell_what_lasts() -> None:
    rng = np.random.default_rng(1)
    rep, quarters = rng.normal(0.0, 1.0, 60), rng.normal(0.0, 1.0, (4, 60))
    lasting = [{"a": 5 + rep + q, "b": 5 + q} for q in quarters]
    lasting[1]["a"][7] = np.nan
    found = halves(lasting, ("a", "b", "absent"))
    # a half has noise of variance 1/2 beside the rep's 1: correlation 1 / 1.5
    assert found["a"] == pytest.approx(2 / 3, abs=0.15)
    assert abs(found["b"]) < 0.35
    assert "absent" not in found
    assert halves(lasting[:2], ("a",)) == {}


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_margins_of_reps_are_pooled(unlike: Fitted, make_history: Any, spread: float) -> None:
    """Known effects on margins by rep and segment: recovered where there are any, else not ranked."""
    _, history, funnel = unlike
    rng, deals = np.random.default_rng(4), history.opportunities.copy()
    people, segment = funnel.prepared.people, funnel.prepared.segment
    true = spread * np.array([0.06, -0.05, 0.02, -0.01, 0.03, -0.04, 0.0, -0.02])
    rep = deals["rep_id"].map(people.index()).to_numpy()
    share = 0.45 + true[rep] + 0.08 * segment.codes + rng.normal(0.0, 0.12, len(deals))
    deals["margin_pct"] = np.where(deals["status"] == "won", 100 * share, np.nan)
    deals["cost"] = np.nan  # would count before the percentage
    told = make_history({"opportunities": deals, "reps": history.reps}, history.as_of_date)
    found = performers(funnel, told, {})
    judged = found.summary["between_reps"]["margin"]
    rows = found.rows[found.rows["metric"] == "margin"].set_index("scope_id").loc[list(people.reps)]
    assert found.summary["margin"]
    assert ("margin" in found.summary["no_rep_effect"]) == (spread == 0)
    if spread == 0:
        assert rows["rank"].isna().all()
        assert judged["p50"] < 0.02
        return
    won = (deals["status"] == "won").to_numpy()
    mix = np.bincount(segment.codes[won]) / won.sum()
    wanted = 0.45 + true + 0.08 * (mix @ np.arange(mix.size))
    assert ((rows["p10"] <= wanted + 0.01) & (wanted - 0.01 <= rows["p90"])).sum() >= 6
    assert spearmanr(rows["mean"], true).statistic > 0.85
    assert judged["p5"] < true.std() < judged["p95"]


# -- real shapes --------------------------------------------------------------------------------------------


@pytest.mark.skipif(not MAVEN.is_dir(), reason="third-party data are not on this machine")
def test_the_maven_reps_are_not_ranked_by_what_is_noise_there(tmp_path: Path) -> None:
    mapping = ROOT / "scenarios" / "examples" / "maven_mapping.toml"
    import_source([MAVEN], kind=mapping, out=tmp_path / "data")
    history = read_history(tmp_path / "data")
    found = performers(fit(prepare(history, Calendar()), draws=400), history, {})
    assert set(found.summary["no_rep_effect"]) >= {"close_rate", "deal_value"}
    noise = found.rows[found.rows["metric"].isin(["close_rate", "deal_value"])]
    assert len(noise) > 50
    assert noise[["rank", "rank_low", "rank_high", "p_top"]].isna().all(axis=None)
    assert found.words.startswith("No rep effect in close rate")
    # volumes do differ, far beyond chance, and last from one half of the history to the other
    made = found.summary["between_reps"]["opportunities_created"]
    assert made["told"]
    assert made["p5"] > 0.25
    assert found.summary["halves"]["opportunities_created"] > 0.7
