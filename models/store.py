"""Where fits live: netCDF next to a manifest, written atomically, never pickled.

A run folder (``.quotacast/`` next to the plan) holds ``fits/<key>/`` with one netCDF file per model
(group ``posterior``, dimensions chain and draw first, as ArviZ reads it) and ``manifest.json``. The key
is a fingerprint of everything that a fit depends on, so a fit is reused exactly when nothing changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from quotacast.models.terms import Posterior

RUN_FOLDER = ".quotacast"
MANIFEST = "manifest.json"


def fingerprint(parts: Mapping[str, Any]) -> str:
    """sha256 of plain values, independent of the order of keys."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder that appears at ``target`` complete or not at all; an older one is replaced."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    work, old = aside / "new", aside / "was"
    try:
        work.mkdir()
        yield work
        for file in sorted(work.rglob("*")):
            if file.is_file():
                _sync(file)
        if target.exists():
            target.rename(old)
        work.rename(target)
        _sync(target.parent)
    finally:  # also after Ctrl-C between the two moves: then the older one goes back to its place
        if old.exists() and not target.exists():
            old.rename(target)
        _remove(aside)


def _remove(folder: Path) -> None:
    """Remove a folder; an interrupt half-way does not keep the rest of it."""
    try:
        shutil.rmtree(folder)
    except KeyboardInterrupt:
        shutil.rmtree(folder)
        raise


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file that is there complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, work = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(work).replace(path)
    finally:
        Path(work).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def save_fit(folder: Path, posteriors: Mapping[str, Posterior], manifest: Mapping[str, Any]) -> None:
    """Write posteriors and their manifest into ``folder``, all or nothing."""
    with new_folder(folder) as work:
        for name, posterior in posteriors.items():
            _write_netcdf(work / _file(name), posterior)
        diagnostics = {name: dict(p.diagnostics) for name, p in posteriors.items()}
        content = {**manifest, "diagnostics": diagnostics}
        (work / MANIFEST).write_text(json.dumps(content, sort_keys=True, indent=1) + "\n", encoding="utf-8")


def load_fit(folder: Path, names: tuple[str, ...], key: str) -> dict[str, Posterior] | None:
    """Posteriors stored under this key, or None where there is no whole fit."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["key"] != key:
            return None
        return {name: _read_netcdf(folder / _file(name), manifest["diagnostics"][name]) for name in names}
    except (OSError, ValueError, KeyError, TypeError):
        return None  # absent, cut off or not ours: fitting again mends it


def load_checks(folder: Path, names: tuple[str, ...]) -> dict[str, Any] | None:
    """Posterior-predictive checks stored with a fit, or None where one is missing."""
    try:
        told = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["checks"]
        return {name: dict(told[name]) for name in names}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _file(model: str) -> str:
    """Name of a model's file; names of activities come from the data and may hold anything."""
    return f"{quote(model, safe='')}.nc"


def _write_netcdf(path: Path, posterior: Posterior) -> None:
    import h5netcdf

    with h5netcdf.File(path, "w") as file:
        group = file.create_group("posterior")
        group.dimensions = {"chain": 1, "draw": posterior.draws}
        for name, values in sorted({**posterior.effects, **posterior.hyper}.items()):
            dims, safe = ["chain", "draw"], quote(name, safe="")
            if values.ndim == 2:
                group.dimensions[f"{safe}_dim"] = values.shape[1]
                dims.append(f"{safe}_dim")
            variable = group.create_variable(safe, tuple(dims), values.dtype)
            variable[...] = values[None]
            variable.attrs["kind"] = "effect" if name in posterior.effects else "hyper"


def _read_netcdf(path: Path, diagnostics: Mapping[str, Any]) -> Posterior:
    import h5netcdf

    found: dict[str, dict[str, Any]] = {"effect": {}, "hyper": {}}
    with h5netcdf.File(path, "r") as file:
        for name, variable in file["posterior"].variables.items():
            found[variable.attrs["kind"]][unquote(name)] = np.asarray(variable[...][0], dtype=float)
    return Posterior(found["effect"], found["hyper"], dict(diagnostics))
