"""What computes the six features and the teacher, and the proof that it computes them rightly."""
