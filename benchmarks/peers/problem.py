"""What every peer is given at an origin: the same evening's knowledge and the same targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from quotacast.engine.backtest.baselines_past import STREAM, Past
from quotacast.engine.backtest.baselines_rates import amounts, run_rates
from quotacast.engine.backtest.targets import Target
from quotacast.engine.quota import Scope
from quotacast.models.timegrid import day_number

Floats = NDArray[np.float64]
COMPANY = Scope("company")
#: From a problem to draws by metric and future month, shape (draws, months); None where a peer is silent.
Peer = Callable[["Problem", str], Floats | None]


@dataclass(frozen=True)
class Problem:
    """An origin at a month's end.

    Attributes
    ----------
    past : Past
        Everything known that evening.
    targets : sequence of (horizon, Target)
        Company totals of whole months to come.
    draws : int
    seed : int
    """

    past: Past
    targets: Sequence[tuple[str, Target]]
    draws: int
    seed: int

    @cached_property
    def rng(self) -> np.random.Generator:
        """This origin's random numbers."""
        return np.random.default_rng([self.seed, self.past.origin])

    @cached_property
    def months(self) -> int:
        """Future months up to the last day of any target."""
        return max(self._place(t.last) for _, t in self.targets) + 1

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """0 and the last days of the future months, as days after the origin."""
        return self.past.edges(self.months) - self.past.origin

    def _place(self, day: date) -> int:
        here = self.past.history.as_of_date
        return (day.year - here.year) * 12 + day.month - here.month - 1

    def sums(self, by_month: Floats) -> Floats:
        """From draws by month to draws by target, shape (targets, draws)."""
        spans = [(self._place(t.first), self._place(t.last) + 1) for _, t in self.targets]
        return np.stack([by_month[:, first:stop].sum(axis=1) for first, stop in spans])

    def monthly(self, metric: str) -> Floats:
        """A metric in the complete months before the origin, oldest first."""
        return self.past.sums(metric, COMPANY, self.past.months_back(STREAM[metric], 10_000))

    def last_month(self) -> np.datetime64:
        """The month that ends at the origin."""
        return np.datetime64(self.past.history.as_of_date, "M")

    @cached_property
    def creations(self) -> Floats:
        """Run-rate draws of creations by future month, shape (draws, months)."""
        rates = run_rates(self.past, self.months, self.draws, self.rng)("created", COMPANY)
        return self.rng.poisson(rates * np.diff(self.ends)).astype(float)

    def worth(self, wins: Floats) -> Floats:
        """Bookings of so many wins: their amounts are drawn from those of the last year."""
        return amounts(wins.astype(np.int64).ravel(), self.past.pool(COMPANY), self.rng).reshape(wins.shape)

    def deals(self) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """Age at the origin, age at the win (or at the origin), and whether won; since recording began."""
        table = self.past.history.opportunities
        born = day_number(table["created_on"]).astype(float)
        won = (table["status"] == "won").to_numpy()
        closed = np.where(won, day_number(table["closed_on"]), self.past.origin).astype(float)
        kept = born >= self.past.start["created"]
        return (self.past.origin - born)[kept], (closed - born)[kept], won[kept]
