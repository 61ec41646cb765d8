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
open deal is the same with its own age, its own kind, and survival from the first simulated day; one that
stands in a stage follows the forward equations of :mod:`quotacast.engine.expected_stages`. Where
cycle times are stretched by c, a day passes only 1 / c days of age and hazards are divided by c; where
the close rate is changed by a factor, the win's part of the hazard is multiplied by it, at most to the whole.
Who leaves when and who takes over is given, too (:mod:`quotacast.engine.departures`): a person creates only
while there, and what closes later is shared by the heirs in equal parts, the wins among it fewer.

Where territories move, a row keeps the share of every segment that the moves leave it or give it
(:mod:`quotacast.engine.territory`).

Leads are the same with conversions for wins; a conversion on day t begins opportunities of its segment on
that day, yield x changed rate of them, which are added to lambda. Means are given the activities of each
draw: what recent activity does to creation is taken from them, and activities have the mean of their counts.

Nothing here is used to answer a question: it has no distribution. Cost grows with days squared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quotacast.engine.expected_stages import staged_fates
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
    """Means of measures given the parameters, common shocks and activities of each draw.

    Parameters
    ----------
    tables : Tables
    first, draws : int
        Draws ``first`` to ``first + draws - 1``.

    Returns
    -------
    dict of ndarray
        ``created`` and those of leads of shape (draws, reps, steps); ``won``, ``lost``, ``won_days`` of
        shape (draws, reps, steps, 2), open deals first. Units as in
        :data:`quotacast.engine.paths.MEASURES`.
    """
    block = tables.block(first, draws)
    leads = block.pop("leads")
    segments = tables.fixed["segment_mix"].shape[2]
    kept = tables.territory.kept(segments, tables.grid.days.size)
    deals: dict[str, Any] = {**tables.fixed, **block, "kept": kept}
    days, reps, steps = deals["weights"].size, tables.territory.rows, len(tables.steps)
    step = np.zeros((days, steps))
    step[np.arange(days), deals["step_of_day"]] = 1.0
    begun = np.zeros((draws, reps, deals["segment_mix"].shape[2], days))
    found: dict[str, Floats] = {}
    if leads is not None:
        table = {**tables.leads.fixed, **leads, "quoted": 0, "kept": kept}
        created, closed = _ends(table, begun)
        names = ("leads_converted", "leads_disqualified", "lead_days")
        found = dict(zip(names, _by_seat(table, closed.sum(axis=5), step).sum(axis=3), strict=True))
        found["leads_created"] = _by_seat(table, created[None], step)[0].sum(axis=2)
        odds = table["begins"][table["parameter"]]
        begun = closed[0].sum(axis=4) * table["begins_times"][None, :, None, :] * odds[:, None, None, None]
    created, closed = _with_heirs(deals, begun)
    won, lost, won_days = _by_seat(deals, closed, step).sum(axis=3)
    created = _by_seat(deals, created[None], step)[0].sum(axis=2)
    return {"created": created, "won": won, "lost": lost, "won_days": won_days, **found}


def _with_heirs(table: dict[str, Any], begun: Floats) -> tuple[Floats, Floats]:
    """Beginnings and endings of deals: wins of those that change hands are fewer; see :func:`_ends`."""
    away = np.arange(begun.shape[3]) >= table["gone"][:, :, None, None]
    created, closed = _ends(table, np.where(away, 0.0, begun))
    won, _, won_days = closed
    lost_hands = (1.0 - table["keep_odds"]) * away[..., None]
    closed = closed + lost_hands * np.stack([-won, won, -won_days])
    late, late_closed = _ends(table, np.where(away, begun, 0.0), alone=True)
    return created + late, closed + late_closed


def _ends(table: dict[str, Any], begun: Floats, alone: bool = False) -> tuple[Floats, Floats]:
    """Beginnings and endings by day, of everybody's own.

    Parameters
    ----------
    begun : ndarray, shape (draws, reps, segments, days)
        Mean number of those that something else begins.
    alone : bool
        Whether to leave out all others.

    Returns
    -------
    created : ndarray, shape (draws, reps, segments, days)
    closed : ndarray, shape (3, draws, reps, segments, days, 2)
        Mean number of wins, of losses and of days of wins; open ones first.
    """
    draws, reps, _, days = begun.shape
    created, closed = begun.copy(), np.zeros((3, *begun.shape, 2))
    for r in range(reps):
        new = _lives(table, r, np.arange(days))
        mine = np.flatnonzero(table["deal_rep"] == r)
        old = _lives(table, r, table["deal_start"][mine])
        for d in range(draws):
            rates = _rates(table, d, r)
            if not alone:
                mix = table["segment_mix"][table["parameter"][d], table["mix_row"][r]]
                created[d, r] += (
                    np.diff(mix, prepend=0.0)[:, None] * _intensity(table, d, r) * table["kept"][r]
                )
                closed[:, d, r, :, :, OPEN] = _open(table, d, r, old, rates, mine)
            if created[d, r].any():
                closed[:, d, r, :, :, NEW] = _new(table, d, r, new, rates, created[d, r])
    return created, closed


def _by_seat(table: dict[str, Any], by_rep: Floats, step: Floats) -> Floats:
    """From reps and days to seats and steps: from the leaving on the heirs share what happens.

    Parameters
    ----------
    by_rep : ndarray, shape (measures, draws, reps, segments, days, ...)
    step : ndarray, shape (days, steps)

    Returns
    -------
    ndarray, shape (measures, draws, seats, segments, steps, ...)
    """
    heirs, seats = table["heir"].shape[2], int(table["seat"].max()) + 1
    out = np.zeros((*by_rep.shape[:2], seats, *by_rep.shape[3:]))
    for d in range(by_rep.shape[1]):
        for r, seat in enumerate(table["seat"]):
            gone = table["gone"][d, r]
            out[:, d, seat, :, :gone] += by_rep[:, d, r, :, :gone]
            for heir in table["heir"][d, r]:
                out[:, d, heir, :, gone:] += by_rep[:, d, r, :, gone:] / heirs
    return np.asarray(np.moveaxis(np.tensordot(out, step, axes=(4, 0)), -1, 4))


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
    if table["follows"][r]:
        ramp = table["ramp_days"][r]
        tenure = tenure_band(ramp[table["bin_middle"]] - ramp[joined])
    there = (day >= joined) & (day < table["gone"][d, r])
    rate = (
        table["created_base"][d, r]
        * table["created_time"][d]
        * table["created_rep"][d, r, table["bin_quarter"]]
        * table["created_tenure"][table["parameter"][d], tenure]
    )
    if table["driven"]:
        rate = rate * table["created_drive"][d, r]
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
    table: dict[str, Any], d: int, r: int, lives: Lives, rates: tuple[Floats, Floats], number: Floats
) -> Floats:
    """Expected wins, losses and days of wins by segment and day, shape (3, segments, days)."""
    p, total = table["parameter"][d], np.zeros((3, *number.shape))
    for s in range(number.shape[0]):
        for band, part in _quote_bands(table, d, r, s):
            won, lost = _fates(table, r, lives, rates, *_own(table, p, s, band))
            total[:, s] += _count(lives, won, lost, number[s] * part)
    return total


def _open(
    table: dict[str, Any], d: int, r: int, lives: Lives, rates: tuple[Floats, Floats], mine: Ints
) -> Floats:
    segment = table["deal_segment"][mine]
    own = _own(table, table["parameter"][d], segment, table["deal_band"][mine])
    won, lost = _fates(table, r, lives, rates, *own)
    if table["staged"]:
        day = np.arange(lives.band.shape[1])
        for k in np.flatnonzero(table["deal_stage"][mine] >= 0):
            hazards = [one[k] * rate[lives.band[k], day] for one, rate in zip(own, rates, strict=True)]
            won[k], lost[k] = staged_fates(table, d, r, int(mine[k]), lives.band[k], *hazards)
    levels = range(table["segment_mix"].shape[2])
    return np.stack([_count(lives, won, lost, (segment == s).astype(float)) for s in levels], axis=1)


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
