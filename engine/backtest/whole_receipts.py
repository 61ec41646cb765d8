"""Rolling origins for whole receipts: what customers pay in the months to come, deals yet to be won included.

At an origin only what was known that evening counts: deals as they stood, invoices issued by then, payments
made by then. The forecast is that of ``cash``: deals are won, invoiced by the plan's terms, and paid, in the
same futures. Scored are receipts of the three months after the origin (``m1`` to ``m3``) and of the next
thirteen weeks (``w13``): of the invoices open at the origin (``open``), of all later ones (``new``), and
together (``total``). What comes true is every payment of an invoice, whether or not a deal is known for it.

The terms are those of the plan as it is now: the company's policy, taken to have held at every origin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import pandas as pd

from quotacast.engine.backtest import scores
from quotacast.engine.backtest.origins import DAY, origins, spans
from quotacast.engine.backtest.receipts import read_bills
from quotacast.engine.backtest.receipts_simple import simple_forecasts
from quotacast.engine.drivers import Drivers
from quotacast.engine.finance.account import Account, Days
from quotacast.engine.finance.entries import MEASURES, Wins
from quotacast.engine.finance.kernel_close import RECEIPTS
from quotacast.engine.finance.ledger import Ledger, cash_paths, months_back
from quotacast.engine.finance.schedule import Terms
from quotacast.engine.metrics import measures_of
from quotacast.engine.paths import Paths
from quotacast.engine.payments import payments_of
from quotacast.engine.simulate import simulate
from quotacast.engine.steps import Steps
from quotacast.engine.streams import keys, uniforms
from quotacast.errors import DataError
from quotacast.models.funnel import Funnel, Method, fit, prepare
from quotacast.models.history.history import History
from quotacast.models.invoices import payment_data
from quotacast.models.periods import Calendar, Period
from quotacast.models.terms import Floats
from quotacast.models.timegrid import Ints, day_number

#: What is scored, and the metric's name in rows.
METRIC = "receipts"
HORIZONS = ("m1", "m2", "m3", "w13")
COMPONENTS = ("open", "new", "total")
OURS = "quotacast"
WEEKS = 13
#: Days of invoices before the first origin: the simple methods need errors of their own past.
WARM_UP = 240
LEVELS = (50, 80, 95)
FIT_DRAWS = 1000


@dataclass(frozen=True)
class MoneySettings:
    """What all origins share.

    Attributes
    ----------
    terms : Terms
    vat : float
    term_months, invoice_days : int or None
        As in :class:`quotacast.engine.finance.ledger.Ledger`.
    write_off_days : int
        Days past due.
    """

    calendar: Calendar
    method: Method
    draws: int
    seed: int
    terms: Terms
    vat: float
    term_months: int | None
    invoice_days: int | None
    write_off_days: int


#: From the history of an origin, its last simulated day and its futures to those that stand for the forecast.
Leaned = Callable[[History, date, Paths], "Ints | None"]


def money_origins(history: History, count: int | None = None) -> tuple[date, ...]:
    """Month ends with enough invoices before them and a whole month after.

    Raises
    ------
    DataError
        If there is none.
    """
    issued = history.invoices["issued_on"]
    if issued.empty:
        raise DataError(
            "invoices: there are none, so receipts cannot be scored; add a table invoices with paid_on"
        )
    first = issued.min().date() + timedelta(days=WARM_UP)
    found = [day for day in origins(history) if day >= first]
    if not found:
        raise DataError(
            f"invoices: they begin on {issued.min().date()} and the data end on {history.as_of_date}; "
            f"receipts are scored from {WARM_UP} days after the first invoice, and a month must follow"
        )
    return tuple(found[-count:] if count else found)


def money_spans(origin: date, calendar: Calendar, until: date) -> dict[str, Period]:
    """Horizons of an origin that end by a day."""
    months = spans(origin, calendar, until)
    found = {name: months[name] for name in HORIZONS if name in months}
    last = origin + timedelta(days=7 * WEEKS)
    if last <= until:
        found["w13"] = Period("w13", "month", origin + DAY, last)
    return found


def score_origin(history: History, origin: date, settings: MoneySettings, leaned: Leaned) -> pd.DataFrame:
    """Forecast receipts from an origin with what was known then, and score it beside the simple methods.

    Returns
    -------
    pandas.DataFrame
        One row per horizon, component and model, with the columns of every backtest.
    """
    snapshot = history.as_of(origin, strict=True)
    periods = money_spans(origin, settings.calendar, history.as_of_date)
    ledger = _ledger(snapshot, max(p.last for p in periods.values()), settings, leaned)
    paths = cash_paths(ledger, tuple(periods.values()))
    lines = paths.lines[:, :, : len(RECEIPTS)].astype(float) / 100
    ours = {"open": lines[:, :, 0], "new": lines[:, :, 1:].sum(axis=2), "total": lines.sum(axis=2)}
    top = 1.0 + ledger.tax_on_top
    actual = actual_receipts(history, origin, tuple(periods.values()))
    bills, day = read_bills(snapshot), int(day_number(origin))
    edges = [(_offset(p.first, origin) - 1, _offset(p.last, origin)) for p in periods.values()]
    simple = simple_forecasts(bills, day, edges, settings.seed)
    rows = []
    for k, horizon in enumerate(periods):
        for part in COMPONENTS:
            models = {OURS: ours[part][:, k]}
            models |= {name: top * found[part][k] for name, found in simple.items() if part in found}
            true = float(top * actual[part][k])
            at = (origin, horizon, part)
            rows += [_scored(*at, name, x, true, settings.seed) for name, x in models.items()]
    return pd.DataFrame([row for row in rows if row is not None])


def _offset(day: date, origin: date) -> int:
    return (day - origin).days


def actual_receipts(history: History, origin: date, periods: Sequence[Period]) -> Mapping[str, Floats]:
    """Payments of invoices, credit notes included, by component; each of shape (periods,), as in the data."""
    rows = history.invoices
    paid = rows["paid_on"].notna().to_numpy()
    issued, amount = rows["issued_on"].to_numpy()[paid], rows["amount"].to_numpy(dtype=float)[paid]
    day, known = rows["paid_on"].to_numpy()[paid], issued <= np.datetime64(origin)
    out: dict[str, list[float]] = {part: [] for part in COMPONENTS}
    for period in periods:
        inside = (day >= np.datetime64(period.first)) & (day <= np.datetime64(period.last))
        for part, chosen in (("open", known), ("new", ~known), ("total", np.ones_like(known))):
            out[part].append(float(amount[inside & chosen].sum()))
    return {part: np.array(values) for part, values in out.items()}


def _scored(
    origin: date, horizon: str, component: str, model: str, draws: Floats, actual: float, seed: int
) -> dict[str, object] | None:
    if not np.isfinite(draws).all():
        return None  # a method that says nothing here
    u = uniforms(keys(seed, f"pit {METRIC} {origin}", [f"{horizon} {component}"]), 0, 1)[0, :, 0]
    x, y = draws[None], np.array([actual])
    pit = scores.randomised_pit(x, y, u)
    return {
        "origin": origin.isoformat(),
        "horizon": horizon,
        "metric": METRIC,
        "component": component,
        "scope": "company",
        "scope_id": "",
        "model": model,
        "actual": actual,
        "mean": float(draws.mean()),
        "p50": float(np.median(draws)),
        "crps": float(scores.crps(x, y)[0]),
        **{f"covered_{level}": float(scores.covered(pit, level / 100)[0]) for level in LEVELS},
        "pit": float(pit[0]),
    }


def _ledger(snapshot: History, last: date, settings: MoneySettings, leaned: Leaned) -> Ledger:
    """Everything from the wins to the account, as of the origin."""
    prepared = prepare(snapshot, settings.calendar)
    known = prepared.payments or payment_data(snapshot, settings.calendar)
    funnel = fit(prepared, method=settings.method, draws=FIT_DRAWS, seed=settings.seed)
    paths = _paths(funnel, snapshot, last, settings)
    futures = leaned(snapshot, last, paths)
    paths = paths if futures is None else paths.taken(futures)
    first = int(day_number(snapshot.as_of_date)) + 1
    days = Days(settings.calendar, first, int(day_number(last)) - first + 1)
    account = Account(opening=0.0, vat=settings.vat)
    return Ledger(
        history=snapshot,
        wins=Wins(
            {name: paths.columns[name] for name in MEASURES if name in paths.columns},
            len(paths.steps) - days.days,
        ),
        reps=paths.reps,
        days=days,
        terms=settings.terms,
        account=account,
        payments=payments_of(
            known,
            funnel.posteriors.get("paid"),
            last,
            settings.seed,
            write_off_days=settings.write_off_days,
        ),
        costs=None,
        payroll=np.zeros((1, len(days.months(months_back(account)))), dtype=np.int64),
        quotas={},
        term_months=settings.term_months,
        invoice_days=settings.invoice_days,
        seed=settings.seed,
    )


def _paths(funnel: Funnel, snapshot: History, last: date, settings: MoneySettings) -> Paths:
    days = settings.calendar.periods("day", snapshot.as_of_date + DAY, last)
    cut = int(day_number(snapshot.as_of_date)) + 1
    return simulate(
        funnel,
        snapshot,
        Drivers(),
        Steps.covering(days, cuts=(cut,)),
        last,
        draws=settings.draws,
        seed=settings.seed,
        measures=measures_of(("bookings", "deals_won", "opportunities_created")),
    )


def seen(settings: MoneySettings) -> dict[str, object]:
    """Settings as plain values, for the fingerprint of a record."""
    plain = replace(settings).__dict__
    return {**plain, "calendar": vars(settings.calendar), "terms": vars(settings.terms)}
