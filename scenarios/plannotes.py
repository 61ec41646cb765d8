"""What a plan and its data make worth saying."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from quotacast.engine.quota import Scope
from quotacast.engine.reports.words import percent
from quotacast.models.covariates import Covariate
from quotacast.models.funnel import Prepared
from quotacast.models.history.history import History
from quotacast.models.turnover import turnover
from quotacast.scenarios.against import leaving_note
from quotacast.scenarios.plan import Plan


def notes_of(plan: Plan, history: History, prepared: Prepared) -> tuple[str, ...]:
    """The plan's own notes, and what is to be said of it beside these data.

    Raises
    ------
    PlanError
        Where the plan does not fit the data.
    """
    known = dict(zip(prepared.people.reps, prepared.people.team, strict=True))
    logged = history.activities["kind"].dropna().unique()
    said = plan.check_against(
        known,
        kinds=[str(kind) for kind in logged] if len(logged) else None,  # without any: refused by metric
        as_of=history.as_of_date,
        teams=[str(t) for t in history.reps["team"].dropna().unique()],
        segments=prepared.segment.levels,
    )
    past = turnover(prepared.people, prepared.grid.first, prepared.grid.last)
    handed = open_deal_notes(plan, history, known, prepared.segment)
    return (*plan.notes, *said, *leaving_note(plan.people, past), *handed)


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
