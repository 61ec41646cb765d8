"""Metrics: one definition each, applied to history and to simulated paths alike.

A metric is a sum of a measure over scope and period, or a ratio of two such sums (never a mean of
ratios). A new metric is a row of :data:`METRICS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quotacast.engine.able import Able
from quotacast.engine.drivers import ACTIVITY
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
    less : tuple of str
        Measures that are taken off a sum.
    signed : tuple of str
        Measures of what is certain after the as-of date, where paths have them.
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
    less: tuple[str, ...] = ()
    signed: tuple[str, ...] = ()

    @property
    def measures(self) -> tuple[str, ...]:
        """Everything that it is made of."""
        return (*self.top, *self.bottom, *self.less)

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


_IN: Level = "input"
_DEAL: Level = "lead-to-deal"
_OUT: Level = "output"
_WON, _CENTS, _MARGIN = ("won",), ("won_cents",), ("margin_cents",)
_ENDED = ("leads_converted", "leads_disqualified")
#: Metrics with one name each; every kind of activity in the data is one more, see :func:`metric`.
METRICS: Mapping[str, Metric] = {
    row[0]: Metric(*row)
    for row in (
        ("leads_created", _DEAL, "count", "up", ("leads_created",), (), 1.0, "leads that came in"),
        ("lead_close_rate", _DEAL, "ratio", "up", ("leads_converted",), _ENDED, 1.0,
         "converted / (converted + disqualified) among leads closed in the period"),
        ("lead_cycle_days", _DEAL, "days", "down", ("lead_days",), ("leads_converted",), 1.0,
         "mean age at the conversion of a lead, days"),
        ("opportunities_created", _DEAL, "count", "up", ("created",), (), 1.0,
         "opportunities created in the period"),
        ("close_rate", _DEAL, "ratio", "up", _WON, ("won", "lost"), 1.0,
         "won / (won + lost) among deals closed in the period"),
        ("cycle_days", _DEAL, "days", "down", ("won_days",), _WON, 1.0, "mean age at the win, days"),
        ("deal_value", _DEAL, "money", "up", _CENTS, _WON, 0.01, "mean amount of deals won"),
        ("deals_won", _OUT, "count", "up", _WON, (), 1.0, "deals won in the period"),
        ("bookings", _OUT, "money", "up", _CENTS, (), 0.01, "amounts of deals won, on their close dates"),
        ("revenue", _OUT, "money", "up", ("revenue_cents",), (), 0.01,
         "recognised by the plan's terms; without terms that spread it over time it equals bookings",
         (), ("signed_cents",)),
        ("gross_margin", _OUT, "money", "up", _MARGIN, (), 0.01,
         "amounts of deals won less their direct costs"),
        ("profit", _OUT, "money", "up", _MARGIN, (), 0.01,
         "gross margin less the plan's selling costs", ("cost_cents", "commission_cents")),
    )
}  # fmt: skip
#: What a change of the margin is measured by; no quota is set on it.
MARGIN = Metric(
    "margin", _OUT, "ratio", "up", _MARGIN, _CENTS, 1.0, "gross margin / amount of deals won"
)  # fmt: skip


def metric(name: str) -> Metric:
    """Look a metric up; every ``activity:<kind>`` is one.

    Raises
    ------
    PlanError
        If there is no such metric. Whether the data can answer it, `Able.reason` tells.
    """
    if name in METRICS:
        return METRICS[name]
    kind = name.removeprefix(ACTIVITY)
    if kind and kind != name:
        return Metric(name, _IN, "count", "up", (name,), (), 1.0, f"activities of the kind {kind}")
    raise PlanError(f"metric {name!r} is not known; there are {', '.join(METRICS)}, {ACTIVITY}<kind>")


def answerable(able: Able) -> tuple[str, ...]:
    """Names of every metric that can be answered: activities first, then the way of a deal."""
    names = (*(f"{ACTIVITY}{kind}" for kind in able.kinds), *METRICS)
    return tuple(name for name in names if not able.reason(name))


def check_able(names: Iterable[str], able: Able) -> None:
    """Refuse metrics by name.

    Raises
    ------
    PlanError
        With every one that is unknown or cannot be answered, and what is missing.
    """
    problems: list[str] = []
    for name in dict.fromkeys(names):
        try:
            metric(name)
        except PlanError as error:
            problems += error.problems
        if reason := able.reason(name):
            problems.append(f"metric {name}: {reason}")
    if problems:
        raise PlanError(problems)


def measures_of(names: Iterable[str]) -> tuple[str, ...]:
    """Measures that metrics are made of, as `simulate` takes them."""
    found = dict.fromkeys(m for name in names for m in metric(name).measures)
    of_bookings = {"commission_cents", "revenue_cents"} & set(found)
    return tuple(found | ({"won_cents": None} if of_bookings else {}))


def units(names: Iterable[str]) -> dict[str, str]:
    """Unit of every metric that is listed, and of those that always are there."""
    return {name: metric(name).unit for name in (*METRICS, *names)}


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
    signed : float or None
        Revenue that deals signed by the as-of date will earn; None where nothing is earned later.
    """

    total: Floats
    open: Floats | None
    new: Floats | None
    done: float | None
    signed: float | None = None

    @property
    def certain(self) -> float:
        """What is the same in every future."""
        return (self.done or 0.0) + (self.signed or 0.0)


def series(paths: Paths, which: Metric, scope: Scope, period: Period) -> Series:
    """Values of a metric on all paths.

    Raises
    ------
    PlanError
        If it cannot be answered, with what is missing.
    """
    _refuse(paths, which)
    if not which.is_ratio:
        signs = {**dict.fromkeys(which.top, 1.0), **dict.fromkeys(which.less, -1.0)}
        parts = [(sign, *paths.simulated(m, scope, period)) for m, sign in signs.items()]
        opened = _weighted([(sign, part) for sign, part, _ in parts], which.scale)
        new = _weighted([(sign, part) for sign, _, part in parts], which.scale)
        done = sum(sign * paths.actual(m, scope, period) for m, sign in signs.items()) * which.scale
        later = [paths.actual(m, scope, period) * which.scale for m in which.signed if m in paths.done]
        total = np.asarray(done + sum(later) + opened + new, dtype=float)
        return Series(total, opened, new, float(done), sum(later) if later else None)

    def whole(measure: str) -> Floats:
        opened, new = paths.simulated(measure, scope, period)
        return np.asarray(opened + new + paths.actual(measure, scope, period), dtype=float)

    top, bottom = _sum(which.top, whole), _sum(which.bottom, whole)
    with np.errstate(divide="ignore", invalid="ignore"):
        total = np.where(bottom > 0, top / bottom, np.nan) * which.scale
    past = _sum(which.bottom, lambda m: float(paths.actual(m, scope, period)))
    seen = _sum(which.top, lambda m: float(paths.actual(m, scope, period)))
    return Series(total, None, None, float(seen / past * which.scale) if past > 0 else None)


def _weighted(parts: Sequence[tuple[float, NDArray[Any]]], scale: float) -> Floats:
    """Scaled sum of signed arrays; in whole numbers up to the scale, so exact."""
    if len(parts) == 1:
        return np.asarray(parts[0][1] * (parts[0][0] * scale))
    return np.asarray(sum(sign * part for sign, part in parts) * scale)


def _refuse(paths: Paths, which: Metric) -> None:
    if reason := paths.able.reason(which.name):
        raise PlanError(f"metric {which.name}: {reason}")
    if lost := [m for m in dict.fromkeys(which.measures) if not paths.has(m)]:
        raise PlanError(
            f"metric {which.name}: these futures hold no {', '.join(lost)}; simulate them with it"
        )


def _sum(measures: tuple[str, ...], value: Callable[[str], Floats | float]) -> Floats:
    return np.asarray(sum(np.asarray(value(measure), dtype=float) for measure in measures))
