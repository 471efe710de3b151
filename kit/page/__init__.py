"""The page that shows a run: what it is made of, its figures, and its writers."""
