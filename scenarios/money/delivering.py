"""`quotacast capacity`: from a run to hours and people needed for delivery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from quotacast.engine.answer import Answer
from quotacast.engine.answers.capacity import capacity
from quotacast.engine.delivery import Delivery, ratios_of
from quotacast.engine.reports.table import as_table
from quotacast.errors import PlanError
from quotacast.scenarios.answer_views import picked
from quotacast.scenarios.choose import check_by, select_scopes
from quotacast.scenarios.run import Run

#: Kinds of period in which people can be planned.
KINDS = ("week", "month", "quarter", "year")
#: Columns that a terminal shows.
SHOWN = ("scope", "scope_id", "period", "confirmed", "open", "new", "hours_p50", "hours_p80",
         "people_p50", "people_p80", "p_short", "p_idle")  # fmt: skip


def capacity_answer(run: Run, options: Mapping[str, Any]) -> tuple[Answer, Sequence[str]]:
    """Hours and people by period, for the company and the teams that sell.

    Raises
    ------
    PlanError
        Where the plan has no ``[capacity]``, or nothing tells how many hours a deal takes.
    """
    kind = check_by(options["by"])
    if kind is not None and kind not in KINDS:
        raise PlanError(f"--by {kind}: people are planned by {', '.join(KINDS)}")
    select_scopes(run.scopes, options["scope"])
    delivery = delivery_of(run)
    ratios_of(run.history, delivery)  # told before anything long
    days = run.periods("day")
    paths = run.paths(days, ("deals_won", "bookings"))
    found = capacity(paths, run.history, delivery, run.periods(kind), run.plan.seed, run.provenance())
    return _chosen(found, run, options["scope"]), (*_notes(run, delivery), *run.plan_notes)


def delivery_of(run: Run) -> Delivery:
    """What the plan says about delivery."""
    stated = run.plan.capacity
    if stated is None:
        raise PlanError(
            "the plan has no [capacity]: state at least person_month, the hours that one person delivers per "
            "month"
        )
    return Delivery(
        stated.person_month,
        stated.hours_per_amount,
        stated.hours_per_deal,
        stated.start_lag,
        stated.duration,
        stated.people,
    )


def _chosen(found: Answer, run: Run, wanted: Sequence[str]) -> Answer:
    if not wanted:
        return found
    kept = {(s.kind, s.id) for s in select_scopes(run.scopes, wanted)}
    rows = found.rows
    inside = [pair in kept for pair in zip(rows["scope"], rows["scope_id"], strict=True)]
    if not any(inside):
        raise PlanError("--scope: delivery is told for the company and for the teams that sell")
    return replace(found, rows=rows[inside].reset_index(drop=True))


def _notes(run: Run, delivery: Delivery) -> list[str]:
    if delivery.hours_per_amount is not None or delivery.hours_per_deal is not None:
        return []
    return [
        f"Hours of deals to come are those of {ratios_of(run.history, delivery).size:,} past wins per amount,"
        " drawn at random for each deal."
    ]


def capacity_text(answer: Answer, options: Mapping[str, Any], width: int) -> str:
    """The company, or the scopes asked for."""
    rows = answer.rows if options["scope"] else answer.rows[answer.rows["scope"] == "company"]
    spare = {"p_short", "p_idle"} if rows["p_short"].isna().all() else set()
    if not options["scope"]:
        spare |= {"scope", "scope_id"}
    shown = picked(answer, [name for name in SHOWN if name not in spare], rows)
    left = len(answer.rows) - len(rows)
    more = " Teams that sell: --scope team, --format json or --out." if left else ""
    return as_table(replace(shown, words=answer.words + more), width=width)
