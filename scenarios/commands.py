"""Commands that answer a question: a new one is a row here, and the two functions that it names.

`cli.py` makes each row into a command with the options shared by all answers. A row is data: reading it
imports nothing, so that the help stays fast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:
    from quotacast.engine.answer import Answer
    from quotacast.scenarios.run import Run

Asked = Callable[["Run", Mapping[str, Any]], "tuple[Answer, Sequence[str]]"]
Viewed = Callable[["Answer", Mapping[str, Any], int], str]


@dataclass(frozen=True)
class Option:
    """An option of one command.

    Attributes
    ----------
    flag : str
        ``--target``; the function finds it under ``target``.
    help : str
    kind : {"text", "number", "whole", "flag", "file", "day"}
    default
        Value without the option; of a flag always False.
    metavar : str, optional
    many : bool
        Whether it may be repeated; then it arrives as a tuple.
    """

    flag: str
    help: str
    kind: Literal["text", "number", "whole", "flag", "file", "day"] = "text"
    default: Any = None
    metavar: str | None = None
    many: bool = False


@dataclass(frozen=True)
class Command:
    """A command that answers with an `Answer`.

    Attributes
    ----------
    name : str
    help : str
        What it does, in one line; then examples, one a line.
    answer : str
        ``module:function`` in `quotacast.scenarios`: (run, options) -> (answer, notes for stderr). It checks
        what was asked for before anything that takes long.
    view : str
        ``module:function``: (answer, options, width) -> what a terminal shows.
    options : tuple of Option
        Its own, beside those of every answer.
    picks : tuple of str
        Which of ``scope``, ``metric``, ``by`` and ``quantiles`` it takes in their usual form.
    names : str
        Metavar of further names after SOURCE, found under ``names``; none where empty.
    """

    name: str
    help: str
    answer: str
    view: str
    options: tuple[Option, ...] = ()
    picks: tuple[str, ...] = ("scope", "metric", "by", "quantiles")
    names: str = ""


def load(name: str) -> Callable[..., Any]:
    """The function that a row names."""
    module, _, function = name.partition(":")
    return cast("Callable[..., Any]", getattr(import_module(f"quotacast.scenarios.{module}"), function))


#: Of answers that are made from draws.
DRAWS = Option("--paths", "Write single futures as well: FILE.parquet or .csv, a row per draw.", "file")

COMMANDS: tuple[Command, ...] = (
    Command(
        "forecast",
        "Forecast metrics by period: done, from open deals, from deals yet to be created, and in total;\n"
        "of revenue that terms spread also what is signed.\n"
        "Example: quotacast forecast demo/plan.toml --metric bookings --by quarter",
        "questions:forecast_answer",
        "questions:forecast_text",
        (DRAWS,),
    ),
    Command(
        "quotas",
        "Give the odds of every quota: of the plan, of the data, or of a file of candidates.\n"
        "Example: quotacast quotas demo/plan.toml --scope rep --metric bookings\n"
        "         quotacast quotas demo/plan.toml --cut --metric bookings",
        "questions:quotas_answer",
        "questions:quotas_text",
        (
            Option("--quotas", "Candidate quotas (CSV or XLSX).", "file"),
            Option("--cut", "Cut the longest quotas into quarters, months, weeks and days.", "flag"),
            Option("--fair", "Odds that belong together, cushion, pay and fairness of every set.", "flag"),
        ),
    ),
    Command(
        "pipeline",
        "Compare the open pipeline that is expected with what the targets need, by age and period.\n"
        "Example: quotacast pipeline demo/plan.toml --by quarter",
        "questions:pipeline_asked",
        "questions:pipeline_shown",
    ),
    Command(
        "performers",
        "Rank reps at equal conditions, and say how much of the spread is luck, territory and rep.\n"
        "Example: quotacast performers demo/plan.toml --by quarter\n"
        "         quotacast performers demo/plan.toml --lift opportunities_created",
        "questions:performers_asked",
        "questions:performers_shown",
        (Option("--lift", "Price the top quarter's rate for the others; or evenness.", metavar="WHAT"),),
    ),
    Command(
        "cash",
        "Forecast cash: thirteen weeks line by line, then months, with the odds of falling below the floor.\n"
        "A workbook holds the assumptions, the way from bookings to cash, and live formulas.\n"
        "Example: quotacast cash demo/plan.toml --out forecast.xlsx\n"
        "         quotacast cash demo/plan.toml --paths draws.parquet",
        "money.cash:cash_answer",
        "money.cash_view:cash_text",
        (DRAWS,),
        picks=("quantiles",),
    ),
    Command(
        "revenue",
        "Forecast bookings, billings, recognised revenue, gross margin, backlog and deferred revenue.\n"
        "Example: quotacast revenue demo/plan.toml --by quarter\n"
        "         quotacast revenue demo/plan.toml --since last",
        "money.revenue:revenue_answer",
        "money.revenue:revenue_text",
        (
            DRAWS,
            Option(
                "--since",
                "Bridge from an approved version (or last): volume, win rate, price, timing, payment.",
                metavar="NAME",
            ),
        ),
        picks=("metric", "by", "quantiles"),
    ),
    Command(
        "capacity",
        "Tell how many hours signed and expected deals take to deliver, and how many people that needs.\n"
        "Example: quotacast capacity demo/plan.toml --by quarter",
        "money.delivering:capacity_answer",
        "money.delivering:capacity_text",
        picks=("scope", "by"),
    ),
    Command(
        "suggest",
        "Suggest quotas with wished odds, for every scope and period; or the activity for a target.\n"
        "With --sum quotas add up: reps' to teams', teams' to the company's, quarters to the year.\n"
        "Example: quotacast suggest demo/plan.toml --rep 0.6 --out quotas.csv\n"
        "         quotacast suggest demo/plan.toml --sum rep --by quarter\n"
        "         quotacast suggest demo/plan.toml --target 12000000 --by activity:call",
        "setting.suggest:suggested",
        "setting.suggest:suggested_text",
        (
            Option("--company", "Wished odds of the company's quota. [aim.company or 0.7]"),
            Option("--team", "Wished odds of each team's quota. [aim.team or 0.6]"),
            Option("--rep", "Wished odds of each rep's quota. [aim.rep or 0.6]"),
            Option("--sum", "Add up; LEVEL keeps its odds: rep, team or company.", metavar="LEVEL"),
            Option("--rounding", "Quotas on money are multiples of this. [aim.rounding]", "number"),
            Option("--set", "Name of the set of quotas. [suggested]"),
            Option("--period", "For which period; without it, the plan's horizon."),
            Option("--by", "day … year: cut the period; activity:KIND: what is to be done for --target."),
            Option(
                "--target", "With activity:KIND: how much of the metric; else the plan's quota.", "number"
            ),
            Option("--probability", "With activity:KIND: wished odds; else the plan's [aim].", "number"),
        ),
        picks=("scope", "metric"),
    ),
    Command(
        "reconcile",
        "Hold a company target against what is to be expected, and split it to teams and reps.\n"
        "Example: quotacast reconcile demo/plan.toml --target 12000000\n"
        "         quotacast reconcile demo/plan.toml --split prior-year --cushion 5%",
        "setting.reconcile:reconciled",
        "setting.reconcile_view:reconciled_text",
        (
            Option("--metric", "What is to be reached. [bookings]", default="bookings"),
            Option("--target", "How much of it; without it, the plan's quota.", "number"),
            Option("--period", "For which period; without it, the plan's horizon."),
            Option("--split", "equal-odds, capability, prior-year, even, or a FILE.", default="equal-odds"),
            Option("--cushion", "More than the target for teams, and for reps: 5% or 5%,10%. [0]"),
            Option("--company", "Wished odds of the target. [aim.company or 0.7]"),
            Option("--team", "Wished odds of a team's quota. [aim.team or 0.6]"),
            Option("--rep", "Wished odds of the median rep's quota. [aim.rep or 0.6]"),
        ),
        picks=(),
    ),
    Command(
        "backtest",
        "Score forecasts of the past: made with what was known then, against what came true.\n"
        "Finished origins are kept, so a stopped backtest goes on where it was.\n"
        "Example: quotacast backtest demo/plan.toml --origins 12\n"
        "         quotacast backtest demo/plan.toml --metric receipts",
        "questions:backtest_asked",
        "questions:backtest_shown",
        (
            Option("--origins", "How many month ends, the latest. [24]", "whole", default=24),
            Option("--metric", "sales (bookings, deals, creations) or receipts. [sales]", default="sales"),
        ),
        picks=(),
    ),
    Command(
        "compare",
        "Compare the plan, its scenarios and approved versions, on the same simulated futures.\n"
        "Example: quotacast compare demo/plan.toml base hire_four --by quarter\n"
        "         quotacast compare demo/plan.toml base --levers",
        "deciding.questions:compare_asked",
        "deciding.questions:compare_shown",
        (
            Option("--levers", "Split the gap to the target by lever instead, and price closing it.", "flag"),
            Option(
                "--target", "With --levers: what is to be reached; without it, the plan's quota.", "number"
            ),
            Option("--probability", "With --levers: wished odds; without it, those of [aim].", "number"),
        ),
        names="[NAME]…",
    ),
    Command(
        "approve",
        "Approve the plan: freeze its quotas, odds and forecast as a version of record.\n"
        "Example: quotacast approve demo/plan.toml --as v3 --by board --on 2027-01-15",
        "deciding.approve:approve_answer",
        "deciding.approve:approve_text",
        (
            Option("--as", "Name of the version.", metavar="NAME"),
            Option("--by", "Who approves it.", metavar="WHO"),
            Option("--on", "Day of the approval.", "day"),
        ),
        picks=(),
    ),
)
