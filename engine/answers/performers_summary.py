"""What a comparison of reps comes to: the spread's parts, the top quarter, what changed, and the words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from quotacast.engine.reports.words import percent
from quotacast.engine.skills import Ints
from quotacast.engine.spread import PARTS
from quotacast.models.terms import Floats

#: A difference is called clear where so many posterior draws agree on its sign.
CLEAR = 0.9
#: Length of the window for which luck is told besides the whole history, months.
WINDOW = 3.0
LABELS: Mapping[str, str] = {
    "bookings": "bookings",
    "opportunities_created": "opportunities created",
    "close_rate": "close rate",
    "cycle_days": "days to win",
    "deal_value": "deal value",
    "margin": "margin",
}


def label_of(metric: str) -> str:
    """A metric in words: ``activity:meeting_planned`` is meeting planned."""
    return LABELS.get(metric, metric.rpartition(":")[2].replace("_", " "))


def spread_summary(shares: Mapping[str, Floats], months: Floats) -> dict[str, Any]:
    """Mean and 80 % range of every part's share, and luck's share in a single quarter.

    Luck falls with the time over which results are averaged, the other parts stay: with share L over M
    months it is L M / w / (1 - L + L M / w) over w of them.

    Parameters
    ----------
    shares : mapping of str to ndarray, shape (draws,)
    months : ndarray, shape (reps,)
        Working months behind the results.
    """
    if not shares:
        return {}
    luck = min(max(float(shares["luck"].mean()), 0.0), 1.0)
    span = float((months**2).sum() / months.sum())
    grown = luck * max(span / WINDOW, 1.0)
    return {
        "months": span,
        "share": {name: float(shares[name].mean()) for name in PARTS},
        "p10": {name: float(np.quantile(shares[name], 0.1)) for name in PARTS},
        "p90": {name: float(np.quantile(shares[name], 0.9)) for name in PARTS},
        "luck_in_a_quarter": grown / (1.0 - luck + grown),
    }


def top_summary(found: Mapping[str, Floats], top: Ints, others: Ints, reps: Sequence[str]) -> dict[str, Any]:
    """What the top quarter does differently: ratios of means, per metric, with an 80 % range.

    Who is in it is fixed beforehand, by the posterior means of bookings, so that no draw picks its own
    winners.

    Parameters
    ----------
    found : mapping of str to ndarray, shape (draws, reps)
    top, others : ndarray of int
        Columns of the two groups.
    reps : sequence of str
        Names of those in the top quarter.
    """
    differs = []
    for name in (
        *(n for n in LABELS if n in found),
        *(n for n in found if n.startswith(("lead", "activity:"))),
    ):
        ratio = found[name][:, top].mean(axis=1) / found[name][:, others].mean(axis=1)
        above = float((ratio > 1).mean())
        differs.append(
            {
                "metric": name,
                "top": float(found[name][:, top].mean()),
                "others": float(found[name][:, others].mean()),
                "ratio": float(np.median(ratio)),
                "p10": float(np.quantile(ratio, 0.1)),
                "p90": float(np.quantile(ratio, 0.9)),
                "clear": max(above, 1.0 - above) >= CLEAR,
            }
        )
    return {"reps": list(reps), "differs": differs}


def changes_summary(whole: Floats, latest: Floats, reps: Sequence[str], period: str) -> list[dict[str, Any]]:
    """Reps whose latest quarter clearly differs from their own average, colleagues' changes taken out.

    Parameters
    ----------
    whole, latest : ndarray, shape (draws, reps)
        Skills over the whole history and in the quarter.
    """
    ratio = (latest / latest.mean(axis=1, keepdims=True)) / (whole / whole.mean(axis=1, keepdims=True))
    above = (ratio > 1).mean(axis=0)
    return [
        {"rep": rep, "period": period, "ratio": float(np.median(ratio[:, k])), "p_up": float(above[k])}
        for k, rep in enumerate(reps)
        if max(above[k], 1.0 - above[k]) >= CLEAR
    ]


def performer_words(summary: Mapping[str, Any]) -> str:
    """The summary in plain words."""
    said = [
        _ranked(summary),
        _spread(summary["spread"]),
        _top(summary["top"]),
        _changed(summary),
        _left(summary["left_out"]),
        "Margins are compared here only: the forecast draws them by segment, not by rep."
        if summary["margin"]
        else "Margins are not compared: the data hold too few.",
    ]
    return " ".join(s for s in said if s)


def _ranked(summary: Mapping[str, Any]) -> str:
    between: Mapping[str, Mapping[str, Any]] = summary["between_reps"]
    none = summary["no_rep_effect"]
    if len(none) == len(between):
        return (
            "The data hold no rep effect: what differs between reps is no more than luck and territory "
            f"explain, and a ranking would rank noise ({_list(none, between)}). {_MEANING}"
        )
    kept = [m for m in between if m not in none]
    told = f"told apart by {_list(kept, between)}"
    if not none:
        return f"Reps are {told}: {_evidence(summary, kept)} {_MEANING}"
    return (
        f"No rep effect in {_list(none, between)}: too little of it is sure, so there is no ranking. Reps "
        f"are {told}: {_evidence(summary, kept)} {_MEANING}"
    )


#: What the figures behind measures are, and when a measure is ranked.
_MEANING = (
    "In brackets: the standard deviation between reps with its 90% interval, chance and territory taken out, "
    "and how much of the differences a ranking knows; ranked are measures in which it surely is over 5% (of "
    "the margin 1 point) and at least half is known."
)


def _list(names: Sequence[str], between: Mapping[str, Mapping[str, Any]]) -> str:
    return ", ".join(f"{LABELS[m]} ({_interval(m, between[m])})" for m in names)


def _interval(name: str, one: Mapping[str, Any]) -> str:
    if name == "margin":
        low, half, high = (f"{100 * one[q]:.1f}" for q in ("p5", "p50", "p95"))
        return f"{half} points, {low} to {high}; {percent(one['reliability'])}"
    low, half, high = (f"{100 * one[q]:.0f}" for q in ("p5", "p50", "p95"))
    return f"{half}%, {low} to {high}%; {percent(one['reliability'])}"


def _evidence(summary: Mapping[str, Any], kept: Sequence[str]) -> str:
    """That the differences are no noise: they last, and teams differ less or more."""
    said = [f"{LABELS[m]} {summary['halves'][m]:.2f}" for m in kept if m in summary["halves"]]
    text = f"raw results of the two halves of the history correlate ({', '.join(said)})" if said else ""
    teams = summary["between_teams"]
    if teams and "opportunities_created" in kept:
        text += "; " if text else ""
        text += "between teams, creation differs by {:.0f}%, {:.0f} to {:.0f}%".format(
            *(100 * teams[q] for q in ("p50", "p5", "p95"))
        )
    return f"{text}." if text else "they differ beyond chance."


def _spread(spread: Mapping[str, Any]) -> str:
    if not spread:
        return ""
    share = spread["share"]
    parts = ", ".join(f"{n} {100 * share[n]:.0f}%" for n in ("rep", "territory", "time", "luck"))
    parts = parts.replace("-0%", "0%").replace("-", "−")
    against = " A part below 0 works against the others." if "−" in parts else ""
    return (
        f"Spread of bookings per working month over {spread['months']:.0f} months: {parts} (territory is "
        "segment mix and team, time is ramp and when worked); in a single quarter luck would be "
        f"{percent(spread['luck_in_a_quarter'])}.{against}"
    )


def _top(top: Mapping[str, Any]) -> str:
    if not top:
        return ""
    first, *rest = top["differs"]
    clear = [
        f"{label_of(d['metric'])} × {d['ratio']:.2f} ({d['p10']:.2f}–{d['p90']:.2f})"
        for d in rest
        if d["clear"]
    ]
    vague = [label_of(d["metric"]) for d in rest if not d["clear"]]
    text = f"The top quarter ({', '.join(top['reps'])}) books {first['ratio']:.2f} times what the others do"
    text += f": {', '.join(clear)}" if clear else ""
    text += f"; no clear difference in {', '.join(vague)}." if vague else "."
    made = any(d["clear"] for d in rest if d["metric"] == "opportunities_created")
    return text + (" Whether opportunities are made or handed out, the data do not tell." if made else "")


def _changed(summary: Mapping[str, Any]) -> str:
    if not summary.get("by_quarter"):
        return ""
    if not summary["changed"]:
        return "No rep's latest quarter clearly differs from the rep's own average."
    told = ", ".join(f"{c['rep']} × {c['ratio']:.2f}" for c in summary["changed"])
    return f"Clearly different from the own average in {summary['changed'][0]['period']}: {told}."


def _left(reps: Sequence[str]) -> str:
    return f"Not compared, having left or too new: {', '.join(reps)}." if reps else ""
