"""Where made-up companies come from: the priors of their truths, and the example company."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from quotacast.engine.worlds_truth import (
    KINDS,
    POSITIONS,
    SEGMENTS,
    Activity,
    Cause,
    Creation,
    Leads,
    MarketShock,
    Payment,
    Truth,
    Value,
    WorldSpec,
)
from quotacast.models.activities import slope_terms
from quotacast.models.people import TENURE_SHARES

Floats = NDArray[np.float64]

#: Priors of `draw_truth`: (family, a, b). ``half`` is HalfNormal(a), ``normal`` Normal(a, b). They have
#: the scales of the models' declarations, so that a fitted model is well specified; but levels, the
#: residual of values and the walk over ages (around a typical shape) are narrower: a model may look for
#: hazards between 1 in 5,000 and 1 in 2, a company that exists does not span them.
PRIORS: dict[str, tuple[str, float, float]] = {
    "creation_level": ("normal", float(np.log(1.9)), 0.3),
    "rep_sd": ("half", 0.5, 0.0),
    "team_sd": ("half", 0.3, 0.0),
    "season_sd": ("half", 0.15, 0.0),
    "tenure_sd": ("half", 0.2, 0.0),
    "overdispersion": ("half", 0.5, 0.0),
    "shock_sd": ("half", 0.15, 0.0),
    "shock_rho": ("beta", 4.0, 2.0),
    "rep_quarter_sd": ("half", 0.15, 0.0),
    "hazard_level": ("normal", 0.0, 0.3),
    "hazard_rep_sd": ("half", 0.3, 0.0),
    "age_sd": ("half", 0.3, 0.0),
    "segment_sd": ("half", 0.5, 0.0),
    "position_sd": ("half", 0.4, 0.0),
    "value_level": ("normal", float(np.log(16000.0)), 0.3),
    "residual_sd": ("half", 0.8, 0.0),
    "value_rep_sd": ("half", 0.3, 0.0),
    "value_segment_sd": ("half", 1.0, 0.0),
}
#: Further priors of companies with leads, as above. The slopes' are those of `models.activities`.
CHAIN_PRIORS: dict[str, tuple[str, float, float]] = {
    "lead_level": ("normal", float(np.log(2.7)), 0.3),
    "activity_rep_sd": ("half", 0.5, 0.0),
    "activity_quarter_sd": ("half", 0.3, 0.0),
    "activity_overdispersion": ("half", 0.5, 0.0),
}


#: The hyperparameters and levels of the example company.
_EXAMPLE: dict[str, float] = {
    "creation_level": float(np.log(1.84)),
    "rep_sd": 0.25,
    "team_sd": 0.08,
    "season_sd": 0.1,
    "tenure_sd": 0.0,
    "overdispersion": 0.35,
    "shock_sd": 0.1,
    "shock_rho": 0.7,
    "rep_quarter_sd": 0.08,
    "hazard_level": 0.0,
    "hazard_rep_sd": 0.2,
    "age_sd": 0.0,
    "segment_sd": 0.0,
    "position_sd": 0.0,
    "lead_level": float(np.log(2.68)),
    "activity_rep_sd": 0.2,
    "activity_quarter_sd": 0.0,
    "activity_overdispersion": 12.0**-0.5,
    "value_level": float(np.log(12400.0)),
    "residual_sd": 0.8,
    "value_rep_sd": 0.1,
    "value_segment_sd": 0.0,
}

_WEEKDAY = (0.19, 0.22, 0.22, 0.20, 0.16, 0.006, 0.004)
_TENURE = (-1.6, -0.9, -0.45, -0.2, -0.08, 0.0)
_SEASON = (-0.05, 0.04, 0.12, 0.03, 0.05, 0.04, -0.25, -0.3, 0.14, 0.12, 0.1, -0.04)
_WIN_AGE = (-1.3, -0.3, 0.15, 0.3, 0.25, 0.05, -0.5, -1.1)
_LOSS_AGE = (-0.4, -0.1, 0.1, 0.1, 0.05, 0.0, -0.15, -0.3)
_WIN_POSITION = (-0.12, -0.05, 0.05, 0.55)
_LOSS_POSITION = (-0.04, 0.0, 0.0, 0.15)
_WIN_LEVEL, _LOSS_LEVEL = float(np.log(0.003)), float(np.log(0.0073))
_MIX = ((0.6, 0.3, 0.1), (0.45, 0.4, 0.15), (0.3, 0.45, 0.25))
_ACTIVITY = (40.0, 6.0, 5.0, 45.0, 9.0, 12.0)
_BETA = (0.3, 0.0, 0.2, 0.1, 0.0, 0.15)
#: Daily hazards of leads by age: two in five convert, after seventeen days on average.
_CONVERT = np.log([0.03, 0.025, 0.012, 0.004, 0.0006])
_DISQUALIFY = np.log([0.02, 0.03, 0.02, 0.01, 0.01])
#: Share of opportunities that come without a lead where there are leads.
_DIRECT = 0.4


Draw = Callable[[str], float]


def _scale(rng: np.random.Generator, name: str) -> float:
    family, a, b = PRIORS[name] if name in PRIORS else CHAIN_PRIORS[name]
    if family == "half":
        return abs(float(rng.normal(0.0, a)))
    return float(rng.beta(a, b) if family == "beta" else rng.normal(a, b))


def _tuple(values: Any) -> tuple[float, ...]:
    return tuple(round(float(v), 9) for v in np.asarray(values, dtype=float).ravel())


def _pooled(rng: np.random.Generator, n: int, sd: float, centre: tuple[float, ...] | None = None) -> Floats:
    return np.asarray((0.0 if centre is None else np.asarray(centre)) + sd * rng.standard_normal(n))


def _contrast(rng: np.random.Generator, n: int, sd: float, centre: tuple[float, ...]) -> Floats:
    """Levels of a closed set: they sum to the centre's sum, each with this sd (`Term` of that kind)."""
    z = rng.standard_normal(n)
    return np.asarray(np.asarray(centre) + sd * np.sqrt(n / (n - 1.0)) * (z - z.mean()))


def _rate(rng: np.random.Generator, n_reps: int, level: float, scales: dict[str, float]) -> dict[str, Any]:
    return {
        "level": round(level, 9),
        "rep": _tuple(_pooled(rng, n_reps, scales["rep_sd"])),
        "rep_sd": round(scales["rep_sd"], 9),
        "shock_sd": round(scales["shock_sd"], 9),
        "shock_rho": round(scales["shock_rho"], 9),
        "rep_quarter_sd": round(scales["rep_quarter_sd"], 9),
    }


def _cause(
    rng: np.random.Generator,
    n_reps: int,
    scales: dict[str, float],
    level: float,
    age: tuple[float, ...],
    segment: tuple[float, ...],
    position: tuple[float, ...],
) -> Cause:
    if scales["segment_sd"]:  # a drawn company: the models expect no segment or position to stand out
        segment, position = (0.0,) * len(SEGMENTS), (0.0,) * len(POSITIONS)
    walk = scales["age_sd"] * np.cumsum(rng.standard_normal(len(age)))
    return Cause(
        **_rate(rng, n_reps, level + scales["hazard_level"], {**scales, "rep_sd": scales["hazard_rep_sd"]}),
        age=_tuple(np.asarray(age) + walk - walk.mean()),
        segment=_tuple(_contrast(rng, len(SEGMENTS), scales["segment_sd"], segment)),
        position=_tuple(_contrast(rng, len(POSITIONS), scales["position_sd"], position)),
    )


def _creation(rng: np.random.Generator, n_reps: int, n_teams: int, s: dict[str, float]) -> Creation:
    walk = np.cumsum(rng.standard_normal(len(_TENURE))) * s["tenure_sd"]
    ramp = np.log(TENURE_SHARES) if s["tenure_sd"] else np.asarray(_TENURE)
    return Creation(
        **_rate(rng, n_reps, s["creation_level"], s),
        team=_tuple(_pooled(rng, n_teams, s["team_sd"])),
        tenure=_tuple(ramp + walk - walk[-1]),
        season=_tuple(
            _contrast(rng, 12, s["season_sd"], (0.0,) * 12) if s["tenure_sd"] else np.asarray(_SEASON)
        ),
        dispersion=_dispersion(s["overdispersion"]),
    )


def _value(rng: np.random.Generator, n_reps: int, s: dict[str, float]) -> Value:
    rep_sd = s["value_rep_sd"]
    centre = (0.0, 0.0, 0.0) if s["value_segment_sd"] else (-0.45, 0.25, 1.1)
    return Value(
        level=round(s["value_level"], 9),
        segment=_tuple(_contrast(rng, len(SEGMENTS), s["value_segment_sd"], centre)),
        rep=_tuple(_pooled(rng, n_reps, rep_sd)),
        rep_sd=round(rep_sd, 9),
        residual_sd=round(s["residual_sd"], 9),
        quote_share=0.6,
        quote_level=-0.04,
        quote_sd=0.15,
        known_share=0.93,
        margin=0.62,
        margin_sd=0.07,
    )


def _activity(rng: np.random.Generator, n_reps: int) -> Activity:
    rep = 0.2 * rng.standard_normal((len(KINDS), n_reps))
    return Activity(
        level=_tuple(np.log(_ACTIVITY)),
        rep=tuple(_tuple(row) for row in rep),
        rep_sd=0.2,
        wander_sd=0.35,
        wander_rho=0.85,
        dispersion=12.0,
        beta=_BETA,
        between=(0.0,) * len(KINDS),
        rep_quarter_sd=0.0,
    )


def _drawn_activity(rng: np.random.Generator, n_reps: int, draw: Draw) -> Activity:
    """Activity of the form of its models: no wandering from week to week."""
    rep_sd, quarter_sd = draw("activity_rep_sd"), draw("activity_quarter_sd")
    beta, between = _slopes(rng)
    return Activity(
        level=_tuple(np.log(_ACTIVITY)),
        rep=tuple(_tuple(row) for row in rep_sd * rng.standard_normal((len(KINDS), n_reps))),
        rep_sd=round(rep_sd, 9),
        wander_sd=0.0,
        wander_rho=0.0,
        dispersion=_dispersion(draw("activity_overdispersion")),
        beta=beta,
        between=between,
        rep_quarter_sd=round(quarter_sd, 9),
    )


def _slopes(rng: np.random.Generator) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Effects of every kind of activity within and between reps, from the priors of the models."""
    values = []
    for term in slope_terms(KINDS):
        low = -np.inf if term.lower is None else (term.lower - term.prior_mean[0]) / term.scale
        below = special.ndtr(low)
        z = special.ndtri(below + (1.0 - below) * rng.random())
        values.append(float(term.prior_mean[0] + term.scale * z))
    return _tuple(values[: len(KINDS)]), _tuple(values[len(KINDS) :])


def _dispersion(overdispersion: float) -> float:
    # a coefficient of variation of 0 would be an infinite dispersion
    return round(1.0 / max(overdispersion, 0.05) ** 2, 9)


def _leads(rng: np.random.Generator, n_reps: int, n_teams: int, draw: Draw, slopes: tuple[Any, Any]) -> Leads:
    def scales() -> dict[str, float]:
        return {name: draw(name) for name in PRIORS}

    def cause(log_hazard: Floats, segment: tuple[float, ...]) -> Cause:
        level = float(log_hazard.mean())
        return _cause(rng, n_reps, scales(), level, _tuple(log_hazard - level), segment, (0.0,) * 4)

    arrival = {**scales(), "creation_level": draw("lead_level")}
    return Leads(
        arrival=_creation(rng, n_reps, n_teams, arrival),
        beta=slopes[0],
        between=slopes[1],
        convert=cause(_CONVERT, (0.1, 0.0, -0.15)),
        disqualify=cause(_DISQUALIFY, (0.0, 0.0, 0.1)),
    )


def _compose(draw: Draw, rng: np.random.Generator, n_reps: int, n_teams: int, **rest: Any) -> Truth:
    """Build a truth; ``draw(name)`` gives the level or scale of that name, anew for every model."""

    def scales() -> dict[str, float]:
        return {name: draw(name) for name in PRIORS}

    return Truth(
        creation=_creation(rng, n_reps, n_teams, scales()),
        win=_cause(rng, n_reps, scales(), _WIN_LEVEL, _WIN_AGE, (0.15, 0.0, -0.35), _WIN_POSITION),
        loss=_cause(rng, n_reps, scales(), _LOSS_LEVEL, _LOSS_AGE, (0.1, 0.0, -0.2), _LOSS_POSITION),
        value=_value(rng, n_reps, scales()),
        activity=_activity(rng, n_reps),
        leads=None,
        payment=Payment(median_days=36.0, log_sd=0.35, unpaid=0.01),
        mix=tuple(_MIX[i % len(_MIX)] for i in range(n_teams)),
        weekday=_WEEKDAY,
        **rest,
    )


def draw_truth(rng: np.random.Generator, n_reps: int, n_teams: int = 1, *, leads: bool = False) -> Truth:
    """Draw a truth from `PRIORS`, without dead deals or market shock, for calibration.

    Parameters
    ----------
    rng : numpy.random.Generator
    n_reps, n_teams : int
    leads : bool
        Whether the company records leads. Then two in five of its opportunities come without one, the
        effects of activity are drawn from the priors of the models, and activity has their form.

    Returns
    -------
    Truth
        Whose effects come from pooled Normals (reps, teams), contrasts (segments, seasons,
        positions) and random walks (ages, tenure) with scales drawn from `PRIORS`. It has no trend and
        no interaction of age and position; amounts change no hazard.
    """
    own = rng.spawn(1)[0]  # the same company with and without leads
    truth = _compose(lambda name: _scale(rng, name), rng, n_reps, n_teams, dead_share=0.0, market_shock=None)
    if not leads:
        return truth

    def draw(name: str) -> float:
        return _scale(own, name)

    truth = replace(truth, activity=_drawn_activity(own, n_reps, draw))
    return _with_leads(truth, own, n_reps, n_teams, draw, _slopes(own))


def _with_leads(
    truth: Truth, rng: np.random.Generator, n_reps: int, n_teams: int, draw: Draw, slopes: tuple[Any, Any]
) -> Truth:
    """Add leads, from which most opportunities come; the others are fewer by as much."""
    creation = replace(truth.creation, level=round(truth.creation.level + float(np.log(_DIRECT)), 9))
    return replace(truth, creation=creation, leads=_leads(rng, n_reps, n_teams, draw, slopes))


def example_spec(seed: int = 7, horizon_days: int = 0) -> WorldSpec:
    """Describe the example company: 20 reps in 3 teams, 2024 to 2026."""
    rng = np.random.Generator(np.random.PCG64(20240101))
    shock = MarketShock(date(2025, 4, 1), 4, creation=-0.25, win=-0.2, loss=0.1)
    truth = _compose(_EXAMPLE.__getitem__, rng, 20, 3, dead_share=0.02, market_shock=shock)
    slopes = truth.activity.beta, truth.activity.between
    truth = _with_leads(truth, rng, 20, 3, _EXAMPLE.__getitem__, slopes)
    return WorldSpec(
        n_reps=20,
        teams=(("north", 8), ("west", 7), ("south", 5)),
        first_day=date(2024, 1, 1),
        last_day=date(2026, 12, 31),
        seed=seed,
        truth=truth,
        hired=(
            (5, date(2024, 4, 2)),
            (6, date(2025, 2, 3)),
            (7, date(2026, 3, 2)),
            (13, date(2024, 9, 2)),
            (14, date(2026, 9, 1)),
            (19, date(2025, 9, 1)),
        ),
        left=((2, date(2025, 7, 1)), (17, date(2026, 5, 4))),
        moved=((10, "south", date(2025, 10, 1)),),
        horizon_days=horizon_days,
    )
