"""Where top-down meets bottom-up: a company target against what the futures hold, and its split.

Two things decide whether a target T is attainable with the wished odds, and neither depends on the split:

- the company's odds P(company >= T), wished x: no split changes them, as what is sold does not depend on
  quotas;
- the quotas at which every rep has odds of y: where they add up to less than T, under *any* split of T some
  rep's odds are below y, since a split that gave all of them y or more would have smaller quotas, and a
  smaller sum. The best that all can have is the common odds at which the quotas add up to T.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.answer import Answer, Field
from quotacast.engine.answers.cushion import Cushion, cushion_facts
from quotacast.engine.answers.quotasheet import Wished
from quotacast.engine.answers.together import shortfall
from quotacast.engine.assign import (
    NO_LAYERS,
    Layers,
    Pinned,
    Seats,
    Split,
    assign,
    keep_odds,
    split_evenly_in_odds,
    unrounded,
)
from quotacast.engine.metrics import Metric, series, units
from quotacast.engine.paths import Paths
from quotacast.engine.quota import Quota, Scope
from quotacast.engine.reports.words import money, number, odds_words, percent
from quotacast.engine.sharing import Floats, Grain, Ints, best, in_order, largest_remainder
from quotacast.models.periods import Period

COMPANY = Scope("company")


FIELDS = (
    Field("scope", "text", "company, team or rep"),
    Field("scope_id", "text", "team or rep; empty for the company"),
    Field("set", "text", "name of this set of quotas: how the target is split"),
    Field("metric", "text", "what the target is on"),
    Field("period", "text", "period of the target"),
    Field("target", "metric", "the target, and what falls to teams and reps"),
    Field("p_attain", "probability", "share of futures that reach it"),
    Field("p50", "metric", "half of the futures are at or below"),
    Field("gap_p50", "metric", "target less p50: what the middle future is short of it"),
    Field("wished", "probability", "wished odds"),
    Field("at_wished", "metric", "the highest target with the wished odds"),
    Field("gap_wished", "metric", "target less that"),
    Field("shortfall", "metric", "expected cost of a miss: mean of what is short, 0 where reached"),
    Field("basis", "text", "where the quota comes from"),
    Field("definition", "text", "what is counted"),
)


@dataclass(frozen=True)
class Demand:
    """What is to be reached, and how it is handed down.

    Attributes
    ----------
    metric : Metric
    period : Period
    target : float
    split : Split
    named : str
        Name of the split.
    pinned : Pinned
    wished : Wished
    grain : Grain
    layers : Layers
    """

    metric: Metric
    period: Period
    target: float
    split: Split
    named: str
    pinned: Pinned
    wished: Wished
    grain: Grain
    layers: Layers = NO_LAYERS


def reconcile(paths: Paths, who: Seats, ask: Demand, provenance: Mapping[str, Any]) -> Answer:
    """A company target against what is to be expected, split to teams and reps.

    Raises
    ------
    PlanError
        Where pins and target contradict each other.
    """
    reps = assign(who, ask.split, ask.pinned, ask.target, ask.grain, ask.layers)
    targets = _targets(who, ask, reps)
    rows = pd.DataFrame([_row(paths, ask, scope, target) for scope, target in targets.items()],
                        columns=[f.name for f in FIELDS])  # fmt: skip
    company = series(paths, ask.metric, COMPANY, ask.period).total
    facts = _facts(paths, who, ask, company)
    summary = {
        "metric_units": units([ask.metric.name]),
        "teams": dict(zip(paths.reps, paths.teams, strict=True)),
        "split": ask.named,
        **facts,
        "cushion": _cushion(who, ask, company),
    }
    words = f"{_gap_words(facts, ask)} {facts['verdict']}"
    return Answer("reconcile", rows, FIELDS, words, summary, provenance, "frontier")


def _targets(who: Seats, ask: Demand, reps: Ints) -> dict[Scope, float]:
    """Targets of the company, teams and reps; those with nothing left have no quota."""
    scale = ask.grain.scale
    sums = np.array([int(reps[who.of_team(team)].sum()) for team in who.team_names], dtype=np.int64)
    if ask.layers.reps:
        sums = largest_remainder(sums.astype(float), ask.grain.whole(ask.target * (1 + ask.layers.teams)))
    out = {COMPANY: ask.target}
    for team, whole in zip(who.team_names, sums, strict=True):
        stated = ask.pinned.target(Scope("team", team))
        out[Scope("team", team)] = int(whole) / scale if stated is None else stated
    out |= {Scope("rep", rep): int(n) / scale for rep, n in zip(who.reps, reps, strict=True)}
    return {scope: target for scope, target in out.items() if target > 0}


def as_quotas(answer: Answer) -> list[Quota]:
    """The rows as quotas."""
    return [
        Quota(Scope(r["scope"], r["scope_id"]), r["metric"], r["period"], r["target"], r["set"])
        for r in answer.rows.to_dict("records")
    ]


def _row(paths: Paths, ask: Demand, scope: Scope, target: float) -> dict[str, Any]:
    values = series(paths, ask.metric, scope, ask.period).total
    wished = ask.wished.of(scope.kind)
    middle, at_wished = float(np.median(values)), float(best(in_order(values, "up"), wished))
    pin = ask.pinned.by_scope.get(scope)
    over = f" less {ask.layers.reps:.0%} on top" if ask.layers.reps else ""
    handed = {"company": "the target", "team": f"sum of reps{over}", "rep": ask.named}[scope.kind]
    return {
        "scope": scope.kind,
        "scope_id": scope.id,
        "set": ask.named,
        "metric": ask.metric.name,
        "period": ask.period.label,
        "target": target,
        "p_attain": float(ask.metric.attains(values, target).mean()),
        "p50": middle,
        "gap_p50": target - middle,
        "wished": wished,
        "at_wished": at_wished,
        "gap_wished": target - at_wished,
        "shortfall": shortfall(values, target, ask.metric),
        "basis": f"kept: {pin.place}" if pin else handed,
        "definition": ask.metric.definition,
    }


def _facts(paths: Paths, who: Seats, ask: Demand, company: Floats) -> dict[str, Any]:
    low, middle, high = (float(x) for x in np.quantile(company, [0.1, 0.5, 0.9]))
    safe = float(best(in_order(company, "up"), ask.wished.company))
    odds = float((company >= ask.target).mean())
    facts = {
        "target": ask.target,
        "p_target": odds,
        "p10": low,
        "p50": middle,
        "p90": high,
        "gap_p50": ask.target - middle,
        "wished": vars(ask.wished),
        "at_wished": safe,
        "gap_wished": ask.target - safe,
        "levels": _levels(paths, who, ask, safe),
    }
    return facts | _verdict(who, ask, facts)


def _levels(paths: Paths, who: Seats, ask: Demand, safe: float) -> list[dict[str, Any]]:
    """What each level can promise with its wished odds, and how far it is over the company's number."""
    teams = [
        best(in_order(series(paths, ask.metric, Scope("team", t), ask.period).total, "up"), ask.wished.team)
        for t in who.team_names
    ]
    sums = {
        "company": (1, safe, ask.wished.company),
        "team": (len(teams), float(sum(teams)), ask.wished.team),
        "rep": (len(who.reps), float(keep_odds(who, ask.wished.rep).sum()), ask.wished.rep),
    }
    return [
        {
            "level": level,
            "units": count,
            "odds": odds,
            "sum": total,
            "over_company": total / safe - 1.0 if safe > 0 else None,
        }
        for level, (count, total, odds) in sums.items()
    ]


def _verdict(who: Seats, ask: Demand, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Whether any split makes the target attainable, and what stands against it."""
    show = money if ask.metric.unit == "money" else number
    fair = unrounded(who, split_evenly_in_odds(who), ask.pinned, ask.target)
    free = [i for i, rep in enumerate(who.reps) if ask.pinned.target(Scope("rep", rep)) is None]
    odds = (who.values >= fair[:, None] - 1e-9).mean(axis=1)
    common = float(odds[free].min()) if free else float(odds.min())
    alone = keep_odds(who, ask.wished.rep)
    total = float(sum(ask.pinned.target(Scope("rep", r)) or x for r, x in zip(who.reps, alone, strict=True)))
    against = []
    if facts["p_target"] < ask.wished.company:
        against.append(
            f"the company reaches it with {percent(facts['p_target'])} whoever has which quota, "
            f"wished {percent(ask.wished.company)}"
        )
    if common < ask.wished.rep:
        kept = " beside the quotas that are kept" if len(free) < len(who.reps) else ""
        against.append(
            f"quotas at which every rep has {percent(ask.wished.rep)} add up to {show(total)}: under any "
            f"split some rep has less, and at best all have {percent(common)}{kept}"
        )
    text = (
        f"No split makes it attainable: {'; '.join(against)}."
        if against
        else f"Attainable: at equal odds every rep has {percent(common)}{_as_wished(ask)}."
    )
    return {"attainable": not against, "common_odds": common, "verdict": text}


def _as_wished(ask: Demand) -> str:
    return f", wished {percent(ask.wished.rep)}"


def _gap_words(facts: Mapping[str, Any], ask: Demand) -> str:
    show = money if ask.metric.unit == "money" else number
    odds = odds_words(facts["p_target"])
    return (
        f"{ask.metric.name} of {show(ask.target)} in {ask.period.label}: {odds} "
        f"({percent(facts['p_target'])}). "
        f"{_apart(facts['gap_p50'], show)} the middle of the futures, {show(facts['p50'])}; "
        f"{_apart(facts['gap_wished'], show)} {show(facts['at_wished'])}, which holds with "
        f"{percent(ask.wished.company)}."
    )


def _apart(gap: float, show: Any) -> str:
    return f"{show(abs(gap))} {'above' if gap >= 0 else 'below'}"


def _cushion(who: Seats, ask: Demand, company: Floats) -> dict[str, Any]:
    cushion = Cushion(
        who,
        company,
        ask.target,
        lambda total: unrounded(who, ask.split, ask.pinned, total),
        ask.wished.company,
        ask.wished.rep,
    )
    return cushion_facts(cushion, ask.metric.unit)


def levels_words(levels: Sequence[Mapping[str, Any]], show: Any = money) -> list[str]:
    """What each level can promise: ``3 teams 10.4M at 60% each``."""
    said = []
    for one in levels:
        each = "" if one["level"] == "company" else " each"
        name = "company" if one["level"] == "company" else f"{one['units']} {one['level']}s"
        told = one["level"] != "company" and one["over_company"] is not None
        over = f" ({one['over_company']:+.0%})" if told else ""
        said.append(f"{name} {show(one['sum'])} at {percent(one['odds'])}{each}{over}")
    return said
