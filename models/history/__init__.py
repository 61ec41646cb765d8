"""Canonical tables: schema, reading, cleaning, and snapshots of what was known when."""
