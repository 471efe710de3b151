"""Data sets: what is known of a folder of reference clips besides its clips, and how such a folder is sent."""
