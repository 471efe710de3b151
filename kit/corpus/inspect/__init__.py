"""Status and summary of a corpus; writes nothing."""
