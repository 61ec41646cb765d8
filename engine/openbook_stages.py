"""How many deals will be open in which stage: the chain of stages, followed at its posterior means.

What is followed is the expected number n[a, u, s] of open deals of age a that have been in stage s for u
days (both in whole days, up to the last band, beyond which nothing changes). On an average day, with the
hazards of :mod:`quotacast.models.stages` and h = h_win + h_loss + h_move ::

    n'[a + 1, u + 1, s]  gets  n[a, u, s] exp(-h)
    n'[a + 1, 1, s']     gets  the sum over u and s of n[a, u, s] (1 - exp(-h)) h_move / h q[s, s']

New deals enter at age 0 in the stages in which deals begin. Only the shares of stages are taken from here:
the numbers are scaled to those that are open in the simulated futures, like the ages of
:mod:`quotacast.engine.openbook`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quotacast.engine.book import Book
from quotacast.engine.openbook import FEW_DRAWS, Fading
from quotacast.engine.skills import Ints, levels, some_rows
from quotacast.models.funnel import Funnel
from quotacast.models.stages import factors, move_rates
from quotacast.models.terms import Floats

NO_STAGE = "(no stage)"


@dataclass(frozen=True)
class Flow:
    """The chain at its posterior means, by day of age and day in the stage.

    Attributes
    ----------
    names : tuple of str
    win, loss, move : ndarray, shape (ages, days in the stage, stages)
        Factors on the hazards of winning and losing, and hazards of moving on per day.
    age_band : ndarray, shape (ages,)
        Band of age of every day of age.
    shares : ndarray, shape (stages, stages)
        Stages that follow.
    first : ndarray, shape (stages,)
        Shares of the stages in which deals begin.
    """

    names: tuple[str, ...]
    win: Floats
    loss: Floats
    move: Floats
    age_band: Ints
    shares: Floats
    first: Floats


def stage_flow(funnel: Funnel) -> Flow | None:
    """The chain of a fit; None where deals go by age alone."""
    data = funnel.prepared.stages
    if data is None:
        return None
    rows, edges = some_rows(funnel, FEW_DRAWS), funnel.prepared.hazards.age_edges
    age_band = np.searchsorted(edges, np.arange(edges[-1] + 1), side="right") - 1
    band = np.searchsorted(data.edges, np.arange(data.edges[-1] + 1), side="right") - 1
    tables = []
    for k, declaration in enumerate(data.declarations):
        posterior = funnel.posteriors[declaration.name]
        own = (factors(data, posterior, k) if k < 2 else move_rates(data, posterior))[rows]
        age = np.exp(levels(funnel, declaration.name, "age", rows, len(edges)))
        mean = np.einsum("da,dsb->abs", age, own) / rows.size
        tables.append(mean[age_band][:, band])
    moved = data.moves + 1e-9 * (1.0 - np.eye(len(data.names)))
    shares = moved / np.maximum(moved.sum(axis=1, keepdims=True), 1e-300)
    win, loss, move = tables
    return Flow(data.names, win, loss, move, age_band, shares, data.first / data.first.sum())


def old_by_stage(flow: Flow, book: Book, fade: Fading, today: int, ahead: Sequence[int]) -> Floats:
    """Share of today's open deals in every stage before the coming days, shape (days asked, stages + 1).

    Parameters
    ----------
    ahead : sequence of int
        Days from tomorrow, ascending; 0 is tomorrow morning.
    """
    assert book.stage is not None
    assert book.entered is not None
    out = np.zeros((len(ahead), len(flow.names) + 1))
    rest = book.stage < 0
    where = (book.rep, book.segment, book.band)
    age = today - book.start
    for k, days in enumerate(ahead):
        later = fade.left(*where, age + days) / np.maximum(fade.left(*where, age), 1e-12)
        out[k, -1] = later[rest].sum()
    n, mine = np.zeros_like(flow.win), ~rest
    last_age, last_inside = len(flow.age_band) - 1, flow.win[0].shape[0] - 1
    ages = np.minimum((today + 1 - book.start)[mine], last_age)
    inside = np.minimum((today + 1 - book.entered)[mine], last_inside)
    np.add.at(n, (ages, inside, book.stage[mine]), 1.0)
    hazard = [h[where].mean(axis=0) for h in (fade.win, fade.loss)] if len(book) else [np.zeros(1)] * 2
    out[:, :-1] = _follow(flow, n, hazard, np.zeros(max(ahead) + 1), ahead)
    return out


def new_by_stage(flow: Flow, fade: Fading, pace: Floats, ahead: Sequence[int]) -> Floats:
    """Deals created from tomorrow on that stand in every stage before the coming days, (days asked, stages).

    Parameters
    ----------
    pace : ndarray, shape (reps, days)
        Expected creations on every day from tomorrow.
    """
    mix = fade.new * pace.sum(axis=1)[:, None, None]
    hazard = [np.einsum("rsb,rsba->a", mix, h) / max(mix.sum(), 1e-12) for h in (fade.win, fade.loss)]
    return _follow(flow, np.zeros_like(flow.win), hazard, pace.sum(axis=0), ahead)


def _follow(flow: Flow, n: Floats, hazard: Sequence[Floats], pace: Floats, ahead: Sequence[int]) -> Floats:
    """Numbers by stage before the days asked, shape (days asked, stages)."""
    base = [h[np.minimum(flow.age_band, h.size - 1)][:, None, None] for h in hazard]
    total = base[0] * flow.win + base[1] * flow.loss + flow.move
    stay = np.exp(-total)
    goes = (1.0 - stay) * flow.move / np.maximum(total, 1e-300)
    half = np.exp(-0.5 * total[0, 0])  # of the day of creation, half is left
    out = np.zeros((len(ahead), len(flow.names)))
    for day in range(max(ahead) + 1):
        for k in np.flatnonzero(np.asarray(ahead) == day):
            out[k] = n.sum(axis=(0, 1))
        moved = np.einsum("aus,aus->as", n, goes) @ flow.shares
        n = _older(n * stay)
        entry = np.zeros((n.shape[0], n.shape[2]))
        entry[1:] += moved[:-1]
        entry[-1] += moved[-1]
        n[:, min(1, n.shape[1] - 1)] += entry
        if day < pace.size:
            n[min(1, n.shape[0] - 1), min(1, n.shape[1] - 1)] += pace[day] * flow.first * half
    return out


def _older(n: Floats) -> Floats:
    """A day later: both ages grow by one, the last of each keeps what it has."""
    for axis in (0, 1):
        last = np.take(n, [-1], axis=axis)
        n = np.roll(n, 1, axis=axis)
        head = [slice(None)] * 3
        head[axis] = slice(0, 1)
        n[tuple(head)] = 0.0
        tail = [slice(None)] * 3
        tail[axis] = slice(-1, None)
        n[tuple(tail)] += last
    return n
