"""How much has to be delivered, and how many people that takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.answer import Answer, Field
from quotacast.engine.delivery import Delivery, Floats, Load, loads, together
from quotacast.engine.paths import Paths
from quotacast.engine.quota import Scope
from quotacast.models.history.history import History
from quotacast.models.periods import Period
from quotacast.models.timegrid import day_number

#: Mean days of a month: what `person_month` is the hours of.
MONTH = 365.25 / 12
FIELDS = (
    Field("scope", "text", "company or the team that sells it"),
    Field("scope_id", "text", "team; empty for the company"),
    Field("period", "text", "period of delivery; what is left of it where it has begun"),
    Field("confirmed", "count", "hours for deals that are signed"),
    Field("open", "count", "expected hours for deals that are open now"),
    Field("new", "count", "expected hours for deals yet to be created"),
    Field("hours_p50", "count", "hours to deliver in the median future"),
    Field("hours_p80", "count", "hours that suffice in 80 of 100 futures"),
    Field("people_signed", "count", "people whom signed deals alone keep busy"),
    Field("people_p50", "count", "people needed in the median future"),
    Field("people_p80", "count", "people who suffice in 80 of 100 futures"),
    Field("people", "count", "people there are, says the plan"),
    Field("p_short", "probability", "share of futures that need more people than there are"),
    Field("p_idle", "probability", "share of futures in which at least one person has nothing to deliver"),
)


def capacity(
    paths: Paths,
    history: History,
    delivery: Delivery,
    periods: Sequence[Period],
    seed: int,
    provenance: Mapping[str, Any],
) -> Answer:
    """Hours and people needed by period, confirmed and expected apart, for the company and its teams.

    Parameters
    ----------
    paths : Paths
        In daily steps to the end of the last period, with ``won`` and ``won_cents``.
    periods : sequence of Period
        One after another; the first may have begun.
    """
    tomorrow = int(day_number(paths.as_of)) + 1
    edges = np.array(
        [max(int(day_number(p.first)), tomorrow) for p in periods] + [int(day_number(periods[-1].last)) + 1]
    )
    found = loads(paths, history, delivery, edges, seed)
    teams = sorted({team for _, team in found})
    scopes = [(Scope("company"), list(found))]
    scopes += [(Scope("team", team), [seat for seat in found if seat[1] == team]) for team in teams]
    rows: list[dict[str, Any]] = []
    for scope, seats in scopes:
        load = together(found, paths.draws, seats)
        rows += _rows(scope, load, periods, edges, delivery)
    table = pd.DataFrame(rows, columns=[f.name for f in FIELDS])
    summary = {"person_month": delivery.person_month, **_risk(table, delivery)}
    return Answer("capacity", table, FIELDS, _words(table, delivery), summary, provenance, "table")


def _rows(
    scope: Scope, load: Load, periods: Sequence[Period], edges: Floats, delivery: Delivery
) -> list[dict[str, Any]]:
    total, months = load.total, np.diff(edges) / MONTH
    rows = []
    for at, period in enumerate(periods):
        hours = total[:, at]
        person = delivery.person_month * months[at]
        middle, high = (float(x) for x in np.quantile(hours, [0.5, 0.8]))
        staff = delivery.people if scope.kind == "company" else None
        rows.append(
            {
                "scope": scope.kind,
                "scope_id": scope.id,
                "period": period.label,
                "confirmed": float(load.confirmed[at]),
                "open": float(load.open[:, at].mean()),
                "new": float(load.new[:, at].mean()),
                "hours_p50": middle,
                "hours_p80": high,
                "people_signed": float(load.confirmed[at]) / person,
                "people_p50": middle / person,
                "people_p80": high / person,
                "people": staff,
                "p_short": None if staff is None else float((hours > staff * person).mean()),
                "p_idle": None if staff is None else float((hours <= (staff - 1) * person).mean()),
            }
        )
    return rows


def _risk(table: pd.DataFrame, delivery: Delivery) -> dict[str, Any]:
    """First period in which too few people are likelier than not, and the most that are needed."""
    company = table[table["scope"] == "company"].reset_index(drop=True)
    peak = company.iloc[int(company["people_p80"].to_numpy(dtype=float).argmax())]
    found: dict[str, Any] = {"peak_period": peak["period"], "peak_people_p80": float(peak["people_p80"])}
    if delivery.people is not None:
        short = company[company["p_short"] > 0.5]["period"]
        found["first_short"] = None if short.empty else str(short.iloc[0])
    return found


def _words(table: pd.DataFrame, delivery: Delivery) -> str:
    company = table[table["scope"] == "company"].reset_index(drop=True)
    peak = company.iloc[int(company["people_p80"].to_numpy(dtype=float).argmax())]
    text = (
        f"Most is needed in {peak['period']}: {peak['people_p50']:.1f} people in the median future, "
        f"{peak['people_p80']:.1f} to be enough in 80 of 100; signed deals alone keep "
        f"{peak['people_signed']:.1f} busy then."
    )
    if delivery.people is None:
        return text + " Say how many there are with [capacity] people, and the odds of being short are told."
    short = company[company["p_short"] > 0.5]["period"]
    text += f" There are {delivery.people:g}"
    if short.empty:
        return text + ": in no period is being short likelier than not."
    return text + f": from {short.iloc[0]} being short is likelier than not."
