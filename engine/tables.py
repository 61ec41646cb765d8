"""From a funnel, a book and drivers to the arrays of the simulator's inner loop.

What lies beyond the data is simulated per draw in :mod:`quotacast.engine.effects`; activities, and what they
do to creation, in :mod:`quotacast.engine.activity`; leads have tables of their own in
:mod:`quotacast.engine.leads`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quotacast.engine.activity import Activity, Recent
from quotacast.engine.book import Book
from quotacast.engine.departures import Departures, Ints, crew, with_backfills
from quotacast.engine.drivers import Drivers
from quotacast.engine.effects import Effects, age_table, levels
from quotacast.engine.factors import at_work, cuts, factor, ramp_days, summed
from quotacast.engine.kernel_counts import dispersions
from quotacast.engine.leads import Leads
from quotacast.engine.stage_tables import StageTables
from quotacast.engine.steps import Steps
from quotacast.engine.streams import keys
from quotacast.engine.territory import territory
from quotacast.models.funnel import Funnel
from quotacast.models.margins import Margins
from quotacast.models.people import TENURE_EDGES, tenure_band
from quotacast.models.terms import Floats
from quotacast.models.timegrid import day_number
from quotacast.models.turnover import turnover

Counted = dict[str, Any]
#: Arrays of draws by person: those that belong to a territory, and those of whoever works it.
_CREATING = ("created_base", "created_rep")
_WORKING = (
    "created_drive", "joined", "gone", "heir", "value_rep",
    "base_win", "base_loss", "rep_win", "rep_loss",
)  # fmt: skip


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
    margins : Margins, optional
        Margins of past wins; without them none are simulated.
    """

    def __init__(
        self,
        funnel: Funnel,
        book: Book,
        drivers: Drivers,
        horizon: date,
        steps: Steps,
        seed: int,
        margins: Margins | None = None,
    ) -> None:
        self.funnel, self.book, self.drivers, self.seed, self.margins = funnel, book, drivers, seed, margins
        prepared = funnel.prepared
        first, last = prepared.grid.last + 1, int(day_number(horizon))
        if steps.edges[0] > first or steps.edges[-1] < last + 1:
            raise ValueError(
                f"steps {steps.edges[0]} to {steps.edges[-1]} do not cover days {first} to {last}"
            )
        self.grid = replace(prepared.grid, first=first, last=last, cuts=tuple(sorted(cuts(drivers))))
        self.crew = with_backfills(crew(funnel, drivers), drivers.people, first, last)
        past = turnover(prepared.people, prepared.grid.first, prepared.grid.last)
        self.departures = Departures(self.crew, drivers.people, past, first, last - first + 1, seed)
        days = last - first + 1
        self.territory = territory(self.crew, drivers, book, prepared.segment.levels, first, days, seed)
        self.steps = steps
        self.effects = Effects(funnel, self.crew, self.grid, seed)
        self.bins = self.effects.bins(prepared.counts.bin)
        self.stages = StageTables(self.effects, book, seed)
        self.activity = Activity(self.effects, drivers, self.bins, steps)
        self.fixed = self._fixed()
        self.leads = Leads(self.effects, drivers, self.bins, self.fixed, self.territory, seed)

    def only(self, rows: NDArray[np.bool_]) -> None:
        """Simulate nobody but these people; for others nothing happens. No territory may move."""
        self.fixed["asked"][:] = rows
        self.activity.asked[:] = rows

    # -- what is the same for all draws ---------------------------------------------------------

    def _fixed(self) -> dict[str, Any]:
        return {
            **self._time(),
            **self._arrivals(),
            **self._posterior(),
            **self._deals(),
            **self._changes(),
            **self.stages.fixed,
        }

    def _time(self) -> dict[str, Any]:
        grid = self.grid
        return {
            "cumulative": grid.cumulative,
            "weights": grid.day_weights,
            "edges": grid.edges - grid.first,
            "piece_of_day": grid.piece(grid.days),
            "position": grid.position,
            "quarter": grid.quarter - self.effects.quarters[0],
            "step_of_day": self.steps.of_days(grid.days),
        }

    def _arrivals(self) -> dict[str, Any]:
        grid, people, bins = self.grid, self.crew, self.bins
        worked = at_work(people, self.drivers.absences, grid)
        worked *= self._factor("opportunities_created", daily=True)
        middle, ramp = bins.middle.astype(np.int64) - grid.first, ramp_days(self.drivers, people, grid)
        creates, works = self.territory.creates, self.territory.works
        return {
            "rep_key": self.effects.rep_keys("arrivals")[creates],
            "at_work": summed(worked)[works],
            "bin_edges": bins.edges,
            "bin_label": bins.label,
            "bin_quarter": bins.quarter,
            "bin_middle": middle,
            "tenure": self._tenure(middle, ramp)[works],
            "tenure_edges": np.asarray(TENURE_EDGES, dtype=np.int64),
            "ramp_days": ramp[works],
            "asked": np.ones(works.size, dtype=bool),
            "seat": people.seat[works],
            "follows": (people.seat != np.arange(people.seat.size))[works],
            "keep_odds": float(self.drivers.people.keep_odds),
            "mix_row": np.minimum(creates, people.known),
            **self.territory.arrays,
        }

    def _tenure(self, middle: Ints, ramp: Floats) -> Ints:
        """Band of tenure of the first holders in the middle of every bin, shape (people, bins)."""
        since = self.crew.hired - self.grid.first
        begun = np.clip(since, 0, self.grid.days.size)
        gone_through = ramp[:, middle] - np.take_along_axis(ramp, begun[:, None], axis=1)
        return tenure_band(np.maximum(-since, 0)[:, None] + gone_through).astype(np.int64)

    def _posterior(self) -> dict[str, Any]:
        """Arrays that depend on the posterior draw only, shape (posterior draws, ...)."""
        funnel = self.funnel
        prepared = funnel.prepared
        segments, bands = len(prepared.segment.levels), max(prepared.quotes.bands, 1)
        created, value = funnel.posteriors["created"], funnel.posteriors["value"]
        tables: dict[str, Any] = {
            "created_tenure": np.exp(created.effects["tenure"]),
            **dispersions(created.hyper["overdispersion"]),
            "segment_mix": funnel.mix,
            "age_edges": np.asarray(prepared.hazards.age_edges, dtype=np.float64),
            "value_segment": value.effects["level"] + levels(value.effects, "segment", segments),
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
            tables[f"segment_{word}"] = np.exp(levels(effects, "segment", segments))
            tables[f"amount_{word}"] = np.exp(levels(effects, "amount", bands))
            tables[f"age_{word}"] = age_table(effects, len(prepared.hazards.age_edges))
        return tables

    def _deals(self) -> dict[str, Any]:
        book = self.book
        with np.errstate(divide="ignore", invalid="ignore"):
            quote = np.where(book.amount > 0, np.log(book.amount), np.nan)
        return {
            "deal_key": keys(self.seed, "deal", book.ids),
            "deal_rep": self.territory.hands.deal_row,
            "deal_start": book.start - self.grid.first,
            "deal_segment": book.segment.astype(np.int64),
            "deal_band": book.band.astype(np.int64),
            "deal_amount": quote,
        }

    def _changes(self) -> dict[str, Any]:
        whats = {change.what for change in self.drivers.changes}
        return {
            "changed": bool(whats & {"close_rate", "cycle_days", "deal_value"}),
            "share_times": self._factor("close_rate")[self.territory.works],
            "cycle_times": self._factor("cycle_days")[self.territory.works],
            "value_times": self._factor("deal_value")[self.territory.works],
            "margin_times": self._factor("margin")[self.territory.works],
            **self._margin(),
        }

    def _margin(self) -> dict[str, Any]:
        if self.margins is None:
            return {"margin": np.empty(0), "margin_shares": np.zeros((1, 1, 1), dtype=np.float32)}
        return {"margin": self.margins.share, "margin_shares": self.margins.bootstrap(self.seed)}

    def _factor(self, what: str, daily: bool = False) -> Floats:
        """Product of the factors of all changes, by rep and piece (or day)."""
        begin = self.grid.days if daily else self.grid.edges[:-1]
        return factor(self.drivers.changes, what, self.crew, begin)

    # -- what differs between draws ---------------------------------------------------------------

    def block(
        self, first: int, draws: int, counted: Counted | None = None, recent: Recent | None = None
    ) -> dict[str, Any]:
        """Arrays of draws ``first`` to ``first + draws - 1``.

        Parameters
        ----------
        counted : dict of ndarray, shape (draws, seats, steps), optional
            Activities by ``activity:<kind>`` are added to those that are there.
        recent : Recent, optional
            What recent activity does, if it is known already; then neither activities nor leads are made.
        """
        effects, prepared = self.effects, self.funnel.prepared
        row, stays = self._row(first, draws), self.departures.block(first, draws)
        known, recent = recent is not None, recent or self.activity.block(row, first, stays, counted)
        out: dict[str, Any] = {"first_draw": first, "parameter": row, **stays}
        out |= effects.arrivals(prepared.counts, self.bins, row, first)
        out |= recent.driven("created", out["created_base"])
        for cause, word in (("won", "win"), ("lost", "loss")):
            out |= effects.hazards(cause, word, prepared.hazards, row, first)
        out |= self.stages.block(row, first)
        out["value_rep"] = effects.reps("value", row, first)
        out["value_time"] = effects.trend("value", row, first, prepared.value.quarters)
        leads = None if known else self.leads.block(row, first, recent)
        out["leads"] = None if leads is None else self._by_row(leads | stays)
        out["recent"] = recent
        return self._by_row(out)

    def _by_row(self, by_person: dict[str, Any]) -> dict[str, Any]:
        """Arrays of people as arrays of rows; the same ones where no territory moves."""
        ground = self.territory
        if not ground.given.any():
            return by_person
        rows = dict.fromkeys(_CREATING, ground.creates) | dict.fromkeys(_WORKING, ground.works)
        if not by_person["driven"]:
            del rows["created_drive"]
        by_row = {name: x[:, rows[name]] if name in rows else x for name, x in by_person.items()}
        return ground.hands.leaving(by_row)

    def count_activities(self, first: int, draws: int, counted: Counted) -> None:
        """Add up the activities of some draws alone, whatever they drive; see :meth:`block`."""
        stays = self.departures.block(first, draws)
        self.activity.block(self._row(first, draws), first, stays, counted, drive=False)

    def _row(self, first: int, draws: int) -> Ints:
        """Posterior draws."""
        return np.arange(first, first + draws) % self.funnel.draws
