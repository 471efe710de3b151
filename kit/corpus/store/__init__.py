"""Shards on disk: cells, plan, manifest, boxes, and checks of shards from elsewhere."""
