"""What is true of a made-up company: every parameter that its records are drawn from.

The parameters have the form of the fitted models (`models.counts`, `models.conversion`,
`models.amounts`), so that a fit can be compared with them term by term. All effects are on the log
scale. Rates of creation and activity are per working week, which is 7 weighted days; hazards are per
weighted day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from quotacast.errors import PlanError

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
    """Hazard per average day of one cause; ``age`` by bands of age, ``position`` by `POSITIONS`."""

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
    """Activities per kind, rep and working week, and what they do for creation.

    They wander from week to week by an AR(1), and from quarter to quarter by independent steps. ``beta`` is
    the effect of a rep's own activity of late, ``between`` that of a rep's usual activity among reps; both
    are those on opportunities without a lead (leads have their own).
    """

    level: tuple[float, ...]
    rep: tuple[tuple[float, ...], ...]
    rep_sd: float
    wander_sd: float
    wander_rho: float
    dispersion: float
    beta: tuple[float, ...]
    between: tuple[float, ...]
    rep_quarter_sd: float


@dataclass(frozen=True)
class Leads:
    """How leads arrive, and what becomes of them: hazards with ages by `LEAD_BANDS`.

    ``arrival`` counts leads per rep and working week; ``beta`` and ``between`` are as in `Activity`. A
    converted lead is an opportunity from that day on.
    """

    arrival: Creation
    beta: tuple[float, ...]
    between: tuple[float, ...]
    convert: Cause
    disqualify: Cause


@dataclass(frozen=True)
class Payment:
    """Days from issue to payment: lognormal; ``unpaid`` is the share that never pays."""

    median_days: float
    log_sd: float
    unpaid: float


@dataclass(frozen=True)
class StageChain:
    """What stages do to deals, by stage and band of the days spent in it.

    ``bands`` are the first days of the bands, ``win`` and ``loss`` log factors on the hazards of
    winning and losing, ``move`` log hazards per average day of moving on, and ``next`` the shares of the
    stages that follow, from row to column. Deals begin in the first stage.
    """

    bands: tuple[int, ...]
    win: tuple[tuple[float, ...], ...]
    loss: tuple[tuple[float, ...], ...]
    move: tuple[tuple[float, ...], ...]
    next: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Truth:
    """Every true parameter of a company.

    Attributes
    ----------
    leads : Leads, optional
        None: the company records no leads, and ``creation`` is all there is.
    mix : tuple of tuple of float
        Shares of `SEGMENTS` by team.
    weekday : tuple of 7 float
        Shares of Monday to Sunday in creations, activities and closings; sum 1, all positive.
    dead_share : float
        Share of opportunities that nobody ever closes.
    stages : StageChain, optional
        None: stages are told afterwards, as parts of the time that a deal took.
    comovement : float
        Correlation of the steps of the monthly shocks of winning and losing (and of leads' two ends).
    """

    creation: Creation
    win: Cause
    loss: Cause
    value: Value
    activity: Activity
    leads: Leads | None
    payment: Payment
    mix: tuple[tuple[float, ...], ...]
    weekday: tuple[float, ...]
    dead_share: float
    market_shock: MarketShock | None
    stages: StageChain | None = None
    comovement: float = 0.0

    def __post_init__(self) -> None:
        if not -1.0 <= self.comovement <= 1.0:
            raise PlanError(f"truth: comovement {self.comovement}: a correlation from -1 to 1 is wanted")


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
