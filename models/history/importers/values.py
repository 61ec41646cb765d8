"""Cells of text to days, numbers and ids in their canonical spelling; one decision per column, never per
cell.

Every function returns the canonical text (``""`` where missing or refused) and, apart, one sentence per
refused cell; a column that cannot be decided at all is a :class:`~quotacast.errors.DataError` naming the
setting to add.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import pandas as pd

from quotacast.errors import DataError

#: What people and CRMs write where nothing is known (compared in lower case).
PLACEHOLDERS = frozenset(
    {"", "-", "--", "none", "--none--", "- none -", "null", "n/a", "nan", "nat", "select"}
)

_TIME = (
    r"(?:[T ,]+\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?\s*(?:[AaPp]\.?[Mm]\.?)?\s*(?:Z|UTC|[+-]\d{2}:?\d{2})?)?"
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_Y, _M, _D, _B = r"(?P<y>\d{4})", r"(?P<m>\d{1,2})", r"(?P<d>\d{1,2})", r"(?P<m>[A-Za-z]{3,9})\.?"

#: Spelling -> pattern of the day; a time of day may follow and is cut.
DATE_FORMATS: Mapping[str, str] = {
    "YYYY-MM-DD": rf"{_Y}-{_M}-{_D}",
    "YYYY/MM/DD": rf"{_Y}/{_M}/{_D}",
    "YYYYMMDD": r"(?P<y>(?:19|20)\d{2})(?P<m>\d{2})(?P<d>\d{2})",
    "DD.MM.YYYY": rf"{_D}\.{_M}\.{_Y}",
    "DD/MM/YYYY": rf"{_D}/{_M}/{_Y}",
    "MM/DD/YYYY": rf"{_M}/{_D}/{_Y}",
    "DD-MM-YYYY": rf"{_D}-{_M}-{_Y}",
    "MM-DD-YYYY": rf"{_M}-{_D}-{_Y}",
    "DD Mon YYYY": rf"{_D}[ -]{_B}[ -]{_Y}",
    "Mon DD, YYYY": rf"{_B} {_D},? {_Y}",
}

#: Decimal mark -> pattern of a number with that mark, its thousands grouped or not.
_NUMBERS: Mapping[str, str] = {
    ".": r"[+-]?(?:\d+|\d{1,3}(?:,\d{3})+)(?:\.\d*)?(?:[eE][+-]?\d+)?|[+-]?\.\d+",
    ",": r"[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+)(?:,\d*)?|[+-]?,\d+",
}
_CURRENCY_SIGNS = r"[$€£¥₹₽₩]|^(?:[A-Z]{3}\s)|(?:\s[A-Z]{3})$"

_ASK = "set {} in a mapping (--from mapping.toml)"
TRUE = frozenset({"true", "yes", "1", "t", "y"})
_ID_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"


def blank_placeholders(values: pd.Series) -> pd.Series:
    """Return the column with every placeholder emptied."""
    return values.where(~values.str.lower().isin(PLACEHOLDERS), "")


def to_days(values: pd.Series, date_format: str | None = None) -> tuple[pd.Series, pd.Series]:
    """Read a column of days.

    Parameters
    ----------
    values : Series of str
    date_format : str, optional
        A key of :data:`DATE_FORMATS`; without it, one unambiguous value in the column decides.

    Returns
    -------
    days : Series of str
        ISO days, ``""`` where missing or refused.
    problems : Series of str
        A sentence for each refused value, else ``""``.

    Raises
    ------
    DataError
        If the values fit two formats that read them differently, or need both.
    """
    given = blank_placeholders(values)
    filled = given[given != ""]
    distinct = pd.Series(filled.unique(), dtype="object")
    name, parsed = _chosen(distinct, date_format)
    lookup = dict(zip(distinct, parsed, strict=True))
    days = given.map(lambda value: lookup.get(value, "")).astype("object")
    bad = (given != "") & (days == "")
    problems = given.map(lambda value: f"{value!r} is not a day written {name}").where(bad, "")
    return days, problems


def _chosen(distinct: pd.Series, date_format: str | None) -> tuple[str, pd.Series]:
    if date_format is not None:
        if date_format not in DATE_FORMATS:
            raise DataError(
                f"date_format {date_format!r} is unknown; wanted one of {', '.join(DATE_FORMATS)}"
            )
        return date_format, _parsed(distinct, date_format)
    read = {name: _parsed(distinct, name) for name in DATE_FORMATS}
    fits = {name: int((days != "").sum()) for name, days in read.items()}
    best = max(fits, key=lambda name: fits[name])
    for name, days in read.items():
        both = (days != "") & (read[best] != "")
        if name != best and fits[name] == fits[best] > 0 and bool((days[both] != read[best][both]).any()):
            raise DataError(_undecided(distinct, best, name))
        only = (days != "") & (read[best] == "")
        if only.any() and both.any():
            raise DataError(
                f"holds days in two spellings, {name} ({distinct[only].iloc[0]!r}) and {best}: mend one"
            )
    return best, read[best]


def _undecided(distinct: pd.Series, one: str, other: str) -> str:
    return f"{distinct.iloc[0]!r} may be {one} or {other} and no value decides: {_ASK.format('date_format')}"


def _parsed(values: pd.Series, name: str) -> pd.Series:
    """ISO days of the values that are real days in the format, else ``""``."""
    if values.empty:
        return values
    parts = values.str.extract(rf"^(?:{DATE_FORMATS[name]}){_TIME}$")
    months = parts["m"].str[:3].str.lower().map({m: str(i) for i, m in enumerate(_MONTHS, 1)})
    parts["m"] = months if "Mon" in name else parts["m"]
    found = parts.notna().all(axis=1)
    iso = (parts["y"] + "-" + parts["m"].str.zfill(2) + "-" + parts["d"].str.zfill(2)).where(found)
    real = pd.to_datetime(iso, format="%Y-%m-%d", errors="coerce").notna()
    return iso.where(real, "").astype("object")


def to_numbers(values: pd.Series, decimal: str | None = None) -> tuple[pd.Series, pd.Series]:
    """Read a column of numbers as plain decimal text (a point, no grouping).

    Currency signs, blanks, apostrophes and ``%`` are taken off; ``(12)`` is −12. The decimal mark is decided
    per column: the one that fits every value; where both fit and differ (``1.234``), ``decimal`` must be set.

    Raises
    ------
    DataError
        If the decimal mark cannot be decided.
    """
    given = blank_placeholders(values)
    bare = given.str.replace(_CURRENCY_SIGNS, "", regex=True).str.replace(
        r"[\s'’\u00a0\u202f%]", "", regex=True
    )
    bare = bare.str.replace(r"^\((.*)\)$", r"-\1", regex=True)
    mark = decimal or _decimal_of(bare[bare != ""])
    fits = bare.str.fullmatch(_NUMBERS[mark])
    grouping = "," if mark == "." else "."
    plain = bare.str.replace(grouping, "", regex=False).str.replace(mark, ".", regex=False)
    bad = (given != "") & ~fits
    problems = given.map(lambda value: f"{value!r} is not a number (decimal mark {mark!r})").where(bad, "")
    return plain.where(fits, "").str.rstrip(".").astype("object"), problems


def _decimal_of(bare: pd.Series) -> str:
    fits = {mark: bare.str.fullmatch(pattern) for mark, pattern in _NUMBERS.items()}
    if int(fits["."].sum()) != int(fits[","].sum()):
        return max(fits, key=lambda mark: int(fits[mark].sum()))
    unclear = bare[fits["."] & fits[","] & bare.str.contains(r"[.,]", regex=True)]
    if len(unclear):
        raise DataError(
            f"{unclear.iloc[0]!r} may be read with a decimal point or comma: {_ASK.format('decimal')}"
        )
    return "."


def is_true(values: pd.Series) -> pd.Series:
    """Return which cells say yes."""
    return values.str.lower().isin(TRUE)


def salesforce_ids(values: pd.Series) -> pd.Series:
    """Lengthen 15-character Salesforce ids to their 18-character, case-safe form; leave everything else.

    Each of the three added characters encodes which of five characters are capitals, least significant first.
    """
    short = values.str.fullmatch(r"[0-9A-Za-z]{15}") & values.str.contains(r"\d", regex=True)
    return values.where(~short, values.where(short, "").map(_lengthened))


def _lengthened(value: str) -> str:
    parts = [value[i : i + 5] for i in range(0, len(value), 5)]
    codes = [sum(1 << place for place, letter in enumerate(part) if "A" <= letter <= "Z") for part in parts]
    return value + "".join(_ID_LETTERS[code] for code in codes)


def normal(heading: str) -> str:
    """Return a heading as the alias table spells it: lower case, letters and digits, no ``__c`` ending."""
    bare = re.sub(r"(__c|_c)$", "", heading.strip(), flags=re.IGNORECASE)
    bare = re.sub(r"__r\.", ".", bare, flags=re.IGNORECASE)
    bare = bare.replace("__c.", ".").replace("%", "percent")
    return re.sub(r"[^a-z0-9]", "", bare.lower())
