"""Bookings, billings and revenue against the slow ledger, as a whole and by rep."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from quotacast.engine.finance import recognised
from quotacast.engine.finance.account import Account
from quotacast.engine.finance.entries import Wins
from quotacast.engine.finance.kernel import KINDS
from quotacast.engine.finance.kernel_close import MEASURES
from quotacast.engine.finance.ledger import Ledger
from quotacast.engine.finance.recognised import earned_columns, past_with_revenue
from quotacast.engine.finance.revenue import RevenuePaths, revenue_paths
from quotacast.engine.finance.schedule import Terms
from quotacast.engine.steps import Steps
from quotacast.models.periods import Period

sys.path.insert(0, str(Path(__file__).parent))
import ledger_oracle as slow_ledger
from ledger_world import AS_OF, DRAWS, FIRST, MORE, PLANS, REPS, Make, make_ledger, months_of

sys.path.remove(str(Path(__file__).parent))


@pytest.fixture(scope="module")
def oracle() -> ModuleType:
    return slow_ledger


@pytest.fixture(scope="module", params=list(PLANS))
def case(request: pytest.FixtureRequest, make_history: Make) -> tuple[Ledger, dict[str, np.ndarray]]:
    terms, account, months = PLANS[request.param]
    seed, more = list(PLANS).index(request.param), dict(MORE.get(request.param, {}))
    return make_ledger(make_history, terms, account, months, seed, **more)


def _of(paths: RevenuePaths, name: str) -> np.ndarray:
    """A measure with everything after the as-of date, shape (futures, months)."""
    at = MEASURES.index(name)
    return np.asarray(paths.signed[at] + paths.paths[:, at].sum(axis=1))


def test_billings_are_revenue_and_the_change_of_contract_balances(
    case: tuple[Ledger, dict[str, np.ndarray]],
) -> None:
    paths = revenue_paths(case[0], months_of())
    _, deferred, unbilled = (int(x) for x in paths.opening)
    balance = _of(paths, "deferred") - _of(paths, "unbilled")
    balance[:, 0] = deferred - unbilled  # October has passed: its end is not among the futures
    change = np.diff(balance, axis=1, prepend=deferred - unbilled)
    np.testing.assert_array_equal(_of(paths, "billings"), _of(paths, "revenue") + change)
    backlog = _of(paths, "backlog")
    backlog[:, 0] = int(paths.opening[0])
    moved = np.diff(backlog, axis=1, prepend=int(paths.opening[0]))
    np.testing.assert_array_equal(_of(paths, "bookings") - _of(paths, "revenue"), moved)
    assert (_of(paths, "revenue")[:, 1:] != 0).mean() > 0.9


def test_revenue_of_a_future_equals_a_slow_ledger(
    case: tuple[Ledger, dict[str, np.ndarray]], oracle: ModuleType
) -> None:
    ledger, dense = case
    paths, slow, months = revenue_paths(ledger, months_of()), oracle.SlowLedger(ledger, dense), months_of()
    for d in (0, DRAWS - 1):
        wanted = np.zeros((len(MEASURES), len(KINDS), len(months)), dtype=np.int64)
        for deal in slow.deals(d):
            k = KINDS.index(deal.kind)
            for m, month in enumerate(months):
                after = month.last + timedelta(days=1)
                if month.first <= deal.day <= month.last:
                    wanted[0, k, m] += deal.cents
                if after <= deal.day:
                    continue
                sent = [cents for _, day, cents in slow.instalments(deal) if day < after]
                now = [cents for _, day, cents in slow.instalments(deal) if month.first <= day < after]
                earned, was = (slow.earned(deal, day, deal.cents) for day in (after, month.first))
                margin, had = (slow.earned(deal, day, deal.margin) for day in (after, month.first))
                wanted[1:, k, m] += [
                    sum(now), earned - was, margin - had, deal.cents - earned,
                    max(sum(sent) - earned, 0), max(earned - sum(sent), 0),
                ]  # fmt: skip
        np.testing.assert_array_equal(paths.paths[d], wanted)


def test_revenue_by_rep_is_that_of_the_ledger(
    case: tuple[Ledger, dict[str, np.ndarray]], oracle: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In any order and small pieces: the company against `revenue`, a rep against the slow ledger."""
    ledger, dense = case
    monkeypatch.setattr(recognised, "PLAIN_CELLS", 120)
    chosen = np.array([3, 3, 0, 11, 5, 5, 5, 8, 2])
    taken = replace(ledger, wins=Wins({n: c.taken(chosen) for n, c in ledger.wins.columns.items()}))
    steps = Steps.covering(months_of(), cuts=(FIRST,))
    at = MEASURES.index("revenue")
    for made in (ledger, taken):
        found, told = earned_columns(made, steps), revenue_paths(made, months_of())
        for m, month in enumerate(months_of()):
            opened, new = found.sums(np.arange(len(REPS)), steps.slice(month))
            np.testing.assert_array_equal(opened, told.paths[:, at, KINDS.index("open"), m])
            later = told.paths[:, at, KINDS.index("new"), m] + told.paths[:, at, KINDS.index("renewal"), m]
            np.testing.assert_array_equal(new, later)
    slow, found = oracle.SlowLedger(ledger, dense), earned_columns(ledger, steps)
    for d in (0, 7):
        for r, rep in enumerate(REPS):
            deals = [deal for deal in slow.deals(d) if deal.rep == rep]
            for month in months_of()[2:]:
                after = month.last + timedelta(days=1)
                earned = sum(
                    slow.earned(x, after, x.cents) - slow.earned(x, max(month.first, x.day), x.cents)
                    for x in deals
                    if x.day < after
                )
                assert sum(x[d] for x in found.sums(np.array([r]), steps.slice(month))) == earned


def test_certain_revenue_by_rep_and_team_of_the_day(case: tuple[Ledger, dict[str, np.ndarray]]) -> None:
    """Done and signed against `revenue`; revenue goes to the team held on the day on which it is earned."""
    ledger, _ = case
    told, months = revenue_paths(ledger, months_of()), months_of()
    moved = pd.DataFrame({"rep_id": ["r1", "r1", "r2"], "team": ["north", "south", "south"]})
    moved["from"] = pd.to_datetime([None, "2026-10-17", None]).astype("datetime64[ns]")
    reps = moved.reindex(columns=ledger.history.reps.columns)
    history = replace(ledger.history, tables={**ledger.history.tables, "reps": reps})
    nothing = pd.DataFrame({"rep": [], "day": [], "measure": [], "value": []})
    given = (ledger.signed, ledger.terms, nothing)
    seats, done = past_with_revenue(history, Steps.covering(months, cuts=(FIRST,)), *given)
    steps = Steps.covering(months, cuts=(FIRST,))
    for m, month in enumerate(months):
        inside = steps.slice(month)
        assert done["revenue_cents"][:, inside].sum() == told.done[2, m]
        assert done["signed_cents"][:, inside].sum() == told.signed[MEASURES.index("revenue"), m]
    split = Period("17 Oct", "day", date(2026, 10, 17), date(2026, 10, 31))
    _, fine = past_with_revenue(history, Steps.covering([*months, split], cuts=(FIRST,)), *given)
    october = steps.slice(months[0])
    after = Steps.covering([*months, split], cuts=(FIRST,)).slice(split)
    south = seats.index(("r1", "south"))
    assert done["revenue_cents"][south, october].sum() == fine["revenue_cents"][south, after].sum()
    if ledger.terms.recognise != "at_close":
        assert ("r1", "north") in seats
        assert done["revenue_cents"][south, october].sum() > 0


def test_the_past_is_told_as_it_was(make_history: Make) -> None:
    """Actual bookings, billings and revenue of October and of November so far, deal by deal."""
    ledger, _ = make_ledger(
        make_history, Terms("yearly", recognise="straight_line"), Account(vat=0.25), 12, 9
    )
    paths, deals = revenue_paths(ledger, months_of()), ledger.history.opportunities
    for m, (first, last) in enumerate(((date(2026, 10, 1), date(2026, 10, 31)), (date(2026, 11, 1), AS_OF))):
        inside = deals["closed_on"].dt.date.between(first, last)
        assert paths.done[0, m] == round(100 * deals.loc[inside, "amount"]).astype(int).sum()
        bills = ledger.history.invoices
        issued = bills[bills["issued_on"].dt.date.between(first, last)]
        assert paths.done[1, m] == pytest.approx(80 * issued["amount"].sum(), abs=len(issued))
        total = 0.0
        for closed, months, amount in zip(
            deals["closed_on"], deals["term_months"], deals["amount"], strict=True
        ):
            ends = closed + pd.DateOffset(months=int(months) if months == months else 12)
            low, high = max(pd.Timestamp(first), closed), min(pd.Timestamp(last) + pd.Timedelta(days=1), ends)
            total += max((high - low).days, 0) / (ends - closed).days * amount * 100
        assert paths.done[2, m] == pytest.approx(total, abs=len(deals))
        assert total > 1e5


def test_without_invoices_the_past_was_billed_as_the_terms_say(make_history: Make) -> None:
    ledger, _ = make_ledger(make_history, Terms("monthly"), Account(), 12, 10)
    bare = {**ledger.history.tables, "invoices": ledger.history.invoices.iloc[:0]}
    ledger = replace(ledger, history=replace(ledger.history, tables=bare))
    paths, deals = revenue_paths(ledger, months_of()), ledger.history.opportunities
    total = 0
    for closed, months, amount in zip(deals["closed_on"], deals["term_months"], deals["amount"], strict=True):
        term = int(months) if months == months else 12
        cents = round(100 * amount)
        upto = [(2 * cents * m + term) // (2 * term) for m in range(term + 1)]
        for m in range(term):
            sent = closed + pd.DateOffset(months=m)
            total += (upto[m + 1] - upto[m]) * ((sent.year, sent.month) == (2026, 10))
    assert paths.done[1, 0] == total > 0
