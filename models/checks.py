"""Posterior-predictive checks: would the fitted model have produced what was seen?"""

from __future__ import annotations

import numpy as np

from quotacast.models.terms import Cells, Declaration, Floats, Posterior

#: Posterior draws used for a check.
CHECK_DRAWS = 200
#: A total outside this two-sided tail probability fails the check.
TAIL = 0.002


def predictive_check(
    declaration: Declaration, cells: Cells, posterior: Posterior, seed: int
) -> dict[str, float | bool]:
    """Compare observed counts with replicated ones, in total and by month (where cells have months).

    Returns
    -------
    dict
        ``total_p``: two-sided tail probability of the observed total among replications;
        ``months_in_90``: share of months whose observed count lies inside the 90 % range of its
        replications (expected about .9 or, since the months were fitted, a little more);
        ``passed``: whether the total is believable.
    """
    if declaration.family == "normal":
        return _normal_check(declaration, cells, posterior)
    rng = np.random.default_rng(seed)
    keep = slice(0, min(CHECK_DRAWS, posterior.draws))
    thin = Posterior(
        {k: v[keep] for k, v in posterior.effects.items()},
        {k: v[keep] for k, v in posterior.hyper.items()},
        posterior.diagnostics,
    )
    mean = cells.exposure * np.exp(thin.linear_predictor(declaration, cells))
    if declaration.family == "negbinomial":
        phi = 1.0 / (thin.hyper["overdispersion"][:, None] ** 2 + 1e-9)
        mean = rng.gamma(phi, mean / phi)
    months = cells.codes.get("month", np.zeros(len(cells), dtype=np.int32))
    size = int(months.max(initial=0)) + 1
    seen = np.bincount(months, cells.response, minlength=size)
    expected = np.stack([np.bincount(months, row, minlength=size) for row in mean])
    replicated = rng.poisson(expected)
    low, high = np.quantile(replicated, [0.05, 0.95], axis=0)
    total = replicated.sum(axis=1)
    below, above = (total <= seen.sum()).mean(), (total >= seen.sum()).mean()
    p = float(min(1.0, 2 * min(below, above)))
    return {
        "total_p": round(p, 4),
        "months_in_90": round(float(((seen >= low) & (seen <= high)).mean()), 3),
        "passed": bool(p >= TAIL),
    }


def _normal_check(declaration: Declaration, cells: Cells, posterior: Posterior) -> dict[str, float | bool]:
    """Weighted mean of the observations against its posterior, in posterior sds."""
    eta: Floats = posterior.linear_predictor(declaration, cells)
    weight = cells.exposure / cells.exposure.sum()
    fitted = eta @ weight
    gap = float((cells.response @ weight - fitted.mean()) / max(float(fitted.std()), 1e-9))
    return {"mean_gap_sd": round(gap, 3), "passed": bool(abs(gap) < 4)}
