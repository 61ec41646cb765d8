"""Stages: a semi-Markov chain that moves the odds of a deal around those of its age.

A deal that is open stands in one of the stages 0..S-1, has been there for u days and exists for a days.
From there it is won, lost, or moves on to another stage; all three hazards are constant in cells ::

    h_won(s, u, a, x)  = base_won(a, x)  * exp(level + stage[s] + stage x age in stage[s, u] + age[a])
    h_lost(s, u, a, x) = base_lost(a, x) * exp(level + stage[s] + stage x age in stage[s, u] + age[a])
    h_moved(s, u, a)   = exp(level + stage[s] + stage x age in stage[s, u] + age[a] + month's shock)

    next stage | moved from s ~ Multinomial(q[s]),   q[s] ~ Dirichlet(overall shares, worth one move)

``base`` is the model of :mod:`quotacast.models.conversion`, with everything that it knows of age, rep,
segment, amount, position in the quarter and shocks. So a stage says by how much the odds differ from those of
deals of the same age and kind; and because age works partly through the stages that deals of that age have
reached, what is left of it is an effect again. Where stages tell nothing, the effects shrink to none and what
is left is the model by age; and open and new deals share reps, shocks and trends draw by draw.

Likelihood. Every visit to a stage is an episode of competing risks with piecewise constant hazards, so ::

    won[s, u, a]  ~ Poisson(expected won[s, u, a]  * exp(...))
    lost[s, u, a] ~ Poisson(expected lost[s, u, a] * exp(...))
    moved[s, u, a, month] ~ Poisson(exposure * exp(...))

with ``expected`` the sum over the cell of exposure times base hazard. For it the base hazards are taken at
their main effects (age, position, month, rep, segment, amount: a Poisson regression by iterative proportional
fitting, a little shrunk), so that the cells can be declared before anything is fitted. Deals whose ages, reps
and segments differ between stages are thereby standardised. When used, every draw's factors are scaled so
that over the cells they add up to the closings that were seen: what is not known of the sum is the base
model's uncertainty and must not count twice (:func:`factors`).

Units: weighted days of exposure, hazards per weighted day, ages in calendar days. A visit that goes on at the
as-of date contributes its exposure and no event (right-censored); the first visit begins with the deal; a
row that repeats the stage (another owner, another amount) is no visit. A closing that was undone later is no
visit either: the deal is taken to have stayed where it was, as the base model counts reopened deals by their
last state. A stage that no deal ever left for another one is a last one: its hazard of moving is zero, and
not small and unknown. Deals without a stage go by age, in the fit and in the simulation.

New deals go by age alone. The base model is their distribution over all stages that they will pass, learned
from all deals; a chain that starts at the first stage would have to find the same distribution again
from its parts.

Oracles: recovery of written-down factors, hazards and shares from records that another simulation of the
chain has drawn (:mod:`quotacast.engine.worlds_stages`, plain NumPy), and the simulator's means against the
forward equations of :mod:`quotacast.engine.expected_stages`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from quotacast.models.cells import Codes, Episodes, HazardCells, age_bands, hazard_cells
from quotacast.models.conversion import HazardData, age_widths
from quotacast.models.history.history import History
from quotacast.models.history.snapshot import learn_closing_stages
from quotacast.models.terms import Cells, Declaration, Floats, Posterior, Term
from quotacast.models.timegrid import Ints, TimeGrid, day_number

#: Ways out of a stage, as outcomes 1, 2, 3 of a visit, and the models of their hazards.
WAYS = ("won", "lost", "moved")
STAGE_MODELS = ("won_in_stage", "lost_in_stage", "moved")
#: A stage with fewer ways out is counted with the other rare ones.
FEWEST_EXITS = 40
OTHER = "(other)"
#: The chain needs a stage for at least this share of the deals that closed, and of those that are open.
KNOWN_SHARE = 0.5
#: Candidate bands of the age in a stage, days.
STAGE_EDGES = (0, 1, 4, 8, 15, 31, 61, 121)
#: Rounds of proportional fitting, and the events by which its ratios are held near one.
ROUNDS, HELD = 6, 4.0


@dataclass(frozen=True)
class Visits:
    """Stays of deals in stages, in the order of time within a deal; arrays of shape (visits,).

    Attributes
    ----------
    deal : ndarray of int64
        Row of the opportunities table.
    stage : ndarray of int32
        Code of the stage.
    entered, left : ndarray of int64
        Day numbers; ``left`` is the as-of day where the stay goes on.
    way : ndarray of int8
        0 goes on, else the number of the way out, from 1, in the order of ``WAYS``.
    """

    deal: Ints
    stage: Codes
    entered: Ints
    left: Ints
    way: np.ndarray

    def to(self) -> Ints:
        """Stage that follows; only meaningful where the deal moved on."""
        return np.roll(self.stage, -1).astype(np.int64)


@dataclass(frozen=True)
class StageData:
    """The declared chain.

    Attributes
    ----------
    names : tuple of str
        Stages, by how old deals are on entering them.
    edges : tuple of int
        First day in the stage of every band.
    declarations, cells : tuple
        In the order of ``STAGE_MODELS``.
    moves : ndarray, shape (stages, stages)
        Moves that were seen, from row to column.
    first : ndarray, shape (stages,)
        Deals that began in every stage.
    standing : mapping of str to (int, int)
        Stage of every open deal that has one, by id, and the day number on which it was entered.
    """

    names: tuple[str, ...]
    edges: tuple[int, ...]
    declarations: tuple[Declaration, ...]
    cells: tuple[Cells, ...]
    moves: Floats
    first: Floats
    standing: Mapping[str, tuple[int, int]]

    def declared(self) -> dict[str, tuple[Declaration, Cells]]:
        """Every model of the chain by name."""
        return dict(zip(STAGE_MODELS, zip(self.declarations, self.cells, strict=True), strict=True))


def stage_data(
    history: History, codes: Mapping[str, Codes], grid: TimeGrid, hazards: HazardData
) -> tuple[StageData | None, tuple[str, ...]]:
    """The chain of stages, or None, and what must be said about it.

    Parameters
    ----------
    codes : mapping of str to ndarray
        Axes of the hazards per row of the opportunities table.
    grid : TimeGrid
        Days of the fit; visits before its first day are not used.
    hazards : HazardData
        The hazards by age that the chain moves.
    """
    rows = _rows(history)
    if rows.empty:
        return None, (
            "No stage history: the odds of open deals go by age, and coming stages cannot be told.",
        )
    names, rows = _named(rows)
    visits = _visits(history, rows, names)
    thin = _too_thin(history, visits, names)
    if thin:
        return None, (f"Stages are left out, {thin}: the odds of open deals go by age.",)
    every = episodes_of(visits, history, codes, grid, hazards.age_edges)
    edges = age_bands(Episodes(every.start, every.entry, every.stop, (every.outcome > 0).astype(np.int8)),
                      grid, STAGE_EDGES)  # fmt: skip
    fine = hazard_cells(every, grid, edges, len(WAYS))
    size = (len(names), len(edges))
    built = [_odds(fine, hazards, grid, j, size) for j in range(2)] + [_moved(fine, hazards, grid, size)]
    found = StageData(
        names,
        edges,
        tuple(declaration for declaration, _ in built),
        tuple(cells for _, cells in built),
        _moves(visits, len(names)),
        np.bincount(visits.stage[np.r_[True, np.diff(visits.deal) > 0]], minlength=len(names)).astype(float),
        _standing(history, visits),
    )
    return found, (f"Open deals go by their stage and how long they have been there: {', '.join(names)}.",)


def _rows(history: History) -> pd.DataFrame:
    """Rows of stages that are no closing, with the number of their deal; by deal, in the order of time."""
    deals, stages = history.opportunities, history.stages
    closing = history.closing_stages or learn_closing_stages(deals, stages)
    place = pd.Series(np.arange(len(deals)), index=deals["opportunity_id"])
    rows = stages[["opportunity_id", "stage", "entered_on"]].dropna(subset=["stage"])
    rows = rows[~rows["stage"].isin(set(closing))]
    rows = rows.assign(deal=rows["opportunity_id"].map(place), day=day_number(rows["entered_on"]))
    rows = rows.dropna(subset=["deal"])
    rows["deal"] = rows["deal"].astype(np.int64)
    closed = deals["closed_on"].to_numpy()
    end = np.where(np.isnat(closed), day_number(history.as_of_date), day_number(closed))
    rows = rows[rows["day"].to_numpy() <= end[rows["deal"]]]
    return rows.sort_values(["deal", "day"], kind="stable", ignore_index=True)


def _merged(rows: pd.DataFrame) -> pd.DataFrame:
    """Without rows that repeat the stage of their deal."""
    again = (rows["deal"] == rows["deal"].shift()) & (rows["stage"] == rows["stage"].shift())
    return rows[~again].reset_index(drop=True)


def _named(rows: pd.DataFrame) -> tuple[tuple[str, ...], pd.DataFrame]:
    """Stages with enough ways out, from early to late, and the rows without repetitions."""
    rows = _merged(rows)
    rare = rows.groupby("stage").size() < FEWEST_EXITS
    rows = rows.assign(stage=rows["stage"].where(~rows["stage"].map(rare), OTHER))
    rows = _merged(rows)
    first = rows.groupby("deal")["day"].transform("min")
    order = (rows["day"] - first).groupby(rows["stage"]).mean().reset_index(name="age")
    order = order.sort_values(["age", "stage"], kind="stable")
    return tuple(str(s) for s in order["stage"]), rows


def _visits(history: History, rows: pd.DataFrame, names: tuple[str, ...]) -> Visits:
    deals = history.opportunities
    deal, day = rows["deal"].to_numpy(), rows["day"].to_numpy().copy()
    first, last = np.r_[True, deal[1:] != deal[:-1]], np.r_[deal[1:] != deal[:-1], True]
    created = day_number(deals["created_on"])[deal]
    day = np.where(first, created, np.maximum(day, created))
    status = deals["status"].to_numpy(dtype=object)[deal]
    end = np.where(status == "open", day_number(history.as_of_date), day_number(deals["closed_on"])[deal])
    ended = np.select([status == "won", status == "lost"], [1, 2], 0)
    return Visits(
        deal,
        np.asarray(rows["stage"].map({name: k for k, name in enumerate(names)}), dtype=np.int32),
        day,
        np.where(last, end, np.roll(day, -1)),
        np.where(last, ended, 3).astype(np.int8),
    )


def _too_thin(history: History, visits: Visits, names: tuple[str, ...]) -> str:
    """Why there is no chain; empty where there is one."""
    if len(names) < 2:
        return f"fewer than two stages were entered {FEWEST_EXITS} times"
    status = history.opportunities["status"].to_numpy(dtype=object)
    known = np.zeros(status.size, dtype=bool)
    known[visits.deal] = True
    for mine, word in ((status != "open", "closed"), (status == "open", "open")):
        if mine.any() and known[mine].mean() < KNOWN_SHARE:
            return f"only {known[mine].sum():,} of {mine.sum():,} {word} deals have one"
    exits = np.bincount(visits.stage, visits.way > 0, minlength=len(names))
    if (exits >= FEWEST_EXITS).sum() < 2:
        return f"fewer than two stages were left {FEWEST_EXITS} times"
    return ""


def episodes_of(
    visits: Visits, history: History, codes: Mapping[str, Codes], grid: TimeGrid, age_edges: tuple[int, ...]
) -> Episodes:
    """Visits cut where the deal's age passes into another band.

    Returns
    -------
    Episodes
        Age counts from the entry into the stage; outcomes are numbers of ``WAYS``; codes are ``stage``,
        ``since`` (band of the deal's age) and the axes of the deal.
    """
    created = day_number(history.opportunities["created_on"])[visits.deal]
    edges = np.asarray(age_edges, dtype=np.int64)
    band = [np.searchsorted(edges, day - created, side="right") - 1 for day in (visits.entered, visits.left)]
    parts = band[1] - band[0] + 1
    row = np.repeat(np.arange(visits.deal.size), parts)
    since = np.arange(row.size) - np.repeat(np.cumsum(parts) - parts, parts) + band[0][row]
    open_end = np.append(edges[1:], np.iinfo(np.int64).max // 4)
    low = np.maximum(visits.entered[row], created[row] + edges[since])
    high = np.minimum(visits.left[row], created[row] + open_end[since] - 1)
    way = np.where(since == band[1][row], visits.way[row], 0).astype(np.int8)
    axes = {name: code[visits.deal[row]] for name, code in codes.items()}
    axes |= {"stage": visits.stage[row], "since": since.astype(np.int32)}
    return Episodes(visits.entered[row], low, high, way, axes).observed_from(grid.first)


def main_effects(hazards: HazardData, cause: int) -> dict[str, Floats]:
    """Base hazard of a cause as a product of factors, one array by axis.

    Iterative proportional fitting: the maximum of the Poisson likelihood with main effects only (Deming &
    Stephan 1940, doi:10.1214/aoms/1177731829), its ratios held near one by ``HELD`` events.
    """
    cells = hazards.cells[cause]
    codes = {n: c for n, c in cells.codes.items() if n not in ("quarter", "rep_quarter", "age_position")}
    sizes = {name: int(code.max(initial=0)) + 1 for name, code in codes.items()}
    out = {name: np.ones(size) for name, size in sizes.items()}
    mean = cells.exposure * (cells.response.sum() + 0.5) / cells.exposure.sum()
    for _ in range(ROUNDS):
        for name, code in codes.items():
            seen = np.bincount(code, cells.response, minlength=sizes[name])
            told = np.bincount(code, mean, minlength=sizes[name])
            ratio = (seen + HELD) / (told + HELD)
            out[name] *= ratio
            mean = mean * ratio[code]
    out["age"] = out["age"] * (cells.response.sum() + 0.5) / cells.exposure.sum()
    return out


def expected_cells(fine: HazardCells, hazards: HazardData, grid: TimeGrid, cause: int) -> Floats:
    """Closings to expect in every cell from all that is known but the stage, shape (n,)."""
    piece = fine.codes["piece"]
    at: dict[str, Ints] = {"age": fine.codes["since"].astype(np.int64), "position": grid.position[piece]}
    at["month"] = grid.month[piece] - hazards.months[0]
    mean = fine.exposure.copy()
    for name, factor in main_effects(hazards, cause).items():
        code = at.get(name, fine.codes.get(name))
        if code is not None:
            mean *= factor[np.minimum(code, factor.size - 1)]
    return mean


def _odds(
    fine: HazardCells, hazards: HazardData, grid: TimeGrid, cause: int, size: tuple[int, int]
) -> tuple[Declaration, Cells]:
    """Wins or losses by stage and age in it, with those that age lets expect as their exposure."""
    cells = _added(_axes(fine), expected_cells(fine, hazards, grid, cause), fine.events[cause], size[1])
    return odds_declaration(STAGE_MODELS[cause], size, hazards.age_edges), cells


def _moved(
    fine: HazardCells, hazards: HazardData, grid: TimeGrid, size: tuple[int, int]
) -> tuple[Declaration, Cells]:
    month = (grid.month[fine.codes["piece"]] - hazards.months[0]).astype(np.int32)
    axes = {**_axes(fine), "month": month}
    moving = np.bincount(axes["stage"], fine.events[2], minlength=size[0])[axes["stage"]] > 0
    parts = {name: code[moving] for name, code in axes.items()}
    cells = _added(parts, fine.exposure[moving], fine.events[2][moving], size[1])
    return moved_declaration(size, hazards.age_edges, hazards.months.size), cells


def _axes(fine: HazardCells) -> dict[str, Codes]:
    return {"stage": fine.codes["stage"], "in_stage": fine.codes["age"], "age": fine.codes["since"]}


def _added(axes: Mapping[str, Codes], exposure: Floats, events: Floats, bands: int) -> Cells:
    """Cells with the same codes added up; those that nothing is expected of are left out."""
    names = list(axes)
    key = np.ravel_multi_index([axes[n] for n in names], [int(axes[n].max(initial=0)) + 1 for n in names])
    occupied, at = np.unique(key, return_inverse=True)
    first = np.full(occupied.size, -1)
    first[at] = np.arange(key.size)
    total = np.bincount(at, exposure, minlength=occupied.size).astype(float)
    keep = total > 0
    codes = {name: axes[name][first][keep].astype(np.int32) for name in names}
    codes["stage_age"] = (codes["stage"] * bands + codes.pop("in_stage")).astype(np.int32)
    return Cells(np.bincount(at, events, minlength=occupied.size)[keep].astype(float), total[keep], codes)


def _terms(level: tuple[float, str], size: tuple[int, int], age_edges: tuple[int, ...]) -> list[Term]:
    stages, bands = size
    return [
        Term("level", "level", "", 1, 2.0, level[1], (level[0],)),
        Term("stage", "contrast", "stage", stages, 1.5, "some stages close or move often, some hardly ever"),
        Term(
            "stage_age",
            "contrast",
            "stage_age",
            stages * bands,
            0.4,
            "deals that have just entered a stage differ from those that stay for long",
        ),
        Term(
            "age",
            "walk",
            "age",
            len(age_edges),
            0.5,
            "old deals are slow deals, whatever their stage",
            widths=age_widths(age_edges),
        ),
    ]


def odds_declaration(name: str, size: tuple[int, int], age_edges: tuple[int, ...]) -> Declaration:
    """Declare by how much stages change the hazard of a win or a loss.

    Parameters
    ----------
    size : tuple of int
        Numbers of stages and of bands of the age in a stage.
    age_edges : tuple of int
        First day of every band of the deal's age.
    """
    level = 0.0, "stages that never close pull the mean of the logs down"
    return _declared(name, _terms(level, size, age_edges))


def moved_declaration(size: tuple[int, int], age_edges: tuple[int, ...], months: int) -> Declaration:
    """Declare the hazard of moving on to another stage."""
    terms = _terms((-3.5, "a move per day between 1 in 3,000 and all"), size, age_edges)
    shock = Term("shock", "shock", "month", months, 0.15, "what moves all deals in the same month")
    return _declared("moved", [*terms, shock])


def _declared(name: str, terms: list[Term]) -> Declaration:
    return Declaration(name, "poisson", tuple(t for t in terms if t.size > 1 or t.kind == "level"))


def _moves(visits: Visits, stages: int) -> Floats:
    moved = visits.way == 3
    key = visits.stage.astype(np.int64)[moved] * stages + visits.to()[moved]
    return np.bincount(key, minlength=stages * stages).reshape(stages, stages).astype(float)


def _standing(history: History, visits: Visits) -> dict[str, tuple[int, int]]:
    ids = history.opportunities["opportunity_id"].to_numpy(dtype=object)
    is_open = visits.way == 0
    rows = zip(ids[visits.deal[is_open]], visits.stage[is_open], visits.entered[is_open], strict=True)
    return {str(i): (int(stage), int(day)) for i, stage, day in rows}


def factors(data: StageData, posterior: Posterior, cause: int) -> Floats:
    """By how much stages multiply the hazard of a cause, shape (draws, stages, bands).

    Every draw is scaled so that over the cells of the fit the closings to expect are those that were seen.
    """
    declaration, cells = data.declarations[cause], data.cells[cause]
    told = np.exp(posterior.linear_predictor(declaration, cells)) @ cells.exposure
    seen = cells.response.sum()
    scale = seen / told if seen > 0 else np.ones_like(told)
    return np.asarray(scale[:, None, None] * rates(data, posterior))


def rates(data: StageData, posterior: Posterior) -> Floats:
    """exp(level + stage + stage x age in stage), shape (draws, stages, bands)."""
    effects, shape = posterior.effects, (posterior.draws, len(data.names), len(data.edges))
    log = effects["level"][:, :, None] + effects["stage"][:, :, None] + effects["stage_age"].reshape(shape)
    return np.asarray(np.exp(log))


def move_rates(data: StageData, posterior: Posterior) -> Floats:
    """Hazard of moving on but for age and shocks, shape (draws, stages, bands); zero in last stages."""
    return np.asarray(rates(data, posterior) * (data.moves.sum(axis=1) > 0)[:, None])


def next_stage(data: StageData, draws: int, seed: int) -> Floats:
    """Cumulative Dirichlet draws of the stage that follows, shape (draws, stages, stages)."""
    stages = len(data.names)
    overall = (data.moves.sum(axis=0) + 0.5) * (1.0 - np.eye(stages))
    alpha = data.moves + overall / overall.sum(axis=1, keepdims=True) + 1e-9
    gamma = np.random.default_rng([seed, 5]).standard_gamma(alpha, size=(draws, stages, stages))
    gamma *= 1.0 - np.eye(stages)
    cumulative = np.cumsum(gamma, axis=2)
    return np.asarray(cumulative / np.maximum(cumulative[:, :, -1:], 1e-300))
