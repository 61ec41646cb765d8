"""Nested Laplace against long NUTS runs of the same declarations on simulated companies.

Run ``python benchmarks/laplace_vs_nuts.py [world ...] [--draws N]`` from the project's root; nearly all of
the minutes it takes are NUTS. For every world it prints both running times and, over all effects and
hyperparameters, the distribution of

* ``shift``: absolute difference of the two posterior means in posterior standard deviations,
* ``ratio``: the posterior standard deviation of Laplace over that of NUTS.

NUTS' own error of a mean is ``1 / sqrt(ESS)`` standard deviations; its ESS is printed beside.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from quotacast.models.amounts import value_declaration
from quotacast.models.conversion import hazard_declaration
from quotacast.models.counts import creation_declaration
from quotacast.models.inference import fit_nuts
from quotacast.models.laplace import fit_laplace
from quotacast.models.terms import Cells, Codes, Declaration, Floats, Posterior

AGES = (0, 8, 15, 31, 61, 91, 181, 366, 731)
#: Hyperparameters of the simulated truth; a term that is not listed has .15.
TRUE_SD = {"age": 0.6, "rep": 0.3, "position": 0.3, "segment": 0.4, "trend": 0.07, "team": 0.2}


def simulated_effects(declaration: Declaration, level: float, rng: np.random.Generator) -> dict[str, Floats]:
    """Effects drawn from the declaration at the true hyperparameters."""
    effects = {}
    for term in declaration.terms:
        sd = TRUE_SD.get(term.name, 0.15)
        unit = term.basis(0.6) @ rng.standard_normal(term.dimension)
        effects[term.name] = np.array([level]) if term.kind == "level" else term.prior_mean + sd * unit
    return effects


def predictor(declaration: Declaration, codes: dict[str, Codes], effects: dict[str, Floats]) -> Floats:
    """Sum of the effects per cell."""
    n = next(iter(codes.values())).shape[0]
    eta = np.zeros(n)
    for term in declaration.terms:
        eta += effects[term.name][0] if term.kind == "level" else effects[term.name][codes[term.axis]]
    return eta


def hazard_world(reps: int, quarters: int, cells: int, events: float, seed: int) -> tuple[Declaration, Cells]:
    """Win hazards over age, position, rep, segment, amount and calendar, about ``events`` wins."""
    rng = np.random.default_rng(seed)
    months = 3 * quarters
    sizes = {"rep": reps, "segment": 3, "amount": 4, "month": months, "quarter": quarters}
    declaration = hazard_declaration("won", AGES, sizes | {"rep_quarter": reps * quarters})
    draw = {name: rng.integers(0, size, cells) for name, size in sizes.items() if name != "quarter"}
    draw["quarter"] = draw["month"] // 3
    draw["age"] = np.minimum(rng.geometric(0.25, cells) - 1, len(AGES) - 1)
    draw["position"] = rng.integers(0, 4, cells)
    draw["age_position"] = draw["age"] * 4 + draw["position"]
    draw["rep_quarter"] = draw["rep"] * quarters + draw["quarter"]
    codes = {name: np.asarray(code, dtype=np.int32) for name, code in draw.items()}
    eta = predictor(declaration, codes, simulated_effects(declaration, -4.8, rng))
    exposure = rng.gamma(1.0, 20.0, cells) + 0.1
    exposure *= events / float(np.sum(exposure * np.exp(eta)))
    return declaration, Cells(rng.poisson(exposure * np.exp(eta)).astype(float), exposure, codes)


def creation_world(reps: int, weeks: int, rate: float, seed: int) -> tuple[Declaration, Cells]:
    """Weekly creations per rep, overdispersed."""
    rng = np.random.default_rng(seed)
    months, quarters = -(-weeks * 12 // 52), -(-weeks * 4 // 52)
    declaration = creation_declaration({"rep": reps, "team": 4, "month": months, "quarter": quarters})
    rep, week = np.divmod(np.arange(reps * weeks), weeks)
    month = week * 12 // 52
    tenure = np.where(rep % 3 == 0, np.minimum(week // 13, 5), 5)
    draw = {"rep": rep, "team": rep % 4, "tenure": tenure, "season": month % 12, "month": month}
    draw |= {"quarter": month // 3, "rep_quarter": rep * quarters + month // 3}
    codes = {name: np.asarray(code, dtype=np.int32) for name, code in draw.items()}
    eta = predictor(declaration, codes, simulated_effects(declaration, np.log(rate / 5.0), rng))
    exposure = rng.choice([4.0, 5.0, 5.0, 5.0], rep.size)
    gamma = rng.gamma(4.0, 0.25, rep.size)
    return declaration, Cells(rng.poisson(exposure * np.exp(eta) * gamma).astype(float), exposure, codes)


def value_world(deals: int, seed: int) -> tuple[Declaration, Cells]:
    """Log amounts of deals."""
    rng = np.random.default_rng(seed)
    sizes = {"segment": 3, "rep": 20, "quarter": 12}
    declaration = value_declaration(sizes)
    cells = 500
    codes = {k: rng.integers(0, size, cells).astype(np.int32) for k, size in sizes.items()}
    eta = predictor(declaration, codes, simulated_effects(declaration, 9.0, rng))
    count = rng.poisson(deals / cells, cells).astype(np.float64) + 1.0
    squares = np.where(count > 1, rng.chisquare(np.maximum(count - 1.0, 1.0)), 0.0)
    mean = rng.normal(eta, 1.0 / np.sqrt(count))
    return declaration, Cells(mean, count, codes, squares)


WORLDS: dict[str, Callable[[], tuple[Declaration, Cells]]] = {
    "won": lambda: hazard_world(20, 12, 8_000, 1_300.0, 1),
    "small": lambda: hazard_world(5, 8, 900, 40.0, 2),
    "created": lambda: creation_world(20, 156, 1.0, 3),
    "value": lambda: value_world(1_300, 4),
    "wide": lambda: hazard_world(100, 12, 30_000, 6_000.0, 5),
}


def table(declaration: Declaration, fast: Posterior, exact: Posterior) -> dict[str, tuple[Floats, Floats]]:
    """Shift and ratio of every level that varies, by term or hyperparameter."""
    rows = {}
    pairs = {t.name: (fast.effects[t.name], exact.effects[t.name]) for t in declaration.terms}
    pairs |= {h: (fast.hyper[h][:, None], exact.hyper[h][:, None]) for h in declaration.hyperparameters()}
    for name, (a, b) in pairs.items():
        moving = b.std(axis=0) > 1e-9
        sd = b.std(axis=0)[moving]
        rows[name] = ((a.mean(axis=0) - b.mean(axis=0))[moving] / sd, a.std(axis=0)[moving] / sd)
    return rows


def report(rows: dict[str, tuple[Floats, Floats]]) -> None:
    """Print one line per term and the summary over all."""
    print(f"  {'':22s}{'levels':>6} {'mean|shift|':>11} {'worst':>7} {'ratio min':>10} {'max':>6}")
    for name, (shift, ratio) in rows.items():
        worst = shift[np.argmax(np.abs(shift))]
        print(
            f"  {name:22s}{shift.size:6d} {np.abs(shift).mean():11.3f} {worst:+7.3f}"
            f" {ratio.min():10.3f} {ratio.max():6.3f}"
        )
    shift = np.abs(np.concatenate([s for s, _ in rows.values()]))
    ratio = np.concatenate([r for _, r in rows.values()])
    print(
        f"  all: {np.mean(shift < 0.1):.0%} of means within .1 sd, worst {shift.max():.2f};"
        f" {np.mean(np.abs(ratio - 1) < 0.1):.0%} of sds within 10 %\n"
    )


def main() -> None:
    """Compare on the chosen worlds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("worlds", nargs="*", default=["won", "small", "created", "value"])
    parser.add_argument("--draws", type=int, default=5_000, help="NUTS draws per chain, four chains")
    options = parser.parse_args()
    for name in options.worlds:
        declaration, cells = WORLDS[name]()
        fit_laplace(declaration, cells, draws=1_000)
        start = time.perf_counter()
        fast = fit_laplace(declaration, cells, draws=8_000)
        middle = time.perf_counter()
        exact = fit_nuts(declaration, cells, draws=options.draws, tune=1_500)
        end = time.perf_counter()
        size = sum(t.size for t in declaration.terms)
        print(f"{name}: {len(cells)} cells, {cells.response.sum():.0f} events, {size} levels")
        ratio = (end - middle) / (middle - start)
        print(f"  laplace {middle - start:.2f} s, nuts {end - middle:.1f} s: {ratio:.0f}x")
        print(f"  {fast.diagnostics}\n  {exact.diagnostics}")
        report(table(declaration, fast, exact))


if __name__ == "__main__":
    main()
