"""What is decided: classify, route, capacity, queue, affinity, scale. Pure functions; no I/O and no clock."""
