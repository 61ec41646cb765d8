"""The signing clock of a plan: which deals are signed on which terms, and until when they run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from quotacast.engine.finance.account import Account, Days
from quotacast.engine.finance.contracted import Signed, months_ending, signed_deals, tax_on_top
from quotacast.engine.finance.currencies import currency_mix, foreign_currencies, places
from quotacast.engine.finance.entries import Wins
from quotacast.engine.finance.kernel import Signing
from quotacast.engine.finance.schedule import DEFAULT_MONTHS, Ints, Schedules, Terms
from quotacast.engine.streams import keys
from quotacast.models.history.history import History
from quotacast.models.terms import Floats


@dataclass(frozen=True)
class Contracts:
    """Everything that decides which deals are signed, and on which terms.

    Attributes
    ----------
    history : History
    wins : Wins
        In daily steps from the day after the as-of date.
    reps : tuple of str
        Seats of the wins.
    days : Days
    terms : Terms
    account : Account
    term_months, invoice_days : int or None
        As the plan states them.
    seed : int
    """

    history: History
    wins: Wins
    reps: tuple[str, ...]
    days: Days
    terms: Terms
    account: Account
    term_months: int | None
    invoice_days: int | None
    seed: int

    @property
    def today(self) -> int:
        """Day number of the as-of date."""
        return self.days.first - 1

    @cached_property
    def signed(self) -> Signed:
        """Deals won up to the as-of date."""
        return signed_deals(self.history, self.terms, self.term_months, self.account.vat - self.tax_on_top)

    @cached_property
    def tax_on_top(self) -> float:
        """Value-added tax that the data's invoice amounts lack: the plan's rate, or 0 where they hold it."""
        return tax_on_top(self.history, self.account.vat)

    @cached_property
    def lags(self) -> Ints:
        """Days from close to the first invoice, each as likely."""
        if self.invoice_days is not None:
            return np.array([self.invoice_days], dtype=np.int64)
        return self.signed.lags if self.signed.lags.size else np.zeros(1, dtype=np.int64)

    @cached_property
    def ending(self) -> tuple[Ints, Ints]:
        """Signed deals whose term ends, and when."""
        none = np.empty(0, dtype=np.int64)
        if self.terms.renewal <= 0:
            return none, none
        return months_ending(self.signed, self.terms, self.today, self.days.days)

    @cached_property
    def term_lengths(self) -> tuple[tuple[int, ...], Floats]:
        """Lengths of terms, and cumulative shares among new deals of the first of them."""
        if self.term_months is not None:
            own, share = np.array([self.term_months]), np.ones(1)
        else:
            deals = self.history.opportunities
            known = deals.loc[(deals["status"] == "won").to_numpy(), "term_months"].dropna()
            found = known.clip(1, 120).round().to_numpy(dtype=np.int64)
            own, count = np.unique(found if found.size else [DEFAULT_MONTHS], return_counts=True)
            share = np.cumsum(count) / count.sum()
        more = [int(m) for m in np.unique(self.signed.months[self.ending[0]]) if m not in own]
        return (*(int(m) for m in own), *more), share

    @cached_property
    def schedules(self) -> Schedules:
        """Terms as tables."""
        return Schedules.of(self.terms, self.term_lengths[0], self.days.first, self.days.days)

    @cached_property
    def currencies(self) -> tuple[str, ...]:
        """Foreign currencies whose rates move; none where the plan states no volatility."""
        return foreign_currencies(self.history) if self.account.volatility > 0 else ()

    @cached_property
    def signing(self) -> Signing:
        """Arrays of the signing clock."""
        which, day = self.ending
        place = {months: i for i, months in enumerate(self.schedules.months)}
        seat = {rep: i for i, rep in enumerate(self.reps)}
        return Signing(
            np.stack([keys(self.seed, f"deal {kind}", self.reps) for kind in ("open", "new")], axis=1),
            self.term_lengths[1],
            self.schedules.ends.astype(np.int64),
            float(self.terms.renewal),
            self.lags,
            day,
            self.signed.cents[which],
            self.signed.margin[which],
            np.array([place[int(m)] for m in self.signed.months[which]], dtype=np.int64),
            keys(self.seed, "renewal", [str(i) for i in self.signed.ids[which]]),
            np.array([seat.get(rep, -1) for rep in self.signed.rep[which]], dtype=np.int64),
            places(self.signed.currency[which], self.currencies),
            currency_mix(self.history, self.reps, self.currencies),
        )

    @cached_property
    def room(self) -> int:
        """Deals that a future may hold at most."""
        won = sum(self.wins.columns["won"].sums(np.arange(self.wins.reps), slice(None)))
        most = int(np.max(won, initial=0))
        again = self.days.days // (28 * min(self.schedules.months)) if self.terms.renewal > 0 else 0
        return (most + self.ending[0].size) * (1 + again) + 1
