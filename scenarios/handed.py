"""What a plan's moves hand over of what is open, in words."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from quotacast.engine.quota import Scope
from quotacast.engine.reports.words import percent
from quotacast.models.covariates import Covariate
from quotacast.models.history.history import History
from quotacast.scenarios.plan import Plan


def open_deal_notes(
    plan: Plan, history: History, teams: Mapping[str, str], segment: Covariate
) -> tuple[str, ...]:
    """How many open deals each move hands over, and at which loss."""
    deals, said = history.opportunities, []
    is_open = (deals["status"] == "open").to_numpy()
    for at, move in enumerate(plan.moves, 1):
        if not move.open_deals or move.segment not in segment.levels:
            continue
        where = Scope.parse(move.giver)
        owner = deals["rep_id"] if where.kind == "rep" else deals["rep_id"].map(teams)
        mine = is_open & (owner == where.id).to_numpy() & _in(segment, move.segment)
        part = "" if move.share == 1 else f"{percent(move.share)} of "
        said.append(
            f"move[{at}].open_deals: {part}{int(mine.sum())} open deals in {move.segment} go from "
            f"{move.giver} to {move.taker} on {move.first}, as far as they are open then; each keeps "
            f"{percent(plan.people.keep_odds)} of its odds ([people] keep_odds)."
        )
    return tuple(said)


def _in(segment: Covariate, name: str) -> np.ndarray:
    return np.asarray(segment.codes == list(segment.levels).index(name))
