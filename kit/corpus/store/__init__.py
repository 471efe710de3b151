"""Shards on disk: cells, manifests, boxes, and what was received from elsewhere."""
