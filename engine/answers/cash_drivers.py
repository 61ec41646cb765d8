"""What the lines of cash are made of: simulated quantities, and the inputs that they are times.

A workbook can follow a changed input exactly where cash is proportional to it: planned payments, pay per
head, rates and shares. For each such item this tells the quantity (``base``) of every week and month, of the
mean and of the three single futures, and what it came to (``paid``). What a line holds beyond its items,
rounding included, is its item ``rest``, so that items add up to the simulated line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.answer import Answer, Field
from quotacast.engine.answers.cash import LINE_NAMES
from quotacast.engine.finance.account import Out, deducted
from quotacast.engine.finance.kernel import KINDS
from quotacast.engine.finance.kernel_close import BASES, LINES, MEASURES, PAYMENTS
from quotacast.engine.finance.ledger import CashPaths, Ledger
from quotacast.engine.finance.revenue import RevenuePaths
from quotacast.engine.finance.schedule import Ints, add_months
from quotacast.models.holidays import holiday_days
from quotacast.models.terms import Floats
from quotacast.models.timegrid import as_date

FIELDS = (
    Field("path", "text", "mean, p10, p50 or p90; all: the same in every future"),
    Field("kind", "text", "week or month"),
    Field("period", "text", "week or month"),
    Field("line", "text", "line of cash"),
    Field("item", "text", "what of it: out.1, out_vat.1, variable.1, commission, reps, hires, vat, ..."),
    Field("month", "text", "of reps: the month for which they are paid"),
    Field("base", "score", "quantity that the input is times: payments, heads, amounts without VAT"),
    Field("fixed", "score", "of parts of receipts: the part that value-added tax does not change"),
    Field("paid", "money", "what it came to; payments are below zero"),
)
DATES = (
    Field("out", "count", "number of the payment in the plan"),
    Field("number", "count", "how many came before"),
    Field("due", "date", "as the plan says"),
    Field("paid", "date", "the working day; empty after `until`"),
    Field("settled", "date", "on which its value-added tax comes back"),
)
#: Months from one payment to the next.
STEPS = {"month": 1, "quarter": 3, "year": 12}
#: How long before the as-of date payments may lie whose value-added tax is settled after it.
BACK_WEEKS, BACK_MONTHS = 34, 8
#: A rest below this, in currency units, is nothing.
_NOTHING = 5e-5


class _Cut:
    """One view of the futures: their mean, or a single one."""

    def __init__(self, name: str, draw: int | None) -> None:
        self.name, self.draw = name, draw

    def __call__(self, cents: Any) -> Any:
        """Of an array whose first axis are the futures, or that is one row for all, in currency units."""
        rows = np.asarray(cents)
        if self.draw is None or len(rows) == 1:
            return rows.mean(axis=0) / 100
        return rows[self.draw] / 100


def cash_drivers(
    ledger: Ledger,
    paths: CashPaths,
    chain: RevenuePaths,
    draws: Mapping[str, int],
    provenance: Mapping[str, Any],
) -> Answer:
    """Items of all lines of cash; the table ``dates`` of planned payments stands beside.

    Parameters
    ----------
    chain : RevenuePaths
        Of the same futures.
    draws : mapping of str to int
        Number of the future behind each path.
    """
    items = _Items(ledger, paths, chain)
    rows = [row for s in range(len(paths.spans)) for row in items.planned(s)]
    for name, draw in {"mean": None, **draws}.items():
        rows += [row for s in range(len(paths.spans)) for row in items.simulated(s, _Cut(name, draw))]
    table = pd.DataFrame(rows, columns=[f.name for f in FIELDS])
    table = _without_nothing(table)
    summary = {
        "spans": [{"kind": p.kind, "period": p.label, "first": p.first, "last": p.last} for p in paths.spans],
        "taxed_receipts": items.taxed,
        "invoices_hold_tax": not (ledger.tax_on_top or ledger.presumed),
    }
    words = "What the lines of cash are made of: simulated quantities, and the inputs that they are times."
    return Answer(
        "drivers", table, FIELDS, words, summary, provenance, beside={"dates": payment_dates(ledger)}
    )


def _without_nothing(table: pd.DataFrame) -> pd.DataFrame:
    """The rests of lines that have none are left out."""
    rest = table["item"] == "rest"
    most = table[rest].groupby(["kind", "line"])["paid"].apply(lambda x: float(x.abs().max()))
    none = {key for key, value in most.items() if value < _NOTHING}
    keys = list(zip(table["kind"], table["line"], strict=True))
    drop = rest & np.array([key in none for key in keys], dtype=bool)
    return table[~drop].reset_index(drop=True)


class _Items:
    """The items of a run, span by span."""

    def __init__(self, ledger: Ledger, paths: CashPaths, chain: RevenuePaths) -> None:
        self.ledger, self.paths = ledger, paths
        self.vat = float(ledger.account.vat)
        first = ledger.days.first
        self.edges = [(_number(p.first) - first, _number(p.last) - first) for p in paths.spans]
        on_top = ledger.tax_on_top > 0 or ledger.presumed
        self.taxed = [n for n in ("invoices", *KINDS) if self.vat and (n != "invoices" or on_top)]
        self.totals = _month_totals(ledger, paths, chain)

    def planned(self, s: int) -> Iterator[dict[str, Any]]:
        """Payments of the plan, the same in every future."""
        low, high = self.edges[s]
        days, account = self.ledger.days, self.ledger.account
        for k, out in enumerate(account.outs, 1):
            when = days.next_working(out.days(days.first + days.days - 1))
            cents = round(100.0 * out.amount)
            count = int(((when >= low) & (when <= high)).sum())
            yield self._row("all", s, out.kind, f"out.{k}", base=count, paid=-cents * count / 100)
            back = days.vat_day(when + days.first, account) if when.size else when
            count = int(((back >= low) & (back <= high)).sum())
            paid = deducted(out, cents) * count / 100
            yield self._row("all", s, "vat", f"out_vat.{k}", base=count, paid=paid)

    def simulated(self, s: int, cut: _Cut) -> Iterator[dict[str, Any]]:
        """Everything else, with what is left of every line."""
        left = {name: float(cut(self.paths.lines[:, s, LINES.index(name)])) for name in PAYMENTS}
        for row in self.planned(s):
            left[row["line"]] -= row["paid"]
        for make in (self._reps, self._commission, self._variables, self._tax):
            for row in make(s, cut, left):
                left[row["line"]] -= row["paid"]
                yield row
        yield from self._receipts(s, cut)
        for name, value in left.items():
            yield self._row(cut.name, s, name, "rest", paid=value)

    def _row(self, path: str, s: int, line: str, item: str, **more: Any) -> dict[str, Any]:
        span = self.paths.spans[s]
        head = {"path": path, "kind": span.kind, "period": span.label, "line": line, "item": item}
        return {**head, "month": "", "base": None, "fixed": None, "paid": 0.0, **more}

    def _receipts(self, s: int, cut: _Cut) -> Iterator[dict[str, Any]]:
        for name in self.taxed:
            value = float(cut(self.paths.lines[:, s, LINES.index(name)]))
            line = LINE_NAMES[name]
            yield self._row(cut.name, s, line, "receipts", base=value / (1 + self.vat), paid=value)

    def _reps(self, s: int, cut: _Cut, left: Mapping[str, float]) -> Iterator[dict[str, Any]]:
        costs, ledger = self.ledger.costs, self.ledger
        if costs is None or costs.rep_month <= 0:
            return
        joiners = np.broadcast_to(ledger.joiners, (len(ledger.joiners), len(ledger.months)))
        hiring = 0.0
        for m in self._within(ledger.paid.payday, s):
            joined = 100 * float(cut(joiners)[m])
            pay = float(cut(ledger.payroll)[m]) - costs.hire * joined
            head = {"month": ledger.months[m].label, "base": pay / costs.rep_month, "paid": -pay}
            yield self._row(cut.name, s, "payroll", "reps", **head)
            hiring += joined
        yield self._row(cut.name, s, "payroll", "hires", base=hiring, paid=-costs.hire * hiring)

    def _within(self, day: Ints, s: int) -> list[int]:
        low, high = self.edges[s]
        return [int(m) for m in np.flatnonzero((day >= low) & (day <= high))]

    def _commission(self, s: int, cut: _Cut, left: Mapping[str, float]) -> Iterator[dict[str, Any]]:
        rate = 0.0 if self.ledger.costs is None else self.ledger.costs.commission
        if rate > 0:
            paid = left["commission"]
            yield self._row(cut.name, s, "commission", "commission", base=-paid / rate, paid=paid)

    def _variables(self, s: int, cut: _Cut, left: Mapping[str, float]) -> Iterator[dict[str, Any]]:
        for v, one in enumerate(self.ledger.account.variable):
            base, fixed, paid = 0.0, 0.0, 0.0
            for m in self._within(self.ledger.paid.day[v], s):
                total, still = self.totals[one.of]
                base += float(cut(total)[m] - cut(still)[m])
                fixed += float(cut(still)[m])
                paid -= float(cut(np.floor(one.share * total + 0.5))[m])
            if one.share > 0:  # what its cents, rounded in every future, are a share of
                base = -paid / one.share - fixed
            if one.of == "receipts" and self.taxed:
                base /= 1 + self.vat
            else:
                base, fixed = base + fixed, 0.0
            yield self._row(
                cut.name, s, one.kind, f"variable.{v + 1}", base=base, fixed=fixed, paid=paid
            )  # fmt: skip

    def _tax(self, s: int, cut: _Cut, left: Mapping[str, float]) -> Iterator[dict[str, Any]]:
        if not self.vat:
            return
        low, high = self.edges[s]
        past = float(self.ledger.past_tax[low : high + 1].sum()) / 100
        if self.ledger.tax_on_top or self.ledger.presumed:
            past = 0.0
        else:
            gross = -past * (1 + self.vat) / self.vat
            yield self._row(cut.name, s, "vat", "past_vat", base=gross, paid=past)
        paid = left["vat"] - past
        yield self._row(cut.name, s, "vat", "vat", base=-paid / self.vat, paid=paid)


def _number(day: Any) -> int:
    return int(np.datetime64(day, "D").astype(np.int64))


def _month_totals(ledger: Ledger, paths: CashPaths, chain: RevenuePaths) -> dict[str, tuple[Floats, Floats]]:
    """Cents of bookings, billings and receipts by month of the ledger, and what of them VAT leaves as it is.

    Both of shape (1 or futures, months).
    """
    labels = [m.label for m in ledger.months]
    known = ledger.paid.known.astype(float)
    place = {m.label: i for i, m in enumerate(chain.months)}
    found: dict[str, tuple[Floats, Floats]] = {}
    for base, name in enumerate(BASES[:2]):
        at = MEASURES.index(name)
        total = np.zeros((paths.draws, len(labels)))
        for m, label in enumerate(labels):
            if label in place:
                own = chain.paths[:, at, :, place[label]]
                # what renews is not among the wins that count as bookings
                kinds = [k for k, kind in enumerate(KINDS) if name != "bookings" or kind != "renewal"]
                total[:, m] = own[:, kinds].sum(axis=1) + chain.signed[at, place[label]]
        found[name] = (total + known[base], np.zeros((1, len(labels))))
    total, fixed = np.zeros((paths.draws, len(labels))), np.zeros((paths.draws, len(labels)))
    taxed = ledger.tax_on_top > 0 or ledger.presumed
    for s, span in enumerate(paths.spans):
        if span.kind == "month" and span.label in labels:
            m = labels.index(span.label)
            total[:, m] = paths.lines[:, s, : len(LINE_NAMES)].sum(axis=1)
            fixed[:, m] = 0 if taxed else paths.lines[:, s, 0]
    found["receipts"] = (total + known[2], fixed + known[2])
    return found


def payment_dates(ledger: Ledger) -> Answer:
    """Days of the planned payments: as many as a weekly one has, so that a workbook can count on anew."""
    days, account = ledger.days, ledger.account
    most = -(-days.days // 7) + BACK_WEEKS + 3
    rows = [row for k, out in enumerate(account.outs, 1) for row in _dates(k, out, ledger, most)]
    table = pd.DataFrame(rows, columns=[f.name for f in DATES], dtype=object)
    free = holiday_days(days.calendar.holidays, days.first - 60, days.first + days.days + 430)
    summary = {
        "holidays": [as_date(int(d)) for d in free],
        "names": [out.name for out in account.outs],
        "every": [out.every or "" for out in account.outs],
        "count": most,
        "last": as_date(days.first + days.days - 1),
        "back": {"weeks": BACK_WEEKS, "months": BACK_MONTHS},
    }
    return Answer("dates", table, DATES, "Days of the planned payments.", summary)


def first_number(out: Out, today: int) -> int:
    """How many payments are left out: those so long ago that their tax is settled, too."""
    on = _number(out.on)
    if out.every is None:
        return 0
    if out.every == "week":
        return max((today - on) // 7 - BACK_WEEKS, 0)
    months = np.array([today, on]).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    return max((int(months[0] - months[1]) - BACK_MONTHS) // STEPS[out.every], 0)


def _dates(k: int, out: Out, ledger: Ledger, most: int) -> Iterator[dict[str, Any]]:
    days, start = ledger.days, first_number(out, ledger.today)
    dated: Callable[[int], int] = (
        (lambda n: _number(out.on) + 7 * n)
        if out.every == "week"
        else (lambda n: int(add_months(np.array([_number(out.on)]), STEPS.get(out.every or "", 0) * n)[0]))
    )
    for number in range(start, start + most):
        row: dict[str, Any] = {"out": k, "number": number, "due": None, "paid": None, "settled": None}
        due = dated(number)
        if (out.every is not None or number == 0) and due < days.first + days.days:
            row["due"] = as_date(due)
            if out.until is None or due <= _number(out.until):
                paid = int(days.next_working(np.array([due]))[0]) + days.first
                row["paid"] = as_date(paid)
                back = days.vat_day(np.array([paid]), ledger.account)
                row["settled"] = as_date(int(back[0]) + days.first)
        yield row


def heads(drivers: Answer) -> Sequence[tuple[str, float]]:
    """Reps paid for by month, on average; none where the plan states no cost of them."""
    rows = drivers.rows
    mine = rows[(rows["item"] == "reps") & (rows["path"] == "mean") & (rows["kind"] == "month")]
    return [(str(m), float(b)) for m, b in zip(mine["month"], mine["base"], strict=True)]
