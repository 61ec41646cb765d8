"""From the files other systems export to the canonical tables."""
