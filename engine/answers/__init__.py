"""Answers that one set of simulated futures gives."""
