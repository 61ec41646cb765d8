"""Metrics: one definition each, applied to history and to simulated paths alike.

A metric is a sum of a measure over scope and period, or a ratio of two such sums (never a mean of
ratios). A new metric is a row of :data:`METRICS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from quotacast.engine.paths import Paths
from quotacast.engine.quota import Scope
from quotacast.errors import PlanError
from quotacast.models.periods import Period

Floats = NDArray[np.float64]
Level = Literal["input", "lead-to-deal", "output"]


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes
    ----------
    name, level, unit
        Level is ``input``, ``lead-to-deal`` or ``output``; unit as in ``answer.Field``.
    good : {"up", "down"}
        Which direction is good; attainment of a ``down`` metric is quota / actual.
    top, bottom : tuple of str
        Measures whose sums are divided; an empty ``bottom`` means the sum itself.
    scale : float
        Factor from measures to the unit (cents to money: 0.01).
    definition : str
    """

    name: str
    level: Level
    unit: str
    good: Literal["up", "down"]
    top: tuple[str, ...]
    bottom: tuple[str, ...]
    scale: float
    definition: str

    @property
    def is_ratio(self) -> bool:
        """Whether the metric is a ratio of sums, reported as totals only."""
        return bool(self.bottom)

    def attains(self, values: Floats, target: float) -> NDArray[np.bool_]:
        """Whether each value reaches the target; an undefined one does not."""
        reached = values >= target if self.good == "up" else values <= target
        return np.asarray(reached & np.isfinite(values))

    def attainment(self, values: Floats, target: float) -> Floats:
        """Actual / quota, or quota / actual where lower is better."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(values / target if self.good == "up" else target / values)


_DEAL: Level = "lead-to-deal"
_OUT: Level = "output"
METRICS: Mapping[str, Metric] = {
    m.name: m
    for m in (
        Metric(
            "opportunities_created",
            _DEAL,
            "count",
            "up",
            ("created",),
            (),
            1.0,
            "opportunities created in the period",
        ),
        Metric(
            "close_rate",
            _DEAL,
            "ratio",
            "up",
            ("won",),
            ("won", "lost"),
            1.0,
            "won / (won + lost) among deals closed in the period",
        ),
        Metric(
            "cycle_days", _DEAL, "days", "down", ("won_days",), ("won",), 1.0, "mean age at the win, days"
        ),
        Metric(
            "deal_value", _DEAL, "money", "up", ("won_cents",), ("won",), 0.01, "mean amount of deals won"
        ),
        Metric("deals_won", _OUT, "count", "up", ("won",), (), 1.0, "deals won in the period"),
        Metric(
            "bookings",
            _OUT,
            "money",
            "up",
            ("won_cents",),
            (),
            0.01,
            "amounts of deals won, on their close dates",
        ),
        Metric(
            "revenue",
            _OUT,
            "money",
            "up",
            ("won_cents",),
            (),
            0.01,
            "recognised at close: equals bookings while the plan states no terms",
        ),
    )
}
#: Known metrics that need tables or plan sections which this version does not read yet.
NOT_YET: Mapping[str, str] = {
    "leads_created": "the lead part of the chain",
    "gross_margin": "costs or margins per deal",
    "profit": "margins per deal and the plan's selling costs",
}


def metric(name: str) -> Metric:
    """Look a metric up.

    Raises
    ------
    PlanError
        If it cannot be answered, with what is missing.
    """
    if name in METRICS:
        return METRICS[name]
    if name in NOT_YET or name.startswith("activity:"):
        why = NOT_YET.get(name, "the activity part of the chain")
        raise PlanError(
            f"metric {name}: cannot be answered yet, it needs {why}, which this version does not simulate; "
            f"there are {', '.join(METRICS)}"
        )
    raise PlanError(f"metric {name!r} is not known; there are {', '.join(METRICS)}")


@dataclass(frozen=True)
class Series:
    """A metric in one scope and period over all draws.

    Attributes
    ----------
    total : ndarray, shape (draws,)
        History and simulation together; NaN where a ratio has no denominator.
    open, new : ndarray or None
        Parts of a sum; None for ratios.
    done : float or None
        What is already history; for a ratio the ratio so far, None where it has no denominator.
    """

    total: Floats
    open: Floats | None
    new: Floats | None
    done: float | None


def series(paths: Paths, which: Metric, scope: Scope, period: Period) -> Series:
    """Values of a metric on all paths."""
    if not which.is_ratio:
        done = float(_sum(which.top, lambda m: float(paths.actual(m, scope, period)))) * which.scale
        parts = [paths.simulated(m, scope, period) for m in which.top]
        opened = np.asarray(sum(p[0] for p in parts)) * which.scale
        new = np.asarray(sum(p[1] for p in parts)) * which.scale
        return Series(np.asarray(done + opened + new, dtype=float), opened, new, done)

    def whole(measure: str) -> Floats:
        opened, new = paths.simulated(measure, scope, period)
        return np.asarray(opened + new + paths.actual(measure, scope, period), dtype=float)

    top, bottom = _sum(which.top, whole), _sum(which.bottom, whole)
    with np.errstate(divide="ignore", invalid="ignore"):
        total = np.where(bottom > 0, top / bottom, np.nan) * which.scale
    past = _sum(which.bottom, lambda m: float(paths.actual(m, scope, period)))
    seen = _sum(which.top, lambda m: float(paths.actual(m, scope, period)))
    return Series(total, None, None, float(seen / past * which.scale) if past > 0 else None)


def _sum(measures: tuple[str, ...], value: Callable[[str], Floats | float]) -> Floats:
    return np.asarray(sum(np.asarray(value(measure), dtype=float) for measure in measures))
