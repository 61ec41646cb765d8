"""Some of the futures: enough to tell what a change does, while levels come from all of them.

What a change does, D = X(changed) - X(as things stand), varies far less from future to future than X does,
since both meet the same random numbers. So a level under a change is estimated as ::

    mean of X over all futures, as things stand  +  mean of D over some of them

(a control variate with coefficient 1; Glasserman 2003, Monte Carlo Methods in Financial Engineering, 4.1).
As things stand, every figure is then exactly that of all futures.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from quotacast.engine.drivers import Drivers
from quotacast.engine.paired import Ints, clusters
from quotacast.engine.paths import Paths
from quotacast.engine.quota import Scope
from quotacast.models.periods import Period
from quotacast.scenarios.run import Run

#: Metric that every set of all futures holds, so that it tells how many deals a future takes.
CREATED = "opportunities_created"


@dataclass(frozen=True)
class Fewer:
    """All futures as things stand, and the first of them, which are simulated with something changed.

    Attributes
    ----------
    run : Run
    whole : Paths
        As things stand, and as the track record teaches.
    draws : int
        So many futures are simulated under a change.
    """

    run: Run
    whole: Paths
    draws: int

    @cached_property
    def _places(self) -> Ints:
        """Which of all futures are among the first, with the repeats of leaning; shape (n,)."""
        futures = self.run.leaning.futures
        number = np.arange(self.whole.draws) if futures is None else futures
        return np.flatnonzero(number < self.draws)

    @cached_property
    def _numbers(self) -> Ints:
        """Numbers of the simulated futures that they are, shape (n,)."""
        futures = self.run.leaning.futures
        return self._places if futures is None else np.asarray(futures[self._places])

    @cached_property
    def cluster(self) -> Ints:
        """Which of them share a row of the posterior, shape (n,)."""
        return clusters(self._numbers.size, self.run.funnel.draws, self._numbers)

    @property
    def all(self) -> bool:
        """Whether nothing is left out."""
        return self.draws >= self.run.plan.draws

    @cached_property
    def base(self) -> Paths:
        """Those futures as things stand."""
        return self.whole if self.all else self.whole.taken(self._places)

    def changed(self, run: Run, drivers: Drivers, periods: Iterable[Period], metrics: Sequence[str]) -> Paths:
        """The same futures under other drivers."""
        return run.variant(drivers, periods, self.draws, metrics).taken(self._numbers)


def affordable(run: Run, whole: Paths, deals: float, least: int) -> int:
    """How many futures hold about so many deals: all of the plan's in a small company, ``least`` at least.

    Simulating takes time in proportion to deals, open and created.

    Parameters
    ----------
    whole : Paths
        As things stand, with `CREATED` among its metrics.
    """
    opened, new = whole.simulated("created", Scope("company"), run.plan.horizon_period)
    book = int((run.history.opportunities["status"] == "open").sum())
    each = book + float((opened + new).mean())
    return int(min(max(deals / max(each, 1.0), least), run.plan.draws))
