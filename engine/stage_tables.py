"""Tables of stages: in which every open deal stands, and what a stage does to its hazards.

Formulas are those of :mod:`quotacast.models.stages`. Where no deal has a stage, the arrays are empty and the
simulator goes by age alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from quotacast.engine.book import Book
from quotacast.engine.effects import Effects, Ints, levels
from quotacast.models.stages import StageData, factors, move_rates, next_stage
from quotacast.models.terms import Floats

#: What every posterior draw says of stages: factors on the hazards of winning and losing and hazards of
#: moving on, (posterior, stages, bands of the age in the stage); what is left of the deal's age in them,
#: (posterior, bands); cumulative shares of the stages that follow, (posterior, stages, stages); and the
#: first days of the bands of the age in a stage.
ARRAYS = (
    "stage_win", "stage_loss", "stage_move", "win_age", "loss_age", "move_age", "stage_next", "stage_edges",
)  # fmt: skip


class StageTables:
    """Arrays of stages: ``fixed`` once, ``block`` for a block of draws.

    Parameters
    ----------
    effects : Effects
    book : Book
        The open deals with their stages.
    seed : int
    """

    def __init__(self, effects: Effects, book: Book, seed: int) -> None:
        self.effects, self.book, self.seed = effects, book, seed
        stages = effects.funnel.prepared.stages
        there = stages is not None and book.stage is not None and bool((book.stage >= 0).any())
        self.data: StageData | None = stages if there else None
        self.fixed = self._nothing() if self.data is None else self._fixed(self.data)

    def _nothing(self) -> dict[str, Any]:
        no_odds, no_ages, no_days = np.zeros((0, 0, 0)), np.zeros((0, 0)), np.empty(0)
        return {
            "staged": 0,
            "deal_stage": np.empty(0, dtype=np.int64),
            "deal_in_stage": no_days,
            "stage_arrays": (*[no_odds] * 3, *[no_ages] * 3, no_odds, no_days),
        }

    def _fixed(self, data: StageData) -> dict[str, Any]:
        assert self.book.stage is not None
        assert self.book.entered is not None
        return {
            "staged": 1,
            "deal_stage": self.book.stage.astype(np.int64),
            "deal_in_stage": (self.effects.grid.first - self.book.entered).astype(float),
            "stage_arrays": self._arrays(data),
        }

    def _arrays(self, data: StageData) -> tuple[Floats, ...]:
        """In the order of ``ARRAYS``."""
        bands = len(self._hazards().age_edges)
        won, lost, moved = (self.effects.funnel.posteriors[d.name] for d in data.declarations)
        ages = (np.exp(levels(one.effects, "age", bands)) for one in (won, lost, moved))
        return (
            factors(data, won, 0),
            factors(data, lost, 1),
            move_rates(data, moved),
            *ages,
            next_stage(data, moved.draws, self.seed),
            np.asarray(data.edges, dtype=float),
        )

    def _hazards(self) -> Any:
        return self.effects.funnel.prepared.hazards

    def block(self, row: Ints, first: int) -> dict[str, Floats]:
        """Common shock of moves by piece, shape (draws, pieces)."""
        if self.data is None:
            return {"time_move": np.zeros((0, 0))}
        month = self.effects.grid.month - self.effects.months[0]
        shock = self.effects.shock("moved", row, first, self._hazards().months)
        return {"time_move": np.exp(shock[:, month])}
