"""What a fit is like, in lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from quotacast.models import store
from quotacast.models.funnel import MODELS
from quotacast.scenarios.run import Run


def fit_report(run: Run) -> tuple[str, ...]:
    """Fit or reuse the fit, and say how it went."""
    reused = store.load_fit(run.fit_folder, MODELS, run.fit_key) is not None
    return tuple(_lines(run, reused))


def _lines(run: Run, reused: bool) -> Iterator[str]:
    funnel = run.funnel
    yield "The stored fit still holds: nothing changed." if reused else "Fitted."
    declared = funnel.prepared.declared()
    yield f"{'model':<9}{'family':<12}{'cells':>8}{'effects':>9}   diagnostics"
    for name, values in funnel.diagnostics().items():
        declaration, cells = declared[name]
        effects = sum(t.size for t in declaration.terms)
        said = " ".join(f"{k} {v}" for k, v in values.items() if k in _SHOWN)
        yield f"{name:<9}{declaration.family:<12}{len(cells):>8,}{effects:>9,}   {said}"
    yield f"method {run.method}, {funnel.draws:,} posterior draws, in {run.fit_folder.name}"
    for note in run.notes:
        yield f"Note: {note}"


_SHOWN = ("rhat", "ess", "divergences", "khat", "check_total_p", "check_months_in_90", "check_mean_gap_sd")
