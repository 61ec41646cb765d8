"""Plans of record: what was approved, by whom, with which odds; kept so that any change of it is noticed.

``approved/<slug>/`` next to the plan holds ``manifest.json``, the plan as it was (``plan.toml``), its
content with the scenario laid over it (``plan.json``), the quotas with their odds (``quotas.json``, and
``quotas.csv``, which ``quotas --quotas`` reads), the forecast (``forecast.csv``), the means from which a
later bridge starts (``expected.csv``) and the changes against the version before (``changes.json``). The
manifest carries a sha256 of every file and one over itself, and each version names the hash of the one
before. That finds slips and later edits; it is no signature against somebody who computes the hashes anew.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from quotacast.engine.quota import Quota, Scope
from quotacast.errors import DataError, PlanError
from quotacast.models import store
from quotacast.scenarios.plan import Plan

FOLDER = "approved"
FORMAT = 1
#: Longest name of a version's folder.
LONGEST = 60
#: Windows reads these as devices, whatever their ending.
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])")


@dataclass(frozen=True)
class Approved:
    """An approved version as it was signed off.

    Attributes
    ----------
    folder : Path
    manifest : mapping
        ``name``, ``by``, ``on``, ``number``, ``previous``, ``plan``, ``scenario``, ``provenance``, ``files``,
        ``hash``.
    document : mapping
        Content of the plan, scenario laid over.
    quotas : tuple of Quota
    odds : mapping
        Rows of ``quotas.json`` by (set, scope, metric, period): target, p_attain and quantiles.
    """

    folder: Path
    manifest: Mapping[str, Any]
    document: Mapping[str, Any]
    quotas: tuple[Quota, ...]
    odds: Mapping[tuple[str, ...], Mapping[str, Any]]

    @property
    def name(self) -> str:
        """The name that it was approved under."""
        return str(self.manifest["name"])

    def plan(self, now: Plan, shared: Sequence[str]) -> Plan:
        """The plan as approved, with the keys of ``shared`` as they are now."""
        from quotacast.scenarios.plan import build

        document = {
            key: value for key, value in self.document.items() if key not in (*shared, "quotas", "quota")
        }
        document |= {key: now.document[key] for key in shared if key in now.document}
        return build(document, now.path, now.home, None)

    def facts(self) -> dict[str, Any]:
        """Who approved it, when, on which knowledge, and with which odds for the company."""
        keys = ("name", "by", "on", "number", "plan", "scenario", "hash")
        told = {key: self.manifest[key] for key in keys}
        known = ("as_of", "seed", "draws", "data_fingerprint")
        told |= {key: self.manifest["provenance"].get(key) for key in known}
        told["odds"] = [
            {
                "metric": metric,
                "period": period,
                "set": one,
                "target": row["target"],
                "p_attain": row["p_attain"],
            }
            for (one, scope, metric, period), row in self.odds.items()
            if scope == "company"
        ]
        return told


def slug(name: str) -> str:
    """A folder name for a version: plain letters, digits and hyphens, however hostile the name."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    text = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:LONGEST].strip("-")
    if not text or _DEVICES.fullmatch(text):
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        text = f"version-{digest}"
    return text


def versions(home: Path) -> tuple[Approved, ...]:
    """All versions approved next to a plan, oldest first.

    Raises
    ------
    DataError
        With every one that was changed since it was signed off.
    """
    found: list[Approved] = []
    problems: list[str] = []
    for folder in _folders(home):
        try:
            found.append(read(folder))
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    return tuple(sorted(found, key=lambda one: one.manifest["number"]))


def approved_names(home: Path) -> tuple[str, ...]:
    """Names of the approved versions, oldest first, without checking what is in them."""
    found = []
    for folder in _folders(home):
        try:
            manifest = json.loads((folder / store.MANIFEST).read_text(encoding="utf-8"))
            found.append((int(manifest["number"]), str(manifest["name"])))
        except (OSError, ValueError, KeyError, TypeError):
            found.append((0, folder.name))  # reading it will say what is wrong
    return tuple(name for _, name in sorted(found))


def load_approved(home: Path, name: str) -> Approved:
    """An approved version by its name (or that of its folder).

    Raises
    ------
    PlanError
        If there is none.
    DataError
        If it was changed since it was signed off.
    """
    folder = home / FOLDER / slug(name)
    if not folder.is_dir():
        there = ", ".join(approved_names(home)) or "none"
        raise PlanError(f"{name}: no such approved version; there are {there}")
    return read(folder)


def _folders(home: Path) -> list[Path]:
    place = home / FOLDER
    if not place.is_dir():
        return []
    return sorted(folder for folder in place.iterdir() if folder.is_dir() and not folder.name.startswith("."))


def read(folder: Path) -> Approved:
    """Read a version and check that it is what was signed off.

    Raises
    ------
    DataError
        Naming every file that was changed, added or lost.
    """
    try:
        manifest = json.loads((folder / store.MANIFEST).read_text(encoding="utf-8"))
        files, stated = dict(manifest["files"]), manifest["hash"]
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(
            f"{folder / store.MANIFEST}: cannot be read; restore the folder from a copy"
        ) from None
    problems = []
    if stated != seal(manifest):
        problems.append(f"{folder / store.MANIFEST}: was changed after it was signed off")
    there = {
        file.name: _digest(file)
        for file in folder.iterdir()
        if file.is_file() and file.name != store.MANIFEST
    }
    for name in sorted({*files, *there}):
        if files.get(name) != there.get(name):
            what = "is missing" if name not in there else "was added" if name not in files else "was changed"
            problems.append(f"{folder / name}: {what} after it was signed off")
    if problems:
        raise DataError(
            [*problems, f"{folder.name}: not the plan of record any more; restore it from a copy"]
        )
    return _read(folder, manifest)


def _read(folder: Path, manifest: Mapping[str, Any]) -> Approved:
    document = revived(json.loads((folder / "plan.json").read_text(encoding="utf-8")))
    rows = json.loads((folder / "quotas.json").read_text(encoding="utf-8"))
    quotas = tuple(
        Quota(
            Scope.parse(r["scope"]),
            r["metric"],
            r["period"],
            r["target"],
            r["set"],
            f"approved {folder.name}",
        )
        for r in rows
    )
    odds: dict[tuple[str, ...], Any] = {(r["set"], r["scope"], r["metric"], r["period"]): r for r in rows}
    return Approved(folder, manifest, document, quotas, odds)


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def seal(manifest: Mapping[str, Any]) -> str:
    """sha256 over a manifest, which holds those of all files."""
    return store.fingerprint({key: value for key, value in manifest.items() if key != "hash"})


def write(folder: Path, files: Mapping[str, bytes], facts: Mapping[str, Any]) -> str:
    """Write a version whole or not at all; return its hash.

    Raises
    ------
    PlanError
        If there is a version already: what is signed off is never replaced.
    """
    manifest = {"format": FORMAT, **facts}
    manifest["files"] = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    manifest["hash"] = seal(manifest)
    if folder.exists():
        raise PlanError(
            f"{folder}: is approved already and never replaced; a change is a new version: name it anew"
        )
    with store.new_folder(folder) as work:
        for name, content in files.items():
            (work / name).write_bytes(content)
        text = json.dumps(manifest, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
        (work / store.MANIFEST).write_text(text, encoding="utf-8")
    return str(manifest["hash"])


def stored(value: Any) -> Any:
    """A plan's content as JSON holds it: days as ``{"day": "2027-02-01"}``."""
    if isinstance(value, date):
        return {"day": value.isoformat()}
    if isinstance(value, Mapping):
        return {str(key): stored(part) for key, part in value.items()}
    return [stored(part) for part in value] if isinstance(value, (list, tuple)) else value


def revived(value: Any) -> Any:
    """The inverse of `stored`."""
    if isinstance(value, dict):
        if set(value) == {"day"} and isinstance(value["day"], str):
            return date.fromisoformat(value["day"])
        return {key: revived(part) for key, part in value.items()}
    return [revived(part) for part in value] if isinstance(value, list) else value
