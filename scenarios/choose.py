"""What was asked for, among what there is: scopes, metrics, kinds of period, quotas.

Every check here needs nothing that takes long, so a typing error is told before a fit begins.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

from quotacast.engine.able import Able
from quotacast.engine.metrics import METRICS, answerable, metric
from quotacast.engine.quota import ACTIVITY, SCOPE_KINDS, Quota, Scope
from quotacast.errors import PlanError
from quotacast.models.periods import KINDS, Calendar

#: So many names are listed in a message.
_LISTED = 8


def select_scopes(all_scopes: Sequence[Scope], wanted: Sequence[str]) -> tuple[Scope, ...]:
    """Scopes asked for: ``company``, ``team``, ``rep`` (all of them), ``team:north``, ``rep:r07``.

    Raises
    ------
    PlanError
        With every one that does not exist.
    """
    if not wanted:
        return tuple(all_scopes)
    chosen: list[Scope] = []
    problems: list[str] = []
    for text in wanted:
        if text in SCOPE_KINDS[1:]:
            chosen += [s for s in all_scopes if s.kind == text]
            continue
        try:
            scope = Scope.parse(text)
        except PlanError as error:
            problems += [f"--scope {text}: {problem}" for problem in error.problems]
            continue
        if scope not in all_scopes:
            problems.append(f"--scope {text}: {unknown_scope(scope, all_scopes)}")
        chosen.append(scope)
    if problems:
        raise PlanError(problems)
    return tuple(dict.fromkeys(chosen))


def unknown_scope(scope: Scope, known: Iterable[Scope]) -> str:
    """What to say about a scope that does not exist."""
    return f"there is no {scope.kind} {scope.id!r}" + hint(
        scope.id, sorted(s.id for s in known if s.kind == scope.kind)
    )


def hint(name: str, known: Collection[str]) -> str:
    """The name that was probably meant, or those that there are."""
    near = get_close_matches(name, known, n=1)
    if near:
        return f", did you mean {near[0]}?"
    listed = list(known)
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return f"; there are {', '.join(listed[:_LISTED]) or 'none'}{more}"


def select_metrics(wanted: Sequence[str], able: Able | None = None) -> tuple[str, ...]:
    """Metrics asked for, or all that can be answered.

    Parameters
    ----------
    able : Able, optional
        What the data can answer; without it only names are checked, and without a wish the metrics are
        those that do not depend on the data.

    Raises
    ------
    PlanError
        With every one that is unknown or cannot be answered.
    """
    problems: list[str] = []
    for name in wanted:
        try:
            metric(name)
        except PlanError as error:
            near = get_close_matches(name, METRICS, n=1)
            meant = f"; did you mean {near[0]}?" if near and not name.startswith(ACTIVITY) else ""
            problems += [f"--metric {name}: {problem}{meant}" for problem in error.problems]
            continue
        if able is not None and (reason := able.reason(name)):
            problems.append(f"--metric {name}: cannot be answered: {reason}")
    if problems:
        raise PlanError(problems)
    return tuple(dict.fromkeys(wanted)) or (tuple(METRICS) if able is None else answerable(able))


def check_by(kind: str | None) -> str | None:
    """A kind of period, or an error that lists them."""
    if kind is not None and kind not in KINDS:
        near = get_close_matches(kind, KINDS, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise PlanError(f"--by {kind}: wanted one of {', '.join(KINDS)}{meant}")
    return kind


def check_out(out: Path | None, endings: Sequence[str] = (), flag: str = "--out") -> None:
    """Refuse a file that cannot be written, or whose ending no writer knows.

    Raises
    ------
    PlanError
        With everything that is wrong with it.
    """
    if out is None:
        return
    from quotacast.engine.reports.files import WRITERS

    wanted, problems = endings or tuple(WRITERS), []
    if out.suffix.lower() not in wanted:
        came = out.suffix or "(none)"
        problems.append(f"{flag} {out}: the ending {came!r} arrived, wanted one of {', '.join(wanted)}")
    if not out.absolute().parent.is_dir():
        problems.append(f"{flag} {out}: there is no folder {out.parent}; create it or choose another")
    if out.is_dir():
        problems.append(f"{flag} {out}: is a folder; name a file in it")
    if problems:
        raise PlanError(problems)


def check_quota_scopes(quotas: Iterable[Quota], known: Sequence[Scope]) -> None:
    """Refuse quotas for reps and teams that do not exist.

    Raises
    ------
    PlanError
        With one problem per scope, naming the first place where it stands and how often it does.
    """
    there = frozenset(known)
    lost: dict[Scope, list[Quota]] = {}
    for quota in quotas:
        if quota.scope not in there:
            lost.setdefault(quota.scope, []).append(quota)
    if lost:
        raise PlanError(_lost(found, known) for found in lost.values())


def _lost(quotas: Sequence[Quota], known: Sequence[Scope]) -> str:
    first = quotas[0]
    place = first.origin.partition(", quota ")[0]  # rows of the data are sorted: their number says nothing
    more = f" and {len(quotas) - 1:,} more" if len(quotas) > 1 else ""
    what = f"{first.metric} {first.period}, target {first.target:,.10g}"
    return f"{place}: a quota for {first.scope} ({what}{more}), but {unknown_scope(first.scope, known)}"


def select_quotas(
    quotas: Sequence[Quota],
    scopes: Sequence[str],
    metrics: Sequence[str],
    kind: str | None,
    calendar: Calendar,
) -> tuple[Quota, ...]:
    """Quotas for the scopes, metrics and kind of period asked for."""
    known = tuple(dict.fromkeys(q.scope for q in quotas))
    wanted = set(select_scopes(known, scopes))
    return tuple(
        q
        for q in quotas
        if q.scope in wanted
        and (not metrics or q.metric in metrics)
        and (kind is None or calendar.parse(q.period).kind == kind)
    )
