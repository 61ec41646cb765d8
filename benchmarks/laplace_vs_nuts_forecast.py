"""Nested Laplace against NUTS on whole companies: parameters, and the forecasts made from them.

Run ``python benchmarks/laplace_vs_nuts_forecast.py [company ...] [--draws N] [--data FOLDER]
[--keep FOLDER]`` from the project's root. Companies: ``example``, ``small`` (5 reps, about 150 deals),
``large`` (100 reps) and ``salesforce`` (the imported Salesforce demonstration data in FOLDER).

For each model of a company it prints how far the means are apart in posterior standard deviations and the
ratio of standard deviations, over the parameters that a forecast uses; then for company totals of the next
four quarters how far P10, P50 and P90 lie apart in percent of the 80 % range's width, beside the Monte Carlo
error of that comparison. Counts are spread evenly over the unit around them, the same for both, since one
deal can be a tenth of a small company's range. A model whose effective sample size falls short of the one
wanted is sampled again, longer. Nearly all of the time is NUTS, hours of it: with ``--keep`` an interrupted
run goes on with the next model.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from quotacast.engine.backtest.origin_forecast import target_draws
from quotacast.engine.backtest.targets import METRICS, Target
from quotacast.engine.drivers import Drivers
from quotacast.engine.paths import Steps
from quotacast.engine.quota import Scope
from quotacast.engine.simulate import simulate
from quotacast.engine.worlds import WorldSpec, draw_truth, example_spec, make_world, write_world
from quotacast.models.funnel import MODEL_VERSION, Funnel, assemble, fit, prepare
from quotacast.models.history.history import History
from quotacast.models.history.read import read_history
from quotacast.models.inference import fit_nuts
from quotacast.models.periods import Calendar, Period
from quotacast.models.store import fingerprint, load_fit, save_fit
from quotacast.models.terms import Declaration, Posterior

CHAINS = 4
CALENDAR = Calendar()
QUANTILES = (0.1, 0.5, 0.9)
#: Effective sample size wanted of every parameter, and the most draws per chain to get there.
WANTED_ESS, MOST_DRAWS = 4000, 12_500
#: Futures per posterior draw.
FUTURES = 4


def spec(name: str) -> WorldSpec:
    """A simulated company."""
    if name == "example":
        return example_spec()
    reps, years, level = {"small": (5, 1, -1.6), "large": (100, 3, 0.0)}[name]
    truth = draw_truth(np.random.default_rng(3), reps, 1)
    creation = dataclasses.replace(truth.creation, level=truth.creation.level + level)
    truth = dataclasses.replace(truth, creation=creation)
    last = date(2025, 12, 31)
    first = date(last.year - years + 1, 1, 1)
    return WorldSpec(reps, (("a", reps),), first, last, 5, truth)


def company(name: str, data: Path | None) -> History:
    """History of a company."""
    if name == "salesforce":
        if data is None:
            raise SystemExit("salesforce: name the folder of imported data with --data")
        return read_history(data)
    with tempfile.TemporaryDirectory() as work:
        write_world(make_world(spec(name)), Path(work) / name, plan=False)
        return read_history(Path(work) / name / "crm")


def parameters(declaration: Declaration, posterior: Posterior) -> np.ndarray:
    """Everything that a forecast uses, shape (draws, parameters)."""
    parts = [posterior.effects[t.name] for t in declaration.terms]
    parts += [posterior.hyper[h][:, None] for h in declaration.forecast_hyperparameters()]
    whole = np.concatenate(parts, axis=1)
    return whole[:, whole.std(axis=0) > 1e-9]


def totals(funnel: Funnel, history: History, draws: int) -> dict[str, np.ndarray]:
    """Draws of company totals over the next four quarters."""
    first = history.as_of_date + timedelta(days=1)
    quarters: list[Period] = [CALENDAR.containing(first, "quarter")]
    while len(quarters) < 4:
        quarters.append(CALENDAR.containing(quarters[-1].last + timedelta(days=1), "quarter"))
    cut = int(np.datetime64(first, "D").astype(np.int64))
    steps = Steps.covering(quarters, cuts=(cut,))
    paths = simulate(funnel, history, Drivers(), steps, quarters[-1].last, draws=draws, seed=9)
    return {
        f"{metric} {k + 1}": target_draws(paths, Target(metric, Scope("company"), q.first, q.last))
        for metric in METRICS
        for k, q in enumerate(quarters)
    }


def sampled(
    declaration: Declaration, cells: Any, model: str, seed: int, draws: int, keep: Path | None, data: str
) -> Posterior:
    """A model fitted by NUTS; with a folder, read from there where an earlier run got as far."""
    folder = keep and keep / fingerprint({"model": model})[:16]
    key = f"{data} {MODEL_VERSION} {seed} {draws} {WANTED_ESS} {MOST_DRAWS}"
    kept = folder and load_fit(folder, (model,), key)
    if kept:
        return kept[model]
    posterior = fit_nuts(declaration, cells, draws=draws, seed=seed)
    if (ess := float(posterior.diagnostics["ess"])) < WANTED_ESS:
        longer = min(math.ceil(1.1 * draws * WANTED_ESS / ess), MOST_DRAWS)
        posterior = fit_nuts(declaration, cells, draws=longer, seed=seed)
    if folder:
        save_fit(folder, {model: posterior}, {"key": key})
    return posterior


def compare(name: str, data: Path | None, draws: int, keep: Path | None) -> None:
    """Fit a company twice and print how far apart the answers are, each model when it has been sampled."""
    history = company(name, data)
    prepared = prepare(history, CALENDAR)
    declared = prepared.declared()
    fit(prepared, draws=400, fall_back=False)
    began = time.perf_counter()
    fast = fit(prepared, draws=CHAINS * draws, seed=4, fall_back=False)
    fast_seconds = time.perf_counter() - began
    print(f"\n{name}: {len(history.opportunities):,} deals; laplace {fast_seconds:.1f} s", flush=True)
    exact: dict[str, Posterior] = {}
    shifts, ratios, seconds = [], [], 0.0
    for k, (model, (declaration, cells)) in enumerate(declared.items()):
        began = time.perf_counter()
        exact[model] = sampled(declaration, cells, model, k, draws, keep and keep / name, history.fingerprint)
        seconds += time.perf_counter() - began
        a, b = (parameters(declaration, p) for p in (fast.posteriors[model], exact[model]))
        shift, ratio = (a.mean(axis=0) - b.mean(axis=0)) / b.std(axis=0), a.std(axis=0) / b.std(axis=0)
        shifts.append(np.abs(shift))
        ratios.append(ratio)
        said = exact[model].diagnostics
        print(
            f"  {model:<20}{shift.size:5d} parameters  |shift| mean {np.abs(shift).mean():.3f} worst "
            f"{np.abs(shift).max():.2f}  sd ratio {ratio.min():.2f} to {ratio.max():.2f}  "
            f"k-hat {fast.posteriors[model].diagnostics['khat']:.2f}  "
            f"nuts ESS {said['ess']:.0f} R-hat {said['rhat']:.3f}",
            flush=True,
        )
    shift, ratio = np.concatenate(shifts), np.concatenate(ratios)
    print(
        f"  all: {np.mean(shift < 0.1):.1%} of means within .1 sd, worst {shift.max():.2f}; "
        f"{np.mean(np.abs(ratio - 1) < 0.1):.1%} of sds within 10 %; nuts {seconds:.0f} s in this run",
        flush=True,
    )
    same = {model: first(posterior, CHAINS * draws) for model, posterior in exact.items()}
    forecasts(fast, assemble(prepared, same, 4), history, CHAINS * draws)


def first(posterior: Posterior, draws: int) -> Posterior:
    """The first draws: they come in random order, so any first part stands for all."""
    effects, hyper = (
        {k: v[:draws] for k, v in part.items()} for part in (posterior.effects, posterior.hyper)
    )
    return dataclasses.replace(posterior, effects=effects, hyper=hyper)


def forecasts(fast: Funnel, exact: Funnel, history: History, draws: int) -> None:
    """Print the distance of quantiles in percent of the 80 % range's width."""
    ours, theirs = (totals(funnel, history, FUTURES * draws) for funnel in (fast, exact))
    worst, spread = 0.0, np.random.default_rng(1).uniform(-0.5, 0.5, FUTURES * draws)
    for name, x in ours.items():
        a, b = (np.quantile(values + spread, QUANTILES) for values in (x, theirs[name]))
        apart = (a - b) / (b[2] - b[0])
        worst = max(worst, float(np.abs(apart).max()))
        print(f"  {name:<26}" + "".join(f"{v:>+8.1%}" for v in apart))
    # of a Normal: sd of an empirical P10, twice since both are, over the width of its 80 % range
    noise = math.sqrt(2 * 0.1 * 0.9 / draws) / 0.1755 / 2.563
    print(f"  worst {worst:.1%} of the width; Monte Carlo error of P10 about {noise:.1%}")


def main() -> None:
    """Compare the chosen companies."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("companies", nargs="*", default=["small", "example"])
    parser.add_argument("--draws", type=int, default=2500, help="NUTS draws per chain, four chains")
    parser.add_argument("--data", type=Path, help="folder of imported Salesforce data")
    parser.add_argument("--keep", type=Path, help="folder in which NUTS draws are kept, to go on later")
    chosen = parser.parse_args()
    for name in chosen.companies:
        compare(name, chosen.data, chosen.draws, chosen.keep)


if __name__ == "__main__":
    main()
