"""A finished draft -> a data folder: written beside its place, renamed into it when it is whole."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import tempfile
from datetime import date, timedelta
from pathlib import Path

import pandas as pd

from quotacast.errors import DataError
from quotacast.models.history.importers.draft import CANONICAL, MATCH_COLUMNS, Draft, ImportResult

#: Names the files an import made, so that a later import knows what it may replace.
MARKER = ".quotacast-import.json"
#: A plan that ends sooner than this after the data's last day looks at the next year instead.
_SHORTEST_HORIZON = timedelta(days=31)

_PLAN = """\
# The default plan, written by `quotacast import`. Every line may be changed; lines that start with # are
# suggestions. `quotacast plan` with this file prints the odds.
name = {name}
# as_of = {as_of}          # the evening whose knowledge counts; default: the data's last day
horizon = "{horizon}"                 # the period to look at, from as_of to its end
{currency}
# draws = 4000               # simulated futures
# seed = 1

[data]
folder = "."                 # relative to this file

# [calendar]
# year_starts = 1            # first month of the fiscal year

# [[quota]]                  # a target to test; quotas.csv holds the imported ones
# scope = "company"          # or "team:<team>", "rep:<rep_id>"
# metric = "bookings"
# period = "{horizon}"
# target = 1_000_000

# [[hire]]
# team = "<team>"
# count = 1
# on = {hire}
"""


def check_place(out: Path, overwrite: bool) -> None:
    """Refuse a folder that holds anything but an earlier import.

    Raises
    ------
    DataError
        If ``out`` is a file, or holds other files, or an import and ``overwrite`` is not set.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise DataError(f"{out}: is a file; name a folder that does not exist yet")
    held = {path.name for path in out.iterdir()}
    if not held:
        return
    foreign = sorted(held - _made_by_import(out))
    if foreign:
        shown = ", ".join(foreign[:5])
        raise DataError(f"{out}: holds files that no import made ({shown}); name another folder")
    if not overwrite:
        raise DataError(
            f"{out}: holds an earlier import; add --overwrite to replace it "
            "(with any edits made there), or name another folder"
        )


def _made_by_import(out: Path) -> set[str]:
    try:
        names = json.loads((out / MARKER).read_text(encoding="utf-8"))["files"]
        return {str(name) for name in names} | {MARKER}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def write_folder(
    draft: Draft, out: Path, *, currency: str | None = None, overwrite: bool = False
) -> ImportResult:
    """Write a draft's tables, ``rejected.csv`` and ``plan.toml`` into the folder ``out``.

    The folder appears whole or not at all: a stopped import leaves what was there.
    """
    check_place(out, overwrite)
    out = out.absolute()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror}); name another folder") from error
    try:
        _fill(place, draft, currency)
        _swap(place, out)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    matches = pd.DataFrame(draft.matches, columns=list(MATCH_COLUMNS))
    command = f"quotacast check {shlex.quote(_short(out))}"
    return ImportResult(out, matches, draft.counts(), draft.rejected(), tuple(draft.notes), command)


def _fill(place: Path, draft: Draft, currency: str | None) -> None:
    texts = {
        f"{name}.csv": draft.frame(name).to_csv(index=False, lineterminator="\n") for name in _written(draft)
    }
    texts["rejected.csv"] = draft.rejected().to_csv(index=False, lineterminator="\n")
    texts["plan.toml"] = plan_text(draft, currency)
    texts[MARKER] = json.dumps({"files": sorted(texts)}, indent=1)
    for name, text in texts.items():
        with (place / name).open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    place.chmod(0o755)


def _written(draft: Draft) -> list[str]:
    return [name for name in CANONICAL if name in draft.tables]


def _swap(place: Path, out: Path) -> None:
    """Put the finished folder in its place; the former one is set aside first and removed last."""
    former = place.with_name(place.name + ".former")
    if out.exists():
        out.rename(former)
    try:
        place.rename(out)
    except OSError:
        if former.exists():
            former.rename(out)
        raise
    shutil.rmtree(former, ignore_errors=True)


def plan_text(draft: Draft, currency: str | None) -> str:
    """Return the commented default plan for a draft's data."""
    last = last_day(draft)
    horizon = (last + _SHORTEST_HORIZON).year
    money = currency or _commonest_currency(draft)
    line = (
        f"currency = {json.dumps(money)}"
        if money
        else '# currency = "EUR"           # of the amounts; the files do not say'
    )
    return _PLAN.format(
        name=json.dumps(f"Plan {horizon}"),
        as_of=last.isoformat(),
        horizon=horizon,
        currency=line,
        hire=(last + timedelta(days=1)).isoformat(),
    )


def last_day(draft: Draft) -> date:
    """Return the latest creation or closing of an opportunity, the default as-of date."""
    deals = draft.frame("opportunities")
    days = [day for name in ("created_on", "closed_on") if name in deals for day in deals[name] if day]
    if not days:
        raise DataError(_nothing_left(draft))
    return date.fromisoformat(max(days))


def _nothing_left(draft: Draft) -> list[str]:
    """Why no opportunity was left, by reason."""
    rejected = draft.rejected()
    reasons = rejected.loc[rejected["table"] == "opportunities", "reason"].value_counts()
    told = [f"{count:,} rejected: {reason}" for reason, count in reasons.head(5).items()]
    return ["no opportunity was left to write; mend the file or the mapping", *told]


def _commonest_currency(draft: Draft) -> str | None:
    deals = draft.frame("opportunities")
    codes = sorted(set(deals["currency"]) - {""}) if "currency" in deals else []
    return max(codes, key=lambda code: int((deals["currency"] == code).sum())) if codes else None


def _short(path: Path) -> str:
    """The path as one would type it from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
