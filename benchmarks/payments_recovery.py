"""Recovery: do intervals of the payment model hold the truth of invoices drawn day by day from known hazards?

Every world has 25 customers, three terms, two classes, three bands of amounts, weekends on which hardly
anybody pays, monthly shocks, and invoices that are never paid. Payments come from a loop over days that
shares no code with the model or the simulator. For every true value the share of
posterior draws below it is kept: 90 % intervals hold those between .05 and .95. Run from the project's root
(about a minute per ten worlds)::

    python benchmarks/payments_recovery.py --worlds 50
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

if __name__ == "__main__":  # tests import this file, and their threads are counted already
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(_name, "1")

import numpy as np
import pandas as pd
from calibration_store import RESULTS, write
from calibration_worlds import canonical

from quotacast.models.history import schema
from quotacast.models.history.history import REJECTED, History, missing
from quotacast.models.invoices import FAR, PaymentData, payment_data
from quotacast.models.laplace import fit_laplace
from quotacast.models.never import NEVER_PRIOR
from quotacast.models.periods import Calendar
from quotacast.models.terms import Floats, Posterior
from quotacast.models.timegrid import as_date, day_number

LAST = int(day_number(date(2025, 12, 31)))
DAYS, INVOICES, CUSTOMERS = 730, 1200, 25
EDGES = (FAR, -12, -2, 0, 1, 8, 31)
#: Log hazards by phase around which worlds vary.
USUAL = (-5.2, -4.0, -2.6, -1.4, -1.7, -2.2, -2.8)
TERMS = (14, 30, 45)
WEEK = np.array([1.35, 1.3, 1.3, 1.3, 1.25, 0.3, 0.2])
#: Ages at which the share still unpaid is compared, for terms of 30 days.
AGES = (20, 30, 37, 60)
DRAWS = 800


@dataclass(frozen=True)
class Truth:
    """What a world's payments follow; effects on the log hazard."""

    phase: Floats
    customer: Floats
    spread: float
    electronic: float
    amount: Floats
    month: Floats
    never: float


def draw_truth(rng: np.random.Generator) -> Truth:
    """Draw a truth from the model's priors, the phases around the usual ones."""
    spread, sd, rho = abs(rng.normal(0.0, 1.0)), abs(rng.normal(0.0, 0.15)), rng.beta(4.0, 2.0)
    month = [sd * rng.standard_normal()]
    while len(month) < 25:
        month.append(rho * month[-1] + sd * np.sqrt(1 - rho**2) * rng.standard_normal())
    return Truth(
        np.asarray(USUAL) + rng.normal(0.0, 0.3, len(USUAL)),
        rng.normal(0.0, spread, CUSTOMERS),
        spread,
        float(rng.normal(0.0, 0.5)),
        rng.normal(0.0, 0.2, 3),
        np.array(month),
        float(rng.beta(*NEVER_PRIOR)),
    )


def invoices(truth: Truth, rng: np.random.Generator) -> pd.DataFrame:
    """The invoices of a world as of the last day."""
    who, band = rng.integers(0, CUSTOMERS, INVOICES), rng.integers(0, 3, INVOICES)
    issued = LAST - rng.integers(1, DAYS, INVOICES)
    terms, electronic = rng.choice(TERMS, INVOICES), rng.random(INVOICES) < 0.4
    own = truth.customer[who] + truth.electronic * electronic + truth.amount[band]
    left = rng.exponential(size=INVOICES)
    left[rng.random(INVOICES) < truth.never] = np.inf
    paid = np.full(INVOICES, -1)
    for age in range(DAYS):
        day = issued + age
        phase = np.searchsorted(EDGES, age - terms, side="right") - 1
        month = np.minimum((day - LAST + DAYS) * 24 // DAYS, 24)
        passed = np.exp(truth.phase[phase] + own + truth.month[month])
        passed *= WEEK[(day + 3) % 7] * (0.5 if age == 0 else 1.0)
        paid = np.where((paid < 0) & (left <= passed), day, paid)
        left = left - passed
    known = (paid >= 0) & (paid <= LAST)
    return pd.DataFrame(
        {
            "invoice_id": [f"i{k:05d}" for k in range(INVOICES)],
            "issued_on": [as_date(d) for d in issued],
            "due_on": [as_date(d) for d in issued + terms],
            "amount": np.array([200.0, 2_000.0, 20_000.0])[band] * rng.uniform(0.5, 1.5, INVOICES),
            "customer_id": [f"c{w:02d}" for w in who],
            "class": np.where(electronic, "electronic", "paper"),
            "paid_on": [as_date(d) if k else None for d, k in zip(paid, known, strict=True)],
        }
    )


def history(rows: pd.DataFrame) -> History:
    """A history that holds invoices only."""
    full = {name: missing(name) for name in schema.TABLES}
    full["invoices"] = canonical("invoices", rows)
    return History(full, as_date(LAST), "EUR", (), pd.DataFrame(columns=list(REJECTED)))


def compared(truth: Truth, data: PaymentData, posterior: Posterior) -> Iterator[tuple[str, Floats, Floats]]:
    """(what, true values (n,), draws (draws, n)) of everything that has a counterpart."""
    effects = posterior.effects
    customer = effects["customer"][:, :CUSTOMERS]
    centred = customer - customer.mean(axis=1, keepdims=True)
    yield "customer", truth.customer - truth.customer.mean(), centred
    yield "customers' spread", np.array([truth.spread]), posterior.hyper["customer_sd"][:, None]
    yield "class", np.array([truth.electronic]), (effects["class"][:, 0] - effects["class"][:, 1])[:, None]
    bands = effects["amount"] - effects["amount"].mean(axis=1, keepdims=True)
    yield "amount", truth.amount - truth.amount.mean(), bands
    share = data.never.sample(DRAWS, np.random.default_rng(1))[:, None]
    yield "never paid", np.array([truth.never]), share
    yield "unpaid at 20, 30, 37, 60 days", _unpaid(truth), _unpaid_drawn(truth, data, posterior)


def _unpaid(truth: Truth) -> Floats:
    """Of paper invoices of middling amount of the customers together, without shocks; even weekdays."""
    age = np.arange(max(AGES) + 1)
    rate = np.exp(truth.phase[np.searchsorted(EDGES, age - 30, side="right") - 1])
    passed = np.cumsum(rate * np.where(age == 0, 0.5, 1.0))
    own = np.exp(truth.customer.mean() + truth.amount.mean())
    return np.exp(-passed[np.asarray(AGES) - 1] * own)


def _unpaid_drawn(truth: Truth, data: PaymentData, posterior: Posterior) -> Floats:
    effects = posterior.effects
    age = np.arange(max(AGES) + 1)
    phase = np.searchsorted(data.phase_edges, age - 30, side="right") - 1
    terms = int(np.searchsorted(data.terms_edges, 30, side="right") - 1)
    size = len(data.terms_edges)
    log = effects["level"] + effects["phase"][:, phase]
    if size > 1:
        log = log + effects["terms"][:, [terms]] + effects["phase_terms"][:, phase * size + terms]
    own = (
        effects["customer"][:, :CUSTOMERS].mean(axis=1)
        + effects["class"][:, 1]
        + effects["amount"].mean(axis=1)
    )
    # the truth's months are a sample of 25: their mean belongs to the level that the data can tell
    own = own - truth.month[:24].mean() + effects["shock"].mean(axis=1) + effects["trend"].mean(axis=1)
    passed = np.cumsum(np.exp(log) * np.where(age == 0, 0.5, 1.0), axis=1)
    return np.exp(-passed[:, np.asarray(AGES) - 1] * np.exp(own)[:, None])


def one(number: int) -> dict[str, Any]:
    """Shares of draws below the truth, by what is compared, and the k-hat of one world."""
    rng = np.random.default_rng([number, 11])
    truth = draw_truth(rng)
    data = payment_data(history(invoices(truth, rng)), Calendar())
    posterior = fit_laplace(*data.declared()["paid"], draws=DRAWS, seed=number)
    below = {
        what: ((drawn < true).mean(axis=0) + 0.5 * (drawn == true).mean(axis=0)).tolist()
        for what, true, drawn in compared(truth, data, posterior)
    }
    return {"below": below, "khat": float(posterior.diagnostics.get("khat", 0.0))}


def pooled(worlds: Mapping[int, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Share of true values inside 90 % intervals with its error over worlds, and the mean share below."""
    out = {}
    for what in next(iter(worlds.values()))["below"]:
        each = [np.asarray(w["below"][what]) for w in worlds.values()]
        held = np.array([((b >= 0.05) & (b <= 0.95)).mean() for b in each])
        out[what] = {
            "values": float(sum(b.size for b in each)),
            "held": float(held.mean()),
            "se": float(held.std(ddof=1) / np.sqrt(held.size)) if held.size > 1 else float("nan"),
            "below": float(np.concatenate(each).mean()),
        }
    return out


def report(worlds: Mapping[int, dict[str, Any]]) -> str:
    """The result as Markdown."""
    lines = [
        "# Recovery of known payments",
        "",
        f"`python benchmarks/payments_recovery.py --worlds {len(worlds)}`",
        "",
        f"{len(worlds)} worlds of {INVOICES:,} invoices; laplace, worst k-hat "
        f"{max(w['khat'] for w in worlds.values()):.2f}.",
        "",
        "| what | true values | in 90 % intervals | mean share of draws below |",
        "|---|---|---|---|",
    ]
    for what, row in pooled(worlds).items():
        lines.append(
            f"| {what} | {row['values']:.0f} | {row['held']:.3f} ± {row['se']:.3f} | {row['below']:.3f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run, print and store."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--worlds", type=int, default=50)
    options = parser.parse_args()
    worlds = {}
    for number in range(options.worlds):
        worlds[number] = one(number)
        print(number, {k: v["held"] for k, v in pooled(worlds).items()}, flush=True)
    text = report(worlds)
    print(text)
    write(RESULTS / "payments_recovery.md", text)


if __name__ == "__main__":
    main()
