"""The object files of one Salesforce org: which file holds which object, and its fields under our names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from quotacast.errors import DataError
from quotacast.models.history.importers.aliases import (
    OUTCOMES,
    SALESFORCE,
    SALESFORCE_FILES,
    SALESFORCE_TABLES,
    match,
)
from quotacast.models.history.importers.draft import Draft, Sourced, converted
from quotacast.models.history.importers.text import Table, read_table
from quotacast.models.history.importers.values import is_true, normal, salesforce_ids

_DAYS = frozenset(
    {"created_on", "close_on", "entered_on", "expected_close_on", "done_on", "converted_on", "modified_on"}
    | {"starts_on"}
)
_NUMBERS = frozenset({"amount", "target", "price"})
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "Opportunity": ("opportunity_id", "created_on", "stage", "close_on"),
    "OpportunityHistory": ("opportunity_id", "stage", "entered_on"),
    "Task": ("done_on", "status"),
    "Event": ("done_on",),
    "Lead": ("lead_id", "created_on"),
    "User": ("rep_id",),
    "Quota": ("rep_id", "starts_on", "target"),
}


@dataclass
class Org:
    """The files of one org, read, and what they say about each other."""

    draft: Draft
    objects: dict[str, list[Sourced]] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)
    owners: set[str] = field(default_factory=set)

    def rows(self, name: str, *columns: str) -> pd.DataFrame:
        """All rows of an object with the columns asked for, empty where the files have none."""
        parts = [s.frame.reindex(columns=list(columns)) for s in self.objects.get(name, ())]
        whole = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(columns))
        return whole.fillna("")


def object_of(path: Path) -> str | None:
    """Return the Salesforce object a file holds, by its name, or None."""
    bare = normal(path.stem)
    candidates = (bare, bare.removeprefix("sf"), bare.removeprefix("sf").removesuffix("data"))
    for name in (*candidates, *(re.sub(r"\d+$", "", c) for c in candidates)):
        if name in SALESFORCE_FILES:
            return SALESFORCE_FILES[name]
    return None


def read_objects(org: Org, files: Sequence[Path]) -> None:
    """Read every file that holds an object in use; what is wrong with them becomes the draft's problems."""
    unused = []
    for path in files:
        name = object_of(path)
        if name is None:
            unused.append(path.name)
            continue
        try:
            org.objects.setdefault(name, []).append(_read_object(org.draft, name, read_table(path)))
        except DataError as error:
            org.draft.problems.extend(error.problems)
    if unused:
        org.draft.notes.append(f"files without a use here: {', '.join(unused)}")
    if "Opportunity" not in org.objects and not org.draft.problems:
        found = ", ".join(sorted(path.name for path in files)) or "nothing"
        org.draft.problems.append(f"no Opportunity file among {found}; export Opportunity as Opportunity.csv")


def _read_object(draft: Draft, name: str, table: Table) -> Sourced:
    found = match(table.name, list(table.frame.columns), SALESFORCE_TABLES[name], SALESFORCE[name])
    draft.matches.extend(found.rows)
    draft.problems.extend(
        f"{table.name}: no column for {ours}; wanted one headed {', '.join(SALESFORCE[name][ours].split())}"
        for ours in _NEEDED.get(name, ())
        if ours not in found.columns
    )
    source = converted(draft, table, found.columns, days=_DAYS, numbers=_NUMBERS, decimal=".")
    for column in source.frame:
        if str(column).endswith("_id"):
            source.frame[column] = salesforce_ids(source.frame[column])
    if "entered_on" in found.columns:  # the time of day orders what happened on one day
        source.frame["moment"] = table.frame[found.columns["entered_on"]]
    source.reject(is_true(source.column("deleted")), "deleted in Salesforce")
    return source


def stage_outcomes(org: Org) -> dict[str, str]:
    """Stage label -> open, won or lost: from the org's own metadata, else from the label."""
    known = pd.concat(
        [org.rows(name, "stage", "is_closed", "is_won") for name in ("Opportunity", "OpportunityStage")]
    ).drop_duplicates()
    labels = set(known["stage"]) | set(org.rows("OpportunityHistory", "stage")["stage"])
    outcomes = {label: OUTCOMES.get(normal(label), "open") for label in sorted(labels)}
    told = known[(known["is_closed"] != "") & (known["is_won"] != "")]
    outcomes.update(zip(told["stage"], outcome(told["is_closed"], told["is_won"]), strict=True))
    if not {"won", "lost"} & set(outcomes.values()):
        org.draft.notes.append(
            "no stage reads as won or lost, and no IsClosed and IsWon came: every deal is open"
        )
    return outcomes


def outcome(closed: pd.Series, won: pd.Series) -> pd.Series:
    """Status by the flags IsClosed and IsWon."""
    status = pd.Series("open", index=closed.index, dtype="object")
    return status.mask(is_true(closed), "lost").mask(is_true(won), "won")


def present(frame: pd.DataFrame, *names: str) -> list[str]:
    """Those of the columns that the frame has."""
    return [name for name in names if name in frame]
