"""The corpus: rows and their schema, one file a cell, the shard and its manifest, and making cells."""
