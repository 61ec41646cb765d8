"""Which open deals matter most: each one's odds of being won until a day, times its amount.

With the fitted hazards of a win and a loss, h_w and h_l, at their posterior means and for an average day of
the quarter (as in :mod:`quotacast.engine.openbook`), a deal of age a is won within the next n days with ::

    P = sum over days t < n of  S(a + t) / S(a) * (1 - exp(-h)) * h_w / h,      h = h_w + h_l at age a + t

where S is the share of such deals that is still open at an age. The simulation adds season, shocks and the
position in the quarter, so the sum over deals is near to its open part and not the same number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from quotacast.engine.answer import Answer, Field
from quotacast.engine.book import Book
from quotacast.engine.openbook import Fading, amounts
from quotacast.engine.reports.words import money
from quotacast.models.history.history import History
from quotacast.models.terms import Floats
from quotacast.models.timegrid import as_date, day_number

FIELDS = (
    Field("deal", "text", "opportunity id"),
    Field("customer", "text", "customer id; missing where the data have none"),
    Field("rep", "text", "the owner"),
    Field("stage", "text", "stage in which it stands"),
    Field("age", "days", "days since its creation"),
    Field("amount", "money", "as quoted, else as expected of its kind"),
    Field("p_win", "probability", "odds that it is won until the day asked for"),
    Field("expected", "money", "amount times odds"),
    Field("older", "text", "yes where it is older than any deal that was ever won"),
)


def win_odds(book: Book, fade: Fading, today: int, until: int) -> Floats:
    """Odds that each open deal is won on one of the days after ``today`` up to ``until``, shape (deals,)."""
    days = max(until - today, 0)
    odds = np.zeros(len(book))
    age = today - book.start
    where = (book.rep, book.segment, book.band)
    at_risk = np.maximum(fade.left(*where, age), 1e-300)
    for day in range(days):
        k = np.searchsorted(fade.edges, age + day, side="right") - 1
        win, loss = fade.win[(*where, k)], fade.loss[(*where, k)]
        both = np.maximum(win + loss, 1e-300)
        odds += fade.left(*where, age + day) / at_risk * -np.expm1(-both) * win / both
    return np.asarray(odds)


def open_deals(
    book: Book,
    fade: Fading,
    history: History,
    reps: tuple[str, ...],
    span: tuple[int, int],
    oldest_won: int,
    provenance: Mapping[str, Any],
) -> Answer:
    """Open deals by expected value, the largest first.

    Parameters
    ----------
    reps : tuple of str
        Names of the codes in the book.
    span : (int, int)
        Day numbers: today, and the day until which a win counts.
    oldest_won : int
        Age in days of the oldest deal ever won.
    """
    today, until = span
    money_of, odds = amounts(book, fade), win_odds(book, fade, today, until)
    known = history.opportunities.set_index("opportunity_id")
    rows = known.reindex(list(book.ids))
    table = pd.DataFrame(
        {
            "deal": list(book.ids),
            "customer": _texts(rows["customer_id"]),
            "rep": [reps[k] for k in book.rep],
            "stage": _texts(rows["stage"]),
            "age": (today - book.start).astype(float),
            "amount": money_of,
            "p_win": odds,
            "expected": money_of * odds,
            "older": np.where(today - book.start > oldest_won, "yes", ""),
        },
        columns=[f.name for f in FIELDS],
    )
    table = table.sort_values(["expected", "deal"], ascending=[False, True]).reset_index(drop=True)
    summary = {
        "metric_units": {},
        "until": as_date(until).isoformat(),
        "deals": len(table),
        "amount": float(table["amount"].sum()),
        "expected": float(table["expected"].sum()),
    }
    return Answer("deals", table, FIELDS, _words(summary), summary, provenance, "table")


def _texts(column: pd.Series[Any]) -> list[str]:
    return ["" if value is None or value != value else str(value) for value in column]


def oldest_win(history: History) -> int:
    """Age in days of the oldest deal ever won; 0 where none was."""
    deals = history.opportunities
    won = deals[deals["status"] == "won"]
    ages = day_number(won["closed_on"]) - day_number(won["created_on"])
    return int(ages.max()) if len(won) else 0


def _words(summary: Mapping[str, Any]) -> str:
    if not summary["deals"]:
        return "No deals are open."
    return (
        f"{summary['deals']:,} open deals of {money(summary['amount'])} in all; on an average day's odds "
        f"{money(summary['expected'])} of it is won until {summary['until']}."
    )
