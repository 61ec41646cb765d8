"""Laying one part of a plan over another, and finding back where a key was written.

Scalars replace, tables merge, lists append, and a ``[[quota]]`` replaces the one with its scope, metric
and period (and set, where it names one). Works on the plain document, before anything is validated, so
every value may be of any type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Document = dict[str, Any]
#: A key's place in a document: names of tables and numbers in lists from 0.
Loc = tuple[str | int, ...]

_REPLACED_BY = ("scope", "metric", "period")


def lay_over(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> Document:
    """Return ``base`` with ``overlay`` on top; neither is changed."""
    out = dict(base)
    for key, value in overlay.items():
        below = base.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            out[key] = lay_over(below, value)
        elif isinstance(value, list) and isinstance(below, list):
            out[key] = [below[at] for at in _kept(key, below, value)] + value
        else:
            out[key] = value
    return out


def _kept(key: str, below: Sequence[Any], above: Sequence[Any]) -> list[int]:
    """Places of the entries of a list that stay when another list is laid over it."""
    if key != "quota":
        return list(range(len(below)))
    return [at for at, entry in enumerate(below) if not any(_replaces(new, entry) for new in above)]


def _replaces(new: Any, old: Any) -> bool:
    if not (isinstance(new, Mapping) and isinstance(old, Mapping)):
        return False
    keys = _REPLACED_BY if "set" not in new else (*_REPLACED_BY, "set")
    return all(new.get(key) == old.get(key) for key in keys)


def written_at(base: Mapping[str, Any], overlay: Mapping[str, Any], loc: Loc) -> tuple[bool, Loc]:
    """Where a place in ``lay_over(base, overlay)`` was written.

    Returns
    -------
    in_overlay : bool
    loc : tuple
        The place in the overlay, or in the base.
    """
    below: Any = base
    above: Any = overlay
    out: list[str | int] = []
    for depth, part in enumerate(loc):
        if isinstance(part, int) and isinstance(below, list) and isinstance(above, list):
            kept = _kept(str(loc[depth - 1]), below, above)
            inside = part >= len(kept)
            step = part - len(kept) if inside else kept[part]
            return inside, (*out, step, *loc[depth + 1 :])
        if not isinstance(above, Mapping) or part not in above:
            return False, loc
        out.append(part)
        above = above[part]
        below = below.get(part) if isinstance(below, Mapping) else None
        if not isinstance(below, type(above)):  # replaced whole
            return True, loc
    return True, loc


def key_path(loc: Loc) -> str:
    """A place as people write it: ``scenario.hire_four.hire[1].on``; lists count from 1."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part + 1}]"
        else:
            name = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else repr(part)
            text += f".{name}" if text else name
    return text
