"""`compare`: scenarios against each other on the same futures, metric by metric and quota by quota.

All sides are simulated with the same random numbers and read on the same futures, so a row's difference is
taken draw by draw: a scenario that changes nothing differs by exactly 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.answer import Answer, Field
from quotacast.engine.answers.quantiles import DEFAULT_QUANTILES, label, quantiles
from quotacast.engine.metrics import METRICS, metric, series, units
from quotacast.engine.paired import Ints, clusters, difference, mean_error, odds_difference
from quotacast.engine.paths import Paths, Steps
from quotacast.engine.quota import Quota, Scope
from quotacast.engine.reports.words import money
from quotacast.errors import PlanError
from quotacast.models.periods import KINDS, Period
from quotacast.scenarios.choose import check_by, select_metrics, select_quotas, select_scopes
from quotacast.scenarios.deciding.fewer import CREATED, Fewer
from quotacast.scenarios.deciding.net import NET, net_costs, net_metrics, net_periods, net_row
from quotacast.scenarios.deciding.sides import Side, fitted, sides
from quotacast.scenarios.noeffect import has_another
from quotacast.scenarios.run import Run

FIELDS = (
    Field("scope", "text", "company, team or rep"),
    Field("scope_id", "text", "team or rep; empty for the company"),
    Field("scenario", "text", "what is compared"),
    Field("against", "text", "with what it is compared"),
    Field("metric", "text", "what is compared; net: margin (or bookings) less all costs"),
    Field("period", "text", "over which it counts"),
    Field("set", "text", "candidate set of the quota; empty in rows without quota"),
    Field("target_against", "metric", "quota that it is compared with"),
    Field("target", "metric", "quota in the scenario"),
    Field("mean_against", "metric", "mean of what it is compared with"),
    Field("mean", "metric", "mean in the scenario"),
    Field("diff", "metric", "mean of the differences, future by future"),
    Field("diff_se", "metric", "Monte Carlo standard error of diff"),
)
ODDS = (
    Field("p_against", "probability", "odds of the quota that it is compared with"),
    Field("p_attain", "probability", "odds of the quota in the scenario"),
    Field("p_diff", "ratio", "difference of the odds"),
    Field("p_diff_se", "ratio", "Monte Carlo standard error of p_diff"),
)


def fields(percents: Sequence[float]) -> tuple[Field, ...]:
    """Columns of the answer; quantiles are of the differences, not of the metric."""
    inner = tuple(Field(label(q), "metric", f"{q:g} % of the differences are at or below") for q in percents)
    return (*FIELDS, *inner, *ODDS)


@dataclass(frozen=True)
class _Pair:
    """Two simulations to be read side by side.

    ``whole`` is all that is known of the one compared with, where only some of its futures are paired: its
    means and odds are then those of all, and the scenario's are those plus the difference.
    """

    side: Side
    against: Side
    paths: Paths
    base: Paths
    cluster: Ints
    percents: Sequence[float]
    whole: Paths | None = None

    def row(self, scope: Scope, name: str, period: Period) -> dict[str, Any]:
        """Difference of a metric."""
        return self._row(scope, name, period, *self._values(scope, name, period))

    def _values(self, scope: Scope, name: str, period: Period) -> tuple[Any, Any]:
        which = metric(name)
        return series(self.paths, which, scope, period).total, series(self.base, which, scope, period).total

    def _all(self, scope: Scope, name: str, period: Period) -> Any:
        """All futures of the one compared with, as far as they are known."""
        return series(self.whole or self.base, metric(name), scope, period).total

    def _row(self, scope: Scope, name: str, period: Period, value: Any, base: Any) -> dict[str, Any]:
        gap = difference(value, base)
        mean, error = mean_error(gap, self.cluster)
        before, after = _mean(base), _mean(value)
        every = None if self.whole is None else _mean(self._all(scope, name, period))
        if every is not None and before is not None and after is not None:
            before, after = every, every + (after - before)
        return {
            "scope": scope.kind,
            "scope_id": scope.id,
            "scenario": self.side.name,
            "against": self.against.name,
            "metric": name,
            "period": period.label,
            "set": "",
            "mean_against": before,
            "mean": after,
            "diff": mean,
            "diff_se": error,
            **quantiles(gap[np.isfinite(gap)], self.percents),
        }

    def quota_row(self, quota: Quota, other: Quota | None, period: Period) -> dict[str, Any]:
        """Difference of the odds of a quota; of the quota's own where the other side states none."""
        which, base_target = metric(quota.metric), (other or quota).target
        value, base = self._values(quota.scope, quota.metric, period)
        reached, before = which.attains(value, quota.target), which.attains(base, base_target)
        diff, error = odds_difference(reached, before, self.cluster)
        p_before, p_after = float(before.mean()), float(reached.mean())
        if self.whole is not None:
            p_before = float(which.attains(self._all(quota.scope, quota.metric, period), base_target).mean())
            p_after = min(max(p_before + diff, 0.0), 1.0)
        return {
            **self._row(quota.scope, quota.metric, period, value, base),
            "set": quota.set,
            "target": quota.target,
            "target_against": base_target,
            "p_attain": p_after,
            "p_against": p_before,
            "p_diff": diff,
            "p_diff_se": error,
        }


def _mean(values: Any) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else None


def compare_answer(
    run: Run, options: Mapping[str, Any], fewer: Fewer | None = None
) -> tuple[Answer, tuple[str, ...]]:
    """Compare the plan, its scenarios and approved versions: those named in ``options["names"]``.

    Parameters
    ----------
    fewer : Fewer, optional
        All futures of the first side, and on how many of them the others are simulated: for a page. Without
        it, all sides are simulated with all futures.

    Raises
    ------
    PlanError
        With everything that is wrong with the names, the scenarios or what was asked for.
    """
    kind = check_by(options.get("by"))
    select_metrics(options.get("metric", ()))
    found, notes = sides(run, options.get("names", ()))
    names = _metrics(options.get("metric", ()), found)
    scopes = _known_scopes(found)
    select_scopes(scopes, options.get("scope", ()))
    fitted(found)
    periods = found[0].run.periods(kind) if kind else (run.plan.horizon_period,)
    quotas = {side.name: _quotas(side, scopes, options, kind) for side in found}
    judged = [q for chosen in quotas.values() for q in chosen]
    spans = {q.period: run.plan.calendar.parse(q.period) for q in judged}
    simulated = tuple(dict.fromkeys((*names, *(q.metric for q in judged), *net_metrics(found))))
    simulation = ((*periods, *spans.values(), *net_periods(found)), simulated)
    if fewer is not None and not _covers(fewer.whole, simulation[0]):
        fewer = None
    rows = list(_rows(found, quotas, names, periods, options, simulation, fewer))
    return _answer(found, rows, options, (*notes, *_said(found)), fewer)


def _covers(paths: Paths, periods: Sequence[Period]) -> bool:
    """Whether every period is a union of the steps that the futures are counted in."""
    wanted = Steps.covering(periods).edges
    return bool(np.isin(wanted, paths.steps.edges).all())


def _rows(
    found: Sequence[Side],
    quotas: Mapping[str, Sequence[Quota]],
    names: Sequence[str],
    periods: Sequence[Period],
    options: Mapping[str, Any],
    simulation: tuple[Sequence[Period], tuple[str, ...]],
    fewer: Fewer | None,
) -> Iterator[dict[str, Any]]:
    first = found[0]
    base = first.run.paths(*simulation) if fewer is None else fewer.base
    percents = options.get("quantiles", DEFAULT_QUANTILES)
    cluster = (
        clusters(base.draws, first.run.funnel.draws, first.run.leaning.futures)
        if fewer is None
        else fewer.cluster
    )
    chosen = select_scopes(_known_scopes(found), options.get("scope", ()))
    before = {(q.set, q.key): q for q in quotas[first.name]}
    for side in found[1:]:
        paths = (
            side.run.paths(*simulation)
            if fewer is None
            else fewer.changed(side.run, side.run.factored_drivers, *simulation)
        )
        pair = _Pair(side, first, paths, base, cluster, percents, fewer.whole if fewer else None)
        there = set(_known_scopes((first, side)))
        scopes = [scope for scope in chosen if scope in there]
        for period in periods:
            yield from (pair.row(scope, name, period) for name in names for scope in scopes)
        yield net_row((side, paths), (first, base), cluster, percents, pair.whole)
        for quota in quotas[side.name]:
            period = first.run.plan.calendar.parse(quota.period)
            yield pair.quota_row(quota, before.get((quota.set, quota.key)), period)


def _metrics(wanted: Sequence[str], found: Sequence[Side]) -> tuple[str, ...]:
    """Metrics asked for, or creations and outputs as far as every side can answer them."""
    if wanted:
        problems = []
        for side in found:
            try:
                select_metrics(wanted, side.run.able)
            except PlanError as error:
                problems += [f"{side.name}: {problem}" for problem in error.problems]
        if problems:
            raise PlanError(problems)
        return tuple(dict.fromkeys(wanted))
    outputs = [name for name, row in METRICS.items() if row.level == "output"]
    return tuple(n for n in (CREATED, *outputs) if not any(side.run.able.reason(n) for side in found))


def _known_scopes(found: Sequence[Side]) -> tuple[Scope, ...]:
    """Scopes of any side: company, teams, reps."""
    every = dict.fromkeys(scope for side in found for scope in side.run.scopes)
    order = {"company": 0, "team": 1, "rep": 2}
    return tuple(sorted(every, key=lambda scope: (order[scope.kind], scope.id)))


def _quotas(
    side: Side, known: Sequence[Scope], options: Mapping[str, Any], kind: str | None
) -> tuple[Quota, ...]:
    """Quotas to be compared: without ``--by`` those for the longest kind of period only."""
    calendar = side.run.plan.calendar
    scopes = set(select_scopes(known, options.get("scope", ())))
    kept = tuple(q for q in side.quotas if q.scope in scopes)
    chosen = select_quotas(kept, (), options.get("metric", ()), kind, calendar)
    if kind or not chosen:
        return chosen
    rank = {q.period: KINDS.index(calendar.parse(q.period).kind) for q in chosen}
    return tuple(q for q in chosen if rank[q.period] == max(rank.values()))


def _said(found: Sequence[Side]) -> tuple[str, ...]:
    """What must be said about the sides' plans."""
    return tuple(dict.fromkeys(note for side in found for note in side.run.plan_notes))


def _answer(
    found: Sequence[Side],
    rows: list[dict[str, Any]],
    options: Mapping[str, Any],
    notes: tuple[str, ...],
    fewer: Fewer | None,
) -> tuple[Answer, tuple[str, ...]]:
    columns = fields(options.get("quantiles", DEFAULT_QUANTILES))
    table = pd.DataFrame(rows, columns=[f.name for f in columns])
    run = found[0].run
    metrics = [str(name) for name in table["metric"].unique() if name != NET]
    summary = {
        "metric_units": {**units(metrics), NET: "money"},
        "against": found[0].name,
        "scenarios": [side.name for side in found[1:]],
        "plans": {side.name: side.run.plan.text_hash for side in found},
        "approved": {s.name: s.approved.facts() for s in found if s.approved},
        "net": net_costs(found, rows),
        "draws": run.plan.draws if fewer is None else fewer.draws,
        "without_effect": [] if fewer else _unmoved(found, metrics),
    }
    return Answer(
        "compare", table, columns, _words(table, found, fewer), summary, run.provenance(), "table"
    ), notes


def _unmoved(found: Sequence[Side], names: Sequence[str]) -> list[dict[str, Any]]:
    """The company's differences if activity causes no new business, where a side changes activity."""
    first, period = found[0], found[0].run.plan.horizon_period
    rows: list[dict[str, Any]] = []
    for side in found[1:]:
        if not (has_another(side.run) or has_another(first.run)):
            continue
        paths, base = (one.run.without_effect().paths([period], names) for one in (side, first))
        cluster = clusters(base.draws, first.run.funnel.draws, first.run.leaning.futures)
        pair = _Pair(side, first, paths, base, cluster, DEFAULT_QUANTILES)
        rows += [pair.row(Scope("company"), name, period) for name in names]
    return rows


def _words(table: pd.DataFrame, found: Sequence[Side], fewer: Fewer | None) -> str:
    whole = table[(table["scope"] == "company") & (table["set"] == "") & (table["metric"] == "bookings")]
    said = [_sentence(row) for row in whole.to_dict("records")[: len(found) - 1]]
    text = "; ".join(said) + "." if said else "Scenarios on the same futures."
    text += " Ranges are of the differences, future by future."
    if fewer is not None and not fewer.all:
        text += (
            f" {found[0].name.capitalize()} is told by all {fewer.whole.draws:,} futures, differences by the "
            f"same {fewer.draws:,} of them; quotacast compare takes all."
        )
    if any(has_another(side.run) for side in found):
        if fewer is not None:
            return text + (
                " What activity brings is an association: quotacast compare tells what is left if it "
                "causes nothing."
            )
        text += " Should activity cause no new business, summary.without_effect holds instead."
    return text


def _sentence(row: Mapping[Any, Any]) -> str:
    diff, against = row["diff"], f"in {row['period']} than {row['against']}"
    if not diff:
        return f"{row['scenario']}: exactly the same bookings as {row['against']}"
    more = "more" if diff > 0 else "less"
    error = money(row["diff_se"])
    return f"{row['scenario']}: {money(abs(diff))} {more} bookings {against} (simulation error {error})"
