"""Quotacast: calibrated odds for sales quotas, and the forecasts that belong to them.

The functions below are the whole interface for notebooks; see :mod:`quotacast.scenarios.api`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quotacast.scenarios.api import fit, forecast, load_plan, quotas, read, simulate

__version__ = "0.1.0"
__all__ = ["fit", "forecast", "load_plan", "quotas", "read", "simulate"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("quotacast.scenarios.api"), name)
    raise AttributeError(f"module 'quotacast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
