"""Tables of leads: how many come, which are open, and how they end.

The arrays have the names of those of deals (see :mod:`quotacast.engine.tables`): *win* stands for a
conversion and *loss* for a disqualification, so that one text of formulas serves both.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from quotacast.engine.activity import Recent
from quotacast.engine.drivers import Drivers
from quotacast.engine.effects import Bins, Effects, Ints, age_table, levels
from quotacast.engine.factors import at_work, factor, summed
from quotacast.engine.kernel_counts import dispersions
from quotacast.engine.streams import keys
from quotacast.engine.territory import Territory
from quotacast.models.conversion import HazardData
from quotacast.models.counts import CountData
from quotacast.models.funnel import cumulative_mix
from quotacast.models.terms import Floats

#: Causes of a lead's end with the words of the arrays.
CAUSES = (("converted", "win"), ("disqualified", "loss"))
_TIME = ("cumulative", "weights", "edges", "piece_of_day", "position", "quarter", "step_of_day")
_BINS = ("bin_edges", "bin_label", "bin_quarter", "bin_middle")
_PEOPLE = ("asked", "tenure", "tenure_edges", "ramp_days", "seat", "follows", "mix_row")


class Leads:
    """Arrays of leads: ``fixed`` once, ``block`` for a block of draws; none where there are no leads.

    Parameters
    ----------
    effects : Effects
    drivers : Drivers
    bins : Bins
    deals : dict
        Arrays of deals, of which those of time and people are shared.
    ground : Territory
    seed : int
    """

    def __init__(
        self,
        effects: Effects,
        drivers: Drivers,
        bins: Bins,
        deals: dict[str, Any],
        ground: Territory,
        seed: int,
    ) -> None:
        self.ground = ground
        self.effects, self.drivers, self.bins, self.seed = effects, drivers, bins, seed
        chain = effects.funnel.prepared.chain
        self.counts: CountData | None = chain.leads
        self.hazards: HazardData | None = chain.lead_hazards
        self.fixed = self._fixed(deals) if self.there else {}

    @property
    def there(self) -> bool:
        """Whether leads are simulated."""
        return self.counts is not None and self.hazards is not None

    def _fixed(self, deals: dict[str, Any]) -> dict[str, Any]:
        grid, people, ground = self.effects.grid, self.effects.crew, self.ground
        ones = np.ones((ground.rows, grid.edges.size - 1))
        times = factor(self.drivers.changes, "opportunities_created", people, grid.days)
        return {
            **{name: deals[name] for name in (*_TIME, *_BINS, *_PEOPLE)},
            **self._posterior(),
            **self._open(),
            **ground.arrays,
            "rep_key": self.effects.rep_keys("lead arrivals")[ground.creates],
            "at_work": summed(at_work(people, self.drivers.absences, grid))[ground.works],
            "begins": self.effects.funnel.lead_yield,
            "begins_times": times[ground.works],
            "cycle_times": ones,
            "share_times": ones,
        }

    def _posterior(self) -> dict[str, Any]:
        """Arrays that depend on the posterior draw only, shape (posterior draws, ...)."""
        assert self.hazards is not None
        posteriors = self.effects.funnel.posteriors
        segments, bands = len(self.effects.funnel.prepared.segment.levels), len(self.hazards.age_edges)
        created = posteriors["leads"]
        tables: dict[str, Any] = {
            "created_tenure": np.exp(created.effects["tenure"]),
            **dispersions(created.hyper["overdispersion"]),
            "segment_mix": self._mix(),
            "age_edges": np.asarray(self.hazards.age_edges, dtype=np.float64),
        }
        for cause, word in CAUSES:
            effects = posteriors[cause].effects
            tables[f"segment_{word}"] = np.exp(levels(effects, "segment", segments))
            tables[f"amount_{word}"] = np.ones((created.draws, 1))
            tables[f"age_{word}"] = age_table(effects, bands)
        return tables

    def _mix(self) -> Floats:
        """Segments of leads: others than those of deals where some convert more often."""
        prepared = self.effects.funnel.prepared
        leads = prepared.chain.lead_deals
        assert leads is not None
        reps, segments = len(prepared.people.reps), len(prepared.segment.levels)
        codes = leads.codes["rep"], leads.codes["segment"]
        return cumulative_mix(*codes, (reps, segments), self.effects.funnel.draws, self.seed + 3)

    def _open(self) -> dict[str, Any]:
        """Leads that are open at the as-of date."""
        rows = self.effects.funnel.prepared.chain.open_leads
        return {
            "deal_key": keys(self.seed, "lead", rows.ids),
            "deal_rep": np.asarray(rows.rep, dtype=np.int64),
            "deal_start": np.asarray(rows.start - self.effects.grid.first, dtype=np.int64),
            "deal_segment": np.asarray(rows.segment, dtype=np.int64),
            "deal_band": np.zeros(len(rows), dtype=np.int64),
        }

    def block(self, row: Ints, first: int, recent: Recent) -> dict[str, Any] | None:
        """Arrays of a block of draws; None where there are no leads."""
        if self.counts is None or self.hazards is None:
            return None
        out: dict[str, Any] = {"first_draw": first, "parameter": row}
        out |= self.effects.arrivals(self.counts, self.bins, row, first)
        out |= recent.driven("leads", out["created_base"])
        for cause, word in CAUSES:
            out |= self.effects.hazards(cause, word, self.hazards, row, first)
        return out
