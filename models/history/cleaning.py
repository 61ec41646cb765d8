"""The cleaning rules: what each looks for, what it does about it, and what that means.

Every rule goes through a `ledger.Cleaning`, which keeps the count and a few ids; a rejected row always
lands in the table of rejected rows. Rules are listed in :data:`RULES` in the order in which they run;
rules that only look, and never touch a row, are in `suspicions`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date

import numpy as np
import pandas as pd

from quotacast.models.history import cleaning_invoices, cleaning_payments, money, schema, spelling
from quotacast.models.history.ledger import EXAMPLES, ROW, Cleaning
from quotacast.models.history.schema import NONE


def clean(work: Cleaning) -> None:
    """Run every rule, in order."""
    for rule in RULES:
        rule(work)


def _missing_values(work: Cleaning) -> None:
    for table in schema.TABLES:
        for column in schema.columns(table):
            frame = work[table]
            absent = frame[column.name].isna().to_numpy()
            if column.required == "always":
                what = f"{column.name} missing"
                work.reject("missing value", table, absent, what, f"Rows without {column.name} mean nothing.")
            elif column.required == "closed":
                closed = (frame["status"] != "open").to_numpy()
                words = "closed without a closing day"
                work.reject(
                    words, table, absent & closed, frame["status"] + f" without {column.name}",
                    "The day of closing is unknown, so these rows count in no period.",
                )  # fmt: skip


def _open_with_closing(work: Cleaning) -> None:
    for table in ("opportunities", "leads"):
        frame = work[table]
        odd = ((frame["status"] == "open") & frame["closed_on"].notna()).to_numpy()
        meaning = (
            "Open rows have not closed; the day was removed (an expected day belongs in expected_close_on)."
        )
        if work.report("open with a closing day", table, odd, "changed", meaning):
            work.put(table, "closed_on", frame["closed_on"].mask(odd))


def _duplicates(work: Cleaning) -> None:
    for table, keys in schema.KEYS.items():
        frame = work[table]
        # Activities need no id, and rows without one are not each other's copies.
        named = frame[keys[0]].notna()
        twice = frame[frame.duplicated(list(keys), keep=False) & named]
        if twice.empty:
            continue
        kept, reason = _choose(twice, table, list(keys))
        again = frame.index.isin(twice.index.difference(kept))
        meaning = "An id must be unique; of each the row in the furthest state was kept."
        work.reject("duplicate ids", table, again, reason.reindex(frame.index), meaning)


def _choose(twice: pd.DataFrame, table: str, keys: list[str]) -> tuple[pd.Index, pd.Series]:
    """Of rows that share a key, choose the one in the furthest state, whatever their order in the file."""
    names = list(schema.names(table))
    text = twice[names].astype(object).where(twice[names].notna(), "").astype(str)
    # ISO days sort as text, and a missing one comes last: closed before open, later before earlier.
    first = [c for c in ("closed_on", "paid_on") if c in names]
    by = [*first, *[c for c in names if c not in first]]
    order = text.sort_values(by, ascending=False, kind="stable").index
    chosen = text.loc[order].drop_duplicates(keys)
    row = text[keys].merge(chosen[keys].assign(_kept=twice[ROW]), on=keys, how="left")["_kept"]
    copy = text.duplicated(names, keep=False).to_numpy()
    why = [f"{'exact copy of' if c else 'same id as'} row {int(r)}" for c, r in zip(copy, row, strict=True)]
    return chosen.index, pd.Series(why, index=twice.index, dtype=object)


def _closed_before_created(work: Cleaning) -> None:
    for table, first, last in (
        ("opportunities", "created_on", "closed_on"),
        ("leads", "created_on", "closed_on"),
        ("reps", "hired_on", "left_on"),
    ):
        frame = work[table]
        wrong = (frame[last] < frame[first]).to_numpy()
        reason = (
            last
            + " "
            + frame[last].dt.strftime("%Y-%m-%d")
            + f" is before {first} "
            + frame[first].dt.strftime("%Y-%m-%d")
        )
        meaning = "One of the two days is wrong, and nothing says which."
        work.reject("closed before created", table, wrong, reason, meaning)


_GAP_DAYS = 365
_ENOUGH = 50


def _future(work: Cleaning) -> None:
    """Reject closings and creations that lie years after everything else.

    Without a clock "the future" is what lies more than a year after the last of (nearly) all other
    days, and later than the as-of date where one was asked for.
    """
    frame = work["opportunities"]
    days = np.sort(
        np.concatenate([frame[c].dropna().to_numpy("datetime64[D]") for c in ("created_on", "closed_on")])
    )
    end = _end_before_gap(days)
    if end is None:
        return
    for column, word in (("created_on", "created"), ("closed_on", "closed")):
        frame = work["opportunities"]
        late = (frame[column] > pd.Timestamp(end)).to_numpy()
        reason = (
            f"{column} "
            + frame[column].dt.strftime("%Y-%m-%d")
            + f" is far after {end}, the last of the others"
        )
        meaning = f"More than a year after {end}, the last day of all other rows: a typing error."
        work.reject(f"{word} in the future", "opportunities", late, reason, meaning)


def _end_before_gap(days: np.ndarray) -> date | None:
    """Return the day before a long gap that only a stray few (0.5 %) of the days lie beyond."""
    if len(days) < _ENOUGH:
        return None
    strays = max(1, len(days) // 200)
    tail = days[-strays - 1 :]
    gaps = np.flatnonzero(np.diff(tail).astype("int64") > _GAP_DAYS)
    if not len(gaps):
        return None
    end: date = tail[gaps[0]].astype(object)
    return end


def _reps(work: Cleaning) -> None:
    """Unify spellings, then put (none) where no rep is named."""
    owners = ("opportunities", "stages", "leads", "activities")
    counts = pd.concat([work[t]["rep_id"] for t in owners]).dropna().value_counts()
    replace = spelling.unify({str(k): int(v) for k, v in counts.items()}, work["reps"])
    for table in owners:
        frame = work[table]
        wrong = frame["rep_id"].isin(list(replace)).to_numpy()
        pairs = ", ".join(f"{a!r} → {replace[a]!r}" for a in sorted(set(frame["rep_id"][wrong]))[:EXAMPLES])
        meaning = f"One rep under two spellings, or by name instead of id: {pairs}."
        if work.report("one rep under two spellings", table, wrong, "changed", meaning):
            work.put(table, "rep_id", frame["rep_id"].map(lambda r: replace.get(r, r)).astype(object))
    for table in ("opportunities", "leads", "activities"):
        frame = work[table]
        absent = frame["rep_id"].isna().to_numpy()
        if not absent.any():
            continue
        work.report("missing rep", table, absent, "changed", f"Without a rep; they belong to rep {NONE}.")
        work.put(table, "rep_id", frame["rep_id"].where(~absent, NONE))
    _scopes(work, replace)


def _scopes(work: Cleaning, replace: Mapping[str, str]) -> None:
    scope = work["quotas"]["scope"].astype(object)
    fixed = scope.map(
        lambda s: f"rep:{replace[s[4:]]}" if str(s).startswith("rep:") and s[4:] in replace else s
    )
    wrong = (fixed != scope).to_numpy()
    meaning = "Quotas of a rep under another spelling; they follow the rep."
    if work.report("one rep under two spellings", "quotas", wrong, "changed", meaning):
        work.put("quotas", "scope", fixed.astype(object))


def _negative(work: Cleaning) -> None:
    frame = work["opportunities"]
    negative = (frame["amount"] < 0).to_numpy()
    won = (frame["status"] == "won").to_numpy()
    if work.report("negative amount", "opportunities", negative & ~won, "changed", "Read as no amount."):
        work.put("opportunities", "amount", frame["amount"].mask(negative & ~won))
    meaning = "A deal's booked value cannot be below zero; credit notes belong in invoices."
    work.reject("negative amount", "opportunities", negative & won, "won with a negative amount", meaning)
    frame = work["activities"]
    meaning = "An activity is done or not; it cannot be done less than no times."
    work.reject("negative count", "activities", (frame["count"] < 0).to_numpy(), "count below zero", meaning)
    rates = work["rates"]
    meaning = "A rate is planning currency per unit, above zero."
    work.reject("impossible rate", "rates", (rates["rate"] <= 0).to_numpy(), "rate not above zero", meaning)
    nothing = (work["quotas"]["target"] <= 0).to_numpy()
    meaning = "Targets are above 0; many exports list whoever has no quota with 0. These are not judged."
    work.reject("quota of nothing", "quotas", nothing, "target not above zero", meaning)


def _counts(work: Cleaning) -> None:
    work.put("activities", "count", work["activities"]["count"].fillna(1.0))


def _margins(work: Cleaning) -> None:
    margin = work["opportunities"]["margin_pct"]
    above = (margin > 100).to_numpy()
    meaning = "A margin above 100 % of the amount; read as missing."
    if work.report("impossible margin", "opportunities", above, "changed", meaning):
        work.put("opportunities", "margin_pct", margin.mask(above))
    known = margin.dropna()
    if len(known) and known.abs().max() <= 1 and (known != 0).any():
        meaning = "margin_pct is percent (35 means 35 %), but no value exceeds 1: are these shares?"
        work.report("margins look like shares", "opportunities", margin.notna().to_numpy(), "kept", meaning)


def _won_without_amount(work: Cleaning) -> None:
    frame = work["opportunities"]
    won = (frame["status"] == "won").to_numpy()
    meaning = "Bookings would be wrong without their amounts, so these deals count nowhere."
    absent = frame["amount"].isna().to_numpy()
    work.reject("won without amount", "opportunities", won & absent, "won without amount", meaning)
    frame = work["opportunities"]
    zero = ((frame["status"] == "won") & (frame["amount"] == 0)).to_numpy()
    work.report("won with amount zero", "opportunities", zero, "kept", "Kept as deals that bring no money.")


def _orphans(work: Cleaning) -> None:
    """Rows that point at a deal or a lead which is not there (or was rejected)."""
    known = set(work["opportunities"]["opportunity_id"])
    stages = work["stages"]
    orphan = (~stages["opportunity_id"].isin(known)).to_numpy()
    meaning = "Their deal is not in the opportunities (or was rejected)."
    work.reject("unknown opportunity", "stages", orphan, "unknown opportunity_id", meaning)
    for table in ("leads", "activities", "invoices"):
        link = work[table]["opportunity_id"]
        orphan = (link.notna() & ~link.isin(known)).to_numpy()
        meaning = "Their deal is not in the opportunities (or was rejected); the link is kept."
        work.report("unknown opportunity", table, orphan, "kept", meaning)
    if len(work["leads"]):
        link = work["activities"]["lead_id"]
        orphan = (link.notna() & ~link.isin(set(work["leads"]["lead_id"]))).to_numpy()
        work.report(
            "unknown lead", "activities", orphan, "kept", "Their lead is not in the leads; the link is kept."
        )


def data_end(work: Cleaning) -> date | None:
    """Return the latest creation or closing of a deal."""
    frame = work["opportunities"]
    last = pd.concat([frame["created_on"], frame["closed_on"]]).max()
    return None if pd.isna(last) else last.date()


_CODE = r"[A-Z]{3}"


def _currencies(work: Cleaning) -> None:
    """Convert amounts to the planning currency; what cannot be converted is rejected."""
    for table in ("opportunities", "invoices", "rates"):
        work.put(table, "currency", work[table]["currency"].str.upper().astype(object))
    deals, invoices = work["opportunities"], work["invoices"]
    named = work.asked_currency or money.planning_currency(deals["currency"])
    work.currency = named or money.planning_currency(invoices["currency"])
    end = data_end(work)
    if end is None:
        return
    last = pd.Timestamp(max(end, work.asked_as_of or end))
    days = deals["closed_on"].fillna(last)
    _convert(work, "opportunities", days, ("amount", "cost"))
    cleaning_payments.convert(work)
    _convert(work, "invoices", invoices["issued_on"], ("amount",))
    _convert_stages(work)


def _convert(work: Cleaning, table: str, days: pd.Series, amounts: tuple[str, ...]) -> None:
    frame = work[table]
    factor = money.factors(frame["currency"], days, work["rates"], work.currency)
    needed = frame[list(amounts)].notna().any(axis=1).to_numpy()
    if (factor[~np.isnan(factor)] != 1).any():
        meaning = (
            f"Converted to {work.currency} at the rate of the day; the original is kept in amount_exported."
        )
        work.report(
            "converted currency", table, ~np.isnan(factor) & (factor != 1) & needed, "changed", meaning
        )
        frame = frame.assign(amount_exported=frame["amount"])
    for name in amounts:
        frame = frame.assign(**{name: frame[name] * factor})
    work.tables[table] = frame
    lost = np.isnan(factor) & needed
    reason = (
        "no rate from "
        + frame["currency"].fillna("")
        + f" to {work.currency} on "
        + days.dt.strftime("%Y-%m-%d")
    )
    odd = ~frame["currency"].str.fullmatch(_CODE).eq(True)
    reason = reason.mask(odd, "unknown currency " + frame["currency"].fillna("").astype(str))
    meaning = f"No rate to {work.currency} for these amounts on their day: add it to the table rates."
    work.reject("unknown currency", table, lost, reason, meaning)


def _convert_stages(work: Cleaning) -> None:
    stages, deals = work["stages"], work["opportunities"]
    code = stages["opportunity_id"].map(deals.set_index("opportunity_id")["currency"]).astype(object)
    factor = money.factors(code, stages["entered_on"], work["rates"], work.currency)
    lost = np.isnan(factor) & stages["amount"].notna().to_numpy()
    work.report("unknown currency", "stages", lost, "changed", "No rate on that day: read as no amount.")
    work.put("stages", "amount", stages["amount"] * factor)


#: Every rule that may touch a row, in the order in which they run.
RULES: tuple[Callable[[Cleaning], None], ...] = (
    _missing_values,
    _open_with_closing,
    _duplicates,
    _closed_before_created,
    _future,
    _reps,
    _counts,
    _negative,
    _margins,
    _won_without_amount,
    cleaning_invoices.dates,
    cleaning_invoices.amounts,
    cleaning_invoices.from_deals,
    cleaning_invoices.customers_differ,
    _currencies,
    _orphans,
    cleaning_payments.links,
    cleaning_payments.days,
    cleaning_payments.settled,
)
