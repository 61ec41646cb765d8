"""What the data are like, as an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quotacast.engine.answer import Answer, Field
from quotacast.models.history.check import check_rows, check_summary
from quotacast.models.history.history import History

FIELDS = (
    Field("rule", "text", "what was looked for"),
    Field("table", "text", "where"),
    Field("count", "count", "rows concerned"),
    Field("examples", "text", "ids to look at"),
    Field("action", "text", "what was done: rejected, changed, set aside, kept or only noted"),
    Field("meaning", "text", "what it means and how to mend it"),
)


def data_quality(history: History, provenance: Mapping[str, Any]) -> Answer:
    """Every finding of the cleaning rules, and what the data can and cannot answer."""
    summary = check_summary(history)
    rejected = sum(summary["rejected"].values())
    states = summary["status"]
    words = (
        f"{summary['rows']['opportunities']:,} opportunities from {summary['first_creation']} to "
        f"{summary['as_of']}: {states['won']:,} won, {states['lost']:,} lost, {states['open']:,} open; "
        f"{summary['reps']} reps. {rejected:,} rows rejected."
    )
    return Answer("check", check_rows(history), FIELDS, words, summary, provenance, "table")
