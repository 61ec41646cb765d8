"""The plan file: its tables and keys, quotas in files, scenarios laid over it, and what is wrong with it."""
