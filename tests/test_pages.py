"""Pages for leadership, operations and reps, and the answers behind them, on a small company."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from quotacast.cli import main
from quotacast.engine.answers.attainability import attainability
from quotacast.engine.answers.curve import odds_curve, target_at
from quotacast.engine.answers.deals import win_odds
from quotacast.engine.answers.needed import LEAST, needed
from quotacast.engine.book import Book
from quotacast.engine.metrics import metric, series
from quotacast.engine.openbook import Fading
from quotacast.engine.quota import Quota, Scope
from quotacast.engine.reports.words import money, percent
from quotacast.engine.worlds import WorldSpec, draw_truth, make_world, write_world
from quotacast.errors import PlanError
from quotacast.scenarios import run
from quotacast.scenarios.deciding.compare import compare_answer
from quotacast.scenarios.deciding.fewer import Fewer
from quotacast.scenarios.overview import overview
from quotacast.scenarios.pages import audiences as pages
from quotacast.scenarios.pages import sections_deciding
from quotacast.scenarios.pages.case import Case
from quotacast.scenarios.plan import load_plan

FAST = ("--method", "laplace", "--force", "--draws", "300", "--quiet")
HOSTILE = "<script>alert(1)</script>"
FORMULA = "=cmd|'/c calc'!A1"


@pytest.fixture(scope="module", autouse=True)
def few_posterior_draws() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "FIT_DRAWS", 200)
        yield


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plan of five reps in two teams; the first rep, a team and all customers have hostile names."""
    folder = tmp_path_factory.mktemp("company") / "demo"
    truth = draw_truth(np.random.default_rng(5), 5, 2)
    teams = (("north", 3), ("south", 2))
    first, last = date(2025, 7, 1), date(2026, 12, 31)
    write_world(make_world(WorldSpec(5, teams, first, last, 5, truth, activity_effects=False)), folder)
    (folder / "crm" / "leads.csv").unlink()
    (folder / "crm" / "activities.csv").unlink()
    reps = pd.read_csv(folder / "crm" / "reps.csv", dtype=str)
    reps["team"] = reps["team"].replace("south", HOSTILE)
    reps["name"] = [f"{HOSTILE}{rep}" for rep in reps["rep_id"]]
    reps.to_csv(folder / "crm" / "reps.csv", index=False)
    quotas = pd.read_csv(folder / "crm" / "quotas.csv", dtype=str)
    quotas["scope"] = quotas["scope"].replace("team:south", f"team:{HOSTILE}")
    quotas[~quotas["metric"].str.startswith(("activity", "lead"))].to_csv(
        folder / "crm" / "quotas.csv", index=False
    )
    deals = pd.read_csv(folder / "crm" / "opportunities.csv", dtype=str)
    deals["customer_id"] = [FORMULA, HOSTILE] * (len(deals) // 2) + [FORMULA] * (len(deals) % 2)
    deals.drop(columns="lead_id").to_csv(folder / "crm" / "opportunities.csv", index=False)
    stated = (folder / "plan.toml").read_text(encoding="utf-8")  # its lever and its scenario hire for a team
    (folder / "plan.toml").write_text(
        stated.replace('"team:south"', '"team:north"').replace('"south"', '"north"')
    )
    return folder / "plan.toml"


@pytest.fixture(scope="module")
def case(plan: Path) -> Case:
    """The plan's futures."""
    return Case(run.Run(load_plan(plan), "laplace", True))


def ask(plan: Path, *more: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["report", str(plan), *more, *FAST])
    assert result.exit_code == code, result.output
    return result


def made(plan: Path, folder: Path, audience: str) -> str:
    place = folder / "page.html"
    ask(plan, "--for", audience, "--out", str(place))
    return place.read_text(encoding="utf-8")


def text_of(html: str) -> str:
    """What a reader sees."""
    return re.sub(r"\s+", " ", re.sub(r"<(style|title)>.*?</\1>|<[^>]*>", " ", html, flags=re.DOTALL))


# -- answers -------------------------------------------------------------------------------------------------


def test_the_curve_at_the_quota_is_its_odds(case: Case) -> None:
    calendar = case.run.plan.calendar
    chosen = [q for q in case.quotas if q.period in ("2027", "2027-Q2") and q.set == "base"]
    more = (("close_rate", 0.3), ("cycle_days", 80.0), ("deals_won", 40.0))
    chosen += [Quota(s, name, "2027", target) for s in case.paths.scopes() for name, target in more]
    odds = attainability(case.paths, chosen, calendar, {}).rows
    curve = odds_curve(case.paths, chosen, calendar, {}).rows
    marked = curve[curve["mark"] == "quota"]
    known = odds.dropna(subset=["p_attain"])
    keys = ["scope", "scope_id", "metric", "period"]
    both = known.merge(marked, on=keys)
    assert len(both) == len(known) > 10
    assert (both["p_attain"] == both["probability"]).all()
    assert (both["target_x"] == both["target_y"]).all()


@pytest.mark.parametrize("name", ["bookings", "cycle_days", "close_rate", "deals_won"])
def test_every_point_is_the_hardest_target_with_its_odds(case: Case, name: str) -> None:
    quota = Quota(Scope("company"), name, "2027", 1.0)
    rows = odds_curve(case.paths, [quota], case.run.plan.calendar, {}).rows
    values = series(case.paths, metric(name), quota.scope, case.run.plan.horizon_period).total
    for target, odds in rows.loc[rows["mark"] == "", ["target", "probability"]].itertuples(index=False):
        reached, harder = (
            (values >= target, values > target)
            if name != "cycle_days"
            else (values <= target, values < target)
        )
        assert reached.mean() + 1e-12 >= odds > harder.mean() + 1e-9
    middle = rows.loc[rows["mark"] == "P50", "target"].iloc[0]
    assert middle == pytest.approx(np.quantile(values[np.isfinite(values)], 0.5))


def test_undefined_futures_reach_nothing() -> None:
    ordered = np.array([1.0, 2.0, 3.0])
    assert target_at(ordered, 5, 0.6, metric("close_rate")) == 1.0
    assert target_at(ordered, 5, 0.61, metric("close_rate")) is None
    assert target_at(ordered, 5, 0.4, metric("cycle_days")) == 2.0


def test_what_reaching_futures_have_in_common(case: Case) -> None:
    period = case.run.plan.horizon_period
    values = series(case.paths, metric("bookings"), Scope("company"), period).total
    quota = Quota(Scope("company"), "bookings", "2027", float(np.quantile(values, 0.7)))
    rows = needed(case.paths, quota, ("deals_won", "close_rate", "leads_created"), period, {}).rows
    assert list(rows["metric"]) == ["deals_won", "close_rate"]  # there are no leads
    won = series(case.paths, metric("deals_won"), Scope("company"), period).total
    reached = values >= quota.target
    assert rows["expected"].iloc[0] == pytest.approx(won.mean())
    assert rows["reaching"].iloc[0] == pytest.approx(won[reached].mean())
    assert rows["change"].iloc[0] == pytest.approx(won[reached].mean() / won.mean() - 1)
    assert rows["weekly_reaching"].iloc[0] == pytest.approx(won[reached].mean() * 7 / 365)
    assert np.isnan(rows["weekly"].astype(float).iloc[1])
    rare = Quota(Scope("company"), "bookings", "2027", float(np.sort(values)[-LEAST + 1]))
    few = needed(case.paths, rare, ("deals_won",), period, {})
    assert few.rows.empty
    assert "too few" in few.words


def test_odds_of_open_deals_in_closed_form() -> None:
    """Constant hazards: P = w / (w + l) * (1 - exp(-(w + l) n)); a band of age in which they change."""
    shape, codes, win, loss = (1, 1, 1), np.zeros(3, dtype=np.int32), 0.004, 0.011
    fade = Fading(
        np.array([[[[win, 3 * win]]]]),
        np.array([[[[loss, loss]]]]),
        np.array([0, 30]),
        np.ones(shape),
        np.full(shape, 100.0),
        10,
    )
    book = Book(("a", "b", "c"), codes, codes, codes, np.array([900, 990, 1000]), np.array([5.0, 6.0, 7.0]))
    found = win_odds(book, fade, 1000, 1050)

    def won(w: float, days: int) -> float:
        return w / (w + loss) * -np.expm1(-(w + loss) * days)

    late = won(3 * win, 50)
    split = [won(win, n) + np.exp(-(win + loss) * n) * won(3 * win, 50 - n) for n in (20, 30)]
    np.testing.assert_allclose(found, [late, *split], rtol=1e-9)
    assert win_odds(book, fade, 1000, 1000).tolist() == [0.0, 0.0, 0.0]


# -- pages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("audience", ["leadership", "rep:r01", "ops"])
def test_pages_are_escaped_alone_and_repeatable(plan: Path, tmp_path: Path, audience: str) -> None:
    html = made(plan, tmp_path, audience)
    assert html == made(plan, tmp_path, audience)
    assert html.startswith("<!doctype html>")
    assert "<script" not in html
    for outside in ("http://", "https://", "src=", "href=", "url(", "@import"):
        assert outside not in html.replace("http://www.w3.org/2000/svg", "")
    assert "&lt;script&gt;" in html


def test_leadership_reads_the_plan_in_plain_words(plan: Path, case: Case, tmp_path: Path) -> None:
    seen = text_of(made(plan, tmp_path, "leadership"))
    for part in ("The target and its odds", "What would have to be true", "Teams, 2027", "Reps"):
        assert part in seen
    for part in ("The largest doubts", "Track record There is none yet", "reps with a quota", "seed 1"):
        assert part in seen
    assert re.search(
        r"(about|almost|less than|more than) .{1,20} to reach [\d.]+[kM] bookings in 2027", seen, re.I
    )
    assert "1. These odds have never been tested" in seen
    assert case.run.history.fingerprint[:12] in seen
    assert not re.search(r"\br0[1-5]\b", seen)


def test_a_rep_sees_no_other_rep(plan: Path, tmp_path: Path) -> None:
    seen = text_of(made(plan, tmp_path, "rep:r01"))
    for part in ("Quotas and their odds", "per week", "Bookings by month", "Open deals that matter most"):
        assert part in seen
    assert "r01" in seen
    assert not re.search(r"\br0[2-5]\b", seen)
    assert "=cmd|" in seen  # text in a page, which runs no formulas


def test_whom_a_page_is_for_is_checked_first(plan: Path) -> None:
    assert (
        "wanted one of leadership, ops, finance, rep:ID, did you mean leadership?"
        in ask(plan, "--for", "leadershp", code=2).output
    )
    assert "wanted one of" in ask(plan, "--for", "rep", code=2).output
    assert "wanted one of" in ask(plan, "--for", "ops:r01", code=2).output
    assert "there is no rep 'r09'" in ask(plan, "--for", "rep:r09", code=2).output


def test_every_section_exists_and_file_names_stay_in_the_folder() -> None:
    names = [n for row in pages.AUDIENCES.values() for n in row.sections] + list(pages.MORE)
    assert all(callable(pages.teller(name)) and pages.teller(name).__doc__ for name in names)
    assert pages.file_name("rep:../../etc/x") == "report-rep-_etc_x.html"
    assert pages.file_name(None) == "report.html"
    with pytest.raises(PlanError, match="rep:ID"):
        pages.asked("boss")


def test_those_who_left_have_no_page(case: Case) -> None:
    people = case.run.people
    left = dataclasses.replace(
        people, stop=np.where(np.arange(people.stop.size) == 0, people.start, people.stop)
    )
    other = dataclasses.replace(case.run)
    prepared = dataclasses.replace(case.run.funnel.prepared, people=left)
    vars(other).update(history=case.run.history, _prepared=prepared)
    with pytest.raises(PlanError, match="has left"):
        pages.audience_page(other, f"rep:{people.reps[0]}")


def test_the_whole_page_holds_levers_and_scenarios(plan: Path, tmp_path: Path) -> None:
    ask(plan, "--out", str(tmp_path / "whole.html"))
    text = (tmp_path / "whole.html").read_text(encoding="utf-8")
    for heading in ("What closes the gap", "Scenarios against the plan"):
        part = text[text.index(heading) :].partition("</section>")[0]
        assert "<svg" in part
    assert "hire_four" in text


# -- what is decided on, on the page of `plan` -------------------------------------------------------------


def short(case: Case, patch: pytest.MonkeyPatch, draws: int) -> Case:
    patch.setattr(sections_deciding, "SHORT_DEALS", 1.0)
    patch.setattr(sections_deciding, "SHORT_DRAWS", draws)
    return Case(case.run)


def test_the_page_of_plan_agrees_with_compare(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """As things stand exactly, differences within their Monte Carlo error; and it says how many futures."""
    made = short(case, monkeypatch, 700)
    page = overview(case.run).page
    for heading in ("What closes the gap", "Scenarios against the plan"):
        assert "<svg" in page[page.index(heading) :].partition("</section>")[0]
    seen = sections_deciding.scenarios_shortly(made)
    assert seen is not None
    whole, _ = compare_answer(case.run, {"names": (), "scope": ("company", "team")})
    keys = ["scope", "scope_id", "scenario", "metric", "period", "set"]
    fewer = Fewer(case.run, made.paths, 700)
    part, _ = compare_answer(case.run, {"names": (), "scope": ("company", "team")}, fewer)
    both = part.rows.merge(whole.rows, on=keys, suffixes=("", "_all"))
    assert len(both) == len(whole.rows) == len(part.rows)
    np.testing.assert_allclose(both["mean_against"], both["mean_against_all"], rtol=1e-9)
    np.testing.assert_allclose(
        both["p_against"].astype(float), both["p_against_all"].astype(float), rtol=1e-12
    )
    gap = (both["diff"] - both["diff_all"]).to_numpy()
    assert (np.abs(gap) <= 4 * both["diff_se"].to_numpy() + 1e-9).all()
    np.testing.assert_allclose(both["mean"] - both["mean_against"], both["diff"], atol=1e-6)
    assert part.summary["draws"] == 700
    assert "differences by the same 700 of them" in " ".join(seen.lines or ())
    goal = made.goal(Scope("company"))
    assert goal is not None
    assert f"odds of {money(goal.target)} bookings {percent(made.chance(goal) or 0)}, then" in " ".join(
        seen.lines or ()
    )


def test_levers_on_the_page_of_plan_start_from_its_odds(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    made = short(case, monkeypatch, 500)
    seen = sections_deciding.gap_shortly(made)
    assert seen is not None
    assert seen.answer is not None
    goal = made.goal(Scope("company"))
    assert goal is not None
    summary = seen.answer.summary
    assert summary["odds_now"] == pytest.approx(made.chance(goal))
    assert summary["draws"] == 500
    assert "by the same 500 of them" in seen.answer.words
    whole = sections_deciding.gap(made)
    assert whole is not None
    assert whole.answer is not None
    error = np.hypot(summary["odds_change_se"], whole.answer.summary["odds_change_se"])
    assert abs(summary["odds_all"] - whole.answer.summary["odds_all"]) < 4 * error
    assert whole.answer.summary["odds_now"] == pytest.approx(summary["odds_now"])


def test_many_levers_are_named_and_not_simulated(case: Case) -> None:
    rows = [{"what": "deal_value", "from": 1.0, "to": 1.0 + k / 50, "cost": 10.0 * k} for k in range(1, 6)]
    other = dataclasses.replace(case.run, plan=case.run.plan.edited({"lever": rows}))
    kept = ("history", "_prepared", "funnel", "able", "fit_key", "record", "leaning")
    vars(other).update({key: vars(case.run)[key] for key in kept if key in vars(case.run)})
    seen = sections_deciding.gap_shortly(Case(other))
    assert seen is not None
    assert seen.answer is None
    assert f"The plan states {len(other.plan.levers)} levers" in " ".join(seen.lines or ())
