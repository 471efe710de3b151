"""Perceptual hashes of clips, and pairs of clips that show the same content."""
