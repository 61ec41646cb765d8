"""Quotacast: calibrated odds for sales quotas, and the forecasts that belong to them."""

__version__ = "0.1.0"
