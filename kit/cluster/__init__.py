"""Cells made on other machines: Dask schedules them, this package says which worker may make which cell."""
