"""A plain document against the schema: all problems at once, in words, each at its place in the file."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

from quotacast.errors import PlanError
from quotacast.models.periods import Calendar
from quotacast.scenarios.planfile.overlay import Loc, key_path, lay_over, written_at
from quotacast.scenarios.planfile.schema import CalendarTable, PlanTable
from quotacast.scenarios.planfile.schema_types import Wanted
from quotacast.scenarios.planfile.values import shown

Locate = Callable[[Loc], Loc]


def validate(document: Mapping[str, Any], scenario: str | None) -> PlanTable:
    """The plan of a document with one scenario laid over it, after checking the base and every scenario.

    Raises
    ------
    PlanError
        With every problem of the base and of all scenarios.
    """
    tables: dict[str | None, PlanTable] = {}
    problems: dict[str, None] = {}
    for name in (None, *scenario_names(document)):
        table, found = _checked(laid(document, name), locator(document, name))
        problems.update(dict.fromkeys(_nested(document, name) + found))
        if table is not None:
            tables[name] = table
    if scenario is not None and scenario not in scenario_names(document):
        problems[_no_scenario(scenario, scenario_names(document))] = None
    if problems:
        raise PlanError(problems)
    return tables[scenario]


def scenario_names(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the scenarios that are tables, in the order of the file."""
    scenarios = document.get("scenario")
    if not isinstance(scenarios, Mapping):
        return ()
    return tuple(name for name, table in scenarios.items() if isinstance(table, Mapping))


def laid(document: Mapping[str, Any], scenario: str | None) -> dict[str, Any]:
    """The document with one scenario laid over it (as it is where the scenario is not there)."""
    return lay_over(document, _overlay(document, scenario))


def locator(document: Mapping[str, Any], scenario: str | None) -> Locate:
    """A function from a place in the laid-over document to the place in the file."""
    overlay = _overlay(document, scenario)

    def locate(loc: Loc) -> Loc:
        inside, place = written_at(document, overlay, loc)
        return ("scenario", str(scenario), *place) if inside and overlay else place

    return locate


def _overlay(document: Mapping[str, Any], scenario: str | None) -> dict[str, Any]:
    if scenario not in scenario_names(document):
        return {}
    return {key: value for key, value in document["scenario"][scenario].items() if key != "scenario"}


def _nested(document: Mapping[str, Any], scenario: str | None) -> list[str]:
    if scenario is None or "scenario" not in document["scenario"][scenario]:
        return []
    return [f"{key_path(('scenario', scenario, 'scenario'))}: a scenario came inside a scenario: move it out"]


def _no_scenario(name: str, names: tuple[str, ...]) -> str:
    near = get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    known = ", ".join(names) if names else "none; add a table [scenario.NAME]"
    return f"scenario {shown(name)}: no such scenario in the plan; it has {known}{hint}"


def _checked(document: Mapping[str, Any], locate: Locate) -> tuple[PlanTable | None, list[str]]:
    try:
        return PlanTable.model_validate(document, context={"calendar": _calendar(document)}), []
    except ValidationError as error:
        return None, [_sentence(one, locate) for one in error.errors(include_url=False)]


def _calendar(document: Mapping[str, Any]) -> Calendar | None:
    """The calendar by which periods are read; None where it is itself wrong, which is reported elsewhere."""
    try:
        return CalendarTable.model_validate(document.get("calendar", {})).calendar()
    except ValidationError:
        return None


def _sentence(error: Any, locate: Locate) -> str:
    loc: Loc = tuple(part for part in error["loc"] if part != "[key]")
    where, kind = key_path(locate(loc)), error["type"]
    if kind == "extra_forbidden":
        return f"{where}: unknown key{_known_keys(loc)}"
    if kind == "missing":
        return f"{where}: missing, wanted {_wanted_at(loc)}"
    if kind == "value_error":
        return f"{where}: {error['ctx']['error']}"
    return f"{where}: {shown(error['input'])} came, wanted {_wanted_at(loc)}"


def _known_keys(loc: Loc) -> str:
    model = _model_in(_annotation_at(loc[:-1]))
    keys = list(_fields(model)) if model is not None else []
    near = get_close_matches(str(loc[-1]), keys, n=1)
    return f", did you mean {near[0]}?" if near else f", wanted one of {', '.join(keys)}"


def _wanted_at(loc: Loc) -> str:
    annotation = _annotation_at(loc)
    wanted, name = _wanted_in(annotation), ".".join(str(part) for part in loc if isinstance(part, str))
    if wanted is not None:
        return wanted
    if isinstance(loc[-1], int):
        return f"a table [[{name}]]"
    return f"tables [[{name}]]" if _is_many(annotation) else f"a table [{name}]"


def _annotation_at(loc: Loc) -> Any:
    at: Any = PlanTable
    for part in loc:
        model = _model_in(at)
        if isinstance(part, int):
            at = model
        elif model is not None:
            at = _fields(model).get(part)
    return at


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    """Annotations of a table's keys, by the names used in the file."""
    hints = typing.get_type_hints(model, include_extras=True)
    return {info.alias or name: hints[name] for name, info in model.model_fields.items()}


def _is_many(annotation: Any) -> bool:
    return typing.get_origin(annotation) is tuple


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in typing.get_args(annotation) if (found := _model_in(arg))), None)


def _wanted_in(annotation: Any) -> str | None:
    for note in reversed(getattr(annotation, "__metadata__", ())):
        if isinstance(note, Wanted):
            return note.text
    if _model_in(annotation) is not None:
        return None
    return next((found for arg in typing.get_args(annotation) if (found := _wanted_in(arg))), None)


def plan_reference() -> str:
    """Markdown tables of every key of the plan file: what it wants, its default and its meaning."""
    return "\n".join(_reference((), PlanTable))


def _reference(path: tuple[str, ...], model: type[BaseModel], many: bool = False) -> list[str]:
    name = ".".join(path)
    lines = [f"### {f'`[[{name}]]`' if many else f'`[{name}]`' if name else 'Top of the file'}", ""]
    lines += ["| key | wanted | default | meaning |", "|---|---|---|---|"]
    below: list[str] = []
    hints = _fields(model)
    for field, info in model.model_fields.items():
        key = info.alias or field
        inner, several = _model_in(hints[key]), _is_many(hints[key])
        wanted = _wanted_in(hints[key]) or (
            f"tables [[{name + '.' if name else ''}{key}]]" if several else "a table"
        )
        lines.append(
            f"| `{key}` | {wanted} | {_default(info, inner)} | {info.description} |".replace("<", "&lt;")
        )
        if inner is not None:
            below += ["", *_reference((*path, key), inner, several)]
    return lines + below


def _default(info: Any, inner: type[BaseModel] | None) -> str:
    if info.is_required():
        return "required"
    if inner is not None or info.default in (None, {}):
        return ""
    return f"`{shown(info.default)}`"
