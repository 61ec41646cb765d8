"""What a quota is: for whom, on which metric, for which period, how much."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

from quotacast.errors import PlanError

#: The levels of scope, wide to narrow.
SCOPE_KINDS = ("company", "team", "rep")
#: Metrics with one name each; ``activity:<kind>`` comes on top for every kind in the data.
METRIC_NAMES = (
    "leads_created",
    "lead_close_rate",
    "lead_cycle_days",
    "opportunities_created",
    "close_rate",
    "cycle_days",
    "deal_value",
    "deals_won",
    "bookings",
    "revenue",
    "gross_margin",
    "profit",
)
ACTIVITY = "activity:"
#: Metrics that are shares of something.
RATES = ("close_rate", "lead_close_rate")
#: Name of the set of quotas that are in no named candidate set.
DEFAULT_SET = "base"


@dataclass(frozen=True, order=True)
class Scope:
    """The company, a team or a rep; ``id`` is empty for the company."""

    kind: str
    id: str = ""

    @classmethod
    def parse(cls, text: str) -> Scope:
        """Read ``company``, ``team:north`` or ``rep:r07``.

        Raises
        ------
        PlanError
            On any other form.
        """
        kind, colon, name = str(text).strip().partition(":")
        if kind == "company" and not colon:
            return cls("company")
        if kind in SCOPE_KINDS[1:] and name.strip():
            return cls(kind, name.strip())
        near = get_close_matches(kind, SCOPE_KINDS, n=1)
        hint = f" (did you mean {near[0]}?)" if near and near[0] != kind else ""
        raise PlanError(f"scope {text!r} came, wanted company, team:<name> or rep:<id>{hint}")

    def __str__(self) -> str:
        return self.kind if self.kind == "company" else f"{self.kind}:{self.id}"


@dataclass(frozen=True)
class Quota:
    """A target for a scope, a metric and a period.

    Attributes
    ----------
    scope : Scope
    metric : str
        One of :data:`METRIC_NAMES` or ``activity:<kind>``.
    period : str
        Label of a period, see ``models/periods.py``.
    target : float
        In the unit of the metric, greater than 0.
    set : str
        Candidate set it belongs to.
    origin : str
        Where it was written: ``quota[2]`` or ``quotas.csv row 7``.
    """

    scope: Scope
    metric: str
    period: str
    target: float
    set: str = DEFAULT_SET
    origin: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """Scope, metric and period as text: what one quota of a set is about."""
        return str(self.scope), self.metric, self.period


def check_metric(name: str) -> str:
    """Return the name of a metric, or raise a `PlanError` with the nearest one that exists."""
    if name in METRIC_NAMES or (name.startswith(ACTIVITY) and name[len(ACTIVITY) :].strip()):
        return name
    near = get_close_matches(name, (*METRIC_NAMES, "activity:call"), n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise PlanError(f"metric {name!r} came, wanted activity:<kind> or one of {', '.join(METRIC_NAMES)}{hint}")


def check_target(metric: str, target: float) -> float:
    """Return a target, or raise a `PlanError` where the metric can never have that value."""
    if not 0 < target <= 1e15:
        raise PlanError(f"target {target:g} came, wanted a number greater than 0")
    if metric in RATES and target > 1:
        raise PlanError(f"target {target:g} came for {metric}, wanted a share from 0 to 1, or 40%")
    return target
