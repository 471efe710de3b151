"""Every option once: names, types, defaults, and how they are resolved."""
