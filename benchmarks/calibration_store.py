"""Results that survive a stop: one JSON file per study, rewritten whole and atomically after every job."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"


def load(name: str) -> dict[str, Any]:
    """Jobs that are done, by their key; empty where there are none."""
    path = RESULTS / f"{name}.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def save(name: str, jobs: dict[str, Any]) -> None:
    """Write all jobs, one per line, so that differences stay readable."""
    lines = ",\n".join(
        f"{json.dumps(key)}: {json.dumps(jobs[key], separators=(',', ':'), allow_nan=False)}" for key in jobs
    )
    write(RESULTS / f"{name}.json", "{\n" + lines + "\n}\n")


def write(path: Path, text: str) -> None:
    """Write a file through a temporary one."""
    path.parent.mkdir(exist_ok=True)
    draft = path.with_name(path.name + ".part")
    with draft.open("w", encoding="utf-8", newline="\n") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    draft.replace(path)
