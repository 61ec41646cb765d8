"""From wins to hours of delivery by month: what is signed, what open deals may bring, what is yet to come.

A win closed on day c is delivered in equal daily parts on the days ``c + start_lag … c + start_lag +
duration - 1`` (a duration of 0 or 1: on the one day). Its hours are, in this order: its own, where the data
state them for a deal that is signed; ``hours_per_deal``; ``hours_per_amount`` x amount; else its amount x the
ratio hours / amount of a past win, drawn at random for each simulated deal (so ratios are taken to be
independent of amounts).
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from quotacast.engine.paths import Paths
from quotacast.engine.streams import PER_DRAW, keys, mix, unit
from quotacast.errors import PlanError
from quotacast.models.history.history import History
from quotacast.models.timegrid import day_number

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_U = np.uint64

#: So many wins with hours are wanted before ratios are taken from the data.
LEAST_WINS = 20
_CENT = 0.01


@dataclass(frozen=True)
class Delivery:
    """What delivering a win takes.

    Attributes
    ----------
    person_month : float
        Hours that one person delivers in a month.
    hours_per_amount, hours_per_deal : float, optional
        At most one of them; without either the data's ``delivery_hours`` tell.
    start_lag, duration : int
        Days from close to the start of delivery, and days that it takes.
    people : float, optional
        People who deliver; without it nobody can be short.
    """

    person_month: float
    hours_per_amount: float | None = None
    hours_per_deal: float | None = None
    start_lag: int = 0
    duration: int = 30
    people: float | None = None


def parts(close: Ints, delivery: Delivery, edges: Ints) -> Floats:
    """Share of a delivery that falls between edges, shape (closes, edges - 1).

    Parameters
    ----------
    close : ndarray of int64, shape (closes,)
        Day numbers of closes.
    edges : ndarray of int64, shape (n + 1,)
        First day of every span and the day after the last.
    """
    begin = close[:, None] + delivery.start_lag
    length = max(delivery.duration, 1)
    upto = np.clip(edges[None, :] - begin, 0, length) / length
    return np.asarray(np.diff(upto, axis=1))


def past_ratios(history: History) -> Floats:
    """Hours per unit of currency of past wins that state both, in the order of the table."""
    deals = history.opportunities
    hours, amount = (deals[name].to_numpy(dtype=float) for name in ("delivery_hours", "amount"))
    known = (deals["status"] == "won").to_numpy() & (hours > 0) & (amount > 0)
    return np.asarray(hours[known] / amount[known])


def ratios_of(history: History, delivery: Delivery) -> Floats:
    """Ratios hours / amount from which simulated deals draw; one alone where the plan states it.

    Raises
    ------
    PlanError
        Where neither the plan nor enough wins say how many hours a deal takes.
    """
    if delivery.hours_per_amount is not None:
        return np.array([delivery.hours_per_amount])
    found = past_ratios(history)
    if delivery.hours_per_deal is None and found.size < LEAST_WINS:
        raise PlanError(
            f"capacity: neither hours_per_amount nor hours_per_deal is given, and {found.size} wins have "
            f"delivery_hours, wanted {LEAST_WINS}: give one of the two"
        )
    return found


@dataclass(frozen=True)
class Load:
    """Hours of delivery by span.

    Attributes
    ----------
    confirmed : ndarray, shape (spans,)
        Of deals that are signed.
    open, new : ndarray, shape (draws, spans)
        Of deals that are open now and of those yet to be created, if they are won.
    """

    confirmed: Floats
    open: Floats
    new: Floats

    @property
    def total(self) -> Floats:
        """All of it, shape (draws, spans)."""
        return np.asarray(self.confirmed + self.open + self.new)

    def __add__(self, other: Load) -> Load:
        """Both together."""
        return Load(self.confirmed + other.confirmed, self.open + other.open, self.new + other.new)


def loads(
    paths: Paths, history: History, delivery: Delivery, edges: Ints, seed: int
) -> dict[tuple[str, str], Load]:
    """Hours of delivery between edges by (rep, team) who closed the deal.

    Parameters
    ----------
    paths : Paths
        In daily steps, with the measures ``won`` and ``won_cents``.
    edges : ndarray of int64, shape (spans + 1,)
        Day numbers; the first is not before tomorrow.

    Raises
    ------
    PlanError
        Where nothing says how many hours a deal takes.
    """
    ratios = ratios_of(history, delivery)
    share = parts(paths.steps.edges[:-1], delivery, edges)
    streams = keys(seed, "delivery", paths.reps)
    found = signed(history, delivery, edges, ratios)
    nothing = np.zeros(edges.size - 1)
    for at, seat in enumerate(zip(paths.reps, paths.teams, strict=True)):
        both = [_hours(paths, at, component, delivery, ratios, streams[at]) @ share for component in (0, 1)]
        confirmed = found[seat].confirmed if seat in found else nothing
        found[seat] = Load(confirmed, *both)
    return found


def signed(history: History, delivery: Delivery, edges: Ints, ratios: Floats) -> dict[tuple[str, str], Load]:
    """Hours of deals that are won already, by (rep, team on the day of the win)."""
    won = history.opportunities[history.opportunities["status"] == "won"]
    close = day_number(won["closed_on"])
    share = parts(close, delivery, edges)
    hours = won["delivery_hours"].to_numpy(dtype=float)
    amount = np.nan_to_num(won["amount"].to_numpy(dtype=float))
    usual = (
        np.full(len(won), delivery.hours_per_deal)
        if delivery.hours_per_deal is not None
        else amount * ratios.mean()
    )
    load = np.where(np.isfinite(hours), hours, usual)[:, None] * share
    rep = won["rep_id"].to_numpy(dtype=object)
    team = history.team_on(rep, close.astype("datetime64[D]"))
    found: dict[tuple[str, str], Load] = {}
    none = np.zeros((1, edges.size - 1))
    for row in np.flatnonzero(load.any(axis=1)):
        seat = (str(rep[row]), str(team[row]))
        more = Load(load[row], none, none)
        found[seat] = found[seat] + more if seat in found else more
    return found


def _hours(
    paths: Paths, rep: int, component: int, delivery: Delivery, ratios: Floats, stream: np.uint64
) -> Floats:
    """Hours of a rep's wins by draw and day of the win, shape (draws, days)."""
    won = _daily(paths, "won", rep, component)
    if delivery.hours_per_deal is not None:
        return np.asarray(won * delivery.hours_per_deal)
    money = _daily(paths, "won_cents", rep, component) * _CENT
    if ratios.size == 1:
        return np.asarray(money * ratios[0])
    place = (2 * paths.steps.edges[:-1] + component).astype(np.uint64)
    return np.asarray(money * _mean_ratio(won, ratios, stream, place))


def _daily(paths: Paths, measure: str, rep: int, component: int) -> Ints:
    rows, columns = np.array([rep]), paths.columns[measure]
    days = [columns.sums(rows, slice(s, s + 1))[component] for s in range(len(paths.steps))]
    return np.stack(days, axis=1)


@numba.njit(cache=True, nogil=True)
def _mean_ratio(won, ratios, stream, place):
    """Mean ratio of the wins of each draw and day, every win with a ratio of its own."""
    out = np.zeros(won.shape)
    for d in range(won.shape[0]):
        for s in range(won.shape[1]):
            n = won[d, s]
            if n == 0:
                continue
            own = mix(stream ^ mix(place[s]))
            for k in range(n):
                u = unit(mix(own + _U(k)), _U(d) * PER_DRAW)
                out[d, s] += ratios[int(u * ratios.shape[0])] / n
    return out


def together(found: dict[tuple[str, str], Load], draws: int, seats: Sequence[tuple[str, str]]) -> Load:
    """Load of several seats, with the draws' axis also where only signed deals are left."""
    spans = next(iter(found.values())).confirmed.size
    total = Load(np.zeros(spans), np.zeros((draws, spans)), np.zeros((draws, spans)))
    for seat in seats:
        total = total + found[seat]
    return total
