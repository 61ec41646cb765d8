"""The inverse funnel: the search against scaled means, its honesty at the edge, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from scipy import special

from quotacast.cli import main
from quotacast.engine.drivers import Change
from quotacast.engine.metrics import metric, series
from quotacast.engine.quota import Scope
from quotacast.engine.worlds import WorldSpec, draw_truth, make_world, write_world
from quotacast.errors import PlanError
from quotacast.scenarios import inverse, run
from quotacast.scenarios.inverse import inverse_funnel, wish
from quotacast.scenarios.inverse_view import inverse_lines
from quotacast.scenarios.plan import load_plan
from quotacast.scenarios.run import Run

CALL = "activity:call"


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "FIT_DRAWS", 200)
        patch.setattr(inverse, "START_DRAWS", 300)
        patch.setattr(inverse, "STARTS", 3)
        yield


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("company") / "demo"
    truth = draw_truth(np.random.default_rng(11), 5, 2, leads=True)
    strong = replace(truth.activity, beta=(0.45, 0.0, 0.1, 0.0, 0.0, 0.0))
    spec = WorldSpec(
        5, (("north", 3), ("south", 2)), date(2025, 7, 1), date(2026, 12, 31), 6,
        replace(truth, activity=strong),
    )  # fmt: skip
    write_world(make_world(spec), folder)
    log = pd.read_csv(folder / "crm" / "activities.csv", dtype=str)
    log[log["kind"] == "call"].to_csv(folder / "crm" / "activities.csv", index=False)
    return folder / "plan.toml"


@pytest.fixture(scope="module")
def ready(plan: Path) -> Run:
    given = replace(load_plan(plan), draws=600)
    return Run(given, "laplace", force=True)


def _asked(ready: Run, target: float, probability: float = 0.6, by: str = CALL, scope: str = "company"):  # type: ignore[no-untyped-def]
    return wish(ready, "opportunities_created", target, probability, by, scope, "2027")


def _median(ready: Run) -> float:
    paths = ready.variant(ready.factored_drivers, (ready.plan.horizon_period,), 400)
    which = metric("opportunities_created")
    return float(np.median(series(paths, which, Scope("company"), ready.plan.horizon_period).total))


@pytest.fixture(scope="module")
def found(ready: Run):  # type: ignore[no-untyped-def]
    return inverse_funnel(ready, _asked(ready, 1.03 * _median(ready)))


def test_the_least_factor_reaches_the_odds_and_hardly_less_does_not(ready: Run, found) -> None:  # type: ignore[no-untyped-def]
    times = float(found.rows["times"].iloc[0])
    assert found.summary["reached"]
    assert 1.0 < times < float(found.rows["most"].iloc[0] / found.rows["per_day"].iloc[0])
    assert found.summary["p_then"] == pytest.approx(0.6, abs=0.0035)
    less = Change(CALL, "company", times=times**0.8)
    drivers = replace(ready.factored_drivers, changes=(less,))
    paths = ready.variant(drivers, (ready.plan.horizon_period,), 400)
    total = series(paths, metric("opportunities_created"), Scope("company"), ready.plan.horizon_period).total
    assert found.summary["p_now"] < (total >= found.summary["target"]).mean() < 0.6


class Curve:
    """A search whose odds are a curve over the log of the factor, in whole futures."""

    def __init__(self, odds: Callable[[float], float], wished: float, draws: int = 4000) -> None:
        self.curve, self.draws, self.wish, self.steps = odds, draws, SimpleNamespace(probability=wished), 0

    def paths(self, times: float) -> float:
        self.steps += 1
        return times

    def values(self, times: float) -> np.ndarray:
        return np.zeros(self.draws)

    def odds(self, times: float) -> float:
        return round(self.draws * self.curve(np.log(times))) / self.draws


CURVES: dict[str, Callable[[float], float]] = {
    "probit": lambda x: float(special.ndtr(-0.4 + 1.1 * x)),
    "steep": lambda x: float(special.ndtr(-3.0 + 6.0 * x)),
    "saturating": lambda x: 0.4 + 0.597 * (1.0 - np.exp(-6.0 * x)),
    "late": lambda x: 0.3 + 0.6 * float(x > 0.7),
    "flat": lambda x: 0.698,
    "hopeless": lambda x: 0.0003 * float(x > 0.8),
}


@pytest.mark.parametrize("wished", [0.1, 0.5, 0.7, 0.9, 0.985])
@pytest.mark.parametrize("limit", [1.0, 1.4, 2.5])
@pytest.mark.parametrize("draws", [120, 4000])
@pytest.mark.parametrize("name", CURVES)
def test_reached_is_what_all_futures_say(name: str, draws: int, limit: float, wished: float) -> None:
    search = Curve(CURVES[name], wished, draws)
    times, then, reached = inverse._least(search, limit, 1.0)  # type: ignore[arg-type]
    tolerance = max(0.003, 1.0 / draws)
    assert 1.0 <= times <= limit
    assert then == times
    assert reached == (search.odds(times) >= wished - tolerance)
    assert reached or (times == limit and search.odds(limit) < wished - tolerance)
    assert search.steps <= 14
    if reached and times > 1.0:
        less = max(1.0, times * np.exp(-1.5 * inverse.EXACTLY))
        assert search.odds(less) < wished or search.odds(times) - wished <= tolerance


@pytest.mark.parametrize("probability", [0.45, 0.58])
def test_odds_of_all_futures_are_the_wished_ones(ready: Run, probability: float) -> None:
    few = inverse_funnel(ready, _asked(ready, 1.03 * _median(ready), probability))
    assert few.summary["reached"]
    assert few.summary["p_then"] == pytest.approx(probability, abs=0.0035)
    assert few.summary["p_now"] < probability


def test_calls_grow_by_the_factor_and_their_effect_by_about_its_power(ready: Run, found) -> None:  # type: ignore[no-untyped-def]
    """Independent: creations that calls drive grow by times ** slope, averaged over posterior draws."""
    way = {step["metric"]: step["then"] / step["now"] for step in found.summary["on_the_way"]}
    times = float(found.rows["times"].iloc[0])
    assert way[CALL] == pytest.approx(times, rel=0.03)
    slopes = [ready.funnel.posteriors[m].effects["slope:call"].mean() for m in ("created", "leads")]
    powers = sorted(times**s for s in slopes)
    assert 1.0 < way["leads_created"] == pytest.approx(powers[-1], rel=0.05) or way[
        "leads_created"
    ] == pytest.approx(powers[0], rel=0.05)
    assert powers[0] * 0.93 < way["opportunities_created"] < powers[-1] * 1.04
    per_day = found.rows.set_index("scope_id")["per_day"]
    assert per_day["north"] != per_day["south"]
    np.testing.assert_allclose(found.rows["needed"], times * found.rows["per_day"])


def test_odds_if_it_causes_nothing_are_those_as_things_stand(found) -> None:  # type: ignore[no-untyped-def]
    assert found.summary["p_if_not_causal"] == found.summary["p_now"]
    assert "association" in found.words


def test_a_late_raise_no_longer_moves_the_period(found) -> None:  # type: ignore[no-untyped-def]
    share = [part["share"] for part in found.summary["effect_by_start"]]
    assert share[0] == 1.0
    assert share == sorted(share, reverse=True)
    assert "2027-06-01" < found.summary["last_useful_day"] < "2027-12-31"


def test_beyond_what_was_ever_observed_it_says_so(ready: Run) -> None:
    beyond = inverse_funnel(ready, _asked(ready, 3.0 * _median(ready)))
    assert not beyond.summary["reached"]
    assert "not reachable within the observed range" in beyond.words
    row = beyond.rows.iloc[0]
    assert row["needed"] == pytest.approx(row["most"])


def test_a_team_goes_no_further_than_what_was_kept_up_per_rep(ready: Run) -> None:
    beyond = inverse_funnel(ready, _asked(ready, 3.0 * _median(ready), scope="team:south"))
    row = beyond.rows.set_index("scope_id").loc["south"]
    assert row["needed"] == pytest.approx(row["most"])


def test_where_activity_is_at_its_most_already_it_says_so(
    ready: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inverse, "_most", lambda *_: 1.5)
    beyond = inverse_funnel(ready, _asked(ready, 3.0 * _median(ready)))
    assert not beyond.summary["reached"]
    assert "no more than 1.5 were ever kept up" in beyond.words


def test_where_nobody_is_left_it_says_so(ready: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    rep = ready.funnel.prepared.people.reps[0]
    monkeypatch.setattr(inverse, "_per_day", lambda *_: {"company": 5.0})
    with pytest.raises(
        PlanError, match=rf"--scope rep:{rep}: nobody there works between 2026-12-31 and 2027"
    ):
        inverse_funnel(ready, _asked(ready, 10.0, scope=f"rep:{rep}"))


def test_what_is_reached_already_needs_no_more(ready: Run) -> None:
    enough = inverse_funnel(ready, _asked(ready, 0.6 * _median(ready)))
    assert (enough.rows["times"] == 1.0).all()
    assert "no more calls are needed" in enough.words


def test_impossible_wishes_are_refused_together(ready: Run) -> None:
    with pytest.raises(PlanError) as caught:
        wish(ready, "bookings", -4.0, 1.2, CALL, "company", "2026")
    assert len(caught.value.problems) == 3
    with pytest.raises(PlanError, match=r"no such activity.*activity:call"):
        inverse_funnel(ready, _asked(ready, 100.0, by="activity:fax"))
    with pytest.raises(PlanError, match=r"wanted activity:<kind>"):
        inverse_funnel(ready, _asked(ready, 100.0, by="calls"))


def test_a_log_that_hangs_on_deals_is_refused_with_the_reason(plan: Path, tmp_path: Path) -> None:
    folder = tmp_path / "linked"
    folder.mkdir()
    for file in (plan.parent / "crm").glob("*.csv"):
        (folder / file.name).write_bytes(file.read_bytes())
    log = pd.read_csv(folder / "activities.csv", dtype=str)
    deals = pd.read_csv(folder / "opportunities.csv", dtype=str)
    first = deals.sort_values("created_on").iloc[0]
    log = log[log["done_on"] >= first["created_on"]].assign(opportunity_id=first["opportunity_id"])
    log.to_csv(folder / "activities.csv", index=False)
    linked = Run(
        replace(load_plan(plan), data_folder=folder, home=tmp_path, draws=200), "laplace", force=True
    )
    with pytest.raises(PlanError, match=r"do not tell what it does.*hang on a deal"):
        inverse_funnel(linked, _asked(linked, 100.0))


def test_screen_and_command(plan: Path, found) -> None:  # type: ignore[no-untyped-def]
    lines = list(inverse_lines(found))
    assert all(len(line) <= 80 for line in lines)
    assert any(line.strip().startswith("team:north") for line in lines)
    asked = [
        "suggest", str(plan), "--metric", "opportunities_created", "--target", "40", "--by", CALL, "--quiet",
        "--probability", "0.5", "--format", "json", "--draws", "200", "--force", "--method", "laplace",
    ]  # fmt: skip
    result = CliRunner().invoke(main, asked)
    assert result.exit_code == 0, result.output
    given = json.loads(result.stdout)
    assert given["schema"] == "quotacast/suggest/1"
    assert {"p_now", "p_then", "on_the_way", "last_useful_day"} <= set(given["summary"])
    assert CliRunner().invoke(main, [*asked[:-2], "nuts", "--by", "fax"]).exit_code == 2
