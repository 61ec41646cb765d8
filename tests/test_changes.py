"""Changes ``to`` a value, leavers among hires, and changes that cannot be followed."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from quotacast.engine.able import Able
from quotacast.engine.drivers import Change, Drivers, Hire, Leave
from quotacast.engine.metrics import MARGIN, metric, series
from quotacast.engine.paths import Steps
from quotacast.engine.quota import Scope
from quotacast.engine.simulate import simulate
from quotacast.errors import PlanError
from quotacast.models.funnel import fit, prepare
from quotacast.models.periods import Calendar
from quotacast.scenarios.targets import as_factors, check_changes

YEAR = Calendar().parse("2026")


@pytest.fixture(scope="module")
def simulated(small_world, world_history):  # type: ignore[no-untyped-def]
    """From drivers to paths of 2026, on one small fitted company."""
    history = world_history(small_world(3, 4, date(2024, 1, 1), date(2025, 12, 31)))
    funnel = fit(prepare(history, Calendar()), draws=400, fall_back=False)

    def run(drivers, periods):  # type: ignore[no-untyped-def]
        steps = Steps.covering((*periods, YEAR))
        return simulate(funnel, history, drivers, steps, YEAR.last, draws=600, seed=5)

    return run


@pytest.mark.parametrize(
    ("what", "to"), [("opportunities_created", 31.0), ("close_rate", 0.21), ("deal_value", 4321.0)]
)
def test_a_change_to_a_value_leads_there(simulated, what: str, to: float) -> None:  # type: ignore[no-untyped-def]
    drivers = Drivers(changes=(Change(what, "company", to=to),))
    made = as_factors(drivers, YEAR.first, YEAR.last, simulated)
    assert made.changes[0].to is None
    which = MARGIN if what == "margin" else metric(what)
    values = series(simulated(made, ()), which, Scope("company"), YEAR).total
    reached = float(np.nanmean(values)) / (1 if which.is_ratio else 12)
    assert reached == pytest.approx(to, rel=0.06)


def test_without_a_value_nothing_is_simulated_twice() -> None:
    drivers = Drivers(changes=(Change("close_rate", "company", times=1.3),))
    assert as_factors(drivers, YEAR.first, YEAR.last, lambda d, p: pytest.fail("simulated")) is drivers


def test_what_cannot_be_followed_is_named() -> None:
    changes = (Change("margin", "company", times=1.1), Change("activity:call", "company", times=1.2))
    changes += (Change("activity:email", "company", times=1.1), Change("price", "company", times=1.1))
    able = Able(("email",), {"gross_margin": "the margin of 3% is known", "activity:": "there are email"})
    with pytest.raises(PlanError) as caught:
        check_changes(Drivers(changes=changes), able)
    places = [p.split(":")[0] for p in caught.value.problems]
    assert places == ["change[1].what", "change[2].what", "change[4].what"]
    assert "the margin of 3% is known" in caught.value.problems[0]
    assert "there are email" in caught.value.problems[1]


def test_a_hire_may_leave_and_a_stranger_may_not(simulated) -> None:  # type: ignore[no-untyped-def]
    hire = Hire("north+1", "north", date(2026, 2, 1))
    stay = simulated(Drivers(hires=(hire,)), ())
    gone = simulated(Drivers(hires=(hire,), leaves=(Leave("north+1", date(2026, 3, 1)),)), ())
    rep = stay.reps.index("north+1")
    assert 0 < gone.array("created")[:, rep].sum() < stay.array("created")[:, rep].sum()
    with pytest.raises(PlanError, match="no rep nobody"):
        simulated(Drivers(leaves=(Leave("nobody", date(2026, 3, 1)),)), ())
