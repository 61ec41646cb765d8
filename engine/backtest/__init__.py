"""How good past forecasts would have been."""
