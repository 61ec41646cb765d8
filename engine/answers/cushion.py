"""The cushion: how much more is assigned to reps than the company has to reach.

Assigning more sells nothing by itself: in the futures, what is sold does not depend on quotas (an effect of
quotas on behaviour is a plan's assumption, never a default). So for a company target T, and rep quotas that
add up to T (1 + c) and are split in the same way whatever c is:

- P(company reaches T) is the same for every c. Where it is below the wished x, *no* cushion is feasible,
  and the most that may be promised with odds of x is the (1 − x) quantile of the company's futures;
- the odds of the median rep fall as c grows. They stay at y or above up to a largest cushion, the *room*;
  where they are below y at c = 0 no cushion is feasible either. Between, every c is, and the smallest is 0;
- a cushion has a use where sales above quota shall not be counted on, since one cannot know who will have
  them: then of a unit's results at most its quota counts,

      covered(c) = sum over units of min(actual, quota),

  which grows with c to the company's total. The *smallest cushion of a layer* is the least c with
  P(covered(c) >= T) >= x, the units being the layer's teams or reps (a team's quota is the sum of its
  reps', so what reps leave uncovered is never less than what teams do, and the layer of reps needs at least
  as much). It is *feasible* where it is no more than the room.

The *frontier* gives all of this by c.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quotacast.engine.assign import Seats
from quotacast.engine.reports.words import money, number, odds_words, percent
from quotacast.engine.sharing import Floats, best, in_order

#: Cushions of the frontier, and beyond which none is looked for.
STEPS = (0.0, 0.05, 0.10, 0.15, 0.20, 0.25, 0.30, 0.40, 0.50)
MOST = 4.0
#: How exactly a cushion is found.
EXACTLY = 1e-5

Targets = Callable[[float], Floats]


@dataclass(frozen=True)
class Cushion:
    """What a company target, a split and wished odds leave room for.

    Attributes
    ----------
    who : Seats
    company : ndarray, shape (draws,)
        The company's futures; deals without a rep are part of them.
    target : float
    targets : callable
        From the sum of the rep quotas to those quotas, shape (reps,); each must not fall as the sum grows.
    company_odds, rep_odds : float
        Wished: x and y.
    """

    who: Seats
    company: Floats
    target: float
    targets: Targets
    company_odds: float
    rep_odds: float

    def quotas(self, cushion: float) -> Floats:
        """Rep quotas at a cushion, shape (reps,)."""
        return self.targets(self.target * (1.0 + cushion))

    def hits(self, cushion: float) -> Any:
        """Who reaches the quota when, shape (reps, draws)."""
        return self.who.values >= self.quotas(cushion)[:, None] - 1e-9

    def median(self, cushion: float) -> float:
        """Odds of the median rep."""
        return float(np.median(self.hits(cushion).mean(axis=1)))

    def covered(self, cushion: float, layer: str) -> float:
        """Odds of the target where a layer's units count up to their quotas."""
        quotas, values = self.quotas(cushion), self.who.values
        total = self.company - values.sum(axis=0)  # deals without a rep count whole: they have no quota
        if layer == "rep":
            return self._reach(total + np.minimum(values, quotas[:, None]).sum(axis=0))
        for team in self.who.team_names:
            inside = self.who.of_team(team)
            total += np.minimum(values[inside].sum(axis=0), quotas[inside].sum())
        return self._reach(total)

    def _reach(self, values: Floats) -> float:
        return float((values >= self.target - 1e-6).mean())

    @property
    def p_company(self) -> float:
        """Odds of the company's target, whatever is assigned."""
        return self._reach(self.company)

    def room(self) -> float | None:
        """The largest cushion at which the median rep keeps the wished odds; None where 0 is too much."""
        if self.median(0.0) < self.rep_odds:
            return None
        low, high = 0.0, MOST
        if self.median(high) >= self.rep_odds:
            return high
        while high - low > EXACTLY:
            middle = (low + high) / 2
            low, high = (middle, high) if self.median(middle) >= self.rep_odds else (low, middle)
        return low

    def smallest(self, layer: str) -> float | None:
        """The least cushion at which what is covered reaches the target with the wished odds, or None."""
        if self.covered(MOST, layer) < self.company_odds:
            return None
        low, high = 0.0, MOST
        if self.covered(0.0, layer) >= self.company_odds:
            return 0.0
        while high - low > EXACTLY:
            middle = (low + high) / 2
            low, high = (low, middle) if self.covered(middle, layer) >= self.company_odds else (middle, high)
        return high


def frontier(ask: Cushion, steps: Sequence[float] = STEPS) -> list[dict[str, float]]:
    """What every cushion means, as rows: quotas' sum, odds of the median rep, share attaining, odds of T."""
    rows = []
    for cushion in steps:
        hits = ask.hits(cushion)
        rows.append(
            {
                "cushion": cushion,
                "sum_of_reps": ask.target * (1.0 + cushion),
                "rep_odds_median": float(np.median(hits.mean(axis=1))),
                "share_attaining": float(hits.mean()),
                "p_company": ask.p_company,
                "p_covered_teams": ask.covered(cushion, "team"),
                "p_covered_reps": ask.covered(cushion, "rep"),
            }
        )
    return rows


def cushion_facts(ask: Cushion, unit: str = "money") -> dict[str, Any]:
    """The verdict, the room, the smallest cushions and the frontier."""
    room, teams, reps = ask.room(), ask.smallest("team"), ask.smallest("rep")
    safe = float(best(in_order(ask.company, "up"), ask.company_odds))
    smallest = {"team": teams, "rep": reps}
    on_top = None if teams is None or reps is None else (1.0 + reps) / (1.0 + teams) - 1.0
    facts: dict[str, Any] = {
        "target": ask.target,
        "company_odds": ask.company_odds,
        "rep_odds": ask.rep_odds,
        "p_company": ask.p_company,
        "company_safe": safe,
        "rep_odds_at_none": ask.median(0.0),
        "room": room,
        "feasible": ask.p_company >= ask.company_odds and room is not None,
        "covering": smallest,
        "covering_reps_over_teams": on_top,
        "covering_rep_odds": None if reps is None else ask.median(reps),
        "covering_feasible": room is not None and reps is not None and reps <= room + EXACTLY,
        "frontier": frontier(ask),
    }
    return {**facts, "words": _words(facts, money if unit == "money" else number)}


def _words(facts: Mapping[str, Any], show: Callable[[float | None], str]) -> str:
    x, y = percent(facts["company_odds"]), percent(facts["rep_odds"])
    if facts["p_company"] < facts["company_odds"]:
        text = (
            f"Infeasible: the odds of {show(facts['target'])} are {odds_words(facts['p_company'])}, wanted "
            f"{x}, and assigning more sells nothing. With {x} the company may promise "
            f"{show(facts['company_safe'])}."
        )
    elif facts["room"] is None:
        text = (
            f"Infeasible: quotas that add up to {show(facts['target'])} without any cushion leave the median "
            f"rep {percent(facts['rep_odds_at_none'])}, wanted {y}."
        )
    else:
        text = (
            f"Feasible: the smallest cushion is 0% (assigning more sells nothing); up to "
            f"{facts['room']:+.1%} the median rep keeps {y}."
        )
    return f"{text} {_covering(facts, x, y)}"


def _covering(facts: Mapping[str, Any], x: str, y: str) -> str:
    teams, reps = facts["covering"]["team"], facts["covering"]["rep"]
    if reps is None or teams is None:
        return f"Without counting on sales above quota no cushion reaches it with {x}."
    verdict = "feasible" if facts["covering_feasible"] else f"wanted {y}, so infeasible"
    return (
        f"Without counting on sales above quota {x} needs at least {teams:+.1%} at teams and "
        f"{facts['covering_reps_over_teams']:+.1%} more at reps ({reps:+.1%} in all); the median rep is then "
        f"at {percent(facts['covering_rep_odds'])}, {verdict}."
    )
