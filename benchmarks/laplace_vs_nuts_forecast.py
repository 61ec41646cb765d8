"""Nested Laplace against NUTS on whole companies: parameters, and the forecasts made from them.

Run ``python benchmarks/laplace_vs_nuts_forecast.py [company ...] [--draws N] [--rounds N]
[--models MODEL ...] [--data FOLDER] [--keep FOLDER]`` from the project's root. Companies: ``example``,
``small`` (5 reps, about 150 deals), ``large`` (100 reps) and ``salesforce`` (the imported Salesforce
demonstration data in FOLDER).

For each model of a company it prints how far the means are apart in posterior standard deviations and the
ratio of standard deviations, over the parameters that a forecast uses; then for company totals of the next
four quarters how far P10, P50 and P90 lie apart in percent of the 80 % range's width, beside the Monte Carlo
error of that comparison. Counts are spread evenly over the unit around them, the same for both, since one
deal can be a tenth of a small company's range. A model whose effective sample size falls short of the one
wanted is sampled in further chains.

NUTS runs in the coordinates of ``whitened_nuts.py``; before it runs, its density is compared with that of the
PyMC model of the same declaration. With ``--keep`` an interrupted run goes on with the next model.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from datetime import date, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import whitened_nuts

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
from quotacast.models.inference import CHAINS, diagnose
from quotacast.models.laplace import fit_laplace
from quotacast.models.periods import Calendar, Period
from quotacast.models.store import fingerprint, load_fit, save_fit
from quotacast.models.terms import Cells, Declaration, Posterior

CALENDAR = Calendar()
QUANTILES = (0.1, 0.5, 0.9)
#: Effective sample size wanted of every parameter.
WANTED_ESS = 4000
#: How far the log density may lie from PyMC's over draws of the posterior.
SAME_DENSITY = 1e-6
#: Draws of Laplace that choose the coordinates of NUTS.
NEAR = 8000
#: Models sampled at the same time.
PROCESSES = 2
#: Futures per posterior draw.
FUTURES = 4


def spec(name: str) -> WorldSpec:
    """A simulated company."""
    if name == "example":
        return example_spec()
    reps, years, level = {"small": (5, 1, -2.15), "large": (100, 1, -1.0)}[name]
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


def parameters(declaration: Declaration, posterior: Posterior) -> dict[str, np.ndarray]:
    """Draws of everything that a forecast uses, by name."""
    found = {
        f"{t.name}[{k}]": column
        for t in declaration.terms
        for k, column in enumerate(posterior.effects[t.name].T)
    }
    found |= {name: posterior.hyper[name] for name in declaration.forecast_hyperparameters()}
    return {name: values for name, values in found.items() if values.std() > 1e-9}


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


def _enough(said: Mapping[str, Any], most: int) -> bool:
    return bool(said["ess"] >= WANTED_ESS or said["draws"] >= most)


def sampled(
    declaration: Declaration,
    cells: Cells,
    model: str,
    seed: int,
    draws: int,
    rounds: int,
    keep: Path | None,
    data: str,
) -> Posterior:
    """A model fitted by NUTS; with a folder, read from there where an earlier run got as far."""
    folder = keep and keep / fingerprint({"model": model})[:16]
    key = f"{data} {MODEL_VERSION} {seed} {draws}"
    kept = folder and load_fit(folder, (model,), key)
    if kept and _enough(kept[model].diagnostics, rounds * draws):
        return kept[model]
    near = fit_laplace(declaration, cells, draws=NEAR, seed=seed)
    if not (apart := whitened_nuts.agreement(declaration, cells, near)) < SAME_DENSITY:
        raise SystemExit(f"{model}: the log density is not PyMC's, they differ by up to {apart:.2g}")
    if not (apart := whitened_nuts.agreement_of_sums(declaration, cells, near)) < SAME_DENSITY:
        raise SystemExit(f"{model}: monthly sums change the log density, by up to {apart:.2g}")
    chains: list[Mapping[str, np.ndarray]] = []
    for k in range(rounds):
        more = whitened_nuts.sample(
            declaration, cells, near, draws=draws // CHAINS, chains=CHAINS, cores=1, seed=1000 * seed + k
        )
        chains.append(more)
        trace = {name: np.concatenate([c[name] for c in chains]) for name in more}
        said = {**diagnose(trace, declaration), "draws": trace["diverging"].size}
        if _enough(said, rounds * draws):
            break
    # however many chains there were, as many draws of all of them are left
    order = np.random.default_rng(seed).permutation(trace["diverging"].size)[:draws]
    flat = {name: values.reshape(-1, *values.shape[2:])[order] for name, values in trace.items()}
    posterior = Posterior(
        {t.name: flat[t.name] for t in declaration.terms},
        {name: flat[name] for name in declaration.hyperparameters()},
        said,
    )
    if folder:
        save_fit(folder, {model: posterior}, {"key": key})
    return posterior


def described(
    model: str, fast: Posterior, exact: Posterior, shift: Mapping[str, float], ratio: Mapping[str, float]
) -> str:
    """Two lines on one model."""
    said = exact.diagnostics
    furthest = max(shift, key=lambda n: abs(shift[n]))
    widest = max(ratio, key=lambda n: abs(math.log(ratio[n])))
    return (
        f"  {model:<24}{len(shift):5d} parameters  k-hat {fast.diagnostics['khat']:5.2f}  "
        f"nuts {said['draws']:,.0f} draws, ESS {said['ess']:,.0f}, R-hat {said['rhat']:.3f}, "
        f"{said['divergences']:.0f} divergences\n"
        f"      |shift| mean {np.mean(np.abs(list(shift.values()))):.3f}, worst {abs(shift[furthest]):.2f} "
        f"({furthest}); sd ratio {min(ratio.values()):.2f} to {max(ratio.values()):.2f} ({widest})"
    )


def compare(name: str, chosen: argparse.Namespace, pool: Executor) -> None:
    """Fit a company twice and print how far apart the answers are, each model when it has been sampled."""
    draws, rounds, keep = chosen.draws, chosen.rounds, chosen.keep
    history = company(name, chosen.data)
    prepared = prepare(history, CALENDAR)
    declared = prepared.declared()
    if chosen.models:
        declared = {model: declared[model] for model in chosen.models}
    fit(prepared, draws=400, fall_back=False)
    began = time.perf_counter()
    fast = fit(prepared, draws=draws, seed=4, fall_back=False)
    fast_seconds = time.perf_counter() - began
    print(f"\n{name}: {len(history.opportunities):,} deals; laplace {fast_seconds:.1f} s", flush=True)
    exact: dict[str, Posterior] = {}
    place = keep and keep / name
    shifts, ratios, began = [], [], time.perf_counter()
    jobs = [
        pool.submit(sampled, *declared[model], model, k, draws, rounds, place, history.fingerprint)
        for k, model in enumerate(prepared.declared())
        if model in declared
    ]
    for job, (model, (declaration, _)) in zip(jobs, declared.items(), strict=True):
        exact[model] = job.result()
        a, b = (parameters(declaration, p) for p in (fast.posteriors[model], exact[model]))
        shift = {n: (a[n].mean() - b[n].mean()) / b[n].std() for n in b}
        ratio = {n: a[n].std() / b[n].std() for n in b}
        shifts += list(shift.values())
        ratios += list(ratio.values())
        print(described(model, fast.posteriors[model], exact[model], shift, ratio), flush=True)
    seconds = time.perf_counter() - began
    shift, ratio = np.abs(shifts), np.abs(np.array(ratios) - 1.0)
    print(
        f"  all: {np.mean(shift < 0.1):.1%} of means within .1 sd, worst {shift.max():.2f}; "
        f"{np.mean(ratio < 0.1):.1%} of sds within 10 %, worst {ratio.max():.0%}; {seconds:.0f} s here",
        flush=True,
    )
    forecasts(fast, assemble(prepared, {**fast.posteriors, **exact}, 4), history, draws)


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
    parser.add_argument("--draws", type=int, default=12_000, help="draws compared, a multiple of four")
    parser.add_argument("--rounds", type=int, default=10, help="most rounds of so many draws per model")
    parser.add_argument("--models", nargs="+", help="only these; the others are the fast fit's on both sides")
    parser.add_argument("--data", type=Path, help="folder of imported Salesforce data")
    parser.add_argument("--keep", type=Path, help="folder in which NUTS draws are kept, to go on later")
    chosen = parser.parse_args()
    # a model a process: the sampler calls back into Python, and threads would wait for each other
    with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool:
        for name in chosen.companies:
            compare(name, chosen, pool)


if __name__ == "__main__":
    main()
