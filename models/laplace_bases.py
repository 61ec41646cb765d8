"""Bases of terms applied without being written out.

A term's levels are ``sd * basis @ z``. Multiplying by the matrix costs levels x coordinates; all of them
have a form that costs levels alone (``k`` counts levels from 0, ``z`` coordinates from 0) ::

    pooled, level, slope   x_k = z_k
    walk                   x_k = s_0 z_0 + ... + s_(k-1) z_(k-1)  less the mean, first or last level
    contrast               x_k = c_(k+1) z_k + ... + c_(n-1) z_(n-2) - k c_k z_(k-1)        (Helmert)
    shock                  x_0 = z_0,  x_k = rho x_(k-1) + sqrt(1 - rho^2) z_k

and so have their adjoints. The steps ``s`` and ``c`` are read off :meth:`quotacast.models.terms.Term.basis`,
of which this is another form and not another definition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from quotacast.models.laplace_kernels import compiled
from quotacast.models.terms import Floats, Term

Places = NDArray[np.int64]

IDENTITY, WALK_FROM_MEAN, WALK_FROM_FIRST, WALK_FROM_LAST, CONTRAST, SHOCK = range(6)
_WALKS = {"mean": WALK_FROM_MEAN, "first": WALK_FROM_FIRST, "last": WALK_FROM_LAST}


@dataclass(frozen=True)
class Bases:
    """Bases of several terms, their levels and coordinates numbered through.

    Attributes
    ----------
    places : ndarray of int64, shape (terms, 5)
        Form, first level, number of levels, first coordinate, number of coordinates.
    steps : ndarray, shape (coordinates,)
        ``s`` of walks and ``c`` of contrasts, of all others 1.
    """

    places: Places
    steps: Floats

    @cached_property
    def levels(self) -> int:
        """Number of levels of all terms."""
        return int(self.places[:, 2].sum())


def bases(terms: Sequence[Term]) -> Bases:
    """Forms and steps of terms in their order."""
    places = np.zeros((len(terms), 5), dtype=np.int64)
    steps, level, coordinate = [np.empty(0)], 0, 0
    for k, term in enumerate(terms):
        form, step = _form(term)
        places[k] = form, level, term.size, coordinate, term.dimension
        steps.append(step)
        level, coordinate = level + term.size, coordinate + term.dimension
    return Bases(places, np.concatenate(steps))


def _form(term: Term) -> tuple[int, Floats]:
    if term.kind == "shock":
        return SHOCK, np.ones(term.size)
    if term.kind not in ("walk", "contrast"):
        return IDENTITY, np.ones(term.size)
    basis = term.basis()
    if term.size == 1:
        return IDENTITY, basis[0]  # its only level is its reference: zero
    if term.kind == "contrast":
        return CONTRAST, basis[0].copy()
    return _WALKS[term.reference], np.diag(basis[1:] - basis[:1]).copy()


@compiled
def apply(places: Places, steps: Floats, sd: Floats, rho: Floats, z: Floats, out: Floats) -> None:
    """Levels of coordinates, shape (coordinates, k), into the first rows of ``out``, (levels, k).

    Parameters
    ----------
    sd, rho : ndarray, shape (terms,)
        ``rho`` of a shock; of any other term it is not read.
    """
    draws = z.shape[1]
    for b in range(places.shape[0]):
        form, first, size = places[b, 0], places[b, 1], places[b, 2]
        at, dimension = places[b, 3], places[b, 4]
        last = first + size - 1
        if form == SHOCK:
            innovation = sd[b] * np.sqrt(1.0 - rho[b] * rho[b])
            for m in range(draws):
                out[first, m] = sd[b] * z[at, m]
            for k in range(1, size):
                for m in range(draws):
                    out[first + k, m] = rho[b] * out[first + k - 1, m] + innovation * z[at + k, m]
        elif form == CONTRAST:
            for m in range(draws):
                out[first, m] = 0.0  # what the levels behind add up to
            for k in range(size - 1, 0, -1):
                step = sd[b] * steps[at + k - 1]
                for m in range(draws):
                    each = step * z[at + k - 1, m]
                    out[first + k, m] = out[first, m] - k * each
                    out[first, m] += each
        elif form == IDENTITY:
            for k in range(size):
                for m in range(draws):
                    out[first + k, m] = sd[b] * steps[at + k] * z[at + k, m]
        else:
            for m in range(draws):
                out[first, m] = 0.0
            for k in range(dimension):
                step = sd[b] * steps[at + k]
                for m in range(draws):
                    out[first + k + 1, m] = out[first + k, m] + step * z[at + k, m]
            if form == WALK_FROM_LAST:
                for k in range(size):
                    for m in range(draws):
                        out[first + k, m] -= out[last, m]
            if form == WALK_FROM_MEAN:
                mean = np.zeros(draws)
                for k in range(size):
                    for m in range(draws):
                        mean[m] += out[first + k, m] / size
                for k in range(size):
                    for m in range(draws):
                        out[first + k, m] -= mean[m]


@compiled
def adjoint(places: Places, steps: Floats, sd: Floats, rho: Floats, x: Floats, out: Floats) -> None:
    """The adjoint of :func:`apply`: from levels, shape (levels, k), into the first rows of ``out``."""
    draws = x.shape[1]
    sums = np.empty(draws)
    for b in range(places.shape[0]):
        form, first, size = places[b, 0], places[b, 1], places[b, 2]
        at, dimension = places[b, 3], places[b, 4]
        if form == SHOCK:
            innovation = sd[b] * np.sqrt(1.0 - rho[b] * rho[b])
            sums[:] = 0.0
            for k in range(size - 1, -1, -1):
                factor = innovation if k > 0 else sd[b]
                for m in range(draws):
                    sums[m] = x[first + k, m] + rho[b] * sums[m]
                    out[at + k, m] = factor * sums[m]
        elif form == CONTRAST:
            sums[:] = x[first]
            for k in range(1, size):
                step = sd[b] * steps[at + k - 1]
                for m in range(draws):
                    out[at + k - 1, m] = step * (sums[m] - k * x[first + k, m])
                    sums[m] += x[first + k, m]
        elif form == IDENTITY:
            for k in range(size):
                for m in range(draws):
                    out[at + k, m] = sd[b] * steps[at + k] * x[first + k, m]
        else:
            sums[:] = 0.0
            for k in range(dimension - 1, -1, -1):
                for m in range(draws):
                    sums[m] += x[first + k + 1, m]
                    out[at + k, m] = sums[m]
            for m in range(draws):
                sums[m] += x[first, m]
            for k in range(dimension):
                step = sd[b] * steps[at + k]
                share = 0.0
                if form == WALK_FROM_LAST:
                    share = 1.0
                elif form == WALK_FROM_MEAN:
                    share = (dimension - k) / size
                for m in range(draws):
                    out[at + k, m] = step * (out[at + k, m] - share * sums[m])


@compiled
def congruent(places: Places, steps: Floats, sd: Floats, rho: Floats, lower: Floats) -> Floats:
    """I + T'ST of a symmetric S between levels, shape (coordinates, coordinates).

    Parameters
    ----------
    lower : ndarray, shape (levels, levels)
        S, of which the part on and above the diagonal is read.
    """
    size, p = lower.shape[0], steps.size
    half, turned = np.empty((p, size)), np.empty((size, p))
    whole, out = np.empty((size, size)), np.empty((p, p))
    for i in range(size):
        for j in range(i, size):
            whole[i, j] = lower[i, j]
            whole[j, i] = lower[i, j]
    adjoint(places, steps, sd, rho, whole, half)
    for i in range(size):
        for j in range(p):
            turned[i, j] = half[j, i]
    adjoint(places, steps, sd, rho, turned, out)
    for i in range(p):
        out[i, i] += 1.0
    return out


@compiled
def spread(places: Places, steps: Floats, sd: Floats, rho: Floats, inverse: Floats, levels: int) -> Floats:
    """T C T' of a symmetric C between coordinates, shape (levels, levels).

    Parameters
    ----------
    inverse : ndarray, shape (coordinates, coordinates)
        C, of which the part on and above the diagonal is read.
    """
    p = steps.size
    whole, half = np.empty((p, p)), np.empty((levels, p))
    turned, out = np.empty((p, levels)), np.empty((levels, levels))
    for i in range(p):
        for j in range(i, p):
            whole[i, j] = inverse[i, j]
            whole[j, i] = inverse[i, j]
    apply(places, steps, sd, rho, whole, half)
    for i in range(levels):
        for j in range(p):
            turned[j, i] = half[i, j]
    apply(places, steps, sd, rho, turned, out)
    return out
