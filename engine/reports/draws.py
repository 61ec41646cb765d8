"""Simulated futures one by one, as a tidy file: for people who model further.

There are too many for memory: they come in frames of the same columns, and each is written before the next is
made. One row is one draw of one line in one period.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from quotacast.engine.reports.files import harmless, sync_folder
from quotacast.errors import QuotacastError

#: Endings of files that hold draws.
ENDINGS = (".csv", ".parquet")
#: Rows that are put together before they are written.
ROWS = 200_000


def write_draws(frames: Iterable[pd.DataFrame], path: Path) -> int:
    """Write frames of the same columns below each other: the whole file or nothing.

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    QuotacastError
        If the ending is none of :data:`ENDINGS`, or the file cannot be written there.
    """
    path = Path(path)
    writer = {".csv": _as_csv, ".parquet": _as_parquet}.get(path.suffix.lower())
    if writer is None:
        raise QuotacastError(
            f"{path.name}: the ending {path.suffix or '(none)'!r} arrived, wanted one of {', '.join(ENDINGS)}"
        )
    passing = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        count = writer(_gathered(frames), passing)
        with passing.open("rb+") as file:
            os.fsync(file.fileno())
        passing.replace(path)
    except OSError as error:
        raise QuotacastError(
            f"{path}: cannot be written ({error.strerror}): create the folder or choose another"
        ) from error
    finally:
        passing.unlink(missing_ok=True)  # gone already after the rename
    sync_folder(path.parent)
    return count


def _gathered(frames: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """Small frames put together to about :data:`ROWS` rows."""
    kept: list[pd.DataFrame] = []
    count = 0
    for frame in frames:
        kept.append(frame)
        count += len(frame)
        if count >= ROWS:
            yield pd.concat(kept, ignore_index=True)
            kept, count = [], 0
    if kept:
        yield pd.concat(kept, ignore_index=True)


def _as_csv(frames: Iterable[pd.DataFrame], path: Path) -> int:
    """Texts that a spreadsheet would read as formulas are prefixed, as in `as_csv`; numbers never are."""
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        for frame in frames:
            texts = {str(name): _safe(frame[name]) for name in frame if frame[name].dtype == object}
            frame.assign(**texts).to_csv(file, index=False, header=count == 0, lineterminator="\n")
            count += len(frame)
    return count


def _safe(column: pd.Series[str]) -> pd.Series[str]:
    return column.map({text: harmless(text) for text in column.unique()})


def _as_parquet(frames: Iterable[pd.DataFrame], path: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer, count = None, 0
    try:
        for frame in frames:
            table = pa.Table.from_pandas(frame, preserve_index=False)
            if writer is None:
                writer = pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
            count += len(frame)
    finally:
        if writer is not None:
            writer.close()
    return count
