"""From a plan to revenue, cash and delivery."""
