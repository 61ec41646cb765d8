"""The plan file: TOML -> Plan -> Drivers.

Keys, defaults and meanings are in ``schema.py`` (printed by `plan_reference`). Lists in key paths count
from 1: ``quota[2].target`` is the second ``[[quota]]``.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quotacast.engine.drivers import Absence, Change, Drivers, Hire, Leave, Move, People, Shift
from quotacast.engine.quota import Quota
from quotacast.errors import PlanError
from quotacast.models.periods import Calendar, Period

if TYPE_CHECKING:
    from quotacast.scenarios.planfile import schema, schema_money

#: With more days than this left of the current fiscal year, the default plan is about the rest of it.
ENOUGH_DAYS = 60


@dataclass(frozen=True)
class Plan:
    """A checked plan, with the wanted scenario laid over it.

    Attributes
    ----------
    data_folder : Path
        Absolute; a folder of canonical tables, or one export file.
    quotas : tuple of Quota
        Those of the file and of ``[[quota]]``; empty where the plan names none (then the quotas table
        of the data is the default).
    scenarios : tuple of str
        Names of all scenarios; ``scenario`` is the one laid over, or None.
    notes : tuple of str
        What must be said: overridden rows of the quota file, quotas beyond the horizon, defaults chosen.
    path : Path or None
        The plan file; None for the default plan.
    home : Path
        Folder next to which results are kept.
    text_hash : str
        sha256 of the content, scenario laid over, independent of layout and comments.
    document : mapping
        The plain content of the file, from which edits and scenarios are made.
    """

    name: str
    as_of: date | None
    horizon: str
    currency: str | None
    draws: int
    seed: int
    data_folder: Path
    calendar: Calendar
    quotas: tuple[Quota, ...]
    aim: schema.AimTable
    hires: tuple[schema.HireTable, ...]
    leaves: tuple[schema.LeaveTable, ...]
    absences: tuple[schema.AbsenceTable, ...]
    people: schema.PeopleTable
    changes: tuple[schema.ChangeTable, ...]
    moves: tuple[schema.MoveTable, ...]
    shifts: tuple[schema.ShiftTable, ...]
    levers: tuple[schema.LeverTable, ...]
    costs: schema_money.CostsTable | None
    terms: schema_money.TermsTable | None
    cash: schema_money.CashTable | None
    capacity: schema_money.CapacityTable | None
    fx: schema_money.FxTable | None
    scenarios: tuple[str, ...]
    path: Path | None
    home: Path
    text_hash: str
    scenario: str | None = None
    notes: tuple[str, ...] = ()
    document: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def horizon_period(self) -> Period:
        """The horizon as a period of the plan's calendar."""
        return self.calendar.parse(self.horizon)

    def with_scenario(self, name: str | None) -> Plan:
        """The plan under one of its scenarios instead of the present one; None for the base."""
        return self._rebuilt(self.document, name)

    def edited(self, overlay: Mapping[str, Any]) -> Plan:
        """The plan with more keys laid over it, by the rule of scenarios, and checked again.

        Under a scenario the edit belongs to that scenario.
        """
        from quotacast.scenarios.planfile.overlay import lay_over

        if self.scenario is not None:
            overlay = {"scenario": {self.scenario: overlay}}
        return self._rebuilt(lay_over(self.document, overlay), self.scenario)

    def _rebuilt(self, document: Mapping[str, Any], scenario: str | None) -> Plan:
        default = "" if self.path else self.name
        return build(document, self.path, self.home, scenario, default_name=default)

    def drivers(self, reps_known: Collection[str] = ()) -> Drivers:
        """What the simulator is told.

        Hires are numbered within their team in the order of the plan (``north+1``, ``north+2``), so that
        one more hire does not rename the others; ids in ``reps_known`` are passed over.
        """
        return Drivers(
            hires=_named_hires(self.hires, frozenset(reps_known)),
            leaves=tuple(Leave(one.rep, one.on) for one in self.leaves),
            changes=tuple(
                Change(c.what, c.scope, c.times, c.to, c.first, c.last, c.causal) for c in self.changes
            ),
            absences=tuple(Absence(a.rep, a.first, a.last, a.share) for a in self.absences),
            moves=tuple(
                Move(m.segment, m.giver, m.taker, m.first, m.last, m.share, m.open_deals) for m in self.moves
            ),
            shifts=tuple(self._shift(one) for one in self.shifts),
            people=People(self.people.leavers, self.people.backfill_days, self.people.keep_odds),
        )

    def _shift(self, shift: schema.ShiftTable) -> Shift:
        giver, taker = (self.calendar.parse(label) for label in (shift.giver, shift.taker))
        return Shift(shift.scope, shift.share, (giver.first, giver.last), (taker.first, taker.last))

    def check_against(
        self,
        reps: Mapping[str, str],
        *,
        kinds: Collection[str] | None = None,
        as_of: date | None = None,
        teams: Collection[str] = (),
        segments: Collection[str] | None = None,
    ) -> tuple[str, ...]:
        """Check the plan against the history it is used with.

        Parameters
        ----------
        reps : mapping of str to str
            Rep ids and their teams.
        kinds : collection of str, optional
            Kinds of activity in the data (``call``, not ``activity:call``); None leaves them unchecked.
        as_of : date, optional
            The as-of date in force; without it the plan's own.
        teams : collection of str
            Teams besides those of ``reps`` (former ones).
        segments : collection of str, optional
            Segments that the models tell apart; None leaves them unchecked.

        Returns
        -------
        tuple of str
            What is possible, but should be said.

        Raises
        ------
        PlanError
            With everything that names a rep, team or kind that is not there, and a horizon in the past.
        """
        from quotacast.scenarios.against import check

        return check(self, reps, kinds, as_of or self.as_of, teams, segments)


def load_plan(path: Path, *, scenario: str | None = None) -> Plan:
    """Read a plan file.

    Raises
    ------
    PlanError
        With every problem at once, each naming the key's path, what came and what was wanted.
    """
    path = Path(path).absolute()
    return build(_read(path), path, path.parent, scenario)


def default_plan(folder: Path, as_of: date, calendar: Calendar | None = None) -> Plan:
    """The plan for a bare data folder or export file.

    Its horizon is the fiscal year that contains ``as_of`` while more than 60 days of it remain, and
    the next one otherwise; ``notes`` says which.
    """
    used, source = calendar or Calendar(), Path(folder).absolute()
    year = used.containing(as_of, "year")
    left = (year.last - as_of).days
    if left > ENOUGH_DAYS:
        horizon, why = year.label, f"the fiscal year with {left} days left"
    else:
        horizon = str(int(year.label) + 1)
        why = f"the next fiscal year, as only {left} days of {year.label} are left"
    document = {"horizon": horizon, "as_of": as_of, "data": {"folder": str(source)}}
    document["calendar"] = {key: value for key, value in vars(used).items() if value is not None}
    plan = build(
        document,
        None,
        source.parent if source.is_file() else source,
        None,
        default_name=source.stem or "data",
    )
    return replace(plan, notes=(f"no plan file: the horizon is {horizon}, {why}", *plan.notes))


def plan_reference() -> str:
    """Markdown tables of every key of the plan file."""
    from quotacast.scenarios.planfile.validate import plan_reference as reference

    return reference()


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
        return tomllib.loads(text)
    except OSError as error:
        raise PlanError(f"{path}: the plan could not be read ({error.strerror}); give a TOML file") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise PlanError(f"{path.name}, line {line}: not UTF-8 text; save the file as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"{path.name}: {_with_line(str(error), text)}") from None
    except RecursionError:
        raise PlanError(f"{path.name}: tables or lists are nested too deeply for a plan") from None


def _with_line(message: str, text: str) -> str:
    """The parser's message, with the last line of the file where it only says "at end of document"."""
    lines = text.count("\n") + 1
    message = message.replace("at end of document", f"at line {lines}, the end of the file")
    return f"not TOML: {message}"


def build(
    document: Mapping[str, Any],
    path: Path | None,
    home: Path,
    scenario: str | None,
    *,
    default_name: str = "",
) -> Plan:
    """The checked plan of a plain document, with one scenario laid over it.

    Raises
    ------
    PlanError
        With every problem of the document and of all its scenarios.
    """
    from quotacast.scenarios.planfile.planquotas import gather
    from quotacast.scenarios.planfile.validate import laid, locator, scenario_names, validate

    table = validate(document, scenario)
    calendar = table.calendar.calendar()
    quotas, notes = gather(table, calendar, home, locator(document, scenario))
    return Plan(
        name=table.name or default_name or (path.stem if path else "plan"),
        as_of=table.as_of,
        horizon=table.horizon,
        currency=table.currency,
        draws=table.draws,
        seed=table.seed,
        data_folder=(home / table.data.folder).resolve(),
        calendar=calendar,
        quotas=quotas,
        aim=table.aim,
        hires=table.hire,
        leaves=table.leave,
        absences=table.absence,
        people=table.people,
        changes=table.change,
        moves=table.move,
        shifts=table.shift,
        levers=table.lever,
        costs=table.costs,
        terms=table.terms,
        cash=table.cash,
        capacity=table.capacity,
        fx=table.fx,
        scenarios=scenario_names(document),
        path=path,
        home=home,
        text_hash=_hash(laid(document, scenario)),
        scenario=scenario,
        notes=notes,
        document=document,
    )


def _hash(document: Mapping[str, Any]) -> str:
    content = {key: value for key, value in document.items() if key != "scenario"}
    text = json.dumps(content, sort_keys=True, default=str, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _named_hires(hires: tuple[schema.HireTable, ...], taken: frozenset[str]) -> tuple[Hire, ...]:
    number: defaultdict[str, int] = defaultdict(int)
    out = []
    for hire in hires:
        for _ in range(hire.count):
            number[hire.team] += 1
            while f"{hire.team}+{number[hire.team]}" in taken:
                number[hire.team] += 1
            out.append(Hire(f"{hire.team}+{number[hire.team]}", hire.team, hire.on))
    return tuple(out)
