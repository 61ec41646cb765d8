"""Setting quotas: with wished odds from below, from a target above, and fair between reps."""
