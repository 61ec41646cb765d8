"""Counts without the zeros hold what plain arrays hold."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest

from quotacast.engine.answers.quantiles import in_rising_order, quantiles, quantiles_in_order
from quotacast.engine.columns import Columns, Growing, columns_of, join, take
from quotacast.engine.simulate import _even

RNG = np.random.default_rng(17)


def sparse(shape: tuple[int, ...], high: int, low: int = 0) -> Any:
    values = RNG.integers(low, high, shape)
    return np.where(RNG.random(shape) < 0.2, values, 0)


@pytest.mark.parametrize("shape", [(530, 3, 4), (300, 2, 5, 2), (7, 1, 1, 2)])
@pytest.mark.parametrize(("low", "high"), [(0, 200), (-300, 300), (0, 90_000), (-(10**11), 10**12)])
def test_columns_hold_the_array(shape: tuple[int, ...], low: int, high: int) -> None:
    plain = sparse(shape, high, low)
    for block in (256, 100, 3):
        found = columns_of(plain.copy(), block)
        assert np.array_equal(found.dense().reshape(shape), plain)
    widest = max(abs(int(plain.min())), abs(int(plain.max())))
    assert found.value.dtype.itemsize <= (1 if plain.min() >= 0 and widest < 256 else 8)
    assert np.iinfo(found.value.dtype).max >= widest


def test_sums_are_numpys() -> None:
    plain = sparse((700, 5, 6, 2), 5000)
    found = columns_of(plain.copy())
    for reps, steps in (
        ([0, 1, 2, 3, 4], slice(0, 6)),
        ([3], slice(2, 3)),
        ([4, 1], slice(1, 5)),
        ([], slice(0, 6)),
    ):
        wanted = plain[:, reps][:, :, steps].sum(axis=(1, 2))
        got = found.sums(np.array(reps, dtype=np.int64), steps)
        assert np.array_equal(np.stack(got, axis=1), wanted)
    assert np.array_equal(found.sums(np.array([2]), slice(4, 4))[0], np.zeros(700))


def test_a_block_is_emptied_and_must_be_small() -> None:
    plain = sparse((50, 2, 3), 9)
    again = plain.copy()
    part = take(again)
    assert not again.any()
    assert part.draw.size == np.count_nonzero(plain)
    whole = join([part], 2, 3, 1)
    assert isinstance(whole, Columns)
    assert whole.nbytes < plain.nbytes
    with pytest.raises(ValueError, match="one byte"):
        take(np.zeros((300, 1, 1), dtype=np.int32))


def test_blocks_that_outgrow_the_first_keep_what_was_added() -> None:
    blocks = [sparse((40, 3, 4), 9), sparse((40, 3, 4), 400) * 1000, sparse((40, 3, 4), 3, -3), RNG.integers(
        1, 10**12, (17, 3, 4))]  # fmt: skip
    blocks[0][RNG.random(blocks[0].shape) < 0.9] = 0
    growing, plain = Growing(len(blocks), 3, 4, 1), np.concatenate(blocks)
    for number, block in enumerate(blocks, start=1):
        growing.add(take(np.ascontiguousarray(block)))
        so_far = growing.columns()
        assert so_far.shape == (min(40 * number, len(plain)), 3, 4, 1)
    assert np.array_equal(growing.columns().dense()[..., 0], plain)


def test_draws_are_cut_into_blocks_of_equal_work() -> None:
    threads = numba.get_num_threads()
    for draws, most in ((10_000, 256), (2_300, 256), (4_000, 137), (1, 256), (257, 256), (12, 1)):
        size = _even(draws, most)
        blocks = -(-draws // size)
        assert 1 <= size <= most
        assert blocks % threads == 0 or draws < threads * most
        assert 0 <= blocks * size - draws < blocks  # the last one is about as large as the others


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 1.0])
def test_values_are_put_in_rising_order(share: float) -> None:
    for low in (-7.5, 0.0, 3.25):
        values = np.where(RNG.random(2001) < share, low + RNG.lognormal(3.0, 1.0, 2001), low)
        assert np.array_equal(in_rising_order(values), np.sort(values))
        mixed = values * RNG.choice([1.0, -1.0], 2001)
        assert np.array_equal(in_rising_order(mixed), np.sort(mixed))
    assert in_rising_order(values[:0]).size == 0


@pytest.mark.parametrize("size", [1, 2, 7, 1000, 10_001])
def test_quantiles_of_values_in_order_are_numpys(size: int) -> None:
    percents = (0.0, 2.5, 10.0, 37.3, 50.0, 90.0, 97.5, 100.0)
    values = np.sort(np.round(RNG.lognormal(8.0, 2.0, size), 2) * (RNG.random(size) < 0.8))
    assert quantiles_in_order(values, percents) == quantiles(values, percents)
    assert quantiles_in_order(values[:0], percents) == quantiles(values[:0], percents)
