"""Makes it happen: I/O, clocks, tasks."""
