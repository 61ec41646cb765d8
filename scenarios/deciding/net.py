"""What a scenario brings after what it costs: margin less reps, hires, commission and its own cost.

Costs are those of the plan's ``[costs]`` after the as-of date, and what ``[[change]]`` and ``[[move]]`` say
they cost; a change without a cost of its own is priced by the ``[[lever]]`` on the same rate and scope, in
proportion to how far it goes. Where the plan or the data tell no margin, bookings stand in for it, and it is
said. Commission follows attainment as cash does: each rep's bookings count towards the rep's quota for the
longest kind of period that has one, and above it the plan's accelerator applies. So it is what
`quotas --fair` expects to pay out, plus the plain rate on what reps without a quota (hires among them) book.
Renewals and their commission are on neither side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np

from quotacast.engine.answers.quantiles import quantiles
from quotacast.engine.finance.commission import counted_kind, earned
from quotacast.engine.metrics import metric, series
from quotacast.engine.paired import Ints, difference, mean_error
from quotacast.engine.paths import Paths
from quotacast.engine.quota import Scope
from quotacast.models.history.schema import NONE
from quotacast.models.periods import Period
from quotacast.models.terms import Floats
from quotacast.scenarios.deciding.sides import Side
from quotacast.scenarios.money.ledger import rep_quotas
from quotacast.scenarios.run import Run

NET = "net"
#: What the costs of a side are made of.
COSTS = ("rep_months", "hires", "commission", "changes")
_COMPANY = Scope("company")


@dataclass(frozen=True)
class Net:
    """Income and costs of one side over the horizon, company-wide, each of shape (draws,)."""

    income: Floats
    costs: dict[str, Floats]

    @property
    def net(self) -> Floats:
        """Income less all costs."""
        return np.asarray(self.income - sum(self.costs.values()))


def basis(found: Sequence[Side]) -> str:
    """Metric that costs are set against: the margin where every side knows it."""
    known = all(not side.run.able.reason("gross_margin") for side in found)
    return "gross_margin" if known else "bookings"


def net_metrics(found: Sequence[Side]) -> tuple[str, ...]:
    """Metrics that must be simulated for it."""
    return ("bookings", basis(found))


def net_periods(found: Sequence[Side]) -> tuple[Period, ...]:
    """Spans that must be simulated for it: those of the quotas that an accelerator looks at."""
    return tuple(dict.fromkeys(span for side in found for span, _ in _spans(side)))


def _quotas(side: Side) -> dict[tuple[str, str], float]:
    return rep_quotas(side.run, () if side.approved is None else side.quotas)


def _spans(side: Side) -> list[tuple[Period, str]]:
    """Periods of commission, cut at the horizon, and the labels of their quotas; the horizon without any."""
    run, calendar = side.run, side.run.plan.calendar
    horizon, tomorrow = run.plan.horizon_period, run.history.as_of_date + timedelta(days=1)
    kind = "" if not _accelerates(run) else counted_kind(calendar, _quotas(side))
    if not kind:
        return [(horizon, "")]
    periods = calendar.periods(kind, tomorrow, horizon.last)
    return [(replace(p, last=min(p.last, horizon.last)), p.label) for p in periods]


def _accelerates(run: Run) -> bool:
    return run.costs is not None and bool(run.costs.commission) and run.costs.accelerator != 1.0


def commission_of(side: Side, paths: Paths) -> Floats:
    """Commission on what is booked after the as-of date, shape (draws,), currency units."""
    total, costs = np.zeros(paths.draws), side.run.costs
    if costs is None or not costs.commission:
        return total
    quotas = _quotas(side)
    for span, label in _spans(side):
        for rep in dict.fromkeys(paths.reps):
            if rep == NONE:
                continue
            sold = series(paths, metric("bookings"), Scope("rep", rep), span)
            done = sold.done or 0.0
            total += earned(
                sold.total - done, done, quotas.get((rep, label)), costs.commission, costs.accelerator
            )
    return total


def commission_words(found: Sequence[Side]) -> str:
    """How commission is counted."""
    if not any(_accelerates(side.run) for side in found):
        return "the plan's rate on all bookings of reps"
    kinds = {counted_kind(s.run.plan.calendar, _quotas(s)) for s in found} - {""}
    if not kinds:
        return "the plan's rate: no rep has a quota on bookings, so its accelerator never applies"
    return f"the plan's rate, times its accelerator above each rep's quota by {' and '.join(sorted(kinds))}"


def net_of(side: Side, paths: Paths, income: str) -> Net:
    """Income and costs of one side."""
    run = side.run
    period, draws = run.plan.horizon_period, paths.draws
    months, hires = _people(run, paths)
    commission = commission_of(side, paths)
    changes = np.full(draws, sum(cost for _, cost, _ in change_costs(run)))
    costs = dict(zip(COSTS, (months, hires, commission, changes), strict=True))
    return Net(series(paths, metric(income), _COMPANY, period).total, costs)


def _people(run: Run, paths: Paths) -> tuple[Floats, Floats]:
    """Fixed pay and one-off costs of hires after the as-of date, in currency units."""
    period, pay = run.plan.horizon_period, paths.payrolls.get("cost_cents")
    if pay is None or run.costs is None:
        return np.zeros(paths.draws), np.zeros(paths.draws)
    _, total = paths.simulated("cost_cents", _COMPANY, period)
    as_of, last = run.history.as_of_date, period.last
    planned = sum(as_of < hire.on <= last for hire in run.drivers.hires) * run.costs.hire
    followers = (pay.hiring * (pay.joined < pay.edges[-1])).sum(axis=1) / 100.0
    hires = np.broadcast_to(planned + followers, (paths.draws,)).astype(float)
    return np.asarray(total) / 100.0 - hires, hires


def change_costs(run: Run) -> list[tuple[str, float, str]]:
    """Name, cost and where the cost stands, of every change and move of the plan that has one."""
    found = []
    for at, change in enumerate(run.plan.changes, 1):
        name = f"{change.what} {change.scope}"
        if change.cost is not None:
            found.append((name, change.cost, f"change[{at}].cost"))
            continue
        for k, lever in enumerate(run.plan.levers, 1):
            same = (lever.what, lever.scope) == (change.what, change.scope)
            if same and change.times is not None and lever.cost:
                share = (change.times * lever.low - lever.low) / (lever.high - lever.low)
                found.append((name, lever.cost * abs(share), f"lever[{k}].cost, in proportion"))
                break
    return found + [
        (f"move of {move.segment}", move.cost, f"move[{at}].cost")
        for at, move in enumerate(run.plan.moves, 1)
        if move.cost is not None
    ]


def net_row(
    side: tuple[Side, Paths],
    against: tuple[Side, Paths],
    cluster: Ints,
    percents: Sequence[float],
    whole: Paths | None = None,
) -> dict[str, Any]:
    """Row of the comparison for the net figure, with the parts that the summary shows under ``_parts``.

    Parameters
    ----------
    whole : Paths, optional
        All futures of what it is compared with, where ``against`` holds some of them.
    """
    income = basis((side[0], against[0]))
    ours, theirs = (net_of(one, paths, income) for one, paths in (side, against))
    gap = difference(ours.net, theirs.net)
    mean, error = mean_error(gap, cluster)
    before = float((theirs if whole is None else net_of(against[0], whole, income)).net.mean())
    parts = {f"{name}": float((ours.costs[name] - theirs.costs[name]).mean()) for name in COSTS}
    return {
        "scope": "company",
        "scope_id": "",
        "scenario": side[0].name,
        "against": against[0].name,
        "metric": NET,
        "period": side[0].run.plan.horizon_period.label,
        "set": "",
        "mean_against": before,
        "mean": before + mean if whole is not None and mean is not None else float(ours.net.mean()),
        "diff": mean,
        "diff_se": error,
        **quantiles(gap, percents),
        "_parts": {
            income: float((ours.income - theirs.income).mean()),
            **parts,
            "p_positive": float((gap > 0).mean()),
        },
    }


def net_costs(found: Sequence[Side], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the net figure of every scenario is made of; differences of means, costs counted as positive."""
    income = basis(found)
    stated = any(side.run.costs is not None for side in found)
    return {
        "income": income,
        "stated": stated,
        "costs": "of the plan's [costs], after the as-of date" if stated else "the plan states no [costs]",
        "commission": commission_words(found) if stated else "",
        "parts": {row["scenario"]: row["_parts"] for row in rows if "_parts" in row},
        "changes": {
            side.name: [{"change": n, "cost": c, "from": w} for n, c, w in change_costs(side.run)]
            for side in found
        },
    }
