"""The canonical tables, as one table in code.

Everything that depends on the shape of the data is derived from :data:`COLUMNS`: reading and
validation (`read`), the as-of cut (`snapshot`), the documentation (:func:`markdown`) and the JSON
schema (:func:`json_schema`). A new column is a new row here and nowhere else.

``known`` says when the value in an export may be believed to have been known:

``creation``
    from the day the row came into being (its table's :data:`BORN` day), and constant since;
``closing``
    from the day the row was closed, converted, paid or left; before that it did not exist;
``events``
    it changes during the row's life; the export holds its last state only, and a history (the
    ``stages`` table, see :data:`HISTORIES`) is needed to know how it stood.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from quotacast.errors import DataError

#: What stands where no rep or no team is named.
NONE = "(none)"


@dataclass(frozen=True)
class Column:
    """One column of one canonical table.

    Attributes
    ----------
    table, name : str
    kind : str
        ``id`` and ``text`` (str), ``choice`` (one of ``choices``), ``day`` (midnight), ``money``
        (float, planning currency once read), ``number`` (float).
    unit : str
        Unit of the value, or ``""``.
    required : str
        ``always``, ``closed`` (unless the row is open), ``won`` (of won deals) or ``""`` (optional).
        The column itself must be there for each of the first three.
    known : str
        ``creation``, ``closing`` or ``events``.
    meaning : str
        One sentence.
    choices : tuple of str
        Allowed values of a ``choice``.
    """

    table: str
    name: str
    kind: str
    unit: str
    required: str
    known: str
    meaning: str
    choices: tuple[str, ...] = ()


_ROWS: dict[str, tuple[tuple[str, str, str, str, str, str], ...]] = {
    "opportunities": (
        ("opportunity_id", "id", "", "always", "creation", "The deal's id in the CRM."),
        ("created_on", "day", "", "always", "creation", "Day on which the deal came into being."),
        ("status", "choice", "", "always", "closing", "Its last state: open, won or lost."),
        ("closed_on", "day", "", "closed", "closing", "Day on which it was won or lost."),
        ("amount", "money", "currency", "won", "events", "Its value; of a won deal the booked value."),
        ("rep_id", "id", "", "", "creation", "Its owner; constant unless the stage history names owners."),
        ("customer_id", "id", "", "", "creation", "The customer it is with."),
        ("type", "choice", "", "", "creation", "New business, renewal or expansion."),
        ("currency", "text", "ISO 4217", "", "creation", "Currency of amount and cost as exported."),
        ("segment", "text", "", "", "creation", "Market segment."),
        ("product", "text", "", "", "creation", "Product or product family."),
        ("source", "text", "", "", "creation", "Where the deal came from."),
        ("stage", "text", "", "", "events", "Stage in the pipeline."),
        ("expected_close_on", "day", "", "", "events", "Closing day that the owner expects."),
        ("cost", "money", "currency", "", "closing", "Direct cost of delivering it."),
        ("margin_pct", "number", "percent of amount", "", "closing", "Gross margin (35 means 35 %)."),
        ("lead_id", "id", "", "", "creation", "The lead it was converted from."),
        ("term_months", "number", "months", "", "closing", "Length of the contract."),
        ("delivery_hours", "number", "hours", "", "closing", "Work needed to deliver it."),
    ),
    "stages": (
        ("opportunity_id", "id", "", "always", "creation", "The deal."),
        ("stage", "text", "", "always", "creation", "Stage that was entered."),
        ("entered_on", "day", "", "always", "creation", "Day on which it was entered."),
        ("amount", "money", "currency", "", "creation", "The deal's amount from that day on."),
        ("expected_close_on", "day", "", "", "creation", "Expected closing from that day on."),
        ("rep_id", "id", "", "", "creation", "Owner from that day on."),
    ),
    "leads": (
        ("lead_id", "id", "", "always", "creation", "The lead's id in the CRM."),
        ("created_on", "day", "", "always", "creation", "Day on which the lead came in."),
        ("status", "choice", "", "always", "closing", "Its last state: open, converted or disqualified."),
        ("closed_on", "day", "", "closed", "closing", "Day of conversion or disqualification."),
        ("rep_id", "id", "", "", "creation", "Who works on it."),
        ("source", "text", "", "", "creation", "Where it came from."),
        ("segment", "text", "", "", "creation", "Market segment."),
        ("opportunity_id", "id", "", "", "closing", "The deal that it was converted into."),
    ),
    "activities": (
        ("activity_id", "id", "", "", "creation", "The activity's id in the CRM."),
        ("kind", "text", "", "always", "creation", "call, meeting_planned, meeting, email, chat, ..."),
        ("done_on", "day", "", "always", "creation", "Day on which it was done."),
        ("rep_id", "id", "", "", "creation", "Who did it."),
        ("count", "number", "count", "", "creation", "How many the row stands for (default 1)."),
        ("opportunity_id", "id", "", "", "events", "The deal it hangs on."),
        ("lead_id", "id", "", "", "events", "The lead it hangs on."),
    ),
    "reps": (
        ("rep_id", "id", "", "always", "creation", "The rep's id, as in the other tables."),
        ("name", "text", "", "", "creation", "Name for display."),
        ("team", "text", "", "", "creation", "Team (from the day `from`, where there are spells)."),
        ("hired_on", "day", "", "", "creation", "First day of work."),
        ("left_on", "day", "", "", "closing", "First day no longer at work."),
        ("role", "text", "", "", "creation", "Role."),
        ("from", "day", "", "", "creation", "First day of this spell in this team; one row per spell."),
    ),
    "invoices": (
        ("invoice_id", "id", "", "always", "creation", "The invoice's number."),
        ("issued_on", "day", "", "always", "creation", "Day of issue."),
        ("due_on", "day", "", "always", "creation", "Day by which it is to be paid."),
        ("amount", "money", "currency", "always", "creation", "Amount; a credit note is negative."),
        ("customer_id", "id", "", "", "creation", "Who pays."),
        ("opportunity_id", "id", "", "", "creation", "The deal it bills."),
        ("currency", "text", "ISO 4217", "", "creation", "Currency of the amount as exported."),
        ("class", "text", "", "", "creation", "Class of payer or way of billing, known at issue."),
        ("paid_on", "day", "", "", "closing", "Day on which it was paid in full."),
    ),
    "payments": (
        ("payment_id", "id", "", "", "creation", "The payment's number."),
        ("invoice_id", "id", "", "always", "creation", "The invoice that is paid, in full or in part."),
        ("paid_on", "day", "", "always", "creation", "Day of the payment."),
        (
            "amount",
            "money",
            "currency",
            "always",
            "creation",
            "What was paid, in the invoice's currency, and with tax if the invoice's amount is.",
        ),
    ),
    "quotas": (
        ("scope", "text", "", "always", "creation", "rep:<id>, team:<name> or company."),
        ("metric", "text", "", "always", "creation", "Name of the metric."),
        ("period", "text", "", "always", "creation", "Period as written; the calendar reads it."),
        ("target", "number", "unit of the metric", "always", "creation", "The quota."),
        ("set", "text", "", "", "creation", "Name of a candidate set of quotas."),
    ),
    "rates": (
        ("currency", "text", "ISO 4217", "always", "creation", "Currency that is converted."),
        ("valid_from", "day", "", "always", "creation", "First day of this rate."),
        ("rate", "number", "planning currency per unit", "always", "creation", "Rate."),
    ),
}

_CHOICES = {
    ("opportunities", "status"): ("open", "won", "lost"),
    ("opportunities", "type"): ("new", "renewal", "expansion"),
    ("leads", "status"): ("open", "converted", "disqualified"),
}

#: The schema: every column of every canonical table.
COLUMNS: tuple[Column, ...] = tuple(
    Column(table, *row, choices=_CHOICES.get((table, row[0]), ()))
    for table, rows in _ROWS.items()
    for row in rows
)

#: Names of the canonical tables, in the order in which they are documented.
TABLES: tuple[str, ...] = tuple(_ROWS)

#: Tables that refine another one: without them nothing is missing, and data are what they were.
REFINING = ("payments",)

#: The day on which a row of a table came into being; quotas are decided beforehand and carry none.
BORN = {
    "opportunities": "created_on",
    "stages": "entered_on",
    "leads": "created_on",
    "activities": "done_on",
    "reps": "from",
    "invoices": "issued_on",
    "payments": "paid_on",
    "rates": "valid_from",
}

#: The columns whose values together must not repeat; first the one by which a row is named.
KEYS = {
    "opportunities": ("opportunity_id",),
    "stages": ("opportunity_id", "stage", "entered_on", "amount", "expected_close_on", "rep_id"),
    "leads": ("lead_id",),
    "activities": ("activity_id",),
    "reps": ("rep_id", "from"),
    "invoices": ("invoice_id",),
    "payments": ("payment_id",),
    "quotas": ("scope", "metric", "period", "set"),
    "rates": ("currency", "valid_from"),
}

#: Columns of opportunities of which the stages table tells how they stood.
HISTORIES = ("stage", "amount", "expected_close_on", "rep_id")


def columns(table: str) -> tuple[Column, ...]:
    """Return the columns of one canonical table.

    Raises
    ------
    DataError
        Where there is no such table.
    """
    found = tuple(c for c in COLUMNS if c.table == table)
    if not found:
        raise DataError(f"table {table!r} arrived; the canonical tables are {', '.join(TABLES)}")
    return found


def names(table: str) -> tuple[str, ...]:
    """Return the column names of one canonical table."""
    return tuple(c.name for c in columns(table))


def required(table: str) -> tuple[str, ...]:
    """Return the names of the columns that a table cannot do without."""
    return tuple(c.name for c in columns(table) if c.required)


_REQUIRED_WORDS = {"always": "yes", "closed": "unless open", "won": "of won deals", "": "no"}
_KNOWN_WORDS = {"creation": "at creation", "closing": "at closing", "events": "from events"}


def markdown(table: str) -> str:
    """Return the documentation of one table as a Markdown table."""
    lines = ["| column | type | unit | required | known | meaning |", "|---|---|---|---|---|---|"]
    for c in columns(table):
        kind = " / ".join(c.choices) if c.choices else c.kind
        lines.append(
            f"| {c.name} | {kind} | {c.unit} | {_REQUIRED_WORDS[c.required]} "
            f"| {_KNOWN_WORDS[c.known]} | {c.meaning} |"
        )
    return "\n".join(lines) + "\n"


_JSON_TYPES: dict[str, dict[str, Any]] = {
    "id": {"type": "string"},
    "text": {"type": "string"},
    "choice": {"type": "string"},
    "day": {"type": "string", "format": "date"},
    "money": {"type": "number"},
    "number": {"type": "number"},
}


def _property(c: Column) -> dict[str, Any]:
    shape = dict(_JSON_TYPES[c.kind])
    if c.required != "always":
        shape["type"] = [shape["type"], "null"]
    if c.choices:
        shape["enum"] = [*c.choices] if c.required == "always" else [*c.choices, None]
    return {**shape, "description": c.meaning, "x-unit": c.unit, "x-known": c.known}


def json_schema(table: str) -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of one row of a table."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": table,
        "type": "object",
        "properties": {c.name: _property(c) for c in columns(table)},
        "required": [c.name for c in columns(table) if c.required == "always"],
        "additionalProperties": True,
    }
