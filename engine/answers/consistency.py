"""The same quota by quarter, month, week and day: misses from noise alone, and where skill still shows.

*Cut.* A quota for a period is shared among the pieces of it that are still to come, in proportion to what
the company is expected to reach in each (its simulated season: season, calendar, shocks known by now).

*Noise.* A rep (team, company) at par has a quota that is the median of the own total, cut by the own
expected course. Whatever such a rep misses, is missed by noise alone.

*Skill from luck.* Let S[d, r] be what rep r is worth in posterior draw d at equal conditions (persistent
effects only, mean 1 over reps), and A[d, r, p] the attainment in piece p against a quota that is fair: what
an average rep in r's place would be expected to reach, cut by r's own course. Then ::

    skill = mean over d of Var_r(S),   noise = mean over d, r and (by their shares) p of (A - S)^2
    reliability = skill / (skill + noise)

is the intraclass correlation of attainments of one piece (Shrout & Fleiss 1979, ICC(1,1),
doi:10.1037/0033-2909.86.2.420): the part of the spread of attainments that comes back in the next piece.
A kind of period *tells* skill from luck where it is at least `TELLS` = 1/2. For Poisson counts of mean m per
piece and skills of variance v it is v / (v + 1 / m). Pieces in which next to nothing is expected (under
`TINY` of an even share, such as Sundays) carry no quota.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.answer import Answer, Field
from quotacast.engine.metrics import metric, series, units
from quotacast.engine.paths import Paths
from quotacast.engine.quota import Quota, Scope
from quotacast.engine.reports.words import ratio
from quotacast.models.periods import KINDS, Calendar, Period
from quotacast.models.terms import Floats

TELLS = 0.5
#: A piece with less than this part of an even share carries no quota.
TINY = 0.1

FIELDS = (
    Field("scope", "text", "company, team or rep"),
    Field("scope_id", "text", "team or rep; empty for the company"),
    Field("set", "text", "candidate set of quotas"),
    Field("metric", "text", "what the quota is on"),
    Field("period", "text", "period of the quota that is cut"),
    Field("cut", "text", "into what it is cut: year, quarter, month, week or day"),
    Field("pieces", "count", "how many pieces are still to come and carry a quota"),
    Field("target", "metric", "quota of a median piece"),
    Field("missed", "count", "pieces that are missed on average"),
    Field("p_missed", "probability", "the same as a share of the pieces"),
    Field("missed_at_par", "count", "pieces missed from noise alone, were the quota the own median"),
    Field("p_missed_at_par", "probability", "the same as a share of the pieces"),
    Field("reliability", "ratio", "share of the spread of reps' attainments that is skill and not luck"),
)


@dataclass(frozen=True)
class Cut:
    """A period's pieces of one kind, and the company's share of each.

    Attributes
    ----------
    kind : str
    pieces : tuple of Period
        Those that are still to come, cut off at the period's ends.
    """

    kind: str
    pieces: tuple[Period, ...]


def cuts(period: Period, calendar: Calendar, as_of: date) -> tuple[Cut, ...]:
    """The period itself and its pieces of every finer kind, from the day after ``as_of``."""
    tomorrow = as_of + timedelta(days=1)
    finer = [k for k in reversed(KINDS) if KINDS.index(k) <= KINDS.index(period.kind)]
    out = []
    for kind in finer:
        found = (period,) if kind == period.kind else calendar.within(period, kind)
        trimmed = (
            Period(p.label, p.kind, max(p.first, period.first, tomorrow), min(p.last, period.last))
            for p in found
        )
        out.append(Cut(kind, tuple(p for p in trimmed if p.first <= p.last)))
    return tuple(out)


def consistency(
    paths: Paths,
    quotas: Sequence[Quota],
    calendar: Calendar,
    skill: Mapping[str, Mapping[str, Floats]],
    provenance: Mapping[str, Any],
) -> Answer:
    """Cut quotas into finer and finer pieces.

    Parameters
    ----------
    paths : Paths
        Must be cut at the edges of every piece.
    quotas : sequence of Quota
        On sums: a ratio such as a close rate is the same however short the period.
    skill : mapping of metric to (mapping of rep to ndarray of shape (draws,))
        What every rep is worth in the paths' draws; reps who are there from the first piece to the last.
        Metrics without it have no reliability.
    """
    told: dict[tuple[str, str, str], float | None] = {}
    season: dict[tuple[str, str, str], tuple[Any, Floats]] = {}
    rows = []
    for quota in quotas:
        period = calendar.parse(quota.period)
        for cut in cuts(period, calendar, paths.as_of):
            key = (quota.metric, period.label, cut.kind)
            if key not in told:
                told[key] = _reliability(paths, quota.metric, cut, skill.get(quota.metric, {}))
                whole = values_of(paths, quota.metric, Scope("company"), cut.pieces)
                season[key] = kept_shares(whole.mean(axis=0))
            rows.append(_row(paths, quota, period, cut, *season[key]) | {"reliability": told[key]})
    table = pd.DataFrame(rows, columns=[f.name for f in FIELDS])
    summary = {
        "metric_units": units(q.metric for q in quotas),
        "criterion": f"reliability at least {TELLS:g}",
        "weights": "the company's simulated season",
        "reliability": [
            {"metric": m, "period": p, "cut": k, "reliability": r} for (m, p, k), r in told.items()
        ],
        "finest": _finest(told),
    }
    return Answer("quotas-cut", table, FIELDS, _words(summary, told), summary, provenance, "table")


def values_of(paths: Paths, name: str, scope: Scope, pieces: Sequence[Period]) -> Floats:
    """A metric's simulated sums, shape (draws, pieces)."""
    which = metric(name)
    parts = [series(paths, which, scope, piece) for piece in pieces]
    return np.stack([np.asarray(p.total - p.certain) for p in parts], axis=1)


def kept_shares(expected: Floats) -> tuple[Any, Floats]:
    """Which pieces carry a quota, and their shares of it (sum 1); even shares where nothing is expected."""
    total = float(expected.sum())
    if total <= 0:
        return np.ones(expected.size, dtype=bool), np.full(expected.size, 1.0 / expected.size)
    kept = expected >= TINY * total / expected.size
    return kept, expected[kept] / expected[kept].sum()


def missed(values: Floats, targets: Floats) -> float:
    """Pieces missed on average.

    Parameters
    ----------
    values : ndarray, shape (draws, pieces)
    targets : ndarray, shape (pieces,)
    """
    return float((values < targets).sum(axis=1).mean())


def reliability(values: Floats, skill: Floats) -> float | None:
    """Share of skill in the variance of attainments of one piece.

    Parameters
    ----------
    values : ndarray, shape (draws, reps, pieces)
        What each rep reaches.
    skill : ndarray, shape (draws, reps)
        What each is worth; any common scale.

    Returns
    -------
    float or None
        None where fewer than two reps are expected to reach anything.
    """
    used = values.sum(axis=2).mean(axis=0) > 0
    if used.sum() < 2:
        return None
    values, skill = values[:, used], skill[:, used] / skill[:, used].mean(axis=1, keepdims=True)
    average = values.sum(axis=2).mean(axis=0) / skill.mean(axis=0)
    noise = []
    for r in range(skill.shape[1]):
        kept, share = kept_shares(values[:, r].mean(axis=0))
        attained = values[:, r][:, kept] / (average[r] * share)
        noise.append(float((((attained - skill[:, [r]]) ** 2) @ share).mean()))
    spread = float(skill.var(axis=1, ddof=1).mean())
    return spread / (spread + float(np.mean(noise)))


def _reliability(paths: Paths, name: str, cut: Cut, skill: Mapping[str, Floats]) -> float | None:
    if len(skill) < 2 or not cut.pieces:
        return None
    values = [values_of(paths, name, Scope("rep", rep), cut.pieces) for rep in skill]
    return reliability(np.stack(values, axis=1), np.stack(list(skill.values()), axis=1))


def _row(paths: Paths, quota: Quota, period: Period, cut: Cut, kept: Any, share: Floats) -> dict[str, Any]:
    own = values_of(paths, quota.metric, quota.scope, cut.pieces)
    targets = quota.target * _left(paths, quota, period) * share
    at_par, course = kept_shares(own.mean(axis=0))
    typical = float(np.median(own[:, at_par].sum(axis=1)))
    count, alone = int(kept.sum()), int(at_par.sum())
    falls, by_noise = missed(own[:, kept], targets), missed(own[:, at_par], typical * course)
    return {
        "scope": quota.scope.kind,
        "scope_id": quota.scope.id,
        "set": quota.set,
        "metric": quota.metric,
        "period": quota.period,
        "cut": cut.kind,
        "pieces": count,
        "target": float(np.median(targets)),
        "missed": falls,
        "p_missed": falls / count,
        "missed_at_par": by_noise,
        "p_missed_at_par": by_noise / alone,
    }


def _left(paths: Paths, quota: Quota, period: Period) -> float:
    """Part of the quota that falls to the days still to come, by the company's course."""
    found = series(paths, metric(quota.metric), Scope("company"), period)
    done = found.certain
    coming = float(found.total.mean()) - done
    return coming / (done + coming) if done + coming > 0 else 1.0


def _finest(told: Mapping[tuple[str, str, str], float | None]) -> list[dict[str, Any]]:
    """The finest kind of period per metric and period that tells skill from luck; None where none does."""
    best: dict[tuple[str, str], str | None] = {}
    for (name, period, kind), found in told.items():  # from coarse to fine
        best.setdefault((name, period), None)
        if found is not None and found >= TELLS:
            best[name, period] = kind
    return [{"metric": m, "period": p, "cut": k} for (m, p), k in best.items()]


def _words(summary: Mapping[str, Any], told: Mapping[tuple[str, str, str], float | None]) -> str:
    """One sentence per metric and verdict; periods of a kind with the same verdict stand together."""
    groups: dict[tuple[str, str | None], list[str]] = {}
    for found in summary["finest"]:
        groups.setdefault((found["metric"], found["cut"]), []).append(found["period"])
    said = [_verdict(name, kind, periods, told) for (name, kind), periods in groups.items()]
    rule = "At least half of the spread has to be skill. Cut by the company's simulated season."
    return " ".join([*said, rule]) if said else "No quota on a sum to cut."


def _verdict(
    name: str, kind: str | None, periods: list[str], told: Mapping[tuple[str, str, str], float | None]
) -> str:
    which = periods[0] if len(periods) == 1 else f"{periods[0]} to {periods[-1]}"
    parts: dict[str, list[float]] = {}
    for (metric_name, period, cut), found in told.items():
        if metric_name == name and period in periods and found is not None:
            parts.setdefault(cut, []).append(found)
    if not parts:
        return f"{name} {which}: too few reps to tell skill from luck."
    steps = ", ".join(f"{cut} {_share(float(np.mean(found)))}" for cut, found in parts.items())
    verdict = (
        f"a {kind} is the finest period in which a quota tells skill from luck"
        if kind
        else "no period is long enough for a quota to tell skill from luck"
    )
    return f"{name} {which}: {verdict} (share of skill in the spread: {steps})."


def _share(x: float) -> str:
    """In percent, with a decimal where whole ones would hide on which side of the bound it lies."""
    return f"{100 * x:.1f}%" if abs(x - TELLS) < 0.005 else ratio(x)
