"""`--paths FILE`: the simulated futures behind an answer, one row per draw, line and period."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.answers.cash import LINE_NAMES
from quotacast.engine.finance.kernel import KINDS
from quotacast.engine.finance.kernel_close import FLOWS, LINES, MEASURES
from quotacast.engine.finance.ledger import CashPaths
from quotacast.engine.finance.revenue import RevenuePaths
from quotacast.engine.metrics import metric, series
from quotacast.engine.paths import Paths
from quotacast.engine.quota import Scope
from quotacast.engine.reports.draws import ENDINGS, write_draws
from quotacast.models.periods import Period
from quotacast.scenarios.choose import check_out

_COMPANY = {"scope": "company", "scope_id": ""}


def check_paths(options: Mapping[str, Any]) -> None:
    """Refuse a file for the draws that cannot be written, before anything long begins.

    Raises
    ------
    PlanError
    """
    check_out(_file(options), ENDINGS, "--paths")


def written(frames: Iterable[pd.DataFrame], options: Mapping[str, Any]) -> tuple[str, ...]:
    """Write the draws where they are asked for; gives what must be said of it.

    Frames are only made while they are written.
    """
    path = _file(options)
    if path is None:
        return ()
    return (f"{write_draws(frames, path):,} rows of single futures written to {path}",)


def _file(options: Mapping[str, Any]) -> Path | None:
    return Path(options["paths"]) if options.get("paths") else None


def cash_draws(paths: CashPaths) -> Iterator[pd.DataFrame]:
    """Lines of cash, the closing balance and the lowest evening: draw, scope, kind, period, line, value."""
    for s, span in enumerate(paths.spans):
        cells = {LINE_NAMES.get(name, name): paths.lines[:, s, i] for i, name in enumerate(LINES)}
        cells |= {"closing": paths.closing[:, s], "lowest": paths.low[:, s]}
        for line, cents in cells.items():
            yield _frame(cents / 100, {**_COMPANY, "kind": span.kind, "period": span.label, "line": line})


def revenue_draws(
    paths: RevenuePaths, periods: Sequence[Period], metrics: Sequence[str]
) -> Iterator[pd.DataFrame]:
    """Totals and their parts: draw, scope, metric, period, component, value."""
    for name in metrics or MEASURES:
        if name == "gross_margin" and not paths.margins:
            continue
        at = MEASURES.index(name)
        for period in periods:
            inside = [
                i for i, m in enumerate(paths.months) if period.first <= m.first and m.last <= period.last
            ]
            months = inside if name in FLOWS else inside[-1:]
            own = paths.paths[:, at][:, :, months].sum(axis=2)
            fixed = {"done": paths.done[at, months].sum() if name in FLOWS else 0}
            fixed["signed"] = paths.signed[at, months].sum()
            parts = {part: np.full(len(own), cents) for part, cents in fixed.items() if cents}
            parts |= {kind: own[:, k] for k, kind in enumerate(KINDS) if k > 0}
            parts["total"] = np.sum(list(parts.values()), axis=0)
            for part, cents in parts.items():
                head = {**_COMPANY, "metric": name, "period": period.label, "component": part}
                yield _frame(cents / 100, head)


def metric_draws(
    paths: Paths, names: Sequence[str], scopes: Sequence[Scope], periods: Sequence[Period]
) -> Iterator[pd.DataFrame]:
    """Totals of metrics and, of sums, what is open and new: draw, scope, metric, period, component, value.

    What is certain (done, and of revenue signed) is total - open - new, the same in every draw.
    """
    for name in names:
        for scope in scopes:
            for period in periods:
                found = series(paths, metric(name), scope, period)
                head = {"scope": scope.kind, "scope_id": scope.id, "metric": name, "period": period.label}
                for part in ("open", "new", "total"):
                    values = getattr(found, part)
                    if values is not None:
                        yield _frame(np.asarray(values, dtype=float), {**head, "component": part})


def _frame(values: Any, head: Mapping[str, str]) -> pd.DataFrame:
    """One row per draw; the number of the future first, its value last."""
    texts = {name: np.full(len(values), text, dtype=object) for name, text in head.items()}
    return pd.DataFrame({"draw": np.arange(len(values)), **texts, "value": np.asarray(values, dtype=float)})
