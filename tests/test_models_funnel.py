"""From a history to declared models: what is refused, what small companies get, what is said."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from quotacast.errors import DataError, FitError
from quotacast.models.checks import predictive_check
from quotacast.models.covariates import MOST_LEVELS, OTHER, segment_covariate
from quotacast.models.funnel import MODELS, assemble, prepare, require_trust
from quotacast.models.periods import Calendar
from quotacast.models.terms import Cells, Declaration, Posterior, Term

FIRST, LAST = date(2024, 1, 1), date(2024, 9, 30)
Make = Callable[..., Any]


def deals(
    n: int = 120, reps: int = 3, won: float = 0.4, lost: float = 0.4, seed: int = 1
) -> list[dict[str, Any]]:
    """Deals on working days of nine months; what is neither won nor lost is open."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        created = FIRST + timedelta(days=int(rng.integers(0, 250)))
        closed = created + timedelta(days=int(rng.integers(0, 60)))
        u = rng.random()
        status = "won" if u < won else "lost" if u < won + lost else "open"
        status = "open" if closed > LAST else status
        rows.append(
            {
                "opportunity_id": str(i), "created_on": str(created), "status": status,
                "closed_on": None if status == "open" else str(closed), "rep_id": f"r{i % reps}",
                "amount": float(np.exp(rng.normal(9, 0.5))), "segment": ("small", "large")[i % 2],
            }
        )  # fmt: skip
    return rows


def prepared(make_history: Make, rows: list[dict[str, Any]], as_of: date = LAST) -> Any:
    return prepare(make_history({"opportunities": rows}, as_of), Calendar())


def posteriors(found: Any, draws: int = 300, seed: int = 1) -> dict[str, Posterior]:
    """Tight draws around rates that match the totals: a stand-in for a fit."""
    rng = np.random.default_rng(seed)
    out = {}
    for name, (declaration, cells) in found.declared().items():
        effects = {t.name: np.zeros((draws, t.size)) for t in declaration.terms}
        if declaration.family == "normal":
            centre, sd = float(np.average(cells.response, weights=cells.exposure)), 0.05
        else:
            total = max(float(cells.response.sum()), 0.5)
            centre, sd = float(np.log(total / cells.exposure.sum())), total**-0.5
        effects["level"] = rng.normal(centre, sd, (draws, 1))
        hyper = {h: np.full(draws, 0.2) for h in declaration.hyperparameters()}
        out[name] = Posterior(effects, hyper, {"method": "nuts", "rhat": 1.0, "passed": True})
    return out


def test_every_deal_arrives_in_every_model(make_history: Make) -> None:
    rows = deals()
    found = prepared(make_history, rows)
    assert list(found.declared()) == list(MODELS)
    status = [row["status"] for row in rows]
    assert found.counts.cells.response.sum() == len(rows)
    won, lost = (cells.response.sum() for cells in found.hazards.cells)
    assert (won, lost) == (status.count("won"), status.count("lost"))
    assert found.value.log_amount.size == status.count("won")
    for declaration, cells in found.declared().values():
        for term in declaration.terms:
            assert cells.term_codes(term).max() < term.size, (declaration.name, term.name)


def test_preparing_twice_gives_the_same(make_history: Make) -> None:
    a, b = (prepared(make_history, deals()) for _ in range(2))
    assert a.fingerprint == b.fingerprint
    for name, (declaration, cells) in a.declared().items():
        assert declaration == b.declared()[name][0]
        np.testing.assert_array_equal(cells.exposure, b.declared()[name][1].exposure)


def test_no_won_deals_and_too_short_a_history_are_refused_together(make_history: Make) -> None:
    rows = [row for row in deals(won=0.0) if row["created_on"] <= "2024-01-20"]
    rows = [{**row, "status": "open", "closed_on": None} for row in rows]
    with pytest.raises(DataError) as caught:
        prepared(make_history, rows, date(2024, 1, 25))
    problems = caught.value.problems
    assert len(problems) == 2
    assert "no won opportunity by 2024-01-25" in problems[0]
    assert "shorter than 28 days" in problems[1]


def test_a_history_without_deals_is_refused(make_history: Make) -> None:
    with pytest.raises(DataError, match="no won opportunity"):
        prepared(make_history, [])


def test_four_weeks_are_enough(make_history: Make) -> None:
    rows = [row for row in deals(400) if row["created_on"] <= "2024-01-29"]
    rows = [
        {**r, "status": "open", "closed_on": None} if (r["closed_on"] or "") > "2024-01-29" else r
        for r in rows
    ]
    first = min(row["created_on"] for row in rows)
    found = prepared(make_history, rows, date.fromisoformat(first) + timedelta(days=28))
    assert found.hazards.months.size >= 1


def test_a_single_rep_has_nobody_to_be_compared_with(make_history: Make) -> None:
    found = prepared(make_history, deals(reps=1))
    for name, (declaration, _) in found.declared().items():
        assert not {"rep", "team"} & {t.name for t in declaration.terms}, name
    assert any(note.startswith("One rep") for note in found.notes)
    funnel = assemble(found, posteriors(found), 1)
    assert funnel.mix.shape == (300, 2, 2)


def test_without_lost_deals_the_losses_have_exposure_and_no_events(make_history: Make) -> None:
    found = prepared(make_history, deals(lost=0.0))
    won, lost = found.hazards.cells
    assert lost.response.sum() == 0
    assert won.response.sum() > 0
    assert lost.exposure.sum() == won.exposure.sum()
    assert any("No lost deals" in note for note in found.notes)


def test_a_truncated_history_begins_where_it_is_complete(make_history: Make) -> None:
    """Only survivors of the time before July: no closing before it, although many were due."""
    rows = [row for row in deals(900, seed=4) if row["closed_on"] is None or row["closed_on"] >= "2024-07-01"]
    found = prepared(make_history, rows)
    first = min(row["closed_on"] for row in rows if row["closed_on"])
    assert found.grid.first == np.datetime64(first).astype(int)
    assert found.deals.entry.min() == found.grid.first
    assert found.deals.start.min() < found.grid.first
    assert found.counts.cells.response.sum() == sum(row["created_on"] >= first for row in rows)
    assert f"{date.fromisoformat(first):%d %b %Y}" in found.notes[0]


def test_segments_come_from_the_first_column_that_is_filled(make_history: Make) -> None:
    rows = deals(100)
    for i, row in enumerate(rows):
        row["segment"] = "only" if i < 70 else None  # filled for 70 %: not enough
        row["product"] = f"p{i % 17:02d}" if i < 90 else None
    history = make_history({"opportunities": rows}, LAST)
    found = segment_covariate(history)
    assert found.column == "product"
    assert len(found.levels) == MOST_LEVELS + 1
    assert found.levels[-1] == OTHER
    assert np.bincount(found.codes).sum() == 100
    assert found.code(np.array(["p00", "never seen"])).tolist() == [found.levels.index("p00"), MOST_LEVELS]
    plain = segment_covariate(make_history({"opportunities": [{**r, "product": "p"} for r in rows]}, LAST))
    assert (plain.column, plain.levels) == ("", ("all",))


def test_mix_of_segments_is_pooled_towards_the_company(make_history: Make) -> None:
    """A rep with many deals keeps the own mix, one with a single deal gets nearly the company's."""
    rows = deals(200, reps=1)
    rows[7]["rep_id"] = "r1"
    for i, row in enumerate(rows):
        row["segment"] = "large" if i % 4 == 0 else "small"
    found = prepared(make_history, rows)
    assert found.segment.levels == ("large", "small")
    mix = assemble(found, posteriors(found, 4000), 1).mix
    assert mix.shape == (4000, 3, 2)
    np.testing.assert_array_equal(mix[:, :, -1], 1.0)
    large = sum(row["segment"] == "large" for row in rows) + 0.5
    company = large / 201.0
    # Dirichlet means: (count + 20 company) / (n + 20).
    want = [(50 + 20 * company) / 219, (0 + 20 * company) / 21, company]
    np.testing.assert_allclose(mix[:, :, 0].mean(axis=0), want, atol=0.01)


def test_assembling_is_deterministic(make_history: Make) -> None:
    found = prepared(make_history, deals())
    fit = posteriors(found)
    a, b = assemble(found, fit, 5), assemble(found, fit, 5)
    assert a.diagnostics() == b.diagnostics()
    np.testing.assert_array_equal(a.mix, b.mix)
    np.testing.assert_array_equal(a.residuals.cumulative, b.residuals.cumulative)
    unchecked = assemble(found, fit, 5, check=False)
    assert a.checks.keys() == set(found.models)
    assert unchecked.checks == {}
    np.testing.assert_array_equal(a.mix, unchecked.mix)
    np.testing.assert_array_equal(a.residuals.cumulative, unchecked.residuals.cumulative)


@pytest.mark.parametrize("model", MODELS)
def test_predictive_checks_pass_for_matching_rates_and_fail_for_wrong_ones(
    make_history: Make, model: str
) -> None:
    found = prepared(make_history, deals(400))
    declaration, cells = found.declared()[model]
    fit = posteriors(found)[model]
    assert predictive_check(declaration, cells, fit, 1)["passed"] is True
    wrong = Posterior({**fit.effects, "level": fit.effects["level"] + 0.6}, fit.hyper, fit.diagnostics)
    assert predictive_check(declaration, cells, wrong, 1)["passed"] is False


def test_a_fit_that_failed_is_refused_unless_forced(make_history: Make) -> None:
    found = prepared(make_history, deals())
    fit = posteriors(found)
    require_trust(assemble(found, fit, 1))
    bad = {**fit, "won": Posterior(fit["won"].effects, fit["won"].hyper, {"rhat": 1.3, "passed": False})}
    funnel = assemble(found, bad, 1)
    with pytest.raises(FitError, match=r"(?s)model won: .*rhat 1\.3.*fit again"):
        require_trust(funnel)
    require_trust(funnel, force=True)


@pytest.mark.parametrize(
    "left",
    [None, "2024-06-01"],
)
def test_no_creation_is_lost_between_history_and_cells(make_history: Make, left: str | None) -> None:
    """Deals dated after a rep's last day are still deals."""
    rows = deals()
    reps = [{"rep_id": "r1", "hired_on": "2023-01-01", "left_on": left}]
    found = prepare(make_history({"opportunities": rows, "reps": reps}, LAST), Calendar())
    assert found.counts.cells.response.sum() == len(rows)


def test_a_model_without_a_cell_passes_its_check() -> None:
    none = Cells(np.zeros(0), np.zeros(0), {"month": np.zeros(0, np.int32)})
    declaration = Declaration("test", "poisson", (Term("level", "level", "", 1, 1.0, "test", (0.3,)),))
    fit = Posterior({"level": np.full((50, 1), 0.3)}, {}, {})
    assert predictive_check(declaration, none, fit, 1)["passed"] is True
