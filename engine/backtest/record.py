"""The track record: origins scored one by one and stored as they finish."""

from __future__ import annotations

import json
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import date
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

import pandas as pd

from quotacast.engine.backtest.leaning import EVIDENCE
from quotacast.engine.backtest.origin_forecast import (
    Draft,
    OriginRecord,
    Settings,
    draft_origin,
    finish_origin,
)
from quotacast.models import store
from quotacast.models.history.history import History

#: Origins that are forecast at the same time, each in a process of its own.
PROCESSES = 2


@dataclass(frozen=True)
class Record:
    """All origins of a backtest together; tables as in :class:`OriginRecord`.

    Attributes
    ----------
    asked : int
        Origins that the backtest was to score; more than there are where it was stopped.
    """

    rows: pd.DataFrame
    verdicts: pd.DataFrame
    joint: pd.DataFrame
    evidence: pd.DataFrame
    fit: pd.DataFrame
    asked: int


_TABLES = tuple(f.name for f in fields(OriginRecord))


def run_backtest(
    history: History,
    all_origins: Sequence[date],
    settings: Settings,
    folder: Path,
    manifest: Mapping[str, Any],
    told: Callable[[float], None] | None = None,
    processes: int = 1,
) -> Record:
    """Score every origin that is not in ``folder`` yet; what is finished stays finished.

    Origins are forecast side by side and finished in their order, since each may lean on what the earlier
    ones teach. A stored origin that had other ones before it than those given now is done again.

    Parameters
    ----------
    processes : int
        Origins forecast at the same time. More than one starts fresh interpreters, which import the running
        program: a script needs its ``if __name__ == "__main__"``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    given = {**manifest, "origins": [origin.isoformat() for origin in all_origins]}
    text = json.dumps(given, sort_keys=True, indent=1, default=str) + "\n"
    store.write_atomic(folder / store.MANIFEST, text.encode())
    stored = _still_valid(folder, all_origins)
    missing = [origin for origin in all_origins if origin not in stored]
    records: list[OriginRecord] = []
    with _drafts(history, missing, settings, processes) as drafts:
        for k, origin in enumerate(all_origins):
            found = stored.get(origin)
            if found is None:
                found = finish_origin(next(drafts), _past(records), settings)
                _save_origin(folder, origin, found)
            records.append(found)
            if told:
                told((k + 1) / len(all_origins))
    return _together(records, len(all_origins))


def _still_valid(folder: Path, all_origins: Sequence[date]) -> dict[date, OriginRecord]:
    """Stored origins that had exactly the earlier ones of those given before them."""
    valid: dict[date, OriginRecord] = {}
    for k, origin in enumerate(all_origins):
        found = load_origin(folder, origin)
        earlier = ",".join(day.isoformat() for day in all_origins[:k])
        if found is None or found.fit["earlier"].iloc[0] != earlier:
            break  # those after it lean on it
        valid[origin] = found
    return valid


def _past(records: Sequence[OriginRecord]) -> pd.DataFrame:
    if not records:
        return pd.DataFrame(columns=list(EVIDENCE))
    return pd.concat([r.evidence for r in records], ignore_index=True)


@contextmanager
def _drafts(
    history: History, missing: Sequence[date], settings: Settings, processes: int
) -> Iterator[Iterator[Draft]]:
    """Drafts of origins in their order; stopped work is dropped at once."""
    if processes < 2 or len(missing) < 2:
        yield (draft_origin(history, origin, settings) for origin in missing)
        return
    others = set(active_children())
    # a fresh interpreter each: a forked one would inherit the locks of numba's and BLAS' threads
    pool = ProcessPoolExecutor(processes, get_context("spawn"), _receive, (history, settings))
    try:
        yield _in_order(pool, missing, processes)
        pool.shutdown()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in set(active_children()) - others:
            worker.terminate()  # nothing of what they do is kept
        raise


def _in_order(pool: ProcessPoolExecutor, missing: Sequence[date], ahead: int) -> Iterator[Draft]:
    """Drafts as they come, with few waiting: a draft of many reps is large."""
    waiting = deque(pool.submit(_draft, origin) for origin in missing[:ahead])
    for place in range(len(missing)):
        draft = waiting.popleft().result()
        if place + ahead < len(missing):
            waiting.append(pool.submit(_draft, missing[place + ahead]))
        yield draft


_given: dict[str, Any] = {}


def _receive(history: History, settings: Settings) -> None:
    """Keep what all origins of a worker share, so that it is handed over once.

    Ctrl-C reaches every process of a terminal; only the first one answers it, and ends the workers.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _given.update(history=history, settings=settings)


def _draft(origin: date) -> Draft:
    return draft_origin(_given["history"], origin, _given["settings"])


def _together(records: Sequence[OriginRecord], asked: int) -> Record:
    # early origins have no year before them and so no verdicts: empty frames would lose the dtypes
    parts = {}
    for name in _TABLES:
        tables = [getattr(r, name) for r in records]
        parts[name] = pd.concat([t for t in tables if len(t)] or tables[:1], ignore_index=True)
    return Record(**parts, asked=asked)


def load_origin(folder: Path, origin: date) -> OriginRecord | None:
    """A finished origin, or None where there is none that can be read."""
    place = folder / origin.isoformat()
    try:
        found = OriginRecord(*(pd.read_parquet(place / f"{name}.parquet") for name in _TABLES))
    except (OSError, ValueError):
        return None
    return found if {"earlier", "nuts"} <= set(found.fit) and len(found.fit) else None


def load_record(folder: Path) -> Record | None:
    """The finished origins of the last backtest, or None where there is none."""
    try:
        told = json.loads((folder / store.MANIFEST).read_text(encoding="utf-8"))
        asked = [date.fromisoformat(day) for day in told["origins"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    found = _still_valid(folder, asked)
    return _together(list(found.values()), len(asked)) if found else None


def _save_origin(folder: Path, origin: date, record: OriginRecord) -> None:
    with store.new_folder(folder / origin.isoformat()) as work:
        for name in _TABLES:
            getattr(record, name).to_parquet(work / f"{name}.parquet", index=False)
