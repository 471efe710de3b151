"""Processes, files, the terminal and the machine."""
