"""Looking at a box before any work."""
