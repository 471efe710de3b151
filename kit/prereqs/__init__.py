"""Check a box before any work."""
