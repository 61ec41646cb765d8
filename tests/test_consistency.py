"""The same quota in finer and finer periods, against closed forms of counts."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest
from scipy.stats import nbinom, poisson

from quotacast.engine.answers.consistency import consistency, cuts, kept_shares, missed, reliability
from quotacast.engine.columns import BLOCK, join, take
from quotacast.engine.paths import Paths, Steps
from quotacast.engine.quota import Quota, Scope
from quotacast.models.periods import Calendar

CALENDAR = Calendar()
DRAWS, REPS = 4000, 6


def quarters_of_2027(as_of: date = date(2026, 12, 31)) -> list[Any]:
    return [p for cut in cuts(CALENDAR.parse("2027"), CALENDAR, as_of) for p in cut.pieces]


def counted(created: np.ndarray, steps: Steps, as_of: date, done: int = 0) -> Paths:
    """Paths on which only creations happen, and some were made before."""
    reps = tuple(f"r{k}" for k in range(created.shape[1]))
    teams = ("north",) * created.shape[1]
    past = np.zeros((len(reps), len(steps)), dtype=np.int64)
    past[:, 0] = done
    blocks = [created[i : i + BLOCK].astype(np.int64) for i in range(0, len(created), BLOCK)]
    columns = {"created": join([take(np.ascontiguousarray(b)) for b in blocks], len(reps), len(steps), 1)}
    return Paths(as_of, steps, reps, teams, columns, tuple(zip(reps, teams, strict=True)), {"created": past})


def poisson_company(skill: np.ndarray, per_day: float = 0.08) -> tuple[Paths, Steps]:
    """Independent Poisson creations, more of them in summer; ``skill`` of shape (draws, reps)."""
    rng = np.random.default_rng(2)
    steps = Steps.covering(quarters_of_2027())
    days = np.diff(steps.edges)
    summer = 1.0 + 0.5 * np.sin((steps.edges[:-1] - steps.edges[0]) / 58.0)
    mean = per_day * days * summer
    return counted(rng.poisson(skill[:, :, None] * mean), steps, date(2026, 12, 31)), steps


# -- the pieces ---------------------------------------------------------------------------------------------


def test_pieces_cover_the_period_once() -> None:
    period = CALENDAR.parse("2027")
    found = {cut.kind: cut.pieces for cut in cuts(period, CALENDAR, date(2026, 11, 20))}
    assert [len(found[k]) for k in ("year", "quarter", "month", "week", "day")] == [1, 4, 12, 53, 365]
    for pieces in found.values():
        assert sum(p.days for p in pieces) == 365
        assert (pieces[0].first, pieces[-1].last) == (period.first, period.last)


def test_pieces_begin_after_the_as_of_date() -> None:
    found = {c.kind: c.pieces for c in cuts(CALENDAR.parse("2027-Q2"), CALENDAR, date(2027, 5, 12))}
    assert list(found) == ["quarter", "month", "week", "day"]
    assert found["month"][0].label == "2027-05"
    assert {p[0].first for p in found.values()} == {date(2027, 5, 13)}
    assert len(found["day"]) == 19 + 30


def test_pieces_with_next_to_nothing_carry_no_quota() -> None:
    kept, share = kept_shares(np.array([5.0, 5.0, 0.2, 10.0]))
    assert kept.tolist() == [True, True, False, True]
    assert share == pytest.approx([0.25, 0.25, 0.5])
    assert kept_shares(np.zeros(4))[1] == pytest.approx([0.25] * 4)


# -- skill and luck -----------------------------------------------------------------------------------------


def test_reliability_of_poisson_counts() -> None:
    """v / (v + n / m) for skills of variance v and a total of m in n pieces."""
    rng = np.random.default_rng(3)
    total, v = 40.0, 0.15
    skill = rng.gamma(1 / v, v, (DRAWS, 50))
    for pieces in (1, 4, 12):
        values = rng.poisson(skill[:, :, None] * total / pieces, (DRAWS, 50, pieces)).astype(float)
        assert reliability(values, skill) == pytest.approx(v / (v + pieces / total), rel=0.05)


def test_reliability_is_the_same_in_any_unit_and_for_uneven_courses() -> None:
    rng = np.random.default_rng(5)
    skill = rng.gamma(4.0, 0.25, (DRAWS, 40))
    course = np.array([1.0, 3.0, 0.5, 3.5])
    values = rng.poisson(skill[:, :, None] * 5.0 * course).astype(float)
    found = reliability(values, skill)
    assert found == pytest.approx(0.25 / (0.25 + 4 / 40.0), rel=0.05)  # n / m, however it is spread
    assert reliability(values * 730.0, skill * 12.0) == pytest.approx(found)


def test_reliability_needs_two_reps_who_reach_something() -> None:
    values = np.zeros((10, 3, 2))
    values[:, 0] = 1.0
    assert reliability(values, np.ones((10, 3))) is None


# -- misses -------------------------------------------------------------------------------------------------


def test_misses_of_poisson_counts() -> None:
    rng = np.random.default_rng(6)
    means, targets = np.array([2.0, 7.0, 30.0]), np.array([2.5, 7.0, 24.2])
    wanted = sum(poisson.cdf(np.ceil(t) - 1, m) for t, m in zip(targets, means, strict=True))
    assert missed(rng.poisson(means, (200_000, 3)).astype(float), targets) == pytest.approx(wanted, abs=0.01)


def test_the_answer_against_closed_forms() -> None:
    """Gamma skills make Negative Binomial counts: odds of a miss and reliability are known per piece."""
    rng, v = np.random.default_rng(8), 0.1
    skill = rng.gamma(1 / v, v, (DRAWS, REPS))
    paths, steps = poisson_company(skill)
    known = {"opportunities_created": {f"r{k}": skill[:, k] for k in range(REPS)}}
    target = 30.0
    quota = Quota(Scope("rep", "r2"), "opportunities_created", "2027", target)
    rows = consistency(paths, [quota], CALENDAR, known, {}).rows.set_index("cut")
    days = np.diff(steps.edges)
    mean = 0.08 * days * (1.0 + 0.5 * np.sin((steps.edges[:-1] - steps.edges[0]) / 58.0))
    total = mean.sum()
    assert rows["pieces"].to_dict() == {"year": 1, "quarter": 4, "month": 12, "week": 53, "day": 365}
    assert rows.loc["year", "target"] == target
    for kind, pieces in (("quarter", 4), ("month", 12), ("week", 53)):
        (cut,) = (c for c in cuts(CALENDAR.parse("2027"), CALENDAR, paths.as_of) if c.kind == kind)
        m = np.array([mean[steps.slice(p)].sum() for p in cut.pieces])
        p = 1 / (1 + v * m)
        wanted = nbinom.cdf(np.ceil(target * m / total) - 1, 1 / v, p).sum()
        assert rows.loc[kind, "missed"] == pytest.approx(wanted, rel=0.03), kind
        # relative skills of six reps; what moves all six at once is noise to a comparison with a quota
        relative = skill / skill.mean(axis=1, keepdims=True)
        spread = relative.var(axis=1, ddof=1).mean()
        noise = pieces / total * skill.mean() + ((skill - relative) ** 2).mean()
        assert rows.loc[kind, "reliability"] == pytest.approx(spread / (spread + noise), rel=0.05), kind
    alone = rows["p_missed_at_par"]
    assert alone["year"] == pytest.approx(0.5, abs=0.06)  # the median is reached in half of the futures
    assert rows["reliability"].is_monotonic_decreasing


def test_the_finest_period_that_tells() -> None:
    rng = np.random.default_rng(12)
    skill = rng.gamma(5.0, 0.2, (1000, REPS))  # v = .2 against m = 29 a year: 1, 4, 12 pieces
    paths, _ = poisson_company(skill)
    known = {"opportunities_created": {f"r{k}": skill[:, k] for k in range(REPS)}}
    found = consistency(
        paths, [Quota(Scope("company"), "opportunities_created", "2027", 200.0)], CALENDAR, known, {}
    )
    assert found.summary["finest"] == [
        {"metric": "opportunities_created", "period": "2027", "cut": "quarter"}
    ]
    assert "a quarter is the finest period" in found.words
    nobody = consistency(
        paths, [Quota(Scope("company"), "opportunities_created", "2027", 200.0)], CALENDAR, {}, {}
    )
    assert "too few reps" in nobody.words
    assert nobody.rows["reliability"].isna().all()


def test_what_is_done_counts_against_a_quota_under_way() -> None:
    """Three are made for every two to come: 40 % of the quota is left to cut."""
    as_of = date(2027, 6, 30)
    pieces = [
        CALENDAR.parse("2027"),
        *(p for c in cuts(CALENDAR.parse("2027"), CALENDAR, as_of) for p in c.pieces),
    ]
    steps = Steps.covering(pieces)
    later = np.flatnonzero(steps.edges[:-1] >= steps.edges[1])
    created = np.zeros((200, 2, len(steps)))
    created[:, :, later[::10]] = 1
    paths = counted(created, steps, as_of, done=3 * later[::10].size // 2)
    quota = Quota(Scope("company"), "opportunities_created", "2027", 100.0)
    rows = consistency(paths, [quota], CALENDAR, {}, {}).rows.set_index("cut")
    coming = later[::10].size
    assert rows.loc["year", "target"] == pytest.approx(100.0 * coming / (coming + 3 * coming // 2))
