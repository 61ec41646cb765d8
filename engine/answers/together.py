"""Odds that belong together: what a set of quotas means for reps, teams and the company in the same futures.

Three numbers that are often mixed up, each under its own name:

- *share attaining*: reps at or above quota ÷ reps with a quota, in one future; commonly advised are 60–65 %
  (Alexander Group);
- *average attainment*: the mean over reps of actual ÷ quota;
- *realisation*: what all reps reach together ÷ the sum of their quotas.

The expected *cost of a miss* is E[max(target − actual, 0)]: what is short on average over all futures,
those that reach the target counted as 0. Pay is ``rate`` of what is booked up to quota and ``rate ×
accelerator`` of what is booked above it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.answer import Answer, Field
from quotacast.engine.answers.attainability import DEFINED, in_order
from quotacast.engine.answers.fairness import fairness_facts
from quotacast.engine.metrics import Metric, metric, series, units
from quotacast.engine.paths import Paths
from quotacast.engine.quota import Quota, Scope
from quotacast.engine.reports.words import odds_words, percent
from quotacast.engine.sharing import Floats, best
from quotacast.engine.sharing import in_order as from_worst
from quotacast.engine.spread import Switch
from quotacast.models.periods import Calendar, Period

#: Commonly advised shares of reps at or above quota (Alexander Group).
NORM = (0.60, 0.65)
#: Metrics on which commission is paid.
PAID = ("bookings",)

FIELDS = (
    Field("scope", "text", "company, team or rep"),
    Field("scope_id", "text", "team or rep; empty for the company"),
    Field("set", "text", "candidate set of quotas"),
    Field("metric", "text", "what the quota is on"),
    Field("period", "text", "period of the quota"),
    Field("target", "metric", "the quota"),
    Field("p_attain", "probability", "share of futures that reach it; missing where not meaningful"),
    Field("p50", "metric", "half of the futures are at or below"),
    Field("attainment_mean", "ratio", "expected actual ÷ quota (quota ÷ actual where lower is better)"),
    Field("shortfall", "metric", "expected cost of a miss: mean of what is short, 0 where reached"),
    Field("payout", "money", "expected commission; missing where the plan states none"),
    Field("quota_to_ote", "score", "quota ÷ on-target earnings of the same time; missing where not stated"),
    Field("fair_target", "metric", "quota of a rep if all reps had the same odds, with the same sum"),
)


@dataclass(frozen=True)
class Comparable:
    """What makes reps comparable.

    Attributes
    ----------
    groups : mapping of rep to group
        For every period, see :mod:`quotacast.engine.answers.fairness`.
    places : mapping of (metric, period) to expected values by factors and rep
        As `engine.places.expected_places` gives them; empty leaves the spread in one piece.
    """

    groups: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    places: Mapping[tuple[str, str], Mapping[Switch, Mapping[str, float]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Pay:
    """Variable pay of a rep.

    Attributes
    ----------
    rate : float or None
        Share of bookings up to quota.
    accelerator : float
        Factor on it above quota.
    ote : float or None
        On-target earnings per year.
    """

    rate: float | None = None
    accelerator: float = 1.0
    ote: float | None = None

    def payout(self, booked: Floats, target: float) -> Floats:
        """Commission in every future, on what is booked against a quota."""
        above = np.maximum(booked - target, 0.0)
        return np.asarray((self.rate or 0.0) * (np.minimum(booked, target) + self.accelerator * above))


NO_PAY, UNKNOWN = Pay(), Comparable()


def together(
    paths: Paths,
    quotas: Sequence[Quota],
    calendar: Calendar,
    provenance: Mapping[str, Any],
    pay: Pay = NO_PAY,
    company_odds: float = 0.7,
    alike: Comparable = UNKNOWN,
) -> Answer:
    """Judge sets of quotas as wholes.

    Parameters
    ----------
    paths : Paths
    quotas : sequence of Quota
    pay : Pay
    company_odds : float
        Odds with which the company's number should hold, for the least cushion.
    alike : Comparable
    """
    kept = _Values(paths, calendar)
    ordered = in_order(quotas, calendar)
    rows = [_row(quota, kept, calendar, pay) for quota in ordered]
    groups: dict[tuple[str, str, str], list[Quota]] = {}
    for quota in ordered:
        groups.setdefault((quota.set, quota.metric, quota.period), []).append(quota)
    company = {(q.metric, q.period): q for q in reversed(ordered) if q.scope.kind == "company"}
    sets = [
        set_facts(some, kept, pay, company_odds, company.get(key[1:]))
        | {"fairness": _fairness(some, kept, alike)}
        for key, some in groups.items()
        if any(q.scope.kind == "rep" for q in some) and not metric(some[0].metric).is_ratio
    ]
    table = pd.DataFrame(rows, columns=[f.name for f in FIELDS])
    table["fair_target"] = _fair_targets(table, sets)
    summary = {
        "metric_units": units(dict.fromkeys(q.metric for q in quotas)),
        "teams": dict(zip(paths.reps, paths.teams, strict=True)),
        "norm": list(NORM),
        "sets": sets,
    }
    words = " ".join(set_words(facts, len(sets) > 1) for facts in sets[:4])
    return Answer("quotas-together", table, FIELDS, words, summary, provenance, "odds")


def _fairness(quotas: Sequence[Quota], kept: _Values, alike: Comparable) -> dict[str, Any]:
    reps = [q for q in quotas if q.scope.kind == "rep"]
    values = np.array([kept.of(q) for q in reps])
    key = (reps[0].metric, reps[0].period)
    return fairness_facts(
        [q.scope.id for q in reps],
        values,
        np.array([q.target for q in reps]),
        alike.groups.get(reps[0].period, {}),
        alike.places.get(key),
    )


def _fair_targets(table: pd.DataFrame, sets: Sequence[Mapping[str, Any]]) -> list[float | None]:
    found = {(s["set"], s["metric"], s["period"]): s["fairness"]["equal_targets"] for s in sets}
    keys = zip(table["set"], table["metric"], table["period"], strict=True)
    return [
        found.get(key, {}).get(rep) if scope == "rep" else None
        for key, scope, rep in zip(keys, table["scope"], table["scope_id"], strict=True)
    ]


class _Values:
    """A metric's draws by scope and period, each taken once."""

    def __init__(self, paths: Paths, calendar: Calendar) -> None:
        self.paths, self.calendar = paths, calendar
        self._kept: dict[tuple[str, str, str], Floats] = {}

    def of(self, quota: Quota, scope: Scope | None = None) -> Floats:
        """Draws that a quota is measured by, or those of another scope."""
        key = (str(scope or quota.scope), quota.metric, quota.period)
        if key not in self._kept:
            which, period = metric(quota.metric), self.calendar.parse(quota.period)
            self._kept[key] = series(self.paths, which, scope or quota.scope, period).total
        return self._kept[key]


def shortfall(values: Floats, target: float, which: Metric) -> float | None:
    """E[max(target − actual, 0)], signs turned where lower is better, over futures where it is defined."""
    known = values[np.isfinite(values)]
    gap = target - known if which.good == "up" else known - target
    return float(np.maximum(gap, 0.0).mean()) if known.size else None


def _row(quota: Quota, kept: _Values, calendar: Calendar, pay: Pay) -> dict[str, Any]:
    which, values = metric(quota.metric), kept.of(quota)
    known = values[np.isfinite(values)]
    meaningful = known.size >= DEFINED * values.size
    paid = quota.scope.kind == "rep" and quota.metric in PAID
    return {
        "scope": quota.scope.kind,
        "scope_id": quota.scope.id,
        "set": quota.set,
        "metric": quota.metric,
        "period": quota.period,
        "target": quota.target,
        "p_attain": float(which.attains(values, quota.target).mean()) if meaningful else None,
        "p50": float(np.median(known)) if known.size else None,
        "attainment_mean": _finite_mean(which.attainment(known, quota.target)),
        "shortfall": shortfall(values, quota.target, which),
        "payout": float(pay.payout(values, quota.target).mean()) if paid and pay.rate is not None else None,
        "quota_to_ote": quota.target / ote_of(pay, calendar, quota) if paid and pay.ote else None,
        "fair_target": None,
    }


def ote_of(pay: Pay, calendar: Calendar, quota: Quota) -> float:
    """On-target earnings that fall to the quota's period."""
    period = calendar.parse(quota.period)
    year: Period = calendar.containing(period.first, "year")
    return float(pay.ote or 0.0) * period.days / year.days


def _finite_mean(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else None


def set_facts(
    quotas: Sequence[Quota], kept: _Values, pay: Pay, company_odds: float, usual: Quota | None = None
) -> dict[str, Any]:
    """What the quotas of one set, metric and period mean together.

    The company's target is the set's own, else that of another set (``usual``), else what the reps add up to.
    """
    reps = [q for q in quotas if q.scope.kind == "rep"]
    targets = np.array([q.target for q in reps])
    values = np.array([kept.of(q) for q in reps])
    hits = values >= targets[:, None]
    share = hits.mean(axis=0)
    stated = next((q for q in quotas if q.scope.kind == "company"), usual)
    company = kept.of(reps[0], Scope("company"))
    target = stated.target if stated else float(targets.sum())
    safe = float(best(from_worst(company, "up"), company_odds))
    facts = {
        "set": reps[0].set,
        "metric": reps[0].metric,
        "period": reps[0].period,
        "reps": len(reps),
        "sum_of_reps": float(targets.sum()),
        "company_target": target,
        "company_stated": stated is not None,
        "cushion": float(targets.sum()) / target - 1.0,
        "cushion_needed": float(targets.sum()) / safe - 1.0 if safe > 0 else None,
        "company_odds": company_odds,
        "company_safe": safe,
        **_rep_facts(hits.mean(axis=1)),
        **_share_facts(share, len(reps), company >= target),
        "average_attainment": float((values / targets[:, None]).mean()),
        "realisation": float(values.sum(axis=0).mean() / targets.sum()),
        "shortfall_company": float(np.maximum(target - company, 0.0).mean()),
    }
    return {**facts, **_pay_facts(reps, values, targets, kept.calendar, pay)}


def _rep_facts(odds: Floats) -> dict[str, float]:
    low, middle, high = (float(x) for x in (odds.min(), np.median(odds), odds.max()))
    return {"rep_odds_least": low, "rep_odds_median": middle, "rep_odds_most": high}


def _share_facts(share: Floats, reps: int, company: Any) -> dict[str, Any]:
    """The distribution of the share attaining, and what it tells about the company."""
    normal = share >= NORM[0] - 1e-9
    low, middle, high = (float(x) for x in np.quantile(share, [0.1, 0.5, 0.9], method="inverted_cdf"))
    return {
        "share_mean": float(share.mean()),
        "share_p10": low,
        "share_p50": middle,
        "share_p90": high,
        "share_counts": np.bincount(np.rint(share * reps).astype(int), minlength=reps + 1).tolist(),
        "p_share_norm": float(normal.mean()),
        "p_company": float(company.mean()),
        "p_company_if_norm": float(company[normal].mean()) if normal.any() else None,
        "p_company_if_not": float(company[~normal].mean()) if not normal.all() else None,
    }


def _pay_facts(
    reps: Sequence[Quota], values: Floats, targets: Floats, calendar: Calendar, pay: Pay
) -> dict[str, Any]:
    if reps[0].metric not in PAID:
        return {}
    facts: dict[str, Any] = {}
    if pay.rate is not None:
        paid = sum(pay.payout(v, float(t)) for v, t in zip(values, targets, strict=True))
        low, middle, high = (float(x) for x in np.quantile(np.asarray(paid), [0.1, 0.5, 0.9]))
        facts |= {"payout": float(np.mean(paid)), "payout_p10": low, "payout_p50": middle, "payout_p90": high}
        facts |= {"payout_at_quota": pay.rate * float(targets.sum())}
    if pay.ote:
        ratios = [q.target / ote_of(pay, calendar, q) for q in reps]
        facts |= {"quota_to_ote_median": float(np.median(ratios))}
        facts |= {"quota_to_ote_least": min(ratios), "quota_to_ote_most": max(ratios)}
    return facts


def set_words(facts: Mapping[str, Any], named: bool) -> str:
    """A set in plain words: who attains, against which norm, and what that says about the company."""
    which = f"{facts['set']}, {facts['metric']} {facts['period']}: " if named else ""
    text = (
        f"{which}{percent(facts['share_mean'])} of the {facts['reps']} reps reach their quota on average "
        f"({percent(facts['share_p10'])} to {percent(facts['share_p90'])} in 8 of 10 futures; 60–65% are "
        f"commonly advised), the company {odds_words(facts['p_company'])}"
    )
    if facts["p_company_if_norm"] is not None and facts["p_company_if_not"] is not None:
        text += (
            f": {percent(facts['p_company_if_norm'])} where at least 60% of the reps do, else "
            f"{percent(facts['p_company_if_not'])}"
        )
    return f"{text}."
