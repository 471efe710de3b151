"""Making cells: encode, score, retry, keep."""
