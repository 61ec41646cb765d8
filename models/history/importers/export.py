"""One export of deals (a Salesforce report, HubSpot, Pipedrive, Salesflare) -> a draft.

Such a file holds how each deal stands on the day of the export: no history but for HubSpot's ``Date entered
"Stage (Pipeline)"`` columns, owners by name, and a close date that means the expected day while a deal is
open. The day of closing is, best first: the won or lost time, the entry into the deal's present stage, the
day it was closed, the close date.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from quotacast.errors import DataError
from quotacast.models.history.importers.aliases import DEALS, IN_COMPANY_CURRENCY, OUTCOMES, TYPES, match
from quotacast.models.history.importers.draft import DAYS, Draft, Sourced, converted
from quotacast.models.history.importers.mapping import add_reps
from quotacast.models.history.importers.text import Table, read_table
from quotacast.models.history.importers.values import is_true, normal, salesforce_ids, to_days

_DAYS = DAYS | {"won_on", "lost_on", "close_on"}
_ENTERED = re.compile(r"""^Date entered ["'](?P<stage>.+?)(?: \([^()]*\))?["']$""", re.IGNORECASE)
#: Our columns of which one is enough -> what they are for.
_ONE_OF = (
    (("created_on",), "the day a deal was created"),
    (("status", "stage", "is_won"), "whether a deal is open, won or lost"),
    (("closed_on", "won_on", "close_on"), "the day a deal was closed"),
    (("amount",), "a deal's value"),
    (("opportunity_id", "name"), "a deal's id"),
)
_WORKING = ("is_closed", "is_won", "won_on", "lost_on", "close_on", "merged")


def import_deals(files: Sequence[Path]) -> Draft:
    """Turn one export of deals into canonical tables.

    Raises
    ------
    DataError
        If more than one file came, needed headings are missing, or a column cannot be decided.
    """
    if len(files) != 1:
        raise DataError(
            f"{len(files)} files arrived; one export is read at a time, or describe several in a mapping"
        )
    table, draft = read_table(files[0]), Draft()
    found = match(table.name, [str(h) for h in table.frame.columns], "opportunities", DEALS)
    entered = [str(h) for h in table.frame.columns if _ENTERED.match(str(h))]
    draft.matches.extend(
        (*row[:2], "stages", "entered_on", "pattern") if row[1] in entered else row for row in found.rows
    )
    draft.problems.extend(
        f"{table.name}: no column for {purpose}; wanted {_headings(names)}; or describe it in a mapping"
        for names, purpose in _ONE_OF
        if not any(name in found.columns for name in names)
    )
    draft.stop_on_problems()
    source = converted(draft, table, found.columns, days=_DAYS)
    stages = _entries(draft, table, source, entered)
    draft.stop_on_problems()
    _deals(draft, source, stages, normal(found.columns["amount"]) in IN_COMPANY_CURRENCY)
    _stages(draft, stages)
    add_reps(draft, from_file=False, ids_are_names=True)
    return draft


def _headings(names: Sequence[str]) -> str:
    return ", ".join(heading for name in names for heading in DEALS[name][:4])


def _deals(draft: Draft, source: Sourced, stages: Sourced | None, company_currency: bool) -> None:
    frame = source.frame
    frame["opportunity_id"] = _ids(draft, source)
    ids = frame["opportunity_id"]
    source.reject((ids != "") & ids.duplicated(), "opportunity_id came before")
    source.reject(_merged(source), "was merged into another deal")
    source.reject(source.column("status").map(normal) == "deleted", "deleted in the CRM")
    frame["status"] = _status(draft, source)
    frame["closed_on"] = _closed_on(draft, source, stages)
    expected = source.column("expected_close_on" if source.has("expected_close_on") else "close_on")
    frame["expected_close_on"] = expected.where(frame["status"] == "open", "")
    frame["type"] = source.column("segment").map(lambda value: TYPES.get(normal(value), ""))
    if company_currency and "currency" in frame:
        frame = frame.rename(columns={"currency": "deal_currency"})
        draft.notes.append("amounts are in the company's currency; each deal's own is kept as deal_currency")
    source.id_column = "opportunity_id"
    source.frame = frame.drop(columns=[name for name in _WORKING if name in frame])
    draft.put("opportunities", source)


def _ids(draft: Draft, source: Sourced) -> pd.Series:
    """The ids of the file; without any, the deal's name, with its day and customer where names repeat."""
    if "opportunity_id" in source.frame:
        return salesforce_ids(source.frame["opportunity_id"])
    draft.notes.append(f"{source.file}: holds no ids, so names serve; export the id too, names change")
    names = source.column("name")
    for more in ("created_on", "customer_id", "rep_id"):
        again = names.duplicated(keep=False) & (names != "")
        names = names.where(~again, names + " · " + source.column(more))
    return names


def _merged(source: Sourced) -> pd.Series:
    gone = {part for cell in source.column("merged") for part in re.split(r"[;,\s]+", cell) if part}
    return source.frame["opportunity_id"].isin(gone)


def _status(draft: Draft, source: Sourced) -> pd.Series:
    """The status column, else the flags, else the label of the stage."""
    label = source.column("status") if source.has("status") else source.column("stage")
    bare = label.str.replace(r"\s*\([^()]*\)\s*$", "", regex=True).map(normal)
    status = bare.map(lambda value: OUTCOMES.get(value, "open")).astype("object")
    if "is_won" in source.frame:
        lost = is_true(source.column("is_closed")) & ~is_true(source.column("is_won"))
        return status.mask(lost, "lost").mask(is_true(source.column("is_won")), "won")
    if not status.isin(["won", "lost"]).any():
        shown = ", ".join(map(repr, sorted(set(label))[:5]))
        draft.notes.append(f"no status or stage reads as won or lost (there are {shown}): every deal is open")
    return status


def _closed_on(draft: Draft, source: Sourced, stages: Sourced | None) -> pd.Series:
    status, close = source.frame["status"], source.column("close_on")
    timed = source.column("won_on").where(status == "won", source.column("lost_on"))
    entry = pd.Series("", index=source.frame.index, dtype="object")
    if stages is not None:
        days = stages.frame.set_index(["deal_row", "stage"])["entered_on"]
        keys = zip(
            source.frame.index,
            source.column("stage").str.replace(r" \([^()]*\)$", "", regex=True),
            strict=True,
        )
        entry = pd.Series([str(days.get(key, "")) for key in keys], index=source.frame.index, dtype="object")
    day = timed
    for other in (entry, source.column("closed_on"), close):
        day = day.where(day != "", other)
    closed = status != "open"
    draft.note(
        int((closed & (close != "") & (day != close)).sum()),
        "closed deals were closed on another day than the close date: the recorded time counts",
    )
    return day.where(closed, "")


def _entries(draft: Draft, table: Table, deals: Sourced, headings: Sequence[str]) -> Sourced | None:
    """One row per filled ``Date entered`` cell; ``deal_row`` is the row of its deal."""
    parts, troubles = [], []
    for heading in headings:
        named = _ENTERED.match(heading)
        try:
            days, trouble = to_days(table.frame[heading])
        except DataError as error:
            draft.problems.extend(f"{table.name}, column {heading!r}: {p}" for p in error.problems)
            continue
        filled = table.frame[heading] != ""
        ids = deals.column("opportunity_id")[filled]
        stage = named["stage"] if named else heading
        parts.append(
            pd.DataFrame(
                {"opportunity_id": ids, "stage": stage, "entered_on": days[filled], "deal_row": ids.index},
                dtype="object",
            )
        )
        troubles.append(trouble[filled].where(trouble[filled] == "", "entered_on " + trouble[filled] + "; "))
    if not parts:
        return None
    frame = pd.concat(parts, ignore_index=True)
    return Sourced(table.name, frame, frame, pd.concat(troubles, ignore_index=True).astype("object"))


def _stages(draft: Draft, stages: Sourced | None) -> None:
    if stages is None:
        return
    known = set(draft.frame("opportunities")["opportunity_id"])
    stages.reject(~stages.frame["opportunity_id"].isin(known), "its deal is not among those imported")
    stages.frame.index = stages.raw.index = stages.reasons.index = pd.Index(
        stages.frame["deal_row"], dtype="int64"
    )
    stages.id_column = "opportunity_id"
    stages.frame = stages.frame.drop(columns="deal_row")
    draft.put("stages", stages)
