"""Public holidays: which days they are, and how much business falls on them.

The days come from the `holidays` library, a country's public ones and, where the library tells them
apart, those that are free by custom or law without being public (its category "de facto": Midsummer Eve
in Sweden). Sundays that are listed as holidays for being Sundays are left out: weekdays have weights.
"""

from __future__ import annotations

from datetime import date
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Share of a working day's business that falls on a holiday, before the data are asked: offices are shut,
#: a little is entered or signed nevertheless.
PRIOR_SHARE = 0.1
#: Weight of that belief, in events that would have been expected on the holidays were they none: a gamma
#: prior of shape 0.5, by which the share lies between 0 and .38 with probability .95.
PRIOR_EVENTS = 5.0
#: Pseudo-events per weekday: keeps a weekday without business at a small positive weight.
WEEKDAY_SMOOTHING = 0.5


def country_problem(code: str) -> str:
    """Why a code names no country (or part of one) with known holidays; empty where it does.

    Parameters
    ----------
    code : str
        ISO 3166 code of a country (``"SE"``), or of a part of one (``"DE-BY"``).
    """
    import holidays

    known = holidays.list_supported_countries(include_aliases=False)
    country, _, part = code.partition("-")
    if country not in known:
        return f"{code!r} came, wanted a country with known holidays{_near(country, list(known), '')}"
    if part and part not in known[country]:
        hint = _near(part, list(known[country]), f"{country}-") or f"; wanted {country} alone"
        return f"{code!r} came, {country} has no part {part!r} with holidays of its own{hint}"
    return ""


def _near(given: str, known: list[str], before: str) -> str:
    near = get_close_matches(given.upper(), known, n=20, cutoff=0.5)
    near.sort(key=lambda name: name[0] != given[0].upper())  # the first letter is seldom the wrong one
    if near:
        return f"; near it: {', '.join(before + name for name in near[:3])}"
    return f"; there are {', '.join(before + name for name in known[:8])}" if known else ""


def holiday_days(code: str | None, first: int, last: int) -> Ints:
    """Day numbers of the holidays from ``first`` to ``last``, sorted; none without a country.

    Parameters
    ----------
    code : str or None
        As in :func:`country_problem`.
    first, last : int
        Inclusive day numbers since 1970-01-01.
    """
    if code is None:
        return np.empty(0, dtype=np.int64)
    epoch = date(1970, 1, 1).toordinal()
    years = range(date.fromordinal(first + epoch).year, date.fromordinal(last + epoch).year + 1)
    days = np.array(sorted(day.toordinal() - epoch for day in _calendar(code, years)), dtype=np.int64)
    return days[(days >= first) & (days <= last)]


def _calendar(code: str, years: range) -> Any:
    import inspect

    import holidays

    country, _, part = code.partition("-")
    kind = type(holidays.country_holidays(country))
    wanted: dict[str, Any] = {"years": years, "subdiv": part or None}
    if "include_sundays" in inspect.signature(kind.__init__).parameters:
        wanted["include_sundays"] = False
    wanted["categories"] = tuple(c for c in ("public", "de_facto") if c in kind.supported_categories)
    return kind(**wanted)


def day_rates(days: Ints, first: int, last: int, free: Ints) -> tuple[Floats, float]:
    """Weights of the weekdays, mean 1, and the share of a weekday's business that a holiday has.

    With ``n_k`` days of weekday k, ``m_k`` of them no holidays, and ``y_k`` events on those::

        weight_k = 7 * (a_k + s) / sum(a + s),      a_k = y_k * n_k / m_k,      s = WEEKDAY_SMOOTHING
        expected = sum over holidays of (a_k + s) / n_k
        share    = (events on holidays + PRIOR_EVENTS * PRIOR_SHARE) / (expected + PRIOR_EVENTS)

    the last being the posterior mean of a Poisson rate under a gamma prior.

    Parameters
    ----------
    days : ndarray of int64
        Day numbers of creations and closings, pooled.
    first, last : int
        Span in which they were seen.
    free : ndarray of int64
        Holidays within the span.

    Returns
    -------
    weights : ndarray, shape (7,)
        Of Monday to Sunday.
    share : float
        Greater than 0; 1 where there is no holiday.
    """
    off = np.isin(days, free)
    there = np.bincount((np.arange(first, last + 1) + 3) % 7, minlength=7)
    open_days = there - np.bincount((free + 3) % 7, minlength=7)
    seen = np.bincount((days[~off] + 3) % 7, minlength=7).astype(float)
    made_up = seen * np.where(open_days > 0, there / np.maximum(open_days, 1), 1.0) + WEEKDAY_SMOOTHING
    weights = 7.0 * made_up / made_up.sum()
    if free.size == 0:
        return np.asarray(weights), 1.0
    expected = float((made_up / np.maximum(there, 1))[(free + 3) % 7].sum())
    share = (float(off.sum()) + PRIOR_EVENTS * PRIOR_SHARE) / (expected + PRIOR_EVENTS)
    return np.asarray(weights), share
