"""Whole receipts as they are commonly forecast: nobody knows the billing to come, so it goes on as lately.

========  ==============================================================================================
dso       days sales outstanding: billings go on at the rate of the last 90 days, and receivables stay in
          proportion to them; receipts are opening receivables + billings - closing receivables
delay     every invoice, open or still to come at that rate, is paid the average number of days after its
          issue (of what was paid in the last 180 days, by amount); what is late is paid at once
runrate   receipts go on as in the last 91 days
========  ==============================================================================================

Each gives a number; its draws are that number plus the errors that the same method made over the same days
ahead from weekly origins whose days had passed by then, so they are corrected for their bias. ``delay``
alone tells open invoices from later ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from quotacast.engine.backtest.receipts import UNPAID, Bills
from quotacast.engine.backtest.receipts_baselines import DELAY_DAYS, DRAWS, DSO_DAYS, ERROR_WEEKS
from quotacast.models.terms import Floats
from quotacast.models.timegrid import Ints

#: Days of receipts behind the run-rate, and of invoices before the first origin whose error counts.
RATE_DAYS, WARM_UP = 91, 91
#: Days of billings to come that may be paid in time.
AHEAD = 140
Span = tuple[int, int]
#: From invoices, a day and days ahead (after the first, up to the last) to receipts by component.
Method = Callable[[Bills, int, Sequence[Span]], dict[str, Floats]]


def dso(bills: Bills, day: int, spans: Sequence[Span]) -> dict[str, Floats]:
    """Receivables in proportion to billings: see the module's table."""
    rate = _billed(bills, day - DSO_DAYS, day) / DSO_DAYS
    known = bills.issued <= day
    opening = float(bills.amount[known & (bills.paid > day)].sum())
    ratio = opening / max(rate * DSO_DAYS, 1e-9)

    def owed(ahead: int) -> float:
        """Receivables so many days ahead; billings of the window are in part those of before."""
        before = _billed(bills, day + ahead - DSO_DAYS, day) if ahead < DSO_DAYS else 0.0
        return ratio * (before + rate * min(ahead, DSO_DAYS))

    found = [owed(low) + rate * (high - low) - owed(high) for low, high in spans]
    return {"total": np.maximum(found, 0.0)}


def _billed(bills: Bills, after: int, until: int) -> float:
    return float(bills.amount[(bills.issued > after) & (bills.issued <= until)].sum())


def delay(bills: Bills, day: int, spans: Sequence[Span]) -> dict[str, Floats]:
    """Every invoice is paid after the average delay."""
    past = (bills.paid <= day) & (bills.paid > day - DELAY_DAYS)
    wait = (
        float(np.average((bills.paid - bills.issued)[past], weights=bills.amount[past]))
        if past.any()
        else 30.0
    )
    going = (bills.issued <= day) & (bills.paid > day)
    due = np.maximum(np.ceil(bills.issued[going] + wait), day + 1) - day
    coming = np.maximum(np.ceil(np.arange(1, AHEAD + 1) + wait), 1)
    rate = _billed(bills, day - DSO_DAYS, day) / DSO_DAYS
    amount = bills.amount[going]
    held = np.array([amount[(due > low) & (due <= high)].sum() for low, high in spans])
    new = np.array([rate * ((coming > low) & (coming <= high)).sum() for low, high in spans])
    return {"open": held, "new": new, "total": held + new}


def runrate(bills: Bills, day: int, spans: Sequence[Span]) -> dict[str, Floats]:
    """Receipts go on as lately."""
    rate = received(bills, day, [(-RATE_DAYS, 0)])["total"][0] / RATE_DAYS
    return {"total": np.array([rate * (high - low) for low, high in spans])}


METHODS: dict[str, Method] = {"dso": dso, "delay": delay, "runrate": runrate}


def received(bills: Bills, day: int, spans: Sequence[Span]) -> dict[str, Floats]:
    """What came in, by whether it was invoiced by the day."""
    out: dict[str, list[float]] = {"open": [], "new": [], "total": []}
    for low, high in spans:
        inside = (bills.paid > day + low) & (bills.paid <= day + high)
        known = bills.issued <= day
        for part, chosen in (("open", inside & known), ("new", inside & ~known), ("total", inside)):
            out[part].append(float(bills.amount[chosen].sum()))
    return {part: np.array(values) for part, values in out.items()}


def simple_forecasts(
    bills: Bills, day: int, spans: Sequence[Span], seed: int, draws: int = DRAWS
) -> dict[str, dict[str, Floats]]:
    """Draws of every method by component, each of shape (spans, draws); NaN without any past error.

    Parameters
    ----------
    bills : Bills
        As known on the day: later invoices and payments are not among them.
    spans : sequence of (int, int)
        Days ahead: after the first, up to the last.
    """
    first = int(bills.issued.min()) + WARM_UP
    past = [day - 7 * k for k in range(1, ERROR_WEEKS + 1) if day - 7 * k >= first]
    then = {d: known_on(bills, d) for d in past}
    true = {d: received(bills, d, spans) for d in past}
    found = {}
    for number, (name, method) in enumerate(METHODS.items()):
        rng = np.random.default_rng([seed, day, number])
        now, before = method(known_on(bills, day), day, spans), {d: method(then[d], d, spans) for d in past}
        found[name] = {
            part: np.stack([
                _with_errors(
                    now[part][k],
                    [true[d][part][k] - before[d][part][k] for d in past if d + high <= day],
                    draws,
                    rng,
                )
                for k, (_, high) in enumerate(spans)
            ])
            for part in now
        }  # fmt: skip
    return found


def known_on(bills: Bills, day: int) -> Bills:
    """Invoices and payments known on a day."""
    keep: Ints = np.flatnonzero(bills.issued <= day)
    paid = bills.paid[keep]
    return Bills(
        tuple(bills.ids[i] for i in keep),
        bills.issued[keep],
        bills.due[keep],
        np.where(paid <= day, paid, UNPAID),
        bills.amount[keep],
        bills.customer[keep],
        bills.kind[keep],
    )


def _with_errors(value: float, errors: Sequence[float], draws: int, rng: np.random.Generator) -> Floats:
    if not errors:
        return np.full(draws, np.nan)
    return np.maximum(value + rng.choice(np.array(errors), draws), 0.0)
