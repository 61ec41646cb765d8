"""Net figures follow attainment: they agree with the expected payout, counted from where a period stands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from quotacast.engine.answers.together import Pay, together
from quotacast.engine.finance.commission import earned
from quotacast.engine.metrics import metric, series
from quotacast.engine.quota import Scope
from quotacast.scenarios import run
from quotacast.scenarios.deciding.compare import compare_answer
from quotacast.scenarios.deciding.compare_view import compare_text
from quotacast.scenarios.deciding.net import commission_of, net_periods
from quotacast.scenarios.deciding.sides import sides
from quotacast.scenarios.plan import load_plan
from quotacast.scenarios.run import Run

RATE, MORE = 0.04, 2.5


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "FIT_DRAWS", 200)
        yield


@pytest.fixture(scope="module")
def paid(decided: Path) -> Run:
    """A plan with an accelerator, and quotas for three of five reps, each near the middle."""
    plain = Run(load_plan(decided), force=True)
    paths = plain.paths([plain.plan.horizon_period], ("bookings",))
    whole = plain.plan.horizon_period
    reps = [rep for rep in paths.reps if rep.startswith("r")][:3]
    middle = [
        float(np.median(series(paths, metric("bookings"), Scope("rep", rep), whole).total)) for rep in reps
    ]
    quotas = [
        {"scope": f"rep:{rep}", "metric": "bookings", "period": "2027", "target": 0.9 * target}
        for rep, target in zip(reps, middle, strict=True)
    ]
    more = {"quota": quotas, "costs": {"commission": {"rate": RATE, "accelerator": MORE}}}
    return Run(plain.plan.edited(more), force=True)


def test_commission_counts_from_where_the_period_stands() -> None:
    booked = np.array([0.0, 30.0, 80.0, 200.0])
    pay = Pay(0.1, 1.7)
    for done in (0.0, 45.0, 130.0):
        before = pay.payout(np.array([done]), 100.0)[0]
        wanted = pay.payout(done + booked, 100.0) - before
        np.testing.assert_allclose(earned(booked, done, 100.0, 0.1, 1.7), wanted, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(earned(booked, 45.0, None, 0.1, 1.7), 0.1 * booked)


def test_the_commission_of_a_comparison_is_the_expected_payout(paid: Run) -> None:
    found, _ = sides(paid, ("base", "people"))
    base, whole = found[0], paid.plan.horizon_period
    paths = paid.paths([whole, *net_periods(found)], ("bookings",))
    judged = [q for q in base.quotas if q.scope.kind == "rep" and q.metric == "bookings"]
    facts = together(paths, judged, paid.plan.calendar, {}, Pay(RATE, MORE)).summary["sets"][0]
    others = {rep for rep in paths.reps if rep != "(none)"} - {q.scope.id for q in judged}
    plain = sum(series(paths, metric("bookings"), Scope("rep", rep), whole).total.mean() for rep in others)
    assert len(judged) == 3
    assert len(others) >= 2
    total = commission_of(base, paths)
    assert total.mean() == pytest.approx(facts["payout"] + RATE * plain)
    company = series(paths, metric("bookings"), Scope("company"), whole).total
    assert total.mean() > 1.1 * RATE * company.mean()  # what the plain rate would pay


def test_a_hire_without_a_quota_is_paid_the_plain_rate(paid: Run) -> None:
    answer, _ = compare_answer(paid, {"names": ("base", "people", "price")})
    net, rows = answer.summary["net"], answer.rows
    company = rows[(rows["scope"] == "company") & (rows["set"] == "") & (rows["metric"] == "bookings")]
    gain = company.set_index("scenario")["diff"]
    assert net["parts"]["people"]["commission"] == pytest.approx(RATE * gain["people"])
    assert net["parts"]["price"]["commission"] > 1.5 * RATE * gain["price"]
    assert "accelerator above each rep's quota by year" in net["commission"]
    assert "accelerator above each rep's" in " ".join(compare_text(answer, {}, 80).split())


def test_quarterly_quotas_count_by_quarter(decided: Path) -> None:
    targets = {f"2027-Q{k}": 15_000.0 * k for k in (1, 2, 3, 4)}
    quotas = [
        {"scope": "rep:r01", "metric": "bookings", "period": label, "target": target}
        for label, target in targets.items()
    ]
    more = {"quota": quotas, "costs": {"commission": {"rate": RATE, "accelerator": MORE}}}
    one = Run(load_plan(decided).edited(more), force=True)
    found, _ = sides(one, ("base", "people"))
    spans = net_periods(found)
    assert [p.label for p in spans] == list(targets)
    paths = one.paths([one.plan.horizon_period, *spans], ("bookings",))
    total = np.zeros(paths.draws)
    for rep in (r for r in paths.reps if r != "(none)"):
        for span in spans:
            booked = series(paths, metric("bookings"), Scope("rep", rep), span).total
            own = rep == "r01"
            total += Pay(RATE, MORE).payout(booked, targets[span.label]) if own else RATE * booked
    np.testing.assert_allclose(commission_of(found[0], paths), total, rtol=1e-12)
