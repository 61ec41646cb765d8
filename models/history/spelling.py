"""One rep under two spellings: found by a key that ignores what people type differently."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping

import pandas as pd

#: Ids that machines make; in those, case and every sign count (Salesforce ids differ by case alone).
_MACHINE = re.compile(r"(?=.*\d)(?:[A-Za-z0-9]{15}|[A-Za-z0-9]{18}|[0-9a-fA-F-]{32,36})")


def key(text: str) -> str:
    """Return what two spellings of one rep have in common.

    Case, accents' encoding, spaces and punctuation do not count; in texts with digits a separator
    stays a separator, since ``1-12`` and ``11-2`` are two ids.
    """
    if _MACHINE.fullmatch(text):
        return text
    folded = unicodedata.normalize("NFKC", text).casefold()
    parts = re.findall(r"\w+", folded.replace("_", " "))
    if not parts:
        return text
    return "-".join(parts) if any(c.isdigit() for c in folded) else "".join(parts)


def unify(counts: Mapping[str, int], reps: pd.DataFrame) -> dict[str, str]:
    """Return the spellings to replace, each with its replacement.

    Parameters
    ----------
    counts : mapping of str to int
        How often each spelling of a rep occurs in the data.
    reps : pandas.DataFrame
        Canonical reps table; its ids (then its names) decide, and are never merged with each other.

    Returns
    -------
    dict of str to str
        Without the spellings that stay as they are.
    """
    ids = set(reps["rep_id"].dropna())
    official = _unique((key(i), i) for i in ids)
    named = reps[["rep_id", "name"]].dropna().drop_duplicates()
    for spelling, rep in _unique(
        (key(n), i) for i, n in zip(named["rep_id"], named["name"], strict=True)
    ).items():
        official.setdefault(spelling, rep)
    groups: dict[str, list[str]] = {}
    for spelling in sorted(counts, key=lambda s: (-counts[s], s)):
        if spelling not in ids:
            groups.setdefault(key(spelling), []).append(spelling)
    replace = {}
    for common, spellings in groups.items():
        target = official.get(common, spellings[0])
        replace.update({s: target for s in spellings if s != target})
    return replace


def _unique(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Keys that lead to one value only; two reps behind one key stay two."""
    found: dict[str, set[str]] = {}
    for common, value in pairs:
        found.setdefault(common, set()).add(value)
    return {common: min(values) for common, values in found.items() if len(values) == 1}
