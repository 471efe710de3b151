"""Reference clips: search, read, identify by content; and the built-in demo clips."""
