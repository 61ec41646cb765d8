"""Leads of made-up companies: they come and convert at the rates that the truth says."""

from __future__ import annotations

import dataclasses
from datetime import date
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from quotacast.engine.worlds import World, WorldSpec, draw_truth, example_spec, make_world
from quotacast.engine.worlds_activity import usual_activity
from quotacast.engine.worlds_quotas import conversion
from quotacast.engine.worlds_truth import KINDS, LEAD_BANDS
from quotacast.models.activities import slope_terms


@cache
def example() -> World:
    return make_world(example_spec())


def test_activities_precede_their_leads_and_leads_their_opportunities() -> None:
    tables = example().tables
    deals, leads = tables["opportunities"], tables["leads"].set_index("lead_id")
    touches = tables["activities"].dropna(subset=["lead_id"])
    assert len(touches) > 0.9 * len(leads)
    assert (touches["done_on"].to_numpy() < leads.loc[touches["lead_id"], "created_on"].to_numpy()).all()
    # but for the open leads of leavers, which pass to a colleague
    same = touches["rep_id"].to_numpy() == leads.loc[touches["lead_id"], "rep_id"].to_numpy()
    left = tables["reps"].dropna(subset=["left_on"])["rep_id"]
    assert touches["rep_id"][~same].isin(set(left)).all()
    assert same.mean() > 0.98
    converted = deals.dropna(subset=["lead_id"])
    behind = leads.loc[converted["lead_id"]]
    assert 0.57 < len(converted) / len(deals) < 0.65
    assert (behind["closed_on"].to_numpy() == converted["created_on"].to_numpy()).all()
    assert (behind["opportunity_id"].to_numpy() == converted["opportunity_id"].to_numpy()).all()
    assert (behind["status"] == "converted").all()
    assert (behind["rep_id"].to_numpy() == tables["stages"].groupby("opportunity_id")["rep_id"].first()
            .loc[converted["opportunity_id"]].to_numpy()).all()  # fmt: skip
    assert (behind["segment"].to_numpy() == converted["segment"].to_numpy()).all()
    assert (behind["source"].to_numpy() == converted["source"].to_numpy()).all()


def test_leads_convert_at_their_rate() -> None:
    spec = example_spec(seed=5)
    true = spec.truth.leads
    assert true is not None
    calm = {"rep": (0.0,) * 20, "segment": (0.0,) * 3, "shock_sd": 0.0, "rep_quarter_sd": 0.0}
    plain = dataclasses.replace(
        true,
        arrival=dataclasses.replace(true.arrival, level=float(np.log(8.0))),
        convert=dataclasses.replace(true.convert, **calm),
        disqualify=dataclasses.replace(true.disqualify, **calm),
    )
    truth = dataclasses.replace(spec.truth, leads=plain)
    world = make_world(dataclasses.replace(spec, truth=truth))
    leads = world.tables["leads"]
    leads = leads[(leads["created_on"] >= "2024-01-01") & (leads["created_on"] <= "2026-09-30")]
    convert = conversion(world.spec, 0, 0)
    wait = (leads["closed_on"] - leads["created_on"]).dt.days[leads["status"] == "converted"]
    for band in LEAD_BANDS[:-1]:
        share = (wait <= band).sum() / len(leads)
        assert share == pytest.approx(convert[: band + 1].sum(), abs=0.012)


def test_only_leads_that_were_open_then_come_from_before_the_first_day() -> None:
    tables, first = example().tables, pd.Timestamp(2024, 1, 1)
    leads = tables["leads"]
    early = leads[leads["created_on"] < first]
    assert len(early) > 100
    assert (early["closed_on"].dropna() >= first).all()
    deals = tables["opportunities"]
    share = deals["lead_id"].notna().groupby(deals["created_on"].dt.to_period("Q")).mean()
    assert share.iloc[0] == pytest.approx(share.mean(), abs=0.1)  # no run-up


def test_a_company_without_leads_is_the_same_otherwise() -> None:
    one, two = (draw_truth(np.random.default_rng(5), 4, 2, leads=leads) for leads in (False, True))
    assert one.leads is None
    assert two.leads is not None
    assert (one.win, one.loss, one.value) == (two.win, two.loss, two.value)
    assert one.creation.level == pytest.approx(two.creation.level - np.log(0.4))
    spec = WorldSpec(4, (("a", 2), ("b", 2)), date(2024, 1, 1), date(2024, 12, 31), 1, one)
    tables = make_world(spec).tables
    assert tables["leads"].empty
    assert tables["opportunities"]["lead_id"].isna().all()


def test_drawn_effects_of_activity_follow_the_priors_of_the_models() -> None:
    truths = [draw_truth(np.random.default_rng(seed), 2, 1, leads=True) for seed in range(150)]
    terms = slope_terms(KINDS)
    leads = [t.leads for t in truths if t.leads is not None]
    within = np.array([(*t.activity.beta, *r.beta) for t, r in zip(truths, leads, strict=True)]).ravel()
    between = np.array(
        [(*t.activity.between, *r.between) for t, r in zip(truths, leads, strict=True)]
    ).ravel()
    mean, sd = float(terms[0].prior_mean[0]), terms[0].scale
    assert stats.kstest(within, stats.truncnorm(-mean / sd, np.inf, mean, sd).cdf).pvalue > 1e-3
    assert stats.kstest(between, stats.norm(0.0, terms[-1].scale).cdf).pvalue > 1e-3


def test_effects_between_reps_act_on_their_usual_activity() -> None:
    truth = draw_truth(np.random.default_rng(3), 3, 1, leads=True)
    assert truth.leads is not None
    between = (0.4, 0.0, -0.3, 0.0, 0.0, 0.0)
    found = {}
    for name, value in (("with", between), ("without", (0.0,) * 6)):
        leads = dataclasses.replace(truth.leads, between=value)
        one = dataclasses.replace(truth, leads=leads)
        spec = WorldSpec(3, (("a", 3),), date(2024, 1, 1), date(2024, 12, 31), 4, one)
        found[name] = make_world(spec).records
    records = found["with"]
    usual = usual_activity(records.clock, records.people, records.activity)
    np.testing.assert_allclose(usual.mean(axis=0), 0.0, atol=1e-12)
    assert usual.std() > 0.05
    ratio = found["with"].lead_intensity.sum(axis=0) / found["without"].lead_intensity.sum(axis=0)
    np.testing.assert_allclose(np.log(ratio), usual @ np.asarray(between))
    np.testing.assert_array_equal(found["with"].intensity, found["without"].intensity)
