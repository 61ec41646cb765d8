"""From a funnel, a book and drivers to the arrays of the simulator's inner loop.

Effects beyond the data are simulated here, per draw: next months' shocks continue their AR(1), the
trend continues its walk, reps' coming quarters and new reps' abilities are drawn from their
populations. So parameter uncertainty and common shocks are shared by all reps, deals and metrics.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quotacast.engine.book import Book
from quotacast.engine.departures import Crew, Departures, with_backfills
from quotacast.engine.drivers import Absence, Change, Drivers
from quotacast.engine.paths import Steps
from quotacast.engine.quota import Scope
from quotacast.engine.streams import key, keys, normals
from quotacast.errors import PlanError
from quotacast.models.counts import bin_index
from quotacast.models.funnel import Funnel
from quotacast.models.people import FAR, TENURE_EDGES, tenure_band
from quotacast.models.periods import month_index
from quotacast.models.terms import Floats
from quotacast.models.timegrid import day_number
from quotacast.models.turnover import turnover

Ints = NDArray[np.int64]


def crew(funnel: Funnel, drivers: Drivers) -> Crew:
    """Put history's reps, leavers and hires together."""
    people = funnel.prepared.people
    reps = people.reps + tuple(h.rep_id for h in drivers.hires)
    index = {rep: i for i, rep in enumerate(reps)}
    starts = np.array([int(day_number(h.on)) for h in drivers.hires], dtype=np.int64)
    stop = np.concatenate([people.stop, np.full(starts.size, FAR)])
    for leave in drivers.leaves:
        if leave.rep_id not in index:
            raise PlanError(f"leave: there is no rep {leave.rep_id}; there are {', '.join(reps)}")
        stop[index[leave.rep_id]] = min(stop[index[leave.rep_id]], int(day_number(leave.on)) - 1)
    return Crew(
        reps,
        people.team + tuple(h.team for h in drivers.hires),
        np.concatenate([people.start, starts]),
        stop,
        np.concatenate([people.hired, starts]),
        len(people.reps),
        np.arange(len(reps), dtype=np.int64),
        np.zeros(len(reps), dtype=bool),
    )


class Tables:
    """Arrays of the inner loop: ``fixed`` once, ``block(first, draws)`` for a block of draws.

    Parameters
    ----------
    funnel, book, drivers
        What is known, what is open, what is decided.
    horizon : date
        Last simulated day.
    steps : Steps
        Must span the days after the as-of date until ``horizon``.
    seed : int
    """

    def __init__(
        self, funnel: Funnel, book: Book, drivers: Drivers, horizon: date, steps: Steps, seed: int
    ) -> None:
        self.funnel, self.book, self.drivers, self.seed = funnel, book, drivers, seed
        prepared = funnel.prepared
        first, last = prepared.grid.last + 1, int(day_number(horizon))
        cuts = tuple(sorted(_cuts(drivers)))
        if steps.edges[0] > first or steps.edges[-1] < last + 1:
            raise ValueError(
                f"steps {steps.edges[0]} to {steps.edges[-1]} do not cover days {first} to {last}"
            )
        self.grid = replace(prepared.grid, first=first, last=last, cuts=cuts)
        self.crew = with_backfills(crew(funnel, drivers), drivers.people, first, last)
        past = turnover(prepared.people, prepared.grid.first, prepared.grid.last)
        self.departures = Departures(self.crew, drivers.people, past, first, last - first + 1, seed)
        self.steps = steps
        self.months = np.arange(self.grid.month.min(), self.grid.month.max() + 1)
        self.quarters = np.arange(self.grid.quarter.min(), self.grid.quarter.max() + 1)
        self._rep_keys = {
            name: keys(seed, name, self.crew.reps) for name in ("created", "won", "lost", "value", "arrivals")
        }
        self.fixed = self._fixed()

    # -- what is the same for all draws ---------------------------------------------------------

    def _fixed(self) -> dict[str, Any]:
        return {**self._time(), **self._arrivals(), **self._posterior(), **self._deals(), **self._changes()}

    def _time(self) -> dict[str, Any]:
        grid = self.grid
        return {
            "cumulative": grid.cumulative,
            "weights": grid.day_weights,
            "edges": grid.edges - grid.first,
            "piece_of_day": grid.piece(grid.days),
            "position": grid.position,
            "quarter": grid.quarter - self.quarters[0],
            "step_of_day": self.steps.of_days(grid.days),
        }

    def _arrivals(self) -> dict[str, Any]:
        grid, people = self.grid, self.crew
        kind = self.funnel.prepared.counts.bin
        label = bin_index(grid.days, kind)
        starts = np.flatnonzero(np.r_[True, label[1:] != label[:-1]])
        bounds = np.append(starts, grid.days.size)
        mid = grid.days[(bounds[:-1] + bounds[1:] - 1) // 2]
        at_work = (grid.days >= people.start[:, None]) & (grid.days <= people.stop[:, None])
        rate = self._factor("opportunities_created", daily=True) * self._present()
        weighted = np.cumsum(at_work * grid.day_weights * rate, axis=1)
        self._bin_middle = mid.astype("datetime64[D]")
        quarter = grid.calendar.quarter_index(self._bin_middle)
        return {
            "rep_key": self._rep_keys["arrivals"],
            "at_work": np.concatenate([np.zeros((len(people.reps), 1)), weighted], axis=1),
            "bin_edges": bounds,
            "bin_label": label[starts],
            "bin_quarter": np.clip(quarter - self.quarters[0], 0, self.quarters.size - 1),
            "bin_middle": mid - grid.first,
            "tenure": tenure_band(mid[None, :] - people.hired[:, None]).astype(np.int64),
            "tenure_edges": np.asarray(TENURE_EDGES, dtype=np.int64),
            "seat": people.seat,
            "keep_odds": float(self.drivers.people.keep_odds),
            "mix_row": np.minimum(np.arange(len(people.reps)), people.known),
        }

    def _posterior(self) -> dict[str, Any]:
        """Arrays that depend on the posterior draw only, shape (posterior draws, ...)."""
        funnel = self.funnel
        prepared = funnel.prepared
        segments, bands = len(prepared.segment.levels), max(prepared.quotes.bands, 1)
        created, value = funnel.posteriors["created"], funnel.posteriors["value"]
        tables: dict[str, Any] = {
            "created_tenure": np.exp(created.effects["tenure"]),
            "dispersion": 1.0 / (created.hyper["overdispersion"] ** 2 + 1e-9),
            "segment_mix": funnel.mix,
            "age_edges": np.asarray(prepared.hazards.age_edges, dtype=np.float64),
            "value_segment": value.effects["level"] + _levels(value.effects, "segment", segments),
            "quoted": int(prepared.quotes.basis == "created"),
            "band_edges": np.log(np.maximum(prepared.quotes.band_edges, 1e-9)),
            "residual": funnel.residuals.values,
            "residual_shares": funnel.residuals.cumulative,
            "zero_share": funnel.residuals.zero_share,
            "new_ratio": prepared.quotes.new_ratio,
            "open_ratio": prepared.quotes.open_ratio,
            "largest": prepared.value.plausible_max,
        }
        for cause, word in (("won", "win"), ("lost", "loss")):
            effects = funnel.posteriors[cause].effects
            tables[f"segment_{word}"] = np.exp(_levels(effects, "segment", segments))
            tables[f"amount_{word}"] = np.exp(_levels(effects, "amount", bands))
            tables[f"age_{word}"] = _age_table(effects, len(prepared.hazards.age_edges))
        return tables

    def _deals(self) -> dict[str, Any]:
        book = self.book
        with np.errstate(divide="ignore", invalid="ignore"):
            quote = np.where(book.amount > 0, np.log(book.amount), np.nan)
        return {
            "deal_key": keys(self.seed, "deal", book.ids),
            "deal_rep": book.rep.astype(np.int64),
            "deal_start": book.start - self.grid.first,
            "deal_segment": book.segment.astype(np.int64),
            "deal_band": book.band.astype(np.int64),
            "deal_amount": quote,
        }

    def _changes(self) -> dict[str, Any]:
        whats = {change.what for change in self.drivers.changes} - {"opportunities_created"}
        return {
            "changed": bool(whats),
            "share_times": self._factor("close_rate"),
            "cycle_times": self._factor("cycle_days"),
            "value_times": self._factor("deal_value"),
        }

    def _factor(self, what: str, daily: bool = False) -> Floats:
        """Product of the factors of all changes, by rep and piece (or day)."""
        begin = self.grid.days if daily else self.grid.edges[:-1]
        factor = np.ones((len(self.crew.reps), begin.size))
        for change in self.drivers.changes:
            if change.what == what:
                rows = np.array(
                    [_touches(change, r, t) for r, t in zip(self.crew.names, self.crew.teams, strict=True)]
                )
                span = self._span(begin, change)
                factor[np.ix_(rows, span)] *= 1.0 if change.times is None else change.times
        return factor

    def _span(self, days: Ints, of: Change | Absence) -> NDArray[np.bool_]:
        low = self.grid.first if of.first is None else int(day_number(of.first))
        high = self.grid.last if of.last is None else int(day_number(of.last))
        return np.asarray((days >= low) & (days <= high))

    def _present(self) -> Floats:
        """Share of working time that every person is there, by row and day; whoever follows is not absent."""
        share = np.ones((len(self.crew.reps), self.grid.days.size))
        index = {rep: i for i, rep in enumerate(self.crew.reps)}
        for absence in self.drivers.absences:
            if absence.rep_id not in index:
                there = ", ".join(self.crew.reps[: self.crew.seats])
                raise PlanError(f"absence: there is no rep {absence.rep_id}; there are {there}")
            share[index[absence.rep_id], self._span(self.grid.days, absence)] *= 1.0 - absence.share
        return share

    # -- what differs between draws ---------------------------------------------------------------

    def block(self, first: int, draws: int) -> dict[str, Any]:
        """Arrays of draws ``first`` to ``first + draws - 1``."""
        row = np.arange(first, first + draws) % self.funnel.draws
        out: dict[str, Any] = {"first_draw": first, "parameter": row}
        out |= self._created_block(row, first)
        for cause, word in (("won", "win"), ("lost", "loss")):
            out |= self._hazard_block(cause, word, row, first)
        return out | self._value_block(row, first) | self.departures.block(first, draws)

    def _created_block(self, row: Ints, first: int) -> dict[str, Any]:
        posterior, counts = self.funnel.posteriors["created"], self.funnel.prepared.counts
        effects = posterior.effects
        level = effects["level"][row] + self._reps("created", row, first) + self._teams(row, first)
        month = np.clip(month_index(self._bin_middle) - self.months[0], 0, self.months.size - 1)
        season = _levels(effects, "season", 12)[row][:, month_index(self._bin_middle) % 12]
        time = season + self._shock("created", row, first, counts.months)[:, month]
        time += self._trend("created", row, first, counts.quarters)[:, self.fixed["bin_quarter"]]
        return {
            "created_base": np.exp(level),
            "created_time": np.exp(time),
            "created_rep": np.exp(self._rep_quarters("created", row, first, counts.quarters)),
        }

    def _hazard_block(self, cause: str, word: str, row: Ints, first: int) -> dict[str, Any]:
        posterior, hazards = self.funnel.posteriors[cause], self.funnel.prepared.hazards
        month = self.grid.month - self.months[0]
        quarter = self.grid.quarter - self.quarters[0]
        time = self._shock(cause, row, first, hazards.months)[:, month]
        time = time + self._trend(cause, row, first, hazards.quarters)[:, quarter]
        return {
            f"base_{word}": np.exp(posterior.effects["level"][row] + self._reps(cause, row, first)),
            f"time_{word}": np.exp(time),
            f"rep_{word}": np.exp(self._rep_quarters(cause, row, first, hazards.quarters)),
        }

    def _value_block(self, row: Ints, first: int) -> dict[str, Any]:
        quarters = self.funnel.prepared.value.quarters
        return {
            "value_rep": self._reps("value", row, first),
            "value_time": self._trend("value", row, first, quarters),
        }

    def _reps(self, model: str, row: Ints, first: int) -> Floats:
        """Effects of known reps as fitted, of hires from the population; shape (draws, reps)."""
        posterior = self.funnel.posteriors[model]
        known = _levels(posterior.effects, "rep", self.crew.known)[row]
        new = normals(self._rep_keys[model][self.crew.known :], first, row.size)[:, :, 0]
        sd = posterior.hyper.get("rep_sd", np.zeros(posterior.draws))[row, None]
        return np.concatenate([known, sd * new], axis=1)

    def _teams(self, row: Ints, first: int) -> Floats:
        posterior, teams = self.funnel.posteriors["created"], self.funnel.prepared.counts.teams
        if "team" not in posterior.effects:
            return np.zeros((row.size, len(self.crew.reps)))
        known = {team: posterior.effects["team"][row, i] for i, team in enumerate(teams)}
        columns = [
            known.get(team, posterior.hyper["team_sd"][row] * self._one("team", team, first, row.size))
            for team in self.crew.teams
        ]
        return np.stack(columns, axis=1)

    def _one(self, purpose: str, entity: str, first: int, draws: int) -> Floats:
        return normals(np.array([key(self.seed, purpose, entity)], dtype=np.uint64), first, draws)[:, 0, 0]

    def _shock(self, model: str, row: Ints, first: int, fitted: Ints) -> Floats:
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
                noise = self._one(f"{model} shock", str(month), first, row.size)
                last = rho * last + sd * np.sqrt(1.0 - rho**2) * noise
            out[:, k] = last
        return out

    def _trend(self, model: str, row: Ints, first: int, fitted: Ints) -> Floats:
        """Level of every quarter, shape (draws, quarters): as fitted, then continued as a random walk."""
        posterior = self.funnel.posteriors[model]
        sd = posterior.hyper.get("trend_sd", np.zeros(posterior.draws))[row]
        known = _levels(posterior.effects, "trend", fitted.size)[row]
        out, last = np.empty((row.size, self.quarters.size)), known[:, -1]
        for k, quarter in enumerate(self.quarters):
            if quarter > fitted[-1]:
                last = last + sd * self._one(f"{model} trend", str(quarter), first, row.size)
            out[:, k] = last
        return out

    def _rep_quarters(self, model: str, row: Ints, first: int, fitted: Ints) -> Floats:
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


def _levels(effects: Any, name: str, size: int) -> Floats:
    """Levels of a term, zeros where the model has no such term."""
    found = effects.get(name)
    if found is not None:
        return np.asarray(found)
    return np.zeros((next(iter(effects.values())).shape[0], size))


def _age_table(effects: Any, bands: int) -> Floats:
    """exp(age + position + age x position), shape (posterior draws, bands, positions)."""
    position = effects["position"]
    both = effects["age_position"].reshape(position.shape[0], bands, position.shape[1])
    return np.asarray(np.exp(_levels(effects, "age", bands)[:, :, None] + position[:, None, :] + both))


def _cuts(drivers: Drivers) -> set[int]:
    days = {int(day_number(c.first)) for c in drivers.changes if c.first is not None}
    return days | {int(day_number(c.last)) + 1 for c in drivers.changes if c.last is not None}


def _touches(change: Change, rep: str, team: str) -> bool:
    scope = Scope.parse(change.scope)
    return scope.kind == "company" or scope.id == (rep if scope.kind == "rep" else team)
