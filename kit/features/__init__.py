"""Feature tables of the tiny models."""
