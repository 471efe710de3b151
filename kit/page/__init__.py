"""The report page of a run: what is shown, the figures, the writers."""
