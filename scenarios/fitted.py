"""What a fit is like, in lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quotacast.engine.reports.units import clean
from quotacast.models import store
from quotacast.scenarios.lines import packed
from quotacast.scenarios.run import Run


def fit_report(run: Run) -> tuple[str, ...]:
    """Fit or reuse the fit, and say how it went."""
    reused = store.load_fit(run.fit_folder, run.models, run.fit_key) is not None
    return tuple(_lines(run, reused))


def _lines(run: Run, reused: bool) -> Iterator[str]:
    funnel = run.funnel
    yield "The stored fit still holds: nothing changed." if reused else "Fitted."
    declared = funnel.prepared.declared()
    wide = max(8, *(len(name) for name in declared)) + 1
    yield f"{'model':<{wide}}{'family':<12}{'cells':>8}{'effects':>9}   diagnostics"
    for which, values in funnel.diagnostics().items():
        declaration, cells = declared[which]
        effects = sum(t.size for t in declaration.terms)
        front = f"{which:<{wide}}{declaration.family:<12}{len(cells):>8,}{effects:>9,}   "
        said = [f"{_SHOWN[k]} {_short(v)}" for k, v in values.items() if k in _SHOWN]
        yield from packed(said, label=front, indent=len(front))
    for second, (first, found) in funnel.comovements.items():
        low, high = found.quantile(np.array([0.1, 0.9]))
        yield f"{first} and {second} move together: correlation {found.mean:.2f} ({low:.2f} to {high:.2f})"
    yield f"method {run.method}, {funnel.draws:,} posterior draws, in {run.fit_folder.name}"
    for note in run.notes:
        yield from packed([clean(note)], label="Note")


def _short(value: float | int | str | bool) -> str:
    return f"{value:,.3g}" if isinstance(value, float) else str(value)


#: Diagnostics that are printed, and how they are called there.
_SHOWN = {
    "rhat": "R-hat",
    "ess": "ESS",
    "divergences": "divergences",
    "khat": "k-hat",
    "check_total_p": "p of total",
    "check_months_in_90": "months in 90%",
    "check_mean_gap_sd": "gap of means (sd)",
}
