"""The five steps of a run. Each takes the value of the step before it and leaves its own on disk."""
