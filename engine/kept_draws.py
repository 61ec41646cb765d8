"""Simulated draws on disk, so that the next command need not simulate the same again.

One file per simulation in ``draws/`` of a run folder: an uncompressed npz of the columns, never pickled,
named by a fingerprint of all that its numbers depend on, the simulator's own source among it. A file that
cannot be read counts as absent. The newest are kept, up to :data:`FILES` and :data:`BYTES`; whoever deletes
the folder loses seconds.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from quotacast.engine.columns import Columns
from quotacast.engine.tables import Tables
from quotacast.models import store

#: How many simulations are kept, and how much they may take together.
FILES, BYTES = 12, 1_000_000_000
#: Seconds after which an unfinished file is nobody's.
ABANDONED = 3600.0
_ARRAYS = ("begin", "at", "draw", "value")


@dataclass(frozen=True)
class KeptDraws:
    """Draws of one fit.

    Parameters
    ----------
    folder : Path
        Where they are; made when first needed.
    fit : str
        Fingerprint of the fit and its data; the funnel's own is told beside it, for it may be a changed one.
    least : int
        Simulations of fewer draws, as searches make many of, are not kept.
    """

    folder: Path
    fit: str
    least: int = 1

    def load(self, tables: Tables, draws: int, measures: Collection[str]) -> dict[str, Columns] | None:
        """Columns of the measures, or None where they are not kept."""
        if draws < self.least:
            return None
        path = self._path(tables, draws, measures)
        place = {name: number for number, name in enumerate(sorted(measures))}
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                found = {name: _columns(file, place[name]) for name in measures}
            os.utime(path)  # used now: the last to go
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        return found

    def save(self, tables: Tables, draws: int, columns: Mapping[str, Columns]) -> None:
        """Keep columns where there is room for them; a disk that cannot take them is no error."""
        if draws < self.least or sum(c.nbytes for c in columns.values()) > BYTES // 2:
            return
        arrays: dict[str, Any] = {}
        for number, (_, found) in enumerate(sorted(columns.items())):  # names of activities may hold anything
            arrays[f"{number}_stored"] = np.array([*found.stored, found.block], dtype=np.int64)
            arrays |= {f"{number}_{part}": getattr(found, part) for part in _ARRAYS}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, work = tempfile.mkstemp(suffix=".part", dir=self.folder)
            try:
                with os.fdopen(handle, "wb") as file:
                    np.savez(file, **arrays)
                Path(work).replace(self._path(tables, draws, columns))
            finally:
                Path(work).unlink(missing_ok=True)
            self._tidy()
        except OSError:
            return

    def _tidy(self) -> None:
        files = sorted(self.folder.glob("*.npz"), key=lambda p: p.stat().st_mtime, reverse=True)
        total = 0
        for number, file in enumerate(files):
            total += file.stat().st_size
            if number >= FILES or total > BYTES:
                file.unlink(missing_ok=True)
        for part in self.folder.glob("*.part"):  # of a command that was killed while it wrote
            if time.time() - part.stat().st_mtime > ABANDONED:
                part.unlink(missing_ok=True)

    def _path(self, tables: Tables, draws: int, measures: Collection[str]) -> Path:
        told = {
            "fit": self.fit,
            "funnel": tables.funnel.fingerprint,
            "source": _source(),
            "drivers": repr(tables.drivers),
            "steps": tables.steps.edges.tolist(),
            "days": [tables.grid.first, tables.grid.last],
            "seed": tables.seed,
            "draws": draws,
            "measures": sorted(measures),
        }
        return self.folder / f"{store.fingerprint(told)[:32]}.npz"


def _columns(file: Any, number: int) -> Columns:
    *stored, block = (int(x) for x in file[f"{number}_stored"])
    begin, at, draw, value = (file[f"{number}_{part}"] for part in _ARRAYS)
    return Columns((stored[0], stored[1], stored[2], stored[3]), block, begin, at, draw, value)


@cache
def _source() -> str:
    """Fingerprint of the simulator's source and of the numbers' libraries."""
    digest = hashlib.sha256(f"{np.__version__}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
