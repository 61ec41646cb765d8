"""Metrics on all levels: what they are made of, what they need, and that money adds up."""

from __future__ import annotations

import dataclasses
from datetime import date
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quotacast.engine.able import Able, able
from quotacast.engine.actuals import actual_measures
from quotacast.engine.drivers import Change, Drivers, Hire, Leave
from quotacast.engine.metrics import METRICS, answerable, check_able, measures_of, metric, series, units
from quotacast.engine.paths import Paths
from quotacast.engine.quota import METRIC_NAMES, Scope
from quotacast.engine.selling import Costs
from quotacast.engine.simulate import simulate
from quotacast.engine.steps import Steps
from quotacast.engine.worlds import draw_truth
from quotacast.errors import PlanError
from quotacast.models.chain import Chain
from quotacast.models.covariates import Covariate
from quotacast.models.funnel import Funnel, fit, prepare
from quotacast.models.history.history import History
from quotacast.models.margins import Margins, booked_margins, known_margins, margins_known, read_margins
from quotacast.models.periods import Calendar

CALENDAR = Calendar()
YEAR = CALENDAR.parse("2026")
COSTS = Costs(rep_month=7_000.0, hire=2_345.67, commission=0.07)
HIRES = Drivers(hires=(Hire("a+1", "a", date(2026, 3, 9)),), leaves=(Leave("r02", date(2026, 6, 1)),))


@pytest.fixture(scope="module")
def fitted(small_world: Any, world_history: Any) -> tuple[History, Funnel]:
    truth = draw_truth(np.random.default_rng(3), 4, 2, leads=True)
    world = small_world(3, 4, date(2024, 6, 1), date(2025, 12, 10), change=lambda _: truth)
    history = world_history(world)
    return history, fit(prepare(history, CALENDAR), draws=200, fall_back=False)


@pytest.fixture(scope="module")
def paths(fitted: tuple[History, Funnel]) -> Paths:
    return run(fitted)


def run(fitted: tuple[History, Funnel], drivers: Drivers = HIRES, **more: Any) -> Paths:
    history, funnel = fitted
    steps = Steps.covering(CALENDAR.periods("month", date(2025, 10, 1), YEAR.last), cuts=(first(history),))
    made = {"costs": COSTS, **more}
    return simulate(funnel, history, drivers, steps, YEAR.last, draws=400, seed=5, **made)


def first(history: History) -> int:
    return int(np.datetime64(history.as_of_date, "D").astype(np.int64)) + 1


def without(history: History, **tables: pd.DataFrame) -> History:
    return dataclasses.replace(history, tables={**history.tables, **tables})


# -- which there are --------------------------------------------------------------------------------------


def test_all_six_kinds_and_every_name_can_be_answered(paths: Paths) -> None:
    kinds = {"call", "chat", "email", "lead_contact", "meeting", "meeting_planned"}
    assert set(answerable(paths.able)) == {*METRICS, *(f"activity:{kind}" for kind in kinds)}
    assert set(METRICS) == set(METRIC_NAMES)
    assert {metric(name).level for name in answerable(paths.able)} == {"input", "lead-to-deal", "output"}
    assert units(["activity:call"])["activity:call"] == "count"
    for name in answerable(paths.able):
        values = series(paths, metric(name), Scope("company"), YEAR).total
        assert np.isfinite(values).all()
        assert values.std() > 0, name
    assert metric("lead_cycle_days").good == "down"


def test_unknown_names_are_refused(paths: Paths) -> None:
    with pytest.raises(PlanError, match="'booking' is not known"):
        metric("booking")
    with pytest.raises(PlanError, match=r"activity:fax.*there are call, chat") as caught:
        check_able(["activity:fax", "bookings", "boking"], paths.able)
    assert len(caught.value.problems) == 2
    with pytest.raises(PlanError, match="activity:fax"):
        series(paths, metric("activity:fax"), Scope("company"), YEAR)


def test_what_the_data_lack_is_named(fitted: tuple[History, Funnel]) -> None:
    history, _ = fitted
    deals = history.opportunities
    none = {name: history.tables[name].iloc[:0] for name in ("leads", "activities")}
    bare = without(history, **none, opportunities=deals.assign(cost=np.nan, margin_pct=np.nan))
    found = able(bare, prepare(bare, CALENDAR).chain, None)
    for name in ("leads_created", "lead_close_rate", "lead_cycle_days"):
        assert "table leads" in found.reason(name)
    assert "table activities" in found.reason("activity:call")
    assert "cost or margin_pct" in found.reason("gross_margin")
    assert "cost or margin_pct" in found.reason("profit")
    assert set(answerable(found)) < set(METRICS)
    priced = able(history, prepare(history, CALENDAR).chain, None)
    assert priced.reason("gross_margin") == ""
    assert "[costs]" in priced.reason("profit")
    fast = dataclasses.replace(COSTS, accelerator=1.5)
    assert "accelerator" in able(history, prepare(history, CALENDAR).chain, fast).reason("profit")


def test_rare_kinds_and_few_leads_are_named(fitted: tuple[History, Funnel]) -> None:
    history, _ = fitted
    rows, some = history.activities, history.leads.iloc[:7]
    calls = np.flatnonzero(rows["kind"] == "call")[:3]
    kind = rows["kind"].to_numpy(dtype=object).copy()
    kind[calls] = "fax"
    few = without(history, leads=some, activities=rows.assign(kind=kind, count=1.0))
    found = able(few, prepare(few, CALENDAR).chain, COSTS)
    assert "fewer than 30" in found.reason("activity:fax")
    assert "holds 7 rows" in found.reason("leads_created")


def test_what_was_not_kept_is_named(fitted: tuple[History, Funnel], paths: Paths) -> None:
    some = run(fitted, measures=measures_of(["profit", "activity:call"]))
    for name in ("profit", "activity:call"):
        for scope in (Scope("company"), Scope("rep", "r03")):
            one, other = (series(p, metric(name), scope, YEAR).total for p in (some, paths))
            np.testing.assert_array_equal(one, other)
    with pytest.raises(PlanError, match="hold no won, lost;"):
        series(some, metric("close_rate"), Scope("company"), YEAR)


# -- one definition for history and future ----------------------------------------------------------------


def test_parts_add_up_in_every_draw(paths: Paths) -> None:
    for name in answerable(paths.able):
        which = metric(name)
        if which.is_ratio:
            continue
        for period in CALENDAR.periods("quarter", date(2025, 10, 1), YEAR.last):
            total = dict.fromkeys(("company", "team", "rep"), 0.0)
            for scope in paths.scopes():
                found = series(paths, which, scope, period)
                np.testing.assert_allclose(found.total, (found.done or 0) + found.open + found.new)
                total[scope.kind] = total[scope.kind] + found.total
            np.testing.assert_allclose(total["company"], total["team"], rtol=1e-12)
            np.testing.assert_allclose(total["company"], total["rep"], rtol=1e-12)


def test_a_period_under_way_is_actuals_and_simulation(fitted: tuple[History, Funnel], paths: Paths) -> None:
    history, _ = fitted
    december = CALENDAR.parse("2025-12")
    steps = Steps.covering([december], cuts=(first(history),))
    _, done = actual_measures(history, steps)
    for name in ("activity:email", "leads_created", "gross_margin"):
        found, which = series(paths, metric(name), Scope("company"), december), metric(name)
        assert found.done == pytest.approx(sum(done[m][:, 0].sum() for m in which.top) * which.scale)
        assert found.done > 0
        assert (found.new + found.open).mean() > 0


# -- margins ----------------------------------------------------------------------------------------------


def deals(**columns: Any) -> History:
    from quotacast.models.history import schema
    from quotacast.models.history.history import REJECTED, missing

    frame = missing("opportunities", len(columns["amount"])).assign(**columns)
    tables = {name: missing(name) for name in schema.TABLES} | {"opportunities": frame}
    return History(tables, date(2026, 1, 1), "EUR", (), pd.DataFrame(columns=list(REJECTED)))


def test_margins_come_from_cost_else_percent_else_the_mean() -> None:
    history = deals(
        status=["won", "won", "won", "won", "open", "lost"],
        amount=[100.0, 200.0, 400.0, 50.0, 70.0, np.nan],
        cost=[30.0, np.nan, 500.0, np.nan, np.nan, np.nan],
        margin_pct=[99.0, 40.0, np.nan, np.nan, 10.0, np.nan],
    )
    np.testing.assert_allclose(known_margins(history)[:5], [70.0, 80.0, -100.0, np.nan, 7.0])
    assert margins_known(history) == 0.75
    share = (70.0 + 80.0 - 100.0) / 700.0
    np.testing.assert_allclose(booked_margins(history)[:4], [70.0, 80.0, -100.0, 50.0 * share])


def test_wins_of_nothing_tell_no_margin() -> None:
    """Three of four margins are a known nothing; the one that would tell something is unknown."""
    history = deals(
        status=["won", "won", "won", "won", "lost"],
        amount=[0.0, 0.0, 0.0, 50.0, 0.0],
        cost=[np.nan] * 5,
        margin_pct=[np.nan] * 5,
    )
    one = Covariate("segment", ("a",), np.zeros(5, np.int32))
    assert margins_known(history) == 0.0
    assert read_margins(history, one) is None
    # nor do costs of giving something away
    history.opportunities["cost"] = [30.0, np.nan, 20.0, np.nan, np.nan]
    np.testing.assert_allclose(booked_margins(history), [-30.0, 0.0, -20.0, 0.0, 0.0])
    # and where no win has an amount at all, margins are as unknown: the metric is refused with the reason
    history.opportunities["amount"] = 0.0
    assert margins_known(history) == 0.0
    plain = Chain({}, (), {}, SimpleNamespace())  # type: ignore[arg-type]
    assert able(history, plain, None).reason("gross_margin") == "no win has an amount above 0"
    assert read_margins(history, one) is None


def test_the_bootstrap_keeps_the_money() -> None:
    """Its mean is the mean weighted by amounts, pooled towards the company's; large deals earn less here."""
    rng, n = np.random.default_rng(3), 300
    amount, segment = rng.lognormal(9, 1, n), rng.integers(0, 2, n)
    share = np.sort(0.9 - 0.05 * np.log(amount) + rng.normal(0, 0.1, n) - 0.1 * segment)
    margins = Margins(share, amount, segment, 2)
    weights = np.diff(margins.bootstrap(5, 2000).astype(float), axis=2, prepend=0.0)
    for s in (0, 1):
        own = (segment == s) + 20.0 / n
        wanted = (own * amount * share).sum() / (own * amount).sum()
        drawn = weights[:, s] @ share
        assert drawn.mean() == pytest.approx(wanted, abs=4 * drawn.std() / np.sqrt(2000))
        assert abs(wanted - share.mean()) > 0.01
        spread = np.sqrt((own * amount**2 * (share - wanted) ** 2).sum()) / (own * amount).sum()
        assert drawn.std() == pytest.approx(spread, rel=0.1)


def test_gross_margin_is_the_bookings_at_the_known_margins(
    fitted: tuple[History, Funnel], paths: Paths
) -> None:
    history, _ = fitted
    margins = read_margins(history, prepare(history, CALENDAR).segment)
    assert margins is not None
    booked, earned = (
        series(paths, metric(m), Scope("company"), YEAR).total for m in ("bookings", "gross_margin")
    )
    past = (margins.share * margins.amount).sum() / margins.amount.sum()
    assert earned.sum() / booked.sum() == pytest.approx(past, rel=0.02)
    more = Drivers(HIRES.hires, HIRES.leaves, (Change("margin", "team:a", times=1.1),))
    raised = run(fitted, more)
    for team, times in (("a", 1.1), ("b", 1.0)):
        one, other = (
            series(p, metric("gross_margin"), Scope("team", team), YEAR).new for p in (paths, raised)
        )
        assert other.sum() / one.sum() == pytest.approx(times, rel=1e-4)
        one, other = (series(p, metric("bookings"), Scope("team", team), YEAR).new for p in (paths, raised))
        assert np.array_equal(one, other)


# -- selling costs ----------------------------------------------------------------------------------------


def spent(paths: Paths, scope: Scope, label: str) -> float:
    period = CALENDAR.parse(label)
    new = paths.simulated("cost_cents", scope, period)[1]
    assert (new == new[0]).all()
    return float(paths.actual("cost_cents", scope, period) + new[0]) / 100


def test_reps_cost_by_the_month_and_hires_once(paths: Paths) -> None:
    assert spent(paths, Scope("rep", "r01"), "2026") == pytest.approx(12 * 7000, abs=0.02)
    assert spent(paths, Scope("rep", "r01"), "2025-12") == pytest.approx(7000, abs=0.02)  # done and to come
    assert spent(paths, Scope("rep", "r02"), "2026") == pytest.approx(5 * 7000, abs=0.02)
    hire = 23 / 31 * 7000 + 2345.67
    assert spent(paths, Scope("rep", "a+1"), "2026-03") == pytest.approx(hire, abs=0.02)
    assert spent(paths, Scope("company"), "2026") == pytest.approx(
        3 * 84_000 + 35_000 + hire + 9 * 7000, abs=0.05
    )


def test_profit_is_margin_less_costs_less_commission(paths: Paths) -> None:
    for scope in (Scope("company"), Scope("team", "a"), Scope("rep", "r03")):
        for label in ("2025-12", "2026-Q2"):
            period = CALENDAR.parse(label)
            found = {
                m: series(paths, metric(m), scope, period).total
                for m in ("profit", "gross_margin", "bookings")
            }
            wanted = found["gross_margin"] - spent(paths, scope, label) - 0.07 * found["bookings"]
            np.testing.assert_allclose(found["profit"], wanted, atol=1e-6)
            assert found["profit"].std() > 0


def test_deals_without_a_rep_cost_nothing(make_history: Any) -> None:
    from quotacast.engine.selling import past_costs
    from quotacast.models.people import employment

    rows = [
        {"opportunity_id": f"d{i}", "created_on": f"2025-{1 + i % 12:02d}-07", "status": "open",
         "rep_id": None if i % 3 else "r1"}
        for i in range(24)
    ]  # fmt: skip
    history = make_history({"opportunities": rows}, date(2025, 12, 31))
    steps = Steps.covering([CALENDAR.parse("2025")])
    people = employment(history, int(steps.edges[0]), int(steps.edges[-1]) - 1)
    assert "(none)" in people.reps
    assert set(past_costs(COSTS, history, people, steps)["rep"]) == {"r1"}
    assert Able().reason("activity:x") != ""
