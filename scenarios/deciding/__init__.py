"""Deciding between plans: comparison, levers, the cheapest set, and plans of record."""
