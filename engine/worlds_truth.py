"""What is true of a made-up company: every parameter that its records are drawn from.

The parameters have the form of the fitted models (`models.counts`, `models.conversion`,
`models.amounts`), so that a fit can be compared with them term by term. All effects are on the log
scale. Rates of creation and activity are per working week, which is 7 weighted days; hazards are per
weighted day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quotacast.errors import PlanError
from quotacast.models.people import TENURE_SHARES

Floats = NDArray[np.float64]

SEGMENTS = ("smb", "mid", "enterprise")
KINDS = ("call", "meeting_planned", "meeting", "email", "chat", "lead_contact")
#: Last day of age (inclusive) of every hazard band but the open last one.
AGE_BANDS = (7, 14, 30, 60, 90, 180, 365)
#: The same for leads.
LEAD_BANDS = (3, 14, 45, 90)
#: Days since hiring at which a tenure band begins (but the first): 1, 3, 6, 9 and 12 months.
TENURE_BANDS = (30, 91, 182, 274, 365)
#: Where in the quarter a day lies: its month, and the last ten days on their own.
POSITIONS = ("month1", "month2", "month3", "last10")

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


@dataclass(frozen=True)
class MarketShock:
    """A dip of the market: ``months`` calendar months from ``first``, added to the log rates."""

    first: date
    months: int
    creation: float
    win: float
    loss: float


@dataclass(frozen=True)
class Rate:
    """What every rate of the company has: a level, reps, a monthly AR(1) shock, rep x quarter noise."""

    level: float
    rep: tuple[float, ...]
    rep_sd: float
    shock_sd: float
    shock_rho: float
    rep_quarter_sd: float


@dataclass(frozen=True)
class Creation(Rate):
    """Opportunities per rep and working week; ``dispersion`` phi gives variance mu + mu^2 / phi."""

    team: tuple[float, ...]
    tenure: tuple[float, ...]
    season: tuple[float, ...]
    dispersion: float


@dataclass(frozen=True)
class Cause(Rate):
    """Hazard per average day of one cause; ``age`` by `AGE_BANDS`, ``position`` by `POSITIONS`."""

    age: tuple[float, ...]
    segment: tuple[float, ...]
    position: tuple[float, ...]


@dataclass(frozen=True)
class Value:
    """Lognormal deal value; the quote is the value over a lognormal ratio for ``quote_share``."""

    level: float
    segment: tuple[float, ...]
    rep: tuple[float, ...]
    rep_sd: float
    residual_sd: float
    quote_share: float
    quote_level: float
    quote_sd: float
    known_share: float
    margin: float
    margin_sd: float


@dataclass(frozen=True)
class Activity:
    """Activities per kind, rep and working week, and what they do (``beta``) for creation."""

    level: tuple[float, ...]
    rep: tuple[tuple[float, ...], ...]
    rep_sd: float
    wander_sd: float
    wander_rho: float
    dispersion: float
    beta: tuple[float, ...]


@dataclass(frozen=True)
class Leads:
    """Share of opportunities that come from a lead, and the leads' daily hazards by `LEAD_BANDS`.

    No lead converts after the last band; disqualification goes on at the last band's rate.
    """

    share: float
    convert: tuple[float, ...]
    disqualify: tuple[float, ...]


@dataclass(frozen=True)
class Payment:
    """Days from issue to payment: lognormal; ``unpaid`` is the share that never pays."""

    median_days: float
    log_sd: float
    unpaid: float


@dataclass(frozen=True)
class Truth:
    """Every true parameter of a company.

    Attributes
    ----------
    mix : tuple of tuple of float
        Shares of `SEGMENTS` by team.
    weekday : tuple of 7 float
        Shares of Monday to Sunday in creations, activities and closings; sum 1, all positive.
    dead_share : float
        Share of opportunities that nobody ever closes.
    """

    creation: Creation
    win: Cause
    loss: Cause
    value: Value
    activity: Activity
    leads: Leads
    payment: Payment
    mix: tuple[tuple[float, ...], ...]
    weekday: tuple[float, ...]
    dead_share: float
    market_shock: MarketShock | None


@dataclass(frozen=True)
class WorldSpec:
    """A company to be drawn.

    Parameters
    ----------
    n_reps : int
    teams : tuple of (str, int)
        Names and sizes; the sizes sum to ``n_reps`` and reps are numbered team by team.
    first_day, last_day : date
        The records' span; ``last_day`` is the as-of date.
    seed : int
    truth : Truth
    hired, left : tuple of (int, date)
        Rep number (from 0) and day: first at work, first no longer at work. Others were hired two
        years and more before ``first_day``.
    moved : tuple of (int, str, date)
        Rep, new team and its first day.
    horizon_days : int
        Days simulated beyond ``last_day`` for `World.future`.
    activity_effects : bool
        Whether activity drives creation.
    """

    n_reps: int
    teams: tuple[tuple[str, int], ...]
    first_day: date
    last_day: date
    seed: int
    truth: Truth
    hired: tuple[tuple[int, date], ...] = ()
    left: tuple[tuple[int, date], ...] = ()
    moved: tuple[tuple[int, str, date], ...] = ()
    horizon_days: int = 0
    activity_effects: bool = True

    def __post_init__(self) -> None:
        problems = []
        if sum(size for _, size in self.teams) != self.n_reps:
            problems.append(f"teams {self.teams}: their sizes must sum to n_reps = {self.n_reps}")
        if len(self.truth.creation.rep) != self.n_reps or len(self.truth.mix) != len(self.teams):
            problems.append("truth: drawn for other numbers of reps or teams; draw it for this company")
        if self.last_day < self.first_day:
            problems.append(f"last_day {self.last_day}: must not lie before first_day {self.first_day}")
        if self.horizon_days < 0:
            problems.append(f"horizon_days {self.horizon_days}: must be 0 or more")
        if problems:
            raise PlanError(problems)

    @property
    def team_names(self) -> tuple[str, ...]:
        """Names of the teams."""
        return tuple(name for name, _ in self.teams)

    @property
    def rep_ids(self) -> tuple[str, ...]:
        """``r01``, ``r02``, ..."""
        return tuple(f"r{i + 1:02d}" for i in range(self.n_reps))


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


def _scale(rng: np.random.Generator, name: str) -> float:
    family, a, b = PRIORS[name]
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
        # a coefficient of variation of 0 would be an infinite dispersion
        dispersion=round(1.0 / max(s["overdispersion"], 0.05) ** 2, 9),
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
    )


def _compose(draw: Any, rng: np.random.Generator, n_reps: int, n_teams: int, **rest: Any) -> Truth:
    """Build a truth; ``draw(name)`` gives the level or scale of that name, anew for every model."""

    def scales() -> dict[str, float]:
        return {name: draw(name) for name in PRIORS}

    return Truth(
        creation=_creation(rng, n_reps, n_teams, scales()),
        win=_cause(rng, n_reps, scales(), _WIN_LEVEL, _WIN_AGE, (0.15, 0.0, -0.35), _WIN_POSITION),
        loss=_cause(rng, n_reps, scales(), _LOSS_LEVEL, _LOSS_AGE, (0.1, 0.0, -0.2), _LOSS_POSITION),
        value=_value(rng, n_reps, scales()),
        activity=_activity(rng, n_reps),
        leads=Leads(share=0.7, convert=(0.03, 0.025, 0.012, 0.004), disqualify=(0.02, 0.03, 0.02, 0.01)),
        payment=Payment(median_days=36.0, log_sd=0.35, unpaid=0.01),
        mix=tuple(_MIX[i % len(_MIX)] for i in range(n_teams)),
        weekday=_WEEKDAY,
        **rest,
    )


def draw_truth(rng: np.random.Generator, n_reps: int, n_teams: int = 1) -> Truth:
    """Draw a truth from `PRIORS`, without dead deals or market shock, for calibration.

    Parameters
    ----------
    rng : numpy.random.Generator
    n_reps, n_teams : int

    Returns
    -------
    Truth
        Whose effects come from pooled Normals (reps, teams), contrasts (segments, seasons,
        positions) and random walks (ages, tenure) with scales drawn from `PRIORS`. It has no trend and
        no interaction of age and position; amounts change no hazard.
    """
    return _compose(lambda name: _scale(rng, name), rng, n_reps, n_teams, dead_share=0.0, market_shock=None)


def example_spec(seed: int = 7, horizon_days: int = 0) -> WorldSpec:
    """Describe the example company: 20 reps in 3 teams, 2024 to 2026."""
    rng = np.random.Generator(np.random.PCG64(20240101))
    shock = MarketShock(date(2025, 4, 1), 4, creation=-0.25, win=-0.2, loss=0.1)
    truth = _compose(lambda name: _EXAMPLE[name], rng, 20, 3, dead_share=0.02, market_shock=shock)
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
