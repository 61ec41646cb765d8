"""True parameters of small companies lie in their posterior ranges as often as the ranges say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np

from quotacast.models.cells import hazard_cells
from quotacast.models.conversion import LINKS, episodes, hazard_declaration
from quotacast.models.laplace import fit_laplace
from quotacast.models.periods import Calendar
from quotacast.models.terms import Cells, Declaration
from quotacast.models.timegrid import TimeGrid, day_number

#: The bands of age in which a world's hazards are constant: the days after `engine.worlds_truth.AGE_BANDS`.
AGES = (0, 8, 15, 31, 61, 91, 181, 366)
SEGMENTS = ("smb", "mid", "enterprise")
REPS, FIRST, LAST = 5, date(2024, 1, 1), date(2025, 12, 31)
#: What a world without shocks and bad quarters is made of; the other terms' truth is zero.
KEPT = ("level", "age", "position", "rep", "segment")


def _calm(truth: Any) -> Any:
    quiet = {"shock_sd": 0.0, "rep_quarter_sd": 0.0}
    return replace(
        truth,
        creation=replace(truth.creation, **quiet, level=truth.creation.level + 0.5),
        win=replace(truth.win, **quiet),
        loss=replace(truth.loss, **quiet),
    )


def _fitted(world: Any, history: Any, cause: int) -> tuple[dict[str, Any], Cells]:
    weekday = tuple(7.0 * w for w in world.truth.weekday)
    grid = TimeGrid(Calendar(), int(day_number(FIRST)), int(day_number(LAST)), weekday)
    deals = history.opportunities
    codes = {
        "rep": np.searchsorted(world.spec.rep_ids, deals["rep_id"].to_numpy(dtype=str)),
        "segment": np.array([SEGMENTS.index(s) for s in deals["segment"]]),
    }
    found = episodes(history, LINKS["opportunity"], {k: v.astype(np.int32) for k, v in codes.items()}, None)
    cells = hazard_cells(found, grid, AGES)
    axes = {**cells.codes, "position": grid.position[cells.codes["piece"]].astype(np.int32)}
    sizes = {"rep": REPS, "segment": 3, "month": 24, "quarter": 8, "rep_quarter": 8 * REPS}
    declared = hazard_declaration(("won", "lost")[cause], AGES, sizes)
    slim = Declaration(declared.name, "poisson", tuple(t for t in declared.terms if t.name in KEPT))
    data = Cells(cells.events[cause], cells.exposure, axes)
    return dict(fit_laplace(slim, data, draws=400, seed=1).effects), data


def _in_90(draws: Any, truth: Any) -> list[bool]:
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    return list((truth >= low) & (truth <= high))


def _covered(world: Any, history: Any, cause: int) -> list[bool]:
    fit, cells = _fitted(world, history, cause)
    true = (world.truth.win, world.truth.loss)[cause]
    parts = {name: np.array(getattr(true, name)) for name in ("age", "position", "rep", "segment")}
    # Only sums are identified: effects are compared about their mean, ages with the level in them.
    rep = fit["rep"] - fit["rep"].mean(axis=1, keepdims=True)
    held = _in_90(rep, parts["rep"] - parts["rep"].mean())
    for name in ("position", "segment"):
        held += _in_90(fit[name], parts[name] - parts[name].mean())
    level = fit["level"] + fit["age"] + fit["rep"].mean(axis=1, keepdims=True)
    truth = true.level + parts["age"] + sum(parts[k].mean() for k in ("position", "rep", "segment"))
    seen = np.bincount(cells.codes["age"], cells.exposure, len(AGES)) > 500.0
    return held + _in_90(level[:, seen], truth[seen])


def test_nine_in_ten_true_parameters_lie_in_their_90_percent_ranges(
    small_world: Callable[..., Any], world_history: Callable[..., Any]
) -> None:
    held: list[bool] = []
    for seed in range(21, 27):
        world = small_world(seed, REPS, FIRST, LAST, change=_calm)
        history = world_history(world)
        for cause in (0, 1):
            held += _covered(world, history, cause)
    n = len(held)
    assert n > 150
    # Parameters of one fit are correlated: taken as worth a third of as many independent ones.
    error = np.sqrt(0.9 * 0.1 / (n / 3))
    assert abs(np.mean(held) - 0.9) < 3 * error, f"{np.mean(held):.3f} of {n}"
