"""The table of rejected rows, written so that a spreadsheet shows its text and runs none of it."""

from __future__ import annotations

import csv
import io
import os
import re
import tempfile
from pathlib import Path

from quotacast.models.history.history import REJECTED, History

_RUNS = ("=", "+", "-", "@", "\t", "\r", "\n")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


def harmless(cell: object) -> str:
    """Return a cell's text, with a ``'`` before what a spreadsheet would take for a formula.

    Real numbers, signs included, stay numbers.
    """
    text = "" if cell is None else str(cell)
    return f"'{text}" if text.startswith(_RUNS) and not _NUMBER.fullmatch(text) else text


def write_rejected(history: History, path: Path) -> Path:
    """Write the rejected rows as CSV (UTF-8): table, row (heading = 1), id, reason.

    The file appears whole or not at all: it is written beside its place, flushed to disk and renamed.

    Returns
    -------
    pathlib.Path
        ``path``.

    Raises
    ------
    OSError
        Where the folder is missing or may not be written to.
    """
    path = Path(path)
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(REJECTED)
    rows = history.rejected[list(REJECTED)].itertuples(index=False, name=None)
    writer.writerows([harmless(cell) for cell in row] for row in rows)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as out:
            out.write(text.getvalue())
            out.flush()
            os.fsync(out.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path
