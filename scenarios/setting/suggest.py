"""`quotacast suggest`: quotas with wished odds, or how much of an activity reaches a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from quotacast.engine.answer import Answer, Field
from quotacast.engine.answers.quotasheet import COMPANY, NOTHING, Ask, quota_sheet
from quotacast.engine.assign import Pinned, listed, pots
from quotacast.engine.metrics import metric
from quotacast.engine.quota import ACTIVITY, SCOPE_KINDS
from quotacast.engine.reports.table import as_table, scope_label
from quotacast.errors import PlanError
from quotacast.models.history.schema import NONE
from quotacast.models.periods import Period
from quotacast.scenarios.answer_views import picked
from quotacast.scenarios.choose import check_by, select_metrics, select_scopes
from quotacast.scenarios.inverse import inverse_funnel, wish
from quotacast.scenarios.inverse_view import inverse_lines
from quotacast.scenarios.run import Run
from quotacast.scenarios.setting.pins import Attempts, pins_of, wished
from quotacast.scenarios.trackrecord import trusted

Options = Mapping[str, Any]

DEFAULT_METRIC = "bookings"
#: Name of the set of quotas that is suggested.
SET = "suggested"
#: What may help where no quota has the wished odds, and where nothing is expected at all.
LOWER, OTHERS = "Wish lower odds, or ask", "Ask"
OTHER = "for another --metric or a longer --period."
#: Pieces that do not fill a year: their ends fall into the next one.
UNEVEN = ("week",)


def suggested(run: Run, options: Options) -> tuple[Answer, Sequence[str]]:
    """Quotas; with ``--by activity:<kind>`` the inverse funnel."""
    if (options["by"] or "").startswith(ACTIVITY):
        return _by_activity(run, options), run.plan_notes
    ask, notes = asked(run, options)
    notes += trusted(run, ask.metrics)
    paths = run.paths([ask.whole, *ask.pieces], ask.metrics)
    known = {*paths.scopes()}
    there = (s for s in ask.scopes if s in known and s.id != NONE)
    kept = tuple(sorted(there, key=lambda s: (SCOPE_KINDS.index(s.kind), s.id)))
    found = quota_sheet(paths, replace(ask, scopes=kept), run.provenance())
    if found.rows.empty:
        help_ = LOWER if any(x["why"] != NOTHING for x in found.summary["left"]) else OTHERS
        raise PlanError(" ".join(["no quota can be suggested.", *_left_notes(found), help_, OTHER]))
    return found, (*notes, *_left_notes(found), *run.plan_notes)


def _by_activity(run: Run, options: Options) -> Answer:
    """The inverse funnel, in whose terms the options are read."""
    if len(options["metric"]) > 1 or len(options["scope"]) > 1:
        raise PlanError(f"--by {options['by']}: wanted one --metric and one --scope")
    name, scope = (options["metric"] or (DEFAULT_METRIC,))[0], (options["scope"] or ("company",))[0]
    rest = (options["target"], options["probability"], options["by"], scope, options["period"])
    return inverse_funnel(run, wish(run, name, *rest))


def asked(run: Run, options: Options) -> tuple[Ask, list[str]]:
    """What a quota sheet is wanted for, checked before anything that takes long.

    Raises
    ------
    PlanError
        With everything that is wrong with the options and the plan's pins.
    """
    attempt = Attempts()
    attempt(_checked_options, options)
    attempt(lambda: run.notes)  # the plan must fit the data
    names = attempt(select_metrics, options["metric"] or (DEFAULT_METRIC,), run.able)
    scopes = attempt(select_scopes, run.scopes, options["scope"])
    whole = attempt(period_of, run, options["period"])
    odds = attempt(wished, run.plan, options)
    pieces = () if whole is None else attempt(_pieces, run, whole, options)
    pins: dict[tuple[str, str], Pinned] = {}
    aside: list[str] = []
    labels = [p.label for p in (whole, *(pieces or ())) if p is not None]
    found = attempt(pins_of, run, names or (), labels)
    if found:
        pins, aside = found
    if names and whole and pieces is not None and options["sum"]:
        attempt(_refuse_wide_pins, pins, whole)
        for name in names:
            pinned = pins.get((name, whole.label), Pinned())
            attempt(pots, listed(run.roster), pinned, pinned.target(COMPANY))
    attempt.done()
    rounding = run.plan.aim.rounding if options["rounding"] is None else options["rounding"]
    ask = Ask(names, scopes, whole, pieces, odds, rounding, pins, options["sum"], options["set"] or SET)
    return ask, aside


def _checked_options(options: Options) -> None:
    problems = []
    if options["sum"] is not None and options["sum"] not in SCOPE_KINDS:
        problems.append(f"--sum {options['sum']}: wanted the level that keeps its odds: rep, team or company")
    if options["rounding"] is not None and options["rounding"] <= 0:
        problems.append(f"--rounding {options['rounding']:g}: wanted a number above 0")
    problems += [
        f"--{name}: goes with --by activity:<kind>; wished odds are --company, --team, --rep"
        for name in ("target", "probability")
        if options[name] is not None
    ]
    if problems:
        raise PlanError(problems)


def period_of(run: Run, label: str | None) -> Period:
    """The period asked for, or the horizon; it must not have ended, nor end later than the horizon."""
    try:
        found = run.plan.calendar.parse(label or run.plan.horizon)
    except PlanError as error:
        raise PlanError([f"--period {label}: {problem}" for problem in error.problems]) from None
    if found.last <= run.history.as_of_date:
        raise PlanError(f"--period {label}: ended by {run.history.as_of_date}; take a later one")
    if found.last > run.plan.horizon_period.last:
        raise PlanError(f"--period {label}: ends after the plan's horizon {run.plan.horizon}")
    return found


def _pieces(run: Run, whole: Period, options: Options) -> tuple[Period, ...]:
    """The parts into which the period is cut."""
    kind = check_by(options["by"])
    if kind is None or kind == whole.kind:
        return (whole,)
    if options["sum"] and kind in UNEVEN:
        raise PlanError(f"--by {kind}: weeks do not add up to {whole.label}; with --sum take month or day")
    return tuple(p for p in run.plan.calendar.within(whole, kind) if p.last <= run.plan.horizon_period.last)


def _refuse_wide_pins(pins: Mapping[tuple[str, str], Any], whole: Period) -> None:
    """With sums, pieces of the period can only be kept for reps: the others are sums of theirs."""
    problems = [
        f"{pin.place}: with --sum a part of {whole.label} can be kept for a rep only; {pin.scope} is a sum. "
        f"Pin its reps, or {whole.label}"
        for (_, label), pinned in pins.items()
        if label != whole.label
        for pin in pinned.pins
        if pin.scope.kind != "rep"
    ]
    if problems:
        raise PlanError(problems)


def _left_notes(answer: Answer) -> list[str]:
    """Who has no quota: those of whom nothing is expected, and where the wished odds leave nothing."""
    left = answer.summary["left"]
    gone = list(dict.fromkeys(x["scope"] for x in left if x["why"] == NOTHING))
    rest = [x for x in left if x["why"] != NOTHING]
    notes = [f"No quota for {', '.join(gone)}: nothing is expected of them."] if gone else []
    if rest:
        said = "; ".join(f"{x['metric']} of {x['scope']} in {x['period']} ({x['why']})" for x in rest[:3])
        more = f"; and {len(rest) - 3:,} more (JSON: summary.left)" if len(rest) > 3 else ""
        notes.append(f"No quota for {said}{more}.")
    return notes


# -- what a terminal shows ----------------------------------------------------------------------------------


def suggested_text(answer: Answer, options: Options, width: int) -> str:
    """The sheet: one period with odds, or several side by side; the inverse funnel in its own form."""
    if answer.name != "quota-sheet":
        return "\n".join(inverse_lines(answer, width))
    rows = answer.rows
    if rows["period"].nunique() == 1:
        columns = ["scope", "scope_id", "metric", "period", "target", "p_attain", "p50", "basis"]
        return as_table(picked(answer, columns), width=width)
    if not options["scope"]:
        rows = rows[rows["scope"] != "rep"]
    parts = [_side_by_side(answer, rows[rows["metric"] == m], m, width) for m in rows["metric"].unique()]
    return "\n\n".join(
        [*parts, as_table(replace(answer, rows=rows.iloc[:0]), width=width).split("\n\n", 1)[-1]]
    )


#: So many periods fit beside each other.
_BESIDE = 5


def _side_by_side(answer: Answer, rows: pd.DataFrame, name: str, width: int) -> str:
    """Targets by period, with their odds below."""
    periods = list(dict.fromkeys(rows["period"]))
    unit, parts = metric(name).unit, []
    for first in range(0, len(periods), _BESIDE):
        some = periods[first : first + _BESIDE]
        fields = [Field(name, "text", ""), *(Field(p, "text", "") for p in some)]
        lines = []
        for key, group in rows.groupby(["scope", "scope_id"], sort=False):
            label = scope_label(*map(str, key))
            lines.append((label, *_cells(group, some, "target", unit)))
            lines.append(("  odds", *_cells(group, some, "p_attain", "probability")))
        table = pd.DataFrame(lines, columns=[f.name for f in fields])
        shown = replace(answer, rows=table, fields=tuple(fields), words="", provenance={})
        parts.append(as_table(shown, width=width))
    return "\n\n".join(parts)


def _cells(group: pd.DataFrame, periods: Sequence[str], column: str, unit: str) -> list[str]:
    from quotacast.engine.reports.units import show

    found = dict(zip(group["period"], group[column], strict=True))
    return [show(found.get(p), unit) for p in periods]
