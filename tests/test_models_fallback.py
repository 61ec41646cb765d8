"""A model that the fast method cannot fit, or not surely, is fitted by NUTS."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from quotacast.errors import FitError
from quotacast.models import funnel, laplace
from quotacast.models.funnel import fit, prepare
from quotacast.models.periods import Calendar


@pytest.fixture(scope="module")
def prepared(small_world, world_history):  # type: ignore[no-untyped-def]
    return prepare(world_history(small_world(5, 3, date(2025, 1, 1), date(2025, 12, 31))), Calendar())


@pytest.mark.parametrize("how", ["raises", "khat"])
def test_a_failed_model_goes_to_nuts(prepared, monkeypatch: pytest.MonkeyPatch, how: str) -> None:  # type: ignore[no-untyped-def]
    fast, asked = laplace.fit_laplace, []

    def fails(declaration: Any, cells: Any, **more: Any) -> Any:
        if declaration.name != "value":
            return fast(declaration, cells, **more)
        if how == "raises":
            raise FitError("model value: no mode")
        found = fast(declaration, cells, **more)
        return replace(found, diagnostics={**found.diagnostics, "khat": 1.2})

    def exact(declared: Any, name: str, draws: int, seed: int) -> Any:
        asked.append(name)
        return fast(*declared[name], draws=draws, seed=seed)

    monkeypatch.setattr(laplace, "fit_laplace", fails)
    monkeypatch.setattr(funnel, "_nuts_one", exact)
    assert fit(prepared, draws=80).draws == 80
    assert asked == ["value"]
    if how == "raises":
        with pytest.raises(FitError, match="no mode"):
            fit(prepared, draws=80, fall_back=False)
