"""Invoices that are never paid are told from slow payers, as far as that can be done."""

from __future__ import annotations

import numpy as np
import pytest

from quotacast.models.never import NEVER_PRIOR, never_paid

LAST = 1000


def drawn(seed: int, never: float, slow: float, n: int = 3000) -> dict[str, np.ndarray]:
    """Payers wait exponentially; customer 0 is ``slow`` times as slow as the other nine."""
    rng = np.random.default_rng(seed)
    who = rng.integers(0, 10, n)
    start = LAST - rng.integers(0, 720, n)
    due = start + 30
    wait = rng.exponential(20.0, n) * np.where(who == 0, slow, 1.0)
    gone = rng.random(n) < never
    pay = np.where(gone, 1e9, start + np.ceil(wait)).astype(np.int64)
    paid = pay <= LAST
    stop = np.where(paid, pay, np.minimum(LAST, due + 180))
    return {
        "start": start,
        "due": due,
        "stop": stop,
        "paid": paid,
        "customer": who.astype(np.int32),
        "gone": gone,
    }


@pytest.mark.parametrize("share", [0.0, 0.02, 0.15])
def test_the_share_is_found(share: float) -> None:
    data = drawn(1, share, 1.0)
    gone = data.pop("gone")
    found = never_paid(**data)  # type: ignore[arg-type]
    assert found.mean == pytest.approx(gone.mean(), abs=0.006)
    assert np.all(found.weight[data["paid"]] == 1.0)
    old = ~data["paid"] & (data["stop"] > data["due"] + 150)
    assert np.all(found.weight[old] < 0.2) or share == 0.0


def test_a_slow_customer_is_not_a_bad_debt() -> None:
    """Customer 0 waits 300 days on average: counting what is unpaid after 180 days would give 3 %."""
    data = drawn(2, 0.01, 15.0)
    data.pop("gone")
    found = never_paid(**data)  # type: ignore[arg-type]
    naive = (~data["paid"] & (data["due"] + 180 <= LAST)).sum() / (data["due"] + 180 <= LAST).sum()
    assert naive > 0.03
    assert found.mean == pytest.approx(0.01, abs=0.006)
    waiting = ~data["paid"] & (data["stop"] > data["due"] + 60)
    slow = data["customer"] == 0
    assert found.weight[waiting & slow].mean() > 0.6 > 0.2 > found.weight[waiting & ~slow].mean()


def test_what_is_told_is_beta_where_payers_have_all_paid() -> None:
    """With hardly anybody left who might yet pay the posterior is that of counts, nearly."""
    from scipy import stats

    data = drawn(5, 0.04, 1.0)
    gone = data.pop("gone")
    old = data["start"] < LAST - 400
    found = never_paid(**{name: values[old] for name, values in data.items()})  # type: ignore[arg-type]
    count, n = gone[old].sum(), old.sum()
    exact = stats.beta(NEVER_PRIOR[0] + count, NEVER_PRIOR[1] + n - count)
    draws = found.sample(20_000, np.random.default_rng(1))
    assert found.mean == pytest.approx(exact.mean(), rel=0.04)
    assert draws.std() == pytest.approx(exact.std(), rel=0.05)
    np.testing.assert_allclose(np.quantile(draws, [0.05, 0.5, 0.95]), exact.ppf([0.05, 0.5, 0.95]), rtol=0.05)


def test_young_invoices_say_nothing() -> None:
    """All issued in the last two days, hardly any observation: the prior is what remains."""
    data = drawn(3, 0.3, 1.0)
    data.pop("gone")
    data["start"] = np.full_like(data["start"], LAST - 2)
    data["due"] = data["start"] + 30
    data["paid"] = np.arange(data["start"].size) % 400 == 0
    data["stop"] = np.full_like(data["start"], LAST)
    assert never_paid(**data).mean == pytest.approx(0.005, rel=0.15)  # type: ignore[arg-type]


def test_nothing_paid_leaves_the_prior() -> None:
    data = drawn(4, 0.0, 1.0)
    data.pop("gone")
    data["paid"] = np.zeros_like(data["paid"])
    found = never_paid(**data)  # type: ignore[arg-type]
    assert found.weight.min() == 1.0
    draws = found.sample(50_000, np.random.default_rng(2))
    assert draws.mean() == pytest.approx(0.005, rel=0.05)
    # the prior is Beta(0.5, 99.5): a quarter of it lies below 0.05 %
    assert (draws < 0.0005).mean() == pytest.approx(0.246, abs=0.02)


def test_who_pays_at_the_till_is_no_division_by_zero() -> None:
    """Every invoice paid on the day of its issue: none is under observation for any time."""
    start = np.arange(40, dtype=np.int64) * 3
    with np.errstate(all="raise"):
        found = never_paid(start, start + 30, start, np.ones(40, bool), np.arange(40, dtype=np.int32) % 7)
    assert (found.weight == 1.0).all()
    assert found.mean == pytest.approx(0.5 / 140.0, rel=0.05)  # the prior Beta(.5, 99.5) and 40 that paid
