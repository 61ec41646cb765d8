"""Salesforce object files (Data Loader exports, replicas in a warehouse, the vendor's demo org) -> a draft.

What the objects mean here:

* an **Opportunity**'s outcome is its stage's ``IsClosed``/``IsWon`` where a file says so, else its stage's
  label; its closing day is the day its history entered the last run of closed rows, because ``CloseDate`` is
  what somebody typed; ``CloseDate`` counts where there is no such history, and is the expected day of open
  deals;
* a **Task** is an activity once its status is Completed, on its ``ActivityDate``; an **Event** is a meeting;
* a **Lead** ends by conversion, or by a state such as Unqualified if a day of change is known: otherwise it
  stays open, since a made-up day would be worse than an exposure that ends without an event;
* a **User** is a rep if anything in the other files belongs to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from quotacast.models.history.importers.aliases import TYPES
from quotacast.models.history.importers.draft import Draft, Sourced
from quotacast.models.history.importers.salesforce_org import (
    Org,
    outcome,
    present,
    read_objects,
    stage_outcomes,
)
from quotacast.models.history.importers.salesforce_people import activities, leads, quotas, reps
from quotacast.models.history.importers.values import is_true, normal


def import_salesforce(files: Sequence[Path]) -> Draft:
    """Turn Salesforce object files into canonical tables.

    Raises
    ------
    DataError
        If there is no Opportunity file, a needed column is missing, or a column of days is undecidable.
    """
    org = Org(Draft())
    read_objects(org, files)
    org.draft.stop_on_problems()
    org.outcomes = stage_outcomes(org)
    deals = _opportunities(org)
    lead_ids = leads(org, deals)
    _stages(org, deals)
    activities(org, deals, lead_ids)
    quotas(org)
    reps(org)
    org.draft.stop_on_problems()
    return org.draft


def _opportunities(org: Org) -> pd.DataFrame:
    closings = _closings(org)
    products = _products(org)
    born = org.rows("Lead", "opportunity_id", "lead_id").drop_duplicates("opportunity_id")
    lead_of = dict(zip(born["opportunity_id"], born["lead_id"], strict=True))
    seen: set[str] = set()
    for source in org.objects["Opportunity"]:
        frame, ids = source.frame, source.frame["opportunity_id"]
        source.reject((ids != "") & (ids.duplicated() | ids.isin(seen)), "opportunity_id came before")
        seen |= set(ids)
        frame["status"] = _status(org, source)
        frame["closed_on"] = _closed_on(org, source, closings)
        frame["expected_close_on"] = frame["close_on"].where(frame["status"] == "open", "")
        _refuse_close_date(source)
        frame["type"] = source.column("segment").map(lambda v: TYPES.get(normal(v), ""))
        frame["product"] = ids.map(products).fillna("")
        frame["lead_id"] = ids.map(lambda v: lead_of.get(v, "") if v else "")
        source.id_column = "opportunity_id"
        source.frame = frame.drop(columns=[*present(frame, "close_on", "is_closed", "is_won", "deleted")])
        org.owners |= set(org.draft.put("opportunities", source).get("rep_id", ()))
    return _about_deals(org)


def _refuse_close_date(source: Sourced) -> None:
    """A reason that was collected for the spelling of CloseDate goes under our name."""
    source.reasons = source.reasons.str.replace("close_on '", "closed_on '", regex=False)


def _status(org: Org, source: Sourced) -> pd.Series:
    by_stage = source.frame["stage"].map(org.outcomes).fillna("open")
    closed, won = source.column("is_closed"), source.column("is_won")
    return by_stage.where((closed == "") | (won == ""), outcome(closed, won))


def _closings(org: Org) -> pd.DataFrame:
    """Per opportunity, the outcome its history ends in and the day the last run of that outcome began."""
    rows = org.rows("OpportunityHistory", "opportunity_id", "stage", "entered_on", "moment")
    rows = rows[rows["entered_on"] != ""].sort_values(["entered_on", "moment"], kind="stable")
    rows["outcome"] = rows["stage"].map(org.outcomes).fillna("open")
    deal = rows.groupby("opportunity_id")["outcome"]
    rows["run"] = (rows["outcome"] != deal.shift()).astype(int)
    starts = rows[rows["run"] == 1].groupby("opportunity_id").last()
    return starts[["outcome", "entered_on"]]


def _closed_on(org: Org, source: Sourced, closings: pd.DataFrame) -> pd.Series:
    frame, fine = source.frame, source.reasons == ""
    told = closings.reindex(frame["opportunity_id"])
    same = (told["outcome"].to_numpy() == frame["status"].to_numpy()) & (frame["status"] != "open").to_numpy()
    day = pd.Series(told["entered_on"].to_numpy(), index=frame.index, dtype="object")
    closed = frame["status"] != "open"
    differs = fine & same & (day != frame["close_on"])
    org.draft.note(
        int(differs.sum()), "closed deals were closed on another day than CloseDate: the history's counts"
    )
    if "OpportunityHistory" in org.objects:
        org.draft.note(
            int((fine & closed & ~same).sum()),
            "closed deals have no such end in their history: CloseDate counts",
        )
    return day.where(same, frame["close_on"]).where(closed, "")


def _about_deals(org: Org) -> pd.DataFrame:
    """Note what stands out among the deals and return them."""
    draft, deals = org.draft, org.draft.frame("opportunities")
    events = [*deals["created_on"], *org.rows("OpportunityHistory", "entered_on")["entered_on"]]
    last = max(events, default="")
    draft.note(
        int((deals["closed_on"] > last).sum()), f"closing days lie after {last}, the last other event; kept"
    )
    won = deals[deals["status"] == "won"]
    amounts = pd.to_numeric(won.get("amount", pd.Series(dtype="object")), errors="coerce")
    draft.note(int((amounts == 0).sum()), "won deals have amount 0; kept")
    draft.note(int(amounts.isna().sum()), "won deals have no amount; kept for `check` to report")
    stages = org.rows("OpportunityHistory", "opportunity_id", "stage", "entered_on", "moment")
    stages = stages.sort_values(["entered_on", "moment"], kind="stable")
    closed = stages["stage"].map(org.outcomes).isin(["won", "lost"])
    reopened = closed.groupby(stages["opportunity_id"]).shift(fill_value=False) & ~closed
    draft.note(
        stages.loc[reopened, "opportunity_id"].nunique(), "deals were reopened; their last state counts"
    )
    return deals


def _stages(org: Org, deals: pd.DataFrame) -> None:
    known = set(deals["opportunity_id"])
    for source in org.objects.get("OpportunityHistory", ()):
        source.id_column = "opportunity_id"
        lost = ~source.frame["opportunity_id"].isin(known) & (source.frame["opportunity_id"] != "")
        source.reject(lost, lambda row: f"opportunity {row['opportunity_id']} is not among those imported")
        order = source.frame.sort_values(["opportunity_id", "entered_on", "moment"], kind="stable").index
        source.frame = source.frame.loc[order].drop(columns=present(source.frame, "deleted", "moment"))
        source.reasons, source.raw = source.reasons.loc[order], source.raw.loc[order]
        org.draft.put("stages", source)


def _products(org: Org) -> dict[str, str]:
    """Opportunity -> product family (else name) of its dearest line."""
    lines = org.rows("OpportunityLineItem", "opportunity_id", "price", "product_id", "entry_id", "deleted")
    lines = lines[~is_true(lines["deleted"])]
    entries = org.rows("PricebookEntry", "entry_id", "product_id").drop_duplicates("entry_id")
    goods = org.rows("Product2", "product_id", "name", "family").drop_duplicates("product_id")
    product = lines["product_id"].where(
        lines["product_id"] != "", lines["entry_id"].map(entries.set_index("entry_id")["product_id"])
    )
    family = goods["family"].where(goods["family"] != "", goods["name"])
    lines = lines.assign(family=product.map(dict(zip(goods["product_id"], family, strict=True))).fillna(""))
    lines = lines.assign(price=pd.to_numeric(lines["price"], errors="coerce").fillna(0.0))
    best = (
        lines[lines["family"] != ""]
        .sort_values("price", kind="stable")
        .drop_duplicates("opportunity_id", keep="last")
    )
    return dict(zip(best["opportunity_id"], best["family"], strict=True))
