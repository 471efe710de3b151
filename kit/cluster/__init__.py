"""Make cells on other machines: Dask schedules them, this package decides which worker may make which cell."""
