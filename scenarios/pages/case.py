"""What the sections of a page share: one run, one simulation, one set of odds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.answer import Answer
from quotacast.engine.answers.attainability import attainability
from quotacast.engine.metrics import Series, metric, series
from quotacast.engine.paths import Paths
from quotacast.engine.quota import Quota, Scope
from quotacast.engine.reports.words import money, odds_words, percent
from quotacast.models.periods import Period
from quotacast.scenarios.run import Run
from quotacast.scenarios.screen import COMPANY, HEADLINE, main_period, main_quotas
from quotacast.scenarios.trackrecord import judged, stored_record


@dataclass(frozen=True)
class Case:
    """A plan's run, seen from one scope; everything is made once and when first needed.

    Parameters
    ----------
    run : Run
    scope : Scope
        Whose page it is.
    """

    run: Run
    scope: Scope = COMPANY

    @cached_property
    def stated(self) -> tuple[tuple[Quota, ...], tuple[str, ...]]:
        """Quotas that are judged, and what must be said about the others."""
        return self.run.quotas()

    @property
    def quotas(self) -> tuple[Quota, ...]:
        """Quotas that are judged."""
        return self.stated[0]

    @cached_property
    def months(self) -> tuple[Period, ...]:
        """Months of the forecast."""
        return self.run.periods("month")

    @cached_property
    def paths(self) -> Paths:
        """Futures from which every section is told."""
        ends = [self.run.plan.calendar.parse(q.period) for q in self.quotas]
        return self.run.paths([*self.months, self.run.plan.horizon_period, *ends])

    @cached_property
    def record(self) -> Answer | None:
        """The stored track record."""
        return stored_record(self.run)

    @cached_property
    def cash(self) -> Answer:
        """Cash, with the way from bookings to revenue and three single futures beside it."""
        from quotacast.engine.answers.quantiles import DEFAULT_QUANTILES
        from quotacast.scenarios.money.cash import cash_found
        from quotacast.scenarios.money.financebook import with_book

        found, paths, _ = cash_found(self.run, DEFAULT_QUANTILES)
        return with_book(found, self.run, paths, DEFAULT_QUANTILES)

    @cached_property
    def odds(self) -> Answer:
        """Odds of all quotas, in the light of the track record."""
        found = attainability(self.paths, self.quotas, self.run.plan.calendar, self.run.provenance())
        return judged(found, self.record, self.run.force)

    @property
    def withheld(self) -> str:
        """Why odds on the headline metric are withheld; empty where they are not."""
        return str(self.odds.summary.get("withheld", {}).get(HEADLINE, ""))

    @cached_property
    def main(self) -> pd.DataFrame:
        """Odds by which teams and reps are judged."""
        return main_quotas(self.odds, self.run.plan.calendar, self.run.plan.horizon)

    def goal(self, scope: Scope) -> Quota | None:
        """The quota by which a scope is judged: of the main set, for the horizon where there is one."""
        mine = [q for q in self.quotas if q.scope == scope and q.metric == HEADLINE]
        sets = [*self.main["set"].head(1), *(q.set for q in mine)]
        chosen = next((s for s in sets if any(q.set == s for q in mine)), None)
        mine = [q for q in mine if q.set == chosen]
        if not mine:
            return None
        labels = list(dict.fromkeys(q.period for q in mine))
        period = main_period(labels, self.run.plan.calendar, self.run.plan.horizon)
        return next(q for q in mine if q.period == period)

    def values(self, scope: Scope, quota: Quota | None) -> Series:
        """The headline metric of a scope over the quota's period, else the horizon."""
        plan = self.run.plan
        period = plan.horizon_period if quota is None else plan.calendar.parse(quota.period)
        return series(self.paths, metric(HEADLINE), scope, period)

    def chance(self, quota: Quota) -> float | None:
        """Odds of a quota; None where they are withheld or not meaningful."""
        rows = self.odds.rows
        mine = rows[
            (rows["scope"] == quota.scope.kind)
            & (rows["scope_id"] == quota.scope.id)
            & (rows["set"] == quota.set)
            & (rows["metric"] == quota.metric)
            & (rows["period"] == quota.period)
        ]
        found = mine["p_attain"].iloc[0]
        return None if pd.isna(found) else float(found)

    def past(self, scope: Scope) -> list[dict[str, Any]]:
        """Bookings of the company or a rep in the twelve months before the forecast, for pictures."""
        deals = self.run.history.opportunities
        won = deals[(deals["status"] == "won") & ((deals["rep_id"] == scope.id) | (scope == COMPANY))]
        day = self.run.history.as_of_date
        known = self.run.plan.calendar.periods("month", day - timedelta(days=400), day)
        return [
            {"period": month.label, "value": float(won.loc[inside, "amount"].sum())}
            for month in [p for p in known if p.last <= day][-12:]
            for inside in [won["closed_on"].between(pd.Timestamp(month.first), pd.Timestamp(month.last))]
        ]

    @property
    def currency(self) -> str:
        """The planning currency."""
        return str(self.run.history.currency)


def chance_words(p: float | None) -> str:
    """Odds as people say them, with the number: ``about 1 in 4 (27%)``."""
    return "odds withheld" if p is None else f"{odds_words(p)} ({percent(p)})"


def middle(values: Any) -> tuple[float, float, float]:
    """P10, P50 and P90 of draws."""
    low, half, high = np.quantile(values, [0.1, 0.5, 0.9])
    return float(low), float(half), float(high)


def apart(a: float, b: float) -> str:
    """How far a is from b, in words: ``0.7M short of``, ``0.2M above``."""
    gap = a - b
    return f"{money(abs(gap))} {'above' if gap >= 0 else 'short of'}"
