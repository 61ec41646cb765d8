"""What a terminal shows of the inverse funnel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from quotacast.engine.answer import Answer
from quotacast.engine.reports.words import money
from quotacast.scenarios.lines import WIDTH, name, packed


def inverse_lines(answer: Answer, width: int = WIDTH) -> Iterator[str]:
    """The answer in words, activity per rep and day, the figures on the way, and until when it helps."""
    summary = answer.summary
    yield from packed([answer.words], indent=0, width=width)
    yield ""
    what = str(answer.rows["metric"].iloc[0])
    yield f"{what + ' per rep and working day':<40}{'expected':>10}{'needed':>9}{'change':>9}"
    for row in answer.rows.to_dict("records"):
        if row["scope"] != "rep" or len(answer.rows) == 1:
            label = f"{row['scope']}:{name(row['scope_id'], 30)}" if row["scope_id"] else row["scope"]
            yield f"  {label:<38}{row['per_day']:>10.1f}{row['needed']:>9.1f}{row['times'] - 1:>+9.0%}"
    yield ""
    yield f"{'on the way, in ' + str(answer.rows['period'].iloc[0]):<40}{'now':>10}{'then':>9}{'change':>9}"
    for step in summary["on_the_way"]:
        change = f"{step['then'] / step['now'] - 1:+.0%}" if step["now"] else "–"
        yield f"  {step['metric']:<38}{_shown(step, 'now'):>10}{_shown(step, 'then'):>9}{change:>9}"
    if summary["effect_by_start"]:
        yield ""
        yield "what is left of the effect when the raise begins on"
        starts = [f"{part['from']} {part['share']:.0%}" for part in summary["effect_by_start"]]
        yield from packed(starts, indent=2, width=width)


def _shown(step: dict[str, Any], key: str) -> str:
    value = step[key]
    if step["unit"] == "money":
        return money(value)
    return f"{value:.1%}" if step["unit"] == "ratio" else f"{value:,.0f}"
