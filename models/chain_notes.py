"""What must be said about the chain before the deal: missing tables, gaps in logs, refusals."""

from __future__ import annotations

from collections.abc import Mapping

from quotacast.models import activities
from quotacast.models.activities import Log, Observation
from quotacast.models.conversion import LINKS, Link
from quotacast.models.history.history import History
from quotacast.models.people import Employment
from quotacast.models.timegrid import TimeGrid, as_date

#: The link at which a chain without leads begins; it has models of its own for values.
DEAL = "opportunity"
#: Rows without which a link is not modelled.
FEWEST = 30
#: A table that begins (ends) so many days after (before) the grid was not kept before (after).
LATE = 31
#: What can no longer be answered without a table.
WITHOUT = {
    "leads": "No leads: the chain begins with opportunities; how many leads it takes, lead-to-deal close "
    "rates and cycles cannot be answered.",
    "activities": "No activities: activity quotas, and how many calls or meetings a deal takes, cannot be "
    "answered.",
}


def missing_notes(history: History) -> list[str]:
    """What the missing tables make impossible."""
    return [text for table, text in WITHOUT.items() if history.tables[table].empty]


def gap_weeks(people: Employment, seen: Observation) -> dict[str, int]:
    """Weeks in gaps of the log by rep; only reps with some."""
    weeks = seen.gap[:, activities.LAG_WEEKS :].sum(axis=1)
    return {rep: int(n) for rep, n in zip(people.reps, weeks, strict=True) if n}


def why_no_log(log: Log) -> str:
    """Why a log in which no week of any rep is observed tells nothing."""
    first, last = (f"{as_date(day):%d %b %Y}" for day in (log.day.min(), log.day.max()))
    when = f"(activities from {first} to {last})"
    if not (log.rep >= 0).any():
        return f"its rows are nobody's, or of days when their rep was not at work {when}"
    return f"it covers no whole week in which a rep was at work {when}"


def why_no_link(history: History, link: Link, grid: TimeGrid) -> str:
    """Why a table of which no week was kept tells nothing about how many begin in one."""
    first, last = history.tables[link.table][link.start].agg(["min", "max"])
    between = f"all begin from {first:%d %b %Y} to {last:%d %b %Y}"
    begun = as_date(grid.first)
    if last.date() < begun:
        return f"{between}, before the time of the deals, which begins on {begun:%d %b %Y}"
    return f"{between}, too short a time to tell how many do in a week"


def link_notes(history: History, yielded: Mapping[str, tuple[int, int]]) -> list[str]:
    """Links with too few rows, and endings that do not name what they began."""
    notes = []
    for name, link in LINKS.items():
        rows = len(history.tables[link.table])
        if name != DEAL and not link.due and 0 < rows < FEWEST:
            notes.append(f"Only {rows} rows of {link.table}: too few for a model; they are left out.")
    for name, (some, all_of) in yielded.items():
        link = LINKS[name]
        if link.into and some < all_of:
            notes.append(
                f"{some:,} of {all_of:,} {link.causes[0]} {link.table} name their {link.into}: the others "
                "are taken to have begun none."
            )
    return notes


def log_notes(
    log: Log, seen: Observation, people: Employment, refused: str, gaps: Mapping[str, int]
) -> list[str]:
    """What must be said about the log of activities."""
    notes = [f"Activity may not drive new business: {refused}."] if refused else []
    if log.rare:
        notes.append(f"Fewer than {activities.FEWEST} activities, not modelled: {', '.join(log.rare)}.")
    if not log.kinds:
        return notes
    outside = log.count[log.rep < 0].sum()
    if outside:
        notes.append(
            f"{outside:,.0f} activities are nobody's, or of days when their rep was not at work: "
            "not modelled."
        )
    if gaps:
        each = ", ".join(
            f"{rep} {n}" for rep, n in sorted(gaps.items(), key=lambda item: (-item[1], item[0]))
        )
        notes.append(
            "Weeks in which a rep's deals moved and nothing was logged count as unobserved, not as zero: "
            f"{each}."
        )
    if seen.silent:
        names = ", ".join(people.reps[r] for r in seen.silent)
        notes.append(f"No activity was ever logged by {names}: what they do is unobserved, not zero.")
    if seen.first > LATE + int(people.start.min(initial=seen.first)):
        notes.append(
            f"The log of activities begins on {as_date(seen.first):%d %b %Y}; before, nothing is known."
        )
    return notes
