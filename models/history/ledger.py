"""The tables while they are cleaned, and the record of what every rule did to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date

import numpy as np
import pandas as pd

from quotacast.models.history import schema
from quotacast.models.history.history import REJECTED, Finding

#: Hidden column that carries the row of the file until cleaning is over.
ROW = "_row"
EXAMPLES = 5
Mask = np.ndarray


class Cleaning:
    """Tables under the rules, with the findings and the rejected rows so far."""

    def __init__(self, tables: Mapping[str, pd.DataFrame], as_of: date | None, currency: str | None) -> None:
        self.tables = dict(tables)
        self.findings: list[Finding] = []
        self.asked_as_of = as_of
        self.asked_currency = currency
        self.currency = currency or ""
        self._rejected: list[pd.DataFrame] = []

    def __getitem__(self, table: str) -> pd.DataFrame:
        return self.tables[table]

    @property
    def rejected(self) -> pd.DataFrame:
        """Rejected rows so far, in the order of tables and rows."""
        if not self._rejected:
            return pd.DataFrame({c: pd.Series(dtype="int64" if c == "row" else object) for c in REJECTED})
        frame = pd.concat(self._rejected, ignore_index=True)
        rank = frame["table"].map({t: i for i, t in enumerate(schema.TABLES)})
        return frame.iloc[np.lexsort([frame["row"], rank])].reset_index(drop=True)

    def ids(self, table: str) -> pd.Series:
        """Return the name of every row: its id, or its row where it has none."""
        frame = self.tables[table]
        row = pd.Series([f"row {r}" for r in frame[ROW]], index=frame.index, dtype=object)
        own = frame[schema.KEYS[table][0]]
        return own.where(own.notna(), row)

    def report(self, rule: str, table: str, mask: Mask, action: str, meaning: str) -> bool:
        """Record a rule's findings; say whether there were any."""
        if not mask.any():
            return False
        examples = tuple(str(i)[:80] for i in self.ids(table)[mask].drop_duplicates()[:EXAMPLES])
        self.findings.append(Finding(rule, table, int(mask.sum()), examples, action, meaning))
        return True

    def reject(self, rule: str, table: str, mask: Mask, reason: str | pd.Series, meaning: str) -> None:
        """Take rows out of a table and keep them with the reason."""
        if not self.report(rule, table, mask, "rejected", meaning):
            return
        frame = self.tables[table]
        why = reason[mask] if isinstance(reason, pd.Series) else reason
        gone = {"table": table, "row": frame[ROW][mask], "id": self.ids(table)[mask], "reason": why}
        self._rejected.append(pd.DataFrame(gone, columns=list(REJECTED)))
        self.tables[table] = frame[~mask].reset_index(drop=True)

    def reject_lines(self, table: str, lines: Iterable[tuple[int, str]]) -> None:
        """Keep lines of a file that never became rows."""
        broken = list(lines)
        if not broken:
            return
        frame = pd.DataFrame([(table, row, f"row {row}", why) for row, why in broken], columns=list(REJECTED))
        self._rejected.append(frame)
        examples = tuple(frame["id"][:EXAMPLES])
        meaning = "Lines whose cells do not match the heading, such as footers or stray separators."
        self.findings.append(Finding("broken rows", table, len(broken), examples, "rejected", meaning))

    def put(self, table: str, column: str, values: pd.Series | np.ndarray) -> None:
        """Replace one column."""
        self.tables[table] = self.tables[table].assign(**{column: values})
