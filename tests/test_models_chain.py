"""The chain before the deal: what drives creation, leads, gaps in the log, and what a missing table costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quotacast.engine.able import able
from quotacast.engine.worlds import World, WorldSpec, draw_truth, example_spec, make_world
from quotacast.engine.worlds_activity import activity_deviation, usual_activity
from quotacast.engine.worlds_truth import KINDS
from quotacast.models import counts
from quotacast.models.activities import LAG_WEEKS, slope_terms
from quotacast.models.conversion import LINKS, Link
from quotacast.models.funnel import MODELS, Prepared, assemble, prepare
from quotacast.models.laplace import fit_laplace
from quotacast.models.periods import Calendar
from quotacast.models.stages import STAGE_MODELS
from quotacast.models.store import load_fit, save_fit
from quotacast.models.terms import Posterior

FIRST, LAST = date(2024, 1, 1), date(2025, 6, 29)
DEMO = Path(__file__).resolve().parents[2] / "shared" / "data" / "salesforce_demo"
Make = Callable[..., Any]


@cache
def world() -> World:
    truth = draw_truth(np.random.default_rng(4), 5, 2, leads=True)
    spec = WorldSpec(5, (("a", 3), ("b", 2)), FIRST, LAST, 9, truth, hired=((1, date(2024, 9, 2)),))
    return make_world(spec)


def prepared(make_history: Make, **changes: pd.DataFrame) -> Prepared:
    return prepare(make_history({**world().tables, **changes}, LAST), Calendar())


def level_only(found: Prepared, draws: int = 50) -> dict[str, Posterior]:
    """Stand-ins for a fit: every model at its total rate."""
    out = {}
    for name, (declaration, cells) in found.declared().items():
        effects = {t.name: np.zeros((draws, t.size)) for t in declaration.terms}
        rate = np.average(cells.response, weights=cells.exposure)
        if declaration.family != "normal":
            rate = np.log((cells.response.sum() + 0.5) / cells.exposure.sum())
        effects["level"] = np.full((draws, 1), rate)
        hyper = {h: np.full(draws, 0.2) for h in declaration.hyperparameters()}
        out[name] = Posterior(effects, hyper, {"method": "written"})
    return out


# ---- what drives creation


def test_covariates_are_those_of_the_truth(make_history: Make) -> None:
    found = prepared(make_history)
    records, clock = world().records, world().records.clock
    truth = activity_deviation(clock, records.people, records.activity)[
        clock.first // 7 : clock.last // 7 + 1
    ]
    usual = usual_activity(clock, records.people, records.activity)
    for data in (found.counts, found.chain.leads):
        assert data is not None
        cells = data.cells
        week = np.zeros(len(cells), dtype=int)
        for rep in range(5):
            mine = cells.codes["rep"] == rep
            week[mine] = truth.shape[0] - mine.sum() + np.arange(mine.sum())
        for kind in found.chain.drivers:
            k = KINDS.index(kind)
            want = truth[week, cells.codes["rep"], k]
            np.testing.assert_allclose(cells.covariates[f"slope:{kind}"], want, atol=1e-9)
            between = cells.covariates[f"between:{kind}"]
            np.testing.assert_allclose(between, usual[cells.codes["rep"], k], atol=1e-9)
    assert found.chain.drivers == tuple(sorted(KINDS))


def test_recent_weeks_continue_the_covariates(make_history: Make) -> None:
    """The last grid week's covariate comes from the three weeks before the last one of ``recent``."""
    chain = prepared(make_history).chain
    assert chain.recent.shape == (5, LAG_WEEKS + 1, 6)
    done, time = chain.recent[:, :LAG_WEEKS].sum(axis=1), chain.recent_worked[:, :LAG_WEEKS].sum(axis=1)
    x = np.log1p(done / time[:, None]) - chain.means
    np.testing.assert_allclose(chain.drive.x[:, -1], x, atol=1e-12)
    low, high = chain.observed.T
    assert (low < np.expm1(chain.means.mean(axis=0))).all()
    assert (high > np.expm1(chain.means.mean(axis=0))).all()
    linked = world().tables["activities"]["opportunity_id"].notna()
    calls = world().tables["activities"]["kind"] == "call"
    count = world().tables["activities"]["count"]
    share = count[calls & ~linked].sum() / count[calls].sum()
    assert chain.unlinked_share[chain.drivers.index("call")] == pytest.approx(share)


def test_months_carry_the_mean_of_their_weeks(make_history: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where weeks would be too many cells: activity weighted by the days at work stays as it is."""
    weeks = prepared(make_history)
    monkeypatch.setattr(counts, "CELL_LIMIT", 120)
    months = prepared(make_history)
    assert (weeks.counts.bin, months.counts.bin) == ("week", "month")
    assert len(months.counts.cells) < len(weeks.counts.cells) / 3
    for name in ("slope:call", "between:email"):
        total = []
        for one in (weeks, months):
            cells = one.counts.cells
            weighted = cells.exposure * cells.covariates[name]
            total.append(np.bincount(cells.codes["rep"], weighted))
        np.testing.assert_allclose(total[0], total[1], atol=1e-8)
    assert months.chain.activities["call"].cells.response.sum() == pytest.approx(
        weeks.chain.activities["call"].cells.response.sum()
    )


def test_activity_counts_as_a_driver_only_before_its_deal_or_lead(make_history: Make) -> None:
    """Tied to a deal: free the day before its creation, an output on that day; the same for leads."""
    base = prepared(make_history).chain
    tables = world().tables
    deal, lead = tables["opportunities"].iloc[300], tables["leads"].iloc[300]
    for key, row in (("opportunity_id", deal), ("lead_id", lead)):
        for days, free in ((-1, 1.0), (0, 0.0)):
            more = pd.DataFrame(
                {
                    "activity_id": [f"x{i}" for i in range(8)], "kind": "call", "rep_id": "r01", "count": 5.0,
                    "done_on": row["created_on"] + pd.Timedelta(days=days), key: row[key],
                }
            )  # fmt: skip
            chain = prepared(make_history, activities=pd.concat([tables["activities"], more])).chain
            counted = {}
            for name, one, rows in (("before", base, tables["activities"]), ("after", chain, None)):
                rows = pd.concat([tables["activities"], more]) if rows is None else rows
                calls = rows.loc[rows["kind"] == "call", "count"].sum()
                counted[name] = calls * one.unlinked_share[one.drivers.index("call")]
            assert counted["after"] == pytest.approx(counted["before"] + 40 * free)


def test_activity_that_follows_deals_is_refused_with_numbers(make_history: Make) -> None:
    acts = world().tables["activities"]
    acts = acts[acts["opportunity_id"].notna()]
    chain = prepared(make_history, activities=acts).chain
    assert chain.drivers == ()
    assert f"all {int(acts['count'].sum()):,} activities hang on a deal" in chain.refused
    assert any(note.startswith("Activity may not drive new business") for note in chain.notes)
    assert {"activity:call", "activity:meeting", "activity:email"} <= set(chain.declared())
    for name in ("leads", "created"):
        found = prepared(make_history, activities=acts).declared()[name][0]
        assert not [t for t in found.terms if t.kind == "slope"]


@pytest.mark.skipif(not DEMO.exists(), reason="the third-party data are not there")
def test_the_salesforce_demo_refuses_activity_yields(tmp_path: Path) -> None:
    from quotacast.models.history.importers import import_source
    from quotacast.models.history.read import read_history

    import_source([DEMO], kind="salesforce", out=tmp_path / "sf")
    chain = prepare(read_history(tmp_path / "sf"), Calendar()).chain
    assert chain.drivers == ()
    assert "all " in chain.refused
    assert "activities hang on a deal" in chain.refused
    assert chain.kinds


def test_effects_of_activity_are_recovered(world_history: Make) -> None:
    """The example company: every true effect in its 99 % interval, the largest clearly above zero."""
    spec = example_spec()
    found = prepare(world_history(make_world(spec)), Calendar())
    beta = dict(zip(KINDS, spec.truth.activity.beta, strict=True))
    for name in ("leads", "created"):
        posterior = fit_laplace(*found.declared()[name], draws=1000)
        assert float(posterior.diagnostics["khat"]) < 0.7
        for kind in found.chain.drivers:
            draws = posterior.effects[f"slope:{kind}"][:, 0]
            low, high = np.quantile(draws, [0.005, 0.995])
            assert draws.min() >= 0.0
            assert low <= beta[kind] + 0.01  # a truth of 0 lies at the edge of what is possible
            assert beta[kind] <= high
        assert np.quantile(posterior.effects["slope:call"], 0.005) > 0.05


def test_kinds_share_the_fields_elasticity() -> None:
    one, six = slope_terms(("call",)), slope_terms(KINDS)
    assert (one[0].prior_mean[0], one[0].scale, one[0].lower) == (0.3, 0.3, 0.0)
    assert sum(t.prior_mean[0] for t in six if t.name.startswith("slope:")) == pytest.approx(0.3)
    assert np.sqrt(sum(t.scale**2 for t in six if t.name.startswith("slope:"))) == pytest.approx(0.3)
    assert one[1].lower is None


# ---- leads


def test_leads_and_deals_arrive_where_they_belong(make_history: Make) -> None:
    found = prepared(make_history)
    tables = world().tables
    deals, leads = tables["opportunities"], tables["leads"]
    assert found.counts.cells.response.sum() == deals["lead_id"].isna().sum()
    assert found.chain.leads is not None
    first = found.grid.first
    since = leads["created_on"].to_numpy("datetime64[D]").astype(int) >= first
    assert found.chain.leads.cells.response.sum() == since.sum()
    converted, disqualified = (c.response.sum() for c in found.chain.lead_hazards.cells)  # type: ignore[union-attr]
    assert (converted, disqualified) == tuple(
        (leads["status"] == s).sum() for s in ("converted", "disqualified")
    )
    assert found.chain.lead_yield == (converted, converted)
    opened = found.chain.open_leads
    assert set(opened.ids) == set(leads.loc[leads["status"] == "open", "lead_id"])
    by_id = leads.set_index("lead_id").loc[list(opened.ids)]
    assert [found.people.reps[r] for r in opened.rep] == list(by_id["rep_id"])
    assert [found.segment.levels[s] for s in opened.segment] == list(by_id["segment"])
    assert found.models == (
        *MODELS,
        "leads",
        "converted",
        "disqualified",
        *(f"activity:{k}" for k in sorted(KINDS)),
        "paid",
        *STAGE_MODELS,
    )


def test_a_deal_whose_lead_is_not_on_record_counts_as_direct(make_history: Make) -> None:
    leads = world().tables["leads"]
    half = leads.iloc[::2]
    found = prepared(make_history, leads=half)
    deals = world().tables["opportunities"]
    assert found.counts.cells.response.sum() == (~deals["lead_id"].isin(set(half["lead_id"]))).sum()


def test_converted_leads_that_name_no_deal_are_said_and_lower_the_yield(make_history: Make) -> None:
    tables = world().tables
    leads, deals = tables["leads"], tables["opportunities"]
    lost = set(leads.loc[leads["status"] == "converted", "lead_id"].iloc[::4])
    bare = leads.assign(opportunity_id=leads["opportunity_id"].where(~leads["lead_id"].isin(lost), None))
    unnamed = deals.assign(lead_id=deals["lead_id"].where(~deals["lead_id"].isin(lost), None))
    found = prepared(make_history, leads=bare, opportunities=unnamed)
    some, all_of = found.chain.lead_yield
    assert all_of - some == len(lost)
    assert any(f"{some:,} of {all_of:,} converted leads" in note for note in found.chain.notes)
    funnel = assemble(found, level_only(found, 2000), 3)
    assert funnel.lead_yield.shape == (2000,)
    assert funnel.lead_yield.mean() == pytest.approx(0.75, abs=0.03)
    assert assemble(prepared(make_history), level_only(prepared(make_history)), 3).lead_yield.min() > 0.95


def test_leads_of_somebody_without_deals_are_counted(make_history: Make) -> None:
    leads = world().tables["leads"]
    third = np.arange(len(leads)) % 3 == 0
    found = prepared(make_history, leads=leads.assign(rep_id=leads["rep_id"].where(~third, None)))
    assert "(none)" in found.people.reps
    assert found.chain.leads is not None
    mine = found.chain.leads.cells.codes["rep"] == found.people.reps.index("(none)")
    since = leads["created_on"].to_numpy("datetime64[D]").astype(int) >= found.grid.first
    assert found.chain.leads.cells.response[mine].sum() == pytest.approx((third & since).sum(), abs=1)


def test_leads_that_begin_late_do_not_make_the_time_before_look_idle(make_history: Make) -> None:
    leads = world().tables["leads"]
    begin = pd.Timestamp(2024, 10, 7)
    found = prepared(make_history, leads=leads[leads["created_on"] >= begin])
    full = prepared(make_history)
    assert found.chain.leads is not None
    assert full.chain.leads is not None
    rate, usual = (
        p.cells.response.sum() / p.cells.exposure.sum() for p in (found.chain.leads, full.chain.leads)
    )
    assert rate == pytest.approx(usual, rel=0.3)
    assert found.chain.leads.cells.exposure.sum() < 0.65 * full.chain.leads.cells.exposure.sum()
    direct, once = (p.counts.cells.response.sum() / p.counts.cells.exposure.sum() for p in (found, full))
    assert direct == pytest.approx(once, rel=0.3)  # deals from leads before October do not count as direct


# ---- gaps


def test_a_gap_in_the_log_is_unobserved_and_said(make_history: Make) -> None:
    acts = world().tables["activities"]
    start, stop = pd.Timestamp(2025, 1, 6), pd.Timestamp(2025, 3, 2)
    gone = (acts["rep_id"] == "r01") & (acts["done_on"] >= start) & (acts["done_on"] <= stop)
    full, found = prepared(make_history), prepared(make_history, activities=acts[~gone])
    assert full.chain.gaps == {}
    weeks = found.chain.gaps["r01"]
    assert set(found.chain.gaps) == {"r01"}
    assert 3 <= weeks <= 8
    assert any(f"r01 {weeks}" in note for note in found.chain.notes)
    call, whole = found.chain.activities["call"].cells, full.chain.activities["call"].cells
    assert len(whole) - len(call) == weeks
    assert (call.response[call.codes["rep"] == 0] == 0).sum() == 8 - weeks  # quiet weeks are zeros
    x = found.chain.drive.x[0]
    week = (np.datetime64("2025-02-24") - np.datetime64("2024-01-01")).astype(int) // 7
    if weeks == 8:
        assert (x[week] == 0).all()
    # the others' covariates are as before
    np.testing.assert_allclose(found.chain.drive.x[2], full.chain.drive.x[2])


def test_who_never_logged_anything_is_unobserved(make_history: Make) -> None:
    acts = world().tables["activities"]
    found = prepared(make_history, activities=acts[acts["rep_id"] != "r03"])
    assert (found.chain.drive.x[2] == 0).all()
    assert (found.chain.between[2] == 0).all()
    assert not (found.chain.activities["email"].cells.codes["rep"] == 2).any()
    assert any("ever logged by r03" in note for note in found.chain.notes)


def test_a_log_that_begins_late_is_no_idleness_before(make_history: Make) -> None:
    acts = world().tables["activities"]
    begin = pd.Timestamp(2024, 8, 5)
    found = prepared(make_history, activities=acts[acts["done_on"] >= begin])
    week = (begin.to_datetime64().astype("datetime64[D]") - np.datetime64("2024-01-01")).astype(int) // 7
    assert (found.chain.drive.x[:, : week + 1] == 0).all()
    assert (found.chain.drive.x[0, week + 1 :] != 0).any()
    full = prepared(make_history)
    rates = [
        p.chain.activities["email"].cells.response.sum() / p.chain.activities["email"].cells.exposure.sum()
        for p in (found, full)
    ]
    assert rates[0] == pytest.approx(rates[1], rel=0.15)
    assert any("begins on 05 Aug 2024" in note for note in found.chain.notes)


# ---- odd kinds, missing tables, further links


def test_unknown_kinds_are_models_of_their_own_and_can_be_stored(make_history: Make, tmp_path: Path) -> None:
    acts = world().tables["activities"]
    odd = np.arange(len(acts)) % 9 == 0
    kind = acts["kind"].where(~(odd & (acts["kind"] == "chat")), "demo, on-site/virtual")
    rare = kind.where(np.arange(len(acts)) != 5, "fax")
    found = prepared(make_history, activities=acts.assign(kind=rare))
    name = "activity:demo, on-site/virtual"
    assert name in found.models
    assert "demo, on-site/virtual" in found.chain.drivers
    assert any("not modelled: fax" in note for note in found.chain.notes)
    fit = level_only(found)
    save_fit(tmp_path / "fit", fit, {"key": "k"})
    back = load_fit(tmp_path / "fit", found.models, "k")
    assert back is not None
    np.testing.assert_array_equal(back[name].effects["level"], fit[name].effects["level"])
    slope = "slope:demo, on-site/virtual"
    np.testing.assert_array_equal(back["leads"].effects[slope], fit["leads"].effects[slope])
    assert load_fit(tmp_path / "fit", (*found.models, "activity:more"), "k") is None


@pytest.mark.parametrize("lost", [("activities",), ("leads",), ("activities", "leads", "stages", "reps")])
def test_missing_tables_shorten_the_chain_and_say_what_they_cost(
    make_history: Make, lost: tuple[str, ...]
) -> None:
    none = {table: world().tables[table].iloc[:0] for table in lost}
    found = prepared(make_history, **none)
    said = " ".join(found.chain.notes)
    assert ("No leads" in said) == ("leads" in lost)
    assert ("No activities" in said) == ("activities" in lost)
    assert ("leads" in found.models) == ("leads" not in lost)
    assert bool(found.chain.kinds) == ("activities" not in lost)
    deals = world().tables["opportunities"]
    direct = len(deals) if "leads" in lost else deals["lead_id"].isna().sum()
    assert found.counts.cells.response.sum() == direct
    if "leads" in lost:
        assert found.chain.lead_hazards is None
        assert len(found.chain.open_leads) == 0
    funnel = assemble(found, level_only(found), 1)
    assert set(funnel.diagnostics()) == set(found.models)


def test_too_few_leads_are_left_out_and_said(make_history: Make) -> None:
    found = prepared(make_history, leads=world().tables["leads"].iloc[:12])
    assert found.chain.leads is None
    assert any("Only 12 rows of leads" in note for note in found.chain.notes)


def test_leads_that_all_begin_at_once_are_left_out_and_said(make_history: Make) -> None:
    """A bulk import: how many come in a week cannot be told, and a model of no week would be its prior."""
    leads = world().tables["leads"].assign(created_on="2025-02-10")
    closed = leads["closed_on"].notna()
    leads.loc[closed, "closed_on"] = "2025-03-30"
    found = prepared(make_history, leads=leads)
    assert found.chain.leads is None
    why = "all begin from 10 Feb 2025 to 10 Feb 2025, too short a time"
    assert found.chain.left_out["leads"].startswith(why)
    assert any(note.startswith(f"The table leads is left out: {why}") for note in found.chain.notes)
    assert all(len(cells) for _, cells in found.declared().values())


@pytest.mark.parametrize(
    ("days", "why"), [(3, "no whole week in which a rep was at work ("), (-3000, "rep was not at work (")]
)
def test_a_log_of_no_whole_week_is_left_out_and_said(make_history: Make, days: int, why: str) -> None:
    """Activities of a few days, or of years before the deals; both hold more than enough rows."""
    log = world().tables["activities"]
    done = pd.to_datetime(log["done_on"])
    if days > 0:
        moved = done.max() - pd.to_timedelta(np.arange(len(log)) % days, "D")
    else:
        moved = done + pd.Timedelta(days=days)
    found = prepared(make_history, activities=log.assign(done_on=moved))
    assert found.chain.kinds == found.chain.drivers == ()
    assert f"{why}activities from" in found.chain.left_out["activities"]
    assert any("activities is left out" in note for note in found.chain.notes)
    assert not any(name.startswith("activity:") for name in found.models)
    assert "slope" not in " ".join(t.name for t in found.declared()["created"][0].terms)


def test_what_is_left_out_is_told_with_its_own_reason(make_history: Make) -> None:
    """A log of somebody who is no rep is kept every week, and leads of another year over many weeks."""
    log = world().tables["activities"].assign(rep_id="sdr9")
    leads = world().tables["leads"]
    early = {day: pd.to_datetime(leads[day]) - pd.Timedelta(days=2000) for day in ("created_on", "closed_on")}
    found = prepared(make_history, activities=log, leads=leads.assign(**early)).chain
    assert found.left_out["activities"].startswith("its rows are nobody's")
    assert "before the time of the deals, which begins on" in found.left_out["leads"]
    history = make_history({**world().tables, "activities": log, "leads": leads.assign(**early)}, LAST)
    can = able(history, found, None)
    assert can.reason("activity:call") == f"the table activities is left out: {found.left_out['activities']}"
    assert can.reason("leads_created") == f"the table leads is left out: {found.left_out['leads']}"


def test_a_made_up_link_is_one_row_of_the_table(make_history: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Invoices that are paid: occurrence over exposure by the model against the table."""
    monkeypatch.setitem(LINKS, "invoice", Link("invoices", "issued_on", "paid_on", "", ("paid",), "issued"))
    found = prepared(make_history)
    bills = world().tables["invoices"]
    assert {"issued", "paid"} <= set(found.models)
    declared = found.declared()
    assert declared["issued"][1].response.sum() == len(bills)
    assert declared["paid"][1].response.sum() == bills["paid_on"].notna().sum()
    posterior = fit_laplace(*declared["paid"], draws=200)
    declaration, cells = declared["paid"]
    expected = (cells.exposure * np.exp(posterior.linear_predictor(declaration, cells))).sum(axis=1)
    assert expected.mean() == pytest.approx(cells.response.sum(), rel=0.1)
    funnel = assemble(found, level_only(found), 1)
    assert "paid" in funnel.diagnostics()
    assert found.chain.links["invoice"].link.causes == ("paid",)
    monkeypatch.delitem(LINKS, "invoice")
    assert "paid" not in prepared(make_history).models


def test_preparing_does_not_depend_on_the_order_of_rows(make_history: Make) -> None:
    rng = np.random.default_rng(1)
    mixed = {
        n: world().tables[n].iloc[rng.permutation(len(world().tables[n]))] for n in ("leads", "activities")
    }
    a, b = prepared(make_history), prepared(make_history, **mixed)
    for name, (_, cells) in a.declared().items():
        other = b.declared()[name][1]
        np.testing.assert_allclose(cells.response, other.response)
        for key, values in cells.covariates.items():
            np.testing.assert_allclose(values, other.covariates[key])
    assert dataclasses.asdict(a.chain.open_leads)["ids"] == dataclasses.asdict(b.chain.open_leads)["ids"]
