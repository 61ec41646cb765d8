"""Named random streams without state.

Every random number is a function of what it is for ::

    u = uniform(key(seed, purpose, entity), draw, k)

so adding a rep or a deal changes nobody else's numbers, two scenarios differ only by what was changed
(common random numbers), and the result does not depend on how draws are cut into chunks. Keys come
from BLAKE2b; the generator is SplitMix64 (Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195) used
as a counter-based one: key + counter x golden ratio, then its finaliser.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numba
import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
Floats = NDArray[np.float64]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31, _S11 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(11)
_UNIT = 1.0 / 9007199254740992.0
#: Counters a draw may use within one key.
PER_DRAW = np.uint64(8)


def key(seed: int, purpose: str, entity: str = "") -> np.uint64:
    """64-bit key of a named stream."""
    text = f"{seed}\x1f{purpose}\x1f{entity}".encode()
    return np.uint64(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little"))


def keys(seed: int, purpose: str, entities: Sequence[str]) -> Keys:
    """Keys of many entities, shape ``(len(entities),)``."""
    return _keys(seed, purpose, tuple(entities))


@lru_cache(maxsize=256)  # every block of draws asks for the same ones
def _keys(seed: int, purpose: str, entities: tuple[str, ...]) -> Keys:
    found = np.array([key(seed, purpose, entity) for entity in entities], dtype=np.uint64)
    found.flags.writeable = False
    return found


@numba.njit(numba.uint64(numba.uint64), cache=True, nogil=True)
def mix(x):  # type: ignore[no-untyped-def]
    """Finaliser of SplitMix64: a bijection of 64-bit numbers that scatters them."""
    x = (x ^ (x >> _S30)) * _M1
    x = (x ^ (x >> _S27)) * _M2
    return x ^ (x >> _S31)


@numba.njit(numba.float64(numba.uint64, numba.uint64), cache=True, nogil=True)
def unit(stream, counter):  # type: ignore[no-untyped-def]
    """Uniform number strictly between 0 and 1 at a place of a stream."""
    x = mix(stream + (counter + np.uint64(1)) * GOLDEN)
    return (np.float64(x >> _S11) + 0.5) * _UNIT


@numba.njit(cache=True)
def _fill(streams, first, out):  # type: ignore[no-untyped-def]
    for d in range(out.shape[0]):
        for i in range(out.shape[1]):
            for k in range(out.shape[2]):
                stream = mix(streams[i] + np.uint64(k) * _M1)
                out[d, i, k] = unit(stream, np.uint64(first + d))


def uniforms(streams: Keys, first: int, draws: int, size: int = 1) -> Floats:
    """Uniform numbers for a block of draws.

    Parameters
    ----------
    streams : ndarray of uint64, shape (n,)
    first, draws : int
        First draw of the block and number of draws.
    size : int
        Numbers per stream and draw.

    Returns
    -------
    ndarray, shape (draws, n, size)
    """
    out = np.empty((draws, streams.size, size))
    _fill(streams, first, out)
    return out


def normals(streams: Keys, first: int, draws: int, size: int = 1) -> Floats:
    """Standard normal numbers by inversion, shape (draws, n, size)."""
    from scipy.special import ndtri

    return np.asarray(ndtri(uniforms(streams, first, draws, size)))
