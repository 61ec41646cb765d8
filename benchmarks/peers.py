"""Quotacast beside other people's forecasters, on the same origins and targets.

They live in an environment of their own and are no dependency::

    python -m venv .venv-peers
    .venv-peers/bin/pip install -c constraints.txt -r benchmarks/peers/requirements.txt .
    quotacast backtest DATA                                # in the usual environment: the record
    .venv-peers/bin/python benchmarks/peers.py DATA --out benchmarks/results/peers.md

Every peer gets what was known at the origin and gives draws of the company's totals; these are scored by the
backtest's CRPS and set beside the rows of the stored record. A peer that is not installed, or fails, is
listed with the reason.
"""

from __future__ import annotations

import argparse
import io
import logging
import sys
import time
import warnings
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from datetime import date
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.backtest import scores
from quotacast.engine.backtest.baselines import BASELINES
from quotacast.engine.backtest.baselines_past import Past
from quotacast.engine.backtest.bootstrap import block_bootstrap_skill_se
from quotacast.engine.backtest.origins import outcomes, spans, targets
from quotacast.engine.quota import Scope
from quotacast.models.history.history import History
from quotacast.models.history.read import read_history
from quotacast.models.periods import Calendar

sys.path.insert(0, str(Path(__file__).parent / "peers"))

HORIZONS = ("m1", "m2", "m3", "q1")
METRICS = ("deals_won", "bookings", "opportunities_created")
OURS = ("quotacast", "structural")
#: Name -> package, module and function, and the year of its last release where that is long ago.
PEERS: Mapping[str, tuple[str, str, str]] = {
    "prophet": ("prophet", "series", "prophet"),
    "sf AutoETS": ("statsforecast", "series", "auto_ets"),
    "sf AutoARIMA": ("statsforecast", "series", "auto_arima"),
    "convoys": ("convoys", "curves", "convoys"),
    "chainladder": ("chainladder", "triangle", "odp_bootstrap"),
    "lifelines KM": ("lifelines", "curves", "lifelines_km"),
    "lifelines cure": ("lifelines", "curves", "lifelines_cure"),
}
UNMAINTAINED = {"convoys": "last release 2020"}
KEY = ["origin", "horizon", "metric"]


def record(place: Path) -> tuple[pd.DataFrame, str]:
    """Company totals of the newest stored backtest of a run folder, and the name of its folder."""
    folders = [f for f in (place / "backtests").glob("*") if any(f.glob("*/rows.parquet"))]
    if not folders:
        raise SystemExit(f"{place}: no stored backtest; run `quotacast backtest` first")
    newest = max(folders, key=lambda f: (f.stat().st_mtime, f.name))
    rows = pd.concat([pd.read_parquet(p) for p in sorted(newest.glob("*/rows.parquet"))], ignore_index=True)
    kept = (rows["scope"] == "company") & (rows["component"] == "total") & rows["horizon"].isin(HORIZONS)
    return rows[kept], newest.name


def at_origin(history: History, day: date, draws: int, seed: int, told: dict[str, str]) -> pd.DataFrame:
    """Scores of every peer at an origin."""
    from problem import Problem

    calendar = Calendar()
    snapshot = history.as_of(day, strict=True)
    periods = {h: p for h, p in spans(day, calendar, history.as_of_date).items() if h in HORIZONS}
    wanted = [(h, t) for h, t in targets([Scope("company")], periods) if t.component == "total"]
    actual = outcomes(history, snapshot, [t for _, t in wanted])
    rows = []
    for name in PEERS:
        problem = Problem(Past.of(snapshot, calendar), wanted, draws, seed)
        for metric in METRICS:
            drawn = _ask(name, problem, metric, told)
            if drawn is None:
                continue
            mine = [i for i, (_, t) in enumerate(wanted) if t.metric == metric]
            x, y = problem.sums(drawn)[mine], actual[mine]
            pit = scores.randomised_pit(x, y, problem.rng.random(y.size))
            held = scores.covered(pit, 0.8)
            rows += [
                (day.isoformat(), wanted[i][0], metric, name, y[j], scores.crps(x[j], y[j]).item(), held[j])
                for j, i in enumerate(mine)
            ]
    return pd.DataFrame(rows, columns=[*KEY, "model", "actual", "crps", "covered_80"])


def _ask(name: str, problem: Any, metric: str, told: dict[str, str]) -> Any:
    """Draws by month of one peer, or None; what went wrong is kept in ``told``."""
    package, module, function = PEERS[name]
    try:
        version(package)
    except PackageNotFoundError:
        told[name] = "not installed"
        return None
    try:
        quiet = io.StringIO()  # progress bars
        with warnings.catch_warnings(), redirect_stdout(quiet), redirect_stderr(quiet):
            warnings.simplefilter("ignore")
            drawn = getattr(import_module(module), function)(problem, metric)
    except Exception as error:  # a peer's failure is a result, whatever it raises
        told[name] = f"failed at {problem.past.history.as_of_date}, {metric}: {type(error).__name__}: {error}"
        return None
    if drawn is not None and not np.isfinite(drawn).all():
        told[name] = f"not finite at {problem.past.history.as_of_date}, {metric}"
        return None
    return drawn


def compare(ours: pd.DataFrame, theirs: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Per metric, horizon and rival: mean CRPS of both over the origins that the two share, and the skill.

    Skill is 1 - CRPS of quotacast / CRPS of the rival, with a block-bootstrap standard error over origins.
    """
    both = pd.concat([ours[[*KEY, "model", "actual", "crps", "covered_80"]], theirs], ignore_index=True)
    seen = both.groupby(KEY)["actual"].agg(["min", "max"])
    if not np.allclose(seen["min"], seen["max"]):
        raise SystemExit("peers and record are not about the same outcomes: is the record of these data?")
    rows = []
    for metric in METRICS:
        for horizon in HORIZONS:
            part = both[(both["metric"] == metric) & (both["horizon"] == horizon)]
            wide = part.pivot_table(index="origin", columns="model", values="crps")
            held = part.groupby("model")["covered_80"].mean()
            for model in [*OURS, *BASELINES, *PEERS]:
                if model in wide:
                    pair = wide[list(dict.fromkeys([OURS[0], model]))].dropna()
                    rows.append((metric, horizon, model, *_pair(pair, model, horizon, seed), held[model]))
    columns = ["metric", "horizon", "model", "origins", "crps", "quotacast", "skill", "se", "held"]
    return pd.DataFrame(rows, columns=columns)


def _pair(pair: pd.DataFrame, model: str, horizon: str, seed: int) -> tuple[float, ...]:
    mine, other = pair[OURS[0]], pair[model]
    if model == OURS[0] or not len(pair):
        return len(pair), other.mean(), mine.mean(), np.nan, np.nan
    blocks = min(3 if horizon == "q1" else int(horizon[1:]), len(pair))
    error = block_bootstrap_skill_se(mine.to_numpy(), other.to_numpy(), blocks, seed)
    return len(pair), other.mean(), mine.mean(), 1 - mine.mean() / other.mean(), error


def summary(table: pd.DataFrame) -> list[str]:
    """The peers' best per metric and horizon, and every rival that was better than quotacast."""
    peers = table[table["model"].isin(PEERS)]
    lines = ["| metric | horizon | quotacast | best peer | its CRPS | skill | se |", "|" + "---|" * 7]
    for (metric, horizon), part in peers.groupby(["metric", "horizon"], sort=False):
        r = part.loc[part["skill"].idxmin()]
        lines.append(
            f"| {metric} | {horizon} | {_short(r['quotacast'])} | {r['model']} | {_short(r['crps'])} "
            f"| {r['skill']:+.0%} | {_percent(r['se'])} |"
        )
    worse = table[(table["skill"] < 0) & (table["model"] != OURS[1])]
    said = [f"{r.metric} {r.horizon} {r.model} ({r.skill:+.0%})" for r in worse.itertuples()]
    return [*lines, "", f"Better than quotacast: {', '.join(said) or 'none'}."]


def full(table: pd.DataFrame) -> list[str]:
    """The whole table."""
    lines = [
        "| metric | horizon | model | origins | CRPS | quotacast | skill | se | 80% held |",
        "|" + "---|" * 9,
    ]
    for r in table.itertuples():
        skill = "" if np.isnan(r.skill) else f"{r.skill:+.0%}"
        cells = [r.metric, r.horizon, r.model, r.origins, _short(r.crps), _short(r.quotacast), skill]
        lines.append(f"| {' | '.join(map(str, cells))} | {_percent(r.se)} | {r.held:.0%} |")
    return lines


def _percent(x: float) -> str:
    return "" if np.isnan(x) else f"{x:.0%}"


def _short(x: float) -> str:
    return f"{x:,.0f}" if x >= 1000 else f"{x:.3g}"


def status(told: Mapping[str, str], theirs: pd.DataFrame) -> list[str]:
    """One line per peer: version, how often it spoke, and what went wrong."""
    lines = []
    for name, (package, *_) in PEERS.items():
        try:
            found = version(package)
        except PackageNotFoundError:
            found = "–"
        spoke = int((theirs["model"] == name).sum())
        remarks = [r for r in (UNMAINTAINED.get(package), told.get(name)) if r]
        said = "; ".join(remarks).replace("|", "/").replace("\n", " ")[:200]
        lines.append(f"| {name} | {package} {found} | {spoke} | {said} |")
    return ["| peer | package | forecasts | remarks |", "|---|---|---|---|", *lines]


def main() -> None:
    """Run the peers on every origin of the stored record and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?", help="folder with the data")
    parser.add_argument(
        "--record", type=Path, help="run folder of the backtest; default: .quotacast beside it"
    )
    parser.add_argument("--name", default="", help="what the data are, for the heading")
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="append the report to this file")
    chosen = parser.parse_args()
    if chosen.data is None:
        print("skipped: give a data folder with a stored backtest; see the head of benchmarks/peers.py")
        return
    logging.disable(logging.WARNING)
    (ours, key), told = record(chosen.record or chosen.data / ".quotacast"), dict[str, str]()
    history = read_history(chosen.data)
    parts = []
    for day in sorted(ours["origin"].unique()):
        began = time.perf_counter()
        parts.append(at_origin(history, date.fromisoformat(day), chosen.draws, chosen.seed, told))
        print(f"{day}  {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    theirs = pd.concat(parts, ignore_index=True)
    said = f"{ours['origin'].nunique()} origins, {chosen.draws:,} draws per peer; record `{key}`."
    head = [f"## {chosen.name or chosen.data.name}", "", said, ""]
    table = compare(ours, theirs, chosen.seed)
    lines = [*head, *status(told, theirs), "", *summary(table), "", *full(table), ""]
    print("\n".join(lines))
    if chosen.out:
        with chosen.out.open("a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
