"""Many requests as one: batches, sweeps, data frames, Dask clusters."""
