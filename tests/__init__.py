"""Tests, a folder for each room of `kit/`; builders of test values are beside the room they build for."""
