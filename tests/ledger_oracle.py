"""A slow ledger in plain Python: one future, deal by deal, invoice by invoice, day by day.

It shares with the engine the random numbers (the names of its streams), the days on which an invoice is paid
(:func:`quotacast.engine.payments.payment_day`, which has tests of its own) and nothing else: dates come
from `dateutil`, sums from dictionaries, rounding from fractions.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

import numpy as np
from dateutil.relativedelta import relativedelta

from quotacast.engine.finance.currencies import currency_mix
from quotacast.engine.finance.ledger import Ledger
from quotacast.engine.payments import payment_day
from quotacast.engine.streams import GOLDEN, key, mix, unit

MASK = (1 << 64) - 1
TERM, LAG, RENEW = 0x9FB21C651E98DF25, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F
CLASS, NEVER = 0xE7037ED1A0B428DB, 0x8EBC6AF09C88C6E3
CURRENCY = 0x2545F4914F6CDD1D
PART, SHARE, REST, BAD = 0x1D8E4E27C47D124F, 0xEB44ACCAB455D165, 0x9E6C63D0876A9A47, 0xC2B2AE3D27D4EB4F


def mixed(x: int) -> int:
    return int(mix(np.uint64(x & MASK)))


def uniform(stream: int, draw: int) -> float:
    return float(unit(np.uint64(stream & MASK), np.uint64(draw)))


def half_up(x: Fraction | float) -> int:
    return math.floor(x + Fraction(1, 2)) if isinstance(x, Fraction) else math.floor(x + 0.5)


@dataclass
class Deal:
    """A deal signed in the future: as the plan's terms have it."""

    day: date
    cents: int
    margin: int
    kind: str
    months: int
    lag: int
    stream: int
    rep: str
    currency: str


@dataclass
class Books:
    """What one future comes to: lines by day, and the sums of the identities."""

    lines: dict[str, dict[date, int]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))
    billed: list[tuple[date, int, int, str, Deal | None]] = field(default_factory=list)
    written: int = 0
    owed: int = 0
    gained: int = 0

    def put(self, line: str, day: date, cents: int) -> None:
        self.lines[line][day] += cents


class SlowLedger:
    """One ledger, future by future."""

    def __init__(self, ledger: Ledger, dense: dict[str, np.ndarray]) -> None:
        self.ledger, self.dense = ledger, dense
        self.start = date(1970, 1, 1) + timedelta(days=ledger.days.first)
        self.last = self.start + timedelta(days=ledger.days.days - 1)

    def works(self, day: date) -> date:
        import holidays

        free = holidays.country_holidays("SE", categories=("public", "de_facto"))
        while day.weekday() >= 5 or day in free:
            day += timedelta(days=1)
        return day

    def number(self, day: date) -> int:
        return (day - self.start).days

    def deals(self, d: int) -> list[Deal]:
        """Every deal signed in a future, renewals among them."""
        ledger, found = self.ledger, []
        lengths, share = ledger.term_lengths
        margins = self.dense.get("margin_cents", np.zeros_like(self.dense["won"]))
        for r, rep in enumerate(ledger.reps):
            for c, kind in enumerate(("open", "new")):
                for t in range(ledger.days.days):
                    count = int(self.dense["won"][d, r, t, c])
                    cents = int(self.dense["won_cents"][d, r, t, c])
                    margin = int(margins[d, r, t, c])
                    if not count or not cents:
                        continue
                    row = int(key(ledger.seed, f"deal {kind}", rep))
                    cell = mixed(row + (t + 1) * int(GOLDEN))
                    for k in range(count):
                        own = mixed(cell ^ mixed(k + 1))
                        u = uniform(mixed(own ^ TERM), d)
                        months = lengths[next((i for i, s in enumerate(share) if s >= u), len(share) - 1)]
                        lag = int(ledger.lags[int(uniform(mixed(own ^ LAG), d) * ledger.lags.size)])
                        amount = (k + 1) * cents // count - k * cents // count
                        earns = (k + 1) * margin // count - k * margin // count
                        day = self.start + timedelta(days=t)
                        money = self.currency(uniform(mixed(own ^ CURRENCY), d), r, c)
                        found += self.chain(d, own, day, amount, earns, kind, months, lag, rep, money)
        which, days = ledger.ending
        for i, t in zip(which, days, strict=True):
            own = int(key(ledger.seed, "renewal", str(ledger.signed.ids[i])))
            day = self.start + timedelta(days=int(t))
            cents, margin = int(ledger.signed.cents[i]), int(ledger.signed.margin[i])
            months, rep = int(ledger.signed.months[i]), str(ledger.signed.rep[i])
            money = str(ledger.signed.currency[i] or "")
            found += self.chain(d, own, day, cents, margin, "renewal", months, 0, rep, money)
        return found

    def currency(self, u: float, r: int, c: int) -> str:
        """Currency of a deal to come: the first one whose cumulative share exceeds u."""
        ledger = self.ledger
        shares = currency_mix(ledger.history, ledger.reps, ledger.currencies)[r, c]
        return next((m for m, s in zip(ledger.currencies, shares, strict=True) if u < s), "")

    def chain(
        self, d: int, own: int, day: date, cents: int, margin: int, kind: str, months: int, lag: int, rep:
        str, currency: str,
    ) -> list[Deal]:  # fmt: skip
        """A deal, and what it is renewed as."""
        found: list[Deal] = []
        again = 0
        while day <= self.last:
            if kind == "renewal":
                again += 1
                if uniform(mixed(own ^ mixed(RENEW + again)), d) >= self.ledger.terms.renewal:
                    break
            stream = mixed(own ^ mixed(again))
            found.append(Deal(day, cents, margin, kind, months, lag, stream, rep, currency))
            if self.ledger.terms.renewal <= 0:
                break
            day, kind, lag = day + relativedelta(months=months), "renewal", 0
        return found

    def instalments(self, deal: Deal) -> list[tuple[int, date, int]]:
        """Number, day and cents of a deal's invoices."""
        terms = self.ledger.terms
        if terms.bill == "milestones":
            ordered = sorted(terms.milestones, key=lambda m: m[1])
            days = [deal.day + timedelta(days=after) for _, after in ordered]
            upto = [
                Fraction(round(sum(s for s, _ in ordered[: k + 1]) * 10**6), 10**6)
                for k in range(len(ordered))
            ]
            upto[-1] = Fraction(1)
            sums = [half_up(deal.cents * u) for u in upto]
        else:
            step = {"monthly": 1, "quarterly": 3, "yearly": 12}.get(terms.bill, deal.months)
            begins = list(range(0, deal.months, step))
            days = [deal.day + relativedelta(months=m) for m in begins]
            ends = [min(m + step, deal.months) for m in begins]
            sums = [half_up(Fraction(deal.cents * m, deal.months)) for m in ends]
        parts = [b - a for a, b in zip([0, *sums], sums, strict=False)]
        return [
            (k, day + timedelta(days=deal.lag), part)
            for k, (day, part) in enumerate(zip(days, parts, strict=True))
            if part
        ]

    def earned(self, deal: Deal, before: date, cents: int) -> int:
        """Cents earned before a day."""
        terms = self.ledger.terms
        if terms.recognise == "at_close":
            return cents if before > deal.day else 0
        begin, end = deal.day, deal.day + relativedelta(months=deal.months)
        if terms.recognise == "delivery":
            begin = deal.day + timedelta(days=terms.start_lag)
            end = begin + timedelta(days=terms.duration)
        gone = min(max((before - begin).days, 0), (end - begin).days)
        return half_up(Fraction(cents * gone, (end - begin).days))

    def vat_day(self, issued: date) -> date:
        """Day on which the tax of an invoice is paid."""
        account = self.ledger.account
        step = {"month": 1, "quarter": 3}[account.vat_every]
        first = date(issued.year, (issued.month - 1) // step * step + 1, 1)
        return self.works(first + relativedelta(months=step) + timedelta(days=account.vat_days - 1))

    def future(self, d: int) -> Books:
        """Receipts, tax and the sums of one future."""
        ledger, books = self.ledger, Books()
        for deal in self.deals(d):
            for k, day, cents in self.instalments(deal):
                if day <= self.last:
                    own = mixed(deal.stream + (k + 1) * int(GOLDEN))
                    self.pay(d, books, day, cents, deal.kind, own, deal.stream, -1, deal.currency)
                    books.billed.append((day, cents, own, deal.kind, deal))
        coming = ledger.coming
        for n, (t, cents, which) in enumerate(zip(coming.day, coming.cents, coming.deal, strict=True)):
            day = self.start + timedelta(days=int(t))
            own = int(key(ledger.seed, "invoice to come", f"{ledger.signed.ids[which]} {n}"))
            money, code = str(ledger.signed.currency[which] or ""), int(ledger.billing.code[n])
            self.pay(d, books, day, int(cents), "signed", own, own, code, money)
            books.billed.append((day, int(cents), own, "signed", None))
        self.pay_open(d, books)
        return books

    def pay(
        self, d: int, books: Books, day: date, cents: int, kind: str, own: int, who: int, code: int,
        currency: str,
    ) -> None:  # fmt: skip
        """One invoice that is yet to come."""
        ledger, pays = self.ledger, self.ledger.payments
        vat = half_up(cents * ledger.account.vat)
        gross = cents + vat
        books.put("vat", self.vat_day(day), -vat)
        if code < 0:
            u = uniform(mixed(who ^ CLASS), d)
            code = next((i for i, s in enumerate(pays.classes.share) if s >= u), len(pays.classes.share) - 1)
        issued = self.number(day)
        self.settle(d, books, kind, gross, own, code, issued, issued + ledger.terms.due_days, None, currency)

    def pay_open(self, d: int, books: Books) -> None:
        """The invoices that are open, credit notes netted."""
        ledger, pays = self.ledger, self.ledger.payments
        for n, i in enumerate(ledger.open.rows):
            own = int(key(ledger.seed, "open invoice", pays.open.ids[i]))
            never = float(pays.open_never[d % pays.draws, i])
            self.settle(
                d, books, "invoices", int(ledger.open.cents[n]), own, int(pays.open.code[i]),
                int(pays.open.issued[i]) - ledger.days.first, int(pays.open.due[i]) - ledger.days.first,
                never, str(pays.open.currency[i] or ""),
            )  # fmt: skip

    def settle(
        self, d: int, books: Books, line: str, gross: int, own: int, code: int, issued: int, due: int,
        never: float | None, currency: str,
    ) -> None:  # fmt: skip
        """Pay an invoice, write it off, or leave it owed."""
        ledger, pays = self.ledger, self.ledger.payments
        p, days = d % pays.draws, ledger.days.days
        months = pays.block(d, 1)["month"][0]
        place = -1 if never is None else pays.open.ids.index(self.id_of(own))
        parted = place >= 0 and int(pays.open.part[place]) > -(1 << 30)
        band = int(np.searchsorted(pays.band_edges, gross * 0.01, side="right"))
        if never is not None:
            band = int(pays.open.band[place])
        pace = float(pays.parts.pace[p])
        rate = pays.factor[p, code] * pays.band[p, band]
        how = (p, months)
        asked = (issued, due, pays.write_off_days)
        paid = -1
        if uniform(mixed(own ^ NEVER), d) >= (pays.never[p] if never is None else never):
            first = rate * (pace if parted else 1.0)
            paid = payment_day(uniform(own, d), *how, first, *asked, **pays.fixed())
        part = 0
        odds = pays.parts.odds[p, code] if pays.parts.odds.size and not parted else 0.0
        if paid >= 0 and uniform(mixed(own ^ PART), d) < odds:
            among = pays.parts.share
            part = half_up(gross * among[int(uniform(mixed(own ^ SHARE), d) * among.size)])
        if 0 < part < gross:
            self.receive(d, books, line, part, paid, currency)
            gross, before, paid = gross - part, paid, -1
            if uniform(mixed(own ^ BAD), d) >= pays.never[p]:
                if pays.parts.rest_days >= 0:
                    paid = before + pays.parts.rest_days
                    paid = paid if paid < min(days, due + pays.write_off_days) else -1
                else:
                    u = uniform(mixed(own ^ REST), d)
                    paid = payment_day(u, *how, rate * pace, *asked, **pays.fixed(), part=before)
        if paid < 0:
            end = max(due + pays.write_off_days, 0)
            if end < days:
                books.written += gross
            else:
                books.owed += gross
            return
        self.receive(d, books, line, gross, paid, currency)

    def receive(self, d: int, books: Books, line: str, gross: int, paid: int, currency: str) -> None:
        """Put a payment on the next working day; after the last day it is owed still."""
        on = self.works(self.start + timedelta(days=int(paid)))
        if on > self.last:
            books.owed += gross
            return
        got = gross
        if currency and currency != self.ledger.history.currency and self.ledger.account.volatility > 0:
            got = half_up(gross * self.exchange(currency, d, self.number(on)))
        books.gained += got - gross
        books.put(line, on, got)

    def id_of(self, own: int) -> str:
        """Open invoice of a stream."""
        ids = self.ledger.payments.open.ids
        return next(i for i in ids if int(key(self.ledger.seed, "open invoice", i)) == own)

    def exchange(self, currency: str, d: int, t: int) -> float:
        """Factor on today's rate after t + 1 days."""
        daily = self.ledger.account.volatility / math.sqrt(365)
        stream, level = int(key(self.ledger.seed, "exchange", currency)), 0.0
        for s in range(t + 1):
            now = mixed(stream + (s + 1) * int(GOLDEN))
            z = math.sqrt(-2 * math.log(uniform(now, d))) * math.cos(2 * math.pi * uniform(mixed(now), d))
            level += daily * z - 0.5 * daily * daily
        return math.exp(level)


def as_arrays(books: Books, start: date, days: int, lines: tuple[str, ...]) -> Any:
    """Lines by day, shape (lines, days)."""
    out = np.zeros((len(lines), days), dtype=np.int64)
    for line, found in books.lines.items():
        for day, cents in found.items():
            if 0 <= (day - start).days < days:
                out[lines.index(line), (day - start).days] += cents
    return out
