"""The forecasts to beat: what a practitioner would do without a model, each with intervals.

Every baseline sees only the snapshot at the origin. Deals count for the rep who owns them and for the
team held on the day; a rep with little history gets a share of the company (see `baselines_rates`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from quotacast.engine.backtest.baselines_past import Past
from quotacast.engine.backtest.baselines_pipeline import stage_weighted, win_rate
from quotacast.engine.backtest.baselines_rates import month_of_quarter, run_rate
from quotacast.engine.backtest.baselines_series import arima, ets
from quotacast.engine.backtest.targets import Target
from quotacast.models.history.history import History
from quotacast.models.periods import Calendar

Floats = NDArray[np.float64]
Method = Callable[[Past, Sequence[Target], int, np.random.Generator, "Counter[str]"], Floats]


@dataclass(frozen=True)
class Baseline:
    """A named way to forecast.

    Attributes
    ----------
    name : str
    meaning : str
        One plain sentence.
    method : callable
        Draws what is ahead, from a `Past`.
    """

    name: str
    meaning: str
    method: Method

    def function(
        self,
        history: History,
        calendar: Calendar,
        targets: Sequence[Target],
        *,
        draws: int,
        rng: np.random.Generator,
        notes: Counter[str] | None = None,
    ) -> Floats:
        """Draw the targets.

        Parameters
        ----------
        history : History
            As of the origin; all of it is known.
        calendar : Calendar
        targets : sequence of Target
        draws : int
        rng : numpy.random.Generator
        notes : Counter, optional
            Counts what had to be done another way, by plain words.

        Returns
        -------
        ndarray, shape (targets, draws)
            In the metric's unit; NaN rows where the baseline does not speak. The total of a period that
            has begun includes what is done.
        """
        return self.draw(Past.of(history, calendar), targets, draws=draws, rng=rng, notes=notes)

    def draw(
        self,
        past: Past,
        targets: Sequence[Target],
        *,
        draws: int,
        rng: np.random.Generator,
        notes: Counter[str] | None = None,
    ) -> Floats:
        """Draw as :meth:`function` does, from a history that has been prepared once for all baselines."""
        out = self.method(past, targets, draws, rng, Counter() if notes is None else notes)
        for row, target in enumerate(targets):
            done = past.done(target)
            if done:
                out[row] += done
        return out


BASELINES: dict[str, Baseline] = {
    b.name: b
    for b in (
        Baseline(
            "pipeline",
            "Open deals by the win rate of their stage or age, new ones by run rate.",
            stage_weighted,
        ),
        Baseline("winrate", "Open deals by won ÷ closed of the last year, new ones by run rate.", win_rate),
        Baseline("runrate", "The last twelve months, resampled.", run_rate),
        Baseline(
            "month_of_quarter", "The same month of earlier quarters, at the recent level.", month_of_quarter
        ),
        Baseline("ets", "Exponential smoothing of monthly sums; company and teams.", ets),
        Baseline("arima", "A small ARIMA model of monthly sums; company and teams.", arima),
    )
}


def baseline_rngs(
    seed: int, origin: date, names: Sequence[str] | None = None
) -> dict[str, np.random.Generator]:
    """A stream of its own for every baseline at an origin, or for those named."""
    return {
        name: np.random.default_rng([seed, origin.toordinal(), k])
        for k, name in enumerate(BASELINES)
        if names is None or name in names
    }


def all_baselines(
    history: History,
    calendar: Calendar,
    targets: Sequence[Target],
    *,
    draws: int,
    rngs: Mapping[str, np.random.Generator],
    notes: Counter[str] | None = None,
) -> dict[str, Floats]:
    """Draw the targets with every baseline, preparing the history once.

    Parameters
    ----------
    rngs : mapping of str to numpy.random.Generator
        One for each name of :data:`BASELINES`, so that each baseline has its own stream; names that are
        left out are not drawn.

    Returns
    -------
    dict of str to ndarray, shape (targets, draws)
    """
    past = Past.of(history, calendar)
    chosen = [b for name, b in BASELINES.items() if name in rngs]
    return {b.name: b.draw(past, targets, draws=draws, rng=rngs[b.name], notes=notes) for b in chosen}
