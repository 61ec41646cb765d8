"""The kinds of value that a plan file holds, each with the words that ask for it.

Imports pydantic, so it is itself imported only where a plan is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StrictBool,
    ValidationInfo,
)

from quotacast.engine.drivers import CHANGEABLE
from quotacast.engine.quota import ACTIVITY, Scope, check_metric
from quotacast.errors import PlanError
from quotacast.models.holidays import country_problem
from quotacast.models.periods import YEARS
from quotacast.scenarios.planfile.values import probability


@dataclass(frozen=True)
class Wanted:
    """What a key wants, in words."""

    text: str


def _printable(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError(f"{text!r} came, wanted text without control characters")
    return text.strip()


def _scope(text: str) -> str:
    try:
        return str(Scope.parse(text))
    except PlanError as error:
        raise ValueError(str(error)) from None


def _metric(text: str) -> str:
    try:
        return check_metric(text)
    except PlanError as error:
        raise ValueError(str(error)) from None


def _period(text: str, info: ValidationInfo) -> str:
    calendar = (info.context or {}).get("calendar")
    try:
        return text if calendar is None else calendar.parse(text).label
    except PlanError as error:
        raise ValueError(str(error)) from None


def _changeable(text: str) -> str:
    from difflib import get_close_matches

    if text in CHANGEABLE or (text.startswith(ACTIVITY) and text[len(ACTIVITY) :].strip()):
        return text
    near = get_close_matches(text, (*CHANGEABLE, "activity:call"), n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise ValueError(f"{text!r} came, wanted activity:<kind> or one of {', '.join(CHANGEABLE)}{hint}")


def _country(code: str) -> str:
    if problem := country_problem(code):
        raise ValueError(problem)
    return code


def _movable(text: str) -> str:
    return text if text == "hire" else _changeable(text)


_FIRST, _LAST = date(YEARS[0], 1, 1), date(YEARS[1], 12, 31)
Str = Annotated[str, Strict()]
Float = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Int = Annotated[int, Strict()]

Text = Annotated[Str, AfterValidator(_printable), Wanted("text")]
ScopeText = Annotated[Str, AfterValidator(_scope), Wanted("company, team:<name> or rep:<id>")]
MetricText = Annotated[Str, AfterValidator(_metric), Wanted("the name of a metric")]
PeriodText = Annotated[
    Str, AfterValidator(_period), Wanted('a period in quotes, such as "2027" or "2027-Q1"')
]
What = Annotated[Str, AfterValidator(_changeable), Wanted("activity:<kind> or a rate that can change")]
LeverWhat = Annotated[
    Str, AfterValidator(_movable), Wanted("hire, activity:<kind> or a rate that can change")
]
Day = Annotated[
    date, Strict(), Field(ge=_FIRST, le=_LAST), Wanted("a date without quotes, such as 2027-02-01")
]
Currency = Annotated[Str, Field(pattern="^[A-Z]{3}$"), Wanted('three capital letters, such as "EUR"')]
Probability = Annotated[
    float,
    BeforeValidator(probability),
    Strict(),
    Field(ge=0, le=1, allow_inf_nan=False),
    Wanted('a number from 0 to 1, or "70%"'),
]
PartOf1 = Annotated[
    float,
    BeforeValidator(probability),
    Strict(),
    Field(gt=0, le=1, allow_inf_nan=False),
    Wanted('a number above 0 and at most 1, or "40%"'),
]
Above0 = Annotated[Float, Field(gt=0, le=1e15), Wanted("a number greater than 0")]
Money = Annotated[Float, Field(ge=0, le=1e15), Wanted("an amount of 0 or more")]
Balance = Annotated[Float, Field(ge=-1e15, le=1e15), Wanted("an amount, negative if overdrawn")]
Factor = Annotated[Float, Field(gt=0, le=100), Wanted("a factor greater than 0 and at most 100")]
Value = Annotated[Float, Field(ge=-1e15, le=1e15), Wanted("a number (of a share also 40% in quotes)")]
Count = Annotated[Int, Field(ge=1, le=1000), Wanted("a whole number from 1 to 1000")]
DayCount = Annotated[Int, Field(ge=0, le=3650), Wanted("a whole number of days from 0 to 3650")]
Draws = Annotated[Int, Field(ge=100, le=200_000), Wanted("a whole number from 100 to 200000")]
Seed = Annotated[Int, Field(ge=0, lt=2**63), Wanted("a whole number of 0 or more")]
Month = Annotated[Int, Field(ge=1, le=12), Wanted("a month from 1 to 12")]
PayDay = Annotated[Int, Field(ge=1, le=31), Wanted("a day of the month from 1 to 31")]
Months = Annotated[Int, Field(ge=1, le=120), Wanted("a whole number of months from 1 to 120")]
Country = Annotated[
    Str,
    Field(pattern=r"^[A-Z]{2}(-[A-Z0-9]{1,3})?$"),
    AfterValidator(_country),
    Wanted('a country, such as "SE", or a part of one, such as "DE-BY"'),
]
Volatility = Annotated[Float, Field(ge=0, le=2), Wanted("a number from 0 to 2, 0.08 meaning 8% in a year")]
Switch = Annotated[StrictBool, Wanted("true or false")]


class Table(BaseModel):
    """A table of the plan file: closed, so that a misspelt key is an error, and unchangeable."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=False)
