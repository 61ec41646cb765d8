"""Activities, leads and the opportunities they begin: against closed forms, and what must not change them."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quotacast.engine.book import open_book
from quotacast.engine.drivers import Change, Drivers, Hire, Leave
from quotacast.engine.expected import expected_measures
from quotacast.engine.leads import Leads
from quotacast.engine.simulate import LEAD_MEASURES, measures_of, run_blocks, run_columns
from quotacast.engine.steps import Steps
from quotacast.engine.tables import Tables
from quotacast.models.activities import LAG_WEEKS, lagged
from quotacast.models.counts import bin_index
from quotacast.models.margins import read_margins
from quotacast.models.timegrid import day_number

sys.path.insert(0, str(Path(__file__).parent))
from chain_company import FIRST, HORIZON, LAST, SUNDAY, funnel, history, months

sys.path.remove(str(Path(__file__).parent))


def cut(kind: str, first: date = FIRST) -> Steps:
    """Days, or the calendar weeks that begin on Mondays."""
    days = np.arange(int(day_number(first)), int(day_number(HORIZON)) + 2)
    edges = days if kind == "day" else days[np.r_[True, (days[1:-1] + 3) % 7 == 0, True]]
    return Steps(edges)


def tables(drivers: Drivers | None = None, steps: Steps | None = None, seed: int = 20, **made: Any) -> Tables:
    fitted = funnel(**made)
    known, told = fitted.prepared, history(made.get("last_day", LAST))
    book = open_book(told, known.people, known.segment, known.quotes)
    margins = read_margins(told, known.segment)
    return Tables(fitted, book, drivers or Drivers(), HORIZON, steps or months(), seed, margins)


def same(one: dict[str, Any], other: dict[str, Any], pick: Callable[[Any], Any] = lambda x: x) -> bool:
    return all(np.array_equal(pick(one[name]), pick(other[name])) for name in one)


def changed(what: str, times: float, scope: str = "company", causal: bool = False, **more: Any) -> Drivers:
    return Drivers(changes=(Change(what, scope, times=times, causal=causal),), **more)


# -- activities -------------------------------------------------------------------------------------------


def test_activities_have_mean_and_spread_of_their_model() -> None:
    given = tables(steps=cut("week"), draws=1)
    drawn = run_blocks(given, 4000)
    table = funnel(1)
    for kind in ("call", "meeting"):
        counts = given.effects.funnel.prepared.chain.activities[kind]
        rates = given.effects.arrivals(counts, given.bins, np.zeros(1, dtype=np.int64), 0)
        worked = np.add.reduceat(given.activity._at_work, given.bins.edges[:-1], axis=1)
        mean = worked * rates["created_base"][0][:, None] * rates["created_time"][0]
        mean = mean * rates["created_rep"][0][:, given.bins.quarter]
        phi = 1.0 / table.posteriors[f"activity:{kind}"].hyper["overdispersion"][0] ** 2
        variance = mean + mean**2 / phi
        found = drawn[f"activity:{kind}"]
        z = (found.mean(axis=0) - mean) / np.sqrt(variance / 4000)
        assert np.abs(z).max() < 4.5
        assert 0.8 < z.std() < 1.2
        np.testing.assert_allclose(found.var(axis=0), variance, rtol=0.35)
        assert found.var(axis=0).sum() == pytest.approx(variance.sum(), rel=0.03)


@pytest.mark.parametrize("last_day", [LAST, SUNDAY])
def test_recent_activity_drives_creation_as_in_the_fit(last_day: date) -> None:
    """The factor, from simulated weeks by the function that the fit uses."""
    hires = Drivers(hires=(Hire("b+1", "b", date(2025, 12, 9)),))
    given, draws = tables(hires, cut("week", last_day + timedelta(days=1)), draws=2, last_day=last_day), 6
    block = given.block(0, draws)
    drawn = run_blocks(given, draws)
    chain, reps = given.funnel.prepared.chain, given.crew.known
    week = bin_index(given.grid.days, "week")
    cuts_a_week = week[0] == bin_index(given.grid.days - 1, "week")[0]
    assert cuts_a_week == (last_day == LAST)
    past = LAG_WEEKS + (not cuts_a_week)  # whole weeks before the first simulated one
    worked = np.stack([given.activity._at_work[:reps, week == w].sum(axis=1) / 7 for w in np.unique(week)], 1)
    time = np.concatenate([chain.recent_worked[:, :past], worked], axis=1)
    if cuts_a_week:
        time[:, past] += chain.recent_worked[:, -1]
    for model, found in (("created", block), ("leads", block["leads"])):
        log = np.zeros((draws, reps, worked.shape[1]))
        for k, kind in enumerate(chain.drivers):
            count = chain.unlinked_share[k] * drawn[f"activity:{kind}"][:, :reps].astype(float)
            if cuts_a_week:
                count[:, :, 0] += chain.recent[:, -1, k]
            before = np.broadcast_to(chain.recent[:, :past, k], (draws, reps, past))
            line = np.concatenate([before, count], axis=2)[..., None]
            level, defined = lagged(line, np.broadcast_to(time, line.shape[:3]))
            x = np.where(defined, level[..., 0] - chain.means[:, k, None], 0.0)[:, :, past:]
            slope = given.funnel.posteriors[model].effects[f"slope:{kind}"][found["parameter"], 0]
            log += slope[:, None, None] * x
        np.testing.assert_allclose(found["created_drive"][:, :reps], np.exp(log), rtol=1e-9)
        assert log.std() > 0.02
        assert np.abs(np.log(found["created_drive"][:, reps:])).mean() < 0.5  # the hire is near the usual


def test_monthly_models_take_the_mean_of_their_weeks() -> None:
    weekly, monthly = tables(draws=2), tables(draws=2, monthly=True)
    rng = np.random.default_rng(4)
    log = rng.normal(0.0, 0.5, (3, 4, weekly.activity.weeks))
    found = monthly.activity._by_bin(log)
    assert np.array_equal(weekly.activity._by_bin(log), log)
    daily = log[:, :, monthly.activity.week_of_day] * monthly.activity._at_work
    edges = monthly.bins.edges[:-1]
    wanted = np.add.reduceat(daily, edges, axis=2) / np.add.reduceat(monthly.activity._at_work, edges, axis=1)
    np.testing.assert_allclose(found, wanted)


def test_busier_reps_have_their_factor() -> None:
    given = tables(draws=2)
    with_it, chain = given.block(0, 2)["created_base"], given.funnel.prepared.chain
    effects = given.funnel.posteriors["created"].effects
    bare = given.effects.arrivals(given.funnel.prepared.counts, given.bins, np.arange(2), 0)["created_base"]
    log = sum(effects[f"between:{kind}"] * chain.between[:, k] for k, kind in enumerate(chain.drivers))
    np.testing.assert_allclose(with_it / bare, np.exp(log), rtol=1e-9)


# -- what changes nothing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("monthly", [False, True])
def test_steps_change_nothing(monthly: bool) -> None:
    made = {"draws": 3, "beyond": 0.3, "monthly": monthly}
    given = {kind: run_blocks(tables(steps=cut(kind), **made), 40) for kind in ("day", "week")}
    whole = run_blocks(tables(**made), 40)
    month = months().of_days(cut("day").edges[:-1])
    week = cut("week").of_days(cut("day").edges[:-1])
    for name, days in given["day"].items():
        for by, coarse in ((month, whole), (week, given["week"])):
            summed = np.stack([days[:, :, by == k].sum(axis=2) for k in range(by.max() + 1)], axis=2)
            assert np.array_equal(summed, coarse[name]), name
        assert days.any()


@pytest.mark.parametrize("block", [1, 7, 64])
def test_blocks_change_nothing(block: int) -> None:
    given = tables(draws=3, beyond=0.3)
    assert same(run_blocks(given, 50), run_blocks(given, 50, block))


@pytest.mark.parametrize(
    "wanted", [["activity:call"], ["leads_converted"], ["created", "activity:email"], ["margin_cents"]]
)
def test_what_is_kept_changes_nothing(wanted: list[str]) -> None:
    given = tables(draws=3, beyond=0.3)
    plain, kept = run_blocks(given, 300), run_columns(given, 300, wanted)
    assert list(kept) == wanted
    for name in wanted:
        assert np.array_equal(kept[name].dense().reshape(plain[name].shape), plain[name])
        assert plain[name].any()


def test_a_hire_leaves_everyone_else_alone() -> None:
    hires = Drivers(hires=(Hire("a+1", "a", date(2025, 12, 15)), Hire("c+1", "c", date(2026, 1, 5))))
    base, more = (
        run_blocks(tables(draws=3, beyond=0.3), 60),
        run_blocks(tables(hires, draws=3, beyond=0.3), 60),
    )
    assert same(base, more, lambda x: x[:, :4])
    assert all(more[name][:, 4:].any() for name in ("created", "leads_created", "activity:call"))


def test_another_open_lead_changes_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    base = run_blocks(tables(draws=3, beyond=0.3), 300)
    rows = Leads._open

    def twice(self: Leads) -> dict[str, Any]:
        found = rows(self)
        more = {name: np.append(array, array[5]) for name, array in found.items()}
        return more | {"deal_key": np.append(found["deal_key"], np.uint64(12345))}

    monkeypatch.setattr(Leads, "_open", twice)
    given = tables(draws=3, beyond=0.3)
    more, r = run_blocks(given, 300), int(given.leads.fixed["deal_rep"][5])
    assert same(base, more, lambda x: x[:, [i for i in range(4) if i != r]])
    ended = sum(more[n][:, r] - base[n][:, r] for n in ("leads_converted", "leads_disqualified")).sum(axis=1)
    assert set(np.unique(ended)) == {0, 1}
    begun = (more["created"][:, r] - base["created"][:, r]).sum(axis=1)
    assert set(np.unique(begun)) == {0, 1}
    assert np.array_equal(base["leads_created"], more["leads_created"])


def test_activity_alone_leaves_the_deals_as_they_are() -> None:
    """Where activity drives nothing, deals do not depend on whether there is any."""
    given, silent = tables(draws=3, beyond=0.3), tables(draws=3, beyond=0.3)
    given.activity.models = silent.activity.models = ()
    silent.activity.chain = dataclasses.replace(silent.activity.chain, kinds=())
    one, other = (run_columns(t, 100, ["won_cents", "created"]) for t in (given, silent))
    assert all(np.array_equal(one[name].dense(), other[name].dense()) for name in one)


# -- what changes what it should --------------------------------------------------------------------------


def test_more_calls_and_what_goes_along_with_them() -> None:
    base = run_blocks(tables(draws=3, beyond=0.3), 400)
    assoc = run_blocks(tables(changed("activity:call", 1.5, "team:a"), draws=3, beyond=0.3), 400)
    alone = changed("activity:call", 1.5, "team:a", activity_drives=False)
    alone = run_blocks(tables(alone, draws=3, beyond=0.3), 400)
    cause = changed("activity:call", 1.5, "team:a", causal=True, activity_drives=False)
    cause = run_blocks(tables(cause, draws=3, beyond=0.3), 400)
    calls = "activity:call"
    assert same(assoc, cause)
    assert np.array_equal(assoc[calls], alone[calls])
    assert assoc[calls][:, :2].sum() / base[calls][:, :2].sum() == pytest.approx(1.5, rel=0.01)
    assert same({k: v for k, v in base.items() if k != calls}, alone)
    assert same(base, assoc, lambda x: x[:, 2:])
    assert same({k: base[k] for k in base if k.startswith("activity") and k != calls}, assoc)
    for name, model in (("leads_created", "leads"), ("created", "created")):
        slope = funnel(3, 0.3).posteriors[model].effects["slope:call"].mean()
        ratio = assoc[name][:, :2].sum() / base[name][:, :2].sum()
        assert slope > 0.02
        assert 1.5 ** (0.5 * slope) < ratio < 1.5 ** (1.05 * slope)  # the first weeks are of the past


def test_more_creation_is_more_of_both_sources_but_not_of_leads() -> None:
    more = changed("opportunities_created", 1.6, "team:a")
    base, other = tables(draws=2), tables(more, draws=2)
    for given in (base, other):
        given.activity.models = ()
    mean, raised = expected_measures(base, 0, 2), expected_measures(other, 0, 2)
    inside = np.array([1.6, 1.6, 1.0, 1.0])
    ratio = raised["created"].sum(axis=2) / mean["created"].sum(axis=2)
    np.testing.assert_allclose(ratio, np.broadcast_to(inside, (2, 4)))
    drawn = run_blocks(base, 200), run_blocks(other, 200)
    assert same({n: drawn[0][n] for n in LEAD_MEASURES}, drawn[1])
    gap = drawn[1]["created"].sum(axis=(0, 2)) / drawn[0]["created"].sum(axis=(0, 2))
    np.testing.assert_allclose(gap, inside, rtol=0.03)


def test_leads_of_a_leaver_stop() -> None:
    on = date(2025, 12, 10)
    given = tables(Drivers(leaves=(Leave("r01", on),)), cut("day"), draws=1)
    drawn, at = run_blocks(given, 200), int(day_number(on)) - int(day_number(FIRST))
    for name in ("leads_created", "activity:call"):
        assert drawn[name][:, 0, at:].sum() == 0
        assert drawn[name][:, 0, :at].sum() > 0
    assert set(measures_of(given)) == set(drawn)
