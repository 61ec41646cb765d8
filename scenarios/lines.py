"""Lines for a terminal: never wider than asked, never cut in the middle of a word."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from quotacast.engine.reports.units import clean, cut, wide

WIDTH = 80
#: Columns of the label in front of a line.
LABEL = 9


def name(text: str, width: int = 24) -> str:
    """A name out of somebody's CRM, harmless and not longer than a screen can bear."""
    return cut(clean(text), width)


def packed(
    pieces: Iterable[str], *, label: str = "", indent: int = LABEL, gap: str = " · ", width: int = WIDTH
) -> Iterator[str]:
    """Pieces side by side; one that has no room begins the next line, under the first.

    Parameters
    ----------
    pieces : iterable of str
        Kept whole, unless one alone is wider than a line: that one is wrapped between words.
    label : str
        In front of the first line.
    indent : int
        Columns of the label, and of the space before further lines.
    gap : str
        Between pieces on a line.
    width : int
        Columns of a line.
    """
    room, front, line = width - indent, f"{label:<{indent}}", ""
    for piece in (part for whole in pieces for part in _wrapped(whole, room)):
        joined = f"{line}{gap}{piece}" if line else piece
        if line and wide(joined) > room:
            yield (front + line).rstrip()
            front, joined = " " * indent, piece
        line = joined
    if line:
        yield front + line


def _wrapped(text: str, room: int) -> list[str]:
    """The text whole where it fits; otherwise filled line by line."""
    if wide(text) <= room:
        return [text]
    return [cut(line, room) for line in textwrap.wrap(text, room, break_on_hyphens=False)]
