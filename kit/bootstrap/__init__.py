"""From the interpreter that was started to one with the pinned packages."""
