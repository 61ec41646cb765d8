"""From records to the canonical tables, as they would have been exported on a given evening."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quotacast.engine.worlds_clock import LAG_WEEKS, NEVER, Bools, Clock, Floats, Ints, streams
from quotacast.engine.worlds_records import Deals, LeadRows, Records, segment_names
from quotacast.engine.worlds_truth import KINDS, WorldSpec

STAGES = ("Qualification", "Demo", "Proposal", "Negotiation")
#: What is done with the customer on entering a stage.
STAGE_ACTIVITY = ("call", "meeting", "email", "meeting")
#: How long after entering each stage a rep expects the deal to close, in days.
STAGE_OUTLOOK = (75.0, 55.0, 35.0, 18.0)
SOURCES = ("inbound", "outbound", "partner")
SOURCE_EDGES = (0.45, 0.85)
#: Mean days that a stage takes in a deal that nobody closes.
IDLE_STAGE_DAYS = 45.0
TERMS = np.asarray([12.0, 24.0, 36.0])
#: Currency units of deal value per hour of delivery.
VALUE_PER_HOUR = 160.0
DUE_DAYS = 30
#: A missing text.
NOTHING = np.asarray(None, dtype=object)

Objects = NDArray[np.object_]


def tables(spec: WorldSpec, records: Records, cut: int, currency: str = "EUR") -> dict[str, pd.DataFrame]:
    """Return every canonical table but quotas, as known on the evening of day ``cut`` of the clock."""
    deals, clock = records.deals, records.clock
    names = _ids("o", deals.created.size, 5)
    leads = _leads(spec, records, cut, names)
    stages = _stages(spec, records, names)
    shown = stages["entered"].to_numpy() <= cut
    return {
        "opportunities": _opportunities(spec, records, cut, names, stages[shown], currency),
        "stages": _stage_table(spec, clock, stages[shown]),
        "leads": leads,
        "activities": _activities(spec, records, cut, stages[shown]),
        "reps": _reps(spec, records, cut),
        "invoices": _invoices(spec, records, cut, names, currency),
    }


def opportunities(spec: WorldSpec, records: Records, cut: int, currency: str = "EUR") -> pd.DataFrame:
    """Return the opportunities table alone, as known on the evening of day ``cut``."""
    names = _ids("o", records.deals.created.size, 5)
    stages = _stages(spec, records, names)
    return _opportunities(spec, records, cut, names, stages[stages["entered"] <= cut], currency)


def _ids(letter: str, n: int, width: int) -> Objects:
    return np.asarray([f"{letter}{i + 1:0{width}d}" for i in range(n)], dtype=object)


def _dates(clock: Clock, day: Ints, known: Bools | None = None) -> NDArray[np.datetime64]:
    """Days of the clock as dates; NaT where not known."""
    out = (clock.days[0] + np.where(day == NEVER, 0, day)).astype("datetime64[ns]")
    out[(day == NEVER) if known is None else ~known] = np.datetime64("NaT")
    return np.asarray(out)


def _names(spec: WorldSpec, rep: Ints) -> Objects:
    return np.asarray(spec.rep_ids, dtype=object)[rep]


def _owner(deals: Deals, day: Ints | int) -> Ints:
    return np.where(day >= deals.handed, deals.heir, deals.rep)


def _source(u: Floats) -> Objects:
    return np.asarray(SOURCES, dtype=object)[np.searchsorted(SOURCE_EDGES, u)]


def _lead_names(leads: LeadRows) -> Objects:
    return _ids("l", leads.created.size, 5)


def _opportunities(
    spec: WorldSpec, records: Records, cut: int, names: Objects, stages: pd.DataFrame, currency: str
) -> pd.DataFrame:
    deals, clock = records.deals, records.clock
    closed = deals.closed <= cut
    won = closed & (deals.cause == 1)
    latest = stages.drop_duplicates("deal", keep="last").set_index("deal")
    latest = latest.reindex(np.arange(deals.created.size))
    owner = _owner(deals, np.where(closed, deals.closed, cut))
    customer, renewed = _customers(deals)
    u = deals.uniform
    frame = pd.DataFrame(
        {
            "opportunity_id": names,
            "created_on": _dates(clock, deals.created),
            "status": np.where(won, "won", np.where(closed, "lost", "open")).astype(object),
            "closed_on": _dates(clock, deals.closed, closed),
            "amount": np.where(won, deals.amount, np.where(deals.known, deals.quote, np.nan)),
            "rep_id": _names(spec, owner),
            "customer_id": customer,
            "type": np.where(renewed, np.where(u[:, 0] < 0.15, "renewal", "expansion"), "new").astype(object),
            "currency": currency,
            "segment": segment_names(deals.segment),
            "source": _source(u[:, 1]),
            "stage": latest["stage"].to_numpy(dtype=object),
            "expected_close_on": _dates(clock, latest["expected"].fillna(0).to_numpy(dtype=np.int64)),
            "cost": np.where(won, deals.cost, np.nan),
            "lead_id": np.where(deals.lead >= 0, _of_leads(records), NOTHING),
            "term_months": np.where(won, TERMS[(u[:, 2] * 3).astype(int)], np.nan),
            "delivery_hours": np.where(won, np.ceil(deals.amount / VALUE_PER_HOUR), np.nan),
        }
    )
    return frame[deals.created <= cut].reset_index(drop=True)


def _of_leads(records: Records) -> Objects:
    """Lead ids of opportunities; of any lead where there is none."""
    names = _lead_names(records.leads)
    return (
        names[records.deals.lead] if names.size else np.full(records.deals.created.size, None, dtype=object)
    )


def _customers(deals: Deals) -> tuple[Objects, Bools]:
    """Customer ids, and which deals are with a customer already won; a quarter of them are tried."""
    won = np.flatnonzero(deals.cause == 1)
    won = won[np.argsort(deals.closed[won], kind="stable")]
    fresh = won[deals.uniform[won, 0] >= 0.25]
    before = np.searchsorted(deals.closed[fresh], deals.created, side="left")
    renewed = (deals.uniform[:, 0] < 0.25) & (before > 0)
    customer = np.arange(deals.created.size)
    pick = (deals.uniform[:, 3] * before).astype(np.int64)
    customer[renewed] = fresh[pick[renewed]]
    return _ids("c", deals.created.size, 5)[customer], renewed


def _stages(spec: WorldSpec, records: Records, names: Objects) -> pd.DataFrame:
    """Every stage entry ever, sorted by deal and day; ``order`` breaks ties within a day."""
    deals = records.deals
    n = deals.created.size
    stream = streams(spec.seed)
    z = stream("stage_normal").standard_normal((n, 4))
    closed = deals.closed != NEVER
    deal, stage, entered, order = _told(deals, stream("stage").random((n, 5)))
    outlook = np.ceil(np.asarray(STAGE_OUTLOOK) * np.exp(0.3 * z)).astype(np.int64)[deal, stage]
    ends = np.flatnonzero(closed)
    quote = np.where(deals.known, deals.quote, np.nan)
    final = np.where(deals.cause == 1, deals.amount, quote)
    rows = pd.DataFrame(
        {
            "deal": np.concatenate([deal, ends]),
            "order": np.concatenate([order, np.full(ends.size, 99.0)]),
            "stage": np.concatenate(
                [
                    np.asarray(STAGES, dtype=object)[stage],
                    np.where(deals.cause[ends] == 1, "Closed Won", "Closed Lost").astype(object),
                ]
            ),
            "entered": np.concatenate([entered, deals.closed[ends]]),
            "expected": np.concatenate([entered + outlook, deals.closed[ends]]),
            "amount": np.concatenate([quote[deal], final[ends]]),
        }
    )
    rows = pd.concat([rows, _handovers(deals, rows)], ignore_index=True)
    rows = rows.sort_values(["deal", "entered", "order"], kind="stable")
    rows = rows.drop_duplicates(["deal", "stage", "entered"], ignore_index=True)
    number, day = rows["deal"].to_numpy(), rows["entered"].to_numpy()
    rows["rep"] = np.where(day >= deals.handed[number], deals.heir[number], deals.rep[number])
    rows["opportunity_id"] = names[number]
    return rows


def _told(deals: Deals, u: Floats) -> tuple[Ints, Ints, Ints, Floats]:
    """Deal, stage, day and order of every entry: of the chain, else as parts of the time a deal took."""
    if deals.stays is not None:
        deal, stage, entered = deals.stays.deal, deals.stays.stage, deals.stays.entered
        return deal, stage, entered, (np.arange(deal.size) - np.searchsorted(deal, deal)).astype(float)
    closed = deals.closed != NEVER
    reached = np.where(deals.cause == 1, len(STAGES), 1 + (u[:, 3] * len(STAGES)).astype(np.int64))
    idle = -np.log1p(-u[:, 4]) * IDLE_STAGE_DAYS * len(STAGES)
    life = np.where(closed, deals.closed - deals.created, idle)
    part = np.column_stack([np.zeros(closed.size), np.sort(u[:, :3], axis=1)])
    entered = deals.created[:, None] + np.floor(part * life[:, None]).astype(np.int64)
    deal, stage = np.nonzero(np.arange(len(STAGES)) < reached[:, None])
    return deal, stage, entered[deal, stage], stage.astype(float)


def _handovers(deals: Deals, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows that say who took a leaver's open deals over: the stage stays, the rep changes."""
    number = rows["deal"].to_numpy()
    handed = deals.handed[number]
    open_then = (handed > deals.created[number]) & (handed < deals.closed[number]) & (handed != NEVER)
    before = rows[open_then & (rows["entered"].to_numpy() <= handed)]
    before = before.sort_values(["deal", "entered", "order"], kind="stable")
    last: pd.DataFrame = before.drop_duplicates("deal", keep="last")
    return last.assign(entered=deals.handed[last["deal"].to_numpy()], order=last["order"] + 0.5)


def _stage_table(spec: WorldSpec, clock: Clock, rows: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "opportunity_id": rows["opportunity_id"].to_numpy(dtype=object),
            "stage": rows["stage"].to_numpy(dtype=object),
            "entered_on": _dates(clock, rows["entered"].to_numpy()),
            "amount": rows["amount"].to_numpy(),
            "expected_close_on": _dates(clock, rows["expected"].to_numpy()),
            "rep_id": _names(spec, rows["rep"].to_numpy()),
        }
    )


def _leads(spec: WorldSpec, records: Records, cut: int, names: Objects) -> pd.DataFrame:
    """Leads that came in by the cut and were still open on the first day or came later."""
    leads, deals, clock = records.leads, records.deals, records.clock
    known = leads.closed <= cut
    of_lead = np.flatnonzero(deals.lead >= 0)
    deal = np.full(leads.created.size, None, dtype=object)
    deal[deals.lead[of_lead]] = names[of_lead]
    status = np.where(known, np.where(leads.cause == 1, "converted", "disqualified"), "open")
    owner = np.where(np.where(known, leads.closed, cut) >= leads.handed, leads.heir, leads.rep)
    frame = pd.DataFrame(
        {
            "lead_id": _lead_names(leads),
            "created_on": _dates(clock, leads.created),
            "status": status.astype(object),
            "closed_on": _dates(clock, leads.closed, known),
            "rep_id": _names(spec, owner),
            "source": _source(leads.uniform[:, 0]),
            "segment": segment_names(leads.segment),
            "opportunity_id": np.where(known, deal, NOTHING),
        }
    )
    shown = (leads.created <= cut) & (leads.closed >= clock.first)
    return frame.loc[shown].reset_index(drop=True)


def _activities(spec: WorldSpec, records: Records, cut: int, stages: pd.DataFrame) -> pd.DataFrame:
    """Counts per day, rep and kind; apart from them those that hang on a lead or an opportunity."""
    counts = records.activity[: cut + 1].copy()
    counts[: records.clock.shown] = 0
    touch = _lead_touches(records, counts, cut)
    day, rep, kind = np.nonzero(counts)
    own = stages[stages["order"] < len(STAGES)]
    own = own[own["order"] % 1 == 0]
    kinds = np.asarray(KINDS, dtype=object)
    stage_kind = np.asarray(STAGE_ACTIVITY, dtype=object)[own["order"].to_numpy().astype(int)]
    parts: list[dict[str, Any]] = [
        {"kind": kinds[kind], "day": day, "rep": rep, "count": counts[day, rep, kind]},
        touch,
        {"kind": stage_kind, "day": own["entered"].to_numpy(), "rep": own["rep"].to_numpy(), "count": 1,
         "opportunity_id": own["opportunity_id"].to_numpy(dtype=object)},
    ]  # fmt: skip
    frame = pd.concat([pd.DataFrame(part) for part in parts], ignore_index=True)
    frame = frame.sort_values(["day", "rep"], kind="stable", ignore_index=True)
    blank = np.full(len(frame), None, dtype=object)
    return pd.DataFrame(
        {
            "activity_id": _ids("a", len(frame), 6),
            "kind": frame["kind"].to_numpy(dtype=object),
            "done_on": _dates(records.clock, frame["day"].to_numpy()),
            "rep_id": _names(spec, frame["rep"].to_numpy()),
            "count": frame["count"].to_numpy(),
            "opportunity_id": frame["opportunity_id"].where(frame["opportunity_id"].notna(), None),
            "lead_id": frame["lead_id"].where(frame["lead_id"].notna(), None) if len(touch["day"]) else blank,
        }
    )


def _lead_touches(records: Records, counts: Ints, cut: int) -> dict[str, Any]:
    """Take, for every lead, one `lead_contact` of its rep from the days before; ``counts`` shrink."""
    leads, first = records.leads, records.clock.first
    names, contact = _lead_names(leads), KINDS.index("lead_contact")
    taken: list[tuple[str, int, int]] = []
    for i in np.flatnonzero((leads.created <= cut) & (leads.closed >= first)):
        who, day = leads.rep[i], leads.created[i]
        begin = max(day - 7 * LAG_WEEKS, 0)
        found = np.flatnonzero(counts[begin:day, who, contact])
        if found.size:
            at = begin + int(found[-1])
            counts[at, who, contact] -= 1
            taken.append((str(names[i]), at, int(who)))
    return {
        "kind": "lead_contact",
        "day": np.asarray([t[1] for t in taken], dtype=np.int64),
        "rep": np.asarray([t[2] for t in taken], dtype=np.int64),
        "count": 1,
        "lead_id": np.asarray([t[0] for t in taken], dtype=object),
    }


def _reps(spec: WorldSpec, records: Records, cut: int) -> pd.DataFrame:
    people, clock = records.people, records.clock
    moves = {rep: (team, np.datetime64(day)) for rep, team, day in spec.moved}
    homes = np.repeat(np.asarray(spec.team_names, dtype=object), [size for _, size in spec.teams])
    rows = []
    for rep in np.flatnonzero(people.hired <= cut).tolist():
        hired = clock.days[0] + people.hired[rep]
        left = clock.days[0] + people.left[rep] if people.left[rep] <= cut else np.datetime64("NaT")
        spells = [(homes[rep], hired)]
        if rep in moves and moves[rep][1] <= clock.days[cut]:
            spells.append(moves[rep])
        rows += [
            (spec.rep_ids[rep], f"Rep {rep + 1:02d}", team, hired, left, "account executive", since)
            for team, since in spells
        ]
    frame = pd.DataFrame(rows, columns=["rep_id", "name", "team", "hired_on", "left_on", "role", "from"])
    days = ("hired_on", "left_on", "from")
    return frame.assign(**{c: np.asarray(frame[c].to_numpy(), dtype="datetime64[ns]") for c in days})


def _invoices(spec: WorldSpec, records: Records, cut: int, names: Objects, currency: str) -> pd.DataFrame:
    """One invoice per won deal, issued within ten days, due in thirty, paid by a lognormal."""
    deals, clock, true = records.deals, records.clock, spec.truth.payment
    n = deals.created.size
    u = streams(spec.seed)("invoice").random((n, 2))
    z = streams(spec.seed)("invoice_normal").standard_normal(n)
    issued = deals.closed + 1 + (u[:, 0] * 10).astype(np.int64)
    paid = issued + np.ceil(true.median_days * np.exp(true.log_sd * z)).astype(np.int64)
    paid = np.where(u[:, 1] < true.unpaid, NEVER, paid)
    shown = np.flatnonzero((deals.cause == 1) & (issued <= cut))
    shown = shown[np.argsort(issued[shown], kind="stable")]
    return pd.DataFrame(
        {
            "invoice_id": _ids("i", shown.size, 5),
            "issued_on": _dates(clock, issued[shown]),
            "due_on": _dates(clock, issued[shown] + DUE_DAYS),
            "amount": deals.amount[shown],
            "customer_id": _customers(deals)[0][shown],
            "opportunity_id": names[shown],
            "currency": currency,
            "paid_on": _dates(clock, paid[shown], paid[shown] <= cut),
        }
    )
