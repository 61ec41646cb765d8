"""What was simulated before is not simulated again, and that changes no number."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from quotacast.engine import simulate as simulation
from quotacast.engine.columns import columns_of, spliced
from quotacast.engine.drivers import Absence, Change, Drivers, Hire, Leave
from quotacast.engine.kept_draws import KeptDraws
from quotacast.engine.paths import Paths
from quotacast.engine.reuse import Reuse
from quotacast.engine.simulate import simulate
from quotacast.engine.tables import Tables

sys.path.insert(0, str(Path(__file__).parent))
from chain_company import HORIZON, funnel, history, months

sys.path.remove(str(Path(__file__).parent))

DRAWS = 530  # two whole blocks and a part of one


def futures(drivers: Drivers, reuse: Reuse | None, **more: Any) -> Paths:
    """Futures of four reps."""
    given = {"draws": DRAWS, "seed": 4} | more
    return simulate(funnel(), history(), drivers, months(), HORIZON, reuse=reuse, **given)


def rep(row: int) -> str:
    """A rep of the history."""
    return sorted(history().reps["rep_id"])[row]


HIRES = (Hire("new", "a", date(2025, 12, 3)), Hire("newer", "b", date(2026, 1, 7)))


def hired() -> Drivers:
    return Drivers(hires=HIRES)


def away() -> Drivers:
    return Drivers(absences=(Absence(rep(1), date(2025, 12, 1), date(2026, 1, 9), 0.7),))


def calls_of_one() -> Drivers:
    return Drivers(changes=(Change("activity:call", f"rep:{rep(2)}", times=1.6),))


def ramp_of_one() -> Drivers:
    return Drivers(changes=(Change("ramp", f"rep:{rep(0)}", times=0.5),))


def wins_of_a_team() -> Drivers:
    return Drivers(changes=(Change("close_rate", "team:b", times=1.2),), hires=HIRES)


def leads_of_one() -> Drivers:
    return Drivers(changes=(Change("opportunities_created", f"rep:{rep(3)}", times=0.8),))


def wins_of_all() -> Drivers:
    return Drivers(changes=(Change("close_rate", "company", times=1.1),))


def dated() -> Drivers:
    return Drivers(changes=(Change("close_rate", f"rep:{rep(0)}", first=date(2026, 1, 5), times=1.3),))


def leaving() -> Drivers:
    return Drivers(leaves=(Leave(rep(2), date(2026, 1, 1)),))


@pytest.mark.parametrize(
    ("drivers", "same"),
    [
        (Drivers, None), (hired, 4), (away, 3), (calls_of_one, 3), (ramp_of_one, 3), (wins_of_a_team, 2),
        (leads_of_one, 3), (wins_of_all, 0), (dated, 0), (leaving, 0),
    ],
)  # fmt: skip
def test_what_is_the_same_is_taken(drivers: Callable[[], Drivers], same: int | None) -> None:
    wanted, reuse = futures(drivers(), None), Reuse()
    futures(Drivers(), reuse)
    run = mock.Mock(wraps=simulation.run_columns)
    only = mock.Mock(wraps=simulation.Tables.only)
    with (
        mock.patch.object(simulation, "run_columns", run),
        mock.patch.object(simulation.Tables, "only", lambda self, rows: only(self, rows)),
    ):
        found = futures(drivers(), reuse)
    assert run.call_count == (0 if same is None else 1)
    if same:
        rows = only.call_args.args[1]
        assert (~rows).sum() == same
    else:
        assert only.call_count == 0
    for name, measure in wanted.columns.items():
        np.testing.assert_array_equal(found.columns[name].dense(), measure.dense(), err_msg=name)
    assert found.reps == wanted.reps


def deals_of_all() -> Drivers:
    changes = ("close_rate", 1.1), ("cycle_days", 0.8), ("deal_value", 1.3), ("margin", 0.9)
    return Drivers(changes=tuple(Change(what, "company", times=times) for what, times in changes))


@pytest.mark.parametrize(
    ("drivers", "kept"),
    [(deals_of_all, True), (wins_of_a_team, False), (leads_of_one, False), (dated, False)],
)
def test_what_leads_and_activities_bring_is_taken(drivers: Callable[[], Drivers], kept: bool) -> None:
    wanted, reuse = futures(drivers(), None), Reuse(upstream=True)
    futures(Drivers(), reuse)
    with mock.patch.object(simulation.Tables, "block", autospec=True, side_effect=Tables.block) as block:
        found = futures(drivers(), reuse)
    assert all((call.args[4] is not None) == kept for call in block.call_args_list)
    assert block.call_count == wanted.columns["won"].begin.size > 1
    for name, measure in wanted.columns.items():
        np.testing.assert_array_equal(found.columns[name].dense(), measure.dense(), err_msg=name)


def test_what_is_brought_and_too_large_is_not_kept() -> None:
    wanted, reuse = futures(deals_of_all(), None), Reuse(upstream=True)
    with mock.patch("quotacast.engine.reuse.LIMIT", 100_000):
        futures(Drivers(), reuse)
        found = futures(deals_of_all(), reuse)
    np.testing.assert_array_equal(found.columns["won_cents"].dense(), wanted.columns["won_cents"].dense())


def test_other_draws_seeds_steps_or_measures_share_nothing() -> None:
    reuse = Reuse()
    futures(Drivers(), reuse)
    for more in ({"draws": 77}, {"seed": 5}, {"measures": ["won"]}):
        wanted, found = futures(hired(), None, **more), futures(hired(), reuse, **more)
        for name, measure in wanted.columns.items():
            np.testing.assert_array_equal(found.columns[name].dense(), measure.dense())


def test_columns_are_put_together_rep_by_rep() -> None:
    rng = np.random.default_rng(2)
    before, now = rng.poisson(0.6, (9, 3, 4, 2)), rng.poisson(1.3, (9, 5, 4, 2)) * 300
    same = np.array([True, False, True, False, False])
    found = spliced(columns_of(before, 4), columns_of(now, 4), same)
    wanted = now.copy()
    wanted[:, [0, 2]] = before[:, [0, 2]]
    np.testing.assert_array_equal(found.dense(), wanted)


def test_columns_of_other_draws_are_refused() -> None:
    one, other = columns_of(np.ones((9, 2, 3)), 4), columns_of(np.ones((8, 2, 3)), 4)
    with pytest.raises(ValueError, match="against"):
        spliced(one, other, np.array([True, False]))


# -- draws kept on disk ---------------------------------------------------------------------------


def kept(folder: Path, fit: str = "one") -> Reuse:
    return Reuse(draws=KeptDraws(folder, fit))


def simulated(drivers: Drivers, reuse: Reuse, **more: Any) -> tuple[Paths, int]:
    """Futures, and how often something was simulated for them."""
    run = mock.Mock(wraps=simulation.run_columns)
    with mock.patch.object(simulation, "run_columns", run):
        return futures(drivers, reuse, **more), run.call_count


def test_the_next_command_reads_what_was_simulated(tmp_path: Path) -> None:
    wanted, times = simulated(hired(), kept(tmp_path))
    assert times == 1
    found, times = simulated(hired(), kept(tmp_path))
    assert times == 0
    for name, measure in wanted.columns.items():
        np.testing.assert_array_equal(found.columns[name].dense(), measure.dense(), err_msg=name)
    assert list(found.columns) == list(wanted.columns)  # files of draws are written in this order
    assert found.reps == wanted.reps
    assert found.teams == wanted.teams


def test_names_of_activities_may_hold_anything(tmp_path: Path) -> None:
    tables_of, hostile = mock.Mock(), "activity:../\x00=1+1"
    tables_of.steps.edges = np.arange(4)
    tables_of.funnel.fingerprint, tables_of.drivers = "one", Drivers()
    tables_of.grid.first, tables_of.grid.last, tables_of.seed = 1, 9, 4
    columns = {hostile: columns_of(np.arange(36).reshape(6, 2, 3)), "won": columns_of(np.ones((6, 2, 3)))}
    disk = KeptDraws(tmp_path / "draws", "one")
    disk.save(tables_of, 6, columns)
    found = disk.load(tables_of, 6, list(columns))
    assert found is not None
    np.testing.assert_array_equal(found[hostile].dense(), columns[hostile].dense())
    assert [file.parent.name for file in tmp_path.rglob("*.*")] == ["draws"]


def test_what_a_killed_command_left_is_removed(tmp_path: Path) -> None:
    old, young = tmp_path / "old.part", tmp_path / "young.part"
    for file in (old, young):
        file.write_bytes(b"half")
    os.utime(old, (1e9, 1e9))
    futures(Drivers(), kept(tmp_path))
    assert young.exists()  # somebody may be writing it
    assert not old.exists()


@pytest.mark.parametrize(
    ("drivers", "fit", "more"),
    [
        (away, "one", {}),
        (hired, "other", {}),
        (hired, "one", {"draws": 77}),
        (hired, "one", {"seed": 5}),
        (hired, "one", {"measures": ["won"]}),
    ],
)
def test_other_draws_are_not_taken_for_these(
    drivers: Callable[[], Drivers], fit: str, more: dict[str, Any], tmp_path: Path
) -> None:
    futures(hired(), kept(tmp_path))
    assert simulated(drivers(), kept(tmp_path, fit), **more)[1] == 1


def test_another_funnel_of_the_same_data_is_simulated_anew(tmp_path: Path) -> None:
    """As where somebody asks what steadier activity would do: the fit is the same, what is drawn is not."""
    posteriors = dict(funnel().posteriors)
    calls = posteriors["activity:call"]
    posteriors["activity:call"] = replace(
        calls, hyper=calls.hyper | {"overdispersion": np.zeros(calls.draws)}
    )
    other = replace(funnel(), posteriors=posteriors)
    assert other.fingerprint != funnel().fingerprint == replace(funnel()).fingerprint
    futures(Drivers(), kept(tmp_path))
    with mock.patch.object(simulation, "run_columns", wraps=simulation.run_columns) as run:
        simulate(other, history(), Drivers(), months(), HORIZON, draws=DRAWS, seed=4, reuse=kept(tmp_path))
    assert run.call_count == 1


def test_other_source_is_simulated_anew(tmp_path: Path) -> None:
    futures(hired(), kept(tmp_path))
    with mock.patch("quotacast.engine.kept_draws._source", return_value="another"):
        assert simulated(hired(), kept(tmp_path))[1] == 1


@pytest.mark.parametrize("harm", ["cut", "changed", "text"])
def test_a_file_that_is_harmed_counts_as_absent(harm: str, tmp_path: Path) -> None:
    wanted = futures(hired(), kept(tmp_path))
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    middle = len(whole) // 2
    changed = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    file.write_bytes({"cut": whole[:middle], "changed": changed, "text": b"not ours"}[harm])
    found, times = simulated(hired(), kept(tmp_path))
    assert times == 1
    for name, measure in wanted.columns.items():
        np.testing.assert_array_equal(found.columns[name].dense(), measure.dense(), err_msg=name)
    assert file.read_bytes() == whole


def test_the_newest_are_kept(tmp_path: Path) -> None:
    with mock.patch("quotacast.engine.kept_draws.FILES", 2):
        for seed in (1, 2, 3):
            futures(Drivers(), kept(tmp_path), seed=seed)
        assert len(list(tmp_path.iterdir())) == 2
        assert [simulated(Drivers(), kept(tmp_path), seed=seed)[1] for seed in (3, 2, 1)] == [0, 0, 1]


def test_without_room_nothing_is_kept(tmp_path: Path) -> None:
    with mock.patch("quotacast.engine.kept_draws.BYTES", 1000):
        futures(Drivers(), kept(tmp_path))
    assert not list(tmp_path.iterdir())
    futures(Drivers(), Reuse(draws=KeptDraws(tmp_path, "one", DRAWS + 1)))
    assert not list(tmp_path.iterdir())
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    futures(Drivers(), kept(blocked / "draws"))  # a disk that takes nothing is no error
