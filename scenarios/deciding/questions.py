"""`compare`: scenarios side by side, or with ``--levers`` the gap to the target lever by lever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from quotacast.engine.answer import Answer
from quotacast.errors import PlanError
from quotacast.scenarios.deciding.compare import compare_answer
from quotacast.scenarios.deciding.compare_view import compare_text
from quotacast.scenarios.deciding.levers import levers_answer
from quotacast.scenarios.deciding.leverwords import levers_text
from quotacast.scenarios.deciding.sides import BASE, on_side
from quotacast.scenarios.run import Run

#: Options that only make sense with ``--levers``.
_OF_LEVERS = ("target", "probability")


def compare_asked(run: Run, options: Mapping[str, Any]) -> tuple[Answer, Sequence[str]]:
    """Compare the sides named, or split the gap of one of them by lever.

    Raises
    ------
    PlanError
        With everything that was asked for and does not go together.
    """
    names = options["names"]
    if not options["levers"]:
        lone = [key for key in _OF_LEVERS if options[key] is not None]
        if lone:
            raise PlanError(f"--{key}: goes with --levers only" for key in lone)
        return compare_answer(run, options)
    problems = [f"--{key}: wanted one" for key in ("metric", "scope") if len(options[key]) > 1]
    problems += ["--by: goes without --levers; the gap is that of the horizon"] if options["by"] else []
    problems += (
        [f"{', '.join(names)}: with --levers, wanted one side, {BASE} by default"] if len(names) > 1 else []
    )
    if problems:
        raise PlanError(problems)
    return levers_answer(on_side(run, names[0]) if names else run, options)


def compare_shown(answer: Answer, options: Mapping[str, Any], width: int) -> str:
    """What a terminal shows of it."""
    return levers_text(answer, options, width) if options["levers"] else compare_text(answer, options, width)
