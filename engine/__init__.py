"""From fitted models and a plan to futures, and from futures to answers."""
