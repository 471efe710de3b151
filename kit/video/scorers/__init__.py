"""Scorers: they compute the six features and the teacher, and are verified with the golden table."""
