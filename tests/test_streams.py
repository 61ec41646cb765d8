"""Random streams: known answers, uniformity, independence of neighbours, and no state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from quotacast.engine.streams import GOLDEN, PER_DRAW, key, keys, mix, normals, uniforms, unit

#: First outputs of SplitMix64 seeded with 1234567, of its published reference implementation
#: (S. Vigna, https://prng.di.unimi.it/splitmix64.c).
KNOWN = (
    6457827717110365317,
    3203168211198807973,
    9817491932198370423,
    4593380528125082431,
    16408922859458223821,
)


@pytest.mark.parametrize(("step", "wanted"), list(enumerate(KNOWN, start=1)))
def test_the_finaliser_gives_the_published_numbers(step: int, wanted: int) -> None:
    state = (1234567 + step * int(GOLDEN)) % 2**64
    assert int(mix(np.uint64(state))) == wanted


def test_a_place_of_a_stream_is_the_generator_s_output() -> None:
    for counter, wanted in enumerate(KNOWN):
        found = unit(np.uint64(1234567), np.uint64(counter))
        assert found == ((wanted >> 11) + 0.5) / 2.0**53


def test_the_ends_are_never_reached() -> None:
    u = uniforms(keys(3, "ends", [f"e{i}" for i in range(40)]), 0, 5000)
    assert 0.0 < u.min() < 1e-4
    assert 1.0 - 1e-4 < u.max() < 1.0
    assert np.isfinite(normals(keys(3, "ends", ["a"]), 0, 5000)).all()


def ranks(*, entities: int, draws: int, size: int) -> Any:
    names = [f"r{i:03d}" for i in range(entities)]
    return uniforms(keys(11, "waiting", names), 17, draws, size)


@pytest.mark.parametrize("axis", [0, 1, 2], ids=["draws", "entities", "numbers"])
def test_numbers_are_uniform_along_every_axis(axis: int) -> None:
    entities, draws, size = ((1, 20000, 1), (4000, 1, 1), (1, 1, 4000))[axis]
    assert stats.kstest(ranks(entities=entities, draws=draws, size=size).ravel(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("axis", [0, 1, 2], ids=["draws", "entities", "numbers"])
@pytest.mark.parametrize("lag", [1, 2, 8])
def test_neighbours_are_independent_along_every_axis(axis: int, lag: int) -> None:
    u = ranks(entities=40, draws=60, size=40)
    u = np.moveaxis(u, axis, 0)
    a, b = u[:-lag].ravel(), u[lag:].ravel()
    bound = 4.5 / np.sqrt(a.size)
    assert abs(np.corrcoef(a, b)[0, 1]) < bound
    assert abs(np.corrcoef((a - 0.5) ** 2, (b - 0.5) ** 2)[0, 1]) < bound
    table = np.histogram2d(a, b, bins=8, range=[[0, 1], [0, 1]])[0]
    assert stats.chisquare(table.ravel()).pvalue > 1e-4


def test_places_within_a_draw_are_independent() -> None:
    stream = key(5, "deal", "o123")
    u = np.array([unit(stream, np.uint64(i)) for i in range(8 * 4000)]).reshape(-1, int(PER_DRAW))
    correlation = np.corrcoef(u.T) - np.eye(8)
    assert np.abs(correlation).max() < 4.5 / np.sqrt(u.shape[0])


def test_normals_are_normal() -> None:
    z = normals(keys(2, "shock", ["a", "b", "c"]), 0, 6000)[:, :, 0]
    assert stats.kstest(z.ravel(), "norm").pvalue > 1e-3
    assert np.abs(np.corrcoef(z.T) - np.eye(3)).max() < 4.5 / np.sqrt(6000)


def test_streams_have_no_state() -> None:
    names = ["r1", "r2", "r3"]
    whole = uniforms(keys(9, "x", names), 0, 50, 3)
    np.testing.assert_array_equal(whole[20:31], uniforms(keys(9, "x", names), 20, 11, 3))
    np.testing.assert_array_equal(whole[:, 1:2], uniforms(keys(9, "x", ["r2"]), 0, 50, 3))
    np.testing.assert_array_equal(whole[:, :, :2], uniforms(keys(9, "x", names), 0, 50, 2))


def test_seed_purpose_and_entity_are_all_part_of_the_name() -> None:
    found = {
        int(key(*name))
        for name in [(1, "a", "b"), (2, "a", "b"), (1, "ab", ""), (1, "a", "c"), (1, "b", "a")]
    }
    assert len(found) == 5
    assert int(key(12, "3", "")) != int(key(1, "23", ""))
