"""From the files other systems export to the canonical tables.

``import_source`` takes a folder or files and the name of an importer (or a mapping file), ``import_export``
one export file that is recognised by its headings. A new importer is one row in :data:`IMPORTERS` and one
file. Nothing heavy is loaded until an import runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from quotacast.errors import DataError

if TYPE_CHECKING:
    from quotacast.models.history.importers.draft import Draft, ImportResult

__all__ = ["IMPORTERS", "Importer", "import_export", "import_source"]

#: Endings of files that are read when a folder is given.
_ENDINGS = frozenset({".csv", ".tsv", ".txt", ".xlsx", ".xls", ".parquet"})


@dataclass(frozen=True)
class Importer:
    """Where an importer lives: ``function(files) -> Draft`` of a module here, and what it reads."""

    module: str
    function: str
    reads: str

    def load(self, files: Sequence[Path]) -> Draft:
        """Run the importer on files."""
        module = import_module(f"quotacast.models.history.importers.{self.module}")
        draft: Draft = getattr(module, self.function)(files)
        return draft


IMPORTERS: dict[str, Importer] = {
    "salesforce": Importer(
        "salesforce",
        "import_salesforce",
        "object files: Opportunity, OpportunityHistory, Task, Event, Lead, User, Quota",
    ),
    "export": Importer(
        "export", "import_deals", "one export of deals from Salesforce, HubSpot, Pipedrive or Salesflare"
    ),
}


def import_source(
    sources: Sequence[Path],
    *,
    kind: str | Path,
    out: Path,
    currency: str | None = None,
    overwrite: bool = False,
) -> ImportResult:
    """Turn files of another system into a folder of canonical tables with a default plan.

    Parameters
    ----------
    sources : sequence of pathlib.Path
        Folders (their tables are read, not their sub-folders) or files.
    kind : str or pathlib.Path
        A name in :data:`IMPORTERS`, or the path of a mapping (``.toml``).
    out : pathlib.Path
        Folder to make. It may hold an earlier import if ``overwrite`` is set, and nothing else.
    currency : str, optional
        ISO code written to the plan; default: what the files say.

    Returns
    -------
    ImportResult

    Raises
    ------
    DataError
        All problems that stop the import, at once. Bad rows do not: they are in ``rejected``.
    """
    from quotacast.models.history.importers.write import check_place, write_folder

    check_place(Path(out), overwrite)
    files = _files(sources)
    if str(kind) in IMPORTERS:
        draft = IMPORTERS[str(kind)].load(files)
    elif Path(kind).suffix.lower() == ".toml":
        from quotacast.models.history.importers.mapping import import_mapped
        from quotacast.models.history.importers.mapping_file import read_mapping

        mapping = read_mapping(Path(kind))
        currency = currency or mapping.currency
        draft = import_mapped(files, mapping)
    else:
        raise DataError(
            f"importer {str(kind)!r} is unknown; wanted {', '.join(IMPORTERS)} or a mapping ending in .toml"
        )
    return write_folder(draft, Path(out), currency=currency, overwrite=overwrite)


def import_export(
    file: Path, out: Path, *, currency: str | None = None, overwrite: bool = False
) -> ImportResult:
    """Turn one export of deals (a Salesforce report, HubSpot, Pipedrive or Salesflare) into a data folder.

    Raises
    ------
    DataError
        If the headings lack what an opportunity needs, or a column cannot be decided.
    """
    return import_source([file], kind="export", out=out, currency=currency, overwrite=overwrite)


def _files(sources: Sequence[Path]) -> list[Path]:
    """The files of the sources in order, those of a folder by name."""
    found: list[Path] = []
    missing = [
        f"{source}: does not exist; give a folder or a file"
        for source in sources
        if not Path(source).exists()
    ]
    if missing or not sources:
        raise DataError(missing or "nothing to import; give a folder or files")
    for source in map(Path, sources):
        inside = sorted(p for p in source.iterdir() if _is_table(p)) if source.is_dir() else [source]
        found.extend(path for path in inside if path not in found)
    return found


def _is_table(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in _ENDINGS and not path.name.startswith((".", "~$"))
