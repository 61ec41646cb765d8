"""`approve`: freeze the plan with its quotas, odds and forecast as a version of record."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import pandas as pd

from quotacast.engine.answer import Answer, Field
from quotacast.engine.answers.attainability import attainability
from quotacast.engine.answers.forecast import forecast
from quotacast.engine.metrics import METRICS
from quotacast.engine.paths import Paths
from quotacast.engine.quota import Quota
from quotacast.engine.reports.files import as_csv
from quotacast.engine.reports.units import plain, show
from quotacast.errors import PlanError
from quotacast.models.periods import Period
from quotacast.scenarios.deciding import approved, bridging
from quotacast.scenarios.deciding.approved import Approved
from quotacast.scenarios.deciding.sides import BASE
from quotacast.scenarios.lines import name as shortened
from quotacast.scenarios.lines import packed
from quotacast.scenarios.planfile.validate import laid
from quotacast.scenarios.run import Run

FIELDS = (
    Field("kind", "text", "quota, odds, plan or knowledge"),
    Field("key", "text", "quota, key of the plan, or piece of knowledge"),
    Field("old", "text", "in the version before; empty where it is new"),
    Field("new", "text", "in this version; empty where it is gone"),
)
#: Odds that moved by less than this are not listed.
MOVED = 0.01
#: What of the provenance is compared.
KNOWLEDGE = ("data_fingerprint", "as_of", "horizon", "seed", "draws", "method", "scenario", "currency")
#: So many changes of a kind are printed.
_PRINTED = 8


def approve_answer(run: Run, options: Mapping[str, Any]) -> tuple[Answer, tuple[str, ...]]:
    """Sign a version off and write it next to the plan, whole or not at all.

    ``options`` hold ``as`` (its name), ``by`` (who approves) and ``on`` (the day: no clock is read here).

    Raises
    ------
    PlanError
        With everything that is missing, or where the version exists.
    DataError
        Where an earlier version was changed after it was signed off.
    """
    name, by, on = _signed(run, options)
    before = approved.versions(run.plan.home)
    quotas, notes = run.quotas()
    if not quotas:
        raise PlanError("no quotas to approve: state [[quota]] in the plan or a quotas table in the data")
    periods = _periods(run)
    spans = [run.plan.calendar.parse(q.period) for q in quotas]
    paths = run.paths([*periods, *spans])
    rows = quota_rows(run, paths, quotas)
    document = {k: v for k, v in laid(run.plan.document, run.plan.scenario).items() if k != "scenario"}
    last = before[-1] if before else None
    changes = list(_changes(last, document, rows, run.provenance()))
    files = _files(run, rows, document, changes, (paths, periods))
    facts = {
        "name": name,
        "by": by,
        "on": on.isoformat(),
        "number": last.manifest["number"] + 1 if last else 1,
        "previous": {"name": last.name, "hash": last.manifest["hash"]} if last else None,
        "plan": run.plan.name,
        "scenario": run.plan.scenario or BASE,
        "provenance": plain(run.provenance()),
    }
    folder = run.plan.home / approved.FOLDER / approved.slug(name)
    seal = approved.write(folder, files, facts)
    return _answer(run, facts, seal, changes, (folder.name, len(rows))), (*notes, *run.plan_notes)


def _signed(run: Run, options: Mapping[str, Any]) -> tuple[str, str, date]:
    """Name, person and day, checked before anything long begins."""
    problems, texts = [], {}
    for key, what in (("as", 'a name such as "FY27 v3"'), ("by", "who approves it")):
        texts[key] = str(options.get(key) or "").strip()
        if not texts[key] or not texts[key].isprintable() or len(texts[key]) > 200:
            problems.append(f"--{key}: wanted {what}, up to 200 printable characters")
    on = options.get("on")
    if not isinstance(on, date):
        problems.append("--on: wanted the day of approval, such as 2027-01-15")
    name = texts["as"]
    if name == BASE or name in run.plan.scenarios:
        problems.append(f"--as {name}: the plan has a side of this name; take another")
    folder = run.plan.home / approved.FOLDER / approved.slug(name)
    if folder.exists():
        there = next(
            (n for n in approved.approved_names(run.plan.home) if approved.slug(n) == folder.name), name
        )
        problems.append(
            f"--as {name}: {shortened(there, 40)} is approved already and is not replaced; a change is a new "
            "version: give it another name"
        )
    if problems or not isinstance(on, date):
        raise PlanError(problems)
    return name, texts["by"], on


def _periods(run: Run) -> tuple[Period, ...]:
    """Months, quarters and the horizon, each once."""
    every = (*run.periods("month"), *run.periods("quarter"), run.plan.horizon_period)
    return tuple({period.label: period for period in every}.values())


def quota_rows(run: Run, paths: Paths, quotas: Sequence[Quota]) -> list[dict[str, Any]]:
    """Quotas with their odds and quantiles as they are stored; the scope as people write it."""
    table = attainability(paths, quotas, run.plan.calendar, {}).rows
    rows = plain(table.astype(object).where(table.notna(), None).to_dict("records"))
    for row in rows:
        kind, own = row.pop("scope"), row.pop("scope_id")
        row["scope"] = kind if kind == "company" else f"{kind}:{own}"
    return list(rows)


def _files(
    run: Run,
    rows: list[dict[str, Any]],
    document: Mapping[str, Any],
    changes: list[dict[str, str]],
    simulated: tuple[Paths, tuple[Period, ...]],
) -> dict[str, bytes]:
    paths, periods = simulated
    names = [
        n
        for n, m in METRICS.items()
        if (m.level == "output" or n == "opportunities_created") and not run.able.reason(n)
    ]
    outlook = forecast(paths, names, paths.scopes(), periods, {})
    totals = outlook.rows[outlook.rows["component"] == "total"]
    lead = ["scope", "metric", "period", "target", "set"]
    frame = pd.DataFrame(rows)
    frame = frame[[*lead, *(c for c in frame.columns if c not in lead)]]
    table = Answer("approved", frame, tuple(Field(str(c), "text", "") for c in frame.columns), "")
    future = Answer("forecast", totals, outlook.fields, "")
    written = {
        "quotas.json": _json(rows),
        "quotas.csv": as_csv(table).encode(),
        "forecast.csv": as_csv(future).encode(),
        bridging.FILE: bridging.stored(bridging.totals(run, paths)),
        "plan.json": _json(approved.stored(document)),
        "changes.json": _json(changes),
    }
    if run.plan.path is not None:
        written["plan.toml"] = run.plan.path.read_bytes()
    return written


def _json(value: Any) -> bytes:
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False, default=str)
    return (text + "\n").encode("utf-8", "replace")


# -- what is new ---------------------------------------------------------------------------------------


def _changes(
    last: Approved | None,
    document: Mapping[str, Any],
    rows: list[dict[str, Any]],
    knowledge: Mapping[str, Any],
) -> Iterator[dict[str, str]]:
    """Changes against the version before; none for the first."""
    if last is None:
        return
    now = {(r["set"], r["scope"], r["metric"], r["period"]): r for r in rows}
    for key in dict.fromkeys([*last.odds, *now]):
        old, new = last.odds.get(key), now.get(key)
        if (old or {}).get("target") != (new or {}).get("target"):
            yield _change("quota", _quota_key(key), *((row or {}).get("target") for row in (old, new)))
    odds = [(key, (last.odds.get(key) or {}).get("p_attain"), row["p_attain"]) for key, row in now.items()]
    moved = [(key, *pair) for key, *pair in odds if None not in pair and abs(pair[1] - pair[0]) >= MOVED]
    # the company's first, then the largest moves
    for key, was, p in sorted(moved, key=lambda one: (one[0][1] != "company", -abs(one[2] - one[1]))):
        yield _change("odds", _quota_key(key), show(was, "probability"), show(p, "probability"))
    yield from _differences("plan", flat(last.document), flat(document))
    before = last.manifest["provenance"]
    yield from _differences("knowledge", *({k: one.get(k) for k in KNOWLEDGE} for one in (before, knowledge)))


def _quota_key(key: tuple[str, ...]) -> str:
    return f"{key[1]} {key[2]} {key[3]} ({key[0]})"


def _differences(kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    for key in dict.fromkeys([*old, *new]):
        if old.get(key) != new.get(key):
            yield _change(kind, key, old.get(key), new.get(key))


def _change(kind: str, key: str, old: Any, new: Any) -> dict[str, str]:
    texts = (f"{v:,.10g}" if isinstance(v, float) else "" if v is None else str(v) for v in (old, new))
    return {"kind": kind, "key": key, **dict(zip(("old", "new"), texts, strict=True))}


def flat(document: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Every value of a plan by its key path, but quotas, which are compared one by one."""
    found: dict[str, Any] = {}
    for key, value in document.items():
        path = f"{place}.{key}" if place else str(key)
        if path in ("quota", "quotas"):
            continue
        parts = (
            {f"{path}[{k}]": one for k, one in enumerate(value, 1)}
            if isinstance(value, list)
            else {path: value}
        )
        for where, part in parts.items():
            found.update(flat(part, where) if isinstance(part, Mapping) else {where: part})
    return found


# -- the answer ----------------------------------------------------------------------------------------


def _answer(
    run: Run, facts: Mapping[str, Any], seal: str, changes: list[dict[str, str]], written: tuple[str, int]
) -> Answer:
    folder, quotas = written
    table = pd.DataFrame(changes, columns=[f.name for f in FIELDS])
    last = facts["previous"]
    counts = {kind: int(n) for kind, n in table["kind"].value_counts(sort=False).items()}
    summary = {
        **{key: facts[key] for key in ("name", "by", "on", "number", "previous", "scenario")},
        "hash": seal,
        "folder": f"{approved.FOLDER}/{folder}",
        "quotas": quotas,
        "changes": counts,
    }
    words = (
        f"{facts['name']} is approved by {facts['by']} on {facts['on']}: {quotas:,} quotas with their odds."
    )
    if last is None:
        words += " It is the first version of this plan."
    else:
        words += f" Against {last['name']}, {len(table):,} things changed."
    return Answer("approve", table, FIELDS, words, summary, run.provenance(), "table")


def approve_text(answer: Answer, options: Mapping[str, Any], width: int = 80) -> str:
    """What was signed off, where it lies, and what changed."""
    return "\n".join(_lines(answer, width))


def _lines(answer: Answer, width: int) -> Iterator[str]:
    summary = answer.summary
    yield from packed([answer.words], indent=0, width=width)
    yield f"Folder   {summary['folder']}"
    yield f"Seal     {summary['hash'][:16]}"
    for kind, group in answer.rows.groupby("kind", sort=False):
        yield ""
        yield {"quota": "Quotas", "odds": "Odds", "plan": "Plan", "knowledge": "Knowledge"}[str(kind)]
        for row in group.head(_PRINTED).to_dict("records"):
            old, new = (shortened(row[end], 24) or "–" for end in ("old", "new"))
            yield from packed(
                [f"{shortened(row['key'], 60)}  {old} → {new}"], label="  ", indent=2, width=width
            )
        if len(group) > _PRINTED:
            yield f"  … {len(group) - _PRINTED:,} more in {summary['folder']}/changes.json"
