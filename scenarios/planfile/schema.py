"""The plan file's tables and keys: one place for validation, defaults, messages and the reference.

Every kind of value carries a `Wanted` text, which error messages and the reference print. Nothing is
coerced: a date in quotes or a number in quotes is refused, except probabilities (``"70%"``).

Imports pydantic, so it is itself imported only where a plan is read.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from quotacast.engine.drivers import BACKFILL_DAYS, KEEP_ODDS, RAMP
from quotacast.engine.quota import ACTIVITY, check_target
from quotacast.errors import PlanError
from quotacast.models.periods import Calendar
from quotacast.scenarios.planfile.schema_money import (
    CapacityTable,
    CashTable,
    CostsTable,
    FxTable,
    TermsTable,
)
from quotacast.scenarios.planfile.schema_types import (
    Above0,
    Count,
    Country,
    Currency,
    Day,
    DayCount,
    Draws,
    Factor,
    Float,
    LeverWhat,
    MetricText,
    Money,
    Month,
    PartOf1,
    PeriodText,
    Probability,
    ScopeText,
    Seed,
    Switch,
    Table,
    Text,
    Value,
    Wanted,
    What,
)
from quotacast.scenarios.planfile.values import share_of


class DataTable(Table):
    """``[data]``: where the history is."""

    folder: Text = Field(".", description="Folder of the canonical tables, relative to the plan file.")


class CalendarTable(Table):
    """``[calendar]``: the fiscal year, its weeks and holidays."""

    year_starts: Month = Field(1, description="Month in which the fiscal year starts.")
    year_named_by: Annotated[Literal["end", "start"], Wanted('"end" or "start"')] = Field(
        "end", description="Whether the calendar year of its end or of its start names a fiscal year."
    )
    weeks: Annotated[Literal["4-4-5", "4-5-4", "5-4-4"], Wanted('"4-4-5", "4-5-4" or "5-4-4"')] | None = (
        Field(None, description="Weeks of the months of every quarter, for a week-based year.")
    )
    holidays: Country | None = Field(
        None, description="Country (or part of one) whose public holidays lower the day weights."
    )

    def calendar(self) -> Calendar:
        """The calendar that these settings describe."""
        return Calendar(self.year_starts, self.year_named_by, self.weeks, self.holidays)


class QuotasTable(Table):
    """``[quotas]``: a file of quotas."""

    file: Text = Field(description="CSV, XLSX or Parquet file of quotas, relative to the plan file.")


class QuotaTable(Table):
    """``[[quota]]``: one target."""

    scope: ScopeText = Field(description="Whose quota it is.")
    metric: MetricText = Field(description="What is counted.")
    period: PeriodText = Field(description="For which period, within the horizon.")
    target: Value = Field(description="The quota, greater than 0, in the unit of the metric.")
    set: Text | None = Field(None, description="Candidate set; without it the quota holds in every set.")

    @field_validator("target", mode="before")
    @classmethod
    def _share(cls, target: Any, info: ValidationInfo) -> Any:
        return share_of(info.data.get("metric"), target)

    @field_validator("target", mode="after")
    @classmethod
    def _possible(cls, target: float, info: ValidationInfo) -> float:
        try:
            return check_target(info.data.get("metric", ""), target)
        except PlanError as error:
            raise ValueError(str(error).removeprefix("target ")) from None


class PinTable(Table):
    """``[[aim.pin]]``: a quota that stays as it is."""

    scope: ScopeText = Field(description="Whose quota stays as it is.")
    metric: MetricText = Field("bookings", description="Metric of the quota.")
    period: PeriodText | None = Field(None, description="Period of the quota; without it the horizon.")
    target: Above0 = Field(description="The quota that suggestions must not move.")


class AimTable(Table):
    """``[aim]``: wished odds and how suggested quotas are rounded."""

    company: Probability | None = Field(None, description="Wished odds of the company's quotas.")
    team: Probability | None = Field(None, description="Wished odds of a typical team's quota.")
    rep: Probability | None = Field(None, description="Wished odds of a typical rep's quota.")
    rounding: Above0 | None = Field(None, description="Suggested quotas are multiples of this.")
    pin: tuple[PinTable, ...] = Field((), description="Quotas that suggestions leave as they are.")


class HireTable(Table):
    """``[[hire]]``: new reps."""

    team: Text = Field(description="Team that the new reps join.")
    count: Count = Field(1, description="How many reps.")
    on: Day = Field(description="Their first day.")


class LeaveTable(Table):
    """``[[leave]]``: a rep who leaves."""

    rep: Text = Field(description="Id of the rep who leaves.")
    on: Day = Field(description="First day without the rep.")


class AbsenceTable(Table):
    """``[[absence]]``: a rep who is away for a time, or works part-time."""

    rep: Text = Field(description="Id of the rep.")
    first: Day | None = Field(None, alias="from", description="First day; without it, at once.")
    last: Day | None = Field(None, alias="until", description="Last day; without it, for good (part-time).")
    share: PartOf1 = Field(1.0, description="Part of the rep's working time that is missing.")

    @model_validator(mode="after")
    def _possible(self) -> AbsenceTable:
        if self.first is not None and self.last is not None and self.first > self.last:
            raise ValueError(f"from {self.first} is after until {self.last}: swap them")
        if self.last is None and self.share == 1.0:
            raise ValueError("no until came for a whole absence: give until, a share below 1, or a [[leave]]")
        return self


class PeopleTable(Table):
    """``[people]``: what happens when reps leave."""

    leavers: Switch = Field(
        False, description="Whether reps leave by chance, as often as in the data (and the field)."
    )
    backfill_days: DayCount = Field(
        BACKFILL_DAYS, description="Days until such a leaver's seat is filled by someone new."
    )
    keep_odds: Probability = Field(
        KEEP_ODDS, description="Share of its odds that an open deal keeps when its owner leaves."
    )


class ChangeTable(Table):
    """``[[change]]``: a rate that is changed for a scope and a time."""

    what: What = Field(description="Rate that changes.")
    scope: ScopeText = Field("company", description="For whom it changes.")
    times: Factor | None = Field(None, description="Factor on the rate; either this or `to`.")
    to: Value | None = Field(None, description="New value of the rate; either this or `times`.")
    first: Day | None = Field(None, alias="from", description="First day of the change; without it, at once.")
    last: Day | None = Field(None, alias="until", description="Last day of the change; without it, for good.")
    causal: Switch = Field(
        False,
        description="Whether a change of activity causes new business; else both answers are given.",
    )
    cost: Money | None = Field(None, description="What the change costs once; `compare` takes it off.")

    @field_validator("to", mode="before")
    @classmethod
    def _share(cls, value: Any, info: ValidationInfo) -> Any:
        return share_of(info.data.get("what"), value)

    @model_validator(mode="after")
    def _possible(self) -> ChangeTable:
        problems = []
        if (self.times is None) == (self.to is None):
            which = "neither `times` nor `to`" if self.times is None else "both `times` and `to`"
            problems.append(f"{which} came, wanted exactly one of them")
        if self.first is not None and self.last is not None and self.first > self.last:
            problems.append(f"from {self.first} is after until {self.last}: swap them")
        low, high = _RANGES.get(self.what, (0.0, float("inf")))
        if self.to is not None and not (low < self.to <= high):
            wanted = f"more than {low:g}" + (f" and at most {high:g}" if high < float("inf") else "")
            problems.append(f"to = {self.to:g} came for {self.what}, wanted {wanted}")
        if self.causal and not self.what.startswith(ACTIVITY):
            problems.append(f"causal came for {self.what}: only changes of activity may be associations")
        if self.what == RAMP and self.to is not None:
            problems.append(
                "to came for ramp: give `times`, such as 0.8 for a ramp that takes 80 % of the time"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self


#: Values that a rate can be set to: above the first, at most the second.
_RANGES = {"close_rate": (0.0, 1.0), "margin": (-1e15, 1.0)}


class MoveTable(Table):
    """``[[move]]``: a segment that goes from a rep or a team to another."""

    segment: Text = Field(description="Segment whose new business moves.")
    giver: ScopeText = Field(alias="from", description="Rep or team that gives it away.")
    taker: ScopeText = Field(alias="to", description="Rep or team that gets it; a team in equal parts.")
    first: Day = Field(alias="on", description="First day: deals created before stay unless open_deals.")
    last: Day | None = Field(None, alias="until", description="Last day; without it, for good.")
    share: PartOf1 = Field(1.0, description="Part of the segment that moves.")
    open_deals: bool = Field(
        False, description="Hand over what is open on the first day too, at people.keep_odds of its odds."
    )
    cost: Money | None = Field(None, description="What the move costs once; `compare` takes it off.")

    @model_validator(mode="after")
    def _possible(self) -> MoveTable:
        problems = []
        if "company" in (self.giver, self.taker):
            problems.append("company came, wanted rep:<id> or team:<name> for both `from` and `to`")
        if self.giver == self.taker:
            problems.append(f"from and to are both {self.giver}, wanted two different ones")
        if self.last is not None and self.first > self.last:
            problems.append(f"on {self.first} is after until {self.last}: swap them")
        if problems:
            raise ValueError("; ".join(problems))
        return self


class ShiftTable(Table):
    """``[[shift]]``: creations that come in another period than by their season; none are won or lost."""

    giver: PeriodText = Field(alias="from", description="Period that creates less.")
    taker: PeriodText = Field(alias="to", description="Period that creates as much more.")
    share: PartOf1 = Field(description="Part of the first period's creations that moves.")
    scope: ScopeText = Field("company", description="Whose creations move.")

    @model_validator(mode="after")
    def _possible(self) -> ShiftTable:
        if self.giver == self.taker:
            raise ValueError(f"from and to are both {self.giver}, wanted two different periods")
        if self.share == 1.0:
            raise ValueError("share is 1, wanted less: some creations must be left to count from")
        return self


class LeverTable(Table):
    """``[[lever]]``: what may be moved to close a gap, between bounds and at a cost."""

    what: LeverWhat = Field(description="What may be moved to close a gap.")
    scope: ScopeText = Field("company", description="Where it may be moved.")
    low: Annotated[Float, Field(ge=0, le=1000), Wanted("a number from 0 to 1000")] = Field(
        alias="from", description="Where it stands: a factor, or a number of hires."
    )
    high: Annotated[Float, Field(ge=0, le=1000), Wanted("a number from 0 to 1000")] = Field(
        alias="to", description="How far it may go: a factor, or a number of hires."
    )
    cost: Money = Field(0.0, description="Cost of going all the way, in proportion in between.")
    causal: Switch = Field(False, description="Whether the plan takes the association to be an effect.")
    on: Day | None = Field(None, description="First day on which it can be moved; without it, at once.")

    @model_validator(mode="after")
    def _possible(self) -> LeverTable:
        if self.low == self.high:
            raise ValueError(f"from and to are both {self.low:g}, wanted two different values")
        if self.what != "hire" and 0 in (self.low, self.high):
            raise ValueError("0 came, wanted factors greater than 0")
        return self


class PlanTable(Table):
    """The whole file; a ``[scenario.NAME]`` holds any of these keys but ``scenario`` itself."""

    name: Text | None = Field(None, description="Title of the plan; without it the file's name.")
    as_of: Day | None = Field(
        None,
        description="Evening whose knowledge is used; without it the latest creation or closing in the data.",
    )
    horizon: PeriodText = Field(description="Period to whose end the simulation runs.")
    currency: Currency | None = Field(None, description="Planning currency.")
    draws: Draws = Field(4000, description="Number of simulated futures.")
    seed: Seed = Field(1, description="Seed of the random numbers.")
    data: DataTable = Field(DataTable.model_validate({}), description="Where the history is.")
    calendar: CalendarTable = Field(CalendarTable.model_validate({}), description="The fiscal calendar.")
    quotas: QuotasTable | None = Field(None, description="Quotas kept in a file.")
    quota: tuple[QuotaTable, ...] = Field((), description="Quotas; they override the file's, and it is said.")
    aim: AimTable = Field(AimTable.model_validate({}), description="Wished odds for suggestions.")
    hire: tuple[HireTable, ...] = Field((), description="Reps who join.")
    leave: tuple[LeaveTable, ...] = Field((), description="Reps who leave.")
    absence: tuple[AbsenceTable, ...] = Field((), description="Reps who are away or work part-time.")
    people: PeopleTable = Field(PeopleTable.model_validate({}), description="What happens when reps leave.")
    change: tuple[ChangeTable, ...] = Field((), description="Rates that change for a scope and a time.")
    move: tuple[MoveTable, ...] = Field((), description="Segments that go from one rep or team to another.")
    shift: tuple[ShiftTable, ...] = Field((), description="Creations that come in another period.")
    lever: tuple[LeverTable, ...] = Field((), description="What may be moved to close a gap.")
    costs: CostsTable | None = Field(None, description="Selling costs.")
    terms: TermsTable | None = Field(None, description="How deals become invoices and revenue.")
    cash: CashTable | None = Field(None, description="Cash position and payments.")
    capacity: CapacityTable | None = Field(None, description="What delivery needs.")
    fx: FxTable | None = Field(None, description="Rates of exchange of open invoices in other currencies.")
    scenario: Annotated[
        dict[Text, Annotated[dict[str, Any], Wanted("a table such as [scenario.hire_four]")]],
        Wanted("tables such as [scenario.hire_four]"),
    ] = Field({}, description="Named variants, laid over the rest.")
