"""Merge shards into one; the order and grouping of the inputs do not change the result."""
