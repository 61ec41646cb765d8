"""The track record of a plan's data: made by ``backtest``, shown beside every odds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from quotacast.engine.answer import Answer, Field
from quotacast.engine.backtest.origin_forecast import OURS, Settings
from quotacast.engine.backtest.origins import origins
from quotacast.engine.backtest.record import run_backtest
from quotacast.engine.backtest.summary import skill_against, track_record
from quotacast.engine.reports.words import money
from quotacast.errors import DataError, PlanError
from quotacast.scenarios.lines import packed
from quotacast.scenarios.run import RECORD_DRAWS, Run, versions

#: How much worse than the best baseline, chosen after the fact, a forecast may be.
TOLERATED = 0.1
#: Origins below which there is no standard error to go by, and below which nothing is withheld.
FEWEST, LEAST = 6, 3
#: Seconds per model and origin, on two cores.
MODEL_SECONDS = 0.5
#: Origins of a backtest unless told otherwise.
ORIGINS = 24


@dataclass(frozen=True)
class Standing:
    """What the track record says about a metric's odds.

    Attributes
    ----------
    line : str
        One line for the screen.
    verdict : {"none", "good", "doubtful", "withheld"}
        Doubtful where the skill against run-rate is below 0; withheld where by two standard errors, or where
        another baseline would clearly have been the better choice.
    """

    line: str
    verdict: str


def backtest(run: Run, count: int | None = ORIGINS, processes: int = 1) -> Answer:
    """Run, or go on with, the backtest and sum it up; see `run_backtest` for processes."""
    chosen = origins(run.history, count)
    settings = Settings(run.plan.calendar, run.method, RECORD_DRAWS, run.plan.seed)
    found = run_backtest(
        run.history,
        chosen,
        settings,
        run.record_folder,
        {"key": run.record_key, **provenance(run)},
        told=lambda share: run.told("backtesting", share),
        processes=processes,
    )
    return track_record(found, provenance(run), run.plan.seed)


def stored_record(run: Run) -> Answer | None:
    """The stored backtest of exactly this data and version, or None."""
    return None if run.record is None else track_record(run.record, provenance(run), run.plan.seed)


def provenance(run: Run) -> dict[str, Any]:
    """Where a track record comes from."""
    return {
        "data_fingerprint": run.history.fingerprint,
        "as_of": run.history.as_of_date.isoformat(),
        "currency": run.history.currency,
        "seed": run.plan.seed,
        "draws": RECORD_DRAWS,
        "method": run.method,
        "versions": versions(),
    }


def minutes(run: Run) -> int | None:
    """About how long a backtest takes; None where the history is too short for one."""
    try:
        count = len(origins(run.history, ORIGINS))
    except DataError:
        return None
    return max(1, round(count * len(run.funnel.prepared.models) * MODEL_SECONDS / 60))


def standing(record: Answer | None, metric: str = "bookings", lasts: int | None = None) -> Standing:
    """How far the odds of a metric can be trusted, by skill over the company's months and quarters.

    Parameters
    ----------
    lasts : int, optional
        Minutes that a backtest takes, to be told where there is no record.
    """
    if record is None:
        about = f", about {lasts} min" if lasts else ""
        return Standing(f"no track record yet: quotacast backtest{about}", "none")
    models = [
        m
        for m in record.summary["models"]
        if m["scope"] == "company" and m["component"] == "total" and m["metric"] == metric
    ]
    ours = [m for m in models if m["model"] == OURS]
    if not ours:
        return Standing("no track record for this metric", "none")
    held = sum(m["coverage_80"] * m["n"] for m in ours) / sum(m["n"] for m in ours)
    text = f"{record.summary['origins']} months: 80% ranges held {held:.0%}"
    skill, error = _against_run_rate(record, metric)
    hard = _hard_to_beat(record, ours, metric)
    if hard:
        return Standing(f"{text}; {hard}: odds withheld", "withheld")
    if record.summary["origins"] < record.summary["asked"]:
        return Standing(f"{text}; {record.summary['asked']} were asked for: go on with it", "doubtful")
    if skill is None or error is None:
        return Standing(f"{text}; too few to compare with run-rate", "doubtful")
    text += f"; {abs(skill):.0%} {'better' if skill >= 0 else 'worse'} than run-rate"
    if skill < -2 * error:
        return Standing(f"{text}: odds withheld", "withheld")
    return Standing(
        text if skill >= 0 else f"{text}: odds are doubtful", "good" if skill >= 0 else "doubtful"
    )


def _hard_to_beat(record: Answer, ours: Sequence[Mapping[str, Any]], metric: str) -> str:
    """Why a baseline would have served clearly better next month, or nothing.

    Clearly is by more than :data:`TOLERATED` and two standard errors. A whole record of fewer than
    :data:`FEWEST` origins knows no standard error worth the name; there it is at each of them, and at no
    fewer than :data:`LEAST`: among six rivals the best is chosen after the fact.
    """
    months = [m for m in ours if m["horizon"] == "m1" and m["best_baseline"]]
    if not months or months[0]["skill"] is None or months[0]["skill"] >= -TOLERATED:
        return ""
    found = months[0]
    error = found["skill_se"]
    clear = error is not None and error == error and found["skill"] < -2 * error
    if found["n"] < FEWEST:
        whole = record.summary["origins"] == record.summary["asked"]
        clear = whole and found["n"] >= LEAST and _always(record.rows, metric, found["best_baseline"])
    return f"errors {1 - found['skill']:.1f} times those of {found['best_baseline']}" if clear else ""


def _always(rows: pd.DataFrame, metric: str, baseline: str) -> bool:
    """Whether a baseline was better next month at every origin."""
    kept = rows[(rows["metric"] == metric) & (rows["horizon"] == "m1") & (rows["scope"] == "company")]
    wide = kept[kept["component"] == "total"].pivot_table(index="origin", columns="model", values="crps")
    return bool((wide[baseline] < wide[OURS]).all())


def _against_run_rate(record: Answer, metric: str) -> tuple[float | None, float | None]:
    """Skill against run-rate, and its standard error: of quarters, or of months where those are too few."""
    seed = int(record.provenance.get("seed", 1))
    for horizon in ("q1", "m1"):
        skill, error = skill_against(record.rows, metric, "runrate", horizon, seed)
        if skill is not None and error is not None and error == error:
            return skill, error
    return None, None


#: Metrics that the backtest scores, by the metrics whose odds rest on them.
SCORED = {
    "bookings": "bookings",
    "revenue": "bookings",
    "deals_won": "deals_won",
    "opportunities_created": "opportunities_created",
}


def judged(odds: Answer, record: Answer | None, force: bool = False) -> Answer:
    """Odds in the light of the track record.

    Odds of a metric whose skill against run-rate is below 0 by two standard errors are withheld (missing,
    with the reason in ``summary["withheld"]``) unless forced; below 0 they are named in
    ``summary["doubtful"]``.
    """
    if record is None:
        return odds
    there = set(odds.rows["metric"])
    said = {name: standing(record, scored) for name, scored in SCORED.items()}
    withheld = {n: s.line for n, s in said.items() if n in there and s.verdict == "withheld" and not force}
    doubtful = {n: s.line for n, s in said.items() if n in there and s.verdict in ("doubtful", "withheld")}
    rows = odds.rows.copy()
    rows.loc[rows["metric"].isin(list(withheld)), "p_attain"] = None
    reasons = " ".join(f"Odds on {n} are withheld: {why}." for n, why in withheld.items())
    summary = {**odds.summary, "withheld": withheld, "doubtful": doubtful, "record": said["bookings"].line}
    return replace(odds, rows=rows, words=f"{odds.words} {reasons}".strip(), summary=summary)


def trusted(run: Run, names: Sequence[str]) -> list[str]:
    """What the track record says about odds that quotas are to rest on; nothing rests on those it withholds.

    Raises
    ------
    PlanError
        Where it withholds the odds of a metric, unless forced.
    """
    record = stored_record(run)
    if record is None:
        return []
    found = {name: standing(record, SCORED[name]) for name in names if name in SCORED}
    held = [n for n, said in found.items() if said.verdict == "withheld" and not run.force]
    if held:
        raise PlanError(
            [f"odds on {n} are withheld: {found[n].line}; --force goes on all the same" for n in held]
        )
    return [f"{n}: {said.line}" for n, said in found.items() if said.verdict in ("doubtful", "withheld")]


RELIABILITY = (
    Field("scope", "text", "company, team or rep"),
    Field("horizon", "text", "over which days"),
    Field("called", "text", "odds that were given"),
    Field("quotas", "count", "how many quotas were called so"),
    Field("met", "count", "how many of them were met"),
    Field("expected", "score", "how many should have been met: the sum of their odds"),
)


def reliability_answer(record: Answer) -> Answer:
    """The verdicts' own record: what was called so and so likely, and how often it came true."""
    kept = [v for v in record.summary["verdicts"] if v["quotas"]]
    rows = pd.DataFrame(
        [
            (
                v["scope"],
                v["horizon"],
                f"{v['from']:.0%} – {v['to']:.0%}",
                v["quotas"],
                v["met"],
                v["expected"],
            )
            for v in kept
        ],
        columns=[f.name for f in RELIABILITY],
    )
    words = (
        f"{record.words} Candidate quotas at 0.8 to 1.3 times the same days a year before, at "
        f"{record.summary['origins']} month ends; losses included."
    )
    return Answer("verdicts", rows, RELIABILITY, words, {}, record.provenance, "reliability")


def record_lines(record: Answer) -> Iterator[str]:
    """The track record for a terminal: company totals by metric and horizon, then the verdicts."""
    yield from packed([record.words], indent=0)
    yield ""
    yield f"{'company, total':<31}{'CRPS':>7}{'skill':>6}{'± se':>6}  {'80% held':<11}best baseline"
    for m in record.summary["models"]:
        if m["model"] == OURS and m["scope"] == "company" and m["component"] == "total":
            name = f"{m['metric']} {m['horizon']} (n={m['n']})"
            skill, error = _share(m["skill"]), _share(m["skill_se"], 9.995)
            held = f"{_share(m['coverage_80'])} ± {_share(m['coverage_80_se'])}"
            best = m["best_baseline"] or "–"
            yield f"{name:<31}{money(m['crps']):>7}{skill:>6}{error:>6}  {held:<11}{best}"
    yield ""
    yield f"{'quotas called':<24}{'met':>6}{'of':>6}{'expected':>10}"
    for v in record.summary["verdicts"]:
        if v["quotas"] and v["scope"] == "company":
            name = f"{v['from']:.0%}–{v['to']:.0%} likely, {v['horizon']}"
            yield f"{name:<24}{v['met']:>6}{v['quotas']:>6}{v['expected']:>10.1f}"


def _share(x: float | None, most: float = math.inf) -> str:
    """Percent; nothing where it is missing, or more than can mean anything."""
    return "–" if x is None or x != x or x > most else f"{x:.0%}"
