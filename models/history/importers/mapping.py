"""Files of any make -> a draft, as a mapping says (its form is described in ``mapping_file``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from quotacast.errors import DataError
from quotacast.models.history.importers.draft import (
    CANONICAL,
    STATUSES,
    Draft,
    Sourced,
    converted,
    derived,
    translator,
)
from quotacast.models.history.importers.mapping_file import FileMapping, Join, TableMap
from quotacast.models.history.importers.text import Table, read_table


def import_mapped(files: Sequence[Path], mapping: FileMapping) -> Draft:
    """Turn files into canonical tables as a mapping says.

    Raises
    ------
    DataError
        For files or headings that the mapping names and that are not there, and undecidable columns.
    """
    draft = Draft()
    names = [path.name for path in files]
    draft.problems.extend(
        f"{name}: comes from two folders; give one of them"
        for name in sorted(set(names))
        if names.count(name) > 1
    )
    reader = _Reader(draft, files)
    sources = {name: _source(draft, reader, name, rule) for name, rule in mapping.tables.items()}
    draft.stop_on_problems()
    for name, source in sources.items():
        if source is not None:
            source.id_column = CANONICAL[name][0]
            _translate(draft, mapping, name, source)
            draft.put(name, source)
    add_reps(draft, "reps" in mapping.tables)
    unused = sorted(path.name for path in files if path.name not in reader.tables)
    if unused:
        draft.notes.append(f"files that the mapping does not name: {', '.join(unused)}")
    return draft


class _Reader:
    """Finds the files that a mapping names among those given, reads each once, and checks its headings."""

    def __init__(self, draft: Draft, files: Sequence[Path]) -> None:
        self.draft = draft
        self.files = {path.name: path for path in files}
        self.tables: dict[str, Table | None] = {}

    def table(self, name: str, key: str, headings: Mapping[str, str], shown: str) -> Table | None:
        """The file with the headings asked for (ours -> theirs), or None with the problems noted."""
        if name not in self.tables:
            self.tables[name] = self._read(name, key)
        found = self.tables[name]
        if found is None:
            return None
        lacking = [f"{h!r} (for {ours})" for ours, h in headings.items() if h not in found.frame]
        if lacking:
            have = ", ".join(found.frame.columns)
            self.draft.problems.append(f"{key}: {name} has no column {', '.join(lacking)}; it has {have}")
            return None
        used = {
            h: ", ".join(ours for ours, theirs in headings.items() if theirs == h) for h in headings.values()
        }
        self.draft.matches.extend(
            (name, str(h), shown, used.get(str(h), ""), "mapping" if h in used else "not used")
            for h in found.frame.columns
        )
        return found

    def _read(self, name: str, key: str) -> Table | None:
        if name not in self.files:
            have = ", ".join(self.files) or "nothing"
            self.draft.problems.append(
                f"{key}: file {name!r} is not among {have}; mend its name or add the file"
            )
            return None
        try:
            return read_table(self.files[name])
        except DataError as error:
            self.draft.problems.extend(error.problems)
            return None


def _source(draft: Draft, reader: _Reader, name: str, rule: TableMap) -> Sourced | None:
    table = reader.table(rule.file, f"{name}.columns", rule.columns, name)
    seconds = [
        (join, reader.table(join.file, f"{name}.join", {join.ours: join.theirs, **join.columns}, name))
        for join in rule.joins
    ]
    if table is None or any(second is None for _, second in seconds):
        return None
    cells = pd.DataFrame({ours: table.frame[theirs] for ours, theirs in rule.columns.items()}, dtype="object")
    cells = cells.assign(**rule.constants)
    for join, second in seconds:
        if second is not None:
            key = cells[join.ours].map(translator(rule.values.get(join.ours, {})))
            cells = cells.assign(**_looked_up(draft, join, key, second))
    return converted(
        draft,
        table,
        rule.columns,
        cells=_emptied(cells, rule),
        values=rule.values,
        date_formats=rule.date_formats,
        decimal=rule.decimal,
    )


def _looked_up(draft: Draft, join: Join, key: pd.Series, second: Table) -> dict[str, pd.Series]:
    """The columns of a second file for each row of the first; where a key is double, its first row counts."""
    frame = second.frame
    draft.note(
        int(frame[join.theirs].duplicated().sum()),
        f"rows of {second.name} repeat a {join.theirs}; the first counts",
    )
    unique = frame.drop_duplicates(join.theirs).set_index(join.theirs)
    lost = (key != "") & ~key.isin(unique.index)
    example = f" (first: {key[lost].iloc[0]!r})" if lost.any() else ""
    draft.note(
        int(lost.sum()), f"rows have a {join.ours} that {second.name} does not hold{example}; left empty"
    )
    return {ours: key.map(unique[theirs]).fillna("") for ours, theirs in join.columns.items()}


def _emptied(cells: pd.DataFrame, rule: TableMap) -> pd.DataFrame:
    """Empty the cells that ``only_when`` does not want, before anything is read from them."""
    for ours, asked in rule.only_when.items():
        keep = pd.Series(True, index=cells.index)
        for column, wanted in asked.items():
            keep &= cells[column].map(translator(rule.values.get(column, {}))).isin(wanted)
        cells = cells.assign(**{ours: cells[ours].where(keep, "")})
    return cells


def _translate(draft: Draft, mapping: FileMapping, name: str, source: Sourced) -> None:
    """Say what to add to the mapping where a status is none of ours."""
    if name in STATUSES:
        odd = sorted(set(source.column("status")) - set(STATUSES[name]) - {""})
        if odd:
            shown = ", ".join(map(repr, odd[:5]))
            draft.notes.append(f"{mapping.path.name}: [{name}.values.status] has no line for {shown}")


def add_reps(draft: Draft, from_file: bool, ids_are_names: bool = False) -> None:
    """Add the reps that the tables name and no file describes, so that teams can be filled in."""
    known = set(draft.frame("reps")["rep_id"]) if from_file else set()
    deals = draft.frame("opportunities")
    named = [draft.frame(t)["rep_id"] for t in draft.tables if t != "reps" and "rep_id" in draft.frame(t)]
    ids = sorted(set(pd.concat(named)) - known - {""}) if named else []
    if not ids:
        return
    about = (
        deals.drop_duplicates("rep_id", keep="last").set_index("rep_id")
        if ids and "rep_id" in deals
        else deals
    )
    frame = pd.DataFrame({"rep_id": ids}, dtype="object")
    for ours, theirs in (("name", "rep_name"), ("team", "team")):
        found = frame["rep_id"].map(about[theirs]) if theirs in about else pd.Series("", index=frame.index)
        frame[ours] = found.fillna("").astype("object")
    if ids_are_names:
        frame["name"] = frame["rep_id"]
    draft.put("reps", derived("(rep_id of the other tables)", frame, "rep_id"))
    if from_file:
        draft.note(
            len(ids), "reps are named in other tables but not in the file of reps; added without a team"
        )
    elif not (frame["team"] != "").any():
        draft.notes.append(f"teams are unknown: fill in `team` in reps.csv ({len(ids)} reps)")
