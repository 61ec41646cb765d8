"""Fairness: do comparable reps have comparable odds, and where do the differences come from?

*Comparable* are reps of the same role who are ramped, or ramping, or there for a part of the period only. The
spread of the odds p_i over reps with a quota is split by moving every rep's futures to an average place,
factor by factor (:mod:`quotacast.engine.places`): with the factors S on, a rep's futures are scaled by
m_i(S) = expected(S) ÷ expected(all), and v_i(S) is the share of them that reaches the stated quota. Shapley
values over the factors (Shapley 1953) give p_i = v_i(none) + sum of parts, and ::

    share of a factor = Cov(p, part) / Var(p),     share of the quotas = Cov(p, v(none)) / Var(p)

which add up to 1. v_i(none) are the odds of an average rep in an average place with i's quota: its spread
is what the quotas alone would make. A negative share evens the odds out: quotas that follow territory take
a share below 0 where territory has one above it, and with equal odds there is no spread to be shared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from quotacast.engine.places import FACTORS
from quotacast.engine.sharing import Floats, equal_odds
from quotacast.engine.spread import Switch, shapley

PARTS = ("quota", *FACTORS)
#: Odds that differ by less than this (standard deviation) are even: 2,000 futures tell no less apart.
EVEN = 0.02


def groups_of_comparable(
    reps: Sequence[str], odds: Floats, groups: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The spread of odds within every group of comparable reps, the largest group first."""
    found: dict[str, list[int]] = {}
    for i, rep in enumerate(reps):
        found.setdefault(groups.get(rep, "others"), []).append(i)
    rows = []
    for name, places in found.items():
        some = odds[places]
        low, high = int(np.argmin(some)), int(np.argmax(some))
        rows.append(
            {
                "group": name,
                "reps": len(places),
                "least": float(some[low]),
                "least_rep": reps[places[low]],
                "most": float(some[high]),
                "most_rep": reps[places[high]],
                "median": float(np.median(some)),
                "sd": float(some.std()),
            }
        )
    return sorted(rows, key=lambda row: (-row["reps"], row["group"]))


def odds_elsewhere(values: Floats, targets: Floats, times: Mapping[Switch, Floats]) -> dict[Switch, Floats]:
    """Odds with every rep's futures scaled, by factors that are on.

    Parameters
    ----------
    values : ndarray, shape (reps, draws)
    targets : ndarray, shape (reps,)
    times : mapping of switch to ndarray, shape (reps,)
    """
    return {
        on: np.asarray((values * scale[:, None] >= targets[:, None] - 1e-9).mean(axis=1))
        for on, scale in times.items()
    }


def parts_of_spread(odds: Mapping[Switch, Floats]) -> dict[str, float]:
    """Shares of `PARTS` in the variance of the odds over reps; they sum to 1. Empty where they are even."""
    whole, none = odds[frozenset(FACTORS)], odds[frozenset()]
    centred = whole - whole.mean()
    variance = float((centred**2).mean())
    if variance < EVEN**2:
        return {}
    parts = {"quota": none, **shapley(dict(odds), FACTORS)}
    return {name: float((parts[name] * centred).mean()) / variance for name in PARTS}


def fairness_facts(
    reps: Sequence[str],
    values: Floats,
    targets: Floats,
    groups: Mapping[str, str],
    places: Mapping[Switch, Mapping[str, float]] | None = None,
) -> dict[str, Any]:
    """Groups, parts of the spread, and the quotas of equal odds with the same sum.

    Parameters
    ----------
    values : ndarray, shape (reps, draws)
    targets : ndarray, shape (reps,)
    groups : mapping of rep to name of the group of comparable reps
    places : mapping of switch to (mapping of rep to expected value), optional
        As `expected_places` gives them; without it the spread is not taken apart.
    """
    odds = np.asarray((values >= targets[:, None]).mean(axis=1))
    equal = equal_odds(np.sort(values, axis=1), float(targets.sum()))
    facts: dict[str, Any] = {
        "groups": groups_of_comparable(reps, odds, groups),
        "sd": float(odds.std()),
        "equal_odds": float(np.median((values >= equal[:, None]).mean(axis=1))),
        "equal_targets": {rep: float(x) for rep, x in zip(reps, equal, strict=True)},
        "parts": {},
    }
    if places is None:
        return facts
    whole = places[frozenset(FACTORS)]
    known = np.array([whole.get(rep, 0.0) > 0 for rep in reps])
    if known.sum() < 3:
        return facts
    some = [rep for rep, k in zip(reps, known, strict=True) if k]
    times = {on: np.array([found[r] / whole[r] for r in some]) for on, found in places.items()}
    facts["parts"] = parts_of_spread(odds_elsewhere(values[known], targets[known], times))
    return facts


def fairness_words(facts: Mapping[str, Any]) -> str:
    """The largest group's spread, and what it comes from."""
    wide = [g for g in facts["groups"] if g["reps"] > 1]
    if not wide:
        return "No two reps are comparable."
    top = wide[0]
    if top["most"] - top["least"] < 2 * EVEN and facts["sd"] < EVEN:
        return f"All {top['reps']} comparable reps ({top['group']}) have about {top['median']:.0%}."
    text = (
        f"Among {top['reps']} comparable reps ({top['group']}) the odds run from {top['least']:.0%} "
        f"({top['least_rep']}) to {top['most']:.0%} ({top['most_rep']}); with the same sum all could have "
        f"{facts['equal_odds']:.0%}."
    )
    if facts["parts"]:
        shares = ", ".join(f"{name} {share:+.0%}" for name, share in facts["parts"].items())
        text += f" Of the spread of all reps' odds: {shares} (below 0: evens it out)."
    return text
