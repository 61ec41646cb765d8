"""The one table of headings: what CRMs and people call our columns.

A heading is compared in its :func:`~quotacast.models.history.importers.values.normal` form (lower case,
letters and digits only, no ``__c``), so that ``StageName``, ``stage_name`` and ``StageName__c`` are one
entry. Where a file holds several of a column's headings, the first in the entry is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quotacast.models.history.importers.values import normal

#: Salesforce object -> our name of the field -> headings, best first: the API's name, then external ids.
SALESFORCE: Mapping[str, Mapping[str, str]] = {
    "Opportunity": {
        "opportunity_id": "id opportunityid externalid",
        "created_on": "createddate datetimecreated createdate",
        "close_on": "closedate",
        "stage": "stagename stage",
        "is_closed": "isclosed",
        "is_won": "iswon",
        "amount": "amount",
        "currency": "currencyisocode amountcurrency",
        "rep_id": "ownerid ownerexternalid",
        "customer_id": "accountid accountexternalid",
        "segment": "type",
        "source": "leadsource",
        "name": "name",
        "deleted": "isdeleted",
    },
    "OpportunityHistory": {
        "opportunity_id": "opportunityid opportunityexternalid",
        "stage": "stagename stage",
        "entered_on": "createddate datetimecreated systemmodstamp",
        "amount": "amount",
        "expected_close_on": "closedate",
        "deleted": "isdeleted",
    },
    "Task": {
        "activity_id": "id externalid",
        "rep_id": "ownerid ownerexternalid",
        "opportunity_id": "whatid whatexternalid",
        "lead_id": "whoid whoexternalid",
        "done_on": "activitydate",
        "status": "status",
        "subtype": "tasksubtype",
        "type": "type",
        "call_type": "calltype",
        "deleted": "isdeleted",
    },
    "Event": {
        "activity_id": "id externalid",
        "rep_id": "ownerid ownerexternalid",
        "opportunity_id": "whatid whatexternalid",
        "lead_id": "whoid whoexternalid",
        "done_on": "activitydate activitydatetime startdatetime",
        "subtype": "eventsubtype",
        "type": "type",
        "deleted": "isdeleted",
    },
    "Lead": {
        "lead_id": "id externalid",
        "created_on": "createddate datetimecreated",
        "state": "status",
        "converted": "isconverted",
        "converted_on": "converteddate",
        "modified_on": "lastmodifieddate systemmodstamp",
        "opportunity_id": "convertedopportunityid convertedopportunityexternalid",
        "rep_id": "ownerid ownerexternalid",
        "source": "leadsource",
        "segment": "industry",
        "deleted": "isdeleted",
    },
    "User": {
        "rep_id": "id externalid",
        "name": "name",
        "first_name": "firstname",
        "last_name": "lastname",
        "role": "userrolename userrole",
        "role_id": "userroleid",
        "active": "isactive",
        "manager_id": "managerid managerexternalid",
    },
    "Manager": {"rep_id": "id externalid", "manager_id": "managerid managerexternalid"},
    "UserRole": {"role_id": "id externalid", "role": "name developername"},
    "Quota": {
        "quota_id": "id externalid",
        "rep_id": "quotaownerid userid userexternalid ownerid ownerexternalid",
        "starts_on": "startdate periodstartdate",
        "target": "quotaamount amount",
        "deleted": "isdeleted",
    },
    "OpportunityStage": {"stage": "masterlabel apiname", "is_closed": "isclosed", "is_won": "iswon"},
    "OpportunityLineItem": {
        "opportunity_id": "opportunityid opportunityexternalid",
        "price": "totalprice",
        "product_id": "product2id product2externalid",
        "entry_id": "pricebookentryid pricebookentryexternalid",
        "deleted": "isdeleted",
    },
    "PricebookEntry": {"entry_id": "id externalid", "product_id": "product2id product2externalid"},
    "Product2": {"product_id": "id externalid", "name": "name", "family": "family"},
}

#: Salesforce object -> the canonical table it goes into.
SALESFORCE_TABLES: Mapping[str, str] = {
    **dict.fromkeys(("Opportunity", "OpportunityStage"), "opportunities"),
    **dict.fromkeys(("OpportunityLineItem", "PricebookEntry", "Product2"), "opportunities"),
    "OpportunityHistory": "stages",
    **dict.fromkeys(("Task", "Event"), "activities"),
    "Lead": "leads",
    **dict.fromkeys(("User", "Manager", "UserRole"), "reps"),
    "Quota": "quotas",
}

#: (table, field) -> the columns made of it, where they are not named like the field.
MADE_OF: Mapping[tuple[str, str], str] = {
    ("opportunities", "close_on"): "closed_on, expected_close_on",
    ("opportunities", "won_on"): "closed_on",
    ("opportunities", "lost_on"): "closed_on",
    ("opportunities", "is_closed"): "status",
    ("opportunities", "is_won"): "status",
    ("opportunities", "segment"): "segment, type",
    ("opportunities", "family"): "product",
    ("activities", "subtype"): "kind",
    ("activities", "type"): "kind",
    ("activities", "call_type"): "kind",
    ("leads", "state"): "state, status",
    ("leads", "converted"): "status",
    ("leads", "converted_on"): "closed_on",
    ("leads", "modified_on"): "closed_on",
    ("reps", "first_name"): "name",
    ("reps", "last_name"): "name",
    ("quotas", "rep_id"): "scope",
    ("quotas", "starts_on"): "period",
}

#: File name in normal form (without ``sf`` before and ``data`` or a number behind) -> Salesforce object.
SALESFORCE_FILES: Mapping[str, str] = {
    **{normal(name): name for name in SALESFORCE},
    "opportunities": "Opportunity",
    "opportunitystagehistory": "OpportunityHistory",
    "opportunityhistories": "OpportunityHistory",
    "tasks": "Task",
    "events": "Event",
    "leads": "Lead",
    "users": "User",
    "quotas": "Quota",
    "forecastingquota": "Quota",
    "product": "Product2",
    "products": "Product2",
}

#: Our column of ``opportunities`` -> headings of single-file deal exports (Salesforce report, HubSpot,
#: Pipedrive, Salesflare, and our own names).
DEALS: Mapping[str, Sequence[str]] = {
    "opportunity_id": (
        *("opportunity_id", "Opportunity ID", "Record ID", "Deal ID", "Deal - ID", "Deal - System ID"),
        *("Deal - Pipedrive System ID", "Record ID - Deal", "ID"),
    ),
    "name": ("Opportunity Name", "Deal Name", "Deal - Title", "Title", "Name"),
    "created_on": (
        *("created_on", "Created Date", "Create Date", "Deal - Deal created", "Deal - Created"),
        *("Deal - Creation date", "creation_date", "add_time"),
    ),
    "status": ("status", "Deal - Status"),
    "is_closed": ("Is Deal Closed?", "Closed", "Is Closed"),
    "is_won": ("Is Closed Won", "Won", "Is Won"),
    "closed_on": ("closed_on", "Deal - Deal closed on", "Deal - Closed on", "close_time"),
    "won_on": ("Deal - Won time", "won_time"),
    "lost_on": ("Deal - Lost time", "lost_time"),
    "close_on": ("Close Date", "close_date", "closedate"),
    "expected_close_on": ("expected_close_on", "Deal - Expected close date", "Expected close date"),
    "amount": ("Amount in company currency", "Amount (converted)", "amount", "Deal - Value", "Value"),
    "currency": (
        *("currency", "Amount Currency", "Deal - Currency of Value", "Deal - Currency"),
        *("deal_currency_code", "currency.iso"),
    ),
    "stage": ("stage", "Deal Stage", "Deal - Stage", "Deal - Stage (pipeline)", "stage.name", "dealstage"),
    "pipeline": ("Pipeline", "Deal - Pipeline", "pipeline.name"),
    "rep_id": ("rep_id", "Opportunity Owner", "Deal owner", "Deal - Owner", "owner.name", "Owner"),
    "team": ("team", "HubSpot Team", "Owner Role"),
    "customer_id": (
        *("customer_id", "Account Name", "Deal - Organization", "Associated Company", "Organization"),
        *("account.name",),
    ),
    "segment": ("segment", "Type", "Deal Type", "Deal - Label"),
    "source": ("source", "Lead Source", "Deal - Source channel", "Record Source", "lead_source"),
    "product": ("product", "Deal - Product name"),
    "lost_reason": ("Closed Lost Reason", "Deal - Lost reason", "lost_reason"),
    "merged": ("Merged Deal IDs",),
}

#: Columns whose amounts are in the company's currency already: the currency column then does not apply to
#: them.
IN_COMPANY_CURRENCY = frozenset({"amountincompanycurrency", "amountconverted"})

#: Words in the stage or status of a deal, in normal form -> its status. Anything else is open.
OUTCOMES: Mapping[str, str] = {
    **dict.fromkeys(("closedwon", "won", "wonclosed"), "won"),
    **dict.fromkeys(("closedlost", "lost", "lostclosed"), "lost"),
}

#: Salesforce opportunity types in normal form -> our ``type``; anything else stays empty.
TYPES: Mapping[str, str] = {
    **dict.fromkeys(("newbusiness", "newcustomer", "new", "newlogo"), "new"),
    **dict.fromkeys(("renewal", "existingcustomerrenewal", "renewalbusiness"), "renewal"),
    **dict.fromkeys(
        ("addonbusiness", "addon", "existingbusiness", "expansion", "upsell", "existingcustomerupgrade"),
        "expansion",
    ),
}

#: TaskSubtype, EventSubtype or Type in normal form -> kind of activity; ``""`` means: it does not say.
KINDS: Mapping[str, str] = {
    **dict.fromkeys(("call", "calls", "phone", "phonecall", "outboundcall", "inboundcall"), "call"),
    **dict.fromkeys(("email", "emails", "listemail", "mail"), "email"),
    **dict.fromkeys(("meeting", "meetings", "demo", "presentation", "visit", "onsitevisit"), "meeting"),
    **dict.fromkeys(("chat", "sms", "whatsapp", "linkedin", "message", "livechat"), "chat"),
    **dict.fromkeys(("", "task", "event", "cadence", "other"), ""),
}

#: Lead states in normal form that end a lead without a deal.
DISQUALIFIED = frozenset(
    {"disqualified", "unqualified", "closednotconverted", "rejected", "archived", "dead", "recycled", "junk"}
)


@dataclass(frozen=True)
class Match:
    """How the headings of one file were taken: ``columns`` ours -> theirs, ``rows`` for the report."""

    columns: Mapping[str, str]
    rows: tuple[tuple[str, str, str, str, str], ...]


def match(file: str, headings: Sequence[str], table: str, fields: Mapping[str, Sequence[str] | str]) -> Match:
    """Match headings to fields through an alias table.

    Parameters
    ----------
    fields : mapping
        Our column -> headings, best first (a string holds several in normal form).
    """
    theirs: dict[str, str] = {}
    for heading in reversed(headings):
        theirs[normal(heading)] = heading
    columns: dict[str, str] = {}
    how: dict[str, tuple[str, str]] = {}
    for ours, names in fields.items():
        wanted = names.split() if isinstance(names, str) else [normal(name) for name in names]
        for place, name in enumerate(n for n in wanted if n in theirs):
            heading = theirs[name]
            if place == 0 and heading not in columns.values():
                columns[ours] = heading
                how[heading] = (
                    MADE_OF.get((table, ours), ours),
                    "name" if name in (wanted[0], normal(ours)) else "alias",
                )
            else:
                how.setdefault(
                    heading, ("", f"not used: {columns.get(ours, 'another heading')!r} came first")
                )
    rows = tuple((file, h, table, *how.get(h, ("", "not used"))) for h in headings)
    return Match(columns, rows)
