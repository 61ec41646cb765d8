"""Coverage on record-level companies with known truth: well specified, and with one thing wrong at a time.

A company has five reps in two teams (one hired nine months before the end), two years of records and a
forecast of the four quarters after them. Its truth comes from ``engine.worlds.draw_truth``, whose scales are
those of the models' declarations; the drifts that the models allow for (a random walk of every level by
quarter) are added here with the declared scales. What the models have and these worlds lack (age x
position, an effect of the amount on hazards) is zero in the truth. Companies are kept by their data alone
(``DEALS`` and ``WINS``), which leaves calibration as it is.

Forecasts are scored by the definitions of the backtest; coverage is that of central intervals by randomised
PIT. A disturbed company has the same truth and the same random numbers as the undisturbed of its number.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.backtest import scores
from quotacast.engine.backtest.origin_forecast import target_draws
from quotacast.engine.backtest.origins import outcomes
from quotacast.engine.backtest.targets import METRICS, Target
from quotacast.engine.drivers import Drivers
from quotacast.engine.paths import Steps
from quotacast.engine.quota import Scope
from quotacast.engine.simulate import simulate
from quotacast.engine.worlds_clock import Clock, make_clock
from quotacast.engine.worlds_draw import draw_truth
from quotacast.engine.worlds_records import Records
from quotacast.engine.worlds_records import simulate as draw_records
from quotacast.engine.worlds_tables import tables
from quotacast.engine.worlds_truth import MarketShock, WorldSpec
from quotacast.models.funnel import fit, prepare
from quotacast.models.history import schema
from quotacast.models.history.history import REJECTED, History, missing
from quotacast.models.periods import Calendar, Period

FIRST, LAST = date(2024, 1, 1), date(2025, 12, 31)
QUARTERS = tuple(f"2026-Q{q}" for q in (1, 2, 3, 4))
TEAMS = (("north", 3), ("south", 2))
HIRED = ((2, date(2025, 4, 1)),)
#: Companies are kept whose records hold so many opportunities and at least so many wins.
DEALS, WINS = (80, 2_500), 20
#: Scales of the quarterly random walks, as declared for creation, win and loss, and for values.
DRIFT = {"creation": 0.07, "win": 0.07, "loss": 0.07, "value": 0.1}
FIT_DRAWS, DRAWS = 500, 1000
NONE = "none"


@dataclasses.dataclass(frozen=True)
class Disturbance:
    """What is wrong in a company.

    Attributes
    ----------
    meaning : str
    spec : callable, optional
        From the specification to the disturbed one.
    level : mapping of str to callable, optional
        By rate, from the clock to what is added to its log level, shape (days,).
    tail : float, optional
        Log amounts get an Exponential residual of this rate (a Pareto tail of that index), not a Normal.
    forget_left : bool
        Whether ``left_on`` is missing from the export.
    """

    meaning: str
    spec: Callable[[WorldSpec], WorldSpec] | None = None
    level: Mapping[str, Callable[[Clock], np.ndarray]] = dataclasses.field(default_factory=dict)
    tail: float | None = None
    forget_left: bool = False


def _truth(**change: Any) -> Callable[[WorldSpec], WorldSpec]:
    return lambda spec: dataclasses.replace(spec, truth=dataclasses.replace(spec.truth, **change))


def _push(spec: WorldSpec) -> WorldSpec:
    truth = spec.truth
    win = dataclasses.replace(truth.win, position=(-0.6, -0.4, -0.1, 1.6))
    return dataclasses.replace(spec, truth=dataclasses.replace(truth, win=win))


def _since(day: date, factor: float) -> Callable[[Clock], np.ndarray]:
    return lambda clock: np.where(clock.days >= np.datetime64(day), np.log(factor), 0.0)


_SHOCK = MarketShock(date(2026, 2, 1), 5, creation=-0.4, win=-0.4, loss=0.2)
_BREAK = _since(date(2025, 11, 1), 0.6)
DISTURBANCES: Mapping[str, Disturbance] = {
    NONE: Disturbance("nothing: the company is as the models believe"),
    "market shock": Disturbance(
        "after the as-of date: 5 months of creation x .67, win hazard x .67, loss hazard x 1.22",
        _truth(market_shock=_SHOCK),
    ),
    "dead deals": Disturbance("10 % of deals are never closed by anybody", _truth(dead_share=0.1)),
    "heavy tails": Disturbance("residuals of values have a Pareto tail of index 1.5", tail=1.5),
    "quarter-end push": Disturbance(
        "win hazard x 5 in the last ten days of a quarter, x .55 to .9 before", _push
    ),
    "leaver": Disturbance(
        "a rep left 19 days before the as-of date, and the export does not say so",
        lambda spec: dataclasses.replace(spec, left=((0, date(2025, 12, 13)),)),
        forget_left=True,
    ),
    "structural break": Disturbance(
        "creation and win hazard x .6 from two months before the as-of date, for good",
        level={"creation": _BREAK, "win": _BREAK},
    ),
}


def specification(number: int, attempt: int) -> WorldSpec:
    """The company of a number, before any disturbance."""
    rng = np.random.default_rng([number, attempt])
    truth = draw_truth(rng, 5, len(TEAMS))
    seed = int(rng.integers(2**31))
    return WorldSpec(
        5, TEAMS, FIRST, LAST, seed, truth, hired=HIRED, horizon_days=365, activity_effects=False
    )


def records(spec: WorldSpec, wrong: Disturbance) -> Records:
    """Draw a company's records with drifting levels, and with what is wrong."""
    spec = drifting(wrong.spec(spec) if wrong.spec else spec, wrong)
    found = draw_records(spec)
    rng = np.random.default_rng([spec.seed, 2])
    clock, deals = found.clock, found.deals
    factor = np.exp(_walk(rng, clock, DRIFT["value"]))[clock.quarter[deals.created]]
    if wrong.tail:
        factor = factor * np.exp(rng.exponential(1.0 / wrong.tail, factor.size))
    amount, quote = (np.maximum(np.round(x * factor, 2), 1.0) for x in (deals.amount, deals.quote))
    return dataclasses.replace(found, deals=dataclasses.replace(deals, amount=amount, quote=quote))


def drifting(spec: WorldSpec, wrong: Disturbance) -> WorldSpec:
    """Replace the rates' levels by paths over days: the records add a level to arrays over days."""
    clock, rng = make_clock(spec), np.random.default_rng([spec.seed, 1])
    truth = spec.truth
    parts: dict[str, Any] = {}
    for name in ("creation", "win", "loss"):
        rate = getattr(truth, name)
        path = rate.level + _walk(rng, clock, DRIFT[name])[clock.quarter]
        if name in wrong.level:
            path = path + wrong.level[name](clock)
        parts[name] = dataclasses.replace(rate, level=path)
    if wrong.tail:
        parts["value"] = dataclasses.replace(truth.value, residual_sd=0.0)
    return dataclasses.replace(spec, truth=dataclasses.replace(truth, **parts))


def _walk(rng: np.random.Generator, clock: Clock, scale: float) -> np.ndarray:
    """Random walk over the clock's quarters with an sd drawn from HalfNormal(scale)."""
    sd = abs(float(rng.normal(0.0, scale)))
    return np.asarray(sd * np.cumsum(rng.standard_normal(int(clock.quarter[-1]) + 1)))


def history(spec: WorldSpec, found: Records, cut: int, as_of: date, forget_left: bool) -> History:
    """What an export tells on the evening of day ``cut`` of the clock."""
    rows = tables(spec, found, cut)
    if forget_left:
        rows["reps"] = rows["reps"].assign(left_on=pd.NaT)
    full = {name: missing(name) for name in schema.TABLES}
    full |= {name: canonical(name, rows[name]) for name in ("opportunities", "stages", "reps")}
    return History(full, as_of, "EUR", (), pd.DataFrame(columns=list(REJECTED)))


def canonical(table: str, given: pd.DataFrame) -> pd.DataFrame:
    """Rows with every canonical column, of its canonical type."""
    frame = missing(table, len(given))
    for column in schema.columns(table):
        if column.name in given:
            values = given[column.name].reset_index(drop=True)
            if column.kind == "day":
                frame[column.name] = pd.to_datetime(values).astype("datetime64[ns]")
            elif column.kind in ("money", "number"):
                frame[column.name] = values.astype(float)
            else:
                frame[column.name] = values.astype(object).where(values.notna(), None)
    return frame


def accepted(number: int) -> tuple[WorldSpec, int]:
    """The first company of a number whose records are of a workable size, and how many were too odd."""
    attempt = 0
    while True:
        spec = specification(number, attempt)
        found = records(spec, DISTURBANCES[NONE])
        created = int((found.deals.created <= found.clock.last).sum())
        wins = int(((found.deals.closed <= found.clock.last) & (found.deals.cause == 1)).sum())
        if DEALS[0] <= created <= DEALS[1] and wins >= WINS:
            return spec, attempt
        attempt += 1


def one(name: str, number: int) -> dict[str, Any]:
    """Fit a company's records, forecast four quarters, and score them against what came.

    Returns
    -------
    dict
        By scope's kind and metric: lists of PIT, CRPS, actual and mean over quarters and scopes (quarter by
        quarter), the same for the four quarters as one period under ``year``, and the fit's k-hat, its failed
        checks and the size of the records.
    """
    wrong = DISTURBANCES[name]
    spec, refused = accepted(number)
    found = records(spec, wrong)
    if wrong.spec:
        spec = wrong.spec(spec)
    clock = found.clock
    seen = history(spec, found, clock.last, LAST, wrong.forget_left)
    later = history(spec, found, clock.end, date(2026, 12, 31), False)
    calendar = Calendar()
    periods = [calendar.parse(label) for label in QUARTERS]
    funnel = fit(prepare(seen, calendar), draws=FIT_DRAWS, seed=number + 1, fall_back=False)
    steps = Steps.covering(periods)
    paths = simulate(funnel, seen, Drivers(), steps, periods[-1].last, draws=DRAWS, seed=number + 1)
    khat = max(float(p.diagnostics.get("khat", 0.0)) for p in funnel.posteriors.values())
    result: dict[str, Any] = {
        "deals": len(seen.opportunities),
        "refused": refused,
        "khat": round(khat, 3),
        "problems": len(funnel.problems()),
        "basis": funnel.prepared.quotes.basis,
    }
    u = np.random.default_rng([number, 77])
    scopes = {"company": [Scope("company")], "rep": [Scope("rep", r) for r in spec.rep_ids]}
    year = Period("2026", "year", periods[0].first, periods[-1].last)
    result["year"] = {}
    for place, spans in ((result, periods), (result["year"], [year])):
        for kind, members in scopes.items():
            for metric in METRICS:
                wanted = [Target(metric, scope, p.first, p.last) for p in spans for scope in members]
                actual = outcomes(later, seen, wanted)
                draws = np.stack([target_draws(paths, target) for target in wanted])
                place[f"{kind} {metric}"] = {
                    "pit": _short(scores.randomised_pit(draws, actual, u.random(actual.size)), 4),
                    "crps": _short(scores.crps(draws, actual), 2),
                    "actual": _short(actual, 1),
                    "mean": _short(draws.mean(axis=1), 2),
                }
    return result


def _short(values: np.ndarray, digits: int) -> list[float]:
    return [round(float(v), digits) for v in values]
