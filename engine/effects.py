"""Effects of reps, teams, months and quarters, also beyond the data.

What lies beyond is drawn per draw of the simulation: next months' shocks continue their AR(1), the trend
continues its walk, reps' coming quarters and new reps' abilities come from their populations. So parameter
uncertainty and common shocks are shared by all reps, deals and metrics. Steps of shock and trend of the two
ways to end (wins and losses) are correlated as :mod:`quotacast.models.comovement` learned it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quotacast.engine.departures import Crew
from quotacast.engine.streams import key, keys, normals, uniforms
from quotacast.models.conversion import HazardData
from quotacast.models.counts import Bin, CountData, bin_index
from quotacast.models.funnel import Funnel
from quotacast.models.periods import month_index
from quotacast.models.terms import Floats
from quotacast.models.timegrid import TimeGrid

Ints = NDArray[np.int64]
#: Purpose of the stream of a new team's effect on creation; other models name themselves.
_TEAM = {"created": "team"}


@dataclass(frozen=True)
class Bins:
    """Weeks or months of the simulated days, the first and the last perhaps cut.

    Attributes
    ----------
    label : ndarray of int64, shape (bins,)
        Running week or month.
    edges : ndarray of int64, shape (bins + 1,)
        First day of every bin and the day after the last, counted from the first simulated day.
    middle : ndarray of datetime64, shape (bins,)
    quarter : ndarray of int64, shape (bins,)
        Fiscal quarter, counted from the first one simulated.
    """

    label: Ints
    edges: Ints
    middle: NDArray[np.datetime64]
    quarter: Ints


class Effects:
    """Effects of a funnel's models for blocks of draws.

    Parameters
    ----------
    funnel : Funnel
    crew : Crew
    grid : TimeGrid
        The simulated days.
    seed : int
    """

    def __init__(self, funnel: Funnel, people: Crew, grid: TimeGrid, seed: int) -> None:
        self.funnel, self.crew, self.grid, self.seed = funnel, people, grid, seed
        self.months = np.arange(grid.month.min(), grid.month.max() + 1)
        self.quarters = np.arange(grid.quarter.min(), grid.quarter.max() + 1)
        self.comovements = funnel.comovements  # learned now, once: blocks are drawn in several threads
        self._keys: dict[str, NDArray[np.uint64]] = {}

    def rep_keys(self, purpose: str) -> NDArray[np.uint64]:
        """Streams of all reps for a purpose."""
        if purpose not in self._keys:
            self._keys[purpose] = keys(self.seed, purpose, self.crew.reps)
        return self._keys[purpose]

    def bins(self, kind: Bin) -> Bins:
        """Bins of the simulated days."""
        grid = self.grid
        label = bin_index(grid.days, kind)
        starts = np.flatnonzero(np.r_[True, label[1:] != label[:-1]])
        bounds = np.append(starts, grid.days.size)
        middle = grid.days[(bounds[:-1] + bounds[1:] - 1) // 2].astype("datetime64[D]")
        quarter = grid.calendar.quarter_index(middle) - self.quarters[0]
        return Bins(label[starts], bounds, middle, np.clip(quarter, 0, self.quarters.size - 1))

    def arrivals(self, counts: CountData, bins: Bins, row: Ints, first: int) -> dict[str, Any]:
        """Factors of a count model: by rep, by bin and by rep and quarter; draw axis first."""
        model = counts.declaration.name
        effects = self.funnel.posteriors[model].effects
        level = effects["level"][row] + self.reps(model, row, first)
        level = level + self.teams(model, counts.teams, row, first)
        month = month_index(bins.middle)
        at = np.clip(month - self.months[0], 0, self.months.size - 1)
        season = levels(effects, "season", 12)[row][:, month % 12]
        time = season + self.shock(model, row, first, counts.months)[:, at]
        time += self.trend(model, row, first, counts.quarters)[:, bins.quarter]
        return {
            "created_base": np.exp(level),
            "created_time": np.exp(time),
            "created_rep": np.exp(self.rep_quarters(model, row, first, counts.quarters)),
        }

    def hazards(self, cause: str, word: str, hazards: HazardData, row: Ints, first: int) -> dict[str, Any]:
        """Factors of a hazard: by rep, by piece and by rep and quarter; draw axis first."""
        effects = self.funnel.posteriors[cause].effects
        month, quarter = self.grid.month - self.months[0], self.grid.quarter - self.quarters[0]
        time = self.shock(cause, row, first, hazards.months)[:, month]
        time = time + self.trend(cause, row, first, hazards.quarters)[:, quarter]
        return {
            f"base_{word}": np.exp(effects["level"][row] + self.reps(cause, row, first)),
            f"time_{word}": np.exp(time),
            f"rep_{word}": np.exp(self.rep_quarters(cause, row, first, hazards.quarters)),
        }

    def reps(self, model: str, row: Ints, first: int) -> Floats:
        """Effects of known reps as fitted, of hires from the population; shape (draws, reps)."""
        posterior = self.funnel.posteriors[model]
        known = levels(posterior.effects, "rep", self.crew.known)[row]
        new = normals(self.rep_keys(model)[self.crew.known :], first, row.size)[:, :, 0]
        sd = posterior.hyper.get("rep_sd", np.zeros(posterior.draws))[row, None]
        return np.concatenate([known, sd * new], axis=1)

    def teams(self, model: str, teams: tuple[str, ...], row: Ints, first: int) -> Floats:
        """Effects of the teams that reps are in, of new teams from the population; shape (draws, reps)."""
        posterior = self.funnel.posteriors[model]
        if "team" not in posterior.effects:
            return np.zeros((row.size, len(self.crew.reps)))
        purpose = _TEAM.get(model, f"{model} team")
        known = {team: posterior.effects["team"][row, i] for i, team in enumerate(teams)}
        sd = posterior.hyper["team_sd"][row]
        columns = [
            known[team] if team in known else sd * self._one(purpose, team, first, row.size)
            for team in self.crew.teams
        ]
        return np.stack(columns, axis=1)

    def _one(self, purpose: str, entity: str, first: int, draws: int) -> Floats:
        return normals(np.array([key(self.seed, purpose, entity)], dtype=np.uint64), first, draws)[:, 0, 0]

    def _step(self, model: str, term: str, entity: str, first: int, draws: int) -> Floats:
        """Standardised step of a shock or trend beyond the data, shape (draws,).

        The second way to end follows the first one's step as far as the draw's correlation says.
        """
        own = self._one(f"{model} {term}", entity, first, draws)
        if model not in self.comovements:
            return own
        leader, found = self.comovements[model]
        stream = np.array([key(self.seed, "comovement", model)], dtype=np.uint64)
        r = found.quantile(uniforms(stream, first, draws)[:, 0, 0])
        return np.asarray(r * self._one(f"{leader} {term}", entity, first, draws) + np.sqrt(1.0 - r**2) * own)

    def shock(self, model: str, row: Ints, first: int, fitted: Ints) -> Floats:
        """Monthly shocks, shape (draws, months): as fitted, then continued as AR(1)."""
        posterior = self.funnel.posteriors[model]
        if "shock" not in posterior.effects:
            return np.zeros((row.size, self.months.size))
        known, sd, rho = (
            posterior.effects["shock"][row],
            posterior.hyper["shock_sd"][row],
            posterior.hyper["shock_rho"][row],
        )
        out, last = np.empty((row.size, self.months.size)), known[:, -1]
        for k, month in enumerate(self.months):
            if month <= fitted[-1]:
                last = known[:, month - fitted[0]]
            else:
                noise = self._step(model, "shock", str(month), first, row.size)
                last = rho * last + sd * np.sqrt(1.0 - rho**2) * noise
            out[:, k] = last
        return out

    def trend(self, model: str, row: Ints, first: int, fitted: Ints) -> Floats:
        """Level of every quarter, shape (draws, quarters): as fitted, then continued as a random walk."""
        posterior = self.funnel.posteriors[model]
        sd = posterior.hyper.get("trend_sd", np.zeros(posterior.draws))[row]
        known = levels(posterior.effects, "trend", fitted.size)[row]
        out, last = np.empty((row.size, self.quarters.size)), known[:, -1]
        for k, quarter in enumerate(self.quarters):
            if quarter > fitted[-1]:
                last = last + sd * self._step(model, "trend", str(quarter), first, row.size)
            out[:, k] = last
        return out

    def rep_quarters(self, model: str, row: Ints, first: int, fitted: Ints) -> Floats:
        """Effects of reps in quarters, shape (draws, reps, quarters); a quarter under way as fitted."""
        posterior = self.funnel.posteriors[model]
        shape = (row.size, len(self.crew.reps), self.quarters.size)
        if "rep_quarter" not in posterior.effects:
            return np.zeros(shape)
        sd = posterior.hyper["rep_quarter_sd"][row, None]
        known = posterior.effects["rep_quarter"].reshape(posterior.draws, self.crew.known, fitted.size)
        out = np.empty(shape)
        for k, quarter in enumerate(self.quarters):
            noise = normals(keys(self.seed, f"{model} {quarter}", self.crew.reps), first, row.size)[:, :, 0]
            out[:, :, k] = sd * noise
            if quarter <= fitted[-1]:
                out[:, : self.crew.known, k] = known[row][:, :, quarter - fitted[0]]
        return out


def levels(effects: Any, name: str, size: int) -> Floats:
    """Levels of a term, zeros where the model has no such term."""
    found = effects.get(name)
    if found is not None:
        return np.asarray(found)
    return np.zeros((next(iter(effects.values())).shape[0], size))


def age_table(effects: Any, bands: int) -> Floats:
    """exp(age + position + age x position), shape (posterior draws, bands, positions)."""
    position = effects["position"]
    both = effects["age_position"].reshape(position.shape[0], bands, position.shape[1])
    return np.asarray(np.exp(levels(effects, "age", bands)[:, :, None] + position[:, None, :] + both))
