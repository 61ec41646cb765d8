"""Which metrics the data and the plan can answer, and what the others lack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from quotacast.engine.drivers import ACTIVITY
from quotacast.engine.selling import Costs
from quotacast.models.activities import FEWEST as FEWEST_ACTIVITIES
from quotacast.models.chain import Chain
from quotacast.models.chain_notes import FEWEST as FEWEST_LEADS
from quotacast.models.history.history import History
from quotacast.models.margins import KNOWN, margins_known

#: Metrics that need leads.
OF_LEADS = ("leads_created", "lead_close_rate", "lead_cycle_days")


@dataclass(frozen=True)
class Able:
    """What can be answered.

    Attributes
    ----------
    kinds : tuple of str
        Kinds of activity that are simulated.
    lacks : mapping of str to str
        Metrics that cannot be answered, with what is missing; ``activity:`` stands for other kinds.
    """

    kinds: tuple[str, ...] = ()
    lacks: Mapping[str, str] = field(default_factory=dict)

    def reason(self, metric: str) -> str:
        """Why a metric cannot be answered; empty where it can."""
        if metric in self.lacks:
            return self.lacks[metric]
        if metric.startswith(ACTIVITY) and metric.removeprefix(ACTIVITY) not in self.kinds:
            return self.lacks.get(ACTIVITY, "there is no such kind of activity")
        return ""


def able(history: History, chain: Chain, costs: Costs | None) -> Able:
    """Find out what a history, its chain and a plan's costs can answer."""
    lacks = {name: reason for name in OF_LEADS if (reason := _leads(history, chain))}
    lacks[ACTIVITY] = _activities(chain)
    known = history.activities["kind"].dropna().astype(str).unique() if len(history.activities) else ()
    few = f"the table activities holds fewer than {FEWEST_ACTIVITIES} of them: too few to be forecast"
    for kind in sorted(set(known) - set(chain.kinds)):
        lacks[f"{ACTIVITY}{kind}"] = _left_out(chain, "activities") or few
    if margin := _margin(history):
        lacks["gross_margin"] = lacks["profit"] = margin
    elif costs is None:
        lacks["profit"] = "the plan has no selling costs: add a table [costs]"
    elif costs.accelerator != 1.0:
        lacks["profit"] = "commission accelerators are not simulated: set costs.commission.accelerator to 1"
    return Able(chain.kinds, lacks)


def _leads(history: History, chain: Chain) -> str:
    if chain.leads is not None:
        return ""
    if history.leads.empty:
        return "it needs the table leads, which the data do not have"
    few = f"the table leads holds {len(history.leads):,} rows; {FEWEST_LEADS} are needed"
    return _left_out(chain, "leads") or few


def _left_out(chain: Chain, table: str) -> str:
    return f"the table {table} is left out: {chain.left_out[table]}" if table in chain.left_out else ""


def _activities(chain: Chain) -> str:
    if not chain.kinds:
        return _left_out(chain, "activities") or "it needs the table activities, which holds none of them"
    return f"the table activities holds no such kind; there are {', '.join(chain.kinds)}"


def _margin(history: History) -> str:
    known, won = margins_known(history), history.opportunities["status"] == "won"
    if known >= KNOWN:
        return ""
    if not (history.opportunities["amount"][won] > 0).any():
        return "no win has an amount above 0"
    return (
        f"the margin of {known:.0%} of the wins with an amount is known, and {KNOWN:.0%} are needed: "
        "fill the column cost or margin_pct of opportunities"
    )
