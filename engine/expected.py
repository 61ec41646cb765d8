"""Closed-form means of what the simulator counts, given the tables of a draw.

The simulator draws deals one by one; here the same process is integrated, day by day, so that each
checks the other. For rep r, with lambda[s] the mean number of opportunities created on day s ::

    E[created on s]   = lambda[s] = (weighted days at work on s, times changed rates) x rate of s's bin
    E[wins on day t]  = sum over s <= t and kinds k of lambda[s] x share[k, s] x P(win on t | s, k)
    P(win on t | s)   = S(t) x (1 - exp(-H(t))) x h_win(t) / (h_win(t) + h_loss(t))
    H(t)              = weight[t] x (h_win(t) + h_loss(t)), halved on t = s: deals begin at midday
    S(t)              = exp(-sum of H before t)

The first line is the mean of a NegBinomial count spread over its bin by weighted days; the second is
Campbell's formula for a marked (thinned) point process, which needs the mean only and so holds for
overdispersed counts too (Daley & Vere-Jones 2003, doi:10.1007/b97277, section 6.4); the third is competing
risks with hazards that are constant within a day. Kinds are segments x bands of the quoted amount. An
open deal is the same with its own age, its own kind, and survival from the first simulated day. Where
cycle times are stretched by c, a day passes only 1 / c days of age and hazards are divided by c; where
the close rate is changed by a factor, the win's part of the hazard is multiplied by it, at most to the whole.
Who leaves when and who takes over is given, too (:mod:`quotacast.engine.departures`): a person creates only
while there, and what closes later is shared by the heirs in equal parts, the wins among it fewer.

Nothing here is used to answer a question: it has no distribution. Cost grows with days squared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quotacast.engine.tables import Tables
from quotacast.models.people import tenure_band
from quotacast.models.terms import Floats

Ints = NDArray[np.int64]

OPEN, NEW = 0, 1


@dataclass(frozen=True)
class Lives:
    """Deals of one rep that begin on given days: what is the same for all draws.

    Attributes
    ----------
    start : ndarray, shape (n,)
        Day of creation, negative before the first simulated day.
    band : ndarray, shape (n, days)
        Band of age on every day.
    exposure : ndarray, shape (n, days)
        Weighted time at risk on every day.
    """

    start: Ints
    band: Ints
    exposure: Floats


def expected_measures(tables: Tables, first: int, draws: int) -> dict[str, Floats]:
    """Means of created, won, lost and won_days given the parameters and common shocks of each draw.

    Parameters
    ----------
    tables : Tables
    first, draws : int
        Draws ``first`` to ``first + draws - 1``.

    Returns
    -------
    dict of ndarray
        ``created`` of shape (draws, reps, steps); ``won``, ``lost``, ``won_days`` of shape
        (draws, reps, steps, 2), open deals first. Units as in :data:`quotacast.engine.paths.MEASURES`.
    """
    block = tables.block(first, draws)
    table: dict[str, Any] = {**tables.fixed, **block}
    days, reps = table["weights"].size, len(tables.crew.reps)
    step = np.zeros((days, len(tables.steps)))
    step[np.arange(days), table["step_of_day"]] = 1.0
    created = np.zeros((draws, reps, days))
    closed = np.zeros((3, draws, reps, days, 2))
    for r in range(reps):
        new = _lives(table, r, np.arange(days))
        mine = np.flatnonzero(table["deal_rep"] == r)
        old = _lives(table, r, table["deal_start"][mine])
        for d in range(draws):
            created[d, r] = _intensity(table, d, r)
            rates = _rates(table, d, r)
            closed[:, d, r, :, NEW] = _new(table, d, r, new, rates, created[d, r])
            closed[:, d, r, :, OPEN] = _open(table, d, r, old, rates, mine)
    won, lost, won_days = np.einsum("mdrtc,ts->mdrsc", _handed_over(table, closed), step)
    seats = np.eye(reps)[:, : tables.crew.seats][table["seat"]]
    created = np.einsum("drt,rs->dst", created, seats)
    return {"created": created @ step, "won": won, "lost": lost, "won_days": won_days}


def _handed_over(table: dict[str, Any], closed: Floats) -> Floats:
    """Closings by seat, (3, draws, seats, days, 2): from the leaving on they are the heirs', wins fewer."""
    heirs, keep = table["heir"].shape[2], table["keep_odds"]
    out = np.zeros((*closed.shape[:2], int(table["seat"].max()) + 1, *closed.shape[3:]))
    for d in range(closed.shape[1]):
        for r, seat in enumerate(table["seat"]):
            gone = table["gone"][d, r]
            won, lost, won_days = closed[:, d, r]
            after = np.stack([keep * won, lost + (1.0 - keep) * won, keep * won_days])[:, gone:]
            out[:, d, seat, :gone] += closed[:, d, r, :gone]
            for heir in table["heir"][d, r]:
                out[:, d, heir, gone:] += after / heirs
    return out


def _lives(table: dict[str, Any], r: int, start: Ints) -> Lives:
    day = np.arange(table["weights"].size)
    entry = np.maximum(start, 0)[:, None]
    pace = 1.0 / table["cycle_times"][r, table["piece_of_day"]]
    passed = np.concatenate([[0.0], np.cumsum(pace)])[day]  # age gained before each day
    age = entry - start[:, None] + np.maximum(passed[None, :] - passed[entry], 0.0)
    band = np.searchsorted(table["age_edges"], age + 1e-9, side="right") - 1
    exposure = table["weights"] * (day >= entry) * np.where(day == start[:, None], 0.5, 1.0)
    return Lives(start, band, exposure)


def _intensity(table: dict[str, Any], d: int, r: int) -> Floats:
    """Mean creations of every day, shape (days,)."""
    bins = np.repeat(np.arange(table["bin_label"].size), np.diff(table["bin_edges"]))
    day, joined, tenure = np.arange(bins.size), table["joined"][d, r], table["tenure"][r]
    if table["seat"][r] != r:
        tenure = tenure_band(table["bin_middle"] - joined)
    there = (day >= joined) & (day < table["gone"][d, r])
    rate = (
        table["created_base"][d, r]
        * table["created_time"][d]
        * table["created_rep"][d, r, table["bin_quarter"]]
        * table["created_tenure"][table["parameter"][d], tenure]
    )
    return np.asarray(np.diff(table["at_work"][r]) * rate[bins] * there)


def _rates(table: dict[str, Any], d: int, r: int) -> tuple[Floats, Floats]:
    """Hazards by band of age and day, without what belongs to the deal; two arrays (bands, days)."""
    piece = table["piece_of_day"]
    position, quarter = table["position"][piece], table["quarter"][piece]
    p = table["parameter"][d]
    win, loss = (
        table[f"base_{cause}"][d, r]
        * table[f"age_{cause}"][p][:, position]
        * table[f"time_{cause}"][d, piece]
        * table[f"rep_{cause}"][d, r, quarter]
        for cause in ("win", "loss")
    )
    return win, loss


def _fates(
    table: dict[str, Any], r: int, lives: Lives, rates: tuple[Floats, Floats], win: Any, loss: Any
) -> tuple[Floats, Floats]:
    """Probabilities of a win and of a loss on every day, two arrays (n, days)."""
    day = np.arange(lives.band.shape[1])
    piece = table["piece_of_day"]
    stretch = table["cycle_times"][r, piece]
    h_win, h_loss = (
        np.reshape(own, (-1, 1)) * rate[lives.band, day] / stretch
        for own, rate in zip((win, loss), rates, strict=True)
    )
    both = h_win + h_loss
    h_win = np.minimum(h_win * table["share_times"][r, piece], both)
    hazard = both * lives.exposure
    before = np.cumsum(hazard, axis=1) - hazard
    closed = np.exp(-before) * -np.expm1(-hazard)
    won = closed * h_win / both
    return won, closed - won


def _new(
    table: dict[str, Any], d: int, r: int, lives: Lives, rates: tuple[Floats, Floats], intensity: Floats
) -> Floats:
    """Expected wins, losses and days of wins by day, shape (3, days)."""
    p, total = table["parameter"][d], np.zeros((3, intensity.size))
    mix = np.diff(table["segment_mix"][p, table["mix_row"][r]], prepend=0.0)
    for s, share in enumerate(mix):
        for band, part in _quote_bands(table, d, r, s):
            won, lost = _fates(table, r, lives, rates, *_own(table, p, s, band))
            total += _count(lives, won, lost, intensity * share * part)
    return total


def _open(
    table: dict[str, Any], d: int, r: int, lives: Lives, rates: tuple[Floats, Floats], mine: Ints
) -> Floats:
    own = _own(table, table["parameter"][d], table["deal_segment"][mine], table["deal_band"][mine])
    won, lost = _fates(table, r, lives, rates, *own)
    return _count(lives, won, lost, np.ones(mine.size))


def _own(table: dict[str, Any], p: int, segment: Any, band: Any) -> tuple[Any, Any]:
    """Factors of a deal's own kind on the hazards of winning and losing."""
    win, loss = (table[f"segment_{c}"][p, segment] * table[f"amount_{c}"][p, band] for c in ("win", "loss"))
    return win, loss


def _count(lives: Lives, won: Floats, lost: Floats, number: Floats) -> Floats:
    age = np.arange(won.shape[1]) - lives.start[:, None]
    return np.stack([number @ won, number @ lost, number @ (won * age)])


def _quote_bands(table: dict[str, Any], d: int, r: int, s: int) -> list[tuple[int, Floats]]:
    """Bands of the quoted amount with their probabilities by day of creation, shape (days,)."""
    days = table["weights"].size
    if not table["quoted"]:
        return [(0, np.ones(days))]
    p, quarter = table["parameter"][d], table["quarter"][table["piece_of_day"]]
    centre = table["value_segment"][p, s] + table["value_rep"][d, r] + table["value_time"][d, quarter]
    below = np.concatenate([[0.0], table["residual_shares"][p].astype(float)])
    reach = [
        below[np.searchsorted(table["residual"], edge - centre, side="right")] for edge in table["band_edges"]
    ]
    cumulative = np.stack([np.zeros(days), *reach, np.ones(days)])
    return [(band + 1, part) for band, part in enumerate(np.diff(cumulative, axis=0))]
