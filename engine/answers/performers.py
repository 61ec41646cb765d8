"""Who sells more at equal conditions, how surely, and how much of the spread is luck.

Ranks come from posterior draws of what a rep is worth (:mod:`quotacast.engine.skills`): partially pooled, at
equal segment mix, without the luck of the years seen or to come. A metric is ranked only where the data tell
reps apart (:mod:`quotacast.engine.answers.performers_spread`): where they surely differ by more than
practically nothing, and the ranking is reliable. Its reliability, over reps and draws of log skill, is ::

    reliability = Var(posterior means) / mean Var(skills in a draw)

the share of the true differences that the ranking knows. It has to reach `RELIABLE` = 1/2: for Normal
effects two reps then stand in the right order with probability 1/2 + asin(sqrt(1/2)) / pi = 3/4. Below,
the order is mostly noise and is not given.

Margins have no rep effect in the forecast; they are compared by a model of their own
(:mod:`quotacast.models.repmargins`), fitted here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.answer import Answer, Field
from quotacast.engine.answers.performers_spread import MARGIN, apart, halves, team_spread
from quotacast.engine.answers.performers_summary import (
    changes_summary,
    performer_words,
    spread_summary,
    top_summary,
)
from quotacast.engine.answers.quantiles import DEFAULT_QUANTILES, label, quantiles
from quotacast.engine.skills import SKILLS, Ints, fitted_quarters, months_at_work, skills, some_rows
from quotacast.engine.spread import LEAST_MONTHS, spread_of_results
from quotacast.engine.steadiness import Steadiness, steadiness
from quotacast.models.funnel import Funnel
from quotacast.models.history.history import History
from quotacast.models.people import creators
from quotacast.models.repmargins import rep_margins
from quotacast.models.terms import Floats
from quotacast.models.timegrid import day_number

#: Posterior draws from which the parts of the spread are told.
SPREAD_DRAWS = 400
#: With fewer reps there is no top quarter to learn from.
LEAST_REPS = 4
#: Units of the metrics of this answer; rates per working month keep the unit of what they count.
UNITS: Mapping[str, str] = {
    "bookings": "money",
    "opportunities_created": "count",
    "close_rate": "ratio",
    "cycle_days": "days",
    "lead_close_rate": "ratio",
    "deal_value": "money",
    "margin": "ratio",
    "unevenness": "ratio",
    "unevenness_floor": "ratio",
    "prospecting_share": "ratio",
}
DOWN = ("cycle_days",)
#: Skills that follow from others and are not compared.
UNRANKED = ("deals_won",)
FIELDS = (
    Field("scope", "text", "always rep"),
    Field("scope_id", "text", "the rep"),
    Field(
        "metric",
        "text",
        "what is compared; bookings, opportunities_created and activities are per working month",
    ),
    Field("period", "text", "days of the history, or fiscal quarter"),
    Field("actual", "metric", "what was, unadjusted; missing where there was nothing to count"),
    Field("mean", "metric", "at equal conditions, after partial pooling; missing where there is no model"),
)
TAIL = (
    Field("rank", "count", "place by the mean, 1 is best; missing where the data tell no reps apart"),
    Field("rank_low", "count", "best place that is likely (the lowest of the quantiles)"),
    Field("rank_high", "count", "worst place that is likely (the highest of the quantiles)"),
    Field("p_top", "probability", "probability of being in the top quarter of the ranked reps"),
    Field("reliability", "ratio", "share of the true differences between reps that the ranking knows"),
)


def performers(
    funnel: Funnel,
    history: History,
    provenance: Mapping[str, Any],
    *,
    by_quarter: bool = False,
    percents: Sequence[float] = DEFAULT_QUANTILES,
) -> Answer:
    """Compare reps at equal conditions.

    Ranked are reps at work on the as-of date with `LEAST_MONTHS` of history.

    Parameters
    ----------
    by_quarter : bool
        For every fiscal quarter of the history instead of all of it.
    percents : sequence of float
        Quantiles to report, percent; the outer ones bound the ranks too.
    """
    rows, ranked = some_rows(funnel), ranked_reps(funnel)
    whole = skills(funnel, rows)
    margin = _margins(funnel, history, rows)
    spans: list[int | None] = [*fitted_quarters(funnel.prepared.grid)] if by_quarter else [None]
    table: list[dict[str, Any]] = []
    found = whole
    for quarter in spans:
        found = {**whole, **margin} if quarter is None else skills(funnel, rows, quarter)
        table += _rows(funnel, history, found, ranked, quarter, percents)
    steady = steadiness(history, funnel.prepared)
    if not by_quarter:
        table += _steady_rows(steady, _span(funnel))
    fields = (*FIELDS, *_quantile_fields(percents), *TAIL)
    frame = pd.DataFrame(table, columns=[f.name for f in fields])
    names = [funnel.prepared.people.reps[r] for r in ranked]
    every = {**whole, **margin}
    judged = {m: apart(m, v[:, ranked]) for m, v in every.items() if m in (*SKILLS, MARGIN)}
    no_effect = [m for m, one in judged.items() if not one.told]
    summary: dict[str, Any] = {
        "metric_units": {m: UNITS.get(m, "count") for m in dict.fromkeys(frame["metric"])},
        "by_quarter": by_quarter,
        "ranked": names,
        "left_out": [r for r in funnel.prepared.people.reps if r not in names],
        "reliability": {m: one.reliability for m, one in judged.items()},
        "between_reps": {m: one.plain for m, one in judged.items()},
        "between_teams": team_spread(funnel, rows),
        "halves": _halves(funnel, history, ranked),
        "no_rep_effect": no_effect,
        "margin": bool(margin),
        "spread": _spread(funnel, history),
        "top": {} if "bookings" in no_effect else _top(every, ranked, names),
        "steadiness": [{**vars(s), "even": s.even} for s in steady],
        "changed": _changed(funnel, whole, found, ranked, names) if by_quarter else [],
    }
    return Answer("performers", frame, fields, performer_words(summary), summary, provenance, "table")


def _margins(funnel: Funnel, history: History, rows: Ints) -> dict[str, Floats]:
    """Draws of reps' margins; none where they are not known."""
    prepared = funnel.prepared
    found = rep_margins(history, prepared.people, prepared.segment, rows.size, funnel.draws)
    return {} if found is None else {MARGIN: found}


def _halves(funnel: Funnel, history: History, ranked: Ints) -> dict[str, float]:
    """Correlation of raw results between the halves of the history, by metric."""
    quarters = fitted_quarters(funnel.prepared.grid)
    worked = [months_at_work(funnel, q)[ranked] for q in quarters]
    actual = [
        {
            m: np.where(months > 0, v[ranked], np.nan)
            for m, v in actual_results(funnel, history, q).items()
            if m in SKILLS
        }
        for q, months in zip(quarters, worked, strict=True)
    ]
    return halves(actual, SKILLS)


def _spread(funnel: Funnel, history: History) -> dict[str, Any]:
    months = months_at_work(funnel)
    shares = spread_of_results(funnel, history, some_rows(funnel, SPREAD_DRAWS))
    return spread_summary(shares, months[months >= LEAST_MONTHS])


def _top(whole: Mapping[str, Floats], ranked: Ints, names: Sequence[str]) -> dict[str, Any]:
    if len(names) < LEAST_REPS:
        return {}
    order = np.argsort(-whole["bookings"][:, ranked].mean(axis=0), kind="stable")
    best, rest = np.split(order, [top_size(order.size)])
    return top_summary({m: v[:, ranked] for m, v in whole.items()}, best, rest, [names[k] for k in best])


def _changed(
    funnel: Funnel,
    whole: Mapping[str, Floats],
    latest: Mapping[str, Floats],
    ranked: Ints,
    names: Sequence[str],
) -> list[dict[str, Any]]:
    grid = funnel.prepared.grid
    period = grid.calendar.quarter_label(fitted_quarters(grid)[-1])
    return changes_summary(whole["bookings"][:, ranked], latest["bookings"][:, ranked], names, period)


def _quantile_fields(percents: Sequence[float]) -> tuple[Field, ...]:
    return tuple(
        Field(label(q), "metric", f"{q:g} % of the posterior draws are at or below") for q in percents
    )


def ranked_reps(funnel: Funnel) -> Ints:
    """Reps at work on the as-of date whose history is long enough."""
    people, last = funnel.prepared.people, funnel.prepared.grid.last
    return np.flatnonzero((months_at_work(funnel) >= LEAST_MONTHS) & (people.stop >= last))


def ranks(values: Floats, *, down: bool = False) -> Ints:
    """Places within every draw, 1 for the largest (for the least where ``down``), shape as ``values``."""
    order = np.argsort(values if down else -values, axis=1, kind="stable")
    out = np.empty(values.shape, dtype=np.int64)
    np.put_along_axis(out, order, np.arange(1, values.shape[1] + 1)[None, :], axis=1)
    return out


def top_size(reps: int) -> int:
    """How many reps make the top quarter."""
    return max(1, round(reps / 4))


def _rows(
    funnel: Funnel,
    history: History,
    found: Mapping[str, Floats],
    ranked: Ints,
    quarter: int | None,
    percents: Sequence[float],
) -> list[dict[str, Any]]:
    period = _span(funnel) if quarter is None else funnel.prepared.grid.calendar.quarter_label(quarter)
    actual = actual_results(funnel, history, quarter)
    months = months_at_work(funnel, quarter)[ranked]
    out = []
    none = np.full(len(funnel.prepared.people.reps), np.nan)
    names = [n for n in dict.fromkeys((*SKILLS, *found, *actual)) if n not in UNRANKED]
    for name in names:
        values = found[name][:, ranked] if name in found else None
        told = _told(name, values, percents)
        for k, r in enumerate(ranked):
            if months[k] > 0:
                out.append(
                    {
                        "scope": "rep",
                        "scope_id": funnel.prepared.people.reps[r],
                        "metric": name,
                        "period": period,
                        "actual": actual.get(name, none)[r],
                        **(told[k] if told else {}),
                    }
                )
    return out


def _told(name: str, values: Floats | None, percents: Sequence[float]) -> list[dict[str, Any]]:
    """Columns of every rep from draws of shape (draws, reps)."""
    if values is None:
        return []
    judged, place = apart(name, values), ranks(values, down=name in DOWN)
    mean = ranks(values.mean(axis=0)[None, :], down=name in DOWN)[0]
    out = []
    for k in range(values.shape[1]):
        row = {
            "mean": float(values[:, k].mean()),
            **quantiles(values[:, k], percents),
            "reliability": judged.reliability,
        }
        if judged.told:
            outer = np.asarray([min(percents), max(percents)]) / 100
            low, high = np.quantile(place[:, k], outer, method="inverted_cdf")
            row |= {"rank": int(mean[k]), "rank_low": int(low), "rank_high": int(high)}
            row["p_top"] = float((place[:, k] <= top_size(values.shape[1])).mean())
        out.append(row)
    return out


def actual_results(funnel: Funnel, history: History, quarter: int | None = None) -> dict[str, Floats]:
    """What every rep did in the history, or in one of its quarters: shape (reps,), NaN where undefined."""
    prepared, index = funnel.prepared, funnel.prepared.people.index()
    deals = history.opportunities
    worked = months_at_work(funnel, quarter)

    def total(rep: Any, day: Any, keep: Any, weight: Any) -> Floats:
        number = day_number(day)
        known = keep & (number >= prepared.grid.first) & pd.Series(rep).isin(index.keys()).to_numpy()
        if quarter is not None:
            known[known] = (
                prepared.grid.calendar.quarter_index(number[known].astype("datetime64[D]")) == quarter
            )
        code = np.array([index[r] for r in np.asarray(rep, dtype=object)[known]], dtype=np.int64)
        return np.bincount(code, np.asarray(weight, dtype=float)[known], minlength=len(index)).astype(float)

    one, owner = np.ones(len(deals)), deals["rep_id"].to_numpy(dtype=object)
    won, lost = ((deals["status"] == state).to_numpy() for state in ("won", "lost"))
    age = (deals["closed_on"] - deals["created_on"]).dt.days.fillna(0).to_numpy()
    made = total(creators(history), deals["created_on"], one > 0, one)
    wins, losses = (total(owner, deals["closed_on"], kept, one) for kept in (won, lost))
    money = total(owner, deals["closed_on"], won, deals["amount"].fillna(0.0))
    days = total(owner, deals["closed_on"], won, age)
    with np.errstate(divide="ignore", invalid="ignore"):
        out = {
            "bookings": money / worked,
            "opportunities_created": made / worked,
            "close_rate": wins / (wins + losses),
            "cycle_days": days / wins,
            "deal_value": money / wins,
        }
        acts = history.activities
        for kind in sorted(acts["kind"].dropna().unique()):
            chosen = (acts["kind"] == kind).to_numpy()
            number = total(
                acts["rep_id"].to_numpy(dtype=object), acts["done_on"], chosen, acts["count"].fillna(1)
            )
            out[f"activity:{kind}"] = number / worked
    return {name: np.where(np.isfinite(v), v, np.nan) for name, v in out.items()}


def _steady_rows(steady: Sequence[Steadiness], period: str) -> list[dict[str, Any]]:
    told = ("unevenness", "unevenness"), ("unevenness_floor", "floor"), ("prospecting_share", "prospecting")
    return [
        {"scope": "rep", "scope_id": s.rep, "metric": name, "period": period, "actual": getattr(s, key)}
        for name, key in told
        for s in steady
    ]


def _span(funnel: Funnel) -> str:
    first = np.datetime64(funnel.prepared.grid.first, "D")
    return f"{first}/{funnel.prepared.as_of.isoformat()}"
