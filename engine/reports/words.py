"""Numbers and odds as people say them: pure functions of plain numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from quotacast.errors import QuotacastError

MISSING = "–"
NOT_MEANINGFUL = "not meaningful"

_SCALES = ((1e9, "B"), (1e6, "M"), (1e3, "k"))
_PLAIN_BELOW = 10_000  # amounts under this are written out: 9,120

_FRACTIONS = tuple(
    Fraction(top, bottom)
    for bottom, tops in {
        2: (1,),
        3: (1, 2),
        4: (1, 3),
        5: (1, 2, 3, 4),
        10: (1, 3, 7, 9),
        20: (1, 19),
    }.items()
    for top in tops
)
_HALF = Fraction(1, 2)


def _known(x: float | None) -> bool:
    return x is not None and math.isfinite(x)


def _significant(x: float, digits: int) -> float:
    return float(f"{x:.{digits - 1}e}")


def _scale(x: float) -> tuple[float, str]:
    """Divisor and suffix for amounts of the size of ``x``, whose rounding is already done."""
    if abs(x) < _PLAIN_BELOW:
        return 1.0, ""
    return next((size, suffix) for size, suffix in _SCALES if abs(x) >= size)


def _decimals(x: float, digits: int) -> int:
    """How many decimals leave ``x`` with ``digits`` significant digits, none below zero."""
    whole = math.floor(math.log10(abs(x))) + 1 if x else 1
    return max(0, digits - max(whole, 1))


def _fixed(x: float, decimals: int) -> str:
    text = f"{x:,.{decimals}f}"
    return text.lstrip("-") if not text.strip("-0.,") else text  # no "-0"


def money(x: float | None, currency: str | None = None, *, digits: int = 3) -> str:
    """An amount at a glance: ``12.3M``, ``945k``, ``9,120``.

    Parameters
    ----------
    x : float or None
        Amount in currency units.
    currency : str, optional
        Put in front of the amount: ``EUR 12.3M``.
    digits : int
        Significant digits of an amount of 10,000 and more.

    Returns
    -------
    str
        An en dash where ``x`` is missing or infinite.
    """
    if x is None or not math.isfinite(x):
        return MISSING
    shown = _significant(float(x), digits) if abs(x) >= _PLAIN_BELOW - 0.5 else float(x)
    size, suffix = _scale(shown)
    decimals = _decimals(shown / size, digits) if suffix else _small_decimals(shown)
    text = _fixed(shown / size, decimals) + suffix
    return f"{currency} {text}" if currency else text


def _small_decimals(x: float) -> int:
    return 2 if 0 < abs(x) < 1 else 0


def money_range(values: Sequence[float | None], currency: str | None = None, *, digits: int = 3) -> str:
    """Amounts side by side in the unit of the largest: ``10.1 – 11.2 – 12.6M``."""
    known = [float(v) for v in values if v is not None and math.isfinite(v)]
    if not known:
        return MISSING
    largest = max(known, key=abs)
    if abs(largest) >= _PLAIN_BELOW - 0.5:
        largest = _significant(largest, digits)
    size, suffix = _scale(largest)
    decimals = _decimals(largest / size, digits) if suffix else _small_decimals(largest)
    parts = [
        _fixed(float(v) / size, decimals) if v is not None and math.isfinite(v) else MISSING for v in values
    ]
    text = f" {MISSING} ".join(parts) + suffix
    return f"{currency} {text}" if currency else text


def percent(p: float | None) -> str:
    """A probability in whole percent, ``<1%`` and ``>99%`` at the ends: no simulation shows a certainty."""
    if p is None or not math.isfinite(p):
        return MISSING
    if p < 0.005:
        return "<1%"
    if p >= 0.995:
        return ">99%"
    return f"{p * 100:.0f}%"


def ratio(x: float | None) -> str:
    """A ratio such as an attainment or a margin in percent: ``102%``, ``7.3%``."""
    if x is None or not math.isfinite(x):
        return MISSING
    share = float(x) * 100
    return _fixed(share, 0 if abs(share) >= 10 or share == round(share) else 1) + "%"


def number(x: float | None) -> str:
    """A count or a mean of counts: ``4,000``, ``123``, ``12.4``, ``0.35``."""
    if x is None or not math.isfinite(x):
        return MISSING
    value = float(x)
    if value == round(value) or abs(value) >= 100:
        return _fixed(value, 0)
    return _fixed(value, 1 if abs(value) >= 1 else 2)


def score(x: float | None) -> str:
    """A score of unknown size with three significant digits: ``0.0123``, ``1.23``, ``12,300``."""
    if x is None or not math.isfinite(x):
        return MISSING
    value = float(x)
    if value == 0:
        return "0"
    if abs(value) < 1e-4:
        return f"{value:.1e}"
    return _fixed(value, max(0, 2 - math.floor(math.log10(abs(value)))))


def odds_words(p: float | None) -> str:
    """A probability in the words people bet with: ``about 1 in 4``.

    The nearest of the simple fractions with denominators 2, 3, 4, 5 and 10 (of the twentieths only the
    outermost: nobody thinks in 9 in 20); ties go to the fraction nearer to a half.

    Parameters
    ----------
    p : float or None
        Probability in [0, 1].

    Raises
    ------
    QuotacastError
        If ``p`` is outside [0, 1].
    """
    if p is None or math.isnan(p):
        return NOT_MEANINGFUL
    if not -1e-9 <= p <= 1 + 1e-9:
        raise QuotacastError(f"a probability of {p} arrived, wanted a number from 0 to 1")
    if p < 0.01:
        return "almost impossible"
    if p > 0.99:
        return "almost certain"
    if p < 0.035:
        return "less than 1 in 20"
    if p > 0.965:
        return "more than 19 in 20"
    exact = Fraction(round(p * 10_000), 10_000)
    near = min(_FRACTIONS, key=lambda f: (abs(f - exact), abs(f - _HALF)))
    return f"about {near.numerator} in {near.denominator}"
