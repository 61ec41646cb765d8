"""The plan file's tables about money: selling costs, terms of deals, cash, exchange and delivery.

Imports pydantic, so it is itself imported only where a plan is read.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from quotacast.scenarios.planfile.schema_types import (
    Above0,
    Balance,
    Day,
    DayCount,
    Factor,
    Money,
    Months,
    PayDay,
    Probability,
    Table,
    Text,
    Volatility,
    Wanted,
)

#: Parts of a whole may differ from it by this much: three thirds written with four digits.
ROUNDED = 5e-4

Kind = Annotated[
    Literal["payroll", "supplier", "tax", "debt"], Wanted('"payroll", "supplier", "tax" or "debt"')
]


class CommissionTable(Table):
    """``[costs.commission]``: variable pay."""

    rate: Probability = Field(description="Share of bookings paid as commission.")
    accelerator: Factor = Field(1.0, description="Factor on the rate for bookings above quota.")
    renewals: Probability = Field(
        0.0, description="Share of terms signed anew (terms.renewal) paid as commission; it leaves in cash."
    )


class CostsTable(Table):
    """``[costs]``: what selling costs."""

    rep_month: Money = Field(0.0, description="Fixed cost of a rep per month.")
    hire: Money = Field(0.0, description="One-off cost of a hire.")
    commission: CommissionTable | None = Field(None, description="Variable pay.")
    ote: Money | None = Field(None, description="On-target earnings of a rep per year.")
    payday: PayDay = Field(
        25, description="Day on which reps get a month's pay; commission with the next month's."
    )


class MilestoneTable(Table):
    """``[[terms.milestone]]``: a part of a deal that is invoiced some days after its close."""

    share: Probability = Field(description="Part of the deal's amount.")
    after_days: DayCount = Field(description="Days from close to the invoice.")


class PartPaymentTable(Table):
    """``[terms.part_payment]``: invoices that are paid in parts, in place of what payments tell."""

    odds: Probability = Field(description="Odds that an invoice's first payment is a part of it.")
    share: Probability = Field(description="Part of the invoice that it pays.")
    rest_days: DayCount | None = Field(
        None, description="Days from it to the payment of the rest; without it the rest waits as invoices do."
    )

    @field_validator("share")
    @classmethod
    def _part(cls, share: float) -> float:
        if not 0.0 < share < 1.0:
            raise ValueError(f"got {share:g}, wanted a part: more than 0 and less than 1 (100%)")
        return share


class TermsTable(Table):
    """``[terms]``: how wins are billed, recognised and renewed."""

    bill: Annotated[
        Literal["at_close", "monthly", "quarterly", "yearly", "milestones"],
        Wanted('"at_close", "monthly", "quarterly", "yearly" or "milestones"'),
    ] = Field(
        "at_close", description="When a won deal is invoiced: at once, in advance in parts, or by milestone."
    )
    milestone: tuple[MilestoneTable, ...] = Field(
        (), description='Parts of a deal, with bill = "milestones".'
    )
    term_months: Months | None = Field(
        None, description="Months that a new deal runs; without it as often as in the data, else 12."
    )
    invoice_days: DayCount | None = Field(
        None, description="Days from close to the first invoice; without it as in the data, else 0."
    )
    recognise: Annotated[
        Literal["at_close", "straight_line", "delivery"],
        Wanted('"at_close", "straight_line" or "delivery"'),
    ] = Field(
        "at_close",
        description="When revenue is recognised: at close, by day over the term, or by day over [capacity]'s "
        "delivery.",
    )
    due_days: DayCount = Field(30, description="Days from invoice to due date.")
    renewal: Probability | None = Field(None, description="Odds that a term is renewed.")
    write_off_days: DayCount | None = Field(
        None, description="Age at which an unpaid invoice is written off; without it, when payments cease."
    )

    part_payment: PartPaymentTable | None = Field(
        None, description="Payment in parts; without it as payments in the data tell, else in full."
    )

    @field_validator("milestone")
    @classmethod
    def _whole(cls, parts: tuple[MilestoneTable, ...]) -> tuple[MilestoneTable, ...]:
        total = sum(part.share for part in parts)
        if parts and abs(total - 1.0) > ROUNDED:
            raise ValueError(f"the shares add up to {total:.4g}, wanted 1 (100%)")
        return parts

    @model_validator(mode="after")
    def _possible(self) -> TermsTable:
        if self.milestone and self.bill != "milestones":
            raise ValueError(f'[[terms.milestone]] came with bill = "{self.bill}": set "milestones"')
        if self.bill == "milestones" and not self.milestone:
            raise ValueError('bill = "milestones" came without any [[terms.milestone]]: add them')
        return self


class OutTable(Table):
    """``[[cash.out]]``: a payment that recurs."""

    name: Text = Field(description="What is paid.")
    amount: Above0 = Field(description="How much leaves each time, value-added tax included.")
    on: Day = Field(description="Day of the first payment.")
    every: (
        Annotated[Literal["week", "month", "quarter", "year"], Wanted('"week", "month", "quarter" or "year"')]
        | None
    ) = Field(None, description="How often it repeats; without it, once.")
    until: Day | None = Field(None, description="Last day on which it may repeat.")
    kind: Kind = Field("supplier", description="In which line it is shown.")
    vat: Probability = Field(0.0, description="Rate of the value-added tax in it that is deducted.")

    @model_validator(mode="after")
    def _possible(self) -> OutTable:
        if self.until is not None and self.every is None:
            raise ValueError("until came without every: say how often it repeats, or leave until out")
        if self.until is not None and self.on > self.until:
            raise ValueError(f"on {self.on} is after until {self.until}: swap them")
        return self


class VariableTable(Table):
    """``[[cash.variable]]``: a payment that follows what is sold, month by month."""

    name: Text = Field(description="What is paid.")
    share: Probability = Field(description="Part of a month's total that is paid, value-added tax included.")
    of: Annotated[
        Literal["bookings", "billings", "receipts"], Wanted('"bookings", "billings" or "receipts"')
    ] = Field("billings", description="Of what it is a part; bookings and billings without value-added tax.")
    after_days: DayCount = Field(30, description="Days from the end of the month to the payment.")
    kind: Kind = Field("supplier", description="In which line it is shown.")


class CashTable(Table):
    """``[cash]``: the account and what flows from it."""

    opening: Balance | None = Field(
        None, description="Cash at the end of the as-of date; without it, cash is told relative to that day."
    )
    floor: Balance = Field(0.0, description="Cash that must not be fallen short of.")
    vat: Probability = Field(0.0, description="Value-added tax on top of invoices, as a share.")
    vat_every: Annotated[Literal["month", "quarter"], Wanted('"month" or "quarter"')] = Field(
        "month", description="Calendar period for which value-added tax is settled."
    )
    vat_days: DayCount = Field(30, description="Days from the end of that period to the payment of the tax.")
    out: tuple[OutTable, ...] = Field((), description="Payments that do not come from the model.")
    variable: tuple[VariableTable, ...] = Field((), description="Payments that follow what is sold.")


class FxTable(Table):
    """``[fx]``: what exchange rates may do to invoices in other currencies, open ones and those to come."""

    volatility: Volatility = Field(0.0, description="Standard deviation of the log rate in a year.")


class CapacityTable(Table):
    """``[capacity]``: what delivering a win takes."""

    hours_per_amount: Above0 | None = Field(None, description="Hours of delivery per unit of currency sold.")
    hours_per_deal: Above0 | None = Field(None, description="Hours of delivery per deal won.")
    person_month: Above0 = Field(description="Hours that one person delivers per month.")
    start_lag: DayCount = Field(0, description="Days from close to the start of delivery.")
    duration: DayCount = Field(30, description="Days that a delivery takes.")
    people: Above0 | None = Field(
        None, description="People who deliver; without it the odds of being short are not told."
    )

    @model_validator(mode="after")
    def _possible(self) -> CapacityTable:
        if self.hours_per_amount is not None and self.hours_per_deal is not None:
            raise ValueError("both hours_per_amount and hours_per_deal came, wanted one of them")
        return self
