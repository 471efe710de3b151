"""Values, constants and errors; imports nothing else of the kit."""
