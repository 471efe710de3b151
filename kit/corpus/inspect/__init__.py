"""Report the status and a summary of a corpus without writing anything."""
