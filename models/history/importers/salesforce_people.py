"""Salesforce's leads, tasks, events, quotas and users -> leads, activities, quotas and reps."""

from __future__ import annotations

import pandas as pd

from quotacast.models.history.importers.aliases import DISQUALIFIED, KINDS
from quotacast.models.history.importers.draft import Sourced, derived
from quotacast.models.history.importers.salesforce_org import Org, present
from quotacast.models.history.importers.values import is_true, normal


def leads(org: Org, deals: pd.DataFrame) -> set[str]:
    """Add the leads; return the ids of those written."""
    known = set(deals["opportunity_id"])
    ids: set[str] = set()
    for source in org.objects.get("Lead", ()):
        frame = source.frame
        converted_ = is_true(source.column("converted"))
        ended = source.column("state").map(normal).isin(DISQUALIFIED) & ~converted_
        dated = source.column("modified_on") != ""
        frame["status"] = "open"
        frame["status"] = frame["status"].mask(converted_, "converted").mask(ended & dated, "disqualified")
        closed = source.column("converted_on").where(converted_, source.column("modified_on"))
        frame["closed_on"] = closed.where(frame["status"] != "open", "")
        deal = source.column("opportunity_id")
        org.draft.note(
            int((ended & ~dated).sum()), "leads were given up on a day the file does not hold; kept open"
        )
        org.draft.note(
            int((ended & dated).sum()), "leads were given up; their last change is taken as the day"
        )
        org.draft.note(int((converted_ & (deal == "")).sum()), "leads were converted without an opportunity")
        org.draft.note(
            int(((deal != "") & ~deal.isin(known)).sum()),
            "leads name an opportunity not among those imported",
        )
        frame["opportunity_id"] = deal.where(deal.isin(known), "")
        source.id_column = "lead_id"
        source.frame = frame.drop(
            columns=present(frame, "converted", "converted_on", "modified_on", "deleted")
        )
        written = org.draft.put("leads", source)
        org.owners |= set(written.get("rep_id", ()))
        ids |= set(written["lead_id"])
    return ids


def activities(org: Org, deals: pd.DataFrame, lead_ids: set[str]) -> None:
    """Add completed tasks and all events."""
    known, last = set(deals["opportunity_id"]), max(deals["created_on"], default="")
    for name in ("Task", "Event"):
        for source in org.objects.get(name, ()):
            if name == "Task":
                done = source.frame["status"].map(normal) == "completed"
                source.reject(~done, lambda row: f"task not done: its status is {row['status']!r}")
            source.frame["kind"] = _task_kind(source) if name == "Task" else "meeting"
            deal, lead = source.column("opportunity_id"), source.column("lead_id")
            source.frame["opportunity_id"] = deal.where(deal.isin(known), "")
            source.frame["lead_id"] = lead.where(lead.isin(lead_ids), "")
            source.id_column = "activity_id"
            source.frame = source.frame.drop(
                columns=present(source.frame, "status", "subtype", "type", "call_type", "deleted")
            )
            written = org.draft.put("activities", source)
            org.owners |= set(written.get("rep_id", ()))
            org.draft.note(
                int((written["done_on"] > last).sum()),
                f"activities of {source.file} are dated after the last opportunity was created; kept",
            )


def _task_kind(source: Sourced) -> pd.Series:
    """What the subtype says, else the type, else a call's direction where no subtype came, else task."""
    subtype = source.column("subtype").map(normal)
    kind = subtype.map(lambda v: KINDS.get(v, "")).astype("object")
    kind = kind.where(kind != "", source.column("type").map(lambda v: KINDS.get(normal(v), "")))
    called = (source.column("call_type") != "") & (subtype == "")
    return kind.mask((kind == "") & called, "call").replace("", "task")


def quotas(org: Org) -> None:
    """Add the quotas of reps, one per period."""
    seen: set[str] = set()
    for source in org.objects.get("Quota", ()):
        frame = source.frame
        quarterly = _is_quarterly(frame)
        frame["period"] = [_period(day, quarterly) for day in frame["starts_on"]]
        source.reject(
            (frame["period"] == "") & (frame["starts_on"] != ""),
            lambda row: f"a quarter's quota from {row['starts_on']}: only calendar quarters are read",
        )
        source.reject(frame["rep_id"] == "", "no rep_id")
        frame["scope"] = "rep:" + frame["rep_id"]
        frame["metric"] = "bookings"
        keys = frame["scope"] + " " + frame["period"]
        source.reject(
            (keys.duplicated() | keys.isin(seen)) & (frame["rep_id"] != ""),
            "a second quota of this rep and period",
        )
        seen |= set(keys)
        org.owners |= set(frame["rep_id"])
        source.frame = frame.drop(columns=present(frame, "rep_id", "starts_on", "quota_id", "deleted"))
        source.id_column = "scope"
        org.draft.put("quotas", source)
        if quarterly:
            org.draft.notes.append(
                f"{source.file}: starts are whole quarters apart, read as quarterly quotas"
            )


def _is_quarterly(frame: pd.DataFrame) -> bool:
    """Whether every rep's quotas start a multiple of three months apart (and some rep has several)."""
    days = frame[frame["starts_on"] != ""].drop_duplicates(["rep_id", "starts_on"])
    months = days["starts_on"].str[:4].astype(int) * 12 + days["starts_on"].str[5:7].astype(int)
    gaps = months.sort_values().groupby(days["rep_id"]).diff().dropna()
    return len(gaps) > 0 and bool((gaps % 3 == 0).all())


def _period(day: str, quarterly: bool) -> str:
    if not quarterly or not day:
        return day[:7]
    month = int(day[5:7])
    return f"{day[:4]}-Q{(month + 2) // 3}" if month % 3 == 1 else ""


def reps(org: Org) -> None:
    """Add the users to whom anything belongs, and the owners that no user file names."""
    roles = org.rows("UserRole", "role_id", "role").drop_duplicates("role_id").set_index("role_id")["role"]
    managers = org.rows("Manager", "rep_id", "manager_id").drop_duplicates("rep_id")
    manager_of = dict(zip(managers["rep_id"], managers["manager_id"], strict=True))
    org.owners.discard("")
    named: set[str] = set()
    for source in org.objects.get("User", ()):
        frame = source.frame
        ids = frame["rep_id"]
        full = source.column("first_name").str.cat(source.column("last_name"), sep=" ").str.strip()
        frame["name"] = source.column("name").where(source.column("name") != "", full)
        role = source.column("role")
        frame["role"] = role.where(role != "", source.column("role_id").map(roles).fillna(""))
        frame["manager_id"] = source.column("manager_id").where(
            source.column("manager_id") != "", ids.map(manager_of).fillna("")
        )
        source.reject(ids.duplicated() | ids.isin(named), "rep_id came before")
        source.reject(~ids.isin(org.owners), "owns no opportunity, lead, activity or quota: no rep")
        frame["team"] = _teams(frame["role"][source.reasons == ""]).reindex(frame.index, fill_value="")
        left = (source.column("active") != "") & ~is_true(source.column("active")) & (source.reasons == "")
        org.draft.note(
            int(left.sum()), "reps are inactive, their last day is unknown: fill in left_on of reps.csv"
        )
        source.id_column = "rep_id"
        source.frame = frame.drop(columns=present(frame, "first_name", "last_name", "role_id", "active"))
        named |= set(org.draft.put("reps", source)["rep_id"])
    _unnamed(org, sorted(org.owners - named))
    _about_teams(org)


def _teams(roles: pd.Series) -> pd.Series:
    """The role where at least two reps hold it, else nothing."""
    shared = roles.value_counts()
    return roles.where(roles.map(shared) >= 2, "")


def _unnamed(org: Org, ids: list[str]) -> None:
    if ids or "User" not in org.objects:
        org.draft.put(
            "reps", derived("(owners)", pd.DataFrame({"rep_id": ids, "team": ""}, dtype="object"), "rep_id")
        )
        org.draft.note(len(ids), "owners are in no User file: they are reps without a name")


def _about_teams(org: Org) -> None:
    written = org.draft.frame("reps")
    teams = sorted(set(written["team"]) - {""}) if "team" in written else []
    if teams:
        org.draft.notes.append(
            f"roles held by two or more reps are taken as teams ({', '.join(teams)}): "
            "mend `team` in reps.csv where they are not"
        )
