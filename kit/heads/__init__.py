"""Tiny heads: fit, leave-one-source-out, tuning, ship gate, registration."""
