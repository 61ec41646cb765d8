"""From CRM tables to fitted probabilities."""
