"""Recovery: do the models' intervals hold the true parameters of companies drawn from the models' priors?

Every company has six reps in two teams (one hired during the records), leads, activities that drive both
leads and opportunities, and two years of records. Its truth comes from ``draw_truth(leads=True)`` of
``engine.worlds``; the levels of all rates drift from quarter to quarter with the declared scale. All models
of the chain are fitted by the fast method, and for every true parameter the share of posterior draws below it
is kept: 90 % intervals hold those between .05 and .95. Companies are kept by their data alone, which leaves
coverage as it is.

Run from the project's root; a stopped run goes on where it was::

    python benchmarks/recovery.py --worlds 50

What has no counterpart is left out: the models' interaction of age and position and their effect of the
amount (zero in these companies), bands of age that straddle two of the truth's, the residuals of values (a
company's quotes are a mixture, the model's are one Normal), and kinds of activity that deals bring about as
well (the models count them all, the truth has no parameter for those).
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

if __name__ == "__main__":  # tests import this file, and their threads are counted already
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(_name, "1")

import numpy as np
import pandas as pd
from calibration_store import RESULTS, load, save, write
from calibration_worlds import canonical

from quotacast.engine.worlds_clock import Clock, make_clock
from quotacast.engine.worlds_draw import draw_truth
from quotacast.engine.worlds_records import Records, simulate
from quotacast.engine.worlds_tables import STAGE_ACTIVITY, tables
from quotacast.engine.worlds_truth import (
    AGE_BANDS,
    KINDS,
    LEAD_BANDS,
    SEGMENTS,
    Cause,
    Creation,
    WorldSpec,
)
from quotacast.errors import FitError
from quotacast.models.funnel import Prepared, prepare
from quotacast.models.history import schema
from quotacast.models.history.history import REJECTED, History, missing
from quotacast.models.laplace import fit_laplace
from quotacast.models.periods import Calendar
from quotacast.models.terms import Posterior

FIRST, LAST = date(2024, 1, 1), date(2025, 12, 31)
TEAMS, REPS = (("north", 3), ("south", 3)), 6
HIRED = ((2, date(2025, 3, 3)),)
#: Companies are kept whose records hold so many opportunities and leads, and at least so many wins.
DEALS, LEADS, WINS = (100, 3_000), (100, 6_000), 20
DRIFT = 0.07
DRAWS = 1000
LOW, HIGH = 0.05, 0.95
#: Bounds on the pooled share of true parameters in their 90 % intervals.
WANTED = (0.87, 0.93)

Pair = tuple[str, np.ndarray, np.ndarray]


def specification(number: int, attempt: int) -> WorldSpec:
    """The company of a number."""
    rng = np.random.default_rng([number, attempt, 7])
    truth = draw_truth(rng, REPS, len(TEAMS), leads=True)
    seed = int(rng.integers(2**31))
    return WorldSpec(REPS, TEAMS, FIRST, LAST, seed, truth, hired=HIRED)


def drifting(spec: WorldSpec) -> tuple[WorldSpec, dict[str, np.ndarray]]:
    """Give every rate a level that drifts: the specification, and the levels by day.

    The records add a level to arrays over days, so that it may be one.
    """
    clock, rng = make_clock(spec), np.random.default_rng([spec.seed, 1])
    truth, leads = spec.truth, spec.truth.leads
    assert leads is not None
    rates = {"created": truth.creation, "won": truth.win, "lost": truth.loss, "leads": leads.arrival}
    rates |= {"converted": leads.convert, "disqualified": leads.disqualify}
    paths, moved = {}, {}
    for name, rate in rates.items():
        sd = abs(float(rng.normal(0.0, DRIFT)))
        walk = sd * np.cumsum(rng.standard_normal(int(clock.quarter[-1]) + 1))
        paths[name] = rate.level + walk[clock.quarter]
        moved[name] = dataclasses.replace(rate, level=paths[name])
    changed = dataclasses.replace(
        leads, arrival=moved["leads"], convert=moved["converted"], disqualify=moved["disqualified"]
    )
    truth = dataclasses.replace(
        truth, creation=moved["created"], win=moved["won"], loss=moved["lost"], leads=changed
    )
    return dataclasses.replace(spec, truth=truth), paths


def history(spec: WorldSpec, records: Records) -> History:
    """What the export tells on the evening of the last day."""
    rows = tables(spec, records, records.clock.last)
    full = {name: missing(name) for name in schema.TABLES}
    full |= {name: canonical(name, frame) for name, frame in rows.items() if name != "invoices"}
    return History(full, LAST, "EUR", (), pd.DataFrame(columns=list(REJECTED)))


def accepted(number: int) -> tuple[WorldSpec, dict[str, np.ndarray], Records, int]:
    """The first company of a number whose records are of a workable size."""
    attempt = 0
    while True:
        spec, paths = drifting(specification(number, attempt))
        records = simulate(spec)
        deals, leads, last = records.deals, records.leads, records.clock.last
        created = int((deals.created <= last).sum())
        arrived = int((leads.created <= last).sum())
        wins = int(((deals.closed <= last) & (deals.cause == 1)).sum())
        if DEALS[0] <= created <= DEALS[1] and LEADS[0] <= arrived <= LEADS[1] and wins >= WINS:
            return spec, paths, records, attempt
        attempt += 1


def one(number: int, models: Sequence[str] = (), draws: int = DRAWS) -> dict[str, Any]:
    """Fit a company and find every true parameter among its posterior draws.

    Parameters
    ----------
    models : sequence of str
        Only these; all where there are none.

    Returns
    -------
    dict
        ``pit``: by ``model/term`` the shares of draws below the true values; ``khat`` by model.
    """
    spec, paths, records, refused = accepted(number)
    prepared = prepare(history(spec, records), Calendar())
    pits: dict[str, list[float]] = {}
    khat: dict[str, float] = {}
    for name, (declaration, cells) in prepared.declared().items():
        if models and name not in models:
            continue
        try:
            posterior = fit_laplace(declaration, cells, draws=draws, seed=number + 1)
        except FitError:
            khat[name] = 99.0
            continue
        khat[name] = round(float(posterior.diagnostics["khat"]), 3)
        for term, true, drawn in compare(name, spec, paths, records, prepared, posterior):
            pits[f"{name}/{term}"] = [round(float(p), 4) for p in shares_below(true, drawn)]
    return {"pit": pits, "khat": khat, "refused": refused, "deals": int(prepared.deals.start.size)}


def shares_below(true: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Share of draws, shape (draws, n), below each of n true values; ties count half."""
    true = np.asarray(true, dtype=float)
    return np.asarray((drawn < true).mean(axis=0) + 0.5 * (drawn == true).mean(axis=0))


def compare(
    name: str,
    spec: WorldSpec,
    paths: Mapping[str, np.ndarray],
    records: Records,
    prepared: Prepared,
    posterior: Posterior,
) -> Iterator[Pair]:
    """Every true parameter of a model with its draws: (what, (n,), (draws, n))."""
    truth, leads = spec.truth, spec.truth.leads
    assert leads is not None
    activity = truth.activity
    if name == "created":
        yield from _counted(truth.creation, activity.beta, activity.between, posterior, prepared)
    elif name == "leads":
        yield from _counted(leads.arrival, leads.beta, leads.between, posterior, prepared)
    elif name == "value":
        yield from _valued(spec, posterior, prepared)
    elif name.startswith("activity:"):
        kind = name.removeprefix("activity:")
        if kind not in STAGE_ACTIVITY:
            yield from _done(spec, KINDS.index(kind), posterior)
    elif name in ("won", "lost", "converted", "disqualified"):  # made-up stages and invoices have no truth
        causes = {"won": truth.win, "lost": truth.loss}
        causes |= {"converted": leads.convert, "disqualified": leads.disqualify}
        bands = AGE_BANDS if name in ("won", "lost") else LEAD_BANDS
        hazards = prepared.hazards if name in ("won", "lost") else prepared.chain.lead_hazards
        assert hazards is not None
        ages = level_by_age(causes[name], _mean(paths[name], records.clock), bands, hazards.age_edges)
        yield from _hazard(causes[name], ages, posterior, prepared)
    streams = {"created": "creation", "won": "win", "lost": "loss", "leads": "lead"}
    streams |= {"converted": "convert", "disqualified": "disqualify"}
    if name in streams:
        yield from _shocks(records, streams[name], posterior)


def _mean(path: np.ndarray, clock: Clock) -> float:
    """Mean over quarters of the records of a level that is constant within a quarter."""
    quarter = clock.quarter[clock.first : clock.last + 1]
    first = np.unique(quarter, return_index=True)[1]
    return float(path[clock.first + first].mean())


def _hyper(posterior: Posterior, true: Mapping[str, float]) -> Iterator[Pair]:
    for name, value in true.items():
        yield name, np.array([value]), posterior.hyper[name][:, None]


def _effects(posterior: Posterior, true: Mapping[str, Any]) -> Iterator[Pair]:
    for name, values in true.items():
        found = posterior.effects[name]
        moving = np.ptp(found, axis=0) > 0
        yield name, np.asarray(values, dtype=float)[moving], found[:, moving]


def _reps(true: Sequence[float], prepared: Prepared) -> np.ndarray:
    """Of the reps that the data know of."""
    return np.array([true[int(rep[1:]) - 1] for rep in prepared.people.reps])


def _counted(
    true: Creation,
    beta: Sequence[float],
    between: Sequence[float],
    posterior: Posterior,
    prepared: Prepared,
) -> Iterator[Pair]:
    kinds = prepared.chain.drivers
    slopes = {f"slope:{k}": beta[KINDS.index(k)] for k in kinds}
    usual = {f"between:{k}": between[KINDS.index(k)] for k in kinds}
    for group, values in (("slope", slopes), ("between", usual)):
        drawn = np.column_stack([posterior.effects[name][:, 0] for name in values])
        yield group, np.array(list(values.values())), drawn
    teams = {"team": true.team} if "team" in posterior.effects else {}
    levels = {"rep": _reps(true.rep, prepared), "season": true.season, "tenure": true.tenure} | teams
    yield from _effects(posterior, levels)
    scales = {"rep_sd": true.rep_sd, "rep_quarter_sd": true.rep_quarter_sd}
    yield from _hyper(posterior, scales | {"overdispersion": true.dispersion**-0.5})


def level_by_age(true: Cause, level: float, bands: Sequence[int], edges: Sequence[int]) -> dict[int, float]:
    """True log hazard of the model's bands of age that lie in one band of the truth."""
    out = {}
    for k, low in enumerate(edges):
        high = edges[k + 1] - 1 if k + 1 < len(edges) else 10**6
        if np.searchsorted(bands, low) == np.searchsorted(bands, high):
            out[k] = level + true.age[int(np.searchsorted(bands, low))]
    return out


def _hazard(
    true: Cause, ages: Mapping[int, float], posterior: Posterior, prepared: Prepared
) -> Iterator[Pair]:
    effects = posterior.effects
    if ages and "age" in effects:
        drawn = effects["level"] + effects["age"][:, list(ages)]
        yield "age", np.array(list(ages.values())), drawn
    order = [SEGMENTS.index(level) for level in prepared.segment.levels]
    levels = {"rep": _reps(true.rep, prepared), "position": true.position}
    levels["segment"] = np.asarray(true.segment)[order]
    yield from _effects(posterior, {k: v for k, v in levels.items() if k in effects})
    yield from _hyper(posterior, {"rep_sd": true.rep_sd, "rep_quarter_sd": true.rep_quarter_sd})


def _shocks(records: Records, name: str, posterior: Posterior) -> Iterator[Pair]:
    clock = records.clock
    months = np.unique(clock.month[clock.first : clock.last + 1])
    found = posterior.effects["shock"]
    yield "shock", records.shocks[name][months][-found.shape[1] :], found


def _valued(spec: WorldSpec, posterior: Posterior, prepared: Prepared) -> Iterator[Pair]:
    true = spec.truth.value
    order = [SEGMENTS.index(level) for level in prepared.segment.levels]
    yield from _effects(
        posterior, {"rep": _reps(true.rep, prepared), "segment": np.asarray(true.segment)[order]}
    )
    yield from _hyper(posterior, {"rep_sd": true.rep_sd})


def _done(spec: WorldSpec, kind: int, posterior: Posterior) -> Iterator[Pair]:
    """Of activity: every rep's usual rate, since its truth knows no teams, and the scales."""
    true, effects = spec.truth.activity, posterior.effects
    team = np.repeat(np.arange(len(TEAMS)), [size for _, size in TEAMS])
    drawn = effects["level"] + effects["rep"] + effects["team"][:, team]
    yield "rate", true.level[kind] + np.asarray(true.rep[kind]) - np.log(7.0), drawn
    scales = {"rep_quarter_sd": true.rep_quarter_sd, "overdispersion": true.dispersion**-0.5}
    yield from _hyper(posterior, scales)


# ---- the report


def pooled(jobs: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Coverage of 90 % intervals by model, by term, and of all; errors are between companies."""
    by_world: dict[str, list[list[float]]] = {}
    for job in jobs.values():
        here: dict[str, list[float]] = {}
        for key, values in job["pit"].items():
            model, term = key.split("/")
            kind = model.split(":")[0]
            for group in ("all", f"model {kind}", f"{kind}: {term}"):
                here.setdefault(group, []).extend(values)
        for group, values in here.items():
            by_world.setdefault(group, []).append(values)
    return {group: _coverage(worlds) for group, worlds in by_world.items()}


def _coverage(worlds: Sequence[Sequence[float]]) -> dict[str, float]:
    """Share within the interval; the standard error is that of a ratio of sums over companies."""
    held = np.array([sum(LOW <= p <= HIGH for p in w) for w in worlds], dtype=float)
    n = np.array([len(w) for w in worlds], dtype=float)
    share = held.sum() / n.sum()
    error = np.sqrt(np.sum((held - share * n) ** 2) * len(n) / max(len(n) - 1, 1)) / n.sum()
    every = np.concatenate([np.asarray(w) for w in worlds])
    return {
        "parameters": float(n.sum()),
        "held": float(share),
        "error": float(error),
        "mean": float(every.mean()),
    }


def report(jobs: Mapping[str, Any]) -> str:
    """The results as a page of text."""
    table = pooled(jobs)
    whole = table["all"]
    khats = [k for job in jobs.values() for k in job["khat"].values()]
    verdict = "as wanted" if WANTED[0] <= whole["held"] <= WANTED[1] else "NOT as wanted"
    lines = [
        "# Recovery of true parameters",
        "",
        f"`python benchmarks/recovery.py --worlds {len(jobs)}`",
        "",
        f"Of {whole['parameters']:,.0f} true parameters of {len(jobs)} companies drawn from the models' "
        f"priors, {whole['held']:.1%} ± {whole['error']:.1%} lie in their 90 % intervals ({verdict}: "
        f"{WANTED[0]:.0%} to {WANTED[1]:.0%}).",
        "Fits by the fast method whose importance check failed (k-hat above .7; a user's fit would then go "
        f"to NUTS): {np.mean([k > 0.7 for k in khats]):.1%} of {len(khats)}; they are counted all the same.",
        "",
        "| what | parameters | in 90 % | ± | mean share below |",
        "|---|---|---|---|---|",
    ]
    for group in sorted(table, key=lambda g: (g != "all", not g.startswith("model"), g)):
        row = table[group]
        lines.append(
            f"| {group} | {row['parameters']:,.0f} | {row['held']:.1%} | {row['error']:.1%} "
            f"| {row['mean']:.3f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what is missing, then write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--worlds", type=int, default=0, help="companies; those already stored are kept")
    parser.add_argument("--again", action="store_true", help="forget what is stored")
    options = parser.parse_args()
    jobs = {} if options.again else load("recovery")
    for number in range(options.worlds):
        if str(number) not in jobs:
            jobs[str(number)] = one(number)
            save("recovery", jobs)
            print(f"{number + 1}/{options.worlds} {pooled(jobs)['all']['held']:.3f}", flush=True)
    if jobs:
        write(RESULTS / "recovery.md", report(jobs))
        print(report(jobs).split("\n")[4])


if __name__ == "__main__":
    main()
