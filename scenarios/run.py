"""Plan -> history -> funnel -> paths, cached: what every command calls once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from quotacast.engine.able import Able, able
from quotacast.engine.associations import association_notes
from quotacast.engine.backtest.origins import spans
from quotacast.engine.backtest.record import Record, load_record
from quotacast.engine.backtest.targets import METRICS as LEANED_ON
from quotacast.engine.drivers import Drivers
from quotacast.engine.kept_draws import KeptDraws
from quotacast.engine.metrics import measures_of
from quotacast.engine.paths import Paths, Steps
from quotacast.engine.quota import Quota, Scope
from quotacast.engine.reuse import Reuse
from quotacast.engine.selling import Costs
from quotacast.engine.simulate import simulate
from quotacast.errors import PlanError
from quotacast.models import store
from quotacast.models.funnel import (
    MODEL_VERSION,
    Funnel,
    Method,
    assemble,
    fit,
    prepare,
    require_trust,
)
from quotacast.models.history.history import History
from quotacast.models.history.schema import NONE
from quotacast.models.people import Employment
from quotacast.models.periods import Period
from quotacast.models.timegrid import day_number
from quotacast.scenarios.choose import check_quota_scopes
from quotacast.scenarios.leaned import Lean, lean
from quotacast.scenarios.money import recognised
from quotacast.scenarios.plan import Plan
from quotacast.scenarios.plannotes import notes_of
from quotacast.scenarios.sources import read
from quotacast.scenarios.targets import BASE_DRAWS, as_factors, check_changes

DEFAULT_METHOD: Method = "laplace"
#: Posterior draws of a fit.
FIT_DRAWS = 2000
#: Simulated futures per origin of a backtest, and the version of what is recorded there.
RECORD_DRAWS = 2000
RECORD_VERSION = 5
_VERSIONS = ("quotacast", "numpy", "scipy", "pandas", "numba", "pymc", "nutpie", "holidays")

Told = Callable[[str, float], None]
Futures = Callable[[tuple[Period, ...], Sequence[str] | None], Paths]


def _silent(what: str, share: float) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Run:
    """A plan with everything that follows from it, each made once and when first needed.

    Parameters
    ----------
    plan : Plan
    method : {"nuts", "laplace"}
    force : bool
        Go on with a fit whose diagnostics fail.
    told : callable
        Called with what is being done and the share that is done.
    activity_drives : bool
        Whether changes of activity that the plan does not call causal change new business as well.
    """

    plan: Plan
    method: Method = DEFAULT_METHOD
    force: bool = False
    told: Told = _silent
    activity_drives: bool = True

    def without_effect(self) -> Run:
        """The same run in which activity does not cause new business unless the plan says so."""
        other = replace(self, activity_drives=False)
        kept = ("history", "_prepared", "funnel", "able", "fit_key", "record", "leaning", "simulated")
        vars(other).update({name: vars(self)[name] for name in kept if name in vars(self)})
        return other

    @cached_property
    def history(self) -> History:
        """History as known on the plan's as-of date."""
        self.told("reading", 0.0)
        found = read(self.plan.data_folder, as_of=self.plan.as_of, currency=self.plan.currency)
        self.told("reading", 1.0)
        return found

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What the plan and the data make worth saying; raises where the plan does not fit the data."""
        said = notes_of(self.plan, self.history, self._prepared)
        associations = association_notes(self.drivers, self._prepared.chain, self._people)
        return (*said, *associations, *self._prepared.notes)

    @property
    def plan_notes(self) -> tuple[str, ...]:
        """Those of the notes that are about the plan rather than about the models."""
        return tuple(note for note in self.notes if note not in self._prepared.notes)

    @cached_property
    def scopes(self) -> tuple[Scope, ...]:
        """Company, teams and reps that a quota may be for, hires and former reps included."""
        people, hires = self._people, self.drivers.hires
        teams = {*people.team, *self.history.reps["team"].dropna(), *(hire.team for hire in hires)}
        reps = {*people.reps, *self.history.reps["rep_id"], *(hire.rep_id for hire in hires)}
        named = [Scope("team", str(t)) for t in sorted(teams)] + [Scope("rep", str(r)) for r in sorted(reps)]
        return (Scope("company"), *named)

    @property
    def roster(self) -> tuple[tuple[str, str], ...]:
        """Reps at work after the as-of date, the plan's hires among them, with their teams."""
        people, today = self._people, int(day_number(self.history.as_of_date))
        there = (people.stop > today) & np.array([rep != NONE for rep in people.reps], dtype=bool)
        known = [
            pair for pair, here in zip(zip(people.reps, people.team, strict=True), there, strict=True) if here
        ]
        return (*known, *((hire.rep_id, hire.team) for hire in self.drivers.hires))

    @cached_property
    def _prepared(self) -> Any:
        return prepare(self.history, self.plan.calendar)

    @property
    def people(self) -> Employment:
        """Who was at work when, known before any fit."""
        found: Employment = self._prepared.people
        return found

    @property
    def _people(self) -> Any:
        return self._prepared.people

    @cached_property
    def drivers(self) -> Drivers:
        """What the plan decides about the future."""
        found = replace(self.plan.drivers(self._people.reps), activity_drives=self.activity_drives)
        check_changes(found, self.able)
        return found

    @cached_property
    def able(self) -> Able:
        """Which metrics the data and the plan can answer."""
        found, reason = able(self.history, self._prepared.chain, self.costs), recognised.lacks(self.plan)
        return replace(found, lacks={**found.lacks, "revenue": reason}) if reason else found

    @property
    def costs(self) -> Costs | None:
        """Selling costs of the plan."""
        stated = self.plan.costs
        if stated is None:
            return None
        variable = stated.commission
        if variable is None:
            return Costs(stated.rep_month, stated.hire)
        paid = (variable.rate, variable.accelerator, variable.renewals)
        return Costs(stated.rep_month, stated.hire, *paid)

    @property
    def run_folder(self) -> Path:
        """Where fits and results are kept."""
        return self.plan.home / store.RUN_FOLDER

    @cached_property
    def fit_key(self) -> str:
        """Fingerprint of everything that the fit depends on."""
        return store.fingerprint(
            {
                "data": self.history.fingerprint,
                "as_of": self.history.as_of_date.isoformat(),
                "calendar": vars(self.plan.calendar),
                "method": self.method,
                "draws": FIT_DRAWS,
                "seed": self.plan.seed,
                "models": MODEL_VERSION,
                "versions": {name: _version(name) for name in ("quotacast", "pymc", "nutpie")},
                **({"holidays": _version("holidays")} if self.plan.calendar.holidays else {}),
            }
        )

    @property
    def fit_folder(self) -> Path:
        """Folder of the stored fit."""
        return self.run_folder / "fits" / self.fit_key[:16]

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models that the data support."""
        names: tuple[str, ...] = self._prepared.models
        return names

    @cached_property
    def record_key(self) -> str:
        """Fingerprint of everything that a backtest of this data depends on."""
        return store.fingerprint(
            {
                "data": self.history.fingerprint,
                "as_of": self.history.as_of_date.isoformat(),
                "calendar": vars(self.plan.calendar),
                "method": self.method,
                "draws": RECORD_DRAWS,
                "seed": self.plan.seed,
                "models": MODEL_VERSION,
                "record": RECORD_VERSION,
                "versions": {
                    n: _version(n) for n in ("quotacast", "pymc", "nutpie", "statsmodels", "holidays")
                },
            }
        )

    @property
    def record_folder(self) -> Path:
        """Where the backtest of this data is kept."""
        return self.run_folder / "backtests" / self.record_key[:16]

    @cached_property
    def record(self) -> Record | None:
        """The stored backtest of exactly this data and version, or None."""
        return load_record(self.record_folder)

    @cached_property
    def leaning(self) -> Lean:
        """Which futures stand for the forecast: the track record's lesson, the same in every scenario."""
        return lean(
            self.record,
            self.history,
            self.plan.calendar,
            self.plan.horizon_period.last,
            self.plan.seed,
            self._unchanged,
        )

    def _unchanged(self, periods: tuple[Period, ...]) -> Paths:
        """Futures without the plan's changes, on which it leans: simulated already where there are none."""
        found: Paths | None = vars(self).get("_simulated_unchanged")
        if found is not None:
            return found
        return self._simulate(Drivers(), (*periods, self.plan.horizon_period), self.plan.draws, LEANED_ON)

    @cached_property
    def _leaned_spans(self) -> tuple[Period, ...]:
        """Periods of which leaning needs futures."""
        last = self.plan.horizon_period.last
        if self.record is None:
            return ()
        return tuple(spans(self.history.as_of_date, self.plan.calendar, last).values())

    @cached_property
    def funnel(self) -> Funnel:
        """The fitted models, from the store where nothing changed."""
        self.notes  # noqa: B018  the plan must fit the data before anything long begins
        stored = store.load_fit(self.fit_folder, self.models, self.fit_key)
        if stored is None:
            self.told("fitting", 0.0)
            found = fit(
                self._prepared,
                method=self.method,
                draws=FIT_DRAWS,
                seed=self.plan.seed,
                told=lambda name, share: self.told(f"fitting: {name} done", share),
            )
            told = {"key": self.fit_key, "checks": found.checks, **self._manifest()}
            store.save_fit(self.fit_folder, found.posteriors, told)
        else:
            checks = store.load_checks(self.fit_folder, self.models)
            found = assemble(self._prepared, stored, self.plan.seed, checks=checks)
        require_trust(found, self.force)
        return found

    def _manifest(self) -> dict[str, Any]:
        return {
            "as_of": self.history.as_of_date.isoformat(),
            "data_fingerprint": self.history.fingerprint,
            "method": self.method,
            "seed": self.plan.seed,
            "versions": versions(),
        }

    def paths(self, periods: Iterable[Period], metrics: Sequence[str] | None = None) -> Paths:
        """Simulate so far and so finely that all periods can be put together.

        Parameters
        ----------
        metrics : sequence of str, optional
            What is to be answered; in daily periods this saves time and memory. All metrics without it.

        Raises
        ------
        PlanError
            If a period ends after the plan's horizon.
        """
        wanted = tuple(periods)
        horizon = self.plan.horizon_period
        late = [p.label for p in wanted if p.last > horizon.last]
        if late:
            raise PlanError(
                f"periods {', '.join(late)} end after the plan's horizon {horizon.label}: move the horizon"
            )
        self.funnel  # noqa: B018  fitted first, so that the bars come in order
        self.told("simulating", 0.0)
        return self._leaned(self.factored_drivers, (*wanted, horizon), metrics)

    def _leaned(self, drivers: Drivers, periods: tuple[Period, ...], metrics: Sequence[str] | None) -> Paths:
        """As many futures as the plan wants, as the track record teaches."""
        return self._earned(metrics, lambda spans, names: self._taught(drivers, spans, names), periods)

    def _earned(self, metrics: Sequence[str] | None, futures: Futures, periods: tuple[Period, ...]) -> Paths:
        """Futures with revenue by the plan's terms, which needs them day by day."""
        found = futures(periods, metrics)
        where = (self.plan, self.history, self._people, self.costs)
        return recognised.earned(*where, found, metrics, lambda days: futures(days, recognised.OF))

    def _taught(self, drivers: Drivers, periods: tuple[Period, ...], metrics: Sequence[str] | None) -> Paths:
        shared = self._leaned_spans if drivers == Drivers() else ()
        paths = self._simulate(drivers, (*periods, *shared), self.plan.draws, metrics)
        if shared and (metrics is None or {*LEANED_ON} <= {*metrics}):
            vars(self)["_simulated_unchanged"] = paths
        futures = self.leaning.futures
        vars(self).pop("_simulated_unchanged", None)
        return paths if futures is None else paths.taken(futures)

    @cached_property
    def factored_drivers(self) -> Drivers:
        """What the plan decides, every change as a factor."""
        first = self.history.as_of_date + timedelta(days=1)
        return as_factors(self.drivers, first, self.plan.horizon_period.last, self._base)

    def variant(
        self,
        drivers: Drivers,
        periods: Iterable[Period],
        draws: int | None = None,
        metrics: Sequence[str] | None = None,
    ) -> Paths:
        """Futures under other drivers than the plan's, with the same random numbers.

        Parameters
        ----------
        draws : int, optional
            Fewer than the plan's for a search; then nothing is leaned on.
        metrics : sequence of str, optional
            What is to be answered, as in :meth:`paths`.
        """
        wanted = (*periods, self.plan.horizon_period)
        if not draws:
            return self._leaned(drivers, wanted, metrics)
        return self._earned(metrics, lambda now, names: self._simulate(drivers, now, draws, names), wanted)

    def _base(self, drivers: Drivers, spans: tuple[Period, ...]) -> Paths:
        """A smaller simulation that says what would be without changes ``to`` a value."""
        return self._simulate(drivers, (*spans, self.plan.horizon_period), min(self.plan.draws, BASE_DRAWS))

    def _simulate(
        self,
        drivers: Drivers,
        periods: tuple[Period, ...],
        draws: int,
        metrics: Sequence[str] | None = None,
    ) -> Paths:
        tomorrow = int(day_number(self.history.as_of_date)) + 1
        found = simulate(
            self.funnel,
            self.history,
            drivers,
            Steps.covering(periods, cuts=(tomorrow,)),
            self.plan.horizon_period.last,
            draws=draws,
            seed=self.plan.seed,
            costs=self.costs,
            measures=None if metrics is None else measures_of(metrics),
            told=lambda share: self.told("simulating", share),
            reuse=self.simulated,
        )
        return replace(found, able=self.able)

    @cached_property
    def simulated(self) -> Reuse:
        """What was simulated with this funnel, the same for every scenario."""
        return Reuse(draws=KeptDraws(self.run_folder / "draws", self.fit_key, self.plan.draws))

    def periods(self, kind: str | None) -> tuple[Period, ...]:
        """Periods of a kind from the one that holds the first simulated day to the horizon.

        Where none ends in the horizon, the horizon itself.
        """
        horizon = self.plan.horizon_period
        first = min(horizon.first, self.history.as_of_date)
        found = self.plan.calendar.periods(kind or "month", first, horizon.last)
        inside = tuple(p for p in found if self.history.as_of_date < p.last <= horizon.last)
        return inside or (horizon,)

    def quotas(self, candidates: Sequence[Quota] = ()) -> tuple[tuple[Quota, ...], tuple[str, ...]]:
        """Quotas to be judged, and what must be said about those that are not.

        Candidates given for this call come first, then the plan's, then those of the data.

        Raises
        ------
        PlanError
            If one is for a rep or team that does not exist.
        """
        self.notes  # noqa: B018  raises with the places in the plan, which are better than ours
        chosen = tuple(candidates) or self._plan_quotas()
        check_quota_scopes(chosen, self.scopes)
        kept, past, far, unknown = [], 0, 0, {}
        for quota in chosen:
            period = self.plan.calendar.parse(quota.period)
            if reason := self.able.reason(quota.metric):
                unknown[quota.metric] = reason
            elif period.last <= self.history.as_of_date:
                past += 1
            elif period.last > self.plan.horizon_period.last:
                far += 1
            else:
                kept.append(quota)
        notes = [] if candidates else self._overridden()
        if not candidates and (lost := int((self.history.rejected["table"] == "quotas").sum())):
            notes.append(f"Quotas of the data that are rejected: {lost:,} (quotacast check says why).")
        notes += [f"Quotas on {name} cannot be answered: {why}." for name, why in sorted(unknown.items())]
        if past:
            notes.append(f"{past} quotas for periods that have ended are left out.")
        if far:
            notes.append(f"{far} quotas for periods beyond the horizon are left out.")
        return tuple(kept), tuple(notes)

    @cached_property
    def _table_quotas(self) -> tuple[Quota, ...]:
        """Those of the data."""
        from quotacast.scenarios.planfile.quotafile import table_quotas

        table = self.history.quotas
        return () if table.empty else table_quotas(table, calendar=self.plan.calendar)

    def _plan_quotas(self) -> tuple[Quota, ...]:
        stated = {q.key for q in self.plan.quotas}
        return (*self.plan.quotas, *(q for q in self._table_quotas if q.key not in stated))

    def _overridden(self) -> list[str]:
        """Quotas of the data that the plan replaces by other ones."""
        given: dict[tuple[str, str, str], list[str]] = {}
        for quota in self._table_quotas:
            given.setdefault(quota.key, []).append(f"{quota.target:,.10g} ({quota.set})")
        own = {q.key: q for q in self.plan.quotas if q.key in given}
        return [
            f"{q.origin}: {' '.join(q.key)} is {q.target:,.10g}, in place of {', '.join(given[q.key])} "
            "in the data."
            for q in own.values()
        ]

    def provenance(self) -> dict[str, Any]:
        """Where an answer comes from."""
        return dict(self._provenance)

    @cached_property
    def _provenance(self) -> dict[str, Any]:
        return {
            "plan": self.plan.name,
            "scenario": self.plan.scenario or "base",
            "plan_hash": self.plan.text_hash,
            "data_fingerprint": self.history.fingerprint,
            "as_of": self.history.as_of_date.isoformat(),
            "horizon": self.plan.horizon,
            "currency": self.history.currency,
            "seed": self.plan.seed,
            "draws": self.plan.draws,
            "versions": versions(),
            "method": self.method,
            "leaning": dict(self.leaning.facts),
            "diagnostics": self.funnel.diagnostics(),
            "notes": list(self.notes),
        }


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    return {name: _version(name) for name in _VERSIONS}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
