"""Tables of stages: in which every open deal stands, and what a stage does to its hazards.

Formulas are those of :mod:`quotacast.models.stages`. Where no deal has a stage, the arrays are empty and the
simulator goes by age alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from quotacast.engine.book import Book
from quotacast.engine.effects import Effects, Ints, levels
from quotacast.models.stages import StageData, factors, next_stage, rates
from quotacast.models.terms import Floats


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
        no_odds, no_days = np.zeros((0, 0, 0)), np.empty(0)
        return {
            "staged": 0,
            "deal_stage": np.empty(0, dtype=np.int64),
            "deal_in_stage": no_days,
            "stage_edges": no_days,
            **dict.fromkeys(("stage_win", "stage_loss", "stage_move", "stage_next"), no_odds),
            **dict.fromkeys(("win_age", "loss_age", "move_age"), np.zeros((0, 0))),
        }

    def _fixed(self, data: StageData) -> dict[str, Any]:
        posteriors, bands = self.effects.funnel.posteriors, len(self._hazards().age_edges)
        won, lost, moved = (posteriors[d.name] for d in data.declarations)
        assert self.book.stage is not None and self.book.entered is not None
        return {
            "staged": 1,
            "deal_stage": self.book.stage.astype(np.int64),
            "deal_in_stage": (self.effects.grid.first - self.book.entered).astype(float),
            "stage_edges": np.asarray(data.edges, dtype=float),
            "stage_win": factors(data, won, 0),
            "stage_loss": factors(data, lost, 1),
            "stage_move": rates(data, moved),
            "stage_next": next_stage(data, moved.draws, self.seed),
            "win_age": np.exp(levels(won.effects, "age", bands)),
            "loss_age": np.exp(levels(lost.effects, "age", bands)),
            "move_age": np.exp(levels(moved.effects, "age", bands)),
        }

    def _hazards(self) -> Any:
        return self.effects.funnel.prepared.hazards

    def block(self, row: Ints, first: int) -> dict[str, Floats]:
        """Common shock of moves by piece, shape (draws, pieces)."""
        if self.data is None:
            return {"time_move": np.zeros((0, 0))}
        month = self.effects.grid.month - self.effects.months[0]
        shock = self.effects.shock("moved", row, first, self._hazards().months)
        return {"time_move": np.exp(shock[:, month])}
