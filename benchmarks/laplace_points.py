"""How rough the tail of a shock's sd is in the fast fit: by the number of points, and with sds drawn anew.

Run ``python benchmarks/laplace_points.py [company ...] [--seeds N] [--nuts TARGET]`` from the project's root.
For models of companies of ``laplace_vs_nuts_forecast.py`` it prints mean, sd and upper quantiles of the sd of
the shock, and the sd of one month of it, each as average over seeds ± standard deviation among them. Once as
weighted, and once with sds and correlations drawn once more given the levels, as the product does. Then the
seconds of a whole fit of the example. With ``--nuts`` the same of NUTS at that target acceptance, in minutes.
"""

from __future__ import annotations

import argparse
import time
from itertools import product
from unittest import mock

import numpy as np
import whitened_nuts
from laplace_vs_nuts_forecast import CALENDAR, NEAR, company

from quotacast.models import laplace
from quotacast.models.funnel import fit, prepare
from quotacast.models.inference import diagnose
from quotacast.models.laplace_gibbs import redraw

MODELS = {"example": ("activity:call", "lost"), "large": ("created", "activity:lead_contact")}
POINTS = (256, 512, 1024)
DRAWS, NUTS_DRAWS, MONTH = 2000, 6000, 8
WAYS = {"as weighted": lambda declaration, effects, hyper, rng: hyper, "redrawn": redraw}


def said(shock_sd: np.ndarray, month: np.ndarray) -> list[float]:
    """What is compared."""
    return [shock_sd.mean(), shock_sd.std(), *np.quantile(shock_sd, [0.9, 0.95]), month.std()]


def row(label: str, found: np.ndarray) -> str:
    """A line: averages over the first axis, and standard deviations where there is more than one."""
    means, spread = found.mean(axis=0), found.std(axis=0)
    shown = [
        f"{m:.4f} ± {s:.4f}" if len(found) > 1 else f"{m:.4f}" for m, s in zip(means, spread, strict=True)
    ]
    return f"  {label:<26}" + "".join(f"  {text:<15}" for text in shown).rstrip()


def main() -> None:
    """Compare the numbers of points."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("companies", nargs="*", default=list(MODELS))
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--nuts", type=float, metavar="TARGET", help="also NUTS at this target acceptance")
    chosen = parser.parse_args()
    for name in chosen.companies:
        prepared = prepare(company(name, None), CALENDAR)
        for model in MODELS[name]:
            declaration, cells = prepared.declared()[model]
            print(f"{name} {model}: mean, sd, 90 %, 95 % of the shock's sd; sd of month {MONTH}", flush=True)
            for points, (label, drawn) in product(POINTS, WAYS.items()):
                found = []
                changed = {"POINTS": (points,) * 3, "MANY_DRAWS": DRAWS + 1, "redraw": drawn}
                for seed in range(chosen.seeds):
                    with mock.patch.multiple(laplace, **changed):
                        fast = laplace.fit_laplace(declaration, cells, draws=DRAWS, seed=seed)
                    found.append(said(fast.hyper["shock_sd"], fast.effects["shock"][:, MONTH]))
                print(row(f"{points} points, {label}", np.array(found)), flush=True)
            if chosen.nuts:
                near = laplace.fit_laplace(declaration, cells, draws=NEAR, seed=1)
                trace = whitened_nuts.sample(
                    declaration, cells, near, draws=NUTS_DRAWS // 4, target_accept=chosen.nuts, seed=7
                )
                exact = said(trace["shock_sd"].ravel(), trace["shock"][..., MONTH].ravel())
                print(row(f"NUTS at {chosen.nuts}", np.array([exact])))
                print(f"    {diagnose(trace, declaration)}", flush=True)
        if name == "example":
            fit(prepared, draws=DRAWS)
            for points in (*POINTS[:2], *POINTS[:2]):
                with mock.patch.multiple(laplace, POINTS=(points,) * 3, MANY_DRAWS=DRAWS + 1):
                    began = time.perf_counter()
                    fit(prepared, draws=DRAWS, check=False)
                print(
                    f"  a fit of all its models, {points} points: {time.perf_counter() - began:.1f} s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
