"""Margins of reps, partially pooled: only for comparing reps; the forecast draws margins by segment.

Normal model of the margin (share of the amount) of past wins ::

    margin = level + segment + rep + residual,        rep ~ Normal(0, rep_sd)

Wins count alike, whatever their amount. A rep's margin is told at the company's mix of segments.
"""

from __future__ import annotations

import numpy as np

from quotacast.models.amounts import normal_cells
from quotacast.models.covariates import Covariate
from quotacast.models.history.history import History
from quotacast.models.margins import KNOWN, known_margins, margins_known
from quotacast.models.people import Employment
from quotacast.models.terms import Declaration, Floats, Term

#: Pareto k-hat above which the fit is not trusted.
TRUSTED = 0.7


def margin_declaration(segments: int, reps: int) -> Declaration:
    """Declare the margin of a win."""
    terms = (
        Term("level", "level", "", 1, 0.5, "half of the amount, more or less", (0.5,)),
        Term("segment", "contrast", "segment", segments, 0.2, "segments differ by tens of points"),
        Term("rep", "pooled", "rep", reps, 0.05, "reps give discounts of a few points"),
    )
    return Declaration("margin", "normal", tuple(t for t in terms if t.size > 1 or t.kind == "level"))


def rep_margins(
    history: History, people: Employment, segment: Covariate, draws: int, seed: int
) -> Floats | None:
    """Posterior draws of every rep's margin at the company's mix, shape (draws, reps).

    None where margins are known for too few wins, nothing varies, or the fit is not to be trusted.
    """
    from quotacast.models.laplace import fit_laplace

    deals, found = history.opportunities, known_margins(history)
    amount, index = deals["amount"].to_numpy(dtype=float), people.index()
    won = (deals["status"] == "won").to_numpy() & np.isfinite(found) & (amount > 0)
    won &= deals["rep_id"].isin(index.keys()).to_numpy()
    if margins_known(history) < KNOWN or won.sum() < 2:
        return None
    share = found[won] / amount[won]
    if not share.std() > 0:
        return None
    code = segment.codes[won].astype(np.int32)
    rep = np.array([index[r] for r in deals["rep_id"].to_numpy(dtype=object)[won]], dtype=np.int32)
    declared = margin_declaration(len(segment.levels), len(people.reps))
    fit = fit_laplace(declared, normal_cells(share, {"segment": code, "rep": rep}), draws=draws, seed=seed)
    if float(fit.diagnostics["khat"]) > TRUSTED:
        return None
    mix = np.bincount(code, minlength=len(segment.levels)) / code.size
    base = fit.effects["level"][:, 0]
    if "segment" in fit.effects:
        base = base + fit.effects["segment"] @ mix
    own = fit.effects.get("rep", np.zeros((fit.draws, len(people.reps))))
    return np.asarray(base[:, None] + own)
