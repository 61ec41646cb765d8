"""Quotas from simulated futures: the highest with wished odds, equal odds, and sums that stay exact.

With n futures the odds of a target are the share of futures that reach it, so a target with odds of at
least q is an order statistic: with k = ceil(q n), the k-th best value is reached in k futures and is the
highest such target. Nothing is simulated again, and nothing is assumed about the shape of the futures.

*Equal odds*: let Q_i(k) be rep i's k-th best value. The sum S(k) of Q_i(k) over reps falls as k grows;
where S(k + 1) <= total < S(k), the targets lie between Q_i(k + 1) and Q_i(k), all by the same part of the
way, so that they add up to the total and every rep's odds are k / n or (k + 1) / n: equal to within one
future (but for futures with the same value, which a rep reaches together). No other split of the total
gives its least likely rep better odds: any split that gave all reps more would have smaller targets, and a
smaller sum.

*Largest remainder* (Hamilton's method): whole numbers in proportion to shares that add up to a whole total;
each gets the whole part of its share, and what is left goes to the largest fractions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quotacast.engine.metrics import Metric

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Steps of a suggested target, in its unit, where the plan states no rounding: money, counts, shares, days.
STEPS = {"money": 0.01, "count": 1.0, "ratio": 0.001, "days": 0.1}


def in_order(values: Floats, good: str) -> Floats:
    """Values from worst to best along the last axis; a future in which one is undefined is the worst.

    Lower is better for ``good="down"``: there the sign is turned, so that higher is better again.
    """
    signed = np.asarray(values, dtype=float) * (1.0 if good == "up" else -1.0)
    return np.sort(np.where(np.isfinite(signed), signed, -np.inf), axis=-1)


def place(odds: float, draws: int) -> int:
    """In how many of the futures a target must be reached, at least one."""
    return min(max(1, math.ceil(odds * draws - 1e-9)), draws)


def best(ordered: Floats, odds: float) -> Floats:
    """The highest targets with at least these odds.

    Parameters
    ----------
    ordered : ndarray, shape (..., draws)
        As `in_order` gives them.
    odds : float

    Returns
    -------
    ndarray, shape (...)
        ``-inf`` where even a value that exists is too rare.
    """
    draws = ordered.shape[-1]
    return np.asarray(ordered[..., draws - place(odds, draws)])


def equal_odds(ordered: Floats, total: float) -> Floats:
    """Targets that add up to a total and that all reps reach with the same odds.

    Parameters
    ----------
    ordered : ndarray, shape (reps, draws)
        Simulated values, rising along the last axis.
    total : float
        A total beyond every future is shared in proportion to the reps' best futures: nobody reaches that.

    Returns
    -------
    ndarray, shape (reps,)
    """
    sums = ordered.sum(axis=0)
    at = int(np.searchsorted(sums, total, side="right")) - 1
    if at < 0 or at == sums.size - 1:
        edge = ordered[:, 0 if at < 0 else -1]
        return np.asarray(edge * (total / edge.sum()) if edge.sum() > 0 else _even(edge.size, total))
    part = (total - sums[at]) / (sums[at + 1] - sums[at])
    return np.asarray(ordered[:, at] + part * (ordered[:, at + 1] - ordered[:, at]))


def in_proportion(weights: Floats, total: float) -> Floats:
    """A total in proportion to weights; evenly where there are none."""
    whole = float(weights.sum())
    return np.asarray(weights * (total / whole)) if whole > 0 else _even(weights.size, total)


def _even(size: int, total: float) -> Floats:
    return np.full(size, total / max(size, 1))


def largest_remainder(shares: Floats, total: int) -> Ints:
    """Whole numbers in proportion to shares that add up to a whole total.

    Parameters
    ----------
    shares : ndarray, shape (n,)
        Not negative; evenly where all are 0.
    total : int

    Returns
    -------
    ndarray of int64, shape (n,)
    """
    exact = in_proportion(np.maximum(shares, 0.0), float(total))
    low = np.floor(exact + 1e-9).astype(np.int64)
    left = total - int(low.sum())
    if left > 0:
        low[np.argsort(-(exact - low), kind="stable")[:left]] += 1
    while left < 0:  # rounding errors of very large totals
        low[int(np.argmax(low))] -= 1
        left += 1
    return low


@dataclass(frozen=True)
class Grain:
    """How finely targets of a metric are written.

    Attributes
    ----------
    scale : int
        Whole parts of the unit that are counted: 100 for money (cents), 1 for counts.
    step : int
        Targets are multiples of so many parts.
    """

    scale: int
    step: int

    def whole(self, amount: float) -> int:
        """An amount in whole parts."""
        return round(amount * self.scale)

    def shared(self, targets: Floats, total: int) -> Ints:
        """Targets in whole parts that add up to a total; what is less than a step goes to the largest."""
        if not targets.size:
            return np.zeros(0, dtype=np.int64)
        out = largest_remainder(targets, total // self.step) * self.step
        out[int(np.argmax(targets))] += total - int(out.sum())
        return out

    def easier(self, target: float, good: str) -> float:
        """The nearest multiple that is no harder to reach, so that the wished odds are kept."""
        steps = target * self.scale / self.step
        near = math.floor(steps + 1e-9) if good == "up" else math.ceil(steps - 1e-9)
        return near * self.step / self.scale


def grain(which: Metric, rounding: float | None) -> Grain:
    """How targets of a metric are rounded.

    Parameters
    ----------
    rounding : float, optional
        ``[aim] rounding``: of money. Counts are whole, shares are rounded to 0.1 %, days to a tenth.
    """
    step = STEPS.get(which.unit, 0.01)
    scale = max(1, round(1 / step))
    wished = rounding if rounding and which.unit == "money" else step
    return Grain(scale, max(1, round(wished * scale)))
