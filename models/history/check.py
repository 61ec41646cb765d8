"""What `check` says about a history: every finding, and what the data can and cannot answer.

Pure functions over a :class:`History`; printing and wrapping are left to others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from quotacast.models.history import schema
from quotacast.models.history.breaks import break_findings
from quotacast.models.history.history import History
from quotacast.models.history.truncation import entry_date

#: Columns of :func:`check_rows`.
COLUMNS = ("rule", "table", "count", "examples", "action", "meaning")

# Severity as a person reads it: what is gone first, what was changed, then what only deserves a look.
_ORDER = ("rejected", "changed", "set aside", "kept", "note")

#: What can no longer be answered without a table.
WITHOUT = {
    "stages": "how deals stood at an earlier day (amounts, owners, reopenings), and models by stage",
    "leads": "lead creation and conversion",
    "activities": "activity quotas, and how many calls or meetings it takes",
    "reps": "teams, ramp after hiring, and leavers",
    "invoices": "when customers pay, and cash from open invoices",
    "quotas": "how attainable the quotas are (a plan may state them instead)",
    "rates": "amounts in more than one currency",
}


def check_rows(history: History) -> pd.DataFrame:
    """Return every finding: rule, table, count, examples (joined by ``, ``), action, meaning.

    The findings of cleaning, and breaks at the end of the history.
    Rejections come first, then changes, then what was only looked at; the most frequent first.
    """
    found = sorted(
        (*history.findings, *break_findings(history)),
        key=lambda f: (
            _ORDER.index(f.action),
            schema.TABLES.index(f.table) if f.table in schema.TABLES else 99,
            -f.count,
        ),
    )
    rows = [(f.rule, f.table, f.count, ", ".join(f.examples), f.action, f.meaning) for f in found]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"count": "int64"})


def check_summary(history: History) -> dict[str, Any]:
    """Return plain values (JSON-ready) about the data as a whole.

    Keys: ``rows`` per table, ``rejected`` per table, ``as_of``, ``currency``, ``first_creation``,
    ``last_creation``, ``first_closing``, ``last_closing``, ``entry``, ``status`` (won, lost, open),
    ``reps``, ``teams``, ``supports`` (a sentence per table or column that models need) and ``missing``
    (a sentence per table that is not there, with what it costs).
    """
    deals = history.opportunities
    status = deals["status"].value_counts()
    rejected = history.rejected["table"].value_counts()
    return {
        "rows": {t: len(history.tables[t]) for t in schema.TABLES},
        "rejected": {t: int(rejected[t]) for t in schema.TABLES if t in rejected},
        "as_of": history.as_of_date.isoformat(),
        "currency": history.currency,
        "first_creation": _iso(deals["created_on"].min()),
        "last_creation": _iso(deals["created_on"].max()),
        "first_closing": _iso(deals["closed_on"].min()),
        "last_closing": _iso(deals["closed_on"].max()),
        "entry": _iso(entry_date(history)),
        "status": {s: int(status.get(s, 0)) for s in ("won", "lost", "open")},
        "reps": int(deals["rep_id"].nunique()),
        "teams": int(history.reps["team"].nunique()),
        "supports": {name: says(history) for name, says in _SUPPORTS.items()},
        "missing": {
            t: f"no {t}: cannot answer {cost}" for t, cost in WITHOUT.items() if history.tables[t].empty
        },
    }


def _iso(day: Any) -> str | None:
    return None if day is None or pd.isna(day) else day.isoformat()[:10]


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole else "0%"


def _activities(history: History) -> str:
    """Only activity that is free of deals, or precedes them, can drive creation (design, section 5)."""
    acts = history.activities
    if acts.empty:
        return "no"
    born = history.opportunities.set_index("opportunity_id")["created_on"]
    tied = acts["opportunity_id"].notna()
    early = (acts["done_on"] < acts["opportunity_id"].map(born)) | ~tied
    kinds = f"{acts['kind'].nunique()} kinds, {_share(tied.sum(), len(acts))} hang on an opportunity"
    if early.sum() < 0.05 * len(acts):
        return f"yes, {kinds}: an output of deals, so no yields per activity can be learned"
    return f"yes, {kinds}; {_share(early.sum(), len(acts))} may drive new deals"


def _leads(history: History) -> str:
    leads = history.leads
    if leads.empty:
        return "no"
    converted = leads["status"] == "converted"
    linked = (converted & leads["opportunity_id"].notna()).sum()
    return f"yes, {_share(converted.sum(), len(leads))} converted, {linked:,} linked to their opportunity"


def _stages(history: History) -> str:
    stages = history.stages
    if stages.empty:
        return "no: earlier states are known from creation and closing only"
    told = [c for c in schema.HISTORIES if stages[c].notna().any()]
    covered = history.opportunities["opportunity_id"].isin(set(stages["opportunity_id"])).mean()
    ends = ", ".join(f"{k} = {v}" for k, v in history.closing_stages.items()) or "none recognised"
    return f"yes, for {covered:.0%} of the deals, with {', '.join(told)}; closing stages: {ends}"


def _amount(history: History) -> str:
    deals = history.opportunities
    other = deals[deals["status"] != "won"]
    known = (other["amount"] > 0).mean() if len(other) else 0.0
    verdict = "yes" if known >= 0.8 else "no"
    return f"{verdict}: {known:.0%} of the lost and open deals have one (80% are needed)"


def _losses(history: History) -> str:
    status = history.opportunities["status"]
    lost = int((status == "lost").sum())
    return (
        f"yes, {lost:,}"
        if lost
        else "no: losses are not recorded, close rates mean won ÷ closed and are all 100%"
    )


def _teams(history: History) -> str:
    reps = history.reps
    if reps["team"].notna().sum() == 0:
        return "no: every rep is in team (none)"
    spells = int(reps["rep_id"].duplicated().sum())
    moves = f", {spells} moves between teams" if spells else ", taken as constant"
    return f"yes, {reps['team'].nunique()} teams{moves}"


def _ramp(history: History) -> str:
    hired = history.reps["hired_on"].notna().sum()
    return f"yes, {hired} reps with their first day" if hired else "no: no first days of work"


def _margin(history: History) -> str:
    deals = history.opportunities
    won = deals["status"] == "won"
    known = (deals["cost"].notna() | deals["margin_pct"].notna())[won].mean() if won.any() else 0.0
    return f"yes, for {known:.0%} of the won deals" if known > 0 else "no: neither cost nor margin_pct"


def _invoices(history: History) -> str:
    invoices = history.invoices
    if invoices.empty:
        return "no"
    linked = _share(invoices["opportunity_id"].notna().sum(), len(invoices))
    parts = f", {len(history.payments):,} payments one by one" if len(history.payments) else ""
    paid = _share(invoices["paid_on"].notna().sum(), len(invoices))
    return f"yes, {paid} paid, {linked} linked to their deal{parts}"


_SUPPORTS: dict[str, Callable[[History], str]] = {
    "losses": _losses,
    "amount as predictor": _amount,
    "stage history": _stages,
    "leads": _leads,
    "activities": _activities,
    "teams": _teams,
    "ramp": _ramp,
    "margin": _margin,
    "invoices": _invoices,
}
