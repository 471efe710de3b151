"""Merging shards into one: the same shard in whatever order and grouping they come."""
