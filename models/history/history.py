"""The cleaned history of one organisation, as everything downstream receives it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property

import numpy as np
import pandas as pd

from quotacast.errors import DataError
from quotacast.models.history import schema
from quotacast.models.history.schema import NONE

#: Columns of the table of rejected rows; ``row`` as a person sees it in the file (header = 1).
REJECTED = ("table", "row", "id", "reason")


@dataclass(frozen=True)
class Finding:
    """What one cleaning rule found in one table, and what was done about it.

    Attributes
    ----------
    rule, table : str
    count : int
        Rows concerned.
    examples : tuple of str
        A few ids (or rows) to look at.
    action : str
        ``rejected``, ``changed``, ``kept``, ``set aside`` (later than the as-of date) or ``note``.
    meaning : str
        One or two sentences for a person.
    """

    rule: str
    table: str
    count: int
    examples: tuple[str, ...]
    action: str
    meaning: str


@dataclass(frozen=True)
class History:
    """Cleaned canonical tables as known on the evening of ``as_of_date``.

    Attributes
    ----------
    tables : mapping of str to pandas.DataFrame
        Every canonical table with every canonical column (all missing where the data have none);
        unknown columns follow behind. Days are ``datetime64[ns]`` at midnight, ids and texts ``str`` or
        ``None``, amounts float64 in the planning currency. Treat the frames as read-only.
    as_of_date : datetime.date
    currency : str
        Planning currency; ``""`` where neither data nor caller name one.
    findings : tuple of Finding
    rejected : pandas.DataFrame
        Columns table, row, id, reason.
    blanked : tuple of str
        ``table.column`` of what :meth:`as_of` emptied or rebuilt because it was not knowable then.
    closing_stages : mapping of str to str
        Stage labels that mean ``won`` or ``lost``, learned from the data.

    Raises
    ------
    DataError
        Where a table or a column of the schema is missing.
    """

    tables: Mapping[str, pd.DataFrame]
    as_of_date: date
    currency: str
    findings: tuple[Finding, ...]
    rejected: pd.DataFrame
    blanked: tuple[str, ...] = ()
    closing_stages: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = []
        for table in schema.TABLES:
            if table not in self.tables:
                problems.append(f"history without table {table!r}: give it, empty if need be")
                continue
            lost = [c for c in schema.names(table) if c not in self.tables[table].columns]
            if lost:
                problems.append(f"history table {table!r} lacks {', '.join(lost)}")
        if problems:
            raise DataError(problems)

    @property
    def opportunities(self) -> pd.DataFrame:
        """One row per deal."""
        return self.tables["opportunities"]

    @property
    def stages(self) -> pd.DataFrame:
        """One row per stage entered, in time order within a deal."""
        return self.tables["stages"]

    @property
    def leads(self) -> pd.DataFrame:
        """One row per lead."""
        return self.tables["leads"]

    @property
    def activities(self) -> pd.DataFrame:
        """One row per activity, or per `count` of them."""
        return self.tables["activities"]

    @property
    def reps(self) -> pd.DataFrame:
        """One row per rep, or per spell in a team."""
        return self.tables["reps"]

    @property
    def invoices(self) -> pd.DataFrame:
        """One row per invoice."""
        return self.tables["invoices"]

    @property
    def payments(self) -> pd.DataFrame:
        """One row per payment of an invoice, where they are known one by one."""
        return self.tables["payments"]

    @property
    def quotas(self) -> pd.DataFrame:
        """One row per quota; periods as written."""
        return self.tables["quotas"]

    @property
    def rates(self) -> pd.DataFrame:
        """Dated rates to the planning currency."""
        return self.tables["rates"]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the canonical content; the same for any file format and row order."""
        return fingerprint(self.tables)

    def as_of(self, day: date, *, strict: bool = False) -> History:
        """Return what was knowable on the evening of ``day``; see `snapshot.as_of`."""
        from quotacast.models.history.snapshot import as_of

        return as_of(self, day, strict=strict)

    def team_on(self, rep_ids: np.ndarray, days: np.ndarray) -> np.ndarray:
        """Return the team that each rep held on each day; see :func:`team_on`."""
        return team_on(self.reps, rep_ids, days)


def missing(table: str, rows: int = 0) -> pd.DataFrame:
    """Return a canonical table of ``rows`` rows in which every column is missing."""
    return pd.DataFrame({c.name: empty_column(c.kind, rows) for c in schema.columns(table)})


def empty_column(kind: str, rows: int) -> pd.Series:
    """Return a column of a schema kind in which every value is missing."""
    if kind == "day":
        return pd.Series(np.full(rows, np.datetime64("NaT", "ns")))
    if kind in ("money", "number"):
        return pd.Series(np.full(rows, np.nan))
    return pd.Series([None] * rows, dtype=object)


def fingerprint(tables: Mapping[str, pd.DataFrame]) -> str:
    """Return the SHA-256 of the canonical columns of all tables, whatever the order of their rows.

    Tables that only refine another one count where they hold rows.
    """
    digest = hashlib.sha256()
    for table in schema.TABLES:
        if table in schema.REFINING and tables[table].empty:
            continue
        frame = tables[table][list(schema.names(table))]
        plain = pd.DataFrame({c.name: _plain(frame[c.name], c.kind) for c in schema.columns(table)})
        rows = np.sort(pd.util.hash_pandas_object(plain, index=False, categorize=True).to_numpy())
        digest.update(f"{table}:{len(rows)}:".encode())
        digest.update(rows.astype("<u8").tobytes())
    return digest.hexdigest()


def _plain(values: pd.Series, kind: str) -> np.ndarray:
    if kind == "day":
        return values.to_numpy("datetime64[ns]").astype("int64")
    if kind in ("money", "number"):
        # 0.0 and -0.0 are one amount but two bit patterns.
        return values.to_numpy("float64") + 0.0
    # Empty text is read as missing, so it is free to stand for it.
    return values.astype(object).where(values.notna(), "").to_numpy(object)


def team_on(reps: pd.DataFrame, rep_ids: np.ndarray, days: np.ndarray) -> np.ndarray:
    """Return the team that each rep held on each day.

    Parameters
    ----------
    reps : pandas.DataFrame
        Canonical reps table: one row per rep, or one per spell with its first day in ``from``.
    rep_ids : numpy.ndarray of str, shape (n,)
    days : numpy.ndarray of datetime64, shape (n,)

    Returns
    -------
    numpy.ndarray of str (object), shape (n,)
        Before a rep's first spell its first team; ``(none)`` where the rep or its team is unknown.
    """
    wanted = np.asarray(rep_ids, dtype=object)
    day = np.asarray(days).astype("datetime64[D]").astype("int64")
    spells = reps.assign(_from=_spell_starts(reps)).sort_values(["rep_id", "_from"], kind="stable")
    known = pd.Index(spells["rep_id"].unique())
    if len(known) == 0 or len(wanted) == 0:
        return np.full(len(wanted), NONE, dtype=object)
    code = known.get_indexer(pd.Index(spells["rep_id"]))
    ask = known.get_indexer(pd.Index(wanted))
    # One sorted key for (rep, first day) turns the look-up into a single binary search; the width
    # exceeds any span of days that datetime64[ns] can hold.
    width, low = 1 << 20, -(1 << 18)
    starts = code * width + (np.clip(spells["_from"].to_numpy(), low, -low) - low)
    at = np.searchsorted(starts, ask * width + (np.clip(day, low, -low) - low), side="right") - 1
    first = np.searchsorted(code, ask, side="left")
    team = spells["team"].where(spells["team"].notna(), NONE).to_numpy(object)
    found = team[np.clip(np.maximum(at, first), 0, len(team) - 1)]
    return np.where(ask >= 0, found, NONE).astype(object)


def _spell_starts(reps: pd.DataFrame) -> np.ndarray:
    days = reps["from"].to_numpy("datetime64[ns]")
    return np.where(np.isnat(days), np.iinfo("int64").min, days.astype("datetime64[D]").astype("int64"))
