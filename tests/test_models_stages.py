"""The chain of stages: visits, cells, the rule on thin histories, and recovery of written-down hazards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from quotacast.engine.worlds import World
from quotacast.engine.worlds_stages import with_stages
from quotacast.models import stages as model
from quotacast.models.funnel import Prepared, prepare
from quotacast.models.history.history import History
from quotacast.models.laplace import fit_laplace
from quotacast.models.periods import Calendar
from quotacast.models.stages import STAGE_MODELS, factors, next_stage, rates
from quotacast.models.terms import Posterior
from quotacast.models.timegrid import as_date, day_number

Make = Callable[[Mapping[str, Any], date], History]
AS_OF = date(2025, 6, 30)


def deal(number: int, created: str, status: str = "open", closed: str | None = None) -> dict[str, Any]:
    amount = 900.0 + number if status == "won" else None
    return {"opportunity_id": f"o{number:03d}", "created_on": created, "status": status,
            "closed_on": closed, "amount": amount, "rep_id": "r1"}  # fmt: skip


def row(number: int, stage: str | None, day: str) -> dict[str, Any]:
    return {"opportunity_id": f"o{number:03d}", "stage": stage, "entered_on": day}


def visits_of(history: History) -> list[tuple[str, str, date, date, int]]:
    rows = model._rows(history)
    names, rows = tuple(sorted(rows["stage"].unique())), model._merged(rows)
    v = model._visits(history, rows, names)
    ids = history.opportunities["opportunity_id"].to_numpy()
    found = zip(ids[v.deal], v.stage, v.entered, v.left, v.way, strict=True)
    return [(str(i), names[s], as_date(a), as_date(b), int(w)) for i, s, a, b, w in found]


def test_visits_are_stays_between_moves(make_history: Make) -> None:
    deals = [
        deal(1, "2025-01-10", "won", "2025-03-01"),
        deal(2, "2025-02-01"),
        deal(3, "2025-02-01", "lost", "2025-02-20"),
        deal(4, "2025-05-05"),
    ]
    rows = [
        row(1, "A", "2025-01-12"),  # the first stay begins with the deal
        row(1, "A", "2025-01-20"),  # another owner, the same stay
        row(1, None, "2025-01-22"),
        row(1, "B", "2025-02-03"),
        row(1, "A", "2025-02-10"),  # back again
        row(1, "Signed", "2025-03-01"),
        row(2, "B", "2025-02-01"),
        row(2, "C", "2025-02-01"),  # two on one day
        row(3, "A", "2025-02-01"),
        row(3, "Gone", "2025-02-10"),  # undone later: it stayed where it was
        row(3, "A", "2025-02-14"),
        row(3, "Gone", "2025-02-20"),
        row(3, "C", "2025-03-01"),  # after the closing: nothing
        row(9, "A", "2025-02-01"),  # of no deal
    ]
    history = make_history({"opportunities": deals, "stages": rows}, AS_OF)
    history = History(
        history.tables, AS_OF, "EUR", (), history.rejected, closing_stages={"Signed": "won", "Gone": "lost"}
    )
    d = date.fromisoformat
    assert visits_of(history) == [
        ("o001", "A", d("2025-01-10"), d("2025-02-03"), 3),
        ("o001", "B", d("2025-02-03"), d("2025-02-10"), 3),
        ("o001", "A", d("2025-02-10"), d("2025-03-01"), 1),
        ("o002", "B", d("2025-02-01"), d("2025-02-01"), 3),
        ("o002", "C", d("2025-02-01"), AS_OF, 0),
        ("o003", "A", d("2025-02-01"), d("2025-02-20"), 2),
    ]


def many(make_history: Make, stages: Callable[[int, date], list[dict[str, Any]]]) -> History:
    """200 deals, one a day, of which every fifth is open; every closed one lasts three weeks."""
    deals, rows = [], []
    for k in range(200):
        born = date(2025, 6, 8) - timedelta(days=k)
        status = ("open", "won", "lost", "lost", "won")[k % 5]
        closed = None if status == "open" else (born + timedelta(days=21)).isoformat()
        deals.append(deal(k, born.isoformat(), status, closed))
        rows += stages(k, born)
    return make_history({"opportunities": deals, "stages": rows}, AS_OF)


def two(k: int, born: date) -> list[dict[str, Any]]:
    return [row(k, "first", born.isoformat()), row(k, "second", (born + timedelta(days=9)).isoformat())]


def last_note(found: Prepared) -> str:
    return next(note for note in found.notes if "stage" in note.lower())


def test_a_history_of_stages_adds_three_models(make_history: Make) -> None:
    found = prepare(many(make_history, two), Calendar())
    assert found.stages is not None
    assert found.stages.names == ("first", "second")
    assert [n for n in found.models if n in STAGE_MODELS] == list(STAGE_MODELS)
    assert found.stages.moves.tolist() == [[0, 200], [0, 0]]
    assert found.stages.first.tolist() == [200, 0]
    opened = found.stages.standing["o005"]
    assert opened == (1, int(day_number(date(2025, 6, 12))))
    assert len(found.stages.standing) == 40
    assert "first, second" in last_note(found)


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        (lambda k, born: [], "No stage history"),
        (lambda k, born: two(k, born)[:1], "fewer than two stages"),
        (lambda k, born: two(k, born) if k % 3 == 0 else [], "of 160 closed deals"),
        (lambda k, born: two(k, born) if k % 5 else [], "of 40 open deals"),
    ],
    ids=["none", "one stage", "few closed", "few open"],
)
def test_without_enough_stages_deals_go_by_age(
    make_history: Make, stages: Callable[[int, date], list[dict[str, Any]]], said: str
) -> None:
    found = prepare(many(make_history, stages), Calendar())
    assert found.stages is None
    assert said in last_note(found)
    assert not set(found.models) & set(STAGE_MODELS)


def test_rare_stages_are_counted_together(make_history: Make) -> None:
    def stages(k: int, born: date) -> list[dict[str, Any]]:
        odd = [row(k, f"odd {k % 9}", (born + timedelta(days=12)).isoformat())]
        return two(k, born) + (odd if k % 2 else [])

    found = prepare(many(make_history, stages), Calendar()).stages
    assert found is not None
    assert found.names == ("first", "second", model.OTHER)


def test_cells_hold_every_closing_and_every_day(make_history: Make) -> None:
    found = prepare(many(make_history, two), Calendar())
    assert found.stages is not None
    for cells, base in zip(found.stages.cells, found.hazards.cells, strict=False):
        assert cells.response.sum() == base.response.sum()
        # main effects by proportional fitting reproduce the total, but for what holds them near one
        assert cells.exposure.sum() == pytest.approx(base.response.sum(), rel=0.05)
    moved = found.stages.cells[2]
    assert moved.response.sum() == 200
    assert set(moved.codes["stage"]) == {0}  # no deal leaves the second for another
    # 9 whole days before the move; the days of entry and move count half each
    assert moved.exposure.sum() == pytest.approx(200 * 9.0, rel=0.05)
    assert (model.move_rates(found.stages, flat(found.stages))[:, 1] == 0).all()
    assert (model.move_rates(found.stages, flat(found.stages))[:, 0] > 0).all()


def flat(data: model.StageData) -> Posterior:
    """One draw of the moves without any effect."""
    return Posterior({t.name: np.zeros((1, t.size)) for t in data.declarations[2].terms}, {}, {})


def test_factors_reproduce_the_closings_that_were_seen(make_history: Make) -> None:
    found = prepare(many(make_history, two), Calendar()).stages
    assert found is not None
    declaration, cells = found.declarations[1], found.cells[1]
    rng = np.random.default_rng(4)
    effects = {t.name: rng.normal(0.3, 0.5, (7, t.size)) for t in declaration.terms}
    posterior = Posterior(effects, {}, {})
    got = factors(found, posterior, 1).reshape(7, -1)
    age = effects["age"][:, cells.codes["age"]] if "age" in effects else 0.0
    total = (got[:, cells.codes["stage_age"]] * np.exp(age)) @ cells.exposure
    assert total == pytest.approx(cells.response.sum())


def test_shares_of_the_next_stage_are_dirichlet(make_history: Make) -> None:
    found = prepare(many(make_history, two), Calendar()).stages
    assert found is not None
    wide = model.StageData(
        ("a", "b", "c"), found.edges, found.declarations, found.cells,
        np.array([[0.0, 30.0, 10.0], [4.0, 0.0, 0.0], [0.0, 0.0, 0.0]]), np.ones(3), {},
    )  # fmt: skip
    shares = np.diff(next_stage(wide, 20_000, 3), axis=2, prepend=0.0)
    into = np.array([4.5, 30.5, 10.5])
    prior = into * (1 - np.eye(3)) / (into * (1 - np.eye(3))).sum(axis=1, keepdims=True)
    mean = (wide.moves + prior) / (wide.moves + prior).sum(axis=1, keepdims=True)
    assert shares.mean(axis=0) == pytest.approx(mean, abs=0.01)
    a = (wide.moves + prior)[0, 1:]
    assert shares[:, 0, 1].var() == pytest.approx(a.prod() / a.sum() ** 2 / (a.sum() + 1), rel=0.05)


def test_known_hazards_are_recovered(
    small_world: Callable[..., World], world_history: Callable[[World], History]
) -> None:
    """Moves absolutely; wins and losses up to a factor, which the age model takes."""
    world = small_world(3, 10, change=lambda truth: with_stages(truth, np.random.default_rng(6)))
    chain = world.truth.stages
    assert chain is not None
    found = prepare(world_history(world), Calendar()).stages
    assert found is not None
    assert found.names == ("Qualification", "Demo", "Proposal", "Negotiation")
    band = np.searchsorted(chain.bands, found.edges, side="right") - 1
    for k, true in enumerate((chain.win, chain.loss, chain.move)):
        declaration, cells = found.declarations[k], found.cells[k]
        posterior = fit_laplace(declaration, cells, draws=800, seed=2)
        assert float(posterior.diagnostics["khat"]) < 0.7
        log = np.log(rates(found, posterior)).reshape(800, -1)
        wanted = np.asarray(true)[:, band].ravel()
        events = np.bincount(cells.codes["stage_age"], cells.response, minlength=wanted.size)
        well = events >= 15
        if k < 2:
            weight = events[well] / events[well].sum()
            log = log - (log[:, well] @ weight)[:, None]
            wanted = wanted - wanted[well] @ weight
        z = ((log.mean(axis=0) - wanted) / log.std(axis=0))[well]
        assert well.sum() >= 10
        assert np.abs(z).mean() < 1.4
        assert np.abs(log.mean(axis=0) - wanted)[well].mean() < 0.3
    true_next = np.asarray(chain.next)
    share = found.moves / found.moves.sum(axis=1, keepdims=True)
    assert np.abs(share - true_next).max() < 0.06
