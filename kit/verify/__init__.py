"""Verify a bundle that another box made: everything in it that follows from other parts is computed again."""
