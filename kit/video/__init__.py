"""Everything that reads, encodes, decodes or scores video."""
