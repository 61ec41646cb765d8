"""From stored calibration runs to tables, pictures and a summary: ``benchmarks/results/calibration.*``."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import calibration_sbc
import numpy as np
from calibration_store import RESULTS, load, write
from calibration_worlds import DISTURBANCES, NONE, QUARTERS
from scipy import stats

from quotacast.engine.backtest.scores import covered
from quotacast.engine.reports.svg import BLUE, GRID, INK, PALE, SOFT, VERMILLION, Board, Scale

Jobs = Mapping[str, Any]

LEVELS = (50, 80, 95)
#: What the first study must show before a histogram is called off: Holm's adjusted p below this.
ALPHA = 0.05
#: How far 80 % coverage may be off on well-specified companies.
PROMISE = 0.03
PACKAGES = ("numpy", "scipy", "pandas", "numba")
WIDTH, PANEL = 980.0, (120.0, 84.0)
COMMAND = "python benchmarks/calibration.py --sbc {sbc} --worlds {worlds} --misspecified {misspecified}"


def write_report() -> None:
    """Write ``calibration.json``, ``calibration.md`` and the two pictures from what is stored."""
    sbc, everything = sbc_table(load("calibration_sbc")), load("calibration_worlds")
    worlds = {key: job for key, job in everything.items() if "failed" not in job}
    ranks, failures = ranks_by(load("calibration_sbc"))
    summary = {
        "command": command(load("calibration_sbc"), everything),
        "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
        "sbc": sbc,
        "again": again(load("calibration_sbc"), load("calibration_again")),
        "sbc_failed_fits": failures,
        "sbc_khat_above_0.7": khat_failures(load("calibration_sbc")),
        "worlds_failed_fits": {
            n: sum("failed" in j for j in of(everything, n).values()) for n in DISTURBANCES
        },
        "coverage": coverage_table(of(worlds, NONE)),
        "coverage_by_quarter": quarter_table(of(worlds, NONE)),
        "coverage_of_year": coverage_table(years(of(worlds, NONE))),
        "misspecified": cost_table(worlds),
    }
    write(RESULTS / "calibration.json", json.dumps(summary, indent=1) + "\n")
    write(RESULTS / "calibration.md", markdown(summary))
    if ranks:
        write(RESULTS / "calibration_sbc.svg", sbc_picture(ranks, sbc) + "\n")
    if of(worlds, NONE):
        write(RESULTS / "calibration_pit.svg", pit_picture(worlds) + "\n")


def command(sbc: Jobs, worlds: Jobs) -> str:
    """The command that gives what is stored."""
    counts = {n: len(of(worlds, n)) for n in DISTURBANCES}
    wrong = max((c for n, c in counts.items() if n != NONE), default=0)
    runs = max(len(of(sbc, model)) for model in calibration_sbc.DESIGNS)
    return COMMAND.format(sbc=runs, worlds=counts[NONE], misspecified=wrong)


def of(jobs: Jobs, name: str) -> dict[int, Any]:
    """Jobs of one model or disturbance by number."""
    split = {key: key.rsplit(" ", 1) for key in jobs}
    return {int(split[key][1]): job for key, job in jobs.items() if split[key][0] == name}


# ---- study 1


def ranks_by(jobs: Jobs) -> tuple[dict[tuple[str, str], list[int]], dict[str, int]]:
    """Ranks by model and quantity, and the number of fits that gave up by model."""
    ranks: dict[tuple[str, str], list[int]] = {}
    failures = {}
    for model in calibration_sbc.DESIGNS:
        done = of(jobs, model)
        failures[model] = sum("failed" in job for job in done.values())
        for number in sorted(done):
            for quantity, rank in done[number].get("ranks", {}).items():
                ranks.setdefault((model, quantity), []).append(rank)
    return ranks, failures


def khat_failures(jobs: Jobs) -> dict[str, int]:
    """Fits by model whose importance check fails; they are ranked all the same."""
    return {
        m: sum(job.get("khat", 0.0) > 0.7 for job in of(jobs, m).values()) for m in calibration_sbc.DESIGNS
    }


def again(jobs: Jobs, simulated: Jobs) -> dict[str, Any]:
    """What was simulated again, as far as it is of the same version of the models."""
    versions = {job.get("models") for job in jobs.values()}
    return {name: result for name, result in simulated.items() if result["models"] in versions}


def sbc_table(jobs: Jobs) -> list[dict[str, Any]]:
    """One row per model and quantity; ``off`` where uniformity is refused after Holm's correction."""
    ranks, failures = ranks_by(jobs)
    rows: list[dict[str, Any]] = []
    for (model, quantity), r in ranks.items():
        numbers = {k: round(v, 4) for k, v in calibration_sbc.uniformity(r).items()}
        row = {"model": model, "quantity": quantity, "simulations": len(r), "failed": failures[model]}
        rows.append({**row, **numbers})
    adjusted = holm([min(1.0, 2 * min(r["chi2_p"], r["ecdf_p"])) for r in rows])
    for row, p in zip(rows, adjusted, strict=True):
        row["off"] = bool(p < ALPHA)
    return rows


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p values."""
    order = np.argsort(p, kind="stable")
    scaled = np.maximum.accumulate(np.asarray(p)[order] * (len(p) - np.arange(len(p)))) if len(p) else []
    out = np.ones(len(p))
    out[order] = np.minimum(scaled, 1.0)
    return [float(x) for x in out]


def sbc_picture(ranks: Mapping[tuple[str, str], Sequence[int]], table: Sequence[Mapping[str, Any]]) -> str:
    """Rank histograms as small multiples; the band holds 99 % of the bars of a calibrated quantity."""
    across = int(WIDTH // PANEL[0])
    off = {(r["model"], r["quantity"]): r["off"] for r in table}
    models = list(dict.fromkeys(model for model, _ in ranks))
    lines = {m: -(-sum(k[0] == m for k in ranks) // across) for m in models}
    board = Board(WIDTH, sum(lines.values()) * PANEL[1] + len(models) * 26 + 34, "Rank histograms")
    board.text(8, 18, "Simulation-based calibration: ranks of the truth among posterior draws", bold=True)
    y = 34.0
    for model in models:
        n = max(len(r) for k, r in ranks.items() if k[0] == model)
        board.text(8, y + 14, f"{model} ({n} simulations)", bold=True)
        y += 26
        for i, key in enumerate(k for k in ranks if k[0] == model):
            left, top = 8 + PANEL[0] * (i % across), y + PANEL[1] * (i // across)
            _histogram(board, left, top, ranks[key], key[1], off[key])
        y += PANEL[1] * lines[model]
    return board.svg()


def _histogram(board: Board, left: float, top: float, ranks: Sequence[int], name: str, off: bool) -> None:
    width, height = PANEL[0] - 12, PANEL[1] - 26
    bins = calibration_sbc.BINS
    counts = np.histogram(ranks, bins=bins, range=(0, calibration_sbc.RANKS + 1))[0]
    low, high = stats.binom.ppf([0.005, 0.995], len(ranks), 1.0 / bins)
    scale = Scale(0.0, max(float(counts.max()), float(high) * 1.3), top + 12 + height, top + 12)
    board.rect(left, scale(float(high)), width, scale(float(low)) - scale(float(high)), PALE)
    for k, c in enumerate(counts):
        bar = scale(0.0) - scale(float(c))
        board.rect(
            left + k * width / bins, scale(float(c)), width / bins - 1, bar, VERMILLION if off else BLUE
        )
    board.line([(left, scale(0.0)), (left + width, scale(0.0))], SOFT)
    board.text(left, top + 9, name, size=10, fill=INK)


# ---- studies 2 and 3


def clustered(values: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Mean of all values and its standard error, clustered by world."""
    total, n = sum(sum(v) for v in values), sum(len(v) for v in values)
    mean, worlds = total / n, len(values)
    scores = np.array([sum(v) - mean * len(v) for v in values])
    return mean, float(np.sqrt((scores**2).sum() * worlds / max(worlds - 1, 1)) / n)


def held(job: Mapping[str, Any], cell: str, level: int) -> list[float]:
    """Whether the intervals of a level held, quarter by quarter and scope by scope."""
    return [float(x) for x in covered(np.asarray(job[cell]["pit"]), level / 100)]


def coverage_table(jobs: Mapping[int, Any]) -> list[dict[str, Any]]:
    """Coverage with standard errors by scope's kind and metric."""
    rows = []
    for cell in _cells(jobs):
        kind, metric = cell.split(" ")
        row: dict[str, Any] = {"scope": kind, "metric": metric, "worlds": len(jobs)}
        row["forecasts"] = sum(len(j[cell]["pit"]) for j in jobs.values())
        for level in LEVELS:
            mean, se = clustered([held(j, cell, level) for j in jobs.values()])
            row |= {f"covered_{level}": round(mean, 4), f"se_{level}": round(se, 4)}
        mean, se = clustered([j[cell]["pit"] for j in jobs.values()])
        rows.append({**row, "mean_pit": round(mean, 4), "se_pit": round(se, 4)})
    return rows


def quarter_table(jobs: Mapping[int, Any]) -> list[dict[str, Any]]:
    """80 % coverage by how many quarters ahead."""
    rows = []
    for cell in _cells(jobs):
        kind, metric = cell.split(" ")
        row: dict[str, Any] = {"scope": kind, "metric": metric}
        for q in range(len(QUARTERS)):
            values = [np.reshape(held(j, cell, 80), (4, -1))[q].tolist() for j in jobs.values()]
            row[f"q{q + 1}"] = round(clustered(values)[0], 4)
        rows.append(row)
    return rows


def years(jobs: Mapping[int, Any]) -> dict[int, Any]:
    """The same jobs with the four quarters as one forecast."""
    return {number: job["year"] for number, job in jobs.items()}


def _cells(jobs: Mapping[int, Any]) -> list[str]:
    first = next(iter(jobs.values()), {})
    return [k for k in first if k.split(" ")[0] in ("company", "rep")]


def cost_table(worlds: Jobs) -> list[dict[str, Any]]:
    """What every disturbance costs, against the undisturbed companies of the same numbers.

    Both are geometric means over companies and relative to the undisturbed company: ``bias`` of the
    forecast's mean per unit of actual (a year's sums), less 1; ``crps_ratio`` of the CRPS per unit of actual.
    """
    calm = of(worlds, NONE)
    rows = []
    for name in DISTURBANCES:
        jobs = {n: j for n, j in of(worlds, name).items() if n in calm}
        if name == NONE:
            numbers = {n for other in DISTURBANCES if other != name for n in of(worlds, other)}
            jobs = {n: j for n, j in jobs.items() if n in numbers}
        for cell in _cells(jobs):
            kind, metric = cell.split(" ")
            if metric == "opportunities_created":
                continue
            mean, se = clustered([held(j, cell, 80) for j in jobs.values()])
            bias, crps = (
                [_log_ratio(j[cell], top) - _log_ratio(calm[n][cell], top) for n, j in jobs.items()]
                for top in ("mean", "crps")
            )
            row = {"disturbance": name, "scope": kind, "metric": metric, "quarters": 4 * len(jobs)}
            row |= {"forecasts": sum(len(j[cell]["pit"]) for j in jobs.values())}
            year, year_se = clustered([held(j, cell, 80) for j in years(jobs).values()])
            row |= {"covered_80": round(mean, 4), "se_80": round(se, 4)}
            row |= {"year_80": round(year, 4), "se_year": round(year_se, 4)}
            row |= {"bias": round(_mean_factor(bias) - 1, 4), "crps_ratio": round(_mean_factor(crps), 4)}
            rows.append(row)
    return rows


def _log_ratio(scored: Mapping[str, Sequence[float]], top: str) -> float:
    """log of a year's sum over the sum of actuals; NaN where nothing came."""
    below = sum(scored["actual"])
    return float(np.log(sum(scored[top]) / below)) if below > 0 else float("nan")


def _mean_factor(logs: Sequence[float]) -> float:
    return float(np.exp(np.nanmean(logs)))


def pit_picture(worlds: Jobs) -> str:
    """Histograms of PIT by scope and metric on well-specified companies."""
    jobs = of(worlds, NONE)
    cells = _cells(jobs)
    board = Board(WIDTH, 190, "PIT histograms of well-specified companies")
    board.text(8, 18, f"PIT on {len(jobs)} well-specified companies, four quarters each", bold=True)
    width, height, bins = WIDTH / len(cells) - 14, 110.0, 20
    for i, cell in enumerate(cells):
        pit = np.concatenate([j[cell]["pit"] for j in jobs.values()])
        share = np.histogram(pit, bins=bins, range=(0, 1))[0] / pit.size * bins
        left, scale = 8 + i * (width + 14), Scale(0.0, max(1.6, float(share.max())), 160.0, 160.0 - height)
        for k, s in enumerate(share):
            bar = scale(0.0) - scale(float(s))
            board.rect(left + k * width / bins, scale(float(s)), width / bins - 1, bar, BLUE)
        board.line([(left, scale(1.0)), (left + width, scale(1.0))], VERMILLION, dash="4 3")
        board.line([(left, scale(0.0)), (left + width, scale(0.0))], GRID)
        board.text(left, 42, cell.replace("_", " "), size=11)
    board.text(
        8, 182, "flat at the dashed line: calibrated; high ends: too narrow; high middle: too wide", size=11
    )
    return board.svg()


# ---- words


def markdown(summary: Mapping[str, Any]) -> str:
    """The report for people."""
    versions = ", ".join(f"{k} {v}" for k, v in summary["versions"].items())
    text = ["# Proof of calibration", "", f"    {summary['command']}", "", f"Made with {versions}.", ""]
    text += _sbc_words(summary)
    failed = ", ".join(f"{n} {count}" for n, count in summary["worlds_failed_fits"].items())
    text += ["## Well-specified companies", "", _WORLD_WORDS, f"Fits that gave up: {failed}.", ""]
    text += [*_table(summary["coverage"]), "", *_verdict(summary["coverage"]), ""]
    text += ["80 % coverage by quarters ahead:", "", *_table(summary["coverage_by_quarter"]), ""]
    text += ["The four quarters as one forecast, what a plan for a year asks for:", ""]
    text += [*_table(summary["coverage_of_year"]), ""]
    text += ["![PIT](calibration_pit.svg)", "", "## What each disturbance costs", "", _COST_WORDS, ""]
    text += [f"- {n}: {d.meaning}" for n, d in DISTURBANCES.items()]
    return "\n".join([*text, "", *_table(summary["misspecified"]), ""])


_WORLD_WORDS = (
    "Two years of records, five reps, a forecast of the next four quarters, each quarter a forecast of its "
    "own. Coverage is by randomised PIT; standard errors are clustered by company. Truths come from the "
    "models' own scales; levels, the residual of values and the shape over ages are narrower than the "
    "priors, and age x position and effects of amounts are zero. Companies are kept by the size of their "
    "records alone."
)
_COST_WORDS = (
    "The row `none` holds the undisturbed companies of the same numbers, so that rows differ by the "
    "disturbance alone. `year_80` is of the four quarters as one forecast. `bias` (how much higher the "
    "forecast's mean stands per unit of actual) and `crps_ratio` (CRPS per unit of actual) are geometric "
    "means over companies, relative to the undisturbed company: 0 and 1 cost nothing."
)


def _verdict(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Whether the promise is kept: 80 % intervals that hold in 77 to 83 % of the cases."""
    return [
        f"- {r['scope']} {r['metric']}: {r['covered_80']:.1%} ± {r['se_80']:.1%} of {r['forecasts']:,}, "
        + ("within" if abs(r["covered_80"] - 0.8) <= PROMISE else "**outside**")
        + f" 80 ± {PROMISE:.0%}"
        for r in rows
    ]


def _sbc_words(summary: Mapping[str, Any]) -> list[str]:
    rows = summary["sbc"]
    off = [f"{r['model']} {r['quantity']}" for r in rows if r["off"]]
    gave_up = ", ".join(f"{m} {n}" for m, n in summary["sbc_failed_fits"].items())
    khat = ", ".join(f"{m} {n}" for m, n in summary["sbc_khat_above_0.7"].items())
    verdict = f"Off: {', '.join(off)}." if off else "None is off."
    words = [
        f"{len(rows)} quantities of nine models; uniformity is refused where Holm's adjusted p (chi-square",
        f"and ECDF together) is below {ALPHA}. {verdict} Fits that gave up, by model: {gave_up}; fits with",
        f"k-hat above .7 (ranked all the same): {khat}. `bias` is in standard errors (positive: truths lie",
        "high), `spread` above 1 means posteriors that are too narrow.",
    ]
    again = [
        f"- {name} again, {r['simulations']:,} others (`--again`): p {r['chi2_p']:.3f} (chi-square), "
        f"{r['ecdf_p']:.3f} (ECDF), bias {r['bias']:.2f}, spread {r['spread']:.3f}"
        for name, r in summary["again"].items()
        if name in off
    ]
    return [
        "## Simulation-based calibration",
        "",
        *words,
        "",
        *([*again, ""] if again else []),
        "![Ranks](calibration_sbc.svg)",
        "",
        *_table(rows),
        "",
    ]


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return ["(not run)"]
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    return lines + ["| " + " | ".join(_show(row[n]) for n in names) + " |" for row in rows]


def _show(value: object) -> str:
    if isinstance(value, bool):
        return "OFF" if value else ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)
