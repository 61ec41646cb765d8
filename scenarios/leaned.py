"""Today's forecast leans as the track record teaches; see `engine.backtest.leaning`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quotacast.engine.backtest.baselines import all_baselines, baseline_rngs
from quotacast.engine.backtest.leaning import (
    POOL,
    Forecast,
    chosen,
    draw_weights,
    effective,
    learn,
    lot,
    told,
)
from quotacast.engine.backtest.origin_forecast import target_draws
from quotacast.engine.backtest.origins import spans, targets
from quotacast.engine.backtest.record import Record
from quotacast.engine.paths import Paths
from quotacast.engine.quota import Scope
from quotacast.models.history.history import History
from quotacast.models.periods import Calendar, Period


@dataclass(frozen=True)
class Lean:
    """Which futures stand for the forecast, and why.

    Attributes
    ----------
    futures : ndarray, shape (draws,), or None
        Numbers of simulated futures, with repeats; None where the model stands alone.
    facts : mapping
        Weights by metric and kind of horizon, effective number of futures, origins; JSON-ready.
    """

    futures: NDArray[np.int64] | None
    facts: Mapping[str, Any]


ALONE = Lean(None, {})


def lean(
    record: Record | None,
    history: History,
    calendar: Calendar,
    until: date,
    seed: int,
    simulated: Callable[[tuple[Period, ...]], Paths],
) -> Lean:
    """Weigh the futures of today's forecast by what the record teaches.

    Parameters
    ----------
    record : Record, optional
        Of exactly this history; None where there is none.
    until : date
        Last simulated day; horizons beyond it are not leaned on.
    simulated : callable
        From periods to paths as things stand: without the plan's changes, of which baselines know nothing.
    """
    learned = {} if record is None else learn(record.evidence, history.as_of_date)
    periods = spans(history.as_of_date, calendar, until)
    if record is None or not learned or not periods:
        return ALONE
    paths = simulated(tuple(periods.values()))
    weights = draw_weights(_forecasts(paths, history, calendar, periods, seed), learned)
    if weights is None:
        return ALONE
    facts = {
        "weights": told(learned),
        "effective_futures": round(effective(weights), 1),
        "origins": int(record.evidence["origin"].nunique()),
    }
    return Lean(chosen(weights, lot(seed, history.as_of_date)), facts)


def _forecasts(
    paths: Paths, history: History, calendar: Calendar, periods: Mapping[str, Period], seed: int
) -> list[Forecast]:
    wanted = [x for x in targets((Scope("company"),), periods) if x[1].component == "total"]
    plain = [target for _, target in wanted]
    rngs = baseline_rngs(seed, history.as_of_date, POOL[1:])
    others = all_baselines(history, calendar, plain, draws=paths.draws, rngs=rngs)
    return [
        Forecast(h, t.metric, t.last, (target_draws(paths, t), *(others[name][k] for name in POOL[1:])))
        for k, (h, t) in enumerate(wanted)
    ]
