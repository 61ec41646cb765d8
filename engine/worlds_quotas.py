"""What a made-up company may expect in a year, in closed form, and the quotas it sets itself.

The expectation is that of the steady state: creations of a year times the odds of winning by
segment. It leaves out what is on the way (the pipeline of a growing team), which is why quotas from
it are near what is fair, not equal to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from quotacast.engine.worlds_clock import NEVER, Floats, streams
from quotacast.engine.worlds_records import Records
from quotacast.engine.worlds_truth import (
    AGE_BANDS,
    KINDS,
    LEAD_BANDS,
    SEGMENTS,
    TENURE_BANDS,
    Cause,
    Creation,
    WorldSpec,
)

#: Days over which closings are summed up.
_HORIZON = 3650
#: Share of a quarter's working days by position in the quarter.
_POSITION_SHARES = np.asarray([31.0, 30.0, 20.3, 10.0]) / 91.3

#: Candidate sets: factor on sums, close rate, deal value, and cycle length (where less is harder).
SETS = {
    "too easy": (0.65, 0.8, 0.8, 1.3),
    "fair": (1.0, 1.0, 1.0, 1.0),
    "too hard": (1.5, 1.3, 1.3, 0.75),
}
#: The year's assigned quotas: how much above the expectation, and the cushion of each layer.
STRETCH, CUSHION = 1.07, 1.05
#: metric -> (kind of factor, numerator, denominator or none, step of rounding)
METRICS: dict[str, tuple[int, str, str | None, float]] = {
    "bookings": (0, "bookings", None, 1000.0),
    "deals_won": (0, "won", None, 1.0),
    "opportunities_created": (0, "created", None, 1.0),
    "activity:call": (0, "call", None, 10.0),
    "activity:meeting": (0, "meeting", None, 1.0),
    "close_rate": (1, "won", "closed", 0.01),
    "deal_value": (2, "bookings", "won", 100.0),
    "cycle_days": (3, "age", "won", 1.0),
}
#: What a quota can be at most.
MOST = {"close_rate": 1.0}


@dataclass(frozen=True)
class Outcome:
    """What becomes of an opportunity: odds of winning and losing, mean age at win, in days."""

    p_win: float
    p_loss: float
    cycle_days: float


def outcome(spec: WorldSpec, rep: int, segment: int) -> Outcome:
    """Compute an opportunity's fate from its hazards, averaged over positions, without the dead.

    Daily hazards by age, half a day on the day of creation: the odds of a cause are
    ``sum_a S(a) h(a) / H(a) (1 - exp(-H(a)))`` with ``S`` the survival until age ``a``.
    """
    won, closing = _densities((spec.truth.win, spec.truth.loss), AGE_BANDS, rep, segment)
    return Outcome(
        p_win=float(won.sum()),
        p_loss=float((closing - won).sum()),
        cycle_days=float((won * np.arange(_HORIZON)).sum() / won.sum()),
    )


def conversion(spec: WorldSpec, rep: int, segment: int) -> Floats:
    """Probability that a lead converts, by its age in days; sums to the share that ever converts."""
    true = spec.truth.leads
    if true is None:
        return np.zeros(_HORIZON)
    return _densities((true.convert, true.disqualify), LEAD_BANDS, rep, segment)[0]


def _densities(
    causes: tuple[Cause, Cause], bands: tuple[int, ...], rep: int, segment: int
) -> tuple[Floats, Floats]:
    """Probability by age of ending by the first cause, and by either."""
    one, two = (_hazard(c, bands, rep, segment) for c in causes)
    total = one + two
    survival = np.exp(-np.concatenate([[0.0], np.cumsum(total)[:-1]]))
    closing = survival * -np.expm1(-total)
    return closing * one / total, closing


def _hazard(true: Cause, bands: tuple[int, ...], rep: int, segment: int) -> Floats:
    band = np.searchsorted(bands, np.arange(_HORIZON))
    level = true.level + true.rep[rep] + true.segment[segment]
    # what varies around the level raises the mean of its exponential
    spread = 0.5 * (true.shock_sd**2 + true.rep_quarter_sd**2)
    push = np.log(_POSITION_SHARES @ np.exp(np.asarray(true.position)))
    hazard = np.exp(level + spread + push + np.asarray(true.age)[band])
    hazard[0] *= 0.5
    return np.asarray(hazard)


def deal_value(spec: WorldSpec, rep: int, segment: int) -> float:
    """Mean value of a deal, currency units."""
    true = spec.truth.value
    return float(np.exp(true.level + true.segment[segment] + true.rep[rep] + 0.5 * true.residual_sd**2))


def weekly_creations(spec: WorldSpec, rep: int, team: int) -> Floats:
    """Mean opportunities of a ramped rep in a whole working week of the average season, by segment.

    Those from leads are there on average when their leads have converted. What activity of late adds on
    average is left out.
    """
    mix = np.asarray(spec.truth.mix[team])
    direct = _weekly(spec.truth.creation, rep, team) * mix
    if spec.truth.leads is None:
        return direct
    share = np.asarray([conversion(spec, rep, s).sum() for s in range(len(SEGMENTS))])
    return np.asarray(direct + _weekly(spec.truth.leads.arrival, rep, team) * mix * share)


def _weekly(true: Creation, rep: int, team: int) -> float:
    spread = 0.5 * (true.shock_sd**2 + true.rep_quarter_sd**2)
    season = float(np.mean(np.exp(true.season)))
    return float(np.exp(true.level + true.team[team] + true.rep[rep] + spread) * season)


def expected_year(spec: WorldSpec, records: Records, year: int) -> pd.DataFrame:
    """Expect every rep's year, at the steady state.

    Returns
    -------
    DataFrame
        One row per rep at work in the year: ``rep`` (number), ``team``, and the sums ``created``,
        ``won``, ``closed``, ``bookings``, ``age`` (of the won), ``call`` and ``meeting``.
    """
    people, clock = records.people, records.clock
    days = np.arange(date(year, 1, 1).toordinal(), date(year + 1, 1, 1).toordinal())
    on_clock = days - date(1970, 1, 1).toordinal() - int(clock.days[0].astype(np.int64))
    rows = []
    for rep in range(spec.n_reps):
        gone = people.left[rep] if people.left[rep] <= clock.last else NEVER
        at_work = (on_clock >= people.hired[rep]) & (on_clock < gone) & (people.hired[rep] <= clock.last)
        if at_work.any():
            tenure = np.searchsorted(TENURE_BANDS, on_clock - people.hired[rep], side="right")
            ramp = np.exp(np.asarray(spec.truth.creation.tenure)[tenure])
            team = int(people.team[min(int(on_clock[at_work][-1]), clock.last), rep])
            rows.append(_expected_rep(spec, rep, team, at_work.sum() / 7.0, (ramp * at_work).sum() / 7.0))
    return pd.DataFrame(rows)


def _expected_rep(spec: WorldSpec, rep: int, team: int, weeks: float, ramped: float) -> dict[str, float]:
    created = ramped * weekly_creations(spec, rep, team)
    alive = created * (1.0 - spec.truth.dead_share)
    fates = [outcome(spec, rep, s) for s in range(len(SEGMENTS))]
    values = np.asarray([deal_value(spec, rep, s) for s in range(len(SEGMENTS))])
    won = alive * np.asarray([f.p_win for f in fates])
    lost = alive * np.asarray([f.p_loss for f in fates])
    true = spec.truth.activity
    wander = float(np.exp(0.5 * true.wander_sd**2))
    done = {
        kind: float(weeks * np.exp(true.level[k] + true.rep[k][rep]) * wander)
        for k, kind in enumerate(KINDS)
        if kind in ("call", "meeting")
    }
    return {
        "rep": rep,
        "team": team,
        "created": float(created.sum()),
        "won": float(won.sum()),
        "closed": float((won + lost).sum()),
        "bookings": float(won @ values),
        "age": float(won @ np.asarray([f.cycle_days for f in fates])),
        **done,
    }


def quota_table(spec: WorldSpec, records: Records) -> pd.DataFrame:
    """Return the quotas table: past bookings quotas, next year's, and candidate sets for it.

    Rows without a ``set`` are those that were or are assigned; the sets are `SETS`.
    """
    next_year = spec.last_day.year + 1
    noise = streams(spec.seed)("quota")
    parts = [
        _assigned(spec, expected_year(spec, records, year), year, noise)
        for year in range(spec.first_day.year, next_year + 1)
    ]
    expected = expected_year(spec, records, next_year)
    parts += [_candidates(spec, expected, next_year, name) for name in SETS]
    every = pd.concat(parts, ignore_index=True)
    # of a small company's rep rounding may leave nothing, which is no quota
    return every[every["target"] > 0].reset_index(drop=True)


def _scopes(spec: WorldSpec, expected: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Every scope with the rows of its reps."""
    reps = [(f"rep:{spec.rep_ids[int(r)]}", expected[expected["rep"] == r]) for r in expected["rep"]]
    teams = [(f"team:{n}", expected[expected["team"] == i]) for i, n in enumerate(spec.team_names)]
    return [("company", expected), *(t for t in teams if len(t[1])), *reps]


def _periods(year: int) -> list[tuple[str, float]]:
    return [(str(year), 1.0), *((f"{year}-Q{q}", 0.25) for q in range(1, 5))]


def _round(value: float, step: float) -> float:
    return float(round(round(value / step) * step, 2))


def _candidates(spec: WorldSpec, expected: pd.DataFrame, year: int, name: str) -> pd.DataFrame:
    rows = []
    for scope, part in _scopes(spec, expected):
        for metric, (factor, over, under, step) in METRICS.items():
            base = float(part[over].sum() / (part[under].sum() if under else 1.0))
            for period, share in _periods(year):
                target = _round(base * SETS[name][factor] * (1.0 if under else share), step)
                rows.append((scope, metric, period, min(target, MOST.get(metric, target)), name))
    return pd.DataFrame(rows, columns=["scope", "metric", "period", "target", "set"])


def _assigned(spec: WorldSpec, expected: pd.DataFrame, year: int, noise: np.random.Generator) -> pd.DataFrame:
    """Bookings quotas of a year: each layer carries its cushion, reps' quotas some arbitrariness."""
    judged = expected["bookings"] * np.exp(noise.normal(0.0, 0.08, len(expected)))
    expected = expected.assign(bookings=judged)
    layer = {"company": 0, "team": 1, "rep": 2}
    rows = []
    for scope, part in _scopes(spec, expected):
        target = float(part["bookings"].sum()) * STRETCH * CUSHION ** layer[scope.split(":")[0]]
        rows += [(scope, "bookings", p, _round(target * share, 1000.0), None) for p, share in _periods(year)]
    return pd.DataFrame(rows, columns=["scope", "metric", "period", "target", "set"])
