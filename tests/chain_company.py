"""A company of four reps with activities and leads; its funnel is written down: for several test files."""

from __future__ import annotations

import dataclasses
from datetime import date
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import numpy as np

from quotacast.engine.steps import Steps
from quotacast.engine.worlds import WorldSpec, draw_truth, make_world, write_world
from quotacast.models.funnel import Funnel, Prepared, assemble, prepare
from quotacast.models.history.history import History
from quotacast.models.history.read import read_history
from quotacast.models.periods import Calendar
from quotacast.models.terms import Posterior

CALENDAR = Calendar(year_starts=2)
LAST, FIRST, HORIZON = date(2025, 11, 19), date(2025, 11, 20), date(2026, 2, 28)
SUNDAY = date(2025, 11, 16)
LEVELS = {"created": -1.2, "won": -4.1, "lost": -3.6, "value": 8.7, "leads": -0.6, "converted": -3.3}
LEVELS |= {"disqualified": -3.4, "activity:call": 1.3, "activity:meeting": -0.9}
YIELD = 0.7


@cache
def history(last_day: date = LAST) -> History:
    """Four reps in two teams; the usual as-of date cuts a month and a week."""
    truth = draw_truth(np.random.default_rng(6), 4, 2, leads=True)
    spec = WorldSpec(4, (("a", 2), ("b", 2)), date(2025, 1, 8), last_day, 4, truth)
    with TemporaryDirectory() as scratch:
        write_world(make_world(spec), Path(scratch) / "world", plan=False)
        return read_history(Path(scratch) / "world" / "crm", as_of=spec.last_day)


@cache
def prepared(last_day: date = LAST, monthly: bool = False) -> Prepared:
    """Models of weeks; of months, as where there are more reps than cells."""
    with mock.patch("quotacast.models.counts.CELL_LIMIT", 10 if monthly else 10_000):
        found = prepare(history(last_day), CALENDAR)
    assert found.counts.bin == found.chain.activities["call"].bin == ("month" if monthly else "week")
    return found


@cache
def funnel(draws: int = 2, beyond: float = 0.0, last_day: date = LAST, monthly: bool = False) -> Funnel:
    """A funnel with generic effects, written down rather than fitted."""
    known, rng, posteriors = prepared(last_day, monthly), np.random.default_rng(8), {}
    for name, (declaration, _) in known.declared().items():
        effects = {
            t.name: np.maximum(
                rng.normal(0.0, 0.2, (draws, t.size)) + t.prior_mean, -9.0 if t.lower is None else t.lower
            )
            for t in declaration.terms
        }
        effects["level"] = np.full((draws, 1), LEVELS.get(name, 0.4)) + rng.normal(0.0, 0.1, (draws, 1))
        far = ("shock_sd", "trend_sd", "rep_quarter_sd", "rep_sd", "team_sd")
        hyper = {h: np.full(draws, beyond if h in far else 0.37) for h in declaration.hyperparameters()}
        posteriors[name] = Posterior(effects, hyper, {"method": "written"})
    return dataclasses.replace(assemble(known, posteriors, 3), lead_yield=np.full(draws, YIELD))


def months() -> Steps:
    return Steps.covering(CALENDAR.periods("month", FIRST, HORIZON))
