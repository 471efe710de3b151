"""Figures, evidence, gates and judgement; pure."""
