"""Make cells: encode, score, retry, store."""
