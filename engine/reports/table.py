"""An answer as a table for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from quotacast.engine.answer import Answer
from quotacast.engine.reports.units import column_units, cut, show, unit, wide

GAP = "  "
# Columns that a narrow terminal can do without, in the order in which they leave; then from the right.
SPARE = ("level", "p_defined", "actual", "mean", "p25", "p75", "attainment_p50", "p5", "p95")
_TEXT_LEAST = 12  # a text column never gets narrower than this,
_WORD_MOST = 24  # nor than its longest word, up to this: ids are read whole or not at all


@dataclass(frozen=True)
class Column:
    """A column as it will be seen: its name, its unit, whether it holds numbers, and one text per row."""

    name: str
    unit: str
    numeric: bool
    cells: tuple[str, ...]

    @property
    def title(self) -> str:
        """The heading in words."""
        return self.name.replace("_", " ")


def columns(answer: Answer) -> list[Column]:
    """Every column of the answer in words; ``scope`` and ``scope_id`` become one (``team:north``)."""
    made = []
    for field in answer.fields:
        units = column_units(answer, field)
        cells = tuple(show(v, u) for v, u in zip(answer.rows[field.name], units, strict=True))
        numeric = field.unit == "metric" or unit(field.unit).numeric
        made.append(Column(field.name, field.unit, numeric, cells))
    return _join_scope(made)


def scope_label(scope: str, scope_id: str) -> str:
    """The way a scope is written: ``company``, ``team:north``, ``rep:r07``."""
    if scope == "company" or scope_id.startswith(f"{scope}:"):
        return scope if scope == "company" else scope_id
    return f"{scope}:{scope_id}"


def _join_scope(made: list[Column]) -> list[Column]:
    named = {c.name: c for c in made}
    if not {"scope", "scope_id"} <= named.keys():
        return made
    pairs = zip(named["scope"].cells, named["scope_id"].cells, strict=True)
    joined = Column("scope", "text", False, tuple(scope_label(s, i) for s, i in pairs))
    return [joined if c.name == "scope" else c for c in made if c.name != "scope_id"]


def split_constant(made: Sequence[Column], rows: int) -> tuple[list[Column], list[str]]:
    """The columns that vary, and a caption phrase for each that does not.

    Of a single row the numbers stay, and of equal rows at least the first column.
    """
    constant = [c for c in made if rows and len(set(c.cells)) == 1 and (rows > 1 or not c.numeric)]
    if len(constant) == len(made):
        constant = constant[1:]
    phrases = [f"{c.title} {c.cells[0]}" if c.numeric or c.cells[0] == "–" else c.cells[0] for c in constant]
    return [c for c in made if c not in constant], phrases


def _pad(text: str, width: int, right: bool) -> str:
    text = cut(text, width)
    space = " " * (width - wide(text))
    return space + text if right else text + space


def _heads(column: Column) -> list[str]:
    """The heading on one line, or on several where its words are wider than the cells."""
    body = max((wide(c) for c in column.cells), default=0)
    return [column.title] if wide(column.title) <= body else column.title.split(" ")


def _natural(column: Column) -> int:
    return max(wide(t) for t in [*_heads(column), *column.cells])


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * max(0, len(widths) - 1)


def _fit(made: list[Column], width: int) -> tuple[list[Column], list[int], list[str]]:
    """Columns and widths that fit: texts are wrapped first, then spare columns leave, then the rightmost."""
    left: list[str] = []
    while True:
        widths = [_natural(c) for c in made]
        widths = _shorten(made, widths, _total(widths) - width)
        if _total(widths) <= width or len(made) == 1:
            return made, widths, left
        names = [c.name for c in made]
        goes = next((n for n in SPARE if n in names[1:]), names[-1])
        left.append(goes)
        made = [c for c in made if c.name != goes]


def _least(column: Column) -> int:
    """The least width of a text column."""
    longest = max((wide(word) for cell in column.cells for word in cell.split()), default=0)
    return max(_TEXT_LEAST, min(longest, _WORD_MOST))


def _shorten(made: Sequence[Column], widths: list[int], excess: int) -> list[int]:
    """Take the excess off the widest text column, repeatedly, down to the least width."""
    widths, least = list(widths), [_least(c) for c in made]
    for _ in range(max(0, excess)):
        texts = [i for i, c in enumerate(made) if not c.numeric and widths[i] > least[i]]
        if not texts:
            break
        widths[max(texts, key=lambda i: widths[i])] -= 1
    return widths


def _body(made: Sequence[Column], widths: Sequence[int], rows: int) -> list[str]:
    heads = [_heads(c) for c in made]
    height = max(len(h) for h in heads)
    heads = [[""] * (height - len(h)) + h for h in heads]  # headings stand on the rule
    lines = [[h[i] for h in heads] for i in range(height)]
    lines.append(["─" * w for w in widths])
    for row in range(rows):
        lines += _row([c.cells[row] for c in made], widths)
    return [
        GAP.join(_pad(t, w, c.numeric) for t, w, c in zip(line, widths, made, strict=True)).rstrip()
        for line in lines
    ]


def _row(cells: Sequence[str], widths: Sequence[int]) -> list[list[str]]:
    """One row of the answer as lines: texts wider than their column go on below."""
    parts = [textwrap.wrap(c, w) if wide(c) > w else [c] for c, w in zip(cells, widths, strict=True)]
    return [list(line) for line in zip_longest(*parts, fillvalue="")]


def as_table(answer: Answer, *, width: int = 80, max_rows: int | None = None) -> str:
    """The answer for a terminal: a caption, the table, and its words.

    Columns whose value never changes stand in the caption. Columns that do not fit in ``width`` are named
    below the table, and so are the rows beyond ``max_rows``.

    Parameters
    ----------
    answer : Answer
        What to show.
    width : int
        Characters per line.
    max_rows : int, optional
        Show at most so many rows.

    Returns
    -------
    str
        Lines without trailing spaces, no final newline.
    """
    rows = len(answer.rows)
    varying, phrases = split_constant(columns(answer), rows)
    currency = answer.provenance.get("currency")
    if currency and any("money" in column_units(answer, f) for f in answer.fields):
        phrases.append(show(currency, "text"))
    lines = textwrap.wrap(" · ".join(phrases), width, subsequent_indent="  ")
    if rows == 0:
        lines.append("(no rows)")
    else:
        fitted, widths, left = _fit(varying, width)
        count = rows if max_rows is None else min(rows, max_rows)
        lines += _body(fitted, widths, count)
        lines += textwrap.wrap(_remark(rows - count, left), width)
    if answer.words:
        lines += ["", *textwrap.wrap(show(answer.words, "text"), width)]
    return "\n".join(lines)


def _remark(more: int, left: Sequence[str]) -> str:
    """What the table could not hold."""
    said = [f"… {more:,} more rows"] if more > 0 else []
    if left:
        said.append(f"no room for {', '.join(left)}")
    return "; ".join(said) + (" (csv and json are complete)" if said else "")
