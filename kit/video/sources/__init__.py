"""Reference clips: found, read frame by frame, identified by content; and the built-in demo clips."""
