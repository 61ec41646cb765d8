"""What was knowable on the evening of a day.

The cut follows the schema's ``known``: rows born later are gone; what is known at closing is gone from
rows that had not closed; what comes from events is taken from the stage history as it stood, and where
there is none it is emptied for rows whose state changed later. Status and closing day are rebuilt, so
that a deal that was reopened later counts as won or lost in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd

from quotacast.errors import DataError
from quotacast.models.history import money, schema
from quotacast.models.history.history import Finding, History

_EXAMPLES = 5
#: A stage label means won (lost) where at least this share of the deals that close in it are.
_SHARE = 0.95


def as_of(history: History, day: date, *, strict: bool = False) -> History:
    """Return the history as it was knowable on the evening of ``day``.

    Parameters
    ----------
    history : History
    day : datetime.date
        Not later than ``history.as_of_date``.
    strict : bool
        Empty values without a history for every deal that was open then, not only for those that
        changed state later. The default keeps the open pipeline's amounts; but which of them are
        missing then tells who closed later, so a study that uses missingness must be strict.

    Returns
    -------
    History
        ``blanked`` names what was emptied; a finding of action ``changed`` counts each.

    Raises
    ------
    DataError
        Where ``day`` lies after the history's own as-of date.
    """
    if day > history.as_of_date:
        raise DataError(
            f"as of {day}: the history ends on {history.as_of_date}; ask for that day or an earlier one"
        )
    if day == history.as_of_date and not strict:
        return history
    cut = pd.Timestamp(day)
    deals, found = _opportunities(history, cut, strict)
    gone = set(history.opportunities["opportunity_id"]) - set(deals["opportunity_id"])
    tables, trimmed = trim({**history.tables, "opportunities": deals}, cut)
    tables, unlinked = _unlink(tables, gone, cut)
    tables["reps"], of_reps = _reps(tables, cut)
    tables["rates"], of_rates = _born(tables["rates"], "rates", cut)
    found = [*found, *trimmed, *unlinked, *of_reps, *of_rates]
    blanked = {f"{f.table}.{f.rule.split(' ')[0]}" for f in found if f.rule.endswith(_BLANKED)}
    return replace(
        history,
        tables=tables,
        as_of_date=day,
        findings=(*history.findings, *found),
        blanked=tuple(sorted({*history.blanked, *blanked})),
    )


_BLANKED = "not knowable then"


def _blank_finding(table: str, column: str, ids: pd.Series, mask: np.ndarray, cut: pd.Timestamp) -> Finding:
    meaning = (
        f"The export holds the last state; as of {cut.date()} it was not known and is emptied or rebuilt."
    )
    return Finding(f"{column} {_BLANKED}", table, int(mask.sum()), _examples(ids[mask]), "changed", meaning)


def _examples(ids: pd.Series) -> tuple[str, ...]:
    return tuple(str(i)[:80] for i in ids.dropna().drop_duplicates()[:_EXAMPLES])


def _born(frame: pd.DataFrame, table: str, cut: pd.Timestamp) -> tuple[pd.DataFrame, list[Finding]]:
    """Rows that existed by the cut; those without a birthday stay."""
    late = (frame[schema.BORN[table]] > cut).to_numpy()
    if not late.any():
        return frame, []
    meaning = f"Dated after {cut.date()}, the as-of date: not used."
    ids = _examples(frame[schema.KEYS[table][0]][late])
    found = Finding("after the as-of date", table, int(late.sum()), ids, "set aside", meaning)
    return frame[~late].reset_index(drop=True), [found]


def trim(
    tables: Mapping[str, pd.DataFrame], cut: pd.Timestamp
) -> tuple[dict[str, pd.DataFrame], list[Finding]]:
    """Cut stages, leads, activities, invoices and payments to a day; other tables are left alone."""
    out = dict(tables)
    found: list[Finding] = []
    for table in ("stages", "leads", "activities", "invoices", "payments"):
        out[table], late = _born(out[table], table, cut)
        found += late
    for table, closing in (("leads", "closed_on"), ("invoices", "paid_on")):
        later = (out[table][closing] > cut).to_numpy()
        out[table], blanked = _reopen(out[table], table, later, cut)
        found += blanked
    return out, found


def _reopen(
    frame: pd.DataFrame, table: str, later: np.ndarray, cut: pd.Timestamp
) -> tuple[pd.DataFrame, list[Finding]]:
    """Empty what is known at closing of rows that closed after the cut; their status is open."""
    found = []
    if "status" in frame.columns and later.any():
        found.append(_blank_finding(table, "status", frame[schema.KEYS[table][0]], later, cut))
        frame = frame.assign(status=frame["status"].where(~later, "open"))
    unknown = [c.name for c in schema.columns(table) if c.known == "closing" and c.name != "status"]
    frame, blanked = _emptied(frame, table, dict.fromkeys(unknown, later), cut)
    return frame, [*found, *blanked]


def _emptied(
    frame: pd.DataFrame, table: str, masks: Mapping[str, np.ndarray], cut: pd.Timestamp
) -> tuple[pd.DataFrame, list[Finding]]:
    """Empty columns under their masks, and say which had something to empty."""
    found = []
    for name, mask in masks.items():
        hit = mask & frame[name].notna().to_numpy()
        if hit.any():
            found.append(_blank_finding(table, name, frame[schema.KEYS[table][0]], hit, cut))
            frame = frame.assign(**{name: _blank(frame[name], hit)})
    return frame, found


def _blank(values: pd.Series, mask: np.ndarray) -> pd.Series:
    return values.where(~mask, None) if values.dtype == object else values.mask(mask)


def _unlink(
    tables: Mapping[str, pd.DataFrame], gone: set[str], cut: pd.Timestamp
) -> tuple[dict[str, pd.DataFrame], list[Finding]]:
    """Links to deals and leads that did not exist yet betray that they would come."""
    out = dict(tables)
    found: list[Finding] = []
    leads = set(out["leads"]["lead_id"])
    for table in ("leads", "activities", "invoices"):
        masks = {"opportunity_id": out[table]["opportunity_id"].isin(gone).to_numpy()}
        if table == "activities" and leads:
            masks["lead_id"] = ~out[table]["lead_id"].isin(leads).to_numpy()
        out[table], blanked = _emptied(out[table], table, masks, cut)
        found += blanked
    return out, found


def _reps(tables: Mapping[str, pd.DataFrame], cut: pd.Timestamp) -> tuple[pd.DataFrame, list[Finding]]:
    """Spells that had begun, of reps who had been hired or already own rows; departures to come are gone."""
    reps, found = _born(tables["reps"], "reps", cut)
    busy = pd.concat([tables[t]["rep_id"] for t in ("opportunities", "leads", "activities")]).unique()
    to_come = (reps["hired_on"] > cut).to_numpy()
    drop = to_come & ~reps["rep_id"].isin(busy).to_numpy()
    if drop.any():
        meaning = f"Hired after {cut.date()}, the as-of date: not used."
        ids = _examples(reps["rep_id"][drop])
        found.append(
            Finding("hired after the as-of date", "reps", int(drop.sum()), ids, "set aside", meaning)
        )
    masks = {"hired_on": to_come & ~drop, "left_on": (reps["left_on"] > cut).to_numpy() & ~drop}
    reps, blanked = _emptied(reps, "reps", masks, cut)
    return reps[~drop].reset_index(drop=True), [*found, *blanked]


def _opportunities(history: History, cut: pd.Timestamp, strict: bool) -> tuple[pd.DataFrame, list[Finding]]:
    """Deals that existed, in the state in which they stood."""
    deals, found = _born(history.opportunities, "opportunities", cut)
    past = _Standing(deals, history.stages, cut, history.closing_stages)
    status, closed_on = past.state()
    moved = (status != deals["status"].to_numpy()) | ~_same(closed_on, deals["closed_on"])
    is_open = status == "open"
    out = deals.assign(status=status, closed_on=closed_on)
    ids = deals["opportunity_id"]
    if moved.any():
        found += [_blank_finding("opportunities", c, ids, moved, cut) for c in ("status", "closed_on")]
    out = _reconverted(out, history, is_open & ~moved, cut)
    replayed = is_open | past.goes_on | moved
    for column in schema.columns("opportunities"):
        if column.name in schema.HISTORIES:
            known, values = past.last(column.name)
            known &= replayed
            out[column.name] = out[column.name].where(~known, values)
        else:
            known = np.zeros(len(out), dtype=bool)
        if column.known == "creation" or column.name in ("status", "closed_on"):
            continue
        unknown = ((is_open if strict else is_open & moved) | (moved & ~is_open)) & ~known
        if column.name == "amount":
            # What a won deal was booked at was known when it was won, whatever happened to it later.
            unknown &= status != "won"
        out, blanked = _emptied(out, "opportunities", {column.name: unknown}, cut)
        found += blanked
    for lost in [c for c in out.columns if c not in schema.names("opportunities")]:
        out, blanked = _emptied(out, "opportunities", {lost: is_open if strict else moved}, cut)
        found += blanked
    return _without_amount(out, found)


def _same(days: pd.Series, others: pd.Series) -> np.ndarray:
    return ((days == others) | (days.isna() & others.isna())).to_numpy()


def _without_amount(deals: pd.DataFrame, found: list[Finding]) -> tuple[pd.DataFrame, list[Finding]]:
    """A deal that was won then but whose amount nobody kept cannot be booked."""
    lost = ((deals["status"] == "won") & deals["amount"].isna()).to_numpy()
    if lost.any():
        meaning = (
            "Won then and reopened later; the amount of that day is not on record, so they are left out."
        )
        ids = _examples(deals["opportunity_id"][lost])
        found.append(
            Finding("won without amount", "opportunities", int(lost.sum()), ids, "set aside", meaning)
        )
    return deals[~lost].reset_index(drop=True), found


def _reconverted(
    deals: pd.DataFrame, history: History, still_open: np.ndarray, cut: pd.Timestamp
) -> pd.DataFrame:
    """Open amounts were converted at the last rate; on the day of the cut another one held."""
    if history.rates.empty or not still_open.any():
        return deals
    code = deals["currency"]
    then = pd.Series(cut, index=deals.index)
    last = pd.Series(pd.Timestamp(history.as_of_date), index=deals.index)
    now = money.factors(code, last, history.rates, history.currency)
    ratio = np.where(still_open, money.factors(code, then, history.rates, history.currency) / now, 1.0)
    return deals.assign(**{c: deals[c] * ratio for c in ("amount", "cost")})


class _Standing:
    """How deals stood at a cut, by the stage history."""

    def __init__(
        self, deals: pd.DataFrame, stages: pd.DataFrame, cut: pd.Timestamp, labels: Mapping[str, str]
    ) -> None:
        self.deals, self.cut = deals, cut
        rows = stages.assign(_means=stages["stage"].map(dict(labels)).astype(object))
        self.before = rows[rows["entered_on"] <= cut]
        self.after = rows[rows["entered_on"] > cut]
        self.goes_on = deals["opportunity_id"].isin(set(self.after["opportunity_id"])).to_numpy()

    def last(self, column: str) -> tuple[np.ndarray, pd.Series]:
        """Return the last known value of a stage column by deal, and where there is one."""
        known = self.before.dropna(subset=[column]).drop_duplicates("opportunity_id", keep="last")
        values = known.set_index("opportunity_id")[column]
        out = pd.Series(self.deals["opportunity_id"].map(values).to_numpy(), index=self.deals.index)
        out = out.astype(self.deals[column].dtype)
        return out.notna().to_numpy(), out

    def state(self) -> tuple[np.ndarray, pd.Series]:
        """Return status and closing day.

        The final closing counts from its ``closed_on``. The history adds what the export has
        forgotten: closings that were undone later, and the time between such a closing and the next.
        """
        final = (self.deals["closed_on"] <= self.cut).to_numpy()
        closed_on = self.deals["closed_on"].where(final, pd.NaT)
        status = np.where(final, self.deals["status"].to_numpy(object), "open").astype(object)
        then, entered = self._then()
        closed = self.before[self.before["_means"].notna()]
        undone = self._undone(then)
        before = self._has(closed)
        again = self._has(self.after[self.after["_means"].notna()])
        open_again = pd.isna(then) & before & again
        keep = final & (then == status)
        status = np.where(undone, then, np.where(open_again, "open", status)).astype(object)
        closed_on = closed_on.where(~(undone & ~keep), entered).where(~open_again, pd.NaT)
        return status, closed_on

    def _has(self, rows: pd.DataFrame) -> np.ndarray:
        return self.deals["opportunity_id"].isin(set(rows["opportunity_id"])).to_numpy()

    def _then(self) -> tuple[np.ndarray, pd.Series]:
        """Return what the last stage by the cut means (won, lost or None), and when it was entered."""
        last = self.before.drop_duplicates("opportunity_id", keep="last").set_index("opportunity_id")
        ids = self.deals["opportunity_id"]
        means = ids.map(last["_means"]).astype(object).to_numpy()
        return means, pd.to_datetime(ids.map(last["entered_on"]))

    def _undone(self, then: np.ndarray) -> np.ndarray:
        """Deals that stood closed and whose history goes on to anything but the same closing."""
        means = dict(zip(self.deals["opportunity_id"], then, strict=True))
        now = self.after["opportunity_id"].map(means).astype(object)
        other = self.after[now.notna() & (self.after["_means"].isna() | (self.after["_means"] != now))]
        return self._has(other)


def learn_closing_stages(deals: pd.DataFrame, stages: pd.DataFrame) -> dict[str, str]:
    """Return which stage labels mean won or lost, from the stages in which deals closed.

    A label qualifies where 95 % of the deals that end in it (or enter it on their closing day) share
    one outcome, and where most of its entries are such ends. ``open`` is never learned.
    """
    if stages.empty:
        return {}
    rows = stages[["opportunity_id", "stage", "entered_on"]].merge(
        deals[["opportunity_id", "status", "closed_on"]], on="opportunity_id"
    )
    last = ~rows.duplicated("opportunity_id", keep="last")
    ends = rows[(last | (rows["entered_on"] == rows["closed_on"]))]
    share = pd.crosstab(ends["stage"], ends["status"], normalize="index")
    entered = rows.groupby("stage").size()
    mostly = ends.groupby("stage").size() / entered >= 0.5
    labels = {}
    for outcome in ("won", "lost"):
        if outcome in share.columns:
            sure = share.index[(share[outcome] >= _SHARE) & mostly.reindex(share.index)]
            labels.update(dict.fromkeys(map(str, sure), outcome))
    return dict(sorted(labels.items()))
