"""Made-up companies: deterministic, of one piece, and true to what they say of themselves."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quotacast.engine import worlds
from quotacast.engine.worlds import World, WorldSpec, draw_truth, example_spec, make_world, write_world
from quotacast.engine.worlds_activity import activity_deviation
from quotacast.engine.worlds_clock import ar1
from quotacast.engine.worlds_truth import AGE_BANDS, KINDS
from quotacast.errors import DataError, PlanError
from quotacast.models.history.schema import names, required
from quotacast.models.periods import Calendar


@cache
def example() -> World:
    return make_world(example_spec(horizon_days=365))


@cache
def small_spec(seed: int = 3, horizon_days: int = 0) -> WorldSpec:
    truth = draw_truth(np.random.default_rng(11), 5, 2, leads=True)
    teams = (("a", 3), ("b", 2))
    return WorldSpec(
        5, teams, date(2024, 1, 3), date(2025, 12, 30), seed, truth, left=((1, date(2025, 3, 4)),),
        horizon_days=horizon_days,
    )  # fmt: skip


def flat(rate: Any, **changes: Any) -> Any:
    """The same rate without anything that varies between reps or over time."""
    return dataclasses.replace(
        rate, rep=(0.0,) * len(rate.rep), shock_sd=0.0, rep_quarter_sd=0.0, **changes
    )  # fmt: skip


@cache
def plain(per_week: float = 8.0, activity_effects: bool = False) -> World:
    """A large company of equal reps: rates depend on age and activity alone."""
    truth = example_spec().truth
    level = float(np.log(per_week))
    zeros = {"segment": (0.0,) * 3, "position": (0.0,) * 4}
    alike = {"level": level, "team": (0.0,) * 3, "season": (0.0,) * 12}
    assert truth.leads is not None
    leads = dataclasses.replace(
        truth.leads,
        arrival=flat(truth.leads.arrival, **alike),
        convert=flat(truth.leads.convert, **zeros),
        disqualify=flat(truth.leads.disqualify, **zeros),
    )
    truth = dataclasses.replace(
        truth,
        creation=flat(truth.creation, **alike),
        leads=leads,
        win=flat(truth.win, **zeros),
        loss=flat(truth.loss, **zeros),
        dead_share=0.0,
        market_shock=None,
    )
    return make_world(
        dataclasses.replace(
            example_spec(seed=5), truth=truth, hired=(), left=(), moved=(), activity_effects=activity_effects
        )
    )


# ---- the same seed, the same bytes


def test_same_specification_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_world(make_world(small_spec()), tmp_path / name)
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*") if p.is_file())
    assert len(files) == 7 + 2
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_another_seed_gives_other_records() -> None:
    one, two = make_world(small_spec(3)), make_world(small_spec(4))
    assert not one.tables["opportunities"].equals(two.tables["opportunities"])


def test_a_longer_horizon_leaves_the_past_alone() -> None:
    short, long = make_world(small_spec()), make_world(small_spec(3, 200))
    apart = ["stage", "expected_close_on"]
    pd.testing.assert_frame_equal(
        short.tables["opportunities"].drop(columns=apart), long.tables["opportunities"].drop(columns=apart)
    )
    for table in ("leads", "reps", "invoices", "quotas"):
        pd.testing.assert_frame_equal(short.tables[table], long.tables[table])


# ---- what was announced


def test_totals_of_the_example() -> None:
    deals = example().tables["opportunities"]
    won = deals[deals["status"] == "won"]
    last_year = won.loc[won["closed_on"].dt.year == 2026, "amount"].sum()
    assert 4_700 < len(deals) < 5_400
    assert 1_150 < len(won) < 1_500
    assert 0.25 < len(won) / (deals["status"] != "open").sum() < 0.32
    assert 50 <= (won["closed_on"] - won["created_on"]).dt.days.median() <= 70
    assert 10e6 < last_year < 12e6
    assert set(example().tables["activities"]["kind"]) == set(KINDS)


@pytest.mark.parametrize(
    "table", ["opportunities", "stages", "leads", "activities", "reps", "invoices", "quotas"]
)
def test_columns_are_canonical(table: str) -> None:
    columns = list(make_world(small_spec()).tables[table].columns)
    assert set(required(table)) <= set(columns) <= set(names(table))


def test_people_come_go_and_move() -> None:
    reps = example().tables["reps"]
    assert reps["rep_id"].nunique() == 20
    assert reps["left_on"].notna().sum() == 2
    assert list(reps.loc[reps["rep_id"] == "r11", "team"]) == ["west", "south"]
    assert (reps["hired_on"] >= "2024-01-01").sum() == 6


# ---- the records are of one piece


def test_dates_are_in_order() -> None:
    tables, last = example().tables, pd.Timestamp(2026, 12, 31)
    deals, leads, stages = tables["opportunities"], tables["leads"], tables["stages"]
    assert (deals["closed_on"].dropna() >= deals.loc[deals["closed_on"].notna(), "created_on"]).all()
    assert (leads["closed_on"].dropna() >= leads.loc[leads["closed_on"].notna(), "created_on"]).all()
    assert ((deals["status"] == "open") == deals["closed_on"].isna()).all()
    for table, column in (("opportunities", "closed_on"), ("stages", "entered_on"), ("leads", "closed_on"),
                          ("activities", "done_on"), ("invoices", "paid_on")):  # fmt: skip
        assert tables[table][column].max() <= last, table
    assert stages.groupby("opportunity_id")["entered_on"].is_monotonic_increasing.all()


def test_activity_rows_add_up_to_the_counts() -> None:
    world = example()
    rows = world.tables["activities"]
    free = rows[rows["opportunity_id"].isna()]
    clock = world.records.clock
    for k, kind in enumerate(KINDS):
        total = world.records.activity[clock.shown : clock.last + 1, :, k].sum()
        assert free.loc[free["kind"] == kind, "count"].sum() == total
    assert (rows["count"] > 0).all()


def test_stages_tell_how_the_opportunities_ended() -> None:
    tables = example().tables
    deals = tables["opportunities"].set_index("opportunity_id")
    first = tables["stages"].groupby("opportunity_id", sort=False).first().loc[deals.index]
    last = tables["stages"].groupby("opportunity_id", sort=False).tail(1).set_index("opportunity_id")
    last = last.loc[deals.index]
    won, lost = deals["status"] == "won", deals["status"] == "lost"
    assert (first["entered_on"] == deals["created_on"]).all()
    assert (last["stage"] == deals["stage"]).all()
    assert ((last["stage"] == "Closed Won") == won).all()
    assert ((last["stage"] == "Closed Lost") == lost).all()
    assert (last.loc[won | lost, "entered_on"] == deals.loc[won | lost, "closed_on"]).all()
    assert (last.loc[won, "amount"] == deals.loc[won, "amount"]).all()
    assert not tables["stages"].duplicated(["opportunity_id", "stage", "entered_on"]).any()


def test_open_deals_of_leavers_pass_to_a_colleague() -> None:
    tables = example().tables
    left = tables["reps"].dropna(subset=["left_on"]).set_index("rep_id")
    for rep, row in left.iterrows():
        mine = tables["stages"][tables["stages"]["rep_id"] == rep]
        theirs = tables["stages"][tables["stages"]["opportunity_id"].isin(mine["opportunity_id"])]
        after = theirs[theirs["entered_on"] >= row["left_on"]]
        assert mine["entered_on"].max() < row["left_on"]
        assert after["opportunity_id"].nunique() > 10
        teams = tables["reps"].drop_duplicates("rep_id", keep="last").set_index("rep_id")["team"]
        assert set(after["rep_id"].map(teams)) == {row["team"]}
    last = tables["stages"].groupby("opportunity_id", sort=False)["rep_id"].last()
    deals = tables["opportunities"].set_index("opportunity_id")["rep_id"]
    assert (last.loc[deals.index] == deals).all()


def test_hazards_change_with_the_owner() -> None:
    # a leaver who never closes anything: all closings wait for the heir
    spec = small_spec()
    stuck = (0.0, -30.0, 0.0, 0.0, 0.0)
    truth = dataclasses.replace(
        spec.truth,
        win=dataclasses.replace(spec.truth.win, rep=stuck),
        loss=dataclasses.replace(spec.truth.loss, rep=stuck),
    )
    records = make_world(dataclasses.replace(spec, truth=truth)).records
    closed = records.deals.closed[(records.deals.rep == 1) & (records.deals.cause > 0)]
    assert closed.size > 20
    assert closed.min() >= records.people.left[1]


def test_every_won_deal_is_invoiced_in_full() -> None:
    tables = example().tables
    won = tables["opportunities"].query("status == 'won'").set_index("opportunity_id")
    bills = tables["invoices"].set_index("opportunity_id")
    due = won[won["closed_on"] <= "2026-12-20"]
    assert bills.index.is_unique
    assert set(due.index) <= set(bills.index) <= set(won.index)
    assert (bills["amount"] == won.loc[bills.index, "amount"]).all()
    assert (bills["issued_on"] > won.loc[bills.index, "closed_on"]).all()
    late = (bills["paid_on"] > bills["due_on"]).mean()
    assert 0.4 < late < 0.8


# ---- the future


def test_future_continues_the_records() -> None:
    world, last = example(), pd.Timestamp(2026, 12, 31)
    known = world.tables["opportunities"].set_index("opportunity_id")
    full = world.full_opportunities.set_index("opportunity_id")
    assert len(full) > len(known)
    assert (full["closed_on"].dropna() <= last + pd.Timedelta(days=365)).all()
    closed = known["status"] != "open"
    assert (full.loc[known.index[closed], "status"] == known.loc[closed, "status"]).all()
    later = full.loc[known.index[~closed]]
    assert (later["closed_on"].dropna() > last).all()
    assert (later["status"] != "open").mean() > 0.6
    assert (world.future["opportunity_id"].isin(later.index) | (world.future["created_on"] > last)).all()


def test_next_year_is_as_expected() -> None:
    # the mean over companies that differ by chance alone, against the closed form
    bookings, created = [], []
    for seed in range(12):
        records = worlds.simulate(example_spec(seed, 365))
        deals, clock = records.deals, records.clock
        inside = (deals.closed > clock.last) & (deals.closed <= clock.end) & (deals.cause == 1)
        bookings.append(deals.amount[inside].sum())
        created.append(((deals.created > clock.last) & (deals.created <= clock.end)).sum())
    expected = worlds.expected_year(example_spec(), example().records, 2027)
    for values, name in ((bookings, "bookings"), (created, "created")):
        error = np.std(values, ddof=1) / np.sqrt(len(values))
        assert abs(np.mean(values) - expected[name].sum()) < 4 * error
        assert error < 0.06 * expected[name].sum()


# ---- recovery of the truth


@pytest.mark.parametrize("what", ["opportunities without a lead", "leads"])
def test_creations_follow_their_negative_binomial(what: str) -> None:
    world = example()
    records, clock = world.records, world.records.clock
    assert world.truth.leads is not None
    if what == "leads":
        rows, intensity, true = records.leads, records.lead_intensity, world.truth.leads.arrival
        day, rep = rows.created, rows.rep
    else:
        direct = records.deals.lead < 0
        day, rep = records.deals.created[direct], records.deals.rep[direct]
        intensity, true = records.intensity, world.truth.creation
    count = np.zeros((clock.weeks, world.spec.n_reps))
    np.add.at(count, (clock.week[day], rep), 1.0)
    mean = np.add.reduceat(intensity, np.arange(0, clock.days.size, 7), axis=0)
    inside = slice(int(clock.week[clock.first]), int(clock.week[clock.last]))
    y, mu = count[inside].ravel(), mean[inside].ravel()
    y, mu = y[mu > 0], mu[mu > 0]
    variance = mu + mu**2 / true.dispersion
    assert abs((y - mu).sum()) < 4 * np.sqrt(variance.sum())
    assert np.mean((y - mu) ** 2 / variance) == pytest.approx(1.0, abs=4 * np.sqrt(3.0 / y.size))
    assert np.mean((y - mu) ** 2 / mu) > 1.03  # a Poisson would be 1


def test_hazards_are_occurrence_over_exposure() -> None:
    # from the exported table alone: closings per day at risk, in calendar days, by band of age
    world = plain()
    deals = world.tables["opportunities"]
    end = deals["closed_on"].fillna(pd.Timestamp(2026, 12, 31))
    age = (end - deals["created_on"]).dt.days.to_numpy()
    for cause, status in ((world.truth.win, "won"), (world.truth.loss, "lost")):
        events = (deals["status"] == status).to_numpy()
        for band, low in enumerate((0, *(a + 1 for a in AGE_BANDS[:5]))):
            high = AGE_BANDS[band] + 1
            # day 0 counts half; a closing falls somewhere within its last day
            exposure = (np.clip(age + 0.5, low + 0.5 * (low == 0), high) - low - 0.5 * (low == 0)).clip(0)
            n = int((events & (age >= low) & (age < high)).sum())
            rate = n / exposure.sum()
            true = np.exp(cause.level + cause.age[band])
            assert rate == pytest.approx(true, rel=4 / np.sqrt(n) + 0.02), (status, band)


def test_win_share_agrees_with_aalen_johansen() -> None:
    from lifelines import AalenJohansenFitter

    world = plain()
    deals = world.tables["opportunities"]
    end = deals["closed_on"].fillna(pd.Timestamp(2026, 12, 31))
    spread = np.random.default_rng(0).random(len(deals))  # so that there are no ties
    time = (end - deals["created_on"]).dt.days + spread
    event = deals["status"].map({"open": 0, "won": 1, "lost": 2})
    fitter = AalenJohansenFitter(calculate_variance=False).fit(time, event, event_of_interest=1)
    incidence = fitter.cumulative_density_.iloc[:, 0]
    p_win = float(incidence.iloc[-1])
    cycle = float((incidence.diff().fillna(0.0) * incidence.index).sum()) / p_win
    expected = worlds.outcome(world.spec, 0, 0)
    assert p_win == pytest.approx(expected.p_win, abs=0.015)
    assert cycle == pytest.approx(expected.cycle_days + spread.mean(), rel=0.04)


@pytest.mark.parametrize("table", ["opportunities", "leads"])
def test_activity_effects_can_be_recovered_from_the_tables(table: str) -> None:
    import statsmodels.api as sm

    fits = {}
    for effects in (True, False):
        world = plain(activity_effects=effects)
        y, x = _rep_weeks(world, table)
        fits[effects] = sm.GLM(y, sm.add_constant(x), family=sm.families.Poisson()).fit(scale="X2")
    beta = np.asarray(example_spec().truth.activity.beta)
    for truth, fit in ((beta, fits[True]), (0 * beta, fits[False])):
        assert np.all(np.abs(fit.params[1:] - truth) < 4 * fit.bse[1:])
    assert fits[True].params[1] > 5 * fits[True].bse[1]


def test_deviation_is_that_of_the_three_weeks_before() -> None:
    world = plain()
    clock = world.records.clock
    deviation = activity_deviation(clock, world.records.people, world.records.activity)
    inside = slice(int(clock.week[clock.first]), int(clock.week[clock.last]))
    _, x = _rep_weeks(world, "leads")
    np.testing.assert_allclose(x, deviation[inside].reshape(x.shape), atol=1e-9)


def _rep_weeks(world: World, name: str) -> tuple[np.ndarray, np.ndarray]:
    """New rows per rep and week, and log activity of the three weeks before, centred by rep."""

    def weekly(rows: pd.DataFrame, day: str, count: str | None = None) -> pd.DataFrame:
        monday = rows[day] - pd.to_timedelta(rows[day].dt.weekday, unit="D")
        values = rows[count] if count else pd.Series(1, index=rows.index)
        return values.groupby([monday, rows["rep_id"]]).sum().unstack(fill_value=0)

    rows = world.tables["activities"]
    rows = rows[rows["opportunity_id"].isna()]
    new = world.tables[name][world.tables[name]["created_on"] >= pd.Timestamp(world.spec.first_day)]
    new = new if name == "leads" else new[new["lead_id"].isna()]
    y = weekly(new, "created_on")
    columns = []
    for kind in KINDS:
        table = weekly(rows[rows["kind"] == kind], "done_on", "count").reindex(
            columns=y.columns, fill_value=0
        )
        weeks = pd.date_range(table.index.min(), table.index.max(), freq="7D")
        recent = np.log1p(table.reindex(weeks, fill_value=0).rolling(3).mean().shift(1)).loc[y.index]
        columns.append((recent - recent.mean()).to_numpy()[:-1].ravel())
    return y.to_numpy()[:-1].ravel(), np.column_stack(columns)


def test_wins_are_pushed_to_the_end_of_the_quarter() -> None:
    world = example()
    clock = world.records.clock
    on = clock.days[clock.first : clock.last + 1]
    assert (clock.position[clock.first : clock.last + 1] == Calendar().position(on)).all()
    closed = world.tables["opportunities"].query("status == 'won'")["closed_on"].to_numpy()
    per_day = np.bincount(Calendar().position(closed)) / np.bincount(Calendar().position(on))
    push = np.exp(world.truth.win.position)
    assert per_day[3] / per_day[1] == pytest.approx(push[3] / push[1], rel=0.25)


def test_market_shock_lowers_creation_while_it_lasts() -> None:
    spec = example_spec()
    calm = dataclasses.replace(spec, truth=dataclasses.replace(spec.truth, market_shock=None))
    shocked, usual = worlds.simulate(spec), worlds.simulate(calm)
    days = shocked.clock.days
    inside = (days >= np.datetime64("2025-04-01")) & (days < np.datetime64("2025-08-01"))
    for name in ("intensity", "lead_intensity"):
        ratio = getattr(shocked, name).sum(axis=1) / getattr(usual, name).sum(axis=1)
        np.testing.assert_allclose(ratio, np.where(inside, np.exp(-0.25), 1.0))


def test_deal_values_have_their_mean() -> None:
    world = example()
    deals = world.records.deals
    true = world.truth.value
    centre = true.level + np.asarray(true.segment)[deals.segment] + np.asarray(true.rep)[deals.rep]
    residual = np.log(deals.amount) - centre
    assert residual.mean() == pytest.approx(0.0, abs=4 * true.residual_sd / np.sqrt(residual.size))
    assert residual.std() == pytest.approx(true.residual_sd, rel=0.05)
    ratio = np.log(deals.amount / deals.quote)[deals.amount != deals.quote]
    assert ratio.mean() == pytest.approx(true.quote_level, abs=0.02)
    assert ratio.std() == pytest.approx(true.quote_sd, rel=0.08)


def test_shock_is_stationary() -> None:
    x = ar1(np.random.default_rng(2), 40, 0.3, 0.7, (4000,))
    assert x.std(axis=1) == pytest.approx(np.full(40, 0.3), rel=0.06)
    assert np.mean(x[:-1] * x[1:]) / 0.09 == pytest.approx(0.7, abs=0.02)


def test_dead_deals_stay_open_and_can_be_switched_off() -> None:
    deals = example().records.deals
    assert deals.dead.mean() == pytest.approx(0.02, abs=0.008)
    assert (deals.cause[deals.dead] == 0).all()
    assert not plain().records.deals.dead.any()


def test_deviation_ignores_weeks_before_the_hire() -> None:
    records = example().records
    deviation = activity_deviation(records.clock, records.people, records.activity)
    hired = int(records.people.hired[6]) // 7
    assert (deviation[: hired + 1, 6] == 0).all()
    assert (deviation[hired + 2, 6] != 0).any()


# ---- quotas, plan and files


def test_candidates_are_too_easy_fair_and_too_hard() -> None:
    quotas = example().tables["quotas"]
    sets = quotas.dropna(subset=["set"]).pivot(
        index=["scope", "metric", "period"], columns="set", values="target"
    )  # fmt: skip
    cycle = sets.index.get_level_values("metric") == "cycle_days"
    assert (sets["too easy"] < sets["fair"])[~cycle].all()
    assert (sets["fair"] < sets["too hard"])[~cycle].all()
    assert (sets["too easy"] > sets["fair"])[cycle].all()
    assert (sets["fair"] > sets["too hard"])[cycle].all()
    assert set(sets.index.get_level_values("period")) == {"2027", *(f"2027-Q{q}" for q in range(1, 5))}
    scopes = set(sets.index.get_level_values("scope"))
    assert {"company", "team:north", "team:west", "team:south", "rep:r01"} <= scopes
    assert "rep:r03" not in scopes  # has left
    assert not quotas.duplicated(["scope", "metric", "period", "set"]).any()
    assigned = quotas[quotas["set"].isna() & (quotas["scope"] == "company")]
    assert {"2024", "2025", "2026", "2027"} <= set(assigned["period"])


def test_plan_and_truth_can_be_read(tmp_path: Path) -> None:
    worlds.write_example(tmp_path / "demo")
    plan = tomllib.loads((tmp_path / "demo" / "plan.toml").read_text(encoding="utf-8"))
    quotas = example().tables["quotas"].set_index(["scope", "metric", "period", "set"])["target"]
    target = plan["quota"][0]["target"]
    assert plan["as_of"] == date(2026, 12, 31)
    assert quotas["company", "bookings", "2027", "fair"] < target
    assert target < quotas["company", "bookings", "2027", "too hard"]
    truth = json.loads((tmp_path / "demo" / "truth.json").read_text(encoding="utf-8"))
    assert truth["spec"]["truth"]["win"]["level"] == example_spec().truth.win.level
    leads = example_spec().truth.leads
    assert leads is not None
    assert truth["spec"]["truth"]["leads"]["beta"] == list(leads.beta)
    for name in ("win", "lead", "convert"):
        assert len(truth["realised"]["shocks"][name]) == 36
    size = sum(p.stat().st_size for p in (tmp_path / "demo").rglob("*.csv"))
    assert size < 8_000_000
    back = pd.read_csv(tmp_path / "demo" / "crm" / "opportunities.csv", dtype={"opportunity_id": str})
    assert back["amount"].sum() == example().tables["opportunities"]["amount"].sum()


def test_no_plan_where_none_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    write_world(make_world(small_spec()), tmp_path / "w", plan=False)
    assert sorted(p.name for p in (tmp_path / "w").iterdir()) == ["crm", "truth.json"]


@pytest.mark.parametrize("kind", ["full folder", "file"])
def test_refuses_what_is_already_there(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "mine"
    if kind == "file":
        target.write_text("mine")
    else:
        target.mkdir()
        (target / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="name another one"):
        write_world(make_world(small_spec()), target)
    kept = target if kind == "file" else target / "notes.txt"
    assert kept.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [target]


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path, text: str) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(worlds, "_write", broken)
    with pytest.raises(OSError, match="disk full"):
        write_world(make_world(small_spec()), tmp_path / "w")
    assert list(tmp_path.iterdir()) == []


def test_impossible_specifications_are_refused_all_at_once() -> None:
    with pytest.raises(PlanError) as caught:
        dataclasses.replace(small_spec(), n_reps=6, last_day=date(2020, 1, 1), horizon_days=-1)
    assert len(caught.value.problems) == 4
