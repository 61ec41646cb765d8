"""Values as people write them: probabilities and numbers."""

from __future__ import annotations

import re
from typing import Any

_PERCENT = re.compile(r"\s*([+-]?[0-9]+(?:\.[0-9]+)?)\s*%\s*", re.ASCII)

#: Metrics and rates that are shares, and may be written as percentages.
SHARES = ("close_rate", "lead_close_rate", "margin")


def probability(value: Any) -> Any:
    """``"70%"`` as 0.7; anything else as it came, for the next check to judge."""
    found = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    return float(found[1]) / 100 if found else value


def share_of(what: str | None, value: Any) -> Any:
    """A percentage as a share where ``what`` is one (or not known, as it is itself wrong)."""
    return probability(value) if what is None or what in SHARES else value


def shown(value: Any) -> str:
    """A value that came, as an error message names it: short, and without control characters."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
