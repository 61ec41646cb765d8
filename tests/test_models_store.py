"""Fits on disk: exact, atomic, keyed, and readable by ArviZ."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quotacast.models.store import MANIFEST, fingerprint, load_checks, load_fit, new_folder, save_fit
from quotacast.models.terms import Posterior

MANIFEST_IN = {"key": "abc", "seed": 3}


def fitted(seed: int = 1, draws: int = 7) -> dict[str, Posterior]:
    rng = np.random.default_rng(seed)
    odd = np.array([np.pi, 5e-324, -1e300, 1 / 3, -0.0, 2.0**-1022, 1e-17])[:draws]
    return {
        "won": Posterior(
            {
                "level": odd[:, None],
                "rep": rng.standard_normal((draws, 3)),
                "age": rng.normal(size=(draws, 3)),
            },
            {"rep_sd": rng.gamma(1.0, size=draws), "shock_rho": rng.beta(4, 2, draws)},
            {"method": "nuts", "rhat": 1.01, "ess": 512, "divergences": 0, "passed": True},
        ),
        "value": Posterior(
            {"level": rng.standard_normal((draws, 1))}, {}, {"method": "laplace", "khat": 0.31}
        ),
    }


def same(a: dict[str, Posterior], b: dict[str, Posterior]) -> bool:
    def parts(fit: dict[str, Posterior]) -> dict[tuple[str, str], bytes]:
        return {
            (name, key): value.tobytes() + str((value.dtype, value.shape)).encode()
            for name, posterior in fit.items()
            for key, value in {**posterior.effects, **posterior.hyper}.items()
        }

    kinds = [{n: (set(p.effects), set(p.hyper), dict(p.diagnostics)) for n, p in f.items()} for f in (a, b)]
    return kinds[0] == kinds[1] and parts(a) == parts(b)


def test_round_trip_keeps_every_bit_and_every_kind(tmp_path: Path) -> None:
    fit = fitted()
    save_fit(tmp_path / "fits" / "abc", fit, MANIFEST_IN)
    back = load_fit(tmp_path / "fits" / "abc", ("won", "value"), "abc")
    assert back is not None
    assert same(fit, back)
    manifest = json.loads((tmp_path / "fits" / "abc" / MANIFEST).read_text())
    assert manifest["seed"] == 3
    assert manifest["diagnostics"]["value"] == {"method": "laplace", "khat": 0.31}


def test_another_key_is_no_fit(tmp_path: Path) -> None:
    save_fit(tmp_path / "f", fitted(), MANIFEST_IN)
    assert load_fit(tmp_path / "f", ("won", "value"), "abd") is None
    assert load_fit(tmp_path / "elsewhere", ("won",), "abc") is None


def test_checks_are_stored_with_the_fit_and_none_may_be_missing(tmp_path: Path) -> None:
    checks = {"won": {"total_p": 0.41, "passed": True}, "value": {"total_p": 0.003, "passed": False}}
    save_fit(tmp_path / "f", fitted(), {**MANIFEST_IN, "checks": checks})
    assert load_checks(tmp_path / "f", ("won", "value")) == checks
    assert load_checks(tmp_path / "f", ("won", "value", "lost")) is None
    assert load_checks(tmp_path / "elsewhere", ("won",)) is None
    save_fit(tmp_path / "older", fitted(), MANIFEST_IN)
    assert load_checks(tmp_path / "older", ("won",)) is None


@pytest.mark.parametrize("lost", ["won.nc", MANIFEST])
def test_a_missing_file_is_no_fit(tmp_path: Path, lost: str) -> None:
    save_fit(tmp_path / "f", fitted(), MANIFEST_IN)
    (tmp_path / "f" / lost).unlink()
    assert load_fit(tmp_path / "f", ("won", "value"), "abc") is None


def test_a_broken_manifest_is_no_fit(tmp_path: Path) -> None:
    save_fit(tmp_path / "f", fitted(), MANIFEST_IN)
    (tmp_path / "f" / MANIFEST).write_text('{"key": "ab')
    assert load_fit(tmp_path / "f", ("won",), "abc") is None


def test_a_truncated_netcdf_is_no_fit(tmp_path: Path) -> None:
    save_fit(tmp_path / "f", fitted(), MANIFEST_IN)
    data = (tmp_path / "f" / "won.nc").read_bytes()
    (tmp_path / "f" / "won.nc").write_bytes(data[: len(data) // 2])
    assert load_fit(tmp_path / "f", ("won",), "abc") is None


def test_a_newer_fit_replaces_the_older_and_leaves_nothing_behind(tmp_path: Path) -> None:
    for seed in (1, 2):
        save_fit(tmp_path / "f", fitted(seed), MANIFEST_IN)
    back = load_fit(tmp_path / "f", ("won", "value"), "abc")
    assert back is not None
    assert same(back, fitted(2))
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
    assert sorted(p.name for p in (tmp_path / "f").iterdir()) == [MANIFEST, "value.nc", "won.nc"]


def test_a_stop_while_writing_leaves_the_older_fit_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_fit(tmp_path / "f", fitted(1), MANIFEST_IN)

    def stop(handle: int) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", stop)
        with pytest.raises(OSError, match="disk full"):
            save_fit(tmp_path / "f", fitted(2), MANIFEST_IN)
    back = load_fit(tmp_path / "f", ("won", "value"), "abc")
    assert back is not None
    assert same(back, fitted(1))
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize(
    "failing",
    [1, 2],
)
def test_a_failed_rename_leaves_the_older_fit_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """Whichever of the moves fails, the fit that was there can still be loaded."""
    save_fit(tmp_path / "f", fitted(1), MANIFEST_IN)
    real, calls = Path.rename, []

    def rename(self: Path, target: Any) -> Path:
        calls.append(target)
        if len(calls) == failing:
            raise OSError("no")
        return real(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", rename)
        with pytest.raises(OSError, match="no"):
            save_fit(tmp_path / "f", fitted(2), MANIFEST_IN)
    back = load_fit(tmp_path / "f", ("won", "value"), "abc")
    assert back is not None
    assert same(back, fitted(1))


@pytest.mark.parametrize("moves", [1, 2])
def test_ctrl_c_between_two_moves_leaves_one_whole_fit_and_nothing_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    """The interrupt comes right after a move: before the second one the older fit returns to its place."""
    save_fit(tmp_path / "f", fitted(1), MANIFEST_IN)
    real, calls = Path.rename, []

    def rename(self: Path, target: Any) -> Path:
        moved = real(self, target)
        calls.append(target)
        if len(calls) == moves:
            raise KeyboardInterrupt
        return moved

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", rename)
        with pytest.raises(KeyboardInterrupt):
            save_fit(tmp_path / "f", fitted(2), MANIFEST_IN)
    back = load_fit(tmp_path / "f", ("won", "value"), "abc")
    assert back is not None
    assert same(back, fitted(moves))
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_ctrl_c_while_the_older_fit_is_removed_leaves_nothing_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_fit(tmp_path / "f", fitted(1), MANIFEST_IN)
    real, calls = shutil.rmtree, []

    def rmtree(folder: Path) -> None:
        calls.append(folder)
        if len(calls) == 1:
            raise KeyboardInterrupt
        real(folder)

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", rmtree)
        with pytest.raises(KeyboardInterrupt):
            save_fit(tmp_path / "f", fitted(2), MANIFEST_IN)
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_an_error_inside_a_new_folder_leaves_no_folder(tmp_path: Path) -> None:
    def write() -> None:
        with new_folder(tmp_path / "f") as work:
            (work / "half").write_text("x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_arviz_reads_the_posterior_group(tmp_path: Path) -> None:
    import arviz

    fit = fitted()
    save_fit(tmp_path / "f", fit, MANIFEST_IN)
    data = arviz.from_netcdf(tmp_path / "f" / "won.nc")
    assert data.groups() == ["posterior"]
    assert dict(data.posterior.sizes)["draw"] == 7
    assert data.posterior["rep"].dims[:2] == ("chain", "draw")
    np.testing.assert_array_equal(data.posterior["rep"].values[0], fit["won"].effects["rep"])
    np.testing.assert_array_equal(data.posterior["rep_sd"].values[0], fit["won"].hyper["rep_sd"])


def test_the_same_fit_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("f", "g"):
        save_fit(tmp_path / name, fitted(), MANIFEST_IN)
    for file in ("won.nc", MANIFEST):
        assert (tmp_path / "f" / file).read_bytes() == (tmp_path / "g" / file).read_bytes()


def test_fingerprint_knows_values_but_not_the_order_of_keys() -> None:
    a = fingerprint({"data": "x", "draws": 100, "calendar": {"year_starts": 1, "weeks": None}})
    assert a == fingerprint({"calendar": {"weeks": None, "year_starts": 1}, "draws": 100, "data": "x"})
    assert a != fingerprint({"data": "x", "draws": 101, "calendar": {"year_starts": 1, "weeks": None}})
    assert len(a) == 64
